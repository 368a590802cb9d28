"""Figures on all nodes at once: the counts, which node follows which label, what labels can be read.

Each takes the table that is kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import (
    BLUE,
    GREEN,
    GREY,
    HALF,
    INK,
    ORANGE,
    PAPER,
    RULE,
    SOFT,
    WIDE,
    nothing,
    plain_log,
    plain_text,
    sheet,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED, MOST_ROWS, MOST_LABELS = 40, 40, 12
_STATES = (
    ("informative", ORANGE, "o", "informative: above both bounds"),
    ("copy", BLUE, "D", "copy of a stronger node"),
    ("doubtful", GREEN, "s", "doubtful: above one bound"),
    ("below", GREY, "o", "below both"),
)


@styled
def counts_figure(nodes: pd.DataFrame, *, bounds: Mapping[str, float]) -> Figure:
    """Every node's score by each method, with its 90 % interval, against its bound; sorted by the first.

    nodes   a row per node: node, ablation_nats, information_nats, mad, their _low and _high, state
    bounds  ablation, information, mad; soft_ablation, soft_information where they are known
    """
    figure = sheet(WIDE, 6.4)
    rows = figure.subplots(3, 1, sharex=True)
    table = nodes.sort_values("ablation_nats", ascending=False, kind="stable").reset_index(drop=True)
    for axes, (column, bound, words) in zip(
        rows,
        (
            ("ablation", "ablation", "nats per spectrum lost\nwith the node switched off"),
            ("information", "information", "nats the code carries\nof its spectrum"),
            ("mad", "mad", "median absolute deviation\nof the mean codes"),
        ),
        strict=True,
    ):
        _scores(axes, table, column, bounds[bound], bounds.get(f"soft_{bound}"))
        axes.set_ylabel(words)
    rows[0].set_title("statistical count: ablation on held-out spectra (scale linear near 0)")
    rows[1].set_title("information count: I(code; spectrum)")
    rows[2].set_title("beside them: the seed paper's measure and its 0.02; it decides nothing here")
    ticks = list(range(len(table)))
    names = [str(one) for one in table["node"]]
    if len(table) > MOST_NAMED:
        chosen = [i for i in ticks if table["state"][i] != "below"][:MOST_NAMED]
        ticks, names = chosen, [names[i] for i in chosen]
    rows[-1].set_xticks(ticks, names, fontsize=7, rotation=0 if len(ticks) <= 34 else 90)
    rows[-1].set_xlabel("node, the most costly to lose first")
    handles: list[Any] = []
    meanings: list[str] = []
    for state, colour, mark, meaning in _STATES:
        if (table["state"] == state).any():
            handles.append(rows[0].plot([], [], mark, color=colour, markersize=4)[0])
            meanings.append(meaning)
    figure.legend(
        handles, meanings, loc="outside lower center", ncols=2 if len(handles) > 2 else len(handles)
    )
    return figure


def _scores(axes: Axes, table: pd.DataFrame, column: str, bound: float, soft: float | None) -> None:
    value = table["mad" if column == "mad" else f"{column}_nats"].to_numpy(dtype=float)
    low, high = (table[f"{column}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    at = np.arange(len(table))
    for state, colour, mark, _ in _STATES:
        mine = (table["state"] == state).to_numpy()
        axes.vlines(at[mine], low[mine], high[mine], color=colour, linewidth=1.6)
        axes.plot(at[mine], value[mine], mark, color=colour, markersize=3.6, linestyle="none")
    if column == "mad":
        axes.set_yscale("log")
        positive = value[value > 0]
        floor = 0.5 * min(float(positive.min()) if positive.size else bound, bound)
        axes.set_ylim(floor, 2 * max(float(value.max(initial=0)), bound))
    else:
        linear = 1.0 if column == "ablation" else 0.1
        axes.set_yscale("symlog", linthresh=linear, linscale=0.6)
        axes.set_ylim(
            min(-0.3 * linear, 1.3 * float(np.nanmin(low))), 2.5 * max(float(np.nanmax(high)), bound)
        )
        axes.axhline(0, color=RULE, linewidth=0.6, zorder=0)
    axes.minorticks_off()
    plain_log(axes.yaxis)
    if column == "ablation":
        top = int(np.log10(max(float(np.nanmax(value)), 10)))
        axes.set_yticks([0, 1, *[10.0**power for power in range(2, top + 1, 2 if top > 3 else 1)]])
    axes.set_xlim(-1, len(table))
    for level, style, words in ((bound, "--", f"bound {bound:.3g}"), (soft, ":", None)):
        if level is None:
            continue
        axes.axhline(level, color=INK, linewidth=0.8, linestyle=style)
        if words:
            axes.annotate(
                words,
                (0.995, level),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=8,
                ha="right",
            )


@styled
def matches_figure(matches: pd.DataFrame, *, titles: Mapping[int, str]) -> Figure:
    """Which node follows which label: nats of mutual information; a frame where the label explains the node.

    matches  a row per pair: node, label, nats, low, high, q, explains, shadow_of
    titles   node -> what its row is called; their order is that of the rows
    """
    rows = [node for node in titles if (matches["node"] == node).any()][:MOST_ROWS] if len(matches) else []
    labels = list(dict.fromkeys(matches["label"]))[:MOST_LABELS] if len(matches) else []
    figure = sheet(WIDE, 1.3 + 0.36 * max(2, len(rows)))
    axes = figure.subplots()
    if not rows:
        nothing(axes, "no labels were matched")
        return figure
    of = matches.set_index(["node", "label"])
    nats = np.array([[float(of.loc[(node, label), "nats"]) for label in labels] for node in rows])
    clipped = np.where(np.isfinite(nats), np.maximum(nats, 0), 0)
    top = max(0.5, float(clipped.max()))
    picture = axes.imshow(clipped, aspect="auto", cmap=_colours(), vmin=0, vmax=top)
    from matplotlib.patches import Rectangle

    for y, node in enumerate(rows):
        for x, label in enumerate(labels):
            one: Any = of.loc[(node, label)]
            dark = clipped[y, x] > 0.45 * top
            sure = bool(one["q"] <= 0.05)
            axes.text(
                x,
                y,
                f"{one['nats']:.2f}" if np.isfinite(one["nats"]) else "-",
                ha="center",
                va="center",
                fontsize=8,
                color="#ffffff" if dark else "#1a2433" if sure else "#5c6675",
            )
            if one["explains"]:
                line = ":" if one["shadow_of"] else "-"
                axes.add_patch(
                    Rectangle(
                        (x - 0.46, y - 0.44),
                        0.92,
                        0.88,
                        fill=False,
                        edgecolor=ORANGE,
                        linewidth=1.5,
                        linestyle=line,
                    )
                )
    axes.set_xticks(
        range(len(labels)),
        [plain_text(label, most=16) for label in labels],
        rotation=0 if len(labels) < 8 else 30,
        ha="center" if len(labels) < 8 else "right",
    )
    axes.set_yticks(range(len(rows)), [plain_text(titles[node], most=44) for node in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("label")
    bar = figure.colorbar(picture, ax=axes, pad=0.01, aspect=30)
    bar.set_label("mutual information (nats)")
    bar.outline.set_visible(False)
    return figure


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("report", ["#f4f6f9", "#b9cfe6", "#5b8fc2", "#1c4f86"])


@styled
def readout_figure(labels: pd.DataFrame) -> Figure:
    """How well labels are read from the informative nodes of held-out targets, with 90 % intervals.

    labels  a row per label and reader: label, reader ('line', 'neighbours'), value, low, high, guessed
    """
    names = list(dict.fromkeys(labels["label"])) if len(labels) else []
    figure = sheet(WIDE, 1.1 + 0.34 * max(2, len(names)))
    axes = figure.subplots()
    if not names:
        nothing(axes, "no label could be read")
        return figure
    for reader, colour, mark, shift in (("line", ORANGE, "o", -0.13), ("neighbours", BLUE, "s", 0.13)):
        mine = labels[(labels["reader"] == reader) & labels["value"].notna()]
        at = np.array([names.index(name) for name in mine["label"]]) + shift
        axes.hlines(at, mine["low"], mine["high"], color=colour, linewidth=1.8)
        words = "by a straight line" if reader == "line" else "by 10 nearest neighbours"
        axes.plot(mine["value"], at, mark, color=colour, markersize=4.5, label=words)
    guessed = labels[labels["guessed"].notna()].drop_duplicates("label")
    if len(guessed):
        axes.plot(
            guessed["guessed"],
            [names.index(name) for name in guessed["label"]],
            "|",
            color=INK,
            markersize=12,
            label="share of the commonest class",
        )
    axes.set_yticks(range(len(names)), [plain_text(name, most=24) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(min(0.0, float(labels["low"].min()) - 0.02), 1.01)
    axes.axvline(1, color=RULE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=RULE, linewidth=0.8, zorder=0)
    axes.set_xlabel("share of the label's variance read back (of classes: share named rightly)")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled
def sweep_figure(bins: pd.DataFrame, *, unbiased: pd.DataFrame) -> Figure:
    """The seed paper's estimate by number of bins for the best node of each label, what its bins make up,
    and the unbiased estimate.

    bins      label, node, bins, nats, null_mean, null_high
    unbiased  label, node, nats, low, high
    """
    names = list(dict.fromkeys(bins["label"]))[:MOST_LABELS] if len(bins) else []
    columns = min(3, max(1, len(names)))
    lines = -(-max(1, len(names)) // columns)
    figure = sheet(WIDE, 0.6 + 1.9 * lines)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        mine = unbiased[unbiased["label"] == name].sort_values("nats", ascending=False, na_position="last")
        best = mine.iloc[0]
        sweep = bins[(bins["label"] == name) & (bins["node"] == best["node"])]
        axes.axhspan(
            best["low"], best["high"], color=GREEN, alpha=0.4, linewidth=0, label="unbiased (KSG), 90 %"
        )
        axes.plot(sweep["bins"], sweep["nats"], "o-", color=ORANGE, markersize=3, label="equal-width bins")
        axes.plot(sweep["bins"], sweep["null_mean"], "--", color=GREY, label="the same, label shuffled")
        axes.set_xscale("log")
        axes.set_xticks(sweep["bins"], [str(one) for one in sweep["bins"]])
        axes.minorticks_off()
        axes.set_title(f"{plain_text(name, most=20)}, node {int(best['node'])}", fontsize=8.5)
        axes.set_ylim(bottom=min(0.0, float(np.nan_to_num(best["low"]))))
    for axes in panels[::columns]:
        axes.set_ylabel("nats")
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("bins per side")
        axes.tick_params(labelbottom=True)
    if names:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@styled
def survival_figure(nodes: pd.DataFrame) -> Figure:
    """How often a node came back in retrainings, with its interval.

    nodes  title, value, low, high
    """
    figure = sheet(HALF, 1.0 + 0.3 * max(2, len(nodes)))
    axes = figure.subplots()
    at = np.arange(len(nodes))
    axes.hlines(at, nodes["low"], nodes["high"], color=BLUE, linewidth=1.8)
    axes.plot(nodes["value"], at, "o", color=BLUE, markersize=4.5, markeredgecolor=PAPER)
    axes.set_yticks(at, [plain_text(one, most=30) for one in nodes["title"]])
    axes.set_ylim(len(nodes) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("survival")
    axes.tick_params(axis="y", colors=SOFT, labelcolor=INK)
    return figure
