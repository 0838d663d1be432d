"""How a package shows its public names, each loaded when it is used; and the error where a library is missing.

    __getattr__, __dir__, __all__ = _loading.attach(__name__)

A package's public names stand once, as the imports of its ``__init__.pyi``.  Type checkers read that file in place of
``__init__.py``, and so does `attach`.  So importing a package is quick, and a part of it works without the libraries
that only other parts need.
"""

from __future__ import annotations

import ast
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from tinyheap.errors import MissingLibraryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.abc import ResourceLoader
    from types import ModuleType

EXTRAS: Final = {
    "wasmtime": "run",
    "platformdirs": "run",
    "elftools": "run",
    "duckdb": "profile",
    "numpy": "profile",
    "dask": "cluster",
    "distributed": "cluster",
}
"""The extra that brings a library, by the library's name."""


def attach(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a package, from its ``__init__.pyi``."""
    module = sys.modules[package]
    homes = _homes(module)

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
        with library_for(name):
            value = _load(package, homes[name], name)
        setattr(module, name, value)  # the next use comes without a call
        return value

    def names() -> list[str]:
        private = (name for name in vars(module) if name.startswith("_"))
        return sorted({*private, *_loadable(homes, load)})

    return load, names, list(homes)


@contextmanager
def library_for(what: str) -> Iterator[None]:
    """Says how to get a library of an extra where it turns out to be missing; `what` needs it.

    Raises:
        MissingLibraryError: An import in the ``with`` block failed for want of such a library.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        reason = error.__cause__ if isinstance(error, MissingLibraryError) else error
        raise MissingLibraryError(
            f"{what} needs {library}, which does not load here ({reason}): pip install 'tinyheap[{EXTRAS[library]}]'",
            name=library,
        ) from reason


def require(library: str, what: str) -> None:
    """Says how to get a library that `what` will import later, if it is not installed.

    Raises:
        MissingLibraryError: It is not.
    """
    with library_for(what):
        if not _is_installed(library):
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)


def _is_installed(library: str) -> bool:
    from importlib.util import find_spec

    return find_spec(library) is not None


def _homes(module: ModuleType) -> dict[str, str]:
    """The module that each public name of a package comes from; the package itself for a submodule."""
    loader = cast("ResourceLoader", module.__loader__)
    stub = ast.parse(loader.get_data(f"{module.__path__[0]}/__init__.pyi"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname: str(node.module) for node in imports for alias in node.names if alias.asname}


def _load(package: str, home: str, name: str) -> object:
    if home == package:
        return import_module(f"{package}.{name}")
    return getattr(import_module(home), name)


def _loadable(homes: dict[str, str], load: Callable[[str], object]) -> Iterator[str]:
    """Those names whose libraries are installed; what completes names looks at each that it is told of."""
    has_all_libraries = all(map(_is_installed, EXTRAS))
    for name in homes:
        try:
            if not has_all_libraries:
                load(name)
        except MissingLibraryError:
            continue
        yield name
