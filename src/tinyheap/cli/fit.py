"""`tinyheap fit`: the smallest heap and the smallest memory in which a program passes, or a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import click

from tinyheap.cli.parameters import COUNT, OUTPUT, Input, InputFile, OutputTarget
from tinyheap.cli.subject import SubjectCommand, conditions_of, subject_of, takes_subject
from tinyheap.errors import LabError, WasmError
from tinyheap.heap.contract import Gc
from tinyheap.json_of import json_of
from tinyheap.lab.devices import DEVICES, Device, DeviceFit, device_named, fit_device, fit_trace_device
from tinyheap.lab.fitting import SCAN_BLOCKS, SCAN_PAGES, Fit, Limit, fit, fit_trace
from tinyheap.lab.running import Subject
from tinyheap.lab.starts import Start, better_starts, start_of
from tinyheap.report.consoles import result_console
from tinyheap.report.quantities import size_text
from tinyheap.report.terminal.lab_tables import DeviceTable, FitTable
from tinyheap.traces.trace import begins_as_trace, unpacked
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm.module import Module


class DeviceType(click.ParamType[Device]):
    """A board by its name, or a size of RAM."""

    name = "device"

    def convert(self, value: str | Device, param: click.Parameter | None, ctx: click.Context | None) -> Device:
        """The device; a usage error where the text names none."""
        if isinstance(value, Device):
            return value
        try:
            return device_named(value)
        except LabError as error:
            self.fail(str(error), param, ctx)


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
@click.option(
    "--device",
    type=DeviceType(),
    metavar="NAME|SIZE",
    help="Say only whether it passes in the RAM of this board, which may be any size of RAM: "
    f"{', '.join(device.name for device in DEVICES)}.",
)
@click.option(
    "--html",
    type=OUTPUT,
    help="Write a page with pictures to this file: survival by size, each edge in detail, growth under the limit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    *,
    scan: int | None,
    precise: bool,
    device: Device | None,
    html: OutputTarget | None,
    as_json: bool,
    **_: Any,  # noqa: ANN401 - a subject's
) -> None:
    """Find the smallest --heap-limit and --memory-limit with which MODULE comes to its end with exit code 0.

    It is run again and again, under each combination of what --vary names, in whole pages of 64 KiB.  Of a TRACE it is the
    smallest heap in blocks that never grows, on each collector.  Where a smaller heap passes and a larger one does not, the
    table says so.  With --memory-limit it also says which initial memory would end closer to that limit, since memory doubles.
    """
    if device is not None and scan is not None:
        raise click.UsageError("--device and --scan exclude each other: on a device one size is tried")
    if device is not None and html is not None:
        raise click.UsageError("--device and --html exclude each other: on a device one size is tried")
    if as_json and html is not None and html.is_stream:
        raise click.UsageError("--json is printed on standard output: name a file for --html")
    varied = [name for name, _ in ctx.params["vary"]]
    for name, given in (("memory-limit", ctx.params["memory_limit"]), ("growth", ctx.params["growth"])):
        if device is not None and (given is not None or name in varied):
            raise click.UsageError(f"--device and --{name} exclude each other: leave one of them out")
    content = module.read()
    if begins_as_trace(content):
        _check_trace(ctx)
        trace, gc = unpacked(content), Gc.PRECISE if precise else Gc.CONSERVATIVE
        if device is None:
            found = fit_trace(trace, gc=gc, scan=scan or SCAN_BLOCKS)
            _show(module, found, (), subject_of(ctx), html, as_json=as_json)
        else:
            show_device(module, fit_trace_device(trace, device, gc=gc), as_json=as_json)
    elif precise:
        raise click.UsageError("--precise is for traces; a module marks as it was compiled to")
    elif device is not None:
        show_device(module, fit_device(subject_of(ctx), device, conditions_of(ctx)), as_json=as_json)
    else:
        limits = [limit for limit in (Limit.HEAP, Limit.MEMORY) if limit not in varied]
        starts = _starts(ctx, content, varied)
        try:
            found = fit(subject_of(ctx), conditions_of(ctx), limits, scan=scan or SCAN_PAGES)
        except LabError as error:
            raise LabError(f"{error}{_further(starts)}") from error
        _show(module, found, starts, subject_of(ctx), html, as_json=as_json)


def _check_trace(ctx: click.Context) -> None:
    subject = subject_of(ctx)
    if subject.options or subject.arguments or ctx.params["vary"]:
        raise click.UsageError(
            "a trace is replayed, not run: leave out what is for runs (options of `run`, --vary, arguments)"
        )


def _starts(ctx: click.Context, content: bytes, varied: Sequence[str]) -> tuple[Start, ...]:
    """How far the initial memory gets under the limit that was given, and which would get further."""
    limit_bytes, growth = ctx.params["memory_limit"], ctx.params["growth"]
    if limit_bytes is None or growth is not None or {"growth", "memory-limit", "initial-memory"} & {*varied}:
        return ()
    begun_pages = -(-(ctx.params["initial_memory"] or 0) // WASM_PAGE_BYTES)
    with suppress(WasmError):  # a component
        memories, limit_pages = Module.parse(content).memories, limit_bytes // WASM_PAGE_BYTES
        if memories and 1 <= (pages := max(memories[0].type.limits.minimum, begun_pages)) <= limit_pages:
            return (start_of(pages, limit_pages), *better_starts(pages, limit_pages))
    return ()


def _further(starts: Sequence[Start]) -> str:
    """What else to try where a program does not pass under its memory limit."""
    if len(starts) < 2:
        return ""
    begins, ends = (size_text(pages * WASM_PAGE_BYTES) for pages in (starts[-1].pages, starts[-1].most_pages))
    return f"; where memory doubles, an initial memory of {begins} (--initial-memory) would end at {ends}"


def _show(
    module: Input,
    found: Sequence[Fit],
    starts: Sequence[Start],
    subject: Subject,
    html: OutputTarget | None,
    *,
    as_json: bool,
) -> None:
    """Print what was found, and write its page where one was asked for."""
    if html is not None:
        from tinyheap.report.html.fit_page import fit_page

        html.write(fit_page(subject, found, starts).encode())
        click.echo(f"wrote {html}", err=True)
        if html.is_stream:
            return
    if as_json:
        more = {"starts": json_of(tuple(starts))} if starts else {}
        click.echo(json.dumps({"module": str(module), "fits": json_of(tuple(found)), **more}))
    else:
        result_console().print(FitTable(found, starts))


def show_device(module: Input, found: Sequence[DeviceFit], *, as_json: bool) -> None:
    """Print whether a program passes on a device."""
    if as_json:
        click.echo(json.dumps({"module": str(module), "devices": json_of(tuple(found))}))
    else:
        result_console().print(DeviceTable(found))
