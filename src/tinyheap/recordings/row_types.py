"""Classes of the rows of a recording, written from `schema` by `make generated`: change that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class RunColumns:
    """The row of the table ``run``."""

    schema_version: int
    tinyheap_version: str
    module: str  # the program's file, as it was named
    module_sha256: str
    arguments: tuple[str, ...]
    runtime: str  # e.g. TinyGo
    runtime_version: str | None
    collector: str  # its kind, e.g. conservative, precise, and which other one serves it; leaking never frees
    source: str  # who managed the heap: tinyheap's kernel or model; injected, unseen, logged: the program itself
    options: Mapping[str, Any]  # a JSON object: how the heap was run
    started_at: datetime  # UTC
    block_bytes: int
    heap_start_address: int  # 0 where the heap is not known
    state: str  # running, finished, failed
    error: str | None  # why it failed
    exit_code: int | None
    ended_ns: int | None  # when its last call returned


@dataclass(frozen=True, slots=True)
class RunRow:
    """What is known of a run at its beginning; see the table ``run``."""

    module: str  # the program's file, as it was named
    module_sha256: str
    arguments: tuple[str, ...]
    runtime: str  # e.g. TinyGo
    runtime_version: str | None
    collector: str  # its kind, e.g. conservative, precise, and which other one serves it; leaking never frees
    source: str  # who managed the heap: tinyheap's kernel or model; injected, unseen, logged: the program itself
    options: Mapping[str, Any]  # a JSON object: how the heap was run
    started_at: datetime  # UTC
    block_bytes: int
    heap_start_address: int  # 0 where the heap is not known


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; see the table ``run``."""

    state: str  # running, finished, failed
    error: str | None  # why it failed
    exit_code: int | None
    ended_ns: int | None  # when its last call returned


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A call instruction of the program; see the table ``frames``."""

    id: int  # from 1
    function_index: int  # in the program's own module: the function whose code it is in
    function: str  # the function that calls; function[INDEX] where it has no name
    code_offset: int  # of the call in the program's own file; -1 where unknown, or it was inlined
    callee: str | None  # the function called; NULL for an indirect call
    file: str | None = None  # the source file of the call; NULL where unknown
    line: int | None = None  # its line there, from 1; NULL where unknown
    inlined: bool = False  # whether the function that calls was inlined into its caller


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """See the table ``collections``."""

    number: int  # from 1
    reason: str  # exhausted (an allocation found the heap full) or requested
    begun_ns: int
    pause_ns: int  # mark and sweep and what lies between
    mark_ns: int
    sweep_ns: int
    last_event_id: int  # the last event before it
    wanted_bytes: int | None  # size of the allocation that found the heap full; NULL for a requested collection
    stack_id: int  # the calls that led to it
    roots_bytes: int  # stack and globals scanned
    words_scanned: int  # of objects
    overflows: int  # how often the bounded mark stack overflowed
    rescans: int  # scans of the whole heap, because the mark stack had overflowed
    freed_objects: int
    freed_bytes: int  # whole blocks
    live_objects: int
    live_bytes: int  # whole blocks


@dataclass(frozen=True, slots=True)
class SampleRow:
    """See the table ``samples``."""

    time_ns: int
    last_event_id: int
    heap_bytes: int  # block table included
    used_bytes: int  # whole blocks
    free_bytes: int
    free_runs: int
    largest_free_run_bytes: int
    objects: int
    total_alloc_bytes: int  # the program's own counter, MemStats.TotalAlloc
    mallocs: int  # MemStats.Mallocs
    frees: int  # MemStats.Frees


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """See the table ``growths``."""

    time_ns: int
    last_event_id: int
    old_bytes: int  # of the heap, block table included
    new_bytes: int
    wanted_bytes: int  # size of the allocation that needed it


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """See the table ``snapshots``; ``states`` are not yet compressed."""

    time_ns: int
    last_event_id: int
    collection: int  # after which it was taken; 0 for one at the run's end
    blocks: int
    states: bytes  # zlib: two bits a block, lowest first; 0 free, 1 head, 2 tail, 3 mark


@dataclass(frozen=True, slots=True)
class CallRow:
    """See the table ``calls``."""

    number: int  # from 1, in the order in which they began
    export: str  # the exported function
    depth: int  # 1; more where the program had called its host, which called it
    begun_ns: int
    ended_ns: int
    first_event_id: int  # the first event within; above the next where there is none
    last_event_id: int  # the last event until it ended
    old_memory_bytes: int | None  # of linear memory, before; NULL where none is exported
    new_memory_bytes: int | None  # after
    returned: bool  # whether it came to its end; not so where it trapped, or ended the program
    argument_object_id: int  # the object made before it that begins at its first argument; 0 for none
    result_object_id: int  # the object made in it whose address it returned; 0 for none


@dataclass(frozen=True, slots=True)
class CallArgumentRow:
    """See the table ``call_arguments``."""

    call_number: int
    position: int  # of an argument, from 1; 0 for the result
    type: str  # i32, i64, f32, f64, or another of WebAssembly's, whose values are not kept
    integer: int | None  # with its sign, of an i32 or i64; else NULL
    real: float | None  # of an f32 or f64; else NULL


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """See the table ``memories``."""

    declared_pages: int  # of 64 KiB, at the beginning
    maximum_pages: int | None  # what the module allows; NULL for no limit
    limit_bytes: int | None  # what the run allowed; NULL for no limit


@dataclass(frozen=True, slots=True)
class MemoryGrowthRow:
    """See the table ``memory_growths``."""

    time_ns: int
    last_event_id: int
    asked_by: str  # program: an instruction of its own; collector: tinyheap's
    old_pages: int
    asked_pages: int  # by how many it was to grow
    new_pages: int  # after; as before where it was refused
    refused_by: str | None  # maximum, memory limit, heap limit, growth policy, address space, host; NULL: it grew
    stack_id: int  # who asked


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """See the table ``sampling``."""

    mean_bytes: int  # mean distance of sampled bytes; s bytes are chosen with probability 1 - exp(-s / mean_bytes)
    seed: int  # what the choice follows from
