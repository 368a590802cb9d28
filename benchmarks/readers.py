"""Our readers against well-kept ones in the same run: FITS against astropy.io.fits and fitsio, store rows
against zarr-python and tensorstore. One core, files in memory.

fitsio and tensorstore are no dependencies. Where they are not installed the row says so. To have them,
make an environment beside this folder, and this script continues there:

    python3.11 -m venv .bench-venv && .bench-venv/bin/pip install fitsio tensorstore
    .venv/bin/python -c "import numpy; print(numpy.__path__[0].removesuffix('/numpy'))" \
        > .bench-venv/lib/python3.11/site-packages/main.pth

Run: python benchmarks/readers.py [--files 40] [--rows 512]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

BATCH = 64
Ways = dict[str, Callable[[], object] | None]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    in_bench_environment()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        fits_files(folder, options.files, rounds=options.rounds)
        store_rows(folder, options.rows, options.pixels, rounds=options.rounds)


def in_bench_environment() -> None:
    """Continue in the environment that has the rivals, where there is one."""
    there = Path(__file__).parents[1] / ".bench-venv" / "bin" / "python"
    if installed("fitsio") or not there.exists() or os.environ.get("ASTROPRISM_BENCH_VENV"):
        return
    import astroprism

    path = [str(Path(astroprism.__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    more = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "ASTROPRISM_BENCH_VENV": "1"}
    os.execve(there, [str(there), *sys.argv], os.environ | more)


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def compare(title: str, ways: Ways, *, each: int, rounds: int) -> None:
    """Milliseconds for each thing read, and the ratio to ours, which comes first; the least of the rounds."""
    print(title)
    times: dict[str, list[float]] = {name: [] for name, way in ways.items() if way is not None}
    for _ in range(rounds + 1):  # turn by turn, so that a busy machine is busy for all; the first warms up
        for name in times:
            way = ways[name]
            assert way is not None
            begun = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - begun)
    ours = min(next(iter(times.values()))[1:])
    for name in ways:
        if name in times:
            least = min(times[name][1:])
            print(f"  {name:44} {least / each * 1e3:8.3f} ms   x {least / ours:5.2f} the time of ours")
        else:
            print(f"  {name:44} not installed")


def fits_files(folder: Path, files: int, *, rounds: int) -> None:
    """ADP files of HARPS: three columns as native arrays and every numeric keyword, a spectrum in the end."""
    from astropy.io import fits

    from astroprism.archive import ReadOptions, read
    from astroprism.simulate import SimulationConfig, write_archive

    write_archive(folder / "archive", SimulationConfig(spectra=files, format="adp", visits="uneven", seed=1))
    paths = sorted((folder / "archive" / "spectra").glob("*.fits"))

    def ours(checksum: str) -> None:
        options = ReadOptions(checksum=checksum)
        for path in paths:
            for _ in read(path, options=options):
                pass

    def numeric(cards: object) -> dict[str, float]:
        found = {}
        for key, value in cards:  # type: ignore[attr-defined]
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[key] = float(value)
        return found

    def by_astropy(checksum: bool, keywords: bool = True) -> None:
        for path in paths:
            with fits.open(path, memmap=False, checksum=checksum) as units:
                table = units[1].data
                for column in ("WAVE", "FLUX", "ERR"):
                    values = table.field(column)[0]
                    np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
                if keywords:
                    numeric(units[0].header.items())

    def by_fitsio(checksum: bool, keywords: bool = True) -> None:
        import fitsio

        for path in paths:
            with fitsio.FITS(path) as units:
                if checksum:
                    for unit in units:
                        unit.verify_checksum()
                table = units[1].read(columns=["WAVE", "FLUX", "ERR"])
                for column in ("WAVE", "FLUX", "ERR"):
                    np.ascontiguousarray(table[column][0])
                if keywords:
                    numeric((card["name"], card["value"]) for card in units[0].read_header().records())

    there = installed("fitsio")
    size = paths[0].stat().st_size / 1e6
    compare(
        f"FITS: {files} ADP files of {size:.1f} MB, columns and keywords",
        {
            "ours, checked and as a spectrum, no checksums": lambda: ours("ignore"),
            "astropy.io.fits": lambda: by_astropy(False),
            "fitsio (CFITSIO)": (lambda: by_fitsio(False)) if there else None,
            "astropy.io.fits, no keywords": lambda: by_astropy(False, keywords=False),
            "fitsio (CFITSIO), no keywords": (lambda: by_fitsio(False, keywords=False)) if there else None,
        },
        each=files,
        rounds=rounds,
    )
    compare(
        "FITS: the same with checksums",
        {
            "ours": lambda: ours("verify"),
            "astropy.io.fits": lambda: by_astropy(True),
            "fitsio (CFITSIO)": (lambda: by_fitsio(True)) if there else None,
        },
        each=files,
        rounds=min(rounds, 3),
    )


def store_rows(folder: Path, rows: int, pixels: int, *, rounds: int) -> None:
    """Random rows of the three arrays of a store, whole and a window of them."""
    import zarr

    from astroprism.grid import log_grid
    from astroprism.store.layout import ARRAYS
    from store_reads import build

    step = 299_792.458 * 0.01 / 5_000
    grid = log_grid(3785, 3785 * (1 + step / 299_792.458) ** (pixels - 0.5), step=step)
    store, _ = build(folder, grid, rows=rows, dtype="float32")
    picks = np.random.default_rng(2).choice(rows, size=min(BATCH, rows), replace=False)
    group = zarr.open_group(store.path, mode="r")
    nodes = [group[array] for array in ARRAYS]
    tensors = open_tensors(store.path) if installed("tensorstore") else {}
    middle = pixels // 2
    for title, window in (("whole rows", slice(0, pixels)), ("1,000 pixels", slice(middle, middle + 1000))):
        out = store.read(picks, window=window)

        def by_zarr(window: slice = window) -> None:
            for node in nodes:
                for row in picks:  # row by row is faster than its oindex
                    np.asarray(node[int(row), window])

        def by_tensorstore(kind: str, window: slice = window) -> None:
            pending = [array[picks, window].read() for array in tensors[kind]]
            for found in pending:
                found.result()

        names = {"one thread": "one", "its own threads": "many"}
        rivals = {
            f"tensorstore, {words}": (lambda kind=kind: by_tensorstore(kind)) if tensors else None
            for words, kind in names.items()
        }
        compare(
            f"store: {picks.size} random rows of {pixels:,} pixels, {title}, flux, sigma and good",
            {
                "ours": lambda w=window: store.read(picks, window=w),
                "ours, arrays reused": lambda w=window, out=out: store.read(picks, window=w, out=out),
                "ours, checksums": lambda w=window: store.read(picks, window=w, verify=True),
                "zarr-python (checks checksums)": by_zarr,
                **rivals,
            },
            each=picks.size,
            rounds=rounds,
        )


def open_tensors(path: Path) -> dict[str, list[object]]:
    """The three arrays by tensorstore, which checks checksums too: with one thread, and as it comes."""
    import tensorstore

    from astroprism.store.layout import ARRAYS

    one = {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
    return {
        kind: [
            tensorstore.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / array}/"}},
                context=tensorstore.Context(context),
                open=True,
            ).result()
            for array in ARRAYS
        ]
        for kind, context in (("one", one), ("many", {}))
    }


if __name__ == "__main__":
    main()
