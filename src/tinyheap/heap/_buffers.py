# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Views of memory that other objects own and offer by the buffer protocol, for compiled code."""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.heap._buffers is not compiled")

from cython.cimports.cpython.buffer import PyBuffer_Release, PyObject_GetBuffer


# It is let go of in `__dealloc__`; clearing it before, in a cycle, would drop it unreleased.
@cython.no_gc_clear
@cython.final
@cython.cclass
class BufferView:
    """The bytes of one object at a time; while they are held, their owner keeps them in place."""

    def __dealloc__(self):
        self.release()

    def hold(self, memory, flags: cython.int) -> cython.int:
        """Hold an object's bytes instead of whatever was held; ``flags`` are of the buffer protocol."""
        self.release()
        PyObject_GetBuffer(memory, cython.address(self._buffer), flags)
        self.held = True
        self.at = cython.cast(cython.size_t, self._buffer.buf)
        self.bytes = self._buffer.len
        return 0

    def release(self) -> cython.void:
        """Let go; without effect when nothing is held."""
        if self.held:
            self.held = False
            self.at = 0
            self.bytes = 0
            PyBuffer_Release(cython.address(self._buffer))
