"""How nodes answer to physical changes of a spectrum, and how well moving a node equals the change.

Injected through the encoder: by how much does each code move, a km/s of Doppler shift, say? Asked of the
decoder: is what the node does what the change does? Shapes: b spectra, p pixels, n nodes. Torch is loaded by
the first measure; docs/design/responses.md has the definitions.
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
from .intervention import Setting, decoded, middle, move, transmission
from .labels import label_moves

if TYPE_CHECKING:
    import torch

    from ..model.data import Source
    from ..model.nodes import Network

SAMPLE, SAMPLE_PIXELS = 600, 2**24  # spectra that are changed, and pixels of them
FEWEST = 48
ROLLS = 16
RIVALS = 4  # other nodes that are moved for the null: those that equal the change best
NOISE = "noise_per_halving"
UNITS = {
    "doppler_per_kms": "km/s",
    "broadening_per_kms": "km/s",
    "oxygen_per_column": "column",
    "water_per_column": "column",
    "tilt_per_unit": "end to end",
}
WORDS = {
    "doppler_per_kms": "a Doppler shift",
    "broadening_per_kms": "broadening",
    "oxygen_per_column": "telluric oxygen",
    "water_per_column": "telluric water",
    "tilt_per_unit": "a tilted continuum",
}
WORTH = 0.1  # share of a node's doing that a change must be for the two to be named together


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
        told = {
            row["label"]: {key: value for key, value in row.items() if key not in ("label", "node")}
            for row in self.labels
            if row["node"] == node and row["label"] in explained_by
        }
        if told:
            moves["labels"] = told
        return {"response": self.response.get(node, {}), "intervention": moves or None}

    def table(self, *, nodes: Sequence[int] | None = None) -> dict[str, list[Any]]:
        """All of it as columns: a row a node and change, or a node and label (kind says which)."""
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


def words(node: Mapping[str, Any]) -> str:
    """The change that a node of findings.json equals best, in plain words; '' where there is none."""
    moves = node.get("intervention") or {}
    if "change" not in moves:
        return ""
    name = moves["change"]
    one, unit = node["response"][name], UNITS[name]
    each = "end to end" if unit == "end to end" else f"per {unit}"
    return f"answers to {WORDS[name]} by {one['value']:.3g} {each}, {one['share']:.0%} of what it does"


def best_change(changes: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The change that a node equals best: beyond its null through encoder and decoder; None if none is."""

    def real(numbers: Mapping[str, Any]) -> bool:
        answers = numbers["low"] > numbers["null"] or numbers["high"] < -numbers["null"]
        return bool(answers and numbers["share_low"] > max(numbers["share_null"], WORTH))

    found = {name: one for name, one in changes.items() if "share" in one and real(one)}
    return max(found, key=lambda name: found[name]["share"]) if found else None


def respond(
    network: Network,
    source: Source,
    rows: NDArray[np.intp],
    *,
    nodes: Sequence[int],
    wavelength: Floats,
    berv: Floats | None = None,
    resolution: float | None = None,
    labels: Mapping[str, Any] | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Listener = silent,
) -> Responses:
    """Change a sample of `rows` (one a target, never trained on) and see what encoder and decoder make of it.

    source      as `fitting.fitted` gives it
    wavelength  (p,) vacuum angstrom
    berv        (all spectra of the source,) km/s by which lines of the atmosphere are moved; 0 by default
    labels      name -> (rows,)

    Of each node and change: `value` is the median over targets of the code's change a unit of the injected
    change, with its 90 % interval, `null` what |value| reaches when the same change is put at a wrong place
    of the spectrum; `spreads` the value in spreads of the code; `typical` the median size, with its own null
    (above `value` where the sign hangs on the spectrum). `share` is the share of the decoder's derivative
    that points along the change's, in sigma, with interval and null; `cosine` its root, with the sign.
    """
    import torch

    from ..model.nodes import codes, sizing
    from .changes import Changes, Seen

    rng = np.random.default_rng([seed, 4])
    order = rng.permutation(len(rows))[: min(SAMPLE, max(FEWEST, SAMPLE_PIXELS // source.pixels))]
    if not len(nodes) or len(order) < 8:
        return Responses()
    progress(message(f"changing {len(order):,} held-out spectra, to see which nodes answer"))
    place = torch.device(device)
    batch = (
        source.tensors(rows[order])
        .with_air(moving=bool(getattr(getattr(network, "config", None), "moving_air", False)))
        .to(place)
    )
    moved = np.zeros(len(order)) if berv is None else np.nan_to_num(berv[rows[order]])
    mean, logvar = codes(network, batch)
    made = decoded(network, mean, batch)
    flux = batch.flux if batch.good is None else torch.where(batch.good, batch.flux, made)
    seen = Seen(
        flux, transmission(network, mean, batch), torch.from_numpy(moved.astype(np.float32)).to(place)
    )
    changes = Changes(wavelength, resolution=resolution)
    few = sizing(source.pixels, len(order)).few
    setting = Setting(network, changes, batch, seen, mean, made)

    with torch.no_grad():
        told = _encoder(setting, nodes, spread=(0.5 * logvar).exp(), seed=seed)
        some = setting.part(few)
        _decoder(some, nodes, told, rng=rng)
        intervention = {}
        for node in nodes:
            name = best_change(told[node])
            if name is not None:
                value = told[node][name]["value"]
                rivals = sorted((i for i in nodes if i != node), key=lambda i: -told[i][name]["share"])
                intervention[node] = move(some, node, name, per_unit=value, others=rivals[:RIVALS])
        known = {} if labels is None else {name: np.asarray(labels[name])[order] for name in labels}
        moves = label_moves(setting, nodes, known, seed=seed) if known else []
    return Responses(told, intervention, moves, len(order))


# --- the encoder's side


def _encoder(
    setting: Setting, nodes: Sequence[int], *, spread: torch.Tensor, seed: int
) -> dict[int, dict[str, dict[str, Any]]]:
    """node -> change -> numbers, from spectra changed before they are encoded."""
    import torch

    from ..model.nodes import codes

    batch, seen, changes = setting.batch, setting.seen, setting.changes
    generator = torch.Generator().manual_seed(seed)

    def coded(flux: torch.Tensor) -> Floats:
        found: Floats = codes(setting.network, batch._replace(flux=flux))[0].double().cpu().numpy()
        return found

    def noise(scale: float) -> torch.Tensor:
        drawn = torch.randn(seen.flux.shape, generator=generator)
        return drawn.to(seen.flux.device) * batch.sigma * scale

    z = setting.mean.double().cpu().numpy()
    width = z.std(0)
    told: dict[int, dict[str, dict[str, Any]]] = {node: {} for node in nodes}
    for name, size in changes.sizes.items():
        up = changes(name, size, seen)
        lost = 1 - changes.noise_left(name, size)
        one_way = lost > 0  # broadening, which nothing undoes
        if one_way:
            up = up + noise(math.sqrt(lost))
        down = seen.flux if one_way else changes(name, -size, seen)
        span = size if one_way else 2 * size
        answer = (coded(up) - coded(down)) / span
        away = _rolled(up - down, generator) / 2
        wrong = (coded(seen.flux + away) - coded(seen.flux - away)) / span
        value, low, high = middle(answer)
        _, null_low, null_high = middle(wrong)
        typical, typical_null = np.median(np.abs(answer), 0), np.median(np.abs(wrong), 0)
        for node in nodes:
            told[node][name] = {
                "value": float(value[node]),
                "low": float(low[node]),
                "high": float(high[node]),
                "null": float(max(abs(null_low[node]), abs(null_high[node]))),
                "spreads": float(value[node] / width[node]) if width[node] > 0 else 0.0,
                "typical": float(typical[node]),
                "typical_null": float(typical_null[node]),
            }
    # With sqrt(3) sigma of noise added, the signal-to-noise ratio is half of what it was.
    answer = coded(seen.flux + noise(math.sqrt(3.0))) - z
    value, low, high = (1.4826 * one for one in middle(np.abs(answer)))
    drift, drift_low, drift_high = middle(answer)
    dead = [i for i in range(z.shape[1]) if i not in nodes]
    null = float(np.quantile(value[dead], 0.95)) if dead else float("nan")
    expected = math.sqrt(3.0) * spread.double().cpu().numpy()
    for node in nodes:
        told[node][NOISE] = {
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
    return told


def _rolled(change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each row put at another place of its spectrum, at least an eighth of it away."""
    import torch

    pixels = change.shape[1]
    far = torch.randint(pixels // 8, pixels - pixels // 8, (len(change),), generator=generator).tolist()
    return torch.stack([row.roll(offset) for row, offset in zip(change, far, strict=True)])


# --- the decoder's side


def _decoder(
    setting: Setting,
    nodes: Sequence[int],
    told: dict[int, dict[str, dict[str, Any]]],
    *,
    rng: np.random.Generator,
) -> None:
    """Adds share, its interval and null, and the cosine, to what is told of each node and change."""
    from ..model.nodes import derivatives

    pixels = setting.made.shape[1]
    offsets = rng.integers(pixels // 8, pixels - pixels // 8, ROLLS).tolist()
    slopes = {name: setting.slope(name) for name in setting.changes.sizes}
    for node in nodes:
        moves = derivatives(setting.network, setting.mean, setting.batch, nodes=[node])[:, 0]
        for name, slope in slopes.items():
            cosine = _cosine(moves, slope)
            share, low, high = middle(cosine**2)
            null = [float(np.median(_cosine(moves, slope.roll(far, 1)) ** 2)) for far in offsets]
            told[node][name] |= {
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
