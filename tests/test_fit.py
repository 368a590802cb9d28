"""From options and a store to a model folder, with tiny networks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from astroprism import Study, TrainOptions
from astroprism.device import device_for
from astroprism.errors import AstroprismError, ConfigError, GridError, ModelError, StoreError
from astroprism.info import info
from astroprism.model import fit as fitting
from astroprism.model import loop
from astroprism.model.fit import TrainReport, train
from astroprism.model.recipe import read_config
from astroprism.schema import Chi2
from quick import quick_options

FILES = ("weights.safetensors", "unpruned.safetensors", "model.json", "history.parquet")


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Callable[..., TrainOptions]:
    """Options for a training of a second."""
    folder = tmp_path_factory.mktemp("quick")
    return lambda **changes: quick_options(folder, **changes)


@pytest.fixture
def study(small_study, tmp_path) -> Study:
    """A store of forty spectra of 400 pixels, without a model."""
    return Study(shutil.copytree(small_study, tmp_path / "study"))


@pytest.fixture(scope="module")
def trained(small_study, quick, tmp_path_factory) -> Study:
    """The same with a model, not to be changed."""
    study = Study(shutil.copytree(small_study, tmp_path_factory.mktemp("trained") / "study"))
    study.train(options=quick())
    return study


def fit(study: Study, options: TrainOptions, **how: Any) -> TrainReport:
    """As study.train, without its figure."""
    return train(study.store, study.model_path, options=options, **how)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_model_folder_holds_all_that_is_needed_to_read_it(trained):
    for name in (*FILES, "history.png"):
        assert (trained.model_path / name).exists()
    assert not (trained.model_path / "plan.json").exists()
    assert not (trained.model_path / "checkpoint").exists()
    facts = trained.require_model()
    assert facts.steps == facts.recipe["steps"] == 40
    assert facts.store.fingerprint == trained.store.fingerprint
    parts = facts.split
    assert parts.train_spectra + parts.valid_spectra + parts.test_spectra == 40
    assert parts.train_spectra == facts.trained_on.spectra
    assert facts.versions["torch"]
    model = trained.model()
    assert model.facts == facts
    assert model.kept == model.network.keep.nonzero()[:, 0].tolist()
    assert trained.model(unpruned=True).network.keep.all()
    assert trained.history[-1]["command"] == "train"


def test_the_same_again_does_nothing(trained, quick):
    before = (trained.model_path / "model.json").read_bytes()
    report = trained.train(options=quick(steps=None), steps=40)
    assert not report.trained
    assert report.model == trained.model_facts()
    assert (trained.model_path / "model.json").read_bytes() == before


def test_something_else_is_trained_only_with_again(study, quick):
    fit(study, quick(steps=30))
    with pytest.raises(ModelError, match=r"stale \(steps: 30 then, 20 now\).*--again"):
        fit(study, quick(steps=20))
    with pytest.raises(ModelError, match="balance: target then, none now"):
        fit(study, quick(steps=30, balance="none"))
    assert fit(study, quick(steps=20), again=True).model.steps == 20


def test_a_store_that_grew_leaves_the_model_stale_but_usable(trained, quick, tmp_path, archive):
    from astroprism.simulate import SimulationConfig, write_archive

    study = Study(shutil.copytree(trained.path, tmp_path / "grown"))
    more = tmp_path / "more"
    config = SimulationConfig(spectra=6, window=(5880.0, 5922.0), step=5.0, seed=99)
    write_archive(more, config)
    study.ingest(more)
    with pytest.raises(ModelError, match="spectra: 40 then, 46 now"):
        fit(study, quick())
    assert study.model().facts.store.spectra == 40


class Stop(Exception):
    """The training is cut off."""


def stopped(study: Study, options: TrainOptions, at: int, **changes: object) -> None:
    def stop(event):
        if event.kind == "count" and event.detail.step >= at:
            assert (event.done, event.total) == (event.detail.step, options.steps)
            raise Stop

    with pytest.raises(Stop):
        fit(study, options, progress=stop, save_every=0.0, **changes)


def test_cut_off_it_goes_on_and_ends_the_same(study, trained, quick, monkeypatch):
    monkeypatch.setattr(loop, "KEEP", 10)
    stopped(study, quick(), 30)
    assert (study.model_path / "plan.json").exists()
    events = []
    with pytest.raises(ModelError, match=r"unfinished training of something else \(seed: 0 then, 1 now\)"):
        fit(study, quick(seed=1))
    report = fit(study, quick(), progress=events.append)
    assert report.trained
    assert report.resumed_at > 0
    assert f"continuing from step {report.resumed_at} of 40" in [event.message for event in events]
    for name in FILES[:3]:
        assert (study.model_path / name).read_bytes() == (trained.model_path / name).read_bytes(), name
    assert not (study.model_path / "plan.json").exists()


def test_again_keeps_the_old_model_until_the_new_one_is_there(study, quick):
    fit(study, quick(steps=20))
    old = (study.model_path / "model.json").read_bytes()
    stopped(study, quick(), 20, again=True)
    assert (study.model_path / "model.json").read_bytes() == old
    report = fit(study, quick(), again=True)  # continues, does not begin again
    assert report.trained
    assert report.model.steps == 40


def test_killed_while_it_is_cleared_away_it_is_still_finished(trained, quick, tmp_path):
    study = Study(shutil.copytree(trained.path, tmp_path / "study"))
    plan = {"asked": study.require_model().asked, "recipe": {}, "replaces": None}
    (study.model_path / "plan.json").write_text(json.dumps(plan))
    assert not fit(study, quick()).trained
    assert not (study.model_path / "plan.json").exists()


def test_minutes_become_steps_that_are_kept(study, quick, monkeypatch):
    monkeypatch.setattr(fitting, "FEWEST_STEPS", 20)
    options = quick(steps=None, minutes=0.002)
    messages = []

    def stop(event):
        messages.append(event.message)
        if event.kind == "count":
            raise Stop

    with pytest.raises(Stop):
        fit(study, options, progress=stop)
    steps = json.loads((study.model_path / "plan.json").read_text())["recipe"]["steps"]
    assert any("are 20 steps" in text for text in messages)  # no less makes sense
    assert fit(study, options).model.steps == steps == 20


def test_a_configuration_file_fills_the_recipe(study, tmp_path):
    path = toml(tmp_path, "[train]\nbatch = 8\nprune_at = []\nprune_kl = []\nfloor = [[0.5, 0.02]]\n")
    report = fit(study, TrainOptions(steps=20, config=path, device="cpu"))
    assert report.model.recipe["batch"] == 8
    assert report.model.recipe["floor"] == [[0.5, 0.02]]
    path.write_text(path.read_text().replace("batch = 8", "batch = 9"))
    with pytest.raises(ModelError, match="config"):
        fit(study, TrainOptions(steps=20, config=path, device="cpu"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bacth = 8", "did you mean 'batch'"),
        ("whiten = 8", "no key 'whiten'"),
        ("batch = 'many'", "something like 128"),
        ("batch = true", "something like 128"),
        ("beta = [1, 2]", "something like"),
        ("batch = [", "cannot be read as TOML"),
    ],
)
def test_a_wrong_configuration_is_an_error(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_config(toml(tmp_path, text), network="prism")
    if text.startswith("bacth"):
        with pytest.raises(ConfigError, match="recipe of the paper network has no key 'seeds'"):
            read_config(toml(tmp_path, "seeds = 3"), network="paper")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "vae"}, "neither 'prism' nor 'paper'"),
        ({"device": "tpu"}, "none of auto"),
        ({"balance": "star"}, "neither 'target'"),
        ({"steps": 5, "minutes": 5.0}, "give one"),
        ({"steps": 0}, "at least 1"),
        ({"minutes": -1.0}, "positive"),
        ({"seed": -1}, "at least 0"),
        ({"whiten": -5.0}, "at least 0"),
        ({"agnostic": True, "network": "paper"}, "no physics"),
        ({"agnostic": True, "whiten": 10.0}, "drop one"),
        ({"valid": 0.6, "test": 0.5}, "less than 1"),
    ],
)
def test_contradictions_are_refused_when_built(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**options)


def test_devices_that_are_not_there_are_errors():
    import torch

    assert device_for("auto") in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds none here"):
            device_for("cuda")


@pytest.mark.parametrize(
    "options",
    [
        {"agnostic": True},
        {"whiten": 30.0},
        {"network": "paper"},
        {"network": "paper", "whiten": 30.0},
        {"valid": 0.0},
    ],
    ids=str,
)
def test_every_switch_trains_and_encodes(study, quick, options):
    report = fit(study, quick(steps=10, **options))
    network = report.model.network.config
    assert network.get("moving_air", False) == ("network" not in options and "agnostic" not in options)
    assert report.model.recipe["whiten"] == options.get("whiten", 0.0)
    if options == {"valid": 0.0}:
        assert report.model.chi2.valid is None
        assert any("held-out share" in text for text in report.model.warnings)
    assert study.encode().encoded == 40


def test_the_prism_wants_a_log_grid(tmp_path, quick):
    from astroprism.grid import PAPER

    class Linear:
        grid, finished, fingerprint = PAPER, True, "x"
        index = pd.DataFrame({"target": ["a", "b", "c"]})

        def __len__(self) -> int:
            return 3

    with pytest.raises(GridError, match="--network paper"):
        train(Linear(), tmp_path, options=quick())
    with pytest.raises(StoreError, match="ingest"):
        Study(tmp_path).train()


def test_too_few_spectra_are_warned_of():
    from astroprism.model.fit import _warnings

    some = _warnings(Chi2(train=1.0, valid=1.6), kept=[0], spectra=30)
    assert "too few" in some[0]
    assert not _warnings(Chi2(train=1.0, valid=1.4), kept=[0], spectra=30)
    both = _warnings(Chi2(train=3.0, valid=3.0), kept=[0], spectra=30, learned=False)
    assert len(both) == 1  # of a short training in one warning
    assert "errors are taken as stated" in both[0]
    assert "train for more steps" in both[0]
    alone = _warnings(Chi2(train=1.2, valid=1.2), kept=[0], spectra=30, learned=False)
    assert [text.startswith("errors are taken as stated") for text in alone] == [True]
    assert "no node" in _warnings(Chi2(train=1.0, valid=1.0), kept=[], spectra=30)[0]


@pytest.mark.full
def test_torchrun_trains_in_two_processes(study):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [
        *torchrun,
        "-m",
        "astroprism.cli",
        "train",
        str(study.path),
        "--steps",
        "200",
        "--device",
        "cpu",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("200 steps on") == 1
    assert study.require_model().steps == 200


@pytest.mark.full
def test_killed_it_goes_on(study):
    command = [sys.executable, "-m", "astroprism.cli", "train", str(study.path), "--steps", "40000"]
    with subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (study.model_path / "checkpoint").exists() and time.monotonic() < until:
            time.sleep(0.5)
        os.kill(process.pid, signal.SIGKILL)
    messages = []

    def stop(event):
        messages.append(event.message)
        if event.kind == "count":
            raise Stop

    with pytest.raises(Stop):
        fit(study, TrainOptions(steps=40000, device="cpu"), progress=stop)
    assert any("continuing from step" in text for text in messages)


def test_history_is_drawn(trained):
    from astroprism.figures.training import history_figure
    from astroprism.model.history import read_history

    table = read_history(trained.model_path / "history.parquet")
    assert table["step"].iloc[-1] == 40
    assert np.isfinite(table["chi2_train"].iloc[-1])
    assert len(history_figure(table).axes) == 5
    with pytest.raises(ValueError, match="no moments"):
        history_figure(table.iloc[:0])


def test_a_model_that_cannot_be_read_is_replaced_with_again(trained, quick, tmp_path):
    study = Study(shutil.copytree(trained.path, tmp_path / "study"))
    path = study.model_path / "model.json"
    for content in ("{", json.dumps({"format": "astroprism-model", "format_version": 99})):
        path.write_text(content)
        with pytest.raises(AstroprismError, match="train again with --again"):
            fit(study, quick())
        assert info(study.path)["spectra"] == 40
        assert "model.json" in info(study.path)["model"]["damaged"]
        assert fit(study, quick(), again=True).trained
        assert study.require_model().to_json() == trained.require_model().to_json()
