"""`tinyheap replay` as its users meet it: options, output, errors, exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

import needs
from tinyheap import cli
from tinyheap.heap.collectors import Collector
from tinyheap.heap.stats import filled_names
from tinyheap.traces.expectation import COLUMNS, KINDS, keys_of
from tinyheap.traces.trace import Trace, TraceBuilder, write_trace

VECTORS: Final = Path(os.environ.get("TINYHEAP_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")
ESCAPE: Final = "\x1b"
COLOR: Final = re.compile(r"\x1b\[[0-9;]*3[0-9]")
MORE_KEYS: Final = {"trace", "collector", "engine", "alloc_ns", "mark_ns", "sweep_ns"}

JsonObject = dict[str, Any]


@pytest.fixture
def vectors() -> Path:
    return needs.path(VECTORS, "the folder of vectors")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, ["replay", *map(str, arguments)])


def lines(result: Result) -> list[JsonObject]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def process(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tinyheap", "replay", *map(str, arguments)]


def on_terminal(*arguments: str | Path, columns: int = 80, **environment: str) -> str:
    """What the command shows on a terminal of that width, standard error included."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    env = {**plain, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(process(*arguments), stdin=follower, stdout=follower, stderr=follower, env=env) as running:
        os.close(follower)
        shown = bytearray()
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    assert running.returncode == 0, shown.decode()
    return shown.decode()


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # how Linux says that the other side has gone
        return b""


def tree(*, heap_bytes: int = 4096, live: int = 20, limit_bytes: int | None = None) -> Trace:
    """A table of live objects with dead ones between them, and a collection."""
    program = TraceBuilder(heap_bytes, limit_bytes=limit_bytes)
    table = program.alloc(4 * live)
    program.root(0, table)
    for word in range(live):
        program.store(table, word, program.alloc(16))
        program.alloc(24)
    program.collect()
    return program.build()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "tree.trace.gz"
    write_trace(path, tree())
    return path


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A trace that runs out of memory at step 31."""
    program = TraceBuilder(256)
    for slot in range(15):
        program.root(slot, program.alloc(16))
    for slot in range(15):
        program.alloc(16)
        program.copy(slot + 1, slot + 1)
    program.root(15, program.alloc(400))
    path = tmp_path / "full.trace"
    write_trace(path, program.build())
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    program = TraceBuilder(4096)
    program.store(7, 0)
    program.object_ids = 9
    path = tmp_path / "broken.trace"
    write_trace(path, program.build())
    return path


class TestVectors:
    def test_kernel_is_as_expected_on_all(self, vectors: Path) -> None:
        self.hold(vectors, "--engine", "kernel")

    def test_kernel_is_with_the_bounded_mark_stack(self, vectors: Path) -> None:
        self.hold(vectors, "--engine", "kernel", "--mark-stack", "faithful")

    @pytest.mark.long
    def test_model_is_as_expected_on_all(self, vectors: Path) -> None:
        self.hold(vectors, "--engine", "model")

    def hold(self, vectors: Path, *options: str) -> None:
        traces = sorted(vectors.glob("*.trace.gz"))
        result = run(*traces, "--expect", vectors, "--json", *options)
        assert (result.stderr, result.exit_code) == ("", 0)
        assert [line["trace"] for line in lines(result)] == [str(trace) for trace in traces]

    def test_json_has_the_keys_of_a_vector_and_its_values(self, vectors: Path) -> None:
        name = "fuzz-0004-w8-conservative"
        expected = json.loads((vectors / f"{name}.json").read_bytes())
        (line,) = lines(run(vectors / f"{name}.trace.gz", "--json", "--mark-stack", "faithful"))
        assert set(line) == set(expected) | MORE_KEYS
        assert {key: line[key] for key in expected} == expected
        assert all(line[key] > 0 for key in ("alloc_ns", "mark_ns", "sweep_ns"))


def change(expectation: JsonObject, *path: str | int) -> None:
    """Changes the value at that path."""
    *outer, last = path
    place: Any = expectation
    for index in outer:
        place = place[index]
    place[last] = changed(place[last])


def changed(value: object) -> object:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value[:-1] + ("-" if value.endswith(".") else "0" if not value.endswith("0") else "1")
    raise AssertionError(value)


VALUES: Final = [
    *((key,) for key in keys_of(Collector.NEXT_FIT) if KINDS[key] not in (list, dict)),
    ("addresses", 5),
    *(("collections", 2, column) for column in range(len(COLUMNS))),
    *(("mem_stats", name) for name in filled_names(Collector.NEXT_FIT)),
]
"""The path to each in an expectation; of lists, one item."""


class TestExpectations:
    @pytest.fixture
    def expectation(self, vectors: Path) -> JsonObject:
        expected: JsonObject = json.loads((vectors / "fuzz-0004-w8-conservative.json").read_bytes())
        return expected

    @pytest.fixture
    def hold(self, vectors: Path, tmp_path: Path) -> Callable[..., Result]:
        def hold(expectation: object, *options: str) -> Result:
            file = tmp_path / "expected.json"
            file.write_text(expectation if isinstance(expectation, str) else json.dumps(expectation))
            return run(vectors / "fuzz-0004-w8-conservative.trace.gz", "--expect", file, "--no-map", *options)

        return hold

    @pytest.mark.parametrize("path", VALUES, ids=lambda path: "-".join(map(str, path)))
    @pytest.mark.parametrize("options", [[], ["--json"]], ids=["screen", "json"])
    @pytest.mark.share(20)
    def test_any_changed_value_is_found(
        self,
        expectation: JsonObject,
        hold: Callable[..., Result],
        path: tuple[str | int, ...],
        options: list[str],
    ) -> None:
        change(expectation, *path)
        result = hold(expectation, "--mark-stack", "faithful", "--gc", "conservative", *options)
        assert result.exit_code == 1
        text = result.stderr if options else result.stdout
        assert re.search(rf"differs in {path[0]}\b.*: expected .+, found .+", text)

    def test_overflows_count_only_where_marking_is_the_original_s(
        self, expectation: JsonObject, hold: Callable[..., Result]
    ) -> None:
        expectation["collections"][2][3] += 1
        assert hold(expectation).exit_code == 0
        assert hold(expectation, "--mark-stack", "unbounded", "--engine", "model").exit_code == 0
        assert hold(expectation, "--mark-stack", "64").exit_code == 1
        assert hold(expectation, "--engine", "model").exit_code == 1

    def test_address_that_differs_is_told_with_its_step(
        self, expectation: JsonObject, hold: Callable[..., Result]
    ) -> None:
        found = expectation["addresses"][1]
        expectation["addresses"][1:3] = [7, 8]
        assert re.search(
            rf"differs in addresses\[1\] \(step \d+ \((RE)?ALLOC id=.+\)\): expected 7, found {found}\n",
            hold(expectation).stdout,
        )

    @pytest.mark.parametrize("key", ["addresses", "collections"])
    def test_list_that_ends_early_differs(self, expectation: JsonObject, hold: Callable[..., Result], key: str) -> None:
        last = len(expectation[key]) - 1
        del expectation[key][-1]
        assert re.search(rf"differs in {key}\[{last}\] .+expected nothing, found ", hold(expectation).stdout)

    def test_map_that_differs_is_told_with_its_block(
        self, expectation: JsonObject, hold: Callable[..., Result]
    ) -> None:
        text = expectation["final_map"]
        expectation["final_map"] = changed(text)
        assert f"final_map (block {len(text) - 1}): expected" in hold(expectation).stdout

    @pytest.mark.parametrize("key", keys_of(Collector.NEXT_FIT))
    def test_missing_key_is_an_error(self, expectation: JsonObject, hold: Callable[..., Result], key: str) -> None:
        del expectation[key]
        result = hold(expectation, "--json")
        assert result.exit_code == 125
        assert lines(result)[0]["error"].endswith(f"expected.json: it lacks {key}")

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("\x00", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("[]", "JSON list"),
            ("7", "JSON int"),
        ],
        ids=["empty", "cut", "binary", "deep", "list", "number"],
    )
    def test_what_is_no_expectation_is_an_error(self, hold: Callable[..., Result], text: str, word: str) -> None:
        result = hold(text, "--json")
        assert result.exit_code == 125
        assert word in lines(result)[0]["error"]

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("addresses", {}),
            ("addresses", [1, "2"]),
            ("collections", [[1, 2, 3, 4, 5]]),
            ("collections", [[1, 2, 3, 4, 5, 6]]),
            ("mem_stats", []),
            ("mem_stats", {}),
            ("precise", 0),
            ("ops_done", True),
            ("oom", None),
        ],
    )
    def test_a_statistic_of_the_wrong_kind_is_an_error(
        self, expectation: JsonObject, hold: Callable[..., Result], key: str, value: object
    ) -> None:
        expectation[key] = value
        result = hold(expectation, "--json")
        assert result.exit_code == 125
        assert f"expected.json: invalid {key}" in lines(result)[0]["error"]

    def test_expectation_says_which_collector(self, vectors: Path) -> None:
        name = "fuzz-0000-w8-precise"
        trace, file = vectors / f"{name}.trace.gz", vectors / f"{name}.json"
        assert lines(run(trace, "--json", "--expect", file))[0]["precise"]
        assert not lines(run(trace, "--json"))[0]["precise"]
        forced = run(trace, "--json", "--expect", file, "--gc", "conservative")
        assert forced.exit_code == 1
        assert "differs in precise: expected true, found false" in forced.stderr

    def test_own_json_serves_as_an_expectation(self, trace: Path, tmp_path: Path) -> None:
        (tmp_path / "own.json").write_text(run(trace, "--json", "--engine", "kernel").stdout)
        options = ["--engine", "model", "--mark-stack", "unbounded"]
        result = run(trace, "--expect", tmp_path / "own.json", *options)
        assert result.exit_code == 0
        assert "1 of 1 as expected" in result.stdout


class TestPairing:
    @pytest.fixture
    def pairs(self, tmp_path: Path) -> Path:
        for name in ("a", "b"):
            write_trace(tmp_path / f"{name}.trace", tree(live=len(name) + ord(name) % 7))
            (tmp_path / f"{name}.json").write_text(run(tmp_path / f"{name}.trace", "--json").stdout)
        return tmp_path

    def test_files_are_matched_by_name(self, pairs: Path) -> None:
        traces = [pairs / "a.trace", pairs / "b.trace"]
        assert run(*traces, "--expect", pairs / "b.json", "--expect", pairs / "a.json").exit_code == 0

    def test_one_file_is_of_one_trace_whatever_its_name(self, pairs: Path) -> None:
        assert run(pairs / "a.trace", "--expect", pairs / "a.json").exit_code == 0
        assert run(pairs / "a.trace", "--expect", pairs / "b.json").exit_code == 1

    @pytest.mark.parametrize(
        "expected",
        [["a.json"], ["a.json", "b.json", "c.json"], ["a.json", "b.json", "sub/a.json"]],
        ids=["too few", "too many", "twice"],
    )
    def test_what_does_not_match_is_a_usage_error(self, pairs: Path, expected: list[str]) -> None:
        options = [word for name in expected for word in ("--expect", str(pairs / name))]
        assert run(pairs / "a.trace", pairs / "b.trace", *options).exit_code == 2

    def test_missing_in_a_folder_is_an_error_of_that_trace(self, pairs: Path) -> None:
        (pairs / "a.json").unlink()
        result = run(pairs / "a.trace", pairs / "b.trace", "--expect", pairs, "--json")
        assert result.exit_code == 125
        missing, good = lines(result)
        assert missing["error"] == f"{pairs / 'a.json'}: No such file or directory"
        assert good["ops_done"] > 0


class TestErrors:
    def test_others_still_run(self, broken: Path, trace: Path, tmp_path: Path) -> None:
        result = run(broken, tmp_path / "no.trace", tmp_path, trace, "--json")
        assert result.exit_code == 125
        first, second, third, good = lines(result)
        assert set(first) == set(second) == {"trace", "error"}
        assert first["trace"] == str(broken)
        assert first["error"].startswith(f"{broken}: step 0 (STORE id=7 ")
        assert second["error"] == f"{tmp_path / 'no.trace'}: No such file or directory"
        assert third["error"] == f"{tmp_path}: Is a directory"
        assert good["trace"] == str(trace)

    def test_people_get_a_line_and_the_table(self, broken: Path, trace: Path) -> None:
        result = run(broken, trace, trace)
        assert result.exit_code == 125
        assert re.fullmatch(re.escape(f"Error: {broken}") + r": step 0 \(STORE .+\n", result.stderr)
        assert result.stdout.count("tree ") == 2

    def test_limit_below_the_heap_of_the_trace_is_an_error(self, trace: Path) -> None:
        (line,) = lines(run(trace, "--json", "--limit", "1KiB"))
        assert line["error"].startswith(f"{trace}: --limit 1024 is below the trace's initial heap of 4096 bytes")

    def test_heap_that_this_machine_cannot_hold_is_an_error(self, trace: Path, tmp_path: Path) -> None:
        path = tmp_path / "wide.trace"
        write_trace(path, TraceBuilder(4096, word_bytes=8).build())
        result = run(path, trace, "--json", "--limit", "99999999GiB")
        assert result.exit_code == 125
        assert [set(line) for line in lines(result)] == [{"trace", "error"}] * 2

    @pytest.mark.parametrize(
        "options",
        [
            [],
            ["--gc", "copying"],
            ["--engine", "fast"],
            ["--heap", "0"],
            ["--heap", "64KB"],
            ["--limit", "-1"],
            ["--heap", "2M", "--limit", "1M"],
            ["--mark-stack", "0"],
            ["--mark-stack", "all"],
            ["--mark-stack", "²"],
            ["--no-such-option"],
        ],
        ids=" ".join,
    )
    def test_wrong_usage_exits_with_2(self, trace: Path, options: list[str]) -> None:
        assert run(*([trace] if options else []), *options).exit_code == 2


class TestOptions:
    def test_heap_and_limit_replace_the_trace_s_own(self, trace: Path) -> None:
        (line,) = lines(run(trace, "--json", "--heap", "256", "--limit", "64KiB"))
        assert 256 < line["heap_bytes"] <= 64 * 1024
        (line,) = lines(run(trace, "--json", "--heap", "256", "--limit", "256"))
        assert (line["heap_bytes"], line["oom"]) == (256, "out of memory")

    def test_mark_stack_overflows_where_it_is_small(self, trace: Path) -> None:
        counts = {}
        for size in ("unbounded", "4", "faithful"):
            for engine in ("kernel", "model"):
                (line,) = lines(run(trace, "--json", "--mark-stack", size, "--engine", engine))
                counts[size, engine] = [row[3:5] for row in line["collections"]]
        assert counts["4", "kernel"] == counts["4", "model"] != [[0, 0]]
        assert {str(counts[size, engine]) for size, engine in counts if size != "4"} == {"[[0, 0]]"}

    def test_leaking_collects_nothing_and_has_no_map(self, trace: Path) -> None:
        (line,) = lines(run(trace, "--json", "--gc", "leaking"))
        assert (line["collections"], line["final_map"]) == ([], "")
        assert "the leaking collector has no blocks" in run(trace, "--gc", "leaking", "--map").stdout

    def test_standard_input(self, trace: Path) -> None:
        with trace.open("rb") as opened:
            result = subprocess.run(process("-", "--json"), stdin=opened, capture_output=True, text=True, check=True)
        assert json.loads(result.stdout)["trace"] == "-"

    def test_model_serves_where_there_is_no_kernel_and_says_so(self, trace: Path) -> None:
        start = "import sys; sys.modules['tinyheap.heap.nextfit._kernel'] = None; import tinyheap.cli as c; c.main()"
        result = subprocess.run(
            [sys.executable, "-c", start, "replay", trace, trace, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert [json.loads(line)["engine"] for line in result.stdout.splitlines()] == ["model", "model"]
        assert re.fullmatch(r"Warning: the compiled kernel is not there.+ The model serves.+\n", result.stderr)

    def test_out_of_memory_is_a_result(self, full: Path) -> None:
        result = run(full, "--json")
        assert result.exit_code == 0
        assert lines(result)[0]["oom"] == "out of memory"
        assert "out of memory at step" in run(full).stdout
        assert re.search(r"full +oom", run(full, full).stdout)


class TestScreen:
    def test_output_to_a_file_has_no_escape_codes(self, trace: Path, full: Path) -> None:
        result = subprocess.run(process(trace, full, "--map"), capture_output=True, text=True, check=True)
        assert "largest" in result.stdout
        assert ESCAPE not in result.stdout + result.stderr

    def test_terminal_has_colors_unless_told_otherwise(self, full: Path) -> None:
        assert COLOR.search(on_terminal(full))
        assert not COLOR.search(on_terminal(full, NO_COLOR="1"))

    @pytest.mark.parametrize("columns", [40, 80, 140])
    def test_map_fits_the_terminal_and_sums_up_what_does_not(self, tmp_path: Path, columns: int) -> None:
        path = tmp_path / "large.trace"
        write_trace(path, tree(heap_bytes=1 << 20, live=5000))
        shown = on_terminal(path, "--map", columns=columns, NO_COLOR="1").replace("\r", "").splitlines()
        rows = [line for line in shown if line.startswith("0x")]
        assert 8 <= len(rows) <= 16
        assert max(map(len, shown)) <= columns
        blocks = re.search(r"one glyph per ([\d,]+) blocks", "\n".join(shown))
        assert blocks
        glyphs = sum(len(row.split()[1]) for row in rows)
        pool_blocks = 1 << 16
        assert glyphs * int(blocks[1]) == pytest.approx(pool_blocks, rel=0.03)

    def test_small_map_shows_each_block(self, trace: Path) -> None:
        (line,) = lines(run(trace, "--json"))
        rows = [row.split() for row in run(trace).stdout.splitlines() if row.startswith("0x")]
        assert "".join(glyphs for _, glyphs in rows) == line["final_map"].replace(".", "\N{MIDDLE DOT}")
        assert int(rows[0][0], 16) == line["heap_base"]

    def test_ascii_is_enough(self, trace: Path, full: Path) -> None:
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}
        result = subprocess.run(process(trace, full, "--map"), capture_output=True, check=True, env=env)
        assert result.stdout.isascii()
        assert b"largest" in result.stdout

    def test_maps_are_for_one_trace_unless_asked_for(self, trace: Path) -> None:
        assert "one glyph per block" in run(trace).stdout
        assert "one glyph per block" not in run(trace, "--no-map").stdout
        assert "one glyph per block" not in run(trace, trace).stdout
        assert run(trace, trace, "--map").stdout.count("one glyph per block") == 2

    def test_progress_shows_on_long_traces_only(self, trace: Path, tmp_path: Path) -> None:
        path = tmp_path / "long.trace"
        program = TraceBuilder(4096)
        program.root(0, program.alloc(16))
        for _ in range(20_000):
            program.store(1, 0)
        write_trace(path, program.build())
        assert "/20002" in on_terminal(path, "--engine", "model", "--json")
        assert "/62" not in on_terminal(trace, "--engine", "model", "--json")
        assert run(path, "--engine", "model", "--json").stderr == ""


class TestManners:
    @pytest.fixture
    def endless(self, tmp_path: Path) -> Path:
        """Long enough on the model to be interrupted."""
        program = TraceBuilder(4096)
        program.root(0, program.alloc(16))
        for word in range(600_000):
            program.store(1, word % 4)
        path = tmp_path / "endless.trace.gz"
        write_trace(path, program.build())
        return path

    @pytest.mark.slow
    def test_interrupt_ends_it_cleanly(self, trace: Path, endless: Path) -> None:
        with subprocess.Popen(
            process(trace, *[endless] * 50, "--engine", "model", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stdout
            assert running.stderr
            assert json.loads(running.stdout.readline())
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 130
            assert running.stderr.read() == "Error: interrupted\n"

    @pytest.mark.parametrize("options", [["--json"], ["--map"]], ids=["json", "screen"])
    def test_reader_that_leaves_ends_it_cleanly(self, trace: Path, options: list[str]) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        result = subprocess.run(
            process(*[trace] * 40, *options), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writing)
        assert (result.returncode, result.stderr) == (141, "")


NEWER: Final = VECTORS.parent / "vectors-newer"
GENERATIONS: Final = {
    "0.41": ("best-fit-front", "tiny-grow-w4-precise"),
    "0.42": ("best-fit-back", "fin-03-w4-conservative"),
}


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> tuple[str, str, Path, Path]:
    """A release, its collector, a trace and what the original did with it."""
    needs.path(NEWER, "the folder of vectors of newer generations")
    release: str = request.param
    collector, name = GENERATIONS[release]
    return release, collector, NEWER / "traces" / f"{name}.trace.gz", NEWER / release / f"{name}.json"


class TestCollectors:
    @pytest.mark.parametrize("by_release", [True, False])
    def test_json_has_the_keys_of_the_vectors(self, generation: tuple[str, str, Path, Path], by_release: bool) -> None:
        release, collector, trace, file = generation
        expected = json.loads(file.read_bytes())
        gc = "precise" if expected["precise"] else "conservative"
        name = release if by_release else collector
        (line,) = lines(run(trace, "--json", "--collector", name, "--gc", gc, "--engine", "model"))
        assert {key: line.get(key) for key in expected} == expected
        assert line["collector"] == collector

    def test_the_expectation_says_which(self, generation: tuple[str, str, Path, Path]) -> None:
        _, collector, trace, file = generation
        result = run(trace, "--expect", file, "--engine", "model")
        assert "1 of 1 as expected" in result.stdout
        assert f"collector      {collector}" in result.stdout

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            (("final_ranges", 0, 0), "final_ranges[0][0]"),
            (("final_ranges_fnv1a",), "final_ranges_fnv1a"),
            (("collections", 1, 4), "collections[1] ranges hash"),
            (("mem_stats", "HeapObjects"), "mem_stats.HeapObjects"),
        ],
    )
    def test_any_changed_statistic_is_found(
        self, generation: tuple[str, str, Path, Path], tmp_path: Path, path: tuple[str | int, ...], said: str
    ) -> None:
        _, _, trace, file = generation
        expected = json.loads(file.read_bytes())
        change(expected, *path)
        (tmp_path / "changed.json").write_text(json.dumps(expected))
        result = run(trace, "--expect", tmp_path / "changed.json", "--engine", "model")
        assert result.exit_code == 1
        assert f"differs in {said}" in result.stdout

    def test_finalizers_are_compared_by_their_path(self, tmp_path: Path) -> None:
        needs.path(NEWER, "the folder of vectors of newer generations")
        name = GENERATIONS["0.42"][1]
        expected = json.loads((NEWER / "0.42" / f"{name}.json").read_bytes())
        change(expected, "finalizers", "ran", 0, 3)
        (tmp_path / "changed.json").write_text(json.dumps(expected))
        trace = NEWER / "traces" / f"{name}.trace.gz"
        result = run(trace, "--expect", tmp_path / "changed.json", "--engine", "model")
        assert "differs in finalizers.ran[0][3]: expected 33, found 32" in result.stdout

    def test_one_without_finalizers_refuses_a_trace_that_has_some(self, tmp_path: Path) -> None:
        program = TraceBuilder(4096)
        program.set_finalizer(program.alloc(8), 1)
        write_trace(tmp_path / "one.trace", program.build())
        for options in ((), ("--collector", "0.41", "--engine", "model"), ("--collector", "0.42", "--gc", "leaking")):
            result = run(tmp_path / "one.trace", "--json", *options)
            assert result.exit_code == 125
            message = "step 1 (SET_FINALIZER id=1 finalizer=1 slot+1=0): the collector has no finalizers"
            assert message in lines(result)[0]["error"]

    def test_unknown_ones_are_refused(self, trace: Path) -> None:
        result = run(trace, "--collector", "boehm")
        assert result.exit_code == 2
        assert "invalid collector 'boehm': expected next-fit, best-fit-front," in result.stderr

    def test_what_has_no_mark_stack_refuses_to_bound_it(self, trace: Path) -> None:
        result = run(trace, "--json", "--collector", "best-fit", "--mark-stack", "faithful", "--engine", "model")
        assert result.exit_code == 125
        assert "invalid mark_stack_entries 32: expected 0, since best-fit-back has no mark stack" in result.stdout
        assert run(trace, "--collector", "0.42", "--mark-stack", "unbounded", "--engine", "model").exit_code == 0
