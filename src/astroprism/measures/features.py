"""Features of a derivative or a residual: how wide, of which kind, and what the tables have there.

Plain arrays; wavelengths in vacuum angstrom, widths in km/s. docs/design/findings.md has the reasons.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from ..grid import SPEED_OF_LIGHT
from ..schema import Feature, LineCoverage, LineShares, number
from .evidence import Floats
from .line_tables import (
    HIGH,
    LOW,
    Group,
    band_groups,
    complete_from,
    is_of,
    line_groups,
    naming,
    place_name,
    separable,
)

UNRESOLVED = 1.6  # resolution elements up to which a feature is a line that is not resolved
BROADEST_LINE = (
    2_500.0  # km/s: full width of Balmer lines of A stars; wider, in more than one element, is no line
)
WIDEST_BAND = 30_000.0  # km/s, about 500 angstrom at 5000: most molecular bands are narrower
SMOOTH_SHARE = 0.3  # of the whole range, from which a feature is the continuum's
SMOOTH_KMS, SMOOTH_ELEMENTS = 40_000.0, 40.0  # full width of the window in which a factor is straight
DIPS = 8  # fewer dips than these do not give a resolution element
NARROW = 0.25  # quantile of the widths of dips: the others are blends
LISTED, PROMINENT = 12, 0.1  # features of a node that are reported; of the largest one's size
NAMED_Q = 0.05
NEARBY = 9_000.0, 60.0  # km/s or elements to each side: where chance is looked for
MATCHED = 0.5  # share of a feature and of a band that must overlap


def structure(wavelength: ArrayLike, change: ArrayLike, flux: ArrayLike, *, element: float) -> Floats:
    """What of changes (b, p) of spectra `flux` (b, p) a smooth factor on the flux does not make, (b, p).

    Where a slope of the continuum moves, lines appear in the change as dips, and what lies between them as
    bumps; neither is moved. So the flux times a straight line is fitted within `SMOOTH_KMS` around each
    pixel, and its value there taken off. Zeros of `change` count as no data, and stay.
    """
    place = np.log(np.asarray(wavelength, dtype=np.float64))
    rows, made = np.asarray(change, dtype=np.float64), np.asarray(flux, dtype=np.float64)
    half = max(SMOOTH_KMS, SMOOTH_ELEMENTS * element) / SPEED_OF_LIGHT / 2
    first = np.searchsorted(place, place - half)
    last = np.searchsorted(place, place + half, side="right")
    middle = place - place.mean()
    out = np.zeros(rows.shape)
    for i, (row, light) in enumerate(zip(rows, made, strict=True)):
        light = np.where(row != 0, light, 0.0)

        def window(values: Floats) -> Floats:
            total = np.concatenate([[0.0], np.cumsum(values)])
            return np.asarray(total[last] - total[first])

        square, cross = light**2, light * row
        s0, s1, s2 = (window(square * middle**power) for power in range(3))
        t0, t1 = (window(cross * middle**power) for power in range(2))
        # moments around the pixel itself: the fit's value there is its first coefficient
        s2 = s2 - 2 * middle * s1 + middle**2 * s0
        s1 = s1 - middle * s0
        t1 = t1 - middle * t0
        whole = np.maximum(s0 * s2 - s1**2, 1e-9 * s0 * s2 + 1e-300)
        factor = (t0 * s2 - t1 * s1) / whole
        out[i] = np.where(row != 0, row - factor * light, 0.0)
    return out


def width_kind(width: float, *, element: float, span: float = np.inf) -> str:
    """'line', 'broad line', 'band' or 'smooth' of a full width (km/s).

    element  full width at half maximum of a narrow line; span: ln of the last over the first wavelength
    """
    if width > SMOOTH_SHARE * span * SPEED_OF_LIGHT:
        return "smooth"
    if width <= UNRESOLVED * element:
        return "line"
    if width <= BROADEST_LINE:
        return "broad line"
    return "band" if width <= max(WIDEST_BAND, 3 * element) else "smooth"


def resolution_element(
    wavelength: ArrayLike, spectra: ArrayLike, *, resolution: float | None = None
) -> tuple[float, str]:
    """Full width at half maximum of a narrow line (km/s), and where it is known from.

    wavelength (p,); spectra (b, p) without noise; resolution: lambda over the width, where files state it.
    Without it, the narrowest dips of the spectra; never less than two pixels.
    """
    place = np.log(np.asarray(wavelength, dtype=np.float64))
    pixel = float(np.median(np.diff(place))) * SPEED_OF_LIGHT
    if resolution is not None and np.isfinite(resolution) and resolution > 0:
        return max(float(np.hypot(SPEED_OF_LIGHT / resolution, pixel)), 2 * pixel), "stated resolution"
    widths = [_narrow_dips(place, row) for row in np.atleast_2d(np.asarray(spectra, dtype=np.float64))]
    known = [one for one in widths if np.isfinite(one)]
    if not known:
        return 2 * pixel, "two pixels"
    element = float(np.median(known))
    if element <= 2 * pixel:
        return 2 * pixel, "two pixels"
    return element, "narrowest lines of the spectra"


def _narrow_dips(place: Floats, flux: Floats) -> float:
    """Full width at half depth of the narrowest dips of a spectrum, km/s; NaN where they are few."""
    from scipy.signal import find_peaks, peak_widths

    good = np.isfinite(flux)
    if good.sum() < 16:
        return float("nan")
    depth = -np.interp(place, place[good], flux[good])
    peaks, facts = find_peaks(depth, prominence=0)
    if len(peaks) < DIPS:
        return float("nan")
    deep = facts["prominences"] >= max(0.05 * float(np.quantile(facts["prominences"], 0.98)), 0.003)
    if deep.sum() < DIPS:
        return float("nan")
    _, _, left, right = peak_widths(depth, peaks[deep], rel_height=0.5)
    index = np.arange(place.size)
    width = np.interp(right, index, place) - np.interp(left, index, place)
    return float(np.quantile(width, NARROW) * SPEED_OF_LIGHT)


@dataclass(frozen=True)
class LineTables:
    """The tables as they are seen on one grid, at one resolution element.

    wavelength  (p,) vacuum angstrom; element: km/s; known_from: what says so
    """

    wavelength: Floats
    element: float
    known_from: str

    @property
    def star(self) -> list[Group]:
        """Groups of the star's lines."""
        return [one for one in line_groups() if one.frame == "star"]

    @property
    def span(self) -> float:
        """Ln of the last over the first wavelength."""
        return float(np.log(self.wavelength[-1] / self.wavelength[0]))

    def coverage(self) -> LineCoverage:
        """How far names can go here."""
        low, high = float(self.wavelength[0]), float(self.wavelength[-1])
        inside = [one.window(low, high) for one in self.star]
        kept = [one.window(low, high) for one in separable(self.star, element=self.element)]
        names = {one.name for one in kept if len(one.wavelength)}
        return LineCoverage(
            element_kms=self.element,
            known_from=self.known_from,
            low=LOW,
            high=HIGH,
            outside=float(self._outside().mean()),
            complete_from_ma=complete_from(low, high),
            lines=sum(len(one.wavelength) for one in kept),
            inseparable=sum(len(one.wavelength) for one in inside) - sum(len(one.wavelength) for one in kept),
            never=sorted(one.name for one in inside if len(one.wavelength) and one.name not in names),
        )

    def _outside(self) -> NDArray[np.bool_]:
        return np.asarray((self.wavelength < LOW) | (self.wavelength > HIGH))

    @functools.cached_property
    def _parts(self) -> dict[str, NDArray[np.bool_]]:
        """Pixels (p,) where the star's lines have a name, in bands of the star, and of the air."""
        place = np.log(self.wavelength)
        parts = {"lines": naming(self.wavelength, self.star, element=self.element).of_few & ~self._outside()}
        for frame in ("star", "sky"):
            inside = np.zeros(place.size, dtype=bool)
            for group in band_groups():
                if group.frame == frame and group.high is not None:
                    for low, high in zip(np.log(group.wavelength), np.log(group.high), strict=True):
                        inside |= (place >= low) & (place <= high)
            parts["bands" if frame == "star" else "air"] = inside
        return parts

    def shares(self, size: ArrayLike, *, whole: ArrayLike | None = None) -> LineShares:
        """Where a derivative (p,) lies: shares of its square, each beside that of the pixels.

        whole  (p,) the derivative of which `size` is the structure: the rest is smooth
        """
        square = np.nan_to_num(np.asarray(size, dtype=np.float64)) ** 2
        known = np.isfinite(np.asarray(size, dtype=np.float64))
        parts = self._parts
        nowhere = ~(parts["lines"] | parts["bands"] | parts["air"])
        masks = parts | {"nowhere": nowhere}

        def share(mask: NDArray[np.bool_]) -> tuple[float, float]:
            return (
                float(square[mask].sum() / max(square.sum(), 1e-300)),
                float((mask & known).sum() / max(known.sum(), 1)),
            )

        values = {name: share(mask) for name, mask in masks.items()}
        all_of_it = square.sum() if whole is None else float((np.nan_to_num(np.asarray(whole)) ** 2).sum())
        return LineShares(
            smooth=None if whole is None else float(max(0.0, 1 - square.sum() / max(all_of_it, 1e-300))),
            **{name: value for name, (value, _) in values.items()},
            **{f"{name}_pixels": pixels for name, (_, pixels) in values.items()},
        )

    def features(self, size: ArrayLike, *, moved: Sequence[str] = ()) -> list[Feature]:
        """The features that stand out of a derivative's size (p,) at rest with the star, the largest first.

        A name is given where the table has so much absorption, or a band that fits so well, that chance does
        not: q <= .05 over the features; or where the line is of a group in `moved`, which all of its lines
        together have put beyond chance.
        """
        found = _peaks(self.wavelength, np.asarray(size, dtype=np.float64))
        if not found:
            return []
        star = self.star
        kinds = [width_kind(width, element=self.element, span=self.span) for _, width, _ in found]
        named: list[tuple[str | None, float]] = []
        for (place, width, _), kind in zip(found, kinds, strict=True):
            if kind == "smooth" or not LOW <= place <= HIGH:
                named.append((None, 1.0))
            elif kind == "band":
                named.append(_band_at(place, width, span=self.span))
            else:
                # a broad line is a blend at its own width, and where it peaks is known no better
                element = max(self.element, width / 2)
                name = place_name(place, star, element=element)
                line = name, 1.0 if name is None else _chance(place, star, element=element)
                narrow_band = _band_at(place, width, span=self.span) if kind == "broad line" else (None, 1.0)
                tries = 1 if line[0] is None or narrow_band[0] is None else 2
                label, chance = min(line, narrow_band, key=lambda one: one[1])
                named.append((label, min(1.0, tries * chance)))
        q = false_discovery_control([chance for _, chance in named])

        def group_of(name: str | None) -> str | None:
            return next((one for one in moved if name is not None and is_of(name, one)), None)

        return [
            Feature(
                wavelength=place,
                width_kms=width,
                kind=kind,
                value=value,
                name=name if q_one <= NAMED_Q or group_of(name) else None,
                chance=None if name is None else number(chance),
                of=group_of(name),
            )
            for (place, width, value), kind, (name, chance), q_one in zip(found, kinds, named, q, strict=True)
        ]


def _chance(wavelength: float, groups: Sequence[Group], *, element: float) -> float:
    """Share of the places around at which the tables absorb as much."""
    reach = max(NEARBY[0], NEARBY[1] * element) / SPEED_OF_LIGHT
    low, high = max(wavelength * np.exp(-reach), LOW), min(wavelength * np.exp(reach), HIGH)
    step = min(element / SPEED_OF_LIGHT / 4, np.log(high / low) / 500)
    places = np.exp(np.arange(np.log(low), np.log(high), step))
    here = naming(np.array([wavelength]), groups, element=element).total[0]
    around = naming(places, groups, element=element).total
    return float((1 + (around >= here).sum()) / (1 + places.size))


def _peaks(wavelength: Floats, size: Floats) -> list[tuple[float, float, float]]:
    """(wavelength, full width at half prominence in km/s, prominence) of the largest peaks."""
    from scipy.signal import find_peaks, peak_widths

    good = np.isfinite(size)
    if good.sum() < 16:
        return []
    place = np.log(wavelength)
    curve = np.interp(place, place[good], size[good])
    peaks, facts = find_peaks(curve, prominence=PROMINENT * float(np.ptp(curve)) if np.ptp(curve) else 1.0)
    _, _, left, right = peak_widths(curve, peaks, rel_height=0.5)
    index = np.arange(place.size)
    first, last = np.interp(left, index, place), np.interp(right, index, place)
    order = np.argsort(-facts["prominences"], kind="stable")[:LISTED]
    width = (last - first) * SPEED_OF_LIGHT
    # a line lies at its peak, though its wings may lean; a band's head and end are both its own
    centre = np.exp(np.where(width > BROADEST_LINE, (first + last) / 2, _vertex(place, curve, peaks)))
    return [(float(centre[i]), float(width[i]), float(facts["prominences"][i])) for i in order]


def _vertex(place: Floats, curve: Floats, peaks: NDArray[np.intp]) -> Floats:
    """Ln wavelength of peaks (n,): of the parabola through each and its neighbours."""
    before, at, after = (curve[peaks + shift] for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-300), 0.0)
    step = (place[peaks + 1] - place[peaks - 1]) / 2
    return np.asarray(place[peaks] + np.clip(shift, -0.5, 0.5) * step)


def _band_at(wavelength: float, width: float, *, span: float) -> tuple[str | None, float]:
    """The band that overlaps a feature best, and the share of places at which one would as well."""
    half = width / SPEED_OF_LIGHT / 2
    spans = [
        (label, np.log(low), np.log(high))
        for group in band_groups()
        if group.high is not None
        for label, low, high in zip(group.labels, group.wavelength, group.high, strict=True)
    ]
    low = np.array([one[1] for one in spans])
    high = np.array([one[2] for one in spans])

    def overlap(centre: Floats) -> Floats:
        both = np.minimum(high, centre[:, None] + half) - np.maximum(low, centre[:, None] - half)
        either = np.maximum(high, centre[:, None] + half) - np.minimum(low, centre[:, None] - half)
        return np.asarray(np.clip(both, 0, None) / either)

    here = overlap(np.array([np.log(wavelength)]))[0]
    best = int(here.argmax())
    if here[best] < MATCHED:
        return None, 1.0
    around = np.log(wavelength) + np.linspace(-0.5, 0.5, 1001) * min(span, 0.5)
    return spans[best][0], float((1 + (overlap(around).max(1) >= here[best]).sum()) / (1 + around.size))
