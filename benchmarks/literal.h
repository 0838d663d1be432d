/* What the literal ports share: words, the heap's extent, counters.  `literal_program.h` is the other half. */
#ifndef TINYHEAP_BENCHMARK_LITERAL_H
#define TINYHEAP_BENCHMARK_LITERAL_H

#include "trace.h"

#include <setjmp.h>
#include <stdbool.h>
#include <sys/mman.h>

#ifndef PRECISE
#define PRECISE 0
#endif
#ifndef COUNT
#define COUNT 0
#endif

#if WORD_BYTES == 8
typedef uint64_t word;
#define DEFAULT_BASE 0x1000000000u
#define ALIGNMENT 8
#define SIZE_FIELD_BITS 6
#elif WORD_BYTES == 4
typedef uint32_t word;
#define DEFAULT_BASE 0x20000000u
#define ALIGNMENT 4
#define SIZE_FIELD_BITS 5
#elif WORD_BYTES == 2
typedef uint16_t word;
#define DEFAULT_BASE 0x100u
#define ALIGNMENT 1 /* as on AVR: pointers lie anywhere */
#define SIZE_FIELD_BITS 4
#else
#error "WORD_BYTES must be 2, 4 or 8"
#endif

#define BYTES_PER_BLOCK ((word)(4 * WORD_BYTES))
#define BLOCKS_PER_STATE_BYTE 4
#define WORD_BITS (8 * WORD_BYTES)

typedef word block;

#if WORD_BYTES == 2
static uint8_t memory[0x10000 + WORD_BYTES];
#define NATIVE(address) (memory + (address))
#else
#define NATIVE(address) ((uint8_t *)(uintptr_t)(address))
#endif

static word heap_start, heap_end, metadata_start;
static block end_block;
static uint64_t total_alloc_bytes, mallocs, frees;
#if COUNT
static uint64_t blocks_examined, words_scanned;
#define TALLY(counter) (counter++)
#else
#define TALLY(counter) ((void)0)
#endif

static word header_bytes, limit_bytes, zero_sized_address;
static uint32_t growth_mode;
static word *root_slots;
static size_t root_slot_count;

static bool timing, full;
static uint64_t mark_ns, sweep_ns, collections;
static jmp_buf out_of_memory;

static word load(const uint8_t *from) {
    word value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void store(word address, word value) {
    memcpy(NATIVE(address), &value, sizeof value);
}

static bool is_on_heap(word address) {
    return address >= heap_start && address < metadata_start;
}

static block block_from_address(word address) {
    return (word)(address - heap_start) / BYTES_PER_BLOCK;
}

static word address_of(block b) {
    return (word)(heap_start + b * BYTES_PER_BLOCK);
}

static void place_table(void) {
    const uint64_t bytes = (word)(heap_end - heap_start);
    const uint64_t covered = BLOCKS_PER_STATE_BYTE * BYTES_PER_BLOCK;
    const uint64_t table_bytes = (bytes + covered) / (1 + covered);
    metadata_start = (word)(heap_end - table_bytes);
    end_block = (word)(metadata_start - heap_start) / BYTES_PER_BLOCK;
}

static uint64_t table_hash(void) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < ((size_t)end_block + 3) / BLOCKS_PER_STATE_BYTE; i++)
        hash = (hash ^ NATIVE(metadata_start)[i]) * 1099511628211u;
    return hash;
}

#endif
