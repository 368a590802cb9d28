import pytest

torch = pytest.importorskip("torch")

from astroprism.model.data import Tensors
from astroprism.model.gauge import drifts, regauge
from astroprism.model.nodes import codes
from astroprism.network import Prism, PrismConfig
from astroprism.network.doppler import shift

WIDTH = 2048


def stars(n=60, *, blend=0.0):
    """Stars whose lines fade from first to last, a blend beside every other line growing as they do."""
    generator = torch.Generator().manual_seed(3)
    at = torch.arange(WIDTH, dtype=torch.float32)
    places = (
        torch.arange(60, WIDTH - 60, 61) + 10 * torch.rand(32, generator=generator)[: (WIDTH - 120) // 61 + 1]
    )
    t = torch.linspace(0, 1, n)[:, None]
    made = torch.ones(n, WIDTH)
    for number, place in enumerate(places):
        made = made - (0.5 - 0.35 * t) * torch.exp(-0.5 * ((at - place) / 3) ** 2)
        if number % 4 == 0:
            made = made - blend * t * torch.exp(-0.5 * ((at - place - 6) / 3) ** 2)
    return made


def test_a_drift_is_measured_whatever_the_depth_of_the_lines():
    true = torch.linspace(-0.5, 0.5, 60)
    found = drifts(shift(stars(), true))
    assert float((found - true - (found - true).mean()).abs().max()) < 0.05


def test_blends_that_grow_with_the_kind_of_star_do_not_decide():
    made = stars(blend=0.3)
    middle = made.mean(0)
    slope = 0.5 * (middle[2:] - middle[:-2])
    plain = -((made[:, 1:-1] - middle[1:-1]) @ slope) / (slope @ slope)
    found = drifts(made)
    assert float(plain.max() - plain.min()) > 0.5
    assert float(found.max() - found.min()) < 0.15 * float(plain.max() - plain.min())


@torch.no_grad()
def test_a_network_that_is_gauged_makes_the_same_spectra():
    network = Prism(PrismConfig(256, 5.0, n_latent=4, hidden=16, body=16, rank=4, whitened=8)).eval()
    generator = torch.Generator().manual_seed(1)
    flux = 1 + 0.2 * torch.randn(80, 256, generator=generator)
    berv = torch.zeros(80) if network.config.moving_air else None
    batch = Tensors(flux, torch.full_like(flux, 0.01), None, berv)
    network.decoder.star[-1].get_parameter("weight").normal_(generator=generator)
    before = network.decode(codes(network, batch)[0], berv=berv)
    off = regauge(network, batch)
    assert off is not None
    assert bool(network.gauged)
    mean = codes(network, batch)[0]
    torch.testing.assert_close(network.decode(mean, berv=berv), before, atol=2e-4, rtol=1e-3)
    assert abs(float(network.velocity(mean).median())) < 0.05 * network.config.step
