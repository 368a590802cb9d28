"""Ingest of HARPS-length ADP files against the seed paper's preparation, one core, files in memory.

The rival is the release's own way as it is described (astropy open, float32, trim, pad, median of
flux x mask, divide), plus writing the row to a .npy file. Ours reads the
same files and does more: checksums, sigma, mask, spikes, duplicates, index, keywords, refusals; all of
it is in the time, commits and tables included.

Run: python benchmarks/ingest.py [--files 200]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
GRIDS = {"paper grid": "paper", "log grid (resampled)": "3785:6910:0.5kms"}


def rival(files: list[Path], out: Path) -> float:
    """Seconds per file of the seed paper's preparation."""
    import numpy as np
    from astropy.io import fits

    start = time.perf_counter()
    for number, path in enumerate(files):
        with fits.open(path) as units:
            wave = units[1].data.field("WAVE").astype(np.float32).T
            flux = units[1].data.field("FLUX").astype(np.float32).T
        inside = np.logical_and(wave >= 3785 - 1e-5, wave <= 6910 + 1e-5)
        padded = np.pad(flux[inside], (7589, 7590))
        mask = np.ones_like(padded)
        mask[:7589] = mask[320_090:] = mask[159_453:162_894] = 0
        padded /= np.median(padded * mask)
        np.save(out / f"{number}.npy", padded)
    return (time.perf_counter() - start) / len(files)


def ours(folder: Path, store: Path, grid: str) -> float:
    """Seconds per file of a whole ingest in this process."""
    from astroprism.ingest import IngestOptions, ingest

    start = time.perf_counter()
    report = ingest(store, [folder], options=IngestOptions(grid=grid, workers=0))
    assert report.refused == 0, report.reasons
    return (time.perf_counter() - start) / report.files_given


def main(files: int = 200, rounds: int = 3) -> None:
    from astroprism.simulate import SimulationConfig, write_archive

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        base = Path(scratch)
        config = SimulationConfig(spectra=files, format="adp", visits="uneven", seed=1)
        write_archive(base / "archive", config)
        paths = sorted((base / "archive" / "spectra").glob("*.fits"))
        times: dict[str, list[float]] = {"the paper's": []} | {name: [] for name in GRIDS}
        for _ in range(rounds):  # turn by turn, so that a busy machine is busy for all
            (base / "npy").mkdir()
            times["the paper's"].append(rival(paths, base / "npy"))
            shutil.rmtree(base / "npy")
            for name, grid in GRIDS.items():
                times[name].append(ours(base / "archive" / "spectra", base / "store", grid))
                shutil.rmtree(base / "store")
        reference = statistics.median(times["the paper's"])
        size = paths[0].stat().st_size / 1e6
        print(f"{files} ADP files of {size:.1f} MB, median of {rounds} rounds, one core")
        for name, values in times.items():
            value = statistics.median(values)
            times_faster = reference / value
            print(f"  {name:<22} {value * 1e3:7.2f} ms per file   {times_faster:5.2f} x the paper's speed")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"  peak memory of this process {peak:.2f} GB")


def import_time() -> None:
    """Seconds `import astroprism` takes, less an empty interpreter's; the median of nine."""

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    pairs = [(run("import astroprism"), run("pass")) for _ in range(9)]
    full, empty = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"import astroprism: {full - empty:.3f} s more than an empty interpreter; bound 0.2 s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    arguments = parser.parse_args()
    import_time()
    main(arguments.files)
