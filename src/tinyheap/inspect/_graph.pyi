from typing import final

import numpy as np
from numpy.typing import NDArray

from tinyheap.inspect.heap_facts import HeapFacts

@final
class GraphReader:
    def __init__(self, memory: memoryview, facts: HeapFacts) -> None: ...
    @property
    def objects(self) -> int: ...
    @property
    def orphan_blocks(self) -> int: ...
    def list_objects(self, first: NDArray[np.uint32], blocks: NDArray[np.uint32]) -> None: ...
    def count_references(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        starts: NDArray[np.uint32],
        certainty: NDArray[np.uint8],
    ) -> int: ...
    def list_references(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        targets: NDArray[np.uint32],
        offsets: NDArray[np.uint32],
    ) -> int: ...
    def resolve(self, values: NDArray[np.uint64], targets: NDArray[np.uint32]) -> None: ...
    def classify(
        self,
        first: NDArray[np.uint32],
        blocks: NDArray[np.uint32],
        starts: NDArray[np.uint32],
        shapes: NDArray[np.uint8],
    ) -> None: ...
