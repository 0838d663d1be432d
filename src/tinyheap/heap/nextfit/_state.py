# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""A next-fit heap's state: set up from geometry and options, laid out, moved to the end of a larger heap, read out.

What the fields are stands in ``_state.pxd``.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.nextfit._state is not compiled")

from cython.cimports.libc.string import memset
from cython.cimports.tinyheap.heap._words import fill, move

from tinyheap.heap.contract import Counters, Gc


def set_up(heap: Heap, memory: u64, geometry, options) -> cython.int:
    """Describe an empty heap, whose first byte lies at ``memory``; every state there already counts as it is."""
    memset(heap, 0, cython.sizeof(HeapState))
    heap.memory = memory
    heap.start = geometry.start_address
    heap.bump = heap.start
    heap.word_shift = geometry.word_bytes.bit_length() - 1
    heap.block_shift = heap.word_shift + 2
    heap.step_shift = geometry.word_alignment_bytes.bit_length() - 1
    heap.precise = options.gc is Gc.PRECISE
    heap.leaking = options.gc is Gc.LEAKING
    heap.header_bytes = geometry.header_bytes if heap.precise else 0
    heap.align_mask = max(geometry.header_alignment_bytes, geometry.word_bytes) - 1
    heap.clear_blocks = options.clear_blocks
    heap.poison = options.asserts
    heap.poison_byte = options.poison_byte
    heap.stack_limit = options.mark_stack_entries
    heap.stack_zeroed = options.mark_stack_zeroed and options.mark_stack_entries != 0
    heap.stack_block = NO_BLOCK
    heap.unreadable = NO_BLOCK
    heap.table_share = (4 << heap.block_shift) + (1 if geometry.table_counts_itself else 0)
    heap.table_rounding = heap.table_share - 1 if geometry.table_counts_itself else 0
    lay_out(heap, geometry.heap_bytes)
    return 0


def lay_out(heap: Heap, heap_bytes: u64) -> cython.void:
    """Place pool and table; `geometry.Geometry`, compiled."""
    heap.heap_bytes = heap_bytes
    heap.table_bytes = 0 if heap.leaking else (heap_bytes + heap.table_rounding) // heap.table_share
    heap.pool_bytes = heap_bytes - heap.table_bytes
    heap.table = heap.memory + heap.pool_bytes
    heap.end_block = 0 if heap.leaking else heap.pool_bytes >> heap.block_shift


def move_table(heap: Heap, heap_bytes: u64) -> cython.void:
    """Move the table to the end of a larger heap.  Its old place becomes heap and keeps its bytes."""
    table: u64 = heap.table
    table_bytes: u64 = heap.table_bytes
    lay_out(heap, heap_bytes)
    move(heap.table, table, table_bytes)
    fill(heap.table + table_bytes, heap.table_bytes - table_bytes, 0)


def counters_of(heap: Heap):
    """What was counted."""
    return Counters(
        heap.total_alloc_bytes,
        heap.total_blocks,
        heap.mallocs,
        heap.frees,
        heap.freed_blocks,
        heap.overflows,
        heap.rescans,
        heap.table_reads,
        heap.words_scanned,
        heap.stack_peak,
    )
