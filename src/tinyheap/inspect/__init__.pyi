from tinyheap.inspect.graph import (
    Certainty as Certainty,
    HeapGraph as HeapGraph,
    Incoming as Incoming,
    Tree as Tree,
)
from tinyheap.inspect.heap_facts import HeapFacts as HeapFacts
from tinyheap.inspect.root_table import RootKind as RootKind, RootSource as RootSource, RootTable as RootTable
