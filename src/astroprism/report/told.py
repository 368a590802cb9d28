"""What the page tells in words and tables, from what was gathered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..artifacts import read_json
from ..errors import REASONS
from ..figures.words import chance, short
from .collect import Gathered
from .drawings import readouts
from .facts import Facts, Shown
from .reading import MOST_CARDS

if TYPE_CHECKING:
    import pandas as pd

MOST_WARNINGS, MOST_OUTLIERS = 20, 20
SHARES = (0.05, 0.5, 0.95)


def facts_of(of: Gathered, *, figures: Mapping[str, Shown]) -> Facts:
    """All that the page tells."""
    scores = of.node_scores
    ends = [str(name) for name in scores if str(name).endswith(("_low", "_high"))]
    intervals = {int(row["node"]): {name: float(row[name]) for name in ends} for row in _records(scores)}
    return Facts(
        name=of.study.path.resolve().name,
        archive=_archive(of),
        model=of.model_facts,
        findings=of.findings,
        cards=of.cards,
        chi2=of.chi2() if of.has_codes and of.held.size else None,
        readouts=[] if of.findings is None else _records(readouts(of.findings)),
        intervals=intervals,
        outliers=_outliers(of),
        runs=[run for run in of.study.history if run["command"] != "report"],
        stale=of.stale(),
        provenance=_provenance(of),
        most_cards=MOST_CARDS,
        figures=figures,
    )


def _archive(of: Gathered) -> dict[str, Any]:
    index, rejects, store = of.index, of.store.rejects, of.store
    wavelength = of.grid.wavelength[of.grid.filled]
    reasons: list[dict[str, Any]] = []
    if len(rejects):
        for reason, mine in rejects.groupby("reason"):
            first = mine.sort_values(["path", "item"]).iloc[0]
            place = str(first["path"]).replace("\\", "/").rsplit("/", 1)[-1]
            reasons.append(
                {
                    "reason": reason,
                    "count": len(mine),
                    "meaning": REASONS.get(str(reason), ""),
                    "example": f"{place}: {str(first['message'])[:160]}",
                }
            )
        reasons.sort(key=lambda one: (-one["count"], one["reason"]))
    snr = index["snr"].to_numpy(dtype=float)
    snr = snr[np.isfinite(snr)]
    ingests = [run for run in of.study.history if run["command"] == "ingest"]
    doubts = store.path / "target-doubts.parquet"
    return {
        "accepted": len(index),
        "refused": len(rejects),
        "met": len(index) + len(rejects),
        "files": _rows(store.path / "files.parquet"),
        "passed_over": max((int(run.get("passed_over", 0)) for run in ingests), default=0),
        "reasons": reasons,
        "warnings": dict(list(_warnings(index).items())[:MOST_WARNINGS]),
        "targets": int(index["target"].nunique()),
        "busiest": int(index["target"].value_counts().iloc[0]) if len(index) else 0,
        "grid": of.grid.text,
        "pixels": of.grid.size,
        "range": (float(wavelength[0]), float(wavelength[-1])),
        "medium": of.grid.medium,
        "frames": _counts(index["frame"]),
        "formats": _counts(index["reader"]),
        "normalise": store.config.get("normalise"),
        "snr": [float(one) for one in np.quantile(snr, SHARES)] if snr.size else [],
        "sigma_from": _counts(index["sigma_from"]),
        "good": float(index["n_good"].mean()) / max(1, wavelength.size) if len(index) else 0.0,
        "doubts": _rows(doubts),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary a row."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict(orient="records")]


def _rows(path: Any) -> int:
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows) if path.exists() else 0


def _warnings(index: pd.DataFrame) -> dict[str, int]:
    told = index["warnings"][index["warnings"] != ""]
    return _counts(told.str.split("; ").explode()) if len(told) else {}


def _counts(values: Any) -> dict[str, int]:
    """Counts, the commonest first; equal ones in the order of their names."""
    found = {str(key): int(count) for key, count in values.value_counts().items()}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _provenance(of: Gathered) -> dict[str, Any]:
    model, findings = of.model_facts, of.findings
    told: dict[str, str] = {"report": f"astroprism {__version__}", "store": of.store.fingerprint}
    settings: dict[str, Any] = {}
    if model is not None:
        told["trained with"] = ", ".join(
            f"{name} {value}" for name, value in model.get("versions", {}).items()
        )
        told["model was trained on store"] = str(model["store"]["fingerprint"])
        told["seeds"] = f"training {model['seed']}, split {model['split']['seed']}"
        settings = {f"asked: {name}": value for name, value in model["asked"].items()}
        settings |= {f"recipe: {name}": value for name, value in model["recipe"].items()}
        settings |= {f"network: {name}": value for name, value in model["network"]["config"].items()}
    if findings is not None:
        made = findings["provenance"]
        told["seeds"] += f", findings {made['seed']}"
        told["findings with"] = f"astroprism {made['version']}"
        told["weights"], told["codes"] = str(made["weights"]), str(made["codes"])
        told["labels"] = str(made["labels"] or "none given")
        draws = findings.get("null_draws", {})
        told["null draws behind p"] = ", ".join(f"{name} {number:,}" for name, number in draws.items())
    simulation = of.study.path / "archive" / "simulation.json"
    if simulation.exists():
        known = read_json(simulation).get("config", {})
        told["simulated"] = "; ".join(
            f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in known.items()
            if value not in (None, [], {})
        )
    return {"version": __version__, "facts": told, "settings": settings}


def _outliers(of: Gathered) -> dict[str, Any] | None:
    """The ranked outliers, where they were made."""
    table = of.outliers
    if table is None:
        return None
    p = table["p"].to_numpy(dtype=float)
    counted = int((p <= 0.01).sum())
    rows = []
    for row in _records(table.head(MOST_OUTLIERS)):
        rows.append(
            {
                "spectrum": row["spectrum_id"],
                "target": row.get("target", ""),
                "p": chance(row["p"]),
                "why": row["reasons"],
            }
        )
    words = [
        f"{len(table):,} spectra were judged against those of held-out targets; p is conformal: 1 in "
        f"100 sound spectra "
        f"has p at most .01. {counted:,} have it; {short(0.01 * len(table))} would by chance.",
    ]
    return {"rows": rows, "words": words}
