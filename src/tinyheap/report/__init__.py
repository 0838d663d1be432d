"""Results in a form for people and for other programs.

Public is what writes a recording's report: as a page (`write_page`), in a form of other tools (`export`, one of `FORMS`), as
JSON (`report_json`, `comparison_json`), or one result of an analysis for rich to print (`renderable_of`).  They need the
extra `profile`.

What stands here is given to whoever prints or writes it; nothing here prints, and nothing computes what is
not a matter of looks.
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
