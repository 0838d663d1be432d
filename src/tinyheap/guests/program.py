"""A program and its heap, from Python in a few lines.

    with Program.open("gofmt.wasm") as program:
        program.start()
        text = program.driver().format(source)
        print(program.heap.stats(), program.heap.collections, program.heap.dump())

A module whose collector can be replaced has a `Program.heap`, which is looked at between calls.  Any other module
runs as it is, without one; ``program.guest.served`` says why in a sentence.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from wasmtime import Linker, Store

from tinyheap._loading import library_for
from tinyheap.errors import GuestError, HostError, PolicyError, RecordingError, UnsupportedGuestError
from tinyheap.guests.cache import Cache
from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.guests.policy import Policy
from tinyheap.guests.preparing import Form, Prepared, is_served, prepare, read_module
from tinyheap.guests.serve.prepared import PreparedHeap
from tinyheap.heap.growth import growth_text
from tinyheap.hosts import Grants, HostSession, new_engine, offer
from tinyheap.hosts.session import is_stoppable
from tinyheap.ownership import SoleOwner
from tinyheap.recognize.facts import Guest
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from types import TracebackType

    from tinyheap.formatters import Formatter
    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.heap.stats import Collection
    from tinyheap.hosts.imports import Maker
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.recordings.batch import RunRow

BLOCK_BYTES: Final = 16
"""Of TinyGo's heaps on WebAssembly."""
DEFAULT: Final = "default"
LEAKING: Final = "leaking"
NATIVE: Final = "native"
COLLECTORS: Final = (DEFAULT, LEAKING, NATIVE)
"""Ours where that can be; none at all; the module's own, with nothing of ours in it."""


class Program(SoleOwner):
    """One run of one module; made by `Program.open`, and to be closed at the end, best by ``with``.

    Attributes:
        guest: What the module is; None where it runs natively, since nobody looked then.
        heap: Its heap; None where the module runs as it is.
        recorder: What records its run; None where nobody asked for that.
        session: Its host.
        was_cached: Whether it had been prepared before.
    """

    def __init__(
        self, session: HostSession, prepared: Prepared, heap: GuestHeap | None, recorder: Recorder | None = None
    ) -> None:
        self.session = session
        self.recorder = recorder
        self.guest: Guest | None = prepared.guest
        self.heap = heap
        self.was_cached = prepared.was_cached

    @classmethod
    def open(
        cls,
        module: str | Path | bytes | bytearray | memoryview,
        grants: Grants | None = None,
        policy: Policy | None = None,
        *,
        gc: str = DEFAULT,
        cache: Cache | None = None,
        listener: Callable[[Collection], object] | None = None,
        recording: Recorder | str | Path | None = None,
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
                A module whose collections nobody here sees is refused with one.
            recording: The file to record the run in, which must not be there yet, or what records it.  The recording
                ends when the program is closed.

        Raises:
            GuestError: The module cannot be read or run; or an argument is of a wrong type.
            PolicyError: The policy contradicts the other arguments.
            MalformedModuleError: It is no module.
            UnsupportedGuestError: Its collector cannot be replaced as asked, or its run not be recorded; says what it
                is and what does work.
            RecordingError: The recording cannot be made.
            MissingLibraryError: A recording was asked for, and the extra `profile` is not installed.
            HostError: It imports what no host offers.
        """
        _check_types(grants=grants, policy=policy, cache=cache, listener=listener)
        policy = _policy_for(gc, policy)
        grants = grants or Grants()
        wasm = _bytes_of(module)
        engine = new_engine(grants)
        options = "stoppable" if is_stoppable(grants) else ""
        recorder = _recorder_for(recording, grants)
        form = _form_for(gc, policy, is_recorded=recorder is not None)
        prepared = prepare(wasm, form, engine, options, cache or Cache.of_user())
        if policy != Policy():
            _check_served(prepared.guest, policy)
        store, linker = Store(engine), Linker(engine)
        offered = bound = None
        makers: dict[str, Maker] = {} if recorder is None else {**recorder.makers(store)}
        served = form.taken_out_of(prepared.guest)
        if listener is not None and policy.leaking:
            raise PolicyError("a heap that only grows (leaking) is never collected, so leave the listener out")
        if listener is not None and served is None:
            what = "" if prepared.guest is None else f": this module ({prepared.guest.runtime}) {prepared.guest.served}"
            raise UnsupportedGuestError(f"no collection will be seen, so leave the listener out{what}")
        if served is not None:
            offered = PreparedHeap(served, policy, listener, recorder).offer(store)
            makers.update(offered.makers)
        try:
            session = offer(store, linker, prepared.compiled, grants, makers)
        except HostError as error:
            if prepared.guest is None or offered is not None:
                raise
            raise HostError(f"{error}\nthis module ({prepared.guest.runtime}) {prepared.guest.served}") from error
        if recorder is not None:
            session.before_entry, session.after_exit = recorder.enter, recorder.leave
        instance = session.instantiate(prepared.compiled)
        if offered is not None:
            bound = offered.bind(instance, session.life, grants.memory_limit_bytes)
            session.explain_trap = bound.stack_overflow
        program = cls(session, prepared, None if bound is None else GuestHeap(bound), recorder)
        if recorder is not None:
            recorder.attach(store, instance)
            recorder.begin(_row_of(program, module, wasm, gc, policy), prepared.sites)
        return program

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
        """With what it ended itself; None as long as it has not."""
        return self.session.exit_code

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


def _check_types(**arguments: object) -> None:
    """Refuse what would be noticed later, or never.

    Raises:
        GuestError: An argument is of a wrong type.
    """
    for name, (is_fitting, expected) in _ARGUMENTS.items():
        if arguments[name] is not None and not is_fitting(arguments[name]):
            raise GuestError(f"invalid {name} {reprlib.repr(arguments[name])}: expected None or {expected}")


_ARGUMENTS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "grants": (lambda value: isinstance(value, Grants), "a Grants"),
    "policy": (lambda value: isinstance(value, Policy), "a Policy"),
    "cache": (lambda value: isinstance(value, Cache), "a Cache"),
    "listener": (callable, "a function of one collection"),
}


def _bytes_of(module: object) -> bytes:
    """A module's bytes.

    Raises:
        GuestError: It is neither bytes nor a path, or cannot be read.
    """
    if isinstance(module, bytes | bytearray | memoryview):
        return bytes(module)
    if not isinstance(module, str | os.PathLike):
        raise GuestError(f"invalid module {reprlib.repr(module)}: expected a path or bytes")
    return read_module(Path(module))


def _policy_for(gc: str, policy: Policy | None) -> Policy:
    """The policy with the collector that was asked for.

    Raises:
        GuestError: There is no such collector.
        UnsupportedGuestError: The policy is for our collector, but the module's own is to run.
    """
    if gc not in COLLECTORS:
        raise GuestError(f"invalid collector {gc!r}: expected {', '.join(COLLECTORS[:-1])} or {COLLECTORS[-1]}")
    policy = policy or Policy()
    if gc == NATIVE and policy != Policy():
        raise UnsupportedGuestError("the module's own collector takes no options; give none, or do not run it natively")
    return replace(policy, leaking=True) if gc == LEAKING else policy


def _form_for(gc: str, policy: Policy, *, is_recorded: bool) -> Form:
    """What is to be made of a module."""
    if gc == NATIVE:
        return Form.INJECTED if is_recorded else Form.NATIVE
    if policy.guard:
        return Form.GUARDED_AND_RECORDED if is_recorded else Form.GUARDED
    return Form.RECORDED if is_recorded else Form.SERVED


def _recorder_for(recording: Recorder | str | Path | None, grants: Grants) -> Recorder | None:
    """What records a run, if anything does.

    Raises:
        MissingLibraryError: The extra `profile` is not installed.
        RecordingError: There is no compiled kernel.
        GuestError: There is no memory for call stacks.
    """
    if recording is None:
        return None
    # Runs that are not recorded start sooner without all that.
    with library_for("recording a run"):
        from tinyheap.guests.record.recorder import Recorder
    from tinyheap.guests.rewrite.shadow_stack import PAGES

    least_bytes = PAGES * WASM_PAGE_BYTES
    if grants.memory_limit_bytes is not None and grants.memory_limit_bytes < least_bytes:
        raise GuestError(f"recording a run takes a memory of {least_bytes} bytes; do not limit memories to less")
    if isinstance(recording, Recorder):
        return recording
    if not isinstance(recording, str | os.PathLike):
        raise GuestError(f"invalid recording {reprlib.repr(recording)}: expected None, a path or a Recorder")
    return Recorder.to_file(recording)


def _row_of(program: Program, module: object, wasm: bytes, gc: str, policy: Policy) -> RunRow:
    """What is known of a recorded run at its beginning."""
    import hashlib
    from datetime import UTC, datetime

    from tinyheap.recordings.batch import RunRow

    guest, heap = program.guest, program.heap
    assert guest is not None, "a module that nobody looked at is not recorded"
    growth = None if policy.growth is None else growth_text(policy.growth)
    options = {**asdict(replace(policy, growth=None)), "growth": growth, "gc": gc, "seed": program.session.grants.seed}
    return RunRow(
        module=str(module) if isinstance(module, str | os.PathLike) else "(bytes)",
        module_sha256=hashlib.sha256(wasm).hexdigest(),
        arguments=program.session.grants.arguments[1:],
        runtime=guest.runtime,
        runtime_version=guest.version,
        collector=LEAKING if policy.leaking else guest.collector,
        source="injected" if heap is None else heap.engine_name,
        options=options,
        started_at=datetime.now(UTC),
        block_bytes=BLOCK_BYTES,
        heap_start_address=0 if heap is None else heap.start_address,
    )


def _check_served(guest: Guest | None, policy: Policy) -> None:
    """Refuse a policy that a guest cannot be run by; one that never frees anyway may be asked not to.

    Raises:
        UnsupportedGuestError: Says what the guest is and what does work.
    """
    if guest is None or is_served(guest) or (guest.leaking is not None and policy == Policy(leaking=True)):
        return
    from tinyheap.recognize.identify import block_heap

    block_heap(guest)
