"""Curves over a window of wavelength, in no more points than a screen can show.

Shapes: p pixels of the window, k pixels per bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..refusals import Refused

FEWEST = 8  # pixels a window shows at least
WIDTH, NARROWEST, WIDEST = 1200, 16, 4096


@dataclass(frozen=True)
class Curves:
    """Curves over one column of wavelengths, angstrom; facts: what else is known of them."""

    wavelength: NDArray[np.float64]
    values: dict[str, NDArray[Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def window(wavelength: NDArray[np.float64], low: float | None, high: float | None) -> slice:
    """Pixels of [low, high] angstrom, widened to `FEWEST`; None: to the end of the grid."""
    first, last = float(wavelength[0]), float(wavelength[-1])
    low, high = first if low is None else low, last if high is None else high
    if not low < high:
        raise Refused(400, f"the window {low:g} to {high:g} angstrom is empty; low must lie below high")
    if high < first or low > last:
        raise Refused(
            400, f"the window {low:g} to {high:g} lies outside the grid, {first:.2f} to {last:.2f} angstrom"
        )
    start, stop = (int(i) for i in np.searchsorted(wavelength, [low, high]))
    stop = min(wavelength.size, stop + 1)
    start = max(0, start - 1)
    if stop - start < FEWEST:
        start = max(0, min((start + stop) // 2 - FEWEST // 2, wavelength.size - FEWEST))
        stop = min(wavelength.size, start + FEWEST)
    return slice(start, stop)


def detail(
    wavelength: NDArray[np.float64], values: Mapping[str, NDArray[Any]], *, width: int | None
) -> Curves:
    """Curves (p,) as they are where a screen of `width` pixels can show them, else two points per bin.

    The two are the bin's lowest and highest value in the order in which they come, so that a line through
    them looks as the line through all pixels would. NaN counts as no data. `sigma` gives its mean in a bin,
    flags (bool) whether any is set. width None: all pixels.
    """
    count = wavelength.size
    facts = {"low": float(wavelength[0]), "high": float(wavelength[-1]), "pixels": count}
    if width is None or count <= 2 * width:
        plain = {name: _unbinned(array) for name, array in values.items()}
        return Curves(wavelength, plain, facts | {"binned": False, "pixels_a_bin": 1})
    k = -(-count // width)
    bins = -(-count // k)
    last = np.minimum(np.arange(bins) * k + k - 1, count - 1)
    first = np.arange(bins) * k
    places = np.stack([first + (last - first) // 4, last - (last - first) // 4], axis=1).ravel()
    made: dict[str, NDArray[Any]] = {}
    for name, array in values.items():
        if array.dtype == bool:
            made[name] = np.repeat(_folded(array, bins, k, fill=False).any(1), 2).astype(np.uint8)
        elif name == "sigma":
            made[name] = np.repeat(_mean(_folded(array, bins, k, fill=np.nan)), 2)
        else:
            made[name] = _extremes(_folded(array, bins, k, fill=np.nan))
    return Curves(wavelength[places], made, facts | {"binned": True, "pixels_a_bin": k})


def _unbinned(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.uint8) if array.dtype == bool else array.astype(np.float32)


def _folded(array: NDArray[Any], bins: int, k: int, *, fill: float | bool) -> NDArray[Any]:
    """(p,) -> (bins, k), the last filled up."""
    kind = np.bool_ if array.dtype == bool else np.float32
    whole: NDArray[Any] = np.full(bins * k, fill, dtype=kind)
    whole[: array.size] = array
    return whole.reshape(bins, k)


def _extremes(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lowest and highest of each row (bins, k), in the order in which they come, (2 bins,)."""
    if np.isfinite(table).all():  # one pass less for the decoder's curves, which have no holes
        at_low, at_high = table.argmin(1), table.argmax(1)
    else:
        known = np.isfinite(table)
        at_low = np.where(known, table, np.inf).argmin(1)
        at_high = np.where(known, table, -np.inf).argmax(1)
    ends = np.sort(np.stack([at_low, at_high], axis=1), axis=1)
    made = np.take_along_axis(table, ends, axis=1)
    made[~np.isfinite(made)] = np.nan
    return np.asarray(made.ravel())


def _mean(table: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.isfinite(table)
    count = known.sum(1)
    total = np.where(known, table, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
