"""Where a collection begins: the globals, scanned from a constant up to the heap's start, and the stack."""

from __future__ import annotations

from dataclasses import dataclass

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import RootAddresses, StackScan
from tinyheap.recognize.locate.bounds import GLOBALS_START_MINIMUM, HeapBounds
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.locate.scanning import Scan, inlined_scans, total
from tinyheap.recognize.locate.stack import with_stack
from tinyheap.recognize.values import Constant, Loaded, Value, sources
from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_signed

STACK_CANARY = 0xB83BF575
"""What TinyGo's ``internal/task`` puts at the end of a goroutine's stack, on machines of 32 bits."""

_UNOPTIMIZED_ARGUMENTS = (3, 4)
"""A range, the context that every function takes, and where the call is indirect the function's index."""


@dataclass(frozen=True)
class RootScans:
    """The scans of root ranges that a collection does."""

    of_globals: tuple[Scan, ...]
    """One at each place where a collection begins; there is at least one."""
    of_others: tuple[Scan, ...]
    """What the first of those collections scans beside the globals."""

    @property
    def mark_roots(self) -> int | None:
        """The function markRoots, unless it was inlined."""
        return self.of_globals[0].function

    @property
    def functions(self) -> frozenset[int]:
        """The functions that scan the globals."""
        return frozenset(scan.reading.function for scan in self.of_globals)

    @property
    def collectors(self) -> list[int]:
        """The functions that hold a collection: alloc itself where it was inlined, runGC else."""
        return sorted(self.functions)


def find_root_scans(code: CollectorCode, notes: Notes) -> RootScans:
    """The scans in the collector's functions.

    Raises:
        UnsupportedGuestError: None of them is of the globals.
    """
    for find in (_called_scans, _called_scans_by_length, _inlined_scans, _unoptimized_scans):
        scans = find(code)
        of_globals = _of_globals(scans, code)
        if of_globals:
            break
    if not of_globals:
        raise UnsupportedGuestError("alloc was found, but not where a collection scans the globals")
    notes.found("mark_roots", "scans from a constant up to the heap's start")
    notes.found("globals", "scanned up to the heap's start")
    first = of_globals[0]
    beside = [scan for scan in scans if scan.function == first.function and scan.reading is first.reading]
    if find is _unoptimized_scans:
        # Each in a function of its own.
        beside = [scan for scan in scans if scan.end in _starts_of_globals(code.module)]
    return RootScans(of_globals, tuple(scan for scan in beside if not _is_of_globals(scan, code.bounds, code.module)))


def find_roots(code: CollectorCode, scans: RootScans, stack_pointer: int, notes: Notes) -> RootAddresses:
    """The range of the globals, and how the stack is scanned."""
    first = scans.of_globals[0]
    assert isinstance(first.start, Constant), "a scan of globals begins at a constant"
    end = first.end.number if isinstance(first.end, Constant) else _heap_start_at_first(code)
    notes.check(
        "globals",
        len({(scan.start, scan.end) for scan in scans.of_globals}) == 1
        and _begins_data(code.module, first.start.number, stack_pointer),
        "begin where the module's data begins",
    )
    has_canary = code.search.counting(b"\x41" + encode_signed(STACK_CANARY - (1 << 32)))
    roots = RootAddresses(
        first.start.number,
        end,
        StackScan.UNKNOWN,
        stack_pointer,
        stack_canary=STACK_CANARY if has_canary else None,
    )
    return with_stack(roots, code, first, scans.of_others, notes)


def _called_scans(code: CollectorCode) -> list[Scan]:
    """The calls that may be of markRoots."""
    return [
        Scan(reading, call.conditions, *call.arguments, call.function)
        for reading in code.region
        for call in reading.calls
        if len(call.arguments) == 2
    ]


def _called_scans_by_length(code: CollectorCode) -> list[Scan]:
    """The calls that may be of scanConservative, which is told where to begin and how many bytes to scan."""
    return [
        Scan(reading, call.conditions, call.arguments[0], total(*call.arguments), call.function)
        for reading in code.region
        for call in reading.calls
        if len(call.arguments) == 2
    ]


def _inlined_scans(code: CollectorCode) -> list[Scan]:
    return [scan for reading in code.region for scan in inlined_scans(reading)]


def _unoptimized_scans(code: CollectorCode) -> list[Scan]:
    """Calls, indirect ones among them, with a context behind the range, whose ends are words that keep their values."""
    return [
        Scan(reading, call.conditions, _settled(call.arguments[0], code), _settled(call.arguments[1], code), None)
        for reading in code.region
        for call in reading.calls
        if len(call.arguments) in _UNOPTIMIZED_ARGUMENTS
    ]


def _settled(value: Value, code: CollectorCode) -> Value:
    """What a word holds that the module's data sets and the collector only reads."""
    if not isinstance(value, Loaded) or not isinstance(value.address, Constant):
        return value
    initial = _initial_word(code.module, value.address.number)
    is_changed = any(store.address == value.address for reading in code.region for store in reading.stores)
    return Constant(initial) if initial and not is_changed else value


def _starts_of_globals(module: Module) -> set[Constant]:
    """What the module's globals hold at first, the stack's top among it."""
    initial = [entry.initial.constant for entry in module.globals if entry.initial is not None]
    return {Constant(number) for number in initial if isinstance(number, int)}


def _of_globals(scans: list[Scan], code: CollectorCode) -> tuple[Scan, ...]:
    return tuple(scan for scan in scans if _is_of_globals(scan, code.bounds, code.module))


def _is_of_globals(scan: Scan, bounds: HeapBounds, module: Module) -> bool:
    """Whether a scan is from a constant up to the heap's start."""
    start, end = scan.start, scan.end
    if not isinstance(start, Constant) or start.number < GLOBALS_START_MINIMUM:
        return False
    if isinstance(end, Constant) and bounds.heap_start is not None:
        return end.number == bounds.heap_start and start.number < end.number
    variable = bounds.heap_start_variable
    if variable is None:
        return False
    if isinstance(end, Constant):
        return start.number < end.number and end.number == _initial_word(module, variable)
    return Loaded(Constant(variable), 4) in set(sources(end))


def _heap_start_at_first(code: CollectorCode) -> int:
    assert code.bounds.heap_start_variable is not None, "else the scan ends at a constant"
    return _initial_word(code.module, code.bounds.heap_start_variable) or 0


def _initial_word(module: Module, address: int) -> int | None:
    """The word that the module's data puts at an address."""
    for segment in module.data_segments:
        offset = segment.offset.constant if segment.offset else None
        if isinstance(offset, int) and offset <= address <= offset + len(segment.data) - 4:
            return int.from_bytes(segment.data[address - offset :][:4], "little")
    return None


def _begins_data(module: Module, address: int, stack_pointer: int) -> bool:
    """Whether the module's data begins at an address, or the stack ends there and data comes above."""
    offsets = [
        segment.offset.constant for segment in module.data_segments if segment.offset is not None and segment.data
    ]
    first = min((offset for offset in offsets if isinstance(offset, int)), default=None)
    stack = module.globals[stack_pointer].initial if module.globals else None
    return first == address or (stack is not None and stack.constant == address)
