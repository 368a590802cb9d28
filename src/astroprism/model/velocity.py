"""Velocities by cross-correlation: a template made of the spectra themselves, and spectra on the wrong line.

A gradient finds the shift of a line only where line and model overlap; of two lines as far apart as the
sodium doublet (304 km/s) it may take one for the other. Cross-correlation sees all shifts at once. It serves
twice:

    template_of, shifts_of    in training, while the Doppler node is alone: spectra of one archive laid upon
                              each other make a template, and the network learns shifts against it
    better_shifts, relocked   afterwards, in every fourth step and when spectra are encoded: the decoder gives
                              the mean star, cross-correlation the shift where such a star would fit better,
                              and the encoder looks again from there. The better fit stays

Shapes: b spectra, p pixels, n nodes, w pixels with room for a shift on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..network import Prism
from ..network.doppler import fast_length, pixels_of
from ..network.prism import Parts, PrismConfig, seen_air
from .data import Tensors
from .loss import inverse_variance
from .nodes import Network, misfit, polish

CLEAR = 12.5  # nats by which a shift must beat none at all: five standard deviations

# of templates
STARTS = 4  # spectra of high SNR that are tried as the first template
ROUNDS = 6  # of aligning and averaging
FEW, SIZE = 600, 2**24  # spectra that make a template, and at most as many as have SIZE pixels
CONTINUUM = 1500.0  # km/s: slower changes are no lines
LEAST = 1.5  # pixels of spread

# of second looks
APART = 20.0  # km/s: nearer than this the encoder's second look and the polish find the way
LOOKS = 2
MORE_STEPS = 6  # of the polish of codes of one star
LEAST_SKY = 0.05  # transmission, below which a pixel does not constrain the star


class Shifts(NamedTuple):
    """Where each spectrum lies."""

    pixels: Tensor  # (b,) towards the red
    gain: Tensor  # (b,) nats by which the shifted template explains the spectrum better than a flat one


@torch.no_grad()
def shifts_of(
    batch: Tensors, template: Tensor, *, config: PrismConfig, floor: float, most: float = math.inf
) -> Shifts:
    """The best shift of the template (w,), or of each spectrum's own (b, w), its lines as deep as need be.

    most  pixels, the farthest that is sought; as far as there is room by default

    Least squares over all shifts at once, by transforms: with d = flux - 1 and t = template - 1 the gain of
    a shift is (sum w d t)^2 / (2 sum w t^2).
    """
    weight = inverse_variance(batch.sigma, good=batch.good, floor=floor)
    good = torch.ones_like(weight) if batch.good is None else batch.good.to(weight)
    d = _lines(batch.flux, good, config=config)
    template = template if template.dim() == 2 else template[None]
    line = _lines(template, (template != 1).to(template), config=config)
    room, width = config.pad, config.width
    grid = torch.fft.rfft(torch.stack([line, line**2]), n=width)
    wd = torch.fft.rfft(torch.nn.functional.pad(weight * d, (room, width - config.pixels - room)))
    ww = torch.fft.rfft(torch.nn.functional.pad(weight, (room, width - config.pixels - room)))
    cross = torch.fft.irfft(wd * grid[0].conj(), n=width)
    norm = torch.fft.irfft(ww * grid[1].conj(), n=width).clamp(min=1e-12)
    room = max(1, min(room, math.ceil(most))) if most < math.inf else room
    reach = torch.cat([torch.arange(0, room + 1), torch.arange(-room, 0)]).to(cross.device)
    gain = (cross.clamp(min=0) ** 2 / (2 * norm))[:, reach % width]
    best = gain.max(1)
    row = torch.arange(len(gain), device=gain.device)
    left, right = (gain[row, (best.indices + side) % len(reach)] for side in (-1, 1))
    bend = (2 * best.values - left - right).clamp(min=1e-9)
    part = (0.5 * (right - left) / bend).clamp(-0.5, 0.5)  # of a pixel: the peak of a parabola
    return Shifts(reach[best.indices] + part, best.values)


def _lines(flux: Tensor, good: Tensor, *, config: PrismConfig) -> Tensor:
    """Flux (b, n) less its continuum, what a Gaussian of CONTINUUM smooths; 0 where not good."""
    width = max(CONTINUUM / config.step, 20.0)
    length = fast_length(flux.shape[1] + math.ceil(5 * width))
    frequency = torch.fft.rfftfreq(length, device=flux.device, dtype=flux.dtype) * (2 * math.pi)
    kernel = torch.exp(-0.5 * (frequency * width) ** 2)

    def smooth(x: Tensor) -> Tensor:
        out: Tensor = torch.fft.irfft(torch.fft.rfft(x, n=length) * kernel, n=length)[:, : flux.shape[1]]
        return out

    level = smooth((flux - 1) * good) / smooth(good).clamp(min=1e-3)
    return (flux - 1 - level) * good


# --- the template of an archive


@torch.no_grad()
def template_of(batch: Tensors, *, config: PrismConfig, floor: float, most: float = math.inf) -> Tensor:
    """What moves most in the spectra, laid upon each other (w,); of several starts the one that fits best.

    most  as in `shifts_of`
    """
    few = batch.at(slice(max(8, min(FEW, SIZE // config.pixels))))
    noise = few.sigma if few.good is None else few.sigma.masked_fill(~few.good, 1.0)
    order = noise.median(1).values.argsort()
    places = torch.linspace(0, max(0, len(order) // 3 - 1), STARTS).long().tolist()
    best: tuple[float, Tensor] | None = None
    for start in sorted({int(order[place]) for place in places}):
        one = few.at(slice(start, start + 1))
        template = _mean_star(one, one.flux.new_zeros(1), config=config, floor=floor)
        template = aligned(few, template, config=config, floor=floor, most=most, rounds=ROUNDS)
        total = float(shifts_of(few, template, config=config, floor=floor, most=most).gain.mean())
        if best is None or total > best[0]:
            best = (total, template)
    assert best is not None
    return best[1]


@torch.no_grad()
def aligned(
    batch: Tensors,
    template: Tensor,
    *,
    config: PrismConfig,
    floor: float,
    rounds: int,
    most: float = math.inf,
) -> Tensor:
    """The template (w,) after some rounds of laying the spectra upon it and averaging them."""
    for _ in range(rounds):
        found = shifts_of(batch, template, config=config, floor=floor, most=most)
        middle = found.pixels.median().round()
        template = _mean_star(batch, found.pixels - middle, config=config, floor=floor)
    return template


def _mean_star(batch: Tensors, pixels: Tensor, *, config: PrismConfig, floor: float) -> Tensor:
    """The weighted mean (w,) of spectra moved back by `pixels`; 1 where none reaches.

    No spectrum weighs more than one of SNR 100.
    """
    weight = inverse_variance(batch.sigma, good=batch.good, floor=max(floor, 0.01))
    back = pixels.round().long()[:, None]
    place = torch.arange(config.pixels, device=pixels.device) + config.pad - back
    inside = (place >= 0) & (place < config.width)
    place, weight = place.clamp(0, config.width - 1), weight * inside
    total = torch.zeros(config.width, device=pixels.device, dtype=batch.flux.dtype)
    count = torch.zeros_like(total)
    total.index_add_(0, place.flatten(), (weight * (batch.flux - 1)).flatten())
    count.index_add_(0, place.flatten(), weight.flatten())
    return 1 + torch.where(count > 0, total / count.clamp(min=1e-30), 0)


@torch.no_grad()
def whose(batch: Tensors, template: Tensor, *, config: PrismConfig, floor: float) -> str:
    """Whether the shifts against the template are those of a 'star', or of the 'air'.

    The atmosphere's are those that follow the known velocity. '' where all lie within a pixel and a half,
    which a gradient bridges, or where few are clear.
    """
    found = shifts_of(batch, template, config=config, floor=floor)
    clear = found.gain > CLEAR
    pixels = found.pixels[clear]
    if len(pixels) < 8:
        return ""
    width = float(spread(pixels))
    if batch.berv is not None:
        air = pixels_of(batch.berv, config.step)[clear]
        if float(spread(pixels - air)) < 0.5 * width:
            return "air"
    return "star" if width > LEAST else ""


def spread(x: Tensor) -> Tensor:
    """Robust standard deviation of x (b,)."""
    return 1.4826 * (x - x.median()).abs().median()


# --- second looks


class Better(NamedTuple):
    """Spectra that fit better at another velocity."""

    rows: Tensor  # (r,) of the batch
    pixels: Tensor  # (r,) the better shift
    mean: Tensor  # (r, n) the code there
    logvar: Tensor  # (r, n)


@torch.no_grad()
def better_shifts(
    network: Prism, mean: Tensor, batch: Tensors, *, floor: float, parts: Parts | None = None
) -> Better:
    """Spectra for which cross-correlation with the mean star and the decoder's misfit both clearly say so.

    Not with each one's own star: at a wrong velocity the network makes up a star that suits it.

    parts  what the codes `mean` decode to, where it is known
    """
    config = network.config
    parts = network.parts(mean) if parts is None else parts
    place = None if batch.berv is None else pixels_of(batch.berv, config.step)
    sky = seen_air(parts, air=place, config=config).clamp(min=LEAST_SKY)
    star = Tensors(batch.flux / sky, batch.sigma / sky, batch.good, None)
    middle = network.parts(torch.zeros_like(mean[:1])).star[0]
    found = shifts_of(star, middle, config=config, floor=floor)
    far = (found.pixels - parts.shift).abs() * config.step > APART
    rows = torch.nonzero(far & (found.gain > CLEAR) & (network.keep[0] > 0))[:, 0]
    if not len(rows):
        return Better(rows, found.pixels[rows], mean[rows], mean[rows])
    some = batch.at(rows)
    again = network.look(some.flux, good=some.good, berv=some.berv, at=found.pixels[rows])
    saved = _cost(network, mean[rows], some, floor=floor) - _cost(network, again.mean, some, floor=floor)
    clear = saved > CLEAR
    return Better(rows[clear], found.pixels[rows][clear], again.mean[clear], again.logvar[clear])


def _cost(network: Prism, z: Tensor, batch: Tensors, *, floor: float) -> Tensor:
    """Likelihood times prior of codes (b, n), as nats (b,) to be small."""
    kept = z * network.keep
    return misfit(network, z, batch, floor=floor) + 0.5 * (kept**2).sum(1)


@torch.no_grad()
def relocked(
    network: Network, mean: Tensor, logvar: Tensor, batch: Tensors, *, floor: float
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (b, n), with those of spectra that fit better at another velocity replaced."""
    if not isinstance(network, Prism) or network.config.agnostic:
        return mean, logvar
    mean, logvar = mean.clone(), logvar.clone()
    for rows, x in batch.pieces():
        for _ in range(LOOKS):
            better = better_shifts(network, mean[rows], x, floor=floor)
            if not len(better.rows):
                break
            mean[rows][better.rows], logvar[rows][better.rows] = better.mean, better.logvar
    return mean, logvar


@torch.no_grad()
def polish_afresh(
    network: Prism, mean: Tensor, batch: Tensors, *, nodes: Sequence[int], floor: float
) -> Tensor:
    """Codes (b, n) polished from where they are and from the middle of all; the better fit stays.

    For one star: an encoder that its few spectra trained may be far off for others. Velocities are fitted,
    be they among `nodes` or not.
    """
    nodes = sorted({*nodes, *range(network.config.moves)})
    middle = mean.clone()
    middle[:, nodes] = 0.0
    found = [polish(network, z, batch, nodes=nodes, floor=floor, steps=MORE_STEPS) for z in (mean, middle)]
    nats = [_cost(network, z, batch, floor=floor) for z in found]
    return torch.where((nats[1] < nats[0])[:, None], found[1], found[0])
