"""The trained model for one spectrum at a time, as fast as a slider moves: on one core, with a cache.

Shapes: n nodes, p pixels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...schema import CodesFacts
from .cache import Cache

if TYPE_CHECKING:
    from ...model.data import Tensors
    from ...model.trained import TrainedModel

RECENT = 12  # decoded spectra kept, for zooms: at 327,680 pixels 4 MB each


class DecodedSpectrum(NamedTuple):
    """A spectrum over its median (p,); its star and its air, where the network has them, make it up."""

    flux: NDArray[np.float32]
    star: NDArray[np.float32] | None
    air: NDArray[np.float32] | None
    velocity: float | None  # km/s of the star, from the network's own zero
    seconds: float


@contextmanager
def _one_core() -> Iterator[None]:
    """One spectrum is little work, and a second thread would mostly wait for the first.

    At 327,680 pixels decoding takes 25 ms of processor on one thread, 144 on two of a busy machine.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Decoder:
    """A trained model; threads may share it.

    codes  how the study's codes were made, which is how `encode` makes them; None: as `astroprism encode`
           makes them by default
    """

    def __init__(self, model: TrainedModel, *, codes: CodesFacts | None = None) -> None:
        self.model = model
        self._codes = codes
        self._recent = Cache(size=RECENT)
        self._turn = threading.Lock()  # two at the same time would each take twice as long

    @property
    def nodes(self) -> int:
        """Nodes of the network."""
        return self.model.nodes

    @property
    def moving_air(self) -> bool:
        """Whether the network reads the barycentric correction."""
        return self.model.moving_air

    def decode(self, z: NDArray[np.floating], *, berv: float = 0.0) -> DecodedSpectrum:
        """z (n,), and the atmosphere's velocity in km/s, which only a network with moving air reads."""
        code = np.ascontiguousarray(z, dtype=np.float32)
        if not (np.isfinite(code).all() and np.isfinite(berv)):
            raise ConfigError("a code or velocity to decode is not finite; give finite numbers")
        speed = round(float(berv), 4) if self.moving_air else 0.0
        return self._recent((code.tobytes(), speed), lambda: self._decode(code, speed))  # type: ignore[no-any-return]

    def _decode(self, code: NDArray[np.float32], speed: float) -> DecodedSpectrum:
        import torch

        with self._turn, torch.inference_mode(), _one_core():
            begun = time.perf_counter()
            decoded = self.model.decode(torch.from_numpy(code)[None], berv=torch.tensor([speed]))
            flux, star, air = (
                None if one is None else one[0].numpy() for one in (decoded.flux, decoded.star, decoded.air)
            )
            assert flux is not None
            velocity = None if decoded.velocity is None else float(decoded.velocity[0])
            return DecodedSpectrum(flux, star, air, velocity, time.perf_counter() - begun)

    def encode(
        self,
        flux: NDArray[np.float32],
        sigma: NDArray[np.float32],
        good: NDArray[np.bool_],
        *,
        berv: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and sd (n,) of one spectrum (p,), as `astroprism encode` made the codes of the study.

        With the second look at other velocities and the best fit under the decoder where those codes have
        them: without that look, a velocity that took one line of a doublet for the other would stay.
        """
        relocked, polished = True, True
        if self._codes is not None:
            relocked, polished = self._codes.relocked, self._codes.polished
        batch = _batch_of(flux, sigma, good, berv=berv)
        with self._turn, _one_core():
            codes = self.model.encode(self.model.to_device(batch), relock=relocked, polished=polished)
            return codes.mean[0].float().numpy(), codes.sd[0].float().numpy()

    def judged(
        self,
        flux: NDArray[np.float32],
        sigma: NDArray[np.float32],
        good: NDArray[np.bool_],
        *,
        berv: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Flux and errors (p,) as the network judges them: over the smooth response, errors as learned."""
        flux, sigma = np.where(good, flux, np.float32(0)), np.where(good, sigma, np.float32(1))
        with self._turn, _one_core():
            batch = self.model.to_device(_batch_of(flux, sigma, good, berv=berv))
            return batch.flux[0].cpu().numpy(), batch.sigma[0].cpu().numpy()


def _batch_of(
    flux: NDArray[np.float32], sigma: NDArray[np.float32], good: NDArray[np.bool_], *, berv: float
) -> Tensors:
    """One spectrum (p,) as a batch."""
    import torch

    from ...model.data import Tensors

    return Tensors(
        torch.from_numpy(flux)[None],
        torch.from_numpy(sigma)[None],
        None if good.all() else torch.from_numpy(good)[None],
        torch.tensor([berv], dtype=torch.float32),
    )
