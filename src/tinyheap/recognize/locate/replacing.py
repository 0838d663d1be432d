"""What replacing the collector takes: the functions to redirect, and whether the heap's state is then its own."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.facts import CounterAddresses, Redirect, Role
from tinyheap.recognize.interpret import Reading
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.shapes import constant_addresses, is_made_from
from tinyheap.recognize.values import Constant
from tinyheap.wasm import Module


@dataclass(frozen=True)
class Replacement:
    """What becomes of the functions that touch the heap's state; `BlockHeap` says what each field means."""

    redirects: tuple[Redirect, ...]
    uncovered: tuple[int, ...]
    readers: tuple[int, ...]
    format_readers: tuple[int, ...]
    initializers: tuple[int, ...]


def heap_state(code: CollectorCode, next_alloc: int, counters: CounterAddresses) -> frozenset[int]:
    """The addresses of the words that the collector keeps its state in."""
    counted = {address for address in vars(counters).values() if address is not None}
    return code.bounds.addresses | {next_alloc} | counted


def find_replacement(
    code: CollectorCode, state: frozenset[int], search_words: Set[int], collectors: Iterable[int], flags: Set[int]
) -> Replacement:
    """What to redirect, what stays uncovered, who reads the state, who sets it up.

    Args:
        code: the collector's functions.
        state: addresses of the words that the collector keeps its state in.
        search_words: those of them that say where room is searched, and what is yet to be scanned.
        collectors: the functions that hold a collection.
        flags: addresses of the bytes that say that a mark stack overflowed.
    """
    touching = [code.walker.read(function) for function in sorted(code.search.mentioning(state))]
    touching += [reading for reading in code.region if constant_addresses(reading.stores) & flags]
    initializers = _initializers(code, touching)
    entries = [code.alloc.function, *(each for each in collectors if each != code.alloc.function)]
    public = public_functions(code.module) - _callbacks(code)
    redirects, misfits = _redirects(code, entries, public)
    gates = {*entries, *initializers, *code.bounds.functions}
    inside = gates | _reached_only_through(code, gates, public)
    table = code.bounds.metadata_start
    writers = {reading.function for reading in touching if _writes(reading, state | flags, table)}
    readers = {reading.function for reading in touching if constant_addresses(reading.loads) & state}
    uncovered = {*misfits, *(writers - inside)}
    readers -= inside | uncovered
    return Replacement(
        redirects,
        tuple(sorted(uncovered)),
        tuple(sorted(readers)),
        tuple(each.function for each in touching if each.function in readers and _reads(each, search_words, table)),
        tuple(sorted(initializers)),
    )


def _initializers(code: CollectorCode, touching: Iterable[Reading]) -> set[int]:
    """The functions that set the heap up: they make its bounds known, and grow no memory."""
    setters = {
        reading.function
        for reading in touching
        if Constant(code.bounds.heap_end) in [store.address for store in reading.stores]
    }
    helpers = set(code.bounds.functions) - setters
    callers = {caller for function in helpers for caller in code.search.callers(function)}
    return {function for function in setters | callers if not code.walker.read(function).grows}


def _writes(reading: Reading, state: frozenset[int], table: int) -> bool:
    """Whether a function stores to the heap's state, or into the block table that a word points at."""
    return bool(constant_addresses(reading.stores) & state) or any(
        is_made_from(store.address, table) for store in reading.stores
    )


def _reads(reading: Reading, words: Set[int], table: int) -> bool:
    """Whether a function loads one of these words, or looks into the block table that a word points at."""
    return bool(constant_addresses(reading.loads) & words) or any(
        is_made_from(load.address, table) for load in reading.loads
    )


def _redirects(
    code: CollectorCode, entries: list[int], public: frozenset[int]
) -> tuple[tuple[Redirect, ...], list[int]]:
    """The functions to redirect, and those that cannot be because they do more than collect."""
    redirects, misfits = [Redirect(entries[0], Role.ALLOC)], []
    for function in entries[1:]:
        is_only_alloc_s = code.search.callers(function) <= {code.alloc.function}
        if is_only_alloc_s and function not in public:
            continue
        results = code.module.function_type(function).results
        if _uses_parameters(code.module, function) or results not in ((), ("i32",)):
            misfits.append(function)
        else:
            redirects.append(Redirect(function, Role.COLLECT, bool(results)))
    return tuple(redirects), misfits


def _uses_parameters(module: Module, function: int) -> bool:
    """Whether a function looks at what it is given; where nothing is optimized it is given a context that it does not use."""
    count, body = len(module.function_type(function).parameters), module.functions[function].body
    return body is not None and any(
        instruction.immediates[0] < count for _, instruction in body.find("local.get", "local.set", "local.tee")
    )


def _reached_only_through(code: CollectorCode, gates: set[int], public: frozenset[int]) -> set[int]:
    """Functions of the collector that are called by gates or by each other, and by nothing else."""
    covered = set(code.functions - gates)
    while outside := {each for each in covered if _is_reached_from_outside(each, covered | gates, public, code.search)}:
        covered -= outside
    return covered


def _is_reached_from_outside(function: int, inside: set[int], public: frozenset[int], search: CodeSearch) -> bool:
    return function in public or not search.callers(function) <= inside


def _callbacks(code: CollectorCode) -> frozenset[int]:
    """Functions of the collector that one of its functions has another one call by the table.

    Where nothing is optimized, the search for globals is told like that what to do with them.
    """
    slots = {Constant(slot): function for slot, function in code.module.slots.items() if function in code.functions}
    indirect = {reading.function for reading in code.region if any(call.function is None for call in reading.calls)}
    calls = (call for reading in code.region for call in reading.calls if call.function in indirect)
    return frozenset(slots[argument] for call in calls for argument in call.arguments if argument in slots)


def public_functions(module: Module) -> frozenset[int]:
    """Functions that are exported, in a table, or the start function."""
    public = {export.index for export in module.exports if export.kind == "function"}
    public |= {function for segment in module.elements for function in segment.functions or ()}
    for segment in module.elements:
        for expression in segment.expressions or ():
            public |= {
                instruction.immediates[0] for instruction in expression.instructions() if instruction.name == "ref.func"
            }
    return frozenset(public | ({module.start} if module.start is not None else set()))
