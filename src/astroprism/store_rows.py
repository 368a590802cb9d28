"""Rows of a store read from its shard files: one system call each, into their place in a batch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .layout import ARRAYS, CRC, EMPTY, Layout, blame, crc32c, shard_file

OPEN_FILES = 128  # shard files kept open; macOS gives a process 256 descriptors
AHEAD_SHARDS, AHEAD_BYTES = 32, 64 << 20  # how far ahead the system is told what will be read
_CAN_ADVISE = hasattr(os, "posix_fadvise")  # not on macOS

Rows = NDArray[np.integer[Any]]


class Batch(NamedTuple):
    """Some spectra: flux and sigma (1-sigma error) float32, good bool, each of shape (rows, pixels)."""

    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    good: NDArray[np.bool_]


class RowReader:
    """Reads rows of the arrays of one store; threads may share it, a forked process may not."""

    def __init__(self, store: Path, layout: Layout) -> None:
        self.pid = os.getpid()
        self._store, self._layout = store, layout
        self._lock = threading.Lock()
        self._shards: OrderedDict[tuple[str, int], _Shard] = OrderedDict()  # least recently used first
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def pool(self, threads: int) -> ThreadPoolExecutor:
        """A pool of so many threads, kept for the next batch."""
        with self._lock:
            if threads not in self._pools:
                self._pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="astroprism-read")
            return self._pools[threads]

    def close(self) -> None:
        """Close files and threads."""
        with self._lock:
            pools, self._pools = self._pools, {}
            self._shards.clear()
        for pool in pools.values():
            pool.shutdown()

    def fill(self, batch: Batch, places: Rows, *, rows: Rows, pixels: range, verify: bool) -> None:
        """Read `pixels` of each of the array `rows` (ascending) into the places of `batch`."""
        size = self._layout.rows_per_shard
        cuts = [0, *(np.flatnonzero(np.diff(rows // size)) + 1).tolist(), rows.size]
        groups = [slice(*cut) for cut in pairwise(cuts)] if rows.size else []
        window_bytes = sum(self._layout.numpy_dtype(array).itemsize for array in ARRAYS) * len(pixels)
        for some in _up_to(groups, shards=AHEAD_SHARDS, rows=max(1, AHEAD_BYTES // window_bytes)):
            todo = []
            for group in some:
                shard = int(rows[group.start]) // size
                for array, target in zip(ARRAYS, batch, strict=True):
                    file = self._open(array, shard)
                    offsets = file.find(rows[group] % size)
                    file.advise(offsets, pixels)
                    todo.append((file, offsets, target, places[group].tolist()))
            for file, offsets, target, into in todo:
                file.read(offsets, target, into=into, pixels=pixels, verify=verify)

    def _open(self, array: str, shard: int) -> _Shard:
        key = (array, shard)
        with self._lock:
            if key in self._shards:
                self._shards.move_to_end(key)
                return self._shards[key]
        file = _Shard(shard_file(self._store, array, shard), self._layout, array=array)
        with self._lock:
            self._shards[key] = file
            while len(self._shards) > OPEN_FILES:
                self._shards.popitem(last=False)  # closed once no thread reads from it
        return file


def _up_to(groups: list[slice], *, shards: int, rows: int) -> Iterator[list[slice]]:
    """Groups in lists of at most `shards`, and of about `rows` rows."""
    some: list[slice] = []
    for group in groups:
        if some and (len(some) >= shards or group.stop - some[0].start > rows):
            yield some
            some = []
        some.append(group)
    if some:
        yield some


class _Shard:
    """One open shard file and where its rows begin."""

    def __init__(self, path: Path, layout: Layout, *, array: str) -> None:
        self.path, self._array = path, array
        self._dtype, self._n_pixels = layout.numpy_dtype(array), layout.n_pixels
        with blame(path):
            self._fd = os.open(path, os.O_RDONLY)
            size = os.fstat(self._fd).st_size
            begin = max(0, size - layout.index_bytes)
            content = np.frombuffer(os.pread(self._fd, layout.index_bytes, begin), dtype=np.uint8)
        if content.size < layout.index_bytes or crc32c(content[:-CRC]) != content[-CRC:].tobytes():
            raise StoreError(
                f"{path}, of {size} bytes, does not end in a sound shard index: it was cut, damaged or is of "
                "another store; restore it or ingest again"
            )
        index = content[:-CRC].view("<u8").reshape(-1, 2)
        stride = layout.stride(array)
        empty = np.all(index == np.uint64(EMPTY), axis=1)
        fits = (index[:, 1] == stride) & (index[:, 0] <= np.uint64(max(0, begin - stride)))
        if not np.all(empty | fits):
            wrong = int(np.flatnonzero(~(empty | fits))[0])
            raise StoreError(
                f"{path}: row {wrong} should be {stride} bytes within {begin}, its index says offset and "
                f"length {index[wrong].tolist()}; the shard is damaged or compressed: restore it or ingest again"
            )
        self._begins = np.where(empty, np.uint64(0), index[:, 0]).astype(np.int64)
        self._begins[empty] = -1

    def __del__(self) -> None:
        # whichever thread lets go last closes it, so that none reads from a descriptor given to another file
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def find(self, rows: Rows) -> list[int]:
        """Where rows (numbers in the shard) begin, in bytes."""
        begins = self._begins[rows]
        if begins.size and begins.min() < 0:
            missing = int(np.asarray(rows)[np.argmin(begins)])
            raise StoreError(f"{self.path} has no row {missing}, which the index names; ingest again")
        found: list[int] = begins.tolist()
        return found

    def advise(self, begins: list[int], pixels: range) -> None:
        """Tell the system what will be read, so that a cold disk serves many rows at once."""
        if not _CAN_ADVISE:
            return
        first, length = pixels.start * self._dtype.itemsize, len(pixels) * self._dtype.itemsize
        for begin in begins:
            os.posix_fadvise(self._fd, begin + first, length, os.POSIX_FADV_WILLNEED)

    def read(
        self, begins: list[int], target: NDArray[Any], *, into: list[int], pixels: range, verify: bool
    ) -> None:
        """Read pixels of the rows at `begins` into rows `into` of `target`; `verify` their checksums."""
        whole = verify and len(pixels) < self._n_pixels
        direct = self._dtype == target.dtype and not whole
        scratch = np.empty(self._n_pixels if whole else len(pixels), self._dtype)
        cut = slice(pixels.start, pixels.stop) if whole else slice(None)
        crc = bytearray(CRC)
        first = 0 if whole else pixels.start * self._dtype.itemsize
        expected = scratch.nbytes + (CRC if verify else 0)
        with blame(self.path), np.errstate(invalid="ignore"):
            for begin, place in zip(begins, into, strict=True):
                row: Any = target[place] if direct else scratch
                got = os.preadv(self._fd, [row, crc] if verify else [row], begin + first)
                if got != expected:
                    raise StoreError(
                        f"{self.path} ends at byte {begin + first + got}, within a row; "
                        "restore it or ingest again"
                    )
                if verify and crc32c(row.view(np.uint8)) != crc:
                    raise StoreError(
                        f"{self.path}: the row at byte {begin} does not match its checksum; "
                        "restore the file or ingest again"
                    )
                if not direct:
                    target[place] = scratch[cut]
