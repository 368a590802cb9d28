"""From one spectrum as read to one row of a store: shift, mask, resample, normalise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import BadSpectrum, ConfigError
from ..grid import PAPER_DEAD, SPEED_OF_LIGHT, Grid, doppler_factor
from ..kernels import bridge, scaled
from ..spectrum import Spectrum
from .mask import SAMPLE, fast_median, mask_spikes, measurements, refuse_damage_elsewhere, typical_error
from .rebin import Placement, place

FRAME_CHOICES = ("file", "barycentric", "observer")
NORMALISATIONS = ("auto", "median", "paper-median", "continuum")

# A spectrum whose median does not stand out of its own uncertainty by this factor holds no star.
SIGNIFICANT = 5.0
# A grid pixel is good where at least this share of it lies under good native pixels: the
# neighbours of single bad pixels are kept, and no value rests mostly on what was thrown away.
GOOD_COVERAGE = 0.5
# Width of the pieces the pseudo-continuum is measured in.
CONTINUUM_PIECE = 8_000.0  # km/s: wider than the wings of a Balmer line


@dataclass(frozen=True)
class PrepareOptions:
    """How spectra are brought to one form.

    frame      file: as the file has it; barycentric or observer: moved there by the file's BERV
    normalise  auto: as median, and training divides each spectrum by its smooth response where the archive
               shows that one drowns the lines; median: over good pixels of the grid; paper-median: the
               release's own, over flux x mask where masked zeros count; continuum: a smooth upper envelope
    min_good   share of the grid's pixels that must be good
    """

    frame: str = "file"
    normalise: str = "auto"
    min_good: float = 0.5

    def __post_init__(self) -> None:
        check_choice("frame", self.frame, FRAME_CHOICES)
        check_choice("normalise", self.normalise, NORMALISATIONS)
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
    placement = place(spectrum.wavelength, grid, medium=spectrum.medium, factor=factor, steps=spectrum.steps)
    if placement.take[1] - placement.take[0] < 2:
        raise BadSpectrum(
            f"covers {spectrum.wavelength[0]:.1f}..{spectrum.wavelength[-1]:.1f} angstrom "
            f"({spectrum.medium}), the grid {grid.wavelength[0]:.1f}..{grid.wavelength[-1]:.1f}: "
            "choose another --grid, or check the unit of its wavelengths",
            reason="no-overlap",
        )
    part = slice(*placement.take)
    refuse_damage_elsewhere(spectrum.flux, part)
    flux, sigma, good, origin, unit, remarks = measurements(spectrum, part)
    warnings += remarks
    n_spikes = mask_spikes(flux, sigma, good)
    rows, rescaled = slice(placement.offset, placement.offset + flux.size), 1.0
    if placement.overlap is not None:
        if not 1e-6 < unit < 1e6:  # the squares of 1e-17 erg/s/cm2/A do not fit a float32
            flux, sigma, rescaled = flux / np.float32(unit), sigma / np.float32(unit), unit
        flux, sigma, good = _resample(flux, sigma, good, placement)
        flux, sigma, good = flux[grid.filled], sigma[grid.filled], good[grid.filled]
        rows = grid.filled
    good_row = np.zeros(grid.size, dtype=bool)
    good_row[rows] = good
    for dead in PAPER_DEAD if grid.kind == "paper" else ():
        good_row[dead] = False
    good = good_row[rows]
    n_good = int(np.count_nonzero(good))
    if n_good < options.min_good * _usable(grid):
        raise BadSpectrum(
            f"{n_good} of {_usable(grid)} grid pixels are good, fewer than the share of "
            f"{options.min_good:g} required (--min-good)",
            reason="masked" if part.stop - part.start > 0.5 * len(spectrum) else "no-overlap",
        )
    scale = _scale(flux, good, grid, options.normalise)
    # the median of n pixels scatters by 1.2533 sigma / sqrt(n)
    uncertainty = 1.2533 * typical_error(sigma) / np.sqrt(n_good)
    if scale < SIGNIFICANT * uncertainty:
        raise BadSpectrum(
            f"the median flux is {scale * rescaled:.3g} +- {uncertainty * rescaled:.2g}: noise only; put a "
            "continuum that was subtracted back, or correct errors that are too large",
            reason="noise-only",
        )
    if options.normalise == "continuum":
        envelope = _envelope(flux, sigma, good, grid.wavelength[rows]) / np.float32(scale)
        flux, sigma = flux / envelope, sigma / envelope
    if flux.size == grid.size and placement.overlap is not None:
        flux_row, sigma_row = flux, sigma  # ours already, and whole
    else:
        flux_row, sigma_row = _blank(grid.size, rows), _blank(grid.size, rows)
    scaled(flux_row[rows], flux, None, scale)
    scaled(sigma_row[rows], sigma, good, scale)
    facts = {
        "frame": frame,
        "berv": berv,
        "berv_source": spectrum.berv_source,
        "scale": scale * rescaled,
        "snr": _snr(flux_row, sigma_row, good_row),
        "sigma_from": origin,
        "n_good": n_good,
        "n_spikes": n_spikes,
        "copied": placement.overlap is None,
        "warnings": "; ".join((*spectrum.warnings, *warnings)),
    }
    return Prepared(flux_row, sigma_row, good_row, facts)


def _blank(size: int, rows: slice) -> NDArray[np.float32]:
    """A row of 0 but for `rows`, which are still to be written."""
    row = np.empty(size, dtype=np.float32)
    row[: rows.start] = 0
    row[rows.stop :] = 0
    return row


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


def _resample(
    flux: NDArray[Any], sigma: NDArray[Any], good: NDArray[np.bool_], placement: Placement
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The three rows on the grid; bad pixels carry no weight."""
    if placement.overlap is None:
        return (
            placement.on_row(flux),
            placement.on_row(np.where(good, sigma, np.float32(0))),
            placement.on_row(good),
        )
    here, flux, sigma = placement.on_row(good), placement.on_row(flux), placement.on_row(sigma)
    if not here.all():
        # bridged, so that the good part of a pixel on a steep slope is not taken for the whole of it
        flux = flux.copy()
        bridge(flux, here)
    return placement.overlap.apply(flux, sigma, here, least=GOOD_COVERAGE)


def _scale(flux: NDArray[np.float32], good: NDArray[np.bool_], grid: Grid, normalise: str) -> float:
    """The median that a row is divided by; `flux` and `good` are the part of it that is filled."""
    if normalise == "paper-median":
        # the release's infer.py: median over flux * mask, masked zeros counting; the mask is the dead pixels
        masked = np.zeros(grid.size, dtype=np.float32)
        masked[grid.filled] = flux
        for dead in PAPER_DEAD:
            masked[dead] = 0
        median = fast_median(masked)
    else:
        median = fast_median(flux, good)
    if not median > 0:
        raise BadSpectrum(
            f"the median flux on the grid is {median:g}: noise only; put back a continuum that was taken",
            reason="noise-only",
        )
    return median


def _envelope(
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    good: NDArray[np.bool_],
    wavelength: NDArray[np.float64],
) -> NDArray[np.float32]:
    """A smooth pseudo-continuum (n,): the 90th percentile of each piece less what noise lifts it by."""
    from scipy.interpolate import PchipInterpolator

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
    return fast_median(flux[::stride][sample] / sigma[::stride][sample]) if sample.any() else np.nan
