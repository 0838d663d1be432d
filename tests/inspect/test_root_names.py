"""Names of roots: every word of a range once, by variable or frame; and what a compiler left of a variable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspected_heaps import graph_of
from tinyheap.heap import Heap
from tinyheap.heap.collectors import Collector
from tinyheap.inspect import RootKind
from tinyheap.inspect.goroutines import STACK, GoroutineNames
from tinyheap.inspect.nameless import nameless_spans
from tinyheap.inspect.naming import UNNAMED
from tinyheap.inspect.roots import LENT, Span, root_table, without_overlaps
from tinyheap.snapshots import HeapRecord, RootRange, RootRangeKind, Snapshot

spans = st.lists(
    st.builds(
        lambda at, size, name: Span(at, at + size, name),
        st.integers(0, 400),
        st.integers(1, 60),
        st.sampled_from("abc"),
    ),
    max_size=8,
)
ranges = st.lists(
    st.builds(
        lambda kind, at, words: RootRange(kind, at, at + 4 * words),
        st.sampled_from(RootRangeKind),
        st.integers(0, 300),
        st.integers(0, 40),
    ),
    max_size=4,
)


@given(ranges, spans)
def test_each_word_of_each_range_is_a_root_once(roots: list[RootRange], named: list[Span]) -> None:
    record = HeapRecord(Collector.NEXT_FIT, False, 1024, 4096, roots=tuple(roots))
    snapshot = Snapshot(memoryview(bytes(range(256)) * 32), heap=record)
    names = without_overlaps(named)
    table = root_table(snapshot, names, names)
    wanted = [address for each in roots for address in range(each.start_address, each.end_address - 3, 4)]
    assert table.address.tolist() == wanted
    assert table.value.tolist() == [snapshot.word_at(address) for address in wanted]
    for index, address in enumerate(wanted):
        source = table.source_of(index)
        if source.name in ("a", "b", "c"):
            assert any(span.start_address < address + 4 and address < span.end_address for span in names)


@given(spans)
def test_spans_without_overlaps_cover_the_same(named: list[Span]) -> None:
    found = without_overlaps(named)
    covered = {at for each in named for at in range(each.start_address, each.end_address)}
    kept = [at for each in found for at in range(each.start_address, each.end_address)]
    assert len(kept) == len(set(kept))
    assert set(kept) <= covered
    assert {each.start_address for each in named} == {each.start_address for each in found}


def names_of(mentions: list[tuple[int, str]], unplaced: list[str], *, empty: int = 0) -> list[str]:
    known = [Span(100, 108, "main.known")]
    return [
        each.name for each in nameless_spans(known, mentions, 200, unplaced, lambda span: span.start_address != empty)
    ]


def test_the_only_variable_that_an_address_can_be_names_it() -> None:
    mentions = [(120, "main.add"), (120, "(*main.T).drop"), (120, "runtime.hashmapGet"), (104, "main.add")]
    assert names_of(mentions, ["main.pinned", "other.x"]) == ["main.pinned"]


def test_what_may_be_another_is_not_named_after_a_variable() -> None:
    used = "at 0x78, mentioned by main.add"
    assert names_of([(120, "main.add")], ["main.a", "main.b"]) == [used]
    assert names_of([(120, "main.add")], []) == [used]
    assert names_of([(120, "main.add"), (140, "main.add")], ["main.a"]) == [used, "at 0x8c, mentioned by main.add"]
    assert names_of([(120, "main.add"), (140, "main.add")], ["main.a"], empty=140) == [
        "main.a",
        "at 0x8c, mentioned by main.add",
    ]
    assert names_of([(120, "main.add"), (120, "other.add")], ["main.a"]) == [
        "at 0x78, mentioned by main.add, other.add"
    ]
    many = [(120, f"p{number}.f") for number in range(5)]
    assert names_of(many, []) == ["at 0x78, mentioned by p0.f, p1.f, p2.f and 2 more"]


def test_what_only_malloc_uses_is_lent_to_the_host() -> None:
    assert names_of([(120, "malloc"), (120, "free"), (120, "runtime.hashmapGet")], []) == [LENT]
    record = HeapRecord(Collector.NEXT_FIT, False, 1024, 4096, roots=(RootRange(RootRangeKind.GLOBALS, 120, 128),))
    table = root_table(Snapshot(memoryview(bytes(8192)), heap=record), [Span(120, 124, LENT)])
    assert [source.kind for source in table.sources] == [RootKind.HOST, RootKind.GLOBAL]


def test_finalizers_are_followed_as_far_as_they_can_be() -> None:
    memory = bytearray(8192)

    def entry(at: int, following: int, target: int) -> None:
        memory[at : at + 8] = following.to_bytes(4, "little") + (target ^ 0xFFFF_FFFF).to_bytes(4, "little")

    memory[16:24] = (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    entry(2048, 2080, 5000)
    entry(2080, 2048, 5001)  # a circle
    entry(4096, 1 << 31, 5002)  # out of memory
    record = HeapRecord(Collector.BEST_FIT_BACK, False, 1024, 4096, finalizer_lists=(16, 20))
    table = root_table(Snapshot(memoryview(bytes(memory)), heap=record))
    assert table.value.tolist() == [5000, 5001, 5002]
    assert {source.kind for source in table.sources} == {RootKind.FINALIZER}


def test_stacks_of_goroutines_are_known_by_their_first_word() -> None:
    heap = Heap(8192, word_bytes=4)
    made = [heap.alloc(size) for size in (2048, 2048, 64)]
    for address in (made[0], made[2]):
        at = address - heap.geometry.start_address
        heap._memory[at : at + 4] = (0x670C_1333).to_bytes(4, "little")
    groups = GoroutineNames(0x670C_1333).groups(graph_of(heap, made))
    assert [groups.names[number] for number in groups.of] == [STACK, UNNAMED, UNNAMED]
