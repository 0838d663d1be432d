# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The best-fit kernel as a guest's allocator: the C function behind the import that the guest's ``runtime.alloc`` asks.

As ``_allocator.py``, for heaps with a free list.  These differ in what an allocation leaves on the guest's stack: what the
variables of the original held last (`tracing`), where the original has them (`residue`).  So the guest passes its stack
pointer, too::

    alloc(size, layout)  =  ask(size, layout, stack pointer)

What collects or grows is left to the owner, which follows the variables itself then.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.guests.serve._list_allocator is not compiled")

from cython.cimports.tinyheap.guests.record._recorder import EventLog, note, trap_of
from cython.cimports.tinyheap.heap._words import ONES, fill, load32, load64, store32, store64, u64
from cython.cimports.tinyheap.heap.bestfit._allocate import alloc_object, uncount
from cython.cimports.tinyheap.heap.bestfit._freelist import build_index
from cython.cimports.tinyheap.heap.bestfit._kernel import Kernel
from cython.cimports.tinyheap.heap.bestfit._state import DAMAGED, Heap, address_of, blocks_for

from tinyheap.guests.serve.unchecked import trap_for


def serve(env: cython.p_void, caller: cython.p_void, values: cython.p_void, count: cython.size_t) -> cython.p_void:
    """Allocate; a ``wasmtime_func_unchecked_callback_t``, whose values take 16 bytes each.  Returns a trap, or NULL."""
    link: LinkPointer = cython.cast(LinkPointer, env)
    at: u64 = cython.cast(cython.size_t, values)
    size_bytes: u64 = load32(at)
    layout: u64 = load32(at + 16)
    address: u64
    if link.heap == cython.NULL and begin(link):
        address = 0
    elif link.calls_left == 0 or (link.heap_end != 0 and not holds_variables(link)):
        address = ask_owner(link, size_bytes, layout)
    else:
        link.calls_left -= 1
        address = allocate(link, size_bytes, layout, load32(at + 32))
    store64(at, address)
    # Who takes the trap frees it; the guest may be called again after that.
    trap: u64 = link.trap
    link.trap = 0
    if link.log != cython.NULL and trap == 0 and note(link.log, 0, address, size_bytes, layout):
        trap = trap_of(link.log)
    return cython.cast(cython.p_void, cython.cast(cython.size_t, trap))


def allocate(link: LinkPointer, size_bytes: u64, layout: u64, stack_pointer: u64) -> u64:
    """The address of a new object, with nobody asked while there is room."""
    heap: Heap = link.heap
    blocks: u64
    left: u64
    address: u64
    if stack_pointer < link.deepest_bytes or stack_pointer > link.memory_bytes or size_bytes > heap.largest_bytes:
        return ask_owner(link, size_bytes, layout)
    # Nil, until they are set.
    fill(cython.cast(cython.size_t, cython.cast(cython.p_void, cython.address(link.values[0]))), VARIABLES << 3, 0)
    link.values[CHAIN] = load32(link.chain) if link.chain != 0 else 0
    link.values[TABLE] = heap.start + heap.pool_bytes
    link.values[HEAP_START] = heap.start
    link.values[HEAP_END] = heap.start + heap.heap_bytes
    if size_bytes == 0:
        write_words(link, EMPTY, stack_pointer)
        return heap.zero_size_address
    blocks = blocks_for(heap, size_bytes)
    if heap.indexed == 0 and build_index(heap):
        return ask_owner(link, size_bytes, layout)
    left = follow_take(link, blocks)
    if left == DAMAGED:
        return ask_owner(link, size_bytes, layout)
    address = alloc_object(heap, size_bytes, layout)
    if address == 0 or address == DAMAGED:
        uncount(heap, size_bytes)
        return ask_owner(link, size_bytes, layout)
    write_variables(link)
    came_to: u64 = PLAIN
    if left != 0:
        rest: u64 = (link.values[TAKEN] - heap.start >> heap.block_shift) + blocks
        came_to = LISTS if follow_put(link, rest, left) else SPLITS
    write_words(link, came_to, stack_pointer)
    return address


def walk(link: LinkPointer, blocks: u64, first: u64) -> u64:
    """Walk to the first outer node of so many blocks or more; nil at the list's end, `DAMAGED` where the list is not one.

    Args:
        first: the first of the variables that the walk sets: link, node, met, passed.
    """
    heap: Heap = link.heap
    node: u64 = heap.free_list
    place: u64 = link.free_ranges_address
    passed: u64 = 0
    met: u64 = 0
    shorter: u64 = 0
    length: u64
    while node != 0:
        # A length that does not rise would lead in a circle.
        if node < heap.start or node - heap.start > heap.pool_bytes - 12:
            return DAMAGED
        length = load32(link.base + node)
        if length <= shorter:
            return DAMAGED
        met = node
        if length >= blocks:
            break
        passed = node
        place = node + 4
        shorter = length
        node = load32(link.base + place)
    link.values[first] = place
    link.values[first + 1] = node
    link.values[first + 2] = met
    link.values[first + 3] = passed
    return node


def follow_take(link: LinkPointer, blocks: u64) -> u64:
    """Set the variables of taking so many blocks; how many are left of their range, or `DAMAGED` where they are not taken."""
    heap: Heap = link.heap
    node: u64 = walk(link, blocks, TAKE_LINK)
    inner: u64
    taken: u64
    is_several: cython.bint = blocks > 1
    if node == 0 or node == DAMAGED:
        return DAMAGED
    inner = load32(link.base + node + 8)
    if inner != 0 and (inner < heap.start or inner - heap.start > heap.pool_bytes - 12):
        return DAMAGED
    taken = inner if inner != 0 else node
    link.values[TAKE_INNER] = inner
    link.values[TAKE_INNER_NEXT] = load32(link.base + inner) if inner != 0 else 0
    link.values[TAKE_LONGER] = load32(link.base + node + 4) if inner == 0 else 0
    link.values[TAKE_FOLLOWING] = link.values[TAKE_INNER_NEXT] if inner != 0 else link.values[TAKE_LONGER]
    link.values[TAKEN] = taken
    link.values[TAKEN_SEVERAL] = taken if is_several else 0
    link.values[TAKEN_TABLE] = heap.start + heap.pool_bytes if is_several else 0
    link.values[TAKEN_SECOND] = taken + (cython.cast(u64, 1) << heap.block_shift) if is_several else 0
    link.values[TAKEN_BEFORE_LAST] = taken + (blocks - 2 << heap.block_shift) if is_several else 0
    link.values[TAKEN_LAST] = taken + (blocks - 1 << heap.block_shift) if is_several else 0
    return load32(link.base + node) - blocks


def follow_put(link: LinkPointer, block: u64, blocks: u64) -> cython.bint:
    """Set the variables of inserting a range, which is in the list now; whether it is the first of its length there."""
    at: u64 = address_of(link.heap, block)
    node: u64 = walk(link, blocks, PUT_LINK)
    link.values[PUT_RANGE] = at
    link.values[PUT_INNER] = 0
    link.values[PUT_LONGER] = 0
    link.values[PUT_LENGTH] = blocks
    if node == at:
        # It is an outer node itself, and was put in front of the next.
        node = load32(link.base + at + 4)
        link.values[PUT_NODE] = node
        link.values[PUT_LONGER] = node
        link.values[PUT_MET] = node if node != 0 else link.values[PUT_PASSED]
        return True
    link.values[PUT_INNER] = load32(link.base + at)
    return False


def write_words(link: LinkPointer, which: u64, stack_pointer: u64) -> cython.void:
    """Leave the variables where the original has them; see `residue.Word.value`."""
    word: cython.pointer(LeftWord) = link.words[which]
    end: cython.pointer(LeftWord) = word + link.counts[which]
    heap: Heap = link.heap
    value: u64
    while word < end:
        value = word.added
        if word.kind == 1:
            value += stack_pointer
        elif word.kind >= 2:
            value = link.values[word.variable]
            if value != 0:
                if word.kind == 3:
                    value = heap.start + heap.pool_bytes + ((value - heap.start) >> (heap.block_shift + 2))
                value += word.added
        store32(link.base + stack_pointer - word.below_bytes, value)
        word += 1


def write_variables(link: LinkPointer) -> cython.void:
    """Write what the guest's own allocator and collector keep in the guest's memory."""
    heap: Heap = link.heap
    store32(link.free_ranges, heap.free_list)
    if link.total_alloc_bytes != 0:
        store64(link.total_alloc_bytes, heap.total_alloc_bytes)
    if link.mallocs != 0:
        store64(link.mallocs, heap.mallocs)
    if link.frees != 0:
        store64(link.frees, heap.frees)


def holds_variables(link: LinkPointer) -> cython.bint:
    """Whether the guest's variables are as `write_variables`, and whoever placed the heap, left them."""
    heap: Heap = link.heap
    return (
        load32(link.heap_end) == heap.start + heap.heap_bytes
        and load32(link.metadata_start) == heap.start + heap.pool_bytes
        and load32(link.end_block) == heap.end_block
        and load32(link.free_ranges) == heap.free_list
        and (link.total_alloc_bytes == 0 or load64(link.total_alloc_bytes) == heap.total_alloc_bytes)
        and (link.mallocs == 0 or load64(link.mallocs) == heap.mallocs)
        and (link.frees == 0 or load64(link.frees) == heap.frees)
    )


def begin(link: LinkPointer) -> cython.bint:
    """Have the owner tie a kernel, at the first call; whether it fails, which becomes the link's trap."""
    with cython.gil:
        try:
            cython.cast(ListAllocator, link.allocator)._owner.begin()
        except BaseException as error:
            link.trap = trap_for(error)
    return link.trap != 0


def ask_owner(link: LinkPointer, size_bytes: u64, layout: u64) -> u64:
    """The address that the owner finds; its error, if it raises one, becomes the link's trap."""
    address: u64 = 0
    with cython.gil:
        try:
            address = cython.cast(ListAllocator, link.allocator)._owner.allocate(size_bytes, layout)
        except BaseException as error:
            link.trap = trap_for(error)
    return address


@cython.final
@cython.cclass
class ListAllocator:
    """Ties a kernel to a guest.

    Invariant: where no kernel is tied, ``calls_left`` is 0, so that every call asks the owner, however often that fails.

    Args:
        owner: its ``begin()`` is called while no kernel is tied, its ``allocate(size_bytes, layout)`` as soon as `serve_alone`
            allows no more calls, when there is no room, and when a variable of the guest's that is checked was overwritten.
    """

    def __init__(self, owner):
        self._owner = owner
        self._link.allocator = cython.cast(cython.p_void, self)

    @property
    def callback(self):
        """Address of the C function."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, serve))

    @property
    def env(self):
        """Address that the C function is to be called with."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, cython.address(self._link)))

    def leave(self, words):
        """What is left on the guest's stack, by allocations of each kind.

        Args:
            words: an array of 64-bit numbers for each kind, as `residue.left_by_allocations` makes them.
        """
        index: cython.int
        at: u64
        self._words = words
        self._link.deepest_bytes = 0
        for index in range(CASES):
            view = words[index]
            at = view.buffer_info()[0]
            self._link.words[index] = cython.cast(cython.pointer(LeftWord), cython.cast(cython.size_t, at))
            self._link.counts[index] = len(view) // 4
            self._link.deepest_bytes = max(0, self._link.deepest_bytes, *view[::4])

    def tie(self, kernel: Kernel, base: u64, memory_bytes: u64, free_ranges: u64, chain: u64, counters):
        """Serve from a kernel.

        Args:
            base: where (on this machine) the guest's memory begins.
            memory_bytes: how long it is.
            free_ranges: the guest's address of its ``freeRanges``.
            chain: the same of the word that the allocator's record is chained from; 0 for none.
            counters: the same for total bytes, allocations and frees; 0 for none.
        """
        self._kernel = kernel
        self._link.heap = cython.address(kernel._heap)
        self._link.base = base
        self._link.memory_bytes = memory_bytes
        self._link.free_ranges_address = free_ranges
        self._link.free_ranges = base + free_ranges
        self._link.chain = base + chain if chain else 0
        total_alloc_bytes, mallocs, frees = counters
        self._link.total_alloc_bytes = base + total_alloc_bytes if total_alloc_bytes else 0
        self._link.mallocs = base + mallocs if mallocs else 0
        self._link.frees = base + frees if frees else 0

    def untie(self):
        """Serve from no kernel any more: the owner is asked each time."""
        self._link.calls_left = 0
        self._link.heap_end = 0
        self._link.heap = cython.NULL
        self._kernel = None

    def check(self, heap_end: u64, metadata_start: u64, end_block: u64):
        """Check these variables (addresses on this machine) and the counters before each allocation."""
        self._link.heap_end = heap_end
        self._link.metadata_start = metadata_start
        self._link.end_block = end_block

    def record(self, log: EventLog):
        """Note every allocation that is served from now on."""
        self._events = log
        self._link.log = cython.address(log._log)

    def account_for(self, absent):
        """Nothing: room is found by the owner."""

    def serve_alone(self, calls):
        """Serve so many calls from now on before the owner is asked again; None for all."""
        self._link.calls_left = ONES if calls is None else calls

    def publish(self):
        """Write the kernel's counters and the list's start to the guest's memory."""
        write_variables(cython.address(self._link))
