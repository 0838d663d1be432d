"""What was asked of a heap at one moment, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tinyheap.inspect.answers import Answers, WhyAnswer
from tinyheap.inspect.certainty import WordCertainty
from tinyheap.inspect.comparing import HeapComparison
from tinyheap.inspect.dominators import Gathering
from tinyheap.inspect.holes import Holes
from tinyheap.inspect.object_views import ObjectView
from tinyheap.inspect.overviews import Overview
from tinyheap.inspect.paths import Why
from tinyheap.inspect.proving import Meaning
from tinyheap.report.quantities import share_text, size_text, time_text
from tinyheap.report.text import printable
from tinyheap.units import counted

if TYPE_CHECKING:
    from tinyheap.inspect.dominators import Accumulation, TreeNode
    from tinyheap.inspect.holders import Holder
    from tinyheap.inspect.object_views import Word
    from tinyheap.inspect.paths import Path
    from tinyheap.inspect.proving import Proof
    from tinyheap.results import Result

GROUPS_SHOWN: Final = 10
ROOTS_SHOWN: Final = 10
STEPS_SHOWN: Final = 12
WORDS_SHOWN: Final = 64
TEXT_SHOWN: Final = 200
HOLDERS_SHOWN: Final = 8
CHANGES_SHOWN: Final = 10
_REPEATED: Final = re.compile(r"(\.[^.\[]+?)\1{3,}")
"""The same field again and again, as along a list."""


@dataclass(frozen=True, slots=True)
class AnswersCard:
    """A renderable: each answer, one after the other."""

    answers: Answers

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Those that were asked for."""
        answers = self.answers
        if answers.overview is not None:
            yield from _overview(answers.overview)
        if answers.why is not None:
            yield from _why_answer(answers.why)
        if answers.object is not None:
            yield from _object(answers.object)
        if answers.retained is not None:
            yield Text("what would take others with it", "bold")
            yield from _nodes(answers.retained, "")
        if answers.holes is not None:
            yield from _holes(answers.holes)
        if answers.proof is not None:
            yield from _proof(answers.proof)
        if answers.comparison is not None:
            yield from _comparison(answers.comparison)


def heap_card(result: Result) -> AnswersCard | None:
    """What shows a result of `tinyheap.inspect`; None for that of anything else."""
    match result:
        case Answers():
            return AnswersCard(result)
        case Overview():
            return AnswersCard(Answers(overview=result))
        case WhyAnswer():
            return AnswersCard(Answers(why=result))
        case Why():
            return AnswersCard(Answers(why=WhyAnswer(f"{result.address:#x}", 1, (result,), ())))
        case ObjectView():
            return AnswersCard(Answers(object=result))
        case Holes():
            return AnswersCard(Answers(holes=result))
        case HeapComparison():
            return AnswersCard(Answers(comparison=result))
        case _:
            return None


def _table(*columns: str) -> Table:
    """Rows of names, each with some numbers in front."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns[:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


# ---- the overview -------------------------------------------------------------------------------------------------------


def _overview(found: Overview) -> Iterator[RenderableType]:
    yield _line(f"{found.module or 'the heap'} at {found.moment}", "bold")
    if found.trap is not None:
        yield _line(found.trap, "red")
    alive_objects = found.objects - found.garbage_objects
    alive_bytes = found.object_bytes - found.garbage_bytes
    yield _line(f"heap: {size_text(found.heap_bytes)} ({found.collector}), {size_text(found.free_bytes)} free")
    yield _line(f"alive: {counted(alive_objects)}, {size_text(alive_bytes)}")
    yield _line(
        f"garbage, freed by the next collection: {counted(found.garbage_objects)}, {size_text(found.garbage_bytes)}"
    )
    if found.typed_objects is not None and found.typed_bytes is not None:
        share = share_text(found.typed_bytes, found.object_bytes)
        yield _line(
            f"types known: of {counted(found.typed_objects)}, {size_text(found.typed_bytes)}, {share} of the bytes"
        )
    if found.orphan_blocks:
        yield _line(f"damaged: {found.orphan_blocks:,} blocks belong to no object", "red")
    if found.problem is not None:
        yield _line(found.problem, "yellow")
    for suspect in found.suspects:
        yield Text()
        yield from _suspect(suspect, alive_bytes)
    yield Text()
    groups = _table("retain", "bytes", "objects", "garbage", "what")
    for each in found.groups[:GROUPS_SHOWN]:
        sizes = size_text(each.retained_bytes), size_text(each.size_bytes)
        groups.add_row(*sizes, f"{each.objects:,}", f"{each.garbage_objects:,}", printable(each.group))
    yield groups
    yield Text()
    roots = _table("alone hold", "objects", "words", "roots")
    for one in found.held_by[:ROOTS_SHOWN]:
        roots.add_row(size_text(one.retained_bytes), f"{one.objects:,}", f"{one.words:,}", printable(one.source))
    yield roots


def _suspect(found: Accumulation, alive_bytes: int) -> Iterator[Text]:
    place = found.place
    share = share_text(place.retained_bytes, alive_bytes)
    held = f"{counted(place.retained_objects)}, {size_text(place.retained_bytes)} ({share} of what is alive)"
    yield _line(f"accumulated: {held}", "bold")
    many = f" {found.count:,} objects, mostly {found.group}," if found.gathering is Gathering.FAN else ""
    if found.gathering is Gathering.CHAIN:
        many = f" {found.count:,} objects in a row, {found.group},"
    yield _line(f"  {place.group} at {place.address:#x} {found.gathering}:{many} held by")
    yield from _path(found.path)


# ---- why ----------------------------------------------------------------------------------------------------------------


def _why_answer(found: WhyAnswer) -> Iterator[RenderableType]:
    if found.objects != 1:
        yield _line(f"{found.wanted}: {counted(found.objects)}", "bold")
        yield from _holders(found.holders)
        yield _line(f"those that retain most, {len(found.whys)} of {found.objects:,}:")
    for each in found.whys:
        yield from _why(each)


def _why(found: Why) -> Iterator[RenderableType]:
    yield _line(f"{found.group} at {found.address:#x}, retains {size_text(found.retained_bytes)}", "bold")
    yield _line(f"  {found.verdict}")
    for number, path in enumerate(found.paths, 1):
        if len(found.paths) > 1:
            yield _line(f"  path {number}", "dim")
        yield from _path(path)
    if not found.are_all_paths:
        yield _line("  there are more paths that share nothing with these (--paths)", "dim")


def _path(path: Path) -> Iterator[Text]:
    """What a program would write for it, where that is known; then a line for each word, from the root on."""
    if path.expression:
        yield _line(f"    {_shortened(path.expression)}", "bold")
    yield _step(path.root, path.root.certainty)
    steps = path.steps
    shown = steps if len(steps) <= STEPS_SHOWN else steps[: STEPS_SHOWN // 2]
    for step in shown:
        yield _step(f"-> {step}", step.certainty)
    if len(shown) < len(steps):
        yield _line(f"    ... {len(steps) - len(shown) - STEPS_SHOWN // 2:,} more", "dim")
        for step in steps[-STEPS_SHOWN // 2 :]:
            yield _step(f"-> {step}", step.certainty)


def _step(word: object, certainty: WordCertainty) -> Text:
    style = "red" if certainty is WordCertainty.FALSE else "dim"
    return _line(f"    {word}").append(f" ({certainty})", style)


def _shortened(expression: str) -> str:
    """An expression in which what is repeated is counted."""
    return _REPEATED.sub(lambda found: f"{found[1]}... ({len(found[0]) // len(found[1]):,} times)", expression)


def _holders(holders: Iterable[Holder]) -> Iterator[RenderableType]:
    table = _table("objects", "bytes", "words", "held by")
    for each in list(holders)[:HOLDERS_SHOWN]:
        name = f"{each.group} {each.word}".rstrip()
        table.add_row(f"{each.objects:,}", size_text(each.size_bytes), f"{each.references:,}", printable(name))
    if table.row_count:
        yield table


# ---- one object ---------------------------------------------------------------------------------------------------------


def _object(found: ObjectView) -> Iterator[RenderableType]:
    yield _line(f"{found.group} at {found.address:#x}", "bold")
    if found.number is not None and found.born_ns is not None:
        yield _line(f"  allocation {found.number:,}, after {time_text(found.born_ns)}, by {found.site}")
    yield _line(f"  {size_text(found.size_bytes)} in blocks, {found.body_bytes:,} bytes of them the program's")
    if found.is_garbage:
        yield _line("  held by nobody: garbage, freed by the next collection")
    else:
        yield _line(f"  retains {counted(found.retained_objects)}, {size_text(found.retained_bytes)}")
    values = _table("offset", "value", "", "")
    for value in found.values[:WORDS_SHOWN]:
        values.add_row(f"+{value.offset_bytes}", printable(value.text), printable(value.type), printable(value.name))
    if found.values:
        yield values
    if found.text is not None:
        yield _line(f"  text: {found.text[:TEXT_SHOWN]!r}{'...' if len(found.text) > TEXT_SHOWN else ''}")
    table = _table("offset", "word", "refers to")
    for word in found.words[:WORDS_SHOWN]:
        table.add_row(f"+{word.offset}", f"{word.value:#010x}", _target(word))
    yield table
    if len(found.words) > WORDS_SHOWN:
        yield _line(f"{len(found.words) - WORDS_SHOWN:,} more words", "dim")
    yield from _holders(found.holders)


def _target(word: Word) -> str:
    if word.target is None:
        return ""
    return printable(f"{word.group} at {word.target:#x} ({word.certainty})")


# ---- retained, holes, comparison ------------------------------------------------------------------------------------------


def _nodes(nodes: Iterable[TreeNode], indent: str) -> Iterator[Text]:
    for node in nodes:
        each = node.retained
        what = f"{each.group} at {each.address:#x}"
        yield _line(f"{indent}{size_text(each.retained_bytes):>9}  {each.retained_objects:>8,} objects  {what}")
        yield from _nodes(node.below, indent + "  ")
        if node.more_objects and node.below:
            yield _line(f"{indent}  {size_text(node.more_bytes):>9}  in {node.more_objects:,} more", "dim")


def _holes(found: Holes) -> Iterator[RenderableType]:
    wanted = f"{found.request_bytes:,} bytes"
    if found.fits:
        yield _line(f"{wanted} fit: the largest free run has {size_text(found.largest_bytes)}", "bold")
    else:
        yield _line(f"{wanted} do not fit: the largest free run has {size_text(found.largest_bytes)}", "bold")
    yield _line(
        f"free in all: {size_text(found.free_bytes)}; {size_text(found.garbage_bytes)} more after a collection, then"
    )
    yield _line(f"the largest run has {size_text(found.largest_after_bytes)}")
    cutters = _table("end", "objects", "bytes", "garbage", "what stands at the ends of free runs")
    for each in found.cutters[:GROUPS_SHOWN]:
        sizes = size_text(each.free_bytes), f"{each.objects:,}", size_text(each.size_bytes), f"{each.garbage:,}"
        cutters.add_row(*sizes, printable(each.group))
    yield cutters
    if found.window is not None:
        window = found.window
        kinds = ", ".join(f"{count:,} {group}" for group, count in window.groups[:4])
        yield _line(
            f"the least in the way: {counted(window.count)}, {size_text(window.size_bytes)}, at {window.address:#x}: {kinds}"
        )


def _proof(found: Proof) -> Iterator[RenderableType]:
    kinds = (found.pointers, "pointers"), (found.numbers, "numbers"), (found.stale, "stale pointers")
    said = ", ".join(f"{count:,} {kind}" for count, kind in kinds if count or kind == "pointers")
    yield _line(f"words that hold objects, proved by a second run: {said}; {found.unknown:,} not known", "bold")
    if not found.false_objects:
        yield _line("no object is alive only because of a word that is no pointer")
        return
    held = f"{counted(found.false_objects)}, {size_text(found.false_bytes)}"
    yield _line(f"alive only because of words that are no pointers: {held}")
    table = _table("retain", "value", "what", "word, and the object that it holds")
    for each in found.words:
        what = "a number" if each.meaning is Meaning.NUMBER else "stale"
        by = f", allocated in {each.site}" if each.site else ""
        words = f"{each.place}{by} -> {each.group} at {each.target:#x}"
        table.add_row(size_text(each.retained_bytes), f"{each.value:#x}", what, printable(words))
    yield table


def _comparison(found: HeapComparison) -> Iterator[RenderableType]:
    yield _line(f"new: {counted(found.new_objects)}; gone: {counted(found.gone_objects)}", "bold")
    if found.left_out:
        yield _line(f"not compared by {' or '.join(found.left_out)}, which only one of the two snapshots knows")
    table = _table("more", "new", "gone", "what")
    for group in found.groups[:CHANGES_SHOWN]:
        sign = "-" if group.growth_bytes < 0 else ""
        more = f"{sign}{size_text(abs(group.growth_bytes))}"
        table.add_row(more, f"{group.new:,}", f"{group.gone:,}", printable(group.group))
    yield table
    for path in found.paths[:CHANGES_SHOWN]:
        yield _line(str(path))
