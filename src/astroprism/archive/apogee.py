"""APOGEE apStar and aspcapStar: images of one row per spectrum, the combination first.

Vacuum, uniform in log10, moved to the rest frame of the star (Nidever et al. 2015, AJ 150,
173). Only the combination is read: never a combination and the visits that it was made from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import header_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import first_text, plausible
from .pixels import good_pixels
from .reader import Reader, ReadOptions, Yield
from .source import Source

MARKS = (b"APOGEE", b"APSTAR", b"ASPCAP")
# Bits 0..7 (bad, cosmic ray, saturated, unfixable, bad dark, bad flat, bad error, no sky) and 14 (not
# enough of the profile): the set that the APOGEE pipeline itself counts as bad (APOGEE_PIXMASK).
BAD_BITS = 0b100_0000_1111_1111
HUGE_ERROR = 1e9  # the pipeline writes 1e10 where it has no error


def sniff(source: Source) -> bool:
    """An image extension on a log axis around 1.6 micron, or a header that names APOGEE."""
    if source.fits is None:
        return False
    primary, unit = source.fits.unit(0), source.fits.unit(1)
    if primary is None or unit is None or primary.size or unit.header.text("XTENSION") != "IMAGE":
        return False
    if any(mark in header.raw.upper() for header in (primary.header, unit.header) for mark in MARKS):
        return True
    return abs(unit.header.number("CRVAL1") - 4.18) < 0.02 and abs(unit.header.number("CDELT1") - 6e-6) < 1e-7


def read(source: Source, options: ReadOptions) -> Yield:
    """The combined spectrum."""
    fits, primary = source.opened()
    unit = fits.unit(1)
    assert unit is not None
    flux = _first_row(unit)
    error, mask = fits.unit(2), fits.unit(3)
    used = [primary, unit]
    if error is None or error.shape != unit.shape:
        raise fits.trouble or UnreadableFile(
            f"the errors in unit 2 have shape {error.shape if error else 'none'}, the fluxes {unit.shape}"
        )
    sigma = _first_row(error)
    used.append(error)
    rejected = sigma > HUGE_ERROR
    if mask is not None and mask.shape == unit.shape and mask.header.integer("BITPIX") > 0:
        rejected |= (_first_row(mask).astype(np.int64) & BAD_BITS) != 0
        used.append(mask)
    elif fits.trouble is not None:
        raise fits.trouble
    verified = options.verify(*used)
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    axis = unit.header if np.isfinite(unit.header.number("CRVAL1")) else primary.header
    for part in used:
        for key in ("CRVAL1", "CDELT1", "CRPIX1"):
            if abs(part.header.number(key) - axis.number(key)) > 1e-9:  # False where NaN
                raise BadSpectrum(
                    f"{key} differs from unit to unit; the file is damaged", reason="wavelength"
                )
    wave, warnings = header_axis(axis, flux.size)
    if not 10_000 < wave[0] < wave[-1] < 20_000:
        raise BadSpectrum(
            f"wavelengths from {wave[0]:.1f} to {wave[-1]:.1f} angstrom; APOGEE covers 15,100..17,000",
            reason="wavelength",
        )
    require_smooth(wave)
    sigma_or_none, good = good_pixels(flux, sigma, mask=rejected)
    name = first_text(primary.header, "APOGEE_ID", "OBJID", "OBJECT") or first_text(
        unit.header, "OBJID", "OBJECT"
    )
    exposure = exposure_of((primary.header,), moving=False)  # each visit had its own motion
    yield Spectrum(
        wavelength=wave,
        flux=flux,
        sigma=sigma_or_none,
        good=good,
        identifier=name or source.stem,
        target=name,
        **exposure.facts(),
        medium="vacuum",
        frame="rest",
        snr=plausible(primary.header.number("SNR"), 0.0, 1e6),
        reader="apogee",
        keywords=fits.keywords(unit),
        words=fits.words(unit),
        warnings=verified.warnings + warnings,
    )


def _first_row(unit: Unit) -> NDArray[Any]:
    image = unit.image()
    if image.ndim not in (1, 2):
        raise UnreadableFile(f"unit {unit.index} has {image.ndim} axes; APOGEE writes rows of spectra")
    return np.asarray(image if image.ndim == 1 else image[0])


APOGEE = Reader("APOGEE apStar and aspcapStar, the combined spectrum", sniff, read)
