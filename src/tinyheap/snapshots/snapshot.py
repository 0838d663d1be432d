"""A program at one moment.

Addresses are the program's own, and memory begins at 0.  What is known of a moment depends on who has noted it: tinyheap
tells where the heap and the roots of a collection lie; a core dump of another tool has memory and call stack only, and a bare
image just memory.  `tinyheap.inspect` finds the rest out with the module.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tinyheap.errors import InputError, SnapshotError
from tinyheap.files import is_database, reason_of, text_of, write_whole
from tinyheap.heap.collectors import Collector
from tinyheap.heap.geometry import Geometry
from tinyheap.snapshots.moments import Moment
from tinyheap.units import GIB, WASM_PAGE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD_BYTES: Final = 4
MOST_FILE_BYTES: Final = 4 * GIB + 256 * 1024 * 1024
"""A file, uncompressed: all memory that there can be, and what else is known."""
_HEADER_ALIGNMENT_BYTES: Final = 16
_WASM: Final = b"\0asm"
_GZIP: Final = b"\x1f\x8b"
COMPRESSED: Final = ".gz"
"""What the name of a file ends with that is to be compressed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A call that had not returned.

    Args:
        function: its index in the program's own module.
        offset: of the instruction, in bytes from the beginning of the function's code; 0 where that is not known.
        name: the function's name, with source line where that is known.
    """

    function: int
    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class GlobalValue:
    """A global number of the program.

    Args:
        name: under which it is exported; for what is not, as other tools dump it, ``global[INDEX]``.
        kind: ``i32``, ``i64``, ``f32`` or ``f64``.
        value: what it held; integers are unsigned.
    """

    name: str
    kind: str
    value: int | float


class RootRangeKind(StrEnum):
    """What a range of memory that holds roots is."""

    GLOBALS = "globals"
    STACK = "stack"
    CHAIN = "chain"
    """A stack object, of those that compiled code links (``runtime.stackChainStart``)."""
    COLLECTOR = "collector"
    """A word that the collector's own functions leave below the end of the stack, and that it scans."""


@dataclass(frozen=True, slots=True)
class RootRange:
    """A range of memory that a collection scans for roots, from its start to before its end."""

    kind: RootRangeKind
    start_address: int
    end_address: int


@dataclass(frozen=True, slots=True)
class HeapRecord:
    """Where a heap and its roots lie.

    Args:
        collector: how objects lie in their blocks.
        is_precise: whether they have a layout.
        start_address: of the first block.
        heap_bytes: blocks and block table.
        table_counts_itself: False up to TinyGo 0.22 (`Geometry`).
        roots: what a collection at the moment would scan, in its order.
        finalizer_lists: addresses of the words that hold the first entries of the finalizers registered, and of those that
            are to run; None where the program has none.
        stack_canary: the word that the stack of each goroutine begins with; None where that is not known.
    """

    collector: Collector
    is_precise: bool
    start_address: int
    heap_bytes: int
    table_counts_itself: bool = True
    roots: tuple[RootRange, ...] = ()
    finalizer_lists: tuple[int, int] | None = None
    stack_canary: int | None = None

    @property
    def geometry(self) -> Geometry:
        """Where its parts lie.

        Raises:
            GeometryError: the record does not describe a heap.
        """
        return Geometry(
            self.start_address,
            self.heap_bytes,
            WORD_BYTES,
            header_alignment_bytes=_HEADER_ALIGNMENT_BYTES,
            table_counts_itself=self.table_counts_itself,
        )


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the objects of a recorded run come from, in columns, one entry for each object that is known.

    Args:
        address: what the program calls it.
        number: of the object, in the order of allocations, from 1.
        born_ns: nanoseconds from the beginning of the run.
        size_bytes: what was asked for.
        site: who allocated it, an index into ``sites``.
        sites: call sites as text, the allocating function first.
    """

    address: tuple[int, ...] = ()
    number: tuple[int, ...] = ()
    born_ns: tuple[int, ...] = ()
    size_bytes: tuple[int, ...] = ()
    site: tuple[int, ...] = ()
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Births:
    """All objects that a recorded run allocated, freed ones included: columns, indexed by the number of the allocation.

    Args:
        address: what the program called it; 0 where that is not known, as for number 0.
        size_bytes: what was asked for.
        site: who allocated it, an index into ``sites``.
        sites: call sites as text; the first one is empty.
    """

    address: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    site: NDArray[np.int64]
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """A program at one moment.

    Args:
        memory: all of its linear memory, from address 0 on; not to be changed.
        moment: when it was; None where that is not known.
        trap: how the program ended, in words; None where it did not, or that is not known.
        module_name: of its file; empty where it is not known.
        module_sha256: of its module's bytes, as hexadecimal digits; None where it is not known.
        stack_pointer: where its stack ended; None where it is not known.
        globals: those that can be read from outside.
        frames: its calls that had not returned, innermost first, as far as the engine tells.
        heap: where its heap lies; None where it was not served, or had not begun.
        allocations: how many it had made; None where that is not known.
        origins: of its objects; None where the run was not recorded.
    """

    memory: memoryview = field(repr=False)
    moment: Moment | None = None
    trap: str | None = None
    module_name: str = ""
    module_sha256: str | None = None
    stack_pointer: int | None = None
    globals: tuple[GlobalValue, ...] = ()
    frames: tuple[Frame, ...] = ()
    heap: HeapRecord | None = None
    allocations: int | None = None
    origins: Origins | None = field(default=None, repr=False)

    # ---- files ------------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file: a core dump or a bare memory image, compressed by gzip or not.

        Raises:
            InputError: the file cannot be read.
            SnapshotError: it is neither, or does not keep what it announces.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MOST_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"{text_of(path)}: {reason}") from error
        try:
            return cls.from_bytes(data)
        except SnapshotError as error:
            raise SnapshotError(f"{text_of(path)}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes, *, most_bytes: int = MOST_FILE_BYTES) -> Self:
        """What `load` reads, of the bytes of a file.

        Args:
            data: of the file.
            most_bytes: how long it may be, uncompressed.

        Raises:
            SnapshotError: it is neither core dump nor memory image, or does not keep what it announces.
        """
        data = _uncompressed(data, most_bytes)
        if data.startswith(_WASM):
            from tinyheap.snapshots.core_dump import decode

            return replace(cls(memoryview(b"")), **decode(data))
        if is_database(data):
            raise SnapshotError(
                "invalid snapshot: this is a recording, which `tinyheap report` shows; for the heap at one moment run the "
                "program once more: `tinyheap profile MODULE --snapshot FILE`, then `tinyheap inspect FILE`"
            )
        if not data or len(data) % WASM_PAGE_BYTES:
            raise SnapshotError(
                f"invalid snapshot of {len(data):,} bytes: expected a WebAssembly core dump, or the image of a memory, a "
                f"multiple of {WASM_PAGE_BYTES:,} bytes"
            )
        return cls(memoryview(data))

    def to_bytes(self, *, compressed: bool = False) -> bytes:
        """A core dump, to be written to a file."""
        from tinyheap.snapshots.core_dump import encode

        dump = encode(self)
        # No time of writing, so that equal snapshots are equal files.
        return gzip.compress(dump, 6, mtime=0) if compressed else dump

    def save(self, path: str | Path) -> None:
        """Write a file, as a core dump; compressed by gzip where its name ends in ``.gz``.

        Raises:
            OutputError: it cannot be written.
        """
        path = Path(path)
        write_whole(path, self.to_bytes(compressed=path.name.endswith(COMPRESSED)))

    # ---- what is known ----------------------------------------------------------------------------------------------

    def word_at(self, address: int) -> int:
        """The word at an address; 0 outside of memory."""
        return int.from_bytes(self.memory[address : address + WORD_BYTES], "little") if address >= 0 else 0

    def check_module(self, sha256: str) -> None:
        """Refuse a module that is not the program's.

        Raises:
            SnapshotError: it is another one.
        """
        if self.module_sha256 is not None and self.module_sha256 != sha256:
            name = f" {self.module_name}" if self.module_name else ""
            raise SnapshotError(
                f"invalid module: this one has the SHA-256 {sha256[:16]}..., and the snapshot is of{name} "
                f"{self.module_sha256[:16]}...: expected the module that ran"
            )

    @property
    def when(self) -> str:
        """The moment in words."""
        return "an unknown moment" if self.moment is None else str(self.moment)


def _uncompressed(data: bytes, most_bytes: int) -> bytes:
    """The content of a file that may be compressed.

    Raises:
        SnapshotError: it is damaged, or too long.
    """
    if data.startswith(_GZIP):
        try:
            with gzip.GzipFile(fileobj=BytesIO(data)) as file:
                data = file.read(most_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SnapshotError(f"invalid snapshot: its compressed content is damaged ({error})") from error
    if len(data) > most_bytes:
        raise SnapshotError(
            f"invalid snapshot of more than {most_bytes:,} bytes: expected no more than a memory can hold"
        )
    return data
