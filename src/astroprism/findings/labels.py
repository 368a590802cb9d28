"""What a label does in the spectra, against what a node does in the decoder.

Spectra at rest are fitted with all labels together, so each label's change is that at fixed other labels.
Shapes: b spectra, q pixels away from the ends, n nodes, k labels; docs/design/responses.md defines them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..measures import lines
from ..measures.evidence import Floats
from .changes import CLEAR, Sample

KNOWN = 0.8  # share of the spectra that must have a label
DRAWS = 20
GROUPS = 10
DOPPLER = 0.8  # share of a label's variance in the velocity, from which it is the velocity
ROLLS = 20  # of a node's effect along the spectrum, for the null
MOST_SHARE = 10.0  # of an effect; more says only that there is none


def label_moves(
    sample: Sample, nodes: Sequence[int], labels: Mapping[str, Any], *, seed: int = 0
) -> list[dict[str, Any]]:
    """What each label does in the spectra against what each node does in the decoder: a row per pair.

    labels  name -> (b,); those that are numbers and known for most spectra are used, all together
    """
    numbers = _numbers(labels)
    if not numbers:
        return []
    known = np.logical_and.reduce([np.isfinite(values) for values in numbers.values()])
    rows = np.flatnonzero(known)
    if len(rows) < max(40, 8 * len(numbers)):
        return []
    raw = np.stack([numbers[name][rows] for name in numbers], 1)
    scaled = (raw - raw.mean(0)) / raw.std(0)
    design = np.concatenate([np.ones((len(rows), 1)), scaled, scaled**2 - 1], 1)
    place = torch.from_numpy(rows).to(sample.mean.device)
    velocity = star_velocities(sample)
    air = sample.observed.berv
    spread = sample.batch.sigma.median(1).values[place].double().cpu().numpy()
    importance = 1 / (spread**2 + 0.01**2)
    codes = sample.mean[place].double().cpu().numpy()
    slopes = _fit(design, codes, importance)[1 : 1 + len(numbers)]  # (k, n) code per spread of the label
    speed = velocity[place].double().cpu().numpy()
    rng = np.random.default_rng([seed, 5])
    shuffles = [rng.permutation(len(rows)) for _ in range(DRAWS)]
    group = rng.permutation(len(rows)) % GROUPS

    frames = {}
    for frame, moved in (("star", velocity), ("sky", air)):
        edge = math.ceil(float(moved.abs().max()) / sample.changes.step) + 1
        edge = min(edge, sample.made.shape[1] // 4)
        inside = slice(edge, sample.made.shape[1] - edge)
        part = sample.observed.flux / _apart(sample, frame)
        flux = sample.changes.rest(part, moved)[place][:, inside].double().cpu().numpy()
        frames[frame] = (flux, moved, inside)
        if float((velocity - air).abs().max()) == 0:
            break
    weight = 1 / (sample.batch.sigma.double().pow(2).mean(0).cpu().numpy() + 1e-12)
    effects = {
        frame: _effects(sample, nodes, slopes, frame=frame, moved=moved, inside=inside)
        for frame, (_, moved, inside) in frames.items()
    }
    rows_of_labels = []
    for number, name in enumerate(numbers):
        straight = np.corrcoef(raw[:, number], speed)[0, 1] if speed.std() > 0 else 0.0
        if straight**2 > DOPPLER:
            continue  # it is the velocity: `move` has its numbers
        found = {
            frame: _LabelEffect.of(
                design, flux, importance, column=1 + number, shuffles=shuffles, group=group
            )
            for frame, (flux, _, _) in frames.items()
        }
        sure = {frame: one.surplus(weight[frames[frame][2]]) for frame, one in found.items()}
        frame = max(sure, key=lambda which: sure[which])
        if not sure[frame] > 0:
            continue  # it does nothing beyond chance
        rows_of_labels += _against(
            found[frame],
            {node: effect * slopes[number, node] for node, effect in effects[frame].items()},
            weight[frames[frame][2]],
            label=name,
            frame=frame,
        )
    return rows_of_labels


@dataclass(frozen=True)
class _LabelEffect:
    """What a spread of a label does to the flux at fixed other labels, q pixels.

    whole (q,); error (q,) its variance; parts (groups, q) without a group of targets; shuffled (draws, q)
    """

    whole: Floats
    error: Floats
    parts: Floats
    shuffled: Floats

    @classmethod
    def of(
        cls,
        design: Floats,
        flux: Floats,
        importance: Floats,
        *,
        column: int,
        shuffles: Sequence[Any],
        group: Any,
    ) -> _LabelEffect:
        columns = [column, column + (design.shape[1] - 1) // 2]
        fit = _fit(design, flux, importance)
        rest = flux - design @ fit
        reader = _reader(design, importance)[column]
        spread = (importance[:, None] * rest**2).sum(0) / importance.sum()
        error = spread * float(importance.sum() / len(importance) * (reader**2 / importance).sum())
        parts = [
            _fit(design[group != one], flux[group != one], importance[group != one])[column]
            for one in range(GROUPS)
        ]
        shuffled = []
        for order in shuffles:
            other = design.copy()
            other[:, columns] = design[order][:, columns]
            shuffled.append(_fit(other, flux, importance)[column])
        return cls(fit[column], error, np.stack(parts), np.stack(shuffled))

    def surplus(self, weight: Floats) -> float:
        """By how much the effect's size exceeds what shuffled labels reach, over that."""
        null = ((self.shuffled**2) @ weight).max()
        return float((self.whole**2) @ weight / max(null, 1e-300) - 1)


def _against(
    effect: _LabelEffect, moves: Mapping[int, Floats], weight: Floats, *, label: str, frame: str
) -> list[dict[str, Any]]:
    noise = float(effect.error @ weight)

    def share(of: Floats, by: Floats, less: float) -> float:
        size = max(float((of**2) @ weight) - less, 1e-300)
        value = float(((of * by) @ weight) ** 2 / max(float((by**2) @ weight), 1e-300) / size)
        return min(value, MOST_SHARE)  # of an effect that a part of the stars does not show

    def explained(of: Floats, by: Floats) -> float:
        size = max(float((of**2) @ weight) - noise, 1e-300)
        return float((2 * (of * by) - by**2) @ weight / size)

    together = explained(effect.whole, np.sum(list(moves.values()), 0)) if moves else 0.0
    shares = {node: share(effect.whole, one, noise) for node, one in moves.items()}
    rows = []
    for node, one in moves.items():
        parts = np.array([share(part, one, noise * GROUPS / (GROUPS - 1)) for part in effect.parts])
        error = 1.645 * math.sqrt((GROUPS - 1) * float(parts.var()))
        rest = [value for other, value in shares.items() if other != node]
        far = np.linspace(len(one) // 8, len(one) - len(one) // 8, ROLLS).astype(int).tolist()
        null = [share(effect.whole, np.roll(one, offset), noise) for offset in far]
        rows.append(
            {
                "label": label,
                "node": node,
                "frame": frame,
                "share": shares[node],
                "share_low": shares[node] - error,
                "share_high": shares[node] + error,
                "share_null": float(np.quantile(null, 0.95)),
                "share_other_node": max(rest) if rest else None,
                "explained": explained(effect.whole, one),
                "explained_by_all": together,
            }
        )
    return rows


def _effects(
    sample: Sample,
    nodes: Sequence[int],
    slopes: Floats,
    *,
    frame: str,
    moved: torch.Tensor,
    inside: slice,
) -> dict[int, Floats]:
    """node -> mean change of the flux per unit of its code (q,), at rest from `moved`."""
    some = sample.part(max(64, min(200, 2**22 // sample.made.shape[1])))
    importance = 1 / (some.batch.sigma.median(1).values.double() ** 2 + 0.01**2)
    share = (importance / importance.sum()).cpu().numpy()
    effects = {}
    for node in nodes:
        size = float(np.clip(np.abs(slopes[:, node]).max(), 0.01, 1.0))
        up, down = some.mean.clone(), some.mean.clone()
        up[:, node] += size
        down[:, node] -= size
        rise = some.decoded(up) - some.decoded(down)
        rise = rise / (2 * size * _apart(some, frame))
        rest = some.changes.rest(rise, moved[: len(some.mean)])[:, inside]
        effects[node] = share @ rest.double().cpu().numpy()
    return effects


def _apart(sample: Sample, frame: str) -> torch.Tensor | float:
    """What a frame's spectra are divided by (b, p): the air to see the star, the star to see the air.

    1 where the network does not separate them: what is at rest in the other frame is then smeared.
    """
    air = sample.observed.air
    if air is None:
        return 1.0
    other = air if frame == "star" else torch.where(air > CLEAR, sample.made / air.clamp(min=CLEAR), 1.0)
    return other.clamp(min=CLEAR)


def star_velocities(sample: Sample) -> torch.Tensor:
    """km/s of each star (b,): the network's own where it has a Doppler node, else by correlation."""
    model = sample.model
    if model.physical:
        velocity: torch.Tensor = model.network.velocity(sample.mean)  # type: ignore[operator]
        return velocity
    made = sample.made.double().cpu().numpy()
    speeds = lines.star_velocities(sample.changes.wavelength, made)
    return torch.from_numpy(speeds.astype(np.float32)).to(model.device)


def _numbers(labels: Mapping[str, Any]) -> dict[str, Floats]:
    """The labels that are numbers, known for most spectra and not all the same."""
    found = {}
    for name, values in labels.items():
        column = np.asarray(values)
        if column.dtype.kind not in "fiu":
            continue
        column = column.astype(np.float64)
        known = np.isfinite(column)
        if known.mean() >= KNOWN and np.ptp(column[known]) > 0:
            found[name] = column
    return found


def _reader(design: Floats, importance: Floats) -> Floats:
    """What reads coefficients from data, (columns, b): least squares weighed by importance (b,)."""
    weighed = design * importance[:, None]
    ridge = 1e-6 * importance.sum() * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(design.T @ weighed + ridge, weighed.T))


def _fit(design: Floats, values: Floats, importance: Floats) -> Floats:
    return np.asarray(_reader(design, importance) @ values)
