"""The internal grid of the synthesiser, and what broadens and shifts lines on it in Fourier space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT
from .layer import Array

Float = NDArray[np.float32]

MARGIN = 650.0  # km/s of spectrum made beyond either end, for lines that rv and vsini bring in
SMOOTH = 1.3  # internal pixels per standard deviation of the instrument profile: 2e-4 left at Nyquist
FINEST = 1.3  # km/s; pixels in which line opacity is worked out, narrower than any line
FWHM = math.sqrt(8 * math.log(2))  # full width at half maximum of a Gaussian over its standard deviation
_TAPS = 8  # points of the interpolation from internal to output pixels
LIMB_DARKENING = 0.6  # linear coefficient, a solar-type star in the visible (Gray 2005, ch. 18)
_TABLE_STEP = 0.02
_WING = 2.5  # width of the wings of the instrument's profile over that of its core
_PHASE_BLOCK = 64


@dataclass(frozen=True)
class InternalGrid:
    """The internal grid: `size` smoothed pixels, and `fold` times as many of opacity, before smoothing.

    start   log wavelength (natural) of the first pixel's centre
    step    pixel width, natural logarithm
    margin  pixels before the first output pixel
    every   output pixels lie on every `every`-th pixel from `margin` on; 0 where they do not
    lsf     standard deviation of the instrument profile, pixels
    box     width of an output pixel, pixels
    """

    start: float
    step: float
    size: int
    fold: int
    margin: int
    every: int
    lsf: float
    box: float

    @property
    def fine_size(self) -> int:
        """Pixels of the opacity grid."""
        return self.size * self.fold

    @property
    def fine_step(self) -> float:
        """Their width, natural logarithm."""
        return self.step / self.fold

    @property
    def fine(self) -> Array:
        """Log wavelength of the opacity grid, (size * fold,)."""
        return np.asarray(self.start + self.fine_step * np.arange(self.fine_size))


def internal_grid(wavelength: Array, resolution: float) -> InternalGrid:
    """The internal grid for output pixels at `wavelength` (n,), vacuum angstrom, at `resolution`.

    As coarse as the instrument profile together with the output pixel allows; where output pixels are uniform
    in log wavelength, a whole fraction of them, so that no interpolation is needed.
    """
    from scipy.fft import next_fast_len

    check_wavelength(wavelength)
    if not 100 <= resolution <= 500_000:
        raise ConfigError(f"resolution {resolution!r} is not a number from 100 to 500,000")
    log = np.log(wavelength)
    pixel = float(log[-1] - log[0]) / (len(log) - 1)
    uniform = bool(np.abs(log - (log[0] + pixel * np.arange(len(log)))).max() < 0.01 * pixel)
    lsf = 1 / (resolution * FWHM)
    step = math.sqrt(lsf**2 + pixel**2 / 12) / SMOOTH
    every = 0
    if uniform:
        every = max(1, math.ceil(pixel / step - 1e-9))
        step = pixel / every
    fold = max(1, math.ceil(step * SPEED_OF_LIGHT / FINEST - 1e-9))
    margin = math.ceil((MARGIN / SPEED_OF_LIGHT + 6 * lsf) / step) + _TAPS
    span = math.ceil((log[-1] - log[0]) / step) + 1
    return InternalGrid(
        start=float(log[0]) - margin * step,
        step=step,
        size=int(next_fast_len(span + 2 * margin, real=True)),
        fold=fold,
        margin=margin,
        every=every,
        lsf=lsf / step,
        box=pixel / step,
    )


def check_wavelength(wavelength: Array) -> None:
    """Refuse pixels that the line lists do not reach, or that are not increasing."""
    if wavelength.ndim != 1 or len(wavelength) < 16:
        raise ConfigError(f"wavelengths of shape {wavelength.shape}; a list of at least 16 is needed")
    if not (np.isfinite(wavelength).all() and (np.diff(wavelength) > 0).all()):
        raise ConfigError("wavelengths must be finite and increasing; sort them first")
    if wavelength[0] < 3700 or wavelength[-1] > 10500:
        raise ConfigError(
            f"wavelengths {wavelength[0]:.1f}..{wavelength[-1]:.1f} angstrom; the simulator knows 3700..10500"
        )


def edge(size: int) -> Float:
    """Weights (size,): 1, falling smoothly to 0 at both ends, so that the Fourier period has no step."""
    width = min(32, size // 8)
    ramp = np.sin(np.pi / 2 * (np.arange(width) + 0.5) / width) ** 2
    weights = np.ones(size, dtype=np.float32)
    weights[:width] = ramp
    weights[-width:] = ramp[::-1]
    return weights


def interpolation(wavelength: Array, grid: InternalGrid) -> Any:
    """CSR matrix (n, size) that takes internal pixels to output pixels: windowed sinc of 8 points."""
    from scipy.sparse import csr_matrix

    position = (np.log(wavelength) - grid.start) / grid.step
    first = np.floor(position).astype(np.int64) - _TAPS // 2 + 1
    column = first[:, None] + np.arange(_TAPS)
    distance = position[:, None] - column
    window = np.i0(6.0 * np.sqrt(np.clip(1 - (distance / (_TAPS / 2)) ** 2, 0, 1))) / np.i0(6.0)
    weight = np.sinc(distance) * window
    weight /= weight.sum(axis=1, keepdims=True)  # a constant stays one
    pointer = np.arange(0, weight.size + 1, _TAPS)
    shape = (len(position), grid.size)
    return csr_matrix(
        (weight.astype(np.float32).ravel(), column.astype(np.int32).ravel(), pointer), shape=shape
    )


@dataclass(frozen=True)
class SmoothBasis:
    """Polynomial interpolation of smooth functions of wavelength from a few nodes.

    nodes   (k,) wavelengths, angstrom, where the function is to be evaluated
    matrix  (n, k): values at the n wavelengths = matrix @ values at the nodes
    """

    nodes: Array
    matrix: Float


def smooth_basis(wavelength: Array, count: int) -> SmoothBasis:
    """Lagrange polynomials on `count` Chebyshev nodes over the range of `wavelength`, in its logarithm."""
    log = np.log(wavelength)
    middle, half = (log[0] + log[-1]) / 2, (log[-1] - log[0]) / 2
    unit = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    x = (log - middle) / half
    matrix = np.ones((len(x), count))
    for j in range(count):
        for k in range(count):
            if k != j:
                matrix[:, j] *= (x - unit[k]) / (unit[j] - unit[k])
    return SmoothBasis(np.exp(middle + half * unit), matrix.astype(np.float32))


# --- rotation, macroturbulence and Doppler shift


def rotation_transform(a: ArrayLike) -> Array:
    """Fourier transform of the limb-darkened rotation profile at a = 2 pi frequency vsini; 1 at a = 0.

    The transform of Gray's (2005) eq. 18.14, in closed form.
    """
    from scipy.special import j1

    x = np.maximum(np.asarray(a, dtype=np.float64), 1e-2)  # (sin x - x cos x) / x^3 cancels below
    dark = LIMB_DARKENING
    disc = 2 * (1 - dark) * j1(x) / x
    limb = 2 * dark * (np.sin(x) - x * np.cos(x)) / x**3
    return np.asarray((disc + limb) / (1 - dark / 3))


class RotationTable:
    """`rotation_transform` by linear interpolation in a table up to `largest`."""

    def __init__(self, largest: float) -> None:
        self._value = rotation_transform(np.arange(int(largest / _TABLE_STEP) + 3) * _TABLE_STEP).astype(
            np.float32
        )

    def __call__(self, a: Float) -> Float:
        """Values at float32 `a` of any shape."""
        place = a * np.float32(1 / _TABLE_STEP)
        index = place.astype(np.intp)  # what take wants; any other type is converted, twice
        place -= index
        left = self._value.take(index, mode="clip")
        index += 1
        right = self._value.take(index, mode="clip")
        right -= left
        right *= place
        right += left
        return right


def macroturbulence(teff: Array, logg: Array) -> Array:
    """Standard deviation of the Gaussian that represents macroturbulence, km/s, (b,).

    Doyle et al. (2014, MNRAS 444, 3592) give the radial-tangential velocity of dwarfs of 5,200..6,400 K;
    half of it is about the standard deviation. Held constant beyond.
    """
    warm = np.clip(teff, 5000.0, 6600.0) - 5777.0
    velocity = 3.21 + 2.33e-3 * warm + 2.00e-6 * warm**2 - 2.00 * (np.clip(logg, 3.0, 5.0) - 4.44)
    return np.asarray(np.maximum(velocity, 1.0) / 2)


def phase_ramp(shift: Array, *, size: int, count: int) -> NDArray[np.complex64]:
    """exp(-2 pi i k shift / size) for k < count: moves spectra of `size` pixels by shift pixels, (b, count).

    As the outer product of two short ramps: one exponential per frequency would cost as much as the
    transforms.
    """
    turn = (-2j * np.pi / size) * shift[:, None]
    blocks = -(-count // _PHASE_BLOCK)
    fast = np.exp(turn * np.arange(_PHASE_BLOCK)).astype(np.complex64)
    slow = np.exp(turn * (_PHASE_BLOCK * np.arange(blocks))).astype(np.complex64)
    return np.asarray((slow[:, :, None] * fast[:, None, :]).reshape(len(shift), -1)[:, :count])


def wing_profile(frequency: Float, *, width: float, lsf: Array, wing: Array) -> Float:
    """Transfer of line-spread functions, (b, f): a Gaussian of relative width `lsf` with broader wings.

    width  standard deviation of the nominal profile, in pixels that `frequency` (f,) counts by
    """
    square = (-2 * (np.pi * width) ** 2 * lsf**2).astype(np.float32)[:, None] * frequency**2
    core = np.exp(square)
    if not wing.any():
        return np.asarray(core)
    share = wing.astype(np.float32)[:, None]
    return np.asarray(core + share * (np.exp(np.float32(_WING**2) * square) - core))
