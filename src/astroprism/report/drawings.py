"""The views of a report: every figure with its name, its tables, and the words that go with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..figures import archive, cards, overview, reconstruction, training
from ..figures import visits as visits_figures
from ..figures.words import chance, node_title, node_words, ranged
from ..measures.variance import SIGNIFICANT, part_words
from .collect import MOST_CARDS, ReportData
from .pixel_tables import PixelTables, thin

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..schema import CountSummary, Findings, Match, Node

Tables = dict[str, "pd.DataFrame"]
SOFT_ABLATION, SOFT_INFORMATION = 1 / 3, 0.1  # of the bound; nats: what the high ends of the counts reach


@dataclass(frozen=True)
class View:
    """One figure of the report.

    name     of its files, and what `Study.figure` takes
    caption  what it shows; alt: the same for those who cannot see it, with what there is to see
    tables   its data: '' is NAME.parquet, others NAME-KEY.parquet
    draw     the tables as a figure
    """

    name: str
    caption: str
    alt: str
    tables: Callable[[], Tables]
    draw: Callable[[Tables], Figure]


def views(data: ReportData, spectra: PixelTables) -> dict[str, View]:
    """All views that this study has, in the order of the report."""
    found = _archive(data, spectra)
    found += _training(data)
    if data.has_codes and data.held.size:
        found += _fit(data, spectra)
    if data.findings is not None:
        found += _counts(data, data.findings)
        for node in data.cards[:MOST_CARDS]:
            found += _card(data, spectra, node)
        found += _series(data, data.findings)
        found += _outliers(data, spectra)
    return {view.name: view for view in found}


# --- the archive, the training, the fit


def _archive(data: ReportData, spectra: PixelTables) -> list[View]:
    columns = [name for name in ("spectrum_id", "target", "snr", "time") if name in data.index]
    return [
        View(
            "archive",
            "What was ingested: signal-to-noise, how often each target was observed, and when.",
            f"Three histograms of {len(data.index):,} spectra.",
            lambda: {"": data.index[columns]},
            lambda tables: archive.archive_figure(tables[""]),
        ),
        View(
            "examples",
            "Five spectra as the network sees them, from low to high signal-to-noise; the grey band is one "
            "sigma, gaps are masked pixels.",
            "Five spectra of the archive, one above the other.",
            lambda: {"": spectra.examples()},
            lambda tables: archive.examples_figure(tables[""], medium=data.grid.medium),
        ),
    ]


def _training(data: ReportData) -> list[View]:
    history, model = data.history, data.model_facts
    if history is None or model is None:
        return []
    ends = {"training": model.chi2.train, "held out": model.chi2.valid}
    chi2 = ", ".join(f"{words} {value:.2f}" for words, value in ends.items() if value is not None)
    return [
        View(
            "training",
            "Top: chi2 per pixel; the dotted line is 1, the noise. Middle: nodes that carry more than 0.1 "
            "nat. Bottom: the schedules (beta weighs the code's cost, floor is added to sigma, blur smooths "
            "what is compared, rate is the step length). Numbers mark the events listed below.",
            f"Curves over {model.steps:,} training steps; chi2 per pixel at the end: {chi2 or 'not known'}.",
            lambda: {"": history},
            lambda tables: training.training_figure(tables[""]),
        )
    ]


def _fit(data: ReportData, spectra: PixelTables) -> list[View]:
    medium = data.grid.medium
    found = [
        View(
            "errors",
            "By how much the stated errors are off. Left: the median stated error, and the scatter per pixel "
            "that the network learned beside it, both relative to the flux. Right: rms residual of held-out "
            "spectra in units of the errors, as stated and as learned; 1 is right.",
            "Two curves over wavelength, and two clouds of points over signal-to-noise.",
            lambda: {"": spectra.fit["errors"], "spectra": spectra.fit["spectra"]},
            lambda tables: reconstruction.errors_figure(tables[""], tables["spectra"], medium=medium),
        )
    ]
    responses = spectra.response()
    if responses is not None:
        found.append(
            View(
                "response",
                "The smooth responses that spectra were divided by before anything was learned from them: "
                "five of them in grey, the median and the middle 90 % of all. Causes that change the "
                "spectrum this smoothly (reddening, flux calibration) are here and on no node.",
                "Curves over wavelength.",
                lambda: {"": responses},
                lambda tables: reconstruction.response_figure(tables[""], medium=medium),
            )
        )
    found += [
        View(
            "chi2",
            "Left: chi2 per pixel of held-out spectra at their mean code, without any floor under sigma. "
            "Right: the same beside signal-to-noise. What rises to the right are details that the noise no "
            "longer hides and the network does not know.",
            "Histogram of chi2 per pixel, and its scatter over signal-to-noise; its median is given above.",
            lambda: {"": spectra.fit["spectra"]},
            lambda tables: reconstruction.chi2_figure(tables[""]),
        ),
        View(
            "residuals",
            "Where in wavelength held-out spectra are rebuilt worse than their noise: root mean square and "
            "mean of (flux - reconstruction) / sigma. 1 and 0 would be perfect.",
            "Two curves over wavelength.",
            lambda: {"": spectra.fit["pixels"]},
            lambda tables: reconstruction.residual_figure(tables[""], medium=medium),
        ),
        View(
            "reconstructions",
            "Three held-out spectra: one of the best, a middling and one of the worst fits, with the "
            "residual in sigma.",
            "Three spectra with their reconstructions drawn over them and residuals below.",
            lambda: {"": spectra.fit["examples"]},
            lambda tables: reconstruction.reconstructions_figure(tables[""], medium=medium),
        ),
    ]
    return found


# --- all nodes


def _counts(data: ReportData, findings: Findings) -> list[View]:
    found = [_scores(data, findings)]
    if findings.labels:
        found += _labels(data, findings)
    survived = survival_table(data.cards)
    if len(survived):
        found.append(
            View(
                "survival",
                "How well each feature came back when the network was retrained from other seeds on "
                "other halves of the targets: 1 is always, with its range.",
                f"Dots with bars for {len(survived)} nodes.",
                lambda: {"": survived},
                lambda tables: overview.survival_figure(tables[""]),
            )
        )
    return found


def _scores(data: ReportData, findings: Findings) -> View:
    count = findings.count
    ablation, information = _bound(count.statistical), _bound(count.information)
    bounds = {
        "ablation": ablation,
        "information": information,
        "mad": count.mad.threshold or 0.0,
        "soft_ablation": SOFT_ABLATION * ablation,
        "soft_information": SOFT_INFORMATION,
    }
    above = [0 if one is None else one.k for one in (count.statistical, count.information)]
    return View(
        "counts",
        f"Every node by both methods, 90 % intervals over {data.whose}s; what nodes without a cause reach "
        "has been taken off. Dashed: the bound; dotted: the soft bound that makes the high end of the count.",
        f"Scores of {len(findings.nodes)} nodes; {above[0]} lie above the first bound, {above[1]} above the "
        "second.",
        lambda: {"": data.node_scores},
        lambda tables: overview.counts_figure(tables[""], bounds=bounds),
    )


def _bound(count: CountSummary | None) -> float:
    return 0.0 if count is None or count.bound_nats is None else count.bound_nats


def _labels(data: ReportData, findings: Findings) -> list[View]:
    titles = {node.node: _short_title(node) for node in data.cards}
    found = [
        View(
            "matches",
            "Mutual information of each node's sampled codes with each label, in nats; intervals are on the "
            "cards. Framed: the label explains the node (low end at least 0.1 nat, q at most .05); dotted "
            "frame: it does so only as the shadow of another label. Grey numbers: q above .05.",
            f"Table in colours of {len(titles)} nodes by {len(findings.labels)} labels.",
            lambda: {"": data.table("matches")},
            lambda tables: overview.matches_figure(tables[""], titles=titles),
        ),
        View(
            "readout",
            "Share of each label's variance that the informative nodes give back on targets set aside, with "
            "90 % intervals. Where neighbours do better than a line, the label is there, but bent.",
            "Dots with bars, two per label.",
            lambda: {"": readout_table(data)},
            lambda tables: overview.readout_figure(tables[""]),
        ),
    ]
    if len(data.table("bins")):
        found.append(
            View(
                "bins",
                "The seed paper's estimate of mutual information depends on the number of bins: with many "
                "bins even a shuffled label seems to share information with the node. The green band is the "
                "estimate used here.",
                "Small panels, one per label: nats against number of bins.",
                lambda: {"": data.table("bins"), "unbiased": data.table("matches")},
                lambda tables: overview.sweep_figure(tables[""], unbiased=tables["unbiased"]),
            )
        )
    return found


def readout_table(data: ReportData) -> pd.DataFrame:
    """A row per label and reader: value, low, high; guessed: of classes, the share of the commonest."""
    import pandas as pd

    columns = ["label", "reader", "value", "low", "high", "guessed", "n"]
    return pd.DataFrame(data.readings, columns=columns)


def survival_table(chosen: list[Node]) -> pd.DataFrame:
    """A row per node that retrainings were compared with: title, value, low, high."""
    import pandas as pd

    rows = []
    for node in chosen:
        if node.survival is not None:
            low, high = node.survival_interval or (node.survival, node.survival)
            rows.append({"title": _short_title(node), "value": node.survival, "low": low, "high": high})
    return pd.DataFrame(rows)


def _short_title(node: Node) -> str:
    return f"{node.node}: {node_words(node)}"


# --- the card of a node


def _card(data: ReportData, spectra: PixelTables, node: Node) -> list[View]:
    number, medium, title = node.node, data.grid.medium, node_title(node)
    stem = f"node-{number:03d}"

    def traversal() -> Tables:
        pixels = spectra.traversal(number)
        return {"": thin(pixels), "lines": spectra.zooms(node, pixels)}

    parts = " Third: the change of star and atmosphere apart." if spectra.has_parts else ""
    found = [
        View(
            f"{stem}-traversal",
            f"Top: what the decoder makes of five quantiles of this node's codes over {data.whose}s, all "
            f"other nodes at their median. Second: the same less the middle one.{parts} Below: the lines "
            "that move most.",
            f"Decoded spectra as {title} moves from its 5 % to its 95 % quantile.",
            traversal,
            lambda tables: cards.traversal_figure(
                tables[""], zooms=tables["lines"], codes=list(data.quantiles(number)), medium=medium
            ),
        )
    ]
    if (profile := spectra.profile(number)) is not None:
        lines = ", ".join(node.moves[:4]) or "none"
        found.append(
            View(
                f"{stem}-lines",
                "How much the flux changes for one spread of the code (root mean square over spectra), moved "
                "to rest; grey all of it, coloured what a smooth factor on the continuum does not make. "
                "Named are the strongest lines and bands of those groups that stand out against random "
                "places, and single features that chance would not name.",
                f"Size of the derivative over wavelength; lines and bands that stand out: {lines}.",
                lambda: {"": profile, "named": spectra.named_lines(node)},
                lambda tables: cards.derivative_figure(tables[""], named=tables["named"]),
            )
        )
    found.append(
        View(
            f"{stem}-codes",
            f"Codes of {data.whose}s; the lines are the five quantiles of the picture above.",
            f"Histogram of the codes of node {number} over {data.held.size} {data.whose}s.",
            lambda: {"": _held(data, "target").assign(mean=data.means[:, number], sd=data.sds(number))},
            lambda tables: cards.codes_figure(tables[""], node=number, whose=f"{data.whose}s"),
        )
    )
    if (best := best_match(node)) is not None:
        name = best.label
        words = f"{ranged(best.mi_nats, best.mi_low, best.mi_high)} nats, q {chance(best.q)}"
        found.append(
            View(
                f"{stem}-label",
                f"The code against its best label, {name}; one dot per {data.whose}, orange: running median.",
                f"Scatter of the code against {name}: {words}.",
                lambda: {
                    "": _held(data, "target").assign(
                        code=data.means[:, number], label=data.label(name).to_numpy()
                    )
                },
                lambda tables: cards.scatter_figure(tables[""], node=number, label=name, words=words),
            )
        )
    if node.variance is not None:
        found.append(_variance(data, node, stem))
    if node.dossier is not None:
        found += _dossier(data, spectra, node, stem)
    return found


def _variance(data: ReportData, node: Node, stem: str) -> View:
    split = node.variance
    assert split is not None
    words = part_words(split) | {"code noise": "the code's own error"}

    def tables() -> Tables:
        table = data.table("variance")
        mine = table[(table["node"] == node.node) & (table["by"] == split.by)]
        mine = mine.assign(words=mine["part"].map(words)).drop_duplicates("part")
        return {"": mine.reset_index(drop=True)}

    sure = [
        f"{part.share:.0%} {words[name]}"
        for name in ("star", "night", "within", "instrument")
        if (part := getattr(split, name)) is not None and part.share is not None and part.p <= SIGNIFICANT
    ]
    return View(
        f"{stem}-variance",
        f"Whose variance it is, from {split.spectra:,} spectra of {split.targets:,} targets "
        f"({split.evidence}), {split.repeated:,} of them seen more than once. Bars: 90 % intervals over "
        "targets; strokes: what 95 % of shuffles stay below. Shares below 0 are chance.",
        f"Stacked bar of shares, and dots with bars: {', '.join(sure) or 'nothing beyond chance'}.",
        tables,
        lambda found: visits_figures.variance_figure(found[""]),
    )


def _series(data: ReportData, findings: Findings) -> list[View]:
    found = []
    for number, star in enumerate(findings.series):
        stem = f"series-{number:02d}"

        def of(name: str, target: str = star.target) -> Tables:
            table = data.table(name)
            return {"": table[table["target"] == target].reset_index(drop=True)}

        shown = visits_figures.drawn(star)
        names = ", ".join(one.quantity for one in shown)
        periodic = [one for one in shown if one.period is not None and one.period.significant]
        found += [
            View(
                f"{stem}-curve",
                f"{star.target} in time; bars are 1 sigma.",
                f"Against the date: {names}.",
                lambda of=of: of("series"),  # type: ignore[misc]
                lambda tables, star=star: visits_figures.curve_figure(tables[""], star=star),  # type: ignore[misc]
            ),
            View(
                f"{stem}-periodogram",
                "Lomb-Scargle periodograms; lines: powers that noise reaches anywhere in one of ten, a "
                "hundred and a thousand such stars. Triangles: periods that are claimed.",
                f"Power against period: {names}.",
                lambda of=of: of("periodograms"),  # type: ignore[misc]
                lambda tables, star=star: visits_figures.periodogram_figure(tables[""], star=star),  # type: ignore[misc]
            ),
        ]
        if periodic:
            found.append(
                View(
                    f"{stem}-folded",
                    "Against the phase of the claimed period, drawn twice; orange: the fitted sinusoid.",
                    f"Folded: {', '.join(one.quantity for one in periodic)}.",
                    lambda of=of: of("series"),  # type: ignore[misc]
                    lambda tables, star=star: visits_figures.folded_figure(tables[""], star=star),  # type: ignore[misc]
                )
            )
    return found


def best_match(node: Node) -> Match | None:
    """The match to draw: the strongest that explains, else the strongest."""
    known = [match for match in node.matches if match.mi_nats is not None]
    explaining = [match for match in known if match.explains and not match.shadow_of]
    return next(iter(explaining or known), None)


def _held(data: ReportData, *columns: str) -> pd.DataFrame:
    """The targets of evidence: identifier of the spectrum, and columns of the index."""
    return data.index.iloc[data.held][["spectrum_id", *columns]].reset_index(drop=True)


def _dossier(data: ReportData, spectra: PixelTables, node: Node, stem: str) -> list[View]:
    number, medium = node.node, data.grid.medium
    keywords = data.table("keywords")
    mine = keywords[keywords["node"] == number] if len(keywords) else keywords
    if len(mine):
        order = ["nats", "screen"]
        mine = mine.sort_values(order, ascending=False, na_position="last").reset_index(drop=True)
    trend = None if node.dossier is None else node.dossier.trend
    time = data.time()
    found = [
        View(
            f"{stem}-extremes",
            "The spectra whose codes are lowest and highest, with reconstructions and the residual "
            "in sigma. Look at them first: what do they share?",
            "Four spectra with reconstructions and residuals.",
            lambda: {"": spectra.extremes(node)},
            lambda tables: reconstruction.reconstructions_figure(tables[""], medium=medium),
        ),
        View(
            f"{stem}-keywords",
            "Header keywords that share most information with the code, with 90 % intervals; grey strokes do "
            "not pass q .05 over all nodes and keywords.",
            f"Dots with bars for the strongest of {len(mine)} keywords.",
            lambda: {"": mine},
            lambda tables: cards.keywords_figure(tables[""], node=number),
        ),
    ]
    if np.isfinite(time).any():
        found.append(
            View(
                f"{stem}-time",
                f"The code by date, one dot per {data.whose}; orange: the drift with its 90 % interval.",
                f"Scatter of the code of node {number} against the year of observation.",
                lambda: {"": _held(data).assign(time=time, code=data.means[:, number])},
                lambda tables: cards.trend_figure(tables[""], node=number, trend=trend),
            )
        )
    return found


# --- outliers


def _outliers(data: ReportData, spectra: PixelTables) -> list[View]:
    outliers = data.outliers
    if outliers is None:
        return []
    return [
        View(
            "outliers",
            "How the p of all spectra are spread: even where no spectrum is odd; a heap at the left are odd "
            "ones.",
            "Histogram of p over all spectra.",
            lambda: {"": outliers},
            lambda tables: reconstruction.outliers_figure(tables[""]),
        ),
        View(
            "strangest",
            "The oddest spectra with what the network makes of them, and the residual in sigma.",
            "Three spectra with reconstructions and residuals.",
            lambda: {"": spectra.strangest()},
            lambda tables: reconstruction.reconstructions_figure(tables[""], medium=data.grid.medium),
        ),
    ]
