"""Finds out whether a transplanted module does what the original does: runs both in wasmtime, and compares.

Both run on a seeded clock and seeded random numbers, so that one run is like the other.  The *witness* is code around each call
of the allocator: it counts the calls, and makes one number of all sizes and addresses in their order, so that runs which
differ in one address differ in that number.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tinyheap.errors import HostError, InputError, TinyheapError
from tinyheap.guests.program import NATIVE, Program
from tinyheap.wasm import Code, Editor, Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tinyheap.hosts import Grants
    from tinyheap.hosts.functions import Imports
    from tinyheap.recognize.facts import BestFitHeap, BlockHeap
    from tinyheap.transplanting.operation import Transplant

CALLS: Final = "tinyheap.witness.calls"
TRACE: Final = "tinyheap.witness.trace"
"""Exports of a module with a witness: how often alloc was called, and the number made of sizes and addresses."""
_PRIME: Final = 0x100000001B3
"""FNV's, for 64 bits: it leaves no bit out."""


@dataclass(frozen=True)
class ProgramRun:
    """What a run came to."""

    result: str
    """What the program was found to give, or the error that it ended by."""
    failed: bool
    """Whether it ended by an error."""
    output: bytes = field(repr=False)
    exit_code: int | None
    allocations: int
    trace: int
    counters: Mapping[str, int]
    """The program's own statistics, by the names of `CounterAddresses`."""
    memory: bytes = field(repr=False)
    run_s: float


@dataclass(frozen=True)
class Verification:
    """Two runs, and in what they differ."""

    original: ProgramRun
    transplanted: ProgramRun
    differences: tuple[str, ...]
    """Each in a phrase; none, and they did the same."""


def verify(
    original: bytes,
    transplant: Transplant,
    work: Callable[[Program], str],
    grants: Grants,
    imports: Imports | None = None,
) -> Verification:
    """Run both modules, and compare results, output, allocations and memory.

    Args:
        original: The module before.
        transplant: What became of it.  Where its options let the heap be run otherwise than the original does, only results and
            output are compared.
        work: What a program, not yet started, is to do; what it returns is compared.
        grants: What it may have; a seed is added if there is none, and output is kept.
        imports: Functions for it, as for `Program.open`.

    Raises:
        HostError: There is no host for the program, or its code raised.
        InputError: ``work`` has nothing to read.
    """
    before, after = (_ran(wasm, transplant.heap, work, grants, imports) for wasm in (original, transplant.wasm))
    differences = [*_visible_differences(before, after)]
    if transplant.is_exact:
        differences += _inner_differences(before, after)
    return Verification(before, after, tuple(differences))


def witnessed(module: Module, alloc: int) -> bytes:
    """The module with a witness around the calls of its allocator."""
    declared = module.function_type(alloc)
    editor = Editor(module)
    calls, trace, result = editor.add_global("i64", 0), editor.add_global("i64", 0), len(declared.parameters)
    code = Code()
    for parameter in range(result):
        code = code.local_get(parameter)
    code = code.call(alloc).local_set(result)
    code = code.global_get(calls).i64_const(1).i64_add().global_set(calls)
    for local in range(result + 1):
        code = code.global_get(trace).local_get(local).i64_extend_i32_u().i64_xor()
        code = code.i64_const(_PRIME).i64_mul().global_set(trace)
    wrapper = editor.add_function(declared.parameters, declared.results, code.local_get(result), ["i32"])
    editor.redirect_calls(alloc, wrapper)
    editor.export(CALLS, "global", calls)
    editor.export(TRACE, "global", trace)
    return editor.encode()


def _ran(
    wasm: bytes, heap: BlockHeap | BestFitHeap, work: Callable[[Program], str], grants: Grants, imports: Imports | None
) -> ProgramRun:
    output = io.BytesIO()
    granted = replace(
        grants, stdout=output, stderr=io.BytesIO(), seed=1 if grants.seed is None else grants.seed, interruptible=True
    )
    watched = witnessed(Module.parse(wasm), heap.alloc_function)
    with Program.open(watched, granted, gc=NATIVE, imports=imports) as program:
        begun_s, failed = time.perf_counter(), False
        try:
            result = work(program)
        except (HostError, InputError):
            # Not the program's doing: a run of it would be the same with any collector.
            raise
        except TinyheapError as error:
            failed = True
            # A trap, or whatever the program says: the other one has to do the same, but functions may have other numbers.
            result = f"{type(error).__name__}: {str(error).partition(' in ')[0]}"
        run_s = time.perf_counter() - begun_s
        memory, read = program.memory, program.session.read_global
        counters = {
            name: memory.read_u64(address) for name, address in vars(heap.counters).items() if address is not None
        }
        return ProgramRun(
            result,
            failed,
            output.getvalue(),
            program.exit_code,
            int(read(CALLS)),
            int(read(TRACE)),
            counters,
            memory.read(0, len(memory)),
            run_s,
        )


def _visible_differences(before: ProgramRun, after: ProgramRun) -> Iterator[str]:
    if before.result != after.result:
        yield f"results: {_shortened(before.result)}, and {_shortened(after.result)}"
    if before.output != after.output:
        yield f"output: {len(before.output)} bytes, and {len(after.output)} others"
    if before.exit_code != after.exit_code:
        yield f"exit codes: {before.exit_code}, and {after.exit_code}"


def _inner_differences(before: ProgramRun, after: ProgramRun) -> Iterator[str]:
    if (before.allocations, before.trace) != (after.allocations, after.trace):
        yield f"allocations: {before.allocations}, and {after.allocations} at other addresses"
    for name, count in before.counters.items():
        if count != after.counters[name]:
            yield f"{name.removesuffix('_address')}: {count}, and {after.counters[name]}"
    size = len(before.memory)
    if before.memory != after.memory[:size]:
        place = next((at for at in range(min(size, len(after.memory))) if before.memory[at] != after.memory[at]), None)
        where = "sizes" if place is None else f"first at {place:#x}"
        yield f"memory: {size} bytes, and {len(after.memory)}, which differ ({where})"
    if after.memory[size:].strip(b"\0"):
        yield f"memory: the pages behind the original's {size} bytes are not zeros"


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
