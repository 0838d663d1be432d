# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The object graph of a heap, read from its memory into flat arrays; see ``graph_model.py``, which does the same in Python.

::

    block table ──> bitmaps ──> objects: first block, number of blocks
                       │
    words of objects ──┴──> references: offset, target; which words, a layout says in a precise heap

Nothing is trusted: the table may say anything, layouts may be numbers, and another thread may write meanwhile.  All that is
read lies in the heap's memory, in its table or among the statics, whose bounds the border has checked, and what is
written has room for as much as was counted.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.inspect._graph is not compiled")

from cython.cimports.cpython.buffer import PyBUF_SIMPLE
from cython.cimports.libc.stdlib import calloc
from cython.cimports.libc.stdlib import free as c_free
from cython.cimports.tinyheap.heap._buffers import BufferView
from cython.cimports.tinyheap.heap._words import ONES, ctz64, load8, load64, load_word, long_words_below, words_below

from tinyheap.heap.collectors import Encoding


@cython.final
@cython.cclass
class GraphReader:
    """Reads the objects and references of a heap in a memory image.

    Args:
        memory: the image's bytes, in one piece; held until the reader is let go of.
        facts: of the heap in it (`HeapFacts`).

    Raises:
        GeometryError: the heap does not lie in the image.
    """

    def __init__(self, memory, facts):
        geometry = facts.geometry
        shape = facts.shape
        pool: Heap = cython.address(self._pool)
        self._memory = BufferView()
        self._memory.hold(memory, PyBUF_SIMPLE)
        offset: u64 = facts.offset_in(self._memory.bytes)
        self._statics = BufferView()
        self._statics.hold(memory if facts.statics is None else facts.statics.memory, PyBUF_SIMPLE)
        pool.memory = self._memory.at + offset
        pool.table = pool.memory + cython.cast(u64, geometry.pool_bytes)
        pool.start = geometry.start_address
        pool.pool_bytes = geometry.pool_bytes
        pool.end_block = geometry.end_block
        pool.word_shift = geometry.word_bytes.bit_length() - 1
        pool.step_shift = geometry.word_alignment_bytes.bit_length() - 1
        pool.block_shift = geometry.block_bytes.bit_length() - 1
        pool.body_offset = shape.body_offset_bytes
        pool.trailer_bytes = shape.header_bytes - shape.body_offset_bytes
        pool.layout_offset = abs(shape.layout_offset_bytes)
        pool.overhang = geometry.word_bytes - geometry.word_alignment_bytes if facts.collector.has_free_list else 0
        pool.planes = facts.collector.encoding is Encoding.PLANES
        pool.back = shape.head_is_last
        pool.precise = facts.is_precise
        pool.whole_elements = facts.collector.has_free_list
        pool.statics = self._statics.at
        pool.statics_start = facts.memory_start_address if facts.statics is None else facts.statics.start_address
        pool.statics_bytes = self._statics.bytes
        self._make_bitmaps()

    def _make_bitmaps(self):
        pool: Heap = cython.address(self._pool)
        pool.words = (pool.end_block >> 6) + 1
        pool.firsts = cython.cast(cython.pointer(u64), calloc(pool.words, 8))
        pool.taken = cython.cast(cython.pointer(u64), calloc(pool.words, 8))
        pool.ranks = cython.cast(cython.pointer(u32), calloc(pool.words, 4))
        if pool.firsts == cython.NULL or pool.taken == cython.NULL or pool.ranks == cython.NULL:
            raise MemoryError
        with cython.nogil:
            self._orphans = find_objects(pool)
            self._objects = count_ranks(pool)

    def __dealloc__(self):
        c_free(self._pool.firsts)
        c_free(self._pool.taken)
        c_free(self._pool.ranks)

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return self._objects

    @property
    def orphan_blocks(self) -> int:
        """How many blocks are tails of no object: none in a sound heap."""
        return self._orphans

    def _check_room(self, one: cython.Py_ssize_t, other: cython.Py_ssize_t):
        if one < cython.cast(cython.Py_ssize_t, self._objects) or other < cython.cast(cython.Py_ssize_t, self._objects):
            raise ValueError(f"the arrays are too short for {self._objects} objects")

    def list_objects(self, first: u32[::1], blocks: u32[::1]) -> None:
        """Write each object's first block and its number of blocks, by address."""
        self._check_room(first.shape[0], blocks.shape[0])
        if self._objects:
            write_objects(
                cython.address(self._pool), cython.address(first[0]), cython.address(blocks[0]), self._objects
            )

    def count_references(self, first: u32[::1], blocks: u32[::1], starts: u32[::1], certainty: u8[::1]) -> int:
        """Write how many references all objects before each one have, and how sure its own are; returns how many there are.

        Args:
            first, blocks: what `list_objects` wrote.
            starts: one more than there are objects.
            certainty: for each object 0 (possible), 1 (certain), or 2 (its layout is unreadable, and has it no references).
        """
        sink: Sink
        index: u64
        self._check_room(min(first.shape[0], certainty.shape[0]), min(blocks.shape[0], starts.shape[0] - 1))
        sink.targets = sink.offsets = cython.NULL
        sink.count = sink.room = 0
        with cython.nogil:
            for index in range(self._objects):
                starts[index] = cython.cast(u32, sink.count)
                certainty[index] = cython.cast(
                    u8, scan_object(cython.address(self._pool), cython.address(sink), first[index], blocks[index])
                )
            starts[self._objects] = cython.cast(u32, sink.count)
        return sink.count

    def list_references(self, first: u32[::1], blocks: u32[::1], targets: u32[::1], offsets: u32[::1]) -> int:
        """Write each reference's target, an object, and its offset in its holder's body; returns how many there are now."""
        sink: Sink
        index: u64
        self._check_room(first.shape[0], blocks.shape[0])
        sink.count = 0
        sink.room = min(targets.shape[0], offsets.shape[0])
        if sink.room == 0:
            return 0
        sink.targets = cython.address(targets[0])
        sink.offsets = cython.address(offsets[0])
        with cython.nogil:
            for index in range(self._objects):
                scan_object(cython.address(self._pool), cython.address(sink), first[index], blocks[index])
        return sink.count

    def resolve(self, values: u64[::1], targets: u32[::1]) -> None:
        """Write the object that each value refers to: 2**32 - 1 where that is none."""
        index: cython.Py_ssize_t
        with cython.nogil:
            for index in range(min(values.shape[0], targets.shape[0])):
                targets[index] = target_of(cython.address(self._pool), values[index])

    def classify(self, first: u32[::1], blocks: u32[::1], starts: u32[::1], shapes: u8[::1]) -> None:
        """Write what the bytes of each object look like, a `naming.Shape`; ``starts`` is what `count_references` wrote."""
        index: u64
        self._check_room(min(first.shape[0], shapes.shape[0]), min(blocks.shape[0], starts.shape[0] - 1))
        with cython.nogil:
            for index in range(self._objects):
                shapes[index] = cython.cast(
                    u8,
                    shape_of(
                        cython.address(self._pool), first[index], blocks[index], starts[index + 1] - starts[index]
                    ),
                )


# ---- objects ------------------------------------------------------------------------------------------------------------


def find_objects(heap: Heap) -> u64:
    """Set the bits of each object's first block, and of all that it takes; returns how many tails belong to none."""
    orphans: u64 = 0
    block: u64 = 0
    end: u64
    state: u64
    while block < heap.end_block:
        if block & 31 == 0 and heap.end_block - block >= 32 and load64(heap.table + (block >> 2)) == 0:
            block += 32
            continue
        state = state_of(heap, block)
        if state == FREE:
            block += 1
            continue
        end = end_of_tails(heap, block if heap.back != 0 else block + 1)
        if heap.back != 0 and end < heap.end_block and state_of(heap, end) & HEAD:
            end += 1
            state = HEAD
        elif heap.back != 0:
            state = TAIL
        if state & HEAD:
            set_bits(heap.firsts, block, block + 1)
            set_bits(heap.taken, block, end)
        else:
            orphans += end - block
        block = end
    return orphans


def end_of_tails(heap: Heap, block: u64) -> u64:
    """The first block from one on that is not a tail, or the end."""
    while block < heap.end_block and state_of(heap, block) == TAIL:
        block += 1
    return block


def set_bits(bits: cython.pointer(u64), first: u64, end: u64) -> cython.void:
    """Set the bits from one to before another."""
    word: u64 = first >> 6
    mask: u64 = ONES << (first & 63)
    while word < end >> 6:
        bits[word] |= mask
        mask = ONES
        word += 1
    if end & 63:
        bits[word] |= mask & ~(ONES << (end & 63))


def count_ranks(heap: Heap) -> u64:
    """Count the objects before each word of the bitmaps; returns how many there are."""
    word: u64
    rank: u64 = 0
    for word in range(heap.words):
        heap.ranks[word] = cython.cast(u32, rank)
        rank += count_ones(heap.firsts[word])
    return rank


def write_objects(heap: Heap, first: cython.pointer(u32), blocks: cython.pointer(u32), room: u64) -> cython.void:
    """Write the objects, as many as there is room for."""
    index: u64 = 0
    word: u64
    bits: u64
    block: u64
    for word in range(heap.words):
        bits = heap.firsts[word]
        while bits != 0 and index < room:
            block = (word << 6) + ctz64(bits)
            first[index] = cython.cast(u32, block)
            blocks[index] = cython.cast(u32, object_end(heap, block) - block)
            index += 1
            bits &= bits - 1


def object_end(heap: Heap, first: u64) -> u64:
    """The block past an object: free, or the first of another one."""
    block: u64 = first + 1
    word: u64 = block >> 6
    ends: u64
    if word >= heap.words:
        return block
    ends = (~heap.taken[word] | heap.firsts[word]) & (ONES << (block & 63))
    while ends == 0:
        word += 1
        ends = ~heap.taken[word] | heap.firsts[word]
    return (word << 6) + ctz64(ends)


# ---- references ---------------------------------------------------------------------------------------------------------


def scan_object(heap: Heap, sink: SinkPointer, first: u64, blocks: u64) -> u64:
    """Note the references of an object; returns how sure they are."""
    start: u64 = heap.memory + (first << heap.block_shift)
    stop: u64 = start + (blocks << heap.block_shift)
    at: u64 = start + heap.body_offset
    end: u64 = stop - heap.trailer_bytes
    layout: u64 = 0
    words: u64 = 0
    if at + heap.overhang < end:
        words = (end - at - heap.overhang) >> heap.step_shift
    if heap.precise != 0:
        layout = load_word(stop - heap.layout_offset if heap.back != 0 else start + heap.layout_offset, heap.word_shift)
    if layout == 0:
        scan_all(heap, sink, at, words)
        return POSSIBLE
    # Where words overlap (AVR) the last one of a layout may cross the body's end.
    words = (end - at) >> heap.step_shift if at < end else 0
    if layout & 1:
        return scan_inline(heap, sink, at, words, layout)
    return scan_static(heap, sink, at, words, layout)


def scan_all(heap: Heap, sink: SinkPointer, at: u64, words: u64) -> cython.void:
    """Note each of some words that lies on the heap: four are compared with its bounds at once, and mostly none does."""
    index: u64 = 0
    stop: u64
    while heap.step_shift > 1 and words - index >= 4:
        if heap.step_shift == 3:
            stop = long_words_below(at + (index << 3), heap.start, heap.pool_bytes)
        else:
            stop = words_below(at + (index << 2), heap.start, heap.pool_bytes)
        scan_bits(heap, sink, at, index, stop, words)
        index += 4
    while index < words:
        note_word(heap, sink, at, index << heap.step_shift)
        index += 1


def scan_bits(heap: Heap, sink: SinkPointer, at: u64, index: u64, bits: u64, words: u64) -> cython.void:
    """Note those words from one on whose bits are set, before an end."""
    place: u64
    while bits != 0:
        place = index + ctz64(bits)
        if place >= words:
            return
        note_word(heap, sink, at, place << heap.step_shift)
        bits &= bits - 1


def scan_inline(heap: Heap, sink: SinkPointer, at: u64, words: u64, layout: u64) -> u64:
    """Note by an inline layout: 1, a size field of 4, 5 or 6 bits, the bitmap, which repeats."""
    size: u64 = (layout >> 1) & ((cython.cast(u64, 8) << heap.word_shift) - 1)
    bits: u64 = layout >> (heap.word_shift + 4)
    index: u64 = 0
    if bits == 0:
        return CERTAIN
    if size == 0:
        if heap.whole_elements != 0:
            return UNREADABLE
        # A pattern of no length does not repeat.
        scan_bits(heap, sink, at, 0, bits, words)
        return CERTAIN
    bits &= (cython.cast(u64, 1) << size) - 1
    if heap.whole_elements != 0:
        words -= words % size
    while index < words:
        scan_bits(heap, sink, at, index, bits, words)
        index += size
    return CERTAIN


def scan_static(heap: Heap, sink: SinkPointer, at: u64, words: u64, layout: u64) -> u64:
    """Note by an out-of-line layout: ``{size word, bitmap bytes}`` among the statics."""
    size: u64 = static_size(heap, layout)
    bitmap: u64 = heap.statics + (layout - heap.statics_start) + (cython.cast(u64, 1) << heap.word_shift)
    index: u64 = 0
    place: u64 = 0
    piece: u64
    if size == 0:
        return UNREADABLE
    if heap.whole_elements != 0:
        words -= words % size
    while index < words:
        # A byte of the bitmap at a time; its last one may be short.
        piece = 8 if size - place > 8 else size - place
        scan_bits(heap, sink, at, index, load8(bitmap + (place >> 3)) & (ONES >> (64 - piece)), words)
        index += piece
        place = place + piece if place + piece < size else 0
    return CERTAIN


def static_size(heap: Heap, layout: u64) -> u64:
    """Number of bits of an out-of-line layout; 0 where it does not lie among the statics."""
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    at: u64 = layout - heap.statics_start
    size: u64
    if at >= heap.statics_bytes or heap.statics_bytes - at < word_bytes:
        return 0
    size = load_word(heap.statics + at, heap.word_shift)
    at += word_bytes
    return 0 if size > (heap.statics_bytes - at) << 3 else size


# ---- shapes -------------------------------------------------------------------------------------------------------------


def shape_of(heap: Heap, first: u64, blocks: u64, references: u64) -> u64:
    """What the bytes of an object look like that has so many references."""
    at: u64 = heap.memory + (first << heap.block_shift) + heap.body_offset
    end: u64 = heap.memory + ((first + blocks) << heap.block_shift) - heap.trailer_bytes
    if at >= end or are_zeros(at, end):
        return ZEROS
    if references != 0:
        return POINTERS if references << 1 >= nonzero_words(heap, at, end) else SOME_POINTERS
    if is_text(heap, at, end):
        return TEXT
    if are_floats(at, end, 3):
        return DOUBLES
    return SINGLES if are_floats(at, end, 2) else DATA


def nonzero_words(heap: Heap, at: u64, end: u64) -> u64:
    """How many words are not 0."""
    count: u64 = 0
    word_bytes: u64 = cython.cast(u64, 1) << heap.word_shift
    while end - at >= word_bytes:
        count += load_word(at, heap.word_shift) != 0
        at += word_bytes
    return count


def is_text(heap: Heap, at: u64, end: u64) -> cython.bint:
    """Whether bytes begin with characters, and are zeros behind those; or less than a block, which nobody may have cleared."""
    start: u64 = at
    bytes: u64 = 1
    while at < end and bytes != 0:
        bytes = character_bytes(at, end - at)
        at += bytes
    if at - start < SHORTEST_TEXT:
        return False
    return end - at < cython.cast(u64, 1) << heap.block_shift or are_zeros(at, end)


def character_bytes(at: u64, left: u64) -> u64:
    """How long the UTF-8 character is that begins here; 0 for none, and for control characters other than white space."""
    byte: u64 = load8(at)
    if byte < 0x80:
        return byte == 9 or byte == 10 or byte == 13 or (byte >= 0x20 and byte != 0x7F)
    if byte < 0xE0:
        return sequence_bytes(at, left, 2, 0x80, 0xBF) if byte >= 0xC2 else 0
    if byte < 0xF0:
        return sequence_bytes(at, left, 3, 0xA0 if byte == 0xE0 else 0x80, 0x9F if byte == 0xED else 0xBF)
    if byte < 0xF5:
        return sequence_bytes(at, left, 4, 0x90 if byte == 0xF0 else 0x80, 0x8F if byte == 0xF4 else 0xBF)
    return 0


def sequence_bytes(at: u64, left: u64, bytes: u64, least: u64, most: u64) -> u64:
    """The length of a character of several bytes, whose second one has bounds of its own; 0 where one is missing."""
    index: u64
    if left < bytes or load8(at + 1) < least or load8(at + 1) > most:
        return 0
    for index in range(2, bytes):
        if load8(at + index) & 0xC0 != 0x80:
            return 0
    return bytes


def are_zeros(at: u64, end: u64) -> cython.bint:
    """Whether all bytes are 0."""
    while end - at >= 8:
        if load64(at) != 0:
            return False
        at += 8
    while at < end:
        if load8(at) != 0:
            return False
        at += 1
    return True


def are_floats(at: u64, end: u64, shift: u64) -> cython.bint:
    """Whether bytes read as floating-point numbers of 4 or 8 bytes that people use: 0, or of an exponent from -32 to 31."""
    number: u64
    exponent: u64
    any_: cython.bint = False
    while end - at >= cython.cast(u64, 1) << shift:
        number = load_word(at, shift)
        at += cython.cast(u64, 1) << shift
        if number == 0:
            continue
        any_ = True
        exponent = (number >> 52 & 0x7FF) - (1023 - 32) if shift == 3 else (number >> 23 & 0xFF) - (127 - 32)
        if exponent >= 64:
            return False
    return any_
