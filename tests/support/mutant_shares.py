"""Which mutants are tried: all of them with ``--long``, and one in so many otherwise."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def chosen(config: pytest.Config, mutants: Iterable[str], one_in: int) -> list[str]:
    """The names of the mutants that this run tries."""
    return list(mutants)[:: 1 if config.getoption("--long") else one_in]


def parametrize(metafunc: pytest.Metafunc, mutants: Iterable[str], one_in: int) -> None:
    """Gives each test with an argument ``mutant`` the name of every mutant that this run tries."""
    if "mutant" in metafunc.fixturenames:
        metafunc.parametrize("mutant", chosen(metafunc.config, mutants, one_in))
