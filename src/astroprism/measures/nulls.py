"""Equal-count bins, what chance alone puts into them, and p-values under control over a family."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .evidence import Floats, Rows

MOST_BINS = 20
FIRST_DRAWS = 2_000  # enough to tell that a pair is not worth the full null
CHUNK_CELLS = 4_000_000  # cells of null tables in memory at once: 32 MB


def equal_bins(rank: Rows) -> NDArray[np.int64]:
    """Equal-count bins of ranks 0..n-1: as many as sqrt(n / 5), 2 to 20."""
    n = len(rank)
    bins = int(np.clip(np.sqrt(n / 5), 2, MOST_BINS))
    return np.asarray(rank, dtype=np.int64) * bins // n


def screened_information(x: NDArray[np.int64], y: NDArray[np.int64]) -> tuple[float, float]:
    """Of two binned columns: (plug-in less Miller and Madow's bias, plain plug-in), nats."""
    table = contingency(x, y)
    n = int(table.sum())
    plain = float(_plug_in(table[None])[0])
    occupied = (table > 0).sum() - (table.sum(1) > 0).sum() - (table.sum(0) > 0).sum() + 1
    return plain - float(occupied) / (2 * n), plain


def class_terms(x: NDArray[np.int64], y: NDArray[np.int64]) -> Floats:
    """Local terms (n,) of the information of two columns of classes, less Miller and Madow's bias."""
    table = contingency(x, y)
    n = len(x)
    screened, plain = screened_information(x, y)
    inside = np.log(table[x, y] * n / (table.sum(1)[x] * table.sum(0)[y]))
    return np.asarray(inside + (screened - plain))


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
    """How often a permutation of independent rows tells as much: p of two binned columns, never 0.

    A first short null settles pairs that are nowhere near significance.
    """
    table = contingency(x, y)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return 1.0
    margins = tuple(table.sum(1).tolist()), tuple(table.sum(0).tolist())
    plain = _plug_in(table[None])[0] * (1 - 1e-12)
    p = 1.0
    for size in sorted({min(FIRST_DRAWS, draws), draws}):
        null = chance_information(*margins, size, seed)
        p = (size - int(np.searchsorted(null, plain)) + 1) / (size + 1)
        if p > 0.1:
            break
    return float(p)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """q of each p: the false-discovery rate at which it passes, any shape; NaN stays out of the family."""
    p = np.asarray(p, dtype=np.float64)
    q: NDArray[Any] = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p.ravel()))
    order = known[np.argsort(p.ravel()[known])]
    scaled = p.ravel()[order] * known.size / np.arange(1, known.size + 1)
    q.ravel()[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
