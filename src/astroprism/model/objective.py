"""What a step of training computes: a network and its loss in one module, which is what processes share.

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
from ..network.prism import Parts, drift
from .data import Tensors
from .loss import absolute_difference, blur, chi2_per_pixel, gaussian_nll, kl_per_node, residual
from .relock import elsewhere
from .velocity import CLEAR, shifts_of


class Terms(NamedTuple):
    """What the schedule says of a step."""

    beta: float  # weight of KL; of the paper's loss, of its mean over nodes
    floor: float = 0.0  # relative flux
    blur: float = 0.0  # pixels
    agree: float = 0.0
    still: float = 0.0
    seek: float = 0.0  # nats a pixel: towards what cross-correlation finds
    doubt: float = 0.0  # the same, of spectra that fit better there


class Loss(NamedTuple):
    """What a step found; all but `total` carry no gradient."""

    total: Tensor  # scalar
    chi2: Tensor  # scalar, mean over the batch, a pixel, no floor, at sampled codes
    # scalar, nats a spectrum above what the noise and the floor explain; of an agnostic network as blurred
    misfit: Tensor
    kl: Tensor  # (n,) nats, mean over the batch


def alone(x: Tensor) -> Tensor:
    """The mean over all processes, of one process."""
    return x


class PrismObjective(nn.Module):
    """The noise-weighted likelihood, blurred while training is coarse, and KL."""

    def __init__(self, network: Prism, *, over_all: Callable[[Tensor], Tensor] = alone) -> None:
        super().__init__()
        self.network = network
        self.template: Tensor | None = None  # (w,) what shifts are sought against
        self.over_all = over_all  # the mean over all processes: drift is told against the whole batch

    def forward(self, batch: Tensors, noise: Tensor, terms: Terms) -> Loss:
        """One batch at codes sampled with `noise` (b, n)."""
        network, good = self.network, batch.good
        mean, logvar, first = network.look(batch.flux, good=good, berv=batch.berv)
        z = mean + (0.5 * logvar).exp() * noise
        penalty = mean.new_zeros(())
        if network.config.agnostic:
            made = network.decode(z)
        else:
            parts = network.parts(z)
            made = network.join(parts, berv=batch.berv)
            goal = (network.config.gain * network.decoder.log_gain.exp() * mean[:, 0]).detach()
            penalty = terms.agree * functional.huber_loss(first, goal, delta=5.0)
            middle = self.over_all(parts.star.detach().mean(0))
            if terms.seek > 0 and self.template is not None:
                penalty = penalty + terms.seek * self._sought(batch, mean, first, floor=terms.floor)
            if terms.doubt > 0:
                penalty = penalty + terms.doubt * self._doubted(batch, mean, first, parts, floor=terms.floor)
            penalty = penalty + terms.still * (drift(parts.star, middle) ** 2).mean()
        left = residual(batch.flux, made, good=good)
        # a node that is off costs nothing: what it says goes nowhere
        kl = kl_per_node(mean, logvar) * network.keep
        found = _found(left.detach(), batch, floor=terms.floor, kl=kl)
        left = blur(left, width=terms.blur, good=good)
        nll = gaussian_nll(left, batch.sigma, good=good, floor=terms.floor).mean()
        if network.config.agnostic and terms.blur > 0:
            # Beta hangs on what this phase can explain. Blurred, a velocity is worth a hundredth of what it
            # is worth when lines are sharp: told by the sharp misfit, beta would let no node take it.
            quiet = _noise(batch, floor=terms.floor).mean()
            quiet = quiet * min(1.0, 1 / (2 * math.sqrt(math.pi) * terms.blur))  # white noise, blurred
            found = found._replace(misfit=(nll.detach() - quiet).clamp(min=0))
        return found._replace(total=nll + terms.beta * found.kl.sum() + penalty, kl=found.kl.detach())

    def _sought(self, batch: Tensors, mean: Tensor, first: Tensor, *, floor: float) -> Tensor:
        """How far, in pixels, first look and Doppler node are from what cross-correlation finds."""
        network = self.network
        assert self.template is not None
        found = shifts_of(batch, self.template, config=network.config, floor=floor)
        clear = (found.gain > CLEAR).to(first)
        told = self._told(mean)
        miss = [functional.huber_loss(x, found.pixels, delta=5.0, reduction="none") for x in (first, told)]
        return (clear * (miss[0] + miss[1])).mean()

    def _doubted(self, batch: Tensors, mean: Tensor, first: Tensor, parts: Parts, *, floor: float) -> Tensor:
        """How far spectra that fit better at another velocity are from it, in pixels: mean over the batch."""
        network = self.network
        still = Parts(*(part.detach() for part in parts))
        found = elsewhere(network, mean.detach(), batch, floor=floor, parts=still)
        miss = [
            functional.huber_loss(x[found.rows], found.pixels, delta=5.0, reduction="sum")
            for x in (first, self._told(mean))
        ]
        return (miss[0] + miss[1]) / len(mean)

    def _told(self, mean: Tensor) -> Tensor:
        """The Doppler node's shift in pixels (b,)."""
        return self.network.config.gain * self.network.decoder.log_gain.exp() * mean[:, 0]


class PaperObjective(nn.Module):
    """The seed paper's: absolute difference and KL averaged over nodes; or the likelihood, as the prism's."""

    def __init__(self, network: PaperNetwork, *, likelihood: bool = False) -> None:
        super().__init__()
        self.network = network
        self.likelihood = likelihood

    def forward(self, batch: Tensors, noise: Tensor, terms: Terms) -> Loss:
        """One batch at codes sampled with `noise` (b, n)."""
        made, mean, logvar = self.network(batch.flux, noise=noise, good=batch.good)
        left = residual(batch.flux, made, good=batch.good)
        found = _found(left.detach(), batch, floor=terms.floor, kl=kl_per_node(mean, logvar))
        if self.likelihood:
            total = gaussian_nll(left, batch.sigma, good=batch.good, floor=terms.floor).mean()
            total = total + terms.beta * found.kl.sum()
        else:
            total = absolute_difference(batch.flux, made, good=batch.good) + terms.beta * found.kl.mean()
        return found._replace(total=total, kl=found.kl.detach())


def _found(left: Tensor, batch: Tensors, *, floor: float, kl: Tensor) -> Loss:
    chi2 = chi2_per_pixel(left, batch.sigma, good=batch.good).nanmean()
    nll = gaussian_nll(left, batch.sigma, good=batch.good, floor=floor)
    return Loss(nll.mean(), chi2, (nll - _noise(batch, floor=floor)).mean().clamp(min=0), kl.mean(0))


def _noise(batch: Tensors, *, floor: float) -> Tensor:
    """What the noise alone is worth, nats a spectrum (b,)."""
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
        """Loss, misfit and KL of the steps since the last take."""
        row = over_all(self.window / self.fresh).cpu()
        self.window, self.fresh = torch.zeros(()), 0
        return float(row[0]), float(row[2]), row[3:]

    def means(self, over_all: Callable[[Tensor], Tensor]) -> tuple[float, float, float, Tensor, int]:
        """Loss, chi2, misfit and KL of all steps, and their number."""
        row = over_all(self.total / max(self.count, 1)).cpu()
        return float(row[0]), float(row[1]), float(row[2]), row[3:], self.count


def thrown(batch: Tensors, wanted: Tensor, *, step: float) -> Tensors:
    """Spectra moved so that their atmosphere lies at the velocities `wanted` (b,), km/s, from its rest.

    The follow-up to the seed paper calls it velocity whitening (Sedaghat et al. 2023, arXiv:2301.00313):
    lines of the atmosphere then differ from spectrum to spectrum in place, by a known amount, and come apart
    from the star's. Moves are whole pixels, so noise stays as it was; pixels brought in from outside are bad.

    step  km/s a pixel
    """
    b, p = batch.flux.shape
    berv = torch.zeros(b) if batch.berv is None else batch.berv.cpu()
    from_there = pixels_of(berv, step)
    move = (pixels_of(wanted, step) - from_there).round().to(batch.flux.device)
    source = torch.arange(p, device=move.device) - move.long()[:, None]
    inside = (source >= 0) & (source < p)
    source = source.clamp(0, p - 1)
    good = inside if batch.good is None else batch.good.gather(1, source) & inside
    moved = velocity_of(from_there.to(move) + move, step)
    return Tensors(batch.flux.gather(1, source), batch.sigma.gather(1, source), good, moved)


def noise_of(step: int, *, seed: int, batch: int, nodes: int) -> Tensor:
    """Unit Gaussian draws (batch, nodes) that hang on seed and step alone: resuming needs no state."""
    return torch.randn(batch, nodes, generator=_generator(seed, step, 1))


def throws_of(step: int, *, seed: int, batch: int) -> Tensor:
    """Even draws (batch,) from -1 to 1 that hang on seed and step alone."""
    return 2 * torch.rand(batch, generator=_generator(seed, step, 2)) - 1


def _generator(seed: int, step: int, number: int) -> torch.Generator:
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + number) % (2**63 - 1)
    return torch.Generator().manual_seed(mixed)


def signal_nats(flux: Tensor, sigma: Tensor, *, good: Tensor | None, floor: float) -> float:
    """Nats a spectrum by which the archive differs from its own mean spectrum, beyond its noise."""
    seen = torch.ones_like(flux, dtype=torch.bool) if good is None else good
    weight = torch.where(seen, 1 / (sigma**2 + floor**2), 0)
    mean = (flux * weight).sum(0) / weight.sum(0).clamp(min=1e-30)
    spread = (flux - mean) ** 2 - sigma**2
    nats = float((0.5 * spread * weight).sum(1).mean())
    return max(nats, 0.0) if math.isfinite(nats) else 0.0
