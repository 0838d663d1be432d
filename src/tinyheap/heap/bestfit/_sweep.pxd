# Types of `_sweep.py`.

from tinyheap.heap.bestfit._state cimport Heap
from tinyheap.heap._words cimport u64

cdef u64 sweep_table(Heap heap) noexcept nogil
cdef void free_dead(Heap heap) noexcept nogil
cdef void free_dead_back(Heap heap) noexcept nogil
cdef void poison_blocks(Heap heap) noexcept nogil
cdef void count_blocks(Heap heap, u64* runs, u64* largest) noexcept nogil
cdef void unmark_all(Heap heap) noexcept nogil
