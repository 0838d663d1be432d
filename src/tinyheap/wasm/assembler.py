"""A small assembler: code as a chain of calls, one an instruction.

    Code().local_get(0).i32_const(5).i32_add().i32_store(8).end()

An instruction's name has its dots replaced by underscores; Python's own words get an underscore behind
(`if_`, `else_`, `return_`, `try_`).  Immediates are as `immediates` describes them: a load's or store's can
be its offset alone.  Whole modules are built by `editor.Editor`, starting from an empty one.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass

from tinyheap.wasm import instructions
from tinyheap.wasm.opcodes import OPCODES

_PYTHON_NAMES = {
    (name + "_" if keyword.iskeyword(name) else name.replace(".", "_")): name
    for name in (opcode.name for opcode in OPCODES)
}


@dataclass(frozen=True, slots=True)
class Code:
    """Instructions, as bytes in `encoding`: each method returns code with one more; `+` joins codes."""

    encoding: bytes = b""

    def __getattr__(self, name: str) -> Callable[..., Code]:
        """The method that appends an instruction; it raises ModuleEditError on wrong immediates."""
        if name not in _PYTHON_NAMES:
            raise AttributeError(f"invalid instruction {name!r}: expected a name such as i32_const")
        return lambda *immediates: self + instructions.encode(_PYTHON_NAMES[name], *immediates)

    def __add__(self, other: Code | bytes) -> Code:
        return Code(self.encoding + (other.encoding if isinstance(other, Code) else other))

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *_PYTHON_NAMES]

    def __str__(self) -> str:
        return "; ".join(str(found) for _, found in instructions.walk(self.encoding, 0, len(self.encoding)))
