"""Packs what the HTML page shows into text that a page can hold: columns of numbers, and JSON.

A *container* is JSON and columns, all numbers little-endian: four bytes for the length of the JSON, the JSON in UTF-8,
then the columns, each at a multiple of eight.  Under the key ``columns`` the JSON says of each column its type, how it
was packed, its offset behind the JSON and its length.  In the page a container is gzip, in base64, which browsers undo
at the speed of memory; nothing in it can end the element that it stands in.

Columns of whole numbers are kept as *differences*: each value less the one before it, the sign in the lowest bit, and
the bytes of equal weight together.  Neighbors in a recording are alike, so most of these bytes are zeros.

`web/src/container.ts` reads it.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Columns = dict[str, "NDArray[Any]"]
"""Columns by name: unsigned 32-bit integers; 64-bit floating point, where NaN stands for an unknown number; or bytes."""

# The next levels take twice the time for two percent of the size.
_LEVEL: Final = 4
_ALIGNMENT: Final = 8


def pack(facts: Mapping[str, Any], columns: Columns) -> str:
    """A container as text.

    Args:
        facts: What goes into the JSON, without the key ``columns``.
        columns: By name, of type uint32, float64 or uint8.
    """
    places: dict[str, dict[str, object]] = {}
    parts: list[bytes] = []
    offset = 0
    for name, column in columns.items():
        kind, coding, data = _encode(column)
        places[name] = {"type": kind, "coding": coding, "offset": offset, "length": len(column)}
        parts.append(data + bytes(-len(data) % _ALIGNMENT))
        offset += len(parts[-1])
    text = json.dumps({**facts, "columns": places}, separators=(",", ":"), allow_nan=False).encode()
    head = struct.pack("<I", len(text)) + text
    head += bytes(-len(head) % _ALIGNMENT)
    packed = gzip.compress(head + b"".join(parts), _LEVEL, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _encode(column: NDArray[Any]) -> tuple[str, str, bytes]:
    """The type and the coding of a column, and its bytes."""
    if column.dtype == np.uint32:
        return "u32", "differences", _differences(column)
    if column.dtype == np.uint8:
        return "u8", "plain", column.tobytes()
    return "f64", "plain", column.astype("<f8", copy=False).tobytes()


def _differences(column: NDArray[np.uint32]) -> bytes:
    """The bytes of a column as differences; they wrap around at 32 bits, and so do their sums."""
    steps = np.diff(column, prepend=np.uint32(0)).astype("<u4").view("<i4")
    zigzag = (steps << 1) ^ (steps >> 31)
    return zigzag.view(np.uint8).reshape(-1, 4).T.tobytes()
