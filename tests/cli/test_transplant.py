"""`tinyheap transplant`, as its users meet it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import guests_modules
from guests import collectors, texts
from guests.collectors import Build
from tinyheap import cli, transplant
from tinyheap.cli.exits import ExitCode
from tinyheap.errors import PolicyError, UnsupportedGuestError
from tinyheap.guests.program import NATIVE, Program
from tinyheap.heap.growth import FixedStep
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import BlockHeap
from tinyheap.report.html.demo_page import demo_page
from tinyheap.transplanting import Options, parts, perform
from tinyheap.wasm import Editor, Module
from tinyheap.wasm.names import write_producers

BUILD = Build("2", link_time=False, precise=True, tasks=False, explicit=True)
HOST = """
def drive(program):
    print(program.call("mutate", 3, 500))
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def gofmt(tmp_path: Path) -> str:
    (tmp_path / "gofmt.wasm").write_bytes(guests_modules.read("gofmt-0.4.9"))
    (tmp_path / "x.go").write_text(texts.GO["medium"])
    return "gofmt.wasm"


@pytest.fixture
def mutator(tmp_path: Path) -> str:
    (tmp_path / "mutator.wasm").write_bytes(collectors.compiled(BUILD, "mutator.c", dwarf=4))
    (tmp_path / "host.py").write_text(HOST)
    return "mutator.wasm"


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.main, ["transplant", *words])


def test_says_what_it_wrote_and_no_more_unless_it_is_asked(gofmt: str) -> None:
    done = run(gofmt, "-o", "fast.wasm")
    assert (done.exit_code, done.output) == (0, "wrote fast.wasm\n")
    assert Path("fast.wasm").read_bytes() == transplant(Path(gofmt).read_bytes())


def test_bytes_that_are_no_module_are_refused_by_the_name_of_their_file() -> None:
    Path("junk.wasm").write_bytes(b"junk")
    done = run("junk.wasm", "-o", "fast.wasm")
    assert (done.exit_code, Path("fast.wasm").exists()) == (ExitCode.CANNOT_READ, False)
    assert done.stderr.startswith("Error: junk.wasm: module, byte 0x0: begins with 6a 75 6e 6b ")


def test_writes_to_standard_output(gofmt: str) -> None:
    done = run(gofmt, "-o", "-", "--report")
    assert done.stdout_bytes == transplant(Path(gofmt).read_bytes())
    assert "replaced: functions 17" in done.stderr


@pytest.mark.slow
def test_verifies_and_reports_a_program_of_a_later_tinygo() -> None:
    Path("shell.wasm").write_bytes(guests_modules.read("sh-syntax-0.6.0"))
    Path("x.sh").write_text(texts.kinds("sh-syntax-0.6.0")["medium"])
    done = run("shell.wasm", "-o", "fast.wasm", "--report", "--verify", "--", "x.sh")
    assert done.exit_code == 0, done.output
    assert "changed: functions 120, 121, which scan and mark: they find most of it done\n" in done.stderr
    assert "left: all else of the original allocator and its collector" in done.stderr
    assert "verified: " in done.stderr


@pytest.mark.slow
def test_verifies_a_formatter_on_the_files_that_are_named(gofmt: str) -> None:
    done = run(gofmt, "-o", "fast.wasm", "--verify", "--json", "--", "x.go", "x.go")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["differences"] == []
    assert said["allocations"] > 50_000
    assert said["bytes"] - said["original_bytes"] == Path("fast.wasm").stat().st_size - Path(gofmt).stat().st_size


def test_verifies_a_program_that_a_host_file_drives(mutator: str) -> None:
    done = run(mutator, "-o", "fast.wasm", "--verify", "--report", "--host", "host.py")
    assert done.exit_code == 0, done.output
    assert "bytes of memory are the same" in done.stderr
    assert "dropped, since code has moved: .debug_" in done.stderr


def test_a_difference_is_said_and_nothing_written(mutator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(heap: BlockHeap, *, clear_blocks: bool) -> dict[str, int]:
        return right(heap, clear_blocks=clear_blocks) | {"mallocs_at": 0}

    right = parts.constants
    monkeypatch.setattr(parts, "constants", wrong)
    done = run(mutator, "-o", "fast.wasm", "--verify", "--host", "host.py")
    assert done.exit_code == ExitCode.FAILED
    assert "differs in mallocs: " in done.stderr
    assert "differs in memory: " in done.stderr
    assert not Path("fast.wasm").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('raise ValueError("oops")', "Error: host.py:3: raised ValueError: oops (in drive)"),
        ('open("none")', "Error: host.py:3: raised FileNotFoundError: "),
    ],
)
def test_what_a_host_file_raises_is_said_in_a_line(mutator: str, source: str, message: str) -> None:
    Path("host.py").write_text(f"\ndef drive(program):\n    {source}\n")
    done = run(mutator, "-o", "fast.wasm", "--verify", "--host", "host.py")
    assert (done.exit_code, Path("fast.wasm").exists()) == (ExitCode.FAILED, False)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_host_file_may_exit(mutator: str) -> None:
    Path("host.py").write_text("import sys\n\ndef drive(program):\n    sys.exit(3)\n")
    done = run(mutator, "-o", "fast.wasm", "--verify", "--host", "host.py")
    assert done.exit_code == 0
    assert "bytes of memory are the same" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"), [("none.go", "none.go: No such file or directory"), ("gofmt.wasm", "the text is not UTF-8 at")]
)
def test_a_text_that_cannot_be_read_verifies_nothing(gofmt: str, name: str, message: str) -> None:
    done = run(gofmt, "-o", "fast.wasm", "--verify", "--", name)
    assert (done.exit_code, Path("fast.wasm").exists()) == (ExitCode.CANNOT_READ, False)
    assert message in done.stderr
    assert "verified" not in done.stderr


def test_a_verification_says_that_both_ended_by_an_error(gofmt: str) -> None:
    Path("x.go").write_text("package a\nfunc f( {\n")
    done = run(gofmt, "-o", "fast.wasm", "--verify", "--", "x.go")
    assert done.exit_code == 0
    assert "both ended early, by the same error: DriverError: " in done.stderr
    done = run(gofmt, "-o", "fast.wasm", "--verify", "--json", "--", "x.go")
    assert json.loads(done.stdout)["error"].startswith("DriverError: ")


def test_other_growth_is_verified_by_output_alone(mutator: str) -> None:
    done = run(mutator, "-o", "fast.wasm", "--verify", "--host", "host.py", "--growth", "step:64K", "--clear-blocks")
    assert done.exit_code == 0, done.output


def test_what_is_for_a_run_needs_one(gofmt: str) -> None:
    done = run(gofmt, "-o", "fast.wasm", "--", "x.go")
    assert done.exit_code == ExitCode.USAGE
    assert "add --verify" in done.stderr


@pytest.mark.parametrize("words", [("-o", "-", "--json"), ("--demo", "-", "--json"), ("--demo", "-", "-o", "-")])
def test_two_things_on_standard_output_exclude_each_other(gofmt: str, words: tuple[str, ...]) -> None:
    assert run(gofmt, *words).exit_code == ExitCode.USAGE


def test_nothing_to_write_is_a_mistake(gofmt: str) -> None:
    done = run(gofmt)
    assert done.exit_code == ExitCode.USAGE
    assert "name a file for the new module (-o), or for a page to try it (--demo)" in done.stderr


def test_writes_a_page_to_try_it(gofmt: str) -> None:
    done = run(gofmt, "--demo", "try.html", "-o", "fast.wasm", "--", "x.go")
    assert (done.exit_code, done.output) == (0, "wrote fast.wasm\nwrote try.html\n")
    assert Path("fast.wasm").read_bytes() == transplant(Path(gofmt).read_bytes())
    page = Path("try.html").read_text()
    wasm = Path(gofmt).read_bytes()
    assert page == demo_page(wasm, perform(wasm), name=gofmt, text=texts.GO["medium"])


def test_a_page_that_cannot_be_made_leaves_nothing_written(mutator: str) -> None:
    done = run(mutator, "--demo", "try.html", "-o", "fast.wasm")
    assert done.exit_code == ExitCode.CANNOT_READ
    assert done.stderr.startswith("Error: mutator.wasm: the page cannot run this module: ")
    assert not Path("fast.wasm").exists()


def of_another_release(wasm: bytes) -> bytes:
    """The module as a release of TinyGo's that nobody knows would have made it."""
    editor = Editor(Module.parse(wasm))
    editor.set_custom_section("producers", write_producers({"processed-by": {"TinyGo": "0.99.0"}}))
    return editor.encode()


def test_a_collector_in_doubt_needs_force(mutator: str) -> None:
    Path(mutator).write_bytes(of_another_release(Path(mutator).read_bytes()))
    done = run(mutator, "-o", "fast.wasm")
    assert (done.exit_code, Path("fast.wasm").exists()) == (ExitCode.CANNOT_READ, False)
    assert (
        "mutator.wasm: this module's collector was recognized with doubt (collector: TinyGo 0.99.0 is not"
        in done.stderr
    )


def test_force_verifies(mutator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(mutator).write_bytes(of_another_release(Path(mutator).read_bytes()))
    done = run(mutator, "-o", "fast.wasm", "--force", "--host", "host.py")
    assert done.exit_code == 0, done.output
    assert "bytes of memory are the same" in done.stderr
    Path("fast.wasm").unlink()
    right = parts.constants
    monkeypatch.setattr(parts, "constants", lambda *heap, **options: right(*heap, **options) | {"mallocs_at": 0})
    done = run(mutator, "-o", "fast.wasm", "--force", "--host", "host.py")
    assert (done.exit_code, Path("fast.wasm").exists()) == (ExitCode.FAILED, False)


def test_a_module_that_cannot_be_transplanted_is_named(gofmt: str) -> None:
    run(gofmt, "-o", "fast.wasm")
    done = run("fast.wasm", "-o", "faster.wasm")
    assert done.exit_code == ExitCode.CANNOT_READ
    assert done.stderr.startswith("Error: fast.wasm: tinyheap ")
    assert not Path("faster.wasm").exists()


def test_identify_knows_it(gofmt: str) -> None:
    run(gofmt, "-o", "fast.wasm")
    done = CliRunner().invoke(cli.main, ["identify", "fast.wasm"])
    assert "has the collector of tinyheap" in done.stdout
    assert Module.parse(Path("fast.wasm").read_bytes()).producers["processed-by"].keys() >= {"TinyGo", "tinyheap"}


def test_names_are_those_that_were_there_or_are_asked_for(mutator: str) -> None:
    stripped = collectors.transformed(Path(mutator).read_bytes(), "wasm-strip")
    for wasm, options, there in (
        (Path(mutator).read_bytes(), Options(), True),
        (stripped, Options(), False),
        (stripped, Options(keep_names=True), True),
    ):
        names = Module.parse(transplant(wasm, options)).function_indices
        assert ("tinyheap.drop" in names) is there
        assert ("mutate" in names) is (wasm is not stripped)


def test_statistics_are_exported(mutator: str) -> None:
    done = run(mutator, "-o", "fast.wasm", "--stats")
    assert done.exit_code == 0
    with Program.open("fast.wasm", Grants(seed=1), gc=NATIVE) as program:
        program.start()
        program.call("mutate", 3, 3000)
        counted = {name: program.session.read_global(f"tinyheap.{name}s") for name in parts.EVENTS}
    assert all(counted.values()), counted


@pytest.mark.parametrize(
    ("module", "clock"), [("gofmt-0.4.9", "gojs.runtime.ticks"), ("sh-syntax-0.4.0", "env.runtime.ticks")]
)
@pytest.mark.slow
def test_collections_are_timed_by_a_clock_that_the_module_imports(module: str, clock: str) -> None:
    wasm = guests_modules.read(module)
    made = perform(wasm, Options(stats=True))
    assert made.clock == clock
    with Program.open(made.wasm, gc=NATIVE) as program:
        program.start()
        begun_s = time.perf_counter()
        for _ in range(3):
            program.driver().format(texts.kinds(module)["medium"])
        run_ns = (time.perf_counter() - begun_s) * 1e9
        collections = int(program.session.read_global("tinyheap.collections"))
        collector_ns = int(program.session.read_global("tinyheap.nanoseconds"))
    assert collections > 1
    assert 1000 * collections < collector_ns < run_ns
    assert Module.parse(perform(wasm).wasm).export("tinyheap.nanoseconds") is None


def test_there_is_no_time_without_a_clock(mutator: str) -> None:
    done = run(mutator, "-o", "fast.wasm", "--stats", "--report")
    assert "timed: collections, by nothing: the module imports no clock" in done.stderr
    assert Module.parse(Path("fast.wasm").read_bytes()).export("tinyheap.nanoseconds") is None


def test_options_that_make_no_sense_are_refused(mutator: str) -> None:
    with pytest.raises(PolicyError, match="cannot be written into a module: expected one of ByRatio"):
        Options(growth=object())  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="expected a policy without a limit; use limit_bytes"):
        Options(growth=FixedStep(65536, limit_bytes=1 << 20))
    with pytest.raises(PolicyError, match="expected a page of 65536 or more"):
        Options(limit_bytes=100)
    with pytest.raises(UnsupportedGuestError, match="the module's memory begins with 131072; expected as much or more"):
        transplant(Path(mutator).read_bytes(), Options(limit_bytes=65536))


@pytest.mark.parametrize("damage", ["cut", "not compressed", "not JSON", "a field more", "functions", "global"])
def test_a_section_that_lies_is_not_believed(mutator: str, damage: str) -> None:
    import zlib

    from tinyheap.recognize.identify import identify
    from tinyheap.recognize.transplanted import SECTION, encode_transplanted, transplanted
    from tinyheap.wasm import Editor

    wasm = transplant(Path(mutator).read_bytes())
    section, told = Module.parse(wasm).custom_section(SECTION), transplanted(Module.parse(wasm))
    assert section is not None
    assert told is not None
    assert told.heap is not None
    text = zlib.decompress(section.payload)
    far_roots = replace(told.heap.roots, stack_pointer_global=990)
    payload = {
        "cut": section.payload[:-20],
        "not compressed": text,
        "not JSON": zlib.compress(text[:-1]),
        "a field more": zlib.compress(text[:-1] + b",null]"),
        "functions": encode_transplanted(replace(told, heap=replace(told.heap, alloc_function=99_000))),
        "global": encode_transplanted(replace(told, heap=replace(told.heap, roots=far_roots))),
    }[damage]
    editor = Editor(Module.parse(wasm))
    editor.set_custom_section(SECTION, payload)
    guest = identify(editor.build())
    assert guest.heap is None or "has the collector of tinyheap" not in guest.served
