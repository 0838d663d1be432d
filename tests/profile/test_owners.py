"""Who an address belonged to: each object that had it, in the order of births, and what became of it."""

from __future__ import annotations

import io
import random

import pytest
from rich.console import Console

from small_recordings import Rows, known, opened
from tinyheap import profile
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.schema import EventKind
from tinyheap.report.terminal.results import renderable_of


def served() -> Rows:
    """An address that three objects had, of which two collections freed two."""
    rows = Rows()
    stack = rows.path("main.main", "main.load")
    for size_bytes in (40, 24, 8):
        birth = rows.allocate(size_bytes, stack)
        birth.address = 0x10100
        if size_bytes != 8:
            rows.collect(birth)
    return rows


def shown(result: object) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(renderable_of(result))
    return console.export_text()


def test_blocks_that_are_used_again_have_several_owners() -> None:
    with opened(served()) as recording:
        first, third = (known(profile.owners_of(recording, address)) for address in (0x10108, 0x10128))
        beyond = known(profile.owners_of(recording, 0x10130))
    assert [(each.object.object_id, each.offset_bytes, each.ended) for each in first.owners] == [
        (1, 8, "collection"),
        (2, 8, "collection"),
        (3, 8, None),
    ]
    # 40 bytes are three blocks of 16.
    assert [each.object.object_id for each in third.owners] == [1]
    assert (beyond.count, beyond.owners) == (0, ())
    text = shown(first)
    for line in (
        "0x10108 belonged to 3 objects, one after another",
        "object 1: 40 B at 0x10100, which begins 8 bytes before",
        "allocated after 10 ns by",
        "    main.load+0x20",
        "freed by collection 1, after 25 ns",
        "lives at the end",
    ):
        assert line in text, text


def test_the_last_owners_are_told_of() -> None:
    with opened(served()) as recording:
        found = known(profile.owners_of(recording, 0x10100, most=2))
    assert (found.count, [each.object.object_id for each in found.owners]) == (3, [2, 3])
    assert "these are the last 2" in shown(found)


def test_an_owner_that_was_inferred_to_be_dead_says_by_whom() -> None:
    rows = Rows(source="injected", collector="boehm")
    first, second = rows.path("main.first"), rows.path("main.second")
    for stack in (first, second, second):
        rows.allocate(20, stack).address = 0x10100
    rows.other(EventKind.FREE)
    rows.inferred_deaths = [(1, 2), (2, 3), (3, 4)]
    with opened(rows) as recording:
        found = known(profile.owners_of(recording, 0x10110))
        # Blocks are nobody's business where another allocator made the object.
        assert known(profile.owners_of(recording, 0x10114)).count == 0
    assert found.lives is Lives.AT_MOST
    assert [each.ended for each in found.owners] == ["reuse", "reuse", "free"]
    assert [[frame.function for frame in each.end_stack] for each in found.owners] == [["main.second"]] * 2 + [[]]
    text = shown(found)
    assert "dead by 20 ns, when its bytes were handed out again to" in text
    assert "freed after 40 ns by" in text


@pytest.mark.parametrize(
    ("infers_deaths", "words"), [(True, "not seen to be dead"), (False, "when it died is unknown")]
)
def test_where_no_death_was_seen_none_is_claimed(infers_deaths: bool, words: str) -> None:
    rows = Rows(source="injected", collector="boehm", infers_deaths=infers_deaths)
    birth = rows.allocate(16)
    with opened(rows) as recording:
        assert words in shown(profile.owners_of(recording, birth.address))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_owners_are_those_of_a_plain_loop(seed: int) -> None:
    rng, rows = random.Random(seed), Rows(source="injected", collector="boehm")
    for _ in range(300):
        rows.allocate(rng.randrange(1, 60)).address = 0x1000 + 8 * rng.randrange(40)
    with opened(rows) as recording:
        for address in rng.sample(range(0x1000, 0x1180), 20):
            expected = [b.object_id for b in rows.births if b.address <= address < b.address + b.size_bytes]
            found = known(profile.owners_of(recording, address, most=1000))
            assert [each.object.object_id for each in found.owners] == expected
            assert found.count == len(expected)
