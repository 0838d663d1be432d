"""Finding functions by what their bytes mention, without decoding all code.

An address in linear memory stands in code as the constant of an `i32.const` or as the offset of a load or store.
Either is spelled as short as can be, or padded to five bytes: linkers leave room where they filled an address in.
Searching for those bytes finds every function that mentions it, and some that do not: callers decode what is
found.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_signed, encode_unsigned

_CONST = b"\x41"
_CALLS = (b"\x10", b"\x12")
_DIVIDE = b"\x6e"
_SHIFT = b"\x76"
_ACCESS = b"[\x28-\x3e][\x00-\x03]"
"""Opcode and alignment of loads and stores."""


def _unsigned_spellings(number: int) -> list[bytes]:
    """The shortest and the padded spelling of an unsigned 32-bit integer."""
    padded = bytes([*(number >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)), number >> 28])
    return [encode_unsigned(number), padded]


def _signed_spellings(address: int) -> list[bytes]:
    """The same for an address as the signed constant that it is in code."""
    number = address - (1 << 32) if address >> 31 else address
    padded = bytes([*(number >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)), number >> 28 & 0x7F])
    return [encode_signed(number), padded]


class CodeSearch:
    """Searches in one module's code."""

    def __init__(self, module: Module) -> None:
        self.module = module
        bodies = [
            (function.body.code_start, function.body.end, function.index)
            for function in module.defined_functions
            if function.body is not None
        ]
        self._starts = [start for start, _, _ in bodies]
        self._bodies = bodies
        self._callers: dict[int, frozenset[int]] = {}

    def containing(self, encoding: bytes) -> set[int]:
        """Functions whose code contains these bytes."""
        if not self._bodies:
            return set()
        found: set[int] = set()
        data, end = self.module.data, self._bodies[-1][1]
        position = data.find(encoding, self._starts[0], end)
        while position >= 0:
            _, body_end, index = self._bodies[bisect_right(self._starts, position) - 1]
            if position < body_end:
                found.add(index)
                position = data.find(encoding, body_end, end)
            else:
                position = data.find(encoding, position + 1, end)
        return found

    def mentioning(self, addresses: Iterable[int]) -> set[int]:
        """Functions that may mention one of these addresses."""
        if not self._bodies:
            return set()
        wanted = sorted(addresses)
        constants = b"|".join(re.escape(each) for address in wanted for each in _signed_spellings(address))
        offsets = b"|".join(re.escape(each) for address in wanted for each in _unsigned_spellings(address))
        return self._matching(b"(?:%s)" % constants, _CONST) | self._matching(b"(?:%s)" % offsets, _ACCESS)

    def _matching(self, pattern: bytes, before: bytes) -> set[int]:
        """Functions whose code contains `before` followed by `pattern`, both regular expressions."""
        if not self._bodies:
            return set()
        found = re.compile(before + pattern, re.DOTALL).finditer(self.module.data, self._starts[0], self._bodies[-1][1])
        return {self._bodies[bisect_right(self._starts, match.start()) - 1][2] for match in found}

    def dividing_by(self, divisor: int) -> list[int]:
        """Functions that divide by a constant, unsigned, where that stands right before the division."""
        return sorted(self.containing(_CONST + encode_signed(divisor) + _DIVIDE))

    def shifting_by(self, places: int) -> list[int]:
        """Functions that shift right by a constant, unsigned, where that stands right before the shift."""
        return sorted(self.containing(_CONST + encode_signed(places) + _SHIFT))

    def perhaps_dividing_by(self, divisor: int) -> list[int]:
        """Functions with that constant and some unsigned division."""
        return [
            index
            for index in sorted(self.containing(_CONST + encode_signed(divisor)))
            if any(True for _ in self.module.body(index).find("i32.div_u"))
        ]

    def callers(self, function: int) -> frozenset[int]:
        """Functions that call `function` directly."""
        if function not in self._callers:
            candidates: set[int] = set()
            for spelling in _unsigned_spellings(function):
                for call in _CALLS:
                    candidates |= self.containing(call + spelling)
            self._callers[function] = frozenset(
                index
                for index in candidates
                if any(
                    call.immediates[0] == function for _, call in self.module.body(index).find("call", "return_call")
                )
            )
        return self._callers[function]

    def counting(self, encoding: bytes) -> int:
        """How often these bytes stand in all code."""
        if not self._bodies:
            return 0
        return self.module.data.count(encoding, self._starts[0], self._bodies[-1][1])
