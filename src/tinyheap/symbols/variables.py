"""Variables of a module that have an address of their own, as its DWARF tells: names, addresses and sizes.

Of a variable's entry three things matter: its name, its place, which for these is one address, and its type, of which only
the size does.  Types refer to each other, and are followed as far as that leads to a size; where it does not (a loop, an array
without an end) the variable is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from tinyheap.symbols.dwarf import RELATIVE, Unit, Values, uleb
from tinyheap.symbols.places import Variable

if TYPE_CHECKING:
    from tinyheap.symbols.dwarf import Dwarf

_VARIABLE: Final = "DW_TAG_variable"
_ARRAY: Final = "DW_TAG_array_type"
_BOUNDS: Final = "DW_TAG_subrange_type"
_POINTERS: Final = ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
_TYPES: Final = (
    *("DW_TAG_base_type", "DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type", "DW_TAG_enumeration_type"),
    *("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_atomic_type", "DW_TAG_restrict_type"),
    *(_ARRAY, *_POINTERS),
)
_TAGS: Final = frozenset({_VARIABLE, _BOUNDS, *_TYPES})
_POINTER_BYTES: Final = 4
_LONGEST_TYPE: Final = 64
"""Steps from a variable to the size of its type, at most."""
_MOST_BYTES: Final = 1 << 32
_PIECE, _CONSTANT = 0x93, 0x10
_COMPUTING: Final = {0x94: 1, 0x1E: 0, 0x22: 0, 0x9F: 0, **dict.fromkeys(range(0x30, 0x50), 0)}
"""Operations by which parts are computed, with the bytes of what follows: a load, a product, a sum, constants."""
_ADDRESS, _ADDRESS_BY_NUMBER = 0x03, 0xA1
"""Operations of a place that is one address: itself, or its number in a table."""


class _Type(NamedTuple):
    """A type, and the numbers of elements along each of its dimensions."""

    tag: str
    unit: Unit
    values: Values
    counts: list[int | None]


def variables(dwarf: Dwarf) -> list[Variable]:
    """The variables that have a name, an address and a size, the largest first; each address once.

    Raises:
        Exception: Of many kinds, where this is no debug information.
    """
    types: dict[int, _Type] = {}
    found: list[tuple[Unit, int, int, Values]] = []
    for unit in dwarf.units():
        found += _read(unit, types)
    by_address: dict[int, Variable] = {}
    for unit, offset, address, values in found:
        size_bytes, name = _size(_referred(unit, values), types), dwarf.name(offset)
        if size_bytes and name and 0 < address < address + size_bytes <= _MOST_BYTES:
            each = Variable(name, address, size_bytes)
            by_address[address] = max(by_address.get(address, each), each, key=lambda known: known.size_bytes)
    return sorted(by_address.values(), key=lambda each: (-each.size_bytes, each.address))


def scattered(dwarf: Dwarf) -> tuple[list[Variable], list[str]]:
    """The variables of packages that are not in one place any more: their parts in memory, and the names of those without.

    A part that does not begin its variable is named by its offset, such as ``main.link+8``.

    Raises:
        Exception: Of many kinds, where this is no debug information.
    """
    parts: list[Variable] = []
    unplaced = set()
    for unit in dwarf.units():
        for _, offset, _, values in unit.entries(frozenset({_VARIABLE})):
            if "DW_AT_external" in values:
                unit.keep_name(offset, values)
                name, (_, place) = dwarf.name(offset) or "", values.get("DW_AT_location", ("", None))
                if isinstance(place, bytes):
                    parts += _parts(name, place)
                elif name:
                    unplaced.add(name)
    return parts, sorted(unplaced)


def _parts(name: str, place: bytes) -> Iterator[Variable]:
    """The parts of a variable that lie in memory as they are; none of one that is in one place.

    A place in parts is ``[how to find it] piece SIZE`` again and again; a part that is computed says more than an address.
    """
    at, offset, address, is_plain = 0, 0, 0, False
    while at < len(place):
        operation = place[at]
        if operation == _ADDRESS:
            address, is_plain = int.from_bytes(place[at + 1 : at + 1 + _POINTER_BYTES], "little"), True
            at += 1 + _POINTER_BYTES
        elif operation == _PIECE:
            size_bytes, at = uleb(place, at + 1)
            if is_plain and 0 < address < address + size_bytes <= _MOST_BYTES:
                yield Variable(f"{name}+{offset}" if offset else name, address, size_bytes)
            offset, is_plain = offset + size_bytes, False
        elif operation in _COMPUTING:
            at, is_plain = at + 1 + _COMPUTING[operation], False
        elif operation == _CONSTANT:
            _, at = uleb(place, at + 1)
        else:
            return


def _read(unit: Unit, types: dict[int, _Type]) -> Iterator[tuple[Unit, int, int, Values]]:
    """The variables of a unit that have an address; its types go to ``types``."""
    for tag, offset, around, values in unit.entries(_TAGS):
        if tag == _BOUNDS:
            if around in types:
                types[around].counts.append(_count(values))
        elif tag != _VARIABLE:
            types[offset] = _Type(tag, unit, values, [])
        else:
            unit.keep_name(offset, values)
            address = _address(unit, values)
            if address is not None:
                yield unit, offset, address, values


def _address(unit: Unit, values: Values) -> int | None:
    """The address that is all of a variable's place."""
    _, place = values.get("DW_AT_location", ("", b""))
    if not isinstance(place, bytes) or not place:
        return None
    if place[0] == _ADDRESS and len(place) == 1 + _POINTER_BYTES:
        return int.from_bytes(place[1:], "little")
    if place[0] == _ADDRESS_BY_NUMBER:
        number, end = uleb(place, 1)
        return unit.address("DW_FORM_addrx", number) if end == len(place) else None
    return None


def _count(values: Values) -> int | None:
    """How many elements there are along a dimension; None where that is not said."""
    for name, more in (("DW_AT_count", 0), ("DW_AT_upper_bound", 1)):
        _, value = values.get(name, ("", b""))
        if isinstance(value, int) and name in values:
            return value + more
    return None


def _referred(unit: Unit, values: Values) -> int | None:
    """The offset of the type that an entry has; None where it has none."""
    form, value = values.get("DW_AT_type", ("", b""))
    if not isinstance(value, int):
        return None
    return value + (unit.start if form in RELATIVE else 0)


def _size(offset: int | None, types: dict[int, _Type]) -> int | None:
    """The bytes of a type; None where they are not known."""
    elements = 1
    for _ in range(_LONGEST_TYPE):
        found = None if offset is None else types.get(offset)
        if found is None:
            return None
        _, size_bytes = found.values.get("DW_AT_byte_size", ("", b""))
        if isinstance(size_bytes, int):
            return elements * size_bytes
        if found.tag in _POINTERS:
            return elements * _POINTER_BYTES
        for count in found.counts if found.tag == _ARRAY else ():
            if count is None:
                return None
            elements = min(elements * count, _MOST_BYTES)
        offset = _referred(found.unit, found.values)
    return None
