"""What an earlier run took, from the JSON that a command wrote of it: a baseline that is small enough to lie beside the code.

`tinyheap check --json` writes the quantities of a budget as they are.  `tinyheap run --json` has those of them that its
summary counts in the same way; what is in use it counts in whole blocks, and that is another quantity.  Both are files of
somebody, so that each value is checked before it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from tinyheap.budgets.measuring import PRECISIONS, Measurement, without_sites
from tinyheap.budgets.quantities import MOST_COUNT, Quantity
from tinyheap.errors import BudgetError
from tinyheap.files import reason_of, text_of
from tinyheap.units import MIB, WASM_PAGE_BYTES

MOST_BYTES: Final = 64 * MIB
"""Of a file: the summary of a run with some two hundred thousand collections."""
_SHOWN: Final = 60
"""Characters of a value that an error shows."""
_BLOCKS: Final = (
    "`tinyheap run --json` counts whole blocks, and not what was asked for: keep `tinyheap check --json` instead"
)
_CALLS: Final = "`tinyheap run --json` has nothing of single calls: keep `tinyheap check --json` instead"
_UNSEEN: Final = "nothing was seen of the program's heap"
_NOT_IN_RUN: Final[Mapping[Quantity, str]] = {
    Quantity.PEAK: _BLOCKS,
    Quantity.LIVE_AT_END: _BLOCKS,
    Quantity.GARBAGE_PER_CALL: _CALLS,
    Quantity.GROWTH_PER_CALL: _CALLS,
}


@dataclass(frozen=True, slots=True)
class KeptMeasurements:
    """The quantities of an earlier run, without the allocation sites behind them."""

    failure: str | None
    """Why that run did not pass, a phrase; None where it did."""
    after: int | None
    """How many calls came before those that garbage and growth per call are of; None where these are not known."""
    measured: Mapping[Quantity, Measurement]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """What the file of a baseline says.

        Raises:
            BudgetError: It cannot be read, or is not the JSON of ``tinyheap check --json`` or ``tinyheap run --json``.
        """
        try:
            with Path(path).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise BudgetError(f"baseline {text_of(path)}: {reason_of(error)}") from error
        return cls.from_json(content, text_of(path))

    @classmethod
    def from_json(cls, content: bytes, name: str = "baseline") -> Self:
        """What a text in JSON says.

        Args:
            content: The text, in UTF-8.
            name: What errors call it.

        Raises:
            BudgetError: It is not the JSON of ``tinyheap check --json`` or ``tinyheap run --json``: says where, and why.
        """
        if len(content) > MOST_BYTES:
            raise BudgetError(
                f"baseline {name}: is larger than {MOST_BYTES // MIB} MiB; keep `tinyheap check --json` instead"
            )
        try:
            values = json.loads(content.decode())
        except UnicodeDecodeError as error:
            raise BudgetError(f"baseline {name}: invalid text at byte {error.start}: expected JSON in UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise BudgetError(f"baseline {name}: invalid JSON: {error}") from error
        place = _Place(name, "", values)
        if isinstance(values, dict) and "checks" in values:
            return cls(*_of_check(place))
        if isinstance(values, dict) and {"heap", "memory_bytes"} <= values.keys():
            return cls(*_of_run(place))
        raise BudgetError(
            f"baseline {name}: is not the JSON of a run: expected what `tinyheap check --json` or `tinyheap run --json` wrote"
        )

    def measure(self, quantities: Iterable[Quantity], *, after: int = 0) -> tuple[Measurement, ...]:
        """Quantities of that run, in the order in which they were asked for.

        Args:
            quantities: Which.
            after: How many calls of the host are to come before those that garbage and growth per call are of.
        """
        return tuple(self._measured(each, after) for each in quantities)

    def _measured(self, quantity: Quantity, after: int) -> Measurement:
        if quantity not in self.measured:
            return without_sites(quantity, unknown="it was not measured in that run")
        found = self.measured[quantity]
        if not quantity.is_of_calls or found.value is None or self.after == after:
            return found
        return without_sites(quantity, unknown=f"it is of the calls after the first {self.after:,}, and not {after:,}")


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in the JSON, and where it is."""

    file: str
    path: str
    value: Any

    def refuse(self, expected: str) -> NoReturn:
        found = repr(self.value)
        shown = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}..."
        raise BudgetError(f"baseline {self.file}: invalid {self.path or 'value'} {shown}: expected {expected}")

    def at(self, key: str) -> _Place:
        """A value of an object, None where it has none by that name."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return _Place(self.file, f"{self.path}.{key}" if self.path else key, self.value.get(key))

    def each(self) -> Iterator[_Place]:
        """What is in a list; nothing where the value is not there."""
        if not isinstance(self.value, list | None):
            self.refuse("a list")
        for index, value in enumerate(self.value or ()):
            yield _Place(self.file, f"{self.path}[{index}]", value)

    def text(self) -> str | None:
        if not isinstance(self.value, str | None):
            self.refuse("a text or null")
        return self.value

    def number(self) -> float | None:
        """A number from 0, or None."""
        value = self.value
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_COUNT:
            self.refuse("a number, 0 or more")
        return value

    def count(self) -> int | None:
        """A whole number from 0, or None."""
        value = self.number()
        if not isinstance(value, int | None):
            self.refuse("a whole number, 0 or more")
        return value


def _of_check(place: _Place) -> tuple[str | None, int | None, dict[Quantity, Measurement]]:
    found: dict[Quantity, Measurement] = {}
    for each in (*place.at("checks").each(), *place.at("others").each()):
        measurement = _kept(each)
        if measurement.quantity in found:
            each.at("quantity").refuse("each quantity once")
        found[measurement.quantity] = measurement
    return place.at("failure").text(), place.at("after_calls").count(), found


def _kept(place: _Place) -> Measurement:
    name, unit, precision = (place.at(key) for key in ("quantity", "unit", "precision"))
    try:
        quantity = Quantity(name.value)
    except ValueError:
        name.refuse(", ".join(Quantity))
    if unit.value != quantity.unit.value:
        unit.refuse(f"{quantity.unit.value!r}, which {quantity} is in")
    if precision.value not in PRECISIONS:
        precision.refuse("'at most', 'about' or an empty text")
    value, unknown = place.at("measured").number(), place.at("unknown").text()
    if value is None and unknown is None:
        place.at("measured").refuse("a number, or in `unknown` why there is none")
    return without_sites(quantity, value, None if value is not None else unknown, precision.value)


def _of_run(place: _Place) -> tuple[str | None, int | None, dict[Quantity, Measurement]]:
    heap, memory_bytes, exit_code = place.at("heap"), place.at("memory_bytes").count(), place.at("exit_code").count()
    found = {each: without_sites(each, unknown=why) for each, why in _NOT_IN_RUN.items()}
    found[Quantity.PAGES] = (
        without_sites(Quantity.PAGES, unknown="the program exports no memory")
        if memory_bytes is None
        else without_sites(Quantity.PAGES, memory_bytes // WASM_PAGE_BYTES)
    )
    keys = {
        Quantity.ALLOCATIONS: "allocations",
        Quantity.LONGEST_PAUSE: "longest_pause_ns",
        Quantity.COLLECTOR_TIME: "pause_ns",
    }
    for quantity, key in keys.items():
        if heap.value is None:
            found[quantity] = without_sites(quantity, unknown=_UNSEEN)
            continue
        value = heap.at(key).count()
        if value is None:
            heap.at(key).refuse("a whole number, 0 or more")
        found[quantity] = without_sites(quantity, value)
    failure = place.at("error").text()
    if failure is None and exit_code:
        failure = f"the program ended with exit code {exit_code}"
    return failure, None, found
