"""Labels predicted from codes with calibrated intervals: a polynomial and a local correction, or a vote.

Fitted on targets that the network was trained on, calibrated on held-out targets (conformal prediction). New
stars are to the calibration targets as these are to each other, so 90 % intervals cover 90 %. Classes are
predicted by a vote of neighbours.
Shapes: n spectra, k nodes, codes in robust spreads. docs/applying.md explains it, with measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Format, differences, read_arrays, write_arrays
from ..targets import split
from .evidence import EvidenceError, Floats, Rows, column, finite, texts

PROBE = Format("astroprism-probe", 1)
LEVEL = 0.9
MOST_ROWS = 30_000  # to fit on: more sharpen nothing and fill the memory
FEWEST_FIT, FEWEST_CALIBRATION = 40, 19  # 19: below, the interval would be the largest error of all
VOTERS, MOST_CLASSES = 25, 30
MOST_TERMS, MOST_DEGREE = 400, 4
NEIGHBOURS, LOCAL_NODES = 64, 10  # of the local correction, and nodes above which neighbours are far apart
FOLDS = 5
STRAY = 6.0  # robust spreads beyond which a label is taken to be wrong while fitting


@dataclass(frozen=True, eq=False)
class NumberProbe:
    """How one numeric label follows from codes.

    powers     which standardised codes are multiplied, one row a term
    terms      (t, 2) mean and spread of each term; weights (t,)
    rows       (m, k) standardised codes fitted on; left (m,) residuals of their labels, all 0 where no local
               correction is used; keys (m,) of their targets
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


@dataclass(frozen=True, eq=False)
class ClassProbe:
    """How one categorical label follows from codes: by a vote of neighbours.

    rows (m, k), keys (m,), votes (m,) number of the class of each; scores (c,) 1 - share of the true class
    """

    rows: Floats
    keys: NDArray[np.int64]
    votes: NDArray[np.int64]
    scores: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Probe:
    """Predicts labels from the codes of `nodes`; left_out says of other labels why they are not predicted."""

    nodes: tuple[int, ...]
    middle: Floats
    spread: Floats
    labels: dict[str, NumberProbe | ClassProbe] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what it was made from

    def standard(self, mean: Floats) -> Floats:
        """Codes of its nodes (n, k) in robust spreads, from all codes (n, nodes of the network)."""
        return np.asarray((mean[:, list(self.nodes)] - self.middle) / self.spread, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One label of n spectra.

    value    numbers, or the most likely class
    low, high  the interval; NaN for classes
    sets     classes that cannot be ruled out, 'a|b'; '' for numbers
    error    expected size of the error, by which the interval was stretched; NaN for classes
    outside  True where the value lies beyond the labels fitted on
    """

    categorical: bool
    value: NDArray[Any]
    low: Floats
    high: Floats
    sets: NDArray[np.object_]
    error: Floats
    outside: NDArray[np.bool_]


def target_keys(targets: Sequence[str] | NDArray[np.object_]) -> NDArray[np.int64]:
    """A number per target, a hash of its name, (n,); 0 for a target without a name."""

    def key(name: str) -> int:
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True) | 1

    known = {name: key(name) if name else 0 for name in set(map(str, targets))}
    return np.array([known[str(name)] for name in targets], dtype=np.int64)


# --- fitting


def fit(
    mean: Floats,
    sd: Floats,
    *,
    snr: Floats,
    labels: Mapping[str, Any],
    targets: NDArray[np.object_],
    train: NDArray[np.bool_],
    nodes: Sequence[int],
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Probe:
    """Learn labels (name -> (n,)) from codes (n, all nodes); calibrate where `train` is False.

    One seeded spectrum per target is used: visits of a star share its label.
    """
    one = split.one_per_target(targets, seed)
    chosen = mean[:, list(nodes)]
    fitting = one[train[one]]
    if not len(nodes) or not fitting.size:
        why = "no node was kept" if not len(nodes) else "no target was trained on"
        blank = np.zeros(len(nodes)), np.ones(len(nodes))
        return Probe(tuple(nodes), *blank, {}, dict.fromkeys(labels, why), dict(facts or {}))
    middle = np.median(chosen[fitting], axis=0)
    spread = 1.4826 * np.median(np.abs(chosen[fitting] - middle), axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    shell = Probe(tuple(nodes), middle, spread, facts=dict(facts or {}))
    x, keys = shell.standard(mean), target_keys(targets)
    hard = hard_features(x, sd[:, list(nodes)], snr)
    rng = np.random.default_rng(seed)
    for name, values in labels.items():
        try:
            y, categorical = column(values, str(name), categorical=None)
        except EvidenceError as error:  # the other labels are predicted all the same
            shell.left_out[name] = str(error)
            continue
        rows = one[np.isin(one, finite(y))]
        learn, check = rows[train[rows]], rows[~train[rows]]
        if learn.size > MOST_ROWS:
            learn = np.sort(rng.choice(learn, MOST_ROWS, replace=False))
        why = _unfit(y[learn], check.size, categorical)
        if why:
            shell.left_out[name] = why
            continue
        if categorical:
            shell.labels[name] = _fit_classes(x, values, learn=learn, check=check, keys=keys)
        else:
            shell.labels[name] = fit_number(x, hard, y, learn=learn, check=check, keys=keys, seed=seed)
    return shell


def _unfit(y: NDArray[Any], calibration: int, categorical: bool) -> str:
    if y.size < FEWEST_FIT:
        return f"known of {y.size} targets that were trained on; {FEWEST_FIT} are needed"
    if calibration < FEWEST_CALIBRATION:
        return f"known of {calibration} held-out targets; {FEWEST_CALIBRATION} are needed to calibrate it"
    kinds = np.unique(y).size
    if kinds < 2:
        return "it has one value only"
    if categorical and kinds > MOST_CLASSES:
        return f"{kinds} classes; more than {MOST_CLASSES} are taken for names"
    return ""


def _fit_classes(x: Floats, values: Any, *, learn: Rows, check: Rows, keys: NDArray[np.int64]) -> ClassProbe:
    text = texts(values)
    names = tuple(np.unique(text[learn]).tolist())
    number = {name: i for i, name in enumerate(names)}
    votes = np.array([number[name] for name in text[learn].tolist()], dtype=np.int64)
    ready = ClassProbe(x[learn], keys[learn], votes, np.zeros(0), names)
    shares = _votes(ready, x[check], None)
    true = np.array([number.get(name, -1) for name in text[check].tolist()])
    # a class that was never fitted on is missed for certain
    scores = np.where(true >= 0, 1 - shares[np.arange(len(true)), np.maximum(true, 0)], 1.0)
    return ClassProbe(ready.rows, ready.keys, votes, np.sort(scores), names)


def _votes(probe: ClassProbe, x: Floats, keys: NDArray[np.int64] | None) -> Floats:
    """Share of each class among the nearest rows, (n, classes), none quite 0."""
    classes = len(probe.names)
    out = np.empty((len(x), classes))
    for place, near, far in neighbours(probe.rows, probe.keys, x, keys, count=VOTERS):
        count = np.zeros((len(near), classes))
        for c in range(classes):
            count[:, c] = ((probe.votes[near] == c) & ~far).sum(1)
        out[place] = (count + 1 / classes) / (count.sum(1, keepdims=True) + 1)
    return out


# --- numbers


def fit_number(
    x: Floats, hard: Floats, y: Floats, *, learn: Rows, check: Rows, keys: NDArray[np.int64], seed: int
) -> NumberProbe:
    """The best polynomial by cross-validation on the rows `learn`, calibrated on the rows `check`."""
    best: tuple[float, int, bool, Floats] | None = None
    folds = _folds(keys[learn], seed)
    for degree in range(1, MOST_DEGREE + 1):
        powers = _powers(x.shape[1], degree)
        if degree > 1 and len(powers) > min(MOST_TERMS, learn.size // 8):
            break
        for local in (False, True) if x.shape[1] <= LOCAL_NODES else (False,):
            predicted = np.empty(learn.size)
            for away in folds:
                part = _polynomial(x[learn][~away], y[learn][~away], powers, keys[learn][~away], local=local)
                predicted[away] = value_at(part, x[learn][away])
            errors = np.abs(predicted - y[learn])
            size = float(np.mean(np.minimum(errors, np.quantile(errors, 0.98))))
            if best is None or size < 0.98 * best[0]:
                best = size, degree, local, predicted
    assert best is not None
    whole = _polynomial(x[learn], y[learn], _powers(x.shape[1], best[1]), keys[learn], local=best[2])
    weights, limits = _hardness(hard[learn], best[3] - y[learn])
    whole = replace(whole, hard=weights, hard_range=limits, spans=np.quantile(y[learn], [0.001, 0.999]))
    expected = expected_error(whole, hard[check])
    return replace(whole, scores=np.sort(np.abs(value_at(whole, x[check]) - y[check]) / expected))


def _folds(keys: NDArray[np.int64], seed: int) -> list[NDArray[np.bool_]]:
    """Rows set aside in each fold; each row is a target of its own."""
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


def _polynomial(
    x: Floats, y: Floats, powers: NDArray[np.int64], keys: NDArray[np.int64], *, local: bool
) -> NumberProbe:
    """A ridge over products of codes, fitted again with labels far off it pulled in; and its residuals."""
    terms = _products(x, powers)
    scale = np.column_stack([terms.mean(0), terms.std(0) + 1e-9])
    scale[0] = 0, 1
    a = (terms - scale[:, 0]) / scale[:, 1]
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
    return NumberProbe(powers, scale, weights, x, left, keys, blank, np.zeros((0, 2)), blank, blank)


def value_at(probe: NumberProbe, x: Floats, keys: NDArray[np.int64] | None = None) -> Floats:
    """The label at codes x (n, k); `keys`: targets that must not be their own neighbours."""
    a = (_products(x, probe.powers) - probe.terms[:, 0]) / probe.terms[:, 1]
    value: Floats = a @ probe.weights
    if probe.left.any():
        value = value + _local_correction(probe, x, keys)
    return value


def _local_correction(probe: NumberProbe, x: Floats, keys: NDArray[np.int64] | None) -> Floats:
    """A plane through the residuals of the nearest rows, with tricube weights, (n,)."""
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
        value = np.linalg.solve(gram, right[:, :, None])[:, 0, 0]
        # never beyond what its neighbours have
        held = np.where(far, np.nan, probe.left[near])
        out[place] = np.clip(value, np.nanmin(held, axis=1), np.nanmax(held, axis=1))
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
    """What the size of an error may depend on: SNR, the codes' own errors, and where they lie, (n, f)."""
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


# --- predicting


def threshold(scores: Floats, level: float) -> float:
    """The score that a new spectrum stays below at `level`; infinite where too few are known."""
    place = math.ceil((scores.size + 1) * level)
    return float(scores[place - 1]) if 1 <= place <= scores.size else math.inf


def predict(
    probe: Probe,
    mean: Floats,
    sd: Floats,
    *,
    snr: Floats,
    targets: NDArray[np.object_] | None = None,
    level: float = LEVEL,
) -> dict[str, Prediction]:
    """Every label that can be predicted, of spectra with codes (n, all nodes).

    targets  of spectra that may have been fitted on: a star is none of its own neighbours
    """
    x = probe.standard(mean)
    keys = None if targets is None else target_keys(targets)
    n = len(x)
    features = hard_features(x, sd[:, list(probe.nodes)], snr)
    found = {}
    for name, one in probe.labels.items():
        if isinstance(one, ClassProbe):
            found[name] = _classes(one, x, keys, level)
            continue
        value, error = value_at(one, x, keys), expected_error(one, features)
        reach = threshold(one.scores, level) * error
        # beyond the bulk of the labels by more than the interval
        outside = (value + reach < one.spans[0]) | (value - reach > one.spans[1])
        blank = np.full(n, "", dtype=object)
        found[name] = Prediction(False, value, value - reach, value + reach, blank, error, outside)
    return found


def _classes(probe: ClassProbe, x: Floats, keys: NDArray[np.int64] | None, level: float) -> Prediction:
    shares = _votes(probe, x, keys)
    names = np.array(probe.names, dtype=object)
    within = 1 - shares <= threshold(probe.scores, level)
    within[np.arange(len(x)), shares.argmax(1)] = True  # never an empty set
    sets = np.array(["|".join(names[row]) for row in within], dtype=object)
    nothing = np.full(len(x), np.nan)
    return Prediction(
        True, names[shares.argmax(1)], nothing, nothing, sets, nothing, np.zeros(len(x), dtype=bool)
    )


def label_residuals(predicted: Mapping[str, Prediction], labels: Mapping[str, Any]) -> dict[str, Floats]:
    """How far catalogue labels lie from the predicted ones, in expected errors, (n,) per label; NaN unknown.

    Of classes: 0 where the label is in the set, 1 where not.
    """
    found: dict[str, Floats] = {}
    for name, one in predicted.items():
        if name not in labels:
            continue
        if one.categorical:
            text = texts(labels[name])
            away = [t not in s.split("|") for t, s in zip(text.tolist(), one.sets.tolist(), strict=True)]
            found[name] = np.where(text == "", np.nan, np.array(away, dtype=float))
        else:
            y = column(labels[name], name, categorical=False)[0]
            found[name] = np.abs(y - one.value) / one.error
    return found


# --- on disk


def write_probe(path: Path, probe: Probe) -> None:
    """Arrays and JSON in one npz file: nothing that runs when it is read."""
    arrays: dict[str, NDArray[Any]] = {"middle": probe.middle, "spread": probe.spread}
    kinds = []
    for number, (name, one) in enumerate(probe.labels.items()):
        kinds.append([name, isinstance(one, ClassProbe), list(getattr(one, "names", ()))])
        arrays |= {f"{number}.{key}": value for key, value in vars(one).items() if key != "names"}
    header = {
        **PROBE.header,
        "nodes": list(probe.nodes),
        "labels": kinds,
        "left_out": probe.left_out,
        "facts": probe.facts,
    }
    write_arrays(path, arrays, header=header)


def read_probe(path: Path, *, facts: Mapping[str, Any]) -> Probe | None:
    """The probe at `path` if it was made from `facts`, else None."""
    held = read_arrays(path, kind=PROBE)
    if held is None or differences(held[1]["facts"], facts):
        return None
    arrays, header = held
    labels: dict[str, NumberProbe | ClassProbe] = {}
    for number, (name, categorical, names) in enumerate(header["labels"]):
        mine = {key.split(".", 1)[1]: value for key, value in arrays.items() if key.startswith(f"{number}.")}
        labels[name] = ClassProbe(**mine, names=tuple(names)) if categorical else NumberProbe(**mine)
    return Probe(
        tuple(header["nodes"]),
        arrays["middle"],
        arrays["spread"],
        labels,
        header["left_out"],
        header["facts"],
    )
