"""The collector's counters: 64-bit words, told apart by what is added to them, and in which function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

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
    _settle_constants(roles, alloc)
    return roles


def _settle_constants(roles: dict[str, set[int]], alloc: Reading) -> None:
    """Tell counters apart in an alloc that only makes one kind of object, and so adds constants.

    Where each object is one block, its calls and its blocks are the same number; they stand in the order of the source.
    """
    added = dict(_added_constants(alloc))
    sizes = sorted((number, address) for address, number in added.items() if number != 1)
    if not sizes:
        return
    roles["total_alloc_bytes"] = {sizes[-1][1]}
    if len(sizes) > 1:
        roles["total_blocks"] = {sizes[0][1]}
    elif len(roles["mallocs"]) > 1:
        blocks, *calls = sorted(roles["mallocs"])
        roles["total_blocks"], roles["mallocs"] = {blocks}, set(calls)


def _added_constants(alloc: Reading) -> Iterator[tuple[int, int]]:
    for store in alloc.stores:
        if store.width_bytes == 8 and isinstance(store.address, Constant) and not store.loop_depth:
            added = added_to(store.value, Loaded(store.address, 8))
            if isinstance(added, Constant):
                yield store.address.number, added.number


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
