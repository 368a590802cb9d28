"""Which rows are evidence: finite ones, one a target. And their ranks, ties broken by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import AstroprismError

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


def column(values: ArrayLike, name: str, *, categorical: bool | None) -> tuple[NDArray[Any], bool]:
    """A column as floats, or as integer codes (-1 where blank) if it is categorical, and which it is."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise EvidenceError(f"{name} must be one column, not an array of shape {array.shape}")
    if categorical is None:
        categorical = array.dtype.kind in "OUSb" and not _all_numbers(array)
    if not categorical:
        try:
            return array.astype(np.float64), False
        except (TypeError, ValueError) as error:
            raise EvidenceError(f"{name} is not numeric ({error}); say categorical=True") from None
    text = np.array([_text(value) for value in array.tolist()], dtype=str)
    codes = np.unique(text, return_inverse=True)[1].astype(np.int64)
    return np.where(text == "", -1, codes), True


def _all_numbers(array: NDArray[Any]) -> bool:
    if array.dtype.kind != "O":
        return False
    return all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in array.tolist())


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()


def finite(*columns: NDArray[Any]) -> Rows:
    """Rows in which every column (or every number of a 2-D one) is known."""
    good = np.ones(len(columns[0]), dtype=bool)
    for one in columns:
        known = one >= 0 if one.dtype.kind == "i" else np.isfinite(one)
        good &= known if known.ndim == 1 else known.all(axis=1)
    return np.flatnonzero(good)


def one_a_target(rows: Rows, groups: NDArray[Any] | None, rng: np.random.Generator) -> Rows:
    """One seeded row of each target among `rows`, in rising order; all of them without `groups`.

    Visits of one star share its labels: as neighbours of each other they would tell the star, not the cause.
    """
    if groups is None:
        return rows
    drawn = rng.permutation(rows)
    return np.sort(drawn[np.unique(groups[drawn], return_index=True)[1]])


def ranks(values: NDArray[Any], rng: np.random.Generator) -> Rows:
    """Rank 0..n-1 of each value; equal values in a seeded random order.

    The order within a tie knows nothing of the other column, so the mutual information stays what it was.
    """
    order = np.argsort(values)
    ordered = values[order]
    if (ordered[1:] == ordered[:-1]).any():
        shuffled = rng.permutation(len(values))
        order = shuffled[np.argsort(values[shuffled])]
    rank = np.empty(len(values), dtype=np.intp)
    rank[order] = np.arange(len(values))
    return rank


def same_length(**columns: Any) -> int:
    """The common number of rows, or an error that names each column's."""
    lengths = {name: len(one) for name, one in columns.items() if one is not None}
    if len(set(lengths.values())) != 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EvidenceError(f"columns of unequal length: {said}")
    return int(next(iter(lengths.values())))
