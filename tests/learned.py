"""Findings of a network that had learned four nodes, for tests of the explorer, whose network has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from astroprism.schema import Findings
from studies import findings_of

# node -> the label that explains it; of the last two none does, and the last is doubtful
LEARNED = {0: "rv", 3: "teff", 5: None, 7: None}
DOUBTFUL = 7


def learned_findings(
    *,
    identifiers: Sequence[str],
    targets: Sequence[str],
    wavelength: np.ndarray,
    nodes: int = 32,
    provenance: Mapping[str, Any] | None = None,
) -> tuple[Findings, dict[str, dict[str, Any]]]:
    """Findings and their tables, from made-up codes that follow the labels."""
    n, rng = len(identifiers), np.random.default_rng(3)
    mean, sd = 0.01 * rng.normal(size=(n, nodes)), np.ones((n, nodes))
    certain = [node for node in LEARNED if node != DOUBTFUL]
    mean[:, certain], sd[:, certain] = rng.normal(size=(n, len(certain))), 0.05
    labels = {
        "rv": 20 * mean[:, 0] + rng.normal(size=n),
        "teff": 5800 + 300 * mean[:, 3] + rng.normal(0, 15, n),
    }
    findings, tables = findings_of(
        mean,
        sd,
        informative=certain,
        doubtful=[DOUBTFUL],
        labels=labels,
        wavelength=wavelength,
        identifiers=identifiers,
        targets=targets,
        provenance=provenance,
    )
    # node, keyword: as `find` sweeps them, one of them beyond its screen
    tables["keywords"] = {
        "node": [3, 3],
        "label": ["EXPTIME", "AIRMASS"],
        "nats": [0.4, np.nan],
        "screen": [0.3, 0.1],
        "p": [1e-4, 0.3],
        "q": [1e-3, 0.5],
    }
    frames = [f"{frame}_{node:03d}" for node in LEARNED for frame in ("star", "sky")]
    tables["derivatives"] = {"wavelength": wavelength} | {
        name: rng.uniform(size=len(wavelength)) for name in frames
    }
    kinds = np.array(["dwarf", "giant", "subgiant"], dtype=object)[rng.integers(0, 3, n)]
    tables["labels"] = {"spectrum_id": list(identifiers), **labels, "kind": kinds}
    return findings, tables
