"""How far codes are single causes, by the measures of the field of disentanglement: arrays in, numbers out.

    from astroprism.measures.disentanglement import dci, info_mec, mcc, mig, sap

    scores = dci(codes, factors)              # codes (n, nodes), factors (n, k): a row per target
    scores.disentanglement.value, scores.completeness.value, scores.informativeness.value
    mig(codes, factors).value, sap(codes, factors).value
    info_mec(codes, factors).modularity.value
    mcc(codes, codes_of_another_seed).value

Each number has a 90 % interval over targets: a jackknife over groups of them, since most of these measures
are no means over rows. The field defines them for factors of a few classes; numeric factors are cut into
classes where a measure needs some, as its function says.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy

from .evidence import EvidenceError, Floats
from .nulls import screened_information
from .spacing import LEVEL

GROUPS = 10  # of targets, left out one at a time: for intervals
MOST = 2_000  # rows of which `all_scores` are: the trees take five milliseconds a row
FEWEST = 100  # rows below which no interval means anything
BINS = 20  # of equal width, for codes and numeric factors in MIG
CLASSES = 10  # of equal count, into which InfoMEC's numeric factors are cut
FEW = 20  # different values up to which whole numbers are classes
NEIGHBOURS = 10  # of the mutual information of a code and a class
ACTIVE = 0.1  # of the largest interquartile range, below which a code takes no part in InfoMEC


@dataclass(frozen=True)
class Score:
    """A measure with its 90 % interval over targets."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018), by boosted trees.

    importance  (nodes, k) of each code for each factor: the decrease of impurity. A node's entropy over
                factors makes disentanglement, a factor's over nodes completeness, each weighted by
                importance. Informativeness is the share of variance predicted on targets set aside; of
                classes, the share that is named rightly
    """

    disentanglement: Score
    completeness: Score
    informativeness: Score
    importance: Floats


@dataclass(frozen=True)
class InfoMEC:
    """Modularity, explicitness, compactness (Hsu et al. 2023).

    information  (k, nodes) mutual information of factor and code over the factor's entropy. A node's largest
                 share of its column makes modularity, a factor's of its row compactness, both scaled so that
                 chance is 0. Explicitness is what logistic regression on all codes takes away of the entropy
    active       (nodes,) which codes take part
    """

    modularity: Score
    explicitness: Score
    compactness: Score
    information: Floats
    active: NDArray[np.bool_]


def dci(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> DCI:
    """DCI of codes (n, nodes) and factors (n, k)."""
    z, v = _checked(codes, factors)
    parts = _groups(len(z), seed)
    found = [_importance(z[parts != g], v[parts != g], z[parts == g], seed=seed) for g in range(GROUPS)]
    importance = np.mean([one for one, _ in found], axis=0)
    guessed = np.empty_like(v)
    for g, (_, there) in enumerate(found):
        guessed[parts == g] = there
    hits = np.stack([_hits(v[:, j], guessed[:, j]) for j in range(v.shape[1])], axis=1).mean(axis=1)
    error = LEVEL * hits.std(ddof=1) / np.sqrt(len(hits))
    return DCI(
        _jackknifed(disentanglement(importance), [disentanglement(one) for one, _ in found]),
        _jackknifed(completeness(importance), [completeness(one) for one, _ in found]),
        Score(float(hits.mean()), float(hits.mean() - error), float(hits.mean() + error)),
        importance,
    )


def disentanglement(importance: ArrayLike) -> float:
    """Of an importance matrix (nodes, k): 1 where each node matters for one factor."""
    matrix = np.asarray(importance, dtype=np.float64)
    single = 1 - entropy(matrix.T + 1e-11, base=matrix.shape[1])
    return float(single @ _weights(matrix.sum(axis=1)))


def completeness(importance: ArrayLike) -> float:
    """Of an importance matrix (nodes, k): 1 where each factor takes one node."""
    return disentanglement(np.asarray(importance).T)


def mig(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> Score:
    """Mutual information gap (Chen et al. 2018): the best node's information less the second's, over entropy.

    Codes, and factors that are no classes, in 20 bins of equal width.
    """
    z, v = _checked(codes, factors)

    def value(rows: NDArray[np.bool_]) -> float:
        cut = [_equal_width(column) for column in z[rows].T]
        gaps = []
        for column in v[rows].T:
            classes = _as_classes(column) if _is_classes(column) else _equal_width(column)
            shared = np.sort([_plain_information(one, classes) for one in cut])
            gaps.append((shared[-1] - shared[-2]) / _plain_information(classes, classes))
        return float(np.mean(gaps))

    return _over_groups(value, len(z), seed)


def sap(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> Score:
    """Separated attribute predictability (Kumar et al. 2018), of numbers: the gap of squared correlations."""
    z, v = _checked(codes, factors)

    def value(rows: NDArray[np.bool_]) -> float:
        both = _correlations(z[rows], v[rows]) ** 2
        ordered = np.sort(both, axis=0)
        return float((ordered[-1] - ordered[-2]).mean())

    return _over_groups(value, len(z), seed)


def info_mec(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> InfoMEC:
    """InfoMEC of codes (n, nodes) and factors (n, k); numeric factors in 10 classes of equal count."""
    z, v = _checked(codes, factors)
    classes = np.stack([_as_classes(x) if _is_classes(x) else _equal_count(x) for x in v.T], axis=1)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    spread = np.subtract(*np.quantile(np.asarray(codes, dtype=np.float64), [0.75, 0.25], axis=0))
    active = spread > ACTIVE * spread.max()
    parts = _groups(len(z), seed)

    def three(rows: NDArray[np.bool_]) -> tuple[Floats, float, float, float]:
        information = _normalised_information(z[rows], classes[rows], seed=seed)
        used = np.maximum(information[:, active], 0)
        modular = _above_chance(used.max(axis=0) / np.maximum(used.sum(axis=0), 1e-12), used.shape[0])
        compact = _above_chance(used.max(axis=1) / np.maximum(used.sum(axis=1), 1e-12), used.shape[1])
        return information, modular, _explicitness(z[rows], classes[rows]), compact

    information, *whole = three(np.ones(len(z), dtype=bool))
    left = [three(parts != g)[1:] for g in range(GROUPS)]
    modular, explicit, compact = (_jackknifed(whole[i], [one[i] for one in left]) for i in range(3))
    return InfoMEC(modular, explicit, compact, information, active)


def mcc(codes: ArrayLike, others: ArrayLike, *, ranks: bool = False, seed: int = 0) -> Score:
    """Mean correlation coefficient of two sets of codes of the same targets, matched one to one.

    ranks  Spearman's correlations, which a bend of an axis leaves alone, instead of Pearson's
    """
    a, b = _table(codes, "codes"), _table(others, "the other codes")
    if len(a) != len(b):
        raise EvidenceError(f"{len(a)} rows of codes and {len(b)} of others; give the same targets")
    if ranks:
        a, b = (np.argsort(np.argsort(x, axis=0), axis=0).astype(np.float64) for x in (a, b))

    def value(rows: NDArray[np.bool_]) -> float:
        both = np.abs(_correlations(a[rows], b[rows]))
        i, j = linear_sum_assignment(-both)
        return float(both[i, j].mean())

    return _over_groups(value, len(a), seed)


def total_correlation(codes: ArrayLike, *, seed: int = 0) -> Score:
    """How much nodes depend on each other: the sum of their entropies less that of all together, in nats.

    Of the normal copula, from rank correlations: 0 where no pair is monotonically related.
    """
    z = _table(codes, "codes")

    def value(rows: NDArray[np.bool_]) -> float:
        from scipy.special import ndtri

        order = np.argsort(np.argsort(z[rows], axis=0), axis=0)
        scores = ndtri((order + 0.5) / len(order))
        return float(-0.5 * np.linalg.slogdet(np.corrcoef(scores.T))[1])

    return _over_groups(value, len(z), seed)


def all_scores(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0) -> dict[str, Score]:
    """All of these measures by name, of at most 2,000 of the rows."""
    z, v = _checked(codes, factors)
    some = np.random.default_rng(seed).permutation(len(z))[:MOST]
    z, v = z[some], v[some]
    trees, information = dci(z, v, seed=seed), info_mec(z, v, seed=seed)
    return {
        "DCI disentanglement": trees.disentanglement,
        "DCI completeness": trees.completeness,
        "DCI informativeness": trees.informativeness,
        "MIG": mig(z, v, seed=seed),
        "SAP": sap(z, v, seed=seed),
        "InfoMEC modularity": information.modularity,
        "InfoMEC explicitness": information.explicitness,
        "InfoMEC compactness": information.compactness,
    }


# --- parts of the measures


def _importance(z: Floats, v: Floats, aside: Floats, *, seed: int) -> tuple[Floats, Floats]:
    """(importance (nodes, k), factors predicted of the codes `aside`) by boosted trees."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    matrix, guessed = np.empty((z.shape[1], v.shape[1])), np.empty((len(aside), v.shape[1]))
    for j, column in enumerate(v.T):
        kind = GradientBoostingClassifier if _is_classes(column) else GradientBoostingRegressor
        trees = kind(random_state=seed).fit(z, column)
        matrix[:, j] = np.abs(trees.feature_importances_)
        guessed[:, j] = trees.predict(aside)
    return matrix, guessed


def _hits(truth: Floats, guessed: Floats) -> Floats:
    """Of each row what makes the mean a share of variance predicted, or of classes named rightly."""
    if _is_classes(truth):
        return np.asarray(truth == guessed, dtype=np.float64)
    out: Floats = 1 - (truth - guessed) ** 2 / truth.var()
    return out


def _normalised_information(z: Floats, classes: NDArray[np.intp], *, seed: int) -> Floats:
    """Mutual information of each factor and code over the factor's entropy, (k, nodes)."""
    from sklearn.feature_selection import mutual_info_classif

    rows = []
    for one in classes.T:
        shared = mutual_info_classif(z, one, n_neighbors=NEIGHBOURS, random_state=seed)
        rows.append(shared / _plain_information(one, one))
    return np.array(rows)


def _explicitness(z: Floats, classes: NDArray[np.intp]) -> float:
    """Mean share of a factor's entropy, classes weighted alike, that a linear logistic model takes away."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    shares = []
    for one in classes.T:
        losses = []
        for x in (z, np.zeros_like(z)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a hundred rounds, as in the definition, need not converge
                model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100).fit(x, one)
            losses.append(log_loss(one, model.predict_proba(x)))
        shares.append(1 - losses[0] / losses[1])
    return float(np.mean(shares))


def _above_chance(largest: Floats, count: int) -> float:
    return float((largest.mean() - 1 / count) / (1 - 1 / count)) if count > 1 else 1.0


def _plain_information(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    """Mutual information of two columns of classes as the field takes it, with its bias, in nats."""
    return screened_information(a, b)[1]


def _correlations(a: Floats, b: Floats) -> Floats:
    """Pearson's, of the columns of both, (columns of a, columns of b)."""
    out: Floats = np.atleast_2d(np.corrcoef(a.T, b.T))[: a.shape[1], a.shape[1] :]
    return out


def _weights(x: Floats) -> Floats:
    total = x.sum()
    out: Floats = x / total if total else np.full_like(x, 1 / len(x))
    return out


# --- columns


def _is_classes(column: Floats) -> bool:
    """Whole numbers of few values are classes."""
    return bool((column == np.round(column)).all() and len(np.unique(column)) <= FEW)


def _as_classes(column: Floats) -> NDArray[np.intp]:
    return np.unique(column, return_inverse=True)[1]


def _equal_width(column: Floats) -> NDArray[np.intp]:
    edges = np.histogram_bin_edges(column, BINS)
    return np.digitize(column, edges[:-1]) - 1


def _equal_count(column: Floats) -> NDArray[np.intp]:
    order = np.argsort(np.argsort(column, kind="stable"), kind="stable")
    return order * CLASSES // len(column)


def _checked(codes: ArrayLike, factors: ArrayLike) -> tuple[Floats, Floats]:
    """Both as tables with a row per target."""
    z, v = _table(codes, "codes"), _table(factors, "factors")
    if len(z) != len(v):
        raise EvidenceError(f"{len(z)} rows of codes and {len(v)} of factors; give one per target in both")
    if z.shape[1] < 2:
        raise EvidenceError("one code: a measure of which code holds a factor needs two")
    for what, table in (("code", z), ("factor", v)):
        constant = np.flatnonzero(table.std(axis=0) == 0)
        if len(constant):
            raise EvidenceError(f"{what} {constant[0]} is constant: leave it out")
    return z, v


def _table(values: ArrayLike, what: str) -> Floats:
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EvidenceError(f"{what} are not numbers ({error}); number their classes") from None
    if x.ndim != 2:
        raise EvidenceError(f"{what} must be (targets, columns), not {x.shape}")
    if not np.isfinite(x).all():
        raise EvidenceError(
            f"{(~np.isfinite(x)).sum()} numbers of {what} are not finite; leave those rows out"
        )
    if len(x) < FEWEST:
        raise EvidenceError(f"{len(x)} targets are too few; give at least {FEWEST}")
    return x


# --- intervals


def _groups(n: int, seed: int) -> NDArray[np.intp]:
    """The group of each row."""
    return np.random.default_rng(seed).permutation(n) % GROUPS


def _over_groups(value: Callable[[NDArray[np.bool_]], float], n: int, seed: int) -> Score:
    parts = _groups(n, seed)
    whole = value(np.ones(n, dtype=bool))
    return _jackknifed(whole, [value(parts != g) for g in range(GROUPS)])


def _jackknifed(whole: float, left: list[float]) -> Score:
    """The interval of a value from what it is without each group."""
    error = LEVEL * np.sqrt((len(left) - 1) * np.var(left))
    return Score(float(whole), float(whole - error), float(whole + error))
