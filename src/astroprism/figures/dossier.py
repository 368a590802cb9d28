"""Figures of a node that no label explains: its extremes, keywords that go with it, its way in time.

Each takes the table that is kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .fit import JULIAN_2000, YEAR, reconstructions_figure
from .style import BLUE, GREY, HALF, ORANGE, SOFT, nothing, plain_text, sheet, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def extremes_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """The spectra of lowest and of highest code with what the network makes of them.

    pixels  a row a pixel: title, wavelength, flux, reconstruction, residual (sigma)
    """
    return reconstructions_figure(pixels, medium=medium)


@styled
def keywords_figure(keywords: pd.DataFrame, *, node: int) -> Figure:
    """Header keywords that go with a node, in nats with 90 % intervals; those that do not pass are grey.

    keywords  label, nats, low, high, screen, q; the strongest first
    """
    shown = keywords.head(12)
    figure = sheet(HALF, 0.9 + 0.27 * max(3, len(shown)))
    axes = figure.subplots()
    if not len(shown):
        nothing(axes, "no keyword varies")
        return figure
    at = np.arange(len(shown))
    told = shown["nats"].to_numpy(dtype=float)
    sure = ((shown["q"] <= 0.05) & np.isfinite(told)).to_numpy()
    axes.hlines(at[sure], shown["low"][sure], shown["high"][sure], color=ORANGE, linewidth=1.8)
    axes.plot(told[sure], at[sure], "o", color=ORANGE, markersize=4.5)
    axes.plot(shown["screen"].to_numpy()[~sure], at[~sure], "|", color=GREY, markersize=9)
    axes.axvline(0, color=SOFT, linewidth=0.7)
    axes.set_yticks(at, [plain_text(name, most=26) for name in shown["label"]], fontsize=7.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(f"nats shared with node {node}")
    return figure


@styled
def trend_figure(points: pd.DataFrame, *, node: int, trend: Mapping[str, Any] | None) -> Figure:
    """A node's code by date, a dot a held-out target, with the drift that was measured.

    points  time (MJD), code; trend: spreads_a_year, low, high
    """
    figure = sheet(HALF, 2.9)
    axes = figure.subplots()
    known = points[np.isfinite(points["time"])]
    if not len(known):
        nothing(axes, "dates are not known")
        return figure
    year = 2000 + (known["time"].to_numpy(dtype=float) - JULIAN_2000) / YEAR
    code = known["code"].to_numpy(dtype=float)
    opacity = float(np.clip(500 / len(year), 0.12, 0.7))
    axes.scatter(year, code, s=5, color=BLUE, alpha=opacity, linewidth=0, rasterized=True)
    if trend is not None:
        span = np.array([year.min(), year.max()])
        for slope, style in ((trend["spreads_a_year"], "-"), (trend["low"], ":"), (trend["high"], ":")):
            line = code.mean() + code.std() * slope * (span - year.mean())
            axes.plot(span, line, style, color=ORANGE, linewidth=1.2)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.set_xlabel("year of observation")
    axes.set_ylabel(f"code of node {node}")
    return figure


@styled
def outliers_figure(scores: pd.DataFrame, *, bound: float | None = None) -> Figure:
    """How the p-values of all spectra are spread: even where nothing is odd, with a heap near 0 of outliers.

    scores  a row a spectrum: p
    """
    figure = sheet(HALF, 2.6)
    axes = figure.subplots()
    p = scores["p"].to_numpy(dtype=float)
    p = p[np.isfinite(p)]
    if not p.size:
        nothing(axes, "no p-values")
        return figure
    axes.hist(p, bins=list(np.linspace(0, 1, 41)), color=BLUE)
    axes.axhline(p.size / 40, color=SOFT, linestyle=":", linewidth=0.9)
    if bound is not None:
        axes.axvline(bound, color=ORANGE, linewidth=1)
    axes.set_xlabel("p of a spectrum (dotted: where none is odd)")
    axes.set_ylabel("spectra")
    return figure
