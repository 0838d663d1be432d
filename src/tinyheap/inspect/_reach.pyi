import numpy as np
from numpy.typing import NDArray

def shortest(
    starts: NDArray[np.uint32],
    targets: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    distance: NDArray[np.uint32],
    step: NDArray[np.uint32],
) -> int: ...
def dominate(
    starts: NDArray[np.uint32],
    targets: NDArray[np.uint32],
    roots: NDArray[np.uint32],
    blocks: NDArray[np.uint32],
    dominator: NDArray[np.uint32],
    retained_objects: NDArray[np.uint32],
    retained_blocks: NDArray[np.uint64],
) -> int: ...
def outermost(
    starts: NDArray[np.uint32], below: NDArray[np.uint32], groups: NDArray[np.uint32], flags: NDArray[np.uint8]
) -> None: ...
def disjoint(
    starts: NDArray[np.uint32],
    holders: NDArray[np.uint32],
    flags: NDArray[np.uint8],
    before: NDArray[np.uint32],
    found: int,
    source: int,
    most: int,
) -> int: ...
