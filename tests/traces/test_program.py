"""The trace format: reading, writing, and the messages for what is refused."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.errors import GeometryError, InvalidTypeError, TraceError
from tinyheap.traces import trace
from tinyheap.traces.replay import replay
from tinyheap.traces.trace import (
    BOMB_FLOOR_BYTES,
    COUNT_FLOOR,
    LAYOUT_LIMIT_BYTES,
    MAGIC,
    Fault,
    Op,
    Trace,
    TraceBuilder,
    TraceGrowth,
    describe_step,
    read_trace,
    write_trace,
)

HEADER = {
    "magic": MAGIC,
    "word_bytes": 4,
    "object_ids": 4,
    "root_slots": 2,
    "heap_bytes": 4096,
    "limit_bytes": 8192,
    "growth": 0,
    "header_alignment_bytes": 0,
}
U32 = st.integers(0, 2**32 - 1)


def file_of(*steps: tuple[int, int, int, int], **header: int) -> bytes:
    fields = {**HEADER, **header}.values()
    return struct.pack("<8I", *fields) + b"".join(struct.pack("<4I", *step) for step in steps)


def fault_of(*steps: tuple[int, int, int, int], **header: int) -> str:
    with pytest.raises(TraceError) as caught:
        Trace.from_bytes(file_of(*steps, **header)).check()
    return str(caught.value)


@pytest.fixture
def program() -> Trace:
    builder = TraceBuilder(
        4096, word_bytes=8, limit_bytes=65536, growth=TraceGrowth.FOUR_THIRDS, header_alignment_bytes=16
    )
    first, second = builder.alloc(64), builder.alloc(24, layout=0b1_000011_1)
    builder.root(1, first, offset_bytes=8)
    builder.store(first, 7, second, interior_words=2)
    builder.store_address(first, 0, 123)
    builder.store_integer(second, 2, 2**32 - 1)
    builder.realloc(first, 100)
    builder.copy(second, first)
    builder.root(1)
    builder.collect()
    return builder.build()


def test_the_builder_writes_the_documented_words(program: Trace) -> None:
    assert program.to_bytes() == file_of(
        (0, 1, 64, 0),
        (0, 2, 24, 0b1_000011_1),
        (2, 1, 1, 8),
        (1, 1, 7 | 2 << 20, 2),
        (4, 1, 0, 123),
        (6, 2, 2, 2**32 - 1),
        (5, 1, 100, 0),
        (7, 2, 1, 0),
        (2, 1, 0, 0),
        (3, 0, 0, 0),
        word_bytes=8,
        object_ids=3,
        root_slots=2,
        heap_bytes=4096,
        limit_bytes=65536,
        growth=1,
        header_alignment_bytes=16,
    )
    program.check()


@pytest.mark.parametrize("name", ["plain.trace", "packed.trace.gz"])
def test_files_are_read_back(program: Trace, tmp_path: Path, name: str) -> None:
    write_trace(tmp_path / name, program)
    assert read_trace(tmp_path / name) == program


def test_compression_goes_by_content_on_reading(program: Trace, tmp_path: Path) -> None:
    (tmp_path / "misnamed").write_bytes(gzip.compress(program.to_bytes()))
    assert read_trace(tmp_path / "misnamed") == program


def test_the_same_program_makes_the_same_compressed_bytes(program: Trace, tmp_path: Path) -> None:
    write_trace(tmp_path / "one.gz", program)
    write_trace(tmp_path / "another.gz", program)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "another.gz").read_bytes()


def test_gzip_of_several_members_and_padding(program: Trace, tmp_path: Path) -> None:
    data = program.to_bytes()
    (tmp_path / "t.gz").write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]) + bytes(10))
    assert read_trace(tmp_path / "t.gz") == program


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda packed: packed[:-9], "truncated gzip data"),
        (lambda packed: packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:], "damaged gzip data"),
        (lambda packed: packed + b"trash", "damaged gzip data"),
    ],
)
def test_harmed_gzip_data_is_refused(
    program: Trace, tmp_path: Path, harm: Callable[[bytes], bytes], words: str
) -> None:
    (tmp_path / "t.gz").write_bytes(harm(gzip.compress(program.to_bytes())))
    with pytest.raises(TraceError, match=words):
        read_trace(tmp_path / "t.gz")


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(2 * BOMB_FLOOR_BYTES)))
    with pytest.raises(TraceError, match="unpack to more than"):
        read_trace(tmp_path / "bomb.gz")


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_truncated_header(length: int) -> None:
    with pytest.raises(TraceError, match=f"truncated header: the file has {length} of its 32 bytes"):
        Trace.from_bytes(file_of()[:length])


@pytest.mark.parametrize("cut", [1, 4, 15])
def test_a_truncated_step_is_named(cut: int) -> None:
    data = file_of((3, 0, 0, 0), (3, 0, 0, 0))
    with pytest.raises(TraceError, match=f"step 1 at byte 48 has {16 - cut} of its 16 bytes"):
        Trace.from_bytes(data[:-cut])


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"magic": 0x12345678}, "invalid magic 0x12345678"),
        ({"word_bytes": 3}, "invalid word size 3"),
        ({"word_bytes": 0}, "invalid word size 0"),
        ({"heap_bytes": 0}, "a heap of 0 bytes"),
        ({"limit_bytes": 4095}, "limit of 4095 bytes in the header is below"),
        ({"word_bytes": 2, "limit_bytes": 65536}, "2-byte words address less than 64 KiB"),
        ({"growth": 2}, "invalid growth mode 2"),
        ({"header_alignment_bytes": 12}, "invalid header alignment of 12 bytes"),
        ({"header_alignment_bytes": 128}, "invalid header alignment of 128 bytes"),
        ({"object_ids": 2**32 - 1}, "4294967295 object ids"),
        ({"root_slots": 2**32 - 1}, "4294967295 root slots"),
    ],
)
def test_headers_that_make_no_sense(header: dict[str, int], words: str) -> None:
    with pytest.raises(TraceError, match=words):
        Trace.from_bytes(file_of(**header))


def test_a_header_may_count_as_many_ids_as_steps_could_bind() -> None:
    assert Trace.from_bytes(file_of(object_ids=COUNT_FLOOR)).object_ids == COUNT_FLOOR


ALLOC = (0, 1, 16, 0)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(11, 0, 0, 0)], r"step 0 \(operation 11\): there are only operations 0 to 10"),
        ([(0, 4, 16, 0)], r"step 0 \(ALLOC id=4 size=16 layout=0x0\): an id must be below"),
        ([(0, 0, 16, 0)], "id 0 stands for null"),
        ([(5, 0, 16, 0)], "id 0 stands for null"),
        ([(7, 0, 0, 0)], "id 0 stands for null"),
        ([(0, 1, 2**32 - 1, 0)], "do not fit the address space"),
        ([ALLOC, (5, 1, 2**32 - 1, 0)], "do not fit the address space"),
        ([(1, 1, 0, 0)], "bound to no object"),
        ([ALLOC, (1, 1, 0, 4)], "an id must be below"),
        ([ALLOC, (1, 4, 0, 1)], "an id must be below"),
        ([ALLOC, (1, 1, 4, 1)], r"step 1 \(STORE id=1 word=4 value=id 1 \+ 0 words\): the word lies outside"),
        ([ALLOC, (4, 1, 4, 0)], "the word lies outside"),
        ([ALLOC, (6, 1, 2**32 - 1, 0)], "the word lies outside"),
        ([(0, 1, 3, 0), (6, 1, 0, 0)], "the word lies outside"),
        ([(0, 1, 0, 0), (6, 1, 0, 0)], "the word lies outside"),
        ([(0, 1, 0, 0), (5, 1, 16, 0)], "a zero-sized object is not on the heap"),
        ([ALLOC, (2, 2, 1, 0)], "a root slot must be below"),
        ([(2, 0, 1, 0)], "bound to no object"),
        ([(2, 0, 4, 0)], "an id must be below"),
        ([(7, 1, 4, 0)], "an id must be below"),
        ([(4, 4, 0, 0)], "an id must be below"),
        ([(0, 1, 16, 16 * LAYOUT_LIMIT_BYTES + 2)], "all out-of-line layouts together"),
    ],
)
def test_steps_that_no_collector_could_run(steps: list[tuple[int, int, int, int]], words: str) -> None:
    program = Trace.from_bytes(file_of(*steps))
    with pytest.raises(TraceError, match=words):
        program.check()


def test_a_16_bit_layout_has_to_fit_its_word() -> None:
    assert "layout word does not fit" in fault_of((0, 1, 16, 0x10001), word_bytes=2)


@pytest.mark.parametrize(
    "steps",
    [
        [(0, 1, 16, 0), (1, 1, 3, 2), (1, 1, 0, 0)],  # a value that is not bound counts as null
        [(0, 1, 16, 0), (5, 1, 40, 0), (6, 1, 9, 0)],  # a reallocation makes the object larger
        [(0, 1, 16, 0), (5, 1, 8, 0), (6, 1, 3, 0)],  # and never smaller
        [(5, 1, 16, 0), (6, 1, 3, 0)],  # null may be reallocated
        [(0, 1, 16, 0), (7, 2, 1, 0), (6, 2, 3, 0)],  # a copy has the size of what it names
        [(0, 1, 16, 0), (2, 0, 1, 2**32 - 1), (2, 0, 0, 0)],
        [(0, 1, 0, 0), (2, 0, 1, 0), (3, 7, 7, 7)],
        [(0, 1, 2**32 - 20, 0)],  # the largest size that its blocks can be counted for
    ],
)
def test_steps_that_are_odd_but_sound(steps: list[tuple[int, int, int, int]]) -> None:
    Trace.from_bytes(file_of(*steps)).check()


def test_a_copy_of_nothing_is_nothing() -> None:
    assert "bound to no object" in fault_of((0, 1, 16, 0), (7, 1, 2, 0), (6, 1, 0, 0))


@pytest.mark.parametrize("where", [{"word": 1 << 20}, {"word": 0, "interior_words": 1 << 12}, {"word": -1}])
def test_the_builder_refuses_what_a_store_cannot_say(where: dict[str, Any]) -> None:
    builder = TraceBuilder(4096)
    with pytest.raises(TraceError, match="20 bits for the word"):
        builder.store(builder.alloc(8), value=0, **where)


def test_there_is_no_step_past_the_last(program: Trace) -> None:
    assert program.step(program.step_count - 1) == (3, 0, 0, 0)
    with pytest.raises(IndexError):
        program.step(program.step_count)


@given(
    header=st.fixed_dictionaries({}, optional=dict.fromkeys(HEADER, U32)),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 40) | U32, st.integers(0, 5) | U32)),
    cut=st.integers(0, 20),
)
def test_any_file_is_read_whole_or_refused(
    header: dict[str, int], steps: list[tuple[int, int, int, int]], cut: int
) -> None:
    data = file_of(*steps, **header)
    data = data[: len(data) - cut]
    with suppress(TraceError):
        program = Trace.from_bytes(data)
        program.check()
        assert program.to_bytes() == data


HUGE = 10**5000
NO_WORDS = (1.5, "8", None, -1, 1 << 32, HUGE)


@pytest.mark.parametrize("value", NO_WORDS, ids=lambda value: "huge" if value == HUGE else repr(value))
def test_numbers_that_fit_no_word_are_refused_where_they_are_given(value: Any) -> None:  # noqa: ANN401
    builder = TraceBuilder(4096)
    first = builder.alloc(8)
    before = builder.build()
    for ask in (
        lambda: builder.alloc(value),
        lambda: builder.alloc(8, value),
        lambda: builder.realloc(first, value),
        lambda: builder.store_address(first, 0, value),
        lambda: builder.store_integer(first, 0, value),
        lambda: builder.copy(value, first),
    ):
        with pytest.raises(TraceError, match="invalid step") as caught:
            ask()
        assert len(str(caught.value)) < 200
    assert builder.build() == before
    for options in ({"heap_bytes": value}, {"heap_bytes": 8, "limit_bytes": value if value is not None else "8"}):
        with pytest.raises(TraceError, match="in the header: expected a whole number of 32 bits"):
            TraceBuilder(**options).build()


@pytest.mark.parametrize("engine_name", ["kernel", "model"])
@pytest.mark.parametrize("name", ["heap_bytes", "limit_bytes", "mark_stack_entries"])
def test_sizes_of_replays_are_numbers(kernel: object, engine_name: str, name: str) -> None:
    builder = TraceBuilder(4096)
    builder.alloc(8)
    program = builder.build()
    for wrong in ("8", 1.5, True, -1, -HUGE):
        with pytest.raises((InvalidTypeError, GeometryError)) as caught:
            replay(program, engine=engine_name, **cast(Any, {name: wrong}))
        assert len(str(caught.value)) < 200
    if name == "mark_stack_entries":
        assert replay(program, engine=engine_name, mark_stack_entries=HUGE).addresses.tolist() == [0]


def test_compiled_code_has_the_same_operations_and_faults(kernel: object) -> None:
    from tinyheap.traces import _replay

    compiled = {name: value for name, value in vars(_replay).items() if name.isupper() and isinstance(value, int)}
    numbers = {each.name: int(each) for each in (*Op, *Fault)}
    # No fault is 0 there, what only running finds is a flag of the player, and what the collector has not is known before.
    del numbers["NONE"], numbers["STRAY_WRITE"], numbers["NO_FINALIZERS"]
    fields = {name: getattr(trace, name) for name in ("STORE_WORD_MASK", "STORE_INTERIOR_SHIFT", "LAYOUT_LIMIT_BYTES")}
    assert compiled == numbers | fields


def test_each_operation_and_fault_is_described() -> None:
    for op in Op:
        assert f"({op.name}" in describe_step(0, (op, 1, 2, 3))
    assert all(fault.reason for fault in Fault if fault)
