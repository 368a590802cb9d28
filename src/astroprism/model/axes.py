"""The nodes of a finished training turned to the axes that their codes single out (measures/axes.py).

The network's reconstructions stay what they are: the turn is a layer of its own between encoder, codes and
decoder (network/turn.py). Nodes that move star or atmosphere are axes by what they do, and are left alone.
"""

from __future__ import annotations

import torch

from ..measures.axes import FEWEST, independent_axes
from ..measures.evidence import EvidenceError
from ..network import Prism
from ..schema import AxesFacts
from .data import Tensors
from .nodes import codes, polish


@torch.no_grad()
def turn_to_axes(network: Prism, batch: Tensors, *, floor: float, seed: int) -> AxesFacts:
    """Turn the kept nodes to their own axes, found from a batch with one spectrum per target.

    Codes are polished: those of an encoder are shrunk by its doubt, and mixed where it is in doubt.
    """
    kept = network.keep.nonzero()[:, 0].tolist()
    nodes = [i for i in kept if i >= network.config.moves]

    def none(why: str) -> AxesFacts:
        return AxesFacts(nodes=nodes, turned=False, why=why)

    if len(nodes) < 2:
        return none(f"{len(nodes)} node{'s' * (len(nodes) != 1)} to be turned, and two are needed")
    if len(batch.flux) < FEWEST:
        return none(f"{len(batch.flux)} targets, and {FEWEST} are needed")
    mean, logvar = codes(network, batch)
    mean = polish(network, mean, batch, nodes=kept, floor=floor)
    own, sd = (x[:, nodes].double().cpu().numpy() for x in (mean, (0.5 * logvar).exp()))
    try:
        axes = independent_axes(own, sd, seed=seed)
    except EvidenceError as error:
        return none(str(error))
    if axes.turned:
        network.to_axes(nodes, torch.from_numpy(axes.middle), torch.from_numpy(axes.matrix))
    return AxesFacts(
        nodes=nodes,
        turned=axes.turned,
        stability=[round(float(x), 4) for x in axes.stability],
        own=axes.identified.tolist(),
        gains=[round(float(x), 4) for x in axes.gains],
        targets=axes.n,
    )
