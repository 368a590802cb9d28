"""Labels that lie across nodes: what a set of them tells, and what none does."""

import numpy as np
import pytest

from astroprism.measures.evidence import EvidenceError
from astroprism.measures.mutual import mutual_information
from astroprism.measures.together import told_together


def codes(n=600, k=4, *, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k))


def test_a_label_that_only_two_nodes_show_together_is_found_on_them():
    z = codes(1500)
    label = z[:, 1] * z[:, 3] + 0.1 * np.random.default_rng(1).normal(size=1500)
    assert max(mutual_information(z[:, i], label).low for i in (0, 2)) < 0.05
    found = told_together(z, label)
    assert found.pair == (1, 3)
    assert found.two.low > 0.5
    assert found.whole.low > 0.5
    assert found.whole.p < 1e-3


def test_a_mixture_is_told_by_two_better_than_by_one():
    z = codes()
    label = z[:, 0] + z[:, 2] + 0.2 * np.random.default_rng(1).normal(size=600)
    found = told_together(z, label)
    alone = mutual_information(z[:, 0], label)
    truth = 0.5 * np.log(1 + 2 / 0.04)
    assert found.pair == (0, 2)
    assert found.two.low > alone.high
    assert found.two.nats < truth + 0.1  # a lower bound


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_told_of_noise(seed):
    found = told_together(codes(seed=seed), np.random.default_rng(seed + 50).normal(size=600))
    assert found.whole.low < 0.03
    assert found.two.low < 0.03


def test_false_alarms_are_rare():
    p = [
        told_together(codes(200, 3, seed=s), np.random.default_rng(s + 99).normal(size=200)).two.p
        for s in range(20)
    ]
    assert sum(one < 0.05 for one in p) <= 4


def test_classes_and_blanks_are_taken():
    z = codes()
    label = np.where(z[:, 0] + z[:, 1] > 0, "dwarf", "giant").astype(object)
    label[::7] = None
    found = told_together(z, label)
    assert found.pair == (0, 1)
    assert found.two.low > 0.25
    assert told_together(z[:90], label[:90]) is None
    assert told_together(z[:, :1], label) is None
    with pytest.raises(EvidenceError, match="90 rows, the codes 600"):
        told_together(z, label[:90])
    two = told_together(z[:, :2], label)
    assert two.pair is None
    assert two.whole.low > 0.25
