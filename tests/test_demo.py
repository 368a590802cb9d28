"""The answer beside the truth: from made-up codes, and once from the command itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroprism.cli.demo import Answer, answer_text, beside_truth, share
from astroprism.info import info
from astroprism.pipeline import RunReport, Step
from astroprism.schema import Split
from quick import QUICK
from studies import findings_of

SPLIT = Split(seed=0, valid=0.3, test=0.3, train_spectra=0, valid_spectra=0, test_spectra=0)


@pytest.fixture(scope="module")
def made_up():
    """Node 4 is the velocity, 1 the temperature, 2 a copy of 1 that tells it better, 3 nothing of these."""
    rng = np.random.default_rng(0)
    n = 800
    truth = pd.DataFrame({"spectrum_id": [f"s{i}" for i in range(n)], "target": [f"t{i}" for i in range(n)]})
    truth["rv"], truth["teff"], truth["feh"] = rng.normal(size=(3, n))
    codes = truth[["spectrum_id", "target"]].copy()
    codes["mean_001"] = -truth["teff"] + 0.2 * rng.normal(size=n)
    codes["mean_002"] = truth["teff"]
    codes["mean_003"] = rng.normal(size=n)
    codes["mean_004"] = 2 * truth["rv"] + 0.1 * rng.normal(size=n)
    return codes, truth


@pytest.fixture(scope="module")
def found(made_up):
    """Findings of those codes: nodes 1 and 4 informative, 2 a copy of 1, 3 doubtful; labels rv and teff."""
    codes, truth = made_up
    names = ["mean_001", "mean_002", "mean_003", "mean_004"]
    mean = np.column_stack([0 * truth["rv"], *(codes[name] for name in names)])
    sd = np.full_like(mean, 0.1)
    mean[:, 0] = np.random.default_rng(1).normal(size=len(mean))
    sd[:, [0, 3]] = 3.0  # codes that say nothing of their spectrum
    labels = {name: truth[name].to_numpy() for name in ("rv", "teff")}
    findings, _ = findings_of(
        mean, sd, informative=[4, 1], doubtful=[3], copies={2: 1}, labels=labels, targets=truth["target"]
    )
    return findings


def answer(made_up, findings, *, varied=("rv", "teff")):
    nodes = beside_truth(findings, *made_up, varied, split=SPLIT)
    report = RunReport(Path("demo"), (Step("find", "done", "x", 61.0),), findings)
    return Answer(report, varied, Path("demo/labels.csv"), Path("demo/archive/truth.csv"), nodes)


def test_each_node_stands_beside_its_own_cause(made_up, found):
    result = answer(made_up, found)
    assert [(one.node, one.factor) for one in result.nodes] == [(4, "rv"), (1, "teff"), (2, None), (3, None)]
    assert result.nodes[0].share > 0.95
    assert result.missed == []
    assert not result.right  # switching nodes off counts the doubtful one, too
    text = answer_text(result)
    assert "The truth is 2." in text
    assert text.count("   right") == 1
    match = found.nodes[4].matches[0]
    nats = f"{match.mi_nats:.2f} [{match.mi_low:.2f}, {match.mi_high:.2f}]"
    assert f"   4  rv           {nats}      radial velocity" in text
    assert "copy of node 1" in text
    assert "none of its own (doubtful)" in text
    assert "unexplained by any label: none" in text
    assert "NOT FOUND" not in text
    assert "Labels came after training" in text
    assert json.loads(json.dumps(result.as_dict()))["known_k"] == 2
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_missed_cause_is_reported(made_up, found):
    result = answer(made_up, found, varied=("rv", "teff", "feh"))
    assert result.missed == ["feh"]
    assert not result.right
    text = answer_text(result)
    assert text.count("WRONG") == 1
    assert "NOT FOUND: [Fe/H]" in text


def test_nothing_found_is_reported(made_up, found):
    nothing, _ = findings_of(np.zeros((50, 5)), np.ones((50, 5)), informative=[])
    none = answer(made_up, nothing)
    assert none.missed == ["rv", "teff"]
    assert "NOT FOUND: radial velocity, temperature" in answer_text(none)


def test_the_share_that_a_node_tells_is_a_correlation_ratio():
    rng = np.random.default_rng(0)
    code = rng.normal(size=2000)
    assert share(code, np.cos(3 * code)) > 0.9  # whatever the curve
    assert share(code, rng.normal(size=2000)) < 0.03
    assert 0.4 < share(code, code + rng.normal(size=2000)) < 0.6
    assert share(code, np.ones(2000)) == 0
    assert share(code[:5], code[:5]) == 0


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "astroprism.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.mark.full
def test_the_demo_from_nothing_and_again(tmp_path):
    (tmp_path / "quick.toml").write_text("batch = 8\n" + QUICK)
    asked = ["demo", tmp_path / "demo", "--spectra", 170, "--factors", 2, "--steps", 20]
    asked += ["--config", tmp_path / "quick.toml"]
    done = run(*asked)
    assert "How many causes? The truth is 2." in done.stdout
    lines = [line.split() for line in done.stderr.splitlines()]
    assert [line[0] for line in lines if line[1:2] == ["done"]][:6] == [
        "simulate",
        "ingest",
        "train",
        "encode",
        "find",
        "report",
    ]
    for name in ("archive/truth.csv", "labels.csv", "model/history.png", "codes.parquet", "findings.json"):
        assert (tmp_path / "demo" / name).exists()
    again = json.loads(run(*asked, "--json").stdout)
    assert {step["state"] for step in again["steps"]} == {"skipped"}
    assert (again["known_k"], again["varied"]) == (2, ["rv", "teff"])
    facts = json.loads(run("info", tmp_path / "demo", "--json").stdout)
    assert (facts["model"]["steps"], facts["codes"]["spectra"]) == (20, 170)
    assert "spectra never seen" in run("info", tmp_path / "demo").stdout
    other = json.loads(run("train", tmp_path / "demo", "--steps", 9, "--json", code=1).stdout)
    assert other["kind"] == "ModelError"
    assert info(tmp_path / "demo" / "model")["kind"] == "model"
    assert info(tmp_path / "demo" / "codes.parquet")["kind"] == "table of codes"
