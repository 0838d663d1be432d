"""`tinyheap profile app.py` as its users meet it: the program is as Python runs it, and its instances are recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hosts.programs import module_bytes
from tinyheap import cli
from tinyheap.recordings.recording import Recording

ONCE = module_bytes("""(memory (export "memory") 1)
  (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
  (func $once i32.const 24 i32.const 0 call $runtime.alloc drop)
  (func (export "once") (result i32) call $once i32.const 7)""")
HEAD = """import sys
from wasmtime import Engine, Linker, Module, Store

engine = Engine()
module = Module.from_file(engine, "once.wasm")

def made():
    store = Store(engine)
    once = Linker(engine).instantiate(store, module).exports(store)["once"]
    return lambda: once(store)
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "once.wasm").write_bytes(ONCE)


def written(text: str, name: str = "app.py") -> str:
    Path(name).write_text(HEAD + text)
    return name


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False)


def profile(*words: str) -> subprocess.CompletedProcess[str]:
    return run(["-m", "tinyheap", "profile", *words])


@pytest.mark.slow
def test_a_program_runs_as_python_runs_it_and_each_instance_is_recorded() -> None:
    app = written("""
print(made()() + made()(), sys.argv, __name__, __file__, sys.path[0], __spec__, [*vars(sys.modules["__main__"])][:1])
class Kept: pass
import pickle
assert type(pickle.loads(pickle.dumps(Kept()))) is Kept
""")
    words = ["--seed", "7", "--", "-o", "x"]
    plain, result = run([app, *words]), profile(app, *words)
    assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout)
    assert result.stdout.startswith("14 ['app.py', '--seed', '7', '--', '-o', 'x'] __main__ ")
    lines = result.stderr.splitlines()
    assert sorted(line.split(" (")[0] for line in lines if line.startswith("recorded")) == [
        "recorded 1 events in app-1.tinyheap",
        "recorded 1 events in app-2.tinyheap",
    ]
    assert "allocated most:" in lines
    for number in (1, 2):
        with Recording.open(f"app-{number}.tinyheap") as recording:
            assert recording.run.is_complete
            assert recording.run.module == "once.wasm"
            assert recording.sql("SELECT size_bytes FROM events").fetch() == [(24,)]


@pytest.mark.slow
def test_options_come_before_the_program_and_a_double_dash_may_follow() -> None:
    app = written("made()(); print(sys.argv[1:])")
    result = profile("-q", "--output", "mine.db", app, "--", "-f", "--", "g")
    assert (result.returncode, result.stdout, result.stderr) == (0, "['-f', '--', 'g']\n", "")
    with Recording.open("mine-1.db") as recording:
        assert recording.run.is_complete


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit(7)",
        "sys.exit('bye')",
        "sys.exit(None)",
        "raise LookupError('no')",
        "def f(): raise ValueError\ntry: f()\nexcept ValueError as error: raise KeyError('a') from error",
        "1 +",
        "import threading; threading.Timer(0.2, lambda: print(made()())).start(); sys.exit(3)",
        "import atexit; atexit.register(lambda: print(made()()))",
        "from concurrent.futures import ThreadPoolExecutor as E; e = E(2); print(e.submit(made()).result())",
        "import os; print(made()(), flush=True); os._exit(5)",
        "print('half', end='')",
        "from multiprocessing import Pool\nif __name__ == '__main__':\n  with Pool(1) as pool: print(pool.map(abs, [-3]))",
        "sys.excepthook = lambda *error: print(error[0]); 1 / 0",
    ],
    ids=lambda ending: ending.splitlines()[0][:24],
)
@pytest.mark.share(2, in_ci=5)
def test_a_program_ends_as_python_ends_it(ending: str) -> None:
    app = written(ending)
    plain, result = run([app]), profile("-q", app)
    assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout)
    assert result.stderr == plain.stderr
    for path in Path().glob("app-*.tinyheap"):
        with Recording.open(path) as recording:
            assert recording.sql("SELECT count(*) FROM events").one()[0] in ({0, 1} if "_exit" in ending else {1})


@pytest.mark.slow
def test_python_ends_what_reads_no_output_any_more() -> None:
    app = written("for _ in range(100_000): print('x' * 100)")
    codes = []
    for command in ([app], ["-m", "tinyheap", "profile", "-q", app]):
        with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            codes.append(process.wait(60))
    assert codes[0] == codes[1]


@pytest.mark.slow
def test_a_program_handles_control_c_itself() -> None:
    app = written("""
import time
once = made()
once()
try:
    print("ready", flush=True)
    while True: time.sleep(1)
except KeyboardInterrupt:
    print("stopped", once())
    sys.exit(9)
""")
    with subprocess.Popen(
        [sys.executable, "-m", "tinyheap", "profile", app], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (9, "stopped 7\n")
    assert "recorded 2 events in app-1.tinyheap" in err


@pytest.mark.slow
def test_control_c_that_nobody_handles_ends_the_program_with_its_traceback() -> None:
    # Python itself loses a signal that comes just before a long sleep begins.
    app = written("import time\nmade()()\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)")
    with subprocess.Popen(
        [sys.executable, "-m", "tinyheap", "profile", app], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Traceback (most recent call last):\n")
    assert "python_program" not in err
    assert "KeyboardInterrupt" in err
    assert "recorded 1 events in app-1.tinyheap" in err


@pytest.mark.slow
def test_a_killed_program_leaves_what_was_written() -> None:
    app = written("once = made()\nwhile True: once()")
    with subprocess.Popen([sys.executable, "-m", "tinyheap", "profile", app]) as process:
        for _ in range(600):
            if Path("app-1.tinyheap").exists():
                break
            time.sleep(0.1)
        time.sleep(1.5)
        process.kill()
    with Recording.open("app-1.tinyheap") as recording:
        assert not recording.run.is_complete
        query = "SELECT (SELECT count(*) FROM events), (SELECT sum(events) FROM batches)"
        count, written_events = recording.sql(query).one()
        assert count == written_events > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.slow
def test_a_forked_program_says_nothing_of_recordings_that_are_its_parents() -> None:
    app = written("""
import os
once = made()
once()
sys.stdout.flush()
child = os.fork()
if not child:
    once(); made()()
    sys.exit(4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
once()
""")
    result = profile(app)
    assert (result.returncode, result.stdout) == (0, "4\n")
    assert result.stderr.count("recorded 2 events in app-1.tinyheap") == 1
    assert result.stderr.count("was forked from the one that is recorded") == 1
    assert not Path("app-2.tinyheap").exists()


def test_a_program_without_instances_leaves_no_recording() -> None:
    result = profile(written("print(1)"))
    assert (result.returncode, result.stdout) == (0, "1\n")
    assert result.stderr == "recorded nothing: the program made no instance of a module that can be recorded\n"
    assert not list(Path().glob("*.tinyheap"))


@pytest.mark.slow
def test_so_many_instances_are_recorded_as_are_asked_for() -> None:
    result = profile("--instances", "2", written("print([made()() for _ in range(4)])"))
    assert result.stdout == "[7, 7, 7, 7]\n"
    assert "tinyheap: once.wasm: 2 instances are recorded already; it runs as it is" in result.stderr
    assert sorted(path.name for path in Path().glob("*.tinyheap")) == ["app-1.tinyheap", "app-2.tinyheap"]


def refused(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.main, ["profile", *words])
    return result.exit_code, result.stderr


def test_what_cannot_be_is_refused_before_the_program_runs() -> None:
    app = written("print('ran')")
    assert refused("nowhere.py") == (125, "Error: nowhere.py: No such file or directory\n")
    Path("folder.py").mkdir()
    assert refused("folder.py")[0] == 125
    for option in (
        ["--seed", "7"],
        ["--env", "A=b"],
        ["--host", app],
        ["--map"],
        ["--json", "x.json"],
        ["--invoke", "f"],
    ):
        code, said = refused(*option, app)
        assert code == 2
        assert f"{option[0]} is for WebAssembly modules: app.py is a Python program, which is a host itself" in said
    assert refused("--gc", "native", "--verify", app)[0] == 125
    assert refused("--outpt", "x", app)[0] == 2
    Path("app-3.tinyheap").write_text("somebody's work")
    code, said = refused(app)
    assert code == 121
    assert "app-3.tinyheap: is there already" in said
    assert "(--output FILE, --force)" in said


@pytest.mark.slow
def test_recordings_are_replaced_on_request_only() -> None:
    app = written("made()()")
    assert profile(app).returncode == 0
    assert profile(app).returncode == 121
    assert profile("--force", app).returncode == 0
    with Recording.open("app-1.tinyheap") as recording:
        assert recording.run.is_complete


PLUGIN = module_bytes("""(memory (export "memory") 1) (global $top (mut i32) (i32.const 1024))
  (func $runtime.alloc (param i32) (result i32) global.get $top
    (global.set $top (i32.and (i32.const 0x7fff) (i32.add (global.get $top) (local.get 0)))))
  (func (export "allocate") (param i32) (result i32) local.get 0 call $runtime.alloc)
  (func (export "handle") (param i32 i32) (result i32) i32.const 16 call $runtime.alloc drop i32.const 200)
  (func (export "release") (param i32))""")


@pytest.mark.slow
def test_the_example_of_a_service_is_recorded_store_by_store() -> None:
    Path("plugin.wasm").write_bytes(PLUGIN)
    example = str(Path(__file__).parents[2] / "examples" / "python_service.py")
    plain, result = run([example, "plugin.wasm"]), profile(example, "plugin.wasm")
    assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout) == (0, "status 200: 100 requests\n")
    counts = []
    for number in (1, 2):
        with Recording.open(f"python_service-{number}.tinyheap") as recording:
            rows = recording.sql("SELECT export, count(*) FROM calls GROUP BY ALL ORDER BY ALL").fetch()
            counts.append(rows[0][1])
            assert rows == [(name, counts[-1]) for name in ("allocate", "handle", "release")]
            assert recording.sql("SELECT count(*) FROM events").one() == (2 * counts[-1],)
    assert sum(counts) == 100


@pytest.mark.slow
def test_instances_are_sampled() -> None:
    result = profile("--sample", "1", written("made()()"))
    assert result.returncode == 0, result.stderr
    with Recording.open("app-1.tinyheap") as recording:
        assert recording.run.sample_bytes == 1
        assert recording.sql("SELECT size_bytes FROM events").fetch() == [(24,)]
