"""Files and folders to one table of what a study says of their spectra, a block of files at a time.

TABLE                 a row a spectrum: .csv, .parquet, .fits, .vot or .xml (VOTable)
TABLE.refused.csv     a row a refusal, with its reason, where there are any
.TABLE.parts/         blocks that are done, while it is under way; a kill costs one block
.TABLE.made.json      what the table was made from, so that the same command finds nothing to do
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..archive import ReadOptions
from ..artifacts import blame, read_json, sync, write_bytes
from ..errors import ConfigError, SpectrumError
from ..ingest.block import deadline, seconds_for, spectra_of
from ..ingest.listing import FileEntry, list_files
from ..spectrum import Spectrum
from ..store.prepare import Prepared, prepare
from .ranking import write_frame
from .reference import Kit, silent
from .spectra import Applied, Refused, StudyLike, apply_prepared, apply_spectra, kit_for, preparation

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = {".csv": "csv", ".parquet": "parquet", ".fits": "fits", ".vot": "votable", ".xml": "votable"}
FILES_A_BLOCK = 64
GROUP_PIXELS = 2**24  # of the spectra that go through at once
VERSION = 1


@dataclass(frozen=True)
class ApplyOptions:
    """How files are read and where the network runs.

    medium    air or vacuum, for files that do not say which; None: as their format has it by custom
    checksum  verify: files whose own checksum fails are refused; ignore: they are read
    """

    device: str = "auto"
    medium: str | None = None
    checksum: str = "verify"

    def __post_init__(self) -> None:
        if self.medium not in (None, "air", "vacuum"):
            raise ConfigError(f"medium {self.medium!r} is neither 'air' nor 'vacuum'")
        if self.checksum not in ("verify", "ignore"):
            raise ConfigError(f"checksum {self.checksum!r} is neither 'verify' nor 'ignore'")


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
    warned: int  # outside what the model has seen
    odd: int  # outlier p of .01 or less
    labels: list[str]
    labels_missing: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def apply_files(
    study: StudyLike,
    paths: Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    options: ApplyOptions | None = None,
    say: Callable[[str], object] = silent,
    watch: Callable[[int, int], object] = silent,
) -> ApplyReport:
    """Bring what the study says of the spectra in files and folders to the table `out`.

    watch  called with files done and to do
    """
    options = options or ApplyOptions()
    path = Path(out).absolute()
    kind = _kind(path)
    listing = list_files(paths)
    files = [entry for entry in listing.files if entry.path != str(path)]
    if not files:
        raise ConfigError(f"no files to apply to ({listing.passed_over} passed over as no spectra)")
    parts = path.with_name(f".{path.name}.parts")
    _may_write(path)
    kit = kit_for(study, device=options.device, say=say)
    key = _key(kit, files, options)
    made_from = path.with_name(f".{path.name}.made.json")
    there = _made(path, made_from, key)
    if there is not None:
        return there
    folder = parts / key[:16]
    if parts.exists() and not folder.exists():
        shutil.rmtree(parts, ignore_errors=True)  # of files or a study that are others now
    with blame(path):
        folder.mkdir(parents=True, exist_ok=True)
    blocks = [files[start : start + FILES_A_BLOCK] for start in range(0, len(files), FILES_A_BLOCK)]
    done = 0
    for number, block in enumerate(blocks):
        if not (folder / f"{number:06d}.json").exists():
            _block(study, kit, block, options=options, stem=folder / f"{number:06d}")
        done += len(block)
        watch(done, len(files))
    frame, refused = _merged(folder, len(blocks))
    _write_table(path, frame, kind, facts={"made_from": key})
    _write_refused(path, refused)
    report = ApplyReport(
        True,
        str(path),
        len(files),
        listing.passed_over,
        len(frame) + len(refused),
        len(frame),
        len(refused),
        {} if refused.empty else {str(k): int(v) for k, v in refused["reason"].value_counts().items()},
        int((frame["warning"] != "").sum()),
        int((frame["outlier_p"] <= 0.01).sum()),
        list(kit.probe.labels),
        dict(kit.probe.left_out),
    )
    facts = {"key": key, "table": _stamp(path), "report": report.as_dict()}
    write_bytes(made_from, (json.dumps(facts) + "\n").encode())
    shutil.rmtree(parts, ignore_errors=True)
    return report


def paths_of(things: Any) -> list[str | os.PathLike[str]] | None:
    """Paths, if `things` is one or a list of them; None where it is spectra in memory."""
    if isinstance(things, str | os.PathLike):
        return [things]
    if (
        isinstance(things, list | tuple)
        and things
        and all(isinstance(one, str | os.PathLike) for one in things)
    ):
        return list(things)
    return None


def apply_read(
    study: StudyLike,
    paths: Iterable[str | os.PathLike[str]],
    *,
    device: str = "auto",
    say: Callable[[str], object] = silent,
) -> Applied:
    """As `apply_spectra`, of files that fit into memory."""
    spectra: list[Spectrum] = []
    refused: list[Refused] = []
    for entry in list_files(paths).files:
        for found in spectra_of(entry.path, ReadOptions(), seconds=seconds_for(entry.path)):
            if isinstance(found, Spectrum):
                spectra.append(found)
            else:
                refused.append(Refused(Path(entry.path).name, found.reason, str(found)))
    applied = apply_spectra(study, spectra, device=device, say=say)
    return replace(applied, refused=[*refused, *applied.refused])


# --- the work


def _block(
    study: StudyLike, kit: Kit, files: Sequence[FileEntry], *, options: ApplyOptions, stem: Path
) -> None:
    """The spectra of some files to a part of the table; its list of refusals is written last."""
    import pandas as pd

    grid, preparing = study.store.grid, preparation(study.store.config)
    reading = ReadOptions(checksum=options.checksum, medium=options.medium)
    most = max(1, GROUP_PIXELS // grid.size)
    frames: list[pd.DataFrame] = []
    refused: list[dict[str, Any]] = []
    group: list[tuple[Spectrum, Prepared]] = []
    places: list[tuple[str, int]] = []

    def flush() -> None:
        frame = apply_prepared(kit, group).frame
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
    write_frame(stem.with_suffix(".parquet"), pd.concat(frames, ignore_index=True), facts={})
    write_bytes(stem.with_suffix(".json"), json.dumps({"refused": refused}).encode())


def _merged(folder: Path, blocks: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    stems = [folder / f"{number:06d}" for number in range(blocks)]
    frames = [pd.read_parquet(stem.with_suffix(".parquet")) for stem in stems]
    full = [frame for frame in frames if len(frame)] or frames[:1]
    refused = [row for stem in stems for row in read_json(stem.with_suffix(".json"))["refused"]]
    columns = ["path", "item", "identifier", "reason", "message"]
    return pd.concat(full, ignore_index=True), pd.DataFrame(refused, columns=columns)


# --- the table


def _kind(path: Path) -> str:
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"--out {path.name!r}: its ending says the format, one of {', '.join(ENDINGS)}; it has "
            f"{path.suffix or 'none'!r}"
        )
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; give the name of a file")
    return kind


def _may_write(path: Path) -> None:
    """Found out before the work, not after it."""
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}; make it, or give another place")
    probe = path.with_name(f".{path.name}.part")
    with blame(path):
        probe.write_bytes(b"")
        probe.unlink()


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """A table in the format that its ending says: csv, parquet, fits, vot or xml."""
    target = Path(path).absolute()
    kind = _kind(target)
    _may_write(target)
    _write_table(target, frame, kind, facts={})


def _write_table(path: Path, frame: pd.DataFrame, kind: str, *, facts: dict[str, Any]) -> None:
    if kind == "parquet":
        write_frame(path, frame, facts=facts)
        return
    aside = path.with_name(f".{path.name}.part")
    with blame(path):
        if kind == "csv":
            frame.to_csv(aside, index=False)
        else:
            table = _astropy(frame, kind=kind)
            table.meta["ORIGIN"] = f"astroprism {__version__}"
            table.meta["MADEFROM"] = str(facts.get("made_from", ""))  # digest of files, study and settings
            table.write(aside, format=kind, overwrite=True)
        sync(aside)
        os.replace(aside, path)


def _astropy(frame: pd.DataFrame, *, kind: str) -> Any:
    """FITS tables hold ASCII only: another letter becomes '?'."""
    from astropy.table import Table

    from .columns import described

    columns: dict[str, Any] = {}
    for name in frame:
        values = frame[name].to_numpy()
        if values.dtype.kind not in "fiu":
            text = ["" if v is None or v != v else str(v) for v in values.tolist()]
            values = np.array(
                [v.encode("ascii", "replace").decode() if kind == "fits" else v for v in text], dtype=str
            )
            values = values.astype("U1") if values.dtype.itemsize == 0 else values
        columns[str(name)] = values
    return described(Table(columns), angstrom="Angstrom" if kind == "fits" else "0.1nm")


def _write_refused(path: Path, refused: pd.DataFrame) -> None:
    beside = path.with_name(f"{path.name}.refused.csv")
    with blame(beside):
        if refused.empty:
            beside.unlink(missing_ok=True)
        else:
            write_bytes(beside, refused.to_csv(index=False).encode())


# --- what is there


def _key(kit: Kit, files: Sequence[FileEntry], options: ApplyOptions) -> str:
    about = [VERSION, kit.probe.facts, asdict(options), [[f.path, f.size, f.mtime_ns] for f in files]]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _made(path: Path, made_from: Path, key: str) -> ApplyReport | None:
    """The report of the run that made the table that is there, if it was of the same."""
    if not (path.exists() and made_from.exists()):
        return None
    facts = read_json(made_from)
    if facts.get("key") != key or facts.get("table") != _stamp(path):
        return None
    return ApplyReport(**facts["report"] | {"made": False})
