"""Files of any format to one store: every spectrum brought to one grid, or refused with its reason.

`ingest` may be killed at any moment and called again; it continues where it stopped. Called with new
files it appends; called with nothing new it does nothing and says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..artifacts import blame
from ..errors import ConfigError, StoreError
from ..grid import parse_grid
from ..kernels import COMPILED, SLOW
from ..progress import Listener, message, silent, warning
from ..store.layout import Layout, create_store, read_layout, rows_per_shard
from ..store.prepare import PrepareOptions
from ..targets.assignment import Assigned, no_match, read_assignment
from ..targets.group import read_aliases
from .commit import committed_blocks, finish, read_index, read_rejects
from .journal import read_journal
from .listing import FileEntry, files_table, known_files, list_files, open_plan, work_folder, write_plan
from .options import IngestCounts, IngestOptions, IngestReport
from .proposal import propose_grid, refuse_foreign_targets
from .work import do_blocks

__all__ = ["IngestCounts", "IngestOptions", "IngestReport", "ingest"]


def ingest(
    store_path: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    *,
    options: IngestOptions | None = None,
    progress: Listener = silent,
) -> IngestReport:
    """Bring every spectrum under `paths` into the store, which is made where there is none.

    progress  receives messages (the grid found, the estimate, what was wrong) and, several times a second,
              counts of files with `IngestCounts` of spectra
    """
    options = options or IngestOptions()
    path = Path(os.path.abspath(store_path))
    listing = list_files(paths)
    if not listing.files:
        raise ConfigError("no files found; give a folder that holds spectra, or name the files")
    aliases = None if options.aliases is None else read_aliases(Path(options.aliases))
    targets = None if options.targets is None else read_assignment(options.targets)
    assigned: Assigned | None = None
    if not COMPILED:
        progress(warning(SLOW))
    fresh = not path.exists()
    if (path / "zarr.json").exists():
        _agree(path, options)  # before anything is written there
    with blame(path):
        path.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(path):
            known = known_files(path)
            before = set(read_index(path)["spectrum_id"]), len(read_rejects(path))
            plan = open_plan(path)
            new = [entry for entry in listing.files if entry.path not in known]
            if plan:
                done = _done(path, plan)
                progress(
                    message(f"continuing an unfinished ingest: {done:,} of {len(plan):,} files are done")
                )
            if plan or new:
                if targets is not None and not before[0]:
                    refuse_foreign_targets(plan or new, targets, str(options.targets), read=options.read)
                layout, preparation = _settings(path, options, plan or new, progress=progress)
                # what an interrupted run set out to do comes first, then what has been added since
                while todo := plan or [entry for entry in listing.files if entry.path not in known]:
                    if not plan:
                        write_plan(path, todo)
                    do_blocks(
                        path,
                        todo,
                        layout=layout,
                        preparation=preparation,
                        options=options,
                        progress=progress,
                    )
                    assigned = finish(
                        path, layout, files=files_table(known, todo), aliases=aliases, targets=targets
                    )
                    known, plan = known_files(path), []
            else:
                progress(message("nothing new: every file given is already in this store"))
                if aliases is not None or targets is not None:
                    assigned = finish(
                        path,
                        read_layout(path)[0],
                        files=files_table(known, []),
                        aliases=aliases,
                        targets=targets,
                    )
                    progress(message("targets were grouped again with the tables given"))
            if assigned is not None:
                if (
                    targets is not None
                    and not assigned.listed
                    and (ids := read_index(path)["spectrum_id"]).size
                ):
                    raise no_match(
                        str(options.targets),
                        targets,
                        ids,
                        then="repeat the command: what is ingested is kept, grouped by name and place so far",
                    )
                few = targets is not None and 2 * len(assigned.unknown) > len(targets)
                progress((warning if few else message)(assigned.line()))
            report = _report(path, before)
    except BaseException:
        if fresh and not (path / "zarr.json").exists():
            shutil.rmtree(path, ignore_errors=True)  # nothing was begun: leave no half-made study
        raise
    changed = [entry.path for entry in listing.files if entry.path in known and known[entry.path] != entry]
    if changed:
        progress(
            message(
                f"{len(changed)} files changed since they were ingested and were not read again (first: "
                f"{changed[0]}); a store keeps what it has: take them into a new study"
            )
        )
    return IngestReport(
        files_given=len(listing.files),
        files_new=len(new),
        files_changed=len(changed),
        passed_over=listing.passed_over,
        targets={}
        if assigned is None
        else {
            "listed": assigned.listed,
            "missing": assigned.target.size - assigned.listed,
            "unknown": len(assigned.unknown),
            "rows": assigned.keys,
        },
        **report,
    )


def _settings(
    store: Path, options: IngestOptions, files: Sequence[FileEntry], *, progress: Listener
) -> tuple[Layout, PrepareOptions]:
    """Layout and preparation: those of the store where there is one, else by the options, and it is made."""
    if (store / "zarr.json").exists():
        return _agree(store, options)
    preparation = PrepareOptions(**options.preparation)
    if preparation.normalise == "paper-median" and options.grid != "paper":
        raise ConfigError("--normalise paper-median is the paper grid's own; add --grid paper")
    if options.grid == "auto":
        grid, words = propose_grid(files, options=options.read)
        progress(message(f"grid: {words}"))
    else:
        grid = parse_grid(options.grid)
    layout = Layout(grid, rows_per_shard(grid.size), dtype=options.dtype or "float32")
    create_store(store, layout, config=preparation.as_dict())
    return layout, preparation


def _agree(store: Path, options: IngestOptions) -> tuple[Layout, PrepareOptions]:
    """Layout and preparation of a store that is there; options that differ from its own are an error."""
    layout, attributes = read_layout(store)
    there = {**attributes["config"], "grid": layout.grid.text, "dtype": layout.dtype}
    wanted = dict(options.preparation)
    if options.grid != "auto":
        wanted["grid"] = parse_grid(options.grid).text
    if options.dtype is not None:
        wanted["dtype"] = options.dtype
    for name, value in wanted.items():
        if there[name] != value:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"this store was made with {name} {there[name]}, not {value}; leave {option} out to add "
                "to it, or ingest into a new study"
            )
    return layout, PrepareOptions(**attributes["config"])


def _done(store: Path, plan: Sequence[FileEntry]) -> int:
    """Files of the plan whose outcome is known, in committed blocks or in the journals of others."""
    size = read_layout(store)[0].rows_per_shard if (store / "zarr.json").exists() else len(plan)
    committed = committed_blocks(store)
    done = sum(min(size, len(plan) - block * size) for block in committed)
    journals = (work_folder(store) / "blocks").glob("*/journal")
    return done + sum(
        len(read_journal(path).done) for path in journals if int(path.parent.name) not in committed
    )


def _report(store: Path, before: tuple[set[str], int]) -> dict[str, Any]:
    """Counts of what this run added, and of what the store holds now."""
    index, rejects = read_index(store), read_rejects(store)
    fresh = rejects.iloc[before[1] :]
    doubts = store / "target-doubts.parquet"
    layout, _ = read_layout(store)
    import pyarrow.parquet as pq

    assumed = index["warnings"][index["warnings"] != ""].str.split("; ").explode()
    counts = assumed.str.replace(r"[-+]?\d[\d.e+-]*", "..", regex=True).value_counts()
    motions = index["berv_source"].replace("", "none") if "berv_source" in index else index["path"].iloc[:0]
    return {
        "berv": {str(key): int(value) for key, value in motions.value_counts().items()},
        "met": len(index) - len(before[0]) + len(fresh),
        "warnings": {str(key): int(value) for key, value in counts.items()},
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


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """Let one ingest at a time work on a store; the lock goes with the process, however it ends."""
    path = store / ".lock"
    with blame(path):
        file = open(path, "w")  # noqa: SIM115 - closed below, after the lock was found to hold
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{store}: another ingest is working on this store; wait for it to end"
            ) from None
        yield
    finally:
        file.close()
        # an empty lock file left behind would be harmless, but the same archive should give the same folder
        with suppress(OSError):
            os.unlink(path)
