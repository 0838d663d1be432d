"""Text from outside, made fit to be shown: names out of modules and recordings may hold anything."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with every character that a terminal might obey, or not show, written as an escape of Python's."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
