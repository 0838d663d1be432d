"""The roots of a snapshot by name: every word that a collection scans just then, no more and no less.

::

    globals     by the variable that covers a word, where debug information tells; else by the functions whose code mentions
                the address; else as globals
    stack       by the function whose frame a word lies in, where the sizes of frames are known
    finalizers  the objects that have one: they are kept until it has run

Stacks of goroutines are objects of the heap, and are reached like others: from the run queue, from whoever waits for them.
What lies below the end of the stack is dead, and is no root, but for words that the collector's own functions leave there
and that it scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.inspect.root_table import RootKind, RootSource, RootTable
from tinyheap.snapshots.snapshot import WORD_BYTES, RootRangeKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.snapshots.snapshot import RootRange, Snapshot

LENT: Final = "runtime.allocs"
"""The variable with a map of what TinyGo's `malloc` lent to the host, or to code in C."""
_KINDS: Final = {
    LENT: RootKind.HOST,
    "runtime.runqueue": RootKind.RUN_QUEUE,
    "runtime.sleepQueue": RootKind.RUN_QUEUE,
    "runtime.timerQueue": RootKind.RUN_QUEUE,
}
"""Variables of TinyGo's runtime that hold for somebody else."""
_UNNAMED: Final = {
    RootRangeKind.STACK: "not known",
    RootRangeKind.CHAIN: "not known, stack object",
    RootRangeKind.COLLECTOR: "of the allocator",
}
_FINALIZER_WORDS: Final = 4
_MOST_FINALIZERS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Span:
    """A range of addresses that has a name: a variable, or the frame of a function."""

    start_address: int
    end_address: int
    name: str


def root_table(snapshot: Snapshot, variables: Sequence[Span] = (), frames: Sequence[Span] = ()) -> RootTable:
    """The roots of the heap that a snapshot has a record of.

    Args:
        snapshot: with the record.
        variables: those whose addresses are known, which do not overlap.
        frames: of functions, on the stack, which do not overlap.
    """
    assert snapshot.heap is not None, "whoever asks has made sure"
    parts: list[tuple[RootSource, NDArray[np.int64], NDArray[np.uint32]]] = []
    for each in snapshot.heap.roots:
        names = variables if each.kind is RootRangeKind.GLOBALS else frames
        parts += _named(snapshot, each, sorted(names, key=lambda span: span.start_address))
    held = list(_finalizable(snapshot))
    finalizers = (RootSource(RootKind.FINALIZER, ""), np.zeros(1, np.int64), np.array(held, np.uint32))
    return RootTable.join([*parts, *([finalizers] if held else [])])


def _named(
    snapshot: Snapshot, roots: RootRange, names: Sequence[Span]
) -> Iterator[tuple[RootSource, NDArray[np.int64], NDArray[np.uint32]]]:
    """The words of a range, in the order of addresses: those of each name, and those between."""
    at, end = roots.start_address, roots.end_address
    for span in names:
        if span.end_address <= at or span.start_address >= end:
            continue
        if span.start_address > at:
            yield _words(snapshot, _source(roots, at), at, min(_aligned(roots, span.start_address), end))
            at = max(at, _aligned(roots, span.start_address))
        until = min(_aligned(roots, span.end_address + WORD_BYTES - 1), end)
        if until > at:
            yield _words(snapshot, _source(roots, at, span), at, until)
            at = until
    if at < end:
        yield _words(snapshot, _source(roots, at), at, end)


def _aligned(roots: RootRange, address: int) -> int:
    """The last word of a range that begins at an address or before it."""
    return address - (address - roots.start_address) % WORD_BYTES


def _source(roots: RootRange, at: int, span: Span | None = None) -> RootSource:
    """What has the words from an address on."""
    if roots.kind is RootRangeKind.GLOBALS:
        if span is None:
            return RootSource(RootKind.GLOBAL, f"at {at:#x}", at)
        return RootSource(_KINDS.get(span.name, RootKind.GLOBAL), span.name, span.start_address)
    if span is not None:
        return RootSource(RootKind.STACK_FRAME, span.name, span.start_address)
    return RootSource(RootKind.STACK_FRAME, _UNNAMED[roots.kind], roots.start_address)


def _words(
    snapshot: Snapshot, source: RootSource, start: int, end: int
) -> tuple[RootSource, NDArray[np.int64], NDArray[np.uint32]]:
    count = max(end - start, 0) // WORD_BYTES
    values = np.frombuffer(snapshot.memory, "<u4", count, start) if count else np.zeros(0, np.uint32)
    return source, start + WORD_BYTES * np.arange(count, dtype=np.int64), values


def _finalizable(snapshot: Snapshot) -> Iterator[int]:
    """The objects in the lists of finalizers, as far as these can be followed."""
    lists = None if snapshot.heap is None else snapshot.heap.finalizer_lists
    seen: set[int] = set()
    for first in lists or ():
        entry = snapshot.word_at(first)
        while entry and entry not in seen and entry <= len(snapshot.memory) - _FINALIZER_WORDS * WORD_BYTES:
            seen.add(entry)
            if len(seen) > _MOST_FINALIZERS:
                return
            yield snapshot.word_at(entry + WORD_BYTES) ^ 0xFFFF_FFFF
            entry = snapshot.word_at(entry)


def without_overlaps(spans: Sequence[Span]) -> list[Span]:
    """The spans by address, each up to where the next one begins."""
    ordered = sorted(spans, key=lambda span: (span.start_address, span.end_address))
    found: list[Span] = []
    for span, after in zip_longest(ordered, ordered[1:]):
        end = span.end_address if after is None else min(span.end_address, after.start_address)
        if end > span.start_address:
            found.append(Span(span.start_address, end, span.name))
    return found
