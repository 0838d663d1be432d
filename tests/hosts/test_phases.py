"""The phases of a program: which calls are allowed in each, from inside it and from other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import wasmtime

from hosts.programs import WASI, command, module_bytes, say
from ids import without_address
from tinyheap import hosts
from tinyheap.errors import GuestError, GuestExitError, GuestPhaseError, GuestTrapError, HostError
from tinyheap.hosts import Grants, HostSession
from tinyheap.hosts.phases import Life, Phase

ADD = '(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))'
TRAP = '(func (export "trap") unreachable)'
LEAVE = f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'
WISHES: dict[str, Callable[[HostSession], object]] = {
    "start": lambda session: session.start(),
    "run": lambda session: session.run(),
    "call": lambda session: session.call("add", 2, 3),
    "run_timers": lambda session: session.run_timers(),
}


def program(entry: str = "_start", body: str = "") -> HostSession:
    text = f'{LEAVE} (memory (export "memory") 1) {ADD} {TRAP} (global (export "g") i32 (i32.const 7))'
    text += '(func (export "leave") (call $exit (i32.const 4)))'
    return hosts.load(module_bytes(text + (f'(func (export "{entry}") {body})' if entry else "")))


def trapped() -> HostSession:
    session = program("")
    with pytest.raises(GuestTrapError):
        session.call("trap")
    return session


def exited() -> HostSession:
    session = program("")
    with pytest.raises(GuestExitError):
        session.call("leave")
    return session


def interrupted() -> HostSession:
    session = program("")
    session.interrupt()
    with pytest.raises(GuestError, match="interrupted"):
        session.call("add", 2, 3)
    return session


def after(act: Callable[[HostSession], object], entry: str = "_start", body: str = "") -> HostSession:
    session = program(entry, body)
    act(session)
    return session


def offered() -> HostSession:
    engine = hosts.new_engine()
    module = hosts.compile_module(engine, module_bytes(ADD))
    return hosts.offer(wasmtime.Store(engine), wasmtime.Linker(engine), module, Grants())


PHASES: dict[str, tuple[Callable[[], HostSession], Phase, str, set[str]]] = {
    "offered": (offered, Phase.OFFERED, "has no instance yet", set()),
    "loaded": (program, Phase.LOADED, "has not been started", {"start", "run"}),
    "loaded reactor": (lambda: program("_initialize"), Phase.LOADED, "has not been started", {"start", "run"}),
    "ready": (lambda: program(""), Phase.READY, "", set(WISHES)),
    "started": (lambda: after(HostSession.start), Phase.STARTED, "has been started", {"call", "run_timers"}),
    "ran": (lambda: after(HostSession.run), Phase.STARTED, "has been started", {"call", "run_timers"}),
    "started, nothing to start": (
        lambda: after(HostSession.start, ""),
        Phase.STARTED,
        "started",
        {"call", "run_timers"},
    ),
    "left main with 0": (
        lambda: after(HostSession.start, body="(call $exit (i32.const 0))"),
        Phase.STARTED,
        "has been started",
        {"call", "run_timers"},
    ),
    "left main with 3": (
        lambda: after(HostSession.run, body="(call $exit (i32.const 3))"),
        Phase.ENDED,
        "ended with exit code 3; open it again",
        {"run_timers"},
    ),
    "trapped": (trapped, Phase.ENDED, r"trapped \(unreachable.*\) in function \d+; open it again", set()),
    "exited": (exited, Phase.ENDED, "ended with exit code 4; open it again", {"run_timers"}),
    "interrupted": (interrupted, Phase.ENDED, "was interrupted; open it again", set()),
    "closed": (lambda: after(HostSession.close), Phase.CLOSED, "was closed; open it again", set()),
}


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize("wish", WISHES)
def test_each_phase_allows_what_makes_sense_and_refuses_the_rest(name: str, wish: str) -> None:
    make, phase, why, allowed = PHASES[name]
    session = make()
    assert session.phase is phase
    if wish in allowed:
        WISHES[wish](session)
    else:
        with pytest.raises(GuestPhaseError, match=f"{wish}.*: the program .*{why}") as caught:
            WISHES[wish](session)
        assert caught.value.phase == phase == session.phase


@pytest.mark.parametrize("name", PHASES)
def test_whatever_the_phase_a_program_can_be_closed_again_and_again(name: str) -> None:
    session = PHASES[name][0]()
    with session:
        pass
    session.close()
    assert session.phase is Phase.CLOSED
    looks: tuple[Callable[[], object], ...] = (
        lambda: session.memory.read(0, 1),
        lambda: session.memory.write(0, b"x"),
        lambda: session.read_global("g"),
        lambda: session.arguments_from_text("add", ["1", "2"]),
        lambda: session.call_script("f"),
    )
    for look in looks:
        with pytest.raises((GuestError, HostError)):
            look()
    session.interrupt()


@pytest.mark.parametrize("entry", ["_start", "_initialize"])
def test_an_entry_is_no_function_to_be_called(entry: str) -> None:
    session = after(HostSession.start, entry)
    with pytest.raises(GuestPhaseError, match=r"use start\(\) or run\(\), once"):
        session.call(entry)


def test_a_program_has_one_instance() -> None:
    session = program()
    instance = wasmtime.Instance(session.store, wasmtime.Module(session.store.engine, "(module)"), [])
    with pytest.raises(GuestPhaseError, match="has an instance already"):
        session.attach(instance)


def test_a_start_that_traps_is_its_end() -> None:
    session = program(body="unreachable")
    with pytest.raises(GuestTrapError):
        session.run()
    with pytest.raises(GuestPhaseError, match="start: the instance is spent: the program trapped"):
        session.start()


# ---- from inside ------------------------------------------------------------------------------------------------------


def calling_back(callback: Callable[[HostSession], object]) -> HostSession:
    """A program whose export ``ask`` calls its host, which calls `callback`."""
    text = (
        f'(import "env" "ask" (func $ask)) (memory (export "memory") 1) {ADD} {TRAP} (func (export "ask") (call $ask))'
    )
    engine = hosts.new_engine()
    module, linker = hosts.compile_module(engine, module_bytes(text)), wasmtime.Linker(engine)
    sessions: list[HostSession] = []
    linker.define_func("env", "ask", wasmtime.FuncType([], []), lambda: callback(sessions[0]) and None)
    session = hosts.offer(wasmtime.Store(engine), linker, module, Grants())
    sessions.append(session)
    session.instantiate(module)
    return session


def test_a_host_function_may_call_the_program() -> None:
    seen: list[object] = []
    session = calling_back(lambda session: seen.append(session.call("add", 2, 3)))
    session.call("ask")
    assert seen == [5]


def test_a_host_function_cannot_close_the_program() -> None:
    session = calling_back(lambda session: session.close())
    with pytest.raises(GuestPhaseError, match="close: the program is running; do that when it has returned"):
        session.call("ask")
    assert session.phase is Phase.ENDED
    session.close()


def test_a_program_that_ended_inside_does_not_go_on() -> None:
    def swallow(session: HostSession) -> None:
        with pytest.raises(GuestTrapError):
            session.call("trap")

    session = calling_back(swallow)
    with pytest.raises(GuestPhaseError, match="return: the instance is spent: the program trapped"):
        session.call("ask")


def test_an_error_of_the_host_is_the_end() -> None:
    def fail(session: HostSession) -> None:
        raise ZeroDivisionError("oops")

    session = calling_back(fail)
    with pytest.raises(ZeroDivisionError):
        session.call("ask")
    with pytest.raises(GuestPhaseError, match=r"was stopped \(oops\); open it again"):
        session.call("add", 1, 2)


def test_an_output_can_neither_call_nor_close_the_program() -> None:
    class Meddler:
        def __init__(self) -> None:
            self.refusals: list[str] = []

        def write(self, data: bytes, /) -> object:
            for wish in (WISHES["call"], HostSession.close, HostSession.start):
                try:
                    wish(session)
                except GuestPhaseError as error:
                    self.refusals.append(str(error))
            return len(data)

    meddler = Meddler()
    body = say(64, "(i32.const 2)")
    session = hosts.load(command(body, head=f'{ADD} (data (i32.const 64) "hi")'), Grants(stdout=meddler))
    assert session.run() == 0
    # wasmtime may write on a thread of its own.
    assert len(meddler.refusals) == 3
    assert session.call("add", 1, 2) == 3


def test_another_thread_waits_for_nothing_and_breaks_nothing() -> None:
    inside, done = threading.Event(), threading.Event()

    def wait(_: HostSession) -> None:
        inside.set()
        done.wait(20)

    session = calling_back(wait)
    runner = threading.Thread(target=session.call, args=("ask",))
    runner.start()
    assert inside.wait(20)
    try:
        for wish in (WISHES["call"], HostSession.start, HostSession.close):
            with pytest.raises(GuestPhaseError, match="another thread uses the program"):
                wish(session)
    finally:
        done.set()
        runner.join()
    assert session.call("add", 1, 2) == 3


# ---- arguments --------------------------------------------------------------------------------------------------------

KINDS = ("i32", "i64", "f32", "f64")
ANY = " ".join(f'(func (export "{kind}") (param {kind}) (result {kind}) (local.get 0))' for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value", ["5", b"5", None, [], 1 << 64, -(1 << 63) - 1, 10**400, 1j, object()], ids=without_address
)
def test_an_argument_that_does_not_fit_is_named(kind: str, value: object) -> None:
    with hosts.load(module_bytes(ANY)) as session:
        if kind[0] == "f" and isinstance(value, int) and abs(value) < 10**300:
            assert session.call(kind, value) == float(value)
            return
        with pytest.raises(GuestError, match=rf"{kind} takes \({kind}\), not \("):
            session.call(kind, value)  # type: ignore[arg-type]
        # Nothing was called, so nothing ended.
        assert session.call("i32", True) == 1


def test_too_few_and_too_many_arguments_and_no_name() -> None:
    with hosts.load(module_bytes(ADD)) as session:
        lists: tuple[tuple[int, ...], ...] = ((), (1,), (1, 2, 3))
        for arguments in lists:
            with pytest.raises(GuestError, match="add takes"):
                session.call("add", *arguments)
        names: tuple[object, ...] = ("", "sub", 5, None, [])
        for name in names:
            with pytest.raises(GuestError, match=r"invalid function .*: expected an exported one \(add"):
                session.call(name)  # type: ignore[arg-type]


def test_numbers_of_every_kind_of_python_are_taken() -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    with hosts.load(module_bytes(ANY)) as session:
        assert session.call("i32", Five()) == 5  # type: ignore[arg-type]
        assert session.call("i32", 2**32 - 1) == -1
        assert session.call("f64", float("inf")) == float("inf")
        assert session.call("f64", float("nan")) != session.call("f64", float("nan"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arguments", "text"),
        ("arguments", ("a\0",)),
        ("arguments", (b"a",)),
        ("environment", {"A=": "x"}),
        ("environment", {"": "x"}),
        ("environment", {"A": 5}),
        ("environment", [("A", "x")]),
        ("stdin", "text"),
        ("stdout", None),
        ("stderr", 5),
        ("folders", ("/tmp",)),
        ("seed", 1.5),
        ("seed", "1"),
        ("timeout_s", float("nan")),
        ("timeout_s", float("inf")),
        ("timeout_s", 1e300),
        ("timeout_s", 0),
        ("timeout_s", -1),
        ("timeout_s", True),
        ("timeout_s", "1"),
        ("interruptible", 1),
        ("memory_limit_bytes", 0),
        ("memory_limit_bytes", 1.5),
        ("memory_limit_bytes", True),
        ("script_limit_bytes", None),
        ("script_limit_bytes", -5),
    ],
)
def test_grants_of_wrong_types_and_ranges_are_refused(name: str, value: object) -> None:
    with pytest.raises(HostError, match=f"invalid {name} .*: expected "):
        Grants(**{name: value})  # type: ignore[arg-type]


def test_limits_beyond_all_memory_are_no_limits() -> None:
    with hosts.load(module_bytes(ADD), Grants(memory_limit_bytes=(1 << 63) - 1, timeout_s=1e9)) as session:
        assert session.call("add", 1, 2) == 3


def test_a_life_is_told_in_order() -> None:
    life = Life()
    life.load(has_entry=True)
    life.start("start")
    life.end("the program fell over")
    life.end("the program got up again")
    with pytest.raises(GuestPhaseError, match="call: the instance is spent: the program fell over; open it again"):
        life.check_callable("call")
