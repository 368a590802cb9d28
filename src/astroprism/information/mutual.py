"""Mutual information of two columns, alone or given others, with interval and p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import neighbours, nulls
from .evidence import EvidenceError, Floats, Rows, column, finite, one_a_target, ranks, same_length
from .spacing import FEWEST, LEVEL

MOST_ROWS = 20_000
# What nearest neighbours overstate at strong dependence, measured on Gaussians, rings and sines
# (measures.md): nats at these numbers of rows, of which a share 1 - exp(-I / BIAS_SCALE) shows.
BIAS_ROWS = np.log([500.0, 2_000.0, 4_000.0, 20_000.0])
BIAS_NATS = np.array([0.022, 0.026, 0.025, 0.011])
BIAS_SCALE = 0.9
# Counting noise that the local terms share with their neighbours, and so do not show: variance times rows.
SHARED_NOISE = 0.12


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information in nats, its 90 % interval over targets, and how it came about.

    nats: nearest neighbours, less `bias`; screen: equal-count bins with Miller and Madow's correction; p: of
    `screen` under independence (NaN where none was asked for); n: rows (targets, where groups were given)
    known in all columns; used: those of them that the nearest-neighbour estimate was made from; left_out:
    of these, rows whose category has no second row; share: of the label's entropy (of its bins' where it is
    continuous).
    """

    nats: float
    low: float
    high: float
    bias: float
    screen: float
    p: float
    share: float
    n: int
    used: int
    left_out: int = 0


def mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    categorical: bool | None = None,
    seed: int = 0,
    k: int = neighbours.NEIGHBOURS,
    rows: int = MOST_ROWS,
    draws: int = 1,
    null: int = 100_000,
) -> MutualInformation:
    """Mutual information of a continuous column x with y, continuous or categorical (text), in nats.

    x, y: (n,), rows that are blank in either are left out. groups: (n,) the target of each row; one seeded
    row a target is used, `draws` times over, and local terms are summed by target. rows: the most that
    nearest neighbours are searched among, a seeded subsample above. null: draws of the null behind p, 0 for
    none.
    """
    x, _ = column(x, "x", categorical=False)
    y, is_category = column(y, "y", categorical=categorical)
    targets = None if groups is None else np.asarray(groups)
    same_length(x=x, y=y, groups=targets)
    known = finite(x, y)
    rng = np.random.default_rng(seed)
    first = one_a_target(known, targets, rng)
    _enough(first.size)

    bins_x = nulls.equal_bins(ranks(x[first], rng))
    if is_category:
        bins_y = np.unique(y[first], return_inverse=True)[1].astype(np.int64)
        entropy = nulls.discrete_entropy(bins_y)
    else:
        bins_y = nulls.equal_bins(ranks(y[first], rng))
        entropy = float(np.log(bins_y.max() + 1))
    screen, _ = nulls.screened_information(bins_x, bins_y)
    p = nulls.chance_p(bins_x, bins_y, draws=null) if null else float("nan")

    kept = _subsample(first, rows, rng)
    repeats = draws if targets is not None else 1
    terms = np.zeros((2, kept.size))
    for draw in range(repeats):
        drawn = kept if draw == 0 else _same_targets(known, kept, targets, rng)
        terms += np.asarray(_terms(x[drawn], y[drawn], is_category, k, rng)) / repeats
    counted = np.isfinite(terms[0])
    alone = int((~counted).sum())
    value, low, high, bias = _interval(terms[0][counted], terms[1][counted], continuous=not is_category)
    told = value if is_category else screen
    share = float(np.clip(told / entropy, 0.0, 1.0)) if entropy > 0 else 0.0
    return MutualInformation(value, low, high, bias, screen, p, share, int(first.size), int(kept.size), alone)


def _terms(
    x: Floats, y: NDArray[Any], is_category: bool, k: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    if not is_category:
        return neighbours.ksg_terms(ranks(x, rng), ranks(y, rng), k=k)
    terms = neighbours.ross_terms(ranks(x, rng), y, k=k)
    return terms, terms


def _same_targets(known: Rows, kept: Rows, targets: Any, rng: np.random.Generator) -> Rows:
    """Another seeded row of each of the targets of `kept`, in their order."""
    again = one_a_target(known[np.isin(targets[known], targets[kept])], targets, rng)
    place = np.argsort(np.argsort(targets[kept], kind="stable"), kind="stable")
    return again[np.argsort(targets[again], kind="stable")][place]


def _subsample(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows if rows.size <= most else np.sort(rng.choice(rows, size=most, replace=False))


def _enough(n: int) -> None:
    if n < FEWEST:
        raise EvidenceError(
            f"{n} rows (targets, where groups were given) are known in all columns; mutual information needs "
            f"{FEWEST} or more: give more labels, or leave this one out"
        )


def measured_bias(nats: float, n: int) -> float:
    """What nearest neighbours overstate by at this many nats and rows; past 20,000 it falls as 1/sqrt(n)."""
    most = np.interp(np.log(n), BIAS_ROWS, BIAS_NATS) * min(1.0, (20_000 / n) ** 0.5)
    return float(most * -np.expm1(-max(nats, 0.0) / BIAS_SCALE))


def _interval(terms: Floats, fewer: Floats, *, continuous: bool) -> tuple[float, float, float, float]:
    """(value, low, high, bias) from local terms, one a target; `fewer`, the same with fewer neighbours.

    Terms near each other share their neighbours: at few rows that smooths them, and their spread is too small
    by the factor below; half of the bias is uncertain from shape to shape. Where fewer neighbours tell more,
    beyond their scatter, a fine shape is being smeared out: the high end goes up by twice that. Ross's
    estimator, for categories, needed none of it.
    """
    n = terms.size
    raw = float(terms.mean())
    bias = measured_bias(raw, n) if continuous else 0.0
    variance = terms.var(ddof=1)
    if continuous:
        variance = variance * (1 + 5 / np.sqrt(n)) + SHARED_NOISE
    error = float(LEVEL * np.sqrt(variance / n + (bias / 2) ** 2))
    finer = fewer - terms
    smeared = max(0.0, float(finer.mean() - finer.std(ddof=1) / np.sqrt(n)))
    return raw - bias, raw - bias - error, raw - bias + error + 2 * smeared, bias


def conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    categorical: bool | None = None,
    seed: int = 0,
    k: int = neighbours.NEIGHBOURS,
    rows: int = MOST_ROWS,
) -> MutualInformation:
    """I(x; y | z) in nats: what x tells of y beyond what z tells; z (n,) or (n, d) numeric.

    Taking any function of z from x, or from y, changes nothing in it. So what z predicts, by hinges and
    products of its columns, is taken from both first; little then hangs on z, which the estimator smooths
    over. Several columns of z are then represented by what they predict of y: exact where the rest of x and y
    hangs on them through that alone, or not at all.
    """
    x, _ = column(x, "x", categorical=False)
    y, _ = column(y, "y", categorical=categorical)
    z = np.asarray(z, dtype=np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if z.ndim != 2 or z.shape[1] == 0:
        raise EvidenceError(f"z must be (n,) or (n, d) with a column or more, not {z.shape}")
    targets = None if groups is None else np.asarray(groups)
    same_length(x=x, y=y, z=z, groups=targets)
    rng = np.random.default_rng(seed)
    first = one_a_target(finite(x, y, z), targets, rng)
    _enough(first.size)
    kept = _subsample(first, rows, rng)

    def scored(values: NDArray[Any]) -> Floats:
        return neighbours.lattice(kept.size)[ranks(values, rng)]

    given = np.column_stack([scored(one) for one in z[kept].T])
    of_x, of_y = scored(x[kept]), scored(y[kept])
    told_x, told_y = _predicted(of_x, given), _predicted(of_y, given)
    rest_x, rest_y = scored(of_x - told_x), scored(of_y - told_y)
    if given.shape[1] > 1:
        given = scored(told_y)[:, None]
    terms = neighbours.conditional_terms(rest_x, rest_y, given, k=k)
    value, low, high, bias = _interval(terms, terms, continuous=True)
    screen, _ = nulls.screened_information(
        nulls.equal_bins(ranks(rest_x, rng)), nulls.equal_bins(ranks(rest_y, rng))
    )
    return MutualInformation(
        value, low, high, bias, screen, float("nan"), float("nan"), int(first.size), int(kept.size)
    )


def _predicted(values: Floats, given: Floats) -> Floats:
    """Ridge on hinges and products of the columns of `given`, predicted for the half not fitted."""
    knots = neighbours.lattice(16)
    hinges = np.maximum(given[:, :, None] - knots, 0.0).reshape(len(given), -1)
    first, second = np.triu_indices(given.shape[1], 1)
    terms = np.column_stack([np.ones(len(given)), given, hinges, given[:, first] * given[:, second]])
    terms[:, 1:] /= np.maximum(terms[:, 1:].std(axis=0), 1e-12)
    half = np.arange(len(values)) % 2
    told = np.empty_like(values)
    for one in (0, 1):
        fitted, left = terms[half != one], half == one
        gram = fitted.T @ fitted + 1e-4 * len(fitted) * np.diag([0.0, *np.ones(terms.shape[1] - 1)])
        told[left] = terms[left] @ np.linalg.solve(gram, fitted.T @ values[half != one])
    return told
