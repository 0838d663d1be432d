"""Names of call stacks with source lines, for messages about a program that was stopped.

Where the module has debug information, a stack is named ``store.New (store/store.go:9) < main.main (main.go:21, inlined)``.
What wasmtime knows of a stack are places in the module that was compiled, which is a changed one.  So the changes are made
again to find out where each place comes from.  That takes as long as preparing the module, and happens only when a
stack is shown; what cannot be found out is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tinyheap.errors import TinyheapError
from tinyheap.hosts.frames import GuestFrame, plain_names, without_ours

if TYPE_CHECKING:
    from tinyheap.guests.preparing import Form, Prepared
    from tinyheap.symbols.paths import ShortNames
    from tinyheap.symbols.places import Chain, Places
    from tinyheap.wasm.draft import Origins
    from tinyheap.wasm.module import Module

_MARK: Final = b".debug_info"


def namer_of(
    wasm: bytes, symbols: bytes | None, prepared: Prepared, form: Form, *, full_paths: bool
) -> Callable[[Sequence[GuestFrame]], tuple[str, ...]]:
    """What names the call stacks of a program.

    Args:
        wasm: Its module, as it was given.
        symbols: A module with debug information of the same code; None where the module itself may have it.
        prepared: What was made of it.
        form: What was to be made of it.
        full_paths: Whether files are named by their full paths on the machine that compiled them.
    """
    has_lines = _MARK in (wasm if symbols is None else symbols)
    return _Namer(wasm, symbols, prepared, form, full_paths=full_paths) if has_lines else plain_names


def origins_of(module: Module, prepared: Prepared, form: Form) -> Origins:
    """Where the code that was compiled comes from.

    Args:
        module: The program's, as it was given.
        prepared: What was made of it.
        form: What was to be made of it.
    """
    from tinyheap.guests.rewrite.instrumenting import edited
    from tinyheap.guests.rewrite.rewriting import take_out
    from tinyheap.wasm import Editor

    guest, served = prepared.guest, prepared.served
    if form.is_recorded and guest is not None:
        return edited(module, guest, served)[0].origins()
    editor = Editor(module)
    if served is not None:
        take_out(editor, served)
    return editor.origins()


class _Namer:
    def __init__(self, wasm: bytes, symbols: bytes | None, prepared: Prepared, form: Form, *, full_paths: bool) -> None:
        self._wasm, self._symbols, self._prepared, self._form = wasm, symbols, prepared, form
        self._full_paths = full_paths

    def __call__(self, frames: Sequence[GuestFrame]) -> tuple[str, ...]:
        """The names of a stack, innermost first."""
        try:
            addresses = [self._address(frame) for frame in frames]
            places = self._places([address for address in addresses if address is not None])
        except TinyheapError:
            return plain_names(frames)
        names: list[str] = []
        for frame, address in zip(frames, addresses, strict=True):
            names += self._named(frame, () if address is None else places.chain(address))
        return without_ours(names)

    @cached_property
    def _module(self) -> Module:
        from tinyheap.wasm import Module

        return Module.parse(self._wasm)

    @cached_property
    def _origins(self) -> Origins:
        """Where the code that was compiled comes from."""
        return origins_of(self._module, self._prepared, self._form)

    def _address(self, frame: GuestFrame) -> int | None:
        """Where a frame's instruction is in the module as it was given, as debug information counts."""
        from tinyheap.symbols.reading import code_section

        origin, code = self._origins.of(frame.function, frame.offset), code_section(self._module)
        return None if origin is None or code is None else origin[1] - code.offset

    def _places(self, addresses: Sequence[int]) -> Places:
        from tinyheap.symbols.reading import places_of

        return places_of(self._with_symbols, addresses)

    @cached_property
    def _with_symbols(self) -> Module:
        from tinyheap.wasm import Module

        return self._module if self._symbols is None else Module.parse(self._symbols)

    @cached_property
    def _files(self) -> ShortNames:
        """Names of files: short ones depend on all that the program has."""
        from tinyheap.symbols.paths import ShortNames
        from tinyheap.symbols.reading import code_section

        code = code_section(self._module)
        calls = self._module.find("call", "call_indirect")
        return ShortNames(self._places([offset - code.offset for _, offset, _ in calls] if code else []).files)

    def _named(self, frame: GuestFrame, chain: Chain) -> list[str]:
        """The names of a frame, and of the calls in it that the compiler inlined, innermost first."""
        names = []
        for depth, place in enumerate(chain):
            name = (None if depth else frame.name) or place.function or str(frame)
            file = place.file if self._full_paths or not place.file else self._files[place.file]
            where = [f"{file}:{place.line}"] if file and place.line else []
            details = ", ".join([*where, *(["inlined"] if depth else [])])
            names.append(f"{name} ({details})" if details else name)
        return names[::-1] or [str(frame)]
