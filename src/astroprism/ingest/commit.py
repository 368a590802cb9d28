"""Finished blocks to shards of the store, in the order of the files, and the tables that go with them.

Only here is anything decided that depends on other files (duplicates, identifiers taken twice, shard
numbers), and only in order: so the store is the same whoever did the blocks, and however often the
work was interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..artifacts import aside
from ..errors import StoreError
from ..store.layout import Layout, resize
from ..store.write import publish, seal
from ..targets.assignment import Assigned, assign
from ..targets.classes import FEW_CLASSES, no_class
from ..targets.group import group_targets
from .block import part_folder
from .journal import read_journal
from .listing import work_folder

INDEX_COLUMNS: dict[str, str] = {
    "row": "int64",
    "spectrum_id": "str",
    "target": "str",
    "name": "str",
    "ra": "float64",
    "dec": "float64",
    "frame": "str",
    "berv": "float64",
    "berv_source": "str",
    "time": "float64",
    "snr": "float64",
    "snr_file": "float64",
    "resolution": "float64",
    "sigma_from": "str",
    "scale": "float64",
    "n_good": "int64",
    "n_spikes": "int64",
    "n_native": "int64",
    "medium": "str",
    "copied": "bool",
    "reader": "str",
    "path": "str",
    "item": "int64",
    "digest": "str",
    "warnings": "str",
}
# of the spectra that have a text keyword, as different texts: with more it names each of them
MOST_WORDS = 1 / 3
REJECT_COLUMNS = {"path": "str", "item": "int64", "spectrum_id": "str", "reason": "str", "message": "str"}


def committed_file(store: Path, block: int, kind: str) -> Path:
    """The table `kind` (index, keywords, words, rejects) of a committed block; index is written last."""
    return work_folder(store) / "committed" / f"{block:06d}.{kind}.parquet"


@dataclass
class Ledger:
    """What is already in the store, as far as later spectra must know it."""

    digests: dict[str, str] = field(default_factory=dict)  # digest -> "ID in PATH"
    identifiers: set[str] = field(default_factory=set)
    next_shard: int = 0

    def take(self, index: pd.DataFrame, layout: Layout) -> None:
        """Add the rows of an index."""
        known_as = index["spectrum_id"] + " in " + index["path"]
        self.digests.update(zip(index["digest"], known_as, strict=True))
        self.identifiers.update(index["spectrum_id"])
        if len(index):
            self.next_shard = max(self.next_shard, int(index["row"].max()) // layout.rows_per_shard + 1)


def commit_block(
    store: Path, block: int, folder: Path, *, files: Sequence[str], layout: Layout, ledger: Ledger
) -> tuple[int, int]:
    """Publish the shards of a finished block and write its tables; returns (accepted, refused).

    A block killed in mid-commit is committed again to the same end.
    """
    journal = read_journal(folder / "journal")
    if len(journal.done) != len(files):
        raise StoreError(
            f"{folder} says {len(journal.done)} of {len(files)} files are done; run ingest again"
        )
    dropped: dict[int, set[int]] = {}
    kept: list[dict[str, Any]] = []
    refused = list(journal.refused)
    for entry in journal.accepted:
        path = files[entry["file"]]
        twin = ledger.digests.get(entry["digest"])
        if twin is not None:
            dropped.setdefault(entry["part"], set()).add(entry["row"])
            message = f"the same data as {twin}"
            refused.append({**entry, "reason": "duplicate", "message": message})
            continue
        entry["spectrum_id"] = _free_identifier(entry["spectrum_id"], path, ledger.identifiers)
        ledger.digests[entry["digest"]] = f"{entry['spectrum_id']} in {path}"
        ledger.identifiers.add(entry["spectrum_id"])
        entry["path"] = path
        kept.append(entry)
    shards: dict[int, int] = {}
    for part in sorted({entry["part"] for entry in kept}):
        shards[part] = ledger.next_shard
        ledger.next_shard += 1
        rows = sum(entry["part"] == part for entry in journal.accepted)
        place = part_folder(folder, part)
        sealed = seal(place, layout, dropped=sorted(dropped.get(part, ())))
        if sealed != rows and (place / "good.part").exists():
            raise StoreError(
                f"{place} holds {sealed} sound rows, its journal says {rows}: the disk lost data; remove "
                f"{folder} and run the same command again"
            )
        publish(part_folder(folder, part), store, shards[part])
    for entry in kept:
        entry["row"] += shards[entry["part"]] * layout.rows_per_shard
        entry["target"] = ""
    for entry in refused:
        entry["path"] = files[entry["file"]]
    refused.sort(key=lambda entry: (entry["file"], entry["item"]))
    _write_table(rejects_table(refused), committed_file(store, block, "rejects"))
    _write_keywords(kept, committed_file(store, block, "keywords"))
    _write_words(kept, committed_file(store, block, "words"))
    _write_table(index_table(kept), committed_file(store, block, "index"))
    shutil.rmtree(folder, ignore_errors=True)
    return len(kept), len(refused)


def _free_identifier(identifier: str, path: str, taken: set[str]) -> str:
    """The identifier, or where another spectrum has it: with the file's stem, then with a number."""
    candidates = [identifier, f"{identifier}@{Path(path).stem}"]
    number = 2
    while candidates[0] in taken:
        candidates.pop(0)
        if not candidates:
            candidates.append(f"{identifier}~{number}")
            number += 1
    return candidates[0]


def index_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The index rows of accepted spectra, in fixed columns and types."""
    return _table(entries, INDEX_COLUMNS)


@lru_cache(maxsize=1)
def _empty_index() -> pd.DataFrame:
    return index_table([])  # pandas takes its time over so many columns


def rejects_table(entries: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows of refused spectra."""
    return _table(entries, REJECT_COLUMNS)


def _table(entries: Sequence[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    types = {
        kind: pd.Series([], dtype=kind).dtype for kind in set(columns.values())
    }  # looked up by name once
    return pd.DataFrame(
        {
            name: pd.Series(
                [entry[name] if kind != "str" else entry.get(name, "") for entry in entries],
                dtype=types[kind],
            )
            for name, kind in columns.items()
        }
    )


def _typed(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """`table` in fixed types; pandas takes its time even over columns that have theirs.

    Columns of text that an older version did not write are empty.
    """
    table = table.assign(**{name: "" for name in columns if name not in table and columns[name] == "str"})
    table = table[list(columns)]
    return table.astype({name: kind for name, kind in columns.items() if table.dtypes[name] != kind})


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with aside(path) as part:
        table.to_parquet(part, index=False)


def _write_keywords(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """A column per keyword, NaN where a spectrum lacks it. Not by pandas: it is slow with 1,000 columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(set().union(*(entry["keywords"] for entry in entries)) - {"row"})
    columns = {"row": np.array([entry["row"] for entry in entries], dtype=np.int64)}
    for name in names:
        columns[name] = np.array([entry["keywords"].get(name, np.nan) for entry in entries], dtype=np.float64)
    with aside(path) as part:
        pq.write_table(pa.table(columns), part)


def _write_words(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """A column per keyword with a text, null where a spectrum lacks it."""
    import pyarrow as pa

    words = [entry.get("words", {}) for entry in entries]
    columns: dict[str, Any] = {"row": pa.array([entry["row"] for entry in entries], pa.int64())}
    for name in sorted(set().union(*words) - {"row"}):
        columns[name] = pa.array([one.get(name) for one in words], pa.string())
    _write_arrow(pa.table(columns), path)


def _write_arrow(table: Any, path: Path) -> None:
    import pyarrow.parquet as pq

    with aside(path) as part:
        pq.write_table(table, part)


def committed_blocks(store: Path) -> list[int]:
    """Numbers of the blocks whose commit is complete, in order."""
    found = (work_folder(store) / "committed").glob("*.index.parquet")
    return sorted(int(path.name.split(".")[0]) for path in found if not path.name.startswith("."))


def read_committed(store: Path, block: int) -> pd.DataFrame:
    """The index rows of a committed block."""
    return pd.read_parquet(committed_file(store, block, "index"))


def read_index(store: Path) -> pd.DataFrame:
    """The index as far as it is consolidated; empty where there is none yet."""
    path = store / "index.parquet"
    return pd.read_parquet(path) if path.exists() else _empty_index().copy()


def read_rejects(store: Path) -> pd.DataFrame:
    """The consolidated refusals; empty where there are none yet."""
    path = store / "rejects.parquet"
    return pd.read_parquet(path) if path.exists() else rejects_table([])


def finish(
    store: Path,
    layout: Layout,
    *,
    files: pd.DataFrame,
    aliases: Sequence[tuple[str, ...]] | None,
    targets: dict[str, str] | None = None,
) -> Assigned | None:
    """Merge the committed tables into the store's own, find the targets, and mark the store finished.

    targets  {spectrum: target} that counts before names and places; None: what an earlier ingest was given

    Repeating it after a kill gives the same. Returns what a table of targets did, where there is one: a table
    that names no spectrum did nothing, and is not kept.
    """
    blocks = committed_blocks(store)
    old = read_index(store)
    parts = [pd.read_parquet(committed_file(store, block, "index")) for block in blocks]
    fresh = [part[~part["row"].isin(old["row"])] for part in parts]
    index = pd.concat([old, *fresh], ignore_index=True).sort_values("row", kind="stable", ignore_index=True)
    index = _typed(index, INDEX_COLUMNS).fillna({"berv_source": ""})
    grouped = group_targets(
        index["name"].tolist(),
        index["ra"].to_numpy(),
        index["dec"].to_numpy(),
        aliases=aliases,
        identifiers=index["spectrum_id"].tolist(),
    )
    assigned = None if targets is None else assign(index, grouped.target, targets)
    if assigned is not None and not assigned.listed and len(index):
        targets = None  # a table of another archive: it is not kept, and the one kept before stays in force
    chosen = None
    if (assignment := _assignment(store, targets)) is not None:
        chosen = assign(index, grouped.target, assignment)
    assigned = assigned or chosen
    index["target"] = pd.Series(grouped.target if chosen is None else chosen.target, dtype="str")
    rejects = pd.concat(
        [
            read_rejects(store),
            *(pd.read_parquet(committed_file(store, block, "rejects")) for block in blocks),
        ],
        ignore_index=True,
    )
    rejects = _typed(rejects, REJECT_COLUMNS)
    rejects = rejects.drop_duplicates(["path", "item"], ignore_index=True)
    _merge_keywords(store, blocks)
    _merge_words(store, blocks)
    _write_table(rejects, store / "rejects.parquet")
    _write_table(grouped.doubts, store / "target-doubts.parquet")
    _write_table(files, store / "files.parquet")
    _write_table(index, store / "index.parquet")
    n_shards = int(index["row"].max()) // layout.rows_per_shard + 1 if len(index) else 0
    resize(store, n_shards, finished=True)
    shutil.rmtree(work_folder(store), ignore_errors=True)
    return assigned


def _assignment(store: Path, given: dict[str, str] | None) -> dict[str, str] | None:
    """The table of targets: the one given, which the store keeps, else the one it has kept; None without."""
    path = store / "targets.parquet"
    if given is not None:
        columns = {"spectrum": list(given), "target": list(given.values())}
        _write_table(pd.DataFrame({name: pd.Series(v, dtype="str") for name, v in columns.items()}), path)
    elif path.exists():
        kept = pd.read_parquet(path)
        given = dict(zip(kept["spectrum"], kept["target"], strict=True))
    return given


def _merge_keywords(store: Path, blocks: Sequence[int]) -> None:
    """One table of all keywords, block by block: wide tables of a whole survey do not fit in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = store / "keywords.parquet"
    old = pq.ParquetFile(place) if place.exists() else None
    known = -1
    if old is not None and old.metadata.num_row_groups:
        last = old.read_row_group(old.metadata.num_row_groups - 1, columns=["row"])["row"]
        known = max(last.to_pylist(), default=-1)
    paths = [committed_file(store, block, "keywords") for block in blocks]
    names = {name for path in paths for name in pq.read_schema(path).names}
    names |= set(old.schema_arrow.names if old is not None else ())
    order = ["row", *sorted(names - {"row"})]
    schema = pa.schema([(name, pa.int64() if name == "row" else pa.float64()) for name in order])

    def tables() -> Iterator[pa.Table]:
        if old is not None:
            yield from (old.read_row_group(group) for group in range(old.metadata.num_row_groups))
        for path in paths:
            table = pq.read_table(path)
            if table.num_rows and table["row"][0].as_py() > known:
                yield table

    with aside(place) as part, pq.ParquetWriter(part, schema) as writer:
        for table in tables():
            empty = pa.array(np.full(table.num_rows, np.nan))
            present = dict(zip(table.column_names, table.columns, strict=True))
            columns = [present.get(name, empty) for name in order]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _merge_words(store: Path, blocks: Sequence[int]) -> None:
    """One table of the texts of headers, without nearly unique texts, dates and names of files."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    place = store / "words.parquet"
    tables = [pq.read_table(place)] if place.exists() else []
    known = pc.max(tables[0]["row"]).as_py() if tables and tables[0].num_rows else -1
    paths = [committed_file(store, block, "words") for block in blocks]
    for table in (pq.read_table(path) for path in paths if path.exists()):
        if table.num_rows and table["row"][0].as_py() > known:
            tables.append(table)
    merged = (
        pa.concat_tables(tables, promote_options="default")
        if tables
        else pa.table({"row": pa.array([], pa.int64())})
    )
    kept = [name for name in merged.column_names if name == "row" or _names_something(merged[name])]
    _write_arrow(merged.select(kept), place)


def _names_something(column: Any) -> bool:
    """Whether a column of texts holds few different ones, which are neither dates nor names of files."""
    values = column.drop_null()
    different = values.unique().to_pylist()
    return len(different) <= max(FEW_CLASSES, MOST_WORDS * len(values)) and not no_class(different)
