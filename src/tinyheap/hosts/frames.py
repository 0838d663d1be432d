"""Call stacks for people to read: innermost first, recursion folded, without functions of tinyheap's.

    main.walk < (main.visit < main.walk) 8 times < main.main < _start

wasmtime gives the innermost twenty calls only, so that recursion is often seen without its beginning; the text then says
that there is more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_PREFIX: Final = "tinyheap."
"""What the names of functions begin with that were put into a program to serve or record it."""
KNOWN_FRAMES: Final = 20
"""So many frames wasmtime tells of, at most."""
_RUNTIME: Final = re.compile(r"\(?\*?(runtime|internal)[./]|tinygo_")
_SHOWN: Final = 8
_LONGEST_CYCLE: Final = 8


class GuestFrame(NamedTuple):
    """A call that has not returned, as wasmtime knows it."""

    function: int
    """Its index, in the module that was compiled."""
    offset: int
    """Of the instruction, in that module's bytes."""
    name: str | None
    """As the module's name section has it; None where it does not."""

    def __str__(self) -> str:
        return self.name or f"function {self.function}"


def plain_names(frames: Sequence[GuestFrame]) -> tuple[str, ...]:
    """A stack by the names of its functions."""
    return without_ours([str(frame) for frame in frames])


class Fold(NamedTuple):
    """Functions that called each other in a circle, and how often in a row."""

    functions: tuple[str, ...]
    times: int = 1

    def __str__(self) -> str:
        names = " < ".join(self.functions)
        if self.times == 1:
            return names
        return f"{names if len(self.functions) == 1 else f'({names})'} {self.times:,} times"


def without_ours(names: Sequence[str]) -> tuple[str, ...]:
    """A stack without the functions of tinyheap."""
    return tuple(name for name in names if not name.startswith(OWN_PREFIX))


def folded(stack: Sequence[str]) -> list[Fold]:
    """A stack with each circle of calls once; where several would do, the one that covers most, then the shortest."""
    folds, at = [], 0
    while at < len(stack):
        lengths = range(1, min(_LONGEST_CYCLE, len(stack) - at) + 1)
        repeats = {length: _repeats(stack, at, length) for length in lengths}
        length = max(
            (one for one in lengths if repeats[one] > 1), key=lambda one: (one * repeats[one], -one), default=1
        )
        folds.append(Fold(tuple(stack[at : at + length]), repeats[length]))
        at += length * repeats[length]
    return folds


def _repeats(stack: Sequence[str], at: int, length: int) -> int:
    """How often in a row the ``length`` frames at a place stand there."""
    cycle, times = stack[at : at + length], 1
    while stack[at + times * length : at + (times + 1) * length] == cycle:
        times += 1
    return times


def shown(stack: Sequence[str]) -> str:
    """A call stack in one line, innermost first: where it ended, and where the program's own code begins.

    Args:
        stack: All that is known of it, without functions of tinyheap.
    """
    folds = folded(stack)
    parts = [str(fold) for fold in folds]
    if len(folds) > _SHOWN:
        parts = _shortened(folds, parts)
    if len(stack) >= KNOWN_FRAMES - 1:
        parts.append("... (what called that is not known)")
    return " < ".join(parts) or "the host"


def _shortened(folds: list[Fold], parts: list[str]) -> list[str]:
    """The innermost of many, and the first that is the program's own with its caller."""
    own = next((at for at, fold in enumerate(folds) if not all(map(_RUNTIME.match, fold.functions))), 0)
    if own < _SHOWN - 1:
        return [*parts[:_SHOWN], *_left_out(folds[_SHOWN:])]
    head = _SHOWN - 2
    return [*parts[:head], *_left_out(folds[head:own]), *parts[own : own + 2], *_left_out(folds[own + 2 :])]


def _left_out(folds: list[Fold]) -> list[str]:
    count = sum(len(fold.functions) * fold.times for fold in folds)
    return [f"... ({count:,} more)"] if count else []
