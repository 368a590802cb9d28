"""Named or bare columns of numbers as a spectrum: for text, plain tables, stacks and objects in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum
from ..kernels import survey
from .axis import (
    LONGEST,
    SHORTEST,
    Evidence,
    Wave,
    angstrom_factor,
    bad_axis,
    regular,
    require_smooth,
    unrounded,
)

Array = NDArray[Any]
_MOST = float(np.finfo(np.float32).max)

# Names as they are met in iSpec, PHOENIX, MaStar, specutils, pandas exports ...; lower case.
ROLES: dict[str, tuple[str, ...]] = {
    "wave": (
        "wavelength",
        "wavelengths",
        "wave",
        "waves",
        "lambda",
        "lam",
        "wl",
        "waveobs",
        "wlen",
        "wav",
        "spectral_axis",
    ),
    "loglam": ("loglam", "log_lambda", "loglambda", "logwave", "log_wave", "log_wavelength", "logwl"),
    "flux": (
        "flux",
        "fluxes",
        "intensity",
        "spectrum",
        "spectra",
        "flam",
        "f_lambda",
        "flux_norm",
        "normalized_flux",
    ),
    "sigma": (
        "sigma",
        "err",
        "error",
        "errors",
        "flux_err",
        "flux_error",
        "fluxerr",
        "e_flux",
        "eflux",
        "uncertainty",
        "std",
        "noise",
    ),
    "ivar": ("ivar", "inverse_variance", "inv_var", "invvar", "flux_ivar"),
    "good": ("good", "good_pixels"),
    "bad": ("mask", "bad", "flag", "flags", "and_mask", "quality", "qual"),
}
_UNIT = re.compile(r"[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_ENDING = re.compile(r"^(.*?)[_\s-](a|aa|ang|angstrom|angstroms|nm|um|micron|microns|m)$")


@dataclass(frozen=True)
class Cells:
    """What every spectrum has, in the order of increasing wavelength; shapes (n,)."""

    wave: Wave
    flux: Array
    sigma: Array | None
    good: Array | None
    warnings: tuple[str, ...]


def roles_of(names: Iterable[str]) -> tuple[dict[str, str], str]:
    """Which name plays which role, and the wavelength unit that its name carries ('' where none)."""
    plain: dict[str, tuple[str, str]] = {}
    for name in names:
        text, unit = name.strip().strip("\"'").lower(), ""
        if match := _UNIT.search(text):
            text, unit = text[: match.start()].strip(), match.group(1)
        elif (match := _ENDING.match(text)) and match.group(1) in ROLES["wave"]:
            text, unit = match.group(1), match.group(2)
        plain.setdefault(text, (name, unit))
    found: dict[str, str] = {}
    unit = ""
    for role, known in ROLES.items():
        for text in known:
            if text in plain:
                found[role] = plain[text][0]
                unit = plain[text][1] if role == "wave" else unit
                break
    if "wave" in found:
        found.pop("loglam", None)
    return found, unit


def cells_of(
    values: Mapping[str, Array], *, unit: str = "", flip: bool = True, evidence: Evidence | None = None
) -> Cells:
    """One spectrum from arrays by role (see ROLES), all of shape (n,).

    unit      of the wavelengths; '' lets plausibility decide
    flip      whether decreasing wavelengths are turned round with everything else
    evidence  what speaks for a unit where none is named
    """
    raw = values["wave"] if "wave" in values else values["loglam"]
    sizes = {role: np.shape(array) for role, array in values.items()}
    if len(set(sizes.values())) != 1 or len(np.shape(raw)) != 1:
        raise BadSpectrum(f"columns of unequal length: {sizes}", reason="unreadable")
    if len(raw) < 2:
        raise BadSpectrum(f"{len(raw)} pixels", reason="empty")
    wave, warnings = wavelengths(np.asarray(raw), unit, logarithmic="wave" not in values, evidence=evidence)
    arrays = {role: np.asarray(array) for role, array in values.items()}
    if wave[0] > wave[-1] and flip:
        wave = wave[::-1]
        arrays = {role: array[::-1] for role, array in arrays.items()}
        warnings += ("wavelengths decreased; turned round together with the flux",)
    if (grid := unrounded(wave)) is not None and np.any(np.diff(wave) == 0):
        wave = grid
        warnings += ("neighbours have equal wavelengths, rounded: the uniform grid behind them is used",)
    require_smooth(wave)
    flux, sigma, mask = arrays["flux"], arrays.get("sigma"), None
    if sigma is None and "ivar" in arrays:
        sigma = sigma_of(arrays["ivar"])
    if "good" in arrays:
        mask = ~(arrays["good"] != 0)
    elif "bad" in arrays:
        mask = arrays["bad"] != 0
    flux = flux if flux.dtype.kind == "f" else flux.astype(np.float64)
    if sigma is not None and sigma.dtype.kind != "f":
        sigma = sigma.astype(np.float64)
    sigma, good = good_pixels(flux, sigma, mask=mask)
    return Cells(wave, flux, sigma, good, warnings)


def wavelengths(
    raw: Array, unit: str, *, logarithmic: bool = False, evidence: Evidence | None = None
) -> tuple[Wave, tuple[str, ...]]:
    """A column of wavelengths, or of their log10, in angstrom; and what was assumed."""
    if raw.dtype.kind not in "fiu":
        raise bad_axis(f"wavelengths of type {raw.dtype} are no numbers")
    exact = raw.astype(np.float64)
    low, high = float(exact.min()), float(exact.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise bad_axis("wavelengths that are not finite")
    warnings: tuple[str, ...] = ()
    inside = np.log10(SHORTEST) <= low and high <= np.log10(LONGEST)
    if not logarithmic and not unit and inside and high - low < 1.5:
        logarithmic = True
        warnings = (f"wavelengths taken as log10 of angstrom because they run from {low:g} to {high:g}",)
    if logarithmic:
        if not inside:
            raise bad_axis(f"log wavelengths from {low:g} to {high:g} are no log10 of angstrom")
        grid = regular(exact) if raw.dtype.itemsize <= 4 else None
        return np.asarray(10.0 ** (exact if grid is None else grid)), warnings
    factor, assumed = angstrom_factor(float(exact[0]), float(exact[-1]), unit=unit, evidence=evidence)
    if raw.dtype == np.float32:  # rounded to 2e-4..1e-3 angstrom: find the grid it was rounded from
        grid = regular(exact)
        if grid is None and low > 0 and (logs := regular(np.log10(exact))) is not None:
            grid = np.asarray(10.0**logs)
        exact = exact if grid is None else grid
    return exact * factor, warnings + assumed


# --- which pixels count, and their errors


def good_pixels(
    flux: Array, sigma: Array | None, *, mask: Array | None = None
) -> tuple[Array | None, Array | None]:
    """sigma (None where the file has a column of errors without an error in it), and the good pixels.

    Good are finite pixels with a positive error whose flux is not exactly zero: that marks pixels for
    which no photon was counted (chip gaps, order ends, rejected pixels) in every format met. `mask` is
    True where the file's own mask rejects. None where every pixel is good.
    """
    if flux.dtype == np.float32 and (sigma is None or sigma.dtype == np.float32):
        return _good_pixels_float32(flux, sigma, mask)
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


def _good_pixels_float32(
    flux: Array, sigma: Array | None, mask: Array | None
) -> tuple[Array | None, Array | None]:
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
