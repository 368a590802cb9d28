"""From a study with a trained model, its codes and label tables to findings.json and findings/*.parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..artifacts import blame, differences, digest, write_json, write_table
from ..device import check_device
from ..errors import ConfigError, ModelError, StoreError
from ..folder import StudyFolder
from ..grid import air_to_vacuum
from ..measures.crossfit import CrossFitted
from ..measures.evidence import column_values
from ..measures.features import resolution_element
from ..measures.match import usable_labels
from ..measures.readout import moves_at_labels
from ..measures.spacing import FEWEST
from ..measures.stability import Survival, survive
from ..model.data import Source
from ..model.encode import codes_facts
from ..model.fit import POOR, POOR_BEGINS, poor_fit
from ..progress import Listener, message, silent, warning
from ..schema import FINDINGS, EvidenceFacts, Findings, ModelFacts, Split
from ..targets import split
from ..targets.plan import check_folds
from .assemble import Evidence, assemble, text_of
from .calibration import response_shapes
from .effects import along, measure
from .folds import Folds, read_folds, train_folds
from .response import respond
from .retrain import MOST, finished, mean_and_sd, read_retraining, retrain
from .visits import Visits, visits_of

if TYPE_CHECKING:
    import pandas as pd


TABLES = ("nodes", "matches", "keywords", "bins", "lines", "left_lines", "derivatives", "responses", "labels")
MAYBE = ("variance", "series", "periodograms")  # tables that only some studies have
INDEX_COLUMNS = ("berv", "time", "snr", "resolution", "ra", "dec", "n_good", "reader", "frame", "sigma_from")


@dataclass(frozen=True)
class FindOptions:
    """How findings are made."""

    seed: int = 0  # of every draw: which visit of a star, sampled codes, nulls
    device: str = "auto"  # cpu, cuda or mps, for switching nodes off and for retrainings
    stability: int = 0  # retrainings that nodes must survive; those that are there are always used
    folds: int | None = None  # of cross-fitting; None: as was planned before the training; 0: none

    def __post_init__(self) -> None:
        check_device(self.device)
        check_folds(self.folds)
        if not 0 <= self.stability <= MOST:
            raise ConfigError(f"stability {self.stability}: between 0 and {MOST} retrainings are possible")


@dataclass(frozen=True)
class FindReport:
    """What a run of `find` did."""

    made: bool  # False where the findings were there already, made from the same
    findings: Findings

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"made": self.made, **self.findings.to_json()}

    def text(self) -> str:
        """A short text for people."""
        return text_of(self.findings)


def find(
    folder: StudyFolder,
    *,
    labels: pd.DataFrame | None = None,
    sources: Mapping[str, Any] | None = None,
    label_notes: Mapping[str, str] | None = None,
    unusable: Mapping[str, str] | None = None,
    options: FindOptions | None = None,
    progress: Listener = silent,
) -> FindReport:
    """Findings of the study's model, written into its folder.

    labels    a row per spectrum of the store, as `catalog.join` gives them
    sources   what the provenance says of the label tables
    label_notes, unusable  how labels were read, and why columns are none, as `catalog.JoinReport` says
    progress  gets remarks, and counts the steps of a retraining, each with its `Moment`
    """
    options = options or FindOptions()
    made_from = _made_from(folder, labels, sources, options)
    existing = _existing(folder, made_from)
    enough = len(made_from.get("retrainings", ())) >= options.stability
    if existing is not None and enough:
        return FindReport(False, existing)
    _require_evidence(folder, options)
    if count := made_from.get("folds", 0):
        weights = made_from["weights"]
        train_folds(folder, count=count, weights=weights, device=options.device, progress=progress)
    evidence = gather(folder, labels=labels, options=options, progress=progress)
    if not enough:
        weights = made_from["weights"]
        retrain(folder, count=options.stability, weights=weights, device=options.device, progress=progress)
        made_from = _made_from(folder, labels, sources, options)
    if numbers := made_from.get("retrainings"):
        progress(message("matching nodes with those of the retrainings"))
        evidence = replace(evidence, survival=_survival(folder, evidence, numbers, seed=options.seed))
    evidence = replace(evidence, label_notes=dict(label_notes or {}), unusable=dict(unusable or {}))
    progress(message("matching nodes with labels, keywords and lines"))
    findings, tables = assemble(evidence, provenance=made_from, seed=options.seed)
    if evidence.crossfit is not None:
        tables["crossfit"] = _crossfit_table(folder, evidence.crossfit)
    tables["labels"] = {
        "spectrum_id": folder.index["spectrum_id"].tolist()
    }  # which maps and predictions read
    if labels is not None:
        tables["labels"] |= {
            str(name): column_values(labels[name]) for name in labels if str(name) != "spectrum_id"
        }
    with blame(folder.path):
        folder.findings_path.unlink(missing_ok=True)
        for name in ("survival", "crossfit", *MAYBE):  # of an earlier model, maybe
            folder.table_path(name).unlink(missing_ok=True)
    for name, columns in tables.items():
        write_table(folder.table_path(name), columns, header=FINDINGS.header)
    write_json(folder.findings_path, findings.to_json())  # last: its presence says that all is there
    return FindReport(True, findings)


def gather(
    folder: StudyFolder,
    *,
    labels: pd.DataFrame | None,
    options: FindOptions,
    progress: Listener = silent,
) -> Evidence:
    """The evidence: one seeded spectrum of every unit held out or cross-fitted, and what nodes do to them."""
    model = folder.model(unpruned=True, device=options.device)
    store, facts = folder.store, folder.require_model()
    codes = folder.codes(unpruned=True).set_index("spectrum_id")
    index = store.index
    identifiers = index["spectrum_id"].to_numpy(dtype=object)
    targets = index["target"].to_numpy(dtype=object)
    shares = facts.split
    units = split.units(index, shares)
    encoded = np.isin(identifiers, codes.index.to_numpy(dtype=object))
    if not encoded.all():
        progress(warning(f"{(~encoded).sum():,} spectra have no codes yet; run encode to include them"))
    folds = _folds(folder, options, codes=codes, progress=progress)
    held = np.flatnonzero((_evidence_rows(index, shares) if folds is None else folds.fold >= 0) & encoded)
    if held.size:
        held = held[split.one_per_target(units[held], options.seed, identifiers=identifiers[held])]
    if held.size < FEWEST:
        raise ModelError(_too_few(held.size, shares))
    own, own_sd = mean_and_sd(codes.loc[identifiers[held]])
    mean, sd = (own, own_sd) if folds is None else (folds.codes.mean[held], folds.codes.sd[held])

    wavelength = store.grid.wavelength
    if store.grid.medium == "air":
        wavelength = air_to_vacuum(wavelength)
    whole = Source.from_store(store, memory=0)
    source = model.source(whole)
    effects = measure(
        model,
        source,
        held,
        mean=own,
        wavelength=wavelength,
        out_of_fold=None if folds is None else mean,
        seed=options.seed,
        progress=progress,
    )
    given = {} if labels is None else {str(name): column_values(labels[name].iloc[held]) for name in labels}
    resolution = index["resolution"].to_numpy(np.float64) if "resolution" in index else np.zeros(0)
    resolution = resolution[np.isfinite(resolution)]
    stated = float(np.median(resolution)) if resolution.size else None
    responses = respond(
        model,
        source,
        held,
        nodes=effects.candidates(mean, sd),
        wavelength=wavelength,
        berv=None if whole.berv is None else whole.berv.astype(np.float64),
        resolution=stated,
        labels=given,
        seed=options.seed,
        progress=progress,
    )
    place = {row: number for number, row in enumerate(held.tolist())}
    sample = np.array([place[row] for row in effects.rows.tolist()], dtype=np.intp)
    left_out = usable_labels(given, len(held), None, options.seed)[1]
    usable = {name: values for name, values in given.items() if name not in left_out}
    moves = moves_at_labels(mean, usable, nodes=list(effects.star), seed=options.seed)
    at_labels = along(model, source, effects, moves, mean=own[sample], wavelength=wavelength)
    keywords = store.keywords()
    columns = {f"index {name}": index[name] for name in INDEX_COLUMNS if name in index}
    columns |= {str(name): keywords[name] for name in keywords if name != "row"}
    return Evidence(
        identifiers=identifiers[held],
        targets=targets[held],
        mean=mean,
        sd=sd,
        effects=replace(effects, rows=sample),
        wavelength=wavelength,
        labels=given,
        keywords={name: column_values(values.iloc[held]) for name, values in columns.items()},
        time=index["time"].to_numpy(np.float64)[held] if "time" in index else None,
        moves=moves,
        at_labels=at_labels,
        responses=responses,
        axes=facts.axes,
        response=response_shapes(model, source, held),
        element=resolution_element(wavelength, effects.made, resolution=stated),
        crossfit=None if folds is None else folds.codes,
        facts=EvidenceFacts(
            shares.unit, len(held), len(set(targets[held].tolist())), 0 if folds is None else folds.count
        ),
        visits=_visits(folder, codes=codes, held=_evidence_rows(index, shares), device=options.device),
        warnings=(*_fit_warnings(facts), *_unit_warnings(shares, len(set(targets[held].tolist())))),
    )


def _crossfit_table(folder: StudyFolder, codes: CrossFitted) -> dict[str, Any]:
    """A row per spectrum with a code out of fold: identifier, unit, mean_000.., sd_000..."""
    rows = np.flatnonzero(np.isfinite(codes.mean).all(1))
    columns: dict[str, Any] = {"spectrum_id": folder.index["spectrum_id"].iloc[rows].tolist()}
    columns["unit"] = split.units(folder.index, folder.require_model().split)[rows].tolist()
    for kind, values in (("mean", codes.mean), ("sd", codes.sd)):
        columns |= {f"{kind}_{i:03d}": values[rows, i].copy() for i in range(values.shape[1])}
    return columns


def _evidence_rows(index: pd.DataFrame, shares: Split) -> NDArray[np.bool_]:
    """Spectra held out of training, (n,)."""
    return split.held_out(split.as_trained(index, shares))


def _folds(
    folder: StudyFolder, options: FindOptions, *, codes: pd.DataFrame, progress: Listener
) -> Folds | None:
    """The codes out of fold; None where evidence is what was held out."""
    count = _fold_count(folder, options)
    if not count:
        return None
    progress(message(f"bringing the codes of {count} folds to the axes of the model"))
    identifiers = folder.index["spectrum_id"].to_numpy(dtype=object)
    mean, sd = mean_and_sd(codes.reindex(identifiers))
    found = read_folds(folder, count=count, mean=mean, sd=sd, seed=options.seed)
    if later := int(((found.fold < 0) & np.isfinite(mean).all(1)).sum()):
        progress(
            warning(f"{later:,} spectra came after the folds and give no evidence; train again with --again")
        )
    return found


def _fold_count(folder: StudyFolder, options: FindOptions) -> int:
    """How many folds the findings rest on, 0 for none."""
    return folder.require_model().split.folds if options.folds is None else options.folds


def _require_evidence(folder: StudyFolder, options: FindOptions) -> None:
    """Refuse, before anything is trained for it, what will not give enough evidence."""
    shares, index = folder.require_model().split, folder.index
    units, count = split.units(index, shares), _fold_count(folder, options)
    held = len(set(units[_evidence_rows(index, shares)].tolist()))
    number = len(set(units.tolist())) if count else held
    if number < FEWEST:
        raise ModelError(_too_few(number, shares))
    if options.stability and held < FEWEST:
        raise ModelError(
            f"--stability compares trainings on units that none of them was trained on: {held} are held out, "
            f"and {FEWEST} are needed. Train again with a larger --valid; without it, cross-fitting already "
            "says which nodes return"
        )


def _too_few(number: int, shares: Split) -> str:
    whole = f"{number} {shares.unit}{'s' * (number != 1)}"
    return (
        f"{whole} were held out of training or cross-fitted, and findings need {FEWEST}: cross-fit with "
        f"--folds 5, train again with a larger --valid or --test (now {shares.valid:g} and "
        f"{shares.test:g}), or on more {'stars' if shares.unit == 'target' else 'nights'}"
    )


def _unit_warnings(shares: Split, targets: int) -> tuple[str, ...]:
    """What evidence over nights cannot show."""
    if shares.unit == "target":
        return ()
    text = (
        f"evidence is over {shares.unit}s of {targets} target{'s' * (targets != 1)}: it holds for what "
        "changes with time. What differs from star to star rests on so few stars, whatever its interval"
    )
    if shares.unit == "block":
        text += "; what changes more slowly than a block repeats in the next, so intervals are too narrow"
    return (text,)


def _visits(folder: StudyFolder, *, codes: pd.DataFrame, held: NDArray[np.bool_], device: str) -> Visits:
    """Every encoded spectrum; codes by identifier, held (spectra of the store,)."""
    index, keywords = folder.index, folder.store.keywords()
    polished, model = folder.codes().set_index("spectrum_id"), folder.model(device=device)
    if not model.moves_star and model.one_star:
        # a star at rest needs no such node, but that it is at rest is to be seen
        polished, model = codes, folder.model(unpruned=True, device=device)
    both = index["spectrum_id"].isin(codes.index) & index["spectrum_id"].isin(polished.index)
    rows = np.flatnonzero(both.to_numpy())
    names = index["spectrum_id"].iloc[rows]
    mean, sd = mean_and_sd(codes.loc[names])
    source = model.source(Source.from_store(folder.store, memory=0))
    return visits_of(
        index.iloc[rows],
        keywords.iloc[rows],
        mean=mean,
        sd=sd,
        held=held[rows],
        model=model,
        polished=mean_and_sd(polished.loc[names]),
        spectra=lambda some: source.tensors(rows[some]),
    )


def _fit_warnings(facts: ModelFacts) -> tuple[str, ...]:
    """A warning where the model is far from describing the spectra."""
    chi2 = facts.chi2.train if facts.chi2.valid is None else facts.chi2.valid
    if chi2 is None or chi2 <= POOR:
        return ()
    return (next((text for text in facts.warnings if text.startswith(POOR_BEGINS)), poor_fit(chi2)),)


def _survival(folder: StudyFolder, evidence: Evidence, numbers: list[int], *, seed: int) -> Survival:
    """How nodes came back, on the held-out targets that every retraining has encoded."""
    again = [read_retraining(folder, number, identifiers=evidence.identifiers) for number in numbers]
    encoded = np.isfinite([one.mean.sum(1) for one in again]).all(0)
    return survive(
        evidence.mean[encoded],
        evidence.sd[encoded],
        others=[(one.mean[encoded], one.sd[encoded]) for one in again],
        names=numbers,
        seed=seed,
    )


# --- what findings are made from


def _made_from(
    folder: StudyFolder,
    labels: pd.DataFrame | None,
    sources: Mapping[str, Any] | None,
    options: FindOptions,
) -> dict[str, Any]:
    """What findings are made from: the same facts, the same findings."""
    store = folder.store
    if not store.finished:
        raise StoreError(f"{store.path}: its ingest is not finished; run it again, then encode")
    codes, weights = folder.codes_path(unpruned=True), folder.model_path / "unpruned.safetensors"
    if not codes.exists():
        raise ModelError(f"{codes} is not there; run: astroprism encode {folder.path}")
    key = digest(weights)
    if codes_facts(codes).weights != key:
        raise ModelError(
            f"{codes} was made by another model than {weights}; run: astroprism encode {folder.path}"
        )
    numbers, folds = finished(folder, key), _fold_count(folder, options)
    return (
        ({"retrainings": numbers} if numbers else {})
        | ({"folds": folds} if folds else {})
        | {
            "version": __version__,
            "store": store.fingerprint,
            "weights": key,
            "codes": digest(codes),
            "labels": None if labels is None else _labels_digest(labels),
            "label_tables": dict(sources or {}),
            "seed": options.seed,
        }
    )


def _labels_digest(labels: pd.DataFrame) -> str:
    hashed = hashlib.sha256()
    for name in labels:
        values = column_values(labels[name])
        hashed.update(str(name).encode() + b"\0")
        hashed.update(values.tobytes() if values.dtype.kind != "O" else repr(values.tolist()).encode())
    return hashed.hexdigest()


def _existing(folder: StudyFolder, made_from: Mapping[str, Any]) -> Findings | None:
    """The findings that are there, if they were made from the same."""
    path = folder.findings_path
    if not path.exists() or not all(folder.table_path(name).exists() for name in TABLES):
        return None
    try:
        findings = Findings.read(path)
    except (StoreError, ModelError):  # damaged, or of another version: made again
        return None
    return None if differences(findings.provenance, made_from) else findings
