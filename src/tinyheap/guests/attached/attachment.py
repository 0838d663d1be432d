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
import re
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from wasmtime import Store, WasmtimeError

from tinyheap._loading import library_for
from tinyheap.errors import AttachmentError, RecordingWriteError, TinyheapError
from tinyheap.files import text_of
from tinyheap.guests.attached.modules import CompiledModule
from tinyheap.guests.attached.patches import Patches
from tinyheap.guests.attached.stores import (
    AttachedRun,
    AttachedStore,
    id_of_function,
    store_id,
    take_exports,
    trap_for,
)
from tinyheap.guests.opening import DEFAULT, Wish
from tinyheap.hosts.session import OWN_MODULES
from tinyheap.ownership import SoleOwner

with library_for("recording a run"):
    from tinyheap.guests.record.recorder import Recorder
    from tinyheap.recordings.place import check_place
    from tinyheap.recordings.writer import RecordingWriter

if TYPE_CHECKING:
    from types import TracebackType

    from wasmtime import Func, Instance, Module
    from wasmtime._store import Storelike

    from tinyheap.guests.cache import Cache
    from tinyheap.guests.opening import OfferedRun
    from tinyheap.guests.policy import Policy
    from tinyheap.guests.record.recording import Sink
    from tinyheap.recordings.row_types import FrameRow, RunRow

INSTANCES: Final = 100
"""So many instances are recorded unless another number is asked for: each has a file and a thread that writes it."""
_BEGINNING_FAILS: Final = (TinyheapError, WasmtimeError, OSError, MemoryError, RuntimeError)
"""What a recording that cannot begin raises; the last where Python ends and no thread can be started any more."""
_STORE: Final = "tinyheap_attached"
"""The attribute of a store's by which it owns what is known of it."""


def attach(
    recordings: str | Path,
    *,
    policy: Policy | None = None,
    gc: str = DEFAULT,
    cache: Cache | None = None,
    overwrite: bool = False,
    full_paths: bool = False,
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
        full_paths: Whether recordings name source files with the folders of whoever compiled.
        instances: So many are recorded, from 1 on; further ones run as they are.
        say: Gets a sentence where something is not recorded, or a program is stopped; prints it on standard error if None.

    Raises:
        AttachmentError: tinyheap is attached to this process already; or an argument is of a wrong type.
        RecordingWriteError: There are such recordings already, and ``overwrite`` is not set; or none can be made there.
        PolicyError, UnsupportedGuestError: Policy and collector contradict each other.
        MissingLibraryError: The extra `profile` is not installed.
    """
    if not isinstance(recordings, str | os.PathLike):
        raise AttachmentError(f"invalid recordings {recordings!r}: expected a path")
    if type(instances) is not int or instances < 1:
        raise AttachmentError(f"invalid instances {instances!r}: expected a whole number from 1 on")
    # Refuses what no module could be run by.
    Wish.of(b"", None, policy, gc, cache, None, None, None, False)
    names = _Names(Path(recordings), instances, overwrite=overwrite)
    names.check()

    def wish_for(module: CompiledModule, recorder: Recorder) -> Wish:
        wish = Wish.of(module.wasm, None, policy, gc, cache, None, recorder, None, False, full_paths=full_paths)
        return wish if module.path is None else replace(wish, source=module.path)

    return Attachment(names, wish_for, full_paths=full_paths, say=say or _print)


class _Names:
    """Names of recordings, by the number of the instance."""

    def __init__(self, path: Path, most: int, *, overwrite: bool) -> None:
        self._path, self._most, self.overwrite = path.absolute(), most, overwrite
        self.given: list[Path] = []
        self._lock = threading.Lock()

    def check(self) -> None:
        """Find out whether there is room for them.

        Raises:
            RecordingWriteError: There is not.
        """
        path = self._path
        pattern = re.compile(rf"{re.escape(path.stem)}-[0-9]+{re.escape(path.suffix)}")
        check_place(self._named(1), overwrite=self.overwrite)
        found = sorted(each.name for each in path.parent.iterdir() if pattern.fullmatch(each.name))
        if found and not self.overwrite:
            raise RecordingWriteError(
                f"{text_of(found[0])}: is there already; choose another name, or ask to overwrite it"
            )

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")

    @property
    def are_used_up(self) -> bool:
        """Whether as many instances are recorded as were asked for."""
        return len(self.given) >= self._most

    def next(self) -> Path:
        """The name of the next recording."""
        with self._lock:
            path = self._named(len(self.given) + 1)
            self.given.append(path)
        return path


class Attachment(SoleOwner):
    """What records this process, until it is detached, best by ``with``; made by `attach`.

    Args:
        names: Of the recordings.
        wish_for: How a module is to be run.
        full_paths: Whether recordings name source files with the folders of whoever compiled.
        say: Tells the user of what cannot be told the program.
    """

    def __init__(
        self,
        names: _Names,
        wish_for: Callable[[CompiledModule, Recorder], Wish],
        *,
        full_paths: bool,
        say: Callable[[str], object],
    ) -> None:
        self._names, self._wish_for, self._full_paths, self._say = names, wish_for, full_paths, say
        self._modules: weakref.WeakKeyDictionary[Module, CompiledModule] = weakref.WeakKeyDictionary()
        self._stores: dict[int, AttachedStore] = {}
        self._said: set[str] = set()
        self._is_over = self.is_forked = False
        _take_place(self)
        # Writers of recordings end by finalizers of their own when Python does, which are to come after this.
        weakref.finalize(self, lambda: None)
        atexit.register(self.detach)
        self._patches = Patches(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    @property
    def recordings(self) -> tuple[Path, ...]:
        """The files of all recordings that were begun, in the order of their numbers."""
        return tuple(self._names.given)

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
        for store in list(self._stores.values()):
            store.end_when_idle()

    def abandon(self) -> None:
        """Leave all recordings to the process that this one was forked from."""
        self.is_forked = True
        stores, self._stores = self._stores, {}
        for store in stores.values():
            store.abandon()

    # ---- what patches tell -------------------------------------------------------------------------------------------

    def compiled(self, module: Module, wasm: str | bytes | bytearray) -> None:
        """See `patches.Observer`."""
        self._modules[module] = CompiledModule(wasm)

    def came_from(self, module: Module, path: object) -> None:
        """See `patches.Observer`."""
        known = self._modules.get(module)
        if known is not None:
            known.came_from(path)

    def passes_over(self, what: str, module: Module | None = None) -> None:
        """See `patches.Observer`."""
        known = None if module is None else self._modules.get(module)
        self._say_once(f"a module {what}" if known is None else f"{known.name} {what}")

    def calls(self, function: Func, arguments: tuple[Any, ...], call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """See `patches.Observer`."""
        store = self._stores.get(id_of_function(function))
        return call() if store is None else store.call(function, arguments, call)

    def closes(self, store: Store) -> None:
        """See `patches.Observer`."""
        attached: AttachedStore | None = vars(store).pop(_STORE, None)
        if attached is not None:
            attached.close()

    def instantiates(
        self,
        store: Storelike,
        module: Module,
        natively: Callable[[], Instance],
        changed: Callable[[Module, Sequence[Func]], Instance],
    ) -> Instance:
        """See `patches.Observer`."""
        if self._is_over or module in OWN_MODULES:
            return natively()
        try:
            known = self._known(module)
            if not isinstance(store, Store):
                raise _NotRecordedError(f"{known.name} is instantiated by a host function, by its Caller")
            offered, functions = self._offer(known, store, module)
        except _NotRecordedError as error:
            self._say_once(str(error))
            return natively()
        compiled = offered.run.prepared.compiled
        instance, is_changed = self._instance(offered, natively, lambda: changed(compiled, functions))
        if is_changed:
            self._record(offered, known, store, instance)
        return instance

    # ---- the steps ---------------------------------------------------------------------------------------------------

    def _known(self, module: Module) -> CompiledModule:
        """What is known of a module that could be recorded.

        Raises:
            _NotRecordedError: It could not.
        """
        if self.is_forked:
            raise _NotRecordedError(f"process {os.getpid()} was forked from the one that is recorded")
        known = self._modules.get(module)
        if known is None:
            raise _NotRecordedError("a module was deserialized, or compiled before tinyheap was attached")
        if self._names.are_used_up:
            raise _NotRecordedError(f"{known.name}: {len(self.recordings)} instances are recorded already")
        return known

    def _offer(self, known: CompiledModule, store: Store, module: Module) -> tuple[OfferedRun, list[Func]]:
        """What a changed module imports besides what the program's own does.

        Raises:
            _NotRecordedError: The module cannot be recorded.
        """
        try:
            run = known.run(store.engine, lambda each: self._wish_for(each, self._new_recorder(each)))
            offered = run.offer(weakref.proxy(store))
            makers, further = offered.makers, run.prepared.compiled.imports[len(module.imports) :]
            return offered, [makers[item.module](item.name or "", item.type) for item in further]
        except _BEGINNING_FAILS as error:
            raise _NotRecordedError(f"{known.name}: {error}") from error

    def _new_recorder(self, module: CompiledModule) -> Recorder:
        """A recorder whose recording gets its name when it begins."""

        def open_sink(run: RunRow, frames: Sequence[FrameRow]) -> Sink:
            return RecordingWriter.create(self._names.next(), run, frames, overwrite=self._names.overwrite)

        def fail(error: BaseException) -> None:
            self._say(f"{module.name}: {error}; the program goes on without")

        return Recorder(open_sink, full_paths=self._full_paths, on_failure=fail)

    def _instance(
        self, offered: OfferedRun, natively: Callable[[], Instance], changed: Callable[[], Instance]
    ) -> tuple[Instance, bool]:
        """An instance of the changed module where there can be one, and whether it is that."""
        assert offered.recorder is not None, "what is attached to is recorded"
        clock = offered.recorder.clock
        clock.enter()
        try:
            return changed(), True
        except TinyheapError as error:
            trap = trap_for(error)
            if trap is None:
                raise
            raise trap from error
        except WasmtimeError as error:
            # Nothing of the program has run: an import is missing, or a limit of the store's has no room for a call stack.
            if type(error) is not WasmtimeError:
                raise
            instance = natively()
            self._say_once(f"a changed module cannot be instantiated ({_first_line(error)})")
            return instance, False
        finally:
            clock.leave()

    def _record(self, offered: OfferedRun, known: CompiledModule, store: Store, instance: Instance) -> None:
        """Let the recording of an instance begin."""
        weak: Store = weakref.proxy(store)
        try:
            bound = offered.bind(instance)
        except _BEGINNING_FAILS as error:
            self._say(f"{known.name}: {error}; it is not recorded")
            return
        finally:
            exports = take_exports(instance, weak)
        self._store_of(store, instance).add(AttachedRun(bound, weak, exports, known.name, self._say), exports)

    def _store_of(self, store: Store, instance: Instance) -> AttachedStore:
        attached: AttachedStore | None = vars(store).get(_STORE)
        if attached is None or attached.is_over:
            number = store_id(instance)
            attached = AttachedStore(lambda: self._stores.pop(number, None))
            vars(store)[_STORE] = self._stores[number] = attached
        return attached

    def _say_once(self, what: str) -> None:
        """Say that something is not recorded, once for each thing and reason."""
        if what not in self._said and not self._is_over:
            self._said.add(what)
            self._say(f"{what}; it runs as it is, and is not recorded")


class _NotRecordedError(Exception):
    """Why the program's own module is to be instantiated."""


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
        _Process.attachment.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _print(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # there may be no standard error
        print(f"tinyheap: {text}", file=sys.stderr, flush=True)  # noqa: T201 - that is where it goes


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
