"""What a report reads from a study: tables, facts, codes of held-out targets; read once and kept."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import digest
from ..errors import AstroprismError, ModelError
from ..figures.cards import QUANTILES
from ..targets import split

if TYPE_CHECKING:
    import pandas as pd

    from ..study import Study

Floats = NDArray[np.float64]
MOST_CARDS = 40  # nodes with a card of their own; the others are rows of a table
MOST_TARGETS = 20_000  # dots of a figure


class Read:
    """A study as a report sees it. What is missing is None, and the report says how to make it."""

    def __init__(self, study: Study) -> None:
        self.study, self.store = study, study.store
        self.grid = self.store.grid

    # --- what is there

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row a spectrum."""
        return self.store.index

    @cached_property
    def model_facts(self) -> dict[str, Any] | None:
        """model.json."""
        from ..artifacts import read_json

        path = self.study.model_path / "model.json"
        return read_json(path) if path.exists() else None

    @cached_property
    def history(self) -> pd.DataFrame | None:
        """A row a moment of the training."""
        from ..model.history import read_history

        path = self.study.model_path / "history.parquet"
        return read_history(path) if self.model_facts is not None and path.exists() else None

    @cached_property
    def findings(self) -> dict[str, Any] | None:
        """findings.json."""
        there = (self.study.path / "findings.json").exists() and self.has_codes
        return self.study.findings() if there else None

    @property
    def has_codes(self) -> bool:
        """Are there codes to read?"""
        return self.model_facts is not None and (self.study.path / "codes_unpruned.parquet").exists()

    def table(self, name: str) -> pd.DataFrame:
        """A table beside findings.json; empty where there are no findings."""
        import pandas as pd

        return pd.DataFrame() if self.findings is None else self.study.finding_table(name)

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """Nodes that are informative or doubtful and no copies, the most costly to lose first."""
        nodes = [] if self.findings is None else self.findings["nodes"]
        mine = [one for one in nodes if (one["informative"] or one["doubtful"]) and one["copies_of"] is None]
        return sorted(mine, key=lambda one: (one["doubtful"], -(one["ablation_nats"] or 0.0)))

    @cached_property
    def node_scores(self) -> pd.DataFrame:
        """A row a node: scores, their intervals, and what the counts make of it."""
        told = self.table("nodes")
        nodes = [] if self.findings is None else self.findings["nodes"]
        states = [
            "below"
            if not (one["informative"] or one["doubtful"])
            else "copy"
            if one["copies_of"] is not None
            else "informative"
            if one["informative"]
            else "doubtful"
            for one in nodes
        ]
        return told.assign(state=states).rename(
            columns={f"statistical_{end}": f"ablation_{end}" for end in ("low", "high")}
        )

    # --- held-out targets and their codes

    @cached_property
    def held(self) -> NDArray[np.intp]:
        """Positions of one seeded spectrum of every held-out target that has a code: what findings read."""
        if self.model_facts is None or not self.has_codes:
            return np.zeros(0, np.intp)
        shares, seed = self.model_facts["split"], self.seed
        targets = self.index["target"].to_numpy(dtype=object)
        names = self.index["spectrum_id"].to_numpy(dtype=object)
        parts = split.assign(targets, shares["seed"], valid=shares["valid"], test=shares["test"])
        coded = self._read_codes([])["spectrum_id"]
        rows = np.flatnonzero((parts != "train") & np.isin(names, coded.to_numpy(dtype=object)))
        if rows.size:
            rows = rows[split.one_per_target(targets[rows], seed, identifiers=names[rows])]
        if rows.size > MOST_TARGETS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_TARGETS, replace=False))
        return rows

    @property
    def seed(self) -> int:
        """The seed that findings were made with."""
        return int(self.findings["provenance"]["seed"]) if self.findings is not None else 0

    def _read_codes(self, columns: list[str], *, wanted: set[str] | None = None) -> pd.DataFrame:
        """Columns of the codes, of the wanted spectra: never the whole table of a survey at once."""
        import pandas as pd
        from pyarrow import parquet

        from ..model.encode import codes_facts

        path = self.study.path / "codes_unpruned.parquet"
        codes_facts(path)
        with parquet.ParquetFile(path) as file:
            parts = []
            for batch in file.iter_batches(batch_size=16_384, columns=["spectrum_id", *columns]):
                frame = batch.to_pandas()
                parts.append(frame if wanted is None else frame[frame["spectrum_id"].isin(wanted)])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"spectrum_id": []})

    @cached_property
    def nodes(self) -> int:
        """How many nodes the network has."""
        assert self.model_facts is not None
        return int(self.model_facts["network"]["config"]["n_latent"])

    @cached_property
    def means(self) -> Floats:
        """Mean codes of the held-out targets (held, nodes)."""
        names = [f"mean_{i:03d}" for i in range(self.nodes)]
        return self._of_held(names)

    def sds(self, node: int) -> Floats:
        """The noise of one node's codes (held,)."""
        return self._of_held([f"sd_{node:03d}"])[:, 0]

    def _of_held(self, names: list[str]) -> Floats:
        identifiers = self.index["spectrum_id"].iloc[self.held]
        found = self._read_codes(names, wanted=set(identifiers)).set_index("spectrum_id")
        return found.loc[list(identifiers)].to_numpy(dtype=np.float64)

    def quantiles(self, node: int) -> Floats:
        """Codes at the quantiles of the figures (5,)."""
        return np.asarray(np.quantile(self.means[:, node], QUANTILES), dtype=np.float64)

    def spread(self, node: int) -> float:
        """Half of what holds the middle 68 % of a node's codes."""
        low, high = np.quantile(self.means[:, node], [0.16, 0.84])
        return float(high - low) / 2

    # --- the archive, labels

    def label(self, name: str) -> pd.Series[Any]:
        """A label of the held-out targets."""
        import pandas as pd

        path = self.study.path / "findings" / "labels.parquet"
        told = pd.read_parquet(path, columns=["spectrum_id", name]).set_index("spectrum_id")[name]
        return told.reindex(self.index["spectrum_id"].iloc[self.held]).reset_index(drop=True)

    def time(self) -> Floats:
        """Dates of the held-out targets (MJD); NaN where unknown."""
        if "time" not in self.index:
            return np.full(self.held.size, np.nan)
        return self.index["time"].to_numpy(dtype=np.float64)[self.held]

    @property
    def has_outliers(self) -> bool:
        """Were the spectra judged?"""
        return self.findings is not None and (self.study.path / "outliers.parquet").exists()

    @cached_property
    def outliers(self) -> pd.DataFrame | None:
        """Every spectrum with the p of its oddity, the oddest first; None where they were not judged."""
        import pandas as pd

        return pd.read_parquet(self.study.path / "outliers.parquet") if self.has_outliers else None

    def stale(self) -> list[str]:
        """What was made from something that has changed since."""
        from ..model.encode import codes_facts

        told = []
        if self.model_facts is not None and self.model_facts["store"]["spectra"] < len(self.store):
            new = len(self.store) - self.model_facts["store"]["spectra"]
            told.append(f"{new:,} spectra were ingested after the training: the model never saw them")
        if self.has_codes:
            codes = codes_facts(self.study.path / "codes_unpruned.parquet")
            if codes.get("weights") != digest(self.study.model_path / "unpruned.safetensors"):
                raise ModelError(
                    f"the codes of {self.study.path} are of another model than the one there; run: "
                    f"astroprism "
                    f"encode {self.study.path}"
                )
            if codes["spectra"] < len(self.store):
                told.append(f"{len(self.store) - codes['spectra']:,} spectra have no codes yet; run encode")
        if self.findings is not None:
            made_from = self.findings["provenance"]
            if made_from["weights"] != digest(self.study.model_path / "unpruned.safetensors"):
                raise AstroprismError(
                    f"the findings of {self.study.path} are of another model than the one there; run: "
                    f"astroprism "
                    f"find {self.study.path}"
                )
            if made_from["store"] != self.store.fingerprint:
                told.append(
                    "spectra were ingested after the findings were made; run find again to count them in"
                )
        return told
