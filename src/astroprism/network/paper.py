"""The seed paper's network ("ae1d"): Sedaghat et al. 2021, MNRAS 501, 6026, released with its weights.

At 327,680 pixels it is the released network, names and all: 7,046,997 parameters. Other lengths keep the
pattern with fewer halvings.
"""

from __future__ import annotations

import pickle
import zipfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_choice
from ..errors import AstroprismError, ConfigError

# The release's channels and kernels, first convolution to last; all but the last have stride 2.
CHANNELS = (16, 16, 16, 32, 32, 32, 64, 64, 64, 128, 128, 128, 256, 512, 512)
KERNELS = (7, 5, 5, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3)
PIXELS = 327_680  # 3785..6910 angstrom at 0.01, padded with zeros at both ends
LEAK = 0.1  # slope of LeakyReLU below zero


@dataclass(frozen=True)
class PaperConfig:
    """Sizes of the paper's network."""

    pixels: int = PIXELS  # of a spectrum; where halving does not divide it, zeros are added at the red end
    n_latent: int = 128  # nodes, the paper's number
    # 'kaiming' keeps the spread of a signal from layer to layer. 'torch', the release's own, shrinks it in
    # each of thirty: codes that differ by 2e-5 from spectrum to spectrum and an output of 1e-9, from which
    # short trainings did not recover.
    start: str = "kaiming"

    def __post_init__(self) -> None:
        check_choice("start", self.start, ("kaiming", "torch"))
        if self.pixels < 32:
            raise ConfigError(
                f"{self.pixels} pixels are too few for the paper's network; it takes 32 or more"
            )
        if self.n_latent < 1:
            raise ConfigError(f"n_latent {self.n_latent} must be at least 1")

    @property
    def halvings(self) -> int:
        """Convolutions of stride 2: fourteen, or as many as leave 16 pixels (20 at the paper's length)."""
        n = 14
        while n > 1 and -(-self.pixels // 2**n) < 16:
            n -= 1
        return n


class PaperNetwork(nn.Module):
    """Flux / median (batch, pixels), 0 where masked -> mean, log-variance (batch, n_latent), and back."""

    def __init__(self, config: PaperConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        n = config.halvings
        self.stages = n + 1
        self.padded = -(-config.pixels // 2**n) * 2**n  # pixels
        # The first n stages, and one more as wide as the last of them: all fifteen at the paper's length.
        channels = (1, *CHANNELS[:n], CHANNELS[n] if n == 14 else CHANNELS[n - 1])
        kernels = (*KERNELS[:n], 3)
        self.deepest = (channels[-1], self.padded // 2**n)  # channels, pixels: (512, 20)
        flat = self.deepest[0] * self.deepest[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for i in range(1, self.stages + 1):
                k, stride = kernels[i - 1], 1 if i == self.stages else 2
                layer = nn.Conv1d(channels[i - 1], channels[i], k, stride, k // 2)
                self.add_module(f"conv{i}", nn.Sequential(layer, nn.LeakyReLU(LEAK)))
            self.fc11 = nn.Linear(flat, config.n_latent)  # mean
            self.fc12 = nn.Linear(flat, config.n_latent)  # log-variance
            self.fc2 = nn.Linear(config.n_latent, flat)
            for i in range(self.stages, 0, -1):
                k, stride = (3, 1) if i == self.stages else (4, 2)
                back = nn.ConvTranspose1d(channels[i], channels[i - 1], k, stride, 1)
                self.add_module(f"deconv{i}", nn.Sequential(back, nn.LeakyReLU(LEAK)))
            self.predict0 = nn.Conv1d(1, 1, 3, 1, 1)
            if config.start == "kaiming":
                self._start()

    def _start(self) -> None:
        """He et al. 2015 (arXiv:1502.01852) in every layer, and an output that begins as the last layer's."""
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose1d):
                # A pixel that a transposed convolution of stride s writes sums size / s taps, not size.
                fan = module.in_channels * module.kernel_size[0] / module.stride[0]
                nn.init.normal_(module.weight, 0, (2 / ((1 + LEAK**2) * fan)) ** 0.5)
            elif isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, LEAK)
            else:
                continue
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.fc12.weight.mul_(0.1)  # much the same variance for every spectrum,
            self.fc12.bias.fill_(-4.0)  # of .135 squared: the decoder reads codes, not noise
            self.predict0.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))

    @torch.no_grad()
    def calibrate(self, mean: float, spread: float) -> None:
        """Standardise by weights alone: conv1 then reads (flux - mean) / spread, predict0 writes it back.

        For a network that is not trained yet. No name is added, so such weights load anywhere. Where zeros
        stand in for flux (masked pixels, and the padding at both ends) it reads -mean / spread, not the mean.
        """
        first, last = self.get_submodule("conv1.0"), self.predict0
        weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
        weight.div_(spread)
        bias.sub_(mean * weight.sum((1, 2)))
        last.weight.mul_(spread)
        last.get_parameter("bias").mul_(spread).add_(mean)

    def encode(
        self, x: Tensor, *, good: Tensor | None = None, berv: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """x (batch, pixels) -> mean, log-variance, each (batch, n_latent).

        Pixels that are not good are read as 0, as in the release. It reads no barycentric velocity.
        """
        x = x if good is None else x.masked_fill(~good, 0)
        x = nn.functional.pad(x, (0, self.padded - x.shape[1]))[:, None]  # (batch, 1, padded)
        for i in range(1, self.stages + 1):
            x = self.get_submodule(f"conv{i}")(x)
        x = x.flatten(1)  # (batch, 512 * 20)
        return self.fc11(x), self.fc12(x)

    def decode(self, z: Tensor, *, berv: Tensor | None = None) -> Tensor:
        """z (batch, n_latent) -> spectra (batch, pixels)."""
        x = self.fc2(z).view(len(z), *self.deepest)
        for i in range(self.stages, 0, -1):
            x = self.get_submodule(f"deconv{i}")(x)
        out: Tensor = self.predict0(x)[:, 0, : self.config.pixels]
        return out

    def forward(
        self, x: Tensor, *, noise: Tensor | None = None, good: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (batch, pixels), mean, log-variance; at mean + sd * noise where noise is given."""
        mean, logvar = self.encode(x, good=good)
        z = mean if noise is None else mean + (0.5 * logvar).exp() * noise
        return self.decode(z), mean, logvar


def level(flux: Tensor, *, good: Tensor | None = None) -> tuple[float, float]:
    """Mean and spread of all good pixels of flux (batch, pixels): what `PaperNetwork.calibrate` takes."""
    values = flux if good is None else flux[good]
    return float(values.mean()), max(float(values.std()), 1e-6)


def load_released(path: str | Path) -> PaperNetwork:
    """The network with the authors' weights, from their file (a dict with 'state_dict'); ready to encode.

    Nothing in the file is executed: it is read with weights_only=True, which allows tensors and plain values.
    """
    try:
        with _numpy_scalars():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise AstroprismError(
            f"{path}: cannot be read ({error}); give the path of the released weights"
        ) from error
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        first = (str(error).splitlines() or [""])[0]
        # torch would advise to load it with code and all
        said = type(error).__name__ + ("" if "weights_only" in str(error) else f": {first}")
        raise AstroprismError(
            f"{path}: not a file of weights that can be read without running code from it "
            f"({said}); expected the released *.pth.tar"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        found = (
            ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else type(content).__name__
        )
        raise AstroprismError(
            f"{path}: expected a dict with the key 'state_dict', as the release has it, "
            f"found {found or 'nothing'}"
        )
    state: dict[str, Any] = content["state_dict"]
    with torch.device("meta"):  # shapes only: no 28 MB of starting weights to throw away
        network = PaperNetwork(PaperConfig(start="torch"))
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found_shapes = {str(name): tuple(getattr(value, "shape", ())) for name, value in state.items()}
    problems = _differences(expected, found_shapes)
    if problems:
        raise AstroprismError(
            f"{path}: not the weights of the paper's network ({len(expected)} tensors, conv1 to predict0): "
            f"{problems}; `load_released` reads the authors' released file only"
        )
    network.load_state_dict({name: state[name].float() for name in expected}, assign=True)
    return network.eval()


def _differences(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """Missing, surplus and misshapen names, three of each at most; empty where all agree."""

    def listed(title: str, items: list[str]) -> list[str]:
        more = f" and {len(items) - 3} more" if len(items) > 3 else ""
        return [f"{title} {', '.join(items[:3])}{more}"] if items else []

    wrong = [
        f"{name} {found[name]} where {shape} is expected"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    return "; ".join(
        listed("missing", [name for name in expected if name not in found])
        + listed("found but not expected", [name for name in found if name not in expected])
        + listed("shape:", wrong)
    )


def _numpy_scalars() -> AbstractContextManager[Any]:
    """Lets a numpy number pass, say a best loss: older checkpoints often hold one, and it is plain data."""
    import _codecs

    import numpy as np

    reconstruct: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8")]
    names = ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"]
    return torch.serialization.safe_globals(
        [*[(reconstruct, name) for name in names], np.dtype, *kinds, (_codecs.encode, "_codecs.encode")]
    )
