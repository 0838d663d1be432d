# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The kernel as a guest's allocator: the C function behind the import that the guest's ``runtime.alloc`` became.

wasmtime calls `serve` with the guest's arguments and takes its result, with no Python in between.  Only when there is no
room, or when the owner (`prepared.OfferedHeap`) is to decide, does it come to Python.  After each allocation the words
that the guest's own allocator would have written are written: where the next search begins, and the counters.
"""

import cython

if not cython.compiled:
    raise ImportError("tinyheap.guests.serve._allocator is not compiled")

from cython.cimports.tinyheap.guests.record._recorder import EventLog, note, trap_of
from cython.cimports.tinyheap.heap._words import ONES, load32, load64, store32, store64, u64
from cython.cimports.tinyheap.heap.nextfit._allocate import alloc_object
from cython.cimports.tinyheap.heap.nextfit._kernel import Kernel
from cython.cimports.tinyheap.heap.nextfit._state import Heap

from tinyheap.guests.serve.unchecked import trap_for


def serve(env: cython.p_void, caller: cython.p_void, values: cython.p_void, count: cython.size_t) -> cython.p_void:
    """Allocate; a ``wasmtime_func_unchecked_callback_t``, whose values take 16 bytes each.  Returns a trap, or NULL."""
    link: LinkPointer = cython.cast(LinkPointer, env)
    at: u64 = cython.cast(cython.size_t, values)
    size_bytes: u64 = load32(at + (link.size_index << 4))
    layout: u64 = 0
    address: u64
    if link.layout_index != ONES:
        layout = load32(at + (link.layout_index << 4))
    if link.heap == cython.NULL and begin(link):
        address = 0
    elif link.calls_left == 0 or (link.heap_end != 0 and not holds_variables(link)):
        address = ask_owner(link, size_bytes, layout)
    else:
        link.calls_left -= 1
        address = allocate(link, size_bytes, layout)
    store64(at, address)
    # Who takes the trap frees it; the guest may be called again after that.
    trap: u64 = link.trap
    link.trap = 0
    if link.log != cython.NULL and trap == 0 and note(link.log, 0, address, size_bytes, layout):
        trap = trap_of(link.log)
    return cython.cast(cython.p_void, cython.cast(cython.size_t, trap))


def allocate(link: LinkPointer, size_bytes: u64, layout: u64) -> u64:
    """The address of a new object; no callback is called while the heap is not full."""
    address: u64
    if size_bytes == 0:
        return link.heap.zero_size_address
    address = alloc_object(link.heap, size_bytes, layout)
    write_variables(link)
    return address if address != 0 else find_room(link, size_bytes, layout)


def write_variables(link: LinkPointer) -> cython.void:
    """Write what the guest's own allocator and collector keep in the guest's memory."""
    heap: Heap = link.heap
    store32(link.next_alloc, heap.next_alloc)
    if link.total_alloc_bytes != 0:
        store64(link.total_alloc_bytes, heap.total_alloc_bytes)
    if link.mallocs != 0:
        store64(link.mallocs, heap.mallocs)
    if link.frees != 0:
        store64(link.frees, heap.frees)
    if link.total_blocks != 0:
        store64(link.total_blocks, heap.total_blocks)
    if link.freed_blocks != 0:
        store64(link.freed_blocks, heap.freed_blocks)


def holds_variables(link: LinkPointer) -> cython.bint:
    """Whether the guest's variables are as `write_variables`, and the code that placed the heap, left them."""
    heap: Heap = link.heap
    return (
        load32(link.heap_end) == heap.start + heap.heap_bytes
        and load32(link.metadata_start) == heap.start + heap.pool_bytes
        and load32(link.end_block) == heap.end_block
        and load32(link.next_alloc) == heap.next_alloc
        and holds(link.total_alloc_bytes, heap.total_alloc_bytes)
        and holds(link.mallocs, heap.mallocs)
        and holds(link.frees, heap.frees)
        and holds(link.total_blocks, heap.total_blocks)
        and holds(link.freed_blocks, heap.freed_blocks)
    )


def holds(address: u64, value: u64) -> cython.bint:
    """Whether a counter, if there is one, has that value."""
    return address == 0 or load64(address) == value


def begin(link: LinkPointer) -> cython.bint:
    """Have the owner tie a kernel, at the first call; whether it fails, which becomes the link's trap."""
    with cython.gil:
        try:
            cython.cast(Allocator, link.allocator)._owner.begin()
        except BaseException as error:
            link.trap = trap_for(error)
    return link.trap != 0


def ask_owner(link: LinkPointer, size_bytes: u64, layout: u64) -> u64:
    """The address that the owner finds; its error, if it raises one, becomes the link's trap."""
    address: u64 = 0
    with cython.gil:
        try:
            address = cython.cast(Allocator, link.allocator)._owner.allocate(size_bytes, layout)
        except BaseException as error:
            link.trap = trap_for(error)
    return address


def find_room(link: LinkPointer, size_bytes: u64, layout: u64) -> u64:
    """The address of an object that is counted, but for which there was no room; an error becomes the link's trap."""
    address: u64 = 0
    with cython.gil:
        try:
            address = cython.cast(Allocator, link.allocator)._find_room(size_bytes, layout)
        except BaseException as error:
            link.trap = trap_for(error)
    return address


@cython.final
@cython.cclass
class Allocator:
    """Ties a kernel to a guest.

    Invariant: where no kernel is tied, ``calls_left`` is 0, so that every call asks the owner, however often that fails.

    Args:
        owner: its ``begin()`` is called while no kernel is tied, its ``allocate(size_bytes, layout)`` as soon as `serve_alone`
            allows no more calls, and when a variable of the guest's that is checked was overwritten.
        size_index, layout_index: of the arguments; None where there is no layout.
    """

    def __init__(self, owner, size_index: u64, layout_index):
        self._owner = owner
        self._link.allocator = cython.cast(cython.p_void, self)
        self._link.size_index = size_index
        self._link.layout_index = ONES if layout_index is None else layout_index

    @property
    def callback(self):
        """Address of the C function."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, serve))

    @property
    def env(self):
        """Address that the C function is to be called with."""
        return cython.cast(cython.size_t, cython.cast(cython.p_void, cython.address(self._link)))

    def tie(self, kernel: Kernel, next_alloc: u64, counters):
        """Serve from a kernel.

        Args:
            next_alloc: where (on this machine) the guest keeps its ``nextAlloc``.
            counters: the same for total bytes, allocations, frees, blocks allocated and blocks freed; 0 for none.
        """
        self._kernel = kernel
        self._link.heap = cython.address(kernel._heap)
        self._link.next_alloc = next_alloc
        (
            self._link.total_alloc_bytes,
            self._link.mallocs,
            self._link.frees,
            self._link.total_blocks,
            self._link.freed_blocks,
        ) = counters

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
        """Say in an object's ``wanted_bytes`` which allocation is counted and has no object, while room is found for it."""
        self._absent = absent

    def serve_alone(self, calls):
        """Serve so many calls from now on before the owner is asked again; None for all."""
        self._link.calls_left = ONES if calls is None else calls

    def publish(self):
        """Write the kernel's counters to the guest's memory."""
        write_variables(cython.address(self._link))

    def _find_room(self, size_bytes: u64, layout: u64):
        """Collect, grow, give up: the kernel asks its embedder for each, and nothing else is called."""
        self._absent.wanted_bytes = size_bytes
        try:
            return self._kernel._alloc_slowly(size_bytes, layout)
        finally:
            self._absent.wanted_bytes = None
            # An error of a callback takes back what was counted.
            write_variables(cython.address(self._link))
