"""What a recorded run says at its end: how much there is, who allocated most, and what is striking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinyheap.files import text_of
from tinyheap.hosts.frames import folded
from tinyheap.profile.heaviest import heaviest
from tinyheap.profile.memory import last_fragmentation
from tinyheap.recordings.recording import Recording
from tinyheap.report.quantities import share_text, size_text, time_text
from tinyheap.report.text import printable
from tinyheap.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinyheap.profile.stacks import StackFrame

SITES_SHOWN: Final = 5
DEEP: Final = 32
"""So many levels of a recursion are worth a line."""


def summary(path: Path) -> Iterator[str]:
    """What was recorded, who allocated most, what is striking, and what to do next."""
    with Recording.open(path) as recording:
        yield _recorded(recording)
        yield from findings(recording)
    yield f"see more: tinyheap report {text_of(path)}"


def findings(recording: Recording) -> Iterator[str]:
    """Who allocated most, and what of it is kept; a deep recursion; and for what a fragmented heap grew."""
    observed, found = recording.run.observed, heaviest(recording, SITES_SHOWN)
    shown, total_bytes = found.sites, found.total_bytes
    if shown:
        cut = "" if observed.cut is None else " in the last part, or before and lived then"
        yield f"allocated most{cut}{'' if observed.sampled is None else ', estimated from a sample'}:"
    width = max((len(printable(usage.name)) for usage in shown), default=0)
    for usage in shown:
        share = share_text(usage.own_bytes, total_bytes)
        name = f"{printable(usage.name):{width}}"
        error = "" if usage.own_bytes_error is None else f" +- {size_text(round(usage.own_bytes_error)):>8}"
        yield f"  {name}  {size_text(usage.own_bytes):>9}{error}  {share:>4}  {counted(usage.own_objects)}"
    yield from (f"{printable(usage.name)}: {usage.trend.explanation}" for usage in shown if usage.trend.is_telling)
    yield from _recursion(found.deepest)
    fragmentation = last_fragmentation(recording)
    if fragmentation is not None:
        from tinyheap.report.terminal.memory import fragmentation_line

        yield fragmentation_line(fragmentation)


def _recursion(deepest: Sequence[StackFrame]) -> Iterator[str]:
    """The recursion in the deepest call stack at an allocation; nothing where there is none to speak of."""
    folds = folded([frame.function for frame in reversed(deepest)])
    most = max(folds, key=lambda fold: fold.times, default=None)
    if most is not None and most.times >= DEEP:
        yield f"deepest recursion: {printable(str(most))}, {len(deepest):,} calls in all"


def recorded(path: Path) -> str:
    """How much was recorded."""
    with Recording.open(path) as recording:
        return _recorded(recording)


def _recorded(recording: Recording) -> str:
    path, events, sample_bytes = recording.path, recording.run.events, recording.run.sample_bytes
    part = recording.run.last_part
    kept = "" if part is None else f", the last from {time_text(part.begun_ns)} on,"
    sampled = "" if sample_bytes is None else f", sampled every {size_text(sample_bytes)},"
    return f"recorded {events:,} events{sampled}{kept} in {text_of(path)} ({size_text(path.stat().st_size)})"
