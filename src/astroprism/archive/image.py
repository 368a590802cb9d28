"""Any image with a wavelength axis in its header: MILES, ELODIE, NARVAL exports, iSpec, IRAF ..."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import Evidence, axis_unit, bad_axis, header_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import Header, first_text, frame_of, plausible
from .multispec import apertures, is_equispec, is_multispec
from .pixels import good_pixels, sigma_of, wavelengths
from .reader import Reader, ReadOptions, Yield
from .rows import FEWEST_PIXELS, MOST_ROWS, Rows, rows_of
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
    """The one spectrum of the image; several where layers or IRAF's apertures are spectra of their own."""
    unit = _image(source)
    assert unit is not None
    fits, primary = source.opened()
    header = unit.header
    evidence = options.unit_of(header, primary.header)
    image = unit.image()
    if image.ndim == 2 and image.shape[1] <= MOST_ROWS and image.shape[0] >= FEWEST_PIXELS:
        image = image.T  # columns instead of rows
    exposure = exposure_of((header, primary.header) if unit is not primary else (header,))
    facts = exposure.facts() | {
        "target": first_text(header, "OBJECT", "OBJNAME", "TARGET") or first_text(primary.header, "OBJECT"),
        "frame": exposure.frame(frame_of(header if header.text("SPECSYS") else primary.header)),
        "snr": plausible(header.number("SNR", "SN"), 0.0, 1e6),
        "resolution": plausible(header.number("SPEC_RES", "RESOLUT"), 1.0, 1e7),
        "reader": "image",
        "keywords": fits.keywords(unit),
        "words": fits.words(unit),
    }
    stack, names = _spectra(source, unit, image, options, evidence)
    verified = options.verify(primary, unit)
    for number, rows in enumerate(stack):
        wave, flux, sigma, warnings = _spectrum(rows, header, evidence)
        require_smooth(wave)
        medium, assumed = medium_of(header, float(wave[-1]), options)
        sigma, good = good_pixels(flux, sigma)
        if len(names) > 1:  # stars beside each other: name and place of the header are the field's
            facts |= {"target": names[number], "ra": np.nan, "dec": np.nan}
        yield Spectrum(
            wavelength=wave,
            flux=flux,
            sigma=sigma,
            good=good,
            identifier=f"{source.stem}#{number}" if len(stack) > 1 else source.stem,
            medium=medium,
            warnings=verified.warnings + warnings + assumed + exposure.motion.warnings,
            **facts,
        )


def _spectra(
    source: Source, unit: Unit, image: NDArray[Any], options: ReadOptions, evidence: Evidence
) -> tuple[list[Rows], list[str]]:
    """The rows of every spectrum; and of IRAF's apertures, where there are several, the name of each."""
    header = unit.header
    several = image.ndim > 1 and image.shape[-2] > 1
    if is_multispec(header) or (is_equispec(header) and several):
        found = apertures(image, header, row=options.row)
        return [one.rows for one in found], [one.name for one in found]
    axis = None
    if image.ndim > 1 and options.row is None:
        with suppress(BadSpectrum):  # where the header has none, a row may
            axis = header_axis(header, image.shape[-1], evidence=evidence)[0]
        if (stack := rows_of(image, header, axis)) is not None:
            return stack, []
    flux, row = _row(image, options, axis)
    errors = _errors(source, unit)
    return [Rows(None, flux, errors[row] if errors is not None and errors.ndim == 2 else errors)], []


def _spectrum(
    rows: Rows, header: Header, evidence: Evidence
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any] | None, tuple[str, ...]]:
    """Wavelengths in angstrom that increase, flux and errors, and what was assumed."""
    wave, flux, sigma, warnings = rows
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    if wave is None:
        axis, assumed = header_axis(header, flux.size, evidence=evidence)
    else:
        axis, assumed = wavelengths(wave, axis_unit(header), evidence=evidence)
    warnings = (*assumed, *warnings)
    if axis[0] > axis[-1]:
        axis, flux = axis[::-1], flux[::-1]
        sigma = sigma[::-1] if sigma is not None else None
        warnings += ("wavelengths decreased; turned round together with the flux",)
    return axis, flux, sigma, warnings


def _row(image: NDArray[Any], options: ReadOptions, axis: NDArray[Any] | None) -> tuple[NDArray[Any], int]:
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
    if axis is None:
        raise bad_axis(
            f"an image of shape {image.shape} with {len(used)} used rows, none of which runs one way as "
            "wavelengths do, and no axis in the header: add CRVAL1, CDELT1 and CUNIT1, or a row of "
            "wavelengths"
        )
    raise BadSpectrum(
        f"an image of shape {image.shape} with {len(used)} used rows, and nothing says which is what: name "
        "them by ARRAY1 = 'FLUX', ARRAY2 = 'ERROR' ..., write one spectrum per file, or choose by "
        "ReadOptions(row=...)",
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
    stated = first_text(header, "AIRORVAC", "MEDIUM", "WAVETYPE").lower()
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
