"""A program and its host for one run: imports offered, instance attached, exports called, timers served.

The order of things::

    engine  = new_engine(grants)              once, may serve many programs
    module  = compile_module(engine, wasm)
    session = offer(Store(engine), Linker(engine), module, grants)      imports are served or refused here
    session.instantiate(module)               or: session.attach(linker.instantiate(store, module))
    session.run()                             or: session.start(), session.call("export", 1, 2), ...

A user's functions (`functions`) come before those of any host.  Whoever wants to serve imports by wasmtime's means gives
`offer` what makes them, or defines them in the linker before, where `offer` leaves them alone.

Invariants: one time limit covers all that a session runs; no wasmtime exception leaves a session, each
becomes one of `tinyheap.errors`; calls in the wrong phase are refused (`phases`); an error that unwinds a program ends it;
a session that is dropped frees its program.
"""

from __future__ import annotations

import atexit
import math
import re
import reprlib
import threading
import time
import weakref
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from wasmtime import (
    Config,
    Engine,
    Frame,
    Func,
    Global,
    Linker,
    Memory,
    MemoryType,
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
    GuestPhaseError,
    GuestTimeoutError,
    GuestTrapError,
    HostError,
    TinyheapError,
)
from tinyheap.hosts.frames import GuestFrame, plain_names, shown
from tinyheap.hosts.functions import Imports, OwnFunctions, OwnImports
from tinyheap.hosts.gojs.bridge import MODULES as BRIDGE_MODULES
from tinyheap.hosts.gojs.bridge import Bridge
from tinyheap.hosts.gojs.realm import Realm
from tinyheap.hosts.gojs.script import Thrown
from tinyheap.hosts.gojs.ticks import define_ticks
from tinyheap.hosts.grants import Grants, OutputStream
from tinyheap.hosts.imports import RequiredImport, Signature, describe
from tinyheap.hosts.imports import number as number_of
from tinyheap.hosts.memory import GuestMemory
from tinyheap.hosts.offered import HOW_TO_OFFER, WASI_MODULE
from tinyheap.hosts.phases import Life, Phase
from tinyheap.hosts.wasi import Wasi, await_release
from tinyheap.hosts.world import world_of
from tinyheap.ownership import SoleOwner
from tinyheap.units import WASM_PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from wasmtime import Instance
    from wasmtime._exportable import AsExtern

    from tinyheap.hosts.imports import Maker

_T = TypeVar("_T")

OWN_MODULES: weakref.WeakSet[Module] = weakref.WeakSet()
"""Compiled modules that tinyheap instantiates, and not the Python program that it runs in."""
OPTIMIZATION = "speed"
"""How hard wasmtime's compiler tries: programs are compiled once, kept, and run often."""
_NO_DEADLINE = 1 << 62
_LONGEST_WAIT_S = 1e6
_MEMORY = "memory"
_ENTRIES = ("_start", "_initialize")
"""What a program is started by: the first that it exports."""
_INTERRUPTED = "the program was interrupted"
_ADDRESS_SPACE_BYTES = 1 << 32
_TABLE_ELEMENTS_LIMIT = 1 << 20
_MEMORIES_LIMIT = 4
_PANIC_EXIT_CODE = 2
"""What a Go program that panics exits with; TinyGo's panics end in ``unreachable``."""

_FAULT = re.compile(r"memory fault at wasm address (0x[0-9a-f]+)")
_NESTED_CALLS_LIMIT = 32
"""Python's own limit must not be met inside wasmtime, which would go on as if nothing were."""
_RELEASE_TIMEOUT_S = 1.0


class _Exit(BaseException):
    """Unwinds a program that ended itself; past ``except Exception`` of everything between."""


def new_engine(grants: Grants | None = None) -> Engine:
    """A wasmtime engine for programs with these grants; it can interrupt them, where the grants need that."""
    config = Config()
    config.cranelift_opt_level = OPTIMIZATION
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
        module = Module(engine, wasm)
    except WasmtimeError as error:
        raise GuestError(f"this is not a WebAssembly module that can run: {_last_cause(error)}") from error
    OWN_MODULES.add(module)
    return module


def offer(
    store: Store,
    linker: Linker,
    module: Module,
    grants: Grants,
    makers: Mapping[str, Maker] | None = None,
    own: OwnImports | None = None,
) -> HostSession:
    """A session whose host serves all of ``module``'s imports that the linker does not have yet.

    Args:
        store: Where the program will live; its limits and its WASI state are set here.
        linker: Gets the imports.
        module: The compiled program.
        grants: What it may have.
        makers: What makes the functions of a module that is imported from, by its name, instead of any host.
        own: Functions and stubs that the user offers, which come before any host's.

    Raises:
        HostError: If imports remain that no host offers; the message lists every one with its type.
    """
    session = HostSession(store, linker, grants, own)
    session.offer(module, makers)
    return session


def load(
    wasm: bytes,
    grants: Grants | None = None,
    *,
    imports: Imports | None = None,
    stub_imports: bool | Collection[str] = False,
) -> HostSession:
    """A session with the program as it is, instantiated and not yet started.

    Args:
        wasm: The module's bytes.
        grants: What it may have; `Grants()` if None.
        imports: The user's own functions, by the module and the name that they are imported by.
        stub_imports: The imports to replace by stubs that return zero, as ``env.log``; True for all that nothing offers.

    Raises:
        GuestError: If it is not a module that can run.
        HostError: If it has imports that no host offers, or what is offered does not fit.
    """
    grants, own = grants or Grants(), OwnImports.of(imports, stub_imports)
    engine = new_engine(grants)
    module = compile_module(engine, wasm)
    session = offer(Store(engine), Linker(engine), module, grants, own=own)
    session.instantiate(module)
    return session


class HostSession(SoleOwner):
    """One program and what it is given; made by `offer` or `load`, and to be closed at the end, best by ``with``.

    A call in the wrong phase raises `GuestPhaseError`; see `tinyheap.hosts.phases`.

    Args:
        store: Where the program lives.
        linker: Where its imports are defined.
        grants: What it may have.
        own: Functions and stubs that the user offers.
    """

    def __init__(self, store: Store, linker: Linker, grants: Grants, own: OwnImports | None = None) -> None:
        self.store = store
        self.linker = linker
        self.grants = grants
        self.exit_code: int | None = None
        self.failure: str | None = None
        """What ended the program, so that it cannot go on: a trap, a limit, an interrupt; None where nothing but itself did."""
        self.before_entry: Callable[[], object] | None = None
        """Called whenever the program is about to run, with none of its functions called yet."""
        self.after_exit: Callable[[], object] | None = None
        """Called whenever the last of its functions has returned, or failed."""
        self.before_call: Callable[[str, tuple[float, ...], int | None], object] | None = None
        """Called with the name of each exported function that the host calls, also from within a function of its own,
        with its arguments, and the bytes of linear memory."""
        self.after_call: Callable[[int | float | None, bool, int | None], object] | None = None
        """Called at the end of each such call, with its result, whether it returned, and the bytes of linear memory."""
        self.explain_trap: Callable[[], str | None] = lambda: None
        """Says after a trap, in a phrase, by what the program's stack is seen to have overflowed; None where it is not."""
        self.name_frames: Callable[[Sequence[GuestFrame]], tuple[str, ...]] = plain_names
        """Makes the text of a call stack, innermost first."""
        self.trap_frames: tuple[GuestFrame, ...] = ()
        """The calls that had not returned when the program trapped, innermost first; empty where it did not."""
        self.life = Life()
        self.world = world_of(grants.seed)
        self._interrupted = threading.Event()
        # Not a method: a session must not be held by what it holds, so that it is freed when it is dropped.
        stop = partial(_stop, self._interrupted, store.engine)
        writing = partial(self.life.busy, "writes its output")
        self._stdout = OutputStream("standard output", grants.stdout, stop, writing)
        self._stderr = OutputStream("standard error", grants.stderr, stop, writing)
        self._time_left_s = math.inf if grants.timeout_s is None else grants.timeout_s
        self._deadline_s = math.inf
        self._entered_ns = self._left_ns = 0
        _sessions.add(self)
        self._memory: GuestMemory | None = None
        self._functions: dict[str, Func] = {}
        self._globals: dict[str, Global] = {}
        self._memories: dict[str, Memory] = {}
        self._realm: Realm | None = None
        self._bridge: Bridge | None = None
        self._wasi: Wasi | None = None
        self._own = OwnFunctions(own or OwnImports({}), self)
        store.set_epoch_deadline(_NO_DEADLINE)
        store.set_limits(
            memory_size=min(grants.memory_limit_bytes or _ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES),
            table_elements=_TABLE_ELEMENTS_LIMIT,
            memories=_MEMORIES_LIMIT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program and free its memory; again does nothing.

        Raises:
            GuestPhaseError: It is running.
        """
        with self.life.idle("close"):
            self.life.close()
            self.before_entry = self.after_exit = self.before_call = self.after_call = None
            self.store.close()

    @property
    def phase(self) -> Phase:
        """The phase that the program is in."""
        return self.life.phase

    @property
    def bridge(self) -> Bridge | None:
        """The Go/JavaScript bridge, if the program imports it."""
        return self._bridge

    @property
    def last_output(self) -> bytes:
        """What the program wrote last to its standard output, and then to its standard error; some kilobytes of each."""
        return self._stdout.tail + b"\n" + self._stderr.tail

    @property
    def stub_calls(self) -> Mapping[str, int]:
        """How often each stub was called, by the name of its import (``env.log``)."""
        return dict(self._own.stub_calls)

    @property
    def entered_ns(self) -> int:
        """When its first call began, by the clock of ``time.perf_counter_ns``; 0 if it was not called."""
        return self._entered_ns

    @property
    def ran_ns(self) -> int:
        """How long the program ran: from its first call to when its last one returned, or now; 0 if it was not called."""
        return (time.perf_counter_ns() if self.life.is_running else self._left_ns) - self._entered_ns

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
        """An exported function as an object of wasmtime's; calling it bypasses the phases, the time limit and all other checks.

        Raises:
            GuestError: If there is none of that name; the message lists those that exist.
        """
        found = self._functions.get(str(name))
        if found is None:
            raise GuestError(f"invalid function {name!r}: expected an exported one ({_names(self._functions)})")
        return found

    def read_global(self, name: str) -> int | float:
        """The value of an exported global number.

        Raises:
            GuestError: If there is none of that name.
        """
        wish = f"read {name!r}"
        self.life.check_open(wish)
        if name not in self._globals:
            raise GuestError(f"invalid global {name!r}: expected an exported one ({_names(self._globals)})")
        with self.life.using(wish):
            value: int | float = self._globals[name].value(self.store)
        return value

    @property
    def exported_globals(self) -> Mapping[str, Global]:
        """The globals that the program exports, by name."""
        return self._globals

    @property
    def exported_memories(self) -> Mapping[str, Memory]:
        """The memories that the program exports, by name."""
        return self._memories

    def offer(self, module: Module, makers: Mapping[str, Maker] | None = None) -> None:
        """Define every import of ``module`` that the linker lacks; see `tinyheap.hosts.offer`."""
        wanted = self._make(module, makers or {})
        self._own.check(wanted)
        for item in wanted:
            self._own.offer(self.linker, item)
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
        refused = [item for item in refused if not self._own.stub_rest(self.linker, item)]
        if refused:
            listing = "".join(f"\n  {item}" for item in refused)
            raise HostError(f"the program has imports that no host here offers:{listing}\n{HOW_TO_OFFER}")

    def _make(self, module: Module, makers: Mapping[str, Maker]) -> list[RequiredImport]:
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

    def _offer_one(self, wanted: RequiredImport) -> bool:
        if wanted.module == WASI_MODULE and self._wasi is not None:
            self._wasi.offer(self.linker, wanted)
            return self._defined(wanted) is not None
        if wanted.module not in BRIDGE_MODULES:
            return False
        if self._wasi is not None and not self.world.repeatable and define_ticks(self.store, self.linker, wanted):
            return True
        if self._bridge is None:
            self._realm = Realm(self.world, self._stdout, self._stderr, self.grants.script_limit_bytes)
            self._bridge = Bridge(
                self._realm,
                lambda: self.memory,
                lambda: self._call_from_host("resume"),
                lambda: self._call_from_host("go_scheduler"),
                self._serve_timers,
            )
        return self._bridge.offer(self.linker, wanted)

    def _defined(self, wanted: RequiredImport) -> AsExtern | None:
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
            GuestError: If its memory is over the limit or cannot be as large as it is to begin with, its imports do not fit,
                or its start function traps.
        """
        self._check_memory(module)
        with self.life.using("instantiate"):
            instance = self._result_of("instantiate", "its start", self.life.check_open, self._instantiating(module))
            self._entered_ns = self._left_ns = 0
            self.attach(instance)
            self._enlarge_memory()
        return instance

    def _enlarge_memory(self) -> None:
        """Give the program's memory the size that it is to begin with, if it has less: nothing but a start function ran yet."""
        pages, memory = self.grants.initial_pages, self._memories.get(_MEMORY)
        if not pages:
            return
        if memory is None:
            raise GuestError(
                f"there is no memory to begin with {pages * WASM_PAGE_BYTES} bytes: the module exports none"
            )
        if (missing := pages - memory.size(self.store)) > 0:
            try:
                memory.grow(self.store, missing)
            except WasmtimeError as error:
                raise GuestError(
                    f"the program's memory cannot begin with {pages * WASM_PAGE_BYTES} bytes: that is over what the module "
                    "allows, or this machine has; choose less"
                ) from error

    def _check_memory(self, module: Module) -> None:
        """Refuse a limit that the program's memory is beyond from the start."""
        limit_bytes = self.grants.memory_limit_bytes
        if limit_bytes is None:
            return
        kinds = [export.type for export in module.exports]
        least_bytes = max(
            (
                max(kind.limits.min, self.grants.initial_pages) * WASM_PAGE_BYTES
                for kind in kinds
                if isinstance(kind, MemoryType)
            ),
            default=0,
        )
        if least_bytes > limit_bytes:
            raise GuestError(
                f"a memory limit of {limit_bytes} bytes cannot be kept: the program's memory has {least_bytes} bytes when "
                f"it begins; give {least_bytes} or more"
            )

    def _instantiating(self, module: Module) -> Callable[[], Instance]:
        def instantiate() -> Instance:
            with self._inside():
                return self.linker.instantiate(self.store, module)

        return instantiate

    def attach(self, instance: Instance) -> None:
        """Let the host use the exports of ``instance``, which was made with this session's linker.

        Raises:
            GuestPhaseError: If it uses those of another already.
        """
        exports = instance.exports(self.store)
        items = {name: exports[name] for name in exports}
        functions = {name: item for name, item in items.items() if isinstance(item, Func)}
        self.life.load(has_entry=any(name in functions for name in _ENTRIES))
        self._functions = functions
        self._globals = {name: item for name, item in items.items() if isinstance(item, Global)}
        self._memories = {name: item for name, item in items.items() if isinstance(item, Memory)}
        memory = items.get(_MEMORY)
        self._memory = GuestMemory(self.store, memory, self.life) if isinstance(memory, Memory) else None

    def start(self) -> None:
        """Run the program's ``_start`` or ``_initialize``, if it has either; an exit is kept in `exit_code`.

        Raises:
            GuestPhaseError: If it was started before.
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        self._start("start")

    def _start(self, wish: str) -> None:
        entries = [name for name in _ENTRIES if name in self._functions]
        self._run_main(wish, self.life.start, lambda: [self._enter(entry) for entry in entries[:1]])

    def run(self) -> int:
        """The exit code of the whole program: started, and its timers served until none is left or it exits.

        Raises:
            GuestPhaseError: If it was started before.
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        self._start("run")
        self.run_timers()
        return self.exit_code or 0

    def run_timers(self) -> None:
        """Serve the program's timers, waiting for each, until none is left or it exits.

        Raises:
            GuestPhaseError: If it was not started, or cannot go on.
            GuestError, HostError: As for `run`.
        """
        if self.exit_code is None:
            self._run_main("run_timers", self.life.check_callable, self._serve_timers)

    def _serve_timers(self, is_enough: Callable[[], bool] = lambda: False) -> None:
        if self._realm is None:
            return
        timers = self._realm.timers
        while not is_enough() and (delay_ns := timers.next_delay_ns()) is not None:
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
            GuestPhaseError: If it was not started, cannot go on, or is in the middle of something.
            GuestError: If there is no such export.
            ArgumentError: If it takes other arguments.
            GuestExitError: If the program ends itself meanwhile.
            GuestTrapError: If it traps.
            GuestTimeoutError: If its time is over.
            HostError: If its host cannot do what it asks for.
        """
        if name in _ENTRIES:
            raise GuestPhaseError(
                f"call of {name!r}: this function starts the program; use start() or run(), once", self.life.phase
            )

        def body() -> int | float | None:
            function = self.function(name)
            return self._enter(name, *self._converted(name, function, arguments))

        return self._result_of(f"call of {name!r}", name, self.life.check_callable, body)

    def call_script(self, name: str, *arguments: object) -> object:
        """What a function returns that the program has put into JavaScript's global object.

        Arguments and result are text, bytes, numbers, and lists and mappings of them.  A promise is waited for, by the
        program's timers.

        Raises:
            HostError: If there is none, or it throws.
            GuestError: As for `call`.
        """
        bridge = self._bridge
        if bridge is None:
            raise HostError("the program does not use the Go/JavaScript bridge, so it has no functions there")
        wish = f"call of {name!r}"
        return self._result_of(wish, name, self.life.check_callable, lambda: bridge.call_global(name, *arguments))

    def arguments_from_text(self, name: str, texts: Sequence[str]) -> list[int | float]:
        """A command line's words as the arguments of an export; integers in any of Python's notations.

        Raises:
            GuestError: If there is no such export.
            ArgumentError: If there are too few or too many words, or one is not a number of the right kind.
        """
        function = self.function(name)
        self.life.check_open(f"call of {name!r}")
        kinds = [str(kind) for kind in function.type(self.store).params]
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
        """Let ``duration_ns`` pass on the program's clock.

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
        numbers = [number_of(kind, value) for kind, value in zip(kinds, arguments, strict=False)]
        fitting = [number for number in numbers if number is not None]
        if not len(kinds) == len(arguments) == len(fitting):
            raise ArgumentError(f"{name} takes ({', '.join(kinds)}), not {_quoted(arguments)}")
        return fitting

    def _call_from_host(self, name: str) -> None:
        if self.exit_code is not None:
            raise HostError(f"{name} was to run after the program had ended with exit code {self.exit_code}")
        self._enter(name)

    def _enter(self, name: str, *numbers: float) -> int | float | None:
        """What an exported function returns: the only way into the program."""
        function = self.function(name)
        with self._inside(), self._told(name, numbers) as results:
            result: int | float | None = function(self.store, *numbers)
            results.append(result)
        return result

    @contextmanager
    def _told(self, name: str, numbers: tuple[float, ...]) -> Iterator[list[int | float | None]]:
        """Around a call: tells who wants to know of it; takes its result, if it has one."""
        results: list[int | float | None] = []
        before, after = self.before_call, self.after_call
        if before is not None:
            before(name, numbers, self._memory_bytes())
        try:
            yield results
        finally:
            if after is not None:
                after(results[0] if results else None, bool(results), self._memory_bytes())

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Around all that the program itself does: an error that unwinds it leaves it in an unknown state."""
        try:
            yield
        except _Exit:
            # Whether that is the end depends on what was called.
            raise
        except (Trap, WasmtimeError) as error:
            translated = self._translated(error)
            self.failure = str(translated)
            self.life.end(self.failure)
            raise translated from error
        except BaseException as error:
            self.failure = str(error) or type(error).__name__
            self.life.end(f"the program was stopped ({self.failure})")
            raise
        # A host function may have called it, and kept to itself that it ended.
        self.life.check_not_ended("return")

    def _memory_bytes(self) -> int | None:
        """How large linear memory is, whatever the program is doing; None where none is exported."""
        return None if self._memory is None else self._memory.raw.data_len(self.store)

    def _leave(self, code: int) -> NoReturn:
        self.exit_code = code
        raise _Exit

    def _run_main(self, wish: str, admit: Callable[[str], None], body: Callable[[], object]) -> None:
        """Run what the program's main function does: when it exits with 0, its exports are still there to be called."""
        if self._run_to_exit(wish, admit, body) and self.exit_code:
            self.life.end(f"the program ended with exit code {self.exit_code}")

    def _run_to_exit(self, wish: str, admit: Callable[[str], None], body: Callable[[], object]) -> bool:
        """Whether ``body``, run under the time limit, ended the program.

        Args:
            wish: What was asked for, to begin a message with.
            admit: Refuses the wish, if this is not the time for it.
            body: Does it.
        """
        try:
            with self._running(wish, admit):
                body()
        except _Exit:
            return True
        finally:
            self._stdout.raise_failure()
            self._stderr.raise_failure()
        return False

    def _result_of(self, wish: str, name: str, admit: Callable[[str], None], body: Callable[[], _T]) -> _T:
        """What ``body`` returns; ``name`` is what an error says has no result if the program ends itself."""
        results: list[_T] = []
        if self._run_to_exit(wish, admit, lambda: results.append(body())):
            ended = f"the program ended with exit code {self.exit_code}"
            self.life.end(ended)
            raise GuestExitError(f"{ended} before {name} had a result", self.exit_code or 0)
        return results[0]

    @contextmanager
    def _running(self, wish: str, admit: Callable[[str], None]) -> Iterator[None]:
        """Around everything that runs the program: its time is counted, and errors are translated."""
        with self.life.running(wish):
            if self.life.depth > _NESTED_CALLS_LIMIT:
                raise HostError(f"{wish}: the program and its host called each other {_NESTED_CALLS_LIMIT} deep")
            admit(wish)
            alarm = self._begin()
            try:
                yield
            except Thrown as thrown:
                raise HostError(f"the program's timer threw {thrown}") from thrown
            except RecursionError as error:
                raise HostError("the program and its host called each other too deep") from error
            except TinyheapError:
                # Out of memory is one of these, too.
                raise
            except MemoryError as error:
                raise HostError("the host has no memory left for what the program asks for") from error
            finally:
                self._end(alarm)

    def _begin(self) -> threading.Timer | None:
        if self._interrupted.is_set():
            self.life.end(_INTERRUPTED)
            raise GuestInterruptError(_INTERRUPTED)
        if self._time_left_s <= 0:
            raise self._timeout()
        if self.life.depth > 1:
            return None
        self._entered_ns = self._entered_ns or time.perf_counter_ns()
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
        if self.life.depth == 1:
            if self.after_exit is not None:
                self.after_exit()
            self._left_ns = time.perf_counter_ns()
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
        message = f"the program ran longer than its {self.grants.timeout_s} seconds"
        self.life.end(message)
        return GuestTimeoutError(message)

    def _translated(self, error: Trap | WasmtimeError) -> GuestError:
        if not isinstance(error, Trap):
            return GuestError(f"the program cannot run: {_last_cause(error)}")
        code, fault = error.trap_code, _FAULT.search(str(error))
        self.trap_frames = tuple(_frame(each) for each in error.frames)
        frames = self.name_frames(self.trap_frames)
        where = shown(frames) if frames else "its start"
        if code is TrapCode.INTERRUPT:
            return self._stopped(where)
        exit_code = _PANIC_EXIT_CODE if code is TrapCode.UNREACHABLE else 134
        overflow = self.explain_trap()
        if code is TrapCode.STACK_OVERFLOW and overflow is None:
            message = f"the program's stack overflowed (calls within calls) in {where}"
            return GuestTrapError(message, exit_code, frames, "stack overflow")
        kind = code.name.lower().replace("_", " ") if code is not None else _last_cause(error)
        what = "the program" if overflow is None else f"the program's stack overflowed ({overflow}), and it"
        fault_address = None if fault is None else int(fault[1], 16)
        message = f"{what} trapped ({kind}) in {where}"
        return GuestTrapError(message, exit_code, frames, kind, overflow, fault_address)


def _frame(frame: Frame) -> GuestFrame:
    return GuestFrame(frame.func_index, frame.module_offset, frame.func_name)


def _stop(interrupted: threading.Event, engine: Engine) -> None:
    """Let a program notice that it is to end."""
    interrupted.set()
    engine.increment_epoch()


def _quoted(arguments: Sequence[object]) -> str:
    """Arguments as a message shows them, each cut short."""
    return f"({', '.join(reprlib.repr(argument) for argument in arguments)})"


def _number_from(text: str, kind: str, name: str) -> int | float:
    """A word as a number of that kind.

    Raises:
        ArgumentError: It is not one.
    """
    try:
        number = int(text, 0) if kind in {"i32", "i64"} else float(text)
    except ValueError:
        number = None
    if number is None or number_of(kind, number) is None:
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
        if not session.life.is_running:
            session.store.close()
    await_release(_RELEASE_TIMEOUT_S)


def _names(exports: Iterable[str]) -> str:
    """The names of exports, as an error lists them."""
    return ", ".join(sorted(exports)) or "there is none"
