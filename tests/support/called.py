"""Recordings of programs that are called again and again."""

from __future__ import annotations

from small_recordings import Birth, Rows
from tinyheap.recordings.row_types import CallRow


def requests(calls: int = 60, *, leak_from: int | None = None, is_lent: bool = False, collect_every: int = 2) -> Rows:
    """A server: 100 bytes of garbage a call, a table of 4,000, and from some call on 128 bytes that stay."""
    rows = Rows()
    garbage, kept = rows.path("handle", "main.parse"), rows.path("handle", "main.alloc")
    rows.allocate(4000, rows.path("_start", "main.main"))
    dead: list[Birth] = []
    for number in range(1, calls + 1):
        first, begun_ns = rows.events + 1, rows.time_ns + 1
        dead.append(rows.allocate(100, garbage))
        stays = leak_from is not None and number >= leak_from
        made_id = rows.allocate(128, kept).object_id if stays else 0
        result = made_id if is_lent else 0
        export = "main.alloc" if is_lent else "handle"
        rows.calls.append(
            CallRow(number, export, 1, begun_ns, rows.time_ns, first, rows.events, None, None, True, 0, result)
        )
        if number % collect_every == 0:
            rows.collect(*dead)
            dead = []
    return rows
