"""One self-contained page of section 6: verdict, tables, figures; and the same as files in a folder."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import write_bytes, write_json
from ..figures import paper as draw
from ..paper.verdict import explained
from ..progress import Listener, count, silent
from .page import Heading, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..paper import Section6

DPI = 110


def write_section6(
    result: Section6, out: Path, *, facts: Mapping[str, Any], progress: Listener = silent
) -> list[Path]:
    """Figures, tables (CSV and Parquet), section6.json and report.html into folder `out`; the files.

    facts     what the page says of where the numbers come from
    progress  counts of figures done
    """
    written, pictures = [], {}
    total = 1 + (2 * len(result.labels) + 1 if len(result.labels) else 0)
    for number, (name, figure) in enumerate(_figures(result), start=1):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
        pictures[name] = picture.getvalue()
        written.append(out / "figures" / f"{name}.png")
        write_bytes(written[-1], pictures[name])
        progress(count(number, total))
    for name, table in result.tables.items():
        stem = out / "tables" / name
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_bytes(stem.with_suffix(".parquet"), content.getvalue())
        write_bytes(stem.with_suffix(".csv"), table.to_csv(index=False).encode())
        written += [stem.with_suffix(".parquet"), stem.with_suffix(".csv")]
    write_json(out / "section6.json", {**facts, **result.summary()})
    write_bytes(out / "report.html", page(result, pictures, facts=facts).encode())
    return [*written, out / "section6.json", out / "report.html"]


def slug(label: str) -> str:
    """A label as part of a file name: E(B-V) is E_B-V."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", label).strip("_") or "label"


def _figures(result: Section6) -> Iterator[tuple[str, Figure]]:
    yield "dispersion", draw.dispersion_figure(result)
    if not len(result.labels):
        return
    yield "bins", draw.floor_figure(result)
    for label in result.labels["label"]:
        yield f"map_{slug(label)}", draw.map_figure(result, label)
        if result.informative:
            yield f"scatter_{slug(label)}", draw.scatter_figure(result, label)


def page(result: Section6, pictures: Mapping[str, bytes], *, facts: Mapping[str, Any]) -> str:
    """The page; pictures: PNG by name."""
    labels = {str(label): slug(label) for label in result.labels["label"]} if len(result.labels) else {}
    contents = [Heading("verdict", "What stands"), Heading("nodes", "6.1 Informative nodes")]
    if labels:
        below = [Heading(f"label-{name}", label) for label, name in labels.items()]
        contents.append(Heading("labels", "6.2 Which node follows which label", below))
    chosen = result.nodes["informative"] | result.nodes["informative_by_mean"]
    return render(
        "section6.html.j2",
        contents=contents,
        result=result,
        spectra=result.codes.shape[0],
        nodes=result.codes.shape[1],
        facts=facts,
        labels=labels,
        informative=result.nodes[chosen],
        explained=explained(result) if labels else None,
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
    )
