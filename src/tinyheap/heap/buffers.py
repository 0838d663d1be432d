"""What may serve as a heap's memory: any object with a writable buffer of bytes."""

from __future__ import annotations

import mmap
from array import array
from typing import TypeAlias

from tinyheap.errors import GeometryError

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap | array[int]"
"""Objects with the buffer protocol (``collections.abc.Buffer`` from Python 3.12 on); others of that kind serve too."""


def writable_bytes(buffer: Buffer) -> memoryview:
    """A flat view of a buffer's bytes, to be released by the caller.

    Raises:
        GeometryError: not a buffer, read-only, or not contiguous.
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise GeometryError(f"a heap needs a size in bytes or a writable buffer, not {type(buffer).__name__}") from None
    except ValueError as error:
        raise GeometryError(f"the buffer cannot be used: {error}") from error
    if view.readonly:
        raise GeometryError(f"the buffer ({type(buffer).__name__}) is read-only; a heap needs one it may write to")
    if not view.c_contiguous:
        raise GeometryError("the buffer is not contiguous; pass memory that lies in one piece")
    return flat_bytes(view)


def flat_bytes(view: memoryview) -> memoryview:
    """The bytes of a contiguous view, in one dimension."""
    if view.format == "B" and view.ndim == 1:
        return view
    # What has no elements cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def reserve(capacity_bytes: int, *, prefault: bool = False) -> mmap.mmap:
    """Zeroed memory that costs nothing until it is touched; with ``prefault`` all of it is there from the start.

    Raises:
        GeometryError: the operating system does not give that much address space.
    """
    try:
        if hasattr(mmap, "MAP_ANONYMOUS"):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            flags |= getattr(mmap, "MAP_POPULATE" if prefault else "MAP_NORESERVE", 0)
            return mmap.mmap(-1, capacity_bytes, flags=flags)
        return mmap.mmap(-1, capacity_bytes)
    except (OSError, ValueError, OverflowError) as error:
        raise GeometryError(
            f"cannot reserve {capacity_bytes} bytes ({error}); set a smaller size or growth limit"
        ) from None
