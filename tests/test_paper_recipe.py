"""How the seed paper's network is trained: the schedule that fits, and the authors' own."""

import math

import numpy as np
import pytest

from astroprism.errors import ConfigError
from astroprism.model.recipe import PaperRecipe, from_mapping, released


def test_the_default_fits_first_then_squeezes_then_lets_go():
    recipe = PaperRecipe()
    assert recipe.likelihood
    beta = {at: recipe.beta_at(at, signal=1.0, misfit=1.0) for at in (0.0, 0.15, 0.25, 0.35, 0.75, 0.9, 1.0)}
    assert list(beta.values()) == pytest.approx([10, 10, math.sqrt(3000), 300, 300, 30, 30])
    assert recipe.floor_at(0.0) == recipe.floor_at(1.0) == 0.01
    assert recipe.rate_at(0) < 0.02 * recipe.rate
    assert max(recipe.rate_at(step) for step in range(recipe.steps)) == pytest.approx(recipe.rate, rel=0.01)
    assert recipe.rate_at(recipe.steps) == pytest.approx(0.02 * recipe.rate)


def test_gradients_are_cut_by_the_loss_a_pixel():
    assert PaperRecipe().clip_at(2048) == 10 * 2048
    assert PaperRecipe(likelihood=False).clip_at(2048) == 10
    assert released().clip_at(2048) == 0


def test_released_is_the_authors_own():
    recipe = released(steps=1000)
    assert (recipe.batch, recipe.rate, recipe.betas, recipe.decay) == (32, 1e-4, (0.9, 0.999), 0.0)
    assert not recipe.likelihood
    assert {recipe.rate_at(step) for step in range(1000)} == {1e-4}
    weights = [recipe.beta_at(at, signal=1.0, misfit=1.0) for at in (0.0, 0.1, 0.25, 0.4, 1.0)]
    assert weights == pytest.approx([0, 0, 0.15, 0.3, 0.3])
    assert released(batch=4).batch == 4
    with pytest.raises(ConfigError, match="did you mean 'batch'"):
        released(bach=4)


def test_plain_values_make_the_same_recipe():
    recipe = PaperRecipe(steps=100)
    assert from_mapping(PaperRecipe, {**recipe.as_dict(), "beta": [list(p) for p in recipe.beta]}) == recipe


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"clip": -1.0}, "clip -1.0"),
        ({"clip": math.nan}, "clip nan"),
        ({"beta": ((0.1, 0.0), (0.5, 3.0))}, "every weight"),
        ({"beta": ((0.5, 1.0), (0.1, 3.0))}, "must rise"),
        ({"ramp": (0.4, 0.1)}, "must rise"),
        ({"rate": 0.0}, "rate 0.0"),
    ],
)
def test_contradictions_are_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        PaperRecipe(**wrong)


@pytest.fixture(scope="module")
def spectra():
    """Lines of 96 spectra that deepen and shallow together, 128 pixels, SNR 100."""
    random = np.random.default_rng(0)
    depth = 0.3 + 0.1 * random.standard_normal((96, 1))
    clean = 1 - depth * (np.sin(np.arange(128) / 3) > 0.5)
    flux = clean + 0.01 * random.standard_normal(clean.shape)
    return flux.astype(np.float32), np.full(clean.shape, 0.01, np.float32), depth[:, 0]


def trained(spectra, recipe, **network):
    torch = pytest.importorskip("torch")
    from astroprism.model.data import Source
    from astroprism.model.loop import Training
    from astroprism.network import PaperConfig, PaperNetwork

    flux, sigma, _ = spectra
    torch.set_num_threads(1)
    source = Source.from_arrays(flux, sigma)
    built = PaperNetwork(PaperConfig(pixels=128, n_latent=4, **network), seed=1)
    training = Training(source, built, recipe=recipe, train=np.arange(80), valid=np.arange(80, 96), seed=1)
    started = {name: value.clone() for name, value in built.state_dict().items()}
    for _ in training.run():
        pass
    return training, started


def test_training_standardises_for_the_likelihood_alone(spectra):
    torch = pytest.importorskip("torch")
    from astroprism.network import PaperConfig, PaperNetwork

    plain = PaperNetwork(PaperConfig(pixels=128, n_latent=4), seed=1).state_dict()
    _, theirs = trained(spectra, released(steps=10, batch=8))
    assert all(torch.equal(plain[name], theirs[name]) for name in plain)
    _, ours = trained(spectra, PaperRecipe(steps=10, batch=8))
    changed = {name for name in plain if not torch.equal(plain[name], ours[name])}
    assert changed == {"conv1.0.weight", "conv1.0.bias", "predict0.weight", "predict0.bias"}
    assert plain.keys() == ours.keys()
    assert float(ours["predict0.bias"]) == pytest.approx(float(spectra[0][:80].mean()), abs=1e-3)


def test_the_default_recipe_finds_the_cause(spectra):
    torch = pytest.importorskip("torch")

    flux, sigma, depth = spectra
    training, _ = trained(spectra, PaperRecipe(steps=300))
    with torch.no_grad():
        mean, _ = training.network.encode(torch.from_numpy(flux))
        left = torch.from_numpy(flux) - training.network.decode(mean)
    constant = float((((flux - flux.mean(0)) / sigma) ** 2).mean())
    assert float(((left / torch.from_numpy(sigma)) ** 2).mean()) < 0.5 * constant
    assert max(abs(np.corrcoef(mean[:, i].numpy(), depth)[0, 1]) for i in range(4)) > 0.9


def test_gradients_are_cut(spectra):
    """Gradients cut to almost nothing drown in Adam's epsilon: the weights stay where they were."""
    moved = {}
    for clip in (0.0, 1e-12):
        training, started = trained(spectra, PaperRecipe(steps=10, batch=8, clip=clip))
        ended = training.network.state_dict()["fc11.weight"]
        moved[clip] = float((ended - started["fc11.weight"]).abs().max())
    assert moved[1e-12] < 0.1 * moved[0.0]
