"""Findings from made-up evidence whose answer is known, and from a tiny study."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from astroprism import Study, TrainOptions
from astroprism.errors import AstroprismError, ModelError
from astroprism.findings.assemble import Evidence, assemble, text_of
from astroprism.findings.effects import Effects, Profiles, along, measure
from astroprism.findings.find import TABLES, FindOptions, find, gather
from astroprism.findings.retrain import mean_and_sd
from astroprism.findings.visits import visits_of
from astroprism.folder import StudyFolder
from astroprism.grid import SPEED_OF_LIGHT, parse_grid
from astroprism.measures.count import ablation_bound
from astroprism.measures.dossier import trend
from astroprism.model.data import Source
from astroprism.model.trained import TrainedModel
from astroprism.schema import Companion, Findings
from astroprism.simulate.star import Synthesiser
from quick import quick_options

N, NODES = 200, 6
GRID = "3915:3957:4kms"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Node 0 is the velocity, 1 the temperature, 2 activity without a label, 3 a copy of 1; 4 and 5 dead."""
    rng = np.random.default_rng(0)
    wavelength = parse_grid(GRID).wavelength
    make = Synthesiser(wavelength, resolution=60_000, seed=3)
    flux = {
        activity: make.noiseless({"activity": np.array([activity])})[0].astype(float)
        for activity in (0.2, 0.4)
    }
    spike = flux[0.4] - flux[0.2]
    teff, rv, activity = rng.normal(5500, 300, N), rng.uniform(-100, 100, N), rng.exponential(size=N)
    mean, sd = 0.05 * rng.normal(size=(N, NODES)), np.ones((N, NODES))
    mean[:, 0], mean[:, 1], mean[:, 2] = rv / 60, (teff - 5500) / 300, activity
    mean[:, 3] = mean[:, 1] ** 2
    sd[:, :4] = 0.05
    rise = rng.normal(size=(N, NODES))
    rise[:, :4] += [900.0, 500.0, 300.0, 200.0]
    overlap = np.eye(NODES)
    overlap[1, 3] = overlap[3, 1] = 0.9
    profiles = {0: np.ones_like(spike), 1: np.ones_like(spike), 2: np.abs(spike), 3: np.ones_like(spike)}
    effects = Effects(
        rows=np.arange(N),
        rise=rise,
        null=rng.normal(size=(N, NODES)),
        bound=50.0,
        overlap=overlap,
        star=profiles,
        sky=profiles,
        velocity=np.zeros(8),
    )
    keywords = {f"KEY{i}": rng.normal(size=N) for i in range(8)}
    keywords |= {"PIPEVAL": activity + 0.3 * rng.normal(size=N), "BITPIX": np.full(N, 8.0)}
    return Evidence(
        identifiers=np.array([f"s{i}" for i in range(N)], dtype=object),
        targets=np.array([f"t{i}" for i in range(N)], dtype=object),
        mean=mean,
        sd=sd,
        effects=effects,
        wavelength=wavelength,
        labels={"rv": rv, "teff": teff, "shuffled": rng.permutation(teff), "empty": np.full(N, np.nan)},
        keywords=keywords,
        time=53000 + 3650 * rng.random(N),
    )


@pytest.fixture(scope="module")
def found(evidence):
    return assemble(evidence)


def test_how_labels_were_read_is_said(evidence):
    """In the tables, and then among the held-out targets; what could not be used in the tables, too."""
    kind = np.array(["F"] * (N - 6) + ["a", "b", "c", "d", "e", "f"], dtype=object)
    kind[: N // 2] = "G"
    given = replace(
        evidence,
        labels={"kind": kind},
        label_notes={"kind": "as a table has it", "sp": "MK types"},
        unusable={"when": "dates or times, no classes"},
    )
    findings, _ = assemble(given)
    told = "6 classes of fewer than 5 targets each, 6 together are pooled as 'other'"
    assert findings.label_notes == {
        "kind": f"as a table has it; of the held-out targets, {told}",
        "sp": "MK types",
    }
    assert findings.labels_left_out == {"when": "dates or times, no classes"}


def test_the_findings_say_what_was_put_in(found):
    findings, _ = found
    counts = findings.count
    assert (counts.statistical.k, counts.information.k, counts.agree) == (3, 3, True)
    nodes = findings.nodes
    assert [node.informative for node in nodes] == [True] * 4 + [False] * 2
    assert nodes[3].copies_of == 1
    assert [node.node for node in findings.informative] == [0, 1, 2]
    assert [node.unexplained for node in nodes] == [False, False, True, False, False, False]
    assert nodes[0].matches[0].label == "rv"
    assert nodes[0].matches[0].explains
    assert nodes[4].matches == []
    assert findings.labels["rv"].best_node == 0
    assert findings.labels["teff"].best_node == 1
    assert findings.labels["shuffled"].best_node is None
    assert findings.labels["rv"].r2_linear > 0.95
    assert findings.labels_left_out == {"empty": "known for 0 targets; 25 are needed"}
    assert nodes[2].predicted_by_labels.high < 0.5


def test_findings_are_the_same_once_written(found):
    findings, _ = found
    assert Findings.from_json(json.loads(json.dumps(findings.to_json(), allow_nan=False))) == findings


def test_the_unexplained_node_has_a_dossier(found):
    nodes = found[0].nodes
    dossier = nodes[2].dossier
    assert [line.name for line in dossier.lines] == ["Ca II"]
    assert dossier.lines[0].p < 0.01
    assert dossier.lines[0].top[0].line == "Ca II K"
    assert dossier.keywords[0].label == "PIPEVAL"
    assert dossier.trend.p > 1e-3
    assert max(one.code for one in dossier.lowest) < min(one.code for one in dossier.highest)
    assert all(nodes[i].dossier is None for i in (0, 1, 3, 4, 5))


def test_the_text_has_a_line_per_node(found):
    text = text_of(found[0])
    assert "3 causes by switching nodes off" in text
    assert "the two counts agree" in text
    assert "copy of node 1" in text
    assert "UNEXPLAINED by labels; follows the keyword PIPEVAL 0." in text
    assert "; moves Ca II" in text
    assert "labels left out (empty: known for 0 targets" in text
    assert len(text.splitlines()) == 2 + 4 + 1


def test_the_tables_hold_all_pairs(found):
    tables = found[1]
    assert set(tables) | {"labels"} == set(TABLES)
    assert len(tables["nodes"]["node"]) == NODES
    assert len(tables["matches"]["node"]) == 4 * 3
    assert len(tables["keywords"]["node"]) == 4 * 9
    assert set(tables["bins"]["label"]) == {"rv", "teff", "shuffled"}
    assert {"star_002", "sky_002", "wavelength"} <= set(tables["derivatives"])
    for columns in tables.values():
        assert len({len(values) for values in columns.values()}) <= 1


def test_a_dossier_has_what_moves_at_constant_labels(evidence):
    """Alone the node moves nothing in particular; with another one it moves calcium."""
    flat = np.ones_like(evidence.wavelength)
    alone = evidence.effects.star | {2: flat}
    direction = np.eye(NODES)[2] + 0.5 * np.eye(NODES)[1]
    calcium = Profiles({2: evidence.effects.star[2]}, {2: evidence.effects.sky[2]})
    findings, tables = assemble(
        replace(
            evidence,
            effects=replace(evidence.effects, star=alone, sky=alone),
            moves={2: direction},
            at_labels=calcium,
        )
    )
    node = findings.nodes[2]
    assert node.lines == []
    assert node.dossier.moves_with == [Companion(node=1, slope=0.5)]
    assert [line.name for line in node.dossier.lines] == ["Ca II"]
    assert "star_at_labels_002" in tables["derivatives"]
    assert set(tables["left_lines"]["node"]) == {2}
    assert "at constant labels, along with 1, moves Ca II" in text_of(findings)


def test_without_labels_all_that_is_informative_is_unexplained(evidence):
    findings, _ = assemble(replace(evidence, labels={}, keywords={}, time=None))
    assert [node.unexplained for node in findings.nodes] == [True] * 3 + [False] * 3
    assert any("no labels" in one for one in findings.warnings)
    assert findings.nodes[2].dossier.trend is None


def test_a_drift_is_measured():
    rng = np.random.default_rng(1)
    time = 53000 + 3652.5 * rng.random(400)
    drift = trend(0.2 * (time - 53000) / 365.25 + rng.normal(size=400), time)
    spread = np.hypot(1, 0.2 * 10 / np.sqrt(12))
    assert drift.low < 0.2 / spread < drift.high
    assert drift.p < 1e-6
    assert trend(np.ones(10), np.arange(10.0)) is None


class Decoder(torch.nn.Module):
    """Two nodes that do something, one that does not: a shift of one line, and the depth of another."""

    def __init__(self, wavelength: np.ndarray) -> None:
        super().__init__()
        self.config = SimpleNamespace(n_latent=3)
        self.place = torch.from_numpy(np.log(wavelength) * SPEED_OF_LIGHT).float()

    def encode(self, flux, *, good=None, berv=None):
        raise AssertionError("codes are given")

    def decode(self, z, *, berv=None):
        middle = self.place.mean()
        lines = 0.5 * torch.exp(-0.5 * ((self.place - middle + 400 - 20 * z[:, :1]) / 15) ** 2)
        return 1 - lines - 0.2 * z[:, 1:2] * torch.exp(-0.5 * ((self.place - middle - 400) / 15) ** 2)


def test_nodes_are_switched_off():
    wavelength = parse_grid("5000:5020:4kms").wavelength
    rng = np.random.default_rng(2)
    model, mean = TrainedModel(Decoder(wavelength)), rng.normal(size=(60, 3))
    model.floor = 0.005
    clean = model.network.decode(torch.from_numpy(mean).float()).numpy()
    flux = clean + 0.01 * rng.normal(size=clean.shape).astype(np.float32)
    source = Source.from_arrays(flux, np.full_like(flux, 0.01), step=4.0)
    done = measure(model, source, np.arange(60), mean=mean, wavelength=wavelength)
    assert done.rise.shape == done.null.shape == (60, 3)
    assert sorted(done.rows) == list(range(60))
    assert (done.rise.mean(0)[:2] > 10 * done.bound).all()
    assert abs(done.rise[:, 2]).max() < 1e-3
    assert (done.null.mean(0)[:2] < 0).all()  # another's code is worse than none
    assert set(done.star) == set(done.sky) == {0, 1}
    assert done.overlap[0, 1] < 0.1
    both = along(
        model,
        source,
        done,
        {1: np.array([0.0, 1, 0]), 0: np.array([0.0, 1, 0.5])},
        mean=mean[done.rows],
        wavelength=wavelength,
    )
    np.testing.assert_allclose(both.sky[1], done.sky[1], rtol=1e-6)
    np.testing.assert_allclose(both.star[0], done.star[1], rtol=1e-6)  # the third does nothing
    depth = np.nanargmax(done.sky[1])
    assert np.log(wavelength[depth] / wavelength.mean()) * SPEED_OF_LIGHT == pytest.approx(400, abs=10)


@pytest.fixture(scope="module")
def ingested(ninety_stars, tmp_path_factory) -> Study:
    """Ninety stars, without a model."""
    return Study(shutil.copytree(ninety_stars, tmp_path_factory.mktemp("findings") / "study"))


@pytest.fixture(scope="module")
def study(ingested) -> Study:
    """Forty of the stars held out, and a network that has learned little."""
    ingested.train(options=quick_options(ingested.path, valid=0.25, test=0.25))
    ingested.encode()
    return ingested


def test_options_of_find_need_no_torch():
    code = "import sys; from astroprism.findings.find import FindOptions; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_study_gets_its_findings(study):
    labels = pd.DataFrame({"noise": np.random.default_rng(0).normal(size=len(study.index))})
    options = FindOptions(device="cpu")
    report = find(study, labels=labels, options=options)
    assert report.made
    counts = report.findings.count
    assert counts.agree is (counts.statistical.k == counts.information.k)
    assert len(report.findings.nodes) == 32
    assert report.findings.provenance["store"] == study.store.fingerprint
    assert report.findings.targets == 45
    assert study.findings() == report.findings
    for name in TABLES:
        assert study.table_path(name).exists()
    assert list(study.finding_table("nodes")["node"]) == list(range(32))
    again = find(study, labels=labels, options=options)
    assert not again.made
    assert again.findings == report.findings
    assert find(study, options=options).made
    assert "evidence from 45 targets held out of training" in report.text()


@pytest.mark.parametrize("kind", ["str", "category", "string[pyarrow]", "arrow", "nullable"])
def test_label_tables_of_every_kind_of_text(study, tmp_path, kind):
    """Columns as pandas 3, pyarrow and Parquet files hand them over, with blanks."""
    import pyarrow as pa

    index = study.index
    names = [None if at % 9 == 0 else "AB"[at % 2] for at in range(len(index))]
    teff = [None if at % 7 == 0 else 5000.0 + at for at in range(len(index))]
    types = {"arrow": pd.ArrowDtype(pa.string()), "nullable": "string"}
    table = pd.DataFrame(
        {
            "spectrum_id": pd.Series(index["spectrum_id"].tolist(), dtype=types.get(kind, kind)),
            "class": pd.Series(names, dtype=types.get(kind, kind)),
            "teff": pd.Series(teff, dtype=pd.ArrowDtype(pa.float64()) if kind == "arrow" else "Float64"),
        }
    )
    copy = Study(shutil.copytree(study.path, tmp_path / "study"))
    report = copy.find(table, options=FindOptions(device="cpu"))
    assert set(report.findings.labels) >= {"class", "teff"}
    kept = copy.finding_table("labels")
    assert kept["class"].isna().sum() == names.count(None)
    assert kept["teff"].isna().sum() == teff.count(None)
    assert not copy.find(table, options=FindOptions(device="cpu")).made


def test_the_visits_of_one_star_have_velocities(study):
    codes = StudyFolder(study.path).codes(unpruned=True)
    index = study.index.assign(target="one star", time=55000 + np.arange(len(study.index)))
    mean, sd = mean_and_sd(codes)
    model = StudyFolder(study.path).model(unpruned=True)
    held = np.ones(len(index), bool)
    visits = visits_of(index, study.store.keywords(), mean=mean, sd=sd, held=held, model=model)
    z = torch.from_numpy(mean.astype(np.float32))
    assert visits.velocity == pytest.approx(model.network.velocity(z).numpy(), abs=1e-3)
    assert (visits.velocity_sd > 0).all()
    few = visits_of(study.index, study.store.keywords(), mean=mean, sd=sd, held=held, model=model)
    assert np.isnan(few.velocity).all()  # no star has twenty spectra


def test_codes_of_another_model_are_refused(study, tmp_path):
    copy = Study(shutil.copytree(study.path, tmp_path / "study"))
    with (copy.model_path / "unpruned.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelError, match="another model"):
        find(copy)
    copy.codes_path(unpruned=True).unlink()
    with pytest.raises(ModelError, match="astroprism encode"):
        find(copy)


def test_the_papers_network_is_ablated_at_the_floor_it_was_trained_with(ingested, tmp_path):
    study = Study(tmp_path / "study")
    shutil.copytree(ingested.store_path, study.store_path)
    recipe = tmp_path / "quick.toml"
    recipe.write_text("batch = 8\n")
    shares = {"valid": 0.25, "test": 0.25, "folds": 0}
    options = TrainOptions(network="paper", steps=40, config=recipe, device="cpu", **shares)
    study.train(options=options)
    study.encode()
    evidence = gather(study, labels=None, options=FindOptions(device="cpu"))
    chosen = evidence.identifiers[evidence.effects.rows]
    rows = np.flatnonzero(np.isin(study.index["spectrum_id"].to_numpy(), chosen))
    spectra = Source.from_store(study.store, memory=0).read(rows)
    bound = {floor: ablation_bound(spectra.sigma, floor=floor, good=spectra.good) for floor in (0.0, 0.01)}
    assert evidence.effects.bound == pytest.approx(bound[0.01], rel=1e-6)
    assert bound[0.01] < 0.9 * bound[0.0]

    path = study.model_path / "model.json"
    content = json.loads(path.read_text())
    content["recipe"].pop("floor", None)  # as models of earlier versions
    path.write_text(json.dumps(content))
    assert study.model(unpruned=True).floor == 0.01


def test_damaged_findings_are_made_again(study, tmp_path):
    copy = Study(shutil.copytree(study.path, tmp_path / "study"))
    before = copy.find().findings
    whole = copy.findings_path.read_text()
    assert not copy.find().made
    for content in (whole[:3000], "[]", whole.replace('"format_version": 1', '"format_version": 9', 1)):
        copy.findings_path.write_text(content)
        with pytest.raises(AstroprismError, match="run find again"):
            copy.findings()
        assert copy.find().made
        assert copy.findings() == before
