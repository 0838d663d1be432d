"""The shadow stack equals wasmtime's own backtraces, whatever a program does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.guests.rewrite.shadow_stack import CallGraph, SeparateStack, keep_shadow_stack
from tinyheap.guests.rewrite.sites import ENTRIES, ENTRY_BYTES, INDIRECT, Sites
from tinyheap.wasm import Editor, Module, instructions

STACK_BYTES = 512 << 10
"""Of native stack, which wasmtime gives a program where nobody asks for more."""
FRAME_BYTES = 16
"""That a call takes of it at least."""

Stack = tuple[tuple[int, int], ...]
"""Function and offset of each call, outermost first."""

TRACED = 19
"""Frames that wasmtime shows, without the function that traps to see them."""
BACKTRACE = '(module (func (export "trap") unreachable))'


@dataclass
class Run:
    """A program whose import ``env.target`` says who calls, and whose import ``env.back`` calls its export ``entry``."""

    wasm: bytes
    sites: Sites | None = None
    """What its shadow stack is made of; None to ask wasmtime instead."""
    stacks: list[Stack] = field(default_factory=list)
    calls_back: int = 1
    store: wasmtime.Store = field(default_factory=wasmtime.Store)

    def __post_init__(self) -> None:
        module = wasmtime.Module(self.store.engine, self.wasm)
        backtrace = wasmtime.Instance(self.store, wasmtime.Module(self.store.engine, BACKTRACE), [])
        self.trapping = backtrace.exports(self.store)["trap"]
        imports = [self.host(wanted) for wanted in module.imports]
        self.exports: dict[str, Callable[..., object]] = {}
        self.memory: wasmtime.Memory | None = None
        self.depth: wasmtime.Global | None = None
        instance = wasmtime.Instance(self.store, module, imports)
        for name, item in instance.exports(self.store).items():
            if isinstance(item, wasmtime.Func):
                self.exports[name] = item
            elif isinstance(item, wasmtime.Memory):
                self.memory = item
            elif isinstance(item, wasmtime.Global):
                self.depth = item

    def host(self, wanted: wasmtime.ImportType) -> wasmtime.Func:
        assert isinstance(wanted.type, wasmtime.FuncType)
        return wasmtime.Func(self.store, wanted.type, {"target": self.note, "back": self.back}[wanted.name or ""])

    def note(self, *_: int) -> None:
        self.stacks.append(self.true_stack() if self.sites is None else self.shadow_stack(self.sites))

    def back(self, *_: int) -> None:
        for _call in range(self.calls_back):
            self.exports["entry"](self.store)

    def true_stack(self) -> Stack:
        assert isinstance(self.trapping, wasmtime.Func)
        with pytest.raises(wasmtime.Trap) as trapped:
            self.trapping(self.store)
        return tuple((frame.func_index, frame.module_offset) for frame in trapped.value.frames[:0:-1])

    def shadow_stack(self, sites: Sites) -> Stack:
        assert self.memory is not None, "the start function has nobody to ask yet"
        pointer = int.from_bytes(self.memory.read(self.store, 0, 4), "little")
        entries = self.memory.read(self.store, ENTRY_BYTES, ENTRY_BYTES + pointer)
        numbers = [int.from_bytes(entries[at : at + 4], "little") for at in range(0, pointer, ENTRY_BYTES)]
        assert not any(int.from_bytes(entries[at + 4 : at + 8], "little") for at in range(0, pointer, ENTRY_BYTES))
        return tuple((sites.functions[number - 1], sites.offsets[number - 1]) for number in numbers)

    def call(self, name: str, *arguments: int) -> None:
        """Call an export as a host does, which takes the stack to its beginning first."""
        if self.memory is not None:
            self.memory.write(self.store, bytearray(4), 0)
        self.exports[name](self.store, *arguments)


def shadowed(wasm: bytes, target: int = 0) -> tuple[bytes, Sites]:
    """A module with a shadow stack for who calls a function."""
    module = Module.parse(wasm)
    editor = Editor(module)
    stack = SeparateStack.added_to(editor)
    sites = keep_shadow_stack(editor, module, {target}, stack=stack)
    editor.export("shadow", "memory", stack.memory)
    return editor.encode(), sites


def both(text: str) -> tuple[Run, Run]:
    """A program as it is, and with a shadow stack."""
    wasm = bytes(wasmtime.wat2wasm(text))
    changed, sites = shadowed(wasm)
    return Run(wasm), Run(changed, sites)


def assert_same_stacks(text: str, *calls: tuple[str, *tuple[int, ...]], depth: int = 1, calls_back: int = 1) -> None:
    """Both say the same at each call of the target; at least one has so many calls."""
    runs = both(text)
    for run in runs:
        run.calls_back = calls_back
        for name, *arguments in calls:
            run.call(name, *arguments)
    true, shadow = runs
    assert_same(true, shadow)
    assert max(map(len, shadow.stacks)) >= depth


def assert_same(true: Run, shadow: Run) -> None:
    """Both say the same as far as wasmtime shows a stack, and further out direct calls lead from each to the next."""
    assert [stack[-TRACED:] for stack in shadow.stacks] == true.stacks
    module = Module.parse(true.wasm)
    for stack in shadow.stacks:
        for (caller, offset), (callee, _) in itertools.pairwise(stack[:-TRACED]):
            call = instructions.instruction_at(module.data, offset, module.body(caller).end)
            assert call.name in {"call", "call_indirect", "call_ref"}
            if call.name == "call" and call.immediates[0] >= module.imported_function_count:
                assert callee in with_tail_calls(module, call.immediates[0])


def with_tail_calls(module: Module, function: int) -> set[int]:
    """A function, and those that may stand in its place because it, or such a one, ended by calling them."""
    found, left = set[int](), [function]
    while left:
        index = left.pop()
        if index in found or index < module.imported_function_count:
            continue
        found.add(index)
        body = module.body(index)
        for _, instruction in instructions.walk(module.data, body.start, body.end):
            if instruction.name == "return_call":
                left.append(instruction.immediates[0])
            elif instruction.name == "return_call_indirect":
                # Whichever the table has: any function may be in it.
                left.extend(module.imported_function_count + index for index in range(len(module.defined_functions)))
    return found


IMPORT = '(import "env" "target" (func $target))'
BACK = '(import "env" "back" (func $back))'


def test_a_call_and_calls_within_calls() -> None:
    text = f"""(module {IMPORT}
      (func $inner call $target nop call $target)
      (func $leaf)
      (func (export "entry") call $inner call $leaf call $target call $inner))"""
    assert_same_stacks(text, ("entry",), ("entry",), depth=2)


def test_what_cannot_reach_the_target_is_left_alone() -> None:
    wasm = bytes(
        wasmtime.wat2wasm(f"""(module {IMPORT}
      (func $leaf (result i32) i32.const 1)
      (func (export "other") (result i32) call $leaf)
      (func (export "entry") call $target))""")
    )
    module, changed = Module.parse(wasm), Module.parse(shadowed(wasm)[0])
    assert [changed.body(index).encoding == module.body(index).encoding for index in (1, 2, 3)] == [True, True, False]


def test_recursion() -> None:
    text = f"""(module {IMPORT}
      (func $down (export "entry") (param i32)
        call $target
        local.get 0 if local.get 0 i32.const 1 i32.sub call $down call $target end))"""
    assert_same_stacks(text, ("entry", 50), depth=51)


def test_calls_through_tables_and_references() -> None:
    text = f"""(module {IMPORT}
      (type $one (func (param i32)))
      (table funcref (elem $a $b $leaf))
      (elem declare func $c)
      (func $a (param i32) call $target)
      (func $b (param i32) local.get 0 i32.const 0 call_indirect (type $one) call $target)
      (func $c (param i32) call $target)
      (func $leaf (param i32))
      (func (export "entry") (param i32)
        local.get 0 local.get 0 call_indirect (type $one)
        i32.const 7 ref.func $c call_ref $one
        local.get 0 i32.const 2 call_indirect (type $one) call $target))"""
    assert_same_stacks(text, ("entry", 0), ("entry", 1), depth=3)


def test_arguments_and_results_pass_by() -> None:
    text = f"""(module {IMPORT}
      (func $pair (param i32 i64) (result i64 i32) call $target local.get 1 local.get 0)
      (func (export "entry") (result i64)
        i64.const 7 i32.const 5 i64.const 6 call $pair i64.extend_i32_u i64.mul i64.add))"""
    for run in both(text):
        assert run.exports["entry"](run.store) == 7 + 6 * 5


def test_tail_calls_leave_no_frame() -> None:
    text = f"""(module {IMPORT}
      (type $one (func (param i32)))
      (table funcref (elem $last))
      (func $last (param i32) call $target)
      (func $direct (param i32) call $target local.get 0 return_call $last)
      (func $indirect (param i32) local.get 0 i32.const 0 return_call_indirect (type $one))
      (func $many (param i32) call $target
        local.get 0 i32.eqz if return end local.get 0 i32.const 1 i32.sub return_call $many)
      (func (export "entry") (param i32) local.get 0 call $direct local.get 0 call $indirect local.get 0 call $many)
      (func (export "tail") (param i32) local.get 0 return_call $direct))"""
    assert_same_stacks(text, ("entry", 9), ("tail", 9), ("entry", 3), depth=2)


def test_a_host_that_calls_back_finds_the_stack_where_it_left_it() -> None:
    text = f"""(module {IMPORT} {BACK}
      (global $left (mut i32) (i32.const 6))
      (func $inner call $target)
      (func $again
        global.get $left i32.eqz if return end
        global.get $left i32.const 1 i32.sub global.set $left
        call $back call $inner)
      (func (export "entry") call $inner call $again call $inner))"""
    assert_same_stacks(text, ("entry",), depth=8, calls_back=1)
    assert_same_stacks(text, ("entry",), depth=8, calls_back=3)


def test_a_shared_table_is_called_by_anybody() -> None:
    text = f"""(module {IMPORT} {BACK}
      (type $none (func))
      (table (export "table") 2 funcref)
      (elem (i32.const 0) $hidden)
      (func $hidden call $target)
      (func (export "entry") i32.const 0 call_indirect (type $none)))"""
    assert_same_stacks(text, ("entry",), depth=2)
    module = Module.parse(bytes(wasmtime.wat2wasm(text)))
    assert CallGraph(module).called_from_outside() == {2, 3}


def test_after_a_trap_calls_begin_anew() -> None:
    text = f"""(module {IMPORT}
      (func $down (param i32)
        call $target
        local.get 0 if local.get 0 i32.const 1 i32.sub call $down end
        unreachable)
      (func (export "fail") i32.const 5 call $down)
      (func (export "entry") call $target))"""
    runs = both(text)
    for run in runs:
        for _ in range(3):
            with pytest.raises(wasmtime.Trap, match="unreachable"):
                run.call("fail")
            run.call("entry")
    assert_same(*runs)


def test_returns_out_of_blocks_of_an_export() -> None:
    text = f"""(module {IMPORT} {BACK}
      (func $inner call $target)
      (func (export "entry") (param i32) (result i32)
        call $inner
        block (result i32) i32.const 1 local.get 0 br_if 0 call $inner local.get 0 i32.const 5 i32.eq if (result i32)
          i32.const 9 return else call $target i32.const 2 end i32.add end))"""
    for run in both(text):
        assert [run.exports["entry"](run.store, number) for number in (0, 1, 5)] == [3, 1, 1]
    assert_same_stacks(text, ("entry", 0), ("entry", 1), ("entry", 5), depth=2)


def test_recursion_without_end_meets_the_same_end() -> None:
    # The smallest frame there is: nothing lives across the call, and nobody else is called.
    text = f"""(module {IMPORT}
      (global $depth (export "depth") (mut i32) (i32.const 0))
      (func $down global.get $depth i32.const 1 i32.add global.set $depth call $down)
      (func (export "entry") call $down call $target))"""
    reached = []
    for run in both(text.replace("call $down)", "call $down call $target)")):
        with pytest.raises(wasmtime.Trap, match="call stack exhausted"):
            run.call("entry")
        assert run.depth is not None
        reached.append(int(run.depth.value(run.store)))
    native, recorded = reached
    assert 1000 < recorded <= native <= STACK_BYTES // FRAME_BYTES < ENTRIES // 2


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Functions that call each other in every way, as long as there is fuel."""
    count = draw(st.integers(1, 6))
    calls = st.one_of(
        st.builds("call $f{}".format, st.integers(0, count - 1)),
        st.builds("i32.const {} call_indirect (type $none)".format, st.integers(0, count - 1)),
        st.sampled_from(["call $target", "call $target", "call $back", "call $leaf", "call $maybe"]),
    )
    ends = st.one_of(
        st.just(""),
        st.just("return"),
        st.builds("return_call $f{}".format, st.integers(0, count - 1)),
        st.builds("i32.const {} return_call_indirect (type $none)".format, st.integers(0, count - 1)),
    )
    bodies = draw(st.lists(st.tuples(st.lists(calls, max_size=5), ends), min_size=count, max_size=count))
    functions = "\n".join(
        f"(func $f{index} call $fuel if return end {' '.join(body)} {end})" for index, (body, end) in enumerate(bodies)
    )
    exported = draw(st.integers(0, count - 1))
    return f"""(module {IMPORT} {BACK}
      (type $none (func))
      (global $left (mut i32) (i32.const {draw(st.integers(1, 60))}))
      (table funcref (elem {" ".join(f"$f{index}" for index in range(count))}))
      (func $fuel (result i32)
        global.get $left i32.const 1 i32.sub global.set $left global.get $left i32.const 0 i32.lt_s)
      (func $leaf)
      (func $maybe global.get $left i32.const 1 i32.and if call $target else call $leaf end)
      {functions}
      (export "entry" (func $f{exported}))
      (func (export "main") call $f0 call $target call $f{exported} call $target))"""


@given(programs(), st.integers(0, 2))
def test_any_program(text: str, calls_back: int) -> None:
    runs = both(text)
    for run in runs:
        run.calls_back = calls_back
        run.call("main")
    assert_same(*runs)


def test_sites_are_kept_and_read_back() -> None:
    sites = Sites()
    sites.add(3, 100, 5)
    sites.add(70000, 1 << 29, INDIRECT)
    sites.take_names({3: "größe", 5: 'quo"te', 9: "unmentioned"})
    assert Sites.decode(sites.encode()) == sites
    assert [sites.name(index) for index in (3, 9)] == ["größe", "function[9]"]
    assert Sites.decode(Sites().encode()) == Sites()
    with pytest.raises(ValueError, match="invalid sites"):
        Sites.decode(b"something else")


def chain(length: int) -> Iterator[str]:
    for index in range(length):
        yield f"(func $f{index} call $f{index + 1})"


def test_who_reaches_a_target_is_found_over_any_distance() -> None:
    text = f'(module {IMPORT} {" ".join(chain(300))} (func $f300 call $target) (export "entry" (func $f0)))'
    assert_same_stacks(text, ("entry",), depth=301)


def test_a_host_that_never_calls_back_reaches_nothing() -> None:
    text = """(module (import "wasi_snapshot_preview1" "sched_yield" (func $wasi (result i32)))
      (import "env" "other" (func $other))
      (func $quiet (result i32) call $wasi) (func $loud call $other))"""
    reaching, types = CallGraph(Module.parse(bytes(wasmtime.wat2wasm(text)))).reaching(set())
    assert reaching == {1, 3}
    assert not types
