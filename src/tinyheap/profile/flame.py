"""Flame graphs: a tree of functions as they called each other, weighed by one of several measures.

Stacks are paths of call instructions; here a node is a *function* below its callers, so calls from different lines of
one function are one node.  A stack's innermost frame is the function that called the allocator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import BIRTHS, CENSUS, take_census
from tinyheap.profile.result import Unknown, rows, unless_allocations, unless_collections, unless_lives
from tinyheap.profile.stacks import StackTree
from tinyheap.profile.summary import Peak, peak
from tinyheap.recordings.observed import Lives
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

ROOT_NAME: Final = "all"


class Measure(Enum):
    """What a flame graph is weighed by; the value is its name on the command line and in JSON."""

    ALLOCATED_BYTES = "allocated-bytes"
    """All objects ever made, in the bytes that were asked for."""
    ALLOCATED_OBJECTS = "allocated-objects"
    LIVE_AT_PEAK_BYTES = "live-at-peak-bytes"
    """Objects that lived at the `Peak` of the recording."""
    LIVE_AT_PEAK_OBJECTS = "live-at-peak-objects"
    """The same objects, counted: the peak is that of bytes."""
    LIVE_AT_END_BYTES = "live-at-end-bytes"
    """Objects that no collection freed, and whose death was not inferred."""
    LIVE_AT_END_OBJECTS = "live-at-end-objects"
    DEAD_YOUNG_BYTES = "dead-young-bytes"
    """Objects that died young: in the first collection after their birth."""
    DEAD_YOUNG_OBJECTS = "dead-young-objects"

    @property
    def is_bytes(self) -> bool:
        """Whether it is in bytes; else it counts objects."""
        return self.value.endswith("bytes")

    @property
    def needs_collections(self) -> bool:
        """Whether it is only known where collections were observed."""
        return self.value.startswith("dead-young")

    @property
    def is_live(self) -> bool:
        """Whether it is of objects that lived at a moment: an upper bound, where deaths were inferred."""
        return self.value.startswith("live")

    @property
    def unit(self) -> str:
        """``bytes`` or ``objects``."""
        return "bytes" if self.is_bytes else "objects"

    @property
    def title(self) -> str:
        """The name in words, such as ``bytes live at the peak``."""
        what = self.value.rsplit("-", 1)[0].replace("-at-", "-at-the-").replace("-", " ")
        return f"{self.unit} {what}"


@dataclass(frozen=True, slots=True)
class FlameNode:
    """A function, below those that called it."""

    name: str
    own: int
    """Of objects that it allocated itself."""
    total: int
    """Its own, and that of all below it."""
    children: tuple[FlameNode, ...] = field(repr=False, default=())
    """From the heaviest to the lightest; equal ones by name."""
    is_inlined: bool = False
    """Whether it was inlined into the function above it, in all calls."""

    def walk(self) -> Iterator[tuple[int, FlameNode]]:
        """This node and all below it, each behind its caller, with how deep it is: 0 for this one."""
        waiting = [(0, self)]
        while waiting:
            depth, node = waiting.pop()
            yield depth, node
            waiting += [(depth + 1, child) for child in reversed(node.children)]


@dataclass(frozen=True, slots=True)
class FlameGraph(Result):
    """A tree of functions; nodes without weight are left out."""

    measure: Measure
    root: FlameNode
    """Named ``all``; its own are the objects without a stack."""
    files: Mapping[str, str] = field(repr=False, default_factory=dict)
    """The source files of functions, by name, as far as they are known."""
    is_upper_bound: bool = False
    """Whether it is of what may have lived, since deaths were inferred."""
    mark: str = ""
    """What stands behind its title where it was estimated from a sample."""

    @property
    def title(self) -> str:
        """The measure in words, and whether it is an upper bound, or estimated from a sample."""
        return f"{self.measure.title}{', at most' if self.is_upper_bound else ''}{self.mark}"

    def stacks(self, mark: str = "") -> Iterator[tuple[tuple[str, ...], int]]:
        """Every path of functions that has weight of its own, outermost first and without the root, and that weight.

        Args:
            mark: What is put behind the names of functions that were inlined.
        """
        path: list[str] = []
        for depth, node in self.root.walk():
            del path[max(depth - 1, 0) :]
            if depth:
                path.append(node.name + mark if node.is_inlined else node.name)
            if node.own:
                yield tuple(path), node.own


def flame_graph(recording: Recording, measure: Measure = Measure.ALLOCATED_BYTES) -> FlameGraph | Unknown:
    """The flame graph of a recording: functions as they called each other, weighed by `measure`."""
    own = weights(recording, measure)
    if isinstance(own, Unknown):
        return own
    tree = _Tree()
    tree.owns[0] = own.get(0, 0)
    nodes = {0: 0}
    files: dict[str, str] = {}
    for stack_id, parent_id, frame in StackTree.of(recording).stacks.values():
        nodes[stack_id] = tree.child(nodes[parent_id], frame.function, is_inlined=frame.is_inlined)
        tree.owns[nodes[stack_id]] += own.get(stack_id, 0)
        if frame.file is not None:
            files.setdefault(frame.function, frame.file)
    is_upper_bound = measure.is_live and recording.run.observed.lives is Lives.AT_MOST
    return FlameGraph(measure, tree.root(), files, is_upper_bound, recording.run.observed.mark)


def folded(graph: FlameGraph) -> FlameGraph:
    """A flame graph without recursion: a call of a function that is on the stack already continues at its first call.

    So what weighs on ``parse, expression, term, expression, name`` weighs on ``parse, expression, name``.  The whole stays
    what it is, and each path has each function at most once.
    """
    tree = _Tree()
    nodes = [node for _, node in graph.root.walk()]
    inlined = {node.name for node in nodes if node.is_inlined} - {node.name for node in nodes if not node.is_inlined}
    for functions, weight in graph.stacks():
        node = 0
        for function in _without_recursion(functions):
            node = tree.child(node, function, is_inlined=function in inlined)
        tree.owns[node] += weight
    return replace(graph, root=tree.root())


def _without_recursion(functions: tuple[str, ...]) -> list[str]:
    path: list[str] = []
    for function in functions:
        if function in path:
            del path[path.index(function) + 1 :]
        else:
            path.append(function)
    return path


def weights(recording: Recording, measure: Measure) -> dict[int, int] | Unknown:
    """What each stack weighs by `measure`, for those that weigh anything; 0 is the empty stack."""
    if unknown := unless_allocations(recording):
        return unknown
    if measure.needs_collections and (unknown := unless_collections(recording)):
        return unknown
    if measure.is_live and (unknown := unless_lives(recording)):
        return unknown
    take_census(recording)
    if measure in (Measure.LIVE_AT_PEAK_BYTES, Measure.LIVE_AT_PEAK_OBJECTS):
        return _at_peak(recording, measure.unit)
    if measure in (Measure.LIVE_AT_END_BYTES, Measure.LIVE_AT_END_OBJECTS):
        return _weights(recording, measure.unit, "NOT is_dead")
    condition = "death_collection = generation + 1" if measure.needs_collections else "true"
    return _weights(recording, measure.unit, condition)


def _weights(recording: Recording, unit: str, condition: str) -> dict[int, int]:
    query = f"SELECT stack_id, sum({unit})::BIGINT AS w FROM {CENSUS} WHERE {condition} GROUP BY ALL HAVING w > 0"
    return dict(rows(recording, query))


def _at_peak(recording: Recording, unit: str) -> dict[int, int]:
    fullest = peak(recording)
    assert isinstance(fullest, Peak), "where it is known what lives, the peak is"
    if fullest.collection is not None:
        return _when_begun(recording, unit, fullest.collection)
    query = f"""
        SELECT stack_id, sum({unit})::BIGINT AS w FROM {BIRTHS}
        WHERE id <= $peak AND object_id NOT IN (SELECT object_id FROM inferred_deaths WHERE event_id <= $peak)
        GROUP BY ALL HAVING w > 0
    """
    return dict(rows(recording, query, {"peak": fullest.event_id}))


def live_at_collection(recording: Recording, number: int) -> dict[int, int] | Unknown:
    """The bytes of each stack that lived when a collection began, for those that had any; 0 is the empty stack."""
    if unknown := unless_collections(recording):
        return unknown
    take_census(recording)
    return _when_begun(recording, "bytes", number)


def _when_begun(recording: Recording, unit: str, number: int) -> dict[int, int]:
    condition = f"generation < {number} AND (death_collection IS NULL OR death_collection >= {number})"
    return _weights(recording, unit, condition)


class _Tree:
    """A tree that is being made: nodes by number, callers first; 0 is the root."""

    def __init__(self) -> None:
        self.names = [ROOT_NAME]
        self.callers = [0]
        self.owns = [0]
        """What each node weighs itself."""
        self.inlined = [False]
        self.children: dict[tuple[int, str], int] = {}

    def child(self, caller: int, name: str, *, is_inlined: bool = False) -> int:
        """The node of a function below its caller."""
        node = self.children.setdefault((caller, name), len(self.names))
        if node == len(self.names):
            self.names.append(name)
            self.callers.append(caller)
            self.owns.append(0)
            self.inlined.append(is_inlined)
        self.inlined[node] &= is_inlined
        return node

    def root(self) -> FlameNode:
        """The nodes that weigh anything, made from the last to the first, so that children are there before their callers."""
        below: dict[int, list[FlameNode]] = {}
        for number in range(len(self.names) - 1, 0, -1):
            node = self._node(number, below)
            if node.total:
                below.setdefault(self.callers[number], []).append(node)
        return self._node(0, below)

    def _node(self, number: int, below: dict[int, list[FlameNode]]) -> FlameNode:
        children = sorted(below.pop(number, []), key=lambda node: (-node.total, node.name))
        own = self.owns[number]
        total = own + sum(child.total for child in children)
        return FlameNode(self.names[number], own, total, tuple(children), self.inlined[number])
