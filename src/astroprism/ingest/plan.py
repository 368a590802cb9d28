"""What an ingest has set out to do, kept on disk so that an interrupted one goes on with the same list."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from ..artifacts import blame, write_bytes
from ..errors import StoreError
from .commit import read_files, work_folder
from .listing import FileEntry


def write_plan(store: Path, files: Sequence[FileEntry]) -> list[FileEntry]:
    """Keep the list of files this ingest is about; returns it."""
    rows = [[entry.path, entry.size, entry.mtime_ns] for entry in files]
    write_bytes(work_folder(store) / "plan.json", json.dumps({"files": rows}).encode())
    return list(files)


def open_plan(store: Path) -> list[FileEntry]:
    """The list an interrupted ingest left; empty where none did."""
    path = work_folder(store) / "plan.json"
    if not path.exists():
        return []
    try:
        return [FileEntry(*row) for row in json.loads(path.read_bytes())["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); remove {work_folder(store)} and run the same command again: "
            "what is in index.parquet stays"
        ) from None


def known_files(store: Path) -> dict[str, FileEntry]:
    """Files this store has already taken or refused, as they were then."""
    files = read_files(store)
    rows = zip(files["path"], files["size"], files["mtime_ns"], strict=True)
    return {path: FileEntry(path, int(size), int(mtime)) for path, size, mtime in rows}


def files_table(known: dict[str, FileEntry], plan: Sequence[FileEntry]) -> pd.DataFrame:
    """The files known once `plan` is done, for files.parquet."""
    entries = {**known, **{entry.path: entry for entry in plan}}
    ordered = [entries[path] for path in sorted(entries)]
    return pd.DataFrame(
        {
            "path": pd.Series([entry.path for entry in ordered], dtype="str"),
            "size": pd.Series([entry.size for entry in ordered], dtype="int64"),
            "mtime_ns": pd.Series([entry.mtime_ns for entry in ordered], dtype="int64"),
        }
    )


@contextmanager
def locked(store: Path) -> Iterator[None]:
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
