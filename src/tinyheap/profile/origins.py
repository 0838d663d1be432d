"""Where the objects of a snapshot come from that was taken of a recorded run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tinyheap.profile.result import columns, rows
from tinyheap.profile.stacks import StackTree
from tinyheap.recordings.schema import EventKind
from tinyheap.snapshots.snapshot import Births, Origins

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

_BORN: Final = f"""
SELECT address, object_id, time_ns, size_bytes, stack_id FROM events
WHERE kind = {EventKind.ALLOCATION} AND object_id BETWEEN 1 AND $last
QUALIFY row_number() OVER (PARTITION BY address ORDER BY object_id DESC) = 1
ORDER BY address
"""


_ALLOCATED: Final = f"""
SELECT object_id, address, size_bytes, stack_id FROM events
WHERE kind = {EventKind.ALLOCATION} AND object_id BETWEEN 1 AND $last
"""


def births_of(recording: Recording, allocations: int) -> Births:
    """All objects of a run, freed ones included.

    Args:
        recording: of the run.
        allocations: how many it had made.
    """
    found = columns(recording, _ALLOCATED, {"last": allocations})
    number = found["object_id"].astype(np.int64)
    address, size_bytes, site = (np.zeros(allocations + 1, np.int64) for _ in range(3))
    address[number], size_bytes[number] = found["address"].astype(np.int64), found["size_bytes"].astype(np.int64)
    sites = {stack: each.name for stack, each in StackTree.of(recording).sites().items()}
    names = ("", *sorted({*sites.values()}))
    numbers = {name: at for at, name in enumerate(names)}
    stacks, of = np.unique(found["stack_id"].astype(np.int64), return_inverse=True)
    site[number] = np.array([numbers[sites.get(stack, "")] for stack in stacks.tolist()], np.int64)[of]
    return Births(address, size_bytes, site, names)


def origins_of(recording: Recording, allocations: int) -> Origins:
    """Who allocated what was last allocated at each address, when a run had made so many allocations.

    An address whose object has been freed since is among them; whoever asks knows the objects that there are.

    Args:
        recording: of the run.
        allocations: how many it had made.
    """
    found = list(rows(recording, _BORN, {"last": allocations}))
    sites = {stack: site.name for stack, site in StackTree.of(recording).sites().items()}
    names = sorted({sites[each[4]] for each in found})
    numbers = {name: number for number, name in enumerate(names)}
    rows_of = [(*each[:4], numbers[sites[each[4]]]) for each in found]
    address, number, born_ns, size_bytes, site = zip(*rows_of, strict=True) if rows_of else ((),) * 5
    return Origins(address, number, born_ns, size_bytes, site, tuple(names))
