"""How the functions of the Go/JavaScript bridge are called: shapes, and the ABIs that programs speak.

boxed       TinyGo 0.28 on: a reference crosses as an i64.
addressed   before: a reference crosses as the address of its 64 bits, a result that is one is stored through
            a leading pointer, and a context word follows the parameters; up to 0.22 two do.

The type that a program declares for an import says which ABI it speaks.  Each function's shape is written
down once, in `SHAPES`; types, decoding and encoding of all ABIs follow from it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyheap.errors import HostError
from tinyheap.hosts.gojs.script import Thrown, Value, text_from_utf8
from tinyheap.hosts.imports import Signature
from tinyheap.hosts.memory import MASK_32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinyheap.hosts.gojs.references import ValueTable
    from tinyheap.hosts.memory import GuestMemory

_WORDS = {"text": ("i32", "i32"), "slice": ("i32", "i32", "i32"), "int": ("i32",)}
"""The words of each kind of parameter; a ref or handle is one word whose type the ABI chooses."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The parameters and the result of one function, whatever the ABI.

    Parameters are of the kinds ``ref`` (a value), ``handle`` (the reference itself), ``text`` (pointer,
    length), ``slice`` (pointer, length, capacity) and ``int``.  Results are nothing, ``int``, ``ref``, or one
    of these pairs, which are stored through a leading pointer in both ABIs:

        attempt     reference at 0, byte at 8: the result and 1, or what was thrown and 0
        prepared    reference at 0, length at 8
        count       number at 0, byte at 4: how many bytes were copied and 1, or 0 if the value holds no bytes
    """

    parameters: tuple[str, ...]
    result: str = ""

    @property
    def is_pair(self) -> bool:
        """Whether the result is one of the pairs."""
        return self.result in {"attempt", "prepared", "count"}

    def signature(self, context_words: int) -> Signature:
        """The type that a program declares for it, by how many context words its ABI has: none is the boxed one."""
        addressed = context_words > 0
        reference = "i32" if addressed else "i64"
        words = ["i32"] if self.is_pair or (addressed and self.result == "ref") else []
        for kind in self.parameters:
            words += _WORDS.get(kind, (reference,))
        if addressed:
            return Signature((*words, *["i32"] * context_words), ("i32",) if self.result == "int" else ())
        return Signature(tuple(words), {"int": ("i32",), "ref": ("i64",)}.get(self.result, ()))


CONTEXT_WORDS = (0, 1, 2)
"""So many, in some ABI."""
SHAPES = {
    "finalizeRef": Shape(("handle",)),
    "stringVal": Shape(("text",), "ref"),
    "valueGet": Shape(("ref", "text"), "ref"),
    "valueSet": Shape(("ref", "text", "ref")),
    "valueDelete": Shape(("ref", "text")),
    "valueIndex": Shape(("ref", "int"), "ref"),
    "valueSetIndex": Shape(("ref", "int", "ref")),
    "valueCall": Shape(("ref", "text", "slice"), "attempt"),
    "valueInvoke": Shape(("ref", "slice"), "attempt"),
    "valueNew": Shape(("ref", "slice"), "attempt"),
    "valueLength": Shape(("ref",), "int"),
    "valuePrepareString": Shape(("ref",), "prepared"),
    "valueLoadString": Shape(("ref", "slice")),
    "valueInstanceOf": Shape(("ref", "ref"), "int"),
    "copyBytesToGo": Shape(("slice", "ref"), "count"),
    "copyBytesToJS": Shape(("ref", "slice"), "count"),
}


def shape_of(name: str, signature: Signature) -> tuple[Shape, bool] | None:
    """The shape of a function of ``syscall/js`` with that type, and whether it is of the addressed ABI."""
    shape = SHAPES.get(name)
    for context_words in CONTEXT_WORDS:
        if shape is not None and shape.signature(context_words) == signature:
            return shape, context_words > 0
    return None


class Words:
    """Reads values from a program's words and memory, and writes them back.

    Args:
        table: The program's references.
        memory: Gives its memory, once it has one.
    """

    def __init__(self, table: ValueTable, memory: Callable[[], GuestMemory]) -> None:
        self.table = table
        self.memory = memory

    def values(self, address: int, count: int) -> list[Value]:
        """The values of ``count`` references that lie at ``address``."""
        data = self.memory().read(address, min((count & MASK_32) * 8, MASK_32))
        return [self.table.unbox(reference) for (reference,) in struct.iter_unpack("<Q", data)]

    def text(self, address: int, length_bytes: int) -> str:
        """The text that lies at ``address``."""
        return text_from_utf8(self.memory().read(address, length_bytes))

    def store_reference(self, address: int, value: Value) -> None:
        """Store the reference of a value."""
        self.memory().write_u64(address, self.table.box(value))


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Served:
    """One import of one program: the words of a call in, the words of its result out."""

    name: str
    shape: Shape
    addressed: bool
    function: Callable[..., Any]
    words: Words

    def serve(self, *call: int) -> int | None:
        """Do one call.

        Raises:
            HostError: If the function refuses, or throws where the program cannot take it.
        """
        rest = iter(call)
        has_pointer = self.shape.is_pair or (self.addressed and self.shape.result == "ref")
        pointer = next(rest) if has_pointer else 0
        arguments = [self._decode(kind, rest) for kind in self.shape.parameters]
        if self.shape.result == "attempt":
            self._attempt(pointer, arguments)
            return None
        try:
            result = self.function(*arguments)
        except Thrown as thrown:
            raise HostError(f"{self.name} threw {thrown}") from thrown
        return self._encode(pointer, result)

    def _decode(self, kind: str, rest: Iterator[int]) -> Any:  # noqa: ANN401 - each kind has its own type
        word = next(rest)
        if kind == "int":
            return word
        if kind == "text":
            return self.words.text(word, next(rest))
        if kind == "slice":
            length = next(rest) & MASK_32
            next(rest)
            return self.words.values(word, length) if self.shape.result == "attempt" else (word, length)
        reference = self.words.memory().read_u64(word) if self.addressed else word
        return reference if kind == "handle" else self.words.table.unbox(reference)

    def _attempt(self, pointer: int, arguments: list[Any]) -> None:
        try:
            value, is_result = self.function(*arguments), True
        except Thrown as thrown:
            value, is_result = thrown.value, False
        self.words.store_reference(pointer, value)
        self.words.memory().write(pointer + 8, bytes([is_result]))

    def _encode(self, pointer: int, result: Any) -> int | None:  # noqa: ANN401 - each kind has its own type
        match self.shape.result:
            case "ref" if self.addressed:
                self.words.store_reference(pointer, result)
            case "ref":
                reference = self.words.table.box(result)
                return reference - (reference >> 63 << 64)
            case "int":
                return int(result)
            case "prepared":
                value, length_bytes = result
                self.words.store_reference(pointer, value)
                self.words.memory().write_u32(pointer + 8, length_bytes)
            case "count":
                self.words.memory().write_u32(pointer, result or 0)
                self.words.memory().write(pointer + 4, bytes([result is not None]))
        return None
