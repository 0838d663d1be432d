"""Boards, by the RAM that a program has on them, and whether a program passes in it: its heap is fixed there.

The figures are those of TinyGo's linker scripts, by which it divides a board's RAM: the stack first, then variables, and the
heap up to the end.  How large the variables are only the linker knows, so that what is left for the heap is an upper bound.

A trace is run in exactly that heap.  A module has its stack and its variables in its memory, which is whole pages of 64 KiB: it
is run in as many of them as the RAM has, to which it grows page by page; boards with less than that are for traces only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tinyheap.errors import ConditionError, InvalidSizeError, LabError
from tinyheap.guests.opening import NATIVE
from tinyheap.guests.serve.growing import GROWTH as ABOUT_GROWTH
from tinyheap.heap.collectors import Collector
from tinyheap.heap.contract import Gc
from tinyheap.heap.engines import choose_engine, engine_name_of
from tinyheap.lab.conditions import DEFAULT, Condition
from tinyheap.lab.fitting import Limit, ending, obstacle_of, run_once
from tinyheap.traces.replay import replay
from tinyheap.units import KIB, WASM_PAGE_BYTES, parse_size

if TYPE_CHECKING:
    from tinyheap.lab.running import Subject
    from tinyheap.traces.trace import Trace


GROWTH: Final = "growth"
PAGE_BY_PAGE: Final = f"step:{WASM_PAGE_BYTES}"


@dataclass(frozen=True, slots=True)
class Device:
    """A board, by its name as a target of TinyGo's; or any size of RAM."""

    name: str
    ram_bytes: int
    stack_bytes: int
    """Of the program's first stack; 0 where it is not counted."""
    source: str
    """The linker script that says so, among TinyGo's ``targets``; empty for a size."""

    @property
    def heap_bytes(self) -> int:
        """What is left for variables and the heap."""
        return self.ram_bytes - self.stack_bytes


DEVICES: Final = (
    Device("microbit", 16 * KIB, 2 * KIB, "nrf51.ld"),
    Device("arduino-nano33", 32 * KIB, 2 * KIB, "atsamd21.ld"),
    Device("microbit-v2", 128 * KIB, 4 * KIB, "nrf52833.ld"),
    Device("feather-stm32f405", 128 * KIB, 4 * KIB, "stm32f405.ld"),
    Device("feather-m4", 192 * KIB, 4 * KIB, "atsamd51.ld"),
    Device("pca10056", 256 * KIB, 4 * KIB, "nrf52840.ld"),
    Device("pico", 256 * KIB, 2 * KIB, "pico.ld, rp2040.ld"),
    Device("pico2", 512 * KIB, 2 * KIB, "rp2350.ld"),
)


@dataclass(frozen=True, slots=True)
class DeviceFit:
    """Whether a program passes on a device, under one condition."""

    condition: str
    """Whatever else was chosen; of a trace its collector and how it marks."""
    device: Device
    limit: Limit
    """`Limit.MEMORY` of a module, `Limit.BLOCKS` of a trace."""
    size_bytes: int
    """Of the memory, or the heap, that it was run in."""
    passed: bool
    obstacle: tuple[str, ...]
    """Why it does not pass, a phrase each; empty where it does."""


def device_named(text: str) -> Device:
    """The board of that name; or a device with that much RAM, all of it for the heap of a trace, as ``264KiB``.

    Raises:
        LabError: It is neither.
    """
    for device in DEVICES:
        if device.name == text:
            return device
    try:
        return Device(text, parse_size(text), 0, "")
    except InvalidSizeError:
        names = ", ".join(device.name for device in DEVICES)
        raise LabError(f"invalid device {text!r}: expected {names}, or a size of RAM such as 264KiB") from None


def fit_device(
    subject: Subject, device: Device, conditions: Sequence[Condition] = (Condition(),)
) -> tuple[DeviceFit, ...]:
    """Whether a module passes in the RAM of a device, under each of some conditions.

    Args:
        subject: The program.
        device: Where it is to run.
        conditions: What else is chosen.

    Raises:
        LabError: The device has less RAM than a page.
        ConditionError: A condition has what the device decides: a memory limit, or growth.
        InputError: The module cannot be read.
    """
    size_bytes = device.ram_bytes // WASM_PAGE_BYTES * WASM_PAGE_BYTES
    if not size_bytes:
        raise LabError(
            f"{device.name} has {device.ram_bytes:,} bytes of RAM, less than a page of a module's memory "
            f"({WASM_PAGE_BYTES:,}): try a trace"
        )
    subject.identity  # noqa: B018 - which finds out whether the module can be read
    found = []
    for condition in conditions:
        outcome = run_once(subject, _on_device(condition, size_bytes))
        # Nor is anything to be said of growth, which is of runs where memory could be larger.
        why = () if outcome.passed else tuple(each for each in ending(outcome) if not each.startswith(ABOUT_GROWTH))
        found.append(DeviceFit(str(condition), device, Limit.MEMORY, size_bytes, outcome.passed, why))
    return tuple(found)


def _on_device(condition: Condition, size_bytes: int) -> Condition:
    """A condition in so much memory: all of it can be used, as where it is there from the start."""
    decided = (Limit.MEMORY, GROWTH)
    if given := [name for name in decided if condition.value(name) != DEFAULT]:
        raise ConditionError(f"invalid condition '{condition}': a device decides on {given[0]}; leave it out")
    grown = condition if condition.value("gc") == NATIVE else condition.changed(GROWTH, PAGE_BY_PAGE)
    return grown.changed(Limit.MEMORY, size_bytes)


def fit_trace_device(
    trace: Trace, device: Device, collectors: Sequence[Collector] = tuple(Collector), gc: Gc = Gc.CONSERVATIVE
) -> tuple[DeviceFit, ...]:
    """Whether a trace runs to its end in the RAM of a device, on each of some collectors.

    Args:
        trace: What the program asked of its heap.
        device: Where it is to run.
        collectors: Which ones to try.
        gc: Which words of objects may be pointers; a leaking heap is never collected.

    Raises:
        TraceError: The trace cannot be run.
    """
    found = []
    for collector in collectors:
        engine, size_bytes = engine_name_of(choose_engine(None, collector)), device.heap_bytes
        result = replay(trace, gc, engine, collector=collector, heap_bytes=size_bytes, limit_bytes=size_bytes)
        why = obstacle_of(result)
        found.append(DeviceFit(f"{collector} {gc}", device, Limit.BLOCKS, size_bytes, not why, why))
    return tuple(found)
