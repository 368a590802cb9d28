"""Retrainings of a study: what they are trained on, what stays of them, how they go on."""

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

SHARES = {"seed": 3, "valid": 0.25, "test": 0.25}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Ninety stars, forty of them held out, and a network that has learned little."""
    from astroprism.simulate import SimulationConfig, write_archive

    folder = tmp_path_factory.mktemp("retraining")
    write_archive(
        folder / "archive",
        SimulationConfig(spectra=90, window=(5885.0, 5905.0), step=5.0, visits="one", seed=5),
    )
    study = Study(folder / "study")
    study.ingest(folder / "archive")
    recipe = folder / "quick.toml"
    recipe.write_text("batch = 8\nprune_at = []\nprune_kl = []\ngive_back = []\nfloor = [[0.5, 0.01]]\n")
    study.train(options=TrainOptions(steps=120, config=recipe, device="cpu", valid=0.25, test=0.25))
    study.encode()
    return study


@pytest.fixture
def copy(study, tmp_path) -> Study:
    return Study(shutil.copytree(study.path, tmp_path / "study"))


def asked(study: Study, number: int) -> dict:
    return {"out": study.path, "options": FindOptions(device="cpu", stability=number)}


def test_twins_share_the_training_targets_and_nothing_else():
    targets = np.array([f"star {i}" for i in range(400)], dtype=object)
    first, second, third = (parts_of(targets, SHARES, number) for number in range(3))
    plain = np.isin(first, ["valid", "test"])
    assert (np.isin(second, ["valid", "test"]) == plain).all()
    assert ((first == "train") ^ (second == "train"))[~plain].all()
    assert 0.4 < (first == "train")[~plain].mean() < 0.6
    both = ((third == "train") & (first == "train"))[~plain].mean()
    assert 0.15 < both < 0.35  # another pair, other halves


def test_find_retrains_and_fills_survival(copy, monkeypatch):
    said = []
    report = find(copy.store, copy.model_path, **asked(copy, 2), say=said.append)
    assert any("2 retrainings, each on half" in text for text in said)
    content = json.loads((copy.path / "findings.json").read_text())
    assert content["stability"]["retrainings"] == 2
    assert content["provenance"]["retrainings"] == [0, 1]
    for node in content["nodes"]:
        assert 0 <= node["survival"] <= 1
        assert node["claimed"] <= (node["informative"] and node["returns"])
    table = pd.read_parquet(copy.path / "findings" / "survival.parquet")
    assert len(table) == 64
    assert "came back when trained anew" in report.text()
    for number in ("0", "1"):
        left = [path.name for path in (copy.path / "stability" / number).iterdir()]
        assert sorted(left) == ["codes.parquet", "recipe.toml"]

    monkeypatch.setattr(fitting, "train", lambda *_, **__: pytest.fail("it is there already"))
    assert not find(copy.store, copy.model_path, **asked(copy, 2)).made
    assert not find(copy.store, copy.model_path, **asked(copy, 0)).made  # what is there is used
    digest = content["provenance"]["weights"]
    assert finished(copy.path, digest) == [0, 1]
    assert finished(copy.path, "another model") == []
    identifiers = [*copy.index["spectrum_id"]]
    one = read_retraining(copy.path, 0, identifiers=identifiers)
    assert np.isfinite(one.mean).all(1).sum() == np.isfinite(one.sd).all(1).sum() < 90


class Stop(Exception):
    """Somebody pulls the plug."""


def test_a_retraining_that_was_cut_off_goes_on(copy):
    def stop(moment, steps):
        if moment.step >= 110:
            raise Stop

    with pytest.raises(Stop):
        find(copy.store, copy.model_path, **asked(copy, 1), watch=stop)
    assert (copy.path / "stability" / "0" / "model" / "plan.json").exists()
    assert not (copy.path / "findings.json").exists()
    said = []
    find(copy.store, copy.model_path, **asked(copy, 1), say=said.append)
    assert any("going on from step" in text for text in said)


def test_one_that_was_begun_beside_another_model_is_begun_again(copy):
    def stop(moment, steps):
        raise Stop

    with pytest.raises(Stop):
        find(copy.store, copy.model_path, **asked(copy, 1), watch=stop)
    path = copy.path / "stability" / "0" / "model" / "plan.json"
    plan = json.loads(path.read_text())
    plan["asked"]["seed"] = 99
    path.write_text(json.dumps(plan))
    said = []
    with pytest.raises(Stop):
        find(copy.store, copy.model_path, **asked(copy, 1), say=said.append, watch=stop)
    assert any("begun beside another model" in text for text in said)


def test_the_cost_is_told_beforehand(study):
    about = json.loads((study.model_path / "model.json").read_text())
    text = cost_of(study.model_path, about, left=3, done=1)
    assert text.startswith("3 retrainings (1 are there already)")
    assert "the first training took" in text


def test_numbers_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="stability -1: between 0 and 100"):
        FindOptions(stability=-1)


def test_parts_of_another_length_are_refused(study):
    with pytest.raises(ConfigError, match="90 spectra, but parts of shape"):
        fitting.asked_of(study.store, TrainOptions(), parts=np.array(["train"]))
