# Types of `_kernel.py`: the engine's border.  Other compiled modules take the functions below it directly.

from tinyheap.heap._buffers cimport BufferView
from tinyheap.heap._words cimport u64
from tinyheap.heap.bestfit._state cimport Heap, HeapState

cdef class Kernel:
    cdef HeapState _heap
    cdef BufferView _memory
    cdef BufferView _statics_memory   # while marking
    cdef bint _guarded          # whether an operation runs (see `monitor.py`)
    cdef bint _in_interrupt
    cdef bint _open             # whether an allocation may be served at once: no operation or interrupt runs, and there is memory
    cdef u64 _size_limit
    cdef object _geometry
    cdef object _shape
    cdef object _collector
    cdef object _statics
    cdef object _embedder
    cdef object _otherwise
    cdef void _notice(self)
    cdef int _hold(self, object memory) except -1
    cdef int _check_block(self, u64 block, u64 limit) except? -1
    cdef int _check_held(self) except? -1
    cdef int _check_list(self) except? -1
    cdef u64 _place(self, u64 address) except? 0
    cdef int _prepare_marking(self) except? -1
    cdef u64 _checked_size(self, size_bytes) except? 1
    cdef object _damaged(self)
    cdef object _alloc_checked(self, u64 size_bytes, u64 layout_word)
    cdef u64 _search_on(self, u64 size_bytes, u64 layout_word) except? 0
    cdef object _alloc_slowly(self, u64 size_bytes, u64 layout_word)
    cdef dict _kept_bytes(self)

cdef bint is_wrong(Heap heap, u64 block) noexcept nogil
cdef bint is_poisoned(Heap heap, u64 block, u64 skipped) noexcept nogil
