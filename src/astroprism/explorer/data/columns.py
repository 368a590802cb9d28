"""Columns of a study, one value per spectrum in the store's order: names, numbers, labels, codes, outliers.

Each is read when it is first needed, numbers as float32. Shapes: n spectra, k nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...folder import StudyFolder
from ...model.encode import codes_facts
from ...schema import CodesFacts, Findings, ModelFacts, Node
from ...similar.metric import nuisances
from ...targets import split
from ..refusals import Refused
from .cache import Cache

if TYPE_CHECKING:
    import pandas as pd

INDEX_NUMBERS = ("snr", "time", "berv", "resolution", "ra", "dec", "n_good", "scale")
SAMPLE = 40_000  # rows that quantiles are taken of
LONGEST_SEARCH = 100  # characters


class Columns:
    """What the explorer reads of a study besides spectra and network."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        self._cache = Cache()

    def __len__(self) -> int:
        return len(self.folder.store)

    @property
    def index(self) -> pd.DataFrame:
        """The store's index."""
        return self._cache("index", lambda: self.folder.index)  # type: ignore[no-any-return]

    def text(self, name: str) -> Any:
        """A text of the index as a pyarrow array: 300,000 Python strings would take 30 MB."""
        import pyarrow as pa

        return self._cache(("text", name), lambda: pa.array(self.index[name], pa.string()))

    @property
    def model_facts(self) -> ModelFacts | None:
        """model.json; None where no network was trained."""
        return self._cache("model", self.folder.model_facts)  # type: ignore[no-any-return]

    @property
    def findings(self) -> Findings | None:
        """findings.json; None where `find` was not run."""

        def read() -> Findings | None:
            return self.folder.findings() if self.folder.has_findings() else None

        return self._cache("findings", read)  # type: ignore[no-any-return]

    def found(self, node: int) -> Node | None:
        """What `find` found of a node; None where it found nothing."""
        nodes = self.findings.nodes if self.findings is not None else ()
        return next((one for one in nodes if one.node == node), None)

    def table(self, name: str) -> pd.DataFrame | None:
        """A table beside the findings; None where it is not there."""

        def read() -> pd.DataFrame | None:
            return self.folder.finding_table(name) if self.folder.table_path(name).exists() else None

        return self._cache(("table", name), read)  # type: ignore[no-any-return]

    # --- labels

    @property
    def labels(self) -> dict[str, str]:
        """Name of each label -> number or text."""

        def read() -> dict[str, str]:
            from pyarrow import parquet, types

            path = self.folder.table_path("labels")
            if not path.exists():
                return {}
            schema = parquet.read_schema(path)
            return {
                field.name: "text"
                if types.is_string(field.type) or types.is_large_string(field.type)
                else "number"
                for field in schema
                if field.name != "spectrum_id" and not types.is_nested(field.type)
            }

        return self._cache("labels", read)  # type: ignore[no-any-return]

    def label(self, name: str) -> NDArray[Any]:
        """Values of a label (n,): float32, or texts with None where there is none."""
        if name not in self.labels:
            raise Refused(
                404, f"the findings know no label {name!r}; known: {', '.join(self.labels) or 'none'}"
            )
        return self._cache(("label", name), lambda: self._read_label(name))  # type: ignore[no-any-return]

    def _read_label(self, name: str) -> NDArray[Any]:
        from pyarrow import parquet

        table = parquet.read_table(self.folder.table_path("labels"), columns=["spectrum_id", name])
        column = table[name].to_pandas()
        if self.labels[name] == "number":
            values: NDArray[Any] = column.to_numpy(dtype=np.float32, na_value=np.nan)
            empty: Any = np.nan
        else:
            values = column.astype(object).to_numpy()
            values = np.array([one if isinstance(one, str) and one else None for one in values], dtype=object)
            empty = None
        return self._in_order(table["spectrum_id"], values, empty)

    def _in_order(self, names: Any, values: NDArray[Any], empty: Any) -> NDArray[Any]:
        """Values by identifier -> values in the store's order."""
        place = self._places(names)
        if place is None:
            return values
        out = np.full(len(self), empty, dtype=values.dtype)
        known = place >= 0
        out[known] = values[place[known]]
        return out

    def _places(self, names: Any) -> NDArray[np.intp] | None:
        """Of each spectrum of the store its row in a table with identifiers `names`, -1 where it has none.

        None where the two are the same.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        own = self.text("spectrum_id")
        there = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
        there = there.cast(pa.string())
        if there.equals(own):
            return None
        found = pc.index_in(own, value_set=there)
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.intp)

    # --- codes

    @property
    def has_codes(self) -> bool:
        """Whether there is a table of codes."""
        return self.codes_path.exists()

    @property
    def unpruned(self) -> bool:
        """Whether codes and model are the unpruned: where the pruned lack a node that findings count."""
        return self._cache("unpruned", self._needs_unpruned)  # type: ignore[no-any-return]

    def _needs_unpruned(self) -> bool:
        if self.findings is None or not self.folder.has_codes():
            return False
        kept = codes_facts(self.folder.codes_path()).kept
        counted = {one.node for one in self.findings.informative}
        return not counted <= set(kept) and self.folder.has_codes(unpruned=True)

    @property
    def codes_path(self) -> Path:
        """The table of codes that the pages show."""
        return self.folder.codes_path(unpruned=self.unpruned)

    @property
    def codes_facts(self) -> CodesFacts:
        """How those codes were made."""
        return self._cache("codes facts", lambda: codes_facts(self.codes_path))  # type: ignore[no-any-return]

    @property
    def nodes(self) -> list[int]:
        """Nodes on the pages: informative or doubtful, the strongest first; without findings, those kept."""
        return self._cache("nodes", self._nodes)  # type: ignore[no-any-return]

    def _nodes(self) -> list[int]:
        if not self.has_codes:
            return []
        if self.findings is None:
            return list(self.codes_facts.kept)
        counted = [one for one in self.findings.nodes if one.counted]
        counted.sort(
            key=lambda one: (not one.informative, one.copies_of is not None, -(one.ablation_nats or 0))
        )
        return [one.node for one in counted if one.node < self.codes_facts.nodes]

    @property
    def distinct(self) -> list[int]:
        """Those of `nodes` that are informative and copies of no other; without findings, all."""
        if self.findings is None:
            return self.nodes
        alone = {one.node for one in self.findings.informative}
        return [node for node in self.nodes if node in alone]

    @property
    def nuisances(self) -> dict[int, str]:
        """Nodes of the velocity, the atmosphere, the noise or the instrument, and why."""
        return self._cache(  # type: ignore[no-any-return]
            "nuisances", lambda: {} if self.findings is None else nuisances(self.findings)
        )

    @property
    def outliers(self) -> dict[str, Any] | None:
        """score and p (n,), reasons, as `outliers` judged them; None where it did not run."""
        return self._cache("outliers", self._read_outliers)  # type: ignore[no-any-return]

    def _read_outliers(self) -> dict[str, Any] | None:
        from pyarrow import parquet

        path = self.folder.path / "outliers.parquet"
        if not path.exists():
            return None
        names = {"score": "surprise", "p": "p", "reasons": "reasons"}
        if not {"spectrum_id", *names.values()} <= set(parquet.read_schema(path).names):
            return None  # of another version: `outliers` makes it again
        table = parquet.read_table(path, columns=["spectrum_id", *names.values()])
        columns: dict[str, Any] = {
            name: self._in_order(table["spectrum_id"], table[column].to_numpy().astype(np.float32), np.nan)
            for name, column in list(names.items())[:2]
        }
        reasons = np.array(table[names["reasons"]].to_pylist(), dtype=object)
        return columns | {"reasons": self._in_order(table["spectrum_id"], reasons, "")}

    @property
    def decoded(self) -> list[int]:
        """Nodes that the decoder reads: all of the unpruned network, else those kept, and `nodes`."""
        if self.unpruned:
            return list(range(self.codes_facts.nodes))
        return sorted({*self.codes_facts.kept, *self.nodes})

    def mean(self, node: int) -> NDArray[np.float32]:
        """Mean codes of a node (n,); NaN where a spectrum has no code yet."""
        return self._code("mean", node)

    def sd(self, node: int) -> NDArray[np.float32]:
        """Standard deviations of the codes of a node (n,)."""
        return self._code("sd", node)

    def _code(self, kind: str, node: int) -> NDArray[np.float32]:
        if not self.has_codes:
            raise Refused(409, "this study has no codes yet; run: astroprism encode")
        if not 0 <= node < self.codes_facts.nodes:
            raise Refused(404, f"there is no node {node}; the network has 0 .. {self.codes_facts.nodes - 1}")
        return self._cache((kind, node), lambda: self._read_codes([f"{kind}_{node:03d}"])[0])  # type: ignore[no-any-return]

    def means(self, nodes: Sequence[int]) -> NDArray[np.float32]:
        """Mean codes of several nodes (n, k)."""
        self.load(nodes)
        return np.stack([self.mean(node) for node in nodes], axis=1)

    def load(self, nodes: Sequence[int]) -> None:
        """Read the columns of these nodes together."""

        def read() -> bool:
            wanted = [node for node in nodes if self._cache.get(("mean", node)) is None]
            if wanted:
                for node, column in zip(
                    wanted, self._read_codes([f"mean_{node:03d}" for node in wanted]), strict=True
                ):
                    self._cache.put(("mean", node), column)
            return True

        self._cache(("load", tuple(nodes)), read)

    def _read_codes(self, names: Sequence[str]) -> list[NDArray[np.float32]]:
        from pyarrow import parquet

        place = self._cache("code places", self._code_places)
        out = []
        # a few columns at a time: pyarrow's own copy of 128 would double the memory for a moment
        for start in range(0, len(names), 16):
            table = parquet.read_table(self.codes_path, columns=list(names[start : start + 16]))
            for name in names[start : start + 16]:
                values = table[name].to_numpy().astype(np.float32, copy=False)
                if place is not None:
                    whole = np.full(len(self), np.nan, np.float32)
                    whole[place >= 0] = values[place[place >= 0]]
                    values = whole
                out.append(values)
        return out

    def _code_places(self) -> NDArray[np.intp] | None:
        from pyarrow import parquet

        return self._places(parquet.read_table(self.codes_path, columns=["spectrum_id"])["spectrum_id"])

    def sample(self) -> NDArray[np.intp]:
        """Rows that quantiles are taken of: all, or evenly spread ones."""
        return np.arange(0, len(self), max(1, len(self) // SAMPLE))

    def row_codes(self, row: int) -> dict[int, tuple[float, float]]:
        """Node -> (mean, sd) of one spectrum, of `nodes`."""
        return {node: (float(self.mean(node)[row]), float(self.sd(node)[row])) for node in self.nodes}

    # --- one spectrum

    def check(self, row: int) -> int:
        """The row, if the store has it."""
        if not 0 <= row < len(self):
            raise Refused(404, f"there is no spectrum {row}; the store has 0 .. {len(self) - 1}")
        return row

    def number(self, name: str) -> NDArray[np.float32]:
        """A number of the index (n,); NaN where it is not known."""
        if name not in INDEX_NUMBERS or name not in self.index:
            raise Refused(404, f"the index has no number {name!r}")
        return self._cache(("number", name), lambda: self.index[name].to_numpy(np.float32))  # type: ignore[no-any-return]

    def labels_of(self, row: int) -> dict[str, Any]:
        """The labels of one spectrum."""
        values = {}
        for name, kind in self.labels.items():
            value = self.label(name)[row]
            values[name] = float(value) if kind == "number" else value
        return values

    def air(self, row: int) -> float:
        """How fast the atmosphere of a spectrum moves, km/s: its BERV, where that is in the wavelengths."""
        one = self.index.iloc[row]
        berv = float(one["berv"])
        return berv if one["frame"] == "barycentric" and np.isfinite(berv) else 0.0

    def part(self, row: int) -> str | None:
        """train, valid or test; None without a model."""
        if self.model_facts is None:
            return None
        shares = self.model_facts.split
        return str(self._cache(("parts",), lambda: split.as_trained(self.index, shares))[row])

    def brief(self, row: int) -> dict[str, Any]:
        """A spectrum in a list."""
        return {
            "row": int(row),
            "spectrum_id": self.text("spectrum_id")[int(row)].as_py(),
            "target": self.text("target")[int(row)].as_py(),
        }

    # --- many spectra

    def search(self, text: str, *, n: int) -> dict[str, Any]:
        """Spectra whose identifier or target contains the text, without regard to case."""
        import pyarrow.compute as pc

        wanted = text.strip()
        if not wanted or len(wanted) > LONGEST_SEARCH:
            raise Refused(400, f"give a text of 1 to {LONGEST_SEARCH} characters")
        hit = pc.or_(
            *(
                pc.fill_null(pc.match_substring(self.text(name), wanted, ignore_case=True), False)
                for name in ("spectrum_id", "target")
            )
        )
        rows = np.flatnonzero(hit.to_numpy(zero_copy_only=False))
        return {"total": int(rows.size), "found": [self.brief(int(row)) for row in rows[:n]]}

    def selection(self, rows: Sequence[int]) -> tuple[list[str], Iterator[list[Any]]]:
        """Names of the columns, and the rows: identifier, target, the file's name, S/N, labels."""
        for row in (min(rows), max(rows)) if rows else ():
            self.check(row)
        labels = [(name, self.label(name)) for name in self.labels]
        names = ["row", "spectrum_id", "target", "file", "snr", *(name for name, _ in labels)]
        chosen = np.array(rows, dtype=np.intp)
        files = self.index["path"].iloc[chosen].tolist() if "path" in self.index else [""] * len(rows)
        texts = [self.index[name].iloc[chosen].tolist() for name in ("spectrum_id", "target")]
        snr = self.number("snr")[chosen]
        values = [column[chosen] for _, column in labels]

        def lines() -> Iterator[list[Any]]:
            for i, row in enumerate(rows):
                file = PurePath(str(files[i])).name
                yield [row, texts[0][i], texts[1][i], file, snr[i], *(column[i] for column in values)]

        return names, lines()
