"""The monitor of a heap: which operation runs on it, and what callbacks and other threads may do meanwhile.

A heap calls code of its users in the middle of its work: growth policies, root sources, listeners, finalizers.  That code
may do anything, such as close the heap.  So every operation on a heap enters its monitor:

* an operation that runs says what the code that it calls may do (`HeapOperation.allows`): to look, and nothing else, unless it
  says otherwise.  So a callback that is added somewhere is safe without knowing of all this;
* what is asked for beyond that, or by another thread, is refused with `HeapBusyError`, before anything has happened.

Engines do not enter the monitor: their callers have entered it.  The exception is the kernel's way in for allocations without a
Python frame, ``Kernel.alloc_at_once``; it is closed by `Guarded.guarded` while an operation runs.  While it runs
itself it enters nothing: Python's global lock keeps other threads out.  On a Python without that lock, fewer threads that
work on a heap at the same time are noticed.

Source: C. A. R. Hoare, "Monitors: an operating system structuring concept" (1974); entering twice is an error here where a
monitor of his waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import update_wrapper
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from tinyheap.errors import HeapBusyError, HeapError

CLOSED: Final = "this heap is closed; its memory was given back"

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Access(IntEnum):
    """What is done with a heap; what allows one of these allows those before it."""

    LOOK = 0
    """Reads it; and adds or removes roots, tasks and listeners, which are not in it."""
    CHANGE = 1
    """Allocates, frees, writes, collects, grows, verifies: whatever needs it whole."""
    CLOSE = 2


@dataclass(frozen=True, slots=True)
class HeapOperation:
    """Something that is done with a heap.

    Args:
        verb: what is done, after "the heap cannot be".
        phrase: what others are told while it runs, after "while".
        needs: what it does with the heap.
        allows: what the code that it calls may do with the heap.
    """

    verb: str
    phrase: str
    needs: Access
    allows: Access = Access.LOOK


LOOKING: Final = HeapOperation("looked at", "it is looked at", Access.LOOK)
WRITING: Final = HeapOperation("changed", "it is written to", Access.CHANGE)
ALLOCATION: Final = HeapOperation("changed", "an allocation runs", Access.CHANGE)
FREEING: Final = HeapOperation("changed", "an object is freed", Access.CHANGE)
COLLECTION: Final = HeapOperation("changed", "a collection runs", Access.CHANGE)
GROWTH: Final = HeapOperation("changed", "it grows", Access.CHANGE)
VERIFICATION: Final = HeapOperation("verified", "it is verified", Access.CHANGE)
CLOSING: Final = HeapOperation("closed", "it is closed", Access.CLOSE)
FINALIZERS: Final = HeapOperation("changed", "its finalizers run", Access.CHANGE, allows=Access.CHANGE)
"""Finalizers and hooks of weak references, which run when the collection has ended, but maybe in an allocation."""


class Guarded(Protocol):
    """The part of an engine that a monitor knows."""

    guarded: bool
    """True while an operation runs."""


class Monitor:
    """Who works on one heap.

    Invariant: the lock is held, by the thread whose operations run, exactly while some do.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: list[HeapOperation] = []
        self._engine: Guarded | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the heap is."""
        return self._is_closed

    def serve(self, engine: Guarded) -> None:
        """Guard this engine from now on."""
        self._engine = engine
        engine.guarded = bool(self._running)

    def close(self) -> None:
        """Refuse whatever comes."""
        self._is_closed = True

    def enter(self, operation: HeapOperation) -> None:
        """Begin an operation; `leave` has to follow.

        Raises:
            HeapBusyError: what runs does not allow it, or another thread works on the heap.
            HeapError: the heap is closed.
        """
        # Never waits: what runs here may be waiting for the very thread that asks.
        if not self._lock.acquire(False):
            raise HeapBusyError(self._in_use(operation))
        running = self._running
        if self._is_closed or (running and operation.needs > running[-1].allows):
            self._lock.release()
            raise HeapError(CLOSED) if self._is_closed else HeapBusyError(_refusal(operation, running[-1]))
        running.append(operation)
        if len(running) == 1 and self._engine is not None:
            self._engine.guarded = True

    def leave(self) -> None:
        """End what was begun last."""
        self._running.pop()
        if not self._running and self._engine is not None:
            self._engine.guarded = False
        self._lock.release()

    @contextmanager
    def entered(self, operation: HeapOperation) -> Iterator[None]:
        """Around an operation; raises as `enter` does."""
        self.enter(operation)
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def within(self, operation: HeapOperation) -> Iterator[None]:
        """Around a part of the operation that runs, which needs no leave of it."""
        self._running.append(operation)
        try:
            yield
        finally:
            self._running.pop()

    def _in_use(self, operation: HeapOperation) -> str:
        running = self._running[-1:]
        phrase = running[0].phrase if running else "another thread uses it"
        return (
            f"the heap cannot be {operation.verb} while {phrase} in another thread; a heap belongs to one thread at a "
            "time: try again when that has ended"
        )


def _refusal(operation: HeapOperation, running: HeapOperation) -> str:
    return f"the heap cannot be {operation.verb} while {running.phrase}; try again when that has ended"


class Monitored(Protocol):
    """What has a monitor."""

    @property
    def _monitor(self) -> Monitor: ...


_S = TypeVar("_S", bound=Monitored)


def entering(
    operation: HeapOperation,
) -> Callable[[Callable[Concatenate[_S, _P], _T]], Callable[Concatenate[_S, _P], _T]]:
    """Make a method an operation on the heap whose monitor its object has."""

    def decorate(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
        def operate(self: _S, /, *args: _P.args, **options: _P.kwargs) -> _T:
            monitor = self._monitor
            monitor.enter(operation)
            try:
                return method(self, *args, **options)
            finally:
                monitor.leave()

        update_wrapper(operate, method)
        return operate

    return decorate
