"""`tinyheap fit`: the smallest heap and the smallest memory in which a program passes, or a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from tinyheap.cli.parameters import COUNT, Input, InputFile
from tinyheap.cli.subject import SubjectCommand, conditions_of, subject_of, takes_subject
from tinyheap.heap.contract import Gc
from tinyheap.json_of import json_of
from tinyheap.lab.fitting import SCAN_BLOCKS, SCAN_PAGES, Fit, Limit, fit, fit_trace
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.lab_tables import FitTable
from tinyheap.traces.trace import begins_as_trace, unpacked

MODULE: Final = click.argument(
    "module", type=InputFile("each run reads the module again; name a file"), metavar="MODULE|TRACE"
)


@click.command(
    cls=SubjectCommand,
    short_help="Find the smallest heap in which a program passes.",
    context_settings={"ignore_unknown_options": True},
)
@takes_subject(MODULE)
@click.option(
    "--scan",
    type=COUNT,
    metavar="N",
    help=f"Search on around the edge until N sizes in a row have the same answer: by default {SCAN_PAGES} pages of a module, "
    f"{SCAN_BLOCKS} blocks of a trace.",
)
@click.option("--precise", is_flag=True, help="Let the collector follow the layouts of a TRACE, instead of every word.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def command(ctx: click.Context, /, module: Input, *, scan: int | None, precise: bool, as_json: bool, **_: Any) -> None:  # noqa: ANN401
    """Find the smallest --heap-limit and --memory-limit with which MODULE comes to its end with exit code 0.

    It is run again and again, under each combination of what --vary names, in whole pages of 64 KiB.  Of a TRACE it is the
    smallest heap in blocks that never grows, on each collector.  Where a smaller heap passes and a larger one does not, the
    table says so.
    """
    content = module.read()
    if begins_as_trace(content):
        found = _fit_trace(ctx, content, scan or SCAN_BLOCKS, precise=precise)
    elif precise:
        raise click.UsageError("--precise is for traces; a module marks as it was compiled to")
    else:
        limits = [
            limit for limit in (Limit.HEAP, Limit.MEMORY) if limit not in (name for name, _ in ctx.params["vary"])
        ]
        found = fit(subject_of(ctx), conditions_of(ctx), limits, scan=scan or SCAN_PAGES)
    show(str(module), found, as_json=as_json)


def _fit_trace(ctx: click.Context, content: bytes, scan: int, *, precise: bool) -> tuple[Fit, ...]:
    subject = subject_of(ctx)
    if subject.options or subject.arguments or ctx.params["vary"]:
        raise click.UsageError(
            "a trace is replayed, not run: leave out what is for runs (options of `run`, --vary, arguments)"
        )
    return fit_trace(unpacked(content), gc=Gc.PRECISE if precise else Gc.CONSERVATIVE, scan=scan)


def show(module: str, found: Sequence[Fit], *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        click.echo(json.dumps({"module": module, "fits": json_of(tuple(found))}))
    else:
        result_console().print(FitTable(found))
