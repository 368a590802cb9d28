"""The card of a node, and the table of nodes without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..figures.words import chance, change_words, node_title, ranged, short
from .html import facts, paragraph, table, text

MATCHES, LINES = 8, 6


def card(node: Mapping[str, Any], intervals: Mapping[str, float], *, figure: Callable[[str], str]) -> str:
    """A node: its scores, what it does, what it matches, and where it is unexplained its dossier."""
    number = int(node["node"])
    stem = f"node-{number:03d}"
    lost = node.get("returns") is False
    state = (
        "does not return"
        if lost
        else "doubtful"
        if node["doubtful"]
        else "unexplained"
        if node["unexplained"]
        else "informative"
    )
    badge = f'<span class="badge{"" if state == "informative" else " note"}">{state}</span>'
    head = f'<h3 id="node-{number}-head">{text(node_title(node))}{badge}</h3>'
    pair = figure(f"{stem}-codes") + figure(f"{stem}-label")
    blocks = [
        head,
        facts(_scores(node, intervals)),
        figure(f"{stem}-traversal"),
        _response(node),
        _matches(node),
        f'<div class="pair">{pair}</div>' if pair else "",
        "<h4>Lines</h4>" + _lines(node["lines"], "Groups of lines that the node moves"),
        figure(f"{stem}-lines"),
        _dossier(node, figure=figure, stem=stem) if node["unexplained"] else "",
    ]
    inner = "\n".join(block for block in blocks if block)
    return (
        f'<article class="card" id="node-{number}" aria-labelledby="node-{number}-head">\n{inner}</article>'
    )


def _scores(node: Mapping[str, Any], intervals: Mapping[str, float]) -> dict[str, str]:
    def with_interval(name: str, column: str) -> str:
        return ranged(node[name], intervals.get(f"{column}_low"), intervals.get(f"{column}_high"))

    told = {
        "lost when switched off": f"{with_interval('ablation_nats', 'ablation')} nats a spectrum",
        "its code tells": f"{with_interval('information_nats', 'information')} nats of its spectrum",
        "seed paper's MAD": with_interval("mad", "mad"),
    }
    if node["doubtful"]:
        told["doubtful because"] = f"above the bound by {' '.join(node['informative_by']) or 'neither'} only"
    share = node.get("predicted_by_labels")
    if share and share["n"]:
        told["predicted by all labels"] = (
            f"{ranged(share['value'], share['low'], share['high'])} of its variance, by a parabola and trees "
            f"on {share['n']:,} targets"
        )
    told["survival"] = _survival(node)
    return told


def _survival(node: Mapping[str, Any]) -> str:
    value = node.get("survival")
    if not isinstance(value, int | float):
        return "not measured (find --stability N trains the network anew)"
    low, high = node.get("survival_interval") or (None, None)
    fate = {True: "it returns", False: "it does not return: not claimed"}.get(node.get("returns", ""), "")
    return f"{ranged(value, low, high)} of its variance is told by its partner in retrainings; {fate}".rstrip(
        "; "
    )


def _response(node: Mapping[str, Any]) -> str:
    """How the code answers to changes of the spectrum, and what moving the node does in the same units."""
    told = {name: one for name, one in (node.get("response") or {}).items() if isinstance(one, Mapping)}
    if not told:
        return ""
    rows = [(*change_words(name), one) for name, one in told.items()]
    blocks = [
        "<h4>Response in units</h4>",
        table(
            {
                "the spectrum changed by": [words for words, _, _ in rows],
                "unit": [unit for _, unit, _ in rows],
                "code moves, a unit [90 %]": [_interval(one) for _, _, one in rows],
                "at a wrong place": [short(one.get("null")) for _, _, one in rows],
                "share of its doing that is this [90 %]": [_interval(one, "share") for _, _, one in rows],
                "by chance": [short(one.get("share_null")) for _, _, one in rows],
            },
            caption="How the code answers to physical changes of held-out spectra, and what share of "
            "what the node does to a "
            "decoded spectrum is that change",
            left=("unit",),
        ),
    ]
    moved = node.get("intervention") or {}
    words, unit = change_words(str(moved.get("change", "")))
    if moves := moved.get("moves"):
        blocks.append(
            table(
                {
                    f"moved to make ({unit})": [short(one["asked"]) for one in moves],
                    "made, measured again [90 %]": [
                        ranged(one["made"], one.get("made_low"), one.get("made_high")) for one in moves
                    ],
                    "left, share of the change [90 %]": [
                        ranged(one["error_share"], one.get("error_share_low"), one.get("error_share_high"))
                        for one in moves
                    ],
                    "best of other nodes": [short(one.get("error_share_null")) for one in moves],
                },
                caption=f"Moving the node makes a {words}: how well the moved spectrum equals the "
                f"changed one",
            )
        )
    elif moved.get("change"):
        blocks.append(facts({"it does most like": f"{words} ({unit})"}))
    return "\n".join(blocks)


def _interval(told: Mapping[str, Any], name: str = "value") -> str:
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return ranged(told.get(name), told.get(low), told.get(high))


def _matches(node: Mapping[str, Any]) -> str:
    told = node["matches"]
    if not told:
        return ""
    rows = told[:MATCHES]
    caption = "What it matches" + (
        f" (the first {len(rows)} of {len(told)} labels)" if len(told) > len(rows) else ""
    )
    return "<h4>Labels</h4>" + table(
        {
            "label": [one["label"] for one in rows],
            "nats shared [90 %]": [ranged(one["mi_nats"], one["mi_low"], one["mi_high"]) for one in rows],
            "q": [chance(one["q"]) for one in rows],
            "given the other labels [90 %]": [
                ranged(one["conditional_mi_nats"], one["conditional_low"], one["conditional_high"])
                for one in rows
            ],
            "share of its entropy": [_share(one) for one in rows],
            "targets": [one["n"] for one in rows],
            "verdict": [_verdict(one) for one in rows],
        },
        caption=caption,
        left=("verdict",),
    )


def _share(match: Mapping[str, Any]) -> str:
    share = match.get("share_of_entropy")
    return "" if share is None or match["q"] > 0.05 else f"{share:.0%}"


def _verdict(match: Mapping[str, Any]) -> str:
    if match["explains"]:
        return f"shadow of {', '.join(match['shadow_of'])}" if match["shadow_of"] else "explains it"
    return "not beyond chance" if match["q"] > 0.05 else "weak: below 0.1 nat"


def _lines(told: Sequence[Mapping[str, Any]], caption: str) -> str:
    if not told:
        return paragraph("No group of lines stands out against lines at random places.")
    rows = told[:LINES]
    return table(
        {
            "group": [one["name"] for one in rows],
            "at rest with": ["star" if one["frame"] == "star" else "observer" for one in rows],
            "lines here": [one["lines_in_window"] for one in rows],
            "moved more than around": [f"{one['enrichment']:.1f} times" for one in rows],
            "p of lines at random places": [chance(one["p"]) for one in rows],
            "q": [chance(one["q"]) for one in rows],
            "strongest": [", ".join(str(top["line"]) for top in one["top"][:3]) for one in rows],
        },
        caption=caption + (f" (the first {len(rows)} of {len(told)})" if len(told) > len(rows) else ""),
        left=("at rest with",),
        long=("strongest",),
    )


def _lines_at_labels(told: Mapping[str, Any]) -> list[str]:
    """Where other nodes move with this one at fixed labels: what they do together."""
    others = told.get("moves_with") or []
    if not others:
        return []
    beside = ", ".join(f"node {one['node']} ({one['slope']:+.2f})" for one in others)
    return [
        paragraph(
            f"Where the labels stay, other nodes move with this one: {beside} for each unit of it. What they "
            "do together is what the labels leave unexplained, and may be other lines than those that the "
            "node moves alone."
        ),
        _lines(told["lines"], "Groups of lines that move where the labels stay"),
    ]


def _dossier(node: Mapping[str, Any], *, figure: Callable[[str], str], stem: str) -> str:
    told = node.get("dossier") or {}
    blocks = ["<h4>Dossier: no label explains it</h4>", figure(f"{stem}-extremes"), *_lines_at_labels(told)]
    keywords = told.get("keywords") or []
    if keywords:
        blocks.append(
            table(
                {
                    "keyword": [one["label"] for one in keywords],
                    "nats shared [90 %]": [
                        ranged(one["mi_nats"], one["mi_low"], one["mi_high"]) for one in keywords
                    ],
                    "q": [chance(one["q"]) for one in keywords],
                    "targets": [one["n"] for one in keywords],
                },
                caption="Header keywords that share information with it, q at most .05 over all nodes "
                "and keywords",
            )
        )
    else:
        blocks.append(paragraph("No header keyword shares information with it at q .05."))
    trend = told.get("trend")
    if trend:
        blocks.append(
            paragraph(
                f"Drift: {ranged(trend['spreads_a_year'], trend['low'], trend['high'])} spreads of the "
                f"code a year over "
                f"{trend['years']:.1f} years; Spearman's rank correlation {trend['spearman']:.2f}, p "
                f"{chance(trend['p'])}, "
                f"{trend['n']:,} targets. One spectrum a target, so a star's own change does not show."
            )
        )
    else:
        blocks.append(paragraph("No trend in time could be looked for: dates are unknown or do not differ."))
    pair = figure(f"{stem}-keywords") + figure(f"{stem}-time")
    blocks.append(f'<div class="pair">{pair}</div>' if pair else "")
    ends = [(kind, one) for kind in ("lowest", "highest") for one in told.get(kind, [])]
    if ends:
        blocks.append(
            table(
                {
                    "spectrum": [one["spectrum_id"] for _, one in ends],
                    "target": [one["target"] for _, one in ends],
                    "code": [f"{one['code']:.3f}" for _, one in ends],
                    "end": [kind for kind, _ in ends],
                },
                caption="Extremes among held-out targets",
                left=("target", "end"),
            )
        )
    return "\n".join(blocks)


def other_nodes(
    nodes: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]],
    intervals: Mapping[int, Mapping[str, float]],
) -> str:
    """A table of the nodes that have no card."""
    have = {node["node"] for node in shown}
    left = [node for node in nodes if node["node"] not in have]
    if not left:
        return ""

    def with_interval(node: Mapping[str, Any], name: str, column: str) -> str:
        mine = intervals.get(int(node["node"]), {})
        return ranged(node[name], mine.get(f"{column}_low"), mine.get(f"{column}_high"))

    inner = table(
        {
            "node": [node["node"] for node in left],
            "lost when switched off (nats)": [
                with_interval(node, "ablation_nats", "ablation") for node in left
            ],
            "its code tells (nats)": [
                with_interval(node, "information_nats", "information") for node in left
            ],
            "MAD": [with_interval(node, "mad", "mad") for node in left],
            "what it is": [_state(node) for node in left],
        },
        caption="Nodes without a card",
        left=("what it is",),
    )
    words = f"{len(left):,} other nodes: copies, and nodes below both bounds"
    return f"<details><summary>{words}</summary>{inner}</details>"


def _state(node: Mapping[str, Any]) -> str:
    if node["copies_of"] is not None and (node["informative"] or node["doubtful"]):
        return f"copy of node {node['copies_of']}"
    if node["informative"]:
        return "informative"
    return "doubtful" if node["doubtful"] else "below both bounds"
