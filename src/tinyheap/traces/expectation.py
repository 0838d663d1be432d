"""What a replay should come to: a file of expected values, and where a replay first leaves it.

An *expectation* is a JSON object with the keys of `Replay.as_vector`, as the conformance vectors have and as
`tinyheap replay --json` writes; further keys are ignored.  Values are compared in the order of cause, so
that the first difference is as near as may be to where things went another way: what the heap was made as,
each address, each collection, how the replay ended, and the state that it left behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tinyheap.errors import ExpectationError
from tinyheap.heap.blockmap import unpack_states
from tinyheap.heap.collectors import Collector
from tinyheap.heap.stats import filled_names
from tinyheap.traces.replay import Replay
from tinyheap.traces.trace import STEP_WORDS, Op, Trace, describe_step

KINDS: Final[dict[str, type]] = {
    "word_bytes": int,
    "precise": bool,
    "heap_base": int,
    "addresses": list,
    "collections": list,
    "oom": str,
    "ops_done": int,
    "heap_bytes": int,
    "end_block": int,
    "final_map": str,
    "final_table_fnv1a": str,
    "next_alloc": int,
    "final_ranges": list,
    "final_ranges_fnv1a": str,
    "ranges_after": list,
    "finalizers": dict,
    "mem_stats": dict,
}
"""All keys, in the order in which they are compared."""
LIST_KEYS: Final = ("final_ranges", "final_ranges_fnv1a")
"""What only collectors with a free list have; next-fit has `next_alloc` instead."""
OPTIONAL_KEYS: Final = ("ranges_after", "finalizers")
"""Compared where the expectation has them, which only one of best-fit does."""
COLUMNS: Final = {
    "free blocks": int,
    "heads": int,
    "tails": int,
    "overflows": int,
    "rescans": int,
    "table hash": str,
}
"""Of a row of `collections`."""
LIST_COLUMNS: Final = {"free blocks": int, "heads": int, "tails": int, "table hash": str, "ranges hash": str}
"""The same of collectors with a free list."""
MARK_STACK_COLUMNS: Final = ("overflows", "rescans")
"""What depends on how marking is done."""
NOTHING: Final = "nothing"

Expectation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not as expected."""

    key: str
    """Of the vector, with an index or a name where it has parts: `addresses[3]`, `mem_stats.Frees`."""
    where: str
    """What the value belongs to, in words; may be empty."""
    expected: object
    found: object
    """Either is None where a list has ended."""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.key}{place}: expected {_shown(self.expected)}, found {_shown(self.found)}"


def read_expectation(path: Path | str) -> Expectation:
    """The expectation in a file.

    Raises:
        ExpectationError: It is not a JSON object, lacks a key, or a value is of the wrong kind.
        OSError: The file cannot be read.
    """
    return parse_expectation(Path(path).read_bytes(), str(path))


def parse_expectation(data: bytes, name: str, collector: Collector | None = None) -> Expectation:
    """The expectation in the bytes of a file, which errors name.

    Args:
        data: The bytes.
        name: Of the file.
        collector: Whose statistics these have to be; by default those of whichever they are.

    Raises:
        ExpectationError: It is not a JSON object, lacks a key, or a value is of the wrong kind.
    """
    try:
        expectation = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ExpectationError(f"{name}: the expectation is not JSON: {error}") from error
    fault = next(_faults(expectation, collector), None)
    if fault:
        raise ExpectationError(f"{name}: {fault}")
    checked: Expectation = expectation
    return checked


def collector_of(expectation: Expectation) -> Collector:
    """Whose statistics an expectation has, by its keys.

    Next-fit has no free list, and only best-fit-back counts collections.
    """
    if "final_ranges_fnv1a" not in expectation:
        return Collector.NEXT_FIT
    stats = expectation.get("mem_stats")
    counts = isinstance(stats, dict) and "NumGC" in stats
    return Collector.BEST_FIT_BACK if counts else Collector.BEST_FIT_FRONT


def keys_of(collector: Collector) -> list[str]:
    """The keys that an expectation of a collector must have, in the order in which they are compared."""
    foreign = ("next_alloc",) if collector.has_free_list else LIST_KEYS
    return [key for key in KINDS if key not in (*foreign, *OPTIONAL_KEYS)]


def _columns(collector: Collector) -> dict[str, type]:
    return LIST_COLUMNS if collector.has_free_list else COLUMNS


def _faults(expectation: object, collector: Collector | None) -> Iterator[str]:
    """What keeps a JSON value from being an expectation, one sentence each."""
    if not isinstance(expectation, dict):
        what = f"a JSON {type(expectation).__name__}"
        yield f"it is {what}, not an object with the keys {', '.join(keys_of(Collector.NEXT_FIT))}"
        return
    collector = collector or collector_of(expectation)
    missing = [key for key in keys_of(collector) if key not in expectation]
    if missing:
        yield f"it lacks {', '.join(missing)}"
        return
    for key, kind in KINDS.items():
        if key in expectation and type(expectation[key]) is not kind:
            yield f"invalid {key} {_shown(expectation[key])}: expected {kind.__name__}"
            return
    yield from _faults_of_parts(expectation, collector)


def _faults_of_parts(expectation: Expectation, collector: Collector) -> Iterator[str]:
    columns = _columns(collector)
    for index, address in enumerate(expectation["addresses"]):
        if type(address) is not int:
            yield f"invalid addresses[{index}] {_shown(address)}: expected int"
    for index, row in enumerate(expectation["collections"]):
        if type(row) is not list or [type(number) for number in row] != list(columns.values()):
            yield f"invalid collections[{index}] {_shown(row)}: expected [{', '.join(columns)}]"
    for name in filled_names(collector):
        if type(expectation["mem_stats"].get(name)) is not int:
            yield f"invalid mem_stats: expected an int as {name}"


def _shown(value: object) -> str:
    """A value as in the file, cut short; None, which no value is, stands for the end of a list."""
    text = NOTHING if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_difference(expectation: Expectation, replay: Replay, *, mark_stack: bool) -> Difference | None:
    """The first value that is not as expected, causes before their effects; None where all are.

    Args:
        expectation: As `read_expectation` gives it.
        replay: Made with hashes.
        mark_stack: Whether overflows and rescans count; they do where marking was done as it was for the
            expectation.
    """
    found = replay.as_vector()
    return next(_differences(expectation, found, replay, mark_stack=mark_stack), None)


def _differences(
    expected: Expectation, found: Expectation, replay: Replay, *, mark_stack: bool
) -> Iterator[Difference]:
    compared = {*keys_of(replay.collector), *(OPTIONAL_KEYS if replay.collector.has_free_list else ())}
    for key in (key for key in KINDS if key in compared and key in expected):
        match key:
            case "addresses":
                yield from _address_differences(expected[key], found[key], replay.trace)
            case "collections":
                columns = list(_columns(replay.collector))
                yield from _collection_differences(expected[key], found[key], columns, mark_stack=mark_stack)
            case "final_map":
                yield from _map_differences(expected[key], replay)
            case "mem_stats":
                for name in filled_names(replay.collector):
                    if expected[key][name] != found[key][name]:
                        yield Difference(f"{key}.{name}", "", expected[key][name], found[key][name])
            case _:
                yield from _value_differences(key, expected[key], found.get(key))


def _value_differences(key: str, expected: object, found: object) -> Iterator[Difference]:
    """The first difference of two JSON values, by the path that leads to it."""
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for name, value in expected.items():
            yield from _value_differences(f"{key}.{name}", value, found.get(name))
    elif isinstance(expected, list) and isinstance(found, list):
        index = _first_unequal(expected, found)
        assert index is not None
        yield from _value_differences(f"{key}[{index}]", _at(expected, index), _at(found, index))
    else:
        yield Difference(key, "", expected, found)


def _address_differences(expected: list[int], found: list[int], trace: Trace) -> Iterator[Difference]:
    index = _first_unequal(expected, found)
    if index is not None:
        where = _describe_allocation(trace, index)
        yield Difference(f"addresses[{index}]", where, _at(expected, index), _at(found, index))


def _describe_allocation(trace: Trace, index: int) -> str:
    """The step that gave the address of that index."""
    operations = enumerate(trace.ops[::STEP_WORDS])
    allocating = (step for step, op in operations if op in (Op.ALLOC, Op.REALLOC))
    step = next(islice(allocating, index, None), None)
    if step is None:
        return "the trace has fewer allocations"
    return describe_step(step, trace.step(step))


def _collection_differences(
    expected: list[list[Any]], found: list[list[Any]], columns: list[str], *, mark_stack: bool
) -> Iterator[Difference]:
    where = f"{len(expected)} collections expected, {len(found)} found"
    for index, rows in enumerate(zip(expected, found, strict=False)):
        for column, wanted, got in zip(columns, *rows, strict=True):
            if wanted != got and (mark_stack or column not in MARK_STACK_COLUMNS):
                yield Difference(f"collections[{index}] {column}", where, wanted, got)
    if len(expected) != len(found):
        index = min(len(expected), len(found))
        yield Difference(f"collections[{index}]", where, _at(expected, index), _at(found, index))


def _map_differences(expected: str, replay: Replay) -> Iterator[Difference]:
    """Compares maps of any size; an empty map stands for a heap that was too large to be drawn."""
    states = unpack_states(replay.table, replay.geometry.end_block, replay.collector)
    found = states.translate(bytes.maketrans(b"\0\1\2\3", b".*-#")).decode()
    index = _first_unequal(expected, found) if expected else None
    if index is not None:
        yield Difference("final_map", f"block {index}", _at(expected, index), _at(found, index))


def _first_unequal(expected: Sequence[Any], found: Sequence[Any]) -> int | None:
    """Index of the first item that the two do not share; None where they are equal."""
    pairs = zip(expected, found, strict=False)
    index = next((index for index, (wanted, got) in enumerate(pairs) if wanted != got), None)
    if index is None and len(expected) != len(found):
        return min(len(expected), len(found))
    return index


def _at(items: Sequence[Any], index: int) -> object:
    return items[index] if index < len(items) else None
