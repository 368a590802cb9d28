"""Which files an ingest is given, in an order that does not depend on the disk, and its list of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import write_bytes
from ..errors import ConfigError, StoreError

if TYPE_CHECKING:
    import pandas as pd

# What lies beside spectra in real archives and is never one. Passed over in folders, and counted;
# a file that is named itself is always tried.
_DOCUMENTS = (".md", ".rst", ".html", ".htm", ".pdf", ".ps", ".png", ".jpg", ".jpeg", ".gif", ".svg")
_SETTINGS = (".json", ".yaml", ".yml", ".toml", ".log", ".lock", ".py", ".ipynb", ".sh")
_TABLES = (".xml", ".vot", ".parquet", ".ecsv", ".md5", ".sha1", ".sha256")
_ARCHIVES = (".tar", ".tgz", ".zip", ".pth", ".safetensors")
NOT_SPECTRA = frozenset(_DOCUMENTS + _SETTINGS + _TABLES + _ARCHIVES)
NOT_SPECTRA_NAMES = frozenset({"truth.csv", "labels.csv", "Makefile", "README", "README.txt", "LICENSE"})


@dataclass(frozen=True)
class FileEntry:
    """A file as it was when it was listed."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """Files to read, sorted by path, and how many were passed over as no spectra."""

    files: tuple[FileEntry, ...]
    passed_over: int


def list_files(paths: Iterable[str | os.PathLike[str]]) -> Listing:
    """All files under `paths` (files or folders, folders searched to the bottom), each once."""
    given = [Path(os.path.abspath(path)) for path in paths]
    if not given:
        raise ConfigError("no files given; name at least one file or folder")
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        raise ConfigError(f"no such file or folder: {', '.join(missing[:5])}")
    found: dict[str, FileEntry] = {}
    passed_over = 0
    for path in given:
        if path.is_dir():
            for entry in _walk(str(path)):
                if _is_no_spectrum(entry.name):
                    passed_over += 1
                else:
                    found[entry.path] = _file_entry(entry.path)
        else:
            found[str(path)] = _file_entry(str(path))
    files = tuple(found[path] for path in sorted(found))
    return Listing(files, passed_over)


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Every file below `folder` that is not hidden; links to folders are not followed (they can loop)."""
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; cannot list it") from error
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            # a study inside an archive folder is not part of the archive
            if not entry.name.endswith(".zarr"):
                yield from _walk(entry.path)
        elif not entry.is_dir():
            yield entry


def _is_no_spectrum(name: str) -> bool:
    return name in NOT_SPECTRA_NAMES or os.path.splitext(name)[1].lower() in NOT_SPECTRA


def _file_entry(path: str) -> FileEntry:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link: reading it gives the reason, and it is counted
        return FileEntry(path, 0, 0)
    return FileEntry(path, status.st_size, status.st_mtime_ns)


def spread(files: Sequence[FileEntry], count: int) -> list[FileEntry]:
    """Up to `count` files evenly spread over the listing: a sample that is the same every time."""
    if len(files) <= count:
        return list(files)
    return [files[(2 * i + 1) * len(files) // (2 * count)] for i in range(count)]


# --- what an ingest has set out to do, and what a store knows


def work_folder(store: Path) -> Path:
    """Where an ingest keeps its plan, its blocks and what it has committed until it is finished."""
    return store / ".ingest"


def write_plan(store: Path, files: Sequence[FileEntry]) -> None:
    """Keep the list of files of this ingest, so that an interrupted one continues with the same."""
    rows = [[entry.path, entry.size, entry.mtime_ns] for entry in files]
    write_bytes(work_folder(store) / "plan.json", json.dumps({"files": rows}).encode())


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
    import pandas as pd

    path = store / "files.parquet"
    if not path.exists():
        return {}
    files = pd.read_parquet(path)
    rows = zip(files["path"], files["size"], files["mtime_ns"], strict=True)
    return {path: FileEntry(path, int(size), int(mtime)) for path, size, mtime in rows}


def files_table(known: Mapping[str, FileEntry], plan: Sequence[FileEntry]) -> pd.DataFrame:
    """The files known once `plan` is done, for files.parquet."""
    import pandas as pd

    entries = {**known, **{entry.path: entry for entry in plan}}
    ordered = [entries[path] for path in sorted(entries)]
    return pd.DataFrame(
        {
            "path": pd.Series([entry.path for entry in ordered], dtype="str"),
            "size": pd.Series([entry.size for entry in ordered], dtype="int64"),
            "mtime_ns": pd.Series([entry.mtime_ns for entry in ordered], dtype="int64"),
        }
    )
