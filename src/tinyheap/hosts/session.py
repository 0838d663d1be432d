"""A program and its host for one run: imports offered, instance attached, exports called, timers served.

The order of things::

    engine  = new_engine(grants)              once, may serve many programs
    module  = compile_module(engine, wasm)
    session = offer(Store(engine), Linker(engine), module, grants)      imports are served or refused here
    session.instantiate(module)               or: session.attach(linker.instantiate(store, module))
    session.run()                             or: session.start(), session.call("export", 1, 2), ...

Whoever wants to serve imports of its own gives `offer` what makes them, or defines them in the linker before, where
`offer` leaves them alone.

Invariants: one time limit covers all that a session runs; no wasmtime exception leaves a session, each
becomes one of `tinyheap.errors`; a session that is dropped frees its program.
"""

from __future__ import annotations

import atexit
import math
import re
import threading
import time
import weakref
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from wasmtime import (
    Config,
    Engine,
    Func,
    Global,
    Linker,
    Memory,
    Module,
    Store,
    Trap,
    TrapCode,
    WasmtimeError,
)

from tinyheap.errors import (
    ArgumentError,
    GuestError,
    GuestExitError,
    GuestInterruptError,
    GuestTimeoutError,
    GuestTrapError,
    HostError,
    TinyheapError,
)
from tinyheap.hosts.bridge import MODULES as BRIDGE_MODULES
from tinyheap.hosts.bridge import Bridge
from tinyheap.hosts.grants import Grants, Sink
from tinyheap.hosts.imports import Import, Signature, describe
from tinyheap.hosts.memory import GuestMemory
from tinyheap.hosts.realm import Realm
from tinyheap.hosts.script import Thrown
from tinyheap.hosts.wasi import MODULE as WASI_MODULE
from tinyheap.hosts.wasi import Wasi, await_release
from tinyheap.hosts.world import world_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wasmtime import Instance
    from wasmtime._exportable import AsExtern

    from tinyheap.hosts.imports import Maker
    from tinyheap.hosts.realm import Timers

_T = TypeVar("_T")

_NO_DEADLINE = 1 << 62
_LONGEST_WAIT_S = 1e6
_FRAMES_SHOWN = 8
_INTERRUPTED = "the program was interrupted"
_ADDRESS_SPACE_BYTES = 1 << 32
_TABLE_ELEMENTS_LIMIT = 1 << 20
_MEMORIES_LIMIT = 4
_PANIC_EXIT_CODE = 2
"""What a Go program that panics exits with; TinyGo's panics end in ``unreachable``."""

_RELEASE_TIMEOUT_S = 1.0


class _Exit(BaseException):
    """Unwinds a program that ended itself; past ``except Exception`` of everything between."""


def new_engine(grants: Grants | None = None) -> Engine:
    """An engine that can do what ``grants`` ask for: its programs can be stopped, if they are to be."""
    config = Config()
    if grants is not None and is_stoppable(grants):
        config.epoch_interruption = True
    return Engine(config)


def is_stoppable(grants: Grants) -> bool:
    """Whether a program with these grants is compiled so that it can be stopped from outside."""
    return grants.interruptible or grants.timeout_s is not None


def compile_module(engine: Engine, wasm: bytes) -> Module:
    """The compiled module.

    Raises:
        GuestError: If ``wasm`` is not a WebAssembly module that wasmtime accepts.
    """
    try:
        return Module(engine, wasm)
    except WasmtimeError as error:
        raise GuestError(f"this is not a WebAssembly module that can run: {_last_cause(error)}") from error


def offer(
    store: Store, linker: Linker, module: Module, grants: Grants, makers: Mapping[str, Maker] | None = None
) -> HostSession:
    """A session whose host serves all of ``module``'s imports that the linker does not have yet.

    Args:
        store: Where the program will live; its limits and its WASI state are set here.
        linker: Gets the imports.
        module: The compiled program.
        grants: What it may have.
        makers: By the name of the module that is imported from: what makes its functions, instead of any host.

    Raises:
        HostError: If imports remain that nobody offers; the message lists every one with its type.
    """
    session = HostSession(store, linker, grants)
    session.offer(module, makers)
    return session


def load(wasm: bytes, grants: Grants | None = None) -> HostSession:
    """A session with the program as it is, instantiated and not yet started.

    Args:
        wasm: The module's bytes.
        grants: What it may have; `Grants()` if None.

    Raises:
        GuestError: If it is no module that can run.
        HostError: If it imports what no host offers.
    """
    grants = grants or Grants()
    engine = new_engine(grants)
    module = compile_module(engine, wasm)
    session = offer(Store(engine), Linker(engine), module, grants)
    session.instantiate(module)
    return session


class HostSession:
    """One program and what it is given; made by `offer` or `load`.

    Args:
        store: Where the program lives.
        linker: Where its imports are defined.
        grants: What it may have.
    """

    def __init__(self, store: Store, linker: Linker, grants: Grants) -> None:
        self.store = store
        self.linker = linker
        self.grants = grants
        self.exit_code: int | None = None
        self.before_entry: Callable[[], object] | None = None
        """Called whenever the program is about to run, with none of its functions called yet."""
        self.world = world_of(grants.seed)
        self._interrupted = threading.Event()
        # Not a method: a session must not be held by what it holds, so that it is freed when it is dropped.
        stop = partial(_stop, self._interrupted, store.engine)
        self._stdout = Sink("standard output", grants.stdout, stop)
        self._stderr = Sink("standard error", grants.stderr, stop)
        self._time_left_s = math.inf if grants.timeout_s is None else grants.timeout_s
        self._deadline_s = math.inf
        self._depth = 0
        _sessions.add(self)
        self._memory: GuestMemory | None = None
        self._functions: dict[str, Func] = {}
        self._globals: dict[str, Global] = {}
        self._realm: Realm | None = None
        self._bridge: Bridge | None = None
        self._wasi: Wasi | None = None
        store.set_epoch_deadline(_NO_DEADLINE)
        store.set_limits(
            memory_size=grants.memory_limit_bytes or _ADDRESS_SPACE_BYTES,
            table_elements=_TABLE_ELEMENTS_LIMIT,
            memories=_MEMORIES_LIMIT,
        )

    @property
    def bridge(self) -> Bridge | None:
        """The Go/JavaScript bridge, if the program imports it."""
        return self._bridge

    @property
    def memory(self) -> GuestMemory:
        """The program's exported memory.

        Raises:
            HostError: If it exports none, or is not attached yet.
        """
        if self._memory is None:
            raise HostError("the program has no exported memory that its host could use")
        return self._memory

    @property
    def exports(self) -> frozenset[str]:
        """The names of the functions that the program exports."""
        return frozenset(self._functions)

    def function(self, name: str) -> Func:
        """An exported function, as wasmtime has it.

        Raises:
            GuestError: If there is none of that name; the message lists those that there are.
        """
        if name not in self._functions:
            raise GuestError(
                f"no function {name!r} is exported; there are {', '.join(sorted(self._functions)) or 'none'}"
            )
        return self._functions[name]

    def read_global(self, name: str) -> int | float:
        """The value of an exported global number.

        Raises:
            GuestError: If there is none of that name.
        """
        if name not in self._globals:
            raise GuestError(f"no global {name!r} is exported; there are {', '.join(sorted(self._globals)) or 'none'}")
        value: int | float = self._globals[name].value(self.store)
        return value

    def offer(self, module: Module, makers: Mapping[str, Maker] | None = None) -> None:
        """Define every import of ``module`` that the linker lacks; see `tinyheap.hosts.session.offer`."""
        wanted = self._make(module, makers or {})
        kept = {item: found for item in wanted if (found := self._defined(item)) is not None}
        lacking = [item for item in wanted if item not in kept]
        if any(item.module == WASI_MODULE for item in lacking):
            self._wasi = Wasi(
                self.grants,
                self._stdout,
                self._stderr,
                self.world,
                lambda: self.memory,
                self.sleep,
                self._leave,
            )
            self._wasi.prepare(self.store, self.linker)
            for item, found in kept.items():
                self.linker.define(self.store, item.module, item.name, found)
        refused = [item for item in lacking if not self._offer_one(item)]
        if refused:
            listing = "".join(f"\n  {item}" for item in refused)
            raise HostError(f"the program imports what no host here offers:{listing}")

    def _make(self, module: Module, makers: Mapping[str, Maker]) -> list[Import]:
        """Define those imports of ``module`` that have a maker; returns the others."""
        others = []
        for item in module.imports:
            # Asked for once, since wasmtime takes a while to say it.
            place = item.module
            if place in makers:
                name = item.name or ""
                self.linker.define(self.store, place, name, makers[place](name, item.type))
            else:
                others.append(describe(item, place))
        return others

    def _offer_one(self, wanted: Import) -> bool:
        if wanted.module == WASI_MODULE and self._wasi is not None:
            self._wasi.offer(self.linker, wanted)
            return self._defined(wanted) is not None
        if wanted.module not in BRIDGE_MODULES:
            return False
        if self._bridge is None:
            self._realm = Realm(self.world, self._stdout, self._stderr, self.grants.script_limit_bytes)
            self._bridge = Bridge(
                self._realm,
                lambda: self.memory,
                lambda: self._call_from_host("resume"),
                lambda: self._call_from_host("go_scheduler"),
            )
        return self._bridge.offer(self.linker, wanted)

    def _defined(self, wanted: Import) -> AsExtern | None:
        """What the linker has of that name, if it is a function of that type or no function is wanted."""
        try:
            found = self.linker.get(self.store, wanted.module, wanted.name)
        except WasmtimeError:
            return None
        signature = Signature.of(found.type(self.store)) if isinstance(found, Func) else None
        return found if signature == wanted.signature else None

    def instantiate(self, module: Module) -> Instance:
        """The new instance of ``module``, attached.

        Raises:
            GuestError: If its memory is over the limit, its imports do not fit, or its start function traps.
        """
        instance = self._result_of("its start", lambda: self.linker.instantiate(self.store, module))
        self.attach(instance)
        return instance

    def attach(self, instance: Instance) -> None:
        """Let the host use the exports of ``instance``, which was made with this session's linker."""
        exports = instance.exports(self.store)
        items = {name: exports[name] for name in exports}
        self._functions = {name: item for name, item in items.items() if isinstance(item, Func)}
        self._globals = {name: item for name, item in items.items() if isinstance(item, Global)}
        memory = items.get("memory")
        self._memory = GuestMemory(self.store, memory) if isinstance(memory, Memory) else None

    def start(self) -> None:
        """Run the program's ``_start`` or ``_initialize``, if it has either; an exit is kept in `exit_code`.

        Raises:
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        entries = [self._functions[name] for name in ("_start", "_initialize") if name in self._functions]
        if entries:
            self._run_to_exit(lambda: entries[0](self.store))

    def run(self) -> int:
        """The exit code of the whole program: started, and its timers served until none is left or it exits.

        Raises:
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        self.start()
        self.run_timers()
        return self.exit_code or 0

    def run_timers(self) -> None:
        """Serve the program's timers, waiting for each, until none is left or it exits."""
        if self._realm is not None and self.exit_code is None:
            timers = self._realm.timers
            self._run_to_exit(lambda: self._serve(timers))

    def _serve(self, timers: Timers) -> None:
        while (delay_ns := timers.next_delay_ns()) is not None:
            if delay_ns:
                self.sleep(delay_ns)
            else:
                timers.run_first()

    def call(self, name: str, *arguments: float) -> int | float | None:
        """What an exported function returns: None, or one number, i32 and i64 signed.

        Args:
            name: The export.
            arguments: Its parameters; integers may be given signed or unsigned.

        Raises:
            GuestError: If there is no such export.
            ArgumentError: If it takes other arguments.
            GuestExitError: If the program ends itself meanwhile.
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        function = self.function(name)
        numbers = self._converted(name, function, arguments)
        result: int | float | None = self._result_of(name, lambda: function(self.store, *numbers))
        return result

    def call_script(self, name: str, *arguments: object) -> object:
        """What a function returns that the program has put into JavaScript's global object.

        See `tinyheap.hosts.bridge.Bridge.call_global`.

        Raises:
            HostError: If there is none, or it throws.
            GuestError: As for `call`.
        """
        bridge = self._bridge
        if bridge is None:
            raise HostError("the program does not use the Go/JavaScript bridge, so it has no functions there")
        return self._result_of(name, lambda: bridge.call_global(name, *arguments))

    def arguments_from_text(self, name: str, texts: Sequence[str]) -> list[int | float]:
        """A command line's words as the arguments of an export; integers in any of Python's notations.

        Raises:
            GuestError: If there is no such export.
            ArgumentError: If there are too few or too many words, or one is not a number of the right kind.
        """
        kinds = [str(kind) for kind in self.function(name).type(self.store).params]
        if len(kinds) != len(texts):
            raise ArgumentError(f"{name} takes ({', '.join(kinds)}): {len(kinds)} expected, got {len(texts)}")
        return [_number_from(text, kind, name) for text, kind in zip(texts, kinds, strict=True)]

    def interrupt(self) -> None:
        """End what the program is doing now, and all that it is asked to do later, with `GuestInterruptError`.

        May be called by any thread.  Only programs that were granted to be interruptible, or have a time limit, notice
        it while they compute.
        """
        _stop(self._interrupted, self.store.engine)

    def sleep(self, duration_ns: int) -> None:
        """Let ``duration_ns`` pass in the program's world.

        Raises:
            GuestTimeoutError: If the program's time is over before.
            GuestInterruptError: If it is interrupted meanwhile.
        """
        if self.world.repeatable:
            self.world.sleep(duration_ns)
            return
        end_s = time.monotonic() + duration_ns / 1e9
        while (left_s := min(end_s, self._deadline_s) - time.monotonic()) > 0:
            if self._interrupted.wait(min(left_s, _LONGEST_WAIT_S)):
                raise GuestInterruptError(_INTERRUPTED)
        if end_s > self._deadline_s:
            raise self._timeout()

    def _converted(self, name: str, function: Func, arguments: Sequence[float]) -> list[float]:
        """``arguments`` as numbers of the kinds that the function takes."""
        kinds = [str(kind) for kind in function.type(self.store).params]
        if len(kinds) != len(arguments) or not all(map(_fits, kinds, arguments)):
            raise ArgumentError(f"{name} takes ({', '.join(kinds)}), not {arguments}")
        return [float(value) if kind[0] == "f" else value for kind, value in zip(kinds, arguments, strict=True)]

    def _call_from_host(self, name: str) -> None:
        if self.exit_code is not None:
            raise HostError(f"{name} was to run after the program had ended with exit code {self.exit_code}")
        self.function(name)(self.store)

    def _leave(self, code: int) -> NoReturn:
        self.exit_code = code
        raise _Exit

    def _run_to_exit(self, body: Callable[[], object]) -> bool:
        """Whether ``body``, run under the time limit, ended the program."""
        try:
            with self._running():
                body()
        except _Exit:
            return True
        finally:
            self._stdout.raise_failure()
            self._stderr.raise_failure()
        return False

    def _result_of(self, name: str, body: Callable[[], _T]) -> _T:
        """What ``body`` returns; ``name`` is what an error says has no result if the program ends itself."""
        results: list[_T] = []
        if self._run_to_exit(lambda: results.append(body())):
            message = f"the program ended with exit code {self.exit_code} before {name} had a result"
            raise GuestExitError(message, self.exit_code or 0)
        return results[0]

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Around everything that runs the program: its time is counted, and errors are translated."""
        alarm = self._begin()
        try:
            yield
        except TinyheapError:
            raise
        except (Trap, WasmtimeError) as error:
            raise self._translated(error) from error
        except Thrown as thrown:
            raise HostError(f"the program's timer threw {thrown}") from thrown
        except RecursionError as error:
            raise HostError("the program and its host called each other too deep") from error
        except MemoryError as error:
            raise HostError("the host has no memory left for what the program asks for") from error
        finally:
            self._end(alarm)

    def _begin(self) -> threading.Timer | None:
        if self._interrupted.is_set():
            raise GuestInterruptError(_INTERRUPTED)
        if self._time_left_s <= 0:
            raise self._timeout()
        self._depth += 1
        if self._depth > 1:
            return None
        if self.before_entry is not None:
            self.before_entry()
        self.store.set_epoch_deadline(1)
        if self._time_left_s == math.inf:
            return None
        self._deadline_s = time.monotonic() + self._time_left_s
        alarm = threading.Timer(self._time_left_s, self.store.engine.increment_epoch)
        alarm.daemon = True
        alarm.start()
        return alarm

    def _end(self, alarm: threading.Timer | None) -> None:
        self._depth -= 1
        if alarm is not None:
            alarm.cancel()
            alarm.join()
            self._time_left_s = self._deadline_s - time.monotonic()
            self._deadline_s = math.inf

    def _stopped(self, where: str) -> GuestError:
        """Why the program was stopped."""
        if self._interrupted.is_set():
            return GuestInterruptError(f"{_INTERRUPTED} in {where}")
        return self._timeout()

    def _timeout(self) -> GuestTimeoutError:
        return GuestTimeoutError(f"the program ran longer than its {self.grants.timeout_s} seconds")

    def _translated(self, error: Trap | WasmtimeError) -> GuestError:
        if not isinstance(error, Trap):
            return GuestError(f"the program cannot run: {_last_cause(error)}")
        code = error.trap_code
        frames = tuple(frame.func_name or f"function {frame.func_index}" for frame in error.frames)
        where = " < ".join(frames[:_FRAMES_SHOWN]) + (" < ..." if len(frames) > _FRAMES_SHOWN else "")
        if code is TrapCode.INTERRUPT:
            return self._stopped(where or "its start")
        kind = code.name.lower().replace("_", " ") if code is not None else _last_cause(error)
        exit_code = _PANIC_EXIT_CODE if code is TrapCode.UNREACHABLE else 134
        return GuestTrapError(f"the program trapped ({kind}) in {where or 'its start'}", exit_code, frames)


def _stop(interrupted: threading.Event, engine: Engine) -> None:
    """Let a program notice that it is to end."""
    interrupted.set()
    engine.increment_epoch()


def _fits(kind: str, value: float) -> bool:
    """Whether a number can be passed as that kind; integers signed or unsigned."""
    if kind in {"i32", "i64"}:
        bits = int(kind[1:])
        return isinstance(value, int) and -(1 << bits - 1) <= value < 1 << bits
    return kind in {"f32", "f64"}


def _number_from(text: str, kind: str, name: str) -> int | float:
    """A word as a number of that kind.

    Raises:
        ArgumentError: It is not one.
    """
    try:
        number = int(text, 0) if kind in {"i32", "i64"} else float(text)
    except ValueError:
        number = None
    if number is None or not _fits(kind, number):
        kinds = {"i32": "an integer of 32 bits", "i64": "an integer of 64 bits"}
        raise ArgumentError(f"{name}: invalid argument {text!r}: expected {kinds.get(kind, 'a number')} ({kind})")
    return number


def _last_cause(error: Exception) -> str:
    """Wasmtime's own words without its backtrace: its last cause, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^\d+: ", "", lines[-1]) if lines else type(error).__name__


_sessions: weakref.WeakSet[HostSession] = weakref.WeakSet()


@atexit.register
def _end_idle_sessions() -> None:
    """Free all programs while Python still runs: a thread of wasmtime's that met its end would abort with a backtrace."""
    for session in list(_sessions):
        if session._depth == 0:
            session.store.close()
    await_release(_RELEASE_TIMEOUT_S)
