"""Figures of one node: what it does to a spectrum, which lines it moves, its codes, its best label; of a
node that no label explains also its keywords and its drift.

Each takes the tables that are kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..measures.binned import running_median
from .style import (
    BLUE,
    GREEN,
    GREY,
    HALF,
    INK,
    ORANGE,
    QUANTILE_COLOURS,
    SOFT,
    WIDE,
    binned,
    nothing,
    plain_text,
    sheet,
    spread_labels,
    styled,
    years,
)
from .words import label_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..schema import Trend

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_NAMES = 12


def column(quantile: float, part: str = "flux") -> str:
    """The name of a column of a traversal: flux_05, star_95."""
    return f"{part}_{round(100 * quantile):02d}"


@styled
def traversal_figure(
    pixels: pd.DataFrame, *, zooms: pd.DataFrame, codes: Sequence[float], medium: str = "vacuum"
) -> Figure:
    """Decoded spectra as a node moves through the quantiles of its codes, all other nodes at their median.

    pixels  a row per pixel: wavelength, flux_05 .. flux_95; with star and atmosphere star_05, star_95,
            air_05, air_95
    zooms   the same of windows around lines: line, and flux_05 .. flux_95
    codes   at the quantiles
    """
    parts = "star_05" in pixels
    names = list(dict.fromkeys(zooms["line"])) if len(zooms) else []
    heights = [2.0, 1.5, *([1.5] if parts else []), *([2.1] if names else [])]
    figure = sheet(WIDE, 0.7 + sum(heights))
    rows = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    whole = figure.add_subplot(rows[0])
    differ = figure.add_subplot(rows[1], sharex=whole)
    wave = pixels["wavelength"]
    middle = pixels[column(0.5)]
    for quantile, code, colour in zip(QUANTILES, codes, QUANTILE_COLOURS, strict=True):
        words = f"{round(100 * quantile)} % (code {code:.2f})"
        whole.plot(*binned(wave, pixels[column(quantile)]), color=colour, linewidth=0.8, label=words)
        differ.plot(*binned(wave, pixels[column(quantile)] - middle), color=colour, linewidth=0.8)
    whole.set_xlim(wave.min(), wave.max())
    whole.set_ylabel("flux / median")
    whole.set_title("decoded spectrum at five quantiles of the node's codes")
    differ.set_ylabel("difference")
    differ.set_title("less the spectrum at the median")
    below = differ
    if parts:
        below = figure.add_subplot(rows[2], sharex=whole)
        for part, colour, words in (("star", ORANGE, "star"), ("air", GREEN, "atmosphere")):
            change = pixels[column(0.95, part)] - pixels[column(0.05, part)]
            below.plot(*binned(wave, change), color=colour, linewidth=0.8, label=words)
        below.set_ylabel("difference")
        below.set_title("which part moves: each part at 95 % less at 5 %")
        below.legend(loc="upper right", ncols=2)
        _headroom(below)
    below.set_xlabel(f"wavelength in {medium} (angstrom)")
    for axes in (whole, differ, below):
        if axes is not below:
            axes.tick_params(labelbottom=False)
    if names:
        grid = rows[-1].subgridspec(1, len(names))
        for number, name in enumerate(names):
            axes = figure.add_subplot(grid[number])
            one = zooms[zooms["line"] == name]
            for quantile, colour in zip(QUANTILES, QUANTILE_COLOURS, strict=True):
                axes.plot(one["wavelength"], one[column(quantile)], color=colour, linewidth=1)
            axes.axvline(float(one["centre"].iloc[0]), color=SOFT, linewidth=0.7, linestyle=":", zorder=0)
            axes.set_title(plain_text(name, most=28))
            axes.set_xlim(one["wavelength"].min(), one["wavelength"].max())
            axes.locator_params(axis="x", nbins=4)
            axes.set_xlabel("wavelength (angstrom)")
            if number == 0:
                axes.set_ylabel("flux / median")
    figure.legend(
        *whole.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=5,
        handlelength=1.4,
        columnspacing=1.2,
    )
    return figure


def _headroom(axes: Axes) -> None:
    """Room above the curves for a legend."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))


@styled
def derivative_figure(profile: pd.DataFrame, *, named: pd.DataFrame) -> Figure:
    """How much the flux changes with the node, by wavelength at rest, with the lines named that stand out.

    profile  wavelength (vacuum angstrom), star and sky: flux for one spread of the code; NaN where unknown;
             star_lines and sky_lines: the same less what a smooth factor on the flux makes, if known
    named    wavelength, line, frame ('star', 'sky'), value
    """
    frames = [one for one in ("star", "sky") if (named["frame"] == one).any()] if len(named) else []
    frames = frames or ["star"]
    figure = sheet(WIDE, 0.3 + 2.3 * len(frames))
    panels = figure.subplots(len(frames), 1, sharex=True, squeeze=False).ravel()
    wave = profile["wavelength"]
    for axes, frame in zip(panels, frames, strict=True):
        colour = ORANGE if frame == "star" else GREEN
        shown = f"{frame}_lines" if f"{frame}_lines" in profile else frame
        axes.plot(*binned(wave, profile[shown]), color=colour, linewidth=0.8, label="lines and bands")
        finite = profile[shown].to_numpy()[np.isfinite(profile[shown])]
        top = float(finite.max()) if finite.size else 1.0
        if frame == "star":  # a stray pixel at the end of the range is not what is looked for
            top = min(top, 3 * float(np.quantile(finite, 0.995))) if finite.size else 1.0
        if shown != frame:  # as far as it leaves room for names
            place, whole = binned(wave, profile[frame])
            whole = np.where(np.asarray(whole) <= top, whole, np.nan)
            axes.plot(place, whole, color=SOFT, linewidth=0.6, alpha=0.6, label="all of it", zorder=1)
            axes.legend(loc="upper right", ncols=2)
        axes.set_xlim(wave.min(), wave.max())
        axes.set_ylim(0, 2.0 * top)
        axes.set_ylabel("change of flux for\none spread of the code")
        axes.set_title(f"at rest with the {'star' if frame == 'star' else 'observer'}", pad=4)
        mine = named[named["frame"] == frame] if len(named) else named
        if not len(mine):
            continue
        mine = mine.sort_values("value", ascending=False).head(MOST_NAMES).sort_values("wavelength")
        _name_lines(axes, mine, top=top)
    panels[-1].set_xlabel("wavelength in vacuum, at rest (angstrom)")
    return figure


def _name_lines(axes: Axes, lines: pd.DataFrame, *, top: float) -> None:
    """Names above the curve, turned, none over another, each with a stroke to its line."""
    low, high = axes.get_xlim()
    at = spread_labels(list(lines["wavelength"]), low=low, high=high, gap=(high - low) / 45)
    for place, wave, name in zip(at, lines["wavelength"], lines["line"], strict=True):
        axes.plot([wave, wave, place], [1.02 * top, 1.08 * top, 1.16 * top], color=SOFT, linewidth=0.6)
        axes.text(
            place,
            1.19 * top,
            plain_text(name.replace(" blend near ", " blend "), most=24),
            rotation=90,
            fontsize=7,
            ha="center",
            va="bottom",
            color=INK,
        )


@styled
def codes_figure(codes: pd.DataFrame, *, node: int, whose: str = "held-out targets") -> Figure:
    """How a node's codes are spread over the targets of evidence, with the noise of one code.

    codes  a row per target: mean, sd
    whose  what a row is, in words
    """
    figure = sheet(HALF, 2.9)
    axes = figure.subplots()
    mean, sd = codes["mean"].to_numpy(), codes["sd"].to_numpy()
    low, high = np.quantile(mean, [0.002, 0.998])
    reach = 0.1 * (high - low) or 1e-3
    axes.hist(np.clip(mean, low - reach, high + reach), bins=40, color=BLUE)
    for quantile, colour in zip(QUANTILES, QUANTILE_COLOURS, strict=True):
        axes.axvline(float(np.quantile(mean, quantile)), color=colour, linewidth=1)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.22 * top)
    axes.errorbar(
        [float(np.median(mean))],
        [1.1 * top],
        xerr=[float(np.median(sd))],
        color=INK,
        capsize=3,
        marker="o",
        markersize=3,
        linewidth=1,
    )
    axes.set_title(f"bar at the top: noise of one code, {np.median(sd):.2g}", fontsize=8)
    axes.set_xlabel(f"code of node {node} (mean)")
    axes.set_ylabel(whose)
    return figure


@styled
def scatter_figure(points: pd.DataFrame, *, node: int, label: str, words: str) -> Figure:
    """A node's code against a label, one dot per held-out target, with the running median.

    points  code, label; words: the match in nats with its interval
    """
    figure = sheet(HALF, 2.9)
    axes = figure.subplots()
    known = points[points["label"].notna()]
    if not len(known):
        nothing(axes, "no values")
        return figure
    numeric = known["label"].dtype.kind in "fiu"
    if numeric:
        x, y = known["label"].to_numpy(dtype=float), known["code"].to_numpy(dtype=float)
        middle = (x > np.quantile(x, 0.002)) & (x < np.quantile(x, 0.998)) if len(x) > 500 else x == x
        opacity = float(np.clip(500 / len(x), 0.12, 0.7))
        axes.scatter(x[middle], y[middle], s=5, color=BLUE, alpha=opacity, linewidth=0, rasterized=True)
        axes.plot(*running_median(x, y), color=ORANGE, linewidth=1.4)
        if middle.any():
            axes.set_xlim(float(x[middle].min()), float(x[middle].max()))
        axes.margins(x=0.03)
    else:
        _classes(axes, known)
    axes.set_xlabel(plain_text(label_axis(label)))
    axes.set_ylabel(f"code of node {node}")
    axes.set_title(plain_text(words, most=70), fontsize=8)
    return figure


def _classes(axes: Axes, known: pd.DataFrame) -> None:
    """Codes of each class, side by side."""
    common = list(known["label"].value_counts().index[:8])
    rng = np.random.default_rng(0)
    for place, name in enumerate(common):
        code = known["code"][known["label"] == name].to_numpy(dtype=float)
        away = rng.uniform(-0.25, 0.25, code.size)
        axes.scatter(place + away, code, s=5, color=BLUE, alpha=0.4, linewidth=0, rasterized=True)
        axes.plot([place - 0.3, place + 0.3], [np.median(code)] * 2, color=ORANGE, linewidth=1.6)
    axes.set_xticks(
        range(len(common)), [plain_text(name, most=12) for name in common], rotation=30, ha="right"
    )


@styled
def keywords_figure(keywords: pd.DataFrame, *, node: int) -> Figure:
    """Header keywords that go with a node, in nats with 90 % intervals; those that do not pass are grey.

    keywords  label, nats, low, high, screen, q; the strongest first
    """
    first = keywords.head(12)
    figure = sheet(HALF, 0.9 + 0.27 * max(3, len(first)))
    axes = figure.subplots()
    if not len(first):
        nothing(axes, "no keyword varies")
        return figure
    at = np.arange(len(first))
    nats = first["nats"].to_numpy(dtype=float)
    sure = ((first["q"] <= 0.05) & np.isfinite(nats)).to_numpy()
    axes.hlines(at[sure], first["low"][sure], first["high"][sure], color=ORANGE, linewidth=1.8)
    axes.plot(nats[sure], at[sure], "o", color=ORANGE, markersize=4.5)
    axes.plot(first["screen"].to_numpy()[~sure], at[~sure], "|", color=GREY, markersize=9)
    axes.axvline(0, color=SOFT, linewidth=0.7)
    axes.set_yticks(at, [plain_text(name, most=26) for name in first["label"]], fontsize=7.5)
    axes.set_ylim(len(first) - 0.5, -0.5)
    axes.set_xlabel(f"nats shared with node {node}")
    return figure


@styled
def trend_figure(points: pd.DataFrame, *, node: int, trend: Trend | None) -> Figure:
    """A node's code by date, one dot per held-out target, with the drift that was measured.

    points  time (MJD), code
    """
    figure = sheet(HALF, 2.9)
    axes = figure.subplots()
    known = points[np.isfinite(points["time"])]
    if not len(known):
        nothing(axes, "dates are not known")
        return figure
    year = years(known["time"])
    code = known["code"].to_numpy(dtype=float)
    opacity = float(np.clip(500 / len(year), 0.12, 0.7))
    axes.scatter(year, code, s=5, color=BLUE, alpha=opacity, linewidth=0, rasterized=True)
    if trend is not None and trend.spreads_a_year is not None:
        span = np.array([year.min(), year.max()])
        for slope, style in ((trend.spreads_a_year, "-"), (trend.low, ":"), (trend.high, ":")):
            line = code.mean() + code.std() * slope * (span - year.mean())
            axes.plot(span, line, style, color=ORANGE, linewidth=1.2)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.set_xlabel("year of observation")
    axes.set_ylabel(f"code of node {node}")
    return figure
