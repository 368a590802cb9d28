"""Noiseless spectra of stars through the atmosphere, many at a time.

    noiseless = continuum x instrument x LSF * [(1 - shifted, rotated line depth) x transmission]

The star's lines are worked out at rest on an internal grid uniform in log wavelength, rotated and shifted in
Fourier space, multiplied by the atmosphere's transmission and only then smoothed by the instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT, doppler_factor
from .broadening import (
    Float,
    RotationTable,
    edge,
    internal_grid,
    interpolation,
    macroturbulence,
    phase_ramp,
    smooth_basis,
    wing_profile,
)
from .layer import Array, solve_layer
from .linelist import forest, join, load_lines
from .profiles import Conditions, make_profiles
from .sky import ShiftableSky

# What a parameter is where none is given. Units: see Synthesiser.noiseless.
DEFAULTS: dict[str, float] = {
    "rv": 0.0,
    "teff": 5777.0,
    "feh": 0.0,
    "logg": 4.44,
    "alpha": 0.0,
    "activity": 0.0,
    "vsini": 2.0,
    "water": 3.0,
    "airmass": 1.2,
    "tilt": 0.0,
    "berv": 0.0,
    "blaze": 0.0,
    "lsf": 1.0,
    "wing": 0.0,
}
# What the formulas were looked at for; outside, a parameter is refused.
LIMITS: dict[str, tuple[float, float]] = {
    "rv": (-500.0, 500.0),
    "teff": (3300.0, 12000.0),
    "feh": (-5.0, 1.0),
    "logg": (0.0, 5.5),
    "alpha": (-1.0, 1.0),
    "activity": (0.0, 10.0),
    "vsini": (0.0, 400.0),
    "water": (0.0, 100.0),
    "airmass": (0.0, 10.0),
    "tilt": (-1.5, 1.5),
    "berv": (-100.0, 100.0),
    "blaze": (0.0, 0.5),
    "lsf": (0.7, 2.0),
    "wing": (0.0, 0.6),
}
_SURFACE = 0.65  # temperature of the outermost layer over Teff: sets how deep a saturated line goes
_CHUNK_BYTES = 700_000  # of one array: what a processor's cache holds
# Chromospheric emission: vacuum angstrom, standard deviation in km/s, height at activity 1 and 5,000 K.
_EMISSION = ((3934.78, 13.0, 1.60), (3969.59, 13.0, 1.45), (6564.61, 25.0, 0.12), (8544.44, 16.0, 0.10))
_ECHELLE = 590_000.0  # angstrom: order number times central wavelength, HARPS-like


class Synthesiser:
    """Spectra at given pixels from stellar, atmospheric and instrumental parameters.

    wavelength  (n,) observed pixel centres, vacuum angstrom, increasing, within 3,700..10,500
    resolution  lambda over full width at half maximum of the instrument's Gaussian profile
    seed        of the forest of weak lines and of the blaze's ripples
    """

    def __init__(self, wavelength: Array, *, resolution: float, seed: int = 0) -> None:
        from scipy.fft import rfftfreq

        self.wavelength = np.asarray(wavelength, dtype=np.float64)
        self.grid = grid = internal_grid(self.wavelength, resolution)
        fine = grid.fine
        low, high = float(np.exp(fine[0])), float(np.exp(fine[-1]))
        # Wings reach into the window from up to 9,000 km/s away (hydrogen's), as profiles.py has it.
        known = load_lines().window(low * 0.97, high * 1.03)
        self.lines = join(known, forest((low, high), seed))
        self._profiles = make_profiles(self.lines, fine)
        self._emission = _emission_profiles(fine)
        self._saturation = smooth_basis(np.exp(fine), 6)
        self._edge = edge(grid.fine_size)
        self._frequency = rfftfreq(grid.fine_size).astype(np.float32)  # cycles per pixel of the opacity grid
        kept = self._frequency[: grid.size // 2 + 1] * grid.fold  # the instrument passes no more than these
        lsf = np.exp(-2 * (np.pi * grid.lsf * kept) ** 2) * np.sinc(grid.box * kept) / grid.fold
        self._lsf: Float = lsf.astype(np.float32)
        self._kept = kept
        self._box = (np.sinc(grid.box * kept) / grid.fold).astype(np.float32)
        self._kms = grid.fine_step * SPEED_OF_LIGHT
        self._rotation = RotationTable(np.pi * LIMITS["vsini"][1] / self._kms)
        self._sky = ShiftableSky(grid, LIMITS["berv"][1])
        self._output = None if grid.every else interpolation(self.wavelength, grid)
        self._continuum = smooth_basis(self.wavelength, 8)
        self._wiggles = _wiggles(self.wavelength, seed)
        span = float(np.ptp(self.wavelength))
        self._slope = ((self.wavelength - self.wavelength.mean()) / span).astype(np.float32)
        rows = _CHUNK_BYTES // (4 * grid.fine_size)
        self._chunk = int(np.clip(rows // 8 * 8, 8, 64))

    def noiseless(self, parameters: Mapping[str, Array]) -> Float:
        """Flux of stars through the atmosphere and the instrument, barycentric frame, (b, n).

        Of order 1 at its median. `parameters` are arrays (b,): rv (km/s), teff (K), feh, logg, alpha
        (dex), activity (0..1), vsini (km/s), water (mm), airmass, tilt (relative slope across the
        window), berv (km/s: the atmosphere appears at wavelength * (1 + berv / c)), blaze (amplitude of
        ripples), lsf (width of the instrument's profile over that of `resolution`), wing (share of its light
        in wings). Missing ones are DEFAULTS.
        """
        flux = self._in_chunks(_complete(parameters), star=True, sky=True)
        flux *= self.instrument(parameters)
        return flux

    def star(self, parameters: Mapping[str, Array]) -> Float:
        """The star alone, smoothed by the instrument, (b, n)."""
        return self._in_chunks(_complete(parameters), star=True, sky=False)

    def atmosphere(self, parameters: Mapping[str, Array]) -> Float:
        """Transmission of the Earth's atmosphere alone, smoothed by the instrument, (b, n)."""
        return self._in_chunks(_complete(parameters), star=False, sky=True)

    def instrument(self, parameters: Mapping[str, Array]) -> Float:
        """Tilt and blaze residuals, (b, n)."""
        values = _complete(parameters)
        tilt, blaze = (values[name].astype(np.float32)[:, None] for name in ("tilt", "blaze"))
        return np.asarray((1 + tilt * self._slope) * (1 + blaze * self._wiggles))

    def _planck(self, teff: Array, rv: Array) -> Float:
        """Continuum of the star, of mean 1 over the window at rest, moved by rv, (b, n)."""
        nodes = self._continuum.nodes
        level = planck(nodes, teff[:, None]).mean(axis=1)
        value = planck(nodes / doppler_factor(rv)[:, None], teff[:, None]) / level[:, None]
        return np.asarray(value.astype(np.float32) @ self._continuum.matrix.T)

    def _in_chunks(self, values: dict[str, Array], *, star: bool, sky: bool) -> Float:
        """Flux (b, n) without the instrument, in chunks of a fixed size: no value depends on the batch's."""
        count = len(values["rv"])
        flux = np.empty((count, len(self.wavelength)), dtype=np.float32)
        conditions = None
        if star:
            feh, alpha = values["feh"], values["alpha"]
            layer = solve_layer(values["teff"], logg=values["logg"], feh=feh, alpha=alpha)
            conditions = self._profiles.strengths.conditions(layer, feh=feh, alpha=alpha)
        for first in range(0, count, self._chunk):
            rows = np.minimum(np.arange(first, first + self._chunk), count - 1)
            part = {name: value[rows] for name, value in values.items()}
            loss = self._loss(part, conditions and conditions.take(rows), sky=sky and bool(self._sky))
            kept = flux[first : first + self._chunk]
            if self._output is None:
                last = self.grid.margin + self.grid.every * (flux.shape[1] - 1) + 1
                np.subtract(1, loss[: len(kept), self.grid.margin : last : self.grid.every], out=kept)
            else:
                np.subtract(1, (self._output @ loss.T).T[: len(kept)], out=kept)
            if star:
                kept *= self._planck(part["teff"], part["rv"])[: len(kept)]
        return flux

    def _loss(self, values: dict[str, Array], conditions: Conditions | None, *, sky: bool) -> Float:
        """What star (if its conditions are given) and sky take from the continuum, smoothed, (b, size).

        Star and sky meet on the opacity grid; of their product's Fourier transform only the frequencies are
        kept that the instrument passes.
        """
        from scipy.fft import irfft, rfft

        size, fine, kept = self.grid.size, self.grid.fine_size, len(self._lsf)
        if conditions is None and not sky:
            return np.zeros((len(values["rv"]), size), dtype=np.float32)
        if conditions is None:
            loss = np.zeros((len(values["rv"]), fine), dtype=np.float32)
        else:
            spectrum = rfft(self._rest_depth(values, conditions), axis=1)
            if not sky:
                spectrum = spectrum[:, :kept]
            spectrum *= self._star_kernel(values, spectrum.shape[1])
            if sky:
                loss = irfft(spectrum, n=fine, axis=1, overwrite_x=True)
        if sky:
            # 1 - (1 - depth) transmission, kept as a loss so that it vanishes at both ends
            transmission = self._transmission(values)
            loss -= 1
            loss *= transmission
            loss += 1
            loss *= self._edge
            spectrum = rfft(loss, axis=1)[:, :kept]
        return np.asarray(irfft(spectrum * self._instrument_kernel(values), n=size, axis=1, overwrite_x=True))

    def _instrument_kernel(self, values: dict[str, Array]) -> Float:
        """Transfer of instrument and pixel at the frequencies kept, (f,), or (b, f) where profiles differ."""
        lsf, wing = values["lsf"], values["wing"]
        if np.all(lsf == 1) and not wing.any():
            return self._lsf
        profile = wing_profile(self._kept, width=self.grid.lsf, lsf=lsf, wing=wing)
        return np.asarray(profile * self._box)

    def _rest_depth(self, values: dict[str, Array], conditions: Conditions) -> Float:
        """Line depth in the star's frame, unrotated, (b, fine), vanishing at both ends."""
        opacity = self._profiles.matrix @ self._profiles.columns(conditions)  # (fine, b)
        # Weak lines are as deep as they are opaque, saturated ones d: depth = d (1 - (1 + 2 x / d)^-1/2).
        # The square root, slower than Minnaert's d x / (x + d), is the outward fall of the temperature:
        # it gives strong lines the straight flanks and sharp cores that they have.
        deepest = self._saturation.matrix @ _saturated_depth(self._saturation.nodes, values["teff"])
        depth = opacity
        depth *= 2
        depth /= deepest
        depth += 1
        np.sqrt(depth, out=depth)
        np.divide(-1, depth, out=depth)
        depth += 1
        depth *= deepest
        if self._emission is not None:
            depth -= self._emission.matrix @ self._emission.height(values["activity"], values["teff"])
        return np.ascontiguousarray(depth.T) * self._edge

    def _star_kernel(self, values: dict[str, Array], count: int) -> NDArray[np.complex64]:
        """Rotation, macroturbulence and Doppler shift at the `count` lowest frequencies, (b, count)."""
        frequency = self._frequency[:count]
        radius = (2 * np.pi * values["vsini"] / self._kms).astype(np.float32)
        kernel = self._rotation(radius[:, None] * frequency)
        width = macroturbulence(values["teff"], values["logg"]) / self._kms
        kernel *= np.exp((-2 * (np.pi * width) ** 2).astype(np.float32)[:, None] * frequency**2)
        shift = np.log(doppler_factor(values["rv"])) / self.grid.fine_step
        return np.asarray(phase_ramp(shift, size=self.grid.fine_size, count=count) * kernel)

    def _transmission(self, values: dict[str, Array]) -> Float:
        """The atmosphere on the opacity grid, moved by berv, (b, fine)."""
        shift = np.log1p(values["berv"] / SPEED_OF_LIGHT) / self.grid.fine_step
        water = values["airmass"] * values["water"]
        return self._sky.transmission(shift, oxygen=values["airmass"], water=water)


def planck(wavelength: Array, temperature: Array) -> Array:
    """Planck's law per wavelength, arbitrary unit; angstrom, K; shapes broadcast."""
    x = 1.438777e8 / (wavelength * temperature)
    return np.asarray((5000.0 / wavelength) ** 5 / np.expm1(x))


def _saturated_depth(wavelength: Array, teff: Array) -> Float:
    """Depth of a line so strong that only the outermost layer shows in it, (k, b)."""
    surface = planck(wavelength[:, None], _SURFACE * teff)
    return np.asarray(1 - surface / planck(wavelength[:, None], teff)).astype(np.float32)


@dataclass(frozen=True)
class _Emission:
    """Chromospheric emission lines: CSR matrix (fine, k) of unit height, their wavelengths and heights."""

    matrix: Any
    wavelength: Array
    unit: Array

    def height(self, activity: Array, teff: Array) -> Float:
        """Height over the continuum, (k, b): a share of the star's output, so more contrast when cool."""
        contrast = teff**4 / planck(self.wavelength[:, None], teff)
        contrast = contrast / (5000.0**4 / planck(self.wavelength[:, None], np.array([5000.0])))
        return np.asarray(self.unit[:, None] * activity * contrast).astype(np.float32)


def _emission_profiles(fine: Array) -> _Emission | None:
    """Emission lines that fall on the grid, or None."""
    from scipy.sparse import csr_matrix

    inside = [row for row in _EMISSION if fine[0] < np.log(row[0]) < fine[-1]]
    if not inside:
        return None
    wavelength, width, height = np.array(inside).T
    velocity = (fine[:, None] - np.log(wavelength)) * SPEED_OF_LIGHT
    profile = np.exp(-0.5 * (velocity / width) ** 2)
    profile[profile < 1e-5] = 0
    return _Emission(csr_matrix(profile.astype(np.float32)), wavelength, height)


def _wiggles(wavelength: Array, seed: int) -> Float:
    """What an imperfect blaze correction leaves: ripples with the period of the orders, amplitude 1, (n,)."""
    random = np.random.default_rng([seed, 1])
    order = 2 * np.pi * _ECHELLE / wavelength
    first, second, drift = 2 * np.pi * random.random(3)
    ripple = np.sin(order + first) + 0.4 * np.sin(2 * order + second) + 0.5 * np.sin(order / 7 + drift)
    return np.asarray(ripple / np.abs(ripple).max()).astype(np.float32)


def _complete(parameters: Mapping[str, Array]) -> dict[str, Array]:
    """All parameters as float64 arrays (b,), checked."""
    unknown = sorted(set(parameters) - set(DEFAULTS))
    if unknown:
        raise ConfigError(f"unknown parameter {unknown[0]!r}; known: {', '.join(DEFAULTS)}")
    given = {name: np.atleast_1d(np.asarray(value, dtype=np.float64)) for name, value in parameters.items()}
    counts = {len(value) for value in given.values()} or {1}
    if len(counts) > 1 or any(value.ndim != 1 for value in given.values()):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
        raise ConfigError(f"parameters must be lists of one length; met {shapes}")
    count = counts.pop()
    for name, value in given.items():
        low, high = LIMITS[name]
        bad = value[~((value >= low) & (value <= high))]
        if bad.size:
            raise ConfigError(f"{name} = {bad[0]:g}; the simulator takes {low:g} to {high:g}")
    return {name: given.get(name, np.full(count, value)) for name, value in DEFAULTS.items()}
