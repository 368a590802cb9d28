"""Small simulated archives that several tests share."""

from __future__ import annotations

import os
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
def shared_spectra() -> Path:
    """Real files, where they are at hand."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("ASTROPRISM_SHARED", beside)) / "spectra"
    if not folder.is_dir():
        pytest.skip("no real spectra at hand")
    return folder
