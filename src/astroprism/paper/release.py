"""The authors' release files, or files of that shape: codes, labels, and which row belongs to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AstroprismError, CatalogError
from ..tables import read_table

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("radvel", "Teff", "logg", "Mass", "E(B-V)", "[M/H]", "airmass", "snr", "vsini", "spec_type_no")
IDENTIFIER, SUBSET = "dp_id", "unique_subset"


class ReleaseError(AstroprismError):
    """Release files that cannot be read, or that do not belong together."""


@dataclass(frozen=True, eq=False)
class Release:
    """Codes and labels, row by row. codes (n, nodes); labels: a row per spectrum; notes: what was assumed."""

    codes: NDArray[np.float64]
    labels: pd.DataFrame
    identifiers: NDArray[np.object_]
    notes: tuple[str, ...]


def read_codes(path: str | Path) -> NDArray[np.float64]:
    """Mean codes (spectra, nodes) from a .npy file; nothing in it is executed."""
    path = Path(path)
    try:
        codes = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ReleaseError(f"{path}: no such file; give the .npy file of the codes") from None
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error}); give the .npy file of the codes") from error
    except (ValueError, EOFError) as error:
        what = (str(error).splitlines() or ["no array"])[0]
        if "pickle" in what.lower():
            raise ReleaseError(
                f"{path}: holds pickled Python objects, or is no .npy file at all; such a file can run code "
                "as it is read and is refused: save the codes as an array of numbers (numpy.save)"
            ) from error
        raise ReleaseError(f"{path}: damaged, or no .npy file ({what}); fetch it again") from error
    if not isinstance(codes, np.ndarray):
        codes.close()
        raise ReleaseError(f"{path}: an .npz of several arrays; give a .npy of one, (spectra, nodes)")
    return checked_codes(codes, str(path))


def checked_codes(codes: Any, name: str) -> NDArray[np.float64]:
    """Codes as float64 (spectra, nodes), refused where they cannot be codes."""
    codes = np.asarray(codes)
    if codes.dtype.kind not in "fiu":
        raise ReleaseError(f"{name}: codes of type {codes.dtype}; give numbers")
    if codes.ndim != 2 or 0 in codes.shape:
        raise ReleaseError(f"{name}: an array of shape {codes.shape}; codes are (spectra, nodes)")
    bad = ~np.isfinite(codes).all(axis=1)
    if bad.any():
        raise ReleaseError(
            f"{name}: {bad.sum():,} of {bad.size:,} rows hold a code that is not finite, first row "
            f"{int(bad.argmax())}; leave those spectra out, here and in the labels"
        )
    return np.asarray(codes, dtype=np.float64)


def read_release(codes: str | Path, labels: str | Path, *, names: Sequence[str] | None = None) -> Release:
    """Codes, and the rows of the label table that they belong to.

    The codes follow the rows where `unique_subset` is not blank, in order; or all rows, where as many.
    names: the labels to take, the paper's ten by default.
    """
    array = read_codes(codes)
    table = read_table(labels)
    wanted = list(names) if names else list(LABELS)
    check_columns(table, wanted, source=str(labels))
    notes = []
    n, rows = len(array), len(table)
    chosen = table[SUBSET].notna().to_numpy() if SUBSET in table.columns else None
    if chosen is not None and int(chosen.sum()) == n:
        table = table[chosen]
    elif rows == n:
        notes.append(
            f"the codes have as many rows as the whole label table ({n:,}): taken to be in its order, "
            "and every row to be another star"
        )
    else:
        raise ReleaseError(_mismatch(codes, labels, shape=array.shape, chosen=chosen, table=table))
    table = table.reset_index(drop=True)
    identifiers = (
        table[IDENTIFIER].to_numpy(dtype=object)
        if IDENTIFIER in table.columns
        else np.array([f"row {i}" for i in range(n)], dtype=object)
    )
    return Release(array, numeric(table[wanted], source=str(labels)), identifiers, tuple(notes))


def check_columns(table: pd.DataFrame, wanted: Sequence[str], *, source: str) -> None:
    """Refuse a table that lacks a label, naming the nearest column."""
    have = [str(name) for name in table.columns]
    lower = {name.lower(): name for name in have}
    missing = []
    for name in wanted:
        if name in have:
            continue
        near = lower.get(name.lower()) or next(iter(get_close_matches(name, have, n=1)), None)
        missing.append(f"{name!r}" + (f" (the nearest is {near!r})" if near else ""))
    if missing:
        raise CatalogError(
            f"{source} has no column {', '.join(missing)}; it has {', '.join(have[:20])}"
            f"{' ...' if len(have) > 20 else ''}: rename, or name the labels to take with --label"
        )


def numeric(table: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """The labels as float64, NaN where blank; text is refused, for the paper's measure needs numbers."""
    for name in table.columns:
        if table[name].dtype.kind not in "fiu":
            example = next(iter(table[name].dropna()), "")
            raise CatalogError(
                f"{source}: column {name!r} holds text such as {str(example)[:30]!r}; the paper's bins need "
                "numbers: give classes numbers, or name other labels with --label"
            )
    return table.astype("float64")


def _mismatch(
    codes: str | Path,
    labels: str | Path,
    *,
    shape: tuple[int, ...],
    chosen: NDArray[np.bool_] | None,
    table: pd.DataFrame,
) -> str:
    """Both numbers, and what most likely happened."""
    n, rows = shape[0], len(table)
    if shape[1] in (rows, -1 if chosen is None else int(chosen.sum())):
        return (
            f"{codes} is of shape {shape} and {labels} has {shape[1]:,} such rows: the codes lie on their "
            "side; save them as (spectra, nodes)"
        )
    if chosen is None:
        near = get_close_matches(SUBSET, [str(name) for name in table.columns], n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        return (
            f"{codes} has {n:,} rows and {labels} {rows:,}, and no column {SUBSET!r} says which of them are "
            f"meant{hint}: give the table that came with the codes"
        )
    subset = int(chosen.sum())
    counts = f"{codes} has {n:,} rows, {labels} {subset:,} with a {SUBSET} (of {rows:,})"
    if n == int(table.loc[chosen, IDENTIFIER].nunique() if IDENTIFIER in table.columns else -1):
        return f"{counts}: rows of the table are repeated; take each {IDENTIFIER} once"
    if subset == 0:
        return f"{counts}: the column is blank throughout; give the table that came with the codes"
    if n == rows - 1:
        return f"{counts}: one row fewer than the table; the first spectrum may be missing from the codes"
    if n > rows:
        return f"{counts}: more codes than spectra; the table is cut off, or the codes are of another set"
    return f"{counts}: they are of different sets of spectra; give the two of one release"
