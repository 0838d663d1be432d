"""A program and its heap, from Python in a few lines.

    with Program.open("gofmt.wasm") as program:
        program.start()
        text = program.driver().format(source)
        print(program.heap.stats(), program.heap.collections, program.heap.dump())

A module whose collector's place can be taken has a `Program.heap`, which is looked at between calls.  Any other module
runs as it is, without one; ``program.guest.served`` says why in a sentence.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from wasmtime import Linker, Store

from tinyheap.errors import GuestError, HostError, UnsupportedGuestError
from tinyheap.guests.cache import Cache
from tinyheap.guests.facts import Guest
from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.guests.preparing import Form, Prepared, is_served, prepare, read_module
from tinyheap.guests.takeover import Policy, Takeover
from tinyheap.hosts import Grants, HostSession, new_engine, offer
from tinyheap.hosts.session import is_stoppable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tinyheap.heap.stats import Collection
    from tinyheap.hosts.drivers import Formatter
    from tinyheap.hosts.memory import GuestMemory

DEFAULT: Final = "default"
LEAKING: Final = "leaking"
NATIVE: Final = "native"
COLLECTORS: Final = (DEFAULT, LEAKING, NATIVE)
"""Ours where that can be; none at all; the module's own, with nothing of ours in it."""


class Program:
    """One run of one module; made by `Program.open`, and to be closed at the end, best by ``with``.

    Attributes:
        guest: What the module is; None where it runs natively, since nobody looked then.
        heap: Its heap; None where the module runs as it is.
        session: Its host.
        was_cached: Whether it had been prepared before.
    """

    def __init__(self, session: HostSession, prepared: Prepared, heap: GuestHeap | None) -> None:
        self.session = session
        self.guest: Guest | None = prepared.guest
        self.heap = heap
        self.was_cached = prepared.was_cached

    @classmethod
    def open(
        cls,
        module: str | Path | bytes,
        grants: Grants | None = None,
        policy: Policy | None = None,
        *,
        gc: str = DEFAULT,
        cache: Cache | None = None,
        listener: Callable[[Collection], object] | None = None,
    ) -> Self:
        """A program, instantiated and not yet started.

        Args:
            module: Its file, or its bytes.
            grants: What it may have; `Grants()` if None.
            policy: How its heap is run.  Given any but the default one, a module whose collector cannot be replaced
                is refused; otherwise it runs as it is.
            gc: ``default``, ``leaking`` for a heap that only grows, or ``native`` for the module as it is.
            cache: Where prepared modules are kept; the user's if None.
            listener: Called after each collection, with it.

        Raises:
            GuestError: The module cannot be read or run.
            MalformedModuleError: It is no module.
            UnsupportedGuestError: Its collector cannot be replaced as asked; says what it is and what does work.
            HostError: It imports what no host offers.
        """
        policy = _policy_for(gc, policy)
        grants = grants or Grants()
        wasm = module if isinstance(module, bytes) else read_module(Path(module))
        engine = new_engine(grants)
        options = "stoppable" if is_stoppable(grants) else ""
        form = Form.NATIVE if gc == NATIVE else Form.GUARDED if policy.guard else Form.SERVED
        prepared = prepare(wasm, form, engine, options, cache or Cache.of_user())
        if policy != Policy():
            _check_served(prepared.guest, policy)
        store, linker = Store(engine), Linker(engine)
        takeover = makers = None
        if prepared.guest is not None and prepared.guest.heap is not None and is_served(prepared.guest):
            takeover = Takeover(prepared.guest.heap, policy, listener)
            makers = takeover.makers(store)
        try:
            session = offer(store, linker, prepared.compiled, grants, makers)
        except HostError as error:
            if prepared.guest is None or takeover is not None:
                raise
            raise HostError(f"{error}\nthis module ({prepared.guest.runtime}) {prepared.guest.served}") from error
        instance = session.instantiate(prepared.compiled)
        if takeover is not None:
            takeover.attach(instance)
        return cls(session, prepared, None if takeover is None else GuestHeap(takeover))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program and free its memory; its heap cannot be looked at any more."""
        if self.heap is not None:
            self.heap.close()
        self.session.store.close()

    @property
    def exports(self) -> frozenset[str]:
        """The names of the functions that it exports."""
        return self.session.exports

    @property
    def memory(self) -> GuestMemory:
        """Its memory; HostError if it exports none."""
        return self.session.memory

    @property
    def exit_code(self) -> int | None:
        """With what it ended itself; None as long as it has not."""
        return self.session.exit_code

    def start(self) -> None:
        """Run ``_start`` or ``_initialize``; see `HostSession.start` for what is raised."""
        self.session.start()

    def run(self) -> int:
        """The exit code of the whole program; see `HostSession.run`."""
        return self.session.run()

    def call(self, name: str, *arguments: float) -> int | float | None:
        """What an exported function returns; see `HostSession.call`."""
        return self.session.call(name, *arguments)

    def call_script(self, name: str, *arguments: object) -> object:
        """What a function returns that it left in JavaScript's global object; see `HostSession.call_script`."""
        return self.session.call_script(name, *arguments)

    def driver(self) -> Formatter:
        """What knows how to call the program, which has been started.

        Raises:
            GuestError: No driver is known for it.
        """
        from tinyheap.hosts.drivers import find

        driver = find(self.session)
        if driver is None:
            names = ", ".join(sorted(self.exports)) or "nothing"
            raise GuestError(f"no driver is known for this program; call its exports yourself ({names})")
        return driver


def _policy_for(gc: str, policy: Policy | None) -> Policy:
    """The policy with the collector that was asked for.

    Raises:
        GuestError: There is no such collector.
        UnsupportedGuestError: The policy is for our collector, but the module's own is to run.
    """
    if gc not in COLLECTORS:
        raise GuestError(f"no collector {gc!r}; there are {', '.join(COLLECTORS)}")
    policy = policy or Policy()
    if gc == NATIVE and policy != Policy():
        raise UnsupportedGuestError("the module's own collector takes no options; give none, or do not run it natively")
    return replace(policy, leaking=True) if gc == LEAKING else policy


def _check_served(guest: Guest | None, policy: Policy) -> None:
    """Refuse a policy that a guest cannot be run by; one that never frees anyway may be asked not to.

    Raises:
        UnsupportedGuestError: Says what the guest is and what does work.
    """
    if guest is None or is_served(guest) or (guest.leaking is not None and policy == Policy(leaking=True)):
        return
    from tinyheap.guests.identify import block_heap

    block_heap(guest)
