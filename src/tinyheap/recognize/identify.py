"""What a WebAssembly module is, which collector it has, and what works for it.

    guest = identify_file(data)         a module, or the largest one of a component
    guest = identify(Module.parse(data))
    guest.served                        what works for it, in one sentence
    block_heap(guest)                   the heap whose collector can be replaced, or an error that says why not

TinyGo's block collector is looked for in every module, whatever it says of itself: stripped modules say nothing.
Everything else is known by what cannot well be stripped: imports, exports, and texts in its data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tinyheap.errors import MalformedModuleError, UnsupportedGuestError
from tinyheap.heap.collectors import RELEASES
from tinyheap.recognize.codesearch import CodeSearch
from tinyheap.recognize.evidence import Notes
from tinyheap.recognize.facts import (
    TABLE_DIVISOR,
    BestFitHeap,
    BlockHeap,
    Confidence,
    Evidence,
    Guest,
    HeaderPlace,
    LeakingHeap,
)
from tinyheap.recognize.instrumented import Instrumented, instrumented
from tinyheap.recognize.interpret import Reading, Walker
from tinyheap.recognize.locate.best_fit import locate_best_fit_heap
from tinyheap.recognize.locate.block_heap import locate_block_heap
from tinyheap.recognize.locate.bounds import HeapBounds, find_bounds
from tinyheap.recognize.memory_layout import memory_layout
from tinyheap.recognize.system_stack import system_stack
from tinyheap.recognize.transplanted import SECTION, Transplanted, transplanted
from tinyheap.recognize.values import Constant, GlobalAtEntry, Loaded, linear, sources
from tinyheap.wasm import Module
from tinyheap.wasm.component import core_modules, is_component
from tinyheap.wasm.entities import FunctionReference
from tinyheap.wasm.leb128 import encode_unsigned

_SERVED = "runs, and its collector can be replaced: by tinyheap's (kernel or model), or by none (--gc leaking)"
_TRANSPLANTED = (
    "has the collector of tinyheap {version} in it; that can be replaced like the one that it had, by tinyheap's (kernel or"
    " model), or by none (--gc leaking)"
)
_INSTRUMENTED = (
    "keeps a log of its own run, by tinyheap {version} (`tinyheap import` makes a recording of it), and runs in any host;"
    " its collector is tinyheap's already, and cannot be replaced again: take the module that it was made from for that"
)
_TRANSPLANTED_BEST_FIT = (
    "has the marking of tinyheap {version} in it; its collector can be replaced like the one that it had, which a rehearsal"
    " decides before it runs"
)
_PARTLY = (
    "runs with its own collector; it cannot be replaced: functions {functions} collect or change the heap's state"
    " themselves, beside other work"
)
_BEST_FIT = (
    "is served if a rehearsal, before it first runs, shows that its allocator is TinyGo's of 0.40 or later, as it looks;"
    " else it runs with its own collector"
)
_UNKNOWN_BLOCKS = (
    "runs with its own collector; it cannot be replaced, because the shape of its allocator is not known (compile with"
    " TinyGo 0.20 or later)"
)
_LEAKING = "runs as it is; it never frees memory, so there is no collector to replace (compile with -gc=precise)"
_BOEHM = "runs with its own collector, which is Boehm's and cannot be replaced (compile with -gc=precise)"
_UNKNOWN_TINYGO = "runs as it is; its memory manager was not recognized, so it cannot be replaced"
_FOREIGN = "is not a TinyGo program, so it has no heap that can be served: {advice}"

_STACK_SWITCHING = re.compile(r"asyncify_\w+")

_FOREIGN_RUNTIMES = (
    (
        "MicroPython",
        rb"MicroPython v",
        "its own, mark and sweep",
        "its collector is in the module; run it with its own JavaScript",
    ),
    (
        "Go",
        rb"runtime\.gopanic|go1\.\d+\.\d+[^\n]{0,80}\bruntime\.mallocgc",
        "its own, concurrent mark and sweep",
        "its collector is in the module, and Go's; compile it with TinyGo -gc=precise",
    ),
    ("Rust", rb"/rustc/[0-9a-f]{40}", "none", "it has no collector; run it with any WebAssembly runtime"),
)
"""Runtime, a text in its data (as a pattern), its collector, and what to do."""

_FACTS = (
    "alloc",
    "header",
    "zero_size",
    "heap_start",
    "heap_end",
    "metadata_start",
    "end_block",
    "next_alloc",
    "total_alloc_bytes",
    "mallocs",
    "frees",
    "total_blocks",
    "freed_blocks",
    "mark_roots",
    "globals",
    "stack",
    "stack_pointer",
    "stack_top",
    "current_task",
    "mark_stack",
    "collector",
)
"""What is known of the collector of TinyGo up to 0.39, by the names of the evidence."""

_BEST_FIT_FACTS = (
    "alloc",
    "header",
    "zero_size",
    "heap_start",
    "heap_end",
    "metadata_start",
    "end_block",
    "free_ranges",
    "scan_list",
    "total_alloc_bytes",
    "mallocs",
    "collections",
    "finalizers",
    "mark_roots",
    "globals",
    "stack",
    "stack_pointer",
    "stack_top",
    "current_task",
    "collector",
)
"""The same of later releases."""

_TINYGO_TEXTS = (b"panic: runtime error: ", b"heap alloc in interrupt", b"fatal error: ")


def identify(module: Module) -> Guest:
    """What a module is and what works for it.

    Raises:
        MalformedModuleError: A section that is read is malformed.
    """
    search, notes = CodeSearch(module), Notes()
    names = _function_names(module)
    state_global = _asyncify_state(module, search, notes)
    logging = instrumented(module)
    if logging is not None:
        return _instrumented_guest(module, logging, state_global, notes)
    before = transplanted(module)
    if before is not None:
        return _transplanted_guest(module, before, state_global, notes)
    walker = _walker(module, state_global)
    bounds = find_bounds(search, walker, notes)
    version, stated = _version(module)
    scheduler = "asyncify" if state_global is not None else "none"
    if bounds is not None:
        return _blocks_guest(search, walker, bounds, names, version, scheduler, notes)
    foreign = _foreign(module)
    if foreign is not None and not stated:
        runtime, collector, advice = foreign
        served = _FOREIGN.format(advice=advice)
        return _guest(module, runtime, None, False, collector, "unknown", served, notes)
    return _other_tinygo(module, walker, names, version, scheduler, notes)


def identify_file(data: bytes) -> Guest:
    """What a file is: a module, or a component, of whose core modules the largest is identified.

    Raises:
        MalformedModuleError: It is neither, or a section that is read is malformed; or a component without modules.
    """
    module, component_modules = module_of(data)
    return replace(identify(module), component_modules=component_modules)


def module_of(data: bytes) -> tuple[Module, int]:
    """A file's module, or the largest of a component, and how many that has; 0 for a module that stands alone.

    Raises:
        MalformedModuleError: It is neither, or a component without modules.
    """
    if not is_component(data):
        return Module.parse(data), 0
    modules = core_modules(data)
    if not modules:
        raise MalformedModuleError("this component holds no core modules")
    return Module.parse(max(modules, key=len)), len(modules)


def block_heap(guest: Guest) -> BlockHeap:
    """The heap of a guest whose collector can be replaced.

    Raises:
        UnsupportedGuestError: It cannot; says what the module is and what works for it.
    """
    if guest.heap is None or not guest.heap.is_replaceable:
        version = f" {guest.version}" if guest.version else ""
        raise UnsupportedGuestError(
            f"this module ({guest.runtime}{version}, collector: {guest.collector}) {guest.served}"
        )
    return guest.heap


def _blocks_guest(
    search: CodeSearch,
    walker: Walker,
    bounds: HeapBounds,
    names: Mapping[str, int],
    version: str | None,
    scheduler: str,
    notes: Notes,
) -> Guest:
    """A module with a block table: of either collector that has one, or of none that is known."""
    attempt = notes.copy()
    try:
        next_fit = locate_block_heap(search, walker, bounds, names, attempt)
        return _block_guest(search.module, next_fit, version, scheduler, attempt)
    except UnsupportedGuestError as error:
        why_not = str(error)
    attempt = notes.copy()
    try:
        best_fit = locate_best_fit_heap(search, walker, bounds, names, attempt)
        return _best_fit_guest(search.module, best_fit, version, scheduler, attempt)
    except UnsupportedGuestError as error:
        notes.doubt("collector", f"{why_not}; {error}")
    collector, stated = "blocks, not recognized", version is not None
    return _guest(search.module, "TinyGo", version, stated, collector, scheduler, _UNKNOWN_BLOCKS, notes)


def _block_guest(module: Module, heap: BlockHeap, version: str | None, scheduler: str, notes: Notes) -> Guest:
    collector = "precise" if heap.is_precise else "conservative"
    served = _PARTLY.format(functions=", ".join(map(str, heap.uncovered))) if heap.uncovered else _SERVED
    notes.found("collector", "the block table, and the header in front of objects")
    release = re.match(r"\d+\.\d+", version or "")
    if version is not None and (release is None or RELEASES.get(release[0]) is not heap.collector):
        notes.doubt("collector", f"TinyGo {version} is not known to have it, but 0.20 to 0.39")
    return _guest(
        module,
        "TinyGo",
        version or _version_by_shape(heap),
        version is not None,
        collector,
        scheduler,
        served,
        notes,
        heap=heap,
    )


def _transplanted_guest(module: Module, before: Transplanted, state_global: int | None, notes: Notes) -> Guest:
    """A module that tinyheap has written its collector into: what is known of it was recognized then."""
    best_fit = before.best_fit
    for fact in _FACTS if best_fit is None else _BEST_FIT_FACTS:
        notes.found(fact, f"recognized by tinyheap {before.version}, which left it in the section {SECTION}")
    version, stated = _version(module)
    if best_fit is not None:
        collector, shape = _best_fit_collector(best_fit), _best_fit_version(best_fit)
    else:
        heap = before.heap
        assert heap is not None, "else nothing was read"
        collector, shape = "precise" if heap.is_precise else "conservative", _version_by_shape(heap)
    return _guest(
        module,
        "TinyGo",
        version or shape,
        stated,
        collector,
        "none" if state_global is None else "asyncify",
        (_TRANSPLANTED if best_fit is None else _TRANSPLANTED_BEST_FIT).format(version=before.version),
        notes,
        heap=before.heap,
        best_fit=best_fit,
    )


def _instrumented_guest(module: Module, logging: Instrumented, state_global: int | None, notes: Notes) -> Guest:
    """A module that keeps a log: its heap is left to itself, since the log lies behind it."""
    return _guest(
        module,
        logging.runtime,
        logging.runtime_version,
        _version(module)[1],
        logging.collector,
        "none" if state_global is None else "asyncify",
        _INSTRUMENTED.format(version=logging.version),
        notes,
    )


def _best_fit_guest(module: Module, heap: BestFitHeap, version: str | None, scheduler: str, notes: Notes) -> Guest:
    notes.found("collector", "free ranges are listed by length")
    notes.found("collector", "marked objects are chained through their headers")
    shape = _best_fit_version(heap)
    if version is not None and not _is_of(version, shape):
        notes.doubt("collector", f"TinyGo {version} is not known; its code has the shape of {shape}")
    return _guest(
        module,
        "TinyGo",
        version or shape,
        version is not None,
        _best_fit_collector(heap),
        scheduler,
        _BEST_FIT,
        notes,
        best_fit=heap,
    )


def _best_fit_collector(heap: BestFitHeap) -> str:
    return f"best-fit, {'precise' if heap.is_precise else 'conservative'}"


def _best_fit_version(heap: BestFitHeap) -> str:
    """The range of TinyGo's versions that the collector's shape allows."""
    if heap.header_place is HeaderPlace.FRONT:
        return "0.40 to 0.41"
    return "0.42, before its release" if heap.collections_address is None else "0.42"


def _is_of(version: str, releases: str) -> bool:
    """Whether a version is of one of the releases, which are given as `_best_fit_version` gives them."""
    return any(version.startswith(f"{release}.") for release in re.findall(r"\d+\.\d+", releases))


def _guest(
    module: Module,
    runtime: str,
    version: str | None,
    stated: bool,
    collector: str,
    scheduler: str,
    served: str,
    notes: Notes,
    heap: BlockHeap | None = None,
    best_fit: BestFitHeap | None = None,
    leaking: LeakingHeap | None = None,
) -> Guest:
    evidence = dict(notes.evidence())
    if stated:
        evidence["version"] = Evidence(Confidence.CERTAIN, ("the producers section says so",))
    elif version is not None:
        evidence["version"] = Evidence(Confidence.LIKELY, ("counters, mark stack and stack scan are like that",))
    exports = tuple(
        export.name
        for export in module.exports
        if export.kind == "function" and not _STACK_SWITCHING.fullmatch(export.name)
    )
    lacks = tuple(_lacking(module))
    stack = system_stack(module)
    return Guest(
        runtime,
        version,
        stated,
        collector,
        scheduler,
        served,
        heap,
        best_fit,
        leaking,
        exports,
        lacks,
        evidence,
        stack=stack,
        memory=memory_layout(module, heap or best_fit, leaking),
    )


def _lacking(module: Module) -> Iterator[str]:
    """What a module imports and no host here offers."""
    # What is identified to be run, and was before, starts sooner without it.
    from tinyheap.hosts.imports import Signature
    from tinyheap.hosts.offered import is_offered

    for entry in module.imports:
        if not isinstance(entry.type, FunctionReference):
            yield f"{entry.module}.{entry.name}: {entry.kind}"
            continue
        declared = module.types[entry.type.type_index]
        if not is_offered(entry.module, entry.name, Signature(declared.parameters, declared.results)):
            yield f"{entry.module}.{entry.name}: function {declared}"


def _function_names(module: Module) -> dict[str, int]:
    """Function indices by name; none where the name section is malformed, since names only confirm."""
    try:
        return dict(module.function_indices)
    except MalformedModuleError:
        return {}


def _version(module: Module) -> tuple[str | None, bool]:
    """TinyGo's version as the producers section says it, and whether it does."""
    try:
        tools = module.producers.get("processed-by", {})
    except MalformedModuleError:
        tools = {}
    version = tools.get("TinyGo")
    return version, version is not None


def _version_by_shape(heap: BlockHeap) -> str:
    """The range of TinyGo's versions that the collector's shape allows."""
    if heap.table_divisor != TABLE_DIVISOR:
        return "0.20 to 0.22"
    if heap.heap_start_variable_address is not None:
        return "0.23 to 0.26"
    return "0.27 to 0.33" if heap.counters.count < 5 else "0.34 to 0.39"


def walker_of(module: Module) -> Walker:
    """What reads a module's functions as they are while no stack is switched."""
    return _walker(module, _asyncify_state(module, CodeSearch(module), Notes()))


def _walker(module: Module, state_global: int | None) -> Walker:
    return Walker(module, {} if state_global is None else {state_global: 0})


def _asyncify_state(module: Module, search: CodeSearch, notes: Notes) -> int | None:
    """The global that holds asyncify's state, or None where the program does not switch stacks."""
    tested = [
        index
        for index, entry in enumerate(module.globals)
        if entry.type.value == "i32" and entry.type.mutable and _is_tested_everywhere(search, index)
    ]
    exported = module.export("asyncify_get_state")
    if exported is not None and exported.kind == "function":
        for event in Walker(module).read(exported.index).returns:
            if isinstance(event.value, GlobalAtEntry):
                notes.found("scheduler", "asyncify_get_state is exported and returns its state")
                notes.check("scheduler", event.value.index in tested, "code tests that state everywhere")
                return event.value.index
    if tested:
        notes.found("scheduler", "code tests a global everywhere as asyncify does it")
        return tested[0]
    notes.found("scheduler", "no state of asyncify is exported")
    notes.found("scheduler", "code tests no global as asyncify does it")
    return None


def _is_tested_everywhere(search: CodeSearch, index: int) -> bool:
    """Whether code compares a global with 0 and with 2 (rewinding) again and again."""
    get = b"\x23" + encode_unsigned(index)
    return search.counting(get + b"\x41\x02\x46") > 10 and search.counting(get + b"\x45") > 10


def _foreign(module: Module) -> tuple[str, str, str] | None:
    """The runtime that a module has instead of TinyGo's, its collector, and advice; None where nothing says so."""
    data = b"\n".join(segment.data for segment in module.data_segments)
    for runtime, pattern, collector, advice in _FOREIGN_RUNTIMES:
        if re.search(pattern, data):
            return runtime, collector, advice
    names = {entry.name for entry in module.imports} | {export.name for export in module.exports}
    if any(name.startswith(("emscripten_", "_emscripten_", "invoke_", "__em_js__")) for name in names):
        return "C or C++ (Emscripten)", "none", "it has no collector; run it with its own JavaScript"
    return None


def _other_tinygo(
    module: Module,
    walker: Walker,
    names: Mapping[str, int],
    version: str | None,
    scheduler: str,
    notes: Notes,
) -> Guest:
    """A module without a block table that may be TinyGo's: leaking, Boehm, or not known."""
    data = b"\n".join(segment.data for segment in module.data_segments)
    stated = version is not None
    leaking = _leaking_heap(module, walker, names, notes)
    is_tinygo = stated or "runtime.alloc" in names or any(text in data for text in _TINYGO_TEXTS)
    if not is_tinygo and leaking is None:
        served = _FOREIGN.format(advice="run it with any WebAssembly runtime")
        return _guest(module, "unknown", None, False, "unknown", "unknown", served, notes)
    if b"GC Warning: " in data or "GC_malloc" in names:
        return _guest(module, "TinyGo", version, stated, "boehm", scheduler, _BOEHM, notes)
    if leaking is None:
        return _guest(module, "TinyGo", version, stated, "unknown", scheduler, _UNKNOWN_TINYGO, notes)
    return _guest(module, "TinyGo", version, stated, "leaking", scheduler, _LEAKING, notes, leaking=leaking)


def _leaking_heap(module: Module, walker: Walker, names: Mapping[str, int], notes: Notes) -> LeakingHeap | None:
    """The bump allocator: the most-called function that returns a word which it moves on by the size."""
    for function, _ in module.call_counts().most_common(50):
        signature = module.function_type(function) if function < len(module.functions) else None
        if signature is None or signature.results != ("i32",):
            continue
        if signature.parameters not in (("i32",), ("i32", "i32")):
            continue
        pointer = _bumped_word(walker.read(function))
        if pointer is not None:
            notes.found("alloc", "returns a word, which it moves on by the size, rounded up")
            if "runtime.alloc" in names:
                notes.check("alloc", names["runtime.alloc"] == function, "named runtime.alloc")
            layout = 1 if len(signature.parameters) > 1 else None
            return LeakingHeap(function, 0, layout, pointer)
    return None


def _bumped_word(reading: Reading) -> int | None:
    """The address of the word that a function returns as it was, and moves on by its first parameter.

    To be TinyGo's, the function also counts its calls and the bytes.
    """
    counted = [store for store in reading.stores if store.width_bytes == 8 and isinstance(store.address, Constant)]
    if len({store.address for store in counted}) < 2:
        return None
    for event in reading.returns:
        for value in sources(event.value) if event.value is not None else ():
            if not isinstance(value, Loaded) or not isinstance(value.address, Constant):
                continue
            for store in reading.stores:
                if store.address == value.address and any(
                    (value, 1) in linear(source)[0] for source in sources(store.value)
                ):
                    return value.address.number
    return None
