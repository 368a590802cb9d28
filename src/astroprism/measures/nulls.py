"""Mutual information in equal-count bins, what chance alone puts into them, and the p-values that follow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .evidence import Floats, Rows

MOST_BINS = 20
FIRST_DRAWS = 2_000  # enough to see that a pair does not need the full null
SECOND_DRAWS = 20_000  # and enough to tell .01 within a tenth of it
ENOUGH = {True: 0.1, False: 0.01}  # p from which the first null is enough, and the second
CHUNK_CELLS = 4_000_000  # cells of null tables in memory at once: 32 MB


def equal_bins(rank: Rows) -> NDArray[np.int64]:
    """Equal-count bins of ranks 0..n-1: as many as sqrt(n / 5), 2 to 20."""
    n = len(rank)
    bins = int(np.clip(np.sqrt(n / 5), 2, MOST_BINS))
    return np.asarray(rank, dtype=np.int64) * bins // n


def screened_information(x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[float, float]:
    """Of two binned columns: (plug-in less Miller and Madow's bias, plug-in), nats."""
    table = contingency(x, y)
    n = int(table.sum())
    raw = float(_plug_in(table[None])[0])
    occupied = (table > 0).sum() - (table.sum(1) > 0).sum() - (table.sum(0) > 0).sum() + 1
    return raw - float(occupied) / (2 * n), raw


def class_terms(x: NDArray[np.int64], y: NDArray[np.int64]) -> Floats:
    """Local terms (n,) of the information of two columns of classes, less Miller and Madow's bias."""
    table = contingency(x, y)
    n = len(x)
    screened, raw = screened_information(x, y)
    inside = np.log(table[x, y] * n / (table.sum(1)[x] * table.sum(0)[y]))
    return np.asarray(inside + (screened - raw))


def contingency(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (bins of x, bins of y)."""
    rows, columns = int(x.max()) + 1, int(y.max()) + 1
    return np.bincount(x * columns + y, minlength=rows * columns).reshape(rows, columns)


def discrete_entropy(codes: NDArray[np.int64]) -> float:
    """Entropy of a categorical column in nats, with Miller and Madow's correction."""
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum() + (counts.size - 1) / (2 * counts.sum()))


def _plug_in(tables: NDArray[np.int64]) -> Floats:
    """Plug-in mutual information of tables (draws, rows, columns) that share their margins."""
    n = int(tables[0].sum())
    counts = np.arange(n + 1, dtype=np.float64)
    log = counts * np.log(np.maximum(counts, 1.0))
    margins = log[tables[0].sum(1)].sum() + log[tables[0].sum(0)].sum()
    inside = log[tables.reshape(len(tables), -1)].sum(axis=1)
    return np.asarray((inside - margins) / n + np.log(n))


@lru_cache(maxsize=64)
def chance_information(rows: tuple[int, ...], columns: tuple[int, ...], draws: int, seed: int) -> Floats:
    """Plug-in information of `draws` random tables with these margins, rising: the null of every such pair.

    With margins fixed, all permutations of one column against the other are equally likely, and Patefield's
    algorithm draws the table of one without permuting; so every pair with equal margins shares the null.
    """
    from scipy.stats import random_table

    rng = np.random.default_rng([seed, draws])
    model = random_table(np.asarray(rows), np.asarray(columns))
    chunk = max(1, CHUNK_CELLS // (len(rows) * len(columns)))
    drawn = [
        _plug_in(model.rvs(min(chunk, draws - start), method="patefield", random_state=rng).astype(np.int64))
        for start in range(0, draws, chunk)
    ]
    null = np.sort(np.concatenate(drawn))
    null.flags.writeable = False
    return null


def chance_p(x: NDArray[np.int64], y: NDArray[np.int64], *, draws: int, seed: int = 0) -> float:
    """p of two binned columns: how often a random permutation reaches as much information; never 0.

    Shorter nulls first settle pairs that are nowhere near significance.
    """
    table = contingency(x, y)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return 1.0
    margins = tuple(table.sum(1).tolist()), tuple(table.sum(0).tolist())
    reached = _plug_in(table[None])[0] * (1 - 1e-12)
    p = 1.0
    for size in sorted({min(FIRST_DRAWS, draws), min(SECOND_DRAWS, draws), draws}):
        null = chance_information(*margins, size, seed)
        p = (size - int(np.searchsorted(null, reached)) + 1) / (size + 1)
        if p > ENOUGH[size <= FIRST_DRAWS]:
            break
    return float(p)
