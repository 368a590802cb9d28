"""model.json and findings.json as objects: the same in and out, and clear where a file is wrong."""

import json

import numpy as np
import pytest

from astroprism.errors import ModelError
from astroprism.schema import CodesFacts, Findings, ModelFacts, Node
from studies import findings_of, write_findings

MODEL = {
    "format": "astroprism-model",
    "format_version": 1,
    "network": {"kind": "prism", "config": {"n_latent": 8}},
    "steps": 10,
    "seed": 0,
    "recipe": {"floor": [[0.5, 0.01], [0.7, 0.003]]},
    "asked": {},
    "store": {"fingerprint": "x", "spectra": 5, "grid": "g", "normalise": None},
    "split": {
        "seed": 0,
        "valid": 0.1,
        "test": 0.1,
        "train_spectra": 3,
        "valid_spectra": 1,
        "test_spectra": 1,
    },
    "trained_on": {"spectra": 3, "targets": 3},
    "precision": "32-true",
    "chi2": {"train": 1.0, "valid": None},
    "kept": [0, 3],
    "events": [{"step": 5, "event": "pruned"}],
    "warnings": [],
    "versions": {"torch": "2.13"},
}


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=(80, 4)), np.full((80, 4), 0.05)
    sd[:, 2:] = 3.0
    return findings_of(
        mean,
        sd,
        informative=[0, 1],
        labels={"rv": 30 * mean[:, 0]},
        identifiers=[f"s{i}" for i in range(80)],
    )


def test_model_facts_come_back_as_they_were(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(MODEL))
    facts = ModelFacts.read(path)
    assert facts.to_json() == MODEL
    assert (facts.network.nodes, facts.floor, facts.split.held_out_spectra) == (8, 0.003, 2)


def test_findings_come_back_as_they_were(made, tmp_path):
    findings, tables = made
    write_findings(tmp_path, findings, tables)
    again = Findings.read(tmp_path / "findings.json")
    assert again.to_json() == findings.to_json() == json.loads((tmp_path / "findings.json").read_text())
    assert [node.node for node in again.informative] == [0, 1]
    assert [node.node for node in again.unexplained] == [1]
    assert again.nodes[0].explained_by[0].label == "rv"
    assert not again.nodes[3].counted


def test_where_a_file_is_wrong_is_said(tmp_path):
    path = tmp_path / "model.json"
    for change, words in (
        ({"format_version": 2}, "is of format 'astroprism-model' 2"),
        ({"steps": "ten"}, r"`\$.steps`; restore it, or train again"),
        ({"chi2": {"train": 1.0}}, "valid"),
        ({"kept": None}, "kept"),
    ):
        path.write_text(json.dumps(MODEL | change))
        with pytest.raises(ModelError, match=words):
            ModelFacts.read(path)


def test_records_are_frozen(made):
    with pytest.raises(AttributeError):
        made[0].targets = 3
    assert Node.from_json(made[0].nodes[0].to_json()) == made[0].nodes[0]


def test_what_is_not_finite_is_none():
    facts = CodesFacts.from_json(
        {"spectra": np.int64(3), "nodes": 2, "network": "prism", "kept": [], "weights": "x", "polished": True}
    )
    assert facts.spectra == 3
    assert ModelFacts.from_json(MODEL | {"chi2": {"train": float("nan"), "valid": 1}}).chi2.train is None
