"""Tables of labels (CSV, TSV, ECSV, VOTable, FITS, Parquet), read by content; missing values are reported.

`frame.attrs` of what comes out: `source` (path), `format`, `units` {column: unit}, `missing`
{column: {value taken as missing: how often}}, `notes` (what was assumed or left out, in plain words).
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import MISSING_TEXT, clean, numbers_of
from .errors import CatalogError

if TYPE_CHECKING:
    import pandas as pd

_OTHER_FORMATS = {
    b"PK\x03\x04": "a spreadsheet or zip archive",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "a PDF",
    b"\x80\x04": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3": "an SQLite database",
}


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table: numbers as float64 or int64, text as str, missing as NaN; see the module for `attrs`.

    The format is recognised by the content (gzip is decompressed), never by the name alone.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogError(f"{path}: the table cannot be read ({error})") from error
    if not data.strip():
        raise CatalogError(f"{path}: the table is empty")
    try:
        frame, kind = _by_content(data)
    except CatalogError as error:
        raise CatalogError(f"{path}: {error}") from error
    except Exception as error:  # the readers of four formats raise whatever damage makes them raise
        text = str(error).strip().splitlines()
        what = text[0] if text else type(error).__name__
        raise CatalogError(f"{path}: the label table is damaged or not what it seems ({what})") from error
    if not len(frame.columns) or not len(frame):
        raise CatalogError(f"{path}: the label table has {len(frame)} rows and {len(frame.columns)} columns")
    frame = clean(frame)
    frame.attrs |= {"source": str(path), "format": kind}
    return frame


def as_table(table: object) -> pd.DataFrame:
    """A cleaned frame of a path, a pandas DataFrame or an astropy Table."""
    import pandas as pd

    if isinstance(table, str | Path):
        return read_table(table)
    if isinstance(table, Mapping):
        try:
            table = pd.DataFrame(dict(table))
        except ValueError as error:
            raise CatalogError(f"a dict that is no table of columns ({error})") from None
    if isinstance(table, pd.DataFrame):  # an index of identifiers is a column like others
        numbered = table.index.name is None and table.index.dtype.kind in "iu"
        frame, notes = table.reset_index(drop=numbered), list(table.attrs.get("notes", ()))
        frame.columns = pd.Index(_unique([str(name) for name in frame.columns], notes))
        frame.attrs = dict(table.attrs) | {"notes": notes}
        return clean(frame)
    if hasattr(table, "colnames") and hasattr(table, "meta"):
        return clean(_from_astropy(table))
    raise CatalogError(
        f"a label table of type {type(table).__name__}; give a path, a pandas DataFrame or an astropy Table"
    )


def _by_content(data: bytes) -> tuple[pd.DataFrame, str]:
    for magic, what in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise CatalogError(f"this is {what}; save the table as CSV, ECSV, VOTable, FITS or Parquet")
    if data.startswith(b"PAR1"):
        import pandas as pd

        return pd.read_parquet(io.BytesIO(data)).reset_index(drop=True).rename(columns=str), "Parquet"
    if data.startswith(b"SIMPLE  ="):
        return _read_fits(data), "FITS"
    if b"<VOTABLE" in data[:4096]:
        import warnings

        from astropy.io.votable import parse

        with warnings.catch_warnings():  # remarks on the standard, which the user's archive wrote
            warnings.simplefilter("ignore")
            tables = [table for table in parse(io.BytesIO(data)).iter_tables() if len(table.fields)]
            if not tables:
                raise CatalogError("the VOTable holds no table; the query behind it may have failed")
            frame = _from_astropy(tables[0].to_table(use_names_over_ids=True))
        if len(tables) > 1:
            frame.attrs["notes"].append(f"the first of {len(tables)} tables in the file was taken")
        return frame, "VOTable"
    if b"\0" in data[:65536] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CatalogError("the content is binary and of no known format; save the table as CSV")
    text = _decode(data)
    if text.startswith("# %ECSV"):
        from astropy.io import ascii as ascii_tables

        return _from_astropy(ascii_tables.read(text.splitlines(), format="ecsv")), "ECSV"
    return _read_text(text)


def _read_fits(data: bytes) -> pd.DataFrame:
    import warnings

    from astropy.io import fits
    from astropy.table import Table

    with warnings.catch_warnings(), fits.open(io.BytesIO(data), memmap=False) as hdus:
        warnings.simplefilter("ignore")
        tables = [i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise CatalogError("the FITS file holds no table; a spectrum or image is no label table")
        expected = hdus[tables[0]].header["NAXIS1"] * hdus[tables[0]].header["NAXIS2"]
        if hdus[tables[0]].fileinfo()["datLoc"] + expected > len(data):
            raise CatalogError("the FITS table ends before its last row; the file is cut off")
        table = Table.read(hdus[tables[0]])
    frame = _from_astropy(table)
    if len(tables) > 1:
        frame.attrs["notes"].append(f"the first of {len(tables)} tables in the file was taken")
    return frame


def _from_astropy(table: Any) -> pd.DataFrame:
    """Scalar columns of an astropy Table; `to_pandas` refuses the whole table for one vector column."""
    import pandas as pd

    columns: dict[str, Any] = {}
    units: dict[str, str] = {}
    vectors = []
    for name in table.colnames:
        column = table[name]
        if getattr(column, "ndim", 2) != 1:
            vectors.append(str(name))
            continue
        mask = np.asarray(getattr(column, "mask", np.zeros(len(column), dtype=bool)))
        values = np.asarray(getattr(column, "value", column))
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        if values.dtype.kind in "iufb":
            series = pd.Series(values.astype(values.dtype.newbyteorder("=")))
            if mask.any():
                series = series.astype("Int64" if values.dtype.kind in "iu" else "float64").mask(mask)
        else:
            series = pd.Series(values.astype(object)).astype("str").mask(mask)
        columns[str(name)] = series
        if getattr(column, "unit", None) is not None:
            units[str(name)] = str(column.unit)
    if vectors and not columns:
        raise CatalogError("every column holds vectors; this is a spectrum, not a label table")
    frame = pd.DataFrame(columns)
    notes = [f"columns of vectors were left out: {', '.join(vectors)}"] if vectors else []
    frame.attrs |= {"units": units, "notes": notes}
    return frame


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _read_text(text: str) -> tuple[pd.DataFrame, str]:
    """CSV and its relatives. The delimiter is the one that cuts all rows alike; # begins a comment."""
    import pandas as pd

    lines = (
        text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )  # splitlines cuts at rarer characters too
    numbered = [
        (i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise CatalogError("the label table holds only comments")
    delimiter = _delimiter([line for _, line in numbered[:200]])
    rows = _rows((line for _, line in numbered), delimiter)
    header = [cell.strip() for cell in next(rows)]
    first_data = 1
    if _looks_like_data(header):
        # "# name teff feh": the titles stand in the last comment before the data
        comments = [
            line.lstrip("# \t") for line in lines[: numbered[0][0] - 1] if line.lstrip().startswith("#")
        ]
        titles = [cell.strip() for cell in next(_rows(comments[-1:], delimiter), [])]
        if len(titles) != len(header) or _looks_like_data(titles):
            raise CatalogError(
                f"no line of column titles: the first line is {numbered[0][1][:60]!r}; add one"
            )
        header, first_data = titles, 0
        rows = _rows((line for _, line in numbered), delimiter)
    while header and not header[-1]:
        header.pop()
    notes: list[str] = []
    header = _unique(header, notes)
    if len(header) < 2:
        raise CatalogError(
            f"one column only ({header}); a label table needs a key and a label, separated by commas"
        )
    chunks, units = [], {}
    chunk: list[list[str]] = []
    for count, cells in enumerate(rows):
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            line = numbered[min(count + first_data, len(numbered) - 1)][0]
            raise CatalogError(
                f"line {line} or near it has {len(cells)} fields where the titles have {len(header)}; "
                "the file may be cut off or its delimiter stand unquoted in a text"
            )
        if count < 3 and all(re.fullmatch(r"-+", cell.strip()) for cell in cells):
            # VizieR: titles, units, a line of dashes, data
            if chunk:
                units = {
                    name: unit.strip() for name, unit in zip(header, chunk[-1], strict=True) if unit.strip()
                }
            chunk = []
            continue
        chunk.append(cells)
        if len(chunk) == 20_000:
            chunks.append(_chunk(header, chunk))
            chunk = []
    if chunk or not chunks:
        chunks.append(_chunk(header, chunk))
    frame = pd.concat(chunks, ignore_index=True)
    if found := _unit_row(frame):
        units = units or found
        frame = frame.iloc[1:].reset_index(drop=True)
        notes.append(f"the first row holds units and was left out ({', '.join(found.values())})")
    frame.attrs = {"units": units, "notes": notes}
    return frame, {",": "CSV", "\t": "TSV", ";": "CSV (;)", "|": "text (|)"}.get(delimiter, "text")


def _unit_row(frame: pd.DataFrame) -> dict[str, str]:
    """{title: unit} where the first row holds units: blank or text, in columns that are numbers below it."""
    if len(frame) < 3:
        return {}
    units, named = {}, False
    for name in frame.columns:
        text = frame[name].astype("str").str.strip()
        first, rest = text.iloc[0], text.iloc[1:]
        below = rest[~rest.isin(MISSING_TEXT)]
        numeric = not below.empty and numbers_of(below) is not None
        if first in MISSING_TEXT:
            continue
        if numeric and not re.search("[A-Za-z%]", first):
            return {}  # a number, or a limit such as <3
        named |= not numeric
        if numeric:
            units[str(name)] = first
    return units if len(units) > named else {}  # a row with a name may be one star with a remark


def _chunk(header: list[str], rows: list[list[str]]) -> pd.DataFrame:
    import pandas as pd  # Arrow strings hold a large table in a tenth of what Python's take

    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame({n: pd.Series(list(c), dtype="str") for n, c in zip(header, columns, strict=True)})


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    if delimiter == " ":
        lines = (" ".join(line.split()) if '"' not in line else line.strip() for line in lines)
    return csv.reader((line + "\n" for line in lines), delimiter=delimiter, skipinitialspace=True)


def _delimiter(lines: list[str]) -> str:
    best, score = " ", (0.0, 0)
    for delimiter in "\t,;| ":
        try:
            widths = Counter(len(cells) for cells in _rows(lines, delimiter))
        except csv.Error:
            continue
        width, rows = max(widths.items(), key=lambda item: (item[1], item[0]))
        # a blank separates columns only where nothing better does: names hold blanks
        share = rows / len(lines) * (0.5 if delimiter == " " else 1)
        if width > 1 and (share, width) > score:
            best, score = delimiter, (share, width)
    return best


def _looks_like_data(cells: list[str]) -> bool:
    filled = [cell for cell in cells if cell]
    numbers = sum(bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan", cell)) for cell in filled)
    return not filled or numbers > 0.3 * len(filled)


def _unique(header: list[str], notes: list[str]) -> list[str]:
    out: list[str] = []
    for number, name in enumerate(header, 1):
        unique, copy = name or f"column_{number}", 1
        while unique in out:
            copy += 1
            unique = f"{name}_{copy}"
        if name and unique != name:
            notes.append(f"a second column {name!r} is called {unique!r}")
        out.append(unique)
    return out
