"""Summary of a study, which the page reads before it draws anything: nodes, labels, lines, axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...figures.words import moved_words, node_title
from ...grid import SPEED_OF_LIGHT, Grid, convert_medium
from ...measures.count import agreement
from ...measures.line_tables import atomic_groups, band_groups, place_names, telluric_groups
from ...schema import Counts, Findings, Match, ModelFacts
from ..refusals import tidy
from .axes import Axes, has_umap, unit_of
from .columns import Columns
from .nearest import MOST

QUANTILES = (1, 5, 25, 50, 75, 95, 99)
UPLOAD = 64 << 20  # bytes of a file that may be dropped
SELECTION = 2_000_000  # rows of a selection
FAINTEST = 0.05  # depth in the Sun, or under a usual sky, of lines that are marked
MOST_LINES = 1500
CROWDED_AIR = 20.0  # km/s of a resolution element from which lines of the air run together
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
        "agreement": _agreement(count),
        "nodes": nodes,
        "labels": [
            {"name": name, "kind": kind, "n": _known(columns.label(name)), "unit": unit_of(name)}
            for name, kind in columns.labels.items()
        ],
        "axes": known,
        "lines": _lines(grid, findings),
        "line_coverage": None
        if findings is None or findings.line_coverage is None
        else findings.line_coverage.to_json(),
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


def _agreement(count: Counts | None) -> str:
    """What the two counts say together, in words; '' where one was not made."""
    if count is None or count.statistical is None or count.information is None:
        return ""
    return agreement(count.statistical, count.information)


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
        "lines": [] if found is None else moved_words(found),
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


def _lines(grid: Grid, findings: Findings | None) -> list[dict[str, Any]]:
    """Lines within the grid, in its medium, as the resolution separates them; the deepest where there are
    too many. Where lines of the air run together, its bands; of stars' bands those that a node moves.
    """
    coverage = None if findings is None else findings.line_coverage
    step = grid.step if grid.kind == "log" else SPEED_OF_LIGHT * grid.step / float(np.median(grid.wavelength))
    element = 2 * step if coverage is None else coverage.element_kms
    low, high = (float(convert_medium(grid.wavelength[i], grid.medium, "vacuum")) for i in (0, -1))
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, element: str, vacuum: float, kind: str, depth: float) -> None:
        if low <= vacuum <= high and depth > found.get(name, {"depth": 0.0})["depth"]:
            place = float(convert_medium(vacuum, "vacuum", grid.medium))
            found[name] = {
                "name": name,
                "element": element,
                "wavelength": round(place, 3),
                "kind": kind,
                "depth": round(min(1.0, depth), 3),
            }

    sets = [("atom", [one.window(low, high) for one in atomic_groups()])]
    if element <= CROWDED_AIR:
        sets.append(("telluric", [one.window(low, high) for one in telluric_groups()]))
    for kind, groups in sets:
        groups = [group.take(group.weight >= FAINTEST) for group in groups]
        groups = [group for group in groups if len(group.wavelength)]
        for group in groups:
            names = place_names(group.wavelength, groups, element=element)
            for name, vacuum, depth in zip(names, group.wavelength, group.weight, strict=True):
                if name is not None:
                    add(name, group.element, float(vacuum), kind, float(depth))
    moved = {line.line for node in (findings.nodes if findings else []) for g in node.lines for line in g.top}
    for group in band_groups():
        for label, vacuum in zip(group.labels, group.wavelength, strict=True):
            if group.frame == "sky" and element > CROWDED_AIR:
                add(label, group.element, float(vacuum), "telluric", 1.0)
            elif group.frame == "star" and label in moved:
                add(label, group.element, float(vacuum), "atom", 1.0)
    deepest = sorted(found.values(), key=lambda one: -one["depth"])[:MOST_LINES]
    return sorted(deepest, key=lambda one: one["wavelength"])


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
