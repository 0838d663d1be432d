"""What of wasmtime is replaced while tinyheap is attached: one list, put in whole and taken out whole.

Methods are replaced, and never classes.  So it does not matter how a program got hold of a class before, and all objects that
it sees are wasmtime's own: a ``Trap`` is a ``Trap``.  Each method does what it did, and lets an `Observer` know, or decide.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from wasmtime import Func, Instance, InstancePre, Linker, Module, Store, WasmtimeError
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


_LINKED: Final[WeakKeyDictionary[InstancePre, tuple[Linker, Module]]] = WeakKeyDictionary()
"""What was linked in advance, by which linker."""
_SHADOWING: Final[WeakSet[Linker]] = WeakSet()
"""Linkers that may have other items by now than what they have linked in advance was linked with."""


def _linked(linker: Linker, store: Storelike, module: Module) -> Callable[[Module, Sequence[Func]], Instance]:
    """Makes an instance of another module, whose imports are what a linker has for this one, and then functions.

    Raises:
        WasmtimeError: the linker does not have them, or was closed.
    """

    def changed(other: Module, further: Sequence[Func]) -> Instance:
        try:
            imports = [linker.get(store, item.module, item.name or "") for item in module.imports]
        except ValueError as error:
            raise WasmtimeError(f"its linker was closed: {error}") from error
        return Instance(store, other, [*imports, *further])

    return changed


def _linking(observer: Observer, original: Original) -> Original:
    def instantiate(self: Linker, store: Storelike, module: Module) -> Instance:
        changed = _linked(self, store, module)
        return observer.instantiates(store, module, lambda: original(self, store, module), changed)

    return instantiate


def _shadowing(observer: Observer, original: Original) -> Original:
    def allow_shadowing(self: Linker, allow: bool) -> None:
        original(self, allow)
        _SHADOWING.add(self)

    return allow_shadowing


def _linking_in_advance(observer: Observer, original: Original) -> Original:
    def instantiate_pre(self: Linker, module: Module) -> InstancePre:
        linked: InstancePre = original(self, module)
        _LINKED[linked] = self, module
        return linked

    return instantiate_pre


def _instantiating_linked(observer: Observer, original: Original) -> Original:
    def instantiate(self: InstancePre, store: Storelike) -> Instance:
        linker, module = _LINKED.get(self, (None, None))
        if linker is None or module is None or linker in _SHADOWING:
            why = "before tinyheap was attached" if linker is None else "of a linker that lets names be shadowed"
            observer.passes_over(f"was linked by Linker.instantiate_pre {why}", module)
            made: Instance = original(self, store)
            return made
        return observer.instantiates(store, module, lambda: original(self, store), _linked(linker, store, module))

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
    (Linker, "instantiate_pre", _linking_in_advance),
    (Linker, "allow_shadowing", _shadowing),
    (InstancePre, "instantiate", _instantiating_linked),
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
    """The replacement of a method, or of a property that is only set, which looks like it."""
    if isinstance(old, property):
        return property(fset=functools.wraps(old.fset)(make(old.fset)), doc=old.__doc__)  # type: ignore[arg-type]
    if isinstance(old, classmethod):
        return classmethod(functools.wraps(old.__func__)(make(old.__func__)))
    return functools.wraps(old)(make(old))
