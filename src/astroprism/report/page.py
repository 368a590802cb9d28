"""The report as one page: what was collected and figures in, HTML out. Nothing is measured here.

The HTML is in templates/, which escape whatever they are given; only drawings are taken as they are.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..figures.style import HALF, INK, PAPER, RULE, SOFT
from ..figures.words import (
    FEATURES,
    FIELD_WORDS,
    chance,
    change_words,
    count_words,
    element_words,
    node_title,
    plus_minus,
    ranged,
    share_words,
    short,
)
from ..measures.count import agreement
from ..measures.origin import origin_words
from ..measures.variance import part_words
from .collect import MOST_CARDS, ReportData
from .pixel_tables import MedianChi2

if TYPE_CHECKING:
    import pandas as pd

# template, id, heading
SECTIONS = (
    ("short", "short", "In short"),
    ("archive", "archive-part", "Archive"),
    ("training", "training-part", "Training"),
    ("counts", "count-part", "How many features are real"),
    ("nodes", "nodes-part", "Nodes, one by one"),
    ("time", "time-part", "Stars in time"),
    ("labels", "labels-part", "Labels read from the codes"),
    ("outliers", "outliers-part", "Outliers"),
    ("unexplained", "unexplained-part", "What no label explains"),
    ("provenance", "provenance-part", "Provenance, and how to rebuild every figure"),
)
MOST_MATCHES, MOST_LINES, MOST_LISTED = 8, 6, 16  # rows of a card; nodes listed behind a count
SMALL = 60_000  # characters of an SVG that is taken whatever its share of the page


class Heading(NamedTuple):
    """A heading that the table of contents lists, with those below it; template: what is under it."""

    id: str
    title: str
    below: Sequence[Heading] = ()
    template: str = ""


class Picture(NamedTuple):
    """A figure inside a page: SVG with its box, or PNG in base64. kind: 'wide' or 'half'."""

    kind: str
    svg: Markup | None = None
    box: str = ""
    png: str = ""

    @property
    def size(self) -> int:
        """Characters that it takes."""
        return len(self.svg or "") + len(self.png)


class PageFigure(NamedTuple):
    """A figure ready for the page. files: kind -> address from the page."""

    picture: Picture
    caption: str
    alt: str
    files: Mapping[str, str]


def report_page(
    data: ReportData,
    *,
    chi2: MedianChi2 | None,
    errors: pd.DataFrame | None = None,
    figures: Mapping[str, PageFigure],
) -> str:
    """The report.

    errors  by how much the stated errors are off, a row per range of signal-to-noise
    """
    model, findings = data.model_facts, data.findings
    cards = [Heading(f"node-{node.node}", node_title(node)) for node in data.cards[:MOST_CARDS]]
    contents = [
        Heading(anchor, title, cards if name == "nodes" else (), f"{name}.html.j2")
        for name, anchor, title in SECTIONS
        if name != "time" or (findings is not None and findings.series)
    ]
    readings: dict[str, dict[str, Any]] = {}
    for reading in data.readings:
        readings.setdefault(reading.label, {})[reading.reader] = reading
    warnings = [
        *data.stale(),
        *(() if findings is None else findings.warnings),
        *(() if model is None else model.warnings),
    ]
    limits = list(dict.fromkeys(warnings))  # a poor fit is noted by training and by find
    return render(
        "report.html.j2",
        study=data.name,
        version=__version__,
        contents=contents,
        archive=data.archive_summary(),
        model=model,
        chi2=chi2,
        errors=[] if errors is None else list(errors.itertuples()),
        findings=findings,
        limits=limits,
        cards=data.cards,
        whose=data.whose,
        intervals=data.intervals,
        readings=readings,
        outliers=data.outlier_summary(),
        provenance=data.provenance(),
        settings=data.settings(),
        runs=data.runs,
        figures=figures,
        most_cards=MOST_CARDS,
        most_matches=MOST_MATCHES,
        most_lines=MOST_LINES,
        most_listed=MOST_LISTED,
    )


def render(template: str, **values: object) -> str:
    """A template with its values filled in."""
    return environment().get_template(template).render(**values)


@cache
def environment() -> Environment:
    """Where templates are found, and what they may call."""
    found = Environment(
        loader=PackageLoader("astroprism.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    found.filters |= {
        "cell": cell,
        "chance": chance,
        "counted_noun": count_words,
        "repr": repr,
        "short": short,
        "thousands": lambda number: f"{number:,}",
    }
    found.globals |= {
        "agreement": agreement,
        "sentence": lambda text: text[:1].upper() + text[1:],
        "change_words": change_words,
        "element_words": element_words,
        "feature_words": FEATURES,
        "field_words": FIELD_WORDS,
        "node_title": node_title,
        "origin_words": origin_words,
        "part_words": part_words,
        "plus_minus": plus_minus,
        "other_run": _other_run,
        "ranged": ranged,
        "share_words": share_words,
    }
    return found


def _printable(value: object) -> object:
    """Text without what cannot be printed; markup as it is."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)


def cell(value: Any) -> str:
    """A value of a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _other_run(run: Mapping[str, Any]) -> str:
    """What a run did that the page has no words for."""
    known = ("command", "when", "version")
    return ", ".join(f"{name} {value}" for name, value in run.items() if name not in known)[:200]


# --- figures inside the page


def picture(files: Mapping[str, bytes], *, name: str, most: int) -> Picture:
    """A figure, made by `files_of`, as SVG; as PNG where that is smaller and the SVG is over `most`."""
    drawing = svg_picture(files["svg"], name=name)
    if drawing.size <= max(most, SMALL):
        return drawing
    return min(
        drawing, Picture("wide", png=base64.b64encode(files["png"]).decode()), key=lambda one: one.size
    )


def svg_picture(svg: bytes, *, name: str) -> Picture:
    """An SVG as a part of a page: its ids are its own, ink and paper are the page's."""
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    found = re.search(r'viewBox="([^"]+)"', text)
    box = found.group(1) if found else "0 0 1 1"
    text = text[text.index(">") + 1 :]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{name}-{m.group(1)}"' if m.group(1) in used else "", text
    )
    text = re.sub(r'(url\(#|href="#)([^)"]+)', lambda m: f"{m.group(1)}{name}-{m.group(2)}", text)
    text = re.sub(r"\bfont: (?:[a-z]+ )?([\d.]+px) [^;\"]+", r"font-size: \1", text)
    text = re.sub(
        r'(?<= d=")[^"]+',
        lambda m: re.sub(r"-?\d+\.\d+", lambda n: f"{float(n.group()):.1f}".removesuffix(".0"), m.group()),
        text,
    )
    for colour, word in ((INK, "ink"), (SOFT, "soft"), (RULE, "rule"), (PAPER, "paper")):
        text = text.replace(colour, f"var(--{word})")
    kind = "wide" if float(box.split()[2]) > 72 * (HALF + 1) else "half"
    return Picture(kind, svg=Markup(re.sub(r"\n\s*", "\n", text).strip()), box=box)
