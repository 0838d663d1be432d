"""Changing modules: the result runs in wasmtime and does what was asked, and the rest is unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import guests_modules
from tinyheap.errors import ModuleEditError
from tinyheap.wasm import Catch, Code, Editor, MemoryArgument, Module, sections
from tinyheap.wasm.entities import Import, Limits
from tinyheap.wasm.names import write_producers
from tinyheap.wasm.sections import SectionId
from wasm import oracles, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LADDER = """
(module
  (type $unary (func (param i32) (result i32)))
  (import "host" "twice" (func $twice (param i32) (result i32)))
  (table 2 funcref)
  (memory (export "memory") 1)
  (global $calls (export "calls") (mut i32) (i32.const 0))
  (elem (i32.const 0) $plus $minus)
  (data (i32.const 8) "\\2a")
  (func $plus (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $minus (type $unary) (i32.sub (local.get 0) (i32.const 1)))
  (func $twice_plus (export "twice_plus") (type $unary) (call $twice (call $plus (local.get 0))))
  (func $pick (export "pick") (param i32 i32) (result i32)
    (call_indirect (type $unary) (local.get 1) (local.get 0)))
  (func $early (export "early") (type $unary)
    (local $sum i32)
    (if (i32.eqz (local.get 0)) (then (return (i32.const -1))))
    (br_if 0 (i32.const -2) (i32.eq (local.get 0) (i32.const 1)))
    drop
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (local.get 0)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
      (br_if $again (local.get 0)))
    (local.get $sum))
  (func $both (export "both") (type $pair) (br 0 (i32.const 1) (i64.const 2)))
  (func $tail (export "tail") (type $unary) (return_call $plus (local.get 0)))
  (func $answer (export "answer") (result i32) (i32.load8_u (i32.const 8)))
  (type $pair (func (result i32 i64)))
)
"""
HOST = {("host", "twice"): lambda value: 2 * value, ("host", "seen"): lambda value: value + 100}


@pytest.fixture(scope="module")
def ladder() -> Module:
    return Module.parse(oracles.assemble(LADDER))


def _index(module: Module, name: str) -> int:
    return module.function_indices[name]


def _bodies(module: Module) -> dict[str, bytes]:
    return {
        module.function_name(function.index) or str(function.index): module.body(function.index).encoding
        for function in module.defined_functions
    }


# Modules from nothing


def test_a_module_is_built_from_nothing(tmp_path: Path) -> None:
    editor = Editor()
    log = editor.add_import_function("host", "log", ["i32"], [])
    counter = editor.add_global("i32", 5)
    editor.add_memory(1, 2)
    code = Code().i32_const(0).local_get(0).i32_store(16).global_get(counter).call(log).i32_const(0).i32_load(16)
    function = editor.add_function(["i32"], ["i32"], code, name="store")
    editor.export("store", "function", function)
    editor.export("memory", "memory", 0)
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    logged: list[int] = []
    running = oracles.run(module, {("host", "log"): logged.append})
    assert running.call("store", 77) == 77
    assert running.read(16, 4) == b"\x4d\0\0\0"
    assert logged == [5]
    assert module.function_name(1) == "store"


def test_an_editor_without_changes_gives_the_same_bytes(ladder: Module) -> None:
    assert Editor(ladder).encode() == ladder.data
    everything = oracles.assemble(samples.EVERYTHING)
    assert Editor(Module.parse(everything)).encode() == everything


# A function that becomes an import, an import that becomes a function


def test_a_function_becomes_an_import_for_all_who_mean_it(ladder: Module, tmp_path: Path) -> None:
    plus = _index(ladder, "plus")
    editor = Editor(ladder)
    editor.become_import(plus, "host", "seen")
    editor.export("plus", "function", plus)
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    assert [(entry.module, entry.name) for entry in module.imports] == [("host", "twice"), ("host", "seen")]
    running = oracles.run(module, HOST)
    assert running.call("twice_plus", 1) == 202, "a direct call goes to the host"
    assert running.call("pick", 0, 1) == 101, "and so does one through the table"
    assert running.call("tail", 1) == 101, "and a tail call"
    assert running.call("plus", 1) == 101, "and the export"
    assert module.function_name(1) == "plus"


def test_only_functions_between_the_imports_and_the_new_one_move(ladder: Module) -> None:
    editor = Editor(ladder)
    editor.become_import(_index(ladder, "minus"), "host", "seen")
    module = editor.build()
    names = [module.function_name(function.index) for function in module.functions]
    assert names == ["twice", "minus", "plus", "twice_plus", "pick", "early", "both", "tail", "answer"]
    before, after = _bodies(ladder), _bodies(module)
    assert {name for name in after if after[name] != before[name]} == {"twice_plus", "tail"}


def test_an_import_gets_a_body(ladder: Module, tmp_path: Path) -> None:
    editor = Editor(ladder)
    editor.replace_body(_index(ladder, "twice"), Code().local_get(0).i32_const(3).i32_mul())
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    assert module.imports == ()
    assert oracles.run(module).call("twice_plus", 1) == 6


def test_a_replaced_body_has_its_own_locals_and_no_old_names(ladder: Module, tmp_path: Path) -> None:
    early = _index(ladder, "early")
    assert ladder.names.locals[early] == {1: "sum"}
    editor = Editor(ladder)
    editor.replace_body(early, Code().i64_const(9).local_set(1).local_get(1).i32_wrap_i64(), ["i64"])
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    assert early not in module.names.locals
    assert oracles.run(module, HOST).call("early", 5) == 9


# New imports, and everything that mentions what they move


def test_a_new_import_moves_every_mention_of_a_function(ladder: Module, tmp_path: Path) -> None:
    editor = Editor(ladder)
    seen = editor.add_import_function("host", "seen", ["i32"], ["i32"])
    function = editor.add_function(["i32"], ["i32"], Code().local_get(0).call(seen).call(_index(ladder, "plus")))
    editor.export("seen_plus", "function", function)
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    running = oracles.run(module, HOST)
    assert running.call("seen_plus", 1) == 102
    assert running.call("twice_plus", 1) == 4
    assert [running.call("pick", 0, 5), running.call("pick", 1, 5)] == [6, 4]
    assert running.call("tail", 1) == 2
    assert _index(module, "plus") == _index(ladder, "plus") + 1
    assert module.names.locals == {_index(module, "early"): {1: "sum"}}


def test_everything_that_mentions_something_moves_with_it(tmp_path: Path) -> None:
    before = Module.parse(oracles.assemble(samples.EVERYTHING))
    editor = Editor(before)
    editor.add_import_function("host", "new", [], [])
    editor.add_import_memory("host", "new memory", 1)
    editor.add_import_global("host", "new global", "i32")
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path, by=("wasmtime",))
    module.check_code()
    assert module.start == 2
    assert [export.index for export in module.exports] == [3, 2, 2, 1, 1]
    assert [segment.functions for segment in module.elements] == [(0, 3), None, (3,), None, (4,)]
    assert module.elements[1].expressions is not None
    assert module.elements[1].expressions[0].encoding == b"\xd2\x02\x0b"
    assert [segment.memory for segment in module.data_segments] == [0, 2, 0]
    reference = module.globals[4].initial
    assert reference is not None
    assert next(reference.instructions()).immediates == (3,)
    initial = module.tables[2].initial
    assert initial is not None
    assert next(initial.instructions()).immediates == (3,)
    ((_, _, load),) = module.find("i32.load")
    assert load.immediates == (MemoryArgument(8, 2, 3),)
    ((_, _, fill),) = module.find("memory.init")
    assert fill.immediates == (2, 2)
    ((_, _, counter),) = module.find("global.get")
    assert counter.immediates == (2,)
    ((_, _, attempt),) = module.find("try_table")
    assert attempt == next(found for _, _, found in before.find("try_table"))
    assert module.names.by_space["memory"] == {0: "outer", 2: "inner", 3: "third"}
    assert module.names.globals == {0: "base", 2: "counter", 3: "sum", 4: "reference"}
    assert module.names.within["label"].keys() == {4, 5}


def test_loads_and_stores_move_with_a_memory_that_is_no_longer_first(ladder: Module, tmp_path: Path) -> None:
    editor = Editor(ladder)
    outer = editor.add_import_memory("host", "memory", 2, 3)
    editor.export("outer", "memory", outer)
    copy = Code().i32_const(0).i32_const(8).i32_const(1).memory_copy(outer, 0)
    function = editor.add_function([], ["i32"], copy + Code().i32_const(0).i32_load8_u(MemoryArgument(0, 0, outer)))
    editor.export("copied", "function", function)
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path, by=("wasmtime", "wabt"))
    assert module.memories[0].type.limits == Limits(2, 3)
    running = oracles.run(module, HOST)
    assert running.call("answer") == 42
    assert running.call("copied") == 42
    assert running.read(0, 1, "outer") == b"\x2a"


def test_tags_that_are_added_can_be_thrown_and_caught() -> None:
    editor = Editor(Module.parse(oracles.assemble("(module (tag (param i64)))")))
    tag = editor.add_tag(["i32"])
    handlers = (Catch("catch", tag, 0),)
    attempt = Code().try_table(None, handlers).i32_const(8).throw(tag).end().unreachable()
    function = editor.add_function([], ["i32"], Code().block("i32") + attempt + Code().end())
    editor.export("catch", "function", function)
    module = editor.build()
    assert module.types[module.tags[tag].type.type_index].parameters == ("i32",)
    assert oracles.run(module).call("catch") == 8


# Code between instructions


def _adding(number: int, amount: int) -> Code:
    """Code that adds to a global."""
    return Code().global_get(number).i32_const(amount).i32_add().global_set(number)


def test_code_goes_before_and_after_an_instruction_in_the_order_of_asking(ladder: Module) -> None:
    function = _index(ladder, "plus")
    ((offset, _),) = ladder.body(function).find("i32.add")
    editor = Editor(ladder)
    editor.insert_before(function, offset, Code().i32_const(2).i32_mul())
    editor.insert_before(function, offset, Code().i32_const(5).i32_add())
    editor.insert_after(function, offset, Code().i32_const(3).i32_mul())
    editor.insert_after(function, offset, Code().i32_const(7).i32_add())
    end = ladder.body(function).end - 1
    editor.insert_before(function, end, Code().i32_const(1).i32_sub())
    body = editor.build().body(function)
    text = [str(found) for _, found in body.instructions()]
    assert text == [
        *("local.get 0", "i32.const 1", "i32.const 2", "i32.mul", "i32.const 5", "i32.add", "i32.add"),
        *("i32.const 3", "i32.mul", "i32.const 7", "i32.add", "i32.const 1", "i32.sub", "end"),
    ]


@pytest.mark.parametrize(
    ("export", "arguments", "result"),
    [
        ("early", (0,), -1),
        ("early", (1,), -2),
        ("early", (4,), 10),
        ("both", (), [1, 2]),
        ("tail", (1,), 2),
        ("answer", (), 42),
    ],
)
def test_entry_and_exit_are_met_once_whichever_way_a_function_ends(
    ladder: Module, tmp_path: Path, export: str, arguments: tuple[int, ...], result: object
) -> None:
    editor = Editor(ladder)
    for name in ("early", "both", "tail", "answer"):
        editor.insert_at_entry(_index(ladder, name), _adding(0, 1))
        editor.insert_at_exit(_index(ladder, name), _adding(0, 1000))
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    running = oracles.run(module, HOST)
    assert running.call(export, *arguments) == result
    assert running.value("calls") == 1001


def test_locals_are_added_behind_those_that_are_there(ladder: Module, tmp_path: Path) -> None:
    early = _index(ladder, "early")
    editor = Editor(ladder)
    first, second = editor.add_local(early, "i64"), editor.add_local(early, "i32")
    assert (first, second) == (2, 3)
    editor.insert_at_entry(early, Code().local_get(0).local_set(second))
    editor.insert_at_exit(early, Code().local_get(second).global_set(0))
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    assert module.body(early).locals == ((1, "i32"), (1, "i64"), (1, "i32"))
    assert module.names.locals[early] == {1: "sum"}
    running = oracles.run(module, HOST)
    assert running.call("early", 4) == 10
    assert running.value("calls") == 4


def test_calls_are_redirected_but_not_those_of_the_function_that_takes_over(ladder: Module, tmp_path: Path) -> None:
    plus = _index(ladder, "plus")
    editor = Editor(ladder)
    wrapper = editor.add_function(["i32"], ["i32"], Code().local_get(0).call(plus).i32_const(10).i32_mul())
    editor.redirect_calls(plus, wrapper)
    module = editor.build()
    oracles.assert_valid(module.encode(), tmp_path)
    running = oracles.run(module, HOST)
    assert running.call("twice_plus", 1) == 40
    assert running.call("tail", 1) == 20
    assert running.call("pick", 0, 1) == 2, "the table still has the old function"


def test_old_exceptions_are_caught_as_before(tmp_path: Path) -> None:
    module = Module.parse(oracles.assemble(samples.LEGACY_EXCEPTIONS))
    editor = Editor(module)
    depth = editor.add_global("i32", 0)
    for function in module.defined_functions:
        editor.insert_at_entry(function.index, _adding(depth, 1))
        editor.insert_at_exit(function.index, _adding(depth, -1))
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path, by=("wabt", "binaryen"))
    plain = oracles.interpret(module.encode(), tmp_path)
    assert plain == ["catch() => i32:42", "delegate() => i32:42", "rethrow() => i32:42"]
    assert oracles.interpret(changed.encode(), tmp_path) == plain


# What is kept and what is dropped


def test_padded_integers_keep_their_width(tmp_path: Path) -> None:
    editor = Editor()
    function = editor.add_function([], [], Code())
    editor.add_function([], [], Code(b"\x10\x80\x80\x80\x80\x00"))
    editor.export("f", "function", function)
    narrow = editor.build()
    module = Module.parse(
        sections.HEADER
        + b"".join(
            sections.make_section(section.id, section.payload, width_bytes=5).encode() for section in narrow.sections
        )
    )
    editor = Editor(module)
    editor.add_import_function("host", "new", [], [])
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path)
    ((_, _, before),), ((_, _, after),) = module.find("call"), changed.find("call")
    assert before.encoding == b"\x10\x80\x80\x80\x80\x00"
    assert after.encoding == b"\x10\x81\x80\x80\x80\x00"
    code = next(section for section in changed.sections if section.id is SectionId.CODE)
    assert sections.length_width_bytes(code) == 5


def test_an_index_takes_another_byte_where_it_must(tmp_path: Path) -> None:
    editor = Editor()
    for _ in range(127):
        editor.add_function([], [], Code())
    editor.add_function([], [], Code().call(127 - 1).call(127))
    module = editor.build()
    editor = Editor(module)
    editor.add_import_function("host", "new", [], [])
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path)
    assert [found.encoding for _, _, found in changed.find("call")] == [b"\x10\x7f", b"\x10\x80\x01"]


def _with_custom_sections(module: Module, *names: str) -> Module:
    extra = b"".join(sections.make_section(SectionId.CUSTOM, b"\1\2\3", name).encode() for name in names)
    return Module.parse(module.data + extra)


def test_custom_sections_stay_unless_code_moved_under_them(ladder: Module) -> None:
    names = ("note", ".debug_line", "sourceMappingURL", "metadata.code.branch_hint")
    module = _with_custom_sections(ladder, *names)
    editor = Editor(module)
    editor.export("pick again", "function", _index(module, "pick"))
    assert [section.name for section in editor.build().custom_sections] == ["name", *names]
    editor.insert_at_entry(_index(module, "pick"), Code().nop())
    changed = editor.build()
    assert [section.name for section in changed.custom_sections] == ["name", "note"]
    assert changed.custom_section("note") is not None
    assert _bodies(changed).keys() == _bodies(ladder).keys()


def test_custom_sections_are_added_and_replaced(ladder: Module) -> None:
    editor = Editor(ladder)
    editor.set_custom_section("own", b"first")
    once = editor.build()
    assert [section.name for section in once.custom_sections] == [
        *(section.name for section in ladder.custom_sections),
        "own",
    ]
    again = Editor(once)
    again.set_custom_section("own", b"longer than before")
    again.set_custom_section("producers", write_producers({"processed-by": {"a tool": "1.2", "another": ""}}))
    twice = again.build()
    section = twice.custom_section("own")
    assert section is not None
    assert section.payload == b"longer than before"
    assert twice.producers == {"processed-by": {"a tool": "1.2", "another": ""}}
    assert [each.id for each in twice.sections if each.id is not SectionId.CUSTOM] == [
        each.id for each in ladder.sections if each.id is not SectionId.CUSTOM
    ]
    with pytest.raises(ModuleEditError, match="give those to add_function"):
        editor.set_custom_section("name", b"")


def test_a_memory_gets_a_maximum(ladder: Module) -> None:
    editor = Editor(ladder)
    editor.set_maximum(0, 7)
    assert editor.build().memories[0].type.limits == Limits(1, 7)
    imported = Editor(ladder)
    memory = imported.add_import_memory("host", "memory", 1)
    with pytest.raises(ModuleEditError, match="is for its exporter to say"):
        imported.set_maximum(memory, 7)


def test_new_sections_go_to_their_places(tmp_path: Path) -> None:
    module = _with_custom_sections(
        Module.parse(oracles.assemble('(module (func) (memory 1) (data (i32.const 0) "a"))')), "z"
    )
    editor = Editor(module)
    editor.add_import_function("host", "new", ["i32"], [])
    editor.add_tag([])
    editor.add_global("f64", 0.5, mutable=False)
    editor.export("f", "function", 0)
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path)
    order = ["type", "import", "function", "memory", "tag", "global", "export", "code", "data", "z"]
    assert [section.name for section in changed.sections] == order


def test_exports_are_removed_and_replaced(ladder: Module) -> None:
    editor = Editor(ladder)
    editor.remove_export("tail")
    editor.export("tail", "function", _index(ladder, "plus"))
    export = editor.build().export("tail")
    assert export is not None
    assert export.index == _index(ladder, "plus")


# What is refused


def test_edits_that_do_not_fit_are_refused(ladder: Module) -> None:
    editor, plus, pick = Editor(ladder), _index(ladder, "plus"), _index(ladder, "pick")
    body = ladder.body(plus)
    with pytest.raises(ModuleEditError, match="there is no function 99: the module has 9"):
        editor.become_import(99, "host", "seen")
    with pytest.raises(ModuleEditError, match="there is no global 1"):
        editor.export("g", "global", 1)
    with pytest.raises(ModuleEditError, match="invalid index space 'func'"):
        editor.export("g", "func", 1)
    with pytest.raises(ModuleEditError, match="'tail' is exported already"):
        editor.export("tail", "function", plus)
    with pytest.raises(ModuleEditError, match="'head' is not exported"):
        editor.remove_export("head")
    with pytest.raises(ModuleEditError, match="function 0 has no body"):
        editor.insert_at_entry(0, Code())
    with pytest.raises(ModuleEditError, match=r"\(i32\) -> \(i32\), cannot go to function \d+"):
        editor.redirect_calls(plus, pick)
    with pytest.raises(ModuleEditError, match="outside the code of function"):
        editor.insert_before(plus, body.end, Code().nop())
    with pytest.raises(ModuleEditError, match="expected an instruction before its last `end`"):
        editor.insert_after(plus, body.end - 1, Code().nop())
    with pytest.raises(ModuleEditError, match="expected an instruction before its last `end`"):
        editor.insert_after(plus, body.start, Code().nop())
    assert editor.encode() == ladder.data


def test_code_between_the_bytes_of_an_instruction_is_refused(ladder: Module) -> None:
    plus = _index(ladder, "plus")
    editor = Editor(ladder)
    editor.insert_before(plus, ladder.body(plus).code_start + 1, Code().nop())
    with pytest.raises(ModuleEditError, match="where no instruction starts"):
        editor.encode()


def test_added_code_that_names_no_function_is_refused(ladder: Module) -> None:
    editor = Editor(ladder)
    editor.add_import_function("host", "seen", ["i32"], ["i32"])
    editor.replace_body(_index(ladder, "answer"), Code().i32_const(0).call(1000))
    with pytest.raises(ModuleEditError, match="code refers to function 1000, which does not exist: the module has 10"):
        editor.encode()


# Real modules


@pytest.mark.parametrize("name", guests_modules.NAMES)
@pytest.mark.share(1, in_ci=8)
def test_a_real_modules_most_called_function_becomes_an_import(name: str, tmp_path: Path) -> None:
    module = Module.parse(guests_modules.read(name))
    ((function, count),) = module.call_counts().most_common(1)
    editor = Editor(module)
    editor.become_import(function, "tinyheap", "taken")
    if module.globals:
        editor.export("first_global", "global", 0)
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path)
    taken = module.imported_function_count
    assert changed.functions[taken].imported == Import("tinyheap", "taken", changed.imports[-1].type)
    assert changed.function_type(taken) == module.function_type(function)
    by_itself = sum(call.immediates[0] == function for _, call in module.body(function).find("call"))
    assert changed.call_counts()[taken] == count - by_itself
    assert changed.function_name(taken) == module.function_name(function)
    for old in module.defined_functions:
        if old.index != function:
            moved = old.index < function
            before, after = module.body(old.index), changed.body(old.index + moved)
            names_moved = any(taken <= found.immediates[0] <= function for _, found in before.find("call", "ref.func"))
            assert names_moved or after.encoding == before.encoding


@pytest.mark.parametrize("name", guests_modules.NAMES)
@pytest.mark.share(1, in_ci=8)
def test_a_real_module_takes_code_at_every_entry_and_exit(name: str, tmp_path: Path) -> None:
    module = Module.parse(guests_modules.read(name))
    editor = Editor(module)
    log = editor.add_import_function("tinyheap", "log", ["i32"], [])
    depth = editor.add_global("i32", 0)
    for function in module.defined_functions:
        local = editor.add_local(function.index, "i32")
        editor.insert_at_entry(function.index, Code().global_get(depth).local_tee(local).call(log))
        editor.insert_at_exit(function.index, Code().local_get(local).global_set(depth))
    changed = editor.build()
    oracles.assert_valid(changed.encode(), tmp_path)
    assert changed.call_counts()[module.imported_function_count] == len(module.defined_functions)


@pytest.mark.slow
def test_an_instrumented_formatter_formats_as_before() -> None:
    module = Module.parse(guests_modules.read("gofmt-0.7.3"))
    editor = Editor(module)
    depth, calls = editor.add_global("i32", 0), editor.add_global("i32", 0)
    for function in module.defined_functions:
        editor.insert_at_entry(function.index, _adding(depth, 1) + _adding(calls, 1))
        editor.insert_at_exit(function.index, _adding(depth, -1))
    editor.export("depth", "global", depth)
    editor.export("calls", "global", calls)
    source = b"package   main\nfunc  main( ) {\nx:=1\n_ =x }\n"
    plain, hooked = (_Formatter(candidate) for candidate in (module, editor.build()))
    formatted = plain.format(source)
    assert formatted == b"package main\n\nfunc main() {\n\tx := 1\n\t_ = x\n}\n"
    assert hooked.format(source) == formatted
    assert hooked.running.value("depth") == 0
    assert hooked.running.value("calls") > 1000


def test_a_formatter_runs_on_an_allocator_of_the_host() -> None:
    module = Module.parse(guests_modules.read("gofmt-0.7.3"))
    editor = Editor(module)
    editor.become_import(module.function_indices["runtime.alloc"], "tinyheap", "alloc")
    editor.export("stack_pointer", "global", 0)
    allocated_bytes: list[int] = []

    def alloc(size_bytes: int) -> int:
        """A bump pointer over fresh pages, which are zero."""
        memory, store = guest.running.memory(), guest.running.store
        address = first_address + sum(allocated_bytes)
        allocated_bytes.append(size_bytes + 15 & ~15)
        while address + allocated_bytes[-1] > memory.data_len(store):
            memory.grow(store, 16)
        return address

    guest = _Formatter(editor.build(), {("tinyheap", "alloc"): alloc}, initialize=False)
    first_address = guest.running.memory().data_len(guest.running.store)
    guest.running.call("_initialize")
    source = b'package main\nvar  x = map[string]int{ "a" : 1 }\n'
    assert guest.format(source) == b'package main\n\nvar x = map[string]int{"a": 1}\n'
    assert len(allocated_bytes) > 100
    assert 0 < guest.running.value("stack_pointer") <= first_address


class _Formatter:
    """A running gofmt, which needs no more of a host than `imports` offers."""

    def __init__(
        self,
        module: Module,
        imports: Mapping[tuple[str, str], Callable[..., Any]] | None = None,
        *,
        initialize: bool = True,
    ) -> None:
        self.running = oracles.run(module, imports)
        if initialize:
            self.running.call("_initialize")

    def format(self, source: bytes) -> bytes:
        run = self.running
        address = run.call("alloc", len(source))
        run.write(address, source)
        assert run.call("format") == 1, "the source was changed"
        return run.read(run.call("output_ptr"), run.call("output_len"))
