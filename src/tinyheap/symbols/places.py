"""What stands where in a module's code: places in source files.

An *address* is what DWARF calls one in WebAssembly: an offset in bytes from the beginning of the code section's content.
What stands at an address is a *chain* of places, the outermost function first: each but the last is the place of a call
that the compiler inlined, and the next is in the function that was called there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


Chain = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """What stands at some addresses.

    Args:
        chains: By address; an address of which nothing is known is not there.
        problem: Why debug information that is there could not be read; None where there is none, or no problem.
    """

    chains: Mapping[int, Chain] = field(default_factory=dict)
    problem: str | None = None

    def __bool__(self) -> bool:
        return bool(self.chains)

    @property
    def files(self) -> set[str]:
        """All files that are mentioned."""
        return {place.file for chain in self.chains.values() for place in chain if place.file}

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON, each place once."""
        numbers: dict[Place, int] = {}
        chains = {
            str(address): [numbers.setdefault(place, len(numbers)) for place in chain]
            for address, chain in self.chains.items()
        }
        return {"places": [list(place) for place in numbers], "chains": chains, "problem": self.problem}

    @staticmethod
    def of_json(data: Mapping[str, Any]) -> Places:
        """What `as_json` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            places = [_checked(*place) for place in data["places"]]
            chains = {int(address): tuple(places[at] for at in found) for address, found in data["chains"].items()}
            return Places(chains, data["problem"])
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"these are no places: {error!r}") from error


def _checked(function: str, file: str, line: int) -> Place:
    """A place whose parts are of their types and within their ranges."""
    return Place(str(function)[:LONGEST_NAME], str(file)[:LONGEST_NAME], line if 0 < line <= LINE_LIMIT else 0)


def shortened(chain: Iterable[Place]) -> Chain:
    """A chain no deeper than `DEEPEST`."""
    places = tuple(chain)
    return places if len(places) <= DEEPEST else (places[0], *places[1 - DEEPEST :])
