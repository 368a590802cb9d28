"""The tables of a store: index, keywords and rejects, merged or still in parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..artifacts import blame
from ..errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


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

    def read(self, name: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The table `name`, 'index' or 'keywords', in the order of `rows`."""
        import pyarrow as pa

        tables = []
        for prefix, take in self._sources:
            place = Path(f"{prefix}{name}.parquet")
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
        """A row a refusal."""
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
