"""Any pile of files to one store: every spectrum brought to one grid, or refused with its reason.

`ingest` may be killed at any moment and called again; it goes on where it stood. Called with new
files it appends; called with nothing new it does nothing and says so.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..archive import ReadOptions
from ..errors import ConfigError, StoreError
from ..grid import parse_grid
from ..layout import Layout, blame, create_store, read_layout, resize, rows_per_shard
from ..prepare import PrepareOptions
from .block import BlockTask, note_crash
from .commit import (
    Ledger,
    commit_block,
    committed_blocks,
    finish,
    read_committed,
    read_index,
    read_rejects,
    work_folder,
)
from .journal import JournalTail, read_journal
from .listing import FileEntry, list_files
from .plan import files_table, known_files, locked, open_plan, write_plan
from .pools import run_cluster, run_here, run_local
from .proposal import Estimate, estimate, propose_grid

__all__ = ["Estimate", "IngestOptions", "IngestReport", "Progress", "ingest"]

ROUNDS = 6  # times the pool is set up again after workers died, before giving up


@dataclass(frozen=True)
class IngestOptions:
    """How an archive becomes a store.

    grid       'auto', 'paper' or LOW:HIGH:STEPkms; auto proposes one, or takes that of the store there
    frame      file, barycentric or observer (see PrepareOptions); None: that of the store, else file
    normalise  median, paper-median or continuum; None: that of the store, else median
    min_good   share of good pixels a spectrum must have; None: that of the store, else 0.5
    dtype      float32 or float16 on disk; None: that of the store, else float32
    checksum   verify: files whose own checksum fails are refused; ignore: they are read
    aliases    table of names that mean one star, a star a row
    workers    local processes; 0: this process; None: one a core
    cluster    address of a Dask scheduler, or local:N
    """

    grid: str = "auto"
    frame: str | None = None
    normalise: str | None = None
    min_good: float | None = None
    dtype: str | None = None
    checksum: str = "verify"
    aliases: str | None = None
    workers: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"{self.workers} workers; give 1 or more, or 0 to work in this process")
        if self.workers is not None and self.cluster is not None:
            raise ConfigError("--workers is for the local pool; with --cluster the cluster has its own")
        if self.normalise == "paper-median" and self.grid not in ("paper", "auto"):
            raise ConfigError("--normalise paper-median is the paper grid's own; add --grid paper")


@dataclass(frozen=True)
class Progress:
    """How far an ingest is: files done of all, spectra accepted and refused (duplicates are found late)."""

    done: int
    total: int
    accepted: int
    refused: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. Files: given = new + known before. Spectra: met = accepted + refused."""

    files_given: int
    files_new: int
    files_changed: int
    passed_over: int
    accepted: int
    refused: int
    reasons: dict[str, int]
    n_spectra: int
    n_targets: int
    n_target_doubts: int
    grid: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


Say = Callable[[str], None]
Watch = Callable[[Progress], None]


def _silent(_: object) -> None:
    """Nobody listens."""


def ingest(
    store: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    *,
    options: IngestOptions | None = None,
    say: Say = _silent,
    watch: Watch = _silent,
) -> IngestReport:
    """Bring every spectrum under `paths` into the store, which is made where there is none.

    say    receives sentences for the user: the grid found, the estimate, what was wrong
    watch  receives the progress several times a second
    """
    options = options or IngestOptions()
    path = Path(os.path.abspath(store))
    listing = list_files(paths)
    if not listing.files:
        raise ConfigError("no files found; give a folder that holds spectra, or name the files")
    if (path / "zarr.json").exists():
        read_layout(path)  # a foreign folder is refused before anything is written there
    with blame(path):
        path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        known = known_files(path)
        before = set(read_index(path)["spectrum_id"]), len(read_rejects(path))
        plan = open_plan(path)
        new = [entry for entry in listing.files if entry.path not in known]
        if plan:
            done = len(committed_blocks(path))
            say(f"going on with an unfinished ingest of {len(plan):,} files ({done} blocks are done)")
        if plan or new:
            layout, prepare_options = _settings(path, options, plan or new, say)
            # what an interrupted run set out to do comes first, then what has been added since
            while todo := plan or [entry for entry in listing.files if entry.path not in known]:
                if not plan:
                    write_plan(path, todo)
                _work(path, todo, layout, prepare_options, options, say, watch)
                finish(path, layout, files=files_table(known, todo), aliases=_aliases(options))
                known, plan = known_files(path), []
        else:
            say("nothing new: every file given is already in this store")
        report = _report(path, before)
    changed = [entry.path for entry in listing.files if entry.path in known and known[entry.path] != entry]
    if changed:
        say(
            f"{len(changed)} files changed since they were ingested and were not read again (first: "
            f"{changed[0]}); a store keeps what it has: take them into a new study"
        )
    return IngestReport(
        files_given=len(listing.files),
        files_new=len(new),
        files_changed=len(changed),
        passed_over=listing.passed_over,
        **report,
    )


def _settings(
    store: Path, options: IngestOptions, files: Sequence[FileEntry], say: Say
) -> tuple[Layout, PrepareOptions]:
    """Layout and preparation: those of the store where there is one, else as asked; the store is made."""
    asked = {"frame": options.frame, "normalise": options.normalise, "min_good": options.min_good}
    given = {name: value for name, value in asked.items() if value is not None}
    if (store / "zarr.json").exists():
        layout, attributes = read_layout(store)
        there = {**attributes["config"], "grid": layout.grid.text, "dtype": layout.dtype}
        wanted = dict(given)
        if options.grid != "auto":
            wanted["grid"] = parse_grid(options.grid).text
        if options.dtype is not None:
            wanted["dtype"] = options.dtype
        for name, value in wanted.items():
            if there[name] != value:
                raise ConfigError(
                    f"this store was made with {name} {there[name]}, not {value}; leave --{name.replace('_', '-')} "
                    "out to add to it, or ingest into a new study"
                )
        return layout, PrepareOptions(**attributes["config"])
    prepare_options = PrepareOptions(**given)
    if prepare_options.normalise == "paper-median" and options.grid != "paper":
        raise ConfigError("--normalise paper-median is the paper grid's own; add --grid paper")
    if options.grid == "auto":
        grid, words = propose_grid(files, options=_read_options(options))
        say(f"grid: {words}")
    else:
        grid = parse_grid(options.grid)
    layout = Layout(grid, rows_per_shard(grid.size), dtype=options.dtype or "float32")
    create_store(store, layout, config=prepare_options.as_dict())
    return layout, prepare_options


def _read_options(options: IngestOptions) -> ReadOptions:
    return ReadOptions(checksum=options.checksum)


def _aliases(options: IngestOptions) -> Any:
    from ..targets import read_aliases

    return None if options.aliases is None else read_aliases(Path(options.aliases))


def _work(
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
        block: BlockTask(
            str(folders[block]), tuple(files[block]), layout, prepare_options, _read_options(options)
        )
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
    for _ in range(ROUNDS):
        open_tasks = {block: task for block, task in tasks.items() if block in waiting and block not in ready}
        if not open_tasks:
            break
        dead: BaseException | None = None
        for block, error in _run(open_tasks, options, workers, tick):
            if error is None:
                ready.add(block)
                commit_ready()
            else:
                dead = error
                note_crash(folders[block])
        tick(force=True)
        if dead is not None:
            say(f"a worker died ({type(dead).__name__}); going on, and a file that kills workers is refused")
    else:
        raise StoreError(
            f"workers died in {ROUNDS} rounds; is memory short? Try --workers 1. What is done is kept: "
            "the same command goes on"
        )


def _run(tasks: dict[int, BlockTask], options: IngestOptions, workers: int, tick: Callable[[], None]) -> Any:
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
    cost = estimate(todo, layout, options=prepare_options, read=_read_options(options), workers=workers)
    free = shutil.disk_usage(store).free
    say(
        f"estimate: {len(todo):,} files, {cost.n_bytes / 1e9:.2f} GB on disk ({free / 1e9:.1f} GB free), "
        f"about {_duration(cost.seconds)} with {workers} {'process' if workers == 1 else 'processes'}"
    )
    if cost.n_bytes > free:
        say(
            "warning: that is more than the disk has free; what fits is kept, and the same command goes on later"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _report(store: Path, before: tuple[set[str], int]) -> dict[str, Any]:
    """Counts of what this run added, and of what the store holds now."""
    index, rejects = read_index(store), read_rejects(store)
    fresh = rejects.iloc[before[1] :]
    doubts = store / "target-doubts.parquet"
    layout, _ = read_layout(store)
    import pyarrow.parquet as pq

    return {
        "accepted": len(index) - len(before[0]),
        "refused": len(fresh),
        "reasons": {
            str(key): int(value) for key, value in fresh["reason"].value_counts().sort_index().items()
        },
        "n_spectra": len(index),
        "n_targets": int(index["target"].nunique()),
        "n_target_doubts": pq.ParquetFile(doubts).metadata.num_rows if doubts.exists() else 0,
        "grid": layout.grid.text,
    }
