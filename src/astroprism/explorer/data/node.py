"""The page of one node: all that is known of it, its derivative, traversal and scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...figures.words import FEATURES, element_words, share_words
from ...schema import LineGroup, Node
from ..refusals import Refused
from .curves import Curves, detail, window
from .summary import QUANTILES

if TYPE_CHECKING:
    from .viewer import Viewer

KEYWORDS, EXTREMES, BINS = 20, 10, 64
SCATTER = 20_000


def entry(viewer: Viewer, node: int) -> dict[str, Any]:
    """The node as /api/study has it."""
    found = next((one for one in viewer.summary["nodes"] if one["node"] == node), None)
    if found is None:
        known = ", ".join(map(str, viewer.columns.nodes)) or "none"
        raise Refused(404, f"there is no page on node {node}; there are pages on {known}")
    return dict(found)


def node_page(viewer: Viewer, node: int) -> dict[str, Any]:
    """The content of /api/node/{node}."""
    own = entry(viewer, node)
    columns = viewer.columns
    found = columns.found(node)
    code = columns.mean(node)
    known = np.flatnonzero(np.isfinite(code))
    order = known[np.argsort(code[known], kind="stable")]
    values = code[known].astype(np.float64)
    counts, edges = (
        np.histogram(values, bins=BINS) if values.size else (np.zeros(BINS), np.linspace(-3, 3, BINS + 1))
    )
    profile = columns.table("derivatives")
    predicted = None if found is None else found.predicted_by_labels
    return own | {
        "dossier": None if found is None or found.dossier is None else found.dossier.to_json(),
        "line_groups": [] if found is None else [_group(group) for group in found.lines],
        "line_words": "" if found is None else _line_words(viewer, found),
        "features": []
        if found is None
        else [one.to_json() | {"as_wide_as": FEATURES[one.kind]} for one in found.features],
        "predicted_by_labels": None if predicted is None else predicted.to_json(),
        "keywords": _keywords(viewer, node),
        "sweep": _rows(viewer, "bins", node, ("label", "bins", "nats", "null_mean", "null_high")),
        "lowest": [_extreme(viewer, int(row), code) for row in order[:EXTREMES]],
        "highest": [_extreme(viewer, int(row), code) for row in order[::-1][:EXTREMES]],
        "histogram": {"edges": edges.tolist(), "counts": [int(one) for one in counts]},
        "against": own["label"],
        "derivative": profile is not None and f"star_{node:03d}" in profile,
        "traversal": viewer.has_model,
    }


def _group(group: LineGroup) -> dict[str, Any]:
    """All fields, those with defaults too."""
    return {"kind": group.kind, "inseparable": group.inseparable} | group.to_json()


def _line_words(viewer: Viewer, found: Node) -> str:
    """How far lines can be named, and where this node's response lies."""
    findings = viewer.columns.findings
    coverage = None if findings is None else findings.line_coverage
    return f"{element_words(coverage)} {share_words(found.line_shares)}".strip()


def _extreme(viewer: Viewer, row: int, code: NDArray[np.float32]) -> dict[str, Any]:
    return viewer.columns.brief(row) | {"value": float(code[row])}


def _rows(viewer: Viewer, table: str, node: int, names: tuple[str, ...]) -> list[dict[str, Any]]:
    frame = viewer.columns.table(table)
    if frame is None or "node" not in frame:
        return []
    frame = frame[frame["node"] == node]
    return [{str(k): v for k, v in row.items()} for row in frame[[*names]].to_dict(orient="records")]


def _keywords(viewer: Viewer, node: int) -> list[dict[str, Any]]:
    rows = _rows(viewer, "keywords", node, ("label", "nats", "screen", "p", "q"))
    rows.sort(key=lambda one: (one["q"], one["p"], -one["screen"]))
    return [
        {
            "label": one["label"],
            # beyond the screen only what passes it is estimated
            "mi_nats": one["nats"] if np.isfinite(one["nats"]) else one["screen"],
            "p": one["p"],
            "q": one["q"],
        }
        for one in rows[:KEYWORDS]
    ]


def derivative(
    viewer: Viewer,
    node: int,
    *,
    low: float | None = None,
    high: float | None = None,
    width: int | None = None,
) -> Curves:
    """How much a unit of the node changes the flux, in the rest frames of the star and of the observer."""
    entry(viewer, node)
    profile = viewer.columns.table("derivatives")
    if profile is None or f"star_{node:03d}" not in profile:
        raise Refused(404, f"the findings hold no derivative of node {node}")
    pixels = window(viewer.wavelength, low, high)
    values = {
        name: np.asarray(profile[f"{column}_{node:03d}"].to_numpy()[pixels], dtype=np.float32)
        for name, column in (("star", "star"), ("air", "sky"))
    }
    return detail(viewer.wavelength[pixels], values, width=width)


def traversal(
    viewer: Viewer,
    node: int,
    *,
    base: int | None = None,
    low: float | None = None,
    high: float | None = None,
    width: int | None = None,
) -> Curves:
    """The decoded spectrum with the node at each of its seven quantiles."""
    own = entry(viewer, node)
    code, berv = viewer.base_code(base)
    pixels = window(viewer.wavelength, low, high)
    values = {}
    for place, mark in enumerate(own["quantiles"]):
        moved = code.copy()
        moved[node] = mark
        values[f"flux_{place}"] = viewer.decoder.decode(moved, berv=berv).flux[pixels]
    curves = detail(viewer.wavelength[pixels], values, width=width)
    facts = {
        "values": own["quantiles"],
        "labels": own["label_curve"],
        "label": own["label"],
        "unit": own["unit"],
        "quantiles": list(QUANTILES),
    }
    return Curves(curves.wavelength, curves.values, curves.facts | facts)


def scatter(viewer: Viewer, node: int, label: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Codes of a node against a label, of at most `SCATTER` seeded spectra that have both."""
    entry(viewer, node)
    axis = viewer.column(f"label:{label}")
    code = viewer.columns.mean(node)
    rows = np.flatnonzero(np.isfinite(code) & np.isfinite(axis.values))
    total = rows.size
    if total > SCATTER:
        rows = np.sort(np.random.default_rng(0).choice(rows, SCATTER, replace=False))
    arrays = {"code": code[rows], "label": axis.values[rows], "row": rows.astype(np.int32)}
    return arrays, {"total": total, "node": node, "axis": axis.facts()}
