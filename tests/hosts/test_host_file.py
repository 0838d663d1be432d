"""Host files: what they may define, and the errors of those that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hosts.programs import module_bytes
from tinyheap import cli
from tinyheap.errors import HostFileError
from tinyheap.hosts.host_file import HostFile
from tinyheap.recordings.recording import Recording

PLUGIN = module_bytes(
    """(import "env" "ask" (func $ask (param i32) (result i32))) (memory (export "memory") 1)
    (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
    (func $handle (export "handle") (param i32) (result i32)
      (drop (call $runtime.alloc (i32.const 24) (i32.const 0))) (call $ask (local.get 0)))
    (func (export "trap") unreachable)"""
)
COMMANDS = ("run", "profile", "live")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("plugin.wasm").write_bytes(PLUGIN)


def run(host: str | bytes, *words: str, command: str = "run") -> Result:
    Path("host.py").write_bytes(host if isinstance(host, bytes) else host.encode())
    return CliRunner().invoke(cli.main, [command, "plugin.wasm", "-q", "--host", "host.py", *words])


ASK = "def ask(number):\n    return number + 1\nimports = {'env': {'ask': ask}}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_offers_and_drives(command: str) -> None:
    drive = "def drive(program):\n    print(program.call('handle', 41), program.memory.read(0, 2))\n    return 5\n"
    said = run(ASK + drive, command=command)
    assert (said.exit_code, said.stdout) == (5, "42 b'\\x00\\x00'\n")


def test_a_file_offers_and_somebody_else_drives() -> None:
    said = run(ASK, "--invoke", "handle", "1")
    assert (said.exit_code, said.stdout) == (0, "2\n")


def test_a_file_drives_and_stubs_offer() -> None:
    said = run("def drive(program):\n    print(program.call('handle', 1), program.stub_calls)\n", "--stub-imports")
    assert (said.exit_code, said.stdout) == (0, "0 {'env.ask': 1}\n")


def test_a_file_is_run_as_python_does() -> None:
    Path("helper.py").write_text("def ask(number): return 7\n")
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\nimport helper\n"
    text += "@dataclass\nclass A:\n    x: int\nassert __file__ == 'host.py', __file__\nimports = {'env': {'ask': helper.ask}}\n"
    assert run(text, "--invoke", "handle", "1").stdout == "7\n"


def test_what_is_printed_stands_in_its_order() -> None:
    wasm = module_bytes(
        """(import "env" "say" (func $say)) (import "wasi_snapshot_preview1" "fd_write"
          (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
        (data (i32.const 0) "\\10\\00\\00\\00\\02\\00\\00\\00") (data (i32.const 16) "b\\n")
        (func (export "_start") (call $say)
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (call $say))"""
    )
    Path("plugin.wasm").write_bytes(wasm)
    assert run("imports = {'env': {'say': lambda: print('a')}}").stdout == "a\nb\na\n"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("def f(:\n", r"host\.py:1: is not Python"),
        (b"\0\1\2", "is not Python"),
        (b"x = '\xff'\n", "is not Python"),
        ("", "defines no host: expected imports = .* or def drive"),
        ("x = 1\n", "defines no host"),
        ("imports = 5\n", "invalid imports 5: expected functions by module and name"),
        ("imports = {'env': {'ask': 5}}\n", r"invalid import env\.ask 5: expected a function"),
        ("drive = 5\n", "invalid drive 5: expected a function that takes the program"),
        ("x = 1\ny = x / 0\n", r"host\.py:2: raised ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError\nf()\n", r"host\.py:2: raised KeyError \(in f\)"),
        ("import nothing_of_that_name\n", "raised ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "raised SystemExit: 3"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_host_is_refused_before_anything_runs(host: str | bytes, words: str) -> None:
    for command in COMMANDS:
        said = run(host, command=command)
        assert (said.exit_code, said.stdout) == (125, "")
        assert not Path("plugin.tinyheap").exists()
        assert said.stderr.startswith("Error: host.py")
        assert "Traceback" not in said.stderr
    with pytest.raises(HostFileError, match=words):
        HostFile.load(Path("host.py"))


def test_a_file_that_is_not_there_or_not_a_file_is_said() -> None:
    Path("folder").mkdir()
    for name, words in (
        ("none.py", "No such file"),
        ("folder", "directory"),
        ("/dev/zero", "expected a file of Python"),
    ):
        said = CliRunner().invoke(cli.main, ["run", "plugin.wasm", "--host", name])
        assert (said.exit_code, said.stdout) == (125, "")
        assert words in said.stderr
    said = CliRunner().invoke(cli.main, ["run", "plugin.wasm", "--host", "-"])
    assert (said.exit_code, "invalid file name '-' (standard input): that is for the program" in said.stderr) == (
        2,
        True,
    )


def test_two_that_drive_exclude_each_other() -> None:
    said = run("def drive(program): pass\n", "--invoke", "handle", "1")
    assert said.exit_code == 2
    assert "--invoke and host.py exclude each other" in said.stderr


DRIVE = "def drive(program):\n    program.call('handle', 1)\n"
RAISING = "def ask(number):\n    raise {}\nimports = {{'env': {{'ask': ask}}}}\n" + DRIVE


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_file_raises_is_told_with_its_place(command: str) -> None:
    for error, words in (("ValueError('bad')", "ValueError: bad"), ("MemoryError", "no memory left")):
        said = run(RAISING.format(error), "--force" if command != "run" else "-q", command=command)
        assert said.exit_code == (1 if "Value" in error else 125)
        assert words in said.stderr
        assert "Traceback" not in said.stderr
    if command == "profile":
        with Recording.open(Path("plugin.tinyheap")) as recording:
            assert recording.run.state == "failed"
            assert recording.sql("SELECT count(*) FROM events").one() == (1,)


def test_where_a_file_raises_is_its_innermost_line() -> None:
    assert run(RAISING.format("ValueError('bad')")).stderr == "Error: host.py:2: raised ValueError: bad (in ask)\n"
    said = run("def drive(program):\n    program.missing\n", "--stub-imports")
    assert (said.exit_code, said.stderr.count("host.py:2: raised AttributeError")) == (1, 1)


def test_errors_of_the_program_keep_their_meaning_in_a_file() -> None:
    said = run("def drive(program):\n    program.call('trap')\n", "--stub-imports")
    assert (said.exit_code, "the program trapped (unreachable)" in said.stderr) == (2, True)
    caught = "def drive(program):\n    try: program.call('trap')\n    except Exception as error: print(error)\n"
    said = run(caught, "--stub-imports")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith("the program trapped (unreachable)")


@pytest.mark.parametrize(("code", "expected"), [("", 0), ("7", 7), ("'no'", 1)])
def test_a_file_may_end_the_run(code: str, expected: int) -> None:
    for host in (f"import sys\ndef drive(program): sys.exit({code})\n", RAISING.format(f"SystemExit({code})")):
        said = run(host, "--stub-imports" if "import sys" in host else "-q")
        assert (said.exit_code, said.stdout) == (expected, "")
        assert said.stderr == ("Error: no\n" if expected == 1 else "")


@pytest.mark.parametrize("result", ["'x'", "256", "-1", "True", "1.0"])
def test_what_drives_returns_an_exit_code(result: str) -> None:
    said = run(f"def drive(program): return {result}\n", "--stub-imports")
    assert said.exit_code == 125
    assert "expected None or an exit code, 0 to 255" in said.stderr


def test_stubs_are_summed_up() -> None:
    said = CliRunner().invoke(cli.main, ["run", "plugin.wasm", "--stub-imports", "--invoke", "handle", "1"])
    assert (said.exit_code, said.stdout) == (0, "0\n")
    assert "stubs called: env.ask once\n" in said.stderr
    said = CliRunner().invoke(
        cli.main, ["run", "plugin.wasm", "--stub-imports=env.ask", "--json", "-", "-q", "--invoke", "handle", "1"]
    )
    assert '"stub_calls": {\n    "env.ask": 1\n  }' in said.stdout
    said = CliRunner().invoke(cli.main, ["run", "plugin.wasm", "--stub-imports=env.x"])
    assert (said.exit_code, "invalid import 'env.x' to be stubbed" in said.stderr) == (125, True)
