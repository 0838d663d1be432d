/* A program whose main the compiler has inlined into the function of the runtime that runs it, as TinyGo's does.
 *
 * Each round adds a record to an audit that is never read, and forgets what else it makes; a table that is full at first
 * becomes emptier all the time.  All of that is allocated by call instructions of runtime.run$1.
 */
#include "block_collector.c"

#define SLOTS 64

struct record {
    struct record *before;
    word number;
};

static struct record *volatile audit;
static void *volatile table[SLOTS];
volatile word forgotten;

/* What the runtime allocates for whoever calls it. */
__attribute__((noinline)) static void *append(word size) __asm__("runtime.sliceAppend");
static void *append(word size) {
    uint8_t *made = alloc(size, 0);
    made[size - 1] = 1;
    return made;
}

__attribute__((always_inline)) static inline void main_main(word rounds) {
    for (word slot = 0; slot < SLOTS; slot++) table[slot] = append(1024);
    for (word round = 0; round < rounds; round++) {
        struct record *record = append(sizeof *record);
        record->before = audit;
        audit = record;
        forgotten = (word)(uintptr_t)alloc(40, 0) & 1;
        table[round * SLOTS / rounds] = 0;
    }
}

__attribute__((noinline)) void run_program(word rounds) __asm__("runtime.run$1");
void run_program(word rounds) { main_main(rounds); }

__attribute__((export_name("tinygo_launch"), noinline)) word launch(word rounds) {
    run_program(rounds);
    return (word)mallocs;
}
