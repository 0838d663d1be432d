"""A progress bar for work that takes a while, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(console: Console, name: str, total: int | None) -> Iterator[Callable[[int], None] | None]:
    """A function that is told how much is done, of `total` where that is known; None where the console is not a terminal.

    The bar appears when the function is first called and is gone afterwards.
    """
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(name, total=total)
    with ExitStack() as shown:

        def tell(done: int) -> None:
            if not progress.live.is_started:
                shown.enter_context(progress)
            progress.update(task, completed=done)

        yield tell
