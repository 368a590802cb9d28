"""The spectra most like one: by codes whose answer is known, and in a window of a small store."""

import json

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from astroprism import IngestOptions, Study
from astroprism.artifacts import write_table
from astroprism.errors import AstroprismError, ConfigError, ModelError
from astroprism.schema import CODES, LineGroup
from astroprism.similar.distances import Neighbours
from astroprism.similar.metric import metric, nuisances
from studies import findings_of, write_findings

NODES = 6


def lines_of(name, frame):
    """A group of lines that a node moves."""
    return LineGroup(name, name, frame, 5.0, 0.001, 0.01, 0.01, True, [], 10)


@pytest.fixture(scope="module")
def findings():
    """Nodes 0, 2 and 3 follow labels, 4 a keyword; 1 and 2 move lines of the air; 5 is no cause."""
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(150, NODES)) * [1, 1, 1, 1, 1, 0]
    sd = np.full_like(mean, 0.01)
    sd[:, 5] = 1
    labels = {"rv": mean[:, 0], "teff": mean[:, 2], "feh": mean[:, 3]}
    found, _ = findings_of(
        mean, sd, informative=range(5), labels=labels, keywords={"TEL AIRM START": mean[:, 4]}
    )
    moved = {1: [lines_of("H2O", "sky"), lines_of("Fe I", "star")], 2: [lines_of("H2O", "sky")]}
    nodes = [replace(node, lines=moved.get(node.node, node.lines)) for node in found.nodes]
    return replace(found, nodes=nodes)


def explained_by(findings, label):
    """Findings whose node 0 is explained by `label`, and a little by the SNR."""
    first = findings.nodes[0]
    match = first.explained_by[0]
    matches = [replace(match, label="snr", mi_nats=0.2), replace(match, label=label)]
    return replace(findings, nodes=[replace(first, matches=matches)])


def test_nuisances_are_named_by_label_lines_and_keyword(findings):
    found = nuisances(findings)
    assert found == {0: "velocity: rv", 1: "atmosphere: moves H2O", 4: "atmosphere: keyword TEL AIRM START"}
    for label in ("RV", "v_rad rv", "Index SNR", "radial velocity", "tau_water", "AIRMASS"):
        assert 0 in nuisances(explained_by(findings, label)), label
    for label in ("teff", "[Fe/H]", "curve", "snowfall", "logg"):
        assert 0 not in nuisances(explained_by(findings, label)), label


@pytest.fixture(scope="module")
def visits():
    """Codes (n, 6) of 150 stars with 1 to 8 visits: node 3 leaks from the velocity, 2 is fine, 5 dead."""
    rng = np.random.default_rng(1)
    star = np.repeat(np.arange(150), rng.integers(1, 9, 150))
    own = rng.normal(size=(150, NODES)) * [1, 1, 2, 1, 1, 0]
    codes = own[star]
    codes[:, [0, 1]] = rng.normal(size=(len(star), 2))
    sd = np.full_like(codes, 0.01)
    sd[:, 5] = 1
    codes[:, 3] += 0.4 * codes[:, 0]
    codes += sd * rng.normal(size=codes.shape) * [1, 1, 1, 1, 1, 0]
    return codes, sd, np.array([f"star {one}" for one in star], dtype=object)


def first_ones(points, targets):
    """Share of a star's other visits that come first."""
    built, shares = Neighbours(points), []
    for row, target in enumerate(targets):
        others = int((targets == target).sum()) - 1
        if others:
            rows, _ = built.query(points[row], others, exclude=[row])
            shares.append((targets[rows] == target).mean())
    return np.mean(shares)


def test_visits_say_what_a_nuisance_leaks_into_others(visits):
    codes, sd, targets = visits
    left_out = {0: "velocity", 1: "air"}
    plain = metric(codes, sd, nodes=[0, 1, 2, 3], left_out=left_out, scale="uncertainty")
    by_visits = metric(codes, sd, nodes=[0, 1, 2, 3], left_out=left_out, targets=targets)
    assert (plain.nodes, by_visits.nodes, by_visits.scale) == ((2, 3), (2, 3), "visits")
    assert by_visits.visits > 300
    assert first_ones(plain.points(codes), targets) < 0.6
    assert first_ones(by_visits.points(codes), targets) > 0.95
    # a distance of two visits of a star is that of two draws of unit noise
    points = by_visits.points(codes)
    pairs = [(a, b) for a in range(300) for b in range(a) if targets[a] == targets[b]]
    apart = [((points[a] - points[b]) ** 2).sum() for a, b in pairs]
    assert np.mean(apart) == pytest.approx(2 * 2, rel=0.1)


def test_scales_without_visits(visits):
    codes, sd, targets = visits
    spread = metric(codes, sd, nodes=[2, 3])
    assert (spread.scale, spread.left_out) == ("spread", {})
    assert spread.points(codes).std(0) == pytest.approx([1, 1])
    assert metric(codes, sd, nodes=[2, 3], left_out={0: "rv"}, targets=targets[:0]).scale == "uncertainty"
    alone = np.array([f"s{i}" for i in range(len(codes))], dtype=object)
    few = metric(codes, sd, nodes=[2, 3], left_out={0: "rv"}, targets=alone)
    assert few.points(codes).std(0) == pytest.approx(codes[:, 2:4].std(0) / 0.01)
    assert np.isfinite(metric(codes, sd, nodes=[5]).points(codes)).all()  # a dead node divides by nothing
    with pytest.raises(ConfigError, match="repeat visits are too few"):
        metric(codes, sd, nodes=[2], targets=alone, scale="visits")
    with pytest.raises(ConfigError, match="none of spread"):
        metric(codes, sd, nodes=[2], scale="sigma")
    with pytest.raises(ConfigError, match="no node is left"):
        metric(codes, sd, nodes=[0], left_out={0: "rv"})
    with pytest.raises(ConfigError, match="node 6: the network has nodes 0 to 5"):
        metric(codes, sd, nodes=[6])


@pytest.fixture(scope="module")
def study(archive, tmp_path_factory):
    """Forty spectra with made-up codes, findings and labels."""
    folder = tmp_path_factory.mktemp("similar")
    study = Study(folder / "study")
    study.ingest(archive, options=IngestOptions(workers=0))
    index = study.index
    rng = np.random.default_rng(3)
    star, _ = pd.factorize(index["target"])
    means = rng.normal(size=(star.max() + 1, NODES))[star] + 0.01 * rng.normal(size=(len(star), NODES))
    means[:, 0] = rng.normal(size=len(star))
    columns = {name: index[name].tolist() for name in ("spectrum_id", "target")}
    columns |= {f"mean_{i:03d}": means[:, i].astype(np.float32) for i in range(NODES)}
    columns |= {f"sd_{i:03d}": np.full(len(star), 0.01, np.float32) for i in range(NODES)}
    made = {"network": "prism", "kept": [0, 1, 2, 3], "steps": 1, "weights": "x", "polished": True}
    write_table(study.path / "codes.parquet", columns, header=CODES.header | {"made_from": made})
    return study


@pytest.fixture(scope="module")
def found(study, findings):
    names = study.index["spectrum_id"].tolist()
    labels = {"spectrum_id": names, "teff": [5000.0] * len(names), "kind": ["dwarf"] * len(names)}
    write_findings(study.path, findings, {"labels": labels})
    return study


def test_by_codes_of_the_study(found):
    names, targets = found.index["spectrum_id"], found.index["target"]
    busy = targets.value_counts().index[0]
    row = int(np.flatnonzero(targets == busy)[0])
    others = int((targets == busy).sum()) - 1
    by_row = found.similar(row, n=others, nodes=[2, 3])
    assert by_row.table["same_target"].all()
    assert names[row] not in set(by_row.table["spectrum_id"])
    assert by_row.facts["searched"] == len(names) - 1
    near = found.similar(names[row], n=5, without_nuisances=True)
    assert near.facts["nodes"] == [2, 3]
    assert set(near.facts["left_out"]) == {0, 1, 4}
    assert "informative nodes 4 are off" in near.facts["warnings"][0]
    assert list(near.table.columns)[-2:] == ["teff", "kind"]
    text = near.text()
    assert "nuisance nodes left out: 0 (velocity: rv), 1 (atmosphere: moves H2O)" in text
    assert "= the same star" in text
    assert "dwarf" in text
    plain = json.loads(json.dumps(near.as_dict()))
    assert plain["own"]["spectrum_id"] == names[row]
    assert len(plain["spectra"]) == 5
    mean = found.codes().filter(like="mean_").to_numpy()[row]
    by_code = found.similar(mean, nodes=[2, 3], n=1)
    assert by_code.table["spectrum_id"].tolist() == [names[row]]
    assert by_code.table["distance"][0] == pytest.approx(0, abs=1e-6)


def test_a_window_is_brute_force(found, archive):
    row, window = 7, (5889.0, 5899.0)
    batch = found.store.read(range(len(found.index)), window=found.store.window(*window))
    error = batch.sigma.astype(float) ** 2 + batch.sigma[row].astype(float) ** 2
    use = batch.good & batch.good[row] & (batch.sigma[row] > 0)
    term = (batch.flux.astype(float) - batch.flux[row]) ** 2 / error + np.log(
        error / batch.sigma[row].astype(float) ** 2
    )
    apart = np.sqrt(np.where(use, term, 0).sum(1) / use.sum(1))
    apart[row] = np.inf
    events = []
    near = found.similar(row, window=window, n=6, progress=events.append)
    assert near.table["row"].tolist() == np.argsort(apart)[:6].tolist()
    assert near.table["distance"].to_numpy() == pytest.approx(np.sort(apart)[:6])
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("similar", 40, 40)
    file = sorted((archive / "spectra").iterdir())[7]
    by_file = found.similar(file, window=window, n=1)
    assert by_file.table["chi2"][0] == pytest.approx(0, abs=1e-6)
    assert by_file.table["same_target"][0]


def test_another_instrument_is_warned_of(found):
    wavelength = np.arange(5875.0, 5925.0, 0.5)
    flux = 1 - 0.5 * np.exp(-((wavelength - 5897) ** 2) / 2)
    flux += 0.01 * np.random.default_rng(0).normal(size=len(wavelength))
    table = {"wavelength": wavelength, "flux": flux}
    near = found.similar(table, window=(5889.0, 5899.0), n=2)
    words = " ".join(near.facts["warnings"])
    assert "its frame is unknown" in words
    assert "its pixels are 25 km/s, the grid's 5" in words
    assert len(near.table) == 2


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("nothing", {}, "no spectrum of this study"),
        (99, {}, "row 99 is outside of 0 to 39"),
        (True, {}, "is no spectrum"),
        (np.zeros(3), {}, "6 finite numbers"),
        (np.full(6, np.nan), {}, "6 finite numbers"),
        (np.zeros(6), {"window": (5889, 5899)}, "no pixels"),
        (3, {"window": (5889, 5899), "nodes": [1]}, "a window compares pixels"),
        (3, {"window": (1, 2)}, "holds no pixel"),
        (3, {"nodes": [77]}, "node 77"),
        (3, {"n": 0}, "give 1 or more"),
        ("3", {"scale": "miles"}, "none of spread"),
    ],
)
def test_what_is_refused(found, query, options, message):
    with pytest.raises(AstroprismError, match=message):
        found.similar(query, **options)


def test_nuisances_want_findings_and_codes_want_encode(study, tmp_path):
    hidden = study.path / "findings.json"
    content = hidden.read_text() if hidden.exists() else None
    hidden.unlink(missing_ok=True)
    try:
        assert study.similar(3, n=2).facts["nodes"] == [0, 1, 2, 3]
        with pytest.raises(ModelError, match="run find first"):
            study.similar(3, without_nuisances=True)
    finally:
        if content:
            hidden.write_text(content)
    with pytest.raises(AstroprismError, match="holds no spectra yet"):
        Study(tmp_path / "none").similar(3)
