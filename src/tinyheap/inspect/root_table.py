"""Roots as a table: each word from which a collection begins, where it lies and what has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray


class RootKind(StrEnum):
    """What has a root."""

    GLOBAL = "global"
    STACK_FRAME = "stack frame"
    GOROUTINE_STACK = "goroutine stack"
    REGISTER = "register"
    """A local variable, or an argument of a call, that lies in no memory."""
    RUN_QUEUE = "run queue"
    HOST = "host"
    """An object that was lent to the host."""
    FINALIZER = "finalizer table"
    """An object with a finalizer: kept by that for as long as nothing else keeps it, until the finalizer has run."""


@dataclass(frozen=True, slots=True)
class RootSource:
    """What has some roots: a variable, the frame of a function on the stack, a goroutine, the host.

    Args:
        kind: what it is.
        name: of the variable or function; whatever tells it from others of its kind.
        start_address: where its memory begins, so that a word in it has an offset; 0 if it is no memory.
    """

    kind: RootKind
    name: str
    start_address: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


@dataclass(frozen=True, eq=False, slots=True)
class RootTable:
    """Root words, in columns; those that lead to no object of the heap may be among them.

    Args:
        address: where each word lies; 0 if in no memory.
        value: what it holds.
        source: what has it, an index into ``sources``.
        sources: what has roots.
    """

    address: NDArray[np.uint64]
    value: NDArray[np.uint64]
    source: NDArray[np.uint32]
    sources: tuple[RootSource, ...]

    @classmethod
    def join(cls, parts: Iterable[tuple[RootSource, ArrayLike, ArrayLike]]) -> Self:
        """The table of all roots of some sources: each with the addresses of its words, and their values.

        A single address stands for all words of a source, as 0 does for words that lie in no memory.
        """
        sources: dict[RootSource, int] = {}
        columns: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]] = []
        for source, address, value in parts:
            values = np.atleast_1d(np.asarray(value, np.uint64))
            index = np.full(len(values), sources.setdefault(source, len(sources)), np.uint32)
            columns.append((np.broadcast_to(np.asarray(address, np.uint64), values.shape), values, index))
        if not columns:
            columns.append((np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint32)))
        addresses, values, indices = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls(addresses, values, indices, tuple(sources))

    def __len__(self) -> int:
        return len(self.value)

    def source_of(self, root: int) -> RootSource:
        """What has a root."""
        return self.sources[int(self.source[root])]
