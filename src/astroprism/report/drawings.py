"""The views of a report: every figure with its name, its tables, and the words that go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures import cards as report_cards
from ..figures import dossier as report_dossier
from ..figures import fit as report_archive
from ..figures import nodes as report_nodes
from ..figures.words import chance, node_title, node_words, ranged
from .collect import Gathered, thin
from .reading import MOST_CARDS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Tables = dict[str, "pd.DataFrame"]


@dataclass(frozen=True)
class View:
    """One figure of the report.

    name     of its files, and what `Study.figure` takes
    words    what it shows, as a caption; alt: the same for those who cannot see it, with what there is to see
    tables   its data: '' is NAME.parquet, others NAME-KEY.parquet
    draw     the tables as a figure
    """

    name: str
    words: str
    alt: str
    tables: Callable[[], Tables]
    draw: Callable[[Tables], Figure]


def views(of: Gathered) -> dict[str, View]:
    """All views that this study has, in the order of the report."""
    found = [*_archive(of)]
    if of.history is not None:
        found += _training(of)
    if of.has_codes and of.held.size:
        found += _fit(of)
    if of.findings is not None:
        found += _counts(of)
        for node in of.cards[:MOST_CARDS]:
            found += _card(of, node)
        if of.has_outliers:
            found += _outliers(of)
    return {view.name: view for view in found}


def _archive(of: Gathered) -> list[View]:
    medium = of.grid.medium
    columns = [name for name in ("spectrum_id", "target", "snr", "time") if name in of.index]
    return [
        View(
            "archive",
            "What was ingested: signal-to-noise, how often each target was observed, and when.",
            f"Three histograms of {len(of.index):,} spectra.",
            lambda: {"": of.index[columns]},
            lambda tables: report_archive.archive_figure(tables[""]),
        ),
        View(
            "examples",
            "Five spectra as the network sees them, from low to high signal-to-noise; the grey band is "
            "one sigma, "
            "gaps are masked pixels.",
            "Five spectra of the archive, one above the other.",
            lambda: {"": of.examples()},
            lambda tables: report_archive.examples_figure(tables[""], medium=medium),
        ),
    ]


def _training(of: Gathered) -> list[View]:
    history, about = of.history, of.model_facts
    assert history is not None
    assert about is not None
    chi2 = about["chi2"]
    told = ", ".join(
        f"{words} {chi2[name]:.2f}"
        for name, words in (("train", "training"), ("valid", "held out"))
        if chi2[name] is not None
    )
    return [
        View(
            "training",
            "Top: chi2 a pixel; the dotted line is 1, the noise. Middle: nodes that carry more than 0.1 "
            "nat. Bottom: "
            "the schedules (beta weighs the code's cost, floor is added to sigma, blur smooths what is "
            "compared, "
            "rate is the step length). Numbers mark the events listed below.",
            f"Curves over {about['steps']:,} training steps; chi2 a pixel at the end: {told or 'not told'}.",
            lambda: {"": history},
            lambda tables: report_archive.training_figure(tables[""]),
        )
    ]


def _fit(of: Gathered) -> list[View]:
    medium = of.grid.medium
    return [
        View(
            "chi2",
            "Left: chi2 a pixel of held-out spectra at their mean code, without any floor under sigma. "
            "Right: the same "
            "beside signal-to-noise. What rises to the right are details that the noise no longer hides "
            "and the "
            "network does not know.",
            "Histogram of chi2 a pixel, and its scatter over signal-to-noise; its median is told above.",
            lambda: {"": of.fit["spectra"]},
            lambda tables: report_archive.chi2_figure(tables[""]),
        ),
        View(
            "residuals",
            "Where in wavelength held-out spectra are rebuilt worse than their noise: root mean square "
            "and mean of "
            "(flux - reconstruction) / sigma. 1 and 0 would be perfect.",
            "Two curves over wavelength.",
            lambda: {"": of.fit["pixels"]},
            lambda tables: report_archive.residual_figure(tables[""], medium=medium),
        ),
        View(
            "reconstructions",
            "Three held-out spectra: one of the best, a middling and one of the worst fits, with what "
            "is left in sigma.",
            "Three spectra with their reconstructions drawn over them and residuals below.",
            lambda: {"": of.fit["examples"]},
            lambda tables: report_archive.reconstructions_figure(tables[""], medium=medium),
        ),
    ]


def _counts(of: Gathered) -> list[View]:
    import pandas as pd

    findings = of.findings
    assert findings is not None
    count = findings["count"]
    bounds = {
        "ablation": count["statistical"]["bound_nats"],
        "information": count["information"]["bound_nats"],
        "mad": count["mad"]["threshold"],
    } | {"soft_ablation": count["statistical"]["bound_nats"] / 3, "soft_information": 0.1}
    found = [
        View(
            "counts",
            "Every node by both methods, 90 % intervals over held-out targets; what nodes without a "
            "cause reach has "
            "been taken off. Dashed: the bound; dotted: the soft bound that makes the high end of the count.",
            f"Scores of {len(findings['nodes'])} nodes; {count['statistical']['k']} lie above the first "
            f"bound, "
            f"{count['information']['k']} above the second.",
            lambda: {"": of.node_scores},
            lambda tables: report_nodes.counts_figure(tables[""], bounds=bounds),
        )
    ]
    if findings["labels"]:
        titles = {int(one["node"]): _short_title(one) for one in of.cards}
        found.append(
            View(
                "matches",
                "Mutual information of each node's sampled codes with each label, in nats; intervals "
                "are on the "
                "cards. Framed: the label explains the node (low end at least 0.1 nat, q at most .05); "
                "dotted frame: it "
                "does so only as the shadow of another label. Grey numbers: q above .05.",
                f"Table in colours of {len(titles)} nodes by {len(findings['labels'])} labels.",
                lambda: {"": of.table("matches")},
                lambda tables: report_nodes.matches_figure(tables[""], titles=titles),
            )
        )
        found.append(
            View(
                "readout",
                "Share of each label's variance that the informative nodes give back on targets set "
                "aside, with 90 % "
                "intervals. Where neighbours do better than a line, the label is there, but bent.",
                "Dots with bars, two a label.",
                lambda: {"": readouts(findings)},
                lambda tables: report_nodes.readout_figure(tables[""]),
            )
        )
    if findings["labels"] and len(of.table("bins")):
        found.append(
            View(
                "bins",
                "The seed paper's estimate of mutual information hangs on the number of bins: with many "
                "bins even a "
                "shuffled label seems to share information with the node. The green band is the "
                "estimate used here.",
                "Small panels, one a label: nats against number of bins.",
                lambda: {"": of.table("bins"), "unbiased": of.table("matches")},
                lambda tables: report_nodes.sweep_figure(tables[""], unbiased=tables["unbiased"]),
            )
        )
    survived = pd.DataFrame(
        [
            {"title": _short_title(one), **survival}
            for one in of.cards
            if (survival := survival_of(one)) is not None
        ]
    )
    if len(survived):
        found.append(
            View(
                "survival",
                "How well each feature came back when the network was trained anew, from other seeds on "
                "other halves "
                "of the targets: 1 is always, with its range.",
                f"Dots with bars for {len(survived)} nodes.",
                lambda: {"": survived},
                lambda tables: report_nodes.survival_figure(tables[""]),
            )
        )
    return found


def _short_title(node: dict[str, Any]) -> str:
    return f"{node['node']}: {node_words(node)}"


def readouts(findings: dict[str, Any]) -> pd.DataFrame:
    """A row a label and reader: value, low, high; guessed: of classes, the share of the commonest."""
    import pandas as pd

    rows = []
    for name, told in findings["labels"].items():
        rightly = told.get("named_rightly")
        if rightly is not None:
            rows.append(
                {
                    "label": name,
                    "reader": "neighbours",
                    "value": rightly["value"],
                    "low": rightly["low"],
                    "high": rightly["high"],
                    "guessed": told["guessed_rightly"],
                    "n": told["n"],
                }
            )
            continue
        for reader, key in (("line", "r2_linear"), ("neighbours", "r2_knn")):
            if told[key] is not None:
                low, high = told.get(f"{key}_interval", (np.nan, np.nan))
                rows.append(
                    {
                        "label": name,
                        "reader": reader,
                        "value": told[key],
                        "low": low,
                        "high": high,
                        "guessed": np.nan,
                        "n": told["n"],
                    }
                )
    return pd.DataFrame(rows, columns=["label", "reader", "value", "low", "high", "guessed", "n"])


def survival_of(node: dict[str, Any]) -> dict[str, float] | None:
    """value, low, high of a node's survival; None where no retraining was made."""
    value = node.get("survival")
    if not isinstance(value, int | float):
        return None
    low, high = node.get("survival_interval") or (value, value)
    return {"value": float(value), "low": float(low), "high": float(high)}


# --- the card of a node


def _card(of: Gathered, node: dict[str, Any]) -> list[View]:
    number, medium, title = int(node["node"]), of.grid.medium, node_title(node)
    stem = f"node-{number:03d}"

    def traversal() -> Tables:
        pixels = of.traversal(number)
        return {"": thin(pixels), "lines": of.zooms(node, pixels)}

    parts = " Third: the change of star and atmosphere apart." if of.has_parts else ""
    found = [
        View(
            f"{stem}-traversal",
            "Top: what the decoder makes of five quantiles of this node's codes over held-out targets, "
            "all other nodes "
            f"at their median. Second: the same less the middle one.{parts} Below: the lines that move most.",
            f"Decoded spectra as {title} moves from its 5 % to its 95 % quantile.",
            traversal,
            lambda tables: report_cards.traversal_figure(
                tables[""], zooms=tables["lines"], codes=list(of.quantiles(number)), medium=medium
            ),
        )
    ]
    if (profile := of.profile(number)) is not None:
        lines = ", ".join(str(one["name"]) for one in node["lines"][:4]) or "none"
        found.append(
            View(
                f"{stem}-lines",
                "How much the flux changes for one spread of the code (root mean square over spectra), "
                "moved to rest. "
                "Named are the strongest lines of those groups that stand out against lines at random "
                "places.",
                f"Size of the derivative over wavelength; groups of lines that stand out: {lines}.",
                lambda: {"": profile, "named": of.named_lines(node)},
                lambda tables: report_cards.derivative_figure(tables[""], named=tables["named"]),
            )
        )
    found.append(
        View(
            f"{stem}-codes",
            "Codes of held-out targets; the lines are the five quantiles of the picture above.",
            f"Histogram of the codes of node {number} over {of.held.size} targets.",
            lambda: {"": codes_table(of, number)},
            lambda tables: report_cards.codes_figure(tables[""], node=number),
        )
    )
    if (best := best_match(node)) is not None:
        name = str(best["label"])
        words = f"{ranged(best['mi_nats'], best['mi_low'], best['mi_high'])} nats, q {chance(best['q'])}"
        found.append(
            View(
                f"{stem}-label",
                f"The code against its best label, {name}; a dot a held-out target, orange: running median.",
                f"Scatter of the code against {name}: {words}.",
                lambda: {"": codes_table(of, number, label=name)},
                lambda tables: report_cards.scatter_figure(tables[""], node=number, label=name, words=words),
            )
        )
    if node["unexplained"]:
        found += _dossier(of, node, stem)
    return found


def best_match(node: dict[str, Any]) -> dict[str, Any] | None:
    """The match to draw: the strongest that explains, else the strongest."""
    told = [one for one in node["matches"] if one["mi_nats"] is not None]
    return next((one for one in told if one["explains"] and not one["shadow_of"]), told[0] if told else None)


def codes_table(of: Gathered, node: int, *, label: str | None = None) -> pd.DataFrame:
    """Codes of the held-out targets, with a label or their dates beside them."""
    told = of.index.iloc[of.held][["spectrum_id", "target"]].reset_index(drop=True)
    if label is not None:
        return told.assign(code=of.means[:, node], label=of.label(label).to_numpy())
    return told.assign(mean=of.means[:, node], sd=of.sds(node))


def _dossier(of: Gathered, node: dict[str, Any], stem: str) -> list[View]:
    number, medium = int(node["node"]), of.grid.medium
    dossier = node["dossier"] or {}
    keywords = of.table("keywords")
    mine = keywords[keywords["node"] == number] if len(keywords) else keywords
    if len(mine):
        mine = mine.sort_values(["nats", "screen"], ascending=False, na_position="last").reset_index(
            drop=True
        )
    trend = dossier.get("trend")
    time = of.time()
    found = [
        View(
            f"{stem}-extremes",
            "The held-out spectra whose codes are lowest and highest, with reconstructions and what is "
            "left in sigma. "
            "Look at them first: what do they share?",
            "Four spectra with reconstructions and residuals.",
            lambda: {"": of.extremes(node)},
            lambda tables: report_dossier.extremes_figure(tables[""], medium=medium),
        ),
        View(
            f"{stem}-keywords",
            "Header keywords that share most information with the code, with 90 % intervals; grey "
            "strokes do not pass "
            "q .05 over all nodes and keywords.",
            f"Dots with bars for the strongest of {len(mine)} keywords.",
            lambda: {"": mine},
            lambda tables: report_dossier.keywords_figure(tables[""], node=number),
        ),
    ]
    if np.isfinite(time).any():
        told = of.index.iloc[of.held][["spectrum_id"]].reset_index(drop=True).assign(time=time)
        found.append(
            View(
                f"{stem}-time",
                "The code by date, a dot a held-out target; orange: the drift with its 90 % interval.",
                f"Scatter of the code of node {number} against the year of observation.",
                lambda: {"": told.assign(code=of.means[:, number])},
                lambda tables: report_dossier.trend_figure(tables[""], node=number, trend=trend),
            )
        )
    return found


def _outliers(of: Gathered) -> list[View]:
    medium = of.grid.medium

    def judged() -> Tables:
        assert of.outliers is not None
        return {"": of.outliers}

    return [
        View(
            "outliers",
            "How the p of all spectra are spread: even where no spectrum is odd; a heap at the left are "
            "odd ones.",
            "Histogram of p over all spectra.",
            judged,
            lambda tables: report_dossier.outliers_figure(tables[""]),
        ),
        View(
            "strangest",
            "The oddest spectra with what the network makes of them, and what is left in sigma.",
            "Three spectra with reconstructions and residuals.",
            lambda: {"": of.strangest()},
            lambda tables: report_archive.reconstructions_figure(tables[""], medium=medium),
        ),
    ]
