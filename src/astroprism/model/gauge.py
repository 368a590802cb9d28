"""One zero of velocity for all kinds of star, measured once training is over.

Training ties every star to the mean star (`prism.drift`), which between kinds of star as different as A and K
is good to a third of a pixel (28 km/s at 69 km/s a pixel). With the network at rest the same is measured more
sharply, patches weighted by how well the mean star's lines describe them, and the star is moved back by it:

    shift = gain * z0 - off(star),    z0 of the encoder raised by off / gain

so that reconstructions stay what they are. `off` is read from the features of the decoder's body, by ridge
regression over the training spectra: a smooth function of the codes, absorbed into the network. The
velocities of the archive have median 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..network import Prism
from ..network.doppler import shift
from ..network.prism import drift
from .data import Tensors
from .nodes import codes

ROUNDS = 3  # of measuring drifts against the mean of the stars moved back by them
QUALITY = 1.0  # power of a patch's own misfit, by which its weight is divided
RIDGE = 1e-5  # of the features' summed variance
PIECE = 400  # stars at once
FEWEST = 32  # spectra, below which nothing is measured


@torch.no_grad()
def regauge(network: Prism, sample: Tensors) -> Tensor | None:
    """Measure the star's drift over a sample and absorb it; returns it, in pixels (b,). Once per network."""
    if network.config.agnostic or len(sample.flux) < FEWEST:
        return None
    network.gauged.fill_(False)
    network.decoder.gauge.zero_()
    z = codes(network, sample)[0] * network.keep
    pieces = torch.split(z, PIECE)
    star = torch.cat([network.parts(some).star for some in pieces])
    off = drifts(star)
    features = torch.cat([network.decoder.body(some[:, network.config.moves :]) for some in pieces]).double()
    middle = features.mean(0)
    centred = features - middle
    matrix = centred.T @ centred / len(centred)
    matrix = matrix + (RIDGE * matrix.trace() + 1e-12) * torch.eye(len(matrix)).to(matrix)
    target = off.double() - off.double().mean()
    weight = torch.linalg.solve(matrix, centred.T @ target / len(centred))
    level = off.double().mean() - middle @ weight
    fitted = features @ weight + level
    # the median star of the archive stands still
    level = level - (network.decoder.pixels(z).double() + fitted).median()
    network.decoder.gauge.copy_(torch.cat([weight, level[None]]).to(network.decoder.gauge))
    network.gauged.fill_(True)
    return off


@torch.no_grad()
def drifts(star: Tensor) -> Tensor:
    """How far each star (b, w) lies from the mean of all, in pixels (b,)."""
    off = star.new_zeros(len(star))
    for _ in range(ROUNDS):
        pairs = zip(torch.split(star, PIECE), torch.split(off, PIECE), strict=True)
        still = [shift(x, -y) for x, y in pairs]
        mean = torch.cat(still).mean(0)
        off = off + torch.cat([drift(x, mean, quality=QUALITY) for x in still])
    return off
