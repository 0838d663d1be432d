"""What all commands share: types of parameters, and the check that no input or other output is overwritten.

A file is named the same way everywhere: ``-`` is standard input, or standard output, and a file of that name is ``./-``.
"""

from __future__ import annotations

import math
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, TypeAlias

import click
from click.core import ParameterSource

from tinyheap.errors import (
    HeapError,
    InputError,
    InvalidSizeError,
    OutputError,
    RecordingError,
    RecordingWriteError,
    SnapshotError,
)
from tinyheap.files import check_writable, identity_of, reason_of, text_of, write_whole
from tinyheap.heap.collectors import Collector, named_collector
from tinyheap.recordings.last import Last
from tinyheap.recordings.schema import LARGEST_SAMPLE_BYTES
from tinyheap.snapshots.moments import Moment
from tinyheap.units import GIB, MIB, parse_size

STREAM: Final = "-"
PIECE_BYTES: Final = MIB
DEVICE_LIMIT_BYTES: Final = MIB
"""What is read of a device: most have nothing (/dev/null), or no end (/dev/zero)."""
STREAM_LIMIT_BYTES: Final = 4 * GIB
ADDRESS_LIMIT: Final = (1 << 32) - 1
NUMBER_LIMIT: Final = (1 << 63) - 1
"""The largest number of anything that is counted, and the largest seed."""


# ---- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _NamedFile:
    """A file by the name that a command line gives it, or a standard stream; as text a name fit to be shown anywhere."""

    name: str

    STREAM_NAME: ClassVar[str]
    """What the standard stream is called."""

    @property
    def is_stream(self) -> bool:
        """Whether it is the standard stream."""
        return self.name == STREAM

    @property
    def path(self) -> Path:
        """Where the file lies, or is to lie."""
        return Path(self.name)

    def __str__(self) -> str:
        return self.STREAM_NAME if self.is_stream else text_of(self.name)


@dataclass(frozen=True, slots=True)
class Input(_NamedFile):
    """A file to be read, or standard input."""

    STREAM_NAME = "standard input"

    def read(self) -> bytes:
        """All of it.

        Raises:
            InputError: It cannot be read, or has no end.
        """
        try:
            if self.is_stream:
                return self._until_end(sys.stdin.buffer, STREAM_LIMIT_BYTES)
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if stat.S_ISREG(mode):
                    return file.read()
                is_device = stat.S_ISCHR(mode) and not file.isatty()
                return self._until_end(file, DEVICE_LIMIT_BYTES if is_device else STREAM_LIMIT_BYTES)
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{self}: {reason_of(error)}") from error

    def _until_end(self, file: BinaryIO, limit_bytes: int) -> bytes:
        """What comes out of a stream, which need not end."""
        parts, left_bytes = [], limit_bytes
        while part := file.read(PIECE_BYTES):
            parts.append(part)
            left_bytes -= len(part)
            if left_bytes < 0:
                raise InputError(f"{self}: does not end within {limit_bytes} bytes; name a regular file")
        return b"".join(parts)

    def check(self) -> None:
        """Find out now whether there is something to read.

        Raises:
            InputError: There is not.
        """
        try:
            is_folder = not self.is_stream and stat.S_ISDIR(self.path.stat().st_mode)
        except OSError as error:
            raise InputError(f"{self}: {reason_of(error)}") from error
        if is_folder:
            raise InputError(f"{self}: is a folder: expected a file")


@dataclass(frozen=True, slots=True)
class OutputTarget(_NamedFile):
    """A file to be written, or standard output."""

    STREAM_NAME = "standard output"

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Find out now whether it can be written.

        Args:
            parameters: Those of the command line, by name.

        Raises:
            OutputError: It cannot.
        """
        if not self.is_stream:
            check_writable(self.path)

    def write(self, content: bytes | Iterable[bytes]) -> None:
        """Write it, all of it or nothing, in one piece or several.

        Raises:
            OutputError: It cannot be written.
        """
        if self.is_stream:
            sys.stdout.flush()
            sys.stdout.buffer.writelines((content,) if isinstance(content, bytes) else content)
            sys.stdout.buffer.flush()
        else:
            write_whole(self.path, content)


class FolderOutput(OutputTarget):
    """A folder to be written into, which need not be there yet."""

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Find out now whether files can be written there."""
        parent = next(each for each in (self.path, *self.path.absolute().parents) if os.path.lexists(each))
        if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
            what = "may not be written to" if parent.is_dir() else "is not a folder"
            raise OutputError(f"{self}: cannot be written: {text_of(parent)} {what}; choose another place")


class RecordingOutput(OutputTarget):
    """A recording to be written, which replaces another one only with ``--force``."""

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Find out now whether it can be made there."""
        try:
            self._check(overwrite=parameters["force"])
        except RecordingWriteError as error:
            hint = "" if parameters["force"] else " (--output FILE, --force)"
            raise RecordingWriteError(f"{error}{hint}") from error

    def _check(self, *, overwrite: bool) -> None:
        from tinyheap.recordings.place import check_place

        check_place(self.path, overwrite=overwrite)


class NumberedRecordings(RecordingOutput):
    """Recordings that are named after one: a number stands behind the name."""

    def _check(self, *, overwrite: bool) -> None:
        from tinyheap.guests.attached.names import RecordingNames

        RecordingNames(self.path, overwrite=overwrite).check()


class InputFile(click.ParamType[Input]):
    """A file to be read.

    Args:
        no_stream: Why it cannot be standard input; None where it can.
    """

    name = "file"

    def __init__(self, no_stream: str | None = None) -> None:
        self.no_stream = no_stream

    def convert(self, value: str | Input, param: click.Parameter | None, ctx: click.Context | None) -> Input:
        """The file; it is not opened yet."""
        if isinstance(value, Input):
            return value
        if not value:
            self.fail("invalid file name '': expected a name", param, ctx)
        if value == STREAM and self.no_stream is not None:
            self.fail(
                f"invalid file name '-' (standard input): {self.no_stream}; a file of that name is ./-", param, ctx
            )
        return Input(value)


class OutputFile(click.ParamType[OutputTarget]):
    """A file to be written.

    Args:
        kind: What is made of the name.
        no_stream: Why it cannot be standard output; None where it can.
    """

    name = "file"

    def __init__(self, kind: type[OutputTarget] = OutputTarget, no_stream: str | None = None) -> None:
        self.kind, self.no_stream = kind, no_stream

    def convert(
        self, value: str | OutputTarget, param: click.Parameter | None, ctx: click.Context | None
    ) -> OutputTarget:
        """The file; whether it can be written is found out when the whole command line is known."""
        if isinstance(value, OutputTarget):
            return value
        if not value:
            self.fail("invalid file name '': expected a name", param, ctx)
        if value == STREAM and self.no_stream is not None:
            self.fail(
                f"invalid file name '-' (standard output): {self.no_stream}; a file of that name is ./-", param, ctx
            )
        return self.kind(value)


INPUT: Final = InputFile()
OUTPUT: Final = OutputFile()
RECORDING: Final = InputFile("a recording is a database, which cannot be read as a stream")
HOST: Final = InputFile("that is for the program; name a file of Python")
NEW_RECORDING: Final = OutputFile(RecordingOutput, "a recording is a database, which cannot be written as a stream")
FOLDER: Final = OutputFile(FolderOutput, "expected a folder, for a file per table")


class Command(click.Command):
    """A command that begins only where all that it is to write can be written, and replaces nothing that it reads."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's
        """Check what is to be written, and do the work.

        Raises:
            click.UsageError: An output is an input, or another output, too.
            OutputError: An output cannot be written.
        """
        outputs = list(_named(ctx, OutputTarget))
        places = dict(self.files_read(ctx))
        for label, output in outputs:
            place = STREAM if output.is_stream else identity_of(output.path)
            if place is not None and place in places:
                raise click.UsageError(f"{label} {output}: is the same as {places[place]}; write to another file", ctx)
            places[place] = f"{label} {output}"
        for _, output in outputs:
            output.check(ctx.params)
        return super().invoke(ctx)

    def files_read(self, ctx: click.Context) -> Iterator[tuple[object, str]]:
        """What is read: its identity, and words for it."""
        for label, source in _named(ctx, Input):
            if not source.is_stream:
                yield identity_of(source.path), f"{label} {source}, which is read"


class OptionalValue(click.Option):
    """An option that may be given a value behind an equals sign, and else means `flag_value`."""

    def without_value(self, word: str) -> str:
        """The option with its value where that word is the option alone; click would take the next word for it."""
        return f"{word}={self.flag_value}" if word in self.opts else word

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What `--help` shows: the value as it is written."""
        record = super().get_help_record(ctx)
        return None if record is None else (f"{self.opts[0]}[={self.metavar}]", record[1])


def _named(ctx: click.Context, kind: type[Input] | type[OutputTarget]) -> Iterator[tuple[str, Any]]:
    """All values of a kind on a command line, with the parameters that they belong to."""
    for parameter in ctx.command.params:
        label = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.make_metavar(ctx)
        for value in _flat(ctx.params.get(parameter.name or "")):
            if isinstance(value, kind):
                yield label, value


def _flat(value: object) -> Iterable[object]:
    return (each for part in value for each in _flat(part)) if isinstance(value, tuple) else (value,)


# ---- numbers ----------------------------------------------------------------------------------------------------------


class NumberRange(click.FloatRange):
    """A number within bounds: not nan, which no comparison keeps out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The number; a usage error where it is outside of its range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


COUNT: Final = click.IntRange(1, NUMBER_LIMIT)
SEED: Final = click.IntRange(0, NUMBER_LIMIT)


class SizeType(click.ParamType[int]):
    """A size in bytes: `65536`, `64K` or `64KiB`; also M, MiB, G and GiB, in either case."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes; a usage error where the text says none, or one out of range."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except InvalidSizeError as error:
            self.fail(str(error), param, ctx)


SIZE: Final = SizeType()


class SampleType(SizeType):
    """The mean distance of two sampled bytes: a size up to 2 GiB."""

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The distance in bytes; a usage error where the text says none, or one out of range."""
        mean_bytes = super().convert(value, param, ctx)
        if mean_bytes > LARGEST_SAMPLE_BYTES:
            self.fail(f"invalid sample {value!r}: expected 1 byte to 2GiB", param, ctx)
        return mean_bytes


class LastType(click.ParamType[Last]):
    """How much of a run's end is kept: batches, or a time."""

    name = "last"

    def convert(self, value: str | Last, param: click.Parameter | None, ctx: click.Context | None) -> Last:
        """What the text says; a usage error where that is nothing of the kind."""
        try:
            return value if isinstance(value, Last) else Last.of(value)
        except RecordingError as error:
            self.fail(str(error), param, ctx)


Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What declares a parameter of a command, or several."""


def takes(*parameters: Decorator) -> Decorator:
    """Give a command these parameters, in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for each in reversed(parameters):
            function = each(function)
        return function

    return decorate


takes_recorded: Final = takes(
    click.option(
        "--last",
        type=LastType(),
        metavar="N|TIME",
        help="Keep only the last N batches of the recording (64; half a second or a full buffer each), or the last TIME of it "
        "(90s, 10m, 2h), and what lives then, so that the file stays small however long the run is.",
    ),
    click.option(
        "--call-arguments",
        is_flag=True,
        help="Record the arguments and results of the calls into the program, too; they may be anybody's data.",
    ),
)
"""Gives a command that records a run the options that say what is kept, ``last`` and ``call_arguments``."""
takes_sample: Final = takes(
    click.option(
        "--sample",
        type=SampleType(),
        metavar="BYTES",
        help="Record about one object for so many BYTES allocated, which costs less; statistics of objects are estimates then.",
    ),
    click.option(
        "--sample-seed",
        type=SEED,
        default=0,
        show_default=True,
        metavar="N",
        help="Choose the sampled objects by this number: the same run has the same sample.",
    ),
)
"""Gives a command that records a run the options of a sample, ``sample`` and ``sample_seed``."""


class AddressType(click.ParamType[int]):
    """An address of a program with 32 bits, decimal or hexadecimal."""

    name = "address"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The address; a usage error where the text says none, or one out of range."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"0x([0-9a-f]{1,16})|([0-9]{1,19})", value.strip().lower())
        address = -1 if match is None else int(match[1], 16) if match[1] else int(match[2])
        if not 0 <= address <= ADDRESS_LIMIT:
            expected = f"a number from 0 to {ADDRESS_LIMIT:#x}, decimal or hexadecimal, such as 0x10040"
            self.fail(f"invalid address {text_of(value)!r}: expected {expected}", param, ctx)
        return address


ADDRESS: Final = AddressType()


# ---- collectors -------------------------------------------------------------------------------------------------------


class MomentType(click.ParamType[Moment]):
    """A moment of a run: ``end``, ``peak``, ``trap``, ``allocation:N``, ``collection:N`` or ``call:N``."""

    name = "moment"

    def convert(self, value: str | Moment, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """The moment; a usage error where the text names none."""
        if isinstance(value, Moment):
            return value
        try:
            return Moment.parse(value)
        except SnapshotError as error:
            self.fail(str(error), param, ctx)


MOMENT: Final = MomentType()
MOMENTS: Final = "end|peak|trap|allocation:N|collection:N|call:N"


class CollectorType(click.ParamType[Collector]):
    """A collector, by its algorithm or by a release of TinyGo that had it."""

    name = "collector"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Collector:
        """The collector; a usage error where there is none of that name."""
        try:
            return named_collector(value)
        except HeapError as error:
            self.fail(str(error), param, ctx)


COLLECTOR: Final = CollectorType()


def check_only(ctx: click.Context, names: Collection[str], why: str) -> None:
    """Refuse whatever a command line has besides some parameters.

    Args:
        ctx: The command's; its object is the arguments of a program.
        names: Of the parameters.
        why: Why the others make no sense, behind the name of one.

    Raises:
        click.UsageError: It has.
    """
    given = [each for each in ctx.command.params if each.name not in names and _is_given(ctx, each)]
    if given or ctx.obj:
        what = max(given[0].opts, key=len) if given and isinstance(given[0], click.Option) else "an argument"
        raise click.UsageError(f"{what} {why}")


def _is_given(ctx: click.Context, parameter: click.Parameter) -> bool:
    name = parameter.name or ""
    return bool(ctx.params[name]) and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
