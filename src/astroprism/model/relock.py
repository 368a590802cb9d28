"""Velocities that locked on the wrong line, found by the decoder and mended.

The encoder guesses a star's shift in one look, and may take one line for another: of the sodium doublet's
two, 304 km/s apart, where velocities reach the edge of what the archive holds. The decoder then tells what
the star would look like, cross-correlation finds where such a star would fit better, and the encoder looks
again from there. The better fit stays.
Shapes: b spectra, p pixels, n nodes, w pixels with room for a shift.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..network import Prism
from ..network.doppler import pixels_of, shift
from ..network.prism import Parts, cut
from . import nodes as measures
from .data import Tensors
from .velocity import CLEAR, shifts_of

APART = 20.0  # km/s: nearer than this the encoder's own mending and the polish find the way
ROUNDS = 2
LEAST_SKY = 0.05  # transmission, below which a pixel tells nothing of the star


@torch.no_grad()
def relocked(
    network: measures.Network, mean: Tensor, logvar: Tensor, batch: Tensors, *, floor: float
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (b, n), with those of spectra that fit better at another velocity replaced."""
    if not isinstance(network, Prism) or network.config.agnostic:
        return mean, logvar
    mean, logvar, start = mean.clone(), logvar.clone(), 0
    for x in measures.pieces(batch):
        here = slice(start, start + len(x.flux))
        start += len(x.flux)
        for _ in range(ROUNDS):
            found = elsewhere(network, mean[here], x, floor=floor)
            if not len(found.rows):
                break
            mean[here][found.rows], logvar[here][found.rows] = found.mean, found.logvar
    return mean, logvar


class Found(NamedTuple):
    """Spectra that fit better at another velocity."""

    rows: Tensor  # (r,) of the batch
    pixels: Tensor  # (r,) the better shift
    mean: Tensor  # (r, n) what the encoder sees there
    logvar: Tensor  # (r, n)


@torch.no_grad()
def elsewhere(
    network: Prism, mean: Tensor, batch: Tensors, *, floor: float, parts: Parts | None = None
) -> Found:
    """Those of which cross-correlation with the mean star and the decoder's misfit say so, both clearly.

    Not with each one's own star: at a wrong velocity the network makes up a star that suits it.
    """
    config = network.config
    parts = network.parts(mean) if parts is None else parts
    sky = parts.atmosphere
    if batch.berv is not None:
        sky = cut(shift(sky, pixels_of(batch.berv, config.step)), config=config)
    sky = sky.clamp(min=LEAST_SKY)
    star = Tensors(batch.flux / sky, batch.sigma / sky, batch.good, None)
    middle = network.parts(torch.zeros_like(mean[:1])).star[0]
    found = shifts_of(star, middle, config=config, floor=floor)
    far = (found.pixels - parts.shift).abs() * config.step > APART
    rows = torch.nonzero(far & (found.gain > CLEAR) & (network.keep[0] > 0))[:, 0]
    if not len(rows):
        return Found(rows, found.pixels[rows], mean[rows], mean[rows])
    some = measures.part(batch, rows)
    seen = network.look(some.flux, good=some.good, berv=some.berv, at=found.pixels[rows])
    saved = _cost(network, mean[rows], some, floor=floor) - _cost(network, seen.mean, some, floor=floor)
    clear = saved > CLEAR
    return Found(rows[clear], found.pixels[rows][clear], seen.mean[clear], seen.logvar[clear])


def _cost(network: Prism, z: Tensor, batch: Tensors, *, floor: float) -> Tensor:
    kept = z * network.keep
    return measures.misfit(network, z, batch, floor=floor) + 0.5 * (kept**2).sum(1)
