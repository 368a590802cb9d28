"""What an archive is made of: one flat configuration, its defaults, and the contradictions it refuses."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, name_hint
from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT, air_to_vacuum, log_grid, vacuum_to_air
from .distribution import Distribution, parse_distribution
from .presets import SURVEYS
from .reality import Reality

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


@dataclass(frozen=True)
class Factor:
    """One cause of variation: its distribution where on, its value where off, its unit and whose it is."""

    varying: str
    off: float
    unit: str
    of_star: bool
    bounds: tuple[float, float]


# Ranges of FGK dwarfs as HARPS observed them; [Fe/H] and its spread as in the solar neighbourhood
# (Casagrande et al. 2011, A&A 530, A138); water as the yearly range of La Silla (Kerber et al. 2012).
FACTORS: dict[str, Factor] = {
    "rv": Factor("uniform:-150:150", 0.0, "km/s", True, (-400, 400)),
    "teff": Factor("uniform:4200:7200", 5600.0, "K", True, (3500, 12_000)),
    "feh": Factor("normal:-0.2:0.3:-1.5:0.5", -0.1, "dex", True, (-4, 1)),
    "telluric": Factor("loguniform:0.5:15", 3.0, "mm of water", False, (0, 60)),
    "vsini": Factor("loguniform:1:30", 3.0, "km/s", True, (0, 300)),
    "logg": Factor("uniform:2.5:4.8", 4.4, "dex", True, (0, 5.5)),
    "tilt": Factor("normal:0:0.05:-0.2:0.2", 0.0, "relative, end to end", False, (-0.9, 0.9)),
    "alpha": Factor("uniform:-0.1:0.4", 0.0, "dex", True, (-1, 1)),
    "activity": Factor("uniform:0:1", 0.0, "0 to 1", False, (0, 1)),
    "airmass": Factor("uniform:1:2", 1.2, "", False, (1, 10)),
    "snr": Factor("loguniform:40:300", 100.0, "per pixel", False, (1, 1e5)),
    "blaze": Factor("uniform:0:0.03", 0.0, "relative", False, (0, 0.5)),
}
ODDITIES = ("sb2", "emission", "cosmic", "wronglabel")
VISITS = ("one", "uneven", "series")
BERV = ("given", "computable", "hidden")
# Fields that a configuration without them does not write down, so that what it makes stays as it was.
_LATER: dict[str, Any] = {"nights": None, "orbit": None, "berv": "given", "reality": None}


@dataclass(frozen=True)
class SimulationConfig:
    """An archive whose answer is known.

    spectra        how many
    factors        causes that vary, of FACTORS; everything else stays at its off value
    nuisances      causes that vary besides and that are not of interest (airmass, blaze, ...)
    distributions  factor -> text such as 'uniform:-50:50' (see distribution.py), for factors that vary;
                   for one that does not, 'fixed:value' moves its off value
    window         (low, high) angstrom, in the medium of the format for linear steps, else vacuum;
                   None: the format's own
    step           pixel in `step_unit`; None: the format's own
    step_unit      'kms' (uniform in log wavelength) or 'angstrom' (uniform in wavelength)
    resolution     resolving power; None: the format's own, but never finer than two pixels where a
                   step is given
    snr            (low, high) per pixel at the median flux, log-uniform; short for distributions['snr']
    visits         'one': every spectrum another star; 'uneven': many visits of few stars; 'series': some
                   nights of a season, all on the same stars
    stars          number of stars; None: a tenth of the spectra for uneven visits, one for a series
    concentration  (share of the spectra, share of the stars) for uneven visits: (0.8, 0.05) means
                   that 80 % of the spectra are of 5 % of the stars
    oddities       kind -> share of the spectra, kinds of ODDITIES
    format         one of NATIVE
    frame          None: the format's own; 'topocentric' for 'adp' alone, as UVES gives it
    nights         on which a series is observed; None: a fifth of its spectra
    orbit          (K in km/s, period in days[, eccentricity[, omega in degrees]]) of the stars of a series
    berv           'given' as the format does; 'computable': its keywords are left out, place, time and
                   observatory are there; 'hidden': time and observatory are left out as well
    reality        what a survey adds to the physics (reality.py); None: nothing
    seed           of stars, visits and noise
    lines_seed     of the forest of weak lines: archives that are to share one physics share it
    """

    spectra: int = 1000
    factors: tuple[str, ...] = ("rv", "teff", "feh", "telluric", "vsini")
    nuisances: tuple[str, ...] = ()
    distributions: Mapping[str, str] = field(default_factory=dict)
    window: tuple[float, float] | None = None
    step: float | None = None
    step_unit: str = "kms"
    resolution: float | None = None
    snr: tuple[float, float] | None = None
    visits: str = "one"
    stars: int | None = None
    concentration: tuple[float, float] = (0.8, 0.2)
    oddities: Mapping[str, float] = field(default_factory=dict)
    format: str = "adp"
    frame: str | None = None
    seed: int = 0
    lines_seed: int = 0
    nights: int | None = None
    orbit: tuple[float, ...] | None = None
    berv: str = "given"
    reality: Reality | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one way to normalise a frozen dataclass as it is built
        put(self, "factors", tuple(self.factors))
        put(self, "nuisances", tuple(self.nuisances))
        put(self, "distributions", {key: parse_distribution(v).text for key, v in self.distributions.items()})
        put(self, "oddities", {key: float(share) for key, share in self.oddities.items()})
        put(self, "reality", Reality.parse(self.reality))
        for name in ("window", "snr", "concentration", "orbit"):
            value = getattr(self, name)
            put(self, name, None if value is None else tuple(float(part) for part in value))
        for name in ("spectra", "seed", "lines_seed", "stars", "nights"):
            value = getattr(self, name)
            if value is None and name in ("stars", "nights"):
                continue
            whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
            if not whole or value < 0:
                raise ConfigError(f"{name} is {value!r}; a whole number from 0 up is needed")
            put(self, name, int(value))
        _check(self)

    @property
    def varying(self) -> tuple[str, ...]:
        """Factors and nuisances that are on, in the order of FACTORS; snr always is."""
        chosen = {*self.factors, *self.nuisances, "snr"}
        return tuple(name for name in FACTORS if name in chosen)

    @property
    def known_k(self) -> int:
        """Causes that vary from spectrum to spectrum, nuisances included; neither BERV nor photon noise.

        Those of the instrument and its sky are `instrument_causes` and not counted here.
        """
        return sum(name != "snr" and self.distribution(name).varies for name in self.varying)

    @property
    def instrument_causes(self) -> tuple[str, ...]:
        """Causes of one dimension that the instrument and its sky add, by their columns of the truth."""
        return () if self.reality is None else self.reality.causes

    @property
    def repeats(self) -> bool:
        """Whether stars may be visited more than once."""
        few = self.reality is not None and self.reality.visits > 1 and self.format != "apstar"
        return self.visits != "one" or (few and self.stars is None)

    @property
    def instrumented(self) -> bool:
        """Whether spectra share exposures, spectrographs and an observatory: the sky is real, or a series."""
        return self.reality is not None or self.visits == "series" or self.berv != "given"

    def distribution(self, factor: str) -> Distribution:
        """The distribution of one factor; a fixed one where it is off."""
        if factor in self.distributions:
            return parse_distribution(self.distributions[factor])
        if factor == "snr" and self.snr is not None:
            low, high = self.snr
            return Distribution("loguniform", (low, high)) if low < high else Distribution("fixed", (low,))
        if factor == "snr" and self.reality is not None and self.reality.snr:
            return parse_distribution(self.reality.snr)
        if factor not in self.varying:
            return Distribution("fixed", (FACTORS[factor].off,))
        return parse_distribution(FACTORS[factor].varying)

    @property
    def medium(self) -> str:
        """'air' or 'vacuum', as the format has it."""
        return NATIVE[self.format].medium

    @property
    def file_frame(self) -> str:
        """The velocity frame of the wavelengths in the file."""
        return self.frame or NATIVE[self.format].frame

    @property
    def pixel(self) -> tuple[float, str]:
        """Step and its unit, 'kms' (log) or 'angstrom' (linear)."""
        native = NATIVE[self.format]
        return (native.step, native.step_unit) if self.step is None else (self.step, self.step_unit)

    def sampling(self) -> Sampling:
        """The pixels of this archive."""
        native = NATIVE[self.format]
        step, unit = self.pixel
        low, high = self.window or native.window
        if unit == "kms":
            vacuum = log_grid(low, high, step=step).wavelength
            if self.format == "image":  # its header describes a uniform axis, so it is so in its own medium
                vacuum = air_to_vacuum(vacuum)
            wavelength = vacuum_to_air(vacuum) if native.medium == "air" else vacuum
        else:
            # rounded as the observatories do it: 0.01 A pixels sit on multiples of 0.01 A
            wavelength = np.round(low + step * np.arange(math.floor((high - low) / step + 1e-6) + 1), 8)
            vacuum = air_to_vacuum(wavelength) if native.medium == "air" else wavelength
        pixel = step if unit == "kms" else step / math.sqrt(low * high) * SPEED_OF_LIGHT
        resolution = self.resolution or native.resolution
        if self.resolution is None and self.step is not None:
            resolution = min(resolution, SPEED_OF_LIGHT / (2 * pixel))
        return Sampling(
            wavelength,
            vacuum,
            native.gap,
            native.borrowed,
            unit == "kms",
            step,
            resolution,
            native.medium,
            self.file_frame,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values that JSON and TOML can hold; `from_mapping` reads them."""
        plain = dataclasses.asdict(self)
        return {key: value for key, value in plain.items() if key not in _LATER or value != _LATER[key]}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SimulationConfig:
        """From plain values, or from the texts of the command line ('5780:5990', 'rv,teff', 'sb2:0.01').

        A key `survey` stands for the settings of that name in SURVEYS, which other keys override.
        """
        if (survey := mapping.get("survey")) is not None:
            check_choice("survey", survey, tuple(SURVEYS))
            mapping = {**SURVEYS[survey], **{key: value for key, value in mapping.items() if key != "survey"}}
        known = [entry.name for entry in dataclasses.fields(cls)]
        for key in mapping:
            if key not in known:
                raise ConfigError(f"unknown simulation key {key!r}{nearest(key, known)}")
        try:
            return cls(**{key: _from_text(key, value) for key, value in mapping.items()})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"a value of the wrong kind in the simulation's settings: {error}") from error

    @classmethod
    def from_file(cls, path: str | Path) -> SimulationConfig:
        """From a TOML file whose keys are the fields (in a table [simulate], or at the top)."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
        return cls.from_mapping(content.get("simulate", content))


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' or the list of what is known."""
    return f"; {name_hint(word, known)}"


def _check(config: SimulationConfig) -> None:
    if config.spectra < 1:
        raise ConfigError(f"spectra is {config.spectra}; at least 1 is needed")
    if config.format not in NATIVE:
        raise ConfigError(f"format {config.format!r} is not known{nearest(config.format, NATIVE)}")
    check_choice("visits", config.visits, VISITS)
    check_choice("step_unit", config.step_unit, ("kms", "angstrom"))
    check_choice("berv", config.berv, BERV)
    for kind, names in (("factor", config.factors), ("nuisance", config.nuisances)):
        for name in names:
            if name not in FACTORS:
                raise ConfigError(f"{kind} {name!r} is not known{nearest(name, FACTORS)}")
        if len(set(names)) < len(names):
            raise ConfigError(f"a {kind} is named twice: {', '.join(names)}")
    if both := set(config.factors) & set(config.nuisances):
        raise ConfigError(f"{', '.join(sorted(both))}: factor and nuisance at once; name it in one place")
    _check_distributions(config)
    _check_pixels(config)
    _check_visits(config)
    for kind, share in config.oddities.items():
        if kind not in ODDITIES:
            raise ConfigError(f"oddity {kind!r} is not known{nearest(kind, ODDITIES)}")
        if not 0 <= share <= 1:
            raise ConfigError(f"oddity {kind!r} has a share of {share:g}; a number from 0 to 1 is needed")
    if (total := sum(config.oddities.values())) > 1 + 1e-9:
        raise ConfigError(f"the shares of the oddities add up to {total:g}, more than 1")
    if config.oddities.get("wronglabel") and (config.spectra < 2 or config.stars == 1):
        raise ConfigError("a wrong label needs another star to take it from; simulate at least 2 stars")
    if config.frame not in (None, NATIVE[config.format].frame) and (config.format, config.frame) != (
        "adp",
        "topocentric",
    ):
        raise ConfigError(
            f"format {config.format!r} comes {NATIVE[config.format].frame}, not {config.frame!r}; "
            "only 'adp' can be topocentric as well"
        )
    if NATIVE[config.format].frame == "rest" and "rv" in config.varying:
        raise ConfigError(
            f"{config.format!r} spectra are shifted to rest, so 'rv' cannot show in them; "
            "leave it out of factors"
        )


def _check_distributions(config: SimulationConfig) -> None:
    for name, text in config.distributions.items():
        if name not in FACTORS:
            raise ConfigError(f"distribution of {name!r}, which is no factor{nearest(name, FACTORS)}")
        if name not in config.varying and parse_distribution(text).varies:
            raise ConfigError(
                f"{name!r} has the distribution {text!r} but is neither in factors nor in nuisances; "
                "add it there, or give 'fixed:value'"
            )
    if config.snr is not None:
        if "snr" in config.distributions:
            raise ConfigError("snr and distributions['snr'] are both given; give one")
        if len(config.snr) != 2 or not 0 < config.snr[0] <= config.snr[1]:
            raise ConfigError(f"snr {config.snr} should be (low, high) with 0 < low <= high")
    for name, factor in FACTORS.items():
        (low, high), (least, most) = config.distribution(name).support, factor.bounds
        if math.isfinite(low) and math.isfinite(high) and not least <= low <= high <= most:
            raise ConfigError(
                f"{name} would run from {low:g} to {high:g} {factor.unit}; the simulator holds from "
                f"{least:g} to {most:g}"
            )


def _check_pixels(config: SimulationConfig) -> None:
    least, most = (edge * NATIVE[config.format].borrowed for edge in REACH)
    if config.window is not None and (
        len(config.window) != 2 or not least <= config.window[0] < config.window[1] <= most
    ):
        raise ConfigError(
            f"window {config.window} should be (low, high) angstrom between {least:g} and {most:g}, "
            f"where the simulator knows lines ({config.format})"
        )
    if config.step is not None and not 0 < config.step < 10_000:
        raise ConfigError(f"step {config.step} {config.step_unit}; a positive number is needed")
    if config.resolution is not None and not 100 <= config.resolution <= 500_000:
        raise ConfigError(f"resolution {config.resolution:g}; expected between 100 and 500,000")
    low, high = config.window or NATIVE[config.format].window
    reach = NATIVE[config.format].reach
    if reach and not reach[0] <= low < high <= reach[1]:
        raise ConfigError(
            f"window {low:g}:{high:g}; {config.format!r} files reach from {reach[0]:g} to {reach[1]:g} "
            "angstrom: give a part of that, or another format"
        )
    step, unit = config.pixel
    if (needed := ONLY_STEP.get(config.format, unit)) != unit:
        raise ConfigError(
            f"{config.format!r} files have pixels uniform in {'log ' if needed == 'kms' else ''}wavelength; "
            f"give step with step_unit {needed!r}, or another format"
        )
    pixels = (high - low) / step + 1
    if unit == "kms":
        pixels = math.log(high / low) / math.log1p(step / SPEED_OF_LIGHT) + 1
    if not 16 <= pixels <= 2_000_000:
        raise ConfigError(
            f"window {low:g}:{high:g} at {step:g} {unit} holds {pixels:,.0f} pixels; "
            "16 to 2,000,000 are possible"
        )


def _check_visits(config: SimulationConfig) -> None:
    if config.visits != "one" and config.format == "apstar":
        raise ConfigError("an 'apstar' file holds all visits of its star; use visits = 'one'")
    _check_series(config)
    if config.visits == "one":
        if config.stars is not None and config.stars != config.spectra:
            raise ConfigError(f"visits 'one' makes {config.spectra} stars, not stars = {config.stars}")
        return
    if config.stars is not None and not 1 <= config.stars <= config.spectra:
        raise ConfigError(
            f"stars = {config.stars}; 1 to {config.spectra}, the number of spectra, are possible"
        )
    if len(config.concentration) != 2 or not all(0 < share < 1 for share in config.concentration):
        raise ConfigError(f"concentration {config.concentration} should be two shares between 0 and 1")
    if config.concentration[0] < config.concentration[1]:
        raise ConfigError(
            f"concentration {config.concentration}: the most visited {config.concentration[1]:.0%} of the "
            f"stars cannot have only {config.concentration[0]:.0%} of the spectra"
        )


def _check_series(config: SimulationConfig) -> None:
    if config.berv != "given" and config.format == "apstar":
        raise ConfigError("an 'apstar' file is at rest and says so; berv can be left out of other formats")
    for name in ("nights", "orbit"):
        if getattr(config, name) is not None and config.visits != "series":
            raise ConfigError(f"{name} belongs to a series; add visits = 'series', or leave it out")
    if config.visits == "series" and "rv" not in config.varying and config.orbit is not None:
        raise ConfigError("an orbit moves the star; add 'rv' to the factors")
    if config.nights is not None and not 1 <= config.nights <= config.spectra:
        raise ConfigError(
            f"nights is {config.nights}; 1 to {config.spectra}, the number of spectra, are possible"
        )
    if (orbit := config.orbit) is None:
        return
    fine = 2 <= len(orbit) <= 4 and 0 <= orbit[0] <= 300 and orbit[1] > 0
    if not fine or (len(orbit) > 2 and not 0 <= orbit[2] < 0.95):
        raise ConfigError(
            f"orbit {orbit} should be (K, period[, eccentricity[, omega]]): 0 to 300 km/s, days above 0, "
            "0 to 0.95, degrees"
        )


def _from_text(key: str, value: Any) -> Any:
    """The value of a field from the text that the command line or a TOML file gives for it."""
    if not isinstance(value, str) or key in ("visits", "format", "frame", "step_unit", "berv", "reality"):
        return value
    try:
        if key in ("factors", "nuisances"):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        if key in ("window", "snr", "concentration", "orbit"):
            return tuple(float(part) for part in value.split(":"))
        if key == "oddities":
            pairs = [part.split(":") for part in value.split(",") if part.strip()]
            return {kind.strip(): float(share) for kind, share in pairs}
        if key == "distributions":
            return dict(part.split("=", 1) for part in value.split(",") if part.strip())
        number = float(value)
    except ValueError:
        raise ConfigError(f"{key} {value!r} cannot be read") from None
    whole = key in ("spectra", "seed", "lines_seed", "stars", "nights") and number.is_integer()
    return int(number) if whole else number
