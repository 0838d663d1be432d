# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""A best-fit heap's state: set up from geometry and options, laid out, moved to the end of a larger heap, read out.

What the fields are stands in ``_state.pxd``.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._state is not compiled")

from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.libc.stdlib import malloc as c_malloc
from cython.cimports.libc.string import memset
from cython.cimports.tinyheap.heap._words import fill, move
from cython.cimports.tinyheap.heap.bestfit._index import GROUPS_BYTES, INDEX_BYTES, LENGTHS_BYTES

from tinyheap.heap.contract import Counters, Gc


def set_up(heap: Heap, memory: u64, geometry, options) -> cython.int:
    """Describe a heap whose first byte lies at ``memory``, and whose free list is empty until a table is written."""
    precise = options.gc is Gc.PRECISE
    shape = options.collector.shape(geometry, precise=precise)
    memset(heap, 0, cython.sizeof(HeapState))
    heap.groups = cython.cast(cython.size_t, c_malloc(INDEX_BYTES))
    if heap.groups == 0:
        raise MemoryError("no memory for the index of a free list")
    # Nodes are only read of lengths that occur, so that the rest, nearly all of it, need not be touched.
    fill(heap.groups, GROUPS_BYTES + LENGTHS_BYTES, 0)
    heap.lengths = heap.groups + GROUPS_BYTES
    heap.nodes = heap.lengths + LENGTHS_BYTES
    heap.memory = memory
    heap.start = geometry.start_address
    heap.word_shift = geometry.word_bytes.bit_length() - 1
    heap.block_shift = heap.word_shift + 2
    heap.step_shift = geometry.word_alignment_bytes.bit_length() - 1
    heap.precise = precise
    heap.back = shape.head_is_last
    heap.header_bytes = shape.header_bytes
    heap.body_offset = shape.body_offset_bytes
    heap.largest_bytes = geometry.address_space_bytes - shape.header_bytes - geometry.block_bytes
    heap.poison = options.asserts
    heap.poison_byte = options.poison_byte
    heap.unreadable = NO_BLOCK
    heap.last_scanned = heap.last_whole = heap.last_inline = heap.last_outside = NO_BLOCK
    lay_out(heap, geometry.heap_bytes)
    return 0


def let_go(heap: Heap) -> cython.void:
    """Give the memory of the index back."""
    c_free(cython.cast(cython.p_void, cython.cast(cython.size_t, heap.groups)))
    heap.groups = 0


def lay_out(heap: Heap, heap_bytes: u64) -> cython.void:
    """Place pool and table; `geometry.Geometry`, compiled."""
    share: u64 = (4 << heap.block_shift) + 1
    heap.heap_bytes = heap_bytes
    heap.table_bytes = (heap_bytes + share - 1) // share
    heap.pool_bytes = heap_bytes - heap.table_bytes
    heap.table = heap.memory + heap.pool_bytes
    heap.end_block = heap.pool_bytes >> heap.block_shift


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
        0,
        0,
        heap.table_reads,
        heap.words_scanned,
        heap.scan_peak,
        heap.collections,
    )
