"""How nodes answer to physical changes of a spectrum, and how well moving a node equals the change.

The encoder's side: by how much does each code move per km/s of Doppler shift, say? The decoder's side: is
what the node does what the change does? Shapes: b spectra, p pixels, n nodes. Torch is loaded by the first
measure; docs/design/responses.md has the definitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measures.evidence import Floats
from ..progress import Listener, message, silent
from ..schema import Node

if TYPE_CHECKING:
    import torch

    from ..model.data import Source
    from ..model.trained import TrainedModel
    from .changes import Sample

SAMPLE, SAMPLE_PIXELS = 600, 2**24  # spectra that are changed, and pixels of them
FEWEST = 48
ROLLS = 16
RIVALS = 4  # other nodes that are moved for the null: those that equal the change best
NOISE = "noise_per_halving"
CHANGES = {  # change -> (in words, unit)
    "doppler_per_kms": ("a Doppler shift", "per km/s"),
    "air_per_kms": ("a shift of the atmosphere", "per km/s"),
    "broadening_per_kms": ("broadening", "per km/s"),
    "oxygen_per_column": ("telluric oxygen", "per column"),
    "water_per_column": ("telluric water", "per column"),
    "tilt_per_unit": ("a tilted continuum", "end to end"),
}
WORTH = 0.1  # share of a node's effect that a change must have for the two to be named together


@dataclass(frozen=True)
class Responses:
    """What was measured.

    response      node -> change -> numbers (see `respond`)
    intervention  node -> change that it equals best, and how well the moved spectrum equals the changed one
    labels        rows of label and node: what the label does in the data against what the node does
    targets       held-out targets behind the encoder's numbers
    """

    response: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    intervention: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)
    targets: int = 0

    def of_node(self, node: int, *, explained_by: Sequence[str] = ()) -> dict[str, Any]:
        """`response` and `intervention` as findings.json keeps them; labels: those that explain the node."""
        moves: dict[str, Any] = dict(self.intervention.get(node, {}))
        labels = {
            row["label"]: {key: value for key, value in row.items() if key not in ("label", "node")}
            for row in self.labels
            if row["node"] == node and row["label"] in explained_by
        }
        if labels:
            moves["labels"] = labels
        return {"response": self.response.get(node, {}), "intervention": moves or None}

    def equal_to(self, change: str) -> list[int]:
        """Nodes whose effect is nearest to this change."""
        return [node for node, moves in self.intervention.items() if moves.get("change") == change]

    def table(self, *, nodes: Sequence[int] | None = None) -> dict[str, list[Any]]:
        """All of it as columns: a row per node and change, or per node and label (kind says which)."""
        rows: list[dict[str, Any]] = []
        for node, changes in self.response.items():
            best = self.intervention.get(node, {})
            for name, numbers in changes.items():
                first = best["moves"][0] if best.get("change") == name else {}
                rows.append({"node": node, "kind": "change", "name": name} | numbers | first)
        rows += [{"kind": "label", "name": row["label"]} | row for row in self.labels]
        rows = [row for row in rows if nodes is None or row["node"] in nodes]
        names = dict.fromkeys(
            ["node", "kind", "name", *(key for row in rows for key in row if key != "label")]
        )
        return {name: [row.get(name) for row in rows] for name in names}


def best_answer(node: Node) -> str:
    """The change that a node equals best, in words; '' where there is none."""
    name = (node.intervention or {}).get("change")
    if name is None:
        return ""
    one, (change, unit) = node.response[name], CHANGES[name]
    return f"answers to {change} by {one['value']:.3g} {unit}, {one['share']:.0%} of what it does"


def best_change(changes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The change that a node equals best: beyond its null through encoder and decoder; None if none is."""

    def real(numbers: Mapping[str, Any]) -> bool:
        answers = numbers["low"] > numbers["null"] or numbers["high"] < -numbers["null"]
        return bool(answers and numbers["share_low"] > max(numbers["share_null"], WORTH))

    found = {name: one for name, one in changes.items() if "share" in one and real(one)}
    return max(found, key=lambda name: found[name]["share"]) if found else None


def respond(
    model: TrainedModel,
    source: Source,
    rows: NDArray[np.intp],
    *,
    nodes: Sequence[int],
    wavelength: Floats,
    berv: Floats | None = None,
    resolution: float | None = None,
    labels: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Listener = silent,
) -> Responses:
    """Change a sample of `rows` (one per target, held out of training) and encode and decode what comes out.

    source      as `model.source` gives it
    wavelength  (p,) vacuum angstrom
    berv        (all spectra of the source,) km/s by which lines of the atmosphere are moved; 0 by default
    labels      name -> (rows,)

    For each node and change: `value` is the median over targets of the code's change per unit of the injected
    change, with its 90 % interval, `null` what |value| reaches when the same change is put at a wrong place
    of the spectrum; `spreads` the value in spreads of the code; `typical` the median size, with its own null
    (above `value` where the sign differs between spectra). `share` is the share of the decoder's derivative
    that points along the change's, in sigma, with interval and null; `cosine` its root, with the sign.
    """
    import torch

    from ..model.nodes import codes, sizing
    from .changes import Changes, Observed, Sample, decoded, transmission
    from .intervention import move
    from .labels import label_moves

    rng = np.random.default_rng([seed, 4])
    order = rng.permutation(len(rows))[: min(SAMPLE, max(FEWEST, SAMPLE_PIXELS // source.pixels))]
    if not len(nodes) or len(order) < 8:
        return Responses()
    progress(message(f"changing {len(order):,} spectra, to see which nodes answer"))
    batch = model.to_device(source.tensors(rows[order]))
    mean, logvar = codes(model.network, batch)
    speed = np.zeros(len(order)) if berv is None else np.nan_to_num(berv[rows[order]])
    if model.free_air:
        speed = model.network.air_velocity(mean).double().cpu().numpy()  # type: ignore[operator]
    made = decoded(model, mean, batch)
    observed = Observed(
        batch.flux if batch.good is None else torch.where(batch.good, batch.flux, made),
        transmission(model, mean, batch),
        torch.from_numpy(speed.astype(np.float32)).to(model.device),
    )
    changes = Changes(wavelength, resolution=resolution, free_air=model.free_air)
    sample = Sample(model, changes, batch, observed, mean, made)

    with torch.no_grad():
        response = _encoder(sample, nodes, spread=(0.5 * logvar).exp(), seed=seed)
        some = sample.part(sizing(source.pixels, len(order)).few)
        _decoder(some, nodes, response, rng=rng)
        intervention = {}
        for node in nodes:
            name = best_change(response[node])
            if name is not None:
                value = response[node][name]["value"]
                rivals = sorted((i for i in nodes if i != node), key=lambda i: -response[i][name]["share"])
                intervention[node] = move(some, node, name, per_unit=value, others=rivals[:RIVALS])
        known = {} if labels is None else {name: np.asarray(labels[name])[order] for name in labels}
        moves = label_moves(sample, nodes, known, seed=seed) if known else []
    return Responses(response, intervention, moves, len(order))


# --- the encoder's side


def _encoder(
    sample: Sample, nodes: Sequence[int], *, spread: torch.Tensor, seed: int
) -> dict[int, dict[str, dict[str, Any]]]:
    """node -> change -> numbers, from spectra changed before they are encoded."""
    import torch

    from .changes import median_interval

    batch, observed, changes = sample.batch, sample.observed, sample.changes
    generator = torch.Generator().manual_seed(seed)

    def encoded(flux: torch.Tensor) -> Floats:
        found: Floats = sample.encoded(flux).double().cpu().numpy()
        return found

    def noise(scale: float) -> torch.Tensor:
        drawn = torch.randn(observed.flux.shape, generator=generator)
        return drawn.to(observed.flux.device) * batch.sigma * scale

    z = sample.mean.double().cpu().numpy()
    width = z.std(0)
    response: dict[int, dict[str, dict[str, Any]]] = {node: {} for node in nodes}
    for name, size in changes.sizes.items():
        up = changes(name, size, observed)
        lost = 1 - changes.noise_left(name, size)
        one_way = lost > 0  # broadening, which nothing undoes
        if one_way:
            up = up + noise(math.sqrt(lost))
        down = observed.flux if one_way else changes(name, -size, observed)
        span = size if one_way else 2 * size
        answer = (encoded(up) - encoded(down)) / span
        away = _rolled(up - down, generator) / 2
        wrong = (encoded(observed.flux + away) - encoded(observed.flux - away)) / span
        value, low, high = median_interval(answer)
        _, null_low, null_high = median_interval(wrong)
        typical, typical_null = np.median(np.abs(answer), 0), np.median(np.abs(wrong), 0)
        for node in nodes:
            response[node][name] = {
                "value": float(value[node]),
                "low": float(low[node]),
                "high": float(high[node]),
                "null": float(max(abs(null_low[node]), abs(null_high[node]))),
                "spreads": float(value[node] / width[node]) if width[node] > 0 else 0.0,
                "typical": float(typical[node]),
                "typical_null": float(typical_null[node]),
            }
    # With sqrt(3) sigma of noise added, the signal-to-noise ratio is half of what it was.
    answer = encoded(observed.flux + noise(math.sqrt(3.0))) - z
    value, low, high = (1.4826 * one for one in median_interval(np.abs(answer)))
    drift, drift_low, drift_high = median_interval(answer)
    dead = [i for i in range(z.shape[1]) if i not in nodes]
    null = float(np.quantile(value[dead], 0.95)) if dead else float("nan")
    expected = math.sqrt(3.0) * spread.double().cpu().numpy()
    for node in nodes:
        response[node][NOISE] = {
            "value": float(value[node]),
            "low": float(low[node]),
            "high": float(high[node]),
            "null": null,
            "spreads": float(value[node] / width[node]) if width[node] > 0 else 0.0,
            "expected": float(np.median(expected[:, node])),
            "drift": float(drift[node]),
            "drift_low": float(drift_low[node]),
            "drift_high": float(drift_high[node]),
        }
    return response


def _rolled(change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each row put at another place of its spectrum, at least an eighth of it away."""
    import torch

    pixels = change.shape[1]
    far = torch.randint(pixels // 8, pixels - pixels // 8, (len(change),), generator=generator).tolist()
    return torch.stack([row.roll(offset) for row, offset in zip(change, far, strict=True)])


# --- the decoder's side


def _decoder(
    sample: Sample,
    nodes: Sequence[int],
    response: dict[int, dict[str, dict[str, Any]]],
    *,
    rng: np.random.Generator,
) -> None:
    """Adds share, its interval and null, and the cosine, to the numbers of each node and change."""
    from ..model.nodes import derivatives
    from .changes import median_interval

    pixels = sample.made.shape[1]
    offsets = rng.integers(pixels // 8, pixels - pixels // 8, ROLLS).tolist()
    slopes = {name: sample.slope(name) for name in sample.changes.sizes}
    for node in nodes:
        moves = derivatives(sample.model.network, sample.mean, sample.batch, nodes=[node])[:, 0]
        for name, slope in slopes.items():
            cosine = _cosine(moves, slope)
            share, low, high = median_interval(cosine**2)
            null = [float(np.median(_cosine(moves, slope.roll(far, 1)) ** 2)) for far in offsets]
            response[node][name] |= {
                "share": float(share),
                "share_low": float(low),
                "share_high": float(high),
                "share_null": max(null),
                "cosine": float(np.median(cosine)),
            }


def _cosine(a: torch.Tensor, b: torch.Tensor) -> Floats:
    """Of rows (b, p) with rows, (b,); 0 where a row is."""
    size = (a.double().norm(dim=1) * b.double().norm(dim=1)).clamp(min=1e-30)
    found: Floats = ((a.double() * b.double()).sum(1) / size).cpu().numpy()
    return found
