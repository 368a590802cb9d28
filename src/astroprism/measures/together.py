"""What nodes tell of a label together: all of them, and the best two. Arrays in, numbers out.

A cause that lies across two nodes shows in neither of them alone. The label is predicted from the codes of a
set, each fifth of the targets by the others (a parabola, then trees), and what that prediction shares with
the label is no more than what the codes do: a lower bound, with the interval and the p of any two columns,
since no target took part in its own prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .evidence import EvidenceError, Floats, column, column_values, finite
from .mutual import MutualInformation, mutual_information
from .readout import predicted

FEWEST = 100  # targets: five fits of twenty would predict nothing
MOST = 5_000  # targets that trees are grown on
MOST_NODES = 12  # among which every pair is tried


@dataclass(frozen=True)
class Together:
    """Mutual information of a label with what a set of nodes predicts of it, at least what the set tells.

    whole    of all nodes
    pair     the two that tell most; `two` of them. None where there are no three
    """

    whole: MutualInformation
    pair: tuple[int, int] | None
    two: MutualInformation | None


def told_together(codes: ArrayLike, label: Any, *, seed: int = 0) -> Together | None:
    """Of codes (n, k), a row per target, and a label of numbers or classes; None below 100 targets."""
    z = np.asarray(codes, dtype=np.float64)
    y, is_category = column(column_values(label), "label", categorical=None)
    if len(y) != len(z):
        raise EvidenceError(f"the label has {len(y)} rows, the codes {len(z)}")
    rows = np.flatnonzero(np.isin(np.arange(len(z)), finite(y, z)))
    if rows.size > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=MOST, replace=False))
    if rows.size < FEWEST or z.shape[1] < 2 or (y[rows] == y[rows[0]]).all():
        return None
    z, y = z[rows], y[rows]
    wanted = np.eye(int(y.max()) + 1)[y] if is_category else y.astype(np.float64)

    def shared(nodes: list[int]) -> MutualInformation:
        told = predicted(z[:, nodes], wanted, seed=seed)
        if is_category:
            return mutual_information(told.argmax(axis=1), y, categorical=True, seed=seed)
        return mutual_information(told, y, categorical=False, seed=seed)

    pair = None
    if 2 < z.shape[1] <= MOST_NODES:
        pair = max(combinations(range(z.shape[1]), 2), key=lambda two: _by_parabola(z[:, two], wanted))
    return Together(
        shared(list(range(z.shape[1]))), pair, None if pair is None else shared([pair[0], pair[1]])
    )


def _by_parabola(z: Floats, wanted: Floats) -> float:
    """Share of the variance that a parabola of two codes predicts in the other half of the targets."""
    a, b = ((z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)).T
    x = np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)
    y = wanted.reshape(len(wanted), -1)
    half = np.arange(len(y)) % 2 == 0
    missed = 0.0
    for fit in (half, ~half):
        weight = np.linalg.solve(x[fit].T @ x[fit] + 1e-3 * np.eye(6), x[fit].T @ y[fit])
        missed += float(((y[~fit] - x[~fit] @ weight) ** 2).sum())
    return 1 - missed / max(float(((y - y.mean(axis=0)) ** 2).sum()), 1e-12)
