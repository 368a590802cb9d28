"""The training loop: a generator of moments that can be cut off anywhere and goes on the same.

All that a step draws (rows, noise, throws) hangs on seed and step alone; all that it carries (weights,
moments of the optimiser, running means, what was pruned) is in one snapshot, in memory and on disk. So a
training that was killed and resumed ends with the same weights, bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import ArrayLike
from torch import Tensor

from . import nodes
from .batches import Draws, Feed, Source, Tensors
from .checkpoint import (
    load_optimizer,
    network_facts,
    optimizer_tensors,
    read_tensors,
    write_tensors,
)
from .errors import ModelError
from .history import Moment
from .loss import ablation_bound, chi2_per_pixel, residual
from .network import PaperNetwork, Prism
from .network.paper import level
from .objective import PaperObjective, PrismObjective, Sums, Terms, noise_of, signal_nats, thrown
from .recipe import PaperRecipe, Recipe

LOOK = 10  # steps between looks at the loss: each look waits for the device
KEEP = 50  # steps between snapshots in memory
CHECK = 250  # held-out and training spectra on which chi2 is told
ACTIVE = 0.1  # nats of KL
DIVERGED = 20.0  # times the signal: a misfit no training has on its way down
MOST_SETBACKS = 6


@dataclass
class Progress:
    """All that is not a tensor; goes into the checkpoint."""

    step: int = 0
    joined: bool = False  # the other nodes, to the Doppler node
    pruned: int = 0
    back: int = 0
    slow: float = 1.0  # factor on the rate, after setbacks
    gentle: float = 1.0  # factor on beta, after a collapse
    setbacks: int = 0
    moments: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # since the last moment


class Training:
    """One training. `run` yields a Moment every few steps; `finish` prunes for good."""

    def __init__(
        self,
        source: Source,
        network: Prism | PaperNetwork,
        *,
        recipe: Recipe | PaperRecipe,
        train: ArrayLike,
        valid: ArrayLike = (),
        seed: int = 0,
        balance: str = "target",
        fabric: Fabric | None = None,
        save_to: Path | None = None,
        save_every: float = 60.0,
    ) -> None:
        """
        train, valid  rows of the source; valid only tells, it decides nothing
        save_to       file of the unfinished training; None saves nothing
        save_every    seconds between two writes of it
        """
        self.source, self.recipe, self.seed = source, recipe, seed
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.save_to, self.save_every = save_to, save_every
        self.train, self.valid = np.asarray(train, np.intp), np.asarray(valid, np.intp)
        if len(self.train) < 2:
            raise ModelError(
                f"{len(self.train)} spectra to train on; at least 2 are needed, better thousands"
            )
        self.draws = Draws(source.targets, self.train, batch=recipe.batch, seed=seed, balance=balance)
        self.progress = Progress()
        self.network = network
        size = nodes.sizing(source.pixels, len(self.train))
        self.sample = self._load(self._spread(self.train, size.sample))
        sample = self.sample
        if isinstance(network, Prism):
            network.calibrate(sample.flux, sigma=sample.sigma, good=sample.good, berv=sample.berv)
            objective: PrismObjective | PaperObjective = PrismObjective(network, over_all=self._over_all)
        else:
            if recipe.likelihood:
                network.calibrate(*level(sample.flux, good=sample.good))
            objective = PaperObjective(network, likelihood=recipe.likelihood)
        self.signal = signal_nats(sample.flux, sample.sigma, good=sample.good, floor=recipe.floor_at(0.0))
        self.physics = isinstance(network, Prism) and not network.config.agnostic
        fast = [network.decoder.log_gain] if self.physics else []
        rest = [p for p in network.parameters() if all(p is not f for f in fast)]
        groups = [{"params": rest, "speed": 1.0}, {"params": fast, "speed": recipe.velocity_rate}]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.rate,
            betas=recipe.betas,
            weight_decay=recipe.decay,
            fused=self.fabric.device.type in ("cpu", "cuda"),
        )
        self.objective, self.optimizer = self.fabric.setup(objective, optimizer)
        self.sample = _to(sample, self.fabric.device)
        self.running_kl = torch.full((network.config.n_latent,), float(self.signal))
        self.misfit = self.signal
        self.good_state: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.waited = self.busy = 0.0

    # --- the loop

    def run(self) -> Iterator[Moment]:
        """Train from where it stands to the last step."""
        steps = self.recipe.steps
        self.network.train()
        while self.progress.step < steps:
            yield from self._stretch()
        self.network.eval()

    def _stretch(self) -> Iterator[Moment]:
        """Steps until the end, or until a setback throws training back to its last good state."""
        recipe, p = self.recipe, self.progress
        world, rank = self.fabric.world_size, self.fabric.global_rank
        share = slice(rank * recipe.batch // world, (rank + 1) * recipe.batch // world)
        n = self.network.config.n_latent
        sums, last, saved, begun = Sums(n), time.monotonic(), time.monotonic(), p.step
        every = max(LOOK, recipe.steps // 400 // LOOK * LOOK)
        with Feed(
            self.source,
            self.draws,
            first=p.step,
            last=recipe.steps,
            device=self.fabric.device,
            share=(rank, world),
        ) as feed:
            for batch in feed:
                if (p.step % KEEP == 0 and p.step > begun) or self.good_state is None:
                    self._keep()
                    due = time.monotonic() - saved > self.save_every
                    if self.fabric.broadcast(due) and self.save_to is not None:
                        self.save()
                        saved = time.monotonic()
                try:
                    self._events()
                except _Setback as setback:
                    self._back(str(setback), collapse=True)
                    return
                fraction = p.step / recipe.steps
                terms = self._terms(fraction)
                noise = noise_of(p.step, seed=self.seed, batch=recipe.batch, nodes=n)[share]
                if recipe.whiten:
                    batch = thrown(
                        batch,
                        most=recipe.whiten,
                        step=self.source.step or 1.0,
                        generator=torch.Generator().manual_seed(
                            self.seed * 1_000_003 + p.step * world + rank
                        ),
                    )
                rate = recipe.rate_at(p.step) * p.slow
                for group in self.optimizer.param_groups:
                    group["lr"] = rate * group["speed"]
                loss = self.objective(batch, noise.to(self.fabric.device), terms)
                self.fabric.backward(loss.total)
                if isinstance(recipe, PaperRecipe) and (most := recipe.clip_at(self.source.pixels)):
                    self.fabric.clip_gradients(
                        self.objective, self.optimizer, max_norm=most, error_if_nonfinite=False
                    )
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                sums.add(loss)
                p.step += 1
                if p.step % LOOK == 0 or p.step == recipe.steps:
                    wrong = self._look(sums)
                    if wrong:
                        self._back(wrong)
                        return
                if p.step % every == 0 or p.step == recipe.steps:
                    now = time.monotonic()
                    yield self._moment(sums, terms, rate, now - last, feed.waited)
                    sums, last = Sums(n), time.monotonic()

    def _terms(self, fraction: float) -> Terms:
        recipe = self.recipe
        beta = recipe.beta_at(fraction, signal=self.signal, misfit=self.misfit) * self.progress.gentle
        return Terms(
            beta,
            recipe.floor_at(fraction),
            recipe.blur_at(fraction) / (self.source.step or 1.0),
            recipe.agree,
            recipe.still,
        )

    def _look(self, sums: Sums) -> str:
        """Bring the running means up to date; what is wrong, or nothing."""
        loss, misfit, kl = sums.take(self._over_all)
        self.misfit = 0.6 * self.misfit + 0.4 * misfit if np.isfinite(misfit) else misfit
        self.running_kl = 0.8 * self.running_kl + 0.2 * kl
        if not (np.isfinite(loss) and np.isfinite(misfit) and bool(torch.isfinite(kl).all())):
            return "the loss is not a finite number"
        if self.progress.step > 2 * LOOK and misfit > DIVERGED * max(self.signal, self.source.pixels):
            return f"training diverged: {misfit:.3g} nats a spectrum unexplained"
        return ""

    def _moment(self, sums: Sums, terms: Terms, rate: float, took: float, waited: float) -> Moment:
        p = self.progress
        loss, chi2, misfit, kl, count = sums.means(self._over_all)
        steps = self.recipe.steps
        told = p.step % max(LOOK, steps // 20 // LOOK * LOOK) == 0 or p.step == steps
        moment = Moment(
            step=p.step,
            loss=loss,
            chi2=chi2,
            misfit=misfit,
            kl=float(kl.sum()),
            active=int((self.running_kl > ACTIVE).sum()),
            beta=terms.beta,
            floor=terms.floor,
            blur=terms.blur * (self.source.step or 1.0),
            rate=rate,
            spectra_per_s=count * self.recipe.batch / max(took, 1e-9),
            waited=(waited - self.waited) / max(took, 1e-9),
            chi2_train=self.chi2(self.train) if told else float("nan"),
            chi2_valid=self.chi2(self.valid) if told else float("nan"),
            event="; ".join(p.events),
        )
        self.waited = waited
        p.events = []
        p.moments.append(moment.as_dict())
        return moment

    # --- what happens to nodes

    def _events(self) -> None:
        """Prune, merge and give back where the recipe says so."""
        recipe, p = self.recipe, self.progress
        fraction = p.step / recipe.steps
        if self.physics and p.step == 0 and recipe.alone > 0:
            with torch.no_grad():
                self.network.keep[1:] = 0.0
        if self.physics and not p.joined and fraction >= recipe.alone:
            p.joined = True
            with torch.no_grad():
                self.network.keep.fill_(1.0)
            others = range(1, self.network.config.n_latent)
            nodes.mend_moments(self.optimizer, self.network.places(others))
        if p.pruned < len(recipe.prune_at) and fraction >= recipe.prune_at[p.pruned]:
            number = p.pruned
            p.pruned += 1
            self._prune(recipe.prune_kl[number], fraction)
        if p.back < len(recipe.give_back) and fraction >= recipe.give_back[p.back]:
            p.back += 1
            last = p.back == len(recipe.give_back)
            self._give_back(seeds=0 if last else recipe.seeds, fraction=fraction)

    def bound(self, fraction: float) -> float:
        """Nats a spectrum that a node must explain to be kept."""
        floor = self.recipe.floor_at(fraction)
        own = ablation_bound(self.sample.sigma, good=self.sample.good, floor=floor)
        return max(own, self.recipe.prune_share * self.misfit)

    def _prune(self, kl: float, fraction: float) -> None:
        self.network.eval()
        choice = nodes.choose(
            self.network,
            self.sample,
            kl=kl,
            bound=self.bound(fraction),
            floor=self.recipe.floor_at(fraction),
            overlap=self.recipe.overlap,
        )
        self.network.train()
        if not choice.kept and self.misfit > 0.3 * self.signal and self.signal > self.bound(fraction):
            raise _Setback("no node is active, though the spectra vary")
        with torch.no_grad():
            self.network.keep.zero_()
            self.network.keep[choice.kept] = 1.0
        self._agree()
        copies = "".join(f", {node} a copy of {other}" for node, other in choice.copies.items())
        bound = f"bound {self.bound(fraction):.0f} nats"
        self._tell(f"pruned to {len(choice.kept)} nodes {choice.kept} ({bound}){copies}")

    def _give_back(self, *, seeds: int, fraction: float) -> None:
        self.network.eval()
        dead, started = nodes.give_back(
            self.network,
            self.sample,
            seed=self.seed + 7919 * self.progress.back,
            seeds=seeds,
            floor=self.recipe.floor[-1][1],
            bound=self.bound(1.0),
        )
        self.network.train()
        nodes.mend_moments(self.optimizer, self.network.places(dead))
        self._agree()
        led = "".join(f", {node} on {nats:.0f} nats of residual" for node, nats in started.items())
        self._tell(f"{len(dead)} nodes given back{led}")

    def finish(self) -> dict[str, Tensor]:
        """Switch weak nodes and copies off for good; returns the weights with every node on."""
        unpruned = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if self.recipe.prune_at:
            self._prune(self.recipe.prune_kl[-1], 1.0)
            self.network.eval()
            self.progress.moments[-1]["event"] = "; ".join(
                text for text in (self.progress.moments[-1]["event"], *self.progress.events) if text
            )
            self.progress.events = []
        return unpruned

    def chi2(self, rows: ArrayLike) -> float:
        """Median chi2 a pixel at the mean code, over a spread sample of these rows; no floor."""
        rows = np.asarray(rows, np.intp)
        if not len(rows):
            return float("nan")
        count = min(CHECK, max(16, 2**24 // self.source.pixels))
        batch = _to(self._load(self._spread(rows, count)), self.fabric.device)
        self.network.eval()
        found = []
        with torch.no_grad():
            for x in nodes.pieces(batch):
                mean, _ = self.network.encode(x.flux, good=x.good, berv=x.berv)
                left = residual(x.flux, self.network.decode(mean, berv=x.berv), good=x.good)
                found.append(chi2_per_pixel(left, x.sigma, good=x.good))
        self.network.train()
        return float(torch.cat(found).nanmedian())

    # --- setbacks, snapshots

    def _back(self, why: str, *, collapse: bool = False) -> None:
        p = self.progress
        if self.good_state is None or p.setbacks >= MOST_SETBACKS:
            raise ModelError(
                f"training failed {p.setbacks + 1} times, last at step {p.step}: {why}. Look at the "
                "spectra for values that dwarf the rest, or train with a lower rate in --config"
            )
        at, setbacks, slow, gentle = p.step, p.setbacks + 1, p.slow, p.gentle
        events = p.events
        if collapse:
            self._restore(*self.first_state)
        else:
            self._restore(*self.good_state)
        p = self.progress
        p.setbacks, p.slow = setbacks, slow * 0.5
        p.gentle = gentle * (0.3 if collapse else 1.0)
        p.events = [
            *events,
            f"at step {at} {why}: back to step {p.step}, rate now {p.slow:.3g} of the plan"
            + (f", beta {p.gentle:.3g} of it" if collapse else ""),
        ]
        self._keep()

    def _keep(self) -> None:
        self.good_state = self.snapshot()
        if self.progress.step == 0:
            self.first_state = self.good_state

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts from which training goes on as if nothing had been."""
        tensors = {f"network.{k}": v.detach().clone() for k, v in self.network.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer.optimizer)
        tensors["running_kl"] = self.running_kl.clone()
        p = self.progress
        facts = {**vars(p), "moments": list(p.moments), "events": list(p.events), "misfit": self.misfit}
        return tensors, facts

    def _restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        self.network.load_state_dict(weights)
        load_optimizer(self.optimizer.optimizer, tensors)
        self.running_kl = tensors["running_kl"].clone()
        self.misfit = facts["misfit"]
        known = {k: facts[k] for k in vars(Progress()) if k in facts}
        self.progress = Progress(
            **known | {"moments": list(facts["moments"]), "events": list(facts["events"])}
        )

    def made_from(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be gone on from."""
        return {
            "network": network_facts(self.network),
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
            "store": self.source.fingerprint,
        }

    def save(self) -> None:
        """Write the last snapshot to `save_to`; one process writes."""
        if self.save_to is None or self.good_state is None:
            return
        if self.fabric.is_global_zero:
            tensors, facts = self.good_state
            write_tensors(self.save_to, tensors, about={"progress": facts, "made_from": self.made_from()})
        self.fabric.barrier()

    def resume(self) -> bool:
        """Go on from `save_to` if it is there and was made from the same; True if so."""
        if self.save_to is None or not self.save_to.exists():
            return False
        tensors, about = read_tensors(self.save_to)
        if about.get("made_from") != json.loads(json.dumps(self.made_from())):
            return False
        self._keep()
        self._restore(tensors, about["progress"])
        self._keep()
        return True

    # --- small things

    def _tell(self, text: str) -> None:
        self.progress.events.append(text)

    def _over_all(self, x: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return x
        mean: Tensor = self.fabric.all_reduce(x, reduce_op="mean")
        return mean

    def _agree(self) -> None:
        """After surgery every process takes the first one's weights."""
        if self.fabric.world_size > 1:
            for value in self.network.state_dict().values():
                torch.distributed.broadcast(value, 0)

    def _load(self, rows: np.ndarray[Any, Any]) -> Tensors:
        read = self.source.read(rows)
        good = None if self.source.complete else torch.from_numpy(read.good)
        berv = None if self.source.berv is None else torch.from_numpy(self.source.berv[rows])
        return Tensors(torch.from_numpy(read.flux), torch.from_numpy(read.sigma), good, berv)

    def _spread(self, rows: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
        """Up to `count` of the rows, one a target first, by a seeded shuffle."""
        rng = np.random.default_rng(self.seed)
        rows = rng.permutation(rows)
        _, first = np.unique(self.source.targets[rows].astype(str), return_index=True)
        rest = np.setdiff1d(np.arange(len(rows)), first)
        return np.sort(rows[np.concatenate([np.sort(first), rest])[:count]])


class _Setback(Exception):
    """Training cannot go on from here."""


def _to(batch: Tensors, device: torch.device) -> Tensors:
    return Tensors(*(None if x is None else x.to(device) for x in batch))  # type: ignore[arg-type]
