"""A budget: limits for quantities of a run, and the file that has them.

    baseline = "before.tinyheap"    # a recording, a module, or a run's JSON; its path is relative to the budget's file
    after-calls = 20                # so many calls come before those that garbage and growth per call are of
    peak = "512 KiB"                # at most this
    allocations = "5 %"             # at most 5 % more than the baseline
    growth-per-call = "0 B"

All keys are optional.  A size is written as for the commands, a duration in ns, us, ms or s, a count as a number.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Self

from tinyheap.budgets.quantities import Quantity, Unit
from tinyheap.errors import BudgetError, InputError
from tinyheap.files import reason_of, text_of

BASELINE: Final = "baseline"
AFTER: Final = "after-calls"
KEYS: Final = (BASELINE, AFTER, *Quantity)
MOST_PERCENT: Final = 1_000_000
_PERCENT: Final = re.compile(r"\+?([0-9]{1,7}(?:\.[0-9]{1,6})?)(?: ?%)?")


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """The most that a quantity may be: a number, or so much more than the baseline's."""

    quantity: Quantity
    most: int | None = None
    """In the unit of the quantity; None where the baseline decides."""
    tolerance: Fraction | None = None
    """The share of the baseline's value that may come on top of it; None where the limit is a number."""

    @classmethod
    def read(cls, quantity: Quantity, value: object) -> Self:
        """The limit that a value of a budget says: a number with its unit, or a percentage.

        Raises:
            BudgetError: It says none.
        """
        if isinstance(value, str) and "%" in value:
            return cls(quantity, tolerance=percentage(value))
        return cls(quantity, quantity.unit.read(value))

    def most_for(self, baseline: float | None) -> float | None:
        """The most that is allowed, given the baseline's value; None where that is needed and not known."""
        if self.tolerance is None:
            return self.most
        return None if baseline is None else float(Fraction(baseline) * (1 + self.tolerance))


def percentage(text: str) -> Fraction:
    """The share that a percentage says: ``5 %``, ``2.5%``, ``+5 %``, or ``5`` where nothing else can be meant.

    Raises:
        BudgetError: It says none, or one over a million.
    """
    match = _PERCENT.fullmatch(text.strip())
    share = Fraction(match[1]) / 100 if match else None
    if share is None or share > Fraction(MOST_PERCENT, 100):
        raise BudgetError(f"invalid percentage {text!r}: expected 0 % to {MOST_PERCENT} %, such as '5 %'")
    return share


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for quantities of a run.

    Args:
        limits: One for each quantity that is limited.
        after: How many calls of the host come before those that garbage and growth per call are of, 0 or more.
        baseline: What percentages are of, a recording, a module, or the JSON of an earlier run; None where there is none.
    """

    limits: tuple[BudgetLimit, ...] = ()
    after: int = 0
    baseline: Path | None = None

    @property
    def relative(self) -> tuple[Quantity, ...]:
        """The quantities whose limits are percentages of the baseline."""
        return tuple(each.quantity for each in self.limits if each.tolerance is not None)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The budget in a file.

        Raises:
            InputError: The file cannot be read.
            BudgetError: It is no budget: says in which line, and why.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{text_of(path)}: {reason_of(error)}") from error
        return cls.from_toml(content, text_of(path), path.parent)

    @classmethod
    def from_toml(cls, content: bytes, name: str = "budget", folder: Path = Path()) -> Self:
        """The budget that a text in TOML says.

        Args:
            content: The text, in UTF-8.
            name: What errors call it.
            folder: Where the path of the baseline begins.

        Raises:
            BudgetError: It is no budget: says in which line, and why.
        """
        try:
            text = content.decode()
            values = tomllib.loads(text)
        except UnicodeDecodeError as error:
            raise BudgetError(f"{name}: invalid text at byte {error.start}: expected UTF-8") from error
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            raise BudgetError(f"{name}: invalid TOML: {error}") from error
        read = _Reader(name, text)
        limits = tuple(read.limit(key, value) for key, value in values.items() if key not in (BASELINE, AFTER))
        return cls(limits, read.after(values), read.baseline(values, folder))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the values of a budget; errors have the place."""

    name: str
    text: str

    def limit(self, key: str, value: object) -> BudgetLimit:
        try:
            quantity = Quantity(key)
        except ValueError:
            close = get_close_matches(key, KEYS, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise self._error(key, f"invalid key {key!r}: expected {', '.join(KEYS)}{meant}") from None
        try:
            return BudgetLimit.read(quantity, value)
        except BudgetError as error:
            raise self._error(key, f"{key}: {error}") from error

    def after(self, values: Mapping[str, Any]) -> int:
        try:
            return Unit.COUNT.read(values.get(AFTER, 0))
        except BudgetError as error:
            raise self._error(AFTER, f"{AFTER}: {error}") from error

    def baseline(self, values: Mapping[str, Any], folder: Path) -> Path | None:
        found = values.get(BASELINE)
        if found is None:
            return None
        if not isinstance(found, str) or not found or "\0" in found:
            raise self._error(BASELINE, f"invalid {BASELINE} {found!r}: expected the name of a file")
        return folder / found

    def _error(self, key: str, message: str) -> BudgetError:
        """An error with the line of a key, where that is written as keys are."""
        written = re.compile(rf"""\s*(?:\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
        lines = (number for number, line in enumerate(self.text.splitlines(), 1) if written.match(line))
        line = next(lines, None)
        return BudgetError(f"{self.name}{'' if line is None else f', line {line}'}: {message}")
