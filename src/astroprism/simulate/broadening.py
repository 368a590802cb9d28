"""Rotation, macroturbulence and Doppler shift of line spectra, in Fourier space."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .layer import Array

Float = NDArray[np.float32]

LIMB_DARKENING = 0.6  # linear coefficient, a solar-type star in the visible (Gray 2005, ch. 18)
_TABLE_STEP = 0.02
_PHASE_BLOCK = 64


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
    """Standard deviation of the Gaussian that stands for macroturbulence, km/s, (b,).

    Doyle et al. (2014, MNRAS 444, 3592) give the radial-tangential velocity of dwarfs of 5,200..6,400 K;
    half of it is about the standard deviation. Held constant beyond.
    """
    warm = np.clip(teff, 5000.0, 6600.0) - 5777.0
    velocity = 3.21 + 2.33e-3 * warm + 2.00e-6 * warm**2 - 2.00 * (np.clip(logg, 3.0, 5.0) - 4.44)
    return np.asarray(np.maximum(velocity, 1.0) / 2)


def phase_ramp(shift: Array, *, size: int, count: int) -> NDArray[np.complex64]:
    """exp(-2 pi i k shift / size) for k < count: moves spectra of `size` pixels by shift pixels, (b, count).

    As the outer product of two short ramps: an exponential a frequency would cost as much as the transforms.
    """
    turn = (-2j * np.pi / size) * shift[:, None]
    blocks = -(-count // _PHASE_BLOCK)
    fast = np.exp(turn * np.arange(_PHASE_BLOCK)).astype(np.complex64)
    slow = np.exp(turn * (_PHASE_BLOCK * np.arange(blocks))).astype(np.complex64)
    return np.asarray((slow[:, :, None] * fast[:, None, :]).reshape(len(shift), -1)[:, :count])
