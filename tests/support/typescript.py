"""Classes of Python as interfaces of TypeScript: what they are once they were written as JSON."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Final, NamedTuple, Union, get_args, get_origin

PRIMITIVES: Final[dict[object, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}


class Field(NamedTuple):
    """A field of a class, as it stands in the source."""

    name: str
    annotation: str
    docstring: str | None


def interface(described: type, only: Collection[str] = ()) -> str:
    """An interface with the fields of a typed dictionary or a dataclass, and what is said of each.

    Args:
        described: The class.
        only: The fields that are written; all without it.
    """
    names = vars(sys.modules[described.__module__])
    lines = [*comment(inspect.getdoc(described)), f"export interface {described.__name__} {{"]
    for field in _fields(described):
        if not only or field.name in only:
            kind = type_of(eval(field.annotation, names))
            lines += [*comment(field.docstring, "  "), f"  {field.name}: {kind};"]
    return "\n".join([*lines, "}\n"])


def type_of(annotation: object) -> str:
    """The type of a value that was written as JSON."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in PRIMITIVES:
        return PRIMITIVES[annotation]
    if origin is Annotated:  # a dictionary with the fields of a dataclass
        return type_of(arguments[1])
    if origin in (Union, UnionType):
        return " | ".join(map(type_of, arguments))
    if origin in (list, tuple):
        element = type_of(arguments[0])
        return f"({element})[]" if " | " in element else f"{element}[]"
    if inspect.isclass(annotation) and (is_dataclass(annotation) or issubclass(annotation, dict)):
        return annotation.__name__
    raise TypeError(f"there is nothing in JSON for {annotation}")


def comment(text: str | None, indent: str = "") -> Iterator[str]:
    """A comment in front of what it is about; nothing without a text."""
    if text is None:
        return
    lines = text.replace("None", "null").splitlines()
    if len(lines) == 1:
        yield f"{indent}/** {lines[0]} */"
    else:
        yield from (f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */")


def _fields(described: type) -> Iterator[Field]:
    [found] = ast.parse(textwrap.dedent(inspect.getsource(described))).body
    assert isinstance(found, ast.ClassDef)
    for field, after in zip(found.body, [*found.body[1:], None], strict=True):
        match field, after:
            case ast.AnnAssign(target=ast.Name(name), annotation=kind), ast.Expr(value=ast.Constant(value=str(text))):
                yield Field(name, ast.unparse(kind), inspect.cleandoc(text))
            case ast.AnnAssign(target=ast.Name(name), annotation=kind), _:
                yield Field(name, ast.unparse(kind), None)
