import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroprism.errors import CatalogError, ConfigError, GridError, StoreError
from astroprism.ingest import IngestCounts, IngestOptions, ingest
from astroprism.ingest import work as work_module
from astroprism.progress import Progress
from astroprism.store import Store

HERE = IngestOptions(workers=0)


def remarks(said: list[str]):
    """A listener that keeps what is for people."""
    return lambda event: said.append(str(event)) if event.kind in ("message", "warning") else None


def contents(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()
    }


@pytest.fixture
def small_shards(monkeypatch):
    """Several blocks from few files."""
    import astroprism.ingest as module

    monkeypatch.setattr(module, "rows_per_shard", lambda n_pixels: 8)


def test_an_archive_becomes_a_store_that_holds_its_truth(archive, tmp_path):
    events: list[Progress] = []
    report = ingest(tmp_path / "store", [archive], options=HERE, progress=events.append)
    truth = pd.read_csv(archive / "truth.csv")
    store = Store(tmp_path / "store")
    assert (report.accepted, report.refused, report.files_given) == (40, 0, 40)
    assert report.passed_over == 2  # truth.csv and simulation.json
    assert any(event.kind == "message" and "estimate" in event.message for event in events)
    last = [event for event in events if event.kind == "count"][-1]
    assert (last.done, last.total, last.detail) == (40, 40, IngestCounts(accepted=40, refused=0))
    index = store.index.set_index("spectrum_id").loc[truth["spectrum_id"]]
    assert np.allclose(index["berv"], truth["berv"], atol=1e-3)
    assert list(index["frame"].unique()) == ["barycentric"]
    assert index["target"].nunique() == truth["target"].nunique()
    assert np.allclose(index["snr"], truth["snr"], rtol=0.15)
    assert not (tmp_path / "store" / ".ingest").exists()
    batch = store.read(np.arange(40))
    assert batch.good.mean() > 0.99
    assert np.median(batch.flux, axis=1) == pytest.approx(np.ones(40), abs=0.02)


def test_the_store_does_not_depend_on_who_made_it(archive, tmp_path, small_shards):
    ingest(tmp_path / "here", [archive], options=HERE)
    expected = contents(tmp_path / "here")
    assert sum(name.startswith("flux/c") for name in expected) == 5
    for name, options in {
        "one": IngestOptions(workers=1),
        "three": IngestOptions(workers=3),
        "dask": IngestOptions(cluster="local:2"),
    }.items():
        ingest(tmp_path / name, [archive], options=options)
        assert contents(tmp_path / name) == expected, name


def test_given_again_it_does_nothing_and_says_so(archive, tmp_path):
    ingest(tmp_path / "store", [archive], options=HERE)
    before = contents(tmp_path / "store")
    said: list[str] = []
    report = ingest(tmp_path / "store", [archive], options=HERE, progress=remarks(said))
    assert "nothing new" in said[0]
    assert (report.files_new, report.accepted, report.n_spectra) == (0, 0, 40)
    assert contents(tmp_path / "store") == before


def test_new_files_are_appended_and_old_shards_stay(archive, tmp_path, small_shards):
    files = sorted((archive / "spectra").glob("*.fits"))
    ingest(tmp_path / "store", files[:20], options=HERE)
    before = contents(tmp_path / "store")
    positions = Store(tmp_path / "store").index["spectrum_id"].tolist()
    report = ingest(tmp_path / "store", [archive], options=HERE)
    after = contents(tmp_path / "store")
    assert (report.files_new, report.accepted, report.n_spectra) == (20, 20, 40)
    assert all(after[name] == before[name] for name in before if "/c/" in name)
    store = Store(tmp_path / "store")
    assert store.index["spectrum_id"].tolist()[:20] == positions
    assert len(store.keywords()) == 40
    assert store.read([39]).flux.shape == (1, store.grid.size)


def test_every_file_is_accounted_for(archive, tmp_path, small_shards):
    pile = tmp_path / "pile"
    shutil.copytree(archive / "spectra", pile)
    good = sorted(pile.glob("*.fits"))
    (pile / "empty.fits").touch()
    (pile / "cut.fits").write_bytes(good[0].read_bytes()[:9000])
    (pile / "noise.dat").write_bytes(os.urandom(5000))
    shutil.copy(good[3], pile / "zz-again.fits")
    (pile / "dangling.fits").symlink_to(pile / "nowhere")
    (pile / "readme.md").write_text("# not a spectrum")
    report = ingest(tmp_path / "store", [pile], options=HERE)
    assert report.files_given == 45
    assert report.accepted + report.refused == 45
    assert report.passed_over == 1
    rejects = Store(tmp_path / "store").rejects.set_index("path")
    reason = {Path(path).name: row for path, row in rejects["reason"].items()}
    assert reason["empty.fits"] == "empty"
    assert reason["cut.fits"] == "truncated"
    assert reason["zz-again.fits"] == "duplicate"
    assert set(reason) == {"empty.fits", "cut.fits", "noise.dat", "zz-again.fits", "dangling.fits"}
    twin = rejects["message"][str(pile / "zz-again.fits")]
    assert str(good[3]) in twin


def test_a_duplicate_of_a_file_in_an_earlier_run_is_refused(archive, tmp_path):
    files = sorted((archive / "spectra").glob("*.fits"))
    ingest(tmp_path / "store", files[5:], options=HERE)
    shutil.copy(files[7], tmp_path / "0.fits")
    report = ingest(tmp_path / "store", [tmp_path / "0.fits", *files], options=HERE)
    assert report.reasons == {"duplicate": 1}
    assert report.n_spectra == 40


def test_a_kill_at_any_moment_loses_nothing(archive, tmp_path, small_shards):
    """The real thing: kill -9, at moments spread over the run, then the same command again."""
    ingest(tmp_path / "whole", [archive], options=HERE)
    script = (
        "import sys, time, astroprism.ingest as m, astroprism.ingest.block as b\n"
        "m.rows_per_shard = lambda n: 8\n"
        "slow = b.prepare\n"
        "def prepare(*a, **k):\n    time.sleep(0.02)\n    return slow(*a, **k)\n"
        "b.prepare = prepare\n"
        "m.ingest(sys.argv[1], [sys.argv[2]], options=m.IngestOptions(workers=0))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "killed"), str(archive)]
    rng = np.random.default_rng(4)
    kills = 0
    for _ in range(30):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        journals = tmp_path / "killed" / ".ingest" / "blocks"
        for _ in range(600):  # wait until it works, then a random moment more
            if journals.exists() or process.poll() is not None:
                break
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0.02, 0.4)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        if process.wait() == 0:
            break
        if (tmp_path / "killed" / "zarr.json").exists():
            Store(tmp_path / "killed")  # opens at every moment
    assert kills >= 2
    ingest(tmp_path / "killed", [archive], options=HERE)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_an_interrupted_run_is_finished_before_new_files_are_taken(
    archive, tmp_path, small_shards, monkeypatch
):
    files = sorted((archive / "spectra").glob("*.fits"))
    commit = work_module.commit_block
    calls = []

    def fail_third(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return commit(*args, **kwargs)

    monkeypatch.setattr(work_module, "commit_block", fail_third)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "store", files[10:], options=HERE)
    store = Store(tmp_path / "store")
    assert not store.finished
    assert len(store) == 16
    assert store.read([15]).good.all()
    monkeypatch.setattr(work_module, "commit_block", commit)
    report = ingest(tmp_path / "store", [archive], options=HERE)
    assert report.n_spectra == 40
    ids = Store(tmp_path / "store").index["path"].tolist()
    assert ids[:30] == [str(path) for path in files[10:]]


def test_a_file_that_kills_its_reader_is_refused_and_the_rest_goes_on(archive, tmp_path, small_shards):
    # every spawned process runs sitecustomize; the script itself has no main guard, as users write them
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '--multiprocessing-fork' in sys.orig_argv:\n"
        "    import astroprism.ingest.block as b\n"
        "    read = b.read_file\n"
        "    def deadly(path, **k):\n"
        "        if os.path.basename(path).endswith('01.127.fits'):\n"
        "            os._exit(11)\n"
        "        return read(path, **k)\n"
        "    b.read_file = deadly\n"
    )
    (tmp_path / "run.py").write_text(
        "import sys, astroprism.ingest as m\n"
        "m.rows_per_shard = lambda n: 8\n"
        "r = m.ingest(sys.argv[1], [sys.argv[2]], options=m.IngestOptions(workers=2))\n"
        "print(r.accepted, r.refused, r.reasons)\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "store"), str(archive)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    deadly = sum(path.name.endswith("01.127.fits") for path in (archive / "spectra").iterdir())
    assert deadly >= 1
    # a worker that dies takes its pool along: no other file may be blamed
    assert done.stdout.strip() == f"{40 - deadly} {deadly} {{'crash': {deadly}}}"


def test_identifiers_taken_twice_are_kept_apart(tmp_path):
    wavelength = np.linspace(5000, 5100, 500)
    rng = np.random.default_rng(0)
    for folder in ("a", "b", "c"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        flux = 100 + rng.normal(size=500)
        np.savetxt(tmp_path / "in" / folder / "star.txt", np.column_stack([wavelength, flux, np.ones(500)]))
    report = ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    assert report.accepted == 3
    assert Store(tmp_path / "store").index["spectrum_id"].is_unique


def test_settings_of_a_store_hold(archive, tmp_path):
    files = sorted((archive / "spectra").glob("*.fits"))
    ingest(tmp_path / "store", files[:4], options=HERE)
    ingest(tmp_path / "store", files[4:8], options=IngestOptions(workers=0, normalise="auto"))
    with pytest.raises(ConfigError, match="made with normalise auto, not continuum"):
        ingest(tmp_path / "store", files[:9], options=IngestOptions(workers=0, normalise="continuum"))
    with pytest.raises(ConfigError, match="made with grid"):
        ingest(tmp_path / "store", files[:9], options=IngestOptions(workers=0, grid="paper"))


@pytest.mark.parametrize(
    "bad",
    [
        {"workers": -1},
        {"workers": 2, "cluster": "local:2"},
        {"grid": "5000:5100:1kms", "normalise": "paper-median"},
        {"checksum": "maybe"},
        {"grid": "papr"},
        {"grid": "5000:5100:0.0000001kms"},
        {"dtype": "float64"},
        {"frame": "rest"},
        {"min_good": float("nan")},
    ],
)
def test_contradictions_are_refused(bad):
    with pytest.raises((ConfigError, GridError)):
        IngestOptions(**bad)


def test_aliases_given_later_join_targets_again(tmp_path):
    rng = np.random.default_rng(0)
    wavelength = np.linspace(5000, 5100, 500)
    (tmp_path / "in").mkdir()
    np.savez(
        tmp_path / "in" / "stack.npz",
        wavelength=wavelength,
        flux=100 + rng.normal(size=(3, 500)),
        sigma=np.ones((3, 500)),
        name=["Alpha", "Beta", "alpha"],
    )
    assert ingest(tmp_path / "store", [tmp_path / "in"], options=HERE).n_targets == 2
    (tmp_path / "aliases.csv").write_text("Alpha,Beta\n")
    again = IngestOptions(workers=0, aliases=str(tmp_path / "aliases.csv"))
    assert ingest(tmp_path / "store", [tmp_path / "in"], options=again).n_targets == 1


def test_a_table_of_targets_overrides_and_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    wavelength = np.linspace(5000, 5100, 500)
    flux = 100 + rng.normal(size=(5, 500))
    (tmp_path / "in").mkdir()
    stack = {"wavelength": wavelength, "sigma": np.ones((3, 500)), "name": ["Alpha", "Alpha", "Beta"]}
    np.savez(tmp_path / "in" / "stack.npz", flux=flux[:3], ids=["a", "b", "c"], **stack)
    (tmp_path / "targets.csv").write_text("spectrum,target\na,One\nb,Two\nz,Three\n")
    options = IngestOptions(workers=0, targets=str(tmp_path / "targets.csv"))
    told = []
    report = ingest(tmp_path / "store", [tmp_path / "in"], options=options, progress=told.append)
    assert report.targets == {"listed": 2, "missing": 1, "unknown": 1, "rows": 3}
    assert any("1 of its 3 rows name no spectrum here (first: z)" in event.message for event in told)
    assert any("--targets: 2 of 3 spectra" in event.message for event in told)
    assert Store(tmp_path / "store").index["target"].tolist() == ["One", "Two", "Beta"]
    more = {
        "wavelength": wavelength,
        "sigma": np.ones((2, 500)),
        "name": ["Alpha", "Beta"],
        "ids": ["d", "z"],
    }
    np.savez(tmp_path / "in" / "more.npz", flux=flux[3:], **more)
    ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)  # without the option: the store has kept it
    targets = Store(tmp_path / "store").index.set_index("spectrum_id")["target"]
    assert targets.to_dict() == {"a": "One", "b": "Two", "c": "Beta", "d": "Alpha", "z": "Three"}


def test_a_table_of_targets_that_names_no_spectrum_is_an_error(archive, tmp_path, monkeypatch):
    table = tmp_path / "other.csv"
    table.write_text("spectrum,target\n" + "".join(f"HIP{i},Star {i}\n" for i in range(30)))
    options = IngestOptions(workers=0, targets=str(table))
    with pytest.raises(CatalogError, match=r"none of its 30 rows .* has 'HIP0', 'HIP1', the archive") as told:
        ingest(tmp_path / "store", [archive], options=options)
    assert "other.csv" in str(told.value)
    assert "nothing has been ingested" in str(told.value)
    assert not (tmp_path / "store").exists()
    # of a table with few rows only the whole ingest can tell; then nothing is lost, and nothing is kept of it
    monkeypatch.setattr("astroprism.ingest.proposal.NAMED_FILES", 5)
    table.write_text("spectrum,target\nHIP0,Star\n")
    with pytest.raises(CatalogError, match=r"none of its 1 rows .* what is ingested is kept"):
        ingest(tmp_path / "store", [archive], options=options)
    store = Store(tmp_path / "store")
    assert len(store) == 40
    assert not (store.path / "targets.parquet").exists()
    table.write_text(f"spectrum,target\n{store.index['spectrum_id'].iloc[0]},Star\n")
    assert ingest(tmp_path / "store", [archive], options=options).targets["listed"] == 1


def test_infrared_spectra_in_rows_are_taken_by_default(tmp_path):
    """As prism libraries write them: 3 x N, microns, R ~ 100, no axis, one name for all, S/N in some."""
    from astropy.io import fits

    rng = np.random.default_rng(0)
    wave = np.geomspace(0.65, 2.55, 564)
    (tmp_path / "in").mkdir()
    for number in range(12):
        shape = 1 + 0.5 * np.sin(4 * wave + 0.1 * number) - 0.3 * np.exp(-(((wave - 1.4) / 0.05) ** 2))
        sigma = 1e-15 * 0.01 * (1 + 0.2 * np.cos(9 * wave))
        flux = 1e-15 * shape + sigma * rng.normal(size=wave.size)
        third = flux / sigma if number % 4 == 3 else sigma
        rows = np.stack([wave, flux, third]).astype("f4")
        rows[1:, :3] = np.nan
        unit = fits.PrimaryHDU(rows[None] if number % 3 == 2 else rows)
        unit.header.update({"OBJECT": "Object Observed", "RA": "12:00:00.1", "DEC": f"+{number:02d}:00:00.0"})
        unit.writeto(tmp_path / "in" / f"spex_{number:02d}.fits")
    report = ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    assert (report.accepted, report.refused, report.n_targets) == (12, 0, 12)
    store = Store(tmp_path / "store")
    assert 6_500 < store.grid.wavelength[0] < 6_700
    assert 25_000 < store.grid.wavelength[-1] < 25_600
    assert 40 < np.median(store.index["snr"]) < 140
    assert store.index["sigma_from"].tolist() == ["file", "file", "file", "scatter"] * 3


def test_texts_of_headers_that_name_what_made_the_spectra_are_kept(tmp_path, small_shards):
    from astropy.io import fits

    flux = (100 + np.random.default_rng(0).normal(size=(26, 900))).astype("f4")
    (tmp_path / "in").mkdir()

    def write(numbers):
        for number in numbers:
            unit = fits.PrimaryHDU(flux[number])
            unit.header.update({"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0, "OBJECT": f"Star {number}"})
            unit.header["INSTRUME"] = ("UVES", "HARPS")[number % 2]
            unit.header["HIERARCH ESO INS GRAT1 NAME"] = "CD#2"
            unit.header["FIBRE"] = "A" if number > 8 else 3  # a number in some, a text in others
            unit.header["OBSERVER"] = f"Person {number} of many"
            unit.header["PIPEFILE"] = f"cal_{number % 2}.fits"
            if number % 3 == 0:
                unit.header["FIBERTYP"] = "Obj"
            unit.writeto(tmp_path / "in" / f"{number:02d}.fits")

    write(range(24))
    ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    keywords = Store(tmp_path / "store").keywords()
    assert keywords["INSTRUME"].tolist() == ["UVES", "HARPS"] * 12
    assert keywords["ESO INS GRAT1 NAME"].tolist() == ["CD#2"] * 24
    assert keywords["FIBERTYP"].isna().sum() == 16
    assert keywords["FIBRE"].isna().sum() == 15  # as numbers, where it is one
    assert not {"OBJECT", "OBSERVER", "PIPEFILE"} & set(keywords)
    write(range(24, 26))
    ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    assert Store(tmp_path / "store").keywords()["INSTRUME"].tolist() == ["UVES", "HARPS"] * 13
    (tmp_path / "store" / "words.parquet").unlink()  # as a store of an older version
    assert "INSTRUME" not in Store(tmp_path / "store").keywords()


def test_where_each_barycentric_velocity_is_from_is_counted(tmp_path):
    from astropy.io import fits

    flux = (100 + np.random.default_rng(0).normal(size=(3, 900))).astype("f4")
    place = {"RA": 10.0, "DEC": -20.0, "MJD-OBS": 55000.1, "TELESCOP": "ESO-NTT", "SPECSYS": "TOPOCENT"}
    for number, more in enumerate(({}, {"BERV": 3.5}, {"TELESCOP": "none"})):
        unit = fits.PrimaryHDU(flux[number])
        unit.header.update({"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0, **place, **more})
        unit.writeto(tmp_path / f"{number}.fits")
    report = ingest(tmp_path / "store", [tmp_path], options=HERE)
    assert report.berv == {"computed": 1, "keyword BERV": 1, "none": 1}
    index = Store(tmp_path / "store").index
    assert index["berv_source"].tolist() == ["computed", "keyword BERV", "none"]
    assert index["berv"].isna().tolist() == [False, False, True]
    moved = ingest(
        tmp_path / "moved", [tmp_path / "0.fits"], options=IngestOptions(workers=0, frame="barycentric")
    )
    assert moved.accepted == 1
    assert Store(tmp_path / "moved").index["frame"].tolist() == ["barycentric"]


def test_wrong_options_are_refused_even_where_nothing_is_new(archive, tmp_path):
    ingest(tmp_path / "store", [archive], options=HERE)
    for wrong in ({"normalise": "continuum"}, {"grid": "5000:5100:1kms"}, {"dtype": "float16"}):
        with pytest.raises(ConfigError, match="this store was made with"):
            ingest(tmp_path / "store", [archive], options=IngestOptions(workers=0, **wrong))


def test_nothing_to_read_is_said(tmp_path):
    (tmp_path / "void").mkdir()
    with pytest.raises(ConfigError, match="no files found"):
        ingest(tmp_path / "store", [tmp_path / "void"], options=HERE)
    with pytest.raises(ConfigError, match="no such file"):
        ingest(tmp_path / "store", [tmp_path / "nowhere"], options=HERE)
    assert not (tmp_path / "store").exists()
    (tmp_path / "void" / "a.fits").write_bytes(b"hello")
    with pytest.raises(Exception, match="no grid can be proposed"):
        ingest(tmp_path / "store", [tmp_path / "void"], options=HERE)
    assert not (tmp_path / "store").exists()


def test_two_ingests_at_once_are_refused(archive, tmp_path):
    import fcntl

    (tmp_path / "store").mkdir()
    with open(tmp_path / "store" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another ingest"):
            ingest(tmp_path / "store", [archive], options=HERE)


def test_files_changed_since_are_reported(archive, tmp_path):
    shutil.copytree(archive / "spectra", tmp_path / "in")
    ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    os.utime(sorted((tmp_path / "in").iterdir())[0], (1, 1))
    said: list[str] = []
    report = ingest(tmp_path / "store", [tmp_path / "in"], options=HERE, progress=remarks(said))
    assert report.files_changed == 1
    assert any("changed since" in text for text in said)


def test_the_plan_is_plain_json(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(
        work_module, "commit_block", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "store", [archive], options=HERE)
    plan = json.loads((tmp_path / "store" / ".ingest" / "plan.json").read_text())
    assert len(plan["files"]) == 40
    (tmp_path / "store" / ".ingest" / "plan.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        ingest(tmp_path / "store", [archive], options=HERE)


def test_a_store_of_before_takes_more_spectra(tmp_path):
    """An index without `berv_source`, as an older version wrote it, is read and added to."""
    rng = np.random.default_rng(0)
    stack = {"wavelength": np.linspace(5000, 5100, 500), "sigma": np.ones((2, 500))}
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", flux=100 + rng.normal(size=(2, 500)), **stack)
    ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    path = tmp_path / "store" / "index.parquet"
    pd.read_parquet(path).drop(columns="berv_source").to_parquet(path, index=False)
    assert ingest(tmp_path / "store", [tmp_path / "in"], options=HERE).berv == {}
    np.savez(tmp_path / "in" / "b.npz", flux=100 + rng.normal(size=(2, 500)), **stack)
    report = ingest(tmp_path / "store", [tmp_path / "in"], options=HERE)
    assert (report.accepted, report.berv) == (2, {"none": 4})
    assert Store(tmp_path / "store").index["berv_source"].tolist() == ["", "", "none", "none"]


def test_a_busy_machine_is_no_reason_to_refuse_a_file(monkeypatch):
    """A file whose reader waits for its turn is waited for; one that works or hangs on and on is ended."""
    from astroprism.errors import SpectrumError
    from astroprism.ingest import block

    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    with block.deadline(0.05):
        time.sleep(0.2)
    begun = time.process_time()
    with pytest.raises(SpectrumError, match="took longer than"), block.deadline(0.05):
        work(5.0)
    assert time.process_time() - begun < 4
    monkeypatch.setattr(block, "PATIENCE", 2)
    with pytest.raises(SpectrumError, match="took longer than"), block.deadline(0.05):
        time.sleep(5)
