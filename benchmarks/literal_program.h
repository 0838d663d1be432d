/* The program that a literal port is run by: its memory, its steps, its line of JSON.
 *
 * Included after the collector, which defines `HEADER_WORDS`, `start_heap`, `allocate`, `reallocate`, `collect`, `state_of`, and what only
 * it can print: `print_rows` (of its collections), `print_work` (counters) and `print_mem_stats`.
 */
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
    header_bytes = (word)((HEADER_WORDS * WORD_BYTES + align - 1) / align * align);
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
    start_heap();
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
    print_rows();
    printf("], \"final_map\": \"");
    for (block b = 0; b < end_block; b++)
        putchar(state_of(b) == FREE ? '.' : state_of(b) == HEAD ? '*' : state_of(b) == TAIL ? '-' : '#');
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
    print_work();
    printf(", \"heap_base\": %llu, \"heap_bytes\": %llu, \"end_block\": %llu", (unsigned long long)heap_start,
           (unsigned long long)(word)(heap_end - heap_start), (unsigned long long)end_block);
    printf(", \"final_table_fnv1a\": \"%016llx\"", (unsigned long long)table_hash());
    print_mem_stats(idle, whole);
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
