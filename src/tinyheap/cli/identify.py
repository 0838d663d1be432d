"""`tinyheap identify`: what WebAssembly modules are, where their heaps lie, and what works for them.

A module that is not served is an answer, not an error.  A file that is not a module is an error of its own: the
others are still shown, and the exit code says so in the end.
"""

from __future__ import annotations

import json
from dataclasses import replace

import click

from tinyheap.cli.exits import ExitCode, code_of, say_error
from tinyheap.cli.parameters import INPUT, Command, Input
from tinyheap.errors import InputError, TinyheapError
from tinyheap.recognize.identify import identify, module_of
from tinyheap.report.consoles import result_console
from tinyheap.report.terminal.guest_card import GuestCard, GuestTable, guest_json
from tinyheap.symbols.reading import variables_of


@click.command(cls=Command)
@click.argument("modules", nargs=-1, required=True, type=INPUT)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per module, one per line.")
@click.option("-v", "--full", is_flag=True, help="Print all facts of each module, even if there are several.")
@click.pass_context
def command(ctx: click.Context, modules: tuple[Input, ...], as_json: bool, full: bool) -> None:
    """Say what each of MODULES is: runtime, collector, where its heap lies, and how sure that is.

    Of a component, the largest core module is examined. For several modules, a table with one line per module is printed.
    """
    console = result_console()
    worst: int = ExitCode.DONE
    found = []
    for module in modules:
        try:
            parsed, component_modules = module_of(module.read())
            guest = replace(identify(parsed), component_modules=component_modules)
        except TinyheapError as error:
            say_error(str(error) if isinstance(error, InputError) else f"{module}: {error}")
            worst = max(worst, code_of(error))
        else:
            if as_json:
                click.echo(json.dumps(guest_json(str(module), guest, *variables_of(parsed))))
            elif full or len(modules) == 1:
                console.print(GuestCard(str(module), guest, *variables_of(parsed)), crop=False)
            else:
                found.append((str(module), guest))
    if found:
        console.print(GuestTable(found), crop=False)
    ctx.exit(worst)
