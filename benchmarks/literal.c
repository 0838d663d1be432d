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
#include "trace.h"

#include <setjmp.h>
#include <stdbool.h>
#include <sys/mman.h>

#ifndef PRECISE
#define PRECISE 0
#endif
#ifndef COUNT
#define COUNT 0
#endif

#if WORD_BYTES == 8
typedef uint64_t word;
#define DEFAULT_BASE 0x1000000000u
#define ALIGNMENT 8
#define SIZE_FIELD_BITS 6
#elif WORD_BYTES == 4
typedef uint32_t word;
#define DEFAULT_BASE 0x20000000u
#define ALIGNMENT 4
#define SIZE_FIELD_BITS 5
#elif WORD_BYTES == 2
typedef uint16_t word;
#define DEFAULT_BASE 0x100u
#define ALIGNMENT 1 /* as on AVR: pointers lie anywhere */
#define SIZE_FIELD_BITS 4
#else
#error "WORD_BYTES must be 2, 4 or 8"
#endif

#define BYTES_PER_BLOCK ((word)(4 * WORD_BYTES))
#define BLOCKS_PER_STATE_BYTE 4
#define STATE_BITS 2
#define MARK_STACK_ENTRIES (8 * WORD_BYTES)
#define WORD_BITS (8 * WORD_BYTES)

typedef word block;
enum state { FREE = 0, HEAD = 1, TAIL = 2, MARK = 3, STATE_MASK = 3 };

#if WORD_BYTES == 2
static uint8_t memory[0x10000 + WORD_BYTES];
#define NATIVE(address) (memory + (address))
#else
#define NATIVE(address) ((uint8_t *)(uintptr_t)(address))
#endif

static word heap_start, heap_end, metadata_start;
static block next_alloc, end_block;
static uint64_t total_alloc_bytes, total_blocks, mallocs, frees, freed_blocks;
static bool stack_overflow;
static uint64_t overflows, rescans;
#if COUNT
static uint64_t blocks_examined, words_scanned;
#define TALLY(counter) (counter++)
#else
#define TALLY(counter) ((void)0)
#endif

static word header_bytes, limit_bytes, zero_sized_address;
static uint32_t growth_mode;
static word *root_slots;
static size_t root_slot_count;

static bool timing, full;
static uint64_t mark_ns, sweep_ns, collections;
static jmp_buf out_of_memory;

struct row {
    uint64_t free, heads, tails, overflows, rescans, hash;
};
static struct row *rows;
static size_t row_capacity;

static word load(const uint8_t *from) {
    word value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void store(word address, word value) {
    memcpy(NATIVE(address), &value, sizeof value);
}

/* Blocks and their states. */

static bool is_on_heap(word address) {
    return address >= heap_start && address < metadata_start;
}

static block block_from_address(word address) {
    return (word)(address - heap_start) / BYTES_PER_BLOCK;
}

static word address_of(block b) {
    return (word)(heap_start + b * BYTES_PER_BLOCK);
}

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

static void place_table(void) {
    const uint64_t bytes = (word)(heap_end - heap_start);
    const uint64_t covered = BLOCKS_PER_STATE_BYTE * BYTES_PER_BLOCK;
    const uint64_t table_bytes = (bytes + covered) / (1 + covered);
    metadata_start = (word)(heap_end - table_bytes);
    end_block = (word)(metadata_start - heap_start) / BYTES_PER_BLOCK;
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

static uint64_t table_hash(void) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < ((size_t)end_block + 3) / BLOCKS_PER_STATE_BYTE; i++)
        hash = (hash ^ NATIVE(metadata_start)[i]) * 1099511628211u;
    return hash;
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

/* The guest's memory and what lies outside its heap: one sentinel, then out-of-line layouts. */

#if WORD_BYTES > 2
static void map_at(uint64_t address, uint64_t bytes) {
    const uint64_t page = address & ~(uint64_t)4095;
    void *got = mmap((void *)(uintptr_t)page, address + bytes - page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != (void *)(uintptr_t)page)
        die("the heap's addresses are taken in this process", "give another one with --base");
}
#endif

static uint64_t outside_address(uint64_t bytes) {
#if WORD_BYTES == 2
    const uint64_t behind = (heap_start + limit_bytes + 1u) & ~1u;
    if (behind + bytes > 0x10000)
        die("layouts do not fit", "behind the heap of a 16-bit guest");
    return behind;
#else
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (WORD_BYTES == 4 ? MAP_32BIT : 0);
    void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (got == MAP_FAILED)
        die("out of host memory", "for layouts");
    return (uintptr_t)got;
#endif
}

static int compare_u32(const void *left, const void *right) {
    const uint32_t l = *(const uint32_t *)left, r = *(const uint32_t *)right;
    return (l > r) - (l < r);
}

static uint64_t out_of_line_bytes(uint32_t layout) {
    return (WORD_BYTES + (layout / 2 + 7) / 8 + 1) & ~(uint64_t)1;
}

/* Replaces every even layout in the steps by twice its place in the returned array of addresses. */
static word *build_layouts(struct trace *trace) {
    uint32_t *distinct = zeroed(trace->step_count + 1, sizeof *distinct);
    size_t count = 1;
    for (size_t i = 0; i < trace->step_count; i++)
        if (trace->steps[i].op == ALLOC && trace->steps[i].c % 2 == 0)
            distinct[count++] = trace->steps[i].c;
    qsort(distinct, count, sizeof *distinct, compare_u32);
    size_t kept = 1;
    uint64_t bytes = 2;
    for (size_t i = 1; i < count; i++)
        if (distinct[i] != distinct[kept - 1]) {
            distinct[kept++] = distinct[i];
            bytes += out_of_line_bytes(distinct[i]);
        }
    word *addresses = zeroed(kept, sizeof *addresses);
    uint64_t at = outside_address(bytes);
    zero_sized_address = (word)at;
    at += 2;
    for (size_t i = 1; i < kept; i++) {
        addresses[i] = (word)at;
        store((word)at, (word)(distinct[i] / 2));
        for (uint32_t bit = 0; bit < distinct[i] / 2; bit += 3)
            NATIVE(at)[WORD_BYTES + bit / 8] |= (uint8_t)(1 << bit % 8);
        at += out_of_line_bytes(distinct[i]);
    }
    for (size_t i = 0; i < trace->step_count; i++) {
        struct step *step = &trace->steps[i];
        if (step->op == ALLOC && step->c % 2 == 0)
            step->c = 2 * (uint32_t)((uint32_t *)bsearch(&step->c, distinct, kept, sizeof *distinct, compare_u32) -
                                     distinct);
    }
    free(distinct);
    return addresses;
}

static void set_up_heap(const struct trace *trace, uint64_t base) {
    if (trace->word_bytes != WORD_BYTES)
        die("wrong build", "this program was compiled for another word size");
    const uint64_t align = trace->header_alignment_bytes ? trace->header_alignment_bytes : WORD_BYTES;
    header_bytes = (word)((WORD_BYTES + align - 1) / align * align);
    limit_bytes = (word)trace->limit_bytes;
    growth_mode = trace->growth;
    root_slot_count = trace->root_slots;
    root_slots = zeroed(root_slot_count, sizeof *root_slots);
#if WORD_BYTES == 2
    if (base + trace->limit_bytes > 0xffff)
        die("the limit does not fit", "16-bit addresses behind the base");
#else
    map_at(base, trace->limit_bytes + WORD_BYTES);
#endif
    heap_start = (word)base;
    heap_end = (word)(base + trace->heap_bytes);
    place_table();
}

/* The program. */

static word *ids;
static int64_t *returned;
static size_t returned_count, steps_begun;

static void note_address(word address) {
    if (full)
        returned[returned_count++] = address == zero_sized_address ? -1 : (int64_t)(word)(address - heap_start);
}

static void run(const struct trace *trace, const word *layouts) {
    for (size_t i = 0; i < trace->step_count; i++) {
        const struct step step = trace->steps[i];
        steps_begun = i;
        switch (step.op) {
        case ALLOC:
            ids[step.a] = allocate((word)step.b, step.c & 1 ? (word)step.c : layouts[step.c / 2]);
            note_address(ids[step.a]);
            break;
        case STORE:
            store((word)(ids[step.a] + (step.b & STORE_WORD_MASK) * WORD_BYTES),
                  ids[step.c] ? (word)(ids[step.c] + (step.b >> STORE_INTERIOR_SHIFT) * WORD_BYTES) : 0);
            break;
        case ROOT:
            root_slots[step.a] = step.b ? (word)(ids[step.b] + step.c) : 0;
            break;
        case COLLECT:
            collect();
            break;
        case STORE_ADDRESS:
            store((word)(ids[step.a] + step.b * WORD_BYTES), (word)(heap_start + step.c));
            break;
        case REALLOC:
            ids[step.a] = reallocate(ids[step.a], (word)step.b);
            note_address(ids[step.a]);
            break;
        case STORE_INTEGER:
            store((word)(ids[step.a] + step.b * WORD_BYTES), (word)step.c);
            break;
        case COPY:
            ids[step.a] = ids[step.b];
            break;
        default:
            die("unknown operation", "in the trace");
        }
    }
}

static void print_full(void) {
    printf(", \"addresses\": [");
    for (size_t i = 0; i < returned_count; i++)
        printf("%s%lld", i ? ", " : "", (long long)returned[i]);
    printf("], \"collections\": [");
    for (size_t i = 0; i < collections; i++)
        printf("%s[%llu, %llu, %llu, %llu, %llu, \"%016llx\"]", i ? ", " : "", (unsigned long long)rows[i].free,
               (unsigned long long)rows[i].heads, (unsigned long long)rows[i].tails,
               (unsigned long long)rows[i].overflows, (unsigned long long)rows[i].rescans,
               (unsigned long long)rows[i].hash);
    printf("], \"final_map\": \"");
    for (block b = 0; b < end_block; b++)
        putchar(".*-#"[state_of(b)]);
    putchar('"');
}

static void print_result(uint64_t total_ns, bool failed) {
    uint64_t idle = 0;
    for (block b = 0; b < end_block; b++)
        idle += state_of(b) == FREE ? BYTES_PER_BLOCK : 0;
    const uint64_t whole = (uint64_t)end_block * BYTES_PER_BLOCK;
    printf("{\"word_bytes\": %d, \"precise\": %s, \"oom\": \"%s\", \"ops_done\": %zu", WORD_BYTES,
           PRECISE ? "true" : "false", failed ? "out of memory" : "", steps_begun);
    printf(", \"total_ns\": %llu, \"collection_count\": %llu", (unsigned long long)total_ns,
           (unsigned long long)collections);
    if (timing)
        printf(", \"mark_ns\": %llu, \"sweep_ns\": %llu", (unsigned long long)mark_ns, (unsigned long long)sweep_ns);
    printf(", \"overflows\": %llu, \"rescans\": %llu", (unsigned long long)overflows, (unsigned long long)rescans);
#if COUNT
    printf(", \"blocks_examined\": %llu, \"words_scanned\": %llu", (unsigned long long)blocks_examined,
           (unsigned long long)words_scanned);
#endif
    printf(", \"heap_base\": %llu, \"heap_bytes\": %llu, \"end_block\": %llu, \"next_alloc\": %llu",
           (unsigned long long)heap_start, (unsigned long long)(word)(heap_end - heap_start),
           (unsigned long long)end_block, (unsigned long long)next_alloc);
    printf(", \"final_table_fnv1a\": \"%016llx\"", (unsigned long long)table_hash());
    printf(", \"mem_stats\": {\"Frees\": %llu, \"GCSys\": %llu, \"HeapAlloc\": %llu, \"HeapIdle\": %llu, "
           "\"HeapInuse\": %llu, \"HeapSys\": %llu, \"Mallocs\": %llu, \"Sys\": %llu, \"TotalAlloc\": %llu}",
           (unsigned long long)frees, (unsigned long long)(word)(heap_end - metadata_start),
           (unsigned long long)((total_blocks - freed_blocks) * BYTES_PER_BLOCK), (unsigned long long)idle,
           (unsigned long long)(whole - idle), (unsigned long long)whole, (unsigned long long)mallocs,
           (unsigned long long)(word)(heap_end - heap_start), (unsigned long long)total_alloc_bytes);
    if (full)
        print_full();
    puts("}");
}

int main(int argc, char **argv) {
    uint64_t base = DEFAULT_BASE;
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--full"))
            full = true;
        else if (!strcmp(argv[i], "--times"))
            timing = true;
        else if (!strcmp(argv[i], "--base") && i + 1 < argc)
            base = strtoull(argv[++i], NULL, 0);
        else
            path = argv[i];
    }
    if (!path)
        die("usage", "literal [--full] [--times] [--base ADDRESS] TRACE");
    struct trace trace = load_trace(path);
    set_up_heap(&trace, base);
    const word *layouts = build_layouts(&trace);
    ids = zeroed(trace.object_ids, sizeof *ids);
    returned = zeroed(full ? trace.step_count : 0, sizeof *returned);
    const uint64_t started = now_ns();
    const bool failed = setjmp(out_of_memory) != 0;
    if (!failed)
        run(&trace, layouts);
    print_result(now_ns() - started, failed);
    return 0;
}
