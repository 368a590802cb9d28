"""Which pixels of a spectrum are measurements, and what their errors are.

What a pixel must not be: not finite, exactly zero where nothing was measured, beyond what light can
do (INSANE times the median), or a single-pixel spike narrower than any spectrograph's line profile.
Such pixels are masked and counted; a spectrum made of them is refused with its reason.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum
from ..kernels import between, rim, spikes, survey
from ..spectrum import Spectrum

# No line or cosmic ray is this many times brighter than the median of its spectrum; damage is
# (finite values up to 1.6e21 were met in an archive).
INSANE = 1e4
# A value this many times smaller than the median is no measurement either: it is the rest of a number whose
# leading bytes are lost.
VANISHING = 1e-10
# Pixels between and beside impossible ones are not to be trusted: damage comes in stretches.
DAMAGE_REACH = 16
# An error this many times smaller than is typical of its spectrum is a fault, and would weigh without bound.
TINY_SIGMA = 1e-3
# One this many times larger, or negative, is what damage makes of a number.
HUGE_SIGMA = 1e9
# No spectrograph measures a pixel to this part of its flux; errors that say so are no errors.
SURE = 1e-6
# Errors that are so many times the scatter, or that the scatter is so many times of, are no errors. Over 363
# LAMOST and 5 other real spectra, S/N 25 to 776, the first ratio was at most 1.7 and the second at most 1.7.
LARGE = 6.0
SMALL = 30.0
# Noise is white where its fourth differences are as large, but for this factor, at a lag of one pixel as at
# two: smooth structure is ten times smaller there, and so is noise that neighbours share. Gaussian-smoothed
# noise has .46 where its scatter at two pixels is still .88 of what it is; 93 % of 1,451 LAMOST spectra pass.
WHITE = 0.45
# Errors that are so many times the scatter of white noise are none: at most 1.7 in the same spectra.
LARGE_WHITE = 5.5
SUSPECT = 8.0  # enough where the column fits another quantity that is often confused with errors
# A scatter below this part of the flux is that of a template without noise, and says nothing of its errors.
NOISELESS = 1e-4
# More insane pixels than this share, and the file is damaged, not merely hit.
INSANE_SHARE = 0.005
INSANE_ELSEWHERE = 0.05
# A flux below minus its typical size, by so many sigma, is no light.
DARK_SIGMA = 20.0
DARK_SHARE = 0.05  # of more such pixels, the spectrum is judged as a whole
# A deviation of one pixel from both neighbours, in sigma, that counts as a spike ...
SPIKE_SIGMA = 6.0
# ... where the ground beside it is flat to this share of its height, pixel by pixel, on both sides: a
# line profile two pixels wide at half maximum (the sharpest a sampled spectrum can show) has 0.9.
SPIKE_NEIGHBOURS = 0.2
# Width of the pieces the noise is measured in, and how many pixels typical values are taken from where an
# exact one is not needed.
NOISE_PIECE = 512
SAMPLE = 2_048
FLOAT_MAX = float(np.finfo(np.float32).max)


class Measurements(NamedTuple):
    """Flux and 1-sigma errors (n,) float32, which pixels are measurements, and what was found out on the way.

    origin   of sigma: 'file' or 'scatter'
    unit     a typical value of the flux
    remarks  what was wrong with the errors of the file, in plain words
    """

    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    good: NDArray[np.bool_]
    origin: str
    unit: float
    remarks: tuple[str, ...]


def measurements(spectrum: Spectrum, part: slice) -> Measurements:
    """What was measured in a part of a spectrum; no signal, and damage rather than hits, are refused."""
    flux = _as_float32(spectrum.flux[part])
    good = np.ones(flux.size, dtype=bool) if spectrum.good is None else spectrum.good[part].copy()
    sample = np.abs(flux[:: max(1, flux.size // SAMPLE)])
    sample = sample[(sample > 0) & (sample < np.inf)]
    unit = fast_median(sample) if sample.size else 0.0
    gaps = not _whole_numbers(flux)
    sigma = None if spectrum.sigma is None else _as_float32(spectrum.sigma[part])
    remarks: tuple[str, ...] = ()
    if sigma is not None and (odd := implausible(flux, sigma, good)):
        sigma, remarks = None, (odd,)
    typical = 0.0 if sigma is None else typical_error(sigma)
    limits = gaps, VANISHING * unit, INSANE * unit
    before = good.copy()
    measured, impossible, known, wild, zeros = survey(
        flux, sigma, good, *limits, TINY_SIGMA * typical, min(HUGE_SIGMA * typical, FLOAT_MAX)
    )
    usable = measured - impossible
    if sigma is not None and not (typical > SURE * unit and known >= 0.5 * usable):
        sigma = None
        good = before.copy()
        wild = survey(flux, None, good, *limits, 0.0, 0.0)[3]
    if measured < 2:
        raise BadSpectrum(
            f"{measured} of {good.size} pixels in the grid's range are usable: mask and errors leave no more",
            reason="masked",
        )
    _refuse_damage(flux, good, measured=measured, impossible=impossible, unit=unit)
    if wild or impossible:
        good &= ~_with_neighbours(_wild(flux, sigma, unit=unit, typical=typical))
    if gaps and zeros:
        # beside a run of zeros lies what was lost in part: the last number of a cut, the rim of a chip
        rim(flux, good)
    if wild:
        flux, sigma = _tame(flux, INSANE * unit), None if sigma is None else _tame(sigma, INSANE * unit)
    origin = "file"
    if sigma is None and spectrum.sigma is not None and not remarks:
        remarks = ("no usable errors in the file: estimated from the scatter",)
    if sigma is None:
        sigma, origin = estimate_sigma(flux, good), "scatter"
    dark = flux < -unit
    if 0 < dark.sum() < DARK_SHARE * dark.size:  # less than no light, by more than noise: a bad subtraction
        good &= ~(dark & (flux < -DARK_SIGMA * sigma))
    return Measurements(flux, sigma, good, origin, unit, remarks)


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _whole_numbers(flux: NDArray[Any]) -> bool:
    """Counts can be zero; an exact zero among fractions is where nothing was measured."""
    sample = flux[:: max(1, flux.size // SAMPLE)]
    sample = sample[np.isfinite(sample)]
    return bool(np.all(sample == np.round(sample)))


def typical_error(sigma: NDArray[Any]) -> float:
    """Median of a sample of the positive errors, 0 where there are none."""
    sample = sigma[:: max(1, sigma.size // SAMPLE)]
    sample = sample[(sample > 0) & (sample < np.inf)]
    return fast_median(sample) if sample.size else 0.0


def _refuse_damage(
    flux: NDArray[np.float32], good: NDArray[np.bool_], *, measured: int, impossible: int, unit: float
) -> None:
    """Refuse a spectrum that holds one value only, or too many impossible ones."""
    if impossible > INSANE_SHARE * measured:
        magnitude = np.abs(flux[np.isfinite(flux)])
        raise BadSpectrum(
            f"{impossible / measured:.1%} of the pixels are impossible, up to {magnitude.max():.3g} where "
            f"{unit:g} is typical: the data are damaged, fetch the file again",
            reason="insane",
        )
    sample = flux[:: max(1, flux.size // SAMPLE)]
    if sample.min() == sample.max() or np.count_nonzero(good) < flux.size // 2:
        values = flux[good]
        if values.size == 0 or values.min() == values.max():
            raise BadSpectrum(
                f"every one of {values.size} pixels holds {values[0] if values.size else 0:g}",
                reason="constant",
            )


def refuse_damage_elsewhere(flux: NDArray[Any], part: slice) -> None:
    """Refuse a file that is plainly damaged outside the grid's range: what is inside is not to be trusted.

    More is let pass there than within: calibrated fluxes can run away at the ends of a detector.
    """
    if part.stop - part.start > 0.9 * flux.size:
        return
    magnitude = np.abs(flux[np.isfinite(flux) & (flux != 0)])
    if magnitude.size == 0:
        return
    share = np.count_nonzero(magnitude > INSANE * np.median(magnitude)) / magnitude.size
    if share > INSANE_ELSEWHERE:
        raise BadSpectrum(
            f"{share:.1%} of the pixels of the whole file are impossible, up to {magnitude.max():.3g}: the "
            "data are damaged, though not within the grid; fetch the file again, or cut the sound part out",
            reason="insane",
        )


def _wild(
    flux: NDArray[np.float32], sigma: NDArray[np.float32] | None, *, unit: float, typical: float
) -> NDArray[np.bool_]:
    """Pixels whose flux or error is what damage makes of a number."""
    size = np.abs(flux)
    wild = (size > INSANE * unit) | ((size < VANISHING * unit) & (size > 0))
    if sigma is not None:
        wild |= (sigma < 0) | (sigma > HUGE_SIGMA * typical)
    return wild


def _with_neighbours(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`bad`, and all pixels within DAMAGE_REACH of two bad ones that lie as close to each other."""
    places = np.flatnonzero(bad)
    spread = bad.copy()
    for first, second in pairwise(places):
        if second - first <= DAMAGE_REACH:
            spread[max(0, first - DAMAGE_REACH) : second + DAMAGE_REACH + 1] = True
    return spread


def _tame(values: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """`values` with 0 for what is not finite or beyond `limit`: such pixels are masked, but a wild
    number under a mask still spoils every square it enters."""
    return np.where(np.abs(values) <= limit, values, values.dtype.type(0))


def implausible(flux: NDArray[np.float32], sigma: NDArray[np.float32], good: NDArray[np.bool_]) -> str:
    """Why the errors of good pixels cannot be those of this flux, all (n,); '' where they can.

    Too large are errors of LARGE times the scatter at every one of three lags, to which lines and correlated
    noise only add; and, where noise is white, of LARGE_WHITE times its fourth differences, which see few
    lines. Too small are those that the finest scatter of the quietest pieces exceeds SMALL times: it is blind
    to all structure wider than a few pixels. What lies between is the business of a learned scale.
    """
    known = good & (sigma > 0) & (sigma < np.inf) & (flux != 0) & np.isfinite(flux)
    if not known.all():
        flux, sigma = flux[known], sigma[known]
    size = min(128, flux.size)
    if size < 32:
        return ""
    starts = np.linspace(0, flux.size - size, max(1, min(16, flux.size // size))).astype(np.intp)
    rows = starts[:, None] + np.arange(size)
    f, s = flux[rows].astype(np.float64), sigma[rows].astype(np.float64)
    level = abs(float(np.median(f)))

    def scatter(lag: int, weights: tuple[int, ...]) -> NDArray[np.float64]:
        """Noise of each piece in sigma: differences of pixels `lag` apart, (pieces,)."""
        width = size - (len(weights) - 1) * lag
        sums = sum(weight * f[:, at * lag : at * lag + width] for at, weight in enumerate(weights))
        middle = (len(weights) - 1) * lag // 2
        ratio = np.abs(sums) / np.sqrt(sum(w * w for w in weights)) / s[:, middle : middle + width]
        middle = ratio.shape[1] // 2
        return np.asarray(1.4826 * np.partition(ratio, middle, axis=1)[:, middle])

    most = max(float(np.median(scatter(lag, (-1, 2, -1)))) for lag in (2, 4, 8))
    finest, fine = (scatter(lag, (1, -4, 6, -4, 1)) for lag in (1, 2))
    limit, stated = LARGE, float(np.median(s))
    if most * LARGE >= 1 and float(np.median(finest)) >= WHITE * float(np.median(fine)):
        most, limit = float(np.median(fine)), LARGE_WHITE
    if most * limit < 1 and most > 0 and (most * stated > NOISELESS * level or stated > level):
        return f"the errors are {1 / most:.2g} times the scatter of the flux {_guess(f, s, most)}"
    least = float(np.quantile(finest, 0.1))
    if least > SMALL or (least > SUSPECT and _guess(f, s, least).startswith("(is")):
        return f"the scatter of the flux is {least:.2g} times the errors {_guess(f, s, least)}"
    return ""


def _guess(f: NDArray[np.float64], s: NDArray[np.float64], ratio: float) -> str:
    """What the column may hold instead of errors; the scatter is `ratio` times what it holds."""
    noise = s * ratio
    for name, implied in (
        ("S/N", np.abs(f) / s),
        ("inverse variance", 1 / np.sqrt(s)),
        ("variance", np.sqrt(s)),
        ("per cent", np.abs(f) * s / 100),
    ):
        if 0.5 < float(np.median(implied)) / float(np.median(noise)) < 2:
            return f"(is this column {name}?): estimated from the scatter"
    return "and no other usual quantity: estimated from the scatter"


def estimate_sigma(flux: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1-sigma noise per pixel, (n,), from the scatter between every second pixel, piece by piece.

    The estimator of Stoehr et al. (2008, ADASS XVII, 394): 1.482602/sqrt(6) times the median of
    |2 f[i] - f[i-2] - f[i+2]|; a lag of two pixels survives noise correlated between neighbours.
    """
    n = flux.size
    centres, values = [], []
    curvature = np.abs(2 * flux[2:-2] - flux[:-4] - flux[4:])
    usable = good[2:-2] & good[:-4] & good[4:]
    for start in range(0, max(1, n - 4), NOISE_PIECE):
        piece = curvature[start : start + NOISE_PIECE][usable[start : start + NOISE_PIECE]]
        if piece.size >= 32:
            centres.append(start + 2 + NOISE_PIECE / 2)
            values.append(1.482602 / np.sqrt(6) * float(np.median(piece)))
    positive = [value for value in values if value > 0]
    if not positive:  # too short for pieces, or most of its pixels repeat their neighbours: all of it at once
        some = curvature[usable] if usable.any() else np.abs(np.diff(flux[good]))
        whole = float(np.sqrt(np.mean(np.square(some, dtype=np.float64)) / 6)) if some.size else 0.0
        if not whole > 0:
            raise BadSpectrum(
                "no errors in the file, and no scatter of its flux to take them from: add a column of errors",
                reason="constant",
            )
        return np.full(n, whole, dtype=np.float32)
    floor = 0.1 * float(np.median(positive))  # quantised pieces can show no scatter at all
    return np.interp(np.arange(n), centres, np.maximum(values, floor)).astype(np.float32)


def mask_spikes(flux: NDArray[Any], sigma: NDArray[Any], good: NDArray[np.bool_]) -> int:
    """Mask single-pixel spikes in place and count them; several in a row are light and stay.

    A spike stands out of the scatter too: errors that a file states too small make no spikes.
    """
    stride = max(1, flux.size // SAMPLE)
    left, centre, right = (flux[shift : flux.size - 2 + shift : stride] for shift in (0, 1, 2))
    curvature = np.abs(2 * centre - left - right)[good[1:-1:stride]]
    # curvature of noise spreads by sqrt(6) sigma; 1.4826 makes a median a standard deviation
    scatter = 1.4826 / np.sqrt(6) * fast_median(curvature) if curvature.size else 0.0
    return spikes(flux, sigma, good, scatter, SPIKE_SIGMA, SPIKE_NEIGHBOURS)


def fast_median(values: NDArray[np.float32], good: NDArray[np.bool_] | None = None) -> float:
    """Exactly numpy's median of the good values, both (n,), none of the good ones NaN.

    A sample says where the median must lie; only the few values there are put in order.
    """
    n = values.size if good is None else int(np.count_nonzero(good))
    if values.size > 8 * SAMPLE:
        stride = values.size // SAMPLE
        sample = values[::stride] if good is None else values[::stride][good[::stride]]
        middle, reach = sample.size // 2, SAMPLE // 16  # nearly six standard deviations of a median's rank
        if middle > reach:
            part = np.partition(sample, (middle - reach, middle + reach))
            near = np.empty(values.size + 1, dtype=np.float32)
            low, high = float(part[middle - reach]), float(part[middle + reach])
            below, found = between(values, good, low, high, near)
            if below <= (n - 1) // 2 and n // 2 < below + found:
                return _selected(near[:found], n, below)
    return _selected(values if good is None else values[good], n, 0)


def _selected(values: NDArray[np.floating], n: int, below: int) -> float:
    """The median of n values of which `below` lie below all of `values`, the rest above or among them."""
    at = n // 2 - below
    part = np.partition(values, at)
    if n % 2:
        return float(part[at])
    return float(np.mean(np.array([part[:at].max(), part[at]])))
