"""Writes tinyheap's collector into a module: nothing is compiled anew, and an ordinary module comes out.

    fast = transplant(module)                    bytes to bytes
    perform(module, Options(...)).report         what was changed, and how much larger it is

What becomes of a module:

    alloc                  the kernel's, in place of its body; whoever called it calls it still
    collections            functions that the program itself calls to collect call the kernel
    the original alloc     a copy, which is asked where there is no memory, so that it ends as it ever did, and for size 0
    memory.size            less the pages that the kernel added for itself, which the original does not have
    two globals            how many pages those are, and where the kernel's bitmap lies
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
from tinyheap.recognize.facts import BlockHeap, Role
from tinyheap.recognize.identify import block_heap, identify
from tinyheap.recognize.transplanted import SECTION, Transplanted, encode_transplanted, transplanted
from tinyheap.transplanting import parts
from tinyheap.transplanting.clock import Stopwatch, find_clock
from tinyheap.transplanting.merging import Merger, local_types_of
from tinyheap.transplanting.options import Options
from tinyheap.units import WASM_PAGE_BYTES
from tinyheap.wasm import Code, Editor, Module
from tinyheap.wasm.names import write_producers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tinyheap.recognize.facts import Guest
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
    heap: BlockHeap = field(repr=False)
    """Where its heap's parts are, which holds for both modules."""
    options: Options
    original_bytes: int
    """The size of the module before."""
    replaced: tuple[int, ...]
    """The functions that have another body now: the allocator, and those that collect."""
    added_functions: int
    dropped_sections: tuple[str, ...]
    """Custom sections that held offsets into code, which has moved: debug information above all."""
    uses_bulk_memory: bool
    clock: str | None
    """The imported function by which collections are timed, with its module; None where they are not, or there is none."""

    @property
    def added_bytes(self) -> int:
        """How much larger the module is; less than 0 where debug information was dropped."""
        return len(self.wasm) - self.original_bytes


def transplant(module: bytes, options: Options = _DEFAULT, *, force: bool = False) -> bytes:
    """A module with tinyheap's collector in it, in place of TinyGo's.

    Args:
        module: A WebAssembly module that TinyGo 0.20 to 0.39 compiled.
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
    operation = Operation(parsed, heap, editor, options)
    operation.perform()
    operation.say_so()
    wasm = editor.encode()
    after = Module.parse(wasm)
    return Transplant(
        wasm,
        heap,
        options,
        len(module),
        tuple(redirect.function for redirect in heap.redirects),
        len(after.functions) - len(parsed.functions),
        tuple(dropped_sections(parsed, after)),
        operation.uses_bulk_memory,
        operation.clock.name if operation.clock else None,
    )


def replaceable_heap(module: Module, guest: Guest, *, force: bool = False) -> BlockHeap:
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
            "transplant the module that it was made from"
        )
    if guest.best_fit is not None:
        raise UnsupportedGuestError(
            f"this module ({guest.runtime} {guest.version}, collector: {guest.collector}) has the collector of TinyGo 0.40 "
            "and later, which can be replaced while it runs (`tinyheap run`), but not in the module: only those up to 0.39 can"
        )
    heap = block_heap(guest)
    doubts = [f"{fact}: {doubt}" for fact, found in guest.evidence.items() if fact != _UNUSED for doubt in found.doubts]
    if doubts and not force:
        raise UnsupportedGuestError(
            f"this module's collector was recognized with doubt ({'; '.join(doubts)}); --force writes another one in "
            "nevertheless, and runs both modules to verify that it does the same"
        )
    parts.check(heap)
    if any(memory.type.limits.shared for memory in module.memories) or len(module.memories) != 1:
        raise UnsupportedGuestError("this module shares its memory, or has several: expected one memory of its own")
    return heap


@dataclass(frozen=True)
class Hooks:
    """What else is done as the heap is run."""

    parts: Mapping[str, Code]
    """The code for imports of the kernel that stand for nothing otherwise (`parts.untold`, `parts.uncounted`)."""
    around_alloc: Callable[[int], Code]
    """Makes alloc's body, given the index of the function that allocates, with alloc's type."""


class Operation:
    """One transplant: what it is done to, and each step of it.

    Args:
        module: The module.
        heap: Its heap.
        editor: Of the module.
        options: How the heap is to be run.
    """

    def __init__(self, module: Module, heap: BlockHeap, editor: Editor, options: Options) -> None:
        self._module, self._heap, self._editor, self._options = module, heap, editor, options
        self.uses_bulk_memory = _has_bulk_memory(module) if options.bulk_memory is None else options.bulk_memory
        self.state = parts.add_globals(editor)
        self.prefix = PREFIX if options.keep_names or _has_names(module) else None
        """Of the names of functions that are added; None where they get none."""
        self.clock = find_clock(module) if options.stats else None

    def perform(self, hooks: Hooks | None = None) -> None:
        """All steps."""
        self._hide_extra_pages()
        merger = self._merger({} if hooks is None else hooks.parts)
        self._replace_alloc(merger, hooks)
        self._replace_collections(merger)
        self._limit_memory()

    @cached_property
    def heap_parts(self) -> Mapping[str, Code]:
        """The code for what a kernel may ask of the heap and of memory."""
        found = parts.parts_of(
            self._editor, self._heap, self.state, growth=self._options.growth, clear_blocks=self._options.clear_blocks
        )
        if self.uses_bulk_memory:
            return {**found, "fill": Code().memory_fill(0), "copy": Code().memory_copy(0, 0)}
        # The loops are the kernel's own functions, which need none of its imports.
        loops = Merger(self._editor, kernel(), {}, self.prefix)
        return {
            **found,
            "fill": Code().call(loops.function("fill_by_loop")),
            "copy": Code().call(loops.function("copy_by_loop")),
        }

    def _merger(self, hooked: Mapping[str, Code]) -> Merger:
        counted = parts.counted(self._editor) if self._options.stats else parts.uncounted()
        code = {**self.heap_parts, **counted, **parts.untold(), **hooked, "original_alloc": self._ask_original()}
        around = {f"collect_{self._kind}": Stopwatch(self._editor, self.clock).timed} if self.clock else {}
        return Merger(self._editor, kernel(), code, self.prefix, around)

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
        declared, body = self._module.function_type(alloc), self._module.body(alloc)
        *instructions, _ = body.instructions()
        code = Code()
        for _, instruction in instructions:
            code += instruction.encoding
            if instruction.name == "memory.size":
                code += self._less_extra_pages
        name = None if self.prefix is None else f"{self.prefix}original_alloc"
        copied = self._editor.add_function(declared.parameters, declared.results, code, local_types_of(body), name)
        return Code(Code().drop().encoding * (2 - len(declared.parameters))).call(copied)

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

    def say_so(self) -> None:
        """Let the module say that it was transplanted."""
        producers = {name: dict(tools) for name, tools in self._module.producers.items()}
        producers.setdefault("processed-by", {})["tinyheap"] = __version__
        self._editor.set_custom_section("producers", write_producers(producers))
        self._editor.set_custom_section(SECTION, encode_transplanted(Transplanted(__version__, self._heap)))


@cache
def kernel() -> Module:
    """The kernel's functions, which `make kernel` compiles."""
    return Module.parse((files("tinyheap.transplanting") / "kernel" / "next_fit.wasm").read_bytes())


def _has_names(module: Module) -> bool:
    return bool(module.function_indices)


def _has_bulk_memory(module: Module) -> bool:
    """Whether a module needs an engine with bulk memory already."""
    features = module.custom_section("target_features")
    if features is not None and b"+\x0bbulk-memory" in features.payload:
        return True
    return next(module.find(*_BULK_MEMORY), None) is not None


def dropped_sections(before: Module, after: Module) -> Iterator[str]:
    """The names of the custom sections that a module has lost."""
    left = {section.name for section in after.custom_sections}
    return (section.name for section in before.custom_sections if section.name not in left)
