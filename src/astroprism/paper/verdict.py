"""What of section 6 stands and what does not, in sentences made from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from . import Section6

FAINT = 0.1  # nats: a node that tells less of its spectrum is hardly used
FOLDED = 0.3  # share of variance by which reading back one way must beat the other


def verdict(result: Section6) -> tuple[str, ...]:
    """Sentences, the count first, then a label at a time, then what nothing explains."""
    said = [_count(result), *_faint(result)]
    if len(result.matches):
        said += [_floor(result), *_tops(result), *_whispers(result), *_explained(result), *_folded(result)]
    return tuple(said)


def explained(result: Section6) -> pd.DataFrame:
    """Rows of `matches` in which a label explains an informative node, the strongest first."""
    from . import DISCOVERY, EXPLAINS

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
        + (", the same." if agree else f": the count hangs on measure and threshold ({k} against {by_mean}).")
    )


def _faint(result: Section6) -> list[str]:
    """Nodes whose spread is small beside their noise, and loud ones that the threshold misses."""
    if result.noise == "unknown":
        return []
    told = result.nodes.set_index("node")["information_nats"]
    faint = [node for node in result.informative if told[node] < FAINT]
    loud = [int(node) for node in told.index[told >= FAINT] if node not in result.informative]
    listed = ", ".join(f"{node}: {max(told[node], 0):.2g} nat" for node in faint)
    said = []
    if faint and result.noise == "measured":
        said.append(
            f"Does not stand: {_nodes(faint)} above the threshold tell less than {FAINT:g} nat of their "
            f"spectra ({listed}); their spread drowns in the noise that the decoder hears with it."
        )
    elif faint:
        said.append(
            f"Does not stand by dispersion alone: the spread of {_nodes(faint)} is small beside the noise "
            "that training adds, as their mean squares tell. Were that noise even over spectra, they told at "
            f"most {listed}. Sharp for a few spectra, they may tell more: the weights would show."
        )
    if loud:
        said.append(f"Missed by the threshold: {_nodes(loud)}, which may tell more than {FAINT:g} nat.")
    return said


def _floor(result: Section6) -> str:
    labels = result.labels
    share = labels["floor_share"]
    fine = int(result.plugin["bins"].max())
    outranked = sum(_outranked(result, name, fine) for name in labels["label"])
    text = f"Maps: at {fine} bins chance alone reaches {share.min():.0%} to {share.max():.0%} of the largest"
    return (
        f"{text} node; {outranked} times in {len(labels)} maps a node below the threshold outranks one above "
        "it that knows more. Brightness there is not information."
    )


def _outranked(result: Section6, label: str, bins: int) -> int:
    """Dead nodes that the map puts above an informative node which knows more of the label."""
    plugin = result.plugin[(result.plugin["label"] == label) & (result.plugin["bins"] == bins)]
    values = plugin.set_index("node")["plugin_nats"]
    exact = result.matches[result.matches["label"] == label].set_index("node")["mi_nats"]
    dead = [node for node in values.index if node not in result.informative]
    alive = list(result.informative)
    return sum(any(values[node] > values[one] and exact[node] < exact[one] for one in alive) for node in dead)


def _tops(result: Section6) -> list[str]:
    """Labels whose strongest node hangs on the bins, or is another once bias is removed."""
    from . import DISCOVERY

    said = []
    for row in result.labels.to_dict(orient="records"):
        coarse, fine, best = int(row["top_coarse"]), int(row["top_fine"]), int(row["top_ksg"])
        of_map = f"node {coarse} at any number of bins"
        if coarse != fine:
            of_map = f"node {coarse} with the fewest bins and {fine} with the most"
        if row["q"] > DISCOVERY:
            said.append(
                f"{row['label']}: the map is brightest at {of_map}, but no node knows it (q {row['q']:.2g})."
            )
        elif len({coarse, fine, best}) > 1:
            said.append(
                f"{row['label']}: the map is brightest at {of_map}; without bias node {best} knows most, "
                f"{row['ksg_nats']:.2f} nat [{row['ksg_low']:.2f}, {row['ksg_high']:.2f}], q {row['q']:.2g}."
            )
    return said


def _whispers(result: Section6) -> list[str]:
    """Nodes that carry nothing and yet know a label: mutual information is blind to scale."""
    from . import DISCOVERY, EXPLAINS

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
        f"Does not stand: {_nodes(sorted(set(table['node'])))} below the threshold know a label all the same "
        f"(first node {int(first['node'])}: {first['label']}, {first['mi_nats']:.2f} nat, unbiased). Mutual "
        f"information is blind to scale: a mean code that moves by {spread:.1g} can order spectra, and the "
        "decoder hear none of it. Only nodes that are informative are matched."
    ]


def _explained(result: Section6) -> list[str]:
    from . import DISCOVERY, EXPLAINS

    table = explained(result)
    said = []
    if len(table):
        best = [
            f"{row['node']} {row['label']} {row['mi_nats']:.2f} [{row['mi_low']:.2f}, {row['mi_high']:.2f}]"
            for row in table.groupby("node", sort=False).head(1).sort_values("node").to_dict(orient="records")
        ]
        said.append(f"Stands: nodes that a label explains, with the strongest, nats: {'; '.join(best)}.")
    bare = [node for node in result.informative if node not in set(table["node"])]
    if bare:
        said.append(
            f"No label given explains {_nodes(bare)}: nothing with a low end of {EXPLAINS:g} nat and "
            f"q <= {DISCOVERY:g}."
        )
    return said


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
