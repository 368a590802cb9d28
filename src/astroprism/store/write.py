"""Writing the store: Zarr 3 shards, row by row, safe against being killed at any moment.

A block is a folder with one growing file per array: rows of raw little-endian values, each followed
by its crc32c. That is what a Zarr 3 shard holds before its index, so `seal` only appends an index
and `publish` only renames.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..artifacts import blame, move_into_place, sync
from ..errors import StoreError
from .layout import ARRAYS, CRC, EMPTY, Layout, crc32c, create_store, resize, rows_per_shard, shard_file

# the names that whoever writes a store needs, in one place
__all__ = ["BlockWriter", "Layout", "create_store", "publish", "resize", "rows_per_shard", "seal"]


class BlockWriter:
    """Rows of one future shard, appended to `folder`; an existing folder is continued where it stopped.

    A row counts once it is complete, by its crc32c, in all three files. What a killed process left
    behind that (half a row, a row of one array only) is written over.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder = Path(folder)
        self.layout = layout
        self._files: dict[str, int] = {}
        with blame(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for array in ARRAYS:
                with blame(part := self._part(array)):
                    self._files[array] = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
            # every row, not the last one only: after a power cut an earlier page may be missing
            self._rows = min(_leading_rows(fd, layout, array) for array, fd in self._files.items())
            self.truncate(self._rows)
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> int:
        """Complete rows held."""
        return self._rows

    def _part(self, array: str) -> Path:
        return self.folder / f"{array}.part"

    def truncate(self, rows: int) -> None:
        """Forget all rows from number `rows` on."""
        if not 0 <= rows <= self._rows:
            raise StoreError(f"{self.folder} holds {self._rows} rows and cannot be cut to {rows}")
        for array, fd in self._files.items():
            with blame(self._part(array)):
                os.ftruncate(fd, rows * self.layout.stride(array))
        self._rows = rows

    def append(self, flux: ArrayLike, sigma: ArrayLike, good: ArrayLike) -> int:
        """Add one spectrum, three arrays of shape (n_pixels,); returns its row number in the block."""
        if not self._files:
            raise StoreError(f"{self.folder} was closed; open it again to append")
        if self._rows >= self.layout.rows_per_shard:
            raise StoreError(f"{self.folder} is full with {self._rows} rows; seal it and begin another block")
        usable = np.ascontiguousarray(good, dtype=bool)
        values = {
            "flux": _to_disk(flux, usable, dtype=self.layout.numpy_dtype("flux"), name="flux"),
            "sigma": _to_disk(sigma, usable, dtype=self.layout.numpy_dtype("sigma"), name="sigma"),
            "good": usable,
        }
        for array, row in values.items():
            if row.shape != (self.layout.n_pixels,):
                raise StoreError(f"{array} has shape {row.shape}; the grid has {self.layout.n_pixels} pixels")
        try:
            for array, row in values.items():
                with blame(self._part(array)):
                    _write(self._files[array], row, offset=self._rows * self.layout.stride(array))
        except StoreError:
            with contextlib.suppress(
                StoreError
            ):  # half a row is harmless; the first error is the one to report
                self.truncate(self._rows)
            raise
        self._rows += 1
        return self._rows - 1

    def close(self) -> None:
        """Close the files; what was appended stays."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def seal(folder: Path, layout: Layout, *, dropped: Collection[int] = ()) -> int:
    """Append the shard index to the files of a block; returns the number of rows they hold.

    Rows in `dropped` (numbers in the block) get no place in the index. Sealing again, with the same
    or another `dropped`, gives the bytes a first sealing would have given. Files that `publish` has
    already moved away are left as they are.
    """
    parts = {array: part for array in ARRAYS if (part := Path(folder) / f"{array}.part").exists()}
    files: dict[str, int] = {}
    try:
        for array, part in parts.items():
            with blame(part):
                files[array] = os.open(part, os.O_RDWR)
        rows = min((_trailing_row(fd, layout, array) for array, fd in files.items()), default=0)
        if dropped and files and not 0 <= min(dropped) <= max(dropped) < rows:
            raise StoreError(f"{folder} holds rows 0..{rows - 1}; cannot drop rows {sorted(dropped)}")
        for array, fd in files.items():
            index = _index(layout, array, rows=rows, dropped=dropped)
            end = rows * layout.stride(array)
            with blame(parts[array]):
                _write(fd, index, offset=end)
                os.ftruncate(fd, end + layout.index_bytes)
    finally:
        for fd in files.values():
            os.close(fd)
    return rows


def publish(folder: Path, store: Path, shard: int) -> None:
    """Move the sealed files of a block to their place in the store, on the disk for good.

    A file that was already moved is fine, so a killed publish is repeated.
    """
    for array in ARRAYS:
        part, place = Path(folder) / f"{array}.part", Path(shard_file(store, array, shard))
        with blame(place):
            if part.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                move_into_place(part, place)
                sync(place.parent)
                sync(place.parent.parent)
            elif not place.exists():
                raise StoreError(f"neither {part} nor {place} exists; ingest this block again")


def _to_disk(values: ArrayLike, good: NDArray[np.bool_], *, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Values in their type on disk; only pixels that are not good may be too large for it."""
    given = np.asarray(values)
    if dtype.itemsize > 2:
        return np.ascontiguousarray(given, dtype=dtype)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(given, dtype=dtype)
    overflow = np.isinf(cast) & np.isfinite(given)
    if np.any(overflow):
        if good.shape == overflow.shape and np.any(overflow & good):
            worst = float(np.max(np.abs(given[overflow & good])))
            raise StoreError(f"{name} of {worst:g} in a good pixel does not fit float16; use dtype float32")
        cast[overflow] = np.copysign(np.float16(65504), given[overflow]).astype(dtype)
    return cast


def _write(fd: int, content: NDArray[Any] | bytes, *, offset: int) -> None:
    """Write values and their crc32c at `offset`, in one call where the system takes it whole."""
    plain: Any = np.frombuffer(content, dtype=np.uint8)
    crc = crc32c(plain)
    written = os.pwritev(fd, [plain, crc], offset)
    if written < plain.size + CRC:  # a signal, or the disk is nearly full: the next call says which
        rest = memoryview(plain.tobytes() + crc)
        while written < len(rest):
            written += os.pwrite(fd, rest[written:], offset + written)


def _index(layout: Layout, array: str, *, rows: int, dropped: Collection[int]) -> bytes:
    """(offset, length) of every row of a shard, uint64 little-endian; its crc32c comes with `_write`."""
    stride = layout.stride(array)
    index = np.full((layout.rows_per_shard, 2), EMPTY, dtype="<u8")
    index[:rows, 0] = np.arange(rows, dtype=np.uint64) * np.uint64(stride)
    index[:rows, 1] = stride
    index[list(dropped)] = EMPTY
    return index.tobytes()


def _sound(fd: int, layout: Layout, array: str, row: int) -> bool:
    stride = layout.stride(array)
    content = np.frombuffer(os.pread(fd, stride, row * stride), dtype=np.uint8)
    return content.size == stride and crc32c(content[:-CRC]) == content[-CRC:].tobytes()


def _whole_rows(fd: int, layout: Layout, array: str) -> int:
    return min(os.fstat(fd).st_size // layout.stride(array), layout.rows_per_shard)


def _leading_rows(fd: int, layout: Layout, array: str) -> int:
    """Rows before the first that is cut or damaged."""
    rows = _whole_rows(fd, layout, array)
    return next((row for row in range(rows) if not _sound(fd, layout, array, row)), rows)


def _trailing_row(fd: int, layout: Layout, array: str) -> int:
    """Rows up to the last sound one; behind it may lie half a row, or an index as long as some short rows."""
    rows = _whole_rows(fd, layout, array)
    while rows and not _sound(fd, layout, array, rows - 1):
        rows -= 1
    return rows
