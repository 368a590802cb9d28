"""Noiseless spectra per second on one core, every factor varying: 2,048 pixels, and the full HARPS range.

The aim is 1,000 per second at 2,048 pixels of 5 km/s around Na D, before noise and file writing, and less
than 1 GiB at 327,680 pixels. Wall time decides on a quiet machine; on a busy one, the processor time
beside it.

Run: python benchmarks/simulate.py [--seconds 4]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def parameters(count: int) -> dict[str, Any]:
    """Seeded stars with every factor and nuisance varying."""
    import numpy as np

    random = np.random.default_rng(7)
    return {
        "rv": random.uniform(-150, 150, count),
        "teff": random.uniform(4000, 7500, count),
        "feh": random.uniform(-1, 0.4, count),
        "logg": random.uniform(2, 5, count),
        "alpha": random.uniform(0, 0.4, count),
        "activity": random.uniform(0, 1, count),
        "vsini": random.uniform(1, 40, count),
        "water": random.uniform(1, 10, count),
        "airmass": random.uniform(1, 2, count),
        "tilt": random.normal(0, 0.05, count),
        "berv": random.uniform(-30, 30, count),
        "blaze": random.uniform(0, 0.02, count),
    }


def measure(name: str, wavelength: Any, *, resolution: float, batch: int, seconds: float) -> float:
    """Print and return spectra per second of processor time."""
    from astroprism.simulate.star import Synthesiser

    start = time.perf_counter()
    synthesiser = Synthesiser(wavelength, resolution=resolution)
    built = time.perf_counter() - start
    values = parameters(batch)
    synthesiser.noiseless(values)  # warms caches and transforms' plans
    wall, processor, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        synthesiser.noiseless(values)
        count += batch
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(
        f"{name:34s} {len(wavelength):7d} px  {count / wall:8.1f} /s wall  {count / processor:8.1f} /s of"
        f" processor  {len(synthesiser.lines):6d} lines  built in {built:.1f} s  peak {peak:.2f} GiB",
        flush=True,
    )
    return count / processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="per case")
    options, _ = parser.parse_known_args()
    import numpy as np

    from astroprism.grid import PAPER, SPEED_OF_LIGHT, air_to_vacuum

    around_sodium = 5793.0 * np.exp(np.arange(2048) * np.log1p(5.0 / SPEED_OF_LIGHT))
    cases = [("Na D, 5 km/s, R = 115,000", around_sodium, 115_000, 256)]
    cases += [("Na D, 5 km/s, R = 20,000", around_sodium, 20_000, 256)]
    cases += [("HARPS range, 0.01 A, R = 115,000", air_to_vacuum(PAPER.wavelength), 115_000, 16)]
    rates = [
        measure(name, wavelength, resolution=resolution, batch=batch, seconds=options.seconds)
        for name, wavelength, resolution, batch in cases
    ]
    print(f"2,048 pixels at R = 115,000: {rates[0] / 1000:.1f} times the aim of 1,000 per second")


if __name__ == "__main__":
    main()
