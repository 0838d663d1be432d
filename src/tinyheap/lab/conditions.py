"""Conditions: choices of options of ``tinyheap run``.

A *dimension* is an option, by its name there.  Its values are written as there, and kept in one spelling, so that the same
condition is the same text; ``default`` leaves the option out.  Two more choose what is run: ``module``, another module, and
``input``, a file or a word for the program.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from glob import glob, has_magic
from typing import Final

from tinyheap.errors import ConditionError, HeapError, PolicyError
from tinyheap.files import is_utf8, text_of
from tinyheap.guests.opening import COLLECTORS, LEAKING, NATIVE
from tinyheap.guests.policy import MOST, headroom_text, parse_headroom
from tinyheap.heap.collectors import named_collector
from tinyheap.heap.engines import ENGINES
from tinyheap.heap.growth import growth_text, parse_growth
from tinyheap.units import parse_size

DEFAULT: Final = "default"
"""The value of a dimension whose option is left out."""
MOST_VALUES: Final = 100_000
"""Of one dimension."""
_EXPECTED_RANGE: Final = "expected FIRST..LAST/xN with N of 2 or more, or FIRST..LAST/+STEP, from small to large"


def _size(text: str) -> str:
    return str(parse_size(text))


def _growth(text: str) -> str:
    return growth_text(parse_growth(text, parse_size))


def _headroom(text: str) -> str:
    return headroom_text(parse_headroom(text))


def _collector(text: str) -> str:
    return str(named_collector(text))


def _count(text: str) -> str:
    if not (re.fullmatch("[0-9]{1,19}", text) and 1 <= int(text) <= MOST):
        raise ConditionError(f"invalid number {text!r}: expected a whole number from 1 to {MOST}")
    return str(int(text))


def _flag(text: str) -> str:
    return DEFAULT if _one_of("yes", "no")(text) == "no" else "yes"


def _word(text: str) -> str:
    if not text or not is_utf8(text):
        raise ConditionError(f"invalid name {text_of(text)!r}: expected a name in UTF-8, of at least one character")
    return text


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ConditionError(f"invalid choice {text!r}: expected {', '.join(names)}")
        return text

    return read


@dataclass(frozen=True, slots=True)
class Dimension:
    """An option that may vary."""

    read: Callable[[str], str]
    """The one spelling of a value; raises `ConditionError` or `HeapError` where there is none."""
    is_of_collector: bool = True
    """Whether it means nothing for a module that keeps its own collector."""
    is_flag: bool = False
    is_program: bool = False
    """Whether it is no option, but chooses what is run: the name of a file, which may stand for several as a pattern."""

    @property
    def is_size(self) -> bool:
        """Whether its values are sizes, in bytes."""
        return self.read == _size

    @property
    def is_number(self) -> bool:
        """Whether its values are whole numbers."""
        return self.read in (_size, _count)


GC: Final = "gc"
MODULE: Final = "module"
INPUT: Final = "input"
DIMENSIONS: Final[Mapping[str, Dimension]] = {
    GC: Dimension(_one_of(*COLLECTORS), is_of_collector=False),
    "collector": Dimension(_collector),
    "growth": Dimension(_growth),
    "headroom": Dimension(_headroom),
    "heap-limit": Dimension(_size),
    "memory-limit": Dimension(_size, is_of_collector=False),
    "initial-memory": Dimension(_size, is_of_collector=False),
    "gc-every": Dimension(_count),
    "clear-blocks": Dimension(_flag, is_flag=True),
    "engine": Dimension(_one_of(*ENGINES)),
    MODULE: Dimension(_word, is_of_collector=False, is_program=True),
    INPUT: Dimension(_word, is_of_collector=False, is_program=True),
}
"""By the names of the options."""
_OF_COLLECTIONS: Final = ("gc-every", "clear-blocks", "headroom")
"""What means nothing for a heap that is never collected."""
_WHY_NOTHING: Final = {LEAKING: "a leaking heap is never collected", NATIVE: "a native module keeps its own collector"}


def means_nothing(name: str, gc: str) -> bool:
    """Whether a dimension cannot be chosen under who manages the heap."""
    return (gc == LEAKING and name in _OF_COLLECTIONS) or (gc == NATIVE and DIMENSIONS[name].is_of_collector)


@dataclass(frozen=True, slots=True)
class Condition:
    """A choice of options of ``tinyheap run``; made by `Condition.of` and `grid`.

    As text it is ``growth=double heap-limit=1048576``, a word that has spaces in quotes, and ``default`` where there is no
    choice.
    """

    values: tuple[tuple[str, str], ...] = ()
    """Names of dimensions, none twice, and their values, those that are left out apart."""

    @classmethod
    def of(cls, values: Mapping[str, str | int]) -> Condition:
        """The condition with these values, by the names of dimensions.

        Raises:
            ConditionError: A dimension is unknown, a value is invalid, or two contradict each other.
        """
        made = cls(tuple((name, read_value(name, str(value))) for name, value in values.items()))._reduced()
        if contradiction := made.contradiction:
            raise ConditionError(f"invalid condition '{made}': {contradiction}")
        return made

    @classmethod
    def from_text(cls, text: str) -> Condition:
        """The condition that is written so.

        Raises:
            ConditionError: There is none.
        """
        words = [word for word in shlex.split(text) if word != DEFAULT]
        return cls.of({name: value for name, _, value in (word.partition("=") for word in words)})

    def _reduced(self) -> Condition:
        return Condition(tuple((name, value) for name, value in self.values if value != DEFAULT))

    def __str__(self) -> str:
        return shlex.join(f"{name}={value}" for name, value in self.values) or DEFAULT

    def value(self, name: str) -> str:
        """The value of a dimension; ``default`` where it is left out."""
        return dict(self.values).get(name, DEFAULT)

    def changed(self, name: str, value: str | int) -> Condition:
        """This condition, but for the value of one dimension."""
        return Condition.of({**dict(self.values), name: value})

    @property
    def options(self) -> tuple[str, ...]:
        """The words of a command line of ``tinyheap run``."""
        chosen = [(name, value) for name, value in self.values if not DIMENSIONS[name].is_program]
        return tuple(f"--{name}" if DIMENSIONS[name].is_flag else f"--{name}={value}" for name, value in chosen)

    @property
    def program(self) -> tuple[str, str]:
        """The module and the input that it chooses, ``default`` where it does not."""
        return self.value(MODULE), self.value(INPUT)

    @property
    def contradiction(self) -> str | None:
        """Why ``tinyheap run`` refuses it, a phrase; None where it does not."""
        gc = self.value(GC)
        idle = [name for name, _ in self.values if means_nothing(name, gc)]
        return f"{_WHY_NOTHING[gc]}, so that {idle[0]} means nothing" if idle else None


def program_of(condition: str) -> tuple[str, str]:
    """The module and the input of a condition, by its text; ``default`` where it does not choose them."""
    values = dict(word.split("=", 1) for word in shlex.split(condition) if word != DEFAULT)
    return values.get(MODULE, DEFAULT), values.get(INPUT, DEFAULT)


def read_value(name: str, text: str) -> str:
    """The one spelling of a value of a dimension.

    Raises:
        ConditionError: There is no such dimension, or the value is not one of it.
    """
    if name not in DIMENSIONS:
        raise ConditionError(f"invalid dimension {name!r}: expected {', '.join(DIMENSIONS)}")
    if text == DEFAULT:
        return DEFAULT
    try:
        return DIMENSIONS[name].read(text)
    except (ConditionError, HeapError, PolicyError) as error:
        raise ConditionError(f"{name}: {error}") from error


def read_values(name: str, text: str) -> tuple[str, ...]:
    """The values of a dimension, each once: ``double,step:64KiB``, ``1MiB..8MiB/x2``, ``1MiB..2MiB/+64KiB`` or ``*.wasm``.

    Raises:
        ConditionError: There is no such dimension, a value is not one of it, or there are too many.
    """
    values = (value for part in text.split(",") for value in _part(name, part.strip()))
    return tuple(dict.fromkeys(values))


def _part(name: str, text: str) -> Iterator[str]:
    if name in DIMENSIONS and DIMENSIONS[name].is_program:
        found = sorted(glob(text)) if has_magic(text) else []  # noqa: PTH207 - that takes no absolute ones
        yield from (read_value(name, each) for each in found or [text])
        return
    span = re.fullmatch(r"(.+)\.\.(.+)/([x+])(.+)", text)
    if span is None:
        if ".." in text and name in DIMENSIONS and DIMENSIONS[name].is_number:
            raise ConditionError(f"{name}: invalid range {text!r}: {_EXPECTED_RANGE}")
        yield read_value(name, text)
        return
    first, last = (_number(name, read_value(name, word)) for word in (span[1], span[2]))
    step = int(_count(span[4])) if span[3] == "x" else _number(name, read_value(name, span[4]))
    if last < first or (span[3] == "x" and step < 2):
        raise ConditionError(f"{name}: invalid range {text!r}: {_EXPECTED_RANGE}")
    yield from (read_value(name, str(each)) for each in _steps(name, first, last, step, is_factor=span[3] == "x"))


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ConditionError(f"{name}: {value!r} is not a number, which a range needs: name the values one by one")
    return int(value)


def _steps(name: str, first: int, last: int, step: int, *, is_factor: bool) -> Iterator[int]:
    count = 0 if is_factor else (last - first) // step + 1
    if count > MOST_VALUES:
        raise ConditionError(f"{name}: invalid range: it has {count:,} values; expected {MOST_VALUES:,} at most")
    value = first
    while value <= last:
        yield value
        value = value * step if is_factor else value + step
