"""Memory with objects of known types, laid out object by object: what debug information would tell, and what lies there."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from tinyheap.heap.collectors import Collector
from tinyheap.heap.geometry import Geometry
from tinyheap.inspect import HeapFacts, HeapGraph, NamedGraph, RootKind, RootSource, RootTable
from tinyheap.inspect.heap_memory import HeapMemory
from tinyheap.inspect.type_names import typed_heap
from tinyheap.inspect.typed import TypedHeap
from tinyheap.symbols.types import Field, Kind, Type, TypedVariable, Types

MEMORY_BYTES = 0x2000
HEAP = 0x1000
BLOCK_BYTES = 16
VARIABLES = 0x100

(
    UINT8,
    UINT32,
    INT,
    FLOAT,
    TEXT,
    BYTES,
    NODE,
    NODE_POINTER,
    NODES,
    ANY,
    CLOSURE,
    MAP,
    MAP_POINTER,
    UNSAFE,
    BYTE_POINTER,
) = range(15)
STRING_POINTER, PAIR, CHANNEL, BUCKET = 15, 16, 17, 18

TABLE = [
    Type(Kind.UNSIGNED, "uint8", 1),
    Type(Kind.UNSIGNED, "uint32", 4),
    Type(Kind.SIGNED, "int", 4),
    Type(Kind.FLOAT, "float32", 4),
    Type(Kind.RECORD, "string", 8, fields=(Field("ptr", 0, BYTE_POINTER), Field("len", 4, UINT32))),
    Type(
        Kind.RECORD,
        "[]byte",
        12,
        fields=(Field("ptr", 0, BYTE_POINTER), Field("len", 4, UINT32), Field("cap", 8, UINT32)),
    ),
    Type(
        Kind.RECORD,
        "main.node",
        24,
        fields=(Field("next", 0, NODE_POINTER), Field("name", 4, TEXT), Field("body", 12, BYTES)),
    ),
    Type(Kind.POINTER, "*main.node", 4, NODE),
    Type(
        Kind.RECORD,
        "[]*main.node",
        12,
        fields=(Field("ptr", 0, STRING_POINTER), Field("len", 4, UINT32), Field("cap", 8, UINT32)),
    ),
    Type(Kind.RECORD, "runtime._interface", 8, fields=(Field("typecode", 0, UNSAFE), Field("value", 4, UNSAFE))),
    Type(Kind.RECORD, "func", 8, fields=(Field("context", 0, UNSAFE), Field("fn", 4, UNSAFE))),
    Type(
        Kind.RECORD,
        "runtime.hashmap",
        40,
        fields=(
            *(Field("buckets", 0, UNSAFE), Field("seed", 4, UINT32), Field("count", 8, UINT32)),
            *(Field("keySize", 12, UINT32), Field("valueSize", 16, UINT32), Field("bucketBits", 20, UINT8)),
            *(Field("keyEqual", 24, CLOSURE), Field("keyHash", 32, CLOSURE)),
        ),
    ),
    Type(Kind.POINTER, "*runtime.hashmap", 4, MAP),
    Type(Kind.POINTER, "unsafe.Pointer", 4),
    Type(Kind.POINTER, "*uint8", 4, UINT8),
    Type(Kind.POINTER, "**main.node", 4, NODE_POINTER),
    Type(Kind.ARRAY, "[2]main.node", 48, NODE, 2),
    Type(
        Kind.RECORD,
        "runtime.channel",
        24,
        fields=(Field("elementSize", 4, UINT32), Field("bufCap", 8, UINT32), Field("buf", 20, UNSAFE)),
    ),
    Type(Kind.RECORD, "runtime.hashmapBucket", 12, fields=(Field("next", 8, UNSAFE),)),
]
HASH_STRING, MAIN_CLOSURE = 3, 4
FUNCTIONS = {HASH_STRING: "runtime.hashmapStringPtrHash", MAIN_CLOSURE: "main.serve$1"}


class World:
    """Memory that a test lays out."""

    def __init__(self) -> None:
        self.memory = bytearray(MEMORY_BYTES)
        self.objects: list[tuple[int, int]] = []
        self.variables: list[TypedVariable] = []
        self._next = HEAP
        self._next_variable = VARIABLES

    def put(self, data: bytes, *, room: int = 0) -> int:
        """An object with this content; returns its address."""
        size = max(16, -(-max(len(data), room) // 16) * 16)
        address, self._next = self._next, self._next + size
        self.memory[address : address + len(data)] = data
        self.objects.append((address, size))
        return address

    def variable(self, name: str, number: int, data: bytes) -> int:
        """A variable."""
        address = self.static(data)
        self.variables.append(TypedVariable(name, address, TABLE[number].size_bytes, number))
        return address

    def static(self, data: bytes) -> int:
        """Memory outside of the heap that no variable names."""
        address, self._next_variable = self._next_variable, self._next_variable + -(-len(data) // 8) * 8
        self.memory[address : address + len(data)] = data
        return address

    @property
    def types(self) -> Types:
        """As debug information would tell."""
        return Types(TABLE, self.variables)

    def named(self) -> NamedGraph:
        """The graph of a block heap with these objects, whose roots are the words of the variables."""
        blocks = (self._next - HEAP) // BLOCK_BYTES
        geometry = Geometry(HEAP, blocks * BLOCK_BYTES + blocks // 4 + BLOCK_BYTES, 4)
        states = np.zeros(4 * geometry.table_bytes, np.uint8)
        for address, size in self.objects:
            first = (address - HEAP) // BLOCK_BYTES
            states[first : first + size // BLOCK_BYTES] = [1, *[2] * (size // BLOCK_BYTES - 1)]
        table = (states.reshape(-1, 4) << np.array([0, 2, 4, 6])).sum(axis=1).astype(np.uint8).tobytes()
        image = bytes(self.memory[: geometry.table_address]).ljust(geometry.table_address, b"\0") + table
        graph = HeapGraph.of(image, HeapFacts(geometry, Collector.NEXT_FIT, False), self._roots(image))
        return NamedGraph(graph, typed=typed_heap(graph, self.types, None, list))

    def _roots(self, image: bytes) -> RootTable:
        return RootTable.join(
            (
                RootSource(RootKind.GLOBAL, each.name, each.address),
                range(each.address, each.address + each.size_bytes, 4),
                np.frombuffer(image, "<u4", each.size_bytes // 4, each.address),
            )
            for each in self.variables
        )

    def heap(self, names: Mapping[int, str] | None = None, engine: str | None = None) -> TypedHeap:
        addresses, sizes = np.array(self.objects, np.int64).reshape(-1, 2).T
        memory = HeapMemory(bytes(self.memory), addresses, sizes, FUNCTIONS.get)
        return TypedHeap(memory, self.types, (names or {}).get, engine)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)
