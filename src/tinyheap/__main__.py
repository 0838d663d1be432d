"""`python -m tinyheap`: the same as the command `tinyheap`."""

from __future__ import annotations

from tinyheap.cli import main

if __name__ == "__main__":
    main(prog_name="tinyheap")
