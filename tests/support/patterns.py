"""What an engine must answer about a row of block states: an oracle over plain lists.

Written down once more, from the meaning of the states and without an engine's code, so that all patterns can be
asked in seconds; on a sample the model is asked the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from tinyheap.heap.contract import NO_BLOCK, Census
from workbench import GLYPHS

FREE, HEAD, TAIL, MARK = range(4)
States = Sequence[int]
_TAKEN = str.maketrans("*-#", "   ")


def all_patterns(blocks: int) -> Iterator[tuple[int, ...]]:
    """Every row of so many states, those that no heap ever has included."""
    return product(range(4), repeat=blocks)


def pack(states: States) -> int:
    """The states as a number, two bits a block, the first one lowest."""
    return sum(state << 2 * block for block, state in enumerate(states))


class Swept(NamedTuple):
    """What a sweep leaves of a row."""

    states: list[int]
    freed_objects: int
    freed_blocks: int


def freeing_after(states: States, freeing: bool = False) -> bool:
    """Whether a sweep that comes from this row frees tails that follow."""
    for state in states:
        if state in (HEAD, MARK):
            freeing = state == HEAD
    return freeing


def sweep(states: States, freeing: bool = False) -> Swept:
    """Free heads and the tails behind them; marks become heads, and end what was being freed."""
    left = []
    freed_objects = freed_blocks = 0
    for state in states:
        dead = state == HEAD or (state == TAIL and freeing)
        freed_objects += state == HEAD
        freed_blocks += dead
        if state in (HEAD, MARK):
            freeing = state == HEAD
        left.append(FREE if dead else HEAD if state == MARK else state)
    return Swept(left, freed_objects, freed_blocks)


def heads(states: States, before: int = NO_BLOCK) -> list[int]:
    """For each block the nearest at or below that is not a tail; ``before`` is that of the block before the row."""
    found = []
    for block, state in enumerate(states):
        if state != TAIL:
            before = block
        found.append(before)
    return found


def nexts(states: States) -> list[int]:
    """For each block the first past the object, or the tails, that begin there."""
    found = [0] * len(states)
    tails_end = len(states)
    for block in reversed(range(len(states))):
        if states[block] != TAIL:
            found[block] = block if states[block] == FREE else tails_end
            tails_end = block
        else:
            found[block] = tails_end
    return found


def find_run(states: States, first: int, last: int, needed: int, run: int) -> tuple[int, int]:
    """The block past the first run of free blocks, or ``NO_BLOCK``; the length of the run that ends there."""
    for block in range(first, last):
        run = 0 if states[block] else run + 1
        if run == needed:
            return block + 1, run
    return NO_BLOCK, run


def wrong(states: States, before: int = FREE) -> list[int]:
    """Marks, and tails that follow no object."""
    found = []
    for block, state in enumerate(states):
        if state == MARK or (state == TAIL and before == FREE):
            found.append(block)
        before = state
    return found


def draw(states: States) -> str:
    """The row as glyphs."""
    return "".join(GLYPHS[state] for state in states)


def census(glyphs: str) -> Census:
    """How many blocks there are of each state in a row of glyphs, and the free runs."""
    free_blocks, heads, tails, marks = map(glyphs.count, GLYPHS)
    runs = glyphs.translate(_TAKEN).split()
    return Census(free_blocks, heads, tails, marks, len(runs), len(max(runs, key=len, default="")))


def marked_from(states: States, roots: Iterable[int]) -> list[int]:
    """The row after marking from some of its blocks, where no object refers to another."""
    left = list(states)
    head_of = heads(states)
    for block in roots:
        head = head_of[block]
        if states[block] != FREE and head != NO_BLOCK and states[head] == HEAD:
            left[head] = MARK
    return left
