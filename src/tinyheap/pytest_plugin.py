"""A pytest plugin: tests of WebAssembly programs that limit what their heaps may take, and show who took it when they fail.

    @pytest.mark.heap_limit("512 KiB")
    def test_a_large_file(guest):
        program = guest("plugin.wasm")
        program.start()
        assert program.call("convert", 1_000_000) == 0

It is there wherever tinyheap is installed, in the tests of whoever did so.  So it imports nothing but pytest until a test uses
it; what it needs then comes with the extra `pytest`.  The limits are budgets (`tinyheap.budgets`).
"""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tinyheap.budgets import Budget, BudgetLimit, Checks
    from tinyheap.guests import Attachment, Program
    from tinyheap.recordings import Recording

OPTION: Final = "--tinyheap-recordings"
EACH: Final = "tinyheap_each"
"""Tells a worker of xdist that others run the same tests."""
MARKERS: Final = {
    "heap_limit": 'heap_limit(size): fail where the objects of a guest take more at once, as heap_limit("512 KiB")',
    "heap_growth": "heap_growth(per_call, after=0): fail where a guest's heap grows by more from call to call, behind so many "
    'calls, as heap_growth(per_call="0 B", after=20)',
    "heap_pause": 'heap_pause(duration): fail where a collection of a guest takes longer, as heap_pause("5 ms")',
}
COLUMNS: Final = 100
"""Of what a failing test shows."""
LONGEST_NAME: Final = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps recordings."""
    parser.getgroup("tinyheap").addoption(
        OPTION,
        metavar="DIR",
        help="record the guests of all tests, and keep the recordings in this folder, for `tinyheap report`",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the markers."""
    for line in MARKERS.values():
        config.addinivalue_line("markers", line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - xdist's
    """Tell a worker whether others run the same tests."""
    node.workerinput[EACH] = node.config.getoption("dist") == "each"


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator[Callable[..., Program]]:
    """Opens modules: ``guest("plugin.wasm")`` is a `tinyheap.Program`, and takes what `Program.open` takes but ``recording``.

    Its run is recorded where the test has a limit, or recordings are kept.  It is closed when the test has ended.
    """
    watched = _Watched.of(request)
    yield watched.open
    watched.close()


@pytest.fixture
def attach(request: pytest.FixtureRequest) -> Iterator[Callable[..., Attachment]]:
    """Attaches to wasmtime: after ``attach()`` all instances that the test makes are recorded.

    It takes what `tinyheap.attach` takes but the name of the recordings.  It ends when the test has ended.
    """
    watched = _Watched.of(request)
    yield watched.attach
    watched.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold what a test's guests did against the limits of its markers."""
    limits = [mark for name in MARKERS for mark in item.iter_markers(name)]
    budget = _budget_of(limits) if limits else None
    result = yield
    if budget is not None:
        _check(item, budget, limits)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failing test's heaps."""
    report = yield
    watched = item.stash.get(WATCHED, None)
    if watched is not None and call.when != "teardown" and report.failed:
        report.sections += watched.sections()
    return report


# ---- limits -----------------------------------------------------------------------------------------------------------


def _budget_of(marks: list[pytest.Mark]) -> Budget:
    """The budget that markers say; of one marker the innermost counts."""
    from tinyheap.budgets import Budget
    from tinyheap.errors import BudgetError

    limits: dict[str, BudgetLimit] = {}
    after, problem = 0, None
    for mark in marks:
        if mark.name not in limits:
            try:
                limits[mark.name], behind = _READ[mark.name](*mark.args, **mark.kwargs)
                after = behind or after
            except (TypeError, BudgetError) as error:
                problem = f"invalid marker {mark.name}: {error}; expected {MARKERS[mark.name]}"
    if problem is not None:
        pytest.fail(problem, pytrace=False)
    return Budget(tuple(limits.values()), after)


def _heap_limit(size: str | int) -> tuple[BudgetLimit, int]:
    return _limit("peak", size), 0


def _heap_growth(per_call: str | int, after: int = 0) -> tuple[BudgetLimit, int]:
    from tinyheap.budgets import Unit

    return _limit("growth-per-call", per_call), Unit.COUNT.read(after)


def _heap_pause(duration: str) -> tuple[BudgetLimit, int]:
    return _limit("longest-pause", duration), 0


def _limit(quantity: str, most: object) -> BudgetLimit:
    from tinyheap.budgets import BudgetLimit, Quantity

    return BudgetLimit(Quantity(quantity), Quantity(quantity).unit.read(most))


_READ: Final[dict[str, Callable[..., tuple[BudgetLimit, int]]]] = {
    "heap_limit": _heap_limit,
    "heap_growth": _heap_growth,
    "heap_pause": _heap_pause,
}


def _check(item: pytest.Item, budget: Budget, limits: list[pytest.Mark]) -> None:
    """Fail a test where a guest is over the budget; or where none was recorded, unless others share its limits."""
    from tinyheap.budgets import CheckVerdict
    from tinyheap.report.terminal.budget_table import check_text
    from tinyheap.report.text import printable

    watched = item.stash.get(WATCHED, None)
    found = [] if watched is None else watched.check(budget)
    if not found and (watched is not None or any(mark in item.own_markers for mark in limits)):
        pytest.fail(
            "this test limits a heap, and no guest was recorded: open a module with the fixture `guest`, or use `attach` "
            "before wasmtime instantiates one",
            pytrace=False,
        )
    over = [
        f"{checks.subject}: {check_text(each)}"
        for checks in found
        for each in checks.checks
        if each.verdict is not CheckVerdict.WITHIN
    ]
    if over:
        pytest.fail("\n".join(map(printable, over)), pytrace=False)


# ---- guests -----------------------------------------------------------------------------------------------------------


class _Watched:
    """The guests of one test.

    Args:
        folder: Where recordings go.
        name: What they are named after.
        records: Whether programs are recorded: the test has limits, or recordings are kept.
    """

    def __init__(self, folder: Path, name: str, *, records: bool) -> None:
        self._folder, self._name, self._records = folder, name, records
        self._programs: list[tuple[Program, Path | None]] = []
        self._attachment: Attachment | None = None
        self._checked: list[Checks] = []

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> _Watched:
        """Those of the test that asks for a fixture."""
        item: pytest.Item = request.node
        if WATCHED not in item.stash:
            kept = _kept_folder(item.config)
            folder = kept or request.getfixturevalue("tmp_path_factory").mktemp("tinyheap")
            records = kept is not None or any(map(item.get_closest_marker, MARKERS))
            item.stash[WATCHED] = cls(folder, file_name(item.nodeid), records=records)
        return item.stash[WATCHED]

    def open(self, module: Any, *arguments: Any, **options: Any) -> Program:  # noqa: ANN401 - what `Program.open` takes
        """A program, recorded where that is needed."""
        from tinyheap.guests import Program, Recorder

        path = self._folder / f"{self._name}-{len(self._programs) + 1}.tinyheap" if self._records else None
        recorder = None if path is None else Recorder.to_file(path, overwrite=True)
        program = Program.open(module, *arguments, recording=recorder, **options)
        self._programs.append((program, path))
        return program

    def attach(self, **options: Any) -> Attachment:  # noqa: ANN401 - what `attach` takes
        """Record what wasmtime instantiates from now on."""
        from tinyheap.guests import attach

        self._attachment = attach(self._folder / f"{self._name}-attached.tinyheap", overwrite=True, **options)
        return self._attachment

    def check(self, budget: Budget) -> list[Checks]:
        """The recorded guests, held against a budget."""
        from tinyheap.budgets import check

        self._checked = [check(recording, budget) for recording in self._recordings()]
        return self._checked

    def _recordings(self) -> Iterator[Recording]:
        """The recordings, which end; programs can still be called, by fixtures that end after the test."""
        from tinyheap.recordings import Recording

        paths = []
        for program, path in self._programs:
            if path is not None and program.recorder is not None:
                program.recorder.finish(error=program.session.failure, exit_code=program.exit_code)
                paths.append(path)
        if self._attachment is not None:
            self._attachment.detach()
            paths += self._attachment.recordings
        for path in paths:
            with Recording.open(path) as recording:
                yield recording

    def sections(self) -> Iterator[tuple[str, str]]:
        """What a failing test shows of each guest: what was checked, or else who holds most; of others what they count."""
        from tinyheap.errors import RecordingError
        from tinyheap.report.consoles import text_rows
        from tinyheap.report.terminal.budget_table import BudgetTable
        from tinyheap.report.text import printable

        for checks in self._checked:
            yield f"heap of {printable(checks.subject)}", text_rows(BudgetTable(checks), columns=COLUMNS)
        try:
            for recording in [] if self._checked else self._recordings():
                yield f"heap of {printable(recording.run.module)}", _holders(recording)
        except RecordingError as error:
            yield "heaps that cannot be shown", str(error)
        for number, (program, path) in enumerate(self._programs, 1):
            if path is None:
                yield f"heap of guest {number}", _counted(program)

    def close(self) -> None:
        """End everything; again does nothing."""
        with ExitStack() as stack:
            if self._attachment is not None:
                stack.callback(self._attachment.detach)
            for program, _ in self._programs:
                stack.callback(program.close)
        self._programs, self._attachment = [], None


WATCHED: Final = pytest.StashKey[_Watched]()


def _kept_folder(config: pytest.Config) -> Path | None:
    """The folder where recordings are kept, made where it is not there; None where they are not."""
    name: str | None = config.getoption(OPTION)
    if name is None:
        return None
    folder = config.invocation_params.dir / name
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if worker.get(EACH):
        folder /= worker["workerid"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        pytest.fail(f"{OPTION} {folder}: cannot be made: {error.strerror}; choose another folder", pytrace=False)
    return folder


def file_name(nodeid: str) -> str:
    """A name for the files of a test, of letters that every file system takes; no two tests share one."""
    readable = re.sub(r"[^\w.-]+", "_", nodeid, flags=re.ASCII)[-LONGEST_NAME:].strip("_.")
    return f"{readable}-{hashlib.sha256(nodeid.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _holders(recording: Recording) -> str:
    """Who held most when there was most, of a recorded guest."""
    from tinyheap.budgets import Quantity, measure
    from tinyheap.report.consoles import text_rows
    from tinyheap.report.terminal.budget_table import measured_text, site_lines

    (peak,) = measure(recording, [Quantity.PEAK])
    return text_rows(f"{peak.quantity}: {peak.unknown or measured_text(peak)}", *site_lines(peak), columns=COLUMNS)


def _counted(program: Program) -> str:
    """What the heap of a guest that was not recorded counts."""
    from tinyheap.errors import TinyheapError
    from tinyheap.report.quantities import size_text

    if program.heap is None:
        return "its heap is its own"
    try:
        stats = program.heap.stats()
    except TinyheapError as error:
        return str(error)
    return (
        f"{size_text(stats.heap_inuse)} of {size_text(stats.sys)} in use; allocations: {stats.mallocs:,}, collections: "
        f"{len(program.heap.collections):,}; {OPTION} DIR records who allocates"
    )
