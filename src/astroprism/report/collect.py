"""What a report reads from a study: facts, tables, codes of held-out targets; read once and kept.

What is missing is None or empty, and the report says how to make it. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..artifacts import digest, read_json
from ..errors import REASONS, AstroprismError, ModelError
from ..figures.cards import QUANTILES
from ..model.encode import codes_facts
from ..targets import split

if TYPE_CHECKING:
    import pandas as pd

    from ..folder import StudyFolder
    from ..model.trained import TrainedModel
    from ..schema import CodesFacts, Findings, ModelFacts, Node

Floats = NDArray[np.float64]
MOST_CARDS = 40  # nodes with a card of their own; the others are rows of a table
MOST_TARGETS = 20_000  # dots of a figure
MOST_WARNINGS, MOST_OUTLIERS = 20, 20
SNR_SHARES = (0.05, 0.5, 0.95)
OUTLIER_P = 0.01
SCORES = ("ablation", "information", "mad")


class Refusal(NamedTuple):
    """Spectra refused for one reason, with an example."""

    reason: str
    spectra: int
    meaning: str
    example: str


@dataclass(frozen=True)
class ArchiveSummary:
    """What was ingested.

    passed_over  files that are no spectra by their name
    busiest      spectra of the target that has most
    low, high    angstrom
    snr          below which 5, 50 and 95 % of the spectra lie
    good         share of the grid's filled pixels that are good
    doubts       pairs of targets that lie close but have other names
    """

    accepted: int
    refused: int
    files: int
    passed_over: int
    refusals: list[Refusal]
    warnings: dict[str, int]
    targets: int
    busiest: int
    grid: str
    pixels: int
    low: float
    high: float
    medium: str
    frames: dict[str, int]
    formats: dict[str, int]
    normalised_by: object
    snr: list[float]
    sigma_from: dict[str, int]
    good: float
    doubts: int


class Outlier(NamedTuple):
    """One of the strangest spectra."""

    spectrum: str
    target: str
    p: float
    reasons: str


class OutlierSummary(NamedTuple):
    """How many spectra were judged, how many have p at most .01, and the strangest ones."""

    spectra: int
    unlikely: int
    strangest: list[Outlier]


class Reading(NamedTuple):
    """A label read back from the informative nodes; guessed: of classes, the share of the commonest."""

    label: str
    reader: str  # 'line' or 'neighbours'
    value: float | None
    low: float | None
    high: float | None
    guessed: float | None
    n: int


class ReportData:
    """A study as its report sees it."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder, self.store = folder, folder.store
        self.grid = self.store.grid

    @property
    def name(self) -> str:
        """The name of the study's folder."""
        return self.folder.path.resolve().name

    # --- what is there

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row per spectrum."""
        return self.store.index

    @cached_property
    def model_facts(self) -> ModelFacts | None:
        """model.json."""
        return self.folder.model_facts()

    @cached_property
    def model(self) -> TrainedModel:
        """The network with every node on."""
        return self.folder.model(unpruned=True)

    @cached_property
    def history(self) -> pd.DataFrame | None:
        """A row per moment of the training."""
        return None if self.model_facts is None else self.folder.training_history()

    @property
    def has_codes(self) -> bool:
        """Are there codes to read?"""
        return self.model_facts is not None and self.folder.has_codes(unpruned=True)

    @cached_property
    def findings(self) -> Findings | None:
        """findings.json."""
        return self.folder.findings() if self.folder.has_findings() and self.has_codes else None

    def table(self, name: str) -> pd.DataFrame:
        """A table beside findings.json; empty where there are no findings."""
        import pandas as pd

        return pd.DataFrame() if self.findings is None else self.folder.finding_table(name)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What was run on the study, but for reports."""
        return [run for run in self.folder.history if run["command"] != "report"]

    @cached_property
    def outliers(self) -> pd.DataFrame | None:
        """A row per spectrum with the p of its oddity, the oddest first; None where they were not judged."""
        import pandas as pd

        path = self.folder.path / "outliers.parquet"
        return pd.read_parquet(path) if self.findings is not None and path.exists() else None

    # --- nodes

    @cached_property
    def cards(self) -> list[Node]:
        """Nodes that are informative or doubtful and no copies, the most costly to lose first."""
        nodes = [] if self.findings is None else self.findings.nodes
        chosen = [node for node in nodes if node.counted and node.copies_of is None]
        return sorted(chosen, key=lambda node: (node.doubtful, -(node.ablation_nats or 0.0)))

    @cached_property
    def node_scores(self) -> pd.DataFrame:
        """A row per node: scores, their intervals, and its state."""
        nodes = [] if self.findings is None else self.findings.nodes
        return (
            self.table("nodes")
            .assign(state=[_state(node) for node in nodes])
            .rename(columns={f"statistical_{end}": f"ablation_{end}" for end in ("low", "high")})
        )

    @cached_property
    def intervals(self) -> dict[int, dict[str, tuple[float, float]]]:
        """Low and high end of each node's scores: intervals[node]["ablation"]."""
        return {
            int(row["node"]): {score: (row[f"{score}_low"], row[f"{score}_high"]) for score in SCORES}
            for row in self.node_scores.to_dict(orient="records")
        }

    @property
    def readings(self) -> list[Reading]:
        """How well labels are read back from the codes, by each reader."""
        found = []
        for name, label in ({} if self.findings is None else self.findings.labels).items():
            if label.named_rightly is not None:
                share, guessed = label.named_rightly, label.guessed_rightly
                found.append(
                    Reading(name, "neighbours", share.value, share.low, share.high, guessed, label.n)
                )
                continue
            for reader, value, interval in (
                ("line", label.r2_linear, label.r2_linear_interval),
                ("neighbours", label.r2_knn, label.r2_knn_interval),
            ):
                if value is not None:
                    low, high = interval or (np.nan, np.nan)
                    found.append(Reading(name, reader, value, low, high, np.nan, label.n))
        return found

    # --- held-out targets and their codes

    @cached_property
    def held(self) -> NDArray[np.intp]:
        """Positions of one seeded spectrum of every unit held out or cross-fitted: what findings read."""
        if self.model_facts is None or not self.has_codes:
            return np.zeros(0, np.intp)
        shares, seed = self.model_facts.split, self.seed
        units = split.units(self.index, shares)
        names = self.index["spectrum_id"].to_numpy(dtype=object)
        chosen = np.isin(names, self.codes([])["spectrum_id"].to_numpy(dtype=object))
        if self.crossfitted:
            chosen &= np.isin(names, self.table("crossfit")["spectrum_id"].to_numpy(dtype=object))
        else:
            chosen &= split.held_out(split.as_trained(self.index, shares))
        rows = np.flatnonzero(chosen)
        if rows.size:
            rows = rows[split.one_per_target(units[rows], seed, identifiers=names[rows])]
        if rows.size > MOST_TARGETS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_TARGETS, replace=False))
        return rows

    @property
    def crossfitted(self) -> bool:
        """Whether findings rest on codes out of fold."""
        return self.findings is not None and self.findings.rests_on.folds > 0

    @property
    def whose(self) -> str:
        """One piece of evidence in words: 'held-out target', 'cross-fitted night'."""
        unit = "target" if self.model_facts is None else self.model_facts.split.unit
        return f"{'cross-fitted' if self.crossfitted else 'held-out'} {unit}"

    @property
    def seed(self) -> int:
        """The seed that findings were made with."""
        return int(self.findings.provenance["seed"]) if self.findings is not None else 0

    @property
    def codes_facts(self) -> CodesFacts:
        """What the codes were made from."""
        return codes_facts(self.folder.codes_path(unpruned=True))

    def codes(self, columns: list[str], *, wanted: set[str] | None = None) -> pd.DataFrame:
        """Columns of the codes, of the wanted spectra: never the whole table of a survey at once."""
        import pandas as pd
        from pyarrow import parquet

        path = self.folder.codes_path(unpruned=True)
        codes_facts(path)  # a damaged or foreign table is an error that says so
        with parquet.ParquetFile(path) as file:
            parts = []
            for batch in file.iter_batches(batch_size=16_384, columns=["spectrum_id", *columns]):
                frame = batch.to_pandas()
                parts.append(frame if wanted is None else frame[frame["spectrum_id"].isin(wanted)])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"spectrum_id": []})

    @cached_property
    def mean_columns(self) -> list[str]:
        """Columns of the mean codes, one per node."""
        assert self.model_facts is not None
        return [f"mean_{node:03d}" for node in range(self.model_facts.network.nodes)]

    @cached_property
    def means(self) -> Floats:
        """Mean codes of the held-out targets (held, nodes)."""
        return self._of_held(self.mean_columns)

    @cached_property
    def own_means(self) -> Floats:
        """Mean codes of the same spectra by the main network itself, which decodes them (held, nodes)."""
        return self._of_held(self.mean_columns, out_of_fold=False)

    @property
    def unseen(self) -> NDArray[np.intp]:
        """Places among `held` of spectra that the main network was not trained on; if none are, all."""
        if self.model_facts is None:
            return np.arange(self.held.size)
        parts = split.as_trained(self.index, self.model_facts.split)[self.held]
        places = np.flatnonzero(split.held_out(parts))
        return places if places.size else np.arange(self.held.size)

    def sds(self, node: int) -> Floats:
        """Standard deviations of one node's codes (held,)."""
        return self._of_held([f"sd_{node:03d}"])[:, 0]

    def _of_held(self, names: list[str], *, out_of_fold: bool = True) -> Floats:
        identifiers = self.index["spectrum_id"].iloc[self.held]
        if self.crossfitted and out_of_fold:
            found = self.table("crossfit")[["spectrum_id", *names]].set_index("spectrum_id")
        else:
            found = self.codes(names, wanted=set(identifiers)).set_index("spectrum_id")
        return found.loc[list(identifiers)].to_numpy(dtype=np.float64)

    def quantiles(self, node: int) -> Floats:
        """Codes at the quantiles of the figures (5,)."""
        return np.asarray(np.quantile(self.means[:, node], QUANTILES), dtype=np.float64)

    def spread(self, node: int) -> float:
        """Half the width of the middle 68 % of a node's codes."""
        low, high = np.quantile(self.means[:, node], [0.16, 0.84])
        return float(high - low) / 2

    def label(self, name: str) -> pd.Series[Any]:
        """A label of the held-out targets."""
        import pandas as pd

        columns = ["spectrum_id", name]
        table = pd.read_parquet(self.folder.table_path("labels"), columns=columns).set_index("spectrum_id")
        return table[name].reindex(self.index["spectrum_id"].iloc[self.held]).reset_index(drop=True)

    def time(self) -> Floats:
        """Dates of the held-out targets (MJD); NaN where unknown."""
        if "time" not in self.index:
            return np.full(self.held.size, np.nan)
        return self.index["time"].to_numpy(dtype=np.float64)[self.held]

    # --- summaries for the page

    def archive_summary(self) -> ArchiveSummary:
        """What was ingested."""
        index, store = self.index, self.store
        wavelength = self.grid.wavelength[self.grid.filled]
        snr = index["snr"].to_numpy(dtype=float)
        snr = snr[np.isfinite(snr)]
        ingests = [run for run in self.folder.history if run["command"] == "ingest"]
        warned = index["warnings"][index["warnings"] != ""]
        warnings = _counts(warned.str.split("; ").explode()) if len(warned) else {}
        return ArchiveSummary(
            accepted=len(index),
            refused=len(store.rejects),
            files=_rows(store.path / "files.parquet"),
            passed_over=max((int(run.get("passed_over", 0)) for run in ingests), default=0),
            refusals=_refusals(store.rejects),
            warnings=dict(list(warnings.items())[:MOST_WARNINGS]),
            targets=int(index["target"].nunique()),
            busiest=int(index["target"].value_counts().iloc[0]) if len(index) else 0,
            grid=self.grid.text,
            pixels=self.grid.size,
            low=float(wavelength[0]),
            high=float(wavelength[-1]),
            medium=self.grid.medium,
            frames=_counts(index["frame"]),
            formats=_counts(index["reader"]),
            normalised_by=store.config.get("normalise"),
            snr=[float(one) for one in np.quantile(snr, SNR_SHARES)] if snr.size else [],
            sigma_from=_counts(index["sigma_from"]),
            good=float(index["n_good"].mean()) / max(1, wavelength.size) if len(index) else 0.0,
            doubts=_rows(store.path / "target-doubts.parquet"),
        )

    def outlier_summary(self) -> OutlierSummary | None:
        """The strangest spectra; None where they were not judged."""
        table = self.outliers
        if table is None:
            return None
        rows = table.head(MOST_OUTLIERS).to_dict(orient="records")
        return OutlierSummary(
            spectra=len(table),
            unlikely=int((table["p"].to_numpy(dtype=float) <= OUTLIER_P).sum()),
            strangest=[
                Outlier(row["spectrum_id"], row.get("target", ""), row["p"], row["reasons"]) for row in rows
            ],
        )

    def provenance(self) -> dict[str, str]:
        """What the page was made from: versions, fingerprints, seeds."""
        model, findings = self.model_facts, self.findings
        facts: dict[str, str] = {"report": f"astroprism {__version__}", "store": self.store.fingerprint}
        if model is not None:
            facts["trained with"] = ", ".join(
                f"{name} {value}" for name, value in (model.versions or {}).items()
            )
            facts["model was trained on store"] = model.store.fingerprint
            facts["seeds"] = f"training {model.seed}, split {model.split.seed}"
        if findings is not None:
            made = findings.provenance
            facts["seeds"] += f", findings {made['seed']}"
            facts["findings with"] = f"astroprism {made['version']}"
            facts["weights"], facts["codes"] = str(made["weights"]), str(made["codes"])
            facts["labels"] = str(made["labels"] or "none given")
            draws = findings.null_draws
            facts["null draws behind p"] = ", ".join(f"{name} {number:,}" for name, number in draws.items())
        simulation = self.folder.path / "archive" / "simulation.json"
        if simulation.exists():
            known = read_json(simulation).get("config", {})
            facts["simulated"] = "; ".join(
                f"{name} {listed(value)}" for name, value in known.items() if value not in (None, [], {})
            )
        return facts

    def settings(self) -> dict[str, str]:
        """All settings of the training."""
        model = self.model_facts
        if model is None:
            return {}
        groups = {"options": model.asked, "recipe": model.recipe, "network": model.network.config}
        return {
            f"{group}: {name}": listed(value)
            for group, values in groups.items()
            for name, value in values.items()
        }

    def missing(self) -> list[str]:
        """What the study does not have yet, with the command that makes it."""
        path = self.folder.path
        if self.model_facts is None:
            return [f"no model: astroprism train {path}"]
        if not self.has_codes:
            return [f"no codes: astroprism encode {path}"]
        if self.findings is None:
            return [f"no findings: astroprism find {path}"]
        if not self.findings.labels:
            return [f"no labels: astroprism find {path} --labels TABLE"]
        return []

    def stale(self) -> list[str]:
        """What was made from something that has changed since; an error where the parts do not fit."""
        remarks, folder, spectra = [], self.folder, len(self.store)
        if self.model_facts is not None and self.model_facts.store.spectra < spectra:
            new = spectra - self.model_facts.store.spectra
            remarks.append(f"{new:,} spectra were ingested after the training and are not part of it")
        weights = digest(folder.model_path / "unpruned.safetensors") if self.has_codes else ""
        if self.has_codes:
            codes = self.codes_facts
            if codes.weights != weights:
                raise ModelError(
                    f"the codes of {folder.path} are of another model than the one there; run: "
                    f"astroprism encode {folder.path}"
                )
            if codes.spectra < spectra:
                remarks.append(f"{spectra - codes.spectra:,} spectra have no codes yet; run encode")
        if self.findings is not None:
            made_from = self.findings.provenance
            if made_from["weights"] != weights:
                raise AstroprismError(
                    f"the findings of {folder.path} are of another model than the one there; run: "
                    f"astroprism find {folder.path}"
                )
            if made_from["store"] != self.store.fingerprint:
                remarks.append(
                    "spectra were ingested after the findings were made; run find again to count them in"
                )
        return remarks


def listed(value: object) -> str:
    """A setting as text."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _state(node: Node) -> str:
    """What the counts make of a node."""
    if not node.counted:
        return "below"
    if node.copies_of is not None:
        return "copy"
    return "informative" if node.informative else "doubtful"


def _refusals(rejects: pd.DataFrame) -> list[Refusal]:
    """Reasons of refusal, the commonest first."""
    found = []
    for reason, group in rejects.groupby("reason") if len(rejects) else ():
        first = group.sort_values(["path", "item"]).iloc[0]
        place = str(first["path"]).replace("\\", "/").rsplit("/", 1)[-1]
        example = f"{place}: {str(first['message'])[:160]}"
        found.append(Refusal(str(reason), len(group), REASONS.get(str(reason), ""), example))
    return sorted(found, key=lambda one: (-one.spectra, one.reason))


def _rows(path: Any) -> int:
    """Rows of a Parquet file; 0 where it is not there."""
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows) if path.exists() else 0


def _counts(values: Any) -> dict[str, int]:
    """Counts, the commonest first; equal ones in the order of their names."""
    found = {str(key): int(count) for key, count in values.value_counts().items()}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
