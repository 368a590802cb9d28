"""From a store, a trained model, its codes and label tables to findings.json and findings/*.parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..artifacts import differences, digest, read_json, write_json, write_table
from ..device import check_device
from ..errors import ConfigError, ModelError, StoreError
from ..grid import air_to_vacuum
from ..measures.evidence import plain
from ..measures.match import usable_labels
from ..measures.readout import moves_at_labels
from ..measures.spacing import FEWEST
from ..measures.stability import Survival, survive
from ..progress import Listener, message, silent, warning
from ..schema import FINDINGS, Findings, ModelFacts
from ..targets import split
from .assemble import Evidence, assemble, text_of
from .effects import along, measure
from .retrain import MOST, finished, read_retraining, retrain

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Store

TABLES = ("nodes", "matches", "keywords", "bins", "lines", "left_lines", "derivatives", "responses", "labels")
INDEX_NUMBERS = ("berv", "time", "snr", "resolution", "ra", "dec", "n_good")


@dataclass(frozen=True)
class FindOptions:
    """How findings are made."""

    seed: int = 0  # of every draw: which visit of a star, sampled codes, nulls
    device: str = "auto"  # cpu, cuda or mps, for switching nodes off and for retrainings
    stability: int = 0  # retrainings that nodes must survive; those that are there are always used

    def __post_init__(self) -> None:
        check_device(self.device)
        if not 0 <= self.stability <= MOST:
            raise ConfigError(
                f"stability {self.stability}: between 0 and {MOST} retrainings can be asked for"
            )


@dataclass(frozen=True)
class FindReport:
    """What a run of `find` did: content of findings.json, tables beside it."""

    made: bool  # False where all was there already
    findings: Findings

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"made": self.made, **self.findings.to_json()}

    def text(self) -> str:
        """A short text for people."""
        return text_of(self.findings.to_json())


def find(
    store: Store,
    model: Path,
    *,
    out: Path,
    labels: pd.DataFrame | None = None,
    sources: Mapping[str, Any] | None = None,
    options: FindOptions | None = None,
    progress: Listener = silent,
) -> FindReport:
    """Findings of the model in folder `model`, into folder `out`, where its codes lie.

    labels   a row a spectrum of the store, as `catalog.join` gives them
    sources  what is told of the label tables in the provenance
    progress told of remarks, and counts steps of a retraining with every `Moment`
    """
    options = options or FindOptions()
    facts = _made_from(store, model, out, labels, sources, options)
    there = _there(out, facts)
    if there is not None and len(facts.get("retrainings", ())) >= options.stability:
        return FindReport(False, there)
    evidence = gather(store, model, out=out, labels=labels, options=options, progress=progress)
    if len(facts.get("retrainings", ())) < options.stability:
        retrain(
            store,
            model,
            out=out,
            count=options.stability,
            weights=facts["weights"],
            device=options.device,
            progress=progress,
        )
        facts = _made_from(store, model, out, labels, sources, options)
    if numbers := facts.get("retrainings"):
        progress(message("matching nodes with those of the retrainings"))
        evidence = replace(evidence, survival=_survival(evidence, out, numbers, seed=options.seed))
    progress(message("matching nodes with labels, keywords and lines"))
    content, tables = assemble(evidence, seed=options.seed)
    tables["labels"] = _label_columns(store, labels)
    findings = Findings.from_json(content | FINDINGS.header | {"provenance": facts})
    _write(out, findings, tables)
    return FindReport(True, findings)


def gather(
    store: Store,
    model: Path,
    *,
    out: Path,
    labels: pd.DataFrame | None,
    options: FindOptions,
    progress: Listener = silent,
) -> Evidence:
    """The evidence: of every held-out target one seeded spectrum, and what the nodes do to them."""
    from ..model.data import Source
    from ..model.encode import read_codes
    from ..model.trained import TrainedModel
    from .response import respond

    trained = TrainedModel.read(model, unpruned=True, device=options.device)
    about = trained.facts
    assert about is not None
    codes = read_codes(out / "codes_unpruned.parquet").set_index("spectrum_id")
    index = store.index
    identifiers = index["spectrum_id"].to_numpy(dtype=object)
    targets = index["target"].to_numpy(dtype=object)
    shares = about.split
    part = split.assign(targets, shares.seed, valid=shares.valid, test=shares.test)
    encoded = np.isin(identifiers, codes.index.to_numpy(dtype=object))
    if not encoded.all():
        progress(warning(f"{(~encoded).sum():,} spectra have no codes yet; run encode to count them in"))
    held = np.flatnonzero((part != "train") & encoded)
    if held.size:
        first = split.one_per_target(targets[held], options.seed, identifiers=identifiers[held])
        held = held[first]
    if held.size < FEWEST:
        raise ModelError(
            f"{held.size} targets were held out of training, and findings need {FEWEST}: train again with a "
            f"larger --valid or --test (now {shares.valid:g} and {shares.test:g}), or on more stars"
        )
    rows = codes.loc[identifiers[held]]
    mean, sd = (
        rows[[name for name in rows if str(name).startswith(kind)]].to_numpy(np.float64)
        for kind in ("mean_", "sd_")
    )

    device = trained.device.type
    wavelength = store.grid.wavelength
    if store.grid.medium == "air":
        wavelength = air_to_vacuum(wavelength)
    raw = Source.from_store(store, memory=0)
    network, source = trained.network, trained.source(raw)
    effects = measure(
        network,
        source,
        held,
        mean=mean,
        floor=trained.floor,
        wavelength=wavelength,
        device=device,
        seed=options.seed,
        progress=progress,
    )
    chosen = {} if labels is None else {str(name): plain(labels[name].iloc[held]) for name in labels}
    resolution = index["resolution"].to_numpy(np.float64) if "resolution" in index else np.zeros(0)
    responses = respond(
        network,
        source,
        held,
        nodes=effects.worth_asking(mean, sd),
        wavelength=wavelength,
        berv=None if raw.berv is None else raw.berv.astype(np.float64),
        resolution=float(np.median(seen)) if (seen := resolution[np.isfinite(resolution)]).size else None,
        labels=chosen,
        device=device,
        seed=options.seed,
        progress=progress,
    )
    place = {row: number for number, row in enumerate(held.tolist())}
    sample = np.array([place[row] for row in effects.rows.tolist()], dtype=np.intp)
    left_out = usable_labels(chosen, len(held), None, options.seed)[1]
    told = {name: values for name, values in chosen.items() if name not in left_out}
    moves = moves_at_labels(mean, told, nodes=list(effects.star), seed=options.seed)
    at_labels = along(
        network, source, effects, moves, mean=mean[sample], wavelength=wavelength, device=device
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


def _of_the_fit(facts: ModelFacts) -> tuple[str, ...]:
    """A warning where the model is far from describing the spectra."""
    from ..model.fit import POOR, poor_fit

    held = facts.chi2.train if facts.chi2.valid is None else facts.chi2.valid
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
    weights = model / "unpruned.safetensors"
    made_by = digest(weights)
    if codes_facts(codes).weights != made_by:
        raise ModelError(f"{codes} was made by another model than {weights}; run: astroprism encode {out}")
    numbers = finished(out, made_by)
    return ({"retrainings": numbers} if numbers else {}) | {
        "version": __version__,
        "store": store.fingerprint,
        "weights": made_by,
        "codes": digest(codes),
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
    hashed = hashlib.sha256()
    for name in labels:
        values = plain(labels[name])
        hashed.update(str(name).encode() + b"\0")
        hashed.update(values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode())
    return hashed.hexdigest()


def _there(out: Path, facts: Mapping[str, Any]) -> Findings | None:
    """The findings that are there, if they were made from the same."""
    path = out / "findings.json"
    if not path.exists() or not all((out / "findings" / f"{name}.parquet").exists() for name in TABLES):
        return None
    content = read_json(path)
    if not FINDINGS.fits(content) or differences(content.get("provenance", {}), facts):
        return None
    return Findings.from_json(content, path=path, remedy="delete it and run find again")


def _write(out: Path, findings: Findings, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """The tables, then findings.json, whose presence says that all is there."""
    (out / "findings.json").unlink(missing_ok=True)
    (out / "findings" / "survival.parquet").unlink(missing_ok=True)  # of an earlier model, maybe
    for name, columns in tables.items():
        write_table(out / "findings" / f"{name}.parquet", columns, header=FINDINGS.header)
    write_json(out / "findings.json", findings.to_json())
