"""Sizes in bytes, by name."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
WASM_PAGE_BYTES: Final = 64 * KIB
"""What the memory of a WebAssembly program grows by."""
