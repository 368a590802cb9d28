"""Trainings anew, from other seeds on halves of the training targets: what a model must stand beside.

    stability/<i>/model/          a retraining that is under way, as `train` keeps it
    stability/<i>/codes.parquet   what stays of it: codes of the spectra that no training saw

Retrainings come in pairs: one takes a half of the training targets, the other the other half. What was held
out of the first training is held out of them all.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Format, blame, read_json, table_header, write_table
from ..errors import ConfigError, ModelError
from ..measures.evidence import Floats
from ..model.recipe import TrainOptions
from ..progress import Listener, message, silent
from ..schema import ModelFacts, Split
from ..targets import split

if TYPE_CHECKING:
    from ..store import Store

RETRAINING = Format("astroprism-retraining", 1)
MOST = 100
ENCODED_PIXELS = 2**20  # that go through an encoder at once


@dataclass(frozen=True)
class Retraining:
    """What stays of one: codes (n, nodes) of spectra that no training saw, NaN where it did not code one."""

    number: int
    mean: Floats
    sd: Floats
    kept: list[int]
    minutes: float  # of the last sitting


def finished(out: Path, weights: str) -> list[int]:
    """Numbers of the retrainings in the study folder `out` that stand beside the model with these weights."""
    found = []
    for path in sorted((out / "stability").glob("*/codes.parquet")):
        if path.parent.name.isdecimal() and _facts(path).get("of") == weights:
            found.append(int(path.parent.name))
    return sorted(found)


def read_retraining(
    out: Path, number: int, *, identifiers: Sequence[str] | NDArray[np.object_]
) -> Retraining:
    """One that is finished, a row for each of these spectra."""
    import pandas as pd

    path = out / "stability" / str(number) / "codes.parquet"
    about = _facts(path)
    table = pd.read_parquet(path).set_index("spectrum_id").reindex(list(identifiers))
    mean, sd = (
        table[[name for name in table if str(name).startswith(kind)]].to_numpy(np.float64)
        for kind in ("mean_", "sd_")
    )
    return Retraining(number, mean, sd, about["kept"], about["minutes"])


def retrain(
    store: Store,
    model: Path,
    *,
    out: Path,
    count: int,
    weights: str,
    device: str = "auto",
    progress: Listener = silent,
) -> None:
    """Bring the retrainings of the model up to `count`; one that was cut off goes on.

    weights  digest of the model's unpruned weights, by which retrainings know what they stand beside
    """
    if not 0 <= count <= MOST:
        raise ConfigError(f"{count} retrainings: between 0 and {MOST} can be asked for")
    facts = ModelFacts.read(model / "model.json")
    done = finished(out, weights)
    left = [number for number in range(count) if number not in done]
    if not left:
        return
    progress(message(cost_of(model, facts, left=len(left), done=len(done))))
    for place, number in enumerate(left):
        progress(message(f"retraining {place + 1} of {len(left)}"))
        folder = out / "stability" / str(number)
        begun = time.monotonic()
        _trained(store, folder, facts, number, device=device, progress=progress)
        _encoded(store, folder, facts.split, device=device, begun=begun, of=weights)
        shutil.rmtree(folder / "model", ignore_errors=True)


def cost_of(model: Path, facts: ModelFacts, *, left: int, done: int) -> str:
    """What the retrainings that are left will take, by what the first training took, in words."""
    from ..model.history import read_history

    history = read_history(model / "history.parquet")
    steps = np.diff(history["step"].to_numpy(np.float64), prepend=0.0)
    each = float((steps * facts.recipe["batch"] / history["spectra_per_s"]).sum()) / 60
    there = f" ({done} are there already)" if done else ""
    return (
        f"{left} retraining{'s' * (left != 1)}{there}, each on half of the training targets and of about "
        f"{_minutes(each)}, which the first training took: {_minutes(each * left)}. Interrupt at any moment; "
        "the same command goes on"
    )


def parts_of(targets: NDArray[np.object_], shares: Split, number: int) -> NDArray[np.str_]:
    """'train', 'valid', 'test' as in the first training, but 'spare' for the half left to the twin, (n,).

    shares: the seed and shares of the first training's split.
    """
    parts = split.assign(targets, shares.seed, valid=shares.valid, test=shares.test)
    half = split.assign(targets, shares.seed + 1 + number // 2, valid=0.5, test=0.0)
    mine = "valid" if number % 2 else "train"
    parts[(parts == "train") & (half != mine)] = "spare"
    return parts


def _trained(
    store: Store,
    folder: Path,
    facts: ModelFacts,
    number: int,
    *,
    device: str,
    progress: Listener,
) -> None:
    from ..model.fit import asked_of, train

    options = _options(folder, facts, number, device=device)
    parts = parts_of(store.index["target"].to_numpy(dtype=object), facts.split, number)
    asked = asked_of(store, options, parts=parts)
    for name in ("model.json", "plan.json"):
        path = folder / "model" / name
        if path.exists() and read_json(path).get("asked") != asked:
            progress(message(f"{folder} was begun beside another model or store: beginning it again"))
            shutil.rmtree(folder / "model")
    (folder / "codes.parquet").unlink(missing_ok=True)
    train(store, folder / "model", options=options, parts=parts, progress=progress)


def _options(folder: Path, facts: ModelFacts, number: int, *, device: str) -> TrainOptions:
    """Those of the first training, with another seed and its number of steps."""
    asked = facts.asked
    config = None
    if asked["config"]:
        config = folder / "recipe.toml"
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in asked["config"].items())
        with blame(folder):
            folder.mkdir(parents=True, exist_ok=True)
            config.write_text(text, encoding="utf-8")
    names = ("network", "balance", "agnostic", "whiten", "valid", "test")
    return TrainOptions(
        **{name: asked[name] for name in names},
        steps=facts.recipe["steps"],
        seed=asked["seed"] + 1 + number,
        device=device,
        config=config,
    )


def _encoded(store: Store, folder: Path, shares: Split, *, device: str, begun: float, of: str) -> None:
    """Codes of what was held out of the first training, as the retraining's encoder gives them."""
    from ..model.data import Source
    from ..model.trained import TrainedModel

    model = TrainedModel.read(folder / "model", unpruned=True, device=device)
    own = model.facts
    assert own is not None
    source = model.source(Source.from_store(store, memory=0))
    parts = split.assign(source.targets, shares.seed, valid=shares.valid, test=shares.test)
    rows = np.flatnonzero(parts != "train")
    size = max(1, ENCODED_PIXELS // source.pixels)
    means, sds = [], []
    for start in range(0, len(rows), size):
        batch = model.to_device(source.tensors(rows[start : start + size]))
        codes = model.encode(batch, polished=False)
        means.append(codes.mean.cpu().numpy())
        sds.append(codes.sd.cpu().numpy())
    columns: dict[str, Any] = {"spectrum_id": store.index["spectrum_id"].iloc[rows].tolist()}
    for kind, values in (("mean", np.concatenate(means)), ("sd", np.concatenate(sds))):
        columns |= {f"{kind}_{i:03d}": np.ascontiguousarray(values[:, i]) for i in range(values.shape[1])}
    facts = {
        **RETRAINING.header,
        "of": of,
        "asked": own.asked,
        "kept": own.kept,
        "chi2": own.chi2.to_json(),
        "minutes": round((time.monotonic() - begun) / 60, 2),
    }
    write_table(folder / "codes.parquet", columns, header=facts)


def _facts(path: Path) -> dict[str, Any]:
    """What a table of a retraining's codes is; nothing of it where it is damaged or of another version."""
    try:
        about = table_header(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is not there; run find with --stability again") from None
    except (OSError, ValueError):
        return {}
    return about if RETRAINING.fits(about) else {}


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
