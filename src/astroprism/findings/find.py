"""From a store, a trained model, its codes and label tables to findings.json and findings/*.parquet."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import ConfigError, ModelError, StoreError
from ..grid import air_to_vacuum
from ..measures.evidence import plain
from ..measures.match import usable_labels
from ..measures.readout import moves_at_labels
from ..measures.spacing import FEWEST
from ..measures.stability import Survival, survive
from ..store.layout import blame, read_json, sync, write_aside
from ..targets import split
from .assemble import Evidence, assemble, text_of
from .effects import along, measure
from .retrain import MOST, finished, read_retraining, retrain

if TYPE_CHECKING:
    import pandas as pd

    from ..model.history import Moment
    from ..store import Store

FORMAT, VERSION = "astroprism-findings", 1
TABLES = ("nodes", "matches", "keywords", "bins", "lines", "left_lines", "derivatives", "responses", "labels")
INDEX_NUMBERS = ("berv", "time", "snr", "resolution", "ra", "dec", "n_good")


@dataclass(frozen=True)
class FindOptions:
    """How findings are made."""

    seed: int = 0  # of every draw: which visit of a star, sampled codes, nulls
    device: str = "auto"  # cpu, cuda or mps, for switching nodes off and for retrainings
    stability: int = 0  # retrainings that nodes must survive; those that are there are always used

    def __post_init__(self) -> None:
        if not 0 <= self.stability <= MOST:
            raise ConfigError(
                f"stability {self.stability}: between 0 and {MOST} retrainings can be asked for"
            )


@dataclass(frozen=True)
class FindReport:
    """What a run of `find` did: content of findings.json, tables beside it."""

    made: bool  # False where all was there already
    content: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"made": self.made, **self.content}

    def text(self) -> str:
        """A short text for people."""
        return text_of(self.content)


def silent(_: str) -> None:
    """Nobody listens."""


def find(
    store: Store,
    model: Path,
    *,
    out: Path,
    labels: pd.DataFrame | None = None,
    sources: Mapping[str, Any] | None = None,
    options: FindOptions | None = None,
    say: Callable[[str], object] = silent,
    watch: Callable[[Moment, int], object] = lambda *_: None,
) -> FindReport:
    """Findings of the model in folder `model`, into folder `out`, where its codes lie.

    labels   a row a spectrum of the store, as `catalog.join` gives them
    sources  what is told of the label tables in the provenance
    watch    called with every Moment of a retraining and its number of steps
    """
    options = options or FindOptions()
    facts = _made_from(store, model, out, labels, sources, options)
    there = _there(out, facts)
    if there is not None and len(facts.get("retrainings", ())) >= options.stability:
        return FindReport(False, there)
    evidence = gather(store, model, out=out, labels=labels, options=options, say=say)
    if len(facts.get("retrainings", ())) < options.stability:
        retrain(
            store,
            model,
            out=out,
            count=options.stability,
            weights=facts["weights"],
            device=options.device,
            say=say,
            watch=watch,
        )
        facts = _made_from(store, model, out, labels, sources, options)
    if numbers := facts.get("retrainings"):
        say("matching nodes with those of the retrainings")
        evidence = replace(evidence, survival=_survival(evidence, out, numbers, seed=options.seed))
    say("matching nodes with labels, keywords and lines")
    content, tables = assemble(evidence, seed=options.seed)
    tables["labels"] = _label_columns(store, labels)
    content |= {"format": FORMAT, "format_version": VERSION, "provenance": facts}
    _write(out, content, tables)
    return FindReport(True, content)


def gather(
    store: Store,
    model: Path,
    *,
    out: Path,
    labels: pd.DataFrame | None,
    options: FindOptions,
    say: Callable[[str], object] = silent,
) -> Evidence:
    """The evidence: of every held-out target one seeded spectrum, and what the nodes do to them."""
    from ..model.checkpoint import read_model
    from ..model.data import Source
    from ..model.encode import read_codes
    from ..model.fit import device_for, fitted
    from .response import respond

    network, about = read_model(model, unpruned=True)
    codes = read_codes(out / "codes_unpruned.parquet").set_index("spectrum_id")
    index = store.index
    identifiers = index["spectrum_id"].to_numpy(dtype=object)
    targets = index["target"].to_numpy(dtype=object)
    shares = about["split"]
    part = split.assign(targets, shares["seed"], valid=shares["valid"], test=shares["test"])
    encoded = np.isin(identifiers, codes.index.to_numpy(dtype=object))
    if not encoded.all():
        say(f"warning: {(~encoded).sum():,} spectra have no codes yet; run encode to count them in")
    held = np.flatnonzero((part != "train") & encoded)
    if held.size:
        first = split.one_per_target(targets[held], options.seed, identifiers=identifiers[held])
        held = held[first]
    if held.size < FEWEST:
        raise ModelError(
            f"{held.size} targets were held out of training, and findings need {FEWEST}: train again with a "
            f"larger --valid or --test (now {shares['valid']:g} and {shares['test']:g}), or on more stars"
        )
    rows = codes.loc[identifiers[held]]
    mean, sd = (
        rows[[name for name in rows if str(name).startswith(kind)]].to_numpy(np.float64)
        for kind in ("mean_", "sd_")
    )

    device = device_for(options.device)
    wavelength = store.grid.wavelength
    if store.grid.medium == "air":
        wavelength = air_to_vacuum(wavelength)
    recipe = about["recipe"]
    raw = Source.from_store(store, memory=0)
    effects = measure(
        network.to(device),
        fitted(raw, network),
        held,
        mean=mean,
        floor=recipe["floor"][-1][1] if "floor" in recipe else 0.0,
        wavelength=wavelength,
        device=device,
        seed=options.seed,
        say=say,
    )
    chosen = {} if labels is None else {str(name): plain(labels[name].iloc[held]) for name in labels}
    resolution = index["resolution"].to_numpy(np.float64) if "resolution" in index else np.zeros(0)
    responses = respond(
        network,
        fitted(raw, network),
        held,
        nodes=effects.worth_asking(mean, sd),
        wavelength=wavelength,
        berv=None if raw.berv is None else raw.berv.astype(np.float64),
        resolution=float(np.median(seen)) if (seen := resolution[np.isfinite(resolution)]).size else None,
        labels=chosen,
        device=device,
        seed=options.seed,
        say=say,
    )
    place = {row: number for number, row in enumerate(held.tolist())}
    sample = np.array([place[row] for row in effects.rows.tolist()], dtype=np.intp)
    left_out = usable_labels(chosen, len(held), None, options.seed)[1]
    told = {name: values for name, values in chosen.items() if name not in left_out}
    moves = moves_at_labels(mean, told, nodes=list(effects.star), seed=options.seed)
    at_labels = along(
        network, fitted(raw, network), effects, moves, mean=mean[sample], wavelength=wavelength, device=device
    )
    keywords = store.keywords()
    known = {f"index {name}": index[name] for name in INDEX_NUMBERS if name in index}
    known |= {str(name): keywords[name] for name in keywords if name != "row"}
    return Evidence(
        identifiers=identifiers[held],
        targets=targets[held],
        mean=mean,
        sd=sd,
        effects=replace(effects, rows=sample),
        wavelength=wavelength,
        labels=chosen,
        keywords={name: plain(values.iloc[held]) for name, values in known.items()},
        time=index["time"].to_numpy(np.float64)[held] if "time" in index else None,
        moves=moves,
        at_labels=at_labels,
        responses=responses,
        warnings=_of_the_fit(about),
    )


def _of_the_fit(about: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning where the model is far from describing the spectra."""
    from ..model.fit import POOR, poor_fit

    chi2 = about.get("chi2", {})
    held = chi2.get("valid") if chi2.get("valid") is not None else chi2.get("train")
    return (poor_fit(held),) if held is not None and held > POOR else ()


def _survival(evidence: Evidence, out: Path, numbers: list[int], *, seed: int) -> Survival:
    """How nodes came back, on the held-out targets that every retraining has coded."""
    again = [read_retraining(out, number, identifiers=evidence.identifiers) for number in numbers]
    coded = np.isfinite([one.mean.sum(1) for one in again]).all(0)
    return survive(
        evidence.mean[coded],
        evidence.sd[coded],
        others=[(one.mean[coded], one.sd[coded]) for one in again],
        names=numbers,
        seed=seed,
    )


# --- files


def _made_from(
    store: Store,
    model: Path,
    out: Path,
    labels: pd.DataFrame | None,
    sources: Mapping[str, Any] | None,
    options: FindOptions,
) -> dict[str, Any]:
    """What findings are made from: equal facts, equal findings."""
    from ..model.encode import codes_facts

    if not store.finished:
        raise StoreError(f"{store.path}: its ingest is not finished; run it again, then encode")
    codes = out / "codes_unpruned.parquet"
    if not codes.exists():
        raise ModelError(f"{codes} is not there; run: astroprism encode {out}")
    if options.device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"device {options.device!r} is none of auto, cpu, cuda, mps")
    weights = model / "unpruned.safetensors"
    with blame(weights), weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if codes_facts(codes).get("weights") != digest:
        raise ModelError(f"{codes} was made by another model than {weights}; run: astroprism encode {out}")
    with blame(codes), codes.open("rb") as file:
        of_codes = hashlib.file_digest(file, "sha256").hexdigest()
    numbers = finished(out, digest)
    return ({"retrainings": numbers} if numbers else {}) | {
        "version": __version__,
        "store": store.fingerprint,
        "weights": digest,
        "codes": of_codes,
        "labels": None if labels is None else _labels_digest(labels),
        "label_tables": dict(sources or {}),
        "seed": options.seed,
    }


def _label_columns(store: Store, labels: pd.DataFrame | None) -> dict[str, Any]:
    """The labels that were given, a row a spectrum of the store: what predictions and maps read later."""
    columns: dict[str, Any] = {"spectrum_id": store.index["spectrum_id"].tolist()}
    if labels is not None:
        columns |= {str(name): plain(labels[name]) for name in labels}
    return columns


def _labels_digest(labels: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for name in labels:
        values = plain(labels[name])
        digest.update(str(name).encode() + b"\0")
        digest.update(values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode())
    return digest.hexdigest()


def _there(out: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The findings that are there, if they were made from the same."""
    path = out / "findings.json"
    if not path.exists() or not all((out / "findings" / f"{name}.parquet").exists() for name in TABLES):
        return None
    held = read_json(path)
    same = held.get("provenance") == json.loads(json.dumps(facts))
    return held if same and (held.get("format"), held.get("format_version")) == (FORMAT, VERSION) else None


def _write(out: Path, content: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> None:
    """The tables, then findings.json, whose presence says that all is there."""
    import pyarrow as pa
    from pyarrow import parquet

    (out / "findings.json").unlink(missing_ok=True)
    (out / "findings" / "survival.parquet").unlink(missing_ok=True)  # of an earlier model, maybe
    with blame(out):
        (out / "findings").mkdir(parents=True, exist_ok=True)
    about = {"astroprism": json.dumps({"format": FORMAT, "format_version": VERSION})}
    for name, columns in tables.items():
        path = out / "findings" / f"{name}.parquet"
        aside = path.with_name(f".{path.name}.part")
        with blame(path):
            table = pa.table({key: pa.array(values) for key, values in columns.items()})
            parquet.write_table(table.replace_schema_metadata(about), aside)
            sync(aside)
            os.replace(aside, path)
    write_aside(out / "findings.json", (json.dumps(_told(content), indent=1) + "\n").encode())


def _told(value: Any) -> Any:
    """JSON without NaN: what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
