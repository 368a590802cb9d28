"""Local terms of the nearest-neighbour estimators of mutual information, in nats.

Each estimate is the mean of its local terms, one per row. Continuous columns come as ranks and are read as
normal scores: mutual information does not change under a monotone map of either column, and a Gaussian's
own scores suit the estimator's assumption of an even density near each point better than an unknown scale
does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, ndtri

from .evidence import Floats, Rows

NEIGHBOURS = 5
FEWER = 0.6  # of them, for the check that rows are dense enough
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


def kth_distances(points: Floats, *ks: int) -> Floats:
    """(n, len(ks)) largest-coordinate distances of (n, d) points to their k-th neighbours, a hair short."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(points, k=[k + 1 for k in ks], p=np.inf)[0]) * SHORT


def ksg_terms(x: Rows, y: Rows, *, k: int = NEIGHBOURS) -> tuple[Floats, Floats]:
    """Kraskov, Stoegbauer and Grassberger (2004), their first estimator; x, y ranks (n,).

    Returned with k neighbours and with fewer of them: where these differ, rows are too sparse for the shape.
    """
    n = len(x)
    scores = lattice(n)
    by_x = np.empty(n)
    by_x[x] = scores[y]  # in rising x: what is near in x is near in memory
    few = max(1, round(k * FEWER))
    table = _digamma(n)
    found = []
    for near, radius in zip((k, few), kth_distances(np.column_stack([scores, by_x]), k, few).T, strict=True):
        counts = _within(scores, scores, radius), _within(scores, by_x, radius)
        found.append((table[near] + table[n] - table[counts[0]] - table[counts[1]])[x])
    return found[0], found[1]


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


def conditional_terms(
    x: Floats, y: Floats, z: Floats, *, k: int = NEIGHBOURS, finer: bool = False
) -> tuple[Floats, Floats]:
    """Frenzel and Pompe (2007): I(x; y | z); x, y (n,) and z (n, d) on comparable scales.

    Returned with k neighbours and, if `finer`, with fewer; else twice the same.
    """
    few = max(1, round(k * FEWER)) if finer else k
    points = np.column_stack([x, y, z])
    found: list[Floats] = []
    for near, radius in zip((k, few), kth_distances(points, k, few).T, strict=True):
        if found and few == k:
            return found[0], found[0]
        with_x, with_y = (boxed(np.column_stack([one, z]), radius) for one in (x, y))
        found.append(
            np.asarray(digamma(near) - digamma(with_x) - digamma(with_y) + digamma(boxed(z, radius)))
        )
    return found[0], found[1]


def class_terms_given(x: Floats, category: NDArray[np.int64], z: Floats, *, k: int = NEIGHBOURS) -> Floats:
    """Mesner and Shalizi (2021), I(x; category | z) of x, z (n,); 0 in classes of one row.

    Classes have no distance but 0 or infinite: neighbours are sought within each.
    """
    n = len(x)
    points = np.column_stack([x, z])
    radius, near, alike = np.zeros(n), np.zeros(n), np.ones(n)
    for one in np.unique(category):
        rows = np.flatnonzero(category == one)
        if rows.size < 2:
            continue
        near[rows] = min(k, rows.size - 1)
        radius[rows] = kth_distances(points[rows], min(k, rows.size - 1))[:, 0]
        alike[rows] = _within(np.sort(z[rows]), z[rows], radius[rows])
    known = near > 0
    terms = digamma(np.maximum(near, 1)) - digamma(np.maximum(boxed(points, radius), 1))
    terms += digamma(np.maximum(_within(np.sort(z), z, radius), 1)) - digamma(np.maximum(alike, 1))
    return np.where(known, terms, 0.0)


def boxed(points: Floats, radius: Floats) -> Rows:
    """How many of (n, d) points lie within each one's radius in every coordinate, itself included."""
    if points.shape[1] == 1:
        return _within(np.sort(points[:, 0]), points[:, 0], radius)
    if points.shape[1] == 2:
        return _boxed_in_plane(points, radius)
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    return np.asarray(tree.query_ball_point(points, radius, p=np.inf, return_length=True))


def _boxed_in_plane(points: Floats, radius: Floats) -> Rows:
    """The same in two dimensions, by a wavelet matrix: ten times faster than a tree, which visits what it
    counts.

    Points in order of the first coordinate hold their ranks in the second; each level of the matrix halves
    the ranks that are left, and the number below a rank in a stretch of points is read off level by level.
    """
    n = len(points)
    order = np.argsort(points[:, 0])
    first, second = points[order, 0], np.sort(points[:, 1])
    ranked = np.empty(n, dtype=np.intp)
    ranked[np.argsort(points[:, 1])] = np.arange(n)
    ranked = ranked[order]
    start, stop = (np.searchsorted(first, points[:, 0] + way * radius) for way in (-1, 1))
    upto = np.stack([np.searchsorted(second, points[:, 1] + way * radius) for way in (-1, 1)])
    below = np.zeros((2, n), dtype=np.intp)
    left, right = np.broadcast_to(start, (2, n)), np.broadcast_to(stop, (2, n))
    for level in range(n.bit_length() - 1, -1, -1):
        one = ((ranked >> level) & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~one)])
        left_zeros, right_zeros = zeros[left], zeros[right]
        above = ((upto >> level) & 1).astype(bool)
        below += np.where(above, right_zeros - left_zeros, 0)
        left = np.where(above, zeros[-1] + left - left_zeros, left_zeros)
        right = np.where(above, zeros[-1] + right - right_zeros, right_zeros)
        ranked = np.concatenate([ranked[~one], ranked[one]])
    return np.asarray(below[1] - below[0])
