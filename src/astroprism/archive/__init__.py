"""Readers: from a file of any known format to validated spectra in angstrom.

A reader is one module with `sniff` and `read` and one line in READERS; the format is found by looking
into the content, in the order of READERS, never by the name of the file alone.
"""

from __future__ import annotations

import os

import numpy as np

from ..errors import AstroprismError, SpectrumError, UnreadableFile
from ..spectrum import Spectrum
from .adp import ADP
from .apogee import APOGEE
from .fitstable import TABLE
from .image import IMAGE
from .lamost import LAMOST
from .objects import from_object
from .reader import Reader, ReadOptions, Yield
from .s1d import S1D
from .sdss import SDSS
from .source import Source
from .stacks import HDF5, NUMPY
from .text import TEXT

__all__ = ["READERS", "ReadOptions", "Reader", "Source", "describe", "from_object", "identify", "read"]

READERS: dict[str, Reader] = {
    "adp": ADP,
    "lamost": LAMOST,
    "sdss": SDSS,
    "apogee": APOGEE,
    "s1d": S1D,
    "image": IMAGE,
    "table": TABLE,
    "numpy": NUMPY,
    "hdf5": HDF5,
    "text": TEXT,
}


def identify(path: str | os.PathLike[str]) -> str:
    """Name of the reader that recognises the content of `path`; UnreadableFile where none does."""
    with Source(path) as source:
        return _recognise(source)


def read(path: str | os.PathLike[str], *, options: ReadOptions = ReadOptions()) -> Yield:  # noqa: B008 (frozen)
    """Every spectrum of a file, one at a time.

    Trouble with the file as a whole raises a SpectrumError; one spectrum refused among several is
    yielded as the SpectrumError that says why, so that it can be counted.
    """
    with Source(path) as source:
        name = _recognise(source)
        spectra = READERS[name].read(source, options)
        while True:
            try:
                # garbage in the pixels may overflow on its way through; masks and checks deal with it.
                # Entered again for each spectrum, so that the setting does not leak to the caller
                with np.errstate(all="ignore"):
                    found = next(spectra)
            except StopIteration:
                return
            except SpectrumError as error:
                raise _named(error, source) from error
            except AstroprismError:
                raise
            except Exception as error:
                # the last line of defence: what a damaged file can provoke has no complete list
                raise UnreadableFile(
                    f"{source.path}: the {name} reader gave up ({type(error).__name__}: {error}); "
                    "the file is damaged"
                ) from error
            yield _named(found, source) if isinstance(found, SpectrumError) else found


def describe(path: str | os.PathLike[str], *, options: ReadOptions = ReadOptions()) -> dict[str, object]:  # noqa: B008
    """What a file holds, as plain values: the facts of its first spectrum, and how many there are."""
    first: Spectrum | None = None
    spectra, refused = 0, []
    for found in read(path, options=options):
        if isinstance(found, SpectrumError):
            refused.append(f"{found.reason}: {found}")
        else:
            spectra, first = spectra + 1, first or found
    facts: dict[str, object] = {"path": os.fspath(path), "spectra": spectra, "refused": refused}
    if first is None:
        return facts
    masked = 0.0 if first.good is None else 1 - float(first.good.mean())
    return facts | {
        "format": first.reader,
        "summary": READERS[first.reader].summary,
        "identifier": first.identifier,
        "target": first.target,
        "pixels": len(first),
        "range": [float(first.wavelength[0]), float(first.wavelength[-1])],
        "medium": first.medium,
        "frame": first.frame,
        "errors": first.sigma is not None,
        "masked": masked,
        **{name: _known(getattr(first, name)) for name in ("snr", "resolution", "berv", "time", "ra", "dec")},
        "berv_from": first.berv_source,
        "keywords": len(first.keywords),
        "warnings": list(first.warnings),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _named(error: SpectrumError, source: Source) -> SpectrumError:
    """The same error with the file in front, where it does not name it yet."""
    path, message = str(source.path), str(error)
    return error if path in message else type(error)(f"{path}: {message}", reason=error.reason)


def _recognise(source: Source) -> str:
    trouble: SpectrumError | None = None
    for name, reader in READERS.items():
        try:
            if reader.sniff(source):
                return name
        except SpectrumError as error:
            trouble = trouble or error
    if source.fits is not None:
        trouble = trouble or source.fits.trouble
        primary = source.fits.unit(0)
        if trouble is None and primary is not None and not primary.size and source.fits.unit(1) is None:
            raise UnreadableFile(
                f"{source.path}: a primary header without data and nothing behind it; fetch it again",
                reason="truncated",
            )
    if trouble is not None:
        raise _named(trouble, source)
    raise UnreadableFile(
        f"{source.path}: no reader recognises the content (known: {', '.join(READERS)})",
        reason="unknown-format",
    )
