"""The stack: the global that its frames are taken from, and how a collection finds the roots on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import RootAddresses, StackScan
from tinyheap.recognize.interpret import Reading
from tinyheap.recognize.locate.region import CollectorCode
from tinyheap.recognize.locate.scanning import Scan, chain_variable
from tinyheap.recognize.shapes import tested_word, values_of, zero_word
from tinyheap.recognize.values import CallResult, Constant, GlobalAtEntry, Loaded, Merge, linear, parts, sources

_WORD = 1 << 32


def frames(reading: Reading) -> Iterator[tuple[int, int]]:
    """Each frame that a function takes: the global that is the stack pointer, and the size in bytes."""
    for event in reading.global_sets:
        terms, constant = linear(event.value)
        if constant >> 31 and terms == frozenset([(GlobalAtEntry(event.index), 1)]):
            yield event.index, _WORD - constant


def find_stack_pointer(code: CollectorCode, notes: Notes) -> int:
    """The global from which frames are taken."""
    exported = code.module.export("__stack_pointer")
    if exported is not None and exported.kind == "global":
        notes.found("stack_pointer", "exported as __stack_pointer")
        return exported.index
    counts = Counter(index for reading in code.region for index, _ in frames(reading))
    if not counts:
        return 0
    notes.found("stack_pointer", "frames are taken from it")
    return max(counts, key=lambda index: counts[index])


def with_stack(
    roots: RootAddresses, code: CollectorCode, of_globals: Scan, scans: Iterable[Scan], notes: Notes
) -> RootAddresses:
    """The roots, with how the stack is scanned.

    Args:
        roots: the globals, and the stack pointer that makes the frames.
        of_globals: the scan of the globals that the scans of the stack belong to.
        scans: what the same collection scans beside the globals.
    """
    for scan in scans:
        stack_global = _stack_global(scan)
        if stack_global is not None and isinstance(scan.end, Constant):
            return _with_range(roots, code, of_globals, scan, scan.end.number, stack_global, notes)
        chain = chain_variable(scan)
        if chain is not None:
            notes.found("stack", "a list of stack objects is followed")
            return replace(roots, stack_scan=StackScan.CHAIN, stack_chain_address=chain)
    notes.doubt("stack", "no scan of a stack was recognized")
    return roots


def with_records(roots: RootAddresses, alloc: Reading) -> RootAddresses:
    """The roots, with the word that the allocator keeps the address of its own record of pointers in, while it runs."""
    if roots.stack_chain_address is not None:
        return roots
    pointer = GlobalAtEntry(roots.stack_pointer_global)
    found = (
        store.address.number
        for store in alloc.stores
        if isinstance(store.address, Constant) and pointer in parts(store.value)
    )
    return replace(roots, stack_chain_address=next(found, None))


def _stack_global(scan: Scan) -> int | None:
    """The global that a scan begins at, or at a constant distance from."""
    inside = [part.index for start in sources(scan.start) for part in parts(start) if isinstance(part, GlobalAtEntry)]
    return min(inside, default=None)


def _with_range(
    roots: RootAddresses,
    code: CollectorCode,
    of_globals: Scan,
    scan: Scan,
    end: int,
    stack_global: int,
    notes: Notes,
) -> RootAddresses:
    """The roots, with a stack that is scanned from the stack pointer up to a constant."""
    saved = _saved_stack_pointer(scan)
    kind, task = _scan_kind(code, scan, of_globals, saved)
    notes.found("stack", "scanned from the stack pointer to a constant")
    notes.check("stack", stack_global == roots.stack_pointer_global, "the same global makes the frames")
    notes.found("stack_pointer", "the stack's scan begins there")
    initial = code.module.globals[stack_global].initial
    notes.check("stack_top", initial is not None and initial.constant == end, "what the stack pointer starts as")
    notes.found("stack_top", "the end of the scan")
    if task is not None:
        notes.found("current_task", "the stack is scanned only where this word is 0")
        notes.check("current_task", _is_switched(code, task), "the scheduler sets and resets it")
    return replace(
        roots,
        stack_scan=kind,
        stack_pointer_global=stack_global,
        stack_top_address=end,
        current_task_address=task,
        saved_stack_pointer_address=saved,
        stack_chain_address=_unused_chain(of_globals.reading, code.bounds.addresses),
    )


def _saved_stack_pointer(scan: Scan) -> int | None:
    """The word that a scan may begin at instead of the stack pointer."""
    for start in sources(scan.start):
        if isinstance(start, Loaded) and isinstance(start.address, Constant):
            return start.address.number
    return None


def _scan_kind(code: CollectorCode, scan: Scan, of_globals: Scan, saved: int | None) -> tuple[StackScan, int | None]:
    """What decides how the stack is scanned, and the word of the current task, if that does."""
    if saved is not None:
        return StackScan.SYSTEM_OR_SAVED, _word_that_decides(code, scan, saved)
    shared = set(of_globals.conditions)
    own = [condition for condition in scan.conditions if condition not in shared]
    task = next((address for address in map(zero_word, own) if address is not None), None)
    return StackScan.SYSTEM if task is None else StackScan.SYSTEM_UNLESS_TASK, task


def _word_that_decides(code: CollectorCode, scan: Scan, saved: int) -> int | None:
    """The word that decides whether a scan begins at the saved stack pointer."""
    chosen = [scan.start.condition] if isinstance(scan.start, Merge) and scan.start.condition else []
    for load in scan.reading.loads:
        if load.address == Constant(saved):
            chosen += [condition for condition, _ in load.conditions[::-1]]
    # Where nothing is optimized, a function tells.
    asked = [part.function for condition in chosen for part in parts(condition) if isinstance(part, CallResult)]
    told = (event.value for function in asked if function is not None for event in code.walker.read(function).returns)
    chosen += [value for value in told if value is not None]
    return next((address for address in map(tested_word, chosen) if address is not None), None)


def _is_switched(code: CollectorCode, task: int) -> bool:
    """Whether a function outside the collector stores two things to a word, as a switch of tasks does."""
    return any(
        [store.address for store in code.walker.read(function).stores].count(Constant(task)) > 1
        for function in code.search.mentioning([task]) - code.functions
    )


def _unused_chain(reading: Reading, bounds: frozenset[int]) -> int | None:
    """A word that a collection loads without any use: it keeps the chain of stack objects alive."""
    addresses = [load.address.number for load in reading.loads if isinstance(load.address, Constant)]
    used = {
        part.address.number
        for event in reading.events
        for value in values_of(event)
        for source in sources(value)
        for part in parts(source)
        if isinstance(part, Loaded) and isinstance(part.address, Constant)
    }
    return next((address for address in addresses if address not in used | bounds), None)
