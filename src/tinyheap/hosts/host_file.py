"""A program's host as a file of Python, which commands take by ``--host FILE.py``.

    def log(caller, address, length_bytes):
        print(caller.memory.read(address, length_bytes).decode())

    imports = {"env": {"log": log}}

    def drive(program):
        for _ in range(100):
            program.call("handle")

The file defines one of two names, or both:

``imports``  functions by the module and the name under which a program imports them, as `Program.open` takes them
``drive``    a function of the `Program`, once that is started, which does with it what the file is for; it returns the
             command's exit code, 0 to 255, or None for 0

It is run as any file of Python is, with its folder in `sys.path`, before the program is opened.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Self

from tinyheap.errors import HostFileError, HostRaisedError, TinyheapError
from tinyheap.files import reason_of, text_of
from tinyheap.hosts.functions import OwnImports
from tinyheap.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinyheap.hosts.functions import Imports

MODULE: Final = "tinyheap_host"
"""The name by which a host's own code knows its module."""
SOURCE_LIMIT_BYTES: Final = 16 * MIB
_EXIT_CODES: Final = range(256)


@dataclass(frozen=True, slots=True)
class HostFile:
    """What a file defines; made by `load`.

    Args:
        path: the file.
        imports: its functions.
        drive: what it does with a program; None if it leaves that to others.
    """

    path: Path
    imports: Imports = field(default_factory=dict)
    drive: Callable[[Any], object] | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """The host that a file defines.

        Raises:
            HostFileError: it cannot be read, is not Python, raises, or defines nothing that makes a host.
        """
        names = _names_in(path, _source_of(path))
        imports, drive = names.get("imports"), names.get("drive")
        if imports is None and drive is None:
            raise HostFileError(
                f"{text_of(path)}: defines no host: expected imports = {{module: {{name: function}}}} or def drive(program)"
            )
        if drive is not None and not callable(drive):
            raise HostFileError(f"{text_of(path)}: invalid drive {drive!r}: expected a function that takes the program")
        try:
            OwnImports.of(imports)
        except TinyheapError as error:
            raise HostFileError(f"{text_of(path)}: {error}") from error
        return cls(path, imports or {}, drive)

    def driven(self, program: object) -> int:
        """The exit code that `drive` gives a program.

        Raises:
            HostFileError: it returns something else than an exit code.
        """
        assert self.drive is not None, "only what drives is asked to"
        code = self.drive(program)
        if code is None:
            return 0
        if type(code) is not int or code not in _EXIT_CODES:
            raise HostFileError(
                f"{text_of(self.path)}: drive returned {code!r}: expected None or an exit code, 0 to 255"
            )
        return code

    def raised(self, error: Exception) -> HostRaisedError:
        """The error for what this file's code raised while a program ran, with its place."""
        raised = HostRaisedError(_told(self.path, error))
        raised.__cause__ = error
        return raised


def _source_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            source = file.read(SOURCE_LIMIT_BYTES + 1)
    except OSError as error:
        raise HostFileError(f"{text_of(path)}: {reason_of(error)}") from error
    if len(source) > SOURCE_LIMIT_BYTES:
        raise HostFileError(f"{text_of(path)}: larger than {SOURCE_LIMIT_BYTES} bytes: expected a file of Python")
    return source


def _names_in(path: Path, source: bytes) -> dict[str, Any]:
    """What the code of a file defines."""
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise HostFileError(f"{text_of(path)}{line}: is not Python: {reason}") from error
    module = ModuleType(MODULE)
    module.__file__ = str(path)
    # Where classes look for the module that they were defined in.
    sys.modules[MODULE] = module
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        exec(code, vars(module))
    except (Exception, SystemExit) as error:
        raise HostFileError(_told(path, error)) from error
    return vars(module)


def _told(path: Path, error: BaseException) -> str:
    """An exception with where it comes from: the innermost line of the file, or of what the file imports."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path)]
    frame = (own or frames)[-1]
    function = "" if frame.name == "<module>" else f" (in {frame.name})"
    text = f": {error}" if str(error) else ""
    return f"{text_of(frame.filename)}:{frame.lineno}: raised {type(error).__name__}{text}{function}"
