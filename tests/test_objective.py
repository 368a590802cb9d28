"""What a step computes: masked pixels count for nothing, halves make the whole, displacements are known."""

import math
import shutil

import pytest

torch = pytest.importorskip("torch")

from astroprism.model.data import Tensors
from astroprism.model.loss import kl_per_node, signal_nats
from astroprism.model.objective import (
    SPARED,
    PaperObjective,
    PrismObjective,
    Sums,
    Terms,
    displaced,
    displacements_of,
    noise_of,
)
from astroprism.network import PaperConfig, PaperNetwork, Prism, PrismConfig
from astroprism.network.doppler import pixels_of, velocity_of

PIXELS, STEP, BATCH, NODES = 256, 5.0, 8, 6
TERMS = Terms(beta=3.0, move_beta=3.0, floor=0.01, blur=4.0, agree=10.0, still=1000.0)


def batch(*, good=True, berv=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    flux = 1 + 0.1 * torch.randn(BATCH, PIXELS, generator=generator)
    seen = torch.rand(BATCH, PIXELS, generator=generator) > 0.1 if good else None
    velocity = 20 * torch.randn(BATCH, generator=generator) if berv else None
    return Tensors(flux, torch.full_like(flux, 0.02), seen, velocity)


def prism(**changes):
    sizes = {"n_latent": NODES, "hidden": 16, "patch": 16, "rank": 4, "whitened": 8, "shift_room": 60.0}
    network = Prism(PrismConfig(PIXELS, STEP, **{**sizes, "moving_air": True, **changes}), seed=1)
    x = batch()
    berv = x.berv if network.config.moving_air else None
    network.calibrate(x.flux, sigma=x.sigma, good=x.good, berv=berv)
    return network


def objectives():
    paper = PaperNetwork(PaperConfig(PIXELS, n_latent=NODES))
    return {
        "physics": PrismObjective(prism()),
        "free air": PrismObjective(prism(free_air=True, moving_air=False)),
        "agnostic": PrismObjective(prism(agnostic=True, moving_air=False)),
        "paper": PaperObjective(paper),
        "paper, likelihood": PaperObjective(paper, likelihood=True),
    }


def run(objective, x):
    objective.zero_grad()
    if not (isinstance(objective.network, Prism) and objective.network.config.moving_air):
        x = x._replace(berv=None)
    loss = objective(x, noise_of(3, seed=1, batch=BATCH, nodes=NODES), TERMS)
    loss.total.backward()
    gradients = {k: p.grad.clone() for k, p in objective.named_parameters() if p.grad is not None}
    return loss, gradients


def test_no_more_scatter_is_granted_than_was_measured_before_it_was_used():
    """Errors that grow make a network miss more, and would grow with what it misses."""
    objective, noise = PrismObjective(prism()), noise_of(3, seed=1, batch=BATCH, nodes=NODES)
    learning = TERMS._replace(scatter=0.2)
    for _ in range(60):
        objective(batch(), noise, learning._replace(applied=False))
    assert float(objective.network.scatter.max()) == 0.0
    measured = objective.ceiling.clone()
    assert float(measured.median()) > 0.03**2
    worse = batch()._replace(flux=1 + 3 * (batch().flux - 1))
    for _ in range(60):
        objective(worse, noise, learning)
    assert bool((objective.network.excess <= measured + 1e-9).all())


def test_a_node_that_began_on_a_lead_pays_little():
    objective = PrismObjective(prism())
    x, noise = batch(), noise_of(3, seed=1, batch=BATCH, nodes=NODES)
    whole = objective(x, noise, TERMS)
    spared = objective(x, noise, TERMS._replace(spared=(4,)))
    saved = (1 - SPARED) * TERMS.beta * float(whole.kl[4])
    assert saved > 0
    assert float((whole.total - spared.total).detach()) == pytest.approx(saved, rel=1e-3)


def test_velocities_pay_their_own_share_of_beta():
    objective, x = PrismObjective(prism()), batch()
    noise = noise_of(3, seed=1, batch=BATCH, nodes=NODES)
    dear, cheap = (objective(x, noise, TERMS._replace(move_beta=beta)) for beta in (3.0, 1.0))
    assert float((dear.total - cheap.total).detach()) == pytest.approx(2 * float(dear.kl[0]), rel=1e-3)


@pytest.mark.parametrize("kind", ["physics", "free air", "agnostic", "paper", "paper, likelihood"])
@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_masked_pixels_change_neither_loss_nor_gradient(kind, garbage):
    objective, x = objectives()[kind], batch()
    clean, gradients = run(objective, x)
    filled = x._replace(
        flux=torch.where(x.good, x.flux, garbage), sigma=torch.where(x.good, x.sigma, abs(garbage))
    )
    other, others = run(objective, filled)
    for a, b in zip(clean, other, strict=True):
        assert torch.equal(a, b)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_the_papers_loss_is_absolute_difference_and_kl():
    objective, x = objectives()["paper"], batch()
    loss, _ = run(objective, x)
    noise = noise_of(3, seed=1, batch=BATCH, nodes=NODES)
    with torch.no_grad():
        made, mean, logvar = objective.network(x.flux, noise=noise, good=x.good)
    expected = (x.flux - made).abs()[x.good].mean() + TERMS.beta * kl_per_node(mean, logvar).mean()
    assert float(loss.total.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_half_batches_make_the_whole():
    """As on two processes: gradients are means over halves, and drift is measured against all."""
    network, x = prism(), batch()
    noise = noise_of(3, seed=1, batch=BATCH, nodes=NODES)
    whole = PrismObjective(network)
    whole(x, noise, TERMS).total.backward()
    expected = {k: p.grad.clone() for k, p in network.named_parameters()}
    z = network.encode(x.flux, good=x.good, berv=x.berv)
    codes = z[0] + (0.5 * z[1]).exp() * noise
    middle = network.parts(codes).star.detach().mean(0)
    network.zero_grad()
    half = PrismObjective(network, over_all=lambda _: middle)
    for rows in (slice(0, 4), slice(4, 8)):
        part = Tensors(*(y[rows] for y in x))
        (half(part, noise[rows], TERMS).total / 2).backward()
    for name, p in network.named_parameters():
        assert torch.allclose(
            p.grad, expected[name], rtol=1e-3, atol=1e-3 * float(expected[name].abs().max())
        )


@pytest.mark.parametrize("step", [1.5, 5.0])
def test_a_displaced_line_ends_where_berv_says(step):
    """A line of the atmosphere lies at its rest + BERV before and after, to the pixel's half."""
    rest, x = 120, torch.arange(PIXELS)
    berv = torch.tensor([0.0, 20.0, -13.7, 31.4])
    before = rest + pixels_of(berv, step).round().long()
    star = before + 30  # whatever else is in the spectrum moves along
    flux = 1 - 0.5 * (x == before[:, None]).float() - 0.25 * (x == star[:, None]).float()
    sigma = 0.01 + 0.001 * x.expand(4, -1)
    wanted = torch.tensor([25.0, -25.0, 3.0, 0.0])
    out = displaced(Tensors(flux, sigma, None, berv), wanted, step=step)
    assert out.good is not None
    for i in range(4):
        place = int(out.flux[i].argmin())
        found = float(pixels_of(out.berv[i], step))
        assert abs(place - (rest + found)) <= 0.5 + 1e-3
        assert abs(float(out.berv[i] - wanted[i])) <= step / 2 + 1e-3
        move = place - int(before[i])
        assert float(out.flux[i, star[i] + move]) == 0.75
        assert torch.equal(out.sigma[i, place], sigma[i, before[i]])
        # moves are whole, and what came in from outside is bad
        assert abs(found - float(pixels_of(berv[i], step)) - move) < 1e-3
        assert int((~out.good[i]).sum()) == abs(move)
        edge = out.good[i, :move] if move > 0 else out.good[i, PIXELS + move :]
        assert not move or not bool(edge.any())


def test_masked_pixels_move_along():
    x = batch()
    out = displaced(x._replace(berv=None), velocity_of(torch.full((BATCH,), 7.0), STEP), step=STEP)
    assert torch.equal(out.good[:, 7:], x.good[:, :-7])
    assert torch.equal(out.flux[:, 7:], x.flux[:, :-7])
    assert not bool(out.good[:, :7].any())
    assert torch.allclose(out.berv, velocity_of(torch.full((BATCH,), 7.0), STEP))


def test_draws_depend_on_seed_and_step_alone():
    a = noise_of(7, seed=3, batch=1000, nodes=20)
    assert torch.equal(a, noise_of(7, seed=3, batch=1000, nodes=20))
    assert not torch.equal(a, noise_of(8, seed=3, batch=1000, nodes=20))
    assert not torch.equal(a, noise_of(7, seed=4, batch=1000, nodes=20))
    assert abs(float(a.mean())) < 0.03
    assert abs(float(a.std()) - 1) < 0.03
    b = displacements_of(7, seed=3, batch=2000)
    assert torch.equal(b, displacements_of(7, seed=3, batch=2000))
    assert float(b.min()) >= -1
    assert float(b.max()) < 1
    assert abs(float(b.mean())) < 0.05
    assert abs(float(torch.corrcoef(torch.stack([b, displacements_of(8, seed=3, batch=2000)]))[0, 1])) < 0.1


def test_sums_are_means_of_steps():
    objective, x = objectives()["physics"], batch()
    loss, _ = run(objective, x)
    sums = Sums()
    sums.add(loss)
    sums.add(loss._replace(misfit=3 * loss.misfit))
    found, misfit, kl = sums.take(lambda row: row)
    assert found == pytest.approx(float(loss.total.detach()))
    assert misfit == pytest.approx(2 * float(loss.misfit))
    assert torch.allclose(kl, loss.kl)
    sums.add(loss)
    assert sums.take(lambda row: row)[1] == pytest.approx(float(loss.misfit))
    assert sums.means(lambda row: row)[4] == 3
    assert sums.means(lambda row: row)[2] == pytest.approx(5 / 3 * float(loss.misfit))


def test_signal_is_what_spectra_differ_by_beyond_noise():
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(500, PIXELS, generator=generator)
    sigma = torch.full_like(noise, 0.01)
    assert signal_nats(1 + noise, sigma, good=None, floor=0.0) < 2
    tilt = 0.02 * torch.randn(500, 1, generator=generator)
    found = signal_nats(1 + noise + tilt, sigma, good=None, floor=0.0)
    assert found == pytest.approx(0.5 * PIXELS * 4 * float(tilt.var() / 0.02**2), rel=0.05)
    bad = torch.zeros_like(noise, dtype=torch.bool)
    assert signal_nats(noise, sigma, good=bad, floor=0.0) == 0
    assert signal_nats(torch.full_like(noise, math.inf), sigma, good=None, floor=0.0) == 0


@pytest.mark.full
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("cc")), reason="no compiler")
@pytest.mark.filterwarnings("ignore")
def test_compiled_it_gives_the_same_loss():
    objective, x = objectives()["physics"], batch()
    plain, gradients = run(objective, x)
    compiled = torch.compile(objective)
    loss = compiled(x, noise_of(3, seed=1, batch=BATCH, nodes=NODES), TERMS)
    objective.zero_grad()
    loss.total.backward()
    assert float(loss.total) == pytest.approx(float(plain.total), rel=1e-3)
    for name, p in objective.named_parameters():
        scale = float(gradients[name].abs().max())
        assert torch.allclose(p.grad, gradients[name], rtol=1e-2, atol=1e-3 * scale + 1e-6)


def test_the_air_is_not_pulled_where_it_is_known_to_absorb():
    objective, x = PrismObjective(prism()), batch()
    noise = noise_of(3, seed=1, batch=BATCH, nodes=NODES)

    def pulled():
        some, none = (objective(x, noise, TERMS._replace(weaker=w)).total.detach() for w in (0.5, 0.0))
        return float(some - none)

    everywhere = pulled()
    half = torch.zeros(objective.network.config.width, dtype=torch.bool)
    half[::2] = True
    objective.bands = half
    assert 0.2 * everywhere < pulled() < 0.8 * everywhere
    objective.bands = torch.ones_like(half)
    assert pulled() == pytest.approx(0.0, abs=1e-3 * everywhere)
