"""ESO phase-3 one-dimensional products: HARPS, UVES, FEROS, ESPRESSO, X-shooter and others.

A binary table, one row per spectrum, each cell a vector. Columns are chosen by their UCD and name, as
the ESO Science Data Products Standard (ESO-044286, issue 5 and later) defines them, never by position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import Evidence, angstrom_factor, require_smooth
from .exposure import exposure_of
from .fits import Column, Unit
from .header import first_text, frame_of, plausible
from .image import assumed_medium
from .pixels import good_pixels
from .reader import Reader, ReadOptions, Yield
from .source import Source

WAVES = ("WAVE", "WAVELENGTH", "LAMBDA", "AWAV", "WAVE_AIR")
# The pipelines of these spectrographs give wavelengths in air; used only where the UCD is missing or
# cannot be read (ESO phase-3 release descriptions of the HARPS, FEROS, UVES and GIRAFFE collections).
AIR_INSTRUMENTS = ("HARPS", "FEROS", "UVES", "GIRAFFE")


def _table(source: Source) -> Unit | None:
    """The table with the spectrum: EXTNAME SPECTRUM, or one that calls itself one."""
    if source.fits is None:
        return None
    tables = source.fits.tables()
    for unit in tables:
        if unit.name == "SPECTRUM" or unit.header.text("VOCLASS").upper().startswith("SPECTRUM"):
            return unit
    primary = source.fits.unit(0)
    phase3 = primary is not None and primary.header.text("PRODCATG").upper().startswith("SCIENCE.SPECTRUM")
    return tables[0] if phase3 and tables else None


def sniff(source: Source) -> bool:
    """A table named SPECTRUM, of VOCLASS SPECTRUM, or in a file of PRODCATG SCIENCE.SPECTRUM."""
    return _table(source) is not None


def read(source: Source, options: ReadOptions) -> Yield:
    """One spectrum per row."""
    unit, (fits, primary) = _table(source), source.opened()
    assert unit is not None
    names = _choose(unit)
    try:
        values = {role: np.atleast_2d(unit.column(column.name)) for role, column in names.items()}
    finally:  # a wrong sum explains whatever else is wrong
        verified = options.verify(primary, unit)
    header = primary.header
    identifier = header.text("ARCFILE").removesuffix(".fits") or source.stem
    stated = unit.header.numbers.get("NELEM")
    held = next((column.repeat for column in names.values() if column.letter not in "PQ"), stated)
    remarks = (
        (f"NELEM says {stated:g} pixels, the columns hold {held}",) if stated not in (None, held) else ()
    )
    exposure = exposure_of((header, unit.header))
    several = unit.rows > 1
    keywords, words = fits.keywords(unit), fits.words(unit)
    for row in range(unit.rows):
        try:
            wave, more = _wavelength(
                unit,
                names["wave"],
                values["wave"][row],
                header.number,
                attested=verified.attested,
                evidence=options.unit_of(header, unit.header),
            )
            cells = {role: array[row, : wave.size] for role, array in values.items()}
            sigma, good = good_pixels(cells["flux"], cells.get("sigma"), mask=_rejected(cells.get("quality")))
            medium, assumed = _medium(unit, names["wave"], header.text("INSTRUME"), float(wave[-1]), options)
            yield Spectrum(
                wavelength=wave,
                flux=cells["flux"],
                sigma=sigma,
                good=good,
                identifier=f"{identifier}#{row}" if several else identifier,
                target=first_text(header, "OBJECT", "ESO OBS TARG NAME") or unit.header.text("OBJECT"),
                **exposure.facts(),
                medium=medium,
                frame=exposure.frame(frame_of(header) if header.text("SPECSYS") else frame_of(unit.header)),
                snr=plausible(_first(header.number("SNR"), unit.header.number("SNR")), 0.0, 1e6),
                resolution=plausible(header.number("SPEC_RES"), 1.0, 1e7),
                reader="adp",
                keywords=keywords,
                words=words,
                warnings=verified.warnings + remarks + assumed + more + exposure.motion.warnings,
            )
        except BadSpectrum as error:
            if not several:
                raise
            yield error


def _first(*values: float) -> float:
    return next((value for value in values if np.isfinite(value)), np.nan)


def _choose(unit: Unit) -> dict[str, Column]:
    """The columns that hold wavelength, flux and, where there are any, error and quality."""
    ucds = {name: unit.header.text(f"TUCD{column.index}").lower() for name, column in unit.columns.items()}
    wave = next((name for name in WAVES if name in ucds), "") or _by_ucd(ucds, "em.wl")
    main = [name for name, ucd in ucds.items() if ucd.startswith("phot.flux") and "meta.main" in ucd]
    others = [name for name, ucd in ucds.items() if ucd.startswith("phot.flux") or name.startswith("FLUX")]
    flux = main[0] if main else "FLUX" if "FLUX" in ucds else others[0] if len(others) == 1 else ""
    if not wave or not flux:
        raise UnreadableFile(
            f"no column of {'wavelengths' if not wave else 'fluxes'} among "
            f"{', '.join(unit.columns) or 'none'}; the header is damaged or this is no spectrum",
            reason="unreadable" if wave else "wavelength",
        )
    chosen = {"wave": unit.columns[wave], "flux": unit.columns[flux]}
    ending = flux.removeprefix("FLUX")
    errors = [name for name, ucd in ucds.items() if ucd.startswith("stat.error") and "meta.main" in ucd]
    for name in (errors[:1] if main else []) + [f"ERR{ending}", f"ERROR{ending}", f"SIGMA{ending}"]:
        if name in unit.columns:
            chosen["sigma"] = unit.columns[name]
            break
    for name in (f"QUAL{ending}", "QUAL"):
        if name in unit.columns:
            chosen["quality"] = unit.columns[name]
            break
    for role, column in chosen.items():
        scaled = unit.header.card(f"TSCAL{column.index}") is not None
        if role != "quality" and column.letter not in "EDPQ" and not scaled:
            raise UnreadableFile(
                f"column {column.name} has type {column.letter}; spectra are written as E or D"
            )
    sizes = {column.name: column.repeat for column in chosen.values() if column.letter not in "PQ"}
    if len(set(sizes.values())) > 1:
        raise UnreadableFile(f"columns of unequal length ({sizes}); the header is damaged")
    return chosen


def _by_ucd(ucds: dict[str, str], start: str) -> str:
    return next((name for name, ucd in ucds.items() if ucd.startswith(start)), "")


def _medium(
    unit: Unit, column: Column, instrument: str, longest: float, options: ReadOptions
) -> tuple[str, tuple[str, ...]]:
    """Air where the UCD says `em.wl;obs.atmos`, else vacuum (ESO SDP standard, section on spectra)."""
    ucd = unit.header.text(f"TUCD{column.index}").lower()
    if ucd.startswith("em.wl"):
        return ("air" if "obs.atmos" in ucd else "vacuum"), ()
    if options.medium is not None:
        return options.medium, ()
    if column.name == "WAVE_AIR" or instrument.upper() in AIR_INSTRUMENTS:
        return "air", (
            f"TUCD{column.index} does not say air or vacuum; air as the pipeline of {instrument} gives",
        )
    custom, assumed = assumed_medium(longest)
    return custom, assumed


def _wavelength(
    unit: Unit,
    column: Column,
    values: NDArray[Any],
    number: Any,
    *,
    attested: bool,
    evidence: Evidence | None,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Wavelengths in angstrom, held against WAVELMIN and WAVELMAX (always in nm)."""
    if unit.rows > 1:  # rows of unequal length are filled up
        used = np.flatnonzero(np.isfinite(values) & (values > 0))
        values = values[: used[-1] + 1] if used.size else values[:0]
    if values.size < 2:
        raise BadSpectrum(f"{values.size} pixels with a wavelength", reason="empty")
    low, high = 10 * number("WAVELMIN"), 10 * number("WAVELMAX")
    declared = (low, high) if np.isfinite(low) and np.isfinite(high) else None
    factor, assumed = angstrom_factor(
        float(values[0]),
        float(values[-1]),
        unit=unit.header.text(f"TUNIT{column.index}"),
        declared=declared,
        evidence=evidence,
    )
    if values[-1] < values[0]:
        raise BadSpectrum(
            "wavelengths decrease, which no ESO product does; turn WAVE round with all other columns",
            reason="wavelength",
        )
    wave = np.asarray(values, dtype=np.float64)
    if factor != 1.0:
        wave = wave * factor
    if not attested:
        require_smooth(wave)
    return wave, assumed


def _rejected(quality: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Pixels whose quality code is not 0; None where that would leave next to nothing."""
    if quality is None:
        return None
    rejected = np.asarray(quality != 0)
    return rejected if rejected.mean() < 0.99 else None


ADP = Reader("ESO phase-3 1-D product", sniff, read)
