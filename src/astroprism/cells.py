"""Cells of a table: numbers, text, and missing values, which are written in many ways."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

# Text that means "no value": SIMBAD writes ~, TOPCAT blanks, Python nan, databases null and \N.
MISSING_TEXT = frozenset(
    {"", "-", "--", "---", "...", "…", "~", "?", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "N/A"}
    | {"n/a", "NA", "#N/A", "<NA>", "\\N", "masked"}
)
# Numbers that mean "no value" where nothing else in the column is near them. The first are used for
# little else; the second are also plain numbers (99 km/s, 9999 K), so they must lie much further off.
_SENTINELS = (-9999.0, -99999.0, 99999.0, -999999.0, 999999.0, -9999.99, -9999.9, -99999.9)
_WEAK_SENTINELS = (
    *(9999.0, 9999.9, 9999.99, 999.0, 999.9, -999.0, -999.9, 99.0, 99.9, 99.99, -99.0, -99.9, -99.99),
    # fillers of FITS writers, CDF and databases, and the least integers
    *(1e20, -1e20, 1e30, -1e30, -1e31, 1e37, -1e37, 3.4028234663852886e38, -3.4028234663852886e38),
    *(1.7976931348623157e308, -1.7976931348623157e308, -32768.0, -2147483648.0, -9223372036854775808.0),
)


def clean(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers as numbers and missing values as NaN, counted in `attrs["missing"]`."""
    import pandas as pd

    columns: dict[str, Any] = {}
    missing: dict[str, dict[str, int]] = {}
    before = frame.attrs.get("missing", {})  # of a table that was read, then cut or added to
    notes = list(frame.attrs.get("notes", []))
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object and isinstance(
            next(iter(column.dropna()), None), list | tuple | dict | np.ndarray
        ):
            notes.append(f"column {name} was left out: its cells hold more than one value")
            continue
        columns[name], counts = _clean_column(column)
        missing[name] = before.get(name) or counts
    out = pd.DataFrame(columns, index=frame.index)
    out.attrs = {"units": {}, "source": "the table", "format": "in memory"} | dict(frame.attrs)
    out.attrs |= {"missing": missing, "notes": notes}
    return out


def _clean_column(column: pd.Series[Any]) -> tuple[pd.Series[Any], dict[str, int]]:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.astype("float64"), _count("masked", int(column.isna().sum()))
    if pd.api.types.is_numeric_dtype(column.dtype):
        if pd.api.types.is_integer_dtype(column.dtype):
            if len(column.dropna()) and int(column.abs().max()) > 2**53:
                return _clean_column(
                    column.astype("str").mask(column.isna())
                )  # an identifier, kept to its last digit
            if not column.isna().any() and not sentinels(column.to_numpy()).any():
                return column.astype("int64"), {}
        single = column.dtype == np.float32
        values = column.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)
        return _clean_numbers(values, column.index, blank="masked")
    text = column.astype("str").str.strip()
    empty = column.isna() | text.isin(MISSING_TEXT)
    counts = Counter(str(v) or "blank" for v in text[empty & column.notna()])
    counts += Counter(_count("masked", int(column.isna().sum())))
    text = text.mask(empty)
    numbers = numbers_of(text)
    if numbers is None:
        return text, dict(counts)
    cleaned, more = _clean_numbers(numbers, column.index, blank="")
    return cleaned, dict(counts) | more


def _count(label: str, number: int) -> dict[str, int]:
    return {label: number} if number else {}


def _clean_numbers(
    values: NDArray[np.floating], index: pd.Index[Any], *, blank: str
) -> tuple[pd.Series[Any], dict[str, int]]:
    import pandas as pd

    counts = _count(blank, int(np.isnan(values).sum())) if blank else {}
    taken = sentinels(values) | np.isinf(values)
    counts |= {
        f"{value:g}": int(n) for value, n in zip(*np.unique(values[taken], return_counts=True), strict=True)
    }
    kept = np.where(taken, np.nan, values.astype(np.float64))
    return pd.Series(kept, index=index), counts


def numbers_of(text: pd.Series[Any]) -> NDArray[np.float64] | None:
    """Text as numbers, if all of it is; identifiers that only look like numbers stay text."""
    import pandas as pd
    import pyarrow as pa

    filled = text.dropna()
    if filled.empty:
        return np.full(len(text), np.nan)
    # 000142 loses its zeros as a number, and above 2^53 (Gaia's source_id) a float64 loses digits
    if filled.str.fullmatch(r"[+-]?0\d+|\d{16,}").any():
        return None
    if filled.str.fullmatch(r"[+-]?\d+,\d+").any() and filled.str.fullmatch(r"[+-]?\d+(,\d+)?").all():
        text = text.str.replace(",", ".")  # decimal comma; commas between columns are gone by now
    try:  # Arrow is ten times quicker, but knows fewer spellings (+5)
        return np.asarray(pa.array(text, from_pandas=True).cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    try:
        return pd.to_numeric(text).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError):
        return None


def sentinels(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers of a column stand for "no value", shape (n,).

    Only exact values from a list, and only where they lie outside the range of the rest by far: -9999 among
    temperatures of 3000 to 9000 is one, 9999 is not (a star may have 9999 K); 99999 among counts up to
    90000 is not.
    """
    single = np.asarray(values).dtype == np.float32  # where 99.99 is 99.98999786
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        strong, weak = (
            np.isin(values, np.array(known, dtype=np.float32 if single else np.float64))
            for known in (_SENTINELS, _WEAK_SENTINELS)
        )
    rest = values[np.isfinite(values) & ~strong & ~weak]
    if not rest.size:
        rest = values[weak]
    if not rest.size:
        return np.asarray(strong)
    low, high = rest.min(), rest.max()
    outside = np.where(values > high, values - high, low - values)
    span = max(high - low, 0.1 * max(abs(low), abs(high)))
    return np.asarray((strong & (outside > span / 2)) | (weak & (outside > 5 * span)))
