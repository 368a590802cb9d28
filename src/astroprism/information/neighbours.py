"""Local terms of the nearest-neighbour estimators of mutual information, in nats.

Each estimate is the mean of its local terms, one a row. Continuous columns come as ranks and are read as
normal scores: mutual information does not change under a monotone map of either column, and a Gaussian's
own scores suit the estimator's assumption of an even density near each point better than an unknown scale
does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, ndtri

from .evidence import Floats, Rows

NEIGHBOURS = 5
# distances are differences of doubles: a radius a hair short leaves the k-th neighbour itself uncounted
SHORT = 1.0 - 1e-10


@lru_cache(maxsize=16)
def lattice(n: int) -> Floats:
    """Normal scores of ranks 0..n-1, rising; not to be written to."""
    scores = np.asarray(ndtri((np.arange(n) + 0.5) / n), dtype=np.float64)
    scores.flags.writeable = False
    return scores


@lru_cache(maxsize=16)
def _digamma(n: int) -> Floats:
    """digamma of 0..n, with 0 where it has no value."""
    return np.concatenate([[0.0], digamma(np.arange(1, n + 1))])


def kth_distance(points: Floats, k: int) -> Floats:
    """Largest-coordinate distance from each of (n, d) points to its k-th neighbour, a hair short."""
    from scipy.spatial import cKDTree

    distance = np.asarray(cKDTree(points).query(points, k=[k + 1], p=np.inf)[0])
    return distance.ravel() * SHORT


def ksg_terms(x: Rows, y: Rows, *, k: int = NEIGHBOURS) -> Floats:
    """Kraskov, Stoegbauer and Grassberger (2004), their first estimator; x, y ranks (n,)."""
    n = len(x)
    scores = lattice(n)
    by_x = np.empty(n)
    by_x[x] = scores[
        y
    ]  # in rising x: neighbours in memory are neighbours in x, so searches stay in the cache
    radius = kth_distance(np.column_stack([scores, by_x]), k)
    table = _digamma(n)
    terms = (
        digamma(k)
        + digamma(n)
        - table[_within(scores, scores, radius)]
        - table[_within(scores, by_x, radius)]
    )
    return np.asarray(terms[x])


def _within(ordered: Floats, at: Floats, radius: Floats) -> Rows:
    """How many of `ordered` lie nearer than radius, the point itself included."""
    return np.searchsorted(ordered, at + radius) - np.searchsorted(ordered, at - radius)


def ross_terms(x: Rows, category: NDArray[np.int64], *, k: int = NEIGHBOURS) -> Floats:
    """Ross (2014), a continuous column and a categorical one; NaN where a category has a single row."""
    n = len(x)
    scores = lattice(n)[x]
    terms = np.full(n, np.nan)
    for one in np.unique(category):
        rows = np.flatnonzero(category == one)
        if rows.size < 2:
            continue
        near = min(k, rows.size - 1)
        order = np.argsort(scores[rows])
        radius = np.empty(rows.size)
        radius[order] = line_distance(scores[rows][order], near)
        counts = _within(lattice(n), scores[rows], radius * SHORT)
        terms[rows] = digamma(n) + digamma(near) - digamma(rows.size) - digamma(counts)
    return terms


def line_distance(ordered: Floats, k: int) -> Floats:
    """Distance of each of n rising numbers to its k-th neighbour on the line."""
    padded = np.concatenate([np.full(k, -np.inf), ordered, np.full(k, np.inf)])
    n = ordered.size
    best = np.full(n, np.inf)
    for below in range(k + 1):  # k neighbours are the next `below` to the left and k - below to the right
        left, right = padded[k - below : k - below + n], padded[2 * k - below : 2 * k - below + n]
        best = np.minimum(best, np.maximum(ordered - left, right - ordered))
    return best


def conditional_terms(x: Floats, y: Floats, z: Floats, *, k: int = NEIGHBOURS) -> Floats:
    """Frenzel and Pompe (2007): I(x; y | z); x, y (n,) and z (n, d) on comparable scales."""
    from scipy.spatial import cKDTree

    radius = kth_distance(np.column_stack([x, y, z]), k)

    def counted(points: Floats) -> Any:
        tree = cKDTree(points)
        return tree.query_ball_point(points, radius, p=np.inf, return_length=True)

    alone = _within(np.sort(z[:, 0]), z[:, 0], radius) if z.shape[1] == 1 else counted(z)
    with_x, with_y = counted(np.column_stack([x, z])), counted(np.column_stack([y, z]))
    return np.asarray(digamma(k) - digamma(with_x) - digamma(with_y) + digamma(alone))
