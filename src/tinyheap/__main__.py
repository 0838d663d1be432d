"""The command `tinyheap`, also as `python -m tinyheap`.

Streams and Ctrl-C are seen to before anything else is imported, which takes most of the time of a start.
"""

from __future__ import annotations

from typing import NoReturn

from tinyheap import process


def main() -> NoReturn:
    """Run the command that `sys.argv` asks for."""
    process.run(_command)


def _command() -> None:
    from tinyheap.cli import main as command

    command(prog_name="tinyheap")


if __name__ == "__main__":
    main()
