"""The process of a command: its standard streams, and Ctrl-C from its first moment to its last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from cli import forks
from hosts.programs import command, module_bytes, say
from recordings_made import make_recording
from tinyheap import cli
from tinyheap.cli.exits import MEANINGS, ExitCode
from tinyheap.traces.trace import TraceBuilder, write_trace

HELLO: Final = command(say(64, "(i32.const 6)"), head='(data (i32.const 64) "hello\\n")')
ENDLESS: Final = command("(loop " + say(64, "(i32.const 6)") + "(br 0))", head='(data (i32.const 64) "hello\\n")')
FULL: Final = "/dev/full"
WAIT_S: Final = 60


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hello.wasm").write_bytes(HELLO)
    Path("endless.wasm").write_bytes(ENDLESS)
    program = TraceBuilder(4096)
    program.root(0, program.alloc(16))
    write_trace("t.trace", program.build())


PRINTING: Final = [
    ["--help"],
    ["--version"],
    *([name, "--help"] for name in cli.COMMANDS),
    ["replay", "t.trace"],
    ["replay", "t.trace", "--json"],
    ["generate", "mixed", "--heap", "16K", "--steps", "9", "-o", "-"],
    ["identify", "hello.wasm"],
    ["identify", "hello.wasm", "--json"],
    ["run", "hello.wasm", "-q"],
    ["run", "endless.wasm", "-q"],
    ["run", "hello.wasm", "-q", "--gc", "native", "--json", "-"],
    ["report", "r.tinyheap"],
    ["report", "r.tinyheap", "--json"],
    ["report", "r.tinyheap", "--html", "-"],
    ["report", "r.tinyheap", "--export", "pprof=-"],
    ["report", "--list-formats"],
    ["sql", "r.tinyheap"],
    ["sql", "r.tinyheap", "FROM events"],
    ["sql", "r.tinyheap", "FROM events", "--csv"],
    ["sql", "r.tinyheap", "FROM events", "--json"],
]
"""Command lines that print."""
PLACES: Final = [forks.CLOSED, *(pytest.param(each, marks=pytest.mark.slow) for each in (FULL, forks.BROKEN))]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("third", range(3))
@pytest.mark.slow
@pytest.mark.share(1, in_ci=4)
def test_an_output_that_takes_nothing(place: str, third: int) -> None:
    """A third of the commands at a time: of nine such tests, CI takes four, which have each third and each place."""
    make_recording(Path("r.tinyheap"), events=300)
    printing = PRINTING[third::3]
    for words, ended in zip(printing, forks.run([(words, {1: place}) for words in printing]), strict=True):
        if place == forks.BROKEN:
            assert ended == (ExitCode.BROKEN_PIPE, ""), words
        else:
            assert ended.exit_code == ExitCode.CANNOT_WRITE, (words, ended)
            assert ended.stderr.startswith("Error: "), (words, ended)
            assert "standard output: cannot be written: " in ended.stderr
            assert ended.stderr.count("\n") == 1, (words, ended)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.slow
@pytest.mark.share(1, in_ci=1)
def test_an_error_stream_that_takes_nothing_changes_nothing(place: str) -> None:
    make_recording(Path("r.tinyheap"), events=300)
    cases = [
        (["run", "hello.wasm"], ExitCode.DONE),
        (["run", "none.wasm"], ExitCode.CANNOT_READ),
        (["run", "--no-such-option"], ExitCode.USAGE),
        (["profile", "none.wasm"], ExitCode.CANNOT_READ),
        (["generate", "mixed", "--heap", "16K", "--steps", "9", "-o", "made"], ExitCode.DONE),
        (["report", "r.tinyheap", "--html", "page"], ExitCode.DONE),
        (["replay", "none", "t.trace"], ExitCode.CANNOT_READ),
        (["sql", "r.tinyheap", "selec"], ExitCode.USAGE),
    ]
    ended = forks.run([(words, {2: place}) for words, _ in cases])
    assert [each.exit_code for each in ended] == [code for _, code in cases]


@pytest.mark.slow
def test_an_input_that_is_closed() -> None:
    (replayed, identified, ran) = forks.run(
        [(words, {0: forks.CLOSED}) for words in (["replay", "-"], ["identify", "-"], ["run", "-q", "hello.wasm"])]
    )
    for ended in (replayed, identified):
        assert ended == (ExitCode.CANNOT_READ, "Error: standard input: Bad file descriptor\n")
    assert ran.exit_code == ExitCode.DONE


@pytest.mark.slow
def test_what_the_encoding_lacks_is_written_as_an_escape() -> None:
    make_recording(Path("r.tinyheap"), events=300)
    query = "SELECT 'na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve' AS a"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for option in ([], ["--csv"]):
        shown = subprocess.run(
            [*tinyheap("sql", "r.tinyheap", query), *option], capture_output=True, check=True, env=plain
        )
        assert rb"na\xefve" in shown.stdout


# ---- Ctrl-C -----------------------------------------------------------------------------------------------------------


def tinyheap(*words: str, before: str = "") -> list[str]:
    """The command in a process that does something else before."""
    start = f"import sys; {before or 'pass'}\nfrom tinyheap.__main__ import main; main()"
    return [sys.executable, "-c", start, *words]


AT_IMPORT: Final = """
import os, signal
class Interrupting:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("tinyheap.cli", ["--help"]),
        ("click", ["--help"]),
        ("tinyheap.cli.run", ["run", "hello.wasm"]),
        ("wasmtime", ["profile", "hello.wasm"]),
        ("wasmtime._bindings", ["live", "hello.wasm"]),
        ("rich.console", ["identify", "hello.wasm"]),
        ("duckdb", ["sql", "none"]),
        ("numpy", ["report", "none"]),
        ("tinyheap.heap.nextfit._kernel", ["replay", "none"]),
    ],
)
@pytest.mark.share(2, in_ci=4)
def test_while_it_starts(library: str, words: list[str]) -> None:
    ended = subprocess.run(
        tinyheap(*words, before=AT_IMPORT.format(name=library)),
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (ExitCode.INTERRUPTED, "", "Error: interrupted\n")


SWALLOWING: Final = {
    "a destructor": """
import signal
class Swallow:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def work(*_, **__):
    Swallow()
    while True: pass
""",
    "a weak reference": """
import signal, weakref
class Referent: pass
def work(*_, **__):
    it = Referent()
    reference = weakref.ref(it, lambda _: signal.raise_signal(signal.SIGINT))
    del it
    while True: pass
""",
    "a callback of C": """
import ctypes, signal
def work(*_, **__):
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()
    while True: pass
""",
    "whoever takes all exceptions": """
import signal, time
def work(*_, **__):
    try: signal.raise_signal(signal.SIGINT)
    except BaseException: pass
    while True: time.sleep(3600)
""",
    "whoever takes all exceptions, always": """
import signal
def work(*_, **__):
    signal.raise_signal(signal.SIGINT)
def forever(*_, **__):
    while True:
        try:
            work()
            while True: pass
        except BaseException: pass
""",
    "a library that waits": """
import ctypes, os, signal, threading
def work(*_, **__):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    libc = ctypes.CDLL(None)
    while True: libc.usleep(10_000_000)
""",
}


@pytest.mark.parametrize("swallower", SWALLOWING)
@pytest.mark.share(1, in_ci=3)
@pytest.mark.slow
def test_an_interrupt_is_not_lost(swallower: str) -> None:
    """What it was lost to, for a minute and longer."""
    code = SWALLOWING[swallower]
    name = "forever" if "forever" in code else "work"
    before = f"{code}\nimport tinyheap.cli.replay as command; command.attempt = {name}"
    begun_s = time.monotonic()
    ended = subprocess.run(
        tinyheap("replay", "t.trace", before=before), capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert ended.returncode == ExitCode.INTERRUPTED
    assert ended.stderr.endswith("Error: interrupted\n")
    assert "Traceback" not in ended.stderr or swallower == "a callback of C"
    assert time.monotonic() - begun_s < WAIT_S / 2


def test_at_a_second_interrupt_it_ends_at_once_and_leaves_nothing() -> None:
    before = """
import os, signal, threading, time
from tinyheap import files
def stay(path, content):
    with files.temporary(path.parent) as made:
        made.write_bytes(content)
        while True:
            try:
                os.write(2, b"writing\\n")
                while True: time.sleep(0.01)
            except KeyboardInterrupt: os.write(2, b"again\\n")
import tinyheap.cli.parameters as parameters; parameters.write_whole = stay
"""
    words = tinyheap("generate", "mixed", "--heap", "16K", "--steps", "9", "-o", "made", before=before)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "writing\n"
        assert list(Path().glob(".tinyheap-*"))
        running.send_signal(signal.SIGINT)
        assert running.stderr.readline() == "again\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(WAIT_S) == ExitCode.INTERRUPTED
        assert running.stderr.read().endswith("Error: interrupted\n")
    assert not list(Path().glob(".tinyheap-*"))
    assert not Path("made").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["report", "r.tinyheap", "--html", "page"],
        ["report", "r.tinyheap", "--export", "csv=tables", "--export", "pprof=heap"],
        ["sql", "r.tinyheap", "SELECT count(*) FROM events a, events b, events c"],
        ["replay", "--engine", "model", *["long.trace"] * 300],
        ["generate", "mixed", "--steps", "9000000", "-o", "made"],
        ["run", "endless.wasm"],
        ["run", "-q", "started.wasm"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("after_s", [0.0, 0.3])
@pytest.mark.share(1, in_ci=4)
@pytest.mark.slow
def test_while_it_works(words: list[str], after_s: float) -> None:
    """Interrupted when the command has begun; what it wrote is whole, or not there."""
    make_recording(Path("r.tinyheap"), events=20_000)
    Path("started.wasm").write_bytes(module_bytes("(func $start (loop (br 0))) (start $start)"))
    program = TraceBuilder(4096)
    program.root(0, program.alloc(16))
    for word in range(20_000):
        program.store(1, word % 4)
    write_trace("long.trace", program.build())
    before = """
import click, threading
class Told(click.Context):
    pass
invoke = click.Command.invoke
def tell(self, ctx):
    if self.name != "tinyheap": print("begun", file=sys.stderr, flush=True)
    return invoke(self, ctx)
click.Command.invoke = tell
"""
    with subprocess.Popen(
        tinyheap(*words, before=before), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        while running.stderr.readline() != "begun\n":
            assert running.poll() is None
        time.sleep(after_s)
        running.send_signal(signal.SIGINT)
        try:
            assert running.wait(WAIT_S) in (ExitCode.INTERRUPTED, ExitCode.DONE)
        finally:
            running.kill()
        said = running.stderr.read()
        if running.returncode == ExitCode.INTERRUPTED:
            assert "interrupted" in said
        assert "Traceback" not in said
    assert not list(Path().glob(".tinyheap-*"))
    assert not Path("made").exists()
    page = Path("page")
    assert not page.exists() or page.read_text().endswith("</html>\n")


def test_every_code_has_a_meaning() -> None:
    assert list(MEANINGS) == sorted(ExitCode)
