"""Mutual information of two columns, with interval and p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import neighbours, nulls
from .evidence import (
    EvidenceError,
    Floats,
    Rows,
    checked_targets,
    classes_if_few,
    column,
    finite,
    one_per_target,
    ranks,
    same_length,
    varied,
)
from .spacing import FEWEST, LEVEL

MOST_ROWS = 20_000
# What nearest neighbours overstate at strong dependence, measured on Gaussians, rings and sines
# (measures.md): nats at these numbers of rows, of which a share 1 - exp(-I / BIAS_SCALE) shows.
BIAS_ROWS = np.log([500.0, 2_000.0, 4_000.0, 20_000.0])
BIAS_NATS = np.array([0.022, 0.026, 0.025, 0.011])
BIAS_SCALE = 0.9
UNSURE = np.array([0.5, 0.5, 0.5, 0.75])  # share by which shapes differ in their bias, at these rows
SMEAR_UNSURE = 0.5
# What five neighbours miss over what three find more than they: at an edge of a density both miss in
# proportion to the root of their number.
LOST = 4.4
# Counting noise shared by neighbouring local terms, which their scatter therefore misses: variance * rows.
SHARED_NOISE = 0.12


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information in nats, its 90 % interval over targets, and how it came about.

    nats      by nearest neighbours, less `bias` (negative where they underestimate)
    screen    by equal-count bins with Miller and Madow's correction
    p         of `screen` under independence; NaN where none was requested
    share     of y's entropy (of the entropy of its bins where it is continuous)
    n         rows (targets, where given) known in all columns; used: those that the estimate was made from
    left_out  of these, rows whose category has no second row
    missing   rows that are blank in some column, and so took no part
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
    missing: int = 0

    def text(self) -> str:
        """A short text for people."""
        text = f"{self.nats:.3f} nats ({self.low:.3f} to {self.high:.3f})"
        text += f", p {self.p:.2g}" if np.isfinite(self.p) else ""
        text += f", {self.n:,} rows"
        text += f" ({self.used:,} of them searched)" if self.used < self.n else ""
        text += f"; {self.missing:,} rows with a blank left out" if self.missing else ""
        return text


def mutual_information(
    x: Any,
    y: Any,
    *,
    targets: Any = None,
    categorical: bool | None = None,
    seed: int = 0,
    k: int = neighbours.NEIGHBOURS,
    rows: int = MOST_ROWS,
    draws: int = 1,
    null: int = 100_000,
) -> MutualInformation:
    """Mutual information of two columns in nats, each continuous or categorical (text).

    x, y         (n,) of numpy, pandas, pyarrow or astropy; rows that are blank in either are left out and
                 counted. Blank is None, NaN or masked: a number that stands for it in some tables, such as
                 -9999, is a number here
    targets      (n,) the target of each row; one seeded row per target is used, `draws` times over, and local
                 terms are averaged per target
    categorical  whether numbers of y name classes; by default they do where at most 12 values occur, as of a
                 flag; text always does
    rows         the most that nearest neighbours are searched among; of more, a seeded subsample
    null         draws of the null behind p, 0 for none
    """
    x, x_is = column(x, "x", categorical=None)
    y, y_is = column(y, "y", categorical=categorical)
    if not x_is:
        x, x_is = classes_if_few(x)
    if not y_is and categorical is None:
        y, y_is = classes_if_few(y)
    targets = checked_targets(targets)
    total = same_length(x=x, y=y, targets=targets)
    known = finite(x, y)
    rng = np.random.default_rng(seed)
    first = one_per_target(known, targets, rng)
    enough_rows(first.size, total - known.size)
    for one, is_category, name in ((x, x_is, "x"), (y, y_is, "y")):
        varied(one[first], name)
        if is_category and np.bincount(one[first]).max() < 2:
            raise EvidenceError(
                f"{name} is of classes, and differs in each of {first.size} rows (names, dates, or numbers "
                "that are no classes); give numbers, or classes that several rows share"
            )

    bins_x, _ = _binned(x[first], x_is, rng)
    bins_y, entropy = _binned(y[first], y_is, rng)
    screen, _ = nulls.screened_information(bins_x, bins_y)
    p = nulls.chance_p(bins_x, bins_y, draws=null) if null else float("nan")

    kept = subsample(first, rows, rng)
    repeats = draws if targets is not None else 1
    terms = np.zeros((2, kept.size))
    for draw in range(repeats):
        drawn = kept if draw == 0 else _same_targets(known, kept, targets, rng)
        terms += np.asarray(_terms(x[drawn], y[drawn], x_is, y_is, k=k, rng=rng)) / repeats
    counted = np.isfinite(terms[0])
    alone = int((~counted).sum())
    continuous = not (x_is or y_is)
    shared = not (x_is and y_is)
    value, low, high, bias = interval(
        terms[0][counted], terms[1][counted], continuous=continuous, shared=shared, edges=True
    )
    share = float(np.clip((value if y_is else screen) / entropy, 0.0, 1.0)) if entropy > 0 else 0.0
    return MutualInformation(
        nats=value,
        low=low,
        high=high,
        bias=bias,
        screen=screen,
        p=p,
        share=share,
        n=int(first.size),
        used=int(kept.size),
        left_out=alone,
        missing=total - int(known.size),
    )


def _binned(
    values: NDArray[Any], is_category: bool, rng: np.random.Generator
) -> tuple[NDArray[np.int64], float]:
    """A column's bins, or its classes, and their entropy."""
    if is_category:
        bins = np.unique(values, return_inverse=True)[1].astype(np.int64)
        return bins, nulls.discrete_entropy(bins)
    bins = nulls.equal_bins(ranks(values, rng))
    return bins, float(np.log(bins.max() + 1))


def _terms(
    x: NDArray[Any], y: NDArray[Any], x_is: bool, y_is: bool, *, k: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    if not (x_is or y_is):
        return neighbours.ksg_terms(ranks(x, rng), ranks(y, rng), k=k)
    if x_is and y_is:
        terms = nulls.class_terms(_binned(x, True, rng)[0], _binned(y, True, rng)[0])
    else:
        terms = neighbours.ross_terms(ranks(y if x_is else x, rng), x if x_is else y, k=k)
    return terms, terms


def _same_targets(known: Rows, kept: Rows, targets: Any, rng: np.random.Generator) -> Rows:
    """Another seeded row of each of the targets of `kept`, in their order."""
    again = one_per_target(known[np.isin(targets[known], targets[kept])], targets, rng)
    place = np.argsort(np.argsort(targets[kept], kind="stable"), kind="stable")
    return again[np.argsort(targets[again], kind="stable")][place]


def subsample(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    """The rows, or `most` of them drawn by `rng`."""
    return rows if rows.size <= most else np.sort(rng.choice(rows, size=most, replace=False))


def enough_rows(n: int, missing: int) -> None:
    """Refuse what no interval can be given of."""
    if n < FEWEST:
        raise EvidenceError(
            f"{n} rows (or targets, where given) are known in all columns, {missing} rows have a "
            f"blank; mutual information needs {FEWEST} or more: give more labels, or leave this one out"
        )


def measured_bias(nats: float, n: int) -> float:
    """What nearest neighbours overstate by at this many nats and rows; past 20,000 it falls as 1/sqrt(n)."""
    most = np.interp(np.log(n), BIAS_ROWS, BIAS_NATS) * min(1.0, (20_000 / n) ** 0.5)
    return float(most * -np.expm1(-max(nats, 0.0) / BIAS_SCALE))


def interval(
    terms: Floats,
    fewer: Floats,
    *,
    continuous: bool,
    shared: bool = True,
    smear: float = 0.0,
    edges: bool = False,
) -> tuple[float, float, float, float]:
    """(value, low, high, bias) from local terms, one per target; `fewer`, the same with fewer neighbours.

    Terms near each other share their neighbours: at few rows that smooths them, and their spread is too small
    by the factor below; the bias differs from shape to shape. Where fewer neighbours give more by a standard
    error, a fine shape is being smeared out: the high end goes up by LOST times that. Ross's estimator, of a
    column and classes, needed the factor alone; two columns of classes share nothing. With `edges` the value
    is then that of fewer neighbours, up to three errors: a density with edges, as of noise between two
    bounds, is not overstated but understated. Beyond three, the rows are too few for the shape.
    """
    n = terms.size
    raw = float(terms.mean())
    over = measured_bias(raw, n) if continuous else 0.0
    variance = terms.var(ddof=1)
    if shared:
        variance = variance * (1 + 5 / np.sqrt(n)) + (SHARED_NOISE if continuous else 0.0)
    unsure = np.hypot(np.interp(np.log(n), BIAS_ROWS, UNSURE) * over, SMEAR_UNSURE * smear)
    error = float(LEVEL * np.sqrt(variance / n + unsure**2))
    finer = fewer - terms
    lost = float(finer.mean())
    scatter = float(finer.std(ddof=1) / np.sqrt(n))
    lost = lost if lost > scatter else 0.0
    bias = over - smear
    low, high = raw - bias - error, raw - bias + error + LOST * lost
    if edges and 0 < lost < 3 * scatter and raw > LEVEL * error:
        bias = -lost
    return raw - bias, low, high, bias
