"""Tables for people, in a terminal or in a file."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

FILE_WIDTH: Final = 240
"""Of a table where no terminal says another one."""


def show(table: Table) -> None:
    """Writes a table to stdout."""
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table)
