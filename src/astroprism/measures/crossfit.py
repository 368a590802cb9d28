"""Codes of spectra as networks that were not trained on them give them, on the axes of one main network.

Where too few targets can be spared from training, K networks are each trained without a fold of them. Their
axes are not those of the main network: a linear map, learned on spectra that both were trained on, brings a
fold's codes there. Plain arrays: n spectra, m nodes. docs/design/findings.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .evidence import EvidenceError, Floats, codes_and_errors
from .readout import VarianceShare, share_of_variance

RETURNS = 0.5  # share of variance from which a node is said to return: half, as for all shares here
LIVE = 0.2  # variance of a node's codes over that of their noise, from which a map reads it
RIDGE = 0.01  # of the rows, on columns of unit variance: slopes of a map are shrunk by a hundredth
HUBER = 2.0  # robust spreads from which a residual of the map counts less
ROUNDS = 6
NULL_DRAWS = 200


@dataclass(frozen=True)
class AxisMap:
    """From one network's codes (.., m) to another's (.., n): codes @ matrix + offset."""

    matrix: Floats
    offset: Floats

    def mean(self, codes: Floats) -> Floats:
        """Mean codes on the other axes."""
        return np.asarray(codes @ self.matrix + self.offset)

    def sd(self, sd: Floats) -> Floats:
        """Their standard deviations, of nodes whose noise is independent."""
        return np.asarray(np.sqrt(sd**2 @ self.matrix**2))


@dataclass(frozen=True)
class CrossFitted:
    """Out-of-fold codes (n, nodes) on the main network's axes, and which nodes return in them.

    mean, sd  NaN where a spectrum is in no fold. sd is the larger of the fold's own, mapped, and the main
              network's, and in quadrature how far the two typically differ on spectra held out
    returned  node -> R2 of the main network's codes by those out of fold, with its 90 % interval over units
    null      (nodes,) what 95 % of shuffles of the units stay below
    """

    mean: Floats
    sd: Floats
    returned: tuple[VarianceShare, ...]
    null: Floats

    @property
    def identified(self) -> NDArray[np.bool_]:
        """Nodes of which half of the variance is found out of fold, and more than by chance, (nodes,)."""
        value = np.array([share.value for share in self.returned])
        return np.asarray((value >= RETURNS) & (value > self.null))

    def node(self, index: int) -> dict[str, Any]:
        """Keys of a node in findings.json that follow from the folds."""
        share = self.returned[index]
        return {
            "returned": share.value,
            "returned_interval": [share.low, share.high],
            "returned_null": float(self.null[index]),
            "identified": bool(self.identified[index]),
        }


def cross_fit(
    mean: ArrayLike,
    sd: ArrayLike,
    *,
    folds: Sequence[tuple[ArrayLike, ArrayLike]],
    fold_of: NDArray[np.integer],
    common: Sequence[NDArray[np.bool_]],
    units: NDArray[np.object_],
    moving: Sequence[int] = (),
    seed: int = 0,
) -> CrossFitted:
    """Each fold's held-out spectra, mapped onto the axes of the main network.

    mean, sd  (n, nodes) codes of the main network
    folds     for each fold the codes (n, m) of all spectra by the network trained without it
    fold_of   (n,) the fold of each spectrum; -1 for none
    common    for each fold (n,) which spectra both networks were trained on
    units     (n,) what is one piece of evidence
    moving    nodes of both networks that shift, each of which is mapped onto itself alone
    """
    mean, sd = codes_and_errors(mean, sd)
    mapped, error = np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    weight = _weights(units)
    for fold, (other_mean, other_sd) in enumerate(folds):
        other_mean, other_sd = codes_and_errors(other_mean, other_sd)
        if len(other_mean) != len(mean):
            raise EvidenceError(f"fold {fold} codes {len(other_mean)} spectra, the model {len(mean)}")
        rows, out = common[fold], fold_of == fold
        if rows.sum() < 2 or (rows & out).any():
            raise EvidenceError(f"fold {fold} has {rows.sum()} training spectra beside its own; give some")
        onto = axis_map(
            other_mean[rows],
            other_sd[rows],
            mean[rows],
            weight=weight[rows],
            moving=moving,
        )
        mapped[out] = onto.mean(other_mean[out])
        error[out] = np.maximum(onto.sd(other_sd[out]), sd[out])
    held = np.flatnonzero(np.isfinite(mapped).all(1))
    if not held.size:
        raise EvidenceError("no spectrum is in a fold")
    away = np.abs(mapped[held] - mean[held])
    typical = np.array([_weighted_median(one, weight[held]) for one in away.T]) * 1.4826
    error = np.hypot(error, typical)
    rng = np.random.default_rng([seed, 11])
    one = _one_each(units, held, rng)
    shares = tuple(share_of_variance(mean[one, i], mapped[one, i]) for i in range(mean.shape[1]))
    return CrossFitted(mapped, error, shares, _null(mean[one], mapped[one], rng))


def axis_map(
    codes: Floats, sd: Floats, wanted: Floats, *, weight: Floats, moving: Sequence[int] = ()
) -> AxisMap:
    """The linear map of one network's codes (n, m) to another's (n, nodes), robust and slightly shrunk.

    sd      (n, m) of the codes: nodes that carry next to nothing are not read
    weight  (n,) of the spectra
    """
    matrix = np.zeros((codes.shape[1], wanted.shape[1]))
    offset = np.zeros(wanted.shape[1])
    live = codes.var(0) > LIVE * (sd**2).mean(0)
    live[list(moving)] = False
    for node in range(wanted.shape[1]):
        read = np.array([node]) if node in moving else np.flatnonzero(live)
        slopes, offset[node] = _robust(codes[:, read], wanted[:, node], weight)
        matrix[read, node] = slopes
    return AxisMap(matrix, offset)


def _robust(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, float]:
    """Slopes and offset by ridge regression with Huber's weights."""
    middle = np.average(x, axis=0, weights=weight) if x.shape[1] else np.zeros(0)
    width = np.sqrt(np.average((x - middle) ** 2, axis=0, weights=weight)) if x.shape[1] else np.ones(0)
    scaled = (x - middle) / np.maximum(width, 1e-12)
    design = np.column_stack([scaled, np.ones(len(x))])
    ridge = RIDGE * np.diag([*np.ones(x.shape[1]), 0.0])
    use = weight / weight.sum()
    found = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        weighed = design * use[:, None]
        found = np.linalg.solve(weighed.T @ design / use.sum() + ridge, weighed.T @ y / use.sum())
        away = np.abs(y - design @ found)
        spread = max(1.4826 * _weighted_median(away, weight), 1e-12)
        use = weight / weight.sum() / np.maximum(1.0, away / (HUBER * spread))
    slopes = found[:-1] / np.maximum(width, 1e-12)
    return slopes, float(found[-1] - slopes @ middle)


def _null(truth: Floats, mapped: Floats, rng: np.random.Generator) -> Floats:
    """What R2 95 % of shuffles stay below, of each node; never below 0."""
    whole = np.maximum(truth.var(0), 1e-30)
    draws = np.empty((NULL_DRAWS, truth.shape[1]))
    for draw in range(NULL_DRAWS):
        draws[draw] = 1 - ((truth - mapped[rng.permutation(len(mapped))]) ** 2).mean(0) / whole
    return np.maximum(0.0, np.quantile(draws, 0.95, axis=0))


def _weights(units: NDArray[np.object_]) -> Floats:
    """1 / (spectra of the unit), (n,)."""
    _, of, count = np.unique(units.astype(str), return_inverse=True, return_counts=True)
    return np.asarray(1 / count[of])


def _one_each(
    units: NDArray[np.object_], rows: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    """One of the rows of each unit, ascending."""
    drawn = rng.permutation(rows)
    return np.sort(drawn[np.unique(units[drawn].astype(str), return_index=True)[1]])


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
