"""Options of commands that write what they show in formats of other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from tinyheap.cli.parameters import FOLDER, OUTPUT, OutputTarget
from tinyheap.files import text_of
from tinyheap.report.exports.formats import ExportFormat

Formats = Mapping[str, ExportFormat[...]]
_Command = TypeVar("_Command", bound="Callable[..., Any]")


class ExportType(click.ParamType[tuple[str, OutputTarget]]):
    """A format and where to: `FORMAT=PATH`.

    Args:
        formats: What there is.
    """

    name = "export"

    def __init__(self, formats: Formats) -> None:
        self.formats = formats

    def convert(
        self, value: str | tuple[str, OutputTarget], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, OutputTarget]:
        """Format and path; a usage error where there is no such format."""
        if isinstance(value, tuple):
            return value
        name, equals, path = value.partition("=")
        if name not in self.formats:
            self.fail(f"invalid format {text_of(name)!r}: expected one of {', '.join(self.formats)}", param, ctx)
        if not equals or not path:
            self.fail(f"invalid export {text_of(value)!r}: expected {name}=PATH", param, ctx)
        return name, (OUTPUT if self.formats[name].content else FOLDER).convert(path, param, ctx)


def export_options(formats: Formats, what: str) -> Callable[[_Command], _Command]:
    """Give a command ``--export`` and ``--list-formats``.

    Args:
        formats: What there is.
        what: is written, in words.
    """

    def list_formats(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
        """Print what there is to export to, and end."""
        if is_asked and not ctx.resilient_parsing:
            width = max(map(len, formats))
            for name, described in formats.items():
                click.echo(f"{name:{width}}  {described.description}")
            ctx.exit()

    export = click.option(
        "--export",
        "exports",
        type=ExportType(formats),
        multiple=True,
        metavar="FORMAT=PATH",
        help=f"Write {what} to PATH in a format of another tool; may be repeated.",
    )
    listing = click.option(
        "--list-formats",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=list_formats,
        help="List the formats that --export can write, and exit.",
    )
    return lambda command: export(listing(command))
