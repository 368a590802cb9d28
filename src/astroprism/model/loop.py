"""The training loop: a generator of moments that can be cut off anywhere and continued with the same result.

All that a step draws (rows, noise, displacements) depends on seed and step alone; all that it carries
(weights, moments of the optimiser, running means, what was pruned) is in one snapshot, in memory and on disk.
So a training that was killed and resumed ends with the same weights, bit for bit.

    Training          calibrates the network, makes template, objective and optimiser
      .run            the steps; a Moment every few of them
      .finish         prunes for good
      .save, .resume  the unfinished training on disk
"""

from __future__ import annotations

import hashlib
import math
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
from ..measures.line_tables import in_sky_bands
from ..network import PaperNetwork, Prism, PrismConfig
from ..network.doppler import SPEED_OF_LIGHT as LIGHT
from ..network.doppler import pixels_of
from ..network.paper import level
from ..schema import AxesFacts
from .axes import turn_to_axes
from .checkpoint import State, network_facts, read_state, restore, state_tensors, write_state
from .data import Draws, Feed, Source, Tensors, fair
from .gauge import regauge
from .history import Moment, Status
from .loss import chi2_per_pixel, residual, signal_nats
from .movers import Movers, behind_air, movers
from .nodes import Setback, Surgery, codes, misfit, sizing
from .noise import grain, learned
from .objective import (
    Loss,
    PaperObjective,
    PrismObjective,
    Sums,
    Terms,
    displaced,
    displacements_of,
    noise_of,
)
from .parting import Parted
from .recipe import PaperRecipe, Recipe
from .response import response_of
from .velocity import polish_afresh, template_of, whose

CHECK = 10  # steps between checks of the loss: each waits for the device
RELOCK = 4  # steps between searches for velocities that fit better elsewhere
KEEP = 50  # steps between snapshots in memory, or a few more
JUDGED = 250  # held-out and training spectra of which chi2 is taken
ACTIVE = 0.1  # nats of KL
FITTED = 0.15  # share of the signal that may be unexplained when scatter begins to be learned
DIVERGED = 20.0  # times the signal, or the misfit at the start: no training has more on its way down
MOST_SETBACKS = 6
SHORT = 300  # steps below which a recipe in fractions of them leaves no time to any part


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
        found: Movers | None = None,
        apart: Parted | None = None,
    ) -> None:
        """
        train, valid  rows of the source; training is judged on valid, which decides nothing
        save_to       file of the unfinished training; None saves nothing
        save_every    seconds between two writes of it
        found         what `movers` gave of the training spectra; sought for a free atmosphere if not given
        apart         mean star and atmosphere of a series of one star, which training begins with
        """
        self.source, self.network, self.recipe, self.seed = source, network, recipe, seed
        self.one_star = apart is not None
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.balance, self.save_to, self.save_every = balance, save_to, save_every
        self.train, self.valid = np.asarray(train, np.intp), np.asarray(valid, np.intp)
        self.moving = bool(getattr(network.config, "moving_air", False))
        self._refuse()
        self.draws = Draws(source.targets, self.train, batch=recipe.batch, seed=seed, balance=balance)
        self.every = max(CHECK, recipe.steps // 400 // CHECK * CHECK)  # steps per moment
        # a snapshot begins a moment, so that a resumed training yields the same moments
        self.keep_every = -(-KEEP // self.every) * self.every
        self.judge_every = max(1, round(recipe.steps / 20 / self.every)) * self.every  # steps between chi2
        self.response = response_of(network)
        size, floor = sizing(source.pixels, len(self.train)), recipe.floor_at(0.0)
        sample = self._sample(self.train, size.sample)
        self.axes: AxesFacts | None = None  # known once training is over

        self.movers = found
        fast: list[Tensor] = []  # parameters with a rate of their own
        if isinstance(network, Prism):
            network.calibrate(sample.flux, sigma=sample.sigma, good=sample.good, berv=sample.berv)
            objective: PrismObjective | PaperObjective
            objective = prism = PrismObjective(
                network,
                over_all=self._over_all,
                processes=self.fabric.world_size,
                share=min(1.0, recipe.batch / len(self.train)),
            )
            if apart is not None:
                network.begin(apart.star, apart.air)
            fast = [] if network.config.agnostic else [network.decoder.log_gain]
            if fast and recipe.alone > 0 and recipe.seek > 0:
                self._seek(prism, sample, floor=floor)
        else:
            assert isinstance(recipe, PaperRecipe)
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
        self.ceiling: Tensor | None = None
        if isinstance(objective, PrismObjective):
            self.ceiling = objective.ceiling = objective.ceiling.to(self.fabric.device)
            objective.bands = self._sky_bands().to(self.fabric.device)
        self.objective, self.optimizer = self.fabric.setup(objective, optimizer)

        self.sample = sample.to(self.fabric.device)
        self.surgery: Surgery | None = None
        if isinstance(network, Prism) and isinstance(recipe, Recipe):
            self.surgery = Surgery(network, self.optimizer.optimizer, self.sample, recipe, seed)
        signal = self._signal(self.sample, floor=floor)
        few = self.sample.at(slice(size.few))
        at_start = misfit(network, codes(network, few)[0], few, floor=floor).mean()
        self.limit = DIVERGED * max(signal, source.pixels, float(at_start))  # nats per spectrum
        self.status = Status(signal=signal, misfit=signal)
        self.running_kl = torch.full((network.config.n_latent,), signal)
        self.saved, self.unsaved = time.monotonic(), False
        self.fresh: State | None = None  # good if the next check finds nothing wrong
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

    def _seek(self, objective: PrismObjective, sample: Tensors, *, floor: float) -> None:
        """What cross-correlation seeks while velocities are alone: a star, and an air that moves freely.

        Where the atmosphere is the stronger it is drawn first, for lines of it that a moving star has taken
        over are undone by other nodes, and never given back.
        """
        config, device = objective.network.config, self.fabric.device
        both = self.movers
        if config.free_air:
            both = movers(sample, config=config, floor=floor) if both is None else both
        else:
            template = template_of(sample, config=config, floor=floor)
            moving = whose(sample, template, config=config, floor=floor)
            if moving == "star":
                objective.template = template.to(device)
            elif moving == "air":
                both = behind_air(sample, config=config, floor=floor)
        if both is not None:
            self.movers = objective.movers = both.to(device)
            if self.air_first:
                objective.network.decoder.air_first()

    @property
    def air_first(self) -> bool:
        """Whether the atmosphere is what moves most."""
        return self.movers is not None and not self.movers.star_first

    def _sky_bands(self) -> Tensor:
        """Of the atmosphere's pixels, those in which it is known to absorb; none without wavelengths."""
        config = self.network.config
        if self.source.first is None or not isinstance(config, PrismConfig) or config.agnostic:
            return torch.zeros((), dtype=torch.bool)
        wide = config.moving_air or config.free_air
        first, count = (-config.pad, config.width) if wide else (0, config.pixels)
        steps = np.arange(first, first + count) * math.log1p(config.step / LIGHT)
        return torch.from_numpy(in_sky_bands(self.source.first * np.exp(steps)))

    def _signal(self, sample: Tensors, *, floor: float) -> float:
        """Nats per spectrum that the archive's variance is worth; that the atmosphere moves is no signal.

        Where its lines are the strongest, their motion is worth ten times what all stars are, and schedules
        in shares of it would hold the star down until training is half over.
        """
        network = self.network
        found = signal_nats(sample.flux, sample.sigma, good=sample.good, floor=floor)
        if not isinstance(network, Prism):
            return found
        if self.movers is not None:
            air = self.movers.shifts(sample, config=network.config, floor=floor).air.pixels
        elif sample.berv is not None:
            air = pixels_of(sample.berv, network.config.step)
        else:
            return found
        still = network.still(sample.flux, good=sample.good, air=air)
        return min(found, signal_nats(still, sample.sigma, good=sample.good, floor=floor))

    # --- the loop

    def run(self) -> Iterator[Moment]:
        """Train from the current step to the last."""
        self.network.train()
        while self.status.step < self.recipe.steps:
            try:
                yield from self._steps()
            except Setback as setback:
                self._back(str(setback), collapse=setback.collapse)
        self.network.eval()

    def _steps(self) -> Iterator[Moment]:
        """Steps until the end, or until a setback."""
        status, recipe, sums = self.status, self.recipe, Sums()
        begun, last, waited = status.step, time.monotonic(), 0.0
        share = (self.fabric.global_rank, self.fabric.world_size)
        device = self.fabric.device
        with Feed(
            self.source, self.draws, first=begun, last=recipe.steps, device=device, share=share
        ) as feed:
            for batch in feed:
                if status.step > begun and status.step % self.keep_every == 0:
                    self.fresh = self.snapshot()
                self._operate()
                terms, rate = self._terms(), recipe.rate_at(status.step) * status.slow
                loss = self._backward(batch, terms, rate=rate)
                if self._sound(loss):
                    if isinstance(recipe, PaperRecipe) and (most := recipe.clip_at(self.source.pixels)):
                        self.fabric.clip_gradients(
                            self.objective, self.optimizer, max_norm=most, error_if_nonfinite=False
                        )
                    self.optimizer.step()
                    sums.add(loss)
                self.optimizer.zero_grad(set_to_none=True)
                status.step += 1
                if status.step % CHECK == 0 or status.step == recipe.steps:
                    self._check(sums)
                if status.step % self.every == 0 or status.step == recipe.steps:
                    if self._nothing_is_left():
                        status.events.append(
                            f"nothing varies beyond the noise: ended at step {status.step:,}"
                        )
                        status.step = recipe.steps
                    took = max(time.monotonic() - last, 1e-9)
                    yield self._moment(sums, terms, rate=rate, took=took, waited=feed.waited - waited)
                    sums, last, waited = Sums(), time.monotonic(), feed.waited
                    if status.step == recipe.steps:
                        return

    def _nothing_is_left(self) -> bool:
        """Whether no node is on, and all that the spectra differ by is less than one must explain."""
        status = self.status
        if self.surgery is None or not status.pruned or status.step == self.recipe.steps:
            return False
        fraction = status.step / self.recipe.steps
        bare = not bool(self.surgery.network.keep.any())
        return bare and status.signal <= self.surgery.bound(fraction, status)

    def _operate(self) -> None:
        """Prune nodes and give them back where the recipe says so."""
        status = self.status
        if not (self.surgery and self.surgery.is_due(status)):
            return
        if not self._finite():  # no eigenproblem takes it, and it would look like a collapse
            raise Setback("a weight is not a finite number")
        status.events += self.surgery.operate(status)
        if self.fabric.world_size > 1:  # every process takes the first one's weights
            for value in self.network.state_dict().values():
                torch.distributed.broadcast(value, 0)

    def _terms(self) -> Terms:
        """What the recipe gives for this step."""
        recipe, status = self.recipe, self.status
        fraction, pull = status.step / recipe.steps, recipe.seek * status.signal
        alone = fraction < recipe.alone
        learns = fraction >= recipe.scatter_from and self._fitted()
        applied = status.watched >= recipe.scatter_watched * recipe.steps
        status.watched += learns and not applied
        beta = recipe.beta_at(fraction, signal=status.signal, misfit=status.misfit) * status.gentle
        return Terms(
            beta=beta,
            move_beta=recipe.move_beta(beta) if self.air_first else beta,
            spared=tuple(status.led) if status.step < status.led_at + recipe.spare * recipe.steps else (),
            floor=recipe.floor_at(fraction),
            blur=recipe.blur_at(fraction) / (self.source.step or 1.0),
            agree=recipe.agree,
            still=recipe.still,
            seek=pull if alone else 0.0,
            # every RELOCK-th step alone, with that weight
            relock=RELOCK * pull if not alone and status.step % RELOCK == 0 else 0.0,
            weaker=recipe.air,
            scatter=recipe.scatter_rate if learns else 0.0,
            applied=applied,
        )

    def _fitted(self) -> bool:
        """Whether most of the signal is fitted: what is not fitted yet is no scatter.

        Errors stated far too small are nats of misfit that no fit takes away: noise from pixel to pixel is
        told from lines, and does not count. And as the floor falls, misfit and signal both grow.
        """
        status, network = self.status, self.network
        if status.misfit < FITTED * status.signal:
            return True
        if not isinstance(network, Prism) or network.config.agnostic:
            return False
        if status.step % self.judge_every == 0:
            network.eval()
            floor = self.recipe.floor_at(status.step / self.recipe.steps)
            status.grain = grain(network, self.sample, floor=floor)
            status.whole = self._signal(self.sample, floor=floor)
            network.train()
        whole = max(status.signal, status.whole)
        return status.misfit - status.grain < FITTED * (whole - status.grain)

    def _backward(self, batch: Tensors, terms: Terms, *, rate: float) -> Loss:
        """One step's loss and gradients; draws are the whole batch's, of which each process takes its own."""
        recipe, step, device = self.recipe, self.status.step, self.fabric.device
        rank, world = self.fabric.global_rank, self.fabric.world_size
        share = slice(rank * recipe.batch // world, (rank + 1) * recipe.batch // world)
        noise = noise_of(step, seed=self.seed, batch=recipe.batch, nodes=self.network.config.n_latent)
        if recipe.whiten:
            wanted = recipe.whiten * displacements_of(step, seed=self.seed, batch=recipe.batch)
            batch = displaced(batch, wanted[share], step=self.source.step or 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["speed"]
        batch = self._prepared(batch.with_air(moving=self.moving))
        loss: Loss = self.objective(batch, noise[share].to(device), terms)
        self.fabric.backward(loss.total)
        return loss

    def _moment(self, sums: Sums, terms: Terms, *, rate: float, took: float, waited: float) -> Moment:
        status = self.status
        loss, chi2, misfit, kl, count = sums.means(self._over_all)
        judged = status.step % self.judge_every == 0 or status.step == self.recipe.steps
        keep = getattr(self.network, "keep", None)  # the KL of a pruned node means nothing
        on = self.running_kl if keep is None else keep.to(self.running_kl) * self.running_kl
        moment = Moment(
            step=status.step,
            loss=loss,
            chi2=chi2,
            misfit=misfit,
            kl=float(kl.sum()),
            active=int((on > ACTIVE).sum()),
            beta=terms.beta,
            floor=terms.floor,
            blur=terms.blur * (self.source.step or 1.0),
            rate=rate,
            spectra_per_s=count * self.recipe.batch / took,
            waited=waited / took,
            chi2_train=self.chi2(self.train) if judged else float("nan"),
            chi2_valid=self.chi2(self.valid) if judged else float("nan"),
            event="; ".join(status.events),
        )
        status.events = []
        status.moments.append(moment.as_dict())
        return moment

    def finish(self) -> dict[str, Tensor]:
        """Switch weak nodes and copies off for good; returns the weights with every node on."""
        status = self.status
        self._regauge()
        if self.surgery:
            self.surgery.idle()
        unpruned = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        if self.surgery and self.surgery.recipe.prune_at:
            try:
                text = self.surgery.prune(self.surgery.recipe.prune_kl[-1], 1.0, status)
            except Setback as setback:
                raise ModelError(
                    f"training ended, yet {setback}: {status.misfit:.0f} of {status.signal:.0f} nats per "
                    "spectrum are unexplained. Train for more steps"
                ) from None
            self.network.eval()
            last = status.moments[-1]
            status.moments[-1] = last | {
                "event": "; ".join(filter(None, (last["event"], *status.events, text)))
            }
            status.events = []
            self._regauge()
            unpruned |= self._turn()
        return unpruned

    def _turn(self) -> dict[str, Tensor]:
        """Turn the nodes to the axes that their codes single out; what that adds to the weights."""
        network, units = self.network, len(np.unique(self.source.targets[self.train]))
        assert isinstance(network, Prism)
        batch = learned(network, self.sample.at(slice(units)))  # it has one spectrum of each unit first
        self.axes = turn_to_axes(network, batch, floor=self.recipe.floor[-1][1], seed=self.seed)
        turn = {} if network.turn is None else network.turn.state_dict()
        return {f"turn.{name}": value.detach().clone() for name, value in turn.items()}

    def _regauge(self) -> None:
        """Give all kinds of star one zero of velocity."""
        if isinstance(self.network, Prism) and self.surgery:
            self.network.eval()
            regauge(self.network, self.sample)

    def chi2(self, rows: ArrayLike, *, stated: bool = False) -> float:
        """Median chi2 per pixel at the mean code (of one star polished), of a fair sample of rows; no floor.

        stated  with the errors that came with the spectra, not with those learned
        """
        rows = np.asarray(rows, np.intp)
        if not len(rows):
            return float("nan")
        count = min(JUDGED, max(16, 2**24 // self.source.pixels))
        batch = self._sample(rows, count).to(self.fabric.device)
        self.network.eval()
        if isinstance(self.network, Prism) and not stated:
            batch = learned(self.network, batch)
        found = []
        with torch.no_grad():
            for _, x in batch.pieces():
                mean, _ = self.network.encode(x.flux, good=x.good, berv=x.berv)
                if self.one_star and isinstance(self.network, Prism):
                    kept = self.network.keep.nonzero()[:, 0].tolist()
                    mean = polish_afresh(self.network, mean, x, nodes=kept, floor=self.recipe.floor[-1][1])
                residuals = residual(x.flux, self.network.decode(mean, berv=x.berv), good=x.good)
                found.append(chi2_per_pixel(residuals, x.sigma, good=x.good))
        self.network.train()
        return float(torch.cat(found).nanmedian())

    # --- is all well? back to the last good state if not

    def _check(self, sums: Sums) -> None:
        """Bring the running means up to date; what is wrong is a setback, what is well is kept."""
        status = self.status
        if not sums.fresh:
            return
        loss, misfit, kl = sums.take(self._over_all)
        wrong = self._wrong(loss, misfit, kl)
        if status.step == self.recipe.steps and not self._finite():  # no loss follows the last step
            wrong = "a weight is not a finite number"
        if wrong:
            raise Setback(wrong)
        status.misfit = 0.6 * status.misfit + 0.4 * misfit
        self.running_kl.lerp_(kl, 0.2)
        if self.fresh is not None:
            self.good, self.fresh = self.fresh, None
            due = time.monotonic() - self.saved > self.save_every
            if self.save_to is not None and self.fabric.broadcast(due):
                self.save()

    def _wrong(self, loss: float, misfit: float, kl: Tensor) -> str:
        """What is wrong, or nothing."""
        if not (np.isfinite(loss) and np.isfinite(misfit) and bool(torch.isfinite(kl).all())):
            return "the loss is not a finite number"
        if self.status.step > 2 * CHECK and misfit > self.limit:
            return f"training diverged: {misfit:.3g} nats a spectrum unexplained"
        return ""

    def _sound(self, loss: Loss) -> bool:
        """May this step be taken? Checked only where training failed before: one batch may be the cause."""
        status = self.status
        if status.step >= status.careful:
            return True
        one = Sums()
        one.add(loss)
        wrong = self._wrong(*one.take(self._over_all))
        found = [x.grad.isfinite().all() for x in self.network.parameters() if x.grad is not None]
        if not wrong and not bool(torch.stack(found).all()):
            wrong = "a gradient is not a finite number"
        if wrong:
            status.left_out += 1
            status.events.append(f"step {status.step} left out: {wrong}")
            if status.left_out >= CHECK:  # it is not the batch
                raise Setback(wrong)
        return not wrong

    def _back(self, why: str, *, collapse: bool) -> None:
        """To the last good state at a lower rate; after a collapse to the start, with a lower beta."""
        then = self.status
        if len(then.setbacks) >= MOST_SETBACKS:
            hint = "Look at the spectra for values that dwarf the rest, or lower the rate in --config"
            if collapse and self.recipe.steps < SHORT:
                hint = f"{self.recipe.steps} steps are few: train for {SHORT} or more"
            raise TrainingFailed(
                f"training failed {len(then.setbacks) + 1} times, last at step {then.step}: {why}. {hint}"
            )
        self._restore(self.first if collapse else self.good)
        now = self.status
        now.slow, now.gentle = 0.5 * then.slow, then.gentle * (0.3 if collapse else 1.0)
        now.careful = max(then.careful, then.step)
        text = f"at step {then.step} {why}: back to step {now.step}, rate now {now.slow:.3g} of the plan"
        now.setbacks = [*then.setbacks, text + (f", beta {now.gentle:.3g} of it" if collapse else "")]
        # moments after that state are taken back, and with them the earlier setbacks that they report
        reported = "; ".join(moment["event"] for moment in now.moments)
        now.events = [x for x in now.events if x not in then.setbacks]
        now.events += [x for x in now.setbacks if x not in reported]
        self.good, self.fresh = self.snapshot(), None
        self.save()

    def _finite(self) -> bool:
        return all(bool(x.isfinite().all()) for x in self.network.parameters())

    # --- snapshots

    def snapshot(self) -> State:
        """All that training needs to continue as if nothing had happened."""
        tensors = state_tensors(self.network, self.optimizer.optimizer)
        own = {name: value.clone() for name, value in self._own().items()}
        return State(tensors | own, self.status.facts())

    def _own(self) -> dict[str, Tensor]:
        """What is neither the network's nor the optimiser's."""
        own = {"running_kl": self.running_kl}
        if self.ceiling is not None:
            own["ceiling"] = self.ceiling
        return own

    def _restore(self, state: State) -> None:
        restore(self.network, self.optimizer.optimizer, state.tensors)
        for name, value in self._own().items():
            value.copy_(state.tensors[name])
        self.status = Status(**Status(**state.facts).facts())

    def made_from(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed."""
        return {
            "network": network_facts(self.network).to_json(),
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
                if not self.unsaved:  # one event for a full disk, not one each time
                    self.status.events.append(f"the unfinished training could not be saved: {error}")
                self.unsaved = True
        self.saved = time.monotonic()
        self.fabric.barrier()

    def resume(self) -> bool:
        """Continue from `save_to` if it is there and was made from the same; True if so."""
        path = self.save_to
        if path is None or not path.exists():
            return False
        found = read_state(path, self.optimizer.optimizer, like=self.first, made_from=self.made_from())
        if not isinstance(found, State):
            self.status.events.append(
                f"begun anew: the unfinished training there was of another {' and '.join(found)}"
            )
            self.first = self.good = self.snapshot()
            return False
        self._restore(found)
        self.good = self.snapshot()
        return True

    # --- small things

    def _sample(self, rows: NDArray[np.intp], count: int) -> Tensors:
        rows = fair(rows, count, source=self.source, seed=self.seed)
        return self._prepared(self.source.tensors(rows).with_air(moving=self.moving))

    def _prepared(self, batch: Tensors) -> Tensors:
        """The batch over its response, where one is taken out."""
        return batch if self.response is None else self.response.divided(batch)

    def _over_all(self, x: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.fabric.world_size == 1:
            return x
        return self.fabric.all_reduce(x, reduce_op="mean")  # type: ignore[return-value]
