"""Columns as arrays, the rows that count (finite, one per target), and ranks with ties broken by a seed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import AstroprismError

FEW_VALUES = 12  # a column of numbers with at most this many different values is treated as classes

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class EvidenceError(AstroprismError):
    """Numbers that no measure can be made from."""


def codes_and_errors(mean: ArrayLike, sd: ArrayLike) -> tuple[Floats, Floats]:
    """Mean and sd of codes as (spectra, nodes), refused where they cannot be a posterior."""
    mean, sd = np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64)
    if mean.ndim != 2 or mean.shape != sd.shape:
        raise EvidenceError(
            f"mean and sd of the codes must both be (spectra, nodes), not {mean.shape} and {sd.shape}"
        )
    if not np.isfinite(mean).all() or not np.isfinite(sd).all() or (sd <= 0).any():
        bad = ~np.isfinite(mean) | ~np.isfinite(sd) | (sd <= 0)
        raise EvidenceError(
            f"{bad.sum()} of {bad.size} codes have no finite mean or no positive sd, first in row "
            f"{np.flatnonzero(bad.any(axis=1))[0]}; leave those spectra out"
        )
    return mean, sd


def column_values(values: Any) -> NDArray[Any]:
    """A column of numpy, pandas, pyarrow or astropy as an array; what is masked or null is None or NaN."""
    if hasattr(values, "to_pylist"):  # pyarrow
        values = values.to_pandas()
    if hasattr(values, "to_numpy") and hasattr(values, "isna") and not hasattr(values, "columns"):
        # pandas: series, and arrays of text, categories and nullable types, as plain objects
        kind = getattr(values.dtype, "kind", "O")
        if kind not in "fiub" or not isinstance(values.dtype, np.dtype):
            blanks = np.asarray(values.isna(), dtype=bool)
            values = np.array(values.astype(object), dtype=object)
            values[blanks] = None
    if np.ma.isMaskedArray(values):  # numpy's, and astropy's columns
        blank: NDArray[np.bool_] = np.ma.getmaskarray(values)
        numeric = values.dtype.kind in "fiub"
        values = np.array(np.ma.getdata(values), dtype=np.float64 if numeric else object)
        values[blank] = np.nan if numeric else None
    try:
        array = np.asarray(values)
    except Exception as error:  # ragged lists, tensors on a device: each library raises its own
        raise EvidenceError(f"a column of type {type(values).__name__} is no array ({error})") from error
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "T":  # numpy's own strings of any length
        array = array.astype(object)
    if array.dtype.kind == "O" and array.ndim == 1 and "pandas" in sys.modules:
        nothing = sys.modules["pandas"].NA  # which compares to nothing, not even to itself
        array = np.array([None if one is nothing else one for one in array.tolist()], dtype=object)
    return array.astype(np.float64) if array.dtype.kind == "b" else array


def column(values: Any, name: str, *, categorical: bool | None) -> tuple[NDArray[Any], bool]:
    """A column as floats, or as integer codes (-1 where blank) if it is categorical, and which it is."""
    array = column_values(values)
    if array.ndim != 1:
        raise EvidenceError(f"{name} must be one column, not an array of shape {array.shape}")
    if array.dtype.kind in "Mmc":
        raise EvidenceError(f"{name} holds {array.dtype.name}; give plain numbers (of a date, days)")
    if categorical is None:
        categorical = array.dtype.kind in "OUSb" and not _all_numbers(array)
    if not categorical:
        try:
            return array.astype(np.float64), False
        except (TypeError, ValueError) as error:
            raise EvidenceError(f"{name} is not numeric ({error}); say categorical=True") from None
    text = texts(array)
    codes = np.unique(text, return_inverse=True)[1].astype(np.int64)
    return np.where(text == "", -1, codes), True


def texts(values: Any) -> NDArray[np.str_]:
    """A column as text (n,), '' where blank."""
    return np.array([_text(value) for value in column_values(values).tolist()], dtype=str)


def classes_if_few(values: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Numbers with few different values as integer codes (-1 where blank), and whether they are few.

    Nearest neighbours would break the ties at random and find .65 nat of a bit's .69.
    """
    known = np.isfinite(values)
    levels, codes = np.unique(values[known], return_inverse=True)
    if not 2 <= levels.size <= FEW_VALUES or known.sum() < FEW_VALUES * levels.size:
        return values, False
    out = np.full(values.size, -1, dtype=np.int64)
    out[known] = codes
    return out, True


def _all_numbers(array: NDArray[Any]) -> bool:
    if array.dtype.kind != "O":
        return False
    return all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in array.tolist())


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()


def checked_targets(targets: Any) -> NDArray[Any] | None:
    """The target of each row, refused where one is blank; None where none are given."""
    if targets is None:
        return None
    held = column_values(targets)
    if held.ndim != 1:
        raise EvidenceError(f"targets must be one column, the target of each row, not of shape {held.shape}")
    if held.dtype.kind in "iu":
        return held
    numbers, _ = column(held, "targets", categorical=held.dtype.kind != "f")
    blank = numbers < 0 if numbers.dtype.kind == "i" else ~np.isfinite(numbers)
    if blank.any():
        raise EvidenceError(
            f"{blank.sum()} of {blank.size} rows have no target, first row {blank.argmax()}; give "
            "each star of unknown name one of its own"
        )
    return numbers


def finite(*columns: NDArray[Any]) -> Rows:
    """Rows in which every column (or every number of a 2-D one) is known."""
    good = np.ones(len(columns[0]), dtype=bool)
    for one in columns:
        known = one >= 0 if one.dtype.kind == "i" else np.isfinite(one)
        good &= known if known.ndim == 1 else known.all(axis=1)
    return np.flatnonzero(good)


def one_per_target(rows: Rows, targets: NDArray[Any] | None, rng: np.random.Generator) -> Rows:
    """One seeded row of each target among `rows`, in rising order; all of them where `targets` is None.

    Visits of one star share its labels: as neighbours of each other they would identify the star, not the
    cause.
    """
    if targets is None:
        return rows
    drawn = rng.permutation(rows)
    return np.sort(drawn[np.unique(targets[drawn], return_index=True)[1]])


def ranks(values: NDArray[Any], rng: np.random.Generator) -> Rows:
    """Rank 0..n-1 of each value; equal values in a seeded random order.

    The order within a tie does not depend on the other column, so the mutual information stays what it was.
    """
    order = np.argsort(values)
    ordered = values[order]
    if (ordered[1:] == ordered[:-1]).any():
        shuffled = rng.permutation(len(values))
        order = shuffled[np.argsort(values[shuffled])]
    rank = np.empty(len(values), dtype=np.intp)
    rank[order] = np.arange(len(values))
    return rank


def varied(values: NDArray[Any], name: str) -> None:
    """Refuse a column that is the same in all rows that count."""
    if values.size and (values == values[0]).all():
        value = "" if values.dtype.kind == "i" else f" ({values[0]:.6g})"
        raise EvidenceError(
            f"{name} has one value only{value} in the {values.size} rows that count, so it carries no "
            "information: leave it out"
        )


def same_length(**columns: Any) -> int:
    """The common number of rows, or an error that names each column's."""
    lengths = {name: len(one) for name, one in columns.items() if one is not None}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EvidenceError(f"columns of unequal length: {listed}")
    return int(next(iter(lengths.values())))
