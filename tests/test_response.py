"""Nodes whose answer to physical changes is known, and every kind of network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from astroprism.findings.changes import Changes, Observed, median_interval
from astroprism.findings.response import Responses, best_answer, best_change, respond
from astroprism.grid import SPEED_OF_LIGHT, air_to_vacuum, log_grid
from astroprism.model.data import Source
from astroprism.model.trained import TrainedModel
from astroprism.network import PaperConfig, PaperNetwork, Prism, PrismConfig

GRID = log_grid(5885.0, 5925.0, step=3.0)
WAVELENGTH = GRID.wavelength
PLACE = np.log(WAVELENGTH)
CENTRES = np.sort(np.random.default_rng(3).uniform(5887, 5923, 25))
DEPTHS = np.random.default_rng(4).uniform(0.1, 0.6, 25)
KMS = 20.0  # a unit of the toy's first node


def stars(velocity: np.ndarray, *, wavelength: np.ndarray = WAVELENGTH, width: float = 9.0) -> np.ndarray:
    """Gaussian lines of `width` km/s, moved by velocities (b,): (b, p)."""
    moved = np.log1p(np.asarray(velocity)[:, None] / SPEED_OF_LIGHT)
    flux = np.ones((len(moved), wavelength.size), dtype=np.float32)
    for centre, depth in zip(CENTRES, DEPTHS, strict=True):
        apart = (np.log(wavelength / centre) - moved) * (SPEED_OF_LIGHT / width)
        flux -= depth * np.exp(-0.5 * apart.astype(np.float32) ** 2)
    return flux


def star(velocity: float, *, wavelength: np.ndarray = WAVELENGTH) -> np.ndarray:
    """One of them, (p,)."""
    return stars(np.array([velocity]), wavelength=wavelength)[0].astype(float)


class Toy(torch.nn.Module):
    """Node 0 moves the star, 1 tilts, 2 deepens every third line; 3 and 4 do nothing. Linear encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(n_latent=5)
        self.slope = torch.tensor((WAVELENGTH - WAVELENGTH.mean()) / np.ptp(WAVELENGTH), dtype=torch.float32)
        deeper = np.zeros(WAVELENGTH.size)
        for centre in CENTRES[::3]:
            deeper -= 0.1 * np.exp(-0.5 * (np.log(WAVELENGTH / centre) * SPEED_OF_LIGHT / 9.0) ** 2)
        self.deeper = torch.tensor(deeper, dtype=torch.float32)
        zero = torch.zeros(1, 5)
        self.middle = self.decode(zero)
        units = 0.01 * torch.eye(5)[:3]
        self.read = torch.linalg.pinv((self.decode(units) - self.decode(-units)).T / 0.02)

    def encode(self, flux, *, good=None, berv=None):
        left = flux - self.middle
        if good is not None:
            left = left.masked_fill(~good, 0)
        z = torch.cat([left @ self.read.T, 1e-3 * left[:, :2]], 1)
        return z, torch.full_like(z, -6.0)

    def decode(self, z, *, berv=None):
        lines = torch.from_numpy(stars(KMS * z[:, 0].numpy())) + z[:, 2:3] * self.deeper
        return lines * (1 + 0.1 * z[:, 1:2] * self.slope)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    z = torch.tensor(rng.normal(size=(80, 5)) * [0.1, 1, 1, 0, 0], dtype=torch.float32)
    network = Toy()
    clean = network.decode(z).numpy()
    sigma = np.full_like(clean, 0.005)
    flux = clean + sigma * rng.normal(size=clean.shape)
    good = rng.random(clean.shape) > 0.01
    labels = {
        "rv": KMS * z[:, 0].numpy(),
        "depth": 5 + 2 * z[:, 2].numpy(),
        "noise": rng.normal(size=80),
        "name": np.array(["a", "b"] * 40),
    }
    flux[~good] = np.nan
    source = Source.from_arrays(flux, sigma, good=good, step=3.0)
    model = TrainedModel(network)
    return respond(model, source, np.arange(80), nodes=[0, 1, 2], wavelength=WAVELENGTH, labels=labels)


def test_a_doppler_node_answers_by_its_unit(toy):
    one = toy.response[0]["doppler_per_kms"]
    assert one["low"] <= one["value"] <= one["high"]
    assert one["value"] == pytest.approx(1 / KMS, rel=0.05)
    assert one["null"] < 0.1 * one["value"]
    assert one["share"] > 0.98
    assert one["share_null"] < 0.3
    assert one["cosine"] > 0.99
    assert best_change(toy.response[0]) == "doppler_per_kms"


def test_a_tilt_node_answers_to_a_tilt_and_to_nothing_else(toy):
    one = toy.response[1]["tilt_per_unit"]
    assert one["value"] == pytest.approx(10.0, rel=0.1)
    assert one["share"] > 0.95
    assert best_change(toy.response[1]) == "tilt_per_unit"
    shift = toy.response[1]["doppler_per_kms"]
    assert abs(shift["value"]) < 0.02
    assert shift["share"] < 0.05


def test_noise_spreads_codes_as_expected(toy):
    one = toy.response[1]["noise_per_halving"]
    assert one["low"] < one["value"] < one["high"]
    assert one["drift_low"] < 0 < one["drift_high"]
    assert one["null"] < one["value"]


def test_moving_the_node_makes_the_shift(toy):
    first, second = toy.intervention[0]["moves"]
    assert (first["asked"], second["asked"]) == (10.0, 30.0)
    assert first["made"] == pytest.approx(10.0, abs=0.6)
    assert second["made"] == pytest.approx(30.0, abs=1.8)
    assert first["error_share"] < 0.1
    assert first["error_share_null"] > 0.8
    assert first["data_sigma_unmoved"] <= first["data_sigma"] < 0.1 * first["change_sigma"] + 2
    tilt = toy.intervention[1]["moves"][0]
    assert tilt["made"] == pytest.approx(0.02, rel=0.1)


def test_a_label_does_what_its_node_does(toy):
    rows = {(row["label"], row["node"]): row for row in toy.labels}
    # the toy's lines are no atom's, so its stars cannot be brought to rest and rv stays a change like any
    assert {label for label, _ in rows} == {"depth", "rv"}
    own = rows["depth", 2]
    assert own["share"] > 0.95
    assert own["share_low"] > own["share_null"]
    assert own["explained"] > 0.9
    assert rows["depth", 1]["share"] < 0.2


def test_what_findings_keep(toy):
    kept = toy.of_node(2, explained_by=["depth"])
    assert set(kept) == {"response", "intervention"}
    assert kept["intervention"]["labels"]["depth"]["share"] > 0.95
    assert "labels" not in toy.of_node(0)["intervention"]
    assert toy.of_node(4) == {"response": {}, "intervention": None}
    json.dumps(kept)
    table = toy.table(nodes=[0, 2])
    assert set(table["node"]) == {0, 2}
    assert len({len(column) for column in table.values()}) == 1
    assert best_answer(SimpleNamespace(**toy.of_node(0))).startswith("answers to a Doppler shift by 0.0")
    assert best_answer(SimpleNamespace(response={}, intervention=None)) == ""


@pytest.mark.parametrize("kind", ["still", "moving", "agnostic", "paper"])
def test_every_network_can_be_changed(kind):
    rng = np.random.default_rng(1)
    pixels = 128
    flux = 1 + 0.1 * rng.normal(size=(24, pixels))
    berv = rng.uniform(-20, 20, 24).astype(np.float32)
    source = Source.from_arrays(
        flux, np.full_like(flux, 0.1), step=3.0, berv=berv if kind == "moving" else None
    )
    if kind == "paper":
        network = PaperNetwork(PaperConfig(pixels, n_latent=4), seed=0)
    else:
        config = PrismConfig(
            pixels,
            3.0,
            n_latent=4,
            hidden=8,
            rank=4,
            whitened=4,
            agnostic=kind == "agnostic",
            moving_air=kind == "moving",
        )
        network = Prism(config, seed=0)
    found = respond(
        TrainedModel(network),
        source,
        np.arange(24),
        nodes=[0, 3],
        wavelength=WAVELENGTH[:pixels],
        berv=berv,
        labels={"teff": rng.normal(size=24)},
    )
    assert set(found.response) == {0, 3}
    assert found.targets == 24
    numbers = [value for node in found.response.values() for one in node.values() for value in one.values()]
    assert np.isfinite(numbers).all()


def test_too_little_is_no_answer():
    source = Source.from_arrays(np.ones((4, 32)), np.ones((4, 32)), step=3.0)
    model = TrainedModel(Toy())
    assert respond(model, source, np.arange(4), nodes=[0], wavelength=WAVELENGTH[:32]) == Responses()
    assert respond(model, source, np.arange(4), nodes=[], wavelength=WAVELENGTH[:32]) == Responses()
    assert Responses().table() == {"node": [], "kind": [], "name": []}


def observed(flux: np.ndarray, *, berv: float = 0.0, air: np.ndarray | None = None) -> Observed:
    whole = torch.tensor(flux[None], dtype=torch.float32)
    sky = None if air is None else torch.tensor(air[None], dtype=torch.float32)
    return Observed(whole, sky, torch.tensor([berv]))


@pytest.mark.parametrize("grid", ["log", "linear in air"])
def test_a_shift_is_a_shift_on_any_grid(grid):
    wavelength = WAVELENGTH if grid == "log" else air_to_vacuum(np.arange(5885.0, 5925.0, 0.02))
    changes = Changes(wavelength)
    assert changes.uniform == (grid == "log")
    moved = changes("doppler_per_kms", 10.0, observed(star(0.0, wavelength=wavelength)))[0].numpy()
    inner = slice(20, -20)
    error = moved - star(10.0, wavelength=wavelength)
    assert np.abs(error[inner]).max() < 0.01
    assert np.abs(moved - star(0.0, wavelength=wavelength))[inner].max() > 0.2


def test_a_free_atmosphere_moves_and_leaves_the_star():
    changes = Changes(WAVELENGTH, free_air=True)
    air = np.ones(WAVELENGTH.size)
    air[100:104] = 0.5
    lines = star(0.0)
    moved = changes("air_per_kms", 15.0, observed(lines * air, air=air))[0].numpy()
    assert moved[106:108] == pytest.approx(0.5 * lines[106:108], rel=0.1)  # 15 km/s are five pixels
    assert moved[200:] == pytest.approx(lines[200:], abs=1e-3)
    assert "air_per_kms" not in Changes(WAVELENGTH).sizes


def test_rotation_widens_lines_and_keeps_their_strength():
    changes = Changes(WAVELENGTH)
    before = star(0.0)
    after = changes("broadening_per_kms", 20.0, observed(before))[0].numpy()
    assert (1 - after).sum() == pytest.approx((1 - before).sum(), rel=0.02)
    assert after.min() > before.min()
    assert changes.noise_left("broadening_per_kms", 20.0) < 0.5
    assert changes.noise_left("doppler_per_kms", 20.0) == 1.0


def test_the_atmosphere_stays_where_the_observer_is():
    changes = Changes(WAVELENGTH, resolution=60_000)
    assert "water_per_column" in changes.sizes
    assert "oxygen_per_column" not in changes.sizes
    flat = np.ones(WAVELENGTH.size)
    still = changes("water_per_column", 1.0, observed(flat))[0].numpy()
    moved = changes("water_per_column", 1.0, observed(flat, berv=30.0))[0].numpy()
    assert still.min() < 0.97
    assert moved[10:] == pytest.approx(still[:-10], abs=2e-3)  # 30 km/s are ten pixels
    # a star that moves leaves its atmosphere behind
    shifted = changes("doppler_per_kms", 30.0, observed(star(0.0) * still, air=still))[0].numpy()
    assert shifted[20:-20] == pytest.approx((star(30.0) * still)[20:-20], abs=0.01)


def test_the_interval_of_a_median():
    values = np.arange(101.0)[:, None]
    value, low, high = median_interval(values)
    assert (value[0], low[0], high[0]) == (50.0, 42.0, 58.0)
    assert median_interval(np.array([3.0, 1.0])) == (2.0, 1.0, 3.0)
