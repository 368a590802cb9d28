"""Axes that the codes themselves single out: those along which they are least dependent.

A network's likelihood does not change when its nodes are turned into each other, so training leaves them at
any angle. Where causes are independent and no two of them are Gaussian, the angle can be seen in the codes
alone: mixtures of independent variables are closer to Gaussian than the variables (Comon 1994). Sought is the
matrix W of least total correlation,

    sum_i H(w_i . z) - log |det W|,    H by Vasicek's spacings of sqrt(n) ranks

whose entropies see sharp edges, two clumps and long tails alike. A Gaussian cloud has no such axes, and few
targets do not show them; so new axes must be less dependent on targets that they were not found on, in every
one of the halves that are tried. An axis is called identified where two halves find it alike and where, in
every half again, turning it into any other makes the two more dependent.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment, minimize

from .evidence import EvidenceError, Floats, codes_and_errors

FEWEST = 200  # targets, half of which must show the axes by themselves
MOST = 3_000  # targets that are used
FAR = 4.0  # robust spreads from the median, beyond which a target does not take part
SPLITS = 4  # into halves, each of which is judged by the other
STARTS = 3  # random ones, beside the axes as trained and FastICA's
MANY = 8  # codes, above which FastICA's is the only start and no planes are searched: none would be near
STEPS = 300  # of a descent, at most
ANGLES, TRIED = 40, 1_000  # of a plane, on so many targets
BETTER = 2e-3  # nats by which a plane must gain to be turned
SETTLED = 0.9  # stability from which an axis is kept where others are not found alike
IDENTIFIED = 0.95  # stability from which an axis is called identified


@dataclass(frozen=True)
class Axes:
    """New axes of codes (n, k), and what speaks for them.

    middle, matrix  codes on the new axes are (z - middle) @ matrix.T; the i-th is the one nearest to the i-th
                    as trained, with its sign; of unit spread, errors included
    stability       (k,) rank correlation of what two disjoint halves of the targets give, the median of
                    splits, or of the axis with what all of them give, if that is less
    margins         (k,) nats of dependence that come with turning an axis by 45 degrees into another, the
                    least over others and over halves, on targets that it was not found on
    gains           nats of dependence between nodes that are gone on the other half of the targets, per half
    turned          whether the gain is positive in every half; else the axes are those as trained
    n               targets
    """

    middle: Floats
    matrix: Floats
    stability: Floats
    margins: Floats
    gains: Floats
    turned: bool
    n: int

    @property
    def identified(self) -> NDArray[np.bool_]:
        """Which axes the codes single out; of the others only the space that they span together."""
        found: NDArray[np.bool_] = (self.stability >= IDENTIFIED) & (self.margins > 0)
        return found


def independent_axes(mean: ArrayLike, sd: ArrayLike, *, seed: int = 0) -> Axes:
    """The axes of codes (n, k), a row per target, along which they are least dependent."""
    mean, sd = codes_and_errors(mean, sd)
    k = mean.shape[1]
    if k < 2 or len(mean) < FEWEST:
        raise EvidenceError(
            f"{len(mean)} targets with {k} codes: axes are sought among 2 or more codes of {FEWEST} targets"
        )
    near = np.flatnonzero(_near(mean))[:MOST]
    if len(near) < FEWEST:
        raise EvidenceError(f"{len(mean)} targets, of which {len(near)} are no outliers: {FEWEST} are needed")
    z = mean[near]
    middle, white = _whitened(z)
    x = (z - middle) @ white.T
    whole = _least_dependent(x, seed=seed, starts=STARTS)
    halves = [_halves(len(x), seed=seed + split) for split in range(SPLITS)]
    pairs = [tuple(_least_dependent(x[half], seed=seed, starts=0) for half in both) for both in halves]
    pairs = [tuple(_matched(x, whole, one) for one in pair) for pair in pairs]
    stability = np.median([_agreement(x @ one.T, x @ other.T) for one, other in pairs], axis=0)
    crossed = [x[both[1 - i]] @ pair[i].T for both, pair in zip(halves, pairs, strict=True) for i in (0, 1)]
    margins = np.min([_margins(y) for y in crossed], axis=0)

    as_trained: Floats = np.asarray(np.linalg.inv(white), dtype=np.float64)
    trained = _unit(as_trained)  # directions of the trained nodes among whitened codes
    plans = {"all": np.ones(k, dtype=bool)}
    if (some := stability >= SETTLED).any() and not some.all():
        plans["settled"] = some
    best, gains = as_trained, np.zeros(2 * SPLITS)
    for settled in sorted(plans.values(), key=np.sum):  # what changes less goes first
        new = _with_trained(whole, settled, trained)
        won = []
        for both, pair in zip(halves, pairs, strict=True):
            for mine, other in zip(pair, reversed(both), strict=True):
                own = _with_trained(mine, settled, trained)
                won.append(_dependence(x[other], as_trained) - _dependence(x[other], own))
        if min(won) > 0 and np.mean(won) > np.mean(gains):
            best, gains = new, np.array(won)
    turned = bool(gains.any())
    order, signs = _nearest(x @ best.T, z)
    best = best[order]
    agreed = _alike(x @ best.T, x @ whole.T)
    same = linear_sum_assignment(-agreed)[1]
    stability = np.minimum(stability[same], agreed[np.arange(k), same])
    margins = margins[same]
    matrix = signs[:, None] * (best @ white)
    if turned:
        spread = np.sqrt((x @ best.T).var(axis=0) + (sd[near] ** 2 @ (matrix.T**2)).mean(axis=0))
        matrix = matrix / spread[:, None]
    return Axes(middle, matrix, stability, margins, gains, turned, len(z))


# --- the search


def _least_dependent(x: Floats, *, seed: int, starts: int) -> Floats:
    """The matrix (k, k) of least total correlation of whitened codes: of several starts the best."""
    k, random = x.shape[1], np.random.default_rng(seed)
    begins = [_fast(x, seed=seed)]
    if k <= MANY:
        begins += [np.eye(k)] + [np.linalg.qr(random.normal(size=(k, k)))[0] for _ in range(starts)]
    found = [_descended(x, begin) for begin in begins]
    matrix, value = min(found, key=lambda one: one[1])
    for _ in range(2 if k <= MANY else 0):
        turn = _turned(x @ matrix.T)
        if turn is None:
            break
        again, lower = _descended(x, turn @ matrix)
        if lower > value - 1e-4:
            break
        matrix, value = again, lower
    return _unit(matrix)


def _fast(x: Floats, *, seed: int) -> Floats:
    """The rotation of whitened codes that FastICA finds: a start from which many axes converge."""
    from sklearn.decomposition import FastICA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged is a start as well
        fast = FastICA(whiten=False, random_state=seed, max_iter=200, tol=1e-3).fit(x)
    return np.asarray(fast.components_, dtype=np.float64)


def _descended(x: Floats, begin: Floats) -> tuple[Floats, float]:
    """(matrix, its total correlation) down from a start."""
    k, m = x.shape[1], _spacing(len(x))

    def value(flat: Floats) -> tuple[float, Floats]:
        matrix = flat.reshape(k, k)
        y = x @ matrix.T
        entropy, slope = _entropies(y, m)
        spread, centred = y.var(axis=0), y - y.mean(axis=0)
        # total correlation does not see the scale of an axis: a weak pull to unit spread
        slope = slope + 4e-3 * (spread - 1) * centred / len(y)
        change = slope.T @ x - np.linalg.inv(matrix).T
        total = entropy.sum() - np.linalg.slogdet(matrix)[1] + 1e-3 * ((spread - 1) ** 2).sum()
        return float(total), change.ravel()

    found = minimize(
        value, begin.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 20}
    )
    return found.x.reshape(k, k), float(found.fun)


def _turned(y: Floats) -> Floats | None:
    """The best rotation of each plane of two axes, all angles tried, (k, k); None if none gains."""
    y = y[:TRIED].copy()
    m, whole, moved = _spacing(len(y)), np.eye(y.shape[1]), False
    angles = np.linspace(-np.pi / 4, np.pi / 4, ANGLES + 1)[:-1]
    cos, sin = np.cos(angles), np.sin(angles)
    for i, j in combinations(range(y.shape[1]), 2):
        a, b = y[:, i, None], y[:, j, None]
        both = _entropies(a * cos + b * sin, m)[0] + _entropies(b * cos - a * sin, m)[0]
        best = int(both.argmin())
        if both[ANGLES // 2] - both[best] > BETTER:
            turn = np.array([[cos[best], sin[best]], [-sin[best], cos[best]]])
            y[:, [i, j]] = y[:, [i, j]] @ turn.T
            whole[[i, j]] = turn @ whole[[i, j]]
            moved = True
    return whole if moved else None


def _entropies(y: Floats, m: int) -> tuple[Floats, Floats]:
    """Vasicek's entropy of each column of y (n, k) from spacings of m ranks, and its slope (n, k)."""
    rows = np.ascontiguousarray(y.T)  # sorting along rows takes a third of the time
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, 1)
    width = ordered[:, m:] - ordered[:, :-m] + 1e-9
    steep = 1 / (width * width.shape[1])
    slope = np.zeros_like(ordered)
    slope[:, m:] += steep
    slope[:, :-m] -= steep
    out = np.empty_like(slope)
    np.put_along_axis(out, order, slope, 1)
    return np.log(width).mean(axis=1) + np.log((len(y) + 1) / m), out.T


def _dependence(x: Floats, matrix: Floats) -> float:
    """Total correlation of codes on axes, but for a constant of the codes."""
    entropy, _ = _entropies(x @ matrix.T, _spacing(len(x)))
    return float(entropy.sum() - np.linalg.slogdet(matrix)[1])


def _spacing(n: int) -> int:
    return max(2, round(math.sqrt(n)))


# --- axes against axes


def _with_trained(matrix: Floats, settled: NDArray[np.bool_], trained: Floats) -> Floats:
    """`matrix` where its axes are settled; in the space that is left the axes nearest to the trained ones."""
    if settled.all():
        return matrix
    out = matrix.copy()
    similar = np.abs(matrix @ trained.T)
    taken = linear_sum_assignment(-similar)[1]
    left = np.linalg.svd(matrix[settled])[2][settled.sum() :]  # orthonormal, of the space that is left
    u, _, v = np.linalg.svd(trained[taken[~settled]] @ left.T)
    out[~settled] = u @ v @ left
    return out


def _matched(x: Floats, whole: Floats, other: Floats) -> Floats:
    """The axes of `other` in the order of `whole`."""
    order = linear_sum_assignment(-_alike(x @ whole.T, x @ other.T))[1]
    return other[order]


def _agreement(one: Floats, other: Floats) -> Floats:
    """How alike the i-th columns of both are, (k,)."""
    return np.diagonal(_alike(one, other)).copy()


def _margins(y: Floats) -> Floats:
    """Nats of dependence that come with turning each column into another by 45 degrees, the least, (k,)."""
    k, m = y.shape[1], _spacing(len(y))
    own, _ = _entropies(y, m)
    least = np.full(k, np.inf)
    for i, j in combinations(range(k), 2):
        both = np.stack([y[:, i] + y[:, j], y[:, i] - y[:, j]], axis=1)
        rise = _entropies(both, m)[0].sum() - math.log(2) - own[i] - own[j]
        least[[i, j]] = np.minimum(least[[i, j]], rise)
    return least


def _nearest(new: Floats, old: Floats) -> tuple[NDArray[np.intp], Floats]:
    """For each old column the new one like it, one to one, and its sign."""
    order = linear_sum_assignment(-_alike(old, new))[1]
    signs = [1.0 if old[:, i] @ (new[:, j] - new[:, j].mean()) >= 0 else -1.0 for i, j in enumerate(order)]
    return order, np.array(signs)


def _alike(a: Floats, b: Floats) -> Floats:
    """|Rank correlation| of the columns of a (n, k) with those of b."""
    k = a.shape[1]
    ranked = np.argsort(np.argsort(np.hstack([a, b]), axis=0), axis=0).astype(np.float64)
    ranked = (ranked - ranked.mean(axis=0)) / ranked.std(axis=0)
    out: Floats = np.abs(ranked[:, :k].T @ ranked[:, k:]) / len(ranked)
    return out


# --- rows


def _near(z: Floats) -> NDArray[np.bool_]:
    """Targets that are no outliers in any code."""
    away = np.abs(z - np.median(z, axis=0))
    spread = 1.4826 * np.median(away, axis=0)
    return np.asarray((away <= FAR * spread).all(axis=1), dtype=bool)


def _whitened(z: Floats) -> tuple[Floats, Floats]:
    """(middle, matrix) that give codes unit covariance."""
    middle = z.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))
    if values[0] <= 1e-9 * values[-1]:
        raise EvidenceError("some codes are a linear function of others: they have no axes of their own")
    return middle, vectors / np.sqrt(values) @ vectors.T


def _unit(matrix: Floats) -> Floats:
    """Rows of length 1."""
    out: Floats = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return out


def _halves(n: int, *, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]
