"""Labels come back from bent codes, and their intervals cover what they say."""

import numpy as np
import pytest

from astroprism.errors import ModelError
from astroprism.measures.probe import (
    ClassProbe,
    fit,
    label_residuals,
    predict,
    read_probe,
    target_keys,
    threshold,
    write_probe,
)


def world(n, *, seed, nodes=5):
    """Codes that are bent in two causes, noisier where SNR is low; (mean, sd, snr, labels)."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, n))
    snr = np.exp(rng.uniform(np.log(20), np.log(300), n))
    mean = rng.normal(0, 1e-3, (n, nodes))
    mean[:, 1], mean[:, 3] = np.sin(1.3 * a) + 0.2 * b, b + 0.4 * a * b
    noise = 1.0 / snr
    mean[:, [1, 3]] += noise[:, None] * rng.standard_normal((n, 2))
    sd = np.tile(noise[:, None], (1, nodes))
    kind = np.where(b > 0.3, "hot", "cold").astype(object)
    kind[rng.random(n) < 0.1] = None
    return mean, sd, snr, {"a": 100 * a, "kind": kind}


@pytest.fixture(scope="module")
def learned():
    n = 1500
    mean, sd, snr, labels = world(n, seed=1)
    labels["a"][::7] = np.nan
    labels["a"][1::97] = 60.0  # a few wrong ones
    labels |= {"constant": np.ones(n), "name": np.array([f"star {i}" for i in range(n)], dtype=object)}
    labels["few"] = np.where(np.arange(n) < 30, 1.0 * np.arange(n), np.nan)
    targets = np.array([f"t{i}" for i in range(n)], dtype=object)
    train = np.arange(n) % 4 > 0
    return fit(mean, sd, snr=snr, labels=labels, targets=targets, train=train, nodes=[1, 3], facts={"x": 1})


def test_intervals_cover_and_follow_the_noise(learned):
    mean, sd, snr, labels = world(4000, seed=2)
    found = predict(learned, mean, sd, snr=snr)
    one = found["a"]
    inside = (one.low <= labels["a"]) & (labels["a"] <= one.high)
    assert 0.86 < inside.mean() < 0.94
    faint = snr < 60
    assert inside[faint].mean() > 0.82
    assert inside[~faint].mean() > 0.82
    width = one.high - one.low
    assert np.median(width[faint]) > 2 * np.median(width[~faint])
    assert np.median(np.abs(one.value - labels["a"])) < 3
    assert not one.outside.any()


def test_classes_come_as_sets(learned):
    mean, sd, snr, labels = world(2000, seed=3)
    one = predict(learned, mean, sd, snr=snr)["kind"]
    known = np.array([k is not None for k in labels["kind"]])
    inside = np.array(
        [k in s.split("|") for k, s in zip(labels["kind"][known], one.sets[known], strict=True)]
    )
    assert inside.mean() > 0.87
    assert one.categorical
    assert isinstance(learned.labels["kind"], ClassProbe)
    assert all(value in s.split("|") for value, s in zip(one.value, one.sets, strict=True))


def test_labels_that_cannot_be_learned_say_why(learned):
    assert set(learned.labels) == {"a", "kind"}
    assert "one value" in learned.left_out["constant"]
    assert "classes" in learned.left_out["name"]
    assert "are needed" in learned.left_out["few"]


def test_a_code_far_from_all_others_is_outside(learned):
    mean, sd, snr, _ = world(3, seed=4)
    mean[0, 1] = 40.0
    assert np.isfinite(predict(learned, mean, sd, snr=snr)["a"].value).all()


def test_a_wrong_label_has_a_large_residual(learned):
    mean, sd, snr, labels = world(500, seed=5)
    found = predict(learned, mean, sd, snr=snr)
    wrong = {"a": labels["a"].copy(), "kind": labels["kind"].copy()}
    wrong["a"][:50] *= -1
    far = np.abs(labels["a"][:50]) > 30
    score = label_residuals(found, wrong)["a"]
    assert np.median(score[:50][far]) > 5 > np.quantile(score[50:], 0.95)


def test_a_star_does_not_vote_for_itself():
    rng = np.random.default_rng(0)
    n = 400
    mean, targets = rng.normal(size=(n, 1)), np.array([f"t{i}" for i in range(n)], dtype=object)
    y = rng.normal(size=n)  # nothing to learn: only a star itself determines its label
    train = np.arange(n) < 300
    probe = fit(
        mean, np.ones((n, 1)), snr=np.full(n, 50.0), labels={"y": y}, targets=targets, train=train, nodes=[0]
    )
    found = predict(probe, mean, np.ones((n, 1)), snr=np.full(n, 50.0), targets=targets)["y"]
    assert abs(np.corrcoef(found.value[:300], y[:300])[0, 1]) < 0.2


def test_it_is_the_same_again_from_disk(learned, tmp_path):
    mean, sd, snr, _ = world(50, seed=6)
    write_probe(tmp_path / "probe.npz", learned)
    again = read_probe(tmp_path / "probe.npz", facts={"x": 1})
    for name, one in predict(learned, mean, sd, snr=snr).items():
        other = predict(again, mean, sd, snr=snr)[name]
        assert np.array_equal(one.value, other.value)
        assert np.array_equal(one.sets, other.sets)
    assert again.left_out == learned.left_out
    assert read_probe(tmp_path / "probe.npz", facts={"x": 2}) is None  # codes or labels are others
    assert read_probe(tmp_path / "none.npz", facts={}) is None


def test_damage_is_reported(tmp_path):
    (tmp_path / "probe.npz").write_bytes(b"not a zip")
    with pytest.raises(ModelError, match="damaged"):
        read_probe(tmp_path / "probe.npz", facts={})


def test_thresholds_are_conformal():
    scores = np.arange(1.0, 20.0)
    assert threshold(scores, 0.9) == 18.0
    assert threshold(scores[:5], 0.9) == np.inf


def test_targets_have_keys_of_their_own():
    keys = target_keys(["a", "b", "a", ""])
    assert keys[0] == keys[2] != keys[1]
    assert keys[3] == 0


def test_without_nodes_nothing_is_read():
    probe = fit(
        np.zeros((3, 2)),
        np.ones((3, 2)),
        snr=np.ones(3),
        labels={"y": np.arange(3.0)},
        targets=np.array(["a", "b", "c"], dtype=object),
        train=np.ones(3, bool),
        nodes=[],
    )
    assert probe.left_out["y"] == "no node was kept"
    assert not probe.labels
