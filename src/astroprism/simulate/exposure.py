"""What a header says about one exposure, and how archives name its file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig
from .population import Population

_MJD_EPOCH = np.datetime64("1858-11-17T00:00:00.000")
_INGESTED = np.datetime64("2014-09-16T11:00:00.000")  # products are named by when the archive took them in
_INGEST_INTERVAL = 1127  # ms
LAMOST_FIRST, THING_FIRST = 900_000_000, 400_000_000  # first numbers of observations, of objects
EXTENSIONS = {"csv": ".csv"}


@dataclass(frozen=True, eq=False)
class Exposure:
    """One spectrum on its way into a file; arrays are (n,), in the file's pixels and unit.

    step        pixel in km/s (log) or angstrom; log10_start and log10_step for log grids
    parameters  the values of the truth, by the synthesiser's keys
    """

    row: int
    star: int
    identifier: str
    file: str
    target: str
    wavelength: NDArray[np.float64]
    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    log: bool
    step: float
    resolution: float
    frame: str
    snr: float
    mjd: float
    seconds: float
    ra: float
    dec: float
    parameters: dict[str, float]
    weather: dict[str, float]
    seed: int


def iso_time(mjd: float) -> str:
    """'2004-05-06T07:08:09.123' of a modified Julian date."""
    return str(_MJD_EPOCH + np.timedelta64(round(mjd * 86_400_000), "ms"))


def sexagesimal(ra: float, dec: float) -> tuple[str, str]:
    """'224513.40' and '+073913.9' as in names that hold coordinates (cut, not rounded, by IAU custom)."""
    hundredths = int(ra / 15 * 360_000)
    tenths = int(abs(dec) * 36_000)
    hours, minutes = divmod(hundredths // 100, 3600)
    degrees, arcminutes = divmod(tenths // 10, 3600)
    right = f"{hours:02d}{minutes // 60:02d}{minutes % 60:02d}.{hundredths % 100:02d}"
    up = f"{degrees:02d}{arcminutes // 60:02d}{arcminutes % 60:02d}.{tenths % 10}"
    return right, ("-" if dec < 0 else "+") + up


def names(config: SimulationConfig, population: Population) -> dict[str, list[str]]:
    """spectrum_id, file (below the archive's folder, '/' between) and target of every row."""
    ids, files, targets = [], [], []
    for row in range(config.spectra):
        target = f"SIM {int(population.star[row]) + 1:06d}"
        ra, dec = sexagesimal(population.ra[row], population.dec[row])
        mjd = float(population.mjd[row])
        if config.format == "adp":
            identifier = f"ADP.{_INGESTED + np.timedelta64(row * _INGEST_INTERVAL, 'ms')}"
            file = identifier.replace(":", "_")
        elif config.format == "s1d":
            identifier = file = f"HARPS.{iso_time(mjd).replace(':', '_')}_s1d_A"
        elif config.format in ("lamost", "lamost-old"):
            target = f"LAMOST J{ra}{dec}"
            fibre, spectrograph, plan = row % 250 + 1, row // 250 % 16 + 1, row // 4000
            identifier = str(LAMOST_FIRST + row)
            file = f"spec-{int(mjd + 1 / 3)}-SIM{plan:05d}V01_sp{spectrograph:02d}-{fibre:03d}"
        elif config.format == "sdss":
            identifier = f"{3600 + row // 1000:04d}-{int(mjd)}-{row % 1000 + 1:04d}"
            file, target = f"spec-{identifier}", f"SDSS THING_ID {THING_FIRST + population.star[row]}"
        elif config.format == "apstar":
            target = f"2M{ra.replace('.', '')}{dec.replace('.', '')}"
            identifier, file = target, f"apStar-r12-{target}"
        else:
            identifier = file = f"star{row + 1:06d}"
        ids.append(identifier)
        files.append(f"spectra/{file}{EXTENSIONS.get(config.format, '.fits')}")
        targets.append(target)
    return {"spectrum_id": ids, "file": files, "target": targets}
