/* The log of a run, kept by the module itself in pages behind what it sees of its memory.
 *
 *     region        + DATA                 + DATA + log_bytes()       the end of memory
 *     [ state ][ chunk ][ records ...      ][ shadow stack, 1 MiB    ]
 *
 * The program sees memory up to the region: `visible_pages` and `grow_visible` stand in for its memory.size and memory.grow.
 * When memory grows, the region moves to the new end, and zeros are left where it was.  Bytes of the region that are neither
 * state, nor records, nor shadow stack are zeros at all times.
 *
 * A record is words of 32 bits: its kind, with the number of sites that it brings in the upper 24 bits; how many calls of the
 * stack are as at the last record; the time in two words, where there is a clock; the sites; then what its kind has.  Entries of
 * the shadow stack are two words, site and stamp.  A call zeroes the stamp, a record sets it: so only calls that are new since
 * the last record are written.
 *
 * A log that is full stays so.  What follows is counted and lost, since an importer that misses one event knows no object for
 * certain any more.
 */

#include "../../transplanting/kernel/table.h"

/* What the module says of itself. */
CONSTANT log_bytes(void);
CONSTANT region_pages(void);
CONSTANT has_clock(void);
CONSTANT has_layouts(void);
CONSTANT is_best_fit(void);
CONSTANT module_id_low(void);
CONSTANT module_id_high(void);

/* Two globals: where the region lies, and how many bytes of the shadow stack are in use. */
u32 region(void);
void set_region(u32 address);
u32 shadow_used(void);
void set_shadow_used(u32 bytes);

/* The collector's alloc; and the time, from what the module imports itself: milliseconds, or WASI's nanoseconds at an address. */
u32 allocate(u32 size_bytes, u32 layout);
u64 now(void);

/* The state, by offset in the region. */
#define USED 0      /* bytes of records */
#define HIGH 4      /* the most there ever were */
#define LOST 8      /* records that found no room */
#define SEQUENCE 12 /* chunks that were taken */
#define WANTED 16   /* bytes that alloc was asked for */
#define PHASE 20
#define SCANNED 24 /* bytes of objects that the collection scanned */
#define BEGUN 32   /* when the collection began, and when all was marked */
#define MARKED 40
#define DROPS 48
#define RESCANS 52
#define STACK 56  /* how much of the shadow stack led to the allocation or the collection; of best-fit, as are the next */
#define OUTER 60  /* allocations around the present one */
#define ROOTS 64  /* bytes of roots that the collection scanned */
#define GROWN 68  /* where the heap ended before it grew, which is to be told; 0 for nothing to tell */
#define UNBORN 72 /* where in the region the record of a collection waits for what the allocation made; 0 for none */
#define CHUNK 80
#define DATA 128
#define SHADOW_BYTES (1u << 20)

/* Values of PHASE. */
#define RUNNING 0
#define ALLOCATING 1
#define COLLECTING 2 /* a bit: a collection runs, for an alloc or on request */

/* Kinds of records; the first three are those of events in recordings. */
#define ALLOCATION 0
#define COLLECTION 3
#define HEAP_GROWTH 4
#define MEMORY_GROWTH 5
#define CALL_BEGINS 6
#define CALL_ENDS 7
#define EXIT 8

#define LOWER_HALVES 0x0f0f0f0f0f0f0f0full

#define MAGIC 0x0a1a676f6c796e74ull /* "tnylog", 26, 10 */
#define FORMAT 1

INLINE u32 get(u32 field) { return load32(region() + field); }
INLINE void set(u32 field, u32 value) { store32(region() + field, value); }

/* ---- records ---- */

/* Begin a record that has so many words of its own; returns where they go, or 0 where there is no room. */
APART u32 begin_record(u32 kind, u32 words) {
    u32 state = region(), shadow = state + DATA + log_bytes(), depth = shadow_used() >> 3, known = depth;
    while (known > 0 && load32(shadow + (known << 3) - 4) == 0)
        known--;
    u32 used = load32(state + USED), bytes = (2 + (has_clock() << 1) + depth - known + words) << 2;
    if (load32(state + LOST) != 0 || bytes > log_bytes() - used) {
        if (load32(state + LOST) != UINT32_MAX)
            store32(state + LOST, load32(state + LOST) + 1);
        return 0;
    }
    store32(state + USED, used + bytes);
    u32 at = state + DATA + used;
    store32(at, kind | (depth - known) << 8);
    store32(at + 4, known);
    at += 8;
    if (has_clock()) {
        store64(at, now());
        at += 8;
    }
    for (; known < depth; known++) {
        store32(at, load32(shadow + (known << 3)));
        store32(shadow + (known << 3) + 4, 1);
        at += 4;
    }
    return at;
}

void note_event(u32 kind, u32 address, u32 size_bytes, u32 layout) {
    u32 at = begin_record(kind, 2 + has_layouts());
    if (at == 0)
        return;
    store32(at, address);
    store32(at + 4, size_bytes);
    if (has_layouts())
        store32(at + 8, layout);
}

/* What everybody calls in place of alloc. */
u32 recorded_alloc(u32 size_bytes, u32 layout) {
    u32 stack = shadow_used();
    set(WANTED, size_bytes);
    set(PHASE, ALLOCATING);
    u32 address = allocate(size_bytes, layout);
    set(PHASE, RUNNING);
    /* What the original allocator called is not on the stack any more. */
    set_shadow_used(stack);
    note_event(ALLOCATION, address, size_bytes, layout);
    return address;
}

void call_begins(u32 export, u32 argument) {
    u32 at = begin_record(CALL_BEGINS, 3);
    if (at == 0)
        return;
    store32(at, export);
    store32(at + 4, argument);
    store32(at + 8, memory_pages() - region_pages() - extra_pages());
}

void call_ends(u32 export, u32 result) {
    u32 at = begin_record(CALL_ENDS, 3);
    if (at == 0)
        return;
    store32(at, export);
    store32(at + 4, result);
    store32(at + 8, memory_pages() - region_pages() - extra_pages());
}

/* The program ends itself, by a call that does not return: the host's next call begins with an empty stack. */
void exits(u32 code) {
    u32 at = begin_record(EXIT, 2);
    set_shadow_used(0);
    if (at == 0)
        return;
    store32(at, code);
    store32(at + 4, memory_pages() - region_pages() - extra_pages());
}

/* ---- collections ---- */

void collection_begins(void) {
    u32 state = region();
    store32(state + PHASE, load32(state + PHASE) | COLLECTING);
    store64(state + SCANNED, 0);
    store32(state + ROOTS, 0);
    store32(state + DROPS, 0);
    store32(state + RESCANS, 0);
    store64(state + BEGUN, now());
}

void scanned(u32 bytes) { store64(region() + SCANNED, load64(region() + SCANNED) + bytes); }
void roots_scanned(u32 bytes) { set(ROOTS, get(ROOTS) + bytes); }
void dropped(void) { set(DROPS, get(DROPS) + 1); }
void rescanned(void) { set(RESCANS, get(RESCANS) + 1); }
void marked(void) { store64(region() + MARKED, now()); }

/* Which of a word's 32 blocks are heads: of next-fit the even bits, of best-fit the lower halves of the bytes, side by side. */
INLINE u32 gathered(u64 x) {
    if (is_best_fit())
        x &= ~(x >> 4) & LOWER_HALVES;
    else {
        x &= EVEN;
        x = (x | x >> 1) & 0x3333333333333333ull;
        x = (x | x >> 2) & LOWER_HALVES;
    }
    x = (x | x >> 4) & 0x00ff00ff00ff00ffull;
    x = (x | x >> 8) & 0x0000ffff0000ffffull;
    return (u32)(x | x >> 16);
}

/* Write which blocks are heads, a bit each; words that are zero come as a zero and their number.  Returns how many words that
 * takes; with `at` 0 it only counts. */
APART u32 write_heads(u32 at) {
    u32 table = load32(metadata_start_at()), heap_end = load32(heap_end_at());
    u32 end = table + ((load32(end_block_at()) + 3) >> 2), zeros = 0, words = 0;
    for (u32 place = table; place < end; place += 8) {
        u32 heads = gathered(table_bytes(place, heap_end));
        zeros = heads == 0 ? zeros + 1 : 0;
        if (zeros <= 1) {
            if (at != 0)
                store32(at + (words << 2), heads);
            words += heads == 0 ? 2 : 1;
        }
        if (zeros != 0 && at != 0)
            store32(at + ((words - 1) << 2), zeros);
    }
    return words;
}

/* All is swept: the survivors are the heads that are left.  Returns where two more words go that best-fit has. */
APART u32 tell_collection(void) {
    u32 words = write_heads(0), at = begin_record(COLLECTION, 14 + (is_best_fit() << 1) + words);
    u32 state = region(), phase = load32(state + PHASE);
    store32(state + PHASE, phase & ~COLLECTING);
    if (at == 0)
        return 0;
    store32(at, phase & ALLOCATING);
    store32(at + 4, load32(state + WANTED));
    store32(at + 8, load32(state + ROOTS));
    store32(at + 12, heap_start());
    store32(at + 16, load32(heap_end_at()));
    store32(at + 20, load32(end_block_at()));
    store32(at + 24, load32(state + DROPS));
    store32(at + 28, load32(state + RESCANS));
    store64(at + 32, load64(state + SCANNED));
    store64(at + 40, load64(state + BEGUN));
    store64(at + 48, load64(state + MARKED));
    write_heads(at + 56 + (is_best_fit() << 3));
    return at + 56;
}

void swept(void) { tell_collection(); }

void grown(u32 old_end) {
    u32 at = begin_record(HEAP_GROWTH, 5);
    if (at == 0)
        return;
    store32(at, old_end);
    store32(at + 4, load32(heap_end_at()));
    store32(at + 8, heap_start());
    store32(at + 12, load32(end_block_at()));
    store32(at + 16, get(WANTED));
}

/* ---- best-fit ----
 *
 * Its functions stay, and nothing in them says that a collection or a growth is over.  Both are told when the recorder comes
 * along next, which is before anything else changes on the heap but that the allocation may have made its object: when the
 * allocation or the collection returns, when memory grows, or when an allocation begins within another one, for a finalizer.
 * In that case the object's address is not known yet, and is put into the record when the outer allocation returns.
 */

/* The original scans roots: a collection has begun, or goes on. */
void roots_seen(u32 bytes) {
    if (!(get(PHASE) & COLLECTING)) {
        collection_begins();
        store64(region() + MARKED, load64(region() + BEGUN));
    }
    roots_scanned(bytes);
}

/* Tell what is over, with the stack that led there.  `object` is what the allocation made: 0 for nothing, 1 where it is not
 * known yet. */
APART void tell_what_is_over(u32 object) {
    u32 stack = shadow_used(), old_end = get(GROWN);
    set_shadow_used(get(STACK));
    if (get(PHASE) & COLLECTING) {
        u32 at = tell_collection();
        if (at != 0) {
            store32(at, object);
            store32(at + 4, get(OUTER));
            if (object == 1)
                set(UNBORN, at - region());
        }
    }
    if (old_end != 0) {
        set(GROWN, 0);
        grown(old_end);
    }
    set_shadow_used(stack);
}

/* What everybody calls in place of alloc. */
u32 recorded_best_fit_alloc(u32 size_bytes, u32 layout) {
    u32 outer_phase = get(PHASE), is_inner = outer_phase & ALLOCATING, stack = shadow_used();
    if (outer_phase != RUNNING)
        tell_what_is_over(is_inner);
    u32 outer_wanted = get(WANTED), outer_stack = get(STACK), outer_unborn = get(UNBORN), chunks = get(SEQUENCE);
    set(PHASE, ALLOCATING);
    set(WANTED, size_bytes);
    set(STACK, stack);
    set(UNBORN, 0);
    set(OUTER, get(OUTER) + is_inner);
    u32 address = allocate(size_bytes, layout);
    set_shadow_used(stack);
    tell_what_is_over(address);
    if (get(UNBORN) != 0) {
        if (get(SEQUENCE) == chunks)
            store32(region() + get(UNBORN), address);
        else
            /* The record was handed over meanwhile: nothing more is certain. */
            set(LOST, get(LOST) + 1);
    }
    set(PHASE, is_inner);
    set(WANTED, outer_wanted);
    set(STACK, outer_stack);
    set(UNBORN, outer_unborn);
    set(OUTER, get(OUTER) - is_inner);
    note_event(ALLOCATION, address, size_bytes, layout);
    return address;
}

/* A function that collects begins and ends, which an allocation may have called. */
void collector_enters(void) {
    if (!(get(PHASE) & ALLOCATING))
        set(STACK, shadow_used());
}

void collector_leaves(void) { tell_what_is_over(0); }

/* ---- memory ---- */

/* Move the region to the end of memory, the shadow stack first, and leave zeros where no part of it lies any more. */
APART void settle(void) {
    u32 from = region(), to = (memory_pages() - region_pages()) << PAGE_SHIFT;
    if (from == to)
        return;
    u32 far = to - from, shadow = from + DATA + log_bytes();
    u32 high = load32(from + HIGH), used = load32(from + USED), bytes = DATA + (used > high ? used : high) + 512;
    if (bytes > DATA + log_bytes())
        bytes = DATA + log_bytes();
    copy(shadow + far, shadow, SHADOW_BYTES - DATA);
    fill(shadow, 0, far < SHADOW_BYTES - DATA ? far : SHADOW_BYTES - DATA);
    copy(to, from, bytes);
    fill(from, 0, far < bytes ? far : bytes);
    set_region(to);
}

u32 visible_pages(void) {
    settle();
    return memory_pages() - region_pages();
}

/* Growths that succeed for the heap are told by it, and what the collector adds for itself is none of the program's. */
INLINE void note_memory_growth(u32 old_pages, u32 asked_pages, u32 is_refused) {
    u32 phase = get(PHASE);
    if (asked_pages == 0 || (phase & COLLECTING) || (phase == ALLOCATING && !is_refused))
        return;
    u32 at = begin_record(MEMORY_GROWTH, 4);
    if (at == 0)
        return;
    store32(at, old_pages);
    store32(at + 4, asked_pages);
    store32(at + 8, is_refused);
    store32(at + 12, phase & ALLOCATING);
}

u32 grow_visible(u32 pages) {
    u32 old_pages = visible_pages(), stack = shadow_used();
    if (is_best_fit() && get(PHASE) != RUNNING) {
        tell_what_is_over(0);
        set_shadow_used(get(STACK));
    }
    u32 is_refused = grow_memory(pages) == REFUSED;
    settle();
    note_memory_growth(old_pages, pages, is_refused);
    if (is_best_fit() && get(PHASE) == ALLOCATING && !is_refused)
        /* The heap ends where memory did. */
        set(GROWN, load32(heap_end_at()));
    set_shadow_used(stack);
    return is_refused ? REFUSED : old_pages;
}

/* ---- handing over ---- */

/* What was recorded since the last time, as a chunk: returns the address of its header, behind which its records lie until the
 * program goes on. */
u32 take(void) {
    u32 state = region(), used = load32(state + USED), chunk = state + CHUNK;
    store64(chunk, MAGIC);
    store32(chunk + 8, module_id_low());
    store32(chunk + 12, module_id_high());
    store32(chunk + 16, FORMAT | has_clock() << 8 | has_layouts() << 16 | is_best_fit() << 24);
    store32(chunk + 20, load32(state + SEQUENCE));
    store32(chunk + 24, used);
    store32(chunk + 28, load32(state + LOST));
    store32(chunk + 32, heap_start());
    store32(chunk + 36, load32(heap_end_at()));
    store32(chunk + 40, load32(end_block_at()));
    store32(chunk + 44, memory_pages() - region_pages() - extra_pages());
    store32(state + SEQUENCE, load32(state + SEQUENCE) + 1);
    if (used > load32(state + HIGH))
        store32(state + HIGH, used);
    store32(state + USED, 0);
    return chunk;
}
