"""The training loop: a generator of moments that can be cut off anywhere and goes on the same.

All that a step draws (rows, noise, throws) hangs on seed and step alone; all that it carries (weights,
moments of the optimiser, running means, what was pruned) is in one snapshot, in memory and on disk. So a
training that was killed and resumed ends with the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import AstroprismError, ConfigError, ModelError, TrainingFailed
from ..network import PaperNetwork, Prism
from ..network.paper import level
from . import nodes
from .checkpoint import State, network_facts, read_state, restore, state_tensors, write_state
from .data import Draws, Feed, Source, Tensors
from .history import Moment, Progress
from .loss import chi2_per_pixel, residual
from .objective import (
    Loss,
    PaperObjective,
    PrismObjective,
    Sums,
    Terms,
    noise_of,
    signal_nats,
    thrown,
    throws_of,
)
from .recipe import PaperRecipe, Recipe
from .sampling import aired, fair, load, on
from .surgery import Setback, Surgery
from .velocity import believed, template_of

LOOK = 10  # steps between looks at the loss: each look waits for the device
DOUBT = 4  # steps between looks for velocities that fit better elsewhere
SHORT = 300  # steps below which a recipe in fractions of them leaves no time to any part
KEEP = 50  # steps between snapshots in memory, or a few more
CHECK = 250  # held-out and training spectra on which chi2 is told
ACTIVE = 0.1  # nats of KL
DIVERGED = 20.0  # times the signal, or the misfit at the start: no training has more on its way down
MOST_SETBACKS = 6


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
        self.source, self.network, self.recipe, self.seed = source, network, recipe, seed
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.balance, self.save_to, self.save_every = balance, save_to, save_every
        self.train, self.valid = np.asarray(train, np.intp), np.asarray(valid, np.intp)
        self._refuse()
        self.draws = Draws(source.targets, self.train, batch=recipe.batch, seed=seed, balance=balance)
        self.every = max(LOOK, recipe.steps // 400 // LOOK * LOOK)  # steps a moment
        # a snapshot begins a moment, so that a resumed training tells the same moments
        self.keep_every = -(-KEEP // self.every) * self.every
        self.tell_every = max(1, round(recipe.steps / 20 / self.every)) * self.every
        size = nodes.sizing(source.pixels, len(self.train))
        sample = self._read(self.train, size.sample)
        fast: list[Tensor] = []
        if isinstance(network, Prism):
            network.calibrate(sample.flux, sigma=sample.sigma, good=sample.good, berv=sample.berv)
            objective: PrismObjective | PaperObjective = PrismObjective(network, over_all=self._over_all)
            fast = [] if network.config.agnostic else [network.decoder.log_gain]
            if fast and recipe.alone > 0 and recipe.seek > 0:
                sizes, floor = network.config, recipe.floor_at(0.0)
                template = template_of(sample, config=sizes, floor=floor)
                if believed(sample, template, config=sizes, floor=floor):
                    objective.template = template.to(self.fabric.device)
        else:
            if recipe.likelihood:
                network.calibrate(*level(sample.flux, good=sample.good))
            objective = PaperObjective(network, likelihood=recipe.likelihood)
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
        self.sample = on(self.fabric.device, sample)
        floor = recipe.floor_at(0.0)
        signal = signal_nats(sample.flux, sample.sigma, good=sample.good, floor=floor)
        self.surgery: Surgery | None = None
        if isinstance(network, Prism) and isinstance(recipe, Recipe):
            self.surgery = Surgery(network, self.optimizer.optimizer, self.sample, recipe, seed)
        few = nodes.part(self.sample, slice(size.few))
        at_start = nodes.misfit(network, nodes.codes(network, few)[0], few, floor=floor).mean()
        self.limit = DIVERGED * max(signal, source.pixels, float(at_start))  # nats a spectrum
        self.progress = Progress(signal=signal, misfit=signal)
        self.running_kl = torch.full((network.config.n_latent,), signal)
        self.saved, self.unsaved = time.monotonic(), False
        self.fresh: State | None = None  # good if the next look finds nothing wrong
        self.first = self.good = self.snapshot()

    def _refuse(self) -> None:
        """Contradictions, before any work."""
        batch, world = self.recipe.batch, self.fabric.world_size
        if len(self.train) < 2:
            raise ModelError(
                f"{len(self.train)} spectra to train on; at least 2 are needed, better thousands"
            )
        if batch % world:
            raise ConfigError(
                f"batch {batch} cannot be shared by {world} processes: give a multiple of {world}"
            )
        if isinstance(self.network, PaperNetwork) and isinstance(self.recipe, Recipe):
            raise ConfigError("the paper's network has no nodes to prune or give back: give it a PaperRecipe")

    @property
    def signal(self) -> float:
        """Nats a spectrum that the archive's variance is worth."""
        return self.progress.signal

    # --- the loop

    def run(self) -> Iterator[Moment]:
        """Train from where it stands to the last step."""
        self.network.train()
        while self.progress.step < self.recipe.steps:
            try:
                yield from self._stretch()
            except Setback as setback:
                self._back(str(setback), collapse=setback.collapse)
        self.network.eval()

    def _stretch(self) -> Iterator[Moment]:
        """Steps until the end, or until a setback."""
        p, steps, sums = self.progress, self.recipe.steps, Sums()
        begun, last, waited = p.step, time.monotonic(), 0.0
        share = (self.fabric.global_rank, self.fabric.world_size)
        with Feed(
            self.source, self.draws, first=begun, last=steps, device=self.fabric.device, share=share
        ) as feed:
            for batch in feed:
                if p.step > begun and p.step % self.keep_every == 0:
                    self.fresh = self.snapshot()
                self._operate()
                terms, rate = self._terms(), self.recipe.rate_at(p.step) * p.slow
                loss = self._backward(batch, terms, rate=rate)
                if self._sound(loss):
                    self._step()
                    sums.add(loss)
                self.optimizer.zero_grad(set_to_none=True)
                p.step += 1
                if p.step % LOOK == 0 or p.step == steps:
                    self._look(sums)
                if p.step % self.every == 0 or p.step == steps:
                    took = max(time.monotonic() - last, 1e-9)
                    yield self._moment(sums, terms, rate=rate, took=took, waited=feed.waited - waited)
                    sums, last, waited = Sums(), time.monotonic(), feed.waited

    def _terms(self) -> Terms:
        recipe, p = self.recipe, self.progress
        fraction = p.step / recipe.steps
        return Terms(
            recipe.beta_at(fraction, signal=p.signal, misfit=p.misfit) * p.gentle,
            recipe.floor_at(fraction),
            recipe.blur_at(fraction) / (self.source.step or 1.0),
            recipe.agree,
            recipe.still,
            recipe.seek * p.signal if fraction < recipe.alone else 0.0,
            DOUBT * recipe.seek * p.signal if fraction >= recipe.alone and p.step % DOUBT == 0 else 0.0,
        )

    def _backward(self, batch: Tensors, terms: Terms, *, rate: float) -> Loss:
        """One step's loss and gradients; draws are the whole batch's, of which each process takes its own."""
        recipe, step, device = self.recipe, self.progress.step, self.fabric.device
        rank, world = self.fabric.global_rank, self.fabric.world_size
        share = slice(rank * recipe.batch // world, (rank + 1) * recipe.batch // world)
        noise = noise_of(step, seed=self.seed, batch=recipe.batch, nodes=self.network.config.n_latent)
        if recipe.whiten:
            wanted = recipe.whiten * throws_of(step, seed=self.seed, batch=recipe.batch)
            batch = thrown(batch, wanted[share], step=self.source.step or 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["speed"]
        loss: Loss = self.objective(aired(batch, self.network), noise[share].to(device), terms)
        self.fabric.backward(loss.total)
        return loss

    def _step(self) -> None:
        recipe = self.recipe
        most = recipe.clip_at(self.source.pixels) if isinstance(recipe, PaperRecipe) else 0.0
        if most:
            model, optimizer = self.objective, self.optimizer
            self.fabric.clip_gradients(model, optimizer, max_norm=most, error_if_nonfinite=False)
        self.optimizer.step()

    def _look(self, sums: Sums) -> None:
        """Bring the running means up to date, and see whether all is well."""
        p = self.progress
        if not sums.fresh:
            return
        loss, misfit, kl = sums.take(self._over_all)
        wrong = self._wrong(loss, misfit, kl)
        if p.step == self.recipe.steps and not self._finite():  # no loss tells of the last step
            wrong = "a weight is not a finite number"
        if wrong:
            raise Setback(wrong)
        p.misfit = 0.6 * p.misfit + 0.4 * misfit
        self.running_kl = 0.8 * self.running_kl + 0.2 * kl
        if self.fresh is not None:
            self.good, self.fresh = self.fresh, None
            due = time.monotonic() - self.saved > self.save_every
            if self.save_to is not None and self.fabric.broadcast(due):
                self.save()

    def _wrong(self, loss: float, misfit: float, kl: Tensor) -> str:
        """What is wrong, or nothing."""
        if not (np.isfinite(loss) and np.isfinite(misfit) and bool(torch.isfinite(kl).all())):
            return "the loss is not a finite number"
        if self.progress.step > 2 * LOOK and misfit > self.limit:
            return f"training diverged: {misfit:.3g} nats a spectrum unexplained"
        return ""

    def _sound(self, loss: Loss) -> bool:
        """May this step be taken? Looked at only where training failed before: one batch may be the cause."""
        p = self.progress
        if p.step >= p.careful:
            return True
        one = Sums()
        one.add(loss)
        wrong = self._wrong(*one.take(self._over_all))
        found = [x.grad.isfinite().all() for x in self.network.parameters() if x.grad is not None]
        if not wrong and not bool(torch.stack(found).all()):
            wrong = "a gradient is not a finite number"
        if wrong:
            p.left_out += 1
            self.progress.events.append(f"step {p.step} left out: {wrong}")
            if p.left_out >= LOOK:  # it is not the batch
                raise Setback(wrong)
        return not wrong

    def _moment(self, sums: Sums, terms: Terms, *, rate: float, took: float, waited: float) -> Moment:
        p = self.progress
        loss, chi2, misfit, kl, count = sums.means(self._over_all)
        told = p.step % self.tell_every == 0 or p.step == self.recipe.steps
        moment = Moment(
            step=p.step,
            loss=loss,
            chi2=chi2,
            misfit=misfit,
            kl=float(kl.sum()),
            active=int((self._on() * self.running_kl > ACTIVE).sum()),
            beta=terms.beta,
            floor=terms.floor,
            blur=terms.blur * (self.source.step or 1.0),
            rate=rate,
            spectra_per_s=count * self.recipe.batch / took,
            waited=waited / took,
            chi2_train=self.chi2(self.train) if told else float("nan"),
            chi2_valid=self.chi2(self.valid) if told else float("nan"),
            event="; ".join(p.events),
        )
        p.events = []
        p.moments.append(moment.as_dict())
        return moment

    # --- what is done to nodes, what is told

    def _operate(self) -> None:
        """Prune, merge and give back where the recipe says so."""
        p = self.progress
        if not (self.surgery and self.surgery.is_due(p)):
            return
        if not self._finite():  # no eigenproblem takes it, and it would look like a collapse
            raise Setback("a weight is not a finite number")
        p.events += self.surgery.operate(p)
        if self.fabric.world_size > 1:  # every process takes the first one's weights
            for value in self.network.state_dict().values():
                torch.distributed.broadcast(value, 0)

    def finish(self) -> dict[str, Tensor]:
        """Switch weak nodes and copies off for good; returns the weights with every node on."""
        p, unpruned = self.progress, {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        if self.surgery and self.surgery.recipe.prune_at:
            try:
                text = self.surgery.prune(self.surgery.recipe.prune_kl[-1], 1.0, p)
            except Setback as setback:
                raise ModelError(
                    f"training ended, yet {setback}: {p.misfit:.0f} of {p.signal:.0f} nats a spectrum are "
                    "unexplained. Train for more steps"
                ) from None
            self.network.eval()
            last = p.moments[-1]
            p.moments[-1] = last | {"event": "; ".join(filter(None, (last["event"], *p.events, text)))}
            p.events = []
        return unpruned

    def chi2(self, rows: ArrayLike) -> float:
        """Median chi2 a pixel at the mean code, over a spread sample of these rows; no floor."""
        rows = np.asarray(rows, np.intp)
        if not len(rows):
            return float("nan")
        count = min(CHECK, max(16, 2**24 // self.source.pixels))
        batch = on(self.fabric.device, self._read(rows, count))
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

    def _back(self, why: str, *, collapse: bool) -> None:
        """To the last good state at a lower rate; after a collapse to the start, with a lower beta."""
        p = self.progress
        if len(p.setbacks) >= MOST_SETBACKS:
            hint = "Look at the spectra for values that dwarf the rest, or lower the rate in --config"
            if collapse and self.recipe.steps < SHORT:
                hint = f"{self.recipe.steps} steps are few: train for {SHORT} or more"
            raise TrainingFailed(
                f"training failed {len(p.setbacks) + 1} times, last at step {p.step}: {why}. {hint}"
            )
        state = self.first if collapse else self.good
        self._restore(state)
        q = self.progress
        q.slow, q.gentle = 0.5 * p.slow, p.gentle * (0.3 if collapse else 1.0)
        q.careful = max(p.careful, p.step)
        text = f"at step {p.step} {why}: back to step {q.step}, rate now {q.slow:.3g} of the plan"
        q.setbacks = [*p.setbacks, text + (f", beta {q.gentle:.3g} of it" if collapse else "")]
        # moments after that state are taken back, and with them what they told of earlier setbacks
        told = "; ".join(moment["event"] for moment in q.moments)
        q.events = [x for x in q.events if x not in p.setbacks] + [x for x in q.setbacks if x not in told]
        self.good, self.fresh = self.snapshot(), None
        self.save()

    def snapshot(self) -> State:
        """From this, training goes on as if nothing had been."""
        tensors = state_tensors(self.network, self.optimizer.optimizer)
        return State(tensors | {"running_kl": self.running_kl.clone()}, self.progress.facts())

    def _restore(self, state: State) -> None:
        restore(self.network, self.optimizer.optimizer, state.tensors)
        self.running_kl = state.tensors["running_kl"].clone()
        self.progress = Progress(**Progress(**state.facts).facts())

    def made_from(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be gone on from."""
        return {
            "network": network_facts(self.network),
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
            "balance": self.balance,
            "store": self.source.fingerprint,
            "rows": hashlib.blake2b(self.train.astype("<i8").tobytes(), digest_size=16).hexdigest(),
        }

    def save(self) -> None:
        """Write the last good state to `save_to`; one process writes. A full disk does not end a training."""
        if self.save_to is None:
            return
        if self.fabric.is_global_zero:
            try:
                write_state(self.save_to, self.good, made_from=self.made_from())
                self.unsaved = False
            except AstroprismError as error:
                if not self.unsaved:  # told once
                    self.progress.events.append(f"the unfinished training could not be saved: {error}")
                self.unsaved = True
        self.saved = time.monotonic()
        self.fabric.barrier()

    def resume(self) -> bool:
        """Go on from `save_to` if it is there and was made from the same; True if so."""
        path = self.save_to
        if path is None or not path.exists():
            return False
        found = read_state(path, self.optimizer.optimizer, like=self.first, made_from=self.made_from())
        if not isinstance(found, State):
            self.progress.events.append(
                f"begun anew: the unfinished training there was of another {' and '.join(found)}"
            )
            self.first = self.good = self.snapshot()
            return False
        self._restore(found)
        self.good = self.snapshot()
        return True

    # --- small things

    def _on(self) -> Tensor:
        """1 for each node that is on (n,), 0 for a pruned one, whose KL says nothing."""
        on_off = getattr(self.network, "keep", None)
        return torch.ones_like(self.running_kl) if on_off is None else on_off.to(self.running_kl)

    def _read(self, rows: NDArray[np.intp], count: int) -> Tensors:
        rows = fair(rows, count, source=self.source, seed=self.seed)
        return load(rows, self.source, network=self.network)

    def _finite(self) -> bool:
        return all(bool(x.isfinite().all()) for x in self.network.parameters())

    def _over_all(self, x: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return x
        return self.fabric.all_reduce(x, reduce_op="mean")  # type: ignore[return-value]
