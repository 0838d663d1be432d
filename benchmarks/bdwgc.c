/* The same mutator programs on bdwgc, the conservative collector of native programs.
 *
 * The heap's limit is the program's; the heap has that size from the start, as far as bdwgc agrees. The root slots
 * are the only roots: stacks, registers and data segments are not scanned, and ids live in memory that bdwgc does
 * not know. One marker thread. With --precise, an object whose layout has no pointers is allocated as atomic (and
 * cleared here, as the other collectors do). Words of the program are native pointers: 8-byte words only.
 *
 *   bdwgc [--precise] TRACE
 *
 * prints one JSON line; running out of memory is a result.
 */
#include "trace.h"

#define GC_THREADS /* declares GC_set_markers_count */
#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <stdbool.h>

static const uint32_t SIZE_FIELD_BITS = 6;

static uint64_t *root_slots;
static size_t root_slot_count;
static bool precise;

static void push_root_slots(void) {
    GC_push_all(root_slots, root_slots + root_slot_count);
}

static bool is_pointer_free(uint32_t layout) {
    return precise && (layout & 1) && layout >> (1 + SIZE_FIELD_BITS) == 0;
}

static void *try_to_allocate(uint32_t size, bool atomic) {
    return atomic ? GC_MALLOC_ATOMIC(size) : GC_MALLOC(size);
}

/* At a heap's limit bdwgc may give up although a collection would help: it gets one, and another chance. */
static uint64_t *allocate(uint32_t size, uint32_t layout) {
    const bool atomic = is_pointer_free(layout);
    void *object = try_to_allocate(size, atomic);
    if (!object) {
        GC_gcollect();
        object = try_to_allocate(size, atomic);
    }
    return object && atomic ? memset(object, 0, size) : object;
}

/* Touches the heap's pages, so that no run pays for them. The chunks are linked through their first words. */
static void touch_heap(void) {
    const size_t chunk_bytes = 32 << 10;
    void **last = NULL;
    GC_disable();
    for (void **chunk; (chunk = GC_MALLOC_ATOMIC(chunk_bytes)); last = chunk) {
        memset(chunk, 0, chunk_bytes);
        *chunk = last;
    }
    while (last) {
        void **chunk = last;
        last = *chunk;
        GC_FREE(chunk);
    }
    GC_enable();
}

static void set_up_heap(const struct trace *trace) {
    if (trace->word_bytes != sizeof(uint64_t))
        die("wrong word size", "bdwgc runs programs of 8-byte words only");
    root_slot_count = trace->root_slots;
    root_slots = zeroed(root_slot_count, sizeof *root_slots);
    GC_set_no_dls(1);
    GC_set_markers_count(1);
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_set_max_heap_size(trace->limit_bytes);
    GC_INIT();
    GC_clear_roots();
    GC_set_push_other_roots(push_root_slots);
    if (GC_get_heap_size() < trace->heap_bytes)
        GC_expand_hp(trace->heap_bytes - GC_get_heap_size());
    touch_heap();
}

/* Runs the program; the number of steps done, which is less than all where memory ran out. */
static size_t run(const struct trace *trace, uint64_t **ids) {
    for (size_t i = 0; i < trace->step_count; i++) {
        const struct step step = trace->steps[i];
        switch (step.op) {
        case ALLOC:
            ids[step.a] = allocate(step.b, step.c);
            if (!ids[step.a])
                return i;
            break;
        case STORE:
            ids[step.a][step.b & STORE_WORD_MASK] =
                ids[step.c] ? (uint64_t)(uintptr_t)(ids[step.c] + (step.b >> STORE_INTERIOR_SHIFT)) : 0;
            break;
        case ROOT:
            root_slots[step.a] = step.b ? (uint64_t)(uintptr_t)ids[step.b] + step.c : 0;
            break;
        case COLLECT:
            GC_gcollect();
            break;
        case REALLOC:
            ids[step.a] = GC_REALLOC(ids[step.a], step.b);
            if (!ids[step.a])
                return i;
            break;
        case STORE_ADDRESS: /* no address means anything here: keep the write, not its value */
        case STORE_INTEGER:
            ids[step.a][step.b] = step.c;
            break;
        case COPY:
            ids[step.a] = ids[step.b];
            break;
        default:
            die("unknown operation", "in the trace");
        }
    }
    return trace->step_count;
}

int main(int argc, char **argv) {
    precise = argc > 2 && !strcmp(argv[1], "--precise");
    if (argc != (precise ? 3 : 2))
        die("usage", "bdwgc [--precise] TRACE");
    const struct trace trace = load_trace(argv[argc - 1]);
    set_up_heap(&trace);
    uint64_t **ids = zeroed(trace.object_ids, sizeof *ids);
    const GC_word collections_before = GC_get_gc_no();
    const uint64_t started = now_ns();
    const size_t done = run(&trace, ids);
    const uint64_t total_ns = now_ns() - started;
    printf("{\"total_ns\": %llu, \"collection_count\": %llu, \"heap_bytes\": %llu, \"oom\": \"%s\", \"ops_done\": %zu}\n",
           (unsigned long long)total_ns, (unsigned long long)(GC_get_gc_no() - collections_before),
           (unsigned long long)GC_get_heap_size(), done < trace.step_count ? "out of memory" : "", done);
    return 0;
}
