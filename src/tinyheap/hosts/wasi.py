"""WASI preview 1: wasmtime's own implementation, configured from a program's grants.

A few functions are served here instead, because wasmtime's do not do what a session needs:

``proc_exit``       takes every exit code; wasmtime's refuses those from 126 on.
``poll_oneoff``     sleeps on the session's world, so that a timeout ends it and a seeded world does not wait.
``clock_*``, ``random_get``   only with a seed: wasmtime-py has no switch for its clocks and randomness.

With a seed everything that a program sees is then repeatable but the files of its folders: their times and
numbers are what they are on this machine.
"""

from __future__ import annotations

import errno
import os
import struct
import time
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from wasmtime import WasiConfig, WasmtimeError

from tinyheap.errors import HostError
from tinyheap.files import is_utf8, text_of
from tinyheap.hosts.grants import Inherit
from tinyheap.hosts.imports import RequiredImport, Signature, define_method
from tinyheap.hosts.memory import MASK_32, MASK_64
from tinyheap.hosts.offered import WASI_MODULE as MODULE
from tinyheap.ownership import SoleOwner

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from wasmtime import Linker, Store

    from tinyheap.hosts.grants import Grants, OutputStream
    from tinyheap.hosts.memory import GuestMemory
    from tinyheap.hosts.world import World

_SUCCESS = 0
_EBADF = 8
_EFAULT = 21
_EINVAL = 28
_REAL_TIME, _MONOTONIC = 0, 1
_CLOCK_EVENT = 0
_ABSOLUTE_TIME = 1
_SUBSCRIPTION = struct.Struct("<QB7xIxxxxQQHxxxxxx")
"""A clock subscription: user data, tag, clock, timeout and precision in nanoseconds, flags."""
_EVENT = struct.Struct("<QHBxxxxxQHxxxxxx")
"""An event: user data, error number, tag, bytes available, flags."""


class Wasi(SoleOwner):
    """Serves one program's imports of WASI preview 1.

    Args:
        grants: What the program may have.
        stdout: Takes its standard output.
        stderr: Takes its standard error.
        world: Its clocks and randomness.
        memory: Gives the program's memory, once it has one.
        sleep: Lets that many nanoseconds pass, or raises if the program's time is over.
        leave: Ends the program with an exit code, by raising.
    """

    def __init__(
        self,
        grants: Grants,
        stdout: OutputStream,
        stderr: OutputStream,
        world: World,
        memory: Callable[[], GuestMemory],
        sleep: Callable[[int], None],
        leave: Callable[[int], NoReturn],
    ) -> None:
        self._grants = grants
        self._stdout, self._stderr = stdout, stderr
        self._world = world
        self._memory = memory
        self._sleep = sleep
        self._leave = leave
        self._opened = ExitStack()
        """What is open for wasmtime while it is configured."""

    def prepare(self, store: Store, linker: Linker) -> None:
        """Give ``store`` its WASI state, and ``linker`` wasmtime's functions for it.

        Raises:
            HostError: If a granted file or folder cannot be opened, or an argument not passed.
        """
        try:
            with ExitStack() as self._opened:
                store.set_wasi(self._configured())
            linker.allow_shadowing = True
            linker.define_wasi()
        except (WasmtimeError, OSError) as error:
            raise HostError(f"a grant cannot be given: {error}") from error

    def offer(self, linker: Linker, wanted: RequiredImport) -> None:
        """Serve ``wanted`` from here instead of from wasmtime, where this module's head says so."""
        method = self._methods().get(wanted.name)
        if wanted.module == MODULE and method is not None and wanted.signature == method[0]:
            define_method(linker, wanted, method[1])

    def _methods(self) -> dict[str, tuple[Signature, Callable[..., object]]]:
        number = ("i32",)
        methods: dict[str, tuple[Signature, Callable[..., object]]] = {
            "proc_exit": (Signature(number), self.proc_exit),
            "poll_oneoff": (Signature(number * 4, number), self.poll_oneoff),
        }
        if self._world.repeatable:
            methods["clock_time_get"] = Signature(("i32", "i64", "i32"), number), self.clock_time_get
            methods["clock_res_get"] = Signature(number * 2, number), self.clock_res_get
            methods["random_get"] = Signature(number * 2, number), self.random_get
        return methods

    def _configured(self) -> WasiConfig:
        for text in (*self._grants.arguments, *self._grants.environment, *self._grants.environment.values()):
            if not is_utf8(text):
                raise HostError(
                    f"{text_of(text)!r} is not UTF-8; WASI takes no other arguments and environment variables"
                )
        config = WasiConfig()
        config.argv = list(self._grants.arguments)
        config.env = list(self._grants.environment.items())
        config.stdout_custom = _writer(self._stdout)
        config.stderr_custom = _writer(self._stderr)
        self._configure_input(config)
        for folder in self._grants.folders:
            if not folder.host_path.is_dir():
                raise HostError(
                    f"invalid folder {folder.host_path}, the program's {folder.guest_path}: expected a folder that exists"
                )
            config.preopen_dir(self._utf8_name(folder.host_path), folder.guest_path, folder.writable)
        return config

    def _configure_input(self, config: WasiConfig) -> None:
        source = self._grants.stdin
        if isinstance(source, Inherit):
            config.inherit_stdin()
        elif isinstance(source, Path):
            if source.is_dir() or not source.exists():
                raise HostError(f"{text_of(source)}: cannot be the program's standard input: it is not a file")
            config.stdin_file = self._utf8_name(source)
        else:
            import tempfile

            with tempfile.NamedTemporaryFile() as file:
                file.write(source)
                file.flush()
                config.stdin_file = file.name

    def _utf8_name(self, path: Path) -> str:
        """A name in UTF-8 of a file or folder, as wasmtime takes it while this configures."""
        if is_utf8(path):
            return str(path)
        opened = os.open(path, os.O_RDONLY)
        self._opened.callback(os.close, opened)
        return f"/proc/self/fd/{opened}"

    def proc_exit(self, code: int) -> None:
        """End the program."""
        self._leave(code & MASK_32)

    def clock_res_get(self, clock: int, address: int) -> int:
        """Store the clock's resolution: one nanosecond."""
        if clock not in (_REAL_TIME, _MONOTONIC):
            return _EBADF
        return self._store(address, struct.pack("<Q", 1))

    def clock_time_get(self, clock: int, _precision_ns: int, address: int) -> int:
        """Store the clock's time in nanoseconds."""
        if clock not in (_REAL_TIME, _MONOTONIC):
            return _EBADF
        return self._store(address, struct.pack("<Q", self._time_ns(clock)))

    def random_get(self, address: int, count: int) -> int:
        """Store random bytes."""
        count &= MASK_32
        if count > len(self._memory()):
            return _EFAULT
        return self._store(address, self._world.random_bytes(count))

    def poll_oneoff(self, wishes: int, events: int, count: int, event_count: int) -> int:
        """Wait for the first of some clocks; standard streams and files are always ready."""
        count &= MASK_32
        if count == 0:
            return _EINVAL
        try:
            data = self._memory().read(wishes, min(count * _SUBSCRIPTION.size, MASK_32))
        except HostError:
            return _EFAULT
        subscriptions = list(_SUBSCRIPTION.iter_unpack(data))
        ready = [_EVENT.pack(user, 0, tag, 1, 0) for user, tag, *_ in subscriptions if tag != _CLOCK_EVENT]
        if not ready:
            delays_ns = [self._delay_ns(*subscription[2:]) for subscription in subscriptions]
            self._sleep(min(delays_ns))
            due = [user for (user, *_), delay in zip(subscriptions, delays_ns, strict=True) if delay <= min(delays_ns)]
            ready = [_EVENT.pack(user, 0, _CLOCK_EVENT, 0, 0) for user in due]
        return self._store(events, b"".join(ready)) or self._store(event_count, struct.pack("<I", len(ready)))

    def _delay_ns(self, clock: int, timeout_ns: int, _precision_ns: int, flags: int) -> int:
        if not flags & _ABSOLUTE_TIME:
            return timeout_ns
        return max(0, timeout_ns - self._time_ns(clock))

    def _time_ns(self, clock: int) -> int:
        time_ns = self._world.wall_ns() if clock == _REAL_TIME else self._world.monotonic_ns()
        return time_ns & MASK_64

    def _store(self, address: int, data: bytes) -> int:
        try:
            self._memory().write(address, data)
        except HostError:
            return _EFAULT
        return _SUCCESS


def _writer(sink: OutputStream) -> Callable[[bytes], int]:
    def write(data: bytes) -> int:
        return len(data) if sink.write(data) else -errno.EPIPE

    _writers.add(write)
    return write


_writers: weakref.WeakSet[Callable[[bytes], int]] = weakref.WeakSet()
"""Those that wasmtime still holds."""


def await_release(timeout_s: float) -> None:
    """Wait until wasmtime has let go of the output of all stores that are gone, which it does on a thread of its own."""
    deadline_s = time.monotonic() + timeout_s
    while _writers and time.monotonic() < deadline_s:
        time.sleep(0.0005)
