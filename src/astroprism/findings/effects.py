"""What each node of a trained network does to spectra it never trained on: the evidence behind findings.

Shapes: s spectra, p pixels, n nodes. Torch is loaded by the first measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..measures.count import ablation_bound
from ..measures.evidence import Floats
from ..measures.lines import rest_profile, star_velocity
from ..model.data import Source, Tensors
from ..progress import Listener, message, silent

if TYPE_CHECKING:
    import torch

    from ..model.nodes import Network

SURE = 4.0  # significance of a star's velocity below which it is taken to stand still
NULL_SAMPLE = 300  # spectra that the null is taken of: only its means are read
SPREAD = 0.2  # variance of a node's codes over that of their noise: .09 nats of a Gaussian's
ALIVE = 1 / 3  # share of the ablation bound from which a node's derivative is looked at


class Profiles(NamedTuple):
    """node -> (p,) size of a unit's change of the normalised flux, at rest with star or observer."""

    star: dict[int, Floats]
    sky: dict[int, Floats]


@dataclass(frozen=True)
class Effects:
    """What nodes do.

    rows       (s,) of the source
    rise       (s, n) nats by which the misfit rises with the node at its mean
    null       (up to 300, n) the same where the node's code was another spectrum's
    bound      nats, see `counting.ablation_bound`
    overlap    (n, n) share of what two nodes do that is the same; 0 for nodes that do next to nothing
    star, sky  see Profiles
    velocity   (few,) km/s of the stars that derivatives were taken of
    """

    rows: NDArray[np.intp]
    rise: Floats
    null: Floats
    bound: float
    overlap: Floats
    star: dict[int, Floats]
    sky: dict[int, Floats]
    velocity: Floats

    def worth_asking(self, mean: Floats, sd: Floats) -> list[int]:
        """Nodes that could be informative or doubtful: by what they explain, or by their codes (rows, n)."""
        spread = mean.var(0) / np.maximum((sd**2).mean(0), 1e-30)
        return [int(i) for i in np.flatnonzero((self.rise.mean(0) > ALIVE * self.bound) | (spread > SPREAD))]


def measure(
    network: Network,
    source: Source,
    rows: NDArray[np.intp],
    *,
    mean: Floats,
    floor: float,
    wavelength: Floats,
    device: str = "cpu",
    seed: int = 0,
    progress: Listener = silent,
) -> Effects:
    """Ablate, permute and differentiate, on a fair sample of `rows` that fits into memory.

    rows        one spectrum a target, never trained on
    mean        (rows, n) their codes
    wavelength  (p,) vacuum angstrom
    """
    import torch

    from ..model.nodes import ablation, derivatives, doppler_node, overlaps, sizing

    size = sizing(source.pixels, len(rows))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))[: size.sample]
    batch = _tensors(source, rows[order], device)
    z = torch.from_numpy(np.ascontiguousarray(mean[order], dtype=np.float32)).to(device)
    progress(message(f"switching each of {z.shape[1]} nodes off on {len(order):,} held-out spectra"))
    rise = ablation(network, z, batch, floor=floor).double().cpu().numpy()
    some = slice(NULL_SAMPLE)
    null = _null_rise(network, z[some], batch.at(some), mean=z.mean(0), floor=floor, rng=rng)
    good = None if batch.good is None else batch.good.cpu().numpy()
    bound = ablation_bound(batch.sigma.cpu().numpy(), floor=floor, good=good)

    n = z.shape[1]
    alive = [i for i in range(n) if rise[:, i].mean() > ALIVE * bound]
    overlap = np.eye(n)
    at_rest = Profiles({}, {})
    velocity = np.zeros(0)
    if alive:
        few = batch.at(slice(size.few))
        slopes = derivatives(network, z[: size.few], few, nodes=alive)
        overlap[np.ix_(alive, alive)] = overlaps(slopes, doppler=doppler_node(network, alive)).cpu().numpy()
        velocity = _velocities(network, z[: size.few], few, wavelength)
        at_rest = _profiles(alive, slopes, few, wavelength=wavelength, velocity=velocity)
    return Effects(rows[order], rise, null, bound, overlap, at_rest.star, at_rest.sky, velocity)


def along(
    network: Network,
    source: Source,
    effects: Effects,
    directions: Mapping[int, Floats],
    *,
    mean: Floats,
    wavelength: Floats,
    device: str = "cpu",
) -> Profiles:
    """What spectra do when all codes move in a direction (n,), as `measure` has it of each node alone.

    effects  of the same network and source, rows as `measure` gave them
    mean     (few or more, n) codes of these rows
    """
    import torch

    from ..model.nodes import derivatives

    if not directions:
        return Profiles({}, {})
    few = len(effects.velocity)
    batch = _tensors(source, effects.rows[:few], device)
    z = torch.from_numpy(np.ascontiguousarray(mean[:few], dtype=np.float32)).to(device)
    asked = torch.from_numpy(np.array(list(directions.values()), dtype=np.float32)).to(device)
    slopes = derivatives(network, z, batch, directions=asked)
    return _profiles(list(directions), slopes, batch, wavelength=wavelength, velocity=effects.velocity)


def _profiles(
    nodes: Sequence[int], slopes: torch.Tensor, batch: Tensors, *, wavelength: Floats, velocity: Floats
) -> Profiles:
    """slopes: (b, nodes, p), in sigma."""
    moved = (slopes * batch.sigma[:, None]).double().cpu().numpy()
    air = np.zeros(len(moved)) if batch.berv is None else batch.berv.double().cpu().numpy()
    star, sky = (
        {node: rest_profile(moved[:, place], wavelength, velocity=speed) for place, node in enumerate(nodes)}
        for speed in (velocity, air)
    )
    return Profiles(star, sky)


def _tensors(source: Source, rows: NDArray[np.intp], device: str) -> Tensors:
    import torch

    got = source.read(rows)
    good = None if source.complete else torch.from_numpy(got.good).to(device)
    berv = None if source.berv is None else torch.from_numpy(source.berv[rows]).to(device)
    return Tensors(torch.from_numpy(got.flux).to(device), torch.from_numpy(got.sigma).to(device), good, berv)


def _null_rise(
    network: Network,
    z: torch.Tensor,
    batch: Tensors,
    *,
    mean: torch.Tensor,
    floor: float,
    rng: np.random.Generator,
) -> Floats:
    """Rise from another spectrum's code to the mean code (n,): what a node saves that knows nothing."""
    import torch

    from ..model.nodes import misfit

    null = np.zeros(tuple(z.shape))
    with torch.no_grad():
        for node in range(z.shape[1]):
            other, fixed = z.clone(), z.clone()
            other[:, node] = z[torch.from_numpy(rng.permutation(len(z))).to(z.device), node]
            fixed[:, node] = mean[node]
            saved = misfit(network, fixed, batch, floor=floor) - misfit(network, other, batch, floor=floor)
            null[:, node] = saved.double().cpu().numpy()
    return null


def _velocities(network: Network, z: torch.Tensor, batch: Tensors, wavelength: Floats) -> Floats:
    """km/s of the star in each reconstruction; 0 where its lines do not tell."""
    import torch

    with torch.no_grad():
        made: Any = network.decode(z, berv=batch.berv).double().cpu().numpy()
    told = [star_velocity(wavelength, row) for row in made]
    return np.array([speed if sure >= SURE else 0.0 for speed, sure in told])
