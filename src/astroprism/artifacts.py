"""Files that a study keeps: written aside and renamed, read with clear errors, known by digest and format.

Every artifact says what it was made from: JSON in keys of its own, a Parquet table in its metadata, an npz
file in an array of JSON text. What was made from something else is stale; `differences` names what changed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa


class Format(NamedTuple):
    """Name and version of a kind of artifact, as its header gives them."""

    name: str
    version: int

    @property
    def header(self) -> dict[str, Any]:
        """The keys that say so."""
        return {"format": self.name, "format_version": self.version}

    def fits(self, content: Any) -> bool:
        """Whether this content says that it is of this format and version."""
        found = (content.get("format"), content.get("format_version")) if isinstance(content, Mapping) else ()
        return found == self

    def require(self, content: Any, path: Path, *, remedy: str) -> None:
        """Refuse content of another format or version."""
        if not self.fits(content):
            found = content if isinstance(content, Mapping) else {}
            raise ModelError(
                f"{path} is of format {found.get('format')!r} {found.get('format_version')}; this version of "
                f"astroprism reads {self.name!r} {self.version}: {remedy}"
            )


# --- writing


@contextlib.contextmanager
def aside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A name beside `path` to write under; renamed to `path` once the block ends and all is on the disk.

    Without `durable` the disk is not waited for: for files by the thousand that can be made again.
    """
    part = path.with_name(f".{path.name}.part")
    with blame(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            move_into_place(part, path, durable=durable)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def move_into_place(part: Path, path: Path, *, durable: bool = True) -> None:
    """Rename a finished file to its name; with `durable` once all of it is on the disk."""
    if durable:
        sync(part)
    os.replace(part, path)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk for good."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """A small file, or with `durable` false one that can be made again."""
    with aside(path, durable=durable) as part:
        part.write_bytes(content)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON object; what is not finite becomes null."""
    write_bytes(path, (json.dumps(jsonable(value), indent=1) + "\n").encode())


def write_table(path: Path, table: pa.Table | Mapping[str, Any], *, header: Mapping[str, Any]) -> None:
    """A Parquet table, or columns of one, with `header` in its metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    if isinstance(table, Mapping):
        table = pa.table({name: pa.array(values) for name, values in table.items()})
    with aside(path) as part:
        parquet.write_table(table.replace_schema_metadata({_HEADER: json.dumps(header)}), part)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, header: Mapping[str, Any]) -> None:
    """Arrays in an npz file, with `header` as JSON text beside them."""
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with aside(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, about=text, **dict(arrays))


# --- reading


def read_json(path: Path, *, remedy: str = "restore it or ingest again") -> dict[str, Any]:
    """A JSON object; a damaged file is an error that gives the remedy."""
    with blame(path):
        content = path.read_bytes()
    try:
        value = json.loads(content)
    except ValueError as error:
        raise StoreError(f"{path} is damaged, not JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} is damaged, it holds no JSON object; {remedy}")
    return value


def table_header(path: Path) -> dict[str, Any]:
    """What a Parquet table says of itself, its rows unread; empty where it says nothing.

    A damaged file is a ValueError, since only the caller can name the remedy.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        header = json.loads((parquet.read_schema(path).metadata or {}).get(_HEADER, b"null"))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    return header if isinstance(header, dict) else {}


def read_arrays(path: Path, *, kind: Format) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """What `write_arrays` wrote; None where there is nothing, or of another format or version."""
    if not path.exists():
        return None
    try:
        # opened here: of a damaged file numpy leaves its own handle open
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            header = json.loads(bytes(arrays.pop("about")))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is damaged ({error}); delete it, and it is made again") from None
    return (arrays, header) if kind.fits(header) else None


# --- what an artifact was made from


def digest(path: Path) -> str:
    """SHA-256 of a file, that identifies it in what is made from it."""
    with blame(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys whose values are not the same, as JSON keeps them; empty where nothing is stale."""
    now = json.loads(json.dumps(now))
    return [name for name in {**then, **now} if then.get(name) != now.get(name)]


# --- plain values, clear errors


def jsonable(value: Any) -> Any:
    """Values for JSON: numbers of numpy become Python's, and what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def blame(path: str | Path) -> Iterator[None]:
    """Turn an OSError within into a StoreError that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(
            error.errno or 0, "see whether the folder is there and sound, then run it again"
        )
        raise StoreError(f"{path}: {error.strerror or error}; {remedy}") from error


_HEADER = b"astroprism"
_SPACE = "free some space and run the same command again: it continues from what is written"
_RIGHTS = "get the right to read and write there, or choose another study folder"
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on file size (ulimit -f) or use another disk, then run it again",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOENT: "it is missing: restore it or ingest again",
    errno.EEXIST: "a file is where a folder should be; choose another study folder",
    errno.ENOTDIR: "a file is where a folder should be; choose another study folder",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.EXDEV: "the unfinished blocks must lie on the disk of the store",
    errno.EIO: "the disk reports damage; copy what can be read and ingest the rest again",
}
