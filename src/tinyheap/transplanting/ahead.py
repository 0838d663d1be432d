"""Lets a kernel run ahead of a best-fit collector's marking, in a module (`kernel/best_fit.c` says how and why).

The scan of a range begins with a call of the kernel then, which says how much of the range is left to it; the scan by a mask
with another, which notices that objects are being scanned.  The original's growth stays as well: where another one is wanted,
the kernel says how many pages it is to ask the engine for, and that is all that is changed of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.recognize.facts import HeaderPlace
from tinyheap.transplanting import parts
from tinyheap.transplanting.markers import find_growing, find_markers
from tinyheap.transplanting.merging import Merger
from tinyheap.wasm import Code

if TYPE_CHECKING:
    from tinyheap.recognize.facts import BestFitHeap
    from tinyheap.transplanting.options import Options
    from tinyheap.wasm import Editor, Module


def run_ahead(
    module: Module, heap: BestFitHeap, editor: Editor, kernel: Module, options: Options, prefix: str | None
) -> tuple[int, ...]:
    """Change the functions of a module that mark; returns which.

    Raises:
        UnsupportedGuestError: Marking cannot be run ahead of in this module, or it does not grow as an option asks for.
    """
    markers = find_markers(module, heap)
    code = parts.best_fit_parts_of(editor, heap, markers, stats=options.stats, growth=options.growth)
    merger = Merger(editor, kernel, code, prefix)
    place = "front" if heap.header_place is HeaderPlace.FRONT else "back"
    begin_range = merger.function(f"begin_range_{place}_{'precise' if heap.is_precise else 'conservative'}")
    editor.insert_at_entry(markers.range_scan, _shortened(begin_range))
    if markers.mask_scan is not None:
        editor.insert_at_entry(markers.mask_scan, Code().local_get(0).call(merger.function(f"begin_mask_{place}")))
    if options.growth is None:
        return markers.scans
    growing = find_growing(module, heap)
    begin_growth = Code().call(merger.function("begin_growth"))
    for function in growing:
        for offset, instruction in module.body(function).find("memory.grow", "memory.size"):
            if instruction.name == "memory.grow":
                editor.insert_before(function, offset, begin_growth)
            else:
                # What it takes for the heap's end.
                editor.insert_after(function, offset, code["extra_pages"].i32_sub())
    return *markers.scans, *growing


def _shortened(begin_range: int) -> Code:
    """Let a scan's range, its address and its length, become the last bytes of it, as many as the kernel says."""
    end = Code().local_get(0).local_get(1).i32_add()
    return end.local_get(0).local_get(1).call(begin_range).local_tee(1).i32_sub().local_set(0)
