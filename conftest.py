"""What the tests run, and how much of it.

Beside the tests proper, every Python block of the README and of the documentation is a test, and so is every console
block that runs `tinyheap`.  A run on a developer's machine takes what is quick of all that; a run with `CI=true` takes
all of it but what is marked long.
"""

from __future__ import annotations

import gc
import importlib.util
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from doctest import ELLIPSIS
from pathlib import Path
from typing import Final
from zlib import crc32

import hypothesis
import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import console_blocks
import guests_modules
import machine
import needs

pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS),
        CodeBlockParser("console", console_blocks.evaluate),
    ],
    patterns=["*.md"],
    setup=console_blocks.enter_folder,
    teardown=console_blocks.leave_folder,
    fixtures=["_example_has_its_program"],
).pytest()

MARKS_OF_TIME: Final = ("slow", "long")
"""Marks of tests that run where an option of that name says so."""

pytest_plugins = ["browser_fixtures", "engine_fixtures", "pytester"]

# No deadlines: the tests assert work, never time.
hypothesis.settings.register_profile("usual", deadline=None, max_examples=25, print_blob=needs.IN_CI)
hypothesis.settings.register_profile("long", deadline=None, max_examples=200, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options that say how much to try."""
    group = parser.getgroup("tinyheap")
    group.addoption("--slow", action="store_true", default=needs.IN_CI, help="also run tests marked slow")
    group.addoption("--long", action="store_true", help="run all tests, those marked slow or long too: for every night")
    group.addoption(
        "--soak-seeds",
        type=int,
        default=15 if needs.IN_CI else 3,
        metavar="N",
        help="how many random programs each soak test runs (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how many examples are tried of what holds for all; has `--long` mean `--slow`, too."""
    config.option.slow |= config.option.long
    hypothesis.settings.load_profile("long" if config.getoption("--long") else "usual")


def pytest_report_header(config: pytest.Config) -> str:
    """Says what is left out: those who wait for tests see no item of it."""
    left_out = [f"those marked {mark} (--{mark})" for mark in MARKS_OF_TIME if not config.getoption(f"--{mark}")]
    return f"tests: all but {' and '.join(left_out)}" if left_out else "tests: all"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the files of what has others wait first; leaves out slow tests in a quick run, and long ones unless asked for."""
    _mark_pages(items)
    _mark_documentation(items)
    _mark_further_programs(items)
    _mark_all_but_a_share(items)
    # Workers take files in this order.  One that gets a long file last has the others wait for it, and a test that wants the
    # machine to itself waits until all others have ended the test that they are at.
    alone, slow = ({item.path for item in items if item.get_closest_marker(mark)} for mark in ("alone", "slow"))
    items.sort(key=lambda item: (item.path not in alone, item.path not in slow))
    for item in items:
        if re.search(r"<.* at 0x[0-9a-f]+>", item.nodeid):
            raise pytest.UsageError(
                f"{item.nodeid}: an id with an address differs between workers; use ids.without_address"
            )
    # Skipped, each would be reported by itself, and there are thousands.
    left_out = [mark for mark in MARKS_OF_TIME if not config.getoption(f"--{mark}")]
    deselected = [item for item in items if any(item.get_closest_marker(mark) for mark in left_out)]
    config.hook.pytest_deselected(items=deselected)
    unwanted = set(deselected)
    items[:] = [item for item in items if item not in unwanted]


def pytest_collection_finish() -> None:
    """Keeps Python's garbage collector from what was collected here: it would look through all tests again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Gives back what was kept: libraries complain of what is still there when the interpreter ends."""
    gc.unfreeze()


def _mark_pages(items: Iterable[pytest.Item]) -> None:
    """Marks the tests of pages in a browser as slow, but for the first of each file."""
    seen = set()
    for item in items:
        if "launch" in getattr(item, "fixturenames", ()):
            if item.path in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(item.path)


def _mark_documentation(items: Iterable[pytest.Item]) -> None:
    """Marks the examples of all pages but the README as slow."""
    for item in items:
        if item.path.suffix == ".md" and item.path.name != "README.md":
            item.add_marker(pytest.mark.slow)


def _mark_further_programs(items: Iterable[pytest.Item]) -> None:
    """Marks the tests of a real program as slow, where others of its kind are tested as well, and most of these as long.

    Those of large programs are among them.  A test that marks some of them as long itself is left as it is.
    """
    further = set(guests_modules.NAMES) - guests_modules.QUICK
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if _has_parameter(item, further):
            item.add_marker(pytest.mark.slow)
            cases[_test_of(item)].append(item)
    for test, of_one_test in cases.items():
        if len(of_one_test) == 1 or any(item.get_closest_marker("long") for item in of_one_test):
            continue
        large = [item for item in of_one_test if _has_parameter(item, guests_modules.LARGE)]
        others = [item for item in of_one_test if item not in large]
        # CI takes a sixth; of another test it is another sixth, so that no program is left out.
        taken = others[crc32(test.encode()) % min(6, max(1, len(others))) :: 6]
        for item in large + [item for item in others if item not in taken]:
            item.add_marker(pytest.mark.long)


def _has_parameter(item: pytest.Item, values: Collection[str]) -> bool:
    """Whether one of the values is a parameter of an item."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(isinstance(value, str) and value in values for value in parameters)


def _mark_all_but_a_share(items: Iterable[pytest.Item]) -> None:
    """Marks the cases of a test with a share that a quick run leaves out as slow, and those that CI leaves out as long.

    CI takes a quarter of them, where the test does not say how many.
    """
    cases = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker("share") is not None:
            cases[_test_of(item)].append(item)
    for of_one_test in cases.values():
        share = of_one_test[0].get_closest_marker("share")
        assert share is not None
        (count,) = share.args
        quarter = max(count, 2, -(-len(of_one_test) // 4))
        quick = [item for item in of_one_test if item.get_closest_marker("slow") is None]
        left_out = set(_all_but(count, quick))
        for item in left_out:
            item.add_marker(pytest.mark.slow)
        # CI takes what a quick run takes, and more.
        taken = set(quick) - left_out
        further = [item for item in of_one_test if item not in taken]
        in_ci = share.kwargs.get("in_ci", quarter)
        for item in _all_but(max(0, in_ci - len(taken)), further):
            item.add_marker(pytest.mark.long)


def _test_of(item: pytest.Item) -> str:
    """The test that an item is a case of."""
    return item.nodeid.partition("[")[0]


def _all_but(count: int, items: list[pytest.Item]) -> Iterable[pytest.Item]:
    """The items but for so many of them, which lie evenly."""
    taken = {number * len(items) // count for number in range(count)}
    return (item for number, item in enumerate(items) if number not in taken)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Gives a test marked alone the machine to itself, where several workers run tests at the same time."""
    if not hasattr(item.config, "workerinput"):
        # The only process, or one that a worker's test waits for, which holds the machine already.
        return (yield)
    with machine.held(alone=item.get_closest_marker("alone") is not None):
        return (yield)


class NeedyModule(pytest.Module):
    """A module of tests that is skipped where a library is missing that it imports."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """What is in the module, as pytest finds it."""
        try:
            return super().collect()
        except Exception as error:
            needs.library(error)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Makes every module one that may miss a library."""
    return NeedyModule.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Skips a test whose fixtures import a library that is missing."""
    yield from _skipping_for_missing_library()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skips a test that imports a library that is missing."""
    yield from _skipping_for_missing_library()


def _skipping_for_missing_library() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        needs.library(error)
        raise


@pytest.fixture(autouse=True, scope="session")
def _environment_of_its_own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All tests of all runs together have a cache of prepared programs, which is not the user's, and no terminal."""
    keeper: pytest.Cache | None = getattr(request.config, "cache", None)  # with -p no:cacheprovider there is none
    folder = tmp_path_factory.mktemp("cache") if keeper is None else keeper.mkdir("programs")
    folder.chmod(0o700)  # a cache counts only where nobody else can write
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYHEAP_CACHE", str(folder))
        if importlib.util.find_spec("wasmtime") is not None:
            # Most programs are compiled for one short run, and to optimize them takes half of the compiler's time.
            patch.setattr("tinyheap.hosts.session.OPTIMIZATION", "none")
        # How wide a terminal is, tests choose.
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture
def _example_has_its_program(request: pytest.FixtureRequest) -> None:
    console_blocks.check_program(str(request.node.example.parsed))


@pytest.fixture
def soak_seeds(request: pytest.FixtureRequest) -> range:
    """The seeds of a soak test's random programs."""
    return range(request.config.getoption("--soak-seeds"))
