"""What a path holds: a study, a store, a spectrum file or an archive folder, in a few facts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UnreadableFile
from .store import Store


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts on what lies at `path`; `kind` says what it is."""
    place = Path(path)
    if not place.exists():
        raise UnreadableFile(f"{place} does not exist", reason="unreadable")
    if (place / "store.zarr").is_dir():
        return {"kind": "study", "path": str(place), **_about_store(Store(place / "store.zarr"))}
    if (place / "zarr.json").exists():
        return {"kind": "store", "path": str(place), **_about_store(Store(place))}
    if place.is_dir():
        return _about_folder(place)
    from .archive import describe

    return {"kind": "spectrum file", "path": str(place), **describe(place)}


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
