"""Tables of applied spectra on disk (CSV, Parquet, FITS, VOTable), and what their columns mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..artifacts import aside, blame, write_table
from ..errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table

FORMATS = {".csv": "csv", ".parquet": "parquet", ".fits": "fits", ".vot": "votable", ".xml": "votable"}
LEVEL = "90 % interval; it need not hold where a warning is raised"
# name of a column -> (unit, what it is)
MEANING = {
    "spectrum_id": ("", "identifier of the spectrum"),
    "target": ("", "star, as the file names it"),
    "path": ("", "file"),
    "item": ("", "number of the spectrum in that file"),
    "warning": ("", "ways in which the spectrum lies outside of what the model was trained on"),
    "snr": ("", "signal-to-noise ratio per pixel, median"),
    "sigma_from": ("", "where the errors are from: the file, or the scatter of the pixels"),
    "n_good": ("", "good pixels"),
    "outlier_p": ("", "share of sound spectra that are as odd"),
    "outlier_surprise": ("", "-log10 of p, continued beyond the oddest held-out spectrum"),
    "outlier_reasons": ("", "what is odd, in words"),
    "chi2": ("", "chi2 per pixel, with the error of the model"),
    "worst_sigma": ("", "deviation of the run of pixels that deviates most, in sigma"),
    "worst_low": ("Angstrom", "begin of that run, in the medium of the study"),
    "worst_high": ("Angstrom", "end of that run"),
    "chi2_p": ("", "p of chi2"),
    "pixels_p": ("", "p of the worst run of pixels"),
    "density_p": ("", "p of how isolated the code is"),
    "labels_p": ("", "p of how far a catalogue's label lies from the predicted one"),
}

_CODE = re.compile(r"(mean|sd)_(\d+)")


def label_columns(
    labels: Mapping[str, bool], *, taken: Iterable[str] = MEANING, before: str = ""
) -> dict[str, str]:
    """The column of each label: its name, unless what is measured or another label has that.

    labels  name -> whether it is of classes; its interval or set has columns of its own, NAME_low and so on
    taken   columns that are there; codes' (mean_007) always are. Compared without case, as FITS does
    before  what every name begins with
    """
    used = {name.casefold() for name in taken}
    columns = {}
    for name, categorical in labels.items():
        ends = ("", "_set") if categorical else ("", "_low", "_high")
        column = name
        while any(
            (one := f"{before}{column}{end}".casefold()) in used or _CODE.fullmatch(one) for end in ends
        ):
            column = f"label_{column}"
        columns[name] = column
        used |= {f"{before}{column}{end}".casefold() for end in ends}
    return columns


def renamed_labels(labels: Mapping[str, bool]) -> dict[str, str]:
    """Labels whose column has another name than theirs -> that name."""
    return {name: column for name, column in label_columns(labels).items() if name != column}


def describe_columns(table: Table, *, angstrom: str = "Angstrom") -> Table:
    """The table with units and descriptions of its columns; label units are those of the label table.

    angstrom  how it is written: VOTables want 0.1nm
    """
    for name in table.colnames:
        unit, text = MEANING.get(name, ("", ""))
        if found := _CODE.fullmatch(name):
            text = f"{'code' if found[1] == 'mean' else 'uncertainty of the code'} of node {int(found[2])}"
        elif not text and (found := re.fullmatch(r"(.+)_(low|high|set)", name)):
            what = {"low": "low end", "high": "high end", "set": "classes not ruled out"}[found[2]]
            text = f"{found[1]}: {what}, {LEVEL}"
        elif not text:
            text = f"{name} as predicted from the codes, in the label table's unit"
        table[name].description = text
        if unit:
            table[name].unit = angstrom
    return table


# --- writing


def format_of(path: Path) -> str:
    """The format that the ending of a table's name says."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"--out {path.name!r}: its ending says the format, one of {', '.join(FORMATS)}; it has "
            f"{path.suffix or 'none'!r}"
        )
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; give the name of a file")
    return kind


def require_writable(path: Path) -> None:
    """Find out before the work whether a file can be written there, not after it."""
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}; make it, or give another place")
    trial = path.with_name(f".{path.name}.part")
    with blame(path):
        trial.write_bytes(b"")
        trial.unlink()


def write_frame(path: Path, frame: pd.DataFrame, *, header: Mapping[str, Any]) -> None:
    """A data frame as Parquet, without its index, with `header` in its metadata."""
    import pyarrow as pa

    write_table(path, pa.Table.from_pandas(frame, preserve_index=False), header=header)


def write_applied(path: str | os.PathLike[str], frame: pd.DataFrame, *, made_from: str = "") -> None:
    """A table in the format that its ending says: csv, parquet, fits, vot or xml.

    made_from  digest of files, study and options; CSV has no place for it
    """
    target = Path(path).absolute()
    kind = format_of(target)
    require_writable(target)
    if kind == "parquet":
        write_frame(target, frame, header={"made_from": made_from} if made_from else {})
        return
    with aside(target) as part:
        if kind == "csv":
            frame.to_csv(part, index=False)
        else:
            table = _astropy(frame, kind=kind)
            table.meta["ORIGIN"] = f"astroprism {__version__}"
            table.meta["MADEFROM"] = made_from
            table.write(part, format=kind, overwrite=True)


def _astropy(frame: pd.DataFrame, *, kind: str) -> Table:
    """FITS tables hold ASCII only: another letter becomes '?'."""
    from astropy.table import Table

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
    return describe_columns(Table(columns), angstrom="Angstrom" if kind == "fits" else "0.1nm")
