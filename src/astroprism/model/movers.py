"""The atmosphere's own motion, found in spectra that do not tell it.

In the barycentric frame lines of the atmosphere move by up to 30 km/s, each spectrum by its own. Where no
header and no computation gives that velocity, two things move in the spectra, and either may be the stronger:
in the A band of O2 a star is a hundredth of what the atmosphere is. So both are sought by cross-correlation
before training, each in what the other leaves:

    behind_air(batch) the star behind an atmosphere that is the stronger, and moves as is known
    movers(batch)     both, with a few components each, for stars differ in kind, and the air in its water;
                      the stronger of the two is tried in either part, and the better fit stays
    Movers.shifts     where both lie in other spectra: what training pulls the two velocity nodes towards

An atmosphere is believed where its velocities keep within the Earth's, where halves of the pixels agree on
them, and where they are not the star's.

Shapes: b spectra, p pixels, w pixels with room for a shift on both sides, k components.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..network.doppler import pixels_of, shift
from ..network.prism import PrismConfig, cut, widened
from .data import Tensors
from .loss import inverse_variance
from .velocity import CLEAR, FEW, LEAST, SIZE, Shifts, aligned, shifts_of, spread, template_of

KINDS = 6  # components of stars that differ in kind
SKIES = 3  # the same of the atmosphere: its path and its water
PER_KIND = 20  # spectra for each
REACH = 64.0  # km/s between two velocities of the Earth, at most: 2 x (29.8 + .5 of its spin), and room
WITHIN = 0.9  # share of the spectra that must keep to it
AGREE = 0.5  # of the spread of velocities: from which halves of the pixels do not agree on them
APART = 0.5  # the same for the difference from the star's velocities, below which they are the star's
BLOCK = 32  # pixels; the halves are every second block
FEWEST = 24  # spectra


class Both(NamedTuple):
    """Where star and atmosphere of each spectrum lie."""

    star: Shifts
    air: Shifts


class Mover(NamedTuple):
    """What moves as one."""

    template: Tensor  # (w,)
    rest: Tensor  # (p,) the mean of what is at rest, less 1
    kinds: Tensor  # (k, p) orthonormal: what spectra at rest differ by

    @classmethod
    def of(
        cls, template: Tensor, batch: Tensors, pixels: Tensor, *, kinds: int, config: PrismConfig
    ) -> Mover:
        """From spectra laid upon each other, none of which rules the rest."""
        moved = _at_rest(batch, pixels, config=config)
        middle = moved.median(0).values
        away = moved - middle
        size = away.norm(dim=1)
        away = away * (size.median() / size.clamp(min=1e-12)).clamp(max=1.0)[:, None]
        count = max(1, min(kinds, len(away) // PER_KIND))
        energy, vectors = torch.linalg.eigh(away @ away.T)
        axes = (away.T @ vectors[:, -count:]) / energy[-count:].clamp(min=1e-20).sqrt()
        return cls(template, middle, axes.T.contiguous())

    def made(self, batch: Tensors, pixels: Tensor, *, config: PrismConfig) -> Tensor:
        """Its share (b, p) of spectra, less 1, at that shift."""
        away = _at_rest(batch, pixels, config=config) - self.rest
        at_rest = self.rest + (away @ self.kinds.T) @ self.kinds
        return cut(shift(widened(at_rest, config=config), pixels), config=config)

    def to(self, device: torch.device) -> Mover:
        """The same on a device."""
        return Mover(*(part.to(device) for part in self))


class Movers(NamedTuple):
    """Templates of a star and an atmosphere that move apart."""

    star: Mover
    air: Mover
    star_first: bool  # whether the star is the stronger of the two
    star_moves: bool  # whether stars move at all, by more than a gradient bridges
    told: bool = False  # whether the atmosphere's shifts are known

    def shifts(self, batch: Tensors, *, config: PrismConfig, floor: float) -> Both:
        """Both velocities of each spectrum; the stronger first, the other in what it leaves."""
        first, second = (self.star, self.air) if self.star_first else (self.air, self.star)
        far, near = math.inf, REACH / config.step
        most = (far, near) if self.star_first else (near, far)
        if self.told:  # which is the first then
            one = _told(batch, config=config)
        else:
            one = shifts_of(batch, first.template, config=config, floor=floor, most=most[0])
        left = _less(batch, first.made(batch, one.pixels, config=config))
        two = shifts_of(left, second.template, config=config, floor=floor, most=most[1])
        return Both(one, two) if self.star_first else Both(two, one)

    def left(self, batch: Tensors, both: Both, *, config: PrismConfig, floor: float) -> Tensor:
        """What the two do not describe, nats (b,): each is fitted to what the other leaves, twice."""
        weight = inverse_variance(batch.sigma, good=batch.good, floor=floor)
        star = air = torch.zeros_like(batch.flux)
        for _ in range(2):
            star = self.star.made(_less(batch, air), both.star.pixels, config=config)
            air = self.air.made(_less(batch, star), both.air.pixels, config=config)
        return 0.5 * (weight * (batch.flux - 1 - star - air) ** 2).sum(1)

    def to(self, device: torch.device) -> Movers:
        """The same on a device."""
        return self._replace(star=self.star.to(device), air=self.air.to(device))


def sample_size(pixels: int) -> int:
    """How many spectra of that length show what moves."""
    return max(FEWEST, min(FEW, SIZE // pixels))


@torch.no_grad()
def movers(batch: Tensors, *, config: PrismConfig, floor: float) -> Movers | None:
    """Star and atmosphere where the spectra show that two things move; None where they do not."""
    if len(batch.flux) < FEWEST:
        return None
    batch = batch.at(slice(sample_size(config.pixels)))
    template = template_of(batch, config=config, floor=floor)
    best, fewest = None, math.inf
    for star_first in (True, False):
        one = _apart(batch, template, star_first=star_first, config=config, floor=floor)
        both = one.shifts(batch, config=config, floor=floor)
        nats = float(one.left(batch, both, config=config, floor=floor).median())
        if nats < fewest and _believed(one, batch, both, config=config, floor=floor):
            best, fewest = one._replace(star_moves=_moves(both.star)), nats
    return best


@torch.no_grad()
def behind_air(batch: Tensors, *, config: PrismConfig, floor: float) -> Movers | None:
    """The star in what a known atmosphere leaves; None where it shows no motion of its own there.

    For archives in which the atmosphere is what moves most (`velocity.whose`). Where nothing moves by pixels,
    what differs between kinds of star would be taken for motion.
    """
    if len(batch.flux) < FEWEST:
        return None
    batch = batch.at(slice(sample_size(config.pixels)))
    at = _told(batch, config=config)
    template = batch.flux.new_ones(config.width)
    air = Mover.of(template, batch, at.pixels, kinds=SKIES, config=config)
    left = _less(batch, air.made(batch, at.pixels, config=config))
    template = template_of(left, config=config, floor=floor)
    found = shifts_of(left, template, config=config, floor=floor)
    star = Mover.of(template, left, found.pixels, kinds=KINDS, config=config)
    if not _moves(found) or not _halves_agree(left, template, found, config=config, floor=floor):
        return None
    return Movers(star, air, False, True, told=True)


def _told(batch: Tensors, *, config: PrismConfig) -> Shifts:
    """Where the atmosphere of each spectrum is known to be."""
    still = batch.flux.new_zeros(len(batch.flux))
    place = still if batch.berv is None else pixels_of(batch.berv, config.step)
    return Shifts(place, torch.full_like(still, math.inf))


def _apart(
    batch: Tensors, template: Tensor, *, star_first: bool, config: PrismConfig, floor: float
) -> Movers:
    """Both movers, `template` being the stronger; each is made twice of what the other leaves."""
    most, kinds = (math.inf, REACH / config.step), (KINDS, SKIES)
    if not star_first:
        most, kinds = most[::-1], kinds[::-1]
    first = second = None
    other = torch.zeros_like(batch.flux)
    for again in (False, True):
        left = _less(batch, other)
        if again:
            template = aligned(left, template, config=config, floor=floor, most=most[0], rounds=2)
        at = shifts_of(left, template, config=config, floor=floor, most=most[0]).pixels
        first = Mover.of(template, left, at, kinds=kinds[0], config=config)
        left = _less(batch, first.made(left, at, config=config))
        if second is None:
            weaker = template_of(left, config=config, floor=floor, most=most[1])
        else:
            weaker = aligned(left, second.template, config=config, floor=floor, most=most[1], rounds=2)
        at = shifts_of(left, weaker, config=config, floor=floor, most=most[1]).pixels
        second = Mover.of(weaker, left, at, kinds=kinds[1], config=config)
        other = second.made(left, at, config=config)
    assert first is not None
    assert second is not None
    return Movers(first, second, True, True) if star_first else Movers(second, first, False, True)


def _believed(one: Movers, batch: Tensors, both: Both, *, config: PrismConfig, floor: float) -> bool:
    """Whether an atmosphere is what the second template shows."""
    clear = both.air.gain > CLEAR
    seen = both.star.gain > CLEAR
    if int(clear.sum()) < max(FEWEST, 0.25 * len(clear)) or int(seen.sum()) < 0.5 * len(seen):
        return False
    air, star = both.air.pixels[clear], both.star.pixels[clear]
    width = float(spread(air))
    surest = air[both.air.gain[clear].argsort(descending=True)[: max(FEWEST, len(air) // 2)]]
    if width <= LEAST or _within(surest, REACH / config.step) < WITHIN:
        return False
    if float(spread(air - star)) < APART * width:
        return False
    left = batch
    if one.star_first:
        left = _less(batch, one.star.made(batch, both.star.pixels, config=config))
    most = REACH / config.step
    return _halves_agree(left, one.air.template, both.air, config=config, floor=floor, most=most)


def _halves_agree(
    left: Tensors,
    template: Tensor,
    found: Shifts,
    *,
    config: PrismConfig,
    floor: float,
    most: float = math.inf,
) -> bool:
    """Whether two halves of the pixels give the velocities that all of them give."""
    clear = found.gain > CLEAR
    block = torch.arange(config.pixels, device=clear.device) // BLOCK % 2 == 0
    halves = []
    for half in (block, ~block):
        good = half.expand_as(left.flux) if left.good is None else left.good & half
        some = left._replace(good=good)
        halves.append(shifts_of(some, template, config=config, floor=floor, most=most).pixels)
    apart = float(spread((halves[0] - halves[1])[clear])) / 2**0.5
    return apart < AGREE * float(spread(found.pixels[clear]))


def _moves(star: Shifts) -> bool:
    """Whether stars move by more than a gradient bridges."""
    clear = star.gain > CLEAR
    return int(clear.sum()) >= 8 and float(spread(star.pixels[clear])) > LEAST


def _within(x: Tensor, width: float) -> float:
    """The largest share of x (b,) that lies within one stretch of that width."""
    values = x.sort().values
    inside = torch.searchsorted(values, values + width, right=True) - torch.arange(len(x), device=x.device)
    return float(inside.max()) / len(x)


# --- parts of spectra


def _less(batch: Tensors, made: Tensor) -> Tensors:
    """The batch without what is described by `made` (b, p), less 1."""
    return batch._replace(flux=batch.flux - made)


def _at_rest(batch: Tensors, pixels: Tensor, *, config: PrismConfig) -> Tensor:
    """Flux less 1 (b, p) moved back by `pixels`; 0 where not good."""
    away = batch.flux - 1
    away = away if batch.good is None else torch.where(batch.good, away, 0.0)
    return cut(shift(widened(away, config=config), -pixels), config=config)
