"""How codes are compared: which nodes, in which units, and which nodes are nuisances, not of the star.

docs/design/similar.md says why, with figures. Shapes: n spectra, d nodes of the network, k nodes compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import ConfigError
from ..schema import Findings

Floats = NDArray[np.float64]
SCALES = ("spread", "uncertainty", "visits")
MOST_VISITS = 20  # of one star that count when visits are compared
VISITS_PER_NODE = 10  # repeat visits for each node, from which they say what a star's visits differ by
# words of a label or header keyword by which a node is a nuisance, not of the star
NUISANCES = {
    "velocity": ("rv", "vrad", "radialvelocity", "vhelio", "hrv", "berv", "helcorr", "baryvel"),
    "atmosphere": ("telluric", "water", "pwv", "iwv", "humidity", "rhum", "airmass", "airm", "seeing"),
    "noise": ("snr", "sn", "s2n", "exptime", "exposure"),
    "instrument": ("tilt", "blaze", "resolution", "ccd", "detector", "fibre", "fiber", "mjd", "time"),
}
_OF = {word: kind for kind, words in NUISANCES.items() for word in words}


@dataclass(frozen=True)
class Metric:
    """How codes are compared: points = codes @ matrix, and distances of points are distances of spectra.

    nodes     that are compared
    left_out  node -> why it is a nuisance
    scale     spread: a node's own over the archive; uncertainty: of its codes; visits: what repeat visits of
              one star differ by, after what their nuisance nodes predict of that is subtracted
    matrix    (d, k)
    visits    repeat visits behind it, 0 where they played no part
    """

    nodes: tuple[int, ...]
    left_out: Mapping[int, str]
    scale: str
    matrix: Floats
    visits: int = 0

    def points(self, means: NDArray[np.floating]) -> Floats:
        """Points (n, k) of codes (n, d)."""
        used = np.flatnonzero(self.matrix.any(1))
        return np.asarray(means[..., used].astype(np.float64) @ self.matrix[used])


def nuisances(findings: Findings) -> dict[int, str]:
    """Informative node -> why it is of the velocity, the atmosphere, the noise or the instrument.

    By the label that explains it best; where none does, by lines of the air that it moves, or by a header
    keyword of its dossier.
    """
    found: dict[int, str] = {}
    for node in findings.nodes:
        if not node.counted:
            continue
        if matches := node.explained_by:
            label = max(matches, key=lambda match: match.mi_nats or 0.0).label
            if kind := _kind(label):
                found[node.node] = f"{kind}: {label}"
            continue
        keywords = node.dossier.keywords if node.dossier else []
        if node.lines and node.lines[0].frame == "sky":
            found[node.node] = f"atmosphere: moves {node.lines[0].name}"
        elif keywords and (kind := _kind(keywords[0].label)):
            found[node.node] = f"{kind}: keyword {keywords[0].label}"
    return found


def _kind(label: str) -> str | None:
    words = [word for word in re.split(r"[^a-z0-9]+", label.lower()) if word]
    return next((_OF[word] for word in [*words, "".join(words)] if word in _OF), None)


def metric(
    mean: NDArray[np.floating],
    sd: NDArray[np.floating],
    *,
    nodes: Sequence[int],
    left_out: Mapping[int, str] | None = None,
    targets: NDArray[np.object_] | None = None,
    scale: str | None = None,
) -> Metric:
    """How to compare the chosen nodes of codes (n, d).

    left_out  nuisance nodes, which are not compared; what they predict of the others is subtracted with
              scale 'visits'
    scale     None: visits where nuisances are left out and enough stars were observed again, uncertainty
              where not; spread where nothing is left out
    """
    left_out = dict(left_out or {})
    chosen, beside = [i for i in nodes if i not in left_out], sorted(left_out)
    check_choice("scale", scale, (None, *SCALES))
    if not chosen:
        raise ConfigError(
            f"no node is left to compare ({', '.join(map(str, nodes)) or 'none'} given, "
            f"{', '.join(map(str, beside)) or 'none'} left out as nuisances); name others with --nodes"
        )
    if beyond := [i for i in [*chosen, *beside] if not 0 <= i < mean.shape[1]]:
        raise ConfigError(f"node {beyond[0]}: the network has nodes 0 to {mean.shape[1] - 1}")
    matrix = np.zeros((mean.shape[1], len(chosen)))
    here = np.arange(len(chosen))
    if scale == "visits" or (scale is None and left_out):
        within, apart = _within(mean[:, [*chosen, *beside]], targets)
        if apart >= VISITS_PER_NODE * (len(chosen) + len(beside)):
            own, other = within[:, : len(chosen)], within[:, len(chosen) :]
            slope = np.linalg.lstsq(other, own, rcond=1e-6)[0]
            rest = own - other @ slope
            covariance = rest.T @ rest / apart
            # what rounding or a few visits leave undetermined must not dominate
            covariance[here, here] += 1e-6 * np.diag(covariance) + 1e-12
            white = np.linalg.inv(np.linalg.cholesky(covariance)).T
            matrix[chosen], matrix[beside] = white, -slope @ white
            return Metric(tuple(chosen), left_out, "visits", matrix, visits=round(apart))
        if scale == "visits":
            raise ConfigError(
                f"{apart:.0f} repeat visits are too few to say what visits of a star differ by; use --scale "
                "uncertainty"
            )
        scale = "uncertainty"
    if scale == "uncertainty":
        size = np.sqrt(np.mean(np.square(sd[:, chosen], dtype=np.float64), axis=0))
    else:
        size = mean[:, chosen].std(0, dtype=np.float64)
    matrix[chosen, here] = 1 / np.where(size > 0, size, 1.0)
    return Metric(tuple(chosen), left_out, scale or "spread", matrix)


def _within(codes: NDArray[np.floating], targets: NDArray[np.object_] | None) -> tuple[Floats, float]:
    """Codes of repeat visits about their star's mean (v, k), weighted, and the number they are worth."""
    import pandas as pd

    if targets is None:
        return np.zeros((0, codes.shape[1])), 0.0
    star, _ = pd.factorize(targets)
    visits = np.bincount(star)
    again = visits[star] > 1
    star, codes = star[again], codes[again].astype(np.float64)
    mean = np.stack([np.bincount(star, weights=one, minlength=len(visits)) for one in codes.T], axis=1)
    # one star, observed a thousand times, is not to decide for all
    weight = np.minimum(1.0, (MOST_VISITS - 1) / np.maximum(visits - 1, 1))
    about = (codes - (mean / np.maximum(visits, 1)[:, None])[star]) * np.sqrt(weight)[star][:, None]
    return about, float((weight * (visits - 1))[visits > 1].sum())
