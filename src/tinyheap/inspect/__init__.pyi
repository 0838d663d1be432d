from tinyheap.inspect.heap_facts import HeapFacts as HeapFacts
from tinyheap.inspect.root_table import RootKind as RootKind, RootSource as RootSource, RootTable as RootTable
