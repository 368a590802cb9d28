"""What a path holds, in a few facts: a study, store, model, table of codes, spectrum file or folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .artifacts import digest, read_json
from .errors import UnreadableFile
from .model.encode import codes_facts
from .schema import ModelFacts
from .store import Store


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts on what lies at `path`; `kind` says what it is."""
    place = Path(path)
    if not place.exists():
        raise UnreadableFile(f"{place} does not exist", reason="unreadable")
    if (place / "store.zarr").is_dir():
        return {"kind": "study", "path": str(place), **_about_study(place)}
    if (place / "zarr.json").exists():
        return {"kind": "store", "path": str(place), **_about_store(Store(place))}
    if (place / "model.json").exists() or (place / "plan.json").exists():
        return {"kind": "model", "path": str(place), **_about_model(place)}
    if place.is_dir():
        return _about_folder(place)
    if place.suffix == ".parquet" and place.name.startswith("codes"):
        return {"kind": "table of codes", "path": str(place), **_about_codes(place)}
    from .archive import describe

    return {"kind": "spectrum file", "path": str(place), **describe(place)}


def _about_study(folder: Path) -> dict[str, Any]:
    """Facts on the store, and apart, where they are there, on the model and on the tables of codes."""
    store = Store(folder / "store.zarr")
    facts = _about_store(store)
    if (model := folder / "model").is_dir() and (found := _about_model(model, spectra=len(store))):
        facts["model"] = found
    weights = {"codes": "weights", "codes_unpruned": "unpruned"}
    for path in sorted(folder.glob("codes*.parquet")):
        found = _about_codes(path)
        facts[path.stem] = {**found, "spectra_without": len(store) - found["spectra"]}
        if path.stem in weights:
            made_from = folder / "model" / f"{weights[path.stem]}.safetensors"
            current = made_from.exists() and digest(made_from) == codes_facts(path)["weights"]
            facts[path.stem]["of_this_model"] = current
    return facts


def _about_model(folder: Path, *, spectra: int | None = None) -> dict[str, Any]:
    """What a model is, or how far its training is; `spectra` of the store say how many it never saw."""
    facts: dict[str, Any] = {}
    path = folder / "model.json"
    about = ModelFacts.read(path) if path.exists() else None
    if about is not None:
        facts = {
            "network": about["network"]["kind"],
            "nodes": about["network"]["config"]["n_latent"],
            "kept": about["kept"],
            "steps": about["steps"],
            "seed": about["seed"],
            "trained_on": about["trained_on"]["spectra"],
            "held_out": about["split"]["valid_spectra"] + about["split"]["test_spectra"],
            "chi2_training": about["chi2"]["train"],
            "chi2_held_out": about["chi2"]["valid"],
            "warnings": about["warnings"],
        }
        if spectra is not None:
            facts["spectra_never_seen"] = max(0, spectra - about["store"]["spectra"])
    if (folder / "plan.json").exists():
        facts["unfinished_training"] = f"{read_json(folder / 'plan.json')['recipe']['steps']:,} steps"
    return facts


def _about_codes(path: Path) -> dict[str, Any]:
    facts = codes_facts(path)
    return {name: facts[name] for name in ("spectra", "network", "nodes", "kept", "polished")}


def _about_store(store: Store) -> dict[str, Any]:
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
        "formats": _counts(index["reader"]),
        "visits_of_busiest_target": int(index["target"].value_counts().iloc[0]),
        "refusals": _counts(store.rejects["reason"]) if len(store.rejects) else {},
        "warnings": _counts(index["warnings"][index["warnings"] != ""].str.split("; ").explode()),
        "fingerprint": store.fingerprint,
    }


def _counts(values: Any) -> dict[str, int]:
    return {str(key): int(count) for key, count in values.value_counts().items()}


def _about_folder(folder: Path) -> dict[str, Any]:
    from .archive import identify
    from .errors import SpectrumError
    from .ingest.listing import list_files, spread

    listing = list_files([folder])
    formats: dict[str, int] = {}
    sample = spread(listing.files, 200)
    for entry in sample:
        try:
            name = identify(entry.path)
        except (SpectrumError, OSError):
            name = "unreadable"
        formats[name] = formats.get(name, 0) + 1
    return {
        "kind": "folder",
        "path": str(folder),
        "files": len(listing.files),
        "passed_over": listing.passed_over,
        "bytes": sum(entry.size for entry in listing.files),
        "sampled": len(sample),
        "formats": formats,
    }
