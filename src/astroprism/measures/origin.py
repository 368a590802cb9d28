"""Star, sky or instrument: what a header keyword that explains a node makes of it.

Plain arrays, a row per target. Keyword and label are weighed by what each adds to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schema import Nats, Origin, Share, VarianceSplit, number
from .conditional import conditional_mutual_information
from .evidence import EvidenceError, Floats, column, column_values, finite
from .keywords import meaning, plain
from .match import OWN_NATS, Matches
from .readout import FEWEST, FOLDS, share_of_variance

VERDICTS = {"instrument": "instrumental", "sky": "sky", "motion": "motion"}
MOST_GIVEN = 3  # labels that a keyword is weighed against
NEAR = 20  # neighbours that predict a code from a keyword
OF_BERV = 0.5  # share of a Doppler node that BERV must predict to be what moves it, in barycentric spectra
OF_STARS = 0.5  # share of the variance between stars from which a node is a property of stars


def origins(
    codes: Floats,
    *,
    mean: Floats,
    matches: Matches,
    keywords: Matches,
    labels: Mapping[str, Any],
    values: Mapping[str, Any],
    nodes: Sequence[int],
    splits: Mapping[int, VarianceSplit],
    doppler: Sequence[int] = (),
    air: Sequence[int] = (),
    barycentric: bool = True,
    seed: int = 0,
) -> dict[int, Origin]:
    """What each of `nodes` follows; without nodes that no keyword explains, or only as a label's shadow.

    codes, mean        (n, nodes) sampled, and means
    matches, keywords  what `match_labels` and `sweep_keywords` gave
    labels, values     name -> (n,): of labels, and of keywords
    splits             node -> its variance, where there are repeat visits
    doppler            nodes that shift the star's lines
    air                nodes that shift those of the atmosphere, where no keyword tells by how much
    barycentric        whether the spectra are moved to the barycentre
    """
    found = {}
    for node in nodes:
        passing = [pair for pair in keywords.of_node(node) if pair.explains]
        mine = [pair for pair in matches.of_node(node) if pair.explains and not pair.shadow_of]
        for pair in sorted(passing, key=lambda one: meaning(one.label).kind not in VERDICTS):
            kind = meaning(pair.label).kind
            if mine and kind == "measured":
                continue  # another measurement of what the label says
            x, keyword = codes[:, node], _as_read(values[pair.label], pair.categorical)
            given = [_as_read(labels[one.label], one.categorical) for one in mine[:MOST_GIVEN]]
            beyond = _conditional(x, keyword, given, seed) if given else None
            if mine and beyond is not None and (beyond.nats or 0.0) < OWN_NATS:
                continue  # it follows the node only as far as it follows the label
            verdict = VERDICTS.get(kind, "follows")
            if verdict != "motion" and _of_stars(splits.get(node)):
                verdict = "follows"  # it stays with the star, whoever observes it, and when
            label_beyond = _conditional(x, given[0], [keyword], seed) if given else None
            share = _predicted(mean[:, node], values[pair.label], pair.categorical, seed)
            what = meaning(pair.label).what
            if verdict == "motion":
                if node not in doppler:
                    what = "the atmosphere's motion" if barycentric else what
                elif barycentric:  # stars of one part of the sky share velocities, and their season
                    sure = share is not None and (share.low or 0.0) >= OF_BERV
                    verdict = "motion" if sure else "follows"
                    what = "the atmosphere's motion" if verdict == "motion" else what
                else:
                    what = "the Earth's motion, in the star's apparent velocity"
            found[node] = Origin(
                verdict=verdict,
                keyword=plain(pair.label),
                kind=kind,
                what=what,
                categorical=pair.categorical,
                mi_nats=number(pair.nats),
                mi_low=number(pair.low),
                mi_high=number(pair.high),
                q=number(pair.q),
                n=pair.n,
                share=share,
                labels=[one.label for one in mine],
                beyond_labels=beyond,
                label_beyond_keyword=label_beyond,
                star_too=bool(mine) and (label_beyond is None or (label_beyond.nats or 0.0) >= OWN_NATS),
                others=[plain(one.label) for one in passing if one.label != pair.label],
            )
            break
    for node in air:
        if node in nodes and (node not in found or not found[node].explains):
            found[node] = _untold()
    return found


def _untold() -> Origin:
    """The atmosphere's motion where no keyword tells it."""
    return Origin(
        verdict="motion",
        keyword="",
        kind="motion",
        what="the atmosphere's motion, which no keyword tells",
        categorical=False,
        mi_nats=None,
        mi_low=None,
        mi_high=None,
        q=None,
        n=0,
    )


def origin_words(origin: Origin) -> str:
    """What a node follows, in a few words."""
    name = origin.keyword
    if not name:
        return origin.what
    if origin.verdict == "motion":
        return f"{origin.what} ({'BERV' if name.lower() == 'berv' else name})"
    if origin.verdict == "follows":
        about = "" if origin.kind == "unknown" else f" ({origin.what})"
        return f"follows the keyword {name}{about}"
    return f"{origin.verdict}: follows {origin.what} ({name})"


def _of_stars(split: VarianceSplit | None) -> bool:
    part = None if split is None else split.star
    return part is not None and (part.share_low or 0.0) >= OF_STARS


def _predicted(code: Floats, given: Any, categorical: bool, seed: int) -> Share | None:
    """Share of a code's variance that a keyword predicts on rows set aside, by class means or neighbours."""
    from sklearn.neighbors import KNeighborsRegressor

    x, _ = column(column_values(given), "keyword", categorical=categorical)
    rows = finite(x)
    if rows.size < FEWEST:
        return None
    x, y, predicted = x[rows], code[rows], np.empty(rows.size)
    fold = np.random.default_rng(seed).permutation(rows.size) % FOLDS
    for one in range(FOLDS):
        fitted, rest = fold != one, fold == one
        middle = y[fitted].mean()
        if categorical:
            classes = int(x.max()) + 1
            total = np.bincount(x[fitted], weights=y[fitted] - middle, minlength=classes)
            predicted[rest] = middle + (total / (np.bincount(x[fitted], minlength=classes) + 1.0))[x[rest]]
        else:
            near = KNeighborsRegressor(min(NEAR, int(fitted.sum()))).fit(x[fitted, None], y[fitted])
            predicted[rest] = near.predict(x[rest, None])
    share = share_of_variance(y, predicted)
    return Share(number(share.value), number(share.low), number(share.high), share.n)


def _as_read(given: Any, categorical: bool) -> NDArray[Any]:
    """A column as it was matched: numbers, NaN where blank, or classes as text, None where blank."""
    values, _ = column(column_values(given), "keyword", categorical=categorical)
    if not categorical:
        return np.asarray(values, dtype=np.float64)
    text = values.astype(str).astype(object)
    text[values < 0] = None
    return text


def _conditional(x: Floats, y: NDArray[Any], given: Sequence[NDArray[Any]], seed: int) -> Nats | None:
    """I(x; y | given); None where too few rows tell."""
    z = {str(number): one for number, one in enumerate(given)}
    try:
        found = conditional_mutual_information(x, y, z, seed=seed)
    except EvidenceError:  # too few rows, or one value only among them
        return None
    return Nats(number(found.nats), number(found.low), number(found.high), found.n)
