"""A run in tinyheap's own host: the session that calls an opened program, and tells its heap and its recording of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasmtime import Linker, Store

from tinyheap.errors import HostError
from tinyheap.guests.guest_heap import GuestHeap
from tinyheap.guests.taking import Taker
from tinyheap.hosts import HostSession, new_engine, offer
from tinyheap.hosts.session import is_stoppable

if TYPE_CHECKING:
    from wasmtime import Engine

    from tinyheap.guests.opening import BoundRun, OfferedRun, PreparedRun, Wish


@dataclass(frozen=True, slots=True)
class HostedRun:
    """An instance that is not started yet, in a host of tinyheap's; made by `host`.

    Args:
        run: what is run.
        session: its host.
        heap: its heap; None where it is not served here.
        taker: takes snapshots of it.
    """

    run: PreparedRun
    session: HostSession
    heap: GuestHeap | None
    taker: Taker


def host(wish: Wish) -> HostedRun:
    """A program as it was wished, instantiated; `Program.open` says what is raised."""
    engine = new_engine(wish.grants)
    run = wish.prepare(engine, "stoppable" if is_stoppable(wish.grants) else "")
    store = Store(engine)
    offered = run.offer(store)
    session = _session(offered, store, engine)
    if offered.recorder is not None:
        # A start function runs before there is anything to attach to.
        session.before_entry, session.after_exit = offered.recorder.clock.enter, offered.recorder.clock.leave
    instance = session.instantiate(run.prepared.compiled)
    bound = offered.bind(instance, session.life, wish.grants.memory_limit_bytes)
    _tell(session, bound)
    taker = Taker(bound, session, wish.moment)
    return HostedRun(run, session, None if bound.heap is None else GuestHeap(bound.heap), taker)


def _session(offered: OfferedRun, store: Store, engine: Engine) -> HostSession:
    run = offered.run
    guest, wish = run.prepared.guest, run.wish
    try:
        session = offer(store, Linker(engine), run.prepared.compiled, wish.grants, offered.makers, wish.own)
    except HostError as error:
        if guest is None or run.served is not None:
            raise
        raise HostError(f"{error}\nthis module ({guest.runtime}) {guest.served}") from error
    session.name_frames = run.name_frames
    return session


def _tell(session: HostSession, bound: BoundRun) -> None:
    """Let a session tell of its calls to whoever wants to know."""
    recording = bound.recording
    if recording is not None:
        session.before_entry, session.after_exit = recording.enter, recording.leave
        session.before_call, session.after_call = recording.call_begins, recording.call_ends
    session.explain_trap = bound.stack_overflow
