"""Which lines a node moves: its derivative against tables of atoms and of the Earth's atmosphere.

Plain arrays; wavelengths in vacuum angstrom. docs/design/findings.md has the score, its null, and what was
measured of both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from ..grid import SPEED_OF_LIGHT
from ..schema import Line, LineGroup, number
from ..simulate.layer import populations, solve_layer
from ..simulate.linelist import continuum_factor, load_lines, static_strength
from ..simulate.sky import telluric_lines
from .evidence import EvidenceError, Floats

NAMED_Q, NAMED_ENRICHMENT = 0.05, 1.3
FAINT = 0.1  # of what the strongest named line does: a group whose strongest line does less is not named
WIDTH = 10.0  # km/s to each side of a line that count as the line: of a slow rotator
AROUND = 15  # times that: what a line is compared with
NEAR, FAR = 5.0, 1_500.0  # widths, km/s: how far a line is moved for the null
WEAKEST = 0.02  # depth below which a line is left out
TOP = 6
DRAWS = 4_000
WATER_MM, AIRMASS = 3.0, 1.2  # a usual sky: sets how telluric lines are weighed
SURE = 4.0  # significance of a star's velocity below which it means nothing
_KNOWN = {
    3934.78: "Ca II K",
    3969.59: "Ca II H",
    4102.89: "H delta",
    4341.68: "H gamma",
    4862.68: "H beta",
    5168.76: "Mg b4",
    5174.13: "Mg b2",
    5185.05: "Mg b1",
    5891.58: "Na D2",
    5897.56: "Na D1",
    6564.61: "H alpha",
    6709.61: "Li 6708",
    8500.36: "Ca IR 1",
    8544.44: "Ca IR 2",
    8664.52: "Ca IR 3",
}


@dataclass(frozen=True)
class Group:
    """Lines that come together: a species such as 'Ca II', or a molecule of the air.

    name, element; frame: 'star' or 'sky', in which they are at rest; wavelength, weight: (l,), vacuum
    angstrom and depth in the Sun or under a usual sky.
    """

    name: str
    element: str
    frame: str
    wavelength: Floats
    weight: Floats

    def window(self, low: float, high: float) -> Group:
        """Lines within [low, high]."""
        inside = (self.wavelength >= low) & (self.wavelength <= high)
        return Group(self.name, self.element, self.frame, self.wavelength[inside], self.weight[inside])


@dataclass(frozen=True)
class Enrichment:
    """How much larger a derivative is at a group's lines than beside them.

    lines       of the group in the window
    enrichment  mean of the derivative at the lines, weighed by depth, over its mean around them
    p, q        that lines at random places stand out as much; q over all groups
    p_alone     the same without what lies on lines of stronger groups; NaN where nothing is left
    named       q <= .05, enrichment >= 1.3, not gone with the lines of stronger groups, and not faint
    top         the lines that move most: wavelength, name, value (in the derivative's unit)
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
        )


def match_lines(
    wavelength: ArrayLike,
    star: ArrayLike,
    *,
    sky: ArrayLike | None = None,
    groups: Sequence[Group] | None = None,
    width: float = WIDTH,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Enrichment]:
    """Every group of lines against a derivative, the most significant first.

    wavelength (p,), rising; star (p,): size of the derivative at rest with the star, NaN where there is
    none; sky (p,): at rest with the observer, `star` by default. width: km/s to each side that count.

    A line's score is what the derivative has there over what it has around (fifteen widths to each side), so
    that whatever is smooth scores nothing. The null moves each line by a random amount of its own, up to
    1,500 km/s: as many lines, as deep, in the same part of the spectrum, but nowhere in particular.
    """
    place = np.log(np.asarray(wavelength, dtype=np.float64))
    if place.ndim != 1 or place.size < 16 or not (np.diff(place) > 0).all():
        raise EvidenceError("wavelengths must be a rising column of 16 pixels or more")
    sizes = {"star": _size(star, place.size), "sky": _size(star if sky is None else sky, place.size)}
    edge = FAR / SPEED_OF_LIGHT / 10
    low, high = np.exp(place[0] + edge), np.exp(place[-1] - edge)
    tested = [one.window(low, high) for one in (line_groups() if groups is None else groups)]
    tested = [one for one in tested if len(one.wavelength)]
    half = max(width, 0.75 * float(np.median(np.diff(place))) * SPEED_OF_LIGHT) / SPEED_OF_LIGHT
    whole = {frame: _Profile(place, size, half) for frame, size in sizes.items()}
    found = []
    for which, group in enumerate(tested):
        rng = np.random.default_rng([seed, which])
        found.append(_enriched(group, whole[group.frame], draws, rng))
    p = np.array([one[1] for one in found])
    q = false_discovery_control(p)
    order = sorted(range(len(tested)), key=lambda i: (p[i], -found[i][2]))
    result = []
    for which in order:
        group, (ratio, one_p, _) = tested[which], found[which]
        alone = float("nan")
        if q[which] <= NAMED_Q and ratio >= NAMED_ENRICHMENT:
            rng = np.random.default_rng([seed, which, 1])
            alone = _enriched(group, _Profile(place, sizes[group.frame], half), draws, rng)[1]
        named = bool(alone <= NAMED_Q)
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
                top=_top(group, whole[group.frame]),
            )
        )
        if named:  # weaker groups are tested without these lines
            for frame in (group.frame,) if sky is not None else ("star", "sky"):
                sizes[frame] = _without(place, sizes[frame], group, half)
    brightest = max((one.top[0][2] for one in result if one.named and one.top), default=0.0)
    return [
        replace(one, named=one.named and bool(one.top) and one.top[0][2] >= FAINT * brightest)
        for one in result
    ]


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


# --- the tables


@functools.cache
def line_groups() -> tuple[Group, ...]:
    """All groups: species of stars, molecules of the air."""
    return (*atomic_groups(), *telluric_groups())


@functools.cache
def atomic_groups() -> tuple[Group, ...]:
    """The shipped table of strong lines, by species, weighed by their depth in the Sun."""
    table = load_lines()
    zero = np.zeros(1)
    layer = solve_layer(np.array([5777.0]), logg=np.array([4.44]), feh=zero, alpha=zero)
    opacity = (
        static_strength(table)
        - layer.theta[0] * table.excitation
        + populations(layer, feh=zero, alpha=zero)[table.stage, table.element, 0]
        + continuum_factor(table.wavelength, layer)[:, 0]
    )
    depth = 1 - 1 / np.sqrt(1 + 2 * 10.0**opacity)
    groups = []
    for name in np.unique(table.species):
        mine = (table.species == name) & (depth > WEAKEST)
        if mine.any():
            groups.append(Group(str(name), str(name).split()[0], "star", table.wavelength[mine], depth[mine]))
    return tuple(groups)


@functools.cache
def telluric_groups() -> tuple[Group, ...]:
    """Lines of O2 and H2O, weighed by their depth under a usual sky.

    Those of H2O are the simulator's own inside the real bands: on real spectra only O2 can be named.
    """
    table = telluric_lines()
    water = np.char.startswith(table.band, "H2O")
    area = table.area * AIRMASS * np.where(water, WATER_MM, 1.0)
    depth = 1 - np.exp(-area / (np.pi * table.lorentz + np.sqrt(np.pi) * table.doppler))
    groups = []
    for name, mine in (("O2", ~water), ("H2O", water)):
        mine = mine & (depth > WEAKEST)
        groups.append(Group(name, name, "sky", table.wavelength[mine], depth[mine]))
    return tuple(groups)


# --- the score


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

    def above(self, place: Floats) -> Floats:
        """What `at` has over `around`: what is smooth over many lines has nothing."""
        return self.at(place) - self.around(place)


def _enriched(
    group: Group, profile: _Profile, draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """(enrichment, p, how many standard deviations above the null)."""
    centre = np.log(group.wavelength)
    score = _score(profile.above(centre), group.weight)
    known = np.isfinite(profile.at(centre))
    if not score > 0:
        return float("nan") if not np.isfinite(score) else 1.0, 1.0, 0.0
    ratio = _score(profile.at(centre), group.weight) / _score(
        np.where(known, profile.around(centre), np.nan), group.weight
    )
    near, far = NEAR * profile.half, FAR / SPEED_OF_LIGHT
    null = np.empty(draws)
    chunk = max(1, 400_000 // centre.size)
    for start in range(0, draws, chunk):
        shape = (min(chunk, draws - start), centre.size)
        away = rng.uniform(near, far, shape) * rng.choice([-1.0, 1.0], shape)
        moved = centre + away
        out = (moved < profile.first) | (moved > profile.last)
        moved = np.where(out, centre - away, moved)
        null[start : start + shape[0]] = _score(profile.above(moved), group.weight)
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


def _top(group: Group, profile: _Profile) -> tuple[tuple[float, str, float], ...]:
    size = profile.at(np.log(group.wavelength))
    order = [int(i) for i in np.argsort(-np.where(np.isfinite(size), size, -1.0))[:TOP]]
    places = [float(wavelength) for wavelength in group.wavelength]
    return tuple(
        (round(places[i], 2), line_name(group.name, places[i]), float(size[i]))
        for i in order
        if np.isfinite(size[i])
    )


def line_name(species: str, wavelength: float) -> str:
    """'Ca II K' and the like where the line has a name, else species and wavelength."""
    near = min(_KNOWN, key=lambda one: abs(one - wavelength))
    known = abs(near - wavelength) < 0.25 and _KNOWN[near].split()[0] == species.split()[0]
    return _KNOWN[near] if known else f"{species} {wavelength:.1f}"


def _without(place: Floats, size: Floats, group: Group, half: float) -> Floats:
    """The profile with NaN on a group's lines."""
    covered = np.zeros(place.size + 1)
    np.add.at(covered, np.searchsorted(place, np.log(group.wavelength) - 2 * half), 1)
    np.add.at(covered, np.searchsorted(place, np.log(group.wavelength) + 2 * half), -1)
    return np.where(np.cumsum(covered)[:-1] > 0, np.nan, size)


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
