"""A budget made from a run: what it took, with a margin, as a file to be edited."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tinyheap.budgets.budget import AFTER
from tinyheap.budgets.measuring import Measurement, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.recordings.recording import Recording

MARGIN: Final = Fraction(1, 10)


def budget_of(recording: Recording, margin: Fraction = MARGIN, *, after: int = 0) -> str:
    """A budget within which a recorded run is, as the text of a file in TOML.

    Durations differ from run to run, and from machine to machine: they stand there as comments.  What is not known is a
    comment, too, which says why.

    Args:
        recording: Of the run.
        margin: What is allowed on top of each quantity, as a share of it, from 0.
        after: How many calls of the host come before those that garbage and growth per call are of, 0 or more.

    Raises:
        RecordingCorruptError: The recording contradicts itself.
    """
    head = f"# What a run of {recording.run.module!r} took, and {float(100 * margin):g} % more."
    warm_up = [f"{AFTER} = {after}"] if after else []
    lines = (line for each in measure(recording, after=after) for line in _lines(each, margin))
    return "\n".join([head, *warm_up, *lines, ""])


def _lines(measurement: Measurement, margin: Fraction) -> Iterator[str]:
    quantity, value = measurement.quantity, measurement.value
    if value is None:
        yield f"# {quantity}: {measurement.unknown}"
        return
    line = f"{quantity} = {quantity.unit.written(float(Fraction(value) * (1 + margin)))}"
    yield f"# {line}  # durations differ from run to run" if quantity.is_duration else line
