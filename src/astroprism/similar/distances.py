"""Exact search: the nearest of many points, and the spectra that differ least in a window of wavelength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError
from ..progress import Listener, count, silent

if TYPE_CHECKING:
    from ..store import Store

ROUNDING = 2.0**-24  # half the spacing of float32 at 1
LARGEST = 1e15  # of a coordinate: its square is to fit a float32
WINDOW_PIXELS = 2**21  # of the spectra that are in memory at once
BLOCK = 8192  # points whose distances are taken exactly at once


class Neighbours:
    """Exact nearest points by Euclidean distance: built once, queried often; threads may share it.

    points  (n, k), in units in which Euclidean distances mean something; kept as float32
    """

    def __init__(self, points: ArrayLike) -> None:
        values = np.asarray(points)
        if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
            raise ConfigError(
                f"points of shape {values.shape} and type {values.dtype}; numbers of shape (rows, nodes) "
                "are needed"
            )
        # about the mean, where squares are smallest and lose least; a row per node, which two cores go
        # through at twice the speed of one
        self._centre = values.mean(0, dtype=np.float64) if len(values) else np.zeros(values.shape[1])
        self._points = np.empty(values.shape[::-1], np.float32)
        np.subtract(values.T, self._centre[:, None], out=self._points, casting="same_kind")
        squares = np.einsum("ij,ij->j", self._points, self._points, dtype=np.float64)
        if not np.isfinite(squares).all():
            row = int(np.argmin(np.isfinite(values).all(1) & (np.abs(values) < LARGEST).all(1)))
            raise ConfigError(f"point {row} is not finite, or far too large: {values[row][:5]} ..")
        # |z - q|^2 = |z|^2 - 2 z.q + |q|^2 is found by one product of matrix and vector. Rounding moves it by
        # less than `doubt` (|z|^2 + |q|^2) (Higham 2002, Accuracy and Stability of Numerical Algorithms, 3.1)
        self._doubt = 2 * (len(self._points) + 4) * ROUNDING
        self._slack = (self._doubt * squares).astype(np.float32)
        self._least = (squares - self._slack).astype(np.float32)

    def __len__(self) -> int:
        return len(self._least)

    def query(
        self, vector: ArrayLike, n: int, *, exclude: ArrayLike | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows (n,) nearest first, and their distances (n,); equal distances in the order of rows.

        vector   (k,), in the units of the points
        exclude  rows that are not to be found; fewer than n are returned where no more are there
        """
        query = np.asarray(vector, dtype=np.float64)
        if query.shape != self._centre.shape or not np.isfinite(query).all():
            raise ConfigError(
                f"a query of shape {query.shape} to points of {self._centre.size} nodes: as many finite "
                "numbers are needed"
            )
        if n < 1:
            raise ConfigError(f"{n} neighbours; give 1 or more")
        near = (query - self._centre).astype(np.float32)
        least = (np.float32(-2) * near) @ self._points
        least += self._least
        remaining = len(self)
        if exclude is not None:
            least[np.asarray(exclude, dtype=np.intp)] = np.inf
            remaining = int(np.isfinite(least).sum())
        n = min(n, remaining)
        if n == 0:
            return np.zeros(0, np.intp), np.zeros(0)
        # all that could be among the nearest, whatever rounding did, are measured again
        first = np.argpartition(least, n - 1)[:n]
        square = float(near.astype(np.float64) @ near)
        reach = np.max(least[first] + 2 * self._slack[first]) + 2 * self._doubt * square
        rows = np.flatnonzero(least <= reach)
        exact = np.concatenate(
            [
                ((self._points[:, rows[i : i + BLOCK]].T - near.astype(np.float64)) ** 2).sum(1)
                for i in range(0, len(rows), BLOCK)
            ]
        )
        order = np.lexsort((rows, exact))[:n]
        return rows[order], np.sqrt(exact[order])


@dataclass(frozen=True)
class Difference:
    """How one spectrum differs from all of a store in a window, each (spectra,); NaN where little is shared.

    distance  root of twice the surprise per pixel: chi2 and what the other's noise adds, see `differences`
    chi2      mean over shared good pixels of (difference / its error)^2
    shared    share of the query's good pixels in the window that is good in both
    """

    distance: NDArray[np.float64]
    chi2: NDArray[np.float64]
    shared: NDArray[np.float64]


LEAST_SHARED = 0.5  # of the query's good pixels, below which a spectrum is not compared


def differences(
    store: Store,
    flux: NDArray[np.floating],
    sigma: NDArray[np.floating],
    good: NDArray[np.bool_],
    *,
    window: slice,
    progress: Listener = silent,
) -> Difference:
    """Every spectrum of the store against one (flux, sigma, good: (window,)), a block of rows at a time.

    With s^2 the sum of both squared errors and e^2 the query's, the squared distance is the mean of
    difference^2 / s^2 + log(s^2 / e^2): minus twice the logarithm of how likely the difference is if both
    show the same, less the most it could be. chi2 alone would call the noisiest spectrum the most similar.

    progress counts spectra.
    """
    where = np.flatnonzero(good & (sigma > 0) & np.isfinite(flux))
    if not where.size:
        raise ConfigError("the spectrum of the query has no good pixel in this window; choose another")
    value, own = flux[where].astype(np.float64), sigma[where].astype(np.float64) ** 2
    distance, chi2, shared = (np.full(len(store), np.nan) for _ in range(3))
    size = max(1, WINDOW_PIXELS // max(1, window.stop - window.start))
    for start in range(0, len(store), size):
        rows = np.arange(start, min(start + size, len(store)))
        batch = store.read(rows, window=window, threads=2)
        both = batch.good[:, where]
        error = batch.sigma[:, where].astype(np.float64) ** 2 + own
        apart = np.where(both, (batch.flux[:, where] - value) ** 2 / error, 0).sum(1)
        noise = np.where(both, np.log(error / own), 0).sum(1)
        pixels = both.sum(1)
        enough = pixels >= LEAST_SHARED * where.size
        with np.errstate(invalid="ignore", divide="ignore"):
            chi2[rows] = np.where(enough, apart / pixels, np.nan)
            distance[rows] = np.where(enough, np.sqrt((apart + noise) / pixels), np.nan)
        shared[rows] = pixels / where.size
        progress(count(int(rows[-1]) + 1, len(store)))
    return Difference(distance, chi2, shared)
