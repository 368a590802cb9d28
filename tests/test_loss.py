"""What training minimises, against closed forms; masked pixels count for nothing."""

import math

import pytest

torch = pytest.importorskip("torch")

from astroprism.model.loss import (
    absolute_difference,
    blur,
    chi2_per_pixel,
    evened,
    gaussian_nll,
    kl_per_node,
    prune_bound,
    residual,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    flux, out = (1 + 0.1 * torch.randn(3, 50, generator=generator) for _ in range(2))
    sigma = 0.02 + 0.05 * torch.rand(3, 50, generator=generator)
    good = torch.rand(3, 50, generator=generator) > 0.3
    return flux, out, sigma, good


def test_likelihood_is_the_gaussian_s(batch):
    flux, out, sigma, _ = batch
    whole = (sigma**2 + 0.01**2).sqrt()
    normal = torch.distributions.Normal(out, whole)
    constant = 0.5 * math.log(2 * math.pi) + whole.log()
    expected = -(normal.log_prob(flux) + constant).sum(1)
    assert torch.allclose(gaussian_nll(residual(flux, out), sigma, floor=0.01), expected, rtol=1e-5)


def test_chi2_a_pixel_of_pure_noise_is_one():
    generator = torch.Generator().manual_seed(1)
    sigma = 0.01 + 0.1 * torch.rand(4, 20_000, generator=generator)
    left = sigma * torch.randn(4, 20_000, generator=generator)
    good = torch.rand(4, 20_000, generator=generator) > 0.5
    assert torch.allclose(chi2_per_pixel(left, sigma, good=good), torch.ones(4), atol=0.06)


def test_kl_is_the_divergence_of_two_gaussians():
    mean, logvar = torch.tensor([[0.5, -2.0, 0.0]]), torch.tensor([[-3.0, 0.7, 0.0]])
    ours = torch.distributions.Normal(mean, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(kl_per_node(mean, logvar), expected, atol=1e-6)
    assert kl_per_node(mean, logvar)[0, 2] == 0


LOSSES = {
    "gaussian": lambda flux, out, sigma, good: gaussian_nll(
        residual(flux, out, good=good), sigma, good=good, floor=0.01
    ).sum(),
    "blurred": lambda flux, out, sigma, good: gaussian_nll(
        blur(residual(flux, out, good=good), width=3.0, good=good), sigma, good=good
    ).sum(),
    "raw": lambda flux, out, sigma, good: gaussian_nll(flux - out, sigma, good=good).sum(),
    "absolute": lambda flux, out, sigma, good: absolute_difference(flux, out, good=good),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rubbish", [5.0, 1e6, math.nan, math.inf])
def test_masked_pixels_change_neither_loss_nor_gradient(batch, name, rubbish):
    flux, out, sigma, good = batch
    results = []
    for value in (0.1, rubbish):
        spectrum, error = flux.masked_fill(~good, value), sigma.masked_fill(~good, value)
        model = out.clone().requires_grad_()
        loss = LOSSES[name](spectrum, model, error, good)
        loss.backward()
        results.append((loss.detach(), model.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.all(results[1][1][~good] == 0)
    assert torch.all(results[1][1].isfinite())


def test_a_spectrum_without_good_pixels_costs_nothing(batch):
    flux, out, sigma, _ = batch
    nothing = torch.zeros_like(flux, dtype=torch.bool)
    assert torch.all(gaussian_nll(residual(flux, out, good=nothing), sigma, good=nothing) == 0)
    assert absolute_difference(flux, out, good=nothing) == 0


def test_blur_is_a_gaussian_s():
    x = torch.arange(400.0)
    line = torch.exp(-0.5 * ((x - 200) / 3) ** 2)[None]
    wider = torch.exp(-0.5 * ((x - 200) / 5) ** 2) * 3 / 5
    assert torch.allclose(blur(line, width=4.0)[0], wider, atol=1e-5)
    assert torch.equal(blur(line, width=0.0), line)


def test_blur_brings_nothing_around_the_ends():
    left = torch.zeros(1, 301)
    left[0, :3] = 1.0
    assert blur(left, width=10.0)[0, 200:].abs().max() < 1e-6


def test_blur_gives_a_displaced_line_its_direction():
    """Twenty widths off, a line's gradient is nothing; blurred, it points home."""
    x = torch.arange(400.0)
    slopes = []
    for width in (0.0, 24.0):
        at = torch.tensor(240.0, requires_grad=True)
        flux, model = (torch.exp(-0.5 * ((x - centre) / 2) ** 2)[None] for centre in (200.0, at))
        gaussian_nll(blur(flux - model, width=width), torch.ones_like(flux)).sum().backward()
        slopes.append(float(at.grad))
    assert abs(slopes[0]) < 1e-6
    assert slopes[1] > 1e-4


def test_absolute_difference_is_the_mean_over_good_pixels(batch):
    flux, out, _, good = batch
    assert torch.allclose(absolute_difference(flux, out), (flux - out).abs().mean())
    assert torch.allclose(absolute_difference(flux, out, good=good), (flux - out).abs()[good].mean())


def evened_mean(good):
    """Of the weights of spectra with these pixels, at sigma .01 and floor .003."""
    count = good.sum(1).double()
    return float(count.clamp(max=count.median()).mean()) / (0.01**2 + 0.003**2)


def test_no_bright_star_rules_the_bounds():
    """One star in ten at S/N 1,000 made the bound forty times that of the others."""
    from astroprism.measures.count import ablation_bound

    sigma = torch.full((10, 400), 0.02)
    alike = prune_bound(sigma), ablation_bound(sigma.numpy(), floor=0.0)
    sigma[3] = 0.001
    assert prune_bound(sigma) == pytest.approx(alike[0], rel=1e-5)
    assert ablation_bound(sigma.numpy(), floor=0.0) == pytest.approx(alike[1])
    share = evened(1 / sigma[:, 0] ** 2)
    assert share[3] == pytest.approx(0.0025)
    assert (share[:3] == 1).all()


def test_pruning_asks_for_less_than_the_count():
    """One formula, two numbers: what is pruned in training must lie below what is counted in the end."""
    from astroprism.measures.count import EFFECT, ablation_bound
    from astroprism.model.loss import LEAST_EFFECT

    sigma = torch.full((5, 400), 0.01)
    good = torch.rand(5, 400, generator=torch.Generator().manual_seed(1)) > 0.2
    limits = {"floor": 0.003, "good": good.numpy()}
    pruned = prune_bound(sigma, good=good, floor=0.003)
    assert pruned == pytest.approx(0.5 * LEAST_EFFECT**2 * evened_mean(good))
    assert LEAST_EFFECT < EFFECT
    assert pruned == pytest.approx(ablation_bound(sigma.numpy(), effect=LEAST_EFFECT, **limits), rel=1e-5)
    assert pruned < ablation_bound(sigma.numpy(), **limits)


def test_half_precision_stays_finite(batch):
    flux, out, sigma, good = (t.bfloat16() if t.is_floating_point() else t for t in batch)
    left = blur(residual(flux, out, good=good), width=2.0, good=good)
    assert left.dtype == torch.float32
    assert gaussian_nll(left, sigma.float(), good=good).isfinite().all()
