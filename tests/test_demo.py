"""The answer beside the truth: from made-up findings, and once from the command itself."""

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

SPLIT = {"seed": 0, "valid": 0.3, "test": 0.3}


def a_node(number, *, label=None, copy=None, doubtful=False, informative=True):
    pair = {"label": label, "mi_nats": 1.5, "mi_low": 1.25, "mi_high": 1.75, "explains": True}
    return {
        "node": number,
        "informative": informative and not doubtful,
        "doubtful": doubtful,
        "copies_of": copy,
        "matches": [pair] if label else [],
        "unexplained": label is None,
    }


def findings(nodes, *, k=2):
    method = {"k": k, "low": k, "high": k + 1}
    return {"nodes": nodes, "count": {"statistical": method, "information": method}, "warnings": []}


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


def answer(made_up, nodes, *, k=2, varied=("rv", "teff")):
    content = findings(nodes, k=k)
    found = beside_truth(content, *made_up, varied, asked=SPLIT)
    report = RunReport(Path("demo"), (Step("find", "done", "x", 61.0),), content)
    return Answer(report, varied, Path("demo/labels.csv"), Path("demo/archive/truth.csv"), found)


def test_each_node_stands_beside_its_own_cause(made_up):
    nodes = [
        a_node(1, label="teff"),
        a_node(2, label="teff", copy=1),
        a_node(3, doubtful=True),
        a_node(4, label="rv"),
        a_node(5, informative=False),
    ]
    told = answer(made_up, nodes)
    assert [(one.node, one.factor) for one in told.nodes] == [(4, "rv"), (1, "teff"), (2, None), (3, None)]
    assert told.nodes[0].share > 0.95
    assert told.right
    assert told.missed == []
    text = answer_text(told)
    assert "The truth is 2." in text
    assert text.count("   right") == 2
    assert "   4  rv           1.50 [1.25, 1.75]      radial velocity" in text
    assert "copy of node 1" in text
    assert "none of its own (doubtful)" in text
    assert "unexplained by any label: 3" in text
    assert "NOT FOUND" not in text
    assert "Labels came after training" in text
    assert json.loads(json.dumps(told.as_dict()))["right"] is True
    assert max(len(line) for line in text.splitlines()) <= 100


def test_what_is_wrong_is_told_as_wrong(made_up):
    told = answer(made_up, [a_node(4, label="rv"), a_node(1, label="teff")], varied=("rv", "teff", "feh"))
    assert told.missed == ["feh"]
    assert not told.right
    text = answer_text(told)
    assert text.count("WRONG") == 2
    assert "NOT FOUND: [Fe/H]" in text
    none = answer(made_up, [], k=0)
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
    (tmp_path / "quick.toml").write_text("batch = 8\nprune_at = []\nprune_kl = []\ngive_back = []\n")
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
