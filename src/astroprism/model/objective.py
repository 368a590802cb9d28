"""What a step of training computes: a network and its loss in one module, which is what processes share.

    loss = likelihood of the blurred residuals + beta * KL of the nodes that are on + penalties

Everything random in a step (`noise_of`, `displacements_of`) depends on seed and step alone.
Shapes: b spectra, p pixels, n nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..network import PaperNetwork, Prism
from ..network.doppler import pixels_of, velocity_of
from ..network.prism import Look, Parts, drift
from .data import Tensors
from .loss import (
    absolute_difference,
    blur,
    chi2_per_pixel,
    gaussian_nll,
    inverse_variance,
    kl_per_node,
    residual,
)
from .movers import Movers
from .noise import errors, log_scales, with_scatter
from .velocity import CLEAR, Shifts, better_shifts, shifts_of

SPARED = 0.1  # share of beta that a node pays which has just begun on a lead
MOST_SCATTER = 0.05  # relative flux: the most that is learned as scatter; more is a cause not fitted yet


class Terms(NamedTuple):
    """What the schedule gives for a step; weights of penalties in nats per pixel, or per pixel^2."""

    beta: float  # weight of KL; in the paper's loss, of its mean over nodes
    move_beta: float = 0.0  # the same of nodes that move star or atmosphere
    spared: tuple[int, ...] = ()  # nodes that pay SPARED of beta
    floor: float = 0.0  # relative flux
    blur: float = 0.0  # pixels
    agree: float = 0.0  # of the first look with the Doppler node
    still: float = 0.0  # of the star: no drift against the mean star
    seek: float = 0.0  # of both shifts with what cross-correlation with the template finds
    relock: float = (
        0.0  # the same for spectra that fit better at another velocity, with the decoder's mean star
    )
    # of the absorption of the weaker of star and atmosphere, as a rule the latter: what both can explain is
    # the stronger's
    weaker: float = 0.0
    scatter: float = 0.0  # rate of the running mean of the learned scatter; 0 while it is not learned
    applied: bool = True  # whether what is learned of the errors is used; before that it is only measured


class Loss(NamedTuple):
    """What a step found; all but `total` carry no gradient."""

    total: Tensor  # scalar
    chi2: Tensor  # scalar, mean over the batch, per pixel, errors as learned, no floor, at sampled codes
    # scalar, nats per spectrum beyond what noise and floor explain; of an agnostic network as blurred
    misfit: Tensor
    kl: Tensor  # (n,) nats, mean over the batch


def one_process(x: Tensor) -> Tensor:
    """The mean over all processes where there is one."""
    return x


class PrismObjective(nn.Module):
    """The noise-weighted likelihood, blurred while training is coarse, and KL.

    template  (w,) star that cross-correlation seeks in the spectra, where that is of use
    movers    the same of a star and an atmosphere that move apart
    bands     pixels of the atmosphere in which it is known to absorb: there it is not pulled towards 1
    ceiling   (p,) the most that is granted as scatter
    over_all  gives the mean over all processes: drift is measured against the whole batch
    share     of the training spectra that one batch, of all processes, holds
    """

    def __init__(
        self,
        network: Prism,
        *,
        over_all: Callable[[Tensor], Tensor] = one_process,
        processes: int = 1,
        share: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.processes, self.share = processes, share
        self.template: Tensor | None = None
        self.movers: Movers | None = None
        # pixels of the atmosphere in which it is known to absorb
        self.bands = torch.zeros((), dtype=torch.bool)
        # (p,) the most that is granted as scatter
        self.ceiling = torch.full((network.config.pixels,), math.inf)
        self.over_all = over_all

    def forward(self, batch: Tensors, noise: Tensor, terms: Terms) -> Loss:
        """One batch at codes sampled with `noise` (b, n)."""
        network, good, stated = self.network, batch.good, batch
        batch = with_scatter(batch, network)
        look = network.look(batch.flux, good=good, berv=batch.berv)
        mean, logvar = look.mean, look.logvar
        z = mean + (0.5 * logvar).exp() * noise
        if network.config.agnostic:
            made, penalty = network.decode(z), mean.new_zeros(())
        else:
            parts = network.parts(z)
            made = network.join(parts, berv=batch.berv)
            penalty = self._penalty(batch, look, parts, terms)
        residuals = residual(batch.flux, made, good=good)
        if terms.scatter > 0 and not terms.applied:
            self._watch(residuals.detach(), batch, rate=terms.scatter)
        elif terms.scatter > 0:
            scales = log_scales(residuals.detach(), stated, network.scatter)
            batch = batch._replace(sigma=errors(residuals.detach(), stated, network, scales))
            self._learn(residuals.detach(), batch, stated, scales=scales, rate=terms.scatter)
        kl = kl_per_node(mean, logvar) * network.keep  # a node that is off costs nothing: it is not decoded
        loss = _measured(residuals.detach(), batch, floor=terms.floor, kl=kl)
        residuals = blur(residuals, width=terms.blur, good=good)
        nll = gaussian_nll(residuals, batch.sigma, good=good, floor=terms.floor).mean()
        if network.config.agnostic and terms.blur > 0:
            # Beta follows what this phase can explain. Blurred, a velocity is worth a hundredth of what it is
            # worth when lines are sharp: locked on the sharp misfit, beta would let no node take it.
            noise_nats = _noise_nats(batch, floor=terms.floor).mean()
            noise_nats = noise_nats * min(1.0, 1 / (2 * math.sqrt(math.pi) * terms.blur))  # white, blurred
            loss = loss._replace(misfit=(nll.detach() - noise_nats).clamp(min=0))
        moves = network.config.moves
        others = loss.kl[moves:].sum() - (1 - SPARED) * loss.kl[list(terms.spared)].sum()
        cost = terms.move_beta * loss.kl[:moves].sum() + terms.beta * others
        return loss._replace(total=nll + cost + penalty, kl=loss.kl.detach())

    def _penalty(self, batch: Tensors, look: Look, parts: Parts, terms: Terms) -> Tensor:
        """The penalties that the shape of the network needs: see `Terms`; a scalar.

        Huber's loss, linear beyond 5 pixels, lets no spectrum on a wrong line dominate.
        """
        network, mean, first_shift = self.network, look.mean, look.first_shift
        doppler = network.config.gain * network.decoder.log_gain.exp() * mean[:, 0]  # (b,) pixels
        penalty = terms.agree * functional.huber_loss(first_shift, doppler.detach(), delta=5.0)
        middle = self.over_all(parts.star.detach().mean(0))
        penalty = penalty + terms.still * (drift(parts.star, middle) ** 2).mean()
        if look.first_air is not None and parts.air_shift is not None:
            speed = network.config.air_gain / network.config.step * mean[:, 1]
            penalty = penalty + terms.agree * functional.huber_loss(look.first_air, speed.detach(), delta=5.0)
            middle = self.over_all(parts.atmosphere.detach().mean(0))
            penalty = penalty + terms.still * (drift(parts.atmosphere, middle) ** 2).mean()
        if terms.seek > 0 and self.movers is not None:
            both = self.movers.shifts(batch, config=network.config, floor=terms.floor)
            sought = [] if look.first_air is None else [(both.air, look.first_air, speed)]
            if self.movers.star_moves:
                sought.append((both.star, first_shift, doppler))
        elif terms.seek > 0 and self.template is not None:
            found = shifts_of(batch, self.template, config=network.config, floor=terms.floor)
            sought = [(found, first_shift, doppler)]
        else:
            sought = []
        for found, first, node in sought:
            penalty = penalty + terms.seek * _missed(found, first, node)
        if terms.relock > 0:
            still = Parts._make(None if part is None else part.detach() for part in parts)
            better = better_shifts(network, mean.detach(), batch, floor=terms.floor, parts=still)
            miss = [
                functional.huber_loss(x[better.rows], better.pixels, delta=5.0, reduction="sum")
                for x in (first_shift, doppler)
            ]
            penalty = penalty + terms.relock * ((miss[0] + miss[1]) / len(mean))
        if terms.weaker > 0:
            weight = inverse_variance(batch.sigma, good=batch.good, floor=terms.floor)
            usual = weight.median(1).values.median()
            if self.movers is not None and not self.movers.star_first:
                away = parts.star - 1
            else:
                away = (parts.atmosphere - 1).masked_fill(self.bands, 0.0)
            penalty = penalty + terms.weaker * usual * (away**2).sum(1).mean()
        return penalty

    @torch.no_grad()
    def _watch(self, residuals: Tensor, batch: Tensors, *, rate: float) -> None:
        """One step of measuring the scatter before it is used: the most that will be granted.

        Pixels that count less are fitted less, and what they then miss would be scatter again: lines of the
        atmosphere that were fitted to a percent were given up to a tenth.
        """
        network = self.network
        sigma = (batch.sigma**2 + network.excess.clamp(min=0)).sqrt()
        new, bottom = self._excess(residuals, batch._replace(sigma=sigma), batch.sigma**2)
        network.excess += torch.where(bottom > 0, rate * (new - network.excess), 0)
        self.ceiling.copy_(network.excess)

    def _excess(self, residuals: Tensor, batch: Tensors, explained: Tensor) -> tuple[Tensor, Tensor]:
        """Variance (p,) beyond what is `explained` (b, p), and its weight, 0 where nothing tells it."""
        weight = 1 / batch.sigma**4
        if batch.good is not None:
            weight = weight.masked_fill(~batch.good, 0)
        excess = torch.minimum(residuals**2, 16 * batch.sigma**2) - explained
        top, bottom = self.over_all((weight * excess).sum(0)), self.over_all(weight.sum(0))
        new = (top / bottom.clamp(min=1e-12)).clamp(max=MOST_SCATTER**2)
        # a step that fails, and is left out, teaches nothing
        return new, torch.where(torch.isfinite(new), bottom, 0.0)

    @torch.no_grad()
    def _learn(
        self,
        residuals: Tensor,
        batch: Tensors,
        stated: Tensors,
        *,
        scales: tuple[Tensor, Tensor],
        rate: float,
    ) -> None:
        """One step of the running means of what the stated errors leave unexplained.

        Per pixel: weighted as the likelihood of a variance is, by sigma^-4, and clipped at four sigma, so
        that neither an outlier nor the brightest star decides. What two standard errors explain is no
        scatter, nor is what three explain a scale: where errors are right, nothing is added to them.
        """
        network = self.network
        value, error = scales
        scaled = torch.where(torch.isfinite(error), value, 0.0).exp()[:, None] * stated.sigma**2
        new, bottom = self._excess(residuals, batch, scaled)
        known = bottom > 0
        new = torch.minimum(new, self.ceiling)
        network.excess += torch.where(known, rate * (new - network.excess), 0)
        # a variance of weight 1 / sigma^4 is known to 2 / sum of weights, from as many spectra as there are
        share = max(0.5 * rate, self.share)
        spread = (2 * share / (self.processes * bottom).clamp(min=1e-12)).sqrt()
        scatter = (network.excess - 2 * spread).clamp(min=0)
        network.scatter.copy_(torch.where(known, scatter, network.scatter))

        # the scales: their mean and spread over the spectra that tell
        tells = torch.isfinite(error) & (error < 1)
        part = self.over_all(
            torch.stack(
                [
                    tells.sum().to(value),
                    *(torch.where(tells, x, 0.0).sum() for x in (value, value**2, error**2)),
                ]
            )
        )
        if not bool(torch.isfinite(part).all()) or float(part[0]) <= 0:
            return
        seen = network.seen_scales
        seen += (rate if bool(network.learns_noise) else 1.0) * (part[1:] / part[0] - seen)
        mean, between = seen[0], seen[1] - seen[0] ** 2 - seen[2]
        count = float(part[0]) * self.processes / share
        off = (seen[1] - seen[0] ** 2).clamp(min=0).sqrt() * 3 / math.sqrt(max(count, 1.0))
        network.scales[0] = torch.where(mean.abs() > off, mean, 0.0)
        # the spread of n values of that error has an error of its own
        network.scales[1] = (between - 3 * seen[2] * math.sqrt(2 / max(count, 1.0))).clamp(min=0)
        network.learns_noise.fill_(True)


def _missed(found: Shifts, *places: Tensor) -> Tensor:
    """How far places (b,) are from where cross-correlation clearly says; Huber's loss, a scalar."""
    clear = (found.gain > CLEAR).to(found.pixels)
    miss = [functional.huber_loss(x, found.pixels, delta=5.0, reduction="none") for x in places]
    return (clear * sum(miss)).mean()


class PaperObjective(nn.Module):
    """The seed paper's: absolute difference and KL averaged over nodes; or the likelihood, as the prism's."""

    def __init__(self, network: PaperNetwork, *, likelihood: bool = False) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood

    def forward(self, batch: Tensors, noise: Tensor, terms: Terms) -> Loss:
        """One batch at codes sampled with `noise` (b, n)."""
        made, mean, logvar = self.network(batch.flux, noise=noise, good=batch.good)
        residuals = residual(batch.flux, made, good=batch.good)
        found = _measured(residuals.detach(), batch, floor=terms.floor, kl=kl_per_node(mean, logvar))
        if self.likelihood:
            total = gaussian_nll(residuals, batch.sigma, good=batch.good, floor=terms.floor).mean()
            total = total + terms.beta * found.kl.sum()
        else:
            total = absolute_difference(batch.flux, made, good=batch.good) + terms.beta * found.kl.mean()
        return found._replace(total=total, kl=found.kl.detach())


def _measured(residuals: Tensor, batch: Tensors, *, floor: float, kl: Tensor) -> Loss:
    """chi2, misfit and KL of a batch, its residuals (b, p) not blurred."""
    chi2 = chi2_per_pixel(residuals, batch.sigma, good=batch.good).nanmean()
    nll = gaussian_nll(residuals, batch.sigma, good=batch.good, floor=floor)
    misfit = (nll - _noise_nats(batch, floor=floor)).mean().clamp(min=0)
    return Loss(nll.mean(), chi2, misfit, kl.mean(0))


def _noise_nats(batch: Tensors, *, floor: float) -> Tensor:
    """What the noise alone is worth, nats per spectrum (b,)."""
    weight = batch.sigma**2 / (batch.sigma**2 + floor**2)
    return 0.5 * (weight if batch.good is None else weight.masked_fill(~batch.good, 0)).sum(1)


class Sums:
    """Sums over steps, on the device, so that no step waits for another."""

    def __init__(self) -> None:
        self.total = self.window = torch.zeros(())
        self.count = self.fresh = 0

    def add(self, loss: Loss) -> None:
        """One more step."""
        row = torch.cat([torch.stack([loss.total.detach(), loss.chi2, loss.misfit]), loss.kl])
        self.total, self.window = self.total.to(row) + row, self.window.to(row) + row
        self.count, self.fresh = self.count + 1, self.fresh + 1

    def take(self, over_all: Callable[[Tensor], Tensor]) -> tuple[float, float, Tensor]:
        """Means of loss, misfit and KL over the steps since the last take."""
        row = over_all(self.window / self.fresh).cpu()
        self.window, self.fresh = torch.zeros(()), 0
        return float(row[0]), float(row[2]), row[3:]

    def means(self, over_all: Callable[[Tensor], Tensor]) -> tuple[float, float, float, Tensor, int]:
        """Means of loss, chi2, misfit and KL over all steps, and the number of steps."""
        row = over_all(self.total / max(self.count, 1)).cpu()
        return float(row[0]), float(row[1]), float(row[2]), row[3:], self.count


# --- what a step draws


def noise_of(step: int, *, seed: int, batch: int, nodes: int) -> Tensor:
    """Unit Gaussian draws (batch, nodes)."""
    return torch.randn(batch, nodes, generator=_generator(seed, step, 1))


def displacements_of(step: int, *, seed: int, batch: int) -> Tensor:
    """Even draws (batch,) from -1 to 1, for `displaced`."""
    return 2 * torch.rand(batch, generator=_generator(seed, step, 2)) - 1


def _generator(seed: int, step: int, number: int) -> torch.Generator:
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + number) % (2**63 - 1)
    return torch.Generator().manual_seed(mixed)


def displaced(batch: Tensors, wanted: Tensor, *, step: float) -> Tensors:
    """Spectra moved so that their atmosphere lies at the velocities `wanted` (b,), km/s, from its rest.

    The follow-up to the seed paper calls it velocity whitening (Sedaghat et al. 2023, arXiv:2301.00313):
    lines of the atmosphere then differ from spectrum to spectrum in place, by a known amount, and separate
    from the star's. Moves are whole pixels, so noise stays as it was; pixels brought in from outside are bad.

    step  km/s per pixel
    """
    b, p = batch.flux.shape
    berv = torch.zeros(b) if batch.berv is None else batch.berv.cpu()
    before = pixels_of(berv, step)
    move = (pixels_of(wanted, step) - before).round().to(batch.flux.device)
    source = torch.arange(p, device=move.device) - move.long()[:, None]
    inside = (source >= 0) & (source < p)
    source = source.clamp(0, p - 1)
    good = inside if batch.good is None else batch.good.gather(1, source) & inside
    moved = velocity_of(before.to(move) + move, step)
    return Tensors(batch.flux.gather(1, source), batch.sigma.gather(1, source), good, moved)
