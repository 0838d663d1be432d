"""Grids of conditions: all that some dimensions allow together, or a sample of them.

A grid is the product of its dimensions, without what ``tinyheap run`` refuses as contradictions: a box for each choice of who
manages the heap, in which the dimensions that mean nothing for it are left out.  So conditions have numbers, from which each
can be made without the others, and a grid that no memory holds can be sampled.

What is sampled are choices of options.  Modules and inputs are not drawn: they are what options are tried on, and each is run
under all that were drawn, so that they can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, product
from math import prod
from typing import Final

from tinyheap.errors import ConditionError
from tinyheap.lab.conditions import DEFAULT, DIMENSIONS, GC, Condition, means_nothing, read_values
from tinyheap.units import counted

MOST_CONDITIONS: Final = 1_000_000
"""That are run, and are in memory as a whole."""

_Places = Sequence[int]
"""Which value of each dimension, from 0."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How some conditions were drawn from a grid; as text ``a sample of 40 of 3,456 conditions (seed 0)``."""

    size: int
    """How many there are; for each of the programs, where modules or inputs vary."""
    of: int
    """How many the grid has, likewise."""
    seed: int
    programs: int
    """How many are run under each."""
    grid: str
    """A hash of the dimensions and their values: drawn with the same seed from the same grid, one sample contains another."""

    def __str__(self) -> str:
        each = f", for each of {counted(self.programs, 'program')}" if self.programs > 1 else ""
        return f"a sample of {self.size:,} of {self.of:,} conditions (seed {self.seed}){each}"


class Grid(tuple[Condition, ...]):
    """Conditions that `grid` made: a tuple, which knows whether it is a sample."""

    sample: Sample | None
    """How they were drawn; None where they are all."""

    def __new__(cls, conditions: Iterable[Condition], sample: Sample | None = None) -> Grid:
        """The conditions, and how they were drawn."""
        made = super().__new__(cls, conditions)
        made.sample = sample
        return made


def grid(dimensions: Mapping[str, str], *, sample: int | None = None, seed: int = 0) -> Grid:
    """The conditions of some dimensions, contradictions apart; one, without any choice, where there are no dimensions.

    Args:
        dimensions: The values, as `read_values` takes them, by the names of dimensions.
        sample: How many to draw at random, from 1, where not all are wanted; all where the grid has no more.  The same
            number and seed draw the same ones everywhere, and a larger number draws these and others.  Where ``module`` or
            ``input`` vary it is so many for each program.  The first is not drawn: it is the program's own condition, which
            leaves all options out, or the first of the grid where that does not have it.
        seed: Chooses what is drawn.

    Raises:
        ConditionError: A dimension or a value is invalid, there are more than a million conditions to run, every one
            contradicts itself, or `sample` is below 1.
    """
    return expanded({name: read_values(name, text) for name, text in dimensions.items()}, sample, seed)


def size_of(values: Mapping[str, Sequence[str]], sample: int | None = None) -> int:
    """How many conditions of a grid are run."""
    return _Choices(values).size(sample)


def expanded(values: Mapping[str, Sequence[str]], sample: int | None = None, seed: int = 0) -> Grid:
    """The conditions of a grid whose values were read; see `grid`.

    Raises:
        ConditionError: There are more than a million to run, every condition contradicts itself, or `sample` is below 1.
    """
    if sample is not None and sample < 1:
        raise ConditionError(f"invalid sample {sample}: expected 1 condition or more")
    choices = _Choices(values if sample is None else {name: _own_first(each) for name, each in values.items()})
    if (count := choices.size(sample)) > MOST_CONDITIONS:
        raise ConditionError(
            f"invalid grid: it has {count:,} conditions to run; expected {MOST_CONDITIONS:,} at most, or a sample of so many"
        )
    if not count:
        first = choices.condition([0] * len(values))
        raise ConditionError(f"invalid grid: every condition contradicts itself, as '{first}': {first.contradiction}")
    if sample is None or sample >= choices.of:
        return Grid(choices.all())
    return Grid(choices.drawn(sample, seed), Sample(sample, choices.of, seed, choices.programs, choices.identity))


def _own_first(values: Sequence[str]) -> Sequence[str]:
    """Values with that of the program's own condition before all others, so that this is the first of each program."""
    return sorted(values, key=lambda value: value != DEFAULT)


def shuffled(count: int, seed: int, first: int) -> Iterator[int]:
    """The numbers below `count`, each once, in an order that the seed chooses, behind `first`.

    It is the shuffle of Fisher and Yates, of whose array only the places are kept that are not as they were.  What it draws are
    hashes, which are the same on each machine and under each Python, and long enough for any number.
    """
    moved = {first: 0}
    yield first
    for done in range(1, count):
        drawn = int.from_bytes(hashlib.sha256(f"{seed} {done}".encode()).digest())
        place = done + drawn % (count - done)
        yield moved.get(place, place)
        moved[place] = moved.get(done, done)


class _Choices:
    """What some dimensions allow, by the places of their values."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values
        self._boxes = list(self._made())
        self._sizes = [prod(map(len, box)) for box in self._boxes]
        self.of = sum(self._sizes)
        """How many choices of options there are."""
        self.programs = prod(len(each) for name, each in values.items() if DIMENSIONS[name].is_program)
        """How many are run under each."""

    @property
    def identity(self) -> str:
        """A hash of the dimensions and their values."""
        return hashlib.sha256(repr([(name, *each) for name, each in self._values.items()]).encode()).hexdigest()

    def size(self, sample: int | None) -> int:
        """How many conditions are run."""
        return self.programs * (self.of if sample is None else min(sample, self.of))

    def condition(self, places: _Places) -> Condition:
        """The one with the values at these places."""
        chosen = ((name, each[place]) for (name, each), place in zip(self._values.items(), places, strict=True))
        return Condition(tuple((name, value) for name, value in chosen if value != DEFAULT))

    def all(self) -> Iterator[Condition]:
        """Every condition, in the order of the dimensions and their values."""
        return self._of_programs(chain.from_iterable(product(*box) for box in self._boxes))

    def drawn(self, count: int, seed: int) -> Iterator[Condition]:
        """Those of so many choices of options, in the same order; the first choice is one of them."""
        starts = accumulate(self._sizes, initial=0)
        firsts = (
            ([each[0] for each in box], start)
            for box, size, start in zip(self._boxes, self._sizes, starts, strict=False)
            if size
        )
        _, first = min(firsts)
        return self._of_programs(map(self._choice, islice(shuffled(self.of, seed, first), count)))

    def _of_programs(self, choices: Iterable[_Places]) -> Iterator[Condition]:
        """The conditions of some choices of options: each of all programs."""
        programs = {
            at: range(len(each)) for at, (name, each) in enumerate(self._values.items()) if DIMENSIONS[name].is_program
        }
        boxes = ([programs.get(at, [place]) for at, place in enumerate(choice)] for choice in choices)
        return map(self.condition, sorted(chain.from_iterable(product(*box) for box in boxes)))

    def _made(self) -> Iterator[list[_Places]]:
        """A box for each choice of who manages the heap: the places that may be chosen in each dimension.

        Modules and inputs are not chosen here, so that there is one place of theirs.
        """
        for at, gc in enumerate(self._values.get(GC, (DEFAULT,))):
            yield [
                [at]
                if name == GC
                else range(1)
                if DIMENSIONS[name].is_program
                else [place for place, value in enumerate(each) if value == DEFAULT]
                if means_nothing(name, gc)
                else range(len(each))
                for name, each in self._values.items()
            ]

    def _choice(self, number: int) -> _Places:
        """The choice of options with this number."""
        boxes = zip(self._boxes, self._sizes, accumulate(self._sizes), strict=True)
        box, left = next((box, number - end + size) for box, size, end in boxes if number < end)
        places = []
        for each in reversed(box):
            left, digit = divmod(left, len(each))
            places.append(each[digit])
        return places[::-1]
