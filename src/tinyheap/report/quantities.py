"""Numbers as short text: sizes, times, shares.  ASCII only, so that every terminal can show them."""

from __future__ import annotations

from typing import Final

from tinyheap.units import GIB, KIB, MIB, WASM_PAGE_BYTES, counted

SIZE_UNITS: Final = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
TIME_UNITS: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "us"))

COUNT_UNITS: Final = ((10**9, "G"), (10**6, "M"), (10**3, "K"))
COUNT_FROM: Final = 10_000
"""Smaller counts are written out."""


def size_text(size_bytes: int) -> str:
    """`64 KiB`, `1.5 MiB`, `512 B`."""
    return _scaled(size_bytes, SIZE_UNITS, "B")


def time_text(time_ns: int) -> str:
    """`3.2 ms`, `812 ns`."""
    return _scaled(time_ns, TIME_UNITS, "ns")


def count_text(count: int) -> str:
    """`1,234`, `64 K`, `1.5 M`: short enough for a column."""
    return f"{count:,}" if count < COUNT_FROM else _scaled(count, COUNT_UNITS, "").rstrip()


def share_text(part: int, whole: int) -> str:
    """`19%`; `-` where the whole is nothing."""
    return f"{100 * part / whole:.0f}%" if whole else "-"


def pages_text(pages: int) -> str:
    """`1 page (64 KiB)`."""
    return f"{counted(pages, 'page')} ({size_text(pages * WASM_PAGE_BYTES)})"


def maximum_text(pages: int | None) -> str:
    """What a module allows of its memory, in words."""
    return "the module sets no maximum" if pages is None else f"at most {pages_text(pages)}"


def _scaled(value: int, units: tuple[tuple[int, str], ...], base_unit: str) -> str:
    for scale, unit in units:
        if value >= scale:
            # Three digits, as far as they say anything.
            scaled = value / scale
            digits = 0 if scaled >= 100 or value % scale == 0 else 1 if scaled >= 10 else 2
            return f"{scaled:,.{digits}f} {unit}"
    return f"{value} {base_unit}"
