"""Checks of arguments that users pass: whole numbers of any integer type, and callables."""

from __future__ import annotations

import operator
import reprlib
from typing import Final, SupportsIndex, cast

from tinyheap.errors import InvalidTypeError

SHOWN_BITS: Final = 128
"""Larger numbers are shown by their size: Python refuses to write some of them out at all."""


def whole_number(what: str, value: object, where: str = "") -> int:
    """An integer of Python's, from any type of integer but ``bool``.

    Args:
        what: the name of what it is, for the message.
        where: what follows the value there.

    Raises:
        InvalidTypeError: it is none.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise wrong_type(what, value, "a whole number", where)
    try:
        return operator.index(cast(SupportsIndex, value))
    except TypeError as error:
        raise wrong_type(what, value, "a whole number", where) from error


def check_callable(what: str, value: object) -> None:
    """Refuse what cannot be called; None is a matter of the caller.

    Raises:
        InvalidTypeError: it cannot.
    """
    if not callable(value):
        raise wrong_type(what, value, "something to call")


def wrong_type(what: str, value: object, expected: str, where: str = "") -> InvalidTypeError:
    """The error for an argument of a wrong type."""
    return InvalidTypeError(f"invalid {what} {shown(value)}{where}: expected {expected}")


def shown_address(address: int) -> str:
    """An address in a message, however large."""
    return f"{address:#x}" if address.bit_length() <= SHOWN_BITS else shown(address)


def shown(value: object) -> str:
    """A value in a message, however large."""
    if isinstance(value, int) and value.bit_length() > SHOWN_BITS:
        return f"{'-' if value < 0 else ''}2**{value.bit_length() - 1} (about)"
    return reprlib.repr(value)
