"""The blocks of a plan, done by this process, a local pool or a Dask cluster, and committed in order.

The store does not show who did them. `run_here`, `run_local` and `run_cluster` yield (block number, None) as
blocks finish, or (block number, error) where a worker died; an error that is not a death is raised.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigError, MissingExtra, StoreError
from ..progress import Listener, count, message, warning
from ..store.layout import Layout, resize
from ..store.prepare import PrepareOptions
from .block import BlockTask, note_crash, process_block
from .commit import Ledger, commit_block, committed_blocks, read_committed, read_index
from .journal import JournalTail, read_journal
from .listing import FileEntry, work_folder
from .options import IngestCounts, IngestOptions
from .proposal import estimate

ROUNDS = 3  # times in a row that workers may die without a file to blame, before giving up
POLL_SECONDS = 0.25
Finished = Iterator[tuple[int, BaseException | None]]
Tick = Callable[[], None]


def do_blocks(
    store: Path,
    plan: Sequence[FileEntry],
    *,
    layout: Layout,
    preparation: PrepareOptions,
    options: IngestOptions,
    progress: Listener,
) -> None:
    """Bring every block of the plan to a committed one; counts are reported several times a second."""
    size = layout.rows_per_shard
    files = {
        block: [entry.path for entry in plan[start : start + size]]
        for block, start in enumerate(range(0, len(plan), size))
    }
    ledger = Ledger()
    ledger.take(read_index(store), layout)
    resize(store, ledger.next_shard, finished=False)  # readers now look for committed blocks too
    for block in committed_blocks(store):
        ledger.take(read_committed(store, block), layout)
    waiting = [block for block in files if block not in set(committed_blocks(store))]
    folders = {block: work_folder(store) / "blocks" / f"{block:06d}" for block in waiting}
    tasks = {
        block: BlockTask(str(folders[block]), tuple(files[block]), layout, preparation, options.read)
        for block in waiting
    }
    workers = 1 if options.workers == 0 else options.workers or os.cpu_count() or 1
    todo = [entry for block in waiting for entry in plan[block * size : (block + 1) * size]]
    if todo:
        cost = estimate(todo, layout, options=preparation, read=options.read, workers=workers)
        free = shutil.disk_usage(store).free
        progress(
            message(
                f"estimate: {len(todo):,} files, {cost.n_bytes / 1e9:.2f} GB on disk ({free / 1e9:.1f} GB "
                f"free), about {_duration(cost.seconds)} with {workers} "
                f"{'process' if workers == 1 else 'processes'}"
            )
        )
        if cost.n_bytes > free:
            progress(
                warning(
                    "that is more than the disk has free; what fits is kept, and the same command continues "
                    "once there is room"
                )
            )
    tails = {block: JournalTail(folders[block] / "journal") for block in waiting}
    done_before, last = len(plan) - len(todo), 0.0

    def tick(*, force: bool = False) -> None:
        nonlocal last
        if not force and time.monotonic() - last < 0.2:
            return
        last = time.monotonic()
        for tail in tails.values():
            tail.update()
        done, accepted, refused = (
            sum(getattr(tail, name) for tail in tails.values()) for name in ("done", "accepted", "refused")
        )
        progress(count(done_before + done, len(plan), detail=IngestCounts(accepted, refused)))

    ready: set[int] = set()

    def commit_ready() -> None:
        """In order, however the blocks came in."""
        while waiting and waiting[0] in ready:
            block = waiting.pop(0)
            tails[block].update()
            commit_block(store, block, folders[block], files=files[block], layout=layout, ledger=ledger)

    ready.update(block for block in waiting if _is_done(folders[block], files[block]))
    commit_ready()
    unexplained = 0
    while open_tasks := {block: tasks[block] for block in waiting if block not in ready}:
        # a dying worker takes its pool along, and others with their files: who was reading when one
        # died continues alone, so that only a file that kills again is blamed
        suspects = {block: task for block, task in open_tasks.items() if _was_hit(folders[block])}
        blamed = died = False
        for block, error in _run(suspects or open_tasks, options, 1 if suspects else workers, tick):
            if error is None:
                ready.add(block)
                commit_ready()
            else:
                died = True
                blamed |= note_crash(folders[block])
        tick(force=True)
        unexplained = unexplained + 1 if died and not blamed else 0
        if unexplained >= ROUNDS:
            raise StoreError(
                f"workers died {ROUNDS} times before they read a file; is memory short? Try --workers 1. "
                "What is done is kept: the same command continues"
            )
        if died and not suspects:
            progress(message("a worker died; continuing, and a file that kills its worker again is refused"))


def _was_hit(folder: Path) -> bool:
    """Whether a worker died on a file of this block that is not done yet."""
    journal = read_journal(folder / "journal")
    return bool(set(journal.crashes) - journal.done)


def _run(
    tasks: dict[int, BlockTask], options: IngestOptions, workers: int, tick: Callable[[], None]
) -> Iterator[tuple[int, BaseException | None]]:
    if options.cluster is not None:
        return run_cluster(tasks, address=options.cluster, tick=tick)
    if options.workers == 0:
        return run_here(tasks, tick=tick)
    return run_local(tasks, workers=min(workers, len(tasks)), tick=tick)


def _is_done(folder: Path, files: Sequence[str]) -> bool:
    return len(read_journal(folder / "journal").done) == len(files)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# --- where blocks are done


def run_here(tasks: Mapping[int, BlockTask], *, tick: Tick) -> Finished:
    """One block after the other, in this process."""
    for number, task in tasks.items():
        process_block(task)
        tick()
        yield number, None


def run_local(tasks: Mapping[int, BlockTask], *, workers: int, tick: Tick) -> Finished:
    """A pool of fresh processes (not forks: threads and locks do not survive those)."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt) as pool:
        futures: dict[Future[int], int] = {}
        try:
            with _without_main():
                for number, task in tasks.items():
                    futures[pool.submit(process_block, task)] = number
            yield from _collect(futures, deaths=(BrokenProcessPool,), tick=tick)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_cluster(tasks: Mapping[int, BlockTask], *, address: str, tick: Tick) -> Finished:
    """Dask: the scheduler at `address`, or `local:N` for N single-threaded worker processes here."""
    try:
        from distributed import Client, LocalCluster
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise MissingExtra(
            "--cluster needs Dask, which is not installed: pip install 'astroprism[cluster]'"
        ) from None
    kind, _, count = address.partition(":")
    if kind == "local":
        if not count.isdigit() or int(count) < 1:
            raise ConfigError(f"--cluster {address!r}: expected local:N with N workers, such as local:4")
        with _without_main():
            cluster = LocalCluster(
                n_workers=int(count), threads_per_worker=1, processes=True, dashboard_address=None
            )
    else:
        cluster = None
    try:
        client = Client(cluster if cluster is not None else address, timeout=15)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--cluster {address!r}: no Dask scheduler answers there ({error}); give its address, such as "
            "tcp://host:8786, or local:N"
        ) from None
    try:
        futures = {
            client.submit(process_block, task, key=f"astroprism-block-{number}", pure=False): number
            for number, task in tasks.items()
        }
        yield from _collect_dask(futures, deaths=(KilledWorker,), tick=tick)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the user's script again.

    A spawned process imports the file it was started from, to find functions defined there; ours are
    in this package, and a script without `if __name__ == "__main__"` would run again in each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process of the terminal; the one that started the pool deals with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collect(
    futures: dict[Future[int], int], *, deaths: tuple[type[BaseException], ...], tick: Tick
) -> Finished:
    while futures:
        done, _ = wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        tick()
        for future in sorted(done, key=futures.__getitem__):
            number = futures.pop(future)
            yield number, _death(future, deaths)


def _collect_dask(
    futures: dict[Any, int], *, deaths: tuple[type[BaseException], ...], tick: Tick
) -> Finished:
    from distributed import TimeoutError as DaskTimeout
    from distributed import wait as dask_wait

    while futures:
        try:
            done = dask_wait(list(futures), timeout=POLL_SECONDS, return_when="FIRST_COMPLETED").done
        except DaskTimeout:
            done = set()
        tick()
        for future in sorted(done, key=futures.__getitem__):
            number = futures.pop(future)
            yield number, _death(future, deaths)


def _death(future: Any, deaths: tuple[type[BaseException], ...]) -> BaseException | None:
    error: BaseException | None = future.exception()
    if error is not None and not isinstance(error, deaths):
        raise error
    return error
