"""On a cluster a sweep gives what it gives on one machine, whatever dies: workers, the scheduler, the sweep itself."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import duckdb
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

import guests_modules
import needs
from hosts.programs import command, say
from lab.test_sweep import SOURCE, comparable, interrupted_after
from tinyheap import cli
from tinyheap.cli.exits import ExitCode
from tinyheap.errors import ClusterError, InputError, LabError
from tinyheap.lab import Condition, Outcome, Subject, cluster, grid, sweep
from tinyheap.lab.outcome import WORKER_DIED
from tinyheap.lab.running import ATTEMPTS

HELLO = command(say(64, "(i32.const 6)"), head='(data (i32.const 64) "hello\\n")')
SPIN = command("(loop (br 0))")
MANY = grid({"memory-limit": "64K..640K/+64K"})
KILLER = f"""
import os, signal, sys

def drive(program):
    if "--memory-limit={64 << 10}" in sys.argv:
        os.kill(os.getppid(), signal.SIGKILL)
"""
"""A host under which one condition kills the worker that runs it."""


@pytest.fixture(autouse=True, scope="module")
def _forked_workers() -> Iterator[None]:
    """Forks what has Dask's modules already: that each worker loads them takes most of these tests' time.

    Commands, in processes of their own, begin their workers as Dask does by default.
    """
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalCluster]:
    """Two workers, which a sweep knows by the address of their scheduler alone."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=60
    ) as made:
        yield made


@pytest.fixture
def address(workers: LocalCluster) -> str:
    return str(workers.scheduler_address)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("app.wasm").write_bytes(HELLO)
    Path("spin.wasm").write_bytes(SPIN)
    return tmp_path


HELLO_SUBJECT = Subject(Path("app.wasm"))


def rows(file: str) -> list[tuple[object, ...]]:
    with duckdb.connect(file) as connection:
        return connection.execute("SELECT condition, run, ended, output_sha256 FROM outcomes ORDER BY ALL").fetchall()


# ---- the same as on one machine ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_outcomes_are_those_of_one_machine(address: str) -> None:
    shutil.copy(guests_modules.path("gofmt-0.4.9"), "gofmt.wasm")
    shutil.copy(SOURCE, "a.go")
    Path("b.go").write_text("package  b\n")
    subject = Subject(Path("gofmt.wasm"), ("{input}",), ("--seed=1",))
    conditions = grid({"input": "*.go", "heap-limit": "192K,64M"})
    here = sweep(subject, conditions)
    there = sweep(subject, conditions, cluster=address)
    assert [each.ended for each in here.outcomes] == ["out of memory", "finished", "finished", "finished"]
    assert comparable(there.outcomes) == comparable(here.outcomes)
    assert comparable(there.repeated) == comparable(here.repeated)
    assert len(there.repeated) == 2
    assert comparable(sweep(subject, conditions, cluster="local:2").outcomes) == comparable(here.outcomes)


@pytest.mark.slow
def test_a_sample_is_the_same_on_a_cluster(address: str) -> None:
    shutil.copy("app.wasm", "other.wasm")
    sample = grid({"memory-limit": "default,64K..64000K/+64K", "module": "default,other.wasm"}, sample=3)
    here, there = sweep(HELLO_SUBJECT, sample), sweep(HELLO_SUBJECT, sample, file="s.duckdb", cluster=address)
    assert len(here.outcomes) == 6
    assert comparable(there.outcomes) == comparable(here.outcomes)
    assert there.sample == here.sample == sample.sample
    assert len(rows("s.duckdb")) == 8


@pytest.mark.slow
def test_modules_and_standard_inputs_vary(address: str) -> None:
    Path("other.wasm").write_bytes(command(say(64, "(i32.const 4)"), head='(data (i32.const 64) "bye\\n")'))
    Path("in").write_text("text")
    conditions = grid({"module": "default,other.wasm", "input": "default,in"})
    with Client(address, set_as_default=False) as client:
        there = sweep(HELLO_SUBJECT, conditions, cluster=client)
    assert [each.condition for each in there.outcomes] == [
        "default",
        "input=in",
        "module=other.wasm",
        "module=other.wasm input=in",
    ]
    outputs = [each.output_sha256 for each in there.outcomes]
    assert outputs[0] == outputs[1] != outputs[2] == outputs[3]
    assert not any(map(there.changes_output, there.outcomes))
    assert comparable(there.outcomes) == comparable(sweep(HELLO_SUBJECT, conditions).outcomes)


@pytest.mark.slow
def test_a_worker_keeps_nothing_of_a_sweep_that_is_over(address: str) -> None:
    sweep(HELLO_SUBJECT, grid({}), cluster=address)
    with Client(address, set_as_default=False) as client:
        left = client.run(lambda dask_worker: [str(each) for each in Path(dask_worker.local_directory).iterdir()])
        assert not [name for names in left.values() for name in names if "tinyheap" in name]


# ---- what is sent -----------------------------------------------------------------------------------------------------


def test_files_that_runs_read_are_sent_once(folder: Path) -> None:
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/deep/x").write_bytes(b"x")
    (folder / "in").write_bytes(b"in")
    subject = Subject(Path("app.wasm"), ("in", "no-file"), ("--dir=data:/d:ro", "--stdin=in", "--seed=1"))
    sent = cluster.files_to_send(subject, grid({"module": "spin.wasm"}))
    assert sent == {"app.wasm": HELLO, "in": b"in", "spin.wasm": SPIN, "data/deep/x": b"x"}


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (Subject(Path("app.wasm").absolute()), "would not find it by this name"),
        (Subject(Path("app.wasm"), ("../in",)), "would not find it by this name"),
        (Subject(Path("app.wasm"), (), ("--dir=data:rw",)), "may not write to folders"),
        (Subject(Path("app.wasm"), (), ("--dir=data",)), "larger than 0 MiB, at data/x: name smaller folders"),
    ],
    ids=["absolute", "above", "writable", "large"],
)
def test_what_cannot_be_sent_is_said(subject: Subject, why: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").mkdir()
    (folder / "data/x").write_bytes(b"x" * 10_000)
    (folder / "below").mkdir()
    (folder / "in").write_bytes(b"in")
    monkeypatch.setattr(cluster, "MOST_BYTES", 9_999)
    if subject.arguments:
        monkeypatch.chdir("below")
        Path("app.wasm").write_bytes(HELLO)
    elif subject.module.is_absolute():
        subject = Subject(folder / "app.wasm")
    with pytest.raises(ClusterError, match=why):
        cluster.files_to_send(subject, [])


def test_a_varied_module_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"none\.wasm: is not a file that can be read"):
        sweep(HELLO_SUBJECT, grid({"module": "none.wasm"}))


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"it has tinyheap .*, and not 0\.0\.1 as the sweep"):
        sweep(HELLO_SUBJECT, grid({}), cluster=address)


# ---- clusters that are away -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere", "strange://127.0.0.1:1"])
def test_a_cluster_that_is_away_is_said_soon(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers there.*expected local, local:N, or the address"):
        sweep(HELLO_SUBJECT, grid({}), cluster=address)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("name", ["local:0", "local:", "local:x", "local:8786", "local:2\n"])
def test_what_names_no_cluster_is_said_before_anything_is_done(name: str) -> None:
    with pytest.raises(LabError, match=r"invalid cluster 'local:.*': expected local, local:N for 1 to 999 processes"):
        sweep(HELLO_SUBJECT, grid({}), file="s.duckdb", cluster=name)
    assert not Path("s.duckdb").exists()
    said = CliRunner().invoke(cli.main, ["lab", "app.wasm", "--cluster", name])
    assert said.exit_code == ExitCode.USAGE
    assert "invalid cluster" in said.stderr


def test_what_answers_nothing_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ClusterError, match="what is there says nothing"):
            sweep(HELLO_SUBJECT, grid({}), cluster=f"tcp://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.slow
def test_a_program_that_workers_cannot_import_is_said() -> None:
    script = """
from pathlib import Path
from tinyheap.errors import ClusterError
from tinyheap.lab import Subject, grid, sweep
try:
    sweep(Subject(Path("app.wasm")), grid({}), cluster="local:1")
except ClusterError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("local: its processes do not start (")


SCHEDULER = """
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=60) as made:
        print(made.scheduler_address, flush=True)
        input()
"""


@pytest.mark.slow
def test_a_scheduler_that_dies_leaves_a_file_to_go_on_with(folder: Path) -> None:
    (folder / "scheduler.py").write_text(SCHEDULER)
    with subprocess.Popen([sys.executable, "scheduler.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        seen: list[Outcome] = []

        def kill(outcome: Outcome) -> None:
            seen.append(outcome)
            if len(seen) == 2:
                process.kill()

        with pytest.raises(ClusterError, match=r"was lost|cannot make"):
            sweep(HELLO_SUBJECT, MANY, file="s.duckdb", cluster=address, told=kill)
    assert len(rows("s.duckdb")) == len(seen) >= 2
    sweep(HELLO_SUBJECT, MANY, file="s.duckdb")
    assert len(rows("s.duckdb")) == len(MANY) + 1


# ---- workers that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="two", marks=pytest.mark.slow), pytest.param(20, id="twenty", marks=pytest.mark.long)]
)
def test_killed_workers_lose_and_double_nothing(kills: int, workers: LocalCluster) -> None:
    moments, is_over, left = random.Random(kills), threading.Event(), list(range(kills))

    def storm() -> None:
        while left and not is_over.wait(moments.uniform(0, 0.5)):
            pids = [nanny.pid for nanny in workers.workers.values() if nanny.pid]
            if pids:
                os.kill(moments.choice(pids), signal.SIGKILL)
                left.pop()

    conditions = grid({"memory-limit": f"64K..{64 * 4 * kills}K/+64K"})
    calm = sweep(HELLO_SUBJECT, conditions, jobs=2)
    killer = threading.Thread(target=storm)
    killer.start()
    try:
        found = sweep(HELLO_SUBJECT, conditions, file="s.duckdb", cluster=str(workers.scheduler_address))
    finally:
        is_over.set()
        killer.join()
    assert not left
    assert comparable(found.outcomes) == comparable(calm.outcomes)
    assert rows("s.duckdb") == sorted(
        (each.condition, each.run, each.ended, each.output_sha256) for each in (*calm.outcomes, *calm.repeated)
    )


@pytest.mark.slow
def test_a_condition_that_kills_its_workers_is_a_result_and_no_other_is(folder: Path) -> None:
    (folder / "killer.py").write_text(KILLER)
    subject = Subject(Path("app.wasm"), options=("--host=killer.py",))
    # Dask would give up a worker that is back later, which all are, as where much else runs.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "50 ms"}):
        found = sweep(subject, MANY[::-1], file="s.duckdb", cluster="local:2")
    assert [each.ended for each in found.outcomes] == ["finished"] * (len(MANY) - 1) + [WORKER_DIED]
    times = f"{ATTEMPTS} times out of {ATTEMPTS}"
    assert found.outcomes[-1].evidence == (
        f"the worker that ran it died, {times}, with no other run of the sweep beside it",
    )
    assert len(rows("s.duckdb")) == len(MANY) + 1


@pytest.mark.slow
def test_a_local_cluster_without_workers_ends_the_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOST_S", 0.05)
    (folder / "killer.py").write_text(KILLER)
    subject = Subject(Path("app.wasm"), options=("--host=killer.py",))
    seen: list[Outcome] = []
    with pytest.raises(
        ClusterError, match=r"has no workers any more, and none came in 0\.05 s; what was done.* is kept"
    ):
        sweep(subject, MANY[::-1], file="s.duckdb", cluster="local:1", told=seen.append)
    assert len(rows("s.duckdb")) == len(seen) >= 1


@pytest.mark.slow
def test_a_sweep_says_that_it_waits_for_workers() -> None:
    impatient = (
        "from tinyheap.lab import cluster; cluster.QUIET_S = cluster.WATCH_S = 0.1\n"
        "from tinyheap.__main__ import main; main()"
    )
    line = [sys.executable, "-c", impatient, "lab", "app.wasm", "--file", "s.duckdb"]
    with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", silence_logs=60
        ) as none_yet,
        subprocess.Popen(
            [*line, "--cluster", none_yet.scheduler_address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stderr is not None
        said = process.stderr.readline()
        none_yet.scale(1)
        _, more = process.communicate(timeout=60)
    assert said == b"the cluster has no workers; the sweep waits, and goes on when one comes\n"
    assert (process.returncode, more) == (0, b"")
    assert len(rows("s.duckdb")) == 2


# ---- sweeps that end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_where_it_was(address: str) -> None:
    seen = interrupted_after(3, HELLO_SUBJECT, MANY, "s.duckdb", address)
    again: list[Outcome] = []
    sweep(HELLO_SUBJECT, MANY, file="s.duckdb", cluster=address, told=again.append)
    assert sorted(again[:3], key=str) == sorted(seen, key=str)
    sweep(HELLO_SUBJECT, MANY, file="whole.duckdb")
    assert rows("s.duckdb") == rows("whole.duckdb")


def processes_of(session: int) -> list[str]:
    """The processes of a session that live."""
    done = subprocess.run(
        [needs.tool("ps"), "-A", "-o", "sid=,stat=,args="], capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [line[2] for line in lines if line[0] == str(session) and not line[1].startswith("Z")]


def soon(session: int, is_it: Callable[[list[str]], bool]) -> bool:
    """Whether a session's processes become so within a minute."""
    until = time.monotonic() + 60
    while not is_it(processes_of(session)):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("words", [("--jobs", "2"), ("--cluster", "local:2")], ids=["jobs", "cluster"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
@pytest.mark.slow
def test_no_process_outlives_its_sweep(words: tuple[str, ...], number: signal.Signals) -> None:
    line = [sys.executable, "-m", "tinyheap", "lab", "spin.wasm", "--file", "s.duckdb", "--vary", "memory-limit=64K,1M"]
    with subprocess.Popen(
        [*line, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert soon(process.pid, lambda found: any("leash" in each for each in found))
        os.kill(process.pid, number) if number == signal.SIGKILL else os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=60)
        assert soon(process.pid, lambda found: not found)
    if number == signal.SIGINT:
        assert (process.returncode, errors) == (ExitCode.INTERRUPTED, b"Error: interrupted\n")
    assert rows("s.duckdb") == []


# ---- the command ------------------------------------------------------------------------------------------------------


def test_jobs_are_those_of_this_machine() -> None:
    said = CliRunner().invoke(cli.main, ["lab", "app.wasm", "--jobs", "2", "--cluster", "local"])
    assert (said.exit_code, "--jobs and --cluster exclude each other" in said.stderr) == (ExitCode.USAGE, True)
    with pytest.raises(LabError, match="jobs and a cluster exclude each other"):
        sweep(HELLO_SUBJECT, [Condition()], jobs=2, cluster="local")


@pytest.mark.slow
def test_the_command_runs_on_a_cluster(address: str) -> None:
    words = ["lab", "app.wasm", "--vary", "module=default,spin.wasm", "--cluster", address, "--timeout", "0.1"]
    said = CliRunner().invoke(cli.main, words)
    assert said.exit_code == 0
    assert [line.split()[:2] for line in said.stdout.splitlines()[1:3]] == [
        ["default", "finished"],
        ["module=spin.wasm", "timed"],
    ]


@pytest.mark.slow
def test_a_cluster_that_is_away_ends_the_command() -> None:
    said = CliRunner().invoke(cli.main, ["lab", "app.wasm", "--cluster", "nowhere"])
    assert said.exit_code == ExitCode.CANNOT_READ
    assert said.stderr.startswith("Error: nowhere: no Dask scheduler answers there")
