"""Functions of the user's own behind imports: what they get, what they may return, and what they raise."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hosts.programs import WASI, command, module_bytes, say
from tinyheap import Program, hosts
from tinyheap.errors import GuestError, GuestPhaseError, GuestTrapError, HostError
from tinyheap.guests.cache import Cache
from tinyheap.hosts import Caller, HostSession
from tinyheap.recordings.recording import Recording

KINDS = "i32 i64 f32 f64"
TAKING = module_bytes(
    f"""(import "env" "take" (func $take (param {KINDS}))) (memory (export "memory") 1)
    (func (export "give") (param {KINDS})
      (call $take (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"""
)
ASKING = module_bytes(
    """(import "env" "ask" (func $ask (param i32) (result i32))) (memory (export "memory") 1)
    (data (i32.const 64) "hello")
    (func (export "ask") (param i32) (result i32) (call $ask (local.get 0)))
    (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
    (func (export "trap") unreachable)"""
)


def asking(function: Callable[..., object], wasm: bytes = ASKING) -> HostSession:
    return hosts.load(wasm, imports={"env": {"ask": function}})


def returning(kinds: str) -> bytes:
    """A program whose export ``get`` returns what its host does."""
    return module_bytes(
        f'(import "env" "ask" (func $ask (result {kinds}))) (func (export "get") (result {kinds}) (call $ask))'
    )


# ---- what they get ----------------------------------------------------------------------------------------------------


def test_numbers_of_all_kinds_arrive() -> None:
    seen: list[tuple[float, ...]] = []
    session = hosts.load(TAKING, imports={"env": {"take": lambda *numbers: seen.append(numbers)}})
    session.call("give", -1, 1 << 63, 1.5, -0.25)
    session.call("give", (1 << 32) - 1, 5, math.inf, 1e300)
    assert seen == [(-1, -(1 << 63), 1.5, -0.25), (-1, 5, math.inf, 1e300)]


def test_a_first_parameter_named_caller_sees_memory_and_exports_and_calls() -> None:
    def ask(caller: Caller, number: int) -> float | None:
        assert caller.memory.read(64, 5) == b"hello"
        assert caller.exports == {"ask", "double", "trap"}
        caller.memory.write_u32(0, number)
        return caller.call("double", number)

    session = asking(ask)
    assert session.call("ask", 21) == 42
    assert session.memory.read_u32(0) == 21


@pytest.mark.parametrize("way", ["method", "object", "defaults", "builtin"])
def test_whatever_can_be_called_serves(way: str) -> None:
    class Host:
        def ask(self, number: int) -> int:
            return number + 1

        def __call__(self, caller: Caller, number: int) -> int:
            return number + len(caller.exports)

    def defaults(number: int, step: int = 3) -> int:
        return number + step

    ways: dict[str, tuple[Callable[..., object], int]] = {
        "method": (Host().ask, 6),
        "object": (Host(), 8),
        "defaults": (defaults, 8),
        "builtin": (abs, 5),
    }
    function, expected = ways[way]
    assert asking(function).call("ask", 5) == expected


def test_a_users_function_comes_before_a_hosts() -> None:
    wasm = command(say(64, "(i32.const 6)"), head='(data (i32.const 64) "hello\\n")')
    seen: list[int] = []

    def fd_write(stream: int, _vectors: int, _count: int, _written: int) -> int:
        seen.append(stream)
        return 0

    assert hosts.load(wasm, imports={WASI: {"fd_write": fd_write}}).run() == 0
    assert seen == [1]


def test_a_start_function_calls_before_there_is_a_memory_to_be_seen() -> None:
    wasm = module_bytes('(import "env" "ask" (func $ask)) (memory (export "memory") 1) (start $ask)')
    with pytest.raises(HostError, match="no exported memory"):
        asking(lambda caller: caller.memory and None, wasm)


def test_functions_that_nobody_imports_are_left_out() -> None:
    assert hosts.load(returning("i32"), imports={"env": {"ask": lambda: 1, "other": print}, "x": {}}).call("get") == 1


# ---- what they return -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "result", "expected"),
    [
        ("i32", True, 1),
        ("i32", (1 << 32) - 1, -1),
        ("i64", (1 << 64) - 1, -1),
        ("f32", 7, 7.0),
        ("f64", math.inf, math.inf),
    ],
)
def test_numbers_of_all_kinds_come_back(kinds: str, result: object, expected: float) -> None:
    assert asking(lambda: result, returning(kinds)).call("get") == expected


def test_several_results_come_back() -> None:
    wasm = module_bytes(
        """(import "env" "ask" (func $ask (result i32 f64)))
        (func (export "get") (result f64) (local f64) (call $ask) (local.set 0) (drop) (local.get 0))"""
    )
    for results in ((1, 2.5), [1, 2.5]):
        assert asking(lambda results=results: results, wasm).call("get") == 2.5
    for wrong in (1, (1,), (1, 2, 3), (1, "x"), None):
        with pytest.raises(HostError, match=r"env\.ask: invalid result .*: expected i32, f64"):
            asking(lambda wrong=wrong: wrong, wasm).call("get")


@pytest.mark.parametrize(
    ("kinds", "wrong"),
    [
        ("i32", None),
        ("i32", "1"),
        ("i32", 1.5),
        ("i32", 1 << 32),
        ("i64", -(1 << 64)),
        ("f64", "x"),
        ("i32", (1,)),
        ("", 1),
    ],
)
def test_a_wrong_result_is_named_and_is_the_end(kinds: str, wrong: object) -> None:
    session = asking(lambda: wrong, returning(kinds))
    with pytest.raises(HostError, match=rf"env\.ask: invalid result .*: expected {kinds or 'None'}"):
        session.call("get")
    with pytest.raises(GuestPhaseError, match="was stopped"):
        session.call("get")


# ---- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imports", "words"),
    [
        (5, "invalid imports 5: expected functions by module and name"),
        ([("env", {})], "invalid imports"),
        ({"env": 5}, "invalid imports of 'env'"),
        ({5: {}}, "invalid imports of 5"),
        ({"env": {"ask": 5}}, r"invalid import env\.ask 5: expected a function"),
        ({"env": {5: print}}, "invalid import 5"),
        ({"env": {"ask": lambda: 1}}, r"env\.ask: .*invalid function <lambda>\(\): expected 1 parameter, and caller"),
        ({"env": {"ask": lambda caller: 1}}, r"invalid function <lambda>\(caller\)"),
        ({"env": {"ask": lambda a, b: 1}}, r"invalid function <lambda>\(a, b\)"),
        ({"env": {"ask": lambda a, *, key: 1}}, "invalid function"),
    ],
)
def test_imports_that_do_not_fit_are_refused_before_the_program_runs(imports: Any, words: str) -> None:  # noqa: ANN401
    for open_it in (hosts.load, Program.open):
        with pytest.raises(HostError, match=words):
            open_it(ASKING, imports=imports)


@pytest.mark.parametrize("kind", ["(memory 1)", "(global i32)", "(func (param externref))", "(func (result funcref))"])
def test_only_functions_of_numbers_are_offered(kind: str) -> None:
    wasm = module_bytes(f'(import "env" "ask" {kind})')
    with pytest.raises(HostError, match=r"env\.ask.*whose parameters and results are numbers"):
        asking(lambda *_: None, wasm)
    with pytest.raises(HostError, match=r"imports that no host here offers:\n  env\.ask"):
        hosts.load(wasm, stub_imports=True)


# ---- what they raise --------------------------------------------------------------------------------------------------


class OddError(Exception):
    """Nobody knows it."""


@pytest.mark.parametrize(
    "error", [OddError("odd"), KeyError("k"), SystemExit(3), KeyboardInterrupt(), OSError(5, "io")]
)
def test_what_a_function_raises_reaches_the_caller_as_it_is(error: BaseException) -> None:
    def ask(_number: int) -> int:
        raise error from ZeroDivisionError("cause")

    session = asking(ask)
    with pytest.raises(type(error)) as caught:
        session.call("ask", 1)
    assert caught.value is error
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(GuestPhaseError, match="the program was stopped"):
        session.call("double", 1)


def test_a_program_that_ended_inside_does_not_go_on() -> None:
    def ask(caller: Caller, _number: int) -> int:
        with pytest.raises(GuestTrapError):
            caller.call("trap")
        return 1

    with pytest.raises(GuestPhaseError, match="return: the instance is spent: the program trapped"):
        asking(ask).call("ask", 1)


def test_a_wrong_call_from_inside_harms_nothing() -> None:
    def ask(caller: Caller, number: int) -> int:
        for name in ("nothing", "double", "_start"):
            with pytest.raises(GuestError):
                caller.call(name)
        with pytest.raises(HostError, match="memory ends"):
            caller.memory.read(1 << 16, 1)
        return number

    session = asking(ask)
    assert [session.call("ask", number) for number in range(3)] == [0, 1, 2]


def test_calls_within_calls_come_to_an_end() -> None:
    session = asking(lambda caller, number: caller.call("ask", number + 1) if number < 32 else number)
    assert session.call("ask", 1) == 32
    with pytest.raises(HostError, match="call of 'ask': the program and its host called each other 32 deep"):
        session.call("ask", 0)


def test_a_function_does_not_keep_its_program() -> None:
    kept: list[Caller] = []

    def ask(caller: Caller, number: int) -> int:
        kept.append(caller)
        return number

    session = asking(ask)
    session.call("ask", 1)
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    with pytest.raises(HostError, match="the program is gone"):
        kept[0].call("double", 1)


# ---- stubs ------------------------------------------------------------------------------------------------------------

STUBBED = module_bytes(
    """(import "env" "a" (func $a (param i32) (result i64))) (import "env" "b.c" (func $b (result f32 f64 i32)))
    (import "env" "d" (func $d))
    (func (export "get") (result i32) (drop (call $a (i32.const 1))) (drop (call $a (i32.const 1)))
      (call $b) (drop) (drop) (drop) (call $d) (i64.eqz (call $a (i32.const 7))))"""
)


def test_stubs_answer_zero_and_count() -> None:
    with Program.open(STUBBED, stub_imports=True, cache=Cache(None)) as program:
        assert program.stub_calls == {"env.a": 0, "env.b.c": 0, "env.d": 0}
        assert program.call("get") == 1
        assert program.stub_calls == {"env.a": 3, "env.b.c": 1, "env.d": 1}


def test_single_imports_are_stubbed_whoever_offers_them() -> None:
    imports: Mapping[str, Any] = {"env": {"a": lambda number: number, "d": lambda: None}}
    with pytest.raises(
        HostError, match=r"no host here offers:\n  env\.b\.c: function \(\) -> \(f32, f64, i32\)\nOffer"
    ):
        hosts.load(STUBBED, imports=imports, stub_imports=["env.a"])
    session = hosts.load(STUBBED, imports=imports, stub_imports=["env.a", "*"])
    assert session.call("get") == 1
    assert session.stub_calls == {"env.a": 3, "env.b.c": 1}
    assert hosts.load(STUBBED, imports=imports, stub_imports=True).call("get") == 0


@pytest.mark.parametrize("stubs", [5, "env.a", b"env.a", [5], None])
def test_stubs_that_make_no_sense_are_refused(stubs: Any) -> None:  # noqa: ANN401
    with pytest.raises(HostError, match="invalid stub_imports"):
        hosts.load(STUBBED, stub_imports=stubs)


def test_a_stub_of_what_is_not_imported_is_refused() -> None:
    with pytest.raises(
        HostError, match=r"invalid import 'env\.x' to be stubbed: expected .* \(env\.a, env\.b\.c, env\.d\)"
    ):
        hosts.load(STUBBED, stub_imports=["env.x"])


# ---- with a recording -------------------------------------------------------------------------------------------------

ALLOCATING = module_bytes(
    """(import "env" "ask" (func $ask (param i32) (result i32))) (memory (export "memory") 1)
    (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
    (func $take (export "take") (param i32) (drop (call $runtime.alloc (local.get 0) (i32.const 0))))
    (func $handle (export "handle") (param i32) (result i32)
      (call $take (i32.const 24)) (call $ask (local.get 0)))"""
)


def test_a_recording_is_sound_whatever_functions_do(tmp_path: Path) -> None:
    def ask(caller: Caller, number: int) -> int:
        caller.call("take", 100 + number)
        if number == 2:
            raise OddError("two")
        return number

    file = tmp_path / "run.tinyheap"
    with (  # noqa: PT012 - closing is part of it
        pytest.raises(OddError),
        Program.open(ALLOCATING, imports={"env": {"ask": ask}}, recording=file, cache=Cache(None)) as program,
    ):
        for number in range(5):
            program.call("handle", number)
    with Recording.open(file) as recording:
        sizes = [size for (size,) in recording.sql("SELECT size_bytes FROM events ORDER BY id")]
        state, error = recording.sql("SELECT state, error FROM run").one()
    assert sizes == [24, 100, 24, 101, 24, 102]
    assert (state, error) == ("failed", "two")
