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

from cython.cimports.tinyheap.heap._words import fill, rarely, store32, store64, store_word, zero16
from cython.cimports.tinyheap.heap.bestfit._freelist import insert_range, take_range
from cython.cimports.tinyheap.heap.bestfit._node import place_exactly, place_in_rest, take_rest
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, NO_BLOCK, address_of, blocks_for, place_of
from cython.cimports.tinyheap.heap.bestfit._table import (
    HEAD,
    HEAD_BITS,
    TAIL_BITS,
    end_of,
    first_of,
    nibbles_between,
    place_in_word,
    put_table_word,
    state_of,
    table_word,
    tails_above,
)


def alloc_object(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """A new object's address, counted; 0 when there is no room, or `DAMAGED`, and it stays counted."""
    # Compiled once for each size of words, which is a constant then.
    if heap.word_shift == 2:
        return alloc_by(heap, size_bytes, layout, 2)
    if heap.word_shift == 3:
        return alloc_by(heap, size_bytes, layout, 3)
    return alloc_by(heap, size_bytes, layout, 1)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def alloc_by(heap: Heap, size_bytes: u64, layout: u64, shift: u64) -> u64:
    header_bytes: u64 = heap.header_bytes
    blocks: u64 = (size_bytes + header_bytes + (cython.cast(u64, 4) << shift) - 1) >> (shift + 2)
    first: u64
    at: u64
    if size_bytes == 0:
        return heap.zero_size_address
    heap.total_alloc_bytes += size_bytes
    heap.total_blocks += blocks
    heap.mallocs += 1
    first = place_in_rest(heap, blocks, shift)
    if first == NO_BLOCK:
        first = place_exactly(heap, blocks, shift)
    if first == NO_BLOCK:
        first = place_object(heap, blocks)
        if rarely(first >= DAMAGED):
            return 0 if first == NO_BLOCK else DAMAGED
    at = first << (shift + 2)
    if heap.precise != 0:
        store_layout(heap, at, blocks, layout, shift)
    at += heap.body_offset
    clear(heap.memory + at, (blocks << (shift + 2)) - header_bytes)
    return heap.start + at


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def store_layout(heap: Heap, offset: u64, blocks: u64, layout: u64, shift: u64) -> cython.void:
    """Write the layout of an object whose first block lies at an offset: behind the link word of its header."""
    if heap.back != 0:
        offset += (blocks << (shift + 2)) - heap.header_bytes
    store_word(heap.memory + offset + (cython.cast(u64, 1) << shift), shift, layout)


def alloc_uncleared(heap: Heap, size_bytes: u64, layout: u64) -> u64:
    """The address of an object whose body is yet to be cleared; 0 when there is no room, or `DAMAGED`."""
    blocks: u64 = blocks_for(heap, size_bytes)
    first: u64 = place_object(heap, blocks)
    if first >= DAMAGED:
        return 0 if first == NO_BLOCK else DAMAGED
    if heap.precise != 0:
        store_layout(heap, first << heap.block_shift, blocks, layout, heap.word_shift)
    return address_of(heap, first) + heap.body_offset


def place_object(heap: Heap, blocks: u64) -> u64:
    """Take so many blocks and make them an object; the first one, `NO_BLOCK`, or `DAMAGED`."""
    first: u64 = take_rest(heap, blocks, heap.word_shift)
    if first == NO_BLOCK:
        first = take_range(heap, blocks)
    if first < DAMAGED:
        set_states(heap, first, first + blocks)
    return first


def uncount(heap: Heap, size_bytes: u64) -> cython.void:
    """As if what was counted had not been asked for."""
    heap.total_alloc_bytes -= size_bytes
    heap.total_blocks -= blocks_for(heap, size_bytes)
    heap.mallocs -= 1


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def set_states(heap: Heap, first: u64, end: u64) -> cython.void:
    """Free blocks become a head and its tails."""
    head: u64 = first if heap.back == 0 else end - 1
    word: u64 = first >> 5
    last: u64 = end - 1
    x: u64
    first &= 31
    while True:
        x = table_word(heap, word) | nibbles_between(first, 31 if word < last >> 5 else last & 31) << 4
        if head >> 5 == word:
            # A tail becomes a head.
            x ^= cython.cast(u64, TAIL_BITS | HEAD_BITS) << place_in_word(head & 31)
        put_table_word(heap, word, x)
        if word == last >> 5:
            break
        word += 1
        first = 0


def clear_states(heap: Heap, first: u64, end: u64) -> cython.void:
    """An object's blocks become free."""
    word: u64 = first >> 5
    last: u64 = end - 1
    gone: u64
    first &= 31
    while True:
        gone = nibbles_between(first, 31 if word < last >> 5 else last & 31)
        put_table_word(heap, word, table_word(heap, word) & ~(gone | gone << 4))
        if word == last >> 5:
            break
        word += 1
        first = 0


def clear_body(heap: Heap, address: u64, blocks: u64) -> cython.void:
    """Zero the body of an object of so many blocks: all but its header."""
    clear(place_of(heap, address), (blocks << heap.block_shift) - heap.header_bytes)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
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
