"""From one spectrum as read to one row of a store: mask, shift, resample, normalise.

What a pixel must not be: not finite, exactly zero where nothing was measured, beyond what light can
do (INSANE times the median), or a single-pixel spike narrower than any spectrograph's line profile.
Such pixels are masked and counted; a spectrum made of them is refused with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadSpectrum, ConfigError
from .grid import PAPER_DEAD, SPEED_OF_LIGHT, Grid, doppler_factor
from .rebin import Placement, place
from .spectrum import Spectrum

FRAME_CHOICES = ("file", "barycentric", "observer")
NORMALISATIONS = ("median", "paper-median", "continuum")

# No line or cosmic ray is this many times brighter than the median of its spectrum; damage is
# (finite values up to 1.6e21 were met in an archive).
INSANE = 1e4
# A value this many times smaller than the median is no measurement either: it is what is left of a
# number when its leading bytes are lost.
VANISHING = 1e-10
# Pixels between and beside impossible ones are not to be trusted: damage comes in stretches.
DAMAGE_REACH = 16
# An error this many times smaller than is typical of its spectrum is a fault, and would weigh without bound.
TINY_SIGMA = 1e-3
# One this many times larger, or negative, is what damage makes of a number.
HUGE_SIGMA = 1e9
# No spectrograph measures a pixel to this part of its flux; errors that say so are no errors.
SURE = 1e-6
# More insane pixels than this share, and the file is damaged, not merely hit.
INSANE_SHARE = 0.005
# A deviation of one pixel from both neighbours, in sigma, that counts as a spike ...
SPIKE_SIGMA = 6.0
# ... where the ground beside it is flat to this share of its height, pixel by pixel, on both sides: a
# line profile two pixels wide at half maximum (the sharpest a sampled spectrum can show) has 0.9.
SPIKE_NEIGHBOURS = 0.2
# A grid pixel is good where at least this share of it lies under good native pixels: the
# neighbours of single bad pixels are kept, and no value rests mostly on what was thrown away.
GOOD_COVERAGE = 0.5
# Width of the pieces the pseudo-continuum and the noise are measured in.
CONTINUUM_PIECE = 8_000.0  # km/s: wider than the wings of a Balmer line
NOISE_PIECE = 512  # pixels
SAMPLE = 4_096  # pixels that typical values are taken from where an exact one is not needed
CACHE_PIECE = 32_768  # pixels worked on at a time, so that temporaries stay in the processor's cache


@dataclass(frozen=True)
class PrepareOptions:
    """How spectra are brought to one form.

    frame      file: as the file has it; barycentric or observer: moved there by the file's BERV
    normalise  median: over good pixels of the grid; paper-median: the release's own, over flux x mask
               where masked zeros count; continuum: a smooth upper envelope
    min_good   share of the grid's pixels that must be good
    """

    frame: str = "file"
    normalise: str = "median"
    min_good: float = 0.5

    def __post_init__(self) -> None:
        for name, value, known in (
            ("frame", self.frame, FRAME_CHOICES),
            ("normalise", self.normalise, NORMALISATIONS),
        ):
            if value not in known:
                raise ConfigError(f"{name} {value!r} is none of {', '.join(known)}")
        if not 0 < self.min_good <= 1:
            raise ConfigError(f"min_good is a share of pixels between 0 and 1, not {self.min_good}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the store's attributes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Prepared:
    """A row of the store, every array (grid.size,), and what was found on the way.

    flux   float32, in units of `facts["scale"]`; 0 where nothing was measured
    sigma  float32, likewise; 0 where unknown
    good   True where the pixel may be trusted
    """

    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    good: NDArray[np.bool_]
    facts: dict[str, Any]


def prepare(spectrum: Spectrum, grid: Grid, *, options: PrepareOptions | None = None) -> Prepared:
    """Bring a spectrum to `grid`; refuse it with BadSpectrum where it cannot be used."""
    options = options or PrepareOptions()
    factor, frame, berv, warnings = _frame(spectrum, options.frame)
    placement = place(spectrum.wavelength, grid, medium=spectrum.medium, factor=factor)
    if placement.take[1] - placement.take[0] < 2:
        raise BadSpectrum(
            f"covers {spectrum.wavelength[0]:.1f}..{spectrum.wavelength[-1]:.1f} angstrom "
            f"({spectrum.medium}), the grid {grid.wavelength[0]:.1f}..{grid.wavelength[-1]:.1f}: "
            "choose another --grid, or check the unit of its wavelengths",
            reason="no-overlap",
        )
    part = slice(*placement.take)
    flux = spectrum.flux[part]
    sigma = None if spectrum.sigma is None else spectrum.sigma[part]
    good = _measured(flux, None if spectrum.good is None else spectrum.good[part])
    unit, limit = _refuse_damage(flux, good)
    if sigma is not None:
        typical = _typical(sigma)
        known = good & (sigma > TINY_SIGMA * typical) & (sigma < np.inf)
        wild = (sigma < 0) | (sigma > HUGE_SIGMA * typical)
        if wild.any():
            known &= ~_with_neighbours(wild)
        # some archives ship an error column of NaN, of zeros, or of anything
        if typical > SURE * unit and np.count_nonzero(known) >= 0.5 * np.count_nonzero(good):
            good = known
        else:
            sigma = None
            warnings = (*warnings, "no usable errors in the file: estimated from the scatter")
    origin = "file" if sigma is not None else "scatter"
    flux, sigma = _tame(flux, limit), None if sigma is None else _tame(sigma, limit)
    if placement.weights is not None:
        # in units of the median: the squares of 1e-17 erg/s/cm2/A do not fit a float32
        flux, sigma = flux / unit, None if sigma is None else sigma / unit
    flux = flux.astype(np.float32, copy=False)
    sigma = estimate_sigma(flux, good) if sigma is None else sigma.astype(np.float32, copy=False)
    n_spikes = _mask_spikes(flux, sigma, good)
    flux_row, sigma_row, good_row = _resample(flux, sigma, good, placement)
    if grid.kind == "paper":
        for dead in PAPER_DEAD:
            good_row[dead] = False
        for rim in (slice(0, grid.filled.start), slice(grid.filled.stop, None)):
            flux_row[rim] = sigma_row[rim] = 0
    n_good = int(np.count_nonzero(good_row))
    if n_good < options.min_good * _usable(grid):
        raise BadSpectrum(
            f"{n_good} of {_usable(grid)} grid pixels are good, fewer than the share of "
            f"{options.min_good:g} asked for (--min-good)",
            reason="masked" if np.count_nonzero(good) < 0.5 * good.size else "no-overlap",
        )
    scale, envelope = _scale(flux_row, sigma_row, good_row, grid, options.normalise)
    divisor = np.float32(scale) if envelope is None else envelope
    flux_row = (flux_row / divisor).astype(np.float32, copy=False)
    sigma_row = (sigma_row / divisor).astype(np.float32, copy=False)
    facts = {
        "frame": frame,
        "berv": berv,
        "scale": scale if placement.weights is None else scale * unit,
        "snr": _snr(flux_row, sigma_row, good_row),
        "sigma_from": origin,
        "n_good": n_good,
        "n_spikes": n_spikes,
        "copied": placement.weights is None,
        "warnings": "; ".join((*spectrum.warnings, *warnings)),
    }
    return Prepared(flux_row, sigma_row, good_row, facts)


def _usable(grid: Grid) -> int:
    """Pixels of the grid that any spectrum could fill."""
    if grid.kind != "paper":
        return grid.size
    return grid.size - sum(dead.stop - dead.start for dead in PAPER_DEAD)


def _frame(spectrum: Spectrum, wanted: str) -> tuple[float, str, float, tuple[str, ...]]:
    """Doppler factor to reach the wanted frame, the frame reached, the BERV, and what could not be done."""
    berv = spectrum.berv if abs(spectrum.berv) < 60 else np.nan  # beyond 60 km/s no observatory moves
    target = {"file": spectrum.frame, "observer": "topocentric"}.get(wanted, wanted)
    if target == spectrum.frame:
        return 1.0, spectrum.frame, berv, ()
    if spectrum.frame not in ("barycentric", "topocentric") or not np.isfinite(berv):
        return 1.0, spectrum.frame, berv, (f"frame stays {spectrum.frame}: BERV or frame unknown",)
    sign = 1.0 if target == "barycentric" else -1.0
    return float(doppler_factor(sign * berv)), target, berv, ()


def _measured(flux: NDArray[Any], flagged: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Pixels that hold a measurement: finite, not flagged, not the exact zero of a gap."""
    good: NDArray[np.bool_] = np.isfinite(flux)
    if flagged is not None:
        good &= flagged
    zero = flux == 0
    # counts can be zero, an exact zero among fractions is where nothing was measured
    if zero.any() and not _whole_numbers(flux):
        good &= ~zero
        # beside a run of zeros lies what was lost in part: the last number of a cut, the rim of a chip
        run = zero[1:] & zero[:-1]
        good[2:] &= ~run[:-1]
        good[:-2] &= ~run[1:]
    return good


def _typical(sigma: NDArray[Any]) -> float:
    """Median of a sample of the positive errors, 0 where there are none."""
    sample = sigma[:: max(1, sigma.size // SAMPLE)]
    sample = sample[(sample > 0) & (sample < np.inf)]
    return float(np.median(sample)) if sample.size else 0.0


def _whole_numbers(flux: NDArray[Any]) -> bool:
    sample = flux[:: max(1, flux.size // SAMPLE)]
    sample = sample[np.isfinite(sample)]
    return bool(np.all(sample == np.round(sample)))


def _refuse_damage(flux: NDArray[Any], good: NDArray[np.bool_]) -> tuple[float, float]:
    """Mask impossible values in place; refuse the spectrum where they are too many, or all the same.

    Returns a typical value (from a sample of the pixels) and the largest that counts as possible.
    """
    n_good = int(np.count_nonzero(good))
    if n_good < 2:
        raise BadSpectrum(f"{n_good} of {good.size} pixels in the grid's range are usable", reason="masked")
    stride = max(1, flux.size // SAMPLE)
    sample = flux[::stride][good[::stride]]
    unit = float(np.median(np.abs(sample))) if sample.size else 0.0
    limit = INSANE * unit
    if sample.size < 2 or sample.min() == sample.max():
        values = flux[good]
        if values.min() == values.max():
            raise BadSpectrum(f"every one of {n_good} pixels holds {values[0]:g}", reason="constant")
    if unit == 0:
        raise BadSpectrum("most pixels are exactly zero", reason="masked")
    magnitude = np.abs(flux)
    insane = magnitude > limit if not magnitude.max() <= limit else None  # also where it is NaN
    small = np.count_nonzero(magnitude < VANISHING * unit)
    if small > flux.size - np.count_nonzero(flux):
        vanishing = (magnitude < VANISHING * unit) & (flux != 0)
        insane = vanishing if insane is None else insane | vanishing
    if insane is not None and insane.any():
        share = np.count_nonzero(good & insane) / n_good
        if share > INSANE_SHARE:
            wild = magnitude[good & insane]
            raise BadSpectrum(
                f"{share:.1%} of the pixels are impossible, from {wild.min():.3g} to {wild.max():.3g} "
                f"where {unit:g} is typical: the data are damaged",
                reason="insane",
            )
        good &= ~_with_neighbours(insane)
    return unit, limit


def _with_neighbours(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`bad`, and all pixels within DAMAGE_REACH of two bad ones that lie as close to each other."""
    places = np.flatnonzero(bad)
    spread = bad.copy()
    for first, second in pairwise(places):
        if second - first <= DAMAGE_REACH:
            spread[max(0, first - DAMAGE_REACH) : second + DAMAGE_REACH + 1] = True
    return spread


def _tame(values: NDArray[Any], limit: float) -> NDArray[Any]:
    """`values` with 0 for what is not finite or beyond `limit`: such pixels are masked, but a wild
    number under a mask still spoils every square it enters."""
    low, high = values.min(), values.max()
    if -limit <= low and high <= limit:  # False for NaN too
        return values
    return np.where(np.abs(values) <= limit, values, values.dtype.type(0))


def estimate_sigma(flux: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1-sigma noise a pixel, (n,), from the scatter between every second pixel, piece by piece.

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
    if not positive:
        raise BadSpectrum("no piece of the spectrum shows any scatter to take an error from", reason="masked")
    floor = 0.1 * float(np.median(positive))  # quantised pieces can show no scatter at all
    return np.interp(np.arange(n), centres, np.maximum(values, floor)).astype(np.float32)


def _mask_spikes(flux: NDArray[Any], sigma: NDArray[Any], good: NDArray[np.bool_]) -> int:
    """Mask single-pixel spikes in place and count them; several in a row are light and stay.

    A spike stands out of the scatter too: errors that a file states too small make no spikes.
    """
    stride = max(1, flux.size // SAMPLE)
    # curvature of noise spreads by sqrt(6) sigma; 1.4826 makes a median a standard deviation
    scatter = 1.4826 / np.sqrt(6) * float(np.median(np.abs(_curvature(flux))[::stride][good[1:-1:stride]]))
    sigma = np.maximum(sigma, np.float32(scatter))
    found = []
    for start, stop in _pieces(flux.size, CACHE_PIECE, overlap=2):
        # a deviation to both sides shows in the curvature: few pixels do, and the rest looks at those only
        curvature = np.abs(_curvature(flux[start:stop]))
        found.append(start + 1 + np.flatnonzero(curvature > 2 * SPIKE_SIGMA * sigma[start:stop].min()))
    candidate = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
    candidate = candidate[(candidate >= 2) & (candidate < flux.size - 2)]
    candidate = candidate[good[candidate]]
    if candidate.size == 0:
        return 0
    far_left, left, centre, right, far_right = (flux[candidate + shift] for shift in (-2, -1, 0, 1, 2))
    noise = sigma[candidate]
    height = np.minimum(np.abs(centre - left), np.abs(centre - right))
    flat = np.maximum(np.abs(left - far_left), np.abs(right - far_right))
    spike = candidate[
        (height > SPIKE_SIGMA * noise)
        & ((centre > left) == (centre > right))
        & (flat < SPIKE_NEIGHBOURS * height + 2 * noise)
        & (np.abs(left - right) < SPIKE_NEIGHBOURS * height + 2 * noise)
    ]
    good[spike] = False
    return int(spike.size)


def _curvature(flux: NDArray[Any]) -> NDArray[Any]:
    """2 f[i] - f[i-1] - f[i+1] of the inner pixels, (n - 2,)."""
    curvature = flux[1:-1] * 2
    curvature -= flux[:-2]
    curvature -= flux[2:]
    return np.asarray(curvature)


def _pieces(size: int, length: int, *, overlap: int) -> list[tuple[int, int]]:
    """Stretches (start, stop) of about `length` that together cover 0..size and share `overlap`."""
    return [
        (start, min(size, start + length + overlap)) for start in range(0, max(0, size - overlap), length)
    ]


def _resample(
    flux: NDArray[Any], sigma: NDArray[Any], good: NDArray[np.bool_], placement: Placement
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The three rows on the grid; bad pixels carry no weight."""
    if placement.weights is None:
        return (
            placement.laid(flux),
            placement.laid(np.where(good, sigma, np.float32(0))),
            placement.laid(good),
        )
    here = placement.laid(good)
    bad = np.flatnonzero(~here)
    flux, variance = placement.laid(flux), placement.laid(sigma * sigma)
    if bad.size:
        # bridged, so that the good part of a pixel on a steep slope is not taken for the whole of it
        flux = flux.copy()
        known = np.flatnonzero(here)
        flux[bad] = np.interp(bad, known, flux[known])
        variance = np.where(here, variance, np.float32(0))
    row = placement.weights @ flux
    error = placement.squared @ variance
    np.sqrt(error, out=error)
    coverage = placement.weights @ here.astype(np.float32)
    enough = (coverage >= GOOD_COVERAGE) & (error > 0)
    partly = np.flatnonzero(coverage < 0.9999)
    error[partly] /= np.where(enough[partly], coverage[partly], np.float32(np.inf))
    row[~enough] = error[~enough] = 0
    return row, error, enough


def fast_median(values: NDArray[Any], *, count: int | None = None) -> Any:
    """Exactly numpy's median of the `count` smallest (default: all) values (n,), none of them NaN."""
    n = values.size if count is None else count
    part = np.partition(values, n // 2)
    if n % 2:
        return part[n // 2]
    return np.mean(np.array([part[: n // 2].max(), part[n // 2]]))


def _scale(
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    good: NDArray[np.bool_],
    grid: Grid,
    normalise: str,
) -> tuple[float, NDArray[np.float32] | None]:
    """What a row is divided by: one number, and for `continuum` an envelope (n,) as well."""
    if normalise == "paper-median":
        # the release's infer.py: median over flux * mask, masked zeros counting; the mask is the dead pixels
        masked = flux.copy()
        for dead in PAPER_DEAD if grid.kind == "paper" else ():
            masked[dead] = 0
        median = fast_median(masked)
    else:
        # what is not good sorts behind all that is: cheaper than picking the good ones out
        median = fast_median(np.where(good, flux, np.float32(np.inf)), count=int(np.count_nonzero(good)))
    if not median > 0:
        raise BadSpectrum(f"the median flux on the grid is {median:g}: noise only", reason="noise-only")
    if normalise != "continuum":
        return float(median), None
    return float(median), _envelope(flux, sigma, good, grid)


def _envelope(
    flux: NDArray[np.float32], sigma: NDArray[np.float32], good: NDArray[np.bool_], grid: Grid
) -> NDArray[np.float32]:
    """A smooth pseudo-continuum (n,): the 90th percentile of each piece less what noise lifts it by."""
    from scipy.interpolate import PchipInterpolator

    wavelength = grid.wavelength
    velocity = SPEED_OF_LIGHT * np.log(wavelength / wavelength[0])
    n_pieces = max(2, round(velocity[-1] / CONTINUUM_PIECE))
    bounds = np.searchsorted(velocity, np.linspace(0, velocity[-1], n_pieces + 1))
    centres, levels = [], []
    for low, high in pairwise(bounds):
        usable = np.flatnonzero(good[low:high]) + low
        if usable.size < 16:
            continue
        values = flux[usable]
        # a Gaussian's 90th percentile lies 1.28 sigma up
        level = np.quantile(values, 0.9) - 1.28 * np.median(sigma[usable])
        centres.append(float(velocity[usable].mean()))
        levels.append(float(max(level, np.median(values))))
    floor = 0.01 * float(np.median(levels)) if levels else 0.0
    if len(levels) < 2 or floor <= 0:
        raise BadSpectrum("too few good pixels to find a continuum; use --normalise median", reason="masked")
    curve = PchipInterpolator(centres, np.maximum(levels, floor), extrapolate=False)(velocity)
    inside = np.flatnonzero(np.isfinite(curve))
    curve[: inside[0]] = curve[inside[0]]
    curve[inside[-1] + 1 :] = curve[inside[-1]]
    return np.asarray(curve, dtype=np.float32)


def _snr(flux: NDArray[np.float32], sigma: NDArray[np.float32], good: NDArray[np.bool_]) -> float:
    """Median of flux/sigma over a sample of the good pixels."""
    stride = max(1, flux.size // SAMPLE)
    sample = good[::stride]
    return float(np.median(flux[::stride][sample] / sigma[::stride][sample])) if sample.any() else np.nan
