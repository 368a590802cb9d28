"""Spectra by their names, and the table of those that were chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from ..server.refusals import Refused
from .columns import Columns

LONGEST = 100


def search(columns: Columns, text: str, *, n: int) -> dict[str, Any]:
    """Spectra whose identifier or target contains the text, capitals or not."""
    import pyarrow.compute as pc

    wanted = text.strip()
    if not wanted or len(wanted) > LONGEST:
        raise Refused(400, f"give a text of 1 to {LONGEST} characters")
    hit = pc.or_(
        *(
            pc.fill_null(pc.match_substring(columns.text(name), wanted, ignore_case=True), False)
            for name in ("spectrum_id", "target")
        )
    )
    rows = np.flatnonzero(hit.to_numpy(zero_copy_only=False))
    return {"total": int(rows.size), "found": [columns.brief(int(row)) for row in rows[:n]]}


def selection(columns: Columns, rows: Sequence[int]) -> tuple[list[str], Iterator[list[Any]]]:
    """Names of the columns, and the rows: identifier, target, the file's name, S/N, labels."""
    for row in (min(rows), max(rows)) if rows else ():
        columns.check(row)
    index = columns.index
    labels = [(name, columns.label(name)) for name in columns.labels]
    names = ["row", "spectrum_id", "target", "file", "snr", *(name for name, _ in labels)]
    chosen = np.array(rows, dtype=np.intp)
    files = index["path"].iloc[chosen].tolist() if "path" in index else [""] * len(rows)
    texts = [index[name].iloc[chosen].tolist() for name in ("spectrum_id", "target")]
    snr = columns.number("snr")[chosen]
    values = [column[chosen] for _, column in labels]

    def lines() -> Iterator[list[Any]]:
        for i, row in enumerate(rows):
            file = PurePath(str(files[i])).name
            yield [row, texts[0][i], texts[1][i], file, snr[i], *(column[i] for column in values)]

    return names, lines()
