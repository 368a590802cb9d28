"""What each node of a trained network does to held-out spectra: the evidence behind findings.

Shapes: s spectra, p pixels, n nodes. Torch is loaded by the first measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..measures.count import ablation_bound
from ..measures.evidence import Floats
from ..measures.features import resolution_element, structure
from ..measures.lines import rest_profile, star_velocities
from ..model.data import Source, Tensors
from ..progress import Listener, message, silent

if TYPE_CHECKING:
    import torch

    from ..model.trained import TrainedModel

MADE = 16  # decoded spectra that are kept: their narrowest lines give the resolution
NULL_SAMPLE = 300  # spectra that the null is taken of: only its means are used
SPREAD = 0.2  # variance of a node's codes over that of their noise: .09 nats of a Gaussian's
ALIVE = 1 / 3  # share of the ablation bound from which a node's derivative is computed


@dataclass(frozen=True)
class Profiles:
    """node -> (p,) size of the change of the flux per unit of the code, at rest with star or observer.

    star_lines, sky_lines  the same of what a smooth factor on the flux does not make: lines and bands
    """

    star: dict[int, Floats]
    sky: dict[int, Floats]
    star_lines: dict[int, Floats] = field(default_factory=dict)
    sky_lines: dict[int, Floats] = field(default_factory=dict)

    def lines(self, node: int) -> tuple[Floats, Floats]:
        """The structure of a node's change, at rest with star and sky; all of the change if not apart."""
        return self.star_lines.get(node, self.star[node]), self.sky_lines.get(node, self.sky[node])


@dataclass(frozen=True)
class Effects:
    """What nodes do.

    rows       (s,) of the source
    rise       (s, n) nats by which the misfit rises with the node at its mean, evened (`loss.evened`)
    null       (up to 300, n) the same where the node's code was another spectrum's
    bound      nats, see `count.ablation_bound`
    overlap    (n, n) share of what two nodes do that is the same; 0 for nodes that do next to nothing. On the
               axes of the training, which share as little as can be: causes of their own may be alike in the
               spectra, as temperature and [Fe/H] are
    star, sky  see Profiles
    velocity   (few,) km/s of the stars that derivatives were taken of
    made       (up to 16, p) decoded spectra of these
    """

    rows: NDArray[np.intp]
    rise: Floats
    null: Floats
    bound: float
    overlap: Floats
    star: dict[int, Floats]
    sky: dict[int, Floats]
    velocity: Floats
    made: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    star_lines: dict[int, Floats] = field(default_factory=dict)
    sky_lines: dict[int, Floats] = field(default_factory=dict)

    @property
    def profiles(self) -> Profiles:
        """What nodes do, by wavelength."""
        return Profiles(self.star, self.sky, self.star_lines, self.sky_lines)

    def candidates(self, mean: Floats, sd: Floats) -> list[int]:
        """Nodes that could be informative or doubtful: by what they explain, or by their codes (rows, n)."""
        spread = mean.var(0) / np.maximum((sd**2).mean(0), 1e-30)
        return [int(i) for i in np.flatnonzero((self.rise.mean(0) > ALIVE * self.bound) | (spread > SPREAD))]


def measure(
    model: TrainedModel,
    source: Source,
    rows: NDArray[np.intp],
    *,
    mean: Floats,
    wavelength: Floats,
    out_of_fold: Floats | None = None,
    seed: int = 0,
    progress: Listener = silent,
) -> Effects:
    """Ablate, permute and differentiate, on a fair sample of `rows` that fits into memory.

    source      as `model.source` gives it
    rows         one spectrum per unit, held out of training, or whose codes out of fold are given
    mean         (rows, n) their codes
    wavelength   (p,) vacuum angstrom
    out_of_fold  (rows, n) codes by networks that were not trained on them: each node is then switched off
                 from that code, beside the network's own of all others
    """
    import torch

    from ..model.nodes import (
        ablation,
        counts_for,
        derivatives,
        misfit,
        moving_nodes,
        overlaps,
        sizing,
        substitution,
    )
    from ..network import Prism

    network, floor = model.network, model.floor
    size = sizing(source.pixels, len(rows))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))[: size.sample]
    batch = model.to_device(source.tensors(rows[order]))
    z = torch.from_numpy(np.ascontiguousarray(mean[order], dtype=np.float32)).to(model.device)
    n = z.shape[1]
    whose = "held-out" if out_of_fold is None else "cross-fitted"
    progress(message(f"switching each of {n} nodes off on {len(order):,} {whose} spectra"))
    rise = ablation(network, z, batch, floor=floor).double().cpu().numpy()
    if out_of_fold is not None:
        honest = torch.from_numpy(np.ascontiguousarray(out_of_fold[order], dtype=np.float32))
        lost = substitution(network, z, batch, honest.to(model.device), floor=floor)
        rise -= lost.double().cpu().numpy()
    share = counts_for(batch, floor=floor).double().cpu().numpy()[:, None]  # no bright star rules a mean
    rise *= share

    # the null: from another spectrum's code to the mean code, what a node without information saves
    codes, few, middle = z[:NULL_SAMPLE], batch.at(slice(NULL_SAMPLE)), z.mean(0)
    null = np.zeros(tuple(codes.shape))
    with torch.no_grad():
        for node in range(n):
            other, fixed = codes.clone(), codes.clone()
            other[:, node] = codes[torch.from_numpy(rng.permutation(len(codes))).to(z.device), node]
            fixed[:, node] = middle[node]
            saved = misfit(network, fixed, few, floor=floor) - misfit(network, other, few, floor=floor)
            null[:, node] = saved.double().cpu().numpy() * share[:NULL_SAMPLE, 0]

    good = None if batch.good is None else batch.good.cpu().numpy()
    bound = ablation_bound(batch.sigma.cpu().numpy(), floor=floor, good=good)
    alive = [i for i in range(n) if rise[:, i].mean() > ALIVE * bound]
    overlap = np.eye(n)
    at_rest = Profiles({}, {})
    velocity, made = np.zeros(0), np.zeros((0, source.pixels))
    if alive:
        z, few = z[: size.few], batch.at(slice(size.few))
        slopes = derivatives(network, z, few, nodes=alive)
        apart = slopes
        if isinstance(network, Prism) and network.turn is not None:
            apart = derivatives(network, z, few, directions=network.trained_axes()[alive])
        overlap[np.ix_(alive, alive)] = overlaps(apart, moving=moving_nodes(network, alive)).cpu().numpy()
        with torch.no_grad():
            made = np.asarray(network.decode(z, berv=few.berv).double().cpu().numpy())
        velocity = star_velocities(wavelength, made)
        at_rest = _profiles(alive, slopes, few, made=made, wavelength=wavelength, velocity=velocity)
    return Effects(
        rows[order], rise, null, bound, overlap, velocity=velocity, made=made[:MADE], **vars(at_rest)
    )


def along(
    model: TrainedModel,
    source: Source,
    effects: Effects,
    directions: Mapping[int, Floats],
    *,
    mean: Floats,
    wavelength: Floats,
) -> Profiles:
    """What spectra do when all codes move in a direction (n,), as `measure` has it of each node alone.

    effects  of the same model and source, rows as `measure` gave them
    mean     (few or more, n) codes of these rows
    """
    import torch

    from ..model.nodes import derivatives

    if not directions:
        return Profiles({}, {})
    few = len(effects.velocity)
    batch = model.to_device(source.tensors(effects.rows[:few]))
    z = torch.from_numpy(np.ascontiguousarray(mean[:few], dtype=np.float32)).to(model.device)
    moved = torch.from_numpy(np.array(list(directions.values()), dtype=np.float32)).to(model.device)
    slopes = derivatives(model.network, z, batch, directions=moved)
    with torch.no_grad():
        made = np.asarray(model.network.decode(z, berv=batch.berv).double().cpu().numpy())
    return _profiles(
        list(directions), slopes, batch, made=made, wavelength=wavelength, velocity=effects.velocity
    )


def _profiles(
    nodes: Sequence[int],
    slopes: torch.Tensor,
    batch: Tensors,
    *,
    made: Floats,
    wavelength: Floats,
    velocity: Floats,
) -> Profiles:
    """slopes: (b, nodes, p), in sigma; made: (b, p) the spectra that they are of."""
    moved = (slopes * batch.sigma[:, None]).double().cpu().numpy()
    air = np.zeros(len(moved)) if batch.berv is None else batch.berv.double().cpu().numpy()
    element, _ = resolution_element(wavelength, made[:MADE])
    found: list[dict[int, Floats]] = [{}, {}, {}, {}]
    for place, node in enumerate(nodes):
        whole = moved[:, place]
        lines = structure(wavelength, whole, made, element=element)
        for part, (change, speed) in enumerate((c, v) for c in (whole, lines) for v in (velocity, air)):
            found[part][node] = rest_profile(change, wavelength, velocity=speed)
    return Profiles(*found)
