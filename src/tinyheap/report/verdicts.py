"""Whether the heap grows with the calls of the host, in the sentence that a user would repeat."""

from __future__ import annotations

from typing import Final

from tinyheap.profile import CallTrend, Unknown
from tinyheap.report.quantities import size_text

TURNOVERS: Final = (
    "collections were not seen, so this is what was not handed out again while as much was as lived: garbage that fits nobody"
    " looks like that, too"
)
"""What growth means where deaths were inferred."""


def verdict(trend: CallTrend | Unknown) -> str:
    """Flat, grows, or why one cannot tell; names of functions in it may hold anything."""
    if isinstance(trend, Unknown):
        return f"whether it grows is {trend}"
    if not trend.can_tell:
        return _too_few(trend)
    said = _grows(trend) if trend.growing else _flat(trend)
    return f"{said}; {TURNOVERS}" if trend.are_turnovers and trend.growing else said


def _too_few(trend: CallTrend) -> str:
    step = "in which the heap was turned over" if trend.are_turnovers else "followed by a collection"
    few = (
        f"too few to tell whether it grows: {trend.calls:,} calls, {trend.collections:,} of them {step};"
        f" it takes {trend.needed_collections}"
    )
    return few if trend.enough_at is None else f"{few}: `tinyheap profile --gc-every {trend.enough_at}` makes enough"


def _flat(trend: CallTrend) -> str:
    least, most = trend.least_live_bytes or 0, trend.most_live_bytes or 0
    live = "constant" if least == most else f"between {size_text(least)} and {size_text(most)}"
    what = "what outlives a turnover" if trend.are_turnovers else "live size"
    garbage = size_text(round(trend.garbage_bytes or 0))
    return f"flat: {garbage} of garbage a call, {what} {live} since call {trend.since_call:,}"


def _grows(trend: CallTrend) -> str:
    functions: dict[str, float] = {}
    for each in trend.growing:
        functions[each.site.function] = functions.get(each.site.function, 0) + each.slope_bytes
    place = max(functions, key=lambda name: functions[name])
    is_all = len(functions) == 1
    where = f"all of it allocated in {place}" if is_all else f"most of it, {_per_call(functions[place])}, in {place}"
    said = f"grows: {_per_call(trend.slope_bytes)} since call {trend.since_call:,}, {where}"
    sites = [each for each in trend.growing if each.site.function == place]
    if 2 * sum(each.lent_bytes for each in sites) < sum(each.live_bytes for each in sites):
        return said
    frees = "no call of free or dealloc" if not trend.frees else f"{trend.frees:,} calls of free or dealloc"
    return f"{said}, lent to the host and never freed by it ({frees})"


def _per_call(size_bytes: float) -> str:
    return f"{size_text(round(size_bytes))} a call" if size_bytes >= 1 else f"{size_bytes:.2f} bytes a call"
