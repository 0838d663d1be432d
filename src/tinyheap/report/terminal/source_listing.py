"""Source files with what is allocated on each line: as much as fits around the lines that allocate most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tinyheap.report.quantities import count_text, size_text
from tinyheap.report.text import printable

if TYPE_CHECKING:
    from tinyheap.profile import LineUsage, UsageTable
    from tinyheap.report.sources import Sources

AROUND: Final = 2
"""Lines shown before and behind one that allocates."""
_TAB: Final = "    "


@dataclass(frozen=True, slots=True)
class SourceListing:
    """A renderable: the lines that allocate most, in their files."""

    usages: UsageTable[LineUsage]
    sources: Sources
    most: int
    """Lines that allocate, at most."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """File by file, the one that allocates most first."""
        owning = [usage for usage in self.usages if usage.own_objects]
        if not owning:
            yield Text("the recording has no source lines: the module has no debug information", "dim")
            return
        files: dict[str, dict[int, LineUsage]] = {}
        for usage in owning[: self.most]:
            files.setdefault(usage.file, {})[usage.line] = usage
        yield Text(f"{'allocated':>9} {'objects':>9} {'line':>5}", "dim")
        missing = [file for file in files if self.sources.lines(file) is None]
        for file, usages in files.items():
            yield from self._file(file, usages, options)
        if missing:
            yield Text(f"not in the folders of --source: {', '.join(map(printable, missing))}", "dim")

    def _file(self, file: str, usages: dict[int, LineUsage], options: ConsoleOptions) -> Iterator[Text]:
        lines = self.sources.lines(file)
        if lines is None:
            return
        yield Text(printable(file), "bold")
        last = 0
        for number in sorted({near for line in usages for near in range(line - AROUND, line + AROUND + 1)}):
            if 0 < number <= len(lines):
                if last and number > last + 1:
                    yield Text(f"{'':25}   ...", "dim")
                yield _line(number, lines[number - 1], usages.get(number), options.max_width)
                last = number
        if last < max(usages):
            yield Text("the file is shorter than when the program was compiled", "yellow")


def _line(number: int, text: str, usage: LineUsage | None, width: int) -> Text:
    """A line of a file: bytes and objects of its own, its number, its text."""
    numbers = "" if usage is None else f"{size_text(usage.own_bytes):>9} {count_text(usage.own_objects):>9}"
    shown = printable(text.replace("\t", _TAB))
    line = Text.assemble(f"{numbers:19} {number:5}  ", (shown, "" if usage else "dim"), no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line
