"""Damaged files of every format: refused with a reason, or read truly; never a crash, never a wrong one."""

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from astroprism.archive import read
from astroprism.grid import Grid, log_grid
from astroprism.simulate import SimulationConfig, write_archive
from astroprism.spectrum import Spectrum
from astroprism.store.prepare import Prepared, PrepareOptions, prepare
from damage import WAYS, Verdict, judge

OPTICAL = log_grid(5885.0, 5915.0, step=10.0)
FORMATS: dict[str, tuple[SimulationConfig, Grid]] = {
    **{
        name: (SimulationConfig(spectra=3, format=name, window=(5870.0, 5930.0), step=8.0, seed=2), OPTICAL)
        for name in ("adp", "image", "csv")
    },
    "s1d": (
        SimulationConfig(
            spectra=3, format="s1d", window=(5870.0, 5930.0), step=0.01, step_unit="angstrom", seed=2
        ),
        OPTICAL,
    ),
    **{
        name: (SimulationConfig(spectra=3, format=name, seed=2), log_grid(4000, 8500, step=69.0))
        for name in ("lamost", "lamost-old", "sdss")
    },
    "apstar": (
        SimulationConfig(spectra=3, format="apstar", factors=("teff",), seed=2),
        log_grid(15_200, 16_900, step=4.2),
    ),
}


ONE_PIXEL = 2  # grid pixels that one native pixel reaches


def damaged(folder: Path, *, each: int, seed: int) -> list[tuple[str, str, Verdict, float]]:
    """(format, way, verdict, seconds) of `each` files for every format and way."""
    found = []
    for number, (name, (config, grid)) in enumerate(FORMATS.items()):
        write_archive(folder / name, config)
        paths = sorted((folder / name / "spectra").iterdir())
        originals = [rows(path, grid) for path in paths]
        for way_number, (way, spoil) in enumerate(WAYS.items()):
            for k in range(each):
                rng = np.random.default_rng([seed, number, way_number, k])
                path, original = paths[k % len(paths)], originals[k % len(paths)]
                bad = folder / f"bad{path.suffix}"
                content = path.read_bytes()
                spoilt = spoil(content, rng)
                if name == "image" and axis_cards(spoilt) != axis_cards(content):
                    continue  # nothing else in a bare image says where its pixels lie: no reader can know
                bad.write_bytes(spoilt)
                start = time.perf_counter()
                found.append((name, way, judge(bad, original, grid), time.perf_counter() - start))
    return found


def axis_cards(content: bytes) -> list[bytes]:
    return [
        content[at : at + 80] for key in (b"CRVAL1", b"CDELT1", b"CRPIX1") if (at := content.find(key)) >= 0
    ]


def rows(path: Path, grid: Grid) -> list[Prepared]:
    spectra = [found for found in read(path) if isinstance(found, Spectrum)]
    return [prepare(found, grid, options=PrepareOptions(min_good=0.3)) for found in spectra]


def check(found: list[tuple[str, str, Verdict, float]], *, seconds: float) -> None:
    for name, way, verdict, spent in found:
        assert verdict.accepted + len(verdict.reasons) >= 1, f"{name} {way}: neither accepted nor refused"
        assert spent < seconds, f"{name} {way} took {spent:.1f} s"
    wrong = Counter((name, way) for name, way, verdict, _ in found if verdict.beyond_noise > ONE_PIXEL)
    assert not wrong, f"accepted though the data differ beyond the noise: {dict(wrong)}"
    # one changed pixel inside a line core, in a file without checksum, looks like a line: the limit of what
    # can be known, met in about 1 of 500 damaged files; more would be a fault of ours
    single = [(name, way) for name, way, verdict, _ in found if verdict.beyond_noise]
    print(f"{len(single)} of {len(found)} files keep one wrong pixel: {single}")
    assert len(single) <= max(1, len(found) // 250), single


def test_damage_is_noticed(tmp_path):
    check(damaged(tmp_path, each=2, seed=int(os.environ.get("ASTROPRISM_SEED", "7"))), seconds=10)


@pytest.mark.full
def test_damage_is_noticed_in_a_thousand_files(tmp_path):
    found = damaged(tmp_path, each=12, seed=int(os.environ.get("ASTROPRISM_SEED", "20")))
    assert len(found) >= 1000
    outcomes = Counter(
        (way, "accepted" if verdict.accepted else verdict.reasons[0]) for _, way, verdict, _ in found
    )
    print("\n".join(f"{count:5d} {way:16s} {outcome}" for (way, outcome), count in sorted(outcomes.items())))
    check(found, seconds=10)
