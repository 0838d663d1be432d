"""Where the parts of the best-fit collector lie: against names, against what a run does, without names, optimized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product

import pytest

import guests_modules
from guests import collectors
from guests.collectors import STACK_BYTES, Build
from hosts import programs
from tinyheap import formatters
from tinyheap.errors import UnsupportedGuestError
from tinyheap.hosts import load
from tinyheap.hosts.memory import GuestMemory
from tinyheap.recognize.facts import BestFitHeap, Confidence, Guest, HeaderPlace, Role, StackScan
from tinyheap.recognize.facts_json import decode_guest, encode_guest
from tinyheap.recognize.identify import block_heap, identify, identify_file
from tinyheap.recognize.locate.resizing import with_realloc
from tinyheap.wasm import Module
from wasm.samples import component

FRONT = ["sh-syntax-0.6.0", "eu-licence-validator-0.1.27", "gofeatureflag-1.1.0", "gofeatureflag-1.3.0"]
BACK = ["sh-syntax-0.7.0"]
SHELL_PROGRAMS = ["sh-syntax-0.6.0", "sh-syntax-0.7.0"]
FEATURES = ["--enable-bulk-memory", "--enable-sign-ext", "--enable-nontrapping-float-to-int"]
BLOCK_BYTES, LINE, WORD = 16, "if true;then\necho   hi # comment\nfi\n", (1 << 32) - 1


@cache
def guest_of(name: str) -> Guest:
    return identify(Module.parse(guests_modules.read(name)))


def heap_of(guest: Guest) -> BestFitHeap:
    assert guest.best_fit is not None, guest.served
    return guest.best_fit


def lasting(heap: BestFitHeap) -> dict[str, object]:
    """All facts that no renumbering of functions changes."""
    stays = {field.name: getattr(heap, field.name) for field in fields(heap)}
    for name in ("alloc_function", "functions", "readers", "initializers"):
        del stays[name]
    wakes = heap.finalizers is not None and heap.finalizers.wake_function is not None
    return {
        **stays,
        "roots": replace(heap.roots, stack_pointer_global=0),
        "finalizers": heap.finalizers and replace(heap.finalizers, wake_function=int(wakes)),
        "redirects": [(redirect.role, redirect.returns_free_bytes) for redirect in heap.redirects],
    }


@pytest.mark.parametrize("name", FRONT + BACK)
@pytest.mark.share(2)
def test_functions_are_those_that_the_module_names(name: str) -> None:
    module = Module.parse(guests_modules.read(name))
    heap = heap_of(guest_of(name))
    assert heap.alloc_function == module.function_indices["runtime.alloc"]
    for role, function in heap.functions.items():
        # What sets the heap up may be inlined into the program's start.
        assert module.function_name(function) in {f"runtime.{role}", "_start"}
    assert not heap.uncovered


def test_collectors_of_0_41_and_0_42_are_told_apart() -> None:
    older, newer = (heap_of(guest_of(name)) for name in SHELL_PROGRAMS)
    assert (older.header_place, older.header_bytes, older.is_precise) == (HeaderPlace.FRONT, 16, True)
    assert (newer.header_place, newer.header_bytes, newer.is_precise) == (HeaderPlace.BACK, 8, True)
    assert older.collections_address is None is older.finalizers
    assert newer.collections_address is not None
    assert newer.finalizers is not None
    assert all(word is not None for word in vars(newer.finalizers).values())
    assert [redirect.role for redirect in older.redirects] == [Role.ALLOC]
    assert [redirect.role for redirect in newer.redirects] == [Role.ALLOC, Role.COLLECT]
    for heap in (older, newer):
        assert heap.roots.stack_scan is StackScan.SYSTEM_OR_SAVED
        assert (heap.size_parameter, heap.layout_parameter) == (0, 1)
    without_tasks = heap_of(guest_of("gofeatureflag-1.3.0")).roots
    assert (without_tasks.stack_scan, without_tasks.current_task_address) == (StackScan.SYSTEM, None)


@pytest.mark.parametrize("name", FRONT + BACK)
def test_nearly_every_fact_is_certain(name: str) -> None:
    guest = guest_of(name)
    unsure = {fact for fact, evidence in guest.evidence.items() if evidence.confidence is not Confidence.CERTAIN}
    assert unsure <= {"mark_roots", "zero_size", "current_task", "collections"}
    assert guest.evidence["collector"].confidence is Confidence.CERTAIN


@pytest.mark.parametrize("name", FRONT + BACK)
@pytest.mark.share(2)
def test_the_same_is_found_without_names(name: str) -> None:
    stripped = collectors.transformed(guests_modules.read(name), "wasm-strip")
    guest = identify(Module.parse(stripped))
    assert lasting(heap_of(guest)) == lasting(heap_of(guest_of(name)))
    assert guest.version == ("0.42" if name in BACK else "0.40 to 0.41")
    assert decode_guest(encode_guest(guest)) == guest


@pytest.mark.parametrize(
    ("name", "level"),
    guests_modules.cases(
        product(
            ["sh-syntax-0.7.0", "eu-licence-validator-0.1.27", "gofeatureflag-1.3.0"], ["-Oz", "-O1", "-O2", "-O3"]
        ),
        in_ci=[("eu-licence-validator-0.1.27", "-Oz"), ("sh-syntax-0.7.0", "-O2")],
    ),
)
def test_the_same_is_found_after_an_optimizer(name: str, level: str) -> None:
    stripped = collectors.transformed(guests_modules.read(name), "wasm-strip")
    optimized = collectors.transformed(stripped, "wasm-opt", *FEATURES, level)
    assert lasting(heap_of(identify(Module.parse(optimized)))) == lasting(heap_of(guest_of(name)))


# What a run leaves in memory


@dataclass(frozen=True)
class HeapImage:
    """A heap in a running program's memory, read by what is known of it."""

    memory: GuestMemory
    heap: BestFitHeap

    def word(self, address: int | None) -> int:
        assert address is not None
        return self.memory.read_u32(address)

    @property
    def start(self) -> int:
        assert self.heap.heap_start_address is not None
        return self.heap.heap_start_address

    @property
    def states(self) -> str:
        """One glyph for each block: one bit in each nibble of the table's bytes."""
        table = self.word(self.heap.metadata_start_address)
        blocks = self.word(self.heap.end_block_address)
        data = self.memory.read(table, -(-blocks // 4))
        return "".join("·*-#"[(byte >> i & 1) + 2 * (byte >> 4 + i & 1)] for byte in data for i in range(4))[:blocks]

    @property
    def mallocs(self) -> int:
        assert self.heap.counters.mallocs_address is not None
        return self.memory.read_u64(self.heap.counters.mallocs_address)

    def free_ranges(self) -> Iterator[tuple[int, int]]:
        """First block and length of each range in the list."""
        outer = self.word(self.heap.free_ranges_address)
        while outer:
            length, following, inner = (self.word(outer + 4 * i) for i in range(3))
            yield (outer - self.start) // BLOCK_BYTES, length
            while inner:
                yield (inner - self.start) // BLOCK_BYTES, length
                inner = self.word(inner)
            outer = following

    def entries(self, head: int) -> Iterator[int]:
        """The objects of a list of finalizers."""
        entry = self.word(head)
        while entry:
            yield self.word(entry + 4) ^ WORD
            entry = self.word(entry)


@pytest.mark.parametrize("name", SHELL_PROGRAMS)
@pytest.mark.share(1)
def test_words_hold_in_a_running_program_what_they_are_said_to(name: str) -> None:
    heap = heap_of(guest_of(name))
    session = programs.real(name)
    driver = formatters.find(session)
    assert driver is not None
    image = HeapImage(session.memory, heap)
    driver.format(LINE, "x.sh")
    assert_sound(image)
    # Nothing was collected yet, so what was allocated is there.
    assert image.states.count("*") == image.mallocs > 100
    before = image.mallocs
    driver.format(LINE * 8000, "x.sh")
    assert_sound(image)
    assert image.states.count("*") < image.mallocs
    assert image.mallocs > before + 10_000
    if heap.collections_address is not None:
        assert 0 < image.word(heap.collections_address) < 100


def assert_sound(image: HeapImage) -> None:
    """The relations that hold between the heap's words, in any program between collections."""
    heap, states = image.heap, image.states
    end, table = image.word(heap.heap_end_address), image.word(heap.metadata_start_address)
    assert end == len(image.memory)
    assert table == end - (end - image.start + 64) // 65
    assert len(states) == (table - image.start) // BLOCK_BYTES
    assert heap.roots.globals_end_address == image.start
    assert image.word(heap.scan_list_address) == 0
    assert "#" not in states
    # Every object is a head and tails, which are behind it, or before it where the header is at the back.
    assert ("·-" if heap.header_place is HeaderPlace.FRONT else "-·") not in states
    covered = [False] * len(states)
    for first, length in image.free_ranges():
        assert not any(covered[first : first + length])
        covered[first : first + length] = [True] * length
    assert covered == [state == "·" for state in states]
    if heap.finalizers is not None:
        assert_finalizers(image)


def assert_finalizers(image: HeapImage) -> None:
    table = image.heap.finalizers
    assert table is not None
    registered = list(image.entries(table.registered_address))
    assert len(registered) == image.word(table.count_address)
    assert image.word(table.pressure_address) <= len(registered)
    blocks = [(address - image.start) // BLOCK_BYTES for address in registered]
    if blocks:
        bits = image.memory.read(image.word(table.bitmap_address), image.word(table.bitmap_bytes_address))
        assert {8 * i + bit for i, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1} == set(blocks)


# Programs of the tests' own

BUILDS = [
    Build(optimization, link_time, precise, tasks, explicit, saved=tasks and back, back=back)
    for optimization in "12sz"
    for link_time, precise, tasks, explicit, back in product((False, True), repeat=5)
]


def compiled(build: Build) -> bytes:
    return collectors.compiled(build, "best_fit_collector.c")


@pytest.mark.parametrize("build", BUILDS, ids=str)
@pytest.mark.share(8, in_ci=12)
def test_collectors_are_found_at_every_level_of_optimization(build: Build) -> None:
    heap = heap_of(identify(Module.parse(compiled(build))))
    assert (heap.header_place is HeaderPlace.BACK) == build.back
    assert heap.header_bytes == (4 + 4 * build.precise if build.back else 16)
    assert heap.is_precise == build.precise
    assert (heap.collections_address is not None) == build.back
    assert heap.finalizers is None
    kind = StackScan.SYSTEM_OR_SAVED if build.saved else StackScan.SYSTEM
    assert heap.roots.stack_scan is (StackScan.SYSTEM_UNLESS_TASK if build.tasks and not build.saved else kind)
    assert (heap.roots.current_task_address is not None) == build.tasks
    assert heap.roots.stack_top_address == heap.roots.globals_start_address == STACK_BYTES
    roles = [Role.ALLOC, Role.COLLECT] if build.explicit else [Role.ALLOC]
    assert [redirect.role for redirect in heap.redirects] == roles
    assert not heap.uncovered


@pytest.mark.parametrize("build", BUILDS[::9], ids=str)
@pytest.mark.share(5)
def test_what_is_found_holds_in_their_runs(build: Build) -> None:
    wasm = compiled(build)
    image = HeapImage((session := load(wasm)).memory, heap_of(identify(Module.parse(wasm))))
    session.start()
    assert_sound(image)
    session.call("run", 3, 4)
    assert_sound(image)
    assert image.states.count("*") == image.mallocs == 3 * 32
    session.call("run", 500, 5)
    assert_sound(image)
    assert image.mallocs == 3 * 32 + 500 * 64
    assert image.states.count("*") < image.mallocs // 2


@pytest.mark.parametrize("form", ["asyncify", "-O2", "-Oz"])
@pytest.mark.parametrize("build", BUILDS[::5], ids=str)
@pytest.mark.share(5, in_ci=10)
def test_the_same_is_found_in_their_other_forms(build: Build, form: str) -> None:
    options = ["--asyncify", "-O1"] if form == "asyncify" else [form]
    wasm = compiled(build._replace(panics=True))
    other = collectors.transformed(collectors.transformed(wasm, "wasm-opt", *FEATURES, *options), "wasm-strip")
    guest = identify(Module.parse(other))
    found, expected = heap_of(guest), heap_of(identify(Module.parse(wasm)))
    # A layout that nobody keeps is a parameter only as long as nobody optimizes the whole program.
    unused = {} if build.precise else {"layout_parameter": None}
    assert lasting(found) | unused == lasting(expected) | unused
    assert guest.scheduler == ("asyncify" if form == "asyncify" else "none")


# What else is said of modules


def test_a_release_that_is_not_known_is_recognized_by_its_shape_and_less_surely() -> None:
    data = guests_modules.read("sh-syntax-0.7.0")
    later = data.replace(b"\x060.42.0", b"\x060.57.1")
    assert later != data
    guest = identify(Module.parse(later))
    assert lasting(heap_of(guest)) == lasting(heap_of(guest_of("sh-syntax-0.7.0")))
    collector = guest.evidence["collector"]
    assert collector.confidence is Confidence.LIKELY
    assert "TinyGo 0.57.1 is not known; its code has the shape of 0.42" in collector.how


def test_what_has_to_be_rehearsed_says_so() -> None:
    with pytest.raises(UnsupportedGuestError, match=r"best-fit, precise\) is served if a rehearsal"):
        block_heap(guest_of("sh-syntax-0.6.0"))


def test_a_component_is_what_its_largest_core_module_is() -> None:
    small, large = guests_modules.read("gofmt-0.7.3")[:8], guests_modules.read("gofeatureflag-1.3.0")
    guest = identify_file(component((1, small), (1, large)))
    assert guest == replace(guest_of("gofeatureflag-1.3.0"), component_modules=2)
    assert guest.summary.startswith(
        "is a WebAssembly component, which cannot be run here; the largest of its 2 core modules, taken out of it, "
    )
    assert identify_file(large) == guest_of("gofeatureflag-1.3.0")


@pytest.mark.parametrize(("optimization", "link_time", "precise", "back"), list(product("12sz", *[[False, True]] * 3)))
@pytest.mark.parametrize("is_stripped", [False, True])
@pytest.mark.share(4, in_ci=8)
def test_realloc_is_found(optimization: str, link_time: bool, precise: bool, back: bool, is_stripped: bool) -> None:
    build = Build(optimization, link_time, precise, tasks=False, explicit=False, back=back)
    wasm = collectors.compiled(build, "best_fit_faults.c")
    module = Module.parse(collectors.transformed(wasm, "wasm-strip") if is_stripped else wasm)
    heap = with_realloc(module, heap_of(identify(module)))
    (resize,) = (export.index for export in module.exports if export.name == "resize")
    assert [redirect.function for redirect in heap.redirects if redirect.role is Role.REALLOC] == [resize]
    # What found the end of an object for it is not called any more.
    assert not heap.format_readers


@pytest.mark.parametrize("name", FRONT + BACK)
def test_there_is_no_realloc_where_resizing_makes_new_objects(name: str) -> None:
    heap = heap_of(guest_of(name))
    assert with_realloc(Module.parse(guests_modules.read(name)), heap) == heap
