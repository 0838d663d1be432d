"""Faults put into source text: each names a function and what stands in it, not how it is laid out.

In Python what is replaced is an expression, or statements that follow each other, found by its syntax tree: line breaks,
parentheses without meaning and comments make no difference.  In C headers and in Cython's ``.pxd`` it is a sequence of
tokens.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Span = tuple[int, int]
"""Where a piece of source begins and ends, in bytes."""

_C_COMMENT: Final = rb"/\*.*?\*/|//[^\n]*"
COMMENTS: Final = {".h": _C_COMMENT, ".c": _C_COMMENT, ".pxd": rb"#[^\n]*"}
STRINGS: Final = rb"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
OPERATORS: Final = rb"<<=|>>=|[-+*/%&|^=!<>]=|<<|>>|->|&&|\|\|"


@dataclass(frozen=True)
class Edit:
    """A replacement in a file.

    Args:
        file: below the folder that the edit is applied to.
        function: the function or ``Class.method`` that it is in; empty for the whole file.
        old: an expression or statements, which must stand there exactly once.
        new: what stands there instead; nothing removes statements.
        nth: which of several places is meant, counted from 1 in the order of the text.
    """

    file: str
    function: str
    old: str
    new: str
    nth: int | None = None

    def apply(self, folder: Path) -> None:
        """Edit a file in place.

        Raises:
            LookupError: there is no such place, or more than one.
        """
        path = folder / self.file
        path.write_bytes(self.applied(path.read_bytes()))

    def applied(self, source: bytes) -> bytes:
        """The source with its fault."""
        python = self.file.endswith(".py")
        start, end = self._chosen(sorted(python_places(self, source) if python else token_places(self, source)))
        new = python_replacement(self, source, start) if python else self.new.encode()
        return source[:start] + new + source[end:]

    def _chosen(self, places: list[Span]) -> Span:
        if self.nth is None and len(places) == 1:
            return places[0]
        if self.nth is not None and self.nth <= len(places) and len(places) > 1:
            return places[self.nth - 1]
        raise LookupError(f"{self.function or 'all'} of {self.file} has {len(places)} places like: {self.old}")


# ---- Python -------------------------------------------------------------------------------------------------------------


def python_places(edit: Edit, source: bytes) -> Iterator[Span]:
    """Where the old syntax tree stands in the function."""
    line_starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
    wanted = parsed(edit)
    for nodes in candidates(function_tree(ast.parse(source), edit.function), len(wanted), type(wanted[0])):
        if [ast.dump(node) for node in nodes] == [ast.dump(node) for node in wanted]:
            first, last = nodes[0], nodes[-1]
            assert last.end_lineno is not None
            assert last.end_col_offset is not None
            yield (
                line_starts[first.lineno - 1] + first.col_offset,
                line_starts[last.end_lineno - 1] + last.end_col_offset,
            )


def parsed(edit: Edit) -> list[ast.expr] | list[ast.stmt]:
    """What is looked for: an expression if it is to become one, or statements."""
    try:
        ast.parse(edit.new.strip(), mode="eval")
        return [ast.parse(edit.old.strip(), mode="eval").body]
    except SyntaxError:
        return ast.parse(edit.old).body


def function_tree(tree: ast.Module, name: str) -> ast.AST:
    """A function, or a class's method, by its name."""
    scope: ast.AST = tree
    for part in filter(None, name.split(".")):
        inner = (node for node in ast.iter_child_nodes(scope) if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
        scope = next((node for node in inner if node.name == part), scope)
        if getattr(scope, "name", None) != part:
            raise LookupError(f"there is no {name}")
    return scope


def candidates(scope: ast.AST, count: int, kind: type[ast.AST]) -> Iterator[list[ast.expr] | list[ast.stmt]]:
    """Every expression, or every run of so many statements."""
    for node in ast.walk(scope):
        if issubclass(kind, ast.expr):
            if isinstance(node, ast.expr):
                yield [node]
            continue
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield from (block[at : at + count] for at in range(len(block) - count + 1))


def python_replacement(edit: Edit, source: bytes, start: int) -> bytes:
    """The new text, as it has to be written where the old one began."""
    if isinstance(parsed(edit)[0], ast.expr):
        return f"({edit.new.strip()})".encode()
    indentation = b" " * (start - source.rfind(b"\n", 0, start) - 1)
    new = ast.unparse(ast.parse(edit.new)) or "pass"
    return new.encode().replace(b"\n", b"\n" + indentation)


# ---- tokens -------------------------------------------------------------------------------------------------------------


def token_places(edit: Edit, source: bytes) -> Iterator[Span]:
    """Where the old tokens stand in the function, wherever it is defined."""
    kind = Path(edit.file).suffix
    wanted = [text for text, _, _ in tokens(edit.old.encode(), kind)]
    all_tokens = tokens(source, kind)
    for scope_start, scope_end in function_spans(source, edit.function, braces=kind == ".h"):
        found = [token for token in all_tokens if scope_start <= token[1] < scope_end]
        for at in range(len(found) - len(wanted) + 1):
            if [text for text, _, _ in found[at : at + len(wanted)]] == wanted:
                yield found[at][1], found[at + len(wanted) - 1][2]


def tokens(source: bytes, kind: str) -> list[tuple[bytes, int, int]]:
    """Every token and where it begins and ends, without white space and comments."""
    token = rb"(?P<skipped>\s+|%s)|%s|[A-Za-z_]\w*|\d\w*|%s|." % (COMMENTS[kind], STRINGS, OPERATORS)
    matches = re.finditer(token, source, re.DOTALL)
    return [(match[0], match.start(), match.end()) for match in matches if not match["skipped"]]


def function_spans(source: bytes, name: str, *, braces: bool) -> Iterator[Span]:
    """Where a function is defined, as often as it is."""
    if not name:
        yield 0, len(source)
        return
    head = rb"^static inline [^\n(]*\b%s\([^{;]*\{" if braces else rb"^cdef inline [^\n(]*\b%s\([^\n]*:\n"
    for match in re.finditer(head % re.escape(name.encode()), source, re.MULTILINE):
        yield match.start(), (closing_brace if braces else next_at_margin)(source, match.end())


def closing_brace(source: bytes, at: int) -> int:
    """Where the block ends that is open here."""
    depth = 1
    while depth > 0:
        depth += {b"{": 1, b"}": -1}.get(source[at : at + 1], 0)
        at += 1
    return at


def next_at_margin(source: bytes, at: int) -> int:
    """Where the next line begins that is not indented."""
    match = re.compile(rb"^\S", re.MULTILINE).search(source, at)
    return match.start() if match else len(source)
