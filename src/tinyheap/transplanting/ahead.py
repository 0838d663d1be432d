"""Lets a kernel run ahead of a best-fit collector's marking, in a module (`kernel/best_fit.c` says how and why).

The scan of a range begins with a call of the kernel then, which says how much of the range is left to it; the scan by a mask
with another, which notices that objects are being scanned.  The original's growth stays as well: where another one is wanted,
the kernel says how many pages it is to ask the engine for, and that is all that is changed of it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tinyheap.recognize.facts import HeaderPlace
from tinyheap.transplanting import parts
from tinyheap.transplanting.markers import find_growing, find_markers
from tinyheap.transplanting.merging import Merger, copied
from tinyheap.wasm import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinyheap.recognize.facts import BestFitHeap
    from tinyheap.transplanting.hooks import Hooks
    from tinyheap.transplanting.options import Options
    from tinyheap.wasm import Editor, Module


class RunningAhead:
    """The best-fit kernel ahead of a module's marking.

    Args:
        module: The module.
        heap: Its heap.
        editor: Of the module.
        kernel: The kernel's functions.
        options: How the heap is to be run.
        prefix: Of the names of functions that are added; None where they get none.

    Raises:
        UnsupportedGuestError: Marking cannot be run ahead of in this module, or it does not grow as an option asks for.
    """

    def __init__(
        self, module: Module, heap: BestFitHeap, editor: Editor, kernel: Module, options: Options, prefix: str | None
    ) -> None:
        self._module, self._heap, self._editor, self._kernel = module, heap, editor, kernel
        self._options, self._prefix = options, prefix
        self._markers = find_markers(module, heap)
        self._growing = () if options.growth is None else find_growing(module, heap)

    @property
    def functions(self) -> tuple[int, ...]:
        """The functions of the module's that are changed: those that mark, and those that grow the heap where they have to."""
        return *self._markers.scans, *self._growing

    @cached_property
    def heap_parts(self) -> Mapping[str, Code]:
        """The code for what a kernel may ask of the heap."""
        return parts.best_fit_parts_of(self._editor, self._heap, self._markers, self._options.growth)

    def perform(self, hooks: Hooks | None = None) -> None:
        """Change these functions."""
        editor, heap, markers = self._editor, self._heap, self._markers
        events = parts.BEST_FIT_EVENTS
        counted = parts.counted(editor, events) if self._options.stats else parts.uncounted(events)
        code = {**self.heap_parts, **counted, **parts.untold(), **({} if hooks is None else hooks.parts)}
        merger = Merger(editor, self._kernel, code, self._prefix)
        place = "front" if heap.header_place is HeaderPlace.FRONT else "back"
        begin_range = merger.function(f"begin_range_{place}_{'precise' if heap.is_precise else 'conservative'}")
        editor.insert_at_entry(markers.range_scan, _shortened(begin_range))
        if markers.mask_scan is not None:
            begin_mask = merger.function(f"begin_mask_{place}")
            editor.insert_at_entry(markers.mask_scan, Code().local_get(0).call(begin_mask))
        for function in self._growing:
            self._grow_as_asked(function, Code().call(merger.function("begin_growth")))
        if hooks is not None:
            name = None if self._prefix is None else f"{self._prefix}alloc"
            inner = copied(self._module, editor, heap.alloc_function, name)
            editor.replace_body(heap.alloc_function, hooks.around_alloc(inner))

    def _grow_as_asked(self, function: int, begin_growth: Code) -> None:
        for offset, instruction in self._module.body(function).find("memory.grow", "memory.size"):
            if instruction.name == "memory.grow":
                self._editor.insert_before(function, offset, begin_growth)
            else:
                # What it takes for the heap's end.
                self._editor.insert_after(function, offset, self.heap_parts["extra_pages"].i32_sub())


def _shortened(begin_range: int) -> Code:
    """Let a scan's range, its address and its length, become the last bytes of it, as many as the kernel says."""
    end = Code().local_get(0).local_get(1).i32_add()
    return end.local_get(0).local_get(1).call(begin_range).local_tee(1).i32_sub().local_set(0)
