"""The executable specification of best-fit: what TinyGo's collectors since 0.40 have in common, one block at a time.

A free block holds the free list, an object's header the list of what is yet to be scanned::

    free_list -> | 2 | ---+-> | 5 | ---+-> | 9 | 0 | 0 |     outer nodes: length in blocks, next longer, first inner node
                 | inner  |   | inner  |
                   -> | next | -> | 0 |                      inner nodes: next of the same length

    marked  -> header: | link | layout |  -> header: | link | layout |  -> 0          last in, first out

To be read next to TinyGo's ``gc_blocks.go`` (and ``gc_precise.go`` for layouts), in its order: the free list, allocation,
mark.  Everything observable is as there: addresses, survivors, the order of the list, the bytes left in memory.  What the
two collectors differ in stands in ``front.py`` and ``back.py``.

Invariants outside a collection:

* no block is marked; every tail belongs to a head (`collectors` says on which side of it);
* the outer list's lengths rise; the ranges of the list cover every free block once, and nothing else;
* the states beyond the last block are free.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator

from tinyheap.heap.bestfit import freelist
from tinyheap.heap.buffers import Buffer
from tinyheap.heap.contract import NO_BLOCK, Embedder, LastLeads, MarkingEnd, Options, State, Statics
from tinyheap.heap.geometry import NIL, Geometry
from tinyheap.heap.model_base import BaseModel


class BestFitModel(BaseModel):
    """What the engines of both collectors share."""

    def __init__(
        self,
        memory: Buffer,
        geometry: Geometry,
        options: Options,
        statics: Statics,
        embedder: Embedder,
        debug: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(memory, geometry, options, statics, embedder, debug)
        self.free_list = NIL
        self._scan_list: list[int] = []
        """Heads that are marked and not scanned; also chained through their link words, as the original has them."""
        self.marking_end = MarkingEnd()

    def last_leads(self, words: Buffer) -> LastLeads:
        view, word_bytes = memoryview(words).cast("B"), self._geometry.word_bytes
        last: list[int] = []
        for at in range(len(view) // word_bytes - 1, -1, -1):
            word = int.from_bytes(view[at * word_bytes : (at + 1) * word_bytes], "little")
            last += [word] * (self._steps_to(word) - len(last))
        return LastLeads(*last)

    def _steps_to(self, word: int) -> int:
        """How many of the steps in `LastLeads` a word leads."""
        geometry = self._geometry
        if word < geometry.start_address:
            return 0
        block = geometry.block_of(word)
        if block >= geometry.end_block:
            return 1
        if self.state(block) is State.FREE:
            return 2
        head = self.find_head(block)
        return 3 if head == NO_BLOCK else 4 if head == block else 5

    # ---- the free list ----------------------------------------------------------------------------------------------

    def _insert(self, first: int, blocks: int) -> None:
        """Insert a range: as an outer node if no other has its length, else at the front of an inner list."""
        word_bytes = self._geometry.word_bytes
        address = self._geometry.address_of(first)
        link, node = self._seek(blocks)
        if node and self._load(node) == blocks:
            inner = node + 2 * word_bytes
            self._store(address, self._load(inner))
            self._store(inner, address)
        else:
            for index, word in enumerate((blocks, node, NIL)):
                self._store(address + index * word_bytes, word)
            self._set_link(link, address)

    def _take(self, needed_blocks: int) -> int:
        """Remove the shortest range that is long enough, and insert what is left of it; its first block or ``NO_BLOCK``."""
        link, node = self._seek(needed_blocks)
        if node == NIL:
            return NO_BLOCK
        next_longer, inner = (node + index * self._geometry.word_bytes for index in (1, 2))
        blocks = self._load(node)
        taken = self._load(inner) or node
        self._check_taken(taken, blocks, needed_blocks)
        if taken == node:
            longer = self._load(next_longer)
            if longer:
                self._checked_length(longer, blocks)
            self._set_link(link, longer)
        else:
            self._store(inner, self._load(taken))
        first = self._geometry.block_of(taken)
        if blocks > needed_blocks:
            self._insert(first + needed_blocks, blocks - needed_blocks)
        return first

    def _seek(self, blocks: int) -> tuple[int, int]:
        """The place of the link to the first outer node of so many blocks or more (nil: `free_list`), and the node or nil."""
        link, node, shorter = NIL, self.free_list, 0
        while node and (length := self._checked_length(node, shorter)) < blocks:
            link = node + self._geometry.word_bytes
            node, shorter = self._load(link), length
        return link, node

    def _set_link(self, link: int, node: int) -> None:
        if link == NIL:
            self.free_list = node
        else:
            self._store(link, node)

    def _checked_length(self, node: int, shorter: int) -> int:
        """The length of an outer node, which is longer than the one before it, so that no loop is followed for ever."""
        blocks = self._load(node) if freelist.is_node(self, node) else 0
        if not shorter < blocks <= self._geometry.end_block - self._geometry.block_of(node):
            raise freelist.damaged(self)
        return blocks

    def _check_taken(self, node: int, blocks: int, needed_blocks: int) -> None:
        """An object must not be written over another one, and neither the node of what is left."""
        geometry = self._geometry
        first = geometry.block_of(node)
        used = range(first, first + min(blocks, needed_blocks + 1))
        if not freelist.is_node(self, node) or first + blocks > geometry.end_block:
            raise freelist.damaged(self)
        if any(self.state(block) is not State.FREE for block in used):
            raise freelist.damaged(self)

    def free_ranges(self) -> list[tuple[int, int]]:
        return [(node.first, node.blocks) for node in freelist.nodes(self)]

    def _build_list(self) -> int:
        """Discard the list and insert all free runs, the highest first; returns the free blocks."""
        self.free_list = NIL
        free_blocks = 0
        block = self._geometry.end_block
        while True:
            while block > 0 and self.state(block - 1) is not State.FREE:
                block -= 1
            if block == 0:
                break
            end = block
            while block > 0 and self.state(block - 1) is State.FREE:
                block -= 1
            free_blocks += end - block
            self._insert(block, end - block)
        return free_blocks

    def write_table(self, table: bytes) -> None:
        super().write_table(table)
        self._build_list()

    # ---- allocation -------------------------------------------------------------------------------------------------

    def alloc(self, size_bytes: int, layout: object = None) -> int:
        size_bytes = self._checked_size(size_bytes)
        layout_word = 0 if layout is None else self._embedder.layout_word(layout, size_bytes)
        if size_bytes == 0:
            return self.zero_size_address
        self._check_no_interrupt()
        if self._shape.wraps(self._geometry, size_bytes):
            return self._embedder.finish_allocation(NIL, size_bytes)
        needed_blocks = self._shape.blocks_for(self._geometry, size_bytes)
        self._count(size_bytes, needed_blocks)
        try:
            first, has_asked = self._find_room(needed_blocks)
        except BaseException:
            # Not out of memory, but an error of a callback while collecting: as if nothing had been asked.
            self._count(-size_bytes, -needed_blocks, -1)
            raise
        if first == NO_BLOCK:
            return self._embedder.finish_allocation(NIL, size_bytes)
        address = self._commit(first, first + needed_blocks, layout_word)
        body_bytes = self._shape.body_bytes(self._geometry, needed_blocks)
        result = self._embedder.finish_allocation(address, size_bytes) if has_asked else address
        self._fill(address, body_bytes)
        return result

    def _find_room(self, needed_blocks: int) -> tuple[int, bool]:
        """The first of so many free blocks, or ``NO_BLOCK``; and whether the embedder was asked for them.

        The loop of TinyGo's ``runtime.alloc``, with its policies asked of the embedder.
        """
        has_collected = has_grown = False
        while True:
            first = self._take(needed_blocks)
            if first != NO_BLOCK:
                return first, has_collected
            if not has_collected:
                has_collected = True
                free_bytes = self._embedder.on_exhausted()
                if free_bytes < self._geometry.pool_bytes // 3:
                    # Keep a third of headroom, or the next collections would come ever closer together.
                    self._embedder.grow(needed_blocks)
                continue
            if not has_grown:
                self._debug(f"grow heap for request: {needed_blocks}")
                self._debug_ranges()
            has_grown = self._embedder.grow(needed_blocks)
            if not has_grown:
                return NO_BLOCK, True

    def _debug_ranges(self) -> None:
        """Print how many ranges there are of each length, as the original's ``dumpFreeRangeCounts``."""
        ranges = self.free_ranges() if self._is_debugging else []
        for length, count in Counter(blocks for _, blocks in ranges).items():
            self._debug(f"- {length} x {count}")

    def _commit(self, first: int, end: int, layout_word: int) -> int:
        """Write an object's states and its layout; returns its address for the mutator.  Its link word keeps its bytes."""
        head = self._shape.head_of(first, end)
        for block in range(first, end):
            self._set_state(block, State.HEAD if block == head else State.TAIL)
        if self._precise:
            self._store(self._shape.layout_address(self._geometry, first, end), layout_word)
        return self._shape.address_of(self._geometry, first)

    def _free_object(self, first: int, end: int) -> None:
        # Nothing is freed into a broken list.
        self._seek(end - first)
        super()._free_object(first, end)
        self._insert(first, end - first)

    # ---- mark -------------------------------------------------------------------------------------------------------

    def _mark_root(self, root: int) -> None:
        head = self._unmarked_head(root)
        if head == NO_BLOCK:
            return
        self._debug(f"found unmarked pointer {root:#x}")
        self.marking_end = self.marking_end._replace(found=self._geometry.address_of(self._geometry.block_of(root)))
        self._set_state(head, State.MARK)
        before = self._header_address(self._scan_list[-1]) if self._scan_list else NIL
        self._store(self._header_address(head), before)
        self._scan_list.append(head)
        self._mark_stack_peak = max(self._mark_stack_peak, len(self._scan_list))

    @abstractmethod
    def _header_address(self, head: int) -> int:
        """Where an object's header begins, with its link word."""

    def finish_mark(self) -> int:
        while self._scan_list:
            self._scan(self._scan_list.pop())
        return self._taken_unreadable()

    def mark_children(self, head: int) -> None:
        self._scan(head)

    def _scan(self, head: int) -> None:
        for address in self._pointer_addresses(head):
            self._words_scanned += 1
            self._mark_root(self._load(address))

    def _pointer_addresses(self, head: int) -> Iterator[int]:
        """Addresses of the words of an object's body that may hold a pointer."""
        geometry = self._geometry
        first, end = self.extent(head)
        start = self._shape.address_of(geometry, first)
        body_end = start + self._shape.body_bytes(geometry, end - first)
        step = geometry.word_alignment_bytes
        if not self._precise or self._load(self._shape.layout_address(geometry, first, end)) == 0:
            # Where words overlap (AVR) none crosses the body's end.
            self.marking_end = self._scans(head, end - first)._replace(whole=head)
            yield from range(start, body_end - geometry.word_bytes + 1, step)
            return
        size, bitmap = self._read_layout(head)
        layout = self._load(self._shape.layout_address(geometry, first, end))
        if layout & 1 and bitmap:
            self.marking_end = self._scans(head, end - first)._replace(inline=head)
        elif layout & 1 == 0 and size:
            self.marking_end = self._scans(head, end - first)._replace(outside=head, layout=layout)
        # Whole elements only.
        for element in range(start, body_end - size * step + 1, size * step) if bitmap else ():
            yield from (element + index * step for index in range(size) if bitmap >> index & 1)

    def _scans(self, head: int, blocks: int) -> MarkingEnd:
        """An object is scanned."""
        end = self.marking_end
        return end._replace(scanned=head, has_several=end.has_several or blocks > 1)

    def _read_layout(self, head: int) -> tuple[int, int]:
        size, bitmap = super()._read_layout(head)
        if size == 0 and bitmap:
            # The original would stand still here.
            return self._note_unreadable(head)
        return size, bitmap

    def unmark(self) -> None:
        self._scan_list.clear()
        super().unmark()

    # ---- sweep ------------------------------------------------------------------------------------------------------

    # `front.py` and `back.py` sweep, each in its way.

    def _free_swept(self, block: int) -> None:
        """Free a block: of an object that was not reached, or once more, where a node was that is obsolete now."""
        self._frees += self.state(block) is State.HEAD
        self._freed_blocks += self.state(block) is not State.FREE
        self._mark_free(block)

    # ---- looking ----------------------------------------------------------------------------------------------------

    def _kept_bytes(self) -> dict[int, int]:
        word_bytes = self._geometry.word_bytes
        return {node.first: (3 if node.is_outer else 1) * word_bytes for node in freelist.nodes(self)}

    def poison_free(self) -> None:
        kept = {self._geometry.address_of(block): size_bytes for block, size_bytes in self._kept_bytes().items()}
        start = self._geometry.start_address
        nodes = {address: bytes(self._memory[address - start :][:size]) for address, size in kept.items()}
        super().poison_free()
        for address, node in nodes.items():
            self._memory[address - start :][: len(node)] = node
