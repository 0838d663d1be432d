"""Recordings are exact: compared with a witness in the program, wasmtime's backtraces, the model and the guest."""

from __future__ import annotations

import io
import itertools
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import wasmtime

import guests_modules
from guests import collectors, pairs, texts
from guests.recorded import Frame, Kept
from hosts.programs import module_bytes
from tinyheap import formatters
from tinyheap.errors import (
    AllocationStopError,
    DriverError,
    GuestError,
    GuestTimeoutError,
    GuestTrapError,
    OutOfMemoryError,
    RecordingError,
    RecordingWriteError,
)
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.guests.record.running_recorder import has_snapshot
from tinyheap.guests.rewrite.instrumenting import instrument
from tinyheap.heap.stats import Collection
from tinyheap.hosts import Grants
from tinyheap.recognize.identify import identify
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.schema import EventKind
from tinyheap.wasm import Module

MODULES = ["gofmt-0.4.9", "sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"]
KEPT_ALLOCATORS = ["sh-syntax-0.6.0", "sh-syntax-0.7.0", "gofmt-0.6.1", "gofmt-0.7.3", "shfmt-0.2.7"]
WAIT_S = 0.1
ADDRESS_MASK = 0xFFFF_FFFF


def record(
    module: str | bytes,
    text: str,
    policy: Policy | None = None,
    *,
    gc: str = "default",
    kept: Kept | None = None,
    times: int = 1,
) -> tuple[Kept, bytes, str]:
    """A recorded run of a formatter: the recording, all of the program's memory, and what it said the last time."""
    kept = kept or Kept()
    wasm = guests_modules.read(module) if isinstance(module, str) else module
    with Program.open(wasm, Grants(seed=1), policy, gc=gc, recording=kept.recorder) as program:
        program.start()
        said = [formatted(program.driver(), text) for _ in range(times)][-1]
        memory = program.memory.read(0, len(program.memory))
    return kept, memory, said


def formatted(driver: formatters.Formatter | None, text: str) -> str:
    """What a formatter makes of a text, or says about it."""
    assert driver is not None
    try:
        return driver.format(text, "x.txt")
    except DriverError as error:
        return str(error)


def native_log(run: pairs.Run) -> np.ndarray:
    """What the witness saw: a row of arguments and the result a call."""
    columns = 3 if run.facts.layout_parameter is not None else 2
    return np.frombuffer(run.allocations(), "<u4").reshape(-1, columns)


# ---- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mistake", pytest.param("large", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODULES)
def test_every_allocation_of_the_native_log_is_there_and_nothing_else_changes(name: str, kind: str) -> None:
    text = texts.large(name) if kind == "large" else texts.kinds(name)[kind]
    native = pairs.start_native(pairs.compiled(guests_modules.read(name)))
    kept, memory, said = record(name, text)
    expected = formatted(formatters.find(native.session), text)
    log = native_log(native)
    assert said == expected
    assert len(log) > 500
    assert np.array_equal(kept.allocations["size_bytes"], log[:, 0])
    assert np.array_equal(kept.allocations["address"], log[:, -1])
    if log.shape[1] > 2:
        assert np.array_equal(kept.allocations["layout"], log[:, 1])
    assert memory == native.memory()
    assert np.all(np.diff(kept.events["time_ns"]) >= 0)
    objects = kept.allocations["object_id"][kept.allocations["size_bytes"] > 0]
    assert np.array_equal(objects, np.arange(1, len(objects) + 1))
    assert not kept.allocations["object_id"][kept.allocations["size_bytes"] == 0].any()


@pytest.mark.parametrize("name", ["gofmt-0.4.9", "sh-syntax-0.5.8"])
@pytest.mark.slow
def test_a_program_on_its_own_collector_is_recorded_alike(name: str) -> None:
    text = texts.kinds(name)["small"]
    ours, _, _ = record(name, text)
    native, _, _ = record(name, text, gc="native")
    for column in ("size_bytes", "layout", "address", "object_id", "kind"):
        assert np.array_equal(ours.events[column], native.events[column]), column
    paths = [[run.path(stack) for stack in run.events["stack_id"].tolist()] for run in (ours, native)]
    assert paths[0] == paths[1]
    assert native.run is not None
    assert ours.run is not None
    assert (ours.run.source, native.run.source) == ("kernel", "injected")
    assert not native.collections
    assert not native.samples
    assert not native.snapshots


@pytest.mark.parametrize("name", ["gofmt-0.4.9", "sh-syntax-0.5.8"])
def test_nobody_is_taken_for_dead_who_lives(name: str) -> None:
    """Held against the collections of the same run on tinyheap's collector, which happen at the same events."""
    text = texts.kinds(name)["medium"]
    ours, _, _ = record(name, text, times=12)
    native, _, _ = record(name, text, gc="native", times=12)
    died_by = {row.number: row.last_event_id for row in ours.collections}
    exact = {number: died_by[collection] for number, collection in ours.deaths.tolist()}
    inferred = dict(native.inferred_deaths.tolist())
    assert len(inferred) == len(native.inferred_deaths) > 1000
    assert not len(native.deaths)
    assert not len(ours.inferred_deaths)
    assert all(exact[number] < event for number, event in inferred.items())


@pytest.mark.parametrize("name", ["sh-syntax-0.6.0", "sh-syntax-0.7.0"])
@pytest.mark.slow
def test_a_best_fit_heap_shows_its_dead(name: str) -> None:
    kept, memory, _ = record(name, texts.kinds(name)["medium"], gc="native", times=12)
    sizes = kept.allocations["size_bytes"][kept.allocations["size_bytes"] > 0].astype(np.int64)
    dead = kept.inferred_deaths["object_id"]
    assert len(dead) == len(set(dead.tolist())) > 50_000
    # What lives lies in memory that there is.
    assert int(sizes.sum()) - int(sizes[dead - 1].sum()) < len(memory)


@pytest.mark.parametrize("name", KEPT_ALLOCATORS)
def test_programs_that_keep_their_allocator_are_recorded(name: str) -> None:
    text = texts.kinds(name)["medium"]
    with Program.open(guests_modules.read(name), Grants(seed=1), gc="native") as program:
        program.start()
        expected = formatted(program.driver(), text)
    kept, _, said = record(name, text, gc="native")
    assert said == expected
    assert len(kept.allocations) > 1000
    made = kept.allocations[kept.allocations["size_bytes"] > 0]
    if name.startswith("sh-syntax"):
        assert kept.run is not None
        assert kept.run.collector == "best-fit, precise"
    else:
        # A bump allocator: each object lies behind the one before.
        assert not len(kept.inferred_deaths)
        ends = made["address"].astype(np.int64) + made["size_bytes"]
        assert np.all(ends[:-1] <= made["address"][1:])
    assert min(len(kept.path(stack)) for stack in set(made["stack_id"].tolist())) >= 1


@pytest.mark.slow
def test_a_stripped_program_is_recorded_with_numbers_for_names() -> None:
    text = texts.kinds("sh-syntax-0.4.0")["small"]
    named, _, _ = record("sh-syntax-0.4.0", text)
    stripped_wasm = collectors.transformed(guests_modules.read("sh-syntax-0.4.0"), "wasm-strip")
    stripped, _, _ = record(stripped_wasm, text)
    assert np.array_equal(stripped.events["address"], named.events["address"])
    assert functions(stripped) == functions(named)
    last = int(stripped.events["stack_id"][-1])
    assert stripped.names(last) == [f"function[{index}]" for index, _ in stripped.path(last)] != []
    assert any("mvdan.cc/sh" in name for stack in named.stacks for name in named.names(stack))


def functions(kept: Kept) -> list[list[int]]:
    """The functions of each event's stack."""
    return [[index for index, _ in kept.path(stack)] for stack in kept.events["stack_id"].tolist()]


# ---- stacks ------------------------------------------------------------------------------------------------------------

TRACED = 19
"""Frames that wasmtime shows, beside that of the function which traps to see them."""


class Places:
    """Where the calls of an instrumented module stand in the module that it was made of."""

    def __init__(self, name: str, *, served: bool) -> None:
        module = Module.parse(guests_modules.read(name))
        guest = identify(module)
        wasm, _ = instrument(module, guest, guest.heap if served else None)
        self.original, self.changed = module, Module.parse(wasm)
        taken = {redirect.function for redirect in guest.heap.redirects} if served and guest.heap else set()
        imports = [
            index for index in range(len(module.functions)) if index < module.imported_function_count or index in taken
        ]
        # The function that events are noted by is the last of the imports.
        imports += [-1] * (self.changed.imported_function_count - len(imports))
        self.indices = imports + [index for index in range(len(module.functions)) if index not in imports]

    def original_place(self, function: int, offset: int) -> Frame:
        """The function and the offset there of a call here: the same in the order of its function's calls."""
        calls = [at for at, _ in self.changed.body(function).find("call", "call_indirect")]
        noted = len(calls) - len([*self.original.body(self.indices[function]).find("call", "call_indirect")])
        original = [at for at, _ in self.original.body(self.indices[function]).find("call", "call_indirect")]
        return self.indices[function], original[calls.index(offset) - noted]


SAMPLED = {"sh-syntax-0.3.7": 397, "gofmt-0.4.9": 211, "sh-syntax-0.4.2": 397, "sh-syntax-0.5.8": 1009}
"""Every so many allocations a stack is looked at."""


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.share(1)
def test_stacks_are_the_true_ones(name: str) -> None:
    places = Places(name, served=True)
    seen: list[tuple[Frame, ...]] = []
    trapping: list[wasmtime.Func] = []

    def look(_: Collection) -> None:
        with pytest.raises(wasmtime.Trap) as trapped:
            trapping[0](program.session.store)
        frames = trapped.value.frames[:0:-1]
        seen.append(tuple(places.original_place(frame.func_index, frame.module_offset) for frame in frames))

    kept = Kept()
    policy = Policy(gc_every=SAMPLED[name])
    with Program.open(
        guests_modules.read(name), Grants(seed=1), policy, recording=kept.recorder, listener=look
    ) as program:
        store = program.session.store
        module = wasmtime.Module(store.engine, '(module (func (export "trap") unreachable))')
        exported = wasmtime.Instance(store, module, []).exports(store)["trap"]
        assert isinstance(exported, wasmtime.Func)
        trapping.append(exported)
        program.start()
        formatted(program.driver(), texts.kinds(name)["medium"])
    recorded = [kept.path(collection.stack_id) for collection in kept.collections]
    assert [path[-TRACED:] for path in recorded] == seen
    assert len(set(seen)) > 10
    assert max(map(len, recorded)) > TRACED


def test_whatever_a_stack_leads_to_is_called_there() -> None:
    kept, _, _ = record("gofmt-0.4.9", texts.kinds("gofmt")["medium"])
    module = Module.parse(guests_modules.read("gofmt-0.4.9"))
    calls = {(index, offset): instruction for index, offset, instruction in module.find("call", "call_indirect")}
    guest = identify(module)
    assert guest.heap is not None
    for stack in range(1, len(kept.stacks) + 1):
        path = kept.path(stack)
        for caller, callee in itertools.pairwise(path[-3:]):
            call = calls[caller]
            if call.name == "call" and call.immediates[0] >= module.imported_function_count:
                assert call.immediates[0] == callee[0]
    last = {calls[kept.path(stack)[-1]].immediates[0] for stack in set(kept.allocations["stack_id"].tolist())}
    assert last == {guest.heap.alloc_function}


@pytest.mark.slow
def test_who_is_stopped_is_who_is_recorded() -> None:
    name = "sh-syntax-0.5.8"
    text = texts.kinds(name)["small"]
    everything, _, _ = record(name, text)
    made = everything.allocations[everything.allocations["size_bytes"] > 0]
    for number in (1, 57, len(made) // 2, len(made)):
        with pytest.raises(AllocationStopError) as stopped:
            record(name, text, Policy(stop_at_allocation=number))
        names = everything.names(int(made["stack_id"][number - 1]))[::-1]
        assert names[: len(stopped.value.callers)] == list(stopped.value.callers)


# ---- deaths, collections, growths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    guests_modules.cases(["gofmt-0.4.9", "sh-syntax-0.4.0", "sh-syntax-0.5.8"], in_ci=["sh-syntax-0.4.0"]),
)
def test_births_and_deaths_agree_with_the_model(name: str) -> None:
    text = texts.kinds(name)["small"]
    kernel, model = (record(name, text, Policy(engine=engine, gc_every=97))[0] for engine in ("kernel", "model"))
    for column in ("size_bytes", "layout", "address", "object_id", "kind", "stack_id"):
        assert np.array_equal(kernel.events[column], model.events[column]), column
    assert len(kernel.collections) > 5
    for one, other in zip(kernel.collections, model.collections, strict=True):
        assert kernel.live_after(one) == model.live_after(other)
        assert (one.reason, one.freed_objects, one.freed_bytes, one.live_objects, one.roots_bytes, one.stack_id) == (
            other.reason,
            other.freed_objects,
            other.freed_bytes,
            other.live_objects,
            other.roots_bytes,
            other.stack_id,
        )
    assert model.run is not None
    assert model.run.source == "model"


@pytest.mark.parametrize(
    ("name", "guard"),
    guests_modules.cases(
        itertools.product(["gofmt-0.4.9", "sh-syntax-0.5.8"], [False, True]),
        quick=[("gofmt-0.4.9", False)],
        in_ci=[("gofmt-0.4.9", True)],
    ),
)
def test_the_living_are_those_on_the_heap(name: str, guard: bool) -> None:
    policy = Policy(gc_every=101, guard=guard)
    on_heap: list[set[int]] = []
    kept = Kept()

    def look(_: Collection) -> None:
        assert program.heap is not None
        on_heap.append({found.address for found in program.heap.objects()})

    with Program.open(
        guests_modules.read(name), Grants(seed=1), policy, recording=kept.recorder, listener=look
    ) as program:
        program.start()
        formatted(program.driver(), texts.kinds(name)["small"])
    assert len(on_heap) > 3
    assert [kept.live_after(collection) for collection in kept.collections] == on_heap
    assert [collection.live_objects for collection in kept.collections] == [len(found) for found in on_heap]
    freed = np.bincount(kept.deaths["collection"], minlength=len(on_heap) + 1)[1:]
    assert [collection.freed_objects for collection in kept.collections] == freed.tolist()


def test_totals_agree_with_the_programs_own_counters() -> None:
    name = "gofmt-0.4.9"
    facts = pairs.compiled(guests_modules.read(name)).facts
    kept, memory, _ = record(name, texts.large(name))

    def counter(address: int | None) -> int:
        assert address is not None
        return int.from_bytes(memory[address : address + 8], "little")

    last, sizes = kept.samples[-1], kept.allocations["size_bytes"]
    assert last.mallocs == counter(facts.counters.mallocs_address) == np.count_nonzero(sizes)
    assert last.frees == counter(facts.counters.frees_address) == len(kept.deaths)
    assert last.total_alloc_bytes == counter(facts.counters.total_alloc_bytes_address) == sizes.sum()
    assert last.objects == last.mallocs - last.frees
    assert len(kept.deaths) == sum(collection.freed_objects for collection in kept.collections) > 100_000


def test_samples_growths_and_snapshots_agree() -> None:
    kept, _, _ = record("gofmt-0.4.9", texts.large("gofmt"))
    growths = [growth for batch in kept.batches for growth in batch.growths]
    assert len(growths) > 3
    assert all(one.new_bytes == other.old_bytes for one, other in itertools.pairwise(growths))
    assert all(growth.wanted_bytes > 0 for growth in growths)
    for sample in kept.samples:
        blocks_bytes = sample.used_bytes + sample.free_bytes
        assert 0 <= sample.heap_bytes - blocks_bytes <= sample.heap_bytes // 64
        assert sample.largest_free_run_bytes <= sample.free_bytes
    assert kept.samples[-1].heap_bytes == growths[-1].new_bytes
    snapshots = {snapshot.collection: snapshot for snapshot in kept.snapshots}
    assert list(snapshots) == [*range(1, len(kept.collections) + 1), 0]
    for collection in kept.collections:
        states = np.frombuffer(snapshots[collection.number].states, np.uint8)
        blocks = (states[:, None] >> np.array([0, 2, 4, 6])) & 3
        assert np.count_nonzero(blocks == 1) == collection.live_objects
        assert np.count_nonzero(blocks) * 16 == collection.live_bytes
        assert snapshots[collection.number].last_event_id == collection.last_event_id
        assert 0 < collection.mark_ns + collection.sweep_ns <= collection.pause_ns
        assert collection.reason == "exhausted"
        assert collection.wanted_bytes == kept.allocations["size_bytes"][collection.last_event_id]
        assert collection.roots_bytes > 1000
    begun = [collection.begun_ns for collection in kept.collections]
    assert begun == sorted(begun)
    assert begun[-1] < kept.end_ns


def test_snapshots_are_thinned_out() -> None:
    kept = [number for number in range(1, 10_001) if has_snapshot(number)]
    assert kept[:63] == list(range(1, 64))
    assert 200 < len(kept) < 320
    assert all(later - earlier <= earlier // 16 for earlier, later in itertools.pairwise(kept[100:]))


# ---- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gc", ["default", "native"])
def test_time_runs_from_the_programs_first_instruction_to_its_last(gc: str) -> None:
    kept = Kept()
    wasm = guests_modules.read("gofmt-0.4.9")
    with Program.open(wasm, Grants(seed=1), gc=gc, recording=kept.recorder) as program:
        time.sleep(WAIT_S)
        begun_ns = time.perf_counter_ns()
        program.start()
        time.sleep(WAIT_S)
        formatted(program.driver(), texts.kinds("gofmt")["small"])
        ran_ns = time.perf_counter_ns() - begun_ns
        time.sleep(WAIT_S)
    assert WAIT_S * 1e9 < kept.end_ns <= ran_ns, "what lies between two calls counts, and nothing else"
    assert kept.batches[-1].time_ns == kept.end_ns
    times_ns = [*kept.events["time_ns"], *(row.time_ns for row in kept.samples)]
    times_ns += [row.time_ns for row in kept.snapshots]
    assert 0 <= min(times_ns) <= max(times_ns) <= kept.end_ns


def test_time_ends_with_the_call_that_failed() -> None:
    kept = Kept()
    with Program.open(guests_modules.read("gofmt-0.4.9"), Grants(seed=1), recording=kept.recorder) as program:
        begun_ns = time.perf_counter_ns()
        program.start()
        with pytest.raises(GuestTrapError):
            formatted(program.driver(), texts.TOO_NESTED_GO)
        ran_ns = time.perf_counter_ns() - begun_ns
        time.sleep(WAIT_S)
    assert 0 < kept.events["time_ns"][-1] <= kept.end_ns <= ran_ns


def test_a_program_that_never_ran_took_no_time() -> None:
    kept = Kept()
    with Program.open(guests_modules.read("gofmt-0.4.9"), Grants(seed=1), recording=kept.recorder):
        time.sleep(WAIT_S)
    assert (kept.end_ns, kept.batches[-1].time_ns) == (0, 0)


# ---- ends --------------------------------------------------------------------------------------------------------------


def test_a_trap_ends_a_recording_as_failed() -> None:
    kept = Kept()
    with pytest.raises(GuestTrapError):
        record("gofmt-0.4.9", texts.TOO_NESTED_GO, kept=kept)
    assert kept.end is not None
    assert kept.end[0] == "failed"
    assert "unreachable" in str(kept.end[1])
    assert len(kept.allocations) > 500


def test_what_was_put_into_a_program_stands_in_no_stack_of_its() -> None:
    kept, go = Kept(), "package a\n" + "var x = f( 1)\n" * 20_000
    grants = Grants(seed=1, memory_limit_bytes=4 << 20, stderr=io.BytesIO())
    with Program.open(guests_modules.path("gofmt-0.7.3"), grants, recording=kept.recorder) as program:
        program.start()
        with pytest.raises(GuestTrapError) as caught:
            program.driver().format(go)
        cause = caught.value.__cause__
        assert isinstance(cause, wasmtime.Trap)
        names = [frame.func_name for frame in cause.frames]
        assert "tinyheap.recorded_alloc" in names
        assert [*caught.value.frames] == [name for name in names if name != "tinyheap.recorded_alloc"]
        assert "tinyheap." not in str(caught.value)


def test_a_recorder_records_one_run() -> None:
    kept, _, _ = record("sh-syntax-0.4.0", "echo hi\n")
    with pytest.raises(RecordingError, match="records one run; make another"):
        record("sh-syntax-0.4.0", "echo hi\n", kept=kept)


def test_a_full_heap_ends_a_recording_as_failed() -> None:
    kept = Kept()
    with pytest.raises(OutOfMemoryError):
        record("sh-syntax-0.4.0", texts.kinds("sh")["medium"], Policy(heap_limit_bytes=200_000), kept=kept)
    assert kept.end is not None
    assert "limit of 200000 bytes" in str(kept.end[1])
    # The allocation that found no room is none; who asked for it is in the last collection.
    assert kept.collections[-1].last_event_id == len(kept.events)


@pytest.mark.parametrize("fails_after", [0, 1])
@pytest.mark.parametrize(("name", "gc"), [("sh-syntax-0.4.0", "default"), ("sh-syntax-0.4.0", "native")])
def test_a_recording_that_cannot_go_on_ends_the_program(name: str, gc: str, fails_after: int) -> None:
    kept = Kept(fails_after=fails_after)
    with pytest.raises(RecordingWriteError, match="no space left"):
        record(name, texts.large(name), gc=gc, kept=kept)
    assert kept.end == ("failed", "no space left", None)
    assert not kept.recorder.is_complete


def test_a_recording_whose_only_batch_cannot_be_written_has_failed() -> None:
    kept = Kept(fails_after=0)
    with pytest.raises(RecordingWriteError, match="no space left"):
        record("sh-syntax-0.4.0", "echo hi\n", kept=kept)
    assert kept.end == ("failed", "no space left", None)
    assert not kept.recorder.is_complete


def test_a_recording_that_cannot_go_on_ends_the_program_on_the_model() -> None:
    kept = Kept(fails_after=0)
    policy = Policy(engine="model", gc_every=100)
    with pytest.raises(RecordingWriteError, match="no space left"):
        # Collections free more than may wait, so that a batch is made.
        record("sh-syntax-0.4.0", texts.kinds("sh")["medium"], policy, kept=kept)


def test_what_runs_after_the_end_is_not_recorded() -> None:
    kept = Kept()
    with Program.open(guests_modules.read("sh-syntax-0.4.0"), Grants(seed=1), recording=kept.recorder) as program:
        program.start()
        kept.recorder.finish()
        count = len(kept.events)
        assert "echo hi" in program.driver().format("echo  hi\n", "x.sh")
    assert len(Kept(kept.batches).events) == count


# ---- small programs ----------------------------------------------------------------------------------------------------

ALLOC = """
  (global $next (mut i32) (i32.const 1024))
  (func $runtime.alloc (param i32 i32) (result i32)
    global.get $next
    global.get $next local.get 0 i32.add i32.const 15 i32.add i32.const -16 i32.and global.set $next)
  (func $free (export "free") (param i32))
  (func $realloc (export "realloc") (param i32 i32) (result i32) local.get 1 i32.const 0 call $runtime.alloc)
  (memory (export "memory") 1)
"""
"""An allocator that is known by its name."""


ALLOCATES = '(func (export "allocate") i32.const 8 i32.const 0 call $runtime.alloc drop)'


def small(text: str, head: str = "") -> bytes:
    return module_bytes(head + ALLOC + text)


def run_small(
    text: str, *calls: tuple[str, *tuple[int, ...]], kept: Kept | None = None, grants: Grants | None = None
) -> Kept:
    kept = kept or Kept()
    with Program.open(small(text), grants, recording=kept.recorder, cache=Cache(None)) as program:
        for name, *arguments in calls:
            program.call(name, *arguments)
    return kept


def test_a_program_that_never_allocates() -> None:
    kept = run_small('(func (export "f"))', ("f",))
    assert not len(kept.events)
    assert kept.end == ("finished", None, None)
    assert kept.recorder.is_complete


def test_a_program_that_traps_at_once() -> None:
    kept = Kept()
    with pytest.raises(GuestTrapError):
        run_small('(func (export "fail") unreachable)', ("fail",), kept=kept)
    assert kept.end is not None
    assert kept.end[0] == "failed"


@pytest.mark.parametrize("name", ["trap", "fine"])
def test_how_a_run_ended_is_how_its_last_call_did(name: str) -> None:
    kept = Kept()
    wasm = small('(func (export "trap") unreachable) (func (export "fine"))')
    with Program.open(wasm, recording=kept.recorder, cache=Cache(None)) as program:
        program.call("fine")
        with suppress(GuestTrapError):
            program.call(name)
    assert kept.end is not None
    state, error, _ = kept.end
    assert (state, error is None) == (("finished", True) if name == "fine" else ("failed", False))


def test_an_interrupt_has_a_name() -> None:
    kept = Kept()
    with pytest.raises(KeyboardInterrupt), Program.open(small(""), recording=kept.recorder, cache=Cache(None)):
        raise KeyboardInterrupt
    assert kept.end == ("failed", "KeyboardInterrupt", None)


def test_what_was_noted_before_the_log_was_full_is_handed_over() -> None:
    kept = Kept()
    program = Program.open(small(ALLOCATES), recording=kept.recorder, cache=Cache(None))
    program.call("allocate")
    kept.recorder.log.fail()
    with pytest.raises(RecordingError, match="the recording cannot go on"):
        program.call("allocate")
    program.close()
    assert kept.end is not None
    assert kept.end[0] == "failed"
    assert kept.allocations["size_bytes"].tolist() == [8]


def test_a_program_that_traps_before_it_starts_leaves_no_recording() -> None:
    kept = Kept()
    with pytest.raises(GuestTrapError):
        Program.open(small("(func $f unreachable) (start $f)"), recording=kept.recorder, cache=Cache(None))
    assert kept.run is None


def test_a_program_that_allocates_before_it_starts() -> None:
    kept = run_small("(func $f i32.const 8 i32.const 0 call $runtime.alloc drop) (start $f)")
    assert kept.allocations["size_bytes"].tolist() == [8]
    assert 0 < kept.allocations["time_ns"][0] <= kept.end_ns


def test_resizing_and_freeing_are_events_of_the_object_that_they_name() -> None:
    kept = run_small(
        """(func $make (result i32) i32.const 24 i32.const 5 call $runtime.alloc)
        (func (export "f") (local i32)
          call $make drop call $make local.tee 0 i32.const 100 call $realloc drop
          local.get 0 call $free
          i32.const 0 i32.const 7 call $runtime.alloc drop
          i32.const 77777 call $free)""",
        ("f",),
    )
    columns = ["kind", "object_id", "address", "size_bytes", "layout"]
    assert [tuple(row) for row in kept.events[columns].tolist()] == [
        (0, 1, 1024, 24, 5),
        (0, 2, 1056, 24, 5),
        (EventKind.REALLOCATION, 2, 1056, 100, 0),
        (0, 3, 1088, 100, 0),
        (EventKind.FREE, 2, 1056, 0, 0),
        (0, 0, 1200, 0, 7),
        (EventKind.FREE, 0, 77777, 0, 0),
    ]
    assert kept.inferred_deaths.tolist() == [(2, 5)]
    names = [kept.names(stack)[-1] for stack in kept.events["stack_id"].tolist()]
    assert names == ["make", "make", "function[4]", "realloc", "function[4]", "function[4]", "function[4]"]


def test_what_is_given_back_to_boehms_collector_is_freed() -> None:
    kept = run_small(
        """(func $GC_free (param i32))
        (func (export "f") (local i32)
          i32.const 24 i32.const 5 call $runtime.alloc local.tee 0 call $GC_free)""",
        ("f",),
    )
    columns = ["kind", "object_id", "address"]
    assert [tuple(row) for row in kept.events[columns].tolist()] == [(0, 1, 1024), (EventKind.FREE, 1, 1024)]
    assert kept.inferred_deaths.tolist() == [(1, 2)]


def test_a_host_that_frees_has_no_stack() -> None:
    kept = run_small("", ("realloc", 0, 10), ("free", 1024))
    assert [len(kept.path(stack)) for stack in kept.events["stack_id"].tolist()] == [0, 1, 0]


RECURSION = """(func $down (export "down") (param i32) (result i32)
  local.get 0 i32.eqz if i32.const 8 i32.const 0 call $runtime.alloc return end
  local.get 0 i32.const 1 i32.sub call $down
  i32.const 4 i32.const 0 call $runtime.alloc i32.add)"""


def test_a_deep_recursion_is_recorded_whole() -> None:
    kept = run_small(RECURSION, ("down", 5000))
    depths = [kept.stacks[stack][2] for stack in kept.events["stack_id"].tolist()]
    assert depths == list(range(5001, 0, -1))


def test_a_recursion_that_is_too_deep_ends_as_ever_and_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.tinyheap"
    said = []
    for recording in (None, path):
        with Program.open(small(RECURSION), recording=recording, cache=Cache(None)) as program:
            program.call("down", 3)
            with pytest.raises(GuestTrapError, match="stack overflow") as trapped:
                program.call("down", 1 << 30)
            said.append(trapped.value.exit_code)
    assert said[0] == said[1]
    with Recording.open(path) as recorded:
        assert recorded.run.is_complete
        assert recorded.sql("SELECT max(depth) FROM stacks").one() == (4,)
        assert recorded.sql("SELECT count(*) FROM objects").one() == (4,)


def test_a_main_that_exits_leaves_nothing_on_the_stack_of_the_calls_behind_it() -> None:
    kept = Kept()
    text = """(func $inner (result i32) i32.const 8 i32.const 0 call $runtime.alloc)
      (func (export "_start") call $inner drop i32.const 0 call $exit)
      (func (export "work") (result i32) call $inner)"""
    head = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    with Program.open(small(text, head), Grants(seed=1), recording=kept.recorder, cache=Cache(None)) as program:
        program.start()
        assert program.exit_code == 0
        for _ in range(3):
            program.call("work")
    assert [len(kept.path(stack)) for stack in kept.events["stack_id"].tolist()] == [2] * 4


# ---- what cannot be recorded -------------------------------------------------------------------------------------------


def test_too_little_memory_for_call_stacks_is_said() -> None:
    with pytest.raises(GuestError, match="recording a run takes 1048576 bytes"):
        Program.open(small(""), Grants(memory_limit_bytes=1 << 17), recording=Kept().recorder)


def test_a_recording_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.tinyheap"
    path.write_text("somebody's work")
    with pytest.raises(RecordingWriteError, match="there already"):
        Program.open(small(""), recording=path, cache=Cache(None))
    assert path.read_text() == "somebody's work"


def test_without_the_compiled_kernel_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinyheap.guests.record._recorder", None)
    for module in ("journal", "recorder"):
        monkeypatch.delitem(sys.modules, f"tinyheap.guests.record.{module}")
    with pytest.raises(RecordingError, match=r"needs the compiled kernel.*reinstall"):
        Program.open(small(""), recording="x.tinyheap")


def test_what_was_prepared_for_a_recording_is_kept(tmp_path: Path) -> None:
    runs = []
    for was_cached in (False, True):
        kept = Kept()
        with Program.open(small(RECURSION), recording=kept.recorder, cache=Cache(tmp_path)) as program:
            assert program.was_cached is was_cached
            program.call("down", 3)
        runs.append([(kept.path(stack), kept.names(stack)) for stack in kept.events["stack_id"].tolist()])
    assert runs[0] == runs[1]
    assert runs[0][0][1] == ["down"] * 4


def test_a_run_says_what_it_was() -> None:
    kept, _, _ = record("sh-syntax-0.4.0", "echo hi\n", Policy(clear_blocks=True))
    run = kept.run
    assert run is not None
    assert (run.module, run.runtime, run.runtime_version, run.collector) == (
        "(bytes)",
        "TinyGo",
        "0.27 to 0.33",
        "conservative",
    )
    assert run.options["clear_blocks"] is True
    assert run.block_bytes == 16
    made = kept.allocations[kept.allocations["size_bytes"] > 0]
    assert run.heap_start_address == made["address"].min()


@pytest.mark.slow
def test_time_runs_out_and_the_recording_says_so() -> None:
    kept = Kept()
    text = """(func (export "f") (loop i32.const 16 i32.const 0 call $runtime.alloc drop br 0))"""
    with pytest.raises(GuestTimeoutError):
        run_small(text, ("f",), kept=kept, grants=Grants(timeout_s=1.2))
    assert kept.end is not None
    assert "1.2 seconds" in str(kept.end[1])
    # Nothing waits longer than half a second, or the fewest batches that its events fill.
    assert len(kept.batches) >= 2
    assert kept.recorder.events == len(kept.events)


# ---- calls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["gofmt-0.4.9", "sh-syntax-0.4.2", "gofmt-0.7.3"])
def test_each_call_of_the_host_is_noted(module: str) -> None:
    kept = Kept()
    with Program.open(guests_modules.read(module), Grants(seed=1), recording=kept.recorder) as program:
        program.start()
        driver = program.driver()
        for text in ("package main\n", "package  other\n"):
            formatted(driver, text)
    calls = sorted(kept.calls, key=lambda call: call.number)
    assert [call.number for call in calls] == [*range(1, len(calls) + 1)]
    assert calls[0].export in ("_start", "_initialize")
    assert len(calls) >= 3
    assert all(call.returned and call.begun_ns <= call.ended_ns for call in calls)
    outermost = [call for call in calls if call.depth == 1]
    for before, after in itertools.pairwise(outermost):
        assert before.ended_ns <= after.begun_ns
        assert before.last_event_id + 1 == after.first_event_id, "nothing is allocated between two calls"
        assert before.new_memory_bytes == after.old_memory_bytes, "nor does memory grow"
    assert outermost[-1].last_event_id == len(kept.events)


@pytest.mark.slow
def test_a_call_names_the_object_that_it_returned_and_the_one_that_it_was_given() -> None:
    kept = Kept()
    with Program.open(guests_modules.read("sh-syntax-0.4.2"), Grants(seed=1), recording=kept.recorder) as program:
        program.start()
        address = program.call("wasmAlloc", 100)
        assert isinstance(address, int)
        program.call("wasmFree", address)
    made, given = kept.calls[-2:]
    assert (made.export, given.export) == ("wasmAlloc", "wasmFree")
    [birth] = kept.allocations[kept.allocations["object_id"] == made.result_object_id]
    assert birth["address"] == address
    assert (given.argument_object_id, given.result_object_id) == (made.result_object_id, 0)


def test_a_call_that_fails_has_not_returned() -> None:
    kept = Kept()
    wat = """(module (memory (export "memory") 1)
        (func $runtime.alloc (param i32) (result i32) (i32.const 64))
        (func (export "fail") (drop (call $runtime.alloc (i32.const 8))) (drop (memory.grow (i32.const 1))) unreachable))"""
    with Program.open(bytes(wasmtime.wat2wasm(wat)), Grants(seed=1), recording=kept.recorder) as program:
        program.start()
        with pytest.raises(GuestTrapError):
            program.call("fail")
    [call] = kept.calls
    assert (call.export, call.returned, call.depth) == ("fail", False, 1)
    assert (call.old_memory_bytes, call.new_memory_bytes) == (65_536, 131_072)
    assert (call.first_event_id, call.last_event_id) == (1, 1)
