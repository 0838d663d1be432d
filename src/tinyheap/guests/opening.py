"""Opening a program, step by step: each step is a type, and takes what the step before has made.

::

    Wish ──prepare(engine)──> PreparedRun ──offer(store)──> OfferedRun ──bind(instance)──> BoundRun
    checked arguments         a compiled module             its imports                    its heap and recording

These are the same whoever instantiates the module in between: tinyheap's own host (`own_host`), or a Python program that
knows nothing of it (`attached`).
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from wasmtime import Global, Memory, MemoryType

from tinyheap._loading import library_for
from tinyheap.errors import GuestError, PolicyError, UnsupportedGuestError
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy, headroom_text
from tinyheap.guests.preparing import Form, Prepared, prepare, read_module
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.serve.prepared import BoundHeap, OfferedHeap, PreparedHeap
from tinyheap.guests.source_frames import namer_of
from tinyheap.heap.growth import growth_text
from tinyheap.hosts import Grants
from tinyheap.hosts.functions import OwnImports
from tinyheap.recognize.facts import TABLE_DIVISOR, BestFitHeap
from tinyheap.snapshots.moments import Moment
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from wasmtime import Engine, Instance, Store

    from tinyheap.guests.record.recorder import OfferedRecorder, Recorder
    from tinyheap.guests.record.running_recorder import RunningRecorder
    from tinyheap.heap.stats import Collection as HeapCollection
    from tinyheap.hosts.frames import GuestFrame
    from tinyheap.hosts.functions import Imports
    from tinyheap.hosts.imports import Maker
    from tinyheap.hosts.phases import Life
    from tinyheap.recognize.facts import Guest, ServedHeap
    from tinyheap.recordings.row_types import RunRow

BLOCK_BYTES: Final = 16
"""Of TinyGo's heaps on WebAssembly."""
DEFAULT: Final = "default"
LEAKING: Final = "leaking"
NATIVE: Final = "native"
COLLECTORS: Final = (DEFAULT, LEAKING, NATIVE)
"""tinyheap's collector where it can serve; no collection at all; the module's own collector, in an unchanged module."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a program is to be opened with; the arguments of `Program.open`, checked by `of`."""

    source: object
    wasm: bytes
    grants: Grants
    policy: Policy
    gc: str
    cache: Cache
    listener: Callable[[HeapCollection], object] | None
    recorder: Recorder | None
    own: OwnImports
    symbols: bytes | None = None
    full_paths: bool = False
    moment: Moment | None = None

    @classmethod
    def of(
        cls,
        module: object,
        grants: Grants | None,
        policy: Policy | None,
        gc: str,
        cache: Cache | None,
        listener: Callable[[HeapCollection], object] | None,
        recording: Recorder | str | Path | None,
        imports: Imports | None,
        stub_imports: bool | Collection[str],
        symbols: object = None,
        *,
        full_paths: bool = False,
        snapshot_at: Moment | str | None = None,
    ) -> Self:
        """The arguments of `Program.open`, which says what is raised, with what stands for None."""
        _check_types(grants=grants, policy=policy, cache=cache, listener=listener)
        policy, grants = _policy_for(gc, policy), grants or Grants()
        wasm, own = _bytes_of(module), OwnImports.of(imports, stub_imports)
        recorder = _recorder_for(recording, grants, full_paths=full_paths)
        debug = None if symbols is None else _bytes_of(symbols, "symbols")
        cache = cache or Cache.of_user()
        moment = Moment.parse(snapshot_at) if isinstance(snapshot_at, str) else snapshot_at
        return cls(module, wasm, grants, policy, gc, cache, listener, recorder, own, debug, full_paths, moment)

    @property
    def form(self) -> Form:
        """What is to be made of the module."""
        is_recorded = self.recorder is not None
        if self.gc == NATIVE:
            return Form.INJECTED if is_recorded else Form.NATIVE
        if self.policy.serves_realloc:
            return Form.GUARDED_AND_RECORDED if is_recorded else Form.GUARDED
        return Form.RECORDED if is_recorded else Form.SERVED

    def prepare(self, engine: Engine, options: str) -> PreparedRun:
        """The module, made ready and looked at: can it be run as wished?

        Args:
            engine: what will run it.
            options: how the engine was configured, as far as that differs from program to program.
        """
        return self.take(prepare(self.wasm, self.form, engine, options, self.cache, self.symbols))

    def take(self, prepared: Prepared) -> PreparedRun:
        """The module where it was made ready before, in the same form."""
        if self.policy != Policy():
            _check_served(prepared, self.policy)
        served = prepared.served
        if self.listener is not None:
            _check_listened(self.policy, prepared.guest, served)
        return PreparedRun(self, prepared, served)


@dataclass(frozen=True)
class PreparedRun:
    """A module that can be run as wished.

    Args:
        wish: what was wished.
        prepared: the module.
        served: the heap whose collector was taken out of it; None for none.
    """

    wish: Wish
    prepared: Prepared
    served: ServedHeap | None

    def offer(self, store: Store) -> OfferedRun:
        """What the module imports besides what it did before, in the store of the instance to be."""
        recorder = None if self.wish.recorder is None else self._offered(self.wish.recorder, store)
        log = None if self.wish.recorder is None else self.wish.recorder.log
        heap = None if self.served is None else self._prepared_heap(self.served).offer(store, log)
        return OfferedRun(self, store, heap, recorder)

    def _offered(self, recorder: Recorder, store: Store) -> OfferedRecorder:
        from tinyheap.recordings.row_types import MemoryRow

        exported = (export.type for export in self.prepared.compiled.exports if export.name == MEMORY_EXPORT)
        limits = [kind.limits for kind in exported if isinstance(kind, MemoryType)]
        grants = self.wish.grants
        rows = [MemoryRow(max(each.min, grants.initial_pages), each.max, grants.memory_limit_bytes) for each in limits]
        return recorder.offer(store, rows[0] if rows else None, infers_deaths=self._frees_unseen)

    @property
    def own_source(self) -> str:
        """Who tells of allocations where the heap is not served here: calls in the module, if its allocator is known."""
        from tinyheap.guests.rewrite.sites import NOTE, RECORDER_IMPORT
        from tinyheap.recordings.observed import INJECTED, UNSEEN

        imports = ((each.module, each.name) for each in self.prepared.compiled.imports)
        return INJECTED if (RECORDER_IMPORT, NOTE) in imports else UNSEEN

    @property
    def _frees_unseen(self) -> bool:
        """Whether its own allocator frees what it made."""
        guest = self.prepared.guest
        return self.served is None and guest is not None and guest.collector != LEAKING

    def _prepared_heap(self, served: ServedHeap) -> PreparedHeap:
        return PreparedHeap(served, self.wish.policy, self.wish.listener, self.name_frames, self.prepared.residues)

    @cached_property
    def name_frames(self) -> Callable[[Sequence[GuestFrame]], tuple[str, ...]]:
        """What names call stacks: with source lines, where there is debug information."""
        wish = self.wish
        return namer_of(wish.wasm, wish.symbols, self.prepared, wish.form, full_paths=wish.full_paths)


@dataclass(frozen=True, slots=True)
class OfferedRun:
    """What a module imports besides what it did before.

    Args:
        run: what is run.
        store: of the instance to be.
        heap: the imports that serve its heap; None where it is not served.
        recorder: the imports that its run is recorded by; None where it is not.
    """

    run: PreparedRun
    store: Store
    heap: OfferedHeap | None
    recorder: OfferedRecorder | None

    @property
    def makers(self) -> Mapping[str, Maker]:
        """What makes these imports, by the name of the module that they are imported from."""
        makers: dict[str, Maker] = {}
        for offered in (self.recorder, self.heap):
            makers.update({} if offered is None else offered.makers)
        return makers

    def bind(self, instance: Instance, life: Life | None = None, memory_limit_bytes: int | None = None) -> BoundRun:
        """The heap and the recording of an instance, which is not started yet.

        Args:
            instance: of the module.
            life: its program's, which is not to be called while it waits for its heap.
            memory_limit_bytes: what the store lets its memory grow to, for messages; None for no limit.
        """
        heap = None if self.heap is None else self.heap.bind(instance, life, memory_limit_bytes)
        recording = None
        if self.recorder is not None:
            row = _row_of(self.run, heap)
            recording = self.recorder.attach(instance).begin(row, self.run.prepared.sites)
            if heap is not None:
                heap.recording = recording
        overflow = self._overflow_of(instance) if heap is None else heap.stack_overflow
        return BoundRun(self.run, heap, recording, overflow)

    def _overflow_of(self, instance: Instance) -> Callable[[], str | None]:
        """What sees whether the stack of a program overflowed whose heap is its own."""
        guest, store, exports = self.run.prepared.guest, self.store, instance.exports(self.store)
        pointer = exports.get(STACK_POINTER_EXPORT)
        stack = None if guest is None else guest.stack
        if stack is None or not isinstance(pointer, Global):
            return lambda: None
        memory = next((item for item in exports.values() if isinstance(item, Memory)), None)
        return lambda: stack.overflow(pointer.value(store), 0 if memory is None else memory.data_len(store))


@dataclass(frozen=True, slots=True)
class BoundRun:
    """An instance that is not started yet.

    Args:
        run: what is run.
        heap: its heap; None where it is not served here.
        recording: takes what happens; None where nobody asked for that.
        stack_overflow: says after a trap, in a phrase, by what the stack is seen to have overflowed; None where it is not.
    """

    run: PreparedRun
    heap: BoundHeap | None
    recording: RunningRecorder | None
    stack_overflow: Callable[[], str | None]


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


def _bytes_of(module: object, name: str = "module") -> bytes:
    """A module's bytes; `name` is what the argument is called.

    Raises:
        GuestError: It is neither bytes nor a path, or cannot be read.
    """
    if isinstance(module, bytes | bytearray | memoryview):
        return bytes(module)
    if not isinstance(module, str | os.PathLike):
        raise GuestError(f"invalid {name} {reprlib.repr(module)}: expected a path or bytes")
    return read_module(Path(module))


def _policy_for(gc: str, policy: Policy | None) -> Policy:
    """The policy with the collector that was asked for.

    Raises:
        GuestError: There is no such collector.
        UnsupportedGuestError: The policy is for tinyheap's collector, but the module's own is to run.
    """
    if gc not in COLLECTORS:
        raise GuestError(f"invalid gc {gc!r}: expected {', '.join(COLLECTORS[:-1])} or {COLLECTORS[-1]}")
    policy = policy or Policy()
    if gc == NATIVE and policy != Policy():
        raise UnsupportedGuestError(
            "options of the heap are for tinyheap's collector, and with gc='native' the module's own runs; leave them out, or "
            "choose another gc"
        )
    return replace(policy, leaking=True) if gc == LEAKING else policy


def _recorder_for(recording: Recorder | str | Path | None, grants: Grants, *, full_paths: bool) -> Recorder | None:
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
    from tinyheap.guests.rewrite.sites import PAGES

    least_bytes = PAGES * WASM_PAGE_BYTES
    if grants.memory_limit_bytes is not None and grants.memory_limit_bytes < least_bytes:
        raise GuestError(
            f"a memory limit of {grants.memory_limit_bytes} bytes is too low: recording a run takes {least_bytes} bytes for "
            "call stacks; raise it, or do not record"
        )
    if isinstance(recording, Recorder):
        return recording
    if not isinstance(recording, str | os.PathLike):
        raise GuestError(f"invalid recording {reprlib.repr(recording)}: expected None, a path or a Recorder")
    return Recorder.to_file(recording, full_paths=full_paths)


def _row_of(run: PreparedRun, heap: BoundHeap | None) -> RunRow:
    """What is known of a recorded run at its beginning."""
    import hashlib
    from datetime import UTC, datetime

    from tinyheap.recordings.row_types import RunRow

    wish, guest = run.wish, run.prepared.guest
    assert guest is not None, "a module that was not examined is not recorded"
    policy, source = wish.policy, wish.source
    growth = None if policy.growth is None else growth_text(policy.growth)
    headroom = None if policy.headroom is None else headroom_text(policy.headroom)
    options = {
        **asdict(replace(policy, growth=None)),
        "growth": growth,
        "headroom": headroom,
        "gc": wish.gc,
        "seed": wish.grants.seed,
        "initial_memory_bytes": wish.grants.initial_memory_bytes,
    }
    return RunRow(
        module=str(source) if isinstance(source, str | os.PathLike) else "(bytes)",
        module_sha256=hashlib.sha256(wish.wasm).hexdigest(),
        arguments=wish.grants.arguments[1:],
        runtime=guest.runtime,
        runtime_version=guest.version,
        collector=LEAKING if policy.leaking else guest.collector + _other_collector(heap),
        source=run.own_source if heap is None else heap.engine_name,
        options=options,
        started_at=datetime.now(UTC),
        block_bytes=BLOCK_BYTES,
        heap_start_address=0 if heap is None else heap.heap_start_address,
    )


def _other_collector(heap: BoundHeap | None) -> str:
    """How a recording says that another collector than the program's own serves; empty where none does."""
    if heap is None or heap.collector is heap.facts.collector:
        return ""
    return f", served by {heap.collector} at other addresses"


def _check_listened(policy: Policy, guest: Guest | None, served: ServedHeap | None) -> None:
    """Refuse a listener who would hear nothing.

    Raises:
        PolicyError: The policy has no collections.
        UnsupportedGuestError: Nobody here sees the module's.
    """
    if policy.leaking:
        raise PolicyError(
            "a heap that only grows (leaking) is never collected, so that a listener hears nothing; leave it out"
        )
    if served is None:
        what = "" if guest is None else f": this module ({guest.runtime}) {guest.served}"
        raise UnsupportedGuestError(
            f"collections of the module's own collector cannot be seen, so that a listener hears nothing; leave it out{what}"
        )


def _check_served(prepared: Prepared, policy: Policy) -> None:
    """Refuse a policy that a guest cannot be run by; one that never frees anyway may be asked not to.

    Raises:
        UnsupportedGuestError: Says what the guest is and what does work.
    """
    guest, served = prepared.guest, prepared.served
    if served is not None:
        _check_other_collector(served, policy)
    if guest is None or served is not None or (guest.leaking is not None and policy == Policy(leaking=True)):
        return
    from tinyheap.recognize.identify import block_heap

    block_heap(guest)


def _check_other_collector(served: ServedHeap, policy: Policy) -> None:
    """Refuse to serve a program by another collector than its own where it would notice more than other addresses.

    Raises:
        UnsupportedGuestError: Says what stands in the way.
    """
    collector, own = policy.serving(served.collector), served.collector
    if collector is own:
        return
    why = None
    if isinstance(served, BestFitHeap) and served.finalizers is not None:
        why = "it has finalizers, in a table that only its own sees to"
    elif served.format_readers:
        functions = ", ".join(map(str, served.format_readers))
        why = f"it looks itself at what only its own keeps up (function {functions})"
    elif served.table_divisor != TABLE_DIVISOR:
        why = "its block table is of the size that TinyGo's had before 0.23, and no other collector has such"
    elif policy.guard:
        why = "a guard needs the program's own"
    if why is not None:
        raise UnsupportedGuestError(f"this module cannot be served by {collector} in place of {own}: {why}")
