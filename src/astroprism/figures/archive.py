"""Matplotlib figures: spectra of a store, and how a training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..store import Store

INK, ACCENT, FAINT = "#1b2a41", "#c8553d", "#9fb3c8"


def spectra_figure(store: Store, *, count: int = 6, window: tuple[float, float] | None = None) -> Figure:
    """Some spectra of a store, one above the other, lowest SNR at the bottom, masked pixels left out.

    The band behind each is one sigma. `window` (angstrom) defaults to the whole grid.
    """
    from matplotlib.figure import Figure

    if len(store) == 0:
        raise ValueError("the store holds no spectra to draw")
    index = store.index
    order = np.argsort(index["snr"].to_numpy(), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    pixels = store.window(*window) if window else slice(0, store.grid.size)
    batch = store.read(chosen, window=pixels)
    wavelength = store.grid.wavelength[pixels]
    figure = Figure(figsize=(10, 1.2 + 1.05 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    for shelf, (position, flux, sigma, good) in enumerate(
        zip(chosen, batch.flux, batch.sigma, batch.good, strict=True)
    ):
        shown, error = (np.where(good, values, np.nan) for values in (flux, sigma))
        low, high = np.nanquantile(shown, [0.005, 0.995])
        shown, error = ((shown - low) / (high - low) + 1.25 * shelf, error / (high - low))
        axes.fill_between(wavelength, shown - error, shown + error, color=FAINT, linewidth=0)
        axes.plot(wavelength, shown, color=INK, linewidth=0.7)
        row = index.iloc[position]
        name = row["target"] or row["spectrum_id"]
        axes.annotate(
            f"{name}   S/N {row['snr']:.0f}",
            (0.004, 1.25 * shelf + 1.04),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=ACCENT,
        )
    axes.set_xlim(wavelength[0], wavelength[-1])
    axes.set_ylim(-0.15, 1.25 * len(chosen) + 0.1)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel(f"wavelength in {store.grid.medium} (angstrom)")
    axes.set_title(
        f"{len(store):,} spectra of {index['target'].nunique():,} targets: {len(chosen)} of them from low "
        "to high S/N, each scaled to its own range",
        fontsize=10,
        loc="left",
        color=INK,
    )
    return figure


def history_figure(table: pd.DataFrame) -> Figure:
    """How a training went: fit, nodes, schedules and speed by step, with every event marked.

    table  history.parquet: a row a moment
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
        told = table[table[name].notna()]
        fit.plot(told["step"], told[name], "o-", color=color, markersize=3, linewidth=1.2, label=label)
    fit.axhline(1, color=INK, linewidth=0.5, linestyle=":")
    fit.set_yscale("log")
    fit.set_ylabel("chi2 a pixel")
    fit.legend(fontsize=8, frameon=False, loc="upper right")
    nodes.step(step, table["active"], where="post", color=INK, linewidth=1.2, label="active nodes")
    nodes.set_ylim(0, table["active"].max() * 1.1 + 1)
    nodes.set_ylabel("nodes (KL > 0.1 nat)")
    for name, color in (("beta", INK), ("floor", ACCENT), ("blur", "#4f8a5b"), ("rate", FAINT)):
        values = table[name].to_numpy(dtype=float)
        if (values > 0).any():
            most = values.max()
            shown = np.where(values > 0, values / most, np.nan)
            plan.plot(step, shown, color=color, linewidth=1.2, label=f"{name} / {most:.3g}")
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


def _shorten(text: str, most: int) -> str:
    """The beginning of a text, with a sign where something is left out."""
    return text if len(text) <= most else text[: most - 2] + ".."
