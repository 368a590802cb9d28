"""Survival where it is known: twins, turned axes, noise, nodes that are gone."""

import numpy as np
import pytest

from astroprism.measures import EvidenceError, screened_information
from astroprism.measures.evidence import ranks
from astroprism.measures.nulls import equal_bins
from astroprism.measures.stability import LEAST_OWN, screens, shared_variance, survive

N = 600


def codes(causes, *, sd=0.1, dead=3, seed=0):
    """(mean, sd): a node a cause, then dead ones."""
    rng = np.random.default_rng(seed)
    alive = np.sqrt(1 - sd**2) * causes + 0.5 * sd * rng.standard_normal(causes.shape)
    mean = np.column_stack([alive, 0.01 * rng.standard_normal((len(causes), dead))])
    spread = np.column_stack([np.full(causes.shape, sd), np.ones((len(causes), dead))])
    return mean, spread


@pytest.fixture(scope="module")
def causes():
    return np.random.default_rng(5).standard_normal((N, 3))


def test_causes_return_and_noise_does_not(causes):
    again = [codes(causes[:, order], seed=seed) for seed, order in ((1, [2, 0, 1]), (2, [0, 1, 2]))]
    found = survive(*codes(causes), others=again)
    assert (found.score[:3] > 0.95).all()
    assert (found.score[3:] < 0.1).all()
    assert found.returns.tolist() == [True] * 3 + [False] * 3
    assert ((found.low <= found.score) & (found.score <= found.high)).all()
    assert 0 < found.null < 0.2
    assert (found.retrainings, found.n) == (2, N)
    partners = {(one.retraining, one.node): one.partner for one in found.found}
    assert [partners[0, node] for node in range(3)] == [1, 2, 0]
    assert [partners[1, node] for node in range(3)] == [0, 1, 2]


def test_the_sign_or_the_scale_of_a_node_is_nothing(causes):
    mean, sd = codes(causes, seed=1)
    bent = np.column_stack([-3 * mean[:, 0], np.sinh(mean[:, 1]), mean[:, 2:]])
    wide = np.column_stack([3 * sd[:, 0], np.cosh(mean[:, 1]) * sd[:, 1], sd[:, 2:]])
    found = survive(*codes(causes), others=[(bent, wide)])
    assert (found.score[:3] > 0.95).all()


def test_a_cause_that_one_retraining_lost_survives_by_half(causes):
    found = survive(*codes(causes), others=[codes(causes, seed=1), codes(causes[:, :2], dead=4, seed=2)])
    assert (found.score[:2] > 0.95).all()
    assert found.score[2] == pytest.approx(0.5, abs=0.05)
    assert found.low[2] < 0.1  # two retrainings that differ tell next to nothing


def test_turned_axes_are_distinguished_from_lost_causes(causes):
    turned = causes.copy()
    turned[:, :2] = causes[:, :2] @ np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    found = survive(*codes(causes), others=[codes(turned, seed=1)])
    assert (found.score[:2] < 0.7).all()
    assert (found.told_by_all[:3] > 0.95).all()
    gone = survive(*codes(causes), others=[codes(causes[:, 1:], dead=4, seed=1)])
    assert gone.score[0] < 0.1
    assert gone.told_by_all[0] < 0.1


def test_a_retraining_may_hold_nothing_or_have_fewer_nodes(causes):
    nothing = codes(causes[:, :0], dead=2, seed=1)
    found = survive(*codes(causes), others=[nothing])
    assert (found.score < 0.15).all()
    assert not found.returns.any()
    assert found.told_by_all.tolist() == [0.0] * 6
    assert len(found.table()["node"]) == 2


def test_names_and_tables(causes):
    found = survive(*codes(causes), others=[codes(causes, seed=1)], names=[7])
    assert set(found.table()["retraining"]) == {7}
    assert found.node(0)["survival"] == found.score[0]
    assert found.node(0)["returns"] is True
    assert found.summary()["retrainings"] == 1


def test_a_share_is_of_what_the_node_itself_holds():
    assert shared_variance(1.0, own=1.0) == 1.0
    assert shared_variance(0.5, own=9.0) == pytest.approx(1 - np.exp(-1))
    assert shared_variance(0.02, own=0.02) == pytest.approx((1 - np.exp(-0.04)) / LEAST_OWN)  # not 1
    assert shared_variance(-0.02, own=3.0) == 0.0
    assert shared_variance(9.0, own=9.0, chance=0.1) == pytest.approx(1.0)
    assert shared_variance(0.01, own=9.0, chance=0.1) == 0.0


def test_screens_of_all_pairs_equal_those_pair_by_pair(causes):
    mean, _ = codes(causes)
    rng = np.random.default_rng(3)
    x, y = (np.column_stack([equal_bins(ranks(one, rng)) for one in z.T]) for z in (mean, causes))
    one_by_one = [[screened_information(a, b)[0] for b in y.T] for a in x.T]
    np.testing.assert_allclose(screens(mean, causes, seed=3), one_by_one, atol=1e-9)


def test_what_cannot_be_compared_is_refused(causes):
    mean, sd = codes(causes)
    with pytest.raises(EvidenceError, match="no retraining is given"):
        survive(mean, sd, others=[])
    with pytest.raises(EvidenceError, match="retraining 0 codes 599 spectra, the model 600"):
        survive(mean, sd, others=[(mean[1:], sd[1:])])
    with pytest.raises(EvidenceError, match="10 targets have codes"):
        survive(mean[:10], sd[:10], others=[(mean[:10], sd[:10])])
