"""Layouts: patterns, structs and raw words, inline and out of line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.errors import LayoutError
from tinyheap.heap import Geometry, Layout
from tinyheap.heap.layout import Fields, StaticLayouts

WORD_SIZES = pytest.mark.parametrize("word_bytes", [2, 4, 8])
PATTERNS = st.text("p.", min_size=1, max_size=150)


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
            ("", "an empty pattern fits no object"),
            ("  ", "an empty pattern fits no object"),
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
            words = int.from_bytes(data[:word_bytes], "little")
            assert Layout(words, int.from_bytes(data[word_bytes:], "little")) == layout.shortest()
            assert len(data) == word_bytes + (words + 7) // 8
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
            (1, 8, "layout word 0x1 has a pattern of 0 words and fits no object"),
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
