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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple, TypeAlias

from tinyheap.errors import GeometryError, LayoutError
from tinyheap.heap.arguments import shown, shown_address, whole_number, wrong_type
from tinyheap.heap.geometry import SIZE_FIELD_BITS, Geometry

POINTER_SIGNS: Final = "pP*"
DATA_SIGNS: Final = ".-_"
LIMIT_WORDS: Final = 1 << 24
"""Of a layout: its bitmap takes two megabytes then."""
REMEMBERED_WORDS: Final = 1 << 12
"""Of longer layouts the shortest pattern is found anew each time; of others the last few are remembered."""
SHOWN_WORDS: Final = 256
"""Longer layouts are shown by their beginning."""
_ONES: Final = str.maketrans({**dict.fromkeys(POINTER_SIGNS, "1"), **dict.fromkeys(DATA_SIGNS, "0")})
_NO_SIGN: Final = re.compile(f"[^{re.escape(POINTER_SIGNS + DATA_SIGNS)}]")
_SIGNS: Final = str.maketrans("01", ".p")

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

    ``str()`` is the pattern, or the beginning of a long one.

    Raises:
        LayoutError: no words, more than 16,777,216, or bits beyond them.
        InvalidTypeError: one is not a whole number.
    """

    words: int
    bitmap: int

    UNKNOWN: ClassVar[Layout]
    """Every word may be a pointer; the word 0."""
    DATA: ClassVar[Layout]
    """No word is a pointer."""

    def __post_init__(self) -> None:
        for name in ("words", "bitmap"):
            object.__setattr__(self, name, whole_number(f"{name} of a layout", getattr(self, name)))
        if self.words < 0 or (self.words == 0 and self.bitmap):
            raise LayoutError(f"invalid layout of {shown(self.words)} words: expected 1 or more")
        if self.words > LIMIT_WORDS:
            raise LayoutError(f"a layout of {shown(self.words)} words is longer than the longest, {LIMIT_WORDS} words")
        if self.bitmap < 0 or self.bitmap.bit_length() > self.words:
            raise LayoutError(f"bitmap {shown(self.bitmap)} has bits beyond its {self.words} words")

    @classmethod
    def pattern(cls, text: str) -> Layout:
        """Read a pattern such as ``"pp."``: ``p`` for a word that may be a pointer, ``.`` for one that is not.

        Blanks are ignored.

        Raises:
            LayoutError: it has another character, or is empty.
        """
        if not isinstance(text, str):
            raise wrong_type("pattern", text, "a text of 'p' and '.'")
        signs = "".join(text.split())
        if wrong := _NO_SIGN.search(signs):
            raise LayoutError(
                f"{wrong[0]!r} at {wrong.start()} in {shown(text)}: a pattern is made of 'p' (pointer) and '.' (data)"
            )
        if not signs:
            raise LayoutError("invalid pattern '': expected 'p' for pointers and '.' for data")
        return cls(len(signs), int(signs[::-1].translate(_ONES), 2))

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
            LayoutError: a type is unknown, no field takes any bytes, or there are more than 16,777,216 words.
            InvalidTypeError: the fields are not a mapping, or a size is not a whole number.
        """
        _check_word_size(word_bytes)
        step_bytes = whole_number("word_alignment_bytes", word_alignment_bytes) or word_bytes
        if step_bytes not in (1, word_bytes):
            raise LayoutError(f"invalid word alignment of {shown(step_bytes)} bytes: expected 1 or the word size")
        return _StructReader(word_bytes, step_bytes).layout(fields)

    @classmethod
    def from_word(cls, word: int, word_bytes: int) -> Layout:
        """Decode a layout word that is 0 or odd; an even one is an address, for the heap to look up.

        Raises:
            LayoutError: the word is even, does not fit ``word_bytes``, or fits no object.
        """
        _check_word_size(word_bytes)
        word = whole_number("layout word", word)
        if word == 0:
            return cls.UNKNOWN
        if not 0 < word < 1 << 8 * word_bytes:
            raise LayoutError(f"layout word {shown_address(word)} does not fit {word_bytes} bytes")
        if not word & 1:
            raise LayoutError(f"layout word {word:#x} is even: the address of a layout, not a layout")
        size_bits = SIZE_FIELD_BITS[word_bytes]
        words, bitmap = word >> 1 & (1 << size_bits) - 1, word >> 1 + size_bits
        if words == 0:
            raise LayoutError(f"layout word {word:#x} has a pattern of 0 words: expected 1 or more")
        # Bits beyond the pattern are never looked at.
        return cls(words, bitmap & (1 << words) - 1)

    @property
    def is_pointer_free(self) -> bool:
        """Whether no word may be a pointer."""
        return self.bitmap == 0 and self != Layout.UNKNOWN

    def shortest(self) -> Layout:
        """The shortest layout whose pattern, repeated, is this one."""
        return _shortest(self) if self.words <= REMEMBERED_WORDS else _shortest.__wrapped__(self)

    def inline_word(self, word_bytes: int) -> int | None:
        """The layout word, if the shortest pattern fits one."""
        _check_word_size(word_bytes)
        if self == Layout.UNKNOWN:
            return 0
        short = self.shortest()
        size_bits = SIZE_FIELD_BITS[word_bytes]
        bitmap_bits = 8 * word_bytes - 1 - size_bits
        if short.words >> size_bits or short.bitmap >> bitmap_bits:
            return None
        return short.bitmap << 1 + size_bits | short.words << 1 | 1

    def static_bytes(self, word_bytes: int) -> bytes:
        """The out-of-line form: a size word and the bitmap's bytes.

        Raises:
            LayoutError: the number of words does not fit a word.
        """
        _check_word_size(word_bytes)
        short = self.shortest()
        if short.words >> 8 * word_bytes:
            raise LayoutError(
                f"a layout of {short.words} words is too long: its length does not fit a word of {word_bytes} bytes"
            )
        return short.words.to_bytes(word_bytes, "little") + short.bitmap.to_bytes((short.words + 7) // 8, "little")

    def __str__(self) -> str:
        if self == Layout.UNKNOWN:
            return "unknown"
        if self.words <= SHOWN_WORDS:
            return _signs(self.words, self.bitmap)
        beginning = _signs(SHOWN_WORDS // 4, self.bitmap & (1 << SHOWN_WORDS // 4) - 1)
        return f"{beginning}... ({self.words} words, {self.bitmap.bit_count()} of them pointers)"

    def __repr__(self) -> str:
        if self.words <= SHOWN_WORDS:
            return f"Layout(words={self.words}, bitmap={self.bitmap})"
        return f"<Layout {self}>"


def static_layout(memory: bytes | memoryview, at: int, word_bytes: int) -> Layout:
    """Decode the out-of-line form of a layout, a size word and the bitmap's bytes, from a place in memory.

    Raises:
        LayoutError: it does not lie in the memory, or is longer than any layout.
    """
    bits_at = at + word_bytes
    words = int.from_bytes(memory[at:bits_at], "little")
    end = bits_at + (words + 7) // 8
    if end > len(memory):
        raise LayoutError(f"the layout at {shown_address(at)} ends beyond the memory's {len(memory)} bytes")
    # Bits beyond the pattern are never looked at.
    return Layout(words, int.from_bytes(memory[bits_at:end], "little") & (1 << words) - 1)


Layout.UNKNOWN = Layout(0, 0)
Layout.DATA = Layout(1, 0)


def _signs(words: int, bitmap: int) -> str:
    return f"{bitmap:0{words}b}"[::-1].translate(_SIGNS)


def _check_word_size(word_bytes: int) -> None:
    if whole_number("word_bytes", word_bytes) not in SIZE_FIELD_BITS:
        raise LayoutError(f"invalid word size of {shown(word_bytes)} bytes: expected 2, 4 or 8")


@lru_cache(maxsize=256)
def _shortest(layout: Layout) -> Layout:
    """Take away one prime factor of the length after the other, for as long as the pattern repeats without it.

    What lengths a pattern repeats at is closed under common divisors, so that the order does not matter.
    """
    words, bitmap = layout.words, layout.bitmap
    for prime in _primes_of(words):
        while words % prime == 0:
            shorter = words // prime
            # All but the first part is the pattern moved up by one part.
            if bitmap >> shorter != bitmap & (1 << words - shorter) - 1:
                break
            words, bitmap = shorter, bitmap & (1 << shorter) - 1
    return layout if words == layout.words else Layout(words, bitmap)


def _primes_of(number: int) -> Iterator[int]:
    """The prime factors of a number up to `LIMIT_WORDS`, each once."""
    factor = 2
    while factor * factor <= number:
        if number % factor == 0:
            yield factor
            while number % factor == 0:
                number //= factor
        factor += 1
    if number > 1:
        yield number


class _Part(NamedTuple):
    """A type, laid out."""

    size_bytes: int
    alignment_bytes: int
    pointers: str
    """A sign for each place where a word begins, up to the last pointer: ``1`` for one, else ``0``."""


class _StructReader:
    """Lays fields out as a Go compiler does: each at a multiple of its alignment, the whole too."""

    ARRAY: Final = re.compile(r"\[([0-9]+)\]")
    LONGEST_COUNT: Final = 20
    """Digits of an array's length that are read."""

    def __init__(self, word_bytes: int, word_alignment_bytes: int) -> None:
        self.word_bytes = word_bytes
        self.step_bytes = word_alignment_bytes
        self.largest_alignment = 8 if word_bytes > 2 else word_alignment_bytes

    def layout(self, fields: Fields) -> Layout:
        try:
            struct = self._struct("the struct", fields)
        except RecursionError:
            raise LayoutError("invalid fields: a struct contains itself, or structs are nested too deep") from None
        words = -(-struct.size_bytes // self.step_bytes)
        if words == 0:
            raise LayoutError("a struct without bytes has no layout")
        return Layout(words, int(struct.pointers[::-1] or "0", 2))

    def _struct(self, name: str, fields: Fields) -> _Part:
        if not isinstance(fields, Mapping):
            raise wrong_type(f"type of {name}", fields, "one of Go's types as a text, or a mapping for a struct")
        offset, alignment, signs, parts = 0, 1, 0, []
        for field, kind in fields.items():
            part = self._type(f"field {shown(field)}", kind)
            offset += -offset % part.alignment_bytes
            if part.pointers:
                at = offset // self.step_bytes
                parts += ["0" * (at - signs), part.pointers]
                signs = at + len(part.pointers)
            offset += part.size_bytes
            alignment = max(alignment, part.alignment_bytes)
            self._check_size(name, offset)
        return _Part(offset + -offset % alignment, alignment, "".join(parts))

    def _type(self, name: str, kind: str | Fields) -> _Part:
        if not isinstance(kind, str):
            return self._struct(name, kind)
        counts, at = [], 0
        kind = kind.strip()
        while array := self.ARRAY.match(kind, at):
            counts.append(array[1])
            at = array.end()
        part = self._element(name, kind[at:])
        for count in reversed(counts):
            part = self._repeated(name, part, count)
        return part

    def _repeated(self, name: str, element: _Part, digits: str) -> _Part:
        """An array."""
        count = (
            int(digits[-self.LONGEST_COUNT :]) if len(digits.lstrip("0")) <= self.LONGEST_COUNT else LIMIT_WORDS << 4
        )
        size_bytes = count * element.size_bytes
        self._check_size(name, size_bytes)
        if count == 0 or not element.pointers:
            return element._replace(size_bytes=size_bytes, pointers="")
        places = element.size_bytes // self.step_bytes
        pointers = element.pointers.ljust(places, "0") * (count - 1) + element.pointers
        return element._replace(size_bytes=size_bytes, pointers=pointers)

    def _element(self, name: str, kind: str) -> _Part:
        """A type that is not an array."""
        kind = {"any": "interface", "error": "interface", "unsafe.Pointer": "pointer"}.get(kind, kind)
        if kind in SCALAR_BYTES:
            return _Part(SCALAR_BYTES[kind], min(SCALAR_BYTES[kind], self.largest_alignment), "")
        pattern = (
            "p" if kind.startswith("*") else "p.." if kind.startswith("[]") else WORD_TYPES.get(kind.partition("[")[0])
        )
        if pattern is None:
            raise LayoutError(f"{name} has unknown type {shown(kind)}; write Go's types, or a mapping for a struct")
        places = self.word_bytes // self.step_bytes
        pointers = "".join(sign.ljust(places, ".") for sign in pattern).rstrip(".")
        # On a machine that aligns nothing a word begins at each byte.
        alignment = min(self.word_bytes, self.largest_alignment)
        return _Part(self.word_bytes * len(pattern), alignment, pointers.translate(_ONES))

    def _check_size(self, name: str, size_bytes: int) -> None:
        if size_bytes > LIMIT_WORDS * self.step_bytes:
            raise LayoutError(
                f"{name} has {shown(size_bytes)} bytes, which is longer than the longest layout, {LIMIT_WORDS} words"
            )


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
                f"leave {word_bytes} bytes, for the address of objects without bytes"
            )
        self._word_bytes = word_bytes
        # The first word is the place of objects without bytes.
        self.memory = bytearray(word_bytes)
        self._addresses: dict[Layout, int] = {}
        self._layouts: dict[int, Layout] = {}

    @property
    def zero_size_address(self) -> int:
        """Where all objects of size zero are."""
        return self.start_address

    def word_of(self, layout: Layout) -> int:
        """The layout word of a layout: inline if it fits, else an address, at which the layout is kept from now on.

        Raises:
            LayoutError: there is no address left for it.
        """
        word = layout.inline_word(self._word_bytes)
        if word is not None:
            return word
        short = layout.shortest()
        if short not in self._addresses:
            self._addresses[short] = self._keep(short)
        return self._addresses[short]

    def _keep(self, layout: Layout) -> int:
        data = layout.static_bytes(self._word_bytes) if layout.words >> 8 * self._word_bytes == 0 else b""
        data += bytes(-len(data) % self._word_bytes)
        if not data or len(self.memory) + len(data) > self._room_bytes:
            raise LayoutError(f"no room outside the heap for a layout of {layout.words} words; use Layout.UNKNOWN")
        address = self.start_address + len(self.memory)
        self.memory += data
        self._layouts[address] = layout
        return address

    def layout_of(self, word: int) -> Layout:
        """The layout that a word stands for.

        Raises:
            LayoutError: it stands for none.
        """
        if word in self._layouts:
            return self._layouts[word]
        if word and not word & 1:
            raise LayoutError(f"layout word {shown_address(word)} is even, but no layout of this heap lies there")
        return _decoded(word, self._word_bytes)


@lru_cache(maxsize=256)
def _decoded(word: int, word_bytes: int) -> Layout:
    return Layout.from_word(word, word_bytes)
