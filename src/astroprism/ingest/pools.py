"""Who does the blocks: this process, a local pool, or a Dask cluster; the store does not show which.

Each yields (block number, None) as blocks finish, or (block number, error) where a worker died; an
error that is not a death is raised.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from types import ModuleType
from typing import Any

from ..errors import ConfigError, MissingExtra
from .block import BlockTask, process_block

POLL_SECONDS = 0.25
Finished = Iterator[tuple[int, BaseException | None]]
Tick = Callable[[], None]


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
    in this package, and a script without `if __name__ == "__main__"` would run anew in each.
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
