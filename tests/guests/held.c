/* A program that holds on to things, each in a way that leaks are known to have: who holds how many follows from this text.
 *
 * A registry that grows; caches in a ring, whose bodies are replaced; a list; tasks that wait for ever, each with a stack on
 * the heap whose frame holds a buffer; buffers that were lent to the host and never came back.  All else is forgotten.
 */
#include "block_collector.c"

#define CACHES 12
#define STACK_WORDS 256
#define SLOTS 4096
#define CANARY 0x670c1333

struct entry {
    word key;
    struct body *body;
};

struct body {
    uint8_t bytes[48];
};

struct cache {
    struct cache *next;
    struct body *body;
    word hits;
};

struct node {
    struct node *next;
    word value[3];
};

struct stack {
    word words[STACK_WORDS];
};

struct task {
    struct task *next;
    struct stack *stack;
};

struct registry {
    struct entry **slots;
    word count;
};

struct lent {
    void *buffers[64];
};

static struct registry registry;
static struct cache *volatile ring;
static struct node *volatile list;
static struct task *volatile parked;
static struct lent *volatile lent;
static volatile word lendings;
static struct body *volatile scratch;

/* What compiled Go calls for what a host asks for. */
__attribute__((export_name("malloc"), noinline)) void *malloc(word size) {
    if (!lent) lent = alloc(sizeof *lent, 0);
    void *made = alloc(size, 0);
    lent->buffers[lendings++ % 64] = made;
    return made;
}

__attribute__((noinline)) static void register_entry(word key) {
    if (!registry.slots) registry.slots = alloc(SLOTS * sizeof(struct entry *), 0);
    struct entry *made = alloc(sizeof *made, 0);
    registry.slots[registry.count++] = made;
    made->key = key;
    made->body = alloc(sizeof(struct body), 0);
}

__attribute__((noinline)) static void turn(word rounds) {
    if (!ring) {
        struct cache *first = 0, *last = 0;
        for (word i = 0; i < CACHES; i++) {
            struct cache *made = alloc(sizeof *made, 0);
            if (first) last->next = made;
            else ring = first = made;
            last = made;
        }
        last->next = first;
    }
    for (word i = 0; i < rounds; i++) {
        ring->body = alloc(sizeof(struct body), 0);
        ring = ring->next;
    }
}

__attribute__((noinline)) static void append(word value) {
    struct node *made = alloc(sizeof *made, 0);
    made->value[0] = value;
    made->next = list;
    list = made;
}

__attribute__((noinline)) static void park(void) {
    struct task *made = alloc(sizeof *made, 0);
    made->next = parked;
    parked = made;
    made->stack = alloc(sizeof(struct stack), 0);
    made->stack->words[0] = CANARY;
    made->stack->words[200] = (word)(uintptr_t)alloc(400, 0);
}

/* So much that no counter of the collector's is an address of the heap any more, which it would keep alive. */
__attribute__((noinline)) static void forget(void) {
    for (word i = 0; i < 8000; i++) scratch = alloc(1000, 0);
    scratch = 0;
}

__attribute__((export_name("tinygo_launch"), noinline)) word launch(word entries, word nodes, word tasks) {
    for (word i = 0; i < entries; i++) register_entry(i);
    turn(5 * CACHES);
    for (word i = 0; i < nodes; i++) append(i);
    for (word i = 0; i < tasks; i++) park();
    forget();
    return (word)mallocs;
}
