"""Cross-fitting: networks each trained without a fold of the units, so that every spectrum gives evidence.

    folds/<f>/model/          a training that is under way, as `train` keeps it
    folds/<f>/codes.parquet   what is kept of it: codes of all spectra, and which it was trained on

A fold's network is trained from scratch with the recipe and the seed of the main one, in half of its steps.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Format, table_header, write_table
from ..errors import ModelError
from ..folder import StudyFolder
from ..measures.crossfit import CrossFitted, cross_fit
from ..progress import Listener, message, once, silent
from ..targets import split
from .retrain import duration, encoded, matching_minutes, mean_and_sd, minutes_of, options_of, train_in

FOLD = Format("astroprism-fold", 1)
STEPS = 0.5  # of the main network's: schedules follow the fraction of the steps, so the course is the same


@dataclass(frozen=True)
class Folds:
    """Out-of-fold codes of a study's spectra, a row per spectrum of the store.

    fold  (n,) the fold of each spectrum; -1 where it has no code
    """

    codes: CrossFitted
    fold: NDArray[np.intp]
    count: int


def finished_folds(folder: StudyFolder, weights: str, *, count: int) -> list[int]:
    """Numbers of the finished folds, of so many, of the model with these weights (their digest)."""
    found = []
    for fold in range(count):
        header = _header(_path(folder, fold))
        if header.get("of") == weights and header.get("folds") == count:
            found.append(fold)
    return found


def train_folds(
    folder: StudyFolder, *, count: int, weights: str, device: str = "auto", progress: Listener = silent
) -> None:
    """Train what is missing of `count` folds of the study's model; one that was interrupted is continued.

    weights  digest of the model's unpruned weights, which every fold keeps
    """
    done = finished_folds(folder, weights, count=count)
    missing = [fold for fold in range(count) if fold not in done]
    if not missing:
        return
    facts, store = folder.require_model(), folder.store
    progress(message(cost_of_folds(folder, missing=len(missing), done=len(done), count=count)))
    parts, of = split.as_trained(store.index, facts.split), split.folds(store.index, facts.split, count)
    steps = max(1, round(STEPS * facts.recipe["steps"]))
    heard = once(progress, said=[facts.response])
    for fold in missing:
        progress(message(f"cross-fitting: fold {fold + 1} of {count}"))
        into = _path(folder, fold).parent
        own = split.spared(store.index, np.where(of == fold, "fold", parts), facts.split)
        options = options_of(into, facts, seed=facts.seed, steps=steps, device=device)
        train_in(store, into, options, own, facts.split, heard)
        header, columns = encoded(store, into, np.arange(len(store)), device=device)
        columns |= {"held": (of == fold).tolist(), "trained": (own == "train").tolist()}
        write_table(
            into / "codes.parquet", columns, header=FOLD.header | header | {"of": weights, "folds": count}
        )
        shutil.rmtree(into / "model", ignore_errors=True)


def cost_of_folds(folder: StudyFolder, *, missing: int, done: int, count: int) -> str:
    """How long the missing folds will take, estimated from the first training, in words."""
    each = STEPS * minutes_of(folder)
    there = f" ({done} are there already)" if done else ""
    return (
        f"evidence by {count}-fold cross-fitting: {missing} training{'s' * (missing != 1)}{there} of about "
        f"{duration(each)}, half as long as the first, {duration(each * missing)} in all, and about "
        f"{duration(matching_minutes(folder))} for the findings. Interrupt at any time; the same command "
        "continues"
    )


def read_folds(
    folder: StudyFolder, *, count: int, mean: NDArray[np.float64], sd: NDArray[np.float64], seed: int = 0
) -> Folds:
    """The codes of finished folds on the axes of the study's model.

    mean, sd  (n, nodes) codes of the model, of all spectra of the store; NaN where it encoded none
    """
    import pandas as pd

    facts, index = folder.require_model(), folder.index
    identifiers = index["spectrum_id"].to_numpy(dtype=object)
    trained = (split.as_trained(index, facts.split) == "train") & np.isfinite(mean).all(1)
    coded = np.isfinite(mean).all(1)
    fold_of, folds, common = np.full(len(index), -1), [], []
    for fold in range(count):
        path = _path(folder, fold)
        if not _header(path):
            raise ModelError(f"{path} is not there or damaged; run: astroprism find {folder.path}")
        table = pd.read_parquet(path).set_index("spectrum_id").reindex(identifiers)
        coded &= table["held"].notna().to_numpy()
        folds.append(mean_and_sd(table))
        fold_of[(table["held"] == True).to_numpy()] = fold  # noqa: E712 - NaN for spectra that came later
        common.append((table["trained"] == True).to_numpy() & trained)  # noqa: E712
    some = np.flatnonzero(coded & (fold_of >= 0))
    found = cross_fit(
        mean[some],
        sd[some],
        folds=[(one[some], error[some]) for one, error in folds],
        fold_of=fold_of[some],
        common=[rows[some] for rows in common],
        units=split.units(index, facts.split)[some],
        moving=range(facts.network.moves),
        seed=seed,
    )
    whole = [np.full(mean.shape, np.nan) for _ in range(2)]
    for array, values in zip(whole, (found.mean, found.sd), strict=True):
        array[some] = values
    of = np.full(len(index), -1)
    of[some] = fold_of[some]
    return Folds(CrossFitted(whole[0], whole[1], found.returned, found.null), of, count)


def _path(folder: StudyFolder, fold: int) -> Path:
    return folder.path / "folds" / str(fold) / "codes.parquet"


def _header(path: Path) -> dict[str, object]:
    """The header of a fold's codes; empty where they are not there, damaged or of another version."""
    try:
        header = table_header(path)
    except (OSError, ValueError):
        return {}
    return header if FOLD.fits(header) else {}
