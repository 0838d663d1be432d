"""What is generated is what its source makes of it, and the files that hold it say so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

import generated
from project_files import ROOT
from tinyheap.recordings import schema
from typescript import interface, type_of


@pytest.mark.parametrize("path", generated.FILES, ids=lambda path: path.name)
def test_it_is_what_its_source_makes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == generated.FILES[path](text), f"{path.relative_to(ROOT)} is old: run `make generated`, and commit it"
    assert "make generated" in text


def test_the_page_keeps_what_stands_around_its_tables() -> None:
    page = f"before\n{generated.BEGIN}stale text\n{generated.END}after\n"
    made = generated.recordings_page(page)
    assert made.startswith(f"before\n{generated.BEGIN}")
    assert made.endswith(f"{generated.END}after\n")
    assert "stale text" not in made
    for table in schema.TABLES:
        assert f"\n### {table.name}\n" in made
    assert (
        "| `wanted_bytes` | BIGINT | size of the allocation that found the heap full; NULL for a requested collection |\n"
        in made
    )
    assert "| `error` | VARCHAR | why it failed (may be NULL) |\n" in made


@dataclass
class Point:
    """A place,

    or None.
    """

    x: int
    y: tuple[float, ...]
    hidden: object = None


class Shape(TypedDict):
    """A value."""

    name: str | None
    """What it is called."""
    is_filled: bool
    corners: list[Annotated[dict[str, Any], Point]]


def test_classes_as_interfaces() -> None:
    assert interface(Shape) == (
        "/** A value. */\nexport interface Shape {\n  /** What it is called. */\n  name: string | null;\n"
        "  is_filled: boolean;\n  corners: Point[];\n}\n"
    )
    assert interface(Point, ["x", "y"]) == (
        "/**\n * A place,\n *\n * or null.\n */\nexport interface Point {\n  x: number;\n  y: number[];\n}\n"
    )


def test_what_json_cannot_hold_has_no_type() -> None:
    with pytest.raises(TypeError, match="nothing in JSON for"):
        type_of(bytes)
