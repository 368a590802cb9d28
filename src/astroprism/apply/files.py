"""Files and folders to one table of what a study's model makes of their spectra, a block of files at a time.

TABLE                 a row per spectrum: .csv, .parquet, .fits, .vot or .xml (VOTable)
TABLE.refused.csv     a row per refusal, with its reason, where there are any
.TABLE.parts/         blocks that are done, while it is under way; a kill costs one block
.TABLE.made.json      what the table was made from, so that the same command finds nothing to do
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..archive import ReadOptions
from ..artifacts import blame, digest_of_json, read_json, write_bytes, write_json
from ..errors import ConfigError, SpectrumError
from ..folder import StudyFolder
from ..ingest.block import deadline, seconds_for, spectra_of
from ..ingest.listing import FileEntry, list_files
from ..measures.probe import ClassProbe
from ..progress import Listener, count, silent
from ..spectrum import Spectrum
from ..store.prepare import Prepared, prepare
from .reference import CalibratedModel, calibrated_model
from .spectra import Applied, ApplyOptions, Refused, apply_prepared, apply_spectra, preparation
from .table import format_of, renamed_labels, require_writable, write_applied, write_frame

if TYPE_CHECKING:
    import pandas as pd

FILES_PER_BLOCK = 64
GROUP_PIXELS = 2**24  # of the spectra that go through at once
VERSION = 2


@dataclass(frozen=True)
class ApplyReport:
    """What a run did. Spectra: met = applied + refused; a file can hold several."""

    made: bool  # False where the table was there already
    table: str
    files: int
    passed_over: int  # no spectra by their names
    met: int
    applied: int
    refused: int
    reasons: dict[str, int]
    warned: int  # outside of what the model was trained on
    odd: int  # outlier p of .01 or less
    labels: list[str]
    labels_missing: dict[str, str]
    renamed: dict[str, str] = field(default_factory=dict)  # label -> column, where its name is a measured one

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def apply_files(
    folder: StudyFolder,
    paths: Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    options: ApplyOptions | None = None,
    progress: Listener = silent,
) -> ApplyReport:
    """Apply the study's model to the spectra in files and folders, to the table `out`.

    progress counts files.
    """
    options = options or ApplyOptions()
    path = Path(out).absolute()
    format_of(path)
    listing = list_files(paths)
    files = [entry for entry in listing.files if entry.path != str(path)]
    if not files:
        raise ConfigError(f"no files to apply to ({listing.passed_over} passed over as no spectra)")
    require_writable(path)
    calibrated = calibrated_model(folder, device=options.device, progress=progress)
    key = _key(calibrated, files, options)
    beside = path.with_name(f".{path.name}.made.json")
    there = _made(path, beside, key)
    if there is not None:
        return there
    parts = path.with_name(f".{path.name}.parts")
    blocks_folder = parts / key[:16]
    if parts.exists() and not blocks_folder.exists():
        shutil.rmtree(parts, ignore_errors=True)  # of other files, or of a study that has changed
    blocks = [files[start : start + FILES_PER_BLOCK] for start in range(0, len(files), FILES_PER_BLOCK)]
    done = 0
    for number, block in enumerate(blocks):
        if not (blocks_folder / f"{number:06d}.json").exists():
            _block(folder, calibrated, block, options=options, stem=blocks_folder / f"{number:06d}")
        done += len(block)
        progress(count(done, len(files)))
    frame, refused = _merged(blocks_folder, len(blocks))
    write_applied(path, frame, made_from=key)
    _write_refused(path, refused)
    report = ApplyReport(
        made=True,
        table=str(path),
        files=len(files),
        passed_over=listing.passed_over,
        met=len(frame) + len(refused),
        applied=len(frame),
        refused=len(refused),
        reasons={str(k): int(v) for k, v in refused["reason"].value_counts().items()},
        warned=int((frame["warning"] != "").sum()),
        odd=int((frame["outlier_p"] <= 0.01).sum()),
        labels=list(calibrated.probe.labels),
        labels_missing=dict(calibrated.probe.left_out),
        renamed=renamed_labels(
            {name: isinstance(one, ClassProbe) for name, one in calibrated.probe.labels.items()}
        ),
    )
    write_json(beside, {"key": key, "table": _stamp(path), "report": report.as_dict()})
    shutil.rmtree(parts, ignore_errors=True)
    return report


def apply_files_in_memory(
    folder: StudyFolder,
    paths: Iterable[str | os.PathLike[str]],
    *,
    options: ApplyOptions | None = None,
    progress: Listener = silent,
) -> Applied:
    """As `apply_spectra`, of files that fit into memory."""
    options = options or ApplyOptions()
    reading = _reading(options)
    spectra: list[Spectrum] = []
    refused: list[Refused] = []
    for entry in list_files(paths).files:
        for found in spectra_of(entry.path, reading, seconds=seconds_for(entry.path)):
            if isinstance(found, Spectrum):
                spectra.append(found)
            else:
                refused.append(Refused(Path(entry.path).name, found.reason, str(found)))
    applied = apply_spectra(folder, spectra, device=options.device, progress=progress)
    return replace(applied, refused=[*refused, *applied.refused])


def _reading(options: ApplyOptions) -> ReadOptions:
    return ReadOptions(checksum=options.checksum, medium=options.medium, wave_unit=options.wave_unit)


# --- blocks


def _block(
    folder: StudyFolder,
    calibrated: CalibratedModel,
    files: Sequence[FileEntry],
    *,
    options: ApplyOptions,
    stem: Path,
) -> None:
    """The spectra of some files to a part of the table; its list of refusals is written last."""
    import pandas as pd

    grid, preparing, reading = folder.store.grid, preparation(folder.store.config), _reading(options)
    most = max(1, GROUP_PIXELS // grid.size)
    frames: list[pd.DataFrame] = []
    refused: list[dict[str, Any]] = []
    group: list[tuple[Spectrum, Prepared]] = []
    places: list[tuple[str, int]] = []

    def flush() -> None:
        frame = apply_prepared(calibrated, group).frame
        frame.insert(2, "path", [path for path, _ in places])
        frame.insert(3, "item", np.array([item for _, item in places], dtype=np.int64))
        frames.append(frame)
        group.clear()
        places.clear()

    def refuse(path: str, item: int, one: Refused) -> None:
        refused.append({"path": path, "item": item, **asdict(one)})

    for entry in files:
        item, seconds = -1, seconds_for(entry.path)
        for item, found in enumerate(spectra_of(entry.path, reading, seconds=seconds)):
            if not isinstance(found, Spectrum):
                refuse(entry.path, item, Refused("", found.reason, str(found)))
                continue
            try:
                with deadline(seconds), np.errstate(all="ignore"):
                    group.append((found, prepare(found, grid, options=preparing)))
            except SpectrumError as error:
                refuse(entry.path, item, Refused(found.identifier, error.reason, str(error)))
            except Exception as error:  # a file we did not foresee must not end the run, nor go uncounted
                why = f"unforeseen {type(error).__name__}: {error}"[:500]
                refuse(entry.path, item, Refused(found.identifier, "crash", why))
            else:
                places.append((entry.path, item))
            if len(group) >= most:
                flush()
        if item < 0:
            refuse(entry.path, 0, Refused("", "empty", "the file holds no spectrum"))
    flush()  # an empty one too: it has the columns
    write_frame(stem.with_suffix(".parquet"), pd.concat(frames, ignore_index=True), header={})
    write_json(stem.with_suffix(".json"), {"refused": refused})


def _merged(blocks_folder: Path, blocks: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All rows, and all refusals."""
    import pandas as pd

    stems = [blocks_folder / f"{number:06d}" for number in range(blocks)]
    frames = [pd.read_parquet(stem.with_suffix(".parquet")) for stem in stems]
    full = [frame for frame in frames if len(frame)] or frames[:1]
    refused = [row for stem in stems for row in read_json(stem.with_suffix(".json"))["refused"]]
    columns = ["path", "item", "identifier", "reason", "message"]
    return pd.concat(full, ignore_index=True), pd.DataFrame(refused, columns=columns)


def _write_refused(path: Path, refused: pd.DataFrame) -> None:
    beside = path.with_name(f"{path.name}.refused.csv")
    if refused.empty:
        with blame(beside):
            beside.unlink(missing_ok=True)
    else:
        write_bytes(beside, refused.to_csv(index=False).encode())


# --- what is there


def _key(calibrated: CalibratedModel, files: Sequence[FileEntry], options: ApplyOptions) -> str:
    """Digest of what the table is made from."""
    listed = [[entry.path, entry.size, entry.mtime_ns] for entry in files]
    return digest_of_json([VERSION, calibrated.probe.facts, asdict(options), listed])


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _made(path: Path, beside: Path, key: str) -> ApplyReport | None:
    """The report of the run that made the table that is there, if it was of the same."""
    if not (path.exists() and beside.exists()):
        return None
    facts = read_json(beside)
    if facts.get("key") != key or facts.get("table") != _stamp(path):
        return None
    return ApplyReport(**facts["report"] | {"made": False})
