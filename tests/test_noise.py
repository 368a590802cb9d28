import math

import pytest

torch = pytest.importorskip("torch")

from astroprism.model import noise
from astroprism.model.data import Tensors
from astroprism.model.noise import ENOUGH, OUTLYING, SPREAD, learned, log_scales
from astroprism.network import Prism, PrismConfig

PIXELS, SIGMA = 1024, 0.01


def residuals(scale=1.0, scatter=0.0, n=200):
    generator = torch.Generator().manual_seed(0)
    scale = torch.as_tensor(scale).expand(n)
    drawn = torch.randn(n, PIXELS, generator=generator)
    return drawn * ((scale[:, None] * SIGMA) ** 2 + scatter).sqrt()


def small():
    return Prism(PrismConfig(PIXELS, 5.0, n_latent=3, hidden=8, body=8, rank=2, whitened=4))


def errors(left, network):
    batch = batch_of(left)
    return noise.errors(left, batch, network, log_scales(left, batch, network.scatter))


def batch_of(flux):
    return Tensors(flux, torch.full_like(flux, SIGMA), None, None)


@pytest.mark.parametrize("scatter", [0.0, SIGMA**2])
def test_scales_are_measured_within_their_errors(scatter):
    true = torch.linspace(0.5, 3.0, 200)
    left = residuals(true, scatter)
    value, error = log_scales(left, batch_of(left), torch.full((PIXELS,), scatter))
    pull = (value - 2 * true.log()) / error
    assert abs(float(pull.mean())) < 0.3
    assert 0.7 < float(pull.std()) < 1.3


def test_where_too_few_pixels_tell_a_scale_is_not_known():
    left = residuals(n=4)
    good = torch.zeros_like(left, dtype=torch.bool)
    good[:, :40] = True
    value, error = log_scales(left, batch_of(left)._replace(good=good), torch.zeros(PIXELS))
    assert bool((value == 0).all())
    assert bool(torch.isinf(error).all())


def noisy(mean=0.0, spread=0.0):
    network = small()
    network.scales.copy_(torch.tensor([mean, spread]))
    network.learns_noise.fill_(True)
    return network


def test_errors_that_are_right_stay():
    left = residuals()
    sigma = errors(left, noisy())
    within = left.abs() < OUTLYING * SIGMA
    torch.testing.assert_close(sigma[within], torch.full_like(sigma, SIGMA)[within])


def test_a_scale_is_shrunk_by_its_error_to_what_the_archive_shows():
    left = residuals(3.0, n=5)
    whole = errors(left, noisy(spread=1.0)).median()
    half = errors(left, noisy(spread=(SPREAD / math.sqrt(ENOUGH)) ** 2)).median()
    assert float(whole) == pytest.approx(3 * SIGMA, rel=0.03)
    assert float(half) == pytest.approx(math.sqrt(3) * SIGMA, rel=0.03)


def test_an_outlying_pixel_pulls_as_five_sigma_do():
    left = residuals()
    left[0, 100] = 100 * SIGMA
    sigma = errors(left, noisy())
    # the slope of the likelihood, residual / sigma^2, is that of five sigma
    assert float(left[0, 100] / sigma[0, 100] ** 2 * SIGMA) == pytest.approx(OUTLYING)


def test_until_errors_are_learned_they_are_those_that_came():
    network = small()
    batch = batch_of(1 + residuals(3.0, n=5))
    torch.testing.assert_close(learned(network, batch).sigma, batch.sigma)


@torch.no_grad()
@pytest.mark.parametrize(("scale", "lines"), [(2.0, 0.0), (1.0, 0.0), (1.0, 0.3)])
def test_the_grain_of_the_noise_is_told_from_lines_that_are_not_fitted(scale, lines):
    network = small()
    place = torch.arange(PIXELS, dtype=torch.float32)
    line = torch.stack([torch.exp(-0.5 * ((place - at) / 2) ** 2) for at in range(40, PIXELS, 60)]).sum(0)
    depth = torch.linspace(-1, 1, 200)[:, None]
    left = residuals(scale) + lines * depth * line
    network.encode = lambda flux, **_: (torch.zeros(len(flux), 3), torch.zeros(len(flux), 3))
    network.decode = lambda z, **_: torch.zeros(len(z), PIXELS)
    misfit = 0.5 * float(((left / SIGMA) ** 2 - 1).sum(1).mean())
    found = noise.grain(network, batch_of(left), floor=0.0)
    if lines:
        assert found < 0.1 * misfit
    else:
        assert found == pytest.approx(0.5 * (scale**2 - 1) * PIXELS, rel=0.1, abs=0.03 * PIXELS)
