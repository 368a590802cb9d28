"""The result of section 6, and what stands and what does not, in sentences made from the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

EXPLAINS, DISCOVERY = 0.1, 0.05  # a label explains a node: low end in nats, and q
FAINT = 0.1  # nats: a node that carries less is hardly used
FOLDED = 0.3  # share of variance by which reading back one way must beat the other


@dataclass(frozen=True, eq=False)
class Section6:
    """Both halves of section 6 as tables, and the rows that they were made from.

    nodes    a row per node: its dispersion, both ways, with interval; its noise; the nats it carries
    labels   a row per label: kind, spectra used, which node is strongest by which measure
    plugin   a row per (label, node, bins): the paper's estimate, scaled as in its maps, and its null
    matches  a row per (label, node): KSG of the mean code with interval, p, q; of the sampled code, which is
             what the decoder gets, where sd were given; and how well either is read back from the other
    codes    (spectra, nodes); values: the labels, NaN where blank, in the same rows
    informative, informative_by_mean   nodes above the thresholds, in rising order
    noise    'measured', 'implied' (by the means, see `implied_noise`) or 'unknown'
    notes    what was assumed or left out
    """

    nodes: pd.DataFrame
    labels: pd.DataFrame
    plugin: pd.DataFrame
    matches: pd.DataFrame
    codes: NDArray[np.float64]
    values: pd.DataFrame
    informative: tuple[int, ...]
    informative_by_mean: tuple[int, ...]
    threshold: float
    threshold_mean: float
    noise: str
    permutations: int
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table, by name."""
        tables = {"nodes": self.nodes, "labels": self.labels, "plugin": self.plugin, "matches": self.matches}
        return {name: table for name, table in tables.items() if len(table)}

    @property
    def verdict(self) -> tuple[str, ...]:
        """What stands and what does not, in sentences."""
        return verdict(self)

    def summary(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "spectra": len(self.codes),
            "nodes": self.codes.shape[1],
            "informative": list(self.informative),
            "informative_by_mean": list(self.informative_by_mean),
            "threshold": self.threshold,
            "threshold_mean": self.threshold_mean,
            "noise": self.noise,
            "labels": self.labels.to_dict(orient="records"),
            "verdict": list(self.verdict),
            "notes": list(self.notes),
        }


def verdict(result: Section6) -> tuple[str, ...]:
    """Sentences: the count first, then one label after the other, then what nothing explains."""
    lines = [_count(result), *_faint(result)]
    if len(result.matches):
        lines += [
            _floor(result),
            *_tops(result),
            *_below_threshold(result),
            *_explained(result),
            *_folded(result),
        ]
    return tuple(lines)


def explained(result: Section6) -> pd.DataFrame:
    """Rows of `matches` in which a label explains an informative node, the strongest first."""
    table = result.matches
    chosen = (
        table["node"].isin(result.informative) & (table["mi_low"] >= EXPLAINS) & (table["q"] <= DISCOVERY)
    )
    if result.noise == "measured":
        chosen &= table["heard_low"] >= EXPLAINS
    return table[chosen].sort_values("mi_nats", ascending=False)


def _count(result: Section6) -> str:
    nodes = result.nodes
    k = len(result.informative)
    ordered = np.sort(nodes["mad"].to_numpy())[::-1]
    low = ordered[k] if k < len(ordered) else 0.0
    high = ordered[k - 1] if k else np.inf
    between = (
        f"any threshold between {low:.2g} and {high:.2g} counts the same"
        if k
        else f"the largest is {low:.2g}"
    )
    surely = int((nodes["mad_low"] > result.threshold).sum())
    at_most = int((nodes["mad_high"] > result.threshold).sum())
    by_mean = len(result.informative_by_mean)
    agree = set(result.informative) == set(result.informative_by_mean)
    return (
        f"Count: {_nodes(result.informative)} above a median absolute deviation of {result.threshold:g} "
        f"({surely} to {at_most} within the 90 % intervals; {between}). The mean absolute deviation with "
        f"{result.threshold_mean:g} finds {_nodes(result.informative_by_mean)}"
        + (
            ", the same."
            if agree
            else f": the count depends on measure and threshold ({k} against {by_mean})."
        )
    )


def _faint(result: Section6) -> list[str]:
    """Nodes whose spread is small beside their noise, and strong ones that the threshold misses."""
    if result.noise == "unknown":
        return []
    nats = result.nodes.set_index("node")["information_nats"]
    faint = [node for node in result.informative if nats[node] < FAINT]
    missed = [int(node) for node in nats.index[nats >= FAINT] if node not in result.informative]
    listed = ", ".join(f"{node}: {max(nats[node], 0):.2g} nat" for node in faint)
    lines = []
    if faint and result.noise == "measured":
        lines.append(
            f"Does not stand: {_nodes(faint)} above the threshold carry less than {FAINT:g} nat on their "
            f"spectra ({listed}); their spread is lost in the noise that the decoder gets with it."
        )
    elif faint:
        lines.append(
            f"Does not stand by dispersion alone: the spread of {_nodes(faint)} is small beside the noise "
            "that training adds, which follows from their mean squares. If that noise is even over spectra, "
            f"they carry at most {listed}; if it is small for a few spectra, more: the weights would show."
        )
    if missed:
        lines.append(f"Missed by the threshold: {_nodes(missed)}, which may carry more than {FAINT:g} nat.")
    return lines


def _floor(result: Section6) -> str:
    labels = result.labels
    share = labels["floor_share"]
    fine = int(result.plugin["bins"].max())
    outranked = sum(_outranked(result, name, fine) for name in labels["label"])
    text = f"Maps: at {fine} bins chance alone reaches {share.min():.0%} to {share.max():.0%} of the largest"
    return (
        f"{text} node; {outranked} times in {len(labels)} maps a node below the threshold outranks one above "
        "it that follows the label better. Brightness there is not information."
    )


def _outranked(result: Section6, label: str, bins: int) -> int:
    """Dead nodes that the map puts above an informative node which follows the label better."""
    plugin = result.plugin[(result.plugin["label"] == label) & (result.plugin["bins"] == bins)]
    values = plugin.set_index("node")["plugin_nats"]
    exact = result.matches[result.matches["label"] == label].set_index("node")["mi_nats"]
    dead = [node for node in values.index if node not in result.informative]
    alive = list(result.informative)
    return sum(any(values[node] > values[one] and exact[node] < exact[one] for one in alive) for node in dead)


def _tops(result: Section6) -> list[str]:
    """Labels whose strongest node depends on the bins, or is another without bias."""
    lines = []
    for row in result.labels.to_dict(orient="records"):
        coarse, fine, best = int(row["top_coarse"]), int(row["top_fine"]), int(row["top_ksg"])
        of_map = f"node {coarse} at any number of bins"
        if coarse != fine:
            of_map = f"node {coarse} with the fewest bins and {fine} with the most"
        if row["q"] > DISCOVERY:
            lines.append(
                f"{row['label']}: the map is brightest at {of_map}, but no node follows it "
                f"(q {row['q']:.2g})."
            )
        elif len({coarse, fine, best}) > 1:
            lines.append(
                f"{row['label']}: the map is brightest at {of_map}; without bias node {best} follows it "
                f"most, {row['ksg_nats']:.2f} nat [{row['ksg_low']:.2f}, {row['ksg_high']:.2f}], "
                f"q {row['q']:.2g}."
            )
    return lines


def _below_threshold(result: Section6) -> list[str]:
    """Nodes that carry nothing and yet follow a label: mutual information ignores scale."""
    table = result.matches
    chosen = (
        ~table["node"].isin(result.informative) & (table["mi_low"] >= EXPLAINS) & (table["q"] <= DISCOVERY)
    )
    table = table[chosen].sort_values("mi_nats", ascending=False)
    if not len(table):
        return []
    first = table.iloc[0]
    spread = float(result.nodes.set_index("node").loc[first["node"], "mad"])
    return [
        f"Does not stand: {_nodes(sorted(set(table['node'])))} below the threshold follow a label all the "
        f"same (first node {int(first['node'])}: {first['label']}, {first['mi_nats']:.2f} nat, unbiased). "
        f"Mutual information ignores scale: a mean code that moves by {spread:.1g} can order spectra, though "
        "the decoder gets none of it. Only nodes that are informative are matched."
    ]


def _explained(result: Section6) -> list[str]:
    table = explained(result)
    lines = []
    if len(table):
        best = [
            f"{row['node']} {row['label']} {row['mi_nats']:.2f} [{row['mi_low']:.2f}, {row['mi_high']:.2f}]"
            for row in table.groupby("node", sort=False).head(1).sort_values("node").to_dict(orient="records")
        ]
        lines.append(f"Stands: nodes that a label explains, with the strongest, nats: {'; '.join(best)}.")
    bare = [node for node in result.informative if node not in set(table["node"])]
    if bare:
        lines.append(
            f"No label given explains {_nodes(bare)}: nothing with a low end of {EXPLAINS:g} nat and "
            f"q <= {DISCOVERY:g}."
        )
    return lines


def _folded(result: Section6) -> list[str]:
    """Nodes that follow a label which cannot be read back from them."""
    table = explained(result)
    table = table[table["node_from_label"] - table["label_from_node"] > FOLDED]
    return [
        f"Node {row['node']} follows {row['label']} ({row['node_from_label']:.0%} of its variance), but the "
        f"label cannot be read back from it ({row['label_from_node']:.0%}): its curve folds over."
        for row in table.to_dict(orient="records")
    ]


def _nodes(nodes: tuple[int, ...] | list[int]) -> str:
    if not nodes:
        return "no node"
    return f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} ({', '.join(map(str, nodes))})"
