"""Conditions are read in one spelling, and what makes no sense is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import Option

from tinyheap.cli.run import command
from tinyheap.errors import ConditionError
from tinyheap.lab import Condition, grid
from tinyheap.lab.conditions import DIMENSIONS, MOST_VALUES, program_of, read_values


def written(dimensions: dict[str, str]) -> list[str]:
    return [str(each) for each in grid(dimensions)]


def test_a_value_has_one_spelling_and_stands_once() -> None:
    assert written({"heap-limit": "1MiB,1024K,1048576"}) == ["heap-limit=1048576"]
    assert written({"collector": "best-fit,0.42,0.41"}) == ["collector=best-fit-back", "collector=best-fit-front"]
    assert written({"headroom": "0/5,none,2/6,1/3"}) == ["headroom=none", "headroom=1/3"]
    assert written({"initial-memory": "1M,1024K"}) == ["initial-memory=1048576"]
    assert written({"growth": "step:64KiB, step:65536,ratio:4/3"}) == ["growth=step:65536", "growth=ratio:4/3"]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("1K..8K/x2", [1, 2, 4, 8]), ("1K..7K/x2", [1, 2, 4]), ("1K..3K/+1K", [1, 2, 3]), ("1K..1K/x2", [1])],
)
def test_ranges_go_by_factors_and_by_steps(text: str, sizes: list[int]) -> None:
    assert written({"memory-limit": text}) == [f"memory-limit={1024 * size}" for size in sizes]


def test_flags_are_given_or_not() -> None:
    assert [each.options for each in grid({"clear-blocks": "no,yes,default"})] == [(), ("--clear-blocks",)]


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConditionError, match="a leaking heap is never collected, so that gc-every means nothing"):
        Condition.of({"gc": "leaking", "gc-every": 5})
    with pytest.raises(ConditionError, match="a native module keeps its own collector, so that growth means nothing"):
        Condition.of({"gc": "native", "growth": "pages"})


def test_a_condition_can_be_changed() -> None:
    assert str(Condition.of({"growth": "pages"}).changed("heap-limit", 65536)) == "growth=pages heap-limit=65536"
    assert str(Condition.of({"growth": "pages"}).changed("growth", "default")) == "default"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("color", "red", "invalid dimension 'color': expected gc, collector, growth"),
        ("gc", "blue", "gc: invalid choice 'blue': expected default, leaking, native"),
        ("heap-limit", "1KB", "heap-limit: invalid size '1KB'"),
        ("heap-limit", "", "heap-limit: invalid size ''"),
        ("growth", "step:x", "growth: invalid growth 'step:x'"),
        ("gc-every", "0", "gc-every: invalid number '0': expected a whole number from 1"),
        (
            "heap-limit",
            "1M..4M",
            "heap-limit: invalid range '1M..4M': expected FIRST..LAST/xN with N of 2 or more, or FIRST",
        ),
        ("gc-every", "1..", "gc-every: invalid range '1..': expected FIRST..LAST/xN"),
        ("gc-every", "1..4/x1", "gc-every: invalid range"),
        ("gc-every", "4..1/+1", "gc-every: invalid range"),
        ("gc-every", "default..4/+1", "'default' is not a number, which a range needs"),
        ("growth", "double..pages/x2", "'double' is not a number, which a range needs"),
        ("heap-limit", "1..8G/+1", f"it has 8,589,934,592 values; expected {MOST_VALUES:,} at most"),
    ],
)
def test_what_is_not_a_value_is_refused_in_words(name: str, text: str, why: str) -> None:
    with pytest.raises(ConditionError) as refused:
        grid({name: text})
    assert why in str(refused.value)


@pytest.mark.parametrize("name", ["a.wasm", "with space.wasm", "it's", "a=b", "growth=double", "ü", "no"])
def test_programs_are_known_by_the_text_of_a_condition(name: str) -> None:
    condition = Condition.of({"module": name, "input": "x", "growth": "double"})
    assert condition.options == ("--growth=double",)
    assert program_of(str(condition)) == condition.program == (name, "x")
    assert program_of(str(Condition())) == ("default", "default")


def test_patterns_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.wasm", "a.wasm"):
        Path(name).write_bytes(b"")
    assert read_values("module", "default,*.wasm,../x/y") == ("default", "a.wasm", "b.wasm", "../x/y")
    assert read_values("input", "1..2/x2,[x") == ("1..2/x2", "[x")
    with pytest.raises(ConditionError, match="module: invalid name ''"):
        read_values("module", "a,")


def test_every_dimension_is_an_option_of_a_run() -> None:
    options = {opt for each in command.params if isinstance(each, Option) for opt in each.opts}
    assert {f"--{name}" for name, each in DIMENSIONS.items() if not each.is_program} <= options
