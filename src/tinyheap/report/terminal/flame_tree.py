"""A flame graph as an indented tree: the heaviest stacks, as many lines as fit.

Recursion is folded (`tinyheap.profile.folded`): a parser's stacks show its shape, not its input's.  Calls that lead nowhere
else, one below the other, are one line: its first and its last function.  So the tree is indented where the program
branches.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tinyheap.profile import folded
from tinyheap.report.quantities import count_text, size_text
from tinyheap.report.terminal.charts import BAR_STYLE, bar
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from tinyheap.profile import FlameGraph, FlameNode

MOST_LINES: Final = 24
SMALLEST_SHARE: Final = 0.01
"""Of the whole; what is lighter is left out."""
SAME_SHARE: Final = 0.98
"""A function whose caller is as heavy as that is one line with it."""
BAR_CELLS: Final = 10
INLINED: Final = " [inlined]"


@dataclass(frozen=True, slots=True)
class Chain:
    """Functions that each call the next and nearly nothing else."""

    nodes: tuple[FlameNode, ...]

    @property
    def last(self) -> FlameNode:
        """The innermost."""
        return self.nodes[-1]

    def parts(self) -> tuple[str, str]:
        """What comes before the last function's name, and that name."""
        first, last = (_name(node) for node in (self.nodes[0], self.last))
        if len(self.nodes) == 1:
            return "", last
        between = len(self.nodes) - 2
        return (f"{first} > " if not between else f"{first} > ({between:,} more) > "), last


def _name(node: FlameNode) -> str:
    """A function, and whether it was inlined into its caller."""
    return printable(node.name) + (INLINED if node.is_inlined else "")


def chain_from(node: FlameNode) -> Chain:
    """A node, and those below it as far as the heaviest is nearly all."""
    nodes = [node]
    while node.children and node.children[0].total >= SAME_SHARE * node.total:
        node = node.children[0]
        nodes.append(node)
    return Chain(tuple(nodes))


@dataclass(frozen=True, slots=True)
class FlameTree:
    """A renderable: the heaviest stacks of a flame graph."""

    graph: FlameGraph
    most_lines: int = MOST_LINES

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line a chain: a bar, its share, what it weighs, and the functions; then what the signs mean."""
        root = folded(self.graph).root
        whole = root.total
        if not whole:
            yield Text(f"no {self.graph.title}", "dim")
            return
        weigh = size_text if self.graph.measure.is_bytes else count_text
        shown = _heaviest(root, self.most_lines)
        lines = list(_lines(root, shown))
        is_cut = False
        for depth, chain in lines:
            share = chain.last.total / whole
            head = Text.assemble(
                (bar(share, BAR_CELLS, ascii_only=options.ascii_only), BAR_STYLE),
                f" {100 * share:3.0f}% {weigh(chain.last.total):>9} ",
                "  " * depth,
            )
            names = fitted(*chain.parts(), options.max_width - head.cell_len, options)
            is_cut |= names.plain != "".join(chain.parts())
            yield Text.assemble(head, names, no_wrap=True)
        longest = max((len(chain.nodes) for _, chain in lines), default=0)
        notes = _notes(longest, is_cut=is_cut, is_full=len(shown) == self.most_lines, options=options)
        if text := "; ".join(notes):
            yield Text(text, "dim")


def _notes(longest: int, *, is_cut: bool, is_full: bool, options: ConsoleOptions) -> Iterator[str]:
    """What the signs of a tree mean, as far as it has them.

    Args:
        longest: How many functions are on the longest chain.
        is_cut: Whether names were cut.
        is_full: Whether there may be more stacks than are shown.
        options: Of the console.
    """
    if longest > 1:
        yield "a > b: a calls b, which weighs nearly as much"
    if longest > 2:
        yield "(n more): n calls between the two"
    if is_cut:
        yield f"{dots(options)} stands for the beginning of a line that does not fit"
    if is_full:
        yield "lighter stacks are left out"


def dots(options: ConsoleOptions) -> str:
    """What stands for text that was cut."""
    return "..." if options.ascii_only else "\N{HORIZONTAL ELLIPSIS}"


def _lines(root: FlameNode, shown: set[int]) -> Iterator[tuple[int, Chain]]:
    """The chains whose first node is among those `shown`, by `id`, each behind its caller, with how far it is indented."""
    waiting = [(0, node) for node in reversed(root.children)]
    while waiting:
        depth, node = waiting.pop()
        if id(node) in shown:
            chain = chain_from(node)
            yield depth, chain
            waiting += [(depth + 1, child) for child in reversed(chain.last.children)]


def _heaviest(root: FlameNode, most: int) -> set[int]:
    """The first nodes, by `id`, of the heaviest chains whose callers are among them."""
    shown: set[int] = set()
    numbers = count()
    waiting = [(-node.total, next(numbers), node) for node in root.children]
    heapq.heapify(waiting)
    while waiting and len(shown) < most and -waiting[0][0] >= SMALLEST_SHARE * root.total:
        node = heapq.heappop(waiting)[-1]
        shown.add(id(node))
        for child in chain_from(node).last.children:
            heapq.heappush(waiting, (-child.total, next(numbers), child))
    return shown


def fitted(before: str, name: str, width: int, options: ConsoleOptions) -> Text:
    """Text of two parts in so many cells, the second in full strength; what is cut is cut in front of the name's end."""
    cut = dots(options)
    if len(before) + len(name) <= width:
        return Text.assemble((before, "dim"), name)
    if len(name) + len(cut) + 1 <= width:
        return Text.assemble((f"{cut} ", "dim"), name)
    return Text(f"{cut}{name[-max(width - len(cut), 1) :]}")
