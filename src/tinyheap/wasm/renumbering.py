"""Giving functions, tables, memories, globals and tags new numbers, in code and out of it.

In an index space the imported come first, so one more import moves the number of all that is defined.  A
renumbering says where each goes.  Code is rewritten in one walk that stops only at instructions which name a
moved index, so a body that names none stays byte for byte, and one that does keeps all its other bytes.  A
moved index keeps the width that it had, or takes more if it must.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinyheap.errors import ModuleEditError
from tinyheap.wasm import instructions
from tinyheap.wasm.entities import Expression
from tinyheap.wasm.instructions import ImmediateSpan
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.opcodes import BY_NAME, OPCODES

_CALLS = ("call", "return_call")
_CALL_OPCODES = tuple(BY_NAME[name].encoding for name in _CALLS)


class Renumbering:
    """New numbers by index space and old number; spaces that are not named stay as they are.

    `calls` sends direct calls elsewhere first, by old number; other mentions of these functions stay.
    """

    def __init__(self, spaces: Mapping[str, Sequence[int]], calls: Mapping[int, int] | None = None) -> None:
        self._spaces = {space: new for space, new in spaces.items() if list(new) != list(range(len(new)))}
        self._calls = calls or {}
        self._names = frozenset(
            opcode.name for opcode in OPCODES if any(kind.space in self._spaces for kind in opcode.immediates)
        ).union(_CALLS if self._calls else ())
        self._known: dict[bytes, bytes] = {}

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return not self._names

    def index(self, space: str, old: int) -> int:
        """The new number of what was `old`; raises ModuleEditError where the space has no such index."""
        new = self._spaces.get(space)
        if new is None:
            return old
        if old >= len(new):
            raise ModuleEditError(f"code refers to {space} {old}, which does not exist: the module has {len(new)}")
        return new[old]

    def code(self, data: bytes, start: int, end: int) -> bytes:
        """The instructions `data[start:end]`, renumbered; raises MalformedModuleError where they are none."""
        pieces: list[bytes] = []
        kept = start
        for offset, encoding in instructions.find_encodings(data, start, end, self._names):
            moved = self._instruction(encoding)
            if moved != encoding:
                pieces += data[kept:offset], moved
                kept = offset + len(encoding)
        return b"".join([*pieces, data[kept:end]])

    def expression(self, expression: Expression) -> Expression:
        """A constant expression, renumbered."""
        if self.is_identity:
            return expression
        return Expression(self.code(expression.encoding, 0, len(expression.encoding)))

    def _instruction(self, encoding: bytes) -> bytes:
        if encoding not in self._known:
            self._known[encoding] = self._rewritten(encoding)
        return self._known[encoding]

    def _rewritten(self, encoding: bytes) -> bytes:
        is_call = encoding[:1] in _CALL_OPCODES
        pieces: list[bytes] = []
        kept = 0
        for span in instructions.spans(encoding):
            value = self._calls.get(span.value, span.value) if is_call else span.value
            moved = span.kind.move(value, self.index) if span.kind.space else value
            if moved != span.value:
                pieces += encoding[kept : span.start], _written(span, moved)
                kept = span.end
        return b"".join([*pieces, encoding[kept:]])


def _written(span: ImmediateSpan, value: object) -> bytes:
    return encode_unsigned(value, span.end - span.start) if isinstance(value, int) else span.kind.write(value)
