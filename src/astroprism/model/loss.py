"""What training minimises: plain functions on tensors of b spectra, p pixels, n nodes.

A masked pixel, `good` False, counts for nothing, in the loss and in every gradient, whatever it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is loaded by those who hold tensors, not by this module
    from torch import Tensor


def residual(flux: Tensor, reconstruction: Tensor, *, good: Tensor | None = None) -> Tensor:
    """flux - reconstruction, 0 where not good, (b, p); NaN in masked pixels reaches no gradient."""
    if good is None:
        return flux - reconstruction
    bad = ~good.bool()
    return flux.masked_fill(bad, 0) - reconstruction.masked_fill(bad, 0)


def gaussian_nll(left: Tensor, sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0) -> Tensor:
    """Negative log-likelihood of residuals (b, p) in nats a spectrum (b,), up to a constant of the data.

    sigma  (b, p), in the unit of the residuals
    floor  added to sigma in quadrature: what the network need not explain
    """
    weight = 1 / (sigma * sigma + floor * floor)
    if good is not None:
        bad = ~good.bool()
        weight, left = weight.masked_fill(bad, 0), left.masked_fill(bad, 0)
    return 0.5 * (left * left * weight).sum(1)


def chi2_per_pixel(left: Tensor, sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0) -> Tensor:
    """Mean over good pixels of (residual / sigma)^2, (b,); NaN for a spectrum without one."""
    count = left.shape[1] if good is None else good.bool().sum(1)
    return 2 * gaussian_nll(left, sigma, good=good, floor=floor) / count


def kl_per_node(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence of each code from the unit Gaussian, in nats, (b, n)."""
    return 0.5 * (mean * mean + logvar.exp() - 1 - logvar)


def absolute_difference(flux: Tensor, reconstruction: Tensor, *, good: Tensor | None = None) -> Tensor:
    """The seed paper's term: mean of |flux - reconstruction| over all good pixels of the batch, a scalar."""
    left = residual(flux, reconstruction, good=good).abs()
    return left.mean() if good is None else left.sum() / good.bool().sum().clamp(min=1)


def paper_loss(
    flux: Tensor,
    reconstruction: Tensor,
    *,
    mean: Tensor,
    logvar: Tensor,
    weight: float,
    good: Tensor | None = None,
) -> Tensor:
    """The seed paper's loss, a scalar: absolute difference + weight * KL averaged over batch and nodes."""
    kl = kl_per_node(mean, logvar).mean()
    return absolute_difference(flux, reconstruction, good=good) + weight * kl


def paper_kl_weight(step: int, *, last: float = 0.3, begin: int = 5_000, full: int = 20_000) -> float:
    """The seed paper's weight of KL: 0 until `begin`, then linear to `last` at `full`, and it stays."""
    return last * min(1.0, max(0.0, (step - begin) / (full - begin)))


def blur(left: Tensor, *, width: float, good: Tensor | None = None) -> Tensor:
    """Residuals (b, p) smoothed by a Gaussian of standard deviation `width` pixels; nothing beyond the ends.

    A line that lies beside its model tells no gradient where to go; blurred until both overlap, it does.
    Training goes from coarse to fine. Masked pixels neither give nor take.
    """
    import math

    import torch

    from ..network.doppler import fast_length

    if width <= 0:
        return left
    if good is not None:
        left = left.masked_fill(~good.bool(), 0)
    pixels = left.shape[1]
    left = left.to(torch.promote_types(left.dtype, torch.float32))  # a transform knows no bfloat16
    length = fast_length(pixels + math.ceil(5 * width))  # room for what would wrap around
    frequency = torch.fft.rfftfreq(length, device=left.device, dtype=left.dtype) * (2 * math.pi)
    kernel = torch.exp(-0.5 * (frequency * width) ** 2)
    smooth: Tensor = torch.fft.irfft(torch.fft.rfft(left, n=length) * kernel, n=length)[:, :pixels]
    return smooth if good is None else smooth.masked_fill(~good.bool(), 0)


def ablation_bound(
    sigma: Tensor, *, good: Tensor | None = None, floor: float = 0.0, least: float = 0.002
) -> float:
    """Nats a spectrum that a change of `least` (relative flux, rms) in every pixel is worth.

    The least a node must explain to count as real. It grows with pixels and with SNR^2 as the data do.
    """
    weight = 1 / (sigma * sigma + floor * floor)
    if good is not None:
        weight = weight.masked_fill(~good.bool(), 0)
    return 0.5 * least**2 * float(weight.sum(1).mean())
