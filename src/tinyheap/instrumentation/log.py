"""Reads the log of an instrumented module: chunks of records, as `kernel/log.c` writes them.

    log = read_log(data)
    for record in log.records(): ...

A log is the chunks that `tinyheap.take` handed over, one behind another, from the first on.  What lies between two chunks is
passed over, so that a log may have gone through a stream that had something else in it.  A chunk begins with

    magic 8 bytes | module 8 | format 1, has clock 1, has layouts 1, is of best-fit 1 | its number | bytes of records
    | records lost so far | heapStart | heapEnd | endBlock | pages that the program sees

(numbers of 4 bytes where no size is given, all little-endian), and its records follow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tinyheap.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.guests.program import Program

TAKE_EXPORT: Final = "tinyheap.take"
"""The function that hands over what is in the log: it returns the address of a chunk."""
LOG_MEMORY_EXPORT: Final = "tinyheap.log_memory"
"""The memory that it lies in."""
MAGIC: Final = b"tnylog\x1a\n"
FORMAT: Final = 1
_HEADER: Final = struct.Struct("<8sQBBBB7I")
_WORD: Final = 4
_KIND_BITS: Final = 8
TIME_BITS: Final = 62
"""Of times in nanoseconds, and of what else is counted in two words."""


class Kind(IntEnum):
    """What a record is; those of events are numbered as in recordings (`EventKind`)."""

    ALLOCATION = 0
    REALLOCATION = 1
    FREE = 2
    COLLECTION = 3
    HEAP_GROWTH = 4
    MEMORY_GROWTH = 5
    CALL_BEGINS = 6
    CALL_ENDS = 7
    EXIT = 8


EVENTS: Final = (Kind.ALLOCATION, Kind.REALLOCATION, Kind.FREE)
_WORDS: Final = {
    Kind.COLLECTION: 14,
    Kind.HEAP_GROWTH: 5,
    Kind.MEMORY_GROWTH: 4,
    Kind.CALL_BEGINS: 3,
    Kind.CALL_ENDS: 3,
    Kind.EXIT: 2,
}
"""Words of each kind's own; a collection's survivors follow, of best-fit behind two more words."""
_END_BLOCK: Final = 5
"""Which of a collection's words says how many blocks there are."""
_MOST_BLOCKS: Final = 1 << 28


class Record(NamedTuple):
    """A record."""

    kind: int
    time_ns: int
    """By the clock of the log, whenever that began; 0 without one."""
    known: int
    """How many calls of the stack, from the outermost in, are as at the last record."""
    sites: tuple[int, ...]
    """The others, by number."""
    words: tuple[int, ...]
    """What its kind has."""
    heads: tuple[int, ...] = ()
    """Of a collection: words of 32 blocks, a bit for each that a surviving object begins at."""


@dataclass(frozen=True)
class Log:
    """A log as it was handed over."""

    module_id: int
    has_clock: bool
    has_layouts: bool
    is_best_fit: bool
    """Whether it is of TinyGo 0.40 or later."""
    lost: int
    """Records that found no room, all at the end."""
    heap_start_address: int
    heap_end_address: int
    end_block: int
    pages: int
    """The heap and the memory when it was last taken."""
    data: bytes = field(repr=False)
    """All records."""

    def records(self) -> Iterator[Record]:
        """All records, in the order of time.

        Raises:
            LogError: One is malformed.
        """
        if len(self.data) % _WORD:
            raise LogError(f"invalid log of {len(self.data)} bytes of records: expected whole words of {_WORD}")
        words, at = np.frombuffer(self.data, "<u4").astype(np.uint32, copy=False).data, 0
        while at < len(words):
            record, after = self._record(words, at)
            yield record
            at = after

    def _record(self, words: memoryview[int], at: int) -> tuple[Record, int]:
        """The record that begins at a word, and where the next one does."""
        begun, first, known, time_ns = at, words[at], 0, 0
        kind, count = first & (1 << _KIND_BITS) - 1, first >> _KIND_BITS
        if kind > Kind.EXIT:
            raise _at(begun, f"invalid kind of record {kind}: expected 0 to {int(Kind.EXIT)}")
        own = 2 + self.has_layouts if kind <= Kind.FREE else _WORDS[Kind(kind)]
        own += 2 * (self.is_best_fit and kind == Kind.COLLECTION)
        at += 2 + 2 * self.has_clock
        end = at + count + own
        if end > len(words):
            raise _at(begun, f"a record goes on to word {end}, and the log has {len(words)}")
        known = words[begun + 1]
        if self.has_clock:
            time_ns = words[begun + 2] | words[begun + 3] << 32
            if time_ns >> TIME_BITS:
                raise _at(begun, f"invalid time {time_ns}: expected less than 2**{TIME_BITS} nanoseconds")
        sites, fixed = tuple(words[at : at + count]), tuple(words[at + count : end])
        if kind != Kind.COLLECTION:
            return Record(kind, time_ns, known, sites, fixed), end
        heads, end = _heads(words, end, fixed[_END_BLOCK], begun)
        return Record(kind, time_ns, known, sites, fixed, heads), end


def take_log(program: Program) -> bytes:
    """What an instrumented program has logged since the last time, as a chunk; for hosts in Python.

    Raises:
        GuestError: The program is not instrumented, or cannot be called.
    """
    at = int(program.session.call(TAKE_EXPORT) or 0) % (1 << 32)
    header = program.memory.read(at, _HEADER.size)
    return header + program.memory.read(at + _HEADER.size, _HEADER.unpack(header)[7])


def read_log(data: bytes) -> Log:
    """What a file of chunks holds.

    Raises:
        LogError: It holds no log, or one that is cut off, of several runs, or of another format.
    """
    at, parts = data.find(MAGIC), list[bytes]()
    headers: list[tuple[int, ...]] = []
    if at < 0:
        raise LogError(
            f"this is not a log of an instrumented module: nowhere in it is {MAGIC!r}, which begins a chunk; "
            "expected the bytes that such a module handed over (tinyheap.take)"
        )
    while at >= 0:
        header, records, end = _chunk(data, at, len(headers))
        if headers and header[1:6] != headers[0][1:6]:
            raise LogError(f"the chunk at byte {at} is of another module than the first; expected the log of one run")
        headers.append(header)
        parts.append(records)
        at = data.find(MAGIC, end)
    (_, module_id, _, has_clock, has_layouts, is_best_fit, _, _, lost, *heap) = headers[-1]
    start, heap_end, end_block, pages = heap
    flags = has_clock == 1, has_layouts == 1, is_best_fit == 1
    return Log(module_id, *flags, lost, start, heap_end, end_block, pages, b"".join(parts))


def _chunk(data: bytes, at: int, number: int) -> tuple[tuple[int, ...], bytes, int]:
    """The header of the chunk at a byte, its records, and where it ends; it is to be of that number."""
    if at + _HEADER.size > len(data):
        raise LogError(
            f"the chunk at byte {at} is cut off in its header, after {len(data) - at} of {_HEADER.size} bytes; copy or take"
            " the log again"
        )
    header = _HEADER.unpack_from(data, at)
    form, *options, found, size = header[2:8]
    if form != FORMAT or max(options) > 1:
        raise LogError(
            f"the chunk at byte {at} is of format {form} ({', '.join(map(str, options))}): expected {FORMAT}, which this "
            "version of tinyheap reads"
        )
    if found != number:
        raise LogError(
            f"the chunk at byte {at} is number {found} of its run: expected {number}; a log is all chunks of one run, in order"
        )
    begin = at + _HEADER.size
    if size > len(data) - begin or size % _WORD:
        raise LogError(
            f"the chunk at byte {at} is cut off: it says {size} bytes of records, and {len(data) - begin} are there; "
            "copy or take the log again"
        )
    return header, data[begin : begin + size], begin + size


def _heads(words: memoryview[int], at: int, blocks: int, begun: int) -> tuple[tuple[int, ...], int]:
    """The survivors of a collection, whose words begin at one, and where they end."""
    if blocks > _MOST_BLOCKS:
        raise _at(begun, f"a heap of {blocks} blocks: expected {_MOST_BLOCKS} at most")
    wanted, heads = -(-blocks // 32), list[int]()
    while len(heads) < wanted:
        if at >= len(words):
            raise _at(begun, "a collection is cut off among its survivors")
        heads.append(words[at])
        if words[at] == 0:
            zeros = words[at + 1] if at + 1 < len(words) else 0
            if not 0 < zeros <= wanted - len(heads) + 1:
                raise _at(begun, f"{zeros} words without survivors, where {wanted - len(heads) + 1} are left")
            heads += [0] * (zeros - 1)
            at += 1
        at += 1
    return tuple(heads), at


def _at(word: int, problem: str) -> LogError:
    return LogError(f"invalid record at byte {word * _WORD} of all records: {problem}")
