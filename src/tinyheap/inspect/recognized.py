"""Where the heap lies in memory that nobody described: a core dump of another tool, or a bare image, by its module.

The words of the allocator's own variables are read from where `recognize` finds them, and believed only if the block table
that they name is where TinyGo's would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.errors import GeometryError, SnapshotError
from tinyheap.guests.serve.roots import root_ranges
from tinyheap.guests.taking import record_of
from tinyheap.heap.geometry import Geometry
from tinyheap.recognize.facts import TABLE_DIVISOR
from tinyheap.recognize.identify import identify_file
from tinyheap.snapshots.snapshot import WORD_BYTES

if TYPE_CHECKING:
    from tinyheap.recognize.facts import Guest, ServedHeap
    from tinyheap.snapshots.snapshot import HeapRecord, Snapshot

_HEADER_ALIGNMENT_BYTES: Final = 16


def recognized(snapshot: Snapshot, module: bytes | None) -> HeapRecord:
    """Where the heap lies by its module.

    Raises:
        SnapshotError: there is none, its heap is not known, or memory does not look like that.
    """
    if module is None:
        raise SnapshotError("the snapshot does not say where its heap lies: name the module that ran (--module)")
    guest = identify_file(module)
    facts: ServedHeap | None = guest.heap or guest.best_fit
    if facts is None:
        raise SnapshotError(f"the heap of this module ({guest.runtime}) cannot be inspected: it {guest.served}")
    memory, size_bytes = _Words(snapshot), len(snapshot.memory)
    start = facts.heap_start_address or memory.read(facts.heap_start_variable_address or 0)
    heap_bytes = memory.read(facts.heap_end_address) - start
    counts_itself = facts.table_divisor == TABLE_DIVISOR
    try:
        geometry = Geometry(
            start,
            heap_bytes,
            WORD_BYTES,
            header_alignment_bytes=_HEADER_ALIGNMENT_BYTES,
            table_counts_itself=counts_itself,
        )
    except GeometryError as error:
        raise SnapshotError(f"memory holds no heap of this module's: {error}") from error
    found = memory.read(facts.metadata_start_address), memory.read(facts.end_block_address)
    if found != (geometry.table_address, geometry.end_block) or geometry.end_address > size_bytes:
        raise SnapshotError(
            f"memory holds no heap of this module's: its block table is at {found[0]:#x} for {found[1]:,} blocks, and should "
            f"be at {geometry.table_address:#x} for {geometry.end_block:,}; name the module that ran"
        )
    pointer = _stack_pointer(snapshot, guest, facts)
    return record_of(facts, geometry, root_ranges(facts.roots, memory, pointer), pointer, size_bytes)


def _stack_pointer(snapshot: Snapshot, guest: Guest, facts: ServedHeap) -> int:
    """Where the stack ends; its low end where nothing tells, so that all of it is taken for roots."""
    if snapshot.stack_pointer is not None:
        return snapshot.stack_pointer
    dumped = f"global[{facts.roots.stack_pointer_global}]"
    for each in snapshot.globals:
        if each.name == dumped:
            return int(each.value)
    return 0 if guest.stack is None else guest.stack.low_address


class _Words:
    """The words of a snapshot's memory; outside of it there are zeros."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def read(self, address: int) -> int:
        """The word at an address."""
        return self._snapshot.word_at(address)
