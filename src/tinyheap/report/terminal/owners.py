"""Who an address belonged to, for a terminal: each object with its birth, its death and the stacks of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tinyheap.profile import Owner, Owners, StackFrame
from tinyheap.recordings.observed import Lives
from tinyheap.report.quantities import size_text, time_text
from tinyheap.report.text import printable
from tinyheap.units import counted

FRAMES_SHOWN: Final = 8
_NOT_SEEN: Final = {
    Lives.EXACT: "lives at the end",
    Lives.AT_MOST: "not seen to be dead",
    Lives.UNKNOWN: "when it died is unknown",
}


@dataclass(frozen=True, slots=True)
class OwnersCard:
    """A renderable: the objects that an address belonged to, a paragraph each."""

    found: Owners

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """How many there were, and the last of them."""
        found = self.found
        if found.sample_bytes is not None:
            yield Text("a sample was recorded: objects that it does not have may have been there, too", "dim")
        if found.last_part is not None:
            begun = time_text(found.last_part.begun_ns)
            yield Text(
                f"the run was kept from {begun} on: objects that had died before may have been there, too", "dim"
            )
        if not found.count:
            yield Text(f"no object that was recorded had the byte at {found.address:#x}", "dim")
            return
        objects = counted(found.count) + (", one after another" if found.count > 1 else "")
        yield Text(f"{found.address:#x} belonged to {objects}", "bold")
        if found.count > len(found.owners):
            yield Text(f"these are the last {len(found.owners):,}", "dim")
        for owner in found.owners:
            yield Text()
            yield from self._paragraph(owner)

    def _paragraph(self, owner: Owner) -> Iterator[Text]:
        each = owner.object
        offset = f", which begins {owner.offset_bytes:,} bytes before" if owner.offset_bytes else ""
        yield Text(f"object {each.object_id:,}: {size_text(each.size_bytes)} at {each.address:#x}{offset}")
        yield Text(f"  allocated after {time_text(each.birth_ns)} by")
        yield from _frames(each.stack)
        yield Text(f"  {self._end(owner)}")
        if owner.ended in ("free", "reuse"):
            yield from _frames(owner.end_stack)

    def _end(self, owner: Owner) -> str:
        """What became of an object; a stack may follow."""
        each = owner.object
        if owner.ended is None or each.death_ns is None:
            return _NOT_SEEN[self.found.lives]
        after = time_text(each.death_ns)
        if owner.ended == "collection":
            return f"freed by collection {each.death_collection:,}, after {after}"
        if owner.ended == "free":
            return f"freed after {after} by"
        return f"dead by {after}, when its bytes were handed out again to"


def _frames(stack: tuple[StackFrame, ...]) -> Iterator[Text]:
    """The calls of a stack, innermost first."""
    if not stack:
        yield Text("    [no stack]", "dim")
    for frame in reversed(stack[-FRAMES_SHOWN:]):
        inlined = " [inlined]" if frame.is_inlined else ""
        yield Text(f"    {printable(frame.name)}{inlined}", "dim", no_wrap=True, overflow="ellipsis")
    if len(stack) > FRAMES_SHOWN:
        yield Text(f"    and {len(stack) - FRAMES_SHOWN:,} more", "dim")
