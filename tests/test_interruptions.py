"""Kills of ingests as users know them: the whole command, at random moments, on more files than one block."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from astroprism.errors import StoreError
from astroprism.ingest import IngestOptions, ingest
from astroprism.simulate import SimulationConfig, write_archive
from astroprism.store import Store

SEED = int(os.environ.get("ASTROPRISM_SEED", "31"))


def contents(store: Path) -> dict[str, bytes]:
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def command(study: Path, archive: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "astroprism.cli", "ingest", str(study), str(archive), *options]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """The command and its workers, at once and without a word."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def many_files(tmp_path_factory):
    """400 files of 20,000 pixels, some of them bad."""
    out = tmp_path_factory.mktemp("many")
    config = SimulationConfig(
        spectra=400,
        format="adp",
        window=(5000.0, 5200.0),
        step=0.01,
        step_unit="angstrom",
        visits="uneven",
        seed=3,
    )
    write_archive(out, config)
    files = sorted((out / "spectra").iterdir())
    for path in files[5:400:40]:
        path.write_bytes(path.read_bytes()[:50_000])
    shutil.copy(files[0], out / "spectra" / "ZZ.fits")
    ingest(out / "store", [out / "spectra"], options=IngestOptions(workers=0))
    return out


@pytest.mark.full
def test_twenty_kills_leave_the_store_as_if_uninterrupted(many_files, tmp_path):
    rng = np.random.default_rng(SEED)
    study, kills = tmp_path / "study", 0
    started = time.monotonic()
    while kills < 20:
        process = subprocess.Popen(
            command(study, many_files / "spectra"), start_new_session=True, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(float(rng.uniform(0.3, 6.0)))
        if process.poll() is None:
            kill_group(process)
            kills += 1
        elif kills < 20:  # it came to its end before twenty: from the start, kills at every stage
            assert contents(study / "store.zarr") == contents(many_files / "store")
            shutil.rmtree(study)
        assert time.monotonic() - started < 1500
    subprocess.run(command(study, many_files / "spectra"), check=True, capture_output=True)
    assert contents(study / "store.zarr") == contents(many_files / "store")


@pytest.mark.full
def test_a_dask_worker_killed_in_mid_work_costs_nothing(many_files, tmp_path):
    process = subprocess.Popen(
        command(tmp_path / "study", many_files / "spectra", "--cluster", "local:2"),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    blocks = tmp_path / "study" / "store.zarr" / ".ingest" / "blocks"
    killed = False
    for _ in range(600):
        journals = list(blocks.glob("*/journal"))
        if journals and any(journal.stat().st_size > 20_000 for journal in journals):
            workers = subprocess.run(
                ["pgrep", "-s", str(process.pid), "-f", "spawn_main"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.split()
            if workers:
                os.kill(int(workers[-1]), signal.SIGKILL)
                killed = True
                break
        time.sleep(0.05)
    assert killed
    assert process.wait(timeout=300) == 0
    assert contents(tmp_path / "study" / "store.zarr") == contents(many_files / "store")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_clear_error_and_the_store_still_opens(archive, small_disk, monkeypatch):
    import astroprism.ingest as module

    monkeypatch.setattr(module, "rows_per_shard", lambda n_pixels: 8)
    options = IngestOptions(grid="5880:5920:0.15kms", workers=0, min_good=0.4)
    said: list[str] = []

    def listener(event):
        said.append(event.message)

    with pytest.raises(StoreError, match=r"No space left.*free some space and run the same command"):
        ingest(small_disk / "store", [archive], options=options, progress=listener)
    assert any("more than the disk has free" in text for text in said)
    store = Store(small_disk / "store")
    assert not store.finished
    assert len(store) % 8 == 0
    assert len(store) > 0
    assert np.isfinite(store.read(np.arange(len(store))).flux).all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_one_clear_error(archive, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="get the right"):
        ingest(tmp_path / "store", [archive], options=IngestOptions(workers=0))


def test_a_file_in_the_place_of_the_store_is_one_clear_error(archive, tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="store"):
        ingest(tmp_path / "store", [archive], options=IngestOptions(workers=0))
