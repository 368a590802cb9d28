"""Any image with a wavelength axis in its header: MILES, ELODIE, NARVAL exports, iSpec, IRAF ..."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import header_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import Header, first_text, frame_of, plausible
from .pixels import good_pixels, sigma_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

ERRORS = ("ERR", "ERROR", "ERRORS", "SIGMA", "STDDEV", "UNCERTAINTY", "NOISE")
INVERSE = ("IVAR", "INVVAR")


def _image(source: Source) -> Unit | None:
    """The first unit that holds an image."""
    if source.fits is None:
        return None
    for index in range(4):
        unit = source.fits.unit(index)
        if unit is None:
            return None
        kind = unit.header.text("XTENSION")
        if unit.size and (index == 0 or kind == "IMAGE" or unit.header.logical("ZIMAGE")):
            return unit
    return None


def sniff(source: Source) -> bool:
    """A FITS file with an image in one of its first units."""
    return _image(source) is not None


def read(source: Source, options: ReadOptions) -> Yield:
    """The one spectrum of the image."""
    unit = _image(source)
    assert unit is not None
    fits, primary = source.opened()
    header = unit.header
    if header.text("CTYPE1").upper().startswith("MULTISPE"):
        raise BadSpectrum(
            "wavelengths as an IRAF 'multispec' are not read; linearise the spectrum first (IRAF: dispcor)",
            reason="wavelength",
        )
    image = unit.image()
    flux, row = _row(image, options)
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    errors = _errors(source, unit)
    sigma = errors[row] if errors is not None and errors.ndim == 2 else errors
    options.verify(primary, unit)
    wave, warnings = header_axis(header, flux.size)
    if wave[0] > wave[-1]:
        wave, flux = wave[::-1], flux[::-1]
        sigma = sigma[::-1] if sigma is not None else None
        warnings += ("wavelengths decreased; turned round together with the flux",)
    require_smooth(wave)
    medium, assumed = medium_of(header, float(wave[-1]), options)
    sigma, good = good_pixels(flux, sigma)
    exposure = exposure_of((header, primary.header) if unit is not primary else (header,))
    yield Spectrum(
        wavelength=wave,
        flux=flux,
        sigma=sigma,
        good=good,
        identifier=source.stem,
        target=first_text(header, "OBJECT", "OBJNAME", "TARGET") or first_text(primary.header, "OBJECT"),
        **exposure.facts(),
        medium=medium,
        frame=exposure.frame(frame_of(header if header.text("SPECSYS") else primary.header)),
        snr=plausible(header.number("SNR", "SN"), 0.0, 1e6),
        resolution=plausible(header.number("SPEC_RES", "RESOLUT"), 1.0, 1e7),
        reader="image",
        keywords=fits.keywords(unit),
        warnings=warnings + assumed + exposure.motion.warnings,
    )


def _row(image: NDArray[Any], options: ReadOptions) -> tuple[NDArray[Any], int]:
    """The row that is the spectrum: the one requested, or the only one with anything in it."""
    rows = image.reshape(-1, image.shape[-1]) if image.ndim else image.reshape(1, -1)
    if len(rows) == 1:
        return np.asarray(rows[0]), 0
    if options.row is not None:
        if options.row >= len(rows):
            raise BadSpectrum(f"row {options.row} requested, the image has {len(rows)}", reason="ambiguous")
        return np.asarray(rows[options.row]), options.row
    if rows.shape[1] == 1:
        raise BadSpectrum(f"an image of shape {image.shape} has its pixels on axis 2", reason="wavelength")
    used = [index for index, row in enumerate(rows[:10_000]) if np.any(np.isfinite(row) & (row != 0))]
    if len(used) == 1:
        return np.asarray(rows[used[0]]), used[0]
    if not used:
        return np.asarray(rows[0]), 0
    raise BadSpectrum(
        f"an image of shape {image.shape} with {len(used)} used rows, and nothing says which to take; "
        "write one spectrum per file, or choose by ReadOptions(row=...)",
        reason="ambiguous",
    )


def _errors(source: Source, unit: Unit) -> NDArray[Any] | None:
    """Errors in a later unit that is named as such and has the same shape."""
    fits, _ = source.opened()
    for index in range(unit.index + 1, unit.index + 4):
        other = fits.unit(index)
        if other is None:
            break
        if other.name in ERRORS + INVERSE and other.header.text("XTENSION") == "IMAGE":
            if other.shape != unit.shape:
                raise UnreadableFile(f"errors of shape {other.shape} for fluxes of shape {unit.shape}")
            for key in ("CRVAL1", "CDELT1", "CD1_1", "CRPIX1"):
                if abs(other.header.number(key) - unit.header.number(key)) > 1e-9:  # False where NaN
                    raise UnreadableFile(
                        f"{key} of the fluxes and of their errors differ; the file is damaged"
                    )
            values = other.image()
            values = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values
            return sigma_of(values) if other.name in INVERSE else values
    return None


def medium_of(header: Header, longest: float, options: ReadOptions) -> tuple[str, tuple[str, ...]]:
    """'air' or 'vacuum' as the header says, else as the options say, else the custom of optical libraries.

    CTYPE1 AWAV is air, WAVE vacuum (FITS WCS paper III). The libraries that say nothing (MILES, ELODIE,
    UVES-POP, NARVAL) are in air, as ground-based optical spectra are by custom; below 2000 angstrom and
    above one micron vacuum is.
    """
    kind = header.text("CTYPE1").upper()
    stated = (header.text("AIRORVAC") or header.text("MEDIUM")).lower()
    if kind.startswith("AWAV") or stated.startswith("air") or header.logical("VACUUM") is False:
        return "air", ()
    if (
        (kind.startswith("WAVE") and "LENGTH" not in kind)
        or stated.startswith("vac")
        or header.logical("VACUUM")
    ):
        return "vacuum", ()
    if options.medium is not None:
        return options.medium, ()
    return assumed_medium(longest)


def assumed_medium(longest: float) -> tuple[str, tuple[str, ...]]:
    """What is customary for a spectrum that ends at `longest` angstrom."""
    medium = "air" if 2_000 < longest < 10_500 else "vacuum"
    return medium, (f"the file does not say air or vacuum; {medium} as is the custom at these wavelengths",)


IMAGE = Reader("image with a linear or logarithmic wavelength axis", sniff, read)
