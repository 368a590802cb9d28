"""Spectra not in the study: from memory, from files, to tables; what is warned of; what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from astroprism import IngestOptions, Study
from astroprism.apply import ApplyOptions
from astroprism.apply import files as apply_files
from astroprism.apply.spectra import apply_spectra
from astroprism.apply.table import write_applied
from astroprism.archive import read
from astroprism.errors import AstroprismError, ConfigError, ModelError, SpectrumError, StoreError
from astroprism.model.checkpoint import read_model, write_model
from astroprism.simulate import SimulationConfig, write_archive
from astroprism.spectrum import Spectrum
from quick import quick_options

SETTINGS = {"window": (5880.0, 5922.0), "step": 5.0, "factors": ("rv", "teff", "feh")}


def give_labels(study: Study, truth: Path) -> None:
    """What `find` leaves of the labels given to it."""
    table = pd.read_csv(truth).set_index("spectrum_id").loc[study.index["spectrum_id"]]
    (study.path / "findings").mkdir(exist_ok=True)
    kind = np.where(table["teff"] > 5800, "hot", "cool")
    kept = pd.DataFrame({"spectrum_id": table.index, "teff": table["teff"].to_numpy(), "kind": kind})
    kept["few"] = np.nan
    kept.to_parquet(study.path / "findings" / "labels.parquet")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study of 200 spectra with a hasty model, and 12 files that are not in it."""
    folder = tmp_path_factory.mktemp("applying")
    truth = write_archive(folder / "archive", SimulationConfig(spectra=200, seed=3, **SETTINGS))
    write_archive(folder / "new", SimulationConfig(spectra=12, seed=4, **SETTINGS))
    study = Study(folder / "study")
    study.ingest(folder / "archive", options=IngestOptions(workers=0))
    study.train(options=quick_options(folder, batch=32, steps=25))
    network, facts = read_model(study.model_path)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    write_model(
        study.model_path, network, unpruned=weights, facts=msgspec.structs.replace(facts, kept=[0, 3, 5])
    )
    study.encode()
    give_labels(study, truth)
    study.outliers()
    return folder


@pytest.fixture
def study(made, tmp_path) -> Study:
    return Study(shutil.copytree(made / "study", tmp_path / "study"))


@pytest.fixture(scope="module")
def spectra(made) -> list[Spectrum]:
    return [one for path in sorted((made / "new" / "spectra").iterdir()) for one in read(path)]


def test_codes_are_those_of_encode(study, made):
    paths = sorted((made / "archive" / "spectra").iterdir())[:5]
    applied = study.apply([one for path in paths for one in read(path)])
    codes = study.codes().set_index("spectrum_id").loc[list(applied.identifiers)]
    mine = [applied.mean[:, node] for node in (0, 3, 5)]
    theirs = codes[["mean_000", "mean_003", "mean_005"]].to_numpy().T
    np.testing.assert_allclose(mine, theirs, atol=0.02)


def test_a_file_is_most_like_its_own_spectrum_in_the_study(study, made):
    path = sorted((made / "archive" / "spectra").iterdir())[5]
    near = study.similar(path, n=3)
    assert near.table["spectrum_id"][0] == next(read(path)).identifier
    assert near.table["distance"][0] < 0.1 < near.table["distance"][1]


def test_the_parts_of_the_result_fit_together(study, spectra):
    applied = apply_spectra(study, spectra)
    n, p = 12, study.store.grid.size
    assert len(applied) == len(applied.frame) == len(applied.warnings) == n
    for array in (applied.flux, applied.sigma, applied.good, applied.reconstruction, applied.residual):
        assert array.shape == (n, p)
    error = np.sqrt(applied.sigma**2 + 0.0)
    assert (
        np.abs(applied.residual[applied.good]).max()
        <= (np.abs(applied.flux - applied.reconstruction) / error)[applied.good].max() * 1.001
    )
    frame = applied.frame
    assert (frame["teff_low"] <= frame["teff"]).all()
    assert (frame["teff"] <= frame["teff_high"]).all()
    assert set(frame["kind_set"]) <= {"hot", "cool", "hot|cool", "cool|hot"}
    assert frame["outlier_p"].between(0, 1).all()
    assert "known of 0 targets" in applied.labels_missing["few"]
    assert applied.refused == []
    assert applied.table().colnames == list(frame)


def test_what_lies_outside_is_warned_of(study, spectra):
    good = spectra[0]
    noise = np.random.default_rng(0).normal(0, np.median(good.flux) / 5, len(good))
    faint = replace(good, flux=good.flux + noise, sigma=np.full(len(good), np.median(good.flux) / 5.0))
    half = replace(
        good,
        **{
            name: getattr(good, name)[: len(good) // 2]
            for name in ("wavelength", "flux", "sigma", "good")
            if getattr(good, name) is not None
        },
    )
    still = replace(good, frame="rest", berv=np.nan, resolution=3000.0)
    warnings = apply_spectra(study, [good, faint, half, still]).warnings
    assert "SNR 5 lies below" in " ".join(warnings[1])
    assert "is missing" in " ".join(warnings[2])
    assert "frame 'rest'" in " ".join(warnings[3])
    assert "resolving power 3,000" in " ".join(warnings[3])


def test_arrays_and_tables_and_paths_go_in(study, spectra, made):
    one = spectra[0]
    wave, flux, sigma = one.wavelength, np.asarray(one.flux), np.asarray(one.sigma)
    from astropy.table import Table

    for thing in (
        one,
        (wave, flux, sigma),
        Table({"wavelength": wave, "flux": flux, "sigma": sigma}),
        [one, one],
    ):
        assert len(study.apply(thing)) in (1, 2)
    assert len(study.apply(made / "new")) == 12
    with pytest.raises(SpectrumError, match="cannot take a spectrum"):
        study.apply(object())
    with pytest.raises(AstroprismError, match="files and folders"):
        study.apply(one, out="x.csv")


def test_specutils_goes_in(study, spectra):
    pytest.importorskip("specutils")
    import astropy.units as u
    from astropy.nddata import StdDevUncertainty
    from specutils import Spectrum as Spectrum1D

    one = spectra[0]
    thing = Spectrum1D(
        spectral_axis=one.wavelength * u.AA,
        flux=np.asarray(one.flux, float) * u.adu,
        uncertainty=StdDevUncertainty(np.asarray(one.sigma, float) * u.adu),
    )
    assert len(study.apply(thing)) == 1


def test_refusals_stop_nothing(study, spectra):
    far = replace(spectra[0], wavelength=spectra[0].wavelength + 3000.0)
    applied = apply_spectra(study, [far])
    assert len(applied) == 0
    assert [one.reason for one in applied.refused] == ["masked"]
    assert "teff" in applied.frame


def test_without_labels_codes_and_outliers_still_come(study, spectra):
    shutil.rmtree(study.path / "findings")
    applied = apply_spectra(study, spectra)
    assert applied.labels == {}
    assert "teff" not in applied.frame
    assert applied.frame["outlier_p"].notna().all()
    assert "labels_p" not in study.outliers()


def test_without_codes_or_model_it_says_what_to_run(study, spectra):
    (study.path / "codes.parquet").unlink()
    with pytest.raises(ModelError, match="run: astroprism encode"):
        apply_spectra(study, spectra)
    shutil.rmtree(study.path / "model")
    with pytest.raises(ModelError, match="run: astroprism train"):
        apply_spectra(study, spectra)


def test_outliers_are_ranked_and_made_once(study):
    table = study.outliers()
    assert len(table) == 200
    assert list(table["rank"]) == list(range(1, 201))
    assert table["surprise"].is_monotonic_decreasing
    runs = len(study.history)
    pd.testing.assert_frame_equal(study.outliers(), table)
    assert len(study.history) == runs
    labels = pd.read_parquet(study.path / "findings" / "labels.parquet")
    wrong = study.codes()["spectrum_id"].iloc[7]
    labels.loc[labels["spectrum_id"] == wrong, "teff"] = 90_000.0
    labels.to_parquet(study.path / "findings" / "labels.parquet")
    top = study.outliers().iloc[0]
    assert top["spectrum_id"] == wrong
    assert "its label teff is 90000" in top["reasons"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "fits", "vot"])
def test_tables_on_disk(study, made, tmp_path, ending):
    from astropy.table import Table

    shutil.copytree(made / "new", tmp_path / "new")
    (tmp_path / "new" / "bad.fits").write_bytes(b"no FITS")
    out = tmp_path / f"applied.{ending}"
    report = study.apply(tmp_path / "new", out=out)
    assert (report.met, report.applied, report.refused) == (13, 12, 1)
    assert report.reasons == {"unknown-format": 1}
    back = pd.read_parquet(out) if ending == "parquet" else Table.read(out).to_pandas()
    frame = study.apply(tmp_path / "new").frame
    np.testing.assert_allclose(back["teff"], frame["teff"], rtol=1e-3)
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in back["spectrum_id"]]
    assert names == list(frame["spectrum_id"])
    refused = pd.read_csv(tmp_path / f"applied.{ending}.refused.csv")
    assert refused["path"][0].endswith("bad.fits")
    again = study.apply(tmp_path / "new", out=out)
    assert not again.made
    assert again.applied == 12
    (tmp_path / "new" / "bad.fits").unlink()
    assert study.apply(tmp_path / "new", out=out).refused == 0
    assert sorted(path.name for path in tmp_path.glob(".applied*")) == [f".applied.{ending}.made.json"]


def test_what_is_reported_on_the_way(study, made, tmp_path):
    events = []
    for name in ("probe.npz", "reference.npz", "outliers.parquet"):
        (study.path / name).unlink()
    study.apply(made / "new", out=tmp_path / "applied.csv", progress=events.append)
    study.outliers(progress=events.append)
    assert [str(event) for event in events if event.kind == "message"] == [
        "apply: learning labels from codes",
        "apply: scoring held-out spectra, by which others are judged",
    ]
    counts = [(event.stage, event.done, event.total) for event in events if event.kind == "count"]
    assert counts == [("apply", 12, 12), ("outliers", 200, 200)]


def test_a_kill_costs_one_block(study, made, tmp_path, monkeypatch):
    monkeypatch.setattr(apply_files, "FILES_PER_BLOCK", 3)
    whole = tmp_path / "whole.csv"
    study.apply(made / "new", out=whole)
    out = tmp_path / "applied.csv"
    code = (
        "import sys, time; from astroprism import Study; from astroprism.apply import files as a\n"
        "a.FILES_PER_BLOCK = 3; block = a._block\n"
        "a._block = lambda *x, **k: (block(*x, **k), time.sleep(0.5))\n"
        "Study(sys.argv[1]).apply(sys.argv[2], out=sys.argv[3])\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(study.path), str(made / "new"), str(out)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".applied.csv.parts/*/000001.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not out.exists()
    blocks = []
    real = apply_files._block
    monkeypatch.setattr(apply_files, "_block", lambda *a, **k: (blocks.append(k["stem"]), real(*a, **k)))
    assert study.apply(made / "new", out=out).applied == 12
    assert len(blocks) <= 2
    pd.testing.assert_frame_equal(pd.read_csv(out), pd.read_csv(whole))


@pytest.mark.parametrize(
    ("out", "error", "word"),
    [
        ("applied.txt", ConfigError, "its ending says the format"),
        ("applied", ConfigError, "its ending says the format"),
        ("nowhere/applied.csv", ConfigError, "there is no folder"),
        ("/proc/applied.csv", StoreError, "/proc"),
    ],
)
def test_where_nothing_can_be_written(study, made, tmp_path, out, error, word):
    with pytest.raises(error, match=word):
        study.apply(made / "new", out=tmp_path / out)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"device": "tpu"}, "device 'tpu' is none of auto"),
        ({"medium": "water"}, "neither 'air' nor 'vacuum'"),
        ({"checksum": "guess"}, "none of verify, refuse, ignore"),
    ],
)
def test_options_that_make_no_sense(options, word):
    with pytest.raises(ConfigError, match=word):
        ApplyOptions(**options)


def test_paths_that_are_not_there(study, tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        study.apply(tmp_path / "none", out=tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no files"):
        study.apply(tmp_path / "empty", out=tmp_path / "a.csv")


def test_letters_beyond_ascii_go_into_fits(study, spectra, tmp_path):
    applied = study.apply(replace(spectra[0], target="ε Eri"))
    write_applied(tmp_path / "a.fits", applied.frame)
    write_applied(tmp_path / "a.vot", applied.frame)


def test_the_command_line(study, made, tmp_path):
    from typer.testing import CliRunner

    from astroprism.cli import app

    out = tmp_path / "applied.csv"
    done = CliRunner().invoke(app, ["apply", str(study.path), str(made / "new"), "--out", str(out), "--json"])
    assert json.loads(done.stdout)["applied"] == 12
    done = CliRunner().invoke(app, ["outliers", str(study.path), "--most", "3"])
    assert "chance alone would give 2" in done.stdout
    assert len(done.stdout.splitlines()) == 6


def test_a_label_never_overwrites_what_is_measured(study, spectra, tmp_path):
    """Labels called as measured columns are, or as another label's interval."""
    names = {
        "snr": 1.0,
        "SNR": 2.0,
        "target": 3.0,
        "chi2": 4.0,
        "mean_000": 5.0,
        "teff_low": 6.0,
        "path": 7.0,
    }
    table = pd.read_parquet(study.path / "findings" / "labels.parquet")
    for name, factor in names.items():
        table[name] = factor * table["teff"]
    table.to_parquet(study.path / "findings" / "labels.parquet")
    plain = {one.identifier: one for one in spectra}
    applied = study.apply(spectra)
    frame = applied.frame
    assert frame["target"].tolist() == [plain[name].target for name in frame["spectrum_id"]]
    assert frame["snr"].max() < 1_000 < frame["label_snr"].min()
    assert set(applied.labels) >= set(names)
    assert applied.renamed == {name: f"label_{name}" for name in names if name != "SNR"} | {
        "SNR": "label_label_SNR"
    }
    assert len({name.casefold() for name in frame}) == len(frame.columns)
    np.testing.assert_allclose(frame["label_teff_low"], applied.labels["teff_low"].value)
    np.testing.assert_allclose(frame["teff_low"], applied.labels["teff"].low)
    odd = study.outliers()
    assert odd["snr"].max() < 1_000 < odd["predicted_snr"].min()
    assert "predicted_label_teff_low" in odd
    for end in ("fits", "csv", "parquet", "vot"):
        write_applied(tmp_path / f"x.{end}", frame)


def test_labels_of_every_column_type_are_predicted(study, spectra):
    """What pandas holds labels in: its text, categories, nullable numbers."""
    path = study.path / "findings" / "labels.parquet"
    table = pd.read_parquet(path)
    blank = np.arange(len(table)) % 10 == 0
    table["arrow"] = table["kind"].astype("string[pyarrow]").mask(blank)
    table["category"] = table["kind"].mask(blank).astype("category")
    table["whole"] = table["teff"].round().astype("Int64").mask(blank)
    table["flag"] = (table["teff"] > 5800).astype("boolean").mask(blank)
    table.to_parquet(path)
    applied = study.apply(spectra)
    assert set(applied.labels) >= {"arrow", "category", "whole", "flag"}
    assert set(applied.frame["arrow"]) <= {"hot", "cool"}
    assert applied.frame["whole"].between(3_000, 9_000).all()
    assert {"label_arrow", "label_whole"} <= set(study.outliers())
