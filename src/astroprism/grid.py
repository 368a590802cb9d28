"""Wavelength grids, media and velocities.

Two kinds of grid: `paper`, the seed paper's own (linear, air, 0.01 angstrom, zero-padded), and
uniform in log wavelength (vacuum), on which a Doppler shift is a translation.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GridError

SPEED_OF_LIGHT = 299_792.458  # km/s, exact by definition of the metre

# The seed paper's grid (release of Sedaghat et al. 2021): trimmed to 3785..6910 angstrom inclusive,
# zero-padded to a multiple of 2**14 so that fourteen halvings come out even.
PAPER_START, PAPER_STEP, PAPER_PIXELS = 3785.0, 0.01, 312_501
PAPER_PAD_LEFT, PAPER_PAD_RIGHT = 7_589, 7_590
PAPER_LENGTH = PAPER_PAD_LEFT + PAPER_PIXELS + PAPER_PAD_RIGHT  # 327,680
# Pixels of the longest grid: a spectrum of R = 1,000,000 from 900 to 30,000 angstrom, and then some.
LARGEST = 20_000_000
# Dead pixels of the padded array: both ends and the gap between the two chips.
PAPER_DEAD = (slice(0, 7_589), slice(159_453, 162_894), slice(320_090, PAPER_LENGTH))


@dataclass(frozen=True)
class Grid:
    """`size` pixels: centres start*(1+v)^i (log) or start + i*step (linear), in `medium`.

    kind   'log' (step in km/s) or 'paper' (step in angstrom)
    start  centre of the first pixel, angstrom
    """

    kind: str
    start: float
    step: float
    size: int
    medium: str

    def __post_init__(self) -> None:
        if self.kind not in ("log", "paper"):
            raise GridError(f"grid kind {self.kind!r} is neither 'log' nor 'paper'")
        if not (math.isfinite(self.start) and self.start > 0 and math.isfinite(self.step) and self.step > 0):
            raise GridError(f"grid start {self.start} and step {self.step} must be positive and finite")
        if self.size < 16:
            raise GridError(f"a grid of {self.size} pixels is too short; at least 16 are needed")

    @property
    def wavelength(self) -> NDArray[np.float64]:
        """Pixel centres, angstrom, shape (size,)."""
        return self._position(np.arange(self.size))

    @property
    def edges(self) -> NDArray[np.float64]:
        """Pixel edges, angstrom, shape (size + 1,)."""
        return self._position(np.arange(self.size + 1) - 0.5)

    def _position(self, index: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
        if self.kind == "log":
            return np.asarray(self.start * np.exp(index * math.log1p(self.step / SPEED_OF_LIGHT)))
        return np.asarray(self.start + index * self.step)

    @property
    def filled(self) -> slice:
        """Pixels that data may fill: all but the zero padding of the paper grid."""
        if self.kind == "paper":
            return slice(PAPER_PAD_LEFT, PAPER_PAD_LEFT + PAPER_PIXELS)
        return slice(0, self.size)

    def window(self, low: float, high: float) -> slice:
        """Pixels whose centres lie in [low, high] angstrom."""
        wavelength = self.wavelength
        first, last = np.searchsorted(wavelength, [low, high + 1e-9])
        if last <= first:
            raise GridError(
                f"window {low:g}:{high:g} holds no pixel of a grid from "
                f"{wavelength[0]:.2f} to {wavelength[-1]:.2f} angstrom"
            )
        return slice(int(first), int(last))

    @property
    def text(self) -> str:
        """The form that `parse_grid` reads."""
        if self.kind == "paper":
            return "paper"
        return f"{self.start:.6f}:{self.wavelength[-1]:.6f}:{self.step:g}kms"


PAPER = Grid("paper", PAPER_START - PAPER_PAD_LEFT * PAPER_STEP, PAPER_STEP, PAPER_LENGTH, "air")


def log_grid(low: float, high: float, *, step: float) -> Grid:
    """Uniform in log wavelength from `low` to at most `high` (vacuum angstrom), `step` in km/s."""
    if not (0 < low < high < math.inf):
        raise GridError(f"grid range {low:g}:{high:g} must be increasing and positive")
    if not 0 < step < 10_000:
        raise GridError(f"grid step of {step:g} km/s; expected between 0 and 10,000")
    size = math.floor(math.log(high / low) / math.log1p(step / SPEED_OF_LIGHT) + 1e-6) + 1
    if size > LARGEST:
        raise GridError(
            f"a grid of {size:,} pixels; at most {LARGEST:,}: choose a larger step or a smaller range"
        )
    return Grid("log", float(low), float(step), size, "vacuum")


_LOG_GRID = re.compile(r"([\d.]+):([\d.]+):([\d.]+)\s*(?:kms|km/s)")


def parse_grid(text: str) -> Grid:
    """`paper` or LOW:HIGH:STEPkms (vacuum angstrom, km/s)."""
    if text == "paper":
        return PAPER
    match = _LOG_GRID.fullmatch(text.strip())
    if not match:
        raise GridError(
            f"grid {text!r} is neither 'paper', 'auto' nor LOW:HIGH:STEPkms such as 5000:5200:1.5kms "
            "(vacuum angstrom; the step in km/s, with its unit: grids are uniform in log wavelength)"
        )
    try:
        low, high, step = (float(part) for part in match.groups())
    except ValueError:
        raise GridError(f"grid {text!r}: a number in it cannot be read") from None
    return log_grid(low, high, step=step)


def vacuum_to_air(wavelength: ArrayLike) -> NDArray[np.float64]:
    """Air wavelength (15 C, 1013.25 hPa) of a vacuum wavelength, both in angstrom.

    Refractive index of Birch & Downs (1994, Metrologia 31, 315) as given by Morton (2000, ApJS 130,
    403): the formula of the IAU standard and of VALD.
    """
    vacuum = np.asarray(wavelength, dtype=np.float64)
    s2 = (1e4 / vacuum) ** 2
    return np.asarray(vacuum / (1 + 8.34254e-5 + 2.406147e-2 / (130 - s2) + 1.5998e-4 / (38.9 - s2)))


def air_to_vacuum(wavelength: ArrayLike) -> NDArray[np.float64]:
    """Exact inverse of `vacuum_to_air`, by fixed point (converges to 1e-12 in four rounds)."""
    air = np.asarray(wavelength, dtype=np.float64)
    vacuum = air * 1.00028
    for _ in range(4):
        vacuum = vacuum + (air - vacuum_to_air(vacuum))
    return np.asarray(vacuum)


def convert_medium(wavelength: ArrayLike, source: str, target: str) -> NDArray[np.float64]:
    """Wavelengths given in medium `source` as they are in medium `target`."""
    if source == target:
        return np.asarray(wavelength, dtype=np.float64)
    return vacuum_to_air(wavelength) if target == "air" else air_to_vacuum(wavelength)


def doppler_factor(velocity: ArrayLike) -> NDArray[np.float64]:
    """Factor on wavelength of a source receding at `velocity` km/s (relativistic, radial)."""
    beta = np.asarray(velocity, dtype=np.float64) / SPEED_OF_LIGHT
    return np.asarray(np.sqrt((1 + beta) / (1 - beta)))
