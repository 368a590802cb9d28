"""Summary of a study, which the page reads before it draws anything: nodes, labels, lines, axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...figures.words import node_title
from ...grid import Grid, convert_medium
from ...measures.lines import atomic_groups, line_name, telluric_groups
from ...schema import Match, ModelFacts
from ..refusals import tidy
from .axes import Axes, has_umap, unit_of
from .columns import Columns
from .nearest import MOST

QUANTILES = (1, 5, 25, 50, 75, 95, 99)
UPLOAD = 64 << 20  # bytes of a file that may be dropped
SELECTION = 2_000_000  # rows of a selection
FAINTEST = 0.05  # depth in the Sun, or under a usual sky, of lines that are marked
MOST_LINES = 1500
NEAR = 0.02  # share of the spectra around a quantile whose labels say what it means
FEWEST = 2  # spectra per quantile that have the label, below which there is no curve


def titles(columns: Columns) -> dict[int, str]:
    """Node -> 'node 21: radial velocity'."""
    found = {node: columns.found(node) for node in columns.nodes}
    return {node: f"node {node}" if one is None else tidy(node_title(one)) for node, one in found.items()}


def summary(columns: Columns, axes: Axes, *, titles: Mapping[int, str]) -> dict[str, Any]:
    """The content of /api/study."""
    import pyarrow.compute as pc

    store = columns.folder.store
    grid, findings, has_model = store.grid, columns.findings, columns.model_facts is not None
    known = axes.known()
    nodes = [_node(columns, node, title=titles[node]) for node in columns.nodes]
    count = None if findings is None else findings.count
    has_apply = has_model and columns.has_codes and findings is not None
    return {
        "name": tidy(columns.folder.path.resolve().name),
        "version": __version__,
        "spectra": len(store),
        "targets": pc.count_distinct(columns.text("target")).as_py(),
        "encoded": int(np.isfinite(columns.mean(columns.nodes[0])).sum()) if columns.nodes else 0,
        "grid": {
            "low": float(grid.wavelength[0]),
            "high": float(grid.wavelength[-1]),
            "step_kms": grid.step if grid.kind == "log" else None,
            "pixels": grid.size,
            "medium": grid.medium,
        },
        "network": _network(columns.model_facts),
        "count": None if count is None else count.to_json(),
        "agree": None if count is None else count.agree,
        "nodes": nodes,
        "labels": [
            {"name": name, "kind": kind, "n": _known(columns.label(name)), "unit": unit_of(name)}
            for name, kind in columns.labels.items()
        ],
        "axes": known,
        "lines": _lines(grid),
        "quantiles": list(QUANTILES),
        "limits": {"upload_bytes": UPLOAD, "selection": SELECTION, "neighbours": MOST},
        "start": _start(nodes, [one["key"] for one in known]),
        "warnings": [] if findings is None else list(findings.warnings),
        "has": {
            "model": has_model,
            "codes": columns.has_codes,
            "findings": findings is not None,
            "labels": bool(columns.labels),
            "outliers": columns.outliers is not None,
            "umap": has_umap(),
            "apply": has_apply,
        },
    }


def _network(facts: ModelFacts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    network = facts.network
    return {
        "kind": network.kind,
        "nodes": network.nodes,
        "agnostic": network.agnostic,
        "moving_air": network.moving_air,
        "parts": network.physical,
        "steps": facts.steps,
    }


def _node(columns: Columns, node: int, *, title: str) -> dict[str, Any]:
    found = columns.found(node)
    label = None if found is None else _best_label(found.explained_by)
    code = columns.mean(node)[columns.sample()]
    known = code[np.isfinite(code)].astype(np.float64)
    marks = np.quantile(known, np.array(QUANTILES) / 100) if known.size else np.zeros(len(QUANTILES))
    low, high = (float(known.min()), float(known.max())) if known.size else (-3.0, 3.0)
    room = max(marks[-1] - marks[0], 1e-6)
    return {
        "node": node,
        "title": title,
        "informative": found is None or found.informative,
        "doubtful": found is not None and found.doubtful,
        "unexplained": found is not None and found.unexplained,
        "copies_of": None if found is None else found.copies_of,
        "nuisance": node in columns.nuisances,
        "label": label,
        "unit": unit_of(label) if label else "",
        "median": float(marks[QUANTILES.index(50)]),
        "sd": float(known.std()) if known.size else 1.0,
        "low": max(low, marks[0] - 0.5 * room),  # single odd codes must not squeeze the slider
        "high": min(high, marks[-1] + 0.5 * room),
        "quantiles": marks.tolist(),
        "label_curve": label_curve(columns, node, label, marks) if label else None,
        "information_nats": None if found is None else found.information_nats,
        "ablation_nats": None if found is None else found.ablation_nats,
        "matches": [] if found is None else [match.to_json() for match in found.matches],
        "response": {} if found is None else found.response,
        "survival": None if found is None else found.survival,
        "lines": [] if found is None else [group.name for group in (found.dossier or found).lines],
    }


def _best_label(matches: list[Match]) -> str | None:
    return max(matches, key=lambda match: match.mi_nats or 0.0).label if matches else None


def label_curve(columns: Columns, node: int, label: str, marks: NDArray[np.float64]) -> list[float] | None:
    """The label's median in the spectra whose codes lie nearest to each mark; None for texts."""
    if columns.labels.get(label) != "number":
        return None
    rows = columns.sample()
    code, value = columns.mean(node)[rows], columns.label(label)[rows]
    known = np.isfinite(code) & np.isfinite(value)
    if known.sum() < len(marks) * FEWEST:
        return None
    order = np.argsort(code[known], kind="stable")
    code, value = code[known][order], value[known][order]
    half = max(2, int(NEAR * code.size / 2))
    places = np.searchsorted(code, marks)
    ends = [(max(0, place - half), min(code.size, place + half)) for place in places]
    return [float(np.median(value[a:b])) for a, b in ends]


def _known(values: NDArray[Any]) -> int:
    if values.dtype == object:
        return int(sum(one is not None for one in values))
    return int(np.isfinite(values).sum())


def _lines(grid: Grid) -> list[dict[str, Any]]:
    """Lines within the grid, in its medium; the deepest where there are too many."""
    low, high = float(grid.wavelength[0]), float(grid.wavelength[-1])
    found: list[dict[str, Any]] = []
    for kind, groups in (("atom", atomic_groups()), ("telluric", telluric_groups())):
        for group in groups:
            places = convert_medium(group.wavelength, "vacuum", grid.medium)
            for vacuum, place, depth in zip(group.wavelength, places, group.weight, strict=True):
                if low <= place <= high and depth >= FAINTEST:
                    found.append(
                        {
                            "name": line_name(group.name, float(vacuum)),
                            "element": group.element,
                            "wavelength": round(float(place), 3),
                            "kind": kind,
                            "depth": round(float(min(1.0, depth)), 3),
                        }
                    )
    found.sort(key=lambda one: -one["depth"])
    return sorted(found[:MOST_LINES], key=lambda one: one["wavelength"])


def _start(nodes: list[dict[str, Any]], axes: list[str]) -> dict[str, str]:
    """A first view that shows something: the strongest two nodes of the star, coloured by a label."""
    stellar = [
        one for one in nodes if not one["nuisance"] and one["copies_of"] is None and not one["doubtful"]
    ]
    chosen = (stellar + [one for one in nodes if one not in stellar])[:2]
    views = {"sliders": "view=sliders", "map": "view=map"}
    if chosen:
        keys = [f"node:{one['node']}" for one in chosen]
        colour = next((f"label:{one['label']}" for one in chosen if one["label"]), "snr")
        colour = colour if colour in axes else "snr"
        views["map"] = f"view=map&x={keys[0]}&y={keys[-1]}&colour={colour}"
    return views
