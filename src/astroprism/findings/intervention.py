"""Moving a node on purpose: does the decoder's spectrum become what the physical change would have made?

Seed paper and follow-up show such moves as pictures; here they are numbers. Shapes: b spectra, p pixels, n
nodes. docs/design/responses.md has the definitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..measures.evidence import Floats
from .changes import Sample, median_interval

# how much of each change is made, small and large; of a shift at least a third and a whole pixel
AMOUNTS = {
    "doppler_per_kms": (10.0, 30.0),
    "air_per_kms": (5.0, 15.0),
    "broadening_per_kms": (5.0, 10.0),
    "oxygen_per_column": (0.2, 0.5),
    "water_per_column": (0.2, 0.5),
    "tilt_per_unit": (0.02, 0.05),
}


def move(sample: Sample, node: int, name: str, *, per_unit: float, others: Sequence[int]) -> dict[str, Any]:
    """Move `node` by the code that should make an amount of a change, and compare.

    per_unit  code per unit of the change, as the encoder answered
    others    nodes, of which each but `node` is moved by as many spreads, for the null

    For each amount: what was requested (`asked`) and `made` (measured again, with interval and scatter over
    targets), the error in sigma and as a share of the change, its null, and the same with each spectrum's own
    answer to the change for its move (`own_`).
    """
    moves = []
    width = sample.mean.double().std(0).cpu().numpy()
    for least in AMOUNTS[name]:
        doppler = name in ("doppler_per_kms", "air_per_kms")
        amount = least
        if doppler:
            amount = max(amount, sample.changes.step * amount / 30)
        edge = math.ceil(amount / sample.changes.step) if doppler else 0
        edge = min(edge, sample.made.shape[1] // 4)
        goal = sample.changed(name, amount)
        change = _rms(sample, goal - sample.made, edge=edge)

        def moved(which: int, code: float | torch.Tensor) -> torch.Tensor:
            z = sample.mean.clone()
            z[:, which] += code
            return sample.decoded(z)

        answer = sample.encoded(goal)[:, node] - sample.encoded(sample.made)[:, node]
        own = moved(node, answer)
        own_share, own_low, own_high = median_interval(_rms(sample, own - goal, edge=edge) / change)
        own_made = median_interval(_measured(sample, name, own, amount=amount, edge=edge))[0]
        made = moved(node, per_unit * amount)
        rest = _rms(sample, made - goal, edge=edge)
        data = _rms(sample, sample.changes(name, amount, sample.observed) - made, edge=edge)
        unmoved = _rms(sample, sample.observed.flux - sample.made, edge=edge)
        spreads = per_unit * amount / max(width[node], 1e-12)
        rivals = [
            min(
                float(np.median(_rms(sample, moved(i, sign * spreads * width[i]) - goal, edge=edge) / change))
                for sign in (1, -1)
            )
            for i in others
            if i != node
        ]
        measured = _measured(sample, name, made, amount=amount, edge=edge)
        value, low, high = median_interval(measured)
        off, off_low, off_high = median_interval(rest)
        share, share_low, share_high = median_interval(rest / change)
        moves.append(
            {
                "asked": amount,
                "made": float(value),
                "made_low": float(low),
                "made_high": float(high),
                "scatter": float(1.4826 * np.median(np.abs(measured - value))),
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


def _rms(sample: Sample, residual: torch.Tensor, *, edge: int) -> Floats:
    """Root mean square in sigma over good pixels, (b,)."""
    counted = sample.weighed(sample.batch.sigma, edge=edge)  # 1 where a pixel counts
    mean = (sample.weighed(residual, edge=edge).double() ** 2).sum(1) / counted.double().sum(1).clamp(min=1)
    found: Floats = torch.sqrt(mean).cpu().numpy()
    return found


def _measured(sample: Sample, name: str, made: torch.Tensor, *, amount: float, edge: int) -> Floats:
    """How much of the change is in the moved spectra, (b,) in its unit: least squares in sigma.

    Amounts from -.5 to 2.5 times the requested one are tried, and finer ones about the median of these; the
    vertex of a parabola through the best and its neighbours.
    """

    def best(amounts: Floats) -> tuple[Floats, Floats]:
        tried = np.stack(
            [
                (sample.weighed(made - sample.changed(name, tried_amount), edge=edge).double() ** 2)
                .sum(1)
                .cpu()
                .numpy()
                for tried_amount in amounts.tolist()
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
    found, misfit = best(amount * np.linspace(low, 2.5, round((2.5 - low) * 4) + 1))
    centre = max(float(np.median(found)), amount * (low + 0.1))
    finer, finer_misfit = best(centre + amount * np.linspace(-0.1, 0.1, 5))
    return np.asarray(np.where(finer_misfit <= misfit, finer, found))
