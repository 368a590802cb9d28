"""The files beside the page: figures as PNG and PDF, their data as Parquet and CSV."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import blame, write_bytes
from ..figures.style import files_of
from .drawings import View
from .page import PageFigure, picture

if TYPE_CHECKING:
    import pandas as pd

MOST_CSV = 60_000  # rows of a table that is written as CSV, too


def write_view(view: View, out: Path, *, most: int) -> PageFigure:
    """Draw a view, write its files, and give what the page shows of it, in about `most` bytes."""
    tables = view.tables()
    made = files_of(view.draw(tables))
    files = {}
    for kind in ("png", "pdf"):
        write_bytes(out / "figures" / f"{view.name}.{kind}", made[kind])
        files[kind.upper()] = f"report/figures/{view.name}.{kind}"
    for key, table in tables.items():
        stem = f"{view.name}-{key}" if key else view.name
        for kind in _write_table(table, out / "data" / stem):
            files[f"{key or 'data'}.{kind}"] = f"report/data/{stem}.{kind}"
    return PageFigure(picture(made, name=view.name, most=most), view.caption, view.alt, files)


def write_refusals(rejects: pd.DataFrame, out: Path) -> None:
    """What was refused, if anything was."""
    if len(rejects):
        _write_table(rejects, out / "data" / "refusals")


def _write_table(table: pd.DataFrame, stem: Path) -> list[str]:
    """A table as Parquet, and as CSV where it is not long; the kinds written."""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    files = {"parquet": content.getvalue()}
    if len(table) <= MOST_CSV:
        files["csv"] = table.to_csv(index=False, float_format="%.7g").encode("utf-8", "replace")
    for kind, data in files.items():
        write_bytes(stem.with_name(f"{stem.name}.{kind}"), data)
    return list(files)


def sweep(out: Path, wanted: set[str]) -> None:
    """Take away files of an older report that this one does not have."""
    with blame(out):
        for place in sorted(out.glob("figures/*.p[nd][gf]")):
            if place.stem not in wanted:
                place.unlink()
        for place in sorted([*out.glob("data/*.parquet"), *out.glob("data/*.csv")]):
            if not any(place.stem == name or place.stem.startswith(f"{name}-") for name in wanted):
                place.unlink()
