"""Moving a spectrum from its own pixels to a grid: a copy where they agree, else flux-conserving.

A pixel holds the mean flux density over its width, so the value of a grid pixel is the
overlap-weighted mean of the native pixels under it, and the integral over any range is kept. The
weights depend on the two pixel lattices alone; archives repeat theirs, so they are kept and reused: one
pass over the pixels of each spectrum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT, Grid, convert_medium
from ..kernels import rebin, spacing

# Native and grid pixels whose centres agree within this share of a pixel are the same pixel.
SAME_PIXEL = 0.01
# Rows that the kernel takes at a time, and up to which width it has a loop of its own for them.
ROWS, WIDE = 512, 3


@dataclass(frozen=True)
class Lattice:
    """Uniform pixel centres (first + i) * step for i in 0..size-1, in angstrom or in log angstrom.

    Only the fractional part of `first`, the phase, decides how pixels fall on a grid.
    """

    log: bool
    first: float
    step: float
    size: int


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which native pixels lie under each of m grid pixels, as shares of the grid pixel.

    Grid pixel i lies over the native pixels from start[i] on, with weight[first[i]:first[i + 1]].
    first int32 (m + 1,), start int32 (m,), weight float32
    """

    first: NDArray[np.int32]
    start: NDArray[np.int32]
    weight: NDArray[np.float32]

    def apply(
        self,
        flux: NDArray[np.float32],
        sigma: NDArray[np.float32],
        good: NDArray[np.bool_],
        *,
        least: float = 0.5,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Mean flux, its error, and whether good pixels cover at least the share `least`, each (m,).

        The mean is over all pixels, good or not: what is bad is to be bridged first. Flux and error are
        0 where too little is covered.
        """
        row, error = (np.empty(self.start.size, dtype=np.float32) for _ in range(2))
        enough = np.empty(self.start.size, dtype=bool)
        rebin(self.first, self.start, self.weight, flux, sigma, good, least, row, error, enough)
        return row, error, enough


@dataclass(frozen=True)
class Placement:
    """How native pixels become grid pixels.

    Native pixels take[0]:take[1] are placed at `offset` in a row of `size`; that row is the grid row
    itself where `overlap` is None (a copy), else `overlap` brings it there.
    """

    take: tuple[int, int]
    offset: int
    size: int
    overlap: Overlap | None = None

    def on_row(self, taken: NDArray[Any]) -> NDArray[Any]:
        """The native pixels that were taken, as a row of `size`; 0 where there are none."""
        if taken.size == self.size:
            return taken
        row = np.zeros(self.size, dtype=taken.dtype)
        row[self.offset : self.offset + taken.size] = taken
        return row


def find_lattice(
    wavelength: NDArray[np.float64], *, steps: tuple[float, float] | None = None
) -> Lattice | None:
    """The uniform lattice these pixel centres (angstrom, increasing) lie on, or None.

    steps  their least and largest step, where they are known
    """
    size = wavelength.size
    # every pixel is checked by its spacing, a few by their place: together no drift escapes
    probes = np.linspace(0, size - 1, 17).astype(np.int64)
    for log in (False, True):
        axis = np.log(wavelength[probes]) if log else wavelength[probes]
        step = float((axis[-1] - axis[0]) / (size - 1))
        if np.abs(axis - (axis[0] + probes * step)).max() > SAME_PIXEL * step:
            continue
        least, most = steps if steps is not None and not log else spacing(wavelength, log)
        expected = math.expm1(step) if log else step
        if max(most - expected, expected - least) < 3 * SAME_PIXEL * expected:
            step = float(f"{step:.9g}")  # 0.01 exactly, whatever the last digits of the file's floats
            first = float(axis[len(axis) // 2] / step - probes[len(axis) // 2])
            return Lattice(log, round(first, 5), step, size)
    return None


def place(
    wavelength: NDArray[np.float64],
    grid: Grid,
    *,
    medium: str,
    factor: float = 1.0,
    steps: tuple[float, float] | None = None,
) -> Placement:
    """Placement on `grid` of native pixels at `wavelength` (n,), given in `medium`.

    factor  a Doppler factor that the native wavelengths are to be multiplied by first
    steps   the least and the largest step of `wavelength`, where they are known
    """
    lattice = find_lattice(wavelength, steps=steps)
    if lattice is None:
        edges = _pixel_edges(wavelength)
        overlap = _overlap(edges, native_edges(grid, medium) / factor)
        return Placement((0, wavelength.size), 0, wavelength.size, overlap)
    if medium == grid.medium and factor == 1.0:
        copy = _copy(lattice, grid)
        if copy is not None:
            return copy
    whole = math.floor(lattice.first)
    base, size, overlap = _lattice_overlap(
        Lattice(lattice.log, round(lattice.first - whole, 5), lattice.step, 0), grid, medium, factor
    )
    first = max(0, base - whole)
    last = max(first, min(lattice.size, base + size - whole))
    return Placement((first, last), first + whole - base, size, overlap)


def _copy(lattice: Lattice, grid: Grid) -> Placement | None:
    """A placement without arithmetic where the grid's lattice is the native one."""
    if lattice.log != (grid.kind == "log"):
        return None
    step = math.log1p(grid.step / SPEED_OF_LIGHT) if lattice.log else grid.step
    start = math.log(grid.start) if lattice.log else grid.start
    first_native = lattice.first * lattice.step
    ends = [(first_native - start) / step, (first_native + (lattice.size - 1) * lattice.step - start) / step]
    offset = round(ends[0])
    if max(abs(ends[0] - offset), abs(ends[1] - offset - lattice.size + 1)) > SAME_PIXEL:
        return None
    first = min(lattice.size, max(0, grid.filled.start - offset))
    last = max(first, min(lattice.size, grid.filled.stop - offset))
    return Placement((first, last), first + offset, grid.size)


@lru_cache(maxsize=8)
def native_edges(grid: Grid, medium: str) -> NDArray[np.float64]:
    """Grid pixel edges as wavelengths in `medium`: one conversion per grid, not per file."""
    edges = convert_medium(grid.edges, grid.medium, medium)
    edges.flags.writeable = False
    return edges


@lru_cache(maxsize=4)
def _lattice_overlap(lattice: Lattice, grid: Grid, medium: str, factor: float) -> tuple[int, int, Overlap]:
    """First index, length and overlap of the stretch of an endless lattice that lies under the grid."""
    edges = native_edges(grid, medium) / factor
    axis = np.log(edges[[0, -1]]) if lattice.log else edges[[0, -1]]
    base = math.floor(axis[0] / lattice.step - lattice.first) - 1
    last = math.ceil(axis[1] / lattice.step - lattice.first) + 2
    centres = (lattice.first + np.arange(base, last)) * lattice.step
    if lattice.log:
        centres = np.exp(centres)
    return base, last - base, _overlap(_pixel_edges(centres), edges)


def _pixel_edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half-way between centres, shape (n + 1,); the outermost mirror their neighbours."""
    middle = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate(([2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]))


def _overlap(native: NDArray[np.float64], target: NDArray[np.float64]) -> Overlap:
    """Overlap of target pixels with native pixels as a share of the target pixel.

    native, target  pixel edges, angstrom, increasing
    """
    size = native.size - 1
    cut = np.clip(target, native[0], native[-1])
    below = np.clip(np.searchsorted(native, cut, side="right") - 1, 0, size - 1)
    start, last = below[:-1], below[1:]
    count = np.where(cut[1:] > cut[:-1], last - start + 1, 0)
    # rows of one width need no branches: weights of 0 fill short ones up to the widest of their block
    widest = np.repeat(np.maximum.reduceat(count, np.arange(0, count.size, ROWS)), ROWS)[: count.size]
    count = np.where(widest <= min(WIDE, size), widest, count)
    start = np.minimum(start, size - count)
    first = np.concatenate(([0], np.cumsum(count)))
    row = np.repeat(np.arange(count.size), count)
    column = np.arange(first[-1]) - first[row] + start[row]
    share = np.minimum(cut[row + 1], native[column + 1]) - np.maximum(cut[row], native[column])
    share = np.maximum(share, 0) / (target[row + 1] - target[row])
    return Overlap(first.astype(np.int32), start.astype(np.int32), share.astype(np.float32))
