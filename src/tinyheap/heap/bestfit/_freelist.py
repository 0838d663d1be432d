# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The free list: take the shortest range that is long enough, insert one, build the list or its index anew.

What a node is, and the order of ranges, stands in ``model.py``; all that the mutator can see is as there.  But no node is
walked over whose length the index (``_index.pxd``) knows::

    outer   | 2 | ------> | 5 | ------> | 9 | ------> | 300000 | -> ...
              ^             ^             ^             ^
    index   lengths 2,      5 and         9             walked over from here on

Nothing in memory is trusted, since a mutator can overwrite it.  A node is compared with its entry in the index, and a link
with where it has to lead; what only memory has (inner nodes, long ranges) is checked to lie at the start of free blocks,
on the heap, and in order.  Where it is damaged, a function returns `DAMAGED`, or True, and nothing has been allocated.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._freelist is not compiled")

from cython.cimports.tinyheap.heap._words import clz64, load32, load64, rarely
from cython.cimports.tinyheap.heap.bestfit._index import (
    SHORT,
    block_of_length,
    drop_length,
    forget_lengths,
    has_length,
    last_length,
    next_length,
    note_length,
)
from cython.cimports.tinyheap.heap.bestfit._node import (
    INNER,
    LENGTH,
    NEXT,
    field,
    linked,
    put_outer,
    set_field,
    set_link,
)
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, NO_BLOCK, place_of
from cython.cimports.tinyheap.heap.bestfit._table import LOW_NIBBLES, are_free, nibbles_between, state_of, table_word

# ---- the index ----------------------------------------------------------------------------------------------------------


def build_index(heap: Heap) -> cython.bint:
    """Make the index of the list in memory, if there is none; whether the list was found damaged."""
    node: u64 = heap.free_list
    shift: u64 = heap.word_shift
    shorter: u64 = 0
    if heap.indexed:
        return False
    forget_lengths(heap)
    while node != 0:
        shorter = checked_length(heap, node, shorter, shift)
        if shorter == 0:
            heap.indexed = 0
            return True
        note_length(heap, shorter, (node - heap.start) >> heap.block_shift)
        node = field(place_of(heap, node), NEXT, shift)
    return False


def settle_rest(heap: Heap) -> cython.void:
    """Put the rest back into the index."""
    if heap.rest_blocks != 0:
        note_length(heap, heap.rest_blocks, heap.rest_first)
        heap.rest_blocks = 0


# ---- what memory says ---------------------------------------------------------------------------------------------------


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_node(heap: Heap, address: u64, shift: u64) -> cython.bint:
    """Whether a node may lie at an address: at the start of a free block."""
    offset: u64 = address - heap.start
    block: u64 = offset >> (shift + 2)
    return block << (shift + 2) == offset and block < heap.end_block and state_of(heap, block) == 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def checked_length(heap: Heap, node: u64, shorter: u64, shift: u64) -> u64:
    """The length of an outer node, which is longer than the one before it and ends on the heap; 0 where it does not."""
    blocks: u64
    if not is_node(heap, node, shift):
        return 0
    blocks = field(place_of(heap, node), LENGTH, shift)
    if blocks <= shorter or blocks > heap.end_block - ((node - heap.start) >> (shift + 2)):
        return 0
    return blocks


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_taken_whole(heap: Heap, first: u64, blocks: u64, needed: u64) -> cython.bint:
    """Whether a range ends on the heap, and what is written of it is free: the object, and the node of what is left."""
    last: u64 = first + (blocks - 1 if blocks <= needed else needed)
    return blocks <= heap.end_block - first and are_free(heap, first, last)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def is_wrong_after(heap: Heap, node: u64, blocks: u64, shift: u64) -> cython.bint:
    """Whether a node, or nil, is not what follows on ranges of so many blocks: by the index, or else by what it says."""
    length: u64 = next_length(heap, blocks + 1)
    if length != 0:
        return node != node_of(heap, length, shift) or field(place_of(heap, node), LENGTH, shift) != length
    return node != 0 and checked_length(heap, node, blocks if blocks >= SHORT else SHORT - 1, shift) == 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def node_of(heap: Heap, length: u64, shift: u64) -> u64:
    """The address of the outer node of a short length that occurs."""
    return heap.start + (block_of_length(heap, length) << (shift + 2))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def link_after(heap: Heap, length: u64, shift: u64) -> u64:
    """The link that leads on from the outer node of a short length; from the list's start for 0."""
    if length == 0:
        return 0
    return node_of(heap, length, shift) + (cython.cast(u64, NEXT) << shift)


# ---- take ---------------------------------------------------------------------------------------------------------------


def take_range(heap: Heap, needed: u64) -> u64:
    """Remove the shortest range that is long enough, insert what is left of it; its first block, `NO_BLOCK`, `DAMAGED`."""
    heap.table_reads += 1
    settle_rest(heap)
    # Compiled once for each size of words, which is a constant then.
    if heap.word_shift == 2:
        return take_by(heap, needed, 2)
    if heap.word_shift == 3:
        return take_by(heap, needed, 3)
    return take_by(heap, needed, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def take_by(heap: Heap, needed: u64, shift: u64) -> u64:
    length: u64 = next_length(heap, needed)
    shorter: u64 = last_length(heap, length if length != 0 else SHORT)
    link: u64 = link_after(heap, shorter, shift)
    node: u64
    if length != 0:
        node = node_of(heap, length, shift)
        if field(place_of(heap, node), LENGTH, shift) != length:
            return DAMAGED
    else:
        node = seek_long(heap, needed, cython.address(link), cython.address(shorter), shift)
        if node == 0 or node == DAMAGED:
            return NO_BLOCK if node == 0 else DAMAGED
        length = field(place_of(heap, node), LENGTH, shift)
    return take_from(heap, link, shorter, node, length, needed, shift)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def take_from(heap: Heap, link: u64, shorter: u64, node: u64, blocks: u64, needed: u64, shift: u64) -> u64:
    """Take from the ranges of one length, of which ``node`` is the outer one: the first of its inner list, or itself.

    A link leads there from the next shorter one.
    """
    inner: u64 = field(place_of(heap, node), INNER, shift)
    first: u64 = ((inner if inner != 0 else node) - heap.start) >> (shift + 2)
    following: u64 = node
    if linked(heap, link, shift) != node or (inner != 0 and not is_node(heap, inner, shift)):
        return DAMAGED
    if not is_taken_whole(heap, first, blocks, needed):
        return DAMAGED
    if inner == 0:
        following = field(place_of(heap, node), NEXT, shift)
        if is_wrong_after(heap, following, blocks, shift):
            return DAMAGED
    # Nothing is taken off a broken list: what is left is inserted first, unless it will be the rest.
    if needed < blocks <= needed + shorter and insert_by(heap, first + needed, blocks - needed, shift):
        return DAMAGED
    if inner != 0:
        set_field(place_of(heap, node), INNER, shift, field(place_of(heap, inner), 0, shift))
    else:
        set_link(heap, link, following, shift)
        drop_length(heap, blocks)
    if blocks > needed + shorter:
        put_outer(heap, link, following, first + needed, blocks - needed, shift)
        heap.rest_first = first + needed
        heap.rest_blocks = blocks - needed
        heap.rest_shorter = shorter
        heap.rest_link = link
        heap.rest_following = following
    return first


def seek_long(heap: Heap, blocks: u64, link: cython.pointer(u64), shorter: cython.pointer(u64), shift: u64) -> u64:
    """The first outer node of so many blocks or more, from a link on: nil where none is, or `DAMAGED`.

    The link that leads there, and the length of the node before, go to where the first ones came from.
    """
    node: u64 = linked(heap, link[0], shift)
    length: u64
    while node != 0:
        length = checked_length(heap, node, shorter[0], shift)
        if length < SHORT:
            # It lies elsewhere than the index says, or nowhere.
            return DAMAGED
        if length >= blocks:
            break
        shorter[0] = length
        link[0] = node + (cython.cast(u64, NEXT) << shift)
        node = linked(heap, link[0], shift)
    return node


# ---- insert -------------------------------------------------------------------------------------------------------------


def insert_range(heap: Heap, first: u64, blocks: u64) -> cython.bint:
    """Insert a range of free blocks; whether the list was found damaged, and nothing was inserted."""
    settle_rest(heap)
    return insert_by(heap, first, blocks, heap.word_shift)


def insert_by(heap: Heap, first: u64, blocks: u64, shift: u64) -> cython.bint:
    node: u64
    link: u64
    if blocks < SHORT and has_length(heap, blocks):
        node = place_of(heap, node_of(heap, blocks, shift))
        return field(node, LENGTH, shift) != blocks or put_inner(heap, node, first, shift)
    node = last_length(heap, blocks)
    link = link_after(heap, node, shift)
    if blocks >= SHORT:
        return insert_long(heap, link, node, first, blocks)
    node = linked(heap, link, shift)
    if is_wrong_after(heap, node, blocks, shift):
        return True
    put_outer(heap, link, node, first, blocks, shift)
    note_length(heap, blocks, first)
    return False


def insert_long(heap: Heap, link: u64, shorter: u64, first: u64, blocks: u64) -> cython.bint:
    """`insert_range` for a length that the index does not know, somewhere behind a link."""
    shift: u64 = heap.word_shift
    node: u64 = seek_long(heap, blocks, cython.address(link), cython.address(shorter), shift)
    if node == DAMAGED:
        return True
    if node != 0 and field(place_of(heap, node), LENGTH, shift) == blocks:
        return put_inner(heap, place_of(heap, node), first, shift)
    put_outer(heap, link, node, first, blocks, shift)
    return False


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def put_inner(heap: Heap, node: u64, first: u64, shift: u64) -> cython.bint:
    """Put a range at the front of the inner list of an outer node, which lies at a place here; False."""
    set_field(heap.memory + (first << (shift + 2)), 0, shift, field(node, INNER, shift))
    set_field(node, INNER, shift, heap.start + (first << (shift + 2)))
    return False


# ---- build --------------------------------------------------------------------------------------------------------------


def build_list(heap: Heap) -> cython.void:
    """Discard the list and insert all free runs, the highest first; count the free blocks."""
    heap.free_list = 0
    heap.free_blocks = 0
    forget_lengths(heap)
    heap.table_reads += (heap.end_block + 31) >> 5
    # Compiled once for each size of words, which is a constant then.
    if heap.word_shift == 2:
        insert_runs(heap, 2)
    elif heap.word_shift == 3:
        insert_runs(heap, 3)
    else:
        insert_runs(heap, 1)
    link_lengths(heap)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def insert_runs(heap: Heap, shift: u64) -> cython.void:
    """Insert all runs of free blocks, but for the links between outer nodes.

    Where a block is free and the one above it is not, or the other way round, is an *edge*; a run lies between two::

        free     0 0 1 1 1 0 1      from the highest, left
        edges    0 0 1 0 0 1 1
    """
    memory: u64 = heap.memory
    start: u64 = heap.start
    lengths: u64 = heap.lengths
    nodes: u64 = heap.nodes
    base: u64 = (heap.end_block + 31) & ~cython.cast(u64, 31)
    free: u64 = nibbles_between(0, (heap.end_block - 1) & 31)
    free_blocks: u64 = 0
    end: u64 = 0
    above: u64 = 0
    edges: u64
    first: u64
    blocks: u64
    at: u64
    x: u64
    while base > 0:
        base -= 32
        x = table_word(heap, base >> 5)
        free &= ~(x | x >> 4)
        # The block above is in the same nibble, the next one, or the word above.
        edges = free ^ ((free >> 1 & IN_NIBBLES) | (free >> 5 & ~IN_NIBBLES & LOW_NIBBLES) | above << 59)
        above = free & 1
        free = LOW_NIBBLES
        while edges != 0 or rarely(base == 0 and end != 0):
            first = 0
            if edges != 0:
                x = 63 - clz64(edges)
                edges ^= cython.cast(u64, 1) << x
                # The block above the edge.
                first = base + (x >> 1 & ~cython.cast(u64, 3)) + (x & 3) + 1
            if end == 0:
                end = first
                continue
            blocks = end - first
            end = 0
            free_blocks += blocks
            at = memory + (first << (shift + 2))
            if rarely(blocks >= SHORT):
                insert_long_run(heap, first, blocks)
            elif load64(lengths + (blocks >> 6 << 3)) >> (blocks & 63) & 1 != 0:
                x = memory + (load32(nodes + (blocks << 2)) << (shift + 2))
                set_field(at, 0, shift, field(x, INNER, shift))
                set_field(x, INNER, shift, start + (first << (shift + 2)))
            else:
                set_field(at, LENGTH, shift, blocks)
                set_field(at, INNER, shift, 0)
                note_length(heap, blocks, first)
    heap.free_blocks = free_blocks


def insert_long_run(heap: Heap, first: u64, blocks: u64) -> cython.void:
    """Insert a long run into a list that is being built and has none but long ones yet."""
    if insert_long(heap, 0, 0, first, blocks):
        # Another thread has written to the heap meanwhile.
        heap.indexed = 0


def link_lengths(heap: Heap) -> cython.void:
    """Link the outer nodes of all short lengths to one another, and the longest to the long ones."""
    shift: u64 = heap.word_shift
    length: u64 = last_length(heap, SHORT)
    while length != 0:
        set_field(place_of(heap, node_of(heap, length, shift)), NEXT, shift, heap.free_list)
        heap.free_list = node_of(heap, length, shift)
        length = last_length(heap, length)
