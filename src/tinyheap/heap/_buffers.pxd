# Types of `_buffers.py`.

from tinyheap.heap._words cimport u64

cdef class BufferView:
    cdef Py_buffer _buffer
    cdef bint held
    cdef u64 at             # where the first byte lies here; 0 when nothing is held
    cdef u64 bytes
    cdef int hold(self, object memory, int flags) except -1
    cdef void release(self)
