"""Fair samples of spectra, as tensors that a network can be given."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..network import PaperNetwork, Prism
from .data import Source, Tensors


def fair(rows: NDArray[np.intp], count: int, *, source: Source, seed: int) -> NDArray[np.intp]:
    """Up to `count` of the rows, one a target first, in a seeded order: any few of them are fair too."""
    import pandas as pd

    rows = np.random.default_rng(seed).permutation(rows)
    star = pd.factorize(source.targets[rows])[0]  # half the time of sorting 300,000 names
    again = np.ones(len(rows), bool)
    again[np.unique(star, return_index=True)[1]] = False
    return rows[np.argsort(again, kind="stable")[:count]]


def load(rows: NDArray[np.intp], source: Source, *, network: Prism | PaperNetwork) -> Tensors:
    """These spectra, in this machine's memory."""
    read = source.read(rows)
    good = None if source.complete else torch.from_numpy(read.good)
    berv = None if source.berv is None else torch.from_numpy(source.berv[rows])
    return aired(Tensors(torch.from_numpy(read.flux), torch.from_numpy(read.sigma), good, berv), network)


def aired(batch: Tensors, network: Prism | PaperNetwork) -> Tensors:
    """With BERV where the network's atmosphere moves, 0 if none is known; without elsewhere."""
    if not (isinstance(network, Prism) and network.config.moving_air):
        return batch._replace(berv=None)
    return batch if batch.berv is not None else batch._replace(berv=batch.flux.new_zeros(len(batch.flux)))


def on(device: torch.device, batch: Tensors) -> Tensors:
    """The batch on a device."""
    return Tensors(*(None if x is None else x.to(device) for x in batch))  # type: ignore[arg-type]
