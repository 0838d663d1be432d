"""What a program is granted: arguments, streams, folders, time, and limits of each resource.

Everything is refused unless it is granted.  `Grants()` alone gives a program this process's standard output
and error and the real clock and randomness, an empty standard input, no arguments but its name, no
environment, no files.  There is no network: WASI preview 1 as offered here has no way to open a connection,
and the JavaScript host has none.
"""

from __future__ import annotations

import codecs
import reprlib
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TextIO

from tinyheap.errors import HostError, HostOutputError, OutputError
from tinyheap.units import WASM_PAGE_BYTES

TIMEOUT_LIMIT_S: Final = 10**9
"""The longest time that can be waited for, some thirty years."""
TAIL_BYTES: Final = 4096
"""What is kept of a program's output, to see what it said last."""
MEMORY_LIMIT_BYTES: Final = (1 << 63) - 1
"""The largest size that can be said to WebAssembly's engine."""


class Output(Protocol):
    """Where a program's output goes: a binary file, or anything else that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine that the program sees as ``guest_path``, read-only unless ``writable``."""

    host_path: Path
    guest_path: str
    writable: bool = False


class Inherit:
    """Stands for this process's own standard input; use the instance `INHERIT`."""

    def __repr__(self) -> str:
        return "INHERIT"


INHERIT = Inherit()


class TextOutput:
    """Lets a stream of text take bytes: what standard output is in a notebook."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``; a character that it cuts is written when its rest comes."""
        return self._stream.write(self._decoder.decode(data))

    def flush(self) -> None:
        """Show what was written."""
        self._stream.flush()


def _standard_output() -> Output:
    return _taking_bytes(sys.stdout)


def _standard_error() -> Output:
    return _taking_bytes(sys.stderr)


def _taking_bytes(stream: TextIO) -> Output:
    buffer: BinaryIO | None = getattr(stream, "buffer", None)
    return TextOutput(stream) if buffer is None else buffer


@dataclass(frozen=True, slots=True)
class Grants:
    """What one program may have.

    Args:
        arguments: The command line, the program's own name first.
        environment: Environment variables by name.
        stdin: All of standard input as bytes, a file to read it from, or `INHERIT`.
        stdout: Takes what the program writes to standard output, unchanged.
        stderr: The same for standard error.
        folders: The folders that the program can open files in.
        seed: None for the real clock and randomness.  A number makes both a function of it, so that two runs
            are equal in every byte of memory; it chooses the random bytes, and the clock is the same for every seed.
        timeout_s: Seconds, above zero and up to `TIMEOUT_LIMIT_S`, that the program may run in all; None for no limit.
        interruptible: Whether `HostSession.interrupt` can end the program; it then runs some percent slower, as it
            does with a time limit.
        memory_limit_bytes: The most that the program's linear memory can grow to; None for no limit but its
            own.
        initial_memory_bytes: What the program's linear memory has when the program is started, rounded up to whole pages of
            64 KiB, as if it had been linked so (``--initial-memory``); None, or less than it was linked with, for that.
        script_limit_bytes: The most that the values held by the JavaScript host may take, roughly.

    Raises:
        HostError: If something is of a wrong type or out of its range, as a limit that is not above zero.
    """

    arguments: tuple[str, ...] = ("guest",)
    environment: dict[str, str] = field(default_factory=dict)
    stdin: bytes | Path | Inherit = b""
    stdout: Output = field(default_factory=_standard_output)
    stderr: Output = field(default_factory=_standard_error)
    folders: tuple[Folder, ...] = ()
    seed: int | None = None
    timeout_s: float | None = None
    interruptible: bool = False
    memory_limit_bytes: int | None = None
    initial_memory_bytes: int | None = None
    script_limit_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        for name, (is_fitting, expected) in _FITTING.items():
            value = getattr(self, name)
            if not is_fitting(value):
                raise HostError(f"invalid {name} {reprlib.repr(value)}: expected {expected}")

    @property
    def initial_pages(self) -> int:
        """The fewest pages of memory that the program is to begin with."""
        return -(-(self.initial_memory_bytes or 0) // WASM_PAGE_BYTES)


def _is_text(value: object) -> bool:
    """Whether it can be given to a program: no zero character ends it; what is not UTF-8 is for each host to refuse."""
    return isinstance(value, str) and "\0" not in value


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MEMORY_LIMIT_BYTES


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= TIMEOUT_LIMIT_S


def _are_variables(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and name and "=" not in name and _is_text(text) for name, text in value.items()
    )


def _is_sink(value: object) -> bool:
    return callable(getattr(value, "write", None))


_TEXTS: Final = "texts without zero characters"
_SIZES: Final = f"a whole number from 1 to {MEMORY_LIMIT_BYTES}"
_FITTING: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "arguments": (lambda value: isinstance(value, tuple | list) and all(map(_is_text, value)), f"a tuple of {_TEXTS}"),
    "environment": (_are_variables, f"names and values that are {_TEXTS}, and no name empty or with ="),
    "stdin": (lambda value: isinstance(value, bytes | Path | Inherit), "bytes, a Path or INHERIT"),
    "stdout": (_is_sink, "an object with a method write"),
    "stderr": (_is_sink, "an object with a method write"),
    "folders": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(each, Folder) for each in value),
        "a tuple of Folder",
    ),
    "seed": (lambda value: value is None or type(value) is int, "None or a whole number"),
    "timeout_s": (lambda value: value is None or _is_time(value), f"None or seconds above 0, up to {TIMEOUT_LIMIT_S}"),
    "interruptible": (lambda value: type(value) is bool, "True or False"),
    "memory_limit_bytes": (lambda value: value is None or _is_size(value), f"None or {_SIZES}"),
    "initial_memory_bytes": (lambda value: value is None or _is_size(value), f"None or {_SIZES}"),
    "script_limit_bytes": (_is_size, _SIZES),
}
"""For each grant, what is fitting, and that in words."""


class OutputStream:
    """An `Output` that remembers its first failure instead of raising inside the program's call.

    It calls ``lost`` when the output cannot be written any more, as when a pipe is closed: few programs look at that
    themselves.  ``writing`` is entered around what the output does.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        lost: Callable[[], object] = lambda: None,
        writing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.name = name
        self._lost = lost
        self._writing = writing
        self.failure: Exception | None = None
        self.tail = b""
        """The last bytes written, `TAIL_BYTES` at most."""
        self._output = output
        self._flush = getattr(output, "flush", None)

    def write(self, data: bytes) -> bool:
        """Whether all of ``data`` was taken; it is out at once, not kept in a buffer."""
        self.tail = (self.tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        try:
            with self._writing():
                self._output.write(data)
                if self._flush is not None:
                    self._flush()
        except Exception as failure:
            self.failure = self.failure or failure
            if isinstance(failure, BrokenPipeError | OutputError):
                self._lost()
            return False
        return True

    def raise_failure(self) -> None:
        """Raise the first failure of a write, once.

        Raises:
            HostOutputError: If a write failed since the last call.
        """
        failure, self.failure = self.failure, None
        if failure is not None:
            raise HostOutputError(f"the program's {self.name} could not be written: {failure}") from failure
