"""How the rows of a label table find spectra: by identifier, by name of the star, by position.

Each way gives a `RowMatch`: a *unit* (a spectrum, or a target) for every table row, or the reason why it has
none. A row that could mean two units has none: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError
from .group import alias_rows, join_aliases
from .names import name_text, normalise_name
from .positions import chord, first_rows, known_coordinates, unit_vectors

if TYPE_CHECKING:
    import pandas as pd

# Titles of columns that hold identifiers, names and places; of columns that match equally, the earlier.
ID_COLUMNS = (
    *("spectrum_id", "dp_id", "dp.id", "identifier", "id", "file", "filename", "file_name", "path"),
    *("obsid", "specobjid", "archive_id"),
)
NAME_COLUMNS = (
    *("target", "main_id", "object", "name", "star", "target_name", "star_name", "object_name"),
    *("hostname", "simbad", "simbadname", "ids", "designation"),
)
NUMBER_CATALOGUES = ("HD", "HIP", "HR", "GJ", "TIC", "KIC", "EPIC", "SAO")
RA_COLUMNS = (
    *("ra", "radeg", "ra_deg", "_raj2000", "raj2000", "ra_icrs", "ra_j2000", "s_ra", "raicrs", "alpha"),
    *("ra_hours", "ra_h", "rah", "_ra", "ra_d", "ra_obj", "right_ascension"),
)
DEC_COLUMNS = (
    *("dec", "dedeg", "dec_deg", "_dej2000", "dej2000", "de_icrs", "dec_j2000", "s_dec", "deicrs", "delta"),
    *("decj2000", "_de", "de", "dec_icrs", "dec_d", "dec_obj", "declination", "decdeg", "_dec"),
)

NO_ID = "no spectrum has this identifier"
NO_NAME = "no target has this name"
BLANK = "the row gives no identifier or name"
NO_PLACE = "the row gives no usable coordinates"
FAR = "no target lies within the radius"
TWO_TARGETS = "more than one target lies within the radius"
TWO_NAMED = "the name belongs to more than one target"
TWO_SPECTRA = "more than one spectrum has this identifier"


@dataclass(frozen=True)
class RowMatch:
    """Where `rows` table rows lead.

    key        'id', 'name' or 'position'
    columns    table columns that were used
    unit       shape (rows,): number of the unit, -1 for none
    reason     shape (rows,): why there is none, '' where there is one
    of         shape (spectra,): unit of each spectrum of the index (-1: in none)
    text       shape (rows,): the key as the table writes it, for the report
    """

    key: str
    columns: tuple[str, ...]
    unit: NDArray[np.int64]
    reason: NDArray[np.object_]
    of: NDArray[np.int64]
    text: NDArray[np.object_]
    notes: tuple[str, ...] = field(default=())

    @property
    def matched(self) -> int:
        """Units that some row leads to."""
        return int(np.unique(self.unit[self.unit >= 0]).size)


def match_id(index: pd.DataFrame, frame: pd.DataFrame, *, column: str | None = None) -> RowMatch | None:
    """By identifier or file name: with or without folder and .fits, `:` or `_`; None if nothing matches."""
    keys, units = _spectrum_keys(index)
    best: tuple[int, NDArray[np.int64], str] | None = None
    for name in [column] if column else _in_order(frame, ID_COLUMNS):
        values = _as_text(frame[name])
        if values is None or (column is None and not _identifier_like(name, frame[name])):
            continue
        found = _lookup(id_keys(values), keys, units)
        hits = np.unique(found[found >= 0])
        # short keys such as 1, 2, 3 meet by accident: then most of them must
        short = values.dropna().str.len().median() < 6
        if column is None and short and hits.size < 0.5 * min(len(index), len(frame)):
            continue
        if hits.size and (best is None or hits.size > best[0]):
            best = (int(hits.size), found, name)
    if best is None:
        return None
    _, found, name = best
    text = _as_text(frame[name])
    reason = np.where(found >= 0, "", np.where(found == -2, TWO_SPECTRA, NO_ID)).astype(object)
    reason[text.isna().to_numpy()] = BLANK
    return RowMatch(
        "id", (name,), np.maximum(found, -1), reason, np.arange(len(index)), text.astype(object).to_numpy()
    )


def id_keys(values: pd.Series[Any]) -> pd.Series[Any]:
    """Identifiers and file names in one spelling: no folder, no extension, `_` for `:`."""
    out = values.str.strip().str.replace(r"^.*[/\\]", "", regex=True).str.replace(":", "_", regex=False)
    # both cases are spelt out: without case Arrow hands the work to Python, fifty times slower
    out = out.str.replace(r"(?:\.(?:fits?|FITS?|fts|fz|gz|GZ|csv|CSV|txt|dat|npz|h5|hdf5))+$", "", regex=True)
    if out.str.contains("#", regex=False).any():
        out = out.str.replace(r"(?:\.(?:fits?|fts|fz|gz))+#(\d+)$", r"#\1", regex=True)
    return out


def exposure_keys(values: pd.Series[Any]) -> pd.Series[Any]:
    """The ESO exposure in a key (`HARPS.2006-09-08T02_12_38.604` of `.._s1d_A`), NaN where there is none."""
    exposure = r"^[A-Za-z]+\.\d{4}-\d\d-\d\dT\d\d_\d\d_\d\d(?:\.\d+)?"
    fits = values.str.contains(exposure, regex=True).fillna(False).astype(bool)  # quick; extract is slow
    out = values.where(fits)
    out[fits] = values[fits].str.extract(f"({exposure})", expand=False)
    return out


def _spectrum_keys(index: pd.DataFrame) -> tuple[list[pd.Series[Any]], list[NDArray[np.int64]]]:
    """Tables of keys, best first, each with the spectrum it means (-2: more than one)."""
    own = id_keys(index["spectrum_id"].astype("str"))
    every = [own]
    files = next((index[name] for name in ("file", "path") if name in index.columns), None)
    if files is not None:
        every.append(id_keys(files.astype("str")))
    every += [exposure_keys(key) for key in every[:2]]
    keys, units = [], []
    for series in every:
        series = series.reset_index(drop=True)
        series = series[series.notna() & (series != "")]
        unit = np.where(series.duplicated(keep=False), -2, series.index.to_numpy())
        first = ~series.duplicated()
        keys.append(series[first])
        units.append(unit[first.to_numpy()])
    return keys, units


def _lookup(
    values: pd.Series[Any], keys: list[pd.Series[Any]], units: list[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Unit of each value: by the first table of keys that knows it; -1 for none, -2 for several."""
    import pandas as pd

    found = np.full(len(values), -1)
    exposures = exposure_keys(values)
    for position, (key, unit) in enumerate(zip(keys, units, strict=True)):
        tried = values if position < (len(keys) + 1) // 2 else values.where(values.isin(key), exposures)
        at = pd.Index(key).get_indexer(pd.Index(tried))
        new = np.where(at >= 0, unit[at] if len(unit) else -1, -1)
        new[tried.isna().to_numpy()] = -1
        found = np.where(found == -1, new, found)
    return found.astype(np.int64)


def match_name(
    index: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    column: str | None = None,
    aliases: Iterable[Sequence[str]] | None = None,
) -> RowMatch | None:
    """By normalised name of the star, aliases included; None if nothing matches."""
    of, targets = _target_codes(index)
    searched = {name: _as_names(frame[name], name) for name in ([column] if column else frame.columns)}
    if all(values is None for values in searched.values()):
        return None
    known, notes = _names_of_targets(index, of, targets, aliases)
    cache: dict[str, int] = {}

    def find(text: str) -> int:
        if text not in cache and "|" in text:  # a list of names, as SIMBAD's ids
            hits = {known.get(normalise_name(part), -1) for part in text.split("|")}
            if len(hits) > 1:
                hits.discard(-1)
            cache[text] = hits.pop() if len(hits) == 1 else -2
        elif text not in cache:
            cache[text] = known.get(normalise_name(text), -1)
        return cache[text]

    best: tuple[int, NDArray[np.int64], str, pd.Series[Any]] | None = None
    candidates = [column] if column else _in_order(frame, NAME_COLUMNS)
    for name in candidates:
        values = searched[name]
        if values is None:
            continue
        if column is None and best is not None and name.lower() not in NAME_COLUMNS:
            break  # a column called by a known title matched: the others are not searched
        filled = values.notna().to_numpy()
        found = np.full(len(frame), -1, dtype=np.int64)
        found[filled] = [find(text) for text in values[filled].tolist()]
        hits = int(np.unique(found[found >= 0]).size)
        if hits and (best is None or hits > best[0]):
            best = (hits, found, name, values)
    if best is None:
        return None
    _, found, name, values = best
    reason = np.where(found >= 0, "", np.where(found == -2, TWO_NAMED, NO_NAME)).astype(object)
    unmatched = np.flatnonzero(found < 0)
    names = values.iloc[unmatched].tolist()
    reason[unmatched[[not normalise_name(text) for text in names]]] = BLANK
    text = values.astype(object).to_numpy()
    return RowMatch("name", (name,), np.maximum(found, -1), reason, of, text, tuple(notes))


def _target_codes(index: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    import pandas as pd

    codes, targets = pd.factorize(index["target"].astype("str"))
    return codes.astype(np.int64), targets.astype(object).tolist()


def _names_of_targets(
    index: pd.DataFrame,
    of: NDArray[np.int64],
    targets: list[str],
    aliases: Iterable[Sequence[str]] | None,
) -> tuple[dict[str, int], list[str]]:
    """{normalised name: number of the target, -2 if of several}."""
    known: dict[str, int] = {}

    def add(name: str, code: int) -> None:
        if name and known.setdefault(name, code) != code:
            known[name] = -2

    named = np.zeros(len(targets), dtype=bool)  # a target is called by one of its names: no second look
    if "name" in index.columns:
        before: dict[object, int] = {}
        for raw, code in zip(index["name"].tolist(), of.tolist(), strict=True):
            if before.get(raw) != code:
                before[raw] = code
                text = name_text(raw)
                named[code] |= text == targets[code]
                add(normalise_name(text), code)
    for code in np.flatnonzero(~named).tolist():
        if " #" not in targets[code]:  # a number added to part nameless ones is no name
            add(normalise_name(targets[code]), code)
    notes = []
    number: dict[str, int] = {}
    star = join_aliases(alias_rows(aliases), number)
    members: dict[int, list[str]] = {}
    for name, position in number.items():
        members.setdefault(int(star[position]), []).append(name)
    for names in members.values():
        hits = {known[name] for name in names if name in known}
        if len(hits) > 1:
            notes.append(f"aliases join targets that the index keeps apart: {', '.join(names[:4])}")
        for name in names:
            if hits and name not in known:
                known[name] = next(iter(hits)) if len(hits) == 1 else -2
    return known, notes


def _as_names(column: pd.Series[Any], name: str) -> Any:
    """The column as names of stars: text, or numbers of the catalogue that its title names (HD, HIP ...)."""
    text = _as_text(column)
    title = name.strip().upper()
    if text is not None and text.dtype != column.dtype:  # it held whole numbers
        return title + " " + text if title in NUMBER_CATALOGUES else None
    return text


def _as_text(column: pd.Series[Any]) -> Any:
    """A column of text or whole numbers as text, NaN where missing; None for other numbers."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column.dtype):
        return column
    values = column.to_numpy(dtype=np.float64)
    filled = np.isfinite(values)
    if not filled.any() or (values[filled] != np.round(values[filled])).any():
        return None
    whole = pd.Series(np.where(filled, values, 0).astype(np.int64), index=column.index)
    return whole.astype("str").where(filled)


def _in_order(frame: pd.DataFrame, titles: tuple[str, ...]) -> list[str]:
    """Columns of the table, those of known titles first."""
    rank = {title: i for i, title in enumerate(titles)}
    return sorted(frame.columns, key=lambda name: rank.get(name.strip().lower(), len(rank)))


def _identifier_like(name: str, column: pd.Series[Any]) -> bool:
    """Known by its title, or text that differs from row to row; other numbers would match by accident."""
    import pandas as pd

    if name.strip().lower() in ID_COLUMNS:
        return True
    filled = column.dropna()
    numeric = pd.api.types.is_numeric_dtype(column.dtype)
    return not numeric and len(filled) > 0 and filled.nunique() > 0.5 * len(filled)


def match_position(
    index: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    ra_column: str | None = None,
    dec_column: str | None = None,
    radius: float = 5.0,
) -> RowMatch | None:
    """By place on the sky, within `radius` arcsec; None without coordinates or if nothing is near."""
    if (ra_column is None) != (dec_column is None):
        raise CatalogError("ra_column and dec_column go together; give both")
    ra_column = ra_column or _titled(frame, RA_COLUMNS)
    dec_column = dec_column or _titled(frame, DEC_COLUMNS)
    if ra_column is None or dec_column is None or not {"ra", "dec"} <= set(index.columns):
        return None
    ra, unit = _degrees(frame[ra_column], ra_column, frame.attrs.get("units", {}).get(ra_column, ""))
    dec, _ = _degrees(
        frame[dec_column], dec_column, frame.attrs.get("units", {}).get(dec_column, ""), dec=True
    )
    notes = [f"{ra_column} was read as {unit}"] if unit not in ("degrees", "") else []
    of, _ = _target_codes(index)
    found, known = _nearest(index, of, ra, dec, radius)
    if not unit:
        # numbers up to 24 without a unit are hours or degrees: only the positions decide
        in_hours, known_hours = _nearest(index, of, ra * 15, dec, radius)
        if (in_hours >= 0).any() and (found >= 0).any():
            raise CatalogError(
                f"column {ra_column!r} may hold hours or degrees: it reaches {np.nanmax(ra):g} and both "
                "readings meet targets; call it ra_hours or ra_deg, or write hours as 12:34:56.7"
            )
        if (in_hours >= 0).any():
            found, known = in_hours, known_hours
            notes = [f"{ra_column} was read as hours, for as degrees it meets no target"]
    if not (found >= 0).any():
        return None
    reason = np.where(found >= 0, "", np.where(found == -2, TWO_TARGETS, FAR)).astype(object)
    reason[~known] = NO_PLACE
    text = np.full(len(frame), "", dtype=object)
    for row in np.flatnonzero(found < 0).tolist():
        text[row] = f"{frame[ra_column].iat[row]} {frame[dec_column].iat[row]}"
    columns = (ra_column, dec_column)
    return RowMatch("position", columns, np.maximum(found, -1), reason, of, text, tuple(notes))


def _titled(frame: pd.DataFrame, titles: tuple[str, ...]) -> str | None:
    first = _in_order(frame, titles)[0]
    return first if first.strip().lower() in titles else None


def _nearest(
    index: pd.DataFrame,
    of: NDArray[np.int64],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    radius: float,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(target within the radius: -1 none, -2 several; whether the row has a place) of each table row."""
    from scipy.spatial import cKDTree

    longitude, latitude, known = known_coordinates(ra, dec)
    found = np.full(len(known), -1, dtype=np.int64)
    spectra_ra, spectra_dec, placed = known_coordinates(index["ra"].to_numpy(), index["dec"].to_numpy())
    rows = np.flatnonzero(placed)
    if not known.any() or not rows.size:
        return found, known
    points = unit_vectors(spectra_ra[rows], spectra_dec[rows])
    # a star with very many spectra is one point for each arcsecond it covers; others keep every place
    cells = np.floor(points / chord(1.0)).astype(np.int64)
    exact = np.ascontiguousarray(points).view(np.int64)
    crowded = np.bincount(of[rows])[of[rows]] > 64
    columns = np.where(crowded[:, None], cells, exact)
    kept, _ = first_rows(of[rows], *columns.T)
    usable = np.flatnonzero(known)
    sky = unit_vectors(longitude[usable], latitude[usable])
    places, place = first_rows(*np.ascontiguousarray(sky).view(np.int64).T)
    pairs = cKDTree(sky[places]).sparse_distance_matrix(
        cKDTree(points[kept]), chord(radius), output_type="ndarray"
    )
    pair_place, pair_target = pairs["i"].astype(np.int64), of[rows[kept[pairs["j"]]]]
    different, _ = first_rows(pair_place, pair_target)
    hits = np.bincount(pair_place[different], minlength=len(places))
    target = np.full(len(places), -1, dtype=np.int64)
    target[pair_place[different]] = pair_target[different]
    found[usable] = np.where(hits > 1, -2, target)[place]
    return found, known


_SEXAGESIMAL = re.compile(
    r"([+-]?)(\d{1,3})\s*([:hHdD°\s])\s*(\d{1,2})\s*(?:[:mM'′\s]\s*(\d{1,2}(?:\.\d*)?)\s*[sS\"″]?)?"
)


def _degrees(
    column: pd.Series[Any], title: str, unit: str, *, dec: bool = False
) -> tuple[NDArray[np.float64], str]:
    """(degrees, unit that was read): 'degrees', 'hours', or '' where numbers leave it open."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column.dtype):
        values, in_degrees = np.full(len(column), np.nan), dec
        for row, text in enumerate(column.tolist()):
            match = _SEXAGESIMAL.fullmatch(text.strip()) if isinstance(text, str) else None
            if match:
                sign, first, mark, minutes, seconds = match.groups()
                in_degrees = in_degrees or mark in "dD°"
                value = int(first) + int(minutes) / 60 + float(seconds or 0) / 3600
                values[row] = -value if sign == "-" else value
        if not np.isfinite(values).any():
            raise CatalogError(
                f"column {title!r} holds no coordinates: {column.dropna().head(3).tolist()}; "
                "degrees as numbers or 12:34:56.7 are understood"
            )
        return (values, "degrees") if in_degrees else (values * 15, "hours")
    numbers = column.to_numpy(dtype=np.float64)
    unit, title = unit.strip().lower(), title.strip().lower()
    if unit in ("rad", "radian"):
        return np.degrees(numbers), "radians"
    if dec or unit.startswith("deg") or title.endswith("deg") or not (numbers > 0).any():
        return numbers, "degrees"
    if unit in ("h", "hr", "hour", "hours", "hourangle") or title in ("ra_hours", "ra_h", "rah"):
        return numbers * 15, "hours"
    usable = numbers[(numbers >= 0) & (numbers <= 360)]
    return numbers, "" if usable.size and usable.max() < 24 else "degrees"
