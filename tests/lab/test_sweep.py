"""A sweep gives what `tinyheap run` gives, keeps it as it comes, goes on where it was, and bears processes that die."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

import guests_modules
import project_files
from hosts.programs import command, say
from tinyheap.errors import InputError, SweepFileError
from tinyheap.lab import Condition, Outcome, Sample, Subject, Sweep, grid, read_sweep, sweep
from tinyheap.lab.outcome import SAME_IN_EACH_RUN, WORKER_DIED, outcome_of
from tinyheap.lab.running import ATTEMPTS, Workers
from tinyheap.report.effects import sample_text
from tinyheap.report.terminal.lab_tables import SweepTable

HELLO = command(say(64, "(i32.const 6)"), head='(data (i32.const 64) "hello\\n")')
DICE = command(
    f"(drop (call $random_get (i32.const 64) (i32.const 6))) {say(64, '(i32.const 6)')}", uses=["random_get"]
)
"""It writes what it draws."""

SOURCE = project_files.ROOT / "examples" / "input" / "unformatted.go"
"""Whose formatting needs more than 192 KiB."""


@pytest.fixture
def gofmt() -> Subject:
    return Subject(guests_modules.path("gofmt-0.4.9"), (str(SOURCE),), ("--seed=1",))


def written(folder: Path, module: bytes) -> Subject:
    (folder / "app.wasm").write_bytes(module)
    return Subject(folder / "app.wasm")


def comparable(outcomes: tuple[Outcome, ...]) -> list[list[Any]]:
    """All but durations."""
    return [[each.condition, *(getattr(each, name) for name in SAME_IN_EACH_RUN)] for each in outcomes]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--growth=pages",),
        ("--heap-limit=196608",),
        ("--gc=native",),
        ("--collector=best-fit-front", "--gc-every=99"),
    ],
)
@pytest.mark.share(1, in_ci=3)
def test_an_outcome_has_the_statistics_of_the_command(options: tuple[str, ...], gofmt: Subject, tmp_path: Path) -> None:
    place = tmp_path / "run.json"
    line = [sys.executable, "-m", "tinyheap", "run", *gofmt.options, *options, f"--json={place}", str(gofmt.module)]
    done = subprocess.run([*line, "--", *gofmt.arguments], capture_output=True, check=False)
    report = json.loads(place.read_text())
    condition = Condition.of(dict(word.removeprefix("--").split("=") for word in options))
    outcome = sweep(gofmt, [condition]).outcomes[0]
    assert (outcome.exit_code, outcome.output_sha256) == (done.returncode, hashlib.sha256(done.stdout).hexdigest())
    assert (outcome.ended, list(outcome.evidence)) == (report["ended"]["kind"], report["ended"]["evidence"])
    assert outcome.memory_pages == report["memory_bytes"] // 65536
    heap = report["heap"]
    names = ("allocations", "allocated_bytes", "peak_bytes", "live_bytes", "heap_bytes", "largest_free_bytes")
    assert [getattr(outcome, name) for name in names] == [None if heap is None else heap[name] for name in names]
    assert outcome.collections == (None if heap is None else len(heap["collections"]))
    steps = (outcome.memory_steps_pages, outcome.refused_pages)
    assert steps == ((None, None) if heap is None else (tuple(heap["memory_pages"]), heap["refused_pages"]))


def test_utilization_is_that_of_the_pauses() -> None:
    """Two of 4 ms in a run of 50 ms, 3 ms apart: in the worst 10 ms the program had 3."""
    pauses = [{"begun_ns": at * 10**6, "pause_ns": 4 * 10**6} for at in (10, 17)]
    sizes = ("allocations", "allocated_bytes", "peak_bytes", "live_bytes", "heap_bytes", "largest_free_bytes")
    heap = dict.fromkeys((*sizes, "refused_pages", "pause_ns"), 0)
    report = {
        "ended": {"kind": "finished", "evidence": []}, "exit_code": 0, "run_ns": 50 * 10**6, "memory_bytes": 65536,
        "heap": {**heap, "mem_stats": {"HeapIdle": 0}, "memory_pages": [1, 2], "collections": pauses},
    }  # fmt: skip
    outcome = outcome_of(Condition(), 1, report, "")
    assert (outcome.utilization_1_ms, outcome.utilization_100_ms) == (0, None)
    assert outcome.utilization_10_ms == pytest.approx(0.3)
    assert outcome.memory_steps_pages == (1, 2)


@pytest.mark.slow
def test_outcomes_come_in_the_order_of_the_conditions_whoever_is_first(gofmt: Subject) -> None:
    conditions = grid({"growth": "default,pages", "heap-limit": "192K,64M"})
    told: list[Outcome] = []
    found = sweep(gofmt, conditions, jobs=3, told=told.append)
    assert [each.condition for each in found.outcomes] == [str(each) for each in conditions]
    assert [each.ended for each in found.outcomes] == ["out of memory", "finished"] * 2
    assert sorted(told, key=str) == sorted([*found.outcomes, *found.repeated], key=str)
    assert found.differences == ()
    assert not any(map(found.changes_output, found.outcomes))
    assert comparable(found.outcomes) == comparable(sweep(gofmt, conditions).outcomes)


@pytest.mark.slow
def test_a_program_that_is_not_deterministic_is_seen(tmp_path: Path) -> None:
    subject = written(tmp_path, DICE)
    assert [each.name for each in sweep(subject, grid({})).differences] == ["output_sha256"]
    seeded = Subject(subject.module, options=("--seed=1",))
    assert sweep(seeded, grid({})).differences == ()


def test_no_condition_is_blamed_for_what_differs_each_time() -> None:
    def outcome(condition: str, run: int, output: str, peak_bytes: int) -> Outcome:
        return Outcome(condition, run, "finished", (), 0, output, peak_bytes=peak_bytes)

    first, other = outcome("default", 1, "x", 1000), outcome("growth=pages", 1, "y", 1000)
    of_others = outcome("module=b.wasm", 1, "x", 0), outcome("growth=pages module=b.wasm", 1, "y", 0)
    repeated = outcome("default", 2, "z", 2345), outcome("module=b.wasm", 2, "x", 0)
    found = Sweep(Subject(Path("m")), (first, other, *of_others), repeated)
    assert [each.condition for each in found.outcomes if found.changes_output(each)] == ["growth=pages module=b.wasm"]
    printed = StringIO()
    Console(file=printed, width=1000).print(SweepTable(found))
    said = printed.getvalue()
    assert "the program writes something else under: growth=pages module=b.wasm\n" in said
    assert "(default) differ in what it writes, peak_bytes (1,000 and 2,345); outcomes cannot be compared" in said


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"gc=a": 4, "gc=b": 2, "gc=c": 8}, "least memory: 128 KiB, under gc=b\n"),
        ({"gc=a": 2, "gc=b": 2, "gc=c": 8, "default": 2}, "least memory: 128 KiB, under gc=a and 2 others\n"),
        ({"gc=a": 2, "gc=b": 2}, None),
        ({"gc=a": 2, "gc=b": None}, None),
        ({"module=a.wasm": 2, "module=b.wasm": 4}, None),
    ],
)
def test_it_is_said_what_takes_the_least_memory_of_a_program(pages: dict[str, int | None], said: str | None) -> None:
    passed = [Outcome(name, 1, "finished", (), 0, "x", memory_pages=taken) for name, taken in pages.items()]
    failed = Outcome("gc=e", 1, "out of memory", (), 137, "x", memory_pages=1)
    printed = StringIO()
    Console(file=printed, width=1000).print(SweepTable(Sweep(Subject(Path("m")), (*passed, failed), ())))
    assert "least memory" not in printed.getvalue() if said is None else said in printed.getvalue()


def test_how_conditions_failed_is_said_once_where_they_failed_alike() -> None:
    def failed(condition: str, evidence: str) -> Outcome:
        return Outcome(condition, 1, "out of memory", (evidence,), 137, None)

    alike = [failed(f"gc-every={number}", "no room") for number in range(1, 11)]
    printed = StringIO()
    found = Sweep(Subject(Path("m")), (*alike[:9], failed("gc=leaking", "no heap"), alike[9]), ())
    Console(file=printed, width=1000).print(SweepTable(found))
    first = ", ".join(each.condition for each in alike[:8])
    assert printed.getvalue().endswith(
        f"\n\n{first} and 2 others: out of memory\n  no room\n\ngc=leaking: out of memory\n  no heap\n"
    )


@pytest.mark.parametrize(("width", "is_broken"), [(77, True), (90, False)])
def test_how_a_run_ended_is_broken_before_words_of_conditions_are(width: int, is_broken: bool) -> None:
    failed = Outcome(
        "memory-limit=1048576 growth=pages", 1, "out of memory", (), 137, None, peak_bytes=940 << 10, memory_pages=16
    )
    printed = StringIO()
    Console(file=printed, width=width).print(SweepTable(Sweep(Subject(Path("m")), (failed,), ())))
    _, first, second, *_ = printed.getvalue().splitlines()
    code = [["(137)"], []] if not is_broken else [[], ["(137)"]]
    assert first.split() == [
        "memory-limit=1048576",
        "out",
        "of",
        "memory",
        *code[0],
        "940",
        "KiB",
        "1",
        "MiB",
        "-",
        "-",
    ]
    assert second.split() == ["growth=pages", *code[1]]
    assert len(first) <= width


def test_a_condition_that_changes_the_output_is_marked() -> None:
    first, same, other, failed = (
        Outcome(f"gc={name}", 1, ended, (), code, output)
        for name, ended, code, output in [
            ("a", "finished", 0, "x"),
            ("b", "finished", 0, "x"),
            ("c", "exited", 0, "y"),
            ("d", "out of memory", 137, "z"),
        ]
    )
    found = Sweep(Subject(Path("m")), (failed, first, same, other), ())
    assert [each.condition for each in found.outcomes if found.changes_output(each)] == ["gc=c"]


@pytest.mark.slow
def test_what_cannot_be_run_is_an_outcome(tmp_path: Path) -> None:
    subject = Subject(written(tmp_path, HELLO).module, options=("--seed=x",))
    assert sweep(subject, grid({})).outcomes[0].ended == "failed"
    refused = sweep(written(tmp_path, HELLO), grid({"heap-limit": "64K"})).outcomes[0]
    assert refused.ended == "failed"
    assert "is not a TinyGo program" in refused.evidence[0]


# ---- the file ---------------------------------------------------------------------------------------------------------


def interrupted_after(
    count: int, subject: Subject, conditions: Sequence[Condition], file: Path | str, cluster: str | None = None
) -> list[Outcome]:
    """The outcomes that were told of before a sweep was interrupted, as Ctrl-C does it."""
    seen: list[Outcome] = []

    def interrupt(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(subject, conditions, file=file, cluster=cluster, told=interrupt)
    return seen


def assert_is_that_of_one_run(found: Sweep, conditions: Sequence[Condition], file: Path) -> list[tuple[object, ...]]:
    """A sweep and its file are what one run gives; the conditions and runs in the file."""
    other = file.with_name("whole.duckdb")
    whole = sweep(found.subject, conditions, file=other)
    assert comparable(found.outcomes) == comparable(whole.outcomes)
    query = "SELECT condition, run FROM outcomes ORDER BY ALL"
    rows = [duckdb.connect(each).sql(query).fetchall() for each in (file, other)]
    assert rows[0] == rows[1]
    return rows[0]


@pytest.mark.slow
def test_a_sweep_that_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    subject, conditions, place = written(tmp_path, HELLO), grid({"memory-limit": "64K..512K/x2"}), tmp_path / "s.duckdb"
    seen = interrupted_after(2, subject, conditions, place)
    again: list[Outcome] = []
    found = sweep(subject, conditions, file=place, told=again.append)
    assert again[:2] == seen
    assert len(again) == len(conditions) + 1
    assert_is_that_of_one_run(found, conditions, place)


@pytest.mark.slow
def test_a_file_is_of_one_sweep(tmp_path: Path) -> None:
    subject, place = written(tmp_path, HELLO), tmp_path / "s.duckdb"
    sweep(subject, grid({}), file=place)
    with pytest.raises(SweepFileError, match="holds the sweep of another program, or with other arguments"):
        sweep(Subject(subject.module, ("word",)), grid({}), file=place)
    subject.module.write_bytes(DICE)
    with pytest.raises(SweepFileError, match="holds the sweep of another program"):
        sweep(Subject(subject.module), grid({}), file=place)


SAMPLED = {"memory-limit": "default,64K..512K/+64K", "engine": "default"}


@pytest.mark.slow
def test_a_file_of_a_sample_is_extended_by_a_larger_one(tmp_path: Path) -> None:
    subject, place = written(tmp_path, HELLO), tmp_path / "s.duckdb"
    small, large = grid(SAMPLED, sample=3), grid(SAMPLED, sample=6)
    assert sweep(subject, small, file=place).sample == small.sample
    seen = interrupted_after(6, subject, large, place)
    assert sample_text(read_sweep(place)) == "a sample of 6 of 9 conditions (seed 0); 5 of 6 runs are there yet"
    again: list[Outcome] = []
    found = sweep(subject, large, file=place, told=again.append)
    assert sample_text(found) == "a sample of 6 of 9 conditions (seed 0)"
    assert set(seen) <= set(again)
    assert len(assert_is_that_of_one_run(found, large, place)) == 7
    assert read_sweep(place).sample == large.sample
    sweep(subject, small, file=place)
    assert read_sweep(place).sample == large.sample


@pytest.mark.parametrize(
    "other", [{**SAMPLED, "memory-limit": "default,64K..320K/+32K"}, SAMPLED, {}], ids=["grid", "all", "one"]
)
@pytest.mark.share(1, in_ci=1)
@pytest.mark.slow
def test_a_file_of_something_else_too_is_not_said_to_be_a_sample(other: dict[str, str], tmp_path: Path) -> None:
    subject, place = written(tmp_path, HELLO), tmp_path / "s.duckdb"
    sweep(subject, grid(SAMPLED, sample=2), file=place)
    after = grid(other)
    assert sweep(subject, after, file=place).sample == after.sample
    assert read_sweep(place).sample is None
    sweep(subject, grid(SAMPLED, sample=2), file=place)
    assert read_sweep(place).sample is None


def test_a_sample_is_told_with_what_each_option_does() -> None:
    def outcome(condition: str, pages: int, code: int = 0) -> Outcome:
        return Outcome(condition, 1, "finished", (), code, "x", peak_bytes=1024, memory_pages=pages)

    outcomes = (
        outcome("default", 1),
        outcome("growth=pages heap-limit=65536", 8, 1),
        *(outcome(f"growth=pages heap-limit={65536 * size} module=m", size) for size in range(3, 9)),
    )
    subject, printed = Subject(Path("m")), StringIO()
    found = Sweep(subject, outcomes, (), Sample(8, 1234, 5, 1, "of"))
    Console(file=printed, width=100).print(SweepTable(found))
    said = [" ".join(line.split()) for line in printed.getvalue().splitlines()]
    begin = said.index("a sample of 8 of 1,234 conditions (seed 5)")
    assert said[begin + 1 : begin + 11] == [
        "by the values of one option: how many pass, and medians of those that do",
        "option values pass peak memory longest",
        "growth default 1 of 1 1 KiB 64 KiB -",
        "pages 6 of 7 1 KiB 320 KiB -",
        "heap-limit default 1 of 1 1 KiB 64 KiB -",
        "64 KiB 0 of 1 - - -",
        "192 KiB 1 of 1 1 KiB 192 KiB -",
        "256 KiB to 320 KiB 2 of 2 1 KiB 256 KiB -",
        "384 KiB 1 of 1 1 KiB 384 KiB -",
        "448 KiB to 512 KiB 2 of 2 1 KiB 448 KiB -",
    ]
    whole = StringIO()
    Console(file=whole, width=100).print(SweepTable(Sweep(subject, outcomes, ())))
    assert "sample" not in whole.getvalue()
    assert "medians" not in whole.getvalue()


@pytest.mark.slow
def test_a_file_of_before_columns_were_added_goes_on(tmp_path: Path) -> None:
    subject, place = written(tmp_path, HELLO), tmp_path / "s.duckdb"
    before = sweep(subject, grid({}), file=place)
    with duckdb.connect(place) as connection:
        connection.execute("ALTER TABLE outcomes DROP COLUMN utilization_10_ms")
        connection.execute("ALTER TABLE outcomes DROP COLUMN memory_steps_pages")
    after = sweep(subject, grid({"memory-limit": "default,64K"}), file=place)
    assert comparable(after.outcomes[:1]) == comparable(before.outcomes)


@pytest.mark.slow
def test_a_file_goes_on_with_the_same_modules_and_inputs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subject, place = written(tmp_path, HELLO), tmp_path / "s.duckdb"
    Path("dice.wasm").write_bytes(DICE)
    Path("in").write_text("x")
    conditions = grid({"module": "default,dice.wasm", "input": "in"})
    found = sweep(subject, conditions, file=place)
    assert [each.condition for each in found.repeated] == ["input=in", "module=dice.wasm input=in"]
    assert {(each.condition, each.name) for each in found.differences} == {
        ("module=dice.wasm input=in", "output_sha256")
    }
    assert len(sweep(subject, [*conditions, Condition()], file=place).outcomes) == 3
    for name in ("in", "dice.wasm"):
        content = Path(name).read_bytes()
        Path(name).write_bytes(b"other")
        with pytest.raises(SweepFileError, match=f"holds outcomes of {name} before that was changed"):
            sweep(subject, conditions, file=place)
        Path(name).write_bytes(content)
    assert sweep(subject, conditions, file=place).outcomes == found.outcomes


def test_an_input_takes_the_place_of_its_mark() -> None:
    subject = Subject(Path("m"), ("-f", "{input}", "a{input}b"), ("--invoke=f",), ("{input}",))
    condition = Condition.of({"input": "7", "growth": "double"})
    assert subject.words(condition) == ["--invoke=f", "--growth=double", "m", "7", "--", "-f", "7", "a7b"]
    assert subject.files_of([condition]) == ()
    assert subject.words(Condition())[-3:] == ["-f", "{input}", "a{input}b"]
    reading = Subject(Path("m"))
    assert reading.words(Condition.of({"module": "n", "input": "x"})) == ["--stdin=x", "n", "--"]


def test_a_file_that_is_something_else_stays_as_it_is(tmp_path: Path) -> None:
    subject, text, database = written(tmp_path, HELLO), tmp_path / "text", tmp_path / "other.duckdb"
    text.write_text("my notes, which nobody may lose\n" * 99)
    with duckdb.connect(database) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
    for place, why in ((text, "cannot be used as the file of a sweep"), (database, "is not the file of a sweep")):
        before = place.read_bytes()
        with pytest.raises(SweepFileError, match=why):
            sweep(subject, grid({}), file=place)
        assert place.read_bytes() == before


def test_a_module_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.wasm: is not a file that can be read"):
        sweep(Subject(tmp_path / "none.wasm"), grid({}))


# ---- processes that die -----------------------------------------------------------------------------------------------


class Storm(Workers):
    """Kills the first processes of each run, each at a moment of its own."""

    def __init__(self, times: int = ATTEMPTS - 1) -> None:
        super().__init__()
        self._times, self._moments, self._run = times, random.Random(1), threading.local()

    def run(self, subject: Subject, condition: Condition, run: int = 1) -> Outcome | None:
        self._run.begun = 0
        return super().run(subject, condition, run)

    def _begin(self, process: subprocess.Popen[bytes]) -> None:
        super()._begin(process)
        self._run.begun += 1
        if self._run.begun <= self._times:
            # None is done so soon that it is missed: Python alone takes as long to begin.
            threading.Timer(self._moments.uniform(0, 0.05), process.kill).start()


def test_the_third_death_of_a_process_is_a_result(tmp_path: Path) -> None:
    dead = Storm(ATTEMPTS).run(written(tmp_path, HELLO), Condition())
    assert dead is not None
    assert (dead.ended, dead.passed, dead.exit_code) == (WORKER_DIED, False, None)
    assert dead.evidence == ("its process was ended by SIGKILL, 3 times out of 3",)


@pytest.mark.slow
def test_twenty_killed_processes_lose_and_double_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, place, conditions = (
        written(tmp_path, HELLO),
        tmp_path / "s.duckdb",
        grid({"memory-limit": "64K..576K/+64K"}),
    )
    calm = sweep(subject, conditions)
    monkeypatch.setattr("tinyheap.lab.sweeping.Workers", Storm)
    found = sweep(subject, conditions, file=place, jobs=2)
    assert comparable(found.outcomes) == comparable(calm.outcomes)
    assert duckdb.connect(place).execute("SELECT count(*) FROM outcomes").fetchone() == (len(conditions) + 1,)


def test_stopped_workers_start_nothing(tmp_path: Path) -> None:
    workers = Workers()
    workers.stop()
    assert workers.run(written(tmp_path, HELLO), Condition()) is None
