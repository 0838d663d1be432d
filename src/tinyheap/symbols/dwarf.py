"""Reads DWARF 4 and 5: what stands at addresses of a module's code.

The structures are pyelftools' (units, abbreviations, headers of line programs, lists of ranges).  What there are hundreds
of thousands of is read here, without an object for each: entries of units (`forms`), of which only functions and inlined
calls matter, and line programs (`line_program`), which are run for the rows that are asked for.

What stands at an address is the entry that begins nearest before it, of those whose ranges contain it, and all entries
around that one.  Where entries lie within each other this is the innermost.  But optimizers that come after the compiler
(TinyGo runs Binaryen's) lose the ranges of some entries and make those of others too long; so no entry reaches further than
its function, and what is around an entry does not depend on ranges.

The input is not trusted; whatever it is, there is a result or an exception after a time that grows with its size.
But that may be long: who must not wait reads it elsewhere (`worker`).  Source: DWARF Debugging Information Format, Version
5, 2 (entries), 6.2 (lines), 7.5 (forms).
"""

from __future__ import annotations

import io
import posixpath
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry

from tinyheap.symbols.forms import ADDRESS_BYTES, RELATIVE, Plan, Values, uleb
from tinyheap.symbols.line_program import Program

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit

SECTIONS: Final = (
    *(
        "info",
        "aranges",
        "abbrev",
        "frame",
        "str",
        "loc",
        "ranges",
        "line",
        "pubtypes",
        "pubnames",
        "addr",
        "str_offsets",
    ),
    *("line_str", "loclists", "rnglists", "sup", "types"),
)
"""As pyelftools names them; in a module their names begin with ``.debug_``."""

_FUNCTION: Final = "DW_TAG_subprogram"
_INLINED: Final = "DW_TAG_inlined_subroutine"
_NAMES: Final = ("DW_AT_linkage_name", "DW_AT_name")
_ORIGINS: Final = ("DW_AT_abstract_origin", "DW_AT_specification")
_FILE: Final = "DW_AT_decl_file"
_KEPT: Final = (*_NAMES, *_ORIGINS, _FILE)
_MANGLED: Final = ("_Z", "_R")
"""How linkage names begin that people do not read."""
_LONGEST_ORIGIN: Final = 16
"""Steps from an entry to the one that has its name, at most."""

Found = tuple[str, str, int]
"""Function, file, line."""
Ranges = list[tuple[int, int]]
"""Pairs of a first address and the one behind the last."""


class Entry(NamedTuple):
    """An entry as it stands there."""

    tag: str
    offset: int
    around: int
    """The offset of the entry that it is in."""
    values: Values


class _Entry(NamedTuple):
    """A function or an inlined call."""

    caller: int
    """The entry around it, by number; -1 for none."""
    offset: int
    unit: Unit
    call_file: int
    call_line: int


class _Nearest(NamedTuple):
    """The entry that begins nearest before an address so far; of two that begin there, the deeper one."""

    low: int
    depth: int
    number: int


class _Around(NamedTuple):
    """What is around an entry: a function or an inlined call, by number, and the ranges of its function."""

    number: int
    ranges: Ranges


class _Name(NamedTuple):
    """What an entry says of its name: forms and values by attribute."""

    unit: Unit
    values: dict[str, tuple[str, int | bytes]]


class Dwarf:
    """The debug information of a module.

    Args:
        sections: Contents, by name without ``.debug_``.
    """

    def __init__(self, sections: Mapping[str, bytes]) -> None:
        self.sections = sections
        parts: dict[str, Any] = {f"debug_{name}_sec": _section(name, sections.get(name)) for name in SECTIONS}
        config = DwarfConfig(little_endian=True, machine_arch="wasm", default_address_size=ADDRESS_BYTES)
        self.info = DWARFInfo(config=config, eh_frame_sec=None, gnu_debugaltlink_sec=None, **parts)
        self.entries: list[_Entry] = []
        self.names: dict[int, _Name] = {}
        """By the offset of an entry."""

    def chains(self, addresses: Sequence[int]) -> dict[int, list[Found]]:
        """What stands at addresses, the outermost function first; those of which nothing is known are left out.

        Raises:
            Exception: Of many kinds, where this is not valid debug information.
        """
        wanted = sorted(set(addresses))
        nearest: dict[int, _Nearest] = {}
        rows: dict[int, tuple[Unit, int, int]] = {}
        for unit in self.units():
            unit.read_entries(wanted, nearest)
            unit.read_lines(wanted, rows)
        chains = {address: self._chain(nearest.get(address), rows.get(address)) for address in wanted}
        return {address: chain for address, chain in chains.items() if chain}

    def units(self) -> Iterator[Unit]:
        """Those of code."""
        for cu in self.info.iter_CUs():
            if cu.header.get("unit_type", "DW_UT_compile") in ("DW_UT_compile", "DW_UT_partial"):
                yield Unit(self, cu)

    def _chain(self, nearest: _Nearest | None, row: tuple[Unit, int, int] | None) -> list[Found]:
        file, line = ("", 0) if row is None else (row[0].file(row[1]), row[2])
        if nearest is None:
            return [("", file, line)] if row is not None else []
        chain: list[Found] = []
        number = self._in_file(nearest.number, file)
        while number >= 0:
            entry = self.entries[number]
            chain.append((self.name(entry.offset), file, line))
            file, line, number = entry.unit.file(entry.call_file), entry.call_line, entry.caller
        return chain[::-1]

    def _in_file(self, number: int, file: str) -> int:
        """An entry, or the nearest around it whose function is in the file that the line is in; itself where none is.

        A line of another file than its function's shows that the entry's ranges are too long.
        """
        around = number
        while file and around >= 0:
            entry = self.entries[around]
            if self.file(entry.offset) in ("", file):
                return around
            around = entry.caller
        return number

    def name(self, offset: int) -> str:
        """The name of the function whose entry is there, or of what that refers to; empty for none."""
        for found in self._origins(offset):
            texts = [found.unit.text(*found.values[name]) for name in _NAMES if name in found.values]
            if texts:
                return texts[-1] if texts[0].startswith(_MANGLED) else texts[0]
        return ""

    def file(self, offset: int) -> str:
        """The file of the function whose entry is there; empty where that is not known."""
        for found in self._origins(offset):
            if _FILE in found.values:
                return found.unit.file(_number(found.values[_FILE]))
        return ""

    def _origins(self, offset: int) -> Iterator[_Name]:
        """What an entry says of its function, and then what those say that it refers to."""
        for _ in range(_LONGEST_ORIGIN):
            found = self.names.get(offset)
            if found is None:
                return
            yield found
            origin = next((found.values[each] for each in _ORIGINS if each in found.values), None)
            if origin is None or not isinstance(origin[1], int):
                return
            offset = origin[1] + (found.unit.start if origin[0] in RELATIVE else 0)


def _section(name: str, data: bytes | None) -> DebugSectionDescriptor | None:
    return None if data is None else DebugSectionDescriptor(io.BytesIO(data), name, None, len(data), 0)


@dataclass(slots=True, eq=False)
class Unit:
    """A compile unit."""

    dwarf: Dwarf
    cu: CompileUnit
    start: int = 0
    end: int = 0
    offset_bytes: int = 4
    folder: str = ""
    str_offsets_base: int = 0
    addr_base: int = 0
    plans: dict[int, Plan] = field(default_factory=dict)
    line_header: Any = None
    files: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start, self.end = self.cu.cu_offset, self.cu.cu_offset + self.cu.size
        self.offset_bytes = self.cu.dwarf_format() // 8
        top = self.cu.get_top_DIE().attributes
        self.folder = _text(top["DW_AT_comp_dir"].value) if "DW_AT_comp_dir" in top else ""
        self.str_offsets_base = top["DW_AT_str_offsets_base"].value if "DW_AT_str_offsets_base" in top else 8
        self.addr_base = top["DW_AT_addr_base"].value if "DW_AT_addr_base" in top else 8

    # ---- entries ----------------------------------------------------------------------------------------------------

    def read_entries(self, wanted: Sequence[int], nearest: dict[int, _Nearest]) -> None:
        """Read all entries; for each address the one that it belongs to goes to ``nearest``."""
        data, at, end = (
            self.dwarf.sections["info"],
            self.cu.cu_die_offset,
            min(self.end, len(self.dwarf.sections["info"])),
        )
        around = [_Around(-1, [])]
        """What is around the next entry, and around that."""
        while at < end:
            offset = at
            code = data[at]
            at += 1
            if code >= 0x80:
                code, at = uleb(data, offset)
            if code == 0:
                around.pop()
                if not around:
                    return
                continue
            plan = self.plans.get(code) or self._plan(code)
            here = around[-1]
            if plan.tag in (_FUNCTION, _INLINED):
                values, at = plan.values(data, at)
                ranges = self._ranges(values)
                caller = -1 if plan.tag == _FUNCTION else here.number
                number = self._take(offset, caller, values)
                here = _Around(number, ranges if plan.tag == _FUNCTION else here.ranges)
                for low, high in ranges:
                    self._find(low, high, _Nearest(low, len(around), number), here.ranges, wanted, nearest)
            else:
                at = plan.behind(data, at)
            if plan.has_children:
                around.append(here)

    def entries(self, tags: Collection[str]) -> Iterator[Entry]:
        """The entries of these tags, each behind the one around it."""
        data, at = self.dwarf.sections["info"], self.cu.cu_die_offset
        end, around = min(self.end, len(data)), [0]
        while at < end:
            offset = at
            code, at = uleb(data, at)
            if code == 0:
                around.pop()
                if not around:
                    return
                continue
            plan = self.plans.get(code) or self._plan(code)
            if plan.tag in tags:
                values, at = plan.values(data, at)
                yield Entry(plan.tag, offset, around[-1], values)
            else:
                at = plan.behind(data, at)
            if plan.has_children:
                around.append(offset)

    def keep_name(self, offset: int, values: Values) -> None:
        """Keep what an entry says of its name."""
        self.dwarf.names[offset] = _Name(self, {each: values[each] for each in _KEPT if each in values})

    def _take(self, offset: int, caller: int, values: dict[str, tuple[str, int | bytes]]) -> int:
        """Keep a function or an inlined call; returns its number."""
        call_file, call_line = (_number(values.get(name)) for name in ("DW_AT_call_file", "DW_AT_call_line"))
        self.dwarf.entries.append(_Entry(caller, offset, self, call_file, call_line))
        self.keep_name(offset, values)
        return len(self.dwarf.entries) - 1

    def _find(
        self,
        low: int,
        high: int,
        found: _Nearest,
        function: Ranges,
        wanted: Sequence[int],
        nearest: dict[int, _Nearest],
    ) -> None:
        """Find the addresses of a range, as far as it is within its function, to which no entry is nearer yet."""
        for first, behind in function:
            start, end = max(low, first), min(high, behind)
            if start < end:
                for address in wanted[bisect_left(wanted, start) : bisect_left(wanted, end)]:
                    if address not in nearest or nearest[address] < found:
                        nearest[address] = found

    def _ranges(self, values: Mapping[str, tuple[str, int | bytes]]) -> Ranges:
        """Where an entry's code is; nothing where it was dropped (it begins at 0 then, or at the end of all addresses)."""
        if "DW_AT_ranges" in values:
            form, value = values["DW_AT_ranges"]
            found = self._listed(form, _number((form, value)))
        elif "DW_AT_low_pc" in values and "DW_AT_high_pc" in values:
            low = self.address(*values["DW_AT_low_pc"])
            form, high = values["DW_AT_high_pc"]
            found = [
                (low, self.address(form, high) if form.startswith("DW_FORM_addr") else low + _number((form, high)))
            ]
        else:
            found = []
        return [(low, high) for low, high in found if 0 < low < high]

    def _listed(self, form: str, value: int) -> list[tuple[int, int]]:
        """A list of ranges."""
        if self.cu.header["version"] < 5:
            return self._listed_4(value)
        lists = self.dwarf.info.range_lists()
        if lists is None:
            return []
        if form == "DW_FORM_rnglistx":
            top = self.cu.get_top_DIE().attributes
            base = top["DW_AT_rnglists_base"].value if "DW_AT_rnglists_base" in top else 12
            place = base + value * self.offset_bytes
            table = self.dwarf.sections["rnglists"]
            value = base + int.from_bytes(table[place : place + self.offset_bytes], "little")
        ranges, base = [], self._base()
        for each in lists.get_range_list_at_offset(value, self.cu):
            if isinstance(each, BaseAddressEntry):
                base = each.base_address
            else:
                shift = 0 if each.is_absolute else base
                ranges.append((each.begin_offset + shift, each.end_offset + shift))
        return ranges

    def _listed_4(self, at: int) -> list[tuple[int, int]]:
        """A list of ranges of version 4: pairs of addresses, of which the last is of zeros."""
        data, base, ranges = self.dwarf.sections.get("ranges", b""), self._base(), []
        while 0 <= at <= len(data) - 8:
            low, high = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8
            if low == high == 0:
                break
            if low == 0xFFFFFFFF:
                base = high
            elif low < 0xFFFFFFFE:
                ranges.append((low + base, high + base))
        return ranges

    def _base(self) -> int:
        """What addresses in lists count from."""
        top = self.cu.get_top_DIE().attributes
        return int(top["DW_AT_low_pc"].value) if "DW_AT_low_pc" in top else 0

    def address(self, form: str, value: int | bytes) -> int:
        """An address by its form."""
        number = _number((form, value))
        if form == "DW_FORM_addr":
            return number
        at = self.addr_base + number * ADDRESS_BYTES
        return int.from_bytes(self.dwarf.sections.get("addr", b"")[at : at + ADDRESS_BYTES], "little")

    # ---- abbreviations and texts ------------------------------------------------------------------------------------

    def _plan(self, code: int) -> Plan:
        declared = self.cu.get_abbrev_table().get_abbrev(code)
        attributes = [(str(name), str(form)) for name, form in declared.iter_attr_specs()]
        has_children = declared.has_children()
        plan = self.plans[code] = Plan.of(
            str(declared["tag"]), attributes, self.offset_bytes, has_children=has_children
        )
        return plan

    def text(self, form: str, value: int | bytes) -> str:
        """A string by its form."""
        if isinstance(value, bytes):
            return _text(value)
        sections = self.dwarf.sections
        if form.startswith("DW_FORM_strx"):
            at = self.str_offsets_base + value * self.offset_bytes
            value = int.from_bytes(sections.get("str_offsets", b"")[at : at + self.offset_bytes], "little")
        data = sections.get("line_str" if form == "DW_FORM_line_strp" else "str", b"")
        end = data.find(0, value)
        return _text(data[value:end]) if 0 <= value < end else ""

    # ---- lines ------------------------------------------------------------------------------------------------------

    def file(self, number: int) -> str:
        """The path of a file by its number in the line program's header; empty for none."""
        if number not in self.files:
            self.files[number] = self._path(number)
        return self.files[number]

    def _path(self, number: int) -> str:
        header = self.line_header
        if header is None:
            return ""
        first = 0 if header["version"] >= 5 else 1
        files, folders = header["file_entry"], header["include_directory"]
        if not first <= number < len(files) + first:
            return ""
        entry = files[number - first]
        parts = [self.folder]
        if first <= entry.dir_index < len(folders) + first:
            parts.append(_text(folders[entry.dir_index - first]))
        name = _text(entry.name)
        return "" if name.startswith("<") else posixpath.join(*parts, name)

    def read_lines(self, wanted: Sequence[int], rows: dict[int, tuple[Unit, int, int]]) -> None:
        """Run the line program; for each address the row that it is in goes to ``rows``: file and line."""
        program = self.dwarf.info.line_program_for_CU(self.cu)
        if program is None:
            return
        self.line_header = program.header
        data = self.dwarf.sections["line"]
        end = min(program.program_end_offset, len(data))
        for table in Program(program.header, data, program.program_start_offset, end).tables():
            low, high = table.addresses[0], table.end_address
            if low == 0:
                continue
            for at in range(bisect_left(wanted, low), bisect_left(wanted, high)):
                row = bisect_right(table.addresses, wanted[at]) - 1
                if wanted[at] not in rows:
                    rows[wanted[at]] = self, table.files[row], table.lines[row]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _number(value: tuple[str, int | bytes] | None) -> int:
    return value[1] if value is not None and isinstance(value[1], int) else 0
