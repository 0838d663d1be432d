# cython: language_level=3, cdivision=True
# Nodes of the free list, which lie at the start of free blocks; and the *rest*.
#
#     outer node   | length | next | inner |         an inner node has its link where the length is
#
# A link is the mutator's address of a word that leads to an outer node; nil is the list's start.
#
# The rest is what was left of the range that an object was taken from last, if it took that range's place in the outer list.
# It is in the list but not in the index, so that objects can be taken off it, one after the other, and nothing but its node
# moves, for as long as they are longer than all shorter ranges and leave more than those.
#
# Most objects are placed here, in the rest or in a range of just their length.  What is in any way different, or not as it
# should be, is left to `_freelist.py`.

from tinyheap.heap._words cimport load64, load_word, store64, store_word, u64
from tinyheap.heap.bestfit._index cimport SHORT, block_of_length, has_length
from tinyheap.heap.bestfit._state cimport Heap, NO_BLOCK, place_of
from tinyheap.heap.bestfit._table cimport HEAD_BITS, LOW_NIBBLES, TAIL_BITS, are_free, place_in_word

cdef enum:
    LENGTH = 0
    NEXT = 1
    INNER = 2

cdef inline u64 field(u64 at, u64 index, u64 shift) noexcept nogil:
    """A word of a node that lies at a place here, where words have `1 << shift` bytes."""
    return load_word(at + (index << shift), shift)

cdef inline void set_field(u64 at, u64 index, u64 shift, u64 value) noexcept nogil:
    store_word(at + (index << shift), shift, value)

cdef inline u64 linked(Heap heap, u64 link, u64 shift) noexcept nogil:
    """The node that a link leads to; nil where it ends."""
    return heap.free_list if link == 0 else load_word(place_of(heap, link), shift)

cdef inline void set_link(Heap heap, u64 link, u64 node, u64 shift) noexcept nogil:
    if link == 0:
        heap.free_list = node
    else:
        store_word(place_of(heap, link), shift, node)

cdef inline void put_outer(Heap heap, u64 link, u64 following, u64 first, u64 blocks, u64 shift) noexcept nogil:
    """Make a range of a length that does not occur an outer node, between a link and the node that it led to."""
    cdef u64 at = heap.memory + (first << (shift + 2))
    set_field(at, LENGTH, shift, blocks)
    set_field(at, NEXT, shift, following)
    set_field(at, INNER, shift, 0)
    set_link(heap, link, heap.start + (first << (shift + 2)), shift)

cdef inline bint fits_rest(Heap heap, u64 needed) noexcept nogil:
    """Whether so many blocks are taken off the rest, and leave more than all shorter ranges have."""
    return needed > heap.rest_shorter and heap.rest_blocks > needed + heap.rest_shorter

cdef inline bint is_rest_whole(Heap heap, u64 shift) noexcept nogil:
    """Whether the node of the rest, and the link to it, are as they were left."""
    cdef u64 at = heap.rest_first << (shift + 2)
    if linked(heap, heap.rest_link, shift) != heap.start + at:
        return False
    at += heap.memory
    return (
        field(at, LENGTH, shift) == heap.rest_blocks
        and field(at, NEXT, shift) == heap.rest_following
        and field(at, INNER, shift) == 0
    )

cdef inline u64 shorten_rest(Heap heap, u64 needed, u64 shift) noexcept nogil:
    """Take so many blocks off the rest, which it has and whose states are the caller's."""
    cdef u64 first = heap.rest_first
    heap.table_reads += 1
    heap.rest_first = first + needed
    heap.rest_blocks -= needed
    put_outer(heap, heap.rest_link, heap.rest_following, first + needed, heap.rest_blocks, shift)
    return first

cdef inline bint claim(Heap heap, u64 first, u64 end, u64 last) noexcept nogil:
    """Make free blocks an object, where one word of the table says that they are, and so are all up to ``last``."""
    cdef u64 at = last >> 5 << 3
    cdef u64 begin = <u64>1 << place_in_word(first & 31)
    cdef u64 top = <u64>1 << place_in_word((end - 1) & 31)
    cdef u64 x
    if first >> 5 != last >> 5 or at + 8 > heap.table_bytes:
        return False
    at += heap.table
    x = load64(at)
    if (x | x >> 4) & ((<u64>2 << place_in_word(last & 31)) - begin) & LOW_NIBBLES != 0:
        return False
    x |= (((top << 1) - begin) & LOW_NIBBLES) << 4
    store64(at, x ^ (top if heap.back != 0 else begin) * (HEAD_BITS | TAIL_BITS))
    return True

cdef inline u64 place_in_rest(Heap heap, u64 needed, u64 shift) noexcept nogil:
    """Take so many blocks off the rest and make them an object, where `claim` can; or `NO_BLOCK`."""
    cdef u64 last = heap.rest_first + needed
    if not fits_rest(heap, needed) or not is_rest_whole(heap, shift):
        return NO_BLOCK
    # The block behind the object is looked at, too: it is where what is left begins.
    return shorten_rest(heap, needed, shift) if claim(heap, heap.rest_first, last, last) else NO_BLOCK

cdef inline u64 place_exactly(Heap heap, u64 needed, u64 shift) noexcept nogil:
    """Make the first range of an inner list, whose length fits, an object, where `claim` can; or `NO_BLOCK`."""
    cdef u64 node
    cdef u64 inner
    cdef u64 offset
    cdef u64 first
    if needed >= SHORT or not has_length(heap, needed):
        return NO_BLOCK
    node = heap.memory + (block_of_length(heap, needed) << (shift + 2))
    inner = field(node, INNER, shift)
    offset = inner - heap.start
    first = offset >> (shift + 2)
    if inner == 0 or field(node, LENGTH, shift) != needed or first << (shift + 2) != offset:
        return NO_BLOCK
    if first >= heap.end_block or needed > heap.end_block - first or not claim(heap, first, first + needed, first + needed - 1):
        return NO_BLOCK
    heap.table_reads += 1
    set_field(node, INNER, shift, field(heap.memory + offset, 0, shift))
    return first

cdef inline u64 take_rest(Heap heap, u64 needed, u64 shift) noexcept nogil:
    """Take so many blocks off the rest; `NO_BLOCK` where it is not for them, or not as it was left."""
    if not fits_rest(heap, needed) or not are_free(heap, heap.rest_first, heap.rest_first + needed):
        return NO_BLOCK
    return shorten_rest(heap, needed, shift) if is_rest_whole(heap, shift) else NO_BLOCK
