"""The seed paper's mutual information by equal-width bins, and what bins make up where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .evidence import Floats
from .match import evidence_of, usable_labels

PAPER_BINS = (5, 10, 20, 40, 80, 160)  # Sedaghat et al. (2021), section 6.2


def bin_sweep(
    codes: ArrayLike,
    labels: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    bins: Sequence[int] = PAPER_BINS,
    null: int = 20,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """The seed paper's section 6.2 as columns: plug-in nats of equal-width bins, clipped at 5 sigma.

    null_mean, null_high: mean and greatest of `null` permutations of the label over targets, which tell what
    the bins alone make up. One seeded row a target.
    """
    z, chosen, targets = evidence_of(codes, nodes, groups)
    ready, _ = usable_labels(labels, len(z), targets, seed)
    rng = np.random.default_rng(seed)
    found: dict[str, list[Any]] = {
        name: [] for name in ("label", "node", "bins", "nats", "null_mean", "null_high", "n")
    }
    for label in (one for one in ready if not one.categorical):
        y = _clipped(label.values[label.rows])
        orders = [rng.permutation(y.size) for _ in range(null)]
        for node in chosen:
            x = z[label.rows, node]
            for count in bins:
                in_x, in_y = _equal_width(x, count), _equal_width(y, count)
                chance = [_plug_in(in_x, in_y[order], count) for order in orders]
                mean, high = (float(np.mean(chance)), max(chance)) if chance else (float("nan"),) * 2
                row = (label.name, node, count, _plug_in(in_x, in_y, count), mean, high, y.size)
                for name, value in zip(found, row, strict=True):
                    found[name].append(value)
    return {name: np.asarray(values) for name, values in found.items()}


def _clipped(values: Floats) -> Floats:
    middle, spread = values.mean(), values.std()
    return np.clip(values, middle - 5 * spread, middle + 5 * spread)


def _equal_width(values: Floats, bins: int) -> NDArray[np.intp]:
    low, high = values.min(), values.max()
    width = (high - low) or 1.0
    return np.asarray(np.minimum((values - low) / width * bins, bins - 1).astype(np.intp))


def _plug_in(x: NDArray[np.intp], y: NDArray[np.intp], bins: int) -> float:
    table = np.bincount(x * bins + y, minlength=bins * bins).reshape(bins, bins).astype(np.float64)
    table /= table.sum()
    expected = table.sum(1)[:, None] * table.sum(0)[None]
    filled = table > 0
    return float((table[filled] * np.log(table[filled] / expected[filled])).sum())
