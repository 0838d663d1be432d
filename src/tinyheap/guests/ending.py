"""How a run ended: its kind, and the evidence for it.

A program that runs out of stack traps where it happened to write, one that panics traps at an ``unreachable``, and one that
finds no memory does either, so that the trap alone does not say which of them it was.  Other evidence does, looked at in this
order:

* the error that tinyheap raised: out of memory, heap overwritten, stopped, timed out;
* the stack pointer, where it is below the stack's low end (`SystemStack`, `stack_overflow`), or a write below address 0 in the
  middle of a recursion;
* what the program printed last: Go's and TinyGo's panics say what they are, unless they are compiled to say nothing;
* the function that trapped: TinyGo's runtime has one for each of its own panics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from tinyheap.errors import (
    AllocationStopError,
    GuestError,
    GuestExitError,
    GuestInterruptError,
    GuestOutOfMemoryError,
    GuestTimeoutError,
    GuestTrapError,
    HeapCorruptError,
    HeapError,
    HostError,
    HostRaisedError,
    MalformedModuleError,
    OutOfMemoryError,
    StackOverflowError,
)
from tinyheap.hosts.frames import folded, shown
from tinyheap.units import counted

if TYPE_CHECKING:
    from tinyheap.guests.guest_heap import GuestHeap
    from tinyheap.guests.program import Program
    from tinyheap.hosts.frames import Fold
    from tinyheap.recognize.facts import SystemStack

_RECURSIVE: Final = 3
"""So many rounds of the same calls are a recursion."""
_GOROUTINE: Final = "goroutine"
"""What evidence mentions that is not of the system's stack (`stack_overflow`)."""
_BELOW: Final = 1 << 31
"""From here on an address is one below 0, where a memory does not reach as far."""


class EndKind(StrEnum):
    """The ways in which a run ends."""

    FINISHED = "finished"
    EXITED = "exited"
    OUT_OF_MEMORY = "out of memory"
    STACK_OVERFLOW = "stack overflow"
    NIL_DEREFERENCE = "nil dereference"
    INDEX_OUT_OF_RANGE = "index out of range"
    PANIC = "panic"
    HEAP_OVERWRITTEN = "heap overwritten"
    UNREACHABLE = "unreachable"
    TRAPPED = "trapped"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    HOST_RAISED = "host raised"
    FAILED = "failed"
    """Something else that was raised here: an import is missing, an option does not fit."""


_PANIC: Final = re.compile(rb"^(?:panic|fatal error): (?:runtime error(?: at 0x[0-9a-f]+)?: )?(.*)$", re.MULTILINE)
_BY_TEXT: Final = (
    ("nil pointer dereference", EndKind.NIL_DEREFERENCE),
    ("index out of range", EndKind.INDEX_OUT_OF_RANGE),
    ("slice out of range", EndKind.INDEX_OUT_OF_RANGE),
    ("slice bounds out of range", EndKind.INDEX_OUT_OF_RANGE),
    ("out of memory", EndKind.OUT_OF_MEMORY),
    ("stack overflow", EndKind.STACK_OVERFLOW),
)
_ALLOC: Final = "runtime.alloc"
_BY_FUNCTION: Final = {
    "runtime.nilPanic": EndKind.NIL_DEREFERENCE,
    "runtime.lookupPanic": EndKind.INDEX_OUT_OF_RANGE,
    "runtime.slicePanic": EndKind.INDEX_OUT_OF_RANGE,
    "runtime._panic": EndKind.PANIC,
    "runtime.panicOrGoexit": EndKind.PANIC,
    "runtime.runtimePanic": EndKind.PANIC,
    "runtime.runtimePanicAt": EndKind.PANIC,
    _ALLOC: EndKind.OUT_OF_MEMORY,
}
_PANICKING: Final = _BY_FUNCTION.keys() - {_ALLOC}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Args:
        kind: the way in which it ended.
        evidence: what shows it, a phrase or a sentence each.
    """

    kind: EndKind
    evidence: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        """Whether something went wrong, or the run was ended from outside."""
        return self.kind not in (EndKind.FINISHED, EndKind.EXITED)


def ending_of(error: BaseException | None, program: Program | None = None, exit_code: int = 0) -> Ending:
    """How a run ended.

    Args:
        error: the exception that ended the run; None where there was none.
        program: the program, not yet closed, for further evidence; None where it was never opened.
        exit_code: the code with which the program itself ended.
    """
    if error is None:
        panic = _panic_text(program) if exit_code else None
        if panic is not None:
            return _panicked(_kind_of_text(panic), (_printed(panic),), program)
        return Ending(EndKind.EXITED, (f"exit code {exit_code}",)) if exit_code else Ending(EndKind.FINISHED)
    if isinstance(error, GuestTrapError):
        return _of_trap(error, program)
    if isinstance(error, StackOverflowError):
        return Ending(
            EndKind.STACK_OVERFLOW, (*_stack_evidence(error.stack_overflow, (), program), str(error.__cause__))
        )
    if isinstance(error, GuestOutOfMemoryError) and error.evidence:
        return Ending(EndKind.OUT_OF_MEMORY, error.evidence)
    kind = next((kind for types, kind in _BY_ERROR if isinstance(error, types)), EndKind.FAILED)
    return Ending(kind, (str(error) or type(error).__name__,))


_BY_ERROR: Final[tuple[tuple[type[BaseException], EndKind], ...]] = (
    (OutOfMemoryError, EndKind.OUT_OF_MEMORY),
    (HeapCorruptError, EndKind.HEAP_OVERWRITTEN),
    (GuestTimeoutError, EndKind.TIMED_OUT),
    (GuestInterruptError, EndKind.INTERRUPTED),
    (KeyboardInterrupt, EndKind.INTERRUPTED),
    (AllocationStopError, EndKind.STOPPED),
    (GuestExitError, EndKind.EXITED),
    (HostRaisedError, EndKind.HOST_RAISED),
)
"""The first that fits counts."""


# ---- traps ------------------------------------------------------------------------------------------------------------


def _of_trap(error: GuestTrapError, program: Program | None) -> Ending:
    where = f"in {shown(error.frames)}" if error.frames else "in its start"
    overflow = error.stack_overflow or _overflow_without_pointer(error)
    if overflow is not None:
        return Ending(EndKind.STACK_OVERFLOW, tuple(_stack_evidence(overflow, error.frames, program)))
    panic = _panic_text(program)
    if panic is not None and error.trap == "unreachable":
        return _panicked(_kind_of_text(panic), (_printed(panic), where), program)
    if error.trap != "unreachable":
        return Ending(EndKind.TRAPPED, (f"the trap is: {error.trap}", where))
    function = _panicking(error.frames)
    if function is None:
        return Ending(EndKind.UNREACHABLE, (where,))
    return _panicked(_BY_FUNCTION[function], (f"it ended in {function}, and printed nothing", where), program)


def _panicking(frames: tuple[str, ...]) -> str | None:
    """The runtime's function that panics; the outermost, since those that it calls panic for all."""
    runtime = list(takewhile(lambda name: name.startswith("runtime."), frames))
    found = [name for name in runtime if name in _BY_FUNCTION]
    # Whatever else calls the allocator is not at fault.
    return found[-1] if found and found != [_ALLOC] else None


def _overflow_without_pointer(error: GuestTrapError) -> str | None:
    """By what an overflow is seen where the stack pointer is not."""
    if error.trap == "stack overflow":
        return "calls within calls took all of the machine's stack that WebAssembly may have"
    below = error.fault_address
    if below is None or below < _BELOW or _recursion(error.frames) is None:
        return None
    return f"in a recursion it wrote {(1 << 32) - below:,} bytes below the start of its memory, where its stack ends"


def _recursion(frames: tuple[str, ...]) -> Fold | None:
    """The calls that go round and round, if any do.

    Not those of a panic that panics while it prints: they are what an overflow did to the runtime's variables.
    """
    folds = (fold for fold in folded(frames) if not any(_is_panicking(name) for name in fold.functions))
    most = max(folds, key=lambda fold: fold.times * len(fold.functions), default=None)
    return most if most is not None and most.times >= _RECURSIVE else None


def _is_panicking(frame: str) -> bool:
    """Whether a frame, with or without its source line, is of one of the runtime's functions that panic."""
    return frame.split(" ", 1)[0] in _PANICKING


def _stack_evidence(overflow: str, frames: tuple[str, ...], program: Program | None) -> Iterator[str]:
    yield overflow
    stack = None if program is None or program.guest is None else program.guest.stack
    is_system = stack is not None and _GOROUTINE not in overflow
    if is_system:
        yield str(stack)
    recorder = None if program is None else program.recorder
    recursion = _recursion(frames) or (None if recorder is None else _recursion(recorder.callers()))
    if recursion is None and recorder is None:
        yield "which calls took it cannot be seen from where it ended: `tinyheap profile` names the deepest recursion"
    if recursion is not None:
        level_bytes = None if program is None or stack is None else _level_bytes(program, stack, recursion)
        size_bytes = stack.size_bytes if stack is not None and is_system else None
        yield _recursion_text(recursion, size_bytes, level_bytes, _levels(recursion, program))
    heap = None if program is None else program.heap
    # One that is closed cannot be looked at.
    with suppress(GuestError, HeapError):
        if heap is not None and heap.is_begun and frames:
            yield _heap_text(heap)


def _heap_text(heap: GuestHeap) -> str:
    problems = heap.problems()
    if problems:
        return f"it wrote over its heap, too: {'; '.join(problems)}"
    return f"its heap is sound: {counted(heap.census().heads)}"


def _levels(recursion: Fold, program: Program | None) -> int:
    """How deep a recursion is, where a recording knows the whole call stack; else 0."""
    recorder = None if program is None else program.recorder
    callers = () if recorder is None else recorder.callers()
    return min(callers.count(name) for name in recursion.functions)


def _recursion_text(recursion: Fold, stack_bytes: int | None, level_bytes: int | None, levels: int) -> str:
    who = " < ".join(recursion.functions)
    calls = f"{who} calls itself" if len(recursion.functions) == 1 else f"({who}) call each other in a circle"
    text = f"{calls}, {levels:,} levels deep" if levels else f"{calls}, at least {recursion.times} levels deep"
    if not level_bytes:
        return text
    level = f"{text}; a level takes {level_bytes:,} bytes of the stack"
    if levels:
        return f"{level}, all of them {levels * level_bytes:,}"
    return level if stack_bytes is None else f"{level}, so that {stack_bytes // level_bytes:,} at most fit"


def _level_bytes(program: Program, stack: SystemStack, recursion: Fold) -> int | None:
    """What a round of a recursion takes of the stack; None where that is not known of a function."""
    # Few programs end like that.
    from tinyheap.recognize.system_stack import frame_bytes
    from tinyheap.wasm import Module

    try:
        module = Module.parse(program.wasm)
        indices = module.function_indices
        sizes = [frame_bytes(module, stack, indices[name]) if name in indices else None for name in recursion.functions]
    except MalformedModuleError:
        return None
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


# ---- panics -----------------------------------------------------------------------------------------------------------


def _panicked(kind: EndKind, evidence: tuple[str, ...], program: Program | None) -> Ending:
    """A panic's end; of a module's own allocator it is not known what it has, but what its memory is."""
    memory = _memory_text(program) if kind is EndKind.OUT_OF_MEMORY and program is not None else None
    return Ending(kind, evidence if memory is None else (*evidence, memory))


def _memory_text(program: Program) -> str | None:
    with suppress(HostError, GuestError):
        limit_bytes = program.session.grants.memory_limit_bytes
        limit = "no limit but its own" if limit_bytes is None else f"a memory limit of {limit_bytes:,}"
        return f"its memory has {len(program.memory):,} bytes, with {limit}"
    return None


def _panic_text(program: Program | None) -> str | None:
    """What a panic said last, if one did."""
    found = [] if program is None else _PANIC.findall(program.session.last_output)
    return found[-1].decode(errors="replace").strip() if found else None


def _kind_of_text(text: str) -> EndKind:
    return next((kind for words, kind in _BY_TEXT if words in text), EndKind.PANIC)


def _printed(text: str) -> str:
    return f"it printed: panic: {text}"
