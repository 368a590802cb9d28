"""What two columns share beyond others: conditional mutual information, right also given copies of either.

The estimator is Frenzel and Pompe's (2007) for numbers, and Mesner and Shalizi's (2021) where one column is
of classes: a class is near itself alone. Three things keep copies from looking like knowledge; measures.md
has their figures:

- what the given columns predict of x and of y is subtracted first, wiggles and classes included, each row
  predicted without itself;
- what the estimator then finds where nothing can be, in y shuffled among rows of like z (Runge 2018), is
  subtracted;
- a copy that determines y is recognised: the information is at most H(y | copy) = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    column_values,
    finite,
    one_per_target,
    ranks,
    same_length,
    varied,
)
from .mutual import MOST_ROWS, SHARED_NOISE, MutualInformation, enough_rows, interval, subsample
from .spacing import LEVEL

# What the estimator smears away, on Gaussians given one column (collected at 500 to 20,000 rows): SMEAR
# nats^1.55 at 500 rows, falling as 1/n; of several columns SEVERAL times that.
SMEAR, SMEAR_POWER, SEVERAL = 0.097, 1.55, 1.5
SPARSE = 5_000  # rows up to which fewer neighbours are tried, too: half as slow again
WINDOWS = (4, 8, 16, 32)  # rows on each side that a wiggle is followed with
GAIN = 0.97  # of the variances left: a window that does not bring that much is noise
BLOCK = 8  # rows of like z among which y is shuffled for the null
NULL_ROWS, MOST_NULLS = 4_000, 10  # shuffles: as many as make these rows; one scatters little in more
SMOOTH = 2.0  # growth of what neighbours miss, from next ones to next but one: 1 for noise, 4 for a curve
CLASS_NOISE = 0.3  # counting noise that local terms of classes share: variance * rows


@dataclass(frozen=True)
class Given:
    """A given column: values ready to use, floats, or integers where it is of classes."""

    values: NDArray[Any]
    categorical: bool


def conditional_mutual_information(
    x: Any,
    y: Any,
    z: Any,
    *,
    targets: Any = None,
    categorical: bool | None = None,
    seed: int = 0,
    k: int = neighbours.NEIGHBOURS,
    rows: int = MOST_ROWS,
) -> MutualInformation:
    """I(x; y | z) in nats: what x and y share beyond z.

    x, y: (n,); z: (n,), (n, d) or a table; numbers or text. The other arguments are those of
    `mutual_information`. A z that determines y (its copy as text, on another scale, or curved) gives 0.

    Several columns of z are represented by what they predict of y (of x, where y is of classes): exact where
    the rest of x and y depends on them through that alone, or not at all.
    """
    x, x_is = column(x, "x", categorical=None)
    y, y_is = column(y, "y", categorical=categorical)
    if x_is and y_is:
        raise EvidenceError("x and y are both categorical; conditional information needs one that is numeric")
    others = [column(one, f"z {name}".strip(), categorical=None) for name, one in _columns(z)]
    targets = checked_targets(targets)
    if len(others) > 1 and len(others[0][0]) != len(x) and len(others) == len(x):
        raise EvidenceError(
            f"z has {len(others[0][0])} rows of {len(others)} columns, x has {len(x)} rows: give z as (rows, "
            "columns), transposed"
        )
    total = same_length(x=x, y=y, targets=targets, **{f"z {i}": one for i, (one, _) in enumerate(others)})
    known = finite(x, y, *(one for one, _ in others))
    first = one_per_target(known, targets, np.random.default_rng(seed))
    enough_rows(first.size, total - known.size)
    varied(x[first], "x")
    varied(y[first], "y")
    if not (x_is or y_is):
        y, y_is = classes_if_few(y) if categorical is None else (y, False)
        x, x_is = (x, False) if y_is else classes_if_few(x)
    if x_is:  # information is the same both ways; the numeric one is x from here on
        x, y, y_is = y, x, True
    found = information_beyond(
        x, y, [Given(*one) for one in others], categorical=y_is, chosen=first, seed=seed, k=k, rows=rows
    )
    return replace(found, missing=total - int(known.size))


def information_beyond(
    x: Floats,
    y: NDArray[Any],
    given: Sequence[Given],
    *,
    categorical: bool,
    chosen: Rows,
    seed: int = 0,
    k: int = neighbours.NEIGHBOURS,
    rows: int = MOST_ROWS,
) -> MutualInformation:
    """As `conditional_mutual_information`, of columns (n,) that are ready, in the rows `chosen`.

    x is numeric; y is of classes (integers) where `categorical`.
    """
    rng = np.random.default_rng([seed, 1])
    kept = subsample(chosen, rows, rng)
    n = int(kept.size)
    x = x[kept]
    y = _numbered(y[kept]) if categorical else y[kept]
    given = [_ready(one, kept) for one in given]
    facts: dict[str, Any] = {"p": float("nan"), "share": float("nan"), "n": int(chosen.size), "used": n}
    if any(_determines(one, y, categorical=categorical) for one in given):
        reach = float(LEVEL * np.sqrt(SHARED_NOISE) / n)
        return MutualInformation(nats=0.0, low=0.0, high=reach, bias=0.0, screen=0.0, **facts)

    scores = neighbours.lattice(n)

    def scored(values: NDArray[Any]) -> Floats:
        return scores[ranks(values, rng)]

    both = scored(x)[:, None] if categorical else np.column_stack([scored(x), scored(y)])
    rest = _rest(both, given, scored)
    rest_x = scored(rest[:, 0])
    rest_y = y if categorical else scored(rest[:, 1])
    setting: _Strata | Floats
    if len(given) > 1:
        setting = scored((both - rest)[:, -1])
    elif given[0].categorical:
        setting = _strata(given[0].values, least=2 * k + 2)
    else:
        setting = scored(given[0].values)

    def terms(of_y: NDArray[Any], *, finer: bool = False) -> tuple[Floats, Floats]:
        if isinstance(setting, _Strata):
            return _stratified(rest_x, of_y, setting, categorical=categorical, k=k, rng=rng)
        if categorical:
            found = neighbours.class_terms_given(rest_x, of_y, setting, k=k)
            return found, found
        return neighbours.conditional_terms(rest_x, of_y, setting[:, None], k=k, finer=finer)

    found, fewer = terms(rest_y, finer=n <= SPARSE)
    shuffles = int(np.clip(np.ceil(NULL_ROWS / n), 1, MOST_NULLS))
    chance = [float(terms(_shuffled(rest_y, setting, rng))[0].mean()) for _ in range(shuffles)]
    level = float(np.mean(chance))
    numbers = not (categorical or isinstance(setting, _Strata))
    several = SEVERAL if len(given) > 1 else 1.0
    smear = (
        several * SMEAR * max(float(found.mean()) - level, 0.0) ** SMEAR_POWER * 500 / n if numbers else 0.0
    )
    value, low, high, bias = interval(found - level, fewer - level, continuous=not categorical, smear=smear)
    scatter = np.std(chance, ddof=1) if shuffles > 2 else np.sqrt((found.var() + SHARED_NOISE) / n)
    more = scatter**2 / shuffles + (CLASS_NOISE / n if categorical else 0.0)
    least = scatter * np.sqrt(1 + 1 / shuffles) if shuffles > 2 else 0.0  # what chance alone does
    down, up = (
        max(float(np.hypot(one, LEVEL * np.sqrt(more))), float(LEVEL * least))
        for one in (value - low, high - value)
    )
    in_y = y if categorical else nulls.equal_bins(ranks(rest_y, rng))
    screen, _ = nulls.screened_information(nulls.equal_bins(ranks(rest_x, rng)), in_y)
    return MutualInformation(
        nats=value, low=value - down, high=value + up, bias=bias + level, screen=screen, **facts
    )


# --- what the given columns say of a row


def _ready(one: Given, kept: Rows) -> Given:
    """A given column in the rows kept; numbers of few values as classes, such as a flag."""
    values, categorical = (one.values[kept], True) if one.categorical else classes_if_few(one.values[kept])
    return Given(_numbered(values), True) if categorical else Given(values, False)


def _numbered(classes: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(np.unique(classes, return_inverse=True)[1], dtype=np.int64)


def _determines(one: Given, y: NDArray[Any], *, categorical: bool) -> bool:
    """Whether y follows from a given column: one value of y for each of its values, or a curve without noise.

    A curve: what neighbours in the given column miss of y grows with their distance, as it does where y
    bends, and does not where y has noise of its own. (Differences of neighbours as a measure of noise:
    Gasser, Sroka and Jennen-Steinmetz 1986.)
    """
    n = y.size
    order = np.argsort(one.values, kind="stable")
    ordered = y[order]
    levels = _numbered(one.values)
    several = int(levels.max()) + 1
    if several <= n / 2:
        low, high = np.full(several, np.inf), np.full(several, -np.inf)
        np.minimum.at(low, levels, y)
        np.maximum.at(high, levels, y)
        return bool((low == high).all())
    if one.categorical or categorical or several < 0.9 * n or np.unique(y).size < 0.9 * n:
        return False
    steps = np.diff(ordered)
    if (steps >= 0).all() or (steps <= 0).all():
        return True
    at, value = one.values[order], ordered
    missed = []
    for reach in (1, 2):
        left, middle, right = (slice(None, -2 * reach), slice(reach, -reach), slice(2 * reach, None))
        weight = (at[middle] - at[left]) / np.maximum(at[right] - at[left], 1e-300)
        missed.append(np.median(np.abs(value[middle] - (1 - weight) * value[left] - weight * value[right])))
    exact = missed[1] <= 1e-9 * (np.quantile(value, 0.75) - np.quantile(value, 0.25))
    return bool(exact or missed[1] >= SMOOTH * missed[0])


def _rest(values: Floats, given: Sequence[Given], scored: Callable[[NDArray[Any]], Floats]) -> Floats:
    """Columns (n, c) less what the given columns predict of them, each row predicted without itself.

    Hinges and products of the numbers, then means of the classes, then lines through the next rows along each
    number, as many as leave least: what those follow that the hinges miss is wiggles.
    """
    rest = values
    numbers = [scored(one.values) for one in given if not one.categorical]
    if numbers:
        columns = np.column_stack(numbers)
        rest = rest - np.column_stack([_predicted(one, columns) for one in rest.T])
    for one in given:
        if one.categorical:
            rest = _beyond_classes(rest, one.values)
    for number in numbers:
        order = np.argsort(number, kind="stable")
        best, least = rest, _size(rest) + np.log(GAIN)
        for window in WINDOWS:
            if 2 * window + 1 > len(rest) // 4:
                break
            finer = _beyond_lines(rest, order, window)
            if _size(finer) < least:
                best, least = finer, _size(finer)
        rest = best
    return rest


def _size(rest: Floats) -> float:
    return float(np.log(np.maximum((rest**2).mean(0), 1e-30)).sum())


def _beyond_classes(values: Floats, classes: NDArray[np.int64]) -> Floats:
    """Columns (n, c) less the mean of the other rows of the class; 0 where there is none."""
    count = np.bincount(classes)[classes][:, None]
    total = np.column_stack([np.bincount(classes, weights=one)[classes] for one in values.T])
    return np.where(count > 1, values - (total - values) / np.maximum(count - 1, 1), 0.0)


def _beyond_lines(values: Floats, order: Rows, window: int) -> Floats:
    """Columns (n, c) less a line through the `window` rows on each side along `order`, themselves left out.

    At the ends the window stays as wide and is not centred.
    """
    n, width = len(values), 2 * window + 1
    place = np.arange(n)
    first = np.clip(place - window, 0, n - width)
    ordered = values[order]
    moments = []
    for power in (ordered, ordered * place[:, None]):
        summed = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(power, axis=0)])
        moments.append(summed[first + width] - summed[first])
    middle = first + window
    spread = width * (width**2 - 1) / 12
    slope = (moments[1] - middle[:, None] * moments[0]) / spread
    off = place - middle
    own = 1 / width + off**2 / spread  # by how much a row pulls the line at itself
    rest = np.empty_like(ordered)
    rest[order] = (ordered - moments[0] / width - slope * off[:, None]) / (1 - own)[:, None]
    return rest


def _predicted(values: Floats, given: Floats) -> Floats:
    """Ridge on hinges and products of the columns of `given`, predicted for the half not fitted.

    One term per twenty rows: with a hundred terms 500 rows and five columns came out .03 nats low.
    """
    n, d = given.shape
    pairs = d * (d - 1) // 2
    room = n / 20 - d
    first, second = np.triu_indices(d, 1) if room - pairs >= 3 * d else np.zeros((2, 0), dtype=np.intp)
    knots = neighbours.lattice(int(np.clip((room - first.size) / d, 3, 16)))
    hinges = np.maximum(given[:, :, None] - knots, 0.0).reshape(n, -1)
    terms = np.column_stack([np.ones(n), given, hinges, given[:, first] * given[:, second]])
    terms[:, 1:] /= np.maximum(terms[:, 1:].std(axis=0), 1e-12)
    half = np.arange(len(values)) % 2
    predicted = np.empty_like(values)
    for one in (0, 1):
        fitted, rest = terms[half != one], half == one
        gram = fitted.T @ fitted + 1e-4 * len(fitted) * np.diag([0.0, *np.ones(terms.shape[1] - 1)])
        predicted[rest] = terms[rest] @ np.linalg.solve(gram, fitted.T @ values[half != one])
    return predicted


# --- given classes: information within each


@dataclass(frozen=True)
class _Strata:
    """Rows (n,) by stratum, ordered, and where each begins."""

    number: NDArray[np.int64]
    rows: tuple[Rows, ...]


def _strata(classes: NDArray[np.int64], *, least: int) -> _Strata:
    """Classes as strata; those of fewer rows than neighbours need share one, their means being removed."""
    count = np.bincount(classes)
    number = _numbered(np.where(count[classes] < least, -1, classes))
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order]) != 0) + 1
    return _Strata(number, tuple(np.split(order, starts)))


def _stratified(
    x: Floats, y: NDArray[Any], strata: _Strata, *, categorical: bool, k: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    terms = np.zeros((2, x.size))
    for rows in strata.rows:
        near = min(k, rows.size - 1)
        if near < 1:
            continue
        in_x = ranks(x[rows], rng)
        if categorical:
            terms[:, rows] = np.nan_to_num(neighbours.ross_terms(in_x, y[rows], k=near))
        else:
            terms[:, rows] = neighbours.ksg_terms(in_x, ranks(y[rows], rng), k=near)
    return terms[0], terms[1]


# --- the null


def _shuffled(y: NDArray[Any], setting: _Strata | Floats, rng: np.random.Generator) -> NDArray[Any]:
    """y moved within blocks of rows of like z, or within strata, so that none stays where it was."""
    n = y.size
    if isinstance(setting, _Strata):
        order = np.concatenate([rng.permutation(rows) for rows in setting.rows])
        cuts = np.cumsum([0, *(rows.size for rows in setting.rows)])
    else:
        order = np.argsort(setting, kind="stable")
        begin = int(rng.integers(2, BLOCK + 2))
        cuts = np.array([0, *range(begin, n - 1, BLOCK), n])
    size = np.diff(cuts)
    start, width = np.repeat(cuts[:-1], size), np.repeat(size, size)
    step = 1 + (rng.random(size.size) * np.maximum(size - 1, 1)).astype(np.intp)
    source = start + (np.arange(n) - start + np.repeat(step, size)) % width
    moved = np.empty_like(y)
    moved[order] = y[order[source]]
    return moved


def _columns(z: Any) -> list[tuple[str, Any]]:
    """The columns of (n,), (n, d), a data frame or a table, with their names."""
    names = getattr(z, "colnames", None) or getattr(z, "column_names", None)  # astropy, pyarrow
    if names is None and getattr(z, "columns", None) is not None:
        names = list(z.columns)
    if names is None and hasattr(z, "keys") and not hasattr(z, "dtype"):
        names = list(z.keys())
    if names is not None:
        if not names:
            raise EvidenceError("z has no column; it must be (n,), (n, d) or a table with a column or more")
        return [(str(name), z[name]) for name in names]
    array = column_values(z)
    if array.ndim == 1:
        return [("", array)]
    if array.ndim != 2 or array.shape[1] == 0:
        raise EvidenceError(f"z must be (n,), (n, d) or a table with a column or more, not {array.shape}")
    return [(str(i), one) for i, one in enumerate(array.T)]
