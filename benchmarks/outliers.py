"""Are planted oddities found, and sound spectra called odd no more often than stated?

A study on a simulated archive in which 1 % each are double-lined binaries, have emission lines, have cosmic
rays, or carry the labels of another star; then the table of outliers. The area under the ROC curve of the
one rank of all reasons together, each kind against all sound spectra, and the false alarms among those.

Run: python benchmarks/outliers.py [--spectra 6000] [--study FOLDER TRUTH..] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from apply import study_of

KINDS = ("sb2", "emission", "cosmic", "wronglabel")
ODDITIES = dict.fromkeys(KINDS, 0.01)


def area(odd: np.ndarray, sound: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and its standard error (Hanley & McNeil 1982, Radiology 143, 29)."""
    order = np.concatenate([odd, sound])
    from scipy.stats import rankdata

    n, m = len(odd), len(sound)
    a = (rankdata(order)[:n].sum() - n * (n + 1) / 2) / (n * m)
    first, second = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (first - a * a) + (m - 1) * (second - a * a)) / (n * m)
    return float(a), float(np.sqrt(max(variance, 0)))


def measure(study: Any, truths: list[Path]) -> dict[str, Any]:
    """Areas of each kind and false alarms of each part, printed."""
    import pandas as pd

    begun = time.process_time()
    table = study.outliers(progress=print)
    seconds = time.process_time() - begun
    truth = pd.concat([pd.read_csv(path) for path in truths]).drop_duplicates("spectrum_id")
    both = table.merge(truth[["spectrum_id", "oddity"]], on="spectrum_id")
    kind = both["oddity"].fillna("").to_numpy()
    surprise, p = both["surprise"].to_numpy(), both["p"].to_numpy()
    sound = kind == ""
    result: dict[str, Any] = {"spectra": len(both), "processor_s": round(seconds, 1), "kinds": {}}
    for name in KINDS:
        mine = kind == name
        if not mine.any():
            continue
        a, error = area(surprise[mine], surprise[sound])
        found = [float((p[mine] <= rate).mean()) for rate in (0.01, 0.05)]
        result["kinds"][name] = {"n": int(mine.sum()), "area": a, "error": error, "found": found}
        print(
            f"{name:<11} n {mine.sum():>4}  area {a:.4f} +- {error:.4f}  found at p .01 {found[0]:.3f}, at "
            f".05 {found[1]:.3f}"
        )
    for part, chosen in (("held out", both["part"] != "train"), ("trained on", both["part"] == "train")):
        which = sound & chosen.to_numpy()
        rates = {rate: float((p[which] <= rate).mean()) for rate in (0.01, 0.05, 0.1)}
        result[f"false alarms, {part}"] = {str(rate): value for rate, value in rates.items()}
        print(f"sound spectra {part}: {which.sum():,}, called odd at " + ", ".join(
            f"{rate:g}: {value:.4f}" for rate, value in rates.items()
        ))  # fmt: skip
    return result


def main() -> None:
    """Measure, print, and keep."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, nargs="+", metavar="FOLDER TRUTH")
    parser.add_argument("--spectra", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    from astroprism import Study

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.study:
            study, truths = Study(args.study[0]), args.study[1:]
        else:
            study = study_of(
                folder, spectra=args.spectra, seed=args.seed, steps=args.steps, oddities=ODDITIES
            )
            truths = [folder / "archive" / "truth.csv"]
        result = measure(study, truths)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
