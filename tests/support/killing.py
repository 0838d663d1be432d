"""Writers of recordings that are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parent


def killed_after(seconds: float, path: Path, script: str, *arguments: str | Path) -> None:
    """Run a script that records into `path`, and kill it so long after the file is there."""
    command = [sys.executable, "-c", script, path, *arguments]
    with subprocess.Popen(command, cwd=SUPPORT, stderr=subprocess.PIPE) as process:
        while not path.exists():
            time.sleep(0.001)
            if process.poll() is not None:
                assert process.stderr is not None
                pytest.fail(process.stderr.read().decode())
        time.sleep(seconds)
        process.kill()
