"""Polished codes are never worse, and right where the answer is known."""

import pytest

torch = pytest.importorskip("torch")

from astroprism.model.loss import gaussian_nll, residual
from astroprism.model.trained import polish
from test_nodes import Lines, shapes, spectra, tiny


def cost(network, z, batch, chosen, floor):
    left = residual(batch.flux, network.decode(z, berv=batch.berv), good=batch.good)
    return gaussian_nll(left, batch.sigma, good=batch.good, floor=floor) + 0.5 * (z[:, chosen] ** 2).sum(1)


@pytest.mark.parametrize("floor", [0.0, 0.01])
@pytest.mark.parametrize("masked", [False, True])
def test_of_a_linear_network_one_step_finds_the_best_code(floor, masked):
    basis = shapes()
    batch, z = spectra(basis)
    good = torch.rand(batch.flux.shape, generator=torch.Generator().manual_seed(3)) > 0.2 if masked else None
    batch = batch._replace(good=good)
    network = Lines(basis)
    away = z + 0.5 * torch.randn(z.shape, generator=torch.Generator().manual_seed(4))
    found = polish(network, away, batch, nodes=[0, 1, 2, 3], floor=floor)
    weight = 1 / (batch.sigma**2 + floor**2) * (1 if good is None else good)
    best = torch.stack(
        [
            torch.linalg.solve((basis * w) @ basis.T + torch.eye(4), (basis * w) @ (y - 1))
            for w, y in zip(weight, batch.flux, strict=True)
        ]
    )
    assert float((found - best).abs().max()) < 2e-3


@pytest.mark.parametrize("agnostic", [False, True])
def test_it_is_never_worse_and_mends_a_perturbed_code(agnostic):
    network = tiny(agnostic=agnostic)
    batch, _ = spectra(shapes())
    generator = torch.Generator().manual_seed(5)
    true = 0.5 * torch.randn(64, 6, generator=generator)
    flux = network.decode(true).detach() + 0.01 * torch.randn(batch.flux.shape, generator=generator)
    batch = batch._replace(flux=flux)
    away = true + 0.05 * torch.randn(true.shape, generator=generator)
    chosen = [1, 2, 3, 4]
    found = polish(network, away, batch, nodes=chosen, floor=0.003)
    before, after = (cost(network, z, batch, chosen, 0.003).detach() for z in (away, found))
    assert bool((after <= before).all())
    assert float((after < before).float().mean()) > 0.9
    assert torch.equal(found[:, [0, 5]], away[:, [0, 5]])
    far = 30 * torch.randn(true.shape, generator=generator)  # where no step is of any use
    worst = polish(network, far, batch, nodes=chosen, floor=0.003)
    assert bool(
        (cost(network, worst, batch, chosen, 0.003) <= cost(network, far, batch, chosen, 0.003)).all()
    )


def test_nothing_to_do_is_nothing_done():
    batch, z = spectra(shapes())
    assert polish(Lines(shapes()), z, batch, nodes=[], floor=0.0) is z
    dead = batch._replace(good=torch.zeros_like(batch.flux, dtype=torch.bool))
    found = polish(Lines(shapes()), z, dead, nodes=[0, 1, 2, 3], floor=0.0)
    assert float(found.abs().max()) < 1e-5  # no pixel: the prior's mean
