"""Validate licence plates of Europe with the program in PyPI's eu-licence-validator.

    tinyheap profile core.wasm --host host_licence.py

The program exports `alloc(bytes) -> address`, `dealloc(address)` and `validate`, which takes the addresses and lengths of a
plate and of a country's code.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyheap import Program

PLATES = ["B-MA 1234", "1234 BCD", "WA 12345", "AA-229-BB", "12-AB-34", "?"]
COUNTRIES = ["DE", "ES", "FR", "NL", "PL"]


def drive(program: Program) -> None:
    """Print where each plate is valid."""
    valid = {(plate, country) for plate, country in product(PLATES, COUNTRIES) if is_valid(program, plate, country)}
    for plate in PLATES:
        print(f"{plate}: {', '.join(country for country in COUNTRIES if (plate, country) in valid) or 'nowhere'}")


def is_valid(program: Program, plate: str, country: str) -> bool:
    """Whether a plate is one of that country's."""
    texts = [text.encode() for text in (plate, country)]
    addresses = [program.call("alloc", len(text)) for text in texts]
    for address, text in zip(addresses, texts, strict=True):
        program.memory.write(address, text)
    result = program.call("validate", addresses[0], len(texts[0]), addresses[1], len(texts[1]))
    for address in addresses:
        program.call("dealloc", address)
    return bool(result)
