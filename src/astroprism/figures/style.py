"""How figures look, and how they become files.

The colours are distinct to the colour-blind, too (after Wong 2011, Nature Methods 8, 441), and stand on
white and on near black alike; ink, rules and paper are swapped by the page.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, FAINT = "#1b2a41", "#c8553d", "#9fb3c8"
SOFT, RULE, PAPER = "#4a5a70", "#d5dce5", "#fefefe"
BLUE, ORANGE, GREEN, GREY = "#3579b8", "#d9622b", "#1f9273", "#8792a2"
QUANTILE_COLOURS = ("#2f6fb0", "#7fa6cf", "#8792a2", "#dba071", "#cf5a22")  # low, .., middle, .., high
WIDE, HALF = 8.0, 4.0  # inches: the width of the page, and half of it
BINS = 700  # columns a long spectrum is drawn in, each from its lowest to its highest value
DPI = 150
SALT = "astroprism"  # of the ids in SVG: equal figures are equal files
JULIAN_2000, YEAR = 51544.5, 365.25  # MJD, days
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
    forth = np.maximum.accumulate(at - offset) + offset  # pushed to the right only
    back = np.minimum.accumulate((at - offset)[::-1])[::-1] + offset  # pushed to the left only
    middle = (forth + back) / 2
    middle = np.maximum.accumulate(middle - offset) + offset
    last = high - gap * np.arange(at.size)[::-1]
    first = low + offset
    return [float(one) for one in np.clip(middle, first, np.maximum(last, first))]


def plain_log(axis: Any) -> None:
    """Numbers of a logarithmic axis in plain digits: 10,000 and 0.01."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())


def round_numbers(low: float, high: float) -> list[float]:
    """A few round numbers for a logarithmic axis: 1, 2, 5 per decade where there is room."""
    decades = np.log10(max(high / max(low, 1e-12), 1.0))
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    first = int(np.floor(np.log10(max(low, 1e-12))))
    all_of = [step * 10.0**power for power in range(first, first + int(decades) + 3) for step in steps]
    return [one for one in all_of if 0.999 * low <= one <= 1.001 * high] or [low]


def years(mjd: ArrayLike) -> NDArray[np.float64]:
    """Calendar years of dates in MJD."""
    return 2000 + (np.asarray(mjd, dtype=np.float64) - JULIAN_2000) / YEAR


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
            figure.set_layout_engine(None)  # laid out for the first; "none" would draw each file twice
    return found
