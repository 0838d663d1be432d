"""A heap at one moment as one HTML page, which opens anywhere and asks no network for anything."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from tinyheap.files import write_whole
from tinyheap.report.html.assembly import assembled
from tinyheap.report.html.data import shortened
from tinyheap.report.html.heap_data import heap_page_data
from tinyheap.report.html.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

    from tinyheap.inspect.inspection import Inspection


def write_heap_page(inspection: Inspection, path: Path, *, earlier: Inspection | None = None) -> None:
    """Write what there is to see of a heap as one HTML file, whole or not at all.

    Args:
        inspection: The heap.
        path: The file, which is replaced if it is there.
        earlier: An earlier heap of the same program to compare with; None for no comparison.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(path, heap_page(inspection, earlier).encode("utf-8"))


def heap_page(inspection: Inspection, earlier: Inspection | None = None) -> str:
    """The page itself, as text; see `write_heap_page`."""
    name = PureWindowsPath(shortened(inspection.snapshot.module_name)).name or "heap"
    containers = {each: pack(facts, columns) for each, (facts, columns) in heap_page_data(inspection, earlier).items()}
    return assembled("heap", f"{name}: what is alive", containers)
