"""Functions of the user's own for a program's imports, and stubs that return zero where there are none.

    def log(caller, address, length_bytes):
        print(caller.memory.read(address, length_bytes).decode())

    Program.open("plugin.wasm", imports={"env": {"log": log, "now": time.time}})

A function gets the numbers that the program passes, i32 and i64 signed, and returns what the import's type says: None, one
number, or as many as there are results; integers signed or unsigned.  One whose first parameter is named ``caller`` is
given a `Caller` there, by which it sees the memory and calls exports.

An exception that a function raises ends the program, and is raised unchanged by the call of the program.
"""

from __future__ import annotations

import inspect
import reprlib
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Self

from tinyheap.errors import HostError
from tinyheap.hosts.imports import NUMBERS, RequiredImport, number
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from wasmtime import Linker

    from tinyheap.hosts.memory import GuestMemory

Function = Callable[..., object]
Imports = Mapping[str, Mapping[str, Function]]
"""Functions by the module and the name under which they are imported."""
CALLER: Final = "caller"
"""The name of a first parameter that is given a `Caller`."""
ALL: Final = "*"
"""Among the names of stubs: all imports that no host offers."""


class Called(Protocol):
    """What a caller is asked for; `HostSession` is one."""

    @property
    def memory(self) -> GuestMemory:
        """The program's memory."""

    @property
    def exports(self) -> frozenset[str]:
        """The names of its functions."""

    def call(self, name: str, *arguments: float) -> int | float | None:
        """What one of them returns."""


class Caller(SoleOwner):
    """The program that calls a function of the user's, as given to that function."""

    def __init__(self, session: Called) -> None:
        # Whoever serves a program must not keep it.
        self._session = weakref.ref(session)

    @property
    def memory(self) -> GuestMemory:
        """Its memory.

        Raises:
            HostError: It exports none, or was closed.
        """
        return self._called().memory

    @property
    def exports(self) -> frozenset[str]:
        """The names of the functions that it exports; HostError if it was closed."""
        return self._called().exports

    def call(self, name: str, *arguments: float) -> int | float | None:
        """What an exported function returns, called while the program waits; see `HostSession.call`."""
        return self._called().call(name, *arguments)

    def _called(self) -> Called:
        session = self._session()
        if session is None:
            raise HostError("the program is gone; use a caller only while its function runs")
        return session


@dataclass(frozen=True, slots=True)
class OwnImports:
    """What a user offers a program, checked by `of`.

    Args:
        functions: by module and name.
        stubs: the imports to replace by stubs, as ``module.name``; `ALL` for those that no host offers.
    """

    functions: Mapping[tuple[str, str], Function]
    stubs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, imports: object = None, stubs: object = False) -> Self:
        """The arguments ``imports`` and ``stub_imports`` of `Program.open`.

        Raises:
            HostError: one is of a wrong type.
        """
        return cls(dict(_functions(imports)), frozenset(_stubs(stubs)))

    def check(self, wanted: Collection[RequiredImport]) -> None:
        """Refuse stubs of what a program does not import.

        Raises:
            HostError: says what it does import.
        """
        there = {item.place for item in wanted if item.signature is not None}
        for name in sorted(self.stubs - there - {ALL}):
            names = ", ".join(sorted(there)) or "none"
            raise HostError(
                f"invalid import {name!r} to be stubbed: expected a function that the program imports ({names})"
            )


def _stubs(stubs: object) -> Iterator[str]:
    if isinstance(stubs, bool):
        yield from [ALL] * stubs
        return
    if not isinstance(stubs, Collection) or isinstance(stubs, str | bytes):
        raise _invalid_stubs(stubs)
    for name in stubs:
        if not isinstance(name, str):
            raise _invalid_stubs(stubs)
        yield name


def _invalid_stubs(stubs: object) -> HostError:
    return HostError(f"invalid stub_imports {reprlib.repr(stubs)}: expected True, False or names such as ['env.log']")


def _functions(imports: object) -> Mapping[tuple[str, str], Function]:
    expected = 'expected functions by module and name, as {"env": {"log": function}}'
    if imports is None:
        return {}
    if not isinstance(imports, Mapping):
        raise HostError(f"invalid imports {reprlib.repr(imports)}: {expected}")
    found: dict[tuple[str, str], Function] = {}
    for module, functions in imports.items():
        if not isinstance(module, str) or not isinstance(functions, Mapping):
            raise HostError(f"invalid imports of {reprlib.repr(module)}: {expected}")
        for name, function in functions.items():
            if not isinstance(name, str) or not callable(function):
                what = f"{module}.{name}" if isinstance(name, str) else reprlib.repr(name)
                raise HostError(f"invalid import {what} {reprlib.repr(function)}: expected a function")
            found[module, name] = function
    return found


class OwnFunctions(SoleOwner):
    """Puts what a user offers behind one program's imports.

    Args:
        wish: What is offered.
        session: Of the program; it is not kept.
    """

    def __init__(self, wish: OwnImports, session: Called) -> None:
        self._wish = wish
        self._caller = Caller(session)
        self.stub_calls: dict[str, int] = {}
        """How often each stub was called, by the import's name."""

    def check(self, wanted: Collection[RequiredImport]) -> None:
        """Refuse stubs of what a program does not import; see `OwnImports.check`."""
        self._wish.check(wanted)

    def offer(self, linker: Linker, item: RequiredImport) -> bool:
        """Whether the user serves an import; it is defined in ``linker`` then.

        Raises:
            HostError: The user's function cannot.
        """
        if item.place in self._wish.stubs:
            return self.stub(linker, item)
        function = self._wish.functions.get((item.module, item.name))
        if function is None:
            return False
        if not _crosses(item):
            raise HostError(
                f"{item}: cannot be offered from Python: expected a function whose parameters and results are numbers"
            )
        arguments = (self._caller,) if _takes_caller(function) else ()
        _check_arity(item, function, arguments)
        _define(linker, item, partial(_answer, item, partial(function, *arguments)))
        return True

    def stub_rest(self, linker: Linker, item: RequiredImport) -> bool:
        """Whether an import that no host offers is to be a stub; it is defined in ``linker`` then."""
        return ALL in self._wish.stubs and self.stub(linker, item)

    def stub(self, linker: Linker, item: RequiredImport) -> bool:
        """Replace an import by a stub that returns zero; False where it is not a function of numbers."""
        if not _crosses(item):
            return False
        self.stub_calls[item.place] = 0
        _define(linker, item, partial(_count, self.stub_calls, item))
        return True


def _crosses(item: RequiredImport) -> bool:
    """Whether all that crosses an import are numbers."""
    signature = item.signature
    return signature is not None and NUMBERS.issuperset((*signature.parameters, *signature.results))


def _define(linker: Linker, item: RequiredImport, function: Callable[..., object]) -> None:
    assert item.signature is not None, "only functions are defined"
    # What a user asks for comes before all that a linker may have.
    linker.allow_shadowing = True
    linker.define_func(item.module, item.name, item.signature.to_wasmtime(), function)


def _takes_caller(function: Function) -> bool:
    try:
        return next(iter(inspect.signature(function).parameters), None) == CALLER
    except (TypeError, ValueError):
        # Some that are written in C do not say.
        return False


def _check_arity(item: RequiredImport, function: Function, first: tuple[object, ...]) -> None:
    assert item.signature is not None, "only functions are asked"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*first, *item.signature.parameters)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        count = len(item.signature.parameters)
        takes = f"{count} parameter{'' if count == 1 else 's'}, and {CALLER} in front of them if it wants"
        raise HostError(f"{item}: invalid function {name}{signature}: expected {takes}") from error


def _answer(item: RequiredImport, function: Function, *values: float) -> object:
    """What a user's function returns, as the import's type has it."""
    assert item.signature is not None, "only functions are called"
    result, kinds = function(*values), item.signature.results
    if not kinds and result is None:
        return None
    results = tuple(result) if isinstance(result, tuple | list) and len(kinds) > 1 else (result,)
    numbers = [number(kind, each) for kind, each in zip(kinds, results, strict=False)]
    if not kinds or len(kinds) != len(results) or None in numbers:
        expected = ", ".join(kinds) or "None"
        raise HostError(f"{item.place}: invalid result {reprlib.repr(result)}: expected {expected}")
    return numbers[0] if len(kinds) == 1 else numbers


def _count(calls: dict[str, int], item: RequiredImport, *_values: float) -> object:
    """What a stub answers."""
    assert item.signature is not None, "only functions are called"
    calls[item.place] += 1
    zeros = [0 if kind in {"i32", "i64"} else 0.0 for kind in item.signature.results]
    return zeros[0] if len(zeros) == 1 else zeros or None
