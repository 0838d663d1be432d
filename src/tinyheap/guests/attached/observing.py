"""What becomes of all that a Python program asks of wasmtime: who is recorded, and in which store that is."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from wasmtime import Store, WasmtimeError

from tinyheap.errors import TinyheapError
from tinyheap.guests.attached.modules import CompiledModule
from tinyheap.guests.attached.names import RecordingFile, RecordingNames
from tinyheap.guests.attached.stores import (
    AttachedRun,
    AttachedStore,
    id_of_function,
    store_id,
    take_exports,
    trap_for,
)
from tinyheap.guests.record.recorder import Recorder
from tinyheap.hosts.session import OWN_MODULES
from tinyheap.recordings.observed import UNSEEN

if TYPE_CHECKING:
    from wasmtime import Func, Instance, Module
    from wasmtime._store import Storelike

    from tinyheap.guests.opening import OfferedRun, Wish

_BEGINNING_FAILS: Final = (TinyheapError, WasmtimeError, OSError, MemoryError, RuntimeError, Warning)
"""What a recording that cannot begin raises: also where Python ends and no thread can be started any more, and where a program
makes errors of warnings."""
_STORE: Final = "tinyheap_attached"
"""The attribute of a store's by which it owns what is known of it."""


class RecordingObserver:
    """Records the instances that a program makes; a `patches.Observer`.

    Args:
        names: Of the recordings.
        wish_for: How a module is to be run.
        recorder: Makes what records an instance, from what opens its file and ``on_failure``.
        say: Tells the user of what cannot be told the program.
    """

    def __init__(
        self,
        names: RecordingNames,
        wish_for: Callable[[CompiledModule, Recorder], Wish],
        *,
        recorder: Callable[..., Recorder],
        say: Callable[[str], object],
    ) -> None:
        self.names = names
        self._wish_for, self._make_recorder, self._say = wish_for, recorder, say
        self._modules: weakref.WeakKeyDictionary[Module, CompiledModule] = weakref.WeakKeyDictionary()
        self._stores: dict[int, AttachedStore] = {}
        self._files: list[RecordingFile] = []
        self._said: set[str] = set()
        self._is_over = self._is_forked = False

    def end(self) -> None:
        """Record nothing new, and end all recordings; those of stores that are called just now when that has returned."""
        self._is_over = True
        for store in list(self._stores.values()):
            store.end_when_idle()
        for file in list(self._files):
            file.wait()

    def abandon(self) -> None:
        """Leave all recordings to the process that this one was forked from."""
        self._is_forked = True
        stores, self._stores, self._files = self._stores, {}, []
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

    def closes(self, store: Store, free: Callable[[], None]) -> None:
        """See `patches.Observer`."""
        attached: AttachedStore | None = vars(store).pop(_STORE, None)
        if attached is None:
            free()
        elif not attached.close(free):
            # What wasmtime does, too, as soon as it has freed it.
            vars(store)["_Store__context"] = None
            self._say("a store was closed in the middle of a call; it is freed when that has returned")

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
            file = RecordingFile(self.names, self._say)
            offered, functions = self._offer(known, file, store, module)
        except _NotRecordedError as error:
            self._say_once(str(error))
            return natively()
        compiled = offered.run.prepared.compiled
        instance, is_changed = self._instance(offered, natively, lambda: changed(compiled, functions))
        if is_changed:
            self._record(offered, known, file, store, instance)
        return instance

    # ---- the steps ---------------------------------------------------------------------------------------------------

    def _known(self, module: Module) -> CompiledModule:
        """What is known of a module that could be recorded.

        Raises:
            _NotRecordedError: It could not.
        """
        if self._is_forked:
            raise _NotRecordedError(f"process {os.getpid()} was forked from the one that is recorded")
        known = self._modules.get(module)
        if known is None:
            raise _NotRecordedError("a module was deserialized, or compiled before tinyheap was attached")
        if self.names.are_used_up:
            raise _NotRecordedError(f"{known.name}: {len(self.names.given)} instances are recorded already")
        return known

    def _offer(
        self, known: CompiledModule, file: RecordingFile, store: Store, module: Module
    ) -> tuple[OfferedRun, list[Func]]:
        """What a changed module imports besides what the program's own does.

        Raises:
            _NotRecordedError: The module cannot be recorded.
        """
        try:
            run = known.run(store.engine, lambda each: self._wish_for(each, self._recorder(each, file)))
            if run.served is None and run.own_source == UNSEEN:
                raise _NotRecordedError(
                    f"{known.name}: there is nothing to record: nothing that allocates was recognized"
                )
            offered = run.offer(weakref.proxy(store))
            makers, further = offered.makers, run.prepared.compiled.imports[len(module.imports) :]
            return offered, [makers[item.module](item.name or "", item.type) for item in further]
        except _BEGINNING_FAILS as error:
            raise _NotRecordedError(f"{known.name}: {error}") from error

    def _recorder(self, module: CompiledModule, file: RecordingFile) -> Recorder:
        def fail(error: BaseException) -> None:
            self._say(f"{module.name}: {error}; the program goes on without")

        return self._make_recorder(file.open, on_failure=fail)

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
            self._say_once(f"a changed module cannot be instantiated ({str(error).splitlines()[0]})")
            return instance, False
        finally:
            clock.leave()

    def _record(
        self, offered: OfferedRun, known: CompiledModule, file: RecordingFile, store: Store, instance: Instance
    ) -> None:
        """Let the recording of an instance begin."""
        weak: Store = weakref.proxy(store)
        try:
            bound = offered.bind(instance)
        except _BEGINNING_FAILS as error:
            self._say(f"{known.name}: {error}; it is not recorded")
            return
        finally:
            exports = take_exports(instance, weak)
        self._files.append(file)
        self._store_of(store, instance).add(AttachedRun(bound, weak, exports, known.name, file, self._say), exports)

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
