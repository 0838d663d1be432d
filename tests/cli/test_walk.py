"""All commands with all their options, given hostile values.

Commands and options are taken from the commands themselves, so that a new option is covered at once.  No value
leads to a traceback, to a hang, to an exit code that is not in the table, or to the loss of a file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import click
import pytest
from click.testing import CliRunner, Result

import needs
from guests import collectors
from guests.collectors import Build
from hosts.programs import command, module_bytes
from recordings_made import make_recording
from tinyheap import cli
from tinyheap.cli.exits import ExitCode
from tinyheap.cli.exporting import ExportType
from tinyheap.cli.parameters import Input, InputFile, NumberRange, OutputFile, OutputTarget, SizeType
from tinyheap.cli.replay import MarkStackType
from tinyheap.cli.run import FolderType
from tinyheap.cli.subject import SHARED, SubjectCommand
from tinyheap.files import text_of
from tinyheap.heap import Collector
from tinyheap.instrumentation.log import MAGIC
from tinyheap.instrumentation.operation import instrument
from tinyheap.snapshots import HeapRecord, Snapshot
from tinyheap.traces.trace import TraceBuilder, write_trace
from tinyheap.units import WASM_PAGE_BYTES

HANG_S: Final = 60
BAD_NAME: Final = "b\udcffad"
"""A name that is not UTF-8, as Python has it."""
TEXTS: Final = ("", "-", "-x", "[red]", "\x1b[2J\x07", "%s{}", "x" * 100_000, BAD_NAME, "a=b", "\u202e\N{SNOWMAN}")
NUMBERS: Final = (
    "",
    "0",
    "-1",
    "1",
    "1.5",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "-",
    "x",
)
SIZES: Final = (*NUMBERS, "0K", "1KB", "999999999999999G", "100G", f"{(1 << 63) - 1}")
ALLOCATING: Final = module_bytes(
    """(memory (export "memory") 1)
      (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
      (func $once i32.const 24 i32.const 0 call $runtime.alloc drop)
      (func (export "_start") call $once)"""
)
"""A program that can be recorded, and ends at once."""
COMMANDS: Final = {name: cli.load(name, entry) for name, entry in cli.COMMANDS.items()}
PARAMETERS: Final = [
    (name, parameter)
    for name, each in COMMANDS.items()
    for parameter in each.params
    # Options that are handed on to `tinyheap run` are walked there.
    if not (isinstance(each, SubjectCommand) and parameter.name in SHARED)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all kinds."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "app.wasm").write_bytes(ALLOCATING)
    if shutil.which("clang-14"):
        build = Build("2", link_time=False, precise=True, tasks=False, explicit=False)
        (folder / "heap.wasm").write_bytes(collectors.compiled(build))
        logging = instrument((folder / "heap.wasm").read_bytes())
        (folder / "logging.wasm").write_bytes(logging.wasm)
        (folder / "run.log").write_bytes(MAGIC + struct.pack("<QBBBB7I", logging.facts.module_id, 1, *[0] * 10))
    program = TraceBuilder(4096)
    program.root(0, program.alloc(16))
    write_trace(folder / "t.trace", program.build())
    make_recording(folder / "r.tinyheap", events=200)
    record = HeapRecord(Collector.NEXT_FIT, False, WASM_PAGE_BYTES, WASM_PAGE_BYTES)
    Snapshot(memoryview(bytes(2 * WASM_PAGE_BYTES)), heap=record).save(folder / "s.core")
    (folder / "empty").touch()
    (folder / "garbage").write_bytes(bytes(range(1, 256)) * 9)
    (folder / "unreadable").write_text("secret")
    (folder / "unreadable").chmod(0)
    (folder / "folder").mkdir()
    (folder / "[red]\x1b[2J.wasm").write_bytes(ALLOCATING)
    for good in ("app.wasm", "t.trace", "r.tinyheap"):
        (folder / f"{BAD_NAME}.{good}").write_bytes((folder / good).read_bytes())
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The files again, for one test."""
    return Path(shutil.copytree(made, tmp_path / "files"))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run where nothing else lies, and leave nothing half written."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert not list(tmp_path.rglob(".tinyheap-*"))


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def base(name: str, folder: Path) -> dict[str, list[str]]:
    """A command line that works: the words for each parameter that there must be."""
    if name in ("transplant", "instrument", "import"):
        # Its program has a collector, which the tests compile.
        needs.tool("clang-14")
    good = {
        "replay": {"traces": [str(folder / "t.trace")]},
        "generate": {"workload": ["mixed"], "output": ["--output", "out"], "heap": ["--heap", "16K"]},
        "identify": {"modules": [str(folder / "app.wasm")]},
        "transplant": {"module": [str(folder / "heap.wasm")], "output": ["--output", "out"]},
        "instrument": {"module": [str(folder / "heap.wasm")], "output": ["--output", "out"]},
        "import": {"log": [str(folder / "run.log")], "module": ["--module", str(folder / "logging.wasm")]},
        "report": {"file": [str(folder / "r.tinyheap")]},
        "at": {"file": [str(folder / "r.tinyheap")], "address": ["0x10010"]},
        "inspect": {"module": [str(folder / "s.core")]},
        "fit": {"module": [str(folder / "t.trace")]},
        "check": {"module": [str(folder / "app.wasm")], "write": ["--write", "out"]},
        "sql": {"file": [str(folder / "r.tinyheap")], "query": ["SELECT 1"]},
    }
    return good.get(name, {"module": [str(folder / "app.wasm")]}) | (
        {"steps": ["--steps", "100"]} if name == "generate" else {}
    )


def values(parameter: click.Parameter, folder: Path) -> Iterator[str]:
    """What to try for a parameter."""
    files = [str(folder / each) for each in sorted(os.listdir(folder))]  # noqa: PTH208 - the names alone
    places = [
        *files,
        "-",
        "./-",
        "none",
        "none/none",
        "/dev/null",
        "/dev/full",
        "n" * 300,
        BAD_NAME,
        "md:x",
        ":memory:",
        "",
    ]
    match parameter.type:
        case click.Choice():
            yield from (*parameter.type.choices, "", "-", BAD_NAME)
        case ExportType(formats=formats):
            yield from (f"{form}={place}" for form in (next(iter(formats)), "csv", "") for place in places)
        case FolderType():
            yield from (
                f"{place}{more}" for place in (*places, ".") for more in ("", ":ro", ":", ":x", ":/x:rw", ":/:y")
            )
        case InputFile() | OutputFile():
            yield from places
        case SizeType() | MarkStackType():
            yield from SIZES
        case click.IntRange() | click.FloatRange():
            yield from NUMBERS
        case _:
            yield from (*TEXTS, *NUMBERS)


def command_lines(name: str, parameter: click.Parameter, folder: Path) -> Iterator[list[str]]:
    words = base(name, folder)
    if parameter.name is not None:
        words.pop(parameter.name, None)
    rest = [word for each in words.values() for word in each]
    if isinstance(parameter, click.Argument):
        yield from ([*rest, value] for value in values(parameter, folder))
    elif isinstance(parameter, click.Option) and parameter.is_flag:
        yield from ([*rest, option] for option in (*parameter.opts, *parameter.secondary_opts))
    else:
        yield from ([*rest, parameter.opts[-1], value] for value in values(parameter, folder))
        yield [*rest, parameter.opts[-1]]


@contextmanager
def in_time() -> Iterator[None]:
    def hang(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("it hangs")

    old = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def invoke(*words: str) -> Result:
    with in_time():
        return CliRunner().invoke(cli.main, list(words))


def hold(words: list[str], said: Result) -> None:
    shown = [word[:80] for word in words]
    assert said.exception is None or isinstance(said.exception, SystemExit), (shown, said.exception)
    assert said.exit_code in set(ExitCode), (shown, said.output)
    assert "Traceback" not in said.output, shown
    assert "\x1b" not in said.stderr, shown
    if said.exit_code > ExitCode.USAGE and "--json" not in words:
        assert said.stderr.startswith("Error: "), (shown, said.output)


def is_output(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, OutputFile | ExportType)


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda each: getattr(each, "name", each))
@pytest.mark.share(10, in_ci=10)
def test_no_value_of_any_parameter_is_too_much(name: str, parameter: click.Parameter, folder: Path) -> None:
    before = contents(folder)
    for words in command_lines(name, parameter, folder):
        hold(words, invoke(name, *words))
        assert is_output(parameter) or contents(folder) == before, words


@pytest.mark.parametrize("name", COMMANDS)
def test_a_missing_file_has_one_code_everywhere(name: str, folder: Path) -> None:
    """And the message begins with its name."""
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.type, InputFile):
            for place, why in (("none", "No such file"), (str(folder / "folder"), "folder|directory")):
                if parameter.name == "expected" and place != "none":
                    continue
                words = base(name, folder) | {
                    parameter.name or "": [*parameter.opts[-1:] * is_option(parameter), place]
                }
                said = invoke(name, *(word for each in words.values() for word in each))
                assert said.exit_code == ExitCode.CANNOT_READ, (parameter.name, said.output)
                assert said.stderr.startswith(f"Error: {place}: "), (parameter.name, said.output)
                assert any(each in said.stderr for each in (*why.split("|"), "directory")), said.stderr


def is_option(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_there_is_not_is_said_wherever_it_stands(name: str, folder: Path) -> None:
    words = [word for each in base(name, folder).values() for word in each]
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    real = max((opt for each in options for opt in each.opts), key=len)
    wrong = real[:-1] + "zz"
    for line in ([wrong, *words], [*words, wrong], [wrong, "1M", *words], [f"{wrong}=1", *words]):
        said = invoke(name, *line)
        assert said.exit_code == ExitCode.USAGE
        assert f"No such option '{wrong}'" in said.stderr or f"No such option: {wrong}" in said.stderr
        assert real in said.stderr


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda each: getattr(each, "name", each))
def test_every_option_is_explained_and_numbers_have_a_range(name: str, parameter: click.Parameter) -> None:
    if isinstance(parameter, click.Argument):
        return
    assert isinstance(parameter, click.Option)
    assert parameter.help
    assert parameter.help.rstrip("]").endswith((".", "grow")), parameter.help
    kind = parameter.type
    assert kind not in (click.INT, click.FLOAT), "a number without a range"
    if isinstance(kind, click.IntRange | click.FloatRange):
        assert kind.min is not None
        assert kind.max is not None
        assert isinstance(kind, click.IntRange | NumberRange), "nan is in no range"
        assert "<=x<=" in help_of(name) or "<x<=" in help_of(name)
    assert not isinstance(kind, click.Path | click.File), "files are named in one way"


def help_of(name: str) -> str:
    said = invoke(name, "--help")
    assert said.exit_code == ExitCode.DONE
    return said.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained(name: str) -> None:
    assert COMMANDS[name].get_short_help_str(limit=200).endswith(".")
    assert cli.COMMANDS[name].help.endswith(".")


# ---- files ------------------------------------------------------------------------------------------------------------

OUTPUTS: Final = [
    (name, parameter) for name, parameter in PARAMETERS if isinstance(parameter.type, OutputFile | ExportType)
]


def option_of(parameter: click.Parameter, place: str) -> list[str]:
    value = f"{next(iter(parameter.type.formats))}={place}" if isinstance(parameter.type, ExportType) else place
    return [parameter.opts[-1], value]


@pytest.mark.parametrize(("name", "parameter"), OUTPUTS, ids=lambda each: getattr(each, "name", each))
def test_an_output_is_never_an_input(name: str, parameter: click.Parameter, folder: Path, tmp_path: Path) -> None:
    words = base(name, folder) | {parameter.name or "": []}
    sources = [Path(word) for each in words.values() for word in each if Path(word).is_file()]
    for source in sources:
        link, twin = tmp_path / "link", tmp_path / "twin"
        link.symlink_to(source)
        twin.hardlink_to(source)
        for place in (source, source.parent / "folder" / ".." / source.name, link, twin):
            more = ["--force"] if "--force" in [opt for each in COMMANDS[name].params for opt in each.opts] else []
            line = [*(word for each in words.values() for word in each), *more, *option_of(parameter, str(place))]
            said = invoke(name, *line)
            assert said.exit_code == ExitCode.USAGE, said.output
            assert "which is read; write to another file" in said.stderr
            assert place.read_bytes() == source.read_bytes()
        link.unlink()
        twin.unlink()


@pytest.mark.parametrize(("name", "parameter"), OUTPUTS, ids=lambda each: getattr(each, "name", each))
def test_whether_an_output_can_be_written_is_known_before(
    name: str, parameter: click.Parameter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read and nothing is run for an output that cannot be written."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("it works already")

    monkeypatch.setattr(COMMANDS[name], "callback", work)
    words = [word for key, each in base(name, folder).items() if key != parameter.name for word in each]
    for place in ("none/x", str(folder / "folder"), str(folder / "empty" / "x"), "n" * 300):
        said = invoke(name, *words, *option_of(parameter, place))
        assert (said.exit_code, said.stdout) == (ExitCode.CANNOT_WRITE, ""), said.output
        assert said.stderr.startswith(f"Error: {place}: ")


def test_two_outputs_are_two_files(folder: Path) -> None:
    for first, second in (("x", "./x"), ("-", "-")):
        said = invoke("report", str(folder / "r.tinyheap"), "--html", first, "--export", f"pprof={second}")
        assert said.exit_code == ExitCode.USAGE
        assert "the same as --html" in said.stderr
    assert invoke("profile", str(folder / "app.wasm"), "-o", "x", "--json", "x").exit_code == ExitCode.USAGE


@pytest.mark.parametrize("option", [[], ["--dir", ".:/in"]])
def test_an_argument_of_the_program_is_an_input(option: list[str], folder: Path) -> None:
    Path("input.go").write_text("package a\n")
    argument = "/in/input.go" if option else "input.go"
    for output in (["--json", "input.go"], ["-f", "-o", "./input.go"]):
        said = invoke("profile", str(folder / "app.wasm"), *option, *output, "--", argument)
        assert said.exit_code == ExitCode.USAGE
        assert "which is an argument of the program" in said.stderr
    assert Path("input.go").read_text() == "package a\n"


def test_a_recording_s_place_is_a_name_and_nothing_else(folder: Path) -> None:
    """What DuckDB would take for something of its own."""
    for name in ("md:foo", ":memory:", "it's", "x.csv"):
        assert invoke("profile", "-q", str(folder / "app.wasm"), "-o", name).exit_code == ExitCode.DONE
        assert Path(name).is_file()
        assert invoke("sql", name, "SELECT 1").exit_code == ExitCode.DONE


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda each: getattr(each, "name", each))
@pytest.mark.share(20, in_ci=40)
def test_a_fifo_is_a_file_like_others(name: str, parameter: click.Parameter, folder: Path) -> None:
    """But for recordings, and where a folder is wanted."""
    kind = parameter.type
    if not isinstance(kind, InputFile | OutputFile) or kind.no_stream is not None:
        return
    # A folder, maybe; nothing that this program opens; and a page for programs that format, as this one does not.
    if parameter.name in ("expected", "stdin", "demo"):
        return
    os.mkfifo("fifo")
    words = base(name, folder)
    source = Path(words.get(parameter.name or "", ["/dev/null"])[-1]) if isinstance(kind, InputFile) else None
    other = threading.Thread(target=serve, args=(source,), daemon=True)
    other.start()
    line = [*parameter.opts[-1:] * is_option(parameter), "fifo"]
    said = invoke(name, *(word for key, each in (words | {parameter.name or "": line}).items() for word in each))
    assert said.exit_code == ExitCode.DONE, said.output
    other.join(HANG_S)
    assert not other.is_alive()


def serve(source: Path | None) -> None:
    """The other end of a FIFO: what stands in a file, or somebody who reads."""
    if source is None:
        Path("fifo").read_bytes()
    else:
        with suppress(BrokenPipeError):
            Path("fifo").write_bytes(source.read_bytes())


def test_names_that_are_not_utf8_are_opened_and_shown(folder: Path) -> None:
    module, trace = f"{folder}/{BAD_NAME}.app.wasm", f"{folder}/{BAD_NAME}.t.trace"
    shown = r"b\xffad"
    Path(BAD_NAME).mkdir()
    for words in (
        ["run", module, "--json", BAD_NAME + "/json", "--dir", f"{BAD_NAME}:/x"],
        ["profile", module, "-o", "x"],
        ["identify", module],
        ["identify", module, "--json"],
        ["replay", trace],
        ["replay", trace, "--json"],
        ["generate", "mixed", "--heap", "16K", "--steps", "9", "-o", BAD_NAME + "/trace"],
        ["report", "x", "--html", BAD_NAME + "/html", "--export", f"pprof={BAD_NAME}/pprof"],
    ):
        said = invoke(*words)
        assert said.exit_code == ExitCode.DONE, said.output
        assert shown in said.output.replace("\\\\", "\\") or words[0] == "profile"
    assert {path.name for path in Path(BAD_NAME).iterdir()} == {"json", "trace", "html", "pprof"}
    for words, code in (
        (["sql", f"{folder}/{BAD_NAME}.r.tinyheap"], ExitCode.CANNOT_READ),
        (["report", "x", "--export", f"csv={BAD_NAME}/csv"], ExitCode.CANNOT_WRITE),
        (["profile", module], ExitCode.CANNOT_WRITE),
    ):
        said = invoke(*words)
        assert said.exit_code == code
        assert "UTF-8" in said.stderr
        assert shown in said.stderr


def test_a_program_s_files_may_have_any_name() -> None:
    Path(BAD_NAME).write_text("text")
    echo = command(
        """(i32.store (i32.const 32) (i32.const 1024)) (i32.store (i32.const 36) (i32.const 4096))
           (drop (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)))
           (i32.store (i32.const 36) (i32.load (i32.const 40)))
           (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40)))""",
        uses=("fd_read",),
    )
    Path("echo.wasm").write_bytes(echo)
    assert invoke("run", "-q", "echo.wasm", "--stdin", BAD_NAME).stdout == "text"
    os.mkfifo("fifo")
    threading.Thread(target=serve, args=(Path(BAD_NAME),), daemon=True).start()
    assert invoke("run", "-q", "echo.wasm", "--stdin", "fifo").stdout == "text"
    assert invoke("run", "-q", "echo.wasm", "--stdin", "/dev/null").stdout == ""
    said = invoke("run", "-q", "echo.wasm", "--", BAD_NAME)
    assert said.exit_code == ExitCode.CANNOT_READ
    assert said.stderr.startswith(r"Error: 'b\\xffad' is not UTF-8; WASI takes no other")


def test_names_as_text() -> None:
    assert text_of(BAD_NAME) == r"b\xffad"
    assert str(Input("-")) == "standard input"
    assert str(OutputTarget("-")) == "standard output"
