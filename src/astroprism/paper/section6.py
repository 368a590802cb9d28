"""Section 6 of the seed paper: which nodes are informative (6.1), and which labels they follow (6.2).

Sedaghat, Romaniello, Carrick and Pineau (2021, MNRAS 501, 6026). The paper's own measures, and beside them
unbiased estimates. docs/paper.md explains the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from ..measures.binned import BINS, plug_in, read_back, sigma_clipped
from ..measures.count import MAD_THRESHOLD, dispersion
from ..measures.evidence import EvidenceError, Floats, one_per_target
from ..measures.mutual import mutual_information
from ..measures.spacing import FEWEST, code_information, sampled_codes
from ..progress import Listener, count, silent
from .release import ReleaseError, checked_codes, numeric
from .verdict import Section6

if TYPE_CHECKING:
    import pandas as pd

MEAN_THRESHOLD = 0.2  # of the mean absolute deviation, in an earlier notebook of the authors
MOST_CLASSES = 30  # a label of so few different whole numbers is classes, not a scale
# A trained node's mean square is below 1; more, beyond the scatter of a sample, and the codes are of another
# kind of network, whose noise is unknown.
MOST_SQUARE = 1.2


def section6(
    codes: ArrayLike,
    labels: pd.DataFrame | None = None,
    *,
    sd: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    bins: Sequence[int] = BINS,
    threshold: float = MAD_THRESHOLD,
    threshold_mean: float = MEAN_THRESHOLD,
    permutations: int = 20,
    null: int | None = None,
    seed: int = 0,
    progress: Listener = silent,
) -> Section6:
    """Section 6 of the paper on mean codes (spectra, nodes) and labels, a row per spectrum, NaN where blank.

    sd        of the codes, (spectra, nodes); without it the noise is inferred from the means
    targets   (spectra,) the target of each; one seeded spectrum per target is used, as in the paper
    null      draws behind each p, by default forty times the pairs
    progress  counts (label, node) pairs
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
    if targets is not None:
        stars = np.asarray(targets)
        if stars.shape != (len(mean),):
            raise ReleaseError(
                f"targets are of shape {stars.shape}, the codes have {len(mean):,} rows; give one each"
            )
        kept = one_per_target(np.arange(len(mean)), stars, np.random.default_rng(seed))
        if len(kept) < len(mean):
            notes.append(
                f"{len(mean):,} spectra of {len(kept):,} targets: one seeded spectrum of each is used"
            )
        mean, frame = mean[kept], frame.iloc[kept].reset_index(drop=True)
        spread = None if spread is None else spread[kept]
    if len(mean) < FEWEST:
        raise EvidenceError(f"{len(mean)} spectra (of different targets) are too few; give {FEWEST} or more")

    noise, origin = _noise(mean, spread, notes)
    nodes = _nodes(mean, noise, threshold=threshold, threshold_mean=threshold_mean)
    nodes["information_nats"] = _information(mean, noise, origin, seed=seed)
    found = {str(name): _usable(frame[name], notes) for name in frame.columns}
    used = {name: rows for name, rows in found.items() if rows is not None}
    sampled = None if spread is None else sampled_codes(mean, spread, seed=seed)
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
                one = mutual_information(code, values, categorical=classes, seed=seed, null=draws)
                row |= {"n": one.n, "mi_nats": one.nats, "mi_low": one.low, "mi_high": one.high,
                        "p": one.p, "share": one.share}  # fmt: skip
            if sampled is not None:
                one = mutual_information(sampled[rows, node], values, categorical=classes, seed=seed, null=0)
                row |= {"heard_nats": one.nats, "heard_low": one.low, "heard_high": one.high}
            if nodes["informative"][node]:
                row |= _scatter(code, values)
            rows_of_matches.append(row)
            progress(count(number * mean.shape[1] + node + 1, pairs))
    matches = pd.DataFrame(rows_of_matches, columns=_MATCH_COLUMNS)
    p = matches["p"].to_numpy(dtype=np.float64)
    matches.insert(7, "q", false_discovery_control(p) if draws else p)
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
    deviation = np.abs(mean - mean.mean(axis=0)).mean(axis=0)
    return pd.DataFrame(
        {
            "node": np.arange(mean.shape[1]),
            "mad": mad,
            "mad_low": low,
            "mad_high": high,
            "mean_deviation": deviation,
            "variance": mean.var(axis=0),
            "noise": np.nan if noise is None else np.sqrt((noise**2).mean(axis=0)),
            "informative": mad > threshold,
            "informative_by_mean": deviation > threshold_mean,
        }
    )


def _information(
    mean: NDArray[np.float64], noise: NDArray[np.float64] | None, origin: str, *, seed: int
) -> NDArray[np.float64]:
    """Nats that each node carries: measured, or the most it can be if the implied noise is even."""
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
    """A row per label: what went in, and which node each measure puts first."""
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
        sampled = _largest(exact, "heard_nats") if exact["heard_nats"].notna().any() else None
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
                "top_heard": -1 if sampled is None else int(sampled["node"]),
                "heard_nats": float("nan") if sampled is None else float(sampled["heard_nats"]),
            }
        )
    return pd.DataFrame(rows)


def _largest(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    """The row with the largest known value of a column."""
    return table.iloc[int(np.nanargmax(table[column].to_numpy(dtype=np.float64)))]


# --- noise of the codes, from their means


def implied_noise(mean: ArrayLike) -> Floats | None:
    """The sd of each node's posterior, (nodes,), from mean codes (spectra, nodes); None where that cannot be.

    Released mean codes come without their noise, and mutual information ignores scale: the tiny,
    deterministic mean of a dead node can follow a label although the decoder gets only noise. But the first
    layer of the decoder is linear, so scaling a node up there and down here changes nothing but the KL term,
    and where that is least, mean(mean^2) + mean(sd^2) = 1 for every node, whatever its weight and the loss.
    So the mean noise follows from the means, as root mean square over spectra; not how it differs among them.
    """
    square = (np.asarray(mean, dtype=np.float64) ** 2).mean(axis=0)
    if square.max() > MOST_SQUARE:
        return None
    return np.asarray(np.sqrt(np.maximum(1 - square, 0.0)))


def even_information(mean: ArrayLike, noise: ArrayLike) -> Floats:
    """The most that a node carries, nats, if its noise is the same for all spectra: a Gaussian channel.

    mean (spectra, nodes); noise, its sd (nodes,). Infinite where there is none. A node whose noise is
    small for some spectra only can carry more.
    """
    variance = np.asarray(mean, dtype=np.float64).var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = 0.5 * np.log1p(variance / np.asarray(noise, dtype=np.float64) ** 2)
    return np.asarray(np.where(variance > 0, most, 0.0))
