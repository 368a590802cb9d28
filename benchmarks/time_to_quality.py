"""Minutes for the prism to fit held-out spectra as well as the paper's network does after twenty.

One archive with a known answer (10,000 spectra of 2,048 pixels to train, 2,000 held out, five causes), one
thread. The paper's network is trained twice, by its authors' schedule and by the best one known for it, each
in as many steps as the minutes hold. Then the prism, by its default recipe; the clock is stopped while its
chi2 is taken. Minutes are of the processor. Required: a tenth of the paper's at most.

Run: python benchmarks/time_to_quality.py [--minutes 20] [--seed 1001] [--archive FILE.pkl] [--steps 3000]
     (minutes: those that each training of the paper's network gets; steps: the prism's, its default without)
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from known_answer import archive, share_of

REQUIRED = 0.1
TRAIN, TIMED = 10_000, 40


class Trained(NamedTuple):
    """What a training came to, on held-out spectra."""

    minutes: float  # of the processor
    wall: float  # minutes
    steps: int
    chi2: float  # per pixel, median over spectra, at the mean code
    active: int  # nodes with a KL above 0.1 nat
    rv: tuple[float, float]  # share of the velocity's variance on the best active node, and on the second
    curve: list[tuple[float, float]]  # minutes and chi2 on its way


class Clock:
    """Processor and wall time that can be stopped."""

    def __init__(self) -> None:
        self.out = np.zeros(2)
        self.begun = self.now()

    @staticmethod
    def now() -> Any:
        return np.array([time.process_time(), time.monotonic()])

    def minutes(self) -> Any:
        return (self.now() - self.begun - self.out) / 60

    def still(self, work: Any) -> Any:
        """Do something that does not count."""
        begun = self.now()
        found = work()
        self.out += self.now() - begun
        return found


def build(kind: str, data: dict[str, Any], *, seed: int, recipe: Any) -> Any:
    """A training of one network on the archive."""
    from astroprism.model.data import Source
    from astroprism.model.loop import Training
    from astroprism.network import PaperConfig, PaperNetwork, Prism, sized_for

    berv = data["berv"] if kind == "prism" else None
    source = Source.from_arrays(
        data["flux"], data["sigma"], step=data["step"], targets=data["targets"], berv=berv
    )
    if kind == "prism":
        moving = source.berv is not None
        network: Any = Prism(sized_for(source.pixels, step=data["step"], moving_air=moving), seed=seed)
    else:
        network = PaperNetwork(PaperConfig(source.pixels), seed=seed)
    return Training(source, network, recipe=recipe, train=np.arange(TRAIN), seed=seed)


def measured(network: Any, data: dict[str, Any], rows: Any) -> tuple[float, Any, Any]:
    """Median chi2 per pixel, KL of each node, and mean codes, of held-out spectra."""
    import torch

    from astroprism.model import nodes
    from astroprism.model.data import Tensors
    from astroprism.model.loss import chi2_per_pixel, kl_per_node, residual

    moving = getattr(network.config, "moving_air", False)
    flux, sigma = (torch.from_numpy(data[name][rows]) for name in ("flux", "sigma"))
    batch = Tensors(flux, sigma, None, torch.from_numpy(data["berv"][rows]) if moving else None)
    was = network.training
    network.eval()
    with torch.no_grad():
        mean, logvar = nodes.codes(network, batch)
        found = []
        for some, x in batch.pieces():
            made = network.decode(mean[some], berv=x.berv)
            found.append(chi2_per_pixel(residual(x.flux, made), x.sigma))
        carried = kl_per_node(mean, logvar).mean(0)
        carried = carried * getattr(network, "keep", torch.ones_like(carried))
    network.train(was)
    return float(torch.cat(found).median()), carried.numpy(), mean.numpy()


def run(kind: str, data: dict[str, Any], *, seed: int, recipe: Any) -> Trained:
    """Train to the end, taking chi2 of the same held-out spectra on the way."""
    few, held = np.arange(TRAIN, TRAIN + 250), np.arange(TRAIN, len(data["flux"]))
    clock, curve = Clock(), []
    training = build(kind, data, seed=seed, recipe=recipe)
    every = max(1, recipe.steps // 60)
    due = every
    for moment in training.run():
        if moment.step >= due:
            due = moment.step + every
            at = float(clock.minutes()[0])
            curve.append((at, clock.still(lambda: measured(training.network, data, few)[0])))
    minutes, wall = map(float, clock.minutes())
    chi2, carried, codes = measured(training.network, data, held)
    active = np.flatnonzero(carried > 0.1)
    shares = sorted((share_of(codes[:, i], data["truth"]["rv"][held]) for i in active), reverse=True)
    best, second, *_ = [*shares, 0.0, 0.0]
    return Trained(minutes, wall, recipe.steps, chi2, len(active), (best, second), curve)


def steps_in(minutes: float, data: dict[str, Any], *, recipe: Any) -> int:
    """Steps of the paper's network that so many minutes of the processor hold."""
    training = build("paper", data, seed=0, recipe=replace(recipe, steps=10 * TIMED))
    first = 0.0
    for moment in training.run():
        if moment.step == TIMED:  # the first are slower: memory is taken, kernels are chosen
            first = time.process_time()
        if moment.step == 3 * TIMED:
            break
    return max(100, int(minutes * 60 / (time.process_time() - first) * 2 * TIMED))


def reached(curve: list[tuple[float, float]], chi2: float) -> float:
    """Minutes from which on the fit is as good; it may not get worse again. Infinite for never."""
    at = float("inf")
    for minutes, here in reversed(curve):
        if here > chi2:
            break
        at = minutes
    return at


def main() -> None:
    import torch

    from astroprism.model.recipe import PaperRecipe, released, sized

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1001)
    parser.add_argument("--archive", help="pickle of known_answer.archive()")
    parser.add_argument("--steps", type=int, help="of the prism")
    options, _ = parser.parse_known_args()
    torch.set_num_threads(1)
    if options.archive:
        with open(options.archive, "rb") as file:
            data = pickle.load(file)
    else:
        data = archive(5, seed=options.seed)
    overrides = {"steps": options.steps} if options.steps else {}
    ours = sized(overrides, spectra=TRAIN, pixels=data["flux"].shape[1])
    found = {}
    schedules = {"paper, its authors' schedule": released(), "paper, best schedule": PaperRecipe()}
    for name, recipe in schedules.items():
        steps = steps_in(options.minutes, data, recipe=recipe)
        found[name] = run("paper", data, seed=0, recipe=replace(recipe, steps=steps))
        show(name, found[name])
    found["prism"] = run("prism", data, seed=0, recipe=ours)
    show("prism", found["prism"])
    ratios = {}
    for name in schedules:
        at = reached(found["prism"].curve, found[name].chi2)
        ratios[name] = at / found[name].minutes
        verdict = "met" if ratios[name] <= REQUIRED else "MISSED"
        print(
            f"prism as good as: {name}, chi2 {found[name].chi2:.2f}, after {at:.2f} of its "
            f"{found[name].minutes:.2f} minutes: {ratios[name]:.3f}; {REQUIRED} is required: {verdict}"
        )
    print(json.dumps({"ratios": ratios, **{name: one._asdict() for name, one in found.items()}}))


def show(name: str, one: Trained) -> None:
    print(
        f"{name:30} {one.minutes:6.2f} minutes ({one.wall:.2f} wall)  {one.steps:6d} steps  chi2 "
        f"{one.chi2:8.2f}  active {one.active:3d}  velocity {one.rv[0]:.3f} / {one.rv[1]:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
