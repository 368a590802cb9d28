"""How much of a code's variance lies between stars, between nights, within nights and between instruments.

Plain arrays, a row per spectrum. The model is y = mean + star + night of that star + instrument + rest +
noise, all random, instruments crossed with stars, noise of known variance. Its components solve the mean half
squared differences of six kinds of pairs (Koch 1967, Technometrics 9, 93: estimators from symmetric sums of
differences, unbiased whatever the distributions are and however unequal the visits).
Shapes: n spectra, k codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..schema import VariancePart, VarianceSplit, number
from .evidence import EvidenceError, Floats

PARTS = ("star", "night", "within", "instrument")
# pair: same star, night and instrument; same star and night; same star and instrument; same star; same
# instrument; neither. Columns: PARTS, which of them a pair's half squared difference holds
DESIGN = np.array(
    [[0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.float64
)
FEWEST_REPEATS = 10  # targets with more than one spectrum, to resample
FEWEST_PAIRS = 5  # degrees of freedom from which a part is told from another
MOST_FREEDOM = (
    10  # degrees of freedom that one star may have: a thousand visits of one star are not the others'
)
DRAWS, NULL_DRAWS = 300, 199
MOST = 4_000  # spectra; of more, a seeded choice of whole targets
OUTLYING = 6.0  # robust spreads beyond which a code is put back: a few would own every square
NIGHT_GAP = 0.3  # days without a spectrum of the star that end a night
SIGNIFICANT = 0.05  # p of a part up to which it is more than chance
INTERVAL = (5.0, 95.0)  # percent

Codes = NDArray[np.int64]


def nights(time: ArrayLike, targets: ArrayLike) -> Codes:
    """The night of each spectrum (n,), numbered through; -1 where the date is unknown.

    time: days. A night of one star ends where it is not observed for 0.3 days, or after a day: observers all
    over the world share no noon.
    """
    when = np.asarray(time, dtype=np.float64)
    star = np.unique(np.asarray(targets), return_inverse=True)[1]
    found = np.full(when.size, -1, dtype=np.int64)
    last_star, last, begun, night = -1, 0.0, 0.0, -1
    for row in np.lexsort((when, star)):
        if not np.isfinite(when[row]):
            continue
        if star[row] != last_star or when[row] - last > NIGHT_GAP or when[row] - begun >= 1:
            night += 1
            begun = when[row]
        last_star, last = star[row], when[row]
        found[row] = night
    return found


def repeated(targets: ArrayLike) -> int:
    """Targets with more than one spectrum."""
    return int((np.unique(np.asarray(targets), return_counts=True)[1] > 1).sum())


def split_variance(
    codes: ArrayLike,
    noise: ArrayLike,
    *,
    targets: ArrayLike,
    nights: ArrayLike | None = None,
    instruments: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    null_draws: int = NULL_DRAWS,
) -> list[VarianceSplit]:
    """The variance of each of k codes (n, k), taken apart; one split per code.

    noise        (n, k) variance of each code's own error, taken off
    nights       (n,) of each star, any numbers; -1 where unknown; None: not known at all
    instruments  (n,) names or numbers; None: one instrument

    Intervals hold 90 %, over targets. p: how often chance gives as much, with nights dealt out to stars anew,
    spectra to nights of their star, instruments to spectra; of the part within nights, from Gaussian draws of
    all other parts. A part that these visits cannot tell is None; `night_in` says where the nights then are.
    """
    y, v = np.asarray(codes, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    if y.ndim != 2 or y.shape != v.shape or not (np.isfinite(y).all() and np.isfinite(v).all()):
        raise EvidenceError(f"codes and noise must be finite and both (n, k), not {y.shape} and {v.shape}")
    labels = [np.unique(np.asarray(targets), return_inverse=True)[1].astype(np.int64)]
    if len(labels[0]) != len(y):
        raise EvidenceError(f"{len(y)} codes, but targets of {len(labels[0])} spectra")
    night = np.full(len(y), -1) if nights is None else np.asarray(nights)
    spectra = np.arange(len(y))
    labels.append(_numbered(np.where(night < 0, spectra + night.max(initial=0) + 1, night)))
    labels.append(
        np.zeros(len(y), np.int64)
        if instruments is None
        else np.unique(np.asarray(instruments).astype(str), return_inverse=True)[1].astype(np.int64)
    )
    rng = np.random.default_rng([seed, 7])
    kept = _kept(labels[0], rng)
    y, v, known = y[kept], v[kept], (night >= 0)[kept]
    star, night, instrument = (_numbered(one[kept]) for one in labels)
    if repeated(star) < FEWEST_REPEATS:
        raise EvidenceError(
            f"{repeated(star)} targets have more than one spectrum, and {FEWEST_REPEATS} are needed"
        )
    y, clipped = _put_back(y)
    pairs = _Pairs.of(y, v, star, night, instrument)
    columns, night_in = _separable(pairs, known=bool(known.any()), instruments=int(instrument.max()) + 1)
    found = _solve(*pairs.means(), columns)
    again = np.stack([_solve(*pairs.means(times), columns) for times in _resampled(star, rng, draws)])
    nulls = _nulls(y, v, star, night, instrument, found, rng, null_draws)
    null = {
        name: np.stack([_solve(*_Pairs.of(*one).means(), columns)[index] for one in shuffles])
        for index, (name, shuffles) in enumerate(nulls)
        if columns[index]
    }
    return [
        _summary(
            found[:, code],
            again[:, :, code],
            {name: one[:, code] for name, one in null.items()},
            measured=float(pairs.noise[code]),
            columns=columns,
            night_in=night_in,
            targets=int(star.max()) + 1,
            repeats=repeated(star),
            spectra=len(y),
            clipped=int(clipped[code]),
        )
        for code in range(y.shape[1])
    ]


def part_words(split: VarianceSplit) -> dict[str, str]:
    """What lies in each part, in words: name of the part -> 'between stars'."""
    return {
        "star": "between stars and nights" if split.night_in == "star" else "between stars",
        "night": "between nights",
        "within": "between visits" if split.night_in == "within" else "within nights",
        "instrument": f"between instruments ({split.by})" if split.by else "between instruments",
    }


# --- pairs


class _Pairs(NamedTuple):
    """Sums over pairs, of half squared differences less the noise; s stars, c cells of star and instrument.

    within   (4, s, k) of each star: all pairs, of a night, of an instrument, of both; within_weight (4, s)
    cells    (c, k) sums of w y, w y^2, w v, w^2 v, and (c,) of w and w^2; star, instrument (c,)
    """

    within: Floats
    within_weight: Floats
    sums: tuple[Floats, ...]
    star: Codes
    instrument: Codes
    noise: Floats

    @classmethod
    def of(cls, y: Floats, v: Floats, star: Codes, night: Codes, instrument: Codes) -> _Pairs:
        visits = np.bincount(star)[star].astype(np.float64)
        capped = np.minimum(1, MOST_FREEDOM / np.maximum(visits - 1, 1)) ** 0.5
        within, weights = [], []
        for group in (
            star,
            _crossed(star, night),
            _crossed(star, instrument),
            _crossed(_crossed(star, night), instrument),
        ):
            total, weight, first = _paired(_summed(group, y, v, capped * visits**-0.5), group, star)
            of = star[first]
            stars = int(star.max()) + 1
            within.append(_added(of, total, stars))
            weights.append(_added(of, weight[:, None], stars)[:, 0])
        cell = _crossed(star, instrument)
        sums = _summed(cell, y, v, 1 / visits)
        first = np.unique(cell, return_index=True)[1]
        noise = (v / visits[:, None]).sum(0) / (1 / visits).sum()
        return cls(np.stack(within), np.stack(weights), sums, star[first], instrument[first], noise)

    def means(self, times: Floats | None = None) -> tuple[Floats, Floats]:
        """(6, k) mean of each kind of pair and (6,) its weight; times (s,): how often each star is drawn."""
        times = np.ones(self.within.shape[1]) if times is None else times
        star, night, instrument, both = np.einsum("s,psk->pk", times, self.within)
        w_star, w_night, w_instrument, w_both = self.within_weight @ times
        m = times[self.star]
        moments = [one * (m if one.ndim == 1 else m[:, None]) for one in self.sums[:4]]
        squares = [one * (m**2 if one.ndim == 1 else m[:, None] ** 2) for one in self.sums[4:]]
        found = []
        for group in (
            np.zeros_like(self.star),
            self.instrument,
            self.star,
            _crossed(self.star, self.instrument),
        ):
            size = int(group.max()) + 1
            one = [_added(group, x if x.ndim == 2 else x[:, None], size) for x in (*moments, *squares)]
            total, weight = _pair_sums(*one)
            found.append((total.sum(0), float(weight.sum())))
        (every, w_every), (same, w_same), (own, w_own), (own_same, w_own_same) = found
        alike, w_alike = same - own_same, w_same - w_own_same  # of different stars, by one instrument
        other, w_other = every - own - alike, w_every - w_own - w_alike
        totals = np.stack(
            [both, night - both, instrument - both, star - night - instrument + both, alike, other]
        )
        weights = np.array(
            [
                w_both,
                w_night - w_both,
                w_instrument - w_both,
                w_star - w_night - w_instrument + w_both,
                w_alike,
                w_other,
            ]
        )
        weights[np.abs(weights) < 1e-9 * max(w_star, w_every, 1e-300)] = 0
        means = totals / np.where(weights > 0, weights, np.inf)[:, None]
        between = weights[4:].sum()
        if between > 0:  # as many degrees of freedom as stars
            weights[4:] *= times.sum() / 2 / between
        return means, np.maximum(weights, 0)


def _summed(group: Codes, y: Floats, v: Floats, w: Floats) -> tuple[Floats, ...]:
    """Sums over each group of w, w y, w y^2, w v; w^2, w^2 v."""
    size, wide = int(group.max()) + 1, w[:, None]
    one = _added(group, np.column_stack([w, w**2]), size)
    y_sum, q_sum, v_sum, u_sum = (
        _added(group, x, size) for x in (wide * y, wide * y**2, wide * v, wide**2 * v)
    )
    return one[:, 0], y_sum, q_sum, v_sum, one[:, 1], u_sum


def _pair_sums(w: Floats, wy: Floats, wq: Floats, wv: Floats, w2: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Over pairs of each group: half squared differences less the noise, times both weights; and the weights.

    sum_{i<j} w_i w_j (y_i - y_j)^2 / 2 = (sum w sum w y^2 - (sum w y)^2) / 2.
    """
    return (w * wq - wy**2 - w * wv + u) / 2, (w**2 - w2)[:, 0] / 2


def _paired(sums: tuple[Floats, ...], group: Codes, star: Codes) -> tuple[Floats, Floats, Codes]:
    w, wy, wq, wv, w2, u = sums
    total, weight = _pair_sums(w[:, None], wy, wq, wv, w2[:, None], u)
    return total, weight, np.unique(group, return_index=True)[1].astype(np.int64)


def _added(group: Codes, x: Floats, size: int) -> Floats:
    """Rows of x (n, c) added up in each of `size` groups."""
    return np.stack([np.bincount(group, weights=one, minlength=size) for one in x.T], 1)


def _numbered(values: NDArray[Any]) -> Codes:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _crossed(first: Codes, second: Codes) -> Codes:
    """The groups in which both are the same, numbered."""
    return _numbered(first * (int(second.max(initial=0)) + 1) + second)


def _kept(star: Codes, rng: np.random.Generator) -> Codes:
    """Rows that are used: all, or those of a seeded choice of stars, repeated ones first."""
    if star.size <= MOST:
        return np.arange(star.size)
    visits = np.bincount(star)
    order = np.lexsort((rng.random(visits.size), visits < 2))
    taken = order[np.cumsum(np.minimum(visits[order], MOST)) <= MOST]
    return np.flatnonzero(np.isin(star, taken if taken.size >= FEWEST_REPEATS else order[:FEWEST_REPEATS]))


def _put_back(y: Floats) -> tuple[Floats, Floats]:
    """Codes with those beyond six robust spreads put there, and how many they were."""
    middle = np.median(y, axis=0)
    spread = 1.4826 * np.median(np.abs(y - middle), axis=0)
    edge = np.where(spread > 0, OUTLYING * spread, np.inf)
    away = np.abs(y - middle) > edge
    return np.clip(y, middle - edge, middle + edge), away.sum(0)


# --- components


def _separable(pairs: _Pairs, *, known: bool, instruments: int) -> tuple[NDArray[np.bool_], str]:
    """(4,) which of PARTS these visits can tell apart; else the part that holds the nights."""
    weight = 2 * pairs.means()[1]
    same, apart = weight[0] + weight[1], weight[2] + weight[3]
    by_one, by_two = weight[[0, 2, 4]].sum(), weight[[1, 3, 5]].sum()
    night = known and same >= FEWEST_PAIRS and apart >= FEWEST_PAIRS
    instrument = instruments > 1 and min(by_one, by_two) >= FEWEST_PAIRS
    night_in = "" if night else "star" if known and apart < FEWEST_PAIRS else "within"
    return np.array([True, night, True, instrument]), night_in


def _solve(means: Floats, weights: Floats, columns: NDArray[np.bool_]) -> Floats:
    """(4, k) components by weighted least squares; 0 where a part is not told."""
    design = DESIGN[:, columns] * np.sqrt(weights)[:, None]
    found = np.zeros((4, means.shape[1]))
    found[columns] = np.linalg.lstsq(design, means * np.sqrt(weights)[:, None], rcond=None)[0]
    return found


def _resampled(star: Codes, rng: np.random.Generator, draws: int) -> Iterator[Floats]:
    stars = int(star.max()) + 1
    for _ in range(draws):
        yield np.bincount(rng.integers(0, stars, stars), minlength=stars).astype(np.float64)


def _nulls(
    y: Floats,
    v: Floats,
    star: Codes,
    night: Codes,
    instrument: Codes,
    found: Floats,
    rng: np.random.Generator,
    draws: int,
) -> Iterator[tuple[str, Iterator[tuple[Floats, Floats, Codes, Codes, Codes]]]]:
    """For each part, arrays in which it is chance alone."""
    block = _crossed(star, night)
    of_block = star[np.unique(block, return_index=True)[1]]
    varies = bool((np.bincount(_crossed(star, instrument)).size) > int(star.max()) + 1)

    def stars() -> Iterator[tuple[Floats, Floats, Codes, Codes, Codes]]:
        for _ in range(draws):
            yield y, v, rng.permutation(of_block)[block], block, instrument

    def of_nights() -> Iterator[tuple[Floats, Floats, Codes, Codes, Codes]]:
        order = np.argsort(star, kind="stable")
        for _ in range(draws):
            dealt = np.lexsort((rng.random(star.size), star))
            mixed = np.empty_like(block)
            mixed[order] = block[dealt]
            yield y, v, star, mixed, instrument

    def noise() -> Iterator[tuple[Floats, Floats, Codes, Codes, Codes]]:
        for _ in range(draws):
            made = rng.normal(size=y.shape) * np.sqrt(v)
            for group, variance in ((star, found[0]), (block, found[1]), (instrument, found[3])):
                of_group = rng.normal(size=(int(group.max()) + 1, y.shape[1]))
                made += of_group[group] * np.sqrt(np.maximum(variance, 0))
            yield made, v, star, night, instrument

    def instruments() -> Iterator[tuple[Floats, Floats, Codes, Codes, Codes]]:
        first = instrument[np.unique(star, return_index=True)[1]]
        for _ in range(draws):
            dealt = rng.permutation(instrument) if varies else rng.permutation(first)[star]
            yield y, v, star, night, dealt

    yield from zip(PARTS, (stars(), of_nights(), noise(), instruments()), strict=True)


def _summary(
    found: Floats,
    again: Floats,
    null: dict[str, Floats],
    *,
    measured: float,
    columns: NDArray[np.bool_],
    night_in: str,
    targets: int,
    repeats: int,
    spectra: int,
    clipped: int,
) -> VarianceSplit:
    """One code's split: found (4,), again (draws, 4), null name -> (draws,)."""
    total = float(np.maximum(found, 0).sum() + measured)
    totals = np.maximum(again, 0).sum(1) + measured
    parts: dict[str, VariancePart | None] = {}
    for index, name in enumerate(PARTS):
        if not columns[index]:
            parts[name] = None
            continue
        low, high = np.percentile(again[:, index], INTERVAL)
        share_low, share_high = np.percentile(again[:, index] / totals, INTERVAL)
        chance = null[name]
        parts[name] = VariancePart(
            variance=number(found[index]),
            low=number(low),
            high=number(high),
            share=number(found[index] / total),
            share_low=number(share_low),
            share_high=number(share_high),
            share_null=number(np.percentile(chance, INTERVAL[1]) / total),
            p=float((1 + (chance >= found[index]).sum()) / (1 + chance.size)),
        )
    return VarianceSplit(
        star=parts["star"],
        night=parts["night"],
        within=parts["within"],
        instrument=parts["instrument"],
        code_noise=number(measured),
        code_noise_share=number(measured / total),
        total=total,
        targets=targets,
        repeated=repeats,
        spectra=spectra,
        put_back=clipped,
        night_in=night_in,
    )
