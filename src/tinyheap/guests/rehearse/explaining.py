"""What a word that is left on the stack may come from, narrowed trial by trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tinyheap.guests.serve.residue import Kind, Word, cell_of
from tinyheap.guests.serve.tracing import Walk
from tinyheap.heap.geometry import Geometry

VARIABLES: Final = (
    *("chain", "task", "table", "table.collected", "table.before", "table.end", "heap.start", "heap.end"),
    *(
        f"{walk}.{name}"
        for walk in Walk
        for name in ("link", "node", "met", "passed", "range", "inner", "longer", "length")
    ),
    *("take.inner_next", "take.following"),
    *("taken", "taken.several", "taken.table", "taken.second", "taken.before_last", "taken.last"),
    *("scan.table", "scan.several", "scan.first", "scan.end", "scan.header", "scan.layout"),
    *("scan.word", "scan.whole", "scan.inline", "scan.outside"),
    *(
        f"{which}.{name}"
        for which in ("found", "mark", "span")
        for name in (
            *("table", "table_block", "table_object", "table_walked"),
            *("block", "object", "head", "walked", "header", "link"),
        )
    ),
)
"""The names of `tracing`'s variables, the likeliest first."""


@dataclass(slots=True)
class Explanation:
    """What may explain one word in one case, by all trials so far.

    Args:
        is_untouched: whether the word was left alone each time.
        candidates: what gave its value each time.
        nil: sources that were nil whenever the word was 0, and never anything else.
    """

    is_untouched: bool
    candidates: list[Word] = field(default_factory=list)
    nil: list[tuple[Kind, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How much may still explain it."""
        return len(self.candidates) + len(self.nil)


@dataclass(frozen=True, slots=True)
class Left:
    """What a call left: one word below the stack pointer, and what it is to be explained by."""

    below_bytes: int
    value: int
    is_untouched: bool
    variables: Mapping[str, int]
    stack_pointer: int
    geometry: Geometry

    def begin(self) -> Explanation:
        """What may explain it, if there was no trial before."""
        made = Explanation(self.is_untouched)
        if not self.is_untouched:
            made.candidates = [
                Word(self.below_bytes, Kind.CONSTANT, "", self.value),
                Word(self.below_bytes, Kind.STACK, "", self.value - self.stack_pointer),
            ]
            made.nil = [(kind, name) for name in VARIABLES for kind in (Kind.VARIABLE, Kind.CELL)]
            self._see(made)
        return made

    def narrow(self, known: Explanation) -> None:
        """Drop what does not explain it."""
        if known.is_untouched and not self.is_untouched:
            known.is_untouched = False
        elif not known.is_untouched:
            known.candidates = [each for each in known.candidates if self._is_explained_by(each)]
            self._see(known)

    def _is_explained_by(self, word: Word) -> bool:
        return word.value(self.variables, self.stack_pointer, self.geometry) == self.value

    def _see(self, known: Explanation) -> None:
        """Sources that are not nil for the first time become candidates, or go."""
        nil = []
        for kind, name in known.nil:
            source = self.variables.get(name, 0)
            if not source:
                if not self.value:
                    nil.append((kind, name))
                continue
            if kind is Kind.CELL:
                if not self.geometry.start_address <= source < self.geometry.table_address:
                    continue
                source = cell_of(source, self.geometry)
            known.candidates.append(Word(self.below_bytes, kind, name, self.value - source))
        known.nil = nil


def simplicity(word: Word) -> tuple[int, int, int]:
    """How simple an explanation is, the simplest first."""
    return (
        word.kind,
        abs(word.added) if word.kind >= Kind.VARIABLE else 0,
        0 if not word.variable else VARIABLES.index(word.variable),
    )
