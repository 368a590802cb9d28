"""Evidence by cross-fitting: a study of few targets, or of one star on many nights, ends with findings."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroprism import Study
from astroprism.errors import AstroprismError, ModelError
from astroprism.findings import folds as folding
from astroprism.findings.find import FindOptions, find
from astroprism.findings.folds import finished_folds, read_folds
from astroprism.findings.retrain import mean_and_sd
from astroprism.info import info
from astroprism.model import fit as fitting
from quick import quick_options

OPTIONS = FindOptions(device="cpu")


def trained(study: Study, folder, **changes) -> Study:
    study.train(options=quick_options(folder, more="floor = [[0.5, 0.01]]\n", steps=240, **changes))
    study.encode()
    return study


@pytest.fixture(scope="module")
def study(ninety_stars, tmp_path_factory) -> Study:
    """Ninety stars, to be cross-fitted in three folds, and a network that has learned little."""
    folder = tmp_path_factory.mktemp("folds")
    return trained(Study(shutil.copytree(ninety_stars, folder / "study")), folder, folds=3)


@pytest.fixture(scope="module")
def found(study) -> tuple[Study, list]:
    events: list = []
    find(study, options=OPTIONS, progress=events.append)
    return study, events


def test_every_target_gives_evidence_without_having_been_trained_on(found):
    study, events = found
    texts = [event.message for event in events if event.kind == "message"]
    assert any("by 3-fold cross-fitting: 3 trainings of about" in text for text in texts)
    assert not any(event.kind == "warning" and "chi2" in event.message for event in events)
    assert any("for the findings. Interrupt at any time" in text for text in texts)
    plain = [re.sub(r"\d[\d,.]*", "#", text) for text in texts]
    assert plain.count("cross-fitting: fold # of #") == 3
    assert all(plain.count(text) == 1 for text in plain if not text.startswith("cross-fitting: fold"))
    findings = study.findings()
    assert findings.targets == 90
    assert findings.rests_on.text == "evidence from 90 targets, 3-fold cross-fitted"
    assert findings.provenance["folds"] == 3
    velocity = findings.nodes[0]
    assert velocity.identified
    assert velocity.returned_interval[0] <= velocity.returned <= velocity.returned_interval[1]
    assert velocity.returned > velocity.returned_null
    for node in findings.nodes:
        assert node.claimed <= bool(node.informative and node.identified)
    tables = [pd.read_parquet(study.path / "folds" / str(fold) / "codes.parquet") for fold in range(3)]
    assert sum(table["held"].sum() for table in tables) == 90
    for table in tables:
        assert not (table["held"] & table["trained"]).any()
        assert table["trained"].sum() > 40
    codes = study.finding_table("crossfit")
    assert len(codes) == 90
    assert np.isfinite(codes.drop(columns=["spectrum_id", "unit"])).all(axis=None)


def test_what_is_there_is_not_made_again(found, monkeypatch):
    study, _ = found
    monkeypatch.setattr(fitting, "train", lambda *_, **__: pytest.fail("it is there already"))
    assert not find(study, options=OPTIONS).made
    weights = study.findings().provenance["weights"]
    assert finished_folds(study, weights, count=3) == [0, 1, 2]
    assert finished_folds(study, weights, count=4) == []
    assert finished_folds(study, "another model", count=3) == []


def test_the_report_and_info_say_what_it_rests_on(found):
    study, _ = found
    page = Path(study.report().page).read_text()
    assert "evidence from 90 targets, 3-fold cross-fitted" in page
    assert "returned out of fold" in page
    assert info(study.path)["model"]["evidence"] == "3-fold cross-fitting over targets"


class Stop(Exception):
    """Somebody pulls the plug."""


def test_a_fold_that_was_interrupted_is_continued(study, tmp_path):
    copy = Study(shutil.copytree(study.path, tmp_path / "study", ignore=shutil.ignore_patterns("folds")))
    copy.findings_path.unlink(missing_ok=True)
    seen = 0

    def stop(event):
        nonlocal seen
        if event.kind == "count" and event.detail.step >= 50:
            seen += 1
            if seen > 1:
                raise Stop

    with pytest.raises(Stop):
        find(copy, options=OPTIONS, progress=stop)
    assert not copy.has_findings()
    assert (copy.path / "folds" / "0" / "model" / "plan.json").exists()
    events: list = []
    find(copy, options=OPTIONS, progress=events.append)
    assert any("continuing from step" in event.message for event in events)
    assert copy.findings().rests_on.folds == 3


def test_a_held_out_star_does_not_reach_the_network_that_codes_it(found):
    study, _ = found
    mean, sd = mean_and_sd(study.codes(unpruned=True))
    whole = read_folds(study, count=3, mean=mean, sd=sd)
    mean = mean.copy()
    mean[7] = np.nan  # one that has no code yet
    some = read_folds(study, count=3, mean=mean, sd=sd)
    assert some.fold[7] == -1
    assert np.isnan(some.codes.mean[7]).all()
    assert np.isfinite(whole.codes.mean).all()
    shutil.copytree(study.path / "folds", study.path / "kept")
    shutil.rmtree(study.path / "folds" / "1")
    try:
        with pytest.raises(ModelError, match="astroprism find"):
            read_folds(study, count=3, mean=mean, sd=sd)
    finally:
        shutil.copytree(study.path / "kept", study.path / "folds", dirs_exist_ok=True)


def test_without_folds_few_held_out_targets_are_refused_before_anything_is_trained(study, monkeypatch):
    monkeypatch.setattr(folding, "train_in", lambda *_, **__: pytest.fail("nothing is trained"))
    with pytest.raises(ModelError, match="cross-fit with --folds 5"):
        find(study, options=FindOptions(device="cpu", folds=0))
    with pytest.raises(ModelError, match="--stability compares trainings on units"):
        find(study, options=FindOptions(device="cpu", stability=2))
    with pytest.raises(AstroprismError, match="1 folds"):
        FindOptions(folds=1)


def test_one_star_on_many_nights_ends_with_findings_over_nights(ninety_stars, tmp_path):
    path = shutil.copytree(ninety_stars, tmp_path / "study")
    index = path / "store.zarr" / "index.parquet"
    table = pd.read_parquet(index)
    table["target"] = "HD 1"
    table["time"] = 57_000.9 + np.arange(90) // 3 * 2 + np.arange(90) % 3 / 10
    table.to_parquet(index)
    study = trained(Study(path), tmp_path, folds=2)
    shares = study.require_model().split
    assert shares.unit == "night"
    assert shares.reason == "1 target only"
    find(study, options=OPTIONS)
    findings = study.findings()
    assert findings.rests_on.text == "evidence from 30 nights of 1 target, 2-fold cross-fitted"
    assert any("evidence is over nights of 1 target" in text for text in findings.warnings)
    assert "evidence from 30 nights of 1 target" in Path(study.report().page).read_text()
    assert len(study.outliers()) == 90
