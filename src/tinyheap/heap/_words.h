/* Words of memory, in C: loads and stores at any alignment, bit counts, the comparison of four words at once, a hash, a
   clock.  What every compiled module is made of; nothing here knows of heaps.

   Words are little-endian on every host.  Nothing depends on extensions of the CPU that not all of its kind have (SSE2 is
   part of x86-64), so that what is built on one machine runs, alike, on the next. */
#ifndef TINYHEAP_WORDS_H
#define TINYHEAP_WORDS_H

#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define TH_LE16(x) __builtin_bswap16(x)
#define TH_LE32(x) __builtin_bswap32(x)
#define TH_LE64(x) __builtin_bswap64(x)
#else
#define TH_LE16(x) (x)
#define TH_LE32(x) (x)
#define TH_LE64(x) (x)
#endif

/* Masks over the 32 fields of two bits in a word. */
#define TH_EVEN 0x5555555555555555ULL
#define TH_ODD 0xAAAAAAAAAAAAAAAAULL
#define TH_ONES 0xFFFFFFFFFFFFFFFFULL

#define TH_AT(address) ((void *)(uintptr_t)(address))

static inline uint64_t load8(uint64_t address) { return *(const uint8_t *)TH_AT(address); }
static inline uint64_t load16(uint64_t address) { uint16_t v; memcpy(&v, TH_AT(address), 2); return TH_LE16(v); }
static inline uint64_t load32(uint64_t address) { uint32_t v; memcpy(&v, TH_AT(address), 4); return TH_LE32(v); }
static inline uint64_t load64(uint64_t address) { uint64_t v; memcpy(&v, TH_AT(address), 8); return TH_LE64(v); }
static inline void store8(uint64_t address, uint64_t value) { *(uint8_t *)TH_AT(address) = (uint8_t)value; }
static inline void store16(uint64_t address, uint64_t value) { uint16_t v = TH_LE16((uint16_t)value); memcpy(TH_AT(address), &v, 2); }
static inline void store32(uint64_t address, uint64_t value) { uint32_t v = TH_LE32((uint32_t)value); memcpy(TH_AT(address), &v, 4); }
static inline void store64(uint64_t address, uint64_t value) { uint64_t v = TH_LE64(value); memcpy(TH_AT(address), &v, 8); }

/* The first bytes of a word, less than eight; the others read as zero. */
static inline uint64_t load_short(uint64_t address, uint64_t bytes) { uint64_t v = 0; memcpy(&v, TH_AT(address), (size_t)bytes); return TH_LE64(v); }
static inline void store_short(uint64_t address, uint64_t value, uint64_t bytes) { uint64_t v = TH_LE64(value); memcpy(TH_AT(address), &v, (size_t)bytes); }

/* A word of `1 << shift` bytes: 2, 4 or 8. */
static inline uint64_t load_word(uint64_t address, uint64_t shift) {
    return shift == 3 ? load64(address) : shift == 2 ? load32(address) : load16(address);
}
static inline void store_word(uint64_t address, uint64_t shift, uint64_t value) {
    if (shift == 3) store64(address, value);
    else if (shift == 2) store32(address, value);
    else store16(address, value);
}

static inline void fill(uint64_t address, uint64_t bytes, uint64_t byte) { memset(TH_AT(address), (int)byte, (size_t)bytes); }
static inline void zero16(uint64_t address) { memset(TH_AT(address), 0, 16); }
static inline void move(uint64_t to, uint64_t from, uint64_t bytes) { memmove(TH_AT(to), TH_AT(from), (size_t)bytes); }

/* `rarely(x)` is whether x is not 0, which a compiler then takes for the exception. */
#if defined(__GNUC__) || defined(__clang__)
static inline uint64_t rarely(uint64_t x) { return (uint64_t)__builtin_expect(x != 0, 0); }
static inline uint64_t ctz64(uint64_t x) { return (uint64_t)__builtin_ctzll(x); }
static inline uint64_t clz64(uint64_t x) { return (uint64_t)__builtin_clzll(x); }
static inline uint64_t reverse_bytes(uint64_t x) { return __builtin_bswap64(x); }
static inline void prefetch(uint64_t address) { __builtin_prefetch(TH_AT(address)); }
#else
#include <intrin.h>
#include <stdlib.h>
static inline uint64_t rarely(uint64_t x) { return x != 0; }
static inline uint64_t ctz64(uint64_t x) { unsigned long i; _BitScanForward64(&i, x); return i; }
static inline uint64_t clz64(uint64_t x) { unsigned long i; _BitScanReverse64(&i, x); return 63 - i; }
static inline uint64_t reverse_bytes(uint64_t x) { return _byteswap_uint64(x); }
static inline void prefetch(uint64_t address) { (void)address; }
#endif

/* Which of the four 32-bit words at an address lie within `bytes` (up to 2^32 - 1) from `start` on: one bit each. */
#if defined(__SSE2__) && !defined(TINYHEAP_PORTABLE)
#include <emmintrin.h>
static inline uint64_t words_below(uint64_t at, uint64_t start, uint64_t bytes) {
    /* There is no unsigned comparison: both sides are moved down by 2^31. */
    const __m128i words = _mm_loadu_si128((const __m128i *)TH_AT(at));
    const __m128i offsets = _mm_sub_epi32(words, _mm_set1_epi32((int)((uint32_t)start + 0x80000000u)));
    const __m128i limits = _mm_set1_epi32((int)((uint32_t)bytes - 0x80000000u));
    return (uint64_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmplt_epi32(offsets, limits)));
}
/* The same for four 64-bit words and any number of bytes. */
static inline uint64_t long_words_below(uint64_t at, uint64_t start, uint64_t bytes) {
    const __m128i from = _mm_set1_epi64x((long long)start);
    const __m128 a = _mm_castsi128_ps(_mm_sub_epi64(_mm_loadu_si128((const __m128i *)TH_AT(at)), from));
    const __m128 b = _mm_castsi128_ps(_mm_sub_epi64(_mm_loadu_si128((const __m128i *)TH_AT(at + 16)), from));
    const __m128i low = _mm_castps_si128(_mm_shuffle_ps(a, b, 0x88)), high = _mm_castps_si128(_mm_shuffle_ps(a, b, 0xDD));
    const __m128i sign = _mm_set1_epi32((int)0x80000000u), limits = _mm_set1_epi32((int)((uint32_t)bytes - 0x80000000u));
    const __m128i high_limits = _mm_set1_epi32((int)((uint32_t)(bytes >> 32)));
    const __m128i below = _mm_and_si128(_mm_cmplt_epi32(_mm_xor_si128(low, sign), limits), _mm_cmpeq_epi32(high, high_limits));
    const __m128i far_below = _mm_cmplt_epi32(_mm_xor_si128(high, sign), _mm_xor_si128(high_limits, sign));
    return (uint64_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_or_si128(below, far_below)));
}
#else
static inline uint64_t words_below(uint64_t at, uint64_t start, uint64_t bytes) {
    uint64_t found = 0;
    for (int i = 0; i < 4; i++)
        found |= (uint64_t)((uint32_t)(load32(at + 4 * i) - start) < bytes) << i;
    return found;
}
static inline uint64_t long_words_below(uint64_t at, uint64_t start, uint64_t bytes) {
    uint64_t found = 0;
    for (int i = 0; i < 4; i++)
        found |= (uint64_t)(load64(at + 8 * i) - start < bytes) << i;
    return found;
}
#endif

/* FNV-1a, 64 bits. */
static inline uint64_t fnv1a(uint64_t address, uint64_t bytes) {
    uint64_t hash = 14695981039346656037ULL;
    for (uint64_t i = 0; i < bytes; i++)
        hash = (hash ^ load8(address + i)) * 1099511628211ULL;
    return hash;
}

static inline uint64_t clock_ns(void) {
    struct timespec now;
#if defined(CLOCK_MONOTONIC)
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC);
#endif
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
