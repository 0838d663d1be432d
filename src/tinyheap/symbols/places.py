"""What stands where in a module's code: places in source files.

An *address* is what DWARF calls one in WebAssembly: an offset in bytes from the beginning of the code section's content.
What stands at an address is a *chain* of places, the outermost function first: each but the last is the place of a call
that the compiler inlined, and the next is in the function that was called there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

DEEPEST: Final = 64
"""Places in a chain, at most; of a longer one, those in the middle are left out."""
LONGEST_NAME: Final = 4096
"""Characters of the name of a function or a file, at most."""
LINE_LIMIT: Final = (1 << 31) - 1


class Place(NamedTuple):
    """A place in a source file."""

    function: str
    """The function's name; empty where it is not known."""
    file: str
    """The file's path as the compiler knew it; empty where it is not known."""
    line: int
    """From 1; 0 where it is not known, as of code that the compiler made by itself."""


class Variable(NamedTuple):
    """A variable that has an address of its own in linear memory."""

    name: str
    address: int
    size_bytes: int


class AllVariables(NamedTuple):
    """The variables of a module."""

    whole: tuple[Variable, ...] | None
    """Those that have an address of their own, the largest first; None where nothing is known."""
    parts: tuple[Variable, ...] = ()
    """Parts of others, as far as these lie in memory."""
    unplaced: tuple[str, ...] = ()
    """The names of those that lie nowhere."""
    problem: str | None = None
    """Why debug information that is there cannot be read; None for no problem."""


Chain = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """What stands at some addresses; made by `of`.

    Args:
        places: Each place once, as plain values; they become `Place` objects when asked for, since a run needs few.
        numbers: By address, as text, the places of its chain; an address of which nothing is known is not there.
        problem: Why debug information that is there could not be read; None where there is none, or no problem.
    """

    places: Sequence[Sequence[Any]] = field(default_factory=list)
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    problem: str | None = None

    @staticmethod
    def of(chains: Mapping[int, Chain], problem: str | None = None) -> Places:
        """The chains of some addresses."""
        numbers: dict[Place, int] = {}
        by_address = {
            str(address): [numbers.setdefault(place, len(numbers)) for place in chain]
            for address, chain in chains.items()
        }
        return Places([list(place) for place in numbers], by_address, problem)

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def chain(self, address: int) -> Chain:
        """What stands at an address; empty where that is not known."""
        return tuple(Place(*self.places[number]) for number in self.numbers.get(str(address), ()))

    @property
    def chains(self) -> Mapping[int, Chain]:
        """All of it, by address."""
        return {int(address): self.chain(int(address)) for address in self.numbers}

    @property
    def files(self) -> set[str]:
        """All files that are mentioned."""
        return {Place(*place).file for place in self.places} - {""}

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"places": self.places, "numbers": self.numbers, "problem": self.problem}

    @staticmethod
    def of_json(data: Mapping[str, Any]) -> Places:
        """What `as_json` gave."""
        return Places(data["places"], data["numbers"], data["problem"])


def checked(function: str, file: str, line: int) -> Place:
    """A place whose parts are of their types and within their ranges.

    Raises:
        TypeError: They are not.
    """
    return Place(str(function)[:LONGEST_NAME], str(file)[:LONGEST_NAME], line if 0 < line <= LINE_LIMIT else 0)


def shortened(chain: Iterable[Place]) -> Chain:
    """A chain no deeper than `DEEPEST`."""
    places = tuple(chain)
    return places if len(places) <= DEEPEST else (places[0], *places[1 - DEEPEST :])
