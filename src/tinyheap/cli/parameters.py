"""Types of command-line parameters that several commands share."""

from __future__ import annotations

import re
from typing import Final

import click

from tinyheap.units import GIB, KIB, MIB

UNITS_BYTES: Final = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
"""Powers of two only: `KB`, which means two things, is refused."""


class SizeType(click.ParamType[int]):
    """A size in bytes: `65536`, `64K` or `64KiB`; also M, MiB, G and GiB, in either case."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes; a usage error where the text says none, or 0."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,15}) ?([a-z]*)", value.strip().lower())
        unit_bytes = UNITS_BYTES.get(match[2]) if match else None
        if match is None or unit_bytes is None or int(match[1]) == 0:
            self.fail(f"{value!r} is no size; write a positive number and a unit: 512, 64KiB, 16M", param, ctx)
        return int(match[1]) * unit_bytes


SIZE: Final = SizeType()
