from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astroprism.errors import ConfigError
from astroprism.targets.split import assign, one_per_target, weights

TARGETS = np.array([f"HD {i}" for i in range(5000)], dtype=object)


def test_shares_are_met_over_targets():
    part = assign(TARGETS, 1, valid=0.1, test=0.2)
    assert set(part) == {"train", "valid", "test"}
    for name, share in (("valid", 0.1), ("test", 0.2), ("train", 0.7)):
        scatter = np.sqrt(share * (1 - share) / TARGETS.size)
        assert abs(np.mean(part == name) - share) < 4 * scatter


def test_one_star_is_never_on_both_sides_and_rows_do_not_matter():
    rng = np.random.default_rng(0)
    visits = TARGETS[(5000 * rng.random(30_000) ** 3).astype(int)]
    part = assign(visits, 7)
    once = dict(zip(TARGETS, assign(TARGETS, 7), strict=True))
    assert all(once[target] == p for target, p in zip(visits, part, strict=True))
    order = rng.permutation(visits.size)
    np.testing.assert_array_equal(assign(visits[order], 7), part[order])


def test_seeds_are_independent():
    a, b = assign(TARGETS, 1, test=0.5, valid=0) == "test", assign(TARGETS, 2, test=0.5, valid=0) == "test"
    assert abs(np.mean(a == b) - 0.5) < 0.03


def test_a_larger_test_keeps_what_was_in_test():
    small, large = assign(TARGETS, 3, test=0.1), assign(TARGETS, 3, test=0.2)
    assert np.all(large[small == "test"] == "test")


def test_known_values_never_change():
    # a study on disk trusts that these stay
    part = assign(["HD 189733", "Gl 581", "Vega", "HD 10700", "tau Cet", "Sun"], 0, valid=0.3, test=0.3)
    assert part.tolist() == ["train", "test", "train", "test", "train", "test"]


def test_the_same_in_another_process():
    code = (
        "from astroprism.targets.split import assign; "
        "print(','.join(assign([f'S{i}' for i in range(200)], 5)))"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1


def test_weights_give_each_target_the_same():
    targets = ["a"] * 900 + ["b"] * 90 + ["c"] * 10
    weight = weights(targets)
    sums = [weight[np.array(targets) == t].sum() for t in "abc"]
    np.testing.assert_allclose(sums, 1000 / 3)
    assert weight.mean() == pytest.approx(1)
    assert np.all(weights(targets, balance="none") == 1)


def test_one_spectrum_a_target_whatever_the_order():
    rng = np.random.default_rng(0)
    targets = TARGETS[:300][rng.integers(0, 300, 4000)]
    identifiers = np.array([f"ADP.{i:05d}" for i in range(4000)], dtype=object)
    rows = one_per_target(targets, 11, identifiers=identifiers)
    assert sorted(targets[rows]) == sorted(set(targets))
    assert np.all(np.diff(rows) > 0)
    order = rng.permutation(4000)
    again = one_per_target(targets[order], 11, identifiers=identifiers[order])
    assert set(identifiers[order][again]) == set(identifiers[rows])
    assert set(one_per_target(targets, 12, identifiers=identifiers)) != set(rows)


def test_every_visit_is_as_likely():
    targets = ["a"] * 4
    counts = np.bincount(
        [one_per_target(targets, seed, identifiers=["w", "x", "y", "z"])[0] for seed in range(2000)],
        minlength=4,
    )
    assert np.all(np.abs(counts - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75))
    # without identifiers the row within the target stands in
    plain = [one_per_target(targets, seed)[0] for seed in range(500)]
    assert set(plain) == {0, 1, 2, 3}


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="sum to less than 1"):
        assign(["a"], 0, valid=0.5, test=0.5)
    with pytest.raises(ConfigError, match="sum to less than 1"):
        assign(["a"], 0, valid=-0.1)
    with pytest.raises(ConfigError, match="spectrum 1 has target ''"):
        assign(["a", ""], 0)
    with pytest.raises(ConfigError, match="neither"):
        weights(["a"], balance="star")
    with pytest.raises(ConfigError, match="identifiers"):
        one_per_target(["a", "b"], 0, identifiers=["x"])


def test_nothing_gives_nothing():
    assert assign([], 0).shape == weights([]).shape == one_per_target([], 0).shape == (0,)
