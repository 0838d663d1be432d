"""A view of a heap: objects and blocks of any engine, and of memory that was overwritten."""

import pytest

from tinyheap.errors import HeapCorruptError, InvalidAddressError, LayoutError
from tinyheap.heap import Gc, Layout
from tinyheap.heap.view import HeapView, walk
from workbench import MakeBench, Workbench


def view_of(bench: Workbench, gc: Gc = Gc.CONSERVATIVE) -> HeapView:
    return HeapView(bench.engine, gc, lambda word: Layout.from_word(word, 8))


def test_objects_are_heads_and_marks_with_their_tails(bench: MakeBench) -> None:
    one = bench(12)
    one.lay(".*--..*#-.*")
    found = list(walk(view_of(one).next_object))
    assert [(each.head, each.blocks) for each in found] == [(1, 3), (6, 1), (7, 2), (10, 1)]
    assert [(each.address, each.size_bytes) for each in found] == [
        (one.address(1), 96),
        (one.address(6), 32),
        (one.address(7), 64),
        (one.address(10), 32),
    ]


def test_a_walk_sees_what_happens_before_it_comes_there(bench: MakeBench) -> None:
    one = bench(8)
    one.lay("*.*.*...")
    heads = []
    for each in walk(view_of(one).next_object):
        heads.append(each.head)
        if each.head == 0:
            one.lay("*...*-*.")
    assert heads == [0, 4, 6]


def test_every_address_of_an_object_leads_to_it(bench: MakeBench) -> None:
    one = bench(4)
    one.lay(".*-.")
    view = view_of(one)
    for address in range(one.address(1), one.address(3)):
        assert view.object_at(address) == view.object_from(one.address(1))
    for outside in (one.address(1) - 1, one.address(3)):
        with pytest.raises(InvalidAddressError, match="which is free"):
            view.object_at(outside)
    with pytest.raises(InvalidAddressError, match=f"pass {one.address(1):#x}"):
        view.object_from(one.address(2))


def test_a_tail_without_a_head_is_corrupt(bench: MakeBench) -> None:
    one = bench(4)
    one.lay(".-*.")
    with pytest.raises(HeapCorruptError, match=r"block 1 at .* is a tail without a head"):
        view_of(one).object_at(one.address(1))


def test_the_layout_of_a_precise_object_comes_from_its_header(bench: MakeBench) -> None:
    one = bench(4, gc=Gc.PRECISE)
    word = Layout.pattern("p..").inline_word(8)
    assert word is not None
    address = one.engine.alloc(40, word)
    view = view_of(one, Gc.PRECISE)
    found = view.object_from(address)
    assert (found.address, found.size_bytes, found.layout) == (one.address(0) + 8, 56, Layout.pattern("p.."))
    # As if something had written there.
    one.engine.store_word(one.address(0), 0x4242)
    with pytest.raises(LayoutError):
        view.layout_of(0x4242)
    assert view.object_from(address).layout is None


def test_bytes_have_to_be_inside_of_one_object(bench: MakeBench) -> None:
    one = bench(4, gc=Gc.PRECISE)
    first, second = one.engine.alloc(40), one.engine.alloc(8)
    view = view_of(one, Gc.PRECISE)
    view.check_inside(first, 56)
    view.check_inside(second, 24)
    with pytest.raises(InvalidAddressError, match="in the header of the object"):
        view.check_inside(first - 8, 8)
    with pytest.raises(InvalidAddressError, match=r"57 bytes at .* reach past the object"):
        view.check_inside(first, 57)


def test_statistics_are_the_engines(bench: MakeBench) -> None:
    one = bench(8)
    view = view_of(one)
    one.engine.alloc(40)
    assert view.census() == one.engine.census()
    assert str(view.dump()) == "heap:\n*-······"
    stats = view.stats()
    assert (stats.mallocs, stats.heap_inuse, stats.heap_idle) == (1, 64, 192)
