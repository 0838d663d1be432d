"""`tinyheap report`: shows what a recording says, compares two, and writes it in the formats of other tools.

The report goes to standard output, as text or as JSON.  Where it is written to a file instead, nothing is printed but
the names of the files that were written, on standard error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from tinyheap.cli.exporting import export_options
from tinyheap.cli.parameters import OUTPUT, RECORDING, Command, Input, OutputTarget
from tinyheap.files import is_folder, text_of
from tinyheap.profile import Measure
from tinyheap.recordings.recording import Recording
from tinyheap.report.consoles import result_console
from tinyheap.report.exports.formats import FORMATS, export
from tinyheap.report.exports.report_json import comparison_json, report_json
from tinyheap.report.sources import Sources
from tinyheap.report.terminal.recording_report import comparison, report

TOP: Final = 15
TOP_LIMIT: Final = 100_000


class SourceType(click.ParamType[Path]):
    """A folder of source files."""

    name = "folder"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder; a usage error where there is none."""
        if not is_folder(Path(value)):
            self.fail(f"invalid folder {text_of(value)!r}: there is no such folder", param, ctx)
        return Path(value)


@click.command(cls=Command)
@click.argument("file", type=RECORDING)
@click.option("--against", type=RECORDING, help="Compare FILE with this earlier recording.")
@click.option(
    "--measure",
    type=click.Choice([measure.value for measure in Measure]),
    default=Measure.ALLOCATED_BYTES.value,
    show_default=True,
    metavar="WHAT-UNIT",
    help="Weigh call stacks by WHAT (allocated, live-at-peak, live-at-end, or dead-young: freed by the first collection after "
    "their allocation) in UNIT (bytes or objects).",
)
@click.option(
    "--top",
    type=click.IntRange(1, TOP_LIMIT),
    metavar="N",
    default=TOP,
    show_default=True,
    help="Show at most N lines of call stacks and N allocation sites.",
)
@click.option(
    "--source",
    "folders",
    type=SourceType(),
    multiple=True,
    metavar="DIR",
    help="Show source files of DIR (the program's, or the folder of Go or TinyGo) with what each line allocates; may be "
    "repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as one JSON object.")
@click.option("--html", type=OUTPUT, help="Write the report as one HTML page to this file.")
@export_options(FORMATS, "the recording")
def command(
    file: Input,
    against: Input | None,
    measure: str,
    top: int,
    folders: tuple[Path, ...],
    as_json: bool,
    html: OutputTarget | None,
    exports: Sequence[tuple[str, OutputTarget]],
) -> None:
    """Show what the recording FILE says of a heap: who allocated what, when, and what became of it."""
    if against and (html or exports):
        raise click.UsageError(
            "--against excludes --html and --export: a comparison is only printed; leave one of them out"
        )
    if as_json and any(output.is_stream for output in (html, *(output for _, output in exports)) if output):
        raise click.UsageError("--json is printed on standard output: name a file for --html and --export")
    with ExitStack() as stack:
        recording = stack.enter_context(Recording.open(file.path))
        if against:
            _compare(stack.enter_context(Recording.open(against.path)), recording, as_json=as_json)
            return
        sources = Sources(folders)
        _write(recording, Measure(measure), html, exports, sources)
        if as_json:
            click.echo(json.dumps(report_json(recording)))
        elif not html and not exports:
            console = result_console()
            for each in report(recording, Measure(measure), top, sources):
                console.print(each)


def _compare(before: Recording, after: Recording, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(comparison_json(before, after)))
    else:
        console = result_console()
        for each in comparison(before, after):
            console.print(each)


def _write(
    recording: Recording,
    measure: Measure,
    html: OutputTarget | None,
    exports: Sequence[tuple[str, OutputTarget]],
    sources: Sources,
) -> None:
    """Write every file that was asked for."""
    if html:
        from tinyheap.report.html.page import page

        html.write(page(recording, sources).encode("utf-8"))
        click.echo(f"wrote {html}", err=True)
    for format_name, output in exports:
        content = FORMATS[format_name].content
        if content is None:
            export(recording, format_name, output.path, measure)
        else:
            output.write(content(recording, measure))
        click.echo(f"wrote {output}", err=True)
