"""The public interface is what was agreed on: a name, a parameter or a type that changes is seen here."""

from __future__ import annotations

import difflib
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import public_api


def test_public_interface_is_as_agreed_on() -> None:
    agreed, found = public_api.SNAPSHOT.read_text(encoding="utf-8"), public_api.describe_api()
    changes = difflib.unified_diff(agreed.splitlines(), found.splitlines(), "agreed on", "found", lineterm="", n=0)
    assert found == agreed, "\n".join(["the public interface changed; if that is meant: make api", *changes])


class Color(Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int | None = None


class Shape:
    scale: float

    def __init__(self, *points: Point, color: Color = Color.RED, close: object = print) -> None: ...

    @property
    def area(self) -> float:
        """What a property gives is part of the interface, not that it is one."""
        return 0

    @cached_property
    def length(self) -> float:
        """The same."""
        return 0

    @classmethod
    def square(cls, side: int) -> Shape:
        """A square."""
        return cls()

    def __len__(self) -> int:
        return 0

    def _hidden(self) -> None: ...


def test_what_is_said_of_a_class() -> None:
    Shape.__module__ = "tinyheap.shapes"
    assert list(public_api.describe("tinyheap.Shape", Shape)) == [
        "class tinyheap.Shape",
        "    def __init__(self, *points: Point, color: Color = Color.RED, close: object = ...) -> None",
        "    def __len__(self) -> int",
        "    area: float",
        "    length: float",
        "    scale: float",
        "    classmethod square(cls, side: int) -> Shape",
    ]


def test_what_is_said_of_tuples_enumerations_and_constants() -> None:
    for described in (Point, Color):
        described.__module__ = "tinyheap.shapes"
    assert list(public_api.describe("Point", Point)) == ["class Point(tuple)", "    x: int", "    y: int | None"]
    assert list(public_api.describe("Color", Color)) == ["class Color(Enum)", "    RED = 1"]
    assert list(public_api.describe("LIMIT", 3)) == ["LIMIT: int"]
