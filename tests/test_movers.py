"""Star and atmosphere found apart in spectra that do not tell how the atmosphere moves."""

import math

import pytest
import torch

from astroprism.model.data import Tensors
from astroprism.model.movers import behind_air, movers
from astroprism.model.velocity import spread
from astroprism.network.doppler import pixels_of
from astroprism.network.prism import PrismConfig

PIXELS, STEP, SIGMA = 600, 5.0, 0.01
CONFIG = PrismConfig(PIXELS, STEP, n_latent=4, hidden=8)
STAR = [(-150, 0.2), (-60, 0.3), (35, 0.25), (90, 0.15), (180, 0.3), (240, 0.2)]
AIR = [(-220, 0.2), (-110, 0.3), (-95, 0.2), (10, 0.35), (120, 0.2), (135, 0.3), (210, 0.25)]


def lines(table, shift, depth):
    """Absorption (b, PIXELS) of a table of lines at shifts (b,) in pixels, as deep as `depth` (b,)."""
    at = torch.arange(PIXELS) - PIXELS / 2
    out = torch.zeros(len(shift), PIXELS)
    for place, strength in table:
        out += depth[:, None] * strength * torch.exp(-0.5 * ((at - place - shift[:, None]) / 2.0) ** 2)
    return out


def archive(n=240, *, star=60.0, air=25.0, star_depth=1.0, air_depth=1.0, kinds=0.3, together=False):
    """Spectra with the star's and the atmosphere's velocities, up to `star` and `air` km/s."""
    random = torch.Generator().manual_seed(3)

    def drawn():
        return 2 * torch.rand(n, generator=random) - 1

    s, a = pixels_of(star * drawn(), STEP), pixels_of(air * drawn(), STEP)
    a = s if together else a
    some = 1 + kinds * drawn()
    # stars differ in kind: half of the lines go one way, half the other
    seen = lines(STAR[::2], s, some * star_depth) + lines(STAR[1::2], s, (2 - some) * star_depth)
    flux = (1 - seen) * (1 - lines(AIR, a, air_depth * (1 + 0.2 * drawn())))
    flux = flux + SIGMA * torch.randn(n, PIXELS, generator=random)
    return Tensors(flux, torch.full_like(flux, SIGMA), None, None), s, a


def error(found, true):
    return float(spread(found.pixels - true)) * STEP


@pytest.mark.parametrize(("star_depth", "air_depth"), [(1.0, 0.3), (0.3, 1.0)])
def test_both_are_found_whichever_is_the_stronger(star_depth, air_depth):
    batch, star, air = archive(star_depth=star_depth, air_depth=air_depth)
    found = movers(batch, config=CONFIG, floor=0.0)
    both = found.shifts(batch, config=CONFIG, floor=0.0)
    assert found.star_first == (star_depth > air_depth)
    assert found.star_moves
    assert error(both.star, star) < 2.0
    assert error(both.air, air) < 2.0


@pytest.mark.parametrize(
    "given",
    [
        {"air_depth": 0.0},
        {"air": 0.1},
        {"together": True},
        {"air": 150.0, "star": 150.0},
    ],
    ids=["none", "still", "with the star", "faster than the Earth"],
)
def test_no_atmosphere_is_made_up(given):
    batch, *_ = archive(**given)
    assert movers(batch, config=CONFIG, floor=0.0) is None


def test_few_spectra_show_nothing():
    batch, *_ = archive(12)
    assert movers(batch, config=CONFIG, floor=0.0) is None
    assert behind_air(batch, config=CONFIG, floor=0.0) is None


def test_a_faint_star_is_found_behind_a_known_atmosphere():
    batch, star, air = archive(star_depth=0.2)
    berv = 299_792.458 * torch.expm1(air * math.log1p(STEP / 299_792.458))
    batch = batch._replace(berv=berv)
    found = behind_air(batch, config=CONFIG, floor=0.0)
    assert error(found.shifts(batch, config=CONFIG, floor=0.0).star, star) < 3.0


def test_pixels_that_carry_nothing_count_for_nothing():
    batch, *_ = archive(air_depth=0.3)
    good = torch.ones_like(batch.flux, dtype=torch.bool)
    good[:, 100:140] = False
    found = []
    for garbage in (0.0, 50.0):
        flux = torch.where(good, batch.flux, garbage)
        masked = Tensors(flux, batch.sigma, good, None)
        found.append(movers(masked, config=CONFIG, floor=0.0).shifts(masked, config=CONFIG, floor=0.0))
    assert torch.allclose(found[0].star.pixels, found[1].star.pixels, atol=1e-3)
    assert torch.allclose(found[0].air.pixels, found[1].air.pixels, atol=1e-3)
