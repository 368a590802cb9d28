"""What is held out whole, and how an archive is divided before it is trained on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from astroprism.errors import ConfigError
from astroprism.measures import spacing
from astroprism.schema import Split
from astroprism.targets import split
from astroprism.targets.plan import plan_split
from astroprism.targets.units import FEWEST, GAP, beside, choose, units_of


def series(nights: int, *, visits: int = 4, star: str = "HD 1", first: float = 57_000.98) -> pd.DataFrame:
    """A star on every third night, each visit 20 minutes after the other, over midnight UT."""
    night, visit = np.divmod(np.arange(nights * visits), visits)
    return pd.DataFrame({"target": star, "time": first + 3 * night + visit / 72})


def stars(number: int) -> pd.DataFrame:
    return pd.DataFrame({"target": [f"star {i}" for i in range(number)], "time": np.nan})


def test_many_stars_are_held_out_as_stars():
    index = pd.concat([series(3, star=f"HD {i}") for i in range(60)], ignore_index=True)
    assert choose(index) == ("target", 0.0, "")
    assert (units_of(index, "target") == index["target"]).all()
    assert plan_split(index, folds=0).shares.unit == "target"


def test_one_star_is_divided_into_nights_that_are_never_on_both_sides():
    index = series(60)
    plan = plan_split(index, seed=3)
    assert (plan.shares.unit, plan.units, plan.targets, plan.shares.folds) == ("night", 60, 1, 5)
    assert plan.enough
    assert plan.text().startswith("evidence from 60 nights of 1 target, by 5-fold cross-fitting")
    night = np.arange(240) // 4  # although each begins before midnight UT and ends after it
    assert len(set(zip(units_of(index, "night"), night, strict=True))) == 60
    parts, folds = split.as_trained(index, plan.shares), split.folds(index, plan.shares, 5)
    for one in range(60):
        assert len(set(parts[night == one])) == len(set(folds[night == one])) == 1
    assert np.bincount(folds).tolist() == [48] * 5
    assert 0 < split.held_out(parts).sum() < 60


def test_undated_visits_of_a_star_are_one_unit():
    index = series(30)
    index.loc[[0, 50, 99], "time"] = np.nan
    assert len(set(units_of(index, "night")[[0, 50, 99]])) == 1
    index.loc[:60, "time"] = np.nan
    unit, _, why = choose(index)
    assert unit == "target"
    assert why == "48% of the spectra are dated"


def test_within_few_nights_blocks_of_time_keep_neighbours_apart():
    index = pd.DataFrame({"target": "HD 1", "time": 57_000 + np.arange(400) / 1000})
    shares = plan_split(index).shares
    assert shares.unit == "block"
    assert (split.assign(split.units(index, shares), 0, test=0.0) == "train").all()  # yet one is held out
    units = split.units(index, shares)
    assert FEWEST <= len(set(units)) <= 2 * FEWEST
    parts = split.as_trained(index, shares)
    sides = list(pairwise(parts))
    assert ("train", "valid") not in sides
    assert ("valid", "train") not in sides
    assert ("train", "spare") in sides
    assert (units_of(index.iloc[::-1], "block", block_days=shares.block_days)[::-1] == units).all()


def test_neighbours_are_of_one_star_and_one_night():
    index = pd.DataFrame({"target": ["a", "a", "b", "a", "a"], "time": [1.0, 1.1, 1.05, 1.1 + 2 * GAP, 1.12]})
    near = beside(index, np.array([False, True, False, False, False]))
    assert near.tolist() == [True, False, False, False, True]


def test_what_is_held_out_decides_on_folds():
    many = plan_split(stars(3000))
    assert (many.shares.folds, many.shares.test) == (0, 0.1)
    assert 500 < many.held_out < 700
    assert many.text() == f"evidence from {many.held_out} of 3,000 targets, held out of training"
    few = plan_split(stars(150))
    assert (few.shares.folds, few.shares.test, few.evidence) == (5, 0.1, 150)
    assert few.held_out < 40
    # the test share is what `apply` needs to calibrate labels, or nothing where that is out of reach
    shares = {number: plan_split(stars(number)).shares.test for number in (60, 100, 200, 300, 900)}
    assert shares == {60: 0.0, 100: 0.0, 200: 0.05, 300: 0.0, 900: 0.0}
    assert plan_split(stars(150), test=0.2).shares.test == 0.2
    assert plan_split(stars(150), pixels=400_000).shares.folds == 3
    assert plan_split(stars(3000), folds=4).shares.folds == 4
    assert not plan_split(stars(60), folds=0).enough


def test_what_cannot_work_says_why_and_what_to_do():
    text = plan_split(stars(20)).lack()
    assert text.startswith("this archive has 20 targets (0% of the spectra are dated)")
    assert "findings need 25: add spectra" in text
    one = plan_split(series(10, visits=3))
    assert not one.enough
    assert "1 target (10 nights and 30 spectra)" in one.lack()
    assert "leave --folds to choose cross-fitting" in plan_split(stars(60), folds=0).lack()
    assert FEWEST == spacing.FEWEST


def test_older_models_are_read_as_they_were_trained():
    old = Split.from_json(
        {"seed": 7, "valid": 0.1, "test": 0.2, "train_spectra": 1, "valid_spectra": 0, "test_spectra": 0}
    )
    index = stars(300)
    assert (split.as_trained(index, old) == split.assign(index["target"].tolist(), 7, test=0.2)).all()
    assert "unit" not in old.to_json()


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="1 folds"):
        plan_split(stars(60), folds=1)
    with pytest.raises(ConfigError, match="blocks of 0"):
        units_of(series(3), "block")
    with pytest.raises(ConfigError, match="week"):
        units_of(series(3), "week")
