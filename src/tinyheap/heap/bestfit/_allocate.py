# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Allocate: take a range off the free list, make it an object, free it on request.

::

    first                              end
    | header, body ................... |      front: head, tail, tail ...
    | ................... body, header |      back: ... tail, tail, head
                                       '----- what is left of the range goes back to the list

The layout word is written, the link word in front of it keeps what was there, and the body is cleared whole.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap.bestfit._allocate is not compiled")

from cython.cimports.tinyheap.heap._words import fill, store32, store64, store_word, zero16
from cython.cimports.tinyheap.heap.bestfit._freelist import insert_range, take_range
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, NO_BLOCK, address_of, blocks_for, place_of
from cython.cimports.tinyheap.heap.bestfit._table import (
    HEAD,
    PLANE,
    end_of,
    first_of,
    header_of,
    nibbles_of,
    put_table_word,
    state_of,
    table_word,
    tails_above,
)


def alloc_object(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """A new object's address, counted; 0 when there is no room, or `DAMAGED`, and it stays counted."""
    address: u64
    if size_bytes == 0:
        return heap.zero_size_address
    count(heap, size_bytes)
    address = alloc_uncleared(heap, size_bytes, layout)
    if address != 0 and address != DAMAGED:
        clear_body(heap, address, blocks_for(heap, size_bytes))
    return address


def alloc_uncleared(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """The address of an object whose body is yet to be cleared; 0 when there is no room, or `DAMAGED`."""
    blocks: u64 = blocks_for(heap, size_bytes)
    first: u64 = take_range(heap, blocks)
    if first == NO_BLOCK or first == DAMAGED:
        return 0 if first == NO_BLOCK else DAMAGED
    set_states(heap, first, first + blocks)
    if heap.precise != 0:
        store_word(
            header_of(heap, first if heap.back == 0 else first + blocks - 1) + (cython.cast(u64, 1) << heap.word_shift),
            heap.word_shift,
            layout,
        )
    return address_of(heap, first) + heap.body_offset


def count(heap: Heap, size_bytes: u64) -> cython.void:
    """Count an allocation: before there is room for it, as the original does."""
    heap.total_alloc_bytes += size_bytes
    heap.total_blocks += blocks_for(heap, size_bytes)
    heap.mallocs += 1


def uncount(heap: Heap, size_bytes: u64) -> cython.void:
    """As if it had not been asked for."""
    heap.total_alloc_bytes -= size_bytes
    heap.total_blocks -= blocks_for(heap, size_bytes)
    heap.mallocs -= 1


def set_states(heap: Heap, first: u64, end: u64) -> cython.void:
    """Free blocks become a head and its tails."""
    head: u64 = first if heap.back == 0 else end - 1
    word: u64 = first >> 5
    last: u64 = (end - 1) >> 5
    tails: u64 = PLANE & (PLANE << (first & 31))
    low: u64
    while word <= last:
        if word == last:
            tails &= PLANE >> (31 - ((end - 1) & 31))
        low = cython.cast(u64, 1) << (head & 31) if head >> 5 == word else 0
        put_table_word(heap, word, table_word(heap, word) | nibbles_of(low) | nibbles_of(tails & ~low) << 4)
        tails = PLANE
        word += 1


def clear_states(heap: Heap, first: u64, end: u64) -> cython.void:
    """An object's blocks become free."""
    word: u64 = first >> 5
    last: u64 = (end - 1) >> 5
    blocks: u64 = PLANE & (PLANE << (first & 31))
    gone: u64
    while word <= last:
        if word == last:
            blocks &= PLANE >> (31 - ((end - 1) & 31))
        gone = nibbles_of(blocks)
        put_table_word(heap, word, table_word(heap, word) & ~(gone | gone << 4))
        blocks = PLANE
        word += 1


def clear_body(heap: Heap, address: u64, blocks: u64) -> cython.void:
    """Zero the body of an object of so many blocks: all but its header."""
    clear(place_of(heap, address), (blocks << heap.block_shift) - heap.header_bytes)


def clear(at: u64, bytes: u64) -> cython.void:
    """Zero so many bytes; the usual sizes by stores that overlap, without a branch that could be missed."""
    last: u64
    if bytes > 128 or bytes < 16:
        if bytes == 8:
            store64(at, 0)
        elif bytes == 12:
            store64(at, 0)
            store32(at + 8, 0)
        else:
            fill(at, bytes, 0)
        return
    last = bytes - 16
    zero16(at)
    zero16(at + last)
    if bytes <= 32:
        return
    zero16(at + (16 if last > 16 else last))
    zero16(at + (32 if last > 32 else last))
    zero16(at + (48 if last > 48 else last))
    zero16(at + (64 if last > 64 else last))
    zero16(at + (80 if last > 80 else last))
    zero16(at + (96 if last > 96 else last))


def old_size(heap: Heap, address: u64) -> u64:
    """Bytes from an address to its object's end; a stale address may give a very large number, as in TinyGo."""
    block: u64 = (address - heap.start) >> heap.block_shift
    end: u64
    size: u64
    if heap.back == 0:
        if block < heap.end_block and state_of(heap, block) & HEAD != 0:
            block += 1
        end = tails_above(heap, block) << heap.block_shift
    else:
        end = ((tails_above(heap, block) + 1) << heap.block_shift) - heap.header_bytes
    size = heap.start + end - address
    if heap.word_shift < 3:
        size &= (cython.cast(u64, 1) << (8 << heap.word_shift)) - 1
    return size


def free_object(heap: Heap, head: u64) -> u64:
    """Free an object on request, as one range of its own; returns its blocks, or `DAMAGED`."""
    first: u64 = first_of(heap, head)
    end: u64 = end_of(heap, head)
    if heap.poison != 0:
        fill(heap.memory + (first << heap.block_shift), (end - first) << heap.block_shift, heap.poison_byte)
    # Nothing is freed into a broken list: the states change last.
    if insert_range(heap, first, end - first):
        return DAMAGED
    clear_states(heap, first, end)
    heap.frees += 1
    heap.freed_blocks += end - first
    return end - first
