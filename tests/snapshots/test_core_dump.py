"""Snapshots as core dumps: what is written is read again, by other tools, too; and nothing in a file is believed."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

import needs
from tinyheap.errors import InputError, SnapshotError
from tinyheap.heap.collectors import Collector
from tinyheap.snapshots import (
    Frame,
    GlobalValue,
    HeapRecord,
    Moment,
    MomentKind,
    Origins,
    RootRange,
    RootRangeKind,
    Snapshot,
)
from tinyheap.units import MIB, WASM_PAGE_BYTES
from tinyheap.wasm.leb128 import encode_unsigned

WORDS = st.integers(0, (1 << 32) - 1)
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)
HEADER = b"\0asm\1\0\0\0"


def memory_of(pages: int, pieces: dict[int, bytes]) -> memoryview:
    memory = bytearray(pages * WASM_PAGE_BYTES)
    for at, piece in pieces.items():
        memory[at : at + len(piece)] = piece
    return memoryview(bytes(memory[: pages * WASM_PAGE_BYTES]))


def full() -> Snapshot:
    """A snapshot that has everything."""
    return Snapshot(
        memory_of(3, {5: b"low", 70_000: b"middle", 3 * WASM_PAGE_BYTES - 1: b"!"}),
        Moment(MomentKind.COLLECTION, 3),
        "the program trapped (unreachable) in main.main",
        "app.wasm",
        "ab" * 32,
        65_000,
        (GlobalValue("sp", "i32", 0xFFFF_FFFF), GlobalValue("big", "i64", 1 << 63), GlobalValue("f", "f64", 1.5)),
        (Frame(3, 40, "main.walk"), Frame(7, 0, "größe")),
        HeapRecord(
            Collector.BEST_FIT_BACK,
            True,
            WASM_PAGE_BYTES,
            WASM_PAGE_BYTES,
            True,
            (RootRange(RootRangeKind.STACK, 64_000, 65_000), RootRange(RootRangeKind.GLOBALS, 65_000, 65_536)),
            (65_100, 65_104),
            0x670C_1333,
        ),
        77,
        Origins((70_000,), (5,), (123,), (16,), (0,), ("main.new (main.go:5)",)),
    )


ranges = st.tuples(st.sampled_from(RootRangeKind), st.integers(0, 9000), st.integers(9000, WASM_PAGE_BYTES))
snapshots = st.builds(
    Snapshot,
    memory=st.builds(
        memory_of,
        st.integers(1, 3),
        st.dictionaries(st.integers(0, 3 * WASM_PAGE_BYTES), st.binary(min_size=1, max_size=9000), max_size=3),
    ),
    moment=st.none() | st.builds(Moment, st.sampled_from(MomentKind), st.integers(0, 1 << 62)),
    trap=st.none() | NAMES,
    module_name=NAMES,
    module_sha256=st.none() | st.just("0" * 64),
    stack_pointer=st.none() | WORDS,
    globals=st.lists(
        st.builds(GlobalValue, NAMES, st.just("i32"), WORDS)
        | st.builds(GlobalValue, NAMES, st.just("i64"), st.integers(0, (1 << 64) - 1))
        | st.builds(GlobalValue, NAMES, st.just("f64"), st.floats(allow_nan=False)),
        max_size=4,
    ).map(tuple),
    frames=st.lists(st.builds(Frame, WORDS, WORDS, NAMES), max_size=4).map(tuple),
    heap=st.none()
    | st.builds(
        HeapRecord,
        st.sampled_from(Collector),
        st.booleans(),
        st.just(1024),
        st.integers(4000, 8000),
        st.booleans(),
        st.lists(ranges.map(lambda each: RootRange(*each)), max_size=3).map(tuple),
        st.none() | st.tuples(WORDS, WORDS),
        st.none() | WORDS,
    ),
    allocations=st.none() | st.integers(0, 1 << 62),
)


@given(snapshots, st.booleans())
def test_what_is_written_is_read_again(snapshot: Snapshot, compressed: bool) -> None:
    data = snapshot.to_bytes(compressed=compressed)
    assert Snapshot.from_bytes(data) == snapshot
    assert Snapshot.from_bytes(data).to_bytes(compressed=compressed) == data


def test_everything_is_kept_in_a_file(tmp_path: Path) -> None:
    for name in ("a.core", "a.core.gz"):
        full().save(tmp_path / name)
        assert Snapshot.load(tmp_path / name) == full()
    assert (tmp_path / "a.core").read_bytes().startswith(HEADER)
    assert gzip.decompress((tmp_path / "a.core.gz").read_bytes()) == (tmp_path / "a.core").read_bytes()


def test_zeros_take_no_room() -> None:
    empty = Snapshot(memory_of(64, {}))
    assert len(empty.to_bytes()) < 1000
    assert Snapshot.from_bytes(empty.to_bytes()).memory == empty.memory


def test_other_tools_read_it(tmp_path: Path) -> None:
    full().save(tmp_path / "a.core")
    wasmtime.Module.validate(wasmtime.Engine(), full().to_bytes())
    objdump = needs.tool("wasm-objdump")
    said = subprocess.run([objdump, "-x", tmp_path / "a.core"], capture_output=True, text=True, check=True).stdout
    assert "pages: initial=3" in said
    for name in ("core", "coremodules", "coreinstances", "corestack", "tinyheap"):
        assert f'name: "{name}"' in said
    assert said.count("memory=0") == 3  # segments


def test_a_bare_image_is_read() -> None:
    image = bytes(range(256)) * 256
    snapshot = Snapshot.from_bytes(image)
    assert snapshot.memory == image
    assert snapshot.heap is None
    assert snapshot.when == "an unknown moment"


# ---- dumps of other tools -----------------------------------------------------------------------------------------------


def sized(data: bytes) -> bytes:
    return encode_unsigned(len(data)) + data


def section(number: int, data: bytes) -> bytes:
    return bytes([number]) + sized(data)


def custom(name: bytes, data: bytes) -> bytes:
    return section(0, sized(name) + data)


CORE = custom(b"core", b"\0\x03app")
MEMORY = section(5, b"\1\0\1")
GLOBALS = section(6, b"\1\x7f\0\x41\x7f\x0b")
DATA = section(11, b"\1\0\x41\x10\x0b\4data")
VALUES = b"\4\x7f\x7f\x7e\1\x7d1234\x01" + b"\1\x7c12345678"


@pytest.mark.parametrize("names_instance", [False, True])
def test_dumps_of_other_tools_are_read(names_instance: bool) -> None:
    instance = b"\0" if names_instance else b""
    stack = custom(b"corestack", b"\0\4main\2" + b"\0" + instance + b"\3\4" + VALUES + b"\0" + instance + b"\5\0\0\0")
    instances = custom(b"coreinstances", b"\1\0\0\1\0\1\0") if names_instance else b""
    # Custom sections may stand anywhere.
    snapshot = Snapshot.from_bytes(HEADER + CORE + instances + MEMORY + GLOBALS + stack + DATA)
    assert snapshot.frames == (Frame(3, 4, "function 3"), Frame(5, 0, "function 5"))
    assert snapshot.globals == (GlobalValue("global[0]", "i32", 0xFFFF_FFFF),)
    assert bytes(snapshot.memory[16:20]) == b"data"
    assert snapshot.module_name == "app"
    assert snapshot.heap is None


def vector(*items: bytes) -> bytes:
    return encode_unsigned(len(items)) + b"".join(items)


def test_the_instance_that_was_called_last_is_read_of_several() -> None:
    """As wasmtime writes them: all memories and globals of a store, and which instance has which, in its own order."""
    memories = section(5, vector(b"\0\1", b"\0\2"))
    numbers = section(6, vector(*(b"\x7f\1\x41" + bytes([each]) + b"\x0b" for each in (1, 2, 3))))
    data = section(11, vector(b"\0\x41\x10\x0b\5other", b"\2\1\x41\x20\x0b\4mine"))
    one = b"\0\0" + vector(b"\0") + vector(b"\1")
    two = b"\0\1" + vector(b"\1") + vector(b"\2", b"\0")
    frames = [b"\0\1\7\4\0\0", b"\0\0\3\4\0\0", b"\0\1\x08\4\0\0"]
    stack = custom(b"corestack", b"\0\4main" + vector(*frames))
    modules = custom(b"coremodules", vector(b"\0\5other", b"\0\4mine"))
    dump = HEADER + CORE + modules + custom(b"coreinstances", vector(one, two)) + memories + numbers + data + stack
    snapshot = Snapshot.from_bytes(dump)
    assert len(snapshot.memory) == 2 * WASM_PAGE_BYTES
    assert bytes(snapshot.memory[32:36]) == b"mine"
    assert [(each.name, each.value) for each in snapshot.globals] == [("global[0]", 3), ("global[1]", 1)]
    assert [frame.function for frame in snapshot.frames] == [7, 8]
    for wrong in (b"\1\0\0\0", b"\0\0" + vector(b"\2") + b"\0", b"\0\0\0" + vector(b"\3")):
        with pytest.raises(SnapshotError, match="an instance"):
            Snapshot.from_bytes(HEADER + CORE + custom(b"coreinstances", vector(wrong)) + memories + numbers)


# ---- hostile files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "invalid snapshot of 0 bytes: expected a WebAssembly core dump, or the image"),
        (b"x" * 1000, "invalid snapshot of 1,000 bytes"),
        (HEADER + MEMORY, "expected a core dump, and this is a module"),
        (HEADER + CORE, "it has no memory"),
        (HEADER + CORE + section(5, b"\1\0\0"), "its memory has 0 pages"),
        (HEADER + CORE + section(5, b"\1\0\x81\x80\x04"), "pages|malformed|invalid"),
        (HEADER + CORE + MEMORY + section(11, b"\1\0\x41\x7f\x0b\4data"), "lie outside of its memory"),
        (HEADER + CORE + MEMORY + custom(b"corestack", b"\1\0\0"), "a thread of an unknown form"),
        (HEADER + CORE + MEMORY + custom(b"corestack", b"\0\0\xff\xff\xff\xff\x0f"), "entries are announced"),
        (HEADER + CORE + MEMORY + custom(b"corestack", b"\0\0\1\1"), "a frame of an unknown form"),
        (HEADER + CORE + MEMORY + custom(b"corestack", b"\0\0\1\0\0\0\1\5\0"), "a value of the unknown kind 0x5"),
        (HEADER + CORE + MEMORY + custom(b"tinyheap", b'{"format": 2}'), "invalid snapshot of format 2: expected 1"),
        (HEADER + CORE + MEMORY + custom(b"tinyheap", b"[" * 100_000), "its section `tinyheap` is damaged"),
        (HEADER + CORE + MEMORY + custom(b"tinyheap", b"9" * 10_000), "its section `tinyheap` is damaged"),
        (gzip.compress(b"x" * WASM_PAGE_BYTES, mtime=0)[:-9], "its compressed content is damaged"),
        (b"\x1f\x8b\x08\0nothing of the kind", "its compressed content is damaged"),
    ],
    ids=range(16),
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        Snapshot.from_bytes(data)


def test_compressed_zeros_are_not_unpacked_without_end() -> None:
    with pytest.raises(SnapshotError, match="more than 1,048,576 bytes"):
        Snapshot.from_bytes(gzip.compress(bytes(64 * MIB)), most_bytes=MIB)


def test_4_gib_of_memory_are_claimed_and_not_taken() -> None:
    snapshot = Snapshot.from_bytes(HEADER + CORE + section(5, b"\1\0\x80\x80\x04"))
    assert len(snapshot.memory) == 1 << 32
    assert snapshot.word_at((1 << 32) - 4) == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("heap", "start_address"), -1),
        (("heap", "start_address"), "x"),
        (("heap", "heap_bytes"), 1 << 31),
        (("heap", "heap_bytes"), 0.5),
        (("heap", "collector"), "boehm"),
        (("heap", "is_precise"), 1),
        (("heap", "roots"), [{"kind": "stack", "start_address": 8, "end_address": 4}]),
        (("heap", "roots"), [{"kind": "stack", "start_address": 8, "end_address": 1 << 32}]),
        (("heap", "finalizer_lists"), [1]),
        (("heap", "stack_canary"), "x"),
        (("moment",), {"kind": "noon", "number": 1}),
        (("frames",), ["only one"]),
        (("frames",), [1, 2]),
        (("trap",), 5),
        (("origins", "site"), [1]),
        (("origins", "address"), []),
        (("origins", "number"), ["x"]),
        (("stack_pointer",), 1 << 40),
    ],
    ids=str,
)
def test_lies_in_our_own_section_are_refused(path: tuple[str, ...], value: object) -> None:
    data = full().to_bytes()
    at = data.rindex(b'{"format"')
    known = json.loads(data[at:])
    place = known
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    head = data[: data.rindex(b"\x08tinyheap") - 1]
    while True:
        # What comes before is the section's length, of up to five bytes.
        try:
            Snapshot.from_bytes(head)
            break
        except SnapshotError:
            head = head[:-1]
    with pytest.raises(SnapshotError):
        Snapshot.from_bytes(head + custom(b"tinyheap", json.dumps(known).encode()))


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_are_refused_or_read(seed: int) -> None:
    data, chance = full().to_bytes(), random.Random(seed)
    for _ in range(100):
        damaged = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            Snapshot.from_bytes(bytes(damaged))
        except SnapshotError as error:
            assert str(error)  # noqa: PT017 - any file may be sound


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.core: "):
        Snapshot.load(tmp_path / "none.core")
    (tmp_path / "bad.core").write_bytes(b"bad")
    with pytest.raises(SnapshotError, match=r"bad\.core: invalid snapshot of 3 bytes"):
        Snapshot.load(tmp_path / "bad.core")


def test_another_module_is_refused_by_its_hash() -> None:
    full().check_module("ab" * 32)
    with pytest.raises(SnapshotError, match=r"SHA-256 cccccccccccccccc.*of app\.wasm abababab"):
        full().check_module("c" * 64)
