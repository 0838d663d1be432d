"""A test that needs the machine to itself gets it, however many workers there are."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import machine

pytestmark = pytest.mark.skipif(not machine.HAS_LOCKS, reason="this system has no file locks")

HOLD = """
import sys
import machine
with machine.held(alone=sys.argv[1] == "alone"):
    print("holds", flush=True)
    sys.stdin.readline()
"""
MOMENT_S = 0.5


class Worker:
    """Another process of the same run that asks for the machine, and holds it until it is let go."""

    def __init__(self, folder: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, how],
            cwd=Path(__file__).parent / "support",
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.stdout = self.process.stdout

    def holds(self, seconds: float = 60) -> bool:
        return bool(select.select([self.stdout], [], [], seconds)[0]) and self.stdout.readline() == b"holds\n"

    def let_go(self) -> None:
        self.process.communicate(b"\n", timeout=60)

    def end(self) -> None:
        self.process.kill()
        if not self.stdout.closed:
            self.process.communicate()


Ask = Callable[[str], Worker]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    with ExitStack() as stack:

        def worker(how: str) -> Worker:
            asked = Worker(tmp_path, how)
            stack.callback(asked.end)
            return asked

        yield worker


def test_tests_share_the_machine(ask: Ask) -> None:
    one, other = ask("shared"), ask("shared")
    assert one.holds()
    assert other.holds()


def test_one_alone_waits_for_the_others_and_none_begins_meanwhile(ask: Ask) -> None:
    first = ask("shared")
    assert first.holds()
    alone = ask("alone")
    assert not alone.holds(MOMENT_S)
    late = ask("shared")
    assert not late.holds(MOMENT_S)
    first.let_go()
    assert alone.holds()
    assert not late.holds(MOMENT_S)
    alone.let_go()
    assert late.holds()
