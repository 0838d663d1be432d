/* A mutator program (a trace) in memory, for the benchmark peers.
 *
 * Eight header words, then steps of four words; all little-endian u32. The peers trust the program: tinyheap's
 * own reader has checked it before a benchmark hands it over.
 */
#ifndef TINYHEAP_BENCHMARK_TRACE_H
#define TINYHEAP_BENCHMARK_TRACE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TRACE_MAGIC = 0x54434742, STORE_WORD_MASK = 0xfffff, STORE_INTERIOR_SHIFT = 20 };

enum operation { ALLOC, STORE, ROOT, COLLECT, STORE_ADDRESS, REALLOC, STORE_INTEGER, COPY };

struct step {
    uint32_t op, a, b, c;
};

struct trace {
    uint32_t magic, word_bytes, object_ids, root_slots, heap_bytes, limit_bytes, growth, header_alignment_bytes;
    size_t step_count;
    struct step *steps;
};

static inline _Noreturn void die(const char *what, const char *detail) {
    fprintf(stderr, "%s: %s\n", what, detail);
    exit(2);
}

/* Zeroed memory whose pages are there already, so that no run pays for them. */
static inline void *zeroed(size_t count, size_t bytes) {
    void *memory = malloc(count * bytes + 1);
    if (!memory)
        die("out of host memory", "for the trace's own tables");
    explicit_bzero(memory, count * bytes + 1);
    return memory;
}

static inline struct trace load_trace(const char *path) {
    struct trace trace;
    FILE *file = fopen(path, "rb");
    if (!file)
        die("cannot open", path);
    const size_t header_bytes = 8 * sizeof(uint32_t);
    if (fread(&trace, 1, header_bytes, file) != header_bytes || trace.magic != TRACE_MAGIC)
        die("not an uncompressed trace", path);
    fseek(file, 0, SEEK_END);
    trace.step_count = ((size_t)ftell(file) - header_bytes) / sizeof(struct step);
    trace.steps = zeroed(trace.step_count, sizeof(struct step));
    fseek(file, (long)header_bytes, SEEK_SET);
    if (fread(trace.steps, sizeof(struct step), trace.step_count, file) != trace.step_count)
        die("cannot read", path);
    fclose(file);
    return trace;
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
