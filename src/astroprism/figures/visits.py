"""Figures of repeat visits: whose variance a node's is, and one star in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..measures.series import folded, sinusoid
from .style import BLUE, GREEN, GREY, HALF, ORANGE, SOFT, WIDE, plain_log, plain_text, sheet, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..schema import Series, Varying

PARTS = {"star": BLUE, "night": GREEN, "within": "#7fa6cf", "instrument": ORANGE, "code noise": GREY}
MOST_ROWS = 6  # quantities of a star that are drawn
RELATIVE = 55_000  # MJD that dates are counted from, so that they are short


@styled
def variance_figure(parts: pd.DataFrame) -> Figure:
    """Shares of a node's variance: one stacked bar, and each part with its 90 % interval and its null below.

    parts  part, words, share, share_low, share_high, share_null, p; the code's own error last, without them
    """
    figure = sheet(HALF, 0.75 + 0.3 * (len(parts) + 1))
    bar, rows = figure.subplots(2, 1, height_ratios=[1, len(parts) + 0.6])
    left, shares = 0.0, np.clip(parts["share"].to_numpy(dtype=float), 0, None)
    total = max(float(shares.sum()), 1e-9)
    for part, share in zip(parts["part"], shares / total, strict=True):
        bar.barh(0, share, left=left, height=0.8, color=PARTS[part], linewidth=0)
        left += share
    bar.set_xlim(0, 1)
    bar.set_axis_off()
    at = np.arange(len(parts))
    for place, row in zip(at, parts.to_dict(orient="records"), strict=True):
        colour = PARTS[row["part"]]
        if np.isfinite(row["share_low"]):
            rows.hlines(place, row["share_low"], row["share_high"], color=colour, linewidth=2)
            rows.plot(row["share_null"], place, "|", color=SOFT, markersize=9)
        rows.plot(row["share"], place, "o", color=colour, markersize=5)
    rows.axvline(0, color=SOFT, linewidth=0.7)
    rows.set_yticks(at, [plain_text(words, most=34) for words in parts["words"]], fontsize=7.5)
    rows.set_ylim(len(parts) - 0.5, -0.5)
    low = float(np.nanmin([0.0, *parts["share_low"]]))
    rows.set_xlim(min(-0.03, low - 0.03), 1.03)
    rows.set_xlabel("share of the variance")
    return figure


@styled
def curve_figure(series: pd.DataFrame, *, star: Series) -> Figure:
    """What varies of one star against the date, with errors; a row per quantity, periodic ones first.

    series  quantity, time (MJD), value, sd
    """
    chosen = drawn(star)
    figure = sheet(WIDE, 0.7 + 1.45 * len(chosen))
    panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False).ravel()
    for axes, one in zip(panels, chosen, strict=True):
        mine = series[series["quantity"] == one.quantity]
        _points(axes, mine["time"] - RELATIVE, mine["value"], mine["sd"])
        axes.set_ylabel(_axis(one, star))
    panels[-1].set_xlabel(f"date (MJD - {RELATIVE:,})")
    return figure


@styled
def periodogram_figure(powers: pd.DataFrame, *, star: Series) -> Figure:
    """Power against period, a row per quantity, with the powers that noise reaches at false-alarm levels.

    powers  quantity, period (days), power
    """
    chosen = drawn(star)
    figure = sheet(WIDE, 0.7 + 1.45 * len(chosen))
    panels = figure.subplots(len(chosen), 1, sharex=True, squeeze=False).ravel()
    for axes, one in zip(panels, chosen, strict=True):
        mine = powers[powers["quantity"] == one.quantity].sort_values("period")
        axes.plot(mine["period"], mine["power"], color=BLUE, linewidth=0.8)
        for (level, power), style in zip(one.levels.items(), (":", "--", "-"), strict=False):
            axes.axhline(power, color=SOFT, linewidth=0.8, linestyle=style, label=f"false alarm {level}")
        if one.period is not None and one.period.significant:
            axes.plot(one.period.period, one.period.power, "v", color=ORANGE, markersize=6)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.08 * max(float(mine["power"].max()), *one.levels.values()))
        axes.set_ylabel(f"power of\n{plain_text(one.quantity, most=16)}")
    plain_log(panels[-1].xaxis)
    panels[-1].set_xlabel("period (days)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


@styled
def folded_figure(series: pd.DataFrame, *, star: Series) -> Figure:
    """What is periodic of one star against the phase of its own period, with the fitted sinusoid.

    series  quantity, time (MJD), value, sd
    """
    chosen = [one for one in drawn(star) if one.period is not None and one.period.significant]
    figure = sheet(WIDE if len(chosen) > 1 else HALF, 0.5 + 2.4 * ((len(chosen) + 1) // 2))
    columns = 2 if len(chosen) > 1 else 1
    panels = figure.subplots((len(chosen) + columns - 1) // columns, columns, squeeze=False).ravel()
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes, one in zip(panels, chosen, strict=False):
        period = one.period
        assert period is not None
        mine = series[series["quantity"] == one.quantity]
        phase = folded(mine["time"], period)
        twice = np.concatenate([phase, phase + 1])
        _points(axes, twice, np.tile(mine["value"], 2), np.tile(mine["sd"], 2))
        along = np.linspace(0, 2, 400)
        axes.plot(along, sinusoid(period.epoch + along * period.period, period), color=ORANGE, linewidth=1.2)
        axes.set_title(f"{plain_text(one.quantity, most=16)}: {period.period:.6g} days")
        axes.set_xlim(0, 2)
        axes.set_xlabel("phase")
        axes.set_ylabel(_axis(one, star))
    return figure


def drawn(star: Series) -> Sequence[Varying]:
    """The quantities of a star that are drawn: the velocity, then the most periodic ones."""
    order = sorted(
        star.series,
        key=lambda one: (one.quantity != "velocity", 1.0 if one.period is None else one.period.false_alarm),
    )
    return order[:MOST_ROWS]


def _axis(one: Varying, star: Series) -> str:
    if one.quantity != "velocity":
        return f"code of\n{one.quantity}"
    return f"{star.frame}\nvelocity (km/s)"


def _points(axes: Axes, x: object, y: object, error: object) -> None:
    axes.errorbar(x, y, yerr=error, fmt="o", color=BLUE, markersize=2.5, elinewidth=0.7, rasterized=True)  # type: ignore[arg-type]
