"""WebAssembly binaries: bytes <-> module <-> instructions, and rewriting.  Knows no collector.

Public is a `Module`, which is read, an `Editor`, which writes another, and the `Code` and instructions that both speak of.

From the ground up: `leb128` and `reader` (bytes), `immediates` and `opcodes` (one table of all instructions),
`instructions` (walking them), `entities`, `sections` and `names` (what a module holds), `module`; then
`assembler`, `renumbering`, `body_edit`, `draft` and `editor` (changing it).
"""

from tinyheap import _loading

__getattr__, __dir__, __all__ = _loading.attach(__name__)
