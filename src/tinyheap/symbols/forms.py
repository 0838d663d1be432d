"""Entries of DWARF as they are encoded: attributes, each in a form, in the order that an abbreviation gives.

There are hundreds of thousands of them, so what an abbreviation says is made a *plan* once, by which an entry is read, or
gone past, without an object for each.  Source: DWARF Debugging Information Format, Version 5, 7.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

ADDRESS_BYTES: Final = 4
"""Of WebAssembly's addresses."""
_FIXED: Final = {
    "DW_FORM_flag_present": 0, "DW_FORM_implicit_const": 0,
    "DW_FORM_data1": 1, "DW_FORM_ref1": 1, "DW_FORM_flag": 1, "DW_FORM_strx1": 1, "DW_FORM_addrx1": 1,
    "DW_FORM_data2": 2, "DW_FORM_ref2": 2, "DW_FORM_strx2": 2, "DW_FORM_addrx2": 2,
    "DW_FORM_strx3": 3, "DW_FORM_addrx3": 3,
    "DW_FORM_data4": 4, "DW_FORM_ref4": 4, "DW_FORM_strx4": 4, "DW_FORM_addrx4": 4, "DW_FORM_addr": ADDRESS_BYTES,
    "DW_FORM_ref_sup4": 4,
    "DW_FORM_data8": 8, "DW_FORM_ref8": 8, "DW_FORM_ref_sig8": 8, "DW_FORM_ref_sup8": 8,
    "DW_FORM_data16": 16,
}  # fmt: skip
"""Bytes of the forms that always take so many."""
_OFFSETS: Final = frozenset(
    {"DW_FORM_strp", "DW_FORM_line_strp", "DW_FORM_sec_offset", "DW_FORM_ref_addr", "DW_FORM_strp_sup"}
)
"""Forms that take four bytes, or eight in a unit of 64-bit DWARF."""
_ULEB: Final = frozenset(
    {"DW_FORM_udata", "DW_FORM_sdata", "DW_FORM_ref_udata", "DW_FORM_strx", "DW_FORM_addrx"}
    | {"DW_FORM_rnglistx", "DW_FORM_loclistx"}
)
_BLOCKS: Final = {"DW_FORM_block1": 1, "DW_FORM_block2": 2, "DW_FORM_block4": 4}
_COUNTED: Final = frozenset({"DW_FORM_block", "DW_FORM_exprloc"})
RELATIVE: Final = frozenset({"DW_FORM_ref1", "DW_FORM_ref2", "DW_FORM_ref4", "DW_FORM_ref8", "DW_FORM_ref_udata"})
"""References that count from their unit's beginning."""

Values = dict[str, tuple[str, int | bytes]]
"""Attributes of an entry, each with its form and its value."""


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and what is behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 70:
            raise ValueError(f"a number at {at:#x} is longer than 64 bits")


class Spec(NamedTuple):
    """An attribute of all entries of an abbreviation."""

    name: str
    form: str
    size_bytes: int | None
    """Of its value; None where that depends on the value."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How an entry of one abbreviation is read."""

    tag: str
    has_children: bool
    specs: tuple[Spec, ...]
    fixed_bytes: int | None
    """What all of it takes, where that is always the same."""

    @staticmethod
    def of(tag: str, attributes: Sequence[tuple[str, str]], offset_bytes: int, *, has_children: bool) -> Plan:
        """The plan of an abbreviation.

        Args:
            tag: Of its entries.
            attributes: Their names and forms.
            offset_bytes: What an offset into a section takes in this unit: 4 or 8.
            has_children: Whether further entries lie within its entries.
        """
        specs = tuple(
            Spec(name, form, offset_bytes if form in _OFFSETS else _FIXED.get(form)) for name, form in attributes
        )
        sizes = [each.size_bytes for each in specs if each.size_bytes is not None]
        return Plan(tag, has_children, specs, sum(sizes) if len(sizes) == len(specs) else None)

    def behind(self, data: bytes, at: int) -> int:
        """What is behind an entry of which nothing is wanted."""
        if self.fixed_bytes is not None:
            return at + self.fixed_bytes
        for _, form, size_bytes in self.specs:
            at = at + size_bytes if size_bytes is not None else _behind(form, data, at)
        return at

    def values(self, data: bytes, at: int) -> tuple[Values, int]:
        """The attributes of an entry, and what is behind it."""
        values: Values = {}
        for name, form, size_bytes in self.specs:
            if size_bytes is not None:
                values[name] = form, int.from_bytes(data[at : at + size_bytes], "little")
                at += size_bytes
            elif form == "DW_FORM_string":
                end = data.index(0, at)
                values[name] = form, data[at:end]
                at = end + 1
            elif form in _COUNTED:
                size, at = uleb(data, at)
                values[name] = form, data[at : at + size]
                at += size
            else:
                if form in _ULEB:
                    values[name] = form, uleb(data, at)[0]
                at = _behind(form, data, at)
        return values, at


def _behind(form: str, data: bytes, at: int) -> int:
    """What is behind a value whose size depends on itself."""
    if form in _ULEB:
        while data[at] >= 0x80:
            at += 1
        return at + 1
    if form in _COUNTED:
        size, at = uleb(data, at)
        return at + size
    if form == "DW_FORM_string":
        return data.index(0, at) + 1
    if form in _BLOCKS:
        return at + _BLOCKS[form] + int.from_bytes(data[at : at + _BLOCKS[form]], "little")
    raise ValueError(f"unknown form {form} of an attribute")
