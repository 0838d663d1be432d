"""How large objects are and how long they live, in powers of two.

A *bucket* is a half-open range ``[2**k, 2**(k+1))``; the first one, ``[0, 1)``, is for zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import BIRTHS, CENSUS, take_census
from tinyheap.profile.result import Unknown, rows, unless_collections, unless_lives
from tinyheap.recordings.observed import Lives
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

# The number of a bucket is the number of bits that a value has; DuckDB has no function for it, but writes binary numbers.
_BITS: Final = "if({value} <= 0, 0, length(bin({value})))"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The objects whose value is in ``[low, high)``."""

    low: int
    high: int
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Histogram(Result):
    """Buckets from the first to the last that is not empty, without gaps."""

    unit: str
    """What ``low`` and ``high`` are in: ``bytes``, ``ns`` or ``collections``."""
    buckets: tuple[Bucket, ...]
    beyond_objects: int = 0
    """Objects without a value: those that lived at the end have no lifetime."""
    beyond_bytes: int = 0

    @property
    def objects(self) -> int:
        """In all buckets."""
        return sum(bucket.objects for bucket in self.buckets)


@dataclass(frozen=True, slots=True)
class LayoutUsage(Result):
    """The objects of one layout word."""

    layout: int
    """0 where the allocation gave none: every word may be a pointer."""
    objects: int
    bytes: int
    live_objects: int | None
    """At the end; at most, where deaths were inferred (`Observed.lives`); None where nothing is known of them, like the
    next two."""
    live_bytes: int | None
    sizes: Histogram
    lifetimes: Histogram | None


def size_histogram(recording: Recording) -> Histogram:
    """All objects by their size in bytes, as asked for."""
    return _by_layout(recording, "size_bytes", "bytes", "0").get(0, Histogram("bytes", ()))


def lifetime_histogram(recording: Recording) -> Histogram | Unknown:
    """Freed objects by their lifetime in ns, from allocation to the end of the collection that freed them.

    Where deaths were inferred, it ends then, and is an upper bound.  Objects that live at the end are left out.
    """
    if unknown := unless_lives(recording):
        return unknown
    return _by_layout(recording, "death_ns - birth_ns", "ns", "0").get(0, Histogram("ns", ()))


def survival_histogram(recording: Recording) -> Histogram | Unknown:
    """Freed objects by how many collections they survived; objects that live at the end are left out."""
    if unknown := unless_collections(recording):
        return unknown
    take_census(recording)
    value = _BITS.format(value="(death_collection - generation - 1)")
    query = f"SELECT 0, {value} AS bits, sum(objects)::BIGINT, sum(bytes)::BIGINT FROM {CENSUS} GROUP BY bits"
    return _histograms(rows(recording, query), "collections").get(0, Histogram("collections", ()))


def by_layout(recording: Recording) -> tuple[LayoutUsage, ...]:
    """The objects of each layout word, with their sizes and lifetimes; the layout with the most bytes comes first.

    A conservative collector has no layouts: all objects are of layout 0.
    """
    sizes = _by_layout(recording, "size_bytes", "bytes", "layout")
    knows_lives = recording.run.observed.lives is not Lives.UNKNOWN
    lifetimes = _by_layout(recording, "death_ns - birth_ns", "ns", "layout") if knows_lives else {}
    usages = [_layout_usage(layout, sizes[layout], lifetimes.get(layout)) for layout in sizes]
    return tuple(sorted(usages, key=lambda usage: (-usage.bytes, usage.layout)))


def _layout_usage(layout: int, sizes: Histogram, lifetimes: Histogram | None) -> LayoutUsage:
    return LayoutUsage(
        layout,
        objects=sizes.objects,
        bytes=sum(bucket.bytes for bucket in sizes.buckets),
        live_objects=None if lifetimes is None else lifetimes.beyond_objects,
        live_bytes=None if lifetimes is None else lifetimes.beyond_bytes,
        sizes=sizes,
        lifetimes=lifetimes,
    )


def _by_layout(recording: Recording, value: str, unit: str, layout: str) -> dict[int, Histogram]:
    """A histogram of `value` for each `layout`; both are expressions over the columns of objects."""
    bits = _BITS.format(value=f"({value})")
    take_census(recording)
    query = f"""
        WITH born AS (SELECT object_id AS id, objects AS stands_for, bytes FROM {BIRTHS})
        SELECT {layout} AS key, {bits} AS bits, sum(stands_for)::BIGINT, sum(bytes)::BIGINT
        FROM objects JOIN born USING (id) GROUP BY key, bits
    """
    return _histograms(rows(recording, query), unit)


def _histograms(found: list[tuple[int, int | None, int, int]], unit: str) -> dict[int, Histogram]:
    """Histograms by their key, from rows of key, bits (None: without a value), objects and bytes."""
    by_key: dict[int, dict[int | None, tuple[int, int]]] = {}
    for key, bits, objects, size_bytes in found:
        by_key.setdefault(key, {})[bits] = objects, size_bytes
    return {key: _histogram(by_bits, unit) for key, by_bits in by_key.items()}


def _histogram(by_bits: dict[int | None, tuple[int, int]], unit: str) -> Histogram:
    known = [bits for bits in by_bits if bits is not None]
    buckets = tuple(
        Bucket(1 << bits - 1 if bits else 0, 1 << bits, *by_bits.get(bits, (0, 0)))
        for bits in (range(min(known), max(known) + 1) if known else ())
    )
    return Histogram(unit, buckets, *by_bits.get(None, (0, 0)))
