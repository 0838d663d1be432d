"""The pytest plugin, in processes of their own: what it limits, what a failing test shows, and that others do not notice it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import guests_modules
import project_files
from tinyheap.pytest_plugin import file_name
from tinyheap.recordings.recording import Recording

SOURCE = project_files.ROOT / "examples" / "input" / "unformatted.go"
STRICT = ("-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider")
HEAVY = (
    "click",
    "duckdb",
    "numpy",
    "rich",
    "wasmtime",
    "tinyheap.budgets.",
    "tinyheap.guests.",
    "tinyheap.recordings.",
)

HEAD = f"""
import pytest
from pathlib import Path
from tinyheap import Policy

SOURCE = Path({str(SOURCE)!r}).read_text()

@pytest.fixture
def gofmt(guest):
    program = guest("gofmt.wasm")
    program.start()
    return program.driver()
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs tests on gofmt, with further options."""

    def run_tests(tests: str, *options: str) -> pytest.RunResult:
        shutil.copy(guests_modules.path("gofmt-0.4.9"), pytester.path / "gofmt.wasm")
        pytester.makepyfile(HEAD + tests)
        return pytester.runpytest_subprocess(*STRICT, "-p", "no:randomly", *options)

    return run_tests


@pytest.fixture
def plain(pytester: pytest.Pytester) -> Run:
    """Runs tests that need no program."""

    def run_tests(tests: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess(*STRICT, *options)

    return run_tests


# ---- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_that_is_exceeded_fails_the_test_and_shows_the_sites(run: Run) -> None:
    result = run("""
@pytest.mark.heap_limit("100 KiB")
def test_over(gofmt):
    gofmt.format(SOURCE)

@pytest.mark.heap_limit("1 MiB")
@pytest.mark.heap_pause("10 s")
def test_within(gofmt):
    gofmt.format(SOURCE)

@pytest.mark.heap_pause("1 ns")
def test_pause(gofmt):
    gofmt.format(SOURCE)
""")
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "gofmt.wasm: peak 229 KiB of 100 KiB: over by 129 KiB (129%)",
            "*- heap of gofmt.wasm -*",
            "peak * over by 129 KiB (129%)",
            "peak: live at the peak, by allocation site",
            "  internal/task.start+0x* 128 KiB   56%",
            "gofmt.wasm: longest-pause * of 1 ns: over by *",
            "longest-pause: live when the longest pause began, by allocation site",
        ]
    )


@pytest.mark.slow
def test_growth_is_judged_behind_the_calls_that_warm_up(run: Run) -> None:
    result = run("""
def calls(guest, count, kept):
    program = guest("gofmt.wasm", policy=Policy(gc_every=400))
    program.start()
    driver = program.driver()
    for _ in range(count):
        driver.format("package a\\n" + "var x = 1\\n" * 5)

@pytest.mark.heap_growth(per_call="0 B", after=20)
def test_flat(guest):
    calls(guest, 80, 0)

@pytest.mark.heap_growth(per_call="0 B", after=20)
def test_too_few(guest):
    calls(guest, 21, 0)
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["gofmt.wasm: growth-per-call - of 0 B: unknown: too few collections to tell: it takes 10 calls with one *"]
    )


@pytest.mark.slow
def test_growth_fails_a_test_whose_host_keeps_what_it_was_lent(pytester: pytest.Pytester) -> None:
    shutil.copy(guests_modules.path("gofeatureflag-1.1.0"), pytester.path / "flags.wasm")
    pytester.makepyfile("""
import pytest
from tinyheap import Policy

@pytest.mark.heap_growth(per_call="100 B")
@pytest.mark.parametrize("gives_back", [True, False])
def test_buffers(guest, gives_back):
    program = guest("flags.wasm", policy=Policy(gc_every=1))
    program.start()
    for _ in range(40):
        address = program.call("malloc", 2000)
        if gives_back:
            program.call("free", address)
""")
    result = pytester.runpytest_subprocess(*STRICT)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["flags.wasm: growth-per-call * of 100 B: over by *", "growth-per-call: growth per call, by allocation site"]
    )


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ('heap_limit("100 KB")', "invalid marker heap_limit: invalid size '100 KB': expected a number and a unit"),
        ("heap_limit()", "invalid marker heap_limit: *missing 1 required positional argument*"),
        ("heap_limit(1, 2)", "invalid marker heap_limit: *takes 1 positional argument*"),
        ("heap_growth(per_call='0 B', after='soon')", "invalid marker heap_growth: invalid number 'soon'"),
        ("heap_pause(5)", "invalid marker heap_pause: invalid duration '5'"),
        ("heap_limit('5 %')", "invalid marker heap_limit: invalid size '5 %'"),
    ],
    ids=lambda each: each[:20],
)
@pytest.mark.share(1)
def test_a_marker_that_says_nothing_fails_the_test(marker: str, why: str, plain: Run) -> None:
    result = plain(f"import pytest\n@pytest.mark.{marker}\ndef test_it():\n    pass\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{why}*"])


@pytest.mark.slow
def test_a_limit_of_nothing_fails_the_test_unless_others_share_it(plain: Run) -> None:
    result = plain("""
import pytest

@pytest.mark.heap_limit("1 MiB")
def test_own():
    pass

@pytest.mark.heap_limit("1 MiB")
class TestShared:
    def test_without(self):
        pass

    def test_attached(self, attach):
        attach()
""")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["this test limits a heap, and no guest was recorded: open a module with the fixture*"])


@pytest.mark.slow
def test_the_innermost_limit_counts(run: Run) -> None:
    result = run("""
pytestmark = pytest.mark.heap_limit("1 KiB")

@pytest.mark.heap_limit("1 MiB")
def test_own(gofmt):
    gofmt.format(SOURCE)

def test_shared(gofmt):
    gofmt.format(SOURCE)
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*_ test_shared _*", "gofmt.wasm: peak 229 KiB of 1 KiB*"])


@pytest.mark.slow
def test_outcomes_other_than_passing_stay_what_they_are(run: Run) -> None:
    result = run("""
pytestmark = pytest.mark.heap_limit("1 KiB")

def test_skipped(guest):
    guest("gofmt.wasm")
    pytest.skip("not today")

@pytest.mark.xfail(strict=True)
def test_expected(gofmt):
    gofmt.format(SOURCE)

def test_wrong(gofmt):
    assert gofmt.format(SOURCE) == "nothing"

def test_trap(guest):
    program = guest("gofmt.wasm")
    program.start()
    program.call("no such export")
""")
    result.assert_outcomes(skipped=1, xfailed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["*AssertionError*", "*- heap of gofmt.wasm -*", "peak: 229 KiB", "*internal/task.start*"]
    )


# ---- what is recorded -------------------------------------------------------------------------------------------------


KEPT = """
def test_one(gofmt):
    gofmt.format(SOURCE)

def test_two(guest):
    for _ in range(2):
        with guest("gofmt.wasm") as program:
            program.start()

@pytest.mark.parametrize("name", ["a/b", "a:b"])
def test_names(gofmt, name):
    gofmt.format(SOURCE)
"""


def kept(folder: Path) -> dict[str, int]:
    """How many events each recording has."""
    found = {}
    for path in folder.rglob("*.tinyheap"):
        with Recording.open(path) as recording:
            assert recording.run.is_complete
            found[path.relative_to(folder).as_posix()] = recording.run.events
    return found


@pytest.mark.slow
def test_recordings_are_kept_and_replaced(run: Run, pytester: pytest.Pytester) -> None:
    for _ in range(2):
        run(KEPT, "--tinyheap-recordings", "made/here").assert_outcomes(passed=4)
        found = kept(pytester.path / "made" / "here")
        assert len(found) == 5
        assert all(events > 0 for events in found.values())
    names = {re.sub(r"-[0-9a-f]{8}-", "-", name) for name in found}
    module = next(iter(pytester.path.glob("test_*.py"))).name
    assert {f"{module}_test_one-1.tinyheap", f"{module}_test_two-1.tinyheap", f"{module}_test_two-2.tinyheap"} <= names


@pytest.mark.parametrize(
    ("options", "prefixes"), [((), {""}), (("--dist", "each"), {"gw0/", "gw1/"})], ids=["load", "each"]
)
@pytest.mark.slow
def test_with_xdist_each_test_has_its_recordings(
    run: Run, pytester: pytest.Pytester, options: tuple[str, ...], prefixes: set[str]
) -> None:
    run(KEPT, "-n", "2", *options, "--tinyheap-recordings", "kept").assert_outcomes(passed=4 * len(prefixes))
    found = kept(pytester.path / "kept")
    assert len(found) == 5 * len(prefixes)
    assert {re.sub("[^/]*$", "", name) for name in found} == prefixes


@pytest.mark.slow
def test_with_xdist_a_failing_test_shows_its_sites(run: Run) -> None:
    result = run('@pytest.mark.heap_limit("1 KiB")\ndef test_over(gofmt):\n    gofmt.format(SOURCE)\n', "-n", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["gofmt.wasm: peak 229 KiB of 1 KiB*", "*- heap of gofmt.wasm -*", "*internal/task.start*"]
    )


@pytest.mark.slow
def test_without_limits_nothing_is_recorded_and_a_failing_test_shows_counts(
    run: Run, pytester: pytest.Pytester
) -> None:
    result = run("""
def test_wrong(guest, tmp_path):
    program = guest("gofmt.wasm")
    assert program.recorder is None
    program.start()
    assert program.driver().format(SOURCE) == "nothing"
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- heap of guest 1 -*", "250 KiB of 256 KiB in use; allocations: 2,687, collections: 1; *"]
    )


@pytest.mark.slow
def test_programs_live_until_fixtures_have_ended(run: Run) -> None:
    run("""
@pytest.fixture
def plugin(guest):
    program = guest("gofmt.wasm")
    program.start()
    yield program
    assert program.driver().format("package  a\\n") == "package a\\n"

@pytest.mark.heap_limit("1 MiB")
def test_it(plugin):
    plugin.driver().format(SOURCE)
""").assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_limit_of_what_cannot_be_seen_fails_the_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
import pytest
import wasmtime

WASM = bytes(wasmtime.wat2wasm('(module (func (export "f") (result i32) (i32.const 7)))'))

def test_free(guest):
    assert guest(WASM).call("f") == 7

@pytest.mark.heap_limit("1 KiB")
def test_limited(guest):
    assert guest(WASM).call("f") == 7
""")
    result = pytester.runpytest_subprocess(*STRICT, "--tinyheap-recordings", "kept")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["(bytes): peak - of 1 KiB: unknown: nothing that allocates was recognized in this module"]
    )


@pytest.mark.slow
def test_attached_instances_have_limits_too(pytester: pytest.Pytester) -> None:
    shutil.copy(guests_modules.path("gofeatureflag-1.1.0"), pytester.path / "flags.wasm")
    pytester.makepyfile("""
import pytest
import wasmtime

@pytest.mark.parametrize("size", [pytest.param(n, marks=pytest.mark.heap_limit("64 KiB")) for n in (100, 100_000)])
def test_buffers(attach, size):
    attach()
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    linker.define_wasi()
    store.set_wasi(wasmtime.WasiConfig())
    exports = linker.instantiate(store, wasmtime.Module.from_file(engine, "flags.wasm")).exports(store)
    with pytest.raises(wasmtime.ExitTrap):
        exports["_start"](store)
    assert exports["malloc"](store, size)
""")
    result = pytester.runpytest_subprocess(*STRICT, "--tinyheap-recordings", "kept")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["* peak * of 64 KiB: over by *", "*- heap of *", "* live at the peak, by allocation site"]
    )
    assert len(kept(pytester.path / "kept")) == 2


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_said(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "file").write_text("")
    result = run("def test_it(gofmt):\n    pass\n", "--tinyheap-recordings", "file/kept")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--tinyheap-recordings *file/kept: cannot be made: *; choose another folder"])


# ---- whoever else runs tests ------------------------------------------------------------------------------------------


def test_it_costs_a_run_without_guests_no_import(plain: Run) -> None:
    result = plain(f"""
import sys

def test_nothing_was_imported():
    assert "tinyheap.pytest_plugin" in sys.modules
    found = [name for name in sys.modules if name.startswith({HEAVY!r})]
    assert found == []
""")
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_its_modules_work_where_pytest_rewrites_their_assertions(run: Run, pytester: pytest.Pytester) -> None:
    """As it does with all modules of a package that has a plugin, unless it is installed to be edited."""
    pytester.makeconftest(
        'import pytest\npytest.register_assert_rewrite("tinyheap.budgets", "tinyheap.guests", "tinyheap.heap")'
    )
    result = run("""
import tinyheap.guests

@pytest.mark.heap_limit("1 KiB")
def test_over(gofmt):
    assert type(tinyheap.guests.__loader__).__name__ == "AssertionRewritingHook"
    gofmt.format(SOURCE)
""")
    result.stdout.fnmatch_lines(["gofmt.wasm: peak 229 KiB of 1 KiB*"])


@pytest.mark.slow
def test_markers_and_the_option_are_in_the_help(plain: Run) -> None:
    result = plain("", "--markers")
    result.stdout.fnmatch_lines(
        ["@pytest.mark.heap_limit(size): *", "@pytest.mark.heap_growth(*", "@pytest.mark.heap_pause(*"]
    )
    result = plain("", "--help")
    result.stdout.fnmatch_lines(["tinyheap:", "*--tinyheap-recordings=DIR*"])


@pytest.mark.slow
def test_it_can_be_left_out(plain: Run) -> None:
    result = plain("import sys\n\ndef test_it():\n    assert 'tinyheap' not in sys.modules\n", "-p", "no:tinyheap")
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_without_the_libraries_it_says_what_to_install(pytester: pytest.Pytester) -> None:
    (pytester.path / "missing").mkdir()
    (pytester.path / "missing" / "wasmtime.py").write_text("raise ModuleNotFoundError('none here', name='wasmtime')")
    pytester.makepyfile("def test_it(guest):\n    guest('gofmt.wasm')\n\ndef test_other():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *STRICT],
        env={**os.environ, "PYTHONPATH": str(pytester.path / "missing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout
    assert "MissingLibraryError: " in done.stdout
    assert "pip install 'tinyheap[" in done.stdout


def test_no_two_tests_share_the_name_of_a_file() -> None:
    names = ["a.py::test[a/b]", "a.py::test[a:b]", "a.py::test[é]", "x" * 300 + "1", "x" * 300 + "2", ":", "/"]
    made = [file_name(each) for each in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[\w.-]{1,110}", each, re.ASCII) for each in made)
