"""How many causes there are, what each one is, and which ones nothing explains: from plain arrays.

The evidence goes in; the content of findings.json and the tables beside it come out. docs/design/findings.md
has the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..measures import sampled_codes
from ..measures.binned import bin_sweep
from ..measures.count import Count, count
from ..measures.evidence import Floats
from ..measures.match import Matches, match_labels, sweep_keywords
from ..measures.readout import UNEXPLAINED, ReadOut, Share, predicted_by_labels, read_out
from ..measures.stability import Survival
from .dossier import dossier, line_table
from .effects import Effects, Profiles
from .response import Responses, words

FEW = 200  # held-out targets below which intervals are wide, and it is said


@dataclass(frozen=True)
class Evidence:
    """All that findings are made from; a row a held-out target.

    identifiers, targets, mean, sd: of every held-out target; effects.rows: places among them, of the sample
    that nodes were switched off on. labels, keywords: name -> (rows,). time: days. wavelength: vacuum.
    warnings: what the model or the label tables must be told of, in words.
    moves, at_labels: how codes move with a node where the labels stay, and what spectra then do.
    """

    identifiers: NDArray[np.object_]
    targets: NDArray[np.object_]
    mean: Floats
    sd: Floats
    effects: Effects
    wavelength: Floats
    labels: dict[str, Any] = field(default_factory=dict)
    keywords: dict[str, Any] = field(default_factory=dict)
    time: Floats | None = None
    moves: Mapping[int, Floats] = field(default_factory=dict)
    at_labels: Profiles = field(default_factory=lambda: Profiles({}, {}))
    responses: Responses = field(default_factory=Responses)
    survival: Survival | None = None
    warnings: tuple[str, ...] = ()


def assemble(evidence: Evidence, *, seed: int = 0) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(content of findings.json, name -> columns of the tables beside it)."""
    effects, sample = evidence.effects, evidence.effects.rows
    counted = count(
        evidence.mean[sample],
        evidence.sd[sample],
        ablation=effects.rise,
        bound=effects.bound,
        overlap=effects.overlap,
        null_ablation=effects.null,
        seed=seed,
    )
    asked = [int(i) for i in np.flatnonzero(counted.informative | counted.doubtful)]
    codes = sampled_codes(evidence.mean, evidence.sd, seed=seed)
    matches = match_labels(codes, evidence.labels, nodes=asked, seed=seed)
    keywords = sweep_keywords(codes, evidence.keywords, nodes=asked, seed=seed)
    usable = {name: evidence.labels[name] for name in evidence.labels if name not in matches.left_out}
    shares = predicted_by_labels(evidence.mean, usable, nodes=asked, seed=seed)
    unexplained = [
        i
        for i in asked
        if counted.informative[i] and counted.copies_of[i] < 0 and shares[i].value < UNEXPLAINED
    ]
    lines = line_table(evidence.wavelength, effects.star, effects.sky, nodes=asked, seed=seed)
    star, sky = evidence.at_labels
    left_lines = lines | line_table(evidence.wavelength, star, sky, nodes=unexplained, seed=seed)
    nodes = []
    for i in range(evidence.mean.shape[1]):
        told = counted.node(i) | {
            **evidence.responses.of_node(i, explained_by=_explained_by(matches, i)),
            "matches": [pair.summary() for pair in matches.of_node(i)],
            "predicted_by_labels": _share(shares.get(i)),
            "unexplained": i in unexplained,
            "lines": [one.summary() for one in lines.get(i, []) if one.named],
            "survival": None,
            "dossier": None,
        }
        if evidence.survival is not None:
            told |= evidence.survival.node(i)
        told["claimed"] = _claimed(told)
        if i in unexplained:
            told["dossier"] = dossier(
                i,
                mean=evidence.mean[:, i],
                identifiers=evidence.identifiers,
                targets=evidence.targets,
                time=evidence.time,
                keywords=keywords,
                lines=left_lines.get(i, []),
                moves=evidence.moves.get(i),
            )
        nodes.append(told)
    content = {
        "count": counted.summary(),
        "nodes": nodes,
        "labels": _labels(evidence, usable, matches, counted, seed),
        "labels_left_out": matches.left_out,
        "keywords_left_out": len(keywords.left_out),
        "targets": len(evidence.targets),
        "null_draws": {"labels": matches.null, "keywords": keywords.null},
        "stability": None if evidence.survival is None else evidence.survival.summary(),
        "warnings": _warnings(evidence, counted, matches),
    }
    tables = {
        "nodes": _node_table(counted),
        "matches": matches.table(),
        "keywords": keywords.table(),
        "bins": bin_sweep(codes, usable, nodes=asked, seed=seed),
        "lines": _line_columns(lines),
        "left_lines": _line_columns({i: left_lines[i] for i in unexplained if i in left_lines}),
        "responses": evidence.responses.table(nodes=asked),
        "derivatives": {"wavelength": evidence.wavelength}
        | {f"{frame}_{i:03d}": one for frame in ("star", "sky") for i, one in getattr(effects, frame).items()}
        | {
            f"{frame}_at_labels_{i:03d}": one
            for frame in ("star", "sky")
            for i, one in getattr(evidence.at_labels, frame).items()
            if i in unexplained
        },
    }
    if evidence.survival is not None:
        tables["survival"] = evidence.survival.table()
    return content, tables


def text_of(content: Mapping[str, Any]) -> str:
    """Findings in a few lines."""
    told = content["count"]
    first, second = told["statistical"], told["information"]
    agree = "the two counts agree" if told["agree"] else "the two counts DISAGREE"
    lines = [
        f"{first['k']} causes by switching nodes off ({first['low']} to {first['high']}), {second['k']} by "
        f"information ({second['low']} to {second['high']}): {agree}",
        f"  the seed paper's spread above {told['mad']['threshold']:g} would count {told['mad']['k']}; "
        f"evidence: {content['targets']:,} targets that training never saw",
    ]
    if again := content.get("stability"):
        alive = [one for one in content["nodes"] if one["informative"] and one["copies_of"] is None]
        lines.append(
            f"  {sum(one['returns'] for one in alive)} of {len(alive)} came back when trained anew "
            f"({again['retrainings']} times, on halves of the targets)"
        )
    for node in content["nodes"]:
        if not (node["informative"] or node["doubtful"]):
            continue
        what = []
        if node["copies_of"] is not None:
            what.append(f"copy of node {node['copies_of']}")
        if node["doubtful"]:
            what.append(f"doubtful: only by {' '.join(node['informative_by'])}")
        if node["survival"] is not None:
            fate = "returns" if node["returns"] else "DOES NOT RETURN, so it is not claimed:"
            what.append(f"{fate} {node['survival']:.2f}")
        for pair in node["matches"]:
            if pair["explains"] and not pair["shadow_of"]:
                what.append(f"{pair['label']} {pair['mi_nats']:.2f} nats")
        if node["unexplained"]:
            what.append("UNEXPLAINED by labels")
        if answers := words(node):
            what.append(answers)
        if named := [one["name"] for one in node["lines"]][:4]:
            what.append("moves " + ", ".join(named))
        if node["dossier"] and (others := node["dossier"]["moves_with"]):
            left = [one["name"] for one in node["dossier"]["lines"]][:4]
            beside = " and ".join(str(one["node"]) for one in others)
            what.append(f"where labels stay, along with {beside}, moves {', '.join(left) or 'no line'}")
        if (found := node["dossier"]) and found["keywords"]:
            best = found["keywords"][0]
            what.append(f"keyword {best['label']} {best['mi_nats']:.2f} nats")
        told_of = "; ".join(what) or "nothing told"
        lines.append(f"  node {node['node']:>3}  {node['information_nats']:5.2f} nats  {told_of}")
    lines += [f"  warning: {one}" for one in content["warnings"]]
    return "\n".join(lines)


# --- parts of the content


def _claimed(node: Mapping[str, Any]) -> bool:
    """Whether a node is a finding: informative, no copy, and back in the retrainings, if there were any."""
    return bool(node["informative"] and node["copies_of"] is None and node.get("returns", True))


def _explained_by(matches: Matches, node: int) -> list[str]:
    return [pair.label for pair in matches.of_node(node) if pair.explains]


def _share(share: Share | None) -> dict[str, Any] | None:
    return None if share is None or not share.n else asdict(share)  # of no rows nothing is known


def _labels(
    evidence: Evidence, usable: Mapping[str, Any], matches: Matches, counted: Count, seed: int
) -> dict[str, Any]:
    chosen = np.flatnonzero(counted.informative)
    told: dict[str, Any] = {}
    for name, values in usable.items():
        pairs = matches.of_label(name)
        best = pairs[0] if pairs else None
        out = read_out(evidence.mean[:, chosen], values, seed=seed)
        told[name] = {
            "n": best.n if best else 0,
            "best_node": best.node if best and best.explains else None,
            "shadow_of": list(best.shadow_of) if best else [],
            **_read(out),
        }
    return told


def _read(out: ReadOut | None) -> dict[str, Any]:
    if out is None:
        return {"r2_linear": None, "r2_knn": None}
    if out.categorical:
        return {
            "r2_linear": None,
            "r2_knn": None,
            "named_rightly": asdict(out.nearest),
            "guessed_rightly": out.guessed,
        }
    return {
        "r2_linear": out.linear.value,
        "r2_knn": out.nearest.value,
        "r2_linear_interval": [out.linear.low, out.linear.high],
        "r2_knn_interval": [out.nearest.low, out.nearest.high],
    }


def _warnings(evidence: Evidence, counted: Count, matches: Matches) -> list[str]:
    told = list(evidence.warnings)
    if len(evidence.targets) < FEW:
        told.append(
            f"{len(evidence.targets)} held-out targets are few: intervals are wide, weak matches are missed"
        )
    if not evidence.labels:
        told.append("no labels were given: every informative node counts as unexplained")
    elif matches.left_out:
        why = "; ".join(f"{name}: {reason}" for name, reason in matches.left_out.items())
        none = len(matches.left_out) == len(evidence.labels)
        all_of_them = "no label can be used, so every informative node counts as unexplained" if none else ""
        told.append(f"{all_of_them or 'labels left out'} ({why})")
    if not counted.agree:
        told.append("the two counts differ: read them as a range, and train longer before trusting either")
    return told


def _node_table(counted: Count) -> dict[str, Any]:
    rows = [counted.node(i) for i in range(len(counted.informative))]
    table: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    table["informative_by"] = [" ".join(row["informative_by"]) for row in rows]
    for name in ("statistical", "information", "mad"):
        method = getattr(counted, name)
        table |= {f"{name}_low": method.score_low, f"{name}_high": method.score_high}
    return table


def _line_columns(lines: Mapping[int, Any]) -> dict[str, Any]:
    rows = [
        {"node": node} | {k: v for k, v in one.summary().items() if k != "top"}
        | {"top": ", ".join(line["line"] for line in one.summary()["top"])}
        for node, found in lines.items()
        for one in found
    ]  # fmt: skip
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
