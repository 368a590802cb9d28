"""How many causes: two counts that could disagree, the seed paper's beside them, each with its range.

Arrays in, a frozen result out. Every array has a row per spectrum, one held-out spectrum per target.
docs/design/measures.md has the definitions, and what was measured of them.

Two bounds limit what switching a node off costs, in nats. `ablation_bound` here decides which nodes count as
causes, at a change of the flux by .0017. `prune_bound` in model/loss.py decides which nodes training keeps,
at .0014: lower, so that training does not remove what the count would find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..schema import Counts, CountSummary, DispersionCount, number
from .evidence import EvidenceError, Floats, codes_and_errors
from .spacing import FEWEST, LEVEL, code_information

INFORMATION_BOUND, INFORMATION_SOFT = 0.5, 0.1  # nats
SOFT_SHARE = 1 / 3  # the soft bound of ablation and of the paper's dispersion, as a share of the bound
MAD_THRESHOLD = 0.02  # Sedaghat et al. (2021), section 6.1
EFFECT = 0.0017  # the weakest cause that counts, as an even change of the flux, in units of the continuum
LEAST_BOUND = 1.0  # nats: a node that saves less does not pay for the half nat that makes it informative
ALIKE = 0.95  # rank correlation of codes that is reported where there is no decoder to look for copies with
WIDE = 2  # causes between the ends of a range, or as many as were counted: above that it says little
COPY_OVERLAP = 0.5  # share of what two nodes do to the spectrum that is the same


def causes_in_words(k: int) -> str:
    """So many causes."""
    return f"{k} cause{'s' * (k != 1)}"


def is_wide(low: int, high: int, k: int) -> bool:
    """Whether a range says so little that another count within it is no confirmation."""
    return high - low > max(WIDE, k)


def agreement(first: CountSummary, second: CountSummary) -> str:
    """What two counts say together, in words: equal ones of a wide range have not confirmed each other."""
    wide = [one for one in (first, second) if is_wide(one.low, one.high, one.k)]
    if wide and first.k == second.k:
        most = max(wide, key=lambda one: one.high - one.low)
        return (
            f"the two counts are equal, but as {most.low} to {most.high} are possible this says little: read "
            f"them as {min(first.low, second.low)} or more"
        )
    return "the two counts agree" if first.k == second.k else "the two counts DISAGREE"


@dataclass(frozen=True)
class MethodCount:
    """One method's count: distinct causes above `bound`; how many surely (low) and at most (high).

    nodes: one per cause, the highest first. score, score_low, score_high: of every node, with its 90 %
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

    def summary(self) -> CountSummary:
        """The count as findings.json keeps it."""
        return CountSummary(self.k, self.low, self.high, list(self.nodes), self.bound)


@dataclass(frozen=True)
class Count:
    """Both counts and the paper's, with their scores of every node (arrays over nodes).

    statistical, information: None where their input was not given; agree is None then. informative: above
    the bound in both, or in the one that was made; doubtful: in one of two. copies_of: the node that does the
    same to the spectrum and more of it, or -1. dispersion_ratio: var(mean) / E[sd^2], NaN without sd. alike:
    where copies could not be looked for, pairs of counted nodes whose codes follow each other, with their
    rank correlation; None where they were looked for.
    """

    statistical: MethodCount | None
    information: MethodCount | None
    mad: MethodCount
    agree: bool | None
    informative: NDArray[np.bool_]
    doubtful: NDArray[np.bool_]
    copies_of: NDArray[np.intp]
    dispersion_ratio: Floats
    n: int
    alike: tuple[tuple[int, int, float], ...] | None = None

    def summary(self) -> Counts:
        """The block "count" of findings.json."""
        first, second, mad = self.statistical, self.information, self.mad
        return Counts(
            statistical=None if first is None else first.summary(),
            information=None if second is None else second.summary(),
            mad=DispersionCount(mad.bound, mad.k, mad.low, mad.high, list(mad.nodes)),
            agree=self.agree,
            spectra=self.n,
        )

    def node(self, index: int) -> dict[str, Any]:
        """Keys of a node in findings.json that follow from the count."""
        methods = {"statistical": self.statistical, "information": self.information}
        nats = {name: None if one is None else number(one.score[index]) for name, one in methods.items()}
        copy = int(self.copies_of[index])
        return {
            "node": index,
            "information_nats": nats["information"],
            "ablation_nats": nats["statistical"],
            "mad": number(self.mad.score[index]),
            "dispersion_ratio": number(self.dispersion_ratio[index]),
            "informative": bool(self.informative[index]),
            "informative_by": [n for n, one in methods.items() if one and one.score[index] > one.bound],
            "doubtful": bool(self.doubtful[index]),
            "copies_of": None if copy < 0 else copy,
        }

    @property
    def agreement(self) -> str:
        """What the two counts say together, in words; '' where one was not made."""
        if self.statistical is None or self.information is None:
            return ""
        return agreement(self.statistical.summary(), self.information.summary())

    def text(self) -> str:
        """A short text for people."""
        ways = (("switching nodes off", self.statistical), ("information", self.information))
        lines = [
            f"{causes_in_words(one.k)} by {way} ({one.low} to {one.high}; nodes "
            f"{', '.join(map(str, one.nodes)) or 'none'}; bound {one.bound:.3g} nats)"
            for way, one in ways
            if one
        ]
        if self.agree is not None:
            lines.append(self.agreement)
        elif self.statistical is None:
            lines.append(
                "the statistical count was not made: it needs a decoder; give `ablation`, the rise of the "
                "misfit with each node fixed at its mean, and `bound`"
            )
        else:
            lines.append("the information count was not made: it needs `sd`, the error of each code")
        if self.alike is not None:
            pairs = ", ".join(f"{a} and {b} ({r:.2f})" for a, b, r in self.alike)
            lines.append(
                "copies were not looked for: give `overlap`, how much of what two nodes do is the same"
                + (f"; perhaps one cause each, by their rank correlation: nodes {pairs}" if pairs else "")
            )
        lines.append(f"the seed paper's spread above {self.mad.bound:g} would count {self.mad.k}")
        return "\n".join([*lines, f"{self.n:,} spectra, {len(self.copies_of)} nodes"])


def count(
    mean: ArrayLike,
    sd: ArrayLike | None = None,
    *,
    ablation: ArrayLike | None = None,
    bound: float | None = None,
    overlap: ArrayLike | None = None,
    copy_overlap: float = COPY_OVERLAP,
    null_ablation: ArrayLike | None = None,
    null_information: ArrayLike | None = None,
    identified: ArrayLike | None = None,
    seed: int = 0,
) -> Count:
    """Count the causes behind codes, by two methods where what both read is given.

    mean, sd          (spectra, nodes), one spectrum per target; without sd there is no information count, for
                      a code without error carries unlimited information
    ablation          (spectra, nodes), the rise of the negative log-likelihood in nats when the node is fixed
                      at its mean; without it there is no statistical count
    bound             nats, see `ablation_bound`
    overlap           (nodes, nodes) in 0..1, how much of what two nodes do to the spectrum is the same; above
                      copy_overlap they are copies, and one cause
    null_ablation     (spectra, m) the same rise for m nodes that no cause can have reached
    null_information  (m,) their information in nats
    identified        (nodes,) whether networks trained without the spectra find the node; what is not
                      identified is counted by `high` alone. All without

    What the nulls reach is subtracted from the scores; without them it is taken to be 0.
    """
    if sd is None and ablation is None:
        raise EvidenceError(
            "codes alone cannot be counted: a code without error carries unlimited information. Give "
            " `sd`, the error of each code (the posterior's, or the scatter of the codes of one spectrum "
            "under its noise), or `ablation` and `bound`, or both"
        )
    known = sd is not None
    mean, errors = codes_and_errors(mean, np.ones(np.shape(mean)) if sd is None else sd)
    n, nodes = mean.shape
    if n < FEWEST:
        raise EvidenceError(f"{n} spectra are too few to count causes in; give at least {FEWEST}")

    rise = None if ablation is None else _rises(ablation, "ablation", nodes=nodes)
    if rise is not None and len(rise) != n:
        raise EvidenceError(
            f"ablation has {len(rise)} spectra and the codes {n}; give both for the same spectra"
        )
    if rise is not None and (bound is None or not (np.isfinite(bound) and bound > 0)):
        raise EvidenceError(f"the ablation bound must be positive nats, not {bound}; see ablation_bound")

    carried = code_information(mean, errors, seed=seed) if known else None
    sure = np.ones(nodes, bool) if identified is None else np.asarray(identified, dtype=bool)
    strength = carried.nats if rise is None and carried is not None else np.zeros(nodes)
    copies = find_copies(strength if rise is None else rise.mean(axis=0), overlap, copy_overlap=copy_overlap)
    statistical = information = None
    if rise is not None and bound is not None:
        null = _null_level(None if null_ablation is None else _rises(null_ablation, "null_ablation"))
        error = LEVEL * rise.std(axis=0, ddof=1) / np.sqrt(n)
        statistical = _method(rise.mean(axis=0), error, error, copies, bound, bound * SOFT_SHARE, null, sure)
    if carried is not None:
        null = _null_level(None if null_information is None else np.asarray(null_information)[None])
        below, above = carried.nats - carried.low, carried.high - carried.nats
        information = _method(
            carried.nats, below, above, copies, INFORMATION_BOUND, INFORMATION_SOFT, null, sure
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
        np.ones(nodes, bool),  # the paper's count knows nothing of it
    )
    made = [one.score > one.bound for one in (statistical, information) if one is not None]
    counted = np.flatnonzero(np.logical_or.reduce(made))
    return Count(
        statistical=statistical,
        information=information,
        mad=mad,
        agree=statistical.k == information.k if statistical and information else None,
        informative=np.logical_and.reduce(made) & sure,
        doubtful=np.logical_or.reduce(made) & ~(np.logical_and.reduce(made) & sure),
        copies_of=copies,
        dispersion_ratio=mean.var(axis=0) / (errors**2).mean(axis=0) if known else np.full(nodes, np.nan),
        n=n,
        alike=_alike(mean, counted) if overlap is None else None,
    )


def _alike(mean: Floats, nodes: NDArray[np.intp]) -> tuple[tuple[int, int, float], ...]:
    """Pairs of nodes whose codes rise or fall together, and their rank correlation."""
    if len(nodes) < 2:
        return ()
    ranks = np.argsort(np.argsort(mean[:, nodes], axis=0), axis=0)
    same = np.asarray(np.corrcoef(ranks, rowvar=False))
    pairs = zip(*np.nonzero(np.triu(np.abs(same) > ALIKE, 1)), strict=True)
    return tuple((int(nodes[a]), int(nodes[b]), float(same[a, b])) for a, b in pairs)


def ablation_bound(
    sigma: ArrayLike, *, floor: float, good: ArrayLike | None = None, effect: float = EFFECT
) -> float:
    """The ablation bound in nats: what an even change of the flux by `effect` costs a spectrum.

    sigma: (spectra, pixels) or (pixels,), the errors of the normalised flux; floor: what training adds to
    them in quadrature. Pixels that are not good, or whose sigma is not finite, do not count. The bound grows
    with the pixels and with SNR^2, as the rise does that a given cause makes; it is a mean in which a
    spectrum that tells more than the median one counts as that one, as the rises must be (`loss.evened`).
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
    rows = zip(sigma, counted, strict=True)  # row by row: an archive's sigma is large
    total = np.array([(1 / (row[use].astype(np.float64) ** 2 + floor**2)).sum() for row, use in rows])
    return max(LEAST_BOUND, 0.5 * effect**2 * float(np.minimum(total, np.median(total)).mean()))


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
    sure: NDArray[np.bool_],
) -> MethodCount:
    """The count of one method: score with the lengths of its interval below and above it.

    sure  nodes that k and its low end may count; the high end counts the others, too
    """
    score = score - null
    cause = np.where(copies < 0, np.arange(score.size), copies)

    def causes(chosen: NDArray[np.bool_]) -> int:
        return int(np.unique(cause[chosen]).size)

    counted = np.flatnonzero((score > bound) & sure)
    counted = counted[np.argsort(-score[counted], kind="stable")]
    firsts = np.sort(np.unique(cause[counted], return_index=True)[1])
    return MethodCount(
        k=int(firsts.size),
        low=causes((score - below > bound) & sure),
        high=max(int(firsts.size), causes(score + above >= soft)),
        nodes=tuple(int(node) for node in counted[firsts]),
        bound=float(bound),
        soft=float(soft),
        null=null,
        score=score,
        score_low=score - below,
        score_high=score + above,
    )
