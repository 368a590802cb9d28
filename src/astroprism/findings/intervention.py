"""Moving a node on purpose: does the decoder's spectrum become what the physical change would have made?

Seed paper and follow-up show such moves as pictures; here they are numbers. Shapes: b spectra, p pixels, n
nodes. docs/design/responses.md has the definitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..measures.evidence import Floats

if TYPE_CHECKING:
    import torch

    from ..model.data import Tensors
    from ..model.nodes import Network
    from .changes import Changes, Seen

# what is asked for at once, small and large; of a Doppler shift at least a third and a whole pixel
AMOUNTS = {
    "doppler_per_kms": (10.0, 30.0),
    "broadening_per_kms": (5.0, 10.0),
    "oxygen_per_column": (0.2, 0.5),
    "water_per_column": (0.2, 0.5),
    "tilt_per_unit": (0.02, 0.05),
}
HELD = 2**26  # pixels of changed spectra that are kept, so that nodes share them


@dataclass(frozen=True)
class Setting:
    """A sample of spectra and all that is needed to move it.

    mean  (b, n) codes; made: (b, p) what the decoder makes of them
    """

    network: Network
    changes: Changes
    batch: Tensors
    seen: Seen
    mean: torch.Tensor
    made: torch.Tensor
    held: dict[tuple[str, float], torch.Tensor] = field(default_factory=dict)  # what `changed` gave before

    def part(self, count: int) -> Setting:
        """The first `count` spectra."""
        some = slice(count)
        seen = self.seen._replace(
            flux=self.seen.flux[some],
            berv=self.seen.berv[some],
            air=None if self.seen.air is None else self.seen.air[some],
        )
        return Setting(
            self.network, self.changes, self.batch.at(some), seen, self.mean[some], self.made[some]
        )

    def changed(self, name: str, amount: float) -> torch.Tensor:
        """What the decoder makes, changed: free of noise, (b, p)."""
        key = (name, round(amount, 6))
        if key not in self.held:
            if len(self.held) * self.made.numel() > HELD:
                self.held.clear()
            self.held[key] = self.changes(name, amount, self.seen._replace(flux=self.made))
        return self.held[key]

    def coded(self, flux: torch.Tensor) -> torch.Tensor:
        """Mean codes (b, n) of other flux at the same pixels."""
        from ..model.nodes import codes

        return codes(self.network, self.batch._replace(flux=flux))[0]

    def slope(self, name: str, at: float = 0.0) -> torch.Tensor:
        """Derivative of `changed` by the amount, in sigma, 0 where not good, (b, p)."""
        size = self.changes.sizes[name]
        low = at if name == "broadening_per_kms" else at - size
        rise = (self.changed(name, at + size) - self.changed(name, low)) / (at + size - low)
        return self.weighed(rise)

    def weighed(self, flux: torch.Tensor) -> torch.Tensor:
        """In sigma, 0 where not good."""
        told = flux / self.batch.sigma
        return told if self.batch.good is None else told.masked_fill(~self.batch.good, 0)

    def inner(self, flux: torch.Tensor, *, edge: int) -> torch.Tensor:
        """`weighed`, and 0 within `edge` pixels of the ends, where a shift brings in what was not seen."""
        told = self.weighed(flux).clone()
        if edge:
            told[:, :edge] = 0
            told[:, -edge:] = 0
        return told


def middle(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Median of values (b, ...) over the first axis, and its 90 % interval by order statistics."""
    ordered = np.sort(values, axis=0)
    count = len(ordered)
    edge = max(0, math.floor(count / 2 - 0.8224 * math.sqrt(count)))
    return np.median(ordered, axis=0), ordered[edge], ordered[count - 1 - edge]


def decoded(network: Network, z: torch.Tensor, batch: Tensors) -> torch.Tensor:
    """Spectra (b, p) of codes (b, n), piece by piece."""
    import torch

    out, start = [], 0
    with torch.no_grad():
        for _, one in batch.pieces():
            out.append(network.decode(z[start : start + len(one.flux)], berv=one.berv).float())
            start += len(one.flux)
    return torch.cat(out)


def transmission(network: Network, z: torch.Tensor, batch: Tensors) -> torch.Tensor | None:
    """The atmosphere (b, p) as the network has it; None where it does not tell it from the star."""
    import torch

    from ..network import Prism

    if not isinstance(network, Prism) or network.config.agnostic:
        return None
    out, start = [], 0
    with torch.no_grad():
        for _, one in batch.pieces():
            parts = network.parts(z[start : start + len(one.flux)])
            start += len(one.flux)
            still = parts._replace(star=torch.ones_like(parts.star), shift=torch.zeros_like(parts.shift))
            out.append(network.join(still, berv=one.berv))
    return torch.cat(out)


# --- a node against a change


def move(setting: Setting, node: int, name: str, *, per_unit: float, others: Sequence[int]) -> dict[str, Any]:
    """Move `node` by the codes that should make so much of a change, and compare.

    per_unit  code a unit of the change, as the encoder told
    others    nodes, of which each but `node` is moved by as many spreads, for the null

    Of each amount: what was `asked` and `made` (re-measured, with interval and scatter over targets), the
    error left in sigma and as a share of the change, its null, and the same with each spectrum's own answer
    to the change for its move (`own_`).
    """
    moves = []
    width = setting.mean.double().std(0).cpu().numpy()
    for amount in AMOUNTS[name]:
        asked = max(amount, setting.changes.step * amount / 30) if name == "doppler_per_kms" else amount
        edge = math.ceil(asked / setting.changes.step) if name == "doppler_per_kms" else 0
        edge = min(edge, setting.made.shape[1] // 4)
        goal = setting.changed(name, asked)
        change = _rms(setting, goal - setting.made, edge=edge)

        def went(which: int, code: float | torch.Tensor) -> torch.Tensor:
            z = setting.mean.clone()
            z[:, which] += code
            return decoded(setting.network, z, setting.batch)

        answer = setting.coded(goal)[:, node] - setting.coded(setting.made)[:, node]
        own = went(node, answer)
        own_share, own_low, own_high = middle(_rms(setting, own - goal, edge=edge) / change)
        own_made = middle(_measured(setting, name, own, asked=asked, edge=edge))[0]
        made = went(node, per_unit * asked)
        left = _rms(setting, made - goal, edge=edge)
        data = _rms(setting, setting.changes(name, asked, setting.seen) - made, edge=edge)
        unmoved = _rms(setting, setting.seen.flux - setting.made, edge=edge)
        spreads = per_unit * asked / max(width[node], 1e-12)
        rivals = [
            min(
                float(np.median(_rms(setting, went(i, sign * spreads * width[i]) - goal, edge=edge) / change))
                for sign in (1, -1)
            )
            for i in others
            if i != node
        ]
        told = _measured(setting, name, made, asked=asked, edge=edge)
        value, low, high = middle(told)
        off, off_low, off_high = middle(left)
        share, share_low, share_high = middle(left / change)
        moves.append(
            {
                "asked": asked,
                "made": float(value),
                "made_low": float(low),
                "made_high": float(high),
                "scatter": float(1.4826 * np.median(np.abs(told - value))),
                "error_sigma": float(off),
                "error_sigma_low": float(off_low),
                "error_sigma_high": float(off_high),
                "change_sigma": float(np.median(change)),
                "error_share": float(share),
                "error_share_low": float(share_low),
                "error_share_high": float(share_high),
                "error_share_null": min(rivals) if rivals else None,
                "own_made": float(own_made),
                "own_error_share": float(own_share),
                "own_error_share_low": float(own_low),
                "own_error_share_high": float(own_high),
                "data_sigma": float(np.median(data)),
                "data_sigma_unmoved": float(np.median(unmoved)),
            }
        )
    return {"change": name, "moves": moves}


def _rms(setting: Setting, left: torch.Tensor, *, edge: int) -> Floats:
    """Root mean square in sigma over good pixels, (b,)."""
    import torch

    counted = setting.inner(setting.batch.sigma, edge=edge)  # 1 where a pixel counts
    told = (setting.inner(left, edge=edge).double() ** 2).sum(1) / counted.double().sum(1).clamp(min=1)
    found: Floats = torch.sqrt(told).cpu().numpy()
    return found


def _measured(setting: Setting, name: str, made: torch.Tensor, *, asked: float, edge: int) -> Floats:
    """How much of the change is in the moved spectra, (b,) in its unit: least squares in sigma.

    Amounts from -.5 to 2.5 times the asked are tried, and finer ones about the median of what was found; the
    vertex of a parabola through the best and its neighbours.
    """

    def best(amounts: Floats) -> tuple[Floats, Floats]:
        tried = np.stack(
            [
                (setting.inner(made - setting.changed(name, amount), edge=edge).double() ** 2)
                .sum(1)
                .cpu()
                .numpy()
                for amount in amounts.tolist()
            ]
        )
        place = tried.argmin(0)
        inner = np.clip(place, 1, len(amounts) - 2)
        row = np.arange(tried.shape[1])
        left, here, right = (tried[inner + side, row] for side in (-1, 0, 1))
        bend = left - 2 * here + right
        part = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
        return amounts[inner] + np.clip(part, -1, 1) * (amounts[1] - amounts[0]), tried.min(0)

    low = 0.0 if name == "broadening_per_kms" else -0.5
    found, misfit = best(asked * np.linspace(low, 2.5, round((2.5 - low) * 4) + 1))
    middle_of = max(float(np.median(found)), asked * (low + 0.1))
    finer, finer_misfit = best(middle_of + asked * np.linspace(-0.1, 0.1, 5))
    return np.asarray(np.where(finer_misfit <= misfit, finer, found))
