"""What a call of the original's allocator leaves below the stack pointer: for each dead word, where its value comes from.

::

    sp ─┬──────────────────────────────
        │ ...       alloc's frame          sp - 52   taken
        │                                  sp - 96   take.link
        │                                  sp - 100  24            a constant: so many words hold pointers
        ├──────────────────────────────
        │ ...       insertFreeRange's      sp - 116  put.inner
        │                                  sp - 144  sp - 104      where the record above begins

Compilers decide which variable (`tracing`) lies where, and which calls become part of their callers; so this is not read
from the code but learned from what it does (`rehearsal`), and differs by what a call came to (`Case`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from tinyheap.heap.geometry import Geometry

_ADDRESS_BITS: Final = 32
_BLOCKS_PER_BYTE: Final = 4
_BLOCK_BYTES: Final = 16


class Case(NamedTuple):
    """What a call came to, as far as it decides which functions ran."""

    is_empty: bool
    """It asked for no bytes."""
    collects: bool
    """It ran a collection."""
    scans: bool
    """It scanned an object."""
    masks: bool
    """It scanned one by its layout."""
    ends_masking: bool
    """That was the last object it scanned."""
    builds: bool
    """That collection found something free."""
    grows: bool
    """The heap grew."""
    splits: bool
    """What was left of the range went back to the list."""
    lists: bool
    """It was the only one of its length there.  Only allocations that do not collect are told apart by this: others can be
    replayed where that makes a difference, and it does so only in programs that were not optimized."""

    @property
    def text(self) -> str:
        """In words."""
        return ", ".join(name.replace("_", " ") for name, holds in self._asdict().items() if holds) or "plain"


_ENDS: Final = tuple(
    (builds, grows, splits) for builds in (False, True) for grows in (False, True) for splits in (False, True)
)[3:]
"""What an allocation comes to after it has marked, as it finds and splits: it finds something free, or grows; what a
growth alone gives is never used up by one object."""
_REQUESTED_ENDS: Final = ((True, False, False), (False, False, False))
"""The same for a collection on request."""


class Kind(IntEnum):
    """Where a word's value comes from."""

    CONSTANT = 0
    """From nothing: it is always the same."""
    STACK = 1
    """The stack pointer, plus something."""
    VARIABLE = 2
    """A variable, plus something; nil while the variable is nil."""
    CELL = 3
    """The byte of the block table that holds the state of the block at the variable's address, plus something; nil likewise."""
    UNKNOWN = 4
    """No variable explains it; a replay of the call tells (`replay`)."""


class Word(NamedTuple):
    """A word that is left."""

    below_bytes: int
    """How far below the stack pointer at the call."""
    kind: Kind
    variable: str
    """The name of a variable, as `tracing.Tracer` has it; empty for other kinds."""
    added: int
    """What is added; the constant itself."""

    def value(self, variables: Mapping[str, int], stack_pointer: int, geometry: Geometry) -> int:
        """What is left there.

        Args:
            variables: by name; nil where one is missing.
            stack_pointer: at the call.
            geometry: of the heap after the call.
        """
        if self.kind is Kind.CONSTANT:
            return self.added
        if self.kind is Kind.STACK:
            return (stack_pointer + self.added) % (1 << _ADDRESS_BITS)
        value = variables.get(self.variable, 0)
        if value and self.kind is Kind.CELL:
            value = cell_of(value, geometry)
        return (value + self.added) % (1 << _ADDRESS_BITS) if value else 0


class Residue(NamedTuple):
    """What the calls of one function leave, and what they leave alone that a collection sees."""

    words: Mapping[Case, Sequence[Word]]
    """By case; a case that is not there was never seen."""
    seen: Sequence[int]
    """How far below the stack pointer the words lie that a collection scans, though they are from before the call."""
    seen_in_task: Sequence[int]
    """The same where the stack is an object of the heap."""
    seen_varies: bool
    """Whether that is not the same for every list of free ranges."""
    doubts: Mapping[Case, Sequence[Sequence[Word]]]
    """By case, what several variables of the marking explain alike, so far as it was rehearsed."""

    @property
    def touched(self) -> frozenset[int]:
        """How far below the stack pointer the words lie that a collection's calls write to."""
        return frozenset(word.below_bytes for case, words in self.words.items() if case.collects for word in words)

    @property
    def is_understood(self) -> bool:
        """Whether all that was ever left, or seen, is explained."""
        return not self.seen_varies and all(map(self.explains, self.words))

    def explains(self, case: Case) -> bool:
        """Whether all that is left in a case is known."""
        words = self.words.get(case)
        return words is not None and all(word.kind is not Kind.UNKNOWN for word in words)

    def explains_ends_of(
        self, marked: Case, variables: Mapping[str, int], stack_pointer: int, geometry: Geometry
    ) -> bool:
        """The same of all that a call may come to, and that what explains it agrees.

        Args:
            marked: what it has come to so far: it has marked, and not swept yet.
            variables: what its variables hold so far.
            stack_pointer: at the call.
            geometry: of the heap.
        """
        for builds, grows, splits in _REQUESTED_ENDS if marked.is_empty else _ENDS:
            end = marked._replace(builds=builds, grows=grows, splits=splits)
            for words in self.doubts.get(end, ()):
                if len({word.value(variables, stack_pointer, geometry) for word in words}) > 1:
                    return False
            if not self.explains(end):
                return False
        return True


class Residues(NamedTuple):
    """What was learned of a module's allocator."""

    functions: Mapping[int, Residue]
    """What each leaves, by its index among the heap's redirects."""
    allocator: bytes
    """A module with nothing in it but the allocator, which knows what nobody learned."""


def encode_residues(residues: Residues) -> bytes:
    """As a line of JSON, and the allocator."""
    functions = [
        [
            index,
            [[case, list(map(list, words))] for case, words in residue.words.items()],
            *residue[1:-1],
            [[case, [list(map(list, words)) for words in doubts]] for case, doubts in residue.doubts.items()],
        ]
        for index, residue in residues.functions.items()
    ]
    return json.dumps(functions).encode() + b"\n" + residues.allocator


def decode_residues(data: bytes) -> Residues:
    """What was encoded.

    Raises:
        ValueError: it is not what `encode_residues` wrote.
    """
    line, _, allocator = data.partition(b"\n")
    try:
        return Residues({index: _residue(*fields) for index, *fields in json.loads(line)}, allocator)
    except (TypeError, ValueError) as error:
        raise ValueError(f"these are not residues: {error}") from error


def _residue(
    words: Sequence[Any], seen: Sequence[int], seen_in_task: Sequence[int], seen_varies: bool, doubts: Sequence[Any]
) -> Residue:
    return Residue(
        {Case(*case): tuple(map(_word, found)) for case, found in words},
        tuple(seen),
        tuple(seen_in_task),
        seen_varies,
        {Case(*case): tuple(tuple(map(_word, each)) for each in found) for case, found in doubts},
    )


def _word(fields: Sequence[Any]) -> Word:
    below_bytes, kind, variable, added = fields
    return Word(below_bytes, Kind(kind), variable, added)


OF_ALLOCATIONS: Final = (
    *("chain", "table", "heap.start", "heap.end"),
    *("take.link", "take.node", "take.met", "take.passed"),
    *("take.inner", "take.inner_next", "take.longer", "take.following"),
    *("put.link", "put.node", "put.met", "put.passed", "put.inner", "put.range", "put.longer", "put.length"),
    *("taken", "taken.several", "taken.table", "taken.second", "taken.before_last", "taken.last"),
)
"""The variables that allocations set which need no collection, in the order that ``_list_allocator.pxd`` gives them."""


def left_by_allocations(residue: Residue) -> list[array[int]]:
    """What allocations leave which need no collection, for compiled code, in the order that ``_list_allocator.pxd`` gives them.

    Four numbers for each word, as in `Word`; a variable is its index in `OF_ALLOCATIONS`.
    """
    plain = Case(*[False] * len(Case._fields))
    return [
        array("Q", [number for word in residue.words.get(case, ()) for number in _numbers(word)])
        for case in (
            *(plain._replace(is_empty=True), plain),
            *(plain._replace(splits=True), plain._replace(splits=True, lists=True)),
        )
    ]


def _numbers(word: Word) -> tuple[int, int, int, int]:
    # A variable that such an allocation does not set is nil.
    if word.kind >= Kind.VARIABLE and word.variable not in OF_ALLOCATIONS:
        word = Word(word.below_bytes, Kind.CONSTANT, "", 0)
    variable = OF_ALLOCATIONS.index(word.variable) if word.variable else 0
    return word.below_bytes, word.kind, variable, word.added % (1 << 64)


def cell_of(address: int, geometry: Geometry) -> int:
    """The address of the table's byte that holds the state of the block at an address."""
    return geometry.table_address + (address - geometry.start_address) // (_BLOCKS_PER_BYTE * _BLOCK_BYTES)
