"""What a model was trained on, and in which ways a spectrum lies outside of it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .residuals import Residuals

SLACK = 1.1  # factor on SNR and resolution beyond the bulk of the training
BULK = (0.005, 0.995)
FEW = 0.005  # share of the training spectra below which a frame counts as not trained on
COVERED = 0.02  # share of the pixels that may be missing beyond what training missed
RARE = 0.005  # p at which a warning is raised
STRETCH = 0.01  # share of the pixels from which a missing stretch is named


@dataclass(frozen=True, eq=False)
class TrainingRange:
    """The range of the spectra that a model was trained on.

    snr, resolution  (2,) bulk; NaN where no file says
    good             least share of good pixels in the bulk
    frames           velocity frames, of at least a few in a thousand spectra
    covered          (p,) share of the training spectra in which a pixel is good
    broader, air_broader, ripple  (h,) of held-out spectra, ascending: the usual shapes of residuals
    moving_air       whether the network reads the barycentric velocity
    """

    snr: NDArray[np.float64]
    resolution: NDArray[np.float64]
    good: float
    frames: tuple[str, ...]
    covered: NDArray[np.float64]
    broader: NDArray[np.float64]
    air_broader: NDArray[np.float64]
    ripple: NDArray[np.float64]
    moving_air: bool


def bulk(values: Any) -> NDArray[np.float64]:
    """The range (2,) that holds nearly all of the known values; NaN where none is known."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return np.quantile(known, BULK) if known.size else np.full(2, np.nan)


def two_sided(value: NDArray[Any], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p of values (n,) against the usual ones (h,), ascending, on whichever side they lie."""
    above = usual.size - np.searchsorted(usual, value, side="left")
    below = np.searchsorted(usual, value, side="right")
    tail = (1 + np.minimum(above, below)) / (usual.size + 1)
    return np.asarray(np.minimum(1.0, 2 * tail))


def warnings_of(
    trained: TrainingRange,
    facts: Sequence[Mapping[str, Any]],
    *,
    resolution: NDArray[np.float64],
    good: NDArray[np.bool_],
    residuals: Residuals,
    chi2_p: NDArray[np.float64],
    density_p: NDArray[np.float64],
    wavelength: NDArray[np.float64],
) -> list[list[str]]:
    """For each of n spectra, in which ways it lies outside of what the model was trained on.

    facts       what `prepare` found; resolution (n,) by the file, NaN where it does not say
    good        (n, p)
    chi2_p, density_p   against held-out spectra
    """
    rare = max(RARE, 2 / (trained.broader.size + 1))
    broader, ripple = (
        two_sided(residuals.broader, trained.broader),
        two_sided(residuals.ripple, trained.ripple),
    )
    air = two_sided(residuals.air_broader, trained.air_broader)
    here = good.mean(1)
    lost = ((trained.covered > 0.9) & ~good).mean(1)  # pixels that training nearly always had
    missing = (here < trained.good - COVERED) | (lost > COVERED + max(0.0, 1 - trained.good))
    out = []
    for i, fact in enumerate(facts):
        texts = []
        low, high = trained.snr
        if not low / SLACK <= fact["snr"] <= high * SLACK and np.isfinite(low):
            side = "below" if fact["snr"] < low else "above"
            texts.append(
                f"SNR {fact['snr']:.0f} lies {side} what the model has seen, {low:.0f} to {high:.0f}"
            )
        if missing[i]:
            texts.append(
                f"it covers {here[i]:.0%} of the grid's pixels, the training at least {trained.good:.0%}"
                f"{_hole(good[i], trained.covered, wavelength)}"
            )
        if fact["frame"] not in trained.frames:
            texts.append(
                f"its wavelengths are in the frame {fact['frame']!r}, the model has seen "
                f"{' and '.join(trained.frames)}"
            )
        if trained.moving_air and fact["frame"] != "topocentric" and not np.isfinite(fact["berv"]):
            texts.append("its barycentric velocity is unknown: the atmosphere is taken to stand still")
        low, high = trained.resolution
        if np.isfinite(resolution[i]) and not low / SLACK <= resolution[i] <= high * SLACK and low == low:
            texts.append(
                f"resolving power {resolution[i]:,.0f} by its file, the model has seen {_range(low, high)}"
            )
        elif not np.isfinite(resolution[i]) and np.isfinite(low):
            texts.append(
                f"its file does not tell its resolving power, the model has seen {_range(low, high)}: lines "
                "that an instrument broadens are taken for the star's"
            )
        if broader[i] <= rare:
            word = "broader" if residuals.broader[i] > np.median(trained.broader) else "narrower"
            texts.append(
                f"its lines are {word} than any of the model's ({residuals.broader[i]:+.1f} sigma): another "
                "resolution?"
            )
        if air[i] <= rare:
            word = "broader" if residuals.air_broader[i] > np.median(trained.air_broader) else "narrower"
            texts.append(
                f"the atmosphere's lines are {word} than the model's ({residuals.air_broader[i]:+.1f} sigma)"
                ": another resolution?"
            )
        if ripple[i] <= rare:
            texts.append(
                f"its residuals hang together from pixel to pixel ({residuals.ripple[i]:+.1f} sigma; usual "
                f"{np.median(trained.ripple):+.1f}): resampled, or another instrument?"
            )
        if chi2_p[i] <= rare / 2:
            texts.append(
                f"the model does not reproduce it: chi2 a pixel {residuals.chi2[i]:.3g} (p {chi2_p[i]:.2g})"
            )
        if density_p[i] <= rare / 2:
            texts.append(f"its code lies apart from all that the model has seen (p {density_p[i]:.2g})")
        out.append(texts)
    return out


def _range(low: float, high: float) -> str:
    return f"{low:,.0f}" if high < 1.02 * low else f"{low:,.0f} to {high:,.0f}"


def _hole(good: NDArray[np.bool_], covered: NDArray[np.float64], wavelength: NDArray[np.float64]) -> str:
    """The longest stretch that training had and this spectrum has not."""
    gone = np.concatenate([[False], ~good & (covered > 0.5), [False]])
    edges = np.flatnonzero(gone[1:] != gone[:-1]).reshape(-1, 2)
    if not edges.size:
        return ""
    first, last = edges[(edges[:, 1] - edges[:, 0]).argmax()]
    if last - first < STRETCH * good.size:
        return ""
    return f"; {wavelength[first]:.1f}..{wavelength[last - 1]:.1f} angstrom is missing"
