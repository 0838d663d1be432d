"""The collector's statistics: 64-bit words, told apart by what is added to them, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import CounterAddresses
from tinyheap.recognize.interpret import Reading, Store
from tinyheap.recognize.shapes import added_to
from tinyheap.recognize.values import Constant, Loaded, Merge, Operation


def find_counters(alloc: Reading, region: Iterable[Reading], notes: Notes) -> CounterAddresses:
    """The counters that the collector's functions add to; old programs have none."""
    roles = _addresses_by_role(alloc, region)
    for role, addresses in roles.items():
        notes.found(role, "what is added to it, and where")
        if len(addresses) > 1:
            notes.doubt(role, f"{len(addresses)} words fit")
    slots = {address for addresses in roles.values() for address in addresses}
    for role, addresses in roles.items():
        if {min(addresses) - 8, min(addresses) + 8} & slots:
            notes.found(role, "lies beside another counter")
    return CounterAddresses(**{f"{role}_address": min(addresses) for role, addresses in roles.items()})


def _addresses_by_role(alloc: Reading, region: Iterable[Reading]) -> dict[str, set[int]]:
    roles: dict[str, set[int]] = defaultdict(set)
    for reading in region:
        for store in reading.stores:
            if store.width_bytes == 8 and isinstance(store.address, Constant):
                role = _role(store, store.address, in_alloc=reading is alloc)
                if role:
                    roles[role].add(store.address.number)
    return roles


def _role(store: Store, address: Constant, *, in_alloc: bool) -> str | None:
    """Which counter a 64-bit store changes: by what is added, and whether that is while sweeping."""
    added = added_to(store.value, Loaded(address, 8))
    if added is None:
        return None
    once_an_alloc = in_alloc and store.loop_depth == 0
    match added:
        case Constant(1):
            return "mallocs" if once_an_alloc else "frees"
        case Operation("i64.extend_i32_u", (size,)) if once_an_alloc:
            rounded = isinstance(size, Operation) and size.name in ("i32.shr_u", "i32.div_u")
            return "total_blocks" if rounded else "total_alloc_bytes"
        case Merge() if not once_an_alloc:
            return "freed_blocks"
        case _:
            return None if in_alloc else "freed_blocks"
