"""The spectra of a study most like one: by informative nodes, some of them, or a window of wavelength.

docs/similar.md says how to ask, docs/design/similar.md why distances are what they are.
Shapes: n spectra, d nodes of the network, k nodes compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError, ConfigError, ModelError, StoreError
from ..targets.names import normalise_name
from .metric import Metric, metric, nuisances
from .neighbours import Neighbours, differences

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Store

__all__ = ["Coded", "Metric", "Neighbours", "Query", "Similar", "coded", "metric", "nuisances", "similar"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Query:
    """What is asked for.

    name      a spectrum's identifier, a file's name, or what else it is called
    row       its position in the store; None for a spectrum that is not of the study
    target    its star, '' where unknown
    mean      (d,) its code; None to compare pixels alone
    spectrum  (flux, sigma, good), each (pixels of the grid,); None to compare codes alone
    warnings  in which ways it lies outside of what the study holds
    """

    name: str
    row: int | None = None
    target: str = ""
    mean: Floats | None = None
    spectrum: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Similar:
    """The most similar spectra, nearest first.

    table  row, spectrum_id, target, same_target, distance (and chi2, shared for a window), then labels
    facts  what was compared, and how
    own    target and labels of the spectrum asked for, where it is of the study
    """

    query: str
    table: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        rows = self.table.to_dict(orient="records")
        return {
            "query": self.query,
            "own": {key: _plain(value) for key, value in self.own.items()},
            **self.facts,
            "spectra": [{key: _plain(value) for key, value in row.items()} for row in rows],
        }

    def text(self) -> str:
        """A short text for people."""
        facts = self.facts
        lines = [f"most like {self.query}, {facts['compared']}"]
        if facts["left_out"]:
            named = ", ".join(f"{node} ({why})" for node, why in facts["left_out"].items())
            lines.append(f"  nuisance nodes left out: {named}")
        lines += [f"  warning: {one}" for one in facts["warnings"]]
        if not len(self.table):
            return "\n".join([*lines, "  no spectrum is left to compare with"])
        known = ("row", "spectrum_id", "target", "same_target", "distance", "chi2", "shared")
        labels = [str(name) for name in self.table if name not in known]
        head = ["", "spectrum", "star", "distance", *(["chi2"] if "chi2" in self.table else []), *labels]
        rows = [
            [
                "=" if row["same_target"] else "",
                str(row["spectrum_id"]),
                str(row["target"]),
                _number(row["distance"]),
                *([_number(row["chi2"])] if "chi2" in self.table else []),
                *(_number(row[name]) for name in labels),
            ]
            for row in self.table.to_dict(orient="records")
        ]
        if self.own:
            rows.insert(
                0, [">", self.query, *(_number(self.own.get(name)) for name in ["target", *head[3:]])]
            )
        width = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            cells = [
                f"{v:<{w}}" if i < 3 else f"{v:>{w}}" for i, (v, w) in enumerate(zip(row, width, strict=True))
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        told = ["> the one asked for"] * bool(self.own) + ["= the same star"] * any(self.table["same_target"])
        if told:
            lines.append("  " + "   ".join(told))
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Coded:
    """Codes of a study beside its store.

    rows     (n,) of the store; targets: (n,); mean, sd: (n, d)
    nodes    informative, no copies; those that training kept, where nothing was found yet
    """

    rows: NDArray[np.intp]
    targets: NDArray[np.object_]
    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    nodes: tuple[int, ...]
    doubtful: tuple[int, ...]
    findings: Mapping[str, Any] | None
    warnings: tuple[str, ...]


def coded(store: Store, codes: Path, findings: Mapping[str, Any] | None) -> Coded:
    """The pruned, polished codes at path `codes`, and which nodes count."""
    from pyarrow import parquet

    from ..model.encode import codes_facts

    facts = codes_facts(codes)
    table = parquet.read_table(codes)
    names = table.column_names
    mean, sd = (
        np.stack([table[name].to_numpy() for name in names if name.startswith(kind)], axis=1)
        for kind in ("mean_", "sd_")
    )
    warnings = []
    try:
        rows = np.array([store.locate(name) for name in table["spectrum_id"].to_pylist()], dtype=np.intp)
    except StoreError as error:
        raise ModelError(f"{codes} and the store differ ({error}); run encode again") from None
    targets = table["target"].to_numpy(zero_copy_only=False)
    if missing := len(store) - len(rows):
        warnings.append(f"{missing:,} spectra have no codes yet and are not compared; run encode")
    kept = [int(i) for i in facts["kept"]]
    if findings is None:
        return Coded(rows, targets, mean, sd, tuple(kept), (), None, tuple(warnings))
    informative = [n["node"] for n in findings["nodes"] if n["informative"] and n["copies_of"] is None]
    off = [i for i in informative if i not in kept]
    if off:
        warnings.append(f"informative nodes {', '.join(map(str, off))} are off in this model: not compared")
    doubtful = tuple(n["node"] for n in findings["nodes"] if n["doubtful"])
    nodes = tuple(i for i in informative if i in kept)
    return Coded(rows, targets, mean, sd, nodes, doubtful, findings, tuple(warnings))


def similar(
    store: Store,
    query: Query,
    *,
    codes: Coded | None = None,
    nodes: Sequence[int] | None = None,
    without_nuisances: bool = False,
    scale: str | None = None,
    window: tuple[float, float] | None = None,
    n: int = 10,
    labels: pd.DataFrame | None = None,
    watch: Callable[[int, int], object] = lambda *_: None,
) -> Similar:
    """The n spectra of the store most like the one asked for; exact, over all of them.

    codes   to compare codes; nodes: these alone; without_nuisances: none that `nuisances` names
    scale   see `metric`
    window  (low, high) angstrom: compare pixels there instead of codes
    labels  a column spectrum_id, and what is to be told beside each spectrum found
    """
    if n < 1:
        raise ConfigError(f"{n} similar spectra; ask for 1 or more")
    if window is not None:
        if nodes is not None or without_nuisances or scale is not None:
            raise ConfigError(
                "a window compares pixels, not codes: leave out nodes, scale and without_nuisances, or window"
            )
        if query.spectrum is None:
            raise ConfigError(f"{query.name} is a code without a spectrum: a window has nothing to compare")
        rows, columns, facts = _by_window(store, query, window=window, n=n, watch=watch)
    else:
        if codes is None or query.mean is None:
            raise ConfigError(f"{query.name} has no code to compare; run encode, or give a window")
        rows, columns, facts = _by_codes(query, codes, nodes, without_nuisances, scale, n)
    facts["warnings"] = [*query.warnings, *facts["warnings"]]
    table = _table(store, query, rows, columns, labels)
    own: dict[str, Any] = {}
    if query.row is not None:
        here = np.array([query.row])
        mine = _table(store, query, here, {}, labels).iloc[0].to_dict()
        own = {str(name): value for name, value in mine.items() if name not in ("row", "same_target")}
    return Similar(query.name, table, facts, own)


Found = tuple[NDArray[np.intp], dict[str, Any], dict[str, Any]]


def _by_codes(
    query: Query, codes: Coded, nodes: Sequence[int] | None, without: bool, scale: str | None, n: int
) -> Found:
    assert query.mean is not None
    if without and codes.findings is None:
        raise ModelError(
            "which nodes are nuisances is a finding: run find first, or name the nodes to compare"
        )
    left_out = nuisances(codes.findings) if without and codes.findings else {}
    asked = codes.nodes if nodes is None else tuple(dict.fromkeys(nodes))
    warnings = [*codes.warnings, *(f"node {i} is doubtful" for i in asked if i in codes.doubtful)]
    of = None if query.row is None else np.flatnonzero(codes.rows == query.row)
    how = metric(codes.mean, codes.sd, nodes=asked, left_out=left_out, targets=codes.targets, scale=scale)
    rows, apart = Neighbours(how.points(codes.mean)).query(how.points(query.mean), n, exclude=of)
    words = {
        "spread": "in spreads of each node over the archive",
        "uncertainty": "in uncertainties of the codes",
        "visits": "in what visits of one star differ by",
    }
    facts = {
        "compared": f"by node{'s' * (len(how.nodes) > 1)} {', '.join(map(str, how.nodes))} "
        f"{words[how.scale]}",
        "nodes": list(how.nodes),
        "left_out": dict(how.left_out),
        "scale": how.scale,
        "same_star": None if how.scale == "spread" else float(np.sqrt(2 * len(how.nodes))),
        "visits": how.visits,
        "searched": len(codes.rows) - (0 if of is None else len(of)),
        "warnings": warnings,
    }
    return codes.rows[rows], {"distance": apart}, facts


def _by_window(
    store: Store,
    query: Query,
    *,
    window: tuple[float, float],
    n: int,
    watch: Callable[[int, int], object],
) -> Found:
    assert query.spectrum is not None
    pixels = store.window(*window)
    flux, sigma, good = query.spectrum
    found = differences(store, flux[pixels], sigma[pixels], good[pixels], window=pixels, watch=watch)
    apart = found.distance.copy()
    if query.row is not None:
        apart[query.row] = np.nan
    known = np.flatnonzero(np.isfinite(apart))
    rows = known[np.lexsort((known, apart[known]))][:n]
    few = len(store) - len(known) - (query.row is not None)
    count = pixels.stop - pixels.start
    facts: dict[str, Any] = {
        "compared": f"pixel by pixel, {window[0]:g} to {window[1]:g} A ({count:,} pixels)",
        "nodes": [],
        "left_out": {},
        "scale": "pixels",
        "same_star": None,
        "visits": 0,
        "searched": len(known),
        "warnings": [f"{few:,} spectra share too few good pixels there and are not compared"] if few else [],
    }
    columns = {"distance": apart[rows], "chi2": found.chi2[rows], "shared": found.shared[rows]}
    return rows, columns, facts


def _table(
    store: Store,
    query: Query,
    rows: NDArray[np.intp],
    columns: Mapping[str, Any],
    labels: pd.DataFrame | None,
) -> pd.DataFrame:
    import pandas as pd

    index = store.index.iloc[rows]
    targets = index["target"].to_numpy(dtype=object)
    if query.row is not None:
        same = targets == store.index["target"].iloc[query.row]
    else:
        name = normalise_name(query.target)
        same = np.array([bool(name) and normalise_name(one) == name for one in targets], dtype=bool)
    told = {
        "row": rows,
        "spectrum_id": index["spectrum_id"].to_numpy(),
        "target": targets,
        "same_target": same,
    }
    table = pd.DataFrame({**told, **columns})
    if labels is None:
        return table
    if labels["spectrum_id"].duplicated().any():
        raise CatalogError("the table of labels names a spectrum twice; give one row a spectrum")
    beside = labels.set_index("spectrum_id").reindex(table["spectrum_id"]).reset_index(drop=True)
    return pd.concat(
        [table, beside.rename(columns={name: f"label {name}" for name in beside if name in table})], axis=1
    )


def _number(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "-"
    return "-" if value is None else str(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
