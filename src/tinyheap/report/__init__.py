"""Results in a form for people and for other programs.

Public is what writes a recording's report: as a page (`write_page`), in a format of other tools (`export`, one of
`FORMATS`), as JSON (`report_json`, `comparison_json`), or one result of an analysis for rich to print (`renderable_of`).
Of a heap at one moment: `write_heap_page`, and `export_heap`, one of `HEAP_FORMATS`.  They need the extra `profile`.

This package turns results into text, pages and files' contents; its callers print and write them.  It computes nothing
beyond what is needed to present them.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
