"""The prism against the seed paper's network at 327,680 pixels: training, encoding, memory.

A training step is forward, loss, backward and optimiser, float32, the same batch for both; rounds alternate,
so that both meet the same machine. Required: at least three times the speed of the paper's network in both,
and no larger a peak. Ratios of wall time count with several threads; processor time is printed beside it,
for a busy machine.

Run: python benchmarks/networks.py [--pixels 327680] [--batch 4] [--rounds 5] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

REQUIRED = 3.0
STEP = 0.6  # km/s per pixel: 327,680 pixels from 3785 angstrom at about 0.01
PAPER, STILL, MOVING = "paper", "prism", "prism, moving air"
KINDS = (PAPER, STILL, MOVING)


class Rig(NamedTuple):
    """A network with all that a step of its training takes."""

    network: Any
    objective: Any
    optimizer: Any
    batch: Any
    noise: Any
    terms: Any


def rig(kind: str, *, pixels: int, batch: int, device: str = "cpu", likelihood: bool = False) -> Rig:
    """One network, and made-up spectra of that many pixels; the paper's has its authors' loss by default."""
    import torch

    from astroprism.model.data import Tensors
    from astroprism.model.objective import PaperObjective, PrismObjective, Terms
    from astroprism.network import PaperConfig, PaperNetwork, Prism, sized_for

    random = torch.Generator().manual_seed(1)
    flux = 1 - 0.3 * torch.rand(batch, pixels, generator=random)
    berv = 20 * torch.randn(batch, generator=random) if kind == MOVING else None
    parts = Tensors(flux, torch.full_like(flux, 0.01), torch.ones_like(flux, dtype=torch.bool), berv)
    parts = Tensors._make(None if part is None else part.to(device) for part in parts)
    if kind == PAPER:
        network: Any = PaperNetwork(PaperConfig(pixels)).to(device)
        objective: Any = PaperObjective(network, likelihood=likelihood)
        terms = Terms(300.0, 0.01) if likelihood else Terms(0.3)
    else:
        network = Prism(sized_for(pixels, step=STEP, moving_air=kind == MOVING)).to(device)
        objective = PrismObjective(network)
        terms = Terms(2.0, 0.003, 0.0, 10.0, 1000.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    noise = torch.randn(batch, network.config.n_latent, generator=random).to(device)
    return Rig(network, objective, optimizer, parts, noise, terms)


def train_step(one: Rig) -> None:
    """Forward, loss, backward, optimiser."""
    one.objective(one.batch, one.noise, one.terms).total.backward()
    one.optimizer.step()
    one.optimizer.zero_grad(set_to_none=True)


def encode(one: Rig) -> None:
    """Codes of a batch."""
    import torch

    with torch.no_grad():
        one.network.encode(one.batch.flux, good=one.batch.good, berv=one.batch.berv)


WAYS: dict[str, Callable[[Rig], None]] = {"training": train_step, "encoding": encode}


class Took(NamedTuple):
    """Seconds per spectrum."""

    wall: float
    processor: float


def clock(work: Callable[[], None], *, spectra: int) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Took((time.perf_counter() - wall) / spectra, (time.process_time() - processor) / spectra)


def against(way: str, *, pixels: int, batch: int, rounds: int) -> dict[str, list[Took]]:
    """Rounds of all kinds in turn, each of about as long."""
    rigs = {kind: rig(kind, pixels=pixels, batch=batch) for kind in KINDS}
    work = WAYS[way]
    for one in rigs.values():  # memory is taken, kernels are chosen
        work(one)
    found: dict[str, list[Took]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, one in rigs.items():
            times = (1 if way == "training" else 4) * (1 if kind == PAPER else 4)

            def run(one: Rig = one, times: int = times) -> None:
                for _ in range(times):
                    work(one)

            found[kind].append(clock(run, spectra=batch * times))
    return found


def ratio(found: dict[str, list[Took]], kind: str, field: str) -> float:
    """The paper's time over another's: median of the rounds, each against its neighbour."""
    pairs = zip(found[PAPER], found[kind], strict=True)
    return statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)


def peak(kind: str, way: str, *, pixels: int, batch: int) -> float:
    """Largest resident memory in GiB of a process of its own that does it three times."""
    options = ["--alone", kind, "--way", way, "--pixels", str(pixels), "--batch", str(batch)]
    done = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
    return float(done.stdout)


def alone(kind: str, way: str, *, pixels: int, batch: int) -> None:
    import torch

    torch.set_num_threads(1)
    one = rig(kind, pixels=pixels, batch=batch)
    for _ in range(3):
        WAYS[way](one)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--alone", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    size = {"pixels": options.pixels, "batch": options.batch}
    if options.alone:
        alone(options.alone, options.way, **size)
        return
    # First, while this process is small: a child's peak begins at its parent's size.
    memory = {way: {kind: peak(kind, way, **size) for kind in KINDS} for way in WAYS}
    for way, held in memory.items():
        for kind, gib in held.items():
            print(
                f"peak  {way}  {kind:18} {gib:6.2f} GiB  {gib / held[PAPER]:5.2f} of the paper's", flush=True
            )
    import torch

    worst = float("inf")
    print(f"{options.pixels} pixels, batch {options.batch}, float32, torch {torch.__version__}; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for threads in options.threads:
        torch.set_num_threads(threads)
        for way in WAYS:
            found = against(way, rounds=options.rounds, **size)
            for kind, rounds in found.items():
                wall, processor = (
                    statistics.median(getattr(one, field) for one in rounds) for field in Took._fields
                )
                line = f"{threads} threads  {way}  {kind:18} {1 / wall:8.2f} spectra/s"
                line += f"  {1e3 * processor:8.1f} ms of processor per spectrum"
                if kind != PAPER:
                    by_wall, by_processor = (ratio(found, kind, field) for field in Took._fields)
                    line += f"  x {by_wall:5.2f} of the paper's by wall, x {by_processor:5.2f} by processor"
                    worst = min(worst, by_wall)
                print(line, flush=True)
    smaller = all(max(held.values()) <= held[PAPER] for held in memory.values())
    speed = "met" if worst >= REQUIRED else "MISSED"
    print(f"at least {worst:.2f} times the paper's speed by wall; {REQUIRED:.0f} are required: {speed}")
    print(f"peak memory no larger than the paper's: {'met' if smaller else 'MISSED'}")


if __name__ == "__main__":
    main()
