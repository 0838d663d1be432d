"""WebAssembly components: the core modules that they hold.  Nothing else of a component is read.

A component is a header of eight bytes and then sections, as a module is; one kind of section holds a whole module, another
one a whole component.  Source: WebAssembly Component Model, Binary.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinyheap.wasm.reader import Reader

COMPONENT_HEADER = b"\0asm\x0d\0\x01\0"

_CORE_MODULE = 1
_COMPONENT = 4
_NESTING_LIMIT = 100
"""Components within components; tools make two or three."""


def is_component(data: bytes) -> bool:
    """Whether these bytes are a component and not a core module."""
    return data[: len(COMPONENT_HEADER)] == COMPONENT_HEADER


def core_modules(data: bytes) -> tuple[bytes, ...]:
    """The core modules of a component, those of components within it among them, in the order of the file.

    Raises:
        MalformedModuleError: A section does not end where it says, or components are nested too deeply.
    """
    return tuple(_core_modules(Reader(data, len(COMPONENT_HEADER), section="component"), 0))


def _core_modules(reader: Reader, depth: int) -> Iterator[bytes]:
    if depth > _NESTING_LIMIT:
        raise reader.error(f"components are nested more than {_NESTING_LIMIT} deep")
    while reader.left:
        kind = reader.byte()
        part = reader.part(reader.u32())
        if kind == _CORE_MODULE:
            yield part.take(part.left)
        elif kind == _COMPONENT:
            part.take(min(len(COMPONENT_HEADER), part.left))
            yield from _core_modules(part, depth + 1)
