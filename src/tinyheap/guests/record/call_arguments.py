"""Arguments and results of the host's calls as rows, where they are to be kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wasmtime import Func

from tinyheap.recordings.row_types import CallArgumentRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmtime import Instance, Store

_BITS: Final = {"i32": 32, "i64": 64}
_REALS: Final = ("f32", "f64")
RESULT: Final = 0
"""The position of a result; arguments are counted from 1."""


class FunctionType(NamedTuple):
    """The types of a function, as WebAssembly names them."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]


def types_of(instance: Instance, store: Store) -> Mapping[str, FunctionType]:
    """The types of the functions that an instance exports, by name."""
    functions = {name: item for name, item in instance.exports(store).items() if isinstance(item, Func)}
    types = {name: function.type(store) for name, function in functions.items()}
    return {
        name: FunctionType(tuple(map(str, each.params)), tuple(map(str, each.results))) for name, each in types.items()
    }


def rows_of(
    call_number: int, kind: FunctionType, arguments: tuple[object, ...], result: object
) -> Iterator[CallArgumentRow]:
    """The rows of a call.

    Args:
        call_number: of the call.
        kind: what the function takes and gives.
        arguments: what it was given, which need not be what it takes: then it was not entered.
        result: what it gave; None for nothing, or where it did not return.
    """
    for position, (name, value) in enumerate(zip(kind.parameters, arguments, strict=False), start=1):
        yield _row(call_number, position, name, value)
    if len(kind.results) == 1 and result is not None:
        yield _row(call_number, RESULT, kind.results[0], result)


def _row(call_number: int, position: int, name: str, value: object) -> CallArgumentRow:
    integer = _signed(value, _BITS[name]) if name in _BITS and isinstance(value, int) else None
    real = float(value) if name in _REALS and isinstance(value, int | float) else None
    return CallArgumentRow(call_number, position, name, integer, real)


def _signed(value: int, bits: int) -> int:
    """A number that may have been given with or without its sign, with it."""
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half
