"""Writes tinyheap's collector into a module: nothing is compiled anew, and an ordinary module comes out.

    fast = transplant(module)                    bytes to bytes
    perform(module, Options(...)).report         what was changed, and how much larger it is

What becomes of a module:

    alloc                  the kernel's, in place of its body; whoever called it calls it still
    collections            functions that the program itself calls to collect call the kernel
    the original alloc     a copy, which is asked where there is no memory, so that it ends as it ever did, and for size 0
    memory.size            less the pages that the kernel added for itself, which the original does not have
    two globals            how many pages those are, and where the kernel's bitmap lies

Of a module of TinyGo 0.40 or later: its own functions stay, and the kernel runs ahead of its marking (`ahead`).  Of both:

    custom sections        `producers` says who did it; `tinyheap.transplant` holds the heap's facts (recognize/transplanted.py)

The heap's variables, its block table and its objects stay where they are and what they are: memory is the original's to the
byte at every call of the host's, but for pages of zeros behind the heap (`kernel/mark.h` says why).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tinyheap import __version__
from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Role
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.recognize.transplanted import SECTION, Transplanted, encode_transplanted, transplanted
from tinyheap.transplanting import parts
from tinyheap.transplanting.ahead import RunningAhead
from tinyheap.transplanting.clock import Clock, Stopwatch, find_clock
from tinyheap.transplanting.merging import Merger, copied
from tinyheap.transplanting.options import Options
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module
from tinyheap.wasm.names import write_producers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tinyheap.recognize.facts import Guest
    from tinyheap.transplanting.hooks import Hooks
    from tinyheap.wasm.immediates import ValueType

PREFIX: Final = "tinyheap."
"""Of the names of functions that are added."""
_DEFAULT: Final = Options()
_UNUSED: Final = "zero_size"
"""The fact that no kernel needs: the original allocator serves objects of size 0."""
_BULK_MEMORY: Final = ("memory.fill", "memory.copy", "memory.init", "data.drop")


@dataclass(frozen=True)
class Transplant:
    """A transplanted module, and what was done to it."""

    wasm: bytes = field(repr=False)
    heap: BlockHeap | BestFitHeap = field(repr=False)
    """Where its heap's parts are, which holds for both modules."""
    options: Options
    original_bytes: int
    """The size of the module before."""
    replaced: tuple[int, ...]
    """The functions that have another body now: the allocator, and those that collect; where the kernel runs ahead of marking,
    those that scan."""
    added_functions: int
    dropped_sections: tuple[str, ...]
    """Custom sections that held offsets into code, which has moved: debug information above all."""
    uses_bulk_memory: bool
    clock: str | None
    """The imported function by which collections are timed, with its module; None where they are not, or there is none."""

    @property
    def runs_ahead(self) -> bool:
        """Whether the kernel runs ahead of the module's own marking, rather than in place of its collector."""
        return isinstance(self.heap, BestFitHeap)

    @property
    def is_exact(self) -> bool:
        """Whether the heap is run as the original runs it, to the byte."""
        options = self.options
        # Best-fit collectors clear whole blocks by themselves.
        clears_more = options.clear_blocks and isinstance(self.heap, BlockHeap)
        return options.growth is None and options.limit_bytes is None and not clears_more

    @property
    def added_bytes(self) -> int:
        """How much larger the module is; less than 0 where debug information was dropped."""
        return len(self.wasm) - self.original_bytes


def transplant(module: bytes, options: Options = _DEFAULT, *, force: bool = False) -> bytes:
    """A module with tinyheap's collector in it, in place of TinyGo's or, from 0.40 on, ahead of its marking.

    Args:
        module: A WebAssembly module that TinyGo 0.20 or later compiled.
        options: How it is to run its heap; by default to the byte as before.
        force: Whether to do it even where something speaks against what was recognized; `verify` the result then.

    Raises:
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: Its collector cannot be replaced, or was already; or it is in doubt where its parts lie.
    """
    return perform(module, options, force=force).wasm


def perform(module: bytes, options: Options = _DEFAULT, *, force: bool = False) -> Transplant:
    """As `transplant`, and says what was done.

    Raises:
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: As by `transplant`.
    """
    parsed = Module.parse(module)
    heap = replaceable_heap(parsed, identify(parsed), force=force)
    editor = Editor(parsed)
    change = _change(parsed, heap, editor, options)
    _limit_memory(parsed, editor, options)
    _say_so(parsed, editor, heap)
    wasm = editor.encode()
    after = Module.parse(wasm)
    return Transplant(
        wasm,
        heap,
        options,
        len(module),
        change.functions,
        len(after.functions) - len(parsed.functions),
        tuple(dropped_sections(parsed, after)),
        change.uses_bulk_memory,
        change.clock.name if change.clock else None,
    )


def replaceable_heap(module: Module, guest: Guest, *, force: bool = False) -> BlockHeap | BestFitHeap:
    """The heap of a module that a collector can be written into.

    Args:
        module: The module.
        guest: What it was recognized as.
        force: Whether doubts about what was recognized are to be put up with.

    Raises:
        UnsupportedGuestError: There is none, or it is in doubt; says what works for the module.
    """
    before = transplanted(module)
    if before is not None:
        raise UnsupportedGuestError(
            f"tinyheap {before.version} has written its collector into this module already; "
            "take the module that it was made from"
        )
    if any(memory.type.limits.shared for memory in module.memories) or len(module.memories) > 1:
        raise UnsupportedGuestError("this module shares its memory, or has several: expected one memory of its own")
    heap = guest.best_fit or block_heap(guest)
    doubts = [f"{fact}: {doubt}" for fact, found in guest.evidence.items() if fact != _UNUSED for doubt in found.doubts]
    if doubts and not force:
        raise UnsupportedGuestError(
            f"this module's collector was recognized with doubt ({'; '.join(doubts)}); --force writes another one in "
            "nevertheless, and runs both modules to verify that it does the same"
        )
    if isinstance(heap, BlockHeap):
        parts.check(heap)
    return heap


@dataclass(frozen=True)
class _Change:
    """What the code of a module has become."""

    functions: tuple[int, ...]
    """Those that have another body."""
    uses_bulk_memory: bool
    clock: Clock | None = None
    """What times collections."""


def _change(module: Module, heap: BlockHeap | BestFitHeap, editor: Editor, options: Options) -> _Change:
    """Write the kernel for a heap into its module."""
    if isinstance(heap, BestFitHeap):
        ahead = RunningAhead(module, heap, editor, kernel("best_fit"), options, prefix_in(module, options))
        ahead.perform()
        return _Change(ahead.functions, has_bulk_memory(module))
    replacement = Replacement(module, heap, editor, options)
    replacement.perform()
    functions = tuple(redirect.function for redirect in heap.redirects)
    return _Change(functions, replacement.uses_bulk_memory, replacement.clock)


def _limit_memory(module: Module, editor: Editor, options: Options) -> None:
    """Let the engine refuse what is too much, so that the original's own last try is refused as well."""
    if options.limit_bytes is None:
        return
    limits = module.memories[0].type.limits
    pages = options.limit_bytes // WASM_PAGE_BYTES
    if pages < limits.minimum:
        raise UnsupportedGuestError(
            f"invalid limit of {options.limit_bytes} bytes: the module's memory begins with "
            f"{limits.minimum * WASM_PAGE_BYTES}; expected as much or more"
        )
    editor.set_maximum(0, pages if limits.maximum is None else min(pages, limits.maximum))


def _say_so(module: Module, editor: Editor, heap: BlockHeap | BestFitHeap) -> None:
    """Let the module say that it was transplanted."""
    name_processor(module, editor)
    facts = (
        Transplanted(__version__, best_fit=heap) if isinstance(heap, BestFitHeap) else Transplanted(__version__, heap)
    )
    editor.set_custom_section(SECTION, encode_transplanted(facts))


def name_processor(module: Module, editor: Editor) -> None:
    """Let a module say among its producers that tinyheap has processed it."""
    producers = {name: dict(tools) for name, tools in module.producers.items()}
    producers.setdefault("processed-by", {})["tinyheap"] = __version__
    editor.set_custom_section("producers", write_producers(producers))


class Replacement:
    """The next-fit kernel in place of a module's collector: what it is done to, and each step of it.

    Args:
        module: The module.
        heap: Its heap.
        editor: Of the module.
        options: How the heap is to be run.
    """

    def __init__(self, module: Module, heap: BlockHeap, editor: Editor, options: Options) -> None:
        self._module, self._heap, self._editor, self._options = module, heap, editor, options
        self.uses_bulk_memory = has_bulk_memory(module) if options.bulk_memory is None else options.bulk_memory
        self.state = parts.add_globals(editor)
        self.prefix = prefix_in(module, options)
        """Of the names of functions that are added; None where they get none."""
        self.clock = find_clock(module) if options.stats else None

    def perform(self, hooks: Hooks | None = None) -> None:
        """All steps."""
        self._hide_extra_pages()
        merger = self._merger({} if hooks is None else hooks.parts)
        self._replace_alloc(merger, hooks)
        self._replace_collections(merger)

    @cached_property
    def heap_parts(self) -> Mapping[str, Code]:
        """The code for what a kernel may ask of the heap and of memory."""
        found = parts.parts_of(
            self._editor, self._heap, self.state, growth=self._options.growth, clear_blocks=self._options.clear_blocks
        )
        return {**found, **bulk_parts(self._editor, self.prefix, uses_bulk_memory=self.uses_bulk_memory)}

    def _merger(self, hooked: Mapping[str, Code]) -> Merger:
        counted = parts.counted(self._editor) if self._options.stats else parts.uncounted()
        code = {**self.heap_parts, **counted, **parts.untold(), **hooked, "original_alloc": self._ask_original()}
        around = {f"collect_{self._kind}": Stopwatch(self._editor, self.clock).timed} if self.clock else {}
        return Merger(self._editor, kernel("next_fit"), code, self.prefix, around)

    @property
    def _kind(self) -> str:
        return "precise" if self._heap.is_precise else "conservative"

    def _hide_extra_pages(self) -> None:
        """Let the program see the memory that it would have without the kernel."""
        for function, offset, _ in self._module.find("memory.size"):
            self._editor.insert_after(function, offset, self._less_extra_pages)

    @property
    def _less_extra_pages(self) -> Code:
        return Code().global_get(self.state.extra_pages).i32_sub()

    def _ask_original(self) -> Code:
        """The code that calls a copy of the original alloc, with size and layout on the operand stack."""
        alloc = self._heap.alloc_function
        name = None if self.prefix is None else f"{self.prefix}original_alloc"
        copy = copied(self._module, self._editor, alloc, name, after={"memory.size": self._less_extra_pages})
        return Code(Code().drop().encoding * (2 - len(self._module.function_type(alloc).parameters))).call(copy)

    def _replace_alloc(self, merger: Merger, hooks: Hooks | None) -> None:
        """Give alloc the kernel's body; what is not among its parameters is among its locals then."""
        code, local_types = merger.code(f"alloc_{self._kind}")
        function, request = self._heap.alloc_function, self._heap.fixed_request
        parameters = self._module.function_type(function).parameters
        missing: list[ValueType] = ["i32"] * (2 - len(parameters))
        if request is not None:
            layout = parts.signed(request.layout)
            code = Code().i32_const(request.size_bytes).local_set(0).i32_const(layout).local_set(1) + code
        if hooks is None:
            self._editor.replace_body(function, code, [*missing, *local_types])
            return
        name = None if self.prefix is None else f"{self.prefix}alloc"
        inner = self._editor.add_function(parameters, ("i32",), code, [*missing, *local_types], name)
        self._editor.replace_body(function, hooks.around_alloc(inner))

    def _replace_collections(self, merger: Merger) -> None:
        for redirect in self._heap.redirects:
            if redirect.role is not Role.COLLECT:
                continue
            below = self._heap.frame_bytes_above(redirect.function) if self._is_in_chain(redirect.function) else 0
            code = Code().i32_const(below).call(merger.function(f"collect_{self._kind}"))
            results = self._module.function_type(redirect.function).results
            self._editor.replace_body(redirect.function, code if results else code.drop())

    def _is_in_chain(self, function: int) -> bool:
        return any(frame.function == function for frame in self._heap.mark_stack.root_chain)


@cache
def kernel(collector: str) -> Module:
    """A kernel's functions, which `make kernel` compiles: `next_fit` or `best_fit`."""
    return Module.parse((files("tinyheap.transplanting") / "kernel" / f"{collector}.wasm").read_bytes())


def prefix_in(module: Module, options: Options) -> str | None:
    """What the names of functions that are added begin with; None where they get none."""
    return PREFIX if options.keep_names or module.function_indices else None


def bulk_parts(editor: Editor, prefix: str | None, *, uses_bulk_memory: bool) -> dict[str, Code]:
    """The code by which a kernel fills and copies memory; loops are added where there is no bulk memory."""
    if uses_bulk_memory:
        return {"fill": Code().memory_fill(0), "copy": Code().memory_copy(0, 0)}
    # The loops are the kernel's own functions, which need none of its imports.
    loops = Merger(editor, kernel("next_fit"), {}, prefix)
    return {name: Code().call(loops.function(f"{name}_by_loop")) for name in ("fill", "copy")}


def has_bulk_memory(module: Module) -> bool:
    """Whether a module needs an engine with bulk memory already."""
    features = module.custom_section("target_features")
    if features is not None and b"+\x0bbulk-memory" in features.payload:
        return True
    return next(module.find(*_BULK_MEMORY), None) is not None


def dropped_sections(before: Module, after: Module) -> Iterator[str]:
    """The names of the custom sections that a module has lost."""
    left = {section.name for section in after.custom_sections}
    return (section.name for section in before.custom_sections if section.name not in left)
