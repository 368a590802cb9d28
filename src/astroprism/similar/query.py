"""The query of a search: a spectrum of the study, a file, a spectrum in memory, or a code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..apply.codes import StudyCodes
from ..apply.spectra import apply_spectra
from ..archive import from_object, read
from ..errors import AstroprismError, ConfigError, SpectrumError, StoreError, UnreadableFile
from ..folder import StudyFolder
from ..grid import SPEED_OF_LIGHT
from ..progress import Listener, silent
from ..spectrum import Spectrum
from ..store import Store
from ..store.prepare import PrepareOptions, prepare

WITHIN = 1.3  # factor on the resolution beyond which a difference is warned of


@dataclass(frozen=True, eq=False)
class Query:
    """The spectrum or code that others are compared with.

    name      a spectrum's identifier, a file's name, or what else it is called
    row       its position in the store; None for a spectrum that is not in the study
    target    its star, '' where unknown
    mean      (d,) its code; None to compare pixels alone
    spectrum  (flux, sigma, good), each (pixels of the grid,); None to compare codes alone
    warnings  in which ways it lies outside of what the study holds
    """

    name: str
    row: int | None = None
    target: str = ""
    mean: NDArray[np.float64] | None = None
    spectrum: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]] | None = None
    warnings: tuple[str, ...] = ()


def query_of(
    folder: StudyFolder, thing: Any, *, codes: StudyCodes | None, progress: Listener = silent
) -> Query:
    """The query that an identifier, a row, a file, a spectrum in memory or a code (nodes,) makes.

    codes   of the study, None where pixels alone are compared; with them, a spectrum that is not in the study
            is encoded
    """
    if isinstance(thing, bool) or thing is None:
        raise ConfigError(f"{thing!r} is no spectrum; give an identifier, a row, a file or a code")
    if isinstance(thing, int | np.integer):
        return _of_study(folder.store, int(thing), codes)
    if isinstance(thing, np.ndarray) and thing.ndim == 1:
        return _code(thing, codes)
    if not isinstance(thing, str | os.PathLike):
        return _new(folder, from_object(thing), name="the spectrum given", codes=codes, progress=progress)

    # by identifier first, then by path, then by the number of its row
    store, name = folder.store, os.fspath(thing)
    try:
        return _of_study(store, store.locate(name), codes)
    except StoreError:
        pass
    path = Path(name)
    if path.is_file():
        return _new(folder, list(read(path)), name=path.name, codes=codes, progress=progress)
    if path.is_dir():
        raise ConfigError(f"{name} is a folder; name one file in it")
    if name.isdecimal() and int(name) < len(store):
        return _of_study(store, int(name), codes)
    first = store.index["spectrum_id"].iloc[0] if len(store) else "none"
    raise ConfigError(
        f"{name!r} is no spectrum of this study (they are named like {first!r}), no file, and no row "
        f"from 0 to {len(store) - 1}"
    )


def _of_study(store: Store, row: int, codes: StudyCodes | None) -> Query:
    if not 0 <= row < len(store):
        raise ConfigError(f"row {row} is outside of 0 to {len(store) - 1}, the spectra of this study")
    entry = store.index.iloc[row]
    mean, spectrum = None, None
    if codes is not None:
        place = np.flatnonzero(codes.rows == row)
        if not place.size:
            raise ConfigError(f"{entry['spectrum_id']} has no code yet: run encode, then search again")
        mean = codes.mean[place[0]].astype(np.float64)
    else:
        batch = store.read([row])
        spectrum = batch.flux[0], batch.sigma[0], batch.good[0]
    return Query(str(entry["spectrum_id"]), row, str(entry["target"]), mean, spectrum)


def _code(code: NDArray[Any], codes: StudyCodes | None) -> Query:
    if codes is None:
        raise ConfigError("a code has no pixels to compare in a window; give a spectrum")
    if code.shape != codes.mean.shape[1:] or code.dtype.kind not in "fiu" or not np.isfinite(code).all():
        raise ConfigError(
            f"a code of shape {code.shape} and type {code.dtype}: {codes.mean.shape[1]} finite numbers, one "
            "per node of the network, are needed"
        )
    return Query("the code given", mean=code.astype(np.float64))


def _new(
    folder: StudyFolder,
    found: list[Spectrum | SpectrumError] | list[Spectrum],
    *,
    name: str,
    codes: StudyCodes | None,
    progress: Listener,
) -> Query:
    """The first spectrum of a file on the grid of the store, and how it differs from those of the study."""
    if not found:
        raise UnreadableFile(f"{name} holds no spectrum", reason="empty")
    first, store = found[0], folder.store
    if isinstance(first, SpectrumError):
        raise first
    row = prepare(first, store.grid, options=PrepareOptions(**store.config))
    warnings = [f"{name} holds {len(found)} spectra: the first is taken"] if len(found) > 1 else []
    warnings += [*first.warnings, *([row.facts["warnings"]] if row.facts["warnings"] else [])]
    warnings += _differences(store, first, str(row.facts["frame"]))
    mean = None
    if codes is not None:
        applied = apply_spectra(folder, [first], progress=progress)
        if applied.refused:
            raise AstroprismError(applied.refused[0].message)
        mean = applied.mean[0]
        warnings += applied.warnings[0]
    spectrum = row.flux, row.sigma, row.good
    return Query(name, None, first.target, mean, spectrum, tuple(dict.fromkeys(warnings)))


def _differences(store: Store, spectrum: Spectrum, frame: str) -> list[str]:
    """In which ways it is not like the spectra of the store: resolution, sampling, frame, format."""
    index, warnings = store.index, []
    frames = sorted(set(index["frame"]))
    if frame not in frames:
        warnings.append(
            f"its frame is {frame}, the study's spectra are {' or '.join(frames)}: lines may be shifted"
        )
    known = index["resolution"].to_numpy(np.float64) if "resolution" in index else np.zeros(0)
    known = known[np.isfinite(known)]
    if known.size and np.isfinite(spectrum.resolution):
        low, high = np.quantile(known, [0.005, 0.995])
        if not low / WITHIN <= spectrum.resolution <= high * WITHIN:
            warnings.append(
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
            warnings.append(
                f"its pixels are {step:.2g} km/s, the grid's {own:.2g}: it was resampled to finer ones"
            )
    readers = sorted(set(index["reader"])) if "reader" in index else []
    if readers and spectrum.reader and spectrum.reader not in readers:
        warnings.append(
            f"it comes as {spectrum.reader}, the study's spectra as {', '.join(readers)}: another instrument?"
        )
    return warnings
