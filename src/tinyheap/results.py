"""What all results of analyses have in common, of recordings and of heaps at one moment."""

from __future__ import annotations

from importlib import import_module


class Result:
    """Base of every result; results are frozen, and a notebook shows them as a table or a chart."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        # By its name, since forms stand above analyses, which know nothing of them.
        html: str = import_module("tinyheap.report.notebook.forms").html_of(self)
        return html
