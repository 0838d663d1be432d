"""How a guest's heap is to be run, and which settings contradict each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tinyheap.errors import HeapError, PolicyError
from tinyheap.heap.collectors import named_collector
from tinyheap.heap.engines import ENGINES

if TYPE_CHECKING:
    from tinyheap.heap.collectors import Collector
    from tinyheap.heap.growth import Growth

MOST: Final = (1 << 63) - 1
"""Of whatever is counted."""
MOST_OFFSET_BLOCKS: Final = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """How a guest's heap is to be run.

    Combinations of fields that contradict each other are refused.

    Args:
        leaking: never collect; let the heap grow instead.
        engine: ``kernel`` or ``model``; the kernel where it is there, by default.
        clear_blocks: zero every block of a new object, padding included (see `tinyheap.heap.Heap`).
        heap_limit_bytes: the size in bytes that the heap may grow to, at least its initial size; None for as much as
            the linear memory can hold.
        growth: how it grows; None as the guest itself would: its memory doubles.  The heap ends where the memory does, so
            sizes are rounded to whole pages of 64 KiB: up for a growth, down for a limit.
        headroom: after a collection that an allocation had to wait for, grow at once if less than this share of the heap is
            free, a fraction from 0 to below 1; None as the guest itself would: a third, and none in programs of the oldest
            releases.
        gc_every: collect at every Nth allocation, too, from 1; None for only when the heap is full.
        verify: check the heap at each collection (without any, whenever it is full) and at the end, and the guest's own
            variables at each allocation.
        guard: keep a red zone behind each object, and check all that ``verify`` does (see `guard`).  Addresses are not the
            native run's then.  It is for programs of TinyGo up to 0.39 on their own collector.
        offset_blocks: begin with an object of so many blocks, and its header's, that nobody asked for, so that all others
            have other addresses; for a heap that is leaking.
        stop_at_allocation: stop the program at this allocation, counted from 1 without those of size 0, and say who made
            it; None for never.
        collector: the collector that serves, by whatever name `tinyheap.heap.Heap` takes; None for the program's own.  By
            another one addresses are not the native run's, and each allocation is served in Python, which takes longer.  It
            serves programs that have no finalizers, and do not look into the block table themselves.

    Raises:
        PolicyError: a field is of a wrong type or out of its range (numbers are whole, from 1 on), or two contradict
            each other.
    """

    leaking: bool = False
    engine: str | None = None
    clear_blocks: bool = False
    heap_limit_bytes: int | None = None
    growth: Growth | None = None
    headroom: Fraction | None = None
    gc_every: int | None = None
    verify: bool = False
    guard: bool = False
    offset_blocks: int = 0
    stop_at_allocation: int | None = None
    collector: Collector | str | None = None

    def __post_init__(self) -> None:
        for name in ("leaking", "clear_blocks", "verify", "guard"):
            if type(getattr(self, name)) is not bool:
                raise PolicyError(f"invalid {name} {getattr(self, name)!r}: expected True or False")
        for name in ("heap_limit_bytes", "gc_every", "stop_at_allocation"):
            number = getattr(self, name)
            if number is not None and not (type(number) is int and 1 <= number <= MOST):
                raise PolicyError(f"invalid {name} {number!r}: expected None or a whole number from 1 to {MOST}")
        if type(self.offset_blocks) is not int or not 0 <= self.offset_blocks <= MOST_OFFSET_BLOCKS:
            raise PolicyError(
                f"invalid offset_blocks {self.offset_blocks!r}: expected a whole number from 0 to {MOST_OFFSET_BLOCKS}"
            )
        if self.engine is not None and self.engine not in ENGINES:
            raise PolicyError(f"invalid engine {self.engine!r}: expected None, {' or '.join(ENGINES)}")
        if self.growth is not None and not callable(getattr(self.growth, "next_bytes", None)):
            raise PolicyError(f"invalid growth {self.growth!r}: expected None or an object of tinyheap.heap.growth")
        if self.headroom is not None and not _is_share(self.headroom):
            raise PolicyError(f"invalid headroom {self.headroom!r}: expected None or a Fraction from 0 to below 1")
        self._take_collector()
        self._check_leaking()

    def _take_collector(self) -> None:
        """Let the collector be one, whatever it was named by."""
        if self.collector is None:
            return
        try:
            object.__setattr__(self, "collector", named_collector(self.collector))
        except HeapError as error:
            raise PolicyError(str(error)) from error

    def _check_leaking(self) -> None:
        """Refuse what only collections do, where there are none, and what they would undo, where there are."""
        if self.offset_blocks and not self.leaking:
            raise PolicyError(
                "a collection would free the object that offset_blocks asks for; set leaking, too, or leave it out"
            )
        if self.leaking and self.gc_every is not None:
            raise PolicyError("a heap that only grows (leaking) is never collected; leave gc_every out, or leaking")
        if self.leaking and self.headroom is not None:
            raise PolicyError(
                "headroom is what a collection is to leave, and a heap that only grows (leaking) has none; leave one "
                "of them out"
            )
        if self.leaking and self.clear_blocks:
            raise PolicyError(
                "clear_blocks keeps stale words from a collection, and a heap that only grows (leaking) has none; leave "
                "one of them out"
            )

    @property
    def serves_realloc(self) -> bool:
        """Whether a guest's own ``realloc`` is to be served, too (see `tinyheap.recognize.locate.resizing`)."""
        return self.guard or self.collector is not None

    def serving(self, own: Collector) -> Collector:
        """The collector that serves a program whose own is ``own``."""
        return own if self.collector is None else named_collector(self.collector)

    @property
    def looks_at_each_allocation(self) -> bool:
        """Whether each allocation has to be looked at by itself, in Python."""
        return self.guard or self.stop_at_allocation is not None

    @property
    def limits_bytes(self) -> tuple[int, ...]:
        """The limits of the heap's size in bytes: the policy's own, and that of its growth."""
        limits = (self.heap_limit_bytes, getattr(self.growth, "limit_bytes", None))
        # A growth that makes nothing larger says 0.
        return tuple(limit for limit in limits if limit)


def _is_share(value: object) -> bool:
    return isinstance(value, Fraction) and 0 <= value < 1


NO_HEADROOM: Final = "none"


def parse_headroom(text: str) -> Fraction:
    """The headroom that a text names: ``none``, or a share such as ``1/3``.

    Raises:
        PolicyError: It names none.
    """
    share = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if text == NO_HEADROOM:
        return Fraction(0)
    if share is None or not int(share[1]) < int(share[2]):
        raise PolicyError(f"invalid headroom {text!r}: expected none, or N/M with N below M")
    return Fraction(int(share[1]), int(share[2]))


def headroom_text(headroom: Fraction) -> str:
    """What `parse_headroom` reads."""
    return f"{headroom.numerator}/{headroom.denominator}" if headroom else NO_HEADROOM
