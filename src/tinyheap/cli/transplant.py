"""`tinyheap transplant`: writes tinyheap's collector into a module, and shows on request that it does the same, faster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyheap.cli.exits import ExitCode
from tinyheap.cli.libraries import load_numpy
from tinyheap.cli.parameters import HOST, INPUT, OUTPUT, SIZE, Input, OutputTarget
from tinyheap.cli.run import FolderType, GrowthType, RunCommand
from tinyheap.errors import InputError, MalformedModuleError, TinyheapError, UnsupportedGuestError
from tinyheap.files import text_of
from tinyheap.hosts.host_file import HostFile
from tinyheap.report.quantities import size_text
from tinyheap.transplanting.operation import Transplant, perform
from tinyheap.transplanting.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.guests.program import Program
    from tinyheap.transplanting.verifying import Verification


@click.command(
    cls=RunCommand,
    short_help="Write tinyheap's collector into a module.",
    context_settings={"ignore_unknown_options": True},
    epilog="The exit code is 1 where --verify finds a difference; nothing is written then.",
)
@click.argument("module", type=INPUT)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]...")
@click.option("-o", "--output", type=OUTPUT, help="Write the new module to this file.")
@click.option(
    "--demo",
    type=OUTPUT,
    help="Write an HTML page to this file in which a formatter runs with both collectors, side by side; the file named behind "
    "`--` is its first text.",
)
@click.option(
    "--growth",
    type=GrowthType(),
    metavar="none|double|pages|step:SIZE|ratio:N/M",
    help="Choose how the heap grows; by default it grows until the memory has doubled, as with TinyGo's collector.",
)
@click.option("--limit", type=SIZE, help="Let the module's memory grow up to this size, and no further.")
@click.option("--clear-blocks", is_flag=True, help="Zero every block of a new object, including the padding.")
@click.option(
    "--no-bulk-memory",
    is_flag=True,
    help="Use no memory.fill and memory.copy, even where the module has them; for engines without these instructions.",
)
@click.option("--keep-names", is_flag=True, help="Name the added functions even in a module that has no names.")
@click.option(
    "--stats",
    is_flag=True,
    help="Count collections and growths in exported globals, such as tinyheap.collections; and their nanoseconds, if the "
    "module imports a clock.",
)
@click.option(
    "--report", "as_json", flag_value=False, default=None, help="Say what was replaced, and how much was added."
)
@click.option("--json", "as_json", flag_value=True, help="Say the same as one JSON object on standard output.")
@click.option(
    "--verify",
    is_flag=True,
    help="Run both modules, with the arguments behind `--`, and write the new one only if it does the same: equal output, "
    "equal addresses of all objects, equal memory.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Transplant a module even where something speaks against what was recognized of its collector, and verify it.",
)
@click.option(
    "--host", type=HOST, metavar="FILE.py", help="With --verify: offer the program what this Python file defines."
)
@click.option(
    "--dir",
    "folders",
    type=FolderType(),
    multiple=True,
    metavar="HOST[:GUEST][:ro|:rw]",
    help="With --verify: let the program read the folder HOST as GUEST; may be repeated.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    module: Input,
    words: tuple[str, ...],
    output: OutputTarget | None,
    demo: OutputTarget | None,
    verify: bool,
    force: bool,
    host: Input | None,
    as_json: bool | None,
    **options: Any,  # noqa: ANN401 - see `_options`
) -> None:
    """Write tinyheap's collector into MODULE, in place of TinyGo's.

    From TinyGo 0.40 on, TinyGo's own stays, and tinyheap's does the marking ahead of it.

    What comes out is an ordinary module: it runs wherever MODULE did, gives the same results, leaves the same bytes in memory,
    and spends less time on it.
    """
    arguments, own = (*words, *ctx.obj), None if host is None else HostFile.load(host.path)
    runs = verify or force
    outputs = [each for each in (output, demo) if each is not None]
    _check_usage(
        ctx, outputs, as_json=as_json, needs_run=bool(host or options["folders"] or (arguments and not demo)), runs=runs
    )
    original = module.read()
    try:
        made = perform(original, _options(options), force=force)
        page = _page(original, made, module, arguments) if demo else b""
    except (MalformedModuleError, UnsupportedGuestError) as error:
        raise type(error)(f"{module}: {error}") from error
    found = _verified(original, made, arguments, own, options["folders"]) if runs else None
    if found is None or not found.differences:
        for target in outputs:
            target.write(page if target is demo else made.wasm)
            click.echo(f"wrote {target}", err=True)
    if as_json:
        click.echo(json.dumps(_summary(made, found)))
    elif as_json is False or found is not None:
        for line in (*(_lines(made) if as_json is False else ()), *(_verdict(found) if found else ())):
            click.echo(line, err=True)
    ctx.exit(ExitCode.FAILED if found is not None and found.differences else ExitCode.DONE)


def _check_usage(
    ctx: click.Context, outputs: list[OutputTarget], *, as_json: bool | None, needs_run: bool, runs: bool
) -> None:
    if not outputs:
        raise click.UsageError(
            "nothing to write: name a file for the new module (-o), or for a page to try it (--demo)", ctx
        )
    if needs_run and not runs:
        raise click.UsageError("arguments, --host and --dir are for a run of both modules: add --verify", ctx)
    if bool(as_json) + sum(each.is_stream for each in outputs) > 1:
        raise click.UsageError("--json, -o - and --demo - exclude each other: all write to standard output", ctx)


def _options(options: dict[str, Any]) -> Options:
    return Options(
        growth=options["growth"],
        limit_bytes=options["limit"],
        clear_blocks=options["clear_blocks"],
        bulk_memory=False if options["no_bulk_memory"] else None,
        keep_names=options["keep_names"],
        stats=options["stats"],
    )


def _page(original: bytes, made: Transplant, module: Input, arguments: tuple[str, ...]) -> bytes:
    load_numpy()
    from tinyheap.report.html.demo_page import demo_page

    return demo_page(original, made, name=str(module), text=_text(arguments[0]) if arguments else None).encode()


def _verified(
    original: bytes, made: Transplant, arguments: tuple[str, ...], own: HostFile | None, folders: tuple[Any, ...]
) -> Verification:
    from tinyheap.hosts import Grants
    from tinyheap.transplanting.verifying import verify

    grants = Grants(arguments=("program", *arguments), folders=folders)
    return verify(
        original,
        made,
        lambda program: _worked(program, arguments, own),
        grants,
        None if own is None else own.imports,
    )


def _worked(program: Program, arguments: tuple[str, ...], host: HostFile | None) -> str:
    """What `_work` gives; what a host's code raises is an error of its file."""
    try:
        return _work(program, arguments, host)
    except TinyheapError:
        raise
    except (Exception, SystemExit) as error:
        if host is None:
            raise
        if isinstance(error, SystemExit):
            return f"exit code {error.code}"
        raise host.raised(error) from error


def _work(program: Program, arguments: tuple[str, ...], host: HostFile | None) -> str:
    """Let a program do what `tinyheap run` would: its host's work, or format the files that are named, or just start."""
    from tinyheap.formatters import find

    program.start()
    if host is not None and host.drive is not None:
        return f"exit code {host.driven(program)}"
    driver = None if program.exit_code else find(program.session)
    if driver is None:
        program.session.run_timers()
        return ""
    return "".join([driver.format(_text(name), text_of(Path(name).name)) for name in arguments])


def _text(name: str) -> str:
    try:
        return Input(name).read().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{text_of(name)}: the text is not UTF-8 at byte {error.start}") from error


def _lines(made: Transplant) -> Iterator[str]:
    changed = ", ".join(map(str, made.replaced))
    if made.runs_ahead:
        yield f"changed: functions {changed}, which scan and mark: they find most of it done"
    else:
        yield f"replaced: functions {changed}, which allocate or collect"
    yield f"added: {made.added_functions} functions; {size_text(made.original_bytes)} are {size_text(len(made.wasm))} now"
    if made.runs_ahead:
        yield "left: all else of the original allocator and its collector, in its frames on the stack"
    else:
        yield "left: the original allocator and its collector, for when memory is out"
    if made.dropped_sections:
        yield f"dropped, since code has moved: {', '.join(made.dropped_sections)}"
    if made.options.stats and made.runs_ahead:
        yield "counted: collections, which are not timed, since the original's own function runs them"
    elif made.options.stats:
        yield f"timed: collections, by {made.clock or 'nothing: the module imports no clock'}"
    needs = "bulk memory, as before" if made.uses_bulk_memory else "no more than WebAssembly 1.0 for memory"
    yield f"needs: {needs}"


def _verdict(found: Verification) -> Iterator[str]:
    before, after = found.original, found.transplanted
    for difference in found.differences:
        yield f"differs in {difference}"
    if not found.differences:
        output_bytes, memory_bytes = len(before.output) + len(before.result.encode()), len(before.memory)
        yield (
            f"verified: {after.allocations:,} allocations, {output_bytes:,} bytes of output and {memory_bytes:,} bytes of "
            f"memory are the same; {before.run_s:.3g} s before, {after.run_s:.3g} s now"
        )
        if before.failed:
            yield f"both ended early, by the same error: {before.result}"


def _summary(made: Transplant, found: Verification | None) -> dict[str, object]:
    summary: dict[str, object] = {
        "original_bytes": made.original_bytes,
        "bytes": len(made.wasm),
        "replaced": made.replaced,
        "added_functions": made.added_functions,
        "dropped_sections": made.dropped_sections,
        "uses_bulk_memory": made.uses_bulk_memory,
        "clock": made.clock,
    }
    if found is not None:
        summary["differences"] = found.differences
        summary["error"] = found.original.result if found.original.failed else None
        summary["allocations"] = found.transplanted.allocations
        summary["original_s"], summary["transplanted_s"] = found.original.run_s, found.transplanted.run_s
    return summary
