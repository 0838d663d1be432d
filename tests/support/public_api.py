"""What tinyheap offers to its users, as text: each public name with its signature, and each class with its members.

Public is what a package lists in ``__all__``, and what a page of the documentation describes.  ``public_api.txt`` holds
the text as it was last agreed on; `make api` writes it anew.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final, ForwardRef

import tinyheap

SNAPSHOT: Final = Path(__file__).with_suffix(".txt")
PAGES: Final = Path(__file__).parents[2] / "docs"
SPECIAL_METHODS: Final = {"__call__", "__contains__", "__enter__", "__exit__", "__getitem__", "__iter__", "__len__"}
LITERALS: Final = (bool, int, float, str, bytes, tuple, type(None))


class Verbatim:
    """Shows itself in a signature as this text, without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def describe_api() -> str:
    """All of it, sorted by name; what has several names is described at the shortest."""
    found: dict[int, str] = {}
    texts: dict[str, str] = {}
    for name, value in sorted(public_names().items(), key=lambda item: (item[0].count("."), item[0])):
        home = found.setdefault(id(value), name) if inspect.isclass(value) or inspect.isroutine(value) else name
        texts[name] = f"{name} = {home}" if home != name else "\n".join(describe(name, value))
    return "".join(f"{texts[name]}\n" for name in sorted(texts))


def public_names() -> dict[str, Any]:
    """Every public name, from `tinyheap` on, and what it stands for."""
    packages = ["tinyheap", *(f"tinyheap.{item.name}" for item in pkgutil.iter_modules(tinyheap.__path__))]
    modules = [importlib.import_module(name) for name in packages if not name.endswith("__main__")]
    listed = {f"{module.__name__}.{name}" for module in modules for name in getattr(module, "__all__", ())}
    return {name: resolve(name) for name in listed | documented_names()}


def documented_names() -> set[str]:
    """What the documentation describes by its docstring."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    names = set(re.findall(r"\.\. auto(?:class|exception|function|data):: ([\w.]+)", pages))
    for module in re.findall(r"\.\. automodule:: ([\w.]+)", pages):
        members = vars(importlib.import_module(module)).items()
        names |= {f"{module}.{name}" for name, value in members if getattr(value, "__module__", None) == module}
    return {name for name in names if not name.rpartition(".")[2].startswith("_")}


def resolve(name: str) -> Any:  # noqa: ANN401
    """What a dotted name stands for: modules as far as there are any, then attributes."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            value = getattr(value, part)
        return value
    raise LookupError(name)


def describe(name: str, value: Any) -> Iterator[str]:  # noqa: ANN401
    """The lines on one name."""
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"    {line}" for line in members(value))
    elif inspect.isroutine(value):
        yield f"def {name}{signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def members(described: type) -> Iterator[str]:
    """The public members of a class, those included that it has from other classes of tinyheap."""
    if issubclass(described, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in described)
    elif "__init__" in vars(described):
        yield f"def __init__{signature(described.__init__)}"
    owners: dict[str, type] = {}
    for base in described.__mro__:
        if base.__module__.startswith("tinyheap"):
            for name in [*vars(base), *inspect.get_annotations(base)]:
                owners.setdefault(name, base)
    for name in sorted(owners):
        if name in SPECIAL_METHODS or not name.startswith("_"):
            yield from describe_member(owners[name], name)


def describe_member(owner: type, name: str) -> Iterator[str]:
    """The line on one member; none on a member of an enumeration, which has its own."""
    value = inspect.getattr_static(owner, name, None)
    match value:
        case enum.Enum():
            pass
        case property(fget=getter) | cached_property(func=getter):
            yield f"{name}: {signature(getter).return_annotation}"
        case staticmethod() | classmethod():
            yield f"{type(value).__name__} {name}{signature(value.__func__)}"
        case _ if annotation := inspect.get_annotations(owner).get(name):
            yield f"{name}: {inspect.formatannotation(plain(annotation))}"
        case _ if inspect.isroutine(value):
            yield f"def {name}{signature(value)}"


def signature(function: Any) -> inspect.Signature:  # noqa: ANN401
    """The signature of a function, in words that are the same on every version of Python."""
    found = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=plain(parameter.annotation), default=plain_default(parameter.default))
        for parameter in found.parameters.values()
    ]
    return found.replace(parameters=parameters, return_annotation=plain(found.return_annotation))


def plain(annotation: Any) -> Any:  # noqa: ANN401
    """An annotation as it stands in the source."""
    text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
    return Verbatim(text) if isinstance(text, str) else annotation


def plain_default(default: Any) -> Any:  # noqa: ANN401
    """A default that is the same in each run: what is not a literal is only said to be there."""
    if default is inspect.Parameter.empty:
        return default
    if isinstance(default, enum.Enum):
        return Verbatim(str(default) if not isinstance(default, str) else f"{type(default).__name__}.{default.name}")
    return default if isinstance(default, LITERALS) else Verbatim("...")


if __name__ == "__main__":
    SNAPSHOT.write_text(describe_api(), encoding="utf-8")
