/* The block collector in a program that a host drives to do what programs must not. */
#if BEST_FIT
#include "best_fit_collector.c"
#else
#include "block_collector.c"
#endif

#define EXPORT(name) __attribute__((export_name(#name), noinline))

volatile word slots[16];

/* An object that lives as long as its slot holds it. */
EXPORT(make) word make(word size, word layout, word slot) {
    slots[slot] = (word)(uintptr_t)alloc(size, layout);
    return slots[slot];
}

EXPORT(drop) void drop(word slot) { slots[slot] = 0; }

EXPORT(fill) void fill(word to, word length_bytes, word value) {
    for (word i = 0; i < length_bytes; i++) ((volatile uint8_t *)(uintptr_t)to)[i] = (uint8_t)value;
}

/* Where the object that holds an address ends. */
static word end_of(word pointer) {
#if BEST_FIT && BACK
    return address(head(block_of(pointer)) + 1) - HEADER_BYTES;
#elif BEST_FIT
    word end = block_of(pointer) + 1;
    while (end < end_block && state(end) == TAIL_BIT) end++;
    return address(end);
#else
    return address(next((pointer - HEAP_START) / 16));
#endif
}

/* As TinyGo's: an object is as large as its blocks. */
EXPORT(resize) word resize(word old, word size) {
    if (old == 0) return (word)(uintptr_t)alloc(size, 0);
    word old_bytes = end_of(old) - old;
    if (size <= old_bytes) return old;
    void *made = alloc(size, 0);
    memcpy(made, (void *)(uintptr_t)old, old_bytes);
    return (word)(uintptr_t)made;
}

/* What the program itself sees of its counters. */
EXPORT(total_bytes) word total_bytes(void) { return (word)total_alloc_bytes; }

/* Calls itself with a frame of a kilobyte in memory, and allocates at the end. */
EXPORT(recurse) word recurse(word depth) {
    volatile word words[256];
    fill((word)(uintptr_t)words, sizeof words, 0xEE);
    word below = depth ? recurse(depth - 1) : make(8, 3, 0);
    return below + words[depth & 255];
}

/* Calls itself with nothing in memory. */
EXPORT(descend) word descend(word depth) { return depth ? descend(depth - 1) + slots[depth & 15] : slots[0]; }
