/* A program with a table of numbers that happen to be addresses, beside pointers that are some.
 *
 * Objects are kept by pointers in a table, or by the pointers of a chain; all others are forgotten.  The numbers are constants,
 * spread over the heap, in a table of their own and in each object, so that they lead to objects of both kinds.
 */
#include "block_collector.c"

#define KEPT 32
#define NUMBERS 96
#define FIRST 0x11000
#define STEP 0x1b0

struct link {
    struct link *next;
    word number;
    word more[8];
};

static struct link *volatile kept_links[KEPT];
static struct link *volatile chain;
static volatile word numbers[NUMBERS];

__attribute__((noinline)) static struct link *make(word number) {
    struct link *made = alloc(sizeof *made, 0);
    made->number = FIRST + number * STEP;
    return made;
}

__attribute__((export_name("tinygo_launch"), noinline)) word launch(word rounds) {
    for (word i = 0; i < NUMBERS; i++) numbers[i] = FIRST + 4 + i * STEP;
    for (word round = 0; round < rounds; round++) {
        struct link *made = make(round & 63);
        if (round % 8 == 0) kept_links[round / 8 % KEPT] = made;
        if (round % 16 == 4) {
            made->next = chain;
            chain = round % 256 == 4 ? 0 : made;
        }
    }
    return (word)mallocs;
}
