/* Best-fit as TinyGo 0.40 and 0.41 have it, ported to C block by block: the peer of tinyheap's best-fit kernel.
 *
 * It does what the original does, in the original's order: a table of nibbles walked one block at a time, objects to scan
 * chained through their headers, nested lists of free ranges in the free blocks, walked node by node. Nothing is clever here
 * on purpose; only the compiler may be.
 *
 * Options and output are those of `literal.c`; so are -DWORD_BYTES, -DPRECISE and -DCOUNT.
 */
#include "literal.h"

#define HEADER_WORDS (1 + PRECISE)

enum state { FREE = 0, HEAD = 1, TAIL = 16, MARK = 17 };

/* At the start of a free range. `next` and `inner` are there in outer nodes only; an inner node has its link first. */
enum { NODE_LENGTH, NODE_NEXT, NODE_INNER };

static word free_ranges; /* the first outer node; 0 is none */
static word scan_list;   /* header of the object marked last */

struct row {
    uint64_t free, heads, tails, table_hash, ranges_hash;
};
static struct row *rows;
static size_t row_capacity;

/* Blocks and their states. */

static uint8_t *state_byte(block b) {
    return NATIVE(metadata_start) + b / BLOCKS_PER_STATE_BYTE;
}

static enum state state_of(block b) {
    return (*state_byte(b) >> (b % BLOCKS_PER_STATE_BYTE)) & MARK;
}

static void set_state(block b, enum state state) {
    *state_byte(b) |= (uint8_t)(state << (b % BLOCKS_PER_STATE_BYTE));
}

static void clear_bits(block b, enum state bits) {
    *state_byte(b) &= (uint8_t)~(bits << (b % BLOCKS_PER_STATE_BYTE));
}

static block find_head(block b) {
    while (state_of(b) == TAIL)
        b--;
    return b;
}

static block find_next(block b) {
    if (state_of(b) == HEAD || state_of(b) == MARK)
        b++;
    while (b < end_block && state_of(b) == TAIL)
        b++;
    return b;
}

/* Free ranges. */

static word field(word node, int index) {
    return load(NATIVE((word)(node + index * WORD_BYTES)));
}

static void set_field(word node, int index, word value) {
    store((word)(node + index * WORD_BYTES), value);
}

/* A link is the address of a word in the heap; 0 stands for `free_ranges`. */
static word follow(word link) {
    return link ? load(NATIVE(link)) : free_ranges;
}

static void set_link(word link, word node) {
    if (link)
        store(link, node);
    else
        free_ranges = node;
}

/* The link to the first outer node of so many blocks or more. */
static word find_link(word blocks) {
    word link = 0, node;
    while ((node = follow(link)) != 0 && field(node, NODE_LENGTH) < blocks) {
        TALLY(blocks_examined);
        link = (word)(node + NODE_NEXT * WORD_BYTES);
    }
    return link;
}

static void insert_range(block first, word blocks) {
    const word range = address_of(first), link = find_link(blocks), node = follow(link);
    if (node && field(node, NODE_LENGTH) == blocks) {
        store(range, field(node, NODE_INNER));
        set_field(node, NODE_INNER, range);
        return;
    }
    set_field(range, NODE_LENGTH, blocks);
    set_field(range, NODE_NEXT, node);
    set_field(range, NODE_INNER, 0);
    set_link(link, range);
}

/* The first block of the shortest range that is long enough, or `end_block`. */
static block take_range(word needed) {
    const word link = find_link(needed), node = follow(link);
    if (!node)
        return end_block;
    const word blocks = field(node, NODE_LENGTH), inner = field(node, NODE_INNER);
    if (inner)
        set_field(node, NODE_INNER, load(NATIVE(inner)));
    else
        set_link(link, field(node, NODE_NEXT));
    const block first = block_from_address(inner ? inner : node);
    if (blocks > needed)
        insert_range((block)(first + needed), (word)(blocks - needed));
    return first;
}

/* Discards the list and inserts all runs of free blocks, the highest first; returns the free blocks. */
static word build_ranges(void) {
    word free_blocks = 0;
    free_ranges = 0;
    block b = end_block;
    while (b > 0) {
        TALLY(blocks_examined);
        if (state_of((block)(b - 1)) != FREE) {
            b--;
            continue;
        }
        const block end = b;
        while (b > 0 && state_of((block)(b - 1)) == FREE) {
            TALLY(blocks_examined);
            b--;
        }
        insert_range(b, (word)(end - b));
        free_blocks = (word)(free_blocks + (end - b));
    }
    return free_blocks;
}

static bool grow_heap(void) {
    const word bytes = (word)(heap_end - heap_start);
    if (bytes == limit_bytes)
        return false;
    uint64_t wanted = growth_mode == 0 ? 2 * (uint64_t)bytes : (uint64_t)bytes * 4 / 3 & ~(uint64_t)4095;
    if (wanted > limit_bytes)
        wanted = limit_bytes;
    if (wanted <= bytes)
        return false; /* the rounding of mode 1 ate the growth: without this, alloc would never end */
    const word old_table = metadata_start, old_table_bytes = (word)(heap_end - metadata_start);
    heap_end = (word)(heap_start + wanted);
    place_table();
    memmove(NATIVE(metadata_start), NATIVE(old_table), old_table_bytes);
    memset(NATIVE(metadata_start) + old_table_bytes, 0, (word)(heap_end - metadata_start) - old_table_bytes);
    build_ranges();
    return true;
}

/* Mark. */

static void mark_candidate(word value) {
    if (!is_on_heap(value))
        return;
    block b = block_from_address(value);
    if (b >= end_block || state_of(b) == FREE)
        return;
    b = find_head(b);
    if (state_of(b) == MARK)
        return;
    set_state(b, MARK);
    store(address_of(b), scan_list);
    scan_list = address_of(b);
}

static void scan_all(word start, word end) {
    for (word address = start; address + WORD_BYTES <= end; address += ALIGNMENT) {
        TALLY(words_scanned);
        mark_candidate(load(NATIVE(address)));
    }
}

#if PRECISE
static void scan_object(block b) {
    const word layout = load(NATIVE(address_of(b) + WORD_BYTES));
    word start = (word)(address_of(b) + header_bytes);
    const word end = address_of(find_next(b));
    if (layout == 0) {
        scan_all(start, end);
        return;
    }
    const uint8_t *bitmap = NULL;
    word size, mask = 0;
    if (layout & 1) {
        size = (layout >> 1) & (((word)1 << SIZE_FIELD_BITS) - 1);
        mask = (word)(layout >> (1 + SIZE_FIELD_BITS));
        if (mask == 0)
            return;
    } else {
        size = load(NATIVE(layout));
        bitmap = NATIVE(layout) + WORD_BYTES;
    }
    while ((word)(end - start) / ALIGNMENT >= size) {
        for (word i = 0; i < size; i++, start += ALIGNMENT) {
            TALLY(words_scanned);
            if (bitmap ? bitmap[i / 8] >> (i % 8) & 1 : i < WORD_BITS && (mask >> i & 1))
                mark_candidate(load(NATIVE(start)));
        }
    }
}
#else
static void scan_object(block b) {
    scan_all((word)(address_of(b) + header_bytes), address_of(find_next(b)));
}
#endif

static void mark_roots(const uint8_t *start, const uint8_t *end) {
    end -= WORD_BYTES - ALIGNMENT;
    for (const uint8_t *at = start; at < end; at += ALIGNMENT)
        mark_candidate(load(at));
}

static void finish_mark(void) {
    while (scan_list) {
        const word header = scan_list;
        scan_list = load(NATIVE(header));
        scan_object(block_from_address(header));
    }
}

/* Sweep, and a whole collection. */

static word sweep(void) {
    bool freeing = false;
    for (block b = 0; b < end_block; b++) {
        switch (state_of(b)) {
        case HEAD:
            clear_bits(b, MARK);
            freeing = true;
            frees++;
            break;
        case TAIL:
            if (freeing)
                clear_bits(b, MARK);
            break;
        case MARK:
            clear_bits(b, TAIL);
            freeing = false;
            break;
        case FREE:
            break;
        }
    }
    return (word)(build_ranges() * BYTES_PER_BLOCK);
}

static void hash_word(uint64_t *hash, uint64_t value) {
    for (int i = 0; i < 4; i++)
        *hash = (*hash ^ (value >> 8 * i & 255)) * 1099511628211u;
}

static uint64_t ranges_hash(void) {
    uint64_t hash = 14695981039346656037u;
    for (word outer = free_ranges; outer; outer = field(outer, NODE_NEXT)) {
        const word blocks = field(outer, NODE_LENGTH);
        for (word range = outer; range; range = field(range, range == outer ? NODE_INNER : 0)) {
            hash_word(&hash, (word)(range - heap_start));
            hash_word(&hash, blocks);
        }
    }
    return hash;
}

static void note_collection(void) {
    if (collections == row_capacity) {
        row_capacity = row_capacity ? 2 * row_capacity : 64;
        rows = realloc(rows, row_capacity * sizeof *rows);
        if (!rows)
            die("out of host memory", "for the rows of collections");
    }
    struct row row = {.table_hash = table_hash(), .ranges_hash = ranges_hash()};
    for (block b = 0; b < end_block; b++) {
        const enum state state = state_of(b);
        row.free += state == FREE;
        row.heads += state == HEAD;
        row.tails += state == TAIL;
    }
    rows[collections] = row;
}

static word collect(void) {
    const uint64_t started = timing ? now_ns() : 0;
    mark_roots((uint8_t *)root_slots, (uint8_t *)(root_slots + root_slot_count));
    finish_mark();
    const uint64_t marked = timing ? now_ns() : 0;
    const word free_bytes = sweep();
    if (timing) {
        mark_ns += marked - started;
        sweep_ns += now_ns() - marked;
    }
    if (full)
        note_collection();
    collections++;
    return free_bytes;
}

/* What the mutator calls. */

static void start_heap(void) {
    build_ranges();
}

static word allocate(word size, word layout) {
    if (size == 0)
        return zero_sized_address;
    if ((word)(size + header_bytes + (BYTES_PER_BLOCK - 1)) < size)
        longjmp(out_of_memory, 1);
    const word needed = (word)(size + header_bytes + (BYTES_PER_BLOCK - 1)) / BYTES_PER_BLOCK;
    total_alloc_bytes += size;
    mallocs++;
    bool collected = false;
    block first;
    while ((first = take_range(needed)) == end_block) {
        if (collected) {
            if (!grow_heap())
                longjmp(out_of_memory, 1);
            continue;
        }
        collected = true;
        if (collect() < (word)(metadata_start - heap_start) / 3)
            grow_heap();
    }
    set_state(first, HEAD);
    for (block b = first + 1; b != (block)(first + needed); b++)
        set_state(b, TAIL);
    const word header = address_of(first), address = (word)(header + header_bytes);
    if (PRECISE)
        store((word)(header + WORD_BYTES), layout);
    memset(NATIVE(address), 0, (size_t)needed * BYTES_PER_BLOCK - header_bytes);
    return address;
}

static word reallocate(word address, word size) {
    if (address == 0 || !is_on_heap(address))
        return allocate(size, 0);
    const word end = address_of(find_next(block_from_address(address)));
    const word old_bytes = (word)(end - address); /* wraps for a dangling address behind a header, as in the original */
    if (size <= old_bytes)
        return address;
    const word moved = allocate(size, 0);
    memcpy(NATIVE(moved), NATIVE(address), old_bytes);
    return moved;
}

/* What is printed of it. */

static void print_rows(void) {
    for (size_t i = 0; i < collections; i++)
        printf("%s[%llu, %llu, %llu, \"%016llx\", \"%016llx\"]", i ? ", " : "", (unsigned long long)rows[i].free,
               (unsigned long long)rows[i].heads, (unsigned long long)rows[i].tails,
               (unsigned long long)rows[i].table_hash, (unsigned long long)rows[i].ranges_hash);
}

static void print_work(void) {
    printf(", \"final_ranges_fnv1a\": \"%016llx\"", (unsigned long long)ranges_hash());
#if COUNT
    printf(", \"blocks_examined\": %llu, \"words_scanned\": %llu", (unsigned long long)blocks_examined,
           (unsigned long long)words_scanned);
#endif
}

static void print_mem_stats(uint64_t idle, uint64_t whole) {
    const uint64_t used = whole - idle;
    uint64_t heads = 0;
    for (block b = 0; b < end_block; b++)
        heads += state_of(b) == HEAD;
    printf(", \"mem_stats\": {\"Alloc\": %llu, \"Frees\": %llu, \"GCSys\": %llu, \"HeapAlloc\": %llu, \"HeapIdle\": %llu, "
           "\"HeapInuse\": %llu, \"HeapObjects\": %llu, \"HeapSys\": %llu, \"Mallocs\": %llu, \"Sys\": %llu, "
           "\"TotalAlloc\": %llu}",
           (unsigned long long)used, (unsigned long long)(mallocs - heads),
           (unsigned long long)(word)(heap_end - metadata_start), (unsigned long long)used, (unsigned long long)idle,
           (unsigned long long)used, (unsigned long long)heads, (unsigned long long)(word)(metadata_start - heap_start),
           (unsigned long long)mallocs, (unsigned long long)(word)(heap_end - heap_start),
           (unsigned long long)total_alloc_bytes);
}

#include "literal_program.h"
