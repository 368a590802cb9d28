"""The path as a whole: what is due is done, what is done is kept, what is stale is reported."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from astroprism import IngestOptions, SimulationConfig, Study, TrainOptions, write_archive
from astroprism.cli.terminal import run_text, step_line
from astroprism.errors import AstroprismError
from astroprism.pipeline import RunOptions
from quick import QUICK

BATCH = "batch = 8\n"
PATH = ["ingest", "train", "encode", "find", "report"]


def simulated(folder, *, spectra, seed):
    settings = SimulationConfig(
        spectra=spectra, factors=("rv", "teff"), window=(5885.0, 5905.0), step=5.0, seed=seed, snr=(50, 90)
    )
    return write_archive(folder, settings)


def states(report):
    return {step.name: step.state for step in report.steps}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    truth = simulated(folder / "spectra", spectra=90, seed=4)
    pd.read_csv(truth)[["spectrum_id", "rv", "teff"]].to_csv(folder / "labels.csv", index=False)
    (folder / "quick.toml").write_text(BATCH + QUICK)
    return folder


def options(folder, **more):
    return RunOptions(
        ingest=IngestOptions(workers=0),
        train=TrainOptions(steps=16, config=folder / "quick.toml", valid=0.2, test=0.2, folds=0),
        **more,
    )


@pytest.fixture(scope="module")
def first(folder):
    events = []
    report = Study(folder / "study").run(
        folder / "spectra", labels=folder / "labels.csv", options=options(folder), progress=events.append
    )
    return report, events


def test_all_steps_from_nothing(folder, first):
    report, events = first
    steps = [event.detail for event in events if event.kind == "end"]
    assert [step.name for step in steps] == PATH
    assert [event.stage for event in events if event.kind == "start"] == PATH
    assert tuple(steps) == report.steps
    assert set(states(report).values()) == {"done"}
    assert steps[0].outcome.startswith("90 spectra of 90 stars, 5885 to 5905 A")
    assert steps[1].outcome.startswith("16 steps, ")
    assert steps[2].outcome == "90 spectra, 32 nodes"
    assert "unexplained" in steps[3].outcome
    remarks = [event.message for event in events if event.kind == "message"]
    assert remarks
    assert all(text.startswith(("grid:", "evidence from", "the range is too short")) for text in remarks)
    moments = [event.detail for event in events if event.kind == "count" and event.stage == "train"]
    assert moments[-1].step == 16
    study = Study(folder / "study")
    assert [run["command"] for run in study.history if run["command"] != "outliers"] == PATH
    assert report.findings == study.findings()
    assert report.findings.labels.keys() == {"rv", "teff"}


def test_steps_are_aligned_lines(first):
    report, _ = first
    lines = [step_line(step) for step in report.steps]
    assert {line.index(step.outcome) for line, step in zip(lines, report.steps, strict=True)} == {29}
    text = run_text(report)
    assert "causes by switching nodes off" in text
    assert "report.html" in text
    plain = json.loads(json.dumps(report.as_dict(), default=str))
    assert [step["name"] for step in plain["steps"]] == PATH
    assert plain["count"] == report.findings.count.to_json()


def test_a_second_run_does_nothing(folder, first):
    study = Study(folder / "study")
    files = [path for path in study.path.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = study.run(folder / "spectra", labels=folder / "labels.csv", options=options(folder))
    assert set(states(again).values()) == {"skipped"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.full
def test_new_files_make_the_model_stale_and_are_encoded(folder, first, tmp_path):
    shutil.copytree(folder / "study", tmp_path / "study")
    study = Study(tmp_path / "study")
    simulated(folder / "more", spectra=12, seed=5)
    grown = study.run(
        [folder / "spectra", folder / "more"], labels=[folder / "labels.csv"], options=options(folder)
    )
    assert states(grown) == {
        "ingest": "done",
        "train": "stale",
        "encode": "done",
        "find": "done",
        "report": "done",
    }
    assert "12 spectra came later, --again trains on them too" in grown.steps[1].outcome
    assert grown.steps[2].outcome == "102 spectra, 32 nodes, 12 of them now"


def test_what_cannot_be_run_is_said_before_anything_is_done(folder, tmp_path):
    study = Study(tmp_path / "study")
    with pytest.raises(AstroprismError, match="no such file"):
        study.run(tmp_path / "nowhere")
    with pytest.raises(AstroprismError, match="nolabels"):
        study.run(folder / "spectra", labels=tmp_path / "nolabels.csv")
    with pytest.raises(AstroprismError, match="is a file; a study is a folder"):
        Study(folder / "labels.csv")
    assert not study.path.exists()
    few = sorted((folder / "spectra" / "spectra").iterdir())[:20]
    with pytest.raises(AstroprismError, match=r"this archive has 20 targets .* findings need 25: add"):
        study.run(few, options=options(folder))
    assert not study.model_path.exists()


@pytest.mark.full
def test_labels_of_other_spectra_are_refused_before_the_training(folder, tmp_path):
    study = Study(tmp_path / "study")
    others = pd.DataFrame({"spectrum_id": ["x1", "x2", "x3"], "rv": [1.0, 2.0, 3.0]})
    with pytest.raises(AstroprismError, match="x1"):
        study.run(folder / "spectra", labels=others, options=options(folder))
    assert not (study.path / "model").exists()


def test_killed_and_interrupted_it_goes_on(folder, first, tmp_path):
    command = [sys.executable, "-m", "astroprism.cli", "run", tmp_path / "study", folder / "spectra"]
    command += [
        "--labels",
        folder / "labels.csv",
        "--valid",
        "0.2",
        "--test",
        "0.2",
        "--folds",
        "0",
        "--config",
        folder / "slow.toml",
        "--workers",
        "0",
    ]
    (folder / "slow.toml").write_text(BATCH + QUICK + "steps = 300\n")
    plan = tmp_path / "study" / "model" / "plan.json"
    for blow, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        going = subprocess.Popen(
            [*map(str, command), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 120
        while not plan.exists() and going.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(going.pid, blow)
        out, err = going.communicate(timeout=60)
        assert going.returncode == code, err
        assert out == ""
        assert "Traceback" not in err
        if blow == signal.SIGINT:
            assert "the same command continues" in err
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {step["name"]: step["state"] for step in json.loads(done.stdout)["steps"]} == {
        "ingest": "skipped",
        "train": "done",
        "encode": "done",
        "find": "done",
        "report": "done",
    }
