"""What an option does, as far as a sweep shows it: outcomes by the value of one option, whatever the others were.

Of a sample there are too few outcomes to compare two that differ in one option alone; but the others are as likely in each
group, so that groups can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TYPE_CHECKING, Final

from tinyheap.lab.conditions import DIMENSIONS, Condition

if TYPE_CHECKING:
    from tinyheap.lab.outcome import Outcome

MOST_GROUPS: Final = 5
"""Of an option whose values are numbers: where there are more, those that follow one another are put together."""

_Case = tuple[str, "Outcome"]
"""The value of an option, and what became of the program under a condition that has it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of the program under the conditions that have one of some values of an option.

    Figures are medians of those that passed; None where none did, or where they are not known.
    """

    option: str
    values: tuple[str, ...]
    """One, or numbers that follow one another, ascending."""
    conditions: int
    """How many have it."""
    passed: int
    """How many of them the program passed."""
    peak_bytes: int | None
    memory_pages: int | None
    longest_pause_ns: int | None


def effects_of(outcomes: Sequence[Outcome]) -> tuple[Effect, ...]:
    """What each option does of which there are several values, in the order of `DIMENSIONS`; none for modules and inputs."""
    conditions = [Condition.from_text(each.condition) for each in outcomes]
    found: list[Effect] = []
    for option, dimension in DIMENSIONS.items():
        cases = [(each.value(option), outcome) for each, outcome in zip(conditions, outcomes, strict=True)]
        if not dimension.is_program and len({value for value, _ in cases}) > 1:
            found += (_effect(option, group) for group in _groups(cases))
    return tuple(found)


def _effect(option: str, cases: Sequence[_Case]) -> Effect:
    passed = [outcome for _, outcome in cases if outcome.passed]

    def middle(name: str) -> int | None:
        known = [value for each in passed if (value := getattr(each, name)) is not None]
        return median_low(known) if known else None

    return Effect(
        option,
        tuple(dict.fromkeys(value for value, _ in cases)),
        len(cases),
        len(passed),
        middle("peak_bytes"),
        middle("memory_pages"),
        middle("longest_pause_ns"),
    )


def _groups(cases: Sequence[_Case]) -> Iterator[list[_Case]]:
    """Those with one value each; numbers ascending, behind all else, and some together where they are many."""
    values = list(dict.fromkeys(value for value, _ in cases))
    numbers = sorted((value for value in values if value.isdecimal()), key=int)
    count = min(MOST_GROUPS, len(numbers))
    chosen = [[value] for value in values if not value.isdecimal()]
    chosen += (numbers[len(numbers) * at // count : len(numbers) * (at + 1) // count] for at in range(count))
    for some in chosen:
        yield [each for value in some for each in cases if each[0] == value]
