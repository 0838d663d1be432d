"""What of wasmtime is replaced while tinyheap is attached: one list, put in whole and taken out whole.

Methods are replaced, and never classes.  So it does not matter how a program got hold of a class before, and all objects that
it sees are wasmtime's own: a ``Trap`` is a ``Trap``.  Each method does what it did, and lets an `Observer` know, or decide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from wasmtime import Func, Instance, Linker, Module, Store
from wasmtime.component import Component

if TYPE_CHECKING:
    from wasmtime import Engine
    from wasmtime._exportable import AsExtern
    from wasmtime._store import Storelike

Original = Callable[..., Any]


class Observer(Protocol):
    """Who is told of what a program asks of wasmtime; none of its methods raises an error of its own."""

    def compiled(self, module: Module, wasm: str | bytes | bytearray) -> None:
        """The program has compiled a module."""

    def came_from(self, module: Module, path: object) -> None:
        """It has compiled it from that file."""

    def instantiates(
        self,
        store: Storelike,
        module: Module,
        natively: Callable[[], Instance],
        changed: Callable[[Module, Sequence[Func]], Instance],
    ) -> Instance:
        """It instantiates a module.

        Args:
            store: where.
            module: what.
            natively: makes the instance that the program asks for.
            changed: makes one of another module, whose imports are those of the first and then these functions.
        """

    def passes_over(self, what: str, module: Module | None = None) -> None:
        """It does something with a module that tinyheap has no part in: a phrase for what that is."""

    def calls(self, function: Func, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """It calls a function."""

    def closes(self, store: Store, free: Callable[[], None]) -> None:
        """It closes a store, or has dropped it; `free` frees all that is in it."""


# ---- the replacements -------------------------------------------------------------------------------------------------


def _compiling(observer: Observer, original: Original) -> Original:
    def __init__(self: Module, engine: Engine, wasm: str | bytes) -> None:  # noqa: N807 - what it replaces
        original(self, engine, wasm)
        observer.compiled(self, wasm)

    return __init__


def _compiling_file(observer: Observer, original: Original) -> Original:
    def from_file(cls: type[Module], engine: Engine, path: Any) -> Module:  # noqa: ANN401 - as it is there
        module: Module = original(cls, engine, path)
        observer.came_from(module, path)
        return module

    return from_file


def _linking(observer: Observer, original: Original) -> Original:
    def instantiate(self: Linker, store: Storelike, module: Module) -> Instance:
        def changed(other: Module, further: Sequence[Func]) -> Instance:
            imports = [self.get(store, item.module, item.name or "") for item in module.imports]
            return Instance(store, other, [*imports, *further])

        return observer.instantiates(store, module, lambda: original(self, store, module), changed)

    return instantiate


def _instantiating(observer: Observer, original: Original) -> Original:
    def __init__(self: Instance, store: Storelike, module: Module, imports: Sequence[AsExtern]) -> None:  # noqa: N807
        def make(other: Module, further: Sequence[AsExtern]) -> Instance:
            original(self, store, other, [*imports, *further])
            return self

        observer.instantiates(store, module, lambda: make(module, ()), make)

    return __init__


def _passing_over(what: str) -> Callable[[Observer, Original], Original]:
    def passing_over(observer: Observer, original: Original) -> Original:
        def method(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as it is there
            result = original(*arguments, **named)
            modules = (each for each in (*arguments, *named.values()) if isinstance(each, Module))
            observer.passes_over(what, next(modules, None))
            return result

        return method

    return passing_over


def _calling(observer: Observer, original: Original) -> Original:
    def __call__(self: Func, store: Storelike, *params: Any) -> Any:  # noqa: ANN401, N807 - as it is there
        return observer.calls(self, params, lambda: original(self, store, *params))

    return __call__


def _closing(observer: Observer, original: Original) -> Original:
    def _delete(self: Store, ptr: object) -> None:
        observer.closes(self, lambda: original(self, ptr))

    return _delete


_REPLACED: Final[tuple[tuple[type, str, Callable[[Observer, Original], Original]], ...]] = (
    (Module, "__init__", _compiling),
    (Module, "from_file", _compiling_file),
    (Linker, "instantiate", _linking),
    (Linker, "instantiate_pre", _passing_over("is instantiated by Linker.instantiate_pre")),
    (Linker, "define_module", _passing_over("is instantiated by Linker.define_module")),
    (Instance, "__init__", _instantiating),
    (Func, "__call__", _calling),
    (Store, "_delete", _closing),
    (Component, "__init__", _passing_over("is a component")),
)
"""All that is replaced.  ``_delete`` is what both ``Store.close`` and the end of a store that was dropped come to."""


class Patches:
    """The replacements, put in when they are made.

    Args:
        observer: is told of it all.
    """

    def __init__(self, observer: Observer) -> None:
        self._put_in: list[tuple[type, str, object, object]] = []
        for owner, name, make in _REPLACED:
            old = vars(owner)[name]
            new = _like(old, functools.partial(make, observer))
            setattr(owner, name, new)
            self._put_in.append((owner, name, old, new))

    def take_out(self) -> None:
        """Leave wasmtime as it was; what somebody else replaced on top of it stays, and calls what was here."""
        while self._put_in:
            owner, name, old, new = self._put_in.pop()
            if vars(owner)[name] is new:
                setattr(owner, name, old)


def _like(old: Any, make: Callable[[Original], Original]) -> object:  # noqa: ANN401 - a function or a class method
    """The replacement of a method, which looks like it."""
    if isinstance(old, classmethod):
        return classmethod(functools.wraps(old.__func__)(make(old.__func__)))
    return functools.wraps(old)(make(old))
