"""Programs with the block collector that the tests compile themselves, in every shape that a compiler gives it."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import kept
import needs

FOLDER = Path(__file__).parent
STACK_BYTES = 65536


class Build(NamedTuple):
    """How a collector is compiled; see block_collector.c and best_fit_collector.c."""

    optimization: str
    link_time: bool
    precise: bool
    tasks: bool
    explicit: bool
    panics: bool = False
    saved: bool = False
    chain: bool = False
    headroom: bool = True
    one_size: bool = False
    old_table: bool = False
    back: bool = False
    secret: bool = False
    finalizers: bool = False
    smallest: bool = False
    indirect: bool = False
    own_stack: bool = False
    apart: bool = False

    @property
    def entries(self) -> int:
        """The mark stack's length."""
        return 32 if self.precise else 16

    @property
    def counters(self) -> int:
        """How many counters there are."""
        return 5 if self.precise and self.tasks else 3

    def __str__(self) -> str:
        names = (
            "link_time",
            "precise",
            "tasks",
            "explicit",
            "panics",
            "saved",
            "chain",
            "one_size",
            "old_table",
            "back",
            "secret",
            "finalizers",
            "smallest",
            "indirect",
            "own_stack",
            "apart",
        )
        words = [name for name in names if getattr(self, name)]
        return "-".join([f"O{self.optimization}", *words, *([] if self.headroom else ["crowded"])])


_CHOICES = (False, True)
BUILDS = [
    Build(optimization, link_time, precise, tasks, explicit)
    for optimization, link_time, precise, tasks, explicit in product("12sz", _CHOICES, _CHOICES, _CHOICES, _CHOICES)
]


@cache
def compiled(
    build: Build, source: str = "block_collector.c", *, stack_first: bool = True, dwarf: int | None = None
) -> bytes:
    """The module of a build, with its names; of a program around the collector, if `source` is another.

    Its stack comes first in memory, as TinyGo has it, or else behind its variables.  It has debug information of the version
    `dwarf`, if that is given.
    """
    compiler, linker = needs.tool("clang-14"), needs.tool("wasm-ld-14")
    defines = {
        "PRECISE": build.precise,
        "TASKS": build.tasks,
        "EXPLICIT": build.explicit,
        "PANICS": build.panics,
        "SAVED": build.saved,
        "CHAIN": build.chain,
        "HEADROOM": build.headroom,
        "ONE_SIZE": build.one_size,
        "OLD_TABLE": build.old_table,
        "BACK": build.back,
        "SECRET": build.secret,
        "FINALIZERS": build.finalizers,
        "SMALLEST": 12 * build.smallest,
        "INDIRECT": build.indirect,
        "OWN_STACK": build.own_stack,
        "APART": build.apart,
        "COUNTERS": build.counters,
        "ENTRIES": build.entries,
    }
    options = [f"-D{name}={int(value)}" for name, value in defines.items()]
    options += ["-ffreestanding", "-fno-builtin", "-mbulk-memory", f"-O{build.optimization}"]
    options += [] if dwarf is None else ["-g", f"-gdwarf-{dwarf}"]
    options += ["-flto"] if build.link_time else []
    layout = ["--no-entry", *(["--stack-first"] if stack_first else []), "-z", f"stack-size={STACK_BYTES}"]
    sources = [path.read_text() for pattern in ("*.c", "*.h", "*.s") for path in sorted(FOLDER.glob(pattern))]
    return kept.made(
        lambda: _compiled(str(compiler), str(linker), source, options, layout), source, options, layout, sources
    )


def _compiled(compiler: str, linker: str, source: str, options: list[str], layout: list[str]) -> bytes:
    with TemporaryDirectory() as name:
        folder = Path(name)
        objects = [str(folder / "collector.o"), str(folder / "stack_pointer.o")]
        target = [compiler, "--target=wasm32", "-c"]
        run(*target, *options, str(FOLDER / source), "-o", objects[0])
        run(*target, str(FOLDER / "stack_pointer.s"), "-o", objects[1])
        run(linker, *layout, *objects, "-o", str(folder / "program.wasm"))
        return (folder / "program.wasm").read_bytes()


def run(*command: str) -> None:
    """Run a tool to its end; what it says is shown if it fails."""
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{' '.join(command)}: {finished.stderr}"


def transformed(wasm: bytes, *command: str) -> bytes:
    """A module after a tool that takes a file and writes another: `command`, input, -o, output."""
    return kept.made(lambda: _transformed(wasm, command), command, hashlib.sha256(wasm).hexdigest())


def _transformed(wasm: bytes, command: tuple[str, ...]) -> bytes:
    with TemporaryDirectory() as name:
        before, after = Path(name) / "before.wasm", Path(name) / "after.wasm"
        before.write_bytes(wasm)
        run(str(needs.tool(command[0])), *command[1:], str(before), "-o", str(after))
        return after.read_bytes()
