"""A network with its trained weights: all that encodes spectra or decodes codes goes through here.

    model = TrainedModel.read(folder)            # or study_folder.model(), or TrainedModel.released(file)
    source = model.source(Source.from_store(store))
    mean, sd = model.encode(model.to_device(source.tensors(rows)))
    flux, star, air, velocity = model.decode(mean, berv=berv)

An encoder guesses in one look. `encode` then looks again at spectra that fit better at another velocity
(velocity.relocked), and polishes the means: a few Gauss-Newton steps under the decoder, towards the code that
the data and the prior make most likely.
Shapes: b spectra, p pixels, n nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..device import BATCH_PIXELS, device_for
from ..network import PaperNetwork, Prism, load_released
from ..network.doppler import pixels_of, shift
from ..network.prism import cut, seen_air
from ..schema import ModelFacts
from .checkpoint import read_model
from .data import Source, Tensors
from .nodes import polish
from .noise import learned
from .response import response_of
from .velocity import polish_afresh, relocked


class Codes(NamedTuple):
    """Means and standard deviations of the codes of b spectra, (b, n) each."""

    mean: Tensor
    sd: Tensor


class Decoded(NamedTuple):
    """What codes make: spectra (b, p) over their median; None where the network does not separate the parts.

    star      at the star's velocity
    air       the atmosphere's transmission, at its own
    velocity  (b,) km/s of the star, from the network's own zero
    """

    flux: Tensor
    star: Tensor | None
    air: Tensor | None
    velocity: Tensor | None


class TrainedModel:
    """A network ready to encode and decode, on a device; threads may share one.

    network  in evaluation mode, without gradients
    facts    model.json; None for the seed paper's released weights
    kept     nodes that the decoder reads
    floor    error floor in relative flux under which it was trained: what the network need not explain
    one_star whether one star trained it: a series
    """

    def __init__(
        self,
        network: Prism | PaperNetwork,
        *,
        facts: ModelFacts | None = None,
        device: str = "cpu",
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.facts = facts
        self.nodes = int(network.config.n_latent)
        self.kept = list(range(self.nodes)) if facts is None else list(facts.kept)
        self.floor = 0.0 if facts is None else facts.floor
        self.one_star = facts is not None and facts.trained_on.targets == 1
        self.to(torch.device(device))

    @classmethod
    def read(cls, folder: Path, *, unpruned: bool = False, device: str = "cpu") -> Self:
        """From a model folder; `unpruned` with every node on, which is what the counts read."""
        network, facts = read_model(folder, unpruned=unpruned)
        return cls(network, facts=facts, device=device_for(device))

    @classmethod
    def released(cls, weights: Path, *, device: str = "cpu") -> Self:
        """The seed paper's network with its authors' weights, from their file."""
        return cls(load_released(weights), device=device_for(device))

    def to(self, device: torch.device) -> None:
        """Move the network to a device."""
        self.device = device
        self.network.to(device)
        self.response = response_of(self.network)

    @property
    def physical(self) -> bool:
        """Whether the decoder has a star, an atmosphere and a velocity."""
        return isinstance(self.network, Prism) and not self.network.config.agnostic

    @property
    def moves_star(self) -> bool:
        """Whether node 0 is on, and the star's velocity."""
        network = self.network
        return isinstance(network, Prism) and self.physical and float(network.keep[0]) > 0

    @property
    def moving_air(self) -> bool:
        """Whether the network reads the barycentric correction of each spectrum."""
        return bool(getattr(self.network.config, "moving_air", False))

    @property
    def free_air(self) -> bool:
        """Whether a node of the network is the atmosphere's velocity."""
        return bool(getattr(self.network.config, "free_air", False))

    @property
    def batch_pixels(self) -> int:
        """Pixels that go through the network at once on this device."""
        return BATCH_PIXELS[self.device.type]

    def source(self, source: Source) -> Source:
        """The source with the BERV that the network reads: zeros where it wants one and none is known."""
        return source.with_air(moving=self.moving_air)

    def to_device(self, batch: Tensors, *, stated: bool = False) -> Tensors:
        """The batch where the network is, as it reads and judges it.

        With the BERV that it wants, over its smooth response, and with the learned errors; `stated` leaves
        the errors as they came.
        """
        batch = batch.with_air(moving=self.moving_air).to(self.device)
        if self.response is not None:
            batch = self.response.divided(batch)
        if stated or not isinstance(self.network, Prism):
            return batch
        return learned(self.network, batch)

    # --- spectra to codes

    @torch.no_grad()
    def first_look(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (b, n) as the encoder gives them."""
        return self.network.encode(batch.flux, good=batch.good, berv=batch.berv)

    @torch.no_grad()
    def encode(
        self,
        batch: Tensors,
        *,
        relock: bool = True,
        polished: Sequence[int] | bool = True,
        first: tuple[Tensor, Tensor] | None = None,
    ) -> Codes:
        """Codes of a batch that lies on the network's device; by default as codes.parquet has them.

        relock    look again at spectra that fit better at another velocity
        polished  nodes whose means are moved to the best fit under the decoder; True: the kept ones
        first     what `first_look` gave, where it is known

        The paper's network is left as its encoder gives it: it has no shift, and 128 nodes at 327,680 pixels
        would take 256 decodings per step and spectrum. The sd are the encoder's, polished or not.
        """
        mean, logvar = self.first_look(batch) if first is None else first
        if isinstance(self.network, Prism):
            if relock:
                mean, logvar = relocked(self.network, mean, logvar, batch, floor=self.floor)
            if polished is not False:
                nodes = self.kept if polished is True else list(polished)
                improve = polish_afresh if self.one_star else polish
                mean = improve(self.network, mean, batch, nodes=nodes, floor=self.floor)
        return Codes(mean, (0.5 * logvar).exp())

    # --- codes to spectra

    @torch.no_grad()
    def decode(self, z: Tensor, *, berv: Tensor | None = None) -> Decoded:
        """Spectra of codes (b, n), and their parts where the network has them; BERV as in `to_device`."""
        if not self.moving_air:
            berv = None
        elif berv is None:
            berv = z.new_zeros(len(z))
        if not (isinstance(self.network, Prism) and self.physical):
            return Decoded(self.network.decode(z, berv=berv), None, None, None)
        config, parts = self.network.config, self.network.parts(z)
        star = cut(shift(parts.star, parts.shift), config=config)
        place = None if berv is None else pixels_of(berv, config.step)
        air = seen_air(parts, air=place, config=config)
        return Decoded(star * air, star, air, self.network.velocity(z))

    def decode_array(
        self, mean: NDArray[np.floating], *, berv: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Spectra (b, p) of codes (b, n), and the atmosphere in them where there is one; numpy arrays."""

        def tensor(x: NDArray[np.floating]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device)

        made = self.decode(tensor(mean), berv=None if berv is None else tensor(berv))
        air = None if made.air is None else made.air.float().cpu().numpy()
        return made.flux.float().cpu().numpy(), air
