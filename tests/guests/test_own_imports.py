"""Functions of the user's own beside a heap that is served: what they may do with both, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from guests import collectors
from tinyheap import Policy, Program
from tinyheap.errors import GuestPhaseError, GuestSpentError
from tinyheap.guests.cache import Cache
from tinyheap.hosts import Caller
from tinyheap.recordings.recording import Recording
from tinyheap.wasm import Editor, Module

BUILD = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)


def asking() -> bytes:
    """A program on the block collector whose function ``total_bytes`` is its host's."""
    module = Module.parse(collectors.compiled(BUILD, "faults.c"))
    editor = Editor(module)
    editor.become_import(module.function_indices["total_bytes"], "env", "ask")
    return editor.encode()


def opened(ask: Callable[..., object], recording: Path | None = None, policy: Policy | None = None) -> Program:
    imports = {"env": {"ask": ask}}
    program = Program.open(asking(), policy=policy, imports=imports, recording=recording, cache=Cache(None))
    program.start()
    program.call("make", 64, 3, 0)
    return program


@pytest.mark.parametrize("engine", ["kernel", "model"])
def test_a_function_allocates_collects_and_looks_at_the_heap(engine: str) -> None:
    def ask(caller: Caller) -> int:
        for slot in range(8):
            caller.call("make", 1000 * slot, 3, slot)
        assert program.heap is not None
        program.heap.verify()
        return program.heap.stats().mallocs

    with opened(ask, policy=Policy(engine=engine, gc_every=3, verify=True)) as program:
        assert program.call("total_bytes") == 1 + 7
        assert program.heap is not None
        assert len(program.heap.collections) > 1
        program.heap.finish()


def test_a_function_does_not_close_the_program() -> None:
    refused: list[str] = []

    def ask() -> int:
        with pytest.raises(GuestPhaseError) as caught:
            program.close()
        refused.append(str(caught.value))
        return 5

    with opened(ask) as program:
        assert program.call("total_bytes") == 5
        assert program.call("make", 16, 3, 0)
    assert refused == ["close: the program is running; do that when it has returned"]


def test_a_recording_holds_what_a_function_let_happen_up_to_where_it_failed(tmp_path: Path) -> None:
    def ask(caller: Caller) -> int:
        caller.call("make", 48, 3, 1)
        raise LookupError("gone")

    file = tmp_path / "run.tinyheap"
    program = opened(ask, recording=file)
    with pytest.raises(LookupError), program:
        program.call("total_bytes")
    with Recording.open(file) as recording:
        assert [size for (size,) in recording.sql("SELECT size_bytes FROM events ORDER BY id")] == [64, 48]
        assert (recording.run.state, recording.run.error) == ("failed", "gone")


def test_a_program_whose_function_failed_is_spent_and_its_heap_can_be_looked_at() -> None:
    def ask() -> int:
        raise LookupError("gone")

    with opened(ask) as program:
        with pytest.raises(LookupError):
            program.call("total_bytes")
        with pytest.raises(GuestSpentError, match=r"the instance is spent: the program was stopped \(gone\)"):
            program.call("make", 16, 3, 0)
        assert program.heap is not None
        assert program.heap.stats().mallocs == 1
