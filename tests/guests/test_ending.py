"""How a run ended is reported with evidence, whatever the trap: on real programs, and on small ones that do one thing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import guests_modules
from guests import collectors
from hosts.programs import command, module_bytes, say
from tinyheap import Policy, Program, cli
from tinyheap.cli.exits import ExitCode
from tinyheap.errors import (
    GuestExitError,
    GuestInterruptError,
    GuestPhaseError,
    GuestSpentError,
    GuestTimeoutError,
    GuestTrapError,
    HeapCorruptError,
    HostError,
    HostRaisedError,
    OutOfMemoryError,
    TinyheapError,
)
from tinyheap.guests.cache import Cache
from tinyheap.guests.ending import Ending, EndKind, ending_of
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import SystemStack
from tinyheap.recognize.identify import identify
from tinyheap.recognize.system_stack import frame_bytes, system_stack
from tinyheap.wasm import Module

COMMANDS = ("run", "profile", "live")


class Nowhere:
    """Takes what is written, and shows it to nobody."""

    def write(self, data: bytes) -> object:
        return len(data)


def ended(wasm: bytes, does: Callable[[Program], object], policy: Policy | None = None, gc: str = "default") -> Ending:
    """How a program ends that is started and then asked for something."""
    grants = Grants(stdout=Nowhere(), stderr=Nowhere())
    with Program.open(wasm, grants, policy, gc=gc, cache=Cache(None)) as program:
        try:
            program.start()
            does(program)
        except TinyheapError as error:
            return ending_of(error, program, program.exit_code or 0)
        return ending_of(None, program, program.exit_code or 0)


# ---- stack overflows --------------------------------------------------------------------------------------------------

RECURSION = "(*github.com/nikunjy/rules/parser.JsonQueryParser).SubListOfStrings"


def flag(items: int) -> bytes:
    """A request to evaluate a flag whose rule has a list of so many items."""
    listed = ", ".join(f'"user-{number}"' for number in range(items))
    rule = {"query": f"targetingKey in [{listed}]", "variation": "on"}
    variations = {"on": True, "off": False}
    return json.dumps(
        {
            "flagKey": "f",
            "flag": {"variations": variations, "defaultRule": {"variation": "off"}, "targeting": [rule]},
            "evalContext": {"targetingKey": "user-3"},
            "flagContext": {"defaultSdkValue": False, "evaluationContextEnrichment": {}},
        }
    ).encode()


def evaluated(program: Program, items: int) -> bytes:
    request = flag(items)
    address = int(program.call("malloc", len(request) + 1) or 0)
    program.memory.write(address, request + b"\0")
    result = int(program.call("evaluate", address, len(request)) or 0)
    program.call("free", address)
    return program.memory.read(result >> 32, result)


@pytest.mark.slow
def test_a_list_that_is_too_long_for_the_stack_is_told_from_the_allocator_that_trapped() -> None:
    wasm = guests_modules.read("gofeatureflag-1.1.0")
    assert ended(wasm, lambda program: evaluated(program, 154)) == Ending(EndKind.FINISHED)
    with Program.open(wasm) as program:
        program.start()
        assert b'"variationType":"on"' in evaluated(program, 154)
    ending = ended(wasm, lambda program: evaluated(program, 160))
    assert ending.kind is EndKind.STACK_OVERFLOW
    pointer, stack, recursion = ending.evidence[:3]
    assert re.fullmatch(r"its stack pointer is \d+ bytes below the start of its memory", pointer)
    assert stack == "its stack has 65,536 bytes, 0x0 to 0x10000"
    level = "a level takes 352 bytes of the stack, so that 186 at most fit"
    assert re.fullmatch(rf"{re.escape(RECURSION)} calls itself, at least 1\d levels deep; {level}", recursion)
    native = ended(wasm, lambda program: evaluated(program, 160), gc="native")
    assert native.kind is EndKind.STACK_OVERFLOW
    assert native.evidence == (
        "in a recursion it wrote 4 bytes below the start of its memory, where its stack ends",
        f"{RECURSION} calls itself, at least 14 levels deep",
    )


HOST = """
import json
REQUEST = {request!r}
def drive(program):
    address = program.call("malloc", len(REQUEST) + 1)
    program.memory.write(address, REQUEST + b"\\0")
    program.call("evaluate", address, len(REQUEST))
"""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_commands_sum_it_up(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = str(guests_modules.path("gofeatureflag-1.1.0"))
    for items, code in ((154, 0), (160, ExitCode.TRAPPED)):
        Path("host.py").write_text(HOST.format(request=flag(items)))
        words = [command, module, "--host", "host.py", "--json", "end.json", *([] if command == "run" else ["--force"])]
        said = CliRunner().invoke(cli.main, [*words, *(["-o", "x.tinyheap"] if command == "profile" else [])])
        assert said.exit_code == code, said.stderr
        report = json.loads(Path("end.json").read_text())
        assert report["ended"]["kind"] == ("stack overflow" if code else "finished")
        assert ("ended by: stack overflow\n  its stack pointer is " in said.stderr) is bool(code)
        assert (f"\ndeepest recursion: {RECURSION} " in said.stderr) is (command == "profile")
        assert any(RECURSION in phrase for phrase in report["ended"]["evidence"]) is bool(code)


@pytest.mark.slow
def test_a_recorded_run_knows_how_deep_it_was(tmp_path: Path) -> None:
    with Program.open(guests_modules.read("gofeatureflag-1.1.0"), recording=tmp_path / "run.tinyheap") as program:
        program.start()
        evaluated(program, 154)
        with pytest.raises(GuestTrapError) as caught:
            evaluated(program, 160)
        assert program.recorder is not None
        callers = program.recorder.callers()
        ending = ending_of(caught.value, program)
        # A panic that panics as it prints fills all frames that wasmtime tells of.
        caught.value.frames = ("runtime.printstring", "runtime.runtimePanicAt") * 10
        buried = ending_of(caught.value, program)
    assert callers.count(RECURSION) == 160
    assert callers[-1] == "evaluate"
    recursion = f"{RECURSION} calls itself, 160 levels deep; a level takes 352 bytes of the stack, all of them 56,320"
    assert recursion in ending.evidence
    assert recursion in buried.evidence
    assert program.recorder.callers() == ()


@pytest.mark.slow
def test_an_instance_is_spent_after_a_trap() -> None:
    with Program.open(guests_modules.read("gofeatureflag-1.1.0")) as program:
        program.start()
        with pytest.raises(
            GuestTrapError, match=r"the program's stack overflowed \(its stack pointer is \d+ bytes below"
        ):
            evaluated(program, 160)
        for ask in (lambda: program.call("malloc", 4), lambda: evaluated(program, 1)):
            with pytest.raises(
                GuestSpentError, match="the instance is spent: the program's stack overflowed"
            ) as caught:
                ask()
            assert isinstance(caught.value, GuestPhaseError)


def faulty(*, stack_first: bool = True) -> bytes:
    build = collectors.Build("2", link_time=False, precise=False, tasks=False, explicit=False)
    return collectors.compiled(build, "faults.c", stack_first=stack_first)


@pytest.mark.parametrize("gc", ["default", "leaking", "native"])
def test_a_recursion_in_a_served_heap_is_named_with_its_size(gc: str) -> None:
    ending = ended(faulty(), lambda program: program.call("recurse", 1000), gc=gc)
    assert ending.kind is EndKind.STACK_OVERFLOW
    text = "\n".join(ending.evidence)
    assert "recurse calls itself, at least" in text
    if gc != "native":
        assert "a level takes 1,024 bytes of the stack, so that 64 at most fit" in text
        assert "below the start of its memory\nits stack has at most 65,536 bytes, 0x0 to 0x10000" in text


def test_a_heap_that_is_sound_is_said_to_be() -> None:
    def deep(program: Program) -> None:
        program.call("make", 64, 3, 0)
        program.call("recurse", 1000)

    ending = ended(faulty(), deep)
    assert (ending.kind, ending.evidence[-1]) == (EndKind.STACK_OVERFLOW, "its heap is sound: 1 object")


def test_calls_within_calls_are_an_overflow_of_the_machines_stack() -> None:
    ending = ended(faulty(), lambda program: program.call("descend", 10**9))
    assert ending.kind is EndKind.STACK_OVERFLOW
    assert ending.evidence[0] == "calls within calls took all of the machine's stack that WebAssembly may have"
    assert "descend calls itself" in "\n".join(ending.evidence)


def test_a_panic_that_panics_as_it_prints_is_no_recursion_of_the_programs() -> None:
    circle = ("runtime.printstring", "runtime.runtimePanicAt (panic.go:103)", "runtime.lookupPanic", "runtime.putchar")
    canary = "the canary at the end of its goroutine's stack, 65,536 bytes from 0x10660, was overwritten"
    ending = ending_of(GuestTrapError("trapped", 134, circle * 4, "stack overflow", canary))
    unseen = "which calls took it cannot be seen from where it ended: `tinyheap profile` names the deepest recursion"
    assert ending == Ending(EndKind.STACK_OVERFLOW, (canary, unseen))
    ending = ending_of(GuestTrapError("trapped", 134, (*circle, "main.walk", "main.walk", "main.walk"), "x", canary))
    assert ending.evidence == (canary, "main.walk calls itself, at least 3 levels deep")


def test_a_heap_that_a_stack_ran_over_is_blamed_on_the_stack() -> None:
    ending = ended(faulty(stack_first=False), lambda program: program.call("recurse", 65), Policy(verify=True))
    assert ending.kind is EndKind.STACK_OVERFLOW


# ---- panics -----------------------------------------------------------------------------------------------------------


def panicking(text: str, ends: str = "unreachable", stream: int = 1) -> bytes:
    data = text.replace("\n", "\\n")
    return command(say(64, f"(i32.const {len(text)})", stream) + ends, head=f'(data (i32.const 64) "{data}")')


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("panic: runtime error: nil pointer dereference\n", EndKind.NIL_DEREFERENCE),
        ("hello\npanic: runtime error at 0x1234: nil pointer dereference\n", EndKind.NIL_DEREFERENCE),
        ("panic: runtime error: index out of range\n", EndKind.INDEX_OUT_OF_RANGE),
        ("panic: runtime error: index out of range [5] with length 3\n", EndKind.INDEX_OUT_OF_RANGE),
        ("panic: runtime error: slice out of range\n", EndKind.INDEX_OUT_OF_RANGE),
        ("panic: runtime error at 0x0: out of memory\n", EndKind.OUT_OF_MEMORY),
        ("panic: goroutine stack overflow\n", EndKind.STACK_OVERFLOW),
        ("fatal error: all goroutines are asleep\n", EndKind.PANIC),
        ("panic: no such user: 7\n", EndKind.PANIC),
    ],
)
@pytest.mark.parametrize(
    ("ends", "stream"), [("unreachable", 1), ("unreachable", 2), ("(call $proc_exit (i32.const 2))", 2)]
)
def test_a_panic_is_known_by_what_it_prints(text: str, kind: EndKind, ends: str, stream: int) -> None:
    for gc in ("default", "native"):
        ending = ended(panicking(text, ends, stream), lambda _: None, gc=gc)
        assert ending.kind is kind
        assert ending.evidence[0].startswith("it printed: panic: ")
        assert text.rstrip("\n").rpartition(": ")[2].split(" [")[0] in ending.evidence[0]


def test_words_about_a_panic_are_none() -> None:
    assert ended(panicking("we don't panic: never\n"), lambda _: None).kind is EndKind.UNREACHABLE
    assert ended(panicking("panic: x\n", "nop"), lambda _: None).kind is EndKind.FINISHED
    assert ended(panicking("panic: x\n", "(drop (i32.load (i32.const -1)))"), lambda _: None).kind is EndKind.TRAPPED


def silent(*names: str) -> bytes:
    """A program whose functions of these names call each other, and the innermost is unreachable."""
    calls = [*(f"(func ${name} call {number})" for number, name in enumerate(names[1:], 0)), ""]
    inner = f"(func ${names[0]} unreachable)"
    outer = " ".join(calls)
    return module_bytes(f'{inner} {outer} (memory (export "memory") 1) (func (export "_start") call {len(names) - 1})')


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("runtime.nilPanic", "main.f"), EndKind.NIL_DEREFERENCE),
        (("runtime.abort", "runtime.runtimePanicAt", "runtime.nilPanic", "main.f"), EndKind.NIL_DEREFERENCE),
        (("runtime.lookupPanic", "main.f"), EndKind.INDEX_OUT_OF_RANGE),
        (("runtime.slicePanic", "main.f"), EndKind.INDEX_OUT_OF_RANGE),
        (("runtime._panic", "main.f"), EndKind.PANIC),
        (("runtime.abort", "runtime.runtimePanicAt", "runtime.alloc", "main.f"), EndKind.OUT_OF_MEMORY),
        (("main.f", "main.g"), EndKind.UNREACHABLE),
    ],
)
def test_a_panic_that_prints_nothing_is_known_by_its_function(names: tuple[str, ...], kind: EndKind) -> None:
    ending = ended(silent(*names), lambda _: None)
    assert ending.kind is kind
    assert " < ".join(names) in "\n".join(ending.evidence)


# ---- everything else --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("functions", "body", "limit_bytes", "is_fragmentation"),
    [(3000, "", 400 << 10, False), (3000, " g( x,1 ) ", 400 << 10, False), (300, " g( x,1 ) ", 512 << 10, True)],
)
@pytest.mark.slow
def test_memory_that_is_out_is_told_in_numbers(
    functions: int, body: str, limit_bytes: int, is_fragmentation: bool
) -> None:
    def format_it(program: Program) -> None:
        lines = (f"func f{at}( x int) {{{body}}}\n" for at in range(functions))
        program.driver().format("package a\n" + "".join(lines))

    ending = ended(guests_modules.read("gofmt-0.4.9"), format_it, Policy(heap_limit_bytes=limit_bytes))
    assert ending.kind is EndKind.OUT_OF_MEMORY
    asked, free, largest, growth = ending.evidence
    assert asked.startswith("asked for: ")
    assert " by " in asked
    assert free.endswith(" bytes of a heap of 393,216") or " bytes of a heap of " in free
    assert largest.startswith("largest free run: ")
    assert ("not in one piece: fragmentation" in largest) is is_fragmentation
    assert growth.startswith(f"growth: it has reached its limit of {limit_bytes} bytes")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HeapCorruptError("x"), EndKind.HEAP_OVERWRITTEN),
        (OutOfMemoryError("x"), EndKind.OUT_OF_MEMORY),
        (GuestTimeoutError("x"), EndKind.TIMED_OUT),
        (GuestInterruptError("x"), EndKind.INTERRUPTED),
        (KeyboardInterrupt("x"), EndKind.INTERRUPTED),
        (GuestExitError("x", 3), EndKind.EXITED),
        (HostRaisedError("x"), EndKind.HOST_RAISED),
        (HostError("x"), EndKind.FAILED),
    ],
)
def test_what_was_raised_here_is_said_as_it_is(error: BaseException, kind: EndKind) -> None:
    assert ending_of(error) == Ending(kind, ("x",))


def test_an_end_of_its_own_is_no_bad_one() -> None:
    assert ending_of(None) == Ending(EndKind.FINISHED)
    ending = ended(command("(call $proc_exit (i32.const 7))"), lambda _: None)
    assert ending == Ending(EndKind.EXITED, ("exit code 7",))
    assert not ending.is_bad


@pytest.mark.slow
def test_an_allocator_of_the_modules_own_that_has_no_memory_is_told_with_what_there_was() -> None:
    wasm = guests_modules.read("gofmt-0.4.9")
    text = "package a\n" + "".join(f"func f{number}( x int) {{}}\n" for number in range(20000))
    grants = Grants(stdout=Nowhere(), stderr=Nowhere(), memory_limit_bytes=1 << 20)
    with Program.open(wasm, grants, gc="native", cache=Cache(None)) as program:
        program.start()
        with pytest.raises(GuestTrapError) as caught:
            program.driver().format(text)
        ending = ending_of(caught.value, program)
    assert ending.kind is EndKind.OUT_OF_MEMORY
    assert re.fullmatch(r"its memory has [\d,]+ bytes, with a memory limit of 1,048,576", ending.evidence[-1])


def test_an_end_is_told_also_when_the_program_is_closed() -> None:
    with Program.open(faulty(), cache=Cache(None)) as program:
        program.start()
        with pytest.raises(GuestTrapError) as caught:
            program.call("recurse", 1000)
    assert ending_of(caught.value, program).kind is EndKind.STACK_OVERFLOW


# ---- the stack of any module ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["gofmt-0.4.9", "gofmt-0.7.3", "sh-syntax-0.6.0", "sh-syntax-0.4.0", "gofeatureflag-1.1.0"]
)
def test_the_stack_of_a_real_program_comes_first_in_its_memory(name: str) -> None:
    guest = identify(Module.parse(guests_modules.read(name)))
    assert guest.stack is not None
    assert (guest.stack.low_address, guest.stack.is_first) == (0, True)
    assert guest.stack.top_address % 16 == 0
    if guest.heap is not None:
        assert guest.stack.pointer_global == guest.heap.roots.stack_pointer_global
        assert guest.stack.top_address == guest.heap.roots.stack_top_address


def test_a_stack_behind_the_variables_ends_where_they_do() -> None:
    stack = system_stack(Module.parse(faulty(stack_first=False)))
    assert stack is not None
    assert (stack.low_address, stack.is_first) == (0, False)
    text = """(memory 2) (data (i32.const 1024) "some data") (global (mut i32) (i32.const 65536))
      (func (global.set 0 (i32.sub (global.get 0) (i32.const 16))))"""
    stack = system_stack(Module.parse(module_bytes(text)))
    assert stack == SystemStack(0, 65536, 1033, is_first=False)
    assert stack.overflow(1033, 1 << 20) is None
    assert stack.overflow(1017, 1 << 20) == "its stack pointer is 16 bytes below the low end of its stack, 0x409"
    assert str(stack) == "its stack has at most 64,503 bytes, 0x409 to 0x10000"


def test_a_frame_is_what_a_function_takes_at_its_entry() -> None:
    module = Module.parse(faulty())
    stack = system_stack(module)
    assert stack is not None
    assert frame_bytes(module, stack, module.function_indices["recurse"]) == 1024
    assert frame_bytes(module, stack, module.function_indices["total_bytes"]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(global (mut i32) (i32.const 65536))",
        "(global i32 (i32.const 65536)) (func (drop (i32.sub (global.get 0) (i32.const 16))))",
        "(global (mut i64) (i64.const 65536)) (func (drop (i64.sub (global.get 0) (i64.const 16))))",
        "(global (mut i32) (i32.const 0)) (func (drop (i32.sub (global.get 0) (i32.const 16))))",
    ],
)
def test_what_is_no_stack_is_none(text: str) -> None:
    assert system_stack(Module.parse(module_bytes(text))) is None


@pytest.mark.parametrize("pointer", [0, 16, 65536, 1 << 20])
def test_a_sound_stack_pointer_is_no_evidence(pointer: int) -> None:
    stack = SystemStack(0, 65536, 0, is_first=True)
    assert stack.overflow(pointer, 2 << 20) is None
    assert stack.overflow((1 << 32) - 16, 1 << 32) is None
    assert stack.overflow(-16, 2 << 20) == stack.overflow((1 << 32) - 16, 2 << 20)
