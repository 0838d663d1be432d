"""Results as JSON: one way for all that is printed, written to a file, shown in a page or kept in the cache.

The recordings' own rows are not meant: DuckDB writes those (`tinyheap.recordings.rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import singledispatch
from math import isfinite
from typing import Any

from tinyheap.errors import InvalidTypeError


@singledispatch
def json_of(value: object) -> Any:  # noqa: ANN401 - JSON is any of several types
    """What `json.dumps` takes for a result, or for what it consists of.

    Dataclasses, named tuples and mappings become objects, other tuples and lists arrays, and so do NumPy's arrays;
    members of an enumeration become their values, moments text by ISO 8601, bytes hexadecimal digits; a number that is
    not finite becomes null, since JSON has no such number.  What a class of results stands for instead is registered
    beside the class, with ``json_of.register``.

    Raises:
        InvalidTypeError: Nothing in JSON stands for it.
    """
    if value is None or isinstance(value, str | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_of(getattr(value, field.name)) for field in fields(value)}
    # Of moments; of NumPy's numbers and arrays, and of Python's arrays.  So their modules need not be imported here.
    for convert in ("isoformat", "tolist"):
        if hasattr(value, convert):
            return json_of(getattr(value, convert)())
    raise InvalidTypeError(f"a result of type {type(value).__name__} cannot be written as JSON")


@json_of.register
def _(value: Enum) -> Any:  # noqa: ANN401
    return json_of(value.value)


@json_of.register
def _(value: float) -> float | None:
    return float(value) if isfinite(value) else None


@json_of.register
def _(value: bytes) -> str:
    return value.hex()


@json_of.register(list)
def _(value: list[Any]) -> list[Any]:
    return [json_of(each) for each in value]


@json_of.register(tuple)
def _(value: tuple[Any, ...]) -> Any:  # noqa: ANN401
    named = getattr(value, "_asdict", None)
    return [json_of(each) for each in value] if named is None else json_of(named())


@json_of.register(Mapping)
def _(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): json_of(each) for key, each in value.items()}
