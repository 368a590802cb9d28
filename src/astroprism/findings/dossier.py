"""What is known of a node that no label explains: its extremes, its way in time, keywords, and lines.

Plain arrays; a row a spectrum, one a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..measures.evidence import Floats
from ..measures.lines import Enrichment, match_lines
from ..measures.match import EXPLAINS_Q, Matches
from ..measures.spacing import LEVEL

EXTREMES = 5
KEYWORDS = 5
FEWEST_TIMES = 25
YEAR = 365.25  # days


def dossier(
    node: int,
    *,
    mean: Floats,
    identifiers: NDArray[np.object_],
    targets: NDArray[np.object_],
    time: Floats | None,
    keywords: Matches,
    lines: Sequence[Enrichment],
    moves: Floats | None = None,
) -> dict[str, Any]:
    """The dossier of one node as findings.json keeps it. mean, identifiers, targets, time: (rows,).

    lines  that it moves where the labels stay; moves: (nodes,) how codes then move with it
    """
    order = np.argsort(mean, kind="stable")

    def spectra(rows: NDArray[np.intp]) -> list[dict[str, Any]]:
        return [
            {"spectrum_id": str(identifiers[i]), "target": str(targets[i]), "code": float(mean[i])}
            for i in rows
        ]

    told = [pair for pair in keywords.of_node(node) if pair.q <= EXPLAINS_Q][:KEYWORDS]
    return {
        "lowest": spectra(order[:EXTREMES]),
        "highest": spectra(order[::-1][:EXTREMES]),
        "trend": trend(mean, time),
        "keywords": [pair.summary() for pair in told],
        "moves_with": [] if moves is None else _others(moves, node),
        "lines": [one.summary() for one in lines if one.named],
        "lines_tested": len(lines),
    }


def _others(moves: Floats, node: int) -> list[dict[str, Any]]:
    found = [int(other) for other in np.flatnonzero(moves) if other != node]
    return [{"node": other, "slope": float(moves[other])} for other in found]


def trend(values: Floats, time: Floats | None) -> dict[str, Any] | None:
    """Drift with time: Spearman's rank correlation with its p, and the slope a year in units of the spread.

    One spectrum a target, so a star's own change does not show; None where times are not known.
    """
    from scipy.stats import spearmanr

    if time is None:
        return None
    known = np.isfinite(time)
    if known.sum() < FEWEST_TIMES or np.ptp(time[known]) == 0 or np.ptp(values[known]) == 0:
        return None
    years = (time[known] - time[known].mean()) / YEAR
    code = (values[known] - values[known].mean()) / values[known].std()
    rank = spearmanr(years, code)
    slope = float((years @ code) / (years @ years))
    left = code - slope * years
    error = float(LEVEL * np.sqrt((left @ left) / (known.sum() - 2) / (years @ years)))
    return {
        "spearman": float(rank.statistic),
        "p": float(rank.pvalue),
        "spreads_a_year": slope,
        "low": slope - error,
        "high": slope + error,
        "years": float(np.ptp(years)),
        "n": int(known.sum()),
    }


def line_table(
    wavelength: Floats,
    star: Mapping[int, Floats],
    sky: Mapping[int, Floats],
    *,
    nodes: Sequence[int],
    seed: int = 0,
) -> dict[int, list[Enrichment]]:
    """Groups of lines against the derivatives of `nodes`, those that have one."""
    return {
        node: match_lines(wavelength, star[node], sky=sky[node], seed=seed) for node in nodes if node in star
    }
