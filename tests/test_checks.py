"""Checks that options share."""

import pytest

from astroprism.checks import check_choice, check_positive, name_hint, nearest_name
from astroprism.errors import ConfigError


def test_a_choice_names_the_others():
    check_choice("medium", None, (None, "air", "vacuum"))
    check_choice("device", "cpu", ("auto", "cpu", "cuda"))
    with pytest.raises(ConfigError, match="medium 'aire' is neither 'air' nor 'vacuum'"):
        check_choice("medium", "aire", (None, "air", "vacuum"))
    with pytest.raises(ConfigError, match="device 'tpu' is none of auto, cpu, cuda"):
        check_choice("device", "tpu", ("auto", "cpu", "cuda"))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_number_must_be_positive_and_finite(value):
    check_positive("steps", 1)
    with pytest.raises(ConfigError, match=r"steps .* must be positive and finite"):
        check_positive("steps", value)


def test_a_mistyped_name_is_found():
    assert nearest_name("tef", ["rv", "teff"]) == "teff"
    assert nearest_name("zzz", ["rv", "teff"]) is None
    assert name_hint("tef", ["rv", "teff"]) == "did you mean 'teff'?"
    assert name_hint("zzz", ["rv", "teff"]) == "known: rv, teff"
