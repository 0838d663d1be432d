"""Virtual environments that hold chosen packages and nothing else, made without a network.

The packages are those of the environment that runs the tests, linked to one by one with all that they depend on.  So pip
finds what a distribution requires there, and what an extra would bring is missing where the extra was not asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

import needs

_PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--python")


class CleanEnvironment:
    """A virtual environment in ``folder`` with the packages that ``requirements`` name.

    Args:
        has_compiler: Whether programs started here find the system's C compiler, or any other of its programs.
    """

    def __init__(self, folder: Path, requirements: list[str], *, has_compiler: bool = False) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        variables = {"base": str(folder), "platbase": str(folder), "installed_base": str(folder)}
        self.site = Path(sysconfig.get_path("purelib", "venv", variables))
        self.scripts = Path(sysconfig.get_path("scripts", "venv", variables))
        further_path = os.environ["PATH"] if has_compiler else ""
        self._variables = {
            **{name: value for name, value in os.environ.items() if name not in {"CC", "PYTHONPATH"}},
            "PATH": os.pathsep.join(filter(None, [str(self.scripts), further_path])),
            "TINYHEAP_REQUIRE_KERNEL": "1" if has_compiler else "0",
            "CI": "",  # whose machine lacks nothing that a test needs
        }
        for distribution in _closure(requirements):
            _link(distribution, self.site)

    def install(self, file: Path, extra: str | None = None) -> None:
        """Install a distribution with pip, as a user does; whatever it requires has to be there."""
        options = ["--quiet", "--no-index", "--no-build-isolation"]
        wanted = f"{file}[{extra}]" if extra else str(file)
        subprocess.run(
            [sys.executable, *_PIP, self.scripts / "python", "install", *options, wanted],
            check=True,
            env=self._variables,
            cwd=self.scripts,
        )

    def run(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs."""
        program, *arguments = command
        return subprocess.run(
            [self.scripts / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self._variables,
            cwd=cwd,
        )


def _closure(requirements: list[str]) -> Iterator[metadata.Distribution]:
    """What satisfies the requirements, and what that needs, each once."""
    seen, left = set(), [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        distribution = needs.package(requirement.name)
        left += [Requirement(text) for text in distribution.requires or ()]
        yield distribution


def _link(distribution: metadata.Distribution, site: Path) -> None:
    """Link to each file and folder that a package has at the top of its own ``site-packages``."""
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(str(distribution.locate_file(name)))
