"""Names for the values of parametrized tests."""

from __future__ import annotations


def without_address(value: object) -> str:
    """A name that is the same in every process, as workers that share the tests must have it."""
    return "object" if type(value) is object else repr(value)
