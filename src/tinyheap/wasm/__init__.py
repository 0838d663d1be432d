"""WebAssembly binaries: bytes <-> module <-> instructions, and rewriting.  Knows no collector.

From the ground up: `leb128` and `reader` (bytes), `immediates` and `opcodes` (one table of all instructions),
`instructions` (walking them), `entities`, `sections` and `names` (what a module holds), `module`; then
`assembler`, `renumbering`, `body_edit`, `writer` and `editor` (changing it).
"""

from tinyheap.wasm.assembler import Code
from tinyheap.wasm.editor import EMPTY, Editor
from tinyheap.wasm.immediates import Catch, MemoryArgument
from tinyheap.wasm.instructions import Instruction
from tinyheap.wasm.module import Module

__all__ = ["EMPTY", "Catch", "Code", "Editor", "Instruction", "MemoryArgument", "Module"]
