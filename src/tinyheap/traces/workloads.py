"""Synthetic traces: shapes of data that a collector meets, at a chosen heap size and occupancy.

A workload first *builds up* the data that stays alive, then *churns*: it allocates and drops until it has
done the wanted number of steps.  What is alive takes a given share of the heap's blocks, the *occupancy*;
all that is allocated is counted in blocks, as the collector rounds it.  Same options, same trace.

A heap that does not move objects fragments: above an occupancy of about 0.8, workloads with objects of many
blocks may run out of memory in the end, as real programs do.

A *record* refers to others at words 0 and 3: an out-of-line layout of a trace marks every third word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle, repeat
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from tinyheap.errors import TraceError
from tinyheap.heap.collectors import Collector
from tinyheap.heap.geometry import SIZE_FIELD_BITS, Geometry
from tinyheap.traces.trace import BLOCK_WORDS, STEPS_LIMIT, Trace, TraceBuilder, TraceGrowth
from tinyheap.units import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

POINTER_FREE_LAYOUT: Final = 0b11
"""Inline, a pattern of one word (the size field is 1), an empty bitmap."""
OPERAND_BITS: Final = 32
"""An operand of a step holds at most so much of a layout word."""
SIZE_SAMPLES: Final = 1 << 14
"""Sizes are drawn ahead, so many, and then taken at random."""
SAVING_SLOTS: Final = 8
"""Root slots in which finalizers save their objects."""
LEAST_SPARE_BLOCKS: Final = 64
"""A heap must have so many blocks for what lives and for what does not."""
PLACE: Final = 0x100
"""Where the heap lies that headers are computed for; any place is as good."""
PROGRESS_INTERVAL_STEPS: Final = 1 << 14

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """The parameters of a synthetic workload.

    Args:
        heap_bytes: The heap's size at the start.
        limit_bytes: How far the heap may grow; 0 means not at all.
        word_bytes: 2, 4 or 8.
        steps: Steps of churn, after the live data stands.
        occupancy: The share of the heap's blocks that stays alive, from 0.05 to 0.95.
        precise: Count layout words in objects' headers.  Layouts are written in any case.
        header_alignment_bytes: What a header in front of an object is rounded up to; 0 means the word size.
        collector: The one whose headers count.
        scheduler: Let finalizers wait until the trace runs them; only used by the workload ``finalizers``.
        seed: Seeds the random choices; each seed makes another trace of the same kind.

    Raises:
        TraceError: The steps or the occupancy are out of range.
    """

    heap_bytes: int = 256 * KIB
    limit_bytes: int = 0
    word_bytes: int = 4
    steps: int = 200_000
    occupancy: float = 0.5
    precise: bool = False
    header_alignment_bytes: int = 0
    collector: Collector = Collector.NEXT_FIT
    scheduler: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= STEPS_LIMIT:
            raise TraceError(f"invalid steps {self.steps}: expected 0 to {STEPS_LIMIT}")
        if not 0.05 <= self.occupancy <= 0.95:
            raise TraceError(f"invalid occupancy {self.occupancy}: expected 0.05 to 0.95")


class Node(NamedTuple):
    """An object of the trace under construction: its id and what it takes of the heap."""

    id: int
    blocks: int


class Mutator:
    """A trace under construction that knows how many blocks its objects take."""

    def __init__(self, options: WorkloadOptions) -> None:
        self.builder = TraceBuilder(
            options.heap_bytes,
            word_bytes=options.word_bytes,
            limit_bytes=options.limit_bytes or options.heap_bytes,
            growth=TraceGrowth.DOUBLE,
            header_alignment_bytes=options.header_alignment_bytes,
            has_scheduler=options.scheduler,
        )
        self.builder.build()  # which checks the header's fields
        self.random = Random(options.seed)
        self.word_bytes = options.word_bytes
        self.block_bytes = BLOCK_WORDS * options.word_bytes
        geometry = Geometry(PLACE, 0, options.word_bytes, header_alignment_bytes=options.header_alignment_bytes)
        self.header_bytes = options.collector.shape(geometry, precise=options.precise).header_bytes
        blocks_and_a_state_byte = 4 * self.block_bytes + 1
        self.heap_blocks = 4 * (options.heap_bytes // blocks_and_a_state_byte)
        self.live_blocks = int(options.occupancy * self.heap_blocks)
        self.spare_blocks = self.heap_blocks - self.live_blocks
        self.bitmap_words = min(8 * self.word_bytes, OPERAND_BITS) - 1 - SIZE_FIELD_BITS[self.word_bytes]

    def new_slot(self) -> int:
        """A root slot of its own."""
        return self.builder.root_slots

    def blocks_for(self, size_bytes: int) -> int:
        """Number of blocks that an object of so many bytes takes."""
        return -(-(size_bytes + self.header_bytes) // self.block_bytes)

    def record(self, size_bytes: int, pointers: int = 0b1001, *, id: int = 0) -> Node:  # noqa: A002
        """Allocates an object with pointers at the words whose bits are set in `pointers`.

        An inline layout holds a few dozen words.  A longer object gets an out-of-line layout, which admits
        pointers at every third word whatever is asked.
        """
        words = min(size_bytes // self.word_bytes, 128)
        if words > self.bitmap_words:
            layout = 2 * words
        else:
            bitmap = pointers & ((1 << words) - 1)
            layout = 1 | max(words, 1) << 1 | bitmap << 1 + SIZE_FIELD_BITS[self.word_bytes]
        return Node(self.builder.alloc(size_bytes, layout, id=id), self.blocks_for(size_bytes))

    def table(self, slots: int) -> Node:
        """Allocates an array of pointers: a layout that repeats a pattern of one word."""
        layout = 1 | 1 << 1 | 1 << 1 + SIZE_FIELD_BITS[self.word_bytes]
        size_bytes = slots * self.word_bytes
        return Node(self.builder.alloc(size_bytes, layout), self.blocks_for(size_bytes))

    def data(self, size_bytes: int, *, id: int = 0) -> Node:  # noqa: A002
        """Allocates an object without pointers."""
        return Node(self.builder.alloc(size_bytes, POINTER_FREE_LAYOUT, id=id), self.blocks_for(size_bytes))

    def data_of_blocks(self, blocks: int, *, id: int = 0) -> Node:  # noqa: A002
        """Allocates an object without pointers that takes so many blocks."""
        return self.data(max(blocks * self.block_bytes - self.header_bytes, 1), id=id)

    def pick(self, choices: list[T]) -> T:
        """One of the choices, at random."""
        return choices[int(self.random.random() * len(choices))]


class Member(NamedTuple):
    """What one place of a live set's tables keeps alive."""

    ids: list[int]
    blocks: int
    place: tuple[int, int]
    """The table's id and the word in it."""


class LiveSet:
    """Objects kept alive by tables of pointers, themselves kept by root slots, within a number of blocks.

    Dropping a member clears its place in the table; the place and the ids are then used again.  Tables are half as
    long as the original's mark stack, so that they alone never overflow it.
    """

    def __init__(self, mutator: Mutator, blocks: int, random_share: float = 1.0) -> None:
        self.mutator = mutator
        self.random_share = random_share
        """How many drops hit any member; the others go round by age."""
        self.room_blocks = blocks
        self.members: list[Member] = []
        self._places: list[tuple[int, int]] = []
        self._ids: list[int] = []
        self._hand = 0

    def claim(self, blocks: int) -> tuple[int, int]:
        """A place for a new member of so many blocks, for which others are dropped if they must be."""
        if not self._places:
            self._add_table()
        while self.room_blocks < blocks and self.members:
            self._drop(self._victim())
        return self._places.pop()

    def fresh_id(self) -> int:
        """The id of a dropped object, or 0 where there is none."""
        return self._ids.pop() if self._ids else 0

    def keep(self, place: tuple[int, int], node: Node) -> None:
        """Keeps an object alive in a claimed place; to be called before anything else is allocated."""
        self.mutator.builder.store(*place, node.id)
        self.room_blocks -= node.blocks
        self.members.append(Member([node.id], node.blocks, place))

    def attach(self, word: int, child: Node) -> None:
        """Keeps an object alive through a word of the newest member."""
        ids, blocks, place = self.members[-1]
        self.mutator.builder.store(ids[0], word, child.id)
        self.room_blocks -= child.blocks
        self.members[-1] = Member([*ids, child.id], blocks + child.blocks, place)

    def _victim(self) -> int:
        """The index of a member to drop: one of the oldest, or any."""
        random = self.mutator.random.random
        if random() < self.random_share:
            return int(random() * len(self.members))
        self._hand = (self._hand + 1) % len(self.members)
        return self._hand

    def _drop(self, index: int) -> None:
        member, self.members[index] = self.members[index], self.members[-1]
        self.members.pop()
        self.mutator.builder.store(*member.place)
        self.room_blocks += member.blocks
        self._places.append(member.place)
        self._ids.extend(member.ids)

    def _add_table(self) -> None:
        slots = 4 * self.mutator.word_bytes
        table = self.mutator.table(slots)
        self.mutator.builder.root(self.mutator.new_slot(), table.id)
        self.room_blocks -= table.blocks
        self._places.extend((table.id, word) for word in reversed(range(slots)))


def log_normal_sizes(mutator: Mutator, median_bytes: float, sigma: float, most_bytes: int) -> list[int]:
    """A sample of sizes in bytes, log-normal, at least a word and at most `most_bytes`."""
    draw, location = mutator.random.lognormvariate, math.log(median_bytes)
    least = mutator.word_bytes
    return [max(least, min(most_bytes, int(draw(location, sigma)))) for _ in range(SIZE_SAMPLES)]


def log_uniform_sizes(mutator: Mutator, least_bytes: int, most_bytes: int) -> list[int]:
    """A sample of sizes in bytes whose logarithms are spread evenly."""
    draw, span = mutator.random.random, math.log(most_bytes / least_bytes)
    return [int(least_bytes * math.exp(span * draw())) for _ in range(SIZE_SAMPLES)]


def fitting_bytes(mutator: Mutator, typical_bytes: int) -> int:
    """How large an object may be so that fragmentation leaves room for it, in bytes.

    Where a share f of n neighbors is dead, n * f**k runs of k dead ones are to be expected.  Chance hardly ever
    leaves none where 64 are expected, which limits k.
    """
    typical_blocks = mutator.blocks_for(typical_bytes)
    neighbors = mutator.heap_blocks // typical_blocks
    run = math.log(max(64, neighbors) / 64) / math.log(mutator.heap_blocks / mutator.spare_blocks)
    return max(4 * mutator.word_bytes, int(run * typical_blocks) * mutator.block_bytes - mutator.header_bytes)


def mixed(mutator: Mutator) -> Iterator[bool]:
    """Log-normal sizes: a quarter of the live data is stable, the rest comes and goes in clusters of one to three."""
    # 136 bytes on average, as a real program allocates: the shell formatter sh-syntax 0.4.2 on 425 KB of scripts.
    sizes = log_normal_sizes(mutator, 64, 1.23, min(4 * KIB, fitting_bytes(mutator, 64)))
    pick, random, builder = mutator.pick, mutator.random.random, mutator.builder
    stable = LiveSet(mutator, mutator.live_blocks // 4)
    while stable.room_blocks > 0:
        place = stable.claim(0)
        node = mutator.record(max(pick(sizes), mutator.word_bytes))
        stable.keep(place, node)
        builder.store(node.id, 0, pick(stable.members).ids[0])
        yield False
    young = LiveSet(mutator, mutator.live_blocks - mutator.live_blocks // 4, random_share=0.5)
    stands = False
    while True:
        size, children = pick(sizes), int(random() * 3) if random() < 0.5 else 0
        child_sizes = [pick(sizes) for _ in range(children)]
        blocks = mutator.blocks_for(size) + sum(map(mutator.blocks_for, child_sizes))
        stands = stands or young.room_blocks < blocks
        place = young.claim(blocks)
        if not children and random() < 0.5:
            young.keep(place, mutator.data(size, id=young.fresh_id()))
            builder.store_integer(young.members[-1].ids[0], 0, int(random() * 0x10000))
        else:
            head = mutator.record(max(size, 4 * mutator.word_bytes), id=young.fresh_id())
            young.keep(place, head)
            builder.store(head.id, 0, pick(stable.members).ids[0])
        for word, child_size in zip((3, 0), child_sizes, strict=False):
            young.attach(word, mutator.data(child_size, id=young.fresh_id()))
        yield stands


def arrays(mutator: Mutator) -> Iterator[bool]:
    """Pointer-free arrays of 4 to 64 KiB (smaller in a small heap), log-uniform."""
    most = min(64 * KIB, mutator.spare_blocks // 16 * mutator.block_bytes)
    sizes = log_uniform_sizes(mutator, min(4 * KIB, most), most)
    yield from held(mutator, LiveSet(mutator, mutator.live_blocks, random_share=0.5), sizes, mutator.data)


def held(
    mutator: Mutator, live: LiveSet, sizes: list[int], allocate: Callable[..., Node], units: int = 0
) -> Iterator[bool]:
    """Allocates objects and keeps each until its room is needed; for so many objects, or (0) without end."""
    stands = False
    for _ in range(units) if units else repeat(0):
        size = mutator.pick(sizes)
        blocks = mutator.blocks_for(size)
        stands = stands or live.room_blocks < blocks
        place = live.claim(blocks)
        node = allocate(size, id=live.fresh_id())
        live.keep(place, node)
        mutator.builder.store_integer(node.id, size // mutator.word_bytes - 1, 1 + size)
        yield stands


def fragment(mutator: Mutator) -> Iterator[bool]:
    """Phases of small and larger objects over scattered ones that stay, so that holes rarely fit."""
    island_blocks = mutator.live_blocks // 8
    islands = LiveSet(mutator, island_blocks)
    live = LiveSet(mutator, mutator.live_blocks - island_blocks)
    unit = 4 * mutator.word_bytes
    phases = [[unit, 2 * unit], [3 * unit, 6 * unit], [unit], [5 * unit, 12 * unit], [2 * unit, 3 * unit]]
    largest = max(unit, fitting_bytes(mutator, unit) // 2)
    while islands.room_blocks > 0:
        place = islands.claim(0)
        islands.keep(place, mutator.data(unit))
        for _ in range(7):
            place = live.claim(1)
            live.keep(place, mutator.data(unit, id=live.fresh_id()))
        yield False
    per_phase = max(16, mutator.heap_blocks // 8)
    for sizes in cycle(phases):
        fitting = [min(size, largest) for size in sizes]
        for _ in held(mutator, live, fitting, mutator.data, per_phase):
            yield True


def trees(mutator: Mutator) -> Iterator[bool]:
    """Binary trees of four-word nodes: some stay, others are built and dropped at once."""
    size = 4 * mutator.word_bytes
    node_blocks = mutator.blocks_for(size)
    tallest = max(1, min(14, (mutator.spare_blocks // (16 * node_blocks)).bit_length()))
    left = mutator.live_blocks // node_blocks - (1 << tallest - 1)
    while left > 0:
        depth = (left + 1).bit_length() - 1
        ids = [0] * ((1 << depth) - 1)
        yield from grow_tree(mutator, size, ids, mutator.new_slot(), stands=False)
        left -= len(ids)
    slot = mutator.new_slot()
    ids_of_depth = [[0] * ((1 << depth) - 1) for depth in range(tallest + 1)]
    while True:
        depth = tallest - min(tallest - 1, int(mutator.random.expovariate(0.7)))
        yield from grow_tree(mutator, size, ids_of_depth[depth], slot, stands=True)
        mutator.builder.root(slot)


def grow_tree(mutator: Mutator, size: int, ids: list[int], slot: int, *, stands: bool) -> Iterator[bool]:
    """Builds a full binary tree of `len(ids)` nodes, depth first, each linked before the next one.

    The children of node i are nodes 2 i + 1 and 2 i + 2.  An id of 0 stands for a fresh one, which replaces it.
    """
    pending = [0]
    while pending:
        index = pending.pop()
        ids[index] = mutator.record(size, 0b11, id=ids[index]).id
        if index:
            mutator.builder.store(ids[(index - 1) // 2], (index - 1) % 2, ids[index])
        else:
            mutator.builder.root(slot, ids[0])
        if 2 * index + 1 < len(ids):
            pending += (2 * index + 2, 2 * index + 1)
        if not len(pending) % 8:
            yield stands
    yield stands


def chains(mutator: Mutator) -> Iterator[bool]:
    """One long chain whose links jump at random over the heap, and garbage behind it."""
    builder, random = mutator.builder, mutator.random.random
    size = 4 * mutator.word_bytes
    first = mutator.record(size, 1)
    builder.root(mutator.new_slot(), first.id)
    after = {first.id: 0}
    ids = [first.id]
    for _ in range(mutator.live_blocks // first.blocks - 1):
        before = ids[int(random() * len(ids))]
        node = mutator.record(size, 1).id
        if after[before]:
            builder.store(node, 0, after[before])
        builder.store(before, 0, node)
        after[node], after[before] = after[before], node
        ids.append(node)
        yield False
    yield from litter(mutator)


def litter(mutator: Mutator) -> Iterator[bool]:
    """Allocates small objects that nothing refers to, without end."""
    sizes = [mutator.word_bytes * words for words in (1, 2, 3, 4, 6, 8)]
    garbage = mutator.data(sizes[0]).id
    while True:
        mutator.data(mutator.pick(sizes), id=garbage)
        yield True


def overflow(mutator: Mutator) -> Iterator[bool]:
    """Wide nodes in a row, each just too wide for the original's mark stack, with lists hanging from them.

    What overflows the stack is the link to the next wide node, which lies below in memory: a rescan gets
    only one node further, so that the bounded mark stack goes over the whole heap once for each of them.
    """
    builder = mutator.builder
    lists = 8 * mutator.word_bytes + 8
    node_bytes = 4 * mutator.word_bytes
    node_blocks, wide_blocks = (
        mutator.blocks_for(node_bytes),
        mutator.blocks_for((lists + 1) * mutator.word_bytes),
    )
    levels = max(1, min(64, mutator.live_blocks // (wide_blocks + 2 * lists * node_blocks)))
    nodes = max(lists, (mutator.live_blocks // levels - wide_blocks) // node_blocks)
    slot = mutator.new_slot()
    below = 0
    for _ in range(levels):
        wide = mutator.table(lists + 1).id
        if below:
            builder.store(wide, lists, below)
        builder.root(slot, wide)
        for head in range(lists):
            length = nodes * (head + 1) // lists - nodes * head // lists
            yield from push_nodes(mutator, (wide, head), node_bytes, length)
        below = wide
    yield from litter(mutator)


def push_nodes(mutator: Mutator, place: tuple[int, int], node_bytes: int, count: int) -> Iterator[bool]:
    """Builds a list from its end, held at a place (an object's id and a word) all the time."""
    behind = 0
    for _ in range(count):
        node = mutator.record(node_bytes, 1).id
        if behind:
            mutator.builder.store(node, 0, behind)
        mutator.builder.store(*place, node)
        behind = node
        yield False


def lists(mutator: Mutator) -> Iterator[bool]:
    """A hash table: wide arrays of buckets, each a short list that grows at its head and is dropped when long."""
    builder = mutator.builder
    size, longest = 4 * mutator.word_bytes, 8
    node_blocks = mutator.blocks_for(size)
    mean_length = (longest + 1) / 2
    width = min(16 * mutator.word_bytes, int(mutator.live_blocks / (4 * mean_length * node_blocks)))
    per_table = mutator.blocks_for(width * mutator.word_bytes) + width * mean_length * node_blocks
    buckets = []
    for _ in range(max(1, round(mutator.live_blocks / per_table))):
        table = mutator.table(width).id
        builder.root(mutator.new_slot(), table)
        buckets += [(table, word) for word in range(width)]
        yield False
    nodes: list[list[int]] = []
    for place in buckets:
        nodes.append([])
        for _ in range(1 + int(mutator.random.random() * longest)):
            push(mutator, place, nodes[-1], size, 0)
            yield False
    spare: list[int] = []
    while True:
        bucket = int(mutator.random.random() * len(buckets))
        if len(nodes[bucket]) == longest:
            builder.store(*buckets[bucket])
            spare += nodes[bucket]
            nodes[bucket].clear()
        push(mutator, buckets[bucket], nodes[bucket], size, spare.pop() if spare else 0)
        yield True


def push(
    mutator: Mutator,
    place: tuple[int, int],
    nodes: list[int],
    size_bytes: int,
    id: int,  # noqa: A002
) -> None:
    """Puts a new node in front of a list that is held at a place."""
    node = mutator.record(size_bytes, 1, id=id).id
    if nodes:
        mutator.builder.store(node, 0, nodes[-1])
    mutator.builder.store(*place, node)
    nodes.append(node)


def lengths(mutator: Mutator) -> Iterator[bool]:
    """Holes of all lengths from one block on, and garbage that fits them: a free list has a node for each length."""
    longest = yield from holes(mutator, increasing=True)
    garbage = mutator.data_of_blocks(1).id
    while True:
        mutator.data_of_blocks(1 + int(mutator.random.random() * longest), id=garbage)
        yield True


def walks(mutator: Mutator) -> Iterator[bool]:
    """The same holes, and garbage that is longer than all of them: a search of a free list passes every node."""
    longest = yield from holes(mutator, increasing=True)
    garbage = mutator.data_of_blocks(1).id
    while True:
        mutator.data_of_blocks(longest + 1 + int(4 * mutator.random.random()), id=garbage)
        yield True


def equals(mutator: Mutator) -> Iterator[bool]:
    """Holes of one length, and garbage that fills one or splits one: a free list has them all on one inner list."""
    length = yield from holes(mutator, increasing=False)
    garbage = mutator.data_of_blocks(1).id
    while True:
        mutator.data_of_blocks(length if mutator.random.random() < 0.75 else 1, id=garbage)
        yield True


def holes(mutator: Mutator, *, increasing: bool) -> Generator[bool, None, int]:
    """Small objects that stay, with garbage between them that leaves holes; returns the longest hole, in blocks.

    Holes take up to half of what does not live; what then lacks in live data stays in one piece behind them.
    """
    garbage = mutator.data_of_blocks(1).id
    unit = mutator.blocks_for(1)
    live = LiveSet(mutator, mutator.live_blocks)
    left_blocks, length = mutator.spare_blocks // 2, 1 if increasing else 2
    while left_blocks >= length and live.room_blocks > 8 * unit:
        place = live.claim(unit)
        mutator.data_of_blocks(length, id=garbage)
        live.keep(place, mutator.data(1))
        left_blocks -= length
        length += increasing
        yield False
    while live.room_blocks > 8 * unit:
        blocks = min(live.room_blocks - 4 * unit, 64)
        place = live.claim(blocks)
        live.keep(place, mutator.data_of_blocks(blocks))
        yield False
    return length - increasing


def finalizers(mutator: Mutator) -> Iterator[bool]:
    """Objects that come and go with finalizers, some of which are cleared, replaced, or bring their object back."""
    builder, random = mutator.builder, mutator.random.random
    entry_blocks = mutator.blocks_for(4 * mutator.word_bytes)
    slots = list(range(mutator.new_slot(), mutator.new_slot() + SAVING_SLOTS))
    for slot in slots:
        builder.root(slot)
    sizes = [mutator.word_bytes * words for words in (1, 2, 4, 8, 12)]
    live, stands, number = LiveSet(mutator, mutator.live_blocks), False, 0
    while True:
        size, has_finalizer = mutator.pick(sizes), random() < 0.5
        blocks = mutator.blocks_for(size) + entry_blocks * has_finalizer
        stands = stands or live.room_blocks < blocks
        place = live.claim(blocks)
        node = mutator.record(size, id=live.fresh_id())
        live.keep(place, Node(node.id, blocks))
        if has_finalizer:
            number += 1
            builder.set_finalizer(node.id, number, slot=mutator.pick(slots) if random() < 0.125 else None)
        if random() < 0.05:
            number += 1
            builder.set_finalizer(mutator.pick(live.members).ids[0], number if random() < 0.5 else 0)
        if builder.has_scheduler and random() < 0.05:
            (builder.idle if random() < 0.5 else builder.run_finalizers)()
        yield stands


class Workload(NamedTuple):
    """A workload: how it works, one line on what it is, and whether it has finalizers."""

    run: Callable[[Mutator], Iterator[bool]]
    """Does a little at each step of the iterator, without end; true once the live data stands."""
    help: str
    has_finalizers: bool = False
    """Only collectors with finalizers run it."""


WORKLOADS: Final = {
    "trees": Workload(trees, "binary trees, built and dropped beside long-lived ones"),
    "lists": Workload(lists, "a hash table of short lists; wide arrays that overflow the mark stack"),
    "overflow": Workload(overflow, "wide nodes that overflow the mark stack worst: one rescan for each"),
    "chains": Workload(chains, "one long chain in random order, and garbage"),
    "mixed": Workload(mixed, "log-normal sizes with pointers among them, at the chosen occupancy"),
    "arrays": Workload(arrays, "pointer-free arrays of 4 to 64 KiB"),
    "fragment": Workload(fragment, "phases of small and larger objects that leave holes"),
    "lengths": Workload(lengths, "holes of many lengths, and garbage that fits them"),
    "walks": Workload(walks, "the same holes, and garbage too long for any: the longest search of a free list"),
    "equals": Workload(equals, "holes of one length, and garbage that fills or splits them"),
    "finalizers": Workload(finalizers, "objects with finalizers; only for best-fit-back, which has them", True),
}


def generate(name: str, options: WorkloadOptions, progress: Callable[[int], object] | None = None) -> Trace:
    """The trace of a synthetic workload.

    Args:
        name: A key of `WORKLOADS`.
        options: Its parameters.
        progress: Called now and then with the number of steps so far.

    Raises:
        TraceError: There is no such workload, or the options are contradictory, or make a trace that is too long.
    """
    if name not in WORKLOADS:
        raise TraceError(f"invalid workload {name!r}: expected one of {', '.join(WORKLOADS)}")
    mutator = Mutator(options)
    if mutator.spare_blocks < LEAST_SPARE_BLOCKS or mutator.live_blocks < LEAST_SPARE_BLOCKS:
        raise TraceError(
            f"a heap of {options.heap_bytes} bytes at an occupancy of {options.occupancy} is "
            f"too small: {mutator.live_blocks} blocks live and {mutator.spare_blocks} do not; make both at least "
            f"{LEAST_SPARE_BLOCKS}"
        )
    builder, last = mutator.builder, None
    next_report = PROGRESS_INTERVAL_STEPS
    for stands in WORKLOADS[name].run(mutator):
        done = builder.step_count
        if stands and last is None:
            last = done + options.steps
        if last is not None and done >= last:
            break
        if done > STEPS_LIMIT:
            raise TraceError(
                f"this makes more than the {STEPS_LIMIT} steps that a trace may have: make the heap smaller"
            )
        if progress and done >= next_report:
            next_report = done + PROGRESS_INTERVAL_STEPS
            progress(done)
    return builder.build()
