/* The block table: two bits a block, 32 blocks in a word, the lowest block in the lowest bits.
 *
 *     block              3    2    1    0
 *                      tail tail head free
 *     x                  10   10   01   00      the states
 *     x & EVEN           00   00   01   00      heads and marks
 *     x ^ ODD            00   00   11   10      zero exactly where a tail is
 *
 * The table ends where the heap does, which may be where memory ends.  So its last, short word is read as the last eight
 * bytes of the heap, moved down.
 */

#ifndef TABLE_H
#define TABLE_H

#include "facts.h"

#define FREE 0
#define HEAD 1
#define TAIL 2
#define MARK 3
#define EVEN 0x5555555555555555ull
#define ODD 0xaaaaaaaaaaaaaaaaull
#define ONES 0xffffffffffffffffull
#define BLOCK_SHIFT 4
#define BLOCK_BYTES 16
/* No block is the end of a run, which is at least 1; no heap has so many blocks. */
#define NO_BLOCK UINT32_MAX

/* Eight bytes of the table, or what is left of it, which may be nothing. */
INLINE u64 table_bytes(u32 at, u32 heap_end) {
    u32 last = heap_end - 8;
    return at <= last ? load64(at) : load64(last) >> ((at - last - 1) << 3) >> 8;
}

INLINE void put_table_bytes(u32 at, u32 heap_end, u64 x) {
    u32 last = heap_end - 8, shift = (at - last) << 3;
    if (at <= last)
        store64(at, x);
    else
        store64(last, (load64(last) & ~(ONES << shift)) | x << shift);
}

INLINE u32 word_at(u32 table, u32 block) { return table + (block >> 5 << 3); }

/* The states of the word that a block lies in, its own and those behind it, moved down. */
INLINE u64 states_from(u32 table, u32 heap_end, u32 block) {
    return table_bytes(word_at(table, block), heap_end) >> ((block & 31) << 1);
}

INLINE u32 state_of(u32 table, u32 block) { return load8(table + (block >> 2)) >> ((block & 3) << 1) & 3; }

INLINE void set_mark(u32 table, u32 block) {
    u32 at = table + (block >> 2);
    store8(at, load8(at) | MARK << ((block & 3) << 1));
}

/* The head of the object that a block belongs to.  The eight bytes that end with its own are always there. */
INLINE u32 head_of(u32 table, u32 block) {
    u32 at = table + (block >> 2) - 7;
    u64 x = (load64(at) ^ ODD) << (6 - ((block & 3) << 1));
    u32 known = 29 + (block & 3);
    while (x == 0) {
        block -= known;
        at -= 8;
        known = 32;
        x = load64(at) ^ ODD;
    }
    return block - (leading_zeros(x) >> 1);
}

/* The block past the tails that begin at a block. */
INLINE u32 end_of_tails(u32 table, u32 heap_end, u32 block) {
    for (;;) {
        u64 x = table_bytes(table + (block >> 2), heap_end) >> ((block & 3) << 1) ^ ODD;
        u32 tails = trailing_zeros(x) >> 1, known = 32 - (block & 3);
        if (tails < known)
            return block + tails;
        block += known;
    }
}

#endif
