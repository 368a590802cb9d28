"""Which nodes come back when a network is trained again on other stars: arrays in, a frozen result out.

A row per target that was held out of all trainings. docs/design/stability.md defines the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import t as student

from .evidence import EvidenceError, Floats, codes_and_errors, ranks
from .mutual import mutual_information
from .nulls import equal_bins
from .readout import read_out
from .spacing import FEWEST, code_information, sampled_codes

RETURNS = 0.5  # score from which a node is said to return: half of its variance, as for all shares here
# What two draws of one code share, as a share of variance, of a node that carries .5 nat: the least that is
# called informative. A weaker node is compared with this, or nothing divided by nothing could be 1.
LEAST_OWN = (1 - np.exp(-1.0)) ** 2
LEAST_HELD = 0.1  # nats that a node of a retraining must hold to take part in predicting a node from them all
NULL_VALUES = 100  # matched pairs of shuffled targets, of which the null's 95 % point is taken
NULL_LEVEL = 0.95
SCREENED_ROWS = 5_000  # of which pairs are screened


@dataclass(frozen=True)
class Return:
    """What one retraining has of one node.

    partner         its node, one to one
    nats, low, high mutual information of both nodes' sampled codes, with its 90 % interval over targets
    own             the same of two draws of the node's own codes: what a perfect twin would share
    score*          share of variance, see `shared_variance`
    told_by_all     share of the node's variance that all nodes of the retraining together predict: near 1
                    with a low score, the axes have turned; NaN where no node of it holds anything
    """

    retraining: int
    node: int
    partner: int
    nats: float
    low: float
    high: float
    own: float
    score: float
    score_low: float
    score_high: float
    told_by_all: float


@dataclass(frozen=True)
class Survival:
    """Scores over all retrainings, arrays over nodes: the mean, its 90 % interval, whether the node returns.

    null  what 95 % of matches stay below when targets are shuffled; n: targets
    """

    score: Floats
    low: Floats
    high: Floats
    told_by_all: Floats
    returns: NDArray[np.bool_]
    null: float
    retrainings: int
    n: int
    found: tuple[Return, ...]

    def node(self, index: int) -> dict[str, Any]:
        """Keys of a node in findings.json that follow from retrainings."""
        return {
            "survival": float(self.score[index]),
            "survival_interval": [float(self.low[index]), float(self.high[index])],
            "told_by_all_of_a_retraining": float(self.told_by_all[index]),
            "returns": bool(self.returns[index]),
        }

    def summary(self) -> dict[str, Any]:
        """The block "stability" of findings.json."""
        return {
            "retrainings": self.retrainings,
            "null": self.null,
            "targets": self.n,
            "returns_from": RETURNS,
        }

    def table(self) -> dict[str, list[Any]]:
        """Columns over retrainings and nodes, for a data frame."""
        rows = [asdict(one) | {"null": self.null} for one in self.found]
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def survive(
    mean: ArrayLike,
    sd: ArrayLike,
    *,
    others: Sequence[tuple[ArrayLike, ArrayLike]],
    names: Sequence[int] | None = None,
    seed: int = 0,
) -> Survival:
    """How well each node comes back.

    mean, sd  (n, nodes) codes of the network in question
    others    for each retraining the codes (n, m) of the same spectra
    names     their numbers, for the table; 0, 1 .. without
    """
    mean, sd = codes_and_errors(mean, sd)
    n, nodes = mean.shape
    if not others:
        raise EvidenceError("no retraining is given; survival needs one or more")
    if n < FEWEST:
        raise EvidenceError(f"{n} targets have codes of every training; survival needs {FEWEST}")
    codes = sampled_codes(mean, sd, seed=seed)
    again = sampled_codes(mean, sd, seed=seed + 1)
    own = [_nats(codes[:, i], again[:, i], seed).nats for i in range(nodes)]
    null = 0.0
    found: list[Return] = []
    for number, (other_mean, other_sd) in enumerate(others):
        other_mean, other_sd = codes_and_errors(other_mean, other_sd)
        if len(other_mean) != n:
            raise EvidenceError(f"retraining {number} codes {len(other_mean)} spectra, the model {n}")
        other = sampled_codes(other_mean, other_sd, seed=seed + 2 + number)
        held = code_information(other_mean, other_sd, seed=seed).nats > LEAST_HELD
        chance, reached = _null(codes, other, seed=seed)
        null = max(null, reached)
        for node, partner in _matched(codes, other, seed=seed):
            shared = _nats(codes[:, node], other[:, partner], seed)
            score, low, high = (
                shared_variance(nats, own=own[node], chance=chance)
                for nats in (shared.nats, shared.low, shared.high)
            )
            both = read_out(other[:, held], mean[:, node], seed=seed) if held.any() else None
            all_of_it = float("nan") if both is None else max(both.linear.value, both.nearest.value, 0.0)
            found.append(
                Return(
                    retraining=number,
                    node=node,
                    partner=partner,
                    nats=shared.nats,
                    low=shared.low,
                    high=shared.high,
                    own=own[node],
                    score=score,
                    score_low=low,
                    score_high=high,
                    told_by_all=all_of_it,
                )
            )
    whole = _over_all(found, nodes=nodes, retrainings=len(others), null=null, n=n)
    if names is None:
        return whole
    return replace(whole, found=tuple(replace(one, retraining=names[one.retraining]) for one in found))


def shared_variance(nats: float, *, own: float, chance: float = 0.0) -> float:
    """Share of what a node holds that a partner holds, too, 0..1, from their nats and the node's own.

    1 - exp(-2 I) is the share of variance of two normal columns that share I nats. It is divided by the
    same of the node's own nats: a code is a draw, and not even a twin shares its noise. What shuffled
    targets reach by chance is subtracted as in Cohen's kappa: (share - chance) / (1 - chance), never below 0.
    """
    share = min(1.0, _variance(nats) / max(_variance(own), LEAST_OWN))
    return float(max(0.0, (share - chance) / (1 - chance)))


def _variance(nats: float) -> float:
    return float(-np.expm1(-2 * max(nats, 0.0)))


def _nats(x: Floats, y: Floats, seed: int) -> Any:
    return mutual_information(x, y, seed=seed, null=0)


def _matched(codes: Floats, other: Floats, *, seed: int) -> list[tuple[int, int]]:
    """(node, partner) one to one, so that all pairs together share the most; by equal-count bins."""
    nodes, partners = linear_sum_assignment(-screens(codes, other, seed=seed))
    return list(zip(nodes.tolist(), partners.tolist(), strict=True))


def screens(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Floats:
    """Mutual information of every column of x (n, a) with every one of y (n, b) by equal-count bins: (a, b).

    The estimate of `nulls.screened_information`, of all pairs in one product of matrices.
    """
    rng = np.random.default_rng(seed)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) > SCREENED_ROWS:
        some = np.sort(rng.choice(len(x), SCREENED_ROWS, replace=False))
        x, y = x[some], y[some]
    n = len(x)
    in_x, in_y = (_indicators(columns, rng) for columns in (x, y))
    bins = in_x.shape[1] // x.shape[1]
    counts = (in_x.T @ in_y).reshape(x.shape[1], bins, y.shape[1], bins).astype(np.float64)
    share = counts / n
    of_x, of_y = share.sum(3, keepdims=True), share.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share / (of_x * of_y)), 0.0)
    occupied = (counts > 0).sum((1, 3)) - 2 * bins + 1
    return np.asarray(terms.sum((1, 3)) - occupied / (2 * n))


def _indicators(columns: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n, columns * bins): 1 in the bin that a row falls in."""
    binned = np.column_stack([equal_bins(ranks(one, rng)) for one in columns.T])
    bins = int(binned.max()) + 1
    n, count = binned.shape
    out = np.zeros((n, count * bins), dtype=np.float32)
    out[np.arange(n)[:, None], binned + bins * np.arange(count)] = 1
    return out


def _null(codes: Floats, other: Floats, *, seed: int) -> tuple[float, float]:
    """(mean share, score that 95 % stay below) of matched pairs where targets are shuffled.

    It holds what chance gives, and what choosing the best partners adds. Ranks of independent columns have
    one distribution, so all nodes share it.
    """
    rng = np.random.default_rng([seed, 1])
    shares: list[float] = []
    while len(shares) < NULL_VALUES:
        order = rng.permutation(len(other))
        shares += [
            shared_variance(_nats(codes[:, node], other[order, partner], seed).nats, own=0.0)
            for node, partner in _matched(codes, other[order], seed=seed)
        ]
    chance = float(np.mean(shares))
    return chance, max(0.0, (float(np.quantile(shares, NULL_LEVEL)) - chance) / (1 - chance))


def _over_all(found: Sequence[Return], *, nodes: int, retrainings: int, null: float, n: int) -> Survival:
    """Means over retrainings; a node without a partner in one of them scored 0 there."""
    value, low, high = (np.zeros((retrainings, nodes)) for _ in range(3))
    whole = np.full((retrainings, nodes), np.nan)
    for one in found:
        at = one.retraining, one.node
        value[at], low[at], high[at], whole[at] = one.score, one.score_low, one.score_high, one.told_by_all
    score = value.mean(0)
    # targets are the same in every retraining, so their error does not fall with the number of retrainings
    below, above = (value - low).mean(0), (high - value).mean(0)
    scatter = np.zeros(nodes)
    if retrainings > 1:
        scatter = student.ppf(0.95, retrainings - 1) * value.std(0, ddof=1) / np.sqrt(retrainings)
    lowest = np.clip(score - np.hypot(below, scatter), 0, 1)
    return Survival(
        score=score,
        low=lowest,
        high=np.clip(score + np.hypot(above, scatter), 0, 1),
        told_by_all=np.nan_to_num(whole).mean(0),
        returns=(score >= RETURNS) & (score > null),
        null=null,
        retrainings=retrainings,
        n=n,
        found=tuple(found),
    )
