"""What a user may ask with: a spectrum of the study, a file, an object in memory, or a code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, SpectrumError, StoreError, UnreadableFile
from ..grid import SPEED_OF_LIGHT
from ..spectrum import Spectrum
from ..store.prepare import PrepareOptions, prepare
from .search import Coded, Query

if TYPE_CHECKING:
    from ..store import Store

WITHIN = 1.3  # factor on the resolution beyond which another is told


Encode = Callable[[Spectrum], tuple[np.ndarray[Any, Any], list[str]]]


def ask(store: Store, query: Any, *, codes: Coded | None, encode: Encode | None = None) -> Query:
    """The query that an identifier, a row, a file, a spectrum in memory or a code (nodes,) makes.

    codes   of the study, None where pixels alone are to be compared
    encode  gives the code (nodes,) of a spectrum that is not of the study, and warnings, where codes are
    """
    if isinstance(query, bool) or query is None:
        raise ConfigError(f"{query!r} is no spectrum; give an identifier, a row, a file or a code")
    if isinstance(query, int | np.integer):
        return _of_study(store, int(query), codes)
    if isinstance(query, str | os.PathLike):
        return _named(store, query, codes, encode)
    if isinstance(query, np.ndarray) and query.ndim == 1:
        return _code(query, codes)
    from ..archive import from_object

    return prepared(store, from_object(query), name="the spectrum given", encode=encode)


def _named(store: Store, query: str | os.PathLike[str], codes: Coded | None, encode: Encode | None) -> Query:
    """By identifier first, then by path, then by the number of its row."""
    name = os.fspath(query)
    try:
        return _of_study(store, store.locate(name), codes)
    except StoreError:
        pass
    path = Path(name)
    if path.is_file():
        from ..archive import read

        return prepared(store, list(read(path)), name=path.name, encode=encode)
    if path.is_dir():
        raise ConfigError(f"{name} is a folder; name one file in it")
    if name.isdecimal() and int(name) < len(store):
        return _of_study(store, int(name), codes)
    first = store.index["spectrum_id"].iloc[0] if len(store) else "none"
    raise ConfigError(
        f"{name!r} is no spectrum of this study (they are named like {first!r}), no file, and no row "
        f"from 0 to {len(store) - 1}"
    )


def _of_study(store: Store, row: int, codes: Coded | None) -> Query:
    if not 0 <= row < len(store):
        raise ConfigError(f"row {row} is outside of 0 to {len(store) - 1}, the spectra of this study")
    about = store.index.iloc[row]
    mean, spectrum = None, None
    if codes is not None:
        place = np.flatnonzero(codes.rows == row)
        if not place.size:
            raise ConfigError(f"{about['spectrum_id']} has no code yet: run encode, then ask again")
        mean = codes.mean[place[0]].astype(np.float64)
    else:
        batch = store.read([row])
        spectrum = batch.flux[0], batch.sigma[0], batch.good[0]
    return Query(str(about["spectrum_id"]), row, str(about["target"]), mean, spectrum)


def _code(code: np.ndarray[Any, Any], codes: Coded | None) -> Query:
    if codes is None:
        raise ConfigError("a code has no pixels to compare in a window; give a spectrum")
    if code.shape != codes.mean.shape[1:] or code.dtype.kind not in "fiu" or not np.isfinite(code).all():
        raise ConfigError(
            f"a code of shape {code.shape} and type {code.dtype}: {codes.mean.shape[1]} finite numbers, one "
            "a node of the network, are needed"
        )
    return Query("the code given", mean=code.astype(np.float64))


def prepared(
    store: Store,
    found: list[Spectrum | SpectrumError] | list[Spectrum],
    *,
    name: str,
    encode: Encode | None = None,
) -> Query:
    """The first spectrum of a file on the grid of the store, and what sets it apart from the others."""
    if not found:
        raise UnreadableFile(f"{name} holds no spectrum", reason="empty")
    first = found[0]
    if isinstance(first, SpectrumError):
        raise first
    fields = ("frame", "normalise", "min_good")
    options = PrepareOptions(**{key: store.config[key] for key in fields if key in store.config})
    row = prepare(first, store.grid, options=options)
    told = [f"{name} holds {len(found)} spectra: the first is asked for"] if len(found) > 1 else []
    told += [*first.warnings, *([row.facts["warnings"]] if row.facts["warnings"] else [])]
    told += _elsewhere(store, first, str(row.facts["frame"]))
    mean = None
    if encode is not None:
        mean, more = encode(first)
        told += more
    spectrum = row.flux, row.sigma, row.good
    return Query(name, None, first.target, mean, spectrum, tuple(dict.fromkeys(told)))


def _elsewhere(store: Store, spectrum: Spectrum, frame: str) -> list[str]:
    """In which ways it is not like the spectra of the store: resolution, sampling, frame, format."""
    index, told = store.index, []
    frames = sorted(set(index["frame"]))
    if frame not in frames:
        told.append(
            f"its frame is {frame}, the study's spectra are {' or '.join(frames)}: lines may be shifted"
        )
    known = index["resolution"].to_numpy(np.float64) if "resolution" in index else np.zeros(0)
    known = known[np.isfinite(known)]
    if known.size and np.isfinite(spectrum.resolution):
        low, high = np.quantile(known, [0.005, 0.995])
        if not low / WITHIN <= spectrum.resolution <= high * WITHIN:
            told.append(
                f"its resolution is {spectrum.resolution:,.0f}, the study's spectra have {low:,.0f} to "
                f"{high:,.0f}: lines look broader or sharper than they are"
            )
    grid = store.grid.wavelength
    inside = (spectrum.wavelength > grid[0]) & (spectrum.wavelength < grid[-1])
    if inside.sum() > 1:
        where = spectrum.wavelength[inside]
        step = float(np.median(np.diff(where) / where[:-1])) * SPEED_OF_LIGHT
        own = float(np.median(np.diff(grid) / grid[:-1])) * SPEED_OF_LIGHT
        if step > 2 * own:
            told.append(
                f"its pixels are {step:.2g} km/s, the grid's {own:.2g}: it was resampled to finer ones"
            )
    readers = sorted(set(index["reader"])) if "reader" in index else []
    if readers and spectrum.reader and spectrum.reader not in readers:
        told.append(
            f"it comes as {spectrum.reader}, the study's spectra as {', '.join(readers)}: another instrument?"
        )
    return told
