/* Allocate: find a run of free blocks, and make it an object.
 *
 * A search is next-fit: it begins where the last object ended, ends there too, and no run wraps around the heap's end.  Most
 * end in the first eight bytes of the table that it looks at.  Where it fails, the heap is collected or grown, and searched
 * again; the free blocks just before its end carry over into that next search.
 */

#ifndef ALLOCATE_H
#define ALLOCATE_H

#include "table.h"

/* A search's result: the block past the run, or NO_BLOCK; and the free blocks before its end, in the upper half. */
INLINE u64 found(u32 end, u32 run) { return (u64)run << 32 | end; }

/* Fields of free blocks where a run of `needed` (1 to 16, or with one doubling more to 32) begins.
 *
 * Keeps the starts of runs of 1, then of up to 2, 4, 8 and 16; as many steps for all sizes, so that no branch is missed. */
INLINE u64 run_starts(u64 free, u32 needed, u32 doublings) {
    u32 have = 1, more = needed > 1;
    for (u32 step = 0; step < doublings; step++) {
        free &= free >> (more << 1);
        have += more;
        more = needed - have > have ? have : needed - have;
    }
    return free & free >> ((needed - have) << 1);
}

/* The last block of `first..last` that is not free. */
INLINE u32 last_taken(u32 table, u32 heap_end, u32 first, u32 last) {
    if (first >= last)
        return NO_BLOCK;
    u32 at = word_at(table, last - 1);
    /* The states up to last, moved to the top. */
    u64 x = table_bytes(at, heap_end) << (62 - (((last - 1) & 31) << 1));
    while (x == 0 && at > word_at(table, first)) {
        last = (at - table) >> 3 << 5;
        at -= 8;
        x = load64(at);
    }
    if (x == 0)
        return NO_BLOCK;
    last -= (leading_zeros(x) >> 1) + 1;
    return last >= first ? last : NO_BLOCK;
}

/* A run of many blocks in `first..last`: look from its far end back, as Boyer and Moore do in text.
 *
 * `run` blocks before `known` are free.  If a block of the rest is taken, no run that begins before it can do. */
INLINE u64 find_long_run(u32 table, u32 heap_end, u32 first, u32 last, u32 needed, u32 run) {
    for (u32 known = first;;) {
        u32 has_room = last - known >= needed - run, end = has_room ? known + needed - run : last;
        u32 taken = last_taken(table, heap_end, known, end);
        run = taken == NO_BLOCK ? run + end - known : end - taken - 1;
        if (!has_room)
            return found(NO_BLOCK, run);
        if (taken == NO_BLOCK)
            return found(end, needed);
        known = end;
    }
}

/* The run of up to 64 blocks in `first..last` that ends first, 32 blocks at a time; `run` free blocks precede it. */
INLINE u64 find_short_run(u32 table, u32 heap_end, u32 first, u32 last, u32 needed, u32 run) {
    u32 block = first;
    while (block < last) {
        u32 count = 32 - (block & 31);
        u64 x = states_from(table, heap_end, block), taken = (x | x >> 1) & EVEN;
        if (last - block < count)
            count = last - block;
        if (count < 32)
            /* Where this piece ends, as if the next block were taken. */
            taken |= EVEN << (count << 1);
        u32 lead = trailing_zeros(taken) >> 1;
        if (run + lead >= needed)
            return found(block + needed - run, needed);
        if (taken != 0 && taken != EVEN && needed <= 31) {
            u64 starts = run_starts(~taken & EVEN, needed, 4);
            if (starts != 0)
                return found(block + (trailing_zeros(starts) >> 1) + needed, needed);
        }
        run = lead == count ? run + count : leading_zeros(taken << (64 - (count << 1))) >> 1;
        block += count;
    }
    return found(NO_BLOCK, run);
}

APART u64 find_run(u32 first, u32 last, u32 needed, u32 run) {
    u32 table = load32(metadata_start_at()), heap_end = load32(heap_end_at());
    return needed > 64 ? find_long_run(table, heap_end, first, last, needed, run)
                       : find_short_run(table, heap_end, first, last, needed, run);
}

/* Search the whole heap once, from nextAlloc around to it; `run` free blocks just before nextAlloc count. */
INLINE u64 find_room(u32 needed, u32 run) {
    u32 next = load32(next_alloc_at());
    u64 result = find_run(next, load32(end_block_at()), needed, run);
    return (u32)result == NO_BLOCK ? find_run(0, next, needed, 0) : result;
}

/* Free blocks become a head and its tails. */
INLINE void set_states(u32 table, u32 heap_end, u32 head, u32 end) {
    u32 at = word_at(table, head), last = word_at(table, end - 1), bit = (head & 31) << 1;
    u64 states = ODD << bit ^ 3ull << bit, end_mask = ONES >> (62 - (((end - 1) & 31) << 1));
    while (at < last) {
        put_table_bytes(at, heap_end, table_bytes(at, heap_end) | states);
        states = ODD;
        at += 8;
    }
    put_table_bytes(at, heap_end, table_bytes(at, heap_end) | (states & end_mask));
}

/* Zero exactly so many bytes.  A call of the engine's takes longer than the usual sizes do by stores that overlap. */
INLINE void clear(u32 at, u32 bytes) {
    if (bytes > 256) {
        fill(at, 0, bytes);
    } else if (bytes >= 8) {
        u32 last = at + bytes - 8;
        for (; at < last; at += 8)
            store64(at, 0);
        store64(last, 0);
    } else {
        for (; bytes > 0; bytes--)
            store8(at++, 0);
    }
}

/* Make the blocks that end here, whose states are written, an object; returns its address for the program. */
INLINE u32 commit(u32 end, u32 needed, u32 size_bytes, u32 layout, u32 header_bytes) {
    u32 at = heap_start() + ((end - needed) << BLOCK_SHIFT);
    store32(next_alloc_at(), end);
    if (header_bytes != 0)
        /* The header's padding keeps its old bytes. */
        store32(at, layout);
    clear(at + header_bytes, clears_blocks() ? (needed << BLOCK_SHIFT) - header_bytes : size_bytes);
    return at + header_bytes;
}

INLINE void add_to(u32 counter_at, u64 value) {
    if (counter_at != 0)
        store64(counter_at, load64(counter_at) + value);
}

/* Count an allocation, or take it back: `sign` is 1 or -1. */
INLINE void count_allocation(u32 bytes, u32 blocks, u64 sign) {
    add_to(total_alloc_bytes_at(), bytes * sign);
    add_to(mallocs_at(), sign);
    add_to(total_blocks_at(), blocks * sign);
}

/* The object's end, where the first eight bytes of the table that a search looks at have room; 0 where they do not. */
INLINE u32 find_near(u32 needed) {
    u32 table = load32(metadata_start_at()), next = load32(next_alloc_at()), at = table + (next >> 2);
    if (needed > 16 || at > load32(heap_end_at()) - 8)
        return 0;
    u64 x = load64(at), starts = run_starts(~(x | x >> 1) & EVEN << ((next & 3) << 1), needed, 3);
    if (starts == 0)
        return 0;
    u32 bit = trailing_zeros(starts), end = (next & ~3u) + (bit >> 1) + needed;
    if (end > load32(end_block_at()))
        return 0;
    store64(at, x | ((ODD ^ 3) & ONES >> (64 - (needed << 1))) << bit);
    return end;
}

#endif
