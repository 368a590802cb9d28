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
from .orbits import Orbits, telescope_velocity
from .reality import KINDS, Instrument, draw_instrument, draw_stars, exposures

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
# Longitude (east), latitude, degrees, and height above the sea, m, as the headers of these files give them;
# the heights of Xinglong and Apache Point as astropy's table of observatories does.
_LA_SILLA, _XINGLONG, _APACHE_POINT = (
    (-70.7345, -29.2584, 2400.0),
    (117.58, 40.39, 950.0),
    (-105.82, 32.78, 2788.0),
)
SITES = {"lamost": _XINGLONG, "lamost-old": _XINGLONG, "sdss": _APACHE_POINT, "apstar": _APACHE_POINT}
SERIES_EXPOSURE = 600.0  # s
_NIGHT_HALF = 3.5 / 24  # days about local midnight in which stars are observed


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
    kind        of each star as reality.KINDS counts them; None where stars are drawn factor by factor
    orbits      of the stars; None without binaries or a series
    instrument  what it and the sky did; None where nothing but noise is added
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
    kind: NDArray[np.int64] | None = None
    orbits: Orbits | None = None
    instrument: Instrument | None = None

    def value(self, factor: str) -> Float:
        """The values of a factor, by the factor's name."""
        return self.snr if factor == "snr" else self.parameters[SYNTHESIS_KEYS.get(factor, factor)]


def populate(config: SimulationConfig) -> Population:
    """Draw the archive."""
    n, seed = config.spectra, config.seed
    star, stars = _stars(config)
    exposed = _exposures(config, star)
    mjd = _dates(config) if exposed is None else _nights(config, exposed)
    ra, dec = (coordinate[star] for coordinate in _sky(config, stars))
    seconds = np.round(60 * 30 ** stream(seed, "exposure").random(n), 4)
    if config.visits == "series":
        seconds = np.full(n, SERIES_EXPOSURE)
        ra, dec = _overhead(config, stars, mjd=mjd, star=star)
    elif exposed is not None:
        seconds = seconds[exposed]
    if config.instrumented:
        longitude, latitude, height = site(config.format)
        middle = mjd + seconds / 172_800
        berv = telescope_velocity(ra, dec, mjd=middle, longitude=longitude, latitude=latitude, height=height)
    else:
        berv = barycentric_velocity(ra, dec, mjd=mjd)
    values: dict[str, Float] = {}
    of_stars: dict[str, Float] = {}
    for name, factor in FACTORS.items():
        count = stars if factor.of_star or name == "activity" else n
        uniform = stream(seed, name).random(count)
        if factor.of_star:
            of_stars[name] = uniform
        if count == stars:
            uniform = uniform[star]
        if name == "activity" and config.repeats:
            uniform = _slowly(config, uniform, star=star, mjd=mjd)
        drawn = config.distribution(name).quantile(uniform)
        values[name] = np.clip(drawn, *factor.bounds)
    kind = None
    if config.reality is not None and config.reality.population:
        given = {
            name: config.distribution(name)
            for name in of_stars
            if name in config.distributions or name not in config.varying
        }
        drawn_stars, kinds = draw_stars(of_stars, given, seed=seed)
        kind = kinds[star]
        for name, of_star in drawn_stars.items():
            values[name] = np.clip(of_star[star], *FACTORS[name].bounds)
    orbits = _orbits_of(config, stars)
    if orbits is not None:
        values["rv"] = values["rv"] + orbits.velocity(star, mjd + seconds / 172_800)
    elif config.visits == "uneven" and "rv" in config.varying:
        values["rv"] = values["rv"] + _orbits(config, stars, star=star, mjd=mjd)
    if config.repeats and "rv" in config.varying and (orbits is not None or config.visits != "uneven"):
        values["rv"] = values["rv"] + VISIT_JITTER * stream(seed, "jitter").standard_normal(n)
    snr = values.pop("snr")
    # columns of the truth say what the spectrum holds, so round first what will be written rounded
    parameters = {SYNTHESIS_KEYS.get(name, name): array for name, array in values.items()} | {"berv": berv}
    oddity = _oddities(config, star)
    companion = _companions(config, values, oddity=oddity, star=star)
    labels = _labels(config, values, star=star, oddity=oddity)
    weather = _weather(config, parameters["water"], mjd=mjd)
    instrument = None
    if config.reality is not None:
        instrument = draw_instrument(
            config.reality,
            seed=seed,
            snr=snr,
            star=star,
            exposure=np.arange(n) if exposed is None else exposed,
            vacuum=config.sampling().vacuum,
            format=config.format,
            still=config.visits == "series",
        )
        parameters |= {"lsf": instrument.lsf, "wing": instrument.wing}
    return Population(
        star,
        parameters,
        snr,
        mjd,
        seconds,
        ra,
        dec,
        berv,
        oddity,
        companion,
        labels,
        weather,
        kind,
        orbits,
        instrument,
    )


def site(format: str) -> tuple[float, float, float]:
    """Longitude (east) and latitude, degrees, and height, m, of the telescope of a format."""
    return SITES.get(format, _LA_SILLA)


def _exposures(config: SimulationConfig, star: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The exposure of every spectrum (n,); None where each is one of its own, at any time."""
    if config.visits == "series":
        return np.arange(config.spectra)
    return None if config.reality is None else exposures(config.reality, star, seed=config.seed)


def _nights(config: SimulationConfig, exposed: NDArray[np.int64]) -> Float:
    """Start of the exposures, MJD, milliseconds apart within one; a series in the order of its rows."""
    rng = stream(config.seed, "reality nights")
    count = int(exposed.max()) + 1
    if config.visits == "series":
        nights = config.nights or max(1, config.spectra // 5)
        first = rng.integers(0, int(NIGHTS) - 2 * nights if 2 * nights < NIGHTS else 1)
        night = first + np.sort(rng.permutation(2 * nights)[:nights])
        more = rng.integers(0, nights, count - nights)
        day = night[np.sort(np.concatenate((np.arange(nights), more)))]
    else:
        day = rng.permutation(max(count, int(NIGHTS)))[:count]
    hour = rng.uniform(-_NIGHT_HALF, _NIGHT_HALF, count)
    midnight = (1 - site(config.format)[0] / 360) % 1  # UT of local midnight, days
    start = FIRST_NIGHT + day + midnight + hour
    if config.visits == "series":
        start = np.sort(start)
    milliseconds = np.round(start * 86_400_000).astype(np.int64)[exposed]
    order = np.argsort(milliseconds, kind="stable")
    ordered = milliseconds[order]
    milliseconds[order] = np.maximum.accumulate(ordered - np.arange(ordered.size)) + np.arange(ordered.size)
    return np.asarray(milliseconds / 86_400_000)


def _overhead(
    config: SimulationConfig, stars: int, *, mjd: Float, star: NDArray[np.int64]
) -> tuple[Float, Float]:
    """RA and Dec, degrees, of stars that culminate at midnight in the middle of the season."""
    longitude, latitude, _ = site(config.format)
    middle = np.floor((mjd[0] + mjd[-1]) / 2) + (1 - longitude / 360) % 1
    sidereal = (280.46062 + 360.98564737 * (middle - 51_544.5) + longitude) % 360
    rng = stream(config.seed, "series place")
    ra = (sidereal + rng.uniform(-20, 20, stars)) % 360
    dec = np.clip(latitude + rng.uniform(-20, 20, stars), -80, 80)
    return np.round(ra, 6)[star], np.round(dec, 6)[star]


def _orbits_of(config: SimulationConfig, stars: int) -> Orbits | None:
    """The orbits of the stars, where they move: all of a series alike but for phase, some of a real sky."""
    rng, reality = stream(config.seed, "reality orbits"), config.reality
    if "rv" not in config.varying:
        return None
    if config.visits == "series":
        if config.orbit is None:
            return None
        speed, days, squeezed, angle = (*config.orbit, *(0.0, 90.0)[len(config.orbit) - 2 :])
        one = np.ones(stars)
        start = FIRST_NIGHT + days * rng.random(stars)
        return Orbits(speed * one, days * one, squeezed * one, math.radians(angle) * one, start)
    if reality is None or not reality.binaries:
        return None
    binary, speed, length, squeeze, turn, phase = rng.random((6, stars))
    amplitude = BINARY_SPEED[0] * (BINARY_SPEED[1] / BINARY_SPEED[0]) ** speed
    period = 3 * 300**length
    # tides make short orbits circular, below some ten days (Raghavan et al. 2010, ApJS 190, 1)
    eccentricity = np.where(period < 10, 0.0, 0.7 * squeeze)
    return Orbits(
        np.where(binary < reality.binaries, amplitude, 0.0),
        period,
        eccentricity,
        2 * np.pi * turn,
        FIRST_NIGHT + period * phase,
    )


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
    if not config.repeats:
        return np.ones(config.spectra, dtype=np.int64)
    if config.visits == "series":
        stars = config.stars or 1
        return np.bincount(np.arange(config.spectra) % stars, minlength=stars)
    if config.visits == "one":
        return _few_visits(config)
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


def _few_visits(config: SimulationConfig) -> NDArray[np.int64]:
    """Visits of the stars of a real sky, most first: 1 to `reality.visits` of them, by 1 / visits^2."""
    assert config.reality is not None
    count = np.arange(1, config.reality.visits + 1)
    cumulated = np.cumsum(count**-2.0) / np.sum(count**-2.0)
    drawn = 1 + np.searchsorted(cumulated, stream(config.seed, "reality visits").random(config.spectra))
    stars = int(np.searchsorted(np.cumsum(drawn), config.spectra)) + 1
    visits = np.minimum(drawn[:stars], config.reality.visits)
    visits[-1] -= int(visits.sum()) - config.spectra
    return np.asarray(np.sort(visits)[::-1], dtype=np.int64)


def _stars(config: SimulationConfig) -> tuple[NDArray[np.int64], int]:
    """The star of every spectrum, shape (n,), and the number of stars."""
    visits = visits_of(config)
    if not config.repeats:
        return np.arange(config.spectra), config.spectra
    if config.visits == "series":
        stars = config.stars or 1
        return np.arange(config.spectra) % stars, stars
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


def _oddities(config: SimulationConfig, star: NDArray[np.int64]) -> NDArray[np.str_]:
    """The oddity of every spectrum, shape (n,): exactly the requested share, rounded, at random places.

    The double stars of a real sky are double in all their visits.
    """
    kinds = np.full(config.spectra, "", dtype="U10")
    order = np.argsort(stream(config.seed, "oddity").random(config.spectra), kind="stable")
    first = 0.0
    for kind, share in config.oddities.items():
        last = first + share * config.spectra
        kinds[order[round(first) : round(last)]] = kind
        first = last
    if config.reality is not None and config.reality.doubles and "sb2" not in config.oddities:
        double = stream(config.seed, "reality doubles").random(int(star.max()) + 1) < config.reality.doubles
        kinds[double[star] & (kinds == "")] = "sb2"
    return kinds


def _companions(
    config: SimulationConfig, values: dict[str, Float], *, oddity: NDArray[np.str_], star: NDArray[np.int64]
) -> dict[str, Float]:
    """Second stars: a little cooler and fainter, far enough in velocity that the lines are double."""
    rng = stream(config.seed, "companion")
    offset, side, cooler, ratio = rng.random((config.spectra, 4)).T
    if config.reality is not None:  # one companion a star, at another velocity in each visit
        cooler, ratio = cooler[star], ratio[star]
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
    if config.oddities.get("sb2") or (config.reality is not None and config.reality.doubles):
        columns |= {f"companion_{name}": values for name, values in population.companion.items()}
    return pd.DataFrame(columns | _truth_of_reality(config, population))


def _truth_of_reality(config: SimulationConfig, population: Population) -> dict[str, Any]:
    """Columns of what a real sky, an orbit and an instrument added."""
    columns: dict[str, Any] = {}
    if config.instrumented:
        columns["exposure_time"] = population.exposure
    if population.kind is not None:
        columns["kind"] = np.array(KINDS, dtype=object)[population.kind]
    if (orbits := population.orbits) is not None:
        columns |= {f"orbit_{name}": values[population.star] for name, values in vars(orbits).items()}
    if (one := population.instrument) is None or config.reality is None:
        return columns
    columns |= {
        "exposure": one.exposure,
        "spectrograph": one.spectrograph,
        "fibre": one.fibre,
        "seeing": one.seeing,
        "lsf": one.lsf,
        "wing": one.wing,
        "reddening": one.reddening,
        "pattern": one.pattern,
        "sky": one.sky,
        "sky_fibres": one.sky_fibres,
        "errors": one.errors,
        "snr_true": 1 / np.hypot(1 / population.snr, config.reality.scatter),
        "correlation": one.correlation,
        "cosmics": one.cosmics,
        "flagged": one.flagged,
        "response_rms": one.response.std(axis=1),
    }
    knots = np.round(one.knots).astype(int)
    return columns | {f"response_{at}": one.response[:, place] for place, at in enumerate(knots)}


# --- one exposure on its way into a file, and how archives name it


@dataclass(frozen=True, eq=False)
class Exposure:
    """One spectrum on its way into a file; arrays are (n,), in the file's pixels and unit.

    step        pixel in km/s (log) or angstrom; log10_start and log10_step for log grids
    parameters  the values of the truth, by the synthesiser's keys
    berv        'given', or what the header leaves out
    instrument  spectrograph, fibre, exposure, seeing, sky_fibres; None where headers make them up
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
    berv: str = "given"
    instrument: dict[str, float] | None = None

    @property
    def middle(self) -> float:
        """MJD of the middle of the exposure."""
        return self.mjd + self.seconds / 172_800


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
            if (one := population.instrument) is not None:
                fibre, spectrograph, plan = (int(v[row]) for v in (one.fibre, one.spectrograph, one.exposure))
            identifier = str(LAMOST_FIRST + row)
            file = f"spec-{int(mjd + 1 / 3)}-SIM{plan:05d}V01_sp{spectrograph:02d}-{fibre:03d}"
        elif config.format == "sdss":
            plate, fibre = 3600 + row // 1000, row % 1000 + 1
            if (one := population.instrument) is not None:
                plate, fibre = 3600 + int(one.exposure[row]), int(one.fibre[row])
            identifier = f"{plate:04d}-{int(mjd)}-{fibre:04d}"
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
