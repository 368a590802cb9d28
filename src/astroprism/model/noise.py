"""Errors as learned: what the stated errors do not explain, per pixel, per spectrum and in outlying pixels.

    sigma'^2 = (scale * sigma)^2 + scatter        and wider in pixels beyond OUTLYING of it

`scatter` (p,) is the archive's, a running mean in the second half of training (objective.py). `scale` is a
spectrum's own, from the mean of its squared residuals, none counting beyond CUT sigma, as far as the archive
shows that scales differ: log scale^2 is drawn towards the archive's mean by the ratio of its error to the
spread between spectra. Where the stated errors are right both are nothing. An outlying pixel counts with
Huber's weight, so that a cosmic ray pulls as five sigma do. (Differences of residuals two or eight pixels
apart, which no smooth misfit reaches, were tried for the scale: resampled noise is correlated, and they read
errors .6 times too small on a survey. The median of squares knows the noise's core, and not its wings.)

Shapes: b spectra, p pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..network import Prism
from .data import Tensors
from .loss import residual

CUT, CUT_MEAN = 3.0, 0.99487  # sigma, from which a residual tells no more of a scale; mean of min(z^2, CUT^2)
SPREAD = 1.5  # error of log scale^2, times sqrt(1 / pixels), by simulation
TURNS = 6  # of solving for the scale beside the scatter
OUTLYING = 5.0  # sigma
MOST = math.log(10.0**2)  # |log scale^2|: errors wrong by more are no errors
ENOUGH = 1024  # pixels that tell a scale well enough, to 4 %
FEWEST = 50  # good pixels that tell a scale at all


def with_scatter(batch: Tensors, network: Prism) -> Tensors:
    """The batch with the learned scatter added to its errors."""
    return batch._replace(sigma=(batch.sigma**2 + network.scatter).sqrt())


@torch.no_grad()
def learned(network: Prism, batch: Tensors) -> Tensors:
    """The batch with its errors as learned, from residuals against what the encoder's codes decode to."""
    if not bool(network.learns_noise):
        return with_scatter(batch, network)
    sigma = []
    for _, x in batch.pieces():
        mean, _ = network.encode(x.flux, good=x.good, berv=x.berv)
        left = residual(x.flux, network.decode(mean, berv=x.berv), good=x.good)
        sigma.append(errors(left, x, network, log_scales(left, x, network.scatter)))
    return batch._replace(sigma=torch.cat(sigma))


@torch.no_grad()
def errors(residuals: Tensor, batch: Tensors, network: Prism, scales: tuple[Tensor, Tensor]) -> Tensor:
    """Errors as learned (b, p) of spectra with these residuals.

    scales  what `log_scales` found of them
    """
    scale2 = shrunk(*scales, network).exp()
    sigma = (scale2[:, None] * batch.sigma**2 + network.scatter).sqrt()
    beyond = (residuals.abs() / (OUTLYING * sigma)).clamp(min=1)
    return sigma * beyond.sqrt()


@torch.no_grad()
def log_scales(residuals: Tensor, batch: Tensors, scatter: Tensor) -> tuple[Tensor, Tensor]:
    """(log scale^2, its error) of each spectrum, (b,) each; an infinite error where nothing tells.

    From at most ENOUGH pixels, evenly taken.
    """
    some = slice(None, None, max(1, residuals.shape[1] // ENOUGH))
    residuals, sigma2, scatter = residuals[:, some], batch.sigma[:, some] ** 2, scatter[some]
    good = torch.ones_like(residuals, dtype=torch.bool) if batch.good is None else batch.good[:, some]
    count = good.sum(1)
    value, share = residuals.new_zeros(len(residuals)), residuals.new_ones(len(residuals))
    known = count.clamp(min=1)
    for _ in range(TURNS):
        own = value.exp()[:, None] * sigma2
        whole = own + scatter
        chi2 = (residuals**2 / whole).clamp(max=CUT**2).masked_fill(~good, 0).sum(1) / known / CUT_MEAN
        # of the variance, what the stated errors make
        share = ((own / whole).masked_fill(~good, 0).sum(1) / known).clamp(min=1e-3)
        value = (value + (chi2.clamp(min=1e-6).log() / share).clamp(-2, 2)).clamp(-MOST, MOST)
    error = SPREAD / (count.clamp(min=1).sqrt() * share)
    usable = (count >= FEWEST) & torch.isfinite(value)
    return torch.where(usable, value, 0.0), torch.where(usable, error, math.inf)


@torch.no_grad()
def grain(network: Prism, batch: Tensors, *, floor: float) -> float:
    """Nats per spectrum by which the noise from pixel to pixel exceeds the stated errors, in the mean.

    From second differences of the residuals, in which a line that is not fitted yet counts a tenth of what it
    is. Correlated noise counts less than it is, too: this is a gate for learning errors, not their measure.
    """
    found = []
    for _, x in batch.pieces():
        mean, _ = network.encode(x.flux, good=x.good, berv=x.berv)
        left = residual(x.flux, network.decode(mean, berv=x.berv), good=x.good) / x.sigma
        rough = (left[:, 2:] - 2 * left[:, 1:-1] + left[:, :-2]) / math.sqrt(6)
        good = torch.ones_like(left, dtype=torch.bool) if x.good is None else x.good
        whole = good[:, 2:] & good[:, 1:-1] & good[:, :-2]
        size = rough.abs().masked_fill(~whole, math.nan).nanmedian(1).values * 1.4826
        most = CUT * size[:, None]
        square = torch.minimum(rough.abs(), most).square().masked_fill(~whole, 0).sum(1) / CUT_MEAN
        excess = (square / whole.sum(1).clamp(min=1) - 1).clamp(min=0)
        weight = (x.sigma**2 / (x.sigma**2 + floor**2)).masked_fill(~good, 0).sum(1)
        found.append(torch.nan_to_num(0.5 * excess * weight))
    return float(torch.cat(found).mean())


def shrunk(value: Tensor, error: Tensor, network: Prism) -> Tensor:
    """Log scale^2 (b,) drawn towards the archive's mean."""
    mean, spread = network.scales[0], network.scales[1]
    part = spread / (spread + error**2)
    return mean + torch.where(torch.isfinite(error), part * (value - mean), 0.0)
