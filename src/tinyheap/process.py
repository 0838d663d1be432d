"""The process that a command runs in: its standard streams, and Ctrl-C.

*Streams.*  A standard stream that is closed is opened again on nothing, so that no other file gets its number.  What
cannot be written to standard output is an `OutputError`; what cannot be written to standard error is dropped, since there
is no other place to report it.

*Ctrl-C.*  Python handles a signal between two of its own instructions, by an exception that any destructor or callback
may swallow, and never as long as a library computes.  So a thread waits for the signal by a pipe, to which the
interpreter writes at once.  It calls what `on_interrupt` named, to end a program in order; otherwise the main thread
gets a ``KeyboardInterrupt``.  Where the command has not ended in time, the exception is raised again; where that is of
no use either, and at a second Ctrl-C, the whole process ends.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tinyheap.errors import OutputError

if TYPE_CHECKING:
    from types import FrameType

    from _typeshed import ReadableBuffer as Buffer

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit code of a command that was interrupted."""
CANNOT_WRITE: Final = 121
"""The exit code of a command whose output cannot be written."""
BROKEN_PIPE: Final = 128 + signal.SIGPIPE
"""The exit code of a command whose output is no longer read, as of any program that SIGPIPE ends."""
GRACE_S: Final = 2.0
"""For the command to end in order, after each time that it was told to."""
TELLINGS: Final = 2
"""How often it is told again before the process ends."""
ENDING_S: Final = 30.0
"""For what is to be done behind a program that was stopped, such as finishing its recording."""
_SWALLOWED: Final = b"\0"
"""What stands in the pipe for an exception that came to nothing; everything else there is a signal's number."""


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command, and end the process with its exit code.

    Args:
        command: Does the work; ends by ``SystemExit``, or returns for exit code 0.
    """
    streams = sys.stdin, sys.stdout, sys.stderr
    open_streams()
    watch = _Watch()
    code, said = INTERRUPTED, "interrupted"
    with suppress(KeyboardInterrupt), watch.watching():
        with suppress(KeyboardInterrupt):
            code, said = _work(command)
        watch.is_over = True
        code, said = _last_word(code, said)
    if code == INTERRUPTED:
        # The exception may have come just as something unfinished was being removed.
        from tinyheap.files import remove_unfinished

        remove_unfinished()
    if watch.successor is not None and not code:
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.exit(watch.successor())
    if said:
        print(f"Error: {said}", file=sys.stderr, flush=True)  # noqa: T201 - that of a command
    sys.exit(code)


def become(program: Callable[[], int]) -> None:
    """Give the process to another program as soon as the command has come to its end with exit code 0.

    Standard streams and Ctrl-C are then as if that program were the first that runs here.

    Args:
        program: Returns its exit code, or ends by ``SystemExit``.
    """
    if _Watch.present is None:
        sys.exit(program())
    _Watch.present.successor = program


def was_interrupted() -> bool:
    """Whether this process was asked to end by Ctrl-C."""
    return _Watch.present is not None and _Watch.present.is_interrupted


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, the first SIGINT calls ``stop`` from another thread, instead of raising ``KeyboardInterrupt``."""
    watch = _Watch.present
    if watch is None:
        yield
        return
    watch.stop = stop
    try:
        yield
    finally:
        watch.stop = None
        watch.is_ending = watch.is_interrupted


def open_streams() -> None:
    """Open closed standard streams on nothing, and give Python streams that fail as the head of this module says."""
    for stream, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free; the ones below it are open
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a number, and for as long as the process
    sys.stdout = _text_stream(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text_stream(_Errors(2, "wb", closefd=False), sys.stderr)


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _silence(self.fileno())  # what is still in buffers has nowhere to go, which is said once
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from error


def _silence(stream: int) -> None:
    """What is written to a standard stream from now on goes nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, stream)
    os.close(null)


class _Errors(io.FileIO):
    """Standard error."""

    def write(self, data: Buffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def _text_stream(raw: io.FileIO, old: Any) -> io.TextIOWrapper:  # noqa: ANN401 - Python's, or None
    """A stream of text in the place of Python's; what its encoding lacks is written as an escape."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(old, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=raw.fileno() == 2 or raw.isatty(),
        write_through=getattr(old, "write_through", False),
    )


def _work(command: Callable[[], object]) -> tuple[int, str]:
    """The exit code that a command ends with, and what it has not said yet."""
    try:
        command()
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else int(end.code is not None)), ""
    except Exception:
        if was_interrupted():  # libraries have errors of their own for it
            return INTERRUPTED, "interrupted"
        raise
    return 0, ""


def _last_word(code: int, said: str) -> tuple[int, str]:
    """The same when all that was printed is written; an interrupt counts even where the work came to its end."""
    try:
        sys.stdout.flush()
    except OutputError as error:
        if not code:
            is_broken_pipe = isinstance(error.__cause__, BrokenPipeError)
            code, said = (BROKEN_PIPE, "") if is_broken_pipe else (CANNOT_WRITE, str(error))
    return (code, said) if code == INTERRUPTED or not was_interrupted() else (INTERRUPTED, "interrupted")


class _Watch:
    """Waits for SIGINT while a command runs, from the main thread."""

    present: _Watch | None = None

    def __init__(self) -> None:
        self.is_interrupted = False
        self.stop: Callable[[], None] | None = None
        """What ends the program that runs."""
        self.is_ending = False
        """Whether the program was ended, and the rest goes its way."""
        self.is_over = False
        """Whether there is nothing left to interrupt."""
        self.successor: Callable[[], int] | None = None
        """What the process becomes afterwards."""
        self._is_raised_again = self._is_noting = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While inside, SIGINT ends what is done; afterwards it is ignored, since all is done, or the successor's."""
        _Watch.present = self
        before = signal.signal(signal.SIGINT, self._handle)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        sys.unraisablehook = self._note_unraisable
        threading.Thread(target=self._watch, name="interrupts", daemon=True).start()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN if self.successor is None else before)
            signal.set_wakeup_fd(-1)
            os.close(self._writer)
            sys.unraisablehook = sys.__unraisablehook__
            _Watch.present = None if self.successor is not None else self

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        """What Python does for a signal, in the main thread."""
        self.is_interrupted = True
        # In the hook it would be swallowed at once; the thread raises it again, later.
        if not self._is_noting and not self.is_over and (self.stop is None or self._is_raised_again):
            raise KeyboardInterrupt

    def _note_unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Keep an interrupt that was raised where nothing can be raised, such as in a destructor."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._is_noting = True
            os.write(self._writer, _SWALLOWED)
            self._is_noting = False
        else:
            sys.__unraisablehook__(unraisable)

    def _watch(self) -> None:
        """The thread: see to it that a signal ends the command."""
        if not self._next(None):
            return
        self.is_interrupted = True
        if self.stop is not None:
            self.stop()
        for _ in range(TELLINGS):
            read = self._next(GRACE_S)
            if self.is_ending and read is None:
                break
            if read not in (None, _SWALLOWED):
                break
            self._is_raised_again = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            self._next(None)  # what that wrote
        if read == b"" or (read is None and self._next(ENDING_S if self.is_ending else GRACE_S) == b""):
            return
        _end()

    def _next(self, timeout_s: float | None) -> bytes | None:
        """A byte of the pipe; b"" at its end, and None where there is none in time."""
        ready, _, _ = select.select([self._reader], [], [], timeout_s)
        return os.read(self._reader, 1) if ready else None


def _end() -> NoReturn:
    """End the process at once, leaving nothing half written."""
    from tinyheap.files import remove_unfinished

    remove_unfinished()
    with suppress(OSError):
        os.write(2, b"Error: interrupted\n")
    os._exit(INTERRUPTED)
