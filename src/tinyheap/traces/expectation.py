"""What a replay should come to: a file of expected figures, and where a replay first leaves it.

An *expectation* is a JSON object with the keys of `Replay.as_vector`, as the conformance vectors have and as
`tinyheap replay --json` writes; further keys are ignored.  Figures are compared in the order of cause, so
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
from tinyheap.heap.stats import GO_NAMES
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
    "mem_stats": dict,
}
"""All keys, in the order in which they are compared."""
COLUMNS: Final = {
    "free blocks": int,
    "heads": int,
    "tails": int,
    "overflows": int,
    "rescans": int,
    "table hash": str,
}
"""Of a row of `collections`."""
MARK_STACK_COLUMNS: Final = ("overflows", "rescans")
"""What depends on how marking is done."""
NOTHING: Final = "nothing"

Expectation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that is not as expected."""

    key: str
    """Of the vector, with an index or a name where it has parts: `addresses[3]`, `mem_stats.Frees`."""
    where: str
    """What the figure belongs to, in words; may be empty."""
    expected: object
    found: object
    """Either is None where a list has ended."""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.key}{place}: expected {_shown(self.expected)}, found {_shown(self.found)}"


def read_expectation(path: Path | str) -> Expectation:
    """The expectation in a file.

    Raises:
        ExpectationError: It is no JSON object, lacks a key, or a value is of the wrong kind.
        OSError: The file cannot be read.
    """
    return parse_expectation(Path(path).read_bytes(), str(path))


def parse_expectation(data: bytes, name: str) -> Expectation:
    """The expectation in the bytes of a file, which errors name.

    Raises:
        ExpectationError: It is no JSON object, lacks a key, or a value is of the wrong kind.
    """
    try:
        expectation = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ExpectationError(f"{name}: the expectation is not JSON: {error}") from error
    fault = next(_faults(expectation), None)
    if fault:
        raise ExpectationError(f"{name}: {fault}")
    checked: Expectation = expectation
    return checked


def _faults(expectation: object) -> Iterator[str]:
    """What keeps a JSON value from being an expectation, one sentence each."""
    if not isinstance(expectation, dict):
        yield f"it is a JSON {type(expectation).__name__}, not an object with the keys {', '.join(KINDS)}"
        return
    missing = [key for key in KINDS if key not in expectation]
    if missing:
        yield f"it lacks {', '.join(missing)}"
        return
    for key, kind in KINDS.items():
        if type(expectation[key]) is not kind:
            yield f"invalid {key} {_shown(expectation[key])}: expected {kind.__name__}"
            return
    for index, address in enumerate(expectation["addresses"]):
        if type(address) is not int:
            yield f"invalid addresses[{index}] {_shown(address)}: expected int"
    for index, row in enumerate(expectation["collections"]):
        if type(row) is not list or [type(number) for number in row] != list(COLUMNS.values()):
            yield f"invalid collections[{index}] {_shown(row)}: expected [{', '.join(COLUMNS)}]"
    for name in GO_NAMES:
        if type(expectation["mem_stats"].get(name)) is not int:
            yield f"invalid mem_stats: expected an int as {name}"


def _shown(value: object) -> str:
    """A value as in the file, cut short; None, which no figure is, stands for the end of a list."""
    text = NOTHING if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_difference(expectation: Expectation, replay: Replay, *, mark_stack: bool) -> Difference | None:
    """The first figure in the order of cause that is not as expected; None where all are.

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
    for key in KINDS:
        match key:
            case "addresses":
                yield from _address_differences(expected[key], found[key], replay.trace)
            case "collections":
                yield from _collection_differences(expected[key], found[key], mark_stack=mark_stack)
            case "final_map":
                yield from _map_differences(expected[key], replay)
            case "mem_stats":
                for name in GO_NAMES:
                    if expected[key][name] != found[key][name]:
                        yield Difference(f"{key}.{name}", "", expected[key][name], found[key][name])
            case _ if expected[key] != found[key]:
                yield Difference(key, "", expected[key], found[key])


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
    expected: list[list[Any]], found: list[list[Any]], *, mark_stack: bool
) -> Iterator[Difference]:
    where = f"{len(expected)} collections expected, {len(found)} found"
    for index, rows in enumerate(zip(expected, found, strict=False)):
        for column, wanted, got in zip(COLUMNS, *rows, strict=True):
            if wanted != got and (mark_stack or column not in MARK_STACK_COLUMNS):
                yield Difference(f"collections[{index}] {column}", where, wanted, got)
    if len(expected) != len(found):
        index = min(len(expected), len(found))
        yield Difference(f"collections[{index}]", where, _at(expected, index), _at(found, index))


def _map_differences(expected: str, replay: Replay) -> Iterator[Difference]:
    """Compares maps of any size; an empty map stands for a heap that was too large to be drawn."""
    states = unpack_states(replay.table, replay.geometry.end_block)
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
