"""Snapshots as WebAssembly core dumps: an ordinary module without code, which other tools read.

::

    memory section      how many pages there are
    global section      the values of globals, as constants
    data section        memory: a segment for each run of pieces that are not all zeros
    custom sections     core            the program's name
                        coremodules     the same, of each module: there is one
                        coreinstances   which memories and globals an instance has
                        corestack       calls, innermost first
                        tinyheap        all else that a `Snapshot` knows, as JSON; its "format" is 1

Dumps of other tools are read alike, wasmtime's among them.  They may be of several instances: memory and globals are those of
the instance that was called last, in the order of its own module, and so are the frames.  Where ``coreinstances`` is missing,
frames do not name an instance, as in the convention's first form.  Nothing in a file is trusted: counts and lengths are
checked against the bytes that are there, and memory is at most what addresses of 32 bits reach, and takes no room where
nothing is in it.

Source: ``Coredump.md`` of WebAssembly's tool conventions.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tinyheap.errors import GeometryError, MalformedModuleError, SnapshotError
from tinyheap.heap.collectors import Collector
from tinyheap.json_of import json_of
from tinyheap.snapshots.moments import Moment, MomentKind
from tinyheap.snapshots.snapshot import Frame, GlobalValue, HeapRecord, Origins, RootRange, RootRangeKind
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Module
from tinyheap.wasm.leb128 import encode_signed, encode_unsigned
from tinyheap.wasm.reader import Reader
from tinyheap.wasm.sections import SectionId

if TYPE_CHECKING:
    from tinyheap.snapshots.snapshot import Snapshot

FORMAT: Final = 1
SECTION: Final = "tinyheap"
PIECE_BYTES: Final = 4096
MOST_PAGES: Final = 1 << 16
_MOST_FRAMES: Final = 1 << 20
_HEADER: Final = b"\0asm\1\0\0\0"
_KINDS: Final = {"i32": 0x7F, "i64": 0x7E, "f32": 0x7D, "f64": 0x7C}
_CONSTANTS: Final = {"i32": 0x41, "i64": 0x42, "f32": 0x43, "f64": 0x44}
_FLOATS: Final = {"f32": "<f", "f64": "<d"}
_VALUE_BYTES: Final = {0x7D: 4, 0x7C: 8}
"""Of values in frames that are not integers of variable length."""
_END: Final = b"\x0b"


# ---- writing ------------------------------------------------------------------------------------------------------------


def encode(snapshot: Snapshot) -> bytes:
    """The core dump of a snapshot; equal snapshots have equal dumps."""
    name = _name(snapshot.module_name)
    count = len(snapshot.globals)
    numbers = b"".join(map(encode_unsigned, range(count)))
    instance = b"\0" + encode_unsigned(0) + b"\1\0" + encode_unsigned(count) + numbers
    parts = [
        _HEADER,
        _custom("core", b"\0" + name),
        _custom("coremodules", b"\1\0" + name),
        _custom("coreinstances", b"\1" + instance),
        _custom("corestack", b"\0" + _name("main") + _vector([_frame(each) for each in snapshot.frames])),
        _section(SectionId.MEMORY, b"\1\0" + encode_unsigned(len(snapshot.memory) // WASM_PAGE_BYTES)),
    ]
    if snapshot.globals:
        parts.append(_section(SectionId.GLOBAL, _vector([_global(each) for each in snapshot.globals])))
    segments = [_segment(snapshot.memory, start, end) for start, end in _filled(snapshot.memory)]
    parts += [_section(SectionId.DATA, _vector(segments)), _custom(SECTION, _described(snapshot))]
    return b"".join(parts)


def _filled(memory: memoryview) -> Iterator[tuple[int, int]]:
    """Start and end of each run of pieces that hold something."""
    zeros, start = bytes(PIECE_BYTES), None
    for at in range(0, len(memory), PIECE_BYTES):
        is_empty = memory[at : at + PIECE_BYTES] == zeros
        if start is None and not is_empty:
            start = at
        elif start is not None and is_empty:
            yield start, at
            start = None
    if start is not None:
        yield start, len(memory)


def _segment(memory: memoryview, start: int, end: int) -> bytes:
    offset = bytes([_CONSTANTS["i32"]]) + encode_signed(start - (start >> 31 << 32)) + _END
    return b"".join([b"\0", offset, encode_unsigned(end - start), memory[start:end]])


def _global(one: GlobalValue) -> bytes:
    """A global that cannot change."""
    start = bytes([_KINDS[one.kind], 0, _CONSTANTS[one.kind]])
    if one.kind in _FLOATS:
        return start + struct.pack(_FLOATS[one.kind], one.value) + _END
    bits = int(one.kind[1:])
    value = int(one.value)
    return start + encode_signed(value - (value >> (bits - 1) << bits)) + _END


def _frame(frame: Frame) -> bytes:
    """A call in instance 0; engines do not tell its locals."""
    return b"\0\0" + encode_unsigned(frame.function) + encode_unsigned(frame.offset) + b"\0\0"


def _described(snapshot: Snapshot) -> bytes:
    """All that the convention has no place for."""
    known = {each.name: json_of(getattr(snapshot, each.name)) for each in fields(snapshot) if each.name != "memory"}
    known["frames"] = [frame.name for frame in snapshot.frames]
    known["globals"] = [each.name for each in snapshot.globals]
    return json.dumps({"format": FORMAT, **known}, separators=(",", ":"), allow_nan=False).encode()


def _name(text: str) -> bytes:
    return _sized(text.encode(errors="replace"))


def _sized(data: bytes) -> bytes:
    return encode_unsigned(len(data)) + data


def _vector(items: list[bytes]) -> bytes:
    return b"".join([encode_unsigned(len(items)), *items])


def _section(number: int, payload: bytes) -> bytes:
    return bytes([number]) + _sized(payload)


def _custom(name: str, payload: bytes) -> bytes:
    return _section(SectionId.CUSTOM, _name(name) + payload)


# ---- reading ------------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> dict[str, Any]:
    """The fields of the snapshot that a core dump holds.

    Raises:
        SnapshotError: it is not one, or is damaged.
    """
    try:
        module = Module.parse(data)
        if module.custom_section("core") is None:
            raise SnapshotError(
                "invalid snapshot: expected a core dump, and this is a module (it has no section `core`)"
            )
        frames, instance = _frames(module)
        found = {"memory": _memory(module, instance), "globals": _globals(module, instance), "frames": frames}
        found["module_name"] = _executable(module)
        described = module.custom_section(SECTION)
        return found if described is None else {**found, **_known(described.payload, found)}
    except MalformedModuleError as error:
        raise SnapshotError(f"invalid core dump: {error}") from error


class _Instance(NamedTuple):
    """What belongs to the instance that a dump is read for, by its numbers in the dump."""

    memory: int
    globals: Sequence[int]
    """In the order of the instance's own."""


def _instance(module: Module, number: int) -> _Instance:
    """An instance by its number; without a section that tells of them, all that there is.

    Raises:
        MalformedModuleError: it refers to what is not there.
    """
    reader = _reader_of(module, "coreinstances")
    every = _Instance(0, range(len(module.globals)))
    if reader is None:
        return every
    instances = [_read_instance(reader, module) for _ in range(reader.count())]
    return instances[number] if number < len(instances) else every


def _read_instance(reader: Reader, module: Module) -> _Instance:
    if reader.byte() != 0:
        raise reader.error("an instance of an unknown form")
    reader.u32()
    memories, numbers = ([reader.u32() for _ in range(reader.count())] for _ in ("memories", "globals"))
    if any(each >= len(module.memories) for each in memories) or any(each >= len(module.globals) for each in numbers):
        raise reader.error("an instance with a memory or a global that is not there")
    return _Instance(memories[0] if memories else 0, numbers)


def _memory(module: Module, instance: _Instance) -> memoryview:
    """The instance's memory, put together of its segments; it takes no room where nothing was written."""
    if not module.memories:
        raise SnapshotError("invalid core dump: it has no memory")
    pages = module.memories[instance.memory].type.limits.minimum
    if not 0 < pages <= MOST_PAGES:
        raise SnapshotError(f"invalid core dump: its memory has {pages:,} pages: expected 1 to {MOST_PAGES:,}")
    try:
        memory = memoryview(mmap.mmap(-1, pages * WASM_PAGE_BYTES))
    except (OSError, OverflowError) as error:
        raise MemoryError(f"no room for a memory of {pages:,} pages") from error
    for segment in module.data_segments:
        offset = None if segment.offset is None or segment.memory != instance.memory else segment.offset.constant
        if not isinstance(offset, int):
            continue
        start = offset & 0xFFFF_FFFF
        if len(segment.data) > len(memory) - start:
            raise SnapshotError(
                f"invalid core dump: {len(segment.data):,} bytes at {start:#x} lie outside of its memory of "
                f"{len(memory):,} bytes"
            )
        memory[start : start + len(segment.data)] = segment.data
    return memory.toreadonly()


def _globals(module: Module, instance: _Instance) -> tuple[GlobalValue, ...]:
    """Those of the instance whose values are numbers, by their numbers in its module; what is imported has none here."""
    found = []
    for index, each in enumerate(module.globals[number] for number in instance.globals):
        value = None if each.initial is None else each.initial.constant
        kind = str(each.type.value)
        if isinstance(value, int | float) and kind in _KINDS:
            number = value % (1 << int(kind[1:])) if isinstance(value, int) and kind not in _FLOATS else value
            found.append(GlobalValue(f"global[{index}]", kind, number))
    return tuple(found)


def _executable(module: Module) -> str:
    reader = _reader_of(module, "core")
    return "" if reader is None or not reader.left or reader.byte() != 0 else reader.name()


def _reader_of(module: Module, name: str) -> Reader | None:
    section = module.custom_section(name)
    return None if section is None else Reader(section.payload, section=f"section `{name}`")


def _frames(module: Module) -> tuple[tuple[Frame, ...], _Instance]:
    """The calls of the first thread in the instance that it was in last; and that, the first one where there is no call."""
    reader = _reader_of(module, "corestack")
    if reader is None:
        return (), _instance(module, 0)
    if reader.byte() != 0:
        raise reader.error("a thread of an unknown form")
    reader.name()
    count, names_instance = reader.count(), module.custom_section("coreinstances") is not None
    if count > _MOST_FRAMES:
        raise reader.error(f"{count} frames, more than {_MOST_FRAMES}")
    calls = [_read_frame(reader, names_instance=names_instance) for _ in range(count)]
    innermost = calls[0][0] if calls else 0
    return tuple(frame for number, frame in calls if number == innermost), _instance(module, innermost)


def _read_frame(reader: Reader, *, names_instance: bool) -> tuple[int, Frame]:
    """The number of an instance, and a call in it."""
    if reader.byte() != 0:
        raise reader.error("a frame of an unknown form")
    number = reader.u32() if names_instance else 0
    function, offset = reader.u32(), reader.u32()
    for _ in ("locals", "operands"):
        for _ in range(reader.count()):
            _skip_value(reader)
    return number, Frame(function, offset, f"function {function}")


def _skip_value(reader: Reader) -> None:
    kind = reader.byte()
    if kind in _VALUE_BYTES:
        reader.take(_VALUE_BYTES[kind])
    elif kind in (0x7F, 0x7E):
        reader.signed(32 if kind == 0x7F else 64)
    elif kind != 1:
        raise reader.error(f"a value of the unknown kind {kind:#x}")


# ---- what tinyheap adds -------------------------------------------------------------------------------------------------


def _known(payload: bytes, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the section of tinyheap's says.

    Raises:
        SnapshotError: it is damaged, or of another format.
    """
    try:
        data = json.loads(payload)
        if data["format"] != FORMAT:
            raise SnapshotError(
                f"invalid snapshot of format {data['format']!r}: expected {FORMAT}, which this tinyheap reads"
            )
        return {
            "moment": None if data["moment"] is None else _moment(data["moment"]),
            "trap": _optional(str, data["trap"]),
            "module_name": _of(str, data["module_name"]),
            "module_sha256": _optional(str, data["module_sha256"]),
            "stack_pointer": _optional(_address, data["stack_pointer"]),
            "globals": _named(found["globals"], data["globals"]),
            "frames": _named(found["frames"], data["frames"]),
            "heap": None if data["heap"] is None else _heap(data["heap"], len(found["memory"])),
            "allocations": _optional(int, data["allocations"]),
            "origins": None if data["origins"] is None else _origins(data["origins"]),
        }
    except (TypeError, LookupError, ValueError, AttributeError, RecursionError, GeometryError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"invalid core dump: its section `{SECTION}` is damaged ({error!r})") from error


def _of(kind: type, value: object) -> Any:  # noqa: ANN401
    if type(value) is not kind:
        raise TypeError(f"invalid value {value!r:.80}: expected {kind.__name__}")
    return value


def _optional(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type, or what checks a value
    if value is None:
        return None
    return _of(kind, value) if isinstance(kind, type) else kind(value)


def _address(value: object) -> int:
    number: int = _of(int, value)
    if not 0 <= number <= 1 << 32:
        raise ValueError(f"invalid address {number}: expected 0 to {1 << 32}")
    return number


def _moment(data: Mapping[str, Any]) -> Moment:
    return Moment(MomentKind(data["kind"]), _of(int, data["number"]))


def _named(found: tuple[Any, ...], names: list[str]) -> tuple[Any, ...]:
    """Frames or globals with their names."""
    if len(found) != len(names):
        raise ValueError(f"{len(names)} names for {len(found)} frames or globals")
    pairs = zip(found, names, strict=True)
    return tuple(type(each)(**{**_fields(each), "name": _of(str, name)}) for each, name in pairs)


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a frame or a global
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _heap(data: Mapping[str, Any], memory_bytes: int) -> HeapRecord:
    """Where a heap lies, in the memory as a whole.

    Raises:
        ValueError: it does not lie there.
    """
    lists = data["finalizer_lists"]
    record = HeapRecord(
        Collector(data["collector"]),
        _of(bool, data["is_precise"]),
        _address(data["start_address"]),
        _address(data["heap_bytes"]),
        _of(bool, data["table_counts_itself"]),
        tuple(_range(each, memory_bytes) for each in data["roots"]),
        None if lists is None else (_address(lists[0]), _address(lists[1])),
        _optional(int, data["stack_canary"]),
    )
    if record.geometry.end_address > memory_bytes:
        raise ValueError(f"a heap that ends at {record.geometry.end_address:#x}, outside of memory")
    return record


def _range(data: Mapping[str, Any], memory_bytes: int) -> RootRange:
    start, end = _address(data["start_address"]), _address(data["end_address"])
    if not start <= end <= memory_bytes:
        raise ValueError(f"roots at {start:#x}..{end:#x}, outside of memory")
    return RootRange(RootRangeKind(data["kind"]), start, end)


def _origins(data: Mapping[str, Any]) -> Origins:
    columns = {each.name: tuple(data[each.name]) for each in fields(Origins)}
    numbers = {name: column for name, column in columns.items() if name != "sites"}
    if len({len(column) for column in numbers.values()}) != 1:
        raise ValueError("columns of several lengths")
    for column in numbers.values():
        for value in column:
            _of(int, value)
    if any(not 0 <= site < len(columns["sites"]) for site in columns["site"]):
        raise ValueError("a site that is not there")
    return Origins(**{**numbers, "sites": tuple(_of(str, site) for site in columns["sites"])})
