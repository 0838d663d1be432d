"""What was found in a guest, on a terminal or as JSON: each fact with how sure it is, and how it was found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.json_of import json_of
from tinyheap.recognize.facts import (
    BestFitHeap,
    BlockHeap,
    Confidence,
    CounterAddresses,
    Evidence,
    Guest,
    HeaderPlace,
    MemoryLayout,
    RootAddresses,
    StackScan,
    SystemStack,
)
from tinyheap.report.quantities import maximum_text, pages_text, size_text
from tinyheap.report.text import printable
from tinyheap.symbols.places import Variable

_STYLES: Final = {Confidence.CERTAIN: "green", Confidence.LIKELY: "yellow", Confidence.UNKNOWN: "red"}
VARIABLES_SHOWN: Final = 8
PARTS_SHOWN: Final = 6
_NUMBER_BEHIND: Final = re.compile(r"\.\d+$")
_NOTHING: Final = Evidence(Confidence.UNKNOWN)


class Row(NamedTuple):
    """A fact to show, and the name under which its evidence is kept."""

    label: str
    value: str
    evidence: str | None = None


class GuestCard:
    """One guest, to be printed by rich.

    Args:
        name: Of its file.
        guest: What it is.
        variables: Those in its memory, the largest first; None where they are not known.
        problem: Why they are not, where there is debug information.
    """

    def __init__(
        self, name: str, guest: Guest, variables: Sequence[Variable] | None = None, problem: str | None = None
    ) -> None:
        self._name, self._guest, self._variables, self._problem = name, guest, variables, problem

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A headline, what works, and the table of facts."""
        guest = self._guest
        version = f" {guest.version}" if guest.version else ""
        headline = Text.assemble(
            (printable(self._name), "bold"), f": {guest.runtime}{version}, collector: {guest.collector}"
        )
        # A long path is not broken: who searches the output finds the words together.
        headline.no_wrap, headline.overflow = True, "ignore"
        yield headline
        style = "red" if guest.lacks else "green" if guest.heap else "yellow"
        yield Text(f"This module {guest.summary}.", style=style)
        table = Table(box=box.SIMPLE, pad_edge=False)
        table.add_column("Fact", no_wrap=True)
        table.add_column("Value", overflow="fold")
        table.add_column("Sure", no_wrap=True)
        table.add_column("How", overflow="fold", ratio=1)
        for row in (*_rows(guest), *_memory_rows(guest), *self._variable_rows()):
            evidence = guest.evidence.get(row.evidence, _NOTHING) if row.evidence else None
            sure = Text(evidence.confidence.value, _STYLES[evidence.confidence]) if evidence else Text("")
            table.add_row(row.label, Text(row.value), sure, Text("; ".join(evidence.how) if evidence else ""))
        yield table

    def _variable_rows(self) -> Iterator[Row]:
        if self._problem is not None:
            yield Row("variables", f"unknown: {printable(self._problem)}")
        elif self._variables is not None:
            whole = sum(each.size_bytes for each in self._variables)
            yield Row("variables", f"{len(self._variables):,}, {size_text(whole)}; the largest:")
            for each in self._variables[:VARIABLES_SHOWN]:
                yield Row("", f"{size_text(each.size_bytes)} at {each.address:#x}: {printable(each.name)}")


class GuestTable:
    """Several guests, one line per guest however narrow the terminal is, to be printed by rich."""

    def __init__(self, guests: Sequence[tuple[str, Guest]]) -> None:
        self._guests = guests

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A heading, and the lines."""
        rows = [(Text("File"), Text("Runtime"), Text("Collector"), Text("Replaceable"))]
        rows += [_overview(name, guest) for name, guest in self._guests]
        widths = [max(row[column].cell_len for row in rows) for column in range(3)]
        for at, row in enumerate(rows):
            cells = [
                Text.assemble(cell, " " * (width - cell.cell_len)) for cell, width in zip(row, widths, strict=False)
            ]
            line = Text("  ", style="" if at else "bold", no_wrap=True, overflow="ignore").join([*cells, row[3]])
            line.no_wrap, line.overflow = True, "ignore"
            yield line


def _overview(name: str, guest: Guest) -> tuple[Text, Text, Text, Text]:
    runtime = f"{guest.runtime} {guest.version}" if guest.version else guest.runtime
    verdict, style = _verdict(guest)
    return Text(printable(name)), Text(printable(runtime)), Text(guest.collector), Text(verdict, style)


def _verdict(guest: Guest) -> tuple[str, str]:
    """In some words, whether a guest's collector can be replaced, or why not; and a style."""
    if guest.lacks:
        return (
            f"needs a --host: {len(guest.lacks)} of its imports {'is' if len(guest.lacks) == 1 else 'are'} not offered",
            "red",
        )
    if guest.heap is not None and guest.heap.is_replaceable:
        return "yes", "green"
    if guest.best_fit is not None and guest.best_fit.is_replaceable:
        return "yes, after a rehearsal", "green"
    return f"no: {_why_not(guest)}", "yellow"


def _why_not(guest: Guest) -> str:
    if guest.runtime != "TinyGo":
        return "not TinyGo's"
    if guest.best_fit is not None or guest.heap is not None:
        return "other functions collect, too"
    return {"leaking": "it frees nothing", "boehm": "it is Boehm's"}.get(guest.collector, "not recognized")


def guest_json(
    name: str, guest: Guest, variables: Sequence[Variable] | None = None, problem: str | None = None
) -> dict[str, Any]:
    """One guest as what `json.dumps` takes; addresses are numbers, absent facts null."""
    known = None if variables is None else [json_of(each) for each in variables]
    return {"module": name, **json_of(guest), "variables": known, "variables_problem": problem}


def _rows(guest: Guest) -> Iterator[Row]:
    yield Row("scheduler", guest.scheduler, "scheduler")
    if guest.version:
        yield Row("version", guest.version, "version")
    if guest.heap is not None:
        yield from _next_fit_rows(guest.heap)
    if guest.best_fit is not None:
        yield from _best_fit_rows(guest.best_fit)
    if guest.leaking is not None:
        yield Row("alloc", f"function {guest.leaking.alloc_function}", "alloc")
        yield Row("heap pointer", _address(guest.leaking.heap_pointer_address), "alloc")
    if guest.heap is None and "collector" in guest.evidence:
        yield Row("collector", guest.collector, "collector")
    yield Row("exports", ", ".join(guest.exports) or "none")
    if guest.lacks:
        yield Row("not offered", "; ".join(guest.lacks))


def _memory_rows(guest: Guest) -> Iterator[Row]:
    """What lies in memory, from its beginning on."""
    memory = guest.memory
    if memory is None:
        yield Row("memory", "none")
        return
    imported = ", imported" if memory.is_imported else ""
    yield Row("memory", f"{pages_text(memory.declared_pages)} declared{imported}; {maximum_text(memory.maximum_pages)}")
    if guest.stack is not None:
        yield Row("stack", _stack_text(guest.stack))
    if memory.data:
        whole, last = sum(each.size_bytes for each in memory.data), memory.data[-1]
        end = last.start_address + last.size_bytes
        yield Row("data", f"{size_text(whole)}, {memory.data[0].start_address:#x} to {end:#x}{_parts(memory)}")
    begins = memory.heap_start_address
    yield Row("heap begins", "unknown before it runs" if begins is None else f"at {begins:#x}")


def _parts(memory: MemoryLayout) -> str:
    """The named segments of data, by name; those that differ in a number behind it are one."""
    sizes: dict[str, int] = {}
    for each in memory.data:
        if each.name is not None:
            name = _NUMBER_BEHIND.sub("", each.name)
            sizes[name] = sizes.get(name, 0) + each.size_bytes
    parts = [f"{printable(name)} {size_text(size)}" for name, size in list(sizes.items())[:PARTS_SHOWN]]
    return f" ({', '.join(parts)})" if parts else ""


def _next_fit_rows(heap: BlockHeap) -> Iterator[Row]:
    yield from _alloc_rows(heap, f"{heap.header_bytes} bytes")
    yield from _bounds_rows(heap)
    yield Row("nextAlloc", f"in {_address(heap.next_alloc_address)}", "next_alloc")
    yield from _counter_rows(heap.counters)
    yield from _root_rows(heap.roots)
    marks = heap.mark_stack
    places = {marks.root_bytes_below_alloc, marks.rescan_bytes_below_alloc}
    below = " and ".join(map(str, sorted(places)))
    yield Row("mark stack", f"{marks.entries} entries, {below} bytes below alloc's entry", "mark_stack")
    yield Row("overflow flag", f"in {_address(marks.overflow_flag_address)}", "mark_stack")
    yield from _function_rows(heap)


def _best_fit_rows(heap: BestFitHeap) -> Iterator[Row]:
    holds = "a link and a layout" if heap.is_precise else "a link"
    place = "in front" if heap.header_place is HeaderPlace.FRONT else "at the back"
    yield from _alloc_rows(heap, f"{heap.header_bytes} bytes {place}, with {holds}")
    yield from _bounds_rows(heap)
    yield Row("freeRanges", f"in {_address(heap.free_ranges_address)}", "free_ranges")
    yield Row("scanList", f"in {_address(heap.scan_list_address)}", "scan_list")
    yield from _counter_rows(heap.counters)
    if heap.collections_address is not None:
        yield Row("collections", f"in {_address(heap.collections_address)}", "collections")
    yield from _root_rows(heap.roots)
    if heap.finalizers is not None:
        for name, address in vars(heap.finalizers).items():
            if name.endswith("_address") and address is not None:
                label = f"finalizers, {name.removesuffix('_address').replace('_', ' ')}"
                yield Row(label, f"in {_address(address)}", "finalizers")
    yield from _function_rows(heap)


def _alloc_rows(heap: BlockHeap | BestFitHeap, header: str) -> Iterator[Row]:
    parameters = [("size", heap.size_parameter), ("layout", heap.layout_parameter)]
    named = ", ".join(name for name, index in parameters if index is not None)
    yield Row("alloc", f"function {heap.alloc_function} ({named})", "alloc")
    yield Row("object header", header, "header")
    yield Row("zero-size object", _address(heap.zero_size_address), "zero_size")


def _bounds_rows(heap: BlockHeap | BestFitHeap) -> Iterator[Row]:
    if heap.heap_start_variable_address is not None:
        yield Row("heapStart", f"in {_address(heap.heap_start_variable_address)}", "heap_start")
    else:
        yield Row("heapStart", f"is {_address(heap.heap_start_address)}", "heap_start")
    yield Row("heapEnd", f"in {_address(heap.heap_end_address)}", "heap_end")
    yield Row("metadataStart", f"in {_address(heap.metadata_start_address)}", "metadata_start")
    yield Row("endBlock", f"in {_address(heap.end_block_address)}", "end_block")


def _counter_rows(counters: CounterAddresses) -> Iterator[Row]:
    for name, address in vars(counters).items():
        if address is not None:
            fact = name.removesuffix("_address")
            yield Row(fact.replace("_", " "), f"in {_address(address)}", fact)


def _stack_text(stack: SystemStack) -> str:
    most = "" if stack.is_first else "at most "
    return f"{most}{stack.size_bytes:,} bytes, {stack.low_address:#x} to {stack.top_address:#x}"


def _root_rows(roots: RootAddresses) -> Iterator[Row]:
    yield Row("globals", f"{roots.globals_start_address:#x} to {roots.globals_end_address:#x}", "globals")
    yield Row("stack roots", roots.stack_scan.value, "stack")
    yield Row("stack pointer", f"global {roots.stack_pointer_global}", "stack_pointer")
    if roots.stack_top_address is not None:
        yield Row("stack top", _address(roots.stack_top_address), "stack_top")
    if roots.current_task_address is not None:
        yield Row("current task", f"in {_address(roots.current_task_address)}", "current_task")
    if roots.stack_scan is StackScan.CHAIN:
        yield Row("stack chain", f"in {_address(roots.stack_chain_address)}", "stack")
    if roots.stack_canary is not None:
        yield Row("stack canary", f"{roots.stack_canary:#x}")


def _function_rows(heap: BlockHeap | BestFitHeap) -> Iterator[Row]:
    yield Row("functions", ", ".join(f"{name} {index}" for name, index in heap.functions.items()))
    redirects = ", ".join(f"{redirect.function} ({redirect.role.value})" for redirect in heap.redirects)
    yield Row("to redirect", redirects)
    if heap.uncovered:
        yield Row("not coverable", ", ".join(map(str, heap.uncovered)))


def _address(address: int | None) -> str:
    return "not found" if address is None else f"{address:#x}"
