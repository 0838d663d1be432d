"""Each instruction of a changed module is traced to where it stood, whatever was put around it."""

from __future__ import annotations

import pytest

from guests import collectors
from tinyheap.guests.rewrite.instrumenting import edited
from tinyheap.guests.rewrite.rewriting import take_out
from tinyheap.recognize.identify import identify
from tinyheap.wasm import Code, Editor, Module

BUILD = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=False)


def module() -> Module:
    return Module.parse(collectors.compiled(BUILD, "faults.c"))


def check_traced(editor: Editor, original: Module) -> int:
    """Each instruction with an origin is named as the one there; returns how many there are."""
    origins, written = editor.origins(), editor.build()
    bodies = {each.index: each.body for each in original.defined_functions if each.body is not None}
    names = {index: {at: each.name for at, each in body.instructions()} for index, body in bodies.items()}
    found: dict[int, list[int]] = {}
    for function in written.defined_functions:
        assert function.body is not None
        for offset, instruction in function.body.instructions():
            origin = origins.of(function.index, offset)
            if origin is not None:
                found.setdefault(origin[0], []).append(origin[1])
                assert names[origin[0]][origin[1]] == instruction.name
    for offsets in found.values():
        assert offsets == sorted(set(offsets)), "each comes once, in its order"
    return sum(map(len, found.values()))


def instructions(original: Module, without: set[int]) -> int:
    bodies = [each.body for each in original.defined_functions if each.index not in without]
    # The last `end` of a body is the editor's own where it was edited.
    return sum(len(list(body.instructions())) for body in bodies if body is not None)


def test_an_unchanged_module_is_its_own_origin() -> None:
    original = module()
    assert check_traced(Editor(original), original) == instructions(original, set())


def test_a_module_without_its_collector_is_traced() -> None:
    original = module()
    heap = identify(original).heap
    assert heap is not None
    editor = Editor(original)
    take_out(editor, heap)
    assert check_traced(editor, original) == instructions(original, {each.function for each in heap.redirects})


@pytest.mark.parametrize("is_served", [False, True])
def test_an_instrumented_module_is_traced(*, is_served: bool) -> None:
    original = module()
    guest = identify(original)
    editor, sites = edited(original, guest, guest.heap if is_served else None)
    traced = check_traced(editor, original)
    taken = {each.function for each in guest.heap.redirects} if is_served and guest.heap else set()
    assert instructions(original, taken) - traced <= len(original.defined_functions)
    assert len(sites)


def test_added_code_has_no_origin() -> None:
    editor = Editor(module())
    added = editor.add_function((), (), Code().i32_const(7).drop())
    written = editor.build()
    body = written.body(added)
    assert all(editor.origins().of(added, offset) is None for offset, _ in body.instructions())
    assert editor.origins().of(len(written.functions), 0) is None
    assert editor.origins().of(added, body.end) is None
