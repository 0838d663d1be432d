# Signatures of `_sweep.py`.

from tinyheap.heap.nextfit._state cimport Heap
from tinyheap.heap._words cimport u64

# Masks for sums of fields, and what keeps two counts in one number apart.
cdef extern from * nogil:
    """
    #define TH_LOW_HALF 0xFFFFFFFFULL
    #define TH_PAIRS 0x3333333333333333ULL
    #define TH_NIBBLES 0x0F0F0F0F0F0F0F0FULL
    #define TH_WIDE_BYTES 0x00FF00FF00FF00FFULL
    #define TH_WIDE_ONES 0x0001000100010001ULL
    """
    const u64 LOW_HALF "TH_LOW_HALF"
    const u64 PAIRS "TH_PAIRS"
    const u64 NIBBLES "TH_NIBBLES"
    const u64 WIDE_BYTES "TH_WIDE_BYTES"
    const u64 WIDE_ONES "TH_WIDE_ONES"

cdef enum:
    TALLY = 63              # table words whose counts fit into bytes

cdef u64 sweep_table(Heap heap) noexcept nogil
cdef u64 free_dead(u64 at, u64 stop, u64 carry) noexcept nogil
cdef void poison_fields(Heap heap, u64 word, u64 fields) noexcept nogil

cdef void count_blocks(Heap heap) noexcept nogil
cdef u64 count_marks(Heap heap) noexcept nogil
cdef void keep_tally(Heap heap, u64 counts) noexcept nogil
cdef u64 tally(u64 at, u64 words) noexcept nogil
cdef u64 count_bytes(u64 x) noexcept nogil
cdef u64 sum_bytes(u64 x) noexcept nogil
