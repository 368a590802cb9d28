"""Spectra that are already in memory: arrays, dicts, tables, specutils."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum
from ..spectrum import Spectrum
from .pixels import cells_of, roles_of


def from_object(
    thing: Any, *, medium: str = "vacuum", unit: str = "", identifier: str = "", target: str = ""
) -> list[Spectrum]:
    """Spectra from what Python programs hold.

    thing   (wavelength, flux[, sigma]); a dict, astropy Table or DataFrame with columns that name
            themselves; a specutils Spectrum, SpectrumCollection or SpectrumList; a Spectrum; a list of these.
            Flux and sigma may be (spectra, n) above one wavelength axis.
    medium  of the wavelengths: 'air' or 'vacuum'
    unit    of the wavelengths; '' takes the object's own, else decides by plausibility
    """
    if isinstance(thing, Spectrum):
        return [thing]
    arrays, own_unit, warnings = _arrays(thing)
    if arrays is None:
        if isinstance(thing, (list, tuple)):
            found = [
                from_object(
                    part,
                    medium=medium,
                    unit=unit,
                    identifier=f"{identifier or 'spectrum'}#{at}",
                    target=target,
                )
                for at, part in enumerate(thing)
            ]
            return [spectrum for part in found for spectrum in part]
        raise BadSpectrum(
            f"cannot take a spectrum from {type(thing).__name__}; give (wavelength, flux[, sigma]) arrays, "
            "a dict or table with such columns, or a specutils object",
            reason="unknown-format",
        )
    flux = arrays["flux"]
    rows = len(flux) if flux.ndim == 2 else 1
    spectra = []
    for row in range(rows):
        parts = {role: array[row] if array.ndim == 2 else array for role, array in arrays.items()}
        cells = cells_of(parts, unit=unit or own_unit)
        spectra.append(
            Spectrum(
                wavelength=cells.wave,
                flux=cells.flux,
                sigma=cells.sigma,
                good=cells.good,
                identifier=f"{identifier or 'spectrum'}#{row}" if rows > 1 else identifier,
                target=target,
                medium=medium,
                reader="object",
                warnings=warnings + cells.warnings,
            )
        )
    return spectra


def _arrays(thing: Any) -> tuple[dict[str, NDArray[Any]] | None, str, tuple[str, ...]]:
    """Arrays by role, the wavelength unit and warnings; None where `thing` is no single spectrum or stack."""
    if hasattr(thing, "spectral_axis") and hasattr(thing, "flux"):
        return _specutils(thing)
    if isinstance(thing, (tuple, list)) and 2 <= len(thing) <= 3:
        if all(_is_array(part) for part in thing):
            bare = zip(("wave", "flux", "sigma"), thing, strict=False)
            return {role: _plain(part) for role, part in bare}, _unit(thing[0]), ()
        return None, "", ()
    names = _column_names(thing)
    if names is None:
        return None, "", ()
    roles, unit = roles_of(names)
    if "flux" not in roles or not ("wave" in roles or "loglam" in roles):
        raise BadSpectrum(
            f"columns {', '.join(names) or 'none'}; 'wavelength' (or 'loglam') and 'flux' are needed",
            reason="ambiguous",
        )
    wave = thing[roles["wave"]] if "wave" in roles else None
    return {role: _plain(thing[name]) for role, name in roles.items()}, unit or _unit(wave), ()


def _is_array(part: Any) -> bool:
    if isinstance(part, (str, bytes, Mapping)) or (isinstance(part, (tuple, list)) and np.ndim(part[:1]) > 1):
        return False
    return np.ndim(part) in (1, 2) and np.size(part) > 1


def _column_names(thing: Any) -> list[str] | None:
    if isinstance(thing, Mapping):
        return [str(key) for key in thing]
    for name in ("colnames", "columns"):  # astropy Table; pandas DataFrame
        if hasattr(thing, name):
            return [str(key) for key in getattr(thing, name)]
    kind = getattr(thing, "dtype", None)
    return list(kind.names) if kind is not None and kind.names else None


def _unit(part: Any) -> str:
    """The unit that an astropy Quantity or Column carries."""
    unit = getattr(part, "unit", None)
    return str(unit) if unit is not None else ""


def _plain(part: Any) -> NDArray[Any]:
    if hasattr(part, "filled"):  # masked pixels are not good
        part = part.filled(np.nan) if np.asarray(part).dtype.kind == "f" else part.filled()
    return np.asarray(getattr(part, "value", part))


def _specutils(thing: Any) -> tuple[dict[str, NDArray[Any]], str, tuple[str, ...]]:
    """A specutils Spectrum or SpectrumCollection, its axis turned into angstrom by its own units."""
    import astropy.units as u

    axis = thing.spectral_axis
    wave = u.Quantity(axis).to(u.AA, equivalencies=u.spectral()).value
    flux = np.asarray(u.Quantity(thing.flux).value)
    arrays: dict[str, NDArray[Any]] = {"wave": np.asarray(wave, dtype=np.float64), "flux": flux}
    error = thing.uncertainty
    if error is not None:
        values = np.asarray(error.array if hasattr(error, "array") else error)
        kind = getattr(error, "uncertainty_type", "std")
        if kind in ("ivar", "var", "std"):
            arrays["ivar" if kind == "ivar" else "sigma"] = np.sqrt(values) if kind == "var" else values
    if thing.mask is not None:
        arrays["bad"] = np.asarray(thing.mask)
    return arrays, "angstrom", ()
