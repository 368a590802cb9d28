"""Section 6 of the seed paper from its release files, and beside it what unbiased estimators say.

Sedaghat, Romaniello, Carrick and Pineau (2021, MNRAS 501, 6026): which nodes are informative (6.1), and
which labels they know (6.2). docs/paper.md says how to read what comes out.

plugin      their mutual information on equal-width bins, and its null
noise       how much of a mean code the decoder could hear
smoothing   what a scatter plot shows, as numbers
release     their files
encoding    codes of FITS spectra by their network
verdict     what stands and what does not, in words
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..measures import EvidenceError, benjamini_hochberg, code_information, mutual_information, sampled_codes
from ..measures.count import MAD_THRESHOLD, dispersion
from ..measures.evidence import one_a_target
from ..measures.plugin import BINS, plug_in, sigma_clipped
from ..measures.smoothing import read_back
from ..measures.spacing import FEWEST
from .noise import even_information, implied_noise
from .release import LABELS, Release, ReleaseError, checked_codes, numeric, read_codes, read_release

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BINS",
    "LABELS",
    "Release",
    "ReleaseError",
    "Section6",
    "read_codes",
    "read_release",
    "section6",
]

MEAN_THRESHOLD = 0.2  # of the mean absolute deviation, in an earlier notebook of the authors
MOST_CLASSES = 30  # a label of so few different whole numbers is classes, not a scale
EXPLAINS, DISCOVERY = 0.1, 0.05  # a label explains a node: low end in nats, and q


@dataclass(frozen=True, eq=False)
class Section6:
    """Both halves of section 6, every table with one row a thing, and the rows that they were made from.

    nodes    a row a node: its dispersion, both ways, with interval; its noise; what it tells, nats
    labels   a row a label: kind, spectra used, which node is strongest by which measure
    plugin   a row a (label, node, bins): the paper's estimate, scaled as in its maps, and its null
    matches  a row a (label, node): KSG of the mean code with interval, p, q; of the sampled code, which is
             what the decoder hears, where sd were given; and how well either is read back from the other
    codes    (spectra, nodes); values: the labels, NaN where blank, in the same rows
    informative, informative_by_mean   nodes above the thresholds, in rising order
    noise    'measured', 'implied' (by the means, see `noise`) or 'unknown'
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
        from .verdict import verdict

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


def silent(*_: object) -> None:
    """Nobody listens."""


def section6(
    codes: ArrayLike,
    labels: pd.DataFrame | None = None,
    *,
    sd: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    bins: Sequence[int] = BINS,
    threshold: float = MAD_THRESHOLD,
    threshold_mean: float = MEAN_THRESHOLD,
    permutations: int = 20,
    null: int | None = None,
    seed: int = 0,
    watch: Callable[[int, int], object] = silent,
) -> Section6:
    """Section 6 of the paper on mean codes (spectra, nodes) and labels, a row a spectrum, NaN where blank.

    sd: the codes' own, (spectra, nodes); without it the noise is inferred from the means. groups: (spectra,)
    the target of each; one seeded spectrum of each is used, as the paper did. null: draws behind each p,
    by default forty times the pairs. watch is called with (label, node) pairs done and to do.
    """
    import pandas as pd

    mean = checked_codes(codes, "codes")
    frame = pd.DataFrame(index=range(len(mean))) if labels is None else numeric(labels, source="labels")
    if len(frame) != len(mean):
        raise ReleaseError(
            f"{len(mean):,} rows of codes and {len(frame):,} of labels; give one each, in order"
        )
    frame = frame.reset_index(drop=True)
    spread = None if sd is None else np.asarray(sd, dtype=np.float64)
    if spread is not None and (spread.shape != mean.shape or not (np.isfinite(spread) & (spread > 0)).all()):
        raise ReleaseError(f"sd must be positive and of the shape of the codes, {mean.shape}: {spread.shape}")
    notes: list[str] = []
    if groups is not None:
        kept = _one_each(np.asarray(groups), len(mean), seed, notes)
        mean, frame = mean[kept], frame.iloc[kept].reset_index(drop=True)
        spread = None if spread is None else spread[kept]
    if len(mean) < FEWEST:
        raise EvidenceError(f"{len(mean)} spectra (of different targets) are too few; give {FEWEST} or more")

    noise, origin = _noise(mean, spread, notes)
    nodes = _nodes(mean, noise, threshold=threshold, threshold_mean=threshold_mean)
    nodes["information_nats"] = _information(mean, noise, origin, seed=seed)
    found = {str(name): _usable(frame[name], notes) for name in frame.columns}
    used = {name: rows for name, rows in found.items() if rows is not None}
    heard = None if spread is None else sampled_codes(mean, spread, seed=seed)
    pairs = len(used) * mean.shape[1]
    draws = null if null is not None else int(np.clip(40 * pairs, 10_000, 100_000))
    plugs, rows_of_matches = [], []
    for number, (name, rows) in enumerate(used.items()):
        values = frame[name].to_numpy(dtype=np.float64)[rows]
        estimate, chance = plug_in(mean[rows], values, bins=bins, permutations=permutations, seed=seed)
        plugs.append(_plugin_table(name, estimate, chance, bins))
        classes = _is_classes(values)
        for node in range(mean.shape[1]):
            code = mean[rows, node]
            row: dict[str, Any] = {"label": name, "node": node, "n": code.size, "mi_nats": 0.0, "mi_low": 0.0,
                                   "mi_high": 0.0, "p": 1.0, "share": 0.0}  # fmt: skip
            if (code != code[0]).any():  # a node that is switched off may be constant
                told = mutual_information(code, values, categorical=classes, seed=seed, null=draws)
                row |= {"n": told.n, "mi_nats": told.nats, "mi_low": told.low, "mi_high": told.high,
                        "p": told.p, "share": told.share}  # fmt: skip
            if heard is not None:
                ears = mutual_information(heard[rows, node], values, categorical=classes, seed=seed, null=0)
                row |= {"heard_nats": ears.nats, "heard_low": ears.low, "heard_high": ears.high}
            if nodes["informative"][node]:
                row |= _scatter(code, values)
            rows_of_matches.append(row)
            watch(number * mean.shape[1] + node + 1, pairs)
    matches = pd.DataFrame(rows_of_matches, columns=_MATCH_COLUMNS)
    matches.insert(7, "q", benjamini_hochberg(matches["p"].to_numpy(dtype=np.float64)))
    plugin = pd.concat(plugs, ignore_index=True) if plugs else pd.DataFrame()
    return Section6(
        nodes=nodes,
        labels=_labels(frame, used, plugin, matches, nodes),
        plugin=plugin,
        matches=matches,
        codes=mean,
        values=frame,
        informative=tuple(int(i) for i in np.flatnonzero(nodes["informative"])),
        informative_by_mean=tuple(int(i) for i in np.flatnonzero(nodes["informative_by_mean"])),
        threshold=threshold,
        threshold_mean=threshold_mean,
        noise=origin,
        permutations=permutations,
        notes=tuple(notes),
    )


_MATCH_COLUMNS = [
    *("label", "node", "n", "mi_nats", "mi_low", "mi_high", "p", "share"),
    *("heard_nats", "heard_low", "heard_high", "spearman", "label_from_node", "node_from_label"),
]


def _one_each(groups: NDArray[Any], n: int, seed: int, notes: list[str]) -> NDArray[np.intp]:
    """Rows of one seeded spectrum a target."""
    if groups.shape != (n,):
        raise ReleaseError(f"groups is of shape {groups.shape}, the codes have {n:,} rows; give one each")
    kept = one_a_target(np.arange(n), groups, np.random.default_rng(seed))
    if len(kept) < n:
        notes.append(f"{n:,} spectra of {len(kept):,} targets: one seeded spectrum of each is used")
    return kept


def _noise(
    mean: NDArray[np.float64], sd: NDArray[np.float64] | None, notes: list[str]
) -> tuple[NDArray[np.float64] | None, str]:
    """The sd of every code, and where it is from."""
    if sd is not None:
        return sd, "measured"
    implied = implied_noise(mean)
    if implied is None:
        notes.append(
            "mean squares of the codes exceed 1, so they are of no network trained to a unit Gaussian: what "
            "noise its decoder was given is unknown"
        )
        return None, "unknown"
    return np.broadcast_to(implied, mean.shape), "implied"


def _nodes(
    mean: NDArray[np.float64],
    noise: NDArray[np.float64] | None,
    *,
    threshold: float,
    threshold_mean: float,
) -> pd.DataFrame:
    import pandas as pd

    mad, low, high = dispersion(mean)
    about = np.abs(mean - mean.mean(axis=0)).mean(axis=0)
    return pd.DataFrame(
        {
            "node": np.arange(mean.shape[1]),
            "mad": mad,
            "mad_low": low,
            "mad_high": high,
            "mean_deviation": about,
            "variance": mean.var(axis=0),
            "noise": np.nan if noise is None else np.sqrt((noise**2).mean(axis=0)),
            "informative": mad > threshold,
            "informative_by_mean": about > threshold_mean,
        }
    )


def _information(
    mean: NDArray[np.float64], noise: NDArray[np.float64] | None, origin: str, *, seed: int
) -> NDArray[np.float64]:
    """What each node tells of its spectrum, nats: measured, or at most, were the implied noise even."""
    if noise is None:
        return np.full(mean.shape[1], np.nan)
    if origin == "measured":
        return code_information(mean, noise, seed=seed).nats
    return even_information(mean, noise[0])


def _usable(column: pd.Series[Any], notes: list[str]) -> NDArray[np.intp] | None:
    """Rows of a label that the paper would use; None, and a note, where they are too few."""
    values = column.to_numpy(dtype=np.float64)
    kept = np.flatnonzero(sigma_clipped(values))
    if kept.size < FEWEST or np.unique(values[kept]).size < 2:
        notes.append(
            f"{column.name} is left out: {kept.size} spectra with a value, {np.unique(values[kept]).size} "
            f"different; {FEWEST} and 2 are needed"
        )
        return None
    return kept


def _is_classes(values: NDArray[np.float64]) -> bool:
    different = np.unique(values)
    return different.size <= MOST_CLASSES and bool((different == np.round(different)).all())


def _scatter(code: NDArray[np.float64], values: NDArray[np.float64]) -> dict[str, float]:
    """What the scatter plot of a node against a label shows."""
    from scipy.stats import spearmanr

    if not (code.std() > 0 and values.std() > 0):
        return {}
    return {
        "spearman": float(spearmanr(code, values).statistic),
        "label_from_node": read_back(code, values),
        "node_from_label": read_back(values, code),
    }


def _plugin_table(
    name: str, found: NDArray[np.float64], chance: NDArray[np.float64], bins: Sequence[int]
) -> pd.DataFrame:
    """found (bins, nodes), chance (permutations, bins, nodes); null_high is the normal 95 % point."""
    import pandas as pd

    count = found.shape[1]
    largest = np.maximum(found.max(axis=1, keepdims=True), 1e-300)
    with_null = len(chance) > 1
    centre = chance.mean(axis=0) if with_null else np.full_like(found, np.nan)
    width = chance.std(axis=0, ddof=1) if with_null else np.full_like(found, np.nan)
    return pd.DataFrame(
        {
            "label": name,
            "bins": np.repeat(np.asarray(bins, dtype=int), count),
            "node": np.tile(np.arange(count), len(bins)),
            "plugin_nats": found.ravel(),
            "scaled": (found / largest).ravel(),
            "null_nats": centre.ravel(),
            "null_sd": width.ravel(),
            "null_high": (centre + 1.645 * width).ravel(),
        }
    )


def _labels(
    frame: pd.DataFrame,
    used: dict[str, NDArray[np.intp]],
    plugin: pd.DataFrame,
    matches: pd.DataFrame,
    nodes: pd.DataFrame,
) -> pd.DataFrame:
    """A row a label: what went in, and which node each measure puts first."""
    import pandas as pd

    rows = []
    for name, chosen in used.items():
        values = frame[name].to_numpy(dtype=np.float64)
        of_label = plugin[plugin["label"] == name]
        coarse, fine = (
            of_label[of_label["bins"] == one] for one in (of_label["bins"].min(), of_label["bins"].max())
        )
        exact = matches[matches["label"] == name]
        best = _largest(exact, "mi_nats")
        ears = exact["heard_nats"]
        loudest = _largest(exact, "heard_nats") if ears.notna().any() else None
        dead = ~nodes["informative"].to_numpy()
        top = fine["plugin_nats"].max()
        rows.append(
            {
                "label": name,
                "kind": "classes" if _is_classes(values[chosen]) else "number",
                "n": int(chosen.size),
                "clipped": int(np.isfinite(values).sum() - chosen.size),
                "top_coarse": int(_largest(coarse, "plugin_nats")["node"]),
                "top_fine": int(_largest(fine, "plugin_nats")["node"]),
                "floor_share": float(fine["null_nats"].mean() / top) if top > 0 else float("nan"),
                "dead_within_null": int((fine["plugin_nats"] <= fine["null_high"]).to_numpy()[dead].sum()),
                "dead": int(dead.sum()),
                "top_ksg": int(best["node"]),
                "ksg_nats": float(best["mi_nats"]),
                "ksg_low": float(best["mi_low"]),
                "ksg_high": float(best["mi_high"]),
                "q": float(best["q"]),
                "top_heard": -1 if loudest is None else int(loudest["node"]),
                "heard_nats": float("nan") if loudest is None else float(loudest["heard_nats"]),
            }
        )
    return pd.DataFrame(rows)


def _largest(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    """The row with the largest known value of a column."""
    return table.iloc[int(np.nanargmax(table[column].to_numpy(dtype=np.float64)))]
