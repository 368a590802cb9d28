"""Axes that the codes themselves single out: those along which they are least dependent.

A network's likelihood does not change when its nodes are turned into each other, so training leaves them at
any angle. Where causes are independent and no two of them are Gaussian, the angle can be seen in the codes
alone: mixtures of independent variables are closer to Gaussian than the variables (Comon 1994). Sought is the
matrix W of least total correlation,

    sum_i H(w_i . z) - log |det W|,    H by Vasicek's spacings of sqrt(n) ranks

whose entropies see sharp edges, two clumps and long tails alike. The least is flat and has shallow
neighbours, so that axes near the trained ones are preferred: a pull of .1 (1 - exp -a) nats is added, a the
sum over axes of sin^2 of the angle to the node of the training that each is matched with.

A Gaussian cloud has no such axes, and few targets do not show them. So the dependence must fall on targets
that were not used to find the axes, by more than twice its error over the halves that are tried, or axes stay
as trained. An axis is called identified where two halves find it alike and where, in every half, turning it
into any other makes the two more dependent.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment, minimize

from .evidence import EvidenceError, Floats, codes_and_errors

FEWEST = 200  # targets, half of which must show the axes by themselves
MOST = 3_000  # targets that are used
FAR = 4.0  # robust spreads from the median, beyond which a target does not take part
SPLITS = 4  # into halves, each of which is judged by the other; of many codes half as many
PULL = 0.1  # nats, the most that axes far from the trained ones cost
SURE = 2.0  # errors of the mean gain, by which it must be positive
STARTS = 3  # random ones, beside the axes as trained and FastICA's
MANY = 8  # codes, above which FastICA's is the only start and no planes are searched: none would be near
STEPS = 300  # of a descent, at most
ANGLES, TRIED = 40, 1_000  # of a plane, on so many targets
BETTER = 2e-3  # nats by which a plane must gain to be turned
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
    turned          whether the mean gain is beyond twice its error; else the axes are those as trained
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
    as_trained: Floats = np.asarray(np.linalg.inv(white), dtype=np.float64)
    search = _Search(_unit(as_trained), seed)
    splits = SPLITS if k <= MANY else SPLITS // 2
    halves = [_halves(len(x), seed=seed + split) for split in range(splits)]
    sides = [(one, other) for both in halves for one, other in (both, both[::-1])]

    whole = search.least(x, starts=STARTS)
    found = [_matched(x, whole, search.least(x[mine])) for mine, _ in sides]
    before = [_dependence(x[other], as_trained) for _, other in sides]
    after = [_dependence(x[other], own) for (_, other), own in zip(sides, found, strict=True)]
    gains = np.subtract(before, after)
    margins = np.min([_margins(x[o] @ own.T) for (_, o), own in zip(sides, found, strict=True)], axis=0)
    halves_agree = [_agreement(x @ found[2 * i].T, x @ found[2 * i + 1].T) for i in range(splits)]
    turned = bool(gains.mean() > SURE * gains.std() / math.sqrt(splits))  # the sides of a split are not two
    matrix = whole if turned else as_trained
    stability = np.minimum(np.median(halves_agree, axis=0), _agreement(x @ matrix.T, x @ whole.T))
    matrix = matrix @ white
    if turned:
        signs = np.where(((x @ (matrix @ as_trained).T) * (x @ as_trained.T)).sum(axis=0) < 0, -1.0, 1.0)
        spread = np.sqrt(((z - middle) @ matrix.T).var(axis=0) + (sd[near] ** 2 @ (matrix.T**2)).mean(axis=0))
        matrix = (signs / spread)[:, None] * matrix
    return Axes(middle, matrix, stability, margins, gains, turned, len(z))


# --- the search


@dataclass(frozen=True)
class _Search:
    """For the matrix (k, k) of least total correlation of whitened codes.

    trained  (k, k) directions of the trained nodes, a row each; rows of what is found are in their order
    """

    trained: Floats
    seed: int

    def least(self, x: Floats, *, starts: int = 0) -> Floats:
        """Of several starts the best; the axes as trained, FastICA's, and so many random ones."""
        k, random = x.shape[1], np.random.default_rng(self.seed)
        begins = [_fast(x, seed=self.seed)]
        if k <= MANY:
            begins += [self.trained] + [np.linalg.qr(random.normal(size=(k, k)))[0] for _ in range(starts)]
        found = [self._descended(x, begin) for begin in begins]
        matrix, value = min(found, key=lambda one: one[1])
        for _ in range(2 if k <= MANY else 0):
            turn = _turned(x @ matrix.T)
            if turn is None:
                break
            again, lower = self._descended(x, turn @ matrix)
            if lower > value - 1e-4:
                break
            matrix, value = again, lower
        matrix = _unit(matrix)
        order = linear_sum_assignment(-((self.trained @ matrix.T) ** 2))[1]
        return matrix[order]

    def _descended(self, x: Floats, begin: Floats) -> tuple[Floats, float]:
        """(matrix, its total correlation with the pull) down from a start."""
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
            pull, rise = self._pull(matrix)
            return float(total + pull), (change + rise).ravel()

        options: Any = {"maxiter": STEPS, "maxcor": 20}
        found = minimize(value, begin.ravel(), jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(k, k), float(found.fun)

    def _pull(self, matrix: Floats) -> tuple[float, Floats]:
        """Nats that axes away from the trained ones cost, and the slope of that."""
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        unit = matrix / length
        cosines = unit @ self.trained.T
        mine, theirs = linear_sum_assignment(-(cosines**2))
        cosine = cosines[mine, theirs][:, None]
        near = float(np.exp(-(1 - cosine**2).sum()))
        slope = -2 * cosine * (self.trained[theirs] - cosine * unit) / length
        return PULL * (1 - near), PULL * near * slope


def _fast(x: Floats, *, seed: int) -> Floats:
    """The rotation of whitened codes that FastICA finds: a start from which many axes converge."""
    from sklearn.decomposition import FastICA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that has not converged is a start as well
        fast = FastICA(whiten=False, random_state=seed, max_iter=200, tol=1e-3).fit(x)
    return np.asarray(fast.components_, dtype=np.float64)


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


def _matched(x: Floats, whole: Floats, other: Floats) -> Floats:
    """The axes of `other` in the order of `whole`."""
    return other[linear_sum_assignment(-_alike(x @ whole.T, x @ other.T))[1]]


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
