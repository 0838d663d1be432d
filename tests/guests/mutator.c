/* The block collector in a program that does random things with its heap, as its seed says.
 *
 * An object begins with how many words it has and its layout; it is followed only through words that the layout calls
 * pointers, so that nothing is used after it was freed.
 */
#include "block_collector.c"

#define SLOTS 48
#define FRAME_SLOTS 6
#define HEAD_WORDS 2

typedef volatile word *object;

volatile word slots[SLOTS], interior[8], seen_statistics[5], found[4];
static word state_of_chance, task_generation, scale;

#if PRECISE
/* A layout outside the heap: 40 words, of which every third may be a pointer. */
static const struct {
    word words;
    uint8_t bits[8];
} every_third = {40, {0x24, 0x49, 0x92, 0x24, 0x49}};
#endif

static word chance(word below) {
    state_of_chance ^= state_of_chance << 13;
    state_of_chance ^= state_of_chance >> 17;
    state_of_chance ^= state_of_chance << 5;
    return (state_of_chance >> 4) % below;
}

static word some_layout(void) {
#if PRECISE
    switch (chance(6)) {
    case 0: return 1 << 1 | 1;                       /* no pointers */
    case 1: return 4u << 6 | 3 << 1 | 1;             /* every third word from the third on */
    case 2: return 0xAAAAAAu << 6 | 24 << 1 | 1;     /* every second */
    case 3: return (word)(uintptr_t)&every_third;
    default: return 0;
    }
#else
    return 0;
#endif
}

static int may_point(object at, word index) {
#if PRECISE
    return is_pointer(at[1], index);
#else
    return at != 0 && index < at[0];
#endif
}

static word some_size(void) {
    switch (chance(40)) {
    case 0: return 3000 + chance(3000 * scale);
    case 1: case 2: case 3: return 100 + chance(300 * scale);
    default: return 8 + chance(88);
    }
}

static object make(word size) {
    word layout = some_layout();
    object made = alloc(size, layout);
    made[0] = size / 4;
    made[1] = layout;
    return made;
}

/* An object reached from a root; 0 for none. */
static object walk(object at) {
    for (word steps = chance(6); at && steps; steps--) {
        word index = HEAD_WORDS + chance(at[0] > HEAD_WORDS ? at[0] - HEAD_WORDS : 1);
        if (index >= at[0] || !may_point(at, index) || !on_heap(at[index]) || at[index] & 15) return at;
        at = (object)(uintptr_t)at[index];
    }
    return at;
}

static object some_object(void) { return walk((object)(uintptr_t)slots[chance(SLOTS)]); }

/* Writes a pointer, or a number that may look like one, into an object. */
static void write(object into, word value, int is_an_object) {
    if (!into || into[0] <= HEAD_WORDS) return;
    word index = HEAD_WORDS + chance(into[0] - HEAD_WORDS);
    if (may_point(into, index) == is_an_object) into[index] = value;
}

/* More children than a mark stack has entries, each with one of its own. */
static void widen(void) {
    object parent = make(4 * (HEAD_WORDS + 40 + chance(60)));
    slots[chance(SLOTS)] = (word)(uintptr_t)parent;
    for (word index = HEAD_WORDS; index < parent[0]; index++) {
        if (!may_point(parent, index)) continue;
        object child = make(32);
        parent[index] = (word)(uintptr_t)child;
        object grandchild = make(24);
        if (may_point(child, 3)) child[3] = (word)(uintptr_t)grandchild;
    }
}

/* What ReadMemStats does. */
__attribute__((noinline)) static void read_statistics(void) {
    seen_statistics[0] = (word)mallocs;
    seen_statistics[1] = (word)frees;
    seen_statistics[2] = (word)total_alloc_bytes;
    found[0] = heap_end - HEAP_START;
    found[1] = end_block - next_alloc;
#if COUNTERS == 5
    seen_statistics[3] = (word)total_blocks;
    seen_statistics[4] = (word)freed_blocks;
#endif
}

/* One step without anything on the stack, so that a task may do it. */
__attribute__((noinline)) static void step(void) {
    switch (chance(16)) {
    case 0: slots[chance(SLOTS)] = 0; break;
    case 1: write(some_object(), (word)(uintptr_t)some_object(), 1); break;
    case 2: write(some_object(), HEAP_START + chance(heap_end - HEAP_START), 0); break;
    case 3: interior[chance(8)] = (word)(uintptr_t)some_object() + chance(40); break;
    case 4: interior[chance(8)] = (word)(uintptr_t)alloc(0, 0); break;
    case 5: read_statistics(); break;
    case 6: if (chance(12) == 0) widen(); break;
    case 7: if (chance(10) == 0) for (word i = 0; i < SLOTS; i += 2) slots[i] = 0; break;
#if EXPLICIT
    case 8: if (chance(20) == 0) run_gc(); break;
#endif
    default: slots[chance(SLOTS)] = (word)(uintptr_t)make(some_size()); break;
    }
}

#if TASKS
static word task_body(word steps) {
    while (steps--) step();
    return task_generation++;
}
word switch_task(word task, word (*body)(word));
static word (*volatile body_of_tasks)(word) = task_body;
static volatile word steps_of_task;
static word run_task(word task) { return body_of_tasks(steps_of_task + (task & 0)); }
#endif

/* Steps whose objects are also held by frames of the stack. */
__attribute__((noinline)) static word mutate(word steps, word depth) {
#if CHAIN
    struct {
        struct stack_object head;
        volatile word held[FRAME_SLOTS];
    } frame = {{stack_chain, FRAME_SLOTS}, {0}};
    volatile word *held = frame.held;
    stack_chain = &frame.head;
#else
    volatile word held[FRAME_SLOTS] = {0};
#endif
    word generation = task_generation;
    while (steps--) {
        word slot = chance(FRAME_SLOTS);
        switch (chance(12)) {
        case 0: held[slot] = (word)(uintptr_t)make(some_size()); break;
        case 1: write((object)(uintptr_t)held[slot], (word)(uintptr_t)some_object(), 1); break;
        case 2: write(some_object(), (word)(uintptr_t)walk((object)(uintptr_t)held[slot]), 1); break;
        case 3: if (depth < 12) mutate(chance(20), depth + 1); break;
#if TASKS
        case 4:
            if (chance(8) == 0) {
                slots[0] = (word)(uintptr_t)make(64);
                steps_of_task = chance(60);
                switch_task(slots[0], run_task);
            }
            break;
#endif
        default: step();
        }
        if (generation != task_generation) {
            /* While a task ran, nobody looked at this frame. */
            generation = task_generation;
            for (word i = 0; i < FRAME_SLOTS; i++) held[i] = 0;
        }
    }
#if CHAIN
    stack_chain = frame.head.next;
#endif
    return held[0];
}

__attribute__((export_name("mutate"))) word mutate_from(word seed, word steps) {
    state_of_chance = seed * 2654435761u | 1;
    scale = 1 + seed % 4 * 4;
    return mutate(steps, 0);
}
