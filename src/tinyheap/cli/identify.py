"""`tinyheap identify`: what WebAssembly modules are, where their heaps lie, and what works for them.

A module that is not served is an answer, not an error.  A file that is no module is an error of its own: the
others are still shown, and the exit code is 1 in the end.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from tinyheap.errors import TinyheapError
from tinyheap.guests.identify import identify
from tinyheap.report.consoles import result_console
from tinyheap.report.guest_card import GuestCard, GuestTable, guest_json
from tinyheap.wasm import Module


@click.command()
@click.argument("modules", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a module, one a line.")
@click.option("-v", "--full", is_flag=True, help="Print all facts of each module, also of several.")
def command(modules: tuple[Path, ...], as_json: bool, full: bool) -> None:
    """Say what each of MODULES is: runtime, collector, where its heap lies, and how sure that is.

    Of several modules a table is printed, with one line per module.
    """
    console = result_console()
    failed = False
    found = []
    for path in modules:
        try:
            guest = identify(Module.parse(path.read_bytes()))
        except (TinyheapError, OSError) as error:
            click.echo(f"Error: {path}: {error}", err=True)
            failed = True
        else:
            if as_json:
                click.echo(json.dumps(guest_json(str(path), guest)))
            elif full or len(modules) == 1:
                console.print(GuestCard(str(path), guest), crop=False)
            else:
                found.append((str(path), guest))
    if found:
        console.print(GuestTable(found), crop=False)
    if failed:
        raise SystemExit(1)
