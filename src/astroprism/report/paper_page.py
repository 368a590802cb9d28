"""One self-contained page of section 6: verdict, tables, figures; and the same as files in a folder."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import blame, write_bytes
from ..figures import paper as draw
from ..paper.verdict import explained
from .html import document, frame_table, image, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..paper import Section6

DPI = 110
HOW = """
<p>The maps follow the seed paper (Sedaghat, Romaniello, Carrick and Pineau 2021, MNRAS 501, 6026).
A map shows the plug-in estimate on equal-width bins, each row divided by its own largest node, so its
darkest cell says nothing of how much that node knows. Below it the cells that chance alone does not
reach, and the nearest-neighbour estimate in nats, whose floor is 0. q controls false discoveries over all
nodes and labels.</p>
"""


def write_section6(
    result: Section6,
    out: Path,
    *,
    facts: dict[str, Any],
    watch: Callable[[int, int], object] = lambda done, total: None,
) -> list[Path]:
    """Figures, tables (CSV and Parquet), section6.json and report.html into folder `out`; the files.

    facts: what the page says of where the numbers come from. watch is called with figures done and to do.
    """
    with blame(out):
        for folder in (out / "figures", out / "tables"):
            folder.mkdir(parents=True, exist_ok=True)
    written, pictures = [], {}
    total = 1 + (2 * len(result.labels) + 1 if len(result.labels) else 0)
    for number, (name, figure) in enumerate(_figures(result), start=1):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI)
        pictures[name] = picture.getvalue()
        written.append(out / "figures" / f"{name}.png")
        write_bytes(written[-1], pictures[name])
        watch(number, total)
    for name, table in result.tables.items():
        stem = out / "tables" / name
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_bytes(stem.with_suffix(".parquet"), content.getvalue())
        write_bytes(stem.with_suffix(".csv"), table.to_csv(index=False).encode())
        written += [stem.with_suffix(".parquet"), stem.with_suffix(".csv")]
    plain = json.dumps(_finite(facts | result.summary()), indent=2, allow_nan=False)
    write_bytes(out / "section6.json", plain.encode())
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


def page(result: Section6, pictures: dict[str, bytes], *, facts: dict[str, Any]) -> str:
    """The page; pictures: PNG by name."""
    n, nodes = result.codes.shape
    heads = [(2, "verdict", "What stands"), (2, "nodes", "6.1 Informative nodes")]
    parts = [
        "<h1>Section 6 of the seed paper, and what stands of it</h1>",
        f"<p>{n:,} spectra, {nodes} nodes, {len(result.labels)} labels. "
        + "; ".join(f"{text(key)}: {text(value)}" for key, value in facts.items()) + "</p>",
        '<h2 id="verdict">What stands and what does not</h2><ul>',
        *[f"<li>{text(line)}</li>" for line in result.verdict],
        *[f"<li class=note>{text(line)}</li>" for line in result.notes],
        "</ul>",
        '<h2 id="nodes">6.1 Informative nodes</h2>',
        _image(pictures, "dispersion"),
        _table(
            result.nodes[result.nodes["informative"] | result.nodes["informative_by_mean"]],
            caption="Nodes above a threshold",
        ),
        f"<p>Noise of the codes: {result.noise}. information_nats: {_INFORMATION[result.noise]}</p>",
    ]  # fmt: skip
    if len(result.labels):
        heads.append((2, "labels", "6.2 Which node knows which label"))
        parts += ['<h2 id="labels">6.2 Which node knows which label</h2>', HOW]
        parts.append(_table(result.labels, caption="Labels"))
        parts += [
            "<h3>Labels that explain a node</h3>",
            _table(explained(result), caption="Pairs"),
            _image(pictures, "bins"),
        ]
    for label in result.labels["label"] if len(result.labels) else ():
        heads.append((3, f"label-{slug(label)}", label))
        parts += [f'<h3 id="label-{slug(label)}">{text(label)}</h3>', _image(pictures, f"map_{slug(label)}")]
        parts.append(_image(pictures, f"scatter_{slug(label)}"))
    return document("Section 6", body="\n".join(parts), contents=heads)


_INFORMATION = {
    "measured": "what the sampled code tells of its spectrum.",
    "implied": "the most the node can tell of its spectrum if its noise, inferred from mean squares, is the "
    "same for all spectra; more if not.",
    "unknown": "not known.",
}


def _image(pictures: dict[str, bytes], name: str) -> str:
    return image(pictures.get(name), alt=name)


def _table(table: pd.DataFrame, *, caption: str) -> str:
    return frame_table(table, caption=caption)


def _finite(value: Any) -> Any:
    """JSON without NaN."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
