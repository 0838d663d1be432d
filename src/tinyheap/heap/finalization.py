"""What happens to an unreachable object: weak references, then finalizers.

The original has neither, except that TinyGo 0.42 has finalizers of its own (`bestfit.afterlife`).  Between mark and sweep:

1. *Weak references* whose object was not reached are cleared, even if a finalizer is about to bring it back.
2. *Finalizers* of objects that were not reached become due, referrers before what they refer to: an object waits as long
   as another object that is due, or waits itself, leads to it.  Objects that wait or are due, and all that they lead to,
   live on through this collection (*resurrection*).  An object that leads to itself is never finalized: no order of such
   a cycle is right; break it by a weak reference.
3. After the sweep the finalizers that are due run, in the order in which they were set.  Each runs once; whether the
   object lives on is then up to the roots, like that of any other object.

This is Go's order (``runtime.SetFinalizer``), and bdwgc's.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

from tinyheap.heap.contract import NO_BLOCK, Engine, State
from tinyheap.ownership import SoleOwner

Finalizer = Callable[[int], object]


class WeakReference(SoleOwner):
    """An address that does not keep its object alive."""

    def __init__(self, address: int, on_clear: Callable[[WeakReference], object] | None = None) -> None:
        self._address = address
        self.on_clear = on_clear

    def __call__(self) -> int | None:
        """The object's address, or None when it is gone."""
        return self._address or None

    def clear(self) -> None:
        """Clear the reference, as when the object is freed."""
        self._address = 0

    def __repr__(self) -> str:
        return f"<WeakReference to {self._address:#x}>" if self._address else "<WeakReference, cleared>"


def report_errors(
    function: Callable[..., object], *arguments: object, hook: Callable[..., object] | None = None
) -> None:
    """Call what a user hooked in; its errors are shown as Python shows those of finalizers, and end there.

    Args:
        function: what to call.
        arguments: what with.
        hook: what is named as the place of the error; the function if None.
    """
    try:
        function(*arguments)
    except Exception as error:
        # An observer's fault must not end a collection half done.
        _report(hook or function, error)


def _report(hook: Callable[..., object], error: Exception) -> None:
    """Have Python itself report an error in a hook to `sys.unraisablehook`, whose argument only Python can make."""
    nothing = _Nothing()
    reference = weakref.ref(nothing, _Reported(hook, error))
    del nothing, reference


class _Nothing:
    """Something to refer to weakly."""


class _Reported:
    """The callback of a weak reference: it fails as a hook did, and bears its name."""

    def __init__(self, hook: Callable[..., object], error: Exception) -> None:
        self.__wrapped__ = hook
        self._error = error

    def __call__(self, _: object) -> None:
        raise self._error

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


class Afterlife:
    """The weak references and finalizers of one heap, by the head block of their object."""

    def __init__(self) -> None:
        self._weak: dict[int, list[WeakReference]] = {}
        self._finalizers: dict[int, tuple[int, Finalizer]] = {}
        self._gone: list[int] = []
        self._ready: list[int] = []
        self._running: list[int | WeakReference] = []
        self.due: deque[tuple[int | WeakReference, Callable[..., object]]] = deque()
        """What is to be called after a collection: finalizers with addresses, hooks with cleared weak references."""

    @property
    def is_pressing(self) -> bool:
        """Whether so many finalizers were set that an idle mutator should collect."""
        return False

    def problems(self, most: int) -> list[str]:
        """What is wrong with finalizers that lie on the heap, one line per problem."""
        return []

    def add_weak(self, head: int, reference: WeakReference) -> None:
        """Clear a reference when the object dies."""
        self._weak.setdefault(head, []).append(reference)

    def set_finalizer(self, head: int, address: int, finalizer: Finalizer | None) -> None:
        """One finalizer per object: a later one takes the earlier one's place, None takes it away."""
        self._finalizers.pop(head, None)
        if finalizer is not None:
            self._finalizers[head] = (address, finalizer)

    def moved(self, old_head: int, new_head: int, new_address: int) -> None:
        """A reallocation moved an object: its finalizer goes with it; weak references stay with the old place."""
        if old_head in self._finalizers:
            self._finalizers[new_head] = (new_address, self._finalizers.pop(old_head)[1])

    def forget(self, head: int, address: int) -> None:
        """An object was freed on request: its finalizer does not run, its weak references are cleared."""
        self._finalizers.pop(head, None)
        self.due = deque(call for call in self.due if call[0] != address)
        self._clear(head)

    def due_addresses(self) -> list[int]:
        """Objects whose finalizers are due, or running: roots until they have run."""
        arguments = [*self._running, *(argument for argument, _ in self.due)]
        return [argument for argument in arguments if isinstance(argument, int)]

    @property
    def has_due(self) -> bool:
        """Whether anything is to be called."""
        return bool(self.due)

    def after_mark(self, engine: Engine) -> int:
        """Decide who is gone and who comes back, marking those; returns what ``Engine.finish_mark`` does.

        Nothing is cleared or due before `commit`, so that a collection that fails has no effect.
        """
        self._gone = [head for head in self._weak if engine.state(head) is not State.MARK]
        return self._after_mark_finalizers(engine)

    def _after_mark_finalizers(self, engine: Engine) -> int:
        lost = [head for head in self._finalizers if engine.state(head) is not State.MARK]
        unreadable = NO_BLOCK
        for head in lost:
            engine.mark_children(head)
            unreadable = max(unreadable, engine.finish_mark())
        # What another lost object leads to is marked by now, and waits.
        self._ready = [head for head in lost if engine.state(head) is not State.MARK]
        engine.mark_addresses([self._finalizers[head][0] for head in self._ready])
        return max(unreadable, engine.finish_mark())

    def commit(self) -> None:
        """Carry out what the mark phase decided."""
        for head in self._gone:
            self._clear(head)
        self.due += [self._finalizers.pop(head) for head in self._ready]

    def _clear(self, head: int) -> None:
        for reference in self._weak.pop(head, ()):
            reference.clear()
            if reference.on_clear is not None:
                self.due.append((reference, reference.on_clear))

    def run(self) -> None:
        """Call what is due; it may use the heap as it likes."""
        while self.due:
            self._run_one(*self.due.popleft())

    def _run_one(self, argument: int | WeakReference, function: Callable[..., object]) -> None:
        self._running.append(argument)
        try:
            report_errors(function, argument)
        finally:
            self._running.pop()
