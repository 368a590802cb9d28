"""Codes out of fold on the axes of one network: what returns, and what was learned by heart."""

from __future__ import annotations

import numpy as np
import pytest

from astroprism.findings.assemble import text_of
from astroprism.measures.crossfit import axis_map, cross_fit
from astroprism.measures.evidence import EvidenceError
from astroprism.measures.spacing import code_information
from astroprism.schema import EvidenceFacts
from studies import findings_of

N, FOLDS = 200, 4
SD = np.array([0.02, 0.1, 0.1, 0.1, 1.0])


@pytest.fixture(scope="module")
def twin():
    """Networks of five nodes: a velocity, two causes on turned axes, one learned by heart, one idle."""
    rng = np.random.default_rng(5)
    causes = rng.normal(size=(N, 3))
    fold_of = np.arange(N) % FOLDS

    def network(angle, scale, trained):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        heart = np.where(trained, rng.normal(size=N), 0.0)
        mean = np.column_stack(
            [scale * causes[:, 0] + 0.3, causes[:, 1:] @ turn, heart, 0.01 * rng.normal(size=N)]
        )
        mean[:, :3] += rng.normal(size=(N, 3)) * SD[:3] / 3
        return mean, np.tile(SD, (N, 1))

    everything = np.ones(N, bool)
    folds = [network(0.4 * fold, 1 + 0.1 * fold, fold_of != fold) for fold in range(FOLDS)]
    return network(0.0, 1.0, everything), folds, fold_of


def fitted(twin, **changes):
    (mean, sd), folds, fold_of = twin
    options = {
        "folds": folds,
        "fold_of": fold_of,
        "common": [fold_of != fold for fold in range(FOLDS)],
        "units": np.array([f"star {i}" for i in range(N)], dtype=object),
        "moving": [0],
    }
    return cross_fit(mean, sd, **(options | changes))


def test_turned_axes_come_back_and_what_was_learned_by_heart_does_not(twin):
    (mean, _), _, _ = twin
    found = fitted(twin)
    assert found.identified.tolist() == [True, True, True, False, False]
    for node in range(3):
        share = found.returned[node]
        assert share.low < share.value < share.high
        assert share.value > 0.95
        assert np.corrcoef(found.mean[:, node], mean[:, node])[0, 1] > 0.98
    assert found.returned[3].value < 0.1
    assert found.node(0).keys() == {"returned", "returned_interval", "returned_null", "identified"}
    assert (found.null < 0.2).all()


def test_information_out_of_fold_counts_what_returns_alone(twin):
    found = fitted(twin)
    nats = code_information(found.mean, found.sd, seed=0).nats
    assert (nats[:3] > 1).all()
    assert (nats[3:] < 0.3).all()


def test_the_velocity_is_mapped_onto_itself_alone(twin):
    (mean, sd), folds, _ = twin
    onto = axis_map(folds[2][0], folds[2][1], mean, weight=np.ones(N), moving=[0])
    assert np.flatnonzero(onto.matrix[:, 0]).tolist() == [0]
    assert onto.matrix[0, 0] == pytest.approx(1 / 1.2, rel=0.05)
    assert (onto.matrix[0, 1:] == 0).all()
    assert (onto.matrix[4] == 0).all()  # an idle node is not read
    turned = onto.sd(sd)[0]
    assert turned[1] == pytest.approx(0.1, rel=0.1)  # a rotation keeps the noise


def test_an_outlier_does_not_steer_the_map(twin):
    (mean, sd), folds, fold_of = twin
    wild = mean.copy()
    wild[:6, 1] += 40
    found = fitted(((wild, sd), folds, fold_of))
    assert np.abs(found.mean[6:, 1] - mean[6:, 1]).mean() < 0.15


def test_visits_of_one_unit_count_once(twin):
    units = np.array([f"night {i // 4}" for i in range(N)], dtype=object)
    assert fitted(twin, units=units).returned[1].n == N // 4


def test_spectra_of_no_fold_have_no_code(twin):
    fold_of = twin[2].copy()
    fold_of[:10] = -1
    found = fitted((*twin[:2], fold_of), fold_of=fold_of)
    assert np.isnan(found.mean[:10]).all()
    assert np.isfinite(found.mean[10:]).all()


def test_a_fold_that_was_trained_on_is_refused(twin):
    with pytest.raises(EvidenceError, match="fold 0 has"):
        fitted(twin, common=[np.ones(N, bool)] * FOLDS)
    with pytest.raises(EvidenceError, match="no spectrum is in a fold"):
        fitted(twin, fold_of=np.full(N, -1))


def test_what_was_learned_by_heart_is_not_claimed_and_the_text_says_so(twin):
    found = fitted(twin)
    findings, _ = findings_of(
        found.mean,
        found.sd,
        informative=[0, 1, 2, 3],
        crossfit=found,
        facts=EvidenceFacts("target", N, N, FOLDS),
    )
    assert [node.claimed for node in findings.nodes] == [True, True, True, False, False]
    count = findings.count
    assert (count.statistical.k, count.statistical.low, count.statistical.high) == (3, 3, 4)
    assert count.information.k == 3
    assert count.agree
    text = text_of(findings)
    assert "evidence from 200 targets, 4-fold cross-fitted" in text
    assert "NOT IDENTIFIED, so it is not claimed" in text
    assert all(node.node != 3 for node in findings.unexplained)
    again = type(findings).from_json(findings.to_json())
    assert again == findings
