"""Preparing a module to be run: what it is, its collector taken out where that can be, compiled; or all of it cached.

What is prepared depends on the module's bytes, on how its engine was configured, on wasmtime and on the code that
prepares; the key under which it is cached holds all of them.  What a rehearsal learned depends on the module alone, and is
cached by itself: a module that is prepared in another form, for another engine, does not rehearse again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import wasmtime

import tinyheap
from tinyheap.errors import GuestError, MalformedModuleError, SymbolsError, UnsupportedGuestError
from tinyheap.guests.cache import Cache
from tinyheap.guests.serve.residue import Residues, decode_residues, encode_residues
from tinyheap.hosts import compile_module
from tinyheap.hosts.session import OWN_MODULES
from tinyheap.recognize.facts import BestFitHeap, Guest, ServedHeap
from tinyheap.recognize.facts_json import decode_guest, encode_guest
from tinyheap.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.wasm import Module

FORMAT: Final = 6
"""Of what is cached; another number makes all of it be prepared anew."""
MODULE_LIMIT_BYTES: Final = 512 * MIB
_OWN: Final = "runs with its own collector, TinyGo's from 0.40 on, because it could not be replaced: {why}"
_SERVED: Final = "is served: a rehearsal has shown that its allocator is the one that it was taken for"
_MAGIC: Final = b"\0asm"
_CORE_MODULE: Final = b"\0asm\x01\0\0\0"
_LENGTH: Final = struct.Struct("<I")
_PACKAGES: Final = Path(__file__).parents[1]
_PACKAGES_THAT_PREPARE: Final = (
    ".",
    "recognize",
    "recognize/locate",
    "wasm",
    "symbols",
    "recordings",
    "heap",
    "heap/bestfit",
    "guests",
    "guests/rehearse",
    "guests/rewrite",
    "guests/serve",
)
_CODE_THAT_PREPARES: Final = (
    *(_PACKAGES / package for package in _PACKAGES_THAT_PREPARE),
    Path(wasmtime.__file__).parent,
)


class Form(Enum):
    """What is made of a module."""

    NATIVE = "native"
    """As it is, whatever it is."""
    SERVED = "served"
    """With its collector taken out, where that can be."""
    GUARDED = "guarded"
    """The same with its ``realloc``, if it has one, for a heap with red zones, or another collector."""
    RECORDED = "recorded"
    """As SERVED, with what a recording needs; where its collector stays, its allocations tell of themselves."""
    GUARDED_AND_RECORDED = "guarded and recorded"
    INJECTED = "injected"
    """As RECORDED where the collector stays, though it could be taken out."""

    @property
    def is_recorded(self) -> bool:
        """Whether a run of it can be recorded."""
        return self in (Form.RECORDED, Form.GUARDED_AND_RECORDED, Form.INJECTED)

    @property
    def serves_realloc(self) -> bool:
        """Whether the module's ``realloc``, if it has one, is taken out, too."""
        return self in (Form.GUARDED, Form.GUARDED_AND_RECORDED)

    @property
    def keeps_collector(self) -> bool:
        """Whether the module keeps its own collector, whatever that is."""
        return self in (Form.NATIVE, Form.INJECTED)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A module that can be instantiated.

    Args:
        guest: What it is; None where it was not examined.
        compiled: Made for one engine; with its collector taken out if ``guest`` can be served.
        was_cached: Whether it was prepared before.
        sites: The call instructions that a recording names, encoded; empty where it cannot be recorded.
        residues: What the functions that were taken out leave on the stack, where that had to be learned.
    """

    guest: Guest | None
    compiled: wasmtime.Module
    was_cached: bool
    sites: bytes = b""
    residues: Residues | None = None
    keeps_collector: bool = False

    @property
    def served(self) -> ServedHeap | None:
        """The heap whose collector was taken out; None for none."""
        if self.guest is None or self.keeps_collector:
            return None
        return _served_heap(self.guest, self.residues)


def _served_heap(guest: Guest, residues: Residues | None) -> ServedHeap | None:
    """The heap of a guest, if the place of its collector can be taken."""
    if residues is not None:
        return guest.best_fit
    return guest.heap if guest.heap is not None and guest.heap.is_replaceable else None


def read_module(path: Path) -> bytes:
    """The bytes of a module's file.

    Raises:
        GuestError: It cannot be read, or is too large for any module.
    """
    try:
        with path.open("rb") as file:
            wasm = file.read(MODULE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        # A name with a zero character is a ValueError.
        raise GuestError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if len(wasm) > MODULE_LIMIT_BYTES:
        raise GuestError(f"{path}: larger than {MODULE_LIMIT_BYTES} bytes, the most that a module may take")
    return wasm


def prepare(
    wasm: bytes, form: Form, engine: wasmtime.Engine, options: str, cache: Cache, symbols: bytes | None = None
) -> Prepared:
    """A module made ready.

    Args:
        wasm: Its bytes.
        form: What to make of it.
        engine: What will run it.
        options: How the engine was configured, as far as that differs from program to program.
        cache: Where to look first.
        symbols: The bytes of a module with debug information of the same code; None where the module's own is to be read.

    Raises:
        GuestError: wasmtime does not accept it.
        SymbolsError: ``symbols`` is not such a module.
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: It is a component; the error says what its core module is.
    """
    if not wasm.startswith(_CORE_MODULE):
        _refuse_component(wasm)
    key = _key(form.value, options, wasm, symbols)
    content = cache.load(key)
    cached = None if content is None else _decode(content, engine)
    if cached is not None:
        return cached
    if form is Form.NATIVE:
        if symbols is not None:
            from tinyheap.wasm import Module

            _symbols(symbols, Module.parse(wasm))
        prepared = Prepared(None, _compile_as_it_is(wasm, engine), False, keeps_collector=True)
    else:
        prepared = _prepare_served(wasm, form, engine, symbols, cache)
    cache.store(key, _encode(prepared))
    return prepared


def _refuse_component(wasm: bytes) -> None:
    # Modules that are prepared already start sooner without these.
    from tinyheap.recognize.identify import identify_file
    from tinyheap.wasm.component import is_component

    if is_component(wasm):
        raise UnsupportedGuestError(f"this file {identify_file(wasm).summary}")


def _compile_as_it_is(wasm: bytes, engine: wasmtime.Engine) -> wasmtime.Module:
    if not wasm.startswith(_MAGIC):
        # wasmtime would take it for WebAssembly's text form.
        raise MalformedModuleError(
            f"this is not a WebAssembly module: it begins with {wasm[:4]!r} instead of {_MAGIC!r}"
        )
    return compile_module(engine, wasm)


def _prepare_served(wasm: bytes, form: Form, engine: wasmtime.Engine, symbols: bytes | None, cache: Cache) -> Prepared:
    # What is prepared already starts sooner without these.
    from tinyheap.guests.rewrite.rewriting import expose_stack, rewrite
    from tinyheap.recognize.identify import identify
    from tinyheap.wasm import Module

    try:
        module = Module.parse(wasm)
        guest = identify(module)
    except MalformedModuleError as error:
        if form.is_recorded:
            raise
        return _unreadable(wasm, engine, error)
    with_symbols = module if symbols is None else _symbols(symbols, module)
    residues = None
    if not form.keeps_collector and guest.best_fit is not None:
        guest, residues = _rehearsed_once(wasm, module, guest, guest.best_fit, cache)
    if form.serves_realloc:
        guest = _with_realloc(module, guest)
    served = None if form.keeps_collector else _served_heap(guest, residues)
    sites = b""
    if form.is_recorded:
        from tinyheap.guests.rewrite.instrumenting import instrument

        wasm, found = instrument(module, guest, served)
        found.take_places(module, with_symbols)
        sites = found.encode()
    elif served is not None:
        wasm = rewrite(module, served)
    elif guest.stack is not None:
        wasm = expose_stack(module, guest.stack)
    return Prepared(guest, compile_module(engine, wasm), False, sites, residues, form.keeps_collector)


def _with_realloc(module: Module, guest: Guest) -> Guest:
    """A guest whose ``realloc``, if it has one, is to be replaced, too."""
    from tinyheap.recognize.locate.resizing import with_realloc

    if guest.heap is not None:
        guest = replace(guest, heap=with_realloc(module, guest.heap))
    if guest.best_fit is not None:
        guest = replace(guest, best_fit=with_realloc(module, guest.best_fit))
    return guest


def _rehearsed_once(
    wasm: bytes, module: Module, guest: Guest, heap: BestFitHeap, cache: Cache
) -> tuple[Guest, Residues | None]:
    """The same as `_rehearsed`, found out once for a module, whatever is made of it."""
    key = _key("rehearsal", "", wasm, None)
    content = cache.load(key)
    learned = None if content is None else _decode_learned(content)
    if learned is not None:
        return learned
    guest, residues = _rehearsed(module, guest, heap)
    cache.store(key, _joined(*_encode_learned(guest, residues)))
    return guest, residues


def _rehearsed(module: Module, guest: Guest, heap: BestFitHeap) -> tuple[Guest, Residues | None]:
    """A guest with a best-fit heap, and what its allocator leaves; None where it keeps it, which the guest then says."""
    from tinyheap.guests.rehearse.guest_alone import RehearsalError
    from tinyheap.guests.rehearse.rehearsal import rehearse

    if not heap.is_replaceable:
        return replace(guest, served=_OWN.format(why="some of its functions would still change the heap")), None
    try:
        rehearsed = rehearse(module, heap)
    except RehearsalError as error:
        return replace(guest, served=_OWN.format(why=error)), None
    return replace(guest, best_fit=rehearsed.facts, served=_SERVED), rehearsed.residues


def _symbols(symbols: bytes, module: Module) -> Module:
    """A module that says what stands where in the code of another.

    Raises:
        SymbolsError: It does not.
    """
    from tinyheap.symbols.reading import check_same_code
    from tinyheap.wasm import Module

    try:
        found = Module.parse(symbols)
    except MalformedModuleError as error:
        raise SymbolsError(f"invalid symbols: expected a module with debug information: {error}") from error
    check_same_code(module, found)
    return found


def _unreadable(wasm: bytes, engine: wasmtime.Engine, problem: MalformedModuleError) -> Prepared:
    """A module that wasmtime knows better than we do: it runs, and nothing is known of its heap."""
    try:
        compiled = _compile_as_it_is(wasm, engine)
    except GuestError:
        raise problem from None
    served = f"runs as it is; it could not be read, so its collector is not known ({problem})"
    return Prepared(Guest("unknown", None, False, "unknown", "unknown", served), compiled, False)


# ---- the cache's entries ----------------------------------------------------------------------------------------------


def _key(what: str, options: str, wasm: bytes, symbols: bytes | None) -> bytes:
    code = hashlib.sha256("".join(_fingerprint()).encode()).hexdigest()
    versions = [FORMAT, tinyheap.__version__, code]
    contents = [None if each is None else hashlib.sha256(each).hexdigest() for each in (wasm, symbols)]
    return json.dumps([*versions, options, what, *contents]).encode()


def _fingerprint() -> Iterator[str]:
    """The files of the code that prepares, as they are now.

    A checkout changes without a new version, and wasmtime's version would cost more time to find out.
    """
    for folder in _CODE_THAT_PREPARES:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda item: item.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    yield f"{entry.name} {status.st_size} {status.st_mtime_ns}\n"


def _encode(prepared: Prepared) -> bytes:
    learned = _encode_learned(prepared.guest, prepared.residues)
    parts = (*learned, prepared.sites, b"1" if prepared.keeps_collector else b"")
    return _joined(*parts) + bytes(prepared.compiled.serialize())


def _decode(content: bytes, engine: wasmtime.Engine) -> Prepared | None:
    """What was encoded; None where this wasmtime, on this machine, does not want it."""
    try:
        facts, residues, sites, keeps_collector, compiled = _divided(content, 4)
        guest, left = _read_learned(facts, residues)
        module = wasmtime.Module.deserialize(engine, bytes(compiled))
    except (ValueError, wasmtime.WasmtimeError):
        return None
    OWN_MODULES.add(module)
    return Prepared(guest, module, True, bytes(sites), left, bool(keeps_collector))


def _encode_learned(guest: Guest | None, residues: Residues | None) -> tuple[bytes, bytes]:
    return b"" if guest is None else encode_guest(guest), b"" if residues is None else encode_residues(residues)


def _read_learned(facts: memoryview, residues: memoryview) -> tuple[Guest | None, Residues | None]:
    """What `_encode_learned` made two parts of.

    Raises:
        ValueError: it is something else.
    """
    return decode_guest(bytes(facts)) if facts else None, decode_residues(bytes(residues)) if residues else None


def _decode_learned(content: bytes) -> tuple[Guest, Residues | None] | None:
    """What a rehearsal learned; None where this is something else."""
    try:
        facts, residues, _ = _divided(content, 2)
        guest, left = _read_learned(facts, residues)
    except ValueError:
        return None
    return None if guest is None else (guest, left)


def _joined(*parts: bytes) -> bytes:
    return b"".join([_LENGTH.pack(len(part)) + part for part in parts])


def _divided(content: bytes, count: int) -> Iterator[memoryview]:
    """So many parts, the length of each before it, and the rest.

    Raises:
        ValueError: there are fewer.
    """
    rest = memoryview(content)
    for _ in range(count):
        if len(rest) < _LENGTH.size or len(rest) < (end := _LENGTH.size + _LENGTH.unpack_from(rest)[0]):
            raise ValueError(f"these are not {count} parts and a rest")
        yield rest[_LENGTH.size : end]
        rest = rest[end:]
    yield rest
