"""The seed paper's network: its layout to the letter, its file format, and a start that does not collapse."""

import math
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from astroprism.errors import AstroprismError, ConfigError
from astroprism.network import PaperConfig, PaperNetwork, load_released
from astroprism.network.paper import level

# The release, written out by hand from its description: input and output channels, and kernel.
ENCODER = [
    (1, 16, 7), (16, 16, 5), (16, 16, 5), (16, 32, 3), (32, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3),
    (64, 64, 3), (64, 128, 3), (128, 128, 3), (128, 128, 3), (128, 256, 3), (256, 512, 3), (512, 512, 3),
]  # fmt: skip


def released_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {}
    for number, (before, after, kernel) in enumerate(ENCODER, 1):
        shapes[f"conv{number}.0.weight"] = (after, before, kernel)
        shapes[f"conv{number}.0.bias"] = (after,)
        shapes[f"deconv{number}.0.weight"] = (after, before, 3 if number == 15 else 4)
        shapes[f"deconv{number}.0.bias"] = (before,)
    for name in ("fc11", "fc12"):
        shapes |= {f"{name}.weight": (128, 10_240), f"{name}.bias": (128,)}
    shapes |= {"fc2.weight": (10_240, 128), "fc2.bias": (10_240,)}
    return shapes | {"predict0.weight": (1, 1, 3), "predict0.bias": (1,)}


@pytest.fixture(scope="module")
def network():
    return PaperNetwork(PaperConfig(), seed=3).eval()


@pytest.fixture
def spectra():
    generator = torch.Generator().manual_seed(1)
    return 1 - 0.3 * torch.rand(2, 327_680, generator=generator)


def test_names_shapes_and_count_are_the_release_s(network):
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == released_shapes()
    assert sum(value.numel() for value in network.parameters()) == 7_046_997
    assert sum(math.prod(shape) for shape in released_shapes().values()) == 7_046_997


def test_order_strides_and_slopes_are_the_release_s(network):
    names = [name for name, _ in network.named_children()]
    forth, back = [f"conv{i}" for i in range(1, 16)], [f"deconv{i}" for i in range(15, 0, -1)]
    assert names == [*forth, "fc11", "fc12", "fc2", *back, "predict0"]
    for number in range(1, 16):
        there, slope = network.get_submodule(f"conv{number}")
        again, _ = network.get_submodule(f"deconv{number}")
        stride = 1 if number == 15 else 2
        assert there.stride == again.stride == (stride,)
        assert there.padding == (ENCODER[number - 1][2] // 2,)
        assert again.padding == (1,)
        assert slope.negative_slope == 0.1


def test_released_file_loads_and_gives_the_same_codes(network, spectra, tmp_path):
    path = tmp_path / "model.pth.tar"
    content = {"epoch": 182, "arch": "ae1d", "best": np.float64(0.1), "state_dict": network.state_dict()}
    torch.save(content, path)
    loaded = load_released(path)
    assert not loaded.training
    with torch.no_grad():
        for ours, theirs in zip(network(spectra), loaded(spectra), strict=True):
            assert torch.equal(ours, theirs)


def surplus(state):
    return state | {"bn.weight": torch.zeros(2)}


def misshapen(state):
    return state | {"fc11.weight": torch.zeros(64, 10_240)}


def missing(state):
    return {name: value for name, value in state.items() if not name.startswith("deconv")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (surplus, ["found but not expected bn.weight"]),
        (misshapen, ["fc11.weight (64, 10240) where (128, 10240) is expected"]),
        (missing, ["missing deconv15.0.weight", "and 27 more", "68 tensors"]),
    ],
)
def test_other_weights_are_refused_by_name(network, tmp_path, change, words):
    path = tmp_path / "other.pth.tar"
    torch.save({"state_dict": change(network.state_dict())}, path)
    with pytest.raises(AstroprismError) as caught:
        load_released(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


@pytest.mark.parametrize("content", ["text", "empty", "keys", "list", "code"])
def test_foreign_files_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "foreign"
    if content in ("text", "empty"):
        path.write_text("wavelength,flux\n" * (content == "text"))
    else:
        torch.save({"keys": {"model": 1}, "list": [1], "code": {"state_dict": Harmful()}}[content], path)
    with pytest.raises(AstroprismError, match="foreign") as caught:
        load_released(path)
    assert content != "keys" or "found model" in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AstroprismError, match=r"nowhere\.pth"):
        load_released(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("pixels", [32, 500, 2_048, 5_001, 65_536])
def test_other_lengths_keep_the_pattern(pixels):
    network = PaperNetwork(PaperConfig(pixels=pixels, n_latent=8))
    out, mean, logvar = network(torch.ones(2, pixels), noise=torch.zeros(2, 8))
    assert out.shape == (2, pixels)
    assert mean.shape == logvar.shape == (2, 8)
    assert 16 <= network.deepest[1] <= 32 or pixels < 32
    released = released_shapes()
    names = [f"conv{i}.0.weight" for i in range(1, network.stages)]
    state = network.state_dict()
    assert all(tuple(state[name].shape) == released[name] for name in names)


def test_every_parameter_learns():
    network = PaperNetwork(PaperConfig(pixels=256, n_latent=4))
    x = 1 + 0.1 * torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
    out, mean, logvar = network(x, noise=torch.ones(4, 4))
    ((out - x) ** 2).sum().add((mean**2).sum() + (logvar**2).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_kaiming_start_tells_spectra_apart_where_torch_s_does_not():
    x = 1 - 0.3 * torch.rand(8, 32_768, generator=torch.Generator().manual_seed(2))
    spread, change = {}, {}
    for start in ("kaiming", "torch"):
        network = PaperNetwork(PaperConfig(pixels=32_768, start=start)).eval()
        with torch.no_grad():
            mean, _ = network.encode(x)
            out = network.decode(torch.eye(128)[:8])
        spread[start], change[start] = float(mean.std(0).mean()), float(out.std(0).mean())
    assert spread["kaiming"] > 0.01
    assert change["kaiming"] > 0.01
    assert spread["torch"] < 1e-3
    assert change["torch"] < 1e-5


def test_calibrated_weights_standardise_flux_and_write_it_back():
    x = 1 - 0.3 * torch.rand(3, 4_096, generator=torch.Generator().manual_seed(2))
    mean, spread = level(x)
    plain = PaperNetwork(PaperConfig(pixels=4_096, n_latent=8), seed=1).eval()
    folded = PaperNetwork(PaperConfig(pixels=4_096, n_latent=8), seed=1).eval()
    folded.calibrate(mean, spread)
    assert plain.state_dict().keys() == folded.state_dict().keys()
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        seen = [net.conv1(y[:, None]) for net, y in ((folded, x), (plain, (x - mean) / spread))]
        inner = slice(4, -4)  # at both ends zeros stand in for flux
        torch.testing.assert_close(seen[0][..., inner], seen[1][..., inner], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(folded.decode(z), mean + spread * plain.decode(z), atol=1e-5, rtol=1e-5)


def test_level_is_of_good_pixels():
    x = torch.tensor([[1.0, 3.0, torch.nan], [100.0, 1.0, 3.0]])
    good = torch.tensor([[True, True, False], [False, True, True]])
    mean, spread = level(x, good=good)
    assert mean == 2
    assert spread == pytest.approx((4 / 3) ** 0.5)
    assert level(torch.ones(2, 4))[1] > 0


def test_codes_begin_above_their_noise():
    x = 1 - 0.3 * torch.rand(8, 2_048, generator=torch.Generator().manual_seed(2))
    network = PaperNetwork(PaperConfig(pixels=2_048)).eval()
    with torch.no_grad():
        _, logvar = network.encode(x)
    assert float((logvar / 2).exp().mean()) == pytest.approx(math.exp(-2), rel=0.2)


def test_same_seed_same_weights():
    a, b, c = (PaperNetwork(PaperConfig(pixels=64), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["fc2.weight"], c["fc2.weight"])


@pytest.mark.parametrize("wrong", [{"start": "zeros"}, {"pixels": 8}, {"n_latent": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        PaperConfig(**wrong)
