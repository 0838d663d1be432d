# Words of memory, for compiled modules: what `_words.h` defines, under its own names.  Nothing here knows of heaps.

from libc.stdint cimport uint64_t

ctypedef uint64_t u64

cdef extern from "_words.h" nogil:
    const u64 EVEN "TH_EVEN"        # the low bit of each field of two bits
    const u64 ODD "TH_ODD"          # the high bit
    const u64 ONES "TH_ONES"
    u64 load8(u64 address) noexcept
    u64 load16(u64 address) noexcept
    u64 load32(u64 address) noexcept
    u64 load64(u64 address) noexcept
    void store8(u64 address, u64 value) noexcept
    void store16(u64 address, u64 value) noexcept
    void store32(u64 address, u64 value) noexcept
    void store64(u64 address, u64 value) noexcept
    u64 load_short(u64 address, u64 bytes) noexcept                 # the first bytes of a word, less than eight
    void store_short(u64 address, u64 value, u64 bytes) noexcept
    u64 load_word(u64 address, u64 shift) noexcept                  # of 1 << shift bytes
    void store_word(u64 address, u64 shift, u64 value) noexcept
    void fill(u64 address, u64 bytes, u64 byte) noexcept
    void zero16(u64 address) noexcept
    void move(u64 to, u64 source, u64 bytes) noexcept
    u64 rarely(u64 x) noexcept                                      # whether x is not 0, which is the exception
    u64 ctz64(u64 x) noexcept
    u64 clz64(u64 x) noexcept
    u64 long_words_below(u64 at, u64 start, u64 bytes) noexcept     # which of four lie in `start..start + bytes`, one bit per word
    u64 words_below(u64 at, u64 start, u64 bytes) noexcept
    u64 reverse_bytes(u64 x) noexcept
    void prefetch(u64 address) noexcept
    u64 fnv1a(u64 address, u64 bytes) noexcept
    u64 clock_ns() noexcept
