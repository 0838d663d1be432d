"""Processes that end with the one that began them, however that ends.

A process that is killed cannot end those that it began.  So it holds one end of a pipe for each, and the other waits for
the end of the file, which comes when nobody holds it any more.

    python -m tinyheap.lab.leash FD WORDS    is  python -m tinyheap WORDS  that ends with whoever holds the pipe of FD
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def leash() -> Iterator[int]:
    """The file descriptor that is passed to a process which is to end no later than this block, and this process."""
    far, near = os.pipe()
    try:
        yield far
    finally:
        os.close(near)
        os.close(far)


def main() -> None:
    """Run the command, and end as soon as nobody holds the leash."""
    held = int(sys.argv.pop(1))
    os.set_inheritable(held, False)
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    runpy.run_module("tinyheap", run_name="__main__", alter_sys=True)


def _end_with(held: int) -> None:
    os.read(held, 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
