"""Which spectra are odd, how sure that is, and why: every spectrum of a study against its held-out ones.

Four reasons: the model does not reproduce it (chi2), a run of pixels stands off (pixels), its code lies apart
(density), its catalogue labels are not those its code tells (labels). p is conformal: by the rank of a
spectrum among those of targets the network never saw, one a target; 1 in 100 sound spectra has p <= .01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measures.evidence import Floats
from .residuals import Left

if TYPE_CHECKING:
    import pandas as pd

REASONS = ("chi2", "pixels", "density", "labels")
TELL = 2.0  # surprise from which a reason is put into words: 1 in 100 sound spectra has as much
NEAR = 10  # neighbours by which it is told how lonely a code is
TAIL = (0.9, 0.97)  # quantiles by which the tail of the sound spectra is judged
GROSS = 0.01  # expected number of sound held-out spectra beyond which one is taken for odd itself


@dataclass(frozen=True, eq=False)
class Usual:
    """What a score is in held-out spectra: values (h,), rising; odd ones among them left out."""

    values: Floats

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
        """-log10 of p (n,), carried on beyond the largest value seen by the slope of the tail: to rank by."""
        begin, width = self.tail
        beyond = np.maximum(score - begin, 0) / width
        bulk = -np.log10(self.p(np.minimum(score, begin)))
        return np.asarray(bulk + beyond / np.log(10))


def usual(scores: Floats) -> Usual:
    """The usual scores (h,): without those that the tail of the others has no room for."""
    values = np.sort(scores[np.isfinite(scores)])
    for _ in range(3):
        if values.size < 50:
            break
        begin, width = Usual(values).tail
        room = (1 - TAIL[1]) * values.size * np.exp(-(values - begin) / width)
        kept = values[(room >= GROSS) | (values <= begin)]
        if kept.size == values.size:
            break
        values = kept
    return Usual(values)


def loneliness(
    x: Floats, rows: Floats, *, keys: NDArray[np.int64] | None, row_keys: NDArray[np.int64]
) -> Floats:
    """Log of the mean distance of codes x (n, k) to their nearest among rows (m, k), not of their target."""
    from scipy.spatial import cKDTree

    if not x.shape[1] or len(rows) <= NEAR:
        return np.zeros(len(x))
    count = NEAR + (keys is not None)
    found = cKDTree(rows).query(x, k=count)
    far, near = np.asarray(found[0], dtype=np.float64), np.asarray(found[1], dtype=np.intp)
    if keys is None:
        return np.asarray(np.log(np.maximum(far.mean(1), 1e-9)))
    own = row_keys[near] == keys[:, None]
    own[~own.any(1), -1] = True  # the same number of neighbours for all
    mean = np.where(own, 0, far).sum(1) / np.maximum((~own).sum(1), 1)
    return np.asarray(np.log(np.maximum(mean, 1e-9)))


@dataclass(frozen=True, eq=False)
class Judged:
    """n spectra against the usual ones. p and surprise: reason -> (n,), NaN where it does not apply."""

    p: dict[str, Floats]
    surprise: dict[str, Floats]
    whole: Floats  # p of all reasons together, (n,)
    rank_by: Floats  # the largest surprise, (n,)


def label_surprise(strange: Mapping[str, Floats], known: Mapping[str, Usual], n: int) -> Floats:
    """The largest surprise of any label, (n,); NaN where none is known."""
    most = np.full(n, np.nan)
    for name, values in strange.items():
        if name in known and known[name].values.size:
            most = np.fmax(most, np.where(np.isfinite(values), known[name].surprise(values), np.nan))
    return most


def judge(
    scores: Mapping[str, Floats], reference: Mapping[str, Usual], *, together: tuple[Usual, Usual] | None
) -> Judged:
    """Scores (reason -> (n,)) against the usual ones; `together`: without labels, and with them."""
    p = {name: reference[name].p(values) for name, values in scores.items()}
    surprise = {name: reference[name].surprise(values) for name, values in scores.items()}
    bare = np.max([surprise[name] for name in REASONS[:3]], axis=0)
    if "labels" not in scores:
        return Judged(p, surprise, together[0].p(bare) if together else np.full_like(bare, np.nan), bare)
    most = np.fmax(bare, surprise["labels"])
    if together is None:
        return Judged(p, surprise, np.full_like(bare, np.nan), most)
    labelled = np.isfinite(surprise["labels"])
    return Judged(p, surprise, np.where(labelled, together[1].p(most), together[0].p(bare)), most)


def scores_of(left: Left, lonely: Floats, labels: Floats | None) -> dict[str, Floats]:
    """The scores that are judged, by reason; `labels` the largest surprise of any label."""
    found = {"chi2": np.log(np.maximum(left.chi2, 1e-12)), "pixels": np.abs(left.worst), "density": lonely}
    return found if labels is None else found | {"labels": labels}


# --- words


def words(
    i: int,
    *,
    judged: Judged,
    left: Left,
    wavelength: Floats,
    labels: Callable[[int], str],
) -> str:
    """Why spectrum i is odd, in plain words, the strongest reason first; '' where nothing is.

    labels  says which catalogue label is off, and by what
    """
    told = [name for name in judged.p if judged.surprise[name][i] >= TELL]
    told.sort(key=lambda name: -judged.surprise[name][i])
    text = {
        "chi2": f"the model does not reproduce it: chi2 a pixel {left.chi2[i]:.3g}",
        "pixels": _run(left, i, wavelength),
        "density": "its code lies apart from the others",
        "labels": labels(i) if "labels" in told else "",
    }
    return "; ".join(f"{text[name]} (p {judged.p[name][i]:.2g})" for name in told)


def _run(left: Left, i: int, wavelength: Floats) -> str:
    first, last = int(left.first[i]), int(left.last[i])
    wide = last - first + 1
    what = "too little light"
    if left.worst[i] > 0:
        what = "too much light" + (", a cosmic ray or a narrow line" if wide <= 4 else ", an emission line?")
    place = f"{wavelength[first]:.2f}" + (f"..{wavelength[last]:.2f}" if wide > 1 else "")
    return f"{what} at {place} angstrom, {left.worst[i]:+.1f} sigma over {wide} pixels"


def label_words(i: int, strange: Mapping[str, Floats], told: Mapping[str, Any], labels: pd.DataFrame) -> str:
    """The catalogue label that is furthest off."""
    known = {name: values[i] for name, values in strange.items() if np.isfinite(values[i])}
    if not known:
        return ""
    reach = {
        name: 0.0 if not told[name].categorical and not np.isfinite(told[name].high[i]) else value
        for name, value in known.items()
    }
    # by how much the label lies beyond its interval, so that labels compare
    for name in reach:
        one = told[name]
        if not one.categorical and reach[name]:
            reach[name] = abs(labels[name].iloc[i] - one.value[i]) / max(one.high[i] - one.value[i], 1e-300)
    name = max(reach, key=lambda key: reach[key])
    one, given = told[name], labels[name].iloc[i]
    if one.categorical:
        return f"its label {name} is {given!r}, its code says {one.sets[i].replace('|', ' or ')!r}"
    return (
        f"its label {name} is {given:.6g}, its code says {one.value[i]:.6g} ({one.low[i]:.6g} to "
        f"{one.high[i]:.6g})"
    )
