"""Texts of call stacks: recursion folded, what is left out is said, no function of tinyheap's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyheap.hosts.frames import KNOWN_FRAMES, folded, shown, without_ours

STACKS = st.lists(st.sampled_from("abc"), max_size=40)


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("", "the host"),
        ("a", "a"),
        ("ab", "a < b"),
        ("aaab", "a 3 times < b"),
        ("cababab", "c < (a < b) 3 times"),
        ("abcabcd", "(a < b < c) 2 times < d"),
        ("aabaab", "(a < a < b) 2 times"),
    ],
)
def test_circles_of_calls_are_shown_once(stack: str, expected: str) -> None:
    assert shown(list(stack)) == expected


def test_a_long_recursion_says_how_often() -> None:
    assert shown(["f"] * 1204).startswith("f 1,204 times < ...")


@given(STACKS)
def test_folding_loses_nothing(stack: list[str]) -> None:
    assert [name for fold in folded(stack) for name in fold.functions * fold.times] == stack


@given(st.lists(st.sampled_from(["runtime.alloc", "main.f", "main.g", "(*fmt.pp).print", "runtime.x"]), max_size=18))
def test_what_is_left_out_is_counted(stack: list[str]) -> None:
    text = shown(stack)
    left_out = sum(int(number.replace(",", "")) for number in re.findall(r"\.\.\. \(([\d,]+) more\)", text))
    kept = re.sub(r"\.\.\. \([\d,]+ more\)", "", text)
    names = re.findall(r"\(((?:[^()]|\(\*fmt\.pp\))+)\) (\d+) times", kept)
    single = re.sub(r"\((?:[^()]|\(\*fmt\.pp\))+\) \d+ times", "", kept)
    count = sum(len(inner.split(" < ")) * int(times) for inner, times in names)
    for part in filter(None, (part.strip(" ") for part in single.split(" < "))):
        again = re.fullmatch(r"(.*) (\d+) times", part)
        count += int(again[2]) if again else part != "the host"
    assert count + left_out == len(stack)


def test_the_programs_own_code_is_shown_however_deep_the_runtime_is() -> None:
    runtime = [f"runtime.step{number}" for number in range(11)]
    text = shown([*runtime, "main.parse", "main.main", "runtime.run", "_start"])
    assert text.startswith("runtime.step0 < runtime.step1 < ")
    assert "... (5 more) < main.parse < main.main < ... (2 more)" in text


def test_what_wasmtime_does_not_tell_is_said() -> None:
    assert shown([str(at) for at in range(KNOWN_FRAMES)]).endswith("... (what called that is not known)")
    assert "not known" not in shown([str(at) for at in range(5)])


def test_our_own_functions_are_not_shown() -> None:
    assert without_ours(["runtime.alloc", "tinyheap.recorded_alloc", "main.f"]) == ("runtime.alloc", "main.f")
