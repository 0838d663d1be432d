"""`tinyheap live`: runs a WebAssembly program as `tinyheap run` does, and shows its heap while it runs.

The screen is on standard error.  What the program writes to the same terminal is kept, and shown when it has ended, so
that the two do not mix; what it writes elsewhere goes there at once.  Where standard error is not a terminal, a line
is printed now and then.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click
from rich.live import Live

from tinyheap.cli.parameters import NEW_RECORDING, Input, OutputTarget, RecordingOutput, takes_recorded, takes_sample
from tinyheap.cli.run import CommandRun, RunCommand, takes_run_parameters
from tinyheap.guests.record.recorder import Recorder
from tinyheap.guests.record.running_recorder import Sink
from tinyheap.recordings.writer import RecordingWriter
from tinyheap.report.consoles import result_console
from tinyheap.report.live.screen import LiveScreen, line
from tinyheap.report.live.statistics import LiveStatistics

if TYPE_CHECKING:
    from tinyheap.recordings.batch import Batch
    from tinyheap.recordings.last import Last
    from tinyheap.recordings.row_types import FrameRow, RunRow

REFRESHES_PER_S: Final = 4
LINE_EVERY_S: Final = 2.0


@click.command(
    cls=RunCommand,
    short_help="Run a WebAssembly program and watch its heap.",
    context_settings={"ignore_unknown_options": True},
    epilog="Exit codes are those of `tinyheap run`.",
)
@takes_run_parameters
@click.option("-o", "--output", type=NEW_RECORDING, help="Record the run in this file, too.")
@click.option("-f", "--force", is_flag=True, help="Replace a recording that is there already.")
@takes_sample
@takes_recorded
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    words: tuple[str, ...],
    invoke: str | None,
    output: RecordingOutput | None,
    force: bool,
    sample: int | None,
    sample_seed: int,
    last: Last | None,
    call_arguments: bool,
    **options: Any,  # noqa: ANN401 - a run's
) -> None:
    """Run MODULE as `tinyheap run` does, and watch its heap: what is used, live and free, who allocates, when it collects.

    The words after `--` are the program's arguments.  What it prints on this terminal is shown when it has ended.
    What then is still alive, and why, `tinyheap inspect` tells of the file that --snapshot writes.
    """
    if output is None and (last is not None or call_arguments):
        name = "--call-arguments" if last is None else "--last"
        raise click.UsageError(f"{name} is for a recording: name its file by --output")
    watched = Watched(None if output is None else output.path, overwrite=force, last=last)
    with contextlib.ExitStack() as shown:
        if sys.stderr.isatty():
            shown.enter_context(on_screen(watched))
        recorder = Recorder(
            watched.begin,
            full_paths=options["full_paths"],
            sample_bytes=sample,
            sample_seed=sample_seed,
            call_arguments=call_arguments,
        )
        run = CommandRun.from_command_line(module, words, invoke, ctx.obj, options, recorder)
        run.execute()
    run.report_as(options)
    if not options["no_summary"] and run.program is not None:
        click.echo(_leading_on(module, options["snapshot_file"]), err=True)
    ctx.exit(run.exit_code)


def _leading_on(module: Input, snapshot: OutputTarget | None) -> str:
    """The command that goes on from what has been watched to the heap itself."""
    question = "what is still alive, and why"
    if module.is_stream or (snapshot is not None and snapshot.is_stream):
        return f"{question}: `--snapshot FILE`, then `tinyheap inspect FILE`"
    if snapshot is None:
        return f"{question}: `--snapshot FILE`, then `{_command('FILE', module)}`"
    return f"{question}: `{_command(shlex.quote(str(snapshot)), module)}`"


def _command(snapshot: str, module: Input) -> str:
    return f"tinyheap inspect {snapshot} --module {shlex.quote(str(module))}"


class Watched:
    """Takes a recording's batches: adds them up, and hands them on where they are to be kept.

    Args:
        output: The recording's file, if there is to be one.
        overwrite: Whether it may replace another.
        last: How much of the run's end it keeps; None for all of the run.
    """

    def __init__(self, output: Path | None, *, overwrite: bool, last: Last | None = None) -> None:
        self.statistics: LiveStatistics | None = None
        """None until the program is there."""
        self.is_on_screen = False
        self._output, self._overwrite, self._last = output, overwrite, last
        self._writer: RecordingWriter | None = None
        self._said_s = time.monotonic()

    def begin(self, run: RunRow, frames: Sequence[FrameRow]) -> Sink:
        """The program is there, and will run now.

        Raises:
            RecordingWriteError: It cannot be recorded there.
        """
        if self._output is not None:
            self._writer = RecordingWriter.create(self._output, run, frames, overwrite=self._overwrite, last=self._last)
        self.statistics = LiveStatistics(run, frames)
        return self

    def append(self, batch: Batch) -> None:
        """Take what has happened since the last time.

        Raises:
            RecordingWriteError: It cannot be written.
        """
        assert self.statistics is not None, "batches come after the beginning"
        self.statistics.take(batch)
        if self._writer is not None:
            self._writer.append(batch)
        if not self.is_on_screen and time.monotonic() - self._said_s >= LINE_EVERY_S:
            self._said_s = time.monotonic()
            click.echo(line(self.statistics.view(0)), err=True)

    def finish(self, state: str, *, error: str | None = None, exit_code: int | None = None, time_ns: int) -> None:
        """Take how the run ended.

        Raises:
            RecordingWriteError: It cannot be written.
        """
        assert self.statistics is not None, "the end comes after the beginning"
        self.statistics.end(state, time_ns)
        if self._writer is not None:
            self._writer.finish(state, error=error, exit_code=exit_code, time_ns=time_ns)


@contextlib.contextmanager
def on_screen(watched: Watched) -> Iterator[None]:
    """While inside, the terminal shows the statistics; behind that, what was printed meanwhile."""
    console = result_console(stderr=True)
    live = Live(
        LiveScreen(lambda: watched.statistics),
        console=console,
        refresh_per_second=REFRESHES_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    watched.is_on_screen = True
    with contextlib.ExitStack() as printed:
        for stream, redirect in ((sys.stdout, contextlib.redirect_stdout), (sys.stderr, contextlib.redirect_stderr)):
            if stream.isatty():
                printed.enter_context(redirect(printed.enter_context(kept(stream))))
        printed.enter_context(live)
        yield


@contextlib.contextmanager
def kept(stream: TextIO) -> Iterator[TextIO]:
    """A stream whose bytes go to `stream` at the end."""
    with tempfile.TemporaryFile() as file:
        stand_in = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
        try:
            yield stand_in
        finally:
            stand_in.flush()
            file.seek(0)
            shutil.copyfileobj(file, stream.buffer)
            stream.flush()
            stand_in.detach()
