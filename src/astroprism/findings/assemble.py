"""The evidence becomes findings: how many causes there are, what each one is, and which nothing explains.

Plain arrays in; the content of findings.json and the tables beside it out. docs/design/findings.md has the
definitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import schema
from ..artifacts import jsonable
from ..measures import disentanglement, readout
from ..measures.binned import bin_sweep
from ..measures.count import Count, agreement, causes_in_words, count
from ..measures.crossfit import CrossFitted
from ..measures.dossier import dossier
from ..measures.evidence import Floats
from ..measures.evidence import column as evidence_column
from ..measures.features import LineTables, resolution_element
from ..measures.lines import Enrichment, match_lines
from ..measures.match import EXPLAINS_NATS, Matches, match_labels, sweep_keywords
from ..measures.mutual import MutualInformation
from ..measures.origin import origin_words, origins
from ..measures.spacing import sampled_codes
from ..measures.stability import Survival
from ..measures.together import told_together
from ..measures.variance import SIGNIFICANT, part_words
from ..schema import (
    FINDINGS,
    AxesFacts,
    EvidenceFacts,
    FieldScores,
    Findings,
    LabelSummary,
    Node,
    Told,
    number,
)
from .calibration import matched_shapes
from .effects import Effects, Profiles
from .response import Responses, best_answer
from .visits import Visits, follow, split_visits

LEAST = 1e-12  # false-alarm probability that is told
MOST_FACTORS = 8  # labels, the strongest, of which the measures of the field are taken
FEW = 200  # held-out targets below which there is a warning that intervals are wide


@dataclass(frozen=True)
class Evidence:
    """All that findings are made from; a row per unit, a target by default.

    identifiers, targets, mean, sd   of every unit held out or cross-fitted; mean and sd are (rows, nodes)
    effects             its rows are places among these, of the sample that nodes were switched off on
    wavelength          (p,) vacuum angstrom
    labels, keywords    name -> (rows,); time: (rows,) days
    moves, at_labels    how codes move with a node at constant labels, and what spectra then do
    element             resolution element in km/s, and what says so; None: two pixels
    label_notes, unusable   how labels were read; columns of the tables that are none, and why
    response            scores (rows, shapes) of the smooth response, and the share of each
    axes                on which codes are read
    visits              every encoded spectrum, for what needs more than one per target
    warnings            about the model or the label tables, for the reader of the findings
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
    element: tuple[float, str] | None = None
    survival: Survival | None = None
    label_notes: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    crossfit: CrossFitted | None = None
    facts: EvidenceFacts | None = None
    visits: Visits | None = None
    axes: AxesFacts | None = None
    response: tuple[Floats, list[float]] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def barycentric(self) -> bool:
        """Whether the spectra are moved to the barycentre, most of them."""
        frame = None if self.visits is None else self.visits.frame
        return frame is None or bool((frame == "barycentric").mean() > 0.5)


def assemble(
    evidence: Evidence, *, provenance: Mapping[str, Any] | None = None, seed: int = 0
) -> tuple[Findings, dict[str, dict[str, Any]]]:
    """(findings, name -> columns of the tables beside them)."""
    effects, sample = evidence.effects, evidence.effects.rows
    counted = count(
        evidence.mean[sample],
        evidence.sd[sample],
        ablation=effects.rise,
        bound=effects.bound,
        overlap=effects.overlap,
        null_ablation=effects.null,
        identified=None if evidence.crossfit is None else evidence.crossfit.identified,
        seed=seed,
    )
    nodes = [int(i) for i in np.flatnonzero(counted.informative | counted.doubtful)]
    codes = sampled_codes(evidence.mean, evidence.sd, seed=seed)
    matches = match_labels(codes, evidence.labels, nodes=nodes, seed=seed)
    keywords = sweep_keywords(codes, evidence.keywords, nodes=nodes, seed=seed)
    usable = {name: evidence.labels[name] for name in evidence.labels if name not in matches.left_out}
    shares = readout.predicted_by_labels(evidence.mean, usable, nodes=nodes, seed=seed)
    single = [i for i in nodes if counted.copies_of[i] < 0]
    splits, variance, repeats = (
        ({}, {}, "") if evidence.visits is None else split_visits(evidence.visits, single, seed=seed)
    )
    series, in_time = ([], {}) if evidence.visits is None else follow(evidence.visits, single, seed=seed)
    followed = origins(
        codes,
        mean=evidence.mean,
        matches=matches,
        keywords=keywords,
        labels=usable,
        values=evidence.keywords,
        nodes=single,
        splits=splits,
        doppler=evidence.responses.equal_to("doppler_per_kms"),
        air=evidence.responses.equal_to("air_per_kms"),
        barycentric=evidence.barycentric,
        seed=seed,
    )
    unexplained = [
        i
        for i in nodes
        if counted.informative[i]
        and counted.copies_of[i] < 0
        and shares[i].value < readout.UNEXPLAINED
        and not (i in followed and followed[i].explains and not followed[i].star_too)
    ]
    element, known_from = evidence.element or resolution_element(evidence.wavelength, [])
    line_tables = LineTables(evidence.wavelength, element, known_from)
    moved = effects.profiles
    lines = _enrichments(line_tables, moved, nodes=nodes, seed=seed)
    left_lines = lines | _enrichments(line_tables, evidence.at_labels, nodes=unexplained, seed=seed)

    found = []
    for i in range(evidence.mean.shape[1]):
        pairs = matches.of_node(i)
        explained_by = [pair.label for pair in pairs if pair.explains]
        survival: dict[str, Any] = {"survival": None}
        if evidence.survival is not None:
            survival = evidence.survival.node(i)
        named = [one for one in lines.get(i, []) if one.named]
        original = counted.informative[i] and counted.copies_of[i] < 0
        if evidence.crossfit is not None:
            survival |= jsonable(evidence.crossfit.node(i))
        found.append(
            Node(
                **counted.node(i),
                **jsonable(evidence.responses.of_node(i, explained_by=explained_by)),
                matches=[pair.summary() for pair in pairs],
                predicted_by_labels=_share(shares.get(i)),
                unexplained=i in unexplained,
                lines=[one.summary() for one in named],
                features=line_tables.features(moved.lines(i)[0], moved=[one.name for one in named])
                if i in lines
                else [],
                line_shares=line_tables.shares(moved.lines(i)[0], whole=moved.star[i])
                if i in lines
                else None,
                **survival,
                origin=followed.get(i),
                keywords=[pair.summary() for pair in keywords.of_node(i) if pair.explains],
                variance=splits.get(i),
                axis=None if evidence.axes is None else evidence.axes.of_node(i),
                claimed=bool(original and survival.get("returns", True)),
                dossier=None
                if i not in unexplained and not (i in followed and shares[i].value < readout.UNEXPLAINED)
                else dossier(
                    i,
                    mean=evidence.mean[:, i],
                    identifiers=evidence.identifiers,
                    targets=evidence.targets,
                    time=evidence.time,
                    keywords=keywords,
                    lines=left_lines.get(i, []),
                    moves=evidence.moves.get(i),
                ),
            )
        )
    findings = Findings(
        count=counted.summary(),
        nodes=found,
        labels=_labels(evidence, usable, matches, counted, seed),
        labels_left_out={**evidence.unusable, **matches.left_out},
        label_notes=_label_notes(evidence, matches),
        keywords_left_out=len(keywords.left_out),
        targets=len(evidence.targets),
        evidence=evidence.facts,
        null_draws={"labels": matches.null, "keywords": keywords.null},
        stability=None if evidence.survival is None else jsonable(evidence.survival.summary()),
        warnings=_warnings(evidence, counted, matches),
        line_coverage=line_tables.coverage(),
        **FINDINGS.header,
        provenance=dict(provenance or {}),
        axes="" if evidence.axes is None else evidence.axes.text,
        field=_field_scores(evidence.mean, usable, matches, nodes=single, seed=seed),
        total_correlation=_dependence(evidence.mean[:, single], seed=seed),
        response=[]
        if evidence.response is None
        else matched_shapes(*evidence.response, labels=usable, keywords=evidence.keywords, seed=seed),
        repeats=repeats,
        series=series,
    )
    derivatives = {"wavelength": evidence.wavelength}
    for frame in vars(moved):
        derivatives |= {f"{frame}_{i:03d}": one for i, one in getattr(moved, frame).items()}
    for frame in ("star", "sky"):
        at_labels = getattr(evidence.at_labels, frame)
        derivatives |= {f"{frame}_at_labels_{i:03d}": one for i, one in at_labels.items() if i in unexplained}
    tables = {
        "nodes": _node_table(counted),
        "matches": matches.table(),
        "keywords": keywords.table(),
        "bins": bin_sweep(codes, usable, nodes=nodes, seed=seed),
        "lines": _line_table(lines),
        "left_lines": _line_table({i: left_lines[i] for i in unexplained if i in left_lines}),
        "responses": evidence.responses.table(nodes=nodes),
        "derivatives": derivatives,
    }
    if evidence.survival is not None:
        tables["survival"] = evidence.survival.table()
    tables |= {name: table for name, table in ({"variance": variance} | in_time).items() if table}
    return findings, tables


def text_of(findings: Findings) -> str:
    """Findings in a few lines."""
    counts = findings.count
    first, second = counts.statistical, counts.information
    assert first is not None
    assert second is not None
    lines = [
        f"{causes_in_words(first.k)} by switching nodes off ({first.low} to {first.high}), {second.k} by "
        f"information ({second.low} to {second.high}): {agreement(first, second)}",
        f"  the seed paper's spread above {counts.mad.threshold:g} would count {counts.mad.k}; "
        f"{findings.rests_on.text}",
    ]
    if again := findings.stability:
        alive = findings.informative
        lines.append(
            f"  {sum(bool(node.returns) for node in alive)} of {len(alive)} came back when trained again "
            f"({again['retrainings']} times, on halves of the targets)"
        )
    for node in findings.nodes:
        if node.counted:
            facts = "; ".join(_facts_of(node)) or "nothing found"
            lines.append(f"  node {node.node:>3}  {node.information_nats:5.2f} nats  {facts}")
    for name, label in findings.labels.items():
        pair = label.pair or label.together
        if pair is not None and label.best_node is None and not label.shadow_of and pair.low >= EXPLAINS_NATS:
            lines.append(
                f"  {name}: no node alone tells it; {_and(pair.nodes)} together do, by {pair.nats:.2f} "
                f"[{pair.low:.2f}, {pair.high:.2f}] nats at least"
            )
    if findings.repeats:
        lines.append(f"  {findings.repeats}")
    if findings.axes:
        lines.append(f"  {findings.axes}")
    for star in findings.series:
        lines += _series_lines(star)
    lines += [f"  warning: {one}" for one in findings.warnings]
    return "\n".join(lines)


def _and(nodes: Sequence[int]) -> str:
    """1, 2 and 3."""
    *first, last = map(str, nodes)
    return f"{', '.join(first)} and {last}" if first else last


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _facts_of(node: Node) -> list[str]:
    """What was found of a node, in words."""
    facts = []
    if node.copies_of is not None:
        facts.append(f"copy of node {node.copies_of}")
    if node.doubtful and len(node.informative_by) < 2:  # by both where it is not identified
        facts.append(f"doubtful: only by {' '.join(node.informative_by)}")
    if node.survival is not None:
        fate = "returns" if node.returns else "DOES NOT RETURN, so it is not claimed:"
        facts.append(f"{fate} {node.survival:.2f}")
    if node.axis is not None and not node.axis.own:
        among = ", ".join(map(str, node.axis.shared_with))
        facts.append(f"no axis of its own among {among} and itself" if among else "no axis of its own")
    if node.returned is not None:
        low, high = node.returned_interval or (math.nan, math.nan)
        share = f"{node.returned:.2f} [{_or_nan(low):.2f}, {_or_nan(high):.2f}] out of fold"
        facts.append(share if node.identified else f"NOT IDENTIFIED, so it is not claimed: {share}")
    facts += [f"{match.label} {match.mi_nats:.2f} nats" for match in node.explained_by]
    if node.unexplained:
        facts.append("UNEXPLAINED by labels")
    if (origin := node.origin) is not None:
        first, colon, rest = origin_words(origin).partition(":")
        words = f"{first.upper() if colon else first}{colon}{rest}"
        if origin.mi_nats is not None:
            low, high = _or_nan(origin.mi_low), _or_nan(origin.mi_high)
            words += f" {origin.mi_nats:.2f} [{low:.2f}, {high:.2f}] nats, q {_or_nan(origin.q):.1g}"
        facts.append(words)
    if answer := best_answer(node):
        facts.append(answer)
    if named := node.moves[:4]:
        facts.append("moves " + ", ".join(named))
    if (found := node.dossier) is not None:
        if found.moves_with:
            moved = ", ".join([one.words for one in found.lines][:4]) or "no line"
            others = " and ".join(str(one.node) for one in found.moves_with)
            facts.append(f"at constant labels, along with {others}, moves {moved}")
        if found.keywords and node.origin is None:
            facts.append(f"keyword {found.keywords[0].label} {found.keywords[0].mi_nats:.2f} nats")
    if node.variance is not None:
        facts.append(f"variance: {variance_words(node.variance)}")
    return facts


def variance_words(split: schema.VarianceSplit) -> str:
    """Whose variance it is, in words: '62% [55, 70] between stars, ...'; last what is within chance."""
    found, chance = [], []
    for name, words in part_words(split).items():
        part: schema.VariancePart | None = getattr(split, name)
        if part is None or part.share is None:
            continue
        if part.p > SIGNIFICANT:
            chance.append(words)
            continue
        low, high = part.share_low or 0.0, part.share_high or 0.0
        found.append(f"{100 * part.share:.0f}% [{100 * low:.0f}, {100 * high:.0f}] {words}")
    found.append(f"{100 * (split.code_noise_share or 0.0):.0f}% the code's own error")
    if chance:
        found.append(f"nothing beyond chance {' or '.join(chance)}")
    return ", ".join(found)


def _series_lines(star: schema.Series) -> list[str]:
    """A star in time, in a few lines."""
    days = star.last - star.first
    lines = [
        f"  {star.target} in time: {star.spectra:,} spectra in {star.nights:,} nights over {days:,.1f} days"
        + (f", {star.frame} velocities" if star.frame != "none" else "")
    ]
    for one in star.series:
        unit = " km/s" if one.quantity == "velocity" else ""
        facts = [f"{one.quantity}: spread {one.spread:.3g}{unit}, error {one.error:.2g}"]
        period = one.period
        if period is not None and period.significant:
            near = f", but near {period.near}" if period.near else ""
            facts.append(
                f"period {period.period:.7g} +- {period.period_sd:.1g} d{near}, amplitude "
                f"{period.amplitude:.4g} +- {period.amplitude_sd:.1g}{unit}, false alarm "
                + (f"{period.false_alarm:.1g}" if period.false_alarm > LEAST else f"below {LEAST:g}")
            )
        else:
            chance = "" if period is None else f" (false alarm {period.false_alarm:.2g})"
            facts.append(f"no period beyond chance{chance}")
        if one.varies_within_night:
            facts.append("varies within the night")
        lines.append("    " + "; ".join(facts))
    return [*lines, *(f"    {remark}" for remark in star.remarks)]


# --- parts of the findings


def _enrichments(
    line_tables: LineTables, moved: Profiles, *, nodes: Sequence[int], seed: int
) -> dict[int, list[Enrichment]]:
    """Groups of lines against the derivatives of `nodes`, those that have one."""
    return {
        node: match_lines(
            line_tables.wavelength,
            moved.lines(node)[0],
            sky=moved.lines(node)[1],
            element=line_tables.element,
            seed=seed,
        )
        for node in nodes
        if node in moved.star
    }


def _share(share: readout.VarianceShare | None) -> schema.Share | None:
    if share is None or not share.n:  # without rows nothing is known
        return None
    return schema.Share(number(share.value), number(share.low), number(share.high), share.n)


def _label_notes(evidence: Evidence, matches: Matches) -> dict[str, str]:
    """How labels were read: in the tables, and then among the held-out targets."""
    notes = dict(evidence.label_notes)
    for name, text in matches.pooled.items():
        held = f"of the held-out targets, {text}"
        notes[name] = f"{notes[name]}; {held}" if name in notes else held
    return notes


def _labels(
    evidence: Evidence, usable: Mapping[str, Any], matches: Matches, counted: Count, seed: int
) -> dict[str, LabelSummary]:
    """Each label with its best node, and how well it is read from all informative nodes together."""
    informative = np.flatnonzero(counted.informative)
    summaries = {}
    for name, values in usable.items():
        pairs = matches.of_label(name)
        best = pairs[0] if pairs else None
        out = readout.read_out(evidence.mean[:, informative], values, seed=seed)
        linear = nearest = None
        if out is not None and not out.categorical:
            linear, nearest = out.linear, out.nearest
        classes = out if out is not None and out.categorical else None
        whole, pair = _together(evidence.mean, values, nodes=informative, seed=seed)
        summaries[name] = LabelSummary(
            n=best.n if best else 0,
            best_node=best.node if best and best.explains else None,
            shadow_of=list(best.shadow_of) if best else [],
            r2_linear=None if linear is None else number(linear.value),
            r2_knn=None if nearest is None else number(nearest.value),
            r2_linear_interval=None if linear is None else [number(linear.low), number(linear.high)],
            r2_knn_interval=None if nearest is None else [number(nearest.low), number(nearest.high)],
            named_rightly=None if classes is None else schema.Share(**asdict(classes.nearest)),
            guessed_rightly=None if classes is None else classes.guessed,
            together=whole,
            pair=pair,
        )
    return summaries


def _together(
    mean: Floats, label: Any, *, nodes: NDArray[np.intp], seed: int
) -> tuple[Told | None, Told | None]:
    """What all of these nodes tell of a label, and what the best two do."""
    found = told_together(mean[:, nodes], label, seed=seed)
    if found is None:
        return None, None

    def told(places: Sequence[int], shared: MutualInformation) -> Told:
        names = [int(nodes[i]) for i in places]
        return Told(names, shared.nats, shared.low, shared.high, shared.p)

    pair = None if found.pair is None or found.two is None else told(found.pair, found.two)
    return told(range(len(nodes)), found.whole), pair


def _field_scores(
    mean: Floats, usable: Mapping[str, Any], matches: Matches, *, nodes: list[int], seed: int
) -> FieldScores | None:
    """The measures of the field with the numeric labels that explain a node as factors; None below two."""
    strength: dict[str, float] = {}
    for name in usable:
        pairs = [pair for pair in matches.of_label(name) if pair.explains and not pair.shadow_of]
        if pairs and evidence_column(usable[name], name, categorical=None)[1] is False:
            strength[name] = max(pair.nats for pair in pairs)
    factors = sorted(strength, key=lambda name: -strength[name])[:MOST_FACTORS]
    if len(factors) < 2 or len(nodes) < 2:
        return None
    table = np.stack([evidence_column(usable[name], name, categorical=False)[0] for name in factors], axis=1)
    rows = np.isfinite(table).all(axis=1)
    codes, table = mean[rows][:, nodes], table[rows]
    if len(table) < disentanglement.FEWEST or (np.hstack([codes, table]).std(axis=0) == 0).any():
        return None
    scores = disentanglement.all_scores(codes, table, seed=seed)
    return FieldScores(
        factors=factors,
        nodes=nodes,
        n=int(rows.sum()),
        scores={name: [one.value, one.low, one.high] for name, one in scores.items()},
    )


def _dependence(codes: Floats, *, seed: int) -> list[float]:
    """Total correlation of these codes; nothing of fewer than two, or of too few targets."""
    if codes.shape[1] < 2 or len(codes) < disentanglement.FEWEST:
        return []
    found = disentanglement.total_correlation(codes, seed=seed)
    return [found.value, found.low, found.high]


def _warnings(evidence: Evidence, counted: Count, matches: Matches) -> list[str]:
    lines = list(evidence.warnings)
    if (rows := len(evidence.targets)) < FEW:
        facts = evidence.facts or EvidenceFacts("target", rows, rows)
        few = f"{rows} {facts.unit}s of evidence are few: intervals are wide, weak matches are missed"
        lines.append(few if facts.folds else f"{few}; --folds 5 would take evidence from every {facts.unit}")
    if not evidence.labels:
        lines.append("no labels were given: every informative node counts as unexplained")
    elif matches.left_out:
        why = "; ".join(f"{name}: {reason}" for name, reason in matches.left_out.items())
        none = len(matches.left_out) == len(evidence.labels)
        all_of_them = "no label can be used, so every informative node counts as unexplained" if none else ""
        lines.append(f"{all_of_them or 'labels left out'} ({why})")
    if not counted.agree:
        short = any("train for more steps" in one for one in evidence.warnings)  # that is said, then
        longer = "" if short else ", and train longer before trusting either"
        lines.append(f"the two counts differ: read them as a range{longer}")
    return lines


def _node_table(counted: Count) -> dict[str, Any]:
    rows = [counted.node(i) for i in range(len(counted.informative))]
    table: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    table["informative_by"] = [" ".join(row["informative_by"]) for row in rows]
    for name in ("statistical", "information", "mad"):
        method = getattr(counted, name)
        table |= {f"{name}_low": method.score_low, f"{name}_high": method.score_high}
    return table


def _line_table(lines: Mapping[int, Sequence[Enrichment]]) -> dict[str, Any]:
    """A row per node and group of lines."""
    rows = []
    for node, found in lines.items():
        for one in found:
            row = {"node": node, **asdict(one)}
            row["lines_in_window"] = row.pop("lines")
            row["top"] = ", ".join(name for _, name, _ in row.pop("top"))
            row["confused_with"] = ", ".join(row.pop("confused_with"))
            rows.append(row)
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
