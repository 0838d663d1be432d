/* Small programs that need a host of their own; which one, a definition says. */
typedef unsigned int word;

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(module, name) __attribute__((import_module(#module), import_name(#name)))

static unsigned char room[1 << 16];
static word used;
volatile word sum;

#ifdef BENCH
IMPORT(bench, start) void bench_start(void);
IMPORT(bench, end) void bench_end(void);

EXPORT(_start) void start(void) {
    for (word at = 0; at < sizeof room; at++) room[at] = (unsigned char)(at * 7);
    bench_start();
    for (word at = 0; at < sizeof room; at++) sum += room[at];
    bench_end();
}
#endif

#ifdef LOG
IMPORT(env, log) void log_text(const char *text, word length_bytes);

EXPORT(handle) word handle(word number) {
    char text[] = "handled 0";
    text[8] = (char)('0' + number % 10);
    log_text(text, sizeof text - 1);
    return number;
}
#endif

#ifdef REQUESTS
EXPORT(allocate) word allocate(word length_bytes) {
    used += length_bytes;
    return (word)(room + used - length_bytes);
}

EXPORT(release) void release(word address) { used = address - (word)room; }

EXPORT(handle) word handle(const unsigned char *request, word length_bytes) {
    for (word at = 0; at < length_bytes; at++) sum += request[at];
    return request[0] == 'G' ? 200 : 405;
}
#endif
