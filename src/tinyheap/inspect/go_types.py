"""How TinyGo lays out what Go has and debug information does not: where the pointers in a type are, and what they point to.

For debug information a string, a slice, an interface and a function are records like others, a map is a pointer to
`runtime.hashmap`, and what that consists of is bytes.  Here it is known that

- a slice's array has room for ``cap`` elements, and a string's for ``len`` bytes;
- an interface's value is a pointer if it does not fit into a word, and to what its type code says, which is the address of
  a variable that is named after the type;
- a map's buckets hold eight keys and eight values each: first eight bytes of hashes, 0 where the place is empty, then a pointer
  to a further bucket, then the keys, and then the values.

A *reference* of a type is a word of it that may point to something.  Source: TinyGo, src/runtime (hashmap.go, chan.go,
interface.go) and compiler/compiler.go (createDIType), releases 0.34 to 0.42.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple

from tinyheap.inspect.heap_memory import WORD_BYTES
from tinyheap.symbols.types import Field, Kind, Type, Types

BUCKET_ENTRIES: Final = 8
TYPE_VARIABLE: Final = "type "
"""How the names of variables begin that describe types; what follows is a type's name."""

_MAP: Final = "runtime.hashmap"
_BUCKET: Final = "runtime.hashmapBucket"
_CHANNEL: Final = "runtime.channel"
_HASH_BYTES: Final = 8
_MOST_REFERENCES: Final = 4096
"""In one type; what is behind them in a type with more is not followed."""
_DEEPEST: Final = 64
_CANARY: Final = "canaryPtr"
"""The field of a goroutine that points to where its stack begins."""
_WAITING: Final = ("senders", "receivers")
"""The fields of a channel in which goroutines wait."""


class Shape(Enum):
    """What Go knows a type as, where that is more than its debug information says."""

    PLAIN = auto()
    STRING = auto()
    SLICE = auto()
    INTERFACE = auto()
    FUNCTION = auto()
    MAP = auto()
    """What a map's pointer points to."""
    BUCKET = auto()
    CHANNEL = auto()
    """What a channel's pointer points to."""
    STACK = auto()
    """A pointer into the stack of a goroutine."""


class Reference(NamedTuple):
    """A word that may point to something."""

    offset_bytes: int
    """Where the value begins that it is part of."""
    shape: Shape
    target: int
    """The number of the type that it points to; -1 where only the value can tell."""


_FIELDS: Final = {
    ("typecode", "value"): Shape.INTERFACE,
    ("context", "fn"): Shape.FUNCTION,
}
"""Of records that have no name of their own, or another one."""


class GoTypes:
    """The types of a module, and those that its runtime makes of bytes.

    Args:
        types: As the debug information tells.
    """

    def __init__(self, types: Types) -> None:
        self.table = list(types.types)
        self.numbers = dict(types.numbers)
        self.described = {
            each.address: each.name.removeprefix(TYPE_VARIABLE)
            for each in types.variables
            if each.name.startswith(TYPE_VARIABLE)
        }
        """Names of types by the type codes that interfaces have."""
        self._references: dict[int, tuple[Reference, ...]] = {}
        self._shapes: dict[int, Shape] = {}
        self._made: dict[str, int] = {}

    def __getitem__(self, number: int) -> Type:
        return self.table[number]

    def shape(self, number: int) -> Shape:
        """What Go knows a type as."""
        if number not in self._shapes:
            self._shapes[number] = self._shape_of(self.table[number])
        return self._shapes[number]

    def _shape_of(self, each: Type) -> Shape:
        if each.kind is not Kind.RECORD:
            return Shape.PLAIN
        fields = tuple(field.name for field in each.fields)
        if fields in _FIELDS:
            return _FIELDS[fields]
        if fields[:2] == ("ptr", "len"):
            return Shape.SLICE if fields[2:] == ("cap",) else Shape.STRING
        if each.name == _MAP and each.field("buckets"):
            return Shape.MAP
        return Shape.CHANNEL if each.name == _CHANNEL and each.field("buf") else Shape.PLAIN

    def references(self, number: int, _deepest: int = _DEEPEST) -> tuple[Reference, ...]:
        """All words of a type that may point to something, in their order."""
        found = self._references.get(number)
        if found is None:
            self._references[number] = ()  # a type that contains itself, which none can, has none there
            found = tuple(self._found(self.table[number], self.shape(number), _deepest)[:_MOST_REFERENCES])
            self._references[number] = found
        return found

    def _found(self, each: Type, shape: Shape, deepest: int) -> list[Reference]:
        if shape is not Shape.PLAIN:
            own = [Reference(0, shape, self._target(each, shape))]
            return own + (self._within(each, _WAITING, deepest) if shape is Shape.CHANNEL else [])
        if each.kind is Kind.POINTER:
            return [Reference(0, shape, each.element)]
        if each.kind is Kind.RECORD:
            found = self._within(each, None, deepest)
            canary = each.field(_CANARY)
            return found if canary is None else [_of_stack(at, canary.offset_bytes) for at in found]
        if each.kind is not Kind.ARRAY or each.element < 0 or not deepest:
            return []
        step, inner = self.table[each.element].size_bytes, self.references(each.element, deepest - 1)
        times = range(min(each.count, _MOST_REFERENCES) if inner else 0)
        return [at._replace(offset_bytes=at.offset_bytes + index * step) for index in times for at in inner]

    def _within(self, record: Type, names: tuple[str, ...] | None, deepest: int) -> list[Reference]:
        """Those of a record's fields."""
        return [
            at._replace(offset_bytes=at.offset_bytes + field.offset_bytes)
            for field in record.fields
            if deepest and (names is None or field.name in names)
            for at in self.references(field.type, deepest - 1)
        ]

    def _target(self, each: Type, shape: Shape) -> int:
        if shape in (Shape.STRING, Shape.SLICE):
            return self.table[each.fields[0].type].element
        return -1

    def made(self, kind: Kind, name: str, size_bytes: int, element: int = -1, count: int = 0) -> int:
        """The number of a type that debug information does not have."""
        return self._add(Type(kind, name, size_bytes, element, count))

    def array(self, element: int, count: int) -> int:
        """The number of an array's type."""
        name, size_bytes = self.table[element].name, self.table[element].size_bytes
        return self.made(Kind.ARRAY, f"[{count}]{name}", size_bytes * count, element, count)

    def bucket(self, key: int, value: int) -> int:
        """The number of the type of a map's buckets, by what its places for keys and values hold."""
        header = self.bucket_header_bytes
        keys, values = self.array(key, BUCKET_ENTRIES), self.array(value, BUCKET_ENTRIES)
        values_at = header + self.table[keys].size_bytes
        name = f"map[{self.table[key].name}]{self.table[value].name} bucket"
        number, pointer = self._made.get(name), self.made(Kind.POINTER, f"*{name}", WORD_BYTES)
        if number is not None:
            return number
        hashes = self.array(self.made(Kind.UNSIGNED, "uint8", 1), _HASH_BYTES)
        fields = (
            Field("tophash", 0, hashes),
            Field("next", _HASH_BYTES, pointer),
            Field("keys", header, keys),
            Field("values", values_at, values),
        )
        made = Type(Kind.RECORD, name, values_at + self.table[values].size_bytes, fields=fields)
        number = self._add(made)
        self.table[pointer] = Type(Kind.POINTER, f"*{name}", WORD_BYTES, number)
        self._shapes[number] = Shape.BUCKET
        self._references[number] = tuple(self._within(made, None, _DEEPEST))
        return number

    @property
    def bucket_header_bytes(self) -> int:
        """What a bucket begins with, before its keys; they are aligned to eight bytes since maps know sizes of places."""
        number, of_map = self.numbers.get(_BUCKET), self.numbers.get(_MAP)
        header = _HASH_BYTES + WORD_BYTES if number is None else self.table[number].size_bytes
        aligned = of_map is not None and self.table[of_map].field("keySlotSize") is not None
        return header + -header % 8 if aligned else header

    def _add(self, made: Type) -> int:
        number = self._made.get(made.name)
        if number is None:
            number = self._made[made.name] = len(self.table)
            self.table.append(made)
        return number


def _of_stack(reference: Reference, canary: int) -> Reference:
    return reference._replace(shape=Shape.STACK) if reference.offset_bytes == canary else reference
