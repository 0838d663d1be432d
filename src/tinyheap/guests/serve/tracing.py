"""What the original's allocator holds in its variables, found out beside an engine that does the same in another way.

The allocator of TinyGo 0.40 and later keeps its pointers in a record on the stack, so that a collection sees them, and
leaves them there: after each call the dead words below the stack pointer hold what its variables held last.  Who scans a
stack that is an object of the heap reads them.  `Tracer` follows the variables of one call, without its loops: it looks
at the free list before and after, and asks the engine what its marking did last.

`residue` says which variable is left where.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tinyheap.guests.serve.residue import Case
from tinyheap.heap.blockmap import lowest_free_run_of
from tinyheap.heap.contract import NO_BLOCK, BestFitEngine
from tinyheap.heap.geometry import SIZE_FIELD_BITS

if TYPE_CHECKING:
    from tinyheap.heap.buffers import Buffer
    from tinyheap.recognize.facts import BestFitHeap

WORD_BYTES: Final = 4
WORD_CODE: Final = "I"
"""A word's code in `array` and `struct`."""
BLOCK_BYTES: Final = 16
NIL: Final = 0


class Walk(StrEnum):
    """For what the free list is walked over; each keeps variables of its own."""

    TAKE = "take"
    """To find the range that the object is taken from."""
    PUT = "put"
    """To insert what is left of it."""
    BUILD = "build"
    """To insert the last range of a sweep."""
    GROW = "grow"
    """To insert the last range after a growth."""


class Tracer:
    """Follows the variables of one allocation, or of one collection on request.

    Args:
        facts: where the guest's variables are.
        engine: does the work, on the guest's heap.
        read: the word at an address of the guest's memory.
        read_words: all of them in a range of addresses.

    Attributes:
        values: The variables by name; one that the original has not set yet is missing, or nil.
    """

    def __init__(
        self,
        facts: BestFitHeap,
        engine: BestFitEngine,
        read: Callable[[int], int],
        read_words: Callable[[int, int], Buffer],
    ) -> None:
        self._facts, self._engine, self._read, self._read_words = facts, engine, read, read_words
        self.begins(0)

    @property
    def case(self) -> Case:
        """What the call came to."""
        return Case(
            self._is_empty,
            self._has_collected,
            self._has_scanned,
            self._has_masked,
            self._ends_masking,
            self._has_built,
            self._has_grown,
            self._has_split,
            self._has_listed,
        )

    # ---- a call, from its beginning to its end ------------------------------------------------------------------------

    def begins(self, size_bytes: int) -> None:
        """A call begins; for a collection on request the size is 0."""
        roots, geometry = self._facts.roots, self._engine.geometry
        self.values: dict[str, int] = {}
        self._is_empty = not size_bytes
        self._has_collected = self._has_scanned = self._has_masked = self._ends_masking = False
        self._has_built = self._has_grown = self._has_split = self._has_listed = False
        self._needed_blocks = self._engine.shape.blocks_for(geometry, size_bytes) if size_bytes else 0
        if roots.stack_chain_address is not None:
            self.values["chain"] = self._read(roots.stack_chain_address)
        if size_bytes:
            self._take()

    def collects(self) -> None:
        """A collection begins."""
        self._has_collected = True
        task = self._facts.roots.current_task_address
        self.values["task"] = NIL if task is None else self._read(task)
        self.values["table.collected"] = self._engine.geometry.table_address

    def marked(self) -> None:
        """All that is reached is marked, and nothing swept."""
        end, geometry = self._engine.marking_end, self._engine.geometry
        values = self.values
        roots = self._facts.roots
        values["scan.word"] = roots.globals_end_address - WORD_BYTES
        self._has_scanned = end.scanned != NO_BLOCK
        if not self._has_scanned:
            self._looked_at("span", self._read_words(roots.globals_start_address, roots.globals_end_address))
        else:
            first, behind = self._engine.extent(end.scanned)
            values["scan.table"] = geometry.table_address
            values["scan.first"], values["scan.end"] = geometry.address_of(first), geometry.address_of(behind)
            values["scan.header"] = self._header_of(first, behind)
            words, piece = self._last_words(first, behind)
            # An overwritten layout may name none.
            values["scan.word"] = words[-1] if words else NIL
            self._looked_at("span", self._words_at(words[piece:]))
        for name, head in (("whole", end.whole), ("inline", end.inline), ("outside", end.outside)):
            if head != NO_BLOCK and (words := self._last_words(*self._engine.extent(head))[0]):
                values[f"scan.{name}"] = words[-1]
        self._has_masked = end.inline != NO_BLOCK or end.outside != NO_BLOCK
        self._ends_masking = self._has_scanned and end.scanned != end.whole
        if end.has_several:
            values["scan.several"] = geometry.table_address
        if end.layout:
            values["scan.layout"] = end.layout
        if end.found:
            self._looked_at("found", array(WORD_CODE, [end.found]))
        self._looked_at("mark", self._words_at([values["scan.word"]]))

    def swept(self, free_bytes: int) -> None:
        """The collection is over, and the free list built."""
        geometry = self._engine.geometry
        self.values["table.end"] = geometry.table_address + (geometry.end_block + 3) // 4
        self._has_built = self._inserted_lowest(Walk.BUILD)
        # For a third of headroom it grows before it searches again.
        if free_bytes >= geometry.pool_bytes // 3:
            self._take()

    def grows(self) -> None:
        """A growth begins."""
        self._has_grown = True
        self.values["table.before"] = self._engine.geometry.table_address
        self._end_before = self._engine.geometry.end_block

    def grown(self, *, is_larger: bool) -> None:
        """The growth is over; the heap is larger, or could not be made so."""
        if not is_larger:
            self._take()
            return
        for name in [name for name in self.values if name.startswith(Walk.GROW)]:
            del self.values[name]
        if self._engine.shape.head_is_last:
            self._inserted(Walk.GROW, self._end_before, self._engine.geometry.end_block - self._end_before)
        else:
            self._inserted_lowest(Walk.GROW)
        self._take()

    def ends(self) -> None:
        """The call ends, with a new object if it asked for any bytes."""
        geometry, values = self._engine.geometry, self.values
        values["table"], values["heap.end"] = geometry.table_address, geometry.end_address
        values["heap.start"] = geometry.start_address
        if self._is_empty:
            return
        taken, needed = values["taken"], self._needed_blocks
        left = values.pop("take.blocks") - needed
        self._has_split = left > 0
        if self._has_split:
            is_first = self._inserted(Walk.PUT, geometry.block_of(taken) + needed, left)
            self._has_listed = is_first and not self._has_collected
        if needed > 1:
            values["taken.several"] = taken
            values["taken.table"] = geometry.table_address
            values["taken.last"] = taken + (needed - 1) * BLOCK_BYTES
            values["taken.second"], values["taken.before_last"] = (
                taken + BLOCK_BYTES,
                values["taken.last"] - BLOCK_BYTES,
            )

    # ---- the free list --------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Where the search goes, in the list as it is."""
        needed = self._needed_blocks
        if not needed:
            return
        values = self.values
        node = self._walk(Walk.TAKE, needed)
        for name in ("inner", "inner_next", "longer", "following"):
            values.pop(f"take.{name}", None)
        if not node:
            return
        inner = self._read(node + 2 * WORD_BYTES)
        values["take.inner"], values["taken"] = inner, inner or node
        values["take.blocks"] = self._read(node)
        if inner:
            values["take.inner_next"] = values["take.following"] = self._read(inner)
        else:
            values["take.longer"] = values["take.following"] = self._read(node + WORD_BYTES)

    def _walk(self, walk: Walk, blocks: int) -> int:
        """Walk to the first outer node of so many blocks or more, which is returned; nil at the list's end."""
        values, link = self.values, self._facts.free_ranges_address
        node, shorter = self._engine.free_list, 0
        while node:
            values[f"{walk}.met"] = node
            length = self._read(node)
            # A length that does not rise would lead in a circle; the engine refuses such a list.
            if length >= blocks or length <= shorter:
                break
            shorter = length
            values[f"{walk}.passed"] = node
            link = node + WORD_BYTES
            node = self._read(link)
        values[f"{walk}.link"], values[f"{walk}.node"] = link, node
        return node

    def _inserted_lowest(self, walk: Walk) -> bool:
        """The list was built anew, from the highest free range to the lowest; whether there is any."""
        engine = self._engine
        # Its ranges are all free runs now, and the table tells sooner than a list of a hundred thousand.
        lowest = lowest_free_run_of(engine.read_table(), engine.collector, engine.geometry.end_block)
        if lowest is not None:
            self._inserted(walk, *lowest)
        return lowest is not None

    def _inserted(self, walk: Walk, first: int, blocks: int) -> bool:
        """A range was inserted; what its insertion saw is told by where it is now: whether it is the first of its length."""
        values, at = self.values, self._engine.geometry.address_of(first)
        node = self._walk(walk, blocks)
        values[f"{walk}.range"], values[f"{walk}.length"] = at, blocks
        if node == at:
            # It is an outer node itself, and was put in front of the next.
            values[f"{walk}.node"] = values[f"{walk}.longer"] = following = self._read(at + WORD_BYTES)
            if following:
                values[f"{walk}.met"] = following
            elif f"{walk}.passed" in values:
                values[f"{walk}.met"] = values[f"{walk}.passed"]
            else:
                del values[f"{walk}.met"]
        else:
            values[f"{walk}.inner"] = self._read(at)
        return node == at

    # ---- objects --------------------------------------------------------------------------------------------------------

    def _looked_at(self, name: str, words: Buffer) -> None:
        """What is known of words that may refer to objects and were looked at one after another: each as far as it leads."""
        engine, geometry, values = self._engine, self._engine.geometry, self.values
        last = engine.last_leads(words)
        if last.upward:
            values[f"{name}.table"] = geometry.table_address
        for step, word in (("block", last.to_block), ("object", last.to_used), ("walked", last.inside)):
            if word:
                values[f"{name}.table_{step}"] = geometry.table_address
                values[f"{name}.{step}"] = geometry.address_of(geometry.block_of(word))
        if last.to_object:
            head = engine.find_head(geometry.block_of(last.to_object))
            values[f"{name}.head"] = geometry.address_of(head)
            values[f"{name}.header"] = header = self._header_of(*engine.extent(head))
            values[f"{name}.link"] = self._read(header)

    def _words_at(self, addresses: Sequence[int]) -> Buffer:
        """The words at some addresses."""
        if isinstance(addresses, range) and addresses:
            return self._read_words(addresses.start, addresses.stop)
        return array(WORD_CODE, map(self._read, addresses))

    def _header_of(self, first: int, end: int) -> int:
        """The address of an object's header, its link word."""
        geometry, shape = self._engine.geometry, self._engine.shape
        return geometry.address_of(end) - shape.header_bytes if shape.head_is_last else geometry.address_of(first)

    def _last_words(self, first: int, end: int) -> tuple[Sequence[int], int]:
        """The addresses of an object's last words to be marked from, and how many of them one call does not mark from."""
        geometry, shape = self._engine.geometry, self._engine.shape
        start = shape.address_of(geometry, first)
        words = shape.body_bytes(geometry, end - first) // WORD_BYTES
        size, bitmap, piece = self._layout_of(first, end)
        if size == 1:
            return range(start, start + words * WORD_BYTES, WORD_BYTES), 0
        element = start + (words // size - 1) * size * WORD_BYTES
        indices = [index for index in range(size) if bitmap >> index & 1]
        before = sum(index < (size - 1) // piece * piece for index in indices)
        return [element + index * WORD_BYTES for index in indices], before

    def _layout_of(self, first: int, end: int) -> tuple[int, int, int]:
        """A layout as the pattern's length in words, its bits, and how many of them are looked at at once."""
        if not self._facts.is_precise:
            return 1, 1, 1
        layout = self._read(self._engine.shape.layout_address(self._engine.geometry, first, end))
        if layout == 0:
            return 1, 1, 1
        if layout & 1:
            size_bits = SIZE_FIELD_BITS[WORD_BYTES]
            size = layout >> 1 & (1 << size_bits) - 1
            return size, layout >> 1 + size_bits, size
        size = self._read(layout)
        bitmap = sum(self._read(layout + WORD_BYTES + at) << 8 * at for at in range(0, -(-size // 8), WORD_BYTES))
        return size, bitmap & (1 << size) - 1, 8
