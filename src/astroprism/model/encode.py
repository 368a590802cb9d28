"""Codes of every spectrum of a store, in its order, by a trained network.

    codes.parquet            of model/weights, weak nodes off, means polished under the decoder
    codes_unpruned.parquet   of model/unpruned: what the counts read; polished only where one star trained it
    codes_paper.parquet      of the authors' released weights
    .codes/                  parts of an encoding that is under way

A row per spectrum: spectrum_id, target, mean_000.., sd_000..; the sd are the encoder's, polished or not.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..artifacts import blame, differences, digest, digest_of_json, table_header, write_table
from ..device import BATCH_PIXELS, check_device, device_for
from ..errors import ConfigError, ModelError, StoreError
from ..progress import Listener, count, message, silent, warning
from ..schema import CODES, CodesFacts
from .data import Source, Tensors

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch

    from ..store import Store
    from .trained import TrainedModel

BLOCK_PIXELS, MOST_ROWS = 2**26, 4096  # of a part: the most that a kill costs


@dataclass(frozen=True)
class EncodeOptions:
    """How spectra are encoded."""

    device: str = "auto"  # cpu, cuda or mps
    # improve codes under the decoder: velocities that took one line for another, then the means of kept nodes
    # by Gauss-Newton steps
    polish: bool = True
    weights: str | os.PathLike[str] | None = None  # the authors' released file, instead of the model

    def __post_init__(self) -> None:
        check_device(self.device)


@dataclass(frozen=True)
class EncodeReport:
    """What an encoding did."""

    spectra: int  # rows of the table now
    encoded: int  # rows of this run
    nodes: int
    kept: list[int]
    polished: bool
    spectra_per_s: float  # of this run; NaN where nothing was done
    tables: list[str]  # files

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class Task(NamedTuple):
    """One table: its name, its model, how codes are improved under the decoder, and what it is made from."""

    name: str
    model: TrainedModel
    polished: bool
    relocked: bool
    made_from: dict[str, Any]


def encode(
    store: Store,
    model: Path,
    *,
    out: Path,
    options: EncodeOptions | None = None,
    progress: Listener = silent,
) -> EncodeReport:
    """Bring the tables of codes in folder `out` up to date with the store and the model in folder `model`.

    Rows that are there already stay. progress gets messages, warnings, and a count of spectra.
    """
    options = options or EncodeOptions()
    if not store.finished:
        raise StoreError(f"{store.path}: its ingest is not finished; run it again, then encode")
    tasks = _tasks(store, model, options, progress=progress)
    index = store.index[["spectrum_id", "target"]]
    identifiers = index["spectrum_id"].to_numpy(dtype=object)
    kept = tasks[0].made_from["kept"]
    n = tasks[0].model.nodes
    names = [str(out / f"{task.name}.parquet") for task in tasks]
    key = digest_of_json([task.made_from for task in tasks])
    parts = out / ".codes" / key[:16]
    old = _old_tables(tasks, out, identifiers, progress=progress)
    held = _held(parts, tasks)
    done = {name for table in (old, held) if table for name in table[0]["spectrum_id"].to_pylist()}
    rows = np.array([i for i, name in enumerate(identifiers) if name not in done], dtype=np.intp)
    rate = math.nan
    if len(rows):
        if len(rows) < len(identifiers):
            there = len(identifiers) - len(rows)
            progress(message(f"{there:,} spectra are encoded already, {len(rows):,} remain"))
        rate = _encode_rows(store, tasks, rows, parts=parts, device=options.device, progress=progress)
        held = _held(parts, tasks)
    if held:
        _merge([table for table in (old, held) if table], tasks, out, identifiers)
    shutil.rmtree(out / ".codes", ignore_errors=True)
    return EncodeReport(len(identifiers), len(rows), n, kept, tasks[0].polished, rate, names)


def read_codes(path: Path) -> pd.DataFrame:
    """A table of codes, a row per spectrum in the order of the store."""
    import pandas as pd

    codes_facts(path)
    return pd.read_parquet(path)


def codes_facts(path: Path) -> CodesFacts:
    """What a table of codes is, and what it was made from; the codes themselves are not read."""
    from pyarrow import parquet

    if not path.exists():
        raise ModelError(f"{path} is not there; run: astroprism encode {path.parent}")
    try:
        header = table_header(path)
        rows, columns = parquet.read_metadata(path).num_rows, parquet.read_schema(path).names
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); delete it and run encode again") from None
    if header.get("format") != CODES.name:
        raise ModelError(f"{path} is no table of codes that astroprism wrote; run encode again")
    CODES.require(header, path, remedy="delete it and run encode again")
    nodes = sum(name.startswith("mean_") for name in columns)
    facts = {"spectra": rows, "nodes": nodes, **header["made_from"]}
    return CodesFacts.from_json(facts, path=path, remedy="delete it and run encode again")


# --- which tables


def _tasks(store: Store, folder: Path, options: EncodeOptions, *, progress: Listener) -> list[Task]:
    """The tables that these options ask for: of the pruned and the unpruned model, or of released weights."""
    from .trained import TrainedModel

    if options.weights is not None:
        return [_released(store, Path(options.weights), progress=progress)]
    model = TrainedModel.read(folder)
    facts = model.facts
    assert facts is not None
    if store.grid.text != facts.store.grid:
        raise ModelError(
            f"{folder} was trained on the grid {facts.store.grid!r}, this store is on "
            f"{store.grid.text!r}; train on this store"
        )
    prism = facts.network.kind == "prism"
    if options.polish and not prism:
        progress(message("codes of the paper's network are left as its encoder gives them"))
    relocked = options.polish and prism
    polished = relocked and bool(facts.kept)
    common = {"network": facts.network.kind, "kept": facts.kept, "steps": facts.steps, "relocked": relocked}
    pruned = common | {"weights": digest(folder / "weights.safetensors"), "polished": polished}
    all_on = TrainedModel.read(folder, unpruned=True)
    alone = polished and all_on.one_star
    whole = common | {"weights": digest(folder / "unpruned.safetensors"), "polished": alone}
    return [
        Task("codes", model, polished, relocked, pruned),
        Task("codes_unpruned", all_on, alone, relocked, whole),
    ]


def _released(store: Store, weights: Path, *, progress: Listener) -> Task:
    from .trained import TrainedModel

    model = TrainedModel.released(weights)
    if store.grid.kind != "paper":
        raise ConfigError(
            f"the released weights read spectra on the paper's grid only, this store is on "
            f"{store.grid.text!r}: ingest into another study with --grid paper --normalise paper-median"
        )
    if (norm := store.config.get("normalise")) != "paper-median":
        progress(
            warning(f"the released weights were trained on --normalise paper-median, this store has {norm}")
        )
    made = {"network": "released", "kept": model.kept, "weights": digest(weights), "polished": False}
    return Task("codes_paper", model, False, False, made)


def _old_tables(
    tasks: Sequence[Task], out: Path, identifiers: NDArray[np.object_], *, progress: Listener
) -> list[pa.Table] | None:
    """The tables that are there, if they were made from the same and hold nothing that is gone."""
    from pyarrow import parquet

    tables = []
    for task in tasks:
        path = out / f"{task.name}.parquet"
        if not path.exists():
            return None
        try:
            facts = codes_facts(path)
        except ModelError as error:
            progress(message(f"{error}; encoding all spectra again"))
            return None
        if differences(facts.to_json(), {**facts.to_json(), **task.made_from}):
            why = "the model or --no-polish changed since"
            progress(message(f"{path.name} is stale, {why}: encoding all spectra again"))
            return None
        tables.append(parquet.read_table(path))
    if not set(tables[0]["spectrum_id"].to_pylist()) <= set(identifiers):
        progress(message("the codes hold spectra that the store does not: encoding all spectra again"))
        return None
    first = tables[0]["spectrum_id"]
    return tables if all(table["spectrum_id"].equals(first) for table in tables) else None


def _held(parts: Path, tasks: Sequence[Task]) -> list[pa.Table] | None:
    """What an encoding that was cut off has finished: a part counts when its last table is there."""
    import pyarrow as pa
    from pyarrow import parquet

    ends = sorted(parts.glob(f"*.{tasks[-1].name}.parquet")) if parts.exists() else []
    if not ends:
        return None
    stems = [path.name.split(".")[0] for path in ends]
    return [
        pa.concat_tables(parquet.read_table(parts / f"{stem}.{task.name}.parquet") for stem in stems)
        for task in tasks
    ]


# --- the work


def _encode_rows(
    store: Store,
    tasks: Sequence[Task],
    rows: NDArray[np.intp],
    *,
    parts: Path,
    device: str,
    progress: Listener,
) -> float:
    """Encode these rows of the store, a part at a time; spectra per second."""
    import torch

    place = torch.device(device_for(device))
    source = tasks[0].model.source(Source.from_store(store, memory=0))
    for task in tasks:
        task.model.to(place)
    with blame(parts):
        parts.mkdir(parents=True, exist_ok=True)
    index = store.index
    size = max(1, BATCH_PIXELS[place.type] // source.pixels)
    block = max(size, min(MOST_ROWS, BLOCK_PIXELS // source.pixels) // size * size)
    shared = _one_encoder(tasks)
    found: list[list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = [[] for _ in tasks]
    done, waiting = 0, 0
    progress(count(0, len(rows)))
    begun = time.monotonic()
    with torch.no_grad():
        for read in _read_ahead(source, rows, size=size, device=place):
            batch = tasks[0].model.to_device(read)
            look = None
            for task, out in zip(tasks, found, strict=True):
                look = look if look is not None and shared else task.model.first_look(batch)
                mean, sd = task.model.encode(batch, relock=task.relocked, polished=task.polished, first=look)
                out.append((mean.float().cpu().numpy(), sd.float().cpu().numpy()))
            waiting += len(batch.flux)
            if waiting >= block or done + waiting == len(rows):
                chosen = index.iloc[rows[done : done + waiting]]
                for task, out in zip(tasks, found, strict=True):
                    table = _table(chosen, [m for m, _ in out], [s for _, s in out], where=task.name)
                    write_table(parts / f"{rows[done]:012d}.{task.name}.parquet", table, header={})
                    out.clear()
                done, waiting = done + waiting, 0
            progress(count(done + waiting, len(rows)))
    return len(rows) / max(time.monotonic() - begun, 1e-9)


def _read_ahead(
    source: Source, rows: NDArray[np.intp], *, size: int, device: torch.device
) -> Iterator[Tensors]:
    """Batches of `size` rows in order; the next is read while one is encoded."""
    with ThreadPoolExecutor(1, thread_name_prefix="astroprism-encode") as pool:
        coming = pool.submit(source.tensors, rows[:size])
        for start in range(size, len(rows) + size, size):
            here = coming.result()
            if start < len(rows):
                coming = pool.submit(source.tensors, rows[start : start + size])
            yield here.to(device)


def _one_encoder(tasks: Sequence[Task]) -> bool:
    """Whether all tables have one encoder; pruned and unpruned differ in what the decoder reads.

    With a gauge they also differ in the zero of the velocity, which depends on the nodes that are on.
    """
    import torch

    first = tasks[0].model.network.state_dict()
    if bool(first.get("gauged", False)):
        return False
    return all(
        torch.equal(value, first[name])
        for task in tasks[1:]
        for name, value in task.model.network.state_dict().items()
        if name != "keep"
    )


def _table(
    index: pd.DataFrame, means: list[NDArray[Any]], sds: list[NDArray[Any]], *, where: str
) -> pa.Table:
    import pyarrow as pa

    mean, sd = np.concatenate(means), np.concatenate(sds)
    wrong = ~(np.isfinite(mean).all(1) & np.isfinite(sd).all(1))
    if wrong.any():
        name = index["spectrum_id"].iloc[int(wrong.argmax())]
        raise ModelError(
            f"{where}: the code of {name!r} is not a finite number; look at the spectrum, or train again"
        )
    columns: dict[str, Any] = {
        name: pa.array(index[name].tolist(), pa.string()) for name in ("spectrum_id", "target")
    }
    for kind, values in (("mean", mean), ("sd", sd)):
        columns |= {f"{kind}_{i:03d}": np.ascontiguousarray(values[:, i]) for i in range(values.shape[1])}
    return pa.table(columns)


def _merge(
    tables: Sequence[Sequence[pa.Table]], tasks: Sequence[Task], out: Path, identifiers: NDArray[np.object_]
) -> None:
    """Write the tables whole, in the order of the store."""
    import pyarrow as pa

    place = {name: i for i, name in enumerate(identifiers)}
    for number, task in enumerate(tasks):
        whole = pa.concat_tables(some[number].replace_schema_metadata(None) for some in tables)
        order = np.argsort([place[name] for name in whole["spectrum_id"].to_pylist()], kind="stable")
        header = {**CODES.header, "made_from": task.made_from}
        write_table(out / f"{task.name}.parquet", whole.take(pa.array(order)), header=header)
