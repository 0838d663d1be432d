"""Finding TinyGo's block collector in a program, by the shape of its code; names only confirm.

What the collector must do, however it was compiled, is what it is known by:

    the block table takes one byte for 64 bytes of heap      a division by 65, of (heapEnd - heapStart + 64)
    what follows from it is stored                           metadataStart and endBlock
    alloc returns block * 16 + heapStart + header            and stores one more word: nextAlloc
    what is added to a 64-bit word, where                    the counters
    the globals are scanned up to the heap's start           markRoots(globalsStart, heapStart)
    a frame holds an array that block numbers go into        the mark stack

The order of work is the order of this list.  Each fact keeps the ways in which it was found: two that are
independent make it certain.  Source of what is looked for: TinyGo, src/runtime/gc_blocks.go,
gc_stack_portable.go and arch_tinygowasm.go, in their versions from 0.24 to 0.39.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.bounds import TABLE_DIVISOR, Geometry, geometries
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import BlockHeap, Counters, Frame, MarkStack, Redirect, Role, Roots, StackScan
from tinyheap.recognize.interpret import Reading, Store, Walker
from tinyheap.recognize.marking import MarkArray, frame_stores, frames, mark_array
from tinyheap.recognize.scanning import Scan, chain_variable, inlined_scans
from tinyheap.recognize.shapes import (
    added_to,
    block_shift,
    callees,
    constant_addresses,
    distance,
    is_made_from,
    requires_zero,
    tested_word,
    tests_word,
    values_of,
    zero_word,
)
from tinyheap.recognize.values import (
    Constant,
    GlobalAtEntry,
    Loaded,
    Merge,
    Operation,
    Parameter,
    Value,
    linear,
    minus,
    parts,
    sources,
)
from tinyheap.wasm.leb128 import encode_signed

STACK_CANARY = 0xB83BF575
"""What TinyGo's ``internal/task`` puts at the end of a goroutine's stack, on machines of 32 bits."""
_BLOCK_BYTES = 16
"""Four words of four bytes."""

_REGION_LIMIT = 150
"""Functions read at most on the way down from alloc: a collector has about a dozen, its panics some more."""

_GLOBALS_START_MINIMUM = 256
"""Below that no linker puts data: LLVM's begins at 1024, or above the stack."""

_HEADER_LIMIT = 64
"""Bytes within which a header is looked for; it is 16."""


_HEADROOM_DIVISOR = 3
"""A collection is to leave a third of the heap free, or the heap grows."""


class BlockHeapLocator:
    """Finds the block collector of one module; `locate` is all there is to call."""

    def __init__(self, search: CodeSearch, walker: Walker, names: dict[str, int], notes: Notes) -> None:
        self._search, self._walker, self._names, self._notes = search, walker, names, notes
        self._module = search.module

    @cached_property
    def geometry(self) -> Geometry | None:
        """Where the heap's bounds lie; None if there is no block table in the program."""
        found = self._divisions
        if not found:
            return None
        geometry = max(found, key=lambda candidate: len(found[candidate]))
        for fact in ("heap_end", "metadata_start", "end_block", "heap_start"):
            self._notes.found(fact, f"division by 65 in function {found[geometry][0]}")
            if len(found) > 1:
                self._notes.doubt(fact, f"{len(found)} different divisions by 65 give different answers")
        return geometry

    @cached_property
    def _divisions(self) -> dict[Geometry, list[int]]:
        """What divisions by 65 say of the geometry, and in which functions."""
        found: dict[Geometry, list[int]] = defaultdict(list)
        for search in (self._search.dividing_by, self._search.perhaps_dividing_by):
            for function in search(TABLE_DIVISOR):
                for geometry in geometries(self._walker.read(function)):
                    found[geometry].append(function)
            if found:
                break
        return found

    @property
    def _geometry_functions(self) -> list[int]:
        """The functions that compute the heap's geometry."""
        return self._divisions[self._known]

    def locate(self) -> BlockHeap:
        """All of the collector's facts; raises UnsupportedGuestError where one that is needed was not found."""
        alloc = self._alloc
        next_alloc = self._next_alloc
        counters = self._counters()
        roots = self._roots()
        mark_stack = self._mark_stack()
        self._confirm_geometry()
        self._confirm_names()
        redirects, uncovered, readers, initializers = self._takeover(counters)
        geometry = self._known
        return BlockHeap(
            alloc_function=alloc.function,
            size_parameter=0,
            layout_parameter=1 if len(self._module.function_type(alloc.function).parameters) > 1 else None,
            header_bytes=self._header_bytes,
            zero_size_address=self._zero_size_address(),
            heap_start_address=geometry.heap_start,
            heap_start_variable_address=geometry.heap_start_variable,
            heap_end_address=geometry.heap_end,
            metadata_start_address=geometry.metadata_start,
            end_block_address=geometry.end_block,
            next_alloc_address=next_alloc,
            keeps_headroom=self._keeps_headroom(),
            counters=counters,
            roots=roots,
            mark_stack=mark_stack,
            redirects=redirects,
            uncovered=uncovered,
            readers=readers,
            initializers=initializers,
            functions=self._functions(),
        )

    # What is read

    @property
    def _known(self) -> Geometry:
        if self.geometry is None:
            raise UnsupportedGuestError("no block table was found in the program (no division by 65)")
        return self.geometry

    @cached_property
    def _heap_readings(self) -> list[Reading]:
        """The functions that touch the words of the heap's geometry."""
        candidates = self._search.mentioning(self._known.addresses)
        return [
            reading
            for reading in map(self._walker.read, sorted(candidates))
            if constant_addresses([*reading.loads, *reading.stores]) & self._known.addresses
        ]

    @cached_property
    def _region(self) -> list[Reading]:
        """The functions that alloc reaches by direct calls, breadth first, and those that touch the heap."""
        order = [self._alloc.function]
        for function in order:
            for callee in callees(self._walker.read(function)):
                defined = callee >= self._module.imported_function_count
                if defined and callee not in order and len(order) < _REGION_LIMIT:
                    order.append(callee)
        heap = [reading.function for reading in self._heap_readings]
        return [self._walker.read(function) for function in dict.fromkeys([*order, *heap])]

    # alloc

    @cached_property
    def _alloc(self) -> Reading:
        candidates = [reading for reading in self._heap_readings if self._looks_like_alloc(reading)]
        if not candidates:
            raise UnsupportedGuestError(
                "a block table was found, and no allocator of the known shape: TinyGo's allocator was"
                " rewritten in 0.40, and this is probably such a program"
            )
        self._notes.found("alloc", "returns block * 16 + heapStart and stores nextAlloc")
        if len(candidates) > 1:
            self._notes.doubt("alloc", f"{len(candidates)} functions look like it")
            candidates.sort(key=lambda reading: -len(self._search.callers(reading.function)))
        alloc = candidates[0]
        count = len(self._search.callers(alloc.function))
        self._notes.check(
            "alloc",
            all(count >= len(self._search.callers(reading.function)) for reading in self._heap_readings),
            f"called from {count} functions, more than any other of the heap's",
        )
        return alloc

    def _looks_like_alloc(self, reading: Reading) -> bool:
        signature = self._module.function_type(reading.function)
        return (
            signature.parameters in (("i32",), ("i32", "i32"))
            and signature.results == ("i32",)
            and any(True for _ in self._pointers(reading))
            and bool(constant_addresses(reading.stores, 4) - self._known.addresses)
        )

    def _pointers(self, reading: Reading) -> Iterator[tuple[Value, int]]:
        """Results of the form block * 16 + heapStart + header, as the value and the header's size in bytes."""
        for event in reading.returns:
            for value in sources(event.value) if event.value is not None else ():
                terms, rest = minus(linear(value), self._known.start)
                if rest < 256 and any(factor == _BLOCK_BYTES for _, factor in terms):
                    yield value, rest

    @cached_property
    def _header_bytes(self) -> int:
        """How far in front of the object alloc stores its layout; 0 if it does not."""
        headers = {
            before: store
            for pointer, _ in self._pointers(self._alloc)
            for store in self._alloc.stores
            if store.width_bytes == 4
            and (before := distance(pointer, store.address)) is not None
            and 0 < before <= _HEADER_LIMIT
        }
        shifts = {block_shift(pointer) for pointer, _ in self._pointers(self._alloc)}
        if not headers:
            self._notes.found("header", "alloc stores nothing in front of the object")
            self._notes.check("header", shifts == {self._known.heap_start or 0}, "objects begin at their block")
            return 0
        header, store = min(headers.items())
        self._notes.found("header", f"alloc stores a word {header} bytes in front of the object")
        self._notes.check("header", Parameter(1) in set(sources(store.value)), "the word is its second parameter")
        return header

    @cached_property
    def _next_alloc(self) -> int:
        alloc, known = self._alloc, self._known.addresses
        read = constant_addresses(alloc.loads, 4)
        candidates = sorted((constant_addresses(alloc.stores, 4) & read) - known)
        if len(candidates) > 1:
            near = {self._known.metadata_start + 4, self._known.end_block - 4}
            self._notes.doubt("next_alloc", f"alloc changes {len(candidates)} words that may be it")
            candidates.sort(key=lambda address: address not in near)
        if not candidates:
            raise UnsupportedGuestError("alloc was found, but not where it keeps the next block to try")
        address = candidates[0]
        self._notes.found("next_alloc", "the one further word that alloc both reads and writes")
        neighbors = {self._known.metadata_start, self._known.end_block}
        if {address - 4, address + 4} <= neighbors:
            self._notes.found("next_alloc", "lies between metadataStart and endBlock")
        if any(tests_word(event.conditions, address) for event in alloc.events):
            self._notes.found("next_alloc", "the search for free blocks compares with it")
        return address

    def _keeps_headroom(self) -> bool:
        """Whether the free bytes after a collection are compared with a third of the heap."""
        return any(
            isinstance(part, Operation) and part.name == "i32.div_u" and part.operands[1] == Constant(_HEADROOM_DIVISOR)
            for reading in self._region
            for test in reading.tests
            for source in sources(test.value)
            for part in parts(source)
        )

    def _zero_size_address(self) -> int | None:
        found = {
            source.number
            for event in self._alloc.returns
            for source in (sources(event.value) if event.value is not None else ())
            if isinstance(source, Constant) and source.number >= _GLOBALS_START_MINIMUM
        }
        if len(found) != 1:
            self._notes.doubt("zero_size", f"alloc returns {len(found)} constants")
            return None
        address = found.pop()
        self._notes.found("zero_size", "the one constant that alloc returns")
        for event in self._alloc.returns:
            if event.value == Constant(address) and requires_zero(event.conditions, Parameter(0)):
                self._notes.found("zero_size", "returned where the size is 0")
        return address

    # Counters

    def _counters(self) -> Counters:
        roles: dict[str, set[int]] = defaultdict(set)
        for reading in self._region:
            for store in reading.stores:
                if store.width_bytes == 8 and isinstance(store.address, Constant):
                    role = self._counter_role(reading, store, store.address.number)
                    if role:
                        roles[role].add(store.address.number)
        for role, addresses in roles.items():
            self._notes.found(role, "what is added to it, and where")
            if len(addresses) > 1:
                self._notes.doubt(role, f"{len(addresses)} words fit")
        slots = sorted(address for addresses in roles.values() for address in addresses)
        for role, addresses in roles.items():
            if {min(addresses) - 8, min(addresses) + 8} & set(slots):
                self._notes.found(role, "lies beside another counter")
        return Counters(**{f"{role}_address": min(addresses) for role, addresses in roles.items()})

    def _counter_role(self, reading: Reading, store: Store, address: int) -> str | None:
        """Which counter a 64-bit store changes: by what is added, and whether that is while sweeping."""
        added = added_to(store.value, Loaded(Constant(address), 8))
        if added is None:
            return None
        in_alloc = reading is self._alloc and store.loop_depth == 0
        match added:
            case Constant(1):
                return "mallocs" if in_alloc else "frees"
            case Operation("i64.extend_i32_u", (size,)) if in_alloc:
                rounded = isinstance(size, Operation) and size.name in ("i32.shr_u", "i32.div_u")
                return "total_blocks" if rounded else "total_alloc_bytes"
            case Merge() if not in_alloc or store.loop_depth:
                return "freed_blocks"
            case _:
                return "freed_blocks" if reading is not self._alloc else None

    # Roots

    @cached_property
    def _scans(self) -> list[Scan]:
        """All scans of ranges of roots in the region."""
        scans = [
            Scan(reading, call.conditions, *call.arguments, call.function)
            for reading in self._region
            for call in reading.calls
            if len(call.arguments) == 2
        ]
        if any(self._is_globals_scan(scan) for scan in scans):
            return scans
        return [scan for reading in self._region for scan in inlined_scans(reading)]

    def _is_globals_scan(self, scan: Scan) -> bool:
        start, end = scan.start, scan.end
        if not isinstance(start, Constant) or start.number < _GLOBALS_START_MINIMUM:
            return False
        if isinstance(end, Constant) and self._known.heap_start is not None:
            return end.number == self._known.heap_start and start.number < end.number
        variable = self._known.heap_start_variable
        if variable is None:
            return False
        if isinstance(end, Constant):
            return start.number < end.number and end.number == self._initial_word(variable)
        return Loaded(Constant(variable), 4) in set(sources(end))

    def _initial_word(self, address: int) -> int | None:
        """The word that the module's data puts at an address."""
        for segment in self._module.data_segments:
            offset = segment.offset.constant if segment.offset else None
            if isinstance(offset, int) and offset <= address <= offset + len(segment.data) - 4:
                return int.from_bytes(segment.data[address - offset :][:4], "little")
        return None

    @cached_property
    def _globals_scans(self) -> list[Scan]:
        scans = [scan for scan in self._scans if self._is_globals_scan(scan)]
        if not scans:
            raise UnsupportedGuestError("alloc was found, but not where a collection scans the globals")
        self._notes.found("mark_roots", "scans from a constant up to the heap's start")
        return scans

    @cached_property
    def _mark_roots(self) -> int | None:
        """The function markRoots, unless it was inlined."""
        return self._globals_scans[0].function

    @cached_property
    def _collectors(self) -> list[int]:
        """The functions that hold a collection: alloc itself where it was inlined, runGC else."""
        return sorted({scan.reading.function for scan in self._globals_scans})

    def _roots(self) -> Roots:
        scan = self._globals_scans[0]
        assert isinstance(scan.start, Constant), "a scan of globals begins at a constant"
        end = scan.end.number if isinstance(scan.end, Constant) else self._heap_start_at_first()
        self._notes.found("globals", "scanned up to the heap's start")
        self._notes.check(
            "globals",
            len({(other.start, other.end) for other in self._globals_scans}) == 1
            and self._begins_data(scan.start.number),
            "begin where the module's data begins",
        )
        others = [
            other
            for other in self._scans
            if other.function == self._mark_roots and other.reading is scan.reading and not self._is_globals_scan(other)
        ]
        stack = self._stack_scan(others)
        canary = STACK_CANARY if self._search.counting(b"\x41" + encode_signed(STACK_CANARY - (1 << 32))) else None
        return Roots(scan.start.number, end, stack_canary=canary, **stack)  # type: ignore[arg-type]

    def _heap_start_at_first(self) -> int:
        assert self._known.heap_start_variable is not None, "else the scan ends at a constant"
        return self._initial_word(self._known.heap_start_variable) or 0

    def _begins_data(self, address: int) -> bool:
        """Whether the module's data begins at an address, or the stack ends there and data comes above."""
        offsets = [
            segment.offset.constant
            for segment in self._module.data_segments
            if segment.offset is not None and segment.data
        ]
        first = min((offset for offset in offsets if isinstance(offset, int)), default=None)
        stack = self._module.globals[self._stack_pointer].initial if self._module.globals else None
        return first == address or (stack is not None and stack.constant == address)

    def _stack_scan(self, scans: list[Scan]) -> dict[str, object]:
        """The stack's part of the roots, as arguments for `Roots`."""
        chain_address = self._stack_chain_address()
        for scan in scans:
            starts = list(sources(scan.start))
            stack_globals = {start.index for start in starts if isinstance(start, GlobalAtEntry)}
            stack_globals |= {
                part.index
                for start in starts
                for part in parts(start)
                if isinstance(part, GlobalAtEntry) and isinstance(scan.end, Constant)
            }
            if stack_globals and isinstance(scan.end, Constant):
                return self._range_scan(scan, min(stack_globals), chain_address)
            chain = chain_variable(scan)
            if chain is not None:
                self._notes.found("stack", "a list of stack objects is followed")
                return {
                    "stack_scan": StackScan.CHAIN,
                    "stack_pointer_global": self._stack_pointer,
                    "stack_chain_address": chain,
                }
        self._notes.doubt("stack", "no scan of a stack was recognized")
        return {"stack_scan": StackScan.UNKNOWN, "stack_pointer_global": self._stack_pointer}

    def _range_scan(self, scan: Scan, stack_global: int, chain_address: int | None) -> dict[str, object]:
        assert isinstance(scan.end, Constant), "checked by the caller"
        saved = [
            start.address.number
            for start in sources(scan.start)
            if isinstance(start, Loaded) and isinstance(start.address, Constant)
        ]
        own = [condition for condition in scan.conditions if condition not in self._globals_conditions]
        task = next((address for address in map(zero_word, own) if address is not None), None)
        kind = StackScan.SYSTEM if task is None else StackScan.SYSTEM_UNLESS_TASK
        if saved:
            kind, task = StackScan.SYSTEM_OR_SAVED, self._word_that_decides(scan, saved[0])
        self._notes.found("stack", "scanned from the stack pointer to a constant")
        self._notes.check("stack", stack_global == self._stack_pointer, "the same global makes the frames")
        self._notes.found("stack_pointer", "the stack's scan begins there")
        initial = self._module.globals[stack_global].initial
        self._notes.check(
            "stack_top",
            initial is not None and initial.constant == scan.end.number,
            "what the stack pointer starts as",
        )
        self._notes.found("stack_top", "the end of the scan")
        if task is not None:
            self._notes.found("current_task", "the stack is scanned only where this word is 0")
            self._notes.check("current_task", self._is_switched(task), "the scheduler sets and resets it")
        return {
            "stack_scan": kind,
            "stack_pointer_global": stack_global,
            "stack_top_address": scan.end.number,
            "current_task_address": task,
            "saved_stack_pointer_address": saved[0] if saved else None,
            "stack_chain_address": chain_address,
        }

    def _is_switched(self, task: int) -> bool:
        """Whether a function outside the collector stores two things to a word, as a switch of tasks does."""
        region = {reading.function for reading in self._region}
        return any(
            [store.address for store in self._walker.read(function).stores].count(Constant(task)) > 1
            for function in self._search.mentioning([task]) - region
        )

    @cached_property
    def _globals_conditions(self) -> set[tuple[Value, bool]]:
        return set(self._globals_scans[0].conditions)

    def _word_that_decides(self, scan: Scan, saved: int) -> int | None:
        """The word that decides whether a scan begins at the saved stack pointer."""
        chosen = [scan.start.condition] if isinstance(scan.start, Merge) and scan.start.condition else []
        for load in scan.reading.loads:
            if load.address == Constant(saved):
                chosen += [condition for condition, _ in load.conditions[::-1]]
        return next((address for address in map(tested_word, chosen) if address is not None), None)

    def _stack_chain_address(self) -> int | None:
        """A word that the collector loads without any use: it keeps the chain of stack objects alive."""
        reading = self._globals_scans[0].reading
        addresses = [load.address.number for load in reading.loads if isinstance(load.address, Constant)]
        used = {
            part.address.number
            for event in reading.events
            for value in values_of(event)
            for source in sources(value)
            for part in parts(source)
            if isinstance(part, Loaded) and isinstance(part.address, Constant)
        }
        return next((address for address in addresses if address not in used | self._known.addresses), None)

    @cached_property
    def _stack_pointer(self) -> int:
        """The global from which frames are taken."""
        counts: dict[int, int] = defaultdict(int)
        for reading in self._region:
            for index, _ in frames(reading):
                counts[index] += 1
        exported = self._module.export("__stack_pointer")
        if exported is not None and exported.kind == "global":
            self._notes.found("stack_pointer", "exported as __stack_pointer")
            return exported.index
        if not counts:
            return 0
        self._notes.found("stack_pointer", "frames are taken from it")
        return max(counts, key=lambda index: counts[index])

    # The mark stack

    def _mark_stack(self) -> MarkStack:
        candidates = self._mark_arrays
        if not candidates:
            raise UnsupportedGuestError("alloc was found, but not the function that marks from a root")
        first = candidates[min(candidates)]
        self._notes.found("mark_stack", f"block numbers are pushed onto an array of {first.entries} words")
        self._notes.check(
            "mark_stack",
            all((array.entries, array.flag) == (first.entries, first.flag) for array in candidates.values())
            and 4 * first.entries <= self._frame_bytes(min(candidates)),
            f"the frame of {self._frame_bytes(min(candidates))} bytes holds it",
        )
        if any(array.below != array.last_below for array in candidates.values()):
            self._notes.doubt("mark_stack", "one frame holds several such arrays")
        root_chain = self._chain(candidates, through=self._mark_roots)
        rescan_chain = self._chain(candidates, avoiding=self._mark_roots)
        if not root_chain or not rescan_chain:
            raise UnsupportedGuestError("no chain of calls from alloc to the function that marks was found")
        return MarkStack(
            entries=first.entries,
            overflow_flag_address=first.flag,
            root_chain=self._chain_frames(root_chain),
            root_bytes_below_alloc=self._depth(root_chain),
            rescan_chain=self._chain_frames(rescan_chain),
            rescan_bytes_below_alloc=self._depth(rescan_chain, last=True),
            zeroed=all(array.zeroed for array in candidates.values()),
        )

    @cached_property
    def _mark_arrays(self) -> dict[int, MarkArray]:
        """The functions whose frames hold a mark stack."""
        arrays = ((each.function, mark_array(each, self._stack_pointer)) for each in self._region)
        return {function: array for function, array in arrays if array is not None}

    def _chain(self, ends: Iterable[int], through: int | None = None, avoiding: int | None = None) -> tuple[int, ...]:
        """The shortest chain of calls from alloc to one of `ends`."""
        if through is not None:
            first = self._path(self._alloc.function, {through}, None)
            last = self._path(through, set(ends), None)
            return (*first, *last[1:]) if first and last else ()
        return self._path(self._alloc.function, set(ends), avoiding)

    def _path(self, start: int, ends: set[int], avoiding: int | None) -> tuple[int, ...]:
        paths: dict[int, tuple[int, ...]] = {start: (start,)}
        order = [start]
        region = {reading.function for reading in self._region}
        for function in order:
            if function in ends:
                return paths[function]
            for callee in callees(self._walker.read(function)):
                if callee in region and callee not in paths and callee != avoiding:
                    paths[callee] = (*paths[function], callee)
                    order.append(callee)
        return ()

    def _frame_bytes(self, function: int) -> int:
        """What a function takes of the stack; a leaf may use what is below without saying so."""
        sizes = [size for index, size in frames(self._walker.read(function)) if index == self._stack_pointer]
        array = self._mark_arrays.get(function)
        return max([*sizes, array.below if array else 0], default=0)

    def _depth(self, chain: tuple[int, ...], *, last: bool = False) -> int:
        array = self._mark_arrays[chain[-1]]
        return sum(map(self._frame_bytes, chain[:-1])) + (array.last_below if last else array.below)

    def _chain_frames(self, chain: tuple[int, ...]) -> tuple[Frame, ...]:
        return tuple(
            Frame(
                function,
                size_bytes := self._frame_bytes(function),
                frame_stores(
                    self._walker.read(function),
                    self._stack_pointer,
                    self._mark_arrays.get(function),
                    size_bytes,
                ),
            )
            for function in chain
        )

    # Confirming

    def _confirm_geometry(self) -> None:
        geometry = self._known
        table_loads = [
            load
            for reading in self._region
            for load in reading.loads
            if load.width_bytes == 1 and is_made_from(load.address, geometry.metadata_start)
        ]
        self._notes.check("metadata_start", bool(table_loads), "states of blocks are loaded from there")
        grown = any(
            reading.grows and Constant(geometry.heap_end) in [store.address for store in reading.stores]
            for reading in self._region
        )
        self._notes.check("heap_end", grown, "set again after the memory has grown")
        compared = any(
            tests_word(load.conditions, geometry.end_block) for reading in self._region for load in reading.events
        )
        self._notes.check("end_block", compared, "block numbers are compared with it")
        self._notes.check("heap_start", any(True for _ in self._pointers(self._alloc)), "alloc adds it")

    def _confirm_names(self) -> None:
        for fact, name, function in (
            ("alloc", "runtime.alloc", self._alloc.function),
            ("mark_roots", "runtime.markRoots", self._mark_roots),
        ):
            if name in self._names and function is not None:
                self._notes.check(fact, self._names[name] == function, f"named {name}")

    # Taking over

    def _takeover(
        self, counters: Counters
    ) -> tuple[tuple[Redirect, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """What to redirect, what stays uncovered, who reads the state, who sets it up."""
        state = self._known.addresses | {self._next_alloc}
        state |= {address for address in vars(counters).values() if address is not None}
        touching = [self._walker.read(function) for function in sorted(self._search.mentioning(state))]
        flags = {array.flag for array in self._mark_arrays.values()}
        touching += [reading for reading in self._region if constant_addresses(reading.stores) & flags]
        writers = [reading.function for reading in touching if self._writes_state(reading, state | flags)]
        geometry_functions = set(self._geometry_functions)
        initializers = self._initializers(touching)
        entries = [self._alloc.function, *(each for each in self._collectors if each != self._alloc.function)]
        covered = self._reached_only_through(set(entries) | initializers | geometry_functions)
        redirects, misfits = self._redirects(entries)
        inside = covered | set(entries) | initializers | geometry_functions
        readers = [reading.function for reading in touching if constant_addresses(reading.loads) & state]
        uncovered = {*misfits, *(function for function in writers if function not in inside)}
        return (
            redirects,
            tuple(sorted(uncovered)),
            tuple(sorted(set(readers) - inside - uncovered)),
            tuple(sorted(initializers)),
        )

    def _initializers(self, touching: list[Reading]) -> set[int]:
        """The functions that set the heap up: they make its bounds known, and grow no memory."""
        setters = {
            reading.function
            for reading in touching
            if Constant(self._known.heap_end) in [store.address for store in reading.stores]
        }
        helpers = set(self._geometry_functions) - setters
        callers = {caller for function in helpers for caller in self._search.callers(function)}
        return {function for function in setters | callers if not self._walker.read(function).grows}

    def _writes_state(self, reading: Reading, state: frozenset[int] | set[int]) -> bool:
        return bool(constant_addresses(reading.stores) & state) or any(
            is_made_from(store.address, self._known.metadata_start) for store in reading.stores
        )

    def _redirects(self, entries: list[int]) -> tuple[tuple[Redirect, ...], list[int]]:
        """The functions to redirect, and those that cannot be because they do more than collect."""
        redirects, misfits = [Redirect(entries[0], Role.ALLOC)], []
        for function in entries[1:]:
            is_only_alloc_s = self._search.callers(function) <= {self._alloc.function}
            if is_only_alloc_s and not self._is_reachable_from_outside(function):
                continue
            signature = self._module.function_type(function)
            if signature.parameters or signature.results not in ((), ("i32",)):
                misfits.append(function)
            else:
                redirects.append(Redirect(function, Role.COLLECT, bool(signature.results)))
        return tuple(redirects), misfits

    def _reached_only_through(self, gates: set[int]) -> set[int]:
        """Functions of the region that are called by gates or by each other, and by nothing else."""
        covered = {reading.function for reading in self._region} - gates
        changed = True
        while changed:
            outside = {
                function
                for function in covered
                if self._is_reachable_from_outside(function) or not self._search.callers(function) <= covered | gates
            }
            changed = bool(outside)
            covered -= outside
        return covered

    def _is_reachable_from_outside(self, function: int) -> bool:
        return function in self._public

    @cached_property
    def _public(self) -> set[int]:
        """Functions that are exported, in a table, or the start function."""
        public = {export.index for export in self._module.exports if export.kind == "function"}
        public |= {function for segment in self._module.elements for function in segment.functions or ()}
        for segment in self._module.elements:
            for expression in segment.expressions or ():
                public |= {
                    instruction.immediates[0]
                    for instruction in expression.instructions()
                    if instruction.name == "ref.func"
                }
        return public | ({self._module.start} if self._module.start is not None else set())

    def _functions(self) -> dict[str, int]:
        """The collector's functions by what they do."""
        found = {"alloc": self._alloc.function}
        if self._mark_roots is not None:
            found["markRoots"] = self._mark_roots
        for function in self._collectors:
            if function != self._alloc.function:
                found.setdefault("runGC", function)
        for reading in self._region:
            if reading.function in self._mark_arrays:
                found.setdefault("startMark", reading.function)
            if reading.grows:
                found.setdefault("growHeap", reading.function)
        found["calculateHeapAddresses"] = self._geometry_functions[0]
        return found
