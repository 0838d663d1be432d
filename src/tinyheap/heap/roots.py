"""Roots: where marking begins.

::

    roots.add_range(buffer)         words of the mutator's globals or stack: any buffer, read anew at each collection
    roots.add(address)              one word
    roots.add_source(callable)      called at each collection for ranges that come and go, such as a stack
    roots.tasks                     the run queue: may be pushed to while a collection runs

Ranges are scanned conservatively, in steps of the geometry's word alignment.  Each of the first three gives a handle that
removes it; handles serve as context managers.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from tinyheap.errors import HeapError, InvalidAddressError
from tinyheap.heap.buffers import Buffer, flat_bytes
from tinyheap.heap.contract import NO_BLOCK, Engine

RootSource = Callable[[], Iterable[Buffer]]


class RootHandle:
    """Something that keeps objects alive until it is removed."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Keep nothing alive any more; a second call does nothing."""
        if self._remove is not None:
            remove, self._remove = self._remove, None
            remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Root(RootHandle):
    """One word that keeps an object alive; assign ``address`` to point it elsewhere, 0 for nowhere."""

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


class TaskQueue:
    """The run queue of tasks that live on the heap: first in, first out; safe to push to from anywhere at any time."""

    def __init__(self) -> None:
        self._tasks: deque[int] = deque()
        self._lock = threading.Lock()

    def push(self, address: int) -> None:
        """Add a task at the end."""
        with self._lock:
            self._tasks.append(_checked(address))

    def pop(self) -> int | None:
        """Take the first task off; None where there is none."""
        with self._lock:
            return self._tasks.popleft() if self._tasks else None

    def __len__(self) -> int:
        return len(self._tasks)

    def restore(self, tasks: deque[int]) -> bool:
        """Put the tasks that were taken off back, unless others came in meanwhile."""
        with self._lock:
            if self._tasks:
                return False
            self._tasks = tasks
            return True

    def put_back(self, tasks: deque[int]) -> None:
        """Put the tasks that were taken off back in front of those that came in meanwhile."""
        with self._lock:
            self._tasks.extendleft(reversed(tasks))


class Roots:
    """All roots of one heap."""

    def __init__(self, word_bytes: int) -> None:
        self._word_bytes = word_bytes
        self._ranges: list[memoryview] = []
        self._sources: list[RootSource] = []
        self._slots = array("Q")
        self._free_slots: list[int] = []
        self.tasks = TaskQueue()

    def add(self, address: int = 0) -> Root:
        """Keep the object at an address (or around it) alive; 0 for one that is to point somewhere later."""
        _checked(address)
        if not self._free_slots:
            self._free_slots.append(len(self._slots))
            self._slots.append(0)
        index = self._free_slots.pop()
        self._slots[index] = address
        return Root(self._slots, index, lambda: self._remove_slot(index))

    def _remove_slot(self, index: int) -> None:
        self._slots[index] = 0
        self._free_slots.append(index)

    def add_range(self, words: Buffer) -> RootHandle:
        """Keep alive what the words of a buffer point at, now and whenever they change.

        Raises:
            HeapError: no buffer, or not in one piece.
        """
        view = _words(words)
        self._ranges.append(view)
        return RootHandle(lambda: self._remove_range(view))

    def _remove_range(self, view: memoryview) -> None:
        self._ranges = [other for other in self._ranges if other is not view]
        view.release()

    def add_source(self, source: RootSource) -> RootHandle:
        """Ask a callable for ranges at each collection; it must not change the heap."""
        self._sources.append(source)
        return RootHandle(lambda: self._sources.remove(source))

    def mark(self, engine: Engine) -> None:
        """Mark from all roots but the tasks."""
        for words in self._ranges:
            engine.mark_roots(words)
        # A source may take itself away.
        for source in tuple(self._sources):
            for given in source():
                engine.mark_roots(_words(given))
        engine.mark_addresses(self._slots)

    def mark_tasks(self, engine: Engine) -> int:
        """Mark from the run queue, and finish marking; returns what ``Engine.finish_mark`` does.

        Tasks are taken off one by one, because an interrupt may move them while marking runs; what came in meanwhile is
        marked before they are put back.
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
        except BaseException:
            self.tasks.put_back(marked)
            raise


def _words(words: Buffer) -> memoryview:
    try:
        view = memoryview(words)
    except TypeError:
        raise HeapError(f"a root range is a buffer of words, not {type(words).__name__}") from None
    if not view.c_contiguous:
        raise HeapError("a root range must lie in one piece")
    return flat_bytes(view)


def _checked(address: int) -> int:
    if not 0 <= address < 1 << 64:
        raise InvalidAddressError(f"{address} is no address")
    return address
