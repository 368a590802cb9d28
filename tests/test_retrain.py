"""Retrainings of a study: what they are trained on, what stays of them, how they continue."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from astroprism import Study, TrainOptions
from astroprism.errors import ConfigError
from astroprism.findings.find import FindOptions, find
from astroprism.findings.retrain import cost_of, finished, parts_of, read_retraining
from astroprism.model import fit as fitting
from astroprism.schema import Split
from quick import quick_options

SHARES = Split(seed=3, valid=0.25, test=0.25, train_spectra=0, valid_spectra=0, test_spectra=0)


@pytest.fixture(scope="module")
def study(ninety_stars, tmp_path_factory) -> Study:
    """Ninety stars, forty of them held out, and a network that has learned little."""
    folder = tmp_path_factory.mktemp("retraining")
    study = Study(shutil.copytree(ninety_stars, folder / "study"))
    options = quick_options(folder, more="floor = [[0.5, 0.01]]\n", steps=120, valid=0.25, test=0.25)
    study.train(options=options)
    study.encode()
    return study


@pytest.fixture
def copy(study, tmp_path) -> Study:
    return Study(shutil.copytree(study.path, tmp_path / "study"))


def retrained(number: int) -> FindOptions:
    return FindOptions(device="cpu", stability=number)


def test_twins_share_the_training_targets_and_nothing_else():
    index = pd.DataFrame({"target": [f"star {i}" for i in range(400)]})
    first, second, third = (parts_of(index, SHARES, number) for number in range(3))
    plain = np.isin(first, ["valid", "test"])
    assert (np.isin(second, ["valid", "test"]) == plain).all()
    assert ((first == "train") ^ (second == "train"))[~plain].all()
    assert 0.4 < (first == "train")[~plain].mean() < 0.6
    both = ((third == "train") & (first == "train"))[~plain].mean()
    assert 0.15 < both < 0.35  # another pair, other halves


def test_find_retrains_and_fills_survival(copy, monkeypatch):
    events = []
    report = find(copy, options=retrained(2), progress=events.append)
    assert any("2 retrainings, each on half" in event.message for event in events)
    findings = copy.findings()
    assert findings == report.findings
    assert findings.stability["retrainings"] == 2
    assert findings.provenance["retrainings"] == [0, 1]
    for node in findings.nodes:
        assert 0 <= node.survival <= 1
        assert node.claimed <= (node.informative and node.returns)
    assert len(copy.finding_table("survival")) == 64
    assert "came back when trained again" in report.text()
    for number in ("0", "1"):
        left = [path.name for path in (copy.path / "stability" / number).iterdir()]
        assert sorted(left) == ["codes.parquet", "recipe.toml"]

    monkeypatch.setattr(fitting, "train", lambda *_, **__: pytest.fail("it is there already"))
    assert not find(copy, options=retrained(2)).made
    assert not find(copy, options=retrained(0)).made  # what is there is used
    assert finished(copy, findings.provenance["weights"]) == [0, 1]
    assert finished(copy, "another model") == []
    one = read_retraining(copy, 0, identifiers=[*copy.index["spectrum_id"]])
    assert np.isfinite(one.mean).all(1).sum() == np.isfinite(one.sd).all(1).sum() < 90


class Stop(Exception):
    """Somebody pulls the plug."""


def test_a_retraining_that_was_interrupted_is_continued(copy):
    def stop(event):
        if event.kind == "count" and event.detail.step >= 110:
            raise Stop

    with pytest.raises(Stop):
        find(copy, options=retrained(1), progress=stop)
    assert (copy.path / "stability" / "0" / "model" / "plan.json").exists()
    assert not copy.has_findings()
    events = []
    find(copy, options=retrained(1), progress=events.append)
    assert any("continuing from step" in event.message for event in events)


def test_one_that_was_begun_for_another_model_is_begun_again(copy):
    events = []

    def stop(event):
        events.append(event)
        if event.kind == "count":
            raise Stop

    with pytest.raises(Stop):
        find(copy, options=retrained(1), progress=stop)
    path = copy.path / "stability" / "0" / "model" / "plan.json"
    plan = json.loads(path.read_text())
    plan["asked"]["seed"] = 99
    path.write_text(json.dumps(plan))
    with pytest.raises(Stop):
        find(copy, options=retrained(1), progress=stop)
    assert any("begun for another model" in event.message for event in events)


def test_the_cost_is_estimated_beforehand(study):
    text = cost_of(study, missing=3, done=1)
    assert text.startswith("3 retrainings (1 are there already)")
    assert "the first training took" in text


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="stability -1: between 0 and 100"):
        FindOptions(stability=-1)


def test_parts_of_another_length_are_refused(study):
    with pytest.raises(ConfigError, match="90 spectra, but parts of shape"):
        fitting.training_request(study.store, TrainOptions(), parts=np.array(["train"]))
