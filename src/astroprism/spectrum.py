"""One spectrum, as read from a file: validated, frozen, in angstrom.

`sigma` (not the inverse variance) travels with the flux: at a signal-to-noise ratio of a thousand
an inverse variance no longer fits a float16, its root does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .errors import BadSpectrum
from .kernels import spacing

MEDIA = ("air", "vacuum")
FRAMES = ("barycentric", "topocentric", "rest", "unknown")

Float = NDArray[np.floating]


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """One spectrum of `n` pixels; every array has shape (n,).

    wavelength  float64, angstrom, strictly increasing pixel centres, in `medium` and `frame`
    flux        float32 or float64, any unit proportional to energy or photons per wavelength
    sigma       1-sigma error in the unit of flux; None where the file has none
    good        True where the file calls the pixel usable (None: nothing is flagged)
    identifier  the archive's own identifier, else the file stem
    target      the name of the star as the file gives it ('' where it gives none)
    ra, dec     degrees (NaN where unknown)
    frame       velocity frame of `wavelength`
    berv        barycentric correction in km/s (NaN where unknown): the velocity to ADD to what the
                telescope measured; for barycentric data, the one that was already added
    berv_source 'keyword NAME', 'computed' (from place, time and observatory) or 'none'; '' where it was given
                by whoever made the spectrum
    time        modified Julian date, UTC, of mid-exposure; of its start where its length is not known (NaN
                where unknown)
    snr         signal-to-noise ratio per pixel as the file gives it (NaN where unknown)
    resolution  resolving power lambda/dlambda (NaN where unknown)
    reader      name of the reader that made it
    keywords    every numeric header keyword
    words       short texts of header keywords that may say by what it was made: telescope, observer, grating
    steps       the least and the largest step of `wavelength`, angstrom: found as it was checked
    warnings    what the reader had to assume, in plain words
    """

    wavelength: NDArray[np.float64]
    flux: Float
    sigma: Float | None = None
    good: NDArray[np.bool_] | None = None
    identifier: str = ""
    target: str = ""
    ra: float = np.nan
    dec: float = np.nan
    medium: str = "vacuum"
    frame: str = "unknown"
    berv: float = np.nan
    berv_source: str = ""
    time: float = np.nan
    snr: float = np.nan
    resolution: float = np.nan
    reader: str = ""
    keywords: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    steps: tuple[float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wavelength = np.ascontiguousarray(self.wavelength, dtype=np.float64)
        flux = _native_float(self.flux)
        if wavelength.ndim != 1 or flux.shape != wavelength.shape:
            raise BadSpectrum(
                f"wavelength has shape {wavelength.shape} and flux {flux.shape}; both must be (n,)",
                reason="unreadable",
            )
        if wavelength.size < 2:
            raise BadSpectrum(f"{wavelength.size} pixels; at least 2 are needed", reason="empty")
        ends = float(wavelength[0]), float(wavelength[-1])
        steps = spacing(wavelength, False)
        if not (0 < ends[0] < np.inf and ends[1] < np.inf and steps[0] > 0):
            raise BadSpectrum(
                f"wavelengths run from {ends[0]:g} to {ends[1]:g} and do not increase at every pixel",
                reason="wavelength",
            )
        for name in ("sigma", "good"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != flux.shape:
                raise BadSpectrum(
                    f"{name} has shape {np.shape(value)}, flux has {flux.shape}", reason="unreadable"
                )
        if self.medium not in MEDIA:
            raise BadSpectrum(f"medium {self.medium!r} is none of {MEDIA}", reason="wavelength")
        if self.frame not in FRAMES:
            raise BadSpectrum(f"frame {self.frame!r} is none of {FRAMES}", reason="wavelength")
        put = object.__setattr__  # the one way to normalise a frozen dataclass as it is built
        put(self, "wavelength", wavelength)
        put(self, "flux", flux)
        put(self, "steps", steps)
        if self.sigma is not None:
            put(self, "sigma", _native_float(self.sigma))
        if self.good is not None:
            put(self, "good", np.ascontiguousarray(self.good, dtype=bool))
        put(self, "keywords", MappingProxyType(dict(self.keywords)))
        put(self, "words", MappingProxyType(dict(self.words)))
        for array in (self.wavelength, self.flux, self.sigma, self.good):
            if array is not None:
                array.flags.writeable = False

    def __len__(self) -> int:
        return int(self.wavelength.size)


def _native_float(values: object) -> Float:
    array = np.asarray(values)
    kind = np.float64 if array.dtype.itemsize > 4 or array.dtype.kind != "f" else np.float32
    # a copy where the array is ours to freeze would surprise the caller, so freeze a view
    native: Float = np.ascontiguousarray(array, dtype=kind)
    return native.view()
