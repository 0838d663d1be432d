"""The events noted so far, not yet handed over, and the error that ended noting; lives through all phases of a recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np

from tinyheap.errors import RecordingError
from tinyheap.guests.serve.unchecked import trap_for
from tinyheap.recordings.batch import DEATH, EVENT, INFERRED_DEATH, STACK, Batch
from tinyheap.recordings.refusals import Refusal
from tinyheap.recordings.row_types import MemoryGrowthRow, MemoryRow, SamplingRow
from tinyheap.recordings.schema import LARGEST_SAMPLE_BYTES

try:
    from tinyheap.guests.record._recorder import EventLog
except ImportError as _error:
    raise RecordingError(
        "recording needs the compiled kernel, which is not there; install a C compiler and reinstall tinyheap"
    ) from _error

WAITING_GROWTHS: Final = 1 << 12
"""Of linear memory; so many that wait for the next batch make one."""


class Taker(Protocol):
    """What takes what was noted; neither of its methods raises."""

    def flush(self) -> None:
        """Take it: a buffer is full."""

    def wake(self) -> int:
        """Look around; returns when to be called next, in nanoseconds of the log's time."""


def check_sample(mean_bytes: int, seed: int) -> None:
    """Raises RecordingError if there is no sample with so many bytes between two sampled ones, from such a seed."""
    for name, value, least, most in (
        ("sample_bytes", mean_bytes, 1, LARGEST_SAMPLE_BYTES),
        ("sample_seed", seed, 0, 2**64 - 1),
    ):
        if type(value) is not int or not least <= value <= most:
            raise RecordingError(f"invalid {name} {value!r}: expected a whole number from {least:,} to {most:,}")


class Journal:
    """The events of a run as compiled code notes them, and why they could not be noted any more.

    Args:
        on_failure: called where the recording cannot go on, and must not raise; the program goes on without it.  None where
            the program is to end then.

    Raises:
        MemoryError: there is no memory for its buffers.
    """

    def __init__(self, on_failure: Callable[[BaseException], object] | None = None) -> None:
        self._on_failure = on_failure
        self.log = EventLog(self)
        self.error: BaseException | None = None
        self.memory: MemoryRow | None = None
        """How the module declares linear memory, as long as that was not handed over."""
        self.taker: Taker | None = None
        """Who takes what is noted; None before the recording began, when it is kept here."""
        self._early: list[Batch] = []
        self._memory_growths: list[MemoryGrowthRow] = []
        self._samplings: list[SamplingRow] = []
        self._is_over = False

    def sample(self, mean_bytes: int, seed: int) -> None:
        """Note some objects only, before any event; see `Recorder`.

        Raises:
            RecordingError: a number is out of range.
        """
        check_sample(mean_bytes, seed)
        self.log.sample(mean_bytes, seed)
        self._samplings = [SamplingRow(mean_bytes, seed)]

    def note_memory_growth(
        self, asked_by: str, old_pages: int, asked_pages: int, new_pages: int, refused_by: Refusal | None
    ) -> None:
        """Note that linear memory was to grow, and what came of it; see the table ``memory_growths``."""
        if self._is_over:
            return
        log = self.log
        refused, pages = None if refused_by is None else refused_by.value, (old_pages, asked_pages, new_pages)
        self._memory_growths.append(
            MemoryGrowthRow(log.now_ns, log.events, asked_by, *pages, refused, log.stack()),
        )
        if len(self._memory_growths) > WAITING_GROWTHS:
            self._flush()

    def batches(self, time_ns: int) -> list[Batch]:
        """What was noted since the last time, of which the last batch may get further rows.

        Args:
            time_ns: how far the run is.
        """
        events, event_count, stacks, stack_count, deaths = self.log.take()
        batch = Batch(time_ns)
        batch.events = np.frombuffer(events, EVENT, event_count)
        batch.stacks = np.frombuffer(stacks, STACK, stack_count)
        if self.log.infers:
            batch.inferred_deaths = np.frombuffer(deaths, INFERRED_DEATH)
        else:
            batch.deaths = np.frombuffer(deaths, DEATH)
        batch.memory_growths, self._memory_growths = self._memory_growths, []
        batch.samplings, self._samplings = self._samplings, []
        if self.memory is not None:
            batch.memories, self.memory = [self.memory], None
        early, self._early = self._early, []
        return [*early, batch]

    def fail(self, error: BaseException) -> None:
        """Note nothing any more; what becomes of the program is decided at its next event (`ending`)."""
        self.error = self.error or error
        self.log.fail()

    def stop(self) -> None:
        """Note nothing any more, and let the program go on."""
        self._is_over = True
        self.log.stop()

    def failure(self) -> BaseException:
        """Why the recording cannot go on."""
        if self.error is None:
            # The log failed by itself, and all that it noted until then is sound.
            self._flush()
        if self.error is None:
            full, memory = (
                f"it has {self.log.objects:,} objects, the most there can be",
                "this machine has no memory left for it",
            )
            self.error = RecordingError(f"the recording cannot go on: {full if self.log.is_full else memory}")
        return self.error

    def ending(self) -> BaseException | None:
        """What ends the program, since the recording cannot go on; None where the program goes on without it."""
        error = self.failure()
        if self._on_failure is None:
            return error
        self.log.stop()
        self._on_failure(error)
        return None

    # ---- what compiled code calls, and so it never raises ------------------------------------------------------------

    def _flush(self) -> None:
        if self.taker is not None:
            self.taker.flush()
            return
        try:
            self._early = self.batches(0)
        except BaseException as error:
            self.fail(error)

    def _wake(self) -> int:
        return self.log.now_ns if self.taker is None else self.taker.wake()

    def _trap(self) -> int:
        """What ends the program, when it was told that the recording failed; 0 for nothing."""
        error = self.ending()
        return 0 if error is None else trap_for(error)
