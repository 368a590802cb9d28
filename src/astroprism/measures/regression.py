"""A number that bends with codes: a polynomial, mended by its neighbours, and how large its errors are.

Shapes: n spectra, k nodes, in robust spreads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from .evidence import Floats, Rows

MOST_TERMS, MOST_DEGREE = 400, 4
NEIGHBOURS, LOCAL_NODES = 64, 10  # of the local mend, and nodes above which neighbours are far apart
FOLDS = 5
STRAY = 6.0  # robust spreads beyond which a label is held to be wrong while fitting


@dataclass(frozen=True, eq=False)
class NumberProbe:
    """How one numeric label follows from codes.

    powers     which standardised codes are multiplied, one row a term
    terms      (t, 2) mean and spread of each term; weights (t,)
    rows       (m, k) standardised codes fitted on; left (m,) what the surface leaves of their labels, all 0
               where no local mend is used; keys (m,) of their targets
    hard       weights of the log size of an error; hard_range (f, 2) of its features
    scores     (c,) |error| / expected error of the calibration targets, rising
    spans      lowest and highest label fitted on
    """

    powers: NDArray[np.int64]
    terms: Floats
    weights: Floats
    rows: Floats
    left: Floats
    keys: NDArray[np.int64]
    hard: Floats
    hard_range: Floats
    scores: Floats
    spans: Floats


def fit_number(
    x: Floats, hard: Floats, y: Floats, *, learn: Rows, check: Rows, keys: NDArray[np.int64], seed: int
) -> NumberProbe:
    """The polynomial that foretells best the rows `learn`, calibrated on the rows `check`."""
    best: tuple[float, int, bool, Floats] | None = None
    folds = _folds(keys[learn], seed)
    for degree in range(1, MOST_DEGREE + 1):
        powers = _powers(x.shape[1], degree)
        if degree > 1 and len(powers) > min(MOST_TERMS, learn.size // 8):
            break
        for local in (False, True) if x.shape[1] <= LOCAL_NODES else (False,):
            told = np.empty(learn.size)
            for away in folds:
                part = _surface(x[learn][~away], y[learn][~away], powers, keys[learn][~away], local=local)
                told[away] = value_at(part, x[learn][away])
            errors = np.abs(told - y[learn])
            size = float(np.mean(np.minimum(errors, np.quantile(errors, 0.98))))
            if best is None or size < 0.98 * best[0]:
                best = size, degree, local, told
    assert best is not None
    whole = _surface(x[learn], y[learn], _powers(x.shape[1], best[1]), keys[learn], local=best[2])
    weights, limits = _hardness(hard[learn], best[3] - y[learn])
    whole = replace(whole, hard=weights, hard_range=limits, spans=np.quantile(y[learn], [0.001, 0.999]))
    expected = expected_error(whole, hard[check])
    return replace(whole, scores=np.sort(np.abs(value_at(whole, x[check]) - y[check]) / expected))


def _folds(keys: NDArray[np.int64], seed: int) -> list[NDArray[np.bool_]]:
    """Who is set aside in each fold; by target, as each row is one."""
    fold = np.random.default_rng(seed).permutation(keys.size) % FOLDS
    return [fold == one for one in range(FOLDS)]


def _powers(k: int, degree: int) -> NDArray[np.int64]:
    """Exponents (terms, k) of all products up to `degree`."""
    rows = []
    for one in range(degree + 1):
        for picked in combinations_with_replacement(range(k), one):
            rows.append(np.bincount(np.array(picked, dtype=np.int64), minlength=k))
            if len(rows) > MOST_TERMS + k + 1:
                return np.array(rows)
    return np.array(rows, dtype=np.int64)


def _products(x: Floats, powers: NDArray[np.int64]) -> Floats:
    """Terms (n, t); codes are held within 5 spreads, where a polynomial still means something."""
    held = np.clip(x, -5, 5)
    out = np.ones((len(x), len(powers)))
    for i in range(x.shape[1]):
        for power in range(1, int(powers[:, i].max(initial=0)) + 1):
            out[:, powers[:, i] >= power] *= held[:, i : i + 1]
    return out


def _surface(
    x: Floats, y: Floats, powers: NDArray[np.int64], keys: NDArray[np.int64], *, local: bool
) -> NumberProbe:
    """A ridge over products of codes, labels far off it pulled in and fitted again; then what it leaves."""
    terms = _products(x, powers)
    about = np.column_stack([terms.mean(0), terms.std(0) + 1e-9])
    about[0] = 0, 1
    a = (terms - about[:, 0]) / about[:, 1]
    gram = a.T @ a + 1e-4 * len(a) * np.diag([0.0, *np.ones(len(powers) - 1)])
    weights = np.linalg.solve(gram, a.T @ y)
    for _ in range(2):
        left = y - a @ weights
        reach = STRAY * max(1.4826 * float(np.median(np.abs(left))), 1e-12)
        weights = np.linalg.solve(gram, a.T @ (y - left + np.clip(left, -reach, reach)))
    left = y - a @ weights
    reach = STRAY * max(1.4826 * float(np.median(np.abs(left))), 1e-12)
    left = np.clip(left, -reach, reach) if local else np.zeros_like(left)
    blank = np.zeros(0)
    return NumberProbe(powers, about, weights, x, left, keys, blank, np.zeros((0, 2)), blank, blank)


def value_at(probe: NumberProbe, x: Floats, keys: NDArray[np.int64] | None = None) -> Floats:
    """The label at codes x (n, k); `keys`: targets that must not be their own neighbours."""
    a = (_products(x, probe.powers) - probe.terms[:, 0]) / probe.terms[:, 1]
    value: Floats = a @ probe.weights
    if probe.left.any():
        value = value + _mend(probe, x, keys)
    return value


def _mend(probe: NumberProbe, x: Floats, keys: NDArray[np.int64] | None) -> Floats:
    """A plane through what the surface left of the nearest rows, tricube weights, (n,)."""
    k = x.shape[1]
    out = np.zeros(len(x))
    for place, near, far in neighbours(probe.rows, probe.keys, x, keys, count=NEIGHBOURS):
        apart = probe.rows[near] - x[place, None]
        size = np.sqrt((apart**2).sum(2))
        weight = np.where(far, 0.0, size)
        weight = (1 - np.minimum(size / (weight.max(1, keepdims=True) * 1.001 + 1e-12), 1) ** 3) ** 3
        weight = np.where(far, 0.0, weight)
        plane = np.concatenate([np.ones((*near.shape, 1)), apart], axis=2)
        weighted = plane * weight[:, :, None]
        gram = np.swapaxes(weighted, 1, 2) @ plane
        trace = np.trace(gram, axis1=1, axis2=2)
        gram = gram + (1e-3 * trace + 1e-9)[:, None, None] * np.diag([1e-6, *np.ones(k)])
        right = (weighted * probe.left[near][:, :, None]).sum(1)
        mended = np.linalg.solve(gram, right[:, :, None])[:, 0, 0]
        # never beyond what its neighbours have
        held = np.where(far, np.nan, probe.left[near])
        out[place] = np.clip(mended, np.nanmin(held, axis=1), np.nanmax(held, axis=1))
    return out


def neighbours(
    rows: Floats, row_keys: NDArray[np.int64], x: Floats, keys: NDArray[np.int64] | None, *, count: int
) -> Iterator[tuple[slice, NDArray[np.intp], NDArray[np.bool_]]]:
    """(places of x, their nearest rows, which of those do not count), in parts that fit into memory."""
    from scipy.spatial import cKDTree

    tree = cKDTree(rows)
    wanted = min(count + (keys is not None), len(rows))
    for start in range(0, len(x), 2048):
        place = slice(start, min(start + 2048, len(x)))
        near = np.asarray(tree.query(x[place], k=wanted)[1], dtype=np.intp).reshape(-1, wanted)
        far = np.zeros(near.shape, dtype=bool)
        if keys is not None:
            own = row_keys[near] == keys[place, None]
            far = own.copy()
            far[~own.any(1), -1] = wanted > 1  # the same number of neighbours for all
        yield place, near, far


def hard_features(x: Floats, sd: Floats, snr: Floats) -> Floats:
    """By what the size of an error may be told: SNR, the codes' own errors, and where they lie, (n, f)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.log(np.where(snr > 0, snr, np.nan))
    noise = np.where(np.isfinite(noise), noise, np.nanmedian(noise) if np.isfinite(noise).any() else 0.0)
    x = np.clip(x, -5, 5)
    return np.column_stack([noise, np.log(np.maximum(sd, 1e-12)), x, x**2])


def _hardness(features: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Weights of log |error| on the features, and the range they were fitted on (f, 2)."""
    limits = np.quantile(features, [0.005, 0.995], axis=0).T
    a = _hard_terms(features, limits)
    size = np.abs(errors)
    logs = np.log(np.maximum(size, 1e-3 * max(float(np.median(size)), 1e-300)))
    # e^-0.63 is the geometric mean of a unit Gaussian's size: errors then come out as its standard deviation
    gram = a.T @ a + 0.01 * len(a) * np.diag([0.0, *np.ones(a.shape[1] - 1)])
    return np.asarray(np.linalg.solve(gram, a.T @ (logs + 0.635)), dtype=np.float64), limits


def _hard_terms(features: Floats, limits: Floats) -> Floats:
    low, high = limits[:, 0], limits[:, 1]
    width = np.where(high > low, high - low, 1.0)
    return np.column_stack([np.ones(len(features)), 2 * (np.clip(features, low, high) - low) / width - 1])


def expected_error(probe: NumberProbe, features: Floats) -> Floats:
    """Size of the error (n,) to be expected, as a Gaussian's standard deviation."""
    return np.asarray(np.exp(_hard_terms(features, probe.hard_range) @ probe.hard))
