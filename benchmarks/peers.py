"""The collectors that the kernel is measured against: C programs, compiled here, that run traces and print JSON.

*literal* is an original's algorithm block by block, one build for each collector, word size and scanner; *bdwgc* is
Debian's libgc.  `counted` builds of literal tally their work in the hot loops and are never timed.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tinyheap.heap.collectors import Collector

SOURCES: Final = Path(__file__).parent
BUILD_FOLDER: Final = SOURCES.parent / "build" / "benchmarks"
COMPILER: Final = os.environ.get("CC", "cc")
FLAGS: Final = ("-O3", "-march=native", "-std=gnu11", "-Wall", "-Wextra", "-Werror")


class PeerError(Exception):
    """A peer that does not compile or does not run; the message is the tool's own."""


def literal(
    word_bytes: int,
    *,
    precise: bool,
    counted: bool = False,
    collector: Collector = Collector.NEXT_FIT,
    folder: Path = BUILD_FOLDER,
) -> Path:
    """The program of a literal port, compiled unless it is there already; next-fit's, or best-fit's with headers in front.

    Raises:
        PeerError: It does not compile.
    """
    kind = f"w{word_bytes}-{'precise' if precise else 'conservative'}{'-counted' if counted else ''}"
    defines = (f"-DWORD_BYTES={word_bytes}", f"-DPRECISE={precise:d}", f"-DCOUNT={counted:d}")
    name = "literal" if collector is Collector.NEXT_FIT else "literal_bestfit"
    return _compile(name, folder / f"{name}-{kind}", defines)


def bdwgc(folder: Path = BUILD_FOLDER) -> Path:
    """The program on bdwgc, compiled unless it is there already.

    Raises:
        PeerError: It does not compile; most likely libgc's headers are not installed.
    """
    return _compile("bdwgc", folder / "bdwgc", libraries=("-lgc",))


def run(peer: Path, trace: Path, *options: str) -> dict[str, Any]:
    """What a peer says of one run of an uncompressed trace.

    Raises:
        PeerError: It failed.
    """
    done = subprocess.run([peer, *options, trace], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(f"{peer.name}: {done.stderr.strip() or f'ended with code {done.returncode}'}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _compile(name: str, target: Path, defines: tuple[str, ...] = (), libraries: tuple[str, ...] = ()) -> Path:
    sources = [SOURCES / f"{name}.c", *SOURCES.glob("*.h")]
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Elsewhere first: another process may have just begun to run the same program.
    with TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder, target.name)
        command: list[str | Path] = [COMPILER, *FLAGS, *defines, "-o", made, sources[0], *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError(f"{COMPILER} cannot compile {name}.c:\n{done.stderr.strip()}")
        made.replace(target)
    return target
