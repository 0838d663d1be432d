"""What an instrumented module and its recorder agree on: imports, exports, and the call instructions that have numbers.

Who runs a module that was instrumented before needs nothing else of what instruments.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tinyheap.symbols.places import Chain, Places

if TYPE_CHECKING:
    from tinyheap.wasm import Module

RECORDER_IMPORT: Final = "tinyheap.recorder"
NOTE: Final = "note"
"""The one function that is imported from there: (kind, address, size, layout), all i32."""
GROWN: Final = "grown"
"""Where memory grows by instructions of the module, it imports this from there, too: (pages asked for, what the instruction
gave, pages now), all i32."""
SHADOW_STACK_EXPORT: Final = "tinyheap.shadow_stack"

PAGES: Final = 16
ENTRY_BYTES: Final = 8
ENTRIES: Final = PAGES * 65536 // ENTRY_BYTES - 1
"""Calls within calls that there is room for.  Each takes 16 bytes of the native stack at least, a return address and a
frame pointer, and that is 512 KiB unless wasmtime is asked for more: a quarter of what this is made for."""
INDIRECT: Final = -1
"""The callee of a call through a table or a reference."""
GROWING: Final = -2
"""What a ``memory.grow`` of the first memory is the call of; it may be a target, like a function."""
GROW: Final = "memory.grow"

_END_OF_HEAD: Final = b"\0"
_NUMBER: Final = "i"
"""The type code of arrays: 32 bits, since a module's indices and offsets stay far below what those can say."""


@dataclass(slots=True)
class Sites:
    """Call instructions by number, from 1: entry ``number - 1`` of each array.

    Args:
        functions: in which function of the module each stands.
        offsets: where in the module's file, in bytes.
        callees: the function called, or `INDIRECT`.
        names: of functions that are mentioned, by index, where they are known.
        code_offset: where in the module's file the content of its code section begins, in bytes.
        places: in source files, by offset from there.
    """

    functions: array[int] = field(default_factory=lambda: array(_NUMBER))
    offsets: array[int] = field(default_factory=lambda: array(_NUMBER))
    callees: array[int] = field(default_factory=lambda: array(_NUMBER))
    names: dict[int, str] = field(default_factory=dict)
    code_offset: int = 0
    places: Places = field(default_factory=Places)

    def __len__(self) -> int:
        return len(self.functions)

    def add(self, function: int, offset: int, callee: int) -> int:
        """The number of one more."""
        self.functions.append(function)
        self.offsets.append(offset)
        self.callees.append(callee)
        return len(self)

    def take_names(self, names: Mapping[int, str]) -> None:
        """Keep those of the functions that are mentioned."""
        self.names = {index: names[index] for index in sorted({*self.functions, *self.callees}) if index in names}

    def name(self, function: int) -> str:
        """A function's name, or what stands for it."""
        if function == GROWING:
            return GROW
        return self.names.get(function, f"function[{function}]")

    def take_places(self, module: Module, symbols: Module) -> None:
        """Find out which places in source files they are, and names that are missing.

        Args:
            module: whose call instructions they are.
            symbols: the module with the debug information of the same code.
        """
        from tinyheap.symbols.reading import code_section, places_of

        code = code_section(module)
        self.code_offset = 0 if code is None else code.offset
        nameless = [index for index in sorted({*self.functions, *self.callees}) if index not in self.names]
        bodies = {index: body for index in nameless if index >= 0 and (body := module.functions[index].body)}
        entries = {index: body.code_start - self.code_offset for index, body in bodies.items()}
        addresses = {*entries.values(), *(offset - self.code_offset for offset in self.offsets)}
        self.places = places_of(symbols, sorted(addresses))
        known = {index: self.places.chain(address) for index, address in entries.items()}
        self.names |= {index: chain[0].function for index, chain in known.items() if chain and chain[0].function}

    def chain(self, number: int) -> Chain:
        """The places of a site, outermost first; empty where they are not known."""
        return self.places.chain(self.offsets[number - 1] - self.code_offset)

    def encode(self) -> bytes:
        """All of it in some bytes a site."""
        columns = (_little(column).tobytes() for column in (self.functions, self.offsets, self.callees))
        head = {"names": list(self.names.items()), "code_offset": self.code_offset, "places": self.places.as_json()}
        return zlib.compress(b"".join([json.dumps(head).encode(), _END_OF_HEAD, *columns]))

    @staticmethod
    def decode(data: bytes) -> Sites:
        """What was encoded.

        Raises:
            ValueError: It was not.
        """
        try:
            head, _, plain = zlib.decompress(data).partition(_END_OF_HEAD)
        except zlib.error as error:
            raise ValueError(f"invalid sites: {error}") from error
        third = len(plain) // 3
        functions, offsets, callees = (_little(array(_NUMBER, plain[at : at + third])) for at in (0, third, 2 * third))
        facts = json.loads(head)
        names, places = dict(facts["names"]), Places.of_json(facts["places"])
        return Sites(functions, offsets, callees, names, facts["code_offset"], places)


def _little(column: array[int]) -> array[int]:
    """The same numbers in the other order of bytes, on machines that have it."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column
