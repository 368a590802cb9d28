"""The prism network: what its physics does to a spectrum, and that every part of it can learn."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import astroprism.network as network_package
from astroprism.errors import ConfigError
from astroprism.grid import log_grid
from astroprism.model.loss import gaussian_nll, kl_per_node, residual
from astroprism.network import Prism, PrismConfig, sized_for
from astroprism.network.doppler import _Filter, _Ramp, fast_length, pixels_of, shift, velocity_of
from astroprism.network.prism import Parts, drift, whitening

PIXELS, STEP = 512, 5.0


def tiny(**changes):
    sizes = {"n_latent": 5, "hidden": 16, "rank": 8, "whitened": 8, "shift_room": 200.0} | changes
    return PrismConfig(sizes.pop("pixels", PIXELS), STEP, **sizes)


def line(centre, pixels, *, width=2.0):
    """1 - a Gaussian line at `centre`, (pixels,); of two pixels' width, so it ends far below Nyquist."""
    x = torch.arange(pixels, dtype=torch.float64)
    return (1 - 0.6 * torch.exp(-0.5 * ((x - centre) / width) ** 2)).float()


def displacement(a, b):
    """How far b lies to the right of a, pixels, by least squares to first order."""
    slope = torch.gradient(a.double())[0]
    return float(-((b - a).double() @ slope) / (slope @ slope))


def sample(config, *, count=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = config.pixels
    shifts = 10 * torch.randn(count, generator=generator)
    flux = torch.stack([line(pixels / 2 + float(s), pixels) for s in shifts])
    sigma = torch.full_like(flux, 0.01)
    berv = 20 * torch.randn(count, generator=generator) if config.moving_air else None
    return flux + sigma * torch.randn(flux.shape, generator=generator), sigma, berv


KINDS = {
    "physics": {},
    "moving air": {"moving_air": True},
    "free air": {"free_air": True},
    "agnostic": {"agnostic": True},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


# --- Doppler


@pytest.mark.parametrize("pixels", [PIXELS, 501, 70_000])
@pytest.mark.parametrize("velocity", [-150.0, -33.3, 0.0, 2.1, 97.0])
def test_doppler_term_moves_by_exactly_the_shift_wanted(pixels, velocity):
    config = tiny(pixels=pixels)
    network = Prism(config)
    wanted = float(pixels_of(torch.tensor(velocity, dtype=torch.float64), STEP))
    star = line(config.pad + pixels / 2, config.width)[None]
    parts = Parts(star, torch.ones(1, pixels), torch.tensor([wanted]))
    got = network.join(parts)[0]
    expected = line(pixels / 2 + wanted, pixels)
    assert abs(displacement(expected, got)) < 0.002
    assert (got - expected).abs().max() < 0.002


def test_doppler_node_alone_moves_the_star():
    network = Prism(tiny()).eval()
    with torch.no_grad():
        network.decoder.log_gain.fill_(0.3)
        still, fast = torch.zeros(1, 5), torch.zeros(1, 5)
        still[0, 1:] = fast[0, 1:] = 0.7
        fast[0, 0] = 1.0
        a, b, velocity = network.parts(still), network.parts(fast), network.velocity(fast)
    assert torch.equal(a.star, b.star)
    assert torch.equal(a.atmosphere, b.atmosphere)
    pixels = network.config.gain * torch.exp(torch.tensor(0.3))
    assert float(b.shift) == pytest.approx(float(pixels), rel=1e-6)
    assert float(velocity) == pytest.approx(float(velocity_of(pixels, STEP)), rel=1e-5)


def test_velocities_and_pixels_agree_with_the_grid():
    wavelength = torch.tensor(log_grid(5000.0, 5100.0, step=STEP).wavelength)
    for pixels in (-40, 1, 60):
        velocity = 299_792.458 * (wavelength[100 + pixels] / wavelength[100] - 1)
        assert float(pixels_of(velocity, STEP)) == pytest.approx(pixels, abs=1e-6)
        assert float(velocity_of(torch.tensor(float(pixels)), STEP)) == pytest.approx(
            float(velocity), rel=1e-5
        )


@pytest.mark.parametrize("way", [_Ramp, _Filter])
def test_both_ways_have_the_derivatives_they_claim(way):
    generator = torch.Generator().manual_seed(0)
    x = torch.stack([line(14 + i, 31, width=2.0) for i in range(3)]).double()
    x = (x + 0.01 * torch.randn(x.shape, generator=generator)).requires_grad_()
    pixels = torch.tensor([0.3, -7.6, 11.45], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(way.apply, (x, pixels), eps=1e-5, atol=1e-5)


def test_both_ways_agree_and_wrap():
    x = torch.stack([line(c, 240) for c in (12.0, 100.0, 228.0)])
    pixels = torch.tensor([-22.3, 0.5, 20.8])
    ramp, filtered = (way.apply(x, pixels) for way in (_Ramp, _Filter))
    assert torch.allclose(ramp, filtered, atol=1e-3)
    assert int(ramp[0].argmin()) == 230


@pytest.mark.parametrize(("least", "length"), [(1, 2), (7, 8), (2048, 2048), (327_681, 328_050), (121, 128)])
def test_fast_lengths(least, length):
    assert fast_length(least) == length


# --- the known velocity of the atmosphere


@pytest.mark.parametrize("berv", [-29.0, 0.0, 12.34])
def test_barycentric_velocity_moves_the_atmosphere_only(berv):
    config = tiny(moving_air=True)
    network = Prism(config)
    one, middle = torch.ones(1, config.width), config.pad + PIXELS / 2
    wanted = torch.tensor([berv])
    star = network.join(Parts(line(middle, config.width)[None], one, torch.zeros(1)), berv=wanted)[0]
    sky = network.join(Parts(one, line(middle, config.width)[None], torch.zeros(1)), berv=wanted)[0]
    assert torch.allclose(star, line(PIXELS / 2, PIXELS), atol=1e-5)
    moved = line(PIXELS / 2 + float(pixels_of(wanted.double(), STEP)), PIXELS)
    assert abs(displacement(moved, sky)) < 0.002


def test_encoder_looks_at_the_atmosphere_at_rest():
    """One telluric line, whatever the barycentric velocity, gives the first look the same components."""
    config = tiny(moving_air=True)
    network = Prism(config)
    berv = torch.tensor([-25.0, 0.0, 17.0])
    flux = torch.stack([line(PIXELS / 2 + float(p), PIXELS) for p in pixels_of(berv.double(), STEP)])
    network.encoder.basis.normal_(generator=torch.Generator().manual_seed(0))
    features, first, _ = network.encoder.features(flux - 1, air=pixels_of(berv, STEP))
    scores = features[:, config.hidden :]
    assert torch.allclose(scores, scores[1].expand(3, -1), atol=1e-4)
    # and a star that moves with it in the observer's frame is moving in the barycentric one
    assert torch.allclose(first - first[1], pixels_of(berv, STEP), atol=1e-3)


@torch.no_grad()
def test_a_node_moves_a_free_atmosphere_and_leaves_the_star():
    config = tiny(free_air=True)
    network = Prism(config)
    star, air = torch.ones(1, config.width), torch.ones(1, config.width)
    star[0], air[0] = line(config.pad + 150.0, config.width), line(config.pad + 350.0, config.width)
    network.decoder.star, network.decoder.air = (Fixed((part - 1) / config.depth) for part in (star, air))
    z = torch.zeros(1, config.n_latent)
    still, moved = network.decode(z), network.decode(z + torch.eye(config.n_latent)[1])
    assert float((moved - still)[0, :250].abs().max()) < 1e-4
    wanted = config.air_gain / STEP
    assert float(moved[0].argmin() - 350) == pytest.approx(wanted, abs=1.0)
    assert float(network.air_velocity(z + 2 * torch.eye(config.n_latent)[1])) == 2 * config.air_gain
    # neither velocity is read by what draws star and atmosphere
    assert network.decoder.body[0].in_features == config.n_latent - 2
    with pytest.raises(ConfigError, match="of its own"):
        Prism(tiny()).air_velocity(z)


def test_an_atmosphere_is_told_or_free():
    with pytest.raises(ConfigError, match="drop one of them"):
        tiny(moving_air=True, free_air=True)
    with pytest.raises(ConfigError, match="none is left"):
        tiny(free_air=True, n_latent=2)


class Fixed(torch.nn.Module):
    """A layer that gives the same whatever comes in."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, x):
        return self.out.expand(len(x), -1)


def test_barycentric_velocity_is_required_or_refused():
    flux = torch.ones(2, PIXELS)
    with pytest.raises(ConfigError, match="give berv"):
        Prism(tiny(moving_air=True)).encode(flux)
    with pytest.raises(ConfigError, match="leave it out"):
        Prism(tiny()).encode(flux, berv=torch.zeros(2))


# --- masks


def test_masked_pixels_change_no_code_no_loss_and_no_gradient(kind):
    config = tiny(**kind)
    flux, sigma, berv = sample(config)
    good = torch.rand(flux.shape, generator=torch.Generator().manual_seed(1)) > 0.2
    results = []
    for rubbish in (1.0, float("nan"), 1e9):
        network = Prism(config, seed=1)
        x, error = flux.masked_fill(~good, rubbish), sigma.masked_fill(~good, rubbish)
        network.calibrate(x, sigma=error, good=good, berv=berv)
        out, mean, logvar = network(x, good=good, berv=berv, noise=torch.ones(len(x), 5))
        left = residual(x, out, good=good)
        (gaussian_nll(left, error, good=good).mean() + kl_per_node(mean, logvar).sum()).backward()
        results.append([mean, logvar, left, *(p.grad for p in network.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert all(t.isfinite().all() for t in results[0])


def test_pruned_nodes_are_not_read(kind):
    config = tiny(**kind)
    network = Prism(config).eval()
    network.keep[[0, 3]] = 0
    berv = torch.zeros(2) if config.moving_air else None
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    other = z.clone()
    other[:, [0, 3]] += 5
    assert torch.equal(network.decode(z, berv=berv), network.decode(other, berv=berv))
    other[:, 2] += 1
    assert not torch.equal(network.decode(z, berv=berv), network.decode(other, berv=berv))


def test_renewed_nodes_start_unread_and_the_others_stay(kind):
    config = tiny(**kind)
    network = Prism(config).eval()
    flux, sigma, berv = sample(config, count=8)
    network.calibrate(flux, sigma=sigma, berv=berv)
    network.keep[[0, 3]] = 0
    mean, _ = network.encode(flux, berv=berv)
    before = network.decode(mean, berv=berv)
    network.renew([3], seed=5)
    assert network.keep.tolist() == [0, 1, 1, 1, 1]
    again, _ = network.encode(flux, berv=berv)
    kept = [0, 1, 2, 4]
    assert torch.equal(mean[:, kept], again[:, kept])
    assert not torch.equal(mean[:, 3], again[:, 3])
    assert torch.allclose(before, network.decode(again, berv=berv), atol=1e-6)
    network.renew([0], seed=5)
    assert network.keep.tolist() == [1] * 5


# --- sizes, learning, files


def count(config):
    with torch.device("meta"):
        network = Prism(config)
    return sum(p.numel() for p in network.parameters()), sum(b.numel() for b in network.buffers())


@pytest.mark.parametrize("made", [lambda p: PrismConfig(p, 2.0), lambda p: sized_for(p, step=2.0)])
@pytest.mark.parametrize("moving_air", [False, True])
def test_parameters_grow_no_faster_than_pixels(made, moving_air):
    lengths = [2_048, 32_768, 327_680]
    sizes = [count(replace(made(n), moving_air=moving_air)) for n in lengths]
    for kind in (0, 1):
        numbers = [s[kind] for s in sizes]
        for i in (0, 1):
            assert numbers[i] < numbers[i + 1] <= numbers[i] * lengths[i + 1] / lengths[i]


def test_the_recommended_sizes_are_those_measured():
    assert count(sized_for(2_048, step=5.0))[0] == 1_230_924
    assert count(sized_for(327_680, step=0.55))[0] < 14_500_000


@pytest.mark.parametrize("pixels", [512, 2_999, 330_000])
def test_any_length_goes_there_and_back(pixels, kind):
    network = Prism(PrismConfig(pixels, 300_000 / pixels, hidden=8, rank=2, whitened=2, n_latent=3, **kind))
    berv = torch.tensor([10.0]) if network.config.moving_air else None
    out, mean, logvar = network(torch.ones(1, pixels), berv=berv)
    assert out.shape == (1, pixels)
    assert mean.shape == logvar.shape == (1, 3)
    assert out.isfinite().all()


def test_every_parameter_learns(kind):
    config = tiny(**kind)
    network = Prism(config)
    flux, sigma, berv = sample(config)
    network.calibrate(flux, sigma=sigma, berv=berv)
    noise = torch.randn(len(flux), 5, generator=torch.Generator().manual_seed(0))
    out, mean, logvar = network(flux, berv=berv, noise=noise)
    (gaussian_nll(flux - out, sigma).mean() + kl_per_node(mean, logvar).mean()).backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead
    for parameter, dimension, index in network.places(range(5)):
        own = parameter.grad.index_select(dimension, index)
        assert torch.all(own.movedim(dimension, 0).reshape(len(index), -1).abs().sum(1) > 0)


def test_agnostic_knows_no_physics():
    network = Prism(tiny(agnostic=True))
    names = " ".join(name for name, _ in network.named_parameters())
    assert not any(word in names for word in ("log_gain", "velocity", "star", "air", "second"))
    with pytest.raises(ConfigError, match="agnostic"):
        network.parts(torch.zeros(1, 5))


def test_whitened_components_have_unit_spread_and_faint_ones_less():
    generator = torch.Generator().manual_seed(0)
    strength = torch.tensor([3.0, 0.3, 3e-3])
    shapes = torch.linalg.qr(torch.randn(200, 3, generator=generator))[0]
    x = (torch.randn(400, 3, generator=generator) * strength) @ shapes.T
    scores = x @ whitening(x, count=3, noise=1e-4)
    assert torch.allclose((scores**2).mean(0)[:2], torch.ones(2), atol=0.01)
    assert float((scores[:, 2] ** 2).mean()) == pytest.approx(0.09, rel=0.2)  # of the noise


def test_drift_tells_a_star_that_moved():
    still = line(100.0, 200)
    stars = torch.stack([still, line(100.1, 200), line(99.9, 200)])
    assert torch.allclose(drift(stars, stars.mean(0)), torch.tensor([0.0, 0.1, -0.1]), atol=0.01)


def test_weights_make_a_round_trip(kind, tmp_path):
    from safetensors.torch import load_file, save_file

    config = tiny(**kind)
    network = Prism(config, seed=4).eval()
    flux, sigma, berv = sample(config)
    network.calibrate(flux, sigma=sigma, berv=berv)
    network.keep[2] = 0
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = Prism(config, seed=5).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for a, b in zip(network(flux, berv=berv), again(flux, berv=berv), strict=True):
        assert torch.equal(a, b)


def test_bfloat16_keeps_the_velocity_and_makes_no_nan(kind):
    config = tiny(**kind)
    network = Prism(config)
    flux, sigma, berv = sample(config)
    network.calibrate(flux, sigma=sigma, berv=berv)
    exact = network(flux, berv=berv)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, mean, logvar = network(flux, berv=berv)
        if not config.agnostic:
            z = torch.full((1, 5), 1.2345)
            assert network.decoder.parts(z).shift.dtype == torch.float32
        loss = gaussian_nll(flux - out, sigma).mean() + kl_per_node(mean, logvar).mean()
    loss.backward()
    assert out.dtype == mean.dtype == logvar.dtype == torch.float32
    assert all(t.isfinite().all() for t in (out, mean, logvar, loss))
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert (out - exact[0]).abs().max() < 0.05
    assert (mean - exact[1]).abs().max() < 0.1


def test_a_shift_is_never_rounded_to_bfloat16():
    x = line(100.0, 200)[None]
    assert torch.allclose(shift(x, torch.tensor([20.3])), line(120.3, 200), atol=1e-4)
    assert shift(x.bfloat16(), torch.tensor([20.3])).dtype == torch.float32


def test_a_moving_line_is_learned_in_a_few_steps():
    """Lines of one star at many velocities: with the velocities' node free, eighty steps explain most."""
    config = tiny(pixels=128, hidden=32, n_latent=2)
    network = Prism(config, seed=0)
    flux, sigma, _ = sample(config, count=96)
    network.calibrate(flux, sigma=sigma)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    first = None
    for _ in range(80):
        out, mean, _ = network(flux)
        loss = gaussian_nll(flux - out, sigma).mean()
        first = first or float(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.25 * first
    assert float(mean.detach().std(0)[0]) > 0


def test_same_seed_same_weights_and_the_caller_s_randomness_untouched():
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    a, b, c = (Prism(tiny(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["encoder.heads.weight"], c["encoder.heads.weight"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixels": 4},
        {"n_latent": 1},
        {"rank": 40},
        {"most": 8},
        {"shift_gain": 0.0},
        {"shift_room": float("inf")},
        {"agnostic": True, "moving_air": True},
        {"min_logvar": 5.0},
    ],
)
def test_contradictions_are_refused(wrong):
    with pytest.raises(ConfigError):
        tiny(**wrong)


def test_the_networks_need_torch_errors_and_checks_alone():
    own = {path.stem for path in Path(network_package.__file__).parent.glob("*.py")}
    known = sys.stdlib_module_names | {"torch", "numpy", "errors", "checks"} | own
    for path in Path(network_package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= known, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in known, path
