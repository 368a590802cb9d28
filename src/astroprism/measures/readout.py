"""Shares of variance that labels predict of codes and codes of labels, on targets set aside.

Plain arrays; a row per spectrum. Folds are of targets: a star is never on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .evidence import EvidenceError, Floats, Rows, column, column_values, finite, one_per_target
from .spacing import LEVEL

FOLDS = 5
MOST_ROWS, MOST_IN_FOREST = 20_000, 5_000
FEWEST = 25  # rows: five per fold; as many as every measure needs
MOST_QUADRATIC = 25  # labels from which on their squares and products would be too many
NEIGHBOURS = 10
UNEXPLAINED = 0.5  # share of a node's variance that all labels together must predict
LOOSE = 0.8  # share below which a node may still vary where the labels are constant
SURE = 0.01  # p, over all other nodes, from which the residuals of two nodes are taken to be related


@dataclass(frozen=True)
class VarianceShare:
    """Share of variance predicted on targets set aside (R2; below 0: worse than the mean), 90 % interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ReadOut:
    """A label read from the codes: R2 by a line and by neighbours, or, of classes, the share named rightly.

    guessed: the share that naming the commonest class would get right; NaN for numbers.
    """

    linear: VarianceShare
    nearest: VarianceShare
    categorical: bool
    guessed: float
    n: int


def predicted_by_labels(
    codes: ArrayLike,
    labels: Mapping[str, ArrayLike],
    *,
    targets: ArrayLike | None = None,
    nodes: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[int, VarianceShare]:
    """Share of each node's variance that all labels together predict, by a parabola and trees.

    codes: (n, nodes), the means. Every row counts that has any label at all: blanks are columns of their own.
    Without labels every share is 0; with fewer than 25 targets it is unknown (0, and an interval up to 1).
    """
    z = np.asarray(codes, dtype=np.float64)
    chosen = list(range(z.shape[1])) if nodes is None else [int(node) for node in nodes]
    if not labels:
        return {node: VarianceShare(0.0, 0.0, 0.0, 0) for node in chosen}
    x, rows = _columns(labels, targets, seed)
    if rows.size < FEWEST:
        return {node: VarianceShare(0.0, 0.0, 1.0, int(rows.size)) for node in chosen}  # unknown
    return {
        node: share_of_variance(z[rows, node], predicted(x[rows], z[rows, node], seed=seed))
        for node in chosen
    }


def moves_at_labels(
    codes: ArrayLike, labels: Mapping[str, ArrayLike], *, nodes: Sequence[int], seed: int = 0
) -> dict[int, Floats]:
    """How all codes move with a node at constant labels: node -> (nodes of the code,), 1 at itself.

    The axes of a network need not be those of the labels: one node for the metals and one for their ratio to
    the alpha elements, say, where only the metals have a label. What such a node does at constant other nodes
    is not what it does at constant labels, and only the latter is what labels leave unexplained. So what
    labels predict is subtracted, and the residual of each node is regressed on the residual of this one;
    slopes that chance may give are 0. Only nodes of which labels predict less than `LOOSE` are given.
    """
    z = np.asarray(codes, dtype=np.float64)
    chosen = [int(node) for node in nodes]
    if not labels or len(chosen) < 2:
        return {}
    from scipy.stats import pearsonr

    x, rows = _columns(labels, None, seed)
    if rows.size < FEWEST:
        return {}
    codes = z[rows][:, chosen]
    width = np.maximum(codes.std(0), 1e-12)
    rest = (codes - predicted(x[rows], codes / width, seed=seed) * width) / width
    moves = {}
    for place, node in enumerate(chosen):
        mine = rest[:, place] - rest[:, place].mean()
        if float(mine.var()) < 1 - LOOSE:
            continue
        direction = np.zeros(z.shape[1])
        for other, name in enumerate(chosen):
            related = pearsonr(mine, rest[:, other])
            if other != place and related.pvalue * (len(chosen) - 1) < SURE:
                slope = float(mine @ rest[:, other] / (mine @ mine))
                direction[name] = slope * width[other] / width[place]
        direction[node] = 1.0
        moves[node] = direction
    return moves


def _columns(labels: Mapping[str, ArrayLike], targets: ArrayLike | None, seed: int) -> tuple[Floats, Rows]:
    """All labels as columns for trees, with flags of the blanks, and the rows that have any of them."""
    columns = []
    for name, given in labels.items():
        values, categorical = column(column_values(given), str(name), categorical=None)
        if categorical:
            values = _common(values)
            values = np.where(values < 0, np.nan, values)
        columns.append(np.where(np.isfinite(values), values, np.nan))
    x = np.column_stack(columns).astype(np.float64)
    known = np.isfinite(x)
    rows = _rows(np.flatnonzero(known.any(axis=1)), targets, seed, most=MOST_IN_FOREST)
    return np.column_stack([_filled(x), known[:, ~known.all(axis=0)]]), rows


def read_out(
    codes: ArrayLike,
    label: ArrayLike,
    *,
    targets: ArrayLike | None = None,
    categorical: bool | None = None,
    seed: int = 0,
) -> ReadOut | None:
    """A label from the codes (n, nodes) of the nodes given, by ridge and by neighbours; None: too few rows.

    Neighbours read what curved nodes hold and a line misses.
    """
    z = np.asarray(codes, dtype=np.float64)
    y, is_category = column(column_values(label), "label", categorical=categorical)
    if len(y) != len(z):
        raise EvidenceError(f"the label has {len(y)} rows, the codes {len(z)}")
    rows = _rows(finite(y, z), targets, seed)
    if rows.size < FEWEST or z.shape[1] == 0 or (y[rows] == y[rows[0]]).all():
        return None
    x = (z[rows] - z[rows].mean(0)) / np.maximum(z[rows].std(0), 1e-12)
    if is_category:
        return _class_read_out(x, _common(y[rows]), seed)
    truth = y[rows].astype(np.float64)
    linear, nearest = np.empty(rows.size), np.empty(rows.size)
    for fitted, rest in _folds(rows.size, seed):
        linear[rest] = _ridge(x[fitted], truth[fitted], x[rest])
        nearest[rest] = _nearest(x[fitted], truth[fitted], x[rest])
    return ReadOut(
        share_of_variance(truth, linear), share_of_variance(truth, nearest), False, float("nan"), rows.size
    )


def share_of_variance(truth: Floats, predicted: Floats) -> VarianceShare:
    """1 - sum of squared errors / sum of squares about the mean; interval as of a ratio of two means."""
    wrong, whole = (truth - predicted) ** 2, (truth - truth.mean()) ** 2
    if not whole.mean() > 0:
        return VarianceShare(0.0, 0.0, 0.0, truth.size)
    ratio = float(wrong.mean() / whole.mean())
    error = float(LEVEL * (wrong - ratio * whole).std(ddof=1) / np.sqrt(truth.size) / whole.mean())
    return VarianceShare(1 - ratio, 1 - ratio - error, min(1.0, 1 - ratio + error), truth.size)


def _class_read_out(x: Floats, y: NDArray[np.int64], seed: int) -> ReadOut:
    from sklearn.neighbors import KNeighborsClassifier

    wanted = np.eye(int(y.max()) + 1)[y]
    right = np.empty((2, y.size))
    for fitted, rest in _folds(y.size, seed):
        line = _ridge(x[fitted], wanted[fitted], x[rest])
        near = KNeighborsClassifier(min(NEIGHBOURS, fitted.size)).fit(x[fitted], y[fitted])
        right[0, rest] = line.argmax(1) == y[rest]
        right[1, rest] = near.predict(x[rest]) == y[rest]
    shares = []
    for one in right:
        error = LEVEL * one.std(ddof=1) / np.sqrt(y.size)
        value = float(one.mean())
        shares.append(VarianceShare(value, value - float(error), value + float(error), y.size))
    return ReadOut(shares[0], shares[1], True, float(np.bincount(y).max() / y.size), y.size)


def _filled(x: Floats) -> Floats:
    """Blanks at the column's median: a column beside it says which they were."""
    middle = np.array([np.median(one[np.isfinite(one)]) if np.isfinite(one).any() else 0.0 for one in x.T])
    return np.where(np.isfinite(x), x, middle)


def _rows(known: Rows, targets: ArrayLike | None, seed: int, *, most: int = MOST_ROWS) -> Rows:
    """One row per target, and no more than trees and neighbours can take."""
    rng = np.random.default_rng(seed)
    rows = one_per_target(known, None if targets is None else np.asarray(targets), rng)
    return rows if rows.size <= most else np.sort(rng.choice(rows, size=most, replace=False))


def _folds(n: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """(rows to fit, rows set aside); rows are of different targets already."""
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    for one in range(FOLDS):
        yield np.flatnonzero(fold != one), np.flatnonzero(fold == one)


def _common(classes: NDArray[Any], most: int = 30) -> NDArray[np.int64]:
    """Classes numbered by how common they are; rare ones share the last number; blank stays -1."""
    known = classes[classes >= 0]
    number = np.bincount(known) if known.size else np.zeros(1, np.intp)
    place = np.minimum(np.argsort(np.argsort(-number, kind="stable"), kind="stable"), most)
    return np.asarray(np.where(classes >= 0, place[np.maximum(classes, 0)], -1), dtype=np.int64)


def predicted(x: Floats, y: Floats, *, seed: int) -> Floats:
    """y (rows,) or (rows, columns) from columns x, each fold by the others: a parabola, then trees.

    Trees alone follow any curve, but in steps: their residual of a steep code still depends on the label. A
    parabola removes that; labels are clipped, so that outliers do not steer it.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    middle, spread = _middle_and_spread(y)
    held = np.clip(y, middle - 6 * spread, middle + 6 * spread)  # a few outliers would own the fit
    predicted = np.empty_like(held)
    centre, width = _middle_and_spread(x)
    inside = np.clip((x - centre) / width, -4, 4)
    degree = 2 if x.shape[1] <= MOST_QUADRATIC else 1
    for fitted, rest in _folds(len(y), seed):
        curve = make_pipeline(
            PolynomialFeatures(degree, include_bias=False), StandardScaler(), RidgeCV(np.logspace(-4, 4, 17))
        )
        curve.fit(inside[fitted], held[fitted])
        trees = ExtraTreesRegressor(60, min_samples_leaf=3, random_state=seed)
        trees.fit(x[fitted], held[fitted] - curve.predict(inside[fitted]))
        predicted[rest] = curve.predict(inside[rest]) + trees.predict(x[rest])
    return predicted


def _middle_and_spread(columns: Floats) -> tuple[Floats, Floats]:
    """Median and robust spread along the rows; the plain one where most rows are equal, 1 where all are."""
    middle = np.median(columns, axis=0)
    spread = np.median(np.abs(columns - middle), axis=0) * 1.4826
    spread = np.where(spread > 0, spread, columns.std(axis=0))
    return middle, np.where(spread > 0, spread, 1.0)


def _ridge(x: Floats, y: Floats, at: Floats) -> Floats:
    terms = np.column_stack([x, np.ones(len(x))])
    gram = terms.T @ terms + 1e-3 * np.diag([*np.ones(x.shape[1]), 0.0])
    return np.asarray(np.column_stack([at, np.ones(len(at))]) @ np.linalg.solve(gram, terms.T @ y))


def _nearest(x: Floats, y: Floats, at: Floats) -> Floats:
    from sklearn.neighbors import KNeighborsRegressor

    near = KNeighborsRegressor(min(NEIGHBOURS, len(x)), weights="distance").fit(x, y)
    return np.asarray(near.predict(at))
