"""LAMOST low-resolution spectra: the table of DR8 and later, the image of earlier releases.

Vacuum wavelengths, uniform in log10, moved to the heliocentre (LAMOST data release notes,
"FITS headers": VACUUM, HELIO, HELIO_RV).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import log_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import Header, first_text, plausible
from .pixels import good_pixels, sigma_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

COLUMNS = ("FLUX", "IVAR", "WAVELENGTH")
# ANDMASK counts from bit 0: bad CCD pixel, bad profile, no sky, sky too bright, fibre off the chip, no
# data. IVAR answers for a bright sky alone.
BAD_BITS = 0b110111
LOCAL_TIME = 8 / 24  # days; LAMOST counts its exposures in minutes of local time (UTC + 8 h)


def sniff(source: Source) -> bool:
    """A table with FLUX, IVAR and WAVELENGTH cells, or an image that says LAMOST."""
    if source.fits is None or (primary := source.fits.unit(0)) is None:
        return False
    header = primary.header
    named = any("LAMOST" in header.text(key).upper() for key in ("TELESCOP", "ORIGIN", "AUTHOR", "DATA_V"))
    if primary.size:
        return named and header.numbers.get("NAXIS") == 2
    unit = source.fits.unit(1)
    if unit is None or not unit.is_table:
        return False
    if named:
        return True
    return unit.name == "COADD" and unit.rows == 1 and "WAVELENGTH" in unit.columns


def read(source: Source, options: ReadOptions) -> Yield:
    """The one spectrum of the file."""
    fits, primary = source.opened()
    rows, unit = _image(primary) if primary.size else _table(source)
    verified = options.verify(primary, unit)
    header = primary.header
    flux = rows["FLUX"]
    column = rows.get("WAVELENGTH")
    logs = None
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    remarks: tuple[str, ...] = ()
    if column is not None and np.isfinite(column).all() and (column > 0).all():
        logs = np.log10(column.astype(np.float64))
    elif column is not None:
        remarks = ("the wavelength column holds what is no positive number: not used",)
    wave, warnings = log_axis(header, logs, flux.size)
    warnings = remarks + warnings
    require_smooth(wave)
    sigma, good = good_pixels(flux, sigma_of(rows["IVAR"]), mask=_rejected(rows.get("ANDMASK")))
    if header.logical("VACUUM") is False:
        warnings += ("VACUUM = F; taken as vacuum all the same, as every LAMOST release is",)
    helio = header.number("HELIO_RV")
    corrected = header.logical("HELIO")
    frame = "barycentric" if corrected or np.isfinite(helio) else "unknown"
    if corrected is False:
        frame = "topocentric"
    # HELIO_RV is the Earth's velocity away from the star, so minus the velocity to add: for spectrum
    # 938503194 astropy gives -24.275 km/s to add at mid-exposure, HELIO_RV says +24.262
    # Where the list of its exposures is cut at the end of the card, HELIO_RV is of the mean of what is left,
    # years away (199 of 1,451 files of DR10 say so to 6 m/s, and are wrong by up to 57 km/s)
    _, cut = _minutes(header)
    exposure = exposure_of((header,), time=_time(header), distrust=("HELIO_RV",) if cut else ())
    if cut and np.isfinite(helio):
        warnings += ("HELIO_RV is of another date, because LMJMLIST was cut: BERV is computed",)
    obsid = header.number("OBSID")
    yield Spectrum(
        wavelength=wave,
        flux=flux,
        sigma=sigma,
        good=good,
        identifier=f"{obsid:.0f}" if obsid > 0 else source.stem,
        target=first_text(header, "DESIG", "OBJECT", "OBJNAME"),
        **exposure.facts(),
        medium="vacuum",
        frame=frame,
        snr=_median_snr(header),
        resolution=plausible(header.number("SPEC_RES"), 1.0, 1e7),
        reader="lamost",
        keywords=fits.keywords(unit),
        words=fits.words(unit),
        warnings=verified.warnings + warnings + exposure.motion.warnings,
    )


def _table(source: Source) -> tuple[dict[str, NDArray[Any]], Unit]:
    """Cells of the first row of the table COADD."""
    fits, _ = source.opened()
    tables = [unit for unit in fits.tables() if {"FLUX", "IVAR"} <= set(unit.columns)]
    if not tables:
        raise UnreadableFile("no table with FLUX and IVAR; the header is damaged")
    unit = tables[0]
    if unit.rows != 1:
        raise UnreadableFile(f"{unit.rows} rows; LAMOST writes one")
    missing = [name for name in COLUMNS if name not in unit.columns or unit.columns[name].letter not in "ED"]
    if missing:
        raise UnreadableFile(f"column {missing[0]} is missing or holds no real numbers")
    names = [*COLUMNS, *(["ANDMASK"] if "ANDMASK" in unit.columns else [])]
    if len({unit.columns[name].repeat for name in names}) > 1:
        raise UnreadableFile("columns of unequal length; the header is damaged")
    return {name: np.atleast_2d(unit.column(name))[0] for name in names}, unit


def _image(unit: Unit) -> tuple[dict[str, NDArray[Any]], Unit]:
    """Rows of the image of DR7 and earlier: flux, ivar, wavelength, and-mask, or-mask; the third may lack."""
    image = unit.image()
    if unit.header.integer("BITPIX") > 0 or image.ndim != 2 or not 2 <= image.shape[0] <= 8:
        raise UnreadableFile(f"an image of shape {image.shape}; LAMOST writes 5 rows of real numbers")
    rows = dict(zip(("FLUX", "IVAR", "WAVELENGTH", "ANDMASK"), image, strict=False))
    third = rows.get("WAVELENGTH")
    if third is not None and not np.any(third > 100):  # blank, or the masks moved up
        del rows["WAVELENGTH"]
        if len(image) < 5:
            rows["ANDMASK"] = third
    return rows, unit


def _rejected(mask: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    whole = np.where(np.isfinite(mask) & (np.abs(mask) < 2**31), mask, 1).astype(np.int64)
    return np.asarray((whole & BAD_BITS) != 0)


def _median_snr(header: Header) -> float:
    """Median of the signal-to-noise ratios in u, g, r, i, z that are positive."""
    values = [header.number(f"SNR{band}") for band in "UGRIZ"]
    known = [value for value in values if 0 < value < 1e5]
    return float(np.median(known)) if known else float("nan")


def _minutes(header: Header) -> tuple[list[int], bool]:
    """The local minutes at which the exposures began, and whether the list was cut where the card ends."""
    parts = header.text("LMJMLIST").split("-")
    whole = [int(part) for part in parts if part.isdecimal() and len(part) == 8]
    return whole, len(parts) > 1 and len(whole) < len(parts)


def _time(header: Header) -> float:
    """MJD (UTC) amid the exposures: from their local minutes, else what the header has."""
    minutes, cut = _minutes(header)
    if minutes:
        last = minutes[-1]
        if cut and len(minutes) > 1:  # the exposures that the card has no room for followed at the same pace
            pace = float(np.median(np.diff(minutes)))
            last = round(minutes[0] + pace * max(len(minutes), header.number("NEXP") - 1))
        local = (minutes[0] + last) / 2 / 1440
        if abs(local - header.number("LMJD")) <= 1.5 or np.isnan(header.number("LMJD")):
            return local - LOCAL_TIME
    return plausible(header.number("MJD-OBS", "MJD"), 1.0, 1e5)


LAMOST = Reader("LAMOST low-resolution spectrum, table or image", sniff, read)
