"""Runs of a sweep as the tasks of a Dask cluster.

A run is the same process as on one machine, begun by a worker, in a folder of the worker's that has the files which runs read,
by the same relative names: so the program sees the same words, and its statistics are the same.  The files go to each worker
once, with a plugin, which a worker that comes later, or in the place of one that died, gets too.

A task has no effects but its result, so that the scheduler may repeat it when its worker dies.  When that has happened too
often the task is a *suspect*, for the workers may have died of another task.  Suspects are run again at the end, one at a time:
one whose workers die again is at fault, and that is its outcome.

A cluster may have no workers for a while.  Then the sweep says that it waits, and goes on when one comes.  On a cluster that is
begun here nobody else begins workers: so it is given up where none of its own comes back.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Security, WorkerPlugin, get_worker
from distributed.comm.core import CommClosedError, connect
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from tinyheap import __version__
from tinyheap.errors import ClusterError
from tinyheap.files import is_folder, text_of
from tinyheap.lab.clusters import local_processes
from tinyheap.lab.outcome import WORKER_DIED, Outcome
from tinyheap.lab.running import ATTEMPTS, Subject, Workers, content_of
from tinyheap.units import MIB

if TYPE_CHECKING:
    from distributed import Worker
    from tornado.platform.asyncio import AsyncIOLoop

    from tinyheap.lab.conditions import Condition
    from tinyheap.lab.running import Task

T = TypeVar("T", bound=tuple[Any, ...])
R = TypeVar("R")
ANSWER_S: Final = 5
"""In which a scheduler has to answer, seconds."""
MOST_BYTES: Final = 256 * MIB
"""Of all files that go to a worker; the scheduler keeps them for workers that come later."""
TASKS_PER_THREAD: Final = 4
"""One that runs, and some that are there when it ends: what a task costs is not waited for."""
SIZE_AGE_S: Final = 1.0
"""After which it is asked anew how many threads a cluster has."""
REGISTRATIONS: Final = 20
"""How often it is tried to give all workers the files, of which one may die each time."""
PAUSE_S: Final = 0.1
WATCH_S: Final = 1.0
"""How often it is asked whether a cluster has workers."""
QUIET_S: Final = 5.0
"""A cluster may have no workers so long before that is said."""
LOST_S: Final = 300
"""Without workers for so long, a local cluster ends the sweep; where much else runs, a process takes a while to begin."""
LOGGED_MESSAGES: Final = 20
_numbers: Final = count()
"""Of tasks; the same run may be asked for again."""
_log: Final = logging.getLogger(__name__)


def run_on(cluster: str | Client, subject: Subject, tasks: Sequence[Task]) -> Generator[list[Outcome], None, None]:
    """The outcomes of some runs, those together that came together; whatever closes the iterator stops the runs.

    Args:
        cluster: The address of a scheduler, ``local``, ``local:N`` or a client.
        subject: The program.
        tasks: The runs.

    Raises:
        ClusterError: The cluster cannot be used, or was lost, or has no workers any more; or a file cannot be sent.
        InputError: A file cannot be read.
    """
    files = files_to_send(subject, [condition for condition, _ in tasks])
    with (
        _client_of(cluster) as client,
        _explaining(client),
        _site(client, Site(subject, files)) as name,
        _watched(client),
    ):
        yield from _outcomes(client, name, tasks)


# ---- the cluster ------------------------------------------------------------------------------------------------------


@contextmanager
def _client_of(cluster: str | Client) -> Iterator[Client]:
    """A client of the cluster; what was begun here for it is ended."""
    if isinstance(cluster, Client):
        yield cluster
    elif (count := local_processes(cluster)) is not None:
        with _local_cluster(count) as address, _connected(address) as client:
            yield client
    else:
        with _connected(cluster) as client:
            yield client


@contextmanager
def _local_cluster(count: int) -> Iterator[str]:
    """A cluster of so many processes on this machine; of one for each core where it is 0."""
    with short_logs(), _lasting_workers():
        try:
            made = LocalCluster(
                n_workers=count or None,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a run is a process of its own
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                preload=[__name__],
                scheduler_kwargs={"allowed_failures": ATTEMPTS - 1},
            )
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"local: its processes do not start ({error}); a program needs a file, and below if __name__ == '__main__' "
                "what begins a sweep, since they import it"
            ) from error
        with made:
            yield made.scheduler_address


def short_logs() -> AbstractContextManager[object]:
    """Has a cluster that is begun here keep a few messages for its developers, and not a thousand with all tasks in them."""
    return dask.config.set({"distributed.admin.low-level-log-length": LOGGED_MESSAGES})


def _lasting_workers() -> AbstractContextManager[object]:
    """Has a cluster that is begun here wait longer for workers that died, and fail tasks where none comes back.

    By default Dask gives up for good a worker that is not back after 15 s, and has tasks wait without an end for another.
    """
    return dask.config.set(
        {
            "distributed.deploy.lost-worker-timeout": LOST_S,
            "distributed.scheduler.no-workers-timeout": LOST_S,
        }
    )


def dask_setup(worker: Worker) -> None:
    """Of a worker of a local cluster, called by Dask: Ctrl-C is the sweep's own, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop already
            thread.submit(asyncio.run, _answer(address)).result()
        client = Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"{text_of(address)}: no Dask scheduler answers there ({str(error) or 'what is there says nothing'}); expected "
            "local, local:N, or the address of one that runs, such as tcp://HOST:8786"
        ) from error
    with client:
        yield client


async def _answer(address: str) -> None:
    """Return when a scheduler has answered; a client would wait for one for good that takes calls and says nothing."""
    async with asyncio.timeout(ANSWER_S + 1):
        comm = await connect(address, timeout=ANSWER_S, **Security().get_connection_args("client"))
    comm.abort()


@contextmanager
def _watched(client: Client) -> Iterator[None]:
    """Says while it lasts when the cluster has no workers, whatever is waited for."""
    loop = cast("AsyncIOLoop", client.loop).asyncio_loop
    watching = asyncio.run_coroutine_threadsafe(_watch(client), loop)
    try:
        yield
    finally:
        watching.cancel()


async def _watch(client: Client) -> None:
    """Say each time when a cluster has had no workers for a while; on the event loop of its client."""
    seen, is_said = time.monotonic(), False
    while True:
        await asyncio.sleep(WATCH_S)
        if await cast("Awaitable[dict[str, int]]", client.nthreads()):
            seen, is_said = time.monotonic(), False
        elif not is_said and time.monotonic() - seen >= QUIET_S:
            is_said = True
            _log.warning("the cluster has no workers; the sweep waits, and goes on when one comes")


@contextmanager
def _explaining(client: Client) -> Iterator[None]:
    """Turns what a cluster raises into tinyheap's errors."""
    try:
        yield
    except (OSError, RuntimeError, ImportError, AttributeError) as error:
        raise ClusterError(f"the cluster cannot make the runs: {type(error).__name__}: {error}") from error


# ---- what a worker has ------------------------------------------------------------------------------------------------


def files_to_send(subject: Subject, conditions: Iterable[Condition]) -> dict[str, bytes]:
    """The files that runs read, by their names.

    Raises:
        ClusterError: A name means something else on another machine, runs may write, or the files are too large.
        InputError: A file cannot be read.
    """
    found: dict[str, bytes] = {}
    size = 0
    for path in (*subject.files, *subject.files_of(conditions), *_in_folders(subject)):
        if path.is_absolute() or ".." in path.parts:
            raise ClusterError(
                f"{text_of(path)}: a worker would not find it by this name; name it from the working directory, below which it "
                "has to be"
            )
        content = found[str(path)] = content_of(path)
        size += len(content)
        if size > MOST_BYTES:
            raise ClusterError(
                f"the files that runs read are larger than {MOST_BYTES // MIB} MiB, at {text_of(path)}: name smaller folders"
            )
    return found


def _in_folders(subject: Subject) -> Iterator[Path]:
    """The files in folders that the program may read."""
    for word in subject.options:
        name, _, value = word.partition("=")
        if name != "--dir":
            continue
        if value.endswith(":rw"):
            raise ClusterError(f"{text_of(word)}: runs on a cluster may not write to folders; give them :ro")
        folder = Path(value.partition(":")[0])
        if is_folder(folder):
            yield from sorted(each for each in folder.rglob("*") if each.is_file())


class Site(WorkerPlugin):
    """What a sweep has on a worker: the files that its runs read, and the processes that it runs there."""

    def __init__(self, subject: Subject, files: dict[str, bytes]) -> None:
        self.name = f"tinyheap-{uuid4().hex}"
        self._subject, self._files, self._version = subject, files, __version__
        self._running: dict[object, Workers] = {}

    def setup(self, worker: Worker) -> None:
        """Lay the files; called before the worker has tasks."""
        if self._version != __version__:
            raise ClusterError(f"it has tinyheap {__version__}, and not {self._version} as the sweep")
        self._folder = Path(worker.local_directory, self.name).resolve()
        self._place, self._scratch = self._folder / "files", self._folder / "scratch"
        for folder in (self._place, self._scratch):
            folder.mkdir(parents=True)
        for name, content in self._files.items():
            path = self._place / PurePath(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._files = {}

    def teardown(self, worker: Worker) -> None:
        """Stop the runs, and remove the files."""
        for workers in list(self._running.values()):
            workers.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def transition(self, key: object, start: str, finish: str, **_: Any) -> None:  # noqa: ANN401 - Dask's
        """Stop the run of a task that nobody waits for any more."""
        if finish == "cancelled" and (workers := self._running.get(key)):
            workers.stop()

    def run(self, key: object, condition: Condition, run: int) -> Outcome | None:
        """What became of the program; None where the run was stopped."""
        workers = self._running[key] = Workers(self._place, self._scratch)
        try:
            return workers.run(self._subject, condition, run)
        finally:
            del self._running[key]


def _register(client: Client, site: Site) -> None:
    """Give all workers what they need, again where one dies meanwhile."""
    for tries_left in reversed(range(REGISTRATIONS)):
        try:
            client.register_plugin(site, name=site.name)
        except CommClosedError:
            if not tries_left:
                raise
            time.sleep(PAUSE_S)
        else:
            return


@contextmanager
def _site(client: Client, site: Site) -> Iterator[str]:
    """The name of what workers have for a sweep as long as it goes on."""
    _register(client, site)
    try:
        yield site.name
    finally:
        if client.status == "running":  # else the cluster is gone, and each message waits a while for it to come back
            with suppress(Exception):  # it may go now
                client.unregister_worker_plugin(site.name)


# ---- tasks ------------------------------------------------------------------------------------------------------------


def _outcomes(client: Client, name: str, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
    suspects: list[Task] = []
    for batch in results(client, _run_there, name, tasks):
        suspects += [task for task, found in batch if isinstance(found, KilledWorker)]
        if outcomes := [found for _, found in batch if not isinstance(found, KilledWorker)]:
            yield outcomes
    for suspect in suspects:
        for batch in results(client, _run_there, name, [suspect]):
            yield [_died(*task, found) if isinstance(found, KilledWorker) else found for task, found in batch]


def _run_there(name: str, condition: Condition, run: int) -> Outcome | None:
    """The task of a run."""
    worker = get_worker()
    site = cast("Site", worker.plugins[name])
    return site.run(worker.get_current_task(), condition, run)


def _died(condition: Condition, run: int, error: KilledWorker) -> Outcome:
    times = error.allowed_failures + 1
    evidence = f"the worker that ran it died, {times} times out of {times}, with no other run of the sweep beside it"
    return Outcome(str(condition), run, WORKER_DIED, (evidence,), None, None)


def results(
    client: Client, call: Callable[..., R | None], name: str, tasks: Iterable[T]
) -> Generator[list[tuple[T, R | KilledWorker]], None, None]:
    """Tasks and what came of them, those together that ended together; at any time the cluster knows of a few a thread.

    Args:
        client: Of the cluster.
        call: Is called on a worker with the name and what is in a task; None is no result, and it is called again.
        name: The first part of the keys of tasks.
        tasks: Tuples of arguments.

    Raises:
        ClusterError: The connection was lost, or a call raised something.
    """
    waiting, window, asked = iter(tasks), _Window(client), dict[Future[Any], T]()
    ended: SimpleQueue[Future[Any]] = SimpleQueue()

    def ask(some: Iterable[T]) -> None:
        batch = list(some)
        if not batch:
            return
        # In one message, since that costs more than a task.
        keys = [(name, next(_numbers)) for _ in batch]
        futures = client.map(partial(call, name), *zip(*batch, strict=True), key=keys, pure=False)
        for task, future in zip(batch, futures, strict=True):
            asked[future] = task
            future.add_done_callback(ended.put)

    try:
        ask(islice(waiting, window.size))
        while asked:
            batch = [(asked.pop(future), found) for future, found in _found(client, ended)]
            ask(task for task, found in batch if found is None)
            ask(islice(waiting, max(0, window.size - len(asked))))
            if done := [(task, found) for task, found in batch if found is not None]:
                yield done
    finally:
        with suppress(Exception):  # the cluster may be gone
            client.cancel(list(asked))


def _found(client: Client, ended: SimpleQueue[Future[Any]]) -> Iterator[tuple[Future[Any], Any]]:
    """What came of all tasks that have ended, of one at least."""
    futures = [ended.get()]
    with suppress(Empty):
        while True:
            futures.append(ended.get_nowait())
    try:
        return zip(futures, client.gather(futures), strict=True)
    except (Exception, CancelledError):
        return ((future, _found_of(future)) for future in futures)


def _found_of(future: Future[Any]) -> object:
    """The result of a task, or why its workers died."""
    try:
        return future.result()
    except KilledWorker as error:
        return error
    except (NoWorkerError, NoValidWorkerError) as error:
        raise ClusterError(
            f"the cluster has no workers any more, and none came in {error.timeout:g} s; what was done until then is kept, and "
            "a sweep with a file goes on from there when it is run again"
        ) from error
    except CancelledError as error:
        raise ClusterError("the connection to the cluster was lost; what was done until then is kept") from error
    except Exception as error:
        raise ClusterError(f"a worker cannot make a run: {type(error).__name__}: {error}") from error


class _Window:
    """How many tasks a cluster is to know of."""

    def __init__(self, client: Client) -> None:
        self._client, self._size, self._until = client, 1, 0.0

    @property
    def size(self) -> int:
        """By the threads that it has now, about; one where it has none yet."""
        if time.monotonic() >= self._until:
            self._size = max(1, TASKS_PER_THREAD * sum(self._client.nthreads().values()))
            self._until = time.monotonic() + SIZE_AGE_S
        return self._size
