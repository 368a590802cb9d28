"""The spectra of a study most like one: by informative nodes, some of them, or a window of wavelength.

docs/similar.md is for users, docs/design/similar.md says why distances are what they are.
Shapes: n spectra, d nodes of the network, k nodes compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..apply.codes import StudyCodes
from ..artifacts import jsonable
from ..errors import CatalogError, ConfigError, ModelError
from ..folder import StudyFolder
from ..progress import Listener, silent
from ..schema import Findings
from ..targets.names import normalise_name
from .distances import Neighbours, differences
from .metric import metric, nuisances
from .query import Query, query_of

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Store

SCALE_WORDS = {
    "spread": "in spreads of each node over the archive",
    "uncertainty": "in uncertainties of the codes",
    "visits": "in what visits of one star differ by",
}


@dataclass(frozen=True, eq=False)
class Similar:
    """The most similar spectra, nearest first.

    table  row, spectrum_id, target, same_target, distance (and chi2, shared for a window), then labels
    facts  what was compared, and how
    own    target and labels of the query, where it is of the study
    """

    query: str
    table: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        content: dict[str, Any] = jsonable(
            {
                "query": self.query,
                "own": self.own,
                **self.facts,
                "spectra": self.table.to_dict(orient="records"),
            }
        )
        return content

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
        chi2 = ["chi2"] if "chi2" in self.table else []
        head = ["", "spectrum", "star", "distance", *chi2, *labels]
        rows = [
            [
                "=" if row["same_target"] else "",
                str(row["spectrum_id"]),
                str(row["target"]),
                *(_number(row[name]) for name in ["distance", *chi2, *labels]),
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
        signs = ["> the query"] * bool(self.own) + ["= the same star"] * any(self.table["same_target"])
        if signs:
            lines.append("  " + "   ".join(signs))
        return "\n".join(lines)


def similar(
    folder: StudyFolder,
    query: Any,
    *,
    window: tuple[float, float] | None = None,
    nodes: Iterable[int] | None = None,
    without_nuisances: bool = False,
    scale: str | None = None,
    n: int = 10,
    progress: Listener = silent,
) -> Similar:
    """The n spectra of a study most like one; exact, over all of them.

    query     an identifier or a row of the study, a file, a spectrum in memory, or a code (nodes,)
    window    (low, high) angstrom: compare pixels there; else codes, of the informative nodes or of `nodes`
    without_nuisances   compare none of the nodes that `nuisances` names
    scale     see `metric`
    progress  with a window, counts spectra
    """
    if n < 1:
        raise ConfigError(f"{n} similar spectra; give 1 or more")
    findings = folder.findings() if folder.has_findings() else None
    if window is None:
        codes = StudyCodes.read(folder)
        resolved = query_of(folder, query, codes=codes, progress=progress)
        chosen = None if nodes is None else list(nodes)
        found = _by_codes(
            folder,
            resolved,
            codes=codes,
            findings=findings,
            nodes=chosen,
            without_nuisances=without_nuisances,
            scale=scale,
            n=n,
        )
    else:
        if nodes is not None or without_nuisances or scale is not None:
            raise ConfigError(
                "a window compares pixels, not codes: leave out nodes, scale and without_nuisances, or window"
            )
        resolved = query_of(folder, query, codes=None)
        found = _by_window(folder.store, resolved, window=window, n=n, progress=progress)
    labels = None if findings is None else folder.label_table()
    facts = found.facts | {"warnings": [*resolved.warnings, *found.facts["warnings"]]}
    table = _table(folder.store, resolved, found.rows, found.columns, labels)
    own: dict[str, Any] = {}
    if resolved.row is not None:
        mine = _table(folder.store, resolved, np.array([resolved.row]), {}, labels).iloc[0].to_dict()
        own = {str(name): value for name, value in mine.items() if name not in ("row", "same_target")}
    return Similar(resolved.name, table, facts, own)


@dataclass(frozen=True, eq=False)
class _Found:
    """Rows of the store, nearest first, further columns of the table, and how they were found."""

    rows: NDArray[np.intp]
    columns: dict[str, Any]
    facts: dict[str, Any]


def compared_nodes(
    codes: StudyCodes, findings: Findings | None
) -> tuple[tuple[int, ...], tuple[int, ...], list[str]]:
    """Nodes to compare, doubtful nodes, and warnings; before `find`, the nodes that training kept."""
    kept = codes.facts.kept
    if findings is None:
        return tuple(kept), (), []
    informative = [node.node for node in findings.informative]
    warnings = []
    if off := [node for node in informative if node not in kept]:
        warnings.append(f"informative nodes {', '.join(map(str, off))} are off in this model: not compared")
    doubtful = tuple(node.node for node in findings.nodes if node.doubtful)
    return tuple(node for node in informative if node in kept), doubtful, warnings


def _by_codes(
    folder: StudyFolder,
    query: Query,
    *,
    codes: StudyCodes,
    findings: Findings | None,
    nodes: Sequence[int] | None,
    without_nuisances: bool,
    scale: str | None,
    n: int,
) -> _Found:
    if query.mean is None:
        raise ConfigError(f"{query.name} has no code to compare; run encode, or give a window")
    if without_nuisances and findings is None:
        raise ModelError(
            "which nodes are nuisances is a finding: run find first, or name the nodes to compare"
        )
    left_out = nuisances(findings) if without_nuisances and findings is not None else {}
    informative, doubtful, warnings = compared_nodes(codes, findings)
    if missing := len(folder.store) - len(codes):
        warnings.insert(0, f"{missing:,} spectra have no codes yet and are not compared; run encode")
    chosen = informative if nodes is None else tuple(dict.fromkeys(nodes))
    warnings += [f"node {node} is doubtful" for node in chosen if node in doubtful]
    own = None if query.row is None else np.flatnonzero(codes.rows == query.row)
    how = metric(codes.mean, codes.sd, nodes=chosen, left_out=left_out, targets=codes.targets, scale=scale)
    rows, distance = Neighbours(how.points(codes.mean)).query(how.points(query.mean), n, exclude=own)
    facts = {
        "compared": f"by node{'s' * (len(how.nodes) > 1)} {', '.join(map(str, how.nodes))} "
        f"{SCALE_WORDS[how.scale]}",
        "nodes": list(how.nodes),
        "left_out": dict(how.left_out),
        "scale": how.scale,
        "same_star": None if how.scale == "spread" else float(np.sqrt(2 * len(how.nodes))),
        "visits": how.visits,
        "searched": len(codes) - (0 if own is None else len(own)),
        "warnings": warnings,
    }
    return _Found(codes.rows[rows], {"distance": distance}, facts)


def _by_window(
    store: Store, query: Query, *, window: tuple[float, float], n: int, progress: Listener
) -> _Found:
    if query.spectrum is None:
        raise ConfigError(f"{query.name} is a code without a spectrum: a window has nothing to compare")
    pixels = store.window(*window)
    flux, sigma, good = query.spectrum
    found = differences(store, flux[pixels], sigma[pixels], good[pixels], window=pixels, progress=progress)
    distance = found.distance.copy()
    if query.row is not None:
        distance[query.row] = np.nan
    known = np.flatnonzero(np.isfinite(distance))
    rows = known[np.lexsort((known, distance[known]))][:n]
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
    columns = {"distance": distance[rows], "chi2": found.chi2[rows], "shared": found.shared[rows]}
    return _Found(rows, columns, facts)


def _table(
    store: Store,
    query: Query,
    rows: NDArray[np.intp],
    columns: Mapping[str, Any],
    labels: pd.DataFrame | None,
) -> pd.DataFrame:
    """Spectra at these rows of the store, with labels beside."""
    import pandas as pd

    index = store.index.iloc[rows]
    targets = index["target"].to_numpy(dtype=object)
    if query.row is not None:
        same = targets == store.index["target"].iloc[query.row]
    else:
        name = normalise_name(query.target)
        same = np.array([bool(name) and normalise_name(one) == name for one in targets], dtype=bool)
    own = {
        "row": rows,
        "spectrum_id": index["spectrum_id"].to_numpy(),
        "target": targets,
        "same_target": same,
    }
    table = pd.DataFrame({**own, **columns})
    if labels is None:
        return table
    if labels.index.duplicated().any():
        raise CatalogError("the table of labels names a spectrum twice; give one row per spectrum")
    beside = labels.reindex(table["spectrum_id"]).reset_index(drop=True)
    return pd.concat(
        [table, beside.rename(columns={name: f"label {name}" for name in beside if name in table})], axis=1
    )


def _number(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "-"
    return "-" if value is None else str(value)
