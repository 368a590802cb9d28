"""The trained model: what it encodes and decodes, and by which floor; polished codes are never worse."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from astroprism.model.data import Source
from astroprism.model.loop import Training
from astroprism.model.loss import gaussian_nll, residual
from astroprism.model.nodes import polish
from astroprism.model.recipe import PaperRecipe, Recipe
from astroprism.model.trained import TrainedModel
from astroprism.network import PaperConfig, PaperNetwork
from quick import facts_of
from test_nodes import Lines, shapes, spectra, tiny
from test_velocity import archive


def paper(pixels=64, n_latent=3):
    return PaperNetwork(PaperConfig(pixels, n_latent=n_latent))


# --- the floor


@pytest.mark.parametrize("floor", [PaperRecipe().floor, ((0.0, 0.02), (0.5, 0.005))])
def test_the_papers_network_is_judged_by_the_floor_it_was_trained_with(floor):
    """It trained at .01, and its nodes were switched off at 0."""
    recipe = PaperRecipe(steps=10, batch=8, floor=floor)
    random = np.random.default_rng(0)
    source = Source.from_arrays(1 + 0.1 * random.normal(size=(20, 64)), np.full((20, 64), 0.01))
    training = Training(source, paper(), recipe=recipe, train=np.arange(20))
    used = []
    backward = training._backward
    training._backward = lambda batch, terms, **rate: (
        used.append(terms.floor) or backward(batch, terms, **rate)
    )
    list(training.run())
    model = TrainedModel(training.network, facts=facts_of(training.network, recipe=recipe.as_dict()))
    assert model.floor == recipe.floor_at(1.0) == used[-1] > 0


def test_a_recipe_that_names_no_floor_is_the_papers():
    """As model.json of older trainings of the paper's network has it."""
    recipe = PaperRecipe().as_dict()
    del recipe["floor"]
    assert TrainedModel(paper(), facts=facts_of(paper(), recipe=recipe)).floor == 0.01
    prism = tiny()
    assert TrainedModel(prism, facts=facts_of(prism)).floor == Recipe().floor_at(1.0) == 0.003
    assert TrainedModel(paper()).floor == 0.0  # the authors' weights know none


# --- encode, decode


@pytest.mark.parametrize("berv", [False, True])
def test_by_default_a_spectrum_on_the_wrong_line_is_looked_at_again(berv):
    network, batch, true, fooled = archive(berv=berv)
    model = TrainedModel(network, facts=facts_of(network))
    first = model.first_look(batch)
    for codes in (model.encode(batch), model.encode(batch, first=first)):
        assert float((10 * codes.mean[:, 0] - true).abs().max()) < 0.5
        assert codes.sd.shape == codes.mean.shape
    raw = model.encode(batch, relock=False, polished=False)
    assert torch.equal(raw.mean, first[0])
    assert torch.equal(raw.sd, (0.5 * first[1]).exp())
    assert float((10 * raw.mean[fooled, 0] - true[fooled]).abs().min()) > 50


def test_only_kept_nodes_are_polished():
    network = tiny()
    batch, _ = spectra(shapes())
    model = TrainedModel(network, facts=facts_of(network, kept=[1, 4]))
    first, polished = model.first_look(batch)[0], model.encode(batch, relock=False).mean
    assert model.kept == [1, 4]
    assert torch.equal(polished[:, [0, 2, 3, 5]], first[:, [0, 2, 3, 5]])
    assert not torch.equal(polished[:, [1, 4]], first[:, [1, 4]])
    assert torch.equal(model.encode(batch, relock=False, polished=[1, 4]).mean, polished)
    none = TrainedModel(network, facts=facts_of(network, kept=[]))
    assert torch.equal(none.encode(batch, relock=False).mean, first)


def test_codes_of_one_star_are_polished_from_the_middle_too():
    """What an encoder that few spectra trained says of others may be far off."""
    network = tiny()
    batch, _ = spectra(shapes())
    with torch.no_grad():
        network.encoder.heads.bias[1] = 40.0
    few = TrainedModel(
        network, facts=facts_of(network, kept=[1, 4], trained_on={"spectra": 50, "targets": 1})
    )
    many = TrainedModel(network, facts=facts_of(network, kept=[1, 4]))
    assert (few.one_star, many.one_star) == (True, False)

    def nats(model):
        z = model.encode(batch, relock=False).mean
        made = network.decode(z)
        prior = 0.5 * (z[:, [1, 4]] ** 2).sum(1)
        return gaussian_nll(residual(batch.flux, made), batch.sigma, good=None, floor=few.floor) + prior

    assert float((nats(few) - nats(many)).max()) < 1.0
    assert float((nats(many) - nats(few)).median()) > 1.0
    raw = few.encode(batch, relock=False, polished=False).mean
    assert torch.equal(raw, few.first_look(batch)[0])


def test_the_papers_codes_stay_as_its_encoder_gives_them():
    model, flux = TrainedModel(paper()), 1 + 0.1 * torch.randn(5, 64)
    batch = Source.from_arrays(flux.numpy(), np.full(flux.shape, 0.01)).tensors(np.arange(5))
    assert torch.equal(model.encode(batch).mean, model.first_look(batch)[0])
    made = model.decode(torch.zeros(2, 3))
    assert (made.star, made.air, made.velocity) == (None, None, None)
    assert not model.physical
    assert model.decode_array(np.zeros((2, 3)))[1] is None


def test_codes_decode_to_star_times_atmosphere():
    network, _, true, _ = archive(berv=True)
    model = TrainedModel(network)
    z = torch.stack([true / 10, torch.zeros(len(true))], 1)
    berv = torch.linspace(-20, 20, len(z))
    made = model.decode(z, berv=berv)
    assert torch.allclose(made.flux, made.star * made.air, atol=1e-5)
    assert torch.allclose(made.velocity, 5.0 * true, rtol=1e-3, atol=1e-3)  # pixels of 5 km/s
    flux, air = model.decode_array(z.numpy(), berv=berv.numpy())
    np.testing.assert_array_equal(flux, made.flux)
    np.testing.assert_array_equal(air, made.air)


def test_threads_share_a_model():
    network = tiny()
    model, z = TrainedModel(network), torch.randn(8, 6, generator=torch.Generator().manual_seed(1)).numpy()
    alone = [model.decode_array(one[None])[0] for one in z]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: model.decode_array(one[None])[0], z))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("moving", [False, True])
def test_a_network_gets_the_berv_that_it_reads(moving, known):
    model = TrainedModel(tiny(moving_air=moving))
    berv = np.array([3.0, -4.0]) if known else None
    source = Source.from_arrays(np.ones((2, 256)), np.full((2, 256), 0.1), berv=berv)
    fitted, batch = model.source(source), model.to_device(source.tensors(np.arange(2)))
    if not moving:
        assert fitted.berv is None
        assert batch.berv is None
    else:
        expected = [3.0, -4.0] if known else [0.0, 0.0]
        assert fitted.berv.tolist() == batch.berv.tolist() == expected
    model.encode(batch)


# --- polish


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
