"""The result of an analysis of which nothing was observed, and how analyses query a recording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyheap.errors import QueryError, RecordingCorruptError
from tinyheap.json_of import json_of
from tinyheap.recordings.observed import Lives
from tinyheap.recordings.rows import asking
from tinyheap.results import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyheap.recordings.recording import Recording

Parameters = list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown(Result):
    """In place of the result of an analysis of which nothing was observed; its text says why."""

    why: str
    """Why not, without the sentence's beginning and end."""

    def __str__(self) -> str:
        return f"unknown: {self.why}"


@json_of.register
def _(value: Unknown) -> None:
    return None


def unless_collections(recording: Recording) -> Unknown | None:
    """Why neither collections nor what they freed are known; None where they are."""
    observed = recording.run.observed
    return None if observed.collections else Unknown(observed.unseen_collections)


def unless_allocations(recording: Recording) -> Unknown | None:
    """Why allocations are not known; None where they are."""
    observed = recording.run.observed
    return None if observed.allocations else Unknown(observed.unseen_allocations)


def unless_lives(recording: Recording) -> Unknown | None:
    """Why it is not known what lives, not even at most; None where it is."""
    observed = recording.run.observed
    return Unknown(observed.unseen_collections) if observed.lives is Lives.UNKNOWN else None


def rows(recording: Recording, query: str, parameters: Parameters | None = None) -> list[Any]:
    """All rows of a query's answer, as tuples.

    Raises:
        RecordingCorruptError: The file is damaged, or holds values that cannot be.
    """
    with _analyzing(recording):
        return recording.connection.execute(query, parameters or []).fetchall()


def row(recording: Recording, query: str, parameters: Parameters | None = None) -> Any:  # noqa: ANN401 - a tuple
    """The only row of a query's answer; raises as `rows` does."""
    (found,) = rows(recording, query, parameters)
    return found


def columns(recording: Recording, query: str, parameters: Parameters | None = None) -> dict[str, NDArray[Any]]:
    """A query's answer as one array per column; raises as `rows` does."""
    with _analyzing(recording):
        return recording.connection.execute(query, parameters or []).fetchnumpy()


@contextmanager
def _analyzing(recording: Recording) -> Iterator[None]:
    """The queries of analyses make sense; where one fails, the values do not, such as a sum beyond 64 bits."""
    try:
        with asking(recording.path):
            yield
    except QueryError as error:
        raise RecordingCorruptError(f"{recording.path} is damaged: {error}") from error
