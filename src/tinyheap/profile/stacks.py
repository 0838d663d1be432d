"""The stacks of a recording as a tree, held in memory: there are few of them, however many objects there are."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from tinyheap.errors import RecordingCorruptError
from tinyheap.profile.result import row, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinyheap.recordings.recording import Recording

_RUNTIME: Final = "runtime."
"""What the names of the Go runtime's functions begin with."""
_HOLDS_PROGRAM: Final = re.compile(
    r"runtime\.(?:run|run\$\d+|initAll|callMain|wasmEntry\w+|.*\$gowrapper)(?:\$gowrapper)?(?:\.\w+)*"
)
"""Functions of the runtime that call the program, into which the compiler inlines `main.main` and the initializers of
packages, and the wrappers that goroutines begin in; the linker may have put words of its own behind their names."""
NO_STACK: Final = "[no stack]"
"""Stands for the function where an object has no stack."""

_TREES: Final[WeakKeyDictionary[Recording, StackTree]] = WeakKeyDictionary()

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class StackFrame:
    """A call: an instruction, or one that the compiler inlined.

    Where source lines are known, all calls of one function on one line are one, the first of them.
    """

    id: int
    """In the recording's table of frames; 0 where there is no stack."""
    function: str
    """The function that calls."""
    code_offset: int
    """Where the call stands in the program's file; -1 where unknown."""
    callee: str | None
    """The function called; None for an indirect call."""
    file: str | None = None
    """The source file of the call; None where unknown."""
    line: int | None = None
    """Its line there, from 1; None where unknown."""
    is_inlined: bool = False
    """Whether the function was inlined into its caller."""

    @property
    def place(self) -> str | None:
        """``file:line``; None where it is not known."""
        return None if self.file is None or self.line is None else f"{self.file}:{self.line}"

    @property
    def name(self) -> str:
        """The function, and the call's place in the source; or else, where that is known, in the program's file."""
        if self.place is not None:
            return f"{self.function} ({self.place})"
        return self.function if self.code_offset < 0 else f"{self.function}+{self.code_offset:#x}"

    @property
    def owner(self) -> str:
        """The function, and the call's place in the source where it is known."""
        return self.function if self.place is None else self.name

    @property
    def is_runtime(self) -> bool:
        """Whether the call is the Go runtime's own; a function that may hold inlined code of the program does not count.

        Where lines are known, so are inlined calls, and each function holds its own code only.
        """
        return self.function.startswith(_RUNTIME) if self.place is not None else is_runtime(self.function)


NO_FRAME: Final = StackFrame(0, NO_STACK, -1, None)


@lru_cache(maxsize=1 << 12)
def is_runtime(function: str) -> bool:
    """Whether a function's calls are the Go runtime's own; what holds inlined code of the program does not count."""
    return function.startswith(_RUNTIME) and not holds_program(function)


def holds_program(function: str) -> bool:
    """Whether it is a function of the runtime that may hold inlined code of the program."""
    return _HOLDS_PROGRAM.fullmatch(function) is not None


def _by_line(frames: Iterable[StackFrame]) -> dict[int, StackFrame]:
    """Frames by id; those of one function on one line are the first of them."""
    first: dict[tuple[str, str, bool], StackFrame] = {}
    by_id = {}
    for frame in frames:
        key = None if frame.place is None else (frame.function, frame.place, frame.is_inlined)
        by_id[frame.id] = frame if key is None else first.setdefault(key, frame)
    return by_id


def frames_of(recording: Recording) -> dict[int, StackFrame]:
    """The frames of a recording by id, with the one of the empty stack."""
    found = rows(recording, "SELECT id, function, code_offset, callee, file, line, inlined FROM frames ORDER BY id")
    return {NO_FRAME.id: NO_FRAME} | _by_line(StackFrame(*each) for each in found)


class Stack(NamedTuple):
    """A stack: its caller's stack, and its innermost frame."""

    id: int
    parent_id: int
    frame: StackFrame


class StackTree:
    """All stacks, parents before their children."""

    def __init__(self, stacks: Mapping[int, Stack], frames: Mapping[int, StackFrame]) -> None:
        self.stacks: Final = stacks
        """By id; the empty stack, 0, is not among them."""
        self.frames: Final = frames
        """By id; 0 stands for the frame of the empty stack."""

    @classmethod
    def of(cls, recording: Recording) -> StackTree:
        """The stacks of a recording; read again only when there are more.

        Raises:
            RecordingCorruptError: They do not form a tree, or a frame is missing.
        """
        (count,) = row(recording, "SELECT count(*) FROM stacks")
        known = _TREES.get(recording)
        if known is None or len(known.stacks) != count:
            known = _TREES[recording] = cls._read(recording)
        return known

    @classmethod
    def _read(cls, recording: Recording) -> StackTree:
        frames = frames_of(recording)
        stacks: dict[int, Stack] = {}
        for stack_id, parent_id, frame_id in rows(recording, "SELECT id, parent_id, frame_id FROM stacks ORDER BY id"):
            is_sound = 0 <= parent_id < stack_id and (not parent_id or parent_id in stacks) and stack_id not in stacks
            if not is_sound or not frame_id or frame_id not in frames:
                raise RecordingCorruptError(
                    f"{recording.path} is damaged: stack {stack_id} has parent {parent_id} and frame {frame_id}, "
                    "of which one does not exist, or comes later"
                )
            stacks[stack_id] = Stack(stack_id, parent_id, frames[frame_id])
        return cls(stacks, frames)

    def frame(self, stack_id: int) -> StackFrame:
        """The innermost frame of a stack; `NO_FRAME` of the empty one."""
        return self.stacks[stack_id].frame if stack_id else NO_FRAME

    def path(self, stack_id: int) -> tuple[StackFrame, ...]:
        """The frames of a stack, outermost first."""
        path = []
        while stack_id:
            _, stack_id, frame = self.stacks[stack_id]
            path.append(frame)
        return tuple(reversed(path))

    def deepest(self) -> tuple[StackFrame, ...]:
        """The frames of the stack that has most, the first of such, outermost first; none where there is no stack."""
        depths = {0: 0}
        for stack_id, parent_id, _ in self.stacks.values():
            depths[stack_id] = depths[parent_id] + 1
        return self.path(max(depths, key=lambda stack_id: depths[stack_id]))

    def sites(self) -> dict[int, StackFrame]:
        """The allocation site of each stack: its innermost frame outside of the runtime, or else its innermost frame.

        A function of the runtime that may hold inlined code of the program counts as outside (`is_runtime`).
        """
        outside: dict[int, StackFrame | None] = {0: None}
        sites = {0: NO_FRAME}
        for stack_id, parent_id, frame in self.stacks.values():
            outside[stack_id] = outside[parent_id] if frame.is_runtime else frame
            sites[stack_id] = outside[stack_id] or frame
        return sites

    def outermost(self, key: Callable[[StackFrame], Key]) -> Iterator[tuple[Key, int]]:
        """Each stack whose innermost frame is the first on it with its key: pairs of key and stack.

        All stacks that a key is on, each once, are these and what is below them.
        """
        children: dict[int, list[int]] = {}
        for stack_id, parent_id, _ in self.stacks.values():
            children.setdefault(parent_id, []).append(stack_id)
        on_path: set[Key] = set()
        # A stack to enter, or the key to leave once all below its stack was seen.
        waiting: list[tuple[int, Key | None]] = [(stack_id, None) for stack_id in children.get(0, ())]
        while waiting:
            stack_id, left = waiting.pop()
            if left is not None:
                on_path.remove(left)
                continue
            here = key(self.stacks[stack_id].frame)
            if here not in on_path:
                yield here, stack_id
                on_path.add(here)
                waiting.append((stack_id, here))
            waiting += [(child, None) for child in children.get(stack_id, ())]

    def sums(self, own: Mapping[int, tuple[int, ...]], width: int) -> dict[int, tuple[int, ...]]:
        """For each stack the sums of `own`, tuples of `width` values, over it and all stacks below it."""
        totals = {stack_id: list(own.get(stack_id, (0,) * width)) for stack_id in self.stacks}
        for stack_id, parent_id, _ in reversed(list(self.stacks.values())):
            if parent_id:
                totals[parent_id] = [
                    mine + below for mine, below in zip(totals[parent_id], totals[stack_id], strict=True)
                ]
        return {stack_id: tuple(values) for stack_id, values in totals.items()}
