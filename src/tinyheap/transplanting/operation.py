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
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tinyheap import __version__
from tinyheap.errors import UnsupportedGuestError
from tinyheap.recognize.facts import BestFitHeap, BlockHeap, Role
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.recognize.transplanted import SECTION, Transplanted, encode_transplanted, transplanted
from tinyheap.transplanting import parts
from tinyheap.transplanting.ahead import run_ahead
from tinyheap.transplanting.merging import Merger, local_types_of
from tinyheap.transplanting.options import Options
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module
from tinyheap.wasm.names import write_producers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyheap.wasm.immediates import ValueType

PREFIX: Final = "tinyheap."
"""Of the names of functions that are added."""
_DEFAULT: Final = Options()
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

    @property
    def runs_ahead(self) -> bool:
        """Whether the kernel runs ahead of the module's own marking, rather than in place of its collector."""
        return isinstance(self.heap, BestFitHeap)

    @property
    def added_bytes(self) -> int:
        """How much larger the module is; less than 0 where debug information was dropped."""
        return len(self.wasm) - self.original_bytes


def transplant(module: bytes, options: Options = _DEFAULT) -> bytes:
    """A module with tinyheap's collector in it, in place of TinyGo's.

    Args:
        module: A WebAssembly module that TinyGo 0.20 or later compiled.
        options: How it is to run its heap; by default to the byte as before.

    Raises:
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: Its collector cannot be replaced, or was already.
    """
    return perform(module, options).wasm


def perform(module: bytes, options: Options = _DEFAULT) -> Transplant:
    """As `transplant`, and says what was done.

    Raises:
        MalformedModuleError: It is not a module.
        UnsupportedGuestError: Its collector cannot be replaced, or was already.
    """
    parsed = Module.parse(module)
    heap = replaceable_heap(parsed)
    keeps_code = options.bulk_memory is None or isinstance(heap, BestFitHeap)
    uses_bulk_memory = _has_bulk_memory(parsed) if keeps_code else bool(options.bulk_memory)
    editor = Editor(parsed)
    replaced = _Operation(parsed, heap, editor, options, uses_bulk_memory).perform()
    wasm = editor.encode()
    after = Module.parse(wasm)
    return Transplant(
        wasm,
        heap,
        options,
        len(module),
        replaced,
        len(after.functions) - len(parsed.functions),
        tuple(_dropped(parsed, after)),
        uses_bulk_memory,
    )


def replaceable_heap(module: Module) -> BlockHeap | BestFitHeap:
    """The heap of a module that a collector can be written into.

    Raises:
        UnsupportedGuestError: There is none; says what works for the module.
    """
    before = transplanted(module)
    if before is not None:
        raise UnsupportedGuestError(
            f"tinyheap {before.version} has written its collector into this module already; "
            "transplant the module that it was made from"
        )
    if any(memory.type.limits.shared for memory in module.memories) or len(module.memories) > 1:
        raise UnsupportedGuestError("this module shares its memory, or has several: expected one memory of its own")
    guest = identify(module)
    if guest.best_fit is not None:
        return guest.best_fit
    heap = block_heap(guest)
    parts.check(heap)
    return heap


class _Operation:
    """One transplant: what it is done to, and each step of it."""

    def __init__(
        self,
        module: Module,
        heap: BlockHeap | BestFitHeap,
        editor: Editor,
        options: Options,
        uses_bulk_memory: bool,
    ) -> None:
        self._module, self._heap, self._editor, self._options = module, heap, editor, options
        self._uses_bulk_memory = uses_bulk_memory

    def perform(self) -> tuple[int, ...]:
        """All steps; returns the functions that were changed."""
        module, heap, editor, options = self._module, self._heap, self._editor, self._options
        prefix = PREFIX if options.keep_names or _has_names(module) else None
        if isinstance(heap, BestFitHeap):
            changed = run_ahead(module, heap, editor, kernel("best_fit"), options, prefix)
        else:
            replacement = _Replacement(module, heap, editor, options, prefix, uses_bulk_memory=self._uses_bulk_memory)
            changed = replacement.perform()
        self._limit_memory()
        self._say_so()
        return changed

    def _limit_memory(self) -> None:
        """Let the engine refuse what is too much, so that the original's own last try is refused as well."""
        if self._options.limit_bytes is None:
            return
        limits = self._module.memories[0].type.limits
        pages = self._options.limit_bytes // WASM_PAGE_BYTES
        if pages < limits.minimum:
            raise UnsupportedGuestError(
                f"invalid limit of {self._options.limit_bytes} bytes: the module's memory begins with "
                f"{limits.minimum * WASM_PAGE_BYTES}; expected as much or more"
            )
        self._editor.set_maximum(0, pages if limits.maximum is None else min(pages, limits.maximum))

    def _say_so(self) -> None:
        producers = {name: dict(tools) for name, tools in self._module.producers.items()}
        producers.setdefault("processed-by", {})["tinyheap"] = __version__
        self._editor.set_custom_section("producers", write_producers(producers))
        self._editor.set_custom_section(SECTION, encode_transplanted(self._transplanted))

    @property
    def _transplanted(self) -> Transplanted:
        heap = self._heap
        if isinstance(heap, BestFitHeap):
            return Transplanted(__version__, best_fit=heap)
        return Transplanted(__version__, heap)


class _Replacement:
    """The next-fit kernel in place of a module's collector: each step of it."""

    def __init__(
        self,
        module: Module,
        heap: BlockHeap,
        editor: Editor,
        options: Options,
        prefix: str | None,
        *,
        uses_bulk_memory: bool,
    ) -> None:
        self._module, self._heap, self._editor, self._options = module, heap, editor, options
        self._uses_bulk_memory, self._prefix = uses_bulk_memory, prefix
        self._state = parts.add_globals(editor)

    def perform(self) -> tuple[int, ...]:
        """All steps; returns the functions that have another body."""
        self._hide_extra_pages()
        merger = self._merger()
        self._replace_alloc(merger)
        self._replace_collections(merger)
        return tuple(redirect.function for redirect in self._heap.redirects)

    def _merger(self) -> Merger:
        editor, options = self._editor, self._options
        code = parts.parts_of(editor, self._heap, self._state, growth=options.growth, clear_blocks=options.clear_blocks)
        code |= parts.counted(editor) if options.stats else parts.uncounted()
        code["original_alloc"] = self._ask_original()
        merger = Merger(editor, kernel("next_fit"), code, self._prefix)
        # The loops are the kernel's own functions, which need none of its imports.
        if self._uses_bulk_memory:
            code["fill"], code["copy"] = Code().memory_fill(0), Code().memory_copy(0, 0)
        else:
            code["fill"] = Code().call(merger.function("fill_by_loop"))
            code["copy"] = Code().call(merger.function("copy_by_loop"))
        return merger

    @property
    def _kind(self) -> str:
        return "precise" if self._heap.is_precise else "conservative"

    def _hide_extra_pages(self) -> None:
        """Let the program see the memory that it would have without the kernel."""
        for function, offset, _ in self._module.find("memory.size"):
            self._editor.insert_after(function, offset, self._less_extra_pages)

    @property
    def _less_extra_pages(self) -> Code:
        return Code().global_get(self._state.extra_pages).i32_sub()

    def _ask_original(self) -> Code:
        """The code that calls a copy of the original alloc, with size and layout on the operand stack."""
        alloc = self._heap.alloc_function
        declared, body = self._module.function_type(alloc), self._module.body(alloc)
        *instructions, _ = body.instructions()
        code = Code()
        for _, instruction in instructions:
            code += instruction.encoding
            if instruction.name == "memory.size":
                code += self._less_extra_pages
        name = None if self._prefix is None else f"{self._prefix}original_alloc"
        copied = self._editor.add_function(declared.parameters, declared.results, code, local_types_of(body), name)
        return Code(Code().drop().encoding * (2 - len(declared.parameters))).call(copied)

    def _replace_alloc(self, merger: Merger) -> None:
        """Give alloc the kernel's body; what is not among its parameters is among its locals then."""
        code, local_types = merger.code(f"alloc_{self._kind}")
        function, request = self._heap.alloc_function, self._heap.fixed_request
        parameters = self._module.function_type(function).parameters
        missing: list[ValueType] = ["i32"] * (2 - len(parameters))
        if request is not None:
            layout = parts.signed(request.layout)
            code = Code().i32_const(request.size_bytes).local_set(0).i32_const(layout).local_set(1) + code
        self._editor.replace_body(function, code, [*missing, *local_types])

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


def _has_names(module: Module) -> bool:
    return bool(module.function_indices)


def _has_bulk_memory(module: Module) -> bool:
    """Whether a module needs an engine with bulk memory already."""
    features = module.custom_section("target_features")
    if features is not None and b"+\x0bbulk-memory" in features.payload:
        return True
    return next(module.find(*_BULK_MEMORY), None) is not None


def _dropped(before: Module, after: Module) -> Iterator[str]:
    left = {section.name for section in after.custom_sections}
    return (section.name for section in before.custom_sections if section.name not in left)
