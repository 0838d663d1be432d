"""Roots: where marking begins.

::

    roots.add_range(buffer)         words of the mutator's globals or stack: any buffer, read anew at each collection
    roots.add(address)              one word
    roots.add_source(callable)      called at each collection for ranges that come and go, such as a stack
    roots.tasks                     the run queue: may be pushed to while a collection runs

Ranges are scanned conservatively, in steps of the geometry's word alignment.  Each of the first three gives a handle that
removes it; handles serve as context managers.  Roots may come and go while a collection runs, on its own thread: those count
that were there when it began, sources as long as they are there.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from tinyheap.errors import HeapError, InvalidAddressError, InvalidTypeError
from tinyheap.heap.arguments import check_callable, shown, whole_number
from tinyheap.heap.buffers import Buffer, flat_bytes
from tinyheap.heap.contract import NO_BLOCK, Engine
from tinyheap.heap.monitor import CLOSED, LOOKING, Monitor
from tinyheap.ownership import SoleOwner

RootSource = Callable[[], Iterable[Buffer]]


class RootHandle(SoleOwner):
    """One or more roots, until they are removed."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Remove the roots; a second call does nothing.

        Raises:
            HeapBusyError: another thread works on the heap.
        """
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Root(RootHandle):
    """A root of one word; assign ``address`` to point it elsewhere, 0 for nowhere."""

    def __init__(self, slots: array[int], index: int, remove: Callable[[], None]) -> None:
        super().__init__(remove)
        self._slots = slots
        self._index = index

    @property
    def address(self) -> int:
        """What the root points at."""
        return self._slots[self._index] if self._remove is not None else 0

    @address.setter
    def address(self, address: int) -> None:
        if self._remove is None:
            raise HeapError("this root was removed; add another")
        self._slots[self._index] = _checked(address)


class TaskQueue(SoleOwner):
    """The run queue of tasks that live on the heap: first in, first out.

    May be pushed to at any time: by other threads, callbacks of the heap, and signal handlers.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._tasks: deque[int] = deque()
        # A signal's handler may push on the thread that holds it.
        self._lock = threading.RLock()
        self._monitor = monitor

    def push(self, address: int) -> None:
        """Add a task at the end.

        Raises:
            InvalidAddressError: this is not an address.
            HeapError: the heap is closed.
        """
        address = _checked(address)
        if self._monitor.is_closed:
            raise HeapError(CLOSED)
        with self._lock:
            self._tasks.append(address)

    def pop(self) -> int | None:
        """Take the first task off; None where there is none."""
        with self._lock:
            return self._tasks.popleft() if self._tasks else None

    def __len__(self) -> int:
        return len(self._tasks)

    def restore(self, tasks: deque[int]) -> bool:
        """Put back the tasks that were taken off; False where others were pushed meanwhile, which then follow them."""
        with self._lock:
            # First, so that what a signal's handler pushes in between is counted.
            self.put_back(tasks)
            return len(self._tasks) == len(tasks)

    def put_back(self, tasks: deque[int]) -> None:
        """Put the tasks that were taken off back in front of those that came in meanwhile."""
        with self._lock:
            self._tasks.extendleft(reversed(tasks))


class Roots(SoleOwner):
    """All roots of one heap.

    Methods raise `HeapError` when the heap is closed, and `HeapBusyError` while another thread works on it.
    """

    def __init__(self, word_bytes: int, monitor: Monitor) -> None:
        self._word_bytes = word_bytes
        self._monitor = monitor
        self._ranges: list[memoryview] = []
        self._sources: dict[object, RootSource] = {}
        self._slots = array("Q")
        self._free_slots: list[int] = []
        self.tasks = TaskQueue(monitor)

    def add(self, address: int = 0) -> Root:
        """Add a root that points at an object or into it; 0 for a root that is to be set later.

        Raises:
            InvalidAddressError: this is not an address.
        """
        address = _checked(address)
        with self._monitor.entered(LOOKING):
            if not self._free_slots:
                self._free_slots.append(len(self._slots))
                self._slots.append(0)
            index = self._free_slots.pop()
            self._slots[index] = address
        return Root(self._slots, index, self._remover(lambda: self._remove_slot(index)))

    def _remove_slot(self, index: int) -> None:
        self._slots[index] = 0
        self._free_slots.append(index)

    def _remover(self, remove: Callable[[], object]) -> Callable[[], None]:
        """What a handle calls: the roots of a closed heap may still be taken away."""

        def guarded() -> None:
            if self._monitor.is_closed:
                remove()
                return
            with self._monitor.entered(LOOKING):
                remove()

        return guarded

    def add_range(self, words: Buffer) -> RootHandle:
        """Add the words of a buffer as roots; they are read at each collection.

        Raises:
            HeapError: it cannot be read as a buffer, or is not contiguous.
        """
        view = _words(words)
        with self._monitor.entered(LOOKING):
            self._ranges.append(view)
        return RootHandle(self._remover(lambda: self._remove_range(view)))

    def _remove_range(self, view: memoryview) -> None:
        self._ranges = [other for other in self._ranges if other is not view]
        view.release()

    def add_source(self, source: RootSource) -> RootHandle:
        """Add a function that gives ranges of roots; it is called at each collection, and cannot change the heap.

        Raises:
            InvalidTypeError: it cannot be called.
        """
        check_callable("root source", source)
        key = object()
        with self._monitor.entered(LOOKING):
            self._sources[key] = source
        return RootHandle(self._remover(lambda: self._sources.pop(key, None)))

    def mark(self, engine: Engine) -> None:
        """Mark from all roots but the tasks."""
        # Views of its own: what is removed meanwhile is released.
        for words in [memoryview(words) for words in self._ranges]:
            engine.mark_roots(words)
        for key, source in tuple(self._sources.items()):
            # One may take itself or another away.
            if key in self._sources:
                for given in source():
                    engine.mark_roots(_words(given))
        engine.mark_addresses(self._slots)

    def mark_tasks(self, engine: Engine) -> int:
        """Mark from the run queue, and finish marking; returns what ``Engine.finish_mark`` does.

        Tasks are taken off one by one, because an interrupt may move them while marking runs; what came in meanwhile is
        marked as well, in another round.
        """
        marked: deque[int] = deque()
        unreadable = NO_BLOCK
        try:
            while True:
                while (task := self.tasks.pop()) is not None:
                    marked.append(task)
                    engine.mark_addresses((task,))
                unreadable = max(unreadable, engine.finish_mark())
                if self.tasks.restore(marked):
                    return unreadable
                marked.clear()
        except BaseException:
            self.tasks.put_back(marked)
            raise


def _words(words: Buffer) -> memoryview:
    try:
        view = memoryview(words)
    except TypeError:
        raise InvalidTypeError(f"a root range is a buffer of words, not {type(words).__name__}") from None
    except ValueError as error:
        raise HeapError(f"a root range cannot be read: {error}") from error
    if not view.c_contiguous:
        raise HeapError("a root range must lie in one piece")
    return flat_bytes(view)


def _checked(address: int) -> int:
    address = whole_number("address", address)
    if not 0 <= address < 1 << 64:
        raise InvalidAddressError(f"invalid address {shown(address)}: expected 0 to 2**64 - 1")
    return address
