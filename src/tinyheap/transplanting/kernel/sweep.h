/* Sweep: free what is not marked and unmark the rest, 32 blocks with one addition.
 *
 * The original walks the blocks and keeps a flag: is this block part of an object that is freed?  Here the flag is a carry.
 * A one that is added behind a dead head runs through the fields behind it that hold 11: those of tails and of free blocks,
 * up to the next head or mark.  Tails whose field it changed are the dead object's.  ARCHITECTURE.md has a picture.
 */

#ifndef SWEEP_H
#define SWEEP_H

#include "allocate.h"

/* Returns the free bytes behind it. */
INLINE u32 sweep(void) {
    u32 table = load32(metadata_start_at()), heap_end = load32(heap_end_at()), end_block = load32(end_block_at());
    u32 end = table + ((end_block + 3) >> 2), freed_objects = 0, freed_blocks = 0, taken = 0;
    u64 carry = 0;
    for (u32 at = table; at < end; at += 8) {
        u64 x = table_bytes(at, heap_end);
        if (x == 0)
            continue;
        u64 low = x & EVEN, mark = low & x >> 1, head = low ^ mark;
        u64 fields = (low ^ EVEN) * 3, total = fields + (head << 2 | carry);
        carry = head >> 62 | (total < fields);
        /* The high bit of the sum is gone in tails that the carry ran through, and was never there in heads and marks. */
        u64 kept = mark | (total & x & ODD);
        put_table_bytes(at, heap_end, kept);
        u32 taken_before = ones((x | x >> 1) & EVEN), taken_here = ones((kept | kept >> 1) & EVEN);
        freed_objects += ones(head);
        freed_blocks += taken_before - taken_here;
        taken += taken_here;
    }
    add_to(frees_at(), freed_objects);
    add_to(freed_blocks_at(), freed_blocks);
    return (end_block - taken) << BLOCK_SHIFT;
}

#endif
