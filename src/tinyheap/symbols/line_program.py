"""Line programs of DWARF: which line of which file an address is of.

A program is a sequence of instructions for a small machine; the rows of the table that it makes are what it was compiled
from.  Source: DWARF Debugging Information Format, Version 5, 6.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tinyheap.symbols.forms import uleb

_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
"""Standard instructions of line programs."""
_END_SEQUENCE, _SET_ADDRESS = 1, 2
"""Extended ones."""


@dataclass(slots=True)
class Table:
    """The rows of one sequence."""

    addresses: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    end_address: int = 0


class Program:
    """A line program as it runs; its state is that of DWARF's machine, as far as it matters here.

    Args:
        header: Of the program.
        data: The section.
        at: Where the program's first instruction is.
        end: Where it ends.
    """

    def __init__(self, header: Any, data: bytes, at: int, end: int) -> None:  # noqa: ANN401 - pyelftools' containers
        self._data, self._at, self._end = data, at, end
        self._base, self._range = header["line_base"], header["line_range"] or 1
        self._opcode_base, self._step = header["opcode_base"], header["minimum_instruction_length"]
        self._operands = header["standard_opcode_lengths"]
        self._begin()

    def _begin(self) -> None:
        self._table = Table()
        self._address, self._file, self._line = 0, 1, 1

    def tables(self) -> Iterator[Table]:
        """The table of each sequence that has rows."""
        while self._at < self._end:
            code = self._data[self._at]
            self._at += 1
            if code >= self._opcode_base:
                code -= self._opcode_base
                self._address += code // self._range * self._step
                self._line += self._base + code % self._range
                self._append()
            elif code:
                self._do_standard(code)
            elif self._is_end():
                if self._table.addresses:
                    yield _sorted(self._table, self._address)
                self._begin()

    def _append(self) -> None:
        self._table.addresses.append(self._address)
        self._table.files.append(self._file)
        self._table.lines.append(self._line)

    def _do_standard(self, code: int) -> None:
        if code == _COPY:
            self._append()
        elif code == _ADVANCE_PC:
            self._address += self._uleb() * self._step
        elif code == _ADVANCE_LINE:
            self._line += self._sleb()
        elif code == _SET_FILE:
            self._file = self._uleb()
        elif code == _CONST_ADD_PC:
            self._address += (255 - self._opcode_base) // self._range * self._step
        elif code == _FIXED_ADVANCE_PC:
            self._address += int.from_bytes(self._data[self._at : self._at + 2], "little")
            self._at += 2
        else:
            for _ in range(self._operands[code - 1]):
                self._uleb()

    def _is_end(self) -> bool:
        """Do an extended instruction; whether it ends the sequence."""
        size = self._uleb()
        kind, behind = self._data[self._at] if size else 0, self._at + size
        if kind == _SET_ADDRESS:
            self._address = int.from_bytes(self._data[self._at + 1 : behind], "little")
        self._at = behind
        return kind == _END_SEQUENCE

    def _uleb(self) -> int:
        value = self._data[self._at]
        if value < 0x80:
            self._at += 1
        else:
            value, self._at = uleb(self._data, self._at)
        return value

    def _sleb(self) -> int:
        first = self._at
        value = self._uleb()
        return value - (1 << 7 * (self._at - first)) if self._data[self._at - 1] & 0x40 else value


def _sorted(table: Table, end_address: int) -> Table:
    """A table that is over; its rows in the order of their addresses, in which compilers write them."""
    table.end_address = end_address
    addresses = table.addresses
    if any(after < before for before, after in pairwise(addresses)):
        order = sorted(range(len(addresses)), key=addresses.__getitem__)
        for column in (table.addresses, table.files, table.lines):
            column[:] = [column[at] for at in order]
    return table
