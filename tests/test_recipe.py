"""Schedules in fractions of the steps; contradictions are refused."""

import dataclasses
import json
import math

import pytest

from astroprism.errors import ConfigError
from astroprism.model.recipe import Recipe, from_mapping, sized


def test_schedules_hang_on_the_fraction_alone():
    short, long = Recipe(steps=100), Recipe(steps=10_000)
    for fraction in (0.0, 0.03, 0.2, 0.44, 0.6, 0.99):
        assert short.floor_at(fraction) == long.floor_at(fraction)
        assert short.blur_at(fraction) == long.blur_at(fraction)
        at = {"signal": 3e4, "misfit": 100.0}
        assert short.beta_at(fraction, **at) == long.beta_at(fraction, **at)
    assert short.floor_at(1.0) == short.floor[-1][1]
    assert short.blur_at(short.blur[-1][0]) == 0


def test_the_rate_rises_then_falls():
    recipe = Recipe(steps=1000)
    rates = [recipe.rate_at(step) for step in range(1000)]
    top = rates.index(max(rates))
    assert 0 < rates[0] < 0.1 * recipe.rate
    assert top / 1000 == pytest.approx(recipe.warm_up, abs=0.01)
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :], strict=False))
    assert rates[-1] == pytest.approx(recipe.last_rate * recipe.rate, rel=0.05)


def test_beta_never_falls_below_its_bounds():
    recipe = Recipe()
    assert recipe.beta_at(1.0, signal=0.0, misfit=0.0) == recipe.least_beta
    for fraction in (0.0, 0.3, 0.9):
        beta = [recipe.beta_at(fraction, signal=1e5, misfit=m) for m in (0.0, 1e3, 1e5, 1e9)]
        assert beta == sorted(beta)
        assert all(math.isfinite(value) for value in beta)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"rate": math.nan},
        {"batch": -1},
        {"floor": ((0.7, 0.01), (0.5, 0.003))},
        {"blur": ((0.0, 120.0), (1.4, 2.0))},
        {"prune_at": (0.6, 0.38, 0.75)},
        {"prune_at": (0.5,)},
        {"give_back": (0.9, 0.9)},
        {"scatter_watched": -3.0},
        {"move_share": 0.0},
    ],
)
def test_contradictions_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_it_comes_back_from_json():
    recipe = sized({"rate": 1e-3}, spectra=40_000, pixels=327_680)
    assert from_mapping(Recipe, json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert recipe.steps > sized(spectra=10_000, pixels=2048).steps
    assert recipe.batch < 128
    assert dataclasses.replace(recipe, steps=5).steps == 5
    with pytest.raises(ConfigError, match="did you mean 'rate'"):
        from_mapping(Recipe, {"rat": 1})
