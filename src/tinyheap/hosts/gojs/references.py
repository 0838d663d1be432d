"""References: the 64-bit words that stand for script values in a Go program, and the table behind them.

A number is itself, as an IEEE double.  Everything else is a NaN whose low half is an index into the table and
whose high half tells the type::

    63            48 47   35 34  32 31                          0
    0111111111111000 0 ... 0 [type] [ index in the table        ]     type: 1 object, 2 string, 4 function

    0 is undefined; 0x7FF80000_00000000 is NaN, .._00000001 zero, .._00000002 null, .._00000003 true,
    .._00000004 false. Example: 0x7FF80004_00000009 is the function at index 9.

Invariant: a place of the table is free if and only if the program has given back every count of its
reference.  Places are numbered and reused in the same order as by the JavaScript that comes with TinyGo, so a
program sees the same words.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from tinyheap.hosts.gojs.script import UNDEFINED, Ledger, ScriptObject, Value, type_of
from tinyheap.hosts.memory import MASK_32, MASK_64

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAN_HEAD = 0x7FF80000
_TYPE_FLAGS = {"string": 2, "function": 4}
_OBJECT_FLAG = 1
_ENTRY_BYTES = 128
"""Bytes charged for one place of the table; Python's own cost, roughly."""


class ValueTable:
    """The script values that a program holds references to.

    Args:
        ledger: What the table's size is charged to.
        first: The values that every program knows from the start, at indices 0 and up.
    """

    def __init__(self, ledger: Ledger, first: Sequence[Value]) -> None:
        self._ledger = ledger
        self._values: list[Value] = list(first)
        self._counts: dict[int, int] = {}
        self._indices: dict[str | ScriptObject, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._values) - len(self._free)

    def unbox(self, reference: int) -> Value:
        """The value that a reference stands for."""
        reference &= MASK_64
        number: float = struct.unpack("<d", reference.to_bytes(8, "little"))[0]
        if number == 0:
            return UNDEFINED
        if not math.isnan(number):
            return number
        index = reference & MASK_32
        return self._values[index] if index < len(self._values) else UNDEFINED

    def box(self, value: Value) -> int:
        """The reference of a value, entered into the table if need be, or counted once more."""
        if isinstance(value, bool):
            return _NAN_HEAD << 32 | (3 if value else 4)
        if isinstance(value, (int, float)):
            return _box_number(float(value))
        if value is UNDEFINED:
            return 0
        if value is None:
            return _NAN_HEAD << 32 | 2
        index = self._index(value)
        self._counts[index] += 1
        return (_NAN_HEAD | _TYPE_FLAGS.get(type_of(value), _OBJECT_FLAG)) << 32 | index

    def release(self, reference: int) -> None:
        """Give one count of a reference back; the last one frees its place in the table."""
        reference &= MASK_64
        index = reference & MASK_32
        if reference >> 51 != _NAN_HEAD >> 19 or index not in self._counts:
            return
        self._counts[index] -= 1
        if self._counts[index] == 0:
            value = self._values[index]
            del self._counts[index]
            if isinstance(value, (str, ScriptObject)):
                del self._indices[value]
                self._ledger.charge(-_entry_bytes(value))
            self._values[index] = None
            self._free.append(index)

    def _index(self, value: str | ScriptObject) -> int:
        index = self._indices.get(value)
        if index is None:
            self._ledger.charge(_entry_bytes(value))
            if self._free:
                index = self._free.pop()
                self._values[index] = value
            else:
                index = len(self._values)
                self._values.append(value)
            self._indices[value] = index
            self._counts[index] = 0
        return index


def _entry_bytes(value: str | ScriptObject) -> int:
    return _ENTRY_BYTES + (len(value) if isinstance(value, str) else 0)


def _box_number(number: float) -> int:
    if math.isnan(number):
        return _NAN_HEAD << 32
    if number == 0:
        return _NAN_HEAD << 32 | 1
    return int.from_bytes(struct.pack("<d", number), "little")
