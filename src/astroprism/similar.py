"""The spectra most like one spectrum: by its code, by some nodes of it, or pixel by pixel in a window.

docs/similar.md says how to ask, docs/design/similar.md why distances are what they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ConfigError

ROUNDING = 2.0**-24  # half the spacing of float32 at 1
LARGEST = 1e15  # of a coordinate: its square is to fit a float32
BLOCK = 8192  # points whose distances are taken exactly at once


class Neighbours:
    """Exact nearest points by Euclidean distance: built once, asked often; threads may share it.

    points  (n, k), scaled by whoever knows what a distance of 1 is to be; kept as float32
    """

    def __init__(self, points: ArrayLike) -> None:
        values = np.asarray(points)
        if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
            raise ConfigError(
                f"points of shape {values.shape} and type {values.dtype}; numbers of shape (rows, nodes) "
                "are needed"
            )
        # about the mean, where squares are smallest and lose least; a row a node, which two cores go through
        # at twice the speed of one
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
        exclude  rows that are not to be found; fewer than n come back where no more are left
        """
        query = np.asarray(vector, dtype=np.float64)
        if query.shape != self._centre.shape or not np.isfinite(query).all():
            raise ConfigError(
                f"a query of shape {query.shape} to points of {self._centre.size} nodes: as many finite "
                "numbers are needed"
            )
        if n < 1:
            raise ConfigError(f"{n} neighbours; ask for 1 or more")
        near = (query - self._centre).astype(np.float32)
        least = (np.float32(-2) * near) @ self._points
        least += self._least
        left = len(self)
        if exclude is not None:
            least[np.asarray(exclude, dtype=np.intp)] = np.inf
            left = int(np.isfinite(least).sum())
        n = min(n, left)
        if n == 0:
            return np.zeros(0, np.intp), np.zeros(0)
        # all that could be among the nearest, for all that rounding did, are measured again
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
