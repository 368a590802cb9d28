"""Targets by the user's own table: which spectra are of one star, whatever names and places say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError
from ..tables import as_table

if TYPE_CHECKING:
    import pandas as pd

SPECTRUM_COLUMNS = ("spectrum", "spectrum_id", "identifier", "id", "file", "filename", "path")
TARGET_COLUMNS = ("target", "star", "object", "name")


class Assigned(NamedTuple):
    """The targets of spectra after a table has spoken.

    target   (n,) the table's, or where it has none the one given
    listed   spectra that the table names
    unknown  keys of the table that name no spectrum
    keys     number of its keys
    """

    target: NDArray[np.object_]
    listed: int
    unknown: tuple[str, ...]
    keys: int

    def line(self) -> str:
        """What the table did, in a sentence."""
        text = f"--targets: {self.listed:,} of {self.target.size:,} spectra have their target by the table"
        if missing := self.target.size - self.listed:
            are = "is" if missing == 1 else "are"
            text += f"; {missing:,} {are} not in it and {are} grouped by name and place"
        if self.unknown:
            text += (
                f"; {len(self.unknown):,} of its {self.keys:,} rows name no spectrum here (first: "
                f"{self.unknown[0]})"
            )
        return text


def no_match(source: str, keys: Collection[str], spectra: Iterable[str], *, then: str) -> CatalogError:
    """What is raised where a table of targets names no spectrum: names of both sides, and what to do."""
    table, archive = (", ".join(map(repr, islice(names, 2))) for names in (keys, spectra))
    return CatalogError(
        f"--targets {source}: none of its {len(keys):,} rows names a spectrum of this archive. The table has "
        f"{table}, the archive {archive}: write the identifiers of the spectra, or the names of their files, "
        f"into the column spectrum, and {then}"
    )


def read_assignment(table: object) -> dict[str, str]:
    """{spectrum: target} of a table (CSV, ECSV, FITS, Parquet ..., or in memory) with columns of these names.

    A spectrum is its identifier, its file's name, with or without ending, or its path.
    """
    frame = as_table(table)
    source = frame.attrs["source"]
    titles = {str(name).strip().lower(): name for name in frame.columns}
    columns = []
    for wanted in (SPECTRUM_COLUMNS, TARGET_COLUMNS):
        found = next((titles[title] for title in wanted if title in titles), None)
        if found is None:
            raise CatalogError(
                f"{source} has no column {wanted[0]!r}, but {', '.join(map(str, frame.columns))}; a table of "
                "targets has the columns spectrum and target"
            )
        columns.append(_texts(frame[found]))
    assignment: dict[str, str] = {}
    for spectrum, target in zip(*columns, strict=True):
        if not spectrum or not target:
            continue
        if assignment.setdefault(spectrum, target) != target:
            raise CatalogError(
                f"{source} gives {spectrum} two targets, {assignment[spectrum]} and {target}; leave one"
            )
    if not assignment:
        raise CatalogError(f"{source} has no row with a spectrum and a target; fill its two columns")
    return assignment


def assign(index: pd.DataFrame, target: NDArray[np.object_], assignment: Mapping[str, str]) -> Assigned:
    """Give the spectra of an index (columns spectrum_id and path) the targets of a table."""
    made, used = target.copy(), set()
    listed = 0
    for row, (identifier, path) in enumerate(zip(index["spectrum_id"], index["path"], strict=True)):
        for key in (identifier, *file_keys(path)):
            if key in assignment:
                made[row] = assignment[key]
                used.add(key)
                listed += 1
                break
    return Assigned(made, listed, tuple(key for key in assignment if key not in used), len(assignment))


def file_keys(path: str) -> tuple[str, ...]:
    """By what a table may name the spectra of a file: its path, its name, and that without its ending."""
    name = Path(path).name
    return path, name, name.partition(".fits")[0], Path(path).stem


def _texts(column: pd.Series[Any]) -> list[str]:
    """Cells as text: whole numbers without a point, '' for a missing one."""
    if column.dtype.kind == "f":
        return ["" if np.isnan(v) else f"{v:.0f}" if v == np.floor(v) else repr(v) for v in column.tolist()]
    return ["" if value is None or value != value else str(value).strip() for value in column.tolist()]
