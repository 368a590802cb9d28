"""Reading the store against raw memory maps and zarr-python; compression and float16 on noisy spectra.

python benchmarks/store_reads.py [--rows 2000] [--pixels 327680] [--dtype float32] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from astroprism.grid import Grid, log_grid
from astroprism.store import Store
from astroprism.store.layout import ARRAYS
from astroprism.store.store import Batch
from astroprism.store.write import BlockWriter, Layout, create_store, publish, resize, rows_per_shard, seal

WINDOW = 1_000


def spectrum(rng: np.random.Generator, n_pixels: int, *, snr: float) -> tuple[NDArray[np.float32], ...]:
    """Flux, sigma and good of a made-up star at 0.01 angstrom: lines on a flat continuum, photon noise."""
    truth = lines(rng, n_pixels)[0]
    sigma = np.sqrt(truth) / snr
    flux = truth + sigma * rng.normal(size=n_pixels)
    good = np.ones(n_pixels, dtype=bool)
    good[: n_pixels // 40] = False
    return flux.astype(np.float32), sigma.astype(np.float32), good


def lines(
    rng: np.random.Generator, n_pixels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A line every 60 pixels, 6 to 10 pixels wide: flux, its derivative by pixel, centres of the lines.

    The continuum lies at 1.1, as where the median is 1; float16 is coarsest just above a power of two.
    """
    pixel = np.arange(n_pixels, dtype=np.float64)
    centres = np.arange(30.0, n_pixels, 60.0) + rng.uniform(-10, 10, size=len(range(30, n_pixels, 60)))
    depth, width = rng.uniform(0.1, 0.8, centres.size), rng.uniform(6, 10, centres.size) / 2.355
    flux, slope = np.full(n_pixels, 1.1), np.zeros(n_pixels)
    for centre, d, w in zip(centres, depth, width, strict=True):
        near = slice(max(0, int(centre) - 25), int(centre) + 26)
        x = (pixel[near] - centre) / w
        profile = d * np.exp(-0.5 * x**2)
        flux[near] -= profile
        slope[near] += profile * x / w
    return flux, slope, centres


def rounding_loss(snr: float, *, seed: int = 0, draws: int = 40, n_pixels: int = 12_000) -> dict[str, float]:
    """What rounding noisy flux to float16 does to line depths and to the radial velocity.

    Each is estimated by its matched filter, from flux as float64 and as float16. 'scatter' is the rms
    of the difference, 'bias' the rms over lines of its mean over noise draws, both in units of the
    photon noise of the estimate.
    """
    rng = np.random.default_rng(seed)
    truth, slope, centres = lines(rng, n_pixels)
    sigma = np.sqrt(truth) / snr
    flux = truth + sigma * rng.normal(size=(draws, n_pixels))
    rounding = flux.astype(np.float16).astype(np.float64) - flux
    starts = np.concatenate([[0], ((centres[1:] + centres[:-1]) / 2).astype(int)])

    def loss(template: NDArray[np.float64]) -> tuple[float, float]:
        weight = template / sigma**2
        noise = 1 / np.sqrt(
            np.add.reduceat(template * weight, starts)
        )  # 1-sigma error of each line's estimate
        shift = (
            np.add.reduceat(rounding * weight, starts, axis=1) * noise
        )  # its change by rounding, in sigmas
        scatter = np.sqrt(np.mean(shift**2))
        bias2 = np.mean(np.mean(shift, axis=0) ** 2) - np.mean(np.var(shift, axis=0, ddof=1)) / draws
        return float(scatter), float(np.sqrt(max(bias2, 0.0)))

    (depth, depth_bias), (velocity, velocity_bias) = loss(1.1 - truth), loss(slope)
    return {"depth": depth, "depth_bias": depth_bias, "rv": velocity, "rv_bias": velocity_bias}


def build(folder: Path, grid: Grid, *, rows: int, dtype: str) -> tuple[Store, dict[str, Path]]:
    """A store of `rows` spectra, and raw files that hold the same arrays."""
    layout = Layout(grid, rows_per_shard(grid.size), dtype)
    path = folder / "store.zarr"
    create_store(path, layout, config={})
    raw = {array: folder / f"{array}.raw" for array in ARRAYS}
    files = {array: open(place, "wb") for array, place in raw.items()}  # noqa: SIM115  # closed below
    rng = np.random.default_rng(1)
    models = [spectrum(rng, grid.size, snr=100) for _ in range(min(rows, 16))]
    n_shards = -(-rows // layout.rows_per_shard)
    begun = time.perf_counter()
    for shard in range(n_shards):
        block = path / ".ingest" / f"{shard:06d}"
        with BlockWriter(block, layout) as writer:
            for row in range(shard * layout.rows_per_shard, min(rows, (shard + 1) * layout.rows_per_shard)):
                for array, values in zip(ARRAYS, models[row % len(models)], strict=True):
                    files[array].write(values.astype(layout.numpy_dtype(array)).tobytes())
                writer.append(*models[row % len(models)])
        seal(block, layout)
        publish(block, path, shard)
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
        file.close()
    shutil.rmtree(path / ".ingest")
    table = pd.DataFrame({"row": np.arange(rows), "spectrum_id": [f"s{row}" for row in range(rows)]})
    table.to_parquet(path / "index.parquet")
    resize(path, n_shards, finished=True)
    size = rows * layout.row_bytes
    print(f"wrote {size / 1e9:.2f} GB twice in {time.perf_counter() - begun:.1f} s")
    return Store(path), raw


def chill(folder: Path) -> None:
    """Drop every file below `folder` from the page cache (on tmpfs this does nothing)."""
    for place in folder.rglob("*"):
        if place.is_file():
            fd = os.open(place, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def mapped(raw: dict[str, Path], store: Store) -> dict[str, np.memmap]:
    shape = (len(store), store.layout.n_pixels)
    return {a: np.memmap(p, store.layout.numpy_dtype(a), "r", shape=shape) for a, p in raw.items()}


def from_map(maps: dict[str, np.memmap], rows: NDArray[np.intp], window: slice = slice(None)) -> Batch:
    flux, sigma, good = (maps[array][rows, window] for array in ARRAYS)
    return Batch(flux.astype(np.float32, copy=False), sigma.astype(np.float32, copy=False), good)


def from_zarr(path: Path, rows: NDArray[np.intp], window: slice = slice(None)) -> None:
    import zarr

    group = zarr.open_group(path, mode="r")
    for array in ARRAYS:
        node = group[array]
        assert isinstance(node, zarr.Array)
        for row in rows:  # row by row is faster than its oindex
            np.asarray(node[int(row), window])


def clock(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def random_rows(store: Store, raw: dict[str, Path], folder: Path, *, batch: int, rounds: int) -> None:
    """Batches of random rows: milliseconds per row, and ratio to the memory map."""
    rng = np.random.default_rng(2)
    picks = [rng.choice(len(store), size=min(batch, len(store)), replace=False) for _ in range(rounds)]
    ways: dict[str, Callable[[NDArray[np.intp]], object]] = {}
    for state in ("warm", "cold"):
        times: dict[str, list[float]] = {}
        maps = mapped(raw, store)
        reused = store.read(picks[0])
        if state == "warm":
            for rows in picks:
                from_map(maps, rows)
                store.read(rows)
        for rows in picks:
            ways = {
                "memory map": lambda rows=rows, maps=maps: from_map(maps, rows),
                "store": lambda rows=rows: store.read(rows),
                "store, arrays reused": lambda rows=rows, out=reused: store.read(rows, out=out),
                "store, 2 threads": lambda rows=rows: store.read(rows, threads=2),
                "store, checksums": lambda rows=rows: store.read(rows, verify=True),
            }
            for name, way in ways.items():
                if state == "cold":
                    del maps  # mapped pages are not dropped
                    chill(folder)
                    maps = mapped(raw, store)
                    if name == "memory map":
                        way = lambda rows=rows, maps=maps: from_map(maps, rows)  # noqa: E731
                times.setdefault(name, []).append(clock(way) / rows.size)
        if state == "warm":
            some = picks[0][:8]
            times["zarr-python"] = [
                clock(lambda rows=some: from_zarr(store.path, rows)) / 8 for _ in range(3)
            ]
        for name, values in times.items():
            # the least of the rounds, as others may use the machine; the median shows how busy it was
            least, base = min(values), min(times["memory map"])
            print(
                f"random rows, {state:4}  {name:22} {least * 1e3:8.3f} ms per row   x {least / base:5.2f}"
                f"   (median {np.median(values) * 1e3:.3f})"
            )


def windows(store: Store, folder: Path, *, rounds: int) -> None:
    """A window of all rows against a scan of all rows."""
    every = np.arange(len(store))
    middle = store.layout.n_pixels // 2
    window = slice(middle, min(middle + WINDOW, store.layout.n_pixels))
    out = store.read(every[:64])

    def scan() -> None:
        for start in range(0, len(store), len(out.flux)):
            rows = every[start : start + len(out.flux)]
            store.read(rows, out=Batch(*(array[: rows.size] for array in out)))

    for state in ("warm", "cold"):
        scan_times, window_times = [], []
        for _ in range(rounds):
            for action, times in (
                (scan, scan_times),
                (lambda: store.read(every, window=window), window_times),
            ):
                if state == "cold":
                    chill(folder)
                else:
                    action()
                times.append(clock(action))
        full, part = min(scan_times), min(window_times)
        print(
            f"window of {WINDOW}, {state:4}  {part * 1e3:8.1f} ms for {len(store)} rows; "
            f"full scan {full * 1e3:9.1f} ms   1/{full / part:.0f}"
        )
    some = every[:100]
    took = clock(lambda: from_zarr(store.path, some, window)) * len(every) / len(some)
    print(f"  zarr-python, warm, from {len(some)} rows: {took * 1e3:8.1f} ms")


def compression(n_pixels: int) -> None:
    """Size and decoding time of one row of flux under the usual codecs."""
    from numcodecs import Blosc, Zstd

    for dtype in ("float32", "float16"):
        flux = spectrum(np.random.default_rng(3), n_pixels, snr=100)[0].astype(dtype)
        copy = np.empty_like(flux)
        base = min(clock(lambda a=copy, b=flux: np.copyto(a, b)) for _ in range(20))
        print(
            f"{dtype} {'as it is':24} 100.0 % of {flux.nbytes / 1e6:.2f} MB   copied in {base * 1e3:6.3f} ms"
        )
        for name, codec in (
            ("zstd 3", Zstd(level=3)),
            ("blosc lz4, shuffle", Blosc("lz4", clevel=5, shuffle=Blosc.SHUFFLE)),
            ("blosc zstd 3, shuffle", Blosc("zstd", clevel=3, shuffle=Blosc.SHUFFLE)),
            ("blosc zstd 3, bitshuffle", Blosc("zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)),
        ):
            packed = codec.encode(flux)
            took = min(clock(lambda c=codec, p=packed, o=copy: c.decode(p, o)) for _ in range(20))
            share = 100 * len(packed) / flux.nbytes
            print(f"{dtype} {name:24} {share:5.1f} %            decoded in {took * 1e3:6.3f} ms")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    step = 299_792.458 * 0.01 / 5_000  # km/s; any grid of so many pixels will do
    grid = log_grid(3785, 3785 * (1 + step / 299_792.458) ** (options.pixels - 0.5), step=step)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="store-reads-") as name:
        folder = Path(name)
        store, raw = build(folder, grid, rows=options.rows, dtype=options.dtype)
        print(f"{len(store)} rows x {grid.size} pixels, {options.dtype}, in {options.folder}")
        with store:
            random_rows(store, raw, folder, batch=64, rounds=options.rounds)
            windows(store, folder, rounds=min(3, options.rounds))
    compression(options.pixels)
    for snr in (40, 100, 300, 1000):
        loss = rounding_loss(snr)
        print(
            f"float16 at SNR {snr:4}, in units of the noise: depth {loss['depth']:.3f} "
            f"(bias {loss['depth_bias']:.3f}), velocity {loss['rv']:.3f} (bias {loss['rv_bias']:.3f})"
        )


if __name__ == "__main__":
    main()
