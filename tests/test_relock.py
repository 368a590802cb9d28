"""A velocity that took one line of a doublet for the other is found and mended."""

import pytest

torch = pytest.importorskip("torch")

from astroprism.model.data import Tensors
from astroprism.model.relock import elsewhere, relocked
from astroprism.network import Prism
from astroprism.network.prism import Look, Parts, PrismConfig

PIXELS, APART = 400, 60  # pixels between the two lines


class Doublet(Prism):
    """One star with two lines; its encoder takes the blue line for the red one wherever it is fooled."""

    def __init__(self, true, *, fooled, berv=False):
        super().__init__(PrismConfig(PIXELS, 5.0, n_latent=2, hidden=4, moving_air=berv))
        self.true, self.fooled = true, fooled

    def parts(self, z):
        at = torch.arange(self.config.width) - self.config.pad - PIXELS // 2
        lines = [0.6 * torch.exp(-0.5 * ((at - place) / 3.0) ** 2) for place in (-APART / 2, APART / 2)]
        star = (1 - lines[0] - 0.8 * lines[1]).expand(len(z), -1)
        width = self.config.width if self.config.moving_air else PIXELS
        return Parts(star, torch.ones(len(z), width), 10 * z[:, 0] * self.keep[0])

    def decode(self, z, *, berv=None):
        return self.join(self.parts(z), berv=berv)

    def look(self, flux, *, good=None, berv=None, at=None):
        shift = self.true - APART * self.fooled if at is None else at
        mean = torch.stack([shift / 10, torch.zeros_like(shift)], 1)
        return Look(mean, torch.full_like(mean, -4.0), shift)


def archive(n=40, *, berv=False):
    generator = torch.Generator().manual_seed(1)
    true = 50 * torch.rand(n, generator=generator) - 5
    fooled = torch.arange(n) % 4 == 0
    network = Doublet(true, fooled=fooled, berv=berv)
    air = 20 * torch.rand(n, generator=generator) if berv else None
    z = torch.stack([true / 10, torch.zeros(n)], 1)
    flux = network.decode(z, berv=air) + 0.01 * torch.randn(n, PIXELS, generator=generator)
    return network, Tensors(flux, torch.full_like(flux, 0.01), None, air), true, fooled


@pytest.mark.parametrize("berv", [False, True])
def test_the_better_velocity_is_taken_and_the_right_ones_stay(berv):
    network, batch, true, fooled = archive(berv=berv)
    seen = network.look(batch.flux)
    found = elsewhere(network, seen.mean, batch, floor=0.003)
    assert found.rows.tolist() == torch.nonzero(fooled)[:, 0].tolist()
    mean, logvar = relocked(network, seen.mean, seen.logvar, batch, floor=0.003)
    assert float((10 * mean[:, 0] - true).abs().max()) < 0.5
    assert torch.equal(mean[~fooled], seen.mean[~fooled])
    assert logvar.shape == mean.shape


def test_masked_pixels_do_not_speak():
    network, batch, true, _ = archive()
    good = torch.rand(batch.flux.shape, generator=torch.Generator().manual_seed(2)) > 0.2
    spoilt = torch.where(good, batch.flux, 50.0)
    seen = network.look(batch.flux)
    mean, _ = relocked(network, seen.mean, seen.logvar, batch._replace(flux=spoilt, good=good), floor=0.003)
    assert float((10 * mean[:, 0] - true).abs().max()) < 0.5


def test_where_there_is_no_velocity_nothing_changes():
    network, batch, _, _ = archive()
    seen = network.look(batch.flux)
    flat = batch._replace(flux=1 + 0.01 * torch.randn(batch.flux.shape))
    assert torch.equal(relocked(network, seen.mean, seen.logvar, flat, floor=0.003)[0], seen.mean)
    network.keep[0] = 0
    assert torch.equal(relocked(network, seen.mean, seen.logvar, batch, floor=0.003)[0], seen.mean)
    still = Prism(PrismConfig(PIXELS, 5.0, n_latent=2, hidden=4, agnostic=True))
    assert relocked(still, seen.mean, seen.logvar, batch, floor=0.003)[0] is seen.mean
