"""Star and atmosphere of one star parted by the known motion of the latter, in closed form."""

import pytest
import torch

from astroprism.model.parting import parted
from astroprism.network.prism import Prism, cut
from test_movers import AIR, CONFIG, PIXELS, SIGMA, STAR, STEP, lines


def visits(n=60, *, orbit=0.0, berv=12.0, still=False, observed=False, bad=0.0):
    """Spectra of one star, its velocity (pixels) and what star and atmosphere are at rest."""
    from astroprism.model.data import Tensors

    random = torch.Generator().manual_seed(5)
    phase = torch.linspace(0, 9, n)
    star = torch.sin(2.2 * phase)
    star = orbit / STEP * (star - star.mean())
    air = torch.zeros(n) if still else berv / STEP * torch.sin(phase)
    if observed:
        star, air = star - (air - air.mean()), torch.zeros(n)
    one, none = torch.ones(n), torch.zeros(n)
    flux = (1 - lines(STAR, star, one)) * (1 - lines(AIR, air, one))
    flux = flux + SIGMA * torch.randn(n, PIXELS, generator=random)
    good = torch.rand(n, PIXELS, generator=random) >= bad
    flux[~good] = float("nan")
    batch = Tensors(flux, torch.full_like(flux, SIGMA), good if bad else None, STEP * air)
    return batch, star, (1 - lines(STAR, none, one)[0], 1 - lines(AIR, none, one)[0])


def earth_of(given, n=60):
    """How the Earth's motion moves the star's lines, where the observer's frame is told."""
    return -12.0 * torch.sin(torch.linspace(0, 9, n)) if given.get("observed") else None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"orbit": 1.0},
        {"orbit": 60.0},
        {"orbit": 30.0, "bad": 0.1},
        {"observed": True, "orbit": 1.0},
        {"observed": True, "orbit": 30.0},
    ],
)
def test_each_line_goes_to_whom_it_belongs(given):
    batch, velocity, (star, air) = visits(**given)
    found = parted(batch, config=CONFIG, floor=0.0, earth=earth_of(given))
    inside = slice(20, -20)
    for one, true in ((found.star, star), (found.air, air)):
        middle = cut(one[None], config=CONFIG)[0]
        away = (middle - true)[inside]
        assert float((away - away.median()).abs().max()) < 0.03  # lines are 0.15 to 0.35 deep
    assert float((found.velocity - velocity).std()) * STEP < 0.3
    assert abs(float(found.velocity.mean())) * STEP < 0.3


def test_an_atmosphere_at_rest_is_not_told_from_the_star():
    batch, *_ = visits(still=True)
    assert parted(batch, config=CONFIG, floor=0.0) is None
    assert parted(batch._replace(berv=None), config=CONFIG, floor=0.0) is None
    assert parted(batch.at(slice(1)), config=CONFIG, floor=0.0) is None


@torch.no_grad()
def test_a_network_begins_with_both():
    from dataclasses import replace

    batch, *_ = visits()
    config = replace(CONFIG, moving_air=True)
    found = parted(batch, config=config, floor=0.0)
    network = Prism(config, seed=1)
    network.begin(found.star, found.air)
    made = network.decode(torch.zeros(len(batch.flux), config.n_latent), berv=batch.berv)
    assert float((((batch.flux - made) / SIGMA) ** 2).mean()) < 1.3
    first = network.look(batch.flux, berv=batch.berv).first_shift
    assert torch.allclose(first, torch.zeros_like(first), atol=1e-5) or float(first.std()) < 3


def test_spectra_of_two_stars_are_no_star_and_its_atmosphere():
    batch, *_ = visits()
    other, *_ = visits(orbit=300.0)
    turn = torch.arange(60)[:, None] % 2 == 0
    mixed = batch._replace(flux=torch.where(turn, batch.flux, other.flux.flip(1)))
    assert parted(mixed, config=CONFIG, floor=0.0) is None
