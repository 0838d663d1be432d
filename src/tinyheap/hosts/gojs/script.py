"""The values of JavaScript that a Go program can touch, as Python objects.

There is no JavaScript engine here: only its *values* and what can be done to them from outside, which is all
that a program's imports can reach.  Primitives are Python's own (`UNDEFINED`, None for null, bool, int or
float for numbers, str); everything else is a `ScriptObject`, with properties, a prototype, and in subclasses
the exotic behavior of functions, arrays and byte arrays.

A script error is a `Thrown` that carries the value thrown.  What a real JavaScript engine would offer and
this one does not is a `tinyheap.errors.HostError` that names it.

Invariant: all memory that a program can make its host hold is charged to one `Ledger` and given back when the
object that it was charged for dies, so that a hostile program meets a limit and not an exhausted machine.
"""

from __future__ import annotations

import enum
import math
import re
from typing import TYPE_CHECKING, TypeAlias

from tinyheap.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Undefined(enum.Enum):
    """The type of `UNDEFINED`, a value of its own in JavaScript."""

    UNDEFINED = "undefined"


UNDEFINED = Undefined.UNDEFINED

Value: TypeAlias = "Undefined | bool | int | float | str | ScriptObject | None"
Body: TypeAlias = "Callable[[Value, Sequence[Value]], Value]"
"""What a function does: it takes ``this`` and its arguments."""

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_PROPERTY_BYTES = 128
"""Bytes charged for one property or array element; Python's own cost, roughly."""


class Ledger:
    """Counts the bytes that script values hold, and refuses more than ``limit_bytes`` of them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def charge(self, count_bytes: int) -> None:
        """Count ``count_bytes`` more (or fewer, if negative).

        Raises:
            HostError: If that is over the limit; nothing is charged then.
        """
        if count_bytes > self.limit_bytes - self.held_bytes:
            raise HostError(
                f"the program made its JavaScript host hold more than {self.limit_bytes} bytes; "
                "raise script_limit_bytes if it means to"
            )
        self.held_bytes += count_bytes


class Thrown(Exception):  # noqa: N818 - it carries a value of the program, which need not be an error
    """JavaScript's ``throw``: travels up to the program's call, which gets the value."""

    def __init__(self, value: Value) -> None:
        super().__init__(text_of(value))
        self.value = value


class ScriptObject:
    """An object: properties by name, and a prototype to look further in.

    Args:
        ledger: What its size is charged to.
        prototype: Where a property is looked for that is not its own.
        name: What an error calls it; a name with a dot or "global" marks an object of the host's own making.
    """

    __slots__ = ("__weakref__", "_charged_bytes", "_ledger", "name", "properties", "prototype")

    def __init__(self, ledger: Ledger, prototype: ScriptObject | None = None, name: str = "Object") -> None:
        self._ledger = ledger
        self._charged_bytes = 0
        self.prototype = prototype
        self.name = name
        self.properties: dict[str, Value] = {}

    def __del__(self) -> None:
        self._ledger.held_bytes -= self._charged_bytes

    def charge(self, count_bytes: int) -> None:
        """Count ``count_bytes`` for as long as this object lives; HostError over the ledger's limit."""
        self._ledger.charge(count_bytes)
        self._charged_bytes += count_bytes

    def get(self, key: str) -> Value:
        """The property ``key``, own or inherited, or `UNDEFINED`."""
        place: ScriptObject | None = self
        while place is not None:
            if key in place.properties:
                return place.properties[key]
            place = place.prototype
        return UNDEFINED

    def put(self, key: str, value: Value) -> None:
        """Set its own property ``key``."""
        old = self.properties.get(key)
        new_key_bytes = 0 if key in self.properties else _PROPERTY_BYTES + len(key)
        self.charge(new_key_bytes + _text_bytes(value) - _text_bytes(old))
        self.properties[key] = value

    def remove(self, key: str) -> None:
        """Delete its own property ``key``, if it has one."""
        if key in self.properties:
            self.charge(-_PROPERTY_BYTES - len(key) - _text_bytes(self.properties.pop(key)))

    def inherits(self, prototype: Value) -> bool:
        """Whether ``prototype`` is on its chain of prototypes."""
        place = self.prototype
        while place is not None and place is not prototype:
            place = place.prototype
        return place is not None

    def text(self) -> str:
        """What ``String(object)`` is in JavaScript."""
        return "[object Object]"


class ScriptFunction(ScriptObject):
    """A function, and where ``new`` may be used on it a constructor.

    Args:
        ledger: What its size is charged to.
        prototype: Function.prototype.
        name: What an error calls it.
        body: What a call does.
        construct: What ``new`` makes of its arguments; None if it is not a constructor.
    """

    __slots__ = ("body", "construct")

    def __init__(
        self,
        ledger: Ledger,
        prototype: ScriptObject | None,
        name: str,
        body: Body,
        construct: Callable[[Sequence[Value]], ScriptObject] | None = None,
    ) -> None:
        super().__init__(ledger, prototype, name)
        self.body = body
        self.construct = construct

    def text(self) -> str:
        """What ``String(function)`` is, without a source text to show."""
        return f"function {self.name}() {{ [native code] }}"


class ScriptArray(ScriptObject):
    """An array; ``items`` are its elements."""

    __slots__ = ("items",)

    def __init__(self, ledger: Ledger, prototype: ScriptObject | None, items: Sequence[Value] = ()) -> None:
        super().__init__(ledger, prototype, "Array")
        self.charge(sum(_PROPERTY_BYTES + _text_bytes(item) for item in items))
        self.items = list(items)

    def get(self, key: str) -> Value:
        """An element, ``length``, or a property."""
        if key == "length":
            return len(self.items)
        index = _index_of(key)
        if index is None:
            return super().get(key)
        return self.items[index] if index < len(self.items) else UNDEFINED

    def put(self, key: str, value: Value) -> None:
        """Set an element, growing the array up to it, or ``length``, or a property."""
        index = _index_of(key)
        if key == "length":
            self.resize(_length_of(value))
        elif index is None:
            super().put(key, value)
        else:
            self.resize(max(index + 1, len(self.items)))
            self.charge(_text_bytes(value) - _text_bytes(self.items[index]))
            self.items[index] = value

    def resize(self, count: int) -> None:
        """Cut to ``count`` elements or fill up to it with `UNDEFINED`."""
        dropped = sum(_text_bytes(item) for item in self.items[count:])
        added = count - len(self.items)
        self.charge(added * _PROPERTY_BYTES - dropped)
        del self.items[count:]
        self.items.extend([UNDEFINED] * max(added, 0))

    def text(self) -> str:
        """Its elements' texts with commas between."""
        return ",".join("" if item is None or item is UNDEFINED else text_of(item) for item in self.items)


class ScriptBytes(ScriptObject):
    """A Uint8Array: bytes of its own, or a window on those of ``owner``, which it keeps alive."""

    __slots__ = ("data", "owner")

    def __init__(
        self,
        ledger: Ledger,
        prototype: ScriptObject | None,
        data: memoryview,
        owner: ScriptBytes | None = None,
    ) -> None:
        super().__init__(ledger, prototype, "Uint8Array")
        if owner is None:
            self.charge(len(data))
        self.owner = owner
        self.data = data

    def get(self, key: str) -> Value:
        """An element, a length, or a property."""
        if key in {"length", "byteLength"}:
            return len(self.data)
        index = _index_of(key)
        if index is None:
            return super().get(key)
        return self.data[index] if index < len(self.data) else UNDEFINED

    def put(self, key: str, value: Value) -> None:
        """Set an element, modulo 256; elements past the end are ignored, as in JavaScript."""
        index = _index_of(key)
        if index is None:
            super().put(key, value)
        elif index < len(self.data):
            self.data[index] = byte_of(value)

    def text(self) -> str:
        """Its elements with commas between."""
        return ",".join(map(str, self.data))


def type_of(value: Value) -> str:
    """JavaScript's ``typeof``."""
    if isinstance(value, ScriptFunction):
        return "function"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "undefined" if value is UNDEFINED else "object"


def text_of(value: Value) -> str:
    """JavaScript's ``String(value)``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(float(value))
    if isinstance(value, ScriptObject):
        return value.text()
    return "null" if value is None else "undefined"


def number_of(value: Value) -> float:
    """JavaScript's ``Number(value)`` for primitives, texts in decimal notation; NaN for objects."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, str):
        text = value.strip() or "0"
        return float(text) if _DECIMAL.fullmatch(text) else math.nan
    return 0.0 if value is None else math.nan


def byte_of(value: Value) -> int:
    """``value`` as an element of a Uint8Array: an integer modulo 256, 0 for what is not a finite number."""
    number = number_of(value)
    return int(number) & 0xFF if math.isfinite(number) else 0


def utf8_of(text: str) -> bytes:
    """``text`` in UTF-8, lone surrogates replaced, as a TextEncoder does it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def text_from_utf8(data: bytes) -> str:
    """Text from UTF-8, mistakes replaced and a leading byte order mark dropped, as a TextDecoder does it."""
    return data.decode("utf-8", "replace").removeprefix("\ufeff")


def length_of_text(text: str) -> int:
    """The length of a JavaScript string, in UTF-16 units."""
    return len(text) + sum(character > "\uffff" for character in text)


def _text_bytes(value: Value) -> int:
    return len(value) if isinstance(value, str) else 0


def _index_of(key: str) -> int | None:
    """The array index that a property's name spells, if it does."""
    if key.isdecimal() and key.isascii() and (key == "0" or key[0] != "0") and len(key) <= 10:
        return int(key)
    return None


def _length_of(value: Value) -> int:
    number = number_of(value)
    if not (number >= 0 and number == math.floor(number) and number < 1 << 32):
        raise HostError(f"the program asked its JavaScript host for an array of length {text_of(value)}")
    return int(number)


def _number_text(number: float) -> str:
    """A number as JavaScript writes it: shortest digits that read back; exponents from 1e21, below 1e-6."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    sign, digits, exponent = _shortest_digits(number)
    point = exponent + len(digits)
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{point - 1:+d}"


def _shortest_digits(number: float) -> tuple[str, str, int]:
    """The sign, the shortest digits and the power of ten that they are multiplied by."""
    mantissa, _, power = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(power or "0") - len(fraction)
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    return "-" if number < 0 else "", stripped, exponent + len(digits) - len(stripped)
