"""Figures of a training: chi2, active nodes, schedules, speed, by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import (
    ACCENT,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RULE,
    SOFT,
    WIDE,
    plain_log,
    round_numbers,
    sheet,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_UNITS = {"beta": "", "floor": " of flux", "blur": " km/s", "rate": ""}


def history_figure(table: pd.DataFrame) -> Figure:
    """How a training went: fit, nodes, schedules and speed by step, with every event marked.

    table  history.parquet: a row per moment
    """
    from matplotlib.figure import Figure

    if not len(table):
        raise ValueError("the history holds no moments to draw")
    figure = Figure(figsize=(10, 9.5), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True, height_ratios=(3, 2, 2, 1.4))
    fit, nodes, plan, speed = rows
    step = table["step"].to_numpy()
    fit.plot(step, table["chi2"], color=FAINT, linewidth=1, label="each step, codes sampled")
    for name, color, label in (("chi2_train", INK, "training spectra"), ("chi2_valid", ACCENT, "held out")):
        known = table[table[name].notna()]
        fit.plot(known["step"], known[name], "o-", color=color, markersize=3, linewidth=1.2, label=label)
    fit.axhline(1, color=INK, linewidth=0.5, linestyle=":")
    fit.set_yscale("log")
    fit.set_ylabel("chi2 per pixel")
    fit.legend(fontsize=8, frameon=False, loc="upper right")
    nodes.step(step, table["active"], where="post", color=INK, linewidth=1.2, label="active nodes")
    nodes.set_ylim(0, table["active"].max() * 1.1 + 1)
    nodes.set_ylabel("nodes (KL > 0.1 nat)")
    for name, color in (("beta", INK), ("floor", ACCENT), ("blur", "#4f8a5b"), ("rate", FAINT)):
        values = table[name].to_numpy(dtype=float)
        if (values > 0).any():
            most = values.max()
            relative = np.where(values > 0, values / most, np.nan)
            plan.plot(step, relative, color=color, linewidth=1.2, label=f"{name} / {most:.3g}")
    plan.set_yscale("log")
    plan.set_ylabel("of its highest")
    plan.legend(fontsize=8, frameon=False, ncols=4, loc="lower left")
    speed.plot(step, table["spectra_per_s"], color=INK, linewidth=1)
    speed.set_ylim(0, None)
    speed.set_ylabel("spectra / s")
    speed.set_xlabel("step")
    wait = speed.twinx()
    wait.fill_between(step, 100 * table["waited"], color=ACCENT, alpha=0.3, linewidth=0)
    wait.set_ylim(0, 100)
    wait.set_ylabel("waiting for data, %", color=ACCENT)
    marked = table[table["event"] != ""]
    for number, (at, _) in enumerate(zip(marked["step"], marked["event"], strict=True), start=1):
        for axes in rows:
            axes.axvline(at, color=ACCENT, linewidth=0.6, alpha=0.6)
        fit.annotate(
            str(number), (at, 1.01), xycoords=("data", "axes fraction"), fontsize=8, color=ACCENT, ha="center"
        )
    lines = [
        f"{number}  step {at:,}: {_shorten(text, 120)}"
        for number, (at, text) in enumerate(zip(marked["step"], marked["event"], strict=True), start=1)
    ]
    figure.supxlabel("\n".join(lines) or "no events", fontsize=7, color=ACCENT, x=0.01, ha="left")
    return figure


@styled
def training_figure(history: pd.DataFrame) -> Figure:
    """How a training went: chi2 of training and held-out spectra, active nodes, schedules; events numbered.

    history  a row per moment, as in model/history.parquet
    """
    figure = sheet(WIDE, 5.4)
    fit, nodes, plan = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.7, 1.7))
    step = history["step"].to_numpy()
    fit.plot(step, history["chi2"], color=GREY, linewidth=0.8, label="of each step, codes with their noise")
    for name, colour, mark, words in (
        ("chi2_train", BLUE, "o", "training spectra, median"),
        ("chi2_valid", ORANGE, "s", "held-out spectra, median"),
    ):
        known = history[history[name].notna()]
        fit.plot(known["step"], known[name], f"{mark}-", color=colour, markersize=3, label=words)
    fit.axhline(1, color=SOFT, linewidth=0.7, linestyle=":")
    fit.set_yscale("log")
    least, most = np.nanmin(history["chi2"]), np.nanmax(history["chi2"])
    fit.set_yticks(round_numbers(min(1.0, least), most))
    fit.minorticks_off()
    plain_log(fit.yaxis)
    fit.set_ylabel("chi2 per pixel")
    fit.legend(loc="upper right")
    nodes.step(step, history["active"], where="post", color=BLUE)
    nodes.set_ylim(0, history["active"].max() * 1.15 + 1)
    nodes.set_ylabel("active nodes")
    styles = (("beta", BLUE, "-"), ("floor", ORANGE, "--"), ("blur", GREEN, "-."), ("rate", GREY, "-"))
    for name, colour, line in styles:
        values = history[name].to_numpy(dtype=float)
        if np.isfinite(values).any() and (values > 0).any():
            top = np.nanmax(values)
            plan.plot(
                step,
                np.where(values > 0, values / top, np.nan),
                line,
                color=colour,
                label=f"{name} (highest {top:.3g}{_UNITS[name]})",
            )
    plan.set_yscale("log")
    plan.minorticks_off()
    plan.set_ylabel("share of highest")
    plain_log(plan.yaxis)
    low = plan.get_ylim()[0]
    plan.set_ylim(low / 30, 2)
    plan.legend(loc="lower left", ncols=2, fontsize=7.5)
    plan.set_xlabel("training step")
    marked = history[history["event"] != ""]
    last = -np.inf
    for number, at in enumerate(marked["step"], start=1):
        for axes in (fit, nodes, plan):
            axes.axvline(at, color=RULE, linewidth=0.8, zorder=0)
        if at - last > 0.018 * step[-1]:
            fit.annotate(
                str(number),
                (at, 1.01),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color=ACCENT,
                ha="center",
            )
            last = at
    return figure


def _shorten(text: str, most: int) -> str:
    """The beginning of a text, with a sign where something is left out."""
    return text if len(text) <= most else text[: most - 2] + ".."
