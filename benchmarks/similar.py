"""Nearest spectra: are a star's other visits its first neighbours, and how long does a query take.

The aims: with nuisance nodes off, first neighbours are the same star in 95 of 100; equal to brute force; a
query of 300,000 rows x 128 nodes below 30 ms (95th percentile, two cores). The rival is scikit-learn by brute
force.

Run: python benchmarks/similar.py [--model STUDY] [--keep FOLDER]

--model takes the model of a study on the demo's archive instead of training one (5 minutes); --keep the
folder to work in.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

WINDOW, STEP, SNR = (5780.0, 5980.8), 5.0, (40.0, 300.0)


def visits_study(folder: Path, model: Path | None, *, spectra: int, stars: int) -> Any:
    """A study of stars with uneven visits: simulated, ingested, encoded, matched with the truth."""
    from astroprism import IngestOptions, SimulationConfig, Study, write_archive
    from astroprism.store import Store

    config = SimulationConfig(
        spectra=spectra,
        stars=stars,
        window=WINDOW,
        step=STEP,
        snr=SNR,
        visits="uneven",
        concentration=(0.5, 0.2),
        seed=77,
    )
    truth = write_archive(folder / "archive", config)
    study = Study(folder)
    grid = "auto" if model is None else Store(model / "store.zarr").grid.text
    study.ingest(folder / "archive", options=IngestOptions(grid=grid))
    if model is None:
        study.train(progress=print)
    elif not study.model_path.exists():
        shutil.copytree(model / "model", study.model_path)
    study.encode()
    study.find(truth)
    return study


def same_star(study: Any, *, bounds: tuple[float, ...] = (40, 60, 100, 200, 300)) -> None:
    """Share of queries whose first neighbour, and of visits that come first, are of the same star.

    What visits differ by is learned from one half of the stars and used on the other.
    """
    import numpy as np
    import pandas as pd

    from astroprism.apply.codes import StudyCodes
    from astroprism.similar.distances import Neighbours
    from astroprism.similar.metric import metric, nuisances
    from astroprism.similar.search import compared_nodes

    codes, findings = StudyCodes.read(study), study.findings()
    nodes, _, _ = compared_nodes(codes, findings)
    left_out = nuisances(findings)
    star, _ = pd.factorize(codes.targets)
    visits = np.bincount(star)[star]
    half = np.random.default_rng(0).random(star.max() + 1)[star] < 0.5
    snr = codes.snr
    ways: list[tuple[str, dict[int, str], str | None]] = [
        ("all nodes, spread", {}, "spread"),
        ("nuisances off, spread", left_out, "spread"),
        ("nuisances off, uncertainty", left_out, "uncertainty"),
        ("nuisances off, visits", left_out, "visits"),
    ]
    print(f"{len(star):,} spectra of {star.max() + 1} stars, SNR 40 to 300; nodes {nodes}, off {left_out}")
    heads = "".join(f"  SNR {a:.0f}-{b:.0f}" for a, b in pairwise(bounds))
    print(f"{'':28}first neighbour  all visits first{heads}")
    for name, off, scale in ways:
        first, share, where = [], [], []
        for part in (True, False):
            learn = half == part
            how = metric(
                codes.mean[learn],
                codes.sd[learn],
                nodes=nodes,
                left_out=off,
                targets=codes.targets[learn],
                scale=scale,
            )
            points = how.points(codes.mean)
            built = Neighbours(points)
            for row in np.flatnonzero(~learn & (visits > 1)):
                rows, _ = built.query(points[row], int(visits[row]) - 1, exclude=[row])
                first.append(star[rows[0]] == star[row])
                share.append((star[rows] == star[row]).mean())
                where.append(snr[row])
        hit, at = np.array(first), np.array(where)
        by = "".join(
            f"  {hit[(at >= a) & (at < b)].mean():{len(f'SNR {a:.0f}-{b:.0f}')}.3f}"
            for a, b in pairwise(bounds)
        )
        print(f"{name:28}{hit.mean():15.3f}{np.mean(share):18.3f}{by}", flush=True)


def speed(rows: int, nodes: int, queries: int) -> None:
    """Milliseconds per query, in turn with scikit-learn's brute force, and whether both find the same."""
    import numpy as np
    from sklearn.neighbors import NearestNeighbors

    from astroprism.similar.distances import Neighbours

    rng = np.random.default_rng(0)
    points = rng.normal(size=(rows, nodes)).astype(np.float32)
    begun = time.perf_counter()
    ours = Neighbours(points)
    built = time.perf_counter() - begun
    theirs = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(points)
    took: list[float] = []
    rival: list[float] = []
    equal = 0
    exact = 0
    for number, row in enumerate(rng.integers(0, rows, queries)):
        begun = time.perf_counter()
        found, _ = ours.query(points[row], 10, exclude=[row])
        took.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        _, other = theirs.kneighbors(points[row][None])
        rival.append(time.perf_counter() - begun)
        equal += found.tolist() == [one for one in other[0].tolist() if one != row][:10]
        if number < 20:  # float64 throughout, no product: slow
            distance = np.sqrt(((points - points[row].astype(np.float64)) ** 2).sum(1))
            distance[row] = np.inf
            exact += found.tolist() == np.argsort(distance)[:10].tolist()
    print(
        f"{rows:,} x {nodes}: built in {built:.2f} s; a query {1e3 * np.median(took):.1f} ms, 95th perc. "
        f"{1e3 * np.quantile(took, 0.95):.1f}; scikit-learn {1e3 * np.median(rival):.1f}, "
        f"{1e3 * np.quantile(rival, 0.95):.1f}; ratio {np.median(took) / np.median(rival):.2f}; equal to it "
        f"in {equal} of {queries}, to float64 brute force in {exact} of {min(20, queries)}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--spectra", type=int, default=2400)
    parser.add_argument("--stars", type=int, default=400)
    parser.add_argument("--only-speed", action="store_true")
    options, _ = parser.parse_known_args()
    speed(300_000, 128, 100)
    if not options.only_speed:
        with tempfile.TemporaryDirectory() as scratch:
            place = options.keep or Path(scratch)
            same_star(visits_study(place, options.model, spectra=options.spectra, stars=options.stars))
