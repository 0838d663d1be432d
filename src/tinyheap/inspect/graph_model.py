"""What the compiled modules `_graph` and `_reach` do, in plain Python: their specification, and what serves without them.

It is written to be seen to be right: states are read block by block, layouts bit by bit, and dominators are found by going
over the graph until nothing changes any more (Cooper, Harvey and Kennedy: A Simple, Fast Dominance Algorithm, 2001).
"""

from __future__ import annotations

import re
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from tinyheap.heap.contract import State
from tinyheap.heap.geometry import BLOCKS_PER_TABLE_BYTE, SIZE_FIELD_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from tinyheap.heap.geometry import Geometry
    from tinyheap.inspect.heap_facts import HeapFacts

NONE: Final = (1 << 32) - 1
ROOTS: Final = (1 << 32) - 2
POSSIBLE, CERTAIN, UNREADABLE = range(3)
REACHED, FIRST, LAST = 1, 2, 4
"""Flags of objects, for `disjoint`."""
SHORTEST_TEXT: Final = 4
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Shape(IntEnum):
    """What the bytes of an object look like."""

    ZEROS = 0
    TEXT = 1
    """UTF-8 without control characters, four bytes or more; then zeros, or the rest of the last block."""
    POINTERS = 2
    """At least half of the words that are not 0 refer to objects."""
    SOME_POINTERS = 3
    DOUBLES = 4
    """No references, and all numbers of eight bytes are 0 or of usual size as floating-point numbers."""
    SINGLES = 5
    """The same, of four bytes."""
    DATA = 6


class GraphReader:
    """As `_graph.GraphReader`."""

    def __init__(self, memory: memoryview, facts: HeapFacts) -> None:
        self._facts, self._geometry, self._shape = facts, facts.geometry, facts.shape
        at = facts.offset_in(len(memory))
        self._heap = memory[at : at + facts.geometry.heap_bytes]
        self._statics = memory if facts.statics is None else memoryview(facts.statics.memory)
        self._statics_start = facts.memory_start_address if facts.statics is None else facts.statics.start_address
        self.orphan_blocks = 0
        self._objects = list(self._find_objects())
        self._object_at_block = {
            block: index for index, (first, end) in enumerate(self._objects) for block in range(first, end)
        }

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return len(self._objects)

    def _state(self, block: int) -> State:
        byte = self._heap[self._geometry.pool_bytes + block // BLOCKS_PER_TABLE_BYTE]
        return State(self._facts.collector.encoding.states(block % BLOCKS_PER_TABLE_BYTE)[byte])

    def _find_objects(self) -> Iterator[tuple[int, int]]:
        """The first block of each object and the block past it; a head is followed by its tails, or preceded by them."""
        first = None
        for block in range(self._geometry.end_block):
            state = self._state(block)
            is_head = state in (State.HEAD, State.MARK)
            if self._shape.head_is_last:
                if is_head:
                    yield (block if first is None else first), block + 1
                elif state is State.FREE and first is not None:
                    self.orphan_blocks += block - first
                first = (block if first is None else first) if state is State.TAIL else None
            elif state is not State.TAIL:
                if first is not None:
                    yield first, block
                first = block if is_head else None
            elif first is None:
                self.orphan_blocks += 1
        if first is not None and self._shape.head_is_last:
            self.orphan_blocks += self._geometry.end_block - first
        elif first is not None:
            yield first, self._geometry.end_block

    def list_objects(self, first: NDArray[np.uint32], blocks: NDArray[np.uint32]) -> None:
        """Write each object's first block and its number of blocks, by address."""
        for index, (start, end) in enumerate(self._objects):
            first[index], blocks[index] = start, end - start

    def count_references(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        starts: NDArray[np.uint32],
        certainty: NDArray[np.uint8],
    ) -> int:
        """Write how many references all objects before each one have, and how sure its own are; returns how many there are."""
        count = 0
        for index, (start, end) in enumerate(self._objects):
            starts[index] = count
            count += len(list(self._references(start, end)))
            certainty[index] = self._certainty(start, end)
        starts[len(self._objects)] = count
        return count

    def list_references(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        targets: NDArray[np.uint32],
        offsets: NDArray[np.uint32],
    ) -> int:
        """Write each reference's target, an object, and its offset in its holder's body; returns how many there are now."""
        count = 0
        for start, end in self._objects:
            for offset, target in self._references(start, end):
                targets[count], offsets[count] = target, offset
                count += 1
        return count

    def resolve(self, values: NDArray[np.uint64], targets: NDArray[np.uint32]) -> None:
        """Write the object that each value refers to: 2**32 - 1 where that is none."""
        for index, value in enumerate(values.tolist()):
            targets[index] = self._target(value)

    def _target(self, word: int) -> int:
        if not self._geometry.is_on_heap(word):
            return NONE
        return self._object_at_block.get(self._geometry.block_of(word), NONE)

    def _load(self, at: int) -> int:
        return int.from_bytes(self._heap[at : at + self._geometry.word_bytes], "little")

    def _layout(self, first: int, end: int) -> int:
        if not self._facts.is_precise:
            return 0
        return self._load(self._shape.layout_address(self._geometry, first, end) - self._geometry.start_address)

    def _certainty(self, first: int, end: int) -> int:
        layout = self._layout(first, end)
        if layout == 0:
            return POSSIBLE
        return UNREADABLE if self._pattern(layout) is None else CERTAIN

    def _references(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Offset and target of each reference of the object in some blocks."""
        geometry = self._geometry
        start = self._shape.address_of(geometry, first) - geometry.start_address
        for offset in self._offsets(self._shape.body_bytes(geometry, end - first), self._layout(first, end)):
            target = self._target(self._load(start + offset))
            if target != NONE:
                yield offset, target

    def _offsets(self, body_bytes: int, layout: int) -> Iterator[int]:
        """Where in a body words lie that may be pointers."""
        step = self._geometry.word_alignment_bytes
        whole = self._facts.collector.has_free_list
        if layout == 0:
            # Where words overlap (AVR) next-fit reads beyond the body, best-fit does not.
            yield from range(0, body_bytes - (self._geometry.word_bytes - step if whole else 0), step)
            return
        pattern = self._pattern(layout)
        if pattern is None:
            return
        size, bitmap = pattern
        words = body_bytes // step
        if whole:
            words -= words % size
        for index in range(words):
            if bitmap >> (index % size if size else index) & 1:
                yield index * step

    def _pattern(self, layout: int) -> tuple[int, int] | None:
        """A layout's length in words (0: it does not repeat) and its bits, lowest first; None where it cannot be read."""
        if layout & 1 == 0:
            return self._static_pattern(layout)
        size_bits = SIZE_FIELD_BITS[self._geometry.word_bytes]
        size, bitmap = layout >> 1 & (1 << size_bits) - 1, layout >> 1 + size_bits
        if bitmap == 0:
            return 1, 0
        return None if size == 0 and self._facts.collector.has_free_list else (size, bitmap)

    def _static_pattern(self, layout: int) -> tuple[int, int] | None:
        at, word_bytes = layout - self._statics_start, self._geometry.word_bytes
        if not 0 <= at <= len(self._statics) - word_bytes:
            return None
        size = int.from_bytes(self._statics[at : at + word_bytes], "little")
        bitmap = self._statics[at + word_bytes : at + word_bytes + (size + 7) // 8]
        if size == 0 or len(bitmap) < (size + 7) // 8:
            return None
        return size, int.from_bytes(bitmap, "little")

    def classify(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        starts: NDArray[np.uint32],
        shapes: NDArray[np.uint8],
    ) -> None:
        """Write what the bytes of each object look like, a `Shape`; ``starts`` is what `count_references` wrote."""
        geometry = self._geometry
        for index, (start, end) in enumerate(self._objects):
            at = self._shape.address_of(geometry, start) - geometry.start_address
            body = self._heap[at : at + max(self._shape.body_bytes(geometry, end - start), 0)].tobytes()
            shapes[index] = _shape(body, int(starts[index + 1] - starts[index]), geometry)


def _shape(body: bytes, references: int, geometry: Geometry) -> Shape:
    width = geometry.word_bytes
    if not any(body):
        return Shape.ZEROS
    if references:
        words = sum(any(body[at : at + width]) for at in range(0, len(body) - width + 1, width))
        return Shape.POINTERS if 2 * references >= words else Shape.SOME_POINTERS
    text_bytes = len(_text(body))
    # Nobody may have cleared the rest of the last block.
    if text_bytes >= SHORTEST_TEXT and (len(body) - text_bytes < geometry.block_bytes or not any(body[text_bytes:])):
        return Shape.TEXT
    if _are_floats(body, 8, 52, 11):
        return Shape.DOUBLES
    return Shape.SINGLES if _are_floats(body, 4, 23, 8) else Shape.DATA


def _text(body: bytes) -> bytes:
    """The bytes up to the first that is not of a character, or of a control character other than white space."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        body = body[: error.start]
    return _CONTROL.split(body, maxsplit=1)[0]


def _are_floats(body: bytes, width: int, fraction_bits: int, exponent_bits: int) -> bool:
    """Whether bytes read as floating-point numbers that people use: 0, or of an exponent from -32 to 31."""
    numbers = [int.from_bytes(body[at : at + width], "little") for at in range(0, len(body) - width + 1, width)]
    bias = (1 << exponent_bits - 1) - 1
    exponents = [(number >> fraction_bits & (1 << exponent_bits) - 1) - bias for number in numbers if number]
    return bool(exponents) and all(-32 <= exponent < 32 for exponent in exponents)


def shortest(
    starts: NDArray[np.uint32],
    targets: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    distance: NDArray[np.uint32],
    step: NDArray[np.uint32],
) -> int:
    """As `_reach.shortest`."""
    distance[:] = step[:] = NONE
    queue: deque[int] = deque()
    for index, target in enumerate(roots.tolist()):
        if target != NONE and step[target] == NONE:
            distance[target], step[target] = 0, len(targets) + index
            queue.append(target)
    reached = 0
    while queue:
        holder = queue.popleft()
        reached += 1
        for reference in range(int(starts[holder]), int(starts[holder + 1])):
            target = int(targets[reference])
            if step[target] == NONE:
                distance[target], step[target] = distance[holder] + 1, reference
                queue.append(target)
    return reached


def dominate(
    starts: NDArray[np.uint32],
    targets: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    blocks: NDArray[np.uint32],
    dominator: NDArray[np.uint32],
    retained_objects: NDArray[np.uint32],
    retained_blocks: NDArray[np.uint64],
) -> int:
    """As `_reach.dominate`."""
    order = _postorder(starts, targets, roots)
    place = {vertex: index for index, vertex in enumerate(order)}
    before: dict[int, list[int]] = {vertex: [] for vertex in order}
    for target in roots.tolist():
        if target != NONE:
            before[target].append(ROOTS)
    for holder in order[:-1]:
        for target in targets[starts[holder] : starts[holder + 1]].tolist():
            before[target].append(holder)
    found = _dominators(order, place, before)
    dominator[:] = NONE
    retained_objects[:] = retained_blocks[:] = 0
    # Whatever dominates an object comes after it.
    for vertex in order[:-1]:
        above = dominator[vertex] = found[vertex]
        retained_objects[vertex] += 1
        retained_blocks[vertex] += blocks[vertex]
        if above != ROOTS:
            retained_objects[above] += retained_objects[vertex]
            retained_blocks[above] += retained_blocks[vertex]
    return len(order) - 1


def _postorder(starts: NDArray[np.uint32], targets: NDArray[np.uint32], roots: NDArray[np.uint32]) -> list[int]:
    """The objects that are reached, each after all that are first reached from it; last `ROOTS`."""
    order: list[int] = []
    seen = {ROOTS}
    todo: list[tuple[int, Iterator[int]]] = [(ROOTS, iter(roots.tolist()))]
    while todo:
        vertex, rest = todo[-1]
        target = next((each for each in rest if each != NONE and each not in seen), None)
        if target is None:
            order.append(vertex)
            todo.pop()
        else:
            seen.add(target)
            todo.append((target, iter(targets[starts[target] : starts[target + 1]].tolist())))
    return order


def _dominators(order: list[int], place: dict[int, int], before: dict[int, list[int]]) -> dict[int, int]:
    """The immediate dominator of each vertex: the nearest that all its predecessors have in common."""
    found = {ROOTS: ROOTS}

    def common(one: int, other: int) -> int:
        while one != other:
            if place[one] < place[other]:
                one = found[one]
            else:
                other = found[other]
        return one

    changed = True
    while changed:
        changed = False
        for vertex in reversed(order[:-1]):
            known = [each for each in before[vertex] if each in found]
            nearest = known[0]
            for each in known[1:]:
                nearest = common(nearest, each)
            if found.get(vertex) != nearest:
                found[vertex] = nearest
                changed = True
    return found


def outermost(
    starts: NDArray[np.uint32], below: NDArray[np.uint32], groups: NDArray[np.uint32], flags: NDArray[np.uint8]
) -> None:
    """As `_reach.outermost`."""
    flags[:] = 0
    todo: list[tuple[int, frozenset[int]]] = [(len(groups), frozenset())]
    while todo:
        each, on_way = todo.pop()
        for found in below[starts[each] : starts[each + 1]].tolist():
            group = int(groups[found])
            flags[found] = group not in on_way
            todo.append((found, on_way | {group}))


def disjoint(
    starts: NDArray[np.uint32],
    holders: NDArray[np.uint32],
    flags: NDArray[np.uint8],
    before: NDArray[np.uint32],
    found: int,
    source: int,
    most: int,
) -> int:
    """As `_reach.disjoint`."""
    network = _Network(starts, holders, flags, before, found, source)
    count = 0
    while count < most and network.augment():
        count += 1
    return count


_Node = tuple[int, bool]


class _Network:
    """Paths that share no object; see `_reach.disjoint`.  A node is an object, and whether it is entered."""

    def __init__(
        self,
        starts: NDArray[np.uint32],
        holders: NDArray[np.uint32],
        flags: NDArray[np.uint8],
        before: NDArray[np.uint32],
        found: int,
        source: int,
    ) -> None:
        self._starts, self._holders, self._flags, self._before = starts, holders, flags, before
        self._found, self._source = found, source
        self._after: dict[int, int] = {}

    def augment(self) -> bool:
        """Find one path more, if there is one: the shortest."""
        start = (self._found, True)
        came = {start: start}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node[1] and self._flags[node[0]] & FIRST and self._before[node[0]] != ROOTS:
                self._take(node, came)
                return True
            for other in self._residual(*node):
                if other not in came:
                    came[other] = node
                    queue.append(other)
        return False

    def _residual(self, each: int, is_entered: bool) -> Iterator[_Node]:
        """The nodes from which a path may come to a node."""
        on_path = self._before[each] != NONE
        if not is_entered:
            if not on_path:
                yield each, True
            elif each in self._after:
                yield self._after[each], True
            return
        if on_path:
            yield each, False
        for holder in self._holders[self._starts[each] : self._starts[each + 1]].tolist():
            is_taken = self._flags[holder] & LAST if each == self._found else self._before[each] == holder
            if self._flags[holder] & REACHED and holder not in (self._found, self._source) and not is_taken:
                yield holder, False

    def _take(self, node: _Node, came: dict[_Node, _Node]) -> None:
        """Make the way from a first object to the end a path, and take back what it goes against."""
        steps = []
        first = node[0]
        while (following := came[node]) != node:
            if node[0] != following[0]:
                steps.append((node[0], *following))
            node = following
        for target, holder, is_forward in steps:
            if not is_forward:
                self._after.pop(holder, None)
                self._before[target] = NONE
        self._before[first] = ROOTS
        for holder, target, is_forward in steps:
            if is_forward and target == self._found:
                self._flags[holder] |= LAST
            elif is_forward:
                self._before[target], self._after[holder] = holder, target
