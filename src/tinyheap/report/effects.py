"""Samples, and what an option does in them, in words for terminals and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.lab.conditions import DIMENSIONS
from tinyheap.report.quantities import size_text

if TYPE_CHECKING:
    from tinyheap.lab.effects import Effect
    from tinyheap.lab.sweeping import Sweep


def sample_text(sweep: Sweep) -> str | None:
    """Of what the conditions are a sample, and how many are there yet of one that was interrupted; None of no sample."""
    if sweep.sample is None:
        return None
    wanted, there = sweep.sample.size * sweep.sample.programs, len(sweep.outcomes)
    return str(sweep.sample) if there >= wanted else f"{sweep.sample}; {there:,} of {wanted:,} runs are there yet"


def values_text(effect: Effect) -> str:
    """The values of an option that are put together; sizes with their units."""
    first, last = (
        size_text(int(value)) if DIMENSIONS[effect.option].is_size and value.isdecimal() else value
        for value in (effect.values[0], effect.values[-1])
    )
    return first if len(effect.values) == 1 else f"{first} to {last}"
