"""Label tables: read, joined to the spectra of an index, every row accounted for.

`join` finds spectra by identifier, name or position (`matching`), gives each its labels, and reports what
matched, what did not and why. Rows that contradict each other about one spectrum are refused, not averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogError
from ..tables import as_table, read_table
from .classes import FEW_MEMBERS, OTHER, nearly_unique, no_class, pooled, pooled_text
from .matching import (
    DEC_COLUMNS,
    ID_COLUMNS,
    NAME_COLUMNS,
    NUMBER_CATALOGUES,
    RA_COLUMNS,
    RowMatch,
    match_id,
    match_name,
    match_position,
)
from .spectral_types import LUMINOSITY, SUBCLASS, are_types, parse_column

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["JoinReport", "Joined", "LabelReport", "combine", "join", "read_table"]

AMBIGUOUS = "rows contradict each other about one spectrum or target"
_EXAMPLES = 5
_TYPES = "MK types"
# Besides identifiers, names and places: columns that only count the rows of a table.
_ROW_NUMBERS = frozenset({"column_1", "unnamed: 0", "index", "recno", "row", "level_0"})
_MORE_IDENTIFIERS = frozenset(
    {"source_id", "dr2_source_id", "dr3_source_id", "tyc", "gl", "simbad_id", "oid"}
)


@dataclass(frozen=True)
class LabelReport:
    """One label as it came out of a join.

    name       title of the column
    kind       'numeric' or 'categorical'
    n          spectra with a value
    missing    spectra without
    levels     different values
    sentinels  {value taken as missing: how often}, in the table
    usable     whether it can be used as a label
    reason     why not, '' where it can
    pooled     which of its classes were pooled, in words; '' where none were
    """

    name: str
    kind: str
    n: int
    missing: int
    levels: int
    sentinels: dict[str, int]
    usable: bool
    reason: str
    pooled: str = ""


@dataclass(frozen=True)
class JoinReport:
    """What a join did with every row of a table: rows = matched + duplicates + sum(unmatched).

    source      the table; `format` as it was read
    key         'id', 'name' or 'position'; `key_columns` the columns of the table that were used
    matched     rows whose values were given to spectra
    duplicates  rows that repeat a matched one with equal values
    unmatched   {reason: rows}; `examples` {reason: some keys}
    spectra     in the index; `labelled` with a matched row; `refused` for rows that contradict each other
    targets     in the index; `targets_labelled` with at least one labelled spectrum
    labels      a report per label; `left_out` {column: why it is no label}
    notes       what was assumed, in plain words
    """

    source: str
    format: str
    key: str
    key_columns: tuple[str, ...]
    rows: int
    matched: int
    duplicates: int
    unmatched: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    spectra: int
    labelled: int
    refused: int
    targets: int
    targets_labelled: int
    labels: tuple[LabelReport, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        plain = asdict(self)
        plain["key_columns"], plain["notes"] = list(self.key_columns), list(self.notes)
        plain["labels"] = [asdict(label) for label in self.labels]
        plain["examples"] = {reason: list(keys) for reason, keys in self.examples.items()}
        return plain

    @property
    def label_notes(self) -> dict[str, str]:
        """How labels were read, where not as they stand: pooled classes, spectral types as numbers."""
        pooled = {label.name: label.pooled for label in self.labels if label.usable and label.pooled}
        return {name: why for name, why in self.left_out.items() if why.startswith(_TYPES)} | pooled

    @property
    def unusable(self) -> dict[str, str]:
        """Labels that cannot be used, and why."""
        return {label.name: label.reason for label in self.labels if not label.usable}

    def line(self) -> str:
        """The same in a line: what joined, and what cannot be used."""
        lost = {label.name: label.reason for label in self.labels if not label.usable} | self.left_out
        lost = {name: why for name, why in lost.items() if name not in self.key_columns}
        remarks = f"; left out: {', '.join(f'{name} ({why})' for name, why in lost.items())}" if lost else ""
        remarks += f"; {self.refused:,} refused: rows contradict each other" if self.refused else ""
        remarks += "".join(f"; {one.name}: {one.pooled}" for one in self.labels if one.usable and one.pooled)
        remarks += "".join(f"; {one}" for one in self.notes if "contradict" not in one)
        usable = ", ".join(label.name for label in self.labels if label.usable) or "no label that can be used"
        return (
            f"{self.source}: {self.labelled:,} of {self.spectra:,} spectra by {self.key}: {usable}{remarks}"
        )

    def text(self) -> str:
        """A short text for people."""
        lines = [
            f"{self.source} ({self.format}), joined by {self.key} ({', '.join(self.key_columns)})",
            f"  {self.rows:>9,} rows: {self.matched:,} matched",
        ]
        if self.duplicates:
            lines.append(f"  {self.duplicates:>9,} repeat a matched row")
        for reason, rows in self.unmatched.items():
            some = [*self.examples[reason], *(["..."] if rows > len(self.examples[reason]) else [])]
            lines.append(f"  {rows:>9,} {reason} ({', '.join(some)})")
        lines.append(
            f"  {self.spectra:>9,} spectra: {self.labelled:,} labelled"
            + (f", {self.refused:,} refused" if self.refused else "")
            + f"; {self.targets_labelled:,} of {self.targets:,} targets"
        )
        width = max((len(label.name) for label in self.labels), default=0)
        for label in self.labels:
            taken = ", ".join(f"{value} x {n}" for value, n in label.sentinels.items())
            lines.append(
                f"  {label.name:<{width}}  {label.kind:<11}  n {label.n:>8,}  missing {label.missing:>8,}"
                + (f"  taken as missing in the table: {taken}" if taken else "")
                + (f"  {label.pooled}" if label.pooled else "")
                + ("" if label.usable else f"  NOT USABLE: {label.reason}")
            )
        lines += [f"  left out: {name} ({why})" for name, why in self.left_out.items()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Joined:
    """Labels of the spectra of an index, and how they came to them.

    labels  a row per spectrum, aligned with the index; float64 (NaN where missing) or categorical
    report  what became of every row of the table
    """

    labels: pd.DataFrame
    report: JoinReport

    @property
    def usable(self) -> list[str]:
        """Names of the labels that can be used."""
        return [label.name for label in self.report.labels if label.usable]


def join(
    index: pd.DataFrame,
    table: str | Path | pd.DataFrame | object,
    *,
    on: str = "auto",
    id_column: str | None = None,
    name_column: str | None = None,
    ra_column: str | None = None,
    dec_column: str | None = None,
    columns: Sequence[str] | None = None,
    radius: float = 5.0,
    aliases: Iterable[Sequence[str]] | None = None,
) -> Joined:
    """Give the spectra of `index` the values of a label table.

    index    a row per spectrum: spectrum_id, target, and where known name, ra, dec (degrees), file or path
    table    path, pandas DataFrame or astropy Table
    on       'id' (the row is for one spectrum), 'name' or 'position' (for all spectra of a target), 'auto':
             the first of these three that matches anything
    columns  labels to take, just as they are; by default all that are no identifiers, names or coordinates,
             MK types as two numbers (`spectral_types`), and rare classes pooled (`classes`)
    radius   arcsec, for positions
    aliases  rows of names of one star (`targets.read_aliases`)
    """
    frame = as_table(table)
    source = str(frame.attrs["source"])
    for needed in ("spectrum_id", "target"):
        if needed not in index.columns:
            raise CatalogError(
                f"the index has no column {needed!r}; it has {', '.join(map(str, index.columns))}"
            )
    for column in [id_column, name_column, ra_column, dec_column, *(columns or ())]:
        if column is not None and column not in frame.columns:
            near = get_close_matches(column, [str(c) for c in frame.columns], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(str, frame.columns))}"
            raise CatalogError(f"{source} has no column {column!r}; {hint}")
    on = _method(on, id_column, name_column, ra_column)
    if not len(index):
        raise CatalogError("the index holds no spectra; ingest some before joining labels")
    found: RowMatch | None = None
    if on in ("auto", "id"):
        found = match_id(index, frame, column=id_column)
    if found is None and on in ("auto", "name"):
        found = match_name(index, frame, column=name_column, aliases=aliases)
    if found is None and on in ("auto", "position"):
        found = match_position(index, frame, ra_column=ra_column, dec_column=dec_column, radius=radius)
    if found is None:
        raise CatalogError(_no_match(index, frame, on=on, radius=radius))
    names, left_out = _label_columns(frame, found, columns)
    if not names:
        raise CatalogError(f"{source} holds no labels beside {', '.join(left_out)}; name them by `columns`")
    row_of, reason, duplicates, disputed = _settle(frame[names], found)
    row = np.where(found.of >= 0, row_of[found.of], -1)
    target = index["target"].astype("str")
    labels, reports, types = _take(frame, names, row, targets=target.to_numpy(dtype=object), given=columns)
    labels.index = index.index
    left_out |= types
    notes = list(frame.attrs["notes"]) + list(found.notes)
    if disputed:
        notes.append(f"rows contradict each other in: {', '.join(disputed)}; `columns` can leave these out")
    unmatched = Counter(text for text in reason.tolist() if text)
    examples = {
        text: tuple(dict.fromkeys(str(k) for k in found.text[reason == text][:200] if isinstance(k, str)))[
            :_EXAMPLES
        ]
        for text in unmatched
    }
    return Joined(
        labels,
        JoinReport(
            source=source,
            format=str(frame.attrs["format"]),
            key=found.key,
            key_columns=found.columns,
            rows=len(frame),
            matched=len(frame) - duplicates - sum(unmatched.values()),
            duplicates=duplicates,
            unmatched=dict(unmatched.most_common()),
            examples=examples,
            spectra=len(index),
            labelled=int((row >= 0).sum()),
            refused=int((row == -2).sum()),
            targets=int(target.nunique()),
            targets_labelled=int(target[row >= 0].nunique()),
            labels=tuple(reports),
            left_out=left_out,
            notes=tuple(notes),
        ),
    )


def label_tables(given: object) -> list[object]:
    """One table or several, as a list; a table is a path, a pandas DataFrame or an astropy Table."""
    import pandas as pd

    several = isinstance(given, Iterable) and not isinstance(given, str | Mapping | pd.DataFrame)
    return list(given) if several and not hasattr(given, "colnames") else [given]  # type: ignore[call-overload]


def combine(joins: Sequence[Joined]) -> pd.DataFrame:
    """The labels of several tables side by side; one title in two tables must mean equal values."""
    import pandas as pd

    out: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for joined in joins:
        for name in joined.labels.columns:
            values = joined.labels[name]
            if name not in out:
                out[name], origin[name] = values, joined.report.source
                continue
            mine, theirs = out[name].astype(object), values.astype(object)
            if len(mine) != len(theirs):
                raise CatalogError(
                    f"labels of {len(mine)} and {len(theirs)} spectra do not belong to one index"
                )
            differ = ~((mine == theirs) | (mine.isna() & theirs.isna()))
            if differ.any():
                raise CatalogError(
                    f"column {name!r} is in {origin[name]} and in {joined.report.source} and differs for "
                    f"{int(differ.sum()):,} spectra; rename it in one of them, or take it out"
                )
    return pd.DataFrame(out)


def _method(on: str, id_column: str | None, name_column: str | None, ra_column: str | None) -> str:
    """The method of matching; a column that is named decides where `on` is 'auto'."""
    if on not in ("auto", "id", "name", "position"):
        raise CatalogError(f"on={on!r} is none of 'auto', 'id', 'name', 'position'")
    named = {"id": id_column, "name": name_column, "position": ra_column}
    ways = [way for way, column in named.items() if column is not None]
    if on == "auto" and len(ways) == 1:
        return ways[0]
    if on != "auto" and [way for way in ways if way != on]:
        raise CatalogError(f"on={on!r}, but {ways[0]} columns are named; name those of one way only")
    return on


def _no_match(index: pd.DataFrame, frame: pd.DataFrame, *, on: str, radius: float) -> str:
    """What was tried, three values of both sides, what to do."""

    def some(values: Any) -> str:
        return ", ".join(map(repr, list(dict.fromkeys(map(str, values.dropna().head(50))))[:3])) or "nothing"

    source, shape = frame.attrs["source"], f"{len(frame):,} rows, {len(index):,} spectra"
    lines = [f"{source} matches no spectrum (on={on!r}, {shape}); tried:"]
    texts = [c for c in frame.columns if frame[c].dtype.kind not in "fb"][:6]
    places = [c for c in frame.columns if c.strip().lower() in RA_COLUMNS + DEC_COLUMNS]
    lines += [f"  table {name}: {some(frame[name])}" for name in dict.fromkeys([*texts, *places])]
    if not texts and not places:
        lines.append(f"  table columns, all of numbers: {', '.join(map(str, frame.columns[:8]))}")
    for name in ("spectrum_id", "file", "path", "name", "target", "ra", "dec"):
        if name in index.columns:
            lines.append(f"  index {name}: {some(index[name])}")
    lines.append(
        "  rename the column of identifiers to spectrum_id, of stars' names to name, or of coordinates to ra "
        f"and dec (degrees; within {radius:g} arcsec); astroprism.targets.catalog.join takes names of "
        "columns, aliases and a radius"
    )
    return "\n".join(lines)


def _label_columns(
    frame: pd.DataFrame, found: RowMatch, columns: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """(columns that are labels, {other column: why it is none})."""
    if columns is not None:
        return list(dict.fromkeys(columns)), {}
    names, left_out = [], {}
    known = {*ID_COLUMNS, *NAME_COLUMNS, *RA_COLUMNS, *DEC_COLUMNS, *_MORE_IDENTIFIERS}
    known |= {catalogue.lower() for catalogue in NUMBER_CATALOGUES}
    for name in frame.columns:
        title = name.strip().lower()
        filled = frame[name].dropna()
        if name in found.columns:
            left_out[name] = "the key"
        elif title in known:
            left_out[name] = "an identifier, name or coordinate"
        elif title in _ROW_NUMBERS and filled.is_unique:
            left_out[name] = "a number of the row"
        elif (
            frame[name].dtype.kind not in "fiu" and len(filled) >= 20 and filled.nunique() > 0.9 * len(filled)
        ):
            left_out[name] = "text that differs in nearly every row"
        else:
            names.append(name)
    return names, left_out


def _settle(
    labels: pd.DataFrame, found: RowMatch
) -> tuple[NDArray[np.int64], NDArray[np.object_], int, list[str]]:
    """(row for each unit: -1 none, -2 disputed; reason of each row; repeated rows; columns in dispute)."""
    import pandas as pd

    rows = np.flatnonzero(found.unit >= 0)
    unit = found.unit[rows]
    codes = [np.asarray(pd.factorize(labels[name].iloc[rows])[0], dtype=np.int64) for name in labels.columns]
    order = np.lexsort((rows, unit))
    first = np.zeros(len(rows), dtype=bool)
    first[order] = np.diff(unit[order], prepend=-1) != 0
    n_units = int(max(found.of.max(initial=-1), unit.max(initial=-1))) + 1
    lead = np.full(n_units, -1)  # position in `rows` of the first row of each unit
    lead[unit[first]] = np.flatnonzero(first)
    disputed_units = np.zeros(n_units, dtype=bool)
    disputed = []
    for name, code in zip(labels.columns, codes, strict=True):
        differs = code != code[lead[unit]]
        disputed_units[unit[differs]] = True
        if differs.any():
            disputed.append(str(name))
    row_of = np.where(lead >= 0, rows[lead] if len(rows) else -1, -1)
    row_of[disputed_units] = -2
    reason = found.reason.copy()
    reason[rows[disputed_units[unit]]] = AMBIGUOUS
    duplicates = int((~first & ~disputed_units[unit]).sum())
    return row_of, reason, duplicates, disputed


def _take(
    frame: pd.DataFrame,
    names: list[str],
    row: NDArray[np.int64],
    *,
    targets: NDArray[np.object_],
    given: Sequence[str] | None,
) -> tuple[pd.DataFrame, list[LabelReport], dict[str, str]]:
    """The label columns at `row` of each spectrum (below 0: missing); of MK types, what they were read as.

    given  columns that the caller named: taken as they are
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    reports: list[LabelReport] = []
    types: dict[str, str] = {}
    has = row >= 0

    def add(name: str, values: Any, *, kind: str, origin: str, reason: str = "", pooled: str = "") -> None:
        filled = pd.Series(values).dropna()
        columns[name] = values
        reports.append(
            LabelReport(
                name=name,
                kind=kind,
                n=len(filled),
                missing=len(row) - len(filled),
                levels=int(filled.nunique()),
                sentinels=dict(frame.attrs["missing"].get(origin, {})),
                usable=not reason,
                reason=reason,
                pooled=pooled,
            )
        )

    for name in names:
        if pd.api.types.is_numeric_dtype(frame[name].dtype):
            values = np.full(len(row), np.nan)
            values[has] = frame[name].to_numpy(dtype=np.float64)[row[has]]
            add(name, values, kind="numeric", origin=name, reason=_constant(pd.Series(values).dropna()))
            continue
        text = frame[name].astype(object).to_numpy()
        picked = np.full(len(row), None, dtype=object)
        picked[has] = text[row[has]]
        series = pd.Series(picked).astype("str").where(pd.Series(picked).notna())
        words = series.astype(object).where(series.notna(), None).to_numpy()
        if given is None and are_types(words, title=name):
            parts, types[name] = _types(name, words, taken=[*names, *columns])
            for part, numbers in parts.items():
                add(part, numbers, kind="numeric", origin=name, reason=_constant(pd.Series(numbers).dropna()))
            continue
        reason = _unusable(series.dropna()) or ("" if given is not None else _no_label(words, targets))
        told = ""
        if given is None and not reason:
            words, told = _pool(words, targets)
            series = pd.Series(words).astype("str").where(pd.Series(words).notna())
            reason = _constant(series.dropna())
        classes = pd.Categorical(series, categories=sorted(series.dropna().unique()))
        add(name, classes, kind="categorical", origin=name, reason=reason, pooled=told)
    return pd.DataFrame(columns), reports, types


def _types(
    name: str, words: NDArray[np.object_], *, taken: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], str]:
    """MK types as label -> numbers, those that anything is known of, and what became of them in words."""
    parts: dict[str, NDArray[np.float64]] = {}
    said = []
    n = sum(one is not None for one in words)
    for what, scale, numbers in zip(
        ("subclass", "luminosity"), (SUBCLASS, LUMINOSITY), parse_column(words), strict=True
    ):
        title = f"{name}_{what}"
        while title in taken:
            title += "_parsed"
        known = int(np.isfinite(numbers).sum())
        if known:
            parts[title] = numbers
            said.append(f"{title} ({scale}; {known:,} of {n:,})")
    return parts, f"{_TYPES}, read as {' and '.join(said)}"


def _of_targets(words: NDArray[np.object_], targets: NDArray[np.object_]) -> tuple[Any, Any]:
    """(class of each spectrum, -1 where blank; the same with one row per target and class)."""
    import pandas as pd

    classes = np.asarray(pd.factorize(words)[0], dtype=np.int64)
    known = pd.DataFrame({"target": targets, "class": classes})[classes >= 0].drop_duplicates()
    return classes, known


def _no_label(words: NDArray[np.object_], targets: NDArray[np.object_]) -> str:
    """Why a column of text is no label: nearly unique, dates, names of files; '' where it is one."""
    classes, known = _of_targets(words, targets)
    if what := no_class({one for one in words.tolist() if one is not None}):
        return f"{what}, no classes" + ("; give days as numbers" if what.startswith("dates") else "")
    return nearly_unique(int(classes.max(initial=-1)) + 1, int(known["target"].nunique()))


def _pool(words: NDArray[np.object_], targets: NDArray[np.object_]) -> tuple[NDArray[np.object_], str]:
    """Text with its rare classes pooled, and that in words."""
    classes, known = _of_targets(words, targets)
    members = known["class"].to_numpy(dtype=np.int64)
    _, rare, number = pooled(members)
    if not rare:
        return words, ""
    gone = np.unique(members[np.bincount(members)[members] < FEW_MEMBERS])
    out = words.copy()
    out[np.isin(classes, gone)] = OTHER
    return out, pooled_text(rare, number)


def _constant(filled: pd.Series[Any]) -> str:
    if not len(filled):
        return "no spectrum has a value"
    if filled.nunique() == 1:
        return f"every spectrum that has a value has {filled.iloc[0]!s}"
    return ""


def _unusable(filled: pd.Series[Any]) -> str:
    """Why text cannot be used at all."""
    import pandas as pd

    if reason := _constant(filled):
        return reason
    values = pd.Series(filled.unique())
    odd = values[pd.to_numeric(values, errors="coerce").isna()]
    if 0 < len(odd) < 0.5 * len(values):
        return f"most values are numbers, but not {', '.join(map(repr, odd.head(3)))}; clean them up"
    if len(filled) >= 20 and len(values) > 0.5 * len(filled):
        return "nearly every value differs: an identifier, or numbers written as text"
    return ""
