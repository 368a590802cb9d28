"""All that a study knows by which spectra are judged: its network, its probe, and its held-out spectra.

    STUDY/probe.npz       labels from codes, with their calibration
    STUDY/reference.npz   what is usual of held-out spectra, and what training has seen

Each is made when first needed, and anew when codes, labels or model are others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import digest, read_json
from ..device import device_for
from ..errors import ModelError, StoreError
from ..measures.evidence import Floats
from ..measures.probe import Probe, fit, label_residuals, predict, read_probe, target_keys, write_probe
from ..model.data import Source
from ..model.encode import codes_facts, read_codes
from ..schema import CodesFacts, ModelFacts
from ..targets import split
from .bundle import read_arrays, write_arrays
from .coverage import FEW, Seen, bulk
from .outliers import REASONS, Usual, judge, label_surprise, loneliness, scores_of, usual
from .residuals import Left, look, model_error

if TYPE_CHECKING:
    import pandas as pd

    from ..network import PaperNetwork, Prism
    from ..store import Store

FORMAT, VERSION = "astroprism-reference", 2
MOST_HELD, MOST_CODES = 3_000, 30_000  # spectra that p is told by, and codes that loneliness is told by
BLOCK_PIXELS, SAMPLE_PIXELS = 2**22, 2**25  # read at once; whose residuals give the model's error


def silent(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What is usual.

    error       (p,) of the model, in units of the flux
    codes, keys (m, k) standardised codes of training targets, and who they are
    usual       reason -> scores of held-out spectra; label -> its strangeness there
    together    usual surprise of all reasons, without and with labels
    """

    error: Floats
    codes: Floats
    keys: NDArray[np.int64]
    usual: dict[str, Usual]
    label_usual: dict[str, Usual]
    together: tuple[Usual, Usual]
    seen: Seen


@dataclass(frozen=True, eq=False)
class Kit:
    """What judges spectra: made by `kit_of`, read-only, threads may share it."""

    network: Prism | PaperNetwork
    about: ModelFacts
    codes_facts: CodesFacts
    probe: Probe
    reference: Reference
    wavelength: Floats  # of the store's grid
    device: str

    @property
    def floor(self) -> float:
        """What the network need not explain, in units of the flux."""
        return self.about.floor


def kit_of(
    store: Store,
    model: Path,
    *,
    out: Path,
    device: str = "auto",
    say: Callable[[str], object] = silent,
) -> Kit:
    """The kit of the study in folder `out`: probe and reference from its files, or made and kept there."""
    from ..model.checkpoint import read_model

    network, about = read_model(model)
    known = codes_facts(out / "codes.parquet")
    weights = digest(model / "weights.safetensors")
    if known.get("weights") != weights:
        raise ModelError(f"{out / 'codes.parquet'} was made by another model; run: astroprism encode {out}")
    device = device_for(device)
    labels = labels_of(out)
    nodes = nodes_of(out, known["kept"])
    facts = {
        "version": VERSION,
        "weights": weights,
        "codes": digest(out / "codes.parquet"),
        "labels": None if labels is None else digest(out / "findings" / "labels.parquet"),
        "nodes": nodes,
    }
    probe = read_probe(out / "probe.npz", facts=facts)
    reference = read_reference(out / "reference.npz", facts=facts)
    network.to(device)
    if probe is None or reference is None:
        table = table_of(store, about, out, labels)
        if probe is None:
            say("learning labels from codes" if labels is not None else "no labels: codes and outliers only")
            probe = fit(
                table.mean,
                table.sd,
                snr=table.snr,
                labels={} if labels is None else {str(name): table.labels[name] for name in table.labels},
                targets=table.targets,
                train=table.part == "train",
                nodes=nodes,
                seed=about["split"]["seed"],
                facts=facts,
            )
            _keep(lambda: write_probe(out / "probe.npz", probe), say)
        say("looking at held-out spectra, by which others are judged")
        reference = make_reference(store, network, probe, table, device=device)
        _keep(lambda: write_reference(out / "reference.npz", reference, facts=facts), say)
    return Kit(network.eval(), about, known, probe, reference, store.grid.wavelength, device)


def labels_of(out: Path) -> pd.DataFrame | None:
    """The labels given to `find`, a row a spectrum; None where there are none."""
    import pandas as pd

    path = out / "findings" / "labels.parquet"
    if not path.exists():
        return None
    table = pd.read_parquet(path).set_index("spectrum_id")
    return table if table.shape[1] else None


def nodes_of(out: Path, kept: list[int]) -> list[int]:
    """Nodes that labels and distances are read from: the kept ones that findings call informative."""
    path = out / "findings.json"
    if not path.exists():
        return list(kept)
    told = {
        node["node"]
        for node in read_json(path).get("nodes", [])
        if (node["informative"] or node["doubtful"]) and node["copies_of"] is None
    }
    return [node for node in kept if node in told] or list(kept)


@dataclass(frozen=True, eq=False)
class Table:
    """Codes of the study beside what is known of their spectra, in the order of the store; n rows."""

    rows: NDArray[np.intp]  # of the store
    identifiers: NDArray[np.object_]
    targets: NDArray[np.object_]
    part: NDArray[np.str_]
    mean: Floats
    sd: Floats
    snr: Floats
    index: pd.DataFrame
    labels: pd.DataFrame  # no columns where none were given


def table_of(store: Store, about: ModelFacts, out: Path, labels: pd.DataFrame | None) -> Table:
    """The codes of the study in folder `out`, and what is known of their spectra."""
    import pandas as pd

    codes = read_codes(out / "codes.parquet")
    index = store.index
    place = pd.Index(index["spectrum_id"]).get_indexer(pd.Index(codes["spectrum_id"]))
    if (place < 0).any():
        raise StoreError(
            f"{out / 'codes.parquet'} holds {(place < 0).sum():,} spectra that the store does not; run: "
            f"astroprism encode {out}"
        )
    index = index.iloc[place].reset_index(drop=True)
    targets = index["target"].to_numpy(dtype=object)
    shares = about["split"]
    names = codes["spectrum_id"].to_numpy(dtype=object)
    mean, sd = (
        codes[[name for name in codes if str(name).startswith(kind)]].to_numpy(np.float64)
        for kind in ("mean_", "sd_")
    )
    return Table(
        np.asarray(place, dtype=np.intp),
        names,
        targets,
        split.assign(targets, shares["seed"], valid=shares["valid"], test=shares["test"]),
        mean,
        sd,
        index["snr"].to_numpy(np.float64),
        index,
        pd.DataFrame(index=names) if labels is None else labels.reindex(names),
    )


# --- the reference


def make_reference(
    store: Store, network: Prism | PaperNetwork, probe: Probe, table: Table, *, device: str
) -> Reference:
    """Look at held-out spectra, one a target, and at the range of the training."""
    source = Source.from_store(store, memory=0).with_air(
        moving=bool(getattr(network.config, "moving_air", False))
    )
    seed = 0
    one = split.one_per_target(table.targets, seed)
    held, trained = one[table.part[one] != "train"], one[table.part[one] == "train"]
    if not held.size or not trained.size:
        raise ModelError(
            "no target was held out of training, so nothing tells what is usual: train again with --valid "
            "and --test above 0"
        )
    rng = np.random.default_rng(seed)
    held = np.sort(rng.permutation(held)[:MOST_HELD])
    some = rng.permutation(held)[: max(64, SAMPLE_PIXELS // source.pixels)]
    parts = [_decoded(source, network, table, rows, device) for rows in _blocks(np.sort(some), source.pixels)]
    flux, sigma, good, made = (np.concatenate([part[i] for part in parts]) for i in range(4))
    error = model_error(flux, sigma, good, made=made)
    del parts, flux, sigma, good, made
    left = looked(source, network, table, held, error=error, device=device)

    x, keys = probe.standard(table.mean), target_keys(table.targets)
    near = np.sort(rng.permutation(trained)[:MOST_CODES])
    lonely = loneliness(x[held], x[near], keys=keys[held], row_keys=keys[near])
    told = predict(probe, table.mean[held], table.sd[held], snr=table.snr[held], targets=table.targets[held])
    strange = label_residuals(told, {str(k): table.labels[k].iloc[held] for k in table.labels})
    label_usual = {name: usual(values) for name, values in strange.items()}
    labels = label_surprise(strange, label_usual, held.size)
    scores = scores_of(left, lonely, labels)
    known = {name: usual(scores[name]) for name in REASONS}
    judged = judge(scores, known, together=None)
    bare = np.max([judged.surprise[name] for name in REASONS[:3]], axis=0)
    with_labels = judged.rank_by[np.isfinite(judged.surprise["labels"])]

    index = table.index
    resolution = index["resolution"].iloc[trained] if "resolution" in index else [np.nan]
    share = index["n_good"].iloc[trained].to_numpy(np.float64) / source.pixels
    frames = index["frame"].iloc[trained].value_counts(normalize=True)
    covered = np.mean(
        np.concatenate(
            [store.read(table.rows[rows]).good for rows in _blocks(np.sort(some)[:512], source.pixels)]
        ),
        axis=0,
    )
    seen = Seen(
        snr=bulk(table.snr[trained]),
        resolution=bulk(resolution),
        good=float(np.quantile(share, 0.005)),
        frames=tuple(sorted(str(name) for name, part in frames.items() if part >= FEW)),
        covered=np.asarray(covered, dtype=np.float64),
        broader=np.sort(left.broader),
        air_broader=np.sort(left.air_broader),
        ripple=np.sort(left.ripple),
        moving_air=bool(getattr(network.config, "moving_air", False)),
    )
    return Reference(
        error,
        x[near],
        keys[near],
        known,
        label_usual,
        (usual(bare), usual(with_labels if with_labels.size else bare)),
        seen,
    )


def looked(
    source: Source,
    network: Prism | PaperNetwork,
    table: Table,
    rows: NDArray[np.intp],
    *,
    error: Floats,
    device: str,
) -> Left:
    """What is left of the spectra at `rows` of the table."""
    parts = []
    for some in _blocks(rows, source.pixels):
        flux, sigma, good, made, air = _decoded(source, network, table, some, device)
        parts.append(look(flux, sigma, good, made=made, error=error, air=air))
    return Left.joined(parts)


def _blocks(rows: NDArray[np.intp], pixels: int) -> list[NDArray[np.intp]]:
    size = max(1, BLOCK_PIXELS // pixels)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _decoded(
    source: Source, network: Prism | PaperNetwork, table: Table, rows: NDArray[np.intp], device: str
) -> tuple[Any, Any, Any, Any, Any]:
    """Flux, sigma, good, reconstruction and its atmosphere (b, p) of rows of the table."""
    place = table.rows[rows]
    batch = source.read(place)
    berv = None if source.berv is None else source.berv[place]
    return *batch, *made_by(network, table.mean[rows], berv=berv, device=device)


def made_by(
    network: Prism | PaperNetwork, mean: Floats, *, berv: NDArray[np.float32] | None, device: str
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Spectra (n, p) that codes (n, nodes) make, and the atmosphere in them where it is told apart."""
    import torch

    from ..network import Prism

    with torch.no_grad():
        z = torch.from_numpy(np.ascontiguousarray(mean, dtype=np.float32)).to(device)
        here = None if berv is None else torch.from_numpy(np.asarray(berv, dtype=np.float32)).to(device)
        if not isinstance(network, Prism) or network.config.agnostic:
            return network.decode(z, berv=here).float().cpu().numpy(), None
        parts = network.parts(z)
        made = network.join(parts, berv=here).float().cpu().numpy()
        clear = parts._replace(star=torch.ones_like(parts.star), shift=torch.zeros_like(parts.shift))
        return made, network.join(clear, berv=here).float().cpu().numpy()


def write_reference(path: Path, reference: Reference, *, facts: Mapping[str, Any]) -> None:
    """As `probe.write_probe`."""
    seen = {entry.name: getattr(reference.seen, entry.name) for entry in fields(Seen)}
    arrays = {f"seen.{name}": value for name, value in seen.items() if isinstance(value, np.ndarray)}
    arrays |= {"error": reference.error, "codes": reference.codes, "keys": reference.keys}
    arrays |= {f"usual.{name}": one.values for name, one in reference.usual.items()}
    arrays |= {f"label.{i}": one.values for i, one in enumerate(reference.label_usual.values())}
    arrays |= {f"together.{i}": one.values for i, one in enumerate(reference.together)}
    about = {
        "format": FORMAT,
        "format_version": VERSION,
        "facts": dict(facts),
        "labels": list(reference.label_usual),
        "seen": {name: value for name, value in seen.items() if not isinstance(value, np.ndarray)},
    }
    write_arrays(path, arrays, about=about)


def read_reference(path: Path, *, facts: Mapping[str, Any]) -> Reference | None:
    """The reference at `path` if it was made from `facts`, else None."""
    held = read_arrays(path, kind=(FORMAT, VERSION))
    if held is None or held[1]["facts"] != json.loads(json.dumps(dict(facts))):
        return None
    arrays, about = held
    seen: dict[str, Any] = {k.removeprefix("seen."): v for k, v in arrays.items() if k.startswith("seen.")}
    seen |= about["seen"] | {"frames": tuple(about["seen"]["frames"])}
    return Reference(
        arrays["error"],
        arrays["codes"],
        arrays["keys"],
        {name: Usual(arrays[f"usual.{name}"]) for name in REASONS},
        {name: Usual(arrays[f"label.{i}"]) for i, name in enumerate(about["labels"])},
        (Usual(arrays["together.0"]), Usual(arrays["together.1"])),
        Seen(**seen),
    )


def _keep(write: Callable[[], None], say: Callable[[str], object]) -> None:
    """What cannot be kept is made anew next time: a study that may only be read is no reason to stop."""
    try:
        write()
    except StoreError as error:
        say(f"not kept for next time: {error}")
