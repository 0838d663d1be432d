"""`tinyheap run` as its users meet it: on real modules, on small commands, and in a shell."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import guests_modules
import needs
from hosts.programs import command, module_bytes, say
from tinyheap import cli
from tinyheap.cli import run as run_command
from tinyheap.formatters import ShSyntaxFormatter
from tinyheap.hosts import HostSession

GO = "package a\nfunc f( ){}\n"
FORMATTED_GO = "package a\n\nfunc f() {}\n"
LONG_GO = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(300))
SPIN = "(loop (br 0))"
HELLO = command(say(64, "(i32.const 6)") + "(call $proc_exit (i32.const 7))", head='(data (i32.const 64) "hello\\n")')


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a Go file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.go").write_text(GO)
    (tmp_path / "long.go").write_text(LONG_GO)
    return tmp_path


def run(module: Path | bytes, *arguments: str | float | Path, stdin: str | None = None) -> Result:
    if isinstance(module, bytes):
        Path("app.wasm").write_bytes(module)
        module = Path("app.wasm")
    return CliRunner().invoke(cli.main, ["run", str(module), *map(str, arguments)], input=stdin)


def gofmt(*arguments: str | float | Path, stdin: str | None = None) -> Result:
    return run(guests_modules.path("gofmt-0.4.9"), *arguments, stdin=stdin)


def shell(module: Path | bytes, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
    """The command in a process of its own."""
    if isinstance(module, bytes):
        Path("app.wasm").write_bytes(module)
        module = Path("app.wasm")
    return subprocess.Popen([sys.executable, "-m", "tinyheap", "run", str(module), *arguments], **options)


# ---- programs ---------------------------------------------------------------------------------------------------------


def test_output_and_exit_code_are_the_programs(files: Path) -> None:
    said = run(HELLO)
    assert (said.exit_code, said.stdout) == (7, "hello\n")
    assert "is not a TinyGo program" in said.stderr
    quiet = run(HELLO, "-q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (7, "hello\n", "")


def test_a_file_is_formatted_and_the_heap_summed_up(files: Path) -> None:
    said = gofmt("--", "long.go")
    native = gofmt("--gc", "native", "--", "long.go")
    assert (said.exit_code, native.exit_code) == (0, 0)
    assert said.stdout == native.stdout
    assert "func f299(x int) { g(x, 299) }\n" in said.stdout
    assert "TinyGo 0.31.2, collector: conservative, replaced" in said.stderr
    for statistic in (
        "allocations",
        "collections",
        "longest pause",
        "in the collector",
        "peak in use",
        "live at the end",
    ):
        assert f"\n  {statistic} " in said.stderr
    assert "ran natively" in native.stderr


def test_it_formats_as_debians_gofmt(files: Path) -> None:
    theirs = subprocess.run([needs.tool("gofmt"), "long.go"], capture_output=True, text=True, check=True)
    assert gofmt("-q", "--", "long.go").stdout == theirs.stdout


@pytest.mark.parametrize(
    "name",
    [
        "gofmt-0.4.9",
        "gofmt-0.7.3",
        "sh-syntax-0.4.0",
        "shfmt-0.2.7",
        pytest.param("sh-syntax-0.7.0", marks=pytest.mark.slow),
    ],
)
@pytest.mark.share(2, in_ci=3)
def test_drivers_are_found_by_module(files: Path, name: str) -> None:
    shell_script = "gofmt" not in name
    (files / "a.sh").write_text("if a;then\nb\nfi\n")
    said = run(guests_modules.path(name), "-q", "--", "a.sh" if shell_script else "a.go")
    indent = "\t" if name.startswith("shfmt") else "  "
    assert said.stdout == (f"if a; then\n{indent}b\nfi\n" if shell_script else FORMATTED_GO)
    assert (said.exit_code, said.stderr) == (0, "")


def test_texts_come_from_several_files_or_from_standard_input(files: Path) -> None:
    assert gofmt("-q", "--", "a.go", "a.go").stdout == 2 * FORMATTED_GO
    assert gofmt("-q", stdin=GO).stdout == FORMATTED_GO
    assert gofmt("-q", "--stdin", "a.go").stdout == FORMATTED_GO


def test_a_text_that_is_refused_is_named(files: Path) -> None:
    (files / "bad.go").write_text("package\n")
    (files / "latin.go").write_bytes(b"package \xe4")
    said = gofmt("-q", "--", "bad.go")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr == "Error: bad.go: 1:9: expected 'IDENT', found 'EOF'\n"
    assert gofmt("-q", "--", "latin.go").stderr == "Error: latin.go: the text is not UTF-8 at byte 8\n"
    missing = gofmt("-q", "--", "none.go")
    assert (missing.exit_code, missing.stderr) == (125, "Error: none.go: No such file or directory\n")


def test_exports_are_invoked(files: Path) -> None:
    wasm = module_bytes(
        '(func (export "sub") (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1)))'
        '(func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))'
        '(func (export "nothing"))'
    )
    assert run(wasm, "-q", "--invoke", "sub", 2, -3).stdout == "5\n"
    assert run(wasm, "-q", "--invoke", "half", "-.5").stdout == "-0.25\n"
    assert run(wasm, "-q", "--invoke", "nothing").stdout == ""
    for arguments, words in [
        (("--invoke", "sub", 2), "sub takes (i32, i32): 2 expected, got 1; write them after the module"),
        (("--invoke", "sub", "--", 2, 3), "got 0; write them after the module, before any --"),
        (("--invoke", "sub", 2, "x"), "sub: invalid argument 'x': expected an integer of 32 bits (i32)"),
        (("--invoke", "sub", 2, 1 << 32), "sub: invalid argument '4294967296': expected an integer of 32 bits"),
        (("--invoke", "half", "x"), "half: invalid argument 'x': expected a number (f64)"),
    ]:
        said = run(wasm, *arguments)
        assert (said.exit_code, said.stdout) == (2, "")
        assert words in said.stderr
    said = CliRunner().invoke(cli.main, ["run", "--invoke", "sub", "5", "app.wasm"])
    assert said.exit_code == 125
    assert "the module comes before the numbers: tinyheap run --invoke sub MODULE NUMBERS..." in said.stderr
    for arguments, words in [
        (("--invoke", "add"), "invalid function 'add': expected an exported one (half, nothing, sub)"),
        ((), "call one of its exports (half, nothing, sub) with --invoke"),
    ]:
        said = run(wasm, *arguments)
        assert (said.exit_code, said.stdout) == (125, "")
        assert words in said.stderr


# ---- what a program is given ------------------------------------------------------------------------------------------

ARGUMENTS = command(
    """(drop (call $args_sizes_get (i32.const 32) (i32.const 36)))
       (drop (call $args_get (i32.const 1024) (i32.const 2048)))"""
    + say(2048, "(i32.load (i32.const 36))")
    + """(drop (call $environ_sizes_get (i32.const 32) (i32.const 36)))
         (drop (call $environ_get (i32.const 1024) (i32.const 4096)))"""
    + say(4096, "(i32.load (i32.const 36))"),
    uses=("args_get", "args_sizes_get", "environ_get", "environ_sizes_get"),
)
ECHO = command(
    """(i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 4096))
       (drop (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)))"""
    + say(1024, "(i32.load (i32.const 40))"),
    uses=("fd_read",),
)
RANDOM = command(
    "(drop (call $random_get (i32.const 64) (i32.const 8)))" + say(64, "(i32.const 8)"), uses=("random_get",)
)


def test_arguments_and_environment_reach_the_program(files: Path) -> None:
    said = run(ARGUMENTS, "one", "--env", "A=1=2", "--env", "B=", "--", "--two", "--", "-3")
    assert said.stdout.split("\0") == ["app.wasm", "one", "--two", "--", "-3", "A=1=2", "B=", ""]


def test_standard_input_reaches_the_program(files: Path) -> None:
    (files / "input").write_text("from a file")
    assert run(ECHO, "--stdin", "input").stdout == "from a file"
    with shell(ECHO, "-q", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.communicate(b"through a pipe")[0] == b"through a pipe"


def test_a_seed_makes_runs_equal(files: Path) -> None:
    assert run(RANDOM, "--seed", 1).stdout_bytes == run(RANDOM, "--seed", 1).stdout_bytes
    assert len({run(RANDOM, *seed).stdout_bytes for seed in [(), (), ("--seed", 1), ("--seed", 2)]}) == 4


def test_folders_are_granted_and_nothing_else(files: Path) -> None:
    (files / "given").mkdir()
    (files / "given" / "text").write_text("inside")
    wasm = module_bytes(
        """(import "wasi_snapshot_preview1" "path_open"
             (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
           (memory (export "memory") 1) (data (i32.const 64) "text")
           (func (export "opened") (param $flags i32) (param $rights i64) (result i32)
             (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (local.get $flags) (local.get $rights)
               (i64.const 0) (i32.const 0) (i32.const 128)))"""
    )
    reads, writes = ("0", "2"), ("0", "64")
    # 0: opened.  8: there is no such folder.  Anything else: refused.
    assert run(wasm, "-q", "--dir", "given", "--invoke", "opened", *reads).stdout == "0\n"
    assert run(wasm, "-q", "--dir", "given:/x:rw", "--invoke", "opened", *writes).stdout == "0\n"
    assert run(wasm, "-q", "--dir", "given", "--invoke", "opened", *writes).stdout not in ("0\n", "8\n")
    assert run(wasm, "-q", "--invoke", "opened", *reads).stdout == "8\n"


# ---- the heap's options -----------------------------------------------------------------------------------------------


def statistics(*arguments: str | float | Path) -> dict[str, Any]:
    said = gofmt("-q", "--seed", 1, *arguments, "--json", "statistics.json", "--", "long.go")
    assert (said.exit_code, said.stderr) == (0, "")
    loaded: dict[str, Any] = json.loads(Path("statistics.json").read_text())
    return loaded


def test_statistics_are_written_as_json(files: Path) -> None:
    report = statistics()
    assert set(report) == {
        "module", "guest", "gc", "exit_code", "error", "was_cached", "prepare_ns", "run_ns",
        "memory_bytes", "counters", "stub_calls", "ended", "heap",
    }  # fmt: skip
    assert (report["gc"], report["exit_code"], report["error"]) == ("default", 0, None)
    assert report["guest"]["version"] == "0.31.2"
    heap = report["heap"]
    assert set(heap) == {
        "engine", "collector", "is_own_collector", "allocations", "allocated_bytes", "freed_objects", "heap_bytes",
        "peak_bytes", "live_objects", "live_bytes", "largest_free_bytes", "pause_ns", "longest_pause_ns",
        "mem_stats", "memory_pages", "refused_pages", "collections",
    }  # fmt: skip
    assert heap["allocations"] == heap["mem_stats"]["Mallocs"] == heap["freed_objects"] + heap["live_objects"]
    assert heap["live_bytes"] <= heap["peak_bytes"] <= heap["heap_bytes"]
    assert heap["pause_ns"] == sum(each["pause_ns"] for each in heap["collections"])
    assert heap["longest_pause_ns"] == max(each["pause_ns"] for each in heap["collections"])
    assert [each["number"] for each in heap["collections"]] == list(range(1, len(heap["collections"]) + 1))
    assert report["memory_bytes"] > heap["heap_bytes"]
    native = statistics("--gc", "native")
    assert (native["heap"], native["guest"], native["counters"]) == (None, None, None)
    assert native["memory_bytes"] % 65536 == 0 < native["memory_bytes"]


def test_what_is_known_of_a_module_that_keeps_its_own_allocator(files: Path) -> None:
    module = guests_modules.path("gofmt-0.7.3")
    said = run(module, "--json", "statistics.json", "--", "a.go")
    report = json.loads(Path("statistics.json").read_text())
    assert (report["heap"], report["counters"]) == (None, None)
    assert report["memory_bytes"] % 65536 == 0 < report["memory_bytes"]
    assert re.search(r"It ran for .* in .* of memory; what its heap did is unknown", said.stderr)


def test_counters_that_the_program_keeps_itself_are_read_where_they_are_known(files: Path) -> None:
    usual = statistics()["heap"]["mem_stats"]
    module = guests_modules.path("gofmt-0.4.9")
    arguments = ["-q", "--seed", "1", "--gc", "native", "--json", "own.json", "-o", "own.tinyheap", "--", "long.go"]
    assert CliRunner().invoke(cli.main, ["profile", str(module), *arguments]).exit_code == 0
    counters = json.loads(Path("own.json").read_text())["counters"]
    assert counters["TotalAlloc"] == pytest.approx(usual["TotalAlloc"], rel=0.01)
    assert abs(counters["Mallocs"] - usual["Mallocs"]) < 10
    assert 0 < counters["Frees"] < counters["Mallocs"]


def test_options_change_what_the_collector_does(files: Path) -> None:
    usual = statistics()["heap"]
    often = statistics("--gc-every", 500)["heap"]
    assert len(often["collections"]) > len(usual["collections"]) + often["allocations"] // 500 - 3
    assert {each["reason"] for each in often["collections"]} >= {"requested"}
    # Maps with pointers for keys grow as the addresses have it.
    assert abs(often["allocations"] - usual["allocations"]) < 10
    leaking = statistics("--gc", "leaking")["heap"]
    assert (leaking["collections"], leaking["freed_objects"]) == ([], 0)
    assert leaking["live_objects"] == leaking["allocations"]
    stepped = statistics("--growth", "step:128KiB")["heap"]
    assert stepped["heap_bytes"] < usual["heap_bytes"]
    assert statistics("--growth", "ratio:9/8")["heap"]["heap_bytes"] < usual["heap_bytes"]
    assert (
        statistics("--clear-blocks", "--verify", "--heap-limit", "64M")["heap"]["allocations"] == usual["allocations"]
    )


def test_the_model_serves_as_well(files: Path) -> None:
    said = gofmt("--engine", "model", "--seed", 1, "--json", "model.json", "--", "a.go")
    assert (said.exit_code, said.stdout) == (0, FORMATTED_GO)
    gofmt("--seed", 1, "--json", "kernel.json", "--", "a.go")
    model, kernel = (json.loads(Path(f"{name}.json").read_text())["heap"] for name in ("model", "kernel"))
    assert (model["engine"], model["mem_stats"]) == ("model", kernel["mem_stats"])


@pytest.mark.slow
def test_a_guarded_heap_runs_the_program_as_well(files: Path) -> None:
    assert gofmt("-q", "--guard", "--", "a.go").stdout == FORMATTED_GO


def test_the_heap_is_drawn(files: Path) -> None:
    said = gofmt("-q", "--map", "--", "a.go")
    assert said.stdout == FORMATTED_GO
    assert "one glyph per" in said.stderr
    assert said.stderr.startswith("0x")


@pytest.mark.parametrize("name", ["gofmt-0.7.3", "micropython-1.27.0"])
@pytest.mark.parametrize("option", [("--gc", "leaking"), ("--verify",), ("--engine", "kernel"), ("--heap-limit", "1M")])
@pytest.mark.share(3)
def test_a_heap_that_is_not_served_takes_no_options(files: Path, name: str, option: tuple[str, ...]) -> None:
    said = run(guests_modules.path(name), *option, "--", "a.go")
    if name == "gofmt-0.7.3" and option[0] == "--gc":
        assert said.exit_code == 0
        return
    assert (said.exit_code, said.stdout) == (125, "")
    assert said.stderr.startswith("Error: this module (")
    assert said.stderr.count("\n") == 1


# ---- bad endings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wasm", "options", "code", "words"),
    [
        (command("unreachable"), (), 2, "the program trapped (unreachable)"),
        (command("(drop (i32.div_s (i32.const 1) (i32.const 0)))"), (), 134, "integer division by zero"),
        (command("(call 2)"), (), 134, "stack"),
        (command(SPIN), ("--timeout", 0.2), 124, "ran longer than its 0.2 seconds"),
        (command("(drop (i32.load (i32.const -1)))"), (), 134, "out of bounds"),
        (command("nop")[:-4], (), 125, "byte"),
        (b"", (), 125, ".wasm: this is not a WebAssembly module"),
        (b"\x7fELF" + bytes(99), (), 125, ".wasm: this is not a WebAssembly module"),
        (b"\0asm\x0d\0\x01\0" + bytes(99), (), 125, ""),
        (module_bytes('(import "env" "f" (func (param i64)))'), (), 125, "env.f: function (i64) -> ()"),
        (module_bytes('(memory (export "memory") 9)'), ("--memory-limit", "64K"), 125, "memory"),
    ],
)  # fmt: skip
def test_a_bad_ending_is_one_message_and_a_code(
    files: Path, wasm: bytes, options: tuple[str | float, ...], code: int, words: str
) -> None:
    said = run(wasm, "-q", *options)
    assert (said.exit_code, said.stdout) == (code, "")
    assert said.stderr.startswith("Error: ")
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_a_full_heap_says_what_there_was(files: Path) -> None:
    for options in (("--heap-limit", "400K"), ("--growth", "none"), ("--memory-limit", "512K")):
        said = gofmt(*options, "--json", "statistics.json", "--", "long.go")
        assert (said.exit_code, said.stdout) == (137, "")
        assert "the program asked for" in said.stderr
        assert "live at the end" in said.stderr
        report = json.loads(Path("statistics.json").read_text())
        assert report["exit_code"] == 137
        assert "cannot grow" in report["error"]


@pytest.mark.slow
def test_an_overwritten_heap_has_a_code_of_its_own(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overrunning(session: HostSession) -> ShSyntaxFormatter:
        return ShSyntaxFormatter(session, overrun=True)

    (files / "a.sh").write_text("# Copyright\n" * 50 + "a\n")
    monkeypatch.setattr(run_command, "find", overrunning)
    for options in (("--verify",), ("--guard",)):
        said = run(guests_modules.path("sh-syntax-0.5.8"), "-q", *options, "--", "a.sh")
        assert said.exit_code == 122
        assert said.stderr.startswith("Error: ")


def test_it_stops_at_an_allocation(files: Path) -> None:
    said = gofmt("-q", "--stop-at", 40, "--", "a.go")
    assert (said.exit_code, said.stdout) == (123, "")
    assert "stopped as asked at allocation 40" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gx",), "No such option"),
        (("--growth", "step:0"), "invalid size"),
        (("--growth", "ratio:3/4"), "expected none, double"),
        (("--growth", "often"), "expected none, double"),
        (("--dir", "nowhere"), "there is no such folder"),
        (("--env", "A"), "expected NAME=VALUE"),
        (("--timeout", "0"), "range"),
        (("--gc-every", "0"), "range"),
    ],
)
def test_what_makes_no_sense_is_said(files: Path, arguments: tuple[str, ...], words: str) -> None:
    said = run(HELLO, *arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert words in said.stderr


def test_a_missing_module_and_a_folder_are_said(files: Path) -> None:
    for place in ("none.wasm", "."):
        said = run(Path(place))
        assert said.exit_code == 125
        assert said.stderr.startswith(f"Error: {place}: ")


def test_a_formatter_without_a_text_says_how_it_is_used(files: Path) -> None:
    leader, follower = os.openpty()
    module = guests_modules.path("gofmt-0.4.9")
    with shell(module, stdin=follower, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, err = process.communicate()
    os.close(leader)
    os.close(follower)
    assert (process.returncode, out) == (2, b"")
    assert b"gofmt.wasm -- FILE" in err


# ---- in a shell -------------------------------------------------------------------------------------------------------


def begun(process: subprocess.Popen[bytes]) -> None:
    """Wait until the program has said something: it runs."""
    assert process.stdout is not None
    assert process.stdout.read(1) == b"h"


@pytest.mark.parametrize("waits", [False, True])
def test_an_interrupt_ends_a_program_in_order(files: Path, waits: bool) -> None:
    pause = """(i64.store (i32.const 128) (i64.const 0)) (i32.store8 (i32.const 136) (i32.const 0))
        (i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 3600000000000))
        (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 300)))"""
    wasm = command(
        say(64, "(i32.const 6)") + (pause if waits else SPIN),
        uses=("poll_oneoff",),
        head='(data (i32.const 64) "hello\\n")',
    )
    with shell(wasm, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        begun(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith(b"Error: the program was interrupted")
    assert b"Traceback" not in err


def test_an_interrupt_ends_a_program_that_waits_for_input(files: Path) -> None:
    wasm = command(
        say(64, "(i32.const 6)")
        + """(i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 4096))
             (drop (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)))""",
        uses=("fd_read",),
        head='(data (i32.const 64) "hello\\n")',
    )
    with shell(wasm, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        begun(process)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_nobody_reads_the_output_any_more(files: Path) -> None:
    wasm = command("(loop " + say(64, "(i32.const 6)") + "(br 0))", head='(data (i32.const 64) "hello\\n")')
    for module, arguments in ((wasm, ()), (guests_modules.path("gofmt-0.4.9"), ("--", "long.go"))):
        reader, writer = os.pipe()
        if module is not wasm:
            os.close(reader)
        with shell(module, "-q", *arguments, stdout=writer, stderr=subprocess.PIPE) as process:
            os.close(writer)
            if module is wasm:
                assert os.read(reader, 6) == b"hello\n"
                os.close(reader)
            _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (141, b"")


def test_a_second_start_is_cached_and_imports_nothing_that_it_does_not_need(files: Path) -> None:
    module = guests_modules.path("gofmt-0.4.9")
    gofmt("-q", "--", "a.go")
    code = (
        "import sys; from tinyheap.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('rich', 'tinyheap.wasm', 'tinyheap.recognize.locate') "
        "if name in sys.modules], file=sys.stderr)"
    )
    arguments = ["run", str(module), "-q", "--json", "statistics.json", "--", "a.go"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(Path("statistics.json").read_text())["was_cached"]
    assert (done.stdout, done.stderr) == (FORMATTED_GO, "[]\n")


# ---- what was asked for and is not there ------------------------------------------------------------------------------


def test_a_stop_that_is_never_reached_is_said(files: Path) -> None:
    said = gofmt("-q", "--stop-at", 10**9, "--", "a.go")
    assert (said.exit_code, said.stdout) == (0, FORMATTED_GO)
    assert re.fullmatch(
        r"--stop-at 1000000000: not reached, since the program made only [\d,]+ allocations\n", said.stderr
    )


@pytest.mark.parametrize("options", [(), ("--gc", "native")])
def test_a_map_where_there_is_no_heap_is_said(files: Path, options: tuple[str, ...]) -> None:
    said = run(HELLO, "-q", "--map", *options)
    assert (said.exit_code, said.stdout) == (7, "hello\n")
    assert said.stderr.startswith("--map: there is no heap to draw: this module ")


def test_that_a_module_is_driven_is_said_and_can_be_turned_off(files: Path) -> None:
    said = gofmt("--", "a.go")
    assert (
        "gofmt.wasm: its exports show a formatter, so it was given texts; --no-driver runs it as it is\n" in said.stderr
    )
    plain = gofmt("--no-driver", "--", "a.go")
    assert (plain.exit_code, plain.stdout) == (0, "")
    assert "formats texts" not in plain.stderr


def test_a_limit_that_the_heap_is_above_from_the_start_is_refused(files: Path) -> None:
    said = gofmt("-q", "--heap-limit", 1, "--", "a.go")
    assert (said.exit_code, said.stdout) == (125, "")
    assert re.fullmatch(
        r"Error: a heap limit of 1 bytes cannot be kept: the program's heap has (\d+) bytes when it begins; give \1 or more\n",
        said.stderr,
    )


@pytest.mark.parametrize("option", [("--gc-every", 5), ("--clear-blocks",)])
def test_a_leaking_heap_takes_no_options_of_collections(files: Path, option: tuple[str | int, ...]) -> None:
    said = gofmt("--gc", "leaking", *option, "--", "a.go")
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"--gc leaking and {option[0]} exclude each other" in said.stderr


def test_a_folder_is_read_only_also_where_that_is_written(files: Path) -> None:
    (files / "given").mkdir()
    for option in ("given:ro", "given:/x:ro", "given:.", "given:/"):
        assert run(HELLO, "-q", "--dir", option).exit_code == 7
    for option, words in (
        ("given:x", "expected an absolute path"),
        ("given:", "expected HOST"),
        ("given:/x:rx", "expected HOST"),
    ):
        said = run(HELLO, "-q", "--dir", option)
        assert said.exit_code == 2
        assert words in said.stderr


def test_standard_streams_are_named_by_a_dash(files: Path) -> None:
    wasm = guests_modules.path("gofmt-0.4.9").read_bytes()
    said = CliRunner().invoke(cli.main, ["run", "-", "--json", "-", "--", "a.go"], input=wasm)
    assert said.exit_code == 0
    assert said.stdout.startswith(FORMATTED_GO)
    assert json.loads(said.stdout.removeprefix(FORMATTED_GO))["module"] == "standard input"
    assert not Path("-").exists()
    trace = CliRunner().invoke(cli.main, ["generate", "mixed", "--heap", "16K", "--steps", "99", "-o", "-"])
    replayed = CliRunner().invoke(cli.main, ["replay", "-", "--json"], input=trace.stdout_bytes)
    assert json.loads(replayed.stdout)["trace"] == "-"
    page = CliRunner().invoke(cli.main, ["identify", "-"], input=wasm)
    assert page.stdout.startswith("standard input: TinyGo 0.31.2")
