"""Sites by line: calls of one function on one line are one site, and inlined calls make the runtime's functions exact."""

from __future__ import annotations

from dataclasses import replace

from small_recordings import Rows, opened
from tinyheap import profile


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
