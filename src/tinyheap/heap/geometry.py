"""Where things lie: words, blocks, the pool of blocks and the block table behind it.

::

    start_address                     table_address         end_address
    |  block 0  |  block 1  |  ...  | slack |  block table  |
    <------------- pool_bytes ------------->< table_bytes  >
                                             2 bits a block, 4 blocks a byte

A *block* is four words.  The table stands at the end of the heap and covers every block; the *slack* (less than a
block) belongs to no block.  Addresses are the mutator's own: the heap may start at 0x20000400 although its bytes lie in
a ``bytearray``.  Address 0 is nil and never on the heap.

Source: ``calculateHeapAddresses`` and the constants of TinyGo's ``gc_blocks.go``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from tinyheap.errors import GeometryError
from tinyheap.heap.arguments import shown, shown_address, whole_number

WORDS_PER_BLOCK: Final = 4
BLOCKS_PER_TABLE_BYTE: Final = 4
"""Two state bits a block."""
WORD_SIZES: Final = (2, 4, 8)
"""AVR; WebAssembly and Cortex-M; hosted 64-bit systems."""
SIZE_FIELD_BITS: Final = {2: 4, 4: 5, 8: 6}
"""Bits of an inline layout's size field, by word size in bytes."""
NIL: Final = 0
NUMBERS: Final = ("start_address", "heap_bytes", "word_bytes", "word_alignment_bytes", "header_alignment_bytes")


@dataclass(frozen=True)
class Geometry:
    """Where the parts of a heap lie; a heap that grows gets another geometry.

    Args:
        start_address: the first byte of block 0; positive, a multiple of ``word_alignment_bytes``.
        heap_bytes: pool, slack and table together.
        word_bytes: a pointer's size: 2, 4 or 8.
        word_alignment_bytes: the step between words that may hold a pointer: ``word_bytes``, or 1 for two-byte
            words, as on AVR; 0 means the word size.
        header_alignment_bytes: what a header in front of an object is padded to: 16 on WebAssembly, 8 on Cortex-M; 0
            means the word size.
        has_table: False for the leaking collector, which has no blocks: the heap is all pool.
        table_counts_itself: False up to TinyGo 0.22, whose table has one byte for each four blocks that would fit into the
            whole heap, its own bytes included.

    Raises:
        GeometryError: the values do not describe a heap.
        InvalidTypeError: one is not a whole number.
    """

    start_address: int
    heap_bytes: int
    word_bytes: int = 8
    word_alignment_bytes: int = 0
    header_alignment_bytes: int = 0
    has_table: bool = True
    table_counts_itself: bool = True

    def __post_init__(self) -> None:
        for name in NUMBERS:
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if self.word_bytes not in WORD_SIZES:
            raise GeometryError(f"invalid word size of {shown(self.word_bytes)} bytes: expected 2, 4 or 8")
        if self.word_alignment_bytes == 0:
            object.__setattr__(self, "word_alignment_bytes", self.word_bytes)
        # Wider words that overlap would be read past the end of the smallest tables; no machine has them.
        if self.word_alignment_bytes != self.word_bytes and (self.word_bytes, self.word_alignment_bytes) != (2, 1):
            raise GeometryError(
                f"invalid alignment of {self.word_bytes}-byte words, {shown(self.word_alignment_bytes)} bytes: "
                "expected the word size, or 1 for two-byte words"
            )
        align = self.header_alignment_bytes
        if align < 0 or align > 64 or align & (align - 1):
            raise GeometryError(
                f"invalid header alignment of {shown(align)} bytes: expected 0 or a power of two up to 64"
            )
        if self.start_address <= NIL or self.start_address % self.word_alignment_bytes:
            raise GeometryError(
                f"invalid heap start {shown_address(self.start_address)}: "
                f"expected a positive multiple of {self.word_alignment_bytes}"
            )
        if self.heap_bytes < 0 or self.end_address > self.address_space_bytes:
            raise GeometryError(
                f"a heap of {shown(self.heap_bytes)} bytes at {shown_address(self.start_address)} does not fit the "
                f"{8 * self.word_bytes}-bit address space"
            )
        covered_bytes = BLOCKS_PER_TABLE_BYTE * self.table_bytes * self.block_bytes
        if not self.table_counts_itself and self.pool_bytes > covered_bytes:
            raise GeometryError(
                f"a heap of {shown(self.heap_bytes)} bytes is too small for a table that does not count itself: it would"
                f" cover {covered_bytes} of {self.pool_bytes} bytes"
            )

    @cached_property
    def address_space_bytes(self) -> int:
        """Number of addresses that a word can hold."""
        return 1 << (8 * self.word_bytes)

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return WORDS_PER_BLOCK * self.word_bytes

    @cached_property
    def header_bytes(self) -> int:
        """Bytes that the layout word takes in front of a precise object of next-fit; see `ObjectShape` for any."""
        align = max(self.header_alignment_bytes, self.word_bytes)
        return -(-self.word_bytes // align) * align

    @cached_property
    def table_bytes(self) -> int:
        """Bytes of the block table: one for each four blocks and itself, rounded up."""
        if not self.has_table:
            return 0
        share = BLOCKS_PER_TABLE_BYTE * self.block_bytes
        return (self.heap_bytes + share) // (1 + share) if self.table_counts_itself else self.heap_bytes // share

    @cached_property
    def pool_bytes(self) -> int:
        """Bytes in front of the table; an address is on the heap when it lies in them."""
        return self.heap_bytes - self.table_bytes

    @cached_property
    def end_block(self) -> int:
        """Number of blocks: the block just past the last."""
        return self.pool_bytes // self.block_bytes if self.has_table else 0

    @cached_property
    def table_address(self) -> int:
        """Address of the block table's first byte."""
        return self.start_address + self.pool_bytes

    @cached_property
    def end_address(self) -> int:
        """Address just past the heap."""
        return self.start_address + self.heap_bytes

    def is_on_heap(self, address: int) -> bool:
        """Whether the address lies in the pool, the slack included."""
        return 0 <= address - self.start_address < self.pool_bytes

    def block_of(self, address: int) -> int:
        """Index of the block that holds the address, which must be on the heap."""
        return (address - self.start_address) // self.block_bytes

    def address_of(self, block: int) -> int:
        """Address of a block's first byte."""
        return self.start_address + block * self.block_bytes

    def blocks_for(self, size_bytes: int) -> int:
        """Number of blocks that hold so many bytes."""
        return -(-size_bytes // self.block_bytes)

    def resized(self, heap_bytes: int) -> Geometry:
        """The same heap with another size in bytes."""
        return replace(self, heap_bytes=heap_bytes)
