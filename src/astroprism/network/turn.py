"""Codes on other axes than those of the training, and back: a layer of its own, set once training is over.

    u = M (z - middle)

M mixes the nodes that are turned among each other and leaves the others as they are. Reconstructions are what
they were: the decoder reads z, of which u is another name.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Turn(nn.Module):
    """Between encoder and codes, and between codes and decoder; n nodes."""

    middle: Tensor  # (n,)
    there: Tensor  # (n, n)
    back: Tensor  # (n, n), its inverse

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(n_latent))
        self.register_buffer("there", torch.eye(n_latent))
        self.register_buffer("back", torch.eye(n_latent))

    @torch.no_grad()
    def to_axes(self, nodes: Sequence[int], middle: Tensor, matrix: Tensor) -> None:
        """Turn `nodes` (k of them) by matrix (k, k) about middle (k,)."""
        own = torch.as_tensor(nodes, device=self.middle.device)
        self.middle[own] = middle.to(self.middle)
        self.there[own[:, None], own] = matrix.to(self.there)
        self.back[own[:, None], own] = torch.linalg.inv(matrix.double()).to(self.back)

    def forward(self, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (b, n) on the new axes; of the covariance, which turns too, the diagonal."""
        with torch.autocast(mean.device.type, enabled=False):
            turned = (mean.float() - self.middle) @ self.there.T
            variance = logvar.float().exp() @ (self.there**2).T
        return turned, variance.clamp(min=1e-30).log()

    def trained(self, u: Tensor) -> Tensor:
        """The codes (b, n) that the decoder was trained with."""
        with torch.autocast(u.device.type, enabled=False):
            z: Tensor = u.float() @ self.back.T + self.middle
        return z
