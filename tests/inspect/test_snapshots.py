"""Snapshots of real programs: what nothing is said to hold is exactly what the collection frees that begins just then."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

import numpy as np
import pytest

import guests_modules
from guests import texts
from tinyheap import formatters
from tinyheap.errors import DriverError, GuestError, HostError, SnapshotError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.heap import Heap
from tinyheap.heap.collectors import Collector
from tinyheap.heap.stats import Collection
from tinyheap.hosts import Grants
from tinyheap.inspect import Inspection, RootKind, object_view, objects_of, overview, why
from tinyheap.inspect.paths import Verdict
from tinyheap.snapshots import HeapRecord, Moment, MomentKind, RootRange, RootRangeKind, Snapshot
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_signed, encode_unsigned

MODULES = ["gofmt-0.4.9", "sh-syntax-0.4.2", "sh-syntax-0.5.8", "sh-syntax-0.6.0", "sh-syntax-0.7.0"]
"""Conservative and precise, of all collectors."""
MOMENTS, MOST_MOMENTS = 5, 20
"""In CI, and in the long form."""


@dataclass
class Watcher:
    """Takes a snapshot at the beginning of some collections, and what each of these leaves."""

    program: Program
    most: int = MOMENTS
    every: int = 1
    allocation: int | None = None
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    left: dict[int, list[int]] = field(default_factory=dict)
    hidden: dict[int, int] = field(default_factory=dict)

    def allocation_begins(self) -> None:
        raise AssertionError("none is watched")

    def collection_begins(self, number: int) -> None:
        if (number == 1 or number % self.every == 0) and len(self.snapshots) < self.most:
            assert self.program.heap is not None
            serving = self.program.heap._open().serving
            assert serving is not None
            self.hidden[number] = len(list(serving.hidden()))
            self.snapshots[number] = self.program._taker.take(Moment(MomentKind.COLLECTION, number), is_waiting=True)

    def collection_ended(self, collection: Collection) -> None:
        if collection.number in self.snapshots:
            assert self.program.heap is not None
            self.left[collection.number] = [each.address for each in self.program.heap.objects()]


def watch(program: Program, most: int, every: int = 1) -> Watcher:
    watcher = Watcher(program, most, every)
    assert program.heap is not None
    program.heap._open().watch = watcher
    return watcher


def assert_exact(watcher: Watcher, *, names: bool) -> None:
    """What each snapshot's graph reaches is what the collection left."""
    assert watcher.snapshots
    for number, snapshot in watcher.snapshots.items():
        inspection = Inspection.of(snapshot, watcher.program.wasm if names else None)
        graph = inspection.graph
        assert graph.addresses[~graph.is_garbage].tolist() == watcher.left[number], f"collection {number}"
        assert graph.orphan_blocks == 0


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.share(1)
def test_garbage_is_what_the_next_collection_frees(name: str) -> None:
    with Program.open(guests_modules.path(name), Grants(seed=1), Policy(gc_every=97)) as program:
        watcher = watch(program, MOMENTS)
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format(texts.kinds(name)["small"], "x.txt")
        assert_exact(watcher, names=False)
    assert len(watcher.snapshots) >= 2
    assert sum(map(len, watcher.left.values())) > 100


@pytest.mark.slow
def test_words_that_the_mark_stack_overwrites_are_not_seen() -> None:
    """A goroutine's stack is an object, and the collector's own frames lie on it while it is scanned."""
    name = "gofmt-0.4.9"
    with Program.open(guests_modules.path(name), Grants(seed=1), Policy(gc_every=13)) as program:
        watcher = watch(program, MOST_MOMENTS, every=9)
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format(texts.kinds(name)["small"], "x.txt")
        assert_exact(watcher, names=False)
    assert any(watcher.hidden.values())
    assert not all(watcher.hidden.values())


@pytest.mark.long
@pytest.mark.parametrize("name", guests_modules.NAMES)
def test_garbage_is_what_the_next_collection_frees_in_every_module(name: str) -> None:
    wasm = guests_modules.read(name)
    try:
        grants, policy = Grants(seed=1, stdin=b"", timeout_s=60), Policy(gc_every=13)
        program = Program.open(wasm, grants, policy, stub_imports=True)
    except GuestError:
        pytest.skip("its collector is not replaced")
    with program:
        watcher = watch(program, MOST_MOMENTS, every=9)
        try:
            program.start()
            driver = formatters.find(program.session)
            for kind in ("small", "small", "medium") if driver is not None else ():
                if driver is not None and len(watcher.snapshots) < MOST_MOMENTS:
                    driver.format(texts.kinds(name)[kind], "x.txt")
        except (GuestError, HostError, DriverError):
            pass  # whatever it did before is enough
        if not watcher.snapshots:
            pytest.skip("it allocates too little")
        assert_exact(watcher, names=True)


@pytest.mark.slow
def test_a_stack_is_named_by_the_functions_whose_frames_it_has() -> None:
    name = "sh-syntax-0.4.2"
    with Program.open(guests_modules.path(name), Grants(seed=1), snapshot_at="allocation:3000") as program:
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format(texts.kinds(name)["medium"], "x.txt")
        snapshot = program.snapshot_taken
        assert snapshot is not None
        assert snapshot.allocations == 2999
        inspection = Inspection.of(snapshot, program.wasm)
    assert snapshot.frames
    roots, heap = inspection.graph.roots, snapshot.heap
    assert heap is not None
    words = sum(each.end_address - each.start_address for each in heap.roots) // 4
    assert len(roots) == words, "every word of every range is a root, once"
    assert len(np.unique(roots.address)) == words
    values = [snapshot.word_at(int(address)) for address in roots.address]
    assert values == roots.value.tolist()
    if any(each.kind is RootRangeKind.STACK for each in heap.roots):
        names = {source.name for source in roots.sources if source.kind is RootKind.STACK_FRAME}
        assert names & {frame.name for frame in snapshot.frames}


@pytest.mark.slow
def test_memory_that_nobody_described_is_recognized_by_its_module() -> None:
    name = "gofmt-0.4.9"
    with Program.open(guests_modules.path(name), Grants(seed=1)) as program:
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format("package a\n", "a.go")
        told = program.snapshot()
        wasm = program.wasm
    assert told.moment == Moment(MomentKind.NOW)
    bare = Snapshot(told.memory, stack_pointer=told.stack_pointer)
    found, known = Inspection.of(bare, wasm), Inspection.of(told, wasm)
    assert found.snapshot.heap == told.heap
    assert overview(found).groups == overview(known).groups
    with pytest.raises(SnapshotError, match="does not say where its heap lies: name the module"):
        Inspection.of(bare)
    other = guests_modules.read("sh-syntax-0.4.2")
    with pytest.raises(SnapshotError, match="invalid module: this one has the SHA-256"):
        Inspection.of(told, other)
    with pytest.raises(SnapshotError, match="memory holds no heap of this module's"):
        Inspection.of(bare, other)
    assert told.module_sha256 == sha256(wasm).hexdigest()


def test_objects_are_found_by_address_and_by_name() -> None:
    name = "sh-syntax-0.7.0"
    with Program.open(guests_modules.path(name), Grants(seed=1)) as program:
        program.start()
        inspection = Inspection.of(program.snapshot(), program.wasm)
    found = overview(inspection)
    assert found.objects == len(inspection.graph)
    assert found.object_bytes + found.free_bytes <= found.heap_bytes
    top = found.top[0]
    assert objects_of(inspection, hex(top.address)) == [top.object]
    assert top.object in objects_of(inspection, top.group)
    view = object_view(inspection, top.object)
    assert view.retained_bytes == top.retained_bytes
    assert not view.is_garbage
    answer = why(inspection.named, top.object)
    assert answer.verdict is not Verdict.NOBODY
    assert answer.paths[0].root.value in range(top.address - 16, top.address + top.size_bytes)
    with pytest.raises(ValueError, match="invalid name 'no such thing': expected an address"):
        objects_of(inspection, "no such thing")
    with pytest.raises(ValueError, match="lies in no object"):
        objects_of(inspection, "0x10")


def test_a_damaged_record_is_refused() -> None:
    snapshot = Snapshot(memoryview(bytes(65536)), heap=HeapRecord(Collector.NEXT_FIT, False, 3, 100))
    with pytest.raises(SnapshotError, match="its heap makes no sense"):
        Inspection.of(snapshot)


@pytest.mark.slow
def test_a_core_dump_that_another_tool_wrote_is_inspected() -> None:
    """In the layout of wasmtime's: no names, the stack pointer among the globals, frames with values, another memory first."""
    name = "gofmt-0.4.9"
    with Program.open(guests_modules.path(name), Grants(seed=1), snapshot_at="allocation:900") as program:
        program.start()
        driver = formatters.find(program.session)
        assert driver is not None
        driver.format(texts.kinds(name)["small"], "x.txt")
        told, wasm = program.snapshot_taken, program.wasm
    assert told is not None
    assert told.stack_pointer is not None
    foreign = Snapshot.from_bytes(foreign_dump(told, Module.parse(wasm)))
    assert foreign.heap is None
    assert foreign.stack_pointer is None
    assert foreign.memory == told.memory
    assert [(each.function, each.offset) for each in foreign.frames] == [
        (each.function, each.offset) for each in told.frames
    ]
    found, known = Inspection.of(foreign, wasm), Inspection.of(told, wasm)
    assert found.graph.targets.tolist() == known.graph.targets.tolist()
    assert overview(found).groups == overview(known).groups
    assert overview(found).garbage_objects == overview(known).garbage_objects


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_damaged_dumps_are_refused_or_inspected(seed: int) -> None:
    """Whatever a dump says of its heap, an answer or a typed error comes of it."""
    random = Random(seed)
    start, collector = WASM_PAGE_BYTES // 2, random.choice((Collector.NEXT_FIT, Collector.BEST_FIT_BACK))
    heap = Heap(WASM_PAGE_BYTES // 4, word_bytes=4, start_address=start, collector=collector)
    made = [heap.alloc(random.choice((4, 24, 100))) for _ in range(60)]
    for address in made:
        heap.store_word(address, random.choice(made))
    memory = bytearray(WASM_PAGE_BYTES)
    memory[start : start + len(heap._memory)] = heap._memory
    memory[1024:1028] = made[-1].to_bytes(4, "little")
    roots = (RootRange(RootRangeKind.GLOBALS, 1024, 1032), RootRange(RootRangeKind.STACK, 0, 64))
    record = HeapRecord(collector, False, start, heap.geometry.heap_bytes, True, roots, (1000, 1004), 0x670C_1333)
    dump = Snapshot(memoryview(memory), heap=record).to_bytes()
    assert overview(Inspection.of(Snapshot.from_bytes(dump))).objects == 60
    opened = 0
    for _ in range(150):
        damaged = bytearray(dump)
        for _ in range(random.randrange(1, 6)):
            damaged[random.randrange(len(damaged))] = random.choice((0, 0x55, 0xFF, random.randrange(256)))
        try:
            inspection = Inspection.of(Snapshot.from_bytes(bytes(damaged)))
        except SnapshotError:
            continue
        opened += 1
        for each in overview(inspection).top[:3]:
            assert why(inspection.named, each.object).paths
    assert opened


def foreign_dump(told: Snapshot, module: Module) -> bytes:
    """A snapshot as a store's core dump: every global and memory there is, those of a host's first."""

    def sized(data: bytes) -> bytes:
        return encode_unsigned(len(data)) + data

    def vector(items: list[bytes]) -> bytes:
        return encode_unsigned(len(items)) + b"".join(items)

    def section(number: int, data: bytes) -> bytes:
        return bytes([number]) + sized(data)

    def custom(title: str, data: bytes) -> bytes:
        return section(0, sized(title.encode()) + data)

    pointers = [index for index, each in enumerate(module.globals) if each.type.mutable]
    assert told.stack_pointer is not None
    values = [told.stack_pointer if index == pointers[0] else 0 for index in range(len(module.globals))]
    host = b"\0\0" + vector([b"\0"]) + vector([b"\0"])
    numbers = [encode_unsigned(1 + index) for index in range(len(values))]
    guest = b"\0\1" + vector([b"\1"]) + vector(numbers)
    constants = [b"\x7f\1\x41" + encode_signed(value) + b"\x0b" for value in (7, *values)]
    frames = [
        b"\0\1" + encode_unsigned(each.function) + encode_unsigned(each.offset) + b"\2\x7f\5\1" + b"\1\x7e\6"
        for each in told.frames
    ]
    pieces = [
        b"\2\1\x41" + encode_signed(at) + b"\x0b" + sized(bytes(told.memory[at : at + 4096]))
        for at in range(0, len(told.memory), 4096)
        if any(told.memory[at : at + 4096])
    ]
    pages = encode_unsigned(len(told.memory) // 65536)
    return b"".join(
        [
            b"\0asm\1\0\0\0",
            section(5, vector([b"\0\1", b"\0" + pages])),
            section(6, vector(constants)),
            section(11, vector([b"\0\x41\0\x0b\4host", *pieces])),
            custom("core", b"\0" + sized(b"app")),
            custom("coremodules", vector([b"\0" + sized(b"host"), b"\0" + sized(b"app")])),
            custom("coreinstances", vector([host, guest])),
            custom("corestack", b"\0" + sized(b"main") + vector(frames)),
        ]
    )
