"""What a path holds, in a few facts: a study, store, model, table of codes, spectrum file or folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .archive import describe, identify
from .artifacts import digest, read_json
from .errors import AstroprismError, SpectrumError, UnreadableFile
from .folder import StudyFolder
from .ingest.listing import list_files, spread
from .model.encode import codes_facts
from .schema import CodesFacts, ModelFacts, Split
from .store import Store

SAMPLE = 200  # files of a folder whose format is identified


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts on what lies at `path`; `kind` says what it is."""
    place = Path(path)
    if not place.exists():
        raise UnreadableFile(f"{place} does not exist", reason="unreadable")
    if (place / "store.zarr").is_dir():
        return {"kind": "study", "path": str(place), **study_info(StudyFolder(place))}
    if (place / "zarr.json").exists():
        return {"kind": "store", "path": str(place), **store_info(Store(place))}
    if ModelFacts.path_in(place).exists() or (place / "plan.json").exists():
        return {"kind": "model", "path": str(place), **model_info(place)}
    if place.is_dir():
        return {"kind": "folder", "path": str(place), **folder_info(place)}
    if place.suffix == ".parquet" and place.name.startswith("codes"):
        return {"kind": "table of codes", "path": str(place), **codes_info(codes_facts(place))}
    return {"kind": "spectrum file", "path": str(place), **describe(place)}


def study_info(folder: StudyFolder) -> dict[str, Any]:
    """Facts on the store, and apart, where they are there, on the model and on the tables of codes."""
    store = folder.store
    facts = store_info(store)
    if folder.model_path.is_dir() and (found := model_info(folder.model_path, spectra=len(store))):
        facts["model"] = found
    weights = {"codes": "weights.safetensors", "codes_unpruned": "unpruned.safetensors"}
    for path in sorted(folder.path.glob("codes*.parquet")):
        of_codes = codes_facts(path)
        facts[path.stem] = {**codes_info(of_codes), "spectra_without": len(store) - of_codes.spectra}
        if path.stem in weights:
            made_from = folder.model_path / weights[path.stem]
            current = made_from.exists() and digest(made_from) == of_codes.weights
            facts[path.stem]["of_this_model"] = current
    return facts


def model_info(folder: Path, *, spectra: int | None = None) -> dict[str, Any]:
    """What a model is, or how far its training is; `spectra` of the store say how many are newer than it."""
    facts: dict[str, Any] = {}
    try:
        model = ModelFacts.in_folder(folder)
    except AstroprismError as error:
        return {"damaged": str(error)}
    if model is not None:
        facts = {
            "network": model.network.kind,
            "nodes": model.network.nodes,
            "kept": model.kept,
            "steps": model.steps,
            "seed": model.seed,
            "trained_on": model.trained_on.spectra,
            "held_out": model.split.held_out_spectra,
            "unit_of_split": model.split.unit,
            "evidence": _evidence(model.split),
            "chi2_training": model.chi2.train,
            "chi2_held_out": model.chi2.valid,
            "warnings": model.warnings,
        }
        if spectra is not None:
            facts["spectra_never_seen"] = max(0, spectra - model.store.spectra)
    if (folder / "plan.json").exists():
        facts["unfinished_training"] = f"{read_json(folder / 'plan.json')['recipe']['steps']:,} steps"
    return facts


def _evidence(split: Split) -> str:
    """What findings on a model will rest on, in words."""
    why = f" ({split.reason})" if split.reason else ""
    if split.folds:
        return f"{split.folds}-fold cross-fitting over {split.unit}s{why}"
    return f"{split.unit}s held out of training{why}"


def codes_info(facts: CodesFacts) -> dict[str, Any]:
    """What a table of codes is."""
    return {name: getattr(facts, name) for name in ("spectra", "network", "nodes", "kept", "polished")}


def store_info(store: Store) -> dict[str, Any]:
    """Grid, sizes and, where there are spectra, what they are like."""
    index, grid = store.index, store.grid
    wavelength = grid.wavelength
    facts: dict[str, Any] = {
        "spectra": len(store),
        "targets": int(index["target"].nunique()) if len(index) else 0,
        "refused": len(store.rejects),
        "finished": store.finished,
        "grid": grid.text,
        "pixels": grid.size,
        "range_angstrom": [float(wavelength[0]), float(wavelength[-1])],
        "medium": grid.medium,
        "step": f"{grid.step:g} {'km/s' if grid.kind == 'log' else 'angstrom'}",
        "dtype": store.layout.dtype,
        "bytes": sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file()),
        **{name: store.config[name] for name in ("frame", "normalise")},
    }
    if not len(index):
        return facts
    return facts | {
        "snr_5_50_95": [round(float(value), 1) for value in np.nanquantile(index["snr"], (0.05, 0.5, 0.95))],
        "good_share": round(float(index["n_good"].mean()) / grid.size, 4),
        "spikes_masked": int(index["n_spikes"].sum()),
        "sigma_from": _counts(index["sigma_from"]),
        "frames": _counts(index["frame"]),
        "berv_from": _counts(index["berv_source"]) if "berv_source" in index else {},
        "formats": _counts(index["reader"]),
        "visits_of_busiest_target": int(index["target"].value_counts().iloc[0]),
        "refusals": _counts(store.rejects["reason"]) if len(store.rejects) else {},
        "warnings": _counts(index["warnings"][index["warnings"] != ""].str.split("; ").explode()),
        "fingerprint": store.fingerprint,
    }


def folder_info(folder: Path) -> dict[str, Any]:
    """Files under a folder, and the formats of a sample of them."""
    listing = list_files([folder])
    formats: dict[str, int] = {}
    sample = spread(listing.files, SAMPLE)
    for entry in sample:
        try:
            name = identify(entry.path)
        except (SpectrumError, OSError):
            name = "unreadable"
        formats[name] = formats.get(name, 0) + 1
    return {
        "files": len(listing.files),
        "passed_over": listing.passed_over,
        "bytes": sum(entry.size for entry in listing.files),
        "sampled": len(sample),
        "formats": formats,
    }


def _counts(values: Any) -> dict[str, int]:
    return {str(key): int(count) for key, count in values.value_counts().items()}
