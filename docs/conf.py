"""Configuration of the documentation: Markdown pages, docstrings in Google's style."""

from __future__ import annotations

from sphinx.application import Sphinx

import tinyheap

project = "tinyheap"
author = "The tinyheap authors"
copyright = author
version = release = tinyheap.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # what stands in single backticks in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"tinyheap {release}"


def keep_colons(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Keeps Napoleon from taking what stands before the first colon of an attribute's docstring for its type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Sphinx) -> None:
    """Comes before Napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
