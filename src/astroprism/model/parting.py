"""The mean star and the mean atmosphere of spectra in which they move against each other, in closed form.

A spectrum is the star at its velocity times the atmosphere at the observer's, so its logarithm is a sum, and
a shift multiplies each Fourier mode by a phase: two unknowns per mode, from as many equations as there are
spectra. Of one star, whose own motion may be none, this tells whose a line is; a network that begins
without it draws the atmosphere into the star, and needs a node that follows the Earth's motion to undo that.

Shapes: b spectra, p pixels, w pixels with room for a shift on both sides, m = w // 2 + 1 modes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..network.doppler import pixels_of, shift
from ..network.prism import PrismConfig
from .data import Tensors
from .loss import residual
from .velocity import CLEAR, shifts_of

FEWEST = 8  # spectra
ROUNDS = 8  # of solving, filling what was not seen, and moving the star
DARKEST = 0.05  # transmission: what is darker has no logarithm to speak of
LEAST_MOTION = 0.5  # pixels by which star and atmosphere must move against each other (sd)
FARTHEST = 3.0  # pixels, of one Gauss-Newton step
MOST_LEFT = 0.02  # variance that may be left, over that of the lines: else more is at work than two motions
FARTHEST_PIXEL = 30.0  # sigma


class Parted(NamedTuple):
    """What spectra are made of."""

    star: Tensor  # (w,)
    air: Tensor  # (w,)
    velocity: Tensor  # (b,) pixels, of the star, its mean 0


@torch.no_grad()
def parted(
    batch: Tensors, *, config: PrismConfig, floor: float, earth: Tensor | None = None
) -> Parted | None:
    """Mean star and mean atmosphere; None where they do not move enough to be told apart, or explain little.

    earth  (b,) km/s by which the Earth's motion moves the star's lines, where that is known of spectra in the
           observer's frame
    """
    still = torch.zeros_like(batch.flux[:, 0])
    air = still if batch.berv is None else pixels_of(batch.berv, config.step)
    velocity = still if earth is None else pixels_of(earth, config.step)
    velocity = velocity - velocity.mean()
    if len(still) < FEWEST or float((air - velocity).std()) < LEAST_MOTION:
        return None
    good = torch.isfinite(batch.flux) if batch.good is None else batch.good & torch.isfinite(batch.flux)
    y = torch.where(good, batch.flux, 1.0).clamp(min=DARKEST).log()
    sides = (config.pad, config.width - config.pixels - config.pad)
    y, good = (torch.nn.functional.pad(one, sides) for one in (y, good))  # (b, w)
    noise = torch.where(good, torch.nn.functional.pad(batch.sigma, sides), 0.0).square().sum(1)
    noise = noise / good.sum(1).clamp(min=1) + floor**2  # (b,)
    weight = noise.median() / noise
    seen = y[good]
    pull = float(noise.median() / seen.var().clamp(min=1e-12))
    star = atmosphere = y.new_zeros(config.width)
    for round in range(ROUNDS):
        made = _made(star, velocity) + _made(atmosphere, air)
        filled = torch.where(good, y, made)
        star, atmosphere = _solved(filled, velocity, air, weight=weight, pull=pull)
        left = y - _made(atmosphere, air)
        if round < ROUNDS // 2:
            velocity = _found(batch, left, star, velocity, config=config, floor=floor)
        else:
            velocity = velocity + _nearer(left, good, star, velocity)
        velocity = velocity - (weight * velocity).sum() / weight.sum()
    made = (_made(star, velocity) + _made(atmosphere, air))[:, config.pad : config.pad + config.pixels].exp()
    if _left(batch, made) > MOST_LEFT:
        return None
    return Parted(star.exp(), atmosphere.exp(), velocity)


def _left(batch: Tensors, made: Tensor) -> float:
    """Variance of what `made` (b, p) leaves beyond the errors, over that of its lines."""
    off = residual(batch.flux, made, good=batch.good).nan_to_num()
    most = FARTHEST_PIXEL * batch.sigma  # no hit counts more
    square = off.abs().minimum(most).square() - batch.sigma**2
    good = torch.ones_like(off, dtype=torch.bool) if batch.good is None else batch.good
    return float(square[good].mean().clamp(min=0) / made.var(1).mean().clamp(min=1e-12))


def _made(template: Tensor, pixels: Tensor) -> Tensor:
    """The template (w,) at each shift, (b, w)."""
    return shift(template.expand(len(pixels), -1), pixels)


def _solved(
    y: Tensor, velocity: Tensor, air: Tensor, *, weight: Tensor, pull: float
) -> tuple[Tensor, Tensor]:
    """Least squares, mode by mode: y = star at `velocity` + atmosphere at `air`, both (w,).

    pull  of the atmosphere towards none, in spectra: what both can explain is the star's
    """
    n = y.shape[1]
    frequency = torch.fft.rfftfreq(n, device=y.device, dtype=y.dtype) * (2 * math.pi)  # (m,)
    modes = torch.fft.rfft(y)
    apart = frequency * (air - velocity)[:, None]  # (b, m)
    own = frequency * velocity[:, None]
    modes = modes * torch.complex(torch.cos(own), torch.sin(own))  # the star at rest, the atmosphere `apart`
    phase = torch.complex(torch.cos(apart), torch.sin(apart))
    w = weight[:, None]
    count, cross = w.sum(), (w * phase.conj()).sum(0)  # the atmosphere's wave seen from the star
    by_star, by_air = (w * modes).sum(0), (w * phase * modes).sum(0)
    ridge = 1e-3 * pull
    # [count + ridge, cross; cross*, count + pull] (star, air) = (by_star, by_air)
    a, d = count + ridge, count + pull
    det = a * d - cross.abs() ** 2
    star, atmosphere = (d * by_star - cross * by_air) / det, (a * by_air - cross.conj() * by_star) / det
    return torch.fft.irfft(star, n=n), torch.fft.irfft(atmosphere, n=n)


def _found(
    batch: Tensors, left: Tensor, star: Tensor, velocity: Tensor, *, config: PrismConfig, floor: float
) -> Tensor:
    """The star's velocities by cross-correlation, where that clearly tells; as they are elsewhere."""
    inside = slice(config.pad, config.pad + config.pixels)
    found = shifts_of(batch._replace(flux=left[:, inside].exp()), star.exp(), config=config, floor=floor)
    clear = found.gain > CLEAR
    return torch.where(clear, found.pixels, velocity)


def _nearer(left: Tensor, good: Tensor, star: Tensor, velocity: Tensor) -> Tensor:
    """One Gauss-Newton step of the star's velocities, (b,) pixels."""
    slope = 0.5 * (star.roll(-1) - star.roll(1))
    slope = torch.where(good, _made(slope, velocity), 0.0)
    rest = torch.where(good, left - _made(star, velocity), 0.0)
    step = -(rest * slope).sum(1) / (slope**2).sum(1).clamp(min=1e-12)
    return step.clamp(-FARTHEST, FARTHEST)
