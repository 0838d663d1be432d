"""Changes to one function's body: code between its instructions, at its entry and exits, and more locals.

    original            with code at entry (E) and exit (X)
      ...                 E
      return              block RESULTS
      ...                   ...
      br OUTERMOST          X return
    end                     ...
                            br OUTERMOST         which now is the block
                          end
                          X
                        end

The block takes the place of the function's own label, so that every branch out of the function meets X, and
no label in the code changes its number.  An exception that passes through, or a trap, does not meet X.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tinyheap.errors import MalformedModuleError, ModuleEditError
from tinyheap.wasm import instructions
from tinyheap.wasm.entities import Body
from tinyheap.wasm.immediates import BlockType, ValueType, write_value_type, write_vector
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.renumbering import Renumbering

END = instructions.encode("end")

AFTER, BEFORE, EXIT = range(3)
"""The order of code inserted at one place: what follows the instruction before comes first."""

_RETURNS = ("return", "return_call", "return_call_indirect", "return_call_ref")


def encode_locals(declared: tuple[tuple[int, ValueType], ...] | list[tuple[int, ValueType]]) -> bytes:
    """Declared locals, given as (count, type), as a body has them in front."""
    return write_vector([encode_unsigned(count) + write_value_type(value_type) for count, value_type in declared])


class Piece(NamedTuple):
    """A part of a changed body."""

    code: bytes
    origin: int | None = None
    """Where in the original's file its instructions begin, of which each is there; None for what was added."""


@dataclass(slots=True)
class BodyEdit:
    """What is to be done to `body`."""

    body: Body
    insertions: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Offset in the file, order (`AFTER`, `BEFORE` or `EXIT`), code."""
    entry: bytes = b""
    exit: bytes = b""
    block_type: BlockType = None
    """The type of the block around the code, where there is code at the exits."""
    locals: list[ValueType] = field(default_factory=list)

    def pieces(self, kept: Renumbering, added: Renumbering) -> Iterator[Piece]:
        """The new body, in its order; `kept` renumbers the original's instructions and `added` what is put between."""
        body, position = self.body, self.body.code_start
        yield Piece(self._locals() + self._renumbered(added, self.entry))
        if self.exit:
            yield Piece(instructions.encode("block", self.block_type))
        for offset, _, code in sorted(self.insertions + self._exits(), key=lambda insertion: insertion[:2]):
            yield Piece(self._original(kept, position, offset), position)
            yield Piece(self._renumbered(added, code))
            position = offset
        yield Piece(self._original(kept, position, body.end - len(END)), position)
        if self.exit:
            yield Piece(END + self._renumbered(added, self.exit))
        yield Piece(END)

    def _exits(self) -> list[tuple[int, int, bytes]]:
        return [(offset, EXIT, self.exit) for offset, _ in self.body.find(*_RETURNS)] if self.exit else []

    def _original(self, kept: Renumbering, start: int, end: int) -> bytes:
        try:
            return kept.code(self.body.data, start, end)
        except MalformedModuleError:
            self.body.check()
            raise ModuleEditError(f"code is to be inserted at byte {end:#x}, where no instruction starts") from None

    def _locals(self) -> bytes:
        if not self.locals:
            return self.body.data[self.body.start : self.body.code_start]
        return encode_locals([*self.body.locals, *((1, value_type) for value_type in self.locals)])

    @staticmethod
    def _renumbered(renumbering: Renumbering, code: bytes) -> bytes:
        return renumbering.code(code, 0, len(code))
