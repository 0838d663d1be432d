"""Every error that tinyheap raises on purpose, in one small tree.

A message says what was found, where, and what to do about it.  Errors that mean the same as a built-in one also derive
from it (``OutOfMemoryError`` is a ``MemoryError``), so that callers who know nothing of tinyheap can catch them.
"""

from __future__ import annotations


class TinyheapError(Exception):
    """Root of all errors raised on purpose."""


class InputError(TinyheapError, OSError):
    """A file, or standard input, that cannot be read."""


class OutputError(TinyheapError, OSError):
    """A file, or a standard stream, that cannot be written; what was in the file before is still there."""


class HeapError(TinyheapError):
    """Base of errors about a heap: its memory, its layout, or a request made of it."""


class GeometryError(HeapError, ValueError):
    """A heap cannot be laid out as asked: word size, start address, buffer or limit do not fit together."""


class InvalidSizeError(HeapError, ValueError):
    """A size in bytes that is negative or does not fit the address space."""


class InvalidAddressError(HeapError, ValueError):
    """An address that is not on the heap, not of a live object, or not an object's start where one is needed."""


class InvalidTypeError(HeapError, TypeError):
    """An argument, or what a callback returned, is of a wrong type."""


class LayoutError(HeapError, ValueError):
    """A layout that cannot be read, encoded or applied to an object."""


class OutOfMemoryError(HeapError, MemoryError):
    """No run of free blocks is long enough, and the heap cannot grow."""


class AllocationInInterruptError(HeapError):
    """An allocation was asked for inside an interrupt handler of the mutator (see `Heap.interrupt`)."""


class HeapBusyError(HeapError):
    """The heap is in the middle of an operation that forbids the request: made by a callback, or by another thread."""


class HeapCorruptError(HeapError):
    """The block table, a layout word or a poisoned free block is not as the collector left it."""


class HeapOverrunError(HeapCorruptError):
    """A program wrote behind an object of its heap, or in front of it.

    ``address``, ``size_bytes``, ``allocation`` (its number) and ``callers`` (who allocated it, innermost first) are of the
    object; ``overrun_bytes`` and ``data`` are how far beyond the object was written, and what was found there.
    """

    def __init__(
        self,
        message: str,
        address: int,
        size_bytes: int,
        allocation: int,
        overrun_bytes: int,
        data: bytes,
        callers: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.address = address
        self.size_bytes = size_bytes
        self.allocation = allocation
        self.overrun_bytes = overrun_bytes
        self.data = data
        self.callers = callers


class StackOverflowError(HeapCorruptError):
    """A program's stack overflowed, over its heap or its variables; ``stack_overflow`` is the evidence for that, a phrase."""

    def __init__(self, message: str, stack_overflow: str) -> None:
        super().__init__(message)
        self.stack_overflow = stack_overflow


class InvalidDurationError(TinyheapError, ValueError):
    """A duration that cannot be read, or is out of range."""


class TraceError(TinyheapError, ValueError):
    """A trace that is truncated or malformed, or a step of it that cannot be run."""


class ExpectationError(TinyheapError, ValueError):
    """An expectation for a replay cannot be read: not JSON, a key is missing, or a value is of the wrong kind."""


class WasmError(TinyheapError, ValueError):
    """A WebAssembly module that is malformed, or an edit that it does not admit."""


class MalformedModuleError(WasmError):
    """Bytes that are not a WebAssembly module, or use a feature that is not read; says the section and byte offset."""


class ModuleEditError(WasmError):
    """An edit that a WebAssembly module does not admit: an index, offset or type that does not fit it."""


class HostError(TinyheapError):
    """A host cannot offer what a guest imports, or a host call failed."""


class HostOutputError(HostError, OutputError):
    """What a program writes to a standard stream cannot be written there."""


class HostFileError(HostError):
    """A Python file cannot serve as a program's host; ``__cause__`` is the exception that it raised, if it raised one."""


class HostRaisedError(HostFileError):
    """A function of a host file raised an exception while the program ran, which is the ``__cause__``."""


class GuestError(TinyheapError):
    """A guest cannot be served: unknown runtime, unsupported collector, or a trap while it ran."""


class UnsupportedGuestError(GuestError):
    """The program's collector cannot be replaced or recorded as asked; says what the module is and what works for it."""


class SymbolsError(GuestError, ValueError):
    """The file given for its debug information is of another build of the module, or has none."""


class PolicyError(GuestError, ValueError):
    """A policy that is invalid or contradicts itself, or under which this guest's heap cannot be run."""


class GuestPhaseError(GuestError):
    """A program was asked for something in the wrong phase: too early, too late, or from the wrong place.

    ``phase`` is the phase that the program was in: ``offered loaded ready started ended`` or ``closed``.
    """

    def __init__(self, message: str, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class GuestSpentError(GuestPhaseError):
    """A program was called after it had ended, when its instance cannot run any more; open it again for another run."""


class GuestOutOfMemoryError(GuestError, OutOfMemoryError):
    """The program asked for memory that its heap does not have.

    ``callers`` are who asked, innermost first; ``evidence`` is what was asked for and what there was, a phrase each.
    """

    def __init__(self, message: str, callers: tuple[str, ...] = (), evidence: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.callers = callers
        self.evidence = evidence


class ArgumentError(GuestError, ValueError):
    """An exported function was to be called with arguments that it does not take."""


class GuestTrapError(GuestError):
    """The program trapped.

    ``exit_code`` is what a shell should see, ``frames`` the innermost functions first, ``trap`` what WebAssembly says:
    ``unreachable``, ``memory out of bounds`` and so on.  ``stack_overflow`` is the evidence that the program's
    call stack overflowed, a phrase, and None where there is none; ``fault_address`` is the address outside the memory that
    was used, None for none.
    """

    def __init__(
        self,
        message: str,
        exit_code: int = 134,
        frames: tuple[str, ...] = (),
        trap: str = "",
        stack_overflow: str | None = None,
        fault_address: int | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.frames = frames
        self.trap = trap
        self.stack_overflow = stack_overflow
        self.fault_address = fault_address


class AllocationStopError(GuestError):
    """The program was stopped at an allocation, as asked; ``callers`` are the functions that led to it, innermost first."""

    def __init__(self, message: str, callers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.callers = callers


class GuestTimeoutError(GuestError, TimeoutError):
    """The program was stopped because it ran longer than it was allowed to."""


class GuestInterruptError(GuestError):
    """The program was stopped from outside, by Ctrl-C or `Session.interrupt`; nothing to do with interrupt handlers."""


class GuestExitError(GuestError):
    """The program ended itself, with ``exit_code``, while the host waited for the result of a call."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class AttachmentError(GuestError):
    """tinyheap cannot be attached to this Python program: it is already, or something does not fit."""


class DriverError(GuestError):
    """A driver's request that its module refuses, such as a source text with a syntax error."""


class RecordingError(TinyheapError):
    """A recording of a run cannot be written, opened or queried."""


class SnapshotError(TinyheapError, ValueError):
    """A snapshot that is damaged, of another module, or cannot be taken or inspected as asked; or no such moment."""


class RecordingAccessError(RecordingError, OSError):
    """A recording is not there, is not a file (a folder, a pipe, a device), or may not be read."""


class NotARecordingError(RecordingError, ValueError):
    """A file that is not a recording: not a DuckDB file, or a DuckDB file that holds something else."""


class RecordingVersionError(RecordingError, ValueError):
    """A recording whose schema or file format this version of tinyheap does not read."""


class RecordingCorruptError(RecordingError, ValueError):
    """A recording that is truncated or damaged, or whose tables do not agree with its schema or each other."""


class RecordingBusyError(RecordingError):
    """A recording that another process is still writing."""


class RecordingClosedError(RecordingError, ValueError):
    """A recording was queried after it was closed."""


class RecordingWriteError(RecordingError, OutputError):
    """A recording cannot be made or cannot go on, as on a full disk; it holds everything up to its last batch."""


class LogError(RecordingError, ValueError):
    """A log of an instrumented module that cannot be read: cut off, of another module, or saying what cannot be."""


class QueryError(RecordingError, ValueError):
    """A query in SQL that is invalid for the recording: its syntax, or the tables and columns that it names."""


class LabError(TinyheapError):
    """Runs under other conditions cannot be made, or their results not be kept."""


class ConditionError(LabError, ValueError):
    """A condition, or a grid of conditions, that is invalid: an unknown dimension, a value out of range, a contradiction."""


class SweepFileError(LabError, OSError):
    """The file of a sweep cannot be read or written, or holds the sweep of something else."""


class ClusterError(LabError):
    """A cluster cannot be used, or was lost while it was."""


class BudgetError(TinyheapError, ValueError):
    """A budget that cannot be read or checked: an unknown key, a value without a meaning, a baseline that is missing."""


class MissingLibraryError(TinyheapError, ImportError):
    """A library that is needed is not installed, or does not load; says how to install it.

    ``name`` is the name of the library.
    """
