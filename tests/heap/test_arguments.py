"""Arguments of wrong types and numbers beyond all bounds are refused by a short, typed error."""

from __future__ import annotations

import copy
import pickle
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import pytest

from engine_fixtures import MakeHeap
from ids import without_address
from small_heaps import unchanged
from tinyheap.errors import (
    GeometryError,
    HeapError,
    InvalidAddressError,
    InvalidSizeError,
    InvalidTypeError,
    TinyheapError,
)
from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.guests.program import Program
from tinyheap.guests.record.recorder import Recorder
from tinyheap.guests.serve.prepared import BoundHeap, OfferedHeap
from tinyheap.guests.serve.serving import ServingHeap
from tinyheap.heap import ByRatio, Doubling, FixedStep, Geometry, Heap, Layout, Pages
from tinyheap.heap.contract import Engine
from tinyheap.heap.nextfit.model import Model
from tinyheap.hosts import HostSession
from tinyheap.hosts.memory import GuestMemory
from tinyheap.ownership import SoleOwner
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.units import KIB

HUGE: Final = 10**5000
"""Python refuses to write it out in decimal."""


NO_NUMBERS: Final[list[Any]] = [1.5, 8.0, True, None, "8", b"8", [8], np.float64(8), np.bool_(True)]
NO_CALLABLES: Final[list[Any]] = [5, "print", object(), b""]
MESSAGE_LIMIT: Final = 200

NUMBERS: Final[dict[str, Callable[[Heap, Any], object]]] = {
    "alloc": lambda heap, value: heap.alloc(value),
    "alloc_many, count": lambda heap, value: heap.alloc_many(value, 8),
    "alloc_many, size": lambda heap, value: heap.alloc_many(2, value),
    "realloc, address": lambda heap, value: heap.realloc(value, 8),
    "realloc, size": lambda heap, value: heap.realloc(heap.geometry.start_address, value),
    "realloc nil": lambda heap, value: heap.realloc(0, value),
    "free": lambda heap, value: heap.free(value),
    "load_word": lambda heap, value: heap.load_word(value),
    "store_word, address": lambda heap, value: heap.store_word(value, 1),
    "store_word, value": lambda heap, value: heap.store_word(heap.geometry.start_address, value),
    "read, address": lambda heap, value: heap.read(value, 8),
    "read, size": lambda heap, value: heap.read(heap.geometry.start_address, value),
    "write": lambda heap, value: heap.write(value, b"x"),
    "object_at": lambda heap, value: heap.object_at(value),
    "set_finalizer": lambda heap, value: heap.set_finalizer(value, print),
    "weak": lambda heap, value: heap.weak(value),
    "roots.add": lambda heap, value: heap.roots.add(value),
    "root": lambda heap, value: setattr(heap.roots.add(), "address", value),
    "tasks.push": lambda heap, value: heap.roots.tasks.push(value),
}
WORDS: Final = ("store_word, value", "roots.add", "root", "tasks.push")
"""What takes any word."""
BEYOND: Final = (HUGE, -HUGE, 1 << 200, -1, 1 << 63, 1 << 64, (1 << 64) - 1)
BEYOND_IDS: Final = ("huge", "-huge", "2**200", "-1", "2**63", "2**64", "2**64-1")
OPTIONS: Final = (
    "word_bytes",
    "start_address",
    "size_bytes",
    "word_alignment_bytes",
    "header_alignment_bytes",
    "mark_stack_entries",
)


@pytest.fixture
def memory() -> bytearray:
    return bytearray(4 * KIB)


@pytest.fixture
def heap(make_heap: MakeHeap, memory: bytearray) -> Heap:
    heap = make_heap(memory)
    heap.roots.add(heap.alloc(24))
    return heap


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=without_address)
@pytest.mark.share(200)
def test_no_numbers(heap: Heap, memory: bytearray, name: str, value: object) -> None:
    with unchanged(memory, heap), pytest.raises(InvalidTypeError, match=r"invalid \w+ .*: expected a whole number"):
        NUMBERS[name](heap, value)
    heap.verify()


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in WORDS])
@pytest.mark.parametrize("value", BEYOND, ids=BEYOND_IDS)
@pytest.mark.share(200)
def test_numbers_beyond_all_bounds(heap: Heap, memory: bytearray, name: str, value: int) -> None:
    with unchanged(memory, heap), pytest.raises((InvalidSizeError, InvalidAddressError)) as caught:
        NUMBERS[name](heap, value)
    assert len(str(caught.value)) < MESSAGE_LIMIT
    heap.verify()


@pytest.mark.next_fit
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint32], ids=lambda kind: kind.__name__)
def test_integers_of_other_types_are_as_good(
    heap: Heap, memory: bytearray, name: str, kind: Callable[[int], Any]
) -> None:
    twin = Heap(bytearray(memory), engine=heap.engine_name, adopt=True)
    number = heap.geometry.start_address if "address" in name or name in ("free", "load_word", "write", "weak") else 40
    outcomes = []
    for one, value in ((heap, kind(number)), (twin, number)):
        try:
            outcomes.append(NUMBERS[name](one, value))
        except TinyheapError as error:
            outcomes.append(str(error))
    assert repr(outcomes[0]) == repr(outcomes[1]) or not isinstance(outcomes[0], int | str | array)
    assert heap.census() == twin.census()
    heap.verify()


@pytest.mark.parametrize("size_bytes", [0, 8])
@pytest.mark.parametrize("count", [1 << 60, 1 << 33, HUGE, 513], ids=["2**60", "2**33", "huge", "513"])
def test_more_objects_than_words(heap: Heap, count: int, size_bytes: int) -> None:
    with pytest.raises(InvalidSizeError, match="objects can never be on a heap of at most 4096 bytes"):
        heap.alloc_many(count, size_bytes)


@pytest.mark.parametrize("value", NO_CALLABLES, ids=without_address)
def test_no_callables(heap: Heap, value: Any) -> None:  # noqa: ANN401
    address = heap.geometry.start_address
    requests: dict[str, Callable[[], object]] = {
        "root source": lambda: heap.roots.add_source(value),
        "finalizer": lambda: heap.set_finalizer(address, value),
        "on_clear hook": lambda: heap.weak(address, value),
        "debug callback": lambda: Heap(KIB, debug=value),
    }
    for what, request in requests.items():
        with pytest.raises(InvalidTypeError, match=f"invalid {what} .*: expected something to call"):
            request()
    assert heap.collect().live_objects == 1


@pytest.mark.parametrize("value", [5, object(), Doubling, "Doubling", print, None], ids=without_address)
def test_no_growth_policies(heap: Heap, value: Any) -> None:  # noqa: ANN401
    if value is not None:
        with pytest.raises(InvalidTypeError, match="invalid growth policy"):
            Heap(KIB, growth=value)
    before = heap.growth
    with pytest.raises(InvalidTypeError, match="invalid growth policy"):
        heap.growth = value
    assert heap.growth is before


@pytest.mark.parametrize("value", [5, object(), None, Heap, print], ids=without_address)
def test_no_listeners(heap: Heap, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidTypeError, match="invalid listener"):
        heap.add_listener(value)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [value for value in NO_NUMBERS if value is not None], ids=without_address)
def test_options_that_are_no_numbers(engine: type[Engine], option: str, value: Any) -> None:  # noqa: ANN401
    name = "model" if engine is Model else "kernel"
    memory = bytearray(4 * KIB)
    with pytest.raises(InvalidTypeError, match=f"invalid {option} .*: expected a whole number"):
        Heap(memory, engine=name, **{option: value})
    # The buffer was let go.
    memory.append(0)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", [HUGE, -HUGE, -1, 1 << 62, 1 << 63], ids=["huge", "-huge", "-1", "2**62", "2**63"])
def test_options_beyond_all_bounds(engine: type[Engine], option: str, value: Any) -> None:  # noqa: ANN401
    name = "model" if engine is Model else "kernel"
    if (option == "start_address" and value in (1 << 62, 1 << 63)) or (option == "mark_stack_entries" and value > 0):
        # A place like another; a stack that has room for all.
        with Heap(4 * KIB, engine=name, **{option: value}) as heap:
            heap.alloc(8)
            heap.collect()
        return
    with pytest.raises(GeometryError) as caught:
        Heap(bytearray(4 * KIB), engine=name, **{option: value})
    assert len(str(caught.value)) < MESSAGE_LIMIT


@pytest.mark.parametrize(
    "make",
    [
        FixedStep,
        lambda value: FixedStep(8, value),
        Doubling,
        Pages,
        lambda value: Pages(page_bytes=value),
        lambda value: ByRatio(value, 1),
        lambda value: ByRatio(2, value),
        lambda value: ByRatio(multiple_bytes=value),
        lambda value: ByRatio(limit_bytes=value),
        lambda value: Geometry(value, 1024),
        lambda value: Geometry(0x100, value),
    ],
)
def test_policies_and_places_are_made_of_numbers(make: Callable[[Any], object]) -> None:
    for value in NO_NUMBERS:
        if value is not None:
            with pytest.raises(InvalidTypeError):
                make(value)
    with pytest.raises(GeometryError) as caught:
        make(-HUGE)
    assert len(str(caught.value)) < MESSAGE_LIMIT


def test_bytes_that_are_none(heap: Heap) -> None:
    released = memoryview(bytearray(8))
    released.release()
    address = heap.geometry.start_address
    for wrong in ("text", 5, None, [1], released):
        with pytest.raises(HeapError):
            heap.write(address, wrong)  # type: ignore[arg-type]
        with pytest.raises(HeapError):
            heap.roots.add_range(wrong)  # type: ignore[arg-type]
        if not isinstance(wrong, int):
            with pytest.raises(GeometryError):
                Heap(wrong)  # type: ignore[arg-type]
    heap.verify()


OWNERS: Final = (
    Heap,
    type(Heap(KIB).roots),
    type(Heap(KIB).roots.tasks),
    Model,
    GuestHeap,
    GuestMemory,
    HostSession,
    Program,
    Recorder,
    Recording,
    RecordingWriter,
    BoundHeap,
    OfferedHeap,
    ServingHeap,
)
WAYS: Final[dict[str, Callable[[object], object]]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": partial(pickle.dumps, protocol=protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("way", WAYS)
class TestOwners:
    def test_a_heap_and_its_parts(self, heap: Heap, way: str) -> None:
        parts = [heap, heap.roots, heap.roots.tasks, heap.roots.add(), heap.roots.add_range(b""), heap._engine]
        parts.append(heap.weak(heap.geometry.start_address))
        for one in parts:
            with pytest.raises(TypeError, match=r"cannot copy or pickle|cannot be converted"):
                WAYS[way](one)
        heap.verify()

    @pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
    def test_whatever_owns_something(self, owner: type, way: str) -> None:
        assert issubclass(owner, SoleOwner)
        one = SoleOwner.__new__(owner)
        with pytest.raises(
            TypeError, match=f"cannot copy or pickle a {owner.__name__}: it owns memory, a file or a program"
        ):
            WAYS[way](one)

    def test_values_are_copied(self, way: str) -> None:
        for one in (Layout.pattern("p."), Geometry(0x100, 1024), Doubling(8)):
            assert way.startswith("pickle") or WAYS[way](one) == one
