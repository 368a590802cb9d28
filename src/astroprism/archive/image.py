"""Any image with a wavelength axis in its header: MILES, ELODIE, NARVAL exports, iSpec, IRAF ..."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import angstrom_factor, header_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import Header, first_text, frame_of, plausible
from .pixels import good_pixels, sigma_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

ERRORS = ("ERR", "ERROR", "ERRORS", "SIGMA", "STDDEV", "UNCERTAINTY", "NOISE")
INVERSE = ("IVAR", "INVVAR")
MOST_ROWS = 6  # of one spectrum: wavelength, flux, error, mask ...
FEWEST_PIXELS = 16


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
    """The one spectrum of the image; or one per layer, where rows are wavelengths, fluxes and errors."""
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
    if image.ndim == 2 and image.shape[1] <= MOST_ROWS and image.shape[0] >= FEWEST_PIXELS:
        image = image.T  # columns instead of rows
    stack = None if options.row is not None else _labelled(image, header) or _with_wavelengths(image, header)
    exposure = exposure_of((header, primary.header) if unit is not primary else (header,))
    facts = exposure.facts() | {
        "target": first_text(header, "OBJECT", "OBJNAME", "TARGET") or first_text(primary.header, "OBJECT"),
        "frame": exposure.frame(frame_of(header if header.text("SPECSYS") else primary.header)),
        "snr": plausible(header.number("SNR", "SN"), 0.0, 1e6),
        "resolution": plausible(header.number("SPEC_RES", "RESOLUT"), 1.0, 1e7),
        "reader": "image",
        "keywords": fits.keywords(unit),
    }
    if stack is None:
        flux, row = _row(image, options)
        errors = _errors(source, unit)
        sigma = errors[row] if errors is not None and errors.ndim == 2 else errors
        stack = [_Rows(None, flux, sigma)]
    options.verify(primary, unit)
    for number, rows in enumerate(stack):
        wave, flux, sigma, warnings = _spectrum(rows, header)
        require_smooth(wave)
        medium, assumed = medium_of(header, float(wave[-1]), options)
        sigma, good = good_pixels(flux, sigma)
        yield Spectrum(
            wavelength=wave,
            flux=flux,
            sigma=sigma,
            good=good,
            identifier=f"{source.stem}#{number}" if len(stack) > 1 else source.stem,
            medium=medium,
            warnings=warnings + assumed + exposure.motion.warnings,
            **facts,
        )


class _Rows(NamedTuple):
    """What the rows of an image are, shape (n,) each; wave is None where the header has the wavelengths."""

    wave: NDArray[Any] | None
    flux: NDArray[Any]
    sigma: NDArray[Any] | None


def _spectrum(
    rows: _Rows, header: Header
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any] | None, tuple[str, ...]]:
    """Wavelengths in angstrom that increase, flux and errors, and what was assumed."""
    wave, flux, sigma = rows
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    if wave is None:
        axis, warnings = header_axis(header, flux.size)
    else:
        unit = header.text("XUNITS") or header.text("CUNIT1")
        factor, assumed = angstrom_factor(float(wave[0]), float(wave[-1]), unit=unit)
        axis = wave.astype(np.float64) * factor
        warnings = (*assumed, "rows taken as wavelength, flux and error by what is in them")
    if axis[0] > axis[-1]:
        axis, flux = axis[::-1], flux[::-1]
        sigma = sigma[::-1] if sigma is not None else None
        warnings += ("wavelengths decreased; turned round together with the flux",)
    return axis, flux, sigma, warnings


def _labelled(image: NDArray[Any], header: Header) -> list[_Rows] | None:
    """The spectrum and its errors where BANDIDn (IRAF's apall) or ARRAYn say which row is what."""
    rows = image.reshape(-1, image.shape[-1]) if image.ndim > 1 else None
    if rows is None or not 1 < len(rows) <= MOST_ROWS:
        return None
    names = [first_text(header, f"BANDID{at}", f"ARRAY{at}").lower() for at in range(1, len(rows) + 1)]
    fluxes = [at for at, name in enumerate(names) if re.match(r"spectrum|flux", name)]
    errors = [at for at, name in enumerate(names) if re.match(r"sigma|error|uncertainty", name)]
    if not fluxes:
        return None
    return [_Rows(None, rows[fluxes[0]], rows[errors[0]] if errors else None)]


def _with_wavelengths(image: NDArray[Any], header: Header) -> list[_Rows] | None:
    """Layers of rows that are wavelength, flux and, where there is a third, error; None where rows are none.

    No keyword says so (SpeX libraries write them): a row of positive numbers that runs one way all along, on
    axes that the header does not describe, is the wavelengths.
    """
    if image.ndim not in (2, 3) or not 2 <= image.shape[-2] <= MOST_ROWS or image.shape[-1] < FEWEST_PIXELS:
        return None
    found = []
    for layer in image.reshape(-1, *image.shape[-2:]):
        at = next((index for index, row in enumerate(layer) if _one_way(row)), None)
        others = [row for index, row in enumerate(layer) if index != at]
        if at is None or _one_way(others[0]):
            return None
        wave = layer[at].astype(np.float64)
        inside = np.isfinite(wave) & (wave > 0)
        errors = others[1][inside] if len(others) > 1 else np.zeros(0)
        found.append(_Rows(wave[inside], others[0][inside], errors if np.any(errors > 0) else None))
    return found


def _one_way(row: NDArray[Any]) -> bool:
    """Whether the positive numbers of a row, most of it, only increase or only decrease."""
    values = row[np.isfinite(row) & (row > 0)].astype(np.float64)
    steps = np.diff(values)
    return values.size > row.size / 2 and bool(np.all(steps > 0) or np.all(steps < 0))


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
        return np.asarray(rows[:, 0]), 0  # the pixels lie on the second axis
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
                continue  # the errors of something else
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
