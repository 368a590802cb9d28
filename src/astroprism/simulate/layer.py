"""One layer of a stellar atmosphere: pressures, ionisation and continuous opacity.

The whole line-forming region is represented by one temperature and one pressure. Formulas and
coefficients are those of Gray (2005, The Observation and Analysis of Stellar Photospheres, 3rd ed.):
Saha and Boltzmann in his chapter 1, continuous opacity in chapter 8, pressures after chapter 9.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOLTZMANN = 1.380649e-16  # erg/K
ELECTRONVOLT_LOG = 5039.78  # eV / k ln 10: theta = this / T
# Temperature of the layer over Teff: the grey atmosphere's at LAYER_DEPTH, chosen so that the balance of
# ionised and neutral lines in K dwarfs comes out right.
LAYER_TEMPERATURE = 0.93
LAYER_DEPTH = 0.33  # optical depth in the continuum at 5,000 angstrom
GRAMS_PER_HYDROGEN = 2.34e-24  # mass per hydrogen nucleus, helium included
HELIUM = 0.085  # nuclei per hydrogen nucleus
ALPHA_ELEMENTS = ("O", "Mg", "Si", "S", "Ca", "Ti")
# Hydrides: mass, the other atom, dissociation energy in eV (Sauval & Tatum 1984, ApJS 56, 193; rounded).
MOLECULES = {"CH": (13.0, "C", 3.47), "MgH": (25.3, "Mg", 1.27)}
# Electron donors in four lumps: ionisation energy (eV), nuclei per hydrogen nucleus, share of alpha elements.
DONORS = ((5.1, 1.9e-6, 0.0), (6.05, 5.0e-6, 0.45), (7.8, 1.07e-4, 0.68), (11.26, 2.7e-4, 0.0))


@dataclass(frozen=True)
class Elements:
    """Constants of the elements, arrays (e,) in the order of `name`.

    mass          atomic mass units
    abundance     log10 of nuclei per hydrogen nucleus, Sun
    ionisation    (2, e) eV
    partition     (3, e) partition functions at 5,040 K of the three stages
    slope         (3, e) their d log u / d log T
    """

    name: tuple[str, ...]
    mass: Array
    abundance: Array
    ionisation: Array
    partition: Array
    slope: Array


@functools.cache
def load_elements() -> Elements:
    """The elements of data/elements.csv."""
    text = files("astroprism").joinpath("data/elements.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if line and line[0] != "#"][1:]
    value = np.array([[float(cell) for cell in row[1:]] for row in rows]).T
    mass, abundance, chi1, chi2, u0, p0, u1, p1, u2 = value
    return Elements(
        name=tuple(row[0] for row in rows),
        mass=mass,
        abundance=abundance - 12.0,
        ionisation=np.stack([chi1, chi2]),
        partition=np.stack([u0, u1, u2]),
        slope=np.stack([p0, p1, np.zeros_like(p0)]),
    )


def species_index(species: str) -> tuple[int, int]:
    """(place among the elements and then the molecules, stage) of a name such as 'Fe II' or 'CH'."""
    names = [*load_elements().name, *MOLECULES]
    symbol, _, stage = species.partition(" ")
    return names.index(symbol), max(len(stage) - 1, 0)


def masses() -> Array:
    """Atomic mass units of the elements and then the molecules, (e + m,)."""
    return np.concatenate([load_elements().mass, [row[0] for row in MOLECULES.values()]])


@dataclass(frozen=True)
class Layer:
    """State of the layer of each of b stars; arrays (b,), cgs.

    theta       5040 / temperature
    electrons   electron pressure
    hydrogen    hydrogen nuclei per cubic centimetre
    neutral     share of hydrogen that is neutral
    """

    temperature: Array
    theta: Array
    electrons: Array
    hydrogen: Array
    neutral: Array

    def take(self, rows: NDArray[np.int64]) -> Layer:
        """The layers of the stars `rows`."""
        return Layer(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

    @property
    def electron_density(self) -> Array:
        """Electrons per cubic centimetre, (b,)."""
        return self.electrons / (BOLTZMANN * self.temperature)


def saha(temperature: Array, energy: float, ratio: float | Array) -> Array:
    """N(upper stage) / N(lower stage) times the electron pressure; ratio = u(upper) / u(lower)."""
    return np.asarray(
        0.6665 * ratio * temperature**2.5 * 10 ** np.maximum(-energy * ELECTRONVOLT_LOG / temperature, -250)
    )


def solve_layer(teff: Array, *, logg: Array, feh: Array, alpha: Array) -> Layer:
    """Pressures of stars from charge conservation and hydrostatic equilibrium; all arrays (b,).

    The gas pressure holds up the matter above that depth: Pg = 2 g tau / kappa (kappa rises
    with the pressure, hence the 2). Both sides depend on the electron pressure, found by bisection.
    """
    temperature = LAYER_TEMPERATURE * teff
    hydrogen_saha = saha(temperature, 13.6, 0.5)
    donors = [
        (10**feh * abundance * (1 - share + share * 10**alpha), saha(temperature, energy, 2.0))
        for energy, abundance, share in DONORS
    ]
    unit = _opacity_terms(np.array([5000.0]), temperature)
    weight = 10**logg * 2 * LAYER_DEPTH * GRAMS_PER_HYDROGEN

    def state(electrons: Array) -> tuple[Array, Array]:
        ionised = hydrogen_saha / (hydrogen_saha + electrons)
        per_hydrogen = ionised + sum(a * s / (s + electrons) for a, s in donors)
        gas = electrons * (1 + (1 + HELIUM) / per_hydrogen)
        opacity = (unit[0][0] * electrons + unit[1][0]) * (1 - ionised) + 6.65e-25 * per_hydrogen
        return gas * opacity - weight, electrons / (per_hydrogen * BOLTZMANN * temperature)

    low, high = np.full(teff.shape, -16.0), np.full(teff.shape, 20.0)  # ln of dyn/cm2
    for _ in range(40):
        middle = (low + high) / 2
        above = state(np.exp(middle))[0] > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    electrons = np.exp((low + high) / 2)
    return Layer(
        temperature=temperature,
        theta=ELECTRONVOLT_LOG / temperature,
        electrons=electrons,
        hydrogen=state(electrons)[1],
        neutral=electrons / (hydrogen_saha + electrons),
    )


def _opacity_terms(wavelength: Array, temperature: Array) -> tuple[Array, Array]:
    """Opacity per neutral hydrogen atom, cm2, as (per unit electron pressure, without it); (k, b) each."""
    x = np.asarray(wavelength, dtype=np.float64)[:, None]
    theta = ELECTRONVOLT_LOG / temperature[None, :]
    stimulated = 1 - 10 ** (-1.2398e4 / x * theta)
    # H- bound-free: Gray eq. 8.11 and 8.12 (fit to Wishart 1979), 10^-18 cm2; threshold at 16,400 A.
    bound = np.polynomial.polynomial.polyval(
        x, [1.99654, -1.18267e-5, 2.64243e-6, -4.40524e-10, 3.23992e-14, -1.39568e-18, 2.78701e-23]
    )
    h_minus = 4.158e-10 * 1e-18 * bound * theta**2.5 * 10 ** (0.754 * theta) * stimulated
    # H- free-free: Gray eq. 8.13 (fit to Bell & Berrington 1987), stimulated emission included.
    y, t = np.log10(x), np.log10(theta)
    f0 = -2.2763 - 1.6850 * y + 0.76661 * y**2 - 0.053346 * y**3
    f1 = 15.2827 - 9.2846 * y + 1.99381 * y**2 - 0.142631 * y**3
    f2 = -197.789 + 190.266 * y - 67.9775 * y**2 + 10.6913 * y**3 - 0.625151 * y**4
    h_minus = h_minus + 1e-26 * 10 ** (f0 + f1 * t + f2 * t**2)
    # Neutral hydrogen, bound-free from n = 3 upwards (and n = 2 below the Balmer edge), eq. 8.8, gaunt 1.
    kramers = 1.0449e-26 * x**3 * stimulated
    levels = np.zeros_like(h_minus)
    for n in range(2, 7):
        edge = 911.75 * n * n
        levels = levels + np.where(x < edge, 10 ** (-13.6 * (1 - 1 / n**2) * theta) / n**3, 0.0)
    tail = 0.4343 / (2 * theta * 13.6) * (10 ** (-13.6 * (1 - 1 / 49) * theta))
    return h_minus, kramers * (levels + tail)


def continuous_opacity(wavelength: Array, layer: Layer) -> Array:
    """Continuous absorption per hydrogen nucleus, cm2, without stimulated emission; (k, b)."""
    per_pressure, free = _opacity_terms(wavelength, layer.temperature)
    scattering = 6.65e-25 * layer.electron_density / layer.hydrogen
    return (per_pressure * layer.electrons + free) * layer.neutral + scattering


def populations(layer: Layer, *, feh: Array, alpha: Array) -> Array:
    """log10 of N(ion) / (N(hydrogen nuclei) u(ion)) for every stage and element, (3, e + m, b).

    Times g f 10^(-theta chi) it is the number of absorbers of a line (Boltzmann). Hydrogen and lithium
    do not follow [Fe/H]; the alpha elements follow [alpha/Fe] as well. The m molecules come last, as stage
    0 (and again as the others), up to a constant factor: their lines' log gf are drawn, not known.
    """
    elements = load_elements()
    log_t = np.log10(layer.temperature / 5040.0)
    log_u = np.log10(elements.partition)[:, :, None] + elements.slope[:, :, None] * log_t  # (3, e, b)
    exponent = -elements.ionisation[:, :, None] * layer.theta
    log_saha = np.log10(0.6665) + 2.5 * np.log10(layer.temperature) + log_u[1:] - log_u[:-1] + exponent
    first, second = 10 ** np.clip(log_saha - np.log10(layer.electrons), -60, 60)
    total = 1 + first * (1 + second)
    share = np.stack([1 / total, first / total, first * second / total])
    metal = np.array([name not in ("H", "Li") for name in elements.name], dtype=np.float64)
    enhanced = np.array([name in ALPHA_ELEMENTS for name in elements.name], dtype=np.float64)
    abundance = elements.abundance[:, None] + metal[:, None] * feh + enhanced[:, None] * alpha
    atoms = np.log10(np.maximum(share, 1e-80)) - log_u + abundance
    bound = []
    for _, partner, energy in MOLECULES.values():
        pressure = np.log10(layer.hydrogen * layer.neutral * BOLTZMANN * layer.temperature)
        free = np.log10(share[0, elements.name.index(partner)]) + abundance[elements.name.index(partner)]
        # The mass action law; the molecule's own partition function grows about as T^1.5.
        bound.append(free + pressure - 12.0 + energy * layer.theta - 1.5 * log_t)
    return np.concatenate([atoms, np.broadcast_to(np.stack(bound), (3, len(bound), len(log_t)))], axis=1)
