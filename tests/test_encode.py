"""Codes of a store: whole, in parts, of new spectra alone."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch

from astroprism import EncodeOptions, Study
from astroprism.errors import AstroprismError, ConfigError, ModelError
from astroprism.model import encode as encoding
from astroprism.model.checkpoint import read_model, write_model
from astroprism.model.encode import EncodeReport, codes_facts, encode, read_codes


@pytest.fixture(scope="module")
def made(trained_study, tmp_path_factory) -> Path:
    """A study with a model of which three nodes are kept, and its codes."""
    folder = tmp_path_factory.mktemp("codes")
    study = Study(shutil.copytree(trained_study, folder / "study"))
    network, facts = read_model(study.model_path)
    unpruned = {name: value.clone() for name, value in network.state_dict().items()}
    network.keep.zero_()
    network.keep[[0, 3, 5]] = 1.0
    many = msgspec.structs.replace(facts.trained_on, targets=30)
    facts = msgspec.structs.replace(facts, kept=[0, 3, 5], trained_on=many)
    write_model(study.model_path, network, unpruned=unpruned, facts=facts)
    study.encode()
    return study.path


@pytest.fixture
def study(made, tmp_path) -> Study:
    return Study(shutil.copytree(made, tmp_path / "study"))


def again(study: Study, *, events: list | None = None, **options) -> EncodeReport:
    """As study.encode, with its events."""
    listener = [].append if events is None else events.append
    how = EncodeOptions(**options)
    return encode(study.store, study.model_path, out=study.path, options=how, progress=listener)


def numbers(table: pd.DataFrame, kind: str) -> np.ndarray:
    return table[[name for name in table if name.startswith(f"{kind}_")]].to_numpy()


def test_tables_are_what_the_network_gives(study):
    network = study.model(unpruned=True).network
    batch = study.store.read(range(40))
    good = torch.from_numpy(batch.good)
    berv = torch.from_numpy(study.index["berv"].to_numpy(np.float32))
    with torch.no_grad():
        mean, logvar = network.encode(torch.from_numpy(batch.flux), good=good, berv=berv)
    study.encode(options=EncodeOptions(polish=False))
    raw = study.codes(unpruned=True)
    assert list(raw["spectrum_id"]) == list(study.index["spectrum_id"])
    assert list(raw["target"]) == list(study.index["target"])
    np.testing.assert_allclose(numbers(raw, "mean"), mean, atol=2e-5)
    np.testing.assert_allclose(numbers(raw, "sd"), (logvar / 2).exp(), rtol=1e-4)


def test_only_kept_nodes_are_polished_and_for_the_better(study):
    raw, polished = study.codes(unpruned=True), study.codes()
    locked = (numbers(raw, "sd") == numbers(polished, "sd")).all(1)  # the others were looked at again
    assert locked.sum() > 8
    moved = (numbers(raw, "mean") != numbers(polished, "mean"))[locked].any(0)
    assert set(np.flatnonzero(moved)) <= {0, 3, 5}
    assert moved.any()
    facts = codes_facts(study.path / "codes.parquet")
    assert (facts.spectra, facts.nodes, facts.kept, facts.polished) == (40, 32, [0, 3, 5], True)
    assert facts.relocked
    assert not codes_facts(study.path / "codes_unpruned.parquet").polished


def test_the_same_again_does_nothing_and_other_options_do_all(study):
    assert study.encode().encoded == 0
    events = []
    report = again(study, events=events, polish=False)
    assert (report.encoded, report.polished) == (40, False)
    assert any("stale" in event.message for event in events)
    gauged = "mean_000"  # each network has its own zero of the velocity
    pruned, raw = (study.codes(unpruned=every).drop(columns=gauged) for every in (False, True))
    pd.testing.assert_frame_equal(pruned, raw)


def test_new_spectra_alone_are_encoded(study, tmp_path):
    from astroprism.info import info
    from astroprism.simulate import SimulationConfig, write_archive

    before = study.codes()
    write_archive(tmp_path / "more", SimulationConfig(spectra=6, window=(5880.0, 5922.0), step=5.0, seed=99))
    study.ingest(tmp_path / "more")
    facts = info(study.path)
    assert facts["model"]["spectra_never_seen"] == 6
    assert facts["codes"]["spectra_without"] == 6
    assert facts["codes"]["of_this_model"]
    assert study.encode().encoded == 6
    after = study.codes()
    assert list(after["spectrum_id"]) == list(study.index["spectrum_id"])
    pd.testing.assert_frame_equal(after.iloc[:40], before)


class Stop(Exception):
    """The encoding is cut off."""


def test_cut_off_it_goes_on(study, monkeypatch):
    whole, raw = study.codes(), study.codes(unpruned=True)
    monkeypatch.setattr(encoding, "MOST_ROWS", 8)
    monkeypatch.setitem(encoding.BATCH_PIXELS, "cpu", 8 * study.store.grid.size)
    for path in study.path.glob("codes*.parquet"):
        path.unlink()

    def stop(event):
        if event.done >= 24:
            raise Stop

    with pytest.raises(Stop):
        encode(study.store, study.model_path, out=study.path, progress=stop)
    assert not (study.path / "codes.parquet").exists()
    events = []
    report = again(study, events=events)
    assert report.encoded == 16
    assert (events[-1].kind, events[-1].done, events[-1].total) == ("count", 16, 16)
    assert not (study.path / ".codes").exists()
    np.testing.assert_allclose(numbers(study.codes(unpruned=True), "mean"), numbers(raw, "mean"), atol=1e-4)
    # slopes are differences of float32 spectra, which round otherwise in another batch
    off = np.abs(numbers(study.codes(), "mean") - numbers(whole, "mean")) / numbers(whole, "sd")
    assert off.max() < 0.5
    assert np.median(off) < 0.01


def test_a_damaged_or_foreign_table_is_named(study):
    path = study.path / "codes.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"codes\.parquet is damaged"):
        study.codes()
    events = []
    assert again(study, events=events).encoded == 40
    assert "damaged" in events[0].message
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ModelError, match="no table of codes"):
        read_codes(path)
    path.unlink()
    with pytest.raises(ModelError, match="run: astroprism encode"):
        study.codes()


def test_a_model_of_another_grid_is_refused(study):
    path = study.model_path / "model.json"
    facts = json.loads(path.read_text())
    facts["store"]["grid"] = "4000:4100:5kms"
    path.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="trained on the grid '4000:4100:5kms'"):
        study.encode()


def test_released_weights_want_the_paper_grid(study, tmp_path):
    from astroprism.network import PaperConfig, PaperNetwork

    file = tmp_path / "ae1d.pth.tar"
    with pytest.raises(AstroprismError, match="cannot be read"):  # before an archive is ingested for it
        study.encode(options=EncodeOptions(weights=file))
    torch.save({"state_dict": PaperNetwork(PaperConfig(start="torch")).state_dict()}, file)
    with pytest.raises(ConfigError, match="--grid paper --normalise paper-median"):
        study.encode(options=EncodeOptions(weights=file))
    with pytest.raises(ConfigError, match="none of auto"):
        EncodeOptions(device="tpu")


@pytest.mark.full
def test_released_weights_encode_a_paper_store(tmp_path):
    from astroprism import IngestOptions
    from astroprism.network import PaperConfig, PaperNetwork
    from astroprism.simulate import SimulationConfig, write_archive

    network = PaperNetwork(PaperConfig(), seed=1)
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "ae1d.pth.tar")
    write_archive(tmp_path / "in", SimulationConfig(spectra=3, factors=("rv",), seed=1))
    study = Study(tmp_path / "study")
    study.ingest(tmp_path / "in", options=IngestOptions(grid="paper", normalise="paper-median", workers=0))
    report = study.encode(options=EncodeOptions(weights=tmp_path / "ae1d.pth.tar", device="cpu"))
    assert (report.encoded, report.nodes) == (3, 128)
    table = read_codes(study.path / "codes_paper.parquet")
    batch = study.store.read([0, 1, 2])
    flux = torch.from_numpy(np.where(batch.good, batch.flux, 0))
    with torch.no_grad():
        mean, _ = network.eval().encode(flux, good=torch.from_numpy(batch.good))
    np.testing.assert_allclose(numbers(table, "mean"), mean, atol=1e-4)
