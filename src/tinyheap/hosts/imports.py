"""Defining one import of a program by one function of its host.

wasmtime keeps a callback alive as long as the store that it was defined for.  A callback that held its host,
which holds the store, would keep both for ever; so callbacks hold their host weakly, and the session holds
it.  What an import is (`Signature`) is known without wasmtime.
"""

from __future__ import annotations

import operator
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tinyheap.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmtime import Func, FuncType, ImportType, Linker
    from wasmtime._types import AsExternType

    Maker = Callable[[str, AsExternType], Func]
    """Makes the function behind an import, of its name and type."""

NUMBERS: Final = frozenset({"i32", "i64", "f32", "f64"})
"""The types of what crosses between a program and a host in Python."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The type of a function, as names: ``Signature(("i32", "i64"), ("f64",))``."""

    parameters: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    @classmethod
    def of(cls, function: FuncType) -> Signature:
        """A function type of wasmtime's."""
        return cls(tuple(map(str, function.params)), tuple(map(str, function.results)))

    def __str__(self) -> str:
        return f"({', '.join(self.parameters)}) -> ({', '.join(self.results)})"

    def to_wasmtime(self) -> FuncType:
        """The same type in wasmtime's terms."""
        from wasmtime import FuncType, ValType

        types = {"i32": ValType.i32, "i64": ValType.i64, "f32": ValType.f32, "f64": ValType.f64}
        return FuncType([types[name]() for name in self.parameters], [types[name]() for name in self.results])


@dataclass(frozen=True, slots=True)
class RequiredImport:
    """Something that a program needs: a module's name, a name in it, and what kind of thing it is."""

    module: str
    name: str
    signature: Signature | None
    """The type of a function; None for anything else."""
    kind: str

    @property
    def place(self) -> str:
        """Its name as people write it: ``env.log``."""
        return f"{self.module}.{self.name}"

    def __str__(self) -> str:
        return f"{self.place}: {self.kind} {self.signature or ''}".rstrip()


def number(kind: str, value: object) -> int | float | None:
    """A number as a program takes it of that kind, integers signed or unsigned; None for what it cannot take."""
    try:
        if kind in {"i32", "i64"}:
            bits, whole = int(kind[1:]), operator.index(value)  # type: ignore[arg-type]
            return whole if -(1 << bits - 1) <= whole < 1 << bits else None
        return float(value) if kind in NUMBERS and not isinstance(value, str | bytes) else None  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def describe(wanted: ImportType, module: str) -> RequiredImport:
    """The import of a compiled module as a `RequiredImport`."""
    from wasmtime import FuncType

    kind = type(wanted.type).__name__.removesuffix("Type").lower()
    signature = None
    if isinstance(wanted.type, FuncType):
        kind = "function"
        signature = Signature.of(wanted.type)
    return RequiredImport(module, wanted.name or "", signature, kind)


def define_method(linker: Linker, place: RequiredImport, method: Callable[..., Any]) -> None:
    """Put a bound method behind a function import, without keeping its object alive.

    Args:
        linker: Where the import is looked up; shadowing must be allowed if it is there already.
        place: The import; its signature says how the method is called.
        method: Gets the parameters as Python numbers, i32 and i64 signed, and returns the results alike.

    Raises:
        HostError: If the import is not a function.
    """
    if place.signature is None:
        raise HostError(f"{place} is not a function, so no host function can serve it")
    weak_method = weakref.WeakMethod(method)

    def callback(*values: Any) -> Any:  # noqa: ANN401 - whatever the import's type says
        bound = weak_method()
        if bound is None:
            raise HostError(f"the program called {place.place} after its session was closed")
        return bound(*values)

    linker.define_func(place.module, place.name, place.signature.to_wasmtime(), callback)
