"""What stands in a module for each fact that the kernel asks for: code in place of a call (`kernel/facts.h`).

Arguments are on the operand stack, and the result is left there, as a call would have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyheap.errors import UnsupportedGuestError
from tinyheap.heap.growth import ByRatio, FixedStep, NoGrowth, Pages
from tinyheap.recognize.facts import OLD_TABLE_DIVISOR, StackScan
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code

if TYPE_CHECKING:
    from tinyheap.heap.growth import Growth
    from tinyheap.recognize.facts import BestFitHeap, BlockHeap, RootAddresses
    from tinyheap.transplanting.markers import Markers
    from tinyheap.wasm import Editor

EVENTS = ("collection", "growth", "drop", "rescan")
"""What the next-fit kernel counts."""
BEST_FIT_EVENTS = ("collection",)
"""What the best-fit kernel counts."""
_REMEMBERED = ("phase", "repeated_body", "repeated_header", "repeated_link")
"""What the best-fit kernel keeps in globals."""


@dataclass(frozen=True)
class Globals:
    """The globals of the kernel's, by index."""

    extra_pages: int
    """Pages of memory beyond those that the original would have."""
    bitmap_address: int
    """Where the kernel's bitmap lies; 0 for nowhere, 1 where memory for it was refused."""


def add_globals(editor: Editor) -> Globals:
    """Add what the kernel remembers to a module."""
    return Globals(editor.add_global("i32", 0), editor.add_global("i32", 0))


def constants(heap: BlockHeap, *, clear_blocks: bool) -> dict[str, int]:
    """The facts that are numbers, by the names of the kernel's imports; 0 where a program has no such thing."""
    counters, roots, stack = heap.counters, heap.roots, heap.mark_stack
    found: dict[str, int | None] = {
        "heap_end_at": heap.heap_end_address,
        "metadata_start_at": heap.metadata_start_address,
        "end_block_at": heap.end_block_address,
        "next_alloc_at": heap.next_alloc_address,
        "overflow_flag_at": stack.overflow_flag_address,
        "total_alloc_bytes_at": counters.total_alloc_bytes_address,
        "mallocs_at": counters.mallocs_address,
        "frees_at": counters.frees_address,
        "total_blocks_at": counters.total_blocks_address,
        "freed_blocks_at": counters.freed_blocks_address,
        "table_divisor": heap.table_divisor,
        "table_slack": 0 if heap.table_divisor == OLD_TABLE_DIVISOR else heap.table_divisor - 1,
        "globals_start": roots.globals_start_address,
        "globals_end": roots.globals_end_address,
        "stack_top": roots.stack_top_address,
        "mark_stack_entries": stack.entries,
        "mark_stack_is_zeroed": int(stack.zeroed),
        "root_bytes_below_alloc": stack.root_bytes_below_alloc,
        "rescan_bytes_below_alloc": stack.rescan_bytes_below_alloc,
        "frame_bytes_scanned": heap.frame_bytes_scanned,
        "keeps_headroom": int(heap.keeps_headroom),
        "clears_blocks": int(clear_blocks),
    }
    return {name: value or 0 for name, value in found.items()}


def parts_of(
    editor: Editor, heap: BlockHeap, state: Globals, *, growth: Growth | None, clear_blocks: bool
) -> dict[str, Code]:
    """The code for every import that depends on the heap alone."""
    numbers = constants(heap, clear_blocks=clear_blocks)
    parts = {name: Code().i32_const(signed(value)) for name, value in numbers.items()}
    parts |= _stack_parts(heap.roots)
    parts["heap_start"] = _heap_start(heap)
    parts["stack_pointer"] = Code().global_get(heap.roots.stack_pointer_global)
    for name, index in (("extra_pages", state.extra_pages), ("bitmap_address", state.bitmap_address)):
        parts[name] = Code().global_get(index)
        parts[f"set_{name}"] = Code().global_set(index)
    parts["next_pages"] = (
        Code().call(_next_pages(editor, growth)) if growth else Code().drop().drop().i32_const(1).i32_shl()
    )
    return parts


def _stack_parts(roots: RootAddresses) -> dict[str, Code]:
    """The code for what depends on how the stack is scanned."""
    none, always, top = Code().i32_const(0), Code().i32_const(1), Code().i32_const(signed(roots.stack_top_address or 0))
    task, saved, chain = (
        none if address is None else Code().i32_const(signed(address)).i32_load(0)
        for address in (roots.current_task_address, roots.saved_stack_pointer_address, roots.stack_chain_address)
    )
    task_runs, left_at, first_object = {
        StackScan.SYSTEM: (none, top, none),
        StackScan.SYSTEM_UNLESS_TASK: (task, top, none),
        StackScan.SYSTEM_OR_SAVED: (task, saved, none),
        StackScan.CHAIN: (always, top, chain),
    }[roots.stack_scan]
    return {"task_runs": task_runs, "stack_left_by_task": left_at, "first_stack_object": first_object}


def best_fit_parts_of(editor: Editor, heap: BestFitHeap, markers: Markers, growth: Growth | None) -> dict[str, Code]:
    """The same for a best-fit heap, which is to grow as `growth` says, or as it does by itself."""
    numbers = {
        "heap_end_at": heap.heap_end_address,
        "metadata_start_at": heap.metadata_start_address,
        "end_block_at": heap.end_block_address,
        "scan_list_at": heap.scan_list_address,
        "globals_start": heap.roots.globals_start_address,
        "marks_in_own_frame": int(markers.root_marker is not None),
    }
    parts = {name: Code().i32_const(signed(value)) for name, value in numbers.items()}
    parts["heap_start"] = _heap_start(heap)
    parts["stack_pointer"] = Code().global_get(heap.roots.stack_pointer_global)
    for name in _REMEMBERED:
        parts |= _remembered(editor, name)
    if growth is not None:
        parts |= _remembered(editor, "extra_pages") | {"next_pages": Code().call(_next_pages(editor, growth))}
    return parts


def _remembered(editor: Editor, name: str) -> dict[str, Code]:
    """The code for a word that the kernel remembers in a global, which is added."""
    index = editor.add_global("i32", 0)
    return {name: Code().global_get(index), f"set_{name}": Code().global_set(index)}


def uncounted(events: tuple[str, ...] = EVENTS) -> dict[str, Code]:
    """The code for counting where nothing is counted."""
    return {f"count_{event}": Code() for event in events}


def untold() -> dict[str, Code]:
    """The code for telling where nobody records the run."""
    drop = Code().drop()
    return {"tell_roots": drop, "tell_scanned": drop, "tell_marked": Code(), "tell_swept": Code(), "tell_grown": drop}


def counted(editor: Editor, events: tuple[str, ...] = EVENTS) -> dict[str, Code]:
    """The code for counting in exported globals, which are added."""
    parts = {}
    for event in events:
        index = editor.add_global("i64", 0)
        editor.export(f"tinyheap.{event}s", "global", index)
        parts[f"count_{event}"] = Code().global_get(index).i64_const(1).i64_add().global_set(index)
    return parts


def signed(word: int) -> int:
    """A word as `i32.const` takes it."""
    return word - (1 << 32) if word >> 31 else word


def _heap_start(heap: BlockHeap | BestFitHeap) -> Code:
    if heap.heap_start_address is not None:
        return Code().i32_const(signed(heap.heap_start_address))
    return Code().i32_const(heap.heap_start_variable_address or 0).i32_load(0)


def _next_pages(editor: Editor, growth: Growth) -> int:
    """The index of a function that says how many pages the memory is to have next: of the pages, the heap's start, its size."""
    heap_bytes = Code().local_get(2).i64_extend_i32_u() + _grown(growth)
    code = heap_bytes.local_get(1).i64_extend_i32_u().i64_add().i64_const(WASM_PAGE_BYTES - 1).i64_add()
    # No memory has so many pages that a word does not hold them: larger ones are all refused.
    code = code.i64_const(WASM_PAGE_BYTES).i64_div_u().local_tee(3).i64_const((1 << 31) - 1)
    code = code.local_get(3).i64_const((1 << 31) - 1).i64_lt_u().select().i32_wrap_i64()
    return editor.add_function(("i32", "i32", "i32"), ("i32",), code, ["i64"], "tinyheap.next_pages")


def _grown(growth: Growth) -> Code:
    """The code that makes a heap's next size of its size, in 64 bits."""
    if isinstance(growth, NoGrowth):
        return Code()
    if isinstance(growth, FixedStep):
        return Code().i64_const(min(growth.step_bytes, 1 << 40)).i64_add()
    if isinstance(growth, ByRatio):
        ratio = Code().i64_const(growth.numerator).i64_mul().i64_const(growth.denominator).i64_div_u()
        return ratio.i64_const(growth.multiple_bytes).i64_div_u().i64_const(growth.multiple_bytes).i64_mul()
    page_bytes = growth.page_bytes if isinstance(growth, Pages) else 1
    rounded = Code().i64_const(2).i64_mul().i64_const(page_bytes - 1).i64_add()
    return rounded.i64_const(page_bytes).i64_div_u().i64_const(page_bytes).i64_mul()


def check(heap: BlockHeap) -> None:
    """Refuse a heap that the kernel does not know.

    Raises:
        UnsupportedGuestError: It is such a heap.
    """
    if heap.header_bytes not in (0, 16):
        raise UnsupportedGuestError(
            f"the objects of this module have headers of {heap.header_bytes} bytes: expected none, or 16, as TinyGo has them"
        )
    if heap.roots.stack_scan is StackScan.UNKNOWN:
        raise UnsupportedGuestError(
            "how this module finds the roots on its stack was not recognized, so that no collector can be written into it"
        )
