"""A basis in which weak causes are as loud as strong ones."""

from __future__ import annotations

import torch
from torch import Tensor


def whitening(x: Tensor, *, count: int, noise: float) -> Tensor:
    """Basis (p, at most count) whose products with the rows of x (s, p) have unit spread.

    Components fainter than the noise, of variance `noise` a pixel, are scaled by the noise instead.
    """
    values, vectors = torch.linalg.eigh(
        (x @ x.T) / len(x)
    )  # of the spectra, not the pixels: cheap for long spectra
    values, vectors = values.flip(0)[:count].clamp(min=1e-12), vectors.flip(1)[:, :count]
    axes: Tensor = (x.T @ vectors) / (values * len(x)).sqrt()  # (p, count), orthonormal
    basis: Tensor = axes / values.clamp(min=max(noise, 1e-12)).sqrt()
    return basis
