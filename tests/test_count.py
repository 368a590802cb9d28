"""Counts of made-up codes whose causes are known."""

import json

import numpy as np
import pytest

from astroprism.measures import EvidenceError
from astroprism.measures.count import (
    EFFECT,
    ablation_bound,
    agreement,
    causes_in_words,
    count,
    dispersion,
    find_copies,
)
from astroprism.schema import CountSummary

N, NODES, CAUSES = 800, 12, 4


@pytest.fixture(scope="module")
def codes():
    """Four live nodes, eight dead ones; node 5 has a tiny but deterministic mean, as dead nodes do."""
    rng = np.random.default_rng(1)
    mean, sd = np.zeros((N, NODES)), np.ones((N, NODES))
    mean[:, :CAUSES], sd[:, :CAUSES] = rng.normal(size=(N, CAUSES)), 0.05
    mean[:, 5] = 0.06 * rng.normal(size=N)
    rise = rng.normal(0, 1, (N, NODES))
    rise[:, :CAUSES] += rng.lognormal(6, 1, (N, CAUSES))
    return mean, sd, rise


def test_both_methods_find_the_causes_and_the_papers_finds_one_too_many(codes):
    mean, sd, rise = codes
    found = count(mean, sd, ablation=rise, bound=50.0)
    for one in (found.statistical, found.information):
        assert (one.k, one.low, one.high, set(one.nodes)) == (CAUSES, CAUSES, CAUSES, set(range(CAUSES)))
    assert found.agree
    assert found.mad.k == CAUSES + 1
    assert found.informative.tolist() == [True] * CAUSES + [False] * (NODES - CAUSES)
    assert not found.doubtful.any()
    assert found.dispersion_ratio[0] == pytest.approx(400, rel=0.2)
    assert found.dispersion_ratio[5] < 0.01
    assert found.n == N


def test_copies_count_once(codes):
    mean, sd, rise = codes
    overlap = np.eye(NODES)
    overlap[2, 3] = overlap[3, 2] = 0.9
    overlap[0, 1] = overlap[1, 0] = 0.2
    found = count(mean, sd, ablation=rise, bound=50.0, overlap=overlap)
    assert found.statistical.k == found.information.k == found.statistical.high == CAUSES - 1
    stronger, weaker = (2, 3) if rise[:, 2].mean() > rise[:, 3].mean() else (3, 2)
    assert found.copies_of[weaker] == stronger
    assert (found.copies_of >= 0).sum() == 1
    assert weaker not in found.statistical.nodes
    assert found.informative[weaker]


def test_a_chain_of_overlaps_is_not_one_cause():
    overlap = np.array([[1, 0.6, 0.1], [0.6, 1, 0.6], [0.1, 0.6, 1]])
    assert find_copies([3, 2, 1], overlap).tolist() == [-1, 0, -1]
    assert find_copies([1, 2, 3], None).tolist() == [-1, -1, -1]


def test_above_one_bound_only_is_doubtful(codes):
    mean, sd, rise = codes
    mean, rise = mean.copy(), rise.copy()
    rise[:, 3] = np.random.default_rng(2).normal(0, 1, N)  # carries information that the decoder does not use
    found = count(mean, sd, ablation=rise, bound=50.0)
    assert (found.statistical.k, found.information.k, found.agree) == (3, 4, False)
    assert found.doubtful.tolist() == [False, False, False, True] + [False] * 8
    assert found.node(3)["informative_by"] == ["information"]


def test_the_range_follows_the_intervals(codes):
    mean, sd, rise = codes
    rng = np.random.default_rng(3)
    rise, sd, mean = rise.copy(), sd.copy(), mean.copy()
    rise[:, 2] = rng.normal(51, 300, N)  # above the bound in this draw, but not surely
    rise[:, 6] = rng.normal(20, 5, N)  # below it, above a third of it
    found = count(mean, sd, ablation=rise, bound=50.0).statistical
    assert (found.k, found.low, found.high) == (4, 3, 5)
    mean[:, 7], sd[:, 7] = 0.6 * rng.normal(size=N), 0.8  # 0.22 nats: between the soft bound and the bound
    found = count(mean, sd, ablation=rise, bound=50.0).information
    assert (found.k, found.low, found.high) == (4, 4, 5)


def test_what_folds_do_not_identify_is_possible_but_not_sure(codes):
    mean, sd, rise = codes
    identified = np.arange(NODES) != 1
    found = count(mean, sd, ablation=rise, bound=50.0, identified=identified)
    for one in (found.statistical, found.information):
        assert (one.k, one.low, one.high) == (CAUSES - 1, CAUSES - 1, CAUSES)
        assert 1 not in one.nodes
    assert found.agree
    assert found.doubtful.tolist() == [i == 1 for i in range(NODES)]
    assert not found.informative[1]
    assert found.mad.k == CAUSES + 1  # the paper's count knows nothing of it


def test_a_null_is_taken_off(codes):
    mean, sd, rise = codes
    null = np.random.default_rng(4).normal(2_000, 10, (N, 20))
    assert count(mean, sd, ablation=rise, bound=50.0, null_ablation=null).statistical.k == 0
    assert count(mean, sd, ablation=rise, bound=50.0, null_ablation=-null).statistical.k == CAUSES
    assert count(mean, sd, ablation=rise, bound=50.0, null_information=np.full(5, 9.0)).information.k == 0


def test_dead_nodes_all_alike_give_zero():
    mean, sd = np.zeros((200, 5)), np.ones((200, 5))
    found = count(mean, sd, ablation=np.zeros((200, 5)), bound=10.0, overlap=np.zeros((5, 5)))
    assert [found.statistical.high, found.information.high, found.mad.high] == [0, 0, 0]
    assert found.agree


def test_the_bound_scales_with_pixels_and_snr_squared():
    sigma = np.full((3, 2000), 0.01)
    one = ablation_bound(sigma, floor=0.0)
    assert ablation_bound(np.full((3, 4000), 0.01), floor=0.0) == pytest.approx(2 * one)
    assert ablation_bound(sigma / 2, floor=0.0) == pytest.approx(4 * one)
    assert ablation_bound(sigma, floor=0.01) == pytest.approx(one / 2)
    assert one == pytest.approx(0.5 * 2000 * (EFFECT / 0.01) ** 2)
    bad = np.zeros((3, 2000), dtype=bool)
    bad[:, ::2] = True
    assert ablation_bound(sigma, floor=0.0, good=~bad) == pytest.approx(one / 2)
    assert ablation_bound(np.where(bad, np.nan, sigma), floor=0.0) == pytest.approx(one / 2)
    assert ablation_bound(sigma[0, :10] * 10, floor=0.01) == 1.0


def test_the_interval_of_the_dispersion_holds_the_truth():
    held = 0
    for seed in range(200):
        mean = np.random.default_rng(seed).normal(size=(301, 1))
        _, low, high = dispersion(mean)
        held += low[0] <= 0.6745 <= high[0]
    assert 165 <= held <= 196


def test_the_summary_is_what_findings_keep(codes):
    mean, sd, rise = codes
    found = count(mean, sd, ablation=rise, bound=50.0)
    kept = json.loads(json.dumps(found.summary().to_json()))
    assert kept["statistical"]["k"] == CAUSES
    assert kept["mad"]["threshold"] == 0.02
    assert kept["agree"] is True
    node = json.loads(json.dumps(found.node(0)))
    assert node["informative_by"] == ["statistical", "information"]
    assert node["copies_of"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ablation": np.zeros((N, 3))}, "must be \\(spectra, 12\\)"),
        ({"ablation": np.zeros((5, NODES))}, "5 spectra and the codes 800"),
        ({"ablation": np.full((N, NODES), np.nan)}, "not finite"),
        ({"bound": 0.0}, "must be positive"),
        ({"overlap": np.eye(3)}, "12 by 12"),
        ({"overlap": np.full((NODES, NODES), np.nan)}, "give 0 for dead nodes"),
    ],
)
def test_refusals(codes, change, words):
    mean, sd, rise = codes
    with pytest.raises(EvidenceError, match=words):
        count(mean, sd, **({"ablation": rise, "bound": 50.0} | change))


def test_a_bound_needs_pixels():
    with pytest.raises(EvidenceError, match="usable sigma"):
        ablation_bound(np.full(10, np.nan), floor=0.01)
    with pytest.raises(EvidenceError, match="floor"):
        ablation_bound(np.ones(10), floor=-1)


def test_copies_are_not_looked_for_without_the_decoder():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 400))
    mean, sd = np.column_stack([one, -3 * one, other]), np.full((400, 3), 0.05)
    found = count(mean, sd, ablation=np.full((400, 3), 900.0) + rng.normal(size=(400, 3)), bound=50)
    assert found.alike == ((0, 1, pytest.approx(-1)),)
    assert "copies were not looked for" in found.text()
    assert "nodes 0 and 1 (-1.00)" in found.text()
    assert count(mean, sd, overlap=np.eye(3)).alike is None


def test_equal_counts_of_a_wide_range_have_not_confirmed_each_other():
    def one(k, low, high):
        return CountSummary(k, low, high, list(range(k)), 0.5)

    assert agreement(one(4, 4, 4), one(4, 3, 5)) == "the two counts agree"
    assert agreement(one(4, 4, 4), one(5, 3, 5)) == "the two counts DISAGREE"
    assert agreement(one(5, 4, 8), one(5, 5, 9)) == "the two counts agree"  # as wide as what was counted
    wide = agreement(one(1, 1, 1), one(1, 1, 23))
    assert "1 to 23 are possible this says little: read them as 1 or more" in wide
    assert [causes_in_words(k) for k in range(3)] == ["0 causes", "1 cause", "2 causes"]
