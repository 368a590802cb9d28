"""How well one column is read back from another by a smooth curve: what a scatter plot shows, as a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def smoothed(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Floats:
    """What the sqrt(n) neighbours of each row in x say of its y, (n,): their mean, the row left out."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = x.size
    half = max(3, round(np.sqrt(n) / 2))
    shuffled = np.random.default_rng(seed).permutation(n)  # equal values of x in no order of y
    order = shuffled[np.argsort(x[shuffled], kind="stable")]
    total = np.concatenate([[0.0], np.cumsum(y[order])])
    place = np.arange(n)
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, n)
    told = np.empty(n)
    told[order] = (total[last] - total[first] - y[order]) / (last - first - 1)
    return told


def read_back(x: ArrayLike, y: ArrayLike) -> float:
    """Share of the variance of y that a smooth curve over x gives, in 0..1; NaN where y is constant."""
    y = np.asarray(y, dtype=np.float64)
    variance = y.var()
    if not variance > 0:
        return float("nan")
    return float(np.clip(1 - ((y - smoothed(x, y)) ** 2).mean() / variance, 0.0, 1.0))


def running_median(x: ArrayLike, y: ArrayLike, *, pieces: int = 30) -> tuple[Floats, Floats]:
    """Median of y in pieces of x of equally many rows, or at each of few values: (centres, medians)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    different = np.unique(x)
    if different.size <= pieces:
        return different, np.array([np.median(y[x == one]) for one in different])
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, min(pieces, max(1, x.size // 20))) if part.size]
    return (
        np.array([np.median(x[part]) for part in parts]),
        np.array([np.median(y[part]) for part in parts]),
    )
