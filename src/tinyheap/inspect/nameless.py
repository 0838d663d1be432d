"""Names for global words that no variable covers, by the code that mentions them.

A compiler that knows what a variable points to leaves the variable out, and uses that in its place: of a map in a variable
that is never assigned, only the map is left, and has no name.  Then the functions tell more that mention the address.  Where
all of them, the runtime's apart, are of one package, of which one variable has no place any more, and no other address like
it is used by that package, that variable is what it was.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tinyheap.inspect.roots import LENT, Span

_SHOWN: Final = 3
_LENDING: Final = frozenset({"malloc", "free", "calloc", "realloc"})
"""TinyGo's functions for C: what they lend is in a map that nothing else uses."""
_MOST_BYTES: Final = 64
"""So far an address that code mentions names what follows; a table may be long, and what is behind it is something else."""
_RUNTIME: Final = "runtime"
_PACKAGE: Final = re.compile(r"\(?\*?((?:[^()]*/)?[^./()]+)\.")


def nameless_spans(
    variables: Sequence[Span],
    mentions: Iterable[tuple[int, str]],
    end_address: int,
    unplaced: Sequence[str],
    holds: Callable[[Span], bool],
) -> list[Span]:
    """What lies between variables: from each address that code mentions up to the next one that is known, or some words on.

    Args:
        variables: those that have a place, without overlaps.
        mentions: addresses, and the functions whose code mentions them.
        end_address: where the globals end.
        unplaced: variables that have no place.
        holds: whether any word of a span refers to the heap.
    """
    starts = [span.start_address for span in variables]
    users: dict[int, set[str]] = defaultdict(set)
    for address, function in mentions:
        index = bisect_right(starts, address) - 1
        if (index < 0 or address >= variables[index].end_address) and address < end_address:
            users[address].add(function)
    known = sorted({*starts, *users, end_address})
    ends = {address: min(known[bisect_right(known, address)], address + _MOST_BYTES) for address in users}
    spans = [Span(address, ends[address], "") for address in sorted(users)]
    names = _by_elimination({span.start_address: users[span.start_address] for span in spans if holds(span)}, unplaced)
    return [
        Span(
            each.start_address,
            each.end_address,
            names.get(each.start_address) or _used(each, users[each.start_address]),
        )
        for each in spans
    ]


def _by_elimination(users: dict[int, set[str]], unplaced: Sequence[str]) -> dict[int, str]:
    """The addresses that can only be one variable."""
    users = {address: _own(functions) for address, functions in users.items()}
    names = {address: LENT for address, functions in users.items() if functions <= _LENDING}
    packages = {address: {_package(each) for each in functions} for address, functions in users.items()}
    single = {
        address: next(iter(each)) for address, each in packages.items() if len(each) == 1 and address not in names
    }
    addresses, variables = Counter(single.values()), Counter(map(_package, unplaced))
    for address, package in single.items():
        if addresses[package] == variables[package] == 1:
            names[address] = next(name for name in unplaced if _package(name) == package)
    return names


def _own(functions: set[str]) -> set[str]:
    """The functions without those of the runtime that were inlined into them."""
    return {each for each in functions if _package(each) != _RUNTIME} or functions


def _package(name: str) -> str:
    """The package of a function or a variable, such as ``main`` of ``(*main.conn).note``; empty where it has none."""
    match = _PACKAGE.match(name)
    return "" if match is None else match[1]


def _used(span: Span, functions: set[str]) -> str:
    names = sorted(_own(functions))
    shown, more = names[:_SHOWN], f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"at {span.start_address:#x}, mentioned by {', '.join(shown)}{more}"
