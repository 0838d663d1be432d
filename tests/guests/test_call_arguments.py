"""Arguments and results of the host's calls are kept where that is asked for, with their types, and else nowhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from wasmtime import Engine, Linker, Module, Store

from hosts.programs import module_bytes
from tinyheap.errors import GuestTrapError
from tinyheap.guests.attached.attachment import attach
from tinyheap.guests.cache import Cache
from tinyheap.guests.program import Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.recordings.recording import Recording

MODULE = """(memory (export "memory") 1)
  (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
  (func (export "mix") (param i32 i64 f32 f64) (result f64)
    i32.const 24 i32.const 0 call $runtime.alloc drop local.get 3)
  (func (export "none"))
  (func (export "wide") (result i64) i64.const -2)
  (func (export "fails") (param i32) (result i32) unreachable)"""
COLUMNS = "SELECT call_number, position, type, integer, real FROM call_arguments ORDER BY call_number, position"


def arguments_in(path: Path) -> list[Any]:
    with Recording.open(path) as recording:
        return recording.sql(COLUMNS).fetch()


@pytest.mark.parametrize("keeps", [True, False])
def test_values_are_kept_with_their_types_on_request_only(tmp_path: Path, keeps: bool) -> None:
    path = tmp_path / "a.tinyheap"
    recorder = Recorder.to_file(path, call_arguments=keeps)
    with Program.open(module_bytes(MODULE), recording=recorder) as program:
        program.call("mix", -1, 1 << 40, 0.5, math.pi)
        program.call("mix", 0xFFFF_FFFF, -(1 << 63), -1.5, 2.0)
        program.call("none")
        program.call("wide")
        with pytest.raises(GuestTrapError):
            program.call("fails", 7)
    expected = [
        (1, 0, "f64", None, math.pi),
        (1, 1, "i32", -1, None),
        (1, 2, "i64", 1 << 40, None),
        (1, 3, "f32", None, 0.5),
        (1, 4, "f64", None, math.pi),
        (2, 0, "f64", None, 2.0),
        (2, 1, "i32", -1, None),
        (2, 2, "i64", -(1 << 63), None),
        (2, 3, "f32", None, -1.5),
        (2, 4, "f64", None, 2.0),
        (4, 0, "i64", -2, None),
        (5, 1, "i32", 7, None),
    ]
    assert arguments_in(path) == (expected if keeps else [])


def test_a_python_programs_calls_have_theirs(tmp_path: Path) -> None:
    engine = Engine()
    with attach(tmp_path / "run.tinyheap", cache=Cache(None), call_arguments=True):
        store = Store(engine)
        exports = Linker(engine).instantiate(store, Module(engine, module_bytes(MODULE))).exports(store)
        exports["mix"](store, 1, 2, 3.0, 4.0)  # type: ignore[operator]
        with pytest.raises(TypeError):
            exports["mix"](store, "one", 2, 3.0, 4.0)  # type: ignore[operator]
    found = arguments_in(tmp_path / "run-1.tinyheap")
    assert found[:5] == [
        (1, 0, "f64", None, 4.0),
        (1, 1, "i32", 1, None),
        (1, 2, "i64", 2, None),
        (1, 3, "f32", None, 3.0),
        (1, 4, "f64", None, 4.0),
    ]
    # The one that was no number was never given to the program.
    assert found[5:7] == [(2, 1, "i32", None, None), (2, 2, "i64", 2, None)]
