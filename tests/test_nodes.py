"""What nodes do, which are copies or weak, and how they are given back."""

import pytest

torch = pytest.importorskip("torch")

from astroprism.model import nodes
from astroprism.model.data import Tensors
from astroprism.network import Prism, PrismConfig

PIXELS, COUNT = 256, 64


class Lines:
    """A network of known answer: node i makes `shapes[i]`, (n, p), linearly."""

    def __init__(self, shapes):
        self.shapes, self.keep = shapes, torch.ones(len(shapes))
        self.back = torch.linalg.pinv(shapes)

    def encode(self, flux, *, good=None, berv=None):
        mean = (flux - 1) @ self.back
        return mean, torch.full_like(mean, -4.0)

    def decode(self, z, *, berv=None):
        return 1 + (z * self.keep) @ self.shapes


def shapes(*, centres=(40, 90, 140, 190), depth=0.2):
    x = torch.arange(PIXELS)
    return torch.stack([depth * torch.exp(-0.5 * ((x - c) / 4) ** 2) for c in centres])


def spectra(basis, *, seed=0, sigma=0.01):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(COUNT, len(basis), generator=generator)
    flux = 1 + z @ basis + sigma * torch.randn(COUNT, PIXELS, generator=generator)
    return Tensors(flux, torch.full_like(flux, sigma), None, None), z


def tiny(**changes):
    sizes = {
        "n_latent": 6,
        "hidden": 16,
        "body": 16,
        "patch": 16,
        "rank": 4,
        "whitened": 8,
        "shift_room": 60.0,
    }
    return Prism(PrismConfig(PIXELS, 5.0, **{**sizes, **changes}), seed=2)


def test_a_depth_is_no_copy_of_a_shift():
    """One line at many velocities: shifts span what its depth can do, but never in the same spectrum."""
    x = torch.linspace(-60, 60, 241)
    velocity = torch.linspace(-30, 30, 40)[:, None]
    line = torch.exp(-0.5 * ((x - velocity) / 4) ** 2)
    shifted = line * (x - velocity) / 16
    slopes = torch.stack([shifted, -line, 0.3 * shifted + 0.1 * line], 1)
    assert nodes.overlaps(slopes)[0, 1] > 0.5
    found = nodes.overlaps(slopes, moving=[0])
    assert found[0, 1] == found[1, 0] == 0
    assert found[0, 2] > 0.5  # that one shifts, too
    assert found[1, 2] == nodes.overlaps(slopes)[1, 2]


def test_overlaps_are_one_for_copies_and_chance_for_strangers():
    generator = torch.Generator().manual_seed(1)
    own = torch.randn(40, 3, 400, generator=generator)
    fixed = torch.randn(2, 400, generator=generator)
    # two that do the same thing in every spectrum, three that do another in each
    slopes = torch.cat([fixed[:1].expand(40, 1, -1), -3 * fixed[:1].expand(40, 1, -1), own], 1)
    found = nodes.overlaps(slopes)
    assert torch.allclose(found, found.T)
    assert float(found[0, 1]) == pytest.approx(1.0, abs=1e-4)
    assert float(found[2:, 2:].fill_diagonal_(0).max()) < 0.15  # 36 of 400 directions
    assert float(found[0, 2:].max()) < 0.15
    same = nodes.overlaps(own[:, :1].repeat(1, 2, 1))
    assert float(same[0, 1]) >= nodes.ENERGY


def test_a_split_cause_is_a_copy():
    basis = shapes()
    basis[1] = 0.5 * basis[0]
    batch, z = spectra(basis)
    found = nodes.overlaps(nodes.derivatives(Lines(basis), z, batch))
    assert float(found[0, 1]) > 0.99
    assert float(found[0, 2]) < 1e-3


def test_derivatives_and_ablation_are_those_of_a_linear_network():
    basis = shapes()
    batch, z = spectra(basis)
    good = torch.rand(batch.flux.shape) > 0.2
    slopes = nodes.derivatives(Lines(basis), z, batch._replace(good=good))
    expected = (basis / 0.01).expand(COUNT, -1, -1) * good[:, None]
    assert torch.allclose(slopes, expected, atol=0.05)
    rise = nodes.ablation(Lines(basis), z, batch, floor=0.0, nodes=[0, 2])
    assert bool((rise[:, [1, 3]] == 0).all())
    nats = 0.5 * z[:, 0].var() * (basis[0] ** 2).sum() / 0.01**2
    assert float(rise[:, 0].mean()) == pytest.approx(float(nats), rel=0.1)


def test_choose_drops_copies_and_weak_nodes():
    basis = shapes()
    basis[3] = 0.4 * basis[0]  # a copy
    basis[2] *= 1e-4  # does nothing
    batch, _ = spectra(basis)
    network = Lines(basis)
    choice = nodes.choose(network, batch, kl=0.1, bound=5.0, floor=0.0, overlap=0.5)
    assert sorted(choice.kept) == [0, 1]
    assert choice.copies == {3: 0}
    assert choice.weak == [2]
    network.keep[1] = 0
    choice = nodes.choose(network, batch, kl=0.1, bound=5.0, floor=0.0, overlap=0.5)
    assert choice.kept == [0]
    assert 1 not in choice.weak
    assert nodes.choose(network, batch, kl=1e9, bound=5.0, floor=0.0, overlap=0.5).kept == []


@pytest.mark.parametrize("agnostic", [False, True])
def test_nodes_come_back_with_the_moments_of_the_living(agnostic):
    network = tiny(agnostic=agnostic)
    batch, _ = spectra(shapes())
    network.calibrate(batch.flux, sigma=batch.sigma)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(batch.flux)[0].square().sum().backward()
    optimizer.step()
    network.keep[[2, 4]] = 0.0
    for parameter, dim, indices in network.places([2, 4]):
        optimizer.state[parameter]["exp_avg_sq"].index_fill_(dim, indices, 1e-20)
        optimizer.state[parameter]["exp_avg"].index_fill_(dim, indices, 7.0)
    dead, started = nodes.give_back(network, batch, seed=1, seeds=2, floor=0.01, bound=1.0)
    assert dead == [2, 4]
    assert set(started) <= {2, 4}
    assert started  # four lines that no node explains
    assert float(network.keep.sum()) == 6
    nodes.reset_moments(optimizer, network.places(dead))
    for parameter, dim, indices in network.places(dead):
        state = optimizer.state[parameter]
        assert float(state["exp_avg"].index_select(dim, indices).abs().max()) == 0
        alive = torch.tensor([i for i in range(parameter.shape[dim]) if i not in indices.tolist()])
        usual = state["exp_avg_sq"].index_select(dim, alive).mean()
        assert torch.allclose(state["exp_avg_sq"].index_select(dim, indices), usual)
    assert nodes.give_back(network, batch, seed=1, seeds=2, floor=0.01, bound=1.0) == ([], {})
    nodes.reset_moments(optimizer, network.places([]))


def test_of_one_star_only_led_nodes_come_back():
    network = tiny()
    batch, _ = spectra(shapes())
    network.calibrate(batch.flux, sigma=batch.sigma)
    network.keep[[0, 2, 3, 4]] = 0.0
    back, started = nodes.give_back(network, batch, seed=1, seeds=1, floor=0.01, bound=1.0, crowd=False)
    assert back == [0, *started]  # and the velocity
    assert len(started) == 1
    assert network.keep.nonzero()[:, 0].tolist() == sorted({0, 1, 5, *started})


def test_errors_of_codes_are_what_the_noise_leaves_open():
    """Of a linear network: the inverse of the curvature, which repeated noise repeats."""
    basis = shapes()
    basis[1] += 0.5 * basis[0]  # what two nodes share is sure of neither
    network, sigma = Lines(basis), 0.05
    batch, _ = spectra(basis, sigma=sigma)
    same = batch.at(torch.zeros(64, dtype=torch.long))
    clean = network.decode(torch.zeros(64, len(basis)))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    same = same._replace(flux=clean + sigma * noise, sigma=torch.full_like(clean, sigma))
    z = nodes.polish(network, torch.zeros(64, len(basis)), same, nodes=[0, 1], floor=0.0)
    told = nodes.code_errors(network, z, same, nodes=[0, 1], floor=0.0)
    assert told.shape == (64, 2)
    assert told[0].numpy() == pytest.approx(z[:, :2].std(0).numpy(), rel=0.3)


@torch.no_grad()
def test_a_led_node_moves_what_draws_nothing_yet():
    network = tiny()
    batch, _ = spectra(shapes())
    network.calibrate(batch.flux, sigma=batch.sigma)
    mean, _ = nodes.codes(network, batch)
    network.keep[[2, 4]] = 0.0
    network.renew([2, 4], seed=1)
    for writer in (network.decoder.star, network.decoder.air):
        writer[0].weight[:, 8:] = 0.0  # half of the features draw nothing
    body, z = network.decoder.body, torch.zeros(1, network.config.n_latent - 1)
    nodes._give_room(network, mean, [2, 4])
    effect, reach = [], []
    for node in (1, 2, 4):  # 1 lives
        code = torch.zeros(1, network.config.n_latent)
        code[0, node] = 1.0
        reach.append(float((body(code[:, 1:]) - body(z)).norm()))
        effect.append(float((network.decode(code) - network.decode(0 * code)).norm()))
    assert min(reach[1:]) > 0.1 * reach[0]
    assert max(effect[1:]) / max(reach[1:]) < 0.2 * effect[0] / reach[0]


def test_a_lead_that_living_codes_tell_is_theirs():
    generator = torch.Generator().manual_seed(4)
    known = torch.randn(400, 4, generator=generator)
    bend = known[:, 1] ** 2 + 0.5 * known[:, 0] * known[:, 2] + 0.3 * torch.randn(400, generator=generator)
    assert nodes.told_by(known, bend) > nodes.TOLD
    assert nodes.told_by(known, torch.randn(400, generator=generator)) < 0.1
    assert nodes.told_by(known[:, :0], bend) == 0
    assert nodes.told_by(known[:1], bend[:1]) == 0


def test_pieces_are_the_whole():
    batch, _ = spectra(shapes())
    parts = [part for _, part in batch.pieces(10 * PIXELS)]
    assert [rows.stop for rows, _ in batch.pieces(10 * PIXELS)] == [10, 20, 30, 40, 50, 60, 64]
    assert [len(part.flux) for part in parts] == [10] * 6 + [4]
    assert torch.equal(torch.cat([part.flux for part in parts]), batch.flux)
    assert nodes.sizing(327_680, 300_000).sample == 819
    assert nodes.sizing(2048, 50) == (50, 50)


def test_few_spectra_show_what_leads_they_have():
    """384 features of 300 spectra predict no lead with the ridge that serves thousands."""
    generator = torch.Generator().manual_seed(3)
    count, features = 300, 384
    cause = torch.randn(count, generator=generator)
    read = torch.randn(count, features, generator=generator)
    read[:, :60] += 0.7 * cause[:, None]
    g = torch.nn.functional.pad(read, (0, 1), value=1.0)
    scores = cause + 0.5 * torch.randn(count, generator=generator)
    scores[::3] += 20 * torch.randn(count // 3, generator=generator)  # of faint stars
    sure = torch.ones(count)
    sure[::3] = 0.0025
    assert nodes._lead(scores, g, 50.0, sure=sure).predicted > 0.5
    assert nodes._lead(scores, g, 50.0, sure=torch.ones(count)).predicted < nodes.LED
    nothing = torch.randn(count, generator=generator)
    assert nodes._lead(nothing, g, 50.0, sure=sure).predicted < nodes.LED
