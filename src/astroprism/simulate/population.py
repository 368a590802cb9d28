"""Who is observed when: the stars, their visits, the weather, the oddities and the files of one archive.

Everything here is drawn for the whole archive at once (it is cheap) and depends on the configuration alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT
from .config import FACTORS, SimulationConfig
from .distribution import stream

if TYPE_CHECKING:
    import pandas as pd

Float = NDArray[np.float64]

# Keys of the synthesiser that are called otherwise here.
SYNTHESIS_KEYS = {"telluric": "water"}
FIRST_NIGHT, NIGHTS = 53_000.0, 5_500.0  # MJD: 2003-12-27 to 2019-01-17, the years of HARPS
# Yearly motion of the Earth (Meeus 1998, Astronomical Algorithms): speed in km/s, angles in radians.
ORBITAL_SPEED, OBLIQUITY = 29.789, math.radians(23.4393)
ECCENTRICITY, PERIHELION = 0.01671, math.radians(102.94)
VISIT_JITTER = 0.005  # km/s, the order of what granulation and activity do to an FGK dwarf
BINARIES, BINARY_SPEED = 0.1, (1.0, 30.0)  # share of the stars; semi-amplitude, km/s, log-uniform
_IRRATIONAL = (0.7548776662466927, 0.5698402909980532)  # inverse powers of the plastic number
_MJD_EPOCH = np.datetime64("1858-11-17T00:00:00.000")
_INGESTED = np.datetime64("2014-09-16T11:00:00.000")  # products are named by when the archive took them in
_INGEST_INTERVAL = 1127  # ms
LAMOST_FIRST, THING_FIRST = 900_000_000, 400_000_000  # first numbers of observations, of objects
EXTENSIONS = {"csv": ".csv"}


@dataclass(frozen=True)
class Population:
    """Every number behind an archive; each array is (n,), one entry per spectrum.

    star        index of the star
    parameters  what the synthesiser takes, by its keys
    snr         per pixel at the median flux
    mjd         start of the exposure; exposure in seconds
    ra, dec     degrees, of the star
    berv        km/s, to ADD to what the telescope measured
    oddity      kind, '' where there is none
    companion   rv (km/s), teff (K), ratio (of the fluxes) of the second star where oddity is 'sb2', else NaN
    labels      the same quantities as a catalogue would have them ({} without 'wronglabel')
    weather     pressure (hPa), humidity (%), temperature (C) on the ground
    """

    star: NDArray[np.int64]
    parameters: dict[str, Float]
    snr: Float
    mjd: Float
    exposure: Float
    ra: Float
    dec: Float
    berv: Float
    oddity: NDArray[np.str_]
    companion: dict[str, Float]
    labels: dict[str, Float]
    weather: dict[str, Float]

    def value(self, factor: str) -> Float:
        """The values of a factor, by the factor's name."""
        return self.snr if factor == "snr" else self.parameters[SYNTHESIS_KEYS.get(factor, factor)]


def populate(config: SimulationConfig) -> Population:
    """Draw the archive."""
    n, seed = config.spectra, config.seed
    star, stars = _stars(config)
    mjd = _dates(config)
    ra, dec = (coordinate[star] for coordinate in _sky(config, stars))
    berv = barycentric_velocity(ra, dec, mjd=mjd)
    values: dict[str, Float] = {}
    for name, factor in FACTORS.items():
        count = stars if factor.of_star or name == "activity" else n
        uniform = stream(seed, name).random(count)
        if count == stars:
            uniform = uniform[star]
        if name == "activity" and config.visits == "uneven":
            uniform = _slowly(config, uniform, star=star, mjd=mjd)
        drawn = config.distribution(name).quantile(uniform)
        values[name] = np.clip(drawn, *factor.bounds)
    if config.visits == "uneven" and "rv" in config.varying:
        values["rv"] = values["rv"] + _orbits(config, stars, star=star, mjd=mjd)
    snr = values.pop("snr")
    # columns of the truth say what the spectrum holds, so round first what will be written rounded
    parameters = {SYNTHESIS_KEYS.get(name, name): array for name, array in values.items()} | {"berv": berv}
    oddity = _oddities(config)
    companion = _companions(config, values, oddity=oddity)
    labels = _labels(config, values, star=star, oddity=oddity)
    exposure = np.round(60 * 30 ** stream(seed, "exposure").random(n), 4)
    weather = _weather(config, parameters["water"], mjd=mjd)
    return Population(star, parameters, snr, mjd, exposure, ra, dec, berv, oddity, companion, labels, weather)


def barycentric_velocity(ra: Float, dec: Float, *, mjd: Float) -> Float:
    """Velocity of the Earth towards (ra, dec) degrees, km/s: its yearly motion on Kepler's ellipse.

    The Earth's rotation (0.4 km/s) is left out.
    """
    alpha, delta = np.radians(ra), np.radians(dec)
    sine, cosine = math.sin(OBLIQUITY), math.cos(OBLIQUITY)
    beta = np.arcsin(np.clip(np.sin(delta) * cosine - np.cos(delta) * sine * np.sin(alpha), -1, 1))
    longitude = np.arctan2(np.sin(alpha) * cosine + np.tan(delta) * sine, np.cos(alpha))
    days = mjd - 51_544.5
    anomaly = np.radians(357.528 + 0.9856003 * days)
    precession = 3.824e-5 * days  # the formula counts from the equinox of date, the coordinates do not
    sun = np.radians(280.460 + 0.9856474 * days - precession) + 0.03342 * np.sin(anomaly)
    velocity = np.sin(sun - longitude) + ECCENTRICITY * np.sin(longitude - PERIHELION)
    return np.asarray(np.round(ORBITAL_SPEED * np.cos(beta) * velocity, 6))


def visits_of(config: SimulationConfig) -> NDArray[np.int64]:
    """Number of visits of every star, most visited first, shape (stars,); they add up to the spectra.

    Log-normal: quantiles exp(s * z), with the s that gives the wanted concentration.
    """
    if config.visits == "one":
        return np.ones(config.spectra, dtype=np.int64)
    from scipy.special import ndtri

    stars = config.stars or max(1, round(config.spectra / 10))
    quantile = ndtri((np.arange(stars, 0, -1) - 0.5) / stars)
    top = max(1, round(config.concentration[1] * stars))

    def share(spread: float) -> tuple[float, NDArray[np.int64]]:
        weight = np.exp(spread * (quantile - quantile[0]))
        wanted = (config.spectra - stars) * weight / weight.sum()  # besides the one visit that each has
        visits = 1 + np.floor(wanted).astype(np.int64)
        left = config.spectra - int(visits.sum())
        visits[np.argsort(-(wanted % 1), kind="stable")[:left]] += 1
        return float(visits[:top].sum()) / config.spectra, visits

    low, high = 0.0, 40.0
    reached, visits = share(high)
    if stars > 1 and reached < config.concentration[0] - 0.02:
        raise ConfigError(
            f"{config.concentration[0]:.0%} of {config.spectra} spectra cannot be of {top} of {stars} "
            f"stars, as each star needs one: {reached:.0%} is the most; lower `stars` or the concentration"
        )
    for _ in range(50):
        spread = (low + high) / 2
        reached, visits = share(spread)
        low, high = (spread, high) if reached < config.concentration[0] else (low, spread)
    return visits


def _stars(config: SimulationConfig) -> tuple[NDArray[np.int64], int]:
    """The star of every spectrum, shape (n,), and the number of stars."""
    visits = visits_of(config)
    if config.visits == "one":
        return np.arange(config.spectra), config.spectra
    rng = stream(config.seed, "visits")
    # neither the order of the stars nor that of the spectra may reveal how often a star was visited
    star = np.repeat(rng.permutation(visits.size), visits)
    return rng.permutation(star), visits.size


def _dates(config: SimulationConfig) -> Float:
    """Start of the exposures, MJD to the millisecond, all different (archives name files by it)."""
    uniform = stream(config.seed, "mjd").random(config.spectra)
    # exposures start at night: between 23 and 10 h UT at the longitude of Chile
    night, hour = np.divmod(uniform * NIGHTS, 1)
    milliseconds = np.round((FIRST_NIGHT + night + (23 + 11 * hour) / 24) * 86_400_000).astype(np.int64)
    order = np.argsort(milliseconds, kind="stable")
    ordered = milliseconds[order]
    # push equal times apart by one millisecond each; a run of equals needs no more than this
    milliseconds[order] = np.maximum.accumulate(ordered - np.arange(ordered.size)) + np.arange(ordered.size)
    return np.asarray(milliseconds / 86_400_000)


def _sky(config: SimulationConfig, stars: int) -> tuple[Float, Float]:
    """RA and Dec of the stars, degrees: a low-discrepancy sequence, so that no two lie within 30 arcsec."""
    shift = stream(config.seed, "sky").random(2)
    index = np.arange(stars)
    u, v = ((shift[axis] + index * _IRRATIONAL[axis]) % 1 for axis in (0, 1))
    south = NORTHERN if config.format in ("lamost", "lamost-old", "sdss", "apstar") else SOUTHERN
    low, high = np.sin(np.radians(south))
    return np.round(360 * u, 6), np.round(np.degrees(np.arcsin(low + (high - low) * v)), 6)


NORTHERN, SOUTHERN = (-5.0, 60.0), (-75.0, 25.0)  # degrees that Xinglong or Apache Point, and La Silla reach


def _slowly(config: SimulationConfig, uniform: Float, *, star: NDArray[np.int64], mjd: Float) -> Float:
    """Activity of a star follows a cycle of some years: a wave on its own level, kept within 0..1."""
    rng = stream(config.seed, "cycle")
    stars = int(star.max()) + 1
    period, phase = 1500 * 4 ** rng.random(stars), 2 * np.pi * rng.random(stars)
    moved = uniform + 0.1 * np.sin(2 * np.pi * mjd / period[star] + phase[star])
    return np.asarray(np.clip(np.where(moved > 1, 2 - moved, np.abs(moved)), 0, 1))


def _orbits(config: SimulationConfig, stars: int, *, star: NDArray[np.int64], mjd: Float) -> Float:
    """Velocity against the systemic one, km/s, shape (n,): jitter for all, circular orbits for some."""
    rng = stream(config.seed, "orbits")
    binary = rng.random(stars) < BINARIES
    speed = BINARY_SPEED[0] * (BINARY_SPEED[1] / BINARY_SPEED[0]) ** rng.random(stars)
    period, phase = 3 * 300 ** rng.random(stars), 2 * np.pi * rng.random(stars)
    orbit = np.where(binary, speed, 0.0)[star] * np.sin(2 * np.pi * mjd / period[star] + phase[star])
    return np.asarray(orbit + VISIT_JITTER * stream(config.seed, "jitter").standard_normal(star.size))


def _oddities(config: SimulationConfig) -> NDArray[np.str_]:
    """The oddity of every spectrum, shape (n,): exactly the requested share, rounded, at random places."""
    kinds = np.full(config.spectra, "", dtype="U10")
    order = np.argsort(stream(config.seed, "oddity").random(config.spectra), kind="stable")
    first = 0.0
    for kind, share in config.oddities.items():
        last = first + share * config.spectra
        kinds[order[round(first) : round(last)]] = kind
        first = last
    return kinds


def _companions(
    config: SimulationConfig, values: dict[str, Float], *, oddity: NDArray[np.str_]
) -> dict[str, Float]:
    """Second stars: a little cooler and fainter, far enough in velocity that the lines are double."""
    rng = stream(config.seed, "companion")
    offset, side, cooler, ratio = rng.random((config.spectra, 4)).T
    element = SPEED_OF_LIGHT / config.sampling().resolution  # km/s; below it nothing is double
    least, most = max(25.0, 1.1 * element), max(120.0, 1.4 * element)
    apart = np.where(side < 0.5, -1, 1) * (least + (most - least) * offset)
    velocity = values["rv"] + apart
    velocity = np.where(np.abs(velocity) > FACTORS["rv"].bounds[1], values["rv"] - apart, velocity)
    found = np.where(oddity == "sb2", 1.0, np.nan)
    teff = np.clip(values["teff"] * (1 - 0.15 * cooler), *FACTORS["teff"].bounds)
    return {"rv": velocity * found, "teff": teff * found, "ratio": (0.35 + 0.6 * ratio) * found}


# Errors of a good catalogue, in the unit of the factor.
CATALOGUE_ERRORS = {
    "rv": 0.1,
    "teff": 50.0,
    "feh": 0.05,
    "logg": 0.1,
    "vsini": 0.5,
    "alpha": 0.03,
    "activity": 0.03,
    "telluric": 0.2,
    "tilt": 0.005,
    "airmass": 0.01,
    "blaze": 0.001,
}


def _labels(
    config: SimulationConfig, values: dict[str, Float], *, star: NDArray[np.int64], oddity: NDArray[np.str_]
) -> dict[str, Float]:
    """The factors as a catalogue would give them; of another star where the oddity is 'wronglabel'."""
    if not config.oddities.get("wronglabel"):
        return {}
    source = np.arange(config.spectra)
    rng = stream(config.seed, "wronglabel")
    for row in np.flatnonzero(oddity == "wronglabel"):
        others = np.flatnonzero(star != star[row])
        source[row] = others[rng.integers(others.size)]
    labels = {}
    for name in config.varying:
        if name == "snr":
            continue
        error = stream(config.seed, f"label {name}").standard_normal(config.spectra)
        # a catalogue has one value per star, so repeat visits share its error
        error = error[star] if FACTORS[name].of_star else error
        labels[name] = np.round((values[name] + CATALOGUE_ERRORS[name] * error)[source], 4)
    return labels


def _weather(config: SimulationConfig, water: Float, *, mjd: Float) -> dict[str, Float]:
    """The weather station at 2,400 m: it feels the water, so header keywords can explain a code."""
    rng = stream(config.seed, "weather")
    pressure, humidity, temperature = rng.standard_normal((config.spectra, 3)).T
    warm = 10 + 4 * np.cos(2 * np.pi * (mjd - 51_560) / 365.25)  # southern summer
    return {
        "pressure": np.round(772 + 2 * pressure, 2),
        "humidity": np.round(np.clip(100 * (1 - np.exp(-water / 12)) + 3 * humidity, 1, 99)),
        "temperature": np.round(warm + 2 * temperature, 2),
    }


def truth_table(config: SimulationConfig, population: Population, *, names: dict[str, Any]) -> pd.DataFrame:
    """The table of truth.csv: a row per spectrum; `names` holds spectrum_id, file and target, each (n,)."""
    import pandas as pd

    last = ("snr", "airmass")
    columns: dict[str, Any] = dict(names)
    for name in (*config.factors, *config.nuisances):
        if name not in last:
            columns[name] = population.value(name)
    columns["snr"], columns["berv"] = population.snr, population.berv
    columns["airmass"], columns["water"] = population.value("airmass"), population.value("telluric")
    columns["oddity"] = population.oddity.astype(object)
    columns["frame"], columns["medium"] = config.file_frame, config.medium
    columns |= {"ra": population.ra, "dec": population.dec, "mjd": population.mjd}
    columns |= {f"label_{name}": values for name, values in population.labels.items()}
    if config.oddities.get("sb2"):
        columns |= {f"companion_{name}": values for name, values in population.companion.items()}
    return pd.DataFrame(columns)


# --- one exposure on its way into a file, and how archives name it


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
