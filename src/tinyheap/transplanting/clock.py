"""The time that collections take, by a clock that the program imports itself: WASI's, or that of TinyGo's runtime.

The clock is read around each collection.  WASI's writes to memory, where the bytes are put back at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.hosts.imports import Signature
from tinyheap.hosts.offered import WASI_MODULE, is_offered
from tinyheap.wasm import Code

if TYPE_CHECKING:
    from tinyheap.wasm import Editor, Module
    from tinyheap.wasm.entities import FunctionType
    from tinyheap.wasm.immediates import ValueType

EXPORT: Final = "tinyheap.nanoseconds"
"""The exported global that counts the time of all collections."""
_TICKS, _CLOCK_TIME_GET = "runtime.ticks", "clock_time_get"
_MONOTONIC, _PRECISION_NS = 1, 1
_SCRATCH_ADDRESS = 0
_NS_PER_MS: Final = 1e6
_LARGEST: Final = 9.2e18
"""About as much as a signed number of 64 bits holds."""


@dataclass(frozen=True)
class Clock:
    """An imported function that tells the time."""

    function: int
    name: str
    """As it is imported, with its module."""
    signature: Signature

    def now(self, editor: Editor) -> int:
        """Add a function that returns the time in nanoseconds, and 0 where the clock fails; its index."""
        code, local_types = self._wasi() if self.name.startswith(WASI_MODULE) else self._ticks()
        return editor.add_function((), ("i64",), code, local_types, "tinyheap.now")

    def _wasi(self) -> tuple[Code, list[ValueType]]:
        saved, now, error = range(3)
        code = Code().i32_const(_SCRATCH_ADDRESS).i64_load(0).local_set(saved)
        code = code.i32_const(_MONOTONIC).i64_const(_PRECISION_NS).i32_const(_SCRATCH_ADDRESS)
        code = code.call(self.function).local_set(error)
        code = code.i32_const(_SCRATCH_ADDRESS).i64_load(0).local_set(now)
        code = code.i32_const(_SCRATCH_ADDRESS).local_get(saved).i64_store(0)
        return code.local_get(now).i64_const(0).local_get(error).i32_eqz().select(), ["i64", "i64", "i32"]

    def _ticks(self) -> tuple[Code, list[ValueType]]:
        code = Code().call(self.function)
        if self.signature.results == ("i64",):
            return code, []
        # A host that tells nonsense must not end the program by a number that no integer holds.
        code = code.f64_const(_NS_PER_MS).f64_mul().local_tee(0).f64_const(0.0).f64_ge()
        code = code.local_get(0).f64_const(_LARGEST).f64_lt().i32_and()
        return code.if_("i64").local_get(0).i64_trunc_f64_s().else_().i64_const(0).end(), ["f64"]


def find_clock(module: Module) -> Clock | None:
    """The clock that a module imports, WASI's if there are two; None where it imports none."""
    found = [clock for index in range(module.imported_function_count) if (clock := _clock(module, index))]
    return min(found, key=lambda clock: not clock.name.startswith(WASI_MODULE), default=None)


def _clock(module: Module, index: int) -> Clock | None:
    imported, declared = module.functions[index].imported, module.function_type(index)
    assert imported is not None
    signature = Signature(tuple(declared.parameters), tuple(declared.results))
    is_clock = imported.name in (_TICKS, _CLOCK_TIME_GET) and is_offered(imported.module, imported.name, signature)
    return Clock(index, f"{imported.module}.{imported.name}", signature) if is_clock else None


class Stopwatch:
    """Measures functions of a module, all in one exported global."""

    def __init__(self, editor: Editor, clock: Clock) -> None:
        self._editor, self._now = editor, clock.now(editor)
        self._sum_ns = editor.add_global("i64", 0)
        editor.export(EXPORT, "global", self._sum_ns)

    def timed(self, function: int, declared: FunctionType) -> int:
        """A function that does what another one of that type does, and adds the time that it takes; its index."""
        begun, taken = (len(declared.parameters) + at for at in range(2))
        code = Code().call(self._now).local_set(begun)
        for parameter in range(len(declared.parameters)):
            code = code.local_get(parameter)
        code = code.call(function).call(self._now).local_get(begun).i64_sub().local_tee(taken)
        # A clock may be set back.
        code = code.i64_const(0).local_get(taken).i64_const(0).i64_gt_s().select()
        code = code.global_get(self._sum_ns).i64_add().global_set(self._sum_ns)
        return self._editor.add_function(declared.parameters, declared.results, code, ["i64", "i64"], "tinyheap.timed")
