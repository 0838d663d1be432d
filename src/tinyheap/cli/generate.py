"""`tinyheap generate`: writes the trace of a synthetic workload to a file."""

from __future__ import annotations

import click

from tinyheap.cli.parameters import COLLECTOR, OUTPUT, SEED, SIZE, Command, NumberRange, OutputTarget
from tinyheap.cli.progress import progress_bar
from tinyheap.errors import TraceError
from tinyheap.heap.collectors import Collector
from tinyheap.report.consoles import result_console
from tinyheap.traces.trace import STEPS_LIMIT, WORD_SIZES_BYTES, packed
from tinyheap.traces.workloads import WORKLOADS, WorkloadOptions, generate
from tinyheap.units import KIB

KINDS = "\n".join(f"{name:10} {workload.help}" for name, workload in WORKLOADS.items())
HELP = f"""Write the trace of a synthetic WORKLOAD, to be run with `tinyheap replay`.

\b
{KINDS}

The same options write the same bytes.  A trace runs on every collector, except that finalizers need best-fit-back.  Above
an occupancy of about 0.8 fragmentation may let a trace run out of memory; replaying it says so.
"""


@click.command(name="generate", cls=Command, help=HELP)
@click.argument("workload", type=click.Choice(list(WORKLOADS)), metavar="WORKLOAD")
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUT,
    help="Write the trace to this file, compressed if its name ends in .gz; `-` is standard output.",
)
@click.option(
    "--seed",
    type=SEED,
    metavar="N",
    default=1,
    show_default=True,
    help="Seed the random choices of the workload; another seed makes another program of the same kind.",
)
@click.option(
    "--word-bytes",
    type=click.Choice([str(size) for size in WORD_SIZES_BYTES]),
    default="4",
    show_default=True,
    help="Set the size of a pointer, in bytes.",
)
@click.option(
    "--heap", type=SIZE, default=256 * KIB, show_default="256KiB", help="Set the size of the heap at the start."
)
@click.option("--limit", type=SIZE, help="Let the heap grow up to this size.  [default: it does not grow]")
@click.option(
    "--steps",
    type=click.IntRange(0, STEPS_LIMIT),
    metavar="N",
    default=200_000,
    show_default=True,
    help="Do N operations after building the data that stays alive.",
)
@click.option(
    "--occupancy",
    type=NumberRange(0.05, 0.95),
    metavar="SHARE",
    default=0.5,
    show_default=True,
    help="Keep this share of the initial heap alive.",
)
@click.option(
    "--precise/--conservative",
    default=False,
    show_default="conservative",
    help="Compute the occupancy for precise or for conservative marking; precise objects need room for layout words.",
)
@click.option(
    "--collector",
    type=COLLECTOR,
    metavar="NAME",
    default="next-fit",
    show_default=True,
    help="Choose the collector whose headers count in the occupancy: next-fit, best-fit-front, best-fit-back, best-fit or a "
    "release of TinyGo from 0.20 to 0.42.",
)
@click.option(
    "--scheduler",
    is_flag=True,
    help="Let finalizers wait until the trace runs them, as under a scheduler; without it a collection runs them.",
)
@click.option(
    "--header-alignment",
    type=click.Choice(["0", "4", "8", "16"]),
    default="0",
    show_default=True,
    help="Count the header in front of an object as a multiple of this many bytes; 0 stands for the word size.",
)
def command(
    workload: str,
    output: OutputTarget,
    seed: int,
    word_bytes: str,
    heap: int,
    limit: int | None,
    steps: int,
    occupancy: float,
    precise: bool,
    collector: Collector,
    scheduler: bool,
    header_alignment: str,
) -> None:
    """Writes the trace of a synthetic workload and says on stderr what was written."""
    try:
        options = WorkloadOptions(
            heap_bytes=heap,
            limit_bytes=limit or heap,
            word_bytes=int(word_bytes),
            steps=steps,
            occupancy=occupancy,
            precise=precise,
            header_alignment_bytes=int(header_alignment),
            collector=collector,
            scheduler=scheduler,
            seed=seed,
        )
        with progress_bar(result_console(stderr=True), f"making {workload}", total=None) as progress:
            trace = generate(workload, options, progress)
    except TraceError as error:
        raise click.UsageError(str(error)) from error
    output.write(packed(trace, is_compressed=output.name.endswith(".gz")))
    click.echo(f"{output}: {trace.step_count} steps on {trace.object_ids - 1} object ids", err=True)
