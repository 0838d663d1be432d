"""The Go/JavaScript bridge: what ``syscall/js`` and TinyGo's runtime import from a JavaScript host.

Terms
-----
event       a call of a Go function from outside: ``_makeFuncWrapper`` gave the host a function; calling it
            leaves an object in ``_pendingEvent`` and runs the export ``resume``, which puts the result into
            that object.
references  how values cross: `tinyheap.hosts.gojs.references` and `tinyheap.hosts.gojs.abi`.

What the functions do was learned from programs and from the JavaScript that comes with them.  JavaScript's
errors go to the program where it can take them (calls and ``new``); everything else that goes wrong is a
HostError that says what the program asked for, and what it had looked for in vain before.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from tinyheap.errors import HostError
from tinyheap.hosts.gojs.abi import Served, Words, shape_of
from tinyheap.hosts.gojs.promises import ScriptPromise
from tinyheap.hosts.gojs.realm import WASM_BRIDGE, length_of
from tinyheap.hosts.gojs.references import ValueTable
from tinyheap.hosts.gojs.script import (
    UNDEFINED,
    ScriptArray,
    ScriptBytes,
    ScriptFunction,
    ScriptObject,
    Thrown,
    Value,
    number_of,
    text_of,
    utf8_of,
)
from tinyheap.hosts.imports import RequiredImport, Signature, define_method
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmtime import Linker

    from tinyheap.hosts.gojs.realm import Realm
    from tinyheap.hosts.memory import GuestMemory

MODULES = ("gojs", "env")
"""Under which names programs import the bridge; ``env`` before TinyGo 0.29."""

_NESTED_EVENTS_LIMIT = 32
PREFIX = "syscall/js."
"""Of the names of its functions that handle values."""


class Bridge(SoleOwner):
    """Serves one program's imports of the Go/JavaScript bridge.

    Args:
        realm: The JavaScript world that the program sees.
        memory: Gives the program's memory, once it has one.
        resume: Runs the program's export ``resume``.
        run_scheduler: Runs its export ``go_scheduler``.
        wait: Serves timers until something holds, or none is left.
    """

    def __init__(
        self,
        realm: Realm,
        memory: Callable[[], GuestMemory],
        resume: Callable[[], object],
        run_scheduler: Callable[[], object],
        wait: Callable[[Callable[[], bool]], object],
    ) -> None:
        self.realm = realm
        self._memory = memory
        self._resume = resume
        self._run_scheduler = run_scheduler
        self._wait = wait
        self._missing: deque[str] = deque(maxlen=4)
        self._nested_events = 0
        self._go = realm.make_object("go")
        self._go.put("_pendingEvent", None)
        self._go.put("_makeFuncWrapper", realm.make_function("_makeFuncWrapper", self._make_wrapper))
        first = [math.nan, 0, None, True, False, realm.global_object, self._go]
        self.table = ValueTable(realm.ledger, first)
        self._words = Words(self.table, memory)
        self._served: list[Served] = []
        self._names_at_start = frozenset(self._all_functions())

    def offer(self, linker: Linker, wanted: RequiredImport) -> bool:
        """Whether ``wanted`` is of this bridge; it is defined in ``linker`` then."""
        if wanted.module not in MODULES or wanted.signature is None:
            return False
        runtime = _RUNTIME.get((wanted.name, wanted.signature))
        if runtime is not None:
            define_method(linker, wanted, runtime.__get__(self))
            return True
        served = self._serve(wanted.name.removeprefix(PREFIX), wanted.signature)
        if served is None or not wanted.name.startswith(PREFIX):
            return False
        self._served.append(served)
        define_method(linker, wanted, served.serve)
        return True

    def _serve(self, name: str, signature: Signature) -> Served | None:
        found = shape_of(name, signature)
        if found is None:
            return None
        shape, addressed = found
        return Served(PREFIX + name, shape, addressed, partial(_VALUE_FUNCTIONS[name], self), self._words)

    def functions(self) -> dict[str, ScriptFunction]:
        """The functions that the program has put into the global object, by name.

        In an object for them, they are named with it: ``__wasm_bridge__.encrypt``.
        """
        return {name: function for name, function in self._all_functions().items() if name not in self._names_at_start}

    def _all_functions(self) -> dict[str, ScriptFunction]:
        place = self.realm.global_object.get(WASM_BRIDGE)
        inside = place.properties.items() if isinstance(place, ScriptObject) else ()
        named = [
            *self.realm.global_object.properties.items(),
            *((f"{WASM_BRIDGE}.{name}", each) for name, each in inside),
        ]
        return {name: value for name, value in named if isinstance(value, ScriptFunction)}

    def call_global(self, name: str, *arguments: object) -> object:
        """Call a function that the program has put into the global object.

        Args:
            name: Its name, as `functions` has it.
            arguments: Text, bytes, numbers, lists and mappings of them.

        Returns:
            Text, numbers, bytes, lists and mappings likewise; what a promise was kept with.

        Raises:
            HostError: If there is no such function, it throws, or its promise is broken, or never settled.
        """
        function = self.functions().get(name)
        if function is None:
            raise HostError(
                f"the program has put no function {name!r} into the global object; "
                f"it has {sorted(self.functions()) or 'none'}"
            )
        try:
            result = function.body(UNDEFINED, [self.realm.value_of(item) for item in arguments])
            if isinstance(result, ScriptPromise):
                result = self._awaited(name, result)
        except Thrown as thrown:
            raise HostError(f"{name} threw {thrown}") from thrown
        return python_of(result)

    def _awaited(self, name: str, promise: ScriptPromise) -> Value:
        """What a promise is kept with.

        Raises:
            Thrown: It is broken.
        """
        self._wait(lambda: promise.is_kept is not None)
        if promise.is_kept is None:
            raise HostError(
                f"{name} returned a promise that is neither kept nor broken, and nothing is left to wait for"
            )
        if not promise.is_kept:
            raise Thrown(promise.value)
        return promise.value

    def _make_wrapper(self, _this: Value, arguments: Sequence[Value]) -> Value:
        identity = arguments[0] if arguments else UNDEFINED
        return self.realm.make_function("Go function", partial(self._call_go, identity))

    def _call_go(self, identity: Value, this: Value, arguments: Sequence[Value]) -> Value:
        if self._nested_events >= _NESTED_EVENTS_LIMIT:
            raise HostError(f"the program and its JavaScript host called each other {_NESTED_EVENTS_LIMIT} deep")
        event = self.realm.make_object("event")
        event.put("id", identity)
        event.put("this", this)
        event.put("args", self.realm.make_array(arguments))
        self._go.put("_pendingEvent", event)
        self._nested_events += 1
        try:
            self._resume()
        finally:
            self._nested_events -= 1
        return event.get("result")

    def ticks_ms(self) -> float:
        """TinyGo's ``runtime.ticks`` up to 0.40: milliseconds."""
        return self.realm.world.wall_ns() / 1e6

    def ticks_ns(self) -> int:
        """TinyGo's ``runtime.ticks`` from 0.41 on: nanoseconds."""
        return self.realm.world.wall_ns()

    def sleep_ms(self, duration_ms: float, _context: int = 0) -> None:
        """TinyGo's ``runtime.sleepTicks`` up to 0.40: run the scheduler after that time."""
        self.realm.timers.add(duration_ms * 1e6, self._run_scheduler)

    def sleep_ns(self, duration_ns: int, _context: int = 0) -> None:
        """TinyGo's ``runtime.sleepTicks`` from 0.41 on."""
        self.realm.timers.add(duration_ns, self._run_scheduler)

    def finalize_ref(self, reference: int) -> None:
        """Give a reference back."""
        self.table.release(reference)

    def string_val(self, text: str) -> Value:
        """A string."""
        return text

    def value_get(self, place: Value, key: str) -> Value:
        """A property."""
        found = self._object(place, f"get {key!r}").get(key)
        if found is UNDEFINED and isinstance(place, ScriptObject):
            self._missing.append(f"{place.name}.{key}")
        return found

    def value_set(self, place: Value, key: str, value: Value) -> None:
        """Set a property."""
        self._object(place, f"set {key!r}").put(key, value)

    def value_delete(self, place: Value, key: str) -> None:
        """Delete a property."""
        self._object(place, f"delete {key!r}").remove(key)

    def value_index(self, place: Value, index: int) -> Value:
        """An element."""
        return self._object(place, f"get [{index}]").get(str(index))

    def value_set_index(self, place: Value, index: int, value: Value) -> None:
        """Set an element."""
        self._object(place, f"set [{index}]").put(str(index), value)

    def value_call(self, place: Value, name: str, arguments: list[Value]) -> Value:
        """Call a method."""
        method = self._object(place, f"call {name!r}").get(name)
        if method is UNDEFINED and isinstance(place, ScriptObject) and place.name.startswith("global"):
            raise HostError(f"the program called {place.name}.{name}, which its JavaScript host does not offer")
        return self.realm.call(method, place, arguments)

    def value_invoke(self, function: Value, arguments: list[Value]) -> Value:
        """Call a function."""
        self._object(function, "call")
        return self.realm.call(function, UNDEFINED, arguments)

    def value_new(self, function: Value, arguments: list[Value]) -> Value:
        """Use ``new``."""
        self._object(function, "construct")
        return self.realm.construct(function, arguments)

    def value_length(self, value: Value) -> int:
        """The property ``length`` as an integer."""
        length = number_of(length_of(value))
        return int(length) if math.isfinite(length) else 0

    def value_prepare_string(self, value: Value) -> tuple[Value, int]:
        """A value's text as bytes, for `value_load_string` to fetch, and their number."""
        data = self.realm.make_bytes(utf8_of(text_of(value)))
        return data, len(data.data)

    def value_load_string(self, prepared: Value, target: tuple[int, int]) -> None:
        """Copy prepared bytes into the program's memory."""
        data = self._bytes(prepared, "load a string").data
        if len(data) > target[1]:
            raise HostError(f"the program asked for a text of {len(data)} bytes in a buffer of {target[1]}")
        self._memory().write(target[0], data)

    def value_instance_of(self, value: Value, constructor: Value) -> int:
        """JavaScript's ``instanceof``."""
        return int(self.realm.instance_of(value, constructor))

    def copy_bytes_to_go(self, target: tuple[int, int], source: Value) -> int | None:
        """Bytes copied from a Uint8Array into the program, or None if it is none."""
        if not isinstance(source, ScriptBytes):
            return None
        data = source.data[: target[1]]
        self._memory().write(target[0], data)
        return len(data)

    def copy_bytes_to_js(self, target: Value, source: tuple[int, int]) -> int | None:
        """Bytes copied from the program into a Uint8Array, or None if it is none."""
        if not isinstance(target, ScriptBytes):
            return None
        count = min(source[1], len(target.data))
        target.data[:count] = self._memory().read(source[0], count)
        return count

    def _object(self, value: Value, wish: str) -> ScriptObject:
        if isinstance(value, ScriptObject):
            return value
        hint = f"; not offered here: {', '.join(self._missing)}" if self._missing else ""
        raise HostError(f"the program asked its JavaScript host to {wish} on {text_of(value)}{hint}")

    def _bytes(self, value: Value, wish: str) -> ScriptBytes:
        if not isinstance(value, ScriptBytes):
            raise HostError(f"the program asked its JavaScript host to {wish} from {text_of(value)}")
        return value


_RUNTIME: dict[tuple[str, Signature], Any] = {
    ("runtime.ticks", Signature((), ("f64",))): Bridge.ticks_ms,
    ("runtime.ticks", Signature((), ("i64",))): Bridge.ticks_ns,
    ("runtime.sleepTicks", Signature(("f64",))): Bridge.sleep_ms,
    ("runtime.sleepTicks", Signature(("f64", "i32"))): Bridge.sleep_ms,
    ("runtime.sleepTicks", Signature(("i64",))): Bridge.sleep_ns,
}
_VALUE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "finalizeRef": Bridge.finalize_ref,
    "stringVal": Bridge.string_val,
    "valueGet": Bridge.value_get,
    "valueSet": Bridge.value_set,
    "valueDelete": Bridge.value_delete,
    "valueIndex": Bridge.value_index,
    "valueSetIndex": Bridge.value_set_index,
    "valueCall": Bridge.value_call,
    "valueInvoke": Bridge.value_invoke,
    "valueNew": Bridge.value_new,
    "valueLength": Bridge.value_length,
    "valuePrepareString": Bridge.value_prepare_string,
    "valueLoadString": Bridge.value_load_string,
    "valueInstanceOf": Bridge.value_instance_of,
    "copyBytesToGo": Bridge.copy_bytes_to_go,
    "copyBytesToJS": Bridge.copy_bytes_to_js,
}


def is_served(name: str, signature: Signature) -> bool:
    """Whether a bridge serves an import of that name, from any of `MODULES`."""
    is_value_function = name.startswith(PREFIX) and shape_of(name.removeprefix(PREFIX), signature) is not None
    return is_value_function or (name, signature) in _RUNTIME


def python_of(value: Value, depth: int = 64) -> object:
    """A script value as Python's: text, numbers, bytes, None, lists and mappings.

    Raises:
        HostError: If it nests more than ``depth`` deep, as a value that holds itself does.
    """
    if depth == 0:
        raise HostError("the program returned a value that is nested too deep, or contains itself")
    if value is UNDEFINED or isinstance(value, ScriptFunction):
        return None
    if isinstance(value, ScriptArray):
        return [python_of(item, depth - 1) for item in value.items]
    if isinstance(value, ScriptBytes):
        return bytes(value.data)
    if isinstance(value, ScriptObject):
        return {key: python_of(item, depth - 1) for key, item in value.properties.items()}
    return value
