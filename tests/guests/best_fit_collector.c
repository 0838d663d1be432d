/* The best-fit collector in a program of its own, for the locator's tests: TinyGo's algorithm, not TinyGo's code.
 *
 *   PRECISE=1      headers hold a layout                    BACK=1       headers lie behind objects, as from 0.42 on
 *   TASKS=1        a current task decides about the stack   EXPLICIT=1   the program itself asks for collections too
 *   SAVED=1        with TASKS: while a task runs, the stack is scanned from where it was left
 *   OWN_STACK=1    with TASKS: a task has a stack that is an object, and a collection leaves on it what it scanned last
 *   SECRET=1       a collection leaves a word on the stack that is none of its variables
 *   FINALIZERS=1   objects may have a finalizer, which an allocation that collects runs at once, from within its own frame
 *   SMALLEST=12    no object is smaller, and the allocator relies on it
 *   ONE_SIZE=1   all objects are trees; compiled at link time, the allocator has no parameters left
 *   APART=1        what scans and what marks are functions of their own, as TinyGo's are where it optimizes for size
 *   INDIRECT=1     as without optimization: functions take a context, and others by their place in the table
 */
#include "freestanding.h"

enum { FREE, HEAD, TAIL, MARK = 17, STATES = 17 };
#define HEAD_BIT 1u
#define TAIL_BIT 16u

struct header {
    struct header *next;
#if PRECISE
    word layout;
#endif
};

struct range {
    word blocks;
    struct range *longer;
    struct more *same;
};

struct more {
    struct more *next;
};

#if BACK
#define HEADER_BYTES sizeof(struct header)
#else
#define HEADER_BYTES 16u
#endif

static word heap_end;
#if TASKS
word current_task;
#endif
static uint8_t *metadata_start;
static struct header *scan_list;
static struct range *free_ranges;
static word end_block;
static uint64_t total_alloc_bytes, mallocs;
#if BACK
static word collections;
#endif
static uint8_t zero_sized;
volatile word kept[4];

static word state(word block) { return metadata_start[block / 4] >> block % 4 & STATES; }
static void set_state(word block, word bits) { metadata_start[block / 4] |= (uint8_t)(bits << block % 4); }
static void set_free(word block) { metadata_start[block / 4] &= (uint8_t) ~(STATES << block % 4); }
static void unmark(word block) { metadata_start[block / 4] ^= (uint8_t)(TAIL_BIT << block % 4); }
static word address(word block) { return HEAP_START + block * 16; }
static word block_of(word pointer) { return (pointer - HEAP_START) / 16; }
static int on_heap(word pointer) { return pointer >= HEAP_START && pointer < (word)(uintptr_t)metadata_start; }

static word head(word block) {
    while (state(block) == TAIL_BIT) block += BACK ? 1 : -1;
    return block;
}

static void insert(void *at, word blocks) {
    struct range **link = &free_ranges;
    while (*link && (*link)->blocks < blocks) link = &(*link)->longer;
    struct range *found = *link;
    if (found && found->blocks == blocks) {
        struct more *more = at;
        more->next = found->same;
        found->same = more;
        return;
    }
    struct range *range = at;
    *range = (struct range){blocks, found, 0};
    *link = range;
}

static uint8_t *take(word blocks) {
    struct range **link = &free_ranges;
    while (*link && (*link)->blocks < blocks) link = &(*link)->longer;
    struct range *found = *link;
    if (!found) return 0;
    word length = found->blocks;
    uint8_t *taken;
    if (found->same) {
        taken = (uint8_t *)found->same;
        found->same = found->same->next;
    } else {
        taken = (uint8_t *)found;
        *link = found->longer;
    }
    if (length > blocks) insert(taken + blocks * 16, length - blocks);
    return taken;
}

static void calculate_heap_addresses(void) {
    word total = heap_end - HEAP_START;
    word table = (total + 64) / 65;
    metadata_start = (uint8_t *)(uintptr_t)(heap_end - table);
    end_block = ((word)(uintptr_t)metadata_start - HEAP_START) / 16;
}

static word build_free_ranges(void) {
    free_ranges = 0;
    word total = 0, block = end_block;
    for (;;) {
        while (block > 0 && state(block - 1) != FREE) block--;
        if (block == 0) return total * 16;
        word end = block;
        while (block > 0 && state(block - 1) == FREE) block--;
        total += end - block;
        insert((void *)(uintptr_t)address(block), end - block);
    }
}

static int grow_heap(void) {
    if (__builtin_wasm_memory_grow(0, __builtin_wasm_memory_size(0)) == (unsigned long)-1) return 0;
    uint8_t *old_table = metadata_start;
    word old_bytes = heap_end - (word)(uintptr_t)old_table;
    heap_end = __builtin_wasm_memory_size(0) * 65536;
#if BACK
    word old_end = end_block;
    calculate_heap_addresses();
    __builtin_memcpy(metadata_start, old_table, old_bytes);
    insert((void *)(uintptr_t)address(old_end), end_block - old_end);
#else
    calculate_heap_addresses();
    __builtin_memcpy(metadata_start, old_table, old_bytes);
    build_free_ranges();
#endif
    return 1;
}

#if APART
#define ITS_OWN __attribute__((noinline))
#else
#define ITS_OWN
#endif

ITS_OWN static void mark_root(word root) {
    if (!on_heap(root)) return;
    word block = block_of(root);
    if (state(block) == FREE) return;
    block = head(block);
    if (state(block) == MARK) return;
    set_state(block, MARK);
    struct header *header = (struct header *)(uintptr_t)(address(block) + (BACK ? 16 - sizeof *header : 0));
    header->next = scan_list;
    scan_list = header;
}

ITS_OWN static void scan(word from, word bytes) {
    for (; bytes >= 4; from += 4, bytes -= 4) mark_root(*(word *)(uintptr_t)from);
}

#if INDIRECT
__attribute__((noinline)) void mark_roots(word from, word to, word context) {
    (void)context;
    scan(from, to - from);
}
__attribute__((noinline)) void find_globals(void (*found)(word, word, word)) {
    void (*volatile with)(word, word, word) = found;
    with(GLOBALS_START, HEAP_START, 0);
}
#else
static void mark_roots(word from, word to) { scan(from, to - from); }
#endif

#if PRECISE && APART
ITS_OWN static void scan_masked(word from, word mask) {
    for (; mask; mask >>= 1, from += 4)
        if (mask & 1) mark_root(*(word *)(uintptr_t)from);
}
#endif

#if PRECISE
static void scan_layout(word from, word bytes, word layout) {
    if (layout == 0) {
        scan(from, bytes);
        return;
    }
    /* Few words have their bits in the layout; many, behind their number. */
    word inside = layout >> 6;
    const word *outside = (const word *)(uintptr_t)layout;
    word size = (layout & 1 ? layout >> 1 & 31 : outside[0]) * 4;
#if APART
    for (; bytes >= size; from += size, bytes -= size) {
        if (layout & 1) scan_masked(from, inside);
        for (word i = 0; !(layout & 1) && i * 32 < size; i++) scan_masked(from + i * 32, ((const uint8_t *)(outside + 1))[i]);
    }
#else
    const uint8_t *bits = (const uint8_t *)(layout & 1 ? &inside : outside + 1);
    for (; bytes >= size; from += size, bytes -= size)
        for (word i = 0; i * 4 < size; i++)
            if (bits[i / 8] >> i % 8 & 1) mark_root(*(word *)(uintptr_t)(from + i * 4));
#endif
}
#endif

static void finish_mark(void) {
#if OWN_STACK
    struct header *volatile scanned = 0;
#endif
    for (;;) {
        struct header *header = scan_list;
        if (!header) return;
#if OWN_STACK
        scanned = header;
#endif
        scan_list = header->next;
#if PRECISE
        if ((header->layout & 1) && header->layout >> 6 == 0) continue;
#endif
        word first = block_of((word)(uintptr_t)header), end = first + 1;
#if BACK
        while (first > 0 && state(first - 1) == TAIL_BIT) first--;
        word from = address(first), bytes = address(end) - from - HEADER_BYTES;
#else
        while (address(end) < (word)(uintptr_t)metadata_start && state(end) == TAIL_BIT) end++;
        word from = address(first) + HEADER_BYTES, bytes = address(end) - from;
#endif
#if PRECISE
        scan_layout(from, bytes, header->layout);
#else
        scan(from, bytes);
#endif
    }
}

#if BACK
static word sweep(void) {
    free_ranges = 0;
    word total = 0, block = end_block;
    for (;;) {
        word end = block;
        while (block > 0 && state(block - 1) != MARK) set_free(--block);
        if (end != block) {
            total += end - block;
            insert((void *)(uintptr_t)address(block), end - block);
        }
        if (block == 0) return total * 16;
        unmark(--block);
        while (block > 0 && state(block - 1) == TAIL_BIT) block--;
    }
}
#else
static word sweep(void) {
    word carry = 0;
    for (uint8_t *at = metadata_start, *end = at + (end_block + 3) / 4; at != end; at++) {
        word high = *at >> 4, low = *at & 15u;
        word tails = high & ~low & 15u, clear = tails + ((low & ~high) << 1) + carry;
        carry = clear >> 4;
        *at = (uint8_t)((low & high) | (tails & clear) << 4);
    }
    return build_free_ranges();
}
#endif

#if SAVED
word saved_stack_pointer = STACK_TOP;
#endif

#if INDIRECT
__attribute__((noinline)) word on_system_stack(word context) {
    volatile word frame = context;
    (void)frame;
    return !current_task;
}
#endif

static void mark_stack(void) {
#if INDIRECT
    mark_roots(on_system_stack(0) ? stack_pointer() : saved_stack_pointer, STACK_TOP, 0);
#elif SAVED
    mark_roots(current_task ? saved_stack_pointer : stack_pointer(), STACK_TOP);
#else
#if TASKS
    if (current_task) return;
#endif
    mark_roots(stack_pointer(), STACK_TOP);
#endif
}

#if FINALIZERS
struct entry {
    struct entry *next;
    word hidden_object;
    void (*function)(word);
    word unused;
};

static struct entry *registered, *pending;
static word registered_count;
static uint8_t queued, draining;

static void scan_finalizers(void) {
    struct entry **link = &registered;
    for (struct entry *entry = *link; entry; entry = *link) {
        word object = ~entry->hidden_object;
        if (!on_heap(object) || state(head(block_of(object))) == MARK) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        registered_count--;
        entry->next = pending;
        pending = entry;
        queued = 1;
    }
    for (struct entry *entry = pending; entry; entry = entry->next) mark_root(~entry->hidden_object);
    finish_mark();
}

static void drain(void) {
    queued = 0;
    if (draining) return;
    draining = 1;
    while (pending) {
        struct entry *entry = pending;
        pending = entry->next;
        entry->function(~entry->hidden_object);
    }
    draining = 0;
}
#endif

#if INDIRECT
#define run_gc() collect(0)
__attribute__((noinline)) word collect(word context) {
    (void)context;
    mark_stack();
    find_globals(mark_roots);
#else
static word run_gc(void) {
    mark_stack();
    mark_roots(GLOBALS_START, HEAP_START);
#endif
    finish_mark();
#if FINALIZERS
    if (registered_count || pending) scan_finalizers();
#endif
    word free_bytes = sweep();
#if BACK
    collections++;
#endif
#if SECRET
    volatile word secret = free_bytes * 2654435761u ^ (word)total_alloc_bytes;
    (void)secret;
#endif
    return free_bytes;
}

__attribute__((noinline)) void *alloc(word size, word layout) {
    if (size == 0) return &zero_sized;
    if (size < SMALLEST) PANIC();
    word asked = size;
    size += HEADER_BYTES + 15;
    if (size < asked) PANIC();
    word blocks = size / 16;
    size = blocks * 16;
    total_alloc_bytes += asked;
    mallocs++;
    int has_collected = 0;
    uint8_t *pointer;
    while (!(pointer = take(blocks))) {
        if (!has_collected) {
            word free_bytes = run_gc();
            has_collected = 1;
            if (free_bytes < ((word)(uintptr_t)metadata_start - HEAP_START) / 3) grow_heap();
        } else if (!grow_heap()) {
            PANIC();
        }
    }
    word block = block_of((word)(uintptr_t)pointer);
#if BACK
    word last = block + blocks - 1;
    set_state(last, HEAD_BIT);
    while (last != block) set_state(--last, TAIL_BIT);
    size -= HEADER_BYTES;
    struct header *header = (struct header *)(pointer + size);
#else
    set_state(block, HEAD_BIT);
    for (word tail = block + 1; tail != block + blocks; tail++) set_state(tail, TAIL_BIT);
    struct header *header = (struct header *)pointer;
    pointer += HEADER_BYTES;
    size -= HEADER_BYTES;
#endif
#if PRECISE
    header->layout = layout;
#else
    (void)header;
    (void)layout;
#endif
#if FINALIZERS || ONE_SIZE
    /* Collections see what was here before. */
    uint8_t *volatile made = pointer;
#if FINALIZERS
    if (queued) drain();
#endif
    pointer = made;
#endif
    memset(pointer, 0, size);
    return pointer;
}

#if FINALIZERS
static word finalized;

static word is_broken;

__attribute__((export_name("break_finalizers"))) void break_finalizers(void) { is_broken = 1; }

static void finalize(word object) {
    if (is_broken) PANIC();
    finalized += *(word *)(uintptr_t)object;
    kept[finalized % 3] = (word)(uintptr_t)alloc(40 + finalized % 5 * 16, 1);
}

/* Makes objects with finalizers, of which it keeps a few; the sum of the numbers of those that were finalized so far. */
__attribute__((export_name("watch"))) word watch(word count) {
    for (word i = 1; i <= count; i++) {
        word *volatile object = alloc(20 + i % 7 * 16, 0);
        *object = i;
        struct entry *entry = alloc(sizeof *entry, 0);
        *entry = (struct entry){registered, ~(word)(uintptr_t)object, finalize, 0};
        registered = entry;
        registered_count++;
        if (i % 10 == 0) kept[3] = (word)(uintptr_t)object;
    }
    return finalized;
}
#endif

#if FINALIZERS
static void collect_and_drain(void) {
    run_gc();
    if (queued) drain();
}
#define COLLECT() collect_and_drain()
#endif
#define SET_UP_MORE() build_free_ranges()

#include "trees.h"

#if OWN_STACK
enum { OWN_STACK_BYTES = 4096 };

/* Leaves a pointer on the stack, in words that are dead from then on. */
__attribute__((noinline)) static void forget(struct tree *tree) {
    struct tree *volatile words[64];
    for (word i = 0; i < 64; i++) words[i] = tree;
}

#if PRECISE
/* Where pointers are in a row, behind the first eight words: a scan of it is called for five times. */
static const struct {
    word words;
    uint8_t bits[8];
} pointers_of_row = {40, {0, 0x02, 0, 0x80, 0}};

/* The last of all roots, which is why the first row is scanned first of all objects. */
static word *volatile first_row;

/* Keeps rows, each by the one before, with a tree that is scanned when the rows behind are. */
__attribute__((noinline)) static void keep_rows(word count) {
    word *volatile *place = &first_row;
    for (word i = 0; i < count; i++) {
        word *row = alloc(pointers_of_row.words * 4, (word)(uintptr_t)&pointers_of_row);
        *place = row;
        grow_tree((struct tree *volatile *)&row[9], 2);
        place = (word *volatile *)&row[31];
    }
}
#else
#define keep_rows(count)
#endif

/* Keeps half of each tree nowhere but there. */
__attribute__((noinline)) static word grow_trees(word trees, word depth) {
    word total = 0;
    for (word i = 0; i < trees; i++) {
        struct tree *volatile *place = (struct tree *volatile *)&kept[i & 1];
        grow_tree(place, depth);
        forget((*place)->left);
        (*place)->left = 0;
        total += sum(*place);
    }
    return total;
}

/* As run, in a task. */
__attribute__((export_name("run_task"))) word run_task(word trees, word depth) {
    word before = stack_pointer(), stack = (word)(uintptr_t)alloc(OWN_STACK_BYTES, 0);
    current_task = stack;
    set_stack_pointer(stack + OWN_STACK_BYTES);
    keep_rows(5);
    word total = grow_trees(trees, depth);
    set_stack_pointer(before);
    current_task = 0;
    return total;
}
#endif
