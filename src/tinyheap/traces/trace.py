"""Traces: what a mutator asked of its heap, as a list of steps that any collector can run again.

A *trace* is a header and steps of four 32-bit words, `op a b c`.  Objects go by *ids* and roots by *slots*,
so that a trace says nothing of addresses: those are the collector's business.  On disk everything is a
little-endian u32, eight header words first; a file may be compressed with gzip, whatever its name is.

    header  magic, word bytes, object ids, root slots, heap bytes, limit bytes, growth | 256 with a scheduler,
            header alignment
    step    op, a, b, c

A finalizer is a number; one that has a slot stores its object's address there when it runs.  Where the header says that
there is a scheduler, finalizers wait for RUN_FINALIZERS, and IDLE is where it has nothing to do.

Invariants of a trace that passed `check`: every operation is known; ids and slots are below the header's
counts; id 0 is never bound; a step that writes an object or takes its address names an id that is bound; a
write hits a word inside the object's size as requested (a reallocation makes the size the larger of old and
new).  Sizes of ids are known without running anything, so all of this is found before the first step.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from tinyheap.errors import TraceError
from tinyheap.files import write_whole
from tinyheap.heap.arguments import shown
from tinyheap.units import GIB, KIB, MIB

MAGIC: Final = 0x54434742
GZIP_MAGIC: Final = b"\x1f\x8b"
WORD_SIZES_BYTES: Final = (2, 4, 8)
HEADER_WORDS: Final = 8
STEP_WORDS: Final = 4
STEP_BYTES: Final = 4 * STEP_WORDS
STORE_WORD_MASK: Final = 0xFFFFF
"""The low bits of `b` in STORE: the word that is written; the bits above are an interior offset in words."""
STORE_INTERIOR_SHIFT: Final = 20
BLOCK_WORDS: Final = 4
SCHEDULER_BIT: Final = 1 << 8
"""In the header's growth word."""

FILE_LIMIT_BYTES: Final = 4 * GIB
"""The longest trace that is read, after decompression."""
STEPS_LIMIT: Final = (FILE_LIMIT_BYTES - 4 * HEADER_WORDS) // STEP_BYTES
"""The most steps that such a trace has."""
BOMB_RATIO: Final = 1000
"""Gzip cannot do better than about 1030:1, and no honest trace comes near."""
BOMB_FLOOR_BYTES: Final = 16 * MIB
"""A file that decompresses to less than this is never taken for a bomb."""
COUNT_FLOOR: Final = 1 << 20
"""The header may always count this many ids and slots; more only if the steps could use them."""
HEADER_ALIGNMENT_LIMIT_BYTES: Final = 64
LAYOUT_LIMIT_BYTES: Final = 16 * MIB
"""What all distinct out-of-line bitmaps of one trace may take together."""


class Op(IntEnum):
    """What a step does; the compiled player's numbers, in `_replay.pxd`, are held to these by a test."""

    operands: str
    """The words that it uses, as a format of `a`, `b`, `c`, and STORE's `word` and `interior`."""

    ALLOC = 0, "id={a} size={b} layout={c:#x}"
    STORE = 1, "id={a} word={word} value=id {c} + {interior} words"
    ROOT = 2, "slot={a} id={b} offset={c}"
    COLLECT = 3
    STORE_ADDRESS = 4, "id={a} word={b} value=heap start + {c}"
    REALLOC = 5, "id={a} size={b}"
    STORE_INTEGER = 6, "id={a} word={b} value={c}"
    COPY = 7, "id={a} from={b}"
    SET_FINALIZER = 8, "id={a} finalizer={b} slot+1={c}"
    RUN_FINALIZERS = 9
    IDLE = 10

    def __new__(cls, number: int, operands: str = "") -> Self:
        """The operation of that number."""
        member = int.__new__(cls, number)
        member._value_, member.operands = number, operands
        return member


class TraceGrowth(IntEnum):
    """How the heap grows when it is full, in both cases up to the trace's limit."""

    DOUBLE = 0
    FOUR_THIRDS = 1
    """To 4/3 of its size, rounded down to 4096 bytes."""


class Fault(IntEnum):
    """Why a step cannot be run; compiled code, which checks the same rules, has the same numbers."""

    reason: str
    """What is wrong, and what to do."""

    NONE = 0
    UNKNOWN_OPERATION = 1, f"there are only operations 0 to {max(Op)}; is the file shifted, or of a newer form?"
    ID_OUT_OF_RANGE = 2, "an id must be below the header's count of object ids"
    SLOT_OUT_OF_RANGE = 3, "a root slot must be below the header's count of root slots"
    NULL_ID = 4, "id 0 stands for null and is never bound; number objects from 1"
    UNBOUND_ID = 5, "the id is bound to no object here; allocate it first"
    OUTSIDE_OBJECT = 6, "the word lies outside the object's size as requested; write inside it"
    SIZE_BEYOND_ADDRESS_SPACE = 7, "the size and its header do not fit the address space of the word size"
    LAYOUT_BEYOND_WORD = 8, "the layout word does not fit the word size"
    LAYOUTS_TOO_LARGE = 9, f"all out-of-line layouts together pass {LAYOUT_LIMIT_BYTES} bytes"
    ZERO_SIZED_REALLOC = 10, "a zero-sized object is not on the heap and cannot be reallocated"
    NO_FINALIZERS = 12, "the collector has no finalizers; replay this trace on best-fit-back"
    """Of a trace and a collector, not of a trace alone."""
    STRAY_WRITE = 11, "the id dangles and its write would leave the heap; keep it reachable"
    """Found only by running: a dangling id, reallocated in place, was written past the memory of the heap."""

    def __new__(cls, number: int, reason: str = "") -> Self:
        """The fault of that number."""
        member = int.__new__(cls, number)
        member._value_, member.reason = number, reason
        return member


def describe_step(index: int, step: tuple[int, int, int, int]) -> str:
    """A step in words: its place in the trace, from 0, its operation and operands."""
    op, a, b, c = step
    if op not in set(Op):
        return f"step {index} (operation {op})"
    operands = Op(op).operands.format(a=a, b=b, c=c, word=b & STORE_WORD_MASK, interior=b >> STORE_INTERIOR_SHIFT)
    return f"step {index} ({Op(op).name} {operands}".rstrip() + ")"


def fault_message(index: int, step: tuple[int, int, int, int], fault: Fault) -> str:
    """One sentence on the fault of a step: where it is, what it says, and what it should be.

    Args:
        index: The step's place in the trace, from 0.
        step: Its four words.
        fault: Why it cannot be run.
    """
    return f"{describe_step(index, step)}: {fault.reason}"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace.  Its header is checked when it is made, its steps by `check`.

    Raises:
        TraceError: A header field makes no sense.
    """

    word_bytes: int
    object_ids: int
    """One more than the highest id."""
    root_slots: int
    heap_bytes: int
    """The heap's size at the start, its block table included."""
    limit_bytes: int
    """The size beyond which it does not grow."""
    growth: TraceGrowth
    header_alignment_bytes: int
    """What a header in front of an object is rounded up to; 0 means the word size."""
    ops: array[int] = field(repr=False)
    """Four words a step."""
    has_scheduler: bool = False
    """Whether finalizers wait until the trace runs them."""

    def __post_init__(self) -> None:
        check_header(self)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Trace:
        """The trace in the bytes of an uncompressed file; its steps are not looked at yet.

        Raises:
            TraceError: The magic is wrong, a header or step is cut short, or a header field makes no sense.
        """
        header_bytes = 4 * HEADER_WORDS
        if len(data) < header_bytes:
            raise TraceError(f"truncated header: the file has {len(data)} of its {header_bytes} bytes; it was cut")
        magic, *fields = _words_from(data[:header_bytes])
        if magic != MAGIC:
            raise TraceError(
                f"invalid magic {magic:#010x} at byte 0: expected {MAGIC:#010x} ('BGCT'), with which a trace starts"
            )
        whole, rest = divmod(len(data) - header_bytes, STEP_BYTES)
        if rest:
            raise TraceError(
                f"truncated operation: step {whole} at byte {len(data) - rest} has {rest} of its "
                f"{STEP_BYTES} bytes; the file was cut"
            )
        word_bytes, object_ids, root_slots, heap_bytes, limit_bytes, modes, alignment = fields
        growth = modes & ~SCHEDULER_BIT
        if growth not in set(TraceGrowth):
            raise TraceError(f"invalid growth mode {growth} in the header: expected 0 (doubling) or 1 (by 4/3)")
        return cls(
            word_bytes,
            object_ids,
            root_slots,
            heap_bytes,
            limit_bytes,
            TraceGrowth(growth),
            alignment,
            _words_from(data[header_bytes:]),
            has_scheduler=modes != growth,
        )

    def to_bytes(self) -> bytes:
        """The trace as the bytes of an uncompressed file."""
        header = (
            MAGIC,
            self.word_bytes,
            self.object_ids,
            self.root_slots,
            self.heap_bytes,
            self.limit_bytes,
            self.growth | SCHEDULER_BIT * self.has_scheduler,
            self.header_alignment_bytes,
        )
        return _bytes_from(array("I", header)) + _bytes_from(self.ops)

    @property
    def step_count(self) -> int:
        """The number of steps."""
        return len(self.ops) // STEP_WORDS

    @property
    def header_bytes(self) -> int:
        """The bytes in front of an object that the precise scanner of next-fit takes for its layout word."""
        alignment = self.header_alignment_bytes or self.word_bytes
        return -(-self.word_bytes // alignment) * alignment

    def step(self, index: int) -> tuple[int, int, int, int]:
        """The four words of a step, `op a b c`.

        Raises:
            IndexError: There is no such step.
        """
        if not 0 <= index < self.step_count:
            raise IndexError(f"invalid step {index}: the trace has {self.step_count} steps, counted from 0")
        op, a, b, c = self.ops[index * STEP_WORDS : (index + 1) * STEP_WORDS]
        return op, a, b, c

    def check(self) -> None:
        """Walks all steps without running them.

        Raises:
            TraceError: A step that no collector could run, the first one, with its place.
        """
        index, fault = first_fault(self)
        if fault:
            raise TraceError(fault_message(index, self.step(index), fault))


HEADER_NUMBERS: Final = (
    "word_bytes",
    "object_ids",
    "root_slots",
    "heap_bytes",
    "limit_bytes",
    "header_alignment_bytes",
)


def check_header(trace: Trace) -> None:
    """Raises TraceError where a header field makes no sense in itself or for the number of steps."""
    for name in HEADER_NUMBERS:
        number = getattr(trace, name)
        if not isinstance(number, int) or not 0 <= number < 1 << 32:
            raise TraceError(f"invalid {name} {shown(number)} in the header: expected a whole number of 32 bits")
    if trace.word_bytes not in WORD_SIZES_BYTES:
        raise TraceError(f"invalid word size {trace.word_bytes} in the header: expected 2, 4 or 8 bytes")
    if trace.heap_bytes == 0:
        raise TraceError("a heap of 0 bytes in the header: it needs room for a block and its state")
    if trace.limit_bytes < trace.heap_bytes:
        raise TraceError(
            f"the limit of {trace.limit_bytes} bytes in the header is below the initial heap of "
            f"{trace.heap_bytes} bytes"
        )
    if trace.word_bytes == 2 and trace.limit_bytes >= 64 * KIB:
        raise TraceError(f"a limit of {trace.limit_bytes} bytes in the header: 2-byte words address less than 64 KiB")
    alignment = trace.header_alignment_bytes
    if alignment & (alignment - 1) or alignment > HEADER_ALIGNMENT_LIMIT_BYTES:
        raise TraceError(
            f"invalid header alignment of {alignment} bytes in the header: expected 0 or a power of two up to "
            f"{HEADER_ALIGNMENT_LIMIT_BYTES}"
        )
    most = max(COUNT_FLOOR, trace.step_count + 2)
    for what, count in (("object ids", trace.object_ids), ("root slots", trace.root_slots)):
        if count > most:
            raise TraceError(
                f"the header counts {count} {what}, which {trace.step_count} steps cannot use; it may count {most}"
            )


def first_fault(trace: Trace) -> tuple[int, Fault]:
    """The first step that cannot be run and why; `(step_count, Fault.NONE)` for a good trace."""
    rules = StepRules(trace)
    checks: list[Callable[[int, int, int], Fault]] = [getattr(rules, op.name.lower()) for op in Op]
    ops = trace.ops
    for index, (op, a, b, c) in enumerate(zip(ops[::4], ops[1::4], ops[2::4], ops[3::4], strict=True)):
        if op >= len(checks):
            return index, Fault.UNKNOWN_OPERATION
        fault = checks[op](a, b, c)
        if fault:
            return index, fault
    return trace.step_count, Fault.NONE


class StepRules:
    """What each operation asks of its operands, given the steps before it; one method for each, by its name."""

    def __init__(self, trace: Trace) -> None:
        self.word_bytes = trace.word_bytes
        self.object_ids = trace.object_ids
        self.root_slots = trace.root_slots
        self.sizes_bytes = array("q", [-1]) * trace.object_ids
        """Of each id as requested; -1 where it is not bound."""
        address_space_bytes = 1 << 8 * trace.word_bytes
        self.most_bytes = address_space_bytes - trace.header_bytes - BLOCK_WORDS * trace.word_bytes
        self.most_layout = address_space_bytes - 1
        self.layouts = {0}
        self.bitmap_bytes = 0

    def alloc(self, a: int, b: int, c: int) -> Fault:
        """Binds id `a` to `b` bytes with layout `c`."""
        if b > self.most_bytes:
            return Fault.SIZE_BEYOND_ADDRESS_SPACE
        fault = self.binding(a) or self.layout(c)
        if not fault:
            self.sizes_bytes[a] = b
        return fault

    def realloc(self, a: int, b: int, _c: int) -> Fault:
        """Makes id `a`, bound or not, at least `b` bytes large."""
        if b > self.most_bytes:
            return Fault.SIZE_BEYOND_ADDRESS_SPACE
        fault = self.binding(a)
        if not fault and self.sizes_bytes[a] == 0:
            return Fault.ZERO_SIZED_REALLOC
        if not fault:
            self.sizes_bytes[a] = max(self.sizes_bytes[a], b)
        return fault

    def store(self, a: int, b: int, c: int) -> Fault:
        """Writes the low bits of `b` as a word's place; a value that is not bound counts as null."""
        if c >= self.object_ids:
            return Fault.ID_OUT_OF_RANGE
        return self.store_integer(a, b & STORE_WORD_MASK, 0)

    def store_integer(self, a: int, b: int, _c: int) -> Fault:
        """Writes word `b` of id `a`."""
        fault = self.bound(a)
        if not fault and (b + 1) * self.word_bytes > self.sizes_bytes[a]:
            return Fault.OUTSIDE_OBJECT
        return fault

    store_address = store_integer

    def root(self, a: int, b: int, _c: int) -> Fault:
        """Points slot `a` at id `b`, or clears it."""
        if a >= self.root_slots:
            return Fault.SLOT_OUT_OF_RANGE
        return self.bound(b) if b else Fault.NONE

    def copy(self, a: int, b: int, _c: int) -> Fault:
        """Binds id `a` to what `b` is bound to, which may be nothing."""
        if b >= self.object_ids:
            return Fault.ID_OUT_OF_RANGE
        fault = self.binding(a)
        if not fault:
            self.sizes_bytes[a] = self.sizes_bytes[b]
        return fault

    def collect(self, _a: int, _b: int, _c: int) -> Fault:
        """Has no operands."""
        return Fault.NONE

    run_finalizers = idle = collect

    def set_finalizer(self, a: int, _b: int, c: int) -> Fault:
        """Sets finalizer `_b` of id `a`, or clears it; slot `c - 1` is what it writes, if there is one."""
        if c > self.root_slots:
            return Fault.SLOT_OUT_OF_RANGE
        return self.bound(a)

    def binding(self, object_id: int) -> Fault:
        """Why the id cannot be bound."""
        if object_id >= self.object_ids:
            return Fault.ID_OUT_OF_RANGE
        return Fault.NONE if object_id else Fault.NULL_ID

    def bound(self, object_id: int) -> Fault:
        """Why the id names no object."""
        if object_id >= self.object_ids:
            return Fault.ID_OUT_OF_RANGE
        return Fault.UNBOUND_ID if self.sizes_bytes[object_id] < 0 else Fault.NONE

    def layout(self, layout: int) -> Fault:
        """Why the layout cannot be used; adds up the out-of-line bitmaps met so far."""
        if layout > self.most_layout:
            return Fault.LAYOUT_BEYOND_WORD
        if layout % 2 == 0 and layout not in self.layouts:
            self.layouts.add(layout)
            self.bitmap_bytes += -(-layout // 16)
            if self.bitmap_bytes > LAYOUT_LIMIT_BYTES:
                return Fault.LAYOUTS_TOO_LARGE
        return Fault.NONE


class TraceBuilder:
    """Builds a trace step by step, and checks each; `Trace.check` checks what depends on other steps.

    Its methods raise `TraceError` for numbers that do not fit the 32 bits that a step has for them.

    Args:
        heap_bytes: The heap's size at the start.
        word_bytes: 2, 4 or 8.
        limit_bytes: The size beyond which it does not grow; by default it never grows.
        growth: How it grows.
        header_alignment_bytes: What a header in front of an object is rounded up to; 0 means the word size.
        has_scheduler: Whether finalizers wait until the trace runs them.
    """

    def __init__(
        self,
        heap_bytes: int,
        *,
        word_bytes: int = 4,
        limit_bytes: int | None = None,
        growth: TraceGrowth = TraceGrowth.DOUBLE,
        header_alignment_bytes: int = 0,
        has_scheduler: bool = False,
    ) -> None:
        self.word_bytes = word_bytes
        self.heap_bytes = heap_bytes
        self.limit_bytes = heap_bytes if limit_bytes is None else limit_bytes
        self.growth = growth
        self.header_alignment_bytes = header_alignment_bytes
        self.has_scheduler = has_scheduler
        self.object_ids = 1
        self.root_slots = 0
        self._ops = array("I")

    def _add(self, op: Op, *operands: int) -> None:
        """A step whole, or not at all."""
        try:
            self._ops += array("I", (op, *operands))
        except (TypeError, OverflowError) as error:
            step = ", ".join(map(shown, (int(op), *operands)))
            raise TraceError(f"invalid step ({step}): expected four whole numbers of 32 bits") from error

    @property
    def step_count(self) -> int:
        """The number of steps so far."""
        return len(self._ops) // STEP_WORDS

    def alloc(self, size_bytes: int, layout: int = 0, *, id: int = 0) -> int:  # noqa: A002
        """Allocates an object; its id, a fresh one unless `id` names one to bind again."""
        self._add(Op.ALLOC, id or self.object_ids, size_bytes, layout)
        if not id:
            id = self.object_ids  # noqa: A001
            self.object_ids += 1
        return id

    def store(self, target: int, word: int, value: int = 0, *, interior_words: int = 0) -> None:
        """Writes the address of object `value`, or null, to a word of object `target`.

        Raises:
            TraceError: The word or the interior offset does not fit its field (20 and 12 bits).
        """
        if not 0 <= word <= STORE_WORD_MASK or not 0 <= interior_words < 1 << 12:
            raise TraceError(
                f"word {word} with an interior offset of {interior_words} words: a STORE has 20 bits "
                "for the word and 12 for the offset"
            )
        self._add(Op.STORE, target, word | interior_words << STORE_INTERIOR_SHIFT, value)

    def root(self, slot: int, id: int = 0, *, offset_bytes: int = 0) -> None:  # noqa: A002
        """Points a root slot at an object, or clears it; the trace has as many slots as the highest number used here."""
        self._add(Op.ROOT, slot, id, offset_bytes)
        self.root_slots = max(self.root_slots, slot + 1)

    def collect(self) -> None:
        """Asks for a collection."""
        self._add(Op.COLLECT, 0, 0, 0)

    def store_address(self, target: int, word: int, offset_bytes: int) -> None:
        """Writes heap start + `offset_bytes`, maybe a dangling address, to a word of an object."""
        self._add(Op.STORE_ADDRESS, target, word, offset_bytes)

    def realloc(self, id: int, size_bytes: int) -> None:  # noqa: A002
        """Reallocates an object; the id follows it."""
        self._add(Op.REALLOC, id, size_bytes, 0)

    def store_integer(self, target: int, word: int, value: int) -> None:
        """Writes an integer to a word of an object."""
        self._add(Op.STORE_INTEGER, target, word, value)

    def copy(self, target: int, source: int) -> None:
        """Makes one id name what another one names."""
        self._add(Op.COPY, target, source, 0)

    def set_finalizer(self, id: int, finalizer: int, *, slot: int | None = None) -> None:  # noqa: A002
        """Sets a finalizer, by its number; 0 clears it.  Where it has a slot, it roots its object there when it runs."""
        self._add(Op.SET_FINALIZER, id, finalizer, 0 if slot is None else slot + 1)
        if slot is not None:
            self.root_slots = max(self.root_slots, slot + 1)

    def run_finalizers(self) -> None:
        """Runs the finalizers that wait."""
        self._add(Op.RUN_FINALIZERS, 0, 0, 0)

    def idle(self) -> None:
        """Says that the scheduler is idle, which collects where many finalizers have been set."""
        self._add(Op.IDLE, 0, 0, 0)

    def build(self) -> Trace:
        """The trace, which stays as it is when more steps are added here.

        Raises:
            TraceError: A header field makes no sense.
        """
        return Trace(
            self.word_bytes,
            self.object_ids,
            self.root_slots,
            self.heap_bytes,
            self.limit_bytes,
            self.growth,
            self.header_alignment_bytes,
            self._ops[:],
            has_scheduler=self.has_scheduler,
        )


def read_trace(path: Path | str) -> Trace:
    """The trace in a file, compressed or not; its steps are not looked at yet.

    Raises:
        TraceError: As `unpacked`.
        OSError: The file cannot be read.
    """
    return unpacked(Path(path).read_bytes())


def begins_as_trace(data: bytes) -> bool:
    """Whether a file that begins with these bytes can be a trace, and nothing else that tinyheap reads."""
    return data.startswith((GZIP_MAGIC, MAGIC.to_bytes(4, "little")))


def unpacked(data: bytes) -> Trace:
    """The trace in the bytes of a file, compressed or not; its steps are not looked at yet.

    Raises:
        TraceError: As `Trace.from_bytes`; also where gzip data is damaged or unpacks to too much.
    """
    return Trace.from_bytes(_unpack(data) if data.startswith(GZIP_MAGIC) else data)


def write_trace(path: Path | str, trace: Trace) -> None:
    """Writes a trace to a file, whole or not at all; compressed with gzip if its name ends in `.gz`.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(Path(path), packed(trace, is_compressed=Path(path).suffix == ".gz"))


def packed(trace: Trace, *, is_compressed: bool) -> bytes:
    """The bytes of a trace's file.

    The same trace makes the same bytes: the compressed form carries no time and no name.
    """
    data = trace.to_bytes()
    if not is_compressed:
        return data
    packer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(data) + packer.flush()


def _unpack(data: bytes) -> bytes:
    """The bytes in gzip data of one or more members, never more than a trace of that size could hold."""
    most = min(FILE_LIMIT_BYTES, max(BOMB_FLOOR_BYTES, BOMB_RATIO * len(data)))
    parts, total, rest = [], 0, data
    while rest:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            part = unpacker.decompress(rest, most - total + 1)
        except zlib.error as error:
            raise TraceError(f"damaged gzip data after {total} bytes of the trace: {error}") from error
        total += len(part)
        if total > most:
            raise TraceError(
                f"{len(data)} bytes of gzip data unpack to more than {most}, the most that a trace may hold"
            )
        if not unpacker.eof:
            raise TraceError(f"truncated gzip data after {total} bytes of the trace; the file was cut")
        parts.append(part)
        rest = unpacker.unused_data.lstrip(b"\0")  # gzip allows zero padding behind a member
    return b"".join(parts)


def _words_from(data: bytes | bytearray | memoryview) -> array[int]:
    words = array("I")
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _bytes_from(words: array[int]) -> bytes:
    if sys.byteorder == "big":
        words = words[:]
        words.byteswap()
    return words.tobytes()
