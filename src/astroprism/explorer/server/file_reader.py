"""A process that reads one file of unknown origin, with little memory and time, so that the server is safe.

    python -m astroprism.explorer.server.file_reader FILE FOLDER < grid and configuration of the store

The spectrum on the store's grid goes into FOLDER as plain arrays, what is known of it as JSON. Whatever goes
wrong ends this process, never the server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...apply.spectra import preparation
from ...archive import identify, read
from ...errors import AstroprismError, SpectrumError
from ...grid import Grid
from ...ingest.block import describe
from ...spectrum import Spectrum
from ...store import Store
from ...store.prepare import Prepared, prepare
from ..refusals import Refused, without_folders

SECONDS = 45.0  # of one file on a busy machine, start of the process included
CPU_SECONDS = 20
MEMORY = 3 << 30  # bytes of address space: the libraries take one, long spectra some hundred MB
OUTPUT = 256 << 20  # bytes that it may write
MOST_SPECTRA = 10_000  # of a file that are counted


def prepared_from(content: bytes, name: str, store: Store) -> tuple[Spectrum, Prepared, dict[str, Any]]:
    """The first spectrum of a file, and facts about the file; Refused with 422 where there is none."""
    with tempfile.TemporaryDirectory(prefix="astroprism-drop-") as folder:
        place = Path(folder) / name
        place.write_bytes(content)
        del content
        wanted = json.dumps({"grid": asdict(store.grid), "config": store.config})
        command = [sys.executable, "-m", "astroprism.explorer.server.file_reader", str(place), folder]
        try:
            done = subprocess.run(
                command, input=wanted.encode(), capture_output=True, timeout=SECONDS, env=_environment()
            )
        except subprocess.TimeoutExpired:
            raise Refused(
                422, f"reading the file took more than {SECONDS:.0f} seconds and was stopped"
            ) from None
        answer = Path(folder) / "answer.json"
        if done.returncode or not answer.exists():
            raise Refused(
                422,
                "reading the file brought its reader down, or needed more memory than a dropped file may "
                "have; use: astroprism apply",
            )
        facts = json.loads(answer.read_text())
        if "error" in facts:
            raise Refused(422, facts["error"])
        return *_loaded(Path(folder), facts, store.grid.size), facts


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }


def _loaded(folder: Path, facts: dict[str, Any], pixels: int) -> tuple[Spectrum, Prepared]:
    arrays: dict[str, Any] = {
        name: np.fromfile(folder / f"{name}.raw", kind)
        for name, kind in (("flux", np.float32), ("sigma", np.float32), ("good", np.bool_))
    }
    if any(array.shape != (pixels,) for array in arrays.values()):
        raise Refused(422, "its reader did not finish the spectrum")
    one = dict(facts["spectrum"], warnings=tuple(facts["spectrum"]["warnings"]))
    numbers: dict[str, Any] = {
        name: np.nan if value is None else value for name, value in facts["numbers"].items()
    }
    # the header of the spectrum only; its pixels are those on the grid
    spectrum = Spectrum(wavelength=np.arange(1.0, 3.0), flux=np.ones(2), **one, **numbers)
    known = {key: np.nan if value is None else value for key, value in facts["facts"].items()}
    return spectrum, Prepared(arrays["flux"], arrays["sigma"], arrays["good"], known)


# --- in the process


def _limit() -> None:
    """Limits of this process; a system that does not know one goes without it."""
    import resource

    for name, most in (
        ("RLIMIT_AS", MEMORY),
        ("RLIMIT_CPU", CPU_SECONDS),
        ("RLIMIT_FSIZE", OUTPUT),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 256),
    ):
        try:
            kind = getattr(resource, name)
            _, hard = resource.getrlimit(kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))
        except (AttributeError, ValueError, OSError):  # macOS takes no limit of address space
            continue


def _read(path: Path, folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    grid, options = Grid(**wanted["grid"]), preparation(wanted["config"])
    kind = identify(path)
    first: Spectrum | None = None
    why: SpectrumError | None = None
    count = 0
    for found in read(path):
        count += 1
        if isinstance(found, Spectrum):
            first = first or found
        else:
            why = why or found
        if count >= MOST_SPECTRA:
            break
    if first is None:
        raise why or SpectrumError("the file holds no spectrum", reason="empty")
    with np.errstate(all="ignore"):  # garbage in pixels; masks and checks deal with it
        made = prepare(first, grid, options=options)
    for name, kind_of, array in (
        ("flux", np.float32, made.flux),
        ("sigma", np.float32, made.sigma),
        ("good", np.bool_, made.good),
    ):
        np.ascontiguousarray(array, kind_of).tofile(folder / f"{name}.raw")
    about = describe(first)
    return {
        "format": kind,
        "spectra": count,
        "spectrum": {
            "identifier": first.identifier,
            "target": first.target,
            "medium": first.medium,
            "frame": first.frame,
            "reader": first.reader,
            "warnings": list(first.warnings),
        },
        "numbers": {
            name: _finite(getattr(first, name)) for name in ("ra", "dec", "berv", "time", "snr", "resolution")
        },
        "facts": {key: _finite(value) for key, value in made.facts.items()},
        "pixels": about["n_native"],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main() -> None:
    """Read FILE into FOLDER; an error becomes the answer, the last word of this process."""
    _limit()
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        answer = _read(path, folder, json.load(sys.stdin))
    except AstroprismError as error:
        answer = {"error": without_folders(error)}
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
