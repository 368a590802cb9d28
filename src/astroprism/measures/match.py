"""Which label, or header keyword, tells what a node holds: a family of pairs under one false-discovery rate.

Plain arrays in, frozen results out; a row a spectrum. docs/design/findings.md says which rule is why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import (
    EvidenceError,
    MutualInformation,
    benjamini_hochberg,
    conditional_mutual_information,
    mutual_information,
    screened_information,
)
from .evidence import Floats, Rows, column, finite, one_a_target, ranks
from .evidence import plain as plain
from .nulls import chance_p, equal_bins
from .spacing import FEWEST

EXPLAINS_NATS, EXPLAINS_Q = 0.1, 0.05
OWN_NATS = 0.1  # what a label must add to stronger ones, not to be their shadow
FINEST_NULL, MOST_NULL = 100_000, 400_000
NULL_A_PAIR = 40  # draws for each pair of the family: a lone true pair can then reach q = 1/40
FEWEST_GIVEN = 100  # rows that a conditional measure wants
LADDER = 1.05


@dataclass(frozen=True)
class Match:
    """What one node and one label tell of each other.

    nats, low, high   mutual information by nearest neighbours with its 90 % interval over targets; NaN in a
                      sweep where the pair did not pass
    screen            the same by equal-count bins, less Miller and Madow's bias: what p was made from
    p, q              of independence; q after Benjamini and Hochberg over the whole family
    share             of the label's entropy
    n                 targets known in both
    conditional*      nats given the labels in `given`: what this label tells beyond them
    shadow_of         stronger labels of this node, beyond which this one tells less than 0.1 nat
    """

    node: int
    label: str
    categorical: bool
    nats: float
    low: float
    high: float
    screen: float
    p: float
    q: float
    share: float
    n: int
    conditional: float = float("nan")
    conditional_low: float = float("nan")
    conditional_high: float = float("nan")
    given: tuple[str, ...] = ()
    shadow_of: tuple[str, ...] = ()

    @property
    def explains(self) -> bool:
        """Whether the low end is 0.1 nat or more, at q <= .05."""
        return bool(self.low >= EXPLAINS_NATS and self.q <= EXPLAINS_Q)

    def summary(self) -> dict[str, Any]:
        """The match as findings.json keeps it."""
        return {
            "label": self.label,
            "mi_nats": self.nats,
            "mi_low": self.low,
            "mi_high": self.high,
            "p": self.p,
            "q": self.q,
            "share_of_entropy": self.share,
            "conditional_mi_nats": self.conditional,
            "conditional_low": self.conditional_low,
            "conditional_high": self.conditional_high,
            "given": list(self.given),
            "shadow_of": list(self.shadow_of),
            "explains": self.explains,
            "n": self.n,
        }


@dataclass(frozen=True)
class Matches:
    """A family of pairs; left_out says why a label took no part. null: draws behind each p."""

    pairs: tuple[Match, ...]
    left_out: dict[str, str]
    null: int

    def of_node(self, node: int) -> list[Match]:
        """Pairs of one node, the strongest first; those without nats by their screen."""
        mine = [pair for pair in self.pairs if pair.node == node]
        return sorted(mine, key=lambda pair: -(pair.nats if np.isfinite(pair.nats) else pair.screen - 1e3))

    def of_label(self, label: str) -> list[Match]:
        """Pairs of one label, the strongest first."""
        mine = [pair for pair in self.pairs if pair.label == label]
        return sorted(mine, key=lambda pair: -(pair.nats if np.isfinite(pair.nats) else pair.screen - 1e3))

    def table(self) -> dict[str, list[Any]]:
        """Columns over pairs, for a data frame."""
        rows = [asdict(pair) | {"explains": pair.explains} for pair in self.pairs]
        for row in rows:
            row["given"], row["shadow_of"] = ", ".join(row["given"]), ", ".join(row["shadow_of"])
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


@dataclass(frozen=True)
class Label:
    """A label ready to be matched: values, rows known, one row a target."""

    name: str
    given: Any  # as the caller gave it
    values: NDArray[Any]
    categorical: bool
    rows: Rows


def match_labels(
    codes: ArrayLike,
    labels: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
    draws: int = 1,
    conditional: bool = True,
) -> Matches:
    """Match nodes with labels; the family is all pairs.

    codes   (n, nodes), sampled from the posteriors (`information.sampled_codes`): means are blind to scale
    labels  name -> (n,), numbers or text, blank where unknown
    nodes   those that take part, all by default: the informative and the doubtful ones
    groups  (n,) the target of each row; a target counts once, however often it was visited
    draws   rows a target that mutual information is averaged over
    """
    z, chosen, targets = evidence_of(codes, nodes, groups)
    ready, left_out = usable_labels(labels, len(z), targets, seed)
    null = _null_size(len(chosen) * len(ready))
    screened = [_screen(z, label, chosen, null=null, seed=seed) for label in ready]
    p = np.array([[p for _, p in row] for row in screened]).reshape(len(ready), len(chosen))
    q = benjamini_hochberg(p)
    pairs = []
    for label, row, row_q in zip(ready, screened, q, strict=True):
        for node, (screen, one_p), one_q in zip(chosen, row, row_q, strict=True):
            told = _told(z, label, node, targets, seed=seed, draws=draws)
            pairs.append(_pair(node, label, told, screen, one_p, float(one_q)))
    if conditional:
        by_name = {label.name: label for label in ready}
        pairs = [_conditioned(z, pair, by_name, targets, seed) for pair in pairs]
        for node in chosen:
            pairs = _shaded(z, pairs, node, by_name, targets, seed)
    return Matches(tuple(pairs), left_out, null)


def sweep_keywords(
    codes: ArrayLike,
    keywords: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Matches:
    """Match nodes with every numeric header keyword: a family of its own.

    Nearest neighbours are asked only about pairs that pass q <= .05. Keywords are many, and each lacks other
    rows: the screen leaves out up to 5 % of a keyword's rows, so that keywords share their nulls.
    """
    z, chosen, targets = evidence_of(codes, nodes, groups)
    ready, left_out = usable_labels(keywords, len(z), targets, seed)
    null = _null_size(len(chosen) * len(ready))
    rounded = [replace(label, rows=_rounded(label.rows, seed)) for label in ready]
    screened = [_screen(z, label, chosen, null=null, seed=seed) for label in rounded]
    p = np.array([[p for _, p in row] for row in screened]).reshape(len(ready), len(chosen))
    q = benjamini_hochberg(p)
    pairs = []
    for label, row, row_q in zip(ready, screened, q, strict=True):
        for node, (screen, one_p), one_q in zip(chosen, row, row_q, strict=True):
            told = _told(z, label, node, targets, seed=seed, draws=1) if one_q <= EXPLAINS_Q else None
            pairs.append(_pair(node, label, told, screen, one_p, float(one_q)))
    return Matches(tuple(pairs), left_out, null)


# --- what takes part


def evidence_of(
    codes: ArrayLike, nodes: Sequence[int] | None, groups: ArrayLike | None
) -> tuple[Floats, list[int], NDArray[Any] | None]:
    """Codes (n, nodes), the nodes that take part and the targets (n,), checked."""
    z = np.asarray(codes, dtype=np.float64)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise EvidenceError(f"codes must be finite numbers (spectra, nodes), not of shape {z.shape}")
    chosen = list(range(z.shape[1])) if nodes is None else [int(node) for node in nodes]
    wrong = [node for node in chosen if not 0 <= node < z.shape[1]]
    if wrong:
        raise EvidenceError(f"node {wrong[0]} is none of the {z.shape[1]} nodes of the codes")
    targets = None if groups is None else np.asarray(groups)
    if targets is not None and targets.shape != (len(z),):
        raise EvidenceError(f"{len(z)} spectra, but groups of shape {targets.shape}; give each its target")
    return z, chosen, targets


def usable_labels(
    labels: Mapping[str, ArrayLike], n: int, groups: NDArray[Any] | None, seed: int
) -> tuple[list[Label], dict[str, str]]:
    """Labels that can be matched, and why the others cannot."""
    ready, left_out = [], {}
    for name, given in labels.items():
        values, categorical = column(plain(given), str(name), categorical=None)
        if len(values) != n:
            raise EvidenceError(f"label {name!r} has {len(values)} rows, the codes {n}")
        rows = one_a_target(finite(values), groups, np.random.default_rng(seed))
        if rows.size < FEWEST:
            left_out[str(name)] = f"known for {rows.size} targets; {FEWEST} are needed"
        elif (values[rows] == values[rows[0]]).all():
            left_out[str(name)] = "has one value only"
        elif categorical and np.bincount(values[rows]).max() < 2:
            left_out[str(name)] = "differs from target to target"
        else:
            ready.append(Label(str(name), plain(given), values, categorical, rows))
    return ready, left_out


def _null_size(pairs: int) -> int:
    return int(np.clip(NULL_A_PAIR * pairs, FINEST_NULL, MOST_NULL))


def _rounded(rows: Rows, seed: int) -> Rows:
    """A few rows less, so that their number is one of a ladder."""
    step = int(np.floor(np.log(rows.size / FEWEST) / np.log(LADDER) + 1e-9))
    most = min(rows.size, max(FEWEST, int(FEWEST * LADDER**step)))
    return np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))


# --- measures of a pair


def _screen(
    z: Floats, label: Label, nodes: Sequence[int], *, null: int, seed: int
) -> list[tuple[float, float]]:
    """(screened nats, p) of each node with one label."""
    rng = np.random.default_rng(seed)
    y = label.values[label.rows]
    in_y = np.unique(y, return_inverse=True)[1] if label.categorical else equal_bins(ranks(y, rng))
    found = []
    for node in nodes:
        in_x = equal_bins(ranks(z[label.rows, node], rng))
        p = chance_p(in_x, in_y.astype(np.int64), draws=null)
        found.append((screened_information(in_x, in_y.astype(np.int64))[0], p))
    return found


def _told(
    z: Floats, label: Label, node: int, groups: NDArray[Any] | None, *, seed: int, draws: int
) -> MutualInformation:
    return mutual_information(
        z[:, node],
        label.given,
        groups=groups,
        categorical=label.categorical or None,
        seed=seed,
        draws=draws,
        null=0,
    )


def _pair(
    node: int, label: Label, told: MutualInformation | None, screen: float, p: float, q: float
) -> Match:
    nothing = float("nan")
    return Match(
        node=node,
        label=label.name,
        categorical=label.categorical,
        nats=told.nats if told else nothing,
        low=told.low if told else nothing,
        high=told.high if told else nothing,
        screen=screen,
        p=p,
        q=q,
        share=told.share if told else nothing,
        n=told.n if told else int(label.rows.size),
    )


def _conditioned(
    z: Floats, pair: Match, labels: Mapping[str, Label], groups: NDArray[Any] | None, seed: int
) -> Match:
    """The pair with what it tells beyond all other labels, where it tells anything at all."""
    if not (pair.q <= EXPLAINS_Q and pair.low > 0):
        return pair
    given = _given(labels[pair.label], [one for name, one in labels.items() if name != pair.label])
    told = _beyond(z[:, pair.node], labels[pair.label], given, groups, seed)
    if told is None:
        return pair
    return replace(
        pair,
        conditional=told.nats,
        conditional_low=told.low,
        conditional_high=told.high,
        given=tuple(one.name for one in given),
    )


def _given(label: Label, others: Sequence[Label]) -> list[Label]:
    """The other labels, best known first, as long as half of this label's rows know them all."""
    kept: list[Label] = []
    rows = label.rows
    for other in sorted(others, key=lambda one: -np.intersect1d(label.rows, one.rows).size):
        both = np.intersect1d(rows, other.rows)
        if both.size >= max(FEWEST_GIVEN, label.rows.size / 2):
            kept.append(other)
            rows = both
    return kept


def _beyond(
    x: Floats, label: Label, given: Sequence[Label], groups: NDArray[Any] | None, seed: int
) -> MutualInformation | None:
    """I(x; label | given), or None where too few rows know them all."""
    if not given:
        return None
    known = np.intersect1d(label.rows, given[0].rows)
    for other in given[1:]:
        known = np.intersect1d(known, other.rows)
    if known.size < FEWEST_GIVEN:
        return None
    z = np.column_stack([_numbers(one, x)[known] for one in given])
    of = None if groups is None else groups[known]
    return conditional_mutual_information(x[known], _numbers(label, x)[known], z, groups=of, seed=seed)


def _numbers(label: Label, x: Floats) -> Floats:
    """A label as numbers; classes in the order of the node's mean rank in them.

    Means are drawn to the whole's by ten rows: a class of one row would otherwise hold the node itself.
    """
    if not label.categorical:
        return np.asarray(label.values, dtype=np.float64)
    rank = np.zeros(len(x))
    rank[label.rows] = np.argsort(np.argsort(x[label.rows])) / label.rows.size - 0.5
    classes = label.values[label.rows]
    total = np.bincount(classes, weights=rank[label.rows])
    mean = total / (np.bincount(classes) + 10.0)
    known = (label.values >= 0) & (label.values < len(mean))
    return np.where(known, mean[np.where(known, label.values, 0)], np.nan)


def _shaded(
    z: Floats,
    pairs: Sequence[Match],
    node: int,
    labels: Mapping[str, Label],
    groups: NDArray[Any] | None,
    seed: int,
) -> list[Match]:
    """The pairs, with those of one node that are shadows of its stronger labels told as such."""
    mine = sorted((p for p in pairs if p.node == node and p.explains), key=lambda p: -p.nats)
    own: list[str] = []
    shadows: dict[str, tuple[str, ...]] = {}
    for pair in mine:
        told = _beyond(z[:, node], labels[pair.label], [labels[name] for name in own], groups, seed)
        if told is not None and told.nats < OWN_NATS:
            shadows[pair.label] = tuple(own)
        else:
            own.append(pair.label)
    return [
        replace(pair, shadow_of=shadows[pair.label]) if pair.node == node and pair.label in shadows else pair
        for pair in pairs
    ]
