"""What happens in a store of a Python program's: calls of its functions, and the end of the recordings of its instances.

A store's Python object owns what is here, and what is here knows the store by a weak reference only: a program that drops a
store frees it at once, as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import wasmtime
from wasmtime import ExitTrap, Func, Memory, Trap, TrapCode
from wasmtime import _ffi as ffi

from tinyheap.errors import HeapCorruptError, RecordingError, TinyheapError
from tinyheap.guests import serve
from tinyheap.guests.rewrite.rewriting import MEMORY_EXPORT, STACK_POINTER_EXPORT
from tinyheap.guests.rewrite.sites import SHADOW_STACK_EXPORT

if TYPE_CHECKING:
    from wasmtime import Instance, Store
    from wasmtime._exportable import AsExtern

    from tinyheap.guests.attached.names import RecordingFile
    from tinyheap.guests.opening import BoundRun
    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.guests.record.running_recorder import RunningRecorder

_ADDED_EXPORTS: Final = frozenset({SHADOW_STACK_EXPORT, MEMORY_EXPORT, STACK_POINTER_EXPORT})


def take_exports(instance: Instance, store: Store) -> Mapping[str, AsExtern]:
    """All exports of an instance, of which it keeps those that its program knows of."""
    exports = instance.exports(store)
    found = dict(exports)
    kept = {name: item for name, item in found.items() if name not in _ADDED_EXPORTS}
    exports._extern_map, exports._extern_seq = kept, tuple(kept.values())
    return found


class AttachedRun:
    """The run of one instance, which is recorded.

    Args:
        bound: its heap and its recording.
        store: where it lives.
        exports: of the instance, with those that its program does not know of.
        name: what its module is called.
        file: of its recording.
        say: tells the user of what cannot be told the program.
    """

    def __init__(
        self,
        bound: BoundRun,
        store: Store,
        exports: Mapping[str, AsExtern],
        name: str,
        file: RecordingFile,
        say: Callable[[str], object],
    ) -> None:
        wish, recording = bound.run.wish, bound.recording
        assert wish.recorder is not None, "what is attached to is recorded"
        assert recording is not None, "what is attached to is recorded"
        self.recording: RunningRecorder = recording
        self._recorder: Recorder = wish.recorder
        self._bound, self._store, self._name, self._file, self._say = bound, store, name, file, say
        memory = exports.get("memory", exports.get(MEMORY_EXPORT))
        self._memory = memory if isinstance(memory, Memory) else None
        self._exit_code: int | None = None
        self._failure: str | None = None

    def call_begins(self, export: str, arguments: tuple[Any, ...]) -> None:
        """The program calls an export."""
        self.recording.call_begins(export, arguments, self._memory_bytes())

    def call_ends(self, result: object, *, returned: bool) -> None:
        """The call that began last is over."""
        number = result if isinstance(result, int | float) else None
        self.recording.call_ends(number, returned, self._memory_bytes())

    def _memory_bytes(self) -> int | None:
        with suppress(ValueError, ReferenceError):  # the store is closed
            return None if self._memory is None else self._memory.data_len(self._store)
        return None

    def note_failure(self, error: BaseException) -> None:
        """A call has failed: what that says of the run's end."""
        if isinstance(error, ExitTrap):
            self._exit_code = error.code
        elif isinstance(error, Trap) and self._failure is None:
            code, overflow = error.trap_code, self._overflow()
            kind = "by its host" if code is None else code.name.lower().replace("_", " ")
            what = "the program" if overflow is None else f"the program's stack overflowed ({overflow}), and it"
            self._failure = f"{what} trapped ({kind})"
            if overflow is not None:
                self._say(f"{self._name}: {self._failure}")

    def _overflow(self) -> str | None:
        with suppress(ValueError, ReferenceError):  # the store is closed
            return self._bound.stack_overflow()
        return None

    def note_stop(self, error: BaseException) -> None:
        """What serves the heap has stopped the program."""
        if self._failure is None:
            self._failure = str(error)
            self._say(f"{self._name}: {error}; the program gets a trap")

    def finish(self) -> None:
        """End the recording, and wait for nothing; what the program does after that is not recorded."""
        self._file.ends = True
        if self._bound.heap is not None:
            try:
                self._bound.heap.finish()
            except HeapCorruptError as error:
                self._failure = self._failure or str(error)
                self._say(f"{self._name}: {error}")
        try:
            self._recorder.finish(error=self._failure, exit_code=self._exit_code)
        except RecordingError as error:
            self._say(str(error))

    def wait(self) -> None:
        """Wait until the recording is whole."""
        self._file.wait()

    def abandon(self) -> None:
        """Note nothing any more: this is a fork of the process that records."""
        self._recorder.abandon()

    def let_go(self) -> None:
        """Let go of the instance's memory, which is about to be freed."""
        if self._bound.heap is not None:
            self._bound.heap.close()


class AttachedStore:
    """The recorded instances of one store, which runs on one thread at a time.

    Args:
        on_end: called when their recordings are ended.
    """

    def __init__(self, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self._runs: list[AttachedRun] = []
        self._exported: dict[int, tuple[AttachedRun, str]] = {}
        self._depth = 0
        self._free: Callable[[], None] | None = None
        """Frees the store, which was closed in the middle of a call."""
        self.is_over = self._ends_when_idle = False
        self._lock = threading.RLock()
        """Held while it is found out whether somebody calls."""

    def add(self, run: AttachedRun, exports: Mapping[str, AsExtern]) -> None:
        """Take an instance that is there from now on."""
        with self._lock:
            self._runs.append(run)
            if self._depth:
                # A host function has made it.
                run.recording.enter()
        for name, item in exports.items():
            if isinstance(item, Func):
                self._exported[_address(item)] = run, name

    def call(self, function: Func, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """The result of a function, which is told to the recordings.

        Calls that come into an instance by another, or by a table, are entered all the same.
        """
        run, export = self._exported.get(_address(function), (None, ""))
        self._enter()
        if run is not None:
            run.call_begins(export, arguments)
        result, returned = None, False
        try:
            result = call()
            returned = True
        except BaseException as error:
            self._note_error(error, self._runs if run is None else [run])
            raise
        finally:
            if run is not None:
                run.call_ends(result, returned=returned)
            self._leave()
        return result

    def _note_error(self, error: BaseException, runs: Sequence[AttachedRun]) -> None:
        """A call has failed, of one of these.

        Raises:
            Trap: what serves the heap has stopped the program, whose own allocator would have trapped.
        """
        trap = trap_for(error)
        for run in runs:
            if trap is None:
                run.note_failure(error)
            else:
                run.note_stop(error)
        if trap is not None:
            raise trap from error

    def _enter(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                for run in self._runs:
                    run.recording.enter()

    def _leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                for run in self._runs:
                    run.recording.leave()
                if self._ends_when_idle:
                    self.end()
                    for run in self._runs:
                        run.wait()
                if self._free is not None:
                    self._let_go(self._free)

    def end_when_idle(self) -> None:
        """End the recordings now, or as soon as no call is being made any more."""
        with self._lock:
            if self._depth:
                self._ends_when_idle = True
            else:
                self.end()

    def end(self) -> None:
        """End the recordings; again does nothing."""
        with self._lock:
            if self.is_over:
                return
            self.is_over = True
            for run in self._runs:
                run.finish()
        self._on_end()

    def close(self, free: Callable[[], None]) -> bool:
        """End the recordings, and free the store; not so while it is called, when that is left until the call has returned.

        wasmtime would free it at once, with what the call is in the middle of.
        """
        with self._lock:
            self.end()
            if self._depth:
                self._free = free
                return False
            self._let_go(free)
            return True

    def _let_go(self, free: Callable[[], None]) -> None:
        self._free = None
        for run in self._runs:
            run.let_go()
        free()

    def abandon(self) -> None:
        """Note nothing any more: this is a fork of the process that records, and its other threads are gone."""
        self._lock, self.is_over = threading.RLock(), True
        for run in self._runs:
            run.abandon()


def _address(function: Func) -> int:
    """What tells a function from all others of its store, whatever it was got by."""
    address: int = getattr(function._func, "__private")
    return address


def trap_for(error: BaseException) -> Trap | None:
    """What a program gets whose heap could not be served: the trap that its own allocator ends in; None for other errors."""
    is_of_serving = isinstance(error, TinyheapError) and any(
        name.startswith(f"{serve.__name__}.") for name in _modules_of(error)
    )
    return Trap._from_ptr(ffi.wasmtime_trap_new_code(TrapCode.UNREACHABLE.value)) if is_of_serving else None


def _modules_of(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next


def store_id(instance: Instance) -> int:
    """The number of the store that an instance lives in; functions know it, too."""
    return instance._instance.store_id


def id_of_function(function: wasmtime.Func) -> int:
    """The number of the store that a function lives in."""
    return function._func.store_id
