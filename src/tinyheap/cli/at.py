"""`tinyheap at`: who an address belonged to through a recorded run."""

from __future__ import annotations

import json
from typing import Final

import click

from tinyheap.cli.parameters import ADDRESS, COUNT, RECORDING, Command, Input
from tinyheap.json_of import json_of
from tinyheap.profile import owners_of
from tinyheap.recordings.recording import Recording
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.results import renderable_of

MOST: Final = 20


@click.command(cls=Command)
@click.argument("file", type=RECORDING)
@click.argument("address", type=ADDRESS)
@click.option(
    "--last",
    type=COUNT,
    default=MOST,
    show_default=True,
    help="Tell of the last N objects that the address belonged to.",
    metavar="N",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Input, address: int, last: int, as_json: bool) -> None:
    """Say who ADDRESS belonged to through the recorded run FILE: births, deaths, stacks and sizes of its objects.

    The ADDRESS is a number of the program's own, decimal or hexadecimal (0x...).
    """
    with Recording.open(file.path) as recording:
        found = owners_of(recording, address, last)
        if as_json:
            click.echo(json.dumps(json_of(found)))
        else:
            result_console().print(renderable_of(found))
