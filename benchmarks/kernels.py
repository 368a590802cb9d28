"""Every C kernel against its twin in numpy, one core: the time of numpy over that of C, a row per kernel.

Arrays as a HARPS product gives them, 312,500 pixels. `--table` prints the rows of docs/design/kernels.md.

Run: python benchmarks/kernels.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

PIXELS = 312_500
Call = Callable[[ModuleType], object]


def cases(folder: str) -> dict[str, tuple[str, Call]]:
    """What each kernel does, and a call of it on arrays of a realistic size."""
    from astroprism.grid import log_grid
    from astroprism.store.rebin import place

    rng = np.random.default_rng(0)
    wave = 3785 + 0.01 * np.arange(PIXELS)
    flux = (1000 + 30 * rng.normal(size=PIXELS)).astype(np.float32)
    flux[150_000:153_500] = 0  # the gap between the chips
    sigma = np.full(PIXELS, 30, np.float32)
    mask = flux != 0
    mask[rng.integers(0, PIXELS, 30)] = False
    scratch, near = np.empty(PIXELS, np.float32), np.empty(PIXELS + 1, np.float32)
    grid = log_grid(3785, 6910, step=0.5)
    placement = place(wave, grid, medium="air")
    overlap = placement.overlap
    assert overlap is not None
    taken = slice(*placement.take)
    native = placement.on_row(flux[taken]), placement.on_row(sigma[taken]), placement.on_row(mask[taken])
    rows = np.empty(grid.size, np.float32), np.empty(grid.size, np.float32), np.empty(grid.size, bool)
    file = open(os.path.join(folder, "raw"), "w+b")  # noqa: SIM115 (open until the end of the run)
    file.write(rng.normal(size=PIXELS).astype(">f8").tobytes())
    file.flush()
    doubles = np.empty(PIXELS, np.float64)
    card = "HIERARCH ESO DRS CAL LOC ORDER{:3d} = {:>20.8f} / some comment"
    header = "".join(card.format(i, i / 7)[:80].ljust(80) for i in range(900)).encode()
    holed = native[2].copy()
    limits = (True, 1e-7, 1e7, 0.03, 3e10)
    return {
        "read_swapped": (
            "reads a column of big-endian doubles with its checksum",
            lambda k: k.read_swapped(file.fileno(), 0, doubles.view(np.uint8).data, 8),
        ),
        "cards": ("takes a header of 900 cards apart", lambda k: k.cards(header)),
        "spacing": ("least and largest step of wavelengths", lambda k: k.spacing(wave, False)),
        "survey": (
            "masks what is no measurement, and counts",
            lambda k: k.survey(flux, sigma, mask.copy(), *limits),
        ),
        "rim": ("masks beside runs of zeros", lambda k: k.rim(flux, mask.copy())),
        "spikes": ("masks single-pixel spikes", lambda k: k.spikes(flux, sigma, mask.copy(), 30.0, 6.0, 0.2)),
        "between": (
            "the values near the median, for an exact median",
            lambda k: k.between(flux, mask, 995.0, 1005.0, near),
        ),
        "bridge": ("straight lines over bad pixels", lambda k: k.bridge(native[0].copy(), holed)),
        "rebin": (
            f"312,500 pixels to {grid.size:,} of a log grid, with errors",
            lambda k: k.rebin(overlap.first, overlap.start, overlap.weight, *native, 0.5, *rows),
        ),
        "scaled": ("divides by the median, 0 where bad", lambda k: k.scaled(scratch, flux, mask, 990.0)),
    }


def clock(call: Call, module: ModuleType) -> float:
    """Seconds a call takes."""
    begun = time.perf_counter()
    call(module)
    return time.perf_counter() - begun


def memory_case() -> tuple[float, float]:
    """Seconds that making and freeing ten arrays of a spectrum takes, with `keep_memory` and without."""
    code = """
import sys, time, numpy as np
from astroprism import _kernels
if sys.argv[1] == "keep":
    _kernels.keep_memory()
def arrays():
    held = [np.ones(312_500) for _ in range(10)]
best = 1.0
for _ in range(40):
    begun = time.perf_counter()
    arrays()
    best = min(best, time.perf_counter() - begun)
print(best)
"""
    words = [sys.executable, "-c", code]
    runs = [subprocess.run([*words, way], check=True, capture_output=True) for way in ("keep", "give back")]
    kept, given_back = (float(run.stdout) for run in runs)
    return kept, given_back


def main(rounds: int, *, table: bool) -> None:
    from astroprism import numpy_kernels

    try:
        from astroprism import _kernels
    except ImportError:
        print("the C extension is not built: nothing to compare")
        return
    _kernels.keep_memory()  # as an ingest sets it, for both
    with tempfile.TemporaryDirectory() as folder:
        total = np.zeros(2)
        rows = []
        for name, (what, call) in cases(folder).items():
            times = np.array(
                [[clock(call, module) for module in (_kernels, numpy_kernels)] for _ in range(rounds)]
            )
            compiled, plain = times.min(axis=0)  # others may use the machine
            total += compiled, plain
            rows.append((name, what, compiled, plain))
    rows.append(("keep_memory", "ten arrays of a spectrum made and freed", *memory_case()))
    rows.append(("all passes", "a spectrum through all but keep_memory", *total))
    for name, what, compiled, plain in rows:
        c, n, ratio = f"{compiled * 1e3:.3f}", f"{plain * 1e3:.3f}", f"{plain / compiled:.1f}"
        if table:
            print(f"| `{name}` | {what} | {c} | {n} | {ratio} |")
        else:
            print(f"{name:13} C {c:>8} ms   numpy {n:>8} ms   x {ratio:>5}   {what}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    main(arguments.rounds, table=arguments.table)
