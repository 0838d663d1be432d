"""The garbage-collected heap of tiny runtimes, as a library and a toolbox."""

from __future__ import annotations

__version__ = "0.1.0"
