"""Facts of a guest as JSON and back, exactly: what is read equals what was written."""

from __future__ import annotations

import json
import types
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from tinyheap.json_of import json_of
from tinyheap.recognize.facts import Guest

Facts = TypeVar("Facts")

_LONGEST_BYTES: Final = 1 << 20
"""Facts take some thousand bytes; what claims to be longer was not written here."""


def encode_guest(guest: Guest) -> bytes:
    """A guest as JSON."""
    return json.dumps(json_of(guest), separators=(",", ":")).encode()


def decode_guest(data: bytes) -> Guest:
    """The guest that was encoded.

    Raises:
        ValueError: It is not one that `encode_guest` wrote.
    """
    try:
        guest: Guest = read_fact(Guest, json.loads(data))
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise ValueError(f"these are not a guest's facts: {error}") from error
    return guest


def encode_tersely(facts: object) -> bytes:
    """Facts as a module keeps them, where each byte counts: JSON without names of fields or members, compressed by zlib."""
    return zlib.compress(json.dumps(_without_names(facts), separators=(",", ":")).encode(), 9)


def decode_terse(kind: type[Facts], data: bytes) -> Facts:
    """The facts of a kind that were encoded tersely.

    Raises:
        ValueError: They are none that `encode_tersely` wrote, of a kind with as many fields.
    """
    try:
        facts: Facts = read_fact(kind, json.loads(zlib.decompressobj().decompress(data, _LONGEST_BYTES)))
    except (zlib.error, TypeError, LookupError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"these are not facts that a module keeps: {error}") from error
    return facts


def _without_names(value: object) -> Any:  # noqa: ANN401 - JSON is any of several types
    if is_dataclass(value):
        return [_without_names(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Enum):
        return list(type(value)).index(value)
    return [_without_names(each) for each in value] if isinstance(value, tuple) else json_of(value)


def read_fact(kind: Any, value: Any) -> Any:  # noqa: ANN401 - any type's annotation, and its value
    """``value``, from JSON, as what the annotation ``kind`` says."""
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - any type's annotation
    """What reads values of a kind; made once, since a module has thousands of facts of few kinds."""
    if is_dataclass(kind):
        hints, names = get_type_hints(kind), [field.name for field in fields(kind)]
        return lambda value: kind(  # type: ignore[operator]
            **{
                name: _reader(hints[name])(item)
                for name, item in (zip(names, value, strict=True) if isinstance(value, list) else value.items())
            }
        )
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        some = next(argument for argument in arguments if argument is not types.NoneType)
        return lambda value: None if value is None else _reader(some)(value)
    if origin is tuple and arguments[-1] is Ellipsis:
        return lambda value: tuple(map(_reader(arguments[0]), value))
    if origin is tuple:
        return lambda value: tuple(_reader(one)(item) for one, item in zip(arguments, value, strict=True))
    if origin is Mapping:
        return lambda value: {key: _reader(arguments[1])(item) for key, item in value.items()}
    if issubclass(kind, Enum):
        return lambda value: list(kind)[value] if isinstance(value, int) else kind(value)
    return partial(_read_plain, kind)


def _read_plain(kind: type, value: object) -> object:
    if type(value) is not kind:
        raise TypeError(f"invalid value {value!r}: expected {kind.__name__}")
    return value
