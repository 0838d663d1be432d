"""Lets a kernel run ahead of a best-fit collector's marking, in a module (`kernel/best_fit.c` says how and why).

The scan of a range begins with a call of the kernel then, which says how much of the range is left to it; the scan by a mask
with another, which notices that objects are being scanned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.facts import HeaderPlace
from tinyheap.transplanting import parts
from tinyheap.transplanting.markers import find_markers
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
        UnsupportedGuestError: Marking cannot be run ahead of in this module, or an option asks for another growth.
    """
    if options.growth is not None:
        raise UnsupportedGuestError(
            "the heap of this module grows by its own code, as in all of TinyGo 0.40 and later: expected no growth policy"
        )
    markers = find_markers(module, heap)
    code = parts.best_fit_parts_of(editor, heap, markers, stats=options.stats)
    merger = Merger(editor, kernel, code, prefix)
    place = "front" if heap.header_place is HeaderPlace.FRONT else "back"
    begin_range = merger.function(f"begin_range_{place}_{'precise' if heap.is_precise else 'conservative'}")
    editor.insert_at_entry(markers.range_scan, _shortened(begin_range))
    if markers.mask_scan is not None:
        editor.insert_at_entry(markers.mask_scan, Code().local_get(0).call(merger.function(f"begin_mask_{place}")))
    return markers.scans


def _shortened(begin_range: int) -> Code:
    """Let a scan's range, its address and its length, become the last bytes of it, as many as the kernel says."""
    end = Code().local_get(0).local_get(1).i32_add()
    return end.local_get(0).local_get(1).call(begin_range).local_tee(1).i32_sub().local_set(0)
