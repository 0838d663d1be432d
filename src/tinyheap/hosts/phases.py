"""The phases of a program's life, and what may be asked of it in each.

::

    offered ──instantiate──> loaded ──start──> started ──┐
                     │                            ^      ├─trap, exit, interrupt──> ended ──close──> closed
                     └─────> ready ────start──────┘      │
                               └─────────────────────────┘

=========  =====================================================  ==============  ==============
phase      the program                                            start, run      call
=========  =====================================================  ==============  ==============
offered    has its imports, and no instance yet                   refused         refused
loaded     has a ``_start`` or ``_initialize`` that has not run   once            refused
ready      has neither, so that there is nothing to wait for      once            as often as one likes
started    was started                                            refused         as often as one likes
ended      trapped, exited or was stopped: its state is unknown   refused         refused
closed     has given its memory back                              refused         refused
=========  =====================================================  ==============  ==============

A program whose ``_start`` exits with 0 is started, not ended: newer TinyGo leaves ``main`` like that, and its exports are
there to be called.

A program runs on one thread at a time, and all that looks at its memory counts as running it.  While it waits for a host
function it may be called again by that function; while it waits for its allocator or for its output, which are in the
middle of something then, it may not.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tinyheap.errors import GuestPhaseError, GuestSpentError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Phase(StrEnum):
    """Where a program is in its life."""

    OFFERED = "offered"
    LOADED = "loaded"
    READY = "ready"
    STARTED = "started"
    ENDED = "ended"
    CLOSED = "closed"


_CALLABLE: Final = (Phase.READY, Phase.STARTED)
_STARTABLE: Final = (Phase.LOADED, Phase.READY)
_WHY: Final = {
    Phase.OFFERED: "the program has no instance yet; instantiate it first",
    Phase.LOADED: "the program has not been started; start() or run() it first",
    Phase.STARTED: "the program has been started, which it can be only once; open it again for another run",
    Phase.CLOSED: "the program was closed; open it again",
}


class Life:
    """The phase that one program is in, and whether it runs just now.

    Invariant: the thread that runs the program, or looks at its memory, holds the lock meanwhile.
    """

    def __init__(self) -> None:
        self._phase = Phase.OFFERED
        self._end = ""
        self.lock: Final = threading.RLock()
        """Whoever uses it has this."""
        self._depth = 0
        self._busy_with: str | None = None

    @property
    def phase(self) -> Phase:
        """Where it is."""
        return self._phase

    @property
    def is_callable(self) -> bool:
        """Whether its functions may be called."""
        return self._phase in _CALLABLE

    @property
    def depth(self) -> int:
        """How many calls of it are being made, each from inside the one before."""
        return self._depth

    @property
    def is_running(self) -> bool:
        """Whether it runs, on whatever thread."""
        return self._depth > 0

    # ---- from phase to phase -----------------------------------------------------------------------------------------

    def load(self, *, has_entry: bool) -> None:
        """It has an instance.

        Raises:
            GuestPhaseError: It has had one before.
        """
        if self._phase is not Phase.OFFERED:
            raise GuestPhaseError("attach: the program has an instance already, and has only one", self._phase)
        self._phase = Phase.LOADED if has_entry else Phase.READY

    def start(self, wish: str) -> None:
        """It is about to be started.

        Args:
            wish: What was asked for, to begin a message with.

        Raises:
            GuestPhaseError: It cannot be.
        """
        if self._phase not in _STARTABLE:
            raise self._refusal(wish)
        self._phase = Phase.STARTED

    def end(self, why: str) -> None:
        """It cannot go on: a sentence whose subject is the program.  Only the first reason counts."""
        if self._phase not in (Phase.ENDED, Phase.CLOSED):
            self._phase, self._end = Phase.ENDED, why

    def close(self) -> None:
        """Its memory is released, while no thread uses it (`idle`)."""
        self._phase = Phase.CLOSED

    # ---- what may be done --------------------------------------------------------------------------------------------

    def check_callable(self, wish: str) -> None:
        """Refuse to call it in a phase in which that makes no sense.

        Raises:
            GuestPhaseError: Says which phase that is, and what to do.
        """
        if self._phase not in _CALLABLE:
            raise self._refusal(wish)

    def check_not_ended(self, wish: str) -> None:
        """Refuse to go on with a program that ended meanwhile.

        Raises:
            GuestPhaseError: It ended.
        """
        if self._phase is Phase.ENDED:
            raise self._refusal(wish)

    def check_open(self, wish: str) -> None:
        """Refuse to look at what a closed program does not have any more.

        Raises:
            GuestPhaseError: It was closed.
        """
        if self._phase is Phase.CLOSED:
            raise self._refusal(wish)

    @contextmanager
    def running(self, wish: str) -> Iterator[None]:
        """Around all that runs the program.

        Raises:
            GuestPhaseError: Another thread uses it, or it is in the middle of something.
        """
        with self.using(wish):
            if self._busy_with is not None:
                message = f"{wish}: the program {self._busy_with} and cannot be called from there; call it afterwards"
                raise GuestPhaseError(message, self._phase)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def using(self, wish: str) -> Turn:
        """Around all that looks at the program's memory.

        Raises:
            GuestPhaseError: Another thread uses it.
        """
        return Turn(self, wish)

    @contextmanager
    def idle(self, wish: str) -> Iterator[None]:
        """Around what takes something away from the program that it needs while it runs.

        Raises:
            GuestPhaseError: It is running.
        """
        with self.using(wish):
            if self._depth:
                raise GuestPhaseError(f"{wish}: the program is running; do that when it has returned", self._phase)
            yield

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Around what the program waits for and must not be called in: a phrase whose subject is the program."""
        outer, self._busy_with = self._busy_with, what
        try:
            yield
        finally:
            self._busy_with = outer

    def _refusal(self, wish: str) -> GuestPhaseError:
        if self._phase is Phase.ENDED:
            return GuestSpentError(f"{wish}: the instance is spent: {self._end}; open it again", self._phase)
        return GuestPhaseError(f"{wish}: {_WHY[self._phase]}", self._phase)


class Turn:
    """One thread's turn at a program, to be entered; made by `Life.using`.

    A program that its host serves is looked at again and again, so this is not a generator.
    """

    __slots__ = ("_life", "_wish")

    def __init__(self, life: Life, wish: str) -> None:
        self._life, self._wish = life, wish

    def __enter__(self) -> None:
        if not self._life.lock.acquire(blocking=False):
            message = f"{self._wish}: another thread uses the program; one at a time can"
            raise GuestPhaseError(message, self._life.phase)

    def __exit__(self, *_: object) -> None:
        self._life.lock.release()
