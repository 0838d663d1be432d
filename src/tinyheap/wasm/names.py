"""The custom sections `name` and `producers`: what things are called, and what made the module.

The name section is a list of subsections.  Most map an index to a name; those of locals, labels and fields
map a function's (or type's) index and then the index within it.  The spelling of subsections that are not
known is kept.  Sources: WebAssembly Core Specification, 7.4 Custom Sections, with the extended name section
proposal; tool-conventions, ProducersSection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinyheap.wasm.immediates import write_vector
from tinyheap.wasm.leb128 import encode_unsigned
from tinyheap.wasm.reader import Reader
from tinyheap.wasm.sections import write_name

NameMap = Mapping[int, str]

_MODULE = 0
_DIRECT = {
    1: "function",
    4: "type",
    5: "table",
    6: "memory",
    7: "global",
    8: "element",
    9: "data",
    11: "tag",
}
_INDIRECT = {2: "local", 3: "label", 10: "field"}


@dataclass(frozen=True)
class Names:
    """What a module calls its parts; empty where it says nothing."""

    module: str | None = None
    by_space: Mapping[str, NameMap] = field(default_factory=dict)
    """Names by index space (``function type table memory global element data tag``) and index."""
    within: Mapping[str, Mapping[int, NameMap]] = field(default_factory=dict)
    """Names of ``local`` and ``label`` by function, of ``field`` by type, and then the index within."""
    unknown: tuple[tuple[int, bytes], ...] = ()
    """Subsections that are not read: identifier and bytes."""

    @property
    def functions(self) -> NameMap:
        """Names of functions."""
        return self.by_space.get("function", {})

    @property
    def globals(self) -> NameMap:
        """Names of globals."""
        return self.by_space.get("global", {})

    @property
    def locals(self) -> Mapping[int, NameMap]:
        """Names of locals, parameters first, by function."""
        return self.within.get("local", {})


def read_names(reader: Reader) -> Names:
    """The payload of a name section, read; raises MalformedModuleError where it is malformed."""
    module: str | None = None
    by_space: dict[str, NameMap] = {}
    within: dict[str, Mapping[int, NameMap]] = {}
    unknown: list[tuple[int, bytes]] = []
    while reader.left:
        code = reader.byte()
        part = reader.part(reader.u32())
        if code == _MODULE:
            module = part.name()
        elif code in _DIRECT:
            by_space[_DIRECT[code]] = _read_name_map(part)
        elif code in _INDIRECT:
            within[_INDIRECT[code]] = dict(part.vector(lambda item: (item.u32(), _read_name_map(item))))
        else:
            unknown.append((code, part.take(part.left)))
        part.finish()
    return Names(module, by_space, within, tuple(unknown))


def write_names(names: Names) -> bytes:
    """The payload of a name section: subsections and entries in the order of their numbers."""
    subsections = dict(names.unknown)
    if names.module is not None:
        subsections[_MODULE] = write_name(names.module)
    for code, space in _DIRECT.items():
        if space in names.by_space:
            subsections[code] = _write_name_map(names.by_space[space])
    for code, space in _INDIRECT.items():
        if space in names.within:
            maps = sorted(names.within[space].items())
            subsections[code] = write_vector([encode_unsigned(index) + _write_name_map(inner) for index, inner in maps])
    return b"".join(
        bytes([code]) + encode_unsigned(len(payload)) + payload for code, payload in sorted(subsections.items())
    )


def read_producers(reader: Reader) -> dict[str, dict[str, str]]:
    """The payload of a producers section: what made the module and which version, by field."""
    fields = reader.vector(lambda item: (item.name(), dict(item.vector(lambda tool: (tool.name(), tool.name())))))
    reader.finish()
    return dict(fields)


def write_producers(fields: Mapping[str, Mapping[str, str]]) -> bytes:
    """The payload of a producers section."""
    return write_vector(
        [
            write_name(field)
            + write_vector([write_name(tool) + write_name(version) for tool, version in tools.items()])
            for field, tools in fields.items()
        ]
    )


def _read_name_map(reader: Reader) -> dict[int, str]:
    return dict(reader.vector(lambda item: (item.u32(), item.name())))


def _write_name_map(names: NameMap) -> bytes:
    return write_vector([encode_unsigned(index) + write_name(name) for index, name in sorted(names.items())])
