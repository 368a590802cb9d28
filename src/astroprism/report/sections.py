"""The sections of a report: archive, training, counts, nodes, labels, outliers, what is unexplained.

Words of our own may hold markup; whatever comes from files goes through `text`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..figures.words import count_words, node_title, ranged, short
from .cards_page import card, other_nodes
from .facts import Facts
from .html import facts, items, paragraph, table, text

Figure = Callable[[str], str]


def _missing(told: Facts, what: str, command: str) -> str:
    return paragraph(
        f"{text(what)} To make it: <code>astroprism {text(command)} {text(told.name)}</code>", kind="note"
    )


# --- archive, training


def archive_part(told: Facts, figure: Figure) -> list[str]:
    """What was ingested, refused and why."""
    a = told.archive
    blocks = [
        paragraph(
            f"<strong>{a['accepted']:,} accepted + {a['refused']:,} refused = {a['met']:,} spectra "
            f"met</strong>, in "
            f"{a['files']:,} files"
            + (
                f"; {a['passed_over']:,} more files are no spectra by their name."
                if a["passed_over"]
                else "."
            )
        ),
    ]
    if a["reasons"]:
        blocks.append(
            table(
                {
                    "reason": [one["reason"] for one in a["reasons"]],
                    "spectra": [one["count"] for one in a["reasons"]],
                    "meaning": [one["meaning"] for one in a["reasons"]],
                    "for example": [one["example"] for one in a["reasons"]],
                },
                caption="Refused, and why",
                long=("meaning", "for example"),
            )
        )
        blocks.append(
            paragraph('Every refusal with its file: <a href="report/data/refusals.csv">refusals.csv</a>.')
        )
    else:
        blocks.append(paragraph("Nothing was refused."))
    if a["warnings"]:
        blocks.append(
            table(
                {"accepted with a warning": list(a["warnings"]), "spectra": list(a["warnings"].values())},
                caption="Warnings",
            )
        )
    pairs = {
        "targets": f"{a['targets']:,}; the busiest has {count_words(a['busiest'], 'spectrum', 'spectra')}",
        "grid": f"{a['grid']}, {a['pixels']:,} pixels, wavelengths in {a['medium']}",
        "frame": _counted(a["frames"]),
        "formats": _counted(a["formats"]),
        "normalised by": a["normalise"],
        "signal-to-noise": f"5 %, 50 %, 95 % of spectra lie below "
        f"{', '.join(short(one) for one in a['snr'])}",
        "errors from": _counted(a["sigma_from"]),
        "good pixels": f"{a['good']:.2%}",
    }
    if a["doubts"]:
        pairs["targets in doubt"] = (
            f"{a['doubts']:,} pairs lie close but bear other names; they were not merged "
            f"(target-doubts.parquet)"
        )
    return [*blocks, facts(pairs), figure("archive"), figure("examples")]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items()) or "none"


def training_part(told: Facts, figure: Figure) -> list[str]:
    """How the network was trained, and how well it fits."""
    model = told.model
    if model is None:
        return [_missing(told, "No network has been trained on these spectra.", "train")]
    config, kind = model["network"]["config"], model["network"]["kind"]
    if kind == "paper":
        what = "the seed paper's convolutional network: it knows nothing of stars or air"
    elif config["agnostic"]:
        what = "no physics in the decoder: it does not know of shifts, nor of star and atmosphere"
    else:
        air = (
            "the air moves by each spectrum's known barycentric velocity"
            if config["moving_air"]
            else "the air stands still"
        )
        what = (
            f"a star shifted by node 0, times an atmosphere; {air}. Node 0 is a Doppler shift by construction"
        )
    split = model["split"]
    pairs = {
        "network": f"{kind}, {config['n_latent']} nodes: {what}",
        "steps": f"{model['steps']:,} (seed {model['seed']}, {model['precision']})",
        "trained on": f"{model['trained_on']['spectra']:,} spectra of "
        f"{model['trained_on']['targets']:,} targets",
        "held out": f"{split['valid_spectra']:,} to watch the training and {split['test_spectra']:,} "
        f"never looked at; whole "
        f"targets, by a hash of target and seed {split['seed']}",
        "weights of spectra": "each target counts once"
        if model["asked"].get("balance") == "target"
        else "each spectrum counts once",
        "kept when pruned": ", ".join(map(str, model["kept"])) or "none",
    }
    if told.chi2 is not None:
        pairs["chi2 a pixel, held out"] = (
            f"{ranged(*told.chi2[:3])}, median of {told.chi2[3]:,} spectra, no floor under sigma"
        )
    events = model.get("events", [])
    listed = (
        table(
            {
                "": list(range(1, len(events) + 1)),
                "step": [one["step"] for one in events],
                "event": [one["event"] for one in events],
            },
            caption="Events, as numbered in the figure",
            long=("event",),
        )
        if events
        else ""
    )
    warnings = items(f'<span class="note">{text(one)}</span>' for one in model.get("warnings", []))
    return [
        paragraph("The network learns from reconstruction alone; it never sees a label."),
        facts(pairs),
        warnings,
        figure("training"),
        listed,
        figure("chi2"),
        figure("residuals"),
        figure("reconstructions"),
    ]


# --- counts, nodes, labels


def count_part(told: Facts, figure: Figure) -> list[str]:
    """How many features are real, by which evidence."""
    found = told.findings
    if found is None:
        return [_missing(told, "The nodes have not been counted.", "find")]
    count = found["count"]
    rows = [
        ("switching off (ablation)", count["statistical"], f"{count['statistical']['bound_nats']:.3g} nats"),
        ("information", count["information"], f"{count['information']['bound_nats']:g} nat"),
        ("seed paper: MAD of the mean codes", count["mad"], f"{count['mad']['threshold']:g}"),
    ]
    agree = (
        "agree"
        if count["agree"]
        else "disagree: read them as a range, and train longer before trusting either"
    )
    return [
        table(
            {
                "method": [row[0] for row in rows],
                "features": [row[1]["k"] for row in rows],
                "at least": [row[1]["low"] for row in rows],
                "at most": [row[1]["high"] for row in rows],
                "bound": [row[2] for row in rows],
                "nodes, strongest first": [_listed(row[1]["nodes"]) for row in rows],
            },
            caption=f"Three counts on {count['spectra']:,} held-out targets",
            long=("nodes, strongest first",),
        ),
        paragraph(
            f"The first two counts <strong>{agree}</strong>. They read a network whose nodes were all "
            f"given back after "
            "pruning and trained on, so that neither echoes what training had switched off. The first "
            "asks what a node "
            "is worth to the spectra: the rise of the negative log-likelihood when it is fixed at its "
            "mean. The second "
            "asks what its code tells: the entropy of the code less that of its own noise. "
            "<em>At least</em>: the whole 90 % interval lies above the bound; <em>at most</em>: the "
            "interval reaches a "
            "softer bound (a third of the first, 0.1 nat of the second)."
        ),
        paragraph(
            "The seed paper counts nodes whose mean codes spread by more than 0.02 (median absolute "
            "deviation). It stands "
            "here for comparison: it sees the encoder alone, and a node the decoder ignores can spread "
            "as well."
        ),
        figure("counts"),
        _stability(found),
        figure("survival"),
    ]


def _stability(found: Mapping[str, Any]) -> str:
    told = found.get("stability")
    if not told:
        return ""
    return paragraph(
        f"The network was trained anew {count_words(told['retrainings'], 'time')}, from other seeds on "
        f"halves of "
        f"the targets. A node returns when its partner there tells {told['returns_from']:g} of its "
        f"variance or "
        f"more, on {told['targets']:,} held-out targets; with targets shuffled 95 % stay below "
        f"{short(told['null'])}."
    )


def _listed(nodes: Sequence[int], most: int = 16) -> str:
    return ", ".join(map(str, nodes[:most])) + (f" and {len(nodes) - most} more" if len(nodes) > most else "")


def nodes_part(told: Facts, figure: Figure, heads: list[tuple[int, str, str]]) -> list[str]:
    """A card a node, and a table of the rest."""
    if told.findings is None:
        return [_missing(told, "Nodes are described once they are counted.", "find")]
    blocks = [
        paragraph(
            "Informative nodes first, then doubtful ones (above the bound by one method only); "
            "copies of a stronger "
            "node and nodes below both bounds are in the table at the end."
        )
    ]
    for node in told.cards[: told.most_cards]:
        heads.append((3, f"node-{node['node']}", node_title(node)))
        blocks.append(card(node, told.intervals.get(int(node["node"]), {}), figure=figure))
    if len(told.cards) > told.most_cards:
        left = ", ".join(str(node["node"]) for node in told.cards[told.most_cards :])
        blocks.append(
            paragraph(
                f"{len(told.cards) - told.most_cards} more nodes have no card here, to "
                f"keep the page "
                f"readable: {left}. The data of all are in the findings."
            )
        )
    return [*blocks, other_nodes(told.findings["nodes"], told.cards[: told.most_cards], told.intervals)]


def labels_part(told: Facts, figure: Figure) -> list[str]:
    """Which node knows which label, and what can be read back."""
    found = told.findings
    if found is None:
        return [_missing(told, "Labels are matched with the nodes once they are counted.", "find")]
    if not found["labels"]:
        return [_missing(told, "No usable label table was given.", "find --labels TABLE"), *_left_out(found)]
    rows = told.readouts
    names = list(dict.fromkeys(str(one["label"]) for one in rows))

    def told_by(name: str, reader: str) -> str:
        one = next((row for row in rows if row["label"] == name and row["reader"] == reader), None)
        return "" if one is None else ranged(one["value"], one["low"], one["high"])

    listed = table(
        {
            "label": names,
            "targets": [found["labels"][name]["n"] for name in names],
            "best node": [_best(found["labels"][name]) for name in names],
            "by a line": [told_by(name, "line") for name in names],
            "by neighbours": [told_by(name, "neighbours") for name in names],
        },
        caption="Share of each label's variance read back from the informative nodes, on targets set "
        "aside (of classes: the "
        "share named rightly)",
    )
    return [figure("matches"), listed, figure("readout"), *_left_out(found), figure("bins")]


def _best(label: Mapping[str, Any]) -> str:
    if label["best_node"] is not None:
        return str(label["best_node"])
    shadow = ", ".join(label.get("shadow_of") or [])
    return f"none: shadow of {shadow}" if shadow else "none"


def _left_out(found: Mapping[str, Any]) -> list[str]:
    left = found.get("labels_left_out") or {}
    if not left:
        return []
    return [
        table({"label": list(left), "why": list(left.values())}, caption="Labels left out", long=("why",))
    ]


# --- outliers, unexplained


def outliers_part(told: Facts, figure: Figure) -> list[str]:
    """The strangest spectra, with why."""
    if told.outliers is None:
        return [
            paragraph(
                "Spectra were not searched for outliers. To see them: "
                f"<code>astroprism outliers {text(told.name)}</code>.",
                kind="note",
            )
        ]
    rows = told.outliers["rows"]
    return [
        *[paragraph(text(line)) for line in told.outliers["words"]],
        table(
            {name: [row.get(name) for row in rows] for name in (rows[0] if rows else {"spectrum": ""})},
            caption="The strangest spectra, the strangest first",
            long=("why",) if rows and "why" in rows[0] else (),
        ),
        figure("outliers"),
        figure("strangest"),
    ]


def unexplained_part(told: Facts) -> list[str]:
    """Nodes that no label explains."""
    found = told.findings
    if found is None:
        return [_missing(told, "Nothing can be unexplained before nodes are counted and matched.", "find")]
    mine = [node for node in told.cards if node["unexplained"]]
    if not mine:
        return [
            paragraph(
                "Every informative node is explained: all labels together predict at least "
                "half of its variance "
                "on held-out targets, see <em>predicted by all labels</em> on its "
                "card."
            )
        ]
    lines = [
        f'<a href="#node-{node["node"]}">{text(node_title(node))}</a>: all labels together predict '
        f"{_predicted(node)} of its variance; its dossier is on its card"
        for node in mine
    ]
    why = (
        ""
        if found["labels"]
        else paragraph("No labels were given, so nothing could explain any node.", kind="note")
    )
    return [why, items(lines)]


def _predicted(node: Mapping[str, Any]) -> str:
    share = node.get("predicted_by_labels")
    return "nothing" if not share else text(ranged(share["value"], share["low"], share["high"]))
