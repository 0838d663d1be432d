"""`tinyheap instrument`: writes a recorder into a module, for hosts where tinyheap cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tinyheap.cli.parameters import INPUT, OUTPUT, SIZE, Command, Input, OutputTarget
from tinyheap.errors import MalformedModuleError, PolicyError, UnsupportedGuestError
from tinyheap.instrumentation.operation import DEFAULT_LOG_BYTES, Instrumentation, instrument, script
from tinyheap.report.quantities import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(cls=Command, short_help="Write a recorder into a module.")
@click.argument("module", type=INPUT)
@click.option("-o", "--output", type=OUTPUT, required=True, help="Write the new module to this file.")
@click.option(
    "--js",
    type=OUTPUT,
    metavar="FILE",
    help="Write the JavaScript that collects the log, in a browser or node, to this file; for node call it NAME.mjs.",
)
@click.option(
    "--log-size",
    type=SIZE,
    default=size_text(DEFAULT_LOG_BYTES),
    show_default=True,
    help="Choose how much memory the log may take, beside 1 MiB for call stacks.",
)
@click.option(
    "--no-clock", is_flag=True, help="Never ask the host for the time, so that it is called as often as before."
)
def command(module: Input, output: OutputTarget, js: OutputTarget | None, log_size: int, no_clock: bool) -> None:
    """Write a recorder into MODULE, so that it keeps a log of what happens on its heap, wherever it runs.

    What comes out is an ordinary module with the same results and the same addresses; it has tinyheap's collector in it,
    as by `tinyheap transplant`. Its host takes the log by one exported function: in JavaScript with the file that --js
    writes. What was taken becomes a recording by `tinyheap import`.
    """
    try:
        made = instrument(module.read(), log_bytes=log_size, clock=not no_clock)
    except PolicyError as error:
        raise PolicyError(f"--log-size: {error}") from error
    except (MalformedModuleError, UnsupportedGuestError) as error:
        raise type(error)(f"{module}: {error}") from error
    written = {output: made.wasm} if js is None else {output: made.wasm, js: script().encode()}
    for target, data in written.items():
        target.write(data)
    for line in (*(f"wrote {target}" for target in written), *_lines(made)):
        click.echo(line, err=True)


def _lines(made: Instrumentation) -> Iterator[str]:
    yield f"followed: {made.sites:,} calls that can lead to an allocation"
    yield f"log: {size_text(made.log_bytes)}, behind the program's memory"
    if made.clock is None:
        yield "times: none; the module's events have an order and no times"
    else:
        yield f"times: from the module's import {made.clock.partition('.')[2]}"
    if made.dropped_sections:
        yield f"dropped, since code has moved: {', '.join(made.dropped_sections)}"
