"""What is known of a node that no label explains: its extremes, its drift with time, keywords, and lines.

Plain arrays; a row per spectrum, one per target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..schema import Companion, Dossier, Extreme, Trend, number
from .evidence import Floats
from .lines import Enrichment
from .match import EXPLAINS_Q, Matches
from .spacing import LEVEL

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
) -> Dossier:
    """The dossier of one node. mean, identifiers, targets, time: (rows,).

    lines  groups against what the spectra do at constant labels
    moves  (nodes,) how codes then move with this one
    """
    order = np.argsort(mean, kind="stable")

    def spectra(rows: NDArray[np.intp]) -> list[Extreme]:
        return [Extreme(str(identifiers[i]), str(targets[i]), float(mean[i])) for i in rows]

    companions = [] if moves is None else [int(other) for other in np.flatnonzero(moves) if other != node]
    passed = [pair for pair in keywords.of_node(node) if pair.q <= EXPLAINS_Q]
    return Dossier(
        lowest=spectra(order[:EXTREMES]),
        highest=spectra(order[::-1][:EXTREMES]),
        trend=trend(mean, time),
        keywords=[pair.summary() for pair in passed[:KEYWORDS]],
        moves_with=[] if moves is None else [Companion(other, float(moves[other])) for other in companions],
        lines=[one.summary() for one in lines if one.named],
        lines_tested=len(lines),
    )


def trend(values: Floats, time: Floats | None) -> Trend | None:
    """Drift with time: Spearman's rank correlation with its p, and the slope per year in units of the spread.

    There is one spectrum per target, so a star's own change does not show; None where times are not known.
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
    rest = code - slope * years
    error = float(LEVEL * np.sqrt((rest @ rest) / (known.sum() - 2) / (years @ years)))
    return Trend(
        spearman=number(rank.statistic),
        p=number(rank.pvalue),
        spreads_a_year=slope,
        low=slope - error,
        high=slope + error,
        years=float(np.ptp(years)),
        n=int(known.sum()),
    )
