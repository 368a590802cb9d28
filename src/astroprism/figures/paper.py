"""The figures of section 6: dispersion, maps, scatter plots, and what bins do to an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..measures.binned import running_median, sigma_clipped
from ..paper import MOST_CLASSES
from .style import ACCENT, FAINT, INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..paper import Section6

GREEN = "#4f8a5b"
PANELS = 6  # of a scatter figure
MOST_DOTS = 20_000
UNITS = {
    "radvel": "km/s",
    "Teff": "K",
    "logg": "dex",
    "Mass": "solar masses",
    "E(B-V)": "mag",
    "[M/H]": "dex",
    "vsini": "km/s",
}


def dispersion_figure(result: Section6) -> Figure:
    """Section 6.1: how far each node's mean code spreads, by both of the authors' measures."""
    from matplotlib.figure import Figure

    nodes = result.nodes
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _stems(above, nodes, "mad", result.threshold, nodes["informative"], "median absolute deviation")
    chosen = nodes["informative"].to_numpy()
    above.vlines(
        nodes["node"][chosen], nodes["mad_low"][chosen], nodes["mad_high"][chosen], color=ACCENT, linewidth=4,
        alpha=0.5,
    )  # fmt: skip
    _stems(
        below, nodes, "mean_deviation", result.threshold_mean, nodes["informative_by_mean"],
        "mean absolute deviation",
    )  # fmt: skip
    below.set_xlabel("node")
    by_mean = len(result.informative_by_mean)
    _title(
        above, f"6.1: {len(result.informative)} of {len(nodes)} nodes above {result.threshold:g} (bars: 90 %)"
    )
    _title(below, f"the same codes, another measure: {by_mean} above {result.threshold_mean:g}")
    return figure


def _stems(axes: Axes, nodes: pd.DataFrame, column: str, bound: float, chosen: Any, name: str) -> None:
    """A stem per node on a logarithmic scale; those above the bound coloured and numbered."""
    values, picked = nodes[column].to_numpy(), np.asarray(chosen, dtype=bool)
    at = nodes["node"].to_numpy()
    positive = values[values > 0]
    bottom = 0.5 * (positive.min() if positive.size else bound)
    top = max(values.max(), bound)
    for which, colour in ((~picked, FAINT), (picked, ACCENT)):
        heights = np.maximum(values[which], bottom)
        axes.vlines(at[which], bottom, heights, color=colour, linewidth=1.4)
        axes.plot(at[which], heights, "o", color=colour, markersize=3)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top * 3)
    axes.set_xlim(at[0] - 1.5, at[-1] + 1.5)
    axes.axhline(bound, color=INK, linewidth=0.8, linestyle="--")
    axes.annotate(
        f"{bound:g}", (1, bound), xycoords=("axes fraction", "data"), xytext=(3, 0),
        textcoords="offset points", fontsize=8, color=INK, va="center", annotation_clip=False,
    )  # fmt: skip
    if picked.sum() <= 24:
        last, lifted = -np.inf, False
        for node, value in zip(at[picked], values[picked], strict=True):
            lifted = node - last < 0.03 * len(at) and not lifted
            axes.annotate(
                str(node), (node, value), xytext=(0, 14 if lifted else 5), textcoords="offset points",
                fontsize=8, color=ACCENT, ha="center",
            )  # fmt: skip
            last = node
    axes.set_ylabel(name)
    axes.spines[["right", "top"]].set_visible(False)


def map_figure(result: Section6, label: str) -> Figure:
    """Section 6.2 for one label: the paper's map, what of it chance explains, and the unbiased estimate."""
    from matplotlib.figure import Figure

    plugin = result.plugin[result.plugin["label"] == label]
    exact = result.matches[result.matches["label"] == label]
    scaled = plugin.pivot(index="bins", columns="node", values="scaled")
    sure = plugin["plugin_nats"] > plugin["null_nats"] + 3 * plugin["null_sd"]
    above = plugin.assign(above=plugin["scaled"].where(sure)).pivot(
        index="bins", columns="node", values="above"
    )
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 2.4))
    for axes, values, said in (
        (rows[0], scaled.to_numpy(), f"6.2 as in the paper, {label}: plug-in estimate / its largest node"),
        (
            rows[1],
            above.to_numpy(),
            f"the same, where 3 sd above {result.permutations} permutations of the label",
        ),
    ):
        colours = _colours()
        picture = axes.imshow(
            values, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest",
            extent=(-0.5, scaled.shape[1] - 0.5, len(scaled) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_yticks(range(len(scaled)), [str(one) for one in scaled.index])
        axes.set_ylabel("bins per side")
        figure.colorbar(picture, ax=axes, pad=0.01, ticks=[0, 0.5, 1])
        _title(axes, said)
    rows[1].set_facecolor("#eef1f5")
    _estimates(rows[2], result, exact, label)
    return figure


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("ink", ["#ffffff", "#9fb3c8", "#43658b", "#1b2a41"])


def _estimates(axes: Axes, result: Section6, exact: pd.DataFrame, label: str) -> None:
    """KSG of each node with its interval; informative nodes coloured and numbered."""
    chosen = exact["node"].isin(result.informative).to_numpy()
    sure = (exact["q"] <= 0.05).to_numpy()
    at, value = exact["node"].to_numpy(), exact["mi_nats"].to_numpy()
    for which, colour in ((~chosen, FAINT), (chosen, ACCENT)):
        axes.vlines(at[which], exact["mi_low"][which], exact["mi_high"][which], color=colour, linewidth=1.6)
        for filled in (True, False):
            dots = which & (sure == filled)
            axes.plot(
                at[dots], value[dots], "o", markersize=3.5, color=colour,
                markerfacecolor=colour if filled else "white",
            )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.6)
    top = float(max(exact["mi_high"].max(), 0.05))
    axes.set_ylim(min(float(exact["mi_low"].min()), -0.02 * top), 1.22 * top)
    for node, high in zip(at[chosen], exact["mi_high"].to_numpy()[chosen], strict=True):
        axes.annotate(
            str(node), (node, high), xytext=(0, 3), textcoords="offset points", fontsize=8, color=ACCENT,
            ha="center",
        )  # fmt: skip
    axes.set_ylabel("nats")
    axes.set_xlabel("node")
    axes.spines[["right", "top"]].set_visible(False)
    n = int(exact["n"].iloc[0])
    _title(
        axes, f"without bias (KSG, 90 %), {n:,} spectra; filled: q <= .05; red: above the threshold of 6.1"
    )


def scatter_figure(result: Section6, label: str) -> Figure:
    """Nodes above the threshold against a label, those that share most with it first."""
    from matplotlib.figure import Figure

    exact = result.matches[(result.matches["label"] == label)]
    exact = exact[exact["node"].isin(result.informative)].sort_values("mi_nats", ascending=False)
    strongest = exact.head(PANELS)
    columns = min(3, max(1, len(strongest)))
    lines = -(-max(1, len(strongest)) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.9 * lines), layout="constrained")
    panels = np.atleast_1d(figure.subplots(lines, columns, sharex=True, squeeze=False)).ravel()
    for axes in panels[len(strongest) :]:
        axes.set_axis_off()
    values = result.values[label].to_numpy(dtype=float)
    rows = np.flatnonzero(sigma_clipped(values))
    drawn = (
        rows if rows.size <= MOST_DOTS else np.random.default_rng(0).choice(rows, MOST_DOTS, replace=False)
    )
    at = values[drawn]
    if np.unique(at).size <= MOST_CLASSES:  # spread out, so that dots of a class do not hide each other
        at = at + np.random.default_rng(0).uniform(-0.3, 0.3, at.size)
    for axes, row in zip(panels, strongest.to_dict(orient="records"), strict=False):
        code = result.codes[:, int(row["node"])]
        opacity = float(np.clip(600 / max(drawn.size, 1), 0.08, 0.6))
        axes.scatter(at, code[drawn], s=3, color=INK, alpha=opacity, linewidth=0, rasterized=True)
        axes.plot(*running_median(values[rows], code[rows]), color=ACCENT, linewidth=1.4)
        low, high = np.quantile(code[rows], [0.002, 0.998])
        reach = 0.08 * (high - low) or 1e-6
        axes.set_ylim(low - reach, high + reach)
        axes.set_ylabel(f"node {int(row['node'])}")
        sure = f"q {row['q']:.1g}" if row["q"] > 0 else "q 0"
        back = f"read back: {row['label_from_node']:.0%}" if np.isfinite(row["label_from_node"]) else ""
        axes.set_title(
            f"{max(row['mi_nats'], 0):.2f} nat [{row['mi_low']:.2f}, {row['mi_high']:.2f}], {sure}\n{back}",
            fontsize=8, color=INK,
        )  # fmt: skip
        axes.tick_params(labelsize=8)
        axes.spines[["right", "top"]].set_visible(False)
    unit = f" ({UNITS[label]})" if label in UNITS else ""
    figure.supxlabel(
        f"{label}{unit}, {rows.size:,} spectra; red: running median; read back: share of the variance of the "
        "label that a curve over the node gives",
        fontsize=8,
        color=INK,
    )
    return figure


def floor_figure(result: Section6) -> Figure:
    """What the number of bins does to the estimate of the best node, and to one without information."""
    from matplotlib.figure import Figure

    labels = result.labels
    columns = min(5, len(labels))
    lines = -(-len(labels) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.4, 2.5 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes in panels[len(labels) :]:
        axes.set_axis_off()
    dead = ~result.nodes["informative"].to_numpy()
    for axes, row in zip(panels, labels.to_dict(orient="records"), strict=False):
        plugin = result.plugin[result.plugin["label"] == row["label"]]
        exact = result.matches[result.matches["label"] == row["label"]].set_index("node")
        alive = exact.loc[list(result.informative)] if result.informative else exact
        best = int(alive["mi_nats"].idxmax())
        nats = plugin.pivot(index="bins", columns="node", values="plugin_nats")
        null = plugin.pivot(index="bins", columns="node", values="null_nats")
        bins = nats.index.to_numpy()
        if dead.any():
            low, high = np.quantile(nats.to_numpy()[:, dead], [0.05, 0.95], axis=1)
            axes.fill_between(
                bins, low, high, color=FAINT, alpha=0.6, linewidth=0, label="nodes below the threshold"
            )
        axes.plot(
            bins, nats[best], "o-", color=ACCENT, markersize=3, linewidth=1.2, label="the best node above it"
        )
        axes.plot(bins, null[best], color=INK, linewidth=1, linestyle="--", label="that node, label shuffled")
        one = alive.loc[best]
        axes.axhspan(one["mi_low"], one["mi_high"], color=GREEN, alpha=0.45, linewidth=0,
                     label="that node, without bias (KSG, 90 %)")  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(bins, [str(one) for one in bins])
        axes.minorticks_off()
        axes.tick_params(labelsize=7)
        axes.set_ylim(min(0, float(one["mi_low"])), None)
        axes.set_title(f"{row['label']}, node {best}", fontsize=8, color=INK)
        axes.spines[["right", "top"]].set_visible(False)
    figure.supxlabel("bins per side", fontsize=9)
    figure.supylabel("nats", fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=9, loc="left", color=INK)
