"""Lists that a best-fit collector keeps, known by how they are walked and pushed onto.

The free ranges lie in one list by length, whose nodes are {length, next length, first further one of this length}; marked
objects that wait to be scanned are chained through their headers.  Each list begins at a word of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.interpret import Reading
from tinyheap.recognize.locate.bounds import GLOBALS_START_MINIMUM
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.shapes import distance
from tinyheap.recognize.values import (
    CallResult,
    Constant,
    GlobalAtEntry,
    Loaded,
    Merge,
    Value,
    linear,
    minus,
    parts,
    sources,
)

_NEXT_LENGTH_OFFSET = 4
"""Where a node of the free list links to the next length: behind its own."""
_BLOCK_BYTES = 16


@dataclass(frozen=True)
class ScanList:
    """Marked objects that wait to be scanned."""

    head: int
    """The word that holds the first one's header."""
    header_offset: int
    """Where an object's header lies within its head block."""


def walked_from(reading: Reading, link_offset: int) -> Iterator[int]:
    """The words that walks of a list begin at.

    The cursor is a link, at first the list's word and then some node's; or it is a node, at first what that word holds.

    Args:
        reading: what a function does.
        link_offset: where a node links to the next one.
    """
    for load in reading.loads:
        if load.width_bytes != 4:
            continue
        if isinstance(load.address, Merge):
            cursors = set(sources(load.address))
            if any(_is_link(cursor, link_offset) for cursor in cursors):
                yield from _variables(cursors)
        terms, offset = linear(load.address)
        if offset == link_offset and len(terms) == 1:
            ((node, factor),) = terms
            nodes = set(sources(node)) if factor == 1 and isinstance(node, Merge) else set()
            if Loaded(load.address, 4) in nodes:
                yield from _variables(each.address for each in nodes if isinstance(each, Loaded))


def _variables(values: Iterable[Value]) -> Iterator[int]:
    """The values that are addresses of variables."""
    for value in values:
        if isinstance(value, Constant) and value.number >= GLOBALS_START_MINIMUM:
            yield value.number


def _is_link(cursor: Value, link_offset: int) -> bool:
    """Whether an address lies at an offset from one that was loaded."""
    terms, constant = linear(cursor)
    if constant != link_offset or len(terms) != 1:
        return False
    ((term, factor),) = terms
    return factor == 1 and any(isinstance(source, Loaded) for source in sources(term))


def find_free_ranges(code: CollectorCode, notes: Notes) -> int:
    """The address of the word that holds the shortest free range's node.

    Raises:
        UnsupportedGuestError: No list of such nodes is walked.
    """
    walkers: dict[int, set[int]] = defaultdict(set)
    for reading in code.region:
        for head in walked_from(reading, _NEXT_LENGTH_OFFSET):
            walkers[head].add(reading.function)
    if not walkers:
        raise UnsupportedGuestError("alloc was found, but not the list of free ranges that it takes them from")
    head = max(walkers, key=lambda each: len(walkers[each]))
    notes.found("free_ranges", f"a list of lengths is walked from there, in functions {sorted(walkers[head])}")
    if len(walkers) > 1:
        notes.doubt("free_ranges", f"{len(walkers)} words begin such lists")
    notes.check("free_ranges", _is_emptied(code.region, head), "it is emptied before the list is built anew")
    return head


def _is_emptied(region: Iterable[Reading], head: int) -> bool:
    return any(
        store.address == Constant(head) and store.value == Constant(0) for reading in region for store in reading.stores
    )


def find_scan_list(code: CollectorCode, notes: Notes) -> ScanList:
    """The list of objects that are marked and not yet scanned.

    Raises:
        UnsupportedGuestError: No function chains blocks of the heap.
    """
    found = {scan_list for reading in code.region for scan_list in _block_chains(reading, code)}
    if not found:
        raise UnsupportedGuestError("alloc was found, but not the list that marked objects are put on")
    scan_list = min(found, key=lambda each: each.head)
    notes.found("scan_list", f"headers are chained from there, {scan_list.header_offset} bytes into their blocks")
    if len(found) > 1:
        notes.doubt("scan_list", f"{len(found)} words begin such chains")
    notes.check("scan_list", _is_taken_from(code.region, scan_list.head), "the first one is taken off again")
    return scan_list


def pushes(reading: Reading) -> Iterator[tuple[int, Value]]:
    """What is put in front of a list: the list's word, and the address of the new node's link."""
    for head in reading.stores:
        if not isinstance(head.address, Constant) or head.width_bytes != 4:
            continue
        before = Loaded(head.address, 4)
        for link in reading.stores:
            if link.width_bytes != 4 or link.value != before or linear(link.address) != linear(head.value):
                continue
            if not any(isinstance(part, GlobalAtEntry) for part in parts(link.address)):
                yield head.address.number, link.address


def _block_chains(reading: Reading, code: CollectorCode) -> Iterator[ScanList]:
    for head, link in pushes(reading):
        offset = _offset_in_block(link, code)
        if offset is not None:
            yield ScanList(head, offset)


def _offset_in_block(address: Value, code: CollectorCode, calls: int = 3) -> int | None:
    """How far into a block an address lies that is made from the block's number; None: it is not made so.

    Args:
        address: the address.
        code: the collector's functions.
        calls: how many calls within each other may make it.
    """
    terms, offset = minus(linear(address), code.bounds.start)
    if any(factor == _BLOCK_BYTES for _, factor in terms):
        return offset % _BLOCK_BYTES
    terms, offset = linear(address)
    if len(terms) != 1 or not calls:
        return None
    ((term, factor),) = terms
    if factor != 1:
        return None
    made = _made_by_call(term, code) if isinstance(term, CallResult) else _made_by_steps(term)
    inner = (_offset_in_block(value, code, calls - 1) for value in made)
    return next(((each + offset) % _BLOCK_BYTES for each in inner if each is not None), None)


def _made_by_call(result: CallResult, code: CollectorCode) -> Iterator[Value]:
    """What one of the collector's functions returns."""
    if result.function is not None and result.function in code.functions:
        yield from (event.value for event in code.walker.read(result.function).returns if event.value is not None)


def _made_by_steps(cursor: Value) -> Iterator[Value]:
    """Where an address begins that goes on by blocks; compilers keep it beside a block's number."""
    if not isinstance(cursor, Merge):
        return
    steps = [distance(value, cursor) for value in cursor.inputs]
    if any(step is not None and step % _BLOCK_BYTES == 0 for step in steps):
        yield from (value for value, step in zip(cursor.inputs, steps, strict=True) if step is None)


def _is_taken_from(region: Iterable[Reading], head: int) -> bool:
    """Whether a list's word becomes the link of what it held."""
    return any(
        store.address == Constant(head)
        and any(isinstance(part, Loaded) and _may_be_first(part.address, head) for part in parts(store.value))
        for reading in region
        for store in reading.stores
    )


def _may_be_first(address: Value, head: int) -> bool:
    return any(isinstance(source, Loaded) and source.address == Constant(head) for source in sources(address))
