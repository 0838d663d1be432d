/* The block mark/sweep collector, ported to C block by block: the peer that tinyheap's kernel is measured against.
 *
 * It does what the original does, in the original's order: a byte table of two-bit states walked one block at a
 * time, a bounded mark stack with overflow and rescan, next-fit search, growth with the table moved. Nothing is
 * clever here on purpose; only the compiler may be.
 *
 * Compile with -DWORD_BYTES=2, 4 or 8 and -DPRECISE=0 or 1; -DCOUNT=1 adds work counters to the hot loops (so it
 * is never the build that is timed). The guest's memory is mapped at the guest's own addresses for 4- and 8-byte
 * words, so a guest address is a native pointer. 2-byte words use a 64 KiB array. All pages are there from the start.
 *
 *   literal [--full] [--times] [--base ADDRESS] TRACE
 *
 * prints one JSON line. --full adds addresses, one row per collection and the block map (slow: not for timing);
 * --times adds the nanoseconds of marking and sweeping (two clock readings a collection).
 */
#include "literal.h"

#define HEADER_WORDS 1
#define STATE_BITS 2
#define MARK_STACK_ENTRIES (8 * WORD_BYTES)

enum state { FREE = 0, HEAD = 1, TAIL = 2, MARK = 3, STATE_MASK = 3 };

static block next_alloc;
static uint64_t total_blocks, freed_blocks;
static bool stack_overflow;
static uint64_t overflows, rescans;

struct row {
    uint64_t free, heads, tails, overflows, rescans, hash;
};
static struct row *rows;
static size_t row_capacity;

/* Blocks and their states. */

static uint8_t *state_byte(block b) {
    return NATIVE(metadata_start) + b / BLOCKS_PER_STATE_BYTE;
}

static enum state state_of(block b) {
    return (*state_byte(b) >> (b % BLOCKS_PER_STATE_BYTE * STATE_BITS)) & STATE_MASK;
}

static void set_state(block b, enum state state) {
    *state_byte(b) |= (uint8_t)(state << (b % BLOCKS_PER_STATE_BYTE * STATE_BITS));
}

static void clear_bits(block b, enum state bits) {
    *state_byte(b) &= (uint8_t)~(bits << (b % BLOCKS_PER_STATE_BYTE * STATE_BITS));
}

static block find_head(block b) {
    while (state_of(b) == TAIL)
        b--;
    return b;
}

static block find_next(block b) {
    if (state_of(b) == HEAD || state_of(b) == MARK)
        b++;
    while (address_of(b) < metadata_start && state_of(b) == TAIL)
        b++;
    return b;
}

/* The heap's extent. */

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
    return true;
}

/* Which words of an object may be pointers. */

struct scanner {
    word index, size, bitmap;
    const uint8_t *bitmap_bytes;
};

#if PRECISE
static struct scanner scanner_of(block b) {
    const word layout = load(NATIVE(address_of(b)));
    if (layout == 0)
        return (struct scanner){.size = 1, .bitmap = 1};
    if (layout & 1)
        return (struct scanner){.size = (layout >> 1) & (((word)1 << SIZE_FIELD_BITS) - 1),
                                .bitmap = (word)(layout >> (1 + SIZE_FIELD_BITS))};
    return (struct scanner){.size = load(NATIVE(layout)), .bitmap_bytes = NATIVE(layout) + WORD_BYTES};
}

static bool pointer_free(const struct scanner *scanner) {
    return !scanner->bitmap_bytes && scanner->bitmap == 0;
}

static bool next_is_pointer(struct scanner *scanner, word value) {
    const word index = scanner->index++;
    if (scanner->index == scanner->size)
        scanner->index = 0;
    if (!is_on_heap(value))
        return false;
    if (scanner->bitmap_bytes)
        return scanner->bitmap_bytes[index / 8] >> (index % 8) & 1;
    return index < WORD_BITS && (scanner->bitmap >> index & 1);
}
#else
static struct scanner scanner_of(block b) {
    (void)b;
    return (struct scanner){0};
}

static bool pointer_free(const struct scanner *scanner) {
    (void)scanner;
    return false;
}

static bool next_is_pointer(struct scanner *scanner, word value) {
    (void)scanner;
    return is_on_heap(value);
}
#endif

/* Mark. */

static void start_mark(block root) {
    block stack[MARK_STACK_ENTRIES];
    stack[0] = root;
    set_state(root, MARK);
    int depth = 1;
    while (depth > 0) {
        const block current = stack[--depth];
        struct scanner scanner = scanner_of(current);
        if (pointer_free(&scanner))
            continue;
        word start = address_of(current);
        const word end = address_of(find_next(current));
        if (PRECISE)
            start = (word)(start + header_bytes);
        for (word address = start; address != end; address += ALIGNMENT) {
            TALLY(words_scanned);
            const word value = load(NATIVE(address));
            if (!next_is_pointer(&scanner, value))
                continue;
            block referenced = block_from_address(value);
            if (state_of(referenced) == FREE)
                continue;
            referenced = find_head(referenced);
            if (state_of(referenced) == MARK)
                continue;
            set_state(referenced, MARK);
            if (depth == MARK_STACK_ENTRIES) {
                stack_overflow = true;
                overflows++;
                continue;
            }
            stack[depth++] = referenced;
        }
    }
}

static void mark_root(word root) {
    if (!is_on_heap(root))
        return;
    const block b = block_from_address(root);
    if (state_of(b) == FREE)
        return;
    const block head = find_head(b);
    if (state_of(head) != MARK)
        start_mark(head);
}

static void mark_roots(const uint8_t *start, const uint8_t *end) {
    end -= WORD_BYTES - ALIGNMENT;
    for (const uint8_t *at = start; at < end; at += ALIGNMENT)
        mark_root(load(at));
}

static void finish_mark(void) {
    while (stack_overflow) {
        stack_overflow = false;
        rescans++;
        for (block b = 0; b < end_block; b++)
            if (state_of(b) == MARK)
                start_mark(b);
    }
}

/* Sweep, and a whole collection. */

static word sweep(void) {
    bool freeing = false;
    uint64_t freed = 0;
    word free_bytes = 0;
    for (block b = 0; b < end_block; b++) {
        switch (state_of(b)) {
        case HEAD:
            clear_bits(b, STATE_MASK);
            freeing = true;
            frees++;
            freed++;
            break;
        case TAIL:
            if (freeing) {
                clear_bits(b, STATE_MASK);
                freed++;
            }
            break;
        case MARK:
            clear_bits(b, STATE_MASK ^ HEAD);
            freeing = false;
            break;
        case FREE:
            free_bytes += BYTES_PER_BLOCK;
            break;
        }
    }
    freed_blocks += freed;
    return (word)(free_bytes + freed * BYTES_PER_BLOCK);
}

static void note_collection(uint64_t overflows_before, uint64_t rescans_before) {
    if (collections == row_capacity) {
        row_capacity = row_capacity ? 2 * row_capacity : 64;
        rows = realloc(rows, row_capacity * sizeof *rows);
        if (!rows)
            die("out of host memory", "for the rows of collections");
    }
    struct row row = {.overflows = overflows - overflows_before, .rescans = rescans - rescans_before};
    for (block b = 0; b < end_block; b++) {
        const enum state state = state_of(b);
        row.free += state == FREE;
        row.heads += state == HEAD;
        row.tails += state == TAIL;
    }
    row.hash = table_hash();
    rows[collections] = row;
}

static word collect(void) {
    const uint64_t overflows_before = overflows, rescans_before = rescans;
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
        note_collection(overflows_before, rescans_before);
    collections++;
    return free_bytes;
}

/* What the mutator calls. */

static void start_heap(void) {
    next_alloc = 0;
}

static word allocate(word size, word layout) {
    if (size == 0)
        return zero_sized_address;
    if (PRECISE)
        size = (word)(size + header_bytes);
    total_alloc_bytes += size;
    mallocs++;
    const word needed = (word)(size + (BYTES_PER_BLOCK - 1)) / BYTES_PER_BLOCK;
    total_blocks += needed;

    block index = next_alloc;
    word run = 0;
    int searches = 0;
    for (;;) {
        if (index == next_alloc) {
            if (searches == 0) {
                searches = 1;
            } else if (searches == 1) {
                searches = 2;
                const word free_bytes = collect();
                if (free_bytes < (word)(metadata_start - heap_start) / 3)
                    grow_heap();
            } else if (!grow_heap()) {
                longjmp(out_of_memory, 1);
            }
        }
        if (index == end_block) {
            index = 0;
            run = 0;
            continue;
        }
        TALLY(blocks_examined);
        if (state_of(index) != FREE) {
            run = 0;
            index++;
            continue;
        }
        run++;
        index++;
        if (run != needed)
            continue;
        next_alloc = index;
        const block found = (block)(index - needed);
        set_state(found, HEAD);
        for (block b = found + 1; b != next_alloc; b++)
            set_state(b, TAIL);
        word address = address_of(found);
        if (PRECISE) {
            store(address, layout);
            address = (word)(address + header_bytes);
            size = (word)(size - header_bytes);
        }
        memset(NATIVE(address), 0, size);
        return address;
    }
}

static word reallocate(word address, word size) {
    if (address == 0)
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
        printf("%s[%llu, %llu, %llu, %llu, %llu, \"%016llx\"]", i ? ", " : "", (unsigned long long)rows[i].free,
               (unsigned long long)rows[i].heads, (unsigned long long)rows[i].tails,
               (unsigned long long)rows[i].overflows, (unsigned long long)rows[i].rescans,
               (unsigned long long)rows[i].hash);
}

static void print_work(void) {
    printf(", \"overflows\": %llu, \"rescans\": %llu, \"next_alloc\": %llu", (unsigned long long)overflows,
           (unsigned long long)rescans, (unsigned long long)next_alloc);
#if COUNT
    printf(", \"blocks_examined\": %llu, \"words_scanned\": %llu", (unsigned long long)blocks_examined,
           (unsigned long long)words_scanned);
#endif
}

static void print_mem_stats(uint64_t idle, uint64_t whole) {
    printf(", \"mem_stats\": {\"Frees\": %llu, \"GCSys\": %llu, \"HeapAlloc\": %llu, \"HeapIdle\": %llu, "
           "\"HeapInuse\": %llu, \"HeapSys\": %llu, \"Mallocs\": %llu, \"Sys\": %llu, \"TotalAlloc\": %llu}",
           (unsigned long long)frees, (unsigned long long)(word)(heap_end - metadata_start),
           (unsigned long long)((total_blocks - freed_blocks) * BYTES_PER_BLOCK), (unsigned long long)idle,
           (unsigned long long)(whole - idle), (unsigned long long)whole, (unsigned long long)mallocs,
           (unsigned long long)(word)(heap_end - heap_start), (unsigned long long)total_alloc_bytes);
}

#include "literal_program.h"
