"""Reading code without running it: values, conditions, instrumentation that falls away, and bounds."""

from __future__ import annotations

import pytest

from hosts.programs import module_bytes
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.interpret import Reading, Walker
from tinyheap.recognize.values import (
    SIZE_LIMIT,
    Constant,
    GlobalAtEntry,
    Loaded,
    Merge,
    Operation,
    Parameter,
    UnknownValue,
    Value,
    linear,
    minus,
    operation,
    size_of,
    sources,
)
from tinyheap.wasm import Code, Editor, Module


def reading(text: str, assumed: dict[int, int] | None = None, function: int = 0) -> Reading:
    return Walker(Module.parse(module_bytes(text)), assumed).read(function)


def test_equal_sums_are_equal_however_they_are_spelled() -> None:
    one = operation("i32.sub", operation("i32.add", Parameter(0), Constant(100)), Constant(36))
    other = operation("i32.sub", Parameter(0), Constant(2**32 - 64))
    assert linear(one) == linear(other) == (frozenset([(Parameter(0), 1)]), 64)
    assert minus(linear(one), linear(Parameter(0))) == (frozenset(), 64)
    shifted = operation("i32.shl", operation("i32.add", Parameter(0), Constant(1)), Constant(4))
    assert linear(shifted) == (frozenset([(Parameter(0), 16)]), 16)


def test_values_never_grow_beyond_their_bound() -> None:
    value: Value = Parameter(0)
    for _ in range(200):
        value = operation("i32.xor", value, value)
        assert size_of(value) <= SIZE_LIMIT


def test_addresses_are_the_same_as_constants_locals_and_offsets() -> None:
    stores = reading(
        """(memory 1) (func (local i32)
          (i32.store (i32.const 1000) (i32.const 7))
          (local.set 0 (i32.const 900)) (i32.store offset=100 (local.get 0) (i32.const 7))
          (i32.store offset=1000 (i32.const 0) (i32.const 7)))"""
    ).stores
    assert [store.address for store in stores] == [Constant(1000)] * 3


def test_instrumentation_falls_away_where_its_state_is_assumed() -> None:
    text = """(memory 1) (global (mut i32) (i32.const 0)) (func (param i32) (result i32)
      (if (i32.eq (global.get 0) (i32.const 2)) (then (i32.store (i32.const 8) (i32.const 1))))
      (if (i32.eqz (global.get 0)) (then (i32.store (i32.const 16) (local.get 0))))
      (select (i32.const 5) (local.get 0) (global.get 0)))"""
    assumed = reading(text, {0: 0})
    assert [(store.address, store.conditions) for store in assumed.stores] == [(Constant(16), ())]
    assert [event.value for event in assumed.returns] == [Parameter(0)]
    assert len(reading(text).stores) == 2


def test_conditions_hold_until_ways_meet() -> None:
    found = reading(
        """(memory 1) (func (param i32)
          (block (br_if 0 (i32.eqz (local.get 0))) (i32.store (i32.const 8) (i32.const 1)))
          (i32.store (i32.const 16) (i32.const 1)))"""
    )
    assert found.stores[0].conditions == ((Operation("i32.eqz", (Parameter(0),)), False),)
    assert found.stores[1].conditions == ()


def test_a_loops_local_is_what_it_was_or_what_the_loop_makes_of_it() -> None:
    found = reading(
        """(memory 1) (func (param i32)
          (loop (i32.store (local.get 0) (i32.const 0))
            (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 4))) (i32.const 100)))))"""
    )
    (store,) = found.stores
    assert isinstance(store.address, Merge)
    assert store.loop_depth == 1
    assert store.address.inputs == [Parameter(0), Operation("i32.add", (store.address, Constant(4)))]


def test_short_functions_and_memset_are_read_at_their_calls() -> None:
    text = """(memory 1) (global (mut i32) (i32.const 65536))
      (func (param i32) (result i32) (i32.add (call 1) (call 2 (local.get 0) (i32.const 0) (i32.const 9))))
      (func (result i32) (global.get 0))
      (func (param i32 i32 i32) (result i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)) (local.get 0))"""
    (event,) = reading(text).returns
    assert event.value == Operation("i32.add", (GlobalAtEntry(0), Parameter(0)))


def test_sources_of_merges_that_hold_each_other_end() -> None:
    one, other = Merge(), Merge()
    one.inputs, other.inputs = [other, Constant(1)], [one, Constant(2)]
    assert set(sources(one)) == {Constant(1), Constant(2)}


def test_a_saved_word_keeps_what_chose_it() -> None:
    found = reading(
        """(memory 1) (func (param i32) (result i32)
          (select (i32.load (i32.const 8)) (local.get 0) (i32.load (i32.const 16))))"""
    )
    (event,) = found.returns
    assert isinstance(event.value, Merge)
    assert event.value.condition == Loaded(Constant(16), 4)


@pytest.mark.parametrize(
    "code",
    [
        Code().v128_const(b"\0" * 16).drop(),
        Code(Code().block(None).encoding * 1000 + Code().end().encoding * 1000),
        Code(Code().local_get(0).drop().encoding * 200_000),
    ],
    ids=["vectors", "nesting", "length"],
)
def test_code_beyond_what_is_read_is_said_not_to_be(code: Code) -> None:
    editor = Editor()
    function = editor.add_function(["i32"], [], code)
    found = Walker(editor.build()).read(function)
    assert found.unread
    assert not found.returns


def test_code_that_does_not_validate_is_read_without_harm() -> None:
    editor = Editor()
    code = Code().i32_add().drop().br(0).end().end().drop()
    function = editor.add_function([], ["i32"], code)
    assert Walker(editor.build()).read(function).unread
    stack = editor.add_function([], [], Code().i32_add().global_set(0))
    (event,) = Walker(editor.build()).read(stack).global_sets
    assert isinstance(event.value, Operation)
    assert all(isinstance(operand, UnknownValue) for operand in event.value.operands)


def test_functions_are_found_by_what_they_mention() -> None:
    editor = Editor()
    editor.add_memory(1)
    constant = editor.add_function([], [], Code().i32_const(70_000).i32_load(0).drop())
    offset = editor.add_function([], [], Code().i32_const(0).i32_load(70_000).drop())
    padded = editor.add_function([], [], Code(b"\x41\xf0\xa2\x84\x80\x00\x1a"))
    caller = editor.add_function([], [], Code().call(constant))
    editor.add_function([], [], Code().i32_const(70_001).drop())
    search = CodeSearch(editor.build())
    assert search.mentioning([70_000]) == {constant, offset, padded}
    assert search.callers(constant) == {caller}
    assert search.callers(offset) == frozenset()
