"""What the recipe has done to nodes as training goes on: they join, weak ones are pruned, all come back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..network import Prism
from . import nodes
from .data import Tensors
from .history import Progress
from .loss import ablation_bound
from .recipe import Recipe


class Setback(Exception):
    """Training cannot go on from here; after a collapse, from no state but the first."""

    def __init__(self, why: str, *, collapse: bool = False) -> None:
        super().__init__(why)
        self.collapse = collapse


@dataclass(frozen=True)
class Surgery:
    """On the nodes of one network in training."""

    network: Prism
    optimizer: torch.optim.Optimizer
    sample: Tensors  # of the training spectra, on the device
    recipe: Recipe
    seed: int

    def is_due(self, p: Progress) -> bool:
        """Is anything to be done at this step?"""
        recipe, fraction = self.recipe, p.step / self.recipe.steps
        plans = ((recipe.prune_at, p.pruned), (recipe.give_back, p.back))
        due = any(done < len(plan) and fraction >= plan[done] for plan, done in plans)
        return due or p.step == 0 or (not p.joined and fraction >= recipe.alone)

    def operate(self, p: Progress) -> list[str]:
        """Do what is due at this step, and note it in `p`; what was done, in words."""
        recipe, done, network = self.recipe, [], self.network
        fraction = p.step / recipe.steps
        physics = not network.config.agnostic
        if physics and p.step == 0 and recipe.alone > 0:
            network.keep[1:] = 0.0
            done.append("the Doppler node begins alone")
        if not p.joined and fraction >= recipe.alone:
            p.joined = True
            if physics and recipe.alone > 0:
                network.keep.fill_(1.0)
                nodes.mend_moments(self.optimizer, network.places(range(1, network.config.n_latent)))
                done.append("the other nodes join")
        if p.pruned < len(recipe.prune_at) and fraction >= recipe.prune_at[p.pruned]:
            p.pruned += 1
            done.append(self.prune(recipe.prune_kl[p.pruned - 1], fraction, p))
        if p.back < len(recipe.give_back) and fraction >= recipe.give_back[p.back]:
            p.back += 1
            last = p.back == len(recipe.give_back)
            done.append(self._give_back(p, last=last))
        return done

    def bound(self, fraction: float, p: Progress) -> float:
        """Nats a spectrum that a node must explain to be kept."""
        floor = self.recipe.floor_at(fraction)
        own = ablation_bound(self.sample.sigma, good=self.sample.good, floor=floor)
        return max(own, self.recipe.prune_share * p.misfit)

    def prune(self, kl: float, fraction: float, p: Progress) -> str:
        """Switch weak nodes and copies off; constant spectra leave none."""
        bound = self.bound(fraction, p)
        self.network.eval()
        choice = nodes.choose(
            self.network,
            self.sample,
            kl=kl,
            bound=bound,
            floor=self.recipe.floor_at(fraction),
            overlap=self.recipe.overlap,
        )
        self.network.train()
        if not choice.kept and p.misfit > 0.3 * p.signal and p.signal > bound:
            raise Setback("no node is active, though the spectra vary", collapse=True)
        with torch.no_grad():
            self.network.keep.zero_()
            self.network.keep[choice.kept] = 1.0
        copies = "".join(f", {node} a copy of {other}" for node, other in choice.copies.items())
        return f"pruned to {len(choice.kept)} nodes {choice.kept} (bound {bound:.0f} nats){copies}"

    def _give_back(self, p: Progress, *, last: bool) -> str:
        self.network.eval()
        dead, started = nodes.give_back(
            self.network,
            self.sample,
            seed=self.seed + 7919 * p.back,
            seeds=0 if last else self.recipe.seeds,
            quiet=last,  # what they say at the end is counted
            floor=self.recipe.floor[-1][1],
            bound=self.bound(1.0, p),
        )
        self.network.train()
        nodes.mend_moments(self.optimizer, self.network.places(dead))
        led = "".join(f", {node} on {nats:.0f} nats of residual" for node, nats in started.items())
        return f"{len(dead)} nodes given back{led}"
