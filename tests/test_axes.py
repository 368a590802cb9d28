"""Codes whose sources are known, mixed by a known rotation: which axes come back, and which are claimed."""

import numpy as np
import pytest

from astroprism.measures.axes import independent_axes
from astroprism.measures.evidence import EvidenceError
from astroprism.schema import AxesFacts

DRAWS = {
    "uniform": lambda random, n: random.uniform(-1, 1, n),
    "skewed": lambda random, n: np.minimum(random.exponential(size=n), 4.0),
    "clumps": lambda random, n: np.where(random.random(n) < 0.3, -1.5, 0.6) + 0.4 * random.normal(size=n),
    "normal": lambda random, n: random.normal(size=n),
}


def mixed(kinds, *, n=1500, seed=0, angle=0.6):
    """(sources of unit spread, codes that are a rotation of them with some noise)."""
    random = np.random.default_rng(seed)
    sources = np.stack([DRAWS[kind](random, n) for kind in kinds], axis=1)
    sources = (sources - sources.mean(0)) / sources.std(0)
    k = len(kinds)
    turn = np.linalg.qr(np.eye(k) + angle * random.normal(size=(k, k)))[0]
    turn = turn * np.sign(np.diag(turn))
    return sources, sources @ turn.T + 0.1 * random.normal(size=(n, k))


def axes_of(codes, seed=0):
    return independent_axes(codes, np.full(codes.shape, 0.1), seed=seed)


def best_of(sources, codes):
    """Of each source its largest squared correlation with a code."""
    k = sources.shape[1]
    return (np.corrcoef(sources.T, codes.T)[:k, k:] ** 2).max(axis=1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_independent_sources_come_back(seed):
    sources, codes = mixed(["uniform", "skewed", "clumps"], seed=seed, angle=3.0)
    axes = axes_of(codes)
    assert axes.turned
    assert axes.identified.all()
    assert best_of(sources, codes).min() < 0.9
    new = (codes - axes.middle) @ axes.matrix.T
    assert best_of(sources, new).min() > 0.95
    np.testing.assert_allclose(new.var(axis=0) + 0.01, 1.0, atol=0.2)


def test_each_axis_keeps_the_number_and_the_sign_of_the_node_that_is_nearest():
    _, codes = mixed(["uniform", "skewed", "clumps", "uniform"], seed=5, angle=0.2)
    axes = axes_of(codes)
    new = (codes - axes.middle) @ axes.matrix.T
    assert (np.diagonal(np.corrcoef(codes.T, new.T)[:4, 4:]) > 0.6).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_gaussian_cloud_keeps_its_axes_and_claims_none(seed):
    _, codes = mixed(["normal"] * 3, seed=seed)
    axes = axes_of(codes)
    assert not axes.turned
    assert not axes.identified.any()
    np.testing.assert_allclose(axes.matrix, np.eye(3), atol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_beside_a_gaussian_plane_an_axis_of_its_own_is_found(seed):
    sources, codes = mixed(["normal", "normal", "uniform"], n=3000, seed=seed)
    axes = axes_of(codes)
    found = np.flatnonzero(axes.identified)
    new = (codes - axes.middle) @ axes.matrix.T
    assert len(found) <= 1
    for node in found:
        assert np.corrcoef(sources[:, 2], new[:, node])[0, 1] ** 2 > 0.9


def test_axes_that_are_right_are_not_harmed():
    for seed in range(4):
        sources, codes = mixed(["uniform", "skewed", "normal", "normal"], seed=seed, angle=0.0)
        axes = axes_of(codes)
        new = (codes - axes.middle) @ axes.matrix.T
        assert best_of(sources, new).min() > 0.9


def test_many_axes_converge():
    sources, codes = mixed(["uniform"] * 12, n=3000, angle=0.3)
    axes = axes_of(codes)
    assert best_of(sources, (codes - axes.middle) @ axes.matrix.T).min() > 0.9


def test_the_same_seed_gives_the_same_axes():
    _, codes = mixed(["uniform", "skewed"])
    np.testing.assert_array_equal(axes_of(codes).matrix, axes_of(codes).matrix)


def test_outliers_have_no_say():
    sources, codes = mixed(["uniform", "skewed"], seed=2)
    codes[:20] = [[40.0, -40.0]]
    axes = axes_of(codes)
    assert best_of(sources[20:], ((codes - axes.middle) @ axes.matrix.T)[20:]).min() > 0.95


def test_what_has_no_axes_is_refused():
    _, codes = mixed(["uniform", "skewed"], n=150)
    with pytest.raises(EvidenceError, match="150 targets"):
        axes_of(codes)
    _, codes = mixed(["uniform", "skewed"])
    with pytest.raises(EvidenceError, match="2 or more"):
        axes_of(codes[:, :1])
    with pytest.raises(EvidenceError, match="linear function"):
        axes_of(np.c_[codes, codes.sum(axis=1)])


def test_facts_say_which_axes_are_shared():
    facts = AxesFacts(
        nodes=[2, 5, 7], turned=True, stability=[0.99, 0.6, 0.7], own=[True, False, False], gains=[0.1, 0.2]
    )
    assert facts.of_node(2).own
    assert facts.of_node(2).shared_with == []
    assert not facts.of_node(5).own
    alone = AxesFacts(nodes=[2, 5], turned=True, stability=[0.99, 0.6], own=[True, False], gains=[0.1])
    assert not alone.of_node(5).own
    assert facts.of_node(5).shared_with == [7]
    assert facts.of_node(0) is None
    assert "0.15 nats less" in facts.text
    assert "1 of 3 axes are found alike" in facts.text
    none = AxesFacts(nodes=[3], turned=False, why="1 node to be turned, and two are needed")
    assert none.of_node(3) is None
    assert none.why in none.text


# --- in a network

torch = pytest.importorskip("torch")

from astroprism.model.axes import turn_to_axes
from astroprism.model.checkpoint import build_network, load_weights, network_facts
from astroprism.model.data import Tensors
from astroprism.network import Prism, PrismConfig


def small_network(**changes):
    settings = {"n_latent": 5, "hidden": 16, "body": 16, "rank": 4, "whitened": 8, "patch": 32}
    return Prism(PrismConfig(128, 5.0, **(settings | changes)), seed=1).eval()


@torch.no_grad()
@pytest.mark.parametrize("agnostic", [False, True])
def test_a_turned_network_makes_the_same_spectra(agnostic, tmp_path):
    network = small_network(agnostic=agnostic)
    flux = 1 + 0.1 * torch.randn(40, 128, generator=torch.Generator().manual_seed(2))
    mean, logvar = network.encode(flux)
    before, speed = network.decode(mean), None if agnostic else network.velocity(mean)
    network.to_axes([1, 3], torch.tensor([0.3, -0.2]), torch.tensor([[1.2, 0.5], [-0.4, 0.9]]))
    new, variance = network.encode(flux)
    assert not torch.allclose(new[:, 1], mean[:, 1], atol=1e-3)
    untouched = [0, 2, 4]
    torch.testing.assert_close(new[:, untouched], mean[:, untouched])
    torch.testing.assert_close(network.decode(new), before, atol=1e-5, rtol=1e-4)
    expected = 1.2**2 * logvar[:, 1].exp() + 0.5**2 * logvar[:, 3].exp()
    torch.testing.assert_close(variance[:, 1].exp(), expected)
    if speed is not None:
        torch.testing.assert_close(network.velocity(new), speed)
    # what one node of the training does, in the new codes
    step = 0.1 * network.trained_axes()[3]
    old = mean.clone()
    old[:, 3] += 0.1
    plain = small_network(agnostic=agnostic)
    torch.testing.assert_close(network.decode(new + step), plain.decode(old), atol=1e-5, rtol=1e-4)
    # and from the disk
    again = build_network(network_facts(network), where=tmp_path).eval()
    load_weights(again, network.state_dict(), where=tmp_path)
    torch.testing.assert_close(again.encode(flux)[0], new)


@torch.no_grad()
def test_nodes_that_move_and_nodes_that_are_off_are_not_turned():
    network = small_network()
    network.keep[2] = 0.0
    flux = 1 + 0.1 * torch.randn(260, 128, generator=torch.Generator().manual_seed(2))
    batch = Tensors(flux, torch.full_like(flux, 0.02), None, None)
    facts = turn_to_axes(network, batch, floor=0.0, seed=0)
    assert facts.nodes == [1, 3, 4]
    assert facts.targets <= 260
    few = turn_to_axes(network, batch.at(slice(50)), floor=0.0, seed=0)
    assert "50 targets" in few.why
    network.keep[[1, 3]] = 0.0
    assert "1 node " in turn_to_axes(network, batch, floor=0.0, seed=0).why
