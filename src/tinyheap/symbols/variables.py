"""Variables of a module that have an address of their own, and all types, as its DWARF tells.

Types refer to each other.  Each is numbered when it is first met, and described once, one after the other, so that it does
not matter how they do: `types.Types` is what becomes of it.  Where a type leads nowhere (a loop of names, an array without
an end) it is unknown, and a variable of it is left out, since its size is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tinyheap.symbols.forms import ADDRESS_BYTES, RELATIVE, Values, uleb
from tinyheap.symbols.types import Kind

if TYPE_CHECKING:
    from tinyheap.symbols.dwarf import Dwarf, Unit

_VARIABLE: Final = "DW_TAG_variable"
_ARRAY: Final = "DW_TAG_array_type"
_BOUNDS: Final = "DW_TAG_subrange_type"
_MEMBER: Final = "DW_TAG_member"
_BASE: Final = "DW_TAG_base_type"
_ENUMERATION: Final = "DW_TAG_enumeration_type"
_POINTERS: Final = ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
_RECORDS: Final = ("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type")
_NAMED: Final = "DW_TAG_typedef"
_QUALIFIERS: Final = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_atomic_type", "DW_TAG_restrict_type")
_TAGS: Final = frozenset(
    {_VARIABLE, _BOUNDS, _MEMBER, _BASE, _ENUMERATION, _ARRAY, _NAMED, *_POINTERS, *_RECORDS, *_QUALIFIERS}
)
_ENCODINGS: Final = {
    0x02: Kind.BOOL, 0x03: Kind.COMPLEX, 0x04: Kind.FLOAT, 0x05: Kind.SIGNED, 0x06: Kind.SIGNED,
    0x07: Kind.UNSIGNED, 0x08: Kind.UNSIGNED, 0x10: Kind.UNSIGNED,
}  # fmt: skip
"""DW_ATE_*: how the bits of a base type are to be read."""
_LONGEST_TYPE: Final = 64
"""Steps from a type to the one that it is another name of, and from an array to its innermost element, at most."""
_MOST_BYTES: Final = 1 << 32
_ADDRESS, _ADDRESS_BY_NUMBER, _PIECE, _PLUS, _CONSTANT = 0x03, 0xA1, 0x93, 0x23, 0x10
"""Operations of a place: an address, or its number in a table; the bytes of what lies there; a field's offset; a number."""
_COMPUTING: Final = {0x94: 1, 0x1E: 0, 0x22: 0, 0x9F: 0, **dict.fromkeys(range(0x30, 0x50), 0)}
"""Operations by which parts are computed, with the bytes of what follows: a load, a product, a sum, constants."""
_SHOWN_FIELDS: Final = 3
"""Of a record without a name, in the name that it gets."""


class _Entry(NamedTuple):
    """A type's entry, with what is within it."""

    tag: str
    unit: Unit
    values: Values
    counts: list[int | None]
    """The numbers of elements along each of its dimensions."""
    members: list[tuple[Unit, Values]]


class _Piece(NamedTuple):
    """A part of a variable that lies in memory."""

    offset: int
    """Where it begins in the variable."""
    address: int
    size_bytes: int
    """0 for all that there is."""


class _Asked(NamedTuple):
    """A type that gets a number."""

    offset: int | None
    """Of its entry; None for none."""
    name: str = ""
    """By which it is called; its own where that is empty."""
    dimension: int = 0
    """How many dimensions of an array are gone already."""


def variables(dwarf: Dwarf) -> dict[str, list[list[Any]]]:
    """All types that have a name or are reached from those or from variables, and the variables with an address and a size.

    Returns:
        ``types``, for each its kind, name, size in bytes, element, count, and fields (name, offset, type);
        ``variables``, for each its name, address, size in bytes and type, the largest first and each address once;
        ``parts`` of variables that are not in one place any more, for each the variable's name and type, and the part's offset
        in it, address and size in bytes; and ``unplaced``, name and type of the global variables that lie nowhere.

    Raises:
        Exception: Of many kinds, where this is no debug information.
    """
    reader = _Reader(dwarf)
    found = [each for unit in dwarf.units() for each in reader.read(unit)]
    by_address: dict[int, list[Any]] = {}
    parts, unplaced = [], dict[str, int]()
    for unit, offset, pieces, values in found:
        number, name = reader.number(_referred(unit, values)), dwarf.name(offset)
        size_bytes, address = reader.size(number), _together(pieces)
        whole_bytes = sum(each.size_bytes for each in pieces) or size_bytes
        if address is not None and size_bytes == whole_bytes:
            if size_bytes and name and 0 < address < address + size_bytes <= _MOST_BYTES:
                each = [name, address, size_bytes, number]
                by_address[address] = max(by_address.get(address, each), each, key=lambda known: known[2])
        elif name and pieces:
            parts += [[name, number, *piece] for piece in pieces if piece.address + piece.size_bytes <= _MOST_BYTES]
        elif name:
            unplaced.setdefault(name, number)
    reader.number_all()
    return {
        "types": reader.described(),
        "variables": sorted(by_address.values(), key=lambda each: (-each[2], each[1])),
        "parts": parts,
        "unplaced": [[name, number] for name, number in unplaced.items()],
    }


class _Reader:
    """Numbers types, and describes them."""

    def __init__(self, dwarf: Dwarf) -> None:
        self.dwarf = dwarf
        self.entries: dict[int, _Entry] = {}
        self.numbers: dict[_Asked, int] = {}
        self.asked: list[_Asked] = []

    def read(self, unit: Unit) -> Iterator[tuple[Unit, int, list[_Piece], Values]]:
        """The variables of a unit that lie in memory, or are global at least, with their pieces; its types are kept."""
        for tag, offset, around, values in unit.entries(_TAGS):
            if tag == _VARIABLE:
                unit.keep_name(offset, values)
                _, place = values.get("DW_AT_location", ("", b""))
                pieces = _pieces(unit, place) if isinstance(place, bytes) else []
                if pieces or "DW_AT_external" in values:
                    yield unit, offset, pieces, values
            elif tag == _MEMBER:
                if around in self.entries:
                    self.entries[around].members.append((unit, values))
            elif tag == _BOUNDS:
                if around in self.entries:
                    self.entries[around].counts.append(_count(values))
            else:
                self.entries[offset] = _Entry(tag, unit, values, [], [])

    def number_all(self) -> None:
        """Number all types that have a name."""
        for offset, entry in self.entries.items():
            if "DW_AT_name" in entry.values:
                self.number(offset)

    def number(self, offset: int | None, name: str = "", dimension: int = 0) -> int:
        """The number of the type whose entry is there."""
        return self._number(self._resolved(offset, name, dimension))

    def _number(self, asked: _Asked) -> int:
        number = self.numbers.setdefault(asked, len(self.numbers))
        if number == len(self.asked):
            self.asked.append(asked)
        return number

    def _resolved(self, offset: int | None, name: str, dimension: int) -> _Asked:
        """A type under the first name that it is given, on the way to what it is."""
        for _ in range(_LONGEST_TYPE):
            entry = None if offset is None else self.entries.get(offset)
            if entry is None:
                return _Asked(None, name)
            if entry.tag != _NAMED and entry.tag not in _QUALIFIERS:
                return _Asked(offset, name, dimension)
            name = name or self._own_name(entry)
            offset = _referred(entry.unit, entry.values)
        return _Asked(None, name)

    def described(self) -> list[list[Any]]:
        """All types that have a number, and all that they refer to, which get theirs here."""
        found, number = [], 0
        while number < len(self.asked):
            found.append(self._described(number))
            number += 1
        for number, each in enumerate(found):
            each[1] = self.name(number)
        return found

    def _described(self, number: int) -> list[Any]:
        asked = self.asked[number]
        entry = None if asked.offset is None else self.entries[asked.offset]
        size_bytes = self.size(number) or 0
        if entry is None:
            return [Kind.UNKNOWN, "", 0, -1, 0, []]
        if entry.tag in _RECORDS:
            fields = [self._field(unit, values) for unit, values in entry.members]
            return [Kind.RECORD, "", size_bytes, -1, 0, [each for each in fields if each[1] <= size_bytes]]
        if entry.tag in _POINTERS:
            return [Kind.POINTER, "", size_bytes, self._element(number), 0, []]
        if entry.tag == _ARRAY:
            return [Kind.ARRAY, "", size_bytes, self._element(number), self._elements(number) or 0, []]
        if entry.tag == _ENUMERATION:
            return [Kind.UNSIGNED, "", size_bytes, -1, 0, []]
        return [_ENCODINGS.get(_integer(entry.values, "DW_AT_encoding") or 0, Kind.UNKNOWN), "", size_bytes, -1, 0, []]

    def _field(self, unit: Unit, values: Values) -> list[Any]:
        name = unit.text(*values["DW_AT_name"]) if "DW_AT_name" in values else ""
        return [name, _offset(values), self.number(_referred(unit, values))]

    def _element(self, number: int) -> int:
        """The number of what a type consists of, or points to; -1 for nothing that is known."""
        offset, _, dimension = self.asked[number]
        entry = self.entries[offset or 0]
        if entry.tag == _ARRAY and dimension + 1 < len(entry.counts):
            return self._number(_Asked(offset, "", dimension + 1))
        referred = _referred(entry.unit, entry.values)
        return -1 if referred is None else self.number(referred)

    def _elements(self, number: int) -> int | None:
        """How many elements an array has."""
        offset, _, dimension = self.asked[number]
        counts = self.entries[offset or 0].counts
        return counts[dimension] if dimension < len(counts) else None

    def size(self, number: int) -> int | None:
        """The bytes of a type; None where they are not known."""
        chain, elements = [number], 1
        for _ in range(_LONGEST_TYPE):
            offset = self.asked[chain[-1]].offset
            if offset is None:
                return None
            entry = self.entries[offset]
            size_bytes = _integer(entry.values, "DW_AT_byte_size")
            if size_bytes is None and entry.tag in _POINTERS:
                size_bytes = ADDRESS_BYTES
            if size_bytes is not None and not self.asked[chain[-1]].dimension:
                return min(elements * size_bytes, _MOST_BYTES)
            count = self._elements(chain[-1]) if entry.tag == _ARRAY else None
            if count is None:
                return None
            elements = min(elements * count, _MOST_BYTES)
            chain.append(self._element(chain[-1]))
            if chain[-1] < 0:
                return None
        return None

    def name(self, number: int) -> str:
        """A type's name: that which it is given, its own, or one that is made of its parts."""
        before: list[str] = []
        for _ in range(_LONGEST_TYPE):
            offset, name, _ = self.asked[number]
            entry = None if offset is None else self.entries[offset]
            name = name or (self._own_name(entry) if entry else "")
            if name or entry is None or (entry.tag not in _POINTERS and entry.tag != _ARRAY):
                return "".join(before) + (name or self._made_name(entry))
            before.append("*" if entry.tag in _POINTERS else f"[{self._elements(number) or ''}]")
            number = self._element(number)
            if number < 0:
                return "".join(before[:-1]) + "unsafe.Pointer" if entry.tag in _POINTERS else "".join(before) + "?"
        return "".join(before) + "?"

    def _own_name(self, entry: _Entry) -> str:
        return entry.unit.text(*entry.values["DW_AT_name"]) if "DW_AT_name" in entry.values else ""

    def _made_name(self, entry: _Entry | None) -> str:
        if entry is None:
            return "?"
        names = [self._field(unit, values)[0] for unit, values in entry.members[: _SHOWN_FIELDS + 1]]
        if names == ["context", "fn"]:  # how TinyGo describes a value that is a function
            return "func"
        return "struct{" + ", ".join(names[:_SHOWN_FIELDS]) + (", ..." if len(names) > _SHOWN_FIELDS else "") + "}"


def _pieces(unit: Unit, place: bytes) -> list[_Piece]:
    """Where a variable lies in memory: one piece of no size for a place that is one address, else each part that is there.

    A place in parts is ``[how to find it] piece SIZE`` again and again; a part that is computed lies nowhere.
    """
    found: list[_Piece] = []
    at = offset = 0
    address: int | None = None
    while at < len(place):
        operation = place[at]
        if operation == _PIECE:
            size_bytes, at = uleb(place, at + 1)
            if address is not None and size_bytes:
                found.append(_Piece(offset, address, size_bytes))
            offset, address = offset + size_bytes, None
        elif operation == _ADDRESS and at + ADDRESS_BYTES < len(place):
            at += 1 + ADDRESS_BYTES
            address = int.from_bytes(place[at - ADDRESS_BYTES : at], "little")
        elif operation == _ADDRESS_BY_NUMBER:
            number, at = uleb(place, at + 1)
            address = unit.address("DW_FORM_addrx", number)
        elif operation in _COMPUTING:
            address, at = None, at + 1 + _COMPUTING[operation]
        elif operation == _CONSTANT:
            address, (_, at) = None, uleb(place, at + 1)
        else:
            return []
    return [*found, *([] if address is None else [_Piece(offset, address, 0)])]


def _together(pieces: list[_Piece]) -> int | None:
    """The address that all of a variable is at, be it in pieces that follow each other; None where it is not in one place."""
    following = all(
        (after.offset, after.address) == (before.offset + before.size_bytes, before.address + before.size_bytes)
        for before, after in pairwise(pieces)
    )
    return pieces[0].address if pieces and pieces[0].offset == 0 and following else None


def _offset(values: Values) -> int:
    """Where a field begins in its record, in bytes."""
    _, place = values.get("DW_AT_data_member_location", ("", 0))
    if isinstance(place, bytes):
        return uleb(place, 1)[0] if len(place) > 1 and place[0] == _PLUS else 0
    return place


def _count(values: Values) -> int | None:
    """How many elements there are along a dimension; None where that is not said."""
    for name, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
        value = _integer(values, name)
        if value is not None:
            return value + more
    return None


def _integer(values: Values, name: str) -> int | None:
    """An attribute that is a number; None where it is none, or is not there."""
    _, value = values.get(name, ("", b""))
    return value if isinstance(value, int) else None


def _referred(unit: Unit, values: Values) -> int | None:
    """The offset of the type that an entry has; None where it has none."""
    form, value = values.get("DW_AT_type", ("", b""))
    if not isinstance(value, int):
        return None
    return value + (unit.start if form in RELATIVE else 0)
