"""What a map's axes and colours may be: nodes, labels, numbers of the index, components, outliers."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...figures.words import label_axis
from ..refusals import Refused, tidy
from .cache import Cache
from .columns import INDEX_NUMBERS, SAMPLE, Columns

COMPONENTS = 5
MOST_CATEGORIES = 20
UMAP_ROWS = 20_000  # that are laid out; the others are left blank: 300,000 would take a quarter of an hour
OWN = {"snr": "S/N", "time": "time", "berv": "barycentric velocity"}
UNITS = {"time": "MJD", "berv": "km/s", "ra": "deg", "dec": "deg"}


@dataclass(frozen=True, eq=False)
class Axis:
    """A column to draw: numbers (n,), NaN where not known; for texts the number of the category."""

    key: str
    title: str
    unit: str
    values: NDArray[np.float32]
    categories: tuple[str, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """What an answer says beside the values."""
        known = self.values[np.isfinite(self.values)]
        ends = None
        if self.categories is None and known.size:
            ends = [float(one) for one in np.quantile(known[:: max(1, known.size // SAMPLE)], [0.02, 0.98])]
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "kind": "number" if self.categories is None else "text",
            "range": ends,
            "categories": None if self.categories is None else list(self.categories),
        }


class Axes:
    """The columns of a study by key; docs/design/explorer.md lists the keys."""

    def __init__(self, columns: Columns, *, titles: dict[int, str]) -> None:
        self.columns, self.titles = columns, titles
        self._cache = Cache()

    def known(self) -> list[dict[str, str]]:
        """Key, title and kind of all there are."""
        known = [(f"node:{node}", self.titles[node], "number") for node in self.columns.nodes]
        known += [(f"label:{name}", tidy(name), kind) for name, kind in self.columns.labels.items()]
        known += [(f"pca:{i}", f"principal component {i + 1}", "number") for i in range(self._components())]
        if has_umap() and self._components():
            known += [(f"umap:{i}", f"UMAP {i + 1}", "number") for i in range(2)]
        if self.columns.outliers is not None:
            known.append(("outlier", "outlier score", "number"))
        index = self.columns.index
        for name in INDEX_NUMBERS:
            if name in index and bool(np.isfinite(self.columns.number(name)).any()):
                known.append((name if name in OWN else f"index:{name}", OWN.get(name, name), "number"))
        return [{"key": key, "title": title, "kind": kind} for key, title, kind in known]

    def axis(self, key: str) -> Axis:
        """The column of a key."""
        kind, _, name = key.partition(":")
        if kind == "node":
            node = _place(name, "node", 10**6)
            return Axis(key, self.titles.get(node, f"node {node}"), "", self.columns.mean(node))
        if kind == "label":
            return self._label(key, name)
        if kind == "pca":
            place = _place(name, "pca", max(0, self._components() - 1))
            return Axis(key, f"principal component {place + 1}", "", self._principal()[:, place])
        if kind == "umap":
            place = _place(name, "umap", 1)
            return Axis(key, f"UMAP {place + 1}", "", self._umap()[:, place])
        if key == "outlier":
            if self.columns.outliers is None:
                raise Refused(409, "this study has no outlier scores yet")
            return Axis(key, "outlier score", "", self.columns.outliers["score"])
        name = name if kind == "index" else key
        if name in INDEX_NUMBERS and name in self.columns.index:
            return Axis(key, OWN.get(name, name), UNITS.get(name, ""), self.columns.number(name))
        raise Refused(400, f"there is no column {tidy(key, longest=60)!r}; /api/study lists the axes")

    def _label(self, key: str, name: str) -> Axis:
        values = self.columns.label(name)
        unit = unit_of(name)
        if self.columns.labels[name] == "number":
            return Axis(key, tidy(name), unit, values)
        codes, names = self._cache(("categories", name), lambda: _categories(values))
        return Axis(key, tidy(name), unit, codes, names)

    def _components(self) -> int:
        return min(COMPONENTS, len(self.columns.nodes))

    def _whitened(self) -> NDArray[np.float32]:
        """Codes of the nodes that are no copies, in units of their spread (n, k)."""
        nodes = self.columns.distinct or self.columns.nodes
        if not nodes:
            raise Refused(409, "this study has no codes yet; run: astroprism encode")
        points = self.columns.means(nodes)
        points -= np.nanmean(points, axis=0)
        points /= np.maximum(np.nanstd(points, axis=0), 1e-12)
        return points

    def _principal(self) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            points = self._whitened()
            known = np.nan_to_num(points)
            _, vectors = np.linalg.eigh((known.T @ known).astype(np.float64))
            turned = vectors[:, ::-1][:, :COMPONENTS]
            turned = turned * np.sign(turned[np.abs(turned).argmax(0), np.arange(turned.shape[1])])
            made = np.full((len(points), self._components()), np.nan, np.float32)
            made[:, : turned.shape[1]] = points @ turned.astype(np.float32)
            return made

        return self._cache("pca", make)  # type: ignore[no-any-return]

    def _umap(self) -> NDArray[np.float32]:
        if not has_umap():
            raise Refused(409, "UMAP is not installed; run: pip install umap-learn")

        def make() -> NDArray[np.float32]:
            import umap

            points = self._whitened()
            known = np.flatnonzero(np.isfinite(points).all(1))
            rows = known[:: max(1, -(-known.size // UMAP_ROWS))]
            made = np.full((len(points), 2), np.nan, np.float32)
            made[rows] = umap.UMAP(random_state=0, n_jobs=1).fit_transform(points[rows])
            return made

        return self._cache("umap", make)  # type: ignore[no-any-return]


@functools.cache
def has_umap() -> bool:
    """Whether UMAP is installed."""
    return importlib.util.find_spec("umap") is not None


def unit_of(label: str) -> str:
    """The usual unit of a label; '' where none is listed."""
    axis = label_axis(label)
    return axis.removeprefix(f"{label} (").removesuffix(")") if axis != label else ""


def _place(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and int(text) <= most):
        raise Refused(400, f"{what}:{tidy(text, longest=20)} is not there; numbers begin with 0")
    return int(text)


def _categories(values: NDArray[np.object_]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Numbers of the commonest texts, and their names; all others are one."""
    import pandas as pd

    codes, names = pd.factorize(pd.Series(values, dtype=object))
    count = np.bincount(codes[codes >= 0], minlength=len(names))
    order = np.argsort(-count, kind="stable")
    common = order if len(order) <= MOST_CATEGORIES else order[: MOST_CATEGORIES - 1]
    rank = np.full(len(names) + 1, len(common), np.float32)
    rank[common] = np.arange(len(common))
    rank[-1] = np.nan  # factorize gives -1 where there is no text
    texts = [tidy(names[i], longest=60) for i in common]
    return rank[codes], tuple(texts if len(common) == len(order) else [*texts, "other"])
