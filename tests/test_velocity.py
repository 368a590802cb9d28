"""A velocity that took one line of a doublet for the other is found and corrected."""

import pytest

torch = pytest.importorskip("torch")

from astroprism.model.velocity import better_shifts, relocked
from astroprism.network import Prism
from astroprism.network.prism import PrismConfig
from doublet import PIXELS, archive


@pytest.mark.parametrize("berv", [False, True])
def test_the_better_velocity_is_taken_and_the_right_ones_stay(berv):
    network, batch, true, fooled = archive(berv=berv)
    seen = network.look(batch.flux)
    found = better_shifts(network, seen.mean, batch, floor=0.003)
    assert found.rows.tolist() == torch.nonzero(fooled)[:, 0].tolist()
    mean, logvar = relocked(network, seen.mean, seen.logvar, batch, floor=0.003)
    assert float((10 * mean[:, 0] - true).abs().max()) < 0.5
    assert torch.equal(mean[~fooled], seen.mean[~fooled])
    assert logvar.shape == mean.shape


def test_masked_pixels_count_for_nothing():
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
