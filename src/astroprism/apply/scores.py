"""How odd spectra are: scores, their conformal p against held-out spectra, and the reasons in words.

Four reasons: the model does not reproduce it (chi2), a run of pixels deviates (pixels), its code is isolated
(density), its catalogue labels are not those predicted from its code (labels). p is conformal: by the rank of
a spectrum among those of targets that the network was not trained on, one per target; 1 in 100 sound spectra
has p <= .01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT, convert_medium
from ..measures.evidence import Floats
from ..measures.features import width_kind
from ..measures.line_tables import near_known
from ..measures.probe import Prediction
from .residuals import WIDTHS, Residuals

if TYPE_CHECKING:
    import pandas as pd

REASONS = ("chi2", "pixels", "density", "labels")
WITHOUT_LABELS = REASONS[:3]
REPORTED = 2.0  # surprise from which a reason is put into words: 1 in 100 sound spectra has as much
NEIGHBOURS = 10  # whose mean distance says how isolated a code is
TAIL = (0.9, 0.97)  # quantiles from which the tail of the sound spectra is extrapolated
MOVING = 100.0  # km/s by which a star may move, where a residual is named after a line nearby
GROSS = 0.01  # expected number of sound held-out spectra below which one is taken for odd itself


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """One score of held-out spectra: values (h,), ascending, odd ones among them left out."""

    values: Floats

    @classmethod
    def from_scores(cls, scores: Floats) -> HeldOutScores:
        """Of scores (h,), without those that the tail of the others has no room for."""
        values = np.sort(scores[np.isfinite(scores)])
        for _ in range(3):
            if values.size < 50:
                break
            begin, width = HeldOutScores(values).tail
            room = (1 - TAIL[1]) * values.size * np.exp(-(values - begin) / width)
            kept = values[(room >= GROSS) | (values <= begin)]
            if kept.size == values.size:
                break
            values = kept
        return cls(values)

    @property
    def tail(self) -> tuple[float, float]:
        """Where the tail begins, and by how much the score rises while it thins out e-fold."""
        if self.values.size < 2:
            return (float(self.values[-1]) if self.values.size else 0.0), 1.0
        low, high = np.quantile(self.values, TAIL)
        width = (high - low) / np.log((1 - TAIL[0]) / (1 - TAIL[1]))
        return float(high), float(max(width, 1e-9 * max(abs(high), 1e-9)))

    def p(self, score: Floats) -> Floats:
        """Conformal p of scores (n,); NaN where the score is unknown."""
        above = self.values.size - np.searchsorted(self.values, score, side="left")
        return np.where(np.isfinite(score), (1 + above) / (self.values.size + 1), np.nan)

    def surprise(self, score: Floats) -> Floats:
        """-log10 of p (n,), continued beyond the largest value by the slope of the tail: to rank by."""
        begin, width = self.tail
        beyond = np.maximum(score - begin, 0) / width
        bulk = -np.log10(self.p(np.minimum(score, begin)))
        return np.asarray(bulk + beyond / np.log(10))


@dataclass(frozen=True, eq=False)
class Oddness:
    """How odd n spectra are.

    p, surprise   reason -> (n,), NaN where it does not apply
    p_all         of all reasons together, (n,)
    surprise_all  the largest of any reason, (n,): to rank by
    """

    p: dict[str, Floats]
    surprise: dict[str, Floats]
    p_all: Floats
    surprise_all: Floats


def isolation(
    x: Floats, rows: Floats, *, keys: NDArray[np.int64] | None, row_keys: NDArray[np.int64]
) -> Floats:
    """Log of the mean distance of codes x (n, k) to their nearest among rows (m, k) of other targets."""
    from scipy.spatial import cKDTree

    if not x.shape[1] or len(rows) <= NEIGHBOURS:
        return np.zeros(len(x))
    count = NEIGHBOURS + (keys is not None)
    distance, place = cKDTree(rows).query(x, k=count)
    far, near = np.asarray(distance, dtype=np.float64), np.asarray(place, dtype=np.intp)
    if keys is None:
        return np.asarray(np.log(np.maximum(far.mean(1), 1e-9)))
    own = row_keys[near] == keys[:, None]
    own[~own.any(1), -1] = True  # the same number of neighbours for all
    mean = np.where(own, 0, far).sum(1) / np.maximum((~own).sum(1), 1)
    return np.asarray(np.log(np.maximum(mean, 1e-9)))


def label_surprise(distances: Mapping[str, Floats], known: Mapping[str, HeldOutScores], n: int) -> Floats:
    """The largest surprise of any label, (n,); NaN where none is known.

    distances  of catalogue labels from the predicted ones, label -> (n,); see `probe.label_residuals`
    """
    most = np.full(n, np.nan)
    for name, values in distances.items():
        if name in known and known[name].values.size:
            most = np.fmax(most, np.where(np.isfinite(values), known[name].surprise(values), np.nan))
    return most


def scores_of(residuals: Residuals, isolated: Floats, labels: Floats | None) -> dict[str, Floats]:
    """The scores, by reason, (n,) each; `labels` is the largest surprise of any label."""
    scores = {
        "chi2": np.log(np.maximum(residuals.chi2, 1e-12)),
        "pixels": np.abs(residuals.worst),
        "density": isolated,
    }
    return scores if labels is None else scores | {"labels": labels}


def oddness(
    scores: Mapping[str, Floats],
    held_out: Mapping[str, HeldOutScores],
    *,
    together: tuple[HeldOutScores, HeldOutScores] | None,
) -> Oddness:
    """Scores (reason -> (n,)) against those of held-out spectra.

    together  the largest surprise of held-out spectra, without labels and with them
    """
    p = {name: held_out[name].p(values) for name, values in scores.items()}
    surprise = {name: held_out[name].surprise(values) for name, values in scores.items()}
    bare = np.max([surprise[name] for name in WITHOUT_LABELS], axis=0)
    if "labels" not in scores:
        return Oddness(p, surprise, together[0].p(bare) if together else np.full_like(bare, np.nan), bare)
    most = np.fmax(bare, surprise["labels"])
    if together is None:
        return Oddness(p, surprise, np.full_like(bare, np.nan), most)
    labelled = np.isfinite(surprise["labels"])
    return Oddness(p, surprise, np.where(labelled, together[1].p(most), together[0].p(bare)), most)


def score_columns(residuals: Residuals, odd: Oddness, wavelength: Floats) -> dict[str, Any]:
    """Scores and the p of each reason, as columns of a table."""
    columns: dict[str, Any] = {
        "chi2": residuals.chi2,
        "worst_sigma": residuals.worst,
        "worst_low": wavelength[residuals.first],
        "worst_high": wavelength[residuals.last],
    }
    return columns | {f"{name}_p": values for name, values in odd.p.items()}


# --- words


def reasons_text(
    i: int,
    *,
    odd: Oddness,
    residuals: Residuals,
    wavelength: Floats,
    element: float | None = None,
    medium: str = "vacuum",
    label_reason: Callable[[int], str] = lambda _: "",
) -> str:
    """Why spectrum i is odd, in plain words, the strongest reason first; '' where nothing is.

    wavelength    (p,) angstrom, in `medium`
    element       full width at half maximum of a narrow line, km/s; two pixels by default
    label_reason  says which catalogue label is off, and by how much
    """
    reported = [name for name in odd.p if odd.surprise[name][i] >= REPORTED]
    reported.sort(key=lambda name: -odd.surprise[name][i])
    text = {
        "chi2": f"the model does not reproduce it: chi2 a pixel {residuals.chi2[i]:.3g}",
        "pixels": _run(residuals, i, wavelength, element=element, medium=medium),
        "density": "its code lies apart from the others",
        "labels": label_reason(i) if "labels" in reported else "",
    }
    return "; ".join(f"{text[name]} (p {odd.p[name][i]:.2g})" for name in reported)


# what a run of pixels may be, by its width: with too much light, with too little
_MAY_BE = {
    "line": (", a cosmic ray or a narrow line", ", a narrow line that the model lacks, or bad pixels"),
    "broad line": (", as wide as a broad line", ", as wide as a broad line"),
    "band": (
        ", as wide as a band: molecules or calibration",
        ", as wide as a band: molecules or calibration",
    ),
    "smooth": (", too wide for lines: continuum or calibration",) * 2,
}


def _run(residuals: Residuals, i: int, wavelength: Floats, *, element: float | None, medium: str) -> str:
    first, last = int(residuals.first[i]), int(residuals.last[i])
    many = last - first + 1
    pixel = float(np.median(np.diff(np.log(wavelength)))) * SPEED_OF_LIGHT
    width = float(np.log(wavelength[last] / wavelength[first])) * SPEED_OF_LIGHT + pixel
    element = max(element or 0.0, 2 * pixel)
    span = float(np.log(wavelength[-1] / wavelength[0]))
    kind = width_kind(width, element=element, span=span)
    much = residuals.worst[i] > 0
    what = ("too much light" if much else "too little light") + _MAY_BE[kind][0 if much else 1]
    if kind in ("line", "broad line"):
        middle, low, high = convert_medium(
            np.array([wavelength[[first, last]].mean(), wavelength[0], wavelength[-1]]), medium, "vacuum"
        )
        reach = (element + width) / 2 + MOVING
        if name := near_known(float(middle), reach=reach, window=(float(low), float(high))):
            what += f" near {name}"
    place = f"{wavelength[first]:.2f}" + (f"..{wavelength[last]:.2f}" if many > 1 else "")
    more = " or more" if many == WIDTHS[-1] else ""
    return (
        f"{what}, at {place} angstrom: {residuals.worst[i]:+.1f} sigma over {many} pixels{more}, "
        f"{width:,.0f} km/s where a narrow line has {element:,.0f}"
    )


def label_text(
    i: int, distances: Mapping[str, Floats], predicted: Mapping[str, Prediction], labels: pd.DataFrame
) -> str:
    """The catalogue label of spectrum i that is furthest off."""
    known = {name: values[i] for name, values in distances.items() if np.isfinite(values[i])}
    if not known:
        return ""
    # by how much the label lies beyond its interval, so that labels compare
    reach = {}
    for name, distance in known.items():
        one = predicted[name]
        reach[name] = 0.0 if not one.categorical and not np.isfinite(one.high[i]) else distance
        if not one.categorical and reach[name]:
            reach[name] = abs(labels[name].iloc[i] - one.value[i]) / max(one.high[i] - one.value[i], 1e-300)
    name = max(reach, key=lambda key: reach[key])
    one, given = predicted[name], labels[name].iloc[i]
    if one.categorical:
        return f"its label {name} is {given!r}, its code says {one.sets[i].replace('|', ' or ')!r}"
    return (
        f"its label {name} is {given:.6g}, its code says {one.value[i]:.6g} ({one.low[i]:.6g} to "
        f"{one.high[i]:.6g})"
    )
