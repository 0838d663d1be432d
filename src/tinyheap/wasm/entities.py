"""What a module is made of, once read: types, imports, functions, memories, globals, segments.

Everything that lives in an index space (functions, tables, memories, globals, tags) is either imported or
defined here; the imported ones come first.  All offsets are those of the module's file, in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tinyheap.wasm import instructions
from tinyheap.wasm.assembler import Code
from tinyheap.wasm.immediates import ValueType
from tinyheap.wasm.instructions import Instruction


@dataclass(frozen=True, slots=True)
class FunctionType:
    """What a function takes and leaves."""

    parameters: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"


@dataclass(frozen=True, slots=True)
class Limits:
    """A size at the start and at most (None: unlimited): pages of 64 KiB of a memory, entries of a table."""

    minimum: int
    maximum: int | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class TableType:
    """What a table holds, and its size in entries."""

    element: ValueType
    limits: Limits


@dataclass(frozen=True, slots=True)
class MemoryType:
    """A memory's size in pages of 64 KiB."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global's type, and whether it may change."""

    value: ValueType
    mutable: bool


@dataclass(frozen=True, slots=True)
class TagType:
    """What an exception carries: the parameters of a function type."""

    type_index: int


@dataclass(frozen=True, slots=True)
class FunctionReference:
    """The type of an imported function, by index."""

    type_index: int


ImportType = FunctionReference | TableType | MemoryType | GlobalType | TagType

KINDS: dict[type[ImportType], str] = {
    FunctionReference: "function",
    TableType: "table",
    MemoryType: "memory",
    GlobalType: "global",
    TagType: "tag",
}
"""The index space that each type of import belongs to."""


@dataclass(frozen=True, slots=True)
class Import:
    """Something that a host provides: two names and a type."""

    module: str
    name: str
    type: ImportType

    @property
    def kind(self) -> str:
        """The index space: ``function table memory global tag``."""
        return KINDS[type(self.type)]


@dataclass(frozen=True, slots=True)
class Export:
    """Something that a host may use: a name, the index space (as `Import.kind`) and the index."""

    name: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Expression:
    """A constant expression, with its closing `end`."""

    encoding: bytes

    def instructions(self) -> Iterator[Instruction]:
        """The instructions, the closing `end` included."""
        return (instruction for _, instruction in instructions.walk(self.encoding, 0, len(self.encoding)))

    @property
    def constant(self) -> int | float | None:
        """The value, if the expression is one number; else None."""
        first, *rest = self.instructions()
        return first.immediates[0] if len(rest) == 1 and first.name.endswith(".const") else None


@dataclass(frozen=True, slots=True)
class Body:
    """The code of a defined function: `data[start:end]`, of which the instructions begin at `code_start`."""

    data: bytes = field(repr=False)
    start: int
    code_start: int
    end: int
    locals: tuple[tuple[int, ValueType], ...]
    """The declared locals as (count, type), beside the parameters."""

    @property
    def encoding(self) -> bytes:
        """The body's bytes: locals and instructions, without the length in front."""
        return self.data[self.start : self.end]

    @property
    def local_count(self) -> int:
        """How many locals there are beside the parameters."""
        return sum(count for count, _ in self.locals)

    def instructions(self) -> Iterator[tuple[int, Instruction]]:
        """Every instruction with its offset in the file, the closing `end` included."""
        return instructions.walk(self.data, self.code_start, self.end)

    def find_code(self, code: Code) -> list[int]:
        """The offset of each place where just these instructions stand, spelled as the assembler does."""
        places, place = [], self.data.find(code.encoding, self.code_start, self.end)
        while place >= 0:
            places.append(place)
            place = self.data.find(code.encoding, place + 1, self.end)
        starts = {offset for offset, _ in self.instructions()} if places else ()
        return [place for place in places if place in starts]

    def check(self) -> None:
        """Raise MalformedModuleError unless the code is whole instructions, the last of them `end`."""
        instructions.check(self.data, self.code_start, self.end - 1)

    def find(self, *names: str) -> Iterator[tuple[int, Instruction]]:
        """As `instructions`, only those called `names`, and much faster."""
        return instructions.find(self.data, self.code_start, self.end, names)


@dataclass(frozen=True, slots=True)
class Function:
    """A function: exactly one of `imported` and `body` is there."""

    index: int
    type_index: int
    imported: Import | None = None
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `initial` is what its entries hold, where the module says so."""

    type: TableType
    imported: Import | None = None
    initial: Expression | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """A linear memory."""

    type: MemoryType
    imported: Import | None = None


@dataclass(frozen=True, slots=True)
class Global:
    """A global; `initial` is there unless it is imported."""

    type: GlobalType
    imported: Import | None = None
    initial: Expression | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """An exception's tag."""

    type: TagType
    imported: Import | None = None


Entity = Function | Table | Memory | Global | Tag


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """References for tables.  `mode`: active (they go to `table` at `offset`), passive or declarative."""

    mode: str
    type: ValueType
    functions: tuple[int, ...] | None
    """Function indices, where the segment is spelled with indices; else None."""
    expressions: tuple[Expression, ...] | None
    """Constant expressions, where the segment is spelled with these; else None."""
    table: int = 0
    offset: Expression | None = None
    typed: bool = False
    """Whether the spelling names table and type though the short form would do."""


@dataclass(frozen=True, slots=True)
class DataSegment:
    """Bytes for `memory`: active ones, at `offset`, when the module starts; passive ones by `memory.init`."""

    data: bytes = field(repr=False)
    memory: int = 0
    offset: Expression | None = None
    numbered: bool = False
    """Whether the spelling names the memory though it is 0."""
