"""Rows of a store read from its shard files: one system call each, into their place in a batch."""

from __future__ import annotations

import functools
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..artifacts import blame
from ..errors import StoreError
from .layout import ARRAYS, CRC, EMPTY, Layout, crc32c, shard_file

OPEN_FILES = 128  # shard files kept open, and more where the system allows
TOGETHER_BYTES = 4 << 20  # rows that lie so close are read by one call
AHEAD_SHARDS, AHEAD_BYTES = 32, 64 << 20  # how far ahead the system is informed of what will be read
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
        self._begins: dict[tuple[str, int], NDArray[np.int64]] = {}  # of all opened, 24 bytes per spectrum
        self._pools: dict[int, ThreadPoolExecutor] = {}
        # 256 descriptors is what macOS gives a process, 1,024 the common limit on Linux
        self._limit = max(OPEN_FILES, min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))

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
        shards, local = (part.tolist() for part in np.divmod(rows, self._layout.rows_per_shard))
        into = places.tolist()
        cuts = [0, *(row for row in range(1, len(shards)) if shards[row] != shards[row - 1]), len(shards)]
        groups = [slice(*cut) for cut in pairwise(cuts)] if shards else []
        window_bytes = sum(self._layout.numpy_dtype(array).itemsize for array in ARRAYS) * len(pixels)
        for some in _up_to(groups, shards=AHEAD_SHARDS, rows=max(1, AHEAD_BYTES // window_bytes)):
            todo = []
            for group in some:
                for array, target in zip(ARRAYS, batch, strict=True):
                    file = self._open(array, shards[group.start])
                    begins = file.find(local[group])
                    together = file.advise(begins, pixels)
                    read = file.read_together if together else file.read
                    todo.append((read, begins, target, into[group]))
            for read, begins, target, where in todo:
                read(begins, target, into=where, pixels=pixels, verify=verify)

    def _open(self, array: str, shard: int) -> _Shard:
        key = (array, shard)
        with self._lock:
            if key in self._shards:
                self._shards.move_to_end(key)
                return self._shards[key]
        file = _Shard(
            shard_file(self._store, array, shard), self._layout, array=array, begins=self._begins.get(key)
        )
        with self._lock:
            self._begins[key] = file.begins
            self._shards[key] = file
            while len(self._shards) > self._limit:
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
    """One open shard file and where its rows begin, in bytes (-1: no such row)."""

    def __init__(
        self, path: str, layout: Layout, *, array: str, begins: NDArray[np.int64] | None = None
    ) -> None:
        self._path, self._dtype = path, layout.numpy_dtype(array)
        self._n_pixels, self._stride = layout.n_pixels, layout.stride(array)
        with blame(path):
            self._fd = os.open(path, os.O_RDONLY)
        self.begins = self._read_index(layout) if begins is None else begins

    def __del__(self) -> None:
        # whichever thread lets go last closes it, so that none reads from a descriptor given to another file
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def _read_index(self, layout: Layout) -> NDArray[np.int64]:
        with blame(self._path):
            size = os.fstat(self._fd).st_size
            end = max(0, size - layout.index_bytes)
            content = np.frombuffer(os.pread(self._fd, layout.index_bytes, end), dtype=np.uint8)
        if content.size < layout.index_bytes or crc32c(content[:-CRC]) != content[-CRC:].tobytes():
            raise StoreError(
                f"{self._path}, of {size} bytes, does not end in a sound shard index: it was cut, damaged or "
                "is of another store; restore it or ingest again"
            )
        index = content[:-CRC].view("<u8").reshape(-1, 2)
        empty = np.all(index == np.uint64(EMPTY), axis=1)
        fits = (index[:, 1] == self._stride) & (index[:, 0] <= np.uint64(max(0, end - self._stride)))
        if not np.all(empty | fits):
            wrong = int(np.flatnonzero(~(empty | fits))[0])
            raise StoreError(
                f"{self._path}: row {wrong} should be {self._stride} bytes within {end}, its index says "
                f"offset and length {index[wrong].tolist()}; the shard is damaged or compressed: restore it "
                "or ingest again"
            )
        return np.where(empty, np.uint64(EMPTY), index[:, 0]).astype(np.int64)  # EMPTY becomes -1

    def find(self, rows: list[int]) -> list[int]:
        """Where rows (numbers in the shard) begin."""
        begins: list[int] = self.begins[rows].tolist() if len(rows) > 1 else [self.begins.item(rows[0])]
        if min(begins) < 0:
            missing = rows[begins.index(-1)]
            raise StoreError(f"{self._path} has no row {missing}, which the index names; ingest again")
        return begins

    def advise(self, begins: list[int], pixels: range) -> bool:
        """Announce to the system what will be read, so that a cold disk serves many rows at once.

        Returns whether the rows lie so close that `read_together` is the way to read them.
        """
        length = len(pixels) * self._dtype.itemsize
        first = pixels.start * self._dtype.itemsize
        together = self._close_by(begins, length)
        if together:
            first, length, begins = 0, begins[-1] - begins[0] + self._stride, begins[:1]
        if _CAN_ADVISE:
            for begin in begins:
                os.posix_fadvise(self._fd, begin + first, length, os.POSIX_FADV_WILLNEED)
        return together

    def _close_by(self, begins: list[int], length: int) -> bool:
        """Whether rows are short, at least two, and most of what lies between the first and the last."""
        if len(begins) < 2 or len(begins) * length > TOGETHER_BYTES:
            return False
        if begins[-1] - begins[0] + self._stride > min(TOGETHER_BYTES, 4 * len(begins) * length):
            return False
        apart = np.diff(begins)  # rows ascend; in a shard that others wrote their places need not
        return bool(apart.min() >= 0) and not np.any(apart % self._stride)

    def read(
        self, begins: list[int], target: NDArray[Any], *, into: list[int], pixels: range, verify: bool
    ) -> None:
        """Read pixels of the rows at `begins` into rows `into` of `target`; `verify` their checksums."""
        whole = verify and len(pixels) < self._n_pixels
        scratch: NDArray[Any] | None = None
        if whole or self._dtype != target.dtype:
            scratch = np.empty(self._n_pixels if whole else len(pixels), self._dtype)
        cut = slice(pixels.start, pixels.stop) if whole else slice(None)
        first = 0 if whole else pixels.start * self._dtype.itemsize
        crc = bytearray(CRC)
        for begin, place in zip(begins, into, strict=True):
            row = target[place] if scratch is None else scratch
            if not verify:
                self._fetch([row], row.nbytes, at=begin + first)
            else:
                self._fetch([row, crc], row.nbytes + CRC, at=begin + first)
                if crc32c(row.view(np.uint8)) != crc:
                    raise self._mismatch(begin)
            if scratch is not None:
                _widen(scratch[cut], target[place])

    def read_together(
        self, begins: list[int], target: NDArray[Any], *, into: list[int], pixels: range, verify: bool
    ) -> None:
        """As `read`, all from the first row to the last in one call: for short rows the calls cost most."""
        lines = np.empty(((begins[-1] - begins[0]) // self._stride + 1, self._stride), np.uint8)
        self._fetch([lines], lines.nbytes, at=begins[0])
        which = [(begin - begins[0]) // self._stride for begin in begins]
        if verify:
            for begin, line in zip(begins, which, strict=True):
                if crc32c(lines[line, :-CRC]) != lines[line, -CRC:].tobytes():
                    raise self._mismatch(begin)
        first = pixels.start * self._dtype.itemsize
        cut = slice(first, first + len(pixels) * self._dtype.itemsize)
        values = lines[:, cut].view(self._dtype)
        for line, place in zip(which, into, strict=True):
            _widen(values[line], target[place])

    def _fetch(self, buffers: list[Any], expected: int, *, at: int) -> None:
        try:
            got = os.preadv(self._fd, buffers, at)
        except OSError:
            with blame(self._path):
                raise
        if got != expected:
            size = os.fstat(self._fd).st_size
            raise StoreError(
                f"{self._path} now ends at byte {size}, within a row; restore it or ingest again"
            )

    def _mismatch(self, begin: int) -> StoreError:
        return StoreError(
            f"{self._path}: the row at byte {begin} does not match its checksum; "
            "restore the file or ingest again"
        )


def _widen(values: NDArray[Any], out: NDArray[Any]) -> None:
    """Copy values into `out`, float16 as float32, others as they are."""
    if values.dtype == out.dtype:
        out[...] = values
    else:
        # numpy's own conversion goes value by value through software, some six times slower than a table
        np.take(_float16_table(), values.view(np.uint16), out=out, mode="clip")


@functools.cache
def _float16_table() -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):  # signalling NaN are among them
        return np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
