"""Which labels and header keywords a node follows: a family of pairs under one false-discovery rate.

Plain arrays in, frozen results out; a row per spectrum. docs/design/findings.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from .. import schema
from ..schema import number
from ..targets.classes import FEW_MEMBERS, nearly_unique, pooled, pooled_text
from .conditional import Given, information_beyond
from .evidence import (
    EvidenceError,
    Floats,
    Rows,
    classes_if_few,
    column,
    column_values,
    finite,
    one_per_target,
    ranks,
)
from .mutual import MutualInformation, mutual_information
from .nulls import chance_p, equal_bins, screened_information
from .spacing import FEWEST

EXPLAINS_NATS, EXPLAINS_Q = 0.1, 0.05
OWN_NATS = 0.1  # what a label must add to stronger ones in order not to be their shadow
FINEST_NULL, MOST_NULL = 100_000, 400_000
NULL_PER_PAIR = 40  # draws per pair of the family: a single true pair can then reach q = 1/40
FEWEST_GIVEN = 100  # rows that a conditional measure needs
FINEST = 2
COARSE = 0.2  # different values a row, below which numbers are as coarse as classes
MOST_CLASSES, FEW_PER_CLASS = 60, 5  # different integers that may be names, and rows that each needs
LADDER = 1.05  # ratio of the numbers of rows between which nulls are shared


@dataclass(frozen=True)
class MatchResult:
    """What one node and one label share.

    nats, low, high   mutual information by nearest neighbours with its 90 % interval over targets; NaN in a
                      sweep where the pair did not pass
    screen            the same by equal-count bins, less Miller and Madow's bias: what p was made from
    p, q              of independence; q after Benjamini and Hochberg over the whole family
    share             of the label's entropy
    n                 targets known in both
    conditional*      nats given the labels in `given`: what this label adds to them
    shadow_of         labels of this node to which this one adds less than 0.1 nat: stronger ones, or a finer
                      one that says the same
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

    def summary(self) -> schema.Match:
        """The match as findings.json keeps it."""
        return schema.Match(
            label=self.label,
            mi_nats=number(self.nats),
            mi_low=number(self.low),
            mi_high=number(self.high),
            p=number(self.p),
            q=number(self.q),
            share_of_entropy=number(self.share),
            conditional_mi_nats=number(self.conditional),
            conditional_low=number(self.conditional_low),
            conditional_high=number(self.conditional_high),
            given=list(self.given),
            shadow_of=list(self.shadow_of),
            explains=self.explains,
            n=self.n,
            categorical=self.categorical or None,
        )


@dataclass(frozen=True)
class Matches:
    """A family of pairs; left_out says why a label took no part, pooled which of its classes are one.

    null: draws behind each p.
    """

    pairs: tuple[MatchResult, ...]
    left_out: dict[str, str]
    null: int
    pooled: dict[str, str] = field(default_factory=dict)

    def of_node(self, node: int) -> list[MatchResult]:
        """Pairs of one node, the strongest first; those without nats by their screen."""
        return _strongest_first([pair for pair in self.pairs if pair.node == node])

    def of_label(self, label: str) -> list[MatchResult]:
        """Pairs of one label, in the same order."""
        return _strongest_first([pair for pair in self.pairs if pair.label == label])

    def table(self) -> dict[str, list[Any]]:
        """Columns over pairs, for a data frame."""
        rows = [asdict(pair) | {"explains": pair.explains} for pair in self.pairs]
        for row in rows:
            row["given"], row["shadow_of"] = ", ".join(row["given"]), ", ".join(row["shadow_of"])
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _strongest_first(pairs: list[MatchResult]) -> list[MatchResult]:
    return sorted(pairs, key=lambda pair: -(pair.nats if np.isfinite(pair.nats) else pair.screen - 1e3))


@dataclass(frozen=True)
class Label:
    """A label ready to be matched: its values, and the rows where it is known, one per target."""

    name: str
    given: Any  # as the caller gave it, but with rare classes pooled
    values: NDArray[Any]
    categorical: bool
    rows: Rows
    pooled: str = ""  # which classes, in words

    @property
    def grain(self) -> int:
        """How fine it is: 0 for classes, 1 for numbers of few values, FINEST for others."""
        if self.categorical:
            return 0
        return FINEST - 1 + bool(np.unique(self.values[self.rows]).size > COARSE * self.rows.size)


def match_labels(
    codes: ArrayLike,
    labels: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    targets: ArrayLike | None = None,
    seed: int = 0,
    draws: int = 1,
    conditional: bool = True,
) -> Matches:
    """Match nodes with labels; the family is all pairs.

    codes    (n, nodes), sampled from the posteriors (`spacing.sampled_codes`): means ignore their scale
    labels   name -> (n,), numbers or text, blank where unknown
    nodes    those that take part, all by default; `find` takes the informative and the doubtful ones
    targets  (n,) the target of each row; one row per target is used, however often it was visited
    draws    rows per target over which mutual information is averaged
    """
    z, chosen, stars = checked_codes(codes, nodes, targets)
    ready, left_out = usable_labels(labels, len(z), stars, seed)
    null = _null_size(len(chosen) * len(ready))
    screened = [_screen(z, label, chosen, null=null, seed=seed) for label in ready]
    p = np.array([[p for _, p in row] for row in screened]).reshape(len(ready), len(chosen))
    q = false_discovery_control(p, axis=None).reshape(p.shape)
    pairs = []
    for label, row, row_q in zip(ready, screened, q, strict=True):
        for node, (screen, one_p), one_q in zip(chosen, row, row_q, strict=True):
            shared = _information(z, label, node, stars, seed=seed, draws=draws)
            pairs.append(_pair(node, label, shared, screen, one_p, float(one_q)))
    if conditional:
        by_name = {label.name: label for label in ready}
        pairs = [_conditioned(z, pair, by_name, seed) for pair in pairs]
        for node in chosen:
            pairs = _shaded(z, pairs, node, by_name, seed)
    told = {label.name: label.pooled for label in ready if label.pooled}
    return Matches(tuple(pairs), left_out, null, told)


def sweep_keywords(
    codes: ArrayLike,
    keywords: Mapping[str, ArrayLike],
    *,
    nodes: Sequence[int] | None = None,
    targets: ArrayLike | None = None,
    seed: int = 0,
) -> Matches:
    """Match nodes with every header keyword: a family of its own.

    Few different integers may be numbers or names (a spectrograph's): both are tried, the better one is told,
    and its p is doubled. Nearest neighbours are used only for pairs that pass q <= .05. Keywords are many,
    and each lacks other rows: the screen leaves out up to 5 % of a keyword's rows; keywords then share nulls.
    """
    z, chosen, stars = checked_codes(codes, nodes, targets)
    ready, left_out = usable_labels(keywords, len(z), stars, seed)
    null = _null_size(len(chosen) * len(ready))
    both = [[label, *_as_classes(label)] for label in ready]
    screened, better = [], []
    for ways in both:
        rounded = [replace(label, rows=_rounded(label.rows, seed)) for label in ways]
        each = [_screen(z, label, chosen, null=null, seed=seed) for label in rounded]
        best = [
            min(range(len(ways)), key=lambda way: (each[way][i][1], -each[way][i][0]))
            for i in range(len(chosen))
        ]
        screened.append(
            [(each[way][i][0], min(1.0, len(ways) * each[way][i][1])) for i, way in enumerate(best)]
        )
        better.append([ways[way] for way in best])
    p = np.array([[p for _, p in row] for row in screened]).reshape(len(ready), len(chosen))
    q = false_discovery_control(p, axis=None).reshape(p.shape)
    pairs = []
    for labels, row, row_q in zip(better, screened, q, strict=True):
        for node, label, (screen, one_p), one_q in zip(chosen, labels, row, row_q, strict=True):
            passed = one_q <= EXPLAINS_Q
            shared = _information(z, label, node, stars, seed=seed, draws=1) if passed else None
            pairs.append(_pair(node, label, shared, screen, one_p, float(one_q)))
    return Matches(tuple(pairs), left_out, null)


# --- what takes part


def checked_codes(
    codes: ArrayLike, nodes: Sequence[int] | None, targets: ArrayLike | None
) -> tuple[Floats, list[int], NDArray[Any] | None]:
    """Codes (n, nodes), the nodes that take part and the targets (n,), checked."""
    z = np.asarray(codes, dtype=np.float64)
    if z.ndim != 2 or not np.isfinite(z).all():
        raise EvidenceError(f"codes must be finite numbers (spectra, nodes), not of shape {z.shape}")
    chosen = list(range(z.shape[1])) if nodes is None else [int(node) for node in nodes]
    wrong = [node for node in chosen if not 0 <= node < z.shape[1]]
    if wrong:
        raise EvidenceError(f"node {wrong[0]} is none of the {z.shape[1]} nodes of the codes")
    stars = None if targets is None else np.asarray(targets)
    if stars is not None and stars.shape != (len(z),):
        raise EvidenceError(f"{len(z)} spectra, but targets of shape {stars.shape}; give each its target")
    return z, chosen, stars


def usable_labels(
    labels: Mapping[str, ArrayLike], n: int, targets: NDArray[Any] | None, seed: int
) -> tuple[list[Label], dict[str, str]]:
    """Labels that can be matched, and why the others cannot."""
    ready, left_out = [], {}
    for name, given in labels.items():
        values, categorical = column(column_values(given), str(name), categorical=None)
        if len(values) != n:
            raise EvidenceError(f"label {name!r} has {len(values)} rows, the codes {n}")
        rows = one_per_target(finite(values), targets, np.random.default_rng(seed))
        if rows.size < FEWEST:
            left_out[str(name)] = f"known for {rows.size} targets; {FEWEST} are needed"
        elif (values[rows] == values[rows[0]]).all():
            left_out[str(name)] = "has one value only"
        elif categorical and np.bincount(values[rows]).max() < 2:
            left_out[str(name)] = "differs from target to target"
        elif categorical and (many := nearly_unique(np.unique(values[rows]).size, rows.size)):
            left_out[str(name)] = many
        elif not categorical:
            ready.append(Label(str(name), column_values(given), values, categorical, rows))
        else:
            label = _with_rare_pooled(str(name), column_values(given), values, rows)
            if label is None:
                left_out[str(name)] = f"no class of {FEW_MEMBERS} targets or more"
            else:
                ready.append(label)
    return ready, left_out


def _with_rare_pooled(name: str, given: Any, values: NDArray[np.int64], rows: Rows) -> Label | None:
    """A label of classes, those of few targets as one; None where that leaves nothing to tell apart."""
    members = values[rows]
    merged, rare, number = pooled(members)
    if not rare:
        return Label(name, given, values, True, rows)
    if (merged == merged[0]).all():
        return None
    one = int(merged[np.flatnonzero(merged != members)[0]])
    gone = np.flatnonzero((np.bincount(members) > 0) & (np.bincount(members) < FEW_MEMBERS))
    known = np.unique(members)
    kept = np.where(np.isin(values, gone) | ((values >= 0) & ~np.isin(values, known)), one, values)
    text = kept.astype(str).astype(object)
    text[kept < 0] = None
    return Label(name, text, kept, True, rows, pooled_text(rare, number))


def _as_classes(label: Label) -> list[Label]:
    """The label as classes, in a list; none where its numbers cannot be names."""
    values = label.values[label.rows]
    if label.categorical or not np.equal(values, np.round(values)).all():
        return []
    levels = np.unique(values)
    if not 2 < levels.size <= min(MOST_CLASSES, values.size // FEW_PER_CLASS):
        return []
    known = np.isfinite(label.values)
    codes = np.full(label.values.size, -1, dtype=np.int64)
    codes[known] = np.unique(label.values[known], return_inverse=True)[1]
    return [replace(label, values=codes, categorical=True)]


def _null_size(pairs: int) -> int:
    return int(np.clip(NULL_PER_PAIR * pairs, FINEST_NULL, MOST_NULL))


def _rounded(rows: Rows, seed: int) -> Rows:
    """A few rows less, so that their number is one of a ladder: keywords then share their nulls."""
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


def _information(
    z: Floats, label: Label, node: int, targets: NDArray[Any] | None, *, seed: int, draws: int
) -> MutualInformation:
    return mutual_information(
        z[:, node],
        label.given,
        targets=targets,
        categorical=label.categorical or None,
        seed=seed,
        draws=draws,
        null=0,
    )


def _pair(
    node: int, label: Label, shared: MutualInformation | None, screen: float, p: float, q: float
) -> MatchResult:
    nothing = float("nan")
    return MatchResult(
        node=node,
        label=label.name,
        categorical=label.categorical,
        nats=shared.nats if shared else nothing,
        low=shared.low if shared else nothing,
        high=shared.high if shared else nothing,
        screen=screen,
        p=p,
        q=q,
        share=shared.share if shared else nothing,
        n=shared.n if shared else int(label.rows.size),
    )


def _conditioned(z: Floats, pair: MatchResult, labels: Mapping[str, Label], seed: int) -> MatchResult:
    """The pair with what its label adds to all other labels, where it carries anything at all."""
    if not (pair.q <= EXPLAINS_Q and pair.low > 0):
        return pair
    given = _given(labels[pair.label], [one for name, one in labels.items() if name != pair.label])
    added = _beyond(z[:, pair.node], labels[pair.label], given, seed)
    if added is None:
        return pair
    return replace(
        pair,
        conditional=added.nats,
        conditional_low=added.low,
        conditional_high=added.high,
        given=tuple(one.name for one in given),
    )


def _given(label: Label, others: Sequence[Label]) -> list[Label]:
    """The other labels, the most complete first, as long as half of this label's rows have them all."""
    kept: list[Label] = []
    rows = label.rows
    for other in sorted(others, key=lambda one: -np.intersect1d(label.rows, one.rows).size):
        both = np.intersect1d(rows, other.rows)
        if both.size >= max(FEWEST_GIVEN, label.rows.size / 2):
            kept.append(other)
            rows = both
    return kept


def _beyond(x: Floats, label: Label, given: Sequence[Label], seed: int) -> MutualInformation | None:
    """I(x; label | given), or None where too few rows have them all."""
    if not given:
        return None
    known = np.intersect1d(label.rows, given[0].rows)
    for other in given[1:]:
        known = np.intersect1d(known, other.rows)
    if known.size < FEWEST_GIVEN:
        return None
    values, categorical = (label.values, True) if label.categorical else classes_if_few(label.values)
    if (values[known] == values[known[0]]).all():
        return None
    columns = [Given(one.values, one.categorical) for one in given]
    return information_beyond(x, values, columns, categorical=categorical, chosen=known, seed=seed)


def _shaded(
    z: Floats, pairs: Sequence[MatchResult], node: int, labels: Mapping[str, Label], seed: int
) -> list[MatchResult]:
    """The pairs; those of one node that are shadows of its other labels say so.

    The strongest label comes first, and a later one that adds nothing to those before it is their shadow. Of
    twins that say the same, such as a temperature and the classes made from it, the finer one comes first,
    whichever is stronger by a little. Classes too many for the targets take no part, so they cast no shadow.
    """
    x = z[:, node]

    def adds(name: str, others: Sequence[str]) -> bool:
        added = _beyond(x, labels[name], [labels[one] for one in others], seed)
        return added is None or added.nats >= OWN_NATS

    own: list[str] = []
    shadows: dict[str, tuple[str, ...]] = {}
    for pair in sorted((p for p in pairs if p.node == node and p.explains), key=lambda p: -p.nats):
        name, label = pair.label, labels[pair.label]
        if adds(name, own):
            own.append(name)
            continue
        coarser = [one for one in own if labels[one].grain < label.grain]
        twin = next((one for one in coarser if not adds(one, [name])), None)
        if twin is None:
            shadows[name] = tuple(own)
        else:
            own[own.index(twin)] = name
            shadows[twin] = (name,)
    for name in [one for one in own if labels[one].grain < FINEST]:  # what finer ones say that came later
        finer = [one for one in own if labels[one].grain > labels[name].grain]
        if finer and not adds(name, finer):
            alone = next((one for one in finer if not adds(name, [one])), None)
            own.remove(name)
            shadows[name] = tuple(finer) if alone is None else (alone,)
    titled = {name: _titled(cast, shadows) for name, cast in shadows.items()}
    return [
        replace(pair, shadow_of=titled[pair.label]) if pair.node == node and pair.label in titled else pair
        for pair in pairs
    ]


def _titled(cast: Sequence[str], shadows: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The labels that cast a shadow, without those that became shadows themselves."""
    found: list[str] = []
    for one in cast:
        found += _titled(shadows[one], shadows) if one in shadows else [one]
    return tuple(dict.fromkeys(found))
