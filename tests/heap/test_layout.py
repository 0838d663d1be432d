"""Layouts: patterns, structs and raw words, inline and out of line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.errors import InvalidTypeError, LayoutError
from tinyheap.heap import Geometry, Heap, Layout
from tinyheap.heap.layout import LIMIT_WORDS, Fields, StaticLayouts, static_layout

WORD_SIZES = pytest.mark.parametrize("word_bytes", [2, 4, 8])
PATTERNS = st.text("p.", min_size=1, max_size=150)
WORD_SHAPES = st.sampled_from([(2, 1), (2, 2), (4, 4), (8, 8)])


class TestPatterns:
    @pytest.mark.parametrize(
        ("text", "words", "bitmap"),
        [("p", 1, 1), (".", 1, 0), ("pp.", 3, 0b011), ("..p", 3, 0b100), (" p . \n_-*P ", 6, 0b110001)],
    )
    def test_are_read(self, text: str, words: int, bitmap: int) -> None:
        assert Layout.pattern(text) == Layout(words, bitmap)

    @given(PATTERNS)
    def test_are_shown_as_they_are_written(self, text: str) -> None:
        assert str(Layout.pattern(text)) == text

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "invalid pattern '': expected"),
            ("  ", "invalid pattern '': expected"),
            ("px.", "'x' at 1 in 'px.': a pattern is made of 'p' (pointer) and '.' (data)"),
        ],
    )
    def test_that_cannot_be_read(self, text: str, message: str) -> None:
        with pytest.raises(LayoutError) as caught:
            Layout.pattern(text)
        assert message in str(caught.value)

    @pytest.mark.parametrize(("words", "bitmap"), [(-1, 0), (0, 1), (2, 0b100), (2, -1)])
    def test_bits_that_fit_no_words(self, words: int, bitmap: int) -> None:
        with pytest.raises(LayoutError):
            Layout(words, bitmap)

    def test_special_ones(self) -> None:
        assert str(Layout.UNKNOWN) == "unknown"
        assert not Layout.UNKNOWN.is_pointer_free
        assert Layout.DATA.is_pointer_free
        assert Layout.pattern("...").is_pointer_free
        assert not Layout.pattern("..p").is_pointer_free

    @given(PATTERNS, st.integers(1, 5))
    def test_the_shortest_repeats_to_the_same(self, text: str, times: int) -> None:
        short = Layout.pattern(text * times).shortest()
        assert len(text) % short.words == 0
        assert str(short) * (len(text) // short.words) == text
        assert short.shortest() == short


class TestWords:
    def test_the_form_of_each_word_size(self) -> None:
        layout = Layout.pattern("pp.")
        assert layout.inline_word(2) == 0b011_0011_1
        assert layout.inline_word(4) == 0b011_00011_1
        assert layout.inline_word(8) == 0b011_000011_1
        assert Layout.UNKNOWN.inline_word(8) == 0
        assert Layout.pattern("....").inline_word(8) == 0b0_000001_1

    @WORD_SIZES
    def test_the_largest_that_is_inline(self, word_bytes: int) -> None:
        size_bits = {2: 4, 4: 5, 8: 6}[word_bytes]
        bitmap_bits = 8 * word_bytes - 1 - size_bits
        last = "." * (bitmap_bits - 1) + "p"
        assert Layout.pattern(last).inline_word(word_bytes) is not None
        assert Layout.pattern("." + last).inline_word(word_bytes) is None
        # Words beyond the bitmap may be there, as long as they are data and the size fits.
        most = (1 << size_bits) - 1
        assert Layout.pattern("p".ljust(most, ".")).inline_word(word_bytes) is not None
        assert Layout.pattern("p".ljust(most + 1, ".")).inline_word(word_bytes) is None

    @WORD_SIZES
    @given(text=PATTERNS)
    def test_round_trip(self, word_bytes: int, text: str) -> None:
        layout = Layout.pattern(text)
        word = layout.inline_word(word_bytes)
        if word is None:
            data = layout.static_bytes(word_bytes)
            assert static_layout(b"in front" + data + b"behind", 8, word_bytes) == layout.shortest()
            assert len(data) == word_bytes + (layout.shortest().words + 7) // 8
            with pytest.raises(LayoutError, match="ends beyond the memory"):
                static_layout(b"in front" + data[:-1], 8, word_bytes)
        else:
            assert 0 < word < 1 << 8 * word_bytes
            assert word & 1
            assert Layout.from_word(word, word_bytes) == layout.shortest()

    def test_bits_beyond_the_pattern_are_not_looked_at(self) -> None:
        assert Layout.from_word(0b1111_000010_1, 8) == Layout.pattern("pp")
        assert Layout.from_word(0, 8) == Layout.UNKNOWN

    @pytest.mark.parametrize(
        ("word", "word_bytes", "message"),
        [
            (0x20, 8, "layout word 0x20 is even: the address of a layout, not a layout"),
            (1, 8, "layout word 0x1 has a pattern of 0 words: expected 1 or more"),
            (0x1_0001, 2, "layout word 0x10001 does not fit 2 bytes"),
            (-1, 8, "does not fit 8 bytes"),
        ],
    )
    def test_words_that_are_no_layout(self, word: int, word_bytes: int, message: str) -> None:
        with pytest.raises(LayoutError) as caught:
            Layout.from_word(word, word_bytes)
        assert message in str(caught.value)


class TestStructs:
    @pytest.mark.parametrize(
        ("fields", "pattern"),
        [
            ({"next": "*node"}, "p"),
            ({"value": "int", "next": "*node"}, ".p"),
            ({"name": "string", "tags": "[]string", "any": "interface"}, "p.p..pp"),
            ({"call": "func(int) bool"}, None),
            ({"call": "func", "index": "map[string]int", "done": "chan", "raw": "unsafe.Pointer"}, "ppppp"),
            ({"a": "any", "e": "error", "u": "uintptr", "n": "uint"}, "pppp.."),
            ({"flag": "bool", "next": "*node", "small": "uint8"}, ".p."),
            ({"a": "int32", "b": "int32", "c": "float64", "d": "rune"}, "..."),
            ({"a": "byte", "b": "int16", "c": "int32", "d": "*T"}, ".p"),
            ({"pair": "[2]string"}, "p.p."),
            ({"grid": "[2][3]*T", "end": "int"}, "pppppp."),
            ({"none": "[0]*T", "end": "int"}, "."),
            ({"inner": {"flag": "bool", "at": "*T"}, "end": "bool"}, ".p."),
            ({"small": {"a": "byte", "b": "byte"}, "more": "byte", "end": " *T "}, ".p"),
        ],
    )
    def test_of_64_bit_words(self, fields: Fields, pattern: str | None) -> None:
        if pattern is None:
            with pytest.raises(LayoutError):
                Layout.struct(fields, 8)
        else:
            assert str(Layout.struct(fields, 8)) == pattern

    def test_of_32_bit_words(self) -> None:
        fields = {"flag": "bool", "big": "int64", "next": "*T", "name": "string"}
        # int64 is aligned to 8 bytes, and so is the whole.
        assert str(Layout.struct(fields, 4)) == "....pp.."

    def test_of_16_bit_words(self) -> None:
        fields = {"flag": "bool", "next": "*T", "big": "int32", "name": "string"}
        assert str(Layout.struct(fields, 2)) == ".p..p."

    def test_on_avr_nothing_is_aligned_and_a_bit_stands_for_a_byte(self) -> None:
        fields = {"flag": "bool", "next": "*T", "big": "int32", "name": "string"}
        assert str(Layout.struct(fields, 2, 1)) == ".p.....p..."

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (
                {"x": "complex256"},
                "field 'x' has unknown type 'complex256'; write Go's types, or a mapping for a struct",
            ),
            ({"x": ""}, "unknown type ''"),
            ({"x": "[3]"}, "unknown type"),
            ({}, "a struct without bytes has no layout"),
            ({"none": "[0]int"}, "a struct without bytes has no layout"),
            ({"inner": {"y": "Widget"}}, "field 'y' has unknown type 'Widget'"),
        ],
    )
    def test_that_cannot_be_laid_out(self, fields: Fields, message: str) -> None:
        with pytest.raises(LayoutError) as caught:
            Layout.struct(fields, 8)
        assert message in str(caught.value)


class TestLargeOnes:
    def test_longer_than_the_longest(self) -> None:
        for words, bitmap in ((LIMIT_WORDS + 1, 0), (1 << 40, 1), (10**5000, 1), (8, 10**5000), (-(10**5000), 0)):
            with pytest.raises(LayoutError) as caught:
                Layout(words, bitmap)
            assert len(str(caught.value)) < 150

    @pytest.mark.parametrize(
        "kind",
        [
            "[20000000]*int",
            "[1000][1000][1000]*int",
            "[1000000][1000000][1000000][1000000]byte",
            "[" + 4000 * "9" + "]*int",
            "[" + 5000 * "9" + "]int",
            f"[1]{'[2]' * 5000}*int",
            {"inner": {"a": "[16777216]int", "b": "byte"}},
        ],
        ids=lambda kind: str(kind)[:40],
    )
    def test_structs_longer_than_the_longest(self, kind: Fields | str) -> None:
        with pytest.raises(LayoutError, match="longer than the longest layout, 16777216 words") as caught:
            Layout.struct({"a": kind}, 8)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        ("kind", "words", "pointers"),
        [
            ("[16777216]*int", LIMIT_WORDS, LIMIT_WORDS),
            ("[100][100][100]string", 2 * 10**6, 10**6),
            ("[10000000]byte", 1_250_000, 0),
            (f"{'[1]' * 20000}*int", 1, 1),
            (f"[{'0' * 5000}3]*int", 3, 3),
        ],
        ids=lambda kind: str(kind)[:40],
    )
    def test_structs_up_to_the_longest(self, kind: str, words: int, pointers: int) -> None:
        layout = Layout.struct({"a": kind}, 8)
        assert (layout.words, layout.bitmap.bit_count()) == (words, pointers)

    def test_arrays_of_nothing(self) -> None:
        assert str(Layout.struct({"a": f"[{10**18}][0]*int", "b": "*int"}, 8)) == "p"

    def test_structs_in_structs_without_an_end(self) -> None:
        fields: dict[str, Any] = {}
        fields["inner"] = fields
        with pytest.raises(LayoutError, match="a struct contains itself"):
            Layout.struct(fields, 8)

    @pytest.mark.parametrize("words", [LIMIT_WORDS, LIMIT_WORDS - 1, 9699690, 16777213])
    def test_the_shortest_of_large_ones(self, words: int) -> None:
        assert Layout(words, 0).shortest() == Layout.DATA
        assert Layout(words, (1 << words) - 1).shortest() == Layout(1, 1)
        odd_one_out = Layout(words, 1 << words - 1)
        assert odd_one_out.shortest() is odd_one_out

    @given(st.text("p.", min_size=1, max_size=12), st.integers(1, 30))
    def test_the_shortest_as_by_trying_all(self, text: str, times: int) -> None:
        whole = text * times
        shortest = next(
            length for length in range(1, len(whole) + 1) if whole == whole[:length] * (len(whole) // length)
        )
        assert str(Layout.pattern(whole).shortest()) == whole[:shortest]

    @given(
        st.lists(
            st.sampled_from(["byte", "int16", "*T", "string", "[]T", "[3]byte", "[2][2]*T"]), min_size=1, max_size=4
        ),
        st.integers(1, 4),
        WORD_SHAPES,
    )
    def test_arrays_as_written_out(self, kinds: list[str], count: int, shape: tuple[int, int]) -> None:
        arrays: Fields = {str(index): f"[{count}]{kind}" for index, kind in enumerate(kinds)}
        apart: Fields = {f"{index} {at}": kind for index, kind in enumerate(kinds) for at in range(count)}
        assert Layout.struct(arrays, *shape) == Layout.struct(apart, *shape)

    def test_are_shown_by_their_beginning(self) -> None:
        layout = Layout.struct({"a": "[100000]string"}, 4)
        assert str(layout) == 32 * "p." + "... (200000 words, 100000 of them pointers)"
        assert repr(layout) == f"<Layout {layout}>"
        heap = Heap(4096, gc="precise")
        with pytest.raises(LayoutError) as caught:
            heap.alloc(8, Layout(100_000, 1 << 99_999))
        assert len(str(caught.value)) < 250
        small = Layout.pattern("pp.")
        assert repr(small) == "Layout(words=3, bitmap=3)"

    @pytest.mark.parametrize("wrong", [5, None, b"pp.", ["p"]])
    def test_no_patterns_and_no_fields(self, wrong: Any) -> None:  # noqa: ANN401
        with pytest.raises(InvalidTypeError):
            Layout.pattern(wrong)
        with pytest.raises(InvalidTypeError):
            Layout.struct(wrong, 8)
        with pytest.raises(InvalidTypeError):
            Layout.struct({"a": wrong}, 8)

    @pytest.mark.parametrize("word_bytes", [0, 1, 3, -8, 16])
    def test_no_word_sizes(self, word_bytes: int) -> None:
        layout = Layout.pattern("p")
        for request in (
            lambda: layout.inline_word(word_bytes),
            lambda: layout.static_bytes(word_bytes),
            lambda: Layout.from_word(1, word_bytes),
            lambda: Layout.struct({"a": "int"}, word_bytes),
        ):
            with pytest.raises(LayoutError, match="expected 2, 4 or 8"):
                request()


class TestStaticLayouts:
    LONG = Layout.pattern("p" + "." * 99)

    @WORD_SIZES
    def test_lie_where_the_heap_never_comes(self, word_bytes: int) -> None:
        for start_address in (0x100, 0x1_0000 - 0x1200):
            geometry = Geometry(start_address, 0x800, word_bytes)
            statics = StaticLayouts(geometry, 0x1000)
            address = statics.word_of(self.LONG)
            assert address % 2 == 0
            end = address + len(self.LONG.static_bytes(word_bytes))
            assert end <= start_address or address >= start_address + 0x1000
            assert statics.zero_size_address != address
            assert statics.layout_of(address) == self.LONG

    def test_each_is_kept_once(self) -> None:
        statics = StaticLayouts(Geometry(0x1000, 0x800), 0x800)
        again = Layout.pattern(str(self.LONG) * 3)
        assert statics.word_of(self.LONG) == statics.word_of(again)
        assert statics.word_of(Layout.pattern("." * 99 + "p")) != statics.word_of(self.LONG)
        assert statics.word_of(Layout.pattern("p.p.")) == Layout.pattern("p.").inline_word(8)

    def test_their_bytes(self) -> None:
        statics = StaticLayouts(Geometry(0x1000, 0x800, 4), 0x800)
        address = statics.word_of(self.LONG)
        at = address - statics.start_address
        assert statics.memory[at : at + 4 + 13] == b"\x64\0\0\0\x01" + bytes(12)

    def test_the_room_for_them_ends(self) -> None:
        statics = StaticLayouts(Geometry(0x100, 0xFE00 - 0x20, 2), 0xFE00 - 0x20)
        refused: list[str] = []
        for words in range(40, 100):
            try:
                statics.word_of(Layout(words, 1))
            except LayoutError as error:
                refused.append(str(error))
        assert 0 < len(refused) < 60
        assert refused[-1] == "no room outside the heap for a layout of 99 words; use Layout.UNKNOWN"
        # Those that are kept already, and those that need no room, are served.
        assert statics.word_of(Layout(40, 1)) % 2 == 0
        assert statics.word_of(Layout.DATA) % 2 == 1

    def test_a_pattern_that_no_size_word_holds(self) -> None:
        statics = StaticLayouts(Geometry(0x100, 0x200, 2), 0x200)
        with pytest.raises(LayoutError, match="no room outside the heap for a layout of 65537 words"):
            statics.word_of(Layout(65537, 1))

    def test_other_even_words_are_refused(self) -> None:
        statics = StaticLayouts(Geometry(0x1000, 0x800), 0x800)
        kept = statics.word_of(self.LONG)
        for word in (kept + 8, statics.zero_size_address, 0x1000):
            with pytest.raises(LayoutError, match="is even, but no layout of this heap lies there"):
                statics.layout_of(word)
