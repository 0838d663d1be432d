"""Writes a recorder into a module: an ordinary module comes out, which keeps a log of what happens on its heap.

    made = instrument(module)            made.wasm runs in every host
    import_log(log, made.wasm, ...)      what it has written becomes a recording (`importing`)

What becomes of a module, beside what a transplant makes of it (`tinyheap.transplanting`), whose collector tells of collections
and growths:

    collections            of best-fit, which stays, are noted when the recorder comes along next
    alloc                  notes each allocation, with the calls that led to it
    calls                  a shadow stack, as in a recorded run (`guests/rewrite/shadow_stack`)
    realloc, free          note what they are asked for, where they are exported
    exported functions     note when they are called and when they return
    memory                 is larger: behind what the program sees of it lie log and shadow stack (`kernel/log.c`)
    memory.size and .grow  are without these pages
    `tinyheap.take`        a new export: hands over what is in the log, which lies in the memory `tinyheap.log_memory`
    custom sections        `tinyheap.instrument`, `tinyheap.sites`: what an import needs to know of the module before

It takes two passes.  The first changes the module as it was, so that call instructions have their offsets there.  The second
goes over all instructions of memory that there are then, those of the collector too.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tinyheap import __version__
from tinyheap.errors import MalformedModuleError, PolicyError, UnsupportedGuestError
from tinyheap.guests.rewrite.instrumenting import growing_in, has_finalizers, noting_resize, resizers_of, targets_of
from tinyheap.guests.rewrite.shadow_stack import CallGraph, MovableStack, keep_shadow_stack
from tinyheap.instrumentation.log import LOG_MEMORY_EXPORT, TAKE_EXPORT
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Role
from tinyheap.recognize.identify import identify
from tinyheap.recognize.instrumented import SECTION, Instrumented, encode_instrumented, instrumented
from tinyheap.transplanting.ahead import RunningAhead
from tinyheap.transplanting.clock import find_clock
from tinyheap.transplanting.hooks import Hooks
from tinyheap.transplanting.merging import Merger
from tinyheap.transplanting.operation import (
    Replacement,
    bulk_parts,
    dropped_sections,
    has_bulk_memory,
    name_processor,
    prefix_in,
    replaceable_heap,
)
from tinyheap.transplanting.operation import (
    kernel as collector,
)
from tinyheap.transplanting.options import Options
from tinyheap.transplanting.parts import signed
from tinyheap.units import MIB, WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module
from tinyheap.wasm.entities import FunctionType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tinyheap.guests.rewrite.sites import Sites
    from tinyheap.transplanting.clock import Clock

SITES_SECTION: Final = "tinyheap.sites"
"""The call instructions that the log names by number, as `Sites.encode` writes them."""
DEFAULT_LOG_BYTES: Final = 32 * MIB
MOST_LOG_BYTES: Final = 1024 * MIB
_STATE_BYTES: Final = 128
_SHADOW_BYTES: Final = MIB
"""As `kernel/log.c` has them; the state's bytes are missing from the shadow stack's end."""
_ASYNCIFY: Final = "asyncify_"
_EXIT: Final = ("wasi_snapshot_preview1", "proc_exit")


@dataclass(frozen=True)
class Instrumentation:
    """An instrumented module, and what was done to it."""

    wasm: bytes = field(repr=False)
    facts: Instrumented = field(repr=False)
    """What it says of itself."""
    original_bytes: int
    """The size of the module before."""
    log_bytes: int
    """How many bytes of log it has room for."""
    clock: str | None
    """The imported function by which records are timed, with its module; None where all times are 0."""
    sites: int
    """Call instructions that are followed."""
    dropped_sections: tuple[str, ...]
    """Custom sections that held offsets into code, which has moved: debug information above all."""


def instrument(module: bytes, *, log_bytes: int = DEFAULT_LOG_BYTES, clock: bool = True) -> Instrumentation:
    """A module that keeps a log of what happens on its heap.

    Args:
        module: A WebAssembly module that TinyGo 0.20 or later compiled.
        log_bytes: How many bytes of log it has room for, 64 KiB to 1 GiB, rounded up to whole pages of 64 KiB.
        clock: Whether it may ask its host for the time, by a function that it imports anyway; else all times are 0.

    Raises:
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: Its collector cannot be replaced, or it is instrumented already.
        PolicyError: ``log_bytes`` is out of range.
    """
    if not WASM_PAGE_BYTES <= log_bytes <= MOST_LOG_BYTES:
        raise PolicyError(
            f"invalid log size of {log_bytes} bytes: expected {WASM_PAGE_BYTES} (64 KiB) to {MOST_LOG_BYTES} (1 GiB)"
        )
    parsed = Module.parse(module)
    _check(parsed)
    guest = identify(parsed)
    heap = replaceable_heap(parsed, guest)
    if isinstance(heap, BestFitHeap):
        _check_alloc(parsed, heap)
    memory = parsed.memories[0]
    if memory.imported is not None:
        raise UnsupportedGuestError("this module imports its memory: expected one memory of its own")
    limits = memory.type.limits
    facts = Instrumented(
        __version__,
        hashlib.sha256(module).hexdigest(),
        guest.runtime,
        guest.version,
        guest.collector,
        heap if isinstance(heap, BlockHeap) else None,
        tuple(_called_exports(parsed)),
        limits.minimum,
        limits.maximum,
        heap if isinstance(heap, BestFitHeap) else None,
    )
    pages = -(-log_bytes // WASM_PAGE_BYTES)
    writing = _Writing(parsed, facts, heap, pages * WASM_PAGE_BYTES, find_clock(parsed) if clock else None)
    wasm = writing.write()
    sites = writing.sites
    return Instrumentation(
        wasm,
        facts,
        len(module),
        pages * WASM_PAGE_BYTES,
        writing.clock.name if writing.clock else None,
        len(sites),
        tuple(dropped_sections(parsed, Module.parse(wasm))),
    )


def script() -> str:
    """The JavaScript module that collects logs in a browser or node."""
    return (files("tinyheap.instrumentation") / "tinyheap-log.js").read_text("utf-8")


@cache
def kernel() -> Module:
    """The functions that keep a log, which `make kernel` compiles."""
    return Module.parse((files("tinyheap.instrumentation") / "kernel" / "log.wasm").read_bytes())


def _check(module: Module) -> None:
    before = instrumented(module)
    if before is not None:
        raise UnsupportedGuestError(
            f"tinyheap {before.version} has instrumented this module already; instrument the module that it was made from"
        )


def _check_alloc(module: Module, heap: BestFitHeap) -> None:
    """Refuse an alloc that is not told what it is asked for: what it is, only a run of it says."""
    parameters = module.function_type(heap.alloc_function).parameters
    told = parameters, heap.size_parameter, heap.layout_parameter
    if told == (("i32", "i32"), 0, 1) or (told == (("i32",), 0, None) and not heap.is_precise):
        return
    raise UnsupportedGuestError(
        f"the allocator of this module (function {heap.alloc_function}) is not told the size and the layout of each object,"
        " as its compiler put it together; `tinyheap profile` records its runs"
    )


def _called_exports(module: Module) -> Iterator[str]:
    """The exported functions whose calls are noted: not those that switch stacks, which are called inside of a call."""
    for export in module.exports:
        if export.kind == "function" and not export.name.startswith(_ASYNCIFY):
            yield export.name


class _Writing:
    """The writing of one module."""

    def __init__(
        self, module: Module, facts: Instrumented, heap: BlockHeap | BestFitHeap, log_bytes: int, clock: Clock | None
    ) -> None:
        self._module, self._facts, self._heap, self._log_bytes = module, facts, heap, log_bytes
        self.clock = clock
        self._pages = (log_bytes + _SHADOW_BYTES) // WASM_PAGE_BYTES
        self._editor = editor = Editor(module)
        self._prefix = prefix_in(module, Options())
        self._collector: Replacement | RunningAhead
        if isinstance(heap, BestFitHeap):
            self._collector = RunningAhead(module, heap, editor, collector("best_fit"), Options(), self._prefix)
        else:
            self._collector = Replacement(module, heap, editor, Options())
        start = facts.declared_pages * WASM_PAGE_BYTES
        self._region, self._shadow = editor.add_global("i32", signed(start)), editor.add_global("i32", 0)
        self._parts = self._log_parts()
        self._log = Merger(editor, kernel(), self._parts, self._prefix)
        self._parts["now"] = Code().call(clock.now(editor)) if clock else Code().i64_const(0)
        self.sites = self._follow_calls()

    def write(self) -> bytes:
        """The module as bytes."""
        self._collector.perform(Hooks(self._hooked(), self._around_alloc))
        if isinstance(self._heap, BestFitHeap):
            self._note_collectors()
        for number, name in enumerate(self._facts.exports):
            self._note_calls(number, name)
        self._note_exits()
        self._editor.export(TAKE_EXPORT, "function", self._log.function("take"))
        self._editor.export(LOG_MEMORY_EXPORT, "memory", 0)
        size, grow = (self._log.function(name) for name in ("visible_pages", "grow_visible"))
        self._enlarge_memory()
        self._say_so()
        first = self._editor.build()
        return _with_hidden_pages(first, size, grow, self._log.added)

    def _hooked(self) -> dict[str, Code]:
        """The code by which the collector tells of itself."""
        if isinstance(self._heap, BestFitHeap):
            hooked = {"tell_roots": "roots_seen", "tell_scanned": "scanned", "tell_marked": "marked"}
        else:
            hooked = {
                "count_collection": "collection_begins",
                "count_drop": "dropped",
                "count_rescan": "rescanned",
                "tell_roots": "roots_scanned",
                "tell_scanned": "scanned",
                "tell_marked": "marked",
                "tell_swept": "swept",
                "tell_grown": "grown",
            }
        return {name: Code().call(self._log.function(function)) for name, function in hooked.items()}

    # ---- the log's own functions --------------------------------------------------------------------------------------

    def _log_parts(self) -> dict[str, Code]:
        """The code for what the log's functions ask, but for the time and alloc."""
        module_id, heap = self._facts.module_id, self._heap
        numbers = {
            "log_bytes": self._log_bytes,
            "region_pages": self._pages,
            "has_clock": int(self.clock is not None),
            "has_layouts": int(_has_layouts(heap)),
            "is_best_fit": int(isinstance(heap, BestFitHeap)),
            "module_id_low": module_id & 0xFFFF_FFFF,
            "module_id_high": module_id >> 32,
        }
        parts = {
            **self._memory_parts(),
            **self._collector.heap_parts,
            **{name: Code().i32_const(signed(each)) for name, each in numbers.items()},
        }
        for name, index in (("region", self._region), ("shadow_used", self._shadow)):
            parts[name], parts[f"set_{name}"] = Code().global_get(index), Code().global_set(index)
        return parts

    def _memory_parts(self) -> Mapping[str, Code]:
        """The code for what of memory is the same in all modules with a best-fit heap."""
        if isinstance(self._heap, BlockHeap):
            return {}
        uses_bulk_memory = has_bulk_memory(self._module)
        return {
            **bulk_parts(self._editor, self._prefix, uses_bulk_memory=uses_bulk_memory),
            "extra_pages": Code().i32_const(0),
        }

    # ---- the module's functions ---------------------------------------------------------------------------------------

    def _follow_calls(self) -> Sites:
        module, editor = self._module, self._editor
        taken = {redirect.function for redirect in self._heap.redirects}
        # What only the collector calls is on no stack, as if it were the host's.
        taken |= CallGraph(module).behind(taken)
        resizers, growing = resizers_of(module, taken), growing_in(module, taken)
        stack = MovableStack(self._region, self._shadow, _STATE_BYTES + self._log_bytes)
        targets, runs_finalizers = targets_of(taken, resizers, growing), has_finalizers(self._heap)
        sites = keep_shadow_stack(editor, module, targets, taken, stack=stack, runs_finalizers=runs_finalizers)
        with contextlib.suppress(MalformedModuleError):
            sites.take_names(module.names.functions)
        sites.take_places(module, module)
        for function, kind in resizers.items():
            editor.insert_at_entry(function, noting_resize(kind, self._log.function("note_event")))
        return sites

    def _around_alloc(self, inner: int) -> Code:
        """What alloc does: size and layout, wherever they are from, go to the recorder, which calls the collector's alloc."""
        heap = self._heap
        parameters = len(self._module.function_type(heap.alloc_function).parameters)
        given = Code().call(inner)
        # The collector's alloc has alloc's own parameters; those that it has not are constants.
        self._parts["allocate"] = Code(Code().drop().encoding * (2 - parameters)) + given
        request = heap.fixed_request
        size, layout = (0, 0) if request is None else (request.size_bytes, request.layout)
        code = Code().local_get(0) if parameters > 0 else Code().i32_const(size)
        code = code.local_get(1) if parameters > 1 else code.i32_const(signed(layout))
        recorded = "recorded_best_fit_alloc" if isinstance(heap, BestFitHeap) else "recorded_alloc"
        return code.call(self._log.function(recorded))

    def _note_collectors(self) -> None:
        """Let the functions that collect on request note when they begin and end."""
        for redirect in self._heap.redirects:
            if redirect.role is Role.COLLECT:
                self._editor.insert_at_entry(redirect.function, Code().call(self._log.function("collector_enters")))
                self._editor.insert_at_exit(redirect.function, Code().call(self._log.function("collector_leaves")))

    def _note_calls(self, number: int, name: str) -> None:
        """Let a function note its calls around what it is exported as."""
        export, editor = self._module.export(name), self._editor
        assert export is not None
        kind = self._module.function_type(export.index)
        parameters, results = kind.parameters, kind.results
        argument = Code().local_get(0) if parameters[:1] == ("i32",) else Code().i32_const(0)
        code = Code().i32_const(number) + argument.call(self._log.function("call_begins"))
        for index in range(len(parameters)):
            code = code.local_get(index)
        code = code.call(export.index)
        result, kept = Code().i32_const(0), results if results == ("i32",) else ()
        if kept:
            code, result = code.local_tee(len(parameters)), Code().local_get(len(parameters))
        code = code.i32_const(number) + result.call(self._log.function("call_ends"))
        prefix = self._prefix
        named = None if prefix is None else f"{prefix}noted.{name}"
        wrapper = editor.add_function(parameters, results, code, kept, named)
        editor.remove_export(name)
        editor.export(name, "function", wrapper)

    def _note_exits(self) -> None:
        """Let the calls by which a WASI program ends itself be noted."""
        for function in self._module.functions:
            imported = function.imported
            if imported is None or (imported.module, imported.name) != _EXIT:
                continue
            if self._module.function_type(function.index) == FunctionType(("i32",), ()):
                code = Code().local_get(0).call(self._log.function("exits")).local_get(0).call(function.index)
                name = None if self._prefix is None else f"{self._prefix}noted.proc_exit"
                self._editor.redirect_calls(function.index, self._editor.add_function(("i32",), (), code, (), name))

    def _enlarge_memory(self) -> None:
        minimum, maximum = self._facts.declared_pages + self._pages, self._facts.maximum_pages
        self._editor.set_minimum(0, minimum)
        if maximum is not None:
            self._editor.set_maximum(0, min(maximum + self._pages, 1 << 16))

    def _say_so(self) -> None:
        name_processor(self._module, self._editor)
        self._editor.set_custom_section(SECTION, encode_instrumented(self._facts))
        self._editor.set_custom_section(SITES_SECTION, self.sites.encode())


def _has_layouts(heap: BlockHeap | BestFitHeap) -> bool:
    return heap.layout_parameter is not None or heap.fixed_request is not None


def _with_hidden_pages(module: Module, size: int, grow: int, own: frozenset[int]) -> bytes:
    """A module in which two functions stand for ``memory.size`` and ``memory.grow``, except in the log's own functions."""
    editor = Editor(module)
    for function, offset, instruction in module.find("memory.size", "memory.grow"):
        if function in own:
            continue
        if instruction.name == "memory.size":
            editor.insert_after(function, offset, Code().drop().call(size))
        else:
            # The instruction grows by nothing then, and what it gives is dropped.
            editor.insert_before(function, offset, Code().call(grow).i32_const(0))
            editor.insert_after(function, offset, Code().drop())
    return editor.encode()
