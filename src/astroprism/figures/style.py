"""How figures look, and how they become files and parts of a page.

Colours were chosen to be told apart by the colour-blind (after Wong 2011, Nature Methods 8, 441) and to
stand on white and on near black alike; ink, rules and paper are swapped by the page.
"""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .archive import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOFT, RULE, PAPER = "#4a5a70", "#d5dce5", "#fefefe"
BLUE, ORANGE, GREEN, GREY = "#3579b8", "#d9622b", "#1f9273", "#8792a2"
QUANTILE_COLOURS = ("#2f6fb0", "#7fa6cf", "#8792a2", "#dba071", "#cf5a22")  # low, .., middle, .., high
WIDE, HALF = 8.0, 4.0  # inches: the width of the page, and half of it
BINS = 700  # columns a long spectrum is drawn in, each from its lowest to its highest value
DPI = 150
SALT = "astroprism"  # of the ids in SVG: equal figures are equal files
Arguments = ParamSpec("Arguments")


def _settings() -> Any:
    return {
        "font.size": 8.5,
        "font.family": "DejaVu Sans",
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.titlecolor": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": SOFT,
        "axes.linewidth": 0.7,
        "axes.facecolor": "none",  # the paper shows through: a page may be dark
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": False,
        "axes.formatter.useoffset": False,
        "text.color": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.0,
        "grid.color": RULE,
        "path.simplify_threshold": 0.3,
        "svg.fonttype": "none",
        "svg.hashsalt": SALT,
        "pdf.fonttype": 3,  # half the time of 42
    }


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """A view drawn in the style of the report, whatever the user's own settings are."""

    @functools.wraps(draw)
    def inner(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(_settings()):
            return draw(*args, **kwargs)

    return inner


def sheet(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


# --- what is drawn


@functools.cache
def _known_glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())


def plain_text(text: object, *, most: int = 40) -> str:
    """A name from a file as a figure can show it: one line, no mathematics, no glyph the font lacks."""
    words = " ".join(str(text).split())
    words = words if len(words) <= most else words[: most - 2] + ".."
    return "".join(one if ord(one) in _known_glyphs() else "\u25a1" for one in words).replace("$", r"\$")


def binned(x: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> tuple[NDArray[Any], NDArray[Any]]:
    """A curve in `bins` columns, each from its lowest to its highest value; shorter curves as they are.

    x rises; NaN leaves a hole where a whole column has nothing else.
    """
    place, value = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if place.size <= 3 * bins:
        return place, value
    starts = np.linspace(0, place.size, bins + 1).astype(np.intp)[:-1]
    edges = np.append(starts, place.size)
    known = np.isfinite(value)
    low = np.minimum.reduceat(np.where(known, value, np.inf), starts)
    high = np.maximum.reduceat(np.where(known, value, -np.inf), starts)
    empty = ~np.isfinite(low)
    low[empty] = high[empty] = np.nan
    middle = place[(edges[:-1] + edges[1:] - 1) // 2]
    out = np.column_stack([low, high])
    out[1::2] = out[1::2, ::-1]  # down, then up: fewer long strokes
    return np.repeat(middle, 2), out.ravel()


def spread_labels(places: Sequence[float], *, low: float, high: float, gap: float) -> list[float]:
    """Where labels go that belong at `places`, in rising order: `gap` apart at least, and within the axis."""
    if not places:
        return []
    gap = min(gap, (high - low) / max(len(places), 1))
    at = np.asarray(places, dtype=np.float64)
    offset = gap * np.arange(at.size)
    told = np.maximum.accumulate(at - offset) + offset  # pushed to the right only
    back = np.minimum.accumulate((at - offset)[::-1])[::-1] + offset  # pushed to the left only
    middle = (told + back) / 2
    middle = np.maximum.accumulate(middle - offset) + offset
    last = high - gap * np.arange(at.size)[::-1]
    first = low + offset
    return [float(one) for one in np.clip(middle, first, np.maximum(last, first))]


def plain_log(axis: Any) -> None:
    """Numbers of a logarithmic axis in plain digits: 10,000 and 0.01."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())


def nothing(axes: Axes, words: str) -> None:
    """Say that there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, words, ha="center", va="center", color=SOFT, transform=axes.transAxes)


# --- what becomes of it


def files_of(figure: Figure) -> dict[str, bytes]:
    """The figure as png, pdf and svg; equal figures give equal bytes."""
    from matplotlib import rc_context

    found = {}
    with rc_context(_settings()):
        for kind, about in (("png", {}), ("pdf", {"CreationDate": None}), ("svg", {"Date": None})):
            out = io.BytesIO()
            paper = "none" if kind == "svg" else "white"
            figure.savefig(out, format=kind, dpi=DPI, metadata=about, facecolor=paper)
            found[kind] = out.getvalue()
            figure.set_layout_engine("none")  # laid out once, for three files
    return found


def inline_svg(svg: bytes, *, name: str, alt: str) -> str:
    """An SVG of `files_of` as a part of a page: its ids are its own, ink and paper are the page's."""
    from html import escape

    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text)
    width = float(box.group(1).split()[2]) if box else 0.0
    head = (
        f'<svg class="{"wide" if width > 72 * (HALF + 1) else "half"}" role="img" aria-label="{escape(alt)}" '
        f'viewBox="{box.group(1) if box else "0 0 1 1"}">'
    )
    text = head + text[text.index(">") + 1 :]
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
    return re.sub(r"\n\s*", "\n", text).strip()


def inline_png(png: bytes, *, alt: str) -> str:
    """A PNG as a part of a page, on white whatever the page's colours are."""
    from html import escape

    data = base64.b64encode(png).decode()
    return f'<img class="wide" alt="{escape(alt)}" src="data:image/png;base64,{data}">'
