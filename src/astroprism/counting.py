"""How many causes: two counts that could disagree, the seed paper's beside them, each with its range.

Arrays in, a frozen result out. Every array has a row a spectrum, one held-out spectrum a target.
docs/design/measures.md has the definitions, and what was measured of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .information import EvidenceError, code_information
from .information.evidence import Floats, codes_and_errors
from .information.spacing import LEVEL

INFORMATION_BOUND, INFORMATION_SOFT = 0.5, 0.1  # nats
SOFT_SHARE = 1 / 3  # the soft bound of ablation and of the paper's dispersion, as a share of the bound
MAD_THRESHOLD = 0.02  # Sedaghat et al. (2021), section 6.1
EFFECT = 0.003  # the weakest cause that counts, as an even change of the flux, in units of the continuum
LEAST_BOUND = 1.0  # nats: a node that saves less does not pay for the half nat that makes it informative
COPY_OVERLAP = 0.5  # share of what two nodes do to the spectrum that is the same


@dataclass(frozen=True)
class MethodCount:
    """One method's count: distinct causes above `bound`; how many surely (low) and at most (high).

    nodes: one a cause, the highest first. score, score_low, score_high: of every node, with its 90 %
    interval, less what the null reached.
    """

    k: int
    low: int
    high: int
    nodes: tuple[int, ...]
    bound: float
    soft: float
    null: float
    score: Floats
    score_low: Floats
    score_high: Floats

    def summary(self) -> dict[str, Any]:
        """The count as findings.json keeps it."""
        return {"k": self.k, "low": self.low, "high": self.high, "nodes": list(self.nodes)}


@dataclass(frozen=True)
class Count:
    """Both counts and the paper's, with what each says of every node (arrays over nodes).

    informative: above the bound in both; doubtful: in one only. copies_of: the node that does the same to the
    spectrum and more of it, or -1. dispersion_ratio: var(mean) / E[sd^2].
    """

    statistical: MethodCount
    information: MethodCount
    mad: MethodCount
    agree: bool
    informative: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    copies_of: NDArray[np.intp]
    dispersion_ratio: Floats
    n: int

    def summary(self) -> dict[str, Any]:
        """The block "count" of findings.json."""
        return {
            "statistical": {**self.statistical.summary(), "bound_nats": self.statistical.bound},
            "information": {**self.information.summary(), "bound_nats": self.information.bound},
            "mad": {"threshold": self.mad.bound, **self.mad.summary()},
            "agree": self.agree,
            "spectra": self.n,
        }

    def node(self, index: int) -> dict[str, Any]:
        """What findings.json says of one node, as far as the count knows it."""
        methods = {"statistical": self.statistical, "information": self.information}
        copy = int(self.copies_of[index])
        return {
            "node": index,
            "information_nats": float(self.information.score[index]),
            "ablation_nats": float(self.statistical.score[index]),
            "mad": float(self.mad.score[index]),
            "dispersion_ratio": float(self.dispersion_ratio[index]),
            "informative": bool(self.informative[index]),
            "informative_by": [name for name, one in methods.items() if one.score[index] > one.bound],
            "doubtful": bool(self.doubtful[index]),
            "copies_of": None if copy < 0 else copy,
        }


def count(
    mean: ArrayLike,
    sd: ArrayLike,
    *,
    ablation: ArrayLike,
    bound: float,
    overlap: ArrayLike | None = None,
    copy_overlap: float = COPY_OVERLAP,
    null_ablation: ArrayLike | None = None,
    null_information: ArrayLike | None = None,
    seed: int = 0,
) -> Count:
    """Count the causes behind codes.

    mean, sd: (spectra, nodes). ablation: (spectra, nodes), the rise of the negative log-likelihood in nats
    when the node is fixed at its mean. bound: nats, see ablation_bound. overlap: (nodes, nodes) in 0..1,
    how much of what two nodes do to the spectrum is the same; above copy_overlap they are copies, and one
    cause. null_ablation: (spectra, m) the same rise for m nodes that no cause can have reached;
    null_information: (m,) their information in nats. What the nulls reach is taken off the scores; without
    them it is taken to be 0.
    """
    mean, sd = codes_and_errors(mean, sd)
    n, nodes = mean.shape
    rise = _rises(ablation, "ablation", nodes=nodes)
    if len(rise) != n:
        raise EvidenceError(
            f"ablation has {len(rise)} spectra and the codes {n}; give both for the same spectra"
        )
    if not (np.isfinite(bound) and bound > 0):
        raise EvidenceError(f"the ablation bound must be positive nats, not {bound}; see ablation_bound")

    told = code_information(mean, sd, seed=seed)
    information_null = _null_level(None if null_information is None else np.asarray(null_information)[None])
    ablation_null = _null_level(None if null_ablation is None else _rises(null_ablation, "null_ablation"))
    rise_mean = rise.mean(axis=0)
    rise_error = LEVEL * rise.std(axis=0, ddof=1) / np.sqrt(n)

    copies = find_copies(rise_mean, overlap, copy_overlap=copy_overlap)
    statistical = _method(rise_mean, rise_error, rise_error, copies, bound, bound * SOFT_SHARE, ablation_null)
    information = _method(
        told.nats,
        told.nats - told.low,
        told.high - told.nats,
        copies,
        INFORMATION_BOUND,
        INFORMATION_SOFT,
        information_null,
    )
    spread, spread_low, spread_high = dispersion(mean)
    mad = _method(
        spread,
        spread - spread_low,
        spread_high - spread,
        copies,
        MAD_THRESHOLD,
        MAD_THRESHOLD * SOFT_SHARE,
        0.0,
    )
    by_rise, by_told = statistical.score > statistical.bound, information.score > information.bound
    return Count(
        statistical=statistical,
        information=information,
        mad=mad,
        agree=statistical.k == information.k,
        informative=by_rise & by_told,
        doubtful=by_rise ^ by_told,
        copies_of=copies,
        dispersion_ratio=mean.var(axis=0) / (sd**2).mean(axis=0),
        n=n,
    )


def ablation_bound(
    sigma: ArrayLike, *, floor: float, good: ArrayLike | None = None, effect: float = EFFECT
) -> float:
    """The ablation bound in nats: what an even change of the flux by `effect` costs a spectrum.

    sigma: (spectra, pixels) or (pixels,), the errors of the normalised flux; floor: what training adds to
    them in quadrature. Pixels that are not good, or whose sigma is not finite, carry nothing. It grows with
    the pixels and with SNR^2, as the rise does that a given cause makes.
    """
    sigma = np.atleast_2d(np.asarray(sigma))
    if not (np.isfinite(floor) and floor >= 0):
        raise EvidenceError(f"the floor of sigma must be 0 or more, not {floor}")
    counted = np.isfinite(sigma) & (sigma >= 0)
    counted &= np.hypot(np.where(counted, sigma, 0), floor) > 0
    if good is not None:
        counted &= np.broadcast_to(np.asarray(good, dtype=bool), sigma.shape)
    if not counted.any():
        raise EvidenceError(
            f"none of the {sigma.size} pixels has a usable sigma; an ablation bound needs some"
        )
    total = 0.0
    for row, use in zip(sigma, counted, strict=True):  # row by row: an archive's sigma is large
        total += float((1 / (row[use].astype(np.float64) ** 2 + floor**2)).sum())
    return max(LEAST_BOUND, 0.5 * effect**2 * total / len(sigma))


def find_copies(
    strength: ArrayLike, overlap: ArrayLike | None, *, copy_overlap: float = COPY_OVERLAP
) -> NDArray[np.intp]:
    """For each node the stronger one that it is a copy of, or -1.

    strength: (nodes,), overlap: (nodes, nodes). The strongest is kept first; each next one is a copy of the
    kept node it overlaps most, if by more than copy_overlap. So a chain of neighbours is not one cause.
    """
    strength = np.asarray(strength, dtype=np.float64)
    copies = np.full(strength.size, -1, dtype=np.intp)
    if overlap is None:
        return copies
    same = np.asarray(overlap, dtype=np.float64)
    if same.shape != (strength.size, strength.size):
        raise EvidenceError(
            f"the overlap matrix must be {strength.size} by {strength.size}, not {same.shape}"
        )
    if not np.isfinite(same).all():
        raise EvidenceError(f"{(~np.isfinite(same)).sum()} overlaps are not finite; give 0 for dead nodes")
    kept: list[int] = []
    for node in np.argsort(-strength, kind="stable"):
        best = max(kept, key=lambda one: same[node, one], default=-1)
        if best >= 0 and same[node, best] > copy_overlap:
            copies[node] = best
        else:
            kept.append(int(node))
    return copies


def dispersion(mean: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Median absolute deviation of each node's mean code, unscaled as in the paper, with its 90 % interval.

    The interval is that of a median: between order statistics.
    """
    mean = np.asarray(mean, dtype=np.float64)
    away = np.sort(np.abs(mean - np.median(mean, axis=0)), axis=0)
    n = len(away)
    half = LEVEL * np.sqrt(n) / 2
    first, last = max(0, int(np.floor(n / 2 - half))), min(n - 1, int(np.ceil(n / 2 + half)))
    return np.median(away, axis=0), away[first], away[last]


def _rises(ablation: ArrayLike, name: str, *, nodes: int | None = None) -> Floats:
    rise = np.asarray(ablation, dtype=np.float64)
    if rise.ndim != 2 or (nodes is not None and rise.shape[1] != nodes):
        wanted = "nodes" if nodes is None else str(nodes)
        raise EvidenceError(f"{name} must be (spectra, {wanted}), not {rise.shape}")
    if not np.isfinite(rise).all():
        raise EvidenceError(
            f"{(~np.isfinite(rise)).sum()} numbers of {name} are not finite; leave those spectra out"
        )
    return rise


def _null_level(scores: Floats | None) -> float:
    """What nodes without a cause reach: the 95 % point of their mean scores, never below 0."""
    if scores is None or scores.size == 0:
        return 0.0
    return max(0.0, float(np.quantile(scores.mean(axis=0), 0.95)))


def _method(
    score: Floats,
    below: Floats,
    above: Floats,
    copies: NDArray[np.intp],
    bound: float,
    soft: float,
    null: float,
) -> MethodCount:
    """The count of one method: score with the lengths of its interval below and above it."""
    score = score - null
    cause = np.where(copies < 0, np.arange(score.size), copies)

    def causes(chosen: NDArray[np.bool_]) -> int:
        return int(np.unique(cause[chosen]).size)

    counted = np.flatnonzero(score > bound)
    counted = counted[np.argsort(-score[counted], kind="stable")]
    firsts = np.sort(np.unique(cause[counted], return_index=True)[1])
    return MethodCount(
        k=int(firsts.size),
        low=causes(score - below > bound),
        high=max(int(firsts.size), causes(score + above >= soft)),
        nodes=tuple(int(node) for node in counted[firsts]),
        bound=float(bound),
        soft=float(soft),
        null=null,
        score=score,
        score_low=score - below,
        score_high=score + above,
    )
