"""Facts of a guest as JSON and back, exactly: what is read equals what was written."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from tinyheap.json_of import json_of
from tinyheap.recognize.facts import Guest


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
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"these are not a guest's facts: {error}") from error
    return guest


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """The annotations of a dataclass's fields; each has to be compiled, and there are hundreds of facts of one kind."""
    return get_type_hints(kind)


def read_fact(kind: Any, value: Any) -> Any:  # noqa: ANN401 - any type's annotation, and its value
    """``value``, from JSON, as what the annotation ``kind`` says."""
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        return kind(**{name: read_fact(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        some = next(argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else read_fact(some, value)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(read_fact(one, item) for one, item in zip(kinds, value, strict=True))
    if origin is Mapping:
        return {key: read_fact(arguments[1], item) for key, item in value.items()}
    if issubclass(kind, Enum):
        return kind(value)
    if type(value) is not kind:
        raise TypeError(f"invalid value {value!r}: expected {kind.__name__}")
    return value
