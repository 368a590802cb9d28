"""Line tables: the known lines of data/lines.csv, and a seeded forest of weak lines for the rest.

The forest's lines are drawn by the strength they would have in the Sun and by species and excitation;
log gf follows from these. So its look is right by construction in a star like the Sun, and physics
carries it to other stars.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from .layer import Array, Layer, continuous_opacity, masses, populations, solve_layer, species_index

MICROTURBULENCE = 1.2  # km/s
# Opacity of one layer to depth of a line formed over many: fits the solar equivalent widths of weak lines.
CALIBRATION = 0.6
FOREST_BIN = 10.0  # angstrom; each bin has its own seed, so that windows that overlap agree


@dataclass(frozen=True)
class LineTable:
    """Spectral lines, arrays (l,) sorted by wavelength.

    species     e.g. 'Fe I' (str)
    element     index in `load_elements()`
    stage       0 neutral, 1 singly ionised
    wavelength  vacuum angstrom
    excitation  of the lower level, eV
    loggf       log10 of statistical weight times oscillator strength
    damping     log10 of the van der Waals width per perturber at 10,000 K, s-1 cm3
    """

    species: NDArray[np.str_]
    element: NDArray[np.int64]
    stage: NDArray[np.int64]
    wavelength: Array
    excitation: Array
    loggf: Array
    damping: Array

    def __len__(self) -> int:
        return len(self.wavelength)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> LineTable:
        """The lines at `index` (positions or mask)."""
        return LineTable(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def window(self, low: float, high: float) -> LineTable:
        """The lines with low <= wavelength <= high, vacuum angstrom."""
        return self.take((self.wavelength >= low) & (self.wavelength <= high))


def make_table(
    species: NDArray[np.str_], wavelength: Array, *, excitation: Array, loggf: Array, damping: Array
) -> LineTable:
    """A sorted table; `species` are names such as 'Fe II' of elements in data/elements.csv."""
    order = np.argsort(wavelength, kind="stable")
    species = species[order]
    known = {name: species_index(str(name)) for name in np.unique(species)}
    pairs = np.array([known[name] for name in species], dtype=np.int64).reshape(-1, 2)
    return LineTable(
        species=species,
        element=pairs[:, 0],
        stage=pairs[:, 1],
        wavelength=wavelength[order],
        excitation=excitation[order],
        loggf=loggf[order],
        damping=damping[order],
    )


@functools.cache
def load_lines() -> LineTable:
    """The strong and well-known lines of data/lines.csv, 3700..10500 angstrom in vacuum."""
    return read_lines("lines.csv")


def read_lines(name: str) -> LineTable:
    """A table of lines in data/."""
    text = files("astroprism").joinpath(f"data/{name}").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if line and line[0] != "#"][1:]
    value = np.array([[float(cell) for cell in row[1:]] for row in rows]).T
    return make_table(
        np.array([row[0] for row in rows]), value[0], excitation=value[1], loggf=value[2], damping=value[3]
    )


def join(first: LineTable, second: LineTable) -> LineTable:
    """Both tables in one, sorted by wavelength."""
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in first.__dataclass_fields__
    }
    order = np.argsort(parts["wavelength"], kind="stable")
    return LineTable(**{name: value[order] for name, value in parts.items()})


def doppler_width(table: LineTable) -> Array:
    """Most probable velocity of the absorbers at 5,000 K with microturbulence, km/s, (l,)."""
    thermal = 0.12895**2 * 5000.0 / masses()[table.element]
    return np.asarray(np.sqrt(thermal + MICROTURBULENCE**2))


def static_strength(table: LineTable) -> Array:
    """What of log10 (line over continuous opacity at the centre) does not depend on the star, (l,).

    sqrt(pi) e2/(m c) = 0.01497 cm2/s times wavelength over Doppler width, times g f.
    """
    scale = 0.01497 * CALIBRATION * (table.wavelength * 1e-8) / (doppler_width(table) * 1e5)
    return np.asarray(np.log10(scale) + table.loggf)


def continuum_factor(wavelength: Array, layer: Layer) -> Array:
    """log10 of stimulated emission's factor over the continuous opacity, (k, b)."""
    stimulated = 1 - 10 ** (-1.2398e4 / wavelength[:, None] * layer.theta)
    return np.asarray(np.log10(stimulated / continuous_opacity(wavelength, layer)))


# species, share in the blue (4,000 A), share in the red (7,000 A), range of excitation in eV
_FOREST_MIX = (
    ("Fe I", 0.42, 0.46, 0.0, 5.0),
    ("Ti I", 0.08, 0.10, 0.0, 2.6),
    ("V I", 0.06, 0.04, 0.0, 2.4),
    ("Cr I", 0.09, 0.06, 0.9, 4.4),
    ("Co I", 0.06, 0.03, 0.4, 4.1),
    ("Ni I", 0.06, 0.10, 1.6, 5.0),
    ("Mn I", 0.04, 0.02, 2.0, 5.0),
    ("Ca I", 0.01, 0.02, 1.8, 4.7),
    ("Si I", 0.01, 0.08, 4.9, 6.3),
    ("Sc I", 0.01, 0.01, 0.0, 2.0),
    ("Fe II", 0.04, 0.03, 2.6, 5.8),
    ("Ti II", 0.04, 0.01, 0.1, 3.1),
    ("Cr II", 0.02, 0.01, 3.7, 6.4),
    ("Ce II", 0.02, 0.01, 0.0, 1.4),
    ("Nd II", 0.02, 0.01, 0.0, 1.4),
    ("Zr II", 0.01, 0.005, 0.1, 1.8),
    ("Y II", 0.01, 0.005, 0.1, 1.8),
)


# Bands of hydrides: name, low and high end (vacuum angstrom), lines an angstrom, least and greatest
# solar opacity, range of excitation. CH makes the G band, MgH the haze around the Mg b lines of K dwarfs.
_HYDRIDES = (
    ("CH", 4285.0, 4317.0, 6.0, 0.1, 3.0, 0.0, 0.8),
    ("CH", 4220.0, 4410.0, 0.8, 0.05, 1.0, 0.2, 1.5),
    ("MgH", 4950.0, 5100.0, 1.5, 0.01, 0.15, 0.0, 1.0),
    ("MgH", 5100.0, 5213.0, 3.5, 0.02, 0.30, 0.0, 1.0),
)
# Lines an angstrom, and the slope of N(> strength) ~ strength^-slope, by wavelength: towards the blue strong
# lines crowd. Set so that the counts of minima deeper than 5, 20 and 50 % agree with those that a K dwarf
# shows at R = 115,000.
_DENSITY = (
    (3800.0, 4200.0, 4500.0, 4900.0, 5300.0, 5800.0, 6500.0, 7000.0, 10500.0),
    (30.0, 24.0, 14.5, 10.5, 6.0, 4.0, 2.6, 2.0, 1.0),
)
_SLOPE = ((3800.0, 4100.0, 4500.0, 5000.0, 5500.0), (0.22, 0.35, 0.45, 0.52, 0.60))


def line_density(wavelength: Array | float) -> Array:
    """Forest lines an angstrom, hydrides apart, with a solar central opacity above 0.01."""
    return np.asarray(np.interp(wavelength, *_DENSITY))


def forest(window: tuple[float, float], seed: int) -> LineTable:
    """Seeded weak lines of `window` (low, high; vacuum angstrom), fainter than those of `load_lines`."""
    low, high = window
    bins = range(int(np.floor(low / FOREST_BIN)), int(np.ceil(high / FOREST_BIN)))
    drawn = [_forest_bin(number, seed) for number in bins]
    species, wavelength, excitation, strength = (np.concatenate(part) for part in zip(*drawn, strict=True))
    ion = np.char.endswith(species, " II")
    table = make_table(
        species,
        wavelength,
        excitation=excitation,
        loggf=strength,  # solar log10 opacity for now, carried along by the sorting
        damping=np.where(ion, -7.8, np.where(excitation > 3.5, -7.4, -7.7)),
    )
    sun = {"feh": np.zeros(1), "alpha": np.zeros(1)}
    layer = solve_layer(np.array([5777.0]), logg=np.array([4.44]), **sun)
    population = populations(layer, **sun)[table.stage, table.element, 0]
    continuum = continuum_factor(table.wavelength, layer)[:, 0]
    bare = LineTable(**{**table.__dict__, "loggf": np.zeros(len(table))})
    solar = static_strength(bare) - layer.theta[0] * table.excitation + population + continuum
    table = LineTable(**{**table.__dict__, "loggf": table.loggf - solar})
    return table.window(low, high)


def _forest_bin(number: int, seed: int) -> tuple[NDArray[np.str_], Array, Array, Array]:
    """Species, wavelength, excitation, log10 of solar central opacity of one bin's lines."""
    random = np.random.default_rng([seed, number])
    start = number * FOREST_BIN
    count = int(random.poisson(float(line_density(start + FOREST_BIN / 2)) * FOREST_BIN))
    wavelength = start + FOREST_BIN * random.random(count)
    red = np.clip((start - 4000.0) / 3000.0, 0.0, 1.0)
    share = np.array([(1 - red) * row[1] + red * row[2] for row in _FOREST_MIX])
    kind = random.choice(len(_FOREST_MIX), size=count, p=share / share.sum())
    bottom, top = np.array([row[3] for row in _FOREST_MIX]), np.array([row[4] for row in _FOREST_MIX])
    # More levels lie high than low (statistical weights), hence the square root.
    excitation = bottom[kind] + (top - bottom)[kind] * np.sqrt(random.random(count))
    ceiling = 5.0 + 55.0 * (1 - red) ** 3
    slope = float(np.interp(start, *_SLOPE))
    quantile = random.random(count) * (1 - (0.01 / ceiling) ** slope)
    strength = np.log10(0.01 * (1 - quantile) ** (-1 / slope))
    species = np.array([row[0] for row in _FOREST_MIX])[kind]
    parts = [(species, wavelength, excitation, strength)]
    for place, (name, left, right, density, least, greatest, foot, head) in enumerate(_HYDRIDES):
        if right <= start or left >= start + FOREST_BIN:
            continue
        random = np.random.default_rng([seed, number, place + 1])
        count = int(random.poisson(density * FOREST_BIN))
        wavelength = start + FOREST_BIN * random.random(count)
        excitation = foot + (head - foot) * random.random(count)
        strength = np.log10(least) + np.log10(greatest / least) * random.random(count)
        inside = (wavelength > left) & (wavelength < right)
        names = np.full(int(inside.sum()), name)
        parts.append((names, wavelength[inside], excitation[inside], strength[inside]))
    species, wavelength, excitation, strength = (np.concatenate(part) for part in zip(*parts, strict=True))
    return species, wavelength, excitation, strength
