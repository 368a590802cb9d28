"""Share of a training step that is spent waiting for spectra: 327,680 pixels, from a store on disk.

The step is the prism network's own, forward and backward, batch 4. The store is read as it is drawn,
warm and from a cold disk; at most 5 % is required. Beside it, the same without reading ahead.

Run: python benchmarks/feeding.py [--rows 100] [--steps 20] [--device cpu] [--threads 1] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from astroprism.grid import SPEED_OF_LIGHT, log_grid
from astroprism.model.data import Draws, Feed, Source
from astroprism.model.loss import gaussian_nll
from astroprism.network import Prism, sized_for
from astroprism.store import Store
from astroprism.store.write import BlockWriter, Layout, create_store, publish, resize, rows_per_shard, seal
from store_reads import chill, spectrum

REQUIRED = 0.05


def build(path: Path, *, rows: int, pixels: int) -> Store:
    """A store of made-up spectra of as many stars, on a log grid."""
    step = SPEED_OF_LIGHT * 0.01 / 5_000  # km/s; any grid of so many pixels will do
    grid = log_grid(3785, 3785 * (1 + step / SPEED_OF_LIGHT) ** (pixels - 0.5), step=step)
    layout = Layout(grid, rows_per_shard(grid.size))
    create_store(path, layout, config={})
    rng = np.random.default_rng(1)
    models = [spectrum(rng, grid.size, snr=100) for _ in range(min(rows, 8))]
    n_shards = -(-rows // layout.rows_per_shard)
    for shard in range(n_shards):
        block = path / ".ingest" / f"{shard:06d}"
        with BlockWriter(block, layout) as writer:
            for row in range(shard * layout.rows_per_shard, min(rows, (shard + 1) * layout.rows_per_shard)):
                writer.append(*models[row % len(models)])
        seal(block, layout)
        publish(block, path, shard)
    shutil.rmtree(path / ".ingest")
    names = [f"s{row}" for row in range(rows)]
    n_good = [int(models[row % len(models)][2].sum()) for row in range(rows)]
    columns = {"row": np.arange(rows), "spectrum_id": names, "target": names, "n_good": n_good}
    pd.DataFrame(columns).assign(frame="topocentric", berv=0.0).to_parquet(path / "index.parquet")
    resize(path, n_shards, finished=True)
    return Store(path)


def train(network: Prism, feed: Feed, *, warm_up: int) -> tuple[float, float]:
    """Seconds per step, and the share of them spent waiting, once the first `warm_up` steps are done.

    No optimiser: it would only make the step longer.
    """
    begun, waited, steps = 0.0, 0.0, 0
    for number, batch in enumerate(feed):
        if number == warm_up:  # its batch is there: count from here, the next wait is the first
            begun, waited, steps = time.perf_counter(), feed.waited, 0
        reconstruction = network(batch.flux, good=batch.good)[0]
        loss = gaussian_nll(batch.flux - reconstruction, batch.sigma, good=batch.good).sum()
        network.zero_grad(set_to_none=True)
        loss.backward()
        float(loss.detach())  # as a training loop would fetch it; a GPU has then done its step
        steps += 1
    took = time.perf_counter() - begun
    return took / steps, (feed.waited - waited) / took


def unhurried(
    network: Prism, source: Source, draws: Draws, *, steps: int, device: str
) -> tuple[float, float]:
    """As `train`, each batch read when it is needed."""
    waited, begun = 0.0, time.perf_counter()
    for step in range(steps):
        with Feed(source, draws, first=step, last=step + 1, device=device) as feed:
            train(network, feed, warm_up=0)
            waited += feed.waited
    took = time.perf_counter() - begun
    return took / steps, waited / took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="with 3 more, one epoch: a cold row stays cold")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU, for the step")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    options, _ = parser.parse_known_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="feeding-") as name:
        folder = Path(name)
        with build(folder / "store.zarr", rows=options.rows, pixels=options.pixels) as store:
            source = Source.from_store(store, memory=0)
            assert source.step is not None
            draws = Draws(source.targets, np.arange(len(source)), batch=options.batch, seed=0)
            network = Prism(sized_for(source.pixels, step=source.step)).to(options.device)
            size = store.layout.row_bytes * len(source) / 1e9
            print(
                f"{len(source)} rows x {source.pixels} pixels, {size:.2f} GB on disk, batch {options.batch}, "
                f"{options.device}, {options.threads} threads for the step"
            )
            some, last = {"device": options.device}, options.steps + 3
            with Feed(source, draws, first=0, last=3, **some) as feed:
                train(network, feed, warm_up=0)
            shares = {}
            for state in ("warm", "cold"):
                if state == "cold":
                    chill(folder)
                with Feed(source, draws, first=0, last=last, **some) as feed:
                    took, shares[state] = train(network, feed, warm_up=3)
                print(f"{state}  read ahead   {took * 1e3:8.1f} ms per step, waiting {shares[state]:6.2%}")
                if state == "cold":
                    chill(folder)
                took, share = unhurried(network, source, draws, steps=options.steps, **some)
                print(f"{state}  as needed    {took * 1e3:8.1f} ms per step, waiting {share:6.2%}")
    worst = max(shares.values())
    verdict = "met" if worst <= REQUIRED else "MISSED"
    print(f"waiting {worst:.2%} of a step; at most {REQUIRED:.0%} is required: {verdict}")


if __name__ == "__main__":
    main()
