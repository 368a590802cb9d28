"""Line profiles on a grid uniform in log wavelength, as one sparse matrix.

Opacity of a star over its continuum = matrix (pixels, rows) @ strengths (rows, stars). A Voigt profile
to first order in its damping a is H0(u) + a H1(u) (Mihalas 1978, Stellar Atmospheres, eq. 9-44), so a line
has a row for its Doppler core and, if strong, another for its wings; hydrogen has a third, the wings
that the Stark effect of the plasma's charges gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT
from .layer import Array, Layer, populations, solve_layer
from .linelist import LineTable, continuum_factor, doppler_width, static_strength

CORE, DAMPING, STARK = 0, 1, 2
# A profile is followed until its opacity falls below this share of the continuum's in any star.
FAINTEST = 2e-3
_REACH = 5_000.0  # km/s; no wing goes further
_STARK_REACH = 9_000.0
_STARK_UNIT = 1e13  # electrons per cubic centimetre that a Stark row is written for
_STARK_CORE = 0.35  # angstrom; inside it, the field's distribution no longer falls as a power law
# The Balmer lines form deeper than metal lines, where it is hotter: as if their lower level lay lower by this
# factor. And the Stark wing of the cooler layer above that is the less, by the other.
_HYDROGEN_DEPTH = 0.95
_STARK_SHARE = 0.2
_NODES = 24  # wavelengths at which the continuous opacity is worked out
# Stars that bound the parameters: every line is as strong as in the worst of them.
_BOUNDS = np.array(
    [
        (t, g, f)
        for t in (3500.0, 4500.0, 5500.0, 6500.0, 8000.0, 10000.0)
        for g in (1.0, 4.5)
        for f in (-1, 0.5)
    ]
)


@dataclass(frozen=True)
class Conditions:
    """What line strengths need to know of b stars.

    layer       their line-forming layers
    continuum   log10 of 1 / continuous opacity at the nodes of a `Strengths`, (k, b)
    population  log10 of ions over partition functions, (3, e + m, b)
    """

    layer: Layer
    continuum: NDArray[np.float32]
    population: NDArray[np.float32]

    def take(self, rows: NDArray[np.int64]) -> Conditions:
        """Those of the stars `rows`."""
        return Conditions(self.layer.take(rows), self.continuum[:, rows], self.population[:, :, rows])


@dataclass(frozen=True)
class Strengths:
    """Central line opacity over continuous opacity, as a function of the layer.

    table   the lines (l,)
    static  what does not depend on the star, log10 (l,)
    node    index of the continuum node left of each line (l,), share that of the node to its right
    nodes   their wavelengths, vacuum angstrom
    """

    table: LineTable
    static: Array
    node: NDArray[np.int64]
    share: Array
    nodes: Array

    def conditions(self, layer: Layer, *, feh: Array, alpha: Array) -> Conditions:
        """Conditions of stars with these layers and abundances, arrays (b,)."""
        return Conditions(
            layer=layer,
            continuum=continuum_factor(self.nodes, layer).astype(np.float32),
            population=populations(layer, feh=feh, alpha=alpha).astype(np.float32),
        )

    def __call__(self, conditions: Conditions) -> NDArray[np.float32]:
        """Strength of every line in every star, (l, b)."""
        table = self.table
        log = conditions.population[table.stage, table.element]
        excitation = table.excitation * np.where(table.species == "H I", _HYDROGEN_DEPTH, 1.0)
        log -= excitation[:, None].astype(np.float32) * conditions.layer.theta.astype(np.float32)
        log += self.static[:, None].astype(np.float32)
        right = self.share[:, None].astype(np.float32)
        log += conditions.continuum[self.node] * (1 - right)
        log += conditions.continuum[self.node + 1] * right
        np.minimum(log, np.float32(30.0), out=log)
        log *= np.float32(np.log(10.0))
        return np.asarray(np.exp(log, out=log))


def make_strengths(table: LineTable) -> Strengths:
    """Strengths of the lines of `table`."""
    low, high = table.wavelength[0] - 1.0, table.wavelength[-1] + 1.0
    nodes = np.geomspace(low, high, _NODES)
    node = np.clip(np.searchsorted(nodes, table.wavelength, side="right") - 1, 0, _NODES - 2)
    share = (table.wavelength - nodes[node]) / (nodes[node + 1] - nodes[node])
    return Strengths(table, static_strength(table), node, share, nodes)


def damping_parameter(table: LineTable, layer: Layer) -> NDArray[np.float32]:
    """Voigt parameter a of every line in every star, (l, b): radiation and collisions with H and He."""
    collisions = 1.3 * layer.hydrogen * layer.neutral * (layer.temperature / 1e4) ** 0.3
    gamma = 1e8 + 10 ** table.damping[:, None] * collisions
    scale = table.wavelength * 1e-13 / (4 * np.pi * doppler_width(table))
    return np.minimum(gamma * scale[:, None], 0.5).astype(np.float32)


@dataclass(frozen=True)
class Profiles:
    """The matrix and what its columns stand for.

    matrix     scipy CSR (n, r), float32
    strengths  of the lines kept
    wings      lines with a damping column, indices (w,); stark: with a Stark column (s,)
    """

    matrix: Any
    strengths: Strengths
    wings: NDArray[np.int64]
    stark: NDArray[np.int64]

    def columns(self, conditions: Conditions) -> NDArray[np.float32]:
        """Strength of every column of the matrix in every star, (r, b)."""
        core = self.strengths(conditions)
        wing = core[self.wings] * damping_parameter(self.strengths.table.take(self.wings), conditions.layer)
        density = conditions.layer.electron_density / _STARK_UNIT
        return np.concatenate([core, wing, core[self.stark] * density.astype(np.float32)])


def make_profiles(table: LineTable, log_wavelength: Array) -> Profiles:
    """Profiles of the lines of `table` at `log_wavelength`, natural logarithm, uniform, (n,)."""
    from scipy.sparse import coo_matrix

    bounds = _BOUNDS.T
    feh, alpha = bounds[2], np.full(len(_BOUNDS), 0.4)
    layer = solve_layer(bounds[0], logg=bounds[1], feh=feh, alpha=alpha)
    strengths = make_strengths(table)
    greatest = strengths(strengths.conditions(layer, feh=feh, alpha=alpha))
    table = table.take(greatest.max(axis=1) > FAINTEST / 2)
    strengths = make_strengths(table)
    core = strengths(strengths.conditions(layer, feh=feh, alpha=alpha))
    wing = (core * damping_parameter(table, layer)).max(axis=1)
    hydrogen = table.species == "H I"
    # a H1(u) ~ a / (sqrt(pi) u2): a wing that is faint already where the core ends needs no column.
    wings = np.flatnonzero(wing / (np.sqrt(np.pi) * 16) > FAINTEST)
    stark = np.flatnonzero(hydrogen)
    width = doppler_width(table)
    width[hydrogen] = 9.5  # hydrogen atoms are fast, and warm stars show them best
    step = float(log_wavelength[1] - log_wavelength[0])
    start, size = float(log_wavelength[0]), len(log_wavelength)
    centre = np.log(table.wavelength)

    def patch(lines: NDArray[np.int64], reach: Array) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
        """Velocity (km/s), pixel and number in `lines` of every pixel within reach (km/s) of its line."""
        offset = reach / SPEED_OF_LIGHT
        first = np.clip(np.ceil((centre[lines] - offset - start) / step), 0, size).astype(np.int64)
        last = np.clip(np.floor((centre[lines] + offset - start) / step) + 1, 0, size).astype(np.int64)
        count = np.maximum(last - first, 0)
        number = np.repeat(np.arange(len(lines)), count)
        pixel = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
        velocity = (start + step * pixel - centre[lines][number]) * SPEED_OF_LIGHT
        return velocity, pixel, number

    parts = []
    everything = np.arange(len(table))
    reach = width * np.sqrt(np.log(np.maximum(core.max(axis=1), 10 * FAINTEST) / (FAINTEST / 10)))
    velocity, pixel, number = patch(everything, reach)
    parts.append((np.exp(-((velocity / width[number]) ** 2)), pixel, number))

    reach = width[wings] * np.sqrt(wing[wings] / (np.sqrt(np.pi) * FAINTEST))
    reach = np.minimum(reach * 1.5, _REACH)
    velocity, pixel, number = patch(wings, reach)
    edge = (1 - (velocity / reach[number]) ** 2) ** 2
    parts.append((_first_order(velocity / width[wings][number]) * edge, pixel, number + len(table)))

    velocity, pixel, number = patch(stark, np.full(len(stark), _STARK_REACH))
    edge = (1 - (velocity / _STARK_REACH) ** 2) ** 2
    profile = _stark(table.wavelength[stark], velocity, number) * edge
    parts.append((profile, pixel, number + len(table) + len(wings)))

    value, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    shape = (size, len(table) + len(wings) + len(stark))
    matrix = coo_matrix((value.astype(np.float32), (row, column)), shape=shape).tocsr()
    return Profiles(matrix, strengths, wings, stark)


def _first_order(u: Array) -> Array:
    """H1(u), the part of the Voigt profile that goes with a: 1 / (sqrt(pi) u2) far out."""
    from scipy.special import dawsn

    return np.asarray(-2 / np.sqrt(np.pi) * (1 - 2 * u * dawsn(u)))


def _stark(wavelength: Array, velocity: Array, number: NDArray[np.int64]) -> Array:
    """Stark wings of hydrogen lines in units of their Doppler core, at 1e13 electrons/cm3.

    Quasi-static wing of Holtsmark's field distribution, ions and electrons alike (Gray 2005, ch. 11): a
    component of Stark coefficient C (angstrom per unit field) falls as 1.5 (C F0)^1.5 / d^2.5 at d angstrom
    from the centre, F0 = 1.25e-9 Ne^(2/3). C = 0.01918 cm-1 k n^2 with n the upper level and k a mean over
    the components, from the relative wing constants of the Balmer lines of Unsoeld (1955, Physik der
    Sternatmosphaeren): H alpha's strongest components are little displaced.
    """
    lower = np.where(wavelength > 7500, 3.0, 2.0)
    upper = np.round(1 / np.sqrt(np.maximum(1 / lower**2 - 911.75 / wavelength, 1e-3)))
    mean = np.where(lower == 2, np.interp(upper, (3, 4, 5, 6), (0.19, 0.39, 0.44, 0.46)), 0.4)
    coefficient = 0.01918e-8 * wavelength**2 * mean * upper**2  # angstrom per statvolt/cm
    wing = (
        _STARK_SHARE * 1.5 * coefficient**1.5 * (1.25e-9) ** 1.5 * _STARK_UNIT
    )  # both sides' components share it
    doppler = wavelength * 9.5 / SPEED_OF_LIGHT
    distance = wavelength[number] * velocity / SPEED_OF_LIGHT
    profile = (np.sqrt(np.pi) * doppler * wing)[number] * (distance**2 + _STARK_CORE**2) ** -1.25
    return np.asarray(profile)
