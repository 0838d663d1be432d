"""The global object that a Go program finds in its JavaScript host, and all objects that it leads to.

It offers what programs that TinyGo compiled ask for: constructors (Object, Array, Uint8Array, Function,
Error, Date, Promise), ``crypto.getRandomValues``, ``performance.now``, ``console``, ``setTimeout``, and of Node's
``fs`` and ``process`` what a program without files needs: writing to the standard streams; every other file
operation answers "not implemented". Some programs leave their functions in an object ``__wasm_bridge__``, and
call its ``_initialized`` then. Another property of the global object is ``undefined``, as in any
JavaScript host that lacks it.
"""

from __future__ import annotations

import datetime
import heapq
import itertools
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from tinyheap.errors import HostError
from tinyheap.hosts.gojs.promises import Promises
from tinyheap.hosts.gojs.script import (
    UNDEFINED,
    Ledger,
    ScriptArray,
    ScriptBytes,
    ScriptFunction,
    ScriptObject,
    Thrown,
    Value,
    byte_of,
    length_of_text,
    number_of,
    text_of,
    utf8_of,
)
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinyheap.hosts.gojs.script import Body
    from tinyheap.hosts.grants import OutputStream
    from tinyheap.hosts.world import World

WASM_BRIDGE = "__wasm_bridge__"
"""A property of the global object: an object in which some programs leave their functions."""
_PENDING_TIMERS_LIMIT = 1 << 16
_ARRAY_LENGTH_LIMIT = (1 << 32) - 1
_UNSUPPORTED_FILE_OPERATIONS = [
    "chmod",
    "chown",
    "close",
    "fchmod",
    "fchown",
    "fstat",
    "ftruncate",
    "lchown",
    "link",
    "lstat",
    "mkdir",
    "open",
    "read",
    "readdir",
    "readlink",
    "rename",
    "rmdir",
    "stat",
    "symlink",
    "truncate",
    "unlink",
    "utimes",
]


class Timers:
    """What is to be called later, in the order of their times.

    Args:
        world: Whose monotonic clock counts.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self._cancelled: set[int] = set()

    def add(self, delay_ns: float, action: Callable[[], object]) -> int:
        """A number for ``action``, to be called no sooner than ``delay_ns`` nanoseconds from now.

        Raises:
            HostError: If very many wait already.
        """
        if len(self._queue) >= _PENDING_TIMERS_LIMIT:
            raise HostError(f"the program has {len(self._queue)} timers waiting and asks for another")
        delay_ns = int(min(max(delay_ns, 0), 1 << 62)) if delay_ns == delay_ns else 0
        number = next(self._numbers)
        heapq.heappush(self._queue, (self._world.monotonic_ns() + delay_ns, number, action))
        return number

    def cancel(self, number: int) -> None:
        """Forget the timer of that number, if it still waits."""
        if any(waiting == number for _, waiting, _ in self._queue):
            self._cancelled.add(number)

    def next_delay_ns(self) -> int | None:
        """Nanoseconds until the first timer is due, 0 if it is, None if none waits."""
        while self._queue and self._queue[0][1] in self._cancelled:
            self._cancelled.discard(heapq.heappop(self._queue)[1])
        return max(0, self._queue[0][0] - self._world.monotonic_ns()) if self._queue else None

    def run_first(self) -> None:
        """Call the first timer's action; `next_delay_ns` has said that there is one."""
        heapq.heappop(self._queue)[2]()


class Realm(SoleOwner):
    """One JavaScript world: a global object and the prototypes behind it.

    Args:
        world: Its clock and randomness.
        stdout: Takes what ``console.log`` and ``fs.write`` to 1 say.
        stderr: The same for ``console.error`` and 2.
        limit_bytes: The most that its values may hold, roughly.
    """

    def __init__(self, world: World, stdout: OutputStream, stderr: OutputStream, limit_bytes: int) -> None:
        self.world = world
        self.ledger = Ledger(limit_bytes)
        self.timers = Timers(world)
        self._streams = {1: stdout, 2: stderr}
        self._object_prototype = ScriptObject(self.ledger)
        self._function_prototype = self.make_object()
        self._array_prototype = self.make_object()
        self._bytes_prototype = self.make_object()
        self._error_prototype = self.make_object()
        self._date_prototype = self.make_object()
        self.global_object = self.make_object("global")
        self.global_object.put("globalThis", self.global_object)
        self.global_object.put("global", self.global_object)
        self._add_constructors()
        self._add_methods()
        self._add_web()
        self._add_node()

    def make_object(self, name: str = "Object") -> ScriptObject:
        """A new object; ``name`` is for messages."""
        return ScriptObject(self.ledger, self._object_prototype, name)

    def make_array(self, items: Sequence[Value]) -> ScriptArray:
        """A new array of ``items``."""
        return ScriptArray(self.ledger, self._array_prototype, items)

    def make_bytes(self, data: bytes | bytearray) -> ScriptBytes:
        """A new Uint8Array with a copy of ``data``."""
        return ScriptBytes(self.ledger, self._bytes_prototype, memoryview(bytearray(data)))

    def make_function(self, name: str, body: Body) -> ScriptFunction:
        """A new function; ``name`` is for messages."""
        return ScriptFunction(self.ledger, self._function_prototype, name, body)

    def make_error(self, kind: str, message: str) -> ScriptObject:
        """A new error object of that kind (Error, TypeError, RangeError)."""
        error = ScriptError(self.ledger, self._error_prototype, kind)
        error.put("name", kind)
        error.put("message", message)
        return error

    def throw(self, kind: str, message: str) -> NoReturn:
        """Throw an error object at the program.

        Raises:
            Thrown: Always.
        """
        raise Thrown(self.make_error(kind, message))

    def call(self, function: Value, this: Value, arguments: Sequence[Value]) -> Value:
        """What ``function`` returns when called with that ``this``.

        Raises:
            Thrown: If it is not a function, or throws.
        """
        if not isinstance(function, ScriptFunction):
            self.throw("TypeError", f"{text_of(function)} is not a function")
        return function.body(this, arguments)

    def construct(self, function: Value, arguments: Sequence[Value]) -> Value:
        """What ``new function(...)`` makes.

        Raises:
            Thrown: If it is not a constructor, or throws.
        """
        if not isinstance(function, ScriptFunction) or function.construct is None:
            self.throw("TypeError", f"{text_of(function)} is not a constructor")
        return function.construct(arguments)

    def instance_of(self, value: Value, constructor: Value) -> bool:
        """JavaScript's ``value instanceof constructor``."""
        if not isinstance(constructor, ScriptFunction):
            self.throw("TypeError", "Right-hand side of 'instanceof' is not callable")
        return isinstance(value, ScriptObject) and value.inherits(constructor.get("prototype"))

    def value_of(self, item: object) -> Value:
        """A Python value as a script value: text, bytes, numbers, None, lists and mappings of them.

        Raises:
            HostError: If there is no such script value.
        """
        if item is None or isinstance(item, (bool, float, str, ScriptObject)):
            return item
        if isinstance(item, int) and abs(item) < 1 << 53:
            return item
        if isinstance(item, (bytes, bytearray)):
            return self.make_bytes(item)
        if isinstance(item, (list, tuple)):
            return self.make_array([self.value_of(element) for element in item])
        if isinstance(item, dict):
            made = self.make_object()
            for key, value in item.items():
                made.put(str(key), self.value_of(value))
            return made
        raise HostError(
            f"this {type(item).__name__} cannot be passed to JavaScript; pass text, bytes, numbers below 2**53, lists"
        )

    def _add_constructors(self) -> None:
        self._constructor("Object", self._object_prototype, self._new_object)
        self._constructor("Function", self._function_prototype, self._new_function)
        self._constructor("Array", self._array_prototype, self._new_array)
        self._constructor("Uint8Array", self._bytes_prototype, self._new_bytes)
        self._constructor("Date", self._date_prototype, self._new_date)
        promises = Promises(self)
        self._constructor("Promise", promises.prototype, promises.new)
        for kind in ("Error", "TypeError", "RangeError"):
            self._constructor(kind, self._error_prototype, partial(self._new_error, kind))

    def _constructor(
        self, name: str, prototype: ScriptObject, construct: Callable[[Sequence[Value]], ScriptObject]
    ) -> None:
        function = self.make_function(name, lambda _this, arguments: construct(arguments))
        function.construct = construct
        function.put("prototype", prototype)
        prototype.put("constructor", function)
        self.global_object.put(name, function)

    def _add_methods(self) -> None:
        methods: dict[ScriptObject, dict[str, Body]] = {
            self._object_prototype: {
                "toString": lambda this, _: text_of(this),
                "valueOf": lambda this, _: this,
                "hasOwnProperty": _has_own_property,
            },
            self._array_prototype: {"push": _push, "join": self._join},
            self._bytes_prototype: {"subarray": self._subarray, "slice": self._slice, "set": self._set_bytes},
            self._date_prototype: {
                "getTimezoneOffset": lambda _this, _: self.world.minutes_behind_utc(),
                "getTime": lambda this, _: _time_of(this),
                "valueOf": lambda this, _: _time_of(this),
            },
        }
        for prototype, members in methods.items():
            self._fill(prototype, members)
        keys = self.make_function("Object.keys", lambda _this, arguments: self.make_array(_own_keys(arguments)))
        _object(self.global_object.get("Object")).put("keys", keys)
        now = self.make_function("Date.now", lambda _this, _: self.world.wall_ns() // 1_000_000)
        _object(self.global_object.get("Date")).put("now", now)

    def _add_web(self) -> None:
        self._namespace("crypto", {"getRandomValues": self._random_values})
        self._namespace("performance", {"now": lambda _this, _: self.world.monotonic_ns() / 1e6})
        say, complain = partial(self._print, 1), partial(self._print, 2)
        self._namespace("console", {"log": say, "info": say, "debug": say, "warn": complain, "error": complain})
        self._namespace(WASM_BRIDGE, {"_initialized": lambda _this, _: UNDEFINED})
        self._fill(self.global_object, {"setTimeout": self._set_timeout, "clearTimeout": self._clear_timeout})

    def _add_node(self) -> None:
        operations: dict[str, Body] = dict.fromkeys(_UNSUPPORTED_FILE_OPERATIONS, self._not_implemented)
        files = self._namespace(
            "fs",
            operations
            | {
                "write": self._write,
                "writeSync": self._write_now,
                "fsync": lambda _, a: self._answer(a, None),
            },
        )
        constants = self.make_object("fs.constants")
        for name in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_EXCL", "O_DIRECTORY"):
            constants.put(name, -1)
        files.put("constants", constants)
        ids: dict[str, Body] = dict.fromkeys(("getuid", "getgid", "geteuid", "getegid"), lambda _this, _: -1)
        refused: dict[str, Body] = dict.fromkeys(("getgroups", "umask", "cwd", "chdir"), self._refuse)
        process = self._namespace("process", ids | refused)
        process.put("pid", -1)
        process.put("ppid", -1)

    def _namespace(self, name: str, members: dict[str, Body]) -> ScriptObject:
        namespace = self.make_object(f"global.{name}")
        self._fill(namespace, members)
        self.global_object.put(name, namespace)
        return namespace

    def _fill(self, place: ScriptObject, members: dict[str, Body]) -> None:
        for name, body in members.items():
            place.put(name, self.make_function(name, body))

    def _new_object(self, arguments: Sequence[Value]) -> ScriptObject:
        return arguments[0] if arguments and isinstance(arguments[0], ScriptObject) else self.make_object()

    def _new_function(self, _: Sequence[Value]) -> ScriptObject:
        raise HostError("the program asked its host to run JavaScript source (new Function), which is not offered")

    def _new_array(self, arguments: Sequence[Value]) -> ScriptObject:
        if len(arguments) != 1 or isinstance(arguments[0], (str, bool)) or not _is_number(arguments[0]):
            return self.make_array(arguments)
        array = self.make_array(())
        array.resize(self._length(arguments[0], _ARRAY_LENGTH_LIMIT))
        return array

    def _new_bytes(self, arguments: Sequence[Value]) -> ScriptObject:
        source = arguments[0] if arguments else 0
        if isinstance(source, ScriptBytes):
            return self.make_bytes(bytes(source.data))
        if isinstance(source, ScriptArray):
            return self.make_bytes(bytes(map(byte_of, source.items)))
        if isinstance(source, ScriptObject):
            raise HostError(f"new Uint8Array of {source.name} is not offered; give a length, bytes or an array")
        count = self._length(source, self.ledger.limit_bytes - self.ledger.held_bytes)
        return self.make_bytes(bytes(count))

    def _new_date(self, arguments: Sequence[Value]) -> ScriptObject:
        moment = number_of(arguments[0]) if arguments else float(self.world.wall_ns() // 1_000_000)
        return ScriptDate(self.ledger, self._date_prototype, moment)

    def _new_error(self, kind: str, arguments: Sequence[Value]) -> ScriptObject:
        return self.make_error(kind, text_of(arguments[0]) if arguments else "")

    def _length(self, value: Value, most: int) -> int:
        number = number_of(value)
        if not 0 <= number <= most or number != int(number):
            self.throw("RangeError", f"Invalid array length: {text_of(value)}")
        return int(number)

    def _join(self, this: Value, arguments: Sequence[Value]) -> Value:
        separator = text_of(arguments[0]) if arguments else ","
        return separator.join(text_of(item) for item in _array(this).items)

    def _subarray(self, this: Value, arguments: Sequence[Value]) -> Value:
        whole = _bytes(this)
        return ScriptBytes(self.ledger, self._bytes_prototype, whole.data[_slice_of(arguments)], owner=whole)

    def _slice(self, this: Value, arguments: Sequence[Value]) -> Value:
        return self.make_bytes(bytes(_bytes(this).data[_slice_of(arguments)]))

    def _set_bytes(self, this: Value, arguments: Sequence[Value]) -> Value:
        target, source = _bytes(this).data, _bytes(arguments[0] if arguments else UNDEFINED).data
        offset = self._length(arguments[1], len(target)) if len(arguments) > 1 else 0
        if len(source) > len(target) - offset:
            self.throw("RangeError", "offset is out of bounds")
        target[offset : offset + len(source)] = bytes(source)
        return UNDEFINED

    def _random_values(self, _this: Value, arguments: Sequence[Value]) -> Value:
        target = _bytes(arguments[0] if arguments else UNDEFINED)
        target.data[:] = self.world.random_bytes(len(target.data))
        return target

    def _print(self, stream: int, _this: Value, arguments: Sequence[Value]) -> Value:
        self._streams[stream].write(utf8_of(" ".join(map(text_of, arguments)) + "\n"))
        return UNDEFINED

    def _set_timeout(self, _this: Value, arguments: Sequence[Value]) -> Value:
        function = arguments[0] if arguments else UNDEFINED
        delay_ms = number_of(arguments[1]) if len(arguments) > 1 else 0.0
        return self.timers.add(delay_ms * 1e6, lambda: self.call(function, UNDEFINED, arguments[2:]))

    def _clear_timeout(self, _this: Value, arguments: Sequence[Value]) -> Value:
        if arguments and _is_number(arguments[0]):
            self.timers.cancel(int(number_of(arguments[0])))
        return UNDEFINED

    def _write_now(self, _this: Value, arguments: Sequence[Value]) -> Value:
        stream = self._streams.get(int(number_of(arguments[0]))) if arguments and _is_number(arguments[0]) else None
        if stream is None or len(arguments) < 2:
            raise Thrown(self._unsupported())
        data = bytes(_bytes(arguments[1]).data)
        stream.write(data)
        return len(data)

    def _write(self, this: Value, arguments: Sequence[Value]) -> Value:
        """Node's ``fs.write(fd, buffer, offset, length, position, callback)``, whole buffers only."""
        if len(arguments) != 6 or arguments[2] != 0 or arguments[4] is not None:
            return self._answer(arguments, self._unsupported())
        try:
            return self._answer(arguments, None, self._write_now(this, arguments[:2]))
        except Thrown as thrown:
            return self._answer(arguments, thrown.value)

    def _not_implemented(self, _this: Value, arguments: Sequence[Value]) -> Value:
        return self._answer(arguments, self._unsupported())

    def _refuse(self, _this: Value, _arguments: Sequence[Value]) -> Value:
        raise Thrown(self._unsupported())

    def _unsupported(self) -> ScriptObject:
        error = self.make_error("Error", "not implemented")
        error.put("code", "ENOSYS")
        return error

    def _answer(self, arguments: Sequence[Value], *results: Value) -> Value:
        """Call the callback that Node's functions take as their last argument."""
        return self.call(arguments[-1] if arguments else UNDEFINED, UNDEFINED, results)


class ScriptError(ScriptObject):
    """An Error; its text is its name and message."""

    __slots__ = ()

    def text(self) -> str:
        """Name and message."""
        return f"{text_of(self.get('name'))}: {text_of(self.get('message'))}"


class ScriptDate(ScriptObject):
    """A moment, in milliseconds since 1970."""

    __slots__ = ("moment_ms",)

    def __init__(self, ledger: Ledger, prototype: ScriptObject, moment_ms: float) -> None:
        super().__init__(ledger, prototype, "Date")
        self.moment_ms = moment_ms

    def text(self) -> str:
        """The moment in ISO form, UTC."""
        try:
            moment = datetime.datetime.fromtimestamp(self.moment_ms / 1000, datetime.UTC)
        except (ValueError, OverflowError, OSError):
            return "Invalid Date"
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def length_of(value: Value) -> Value:
    """JavaScript's ``value.length``."""
    if isinstance(value, str):
        return length_of_text(value)
    return value.get("length") if isinstance(value, ScriptObject) else UNDEFINED


def _is_number(value: Value) -> bool:
    number = number_of(value)
    return isinstance(value, (int, float)) and number - number == 0


def _object(value: Value) -> ScriptObject:
    if not isinstance(value, ScriptObject):
        raise HostError(f"the program passed its JavaScript host {text_of(value)} where an object is needed")
    return value


def _array(value: Value) -> ScriptArray:
    if not isinstance(value, ScriptArray):
        raise HostError(f"the program passed its JavaScript host {text_of(value)} where an array is needed")
    return value


def _bytes(value: Value) -> ScriptBytes:
    if not isinstance(value, ScriptBytes):
        raise HostError(f"the program passed its JavaScript host {text_of(value)} where a Uint8Array is needed")
    return value


def _time_of(value: Value) -> float:
    return value.moment_ms if isinstance(value, ScriptDate) else float("nan")


def _slice_of(arguments: Sequence[Value]) -> slice:
    ends = [int(number_of(end)) if _is_number(end) else None for end in arguments[:2]]
    return slice(*ends) if len(ends) == 2 else slice(ends[0] if ends else None, None)


def _push(this: Value, arguments: Sequence[Value]) -> Value:
    array = _array(this)
    for item in arguments:
        array.put(str(len(array.items)), item)
    return len(array.items)


def _own_keys(arguments: Sequence[Value]) -> list[Value]:
    place = _object(arguments[0] if arguments else UNDEFINED)
    elements = place.items if isinstance(place, ScriptArray) else ()
    return [*(str(index) for index in range(len(elements))), *place.properties]


def _has_own_property(this: Value, arguments: Sequence[Value]) -> Value:
    key = text_of(arguments[0]) if arguments else ""
    return key in _own_keys([this])
