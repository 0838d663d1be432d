"""Recording what a Python program does by wasmtime, with no change to it.

    with tinyheap.attach("service.tinyheap"):
        service.run()

While attached, each module that the program compiles is looked at when it is instantiated.  One that can be recorded is
changed, as `Program.open` would change it, and the changed module is instantiated in the program's own store, with the
program's own imports: its heap is served here where its collector can be replaced, and every allocation is recorded.  Each
instance has a recording of its own: ``service-1.tinyheap``, ``service-2.tinyheap`` and so on, in the order in which they are
made.  It ends when the store is closed or dropped, at the latest with the attachment.

What cannot be recorded runs as it is, and one line on standard error says so.  The program's own behaviour stays: its
results, its errors, the objects that it sees.  Where the heap is full, it gets a trap, as from its own allocator; where the
recording cannot go on, the program does.

Instances of one store are told apart, and so are threads, which have stores of their own.  A process that is forked goes on
unrecorded, and leaves the recordings to the one that it comes from.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tinyheap._loading import library_for
from tinyheap.errors import AttachmentError
from tinyheap.guests.attached.names import INSTANCES, RecordingNames
from tinyheap.guests.attached.patches import Patches
from tinyheap.guests.opening import DEFAULT, Wish
from tinyheap.ownership import SoleOwner

with library_for("recording a run"):
    from tinyheap.guests.attached.observing import RecordingObserver
    from tinyheap.guests.record.journal import check_sample
    from tinyheap.guests.record.recorder import Recorder

if TYPE_CHECKING:
    from types import TracebackType

    from tinyheap.guests.attached.modules import CompiledModule
    from tinyheap.guests.cache import Cache
    from tinyheap.guests.policy import Policy
    from tinyheap.recordings.last import Last


def attach(
    recordings: str | Path,
    *,
    policy: Policy | None = None,
    gc: str = DEFAULT,
    cache: Cache | None = None,
    overwrite: bool = False,
    full_paths: bool = False,
    sample_bytes: int | None = None,
    sample_seed: int = 0,
    last: Last | None = None,
    call_arguments: bool = False,
    instances: int = INSTANCES,
    say: Callable[[str], object] | None = None,
) -> Attachment:
    """Record each instance of a module that this process makes by wasmtime from now on.

    Args:
        recordings: What the recordings are named after: ``service.tinyheap`` for ``service-1.tinyheap`` and so on.
        policy: How heaps are run.  A module whose collector cannot be replaced runs as it is, given any but the default one.
        gc: As for `Program.open`; ``native`` leaves all modules their own collectors.
        cache: Where prepared modules are kept; the user's if None.
        overwrite: Whether recordings of these names may be replaced.
        full_paths: Whether recordings name source files by their full paths on the machine that compiled them.
        sample_bytes: To record about one object for so many bytes allocated, as for a `Recorder`; None to record all.
        sample_seed: What the choice follows from.
        last: How much of each run's end is kept; None for all of it.
        call_arguments: Whether the arguments and results of the program's calls are kept.
        instances: So many are recorded, from 1 on; further ones run as they are.
        say: Gets a sentence where something is not recorded, or a program is stopped; prints it on standard error if None.

    Raises:
        AttachmentError: tinyheap is attached to this process already; or an argument is of a wrong type.
        RecordingWriteError: There are such recordings already, and ``overwrite`` is not set; or none can be made there.
        RecordingError: ``sample_bytes`` or ``sample_seed`` is out of range.
        PolicyError, UnsupportedGuestError: Policy and collector contradict each other.
        MissingLibraryError: The extra `profile` is not installed.
    """
    if not isinstance(recordings, str | os.PathLike):
        raise AttachmentError(f"invalid recordings {recordings!r}: expected a path")
    if type(instances) is not int or instances < 1:
        raise AttachmentError(f"invalid instances {instances!r}: expected a whole number from 1 on")
    if sample_bytes is not None:
        check_sample(sample_bytes, sample_seed)
    # Refuses what no module could be run by.
    Wish.of(b"", None, policy, gc, cache, None, None, None, False)
    names = RecordingNames(Path(recordings), instances, overwrite=overwrite, last=last)
    names.check()

    def wish_for(module: CompiledModule, recorder: Recorder) -> Wish:
        wish = Wish.of(module.wasm, None, policy, gc, cache, None, recorder, None, False, full_paths=full_paths)
        return wish if module.path is None else replace(wish, source=module.path)

    recorder = partial(
        Recorder,
        full_paths=full_paths,
        sample_bytes=sample_bytes,
        sample_seed=sample_seed,
        call_arguments=call_arguments,
    )
    return Attachment(RecordingObserver(names, wish_for, recorder=recorder, say=say or _print))


class Attachment(SoleOwner):
    """What records this process, until it is detached, best by ``with``; made by `attach`."""

    def __init__(self, observer: RecordingObserver) -> None:
        self._observer = observer
        self._is_over = False
        _take_place(self)
        # Writers of recordings end by finalizers of their own when Python does, which are to come after this.
        weakref.finalize(self, lambda: None)
        atexit.register(self.detach)
        self._patches = Patches(observer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    @property
    def recordings(self) -> tuple[Path, ...]:
        """The files of all recordings that were begun, in the order of their numbers."""
        return tuple(self._observer.names.given)

    def detach(self) -> None:
        """End all recordings and leave wasmtime as it was; again does nothing.

        An instance that another thread calls just now, or that waits for the caller of this, is recorded until that call
        has returned.
        """
        if self._is_over:
            return
        self._is_over = True
        self._patches.take_out()
        atexit.unregister(self.detach)
        _leave_place()
        self._observer.end()

    def _abandon(self) -> None:
        """Leave all recordings to the process that this one was forked from."""
        self._observer.abandon()


# ---- the one that there is --------------------------------------------------------------------------------------------


class _Process:
    """Who is attached to this process, if anybody is."""

    attachment: Attachment | None = None
    lock = threading.Lock()


def _take_place(attachment: Attachment) -> None:
    """Be the attachment of this process.

    Raises:
        AttachmentError: There is another.
    """
    with _Process.lock:
        if _Process.attachment is not None:
            raise AttachmentError("tinyheap is attached to this process already; detach it first")
        _Process.attachment = attachment


def _leave_place() -> None:
    with _Process.lock:
        _Process.attachment = None


def _after_fork() -> None:
    """In the new process, where other threads are gone and all files are the old one's."""
    _Process.lock = threading.Lock()
    if _Process.attachment is not None:
        _Process.attachment._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _print(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # there may be no standard error
        print(f"tinyheap: {text}", file=sys.stderr, flush=True)  # noqa: T201 - that is where it goes
