"""What each node does to the spectra, which nodes are worth keeping, and how they are given back in training.

    codes, misfit, ablation      what the encoder gives, and what nodes are worth to the likelihood
    polish, code_errors          codes moved to the best fit under the decoder, and how sure that is
    derivatives, overlaps        what nodes do to the spectra, and which two do the same
    choose                       weak nodes and copies against those that stay
    leads, give_back             what a returning node could explain
    Surgery                      all of it at the steps that the recipe names

Shapes: b spectra, p pixels, n nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..network import Prism
from ..network.doppler import pixels_of, shift
from ..network.prism import cut, widened
from .data import PIECE, Tensors
from .history import Status
from .loss import evened, gaussian_nll, inverse_variance, kl_per_node, prune_bound, residual
from .noise import learned
from .recipe import Recipe

APART = 0.05  # share of what the Doppler node does to the same spectra, below which a node is no copy of it
ENERGY = 0.9  # share of a node's effect that its directions must hold
POLISH_STEPS = 2
DAMPING = (1.0, 0.3, 0.1)  # shares of a step of the polish that are tried, until one is better
LED = 0.2  # share of a lead that the encoder's features must predict
TOLD = 0.3  # share of a lead that codes of living nodes tell, from which it is a bend of theirs, no new cause
MIXED = 0.5  # the same where what they do not tell of it is worth the bound alone
ROOM = 0.03  # of the farthest that a direction moves the decoder's features, below which it is of no use
MANY, FIFTHS = 500, 5  # spectra, of which a half is set aside to judge a lead; of fewer a fifth, five times
RIDGES = (10.0, 100.0, 1000.0)  # of the standardised features that predict a lead: the one that does it best


class Network(Protocol):
    """What is needed of a network here: both of ours have it."""

    def encode(
        self, flux: Tensor, *, good: Tensor | None = None, berv: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """flux (b, p) -> mean and log-variance, (b, n) each."""

    def decode(self, z: Tensor, *, berv: Tensor | None = None) -> Tensor:
        """z (b, n) -> spectra (b, p)."""


class Sizing(NamedTuple):
    """How many spectra are looked at, so that they fit in memory at any length."""

    sample: int
    few: int  # of which derivatives are taken


def sizing(pixels: int, count: int) -> Sizing:
    """At most a GiB of flux, and 3,000 spectra; derivatives of 64, or 8 of long ones."""
    return Sizing(min(count, 3000, max(64, 2**28 // pixels)), min(count, 64, max(8, 2**18 // pixels)))


@torch.no_grad()
def codes(network: Network, batch: Tensors) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of every spectrum, (b, n) each."""
    found = [network.encode(x.flux, good=x.good, berv=x.berv) for _, x in batch.pieces()]
    return torch.cat([mean for mean, _ in found]), torch.cat([logvar for _, logvar in found])


@torch.no_grad()
def misfit(network: Network, z: Tensor, batch: Tensors, *, floor: float) -> Tensor:
    """Negative log-likelihood of the spectra at codes z (b, n), in nats per spectrum (b,)."""
    out = []
    for rows, x in batch.pieces():
        residuals = residual(x.flux, network.decode(z[rows], berv=x.berv), good=x.good)
        out.append(gaussian_nll(residuals, x.sigma, good=x.good, floor=floor))
    return torch.cat(out)


@torch.no_grad()
def ablation(
    network: Network, mean: Tensor, batch: Tensors, *, floor: float, nodes: Sequence[int] | None = None
) -> Tensor:
    """Rise of the negative log-likelihood with one node fixed at its mean code, nats (b, n).

    nodes  those that are measured, all by default; 0 for the others
    """
    rise = torch.zeros_like(mean)
    base = misfit(network, mean, batch, floor=floor)
    for i in range(mean.shape[1]) if nodes is None else nodes:
        fixed = mean.clone()
        fixed[:, i] = mean[:, i].mean()
        rise[:, i] = misfit(network, fixed, batch, floor=floor) - base
    return rise


@torch.no_grad()
def substitution(network: Network, mean: Tensor, batch: Tensors, other: Tensor, *, floor: float) -> Tensor:
    """Rise of the negative log-likelihood with one node at another code (b, n), nats (b, n)."""
    rise = torch.zeros_like(mean)
    base = misfit(network, mean, batch, floor=floor)
    for i in range(mean.shape[1]):
        moved = mean.clone()
        moved[:, i] = other[:, i]
        rise[:, i] = misfit(network, moved, batch, floor=floor) - base
    return rise


@torch.no_grad()
def derivatives(
    network: Network,
    z: Tensor,
    batch: Tensors,
    *,
    nodes: Sequence[int] | None = None,
    directions: Tensor | None = None,
) -> Tensor:
    """What a unit of each node does to the spectra, in sigma: (b, nodes, p), by central differences.

    directions  (d, n) in which codes move, instead of each of `nodes` alone: (b, d, p)
    """
    out, h = [], 0.01
    if directions is None:
        alone = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        directions = alone if nodes is None else alone[list(nodes)]
    for direction in directions:
        move = h * direction
        rise = network.decode(z + move, berv=batch.berv) - network.decode(z - move, berv=batch.berv)
        slope = rise / (2 * h * batch.sigma)
        out.append(slope if batch.good is None else slope.masked_fill(~batch.good, 0))
    return torch.stack(out, 1)


@torch.no_grad()
def overlaps(slopes: Tensor, *, moving: Sequence[int] = ()) -> Tensor:
    """How alike two nodes act, (n, n) from derivatives (b, n, p): 0 apart, 1 the same.

    The share of one node's effect that lies in the directions of the other's, over the data, the smaller way
    round. Codes need not correlate for that: one cause can be split over nodes of independent codes.

    moving  places of nodes that shift. Over many velocities their directions span nearly all that lines of
            one shape can do, their depth included; so such a node and another are the same only where they do
            the same to the same spectrum, too (`APART`)
    """
    n = slopes.shape[1]
    bases = []
    for i in range(n):
        a = slopes[:, i]  # (b, p)
        energy, vectors = torch.linalg.eigh(a @ a.T)
        energy, vectors = energy.flip(0).clamp(min=0), vectors.flip(1)
        rank = int((energy.cumsum(0) < ENERGY * energy.sum()).sum()) + 1
        bases.append((a.T @ vectors[:, :rank]) / energy[:rank].clamp(min=1e-20).sqrt())
    out = torch.zeros(n, n)
    for i in range(n):
        whole = (slopes[:, i] ** 2).sum().clamp(min=1e-20)
        for j in range(n):
            out[i, j] = ((slopes[:, i] @ bases[j]) ** 2).sum() / whole
    out = torch.minimum(out, out.T)
    energy = (slopes**2).sum(2)
    for one in moving:
        together = torch.einsum("bp,bnp->bn", slopes[:, one], slopes) ** 2
        same = together.sum(0) / (energy[:, one, None] * energy).sum(0).clamp(min=1e-20)
        apart = same < APART
        out[one, apart] = out[apart, one] = 0.0
    return out


def moving_nodes(network: object, nodes: Sequence[int]) -> list[int]:
    """Places of those among `nodes` that shift: for `overlaps`."""
    moves = network.config.moves if isinstance(network, Prism) else 0
    return [place for place, node in enumerate(nodes) if node < moves]


@torch.no_grad()
def polish(
    network: Network,
    mean: Tensor,
    batch: Tensors,
    *,
    nodes: Sequence[int],
    floor: float,
    steps: int = POLISH_STEPS,
) -> Tensor:
    """Codes (b, n) with those of `nodes` moved to where likelihood times prior is higher; never lower."""
    if not nodes or not len(mean):
        return mean

    def cost(z: Tensor, x: Tensors) -> Tensor:
        residuals = residual(x.flux, network.decode(z, berv=x.berv), good=x.good)
        return gaussian_nll(residuals, x.sigma, good=x.good, floor=floor) + 0.5 * (z[:, nodes] ** 2).sum(1)

    out = []
    for rows, x in batch.pieces(PIECE // max(1, len(nodes) // 4)):  # derivatives take p pixels per node
        z = mean[rows].clone()
        value = cost(z, x)
        for _ in range(steps):
            step = _gauss_newton(network, z, x, nodes=nodes, floor=floor)
            begun, moved = z, torch.zeros(len(z), dtype=torch.bool, device=z.device)
            for damping in DAMPING:
                tried = begun.clone()
                tried[:, nodes] += damping * step
                new = cost(tried, x)
                # each spectrum for itself: its code must not depend on which others share its batch
                better = (new < value) & ~moved
                z, value = torch.where(better[:, None], tried, z), torch.where(better, new, value)
                moved |= better
                if bool(moved.all()):
                    break
        out.append(z)
    return torch.cat(out)


def _gauss_newton(network: Network, z: Tensor, x: Tensors, *, nodes: Sequence[int], floor: float) -> Tensor:
    """The full step (b, k) of `nodes` for a Gaussian likelihood and a unit Gaussian prior."""
    slopes, matrix, soft = _curvature(network, z, x, nodes=nodes, floor=floor)
    residuals = residual(x.flux, network.decode(z, berv=x.berv), good=x.good) / x.sigma * soft
    if x.good is not None:
        residuals = residuals.masked_fill(~x.good, 0)
    right = (slopes @ residuals[:, :, None])[:, :, 0] - z[:, nodes]
    step: Tensor = torch.linalg.solve(matrix, right)
    return step


def _curvature(
    network: Network, z: Tensor, x: Tensors, *, nodes: Sequence[int], floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(slopes (b, k, p) in sigma, matrix (b, k, k), share (b, p) of sigma in sigma and floor)."""
    soft = x.sigma / (x.sigma**2 + floor**2).sqrt()
    slopes = derivatives(network, z, x, nodes=nodes) * soft[:, None]
    return slopes, slopes @ slopes.transpose(1, 2) + torch.eye(len(nodes)).to(slopes), soft


@torch.no_grad()
def code_errors(network: Network, z: Tensor, batch: Tensors, *, nodes: Sequence[int], floor: float) -> Tensor:
    """Standard deviations (b, k) of polished codes of `nodes`, all of them free: what the noise leaves open.

    The encoder's are larger where a node pays more than a nat for a nat, and a guess where few spectra
    trained it.
    """
    found = []
    for rows, x in batch.pieces(PIECE // max(1, len(nodes) // 4)):
        matrix = _curvature(network, z[rows], x, nodes=nodes, floor=floor)[1]
        found.append(torch.linalg.inv(matrix).diagonal(dim1=1, dim2=2).clamp(min=0).sqrt())
    return torch.cat(found)


def counts_for(batch: Tensors, *, floor: float) -> Tensor:
    """What each spectrum's nats count for where nodes are weighed, (b,): see `loss.evened`."""
    return evened(inverse_variance(batch.sigma, good=batch.good, floor=floor).sum(1))


class Choice(NamedTuple):
    """Which nodes stay."""

    kept: list[int]
    weak: list[int]  # too few nats
    copies: dict[int, int]  # node that did the same as a stronger one: that one


def choose(
    network: Prism,
    batch: Tensors,
    *,
    kl: float,
    bound: float,
    floor: float,
    overlap: float,
    last: bool = False,
) -> Choice:
    """Nodes worth keeping, on a sample of the training spectra.

    kl       nats of KL that a node must carry
    bound    nats per spectrum that it must explain
    overlap  with a stronger node, from which it is a copy
    last     no training follows that could bring a copy's work to the node that stays: a copy goes only where
             the codes of the others make up for it
    """
    few = sizing(batch.flux.shape[1], len(batch.flux)).few
    mean, logvar = codes(network, batch)
    carried = kl_per_node(mean, logvar).mean(0)
    alive = [i for i in carried.argsort(descending=True).tolist() if network.keep[i] > 0 and carried[i] > kl]
    some = batch.at(slice(max(few, 512)))
    rise = ablation(network, mean[: max(few, 512)], some, floor=floor, nodes=alive)
    rise = (rise * counts_for(some, floor=floor)[:, None]).mean(0)
    strong = [i for i in alive if rise[i] > bound]
    moves = len(moving_nodes(network, range(len(carried))))
    # worth its cost: a shift is a cause of its own, however little it explains
    strong += [i for i in range(moves) if i in alive and i not in strong and rise[i] > carried[i]]
    kept: list[int] = []
    copies: dict[int, int] = {}
    if strong:
        slopes = derivatives(network, mean[:few], batch.at(slice(few)), nodes=strong)
        same = overlaps(slopes, moving=moving_nodes(network, strong))
        place = {node: i for i, node in enumerate(strong)}
        # nodes that move first: of what shifts the same spectra, they are those that do it by design
        for node in sorted(strong, key=lambda i: (i >= moves, -float(rise[i]))):
            twins = [other for other in kept if same[place[node], place[other]] >= overlap]
            if node < moves:
                twins = []
            if twins and last:
                without = [i for i in strong if i != node and i not in copies]
                cost = _without(
                    network, mean[:few], batch.at(slice(few)), node=node, others=without, floor=floor
                )
                twins = twins if cost < bound else []
            if twins:
                copies[node] = twins[0]
            else:
                kept.append(node)
    weak = [i for i in range(len(carried)) if network.keep[i] > 0 and i not in strong]
    return Choice(kept, weak, copies)


def _without(
    network: Prism, mean: Tensor, batch: Tensors, *, node: int, others: Sequence[int], floor: float
) -> float:
    """Nats per spectrum that are lost without a node, the codes of the others at their best."""
    base = polish(network, mean, batch, nodes=[*others, node], floor=floor)
    fixed = mean.clone()
    fixed[:, node] = 0.0
    fixed = polish(network, fixed, batch, nodes=others, floor=floor, steps=4)
    lost = misfit(network, fixed, batch, floor=floor) - misfit(network, base, batch, floor=floor)
    return float((lost * counts_for(batch, floor=floor)).mean())


class Lead(NamedTuple):
    """A direction in the residuals that a returning node could take up."""

    gain: float  # nats per spectrum
    predicted: float  # share of it that the encoder's features predict, on spectra set aside
    scores: Tensor  # (b,) as the features predict them
    weight: Tensor  # (features + 1,) of the standardised features, that gives these scores


@torch.no_grad()
def leads(network: Prism, batch: Tensors, *, floor: float, most: int = 4) -> list[Lead]:
    """Principal components of the residuals that the encoder's features can predict, the strongest first.

    A weak cause gives a random node no gradient to grow by; a node that begins on the strongest unexplained
    component has one.
    """
    mean, _ = codes(network, batch)
    features, residuals, moves = _features(network, batch), [], []
    for rows, x in batch.pieces():
        miss = residual(x.flux, network.decode(mean[rows], berv=x.berv), good=x.good)
        residuals.append((miss / (x.sigma**2 + floor**2).sqrt()).clamp(-5, 5))
        if not network.config.agnostic:
            parts = network.parts(mean[rows])
            sky = None if x.berv is None else pixels_of(x.berv, network.config.step)
            places = [parts.shift, parts.air_shift if sky is None else sky]
            moves.append(torch.stack([place for place in places if place is not None]))
    g = functional.pad((features - features.mean(0)) / (features.std(0) + 1e-6), (0, 1), value=1.0)
    # no bright star rules the components, no faint one what is read of them
    total = inverse_variance(batch.sigma, good=batch.good, floor=floor).sum(1)
    share, sure = evened(total), evened(1 / total.clamp(min=1e-30))
    amplitude = batch.sigma.median(1).values / share.sqrt()
    found = []
    for view in _views(torch.cat(residuals) * share.sqrt()[:, None], network, moves):
        energy, vectors = torch.linalg.eigh(view @ view.T)
        for j in range(1, 1 + min(most, len(view) // 4)):
            # Residuals over sigma make scores grow with SNR: back to amplitudes, which a code can hold.
            t = vectors[:, -j] * amplitude
            t = (t - t.mean()) / (t.std() + 1e-12)
            found.append(_lead(t, g, float(energy[-j]) / 2 / len(view), sure=sure))
    return sorted(found, key=lambda lead: -lead.gain)


def _features(network: Prism, batch: Tensors) -> Tensor:
    """What the heads of the codes read, (b, features)."""
    return torch.cat([network.features(x.flux, good=x.good, berv=x.berv) for _, x in batch.pieces()])


def _views(residuals: Tensor, network: Prism, moves: list[Tensor]) -> Iterator[Tensor]:
    """Residuals (b, p) as they are; with physics, also at rest of the star and of a moving atmosphere."""
    config = network.config
    yield residuals
    if moves:
        wide = widened(residuals, config=config)
        for place in torch.cat(moves, 1):
            yield cut(shift(wide, -place), config=config)


def _lead(t: Tensor, g: Tensor, energy: float, *, sure: Tensor) -> Lead:
    """Scores t (b,) of a component of that energy, as a ridge of the features g (b, features + 1).

    sure  (b,) weight of each spectrum
    """

    def head(rows: Tensor, ridge: float) -> Tensor:
        weighted = g[rows] * sure[rows, None]
        matrix = weighted.T @ g[rows] + ridge * torch.eye(g.shape[1]).to(g)
        weight: Tensor = torch.linalg.solve(matrix, weighted.T @ t[rows])
        return weight

    place = torch.arange(len(t), device=t.device)
    # of thousands half is set aside; of some hundred a fifth at a time, since all are needed
    asides = [place >= len(t) // 2] if len(t) >= MANY else [place % FIFTHS == i for i in range(FIFTHS)]

    def ahead(ridge: float) -> float:
        missed = total = 0.0
        for aside in asides:
            rest, w = t[aside], sure[aside]
            missed += float((w * (rest - g[aside] @ head(~aside, ridge)) ** 2).sum())
            total += float((w * (rest - (w * rest).sum() / w.sum()) ** 2).sum())
        return 1 - missed / max(total, 1e-12)

    # some hundred spectra, as many features: the one that serves thousands predicts nothing there
    predicted, ridge = max((ahead(ridge), ridge) for ridge in RIDGES)
    weight = head(place >= 0, ridge)
    return Lead(energy * max(predicted, 0.0), predicted, g @ weight, weight)


@torch.no_grad()
def give_back(
    network: Prism,
    batch: Tensors,
    *,
    seed: int,
    seeds: int,
    floor: float,
    bound: float,
    crowd: bool = True,
    quiet: bool = False,
) -> tuple[list[int], dict[int, float]]:
    """Switch all nodes on again, up to `seeds` of them on leads; (nodes returned, nats of each lead).

    crowd  whether those without a lead come back, too; those that move always do
    quiet  they start with codes near zero
    """
    config, heads = network.config, network.encoder.heads
    dead = [i for i in range(config.n_latent) if network.keep[i] == 0]
    free = [i for i in dead if i >= config.moves]
    found = leads(network, batch, floor=floor) if seeds and free else []
    mean, alive = codes(network, batch)[0], network.keep > 0
    features = _features(network, batch)
    centre, width = features.mean(0), features.std(0) + 1e-6
    back = dead if crowd else [i for i in dead if i < config.moves]
    network.renew(back, seed=seed, quiet=quiet)
    taken: dict[int, Lead] = {}
    for lead in found:
        if len(taken) == min(seeds, len(free)):
            break
        scores = [torch.stack([lead.scores, other.scores]) for other in taken.values()]
        fresh = all(abs(float(torch.corrcoef(pair)[0, 1])) < 0.5 for pair in scores)
        if lead.predicted <= LED or lead.gain <= bound or not fresh:
            continue
        # Of a node that mixes two causes the other mixture is left; its codes tell some of that, too.
        told = told_by(mean[:, alive], lead.scores)
        mixed = told < MIXED and lead.gain * (1 - told / lead.predicted) > bound
        if told < TOLD or mixed:
            # the node's mean code becomes the lead's scores, scaled to unit spread
            node = free[len(taken)]
            if node not in back:
                back.append(node)
                network.renew([node], seed=seed)
            weight = lead.weight / lead.scores.std().clamp(min=1e-12)
            heads.weight[node] = weight[:-1] / width
            heads.bias[node] = weight[-1] - (weight[:-1] / width * centre).sum()
            heads.weight[config.n_latent + node] = 0.0
            heads.bias[config.n_latent + node] = -2.0
            taken[node] = lead
    if taken and not config.agnostic:
        _give_room(network, mean[: sizing(config.pixels, len(mean)).few], list(taken))
    return back, {node: lead.gain for node, lead in taken.items()}


def told_by(known: Tensor, scores: Tensor) -> float:
    """Share of the variance of scores (b,) that a quadric of codes (b, k) predicts, on the other half."""
    if not known.shape[1] or len(scores) < 4:
        return 0.0
    z = (known - known.mean(0)) / known.std(0).clamp(min=1e-6)
    i, j = torch.triu_indices(z.shape[1], z.shape[1])
    x = torch.cat([torch.ones_like(scores)[:, None], z, z[:, i] * z[:, j]], 1)
    missed, half = torch.zeros_like(scores), torch.arange(len(scores), device=z.device) % 2 == 0
    for fit in (half, ~half):
        matrix = x[fit].T @ x[fit] + torch.eye(x.shape[1]).to(x)
        missed[~fit] = (scores - x @ torch.linalg.solve(matrix, x[fit].T @ scores[fit]))[~fit]
    return 1 - float(missed.var() / scores.var().clamp(min=1e-12))


@torch.no_grad()
def _give_room(network: Prism, mean: Tensor, nodes: Sequence[int]) -> None:
    """Let nodes move the decoder's features where that draws nothing yet, half as far as the living ones do.

    With columns of zeros neither they nor what they could draw has a gradient to speak of, and KL is quicker.

    mean  (b, n) codes at which the directions are sought; those of nodes just returned do not count yet
    """
    decoder, moves = network.decoder, network.config.moves
    weight = decoder.body[0].get_parameter("weight")  # (h, n - moves)
    draws = [writer[0].get_parameter("weight") for writer in (decoder.star, decoder.air)]
    drawn = torch.stack([w.T @ w for w in draws]).sum(0)  # (h, h)
    inside = decoder.body[0]((mean * network.keep)[:, moves:])
    seen, reach = torch.zeros_like(drawn), torch.zeros_like(drawn)
    for row in inside:
        slope: Tensor = torch.func.jacrev(decoder.body[1:])(row)  # (h, h)
        seen += slope.T @ drawn @ slope
        reach += slope.T @ slope
    size, axes = torch.linalg.eigh(reach)
    far = size > ROOM * size[-1]
    axes = axes[:, far] / size[far].sqrt()  # each moves the features by one
    still = axes @ torch.linalg.eigh(axes.T @ seen @ axes).eigenvectors[:, : len(nodes)]
    living = weight[:, network.keep[moves:] > 0]
    usual = (living * (reach @ living)).sum(0).sqrt()
    usual = usual[usual > 0].median() if bool((usual > 0).any()) else usual.new_ones(())
    for place, node in enumerate(nodes):
        weight[:, node - moves] = 0.5 * usual * still[:, place % still.shape[1]]


@torch.no_grad()
def reset_moments(optimizer: torch.optim.Optimizer, places: Sequence[tuple[Tensor, int, Tensor]]) -> None:
    """Give an optimiser's moments of returned nodes the scale of the living ones'.

    A dead row has had almost no gradient: its tiny second moment would make the first steps enormous.
    """
    for parameter, dim, indices in places:
        state = optimizer.state.get(parameter)
        if not state or not len(indices):
            continue
        state["exp_avg"].index_fill_(dim, indices, 0.0)
        second = state["exp_avg_sq"]
        alive = torch.ones(second.shape[dim], dtype=torch.bool, device=second.device)
        alive[indices] = False
        if alive.any():
            usual = second.index_select(dim, alive.nonzero()[:, 0]).mean()
            second.index_fill_(dim, indices, float(usual))


# --- at which steps


class Setback(Exception):
    """Training cannot continue from here; after a collapse, from no state but the first."""

    def __init__(self, why: str, *, collapse: bool = False) -> None:
        super().__init__(why)
        self.collapse = collapse


@dataclass(frozen=True)
class Surgery:
    """What a recipe does to the nodes of one network: they join, weak ones are pruned, all come back."""

    network: Prism
    optimizer: torch.optim.Optimizer
    stated: Tensors  # a sample of the training spectra with the errors they came with, on the device
    recipe: Recipe
    seed: int

    @property
    def sample(self) -> Tensors:
        """The sample with the errors as learned so far."""
        return learned(self.network, self.stated)

    def is_due(self, status: Status) -> bool:
        """Whether there is anything to do at this step."""
        recipe, fraction = self.recipe, status.step / self.recipe.steps
        plans = ((recipe.prune_at, status.pruned), (recipe.give_back, status.back))
        due = any(done < len(plan) and fraction >= plan[done] for plan, done in plans)
        return due or status.step == 0 or (not status.joined and fraction >= recipe.alone)

    def operate(self, status: Status) -> list[str]:
        """Do what is due at this step, and note it in `status`; what was done, in words."""
        recipe, done, network = self.recipe, [], self.network
        fraction = status.step / recipe.steps
        physics = not network.config.agnostic
        if physics and status.step == 0 and recipe.alone > 0:
            network.keep[network.config.moves :] = 0.0
            both = network.config.moves > 1
            done.append("the two velocities begin alone" if both else "the Doppler node begins alone")
        if not status.joined and fraction >= recipe.alone:
            status.joined = True
            if physics and recipe.alone > 0 and not recipe.crowd:
                done.append(self._give_back(status, last=False))
            elif physics and recipe.alone > 0:
                network.keep.fill_(1.0)
                reset_moments(
                    self.optimizer, network.places(range(network.config.moves, network.config.n_latent))
                )
                done.append("the other nodes join")
        if status.pruned < len(recipe.prune_at) and fraction >= recipe.prune_at[status.pruned]:
            status.pruned += 1
            done.append(self.prune(recipe.prune_kl[status.pruned - 1], fraction, status))
        if status.back < len(recipe.give_back) and fraction >= recipe.give_back[status.back]:
            status.back += 1
            done.append(self._give_back(status, last=status.back == len(recipe.give_back)))
        return done

    def bound(self, fraction: float, status: Status) -> float:
        """Nats per spectrum that a node must explain to be kept."""
        floor = self.recipe.floor_at(fraction)
        sample = self.sample
        own = prune_bound(sample.sigma, good=sample.good, floor=floor)
        total = inverse_variance(sample.sigma, good=sample.good, floor=floor).sum(1)
        evenly = float((total * evened(total)).sum() / total.sum().clamp(min=1e-30))  # of a mean over all
        return max(own, self.recipe.prune_share * status.misfit * evenly)

    def prune(self, kl: float, fraction: float, status: Status) -> str:
        """Switch weak nodes and copies off; constant spectra leave none."""
        bound, floor = self.bound(fraction, status), self.recipe.floor_at(fraction)
        self.network.eval()
        choice = choose(
            self.network,
            self.sample,
            kl=kl,
            bound=bound,
            floor=floor,
            overlap=self.recipe.overlap,
            last=fraction >= 1,
        )
        self.network.train()
        if not choice.kept and status.misfit > 0.3 * status.signal and status.signal > bound:
            raise Setback("no node is active, though the spectra vary", collapse=True)
        with torch.no_grad():
            self.network.keep.zero_()
            self.network.keep[choice.kept] = 1.0
        copies = "".join(f", {node} a copy of {other}" for node, other in choice.copies.items())
        return f"pruned to {len(choice.kept)} nodes {choice.kept} (bound {bound:.0f} nats){copies}"

    def idle(self) -> None:
        """Let nodes that are off at the end be on and do nothing: they are counted like the others."""
        moves = self.network.config.moves
        dead = [i for i, on in enumerate(self.network.keep.tolist()) if not on and i >= moves]
        self.network.renew(dead, seed=self.seed, quiet=True)

    def _give_back(self, status: Status, *, last: bool) -> str:
        self.network.eval()
        dead, started = give_back(
            self.network,
            self.sample,
            seed=self.seed + 7919 * status.back,
            seeds=self.recipe.seeds,
            crowd=self.recipe.crowd,
            quiet=last,  # their codes at the end are counted
            floor=self.recipe.floor[-1][1],
            bound=self.bound(1.0, status),
        )
        self.network.train()
        reset_moments(self.optimizer, self.network.places(dead))
        status.led, status.led_at = list(started), status.step
        led = "".join(f", {node} on {nats:.0f} nats of residual" for node, nats in started.items())
        return f"{len(dead)} nodes given back{led}"
