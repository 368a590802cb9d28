"""The report as one page: facts and figures in, HTML out. Nothing is computed here.

Words of our own may hold markup; whatever comes from files goes through `text`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..figures.words import count_words, node_title, ranged
from .facts import Facts
from .html import cell, document, facts, items, paragraph, table, text
from .sections import (
    archive_part,
    count_part,
    labels_part,
    nodes_part,
    outliers_part,
    training_part,
    unexplained_part,
)

Figure = Callable[[str], str]


def page(told: Facts) -> str:
    """The report."""
    heads: list[tuple[int, str, str]] = []

    def figure(name: str) -> str:
        shown = told.figures.get(name)
        if shown is None:
            return ""
        links = ", ".join(f'<a href="{text(place)}">{text(kind)}</a>' for kind, place in shown.files.items())
        line = f"Study({text(repr(told.name))}).figure({text(repr(name))})"
        return (
            f'<figure id="{text(name)}"><div class="scroll" role="region" tabindex="0" '
            f'aria-label="figure {text(name)}">{shown.markup}</div><figcaption>{text(shown.words)} '
            f"<br><code>{line}</code>; {links}</figcaption></figure>"
        )

    def part(anchor: str, title: str, *blocks: str) -> str:
        heads.append((2, anchor, title))
        inner = "\n".join(block for block in blocks if block)
        head = f'<h2 id="{anchor}-head">{text(title)}</h2>'
        return f'<section id="{anchor}" aria-labelledby="{anchor}-head">{head}\n{inner}</section>'

    parts = [
        f"<h1>What varies in the archive {text(told.name)}</h1>",
        paragraph(
            f"astroprism {text(told.provenance['version'])}; a study of "
            f"{told.archive['accepted']:,} spectra, "
            "taken apart into independent causes without labels.",
            kind="soft",
        ),
        part("short", "In short", *_short(told)),
        part("archive-part", "Archive", *archive_part(told, figure)),
        part("training-part", "Training", *training_part(told, figure)),
        part("count-part", "How many features are real", *count_part(told, figure)),
    ]
    nodes = part("nodes-part", "Nodes, one by one", *nodes_part(told, figure, heads))
    parts += [
        nodes,
        part("labels-part", "Labels read from the codes", *labels_part(told, figure)),
        part("outliers-part", "Outliers", *outliers_part(told, figure)),
        part("unexplained-part", "What no label explains", *unexplained_part(told)),
        part("provenance-part", "Provenance, and how to rebuild every figure", *_provenance(told)),
    ]
    return document(f"astroprism report: {told.name}", body="\n".join(parts), contents=_ordered(heads))


def _ordered(heads: Sequence[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Cards are drawn before the heading of their part is written down: put them behind it."""
    cards = [one for one in heads if one[0] == 3]
    found: list[tuple[int, str, str]] = []
    for one in heads:
        if one[0] == 2:
            found.append(one)
            if one[1] == "nodes-part":
                found += cards
    return found


# --- in short


def _short(told: Facts) -> list[str]:
    a = told.archive
    lines = [
        f"{a['accepted']:,} spectra of {count_words(a['targets'], 'target')}, {a['range'][0]:,.0f} to "
        f"{a['range'][1]:,.0f} angstrom in {a['pixels']:,} pixels; {a['refused']:,} of {a['met']:,} met "
        f"were refused."
    ]
    if told.model is None:
        lines.append("No network has been trained yet.")
    elif told.chi2 is not None:
        lines.append(
            f"The network rebuilds held-out spectra to chi2 a pixel of {ranged(*told.chi2[:3])} (median of "
            f"{told.chi2[3]:,} spectra; 1 would be the noise alone)."
        )
    found = told.findings
    if found is None:
        lines.append("No findings have been made yet: nothing can be said of how many features are real.")
        return [items(lines)]
    first, second = found["count"]["statistical"], found["count"]["information"]
    word = "The two agree." if found["count"]["agree"] else '<strong class="note">The two disagree.</strong>'
    lines.append(
        f"<strong>{count_words(first['k'], 'feature')}</strong> by switching nodes off (between "
        f"{first['low']} and "
        f"{first['high']}), <strong>{second['k']}</strong> by information (between {second['low']} and "
        f"{second['high']}). {word}"
    )
    for node in told.cards:
        state = ", doubtful" if node["doubtful"] else ""
        lines.append(f'<a href="#node-{node["node"]}">{text(node_title(node))}</a>{state}.')
    unexplained = sum(bool(node["unexplained"]) for node in told.cards)
    lines.append(
        (
            f"{count_words(unexplained, 'feature')} that no label explains."
            if unexplained
            else "None is left unexplained."
        )
        if found["labels"] or unexplained
        else "No labels were given."
    )
    return [items(lines), *_limits(told)]


def _limits(told: Facts) -> list[str]:
    found = told.findings
    assert found is not None
    lines = [text(one) for one in (*told.stale, *found["warnings"], *(told.model or {}).get("warnings", []))]
    lines.append(
        f"All evidence comes from {found['targets']:,} targets that the training never saw, one "
        f"spectrum each; "
        "intervals are 90 %, over targets."
    )
    second = found["count"]["information"]
    if second["high"] > 2 * max(second["k"], 1):
        lines.append(
            f"The information count cannot exclude up to {second['high']}: so many nodes reach the soft "
            f"bound of 0.1 "
            "nat within their intervals. Switching them off costs next to nothing, see the counts below."
        )
    if not any(node.get("survival") is not None for node in told.cards):
        lines.append(
            "No network was trained anew: that a feature returns from another start has not been shown. "
            f"<code>astroprism find {text(told.name)} --stability 5</code> shows it."
        )
    lost = [str(node["node"]) for node in told.cards if node.get("returns") is False]
    if lost:
        lines.append(f"Not claimed: node {', '.join(lost)} did not return when the network was trained anew.")
    lines.append(
        "That a label explains a node means that they share information, not that one causes the other."
    )
    return ["<h3>Limits</h3>", *(f'<p class="limit">{line}</p>' for line in lines)]


# --- provenance


def _provenance(told: Facts) -> list[str]:
    p = told.provenance
    settings = p.get("settings", {})
    return [
        facts(p["facts"]),
        "<h3>What was run</h3>",
        table(
            {
                "when (UTC)": [str(run["when"]).replace("+00:00", "") for run in told.runs],
                "command": [run["command"] for run in told.runs],
                "version": [run["version"] for run in told.runs],
                "what": [_run_words(run) for run in told.runs],
            },
            caption="Runs on this study, oldest first",
            left=("command", "version"),
            long=("what",),
        ),
        "<details><summary>All settings of the training</summary>"
        + table(
            {"setting": list(settings), "value": [cell_of(one) for one in settings.values()]},
            caption="Settings",
            long=("value",),
        )
        + "</details>"
        if settings
        else "",
        "<h3>How to rebuild</h3>",
        paragraph(
            "From the folder that holds the study; every figure is a function that returns a matplotlib "
            "figure, its data "
            "lie beside it in <code>report/data/</code>, PNG and PDF in <code>report/figures/</code>:"
        ),
        "<pre><code>from astroprism import Study\n"
        f"study = Study({text(repr(told.name))})\n"
        "study.figures()                  # names of all figures, with what they show\n"
        f"study.figure({text(repr(next(iter(told.figures), 'archive')))})          # one of them, drawn "
        f"anew\n"
        "study.report()                   # this page</code></pre>",
        table(
            {
                "figure": list(told.figures),
                "python": [f"Study({told.name!r}).figure({name!r})" for name in told.figures],
            },
            caption="Every figure of this page",
            left=("python",),
        ),
    ]


def cell_of(value: Any) -> str:
    """A setting as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _run_words(run: Mapping[str, Any]) -> str:
    """What a run did, in a few words."""
    command = run["command"]
    if command == "ingest":
        paths = ", ".join(map(str, run.get("paths", [])))
        return f"{run.get('accepted', 0):,} accepted, {run.get('refused', 0):,} refused of {paths}"
    if command == "train":
        return f"{run.get('steps', 0):,} steps in {run.get('minutes', 0):.1f} min"
    if command == "encode":
        return f"{run.get('encoded', 0):,} spectra"
    if command == "find":
        tables = ", ".join(map(str, run.get("labels", {}) or ["no labels"]))
        return f"with {tables}"
    return cell(
        ", ".join(
            f"{name} {value}" for name, value in run.items() if name not in ("command", "when", "version")
        )[:200]
    )
