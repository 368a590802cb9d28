"""What is planted into spectra on request: a second star, emission lines, cosmic rays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT, doppler_factor

Float = NDArray[np.floating]

# Vacuum angstrom: H alpha, H beta (Wiese & Fuhr 2009), Ca II K.
EMISSION_LINES = (6564.61, 4862.69, 3934.78)


def add_companion(primary: Float, secondary: Float, *, ratio: Float) -> Float:
    """Light of both stars at the mean level of one: (b, n) each; `ratio` of secondary to primary, (b,)."""
    weight = np.asarray(ratio, dtype=primary.dtype)[:, None]
    return np.asarray((primary + weight * secondary) / (1 + weight))


def add_emission(
    flux: Float, vacuum: NDArray[np.float64], *, rv: float, resolution: float, rng: np.random.Generator
) -> None:
    """Add emission lines of instrument width to one spectrum (n,) in place, in the frame of the star.

    Those of EMISSION_LINES that lie in the window; where none does, one at a random place.
    """
    centres = np.array(EMISSION_LINES) * float(doppler_factor(rv))
    inside = centres[(centres > vacuum[0]) & (centres < vacuum[-1])]
    if inside.size == 0:
        inside = vacuum[rng.integers(flux.size // 10, flux.size - flux.size // 10, size=1)]
    strengths = rng.uniform(0.8, 3.0, size=inside.size)
    level = float(np.median(flux[flux > 0])) if np.any(flux > 0) else 1.0
    for centre, strength in zip(inside, strengths, strict=True):
        at = min(max(int(np.searchsorted(vacuum, centre)), 1), vacuum.size - 1)
        pixel = vacuum[at] - vacuum[at - 1]
        # never narrower than the instrument, nor than a real line that several pixels sample
        width = max(centre / resolution / 2.355, 1.2 * pixel, 8.0 / SPEED_OF_LIGHT * centre)
        part = slice(max(0, at - int(6 * width / pixel) - 2), at + int(6 * width / pixel) + 2)
        flux[part] += (strength * level * np.exp(-0.5 * ((vacuum[part] - centre) / width) ** 2)).astype(
            flux.dtype
        )


def add_cosmics(flux: Float, sigma: Float, *, rng: np.random.Generator) -> int:
    """Add hits two to four pixels wide to one spectrum (n,) in place; returns how many.

    Several a spectrum, in live pixels only, each peak far above the noise. The errors stay: a pipeline
    that had seen the hit would have removed it.
    """
    live = np.flatnonzero(sigma > 0)
    if live.size < 8:
        return 0
    hits = int(rng.integers(4, 12))
    level = float(np.median(flux[live]))
    for _ in range(hits):
        start, width = int(live[rng.integers(live.size - 4)]), int(rng.integers(2, 5))
        part = slice(start, start + width)
        peak = max(30 * float(sigma[start]), level * rng.uniform(0.5, 4))
        shape = rng.uniform(0.3, 1.0, size=flux[part].size)
        shape[rng.integers(shape.size)] = 1.0
        flux[part] += (peak * shape * (sigma[part] > 0)).astype(flux.dtype)
    return hits
