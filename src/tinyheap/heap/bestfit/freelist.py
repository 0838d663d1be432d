"""The free list of a best-fit engine as it lies in memory, read without trusting it: its ranges, and its problems.

The list is made of words in free blocks, which a mutator overwrites when it writes to what it has freed, or past the end of
an object in front.  A walk follows no link that does not lead to the start of a free block, and none twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tinyheap.errors import HeapCorruptError
from tinyheap.heap.arguments import shown
from tinyheap.heap.blockmap import unpack_states
from tinyheap.heap.contract import BestFitEngine, State
from tinyheap.heap.problems import place_of, suspect_before


class Node(NamedTuple):
    """A range of the list.

    Args:
        address: of the node, which is the range's first byte.
        first: its first block.
        blocks: how many it has.
        is_outer: whether it is a node of the outer list, of three words; else of an inner one, of one word.
    """

    address: int
    first: int
    blocks: int
    is_outer: bool


def is_node(engine: BestFitEngine, address: int) -> bool:
    """Whether a node may lie at an address: at the start of a free block."""
    geometry = engine.geometry
    at = address - geometry.start_address
    block = at // geometry.block_bytes
    return at % geometry.block_bytes == 0 and 0 <= block < geometry.end_block and engine.state(block) is State.FREE


def nodes(engine: BestFitEngine) -> list[Node]:
    """All nodes in list order.

    Raises:
        HeapCorruptError: the list was overwritten.
    """
    walk = _Walk(engine)
    found = list(walk.nodes())
    if walk.problems:
        raise HeapCorruptError("; ".join(walk.problems))
    return found


def problems(engine: BestFitEngine, most: int = 16) -> list[str]:
    """What is wrong with the list, one line per problem: broken nodes, or else ranges that are not the free blocks."""
    walk = _Walk(engine)
    found = list(walk.nodes())
    if not walk.problems:
        walk.problems += _wrong_ranges(engine, found)
    return walk.problems[:most]


def damaged(engine: BestFitEngine) -> HeapCorruptError:
    """The error of an operation that met a broken list."""
    found = problems(engine)
    return HeapCorruptError("; ".join(found) or "the free list was overwritten")


@dataclass
class _Walk:
    """A walk over a list, and the places where it could not go on."""

    engine: BestFitEngine
    problems: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def nodes(self) -> Iterator[Node]:
        """The nodes in list order, as far as they can be reached."""
        geometry = self.engine.geometry
        address, from_node, shorter = self.engine.free_list, 0, 0
        while self._can_follow(address, from_node):
            first = geometry.block_of(address)
            blocks, most = self._word(address, 0), geometry.end_block - first
            if not shorter < blocks <= most:
                self._report(address, f"says that its range has {shown(blocks)} blocks, not {shorter + 1} to {most}")
                return
            yield Node(address, first, blocks, True)
            yield from self._inner(address, blocks)
            address, from_node, shorter = self._word(address, 1), address, blocks

    def _inner(self, outer: int, blocks: int) -> Iterator[Node]:
        """The nodes on the inner list of an outer one."""
        geometry = self.engine.geometry
        address, from_node = self._word(outer, 2), outer
        while self._can_follow(address, from_node):
            first = geometry.block_of(address)
            if first + blocks > geometry.end_block:
                self._report(address, f"is on the list of ranges of {blocks} blocks, but the heap ends before")
                return
            yield Node(address, first, blocks, False)
            address, from_node = self._word(address, 0), address

    def _word(self, node: int, index: int) -> int:
        return self.engine.load_word(node + index * self.engine.geometry.word_bytes)

    def _can_follow(self, address: int, from_node: int) -> bool:
        """Whether a link leads on: not where the list ends, nor where it is broken."""
        if address == 0:
            return False
        if address in self.seen:
            self._report(from_node, f"leads back to {address:#x}")
        elif not is_node(self.engine, address):
            self._report(from_node, f"leads to {address:#x}, where no free block begins")
        else:
            self.seen.add(address)
            return True
        return False

    def _report(self, node: int, what: str) -> None:
        if node == 0:
            self.problems.append(f"the free list's start {what}")
            return
        block = self.engine.geometry.block_of(node)
        suspect = suspect_before(self.engine, block)
        self.problems.append(f"the node of the free list in {place_of(self.engine, block)} {what}: {suspect}")


def _wrong_ranges(engine: BestFitEngine, found: list[Node]) -> Iterator[str]:
    """Where the ranges of a list that can be followed are not the free blocks."""
    geometry = engine.geometry
    states = unpack_states(engine.read_table(), geometry.end_block, engine.collector)
    covered = bytearray(geometry.end_block)
    for node in found:
        end = node.first + node.blocks
        taken = next((block for block in range(node.first, end) if states[block]), None)
        twice = covered.find(1, node.first, end)
        what = f"the free range at {place_of(engine, node.first)} has {node.blocks} blocks"
        if taken is not None:
            yield f"{what}, but block {taken} is taken"
        elif twice >= 0:
            yield f"{what}, but block {twice} is in another range, too"
        covered[node.first : end] = b"\1" * node.blocks
    lost = [block for block in range(geometry.end_block) if not states[block] and not covered[block]]
    if lost:
        yield f"{len(lost)} free blocks are in no range of the free list, the first is {place_of(engine, lost[0])}"
