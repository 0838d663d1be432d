"""A snapshot opened with its module: the graph of its heap, with roots by name.

Where the snapshot tells where the heap lies, that is taken; of a core dump of another tool, or a bare image, the module tells
it, whose allocator is recognized.  A module is refused that is not the one that ran.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from tinyheap.errors import GeometryError, SnapshotError
from tinyheap.inspect.comparing import compare_heaps
from tinyheap.inspect.goroutines import GoroutineNames
from tinyheap.inspect.graph import HeapGraph
from tinyheap.inspect.heap_facts import HeapFacts
from tinyheap.inspect.naming import Layered, NamedGraph, NameSource, ShapeNames
from tinyheap.inspect.overviews import overview
from tinyheap.inspect.recognized import recognized
from tinyheap.inspect.root_names import RootNames
from tinyheap.inspect.roots import root_table
from tinyheap.inspect.sites import SiteNames
from tinyheap.inspect.type_names import TypeNames, typed_heap
from tinyheap.recognize.identify import module_of
from tinyheap.symbols.reading import check_same_code, types_of
from tinyheap.symbols.types import Types

if TYPE_CHECKING:
    from tinyheap.inspect.comparing import HeapComparison
    from tinyheap.inspect.naming import ObjectNames
    from tinyheap.inspect.typed import TypedHeap
    from tinyheap.snapshots.snapshot import Snapshot
    from tinyheap.wasm.module import Module


@dataclass(frozen=True)
class Inspection:
    """A snapshot, and what is known of its heap.

    Args:
        snapshot: with a record of the heap.
        module: that ran; None where it was not given.
        named: the graph of the heap, whose objects have names.
        problem: why debug information that is there could not be read; None for no problem.
    """

    snapshot: Snapshot
    module: Module | None
    named: NamedGraph
    problem: str | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, module: bytes | None = None, symbols: bytes | None = None) -> Self:
        """Open a snapshot.

        Args:
            snapshot: of a program whose heap is TinyGo's block heap.
            module: that ran; needed where the snapshot does not tell where the heap lies, and for names.
            symbols: another build of the same code that has debug information; None to read what the module itself has.

        Raises:
            SnapshotError: the module is not the one that ran, or is needed; or the heap is not where it should be.
            SymbolsError: ``symbols`` is of another build.
            MalformedModuleError: one is not a module.
        """
        parsed = None
        if module is not None:
            snapshot.check_module(sha256(module).hexdigest())
            parsed = module_of(module)[0]
        if snapshot.heap is None:
            snapshot = replace(snapshot, heap=recognized(snapshot, module))
        named_by = None if symbols is None else module_of(symbols)[0]
        if parsed is not None and named_by is not None:
            check_same_code(parsed, named_by)
        symbols_of = named_by or parsed
        types = Types() if symbols_of is None else types_of(symbols_of)
        names = RootNames(snapshot, parsed, symbols_of, types)
        assert snapshot.heap is not None, "it was there, or recognized"
        try:
            facts = HeapFacts(snapshot.heap.geometry, snapshot.heap.collector, snapshot.heap.is_precise)
            roots = root_table(snapshot, names.variables, names.frames)
            graph = HeapGraph.of(snapshot.memory, facts, roots)
        except GeometryError as error:
            raise SnapshotError(f"invalid snapshot: its heap makes no sense: {error}") from error
        typed = typed_heap(graph, types, parsed, lambda: names.variables)
        namer = Layered(*_namers(snapshot, typed).values())
        return cls(snapshot, parsed, NamedGraph(graph, namer, typed), types.problem)

    def _repr_html_(self) -> str:
        """The overview, for notebooks."""
        return overview(self)._repr_html_()

    def since(self, earlier: Inspection) -> HeapComparison:
        """What has changed since an earlier snapshot of the program, by the kinds of names that the objects of both have."""
        mine, others = (_namers(each.snapshot, each.named.typed) for each in (self, earlier))
        if mine.keys() == others.keys():
            return compare_heaps(earlier.named, self.named)
        before, after = (
            NamedGraph(
                each.graph, Layered(*(namers[source] for source in NameSource if source in mine.keys() & others))
            )
            for each, namers in ((earlier, others), (self, mine))
        )
        left_out = tuple(str(source) for source in NameSource if source in mine.keys() ^ others.keys())
        return replace(compare_heaps(before, after), left_out=left_out)

    @property
    def graph(self) -> HeapGraph:
        """The objects of the heap, and what refers to what."""
        return self.named.graph


def _namers(snapshot: Snapshot, typed: TypedHeap | None) -> dict[NameSource, ObjectNames]:
    """What names objects, in the order in which it is asked."""
    canary = None if snapshot.heap is None else snapshot.heap.stack_canary
    namers: dict[NameSource, ObjectNames | None] = {
        NameSource.STACKS: None if canary is None else GoroutineNames(canary),
        NameSource.TYPES: None if typed is None else TypeNames(typed),
        NameSource.SITES: None if snapshot.origins is None else SiteNames(snapshot.origins),
        NameSource.SHAPES: ShapeNames(),
    }
    return {source: namer for source, namer in namers.items() if namer is not None}
