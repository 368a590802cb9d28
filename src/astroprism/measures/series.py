"""One star in time: periodograms with false-alarm levels, sinusoids, and what varies within a night.

Plain arrays; n spectra of one star, k quantities. The periodogram is Lomb and Scargle's with a floating mean
and errors (Zechmeister and Kuerster 2009, A&A 496, 577), by astropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..schema import Period, VariancePart, Varying, number
from .evidence import EvidenceError, Floats
from .variance import FEWEST_REPEATS, split_variance

FEWEST = 20  # spectra of a series
LEVELS = (0.1, 0.01, 0.001)  # false-alarm levels that are drawn
SURE = 0.001  # false-alarm probability, over all series of a star, up to which a period is claimed
OVERSAMPLING = 5  # frequencies per 1 / span
MOST_FREQUENCIES = 100_000
FASTEST, SLOWEST = 12.0, 2.0  # per day: the highest frequency, however densely or thinly a night is sampled
MOST_PRODUCTS, FEWEST_DRAWS = 2.5e9, 30  # draws x spectra x frequencies of the null
CHUNK = 1_000  # frequencies at once
EULER = 0.5772157  # mean of the standard Gumbel distribution
DRAWS = 100  # of the null; the tail beyond is Gumbel's
BLOCKS = 16  # that a series of fewer than 8 nights is cut into
FEWEST_NIGHTS = 8
SHOWN = 1_500  # points of a periodogram that are kept for figures
WITHIN_P = 0.001
EARTHLY = {  # days
    "a year": 365.25,
    "half a year": 182.625,
    "a month of the Moon": 29.53059,
    "a day": 1.0,
    "a sidereal day": 0.9972696,
    "half a day": 0.5,
}


class Periodogram(NamedTuple):
    """Frequency (per day) and power (f,) of one quantity, the highest of each stretch."""

    frequency: Floats
    power: Floats


def vary(
    time: ArrayLike,
    values: ArrayLike,
    sd: ArrayLike,
    *,
    nights: ArrayLike,
    names: Sequence[tuple[int, str]],
    berv: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[list[Varying], list[Periodogram]]:
    """Each quantity's period, false-alarm levels and variance within nights, and its periodogram.

    time      (n,) days; values, sd (n, k); nights (n,) numbers; berv (n,) km/s, NaN where unknown
    names     (node, quantity) of each column
    """
    t, y, e = (np.asarray(one, dtype=np.float64) for one in (time, values, sd))
    night = np.unique(np.asarray(nights), return_inverse=True)[1]
    if y.ndim != 2 or y.shape != e.shape or t.shape != (len(y),) or len(names) != y.shape[1]:
        raise EvidenceError(f"times {t.shape}, values {y.shape} and sd {e.shape} do not fit together")
    if len(t) < FEWEST or not np.ptp(t) > 0:
        raise EvidenceError(f"{len(t)} spectra of one star; a series needs {FEWEST}, of different dates")
    if not (np.isfinite(t).all() and np.isfinite(y).all() and (e > 0).all()):
        raise EvidenceError("a series needs finite dates and values, and positive errors")
    rng = np.random.default_rng([seed, 11])
    grid = frequencies(t, night)
    between, within, varies = _variances(y, e, night, tries=len(names), seed=seed)
    found, periodograms = [], []
    nulls = _nulls(t, y, e, night, grid, rng, draws)
    for column, (node, quantity) in enumerate(names):
        one, error = y[:, column], e[:, column]
        power = _power(t, one, error, grid)
        null = nulls[column]
        correlation = p = None
        if berv is not None:
            correlation, p = _with_berv(one, np.asarray(berv, dtype=np.float64), tries=len(names))
        period = _period(t, one, error, grid, power, null=null, tries=len(names))
        found.append(
            Varying(
                node=node,
                quantity=quantity,
                spread=float(one.std(ddof=1)),
                error=float(np.median(error)),
                period=period,
                levels={f"{level:g}": null.power(level / len(names)) for level in LEVELS},
                between_nights=between[column],
                within_nights=within[column],
                varies_within_night=varies[column],
                berv_correlation=correlation,
                berv_p=p,
            )
        )
        periodograms.append(_thinned(grid, power))
    return found, periodograms


def frequencies(time: Floats, night: NDArray[Any]) -> Floats:
    """Frequencies (f,) that are searched, per day: from one cycle in the whole span upwards.

    The highest is half the sampling rate within nights, between 2 and 12 a day; less where a span is so long
    that there would be more than 100,000.
    """
    span = float(np.ptp(time))
    order = np.argsort(time)
    step, same = np.diff(time[order]), np.diff(night[order]) == 0
    steps = step[same & (step > 0)]
    highest = 0.5 / float(np.median(steps)) if steps.size >= 5 else SLOWEST
    highest = min(max(highest, SLOWEST), FASTEST) if span > 1 else max(highest, SLOWEST)
    count = int(min(MOST_FREQUENCIES, np.ceil(OVERSAMPLING * span * highest)))
    return (1 + np.arange(count) / OVERSAMPLING) / span


def folded(time: ArrayLike, period: Period) -> Floats:
    """Phases (n,) from 0 to 1, 0 at the maximum of the sinusoid."""
    return np.asarray(((np.asarray(time, dtype=np.float64) - period.epoch) / period.period) % 1)


def sinusoid(time: ArrayLike, period: Period) -> Floats:
    """The fitted sinusoid at (n,) dates."""
    angle = 2 * np.pi * (np.asarray(time, dtype=np.float64) - period.epoch) / period.period
    return np.asarray(period.level + period.amplitude * np.cos(angle))


# --- periodograms


def _power(t: Floats, y: Floats, e: Floats, grid: Floats) -> Floats:
    from astropy.timeseries import LombScargle

    step = grid[1] - grid[0] if grid.size > 1 else 1.0
    found = LombScargle(t, y, e, fit_mean=True).power(
        np.asarray(grid[0] + step * np.arange(grid.size)), method="fast", assume_regular_frequency=True
    )
    return np.clip(np.asarray(found, dtype=np.float64), 0, 1 - 1e-12)


class _Null(NamedTuple):
    """What noise reaches anywhere on the grid, in two ways; the one that reaches more counts.

    middle, scale  of the Gumbel distribution of the highest -(n - 3) / 2 ln(1 - power), nights shuffled
    width, n       of Baluev's bound for white noise
    """

    middle: float
    scale: float
    width: float
    n: int

    def chance(self, power: float) -> float:
        """How often noise reaches `power` anywhere."""
        height = -0.5 * (self.n - 3) * np.log1p(-power)
        blocks = -np.expm1(-np.exp(-(height - self.middle) / self.scale))
        white = self.width * np.exp(-height * (self.n - 4) / (self.n - 3)) * np.sqrt(max(height, 0))
        return float(min(1.0, max(blocks, white, np.exp(-height))))

    def power(self, level: float) -> float:
        """The power that noise reaches anywhere with probability `level`."""
        low, high = 0.0, 1 - 1e-12
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.chance(middle) > level else (low, middle)
        return high


def _nulls(
    t: Floats, y: Floats, e: Floats, night: NDArray[Any], grid: Floats, rng: np.random.Generator, draws: int
) -> list[_Null]:
    """Of each column, noise that is correlated within nights, or blocks of time, and not between them.

    The means of nights change places and signs, and what deviates from them changes sign night by night: any
    correlation within a night stays, and no phase survives from night to night. White noise is Baluev's bound
    (2008, MNRAS 385, 1279), W = highest frequency x sqrt(4 pi var(t)).
    """
    n = len(y)
    block = night if int(night.max()) + 1 >= FEWEST_NIGHTS else _blocks(t)
    number_of = int(block.max()) + 1
    draws = int(np.clip(MOST_PRODUCTS / (n * grid.size), FEWEST_DRAWS, draws))
    weights = e**-2.0 / (e**-2.0).sum(0)
    made = []
    for one, w in zip(y.T, weights.T, strict=True):
        centred = one - w @ one
        middle = np.bincount(block, weights=w * centred) / np.bincount(block, weights=w)
        rest = centred - middle[block]
        means = rng.permuted(np.tile(middle, (draws, 1)), axis=1) * rng.choice(
            [-1.0, 1.0], (draws, number_of)
        )
        made.append(means[:, block] + rest * rng.choice([-1.0, 1.0], (draws, number_of))[:, block])
    found = []
    for top, w in zip(_highest(t, made, weights, grid), weights.T, strict=True):
        heights = -0.5 * (n - 3) * np.log1p(-np.minimum(top, 1 - 1e-12))
        scale = max(float(heights.std(ddof=1)) * np.sqrt(6) / np.pi, 1.0)  # white noise has 1, red has more
        spread = np.average((t - w @ t) ** 2, weights=w)
        width = float(grid[-1] * np.sqrt(4 * np.pi * spread))
        found.append(_Null(float(heights.mean()) - EULER * scale, scale, width, n))
    return found


def _highest(t: Floats, made: list[Floats], weights: Floats, grid: Floats) -> list[Floats]:
    """The highest power on the grid of each row of made[column] (draws, n), weights (n, columns).

    Astropy's periodogram of one series at a time would take ten times as long: here all draws share sines.
    Zechmeister and Kuerster's equations 5 to 15.
    """
    top = [np.zeros(len(one)) for one in made]
    weighted = [one * w for one, w in zip(made, weights.T, strict=True)]
    sums = [one.sum(1) for one in weighted]
    squares = [(w * one).sum(1) - y**2 for w, one, y in zip(weighted, made, sums, strict=True)]
    since = t - t.mean()
    for start in range(0, grid.size, CHUNK):
        angle = 2 * np.pi * np.outer(since, grid[start : start + CHUNK])
        cosine, sine = np.cos(angle), np.sin(angle)
        for column, w in enumerate(weights.T):
            c, s = w @ cosine, w @ sine
            cc = w @ cosine**2 - c**2
            ss = 1 - w @ cosine**2 - s**2
            cs = w @ (cosine * sine) - c * s
            yc = weighted[column] @ cosine - sums[column][:, None] * c
            ys = weighted[column] @ sine - sums[column][:, None] * s
            power = (ss * yc**2 + cc * ys**2 - 2 * cs * yc * ys) / np.maximum(cc * ss - cs**2, 1e-12)
            top[column] = np.maximum(top[column], power.max(1) / squares[column])
    return top


def _blocks(t: Floats) -> NDArray[np.intp]:
    """Consecutive runs of equally many spectra."""
    rank = np.argsort(np.argsort(t, kind="stable"), kind="stable")
    return np.asarray(rank * min(BLOCKS, len(t) // 2) // len(t), dtype=np.intp)


def _thinned(grid: Floats, power: Floats) -> Periodogram:
    """The highest power of each stretch of frequencies, stretches even in their logarithm."""
    edges = np.unique(np.searchsorted(grid, np.geomspace(grid[0], grid[-1], SHOWN)))
    edges = edges[edges < grid.size]
    if edges[0] != 0:
        edges = np.insert(edges, 0, 0)
    best = [
        start + int(np.argmax(power[start:stop]))
        for start, stop in zip(edges, [*edges[1:], grid.size], strict=True)
    ]
    return Periodogram(grid[best], power[best])


# --- the period


def _period(
    t: Floats, y: Floats, e: Floats, grid: Floats, power: Floats, *, null: _Null, tries: int
) -> Period:
    span = float(np.ptp(t))
    f, fit = _refined(t, y, e, float(grid[int(np.argmax(power))]), 1 / (OVERSAMPLING * span))
    reached = float(max(power.max(), 1 - fit.chi2 / fit.flat))
    chance = min(1.0, tries * null.chance(min(reached, 1 - 1e-12)))
    dof = max(len(t) - 4, 1)
    scaled = max(fit.chi2 / dof, 1.0)
    errors = np.sqrt(np.diag(fit.covariance) * scaled)
    level, a, b = fit.level, fit.a, fit.b
    amplitude = float(np.hypot(a, b))
    gradient = np.array([0, a / amplitude, b / amplitude, 0])
    turn = np.array([0, -b / amplitude**2, a / amplitude**2, 0]) / (2 * np.pi * f)
    middle = fit.middle
    epoch = middle + float(np.arctan2(b, a)) / (2 * np.pi * f)
    near = next((name for name, days in EARTHLY.items() if abs(f - 1 / days) < 1.5 / span), "")
    others = _aliases(t, y, e, grid, power, fit.chi2, scaled, f, span)
    return Period(
        period=1 / f,
        period_sd=float(errors[3]) / f**2,
        amplitude=amplitude,
        amplitude_sd=float(np.sqrt(gradient @ fit.covariance @ gradient * scaled)),
        epoch=epoch,
        epoch_sd=float(np.sqrt(turn @ fit.covariance @ turn * scaled)),
        level=level,
        power=min(reached, 1.0),
        false_alarm=chance,
        significant=chance <= SURE,
        chi2=fit.chi2 / dof,
        near=near,
        aliases=others,
    )


class _Fit(NamedTuple):
    """level + a cos + b sin at frequency f about `middle`; covariance (4, 4) of level, a, b, f."""

    level: float
    a: float
    b: float
    chi2: float
    flat: float
    covariance: Floats
    middle: float


def _refined(t: Floats, y: Floats, e: Floats, f: float, step: float) -> tuple[float, _Fit]:
    """The frequency of least chi2 within a step or two of f, and the sinusoid there."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda one: _fit(t, y, e, float(one)).chi2,
        bounds=(max(f - 1.5 * step, 0.2 * f), f + 1.5 * step),
        method="bounded",
        options={"xatol": 1e-4 * step},
    )
    best = float(found.x)
    return best, _fit(t, y, e, best)


def _fit(t: Floats, y: Floats, e: Floats, f: float) -> _Fit:
    middle = float(np.average(t, weights=e**-2.0))
    angle = 2 * np.pi * f * (t - middle)
    terms = np.column_stack([np.ones_like(t), np.cos(angle), np.sin(angle)]) / e[:, None]
    level, a, b = np.linalg.lstsq(terms, y / e, rcond=None)[0]
    rest = y / e - terms @ [level, a, b]
    slope = 2 * np.pi * (t - middle) * (b * np.cos(angle) - a * np.sin(angle)) / e
    design = np.column_stack([terms, slope])
    flat = float(np.sum(((y - np.average(y, weights=e**-2.0)) / e) ** 2))
    return _Fit(
        float(level), float(a), float(b), float(rest @ rest), flat, np.linalg.pinv(design.T @ design), middle
    )


def _aliases(
    t: Floats,
    y: Floats,
    e: Floats,
    grid: Floats,
    power: Floats,
    chi2: float,
    scaled: float,
    f: float,
    span: float,
) -> list[float]:
    """Up to three other periods whose chi2 is within 9 of the best, errors scaled."""
    inner = (power[1:-1] > power[:-2]) & (power[1:-1] >= power[2:])
    peaks = 1 + np.flatnonzero(inner)
    peaks = peaks[np.argsort(-power[peaks])][:12]
    found: list[float] = []
    for peak in peaks:
        if abs(grid[peak] - f) < 1.5 / span or any(abs(grid[peak] - 1 / one) < 1.5 / span for one in found):
            continue
        other, fit = _refined(t, y, e, float(grid[peak]), 1 / (OVERSAMPLING * span))
        if (fit.chi2 - chi2) / scaled < 9:
            found.append(1 / other)
    return found[:3]


# --- nights and BERV


def _variances(
    y: Floats, e: Floats, night: NDArray[Any], *, tries: int, seed: int
) -> tuple[list[VariancePart | None], list[VariancePart | None], list[bool]]:
    """Variance between and within nights, and whether it varies within nights beyond its errors."""
    from scipy.stats import chi2

    columns = y.shape[1]
    visits = np.bincount(night)
    nothing: list[VariancePart | None] = [None] * columns
    if (visits > 1).sum() >= FEWEST_REPEATS:
        splits = split_variance(y, e**2, targets=night, seed=seed)
        within = [one.within for one in splits]
        sure = [part is not None and (part.low or 0.0) > 0 and part.p * tries <= 0.05 for part in within]
        between: list[VariancePart | None] = [one.star for one in splits]
    else:
        between, within, sure = nothing, nothing, [True] * columns
    freedom = int((visits - 1).sum())
    if freedom < 5:
        return between, within, [False] * columns
    weight = e**-2.0
    means = np.stack(
        [
            np.bincount(night, weights=w * x) / np.bincount(night, weights=w)
            for w, x in zip(weight.T, y.T, strict=True)
        ],
        1,
    )
    p = chi2.sf((((y - means[night]) / e) ** 2).sum(0), freedom)
    return (
        between,
        within,
        [bool(one and chance * tries <= WITHIN_P) for one, chance in zip(sure, p, strict=True)],
    )


def _with_berv(y: Floats, berv: Floats, *, tries: int) -> tuple[float | None, float | None]:
    from scipy.stats import spearmanr

    known = np.isfinite(berv)
    if known.sum() < FEWEST or np.ptp(berv[known]) == 0 or np.ptp(y[known]) == 0:
        return None, None
    found: Any = spearmanr(y[known], berv[known])
    return number(found.statistic), number(min(1.0, tries * float(found.pvalue)))
