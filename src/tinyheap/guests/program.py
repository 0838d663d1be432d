"""A program and its heap, from Python in a few lines.

    with Program.open("gofmt.wasm") as program:
        program.start()
        text = program.driver().format(source)
        print(program.heap.stats(), program.heap.collections, program.heap.dump())

A module whose collector can be replaced has a `Program.heap`, which is looked at between calls.  Any other module
runs as it is, without one; ``program.guest.served`` says why in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tinyheap.errors import GuestError, RecordingError
from tinyheap.guests.opening import COLLECTORS, DEFAULT, LEAKING, NATIVE, Wish
from tinyheap.guests.own_host import host
from tinyheap.guests.taking import NOW
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from types import TracebackType

    from tinyheap.formatters import Formatter
    from tinyheap.guests.cache import Cache
    from tinyheap.guests.own_host import HostedRun
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.heap.stats import Collection as HeapCollection
    from tinyheap.hosts import Grants
    from tinyheap.hosts.functions import Imports
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.recognize.facts import Guest
    from tinyheap.snapshots.moments import Moment
    from tinyheap.snapshots.snapshot import Snapshot

__all__ = ["COLLECTORS", "DEFAULT", "LEAKING", "NATIVE", "Program"]


class Program(SoleOwner):
    """One run of one module; made by `Program.open`, and to be closed at the end, best by ``with``.

    Attributes:
        guest: What the module is; None where it runs natively, since it was not examined then.
        heap: Its heap; None where the module runs as it is.
        recorder: What records its run; None where the run is not recorded.
        session: Its host.
        was_cached: Whether it had been prepared before.
        wasm: The module's bytes, as they were given.
    """

    def __init__(self, hosted: HostedRun) -> None:
        prepared = hosted.run.prepared
        self.session = hosted.session
        self.recorder = hosted.run.wish.recorder
        self.guest: Guest | None = prepared.guest
        self.heap = hosted.heap
        self.was_cached = prepared.was_cached
        self.wasm = hosted.run.wish.wasm
        self._taker = hosted.taker

    @classmethod
    def open(
        cls,
        module: str | Path | bytes | bytearray | memoryview,
        grants: Grants | None = None,
        policy: Policy | None = None,
        *,
        gc: str = DEFAULT,
        cache: Cache | None = None,
        listener: Callable[[HeapCollection], object] | None = None,
        recording: Recorder | str | Path | None = None,
        imports: Imports | None = None,
        stub_imports: bool | Collection[str] = False,
        symbols: str | Path | bytes | bytearray | memoryview | None = None,
        full_paths: bool = False,
        snapshot_at: Moment | str | None = None,
    ) -> Self:
        """A program, instantiated and not yet started.

        Args:
            module: Its file, or its bytes.
            grants: What it may have; `Grants()` if None.
            policy: How its heap is run.  Given any but the default one, a module whose collector cannot be replaced
                is refused; otherwise it runs as it is.
            gc: ``default``, ``leaking`` for a heap that only grows, or ``native`` for the module as it is.
            cache: Where prepared modules are kept; the user's if None.
            listener: Called after each collection, with it.  It may look at the heap, and not call or close the program.
                A module that keeps its own collector, whose collections cannot be seen, is refused with one.
            recording: The file to record the run in, which must not exist yet, or a `Recorder`.  The recording
                ends when the program is closed.
            imports: Functions of your own, by the module and the name under which the program imports them:
                ``{"env": {"log": log}}``.  Each gets numbers and returns what the import's type says; one whose first
                parameter is named ``caller`` is given a `tinyheap.hosts.Caller` there.  They come before those of any
                host; those that the program does not import are left out.
            stub_imports: The imports to replace by stubs that return zero, as ``["env.log"]``; True for all that nothing
                else offers.  `stub_calls` counts their calls.
            symbols: A build of the module with debug information, its file or its bytes, whose code is the same byte for
                byte; None to read what the module itself has.
            full_paths: Whether the recording names source files by their full paths on the machine that compiled them;
                by default they are shortened (`tinyheap.symbols.paths`).
            snapshot_at: A moment of the run at which to take a snapshot, which `snapshot_taken` has then: ``end``, ``peak``,
                ``trap``, ``allocation:N``, ``collection:N`` or ``call:N``, or a `Moment`.

        Raises:
            GuestError: The module cannot be read or run; or an argument is of a wrong type.
            PolicyError: The policy contradicts the other arguments.
            MalformedModuleError: It is not a module.
            UnsupportedGuestError: Its collector cannot be replaced as asked, or its run not be recorded; says what it
                is and what does work.
            SymbolsError: ``symbols`` is of another build, or has no debug information.
            RecordingError: The recording cannot be made.
            MissingLibraryError: A recording was asked for, and the extra `profile` is not installed.
            HostError: It has imports that no host offers, or what is offered does not fit.
            SnapshotError: There is no such moment, or nobody sees it in this program.
        """
        wish = Wish.of(
            module,
            grants,
            policy,
            gc,
            cache,
            listener,
            recording,
            imports,
            stub_imports,
            symbols,
            full_paths=full_paths,
            snapshot_at=snapshot_at,
        )
        return cls(host(wish))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.recorder is not None and error is not None:
            # Whatever cannot be written then is less than what went wrong.
            with suppress(RecordingError):
                self.recorder.finish(error=str(error) or type(error).__name__, exit_code=self.exit_code)
        self.close()

    def close(self) -> None:
        """End the program, free its memory and end its recording; its heap cannot be looked at any more.

        Raises:
            GuestPhaseError: It is running.
            RecordingError: What was recorded last could not be written.
        """
        with self.session.life.idle("close"):
            try:
                if self.recorder is not None:
                    self.recorder.finish(error=self.session.failure, exit_code=self.exit_code)
            finally:
                self._free()

    def _free(self) -> None:
        if self.heap is not None:
            self.heap.close()
        self.session.close()

    @property
    def exports(self) -> frozenset[str]:
        """The names of the functions that it exports."""
        return self.session.exports

    @property
    def memory(self) -> GuestMemory:
        """Its memory; HostError if it exports none."""
        return self.session.memory

    @property
    def exit_code(self) -> int | None:
        """The exit code that it ended itself with; None as long as it has not."""
        return self.session.exit_code

    @property
    def stub_calls(self) -> Mapping[str, int]:
        """How often each stub was called, by the name of its import (``env.log``)."""
        return self.session.stub_calls

    def snapshot(self) -> Snapshot:
        """A snapshot of the program as it is, between two calls or after its end.

        Raises:
            GuestPhaseError: It runs, or was closed.
            SnapshotError: It exports no memory.
        """
        wish = "take a snapshot"
        self.session.life.check_open(wish)
        with self.session.life.idle(wish):
            return self._taker.take(NOW)

    @property
    def snapshot_taken(self) -> Snapshot | None:
        """The snapshot of the moment that was asked for; None where that has not come.

        The end is whenever this is asked, and so is a trap, once the program has trapped; so is the peak of a program that has
        not collected.

        Raises:
            GuestPhaseError: It runs, or was closed.
            SnapshotError: It exports no memory.
        """
        with self.session.life.idle("take a snapshot"):
            return self._taker.taken

    def start(self) -> None:
        """Run ``_start`` or ``_initialize``; see `HostSession.start` for what is raised."""
        self.session.start()

    def run(self) -> int:
        """The exit code of the whole program; see `HostSession.run`."""
        return self.session.run()

    def call(self, name: str, *arguments: float) -> int | float | None:
        """What an exported function returns; see `HostSession.call`."""
        return self.session.call(name, *arguments)

    def call_script(self, name: str, *arguments: object) -> object:
        """What a function returns that it left in JavaScript's global object; see `HostSession.call_script`."""
        return self.session.call_script(name, *arguments)

    def driver(self) -> Formatter:
        """What knows how to call the program, which has been started.

        Raises:
            GuestPhaseError: It was not started, or cannot go on.
            GuestError: No driver is known for it.
        """
        from tinyheap.formatters import find

        self.session.life.check_callable("driver")
        driver = find(self.session)
        if driver is None:
            names = ", ".join(sorted(self.exports)) or "nothing"
            raise GuestError(f"no driver is known for this program; call its exports yourself ({names})")
        return driver
