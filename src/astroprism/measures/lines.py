"""Which lines and bands a node moves: its derivative against tables of stars and of the Earth's atmosphere.

Plain arrays; wavelengths in vacuum angstrom. docs/design/findings.md has the score, its null, and what was
measured of both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from ..grid import SPEED_OF_LIGHT
from ..schema import Line, LineGroup, number
from .evidence import EvidenceError, Floats
from .line_tables import (
    AIRMASS,
    WATER_MM,
    Group,
    atomic_groups,
    band_groups,
    line_groups,
    line_name,
    place_name,
    separable,
    telluric_groups,
)

__all__ = [
    "AIRMASS",
    "SURE",
    "WATER_MM",
    "Enrichment",
    "Group",
    "atomic_groups",
    "line_groups",
    "line_name",
    "match_lines",
    "rest_profile",
    "star_velocities",
    "star_velocity",
    "telluric_groups",
]

NAMED_Q, NAMED_ENRICHMENT = 0.05, 1.3
FAINT = 0.1  # of what the strongest named line does: a group whose strongest line does less is not named
WIDTH = 10.0  # km/s to each side of a line that count as the line: of a slow rotator
AROUND = 15  # times that: what a line is compared with
FAR, FAR_WIDTHS = 1_500.0, 30.0  # how far a line is moved for the null: km/s, or widths if that is more
CROWDED = 0.5  # share of their surroundings that lines may cover; beyond, there is nothing beside them
STANDS = 1.1  # what a line must have over its surroundings to be listed as one that moves
FLANK = 0.5  # of a band's width, to each side: what the band is compared with
TOP = 6
DRAWS = 4_000
SURE = 4.0  # significance of a star's velocity below which it means nothing
SLOW = 60.0  # km/s of a resolution element beyond which the Earth's motion tells no star from the air


@dataclass(frozen=True)
class Enrichment:
    """How much larger a derivative is at a group's lines, or in its bands, than beside them.

    lines       of the group in the window that the resolution separates from others; or bands
    enrichment  mean of the derivative at the lines, weighed by depth, over its mean around them
    p, q        that lines at random places stand out as much; q over all groups
    p_alone     the same without what lies on lines of stronger groups; NaN where nothing is left
    named       q <= .05, enrichment >= 1.3, not gone with the lines of stronger groups, and not faint
    top         the lines that move most: wavelength, name, value (in the derivative's unit)
    kind        'lines' or 'bands'
    inseparable lines of the group that others share a resolution element with: they are not used
    confused_with  groups that explain as much of it: without their lines this one is gone, too
    """

    name: str
    element: str
    frame: str
    lines: int
    enrichment: float
    p: float
    q: float
    p_alone: float
    named: bool
    top: tuple[tuple[float, str, float], ...]
    kind: str = "lines"
    inseparable: int = 0
    confused_with: tuple[str, ...] = ()

    def summary(self) -> LineGroup:
        """As findings.json keeps it."""
        return LineGroup(
            name=self.name,
            element=self.element,
            frame=self.frame,
            enrichment=number(self.enrichment),
            p=number(self.p),
            q=number(self.q),
            p_alone=number(self.p_alone),
            named=self.named,
            top=[Line(*one) for one in self.top],
            lines_in_window=self.lines,
            kind=self.kind,
            inseparable=self.inseparable,
            confused_with=list(self.confused_with),
        )


def match_lines(
    wavelength: ArrayLike,
    star: ArrayLike,
    *,
    sky: ArrayLike | None = None,
    groups: Sequence[Group] | None = None,
    width: float = WIDTH,
    element: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Enrichment]:
    """Every group of lines or bands against a derivative, the most significant first.

    wavelength (p,), rising; star (p,): size of the derivative at rest with the star, NaN where there is
    none; sky (p,): at rest with the observer, `star` by default. width: km/s to each side that count, at
    least; element: full width at half maximum of a narrow line, km/s, two pixels by default.

    A line's score is what the derivative has there over what it has around (fifteen widths to each side), so
    that whatever is smooth scores nothing; a band's is what it has inside over what it has to both sides. The
    null moves each by a random amount of its own: as many lines, as deep, in the same part of the spectrum,
    but nowhere in particular. Lines that do not dominate their resolution element are not used.
    """
    place = np.log(np.asarray(wavelength, dtype=np.float64))
    if place.ndim != 1 or place.size < 16 or not (np.diff(place) > 0).all():
        raise EvidenceError("wavelengths must be a rising column of 16 pixels or more")
    sizes = {
        frame: _Derivative(place, _size(size, place.size))
        for frame, size in (("star", star), ("sky", star if sky is None else sky))
    }
    pixel = float(np.median(np.diff(place))) * SPEED_OF_LIGHT
    element = 2 * pixel if element is None else max(element, pixel)
    half = max(width, 0.75 * pixel, element / 2) / SPEED_OF_LIGHT
    given = line_groups() if groups is None else tuple(groups)
    tests = [
        *_line_tests(place, given, half=half, element=element),
        *_band_tests(place, band_groups() if groups is None else given, element=element),
    ]
    found = [
        _enriched(test, sizes, draws, np.random.default_rng([seed, which]))
        for which, test in enumerate(tests)
    ]
    if not tests:
        return []
    tests, found = _best_of_widths(tests, found)
    p = np.array([one[1] for one in found])
    q = false_discovery_control(p)
    order = sorted(range(len(tests)), key=lambda i: (round(float(p[i]), 5), -found[i][2]))
    by_frame = {frame: [one for one in given if one.frame == frame and not one.bands] for frame in sizes}
    left = dict(sizes)
    result: list[Enrichment] = []
    stronger: list[tuple[int, int]] = []  # place in `result`, test
    for which in order:
        test, (ratio, one_p, _) = tests[which], found[which]
        alone, candidate = float("nan"), bool(q[which] <= NAMED_Q and ratio >= NAMED_ENRICHMENT)
        if candidate:
            alone = _enriched(test, left, draws, np.random.default_rng([seed, which, 1]))[1]
        named = bool(alone <= NAMED_Q)
        if candidate and not named:  # gone with a stronger group: is that one gone with this, too?
            for at, other in stronger:
                if _alike(tests[other], test, sizes, sky is None or element > SLOW, draws=draws, seed=seed):
                    confused = (*result[at].confused_with, test.group.name)
                    result[at] = replace(result[at], confused_with=confused)
        group = test.group
        result.append(
            Enrichment(
                name=group.name,
                element=group.element,
                frame=group.frame,
                lines=len(group.wavelength),
                enrichment=ratio,
                p=one_p,
                q=float(q[which]),
                p_alone=alone,
                named=named,
                top=test.top(sizes[group.frame], by_frame[group.frame]),
                kind="bands" if group.bands else "lines",
                inseparable=test.inseparable,
            )
        )
        if named:  # weaker groups are tested without these lines
            stronger.append((len(result) - 1, which))
            left = _without(left, test, both=sky is None or element > SLOW)
    brightest = max((one.top[0][2] for one in result if one.named and one.top), default=0.0)
    return [
        replace(one, named=one.named and bool(one.top) and one.top[0][2] >= FAINT * brightest)
        for one in result
    ]


def _best_of_widths(
    tests: Sequence[_Test], found: Sequence[tuple[float, float, float]]
) -> tuple[list[_Test], list[tuple[float, float, float]]]:
    """Of tests of one group at several widths the most significant, its p times their number."""
    by_group: dict[tuple[str, str, bool], list[int]] = {}
    for which, test in enumerate(tests):
        by_group.setdefault((test.group.name, test.group.frame, test.group.bands), []).append(which)
    best = [min(one, key=lambda i: (found[i][1], -found[i][2])) for one in by_group.values()]
    tried = [len(one) for one in by_group.values()]
    kept = [found[i] for i in best]
    return [tests[i] for i in best], [
        (ratio, min(1.0, p * many), sigma) for (ratio, p, sigma), many in zip(kept, tried, strict=True)
    ]


def _alike(
    one: _Test, other: _Test, sizes: dict[str, _Derivative], both: bool, *, draws: int, seed: int
) -> bool:
    """Whether `one` is gone where the lines of `other` are left out."""
    without = _without(sizes, other, both=both)
    return not _enriched(one, without, draws, np.random.default_rng([seed, 2]))[1] <= NAMED_Q


def _without(sizes: dict[str, _Derivative], test: _Test, *, both: bool) -> dict[str, _Derivative]:
    """The derivatives without the lines of a test, in its frame or in both."""
    return {
        frame: size.without(test.covers) if both or frame == test.group.frame else size
        for frame, size in sizes.items()
    }


def rest_profile(derivatives: ArrayLike, wavelength: ArrayLike, *, velocity: ArrayLike) -> Floats:
    """Root mean square over spectra of derivatives (b, p), each moved to rest from `velocity` (b,) km/s.

    Zeros count as no data: the decoder's derivative is 0 where pixels are masked.
    """
    slopes, grid = np.asarray(derivatives, dtype=np.float64), np.asarray(wavelength, dtype=np.float64)
    total, count = np.zeros(grid.size), np.zeros(grid.size)
    for row, speed in zip(slopes, np.asarray(velocity, dtype=np.float64), strict=True):
        at = grid * (1 + speed / SPEED_OF_LIGHT)
        known = np.interp(at, grid, (row != 0).astype(np.float64), left=0.0, right=0.0) > 0.999
        total += np.where(known, np.interp(at, grid, row**2), 0.0)
        count += known
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan)


def star_velocity(wavelength: ArrayLike, flux: ArrayLike, *, reach: float = 400.0) -> tuple[float, float]:
    """(km/s, significance) of a noiseless spectrum by cross-correlation with the atomic lines.

    Significance is the peak over the scatter of the correlation; below `SURE` the velocity means nothing.
    """
    grid, flux = np.asarray(wavelength, dtype=np.float64), np.asarray(flux, dtype=np.float64)
    place, step = np.log(grid), float(np.median(np.diff(np.log(grid))))
    smooth = max(3, round(500.0 / SPEED_OF_LIGHT / step))
    depth = _running_mean(flux, smooth) - flux
    depth = np.clip(depth, -3 * depth.std(), 3 * depth.std())
    low, high = np.exp(place[0] + reach / SPEED_OF_LIGHT), np.exp(place[-1] - reach / SPEED_OF_LIGHT)
    lines = [one.window(low, high) for one in atomic_groups()]
    centre = np.log(np.concatenate([one.wavelength for one in lines]))
    weight = np.concatenate([one.weight for one in lines])
    if not centre.size:
        return 0.0, 0.0
    speeds = np.arange(-reach, reach + 1e-9, max(1.0, 0.5 * step * SPEED_OF_LIGHT))
    peaks = np.array([weight @ np.interp(centre + speed / SPEED_OF_LIGHT, place, depth) for speed in speeds])
    best = int(peaks.argmax())
    spread = 1.4826 * float(np.median(np.abs(peaks - np.median(peaks))))
    if 0 < best < speeds.size - 1:  # the vertex of the parabola through the peak
        a, b, c = peaks[best - 1 : best + 2]
        shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else 0.0
    else:
        shift = 0.0
    significance = float((peaks[best] - np.median(peaks)) / spread) if spread > 0 else 0.0
    return float(speeds[best] + shift * (speeds[1] - speeds[0])), significance


def star_velocities(wavelength: ArrayLike, spectra: ArrayLike) -> Floats:
    """km/s of each of noiseless spectra (b, p), 0 where its lines do not give it."""
    found = [star_velocity(wavelength, row) for row in np.asarray(spectra, dtype=np.float64)]
    return np.array([speed if significance >= SURE else 0.0 for speed, significance in found])


# --- the tests


@dataclass(frozen=True)
class _Test:
    """A group that is tested.

    covers  (p,) pixels on its lines or in its bands
    score   from the size of a derivative (p,) and offsets (draws, l) to what the group has there over what
            is beside, two arrays of (draws, l)
    reach   (l, 2): how far each of its lines may be moved for the null, ln wavelength
    top     from size and groups of lines to the lines that move most
    """

    group: Group
    covers: NDArray[np.bool_]
    score: Callable[[_Derivative, Floats], tuple[Floats, Floats]]
    reach: Floats
    top: Callable[[_Derivative, Sequence[Group]], tuple[tuple[float, str, float], ...]]
    inseparable: int = 0


def _line_tests(place: Floats, groups: Sequence[Group], *, half: float, element: float) -> list[_Test]:
    """Of each group those lines that the resolution separates; a test per width where lines may be broad."""
    edge = FAR / SPEED_OF_LIGHT / 10
    low, high = np.exp(place[0] + edge), np.exp(place[-1] - edge)
    tests = []
    for frame in ("star", "sky"):
        mine = [one for one in groups if one.frame == frame and not one.bands]
        kept = {id(whole): part for whole, part in _pairs(mine, separable(mine, element=element))}
        for whole in mine:
            here = len(whole.window(low, high).wavelength)
            group = kept[id(whole)].window(low, high) if id(whole) in kept else None
            if group is None or not len(group.wavelength):
                continue
            # broad in many stars, narrow where only cores move: the better of the two is used
            for own in sorted({half, max(half, group.breadth / SPEED_OF_LIGHT)}):
                left_out = here - len(group.wavelength)
                test = _line_test(place, group, half=own, element=element, inseparable=left_out)
                tests += [] if test is None else [test]
    return tests


def _pairs(whole: Sequence[Group], parts: Sequence[Group]) -> list[tuple[Group, Group]]:
    names = {one.name: one for one in parts}
    return [(one, names[one.name]) for one in whole if one.name in names]


def _line_test(place: Floats, group: Group, *, half: float, element: float, inseparable: int) -> _Test | None:
    centre = np.log(group.wavelength)
    covers = _covered(place, centre - 2 * half, centre + 2 * half)
    cores = _covered(place, centre - half, centre + half)
    around = _covered(place, centre - AROUND * half, centre + AROUND * half)
    if cores.sum() > CROWDED * around.sum():
        return None

    def score(size: _Derivative, offset: Floats) -> tuple[Floats, Floats]:
        profile = size.profile(half)
        return profile.at(centre + offset), profile.around(centre + offset)

    far = max(FAR / SPEED_OF_LIGHT, FAR_WIDTHS * half)
    reach = np.stack([np.minimum(far, centre - place[0]), np.minimum(far, place[-1] - centre)], 1)

    def top(size: _Derivative, groups: Sequence[Group]) -> tuple[tuple[float, str, float], ...]:
        profile = size.profile(half)
        value, beside = profile.at(centre), profile.around(centre)
        stands = np.isfinite(value) & (value >= STANDS * np.nan_to_num(beside))
        found: dict[str, tuple[float, str, float]] = {}
        for i in np.argsort(-np.where(stands, value, -1.0), kind="stable")[:TOP].tolist():
            if stands[i]:
                where = float(group.wavelength[i])
                name = place_name(where, groups, element=element) or line_name(group.name, where)
                found.setdefault(name, (round(where, 2), name, float(value[i])))
        return tuple(found.values())

    return _Test(group, covers, score, reach, top, inseparable)


def _band_tests(place: Floats, groups: Sequence[Group], *, element: float) -> list[_Test]:
    """Of each group of bands those that lie in the grid with flanks, and are broader than an element."""
    tests = []
    for group in groups:
        if group.high is None:
            continue
        low, high = np.log(group.wavelength), np.log(group.high)
        flank = np.maximum(FLANK * (high - low), 2 * element / SPEED_OF_LIGHT)
        inside = (low - flank >= place[0]) & (high + flank <= place[-1])
        inside &= high - low >= 1.5 * element / SPEED_OF_LIGHT
        if inside.any():
            tests.append(_band_test(place, group.take(inside), flank[inside]))
    return tests


def _band_test(place: Floats, group: Group, flank: Floats) -> _Test:
    assert group.high is not None
    low, high = np.log(group.wavelength), np.log(group.high)
    covers = _covered(place, low, high)
    # flanks end where the molecule's next band begins
    left = np.array([np.min([f, *(a - high[high <= a])]) for a, f in zip(low, flank, strict=True)])
    right = np.array([np.min([f, *(low[low >= b] - b)]) for b, f in zip(high, flank, strict=True)])

    def score(size: _Derivative, offset: Floats) -> tuple[Floats, Floats]:
        total, known = size.sums

        def mean(*spans: tuple[Floats, Floats]) -> Floats:
            sums = [
                sum(np.interp(b, place, values) - np.interp(a, place, values) for a, b in spans)
                for values in (total, known)
            ]
            length = sum(b - a for a, b in spans)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(sums[1] > 0.5 * length, sums[0] / sums[1], np.nan)

        a, b = low + offset, high + offset
        return mean((a, b)), mean((a - left, a), (b, b + right))

    def top(size: _Derivative, groups: Sequence[Group]) -> tuple[tuple[float, str, float], ...]:
        del groups
        value, beside = (one[0] for one in score(size, np.zeros((1, low.size))))
        stands = np.isfinite(value) & (value >= STANDS * np.nan_to_num(beside))
        order = [i for i in np.argsort(-np.where(stands, value, -1.0), kind="stable") if stands[i]]
        return tuple(
            (round(float(group.wavelength[i]), 2), group.labels[i], float(value[i])) for i in order[:TOP]
        )

    reach = np.stack([low - left - place[0], place[-1] - high - right], 1)
    return _Test(group, covers, score, np.maximum(reach, 0), top)


def _covered(place: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Pixels (p,) within any of the spans [low, high], each (l,)."""
    edges = np.zeros(place.size + 1)
    np.add.at(edges, np.searchsorted(place, low), 1)
    np.add.at(edges, np.searchsorted(place, high), -1)
    return np.asarray(np.cumsum(edges)[:-1] > 0)


# --- the score


class _Derivative:
    """The size of a derivative (p,) over ln wavelength, with what scores need of it, made once."""

    def __init__(self, place: Floats, size: Floats) -> None:
        self.place, self.size = place, size
        self._profiles: dict[float, _Profile] = {}

    def profile(self, half: float) -> _Profile:
        """Averages over lines that reach `half` to each side."""
        if half not in self._profiles:
            self._profiles[half] = _Profile(self.place, self.size, half)
        return self._profiles[half]

    @functools.cached_property
    def sums(self) -> tuple[Floats, Floats]:
        """Integrals up to each pixel of the size and of where it is known, (p,) each."""
        span, good = np.gradient(self.place), np.isfinite(self.size)
        return np.cumsum(np.where(good, self.size, 0.0) * span), np.cumsum(good * span)

    def without(self, covered: NDArray[np.bool_]) -> _Derivative:
        """The same with NaN where covered (p,)."""
        return _Derivative(self.place, np.where(covered, np.nan, self.size))


class _Profile:
    """A derivative's size, averaged over the width of a line at any place (ln wavelength)."""

    def __init__(self, place: Floats, size: Floats, half: float) -> None:
        self.first, self.last, self.half = float(place[0]), float(place[-1]), half
        edges = np.concatenate([[place[0]], (place[1:] + place[:-1]) / 2, [place[-1]]])
        good, span = np.isfinite(size), np.diff(edges)
        step = min(float(np.median(np.diff(place))), half / 2)
        self._step = step
        fine = self.first + step * np.arange(int((self.last - self.first) / step) + 2)
        totals = [
            np.concatenate([[0.0], np.cumsum(one)]) for one in (np.where(good, size, 0.0) * span, good * span)
        ]

        def mean(reach: float) -> Floats:
            around, known = (
                np.interp(fine + reach, edges, total) - np.interp(fine - reach, edges, total)
                for total in totals
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(known > half, around / known, np.nan)

        self._mean, self._around = mean(half), mean(AROUND * half)

    def _index(self, place: Floats) -> NDArray[np.intp]:
        index = np.rint((place - self.first) / self._step).astype(np.intp)
        return np.asarray(np.clip(index, 0, self._mean.size - 1))

    def at(self, place: Floats) -> Floats:
        """Mean size within `half` of each place; NaN where less than half of it is known."""
        return np.asarray(self._mean[self._index(place)])

    def around(self, place: Floats) -> Floats:
        """The same within 15 times as much."""
        return np.asarray(self._around[self._index(place)])


def _enriched(
    test: _Test, sizes: dict[str, _Derivative], draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """(enrichment, p, how many standard deviations above the null)."""
    size, weight = sizes[test.group.frame], test.group.weight
    at, beside = (one[0] for one in test.score(size, np.zeros((1, weight.size))))
    score = _score(at - beside, weight)
    if not score > 0:
        return float("nan") if not np.isfinite(score) else 1.0, 1.0, 0.0
    known = np.isfinite(at) & np.isfinite(beside)
    ratio = _score(at, weight * known) / max(_score(np.where(known, beside, np.nan), weight), 1e-300)
    null = np.empty(draws)
    chunk = max(1, 400_000 // weight.size)
    for start in range(0, draws, chunk):
        shape = (min(chunk, draws - start), weight.size)
        # nearby places count: that a bump lies just there is what the null has to give
        moved = rng.uniform(-test.reach[:, 0], test.reach[:, 1], shape)
        at, beside = test.score(size, moved)
        null[start : start + shape[0]] = _score(at - beside, weight)
    null = null[np.isfinite(null)]
    if null.size < draws / 2:
        return float("nan"), 1.0, 0.0
    mean, spread = float(null.mean()), float(null.std())
    p = (1 + int((null >= score * (1 - 1e-12)).sum())) / (1 + null.size)
    return float(ratio), float(p), float((score - mean) / spread) if spread > 0 else 0.0


def _score(values: Floats, weight: Floats) -> Any:
    """Weighed mean over lines, the last axis; lines without a value do not count."""
    known = np.isfinite(values)
    total = (known * weight).sum(-1)
    weighed = (np.where(known, values, 0.0) * weight).sum(-1)
    return np.where(total > 0, weighed / np.maximum(total, 1e-300), np.nan)


def _size(values: ArrayLike, pixels: int) -> Floats:
    size = np.abs(np.asarray(values, dtype=np.float64))
    if size.shape != (pixels,):
        raise EvidenceError(f"the derivative must have the {pixels} pixels of the grid, not {size.shape}")
    return np.where(np.isfinite(size), size, np.nan)


def _running_mean(values: Floats, pixels: int) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(values.size)
    low, high = np.maximum(index - pixels, 0), np.minimum(index + pixels + 1, values.size)
    return np.asarray((total[high] - total[low]) / (high - low))
