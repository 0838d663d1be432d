"""What a guest's own collector finds and leaves on the guest's stack, for whoever collects in its place.

The original runs on that stack itself: its frames lie below the stack pointer at the call.  They can be seen, by a scan of
the stack that they lie on, and by whoever looks at memory later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from tinyheap.guests.serve.replay import Replay
from tinyheap.guests.serve.residue import Kind
from tinyheap.guests.serve.roots import root_ranges
from tinyheap.guests.serve.tracing import Tracer
from tinyheap.heap.contract import NO_BLOCK, State
from tinyheap.recognize.facts import BlockHeap, alloc_index

if TYPE_CHECKING:
    from tinyheap.guests.serve.memory import BoundMemory
    from tinyheap.guests.serve.residue import Residues, Word
    from tinyheap.heap.contract import BestFitEngine, Embedder, Engine, NextFitEngine, Options
    from tinyheap.recognize.facts import BestFitHeap, ServedHeap

WORD_BYTES: Final = 4
WORD: Final = 0xFFFF_FFFF
"""The greatest."""


class OriginalStack(Protocol):
    """Told what happens, in its order; says where the roots are."""

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """A function begins, by its index among the redirects: an allocation, or, of no bytes, a collection on request."""

    def collects(self) -> None:
        """A collection begins."""

    def root_ranges(self) -> Iterator[tuple[int, int]]:
        """Start and end address of each range of roots, in the original's order; looking changes nothing."""

    def hidden(self) -> Iterator[int]:
        """Addresses of words that a collection cannot see, since the original's own frames lie on them meanwhile."""

    def roots_marked(self) -> None:
        """All roots are marked, and nothing that follows from it."""

    def marked(self) -> None:
        """All that is reached is marked, and nothing swept."""

    def swept(self, free_bytes: int) -> None:
        """The sweep is over."""

    def grows(self) -> None:
        """The heap is to grow."""

    def grown(self, *, is_larger: bool) -> None:
        """It has grown, or could not."""

    def ends(self) -> None:
        """The function ends."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """A guest's memory as it was: what marking needs of it."""

    memory: memoryview
    stack_pointer: int
    start_address: int = 0

    def read(self, address: int, size_bytes: int = WORD_BYTES) -> int:
        """The number at an address."""
        return int.from_bytes(self.memory[address : address + size_bytes], "little")


class MarkStackOnStack:
    """Next-fit's: its mark stack is an array in a frame, and the engine uses that very place.

    Args:
        facts: where the guest's roots are, and where its mark stack would be.
        memory: the guest's.
        engine: of its heap.
        options: of the engine.
    """

    def __init__(self, facts: BlockHeap, memory: BoundMemory | _Copy, engine: NextFitEngine, options: Options) -> None:
        self._facts, self._memory, self._engine, self._options = facts, memory, engine, options

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """Nothing is left by allocations that do not collect."""

    def collects(self) -> None:
        """Lay out the mark stack for roots."""
        self._use(self._memory.stack_pointer - self._facts.mark_stack.root_bytes_below_alloc)

    def root_ranges(self) -> Iterator[tuple[int, int]]:
        """The stack, then the globals."""
        facts = self._facts
        return root_ranges(facts.roots, self._memory, self._memory.stack_pointer - facts.frame_bytes_scanned)

    def hidden(self) -> Iterator[int]:
        """Words that the mark stack lies on before they are scanned, where a stack is an object, as those of goroutines are.

        Which ones depends on the order of marking, so a copy of memory is marked: a word of the array that leads to what is
        not reached then was not seen.  None, where the array lies outside of the heap.
        """
        places = [each for each in self._array_words() if self._engine.geometry.is_on_heap(each)]
        copy = self._marked_copy() if places else self._engine
        for place in places:
            value = int.from_bytes(self._memory.memory[place : place + WORD_BYTES], "little")
            if self._is_unmarked(copy, value):
                yield place

    def _array_words(self) -> Iterator[int]:
        """Addresses of the entries of the mark stack, wherever it may be laid."""
        stack, pointer = self._facts.mark_stack, self._memory.stack_pointer
        for below in {stack.root_bytes_below_alloc, stack.rescan_bytes_below_alloc}:
            yield from range(pointer - below, pointer - below + WORD_BYTES * stack.entries, WORD_BYTES)

    def _marked_copy(self) -> Engine:
        """The heap in a copy of memory, after marking."""
        geometry = self._engine.geometry
        copy = _Copy(memoryview(bytearray(self._memory.memory)), self._memory.stack_pointer)
        view = copy.memory[geometry.start_address : geometry.end_address]
        # Marking asks nothing of an embedder.
        engine: NextFitEngine = type(self._engine)(view, geometry, self._options, copy, cast("Embedder", None))
        stack = MarkStackOnStack(self._facts, copy, engine, self._options)
        stack.collects()
        for start, end in stack.root_ranges():
            engine.mark_roots(copy.memory[start:end])
        stack.roots_marked()
        engine.finish_mark()
        return engine

    @staticmethod
    def _is_unmarked(engine: Engine, address: int) -> bool:
        """Whether an address lies in an object that is not marked."""
        geometry = engine.geometry
        if not geometry.is_on_heap(address):
            return False
        head = engine.find_head(geometry.block_of(address))
        return head != NO_BLOCK and engine.state(head) is State.HEAD

    def roots_marked(self) -> None:
        """Lay out the mark stack for rescans, where that is another place."""
        stack = self._facts.mark_stack
        if stack.rescan_bytes_below_alloc != stack.root_bytes_below_alloc:
            self._use(self._memory.stack_pointer - stack.rescan_bytes_below_alloc)

    def _use(self, address: int) -> None:
        """Lay the mark stack where the original's is, if there is such a place left."""
        if address >= 0:
            end_address = address + WORD_BYTES * self._facts.mark_stack.entries
            self._engine.use_mark_stack(self._memory.memory[address:end_address])

    def marked(self) -> None:
        """The mark stack is left as it is."""

    def swept(self, free_bytes: int) -> None:
        """Sweeps leave nothing."""

    def grows(self) -> None:
        """Growths leave nothing."""

    def grown(self, *, is_larger: bool) -> None:
        """Growths leave nothing."""

    def ends(self) -> None:
        """Nothing is left by allocations that do not collect."""


class OtherCollector:
    """Another collector than the program's own has no frames there, finds what the program left, and leaves nothing.

    Args:
        facts: where the guest's roots are.
        memory: the guest's.
    """

    def __init__(self, facts: ServedHeap, memory: BoundMemory) -> None:
        self._facts, self._memory = facts, memory

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """Nothing is left."""

    def collects(self) -> None:
        """Nothing is hidden."""

    def root_ranges(self) -> Iterator[tuple[int, int]]:
        """The stack, then the globals."""
        return root_ranges(self._facts.roots, self._memory, self._memory.stack_pointer)

    def hidden(self) -> Iterator[int]:
        """None."""
        return iter(())

    def roots_marked(self) -> None:
        """Nothing changes."""

    def marked(self) -> None:
        """Nothing is left."""

    def swept(self, free_bytes: int) -> None:
        """Count the collection, where the program has a counter for them."""
        address = None if isinstance(self._facts, BlockHeap) else self._facts.collections_address
        if address is not None:
            self._memory.write(address, self._memory.read(address) + 1 & WORD)

    def grows(self) -> None:
        """Nothing is left."""

    def grown(self, *, is_larger: bool) -> None:
        """Nothing is left."""

    def ends(self) -> None:
        """Nothing is left."""


class RecordOnStack:
    """Best-fit's: all pointers are kept in records on the stack, and left there (`residue`).

    Args:
        facts: where the guest's roots and variables are.
        residues: what its functions leave.
        memory: the guest's.
        engine: of its heap.
        replays: whether the original can be asked, since it would come to the same heap; not where objects are made longer.
    """

    def __init__(
        self, facts: BestFitHeap, residues: Residues, memory: BoundMemory, engine: BestFitEngine, *, replays: bool
    ) -> None:
        self._facts, self._residues, self._memory, self._engine = facts, residues, memory, engine
        self._residue = next(iter(residues.functions.values()))
        self._tracer = Tracer(facts, engine, memory.read, memory.read_words)
        self._replay = Replay(residues.allocator, facts, memory, engine)
        self._index = self._alloc_index = alloc_index(facts)
        self._replays = replays
        self._can_replay = self._is_in_doubt = False
        self._covered: list[tuple[int, int]] = []
        """Words that the original's frames lie on while it marks: address, and what was there."""

    def begins(self, index: int, size_bytes: int, layout: int) -> None:
        """Begin to follow the function's variables."""
        self._index, self._residue = index, self._residues.functions[index]
        self._tracer.begins(size_bytes)
        self._replay.begins(index, size_bytes, layout)
        self._can_replay, self._is_in_doubt = self._replays, False

    def collects(self) -> None:
        """Follow it, and hide what the original's frames lie on."""
        self._tracer.collects()
        if self._in_task and self._can_replay and not self._residue.is_understood and self._replay.make():
            self._mark_what_survives()
        else:
            self._cover(self.hidden())

    def root_ranges(self) -> Iterator[tuple[int, int]]:
        """The stack, with what is seen below its end, then the globals."""
        if not self._in_task:
            for address in self._places(reversed(self._residue.seen)):
                yield address, address + WORD_BYTES
        yield from root_ranges(self._facts.roots, self._memory, self._memory.stack_pointer)

    def hidden(self) -> Iterator[int]:
        """What the frames touch and is not seen."""
        residue = self._residue
        seen = residue.seen_in_task if self._in_task else residue.seen
        return self._places(residue.touched - set(seen))

    def roots_marked(self) -> None:
        """Nothing changes."""

    @property
    def _in_task(self) -> bool:
        """Whether a goroutine runs."""
        address = self._facts.roots.current_task_address
        return address is not None and self._memory.read(address) != 0

    def _mark_what_survives(self) -> None:
        """Mark from the dead part of a goroutine's stack what the original has marked, whatever it saw there."""
        engine, geometry = self._engine, self._engine.geometry
        end = self._memory.stack_pointer
        first, _ = engine.extent(engine.find_head(geometry.block_of(end)))
        places = range(engine.shape.address_of(geometry, first), end, WORD_BYTES)
        words = {*map(self._memory.read, places), *map(self._replay.left, places)}
        engine.mark_addresses(sorted(filter(self._replay.has_survived, words)))
        self._cover(places)

    def _cover(self, places: Iterable[int]) -> None:
        for address in places:
            self._covered.append((address, self._memory.read(address)))
            self._memory.write(address, 0)

    def marked(self) -> None:
        """Follow it; where what will be left may not be explained, keep what tells."""
        tracer = self._tracer
        tracer.marked()
        # Where the call was made already, objects were not marked in the original's order, which variables tell of.
        self._is_in_doubt = (
            self._replay.has_kept
            or self._looks_at_finalizers()
            or not self._residue.explains_ends_of(
                tracer.case, tracer.values, self._memory.stack_pointer, self._engine.geometry
            )
        )
        if self._can_replay and self._is_in_doubt and not self._replay.has_kept:
            self._replay.keep(self._covered)

    def _looks_at_finalizers(self) -> bool:
        words = self._facts.finalizers
        read = self._memory.read
        return words is not None and bool(read(words.registered_address) or read(words.pending_address))

    def swept(self, free_bytes: int) -> None:
        """Follow it."""
        self._tracer.swept(free_bytes)

    def grows(self) -> None:
        """Follow it."""
        self._tracer.grows()

    def grown(self, *, is_larger: bool) -> None:
        """Follow it."""
        self._tracer.grown(is_larger=is_larger)

    def ends(self) -> None:
        """Leave the variables where the original has them."""
        tracer, memory = self._tracer, self._memory
        tracer.ends()
        self._can_replay = False
        for address, value in self._covered:
            memory.write(address, value)
        self._covered.clear()
        is_explained = not self._is_in_doubt and self._residue.explains(tracer.case)
        if is_explained or not self._replay.take():
            self._leave(self._residue.words.get(tracer.case, ()))
        if self._has_queued and self._index == self._alloc_index:
            self._replay.wake(self._index)

    @property
    def _has_queued(self) -> bool:
        """Whether finalizers are to be run, and nobody has set about it."""
        words = self._facts.finalizers
        return (
            words is not None and words.queued_address is not None and bool(self._memory.read(words.queued_address, 1))
        )

    def _leave(self, words: Sequence[Word]) -> None:
        values, geometry, stack_pointer = self._tracer.values, self._engine.geometry, self._memory.stack_pointer
        # Asking for the stack pointer anew for each word would take longer than all else.
        end = len(self._memory.memory) - WORD_BYTES
        for word in words:
            address = stack_pointer - word.below_bytes
            if word.kind is not Kind.UNKNOWN and 0 <= address <= end:
                self._memory.write(address, word.value(values, stack_pointer, geometry))

    def _places(self, below: Iterable[int]) -> Iterator[int]:
        """Addresses so many bytes below the stack pointer, those that are in memory."""
        stack_pointer, end = self._memory.stack_pointer, len(self._memory.memory) - WORD_BYTES
        return (stack_pointer - each for each in below if 0 <= stack_pointer - each <= end)
