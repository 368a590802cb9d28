"""How spectra come from each observatory: range, pixels, resolution, medium, frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT

REACH = (3700.0, 10_490.0)  # angstrom; within the line tables in air and in vacuum


@dataclass(frozen=True)
class Native:
    """How a format comes from its observatory.

    window in angstrom in `medium`; step in km/s (log) or angstrom (linear); `gap`, in the frame of the
    telescope, where no pixel counts; `reach` beyond which no file of this format goes; `borrowed`: the factor
    by which lines are moved up from the optical, where the physics knows none.
    """

    window: tuple[float, float]
    step: float
    step_unit: str
    resolution: float
    medium: str
    frame: str = "barycentric"
    gap: tuple[float, float] | None = None
    reach: tuple[float, float] | None = None
    borrowed: float = 1.0


# The gap between the chips as archived spectra of 2003 to 2010 have it.
_GAP = (5304.32, 5337.26)
_HARPS = Native((3782.0, 6913.0), 0.01, "angstrom", 115_000, "air", gap=_GAP)
_DEX4 = SPEED_OF_LIGHT * (10**1e-4 - 1)  # km/s; LAMOST and SDSS pixels of 1e-4 in log10
_APOGEE = SPEED_OF_LIGHT * (10**6e-6 - 1)
# Files that say nothing are in air by custom, where that is the custom: in the optical.
_LIBRARY = Native((3750.0, 7410.0), 0.9, "angstrom", 2100, "air", reach=REACH)
NATIVE: dict[str, Native] = {
    "adp": _HARPS,
    "s1d": replace(_HARPS, reach=(3780.0, 6915.0)),
    "lamost": Native((10**3.5683, 9000.0), _DEX4, "kms", 1800, "vacuum"),
    "lamost-old": Native((10**3.5683, 9000.0), _DEX4, "kms", 1800, "vacuum"),
    "sdss": Native((10**3.5683, 9000.0), _DEX4, "kms", 1800, "vacuum"),
    "apstar": Native((10**4.179, 16_999.8), _APOGEE, "kms", 22_500, "vacuum", frame="rest", borrowed=2.5),
    "image": _LIBRARY,
    "csv": _LIBRARY,
}
# Formats whose header can describe one kind of pixels only.
ONLY_STEP = {"s1d": "angstrom"} | dict.fromkeys(("lamost", "lamost-old", "sdss", "apstar"), "kms")


@dataclass(frozen=True)
class Sampling:
    """The pixels of every spectrum of one archive (a file may give fewer at its ends).

    wavelength  (n,) angstrom as the file gives it, in `medium` and `frame`
    vacuum      (n,) the same in vacuum
    borrowed    factor by which the lines there were moved up from the optical (1: none)
    gap         (low, high) angstrom in the frame of the telescope, without pixels; None where there is none
    log         whether the pixels are uniform in log (vacuum) wavelength, else in wavelength
    """

    wavelength: NDArray[np.float64]
    vacuum: NDArray[np.float64]
    gap: tuple[float, float] | None
    borrowed: float
    log: bool
    step: float
    resolution: float
    medium: str
    frame: str
