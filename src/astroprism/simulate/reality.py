"""What a survey adds to the physics: spectrographs, wrong errors, sky, seeing, unequal visits, binaries.

Drawn for the whole archive at once, like the population; `instrument.py` puts it on pixels. Every number here
is a draw that the truth table gives back.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import name_hint
from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT
from .distribution import Distribution, stream

Float = NDArray[np.float64]
Whole = NDArray[np.int64]

FIBRES = 250  # of one exposure
# Seeing at the sites, arcsec, median: Xinglong as the header of LAMOST spectra gives it (dome included),
# La Silla and Apache Point as their monitors do.
SEEING = {"lamost": 3.0, "lamost-old": 3.0}
GOOD_SEEING, SEEING_SPREAD = 1.0, 0.2  # arcsec; of ln seeing
_KNOTS_WIDTH, _KNOTS = 5000.0, 8  # km/s, the least distance of knots; knots over a long range


def _part(default: Any, off: Any) -> Any:
    """A setting of Reality with the value that switches its part off."""
    return field(default=default, metadata={"off": off})


@dataclass(frozen=True)
class Reality:
    """The parts of a real sky and their sizes; the value that switches a part off is 0 unless said.

    population    stars as the sky has them: dwarfs, giants, hot and old stars, Teff, [Fe/H], log g, rotation
                  and velocity going together. Factors with a distribution of their own keep to it
    visits        most visits of a star, 1 to this many by 1 / visits^2 (1: off); applies where the
                  configuration's `visits` is 'one'
    snr           distribution of the signal-to-noise ratio where the configuration gives none ('': off)
    binaries      share of the stars that move about a faint companion
    doubles       share of the spectra that show two stars
    spectrographs how many, each with a response, pattern, error and width of its own (1: no difference)
    nightly       spectra taken in one exposure: they share date, seeing and part of the response
    response      rms of the logarithm of a spectrograph's smooth response
    drift         the same for what one exposure adds to it
    width         km/s between the knots of the response (0: an eighth of the range, at least 5,000)
    reddening     mean E(B-V) of the stars, mag
    pattern       rms of a pattern of flat-field residuals and of the join of two arms, of one shape and
                  another amplitude in each spectrograph: a cause, of the instrument
    lsf           half the range of the relative width of the line-spread function, over fibres, spectrographs
                  and seeing: a cause, of the instrument
    wings         share of the light in the wings (2.5 times as wide) where the profile is broadest
    sky           rms of what sky subtraction leaves, as a multiple of the noise, at the brightest lines:
                  a cause, of the sky
    errors        least and greatest factor of true over stated errors ((1, 1): off)
    error_curve   rms over pixels of the logarithm of that factor
    scatter       noise that no stated error holds, as a share of the flux
    correlation   least and greatest length over which noise is correlated, pixels ((0, 0): off)
    correlated    share of the noise's variance that is
    cosmics       mean number of hits a spectrum, none of them flagged
    flagged       mean number of stretches, 4 to 12 pixels wide, that have no stated error
    """

    population: bool = _part(True, False)
    visits: int = _part(30, 1)
    snr: str = _part("lognormal:58:1.05:5:1600", "")
    binaries: float = _part(0.1, 0.0)
    doubles: float = _part(0.01, 0.0)
    spectrographs: int = _part(16, 1)
    nightly: int = _part(8, 8)
    response: float = _part(0.08, 0.0)
    drift: float = _part(0.06, 0.0)
    width: float = _part(0.0, 0.0)
    reddening: float = _part(0.12, 0.0)
    pattern: float = _part(0.006, 0.0)
    lsf: float = _part(0.15, 0.0)
    wings: float = _part(0.08, 0.0)
    sky: float = _part(6.0, 0.0)
    errors: tuple[float, float] = _part((0.5, 3.0), (1.0, 1.0))
    error_curve: float = _part(0.15, 0.0)
    scatter: float = _part(0.004, 0.0)
    correlation: tuple[float, float] = _part((1.0, 3.0), (0.0, 0.0))
    correlated: float = _part(0.5, 0.5)
    cosmics: float = _part(2.0, 0.0)
    flagged: float = _part(4.0, 0.0)

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one way to normalise a frozen dataclass as it is built
        for name in ("errors", "correlation"):
            ends = tuple(float(part) for part in getattr(self, name))
            if len(ends) != 2 or not 0 <= ends[0] <= ends[1]:
                raise ConfigError(f"reality: {name} {ends} should be (low, high) with 0 <= low <= high")
            put(self, name, ends)
        put(self, "population", bool(self.population))
        for name in ("visits", "spectrographs", "nightly"):
            value = getattr(self, name)
            if isinstance(value, bool) or value % 1 or value < 1:
                raise ConfigError(f"reality: {name} is {value!r}; a whole number from 1 up is needed")
            put(self, name, int(value))
        for name, (least, most) in BOUNDS.items():
            value = float(getattr(self, name))
            if not least <= value <= most:
                raise ConfigError(
                    f"reality: {name} is {value:g}; a number from {least:g} to {most:g} is needed"
                )
            put(self, name, value)
        if self.errors[0] <= 0:
            raise ConfigError("reality: errors wrong by a factor of 0 cannot be; give numbers above 0")
        if self.correlation[1] > 10:
            raise ConfigError(f"reality: noise correlated over {self.correlation[1]:g} pixels; at most 10")
        if self.nightly > FIBRES:
            raise ConfigError(
                f"reality: nightly is {self.nightly}; at most {FIBRES} fibres are exposed at once"
            )
        if self.snr:
            from .distribution import parse_distribution

            put(self, "snr", parse_distribution(self.snr).text)

    @classmethod
    def only(cls, parts: Iterable[str]) -> Reality:
        """The named parts at their default size, all others off."""
        chosen = set(parts)
        known = {entry.name: entry for entry in dataclasses.fields(cls)}
        for name in chosen:
            if name not in known:
                raise ConfigError(f"reality has no part {name!r}; {name_hint(name, known)}")
        return cls(**{name: entry.metadata["off"] for name, entry in known.items() if name not in chosen})

    @classmethod
    def parse(cls, value: Any) -> Reality | None:
        """From True, names of parts ('response,lsf'), a table of settings, or what is one already."""
        if value is None or value is False or isinstance(value, Reality):
            return value or None
        if value is True:
            return cls()
        if isinstance(value, str):
            return cls.only(part.strip() for part in value.split(",") if part.strip())
        if not isinstance(value, Mapping):
            raise ConfigError(f"reality is {value!r}; give true, names of parts, or a table of settings")
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in value:
            if name not in known:
                raise ConfigError(f"reality has no part {name!r}; {name_hint(name, known)}")
        try:
            return cls(**value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reality: a value of the wrong kind: {error}") from error

    def to_mapping(self) -> dict[str, Any]:
        """Plain values; `parse` reads them."""
        return dataclasses.asdict(self)

    @property
    def causes(self) -> tuple[str, ...]:
        """What the instrument and its sky add as causes of one dimension each, by their columns of the truth.

        The smooth response is none: it has many dimensions, and is there to be taken out.
        """
        sizes = {"lsf": self.lsf, "pattern": self.pattern if self.spectrographs > 1 else 0.0, "sky": self.sky}
        return tuple(name for name, size in sizes.items() if size > 0)


# least and greatest of each setting that is one number
BOUNDS = {
    "binaries": (0, 1),
    "doubles": (0, 1),
    "response": (0, 1),
    "drift": (0, 1),
    "width": (0, 1e6),
    "reddening": (0, 3),
    "pattern": (0, 0.2),
    "lsf": (0, 0.25),
    "wings": (0, 0.5),
    "sky": (0, 1000),
    "error_curve": (0, 1),
    "scatter": (0, 0.2),
    "correlated": (0, 1),
    "cosmics": (0, 1000),
    "flagged": (0, 1000),
}


@dataclass(frozen=True)
class Instrument:
    """What the instrument and the sky did to each spectrum; arrays (n,) unless said.

    exposure      number of the exposure; spectra of one share date and seeing
    spectrograph  from 1
    fibre         from 1 to FIBRES, no two in one exposure the same
    seeing        arcsec
    lsf           width of the line-spread function relative to the nominal
    wing          share of its light in the wings
    response      (n, k) logarithm of the smooth response at `knots`
    reddening     E(B-V), mag
    pattern       amplitude (rms) of the flat-field pattern
    sky           residual of the brightest sky line over the median flux, signed
    sky_fibres    the same over the noise, mean of the exposure: what its sky fibres tell
    errors        true over stated error, before `scatter` and the curve over pixels
    correlation   e-folding length of the noise's correlation, pixels; 0: none
    cosmics       number of hits; flagged: of stretches without a stated error
    knots         (k,) vacuum angstrom
    """

    exposure: Whole
    spectrograph: Whole
    fibre: Whole
    seeing: Float
    lsf: Float
    wing: Float
    response: Float
    reddening: Float
    pattern: Float
    sky: Float
    sky_fibres: Float
    errors: Float
    correlation: Float
    cosmics: Whole
    flagged: Whole
    knots: Float


def response_knots(vacuum: Float, reality: Reality) -> Float:
    """Wavelengths (k,) at which the logarithm of the response is given, evenly spaced in its logarithm."""
    span = float(np.log(vacuum[-1] / vacuum[0]))
    width = (reality.width or max(_KNOTS_WIDTH, span * SPEED_OF_LIGHT / _KNOTS)) / SPEED_OF_LIGHT
    return np.geomspace(vacuum[0], vacuum[-1], max(4, round(span / width) + 1))


def exposures(reality: Reality, star: Whole, *, seed: int) -> Whole:
    """The exposure (n,) in which each spectrum is taken: `nightly` at a time, visits of a star apart."""
    rng = stream(seed, "reality exposures")
    shuffled = rng.permutation(star.size)
    # the how-manieth visit of its star: first visits fill the first exposures, second the next
    order = np.argsort(star[shuffled], kind="stable")
    sorted_star = star[shuffled][order]
    first = np.r_[0, np.flatnonzero(np.diff(sorted_star)) + 1]
    visit = np.empty(star.size, dtype=np.int64)
    visit[shuffled[order]] = np.arange(star.size) - np.repeat(first, np.diff(np.r_[first, star.size]))
    place = np.empty(star.size, dtype=np.int64)
    place[np.lexsort((rng.random(star.size), visit))] = np.arange(star.size)
    return place // reality.nightly


def draw_instrument(
    reality: Reality,
    *,
    seed: int,
    snr: Float,
    star: Whole,
    exposure: Whole,
    vacuum: Float,
    format: str,
    still: bool = False,
) -> Instrument:
    """Draw what happened to every spectrum (n,); `still`: a star keeps its spectrograph."""
    n, many = star.size, reality.spectrographs
    nights, stars = int(exposure.max()) + 1, int(star.max()) + 1
    places = response_knots(vacuum, reality)
    knots = places.size
    spectrograph = stream(seed, "reality spectrograph").integers(0, many, stars if still else n)
    if still:
        spectrograph = spectrograph[star]
    fibre = _fibres(exposure, seed=seed)
    seeing = np.exp(SEEING_SPREAD * stream(seed, "reality seeing").standard_normal(nights))[exposure]
    seeing = np.round(seeing * SEEING.get(format, GOOD_SEEING), 2)
    lsf, wing = _widths(reality, spectrograph, fibre, seeing, seed=seed)
    between = reality.response * _smooth(stream(seed, "reality response"), many, knots)
    between -= between.mean(axis=0)  # what all spectrographs share is no difference between them
    hour = reality.drift * _smooth(stream(seed, "reality drift"), nights, knots)
    own = 0.5 * reality.drift * _smooth(stream(seed, "reality fibre drift"), n, knots)
    amplitude = stream(seed, "reality pattern").standard_normal(many)
    amplitude = (amplitude - amplitude.mean()) / (amplitude.std() or 1.0) if many > 1 else 0.0 * amplitude
    pattern = reality.pattern * amplitude[spectrograph]
    pattern = pattern + 0.2 * reality.pattern * stream(seed, "reality flat").standard_normal(n)
    common = 0.8 * reality.sky * stream(seed, "reality sky of exposures").standard_normal(nights)[exposure]
    dust = -np.log1p(-stream(seed, "reality reddening").random(stars))
    return Instrument(
        exposure=exposure,
        spectrograph=spectrograph + 1,
        fibre=fibre,
        seeing=seeing,
        lsf=lsf,
        wing=wing,
        response=between[spectrograph] + hour[exposure] + own,
        reddening=reality.reddening * np.minimum(dust, 6)[star],
        pattern=pattern if reality.pattern else np.zeros(n),
        sky=(common + 0.6 * reality.sky * stream(seed, "reality sky").standard_normal(n)) / snr,
        sky_fibres=common,
        errors=_errors(reality, spectrograph, seed=seed),
        correlation=_between(reality.correlation, stream(seed, "reality correlation").random(n)),
        cosmics=stream(seed, "reality cosmics").poisson(reality.cosmics, n),
        flagged=stream(seed, "reality flagged").poisson(reality.flagged, n),
        knots=places,
    )


def _smooth(rng: np.random.Generator, count: int, knots: int) -> Float:
    """Curves of unit variance at the knots, (count, knots): a slow bend, and a fifth from knot to knot."""
    apart = np.subtract.outer(np.arange(knots), np.arange(knots)) / (0.6 * knots)
    covariance = 0.8 * np.exp(-0.5 * apart**2) + 0.2 * np.eye(knots)
    return np.asarray(rng.standard_normal((count, knots)) @ np.linalg.cholesky(covariance).T)


def _between(ends: tuple[float, float], uniform: Float) -> Float:
    return ends[0] + (ends[1] - ends[0]) * uniform


def _fibres(exposure: Whole, *, seed: int) -> Whole:
    """A fibre for each spectrum, no two in one exposure the same."""
    fibre = 1 + stream(seed, "reality fibre").integers(0, FIBRES, exposure.size)
    taken: set[tuple[int, int]] = set()
    for row, one in enumerate(exposure.tolist()):
        while (key := (one, int(fibre[row]))) in taken:
            fibre[row] = fibre[row] % FIBRES + 1
        taken.add(key)
    return fibre


def _widths(
    reality: Reality, spectrograph: Whole, fibre: Whole, seeing: Float, *, seed: int
) -> tuple[Float, Float]:
    """Relative width and share of wings: broader at the ends of the slit, in bad seeing, by spectrograph."""
    slit = ((fibre - (FIBRES + 1) / 2) / (FIBRES / 2)) ** 2 - 1 / 3
    unit = stream(seed, "reality focus").uniform(-1, 1, reality.spectrographs)[spectrograph]
    blur = np.log(seeing / np.median(seeing)) / SEEING_SPREAD
    place = np.clip(0.9 * slit + 0.4 * unit * (reality.spectrographs > 1) + 0.3 * blur, -1, 1)
    return 1 + reality.lsf * place, reality.wings * (1 + place) / 2


def _errors(reality: Reality, spectrograph: Whole, *, seed: int) -> Float:
    """True over stated error: another factor in every spectrograph, and in every spectrum."""
    low, high = reality.errors
    if low == high:
        return np.full(spectrograph.size, low)
    place = stream(seed, "reality errors").random(reality.spectrographs)[spectrograph]
    middle, half = math.log(low * high) / 2, math.log(high / low) / 2
    # most pipelines are nearly right: the ends belong to a few
    wide = 1.1 * half * np.sign(place - 0.5) * np.abs(2 * place - 1) ** 2
    own = 0.25 * half * stream(seed, "reality own errors").standard_normal(spectrograph.size)
    return np.asarray(np.exp(np.clip(0.7 * middle + wide + own, middle - half, middle + half)))


# --- stars as the sky has them

# Share of the stars of a magnitude-limited survey, Teff (mean, spread), [Fe/H] (mean, spread), spread of the
# velocity in km/s. Rounded from the solar neighbourhood: Casagrande et al. 2011 (A&A 530, A138) for [Fe/H],
# Bensby et al. 2014 (A&A 562, A71) for the velocities of old and young stars.
KINDS = ("dwarf", "hot", "giant", "old")
_SHARE = (0.52, 0.22, 0.17, 0.09)
_TEFF = ((5900.0, 550.0), (8000.0, 1000.0), (4800.0, 260.0), (6050.0, 350.0))
_FEH = ((-0.15, 0.22), (-0.03, 0.14), (-0.25, 0.26), (-1.3, 0.4))
_VELOCITY = (35.0, 15.0, 40.0, 130.0)
# Surface gravity on the main sequence from the masses and radii of Pecaut & Mamajek (2013, ApJS 208, 9).
_DWARF_TEFF = (3700.0, 4440.0, 5100.0, 5770.0, 6550.0, 8080.0, 9700.0, 12_500.0)
_DWARF_LOGG = (4.75, 4.60, 4.55, 4.44, 4.24, 4.20, 4.12, 4.10)
_GIANT_SLOPE = 1.55e-3  # dex per kelvin along the giant branch


def draw_stars(
    uniform: Mapping[str, Float], given: Mapping[str, Distribution], *, seed: int
) -> tuple[dict[str, Float], Whole]:
    """Teff, [Fe/H], log g, [alpha/Fe], vsini and velocity of stars (m,), and the kind of each (m,).

    uniform  numbers in [0, 1) of each factor
    given    distributions that are not to be touched: of factors that do not vary, and those that were asked
             for; the others follow from them
    """
    from scipy.special import ndtri

    def normal(name: str) -> Float:
        return np.asarray(ndtri(np.clip(uniform[name], 1e-12, 1 - 1e-12)))

    stars = uniform["teff"].size
    kind = np.searchsorted(np.cumsum(_SHARE), stream(seed, "reality kind").random(stars)).clip(0, 3)
    if "logg" in given:  # without it there is nothing that makes a giant
        kind = np.where(kind == 2, 0, kind)
    mean, spread = np.array(_TEFF)[kind].T
    least = np.array((4300.0, 6800.0, 4100.0, 5000.0))[kind]
    most = np.array((7300.0, 11_800.0, 5400.0, 7000.0))[kind]
    teff = np.clip(mean + spread * normal("teff"), least, most)
    if "teff" in given:
        teff = given["teff"].quantile(uniform["teff"])
        kind = np.where((kind == 2) & (teff > 5400), 0, np.where((kind == 0) & (teff > 7300), 1, kind))
        kind = np.where((kind == 1) & (teff < 6800), 0, kind)
    mean, spread = np.array(_FEH)[kind].T
    feh = mean + spread * normal("feh") - np.where(kind == 2, (teff - 4800) / 900, 0.0)
    if "feh" in given:
        feh = given["feh"].quantile(uniform["feh"])
    evolved = np.interp(teff, _DWARF_TEFF, _DWARF_LOGG) - 0.18 * np.abs(normal("logg"))
    giant = 2.5 + _GIANT_SLOPE * (teff - 4800) - 0.25 * (feh + 0.25) + 0.25 * normal("logg")
    alpha = np.clip(-0.28 * (feh + 0.1), 0, 0.32) + 0.04 * normal("alpha")
    # rotation: slow below the break at 6,200 K, fast above it (Kraft 1967, ApJ 150, 551)
    fast = 1 / (1 + np.exp(-(teff - 6500) / 250)) * (kind != 3) * (kind != 2)
    vsini = 10 ** (0.45 + 0.25 * normal("vsini") + 1.2 * fast)
    values = {
        "rv": np.array(_VELOCITY)[kind] * normal("rv"),
        "teff": teff,
        "feh": feh,
        "logg": np.where(kind == 2, giant, evolved),
        "alpha": alpha,
        "vsini": vsini,
    }
    for name in values:
        if name in given:
            values[name] = given[name].quantile(uniform[name])
    return values, kind
