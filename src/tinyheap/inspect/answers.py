"""All that can be asked of a heap in one go, as the command does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.inspect.dominators import retained_tree
from tinyheap.inspect.holders import holders_of
from tinyheap.inspect.holes import holes_for
from tinyheap.inspect.object_views import object_view
from tinyheap.inspect.overviews import objects_of, overview
from tinyheap.inspect.paths import MOST_PATHS, why
from tinyheap.inspect.proving import prove
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.inspect.comparing import HeapComparison
    from tinyheap.inspect.dominators import TreeNode
    from tinyheap.inspect.holders import Holder
    from tinyheap.inspect.holes import Holes
    from tinyheap.inspect.inspection import Inspection
    from tinyheap.inspect.object_views import ObjectView
    from tinyheap.inspect.overviews import Overview
    from tinyheap.inspect.paths import Why
    from tinyheap.inspect.proving import Proof, SecondRun

MOST_WHY: Final = 3
"""Of the objects that a name means, so many are explained; all are counted."""


@dataclass(frozen=True, slots=True)
class WhyAnswer(Result):
    """Why the objects are alive that a name or an address means.

    Args:
        wanted: the name or the address.
        objects: how many it means.
        whys: of those that retain most.
        holders: who refers to any of them.
    """

    wanted: str
    objects: int
    whys: tuple[Why, ...]
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class Answers(Result):
    """What was asked of a heap; None for what was not."""

    overview: Overview | None = None
    why: WhyAnswer | None = None
    object: ObjectView | None = None
    retained: tuple[TreeNode, ...] | None = None
    holes: Holes | None = None
    comparison: HeapComparison | None = None
    proof: Proof | None = None


def answers_of(
    inspection: Inspection,
    wanted: str | None,
    shown: str | None,
    holes: int | None,
    earlier: Inspection | None,
    second_run: SecondRun | None = None,
    *,
    retained: bool,
    paths: int = MOST_PATHS,
) -> Answers:
    """What is asked of a heap: all that is given, or else an overview.

    Args:
        inspection: the heap.
        wanted: the objects to say why they are alive, as for `objects_of`.
        shown: the object to be shown, likewise.
        holes: the bytes that there is to be room for.
        earlier: the heap to be compared with.
        second_run: the same program once more, as for `prove`.
        retained: whether to tell what would take others with it.
        paths: how many distinct paths to each object there are to be at most.

    Raises:
        InvalidAddressError: there is no object at an address, or nothing has that name.
        InvalidSizeError: there is no object of that size.
    """
    named = inspection.named
    is_asked = retained or any(each is not None for each in (wanted, shown, holes, earlier, second_run))
    return Answers(
        overview=None if is_asked else overview(inspection),
        why=None if wanted is None else _why(inspection, wanted, paths),
        object=None if shown is None else object_view(inspection, objects_of(inspection, shown)[0]),
        retained=retained_tree(named) if retained else None,
        holes=None if holes is None else holes_for(named, holes),
        comparison=None if earlier is None else inspection.since(earlier),
        proof=None if second_run is None else prove(inspection, second_run),
    )


def _why(inspection: Inspection, wanted: str, paths: int) -> WhyAnswer:
    objects = objects_of(inspection, wanted)
    whys = tuple(why(inspection.named, each, paths) for each in objects[:MOST_WHY])
    return WhyAnswer(wanted, len(objects), whys, holders_of(inspection.named, objects))
