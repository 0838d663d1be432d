"""Python code that runs WebAssembly by wasmtime and knows nothing of tinyheap, recorded while it does: all stays as it was."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime import Engine, ExitTrap, Func, FuncType, Instance, Linker, Module, Store, Trap, TrapCode, ValType

from guests import collectors
from hosts.programs import module_bytes
from tinyheap import Policy, Program
from tinyheap.errors import AttachmentError, PolicyError, RecordingError, RecordingWriteError, UnsupportedGuestError
from tinyheap.guests.attached import attachment as attachment_module
from tinyheap.guests.attached.attachment import Attachment, attach
from tinyheap.guests.attached.patches import _REPLACED
from tinyheap.guests.cache import Cache
from tinyheap.recognize import identify as identify_module
from tinyheap.recordings.batch import Batch
from tinyheap.recordings.last import Last
from tinyheap.recordings.recording import Recording
from tinyheap.recordings.row_types import RunEnd
from tinyheap.recordings.store import RecordingStore
from tinyheap.units import KIB

BUILD = collectors.Build("2", link_time=False, precise=True, tasks=False, explicit=True)
ALLOC = """(memory (export "memory") 1)
  (func $runtime.alloc (param i32 i32) (result i32) i32.const 1024)
  (func $once i32.const 24 i32.const 0 call $runtime.alloc drop)"""
"""An allocator that is known by its name, keeps its place, and gives everybody the same."""
ONCE = f'{ALLOC} (func (export "once") (result i32) call $once i32.const 7)'
HOSTED = f"""(import "env" "ask" (func $ask (param i32) (result i32)))
  {ALLOC}
  (func (export "once") (result i32) call $once i32.const 7)
  (func (export "ask") (param i32) (result i32) call $once local.get 0 call $ask)"""
OPEN_FILES = Path("/proc/self/fd")
NOTHING = '(func (export "f") (result i32) i32.const 5)'


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    left = attachment_module._Process.attachment
    if left is not None:
        left.detach()


def asked() -> FuncType:
    """The type of what ``ask`` imports; wasmtime ties each to the first engine that it meets."""
    return FuncType([ValType.i32()], [ValType.i32()])


class Said(list[str]):
    """What was said."""

    @property
    def whole(self) -> str:
        return "\n".join(self)


def attached(said: Said | None = None, **options: Any) -> Attachment:  # noqa: ANN401 - whatever attach takes
    return attach("run.tinyheap", cache=Cache(None), say=(Said() if said is None else said).append, **options)


def made(text: str, imports: dict[str, Callable[..., object]] | None = None, store: Store | None = None) -> Any:  # noqa: ANN401
    """An instance's exports by name, each function bound to its store."""
    store = Store() if store is None else store
    linker = Linker(store.engine)
    for name, function in (imports or {}).items():
        linker.define_func("env", name, asked(), function)
    exports = linker.instantiate(store, Module(store.engine, module_bytes(text))).exports(store)
    return Bound(store, exports)


class Bound:
    """The exports of an instance."""

    def __init__(self, store: Store, exports: Any) -> None:  # noqa: ANN401
        self.store, self.exports = store, exports

    @property
    def memory_content(self) -> bytes:
        memory = self.exports["memory"]
        return bytes(memory.read(self.store, 0, memory.data_len(self.store)))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: self.exports[name](self.store, *arguments)


def events_in(number: int) -> list[tuple[int, int]]:
    """Sizes and addresses of the allocations in a recording."""
    with Recording.open(f"run-{number}.tinyheap") as recording:
        return recording.sql("SELECT size_bytes, address FROM events ORDER BY id").fetch()


def calls_in(number: int) -> list[tuple[str, int, bool]]:
    """Export, depth and whether it returned, of each call in a recording."""
    with Recording.open(f"run-{number}.tinyheap") as recording:
        return recording.sql("SELECT export, depth, returned FROM calls ORDER BY number").fetch()


def state_of(number: int) -> tuple[str, str | None, int | None]:
    """How a recorded run ended."""
    with Recording.open(f"run-{number}.tinyheap") as recording:
        return recording.run.state, recording.run.error, recording.run.exit_code


def assert_finished(number: int) -> None:
    """Nobody waits for the file when a store is freed, but it is whole soon."""
    for _ in range(300):
        with suppress(RecordingError):
            if state_of(number)[0] == "finished":
                return
        time.sleep(0.1)
    raise AssertionError(f"recording {number} was not finished")


@cache
def mutator() -> bytes:
    return collectors.compiled(BUILD, "mutator.c")


def mutating() -> Bound:
    """A program that does random things with its heap, started."""
    store = Store()
    program = Bound(store, Instance(store, Module(store.engine, mutator()), []).exports(store))
    program._start()
    return program


def mutated(calls: int) -> tuple[list[int], bytes]:
    """What such a program returns, and what is in its memory then."""
    program = mutating()
    results = [program.mutate(seed, 800) for seed in range(calls)]
    return results, program.memory_content


# ---- what the program sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gc", ["default", "native"])
def test_a_program_does_the_same_byte_for_byte(gc: str) -> None:
    native = mutated(6)
    with attached(gc=gc) as attachment:
        assert mutated(6) == native
    assert [path.name for path in attachment.recordings] == ["run-1.tinyheap"]
    with Recording.open("run-1.tinyheap") as recording:
        assert recording.run.is_complete
        assert recording.run.source == ("kernel" if gc == "default" else "injected")
        (objects,) = recording.sql("SELECT count(*) FROM objects").one()
        (collections,) = recording.sql("SELECT count(*) FROM collections").one()
        assert objects > 2000
        assert (collections > 2) == (gc == "default")
        assert recording.sql("SELECT count(*), bool_and(returned) FROM calls").one() == (7, True)


def test_modules_and_exports_are_the_programs_own() -> None:
    engine, wasm = Engine(), module_bytes(HOSTED)

    def seen() -> tuple[list[Any], list[str], int, bytes]:
        module, store = Module(engine, wasm), Store(engine)
        shapes = [(type(each), each.module, each.name) for each in module.imports]
        instance = Instance(store, module, [Func(store, asked(), lambda number: number)])
        exports = instance.exports(store)
        assert list(exports) == [each.name for each in module.exports]
        return shapes, list(exports), len(exports.by_index), bytes(module.serialize())

    native = seen()
    with attached():
        assert seen() == native


def test_wasmtime_is_as_it_was_afterwards() -> None:
    before = [vars(owner)[name] for owner, name, _ in _REPLACED]
    with attached():
        assert all(vars(owner)[name] is not old for (owner, name, _), old in zip(_REPLACED, before, strict=True))
        for (owner, name, _), old in zip(_REPLACED, before, strict=True):
            assert vars(owner)[name].__doc__ == old.__doc__
    assert [vars(owner)[name] for owner, name, _ in _REPLACED] == before


def test_what_somebody_else_replaced_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    attachment = attached()
    within = Linker.instantiate

    def instantiate(self: Linker, store: Store, module: Module) -> Instance:
        return within(self, store, module)

    monkeypatch.setattr(Linker, "instantiate", instantiate)
    attachment.detach()
    assert Linker.instantiate is instantiate
    assert made(ONCE).once() == 7
    assert not list(Path().glob("run-*"))


def test_every_way_to_make_an_instance_is_seen() -> None:
    Path("once.wasm").write_bytes(module_bytes(ONCE))
    engine = Engine()
    with attached():
        store = Store(engine)
        first = Linker(engine).instantiate(store, Module.from_file(engine, "once.wasm"))
        second = Instance(store, Module(engine, f"(module {ONCE})"), [])
        for instance in (first, second):
            once = instance.exports(store)["once"]
            assert isinstance(once, Func)
            assert once(store) == 7
    assert events_in(1) == events_in(2) == [(24, 1024)]
    with Recording.open("run-1.tinyheap") as one, Recording.open("run-2.tinyheap") as two:
        assert (one.run.module, two.run.module) == ("once.wasm", "(bytes)")


def test_imports_come_from_the_programs_linker_or_list() -> None:
    engine = Engine()
    module = module_bytes(HOSTED)
    with attached():
        assert made(HOSTED, {"ask": lambda number: number + 1}).ask(4) == 5
        store = Store(engine)
        function = Func(store, asked(), lambda number: number + 2)
        ask = Instance(store, Module(engine, module), [function]).exports(store)["ask"]
        assert isinstance(ask, Func)
        assert ask(store, 4) == 6
    assert calls_in(1) == calls_in(2) == [("ask", 1, True)]


def test_a_missing_import_is_the_programs_own_error() -> None:
    def error() -> str:
        with pytest.raises(wasmtime.WasmtimeError) as caught:
            made(HOSTED)
        return str(caught.value)

    native = error()
    with attached() as attachment:
        assert error() == native
    assert attachment.recordings == ()


def test_what_a_host_function_raises_reaches_its_caller() -> None:
    def ask(number: int) -> int:
        raise LookupError(number)

    with attached():
        program = made(HOSTED, {"ask": ask})
        with pytest.raises(LookupError, match="9"):
            program.ask(9)
        assert program.once() == 7
    assert calls_in(1) == [("ask", 1, False), ("once", 1, True)]
    assert state_of(1) == ("finished", None, None)


def test_a_trap_stays_a_trap() -> None:
    trapping = f'{ALLOC} (func $fail unreachable) (func $f (export "f") call $once call $fail)'
    with attached():
        program = made(trapping)
        with pytest.raises(Trap) as caught:
            program.f()
        assert type(caught.value) is Trap
        assert caught.value.trap_code is TrapCode.UNREACHABLE
        assert [frame.func_name for frame in caught.value.frames] == ["fail", "f"]
    assert state_of(1) == ("failed", "the program trapped (unreachable)", None)
    assert events_in(1) == [(24, 1024)]


def test_an_exit_keeps_its_code() -> None:
    text = f"""(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      {ALLOC} (func (export "_start") call $once i32.const 3 call $exit) (func (export "once") call $once)"""
    with attached():
        store = Store()
        store.set_wasi(wasmtime.WasiConfig())
        linker = Linker(store.engine)
        linker.define_wasi()
        exports = linker.instantiate(store, Module(store.engine, module_bytes(text))).exports(store)
        program = Bound(store, exports)
        with pytest.raises(ExitTrap) as caught:
            program._start()
        assert caught.value.code == 3
        program.once()
    assert state_of(1) == ("finished", None, 3)
    assert calls_in(1) == [("_start", 1, False), ("once", 1, True)]


def test_a_full_heap_traps_as_the_programs_own_would() -> None:
    said = Said()
    with attached(said, policy=Policy(heap_limit_bytes=128 * KIB)):
        with pytest.raises(Trap) as caught:
            mutated(60)
        assert caught.value.trap_code is TrapCode.UNREACHABLE
    assert "the program asked for" in said.whole
    assert said.whole.endswith("the program gets a trap")
    state, error, _ = state_of(1)
    assert state == "failed"
    assert "cannot grow" in str(error)


def test_a_store_is_freed_as_soon_as_it_is_dropped() -> None:
    gc.disable()
    try:
        with attached():
            program = made(ONCE)
            program.once()
            store = weakref.ref(program.store)
            del program
            assert store() is None
            assert_finished(1)
            mutated(2)
            assert_finished(2)
    finally:
        gc.enable()


def test_a_store_in_a_cycle_is_freed_by_pythons_collector() -> None:
    with attached():
        program = made(ONCE)
        program.once()
        program.store.itself = program.store
        store = weakref.ref(program.store)
        del program
        gc.collect()
        assert store() is None
        assert_finished(1)


def test_python_may_drop_a_store_while_it_writes_another_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes is in the middle of something then, which the other recording's thread may wait for."""
    lock, put, dropped = threading.Lock(), RecordingStore.put, threading.Event()
    left: list[Bound] = []

    def dropping(store: RecordingStore, batches: Sequence[Batch], end: RunEnd | None = None) -> None:
        with lock:
            put(store, batches, end)
            if left:
                left.clear()
                dropped.set()

    monkeypatch.setattr(RecordingStore, "put", dropping)
    with attached():
        program = made(ONCE)
        left.append(made(ONCE))
        left[0].once()
        for _ in range(600):
            program.once()
            if dropped.wait(0.1):
                break
        assert_finished(2)
    assert state_of(1)[0] == "finished"


def test_a_host_function_calls_back() -> None:
    def ask(number: int) -> int:
        return int(program.ask(number - 1)) + 1 if number else 10

    with attached():
        program = made(HOSTED, {"ask": ask})
        assert program.ask(3) == 13
    assert (
        calls_in(1)
        == [(export, depth, True) for export, depth in [("ask", 4), ("ask", 3), ("ask", 2), ("ask", 1)]][::-1]
    )
    assert len(events_in(1)) == 4


def test_a_store_that_is_closed_in_the_middle_of_a_call_is_recorded_until_then() -> None:
    store, said = Store(), Said()

    def ask(number: int) -> int:
        store.close()
        return number

    with attached(said):
        program = made(HOSTED, {"ask": ask}, store)
        program.once()
        assert program.ask(1) == 1
        with pytest.raises(ValueError, match="closed"):
            program.once()
    assert "a store was closed in the middle of a call" in said.whole
    assert state_of(1)[0] == "finished"
    assert len(events_in(1)) == 2


# ---- which recording is whose ------------------------------------------------------------------------------------------


def test_each_instance_has_a_recording_in_the_order_in_which_they_are_made() -> None:
    with attached() as attachment:
        module = Module(engine := Engine(), module_bytes(ONCE))
        stores = [Store(engine) for _ in range(3)]
        instances = [Linker(engine).instantiate(store, module) for store in stores]
        for count, (store, instance) in enumerate(zip(stores, instances, strict=True), start=1):
            for _ in range(count):
                once = instance.exports(store)["once"]
                assert isinstance(once, Func)
                once(store)
        assert [path.name for path in attachment.recordings] == [f"run-{number}.tinyheap" for number in (1, 2, 3)]
    assert [len(events_in(number)) for number in (1, 2, 3)] == [1, 2, 3]


def test_instances_of_one_store_are_told_apart() -> None:
    store = Store()
    with attached():
        first, second = made(ONCE, store=store), made(ONCE, store=store)
        first.once()
        second.once()
        second.once()
    assert [len(events_in(number)) for number in (1, 2)] == [1, 2]
    assert [len(calls_in(number)) for number in (1, 2)] == [1, 2]


def test_an_instance_that_another_one_calls_is_recorded() -> None:
    store = Store()
    calling = '(import "other" "once" (func $once (result i32))) (func (export "f") (result i32) call $once)'
    with attached():
        linker = Linker(store.engine)
        module = Module(store.engine, module_bytes(ONCE))
        linker.define_instance(store, "other", linker.instantiate(store, module))
        instance = linker.instantiate(store, Module(store.engine, module_bytes(calling)))
        assert Bound(store, instance.exports(store)).f() == 7
    assert events_in(1) == [(24, 1024)]
    with Recording.open("run-1.tinyheap") as recording:
        assert recording.run.duration_ns > 0


@pytest.mark.slow
def test_threads_have_stores_of_their_own() -> None:
    native, results = mutated(3), []
    with attached():
        threads = [threading.Thread(target=lambda: results.append(mutated(3))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [native] * 4
    counts = [len(events_in(number)) for number in (1, 2, 3, 4)]
    assert counts == [counts[0]] * 4
    assert counts[0] > 1000


def test_so_many_instances_are_recorded_as_are_asked_for() -> None:
    said = Said()
    with attached(said, instances=2) as attachment:
        for _ in range(4):
            assert made(ONCE).once() == 7
        assert len(attachment.recordings) == 2
    assert len(said) == 1
    assert "2 instances are recorded already; it runs as it is, and is not recorded" in said[0]


def test_recordings_are_replaced_on_request_only() -> None:
    with attached():
        made(ONCE).once()
    with pytest.raises(RecordingWriteError, match=r"run-1.tinyheap: is there already"):
        attached()
    Path("run-1.tinyheap").rename("run-5.tinyheap")
    with pytest.raises(RecordingWriteError, match=r"run-5.tinyheap: is there already"):
        attached()
    with attached(overwrite=True):
        made(ONCE).once()
    assert len(events_in(1)) == 1


def test_one_can_attach_again() -> None:
    store = Store()
    with attached():
        first = made(ONCE, store=store)
        first.once()
    first.once()
    with attached(overwrite=True):
        first.once()
        second = made(ONCE, store=store)
        second.once()
    assert len(events_in(1)) == 1


def test_a_program_that_goes_on_afterwards_is_served_as_before() -> None:
    native = mutated(6)
    with attached():
        program = mutating()
        results = [program.mutate(seed, 800) for seed in range(3)]
    results += [program.mutate(seed, 800) for seed in range(3, 6)]
    assert (results, program.memory_content) == native
    assert len(calls_in(1)) == 1 + 3


# ---- what is not recorded ----------------------------------------------------------------------------------------------


def _deserialized(engine: Engine) -> Module:
    return Module.deserialize(engine, Module(engine, module_bytes(ONCE)).serialize())


def _deserialized_file(engine: Engine) -> Module:
    Path("once.compiled").write_bytes(Module(engine, module_bytes(ONCE)).serialize())
    return Module.deserialize_file(engine, "once.compiled")


@pytest.mark.parametrize("load", [_deserialized, _deserialized_file])
def test_a_serialized_module_runs_as_it_is_with_a_word(load: Callable[[Engine], Module]) -> None:
    said, engine = Said(), Engine()
    with attached(said) as attachment:
        module = load(engine)
        for _ in range(2):
            store = Store(engine)
            assert Bound(store, Linker(engine).instantiate(store, module).exports(store)).once() == 7
    assert attachment.recordings == ()
    assert said == [
        "a module was deserialized, or compiled before tinyheap was attached; it runs as it is, and is not recorded"
    ]


def test_a_module_with_nothing_to_record_runs_as_it_is_with_a_word() -> None:
    said = Said()
    with attached(said):
        for _ in range(3):
            assert made(NOTHING).f() == 5
    assert len(said) == 1
    assert "there is nothing to record" in said[0]
    assert "a module of " in said[0]
    assert said[0].endswith("it runs as it is, and is not recorded")


def test_what_python_names_is_named() -> None:
    Path("nothing.wasm").write_bytes(module_bytes(NOTHING))
    said, store = Said(), Store()
    with attached(said):
        module = Module.from_file(store.engine, Path("nothing.wasm"))
        Instance(store, module, [])
    assert said[0].startswith("nothing.wasm: ")


def test_other_ways_to_instantiate_are_said() -> None:
    said, store = Said(), Store()
    with attached(said):
        linker, module = Linker(store.engine), Module(store.engine, module_bytes(ONCE))
        linker.define_module(store, "named", module)
        assert isinstance(linker.get(store, "named", "once"), Func)
        wasmtime.component.Component(store.engine, "(component)")
    assert "is instantiated by Linker.define_module; it runs as it is, and is not recorded" in said[0]
    assert said[1] == "a module is a component; it runs as it is, and is not recorded"
    assert len(said) == 2
    assert not list(Path().glob("run-*"))


def test_what_is_linked_in_advance_is_recorded_in_each_store() -> None:
    said, engine = Said(), Engine()
    with attached(said):
        linker, module = Linker(engine), Module(engine, module_bytes(HOSTED))
        linker.define_func("env", "ask", asked(), lambda number: number + 1)
        linked = linker.instantiate_pre(module)
        assert isinstance(linked, wasmtime.InstancePre)
        for number in (4, 5):
            store = Store(engine)
            program = Bound(store, linked.instantiate(store).exports(store))
            assert program.ask(number) == number + 1
            assert sorted(program.exports) == ["ask", "memory", "once"]
    assert said == []
    assert calls_in(1) == calls_in(2) == [("ask", 1, True)]
    assert events_in(1) == events_in(2) == [(24, 1024)]


def test_each_recording_keeps_the_last_part_that_is_asked_for() -> None:
    with attached(last=Last(batches=3)):
        assert made(ONCE).once() == 7
    with Recording.open("run-1.tinyheap") as recording:
        assert recording.sql("SELECT last_batches, first_event_id FROM kept").fetch() == [(3, 1)]
        assert recording.run.last_part is None


def test_what_cannot_be_linked_is_the_programs_own_error() -> None:
    def error() -> str:
        engine = Engine()
        with pytest.raises(wasmtime.WasmtimeError) as caught:
            Linker(engine).instantiate_pre(Module(engine, module_bytes(HOSTED)))
        return str(caught.value)

    native = error()
    with attached():
        assert error() == native


@pytest.mark.parametrize("case", ["before", "shadowed", "closed"])
def test_what_was_linked_with_other_items_runs_as_it_is_with_a_word(case: str) -> None:
    said, engine = Said(), Engine()
    linker, module = Linker(engine), Module(engine, module_bytes(HOSTED))
    linker.define_func("env", "ask", asked(), lambda number: number + 1)
    linked = linker.instantiate_pre(module)
    with attached(said):
        store = Store(engine)
        if case != "before":
            module = Module(engine, module_bytes(HOSTED))
            linked = linker.instantiate_pre(module)
        if case == "shadowed":
            linker.allow_shadowing = True
            linker.define_func("env", "ask", asked(), lambda number: number + 2)
        if case == "closed":
            linker.close()
        assert Bound(store, linked.instantiate(store).exports(store)).ask(4) == 5
    [word] = said
    assert word.endswith("it runs as it is, and is not recorded")
    expected = {"before": "before tinyheap was attached", "shadowed": "lets names be shadowed", "closed": "was closed"}
    assert expected[case] in word
    assert not list(Path().glob("run-*"))


def test_a_module_that_a_host_function_instantiates_runs_as_it_is() -> None:
    said = Said()
    with attached(said):
        store = Store()
        inner = Module(store.engine, module_bytes(ONCE))
        linker = Linker(store.engine)

        def make(caller: wasmtime.Caller) -> None:
            linker.instantiate(caller, inner)

        function = Func(store, FuncType([], []), make, access_caller=True)
        function(store)
    assert "is instantiated by a host function" in said.whole


def test_a_module_that_is_refused_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    identify = identify_module.identify

    def look(module: object) -> object:
        looked.append(module)
        return identify(module)  # type: ignore[arg-type]

    monkeypatch.setattr(identify_module, "identify", look)
    with attached():
        engine = Engine()
        module = Module(engine, module_bytes(NOTHING))
        for _ in range(5):
            store = Store(engine)
            assert Bound(store, Linker(engine).instantiate(store, module).exports(store)).f() == 5
    assert len(looked) == 1


def test_a_host_function_makes_an_instance_in_the_same_store() -> None:
    def ask(number: int) -> int:
        inner.append(made(ONCE, store=program.store))
        time.sleep(0.05)
        return int(inner[-1].once()) + number

    inner: list[Bound] = []
    with attached():
        program = made(HOSTED, {"ask": ask})
        assert program.ask(1) == 8
        inner[0].once()
    with Recording.open("run-2.tinyheap") as recording:
        begun, later = recording.sql("SELECT time_ns FROM events ORDER BY id").fetch()
        assert begun[0] < later[0] <= recording.run.duration_ns
    assert calls_in(2) == [("once", 1, True), ("once", 1, True)]


def _with(**settings: object) -> Engine:
    config = wasmtime.Config()
    for name, value in settings.items():
        setattr(config, name, value)
    return Engine(config)


def test_engines_are_as_the_program_configures_them() -> None:
    settings: list[dict[str, object]] = [{}, {"consume_fuel": True}, {"epoch_interruption": True}, {}]
    with attach("run.tinyheap", cache=Cache(Path("cache"))):
        for setting in settings:
            store = Store(_with(**setting))
            if "consume_fuel" in setting:
                store.set_fuel(10_000)
            if "epoch_interruption" in setting:
                store.set_epoch_deadline(1)
            assert made(ONCE, store=store).once() == 7
        store = Store(_with(consume_fuel=True))
        store.set_fuel(1)
        with pytest.raises(Trap) as caught:
            made(ONCE, store=store).once()
        assert caught.value.trap_code is TrapCode.OUT_OF_FUEL
    assert [len(events_in(number)) for number in (1, 2, 3, 4, 5)] == [1, 1, 1, 1, 0]
    assert state_of(5) == ("failed", "the program trapped (out of fuel)", None)


@pytest.mark.parametrize("limit", [{"memories": 1}, {"memory_size": 128 * KIB}], ids=repr)
def test_a_store_without_room_for_call_stacks_gets_the_programs_own_module(limit: dict[str, int]) -> None:
    said, store = Said(), Store()
    store.set_limits(**limit)
    with attached(said):
        assert made(ONCE, store=store).once() == 7
    assert "a changed module cannot be instantiated" in said.whole


def test_a_policy_that_a_module_cannot_be_run_by_leaves_it_as_it_is() -> None:
    said = Said()
    with attached(said, policy=Policy(gc_every=100)):
        assert made(ONCE).once() == 7
        mutated(2)
    assert len(said) == 1
    with Recording.open("run-1.tinyheap") as recording:
        assert recording.sql("SELECT count(*) FROM collections WHERE reason = 'requested'").one()[0] > 10


def test_the_line_is_on_standard_error_unless_somebody_takes_it(capfd: pytest.CaptureFixture[str]) -> None:
    with attach("run.tinyheap"):
        made(NOTHING)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tinyheap: a module of ")
    assert err.count("\n") == 1


# ---- attaching ---------------------------------------------------------------------------------------------------------


def test_a_process_has_one_attachment() -> None:
    with attached():
        with pytest.raises(AttachmentError, match="attached to this process already; detach it first"):
            attach("other.tinyheap")
        made(ONCE).once()
    assert len(events_in(1)) == 1
    assert not list(Path().glob("other*"))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recordings": 5}, AttachmentError),
        ({"instances": 0}, AttachmentError),
        ({"instances": "many"}, AttachmentError),
        ({"policy": "fast"}, Exception),
        ({"gc": "boehm"}, Exception),
        ({"gc": "native", "policy": Policy(verify=True)}, UnsupportedGuestError),
        ({"gc": "leaking", "policy": Policy(gc_every=5)}, PolicyError),
        ({"recordings": "nowhere/run.tinyheap"}, RecordingWriteError),
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused_and_nothing_is_attached(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        attach(**{"recordings": "run.tinyheap", **options})
    assert attachment_module._Process.attachment is None


def test_tinyheaps_own_programs_are_none_of_the_programs() -> None:
    said = Said()
    with attached(said) as attachment:
        with Program.open(module_bytes(ONCE), recording="own.tinyheap", cache=Cache(None)) as program:
            assert program.call("once") == 7
        with Program.open(mutator(), policy=Policy(guard=True), cache=Cache(None)) as program:
            program.start()
            program.call("mutate", 1, 100)
        assert attachment.recordings == ()
    assert said == []
    with Recording.open("own.tinyheap") as recording:
        assert recording.sql("SELECT count(*) FROM events").one() == (1,)


def test_a_host_function_detaches() -> None:
    def ask(number: int) -> int:
        attachment.detach()
        assert state_is_running()
        return number

    def state_is_running() -> bool:
        program.once()
        return True

    with attached() as attachment:
        program = made(HOSTED, {"ask": ask})
        assert program.ask(3) == 3
        program.once()
    assert state_of(1)[0] == "finished"
    assert len(events_in(1)) == 2


def test_another_threads_call_is_recorded_to_its_end() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def ask(number: int) -> int:
        inside.set()
        go_on.wait(30)
        return number

    with attached():
        program = made(HOSTED, {"ask": ask})
        thread = threading.Thread(target=program.ask, args=(1,))
        thread.start()
        inside.wait(30)
    go_on.set()
    thread.join()
    assert state_of(1)[0] == "finished"
    assert calls_in(1) == [("ask", 1, True)]


def test_a_recording_that_cannot_go_on_leaves_the_program_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said, native = Said(), mutated(6)

    def refuse(*_: object, **__: object) -> None:
        raise RecordingWriteError("run-1.tinyheap: no space left")

    with attached(said):
        program = mutating()
        program.mutate(0, 800)
        monkeypatch.setattr("tinyheap.recordings.writer.RecordingWriter.append", refuse)
        time.sleep(0.6)
        results = [program.mutate(seed, 800) for seed in range(1, 6)]
    assert results == native[0][1:]
    assert any("no space left; the program goes on without" in each for each in said)


# ---- processes that end somehow ----------------------------------------------------------------------------------------

PROGRAM = f"""
import os, sys, time
import tinyheap
from wasmtime import Engine, Linker, Module, Store
WASM = {module_bytes(ONCE)!r}
attachment = tinyheap.attach("run.tinyheap")
engine = Engine()
module = Module(engine, WASM)
def made():
    store = Store(engine)
    once = Linker(engine).instantiate(store, module).exports(store)["once"]
    return lambda: once(store)
once = made()
once()
"""


def ended(rest: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + rest], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_a_process_that_forgets_to_detach_leaves_whole_recordings() -> None:
    result = ended("import atexit; atexit.register(once)\nsys.exit(3)")
    assert (result.returncode, result.stderr) == (3, "")
    assert state_of(1) == ("finished", None, None)
    assert len(events_in(1)) == 2


@pytest.mark.slow
def test_a_process_that_exits_at_once_leaves_a_sound_beginning() -> None:
    result = ended("time.sleep(0.6)\nonce(); time.sleep(0.6)\nos._exit(4)")
    assert (result.returncode, result.stderr) == (4, "")
    assert state_of(1)[0] == "running"
    assert len(events_in(1)) in {1, 2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)", "os.abort()"])
@pytest.mark.slow
def test_a_forked_process_leaves_the_recording_to_its_parent(ending: str) -> None:
    result = ended(f"""
child = os.fork()
if not child:
    for _ in range(20_000): once()
    assert made()() == 7
    {ending}
os.waitpid(child, 0)
for _ in range(10): once()
""")
    assert result.returncode == 0
    assert "was forked from the one that is recorded; it runs as it is, and is not recorded" in result.stderr
    assert result.stderr.count("\n") == 1
    assert state_of(1) == ("finished", None, None)
    assert len(events_in(1)) == 11
    assert not Path("run-2.tinyheap").exists()


@pytest.mark.slow
def test_a_killed_process_leaves_a_sound_beginning() -> None:
    with subprocess.Popen([sys.executable, "-c", f"{PROGRAM}\nwhile True: once()"], stderr=subprocess.PIPE) as process:
        path = Path("run-1.tinyheap")
        for _ in range(600):
            if path.exists():
                break
            time.sleep(0.1)
        time.sleep(1.5)
        process.kill()
    assert state_of(1)[0] == "running"
    with Recording.open(path) as recording:
        query = "SELECT (SELECT count(*) FROM events), (SELECT sum(events) FROM batches)"
        count, written = recording.sql(query).one()
    assert count == written > 0


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="this system has no list of open files there")
@pytest.mark.slow
def test_files_are_closed_with_their_stores() -> None:
    with attached():
        made(ONCE).once()
        assert_finished(1)
        before = len([*OPEN_FILES.iterdir()])
        for _ in range(5):
            made(ONCE).once()
        for number in range(1, 7):
            assert_finished(number)
        assert len([*OPEN_FILES.iterdir()]) <= before
