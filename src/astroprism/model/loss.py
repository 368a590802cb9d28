"""What training minimises: plain functions on tensors of b spectra, p pixels, n nodes.

A masked pixel, `good` False, counts for nothing, in the loss and in every gradient, whatever it holds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..network.doppler import fast_length

LEAST_EFFECT = 0.0014  # relative flux, rms: of `prune_bound`


def residual(flux: Tensor, reconstruction: Tensor, *, good: Tensor | None = None) -> Tensor:
    """flux - reconstruction, 0 where not good, (b, p); NaN in masked pixels reaches no gradient."""
    if good is None:
        return flux - reconstruction
    bad = ~good.bool()
    return flux.masked_fill(bad, 0) - reconstruction.masked_fill(bad, 0)


def inverse_variance(sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0) -> Tensor:
    """Weight of each pixel (b, p), 0 where not good.

    floor  added to sigma in quadrature: what the network need not explain
    """
    weight = 1 / (sigma * sigma + floor * floor)
    return weight if good is None else weight.masked_fill(~good.bool(), 0)


def gaussian_nll(
    residuals: Tensor, sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0
) -> Tensor:
    """Negative log-likelihood in nats per spectrum (b,), up to a constant of the data.

    residuals  (b, p)
    sigma      (b, p), in the unit of the residuals
    floor      added to sigma in quadrature: what the network need not explain
    """
    weight = inverse_variance(sigma, good=good, floor=floor)
    if good is not None:
        residuals = residuals.masked_fill(~good.bool(), 0)
    return 0.5 * (residuals * residuals * weight).sum(1)


def chi2_per_pixel(
    residuals: Tensor, sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0
) -> Tensor:
    """Mean over good pixels of (residual / sigma)^2, (b,); NaN for a spectrum without one."""
    count = residuals.shape[1] if good is None else good.bool().sum(1)
    return 2 * gaussian_nll(residuals, sigma, good=good, floor=floor) / count


def kl_per_node(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of each code from the unit Gaussian, in nats, (b, n)."""
    return 0.5 * (mean * mean + logvar.exp() - 1 - logvar)


def absolute_difference(flux: Tensor, reconstruction: Tensor, *, good: Tensor | None = None) -> Tensor:
    """The seed paper's term: mean of |flux - reconstruction| over all good pixels of the batch, a scalar."""
    residuals = residual(flux, reconstruction, good=good).abs()
    return residuals.mean() if good is None else residuals.sum() / good.bool().sum().clamp(min=1)


def blur(residuals: Tensor, *, width: float, good: Tensor | None = None) -> Tensor:
    """Residuals (b, p) smoothed by a Gaussian of standard deviation `width` pixels; nothing beyond the ends.

    A line that lies beside its model gives no gradient towards it; blurred until both overlap, it does.
    Training goes from coarse to fine. Masked pixels neither give nor take.
    """
    if width <= 0:
        return residuals
    if good is not None:
        residuals = residuals.masked_fill(~good.bool(), 0)
    pixels = residuals.shape[1]
    residuals = residuals.to(
        torch.promote_types(residuals.dtype, torch.float32)
    )  # a transform takes no bfloat16
    length = fast_length(pixels + math.ceil(5 * width))  # room for what would wrap around
    frequency = torch.fft.rfftfreq(length, device=residuals.device, dtype=residuals.dtype) * (2 * math.pi)
    kernel = torch.exp(-0.5 * (frequency * width) ** 2)
    smooth: Tensor = torch.fft.irfft(torch.fft.rfft(residuals, n=length) * kernel, n=length)[:, :pixels]
    return smooth if good is None else smooth.masked_fill(~good.bool(), 0)


def prune_bound(sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0) -> float:
    """Nats per spectrum that a change of LEAST_EFFECT in every pixel is worth: the least to keep a node for.

    A mean over spectra, evened: so must be the rises that are held against it. It grows with pixels and with
    SNR^2 as the data do. It is not the bound of the count, which requires .0017 (measures/count.py): that one
    decides which nodes are claimed, this one which are dropped for good in the middle of a training. A cause
    that is half learned at .38 of the steps must survive to be counted, so pruning must be the more lenient.
    """
    total = inverse_variance(sigma, good=good, floor=floor).sum(1)
    return 0.5 * LEAST_EFFECT**2 * float((total * evened(total)).mean())


def evened(total: Tensor) -> Tensor:
    """What a spectrum's nats count for in a mean that no bright star rules, (b,), 1 at most.

    A spectrum that tells more than the median one counts as if it told as much.

    total  (b,) each spectrum's sum over pixels of 1 / (sigma^2 + floor^2)
    """
    return (total.quantile(0.5) / total.clamp(min=1e-30)).clamp(max=1)


def signal_nats(flux: Tensor, sigma: Tensor, *, good: Tensor | None, floor: float) -> float:
    """Nats per spectrum by which the archive differs from its own mean spectrum, beyond its noise."""
    good = torch.ones_like(flux, dtype=torch.bool) if good is None else good
    weight = torch.where(good, 1 / (sigma**2 + floor**2), 0)
    mean = (flux * weight).sum(0) / weight.sum(0).clamp(min=1e-30)
    spread = (flux - mean) ** 2 - sigma**2
    nats = float((0.5 * spread * weight).sum(1).mean())
    return max(nats, 0.0) if math.isfinite(nats) else 0.0
