"""Sites by line: calls of one function on one line are one site, and inlined calls make the runtime's functions exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from small_recordings import Rows, opened
from tinyheap import profile
from tinyheap.recordings.recording import Recording


def born(rows: Rows, *stacks: int, size_bytes: int = 8) -> None:
    for stack_id in stacks:
        rows.allocate(size_bytes, stack_id)


def place(rows: Rows, stack_id: int, file: str | None, line: int | None, *, inlined: bool = False) -> None:
    """Give the innermost frame of a stack its place."""
    at = rows.stacks[stack_id - 1][2] - 1
    rows.frames[at] = replace(rows.frames[at], file=file, line=line, inlined=inlined)


def test_calls_of_one_function_on_one_line_are_one_site() -> None:
    rows = Rows()
    first, second, third = (rows.path("main.make") for _ in range(3))
    for stack, line in ((first, 4), (second, 4), (third, 5)):
        place(rows, stack, "main.go", line)
    born(rows, first, second, second, third)
    with opened(rows) as recording:
        sites = {usage.name: usage.own_objects for usage in profile.by_site(recording)}
    assert sites == {"main.make (main.go:4)": 3, "main.make (main.go:5)": 1}


def test_without_lines_each_call_is_a_site() -> None:
    rows = Rows()
    first, second = rows.path("main.make"), rows.path("main.make")
    born(rows, first, second)
    with opened(rows) as recording:
        assert [usage.own_objects for usage in profile.by_site(recording)] == [1, 1]
        assert not len(profile.by_line(recording))


def test_an_inlined_function_and_the_same_one_called_are_two() -> None:
    rows = Rows()
    called, inlined = rows.path("main.make"), rows.path("main.make")
    place(rows, called, "main.go", 4)
    place(rows, inlined, "main.go", 4, inlined=True)
    born(rows, called, inlined)
    with opened(rows) as recording:
        assert len(profile.by_site(recording)) == 2
        [line] = profile.by_line(recording)
        assert (line.name, line.own_objects, line.total_objects) == ("main.go:4", 2, 2)


def test_where_lines_are_known_the_runtimes_functions_are_the_runtimes() -> None:
    """Without them, what runtime.run$1 calls is the program's, which may be inlined there."""
    rows = Rows()
    with_lines, without = rows.path("main.main", "runtime.run$1"), rows.path("main.main", "runtime.run$1")
    place(rows, with_lines, "scheduler.go", 9)
    born(rows, with_lines, without)
    with opened(rows) as recording:
        sites = sorted(usage.site.function for usage in profile.by_site(recording))
    assert sites == ["main.main", "runtime.run$1"]


def test_a_line_counts_an_object_once_however_often_it_recurs() -> None:
    rows = Rows()
    stack = rows.path("main.walk", "main.walk", "main.walk")
    for depth in (1, 2, 3):
        place(rows, depth, "main.go", 4)
    born(rows, stack, size_bytes=100)
    with opened(rows) as recording:
        [line] = profile.by_line(recording)
    assert (line.own_bytes, line.total_bytes, line.total_objects) == (100, 100, 1)


Lines = Mapping[int | None, tuple[str | None, int]]
"""Of a function: whom they call, and how many bytes are allocated there."""


@contextmanager
def of_lines(lines: Lines, module: str) -> Iterator[Recording]:
    rows = Rows(module_sha256=module)
    for line, (callee, size_bytes) in lines.items():
        stack = rows.stack(0, rows.frame("main.f", callee))
        if line is not None:
            place(rows, stack, "main.go", line)
        born(rows, stack, size_bytes=size_bytes)
    with opened(rows) as recording:
        yield recording


def differences(first: Lines, second: Lines, modules: str = "ab") -> dict[str, int]:
    with of_lines(first, modules[0]) as before, of_lines(second, modules[1]) as after:
        return {each.name: each.own_change_bytes for each in profile.compare(before, after).sites}


def test_two_runs_of_a_module_are_compared_by_line() -> None:
    before: Lines = {4: ("make", 100), 9: ("append", 50), 12: ("make", 7)}
    after: Lines = {4: ("make", 300), 9: ("grow", 40), 15: ("make", 7)}
    assert differences(before, after, "aa") == {
        "main.f (main.go:4)": 200,
        "main.f (main.go:9)": -10,
        "main.f (main.go:12)": -7,
        "main.f (main.go:15)": 7,
    }


def test_a_line_of_another_build_is_the_same_where_it_has_moved() -> None:
    before: Lines = {4: ("make", 100), 9: ("append", 50), 12: ("concat", 7)}
    after: Lines = {6: ("make", 100), 8: ("new", 16), 11: ("append", 80), 15: ("concat", 6)}
    assert differences(before, after) == {
        "main.f (main.go:11, before: line 9)": 30,
        "main.f (main.go:8)": 16,
        "main.f (main.go:15, before: line 12)": -1,
    }


def test_sites_are_compared_by_names_where_one_side_has_no_lines() -> None:
    with of_lines({4: ("make", 100), 9: ("make", 50)}, "a") as before, of_lines({None: ("make", 100)}, "b") as after:
        found = profile.compare(before, after)
    [site] = found.sites
    assert (site.function, site.callee, site.places, site.own_bytes) == ("main.f", "make", (None, None), (150, 100))
    assert not found.is_by_line
