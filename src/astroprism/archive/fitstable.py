"""Any other FITS table with columns that name themselves: iSpec, MaStar, ESPRESSO S1D and others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, SpectrumError, UnreadableFile
from ..spectrum import Spectrum
from .exposure import exposure_of
from .fits import Unit
from .header import first_text, frame_of, plausible
from .image import medium_of
from .pixels import Cells, cells_of, roles_of
from .reader import Reader, ReadOptions, Yield
from .source import Source


def _table(source: Source) -> Unit | None:
    """The first table with a wavelength and a flux column."""
    if source.fits is None:
        return None
    for unit in source.fits.tables():
        roles, _ = roles_of(unit.columns)
        if "flux" in roles and ("wave" in roles or "loglam" in roles):
            return unit
    return None


def sniff(source: Source) -> bool:
    """A binary table with columns of wavelength and flux by their names."""
    return _table(source) is not None


def read(source: Source, options: ReadOptions) -> Yield:
    """One spectrum where a row is a pixel, else one per row, from cells that hold vectors."""
    unit = _table(source)
    assert unit is not None
    fits, primary = source.opened()
    names, named = roles_of(unit.columns)
    values = {role: unit.column(name) for role, name in names.items()}
    verified = options.verify(primary, unit)
    for role in ("wave", "loglam", "flux", "sigma", "ivar"):
        if role in values and values[role].dtype.kind not in "fiu":
            raise UnreadableFile(f"column {names[role]} holds no numbers")
    column = unit.columns[names.get("wave", names.get("loglam", ""))]
    unit_text = unit.header.text(f"TUNIT{column.index}") or named
    vectors = values["flux"].ndim == 2
    rows = len(values["flux"]) if vectors else 1
    keywords, words = fits.keywords(unit), fits.words(unit)
    exposure = exposure_of((primary.header, unit.header))
    evidence = options.unit_of(primary.header, unit.header)
    for row in range(rows):
        try:
            cells = cells_of(
                {role: _row(array, row, vectors) for role, array in values.items()},
                unit=unit_text,
                flip=False,
                evidence=evidence,
            )
            medium, assumed = _medium(unit, column.name, cells, primary, options)
        except SpectrumError as error:
            if rows == 1:
                raise
            yield error
            continue
        yield Spectrum(
            wavelength=cells.wave,
            flux=cells.flux,
            sigma=cells.sigma,
            good=cells.good,
            identifier=f"{source.stem}#{row}" if rows > 1 else source.stem,
            target=first_text(primary.header, "OBJECT", "OBJNAME", "TARGET") or unit.header.text("OBJECT"),
            **exposure.facts(),
            medium=medium,
            frame=exposure.frame(frame_of(primary.header if primary.header.text("SPECSYS") else unit.header)),
            snr=plausible(primary.header.number("SNR"), 0.0, 1e6),
            resolution=plausible(primary.header.number("SPEC_RES"), 1.0, 1e7),
            reader="table",
            keywords=keywords,
            words=words,
            warnings=verified.warnings + cells.warnings + assumed + exposure.motion.warnings,
        )


def _row(array: NDArray[Any], row: int, vectors: bool) -> NDArray[Any]:
    return np.asarray(array[row]) if vectors and array.ndim == 2 else array


def _medium(
    unit: Unit, name: str, cells: Cells, primary: Unit, options: ReadOptions
) -> tuple[str, tuple[str, ...]]:
    if "AIR" in name:
        return "air", ()
    if "VAC" in name or "ESO" in unit.header.text("ORIGIN"):
        return "vacuum", ()
    header = unit.header if unit.header.card("VACUUM") is not None else primary.header
    if cells.wave.size < 2:
        raise BadSpectrum("fewer than 2 pixels", reason="empty")
    return medium_of(header, float(cells.wave[-1]), options)


TABLE = Reader("FITS table with columns of wavelength and flux", sniff, read)
