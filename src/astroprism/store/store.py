"""Reading the store: any rows in any order, whole or a window of them, straight from the shard files.

zarr-python opens a store too, but decodes a row through several layers; here a row is found by a
shard index kept in memory and read by one system call into its place in the batch.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..artifacts import blame, read_json
from ..errors import StoreError
from ..grid import Grid
from ..progress import Listener, count, silent
from .layout import ARRAYS, Layout, array_metadata, read_layout
from .read import Batch, RowReader

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Batch", "Store", "open_store"]


class Store:
    """The spectra of a study, read-only. Positions 0..len-1 number the rows of the index.

    Threads may share one; a fork or a pickle opens its own files. Spectra added after opening are
    found by opening again.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self.layout, self.attributes = read_layout(self.path)
        n_shards = {_check_array(self.path, self.layout, array) for array in ARRAYS}
        if self.finished and len(n_shards) > 1:
            raise StoreError(f"{self.path}: flux, sigma and good differ in length; ingest again to finish it")
        self._tables = Tables(self.path, finished=self.finished)
        rows = self._tables.rows
        if self.finished and rows.size and rows[-1] >= min(n_shards) * self.layout.rows_per_shard:
            raise StoreError(
                f"{self.path / 'index.parquet'} names row {rows[-1]}, the arrays have "
                f"{min(n_shards) * self.layout.rows_per_shard}; they are not of one store: ingest again"
            )
        self._reader = RowReader(self.path, self.layout)

    def __len__(self) -> int:
        return int(self._tables.rows.size)

    def __repr__(self) -> str:
        state = "" if self.finished else ", unfinished"
        return f"Store({str(self.path)!r}: {len(self)} spectra of {self.layout.n_pixels} pixels{state})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (str(self.path), self._content))

    @property
    def grid(self) -> Grid:
        """Wavelength grid of every row."""
        return self.layout.grid

    @property
    def finished(self) -> bool:
        """False while an ingest is under way, or was cut off: what is there can be read."""
        return bool(self.attributes["finished"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration it was ingested with."""
        return dict(self.attributes["config"])

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row per spectrum, in the order of positions; not to be changed in place."""
        return _to_pandas(self._tables.read("index"))

    def keywords(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Header keywords in the order of positions, all or the named columns.

        Numbers, NaN where absent, and texts that may say by what a spectrum was made, None where absent.
        """
        numbers = self._tables.read("keywords", columns=columns)
        if columns is None:
            words = self._tables.read("words", optional=True)
            for name in words.column_names:
                if name not in numbers.column_names:
                    numbers = numbers.append_column(name, words[name])
        return _to_pandas(numbers)

    @cached_property
    def rejects(self) -> pd.DataFrame:
        """A row per refusal, with its reason; not to be changed in place."""
        return _to_pandas(self._tables.rejects())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of grid, configuration and index: changes when spectra are added, never by reading."""
        about = {"grid": asdict(self.grid), "dtype": self.layout.dtype, "config": self.config}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        table = self._tables.read("index")
        for name in sorted(table.column_names):
            values = table.column(name).to_pandas()
            digest.update(name.encode() + b"\0")
            if values.dtype.kind in "fiub":
                kind = "<f8" if values.dtype.kind == "f" else "<i8"
                digest.update(np.ascontiguousarray(values, dtype=kind).tobytes())
            else:
                digest.update(json.dumps(table.column(name).to_pylist(), default=str).encode())
        return digest.hexdigest()

    def locate(self, spectrum_id: str) -> int:
        """Position of the spectrum with this identifier."""
        try:
            return self._places[spectrum_id]
        except KeyError:
            raise StoreError(
                f"{self.path} holds no spectrum {spectrum_id!r}; its index lists those it has"
            ) from None

    @cached_property
    def _places(self) -> dict[str, int]:
        names = self._tables.read("index", columns=["spectrum_id"]).column(0).to_pylist()
        places = {name: position for position, name in enumerate(names)}
        if len(places) < len(names):
            raise StoreError(f"{self.path / 'index.parquet'} names a spectrum twice; ingest again")
        return places

    @cached_property
    def _content(self) -> str:
        """What a reopened store must agree with for positions to mean the same."""
        about = json.dumps([asdict(self.layout), self.attributes["config"]], sort_keys=True).encode()
        return hashlib.sha256(about + self._tables.rows.tobytes()).hexdigest()

    def window(self, low: float, high: float) -> slice:
        """Pixels with centres in [low, high] angstrom, as `read` takes them."""
        return self.grid.window(low, high)

    def read(
        self,
        rows: ArrayLike,
        *,
        window: slice | None = None,
        threads: int = 1,
        out: Batch | None = None,
        verify: bool = False,
    ) -> Batch:
        """Spectra at positions `rows` (any order, repeats allowed), or a window of their pixels.

        `out` is filled instead of new arrays; `verify` checks each row's checksum on the way (and
        then reads whole rows for a window). Returns arrays of shape (len(rows), pixels).
        """
        positions = self._positions(rows)
        pixels = self._pixels(window)
        batch = _fitting(out, (positions.size, len(pixels)))
        array_rows = self._tables.rows[positions]
        order = np.argsort(array_rows, kind="stable")  # shard by shard, and forward on the disk
        reader = self._here()

        def fill(part: NDArray[np.intp]) -> None:
            reader.fill(batch, part, rows=array_rows[part], pixels=pixels, verify=verify)

        if threads <= 1 or positions.size < 2:
            fill(order)
        else:
            list(reader.pool(threads).map(fill, np.array_split(order, min(threads, order.size))))
        return batch

    def iterate(
        self, batch: int, *, rows: ArrayLike | None = None, window: slice | None = None, threads: int = 1
    ) -> Iterator[Batch]:
        """All spectra, or those at positions `rows`, in batches of `batch` (the last may be shorter)."""
        positions = np.arange(len(self)) if rows is None else self._positions(rows)
        if batch < 1:
            raise StoreError(f"batches of {batch} spectra; at least 1 is needed")
        for start in range(0, positions.size, batch):
            yield self.read(positions[start : start + batch], window=window, threads=threads)

    def verify(self, *, progress: Listener = silent) -> list[int]:
        """Positions of all damaged rows, by the checksums of everything on disk.

        Rows are counted to `progress` after every shard.
        """
        reader, damaged = self._here(), []
        scratch = _fitting(None, (1, self.layout.n_pixels))
        pixels = range(self.layout.n_pixels)
        shards = self._tables.rows // self.layout.rows_per_shard
        for position, row in enumerate(self._tables.rows):
            try:
                reader.fill(scratch, np.zeros(1, np.intp), rows=np.array([row]), pixels=pixels, verify=True)
            except StoreError:
                damaged.append(position)
            last = position + 1 == len(self) or shards[position + 1] != shards[position]
            if last:
                progress(count(position + 1, len(self)))
        return damaged

    def close(self) -> None:
        """Let go of open files and threads; reading again reopens them."""
        self._reader, old = RowReader(self.path, self.layout), self._reader
        old.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _here(self) -> RowReader:
        # threads and locks do not survive a fork: a child begins with its own
        if self._reader.pid != os.getpid():
            self._reader = RowReader(self.path, self.layout)
        return self._reader

    def _positions(self, rows: ArrayLike) -> NDArray[np.intp]:
        given = np.asarray(rows)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise StoreError(f"rows of shape {given.shape} and type {given.dtype}; give a list of positions")
        positions = given.astype(np.intp)
        wrong = (positions < 0) | (positions >= len(self))
        if np.any(wrong):
            raise StoreError(f"position {positions[wrong][0]} is outside 0..{len(self) - 1} of {self.path}")
        return positions

    def _pixels(self, window: slice | None) -> range:
        pixels = range(self.layout.n_pixels)[window or slice(None)]
        if not len(pixels) or pixels.step != 1:
            raise StoreError(f"window {window} of {self.layout.n_pixels} pixels; give slice(first, last + 1)")
        return pixels


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open the store at `path` for reading."""
    return Store(path)


def _reopen(path: str, content: str) -> Store:
    store = Store(path)
    if store._content != content:
        raise StoreError(f"{path} has changed since it was handed on; open it again where it came from")
    return store


def _fitting(out: Batch | None, shape: tuple[int, int]) -> Batch:
    if out is None:
        return Batch(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.bool_))
    for name, array, kind in zip(ARRAYS, out, (np.float32, np.float32, np.bool_), strict=True):
        if array.shape != shape or array.dtype != kind or not array.flags.c_contiguous:
            raise StoreError(
                f"out.{name} is {array.dtype} {array.shape}; contiguous {kind.__name__} {shape} is needed"
            )
    return out


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _check_array(path: Path, layout: Layout, array: str) -> int:
    """Number of shards of an array, whose metadata must be what we would write."""
    place = path / array / "zarr.json"
    found = read_json(place)
    try:
        length = operator.index(found["shape"][0])
    except (KeyError, TypeError, IndexError):
        raise StoreError(f"{place} is damaged, it has no shape; restore it or ingest again") from None
    expected = array_metadata(layout, array, n_shards=length // layout.rows_per_shard)
    for key in ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs"):
        if found.get(key) != expected[key]:
            raise StoreError(
                f"{place} has {key} {json.dumps(found.get(key))}, the store says "
                f"{json.dumps(expected[key])}; restore it or ingest again"
            )
    return length // layout.rows_per_shard


# --- the tables beside the arrays


class Tables:
    """index, keywords and rejects: the merged tables and, while unfinished, the parts not yet merged.

    A part counts once its index lies in .ingest/committed, where it is put last.
    """

    def __init__(self, path: Path, *, finished: bool) -> None:
        self.path = path
        main = path / "index.parquet"
        # a finished store may still have parts, if its ingest was killed as it cleared them away
        parts = [] if finished else sorted((path / ".ingest" / "committed").glob("*.index.parquet"))
        self._sources: list[tuple[str, NDArray[np.intp]]] = []  # prefix of the files, rows of them to take
        taken: list[NDArray[np.int64]] = []
        if finished or main.exists():
            taken.append(_rows(main))
            self._sources.append((f"{path}{os.sep}", np.arange(taken[0].size)))
        merged = taken[0] if taken else np.empty(0, np.int64)
        for part in parts:
            rows = _rows(part)
            new = np.flatnonzero(~np.isin(rows, merged))
            if new.size:
                taken.append(rows[new])
                self._sources.append((str(part).removesuffix("index.parquet"), new))
        self._rejects = [
            path / "rejects.parquet",
            *(part.with_name(part.name.replace(".index.", ".rejects.")) for part in parts),
        ]
        every = np.concatenate(taken) if taken else np.empty(0, np.int64)
        self._order = np.argsort(every, kind="stable")
        self.rows = every[self._order]  # row in the arrays of every position, int64 (len,)
        if self.rows.size and (self.rows[0] < 0 or np.any(np.diff(self.rows) < 1)):
            raise StoreError(f"{main} names a row twice or below 0; it is damaged: ingest again")

    def read(self, name: str, *, columns: Sequence[str] | None = None, optional: bool = False) -> pa.Table:
        """The table `name`, 'index', 'keywords' or 'words', in the order of `rows`.

        optional  whether rows that have no such table, of an older version, are blank instead of an error
        """
        import pyarrow as pa

        tables = []
        for prefix, take in self._sources:
            place = Path(f"{prefix}{name}.parquet")
            if optional and not place.exists():
                tables.append(pa.table({"row": pa.nulls(take.size, pa.int64())}))
                continue
            table = _parquet(place, columns=columns)
            if take.size and table.num_rows <= take[-1]:
                raise StoreError(
                    f"{place} has {table.num_rows} rows, its index more; restore it or ingest again"
                )
            tables.append(_take(table, take))
        if not tables:
            return pa.table({})
        table = _take(pa.concat_tables(tables, promote_options="permissive"), self._order)
        absent = sorted(set(columns or ()) - set(table.column_names))
        if absent:
            raise StoreError(f"the {name} table of {self.path} has no column {absent[0]!r}")
        return table

    def rejects(self) -> pa.Table:
        """A row per refusal."""
        import pyarrow as pa

        tables = [_parquet(place) for place in self._rejects if place.exists()]
        if not tables:
            return pa.table({})
        table = pa.concat_tables(tables, promote_options="permissive")
        # a part already merged but not yet cleared away says the same again
        return table.group_by(table.column_names, use_threads=False).aggregate([])


def _take(table: pa.Table, rows: NDArray[np.intp]) -> pa.Table:
    import pyarrow as pa

    if np.array_equal(rows, np.arange(rows.size)):
        return table.slice(0, rows.size)  # no copy: keywords of a whole survey are gigabytes
    return table.take(pa.array(rows))


def _parquet(place: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with blame(place), parquet.ParquetFile(place) as file:  # columns that are not there are left out
            return file.read(columns=list(columns) if columns is not None else None)
    except pa.ArrowException as error:
        raise StoreError(f"{place} is damaged ({error}); restore it or ingest again") from None


def _rows(place: Path) -> NDArray[np.int64]:
    table = _parquet(place, columns=["row"])
    if not table.num_columns:
        raise StoreError(f"{place} has no column row; it is no index of a store: restore it or ingest again")
    column = table.column(0)
    if column.null_count or column.type not in ("int64", "int32", "uint32", "uint64"):
        raise StoreError(f"{place} has a column row of type {column.type}; ingest again")
    return np.asarray(column.to_numpy(), dtype=np.int64)
