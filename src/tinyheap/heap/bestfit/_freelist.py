# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The free list: take the shortest range that is long enough, insert one, build the list or its index anew.

What a node is, and the order of ranges, stands in ``model.py``; all that the mutator can see is as there.  But no node is
walked over whose length the index (``_freelist.pxd``) knows::

    outer   | 2 | ------> | 5 | ------> | 9 | ------> | 5000 | -> ...
              ^             ^             ^             ^
    index   lengths 2,      5 and         9             walked over from here on

Nothing in memory is trusted, since a mutator can overwrite it.  A node is compared with its entry in the index, and a link
with where it has to lead; what only memory has (inner nodes, long ranges) is checked to lie at the start of free blocks,
on the heap, and in order.  Where it is damaged, a function returns `DAMAGED`, or True, and nothing has been allocated.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._freelist is not compiled")

from cython.cimports.tinyheap.heap._words import (
    ONES,
    clz64,
    ctz64,
    fill,
    load32,
    load64,
    load_word,
    rarely,
    store32,
    store64,
    store_word,
)
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, NO_BLOCK, address_of, place_of
from cython.cimports.tinyheap.heap.bestfit._table import PLANE, free_in, state_of

# ---- the index ----------------------------------------------------------------------------------------------------------


def next_length(heap: Heap, blocks: u64) -> u64:
    """The shortest of the short lengths that occur, of so many blocks or more; 0 where there is none."""
    word: u64 = blocks >> 6
    x: u64
    if blocks >= SHORT:
        return 0
    x = load64(heap.lengths + (word << 3)) & (ONES << (blocks & 63))
    if x == 0:
        x = heap.summary & ((ONES << 1) << word)
        if x == 0:
            return 0
        word = ctz64(x)
        x = load64(heap.lengths + (word << 3))
    return (word << 6) + ctz64(x)


def last_length(heap: Heap, blocks: u64) -> u64:
    """The longest of the short lengths that occur, of less blocks; 0 where there is none."""
    last: u64 = (blocks if blocks < SHORT else SHORT) - 1
    word: u64 = last >> 6
    x: u64 = load64(heap.lengths + (word << 3)) & (ONES >> (63 - (last & 63)))
    if x == 0:
        x = heap.summary & ~(ONES << word)
        if x == 0:
            return 0
        word = 63 - clz64(x)
        x = load64(heap.lengths + (word << 3))
    return (word << 6) + 63 - clz64(x)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def node_of(heap: Heap, length: u64) -> u64:
    """The address of the outer node of a short length that occurs."""
    return address_of(heap, load32(heap.nodes + (length << 2)))


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def note_length(heap: Heap, length: u64, block: u64) -> cython.void:
    at: u64 = heap.lengths + (length >> 6 << 3)
    if length < SHORT:
        store64(at, load64(at) | (cython.cast(u64, 1) << (length & 63)))
        heap.summary |= cython.cast(u64, 1) << (length >> 6)
        store32(heap.nodes + (length << 2), block)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def drop_length(heap: Heap, length: u64) -> cython.void:
    at: u64 = heap.lengths + (length >> 6 << 3)
    x: u64
    if length < SHORT:
        x = load64(at) & ~(cython.cast(u64, 1) << (length & 63))
        store64(at, x)
        if x == 0:
            heap.summary &= ~(cython.cast(u64, 1) << (length >> 6))


def forget_lengths(heap: Heap) -> cython.void:
    """The index of an empty list."""
    fill(heap.lengths, LENGTHS_BYTES, 0)
    heap.summary = 0
    heap.indexed = 1


def build_index(heap: Heap) -> cython.bint:
    """Make the index of the list in memory, if there is none; whether the list was found damaged."""
    node: u64 = heap.free_list
    shorter: u64 = 0
    if heap.indexed:
        return False
    forget_lengths(heap)
    while node != 0:
        shorter = checked_length(heap, node, shorter)
        if shorter == 0:
            heap.indexed = 0
            return True
        note_length(heap, shorter, (node - heap.start) >> heap.block_shift)
        node = load_word(place_of(heap, node) + (cython.cast(u64, 1) << heap.word_shift), heap.word_shift)
    return False


# ---- what memory says ---------------------------------------------------------------------------------------------------


def is_node(heap: Heap, address: u64) -> cython.bint:
    """Whether a node may lie at an address: at the start of a free block."""
    offset: u64 = address - heap.start
    block: u64 = offset >> heap.block_shift
    return block << heap.block_shift == offset and block < heap.end_block and state_of(heap, block) == 0


def checked_length(heap: Heap, node: u64, shorter: u64) -> u64:
    """The length of an outer node, which is longer than the one before it and ends on the heap; 0 where it does not."""
    blocks: u64
    if not is_node(heap, node):
        return 0
    blocks = load_word(place_of(heap, node), heap.word_shift)
    if blocks <= shorter or blocks > heap.end_block - ((node - heap.start) >> heap.block_shift):
        return 0
    return blocks


def is_free(heap: Heap, first: u64, blocks: u64) -> cython.bint:
    """Whether so many blocks from one on, all on the heap, are free."""
    end: u64 = first + blocks
    word: u64 = first >> 5
    wanted: u64 = PLANE & (PLANE << (first & 31))
    while word < (end - 1) >> 5:
        if free_in(heap, word) & wanted != wanted:
            return False
        wanted = PLANE
        word += 1
    wanted &= PLANE >> (31 - ((end - 1) & 31))
    return free_in(heap, word) & wanted == wanted


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def linked(heap: Heap, link: u64) -> u64:
    """The node that a link leads to; nil where it ends.  A link is a place on this machine, or nil for the list's start."""
    return heap.free_list if link == 0 else load_word(link, heap.word_shift)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def set_link(heap: Heap, link: u64, node: u64) -> cython.void:
    if link == 0:
        heap.free_list = node
    else:
        store_word(link, heap.word_shift, node)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def link_after(heap: Heap, length: u64) -> u64:
    """The link that leads on from the outer node of a short length; from the list's start for 0."""
    if length == 0:
        return 0
    return place_of(heap, node_of(heap, length)) + (cython.cast(u64, 1) << heap.word_shift)


# ---- take ---------------------------------------------------------------------------------------------------------------


def take_range(heap: Heap, needed: u64) -> u64:
    """Remove the shortest range that is long enough, insert what is left of it; its first block, `NO_BLOCK`, `DAMAGED`."""
    link: u64 = 0
    node: u64
    length: u64 = next_length(heap, needed)
    heap.table_reads += 1
    if length != 0:
        return take_from(heap, link_after(heap, last_length(heap, length)), node_of(heap, length), length, needed)
    node = seek_long(heap, needed, cython.address(link))
    if node == 0 or node == DAMAGED:
        return NO_BLOCK if node == 0 else DAMAGED
    return take_from(heap, link, node, load_word(place_of(heap, node), heap.word_shift), needed)


def take_from(heap: Heap, link: u64, node: u64, blocks: u64, needed: u64) -> u64:
    """Take from the ranges of one length, of which ``node`` is the outer one: the first of its inner list, or itself."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    at: u64 = place_of(heap, node)
    inner: u64 = load_word(at + (word_bytes << 1), heap.word_shift)
    first: u64 = ((inner if inner != 0 else node) - heap.start) >> heap.block_shift
    following: u64
    if load_word(at, heap.word_shift) != blocks or linked(heap, link) != node:
        return DAMAGED
    if inner != 0 and not is_node(heap, inner):
        return DAMAGED
    if blocks > heap.end_block - first or not is_free(heap, first, blocks if blocks <= needed else needed + 1):
        return DAMAGED
    if inner != 0:
        store_word(at + (word_bytes << 1), heap.word_shift, load_word(place_of(heap, inner), heap.word_shift))
    else:
        following = load_word(at + word_bytes, heap.word_shift)
        if following != 0 and checked_length(heap, following, blocks) == 0:
            return DAMAGED
        set_link(heap, link, following)
        drop_length(heap, blocks)
    if blocks > needed and insert_range(heap, first + needed, blocks - needed):
        return DAMAGED
    return first


def seek_long(heap: Heap, blocks: u64, link: cython.pointer(u64)) -> u64:
    """The first outer node, of those that are not in the index, of so many blocks or more: nil where none is, or `DAMAGED`.

    The link that leads there goes to ``link``.
    """
    shorter: u64 = last_length(heap, SHORT)
    place: u64 = link_after(heap, shorter)
    node: u64 = linked(heap, place)
    while node != 0:
        shorter = checked_length(heap, node, shorter)
        if shorter < SHORT:
            # It lies elsewhere than the index says, or nowhere.
            return DAMAGED
        if shorter >= blocks:
            break
        place = place_of(heap, node) + (cython.cast(u64, 1) << heap.word_shift)
        node = load_word(place, heap.word_shift)
    link[0] = place
    return node


# ---- insert -------------------------------------------------------------------------------------------------------------


def insert_range(heap: Heap, first: u64, blocks: u64) -> cython.bint:
    """Insert a range of free blocks; whether the list was found damaged, and nothing was inserted."""
    following: u64
    link: u64
    length: u64
    node: u64
    if blocks >= SHORT:
        return insert_long(heap, first, blocks)
    length = next_length(heap, blocks)
    if length == blocks:
        node = place_of(heap, node_of(heap, blocks))
        return load_word(node, heap.word_shift) != blocks or insert_beside(heap, node, first)
    link = link_after(heap, last_length(heap, blocks))
    following = linked(heap, link)
    if length != 0:
        if following != node_of(heap, length):
            return True
    elif following != 0 and checked_length(heap, following, blocks) == 0:
        return True
    insert_outer(heap, link, following, first, blocks)
    note_length(heap, blocks, first)
    return False


def insert_long(heap: Heap, first: u64, blocks: u64) -> cython.bint:
    """`insert_range` for a length that the index does not know."""
    link: u64 = 0
    node: u64 = seek_long(heap, blocks, cython.address(link))
    if node == DAMAGED:
        return True
    if node != 0 and load_word(place_of(heap, node), heap.word_shift) == blocks:
        return insert_beside(heap, place_of(heap, node), first)
    insert_outer(heap, link, node, first, blocks)
    return False


def insert_beside(heap: Heap, node: u64, first: u64) -> cython.bint:
    """Put a range at the front of the inner list of an outer node, which lies at a place here."""
    inner: u64 = node + (cython.cast(u64, 2) << heap.word_shift)
    store_word(heap.memory + (first << heap.block_shift), heap.word_shift, load_word(inner, heap.word_shift))
    store_word(inner, heap.word_shift, address_of(heap, first))
    return False


def insert_outer(heap: Heap, link: u64, following: u64, first: u64, blocks: u64) -> cython.void:
    """Put a range between a link and the node that it leads to."""
    at: u64 = heap.memory + (first << heap.block_shift)
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    store_word(at, heap.word_shift, blocks)
    store_word(at + word_bytes, heap.word_shift, following)
    store_word(at + (word_bytes << 1), heap.word_shift, 0)
    set_link(heap, link, address_of(heap, first))


# ---- build --------------------------------------------------------------------------------------------------------------


def build_list(heap: Heap) -> cython.void:
    """Discard the list and insert all free runs, the highest first; count the free blocks."""
    word: u64 = (heap.end_block + 31) >> 5
    end: u64 = NO_BLOCK
    free: u64
    rest: u64
    base: u64
    heap.free_list = 0
    heap.free_blocks = 0
    forget_lengths(heap)
    heap.table_reads += word
    while word > 0:
        word -= 1
        base = word << 5
        free = free_in(heap, word)
        # Blocks that are yet to be looked at, from the top down: all but those that the run at hand takes.
        rest = PLANE
        while True:
            if end == NO_BLOCK:
                if free & rest == 0:
                    break
                rest = ONES >> clz64(free & rest)
                end = base + 64 - clz64(rest)
            if ~free & rest == 0:
                # The run goes on in the word below.
                break
            rest = ONES >> clz64(~free & rest)
            add_run(heap, base + 64 - clz64(rest), end)
            end = NO_BLOCK
    if end != NO_BLOCK:
        add_run(heap, 0, end)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def add_run(heap: Heap, first: u64, end: u64) -> cython.void:
    """Insert a run of free blocks into a list that is being built, and so is sound."""
    heap.free_blocks += end - first
    if rarely(insert_range(heap, first, end - first)):
        # Another thread has written to the heap meanwhile.
        heap.indexed = 0
