"""The map of a heap's blocks: the original's text, and its colored forms."""

from __future__ import annotations

import io
import re
from typing import Final

import pytest
from rich.console import Console

from engine_fixtures import MakeHeap
from tinyheap.heap import BlockMap, Geometry, Heap, Listener, State
from tinyheap.heap.blockmap import free_runs_of, lowest_free_run_of
from tinyheap.heap.collectors import Collector
from workbench import heap_bytes_for, pack_states

TIMES: Final = "\N{MULTIPLICATION SIGN}"


def block_map(glyphs: str) -> BlockMap:
    """The map of a heap of 64-bit words, drawn as the original draws it."""
    states = ["·*-#".index(glyph) for glyph in glyphs]
    return BlockMap(Geometry(0x1_0000, heap_bytes_for(len(states))), pack_states(states))


def printed(drawn: BlockMap, *, color: bool = False) -> str:
    """What a terminal shows."""
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=color, color_system="standard" if color else None).print(drawn)
    return out.getvalue()


class TestText:
    @pytest.mark.next_fit
    def test_is_the_originals(self, make_heap: MakeHeap) -> None:
        heap = make_heap(heap_bytes_for(70))
        heap.alloc(40)
        heap.free(heap.alloc(8))
        heap.alloc(8)
        assert str(heap.dump()) == "heap:\n*-·*" + "·" * 60 + "\n" + "·" * 6

    def test_lines_of_64_blocks(self) -> None:
        assert str(block_map("*" * 64)) == "heap:\n" + "*" * 64
        assert str(block_map("*" * 65)) == "heap:\n" + "*" * 64 + "\n*"
        assert str(block_map("")) == "heap:"
        assert block_map("*-·#" * 33).lines() == ["*-·#" * 16, "*-·#" * 16, "*-·#"]

    def test_all_states(self) -> None:
        assert list(block_map("·*-#").states()) == [State.FREE, State.HEAD, State.TAIL, State.MARK]

    def test_of_one_moment(self, make_heap: MakeHeap) -> None:
        heap = make_heap(heap_bytes_for(8))
        before = heap.dump()
        heap.alloc(8)
        assert (str(before), str(heap.dump())) == ("heap:\n" + "·" * 8, "heap:\n*" + "·" * 7)

    @pytest.mark.next_fit
    def test_marks_are_seen_while_marking(self, make_heap: MakeHeap) -> None:
        heap = make_heap(heap_bytes_for(8))
        heap.roots.add(heap.alloc(40))
        heap.alloc(40)
        seen: list[str] = []

        class Watch(Listener):
            def marked(self, heap: Heap) -> None:
                seen.append(str(heap.dump()))

        heap.add_listener(Watch())
        heap.collect()
        assert [*seen, str(heap.dump())] == ["heap:\n#-*-····", "heap:\n*-······"]


class TestTerminal:
    def test_addresses_and_a_legend(self) -> None:
        assert printed(block_map("*-·#" * 17)).splitlines() == [
            "   0x10000 " + "*-·#" * 16,
            "   0x10800 *-·#",
            "           · free  * head  - tail  # mark",
        ]

    def test_equal_lines_are_folded(self) -> None:
        lines = printed(block_map("*" + "·" * 63 + "·" * 640 + "-" * 128 + "·" * 3)).splitlines()
        assert lines == [
            "   0x10000 *" + "·" * 63,
            "   0x10800 " + "·" * 64 + f" {TIMES} 10 lines",
            "   0x15800 " + "-" * 64 + f" {TIMES} 2 lines",
            "   0x16800 ···",
            "           · free  * head  - tail  # mark",
        ]

    def test_each_state_has_its_color(self) -> None:
        text = printed(block_map("·*-#"), color=True)
        styles = dict(re.findall(r"\x1b\[([\d;]+)m([·*#-])\x1b", text.splitlines()[0]))
        assert sorted(styles.values()) == sorted("·*-#")
        assert len(styles) == 4

    def test_an_empty_heap(self) -> None:
        assert printed(block_map("")).splitlines() == ["           · free  * head  - tail  # mark"]


class TestNotebook:
    def test_the_same_lines_in_html(self) -> None:
        html = block_map("*-" + "·" * 62 + "·" * 128)._repr_html_()
        assert html.startswith("<pre ")
        assert html.endswith("</pre>")
        text = re.sub(r"<[^>]*>", "", html).replace("&times;", TIMES)
        assert text.splitlines() == [
            "   0x10000 *-" + "·" * 62,
            "   0x10800 " + "·" * 64 + f" {TIMES} 2 lines",
            "           · free  * head  - tail  # mark",
        ]

    def test_each_state_has_its_color(self) -> None:
        line = block_map("·*-#")._repr_html_().splitlines()[0]
        runs = re.findall(r'<span style="color:(#[0-9a-f]{6})">([·*#-])</span>', line)
        assert [glyph for _, glyph in runs] == list("·*-#")
        assert len({color for color, _ in runs}) == 4


@pytest.mark.parametrize("collector", Collector)
def test_the_lowest_free_run_is_the_first_of_all(collector: Collector) -> None:
    for byte in range(256):
        for end_block in (1, 3, 4, 6, 8):
            table = bytes([byte, 0x40])
            runs = free_runs_of(table, collector, end_block)
            assert lowest_free_run_of(table, collector, end_block) == (runs[0] if runs else None)
