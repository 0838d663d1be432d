"""Layouts: which words of an object may hold a pointer, and the form in which a precise object carries that.

A *layout* is a pattern of words that repeats over the object.  Where words overlap (on AVR one begins at each byte), it has a
bit for each place where a word begins.  The object's first word holds it in one of three forms:

* 0: unknown, every word may be a pointer;
* odd: inline; the lowest bit 1, a size field of 4, 5 or 6 bits (for 2-, 4- and 8-byte words), the bitmap::

      word 0b11_00011_1     32-bit: pattern of 3 words, of which words 0 and 1 may be pointers:  pp.
             ||  |    `- inline
             ||  `------ size: 3
             ``--------- bitmap, lowest bit first

* even: the address, outside the heap, of ``{size word, bitmap bytes}``.

Source: TinyGo's ``gc_precise.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from tinyheap.errors import GeometryError, HeapBusyError, LayoutError
from tinyheap.heap.contract import BUSY
from tinyheap.heap.geometry import Geometry
from tinyheap.heap.model import SIZE_FIELD_BITS

POINTER_SIGNS: Final = "pP*"
DATA_SIGNS: Final = ".-_"

Fields: TypeAlias = Mapping[str, "str | Fields"]

SCALAR_BYTES: Final = {
    "bool": 1,
    **{f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "byte": 1,
    "rune": 4,
    "float32": 4,
    "float64": 8,
}
"""Types of a fixed size."""
WORD_TYPES: Final = {
    "int": ".",
    "uint": ".",
    "uintptr": ".",
    "pointer": "p",
    "map": "p",
    "chan": "p",
    "string": "p.",
    "slice": "p..",
    "interface": "pp",
    "func": "pp",
}
"""Types made of words, as a pattern: Go's own, as TinyGo lays them out."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A pattern of ``words`` words; bit i of ``bitmap`` says whether word i may be a pointer.

    Raises:
        LayoutError: no words, or bits beyond them.
    """

    words: int
    bitmap: int

    UNKNOWN: ClassVar[Layout]
    """Every word may be a pointer; the word 0."""
    DATA: ClassVar[Layout]
    """No word is a pointer."""

    def __post_init__(self) -> None:
        if self.words < 0 or (self.words == 0 and self.bitmap):
            raise LayoutError(f"a layout of {self.words} words fits no object")
        if self.bitmap < 0 or self.bitmap >> self.words:
            raise LayoutError(f"bitmap {self.bitmap:#b} has bits beyond its {self.words} words")

    @classmethod
    def pattern(cls, text: str) -> Layout:
        """Read a pattern such as ``"pp."``: ``p`` for a word that may be a pointer, ``.`` for one that is not.

        Blanks are passed over.

        Raises:
            LayoutError: another sign, or no word at all.
        """
        bits = 0
        signs = "".join(text.split())
        for index, sign in enumerate(signs):
            if sign in POINTER_SIGNS:
                bits |= 1 << index
            elif sign not in DATA_SIGNS:
                raise LayoutError(f"{sign!r} at {index} in {text!r}: a pattern is made of 'p' (pointer) and '.' (data)")
        if not signs:
            raise LayoutError("an empty pattern fits no object; write 'p' for pointers or '.' for data")
        return cls(len(signs), bits)

    @classmethod
    def struct(cls, fields: Fields, word_bytes: int, word_alignment_bytes: int = 0) -> Layout:
        """The layout of a Go struct, from its fields' types by name.

        Args:
            fields: ``{"next": "*node", "name": "string", "at": "[2]float32", "inner": {...}}``.  Types are Go's:
                ``bool``, ``int32``, ..., ``*T``, ``string``, ``[]T``, ``[N]T``, ``map``, ``chan``, ``func``,
                ``interface`` (or ``any``, ``error``), and nested structs as mappings.
            word_bytes: a pointer's size: 2, 4 or 8.
            word_alignment_bytes: as the heap's: 1 on AVR, which aligns nothing, else the word size.

        Raises:
            LayoutError: an unknown type, or no field that takes room.
        """
        return _StructReader(word_bytes, word_alignment_bytes or word_bytes).layout(fields)

    @classmethod
    def from_word(cls, word: int, word_bytes: int) -> Layout:
        """Decode a layout word that is 0 or odd; an even one is an address, for the heap to look up.

        Raises:
            LayoutError: the word is even, does not fit ``word_bytes``, or fits no object.
        """
        if word == 0:
            return cls.UNKNOWN
        if not 0 < word < 1 << 8 * word_bytes:
            raise LayoutError(f"layout word {word:#x} does not fit {word_bytes} bytes")
        if not word & 1:
            raise LayoutError(f"layout word {word:#x} is even: the address of a layout, not a layout")
        size_bits = SIZE_FIELD_BITS[word_bytes]
        words, bitmap = word >> 1 & (1 << size_bits) - 1, word >> 1 + size_bits
        if words == 0:
            raise LayoutError(f"layout word {word:#x} has a pattern of 0 words and fits no object")
        # Bits beyond the pattern are never looked at.
        return cls(words, bitmap & (1 << words) - 1)

    @property
    def is_pointer_free(self) -> bool:
        """Whether no word may be a pointer."""
        return self.bitmap == 0 and self != Layout.UNKNOWN

    def shortest(self) -> Layout:
        """The shortest pattern that repeats to the same one."""
        for words in range(1, self.words):
            if self.words % words == 0:
                bitmap = self.bitmap & (1 << words) - 1
                if sum(bitmap << at for at in range(0, self.words, words)) == self.bitmap:
                    return Layout(words, bitmap)
        return self

    def inline_word(self, word_bytes: int) -> int | None:
        """The layout word, if the shortest pattern fits one."""
        if self == Layout.UNKNOWN:
            return 0
        short = self.shortest()
        size_bits = SIZE_FIELD_BITS[word_bytes]
        bitmap_bits = 8 * word_bytes - 1 - size_bits
        if short.words >> size_bits or short.bitmap >> bitmap_bits:
            return None
        return short.bitmap << 1 + size_bits | short.words << 1 | 1

    def static_bytes(self, word_bytes: int) -> bytes:
        """The out-of-line form: a size word and the bitmap's bytes."""
        short = self.shortest()
        return short.words.to_bytes(word_bytes, "little") + short.bitmap.to_bytes((short.words + 7) // 8, "little")

    def __str__(self) -> str:
        if self == Layout.UNKNOWN:
            return "unknown"
        return "".join("p" if self.bitmap >> index & 1 else "." for index in range(self.words))


Layout.UNKNOWN = Layout(0, 0)
Layout.DATA = Layout(1, 0)


class _StructReader:
    """Lays fields out as a Go compiler does: each at a multiple of its alignment, the whole too."""

    ARRAY: Final = re.compile(r"\[(\d+)\](.+)")

    def __init__(self, word_bytes: int, word_alignment_bytes: int) -> None:
        self.word_bytes = word_bytes
        self.step_bytes = word_alignment_bytes
        self.largest_alignment = 8 if word_bytes > 2 else word_alignment_bytes

    def layout(self, fields: Fields) -> Layout:
        size_bytes, _, pointers = self._struct(fields)
        words = -(-size_bytes // self.step_bytes)
        bitmap = 0
        for offset in pointers:
            bitmap |= 1 << offset // self.step_bytes
        if words == 0:
            raise LayoutError("a struct without bytes has no layout")
        return Layout(words, bitmap)

    def _struct(self, fields: Fields) -> tuple[int, int, list[int]]:
        """Size, alignment and offsets of pointers, in bytes."""
        offset, alignment, pointers = 0, 1, []
        for name, kind in fields.items():
            size_bytes, field_alignment, inner = self._type(name, kind)
            offset += -offset % field_alignment
            pointers += [offset + at for at in inner]
            offset += size_bytes
            alignment = max(alignment, field_alignment)
        return offset + -offset % alignment, alignment, pointers

    def _type(self, name: str, kind: str | Fields) -> tuple[int, int, list[int]]:
        if not isinstance(kind, str):
            return self._struct(kind)
        kind = {"any": "interface", "error": "interface", "unsafe.Pointer": "pointer"}.get(kind.strip(), kind.strip())
        if kind in SCALAR_BYTES:
            return SCALAR_BYTES[kind], min(SCALAR_BYTES[kind], self.largest_alignment), []
        if array := self.ARRAY.fullmatch(kind):
            size_bytes, alignment, inner = self._type(name, array[2])
            count = int(array[1])
            return size_bytes * count, alignment, [at + i * size_bytes for i in range(count) for at in inner]
        pattern = (
            "p" if kind.startswith("*") else "p.." if kind.startswith("[]") else WORD_TYPES.get(kind.partition("[")[0])
        )
        if pattern is None:
            raise LayoutError(f"field {name!r} has unknown type {kind!r}; write Go's types, or a mapping for a struct")
        pointers = [self.word_bytes * i for i, sign in enumerate(pattern) if sign == "p"]
        return self.word_bytes * len(pattern), min(self.word_bytes, self.largest_alignment), pointers


class StaticLayouts:
    """Out-of-line layouts of one heap, at addresses that the heap never takes.

    They lie below the heap or above the place up to which it may grow, whichever has more room; so does the one byte that
    all objects of size zero share.  Each layout is kept once.
    """

    def __init__(self, geometry: Geometry, capacity_bytes: int) -> None:
        word_bytes = geometry.word_bytes
        above = geometry.start_address + capacity_bytes
        above += -above % word_bytes
        room_above = geometry.address_space_bytes - above
        below = geometry.start_address - word_bytes
        self.start_address, self._room_bytes = (above, room_above) if room_above > below else (word_bytes, below)
        if self._room_bytes < word_bytes:
            raise GeometryError(
                f"a heap at {geometry.start_address:#x} that may grow to {capacity_bytes} bytes fills the address space; "
                f"leave {word_bytes} bytes for what has no size"
            )
        self._word_bytes = word_bytes
        # The first word is the place of objects without bytes.
        self.memory = bytearray(word_bytes)
        self._addresses: dict[Layout, int] = {}
        self._layouts: dict[int, Layout] = {}
        self.busy = False

    @property
    def zero_size_address(self) -> int:
        """Where all objects of size zero are."""
        return self.start_address

    def word_of(self, layout: Layout) -> int:
        """The layout word of a layout: inline if it fits, else an address, at which the layout is kept from now on.

        Raises:
            LayoutError: there is no address left for it.
            HeapBusyError: a collection is reading the layouts.
        """
        word = layout.inline_word(self._word_bytes)
        if word is not None:
            return word
        short = layout.shortest()
        if short not in self._addresses:
            self._keep(short)
        return self._addresses[short]

    def _keep(self, layout: Layout) -> None:
        if self.busy:
            raise HeapBusyError(BUSY)
        data = layout.static_bytes(self._word_bytes) if layout.words >> 8 * self._word_bytes == 0 else b""
        data += bytes(-len(data) % self._word_bytes)
        if not data or len(self.memory) + len(data) > self._room_bytes:
            raise LayoutError(f"no room outside the heap for a layout of {layout.words} words; use Layout.UNKNOWN")
        address = self.start_address + len(self.memory)
        self.memory += data
        self._addresses[layout] = address
        self._layouts[address] = layout

    def layout_of(self, word: int) -> Layout:
        """The layout that a word stands for.

        Raises:
            LayoutError: it stands for none.
        """
        if word in self._layouts:
            return self._layouts[word]
        if word and not word & 1:
            raise LayoutError(f"layout word {word:#x} is even, but no layout of this heap lies there")
        return Layout.from_word(word, self._word_bytes)
