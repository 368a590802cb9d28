"""The measures for any embedding and its labels, without a study: counted causes, and matches with labels.

Arrays, pandas, pyarrow or astropy tables in; a frozen result out. docs/embeddings.md has worked examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..tables import as_table
from .count import Count, count
from .evidence import EvidenceError, Floats, checked_targets, column_values, one_per_target
from .match import Matches, match_labels
from .spacing import FEWEST, sampled_codes

if TYPE_CHECKING:
    import pandas as pd

MOST_LISTED = 20  # nodes in the text

_NUMBERS = (
    *("mi_nats", "mi_low", "mi_high", "p", "q", "share_of_entropy"),
    *("conditional_mi_nats", "conditional_low", "conditional_high"),
)


@dataclass(frozen=True)
class Described:
    """What was found of an embedding.

    count      how many of its nodes carry information, None without `sd`
    matches    every node with every label
    names      of the nodes: titles of columns, or numbers
    n          rows that took part; targets: stars among them; missing: rows without a finite code
    left_out   label or node -> why it took no part
    notes      what was assumed, in plain words
    """

    count: Count | None
    matches: Matches
    names: tuple[str, ...]
    n: int
    targets: int
    missing: int
    left_out: dict[str, str]
    notes: tuple[str, ...]

    def table(self) -> pd.DataFrame:
        """A row per node and label, the strongest first within a node: nats with interval, p, q ..."""
        import pandas as pd

        rows = [
            {"node": self.names[pair.node]} | pair.summary().to_json()
            for i in self._order()
            for pair in self.matches.of_node(i)
        ]
        table = pd.DataFrame(rows)
        table = table.astype({name: "float64" for name in _NUMBERS if name in table})
        for name in ("given", "shadow_of"):
            if name in table:
                table[name] = table[name].map(", ".join)
        return table

    def text(self) -> str:
        """A short text for people."""
        lines = [f"{len(self.names)} nodes, {self.n:,} rows, {self.targets:,} targets"]
        lines += self.count.text().splitlines() if self.count else []
        width = max((len(name) for name in self.names), default=0)
        order = self._order()
        for i in order[:MOST_LISTED]:
            own = [pair for pair in self.matches.of_node(i) if pair.explains and not pair.shadow_of]
            what = "; ".join(f"{p.label} {p.nats:.2f} ({p.low:.2f} to {p.high:.2f})" for p in own)
            counted = self.count.information if self.count else None
            carried = f"{counted.score[i]:6.2f} nats  " if counted else ""
            lines.append(f"  {self.names[i]:>{width}}  {carried}{what or 'no label explains it'}")
        if len(order) > MOST_LISTED:
            lines.append(f"  and {len(order) - MOST_LISTED} more; table() has all")
        lines += [f"  left out: {name} ({why})" for name, why in self.left_out.items()]
        lines += [f"  note: {one}" for one in self.notes]
        return "\n".join(lines)

    def _order(self) -> list[int]:
        """Nodes that took part: by what they carry or, where nothing is counted, by their best label."""
        nodes = sorted({pair.node for pair in self.matches.pairs})
        if self.count and self.count.information:
            score = self.count.information.score
            return sorted(nodes, key=lambda i: -score[i])
        return sorted(nodes, key=lambda i: -max((p.nats for p in self.matches.of_node(i)), default=0.0))


def describe_embedding(
    codes: Any,
    labels: Any = None,
    *,
    sd: Any = None,
    targets: Any = None,
    seed: int = 0,
    conditional: bool = True,
) -> Described:
    """How many nodes of an embedding carry information, and which labels each of them follows.

    codes    (n, nodes), an array or a table of numbers; rows that are not finite are left out and counted
    labels   a table (pandas, pyarrow, astropy, a path) or a dict of columns, in the order of the codes:
             numbers or text, blank where unknown
    sd       (n, nodes) the errors of the codes; without them nothing is counted, and information is that of
             the codes as they are, however faint
    targets  (n,) the star of each row, or the title of that column in the table: one row per star is used
    """
    names, z = _codes(codes, "codes")
    n, nodes = z.shape
    frame, notes = _labels(labels, n)
    if isinstance(targets, str):
        if targets not in frame:
            raise EvidenceError(f"labels have no column {targets!r}; they have {', '.join(frame) or 'none'}")
        targets = frame.pop(targets)
    stars = checked_targets(targets)
    if stars is not None and len(stars) != n:
        raise EvidenceError(f"{n} rows of codes, but {len(stars)} targets; give each row its target")
    errors = None if sd is None else _codes(sd, "sd")[1]
    if errors is not None and errors.shape != z.shape:
        raise EvidenceError(f"codes are {z.shape} and sd {errors.shape}; give an error for each code")
    good = np.isfinite(z).all(axis=1)
    if errors is not None:
        good &= np.isfinite(errors).all(axis=1)
    rows = np.flatnonzero(good)
    if rows.size < FEWEST:
        raise EvidenceError(
            f"{rows.size} of {n} rows have finite codes; {FEWEST} are needed. Columns with blanks: "
            f"{_some(names, ~np.isfinite(z).all(axis=0))}"
        )
    z, frame = z[rows], {name: values[rows] for name, values in frame.items()}
    stars = None if stars is None else stars[rows]
    first = one_per_target(np.arange(rows.size), stars, np.random.default_rng(seed))
    left_out = {}
    if errors is None:
        notes.append(
            "no errors of the codes were given: nothing is counted, and a node may follow a label however "
            "faintly; see docs/embeddings.md"
        )
        found = None
        flat = (z == z[0]).all(axis=0)
        left_out = {names[i]: "a node of one value only" for i in np.flatnonzero(flat)}
        chosen = [int(i) for i in np.flatnonzero(~flat)]
    else:
        found = count(z[first], errors[rows][first], seed=seed)
        z, chosen = sampled_codes(z, errors[rows], seed=seed), list(range(nodes))
    matches = match_labels(z, frame, nodes=chosen, targets=stars, seed=seed, conditional=conditional)
    notes += [f"{name}: {text}" for name, text in matches.pooled.items()]
    return Described(
        count=found,
        matches=matches,
        names=names,
        n=int(rows.size),
        targets=int(first.size),
        missing=int(n - rows.size),
        left_out=left_out | matches.left_out,
        notes=tuple(notes + ([f"{n - rows.size:,} rows without finite codes"] if rows.size < n else [])),
    )


def _codes(values: Any, what: str) -> tuple[tuple[str, ...], Floats]:
    """(titles, (n, nodes)) of an array or table of numbers."""
    if hasattr(values, "colnames") or hasattr(values, "column_names"):  # astropy, pyarrow
        values = values.to_pandas()
    titles = [str(name) for name in values.columns] if hasattr(values, "columns") else None
    if titles:
        array = np.column_stack([_numbers(values.iloc[:, i], title, what) for i, title in enumerate(titles)])
    else:
        array = column_values(values)
    if array.ndim == 1 and array.dtype.kind in "fiu":
        array = array[:, None]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] == 0:
        raise EvidenceError(
            f"{what} must be numbers (rows, nodes), not {array.dtype.name} of shape {array.shape}; flatten "
            "each row's code to one line"
        )
    return tuple(titles or map(str, range(array.shape[1]))), array.astype(np.float64)


def _numbers(values: Any, title: str, what: str) -> Floats:
    try:
        return column_values(values).astype(np.float64)
    except (TypeError, ValueError):
        raise EvidenceError(
            f"column {title!r} of {what} is not numeric; give the columns of the codes alone"
        ) from None


def _labels(labels: Any, n: int) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """(title -> (n,) column with what means "missing" blanked, remarks)."""
    import pandas as pd

    if labels is None:
        return {}, ["no labels were given"]
    if isinstance(labels, Mapping):
        held = {str(name): column_values(values) for name, values in labels.items()}
        wrong = {name: one.shape for name, one in held.items() if one.shape != (n,)}
        if wrong:
            name, shape = next(iter(wrong.items()))
            raise EvidenceError(
                f"label {name!r} is of shape {shape}, the codes have {n} rows; give each row one"
            )
        labels = pd.DataFrame(held)
    elif hasattr(labels, "column_names"):
        labels = labels.to_pandas()
    elif isinstance(labels, pd.Series):
        labels = labels.to_frame()
    elif isinstance(labels, np.ndarray):
        labels = pd.DataFrame({"label": labels}) if labels.ndim == 1 else pd.DataFrame(labels)
    frame = as_table(labels)
    if len(frame) != n:
        raise EvidenceError(f"{n} rows of codes and {len(frame)} of labels; give one row each, in order")
    notes = [str(one) for one in frame.attrs["notes"]]
    for name, taken in frame.attrs["missing"].items():
        listed = ", ".join(f"{value} x {times}" for value, times in taken.items() if value != "masked")
        if listed:
            notes.append(f"{name}: taken as missing: {listed}")
    return {str(name): column_values(frame[name]) for name in frame}, notes


def _some(names: tuple[str, ...], chosen: Any) -> str:
    some = [names[i] for i in np.flatnonzero(chosen)]
    return ", ".join(some[:5]) + (" ..." if len(some) > 5 else "") if some else "none"
