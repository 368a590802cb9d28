"""A plan to committed blocks: whoever does them, they are committed in order."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import StoreError
from ..store.layout import Layout, resize
from ..store.prepare import PrepareOptions
from .block import BlockTask, note_crash
from .commit import Ledger, commit_block, committed_blocks, read_committed, read_index, work_folder
from .journal import JournalTail, read_journal
from .listing import FileEntry
from .options import IngestOptions, Progress, Say, Watch
from .pools import run_cluster, run_here, run_local
from .proposal import estimate

ROUNDS = 3  # times in a row that workers may die without a file to blame, before giving up


def do_blocks(
    store: Path,
    plan: Sequence[FileEntry],
    layout: Layout,
    prepare_options: PrepareOptions,
    options: IngestOptions,
    say: Say,
    watch: Watch,
) -> None:
    """Every block of the plan to a committed one."""
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
        block: BlockTask(str(folders[block]), tuple(files[block]), layout, prepare_options, options.read)
        for block in waiting
    }
    workers = 1 if options.workers == 0 else options.workers or os.cpu_count() or 1
    todo = [entry for block in waiting for entry in plan[block * size : (block + 1) * size]]
    _tell_estimate(store, todo, layout, prepare_options, options, workers, say)
    tails = {block: JournalTail(folders[block] / "journal") for block in waiting}
    counted = Progress(len(plan) - len(todo), len(plan), 0, 0)
    last = 0.0

    def tick(*, force: bool = False) -> None:
        nonlocal last
        if not force and time.monotonic() - last < 0.2:
            return
        last = time.monotonic()
        for tail in tails.values():
            tail.update()
        watch(
            Progress(
                counted.done + sum(tail.done for tail in tails.values()),
                counted.total,
                sum(tail.accepted for tail in tails.values()),
                sum(tail.refused for tail in tails.values()),
            )
        )

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
        # died goes on alone, so that only a file that kills again is blamed
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
                "What is done is kept: the same command goes on"
            )
        if died and not suspects:
            say("a worker died; going on, and a file that kills its worker again is refused")


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


def _tell_estimate(
    store: Path,
    todo: Sequence[FileEntry],
    layout: Layout,
    prepare_options: PrepareOptions,
    options: IngestOptions,
    workers: int,
    say: Say,
) -> None:
    if not todo:
        return
    cost = estimate(todo, layout, options=prepare_options, read=options.read, workers=workers)
    free = shutil.disk_usage(store).free
    say(
        f"estimate: {len(todo):,} files, {cost.n_bytes / 1e9:.2f} GB on disk ({free / 1e9:.1f} GB free), "
        f"about {_duration(cost.seconds)} with {workers} {'process' if workers == 1 else 'processes'}"
    )
    if cost.n_bytes > free:
        say(
            "warning: that is more than the disk has free; what fits is kept, "
            "and the same command goes on once there is room"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
