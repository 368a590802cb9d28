"""Components of variance that were put in come back, with intervals, and chance is told as chance."""

import numpy as np
import pytest

from astroprism.measures.evidence import EvidenceError
from astroprism.measures.variance import nights, repeated, split_variance


def visits(stars=120, *, star=1.0, night=0.5, within=0.3, instrument=0.4, noise=0.1, codes=1, seed=0):
    """Codes of stars seen 1 to 4 nights, 1 or 2 times each, by 8 instruments; variances are put in."""
    rng = np.random.default_rng(seed)
    targets, which = [], []
    for one in range(stars):
        for _ in range(rng.integers(1, 5)):
            number = which[-1] + 1 if which else 0
            times = rng.integers(1, 3)
            targets += [one] * times
            which += [number] * times
    targets, which = np.array(targets), np.array(which)
    by = rng.integers(0, 8, targets.size)
    level = rng.normal(size=(8, codes))
    level = (level - level.mean(0)) / level.std(0, ddof=1)
    y = rng.normal(size=(stars, codes))[targets] * star**0.5
    y += rng.normal(size=(which.max() + 1, codes))[which] * night**0.5
    y += level[by] * instrument**0.5
    y += rng.normal(size=y.shape) * (within + noise) ** 0.5
    return y, np.full(y.shape, noise), targets, which, by


def test_components_that_were_put_in_come_back_and_intervals_hold_them():
    truth = {"star": 1.0, "night": 0.5, "within": 0.3, "instrument": 0.4}
    y, noise, targets, which, by = visits(codes=12)
    splits = split_variance(y, noise, targets=targets, nights=which, instruments=by, draws=100, null_draws=19)
    for name, value in truth.items():
        parts = [getattr(one, name) for one in splits]
        assert np.mean([part.variance for part in parts]) == pytest.approx(value, abs=0.13)
        assert sum(part.low <= value <= part.high for part in parts) >= 8
        assert all(part.p <= 0.1 for part in parts)
    one = splits[0]
    shares = [part.share for part in (one.star, one.night, one.within, one.instrument)]
    assert sum(shares) + one.code_noise_share == pytest.approx(1)
    assert one.code_noise == pytest.approx(0.1)


@pytest.mark.parametrize("absent", ["star", "night", "within", "instrument"])
def test_a_part_that_is_not_there_is_chance(absent):
    y, noise, targets, which, by = visits(codes=12, seed=1, **{absent: 0.0})
    splits = split_variance(y, noise, targets=targets, nights=which, instruments=by, draws=20, null_draws=39)
    parts = [getattr(one, absent) for one in splits]
    assert np.mean([part.p <= 0.05 for part in parts]) <= 0.25
    assert abs(np.mean([part.share for part in parts])) < 0.06


def test_parts_that_the_visits_cannot_tell_are_told_as_one():
    y, noise, targets, which, _ = visits(seed=2)
    once = np.unique(which, return_index=True)[1]  # a spectrum per night
    split = split_variance(y[once], noise[once], targets=targets[once], nights=which[once], draws=20)[0]
    assert split.night is None
    assert split.night_in == "within"
    assert split.instrument is None
    assert split.within.variance == pytest.approx(1.2, abs=0.4)  # instruments are not named: in it, too
    first = np.unique(targets, return_index=True)[1]
    one_night = np.isin(which, which[first])
    split = split_variance(
        y[one_night], noise[one_night], targets=targets[one_night], nights=which[one_night], draws=20
    )[0]
    assert (split.night, split.night_in) == (None, "star")


def test_without_repeats_nothing_is_split():
    y, noise, targets, *_ = visits()
    first = np.unique(targets, return_index=True)[1]
    assert repeated(targets[first]) == 0
    with pytest.raises(EvidenceError, match="0 targets have more than one spectrum, and 10 are needed"):
        split_variance(y[first], noise[first], targets=targets[first])


def test_a_few_wild_codes_do_not_own_the_variance():
    y, noise, targets, which, by = visits(seed=3)
    y[::100] += 1e3
    split = split_variance(y, noise, targets=targets, nights=which, instruments=by, draws=20, null_draws=19)[
        0
    ]
    assert split.put_back == len(y[::100])
    assert split.total < 6


def test_nights_end_where_the_star_rests():
    time = [10.0, 10.1, 10.2, 11.1, np.nan, 10.15, *np.arange(20, 23, 0.1)]
    found = nights(time, ["a", "a", "a", "a", "a", "b"] + ["c"] * 30)
    assert found[0] == found[1] == found[2] != found[3]
    assert found[4] == -1
    assert found[5] not in found[:4]
    assert len(set(found[6:].tolist())) == 3  # never dark: a day each
