"""What a heap at one moment is exported to is read by a reader that is not tinyheap's, which comes to the same numbers."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from pyarrow import parquet

import guests_modules
import needs
from inspected_heaps import KnownHeap, graph_of, known_heaps, million_objects, typed_nodes
from tinyheap.errors import OutputError, SnapshotError
from tinyheap.guests.program import Program
from tinyheap.heap import Heap
from tinyheap.inspect import HeapGraph, Inspection, NamedGraph, overview
from tinyheap.inspect.answers import WhyAnswer, answers_of
from tinyheap.inspect.graph import NONE
from tinyheap.inspect.word_names import word_names
from tinyheap.report.exports.dot import dot
from tinyheap.report.exports.formats import HEAP_FORMATS, export_heap
from tinyheap.report.exports.heap_tables import HEAP_TABLES
from tinyheap.report.exports.heapsnapshot import heapsnapshot

READERS = Path(__file__).parent.parent / "readers"
BEFORE_OBJECTS = 3
"""Steps in DevTools from its roots to what a root refers to: the kind, the source, the word."""
MILLION_LIMIT_S = 20


class Shown(NamedTuple):
    """A node, as DevTools shows it."""

    name: str
    self_bytes: int
    retained_bytes: int
    distance: int
    retainers: list[tuple[int, str, bool]]
    """By id and word, and whether it is a weak one."""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the code of DevTools."""
    needs.path(
        READERS / "node_modules" / "chrome-devtools-frontend", "the reader DevTools (`make readers` installs it)"
    )
    return tmp_path_factory.mktemp("devtools")


def devtools(code: Path, file: Path, *options: str) -> str:
    command: list[str | Path] = [needs.tool("node"), READERS / "devtools.mjs", code, file, *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return str(ran.stdout)


def shown_by_devtools(code: Path, named: NamedGraph, folder: Path) -> dict[int, Shown]:
    """The nodes by their ids."""
    file = folder / "a.heapsnapshot"
    file.write_bytes(b"".join(heapsnapshot(named)))
    return {node[0]: Shown(*node[1:]) for node in json.loads(devtools(code, file))}


@pytest.fixture(scope="module")
def inspection() -> Iterator[Inspection]:
    """A real program, after it has worked."""
    with Program.open(guests_modules.path("gofmt-0.4.9"), snapshot_at="end") as program:
        program.start()
        program.driver().format("package a\n" + "var x = 1\n" * 200)
        yield Inspection.of(program.snapshot(), program.wasm)


def assert_same(shown: dict[int, Shown], named: NamedGraph) -> None:
    """DevTools shows the objects, with the sizes and the retainers that they have."""
    graph = named.graph
    addresses: list[int] = graph.addresses.tolist()
    assert {each for each in shown if each % 2 == 0} == set(addresses)
    names = word_names(named)
    expected: dict[int, list[tuple[int, str, bool]]] = {each: [] for each in addresses}
    for reference, holder in enumerate(graph.holders.tolist()):
        weak = bool(graph.is_garbage[holder])
        named_word = names.names[names.of[reference]] if names.are_named[reference] else None
        word = named_word or f"{'+' if weak else ''}{graph.offsets[reference]}"
        expected[addresses[graph.targets[reference]]].append((addresses[holder], word, weak))
    for found, address in enumerate(addresses):
        node = shown[address]
        assert (node.name, node.self_bytes) == (named.group_of(found), int(graph.sizes_bytes[found]))
        held = [(holder, str(word), weak) for holder, word, weak in node.retainers if holder % 2 == 0]
        assert sorted(held) == sorted(expected[address])
        if graph.is_garbage[found]:
            assert node.retained_bytes == node.self_bytes
        else:
            assert node.retained_bytes == int(graph.tree.retained_bytes[found])
            assert node.distance == int(graph.tree.distance[found]) + BEFORE_OBJECTS


# Each example starts DevTools' code anew.
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(known=known_heaps(finalizers=True))
@pytest.mark.slow
def test_devtools_comes_to_the_same_sizes_and_retainers(code: Path, known: KnownHeap, tmp_path: Path) -> None:
    named = NamedGraph(graph_of(known.heap, known.table()))
    assert_same(shown_by_devtools(code, named, tmp_path), named)


@pytest.mark.slow
def test_devtools_opens_the_heap_of_a_real_program(code: Path, inspection: Inspection, tmp_path: Path) -> None:
    shown = shown_by_devtools(code, inspection.named, tmp_path)
    assert_same(shown, inspection.named)
    found = overview(inspection)
    roots = {each.name: each for number, each in shown.items() if number % 2}
    assert roots["(roots)"].retained_bytes == found.object_bytes
    assert roots["(garbage, freed by the next collection)"].retained_bytes == found.garbage_bytes
    held = {each.source for each in found.held_by}
    assert held < roots.keys()


def test_words_have_the_names_that_they_have_one_by_one(inspection: Inspection) -> None:
    typed = typed_nodes()
    names = word_names(typed)
    found = [names.names[each] if is_named else "" for each, is_named in zip(names.of, names.are_named, strict=True)]
    assert found == [typed.word_of(reference).partition("+")[0] for reference in range(len(found))]
    assert {".next", ".name", "[1].next"} <= set(found)
    assert set(word_names(inspection.named).of) == {0}, "no debug information, no names"


def test_devtools_shows_the_names_of_words(code: Path, tmp_path: Path) -> None:
    named = typed_nodes()
    assert_same(shown_by_devtools(code, named, tmp_path), named)


@pytest.mark.alone
@pytest.mark.long
def test_a_million_objects_are_written_in_seconds_and_opened(code: Path, tmp_path: Path) -> None:
    named = NamedGraph(million_objects())
    begun_s, file = time.process_time(), tmp_path / "million.heapsnapshot"
    with file.open("wb") as output:
        output.writelines(heapsnapshot(named))
    assert time.process_time() - begun_s < MILLION_LIMIT_S
    assert int(devtools(code, file, "--counts")) > len(named.graph) == 1_000_000


# ---- Graphviz ---------------------------------------------------------------------------------------------------------

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_ATTRIBUTE = rf"[a-z]+=(?:[a-z]+|{_STRING})"
_STATEMENT = re.compile(rf"  ({_STRING})(?: -> ({_STRING}))? \[{_ATTRIBUTE}(?:, {_ATTRIBUTE})*\];")


def read_dot(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Nodes and arrows; no line is anything else, by the grammar of Graphviz."""
    lines = text.splitlines()
    assert lines[0] == "digraph why {"
    assert lines[-1] == "}"
    matches = [_STATEMENT.fullmatch(line) for line in lines[4:-1]]
    assert all(matches), lines
    found = [match.groups() for match in matches if match]
    return {a for a, b in found if b is None}, {(a, b) for a, b in found if b is not None}


def asked(inspection: Inspection) -> WhyAnswer:
    address = hex(overview(inspection).top[0].address)
    answer = answers_of(inspection, address, None, None, None, retained=False).why
    assert answer is not None
    return answer


def test_the_graph_has_every_step_of_every_path(inspection: Inspection) -> None:
    answer = asked(inspection)
    nodes, arrows = read_dot(dot(answer).decode())
    expected = set()
    for why in answer.whys:
        for path in why.paths:
            way = [f"root {path.root.source}", *(hex(each.address) for each in path.steps), hex(why.address)]
            expected |= {(f'"{a}"', f'"{b}"') for a, b in pairwise(way)}
    assert arrows == expected
    assert nodes == {end for arrow in arrows for end in arrow}


def test_names_cannot_break_the_graph(inspection: Inspection) -> None:
    answer = asked(inspection)
    [why] = answer.whys
    hostile = replace(why, group='a"b\\c\n\x1b]d')
    nodes, _ = read_dot(dot(WhyAnswer("x", 1, (hostile,), ())).decode())
    assert hex(why.address) in {node.strip('"') for node in nodes}


def test_a_graph_is_of_something(inspection: Inspection, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="--why"):
        export_heap(inspection, "dot", tmp_path / "a.dot")
    export_heap(inspection, "dot", tmp_path / "a.dot", asked(inspection))
    assert (tmp_path / "a.dot").read_bytes() == dot(asked(inspection))


# ---- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(inspection: Inspection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    file = tmp_path_factory.mktemp("database") / "heap.duckdb"
    export_heap(inspection, "duckdb", file)
    with duckdb.connect(str(file), read_only=True) as connection:
        yield connection


def test_sql_comes_to_the_sizes_of_the_overview(inspection: Inspection, database: duckdb.DuckDBPyConnection) -> None:
    found = overview(inspection, most=10_000)
    query = "SELECT count(*), sum(size_bytes), count_if(is_garbage), sum(size_bytes) FILTER (is_garbage) FROM objects"
    expected = (found.objects, found.object_bytes, found.garbage_objects, found.garbage_bytes)
    assert database.sql(query).fetchall() == [expected]
    by_name = dict(database.sql("SELECT name, sum(size_bytes) FROM objects GROUP BY name").fetchall())
    sizes: dict[str, int] = {}
    for each in found.groups:
        sizes[each.group] = sizes.get(each.group, 0) + each.size_bytes
    assert by_name == sizes
    top = database.sql("SELECT max(retained_bytes) FROM objects WHERE dominator IS NULL").fetchall()
    assert top == [(found.top[0].retained_bytes,)]


def test_sql_reaches_by_words_what_is_no_garbage(inspection: Inspection, database: duckdb.DuckDBPyConnection) -> None:
    reached = database.sql(
        "WITH RECURSIVE reached(address) AS (SELECT target FROM roots WHERE target IS NOT NULL UNION "
        "SELECT target FROM words JOIN reached ON holder = reached.address) "
        "SELECT count(*) FROM objects WHERE is_garbage = (address IN (FROM reached))"
    ).fetchall()
    assert reached == [(0,)]
    graph: HeapGraph = inspection.graph
    assert database.sql("SELECT count(*), count(target) FROM roots").fetchall() == [
        (len(graph.roots), int(np.count_nonzero(graph.root_targets != NONE)))
    ]


@pytest.mark.parametrize("table", HEAP_TABLES)
@pytest.mark.share(1)
def test_files_have_what_the_database_has(
    table: str, inspection: Inspection, database: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    expected = database.sql(f"FROM {table}").fetchall()
    export_heap(inspection, "parquet", tmp_path / "p")
    read = parquet.read_table(tmp_path / "p" / f"{table}.parquet").to_pylist()
    assert [tuple(each.values()) for each in read] == expected
    export_heap(inspection, "csv", tmp_path / "c")
    assert polars.read_csv(tmp_path / "c" / f"{table}.csv", infer_schema_length=None).height == len(expected)


@pytest.mark.parametrize("format_name", HEAP_FORMATS)
def test_a_place_that_cannot_be_written_is_an_error(format_name: str, inspection: Inspection, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        export_heap(inspection, format_name, tmp_path / "file" / "inside", asked(inspection))


def test_a_heap_without_objects_has_a_file() -> None:
    named = NamedGraph(graph_of(Heap(4096), []))
    assert json.loads(b"".join(heapsnapshot(named)))["snapshot"]["node_count"] == 2
