"""Logs of instrumented programs, and what two recordings have in common."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb

from guests import collectors
from guests.test_mutator import BUILDS, SOURCE
from tinyheap.guests.program import NATIVE, Program
from tinyheap.hosts import Grants
from tinyheap.instrumentation.operation import Instrumentation, instrument

SEEDED: Final = Grants(seed=1)

_TABLES: Final = {
    "deaths": "SELECT object_id, collection FROM deaths ORDER BY ALL",
    "growths": "SELECT last_event_id, old_bytes, new_bytes, wanted_bytes FROM growths ORDER BY ALL",
    "memories": "SELECT declared_pages, maximum_pages FROM memories",
    "run": "SELECT module_sha256, runtime, runtime_version, collector, block_bytes, heap_start_address, exit_code FROM run",
    "calls": """SELECT number, export, depth, first_event_id, last_event_id, old_memory_bytes, new_memory_bytes, returned,
        argument_object_id, result_object_id FROM calls ORDER BY number""",
}
_WITH_STACKS: Final = {
    "events": "SELECT id, kind, object_id, address, size_bytes, layout, stack_id FROM events ORDER BY id",
    "collections": """SELECT number, reason, last_event_id, wanted_bytes, roots_bytes, overflows, rescans, freed_objects,
        freed_bytes, live_objects, live_bytes, stack_id FROM collections ORDER BY number""",
    "memory_growths": """SELECT last_event_id, asked_by, old_pages, asked_pages, new_pages, refused_by, stack_id
        FROM memory_growths ORDER BY ALL""",
}
_ROOTS: Final = 4
"""Where a collection's row has the bytes of its roots."""
_FUNCTION: Final = 2
"""Where a frame has the function's name."""
_SNAPSHOTS: Final = "SELECT last_event_id, collection, blocks, states FROM snapshots ORDER BY collection"
_SAMPLES: Final = """SELECT DISTINCT last_event_id, heap_bytes, used_bytes, free_bytes, free_runs, largest_free_run_bytes,
    objects, total_alloc_bytes, mallocs, frees FROM samples"""


@cache
def mutator(build: int = 0) -> bytes:
    """A program that does random things with its heap: ``mutate(seed, steps)``."""
    return collectors.compiled(BUILDS[build], SOURCE)


@cache
def instrumented_mutator(build: int = 0) -> Instrumentation:
    return instrument(mutator(build))


def opened(wasm: bytes, grants: Grants = SEEDED) -> Program:
    return Program.open(wasm, grants, gc=NATIVE, stub_imports=True)


class Facts:
    """All of a recording but times, each stack as its calls."""

    def __init__(self, path: Path) -> None:
        with duckdb.connect(str(path), read_only=True) as connection:
            self._connection = connection
            stacks = self._rows(
                "SELECT s.id, s.parent_id, f.function_index, f.code_offset, f.function, f.callee, f.file, f.line, f.inlined "
                "FROM stacks AS s JOIN frames AS f ON f.id = s.frame_id ORDER BY s.id"
            )
            paths: dict[int, tuple[Any, ...]] = {0: ()}
            for number, parent, *frame in stacks:
                paths[number] = (*paths[parent], tuple(frame))
            self.tables = {name: self._rows(query) for name, query in _TABLES.items()}
            for name, query in _WITH_STACKS.items():
                self.tables[name] = [(*row, paths[stack]) for *row, stack in self._rows(query)]
            # A table may have a byte in which no block is.
            self.tables["snapshots"] = [
                (*row, blocks, zlib.decompress(states)[: -(-blocks // 4)])
                for *row, blocks, states in self._rows(_SNAPSHOTS)
            ]
            self.samples = set(self._rows(_SAMPLES))
            self.scanned = self._rows("SELECT words_scanned FROM collections ORDER BY number")
            self.end = self._rows("SELECT state, error FROM run")[0]

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


def assert_same(imported: Path, profiled: Path, *, same_roots: bool = True, without: str | None = None) -> Facts:
    """Two recordings say the same but for times; returns what the first says.

    ``same_roots`` is whether both count bytes of roots the same way; calls in the function ``without`` are left out.
    """
    found, expected = Facts(imported), Facts(profiled)
    for facts in (found, expected):
        if not same_roots:
            facts.tables["collections"] = [(*row[:_ROOTS], *row[_ROOTS + 1 :]) for row in facts.tables["collections"]]
        for name in _WITH_STACKS if without else ():
            facts.tables[name] = [
                (*row, tuple(frame for frame in stack if frame[_FUNCTION] != without))
                for *row, stack in facts.tables[name]
            ]
    for name, rows in expected.tables.items():
        assert found.tables[name] == rows, name
    # A profile has samples between collections, too.
    assert found.samples <= expected.samples
    return found
