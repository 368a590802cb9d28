"""Spectra of one archive laid upon each other: a template, and each spectrum's shift against it.

A gradient finds the shift of a line only where line and model overlap; of two lines as far apart as the
sodium doublet (304 km/s) it may take one for the other. Cross-correlation sees all shifts at once. Training
asks it once for a template, then lets the network learn shifts from it until its own are as good.
Shapes: b spectra, p pixels, w pixels with room for a shift on both sides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..network.doppler import fast_length, pixels_of
from ..network.prism import PrismConfig
from .data import Tensors

STARTS = 4  # spectra of high SNR that are tried as the first template
ROUNDS = 6  # of aligning and averaging
FEW = 600  # spectra, and at most as many as make SIZE pixels
SIZE = 2**24
CONTINUUM = 1500.0  # km/s: slower changes are no lines
LEAST = 1.5  # pixels of spread
CLEAR = 12.5  # nats by which a shift must beat none at all: five standard deviations


class Shifts(NamedTuple):
    """Where each spectrum lies."""

    pixels: Tensor  # (b,) towards the red
    gain: Tensor  # (b,) nats by which the shifted template explains the spectrum better than a flat one


@torch.no_grad()
def believed(batch: Tensors, template: Tensor, *, config: PrismConfig, floor: float) -> bool:
    """Do shifts against the template tell of stars?

    Not where the atmosphere's lines, which stand still or move by the known velocity, are what was aligned;
    nor where all lie within a pixel and a half, which a gradient bridges.
    """
    found = shifts_of(batch, template, config=config, floor=floor)
    pixels = found.pixels[found.gain > CLEAR]
    if len(pixels) < 8:
        return False
    if batch.berv is not None:
        air = pixels_of(batch.berv, config.step)[found.gain > CLEAR]
        left = pixels - air
        if float(_spread(left)) < 0.5 * float(_spread(pixels)):
            return False
    return float(_spread(pixels)) > LEAST


def _spread(x: Tensor) -> Tensor:
    """Robust standard deviation of x (b,)."""
    return 1.4826 * (x - x.median()).abs().median()


@torch.no_grad()
def shifts_of(batch: Tensors, template: Tensor, *, config: PrismConfig, floor: float) -> Shifts:
    """The best shift of the template (w,), or of each spectrum's own (b, w), its lines as deep as need be.

    Least squares over all shifts at once, by transforms: with d = flux - 1 and t = template - 1 the gain of
    a shift is (sum w d t)^2 / (2 sum w t^2).
    """
    weight = 1 / (batch.sigma**2 + floor**2)
    weight = weight if batch.good is None else weight.masked_fill(~batch.good, 0)
    seen = torch.ones_like(weight) if batch.good is None else batch.good.to(weight)
    d = _lines(batch.flux, seen, config=config)
    template = template if template.dim() == 2 else template[None]
    line = _lines(template, (template != 1).to(template), config=config)
    room, width = config.pad, config.width
    grid = torch.fft.rfft(torch.stack([line, line**2]), n=width)
    wd = torch.fft.rfft(torch.nn.functional.pad(weight * d, (room, width - config.pixels - room)))
    ww = torch.fft.rfft(torch.nn.functional.pad(weight, (room, width - config.pixels - room)))
    cross = torch.fft.irfft(wd * grid[0].conj(), n=width)
    norm = torch.fft.irfft(ww * grid[1].conj(), n=width).clamp(min=1e-12)
    reach = torch.cat([torch.arange(0, room + 1), torch.arange(-room, 0)]).to(cross.device)
    gain = (cross.clamp(min=0) ** 2 / (2 * norm))[:, reach % width]
    best = gain.max(1)
    row = torch.arange(len(gain), device=gain.device)
    left, right = (gain[row, (best.indices + side) % len(reach)] for side in (-1, 1))
    bend = (2 * best.values - left - right).clamp(min=1e-9)
    part = (0.5 * (right - left) / bend).clamp(-0.5, 0.5)  # of a pixel: the peak of a parabola
    return Shifts(reach[best.indices] + part, best.values)


def _lines(flux: Tensor, seen: Tensor, *, config: PrismConfig) -> Tensor:
    """Flux (b, n) less its continuum, what a Gaussian of CONTINUUM smooths; 0 where not seen."""
    width = max(CONTINUUM / config.step, 20.0)
    length = fast_length(flux.shape[1] + math.ceil(5 * width))
    frequency = torch.fft.rfftfreq(length, device=flux.device, dtype=flux.dtype) * (2 * math.pi)
    kernel = torch.exp(-0.5 * (frequency * width) ** 2)

    def smooth(x: Tensor) -> Tensor:
        out: Tensor = torch.fft.irfft(torch.fft.rfft(x, n=length) * kernel, n=length)[:, : flux.shape[1]]
        return out

    level = smooth((flux - 1) * seen) / smooth(seen).clamp(min=1e-3)
    return (flux - 1 - level) * seen


@torch.no_grad()
def template_of(batch: Tensors, *, config: PrismConfig, floor: float) -> Tensor:
    """The mean star (w,) of spectra laid upon each other; 1 where none reaches."""
    few = Tensors(*(None if x is None else x[: max(8, min(FEW, SIZE // config.pixels))] for x in batch))  # type: ignore[arg-type]
    noise = few.sigma if few.good is None else few.sigma.masked_fill(~few.good, 1.0)
    order = noise.median(1).values.argsort()
    places = torch.linspace(0, max(0, len(order) // 3 - 1), STARTS).long().tolist()
    best: tuple[float, Tensor] | None = None
    for start in sorted({int(order[place]) for place in places}):
        one = Tensors(*(None if x is None else x[start : start + 1] for x in few))  # type: ignore[arg-type]
        template = _mean(one, one.flux.new_zeros(1), config=config, floor=floor)
        for _ in range(ROUNDS):
            found = shifts_of(few, template, config=config, floor=floor)
            middle = found.pixels.median().round()
            template = _mean(few, found.pixels - middle, config=config, floor=floor)
        total = float(shifts_of(few, template, config=config, floor=floor).gain.mean())
        if best is None or total > best[0]:
            best = (total, template)
    assert best is not None
    return best[1]


def _mean(batch: Tensors, pixels: Tensor, *, config: PrismConfig, floor: float) -> Tensor:
    """The weighted mean (w,) of spectra moved back by `pixels`; no spectrum counts above SNR 100."""
    weight = 1 / (batch.sigma**2 + max(floor, 0.01) ** 2)
    weight = weight if batch.good is None else weight.masked_fill(~batch.good, 0)
    back = pixels.round().long()[:, None]
    place = torch.arange(config.pixels, device=pixels.device) + config.pad - back
    inside = (place >= 0) & (place < config.width)
    place, weight = place.clamp(0, config.width - 1), weight * inside
    total = torch.zeros(config.width, device=pixels.device, dtype=batch.flux.dtype)
    count = torch.zeros_like(total)
    total.index_add_(0, place.flatten(), (weight * (batch.flux - 1)).flatten())
    count.index_add_(0, place.flatten(), weight.flatten())
    return 1 + torch.where(count > 0, total / count.clamp(min=1e-30), 0)
