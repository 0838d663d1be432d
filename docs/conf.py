"""Configuration of the documentation: Markdown pages, docstrings in Google's style."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from docutils.nodes import Element, TextElement  # type: ignore[import-untyped]
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

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


def public_path(home_path: str) -> str:
    """The path by which users know what is defined at that path: the front door's, else that of its package."""
    name = home_path.rpartition(".")[2]
    for package in ("tinyheap", ".".join(home_path.split(".")[:2])):
        module = import_module(package)
        if name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if not isinstance(value, ModuleType) and f"{getattr(value, '__module__', None)}.{name}" == home_path:
                return f"{package}.{name}"
    return home_path


def link_to_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: TextElement) -> Element | None:
    """Links a type in a signature, which goes by the module that it is from, to its public path."""
    target = str(node.get("reftarget", ""))
    if not target.startswith("tinyheap.") or public_path(target) == target:
        return None
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], public_path(target), node, shown)


_navigation: dict[str, str] = {}
"""What was made already, by the depth of pages and the theme's options."""


def share_navigation(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Makes what leads through the site once for all pages of the same depth that it does not lead to.

    Those are the pages with source, and to make it for each of them took two fifths of a build.
    """
    if page in app.env.found_docs or "toctree" not in context:
        return
    make, depth = context["toctree"], page.count("/")

    def shared(**options: object) -> str:
        key = repr((depth, sorted(options.items())))
        if key not in _navigation:
            _navigation[key] = make(**options)
        return _navigation[key]

    context["toctree"] = shared


def setup(app: Sphinx) -> None:
    """Comes before Napoleon and before the theme, whose priorities are 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("missing-reference", link_to_public)
    app.connect("html-page-context", share_navigation, priority=400)
