"""Why objects are alive, as a graph for Graphviz: the paths that `--why` tells, each object on them once.

A box is an object, an ellipse what has a root; an arrow is a word, dashed where it may be a number, dotted where by its type it
is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tinyheap.inspect.certainty import WordCertainty
from tinyheap.report.quantities import size_text
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.inspect.answers import WhyAnswer
    from tinyheap.inspect.paths import Path, Why

_HEAD: Final = (
    'digraph why {\n  rankdir=LR;\n  node [shape=box, fontname="monospace"];\n  edge [fontname="monospace"];\n'
)


def dot(answer: WhyAnswer) -> bytes:
    """The graph, as text in UTF-8."""
    lines = dict.fromkeys(line for each in answer.whys for line in _why(each))
    return (_HEAD + "".join(f"  {line};\n" for line in lines) + "}\n").encode()


def _why(why: Why) -> Iterator[str]:
    sizes = f"retains {size_text(why.retained_bytes)}"
    facts = _quoted(f"{why.group}\n{why.address:#x}\n{sizes}\n{why.verdict}")
    yield f"{_node(why.address)} [label={facts}, style=bold]"
    goals = {why.address}
    for path in why.paths:
        yield from _path(path, why.address, goals)


def _path(path: Path, goal: int, goals: set[int]) -> Iterator[str]:
    source = path.root.source
    root = _quoted(f"root {source}")
    yield f"{root} [label={_quoted(str(source))}, shape=ellipse]"
    objects = [*(step.address for step in path.steps), goal]
    for step in path.steps:
        if step.address not in goals:
            label = _quoted(f"{step.group}\n{step.address:#x}")
            yield f"{_node(step.address)} [label={label}]"
    yield f"{root} -> {_node(objects[0])} [label={_quoted(path.root.name or f'+{path.root.offset}')}]"
    for step, target in zip(path.steps, objects[1:], strict=True):
        yield f"{_node(step.address)} -> {_node(target)} [label={_quoted(step.word)}{_style(step.certainty)}]"


def _style(certainty: WordCertainty) -> str:
    if certainty.is_certain:
        return ""
    return ", style=dotted" if certainty is WordCertainty.FALSE else ", style=dashed"


def _node(address: int) -> str:
    return _quoted(f"{address:#x}")


def _quoted(text: str) -> str:
    """A string of Graphviz's, in which a line ends where one does in the text."""
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
