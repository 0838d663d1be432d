"""One run under one condition: ``tinyheap run``, in a process of its own.

So there is one program that runs programs, an outcome has exactly the statistics that a user gets with those options, and
nothing that happens to the process reaches the sweep.  A process that a signal ends is tried again, in case it was not at
fault; one that ends so three times is a result.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tinyheap import __version__
from tinyheap.errors import InputError
from tinyheap.files import is_file, reason_of, text_of
from tinyheap.guests.ending import EndKind
from tinyheap.lab.conditions import DEFAULT
from tinyheap.lab.leash import leash
from tinyheap.lab.outcome import WORKER_DIED, Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tinyheap.lab.conditions import Condition

    Task = tuple[Condition, int]
    """A condition, and which run under it."""

INPUT_MARK: Final = "{input}"
"""Where the input of a condition goes among a program's arguments."""
ATTEMPTS: Final = 3
"""How often a run is tried whose process dies."""
_LAST_CHARACTERS: Final = 500
"""Of what a process said that left no report."""


@dataclass(frozen=True)
class Subject:
    """A program, and what is the same in each of its runs.

    A condition may choose another module, and an input: that takes the place of ``{input}`` in arguments and numbers, or is
    the file of standard input where nothing has that mark.

    Args:
        module: Its file.
        arguments: The program's own.
        options: Further options of ``tinyheap run``, each a word: ``--seed=1``.  Without ``--stdin=FILE`` its standard
            input is empty.
        numbers: What ``--invoke`` passes to the export that it names.
    """

    module: Path
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    def words(self, condition: Condition) -> list[str]:
        """The command line of a run, behind ``tinyheap run``."""
        module, given = condition.program
        reading = [] if given == DEFAULT or self.has_input_mark else [f"--stdin={given}"]
        return [
            *self.options,
            *condition.options,
            *reading,
            str(self.module) if module == DEFAULT else module,
            *_marked(self.numbers, given),
            "--",
            *_marked(self.arguments, given),
        ]

    @property
    def has_input_mark(self) -> bool:
        """Whether an input is a word for the program, and not its standard input."""
        return any(INPUT_MARK in word for word in (*self.numbers, *self.arguments))

    @cached_property
    def identity(self) -> str:
        """A hash of all that decides what its runs give: tinyheap's version, words, and the files that they name.

        Raises:
            InputError: The module cannot be read.
        """
        found = hashlib.sha256(repr((__version__, self.options, self.numbers, self.arguments)).encode())
        for path in self.files:
            found.update(hashlib.sha256(content_of(path)).digest())
        return found.hexdigest()

    @property
    def files(self) -> tuple[Path, ...]:
        """The module, and the files that words of all runs name."""
        named = (*self.arguments, *(word.partition("=")[2] for word in self.options))
        return self.module, *(Path(word) for word in named if word and is_file(Path(word)))

    def files_of(self, conditions: Iterable[Condition]) -> tuple[Path, ...]:
        """The modules that conditions choose, and the inputs that are files."""
        programs = list(dict.fromkeys(condition.program for condition in conditions))
        modules = (Path(module) for module, _ in programs if module != DEFAULT)
        inputs = (Path(given) for _, given in programs if given != DEFAULT)
        must_be = inputs if not self.has_input_mark else (path for path in inputs if is_file(path))
        return tuple(dict.fromkeys((*modules, *must_be)))


def _marked(words: Iterable[str], given: str) -> Iterator[str]:
    """Words with an input in the place of the mark."""
    return (word if given == DEFAULT else word.replace(INPUT_MARK, given) for word in words)


def content_of(path: Path) -> bytes:
    """The bytes of a file that runs read.

    Raises:
        InputError: It cannot be read.
    """
    if not is_file(path):
        raise InputError(f"{text_of(path)}: is not a file that can be read")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{text_of(path)}: {reason_of(error)}") from error


class Workers:
    """The processes of a sweep, which can be stopped from another thread.

    Args:
        place: The working directory of runs; None for this process's.
        scratch: Where runs leave what they wrote until it is read; None for a temporary folder.
    """

    def __init__(self, place: Path | None = None, scratch: Path | None = None) -> None:
        self._place, self._scratch = place, scratch
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """Kill all processes; none is started any more."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.kill()

    def run(self, subject: Subject, condition: Condition, run: int = 1) -> Outcome | None:
        """What became of the program; None where the run was stopped."""
        for _ in range(ATTEMPTS):
            with TemporaryDirectory(prefix="tinyheap-", dir=self._scratch) as folder:
                code = self._wait(subject.words(condition), Path(folder))
                if self._is_stopped:
                    return None
                if code >= 0:
                    return _outcome(condition, run, code, Path(folder))
        name = signal.Signals(-code).name
        evidence = f"its process was ended by {name}, {ATTEMPTS} times out of {ATTEMPTS}"
        return Outcome(str(condition), run, WORKER_DIED, (evidence,), None, None)

    def _wait(self, words: list[str], folder: Path) -> int:
        """Run the command to its end, and leave what it wrote in a folder; its exit code, or minus a signal's number."""
        words = ["run", "--no-summary", f"--json={folder / 'report'}", *words]
        with leash() as held, (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tinyheap.lab.leash", str(held), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=self._place,
                pass_fds=(held,),
                process_group=0,  # Ctrl-C is the sweep's own, not its processes'
            )
            with process:
                self._begin(process)
                try:
                    return process.wait()
                finally:
                    process.kill()
                    with self._lock:
                        self._running.discard(process)

    def _begin(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.add(process)
            if self._is_stopped:
                process.kill()


def _outcome(condition: Condition, run: int, code: int, folder: Path) -> Outcome:
    """The outcome of a process that ended by itself."""
    report = folder / "report"
    if not report.exists():
        said = (folder / "errors").read_bytes()[-_LAST_CHARACTERS:].decode(errors="replace").strip()
        return Outcome(str(condition), run, EndKind.FAILED, (said.rpartition("\n")[2],), code, None)
    with (folder / "output").open("rb") as output:
        output_sha256 = hashlib.file_digest(output, "sha256").hexdigest()
    return outcome_of(condition, run, json.loads(report.read_bytes()), output_sha256)
