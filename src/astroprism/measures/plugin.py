"""The paper's own measure, mutual information on equal-width bins, and what chance alone puts into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = (5, 10, 20, 40, 80, 160)  # a side, section 6.2
CLIP_SIGMA = 5.0


def sigma_clipped(values: ArrayLike, *, sigma: float = CLIP_SIGMA) -> NDArray[np.bool_]:
    """Which values of a column (n,) are known and lie within `sigma` standard deviations of the median.

    Over and over until nothing more is cut off, as astropy's `sigma_clip` does, which the authors used.
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
                told = (log[np.bincount(rows + other)].sum() - margins) / n + np.log(n)
                if at == 0:
                    found[number, node] = told
                else:
                    null[at - 1, number, node] = told
    return np.maximum(found, 0.0), np.maximum(null, 0.0)


def _unit(values: Floats) -> Floats:
    """Values (n,) on a scale from 0 to 1; all 0 where they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _binned(unit: Floats, bins: int) -> NDArray[np.intp]:
    return np.minimum((unit * bins).astype(np.intp), bins - 1)
