"""Labels from codes, with intervals that hold: a bent surface, a local mend, and conformal calibration.

Fitted on targets that the network trained on, calibrated on targets it never saw: a star of which the study
knows nothing is to a calibration target as one of those to another, so 90 % intervals cover 90 %.
Shapes: n spectra, k nodes. docs/applying.md says how it is meant, with measured coverage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Format, read_arrays, write_arrays
from ..targets import split
from .evidence import Floats, Rows, column, finite
from .regression import NumberProbe, expected_error, fit_number, hard_features, neighbours, value_at

FORMAT, VERSION = "astroprism-probe", 1
LEVEL = 0.9
MOST_ROWS = 30_000  # to fit on: more sharpen nothing and fill the memory
FEWEST_FIT, FEWEST_CALIBRATION = 40, 19  # 19: below, the interval would be the largest error of all
VOTERS, MOST_CLASSES = 25, 30


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
    """What reads labels from the codes of `nodes`; left_out says of other labels why they are not read."""

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
    """A number a target that its name always gives, (n,); 0 for a target without a name."""

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

    One seeded spectrum a target is used: visits of a star share its label.
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
        except Exception as error:  # a label that is no column must not cost the others
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
    text = np.array(["" if v is None or v != v else str(v).strip() for v in np.asarray(values).tolist()])
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


# --- using


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
    """Every label that can be read, of spectra with codes (n, all nodes).

    targets  of spectra that may have been fitted on: a star does not vote for itself
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
        # the bulk's ends, and the room that the interval takes
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


def strangeness(probe: Probe, told: Mapping[str, Prediction], labels: Mapping[str, Any]) -> dict[str, Floats]:
    """How far catalogue labels lie from the predicted ones, in expected errors, (n,) a label; NaN unknown.

    Of classes: 0 where the label is in the set, 1 where not.
    """
    found: dict[str, Floats] = {}
    for name, one in told.items():
        if name not in labels:
            continue
        if one.categorical:
            text = ["" if v is None or v != v else str(v).strip() for v in np.asarray(labels[name]).tolist()]
            away = [t not in s.split("|") for t, s in zip(text, one.sets.tolist(), strict=True)]
            found[name] = np.where(np.array(text) == "", np.nan, np.array(away, dtype=float))
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
    about = {
        "format": FORMAT,
        "format_version": VERSION,
        "nodes": list(probe.nodes),
        "labels": kinds,
        "left_out": probe.left_out,
        "facts": probe.facts,
    }
    write_arrays(path, arrays, header=about)


def read_probe(path: Path, *, facts: Mapping[str, Any]) -> Probe | None:
    """The probe at `path` if it was made from `facts`, else None."""
    held = read_arrays(path, kind=Format(FORMAT, VERSION))
    if held is None or held[1]["facts"] != json.loads(json.dumps(dict(facts))):
        return None
    arrays, about = held
    labels: dict[str, NumberProbe | ClassProbe] = {}
    for number, (name, categorical, names) in enumerate(about["labels"]):
        mine = {key.split(".", 1)[1]: value for key, value in arrays.items() if key.startswith(f"{number}.")}
        labels[name] = ClassProbe(**mine, names=tuple(names)) if categorical else NumberProbe(**mine)
    return Probe(
        tuple(about["nodes"]), arrays["middle"], arrays["spread"], labels, about["left_out"], about["facts"]
    )
