/* A program around a collector of the tests' own: it grows trees, and forgets most of them. */
#ifndef COLLECT
#define COLLECT() run_gc()
#endif

struct tree {
    struct tree *left, *right;
    word value;
};

/* Puts a tree where it is reached from before it grows: a collector sees no locals of WebAssembly. */
__attribute__((noinline)) static void grow_tree(struct tree *volatile *place, word depth) {
    struct tree *tree = alloc(sizeof *tree, 3u << 6 | 3 << 1 | 1);
    *place = tree;
    tree->value = depth;
    if (depth) {
        grow_tree(&tree->left, depth - 1);
        grow_tree(&tree->right, depth - 1);
    }
}

__attribute__((noinline)) static word sum(const struct tree *tree) {
    return tree ? tree->value + sum(tree->left) + sum(tree->right) : 0;
}

/* Writes to an array of its caller's, which so has a frame. */
__attribute__((noinline)) static void scramble(volatile word *words, word count) {
    for (word i = 0; i < count; i++) words[i] = words[count - 1 - i] * 3 + i;
}

/* Keeps one tree of many; the result is its sum. */
__attribute__((export_name("run"))) word run(word trees, word depth) {
    word total = 0;
    volatile word words[8] = {depth};
    for (word i = 0; i < trees; i++) {
        scramble(words, 8);
        struct tree *volatile *place = (struct tree *volatile *)&kept[i & 1];
        grow_tree(place, depth);
        struct tree *tree = *place;
        total += words[i & 7] + sum(tree);
#if SMALLEST
        *(word *)alloc(100, 1) = i;
#elif !ONE_SIZE
        total += *(uint8_t *)alloc(0, 0);
        *(word *)alloc(100 + i, 1) = i;
#endif
#if TASKS
        current_task = 0;
#endif
#if EXPLICIT
        if (i % 8 == 7) COLLECT();
#endif
    }
    return total;
}

#if TASKS
__attribute__((export_name("switch_task"))) word switch_task(word task, word (*body)(word)) {
    word before = current_task;
    current_task = task;
#if SAVED
    saved_stack_pointer = stack_pointer();
#endif
    word result = body(task);
    current_task = before;
    return result;
}
#endif

__attribute__((export_name("_start"))) void start(void) {
    heap_end = __builtin_wasm_memory_size(0) * 65536;
    calculate_heap_addresses();
    memset(metadata_start, 0, heap_end - (word)(uintptr_t)metadata_start);
#ifdef SET_UP_MORE
    SET_UP_MORE();
#endif
}
