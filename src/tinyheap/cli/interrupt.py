"""Ctrl-C while a program runs: it ends the program in order, wherever that is.

Python handles a signal only between two of its own instructions, which a program that computes does not let it come to.
So a thread waits for the signal, by a pipe that the interpreter writes to at once.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

EXIT_CODE: Final = 128 + signal.SIGINT
GRACE_S: Final = 2.0
"""For the program to end in order; one that waits for input in the operating system cannot."""


@contextmanager
def on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, the first SIGINT calls ``stop`` from another thread.

    If that does not lead out of here in time, or at the next SIGINT, the whole process ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old_handler = signal.signal(signal.SIGINT, lambda *_: None)
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old_writer)
        signal.signal(signal.SIGINT, old_handler)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _watch(reader: int, stop: Callable[[], None]) -> None:
    """Wait for a signal, or for the pipe's end."""
    if not os.read(reader, 1):
        return
    stop()
    ready, _, _ = select.select([reader], [], [], GRACE_S)
    if not ready or os.read(reader, 1):
        os.write(2, b"Error: interrupted\n")
        os._exit(EXIT_CODE)
