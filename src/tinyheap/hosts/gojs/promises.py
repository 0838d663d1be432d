"""JavaScript's Promise: a value that is there later, and what is to be done with it then.

::

    pending ──keep(value)──> kept          what waits is told of it from the queue of timers, never at once
       └────break(reason)──> broken
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyheap.hosts.gojs.script import UNDEFINED, Ledger, ScriptFunction, ScriptObject, Thrown, Value, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinyheap.hosts.gojs.realm import Realm


class ScriptPromise(ScriptObject):
    """A promise.

    Args:
        ledger: What its size is charged to.
        prototype: Promise.prototype.
    """

    __slots__ = ("_waiting", "is_kept", "value")

    def __init__(self, ledger: Ledger, prototype: ScriptObject) -> None:
        super().__init__(ledger, prototype, "Promise")
        self.is_kept: bool | None = None
        """None while it is pending."""
        self.value: Value = UNDEFINED
        """What it was kept with, or why it was broken."""
        self._waiting: list[Callable[[], object]] = []

    def text(self) -> str:
        """What ``String(promise)`` is in JavaScript."""
        return "[object Promise]"

    def settle(self, is_kept: bool, value: Value) -> None:
        """Keep or break it, unless that was done; a promise that it is kept with decides in its place."""
        if self.is_kept is not None:
            return
        if is_kept and isinstance(value, ScriptPromise):
            value.when_settled(lambda: self.settle(value.is_kept is True, value.value))
            return
        self.is_kept, self.value = is_kept, value
        for action in self._waiting:
            action()
        self._waiting.clear()

    def when_settled(self, action: Callable[[], object]) -> None:
        """Do something as soon as it is no longer pending."""
        if self.is_kept is None:
            self._waiting.append(action)
        else:
            action()


class Promises:
    """The constructor ``Promise`` and its methods, for one realm.

    Args:
        realm: Whose functions are called, and by whose timers.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self.prototype = realm.make_object()
        self.prototype.put("then", realm.make_function("then", self._then))
        self.prototype.put("catch", realm.make_function("catch", lambda this, a: self._then(this, [UNDEFINED, *a[:1]])))

    def new(self, arguments: Sequence[Value]) -> ScriptObject:
        """JavaScript's ``new Promise(executor)``.

        Raises:
            Thrown: The executor is no function.
        """
        executor = arguments[0] if arguments else UNDEFINED
        if not isinstance(executor, ScriptFunction):
            self._realm.throw("TypeError", f"Promise resolver {text_of(executor)} is not a function")
        promise = self._pending()
        try:
            self._realm.call(executor, UNDEFINED, [self._settler(promise, is_kept) for is_kept in (True, False)])
        except Thrown as thrown:
            promise.settle(False, thrown.value)
        return promise

    def _pending(self) -> ScriptPromise:
        return ScriptPromise(self._realm.ledger, self.prototype)

    def _settler(self, promise: ScriptPromise, is_kept: bool) -> ScriptFunction:
        def settle(_this: Value, arguments: Sequence[Value]) -> Value:
            promise.settle(is_kept, arguments[0] if arguments else UNDEFINED)
            return UNDEFINED

        return self._realm.make_function("resolve" if is_kept else "reject", settle)

    def _then(self, this: Value, arguments: Sequence[Value]) -> Value:
        if not isinstance(this, ScriptPromise):
            self._realm.throw("TypeError", f"{text_of(this)} is not a promise")
        follower = self._pending()
        handlers = [*arguments[:2], UNDEFINED, UNDEFINED]

        def react() -> None:
            handler = handlers[0] if this.is_kept else handlers[1]
            if not isinstance(handler, ScriptFunction):
                follower.settle(this.is_kept is True, this.value)
                return
            try:
                follower.settle(True, self._realm.call(handler, UNDEFINED, [this.value]))
            except Thrown as thrown:
                follower.settle(False, thrown.value)

        this.when_settled(lambda: self._realm.timers.add(0, react))
        return follower
