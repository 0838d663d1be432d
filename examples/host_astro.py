"""Compile a page of Astro's with npm's @astrojs/compiler 0.10, and print the JavaScript that it becomes.

    tinyheap profile astro.wasm --host host_astro.py

The program leaves a function `__astro_transform(source, options)` in JavaScript's global object, which returns a promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

PAGE = """\
---
const names = ["Ada", "Grace"];
---
<h1>Hello</h1>
<ul>{names.map(name => <li class="name">{name}</li>)}</ul>
<style>
  .name { color: rebeccapurple; }
</style>
"""


def drive(program: Program) -> None:
    """Print what the page becomes."""
    print(transformed(program, PAGE), end="")


def transformed(program: Program, source: str) -> str:
    """The JavaScript of a page."""
    made = program.call_script("__astro_transform", source, {"sourcefile": "page.astro", "site": "https://example.org"})
    assert isinstance(made, dict)
    return str(made["code"])
