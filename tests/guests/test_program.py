"""A program and its heap from Python, on real modules; and the cache of prepared modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime
from platformdirs.api import PlatformDirsABC
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

import guests_modules
from guests import pairs
from guests.collectors import Build, compiled
from hosts.programs import command, module_bytes, say
from tinyheap.errors import (
    GuestError,
    GuestInterruptError,
    GuestOutOfMemoryError,
    GuestPhaseError,
    HeapCorruptError,
    HeapError,
    HostError,
    MalformedModuleError,
    OutOfMemoryError,
    UnsupportedGuestError,
)
from tinyheap.formatters import ShSyntaxFormatter
from tinyheap.guests import preparing
from tinyheap.guests.cache import Cache
from tinyheap.guests.policy import Policy
from tinyheap.guests.preparing import Form, Prepared, prepare, read_module
from tinyheap.guests.program import Program
from tinyheap.guests.rehearse import rehearsal
from tinyheap.guests.rehearse.guest_alone import RehearsalError
from tinyheap.guests.serve.residue import encode_residues
from tinyheap.heap.stats import Collection
from tinyheap.hosts import Grants
from tinyheap.recognize.facts import BestFitHeap, Guest
from tinyheap.recognize.facts_json import decode_guest, encode_guest
from tinyheap.recognize.identify import identify
from tinyheap.units import MIB
from tinyheap.wasm import Module
from wasm.samples import component

GO = "package a\nfunc f( ){}\n" + "".join(f"func f{number}( x int) {{ g( x,{number} ) }}\n" for number in range(300))
SERVED = ("sh-syntax-0.3.7", "sh-syntax-0.4.0", "sh-syntax-0.4.2", "gofmt-0.4.9", "sh-syntax-0.5.8")
UNSERVED = ("gofmt-0.6.1", "gofmt-0.7.3", "shfmt-0.2.7")
WIDE = command("(call $proc_exit (i32.const 3))")


def gofmt(policy: Policy | None = None, gc: str = "default") -> Program:
    return Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), policy, gc=gc)


# ---- the program ------------------------------------------------------------------------------------------------------


def test_a_heap_is_looked_at_between_calls() -> None:
    seen: list[Collection] = []
    with Program.open(guests_modules.path("gofmt-0.4.9"), Grants(seed=1), listener=seen.append) as program:
        heap = program.heap
        assert heap is not None
        assert heap.stats().mallocs == heap.census().heads == 0
        assert list(heap.objects()) == []
        program.start()
        before = heap.stats()
        text = program.driver().format(GO)
        after = heap.stats()
        assert "func f299(x int) { g(x, 299) }\n" in text
        assert after.mallocs > before.mallocs + 1000
        assert heap.collections
        assert heap.collections == tuple(seen)
        objects = list(heap.objects())
        assert len(objects) == heap.census().heads == after.mallocs - after.frees
        assert sum(each.size_bytes for each in objects) == after.heap_inuse
        assert str(heap.dump()).count("*") == len(objects)
        heap.verify()


def test_a_precise_heap_knows_layouts() -> None:
    with Program.open(guests_modules.path("sh-syntax-0.5.8"), Grants(seed=1)) as program:
        program.start()
        program.driver().format("a;b\n")
        assert program.heap is not None
        layouts = [each.layout for each in program.heap.objects()]
        assert all(layout is not None for layout in layouts)
        assert len(set(layouts)) > 10


def test_what_is_not_served_runs_as_it_is_and_says_why() -> None:
    with Program.open(guests_modules.path("gofmt-0.7.3"), Grants(seed=1)) as program:
        program.start()
        assert program.heap is None
        assert program.guest is not None
        assert "never frees memory" in program.guest.served
        assert program.driver().format("package  a\n") == "package a\n"


@pytest.mark.parametrize("name", UNSERVED)
def test_what_is_not_served_refuses_a_policy(name: str) -> None:
    with pytest.raises(UnsupportedGuestError, match=r"runs (as it is|with its own collector)"):
        Program.open(guests_modules.path(name), policy=Policy(gc_every=1))


@pytest.mark.slow
def test_a_leaking_build_may_be_asked_to_leak() -> None:
    with Program.open(guests_modules.path("gofmt-0.7.3"), gc="leaking") as program:
        assert program.heap is None
    with pytest.raises(UnsupportedGuestError):
        Program.open(guests_modules.path("micropython-1.27.0"), gc="leaking")


def test_native_runs_anything_and_looks_at_nothing() -> None:
    with gofmt(gc="native") as native, gofmt() as ours:
        native.start()
        ours.start()
        assert (native.heap, native.guest) == (None, None)
        assert native.driver().format(GO) == ours.driver().format(GO)
    with pytest.raises(UnsupportedGuestError):
        gofmt(Policy(verify=True), gc="native")
    with pytest.raises(GuestError, match="invalid gc 'boehm': expected default, leaking or native"):
        gofmt(gc="boehm")


def test_leaking_never_collects_and_frees_nothing() -> None:
    with gofmt(gc="leaking") as leaking, gofmt() as usual:
        leaking.start()
        usual.start()
        assert leaking.driver().format(GO) == usual.driver().format(GO)
        assert leaking.heap is not None
        assert usual.heap is not None
        assert leaking.heap.collections == ()
        assert leaking.heap.stats().frees == 0
        assert leaking.heap.stats().mallocs == usual.heap.stats().mallocs


def test_a_limit_ends_the_program_and_its_heap_can_still_be_looked_at() -> None:
    with gofmt(Policy(heap_limit_bytes=MIB // 2)) as program:
        program.start()
        asked = r"asked for \d+ bytes \(by runtime\..*main\.Format.*limit of 524288"
        with pytest.raises(OutOfMemoryError, match=asked) as caught:
            program.driver().format(GO)
        assert isinstance(caught.value, GuestOutOfMemoryError)
        assert "main.Format" in caught.value.callers
        assert program.heap is not None
        assert program.heap.stats().sys <= MIB // 2
        program.heap.verify()


def test_a_closed_program_is_refused() -> None:
    program = gofmt()
    program.start()
    heap = program.heap
    assert heap is not None
    program.close()
    for look in (heap.stats, heap.census, heap.dump, heap.verify, lambda: heap.collections):
        with pytest.raises(HeapError, match="closed"):
            look()


def test_an_overrun_is_found() -> None:
    with Program.open(
        guests_modules.path("sh-syntax-0.5.8"), Grants(seed=1), Policy(verify=True, gc_every=50)
    ) as program:
        program.start()
        with pytest.raises(HeapCorruptError, match="layout word"):
            ShSyntaxFormatter(program.session, overrun=True).format("# Copyright\n" * 50 + "a\n")


def test_exports_are_called_with_numbers() -> None:
    wasm = module_bytes('(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))')
    with Program.open(wasm) as program:
        assert program.call("add", 2, 3) == 5
        with pytest.raises(GuestError, match="no driver is known"):
            program.driver()


def test_an_interrupted_program_ends_and_stays_ended() -> None:
    wasm = module_bytes('(func (export "spin") (loop (br 0)))')
    with Program.open(wasm, Grants(interruptible=True)) as program:
        import threading

        timer = threading.Timer(0.2, program.session.interrupt)
        timer.start()
        with pytest.raises(GuestInterruptError, match="interrupted in"):
            program.call("spin")
        with pytest.raises(GuestPhaseError, match=r"was interrupted in .*; open it again"):
            program.call("spin")
        timer.join()


def test_what_is_no_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for gc in ("default", "native"):
        for data in (b"", b"(module)", WIDE[:-3]):
            with pytest.raises((MalformedModuleError, GuestError)):
                Program.open(data, gc=gc)
    with pytest.raises(GuestError, match="No such file"):
        Program.open(tmp_path / "none.wasm")
    monkeypatch.setattr(preparing, "MODULE_LIMIT_BYTES", MIB)
    sparse = tmp_path / "sparse.wasm"
    with sparse.open("wb") as file:
        file.truncate(MIB + 1)
    with pytest.raises(GuestError, match="larger than"):
        read_module(sparse)


def test_imports_that_nobody_offers_are_named_with_what_the_module_is() -> None:
    with pytest.raises(HostError, match=r"env\.invoke_ii(.|\n)*MicroPython"):
        Program.open(guests_modules.path("micropython-1.27.0"))


SOURCE = "best_fit_collector.c"
STAND_IN = Build("2", link_time=False, precise=True, tasks=False, explicit=True, back=True)


@pytest.mark.parametrize("form", Form)
def test_a_component_is_named_with_its_core_module(form: Form) -> None:
    wasm = component((1, module_bytes("")), (1, compiled(STAND_IN, SOURCE)))
    with pytest.raises(
        UnsupportedGuestError, match=r"^this file is a WebAssembly component, .* of its 2 .* is served if"
    ):
        prepare(wasm, form, wasmtime.Engine(), "", Cache(None))


def test_a_component_without_modules_is_malformed() -> None:
    with pytest.raises(MalformedModuleError, match="holds no core modules"):
        prepare(component(), Form.SERVED, wasmtime.Engine(), "", Cache(None))


# ---- facts and cache --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SERVED, *UNSERVED])
def test_facts_come_back_exactly(name: str) -> None:
    guest = identify(Module.parse(guests_modules.read(name)))
    assert decode_guest(encode_guest(guest)) == guest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"runtime": 3}', b'{"nobody": 1}', b"\xff"])
def test_facts_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a guest's facts"):
        decode_guest(data)


def opened(cache: Cache, wasm: bytes = WIDE, grants: Grants | None = None) -> bool:
    """Whether a program that works was prepared before."""
    with Program.open(wasm, grants, cache=cache) as program:
        assert program.run() == 3
        return program.was_cached


def test_what_was_prepared_is_prepared_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "cache")
    assert [opened(cache), opened(cache)] == [False, True]
    # Programs that can be stopped are other machine code, and so are other programs.
    assert [opened(cache, grants=Grants(timeout_s=9)) for _ in "12"] == [False, True]
    assert not opened(cache, command("(call $proc_exit (i32.const 3)) (nop)"))
    assert not (cache.folder or tmp_path).stat().st_mode & 0o077
    assert all(not entry.stat().st_mode & 0o077 for entry in (cache.folder or tmp_path).iterdir())


def test_each_form_is_kept_apart(tmp_path: Path) -> None:
    cache, engine = Cache(tmp_path), wasmtime.Engine()
    wasm = compiled(Build("2", link_time=False, precise=True, tasks=False, explicit=True), "faults.c")
    forms = [prepare(wasm, form, engine, "", cache) for form in Form]
    again = [prepare(wasm, form, engine, "", cache) for form in Form]
    assert [each.was_cached for each in forms + again] == [False] * len(Form) + [True] * len(Form)
    assert [each.guest for each in forms] == [each.guest for each in again]
    imports = [{(item.module, item.name) for item in each.compiled.imports} for each in again]
    assert ("tinyheap", "0") not in imports[0]
    assert ("tinyheap", "0") in imports[1] & imports[2]


REHEARSING = [form for form in Form if not form.keeps_collector]


@pytest.fixture
def rehearsals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the modules that rehearsed, all of them the stand-in, whose one rehearsal they are given."""
    sizes, rehearsed = [], pairs.rehearsed(compiled(STAND_IN, SOURCE))

    def counted(module: Module, _: BestFitHeap) -> rehearsal.Rehearsed:
        sizes.append(len(module.data))
        return rehearsed

    monkeypatch.setattr(rehearsal, "rehearse", counted)
    return sizes


def learned(prepared: Prepared) -> tuple[Guest | None, bytes]:
    assert prepared.residues is not None
    return prepared.guest, encode_residues(prepared.residues)


def test_a_module_rehearses_once_for_all_forms_and_engines(tmp_path: Path, rehearsals: list[int]) -> None:
    wasm = compiled(STAND_IN, SOURCE)
    for options in ("", "other"):
        found = {form: prepare(wasm, form, wasmtime.Engine(), options, Cache(tmp_path)) for form in REHEARSING}
        assert not any(each.was_cached for each in found.values())
    assert rehearsals == [len(wasm)]
    # Each form by itself comes to the same.
    for form in (Form.SERVED, Form.GUARDED_AND_RECORDED):
        alone = prepare(wasm, form, wasmtime.Engine(), "", Cache(None))
        assert learned(alone) == learned(found[form])
    assert len(rehearsals) == 3


def test_another_module_rehearses_by_itself(tmp_path: Path, rehearsals: list[int]) -> None:
    wasm = compiled(STAND_IN, SOURCE)
    more = wasm + b"\0\2\1x"  # a custom section
    for each in (wasm, more):
        prepare(each, Form.SERVED, wasmtime.Engine(), "", Cache(tmp_path))
    assert rehearsals == [len(wasm), len(more)]


def test_that_a_rehearsal_failed_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refused(module: Module, facts: BestFitHeap) -> rehearsal.Rehearsed:
        asked.append(facts)
        raise RehearsalError("it is not what it was taken for")

    monkeypatch.setattr(rehearsal, "rehearse", refused)
    wasm = compiled(STAND_IN, SOURCE)
    forms = [prepare(wasm, form, wasmtime.Engine(), "", Cache(tmp_path)) for form in REHEARSING]
    assert len(asked) == 1
    for form in forms:
        assert form.served is None
        assert form.guest is not None
        assert "it is not what it was taken for" in form.guest.served


@pytest.mark.parametrize("content", [b"", b"\1", b"\0" * 8, b"\2\0\0\0{}\0\0\0\0", b"\xff" * 64])
@pytest.mark.share(1)
def test_an_entry_that_holds_no_rehearsal_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehearsals: list[int], content: bytes
) -> None:
    """Such as another program's, with a right hash."""
    cache, wasm, store = Cache(tmp_path), compiled(STAND_IN, SOURCE), Cache.store
    with monkeypatch.context() as patched:
        patched.setattr(Cache, "store", lambda cache, key, _: store(cache, key, content))
        prepare(wasm, Form.SERVED, wasmtime.Engine(), "", cache)
    found = [prepare(wasm, form, wasmtime.Engine(), "", cache) for form in (Form.SERVED, Form.RECORDED)]
    assert [each.was_cached for each in found] == [False, False]
    assert all(each.residues is not None for each in found)
    assert len(rehearsals) == 2


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "others", "link", "folder"])
def test_an_entry_that_cannot_be_trusted_is_made_anew(tmp_path: Path, harm: str) -> None:
    cache = Cache(tmp_path / "cache")
    assert not opened(cache)
    assert cache.folder is not None
    (entry,) = cache.folder.iterdir()
    data = entry.read_bytes()
    match harm:
        case "cut":
            entry.write_bytes(data[:-1])
        case "flipped":
            entry.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "empty":
            entry.write_bytes(b"")
        case "others":
            entry.chmod(0o666)
        case "link":
            entry.rename(tmp_path / "elsewhere")
            entry.symlink_to(tmp_path / "elsewhere")
        case "folder":
            entry.unlink()
            entry.mkdir()
    assert not opened(cache)
    assert opened(cache) is (harm != "folder")


def test_machine_code_of_another_engine_is_made_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    config = wasmtime.Config()
    config.epoch_interruption = True
    prepare(WIDE, Form.SERVED, wasmtime.Engine(config), "", cache)
    assert not opened(cache)
    assert opened(cache)


def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert [opened(cache), opened(cache)] == [False, True]
    assert cache.folder is not None
    cache.folder.chmod(0o777)
    assert not opened(cache)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "cache", Path("/proc/none")):
        assert [opened(Cache(folder)), opened(Cache(folder))] == [False, False]


def test_what_was_not_used_for_longest_is_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=3000)
    for number in range(3):
        cache.store(bytes([number]), bytes(900))
        (tmp_path / cache_name(cache, number)).touch()
        os.utime(tmp_path / cache_name(cache, number), (number, number))
    assert cache.load(b"\0") == bytes(900)
    cache.store(b"\3", bytes(900))
    assert [cache.load(bytes([number])) is None for number in range(4)] == [False, True, False, False]
    cache.store(b"\4", bytes(3000))
    assert cache.load(b"\4") is None


def cache_name(cache: Cache, number: int) -> Path:
    path = cache._path(bytes([number]))
    assert path is not None
    return path


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def folder(**variables: str) -> Path | None:
        for name in ("TINYHEAP_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Cache.of_user().folder

    assert folder() == tmp_path / ".cache" / "tinyheap"
    assert folder(XDG_CACHE_HOME="relative") == tmp_path / ".cache" / "tinyheap"
    assert folder(XDG_CACHE_HOME="/x") == Path("/x/tinyheap")
    assert folder(XDG_CACHE_HOME="/x", TINYHEAP_CACHE="/y") == Path("/y")
    assert folder(TINYHEAP_CACHE="off") is None


@pytest.mark.parametrize(
    ("system", "place"),
    [(Unix, ".cache/tinyheap"), (MacOS, "Library/Caches/tinyheap"), (Windows, "AppData/Local/tinyheap/Cache")],
)
def test_each_system_has_its_place_for_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: type[PlatformDirsABC], place: str
) -> None:
    for name in ("TINYHEAP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _name: str(tmp_path / "AppData/Local"))
    monkeypatch.setattr("platformdirs.PlatformDirs", system)
    assert Cache.of_user().folder == tmp_path / place


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_arguments: object, **_options: object) -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("TINYHEAP_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    assert Cache.of_user().folder is None


def test_a_system_without_owners_trusts_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Where there is no mode to look at either, it says that all may write.
    monkeypatch.setattr("tinyheap.guests.cache._HAS_OWNERS", False)
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.delattr(os, "O_NOFOLLOW")
    monkeypatch.setattr(os, "supports_fd", set())
    cache = Cache(tmp_path / "cache")
    tmp_path.joinpath("cache").mkdir()
    tmp_path.joinpath("cache").chmod(0o777)
    cache.store(b"key", b"content")
    assert cache.load(b"key") == b"content"


def test_a_module_that_only_wasmtime_can_read_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_data: bytes) -> Module:
        raise MalformedModuleError("a feature of the day after tomorrow")

    monkeypatch.setattr(Module, "parse", refuse)
    wasm = command(say(64, "(i32.const 2)") + "(call $proc_exit (i32.const 3))", head='(data (i32.const 64) "hi")')
    with Program.open(wasm, cache=Cache(tmp_path)) as program:
        assert program.guest is not None
        assert "the day after tomorrow" in program.guest.served
        assert program.run() == 3


def test_the_cache_knows_all_code_that_prepares() -> None:
    """What it does not know could change, and the cache would still hold what the old code made."""
    prepares = ("recognize.identify", "recognize.facts_json", "recognize.locate.resizing", "wasm")
    rewrites = ("guests.rewrite.rewriting", "guests.rewrite.instrumenting")
    imports = "; ".join(f"import tinyheap.{name}" for name in (*prepares, *rewrites))
    files = "[each.__file__ for name, each in sys.modules.items() if name.startswith('tinyheap')]"
    code = f"import sys; {imports}; print(*{files}, sep=chr(10))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    folders = {folder.resolve() for folder in preparing._CODE_THAT_PREPARES}
    assert {Path(file).resolve().parent for file in loaded if file} <= folders
