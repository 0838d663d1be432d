"""`tinyheap generate`: writes the trace of a made-up workload to a file."""

from __future__ import annotations

from pathlib import Path

import click

from tinyheap.cli.parameters import SIZE
from tinyheap.cli.progress import progress_bar
from tinyheap.report.consoles import result_console
from tinyheap.traces.program import WORD_SIZES_BYTES, write_trace
from tinyheap.traces.workloads import WORKLOADS, Options, generate
from tinyheap.units import KIB

KINDS = "\n".join(f"{name:9} {workload.help}" for name, workload in WORKLOADS.items())
HELP = f"""Write the trace of a made-up WORKLOAD, to be run with `tinyheap replay`.

\b
{KINDS}

The same options write the same bytes.  Every trace runs under all collectors.  Above an occupancy of about 0.8
fragmentation may let a trace run out of memory; replaying it says so.
"""


@click.command(name="generate", help=HELP)
@click.argument("workload", type=click.Choice(list(WORKLOADS)), metavar="WORKLOAD")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="The file to write; compressed if its name ends in .gz.",
)
@click.option("--seed", default=1, show_default=True, help="Another number makes another program of the same kind.")
@click.option(
    "--word-bytes",
    type=click.Choice([str(size) for size in WORD_SIZES_BYTES]),
    default="4",
    show_default=True,
    help="The size of a pointer.",
)
@click.option("--heap", type=SIZE, default=256 * KIB, show_default="256KiB", help="The size of the heap at the start.")
@click.option("--limit", type=SIZE, help="The size up to which the heap may grow.  [default: it does not grow]")
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=200_000,
    show_default=True,
    help="Operations after the data that stays alive stands.",
)
@click.option(
    "--occupancy",
    type=click.FloatRange(0.05, 0.95),
    default=0.5,
    show_default=True,
    help="The share of the heap at the start that stays alive.",
)
@click.option(
    "--precise/--conservative",
    default=False,
    show_default="conservative",
    help="Which scanner the occupancy is reckoned for: a precise one needs room for layout words.",
)
@click.option(
    "--header-alignment",
    type=click.Choice(["0", "4", "8", "16"]),
    default="0",
    show_default=True,
    help="What a layout word is rounded up to, in bytes; 0 is the word size.",
)
def command(
    workload: str,
    output: Path,
    seed: int,
    word_bytes: str,
    heap: int,
    limit: int | None,
    steps: int,
    occupancy: float,
    precise: bool,
    header_alignment: str,
) -> None:
    """Writes the trace of a made-up workload and says on stderr what was written."""
    options = Options(
        heap_bytes=heap,
        limit_bytes=limit or heap,
        word_bytes=int(word_bytes),
        steps=steps,
        occupancy=occupancy,
        precise=precise,
        header_alignment_bytes=int(header_alignment),
        seed=seed,
    )
    with progress_bar(result_console(stderr=True), f"making {workload}", total=None) as progress:
        program = generate(workload, options, progress)
    try:
        write_trace(output, program)
    except OSError as error:
        raise click.FileError(str(output), error.strerror or str(error)) from error
    click.echo(f"{output}: {program.step_count} steps on {program.object_ids - 1} object ids", err=True)
