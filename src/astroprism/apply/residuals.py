"""Residuals of spectra against their reconstructions, in sigma: how large, where largest, of which shape.

Plain arrays; n spectra of p pixels. Sigma is the spectrum's own error and the model's, in quadrature: no
network is right to a thousandth in every pixel, and a bright star must not be odd for that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # pixels of the runs that are compared
TRIMMED = 0.05  # of the largest residuals per pixel, left out of the model's error: odd spectra are in them

Floats = NDArray[np.floating[Any]]  # as spectra come
Exact = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of n spectra in a few numbers, each (n,).

    chi2         mean square over good pixels, in sigma
    worst        the run of pixels that deviates most, in sigma of its mean; below 0 where flux is missing
    first, last  pixels of that run
    broader      how much broader the lines are than the model's, in its own error; below 0 where narrower
    air_broader  the same for the atmosphere's lines alone: a star may rotate, these show the instrument; 0
                 where the network does not separate them
    ripple       correlation of neighbouring pixels, in its own error: noise has none
    """

    chi2: NDArray[np.float64]
    worst: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    broader: NDArray[np.float64]
    air_broader: NDArray[np.float64]
    ripple: NDArray[np.float64]

    @staticmethod
    def concatenate(parts: list[Residuals]) -> Residuals:
        """One after the other."""
        names = [entry.name for entry in fields(Residuals)]
        return Residuals(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def in_sigma(flux: Floats, sigma: Floats, good: NDArray[np.bool_], *, made: Floats, error: Floats) -> Exact:
    """(flux - made) / sigma (n, p), 0 where not good; `error` (p,) is the model's own."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (flux - made) / np.sqrt(sigma.astype(np.float64) ** 2 + error**2)
    return np.asarray(np.where(good & np.isfinite(ratio), ratio, 0.0), dtype=np.float64)


def measure_residuals(
    flux: Floats,
    sigma: Floats,
    good: NDArray[np.bool_],
    *,
    made: Floats,
    error: Floats,
    air: Floats | None = None,
) -> Residuals:
    """Residuals of flux (n, p) against reconstructions `made` (n, p) of a model that errs by `error` (p,).

    air  (n, p) the atmosphere's share of `made`, 1 where it is clear
    """
    ratio = in_sigma(flux, sigma, good, made=made, error=error)
    count = np.maximum(good.sum(1), 1)
    worst, first, last = _worst_run(ratio, good)
    return Residuals(
        chi2=(ratio**2).sum(1) / count,
        worst=worst,
        first=first,
        last=last,
        broader=_broader(ratio, sigma, good, _curvature(made), error),
        air_broader=np.zeros(len(ratio))
        if air is None
        else _broader(ratio, sigma, good, made / np.maximum(air, 1e-3) * _curvature(air), error),
        ripple=_ripple(ratio, good),
    )


def model_error(flux: Floats, sigma: Floats, good: NDArray[np.bool_], *, made: Floats) -> Exact:
    """By how much the model errs per pixel, in units of the flux, (p,): what noise does not explain."""
    excess = np.where(good, (flux - made).astype(np.float64) ** 2 - sigma.astype(np.float64) ** 2, np.nan)
    excess[~np.isfinite(excess)] = np.nan
    excess.sort(axis=0)  # NaN last
    known = np.isfinite(excess).sum(0)
    used = np.arange(len(excess))[:, None] < np.ceil((1 - TRIMMED) * known)
    total = np.where(used, excess, 0.0).sum(0) / np.maximum(used.sum(0), 1)
    # noise without its tails has a smaller mean square; this is the share that is missing
    noise = np.where(good, sigma.astype(np.float64) ** 2, 0).sum(0) / np.maximum(good.sum(0), 1)
    return np.asarray(np.sqrt(np.maximum(total + _missing(TRIMMED) * noise, 0)), dtype=np.float64)


def _missing(trimmed: float) -> float:
    """Share of a Gaussian's variance that its mean square lacks without that share of its tails."""
    from scipy.stats import norm

    edge = norm.ppf(1 - trimmed / 2)
    return float(2 * edge * norm.pdf(edge) / (1 - trimmed))


def _worst_run(ratio: Exact, good: NDArray[np.bool_]) -> tuple[Exact, NDArray[np.int64], NDArray[np.int64]]:
    n, p = ratio.shape
    worst: Exact = np.zeros(n)
    first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
    sums = np.concatenate([np.zeros((n, 1)), np.cumsum(ratio, axis=1)], axis=1)
    counts = np.concatenate([np.zeros((n, 1)), np.cumsum(good, axis=1)], axis=1)
    rows = np.arange(n)
    for width in WIDTHS:
        if width > p:
            break
        count = counts[:, width:] - counts[:, :-width]
        # a run that is mostly masked says nothing
        mean = np.where(2 * count > width, sums[:, width:] - sums[:, :-width], 0)
        mean = mean / np.sqrt(np.maximum(count, 1))
        at = np.abs(mean).argmax(1)
        value = mean[rows, at]
        better = np.abs(value) > np.abs(worst)
        worst = np.where(better, value, worst)
        first, last = np.where(better, at, first), np.where(better, at + width - 1, last)
    return worst, first, last


def _curvature(made: Floats) -> Exact:
    """Second differences (n, p): what a little broadening adds."""
    bent = np.zeros(made.shape)
    bent[:, 1:-1] = made[:, 2:] - 2 * made[:, 1:-1].astype(np.float64) + made[:, :-2]
    return bent


def _broader(ratio: Exact, sigma: Floats, good: NDArray[np.bool_], curve: Floats, error: Floats) -> Exact:
    """How much of the residual looks like `curve`, in its own error, (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = curve / np.sqrt(sigma.astype(np.float64) ** 2 + error**2)
    shape = np.where(good & np.isfinite(shape), shape, 0.0)
    return np.asarray((ratio * shape).sum(1) / np.maximum(np.sqrt((shape**2).sum(1)), 1e-12))


def _ripple(ratio: Exact, good: NDArray[np.bool_]) -> Exact:
    both = (good[:, 1:] & good[:, :-1]).sum(1)
    product = (ratio[:, 1:] * ratio[:, :-1]).sum(1)
    power = (ratio**2).sum(1) / np.maximum(good.sum(1), 1)
    return np.asarray(product / np.maximum(power * np.sqrt(np.maximum(both, 1)), 1e-12))
