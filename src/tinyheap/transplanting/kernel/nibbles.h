/* The block table of the best-fit collectors: two bits a block, four blocks in a byte, one bit of a block in each half.
 *
 *     block          3 2 1 0   3 2 1 0
 *     byte           t f h m   t f h m     t: a tail (1 in the upper half), h: a head (1 in the lower half)
 *                    1 0 0 1   0 0 1 1     m: a marked head (1 in both), f: free
 */

#ifndef NIBBLES_H
#define NIBBLES_H

#include "facts.h"

#define BLOCK_SHIFT 4
#define BLOCK_BYTES 16
#define FREE 0x00
#define HEAD 0x01
#define TAIL 0x10
#define MARK 0x11
#define ALL_TAILS 0xf0f0f0f0f0f0f0f0ull

INLINE u32 cell_at(u32 table, u32 block) { return table + (block >> 2); }
INLINE u32 state_of(u32 table, u32 block) { return load8(cell_at(table, block)) >> (block & 3) & MARK; }

/* Between a head and a mark. */
INLINE void flip_mark(u32 table, u32 block) {
    u32 at = cell_at(table, block);
    store8(at, load8(at) ^ TAIL << (block & 3));
}

/* Which of a byte's four blocks are no tails. */
INLINE u32 others_in(u32 cell) { return (cell | ~(cell >> 4)) & 15; }

/* The first block, from one in the table on, that is no tail; what is behind the table is none. */
INLINE u32 end_of_tails(u32 table, u32 heap_end, u32 block) {
    u32 at = cell_at(table, block), others = others_in(load8(at)) >> (block & 3) << (block & 3);
    while (others == 0 && heap_end - at > 1) {
        at++;
        while (heap_end - at > 8 && load64(at) == ALL_TAILS)
            at += 8;
        others = others_in(load8(at));
    }
    return ((at - table) << 2) + (u32)__builtin_ctz(others | 16);
}

/* The first of the tails that end in front of a block, or that block, where there is none. */
INLINE u32 start_of_tails(u32 table, u32 end) {
    if (end == 0)
        return 0;
    u32 at = cell_at(table, end - 1), others = others_in(load8(at)) & 15 >> (3 - ((end - 1) & 3));
    while (others == 0) {
        if (at == table)
            return 0;
        at--;
        while (at - table >= 8 && load64(at - 7) == ALL_TAILS)
            at -= 8;
        others = others_in(load8(at));
    }
    return ((at - table) << 2) + 32 - (u32)__builtin_clz(others);
}

#endif
