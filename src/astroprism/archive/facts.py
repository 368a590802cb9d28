"""What headers say about a spectrum, in one vocabulary: pixels that count, frames, places, names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import survey
from .header import Header

Array = NDArray[Any]
_MOST = float(np.finfo(np.float32).max)

# SPECSYS of FITS WCS paper III. The Sun's own motion about the barycentre is below 16 m/s, less
# than any spectrum read here resolves, so heliocentric counts as barycentric.
FRAMES = {"BARYCENT": "barycentric", "HELIOCEN": "barycentric", "TOPOCENT": "topocentric", "SOURCE": "rest"}


def frame_of(header: Header) -> str:
    """The velocity frame that SPECSYS names, else 'unknown'."""
    return FRAMES.get(header.text("SPECSYS").upper()[:8], "unknown")


def judge(
    flux: Array, sigma: Array | None, *, mask: Array | None = None
) -> tuple[Array | None, Array | None]:
    """sigma (None where the file has a column of errors without an error in it), and the good pixels.

    Good are finite pixels with a positive error whose flux is not exactly zero: that marks pixels for
    which no photon was counted (chip gaps, order ends, rejected pixels) in every format met. `mask` is
    True where the file's own mask rejects. None where every pixel is good.
    """
    if flux.dtype == np.float32 and (sigma is None or sigma.dtype == np.float32):
        return _judge_float32(flux, sigma, mask)
    good = flux != 0
    # extremes are NaN where any value is: cheaper than testing pixel by pixel
    if not np.isfinite(flux.min()) or not np.isfinite(flux.max()):
        good &= np.isfinite(flux)
    if sigma is not None:
        known = sigma > 0
        if not known.any():
            sigma = None
        else:
            good &= known
            if not np.isfinite(sigma.max()):
                good &= np.isfinite(sigma)
    if mask is not None:
        good &= ~mask
    return sigma, None if good.all() else good


def _judge_float32(flux: Array, sigma: Array | None, mask: Array | None) -> tuple[Array | None, Array | None]:
    """The same in one pass."""
    flux = np.ascontiguousarray(flux)
    good = np.ones(flux.size, dtype=bool) if mask is None else ~mask
    before = good.copy() if sigma is not None else good
    errors = None if sigma is None else np.ascontiguousarray(sigma)
    kept = survey(flux, errors, good, True, 0.0, _MOST, 0.0, _MOST)[2]
    if sigma is not None and kept == 0 and not np.any(sigma > 0):
        sigma, good = None, before
        kept = survey(flux, None, good, True, 0.0, _MOST, 0.0, _MOST)[2]
    return sigma, None if kept == flux.size else good


def sigma_of(inverse_variance: Array) -> Array:
    """1-sigma errors; 0 (not good) where the inverse variance is not positive and finite."""
    variance = np.asarray(inverse_variance)
    sigma = np.zeros(variance.shape, variance.dtype if variance.dtype.kind == "f" else np.float64)
    valid = (variance > 0) & np.isfinite(variance)
    with np.errstate(over="ignore"):
        np.divide(1, np.sqrt(variance, where=valid, out=np.ones_like(sigma)), where=valid, out=sigma)
    return sigma


def degrees(header: Header, *pairs: tuple[str, str]) -> tuple[float, float]:
    """The first of the keyword `pairs` that gives a place on the sky, degrees; NaN where none does."""
    for right, up in pairs:
        ra, dec = header.number(right), header.number(up)
        if np.isnan(ra) and ":" in header.text(right) and ":" in header.text(up):
            ra, dec = 15 * _sexagesimal(header.text(right)), _sexagesimal(header.text(up))
        if 0 <= ra <= 360 and -90 <= dec <= 90:
            return ra, dec
    return np.nan, np.nan


def _sexagesimal(text: str) -> float:
    try:
        parts = [float(part) for part in text.lstrip("+-").split(":")]
    except ValueError:
        return np.nan
    value = sum((part / 60.0**power for power, part in enumerate(parts[:3])), 0.0)
    return -value if text.strip().startswith("-") else value


def plausible(value: float, low: float, high: float) -> float:
    """`value` where it lies in [low, high], else NaN: sentinels such as -99999 are no facts."""
    return value if low <= value <= high else np.nan


def velocity(value: float) -> float:
    """A barycentric correction in km/s; the Earth moves at no more than 31."""
    return plausible(value, -40.0, 40.0)


def first_text(header: Header, *keys: str) -> str:
    """The first of `keys` that holds a non-blank string."""
    return next((text for key in keys if (text := header.text(key))), "")
