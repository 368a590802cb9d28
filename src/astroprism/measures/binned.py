"""The seed paper's mutual information in equal-width bins, its null, and its scatter plots as numbers.

Sedaghat, Romaniello, Carrick and Pineau (2021, MNRAS 501, 6026), section 6.2. `find` keeps the estimate
beside its own (`bin_sweep`); `paper` repeats the section (`plug_in`, `read_back`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .evidence import Floats
from .match import checked_codes, usable_labels

BINS = (5, 10, 20, 40, 80, 160)  # per side
CLIP_SIGMA = 5.0


# --- beside our own estimates, in findings


def bin_sweep(
    codes: ArrayLike,
    labels: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    targets: ArrayLike | None = None,
    bins: Sequence[int] = BINS,
    null: int = 20,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Columns label, node, bins, nats ..: plug-in nats in equal-width bins, labels clipped at 5 sigma.

    null_mean, null_high: mean and largest of `null` permutations of the label over targets, the part that is
    due to the bins alone. One seeded row per target.
    """
    z, chosen, stars = checked_codes(codes, nodes, targets)
    ready, _ = usable_labels(labels, len(z), stars, seed)
    rng = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {
        name: [] for name in ("label", "node", "bins", "nats", "null_mean", "null_high", "n")
    }
    for label in (one for one in ready if not one.categorical):
        y = label.values[label.rows]
        y = _unit(np.clip(y, y.mean() - CLIP_SIGMA * y.std(), y.mean() + CLIP_SIGMA * y.std()))
        orders = [rng.permutation(y.size) for _ in range(null)]
        for node in chosen:
            x = _unit(z[label.rows, node])
            for count in bins:
                in_x, in_y = _binned(x, count), _binned(y, count)
                chance = [_table_information(in_x, in_y[order], count) for order in orders]
                mean, high = (float(np.mean(chance)), max(chance)) if chance else (float("nan"),) * 2
                row = (label.name, node, count, _table_information(in_x, in_y, count), mean, high, y.size)
                for name, value in zip(found, row, strict=True):
                    found[name].append(value)
    return {name: np.asarray(values) for name, values in found.items()}


def _table_information(x: NDArray[np.intp], y: NDArray[np.intp], bins: int) -> float:
    table = np.bincount(x * bins + y, minlength=bins * bins).reshape(bins, bins).astype(np.float64)
    table /= table.sum()
    expected = table.sum(1)[:, None] * table.sum(0)[None]
    filled = table > 0
    return float((table[filled] * np.log(table[filled] / expected[filled])).sum())


# --- the section itself


def sigma_clipped(values: ArrayLike, *, sigma: float = CLIP_SIGMA) -> NDArray[np.bool_]:
    """Which values of a column (n,) are known and lie within `sigma` standard deviations of the median.

    Repeated until nothing more is cut off, as astropy's `sigma_clip` does, which the authors used.
    """
    values = np.asarray(values, dtype=np.float64)
    kept = np.isfinite(values)
    while kept.any():
        inside = values[kept]
        near = np.zeros_like(kept)
        near[kept] = np.abs(inside - np.median(inside)) <= sigma * inside.std()
        if near.sum() == kept.sum():
            break
        kept = near
    return np.asarray(kept, dtype=bool)


def plug_in(
    codes: ArrayLike,
    label: ArrayLike,
    *,
    bins: Sequence[int] = BINS,
    permutations: int = 20,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Plug-in mutual information of every node with a label in nats, and the same under permutation.

    codes (n, nodes), label (n,), all finite. Returned as (bins, nodes) and (permutations, bins, nodes); in
    each permutation all nodes meet the same shuffled label. Bins are of equal width from the least value to
    the largest.
    """
    codes = np.asarray(codes, dtype=np.float64)
    label = np.asarray(label, dtype=np.float64)
    n, nodes = codes.shape
    rng = np.random.default_rng(seed)
    shuffles = [rng.permutation(n) for _ in range(permutations)]
    counts = np.arange(n + 1, dtype=np.float64)
    log = counts * np.log(np.maximum(counts, 1.0))  # n ln n of every possible count
    found = np.empty((len(bins), nodes))
    null = np.empty((permutations, len(bins), nodes))
    unit_codes = [_unit(one) for one in codes.T]
    unit_label = _unit(label)
    for number, width in enumerate(bins):
        columns = _binned(unit_label, width)
        shuffled = [columns[order] for order in shuffles]
        of_label = log[np.bincount(columns)].sum()
        for node, unit in enumerate(unit_codes):
            rows = _binned(unit, width)
            margins = of_label + log[np.bincount(rows)].sum()
            rows *= width
            for at, other in enumerate([columns, *shuffled]):
                nats = (log[np.bincount(rows + other)].sum() - margins) / n + np.log(n)
                if at == 0:
                    found[number, node] = nats
                else:
                    null[at - 1, number, node] = nats
    return np.maximum(found, 0.0), np.maximum(null, 0.0)


def _unit(values: Floats) -> Floats:
    """Values (n,) on a scale from 0 to 1; all 0 where they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _binned(unit: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((unit * bins).astype(np.intp), bins - 1)


# --- what its scatter plots show


def smoothed(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Floats:
    """Mean y of the sqrt(n) neighbours of each row in x, the row itself left out, (n,)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = x.size
    half = max(3, round(np.sqrt(n) / 2))
    shuffled = np.random.default_rng(seed).permutation(n)  # equal values of x in no order of y
    order = shuffled[np.argsort(x[shuffled], kind="stable")]
    total = np.concatenate([[0.0], np.cumsum(y[order])])
    place = np.arange(n)
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, n)
    mean = np.empty(n)
    mean[order] = (total[last] - total[first] - y[order]) / (last - first - 1)
    return mean


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
