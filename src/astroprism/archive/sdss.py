"""SDSS and BOSS `spec-*.fits`: the co-added spectrum, one table row per pixel.

Vacuum, uniform in log10, heliocentric (SDSS data model, "spec"; Dawson et al. 2013, AJ 145, 10). The
single exposures that follow in the same file are left alone: never a combination and its parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, SpectrumError, UnreadableFile
from ..spectrum import Spectrum
from .axis import log_axis, require_smooth
from .exposure import exposure_of
from .fits import Unit
from .header import Header, degrees, first_text, plausible
from .pixels import good_pixels, sigma_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

COLUMNS = ("FLUX", "LOGLAM", "IVAR")
# Bits of and_mask (set in every exposure) that spoil a pixel: SDSS SPPIXMASK. The flags of a whole
# fibre (bits 4..12) and those that IVAR already answers (near a bad pixel, low flat, partly rejected,
# scattered light, cross-talk) would throw good spectra away.
BAD_BITS = sum(1 << bit for bit in (0, 1, 2, 3, 18, 22, 23, 24, 25, 26, 27, 28))


def _table(source: Source) -> Unit | None:
    if source.fits is None:
        return None
    for unit in source.fits.tables(4):
        names = set(unit.columns)
        if "LOGLAM" in names and "FLUX" in names:
            return unit
        telescope = source.fits.unit(0)
        if (
            unit.name == "COADD"
            and telescope is not None
            and telescope.header.text("TELESCOP").startswith("SDSS")
        ):
            return unit
    return None


def sniff(source: Source) -> bool:
    """A table with the columns flux and loglam, or one named COADD from the SDSS telescope."""
    return _table(source) is not None


def read(source: Source, options: ReadOptions) -> Yield:
    """The co-added spectrum of the file."""
    unit = _table(source)
    assert unit is not None
    fits, primary = source.opened()
    missing = [name for name in COLUMNS if name not in unit.columns or unit.columns[name].letter not in "ED"]
    if missing:
        raise UnreadableFile(f"column {missing[0].lower()} is missing or holds no real numbers")
    values = {name: unit.column(name) for name in COLUMNS}
    if any(array.ndim != 1 for array in values.values()):
        raise UnreadableFile("cells hold vectors; SDSS writes one row per pixel")
    mask = unit.column("AND_MASK") if "AND_MASK" in unit.columns else None
    verified = options.verify(primary, unit)
    header, flux = primary.header, values["FLUX"]
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    logs = values["LOGLAM"].astype(np.float64)
    if not (np.isfinite(logs).all() and logs.min() > 2 and logs.max() < 6):
        raise BadSpectrum("loglam holds values that are no log10 of angstrom", reason="wavelength")
    wave, warnings = log_axis(header, logs, flux.size)
    require_smooth(wave)
    sigma, good = good_pixels(flux, sigma_of(values["IVAR"]), mask=_rejected(mask))
    helio = header.number("HELIO_RV")
    extra, assumed = _catalogue(source)
    thing = header.number("THING_ID")
    # RA and DEC are those of the telescope, half a degree and more from the star
    ra, dec = degrees(header, ("PLUG_RA", "PLUG_DEC"))
    if np.isnan(ra):
        ra = plausible(extra.get("PLUG_RA", np.nan), 0.0, 360.0)
        dec = plausible(extra.get("PLUG_DEC", np.nan), -90.0, 90.0)
    # the comment of HELIO_RV says "added to velocities", the sign is the other: for plate 4961, MJD 55718.3
    # astropy gives -8.15 km/s to add, HELIO_RV says +8.26
    exposure = exposure_of((header,), place=(ra, dec), time=_time(header))
    yield Spectrum(
        wavelength=wave,
        flux=flux,
        sigma=sigma,
        good=good,
        identifier=_identifier(header, extra) or source.stem,
        target=first_text(header, "OBJECT", "OBJNAME") or (f"SDSS THING_ID {thing:.0f}" if thing > 0 else ""),
        **exposure.facts(),
        medium="vacuum",
        frame="barycentric" if np.isfinite(helio) else "unknown",
        snr=plausible(extra.get("SN_MEDIAN_ALL", header.number("SNR")), 0.0, 1e6),
        reader="sdss",
        keywords=fits.keywords(unit),
        words=fits.words(unit),
        warnings=verified.warnings + warnings + assumed + exposure.motion.warnings,
    )


def _rejected(mask: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    if mask is None or mask.dtype.kind not in "iu":
        return None
    return np.asarray((mask.astype(np.int64) & BAD_BITS) != 0)


def _identifier(header: Header, extra: dict[str, float]) -> str:
    """plate-mjd-fiber, as in the names of the files."""
    plate = header.number("PLATEID", "PLATE")
    values = (
        plate if np.isfinite(plate) else extra.get("PLATE", np.nan),
        header.number("MJD"),
        header.number("FIBERID"),
    )
    if not all(0 < value < 1e6 for value in values):
        return ""
    return f"{values[0]:04.0f}-{values[1]:.0f}-{values[2]:04.0f}"


def _time(header: Header) -> float:
    """MJD amid the exposures from TAI-BEG and TAI-END (seconds), else the whole day of MJD."""
    begin, end = header.number("TAI-BEG") / 86400, header.number("TAI-END") / 86400
    if 4e4 < begin <= end < 1e5:
        return float((begin + end) / 2)
    return plausible(header.number("MJD-OBS", "TAI-MJD", "MJD"), 1.0, 1e5)


def _catalogue(source: Source) -> tuple[dict[str, float], tuple[str, ...]]:
    """Single numbers of the table SPALL, which repeats the catalogue row; {} where it is missing."""
    fits, _ = source.opened()
    wanted = ("SN_MEDIAN_ALL", "PLUG_RA", "PLUG_DEC", "PLATE")
    unit = fits.unit(2)
    try:
        if unit is None or not unit.is_table or unit.rows != 1:
            return {}, () if fits.trouble is None else (f"later unit unreadable: {fits.trouble}",)
        found = {name: unit.column(name) for name in wanted if name in unit.columns}
        return {name: float(value.flat[0]) for name, value in found.items() if value.dtype.kind in "fiu"}, ()
    except SpectrumError as error:  # the spectrum is of use without its catalogue row
        return {}, (f"the catalogue row cannot be read: {error}",)


SDSS = Reader("SDSS and BOSS co-added spectrum", sniff, read)
