"""Drivers: each calls one family of programs by the calling convention that these expect of their host.

A driver sees only a started session: its exports, its memory, and the functions that the program left in
JavaScript's global object.  So it drives a program the same way whatever serves its memory.  The calling
conventions were learned from the JavaScript that comes with each package.

    session = load(Path("gofmt.wasm").read_bytes())
    session.start()
    formatted = find(session).format(source)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from tinyheap.errors import DriverError, GuestError
from tinyheap.hosts.memory import MASK_32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinyheap.hosts.session import HostSession

__all__ = [
    "Formatter",
    "ReactorFormatter",
    "ScriptFormatter",
    "ShSyntaxFormatter",
    "ShellOptions",
    "find",
    "process_arguments",
]


class Formatter(Protocol):
    """A driver of a program that formats source texts."""

    name: ClassVar[str]

    def format(self, source: str, path: str = "") -> str:
        """The formatted text.

        Args:
            source: The text.
            path: Its file's name, for messages and for guessing a dialect.

        Raises:
            DriverError: If the program refuses the text; the message is the program's.
        """
        ...


def _number(session: HostSession, name: str, *arguments: int) -> int:
    """An exported function's result as an unsigned 32-bit number, 0 for none."""
    return int(session.call(name, *arguments) or 0) & MASK_32


@dataclass(frozen=True, slots=True)
class ScriptFormatter:
    """Drives a program that leaves ``format`` in JavaScript's global object: @wasm-fmt/gofmt up to 0.4."""

    session: HostSession
    name: ClassVar[str] = "script"

    def format(self, source: str, path: str = "") -> str:
        """The formatted text; DriverError with the program's message if it refuses."""
        result = self.session.call_script("format", source)
        match result:
            case [bool(refused), str(text)]:
                if refused:
                    raise DriverError(text)
                return text
        raise GuestError(f"the program's function format returned {result!r}; expected a flag and a text")

    @staticmethod
    def fits(session: HostSession) -> bool:
        """Whether the session's program is one of these."""
        return session.bridge is not None and "format" in session.bridge.functions()


@dataclass(frozen=True, slots=True)
class ReactorFormatter:
    """Drives a program that exports alloc, format and output_ptr: @wasm-fmt/gofmt from 0.5, @wasm-fmt/shfmt.

    ``options`` are passed to a program that takes any, as JSON.
    """

    session: HostSession
    options: Mapping[str, object] | None = None
    name: ClassVar[str] = "reactor"
    exports: ClassVar[frozenset[str]] = frozenset({"alloc", "dispose", "format", "output_ptr", "output_len"})
    """What such a program exports."""

    def format(self, source: str, path: str = "") -> str:
        """The formatted text; DriverError with the program's message if it refuses."""
        try:
            self._configure(path)
            self._pass(source)
            verdict = _number(self.session, "format")
            if verdict == 0:
                return source
            text = self._output()
        finally:
            if self.session.life.is_callable:
                self.session.call("dispose")
        if verdict != 1:
            raise DriverError(text)
        return text

    def _configure(self, path: str) -> None:
        if self.options is not None and "set_options" in self.session.exports:
            self._pass(json.dumps(self.options, separators=(",", ":")))
            self.session.call("set_options")
        if path and "set_path" in self.session.exports:
            self._pass(path)
            self.session.call("set_path")

    def _pass(self, text: str) -> None:
        data = text.encode()
        self.session.memory.write(_number(self.session, "alloc", len(data)), data)

    def _output(self) -> str:
        address = _number(self.session, "output_ptr")
        length_bytes = _number(self.session, "output_len")
        return self.session.memory.read(address, length_bytes).decode("utf-8", "replace")

    @staticmethod
    def fits(session: HostSession) -> bool:
        """Whether the session's program is one of these."""
        return session.exports >= ReactorFormatter.exports


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """How sh-syntax lays a shell script out; the defaults are the package's."""

    keep_comments: bool = True
    variant: int = 0
    """0 bash, 1 POSIX, 2 mksh, 3 bats, 4 by the file's name."""
    stop_at: str = ""
    recover_errors: int = 0
    simplify: bool = False
    indent: int = 2
    """Spaces; 0 for tabs."""
    binary_next_line: bool = True
    switch_case_indent: bool = True
    space_redirects: bool = True
    keep_padding: bool = False
    minify: bool = False
    single_line: bool = False
    function_next_line: bool = False


_Word = TypeVar("_Word")
_Slice = tuple[_Word, _Word, _Word]


def process_arguments(
    count: int,
    path: _Slice[_Word],
    source: _Slice[_Word],
    stop_at: _Slice[_Word],
    options: ShellOptions,
) -> list[_Word | int]:
    """What sh-syntax's export ``process`` is called with.

    Args:
        count: How many parameters it has, by version: 19, 21 or 22.
        path: Pointer, length and capacity of the file's name.
        source: The same of the text.
        stop_at: The same of the word at which reading ends.
        options: How the text is to be laid out.

    Raises:
        GuestError: No version that is known takes so many.
    """
    prints = True
    layout = (
        options.binary_next_line,
        options.switch_case_indent,
        options.space_redirects,
        options.keep_padding,
    )
    head: list[_Word | int] = [*path, *source, prints, options.keep_comments]
    tail = [options.indent, *layout, options.minify]
    if count == 19:
        return [*head, *stop_at, options.variant, *tail, options.function_next_line]
    if count not in {21, 22}:
        raise GuestError(
            f"this build of sh-syntax is not known: its function process has {count} parameters: expected 19, 21 or 22"
        )
    simplify = [options.simplify] if count == 22 else []
    tail += [options.single_line, options.function_next_line]
    return [*head, options.variant, *stop_at, options.recover_errors, *simplify, *tail]


@dataclass(frozen=True, slots=True)
class ShSyntaxFormatter:
    """Drives sh-syntax, whose export ``process`` takes 19, 21 or 22 numbers by version.

    The program's ``wasmAlloc`` returns the address of a slice (pointer, length, capacity) whose pointer is
    the buffer. The package's own JavaScript takes that address for the buffer's and writes its text over the
    slice and what lies behind it.  With ``overrun`` this driver does the same, to show what comes of it;
    otherwise it follows the pointer.
    """

    session: HostSession
    options: ShellOptions = ShellOptions()
    overrun: bool = False
    name: ClassVar[str] = "sh-syntax"
    exports: ClassVar[frozenset[str]] = frozenset({"wasmAlloc", "wasmFree", "process"})
    """What such a program exports."""

    def format(self, source: str, path: str = "script.sh") -> str:
        """The formatted text; DriverError with the program's message if it refuses."""
        handles: list[int] = []
        name, text, stop_at = (self._pass(each, handles) for each in (path, source, self.options.stop_at))
        count = len(self.session.function("process").type(self.session.store).params)
        result = _number(self.session, "process", *process_arguments(count, name, text, stop_at, self.options))
        for handle in handles:
            self.session.call("wasmFree", handle)
        return self._answer(self.session.memory.read_until_zero(result).decode("utf-8", "replace"))

    def _pass(self, text: str, handles: list[int]) -> _Slice[int]:
        data = text.encode()
        handle = _number(self.session, "wasmAlloc", len(data))
        handles.append(handle)
        address = handle if self.overrun else self.session.memory.read_u32(handle)
        self.session.memory.write(address, data)
        return address, len(data), len(data)

    @staticmethod
    def _answer(text: str) -> str:
        try:
            answer = json.loads(text)
        except ValueError:
            raise DriverError(text or "the program returned nothing") from None
        match answer:
            case {"parseError": {"Text": str(message)}} | {"message": str(message)} if message:
                raise DriverError(message)
            case {"text": str(formatted)}:
                return formatted
        raise GuestError(f"the program returned {text[:200]!r}; expected a formatted text")

    @staticmethod
    def fits(session: HostSession) -> bool:
        """Whether the session's program is one of these."""
        return session.exports >= ShSyntaxFormatter.exports


def find(session: HostSession) -> Formatter | None:
    """The driver of a started session's program, or None if none is known for it."""
    drivers = (ShSyntaxFormatter, ReactorFormatter, ScriptFormatter)
    return next((driver(session) for driver in drivers if driver.fits(session)), None)
