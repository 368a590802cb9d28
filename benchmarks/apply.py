"""Do 90 % intervals hold for stars that are not in the study, and are spectra outside of it warned of?

A study on a simulated archive, labels given to it; then other stars of the same kind, and four sets that are
shifted: faint, of lower resolution (with and without a header that says so), of part of the window, of a
shifted window. Coverage and the share warned of, each with its standard error.

Run: python benchmarks/apply.py [--study FOLDER] [--spectra 4000] [--fresh 800] [--out FILE.json]
With --study, a study made by this script or by `astroprism demo` is taken instead of a new one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

FACTORS = ("rv", "teff", "feh", "telluric", "vsini")
WINDOW, STEP, SNR = (5780.0, 5980.8), 5.0, (40.0, 300.0)
SHIFTED: dict[str, dict[str, Any]] = {
    "SNR 10": {"snr": (8.0, 12.0)},
    "resolution 20,000": {"resolution": 20_000.0},
    "resolution 12,000": {"resolution": 12_000.0},
    "part of the window": {"window": (5780.0, 5890.0)},
    "a shifted window": {"window": (5820.0, 6020.0)},
}


def archive(folder: Path, *, spectra: int, seed: int, **other: Any) -> Path:
    """Files and truth.csv; every archive here shares one physics."""
    from astroprism.simulate import SimulationConfig, write_archive

    settings = {"window": WINDOW, "step": STEP, "snr": SNR} | other
    config = SimulationConfig(spectra=spectra, factors=FACTORS, seed=seed, **settings)
    return write_archive(folder, config)


def study_of(folder: Path, *, spectra: int, seed: int, steps: int, **other: Any) -> Any:
    """A trained and encoded study with its truth as labels, made if it is not there."""
    import pandas as pd

    from astroprism import IngestOptions, Study

    study = Study(folder / "study")
    truth = folder / "archive" / "truth.csv"
    if not truth.exists():
        archive(folder / "archive", spectra=spectra, seed=seed, **other)
    study.ingest(folder / "archive", options=IngestOptions(workers=1))
    study.train(steps=steps)
    study.encode()
    table = pd.read_csv(truth)
    named = {f"label_{name}" if f"label_{name}" in table else name: name for name in FACTORS}
    labels = table[["spectrum_id", *named]].rename(columns=named)
    labels.to_csv(folder / "labels.csv", index=False)
    study.find(folder / "labels.csv")
    return study


def applied(study: Any, folder: Path, *, without_header: bool = False) -> tuple[Any, Any]:
    """(the study's model applied to an archive's spectra, what is true of them)."""
    import pandas as pd

    from astroprism.apply import apply
    from astroprism.archive import read

    frames, blocks = [], sorted((folder / "spectra").iterdir())
    refused = 0
    for start in range(0, len(blocks), 200):
        spectra = [one for path in blocks[start : start + 200] for one in read(path)]
        if without_header:
            spectra = [replace(one, resolution=np.nan) for one in spectra]
        found = apply(study, spectra)
        refused += len(found.refused)
        frames.append(found.frame)
    frame = pd.concat(frames)
    truth = pd.read_csv(folder / "truth.csv").set_index("spectrum_id").loc[frame["spectrum_id"]]
    return frame.assign(refused=refused), truth


def scores(frame: Any, truth: Any) -> dict[str, Any]:
    """Coverage and median width of each label's interval, and the share warned of."""
    n = len(frame)
    result: dict[str, Any] = {"n": n, "refused": int(frame["refused"].iloc[0])}
    result["warned"] = float((frame["warning"] != "").mean())
    result["odd at .05"] = float((frame["outlier_p"] <= 0.05).mean())
    for name in FACTORS:
        y = truth[name].to_numpy()
        inside = (frame[f"{name}_low"] <= y) & (y <= frame[f"{name}_high"])
        width = float((frame[f"{name}_high"] - frame[f"{name}_low"]).median())
        result[name] = [round(float(inside.mean()), 4), width]
    return result


def run(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, printed as it comes."""
    from astroprism import Study

    begun = time.process_time()
    if args.study:
        study = Study(args.study)
    else:
        study = study_of(folder, spectra=args.spectra, seed=args.seed, steps=args.steps)
        print(f"study made in {time.process_time() - begun:.0f} s of the processor")
    results: dict[str, Any] = {}
    sets = {"the same kind": {}} | SHIFTED
    for number, (name, other) in enumerate(sets.items()):
        count = args.fresh if not other else args.shifted
        place = folder / f"fresh-{number}"
        archive(place, spectra=count, seed=args.seed + 101 + number, **other)
        begun = time.process_time()
        results[name] = scores(*applied(study, place))
        seconds = time.process_time() - begun
        results[name]["ms of the processor per spectrum"] = round(1e3 * seconds / count, 2)
        _print(name, results[name])
        if "resolution" in other:
            name += ", header silent"
            results[name] = scores(*applied(study, place, without_header=True))
            _print(name, results[name])
    return results


def _print(name: str, found: dict[str, Any]) -> None:
    error = np.sqrt(0.09 / max(found["n"], 1))
    covered = "  ".join(f"{label} {found[label][0]:.3f} ({found[label][1]:.3g})" for label in FACTORS)
    print(
        f"{name:<36} n {found['n']:>5} refused {found['refused']:>3} warned {found['warned']:.3f}  covered "
        f"(width): {covered}  +-{error:.3f}",
        flush=True,
    )


def main() -> None:
    """Measure, print, and keep."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path)
    parser.add_argument("--spectra", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--fresh", type=int, default=800)
    parser.add_argument("--shifted", type=int, default=200)
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder), args)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
