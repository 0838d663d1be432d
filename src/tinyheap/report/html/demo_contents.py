"""What the page of a demo is given: two modules, which it runs side by side, and what it takes to run them.

`demo_page` fills all of it in.  The page's code sees the same: `make generated` writes `web/src/demo/schema.ts` from here.
"""

from __future__ import annotations

from typing import Final, TypedDict

COLUMNS: Final = {"module": ("original", "transplanted")}
"""The bytes of both modules; the columns are named ``module.original`` and ``module.transplanted``."""


class BridgeFunction(TypedDict):
    """A function of the Go/JavaScript bridge that the program imports; what the words mean is said in `hosts.gojs.abi`."""

    name: str
    """Without ``syscall/js.``."""
    parameters: list[str]
    result: str


class HeapPlaces(TypedDict):
    """Where in the program's memory its heap lies, and how its block table is to be read."""

    start_address: int | None
    """The first block's address, where it is a constant."""
    start_variable_address: int | None
    """The word that holds it, where it is a variable."""
    table_start_variable_address: int
    """The word that holds the block table's address, which is the end of the blocks."""
    block_bytes: int
    has_planes: bool
    """Whether a byte of the table holds the low bits of its four states in its low nibble, and the high ones in the high one;
    else two bits a state."""
    head_is_last: bool
    """Whether an object's last block is its head; else its first."""


class DemoFacts(TypedDict):
    """What there is to know of the program."""

    name: str
    """Of the module's file."""
    driver: str
    """By which convention it is called: ``sh-syntax``, ``reactor`` or ``script``."""
    starts_anew: bool
    """Whether each text has a new instance of the module, as with the JavaScript of the program's own package."""
    language: str
    """Of its texts: ``go`` or ``shell``."""
    process_arguments: list[str | int]
    """What sh-syntax is called with: numbers, and names of numbers that depend on the text.  Empty for others."""
    bridge: list[BridgeFunction]
    is_addressed: bool
    """Whether references cross as addresses of 64 bits; else as numbers."""
    ticks_in_nanoseconds: bool
    """Whether the program's clock and its sleep are in nanoseconds, as numbers of 64 bits; else in milliseconds."""
    heap: HeapPlaces
    is_exact: bool
    """Whether both memories have to be equal in the end."""
    text: str | None
    """What is formatted at first; None for a text of the page's own."""
    tinyheap_version: str
