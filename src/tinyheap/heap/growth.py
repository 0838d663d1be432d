"""How a heap grows when a collection did not free enough: one small object decides the next size.

A policy that does not grow (at its limit, or because rounding takes the growth away) ends in `OutOfMemoryError`, never in a
loop.  Sizes are of the whole heap in bytes, block table included.

A policy may be any object; what it returns is checked (`next_size`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tinyheap.errors import GeometryError
from tinyheap.heap.arguments import shown, whole_number, wrong_type
from tinyheap.units import KIB, WASM_PAGE_BYTES


class Growth(Protocol):
    """A growth policy: says how large a heap becomes when it grows."""

    @property
    def limit_bytes(self) -> int | None:
        """The size that it never passes; None where only the address space or the buffer ends it."""

    def next_bytes(self, heap_bytes: int) -> int:
        """The size after one step of growth; ``heap_bytes`` or less says that there is none."""


def check_policy(policy: object) -> None:
    """Refuse what is not a growth policy.

    Raises:
        InvalidTypeError: it lacks what `Growth` has, or its limit is not a size.
    """
    if isinstance(policy, type) or not (
        hasattr(policy, "limit_bytes") and callable(getattr(policy, "next_bytes", None))
    ):
        raise wrong_type(
            "growth policy", policy, "an object with limit_bytes and next_bytes(heap_bytes), as Doubling()"
        )
    limit_of(policy)  # type: ignore[arg-type]


def limit_of(policy: Growth) -> int | None:
    """The size that a policy never passes.

    Raises:
        InvalidTypeError: it is not a size.
    """
    limit_bytes = policy.limit_bytes
    return None if limit_bytes is None else whole_number("limit_bytes", limit_bytes, _from(policy))


def next_size(policy: Growth, heap_bytes: int) -> int:
    """The size that a heap of so many bytes is to have next, within the policy's limit; one that is not larger: no growth.

    Raises:
        InvalidTypeError: the policy answers something else than a size.
    """
    new_bytes = whole_number("next size", policy.next_bytes(heap_bytes), _from(policy))
    return _capped(new_bytes, limit_of(policy))


@dataclass(frozen=True, slots=True)
class NoGrowth:
    """Never grow: all memory is the heap's from the start, as on bare metal."""

    @property
    def limit_bytes(self) -> int:
        return 0

    def next_bytes(self, heap_bytes: int) -> int:
        return heap_bytes


@dataclass(frozen=True, slots=True)
class Doubling:
    """Double the size at each growth, as TinyGo does on hosted systems."""

    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_limit(self.limit_bytes)

    def next_bytes(self, heap_bytes: int) -> int:
        return _capped(heap_bytes * 2, self.limit_bytes)


@dataclass(frozen=True, slots=True)
class Pages:
    """Double the size at each growth, rounded up to pages of ``page_bytes``, as TinyGo does on WebAssembly."""

    limit_bytes: int | None = None
    page_bytes: int = WASM_PAGE_BYTES

    def __post_init__(self) -> None:
        _check_positive("page", self.page_bytes)
        _check_limit(self.limit_bytes)

    def next_bytes(self, heap_bytes: int) -> int:
        pages = -(-2 * heap_bytes // self.page_bytes)
        return _capped(pages * self.page_bytes, self.limit_bytes)


@dataclass(frozen=True, slots=True)
class FixedStep:
    """Grow by the same number of bytes, ``step_bytes``, each time."""

    step_bytes: int
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_positive("step", self.step_bytes)
        _check_limit(self.limit_bytes)

    def next_bytes(self, heap_bytes: int) -> int:
        return _capped(heap_bytes + self.step_bytes, self.limit_bytes)


@dataclass(frozen=True, slots=True)
class ByRatio:
    """Grow to ``numerator/denominator`` of the size, rounded down to a multiple of ``multiple_bytes``.

    A heap so small that rounding leaves it no larger does not grow.
    """

    numerator: int = 4
    denominator: int = 3
    multiple_bytes: int = 4 * KIB
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_positive("multiple", self.multiple_bytes)
        _check_limit(self.limit_bytes)
        if not 0 < whole_number("denominator", self.denominator) < whole_number("numerator", self.numerator):
            raise GeometryError(
                f"invalid ratio {shown(self.numerator)}/{shown(self.denominator)}: expected one above 1"
            )

    def next_bytes(self, heap_bytes: int) -> int:
        size = heap_bytes * self.numerator // self.denominator
        return _capped(size // self.multiple_bytes * self.multiple_bytes, self.limit_bytes)


def _from(policy: Growth) -> str:
    return f" from growth policy {shown(policy)}"


def _capped(size_bytes: int, limit_bytes: int | None) -> int:
    return size_bytes if limit_bytes is None else min(size_bytes, limit_bytes)


def _check_positive(what: str, size_bytes: int) -> None:
    if whole_number(f"{what} of a growth policy", size_bytes) <= 0:
        raise GeometryError(f"invalid {what} of {shown(size_bytes)} bytes: expected 1 or more")


def _check_limit(limit_bytes: int | None) -> None:
    if limit_bytes is not None and whole_number("limit of a growth policy", limit_bytes) < 0:
        raise GeometryError(f"invalid limit of {shown(limit_bytes)} bytes: expected 0 or more, or None for no limit")


def parse_growth(text: str, size_bytes: Callable[[str], int] = int) -> Growth:
    """The policy that a text names: ``none``, ``double``, ``pages``, ``step:65536`` or ``ratio:4/3``.

    Args:
        text: What to read.
        size_bytes: Reads a step's size; by default a number of bytes.

    Raises:
        GeometryError: It names no growth, or its numbers are invalid.
    """
    kind, _, rest = text.partition(":")
    ratio = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", rest)
    if kind == "step" and rest:
        try:
            return FixedStep(size_bytes(rest))
        except ValueError as error:
            raise GeometryError(f"invalid growth {text!r}: {error}") from error
    if kind == "ratio" and ratio is not None and int(ratio[1]) > int(ratio[2]) > 0:
        return ByRatio(int(ratio[1]), int(ratio[2]))
    if text not in _NAMED:
        raise GeometryError(
            f"invalid growth {text!r}: expected none, double, pages, step:SIZE or ratio:N/M with N above M"
        )
    return _NAMED[text]


def growth_text(growth: Growth) -> str:
    """What `parse_growth` reads; a policy of another kind is called by its type."""
    match growth:
        case FixedStep():
            text = f"step:{growth.step_bytes}"
        case ByRatio():
            text = f"ratio:{growth.numerator}/{growth.denominator}"
        case _:
            names = {type(named): name for name, named in _NAMED.items()}
            text = names.get(type(growth), type(growth).__name__)
    return f"{text} up to {growth.limit_bytes} bytes" if getattr(growth, "limit_bytes", None) else text


_NAMED: dict[str, Growth] = {"none": NoGrowth(), "double": Doubling(), "pages": Pages()}
