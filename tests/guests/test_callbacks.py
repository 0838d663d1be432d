"""Callbacks of a real program's heap (growth policy, listener of collections) that try everything they could do."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest

import guests_modules
from callbacks import Policy as GrowthPolicy
from callbacks import fail
from tinyheap.errors import InvalidTypeError, TinyheapError
from tinyheap.guests.policy import Policy
from tinyheap.guests.program import Program
from tinyheap.hosts import Grants
from tinyheap.units import MIB

SOURCE: Final = "package a\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(20))
FORMATTED: Final = "func f19(x int) { g(x, 19) }"
LIMIT_BYTES: Final = 64 * MIB


class Run:
    """A formatter whose heap calls back; `act` is what the callbacks do."""

    def __init__(self, engine: str, place: str, act: Callable[[Run], object], answer: object = None) -> None:
        self.act = act
        self.place = place
        self.outcomes: list[object] = []
        growth = GrowthPolicy(lambda: self.called("growth policy"), answer, LIMIT_BYTES)
        is_own = place == "listener"
        self.program = Program.open(
            guests_modules.path("gofmt-0.4.9"),
            Grants(seed=1),
            # The program's variables are only looked at where it grows as it does by itself.
            Policy(engine=engine, growth=None if is_own else growth, verify=is_own, gc_every=1000),
            listener=lambda _: self.called("listener"),
        )

    def called(self, place: str) -> None:
        if place == self.place and len(self.outcomes) < 3:
            self.outcomes.append("begun")
            self.outcomes[-1] = self.act(self)

    def format(self) -> str:
        self.program.start()
        return str(self.program.driver().format(SOURCE))

    @property
    def heap(self) -> Any:  # noqa: ANN401
        return self.program.heap


def fork(run: Run) -> int:
    child = os.fork()
    if child == 0:
        looked = 1
        try:
            run.heap.verify()
            looked = 0
        finally:
            os._exit(looked)
    return os.waitpid(child, 0)[1]


def refused(kind: type[BaseException], act: Callable[[Run], object]) -> Callable[[Run], object]:
    """What is refused."""

    def attempt(run: Run) -> str:
        with pytest.raises(kind):
            act(run)
        return "refused"

    return attempt


COPIES: Final[dict[str, Callable[[Run], object]]] = {
    "copy": lambda run: copy.copy(run.heap),
    "copy deeply": lambda run: copy.deepcopy(run.heap),
    "pickle": lambda run: pickle.dumps(run.heap),
}
LOOKS: Final[dict[str, Callable[[Run], object]]] = {
    "stats": lambda run: run.heap.stats().sys > 0,
    "census": lambda run: run.heap.census().heads > 0,
    "objects": lambda run: len(list(run.heap.objects())) > 0,
    "dump": lambda run: "*" in str(run.heap.dump()),
    "collections": lambda run: len(run.heap.collections) >= 0,
    "verify": lambda run: run.heap.verify() is None,
    "geometry": lambda run: run.heap.geometry.end_block > 0,
    "fork": lambda run: fork(run) == 0,
    **{name: refused(TypeError, way) for name, way in COPIES.items()},
}
REENTRIES: Final[dict[str, Callable[[Run], object]]] = {
    "close": lambda run: run.program.close(),
    "leave": lambda run: run.program.__exit__(None, None, None),
    "start": lambda run: run.program.start(),
    "run": lambda run: run.program.run(),
    "format": lambda run: run.program.driver().format(SOURCE),
    "call": lambda run: run.program.call(sorted(run.program.exports)[0]),
}
PLACES: Final = ("growth policy", "listener")


@pytest.fixture(params=["kernel", "model"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.share(1, in_ci=2)
@pytest.mark.slow
def test_they_may_look(engine: str, place: str) -> None:
    run = Run(engine, place, lambda run: {name: look(run) for name, look in LOOKS.items()})
    with run.program:
        assert FORMATTED in run.format()
        run.heap.finish()
        run.heap.verify()
    assert run.outcomes
    for outcome in run.outcomes:
        assert outcome == {name: "refused" if name in COPIES else True for name in LOOKS}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.share(1)
def test_they_cannot_run_or_end_the_program(engine: str, place: str) -> None:
    run = Run(engine, place, lambda run: {refused(TinyheapError, act)(run) for act in REENTRIES.values()})
    with run.program:
        assert FORMATTED in run.format()
        run.heap.verify()
    assert run.outcomes
    assert all(outcome == {"refused"} for outcome in run.outcomes)


@pytest.mark.parametrize("place", PLACES)
def test_their_errors_end_the_run_and_leave_the_heap(engine: str, place: str) -> None:
    run = Run(engine, place, lambda _: fail())
    with run.program:
        with pytest.raises(ValueError, match="a callback's own error"):
            run.format()
        run.heap.verify()
        # What the program keeps of its heap agrees with it.
        run.heap.finish()


@pytest.mark.parametrize("answer", [4096.5, "more", True, float("inf")])
def test_growth_policies_whose_answers_are_no_size(engine: str, answer: object) -> None:
    run = Run(engine, "nowhere", lambda _: None, answer)
    with run.program:
        sizes = []
        with suppress(InvalidTypeError):
            run.program.start()
            sizes.append(run.heap.geometry.heap_bytes)
            with pytest.raises(InvalidTypeError, match=r"invalid next size .* from growth policy"):
                run.program.driver().format(SOURCE)
        sizes.append(run.heap.geometry.heap_bytes)
        assert len(set(sizes)) == 1
        run.heap.verify()
        run.heap.finish()


@pytest.mark.parametrize("answer", [0, -5, 1])
def test_growth_policies_that_do_not_grow(engine: str, answer: int) -> None:
    run = Run(engine, "nowhere", lambda _: None, answer)
    with run.program:
        with pytest.raises(MemoryError):
            run.format()
        run.heap.verify()


@pytest.mark.share(1, in_ci=1)
def test_the_limit_of_a_growth_policy_holds(engine: str) -> None:
    run = Run(engine, "nowhere", lambda _: None, 1 << 70)
    with run.program:
        assert FORMATTED in run.format()
        assert run.heap.geometry.heap_bytes <= LIMIT_BYTES
