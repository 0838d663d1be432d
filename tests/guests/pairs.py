"""A program twice: on its own collector and on tinyheap's, each with the same witness of its allocations.

The *witness* is code injected around every call of the program's allocator.  It appends the call's arguments and its
result to a second memory, so that nothing in the program's own memory, on its stack or in its globals tells of it.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import wasmtime

import kept
from tinyheap import hosts
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy
from tinyheap.guests.preparing import Form, prepare
from tinyheap.guests.rehearse.rehearsal import Rehearsed
from tinyheap.guests.rewrite.rewriting import ALLOC_IMPORT, rewrite
from tinyheap.guests.serve.prepared import BoundHeap, PreparedHeap
from tinyheap.guests.serve.residue import Residues
from tinyheap.heap.stats import Collection
from tinyheap.hosts.memory import GuestMemory
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Role, ServedHeap
from tinyheap.wasm import Code, Editor, MemoryArgument, Module

LOG, LOG_END = "witness", "witness_end"
WORD_BYTES = 4
_LOG_STEP_PAGES = 16
_PAGE_BITS = 16
SEEDED = hosts.Grants(seed=1)


@dataclass(frozen=True, eq=False)
class Pair:
    """A program, compiled both ways."""

    facts: ServedHeap
    residues: Residues | None
    engine: wasmtime.Engine
    native: wasmtime.Module
    ours: wasmtime.Module


@dataclass(frozen=True, eq=False)
class Run:
    """One of the two, started."""

    session: hosts.HostSession
    log: GuestMemory
    facts: ServedHeap
    heap: BoundHeap | None = None
    tasks: list[int] = field(default_factory=list)
    """The current task at each collection on tinyheap's side."""

    def memory(self) -> bytes:
        """A copy of all of the program's memory."""
        return self.session.memory.read(0, len(self.session.memory))

    def allocations(self) -> bytes:
        """What the witness wrote: the arguments and the result of each call of the allocator."""
        return self.log.read(0, int(self.session.read_global(LOG_END)))

    def counters(self) -> dict[str, int]:
        """The program's own statistics, by the names of `facts.CounterAddresses`."""
        addresses = vars(self.facts.counters).items()
        return {name: self.session.memory.read_u64(address) for name, address in addresses if address is not None}


@cache
def compiled(wasm: bytes) -> Pair:
    """A module's two forms, compiled once a test run."""
    module = Module.parse(wasm)
    engine = hosts.new_engine()
    facts, residues = _served(wasm, engine)
    rewritten = Module.parse(rewrite(module, facts))
    return Pair(
        facts,
        residues,
        engine,
        kept.compiled(engine, witnessed(module, facts.alloc_function)),
        kept.compiled(engine, witnessed(rewritten, _allocator(rewritten, facts))),
    )


def _served(wasm: bytes, engine: wasmtime.Engine) -> tuple[ServedHeap, Residues | None]:
    """The heap of a module, and what its allocator leaves on the stack where that has to be learned."""
    prepared = prepare(wasm, Form.SERVED, engine, "", Cache.of_user())
    assert prepared.guest is not None
    assert prepared.served is not None, prepared.guest.served
    return prepared.served, prepared.residues


def rehearsed(wasm: bytes) -> Rehearsed:
    """What was learned of a module with a best-fit heap, once for all tests."""
    facts, residues = _served(wasm, hosts.new_engine())
    assert isinstance(facts, BestFitHeap)
    assert residues is not None
    return Rehearsed(facts, residues)


# wasmtime's objects have to go before wasmtime does.
atexit.register(compiled.cache_clear)


def _allocator(rewritten: Module, facts: ServedHeap) -> int:
    """The index of the function that a rewritten module's own code allocates by: the import, or what asks it."""
    (name,) = (str(index) for index, redirect in enumerate(facts.redirects) if redirect.role is Role.ALLOC)
    wanted = (ALLOC_IMPORT, name)
    imported = (function for function in rewritten.functions if function.imported is not None)
    found = next(f.index for f in imported if f.imported and (f.imported.module, f.imported.name) == wanted)
    if not isinstance(facts, BlockHeap):
        # Imports come first: those that were added, and what has become one.
        moved = (redirect.function > facts.alloc_function for redirect in facts.redirects)
        return facts.alloc_function + 1 + sum(moved)
    if facts.fixed_request is None:
        return found
    (asking,) = CodeSearch(rewritten).callers(found)
    return asking


def witnessed(module: Module, allocator: int) -> bytes:
    """The module with a witness around the allocator, which may be the program's or an import."""
    function_type = module.types[module.functions[allocator].type_index]
    count = len(function_type.parameters)
    record_bytes = WORD_BYTES * (count + 1)
    editor = Editor(module)
    memory, end = editor.add_memory(_LOG_STEP_PAGES), editor.add_global("i32", 0)
    code = Code()
    for index in range(count):
        code = code.local_get(index)
    code = code.call(allocator).local_set(count)
    # Make room for the record where there is none.
    code = code.global_get(end).i32_const(record_bytes).i32_add()
    code = code.memory_size(memory).i32_const(_PAGE_BITS).i32_shl().i32_gt_u().if_(None)
    code = code.i32_const(_LOG_STEP_PAGES).memory_grow(memory).drop().end()
    for index in range(count + 1):
        place = MemoryArgument(index * WORD_BYTES, memory=memory)
        code = code.global_get(end).local_get(index).i32_store(place)
    code = code.global_get(end).i32_const(record_bytes).i32_add().global_set(end).local_get(count)
    wrapper = editor.add_function(function_type.parameters, function_type.results, code, ["i32"])
    editor.redirect_calls(allocator, wrapper)
    editor.export(LOG, "memory", memory)
    editor.export(LOG_END, "global", end)
    return editor.encode()


def start_native(pair: Pair, grants: hosts.Grants = SEEDED) -> Run:
    """The program on its own collector."""
    store, linker = wasmtime.Store(pair.engine), _linker(pair.engine, pair.native)
    session = hosts.offer(store, linker, pair.native, grants)
    log = _log(session, session.instantiate(pair.native))
    session.start()
    return Run(session, log, pair.facts)


def start_ours(
    pair: Pair, policy: Policy | None = None, watch: Callable[[Run, Collection], object] | None = None
) -> Run:
    """The program on tinyheap's collector; `watch` sees each collection."""
    store, linker = wasmtime.Store(pair.engine), _linker(pair.engine, pair.ours)
    prepared = PreparedHeap(
        pair.facts, policy or Policy(), lambda collection: _seen(run, collection, watch), residues=pair.residues
    )
    offered = prepared.offer(store)
    session = hosts.offer(store, linker, pair.ours, hosts.Grants(seed=1), offered.makers)
    instance = session.instantiate(pair.ours)
    run = Run(session, _log(session, instance), pair.facts, offered.bind(instance))
    session.start()
    return run


def _linker(engine: wasmtime.Engine, module: wasmtime.Module) -> wasmtime.Linker:
    """A linker with what programs of the tests' own call when they panic; they trap themselves then."""
    linker = wasmtime.Linker(engine)
    if any((wanted.module, wanted.name) == ("env", "panic") for wanted in module.imports):
        linker.define_func("env", "panic", wasmtime.FuncType([], []), lambda: None)
    return linker


def _seen(run: Run, collection: Collection, watch: Callable[[Run, Collection], object] | None) -> None:
    task = run.facts.roots.current_task_address
    if task is not None:
        run.tasks.append(run.session.memory.read_u32(task))
    if watch is not None:
        watch(run, collection)


def _log(session: hosts.HostSession, instance: wasmtime.Instance) -> GuestMemory:
    memory = instance.exports(session.store)[LOG]
    assert isinstance(memory, wasmtime.Memory)
    return GuestMemory(session.store, memory)


def assert_equal(native: Run, ours: Run) -> None:
    """Every allocation, every byte and every counter of both runs agree."""
    assert_same_words("allocations", native.allocations(), ours.allocations())
    assert_same_words("memory", native.memory(), ours.memory())
    assert native.counters() == ours.counters()


def assert_same_words(what: str, expected: bytes, found: bytes) -> None:
    """Two byte strings are equal; a failure names the first words that differ instead of showing megabytes."""
    if expected != found:
        length = min(len(expected), len(found))
        places = (at for at in range(0, length, WORD_BYTES) if expected[at : at + 4] != found[at : at + 4])
        words = [
            f"{at:#x}: {expected[at : at + 4][::-1].hex()} native, {found[at : at + 4][::-1].hex()} ours"
            for at, _ in zip(places, range(8), strict=False)
        ]
        raise AssertionError(f"{what} of {len(expected)} and {len(found)} bytes differ: {'; '.join(words)}")
