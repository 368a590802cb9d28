"""Codes to spectra, one at a time, as fast as a slider moves: the decoder in inference mode, with a cache.

Shapes: n nodes, p pixels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from .cache import Once

if TYPE_CHECKING:
    from ...network import PaperNetwork, Prism

RECENT = 12  # decoded spectra kept, for zooms: at 327,680 pixels 4 MB each


@dataclass(frozen=True)
class Decoded:
    """A spectrum over its median (p,); its star and its air, where the network has them, make it up."""

    flux: NDArray[np.float32]
    star: NDArray[np.float32] | None
    air: NDArray[np.float32] | None
    velocity: float | None  # km/s of the star, from the network's own zero
    seconds: float


@contextmanager
def _one_thread() -> Iterator[None]:
    """Decode on one core: one spectrum is little work, and a second thread would mostly wait for the first.

    At 327,680 pixels 25 ms of processor on one thread, 144 on two of a busy machine.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Decoder:
    """The trained network as the explorer uses it; threads may share it."""

    def __init__(self, network: Prism | PaperNetwork, about: Mapping[str, Any]) -> None:
        config = network.config
        self.network, self.about = network.eval().requires_grad_(False), dict(about)
        self.kind = str(about["network"]["kind"])
        self.nodes = int(config.n_latent)
        self.agnostic = bool(getattr(config, "agnostic", False))
        self.moving_air = bool(getattr(config, "moving_air", False))
        self.has_parts = self.kind == "prism" and not self.agnostic
        recipe = about.get("recipe", {})
        self.floor = float(recipe["floor"][-1][1]) if recipe.get("floor") else 0.0
        self._recent = Once(most=RECENT)
        self._turn = threading.Lock()  # two at once would each take twice as long

    def decode(self, z: NDArray[np.floating], *, berv: float = 0.0) -> Decoded:
        """z (n,), and the atmosphere's velocity in km/s, which only a network with moving air reads."""
        code = np.ascontiguousarray(z, dtype=np.float32)
        if not (np.isfinite(code).all() and np.isfinite(berv)):
            raise ConfigError("a code or velocity to decode is not finite; give finite numbers")
        speed = round(float(berv), 4) if self.moving_air else 0.0
        return self._recent((code.tobytes(), speed), lambda: self._decode(code, speed))  # type: ignore[no-any-return]

    def _decode(self, code: NDArray[np.float32], speed: float) -> Decoded:
        import torch

        with self._turn, torch.inference_mode(), _one_thread():
            begun = time.perf_counter()
            codes = torch.from_numpy(code)[None]
            berv = torch.tensor([speed], dtype=torch.float32) if self.moving_air else None
            if not self.has_parts:
                flux = self.network.decode(codes) if berv is None else self.network.decode(codes, berv=berv)
                return Decoded(flux[0].numpy(), None, None, None, time.perf_counter() - begun)
            star, air, velocity = self._parts(codes, berv)
            made = (star * air).numpy()
            return Decoded(made, star.numpy(), air.numpy(), velocity, time.perf_counter() - begun)

    def _parts(self, codes: Any, berv: Any) -> tuple[Any, Any, float]:
        """Star and air as they lie on the spectrum's pixels (p,), and the star's velocity."""
        from ...network.doppler import pixels_of, shift, velocity_of
        from ...network.prism import cut

        config: Any = self.network.config
        network: Any = self.network
        parts = network.parts(codes)
        star = cut(shift(parts.star, parts.shift), config=config)[0]
        air = parts.atmosphere
        if berv is not None:
            air = cut(shift(air, pixels_of(berv, config.step)), config=config)
        return star, air[0], float(velocity_of(parts.shift, config.step)[0])

    def encode(
        self,
        flux: NDArray[np.float32],
        sigma: NDArray[np.float32],
        good: NDArray[np.bool_],
        *,
        berv: float,
        polish: bool,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and sd (n,) of one spectrum (p,), its mean polished as `encode` does it."""
        import torch

        from ...model.data import Tensors

        with self._turn:
            speed = torch.tensor([berv], dtype=torch.float32) if self.moving_air else None
            batch = Tensors(
                torch.from_numpy(flux)[None],
                torch.from_numpy(sigma)[None],
                torch.from_numpy(good)[None],
                speed,
            )
            with torch.no_grad():
                mean, logvar = self.network.encode(batch.flux, good=batch.good, berv=batch.berv)
            kept = [int(i) for i in self.about.get("kept", [])]
            if polish and self.kind == "prism" and kept:
                from ...model.trained import polish as polished

                mean = polished(self.network, mean, batch, nodes=kept, floor=self.floor)
            return mean[0].detach().float().numpy(), (0.5 * logvar[0]).exp().detach().float().numpy()
