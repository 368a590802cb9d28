"""The prism's layers: spectra folded patch by patch into few numbers, and back; a residual layer.

Shapes: b spectra, h hidden features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Folding(NamedTuple):
    """How pixels become few numbers."""

    patch: int  # pixels a patch
    rank: int  # numbers a patch
    most: int  # numbers that reach a dense layer; more are folded again


class Fold(nn.Module):
    """An own linear map for every patch: (b, pixels) -> (b, patches * rank). Cost: rank a pixel."""

    def __init__(self, pixels: int, patch: int, rank: int) -> None:
        super().__init__()
        self.patch, self.count = patch, -(-pixels // patch)
        self.fill = self.count * patch - pixels
        self.weight = nn.Parameter(torch.randn(self.count, patch, rank) / math.sqrt(patch))
        self.out_features = self.count * rank

    def forward(self, x: Tensor) -> Tensor:
        """(b, pixels) -> (b, patches * rank)."""
        patches = functional.pad(x, (0, self.fill)).view(len(x), self.count, self.patch).transpose(0, 1)
        return torch.bmm(patches, self.weight).transpose(0, 1).reshape(len(x), self.out_features)


class Unfold(nn.Module):
    """The way back: (b, patches * rank) -> (b, pixels)."""

    def __init__(self, pixels: int, patch: int, rank: int) -> None:
        super().__init__()
        self.pixels, self.rank, self.count = pixels, rank, -(-pixels // patch)
        self.weight = nn.Parameter(torch.randn(self.count, rank, patch) / math.sqrt(rank))
        self.bias = nn.Parameter(torch.zeros(pixels))
        self.in_features = self.count * rank

    def forward(self, x: Tensor) -> Tensor:
        """(b, patches * rank) -> (b, pixels)."""
        patches = x.view(len(x), self.count, self.rank).transpose(0, 1)
        whole = torch.bmm(patches, self.weight).transpose(0, 1).reshape(len(x), -1)
        return whole[:, : self.pixels] + self.bias


def reader(pixels: int, hidden: int, *, sizes: Folding) -> nn.Sequential:
    """(b, pixels) -> (b, h): patches folded until few enough numbers are left, then one dense layer."""
    layers: list[nn.Module] = []
    while not layers or pixels > sizes.most:
        fold = Fold(pixels, sizes.patch, sizes.rank)
        layers.append(fold)
        pixels = fold.out_features
    return nn.Sequential(*layers, nn.Linear(pixels, hidden))


def writer(pixels: int, hidden: int, *, sizes: Folding) -> nn.Sequential:
    """(b, h) -> (b, pixels): the reader's mirror image."""
    layers: list[nn.Module] = []
    while not layers or pixels > sizes.most:
        unfold = Unfold(pixels, sizes.patch, sizes.rank)
        layers.insert(0, unfold)
        pixels = unfold.in_features
    return nn.Sequential(nn.Linear(hidden, pixels), *layers)


class Residual(nn.Module):
    """h + W2 gelu(W1 norm(h)). The decoder's has no norm: a norm lets it read the noise of dead nodes."""

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        if not norm:
            with torch.no_grad():
                self.down.weight.mul_(0.5)
                self.down.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        """(b, width) -> (b, width)."""
        out: Tensor = h + self.down(functional.gelu(self.up(self.norm(h))))
        return out
