"""Small simulated archives that several tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# one thread a process: tests run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty ADP files of 428 pixels, several visits of some stars."""
    from astroprism.simulate import SimulationConfig, write_archive

    out = tmp_path_factory.mktemp("archive")
    write_archive(
        out, SimulationConfig(spectra=40, window=(5880.0, 5922.0), step=5.0, visits="uneven", seed=11)
    )
    return out


@pytest.fixture(scope="session")
def small_study(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with the forty spectra of `archive` in its store; copy it before changing it."""
    from astroprism import Study

    study = Study(tmp_path_factory.mktemp("small") / "study")
    study.ingest(archive)
    return study.path


@pytest.fixture(scope="session")
def trained_study(small_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a model of a second's training; copy it before changing it."""
    from astroprism import Study
    from quick import quick_options

    folder = tmp_path_factory.mktemp("trained")
    study = Study(shutil.copytree(small_study, folder / "study"))
    study.train(options=quick_options(folder))
    return study.path


@pytest.fixture(scope="session")
def ninety_stars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with one spectrum each of ninety stars in its store; copy it before changing it."""
    from astroprism import IngestOptions, Study
    from astroprism.simulate import SimulationConfig, write_archive

    folder = tmp_path_factory.mktemp("ninety")
    config = SimulationConfig(spectra=90, window=(5885.0, 5905.0), step=5.0, visits="one", seed=5)
    write_archive(folder / "archive", config)
    study = Study(folder / "study")
    study.ingest(folder / "archive", options=IngestOptions(workers=0))
    return study.path


@pytest.fixture(scope="session")
def shared_spectra() -> Path:
    """Real files, where they are at hand."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("ASTROPRISM_SHARED", beside)) / "spectra"
    if not folder.is_dir():
        pytest.skip("no real spectra at hand")
    return folder
