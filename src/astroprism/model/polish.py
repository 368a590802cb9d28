"""Codes mended under the decoder: a few Gauss-Newton steps towards the best code of each spectrum.

The encoder guesses in one look; the decoder knows what each code would look like, and the data decide.
Shapes: b spectra, p pixels, k nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import nodes as measures
from .data import Tensors
from .loss import gaussian_nll, residual

STEPS = 2
DAMPING = (1.0, 0.3, 0.1)  # shares of the step that are tried, until one is better


@torch.no_grad()
def polish(
    network: measures.Network,
    mean: Tensor,
    batch: Tensors,
    *,
    nodes: Sequence[int],
    floor: float,
    steps: int = STEPS,
) -> Tensor:
    """Codes (b, n) with those of `nodes` moved to where likelihood times prior is higher; never lower."""
    if not nodes or not len(mean):
        return mean
    out, start = [], 0
    # derivatives take a spectrum's pixels once a node
    for x in measures.pieces(batch, 2**20 // max(1, len(nodes) // 4)):
        z = mean[start : start + len(x.flux)].clone()
        start += len(x.flux)
        value = _cost(network, z, x, nodes=nodes, floor=floor)
        for _ in range(steps):
            step = _step(network, z, x, nodes=nodes, floor=floor)
            begun, moved = z, torch.zeros(len(z), dtype=torch.bool, device=z.device)
            for damping in DAMPING:
                tried = begun.clone()
                tried[:, nodes] += damping * step
                cost = _cost(network, tried, x, nodes=nodes, floor=floor)
                # each spectrum for itself: its code must not hang on which others share its batch
                better = (cost < value) & ~moved
                z, value = torch.where(better[:, None], tried, z), torch.where(better, cost, value)
                moved |= better
                if bool(moved.all()):
                    break
        out.append(z)
    return torch.cat(out)


def _cost(network: measures.Network, z: Tensor, x: Tensors, *, nodes: Sequence[int], floor: float) -> Tensor:
    left = residual(x.flux, network.decode(z, berv=x.berv), good=x.good)
    return gaussian_nll(left, x.sigma, good=x.good, floor=floor) + 0.5 * (z[:, nodes] ** 2).sum(1)


def _step(network: measures.Network, z: Tensor, x: Tensors, *, nodes: Sequence[int], floor: float) -> Tensor:
    """The full Gauss-Newton step (b, k) of likelihood and unit Gaussian prior."""
    slopes = measures.derivatives(network, z, x, nodes=nodes)  # (b, k, p), in sigma
    soft = x.sigma / (x.sigma**2 + floor**2).sqrt()
    slopes = slopes * soft[:, None]
    left = residual(x.flux, network.decode(z, berv=x.berv), good=x.good) / x.sigma * soft
    if x.good is not None:
        left = left.masked_fill(~x.good, 0)
    matrix = slopes @ slopes.transpose(1, 2) + torch.eye(len(nodes)).to(slopes)
    right = (slopes @ left[:, :, None])[:, :, 0] - z[:, nodes]
    step: Tensor = torch.linalg.solve(matrix, right)
    return step
