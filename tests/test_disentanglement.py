"""Codes whose relation to the factors is known: what the field's measures must say of them."""

import numpy as np
import pytest

from astroprism.measures.disentanglement import (
    all_scores,
    completeness,
    dci,
    disentanglement,
    info_mec,
    mcc,
    mig,
    sap,
    total_correlation,
)
from astroprism.measures.evidence import EvidenceError


def drawn(n=400, k=3, *, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, k))


def turned(x, angle):
    out = x.copy()
    out[:, 0] = np.cos(angle) * x[:, 0] + np.sin(angle) * x[:, 1]
    out[:, 1] = np.cos(angle) * x[:, 1] - np.sin(angle) * x[:, 0]
    return out


def test_one_node_per_factor_scores_near_one():
    factors = drawn()
    codes = np.c_[-factors[:, 1], factors[:, 2] ** 3, 2 * factors[:, 0]]
    scores = all_scores(codes, factors)
    assert scores["DCI disentanglement"].value > 0.97
    assert scores["DCI completeness"].value > 0.97
    assert scores["DCI informativeness"].value > 0.97
    assert scores["MIG"].value > 0.65  # equal widths of a cube are few in the middle
    assert scores["SAP"].value > 0.8
    assert scores["InfoMEC modularity"].value > 0.9
    assert scores["InfoMEC compactness"].value > 0.9
    assert all(one.low <= one.value <= one.high for one in scores.values())


def test_nodes_turned_into_each_other_lose_axes_and_no_information():
    factors = drawn()
    right, mixed = dci(factors, factors), dci(turned(factors, np.pi / 4), factors)
    assert mixed.disentanglement.high < right.disentanglement.low - 0.3
    assert mixed.informativeness.value > 0.9
    assert mig(turned(factors, np.pi / 4), factors).value < 0.5
    assert sap(turned(factors, np.pi / 4), factors).value < 0.5


def test_a_factor_on_two_nodes_is_modular_and_not_compact():
    factors = drawn(600, 2)
    noise = 0.3 * np.random.default_rng(1).normal(size=(600, 2))
    codes = np.c_[factors[:, 0] + noise[:, 0], factors[:, 0] + noise[:, 1], factors[:, 1]]
    found = info_mec(codes, factors)
    assert found.modularity.value > 0.85
    assert found.compactness.value < 0.8


def test_noise_scores_nothing():
    factors, codes = drawn(), drawn(seed=1)
    found = info_mec(codes, factors)
    assert dci(codes, factors).informativeness.value < 0.05
    assert found.explicitness.value < 0.1
    assert mig(codes, factors).value < 0.1
    assert sap(codes, factors).value < 0.05


def test_an_importance_matrix_has_the_scores_of_its_definition():
    assert disentanglement(np.eye(3)) == pytest.approx(1)
    assert completeness(np.eye(3)) == pytest.approx(1)
    assert disentanglement(np.ones((3, 3))) == pytest.approx(0)
    # node 0 for both factors alike, node 1 for one: entropies 1 and 0, weights 2/3 and 1/3
    assert disentanglement([[1, 1], [1, 0]]) == pytest.approx(1 / 3)


def test_whole_numbers_of_few_values_are_classes():
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, (400, 2)).astype(float)
    codes = classes + 0.1 * random.normal(size=classes.shape)
    found = dci(codes, classes)
    assert found.informativeness.value > 0.99
    assert mig(codes, classes).value > 0.8


def test_codes_of_two_seeds_are_matched_one_to_one():
    codes = drawn(500, 3)
    others = -codes[:, [2, 0, 1]]
    assert mcc(codes, others).value == pytest.approx(1)
    assert mcc(codes, np.exp(3 * others), ranks=True).value == pytest.approx(1)
    assert mcc(codes, np.exp(3 * others)).value < 0.95
    assert mcc(codes, drawn(500, 3, seed=1)).value < 0.1
    assert mcc(codes, turned(others, np.pi / 4)).value < 0.9


def test_dependence_between_nodes_is_that_of_their_correlation():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 4000))
    mixed = np.c_[a, 0.6 * a + 0.8 * b]
    found = total_correlation(mixed)
    assert found.low < -0.5 * np.log(1 - 0.36) < found.high
    assert total_correlation(np.c_[a, b]).value < 0.005


def test_an_interval_over_targets_holds_the_value_of_many():
    truth = sap(turned(drawn(40_000), 0.3), drawn(40_000)).value
    held = 0
    for seed in range(40):
        factors = drawn(300, seed=seed)
        found = sap(turned(factors, 0.3), factors)
        held += found.low <= truth <= found.high
    assert 30 <= held <= 40


def test_tables_that_do_not_fit_are_refused():
    factors = drawn()
    with pytest.raises(EvidenceError, match="400 rows of codes and 300"):
        dci(factors, factors[:300])
    with pytest.raises(EvidenceError, match="at least 100"):
        mig(factors[:50], factors[:50])
    with pytest.raises(EvidenceError, match="not finite"):
        sap(np.where(factors > 0.99, np.nan, factors), factors)
    with pytest.raises(EvidenceError, match="one code"):
        dci(factors[:, :1], factors)
    with pytest.raises(EvidenceError, match="factor 1 is constant"):
        dci(factors, np.c_[factors[:, 0], np.zeros(400)])
    with pytest.raises(EvidenceError, match="code 2 is constant"):
        info_mec(np.c_[factors[:, :2], np.zeros(400)], factors)
    with pytest.raises(EvidenceError, match="factors are not numbers"):
        dci(factors, np.full(factors.shape, "K2"))
    with pytest.raises(EvidenceError, match="targets, columns"):
        mcc(factors[:, 0], factors)
