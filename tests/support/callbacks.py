"""Code that a heap calls while it works: each kind of it, and whatever such code may try to do."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tinyheap.errors import HeapCorruptError, HeapError, OutOfMemoryError
from tinyheap.heap import Collection, Doubling, Heap, Layout, Listener

Act = Callable[[], object]
"""What a callback does."""


EVENTS: Final = ("collection_began", "marked", "collection_ended", "grew", "out_of_memory")
"""Of which a listener is told."""


@dataclass
class Policy:
    """A growth policy that does something before it answers."""

    act: Act
    answer: Any = None
    limit_bytes: int | None = 4096

    def next_bytes(self, heap_bytes: int) -> Any:  # noqa: ANN401 - what it answers may make no sense
        self.act()
        return 2 * heap_bytes if self.answer is None else self.answer


@dataclass
class Watcher(Listener):
    """A listener that does something at each event; all of them if none is named."""

    act: Act
    events: Iterable[str] = EVENTS

    def _at(self, event: str) -> None:
        if event in self.events:
            self.act()

    def collection_began(self, heap: Heap, reason: str) -> None:
        self._at("collection_began")

    def marked(self, heap: Heap) -> None:
        self._at("marked")

    def collection_ended(self, heap: Heap, collection: Collection) -> None:
        self._at("collection_ended")

    def grew(self, heap: Heap, old_bytes: int, new_bytes: int) -> None:
        self._at("grew")

    def out_of_memory(self, heap: Heap, size_bytes: int) -> None:
        self._at("out_of_memory")


@dataclass
class Number:
    """A whole number that does something when it is asked which."""

    act: Act
    value: int

    def __index__(self) -> int:
        self.act()
        return self.value


class Pattern(Layout):
    """A layout that does something when it is looked at."""

    act: Act

    @classmethod
    def that(cls, act: Act) -> Pattern:
        made = cls(1, 1)
        # The base is frozen, and has slots.
        object.__setattr__(made, "act", act)
        return made

    def shortest(self) -> Layout:
        self.act()
        return Layout(1, 1)


@dataclass
class Hands:
    """What the code of one heap's callbacks works on."""

    heap: Heap
    ranges: list[tuple[Any, bytearray]] = field(default_factory=list)
    roots: list[Any] = field(default_factory=list)
    unlisten: list[Callable[[], None]] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The address of the first object; 0 where there is none, or the heap does not know."""
        return next((found.address for found in self.heap.objects()), 0)

    def add_range(self) -> None:
        words = bytearray(self.first.to_bytes(8, "little"))
        self.ranges.append((self.heap.roots.add_range(words), words))

    def drop_range(self) -> None:
        """Take a range of roots away, and its buffer with it."""
        if self.ranges:
            handle, words = self.ranges.pop()
            handle.remove()
            words.clear()

    def drop_root(self) -> None:
        if self.roots:
            self.roots.pop().remove()

    def fork(self) -> int:
        """How another process fares that looks at the heap as it is."""
        child = os.fork()
        if child == 0:
            looked = 1
            try:
                self.heap.census()
                looked = 0
            finally:
                os._exit(looked)
        return os.waitpid(child, 0)[1]

    def thread(self, act: Callable[[Heap], object]) -> str:
        """What becomes of it when another thread does something."""
        seen: list[str] = []

        def run() -> None:
            try:
                act(self.heap)
                seen.append("nothing")
            except HeapError as error:
                seen.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(30)
        return seen[0] if seen else "it hangs"


def fail() -> None:
    raise ValueError("a callback's own error")


def interrupt() -> None:
    raise KeyboardInterrupt


LOOKS: Final[dict[str, Callable[[Hands], object]]] = {
    "stats": lambda hands: hands.heap.stats(),
    "census": lambda hands: hands.heap.census(),
    "counters": lambda hands: hands.heap.counters()[:5],
    "objects": lambda hands: [found.address for found in hands.heap.objects()],
    "dump": lambda hands: str(hands.heap.dump()),
    "read": lambda hands: hands.heap.read(hands.heap.geometry.start_address, 8) if hands.first else b"",
    "repr": lambda hands: len(repr(hands.heap)) > 0,
}
OUTSIDE: Final[dict[str, Callable[[Hands], object]]] = {
    "add a root": lambda hands: hands.roots.append(hands.heap.roots.add(hands.first)),
    "drop a root": lambda hands: hands.drop_root(),
    "add a range": lambda hands: hands.add_range(),
    "drop a range": lambda hands: hands.drop_range(),
    "add a source": lambda hands: hands.roots.append(hands.heap.roots.add_source(list)),
    "push a task": lambda hands: hands.heap.roots.tasks.push(0x1_0000),
    "pop a task": lambda hands: hands.heap.roots.tasks.pop(),
    "listen": lambda hands: hands.unlisten.append(hands.heap.add_listener(Listener())),
    "stop listening": lambda hands: hands.unlisten.pop()() if hands.unlisten else None,
}
CHANGES: Final[dict[str, Callable[[Hands], object]]] = {
    "alloc": lambda hands: hands.heap.alloc(24),
    "alloc much": lambda hands: hands.heap.alloc(300),
    "alloc with a layout": lambda hands: hands.heap.alloc(400, Layout.pattern("p" + 40 * ".")),
    "alloc a number": lambda hands: hands.heap.alloc(Number(hands.heap.stats, 24)),  # type: ignore[arg-type]
    "alloc nothing": lambda hands: hands.heap.alloc(0) == hands.heap.zero_size_address,
    "alloc many": lambda hands: list(hands.heap.alloc_many(3, 24)),
    "realloc": lambda hands: hands.heap.realloc(hands.first, 200),
    "free": lambda hands: hands.heap.free(hands.first),
    "store": lambda hands: hands.heap.store_word(hands.first, 1),
    "write": lambda hands: hands.heap.write(hands.first, b"written"),
    "collect": lambda hands: hands.heap.collect().live_objects,
    "grow": lambda hands: hands.heap.grow(),
    "verify": lambda hands: hands.heap.verify(),
    "weak": lambda hands: hands.heap.weak(hands.first) is not None,
    "set a finalizer": lambda hands: hands.heap.set_finalizer(hands.first, None),
}
CLOSES: Final[dict[str, Callable[[Hands], object]]] = {
    "close": lambda hands: hands.heap.close(),
    "leave": lambda hands: hands.heap.__exit__(None, None, None),
}
STRANGE: Final[dict[str, Callable[[Hands], object]]] = {
    "fail": lambda hands: fail(),
    "interrupt": lambda hands: interrupt(),
    "copy": lambda hands: copy.copy(hands.heap),
    "copy deeply": lambda hands: copy.deepcopy(hands.heap),
    "pickle": lambda hands: pickle.dumps(hands.heap),
    "fork": lambda hands: hands.fork(),
    "alloc in a thread": lambda hands: hands.thread(lambda heap: heap.alloc(24)),
    "look in a thread": lambda hands: hands.thread(lambda heap: heap.stats()),
    "close in a thread": lambda hands: hands.thread(lambda heap: heap.close()),
    "push in a thread": lambda hands: hands.thread(lambda heap: heap.roots.tasks.push(0)),
}
ACTS: Final = {**LOOKS, **OUTSIDE, **CHANGES, **CLOSES, **STRANGE}


# ---- each kind of callback, by the name that the documentation has for it -------------------------------------------------


def call_policy(heap: Heap, act: Act) -> None:
    heap.growth = Policy(act)
    heap.grow()


def call_policy_in_allocation(heap: Heap, act: Act) -> None:
    heap.growth = Policy(act)
    heap.roots.add(heap.alloc(600))
    heap.alloc(600)


def call_source(heap: Heap, act: Act) -> None:
    def source() -> list[bytes]:
        act()
        return []

    with heap.roots.add_source(source):
        heap.collect()


def call_listener(event: str) -> Callable[[Heap, Act], None]:
    def call(heap: Heap, act: Act) -> None:
        heap.growth = Doubling(4096)
        heap.add_listener(Watcher(act, [event]))
        heap.collect()
        heap.grow()
        heap.roots.add(heap.alloc(1000))
        with contextlib.suppress(OutOfMemoryError):
            heap.alloc(8000)

    return call


def call_debug(heap: Heap, act: Act) -> None:
    heap.collect()


def call_finalizer(heap: Heap, act: Act) -> None:
    heap.set_finalizer(heap.alloc(24), lambda _: act())
    heap.collect()


def call_finalizer_in_allocation(heap: Heap, act: Act) -> None:
    heap.set_finalizer(heap.alloc(24), lambda _: act())
    heap.alloc(700)
    heap.alloc(700)


def call_finalizer_in_realloc(heap: Heap, act: Act) -> None:
    held = heap.alloc(100)
    heap.set_finalizer(heap.alloc(24), lambda _: act())
    heap.alloc(700)
    heap.realloc(held, 400)


def call_hook(heap: Heap, act: Act) -> None:
    references = [heap.weak(heap.alloc(24), lambda _: act())]
    heap.collect()
    assert references[0]() is None


def call_hook_in_free(heap: Heap, act: Act) -> None:
    address = heap.alloc(24)
    heap.weak(address, lambda _: act())
    heap.free(address)


def call_number(heap: Heap, act: Act) -> None:
    heap.alloc(Number(act, 24))  # type: ignore[arg-type]


def call_count(heap: Heap, act: Act) -> None:
    heap.alloc_many(Number(act, 3), 24)  # type: ignore[arg-type]


def call_layout(heap: Heap, act: Act) -> None:
    heap.alloc(24, Pattern.that(act))


CALLS: Final[dict[str, tuple[Callable[[Heap, Act], None], ...]]] = {
    "growth policy": (call_policy, call_policy_in_allocation),
    "root source": (call_source,),
    "listener": tuple(call_listener(event) for event in EVENTS),
    "debug callback": (call_debug,),
    "finalizer": (call_finalizer, call_finalizer_in_allocation, call_finalizer_in_realloc),
    "hook of a weak reference": (call_hook, call_hook_in_free),
    "number or layout of an argument": (call_number, call_count, call_layout),
}


def soundness(heap: Heap) -> str:
    """What is wrong with a heap; nothing in a sound one."""
    try:
        heap.verify()
    except HeapCorruptError as error:
        return str(error)
    return ""
