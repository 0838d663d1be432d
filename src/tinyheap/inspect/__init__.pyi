from tinyheap.inspect.certainty import WordCertainty as WordCertainty
from tinyheap.inspect.comparing import (
    GroupDifference as GroupDifference,
    HeapComparison as HeapComparison,
    PathDifference as PathDifference,
    compare_heaps as compare_heaps,
)
from tinyheap.inspect.decoding import Value as Value
from tinyheap.inspect.dominators import (
    Accumulation as Accumulation,
    Gathering as Gathering,
    GroupRetained as GroupRetained,
    Retained as Retained,
    TreeNode as TreeNode,
    accumulation as accumulation,
    retained_by_group as retained_by_group,
    retained_tree as retained_tree,
    top_retained as top_retained,
)
from tinyheap.inspect.graph import (
    Certainty as Certainty,
    Dominated as Dominated,
    HeapGraph as HeapGraph,
    Incoming as Incoming,
    Tree as Tree,
)
from tinyheap.inspect.graph_model import Shape as Shape
from tinyheap.inspect.heap_facts import HeapFacts as HeapFacts
from tinyheap.inspect.holders import Holder as Holder, holders_of as holders_of, in_group as in_group
from tinyheap.inspect.holes import (
    Cutter as Cutter,
    Holes as Holes,
    RunLengths as RunLengths,
    Window as Window,
    holes_for as holes_for,
)
from tinyheap.inspect.inspection import Inspection as Inspection
from tinyheap.inspect.naming import (
    Groups as Groups,
    Layered as Layered,
    NamedGraph as NamedGraph,
    ObjectNames as ObjectNames,
    ShapeNames as ShapeNames,
)
from tinyheap.inspect.object_views import ObjectView as ObjectView, Word as Word, object_view as object_view
from tinyheap.inspect.overviews import (
    HeldBy as HeldBy,
    Overview as Overview,
    objects_of as objects_of,
    overview as overview,
)
from tinyheap.inspect.paths import (
    Path as Path,
    RootWord as RootWord,
    Step as Step,
    Verdict as Verdict,
    Why as Why,
    best_path as best_path,
    distinct_paths as distinct_paths,
    shortest_path as shortest_path,
    why as why,
)
from tinyheap.inspect.proving import (
    FalseWord as FalseWord,
    Meaning as Meaning,
    Proof as Proof,
    SecondRun as SecondRun,
    prove as prove,
)
from tinyheap.inspect.root_table import RootKind as RootKind, RootSource as RootSource, RootTable as RootTable
