/* The block collector in a program of its own, for the locator's tests: TinyGo's algorithm, not TinyGo's code.
 *
 * A C compiler optimizes it as TinyGo's optimizes the original, so that its levels give the shapes to expect.
 *   PRECISE=1      objects begin with their layout          COUNTERS=5   also counts blocks, from 0.34 on
 *   TASKS=1        a current task decides about the stack   ENTRIES=n    the mark stack's
 *   SAVED=1        with TASKS: while a task runs, the stack is scanned from where it was left
 *   EXPLICIT=1     the program itself asks for collections too
 *   CHAIN=1        the stack's roots are in a linked list that compiled code keeps
 *   OLD_TABLE=1    the table has one byte for 64 bytes of heap and table, as up to 0.22
 *   ONE_SIZE=1     asks for objects of one size only, which a compiler then puts into alloc
 *   HEADROOM=0     does not grow after a collection that frees little, as older collectors
 */

#include "freestanding.h"

#ifndef ENTRIES
#define ENTRIES 16
#endif
#ifndef COUNTERS
#define COUNTERS 3
#endif
#ifndef HEADROOM
#define HEADROOM 1
#endif

enum { FREE, HEAD, TAIL, MARK };

static word heap_end;
#if TASKS
word current_task;
#endif
static uint8_t *metadata_start;
static word next_alloc;
static word end_block;
static uint64_t total_alloc_bytes, mallocs, frees;
#if COUNTERS == 5
static uint64_t total_blocks, freed_blocks;
#endif
static uint8_t zero_sized;
static uint8_t overflowed;
volatile word kept[4];

static word state(word block) { return metadata_start[block / 4] >> (block % 4 * 2) & 3; }
static void set_state(word block, word value) { metadata_start[block / 4] |= (uint8_t)(value << (block % 4 * 2)); }
static void set_free(word block) { metadata_start[block / 4] &= (uint8_t) ~(3u << (block % 4 * 2)); }
static void unmark(word block) { metadata_start[block / 4] &= (uint8_t) ~(2u << (block % 4 * 2)); }
static word address(word block) { return HEAP_START + block * 16; }
static int on_heap(word pointer) { return pointer >= HEAP_START && pointer < (word)(uintptr_t)metadata_start; }

static word head(word block) {
    while (state(block) == TAIL) block--;
    return block;
}

static word next(word block) {
    if (state(block) == HEAD || state(block) == MARK) block++;
    while (address(block) < (word)(uintptr_t)metadata_start && state(block) == TAIL) block++;
    return block;
}

static void calculate_heap_addresses(void) {
    word total = heap_end - HEAP_START;
    word table = OLD_TABLE ? total / 64 : (total + 64) / 65;
    metadata_start = (uint8_t *)(uintptr_t)(heap_end - table);
    end_block = ((word)(uintptr_t)metadata_start - HEAP_START) / 16;
}

static int grow_heap(void) {
    if (__builtin_wasm_memory_grow(0, __builtin_wasm_memory_size(0)) == (unsigned long)-1) return 0;
    uint8_t *old_table = metadata_start;
    word old_bytes = heap_end - (word)(uintptr_t)old_table;
    heap_end = __builtin_wasm_memory_size(0) * 65536;
    calculate_heap_addresses();
    memcpy(metadata_start, old_table, old_bytes);
    return 1;
}

#if PRECISE
static int is_pointer_free(word layout) { return (layout & 1) && layout >> 6 == 0; }
static int is_pointer(word layout, word index) {
    if (layout == 0) return 1;
    if (layout & 1) return layout >> 6 >> index % (layout >> 1 & 31) & 1;
    word *outside = (word *)(uintptr_t)layout;
    index %= outside[0];
    return ((uint8_t *)(outside + 1))[index / 8] >> index % 8 & 1;
}
#endif

static void start_mark(word root) {
    word stack[ENTRIES] = {root};
    set_state(root, MARK);
    int length = 1;
    while (length > 0) {
        length--;
        if ((word)length >= ENTRIES) PANIC();
        word block = stack[length];
        word from = address(block), to = address(next(block));
#if PRECISE
        word layout = *(word *)(uintptr_t)from;
        if (is_pointer_free(layout)) continue;
        from += 16;
        word first = from;
#endif
        for (; from != to; from += 4) {
            word pointer = *(word *)(uintptr_t)from;
            if (!on_heap(pointer)) continue;
#if PRECISE
            if (!is_pointer(layout, (from - first) / 4)) continue;
#endif
            word found = (pointer - HEAP_START) / 16;
            if (state(found) == FREE) continue;
            found = head(found);
            if (state(found) == MARK) continue;
            set_state(found, MARK);
            if (length == ENTRIES) {
                overflowed = 1;
                continue;
            }
            if ((word)length >= ENTRIES) PANIC();
            stack[length++] = found;
        }
    }
}

static void mark_root(word root) {
    if (!on_heap(root)) return;
    word block = (root - HEAP_START) / 16;
    if (state(block) == FREE) return;
    block = head(block);
    if (state(block) != MARK) start_mark(block);
}

static void mark_roots(word from, word to) {
    for (; from < to; from += 4) mark_root(*(word *)(uintptr_t)from);
}

static void finish_mark(void) {
    while (overflowed) {
        overflowed = 0;
        for (word block = 0; block < end_block; block++)
            if (state(block) == MARK) start_mark(block);
    }
}

static word sweep(void) {
    word free_bytes = 0;
    int freeing = 0;
    uint64_t freed = 0;
    for (word block = 0; block < end_block; block++) {
        switch (state(block)) {
        case HEAD:
            set_free(block);
            freeing = 1;
            frees++;
            freed++;
            break;
        case TAIL:
            if (freeing) {
                set_free(block);
                freed++;
            }
            break;
        case MARK:
            unmark(block);
            freeing = 0;
            break;
        default:
            free_bytes += 16;
        }
    }
#if COUNTERS == 5
    freed_blocks += freed;
#endif
    return free_bytes + (word)freed * 16;
}

#if SAVED
word saved_stack_pointer = STACK_TOP;
#endif

#if CHAIN
struct stack_object {
    struct stack_object *next;
    word count;
};
struct stack_object *stack_chain;
#endif

static void mark_stack(void) {
#if CHAIN
    for (struct stack_object *at = stack_chain; at; at = at->next) {
        word words = (word)(uintptr_t)(at + 1);
        mark_roots(words, words + at->count * 4);
    }
    return;
#elif SAVED
    mark_roots(current_task ? saved_stack_pointer : stack_pointer(), STACK_TOP);
    return;
#elif TASKS
    if (current_task) return;
#endif
    mark_roots(stack_pointer(), STACK_TOP);
}

static word run_gc(void) {
    mark_stack();
    mark_roots(GLOBALS_START, HEAP_START);
    finish_mark();
    return sweep();
}

__attribute__((noinline)) void *alloc(word size, word layout) {
    if (size == 0) return &zero_sized;
#if PRECISE
    size += 16;
#endif
    total_alloc_bytes += size;
    mallocs++;
    word needed = (size + 15) / 16;
#if COUNTERS == 5
    total_blocks += needed;
#endif
    word index = next_alloc, run = 0;
    uint8_t scans = 0;
    for (;;) {
        if (index == next_alloc) {
            if (scans == 0) {
                scans = 1;
            } else if (scans == 1) {
                scans = 2;
                word free_bytes = run_gc();
                if (HEADROOM && free_bytes < ((word)(uintptr_t)metadata_start - HEAP_START) / 3) grow_heap();
            } else if (!grow_heap()) {
                PANIC();
            }
        }
        if (index == end_block) {
            index = 0;
            run = 0;
            continue;
        }
        if (state(index) != FREE) {
            run = 0;
            index++;
            continue;
        }
        run++;
        index++;
        if (run == needed) {
            next_alloc = index;
            word block = index - needed;
            set_state(block, HEAD);
            for (word tail = block + 1; tail != next_alloc; tail++) set_state(tail, TAIL);
            uint8_t *pointer = (uint8_t *)(uintptr_t)address(block);
#if PRECISE
            *(word *)pointer = layout;
            pointer += 16;
            size -= 16;
#endif
            memset(pointer, 0, size);
            return pointer;
        }
    }
}

#include "trees.h"
