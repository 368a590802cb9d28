"""Every spectrum of a study judged: STUDY/outliers.parquet, the oddest first, each with why.

Made when first asked for, and anew when codes, labels or model are others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifacts import blame, sync
from ..measures.evidence import Floats
from ..measures.probe import label_residuals, predict, target_keys
from ..model.data import Source
from .bundle import read_arrays, write_arrays
from .outliers import Judged, judge, label_surprise, label_words, loneliness, scores_of, words
from .reference import Kit, Table, kit_of, labels_of, looked, silent, table_of
from .residuals import Left

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Store

PART_ROWS, PART_PIXELS = 4_096, 2**26  # of a part: what a kill can cost
OUTLIERS, VERSION = "astroprism-outliers", 2


def outlier_table(
    store: Store,
    model: Path,
    *,
    out: Path,
    device: str = "auto",
    say: Callable[[str], object] = silent,
    watch: Callable[[int, int], object] = silent,
) -> tuple[pd.DataFrame, bool]:
    """Every spectrum of the study judged, the oddest first, and whether that was to be done.

    Kept in outliers.parquet; a run that was killed goes on.
    """
    import pandas as pd

    kit = kit_of(store, model, out=out, device=device, say=say)
    path = out / "outliers.parquet"
    facts = kit.probe.facts | {"rows": kit.codes_facts["spectra"], "kind": VERSION}
    if table_facts(path) == json.loads(json.dumps(facts)):
        return pd.read_parquet(path), False
    table = table_of(store, kit.about, out, labels_of(out))
    if len(table.rows) < len(store):
        say(f"{len(store) - len(table.rows):,} spectra have no codes yet and are left out: encode them first")
    left = _all_left(store, kit, table, parts=out / ".outliers" / _key(facts), watch=watch)
    frame = _judged_frame(kit, table, left)
    write_frame(path, frame, facts=facts)
    shutil.rmtree(out / ".outliers", ignore_errors=True)
    return frame, True


def _all_left(
    store: Store, kit: Kit, table: Table, *, parts: Path, watch: Callable[[int, int], object]
) -> Left:
    """What is left of every spectrum, a part at a time: a kill costs one part."""
    source = Source.from_store(store, memory=0).with_air(
        moving=bool(getattr(kit.network.config, "moving_air", False))
    )
    with blame(parts):
        parts.mkdir(parents=True, exist_ok=True)
    rows = np.arange(len(table.rows))
    size = max(1, min(PART_ROWS, PART_PIXELS // source.pixels))
    names = [entry.name for entry in fields(Left)]
    found = []
    for start in range(0, len(rows), size):
        path = parts / f"{start:012d}.npz"
        held = read_arrays(path, kind=(OUTLIERS, VERSION))
        if held is None:
            some = rows[start : start + size]
            part = looked(source, kit.network, table, some, error=kit.reference.error, device=kit.device)
            about = {"format": OUTLIERS, "format_version": VERSION}
            write_arrays(path, {name: getattr(part, name) for name in names}, about=about)
        else:
            part = Left(**held[0])
        found.append(part)
        watch(min(start + size, len(rows)), len(rows))
    return Left.joined(found)


def _judged_frame(kit: Kit, table: Table, left: Left) -> pd.DataFrame:
    import pandas as pd

    reference, probe = kit.reference, kit.probe
    x, keys = probe.standard(table.mean), target_keys(table.targets)
    lonely = loneliness(x, reference.codes, keys=keys, row_keys=reference.keys)
    told = predict(probe, table.mean, table.sd, snr=table.snr, targets=table.targets)
    given = {str(name): table.labels[name] for name in table.labels}
    strange = label_residuals(told, given)
    labels = label_surprise(strange, reference.label_usual, len(x)) if strange else None
    judged = judge(scores_of(left, lonely, labels), reference.usual, together=reference.together)

    def why(i: int) -> str:
        return label_words(i, strange, told, table.labels)

    columns: dict[str, Any] = {
        "spectrum_id": table.identifiers,
        "target": table.targets,
        "part": table.part,
        "p": judged.whole,
        "surprise": judged.rank_by,
        "reasons": [
            words(i, judged=judged, left=left, wavelength=kit.wavelength, labels=why) for i in range(len(x))
        ],
        "snr": table.snr,
        **outlier_columns(left, judged, kit.wavelength),
    }
    for name, one in told.items():
        own = {f"predicted_{name}": one.value}
        own |= (
            {f"predicted_{name}_set": one.sets}
            if one.categorical
            else {f"predicted_{name}_low": one.low, f"predicted_{name}_high": one.high}
        )
        columns |= own | ({f"label_{name}": given[name].to_numpy()} if name in given else {})
    frame = pd.DataFrame(columns)
    frame = frame.iloc[np.argsort(-frame["surprise"].to_numpy(), kind="stable")].reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame


def outlier_columns(left: Left, judged: Judged, wavelength: Floats) -> dict[str, Any]:
    """Scores and the p of each reason, as columns."""
    columns: dict[str, Any] = {
        "chi2": left.chi2,
        "worst_sigma": left.worst,
        "worst_low": wavelength[left.first],
        "worst_high": wavelength[left.last],
    }
    return columns | {f"{name}_p": values for name, values in judged.p.items()}


def table_facts(path: Path) -> Any:
    """What the Parquet table at `path` says that it was made from; None where there is none."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.exists():
        return None
    try:
        held = parquet.read_schema(path).metadata or {}
        return json.loads(held.get(b"astroprism", b"null"))
    except (pa.ArrowException, OSError, ValueError):
        return None


def write_frame(path: Path, frame: pd.DataFrame, *, facts: Mapping[str, Any]) -> None:
    """A table as Parquet, with what it was made from; written aside, then renamed."""
    import pyarrow as pa
    from pyarrow import parquet

    aside = path.with_name(f".{path.name}.part")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with blame(path):
        parquet.write_table(table.replace_schema_metadata({"astroprism": json.dumps(dict(facts))}), aside)
        sync(aside)
        os.replace(aside, path)


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:16]
