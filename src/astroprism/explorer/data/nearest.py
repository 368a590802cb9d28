"""The spectra most like one, by the codes of chosen nodes, out of all of the study.

Shapes: n spectra, k nodes compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...similar.distances import Neighbours
from ...similar.metric import Metric, metric
from ..refusals import Refused
from .cache import Cache
from .columns import Columns

KEPT = 3  # choices of nodes whose points are kept: at 300,000 spectra and 24 nodes 30 MB each
MOST = 200


@dataclass(frozen=True, eq=False)
class Compared:
    """One choice of nodes: rows (n,) of the store that have codes, columns read, and their points."""

    rows: NDArray[np.intp]
    columns: list[int]
    metric: Metric
    points: Neighbours

    @property
    def nodes(self) -> list[int]:
        """Nodes compared."""
        return [self.columns[place] for place in self.metric.nodes]


class Nearest:
    """Nearest spectra by any nodes; what a choice of nodes needs is computed when it is first needed."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._cache = Cache(size=KEPT)

    def compared(self, nodes: Sequence[int] | None, *, nuisances: bool) -> Compared:
        """What is needed to compare these nodes; None: all informative ones, less nuisances unless wanted."""
        known = self.columns.nodes
        if nodes is not None and (strange := [node for node in nodes if node not in known]):
            raise Refused(404, f"node {strange[0]} is none of those shown: {', '.join(map(str, known))}")
        chosen = list(dict.fromkeys(nodes)) if nodes is not None else list(self.columns.distinct)
        beside = {} if nuisances else {k: v for k, v in self.columns.nuisances.items() if k in known}
        if nodes is not None:
            beside = {node: why for node, why in beside.items() if node not in chosen}
        left = [node for node in chosen if node not in beside]
        if not left:
            if not chosen:
                raise Refused(409, "no node is there to compare; run: astroprism encode, then find")
            left, beside = chosen, {}  # nothing but nuisances: they are all that there is to compare
        key = (tuple(left), tuple(sorted(beside)))
        return self._cache(key, lambda: self._make(left, beside))  # type: ignore[no-any-return]

    def _make(self, nodes: list[int], beside: Mapping[int, str]) -> Compared:
        both = [*nodes, *sorted(beside)]
        mean = self.columns.means(both)
        sd = np.stack([self.columns.sd(node) for node in both], axis=1)
        rows = np.flatnonzero(np.isfinite(mean).all(1) & np.isfinite(sd).all(1))
        if not rows.size:
            raise Refused(409, "no spectrum has a code yet; run: astroprism encode")
        if rows.size < len(mean):
            mean, sd = mean[rows], sd[rows]
        place = {node: i for i, node in enumerate(both)}
        found = metric(
            mean,
            sd,
            nodes=[place[node] for node in nodes],
            left_out={place[node]: why for node, why in beside.items()},
            targets=self.columns.index["target"].to_numpy(dtype=object)[rows] if beside else None,
        )
        return Compared(rows, both, found, Neighbours(found.points(mean)))

    def of_row(
        self, row: int, *, n: int = 10, nodes: Sequence[int] | None = None, nuisances: bool = False
    ) -> dict[str, Any]:
        """The n spectra nearest to a spectrum of the store, itself left out."""
        self.columns.check(row)
        compared = self.compared(nodes, nuisances=nuisances)
        at = int(np.searchsorted(compared.rows, row))
        if at >= compared.rows.size or compared.rows[at] != row:
            raise Refused(404, f"spectrum {row} has no code yet; run: astroprism encode")
        code = np.array([self.columns.mean(node)[row] for node in compared.columns])
        return {
            "row": row,
            **self._query(compared, code, n=n, exclude=[at], target=self.columns.brief(row)["target"]),
        }

    def of_code(
        self, code: NDArray[np.floating], *, n: int = 10, nuisances: bool = False, target: str | None = None
    ) -> dict[str, Any]:
        """The n spectra nearest to a code (nodes of the network,)."""
        compared = self.compared(None, nuisances=nuisances)
        return self._query(compared, code[compared.columns], n=n, exclude=None, target=target)

    def _query(
        self,
        compared: Compared,
        code: NDArray[np.floating],
        *,
        n: int,
        exclude: list[int] | None,
        target: str | None,
    ) -> dict[str, Any]:
        if not 1 <= n <= MOST:
            raise Refused(400, f"n {n} is outside of 1 .. {MOST}")
        found, distance = compared.points.query(compared.metric.points(code), n, exclude=exclude)
        listed = []
        for place, apart in zip(found, distance, strict=True):
            row = int(compared.rows[place])
            one = self.columns.brief(row)
            listed.append(
                one
                | {
                    "distance": float(apart),
                    "snr": float(self.columns.number("snr")[row]),
                    "labels": self.columns.labels_of(row),
                    "same_target": bool(target) and one["target"] == target,
                }
            )
        left_out = {str(compared.columns[place]): why for place, why in compared.metric.left_out.items()}
        return {
            "nodes": compared.nodes,
            "left_out": left_out,
            "scale": compared.metric.scale,
            "neighbours": listed,
        }
