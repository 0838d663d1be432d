"""Types of a module's variables, as its debug information tells: what its memory is made of.

A type is known by its *number* in a `Types`; types refer to each other by numbers, so that they can be as recursive as those of
programs are.  Sizes and offsets are in bytes.  What has no meaning for whoever reads memory is not here: a type that is another
by a new name has the new name and is otherwise the other one, and qualifiers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

from tinyheap.symbols.places import LONGEST_NAME, Variable

_DEEPEST: Final = 64
"""Fields within each other, at most."""


class Kind(StrEnum):
    """What a type is made of."""

    BOOL = "bool"
    SIGNED = "signed"
    UNSIGNED = "unsigned"
    FLOAT = "float"
    COMPLEX = "complex"
    POINTER = "pointer"
    """To ``element``; to something unknown where that is -1."""
    RECORD = "record"
    """``fields``, which may overlap: a union is one, too."""
    ARRAY = "array"
    """``count`` times ``element``."""
    UNKNOWN = "unknown"
    """Bytes of which nothing else is known."""


class Field(NamedTuple):
    """A part of a record."""

    name: str
    offset_bytes: int
    type: int
    """Its type's number."""


@dataclass(frozen=True, slots=True)
class Type:
    """A type."""

    kind: Kind
    name: str
    """As the language's readers write it: ``main.node``, ``[]string``, ``*main.node``, ``[8]uint8``."""
    size_bytes: int
    element: int = -1
    """The number of what a pointer points to, or an array consists of; -1 for none."""
    count: int = 0
    """Of an array's elements."""
    fields: tuple[Field, ...] = ()

    def field(self, name: str) -> Field | None:
        """The field of this name; None where there is none."""
        return next((each for each in self.fields if each.name == name), None)


class TypedVariable(NamedTuple):
    """A variable that has an address of its own in linear memory."""

    name: str
    address: int
    size_bytes: int
    type: int
    """Its type's number."""


@dataclass(frozen=True)
class Types:
    """The types of a module, and the variables that have an address.

    Args:
        types: By number.
        variables: The largest first.
        parts: Of variables that a compiler has taken apart, by their own names, such as ``main.link.history``; their type is -1
            where a part is none of the variable's fields.
        unplaced: Names and types of global variables without an address: what they held was known to the compiler, as where
            a variable always points to the same place, and is written into the code.
        problem: Why debug information that is there could not be read; None where there is none, or no problem.
    """

    types: Sequence[Type] = ()
    variables: Sequence[TypedVariable] = ()
    parts: Sequence[TypedVariable] = ()
    unplaced: Sequence[tuple[str, int]] = ()
    problem: str | None = field(default=None)

    def __getitem__(self, number: int) -> Type:
        return self.types[number]

    def __bool__(self) -> bool:
        return bool(self.types)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The types that have a name, the larger one where two have the same."""
        found: dict[str, int] = {}
        for number, each in enumerate(self.types):
            if each.name not in found or self.types[found[each.name]].size_bytes < each.size_bytes:
                found[each.name] = number
        return found

    @property
    def sizes(self) -> tuple[Variable, ...]:
        """The variables without their types."""
        return tuple(Variable(name, address, size_bytes) for name, address, size_bytes, _ in self.variables)

    @staticmethod
    def of_json(data: Mapping[str, Any]) -> Types:
        """What a reader answered (`worker`).

        Raises:
            LookupError, TypeError, ValueError: It is not what a reader answers.
        """
        types = [_type(*each, limit=len(data["types"])) for each in data["types"]]
        variables = [_variable(*each, limit=len(types)) for each in data["variables"]]
        unplaced = [(str(name)[:LONGEST_NAME], _within(number, len(types))) for name, number in data["unplaced"]]
        parts = [_part(types, *each) for each in data["parts"]]
        return Types(types, variables, parts, unplaced)


def _type(
    kind: str,
    name: str,
    size_bytes: int,
    element: int,
    count: int,
    fields: Sequence[tuple[str, int, int]],
    *,
    limit: int,
) -> Type:
    parts = (Field(str(each), int(at), _within(number, limit)) for each, at, number in fields)
    return Type(
        Kind(kind), str(name)[:LONGEST_NAME], int(size_bytes), _within(element, limit), int(count), tuple(parts)
    )


def _variable(name: str, address: int, size_bytes: int, number: int, *, limit: int) -> TypedVariable:
    return TypedVariable(str(name)[:LONGEST_NAME], int(address), int(size_bytes), _within(number, limit))


def _part(types: Sequence[Type], name: str, number: int, offset: int, address: int, size_bytes: int) -> TypedVariable:
    """A part of a variable, by the field that begins where it does."""
    number = _within(number, len(types))
    name = str(name)[:LONGEST_NAME]
    for _ in range(_DEEPEST):
        if number < 0 or (offset == 0 and types[number].size_bytes <= size_bytes):
            break
        fields = [each for each in types[number].fields if each.offset_bytes <= offset]
        if not fields:
            break
        field = max(fields, key=lambda each: each.offset_bytes)
        name, number, offset = f"{name}.{field.name}", field.type, offset - field.offset_bytes
    is_field = number >= 0 and offset == 0 and types[number].size_bytes == size_bytes
    return TypedVariable(
        name + (f"+{offset}" if offset else ""), int(address), int(size_bytes), number if is_field else -1
    )


def _within(number: int, limit: int) -> int:
    if not -1 <= number < limit:
        raise ValueError(f"invalid type {number}: expected one of {limit}")
    return number
