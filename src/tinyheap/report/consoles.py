"""Where results are printed: consoles that fit a terminal, and are as wide as the rows where there is none.

The one place that makes them, so that every command's tables look alike, and none is cut or padded for a width that a
pipe or a file does not have.
"""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from typing import IO, TYPE_CHECKING, Any, Final, cast

from rich.console import Console

if TYPE_CHECKING:
    from typing import TextIO

PIPE_COLUMNS: Final = 10_000
"""Room for every row where there is no terminal; charts have widths of their own."""

_BLANKS: Final = re.compile(" +$", re.MULTILINE)


def result_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error, that prints text as it is: nothing in it is markup.

    It is as wide as the terminal, or as ``COLUMNS`` says; elsewhere as wide as what is printed, without blanks at the
    ends of lines.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream.isatty()
    return Console(
        file=stream if is_terminal else cast("IO[str]", _Trimmed(stream)),
        width=None if is_terminal or os.environ.get("COLUMNS") else PIPE_COLUMNS,
        highlight=False,
        markup=False,
        emoji=False,
    )


def text_rows(*renderables: object, columns: int) -> str:
    """What a console of that width would show, as plain text, without blanks at the ends of lines."""
    text = StringIO()
    console = Console(file=text, width=columns, no_color=True, highlight=False, markup=False, emoji=False)
    for each in renderables:
        console.print(each)
    return _BLANKS.sub("", text.getvalue())


class _Trimmed:
    """A stream whose lines do not end in blanks; in all else it is the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write whole lines."""
        return self._stream.write(_BLANKS.sub("", text))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a stream has
        return getattr(self._stream, name)
