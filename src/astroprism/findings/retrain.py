"""Retrainings from other seeds on halves of the training targets: what nodes must survive.

    stability/<i>/model/          a retraining that is under way, as `train` keeps it
    stability/<i>/codes.parquet   what is kept of it: codes of the spectra held out of all trainings

Retrainings come in pairs: one takes one half of the training targets, the second the other half. What was
held out of the first training is held out of them all.
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

from ..artifacts import Format, blame, table_header, write_table
from ..errors import ConfigError, ModelError
from ..folder import StudyFolder
from ..measures.evidence import Floats
from ..model import fit
from ..model.data import Source
from ..model.history import read_history
from ..model.recipe import TrainOptions
from ..progress import Listener, message, once, silent
from ..schema import ModelFacts, Split
from ..targets import split

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Store

RETRAINING = Format("astroprism-retraining", 1)
MOST = 100
ENCODED_PIXELS = 2**20  # that go through an encoder together


@dataclass(frozen=True)
class Retraining:
    """What is kept of one: codes (n, nodes) of held-out spectra, NaN where it did not encode one."""

    number: int
    mean: Floats
    sd: Floats
    kept: list[int]
    minutes: float  # of the last sitting


def finished(folder: StudyFolder, weights: str) -> list[int]:
    """Numbers of the finished retrainings of the model with these weights (their digest)."""
    found = []
    for path in sorted((folder.path / "stability").glob("*/codes.parquet")):
        if path.parent.name.isdecimal() and _header(path).get("of") == weights:
            found.append(int(path.parent.name))
    return sorted(found)


def read_retraining(
    folder: StudyFolder, number: int, *, identifiers: Sequence[str] | NDArray[np.object_]
) -> Retraining:
    """One that is finished, a row for each of these spectra."""
    import pandas as pd

    path = folder.path / "stability" / str(number) / "codes.parquet"
    header = _header(path)
    table = pd.read_parquet(path).set_index("spectrum_id").reindex(list(identifiers))
    return Retraining(number, *mean_and_sd(table), header["kept"], header["minutes"])


def mean_and_sd(codes: pd.DataFrame) -> tuple[Floats, Floats]:
    """The columns mean_000.., and sd_000.. of a table of codes, (rows, nodes) each."""
    mean, sd = (
        codes[[name for name in codes if str(name).startswith(kind)]].to_numpy(np.float64)
        for kind in ("mean_", "sd_")
    )
    return mean, sd


def retrain(
    folder: StudyFolder,
    *,
    count: int,
    weights: str,
    device: str = "auto",
    progress: Listener = silent,
) -> None:
    """Bring the retrainings of the study's model up to `count`; one that was interrupted is continued.

    weights  digest of the model's unpruned weights, which every retraining keeps
    """
    if not 0 <= count <= MOST:
        raise ConfigError(f"{count} retrainings: between 0 and {MOST} are possible")
    done = finished(folder, weights)
    missing = [number for number in range(count) if number not in done]
    if not missing:
        return
    facts, store = folder.require_model(), folder.store
    held = np.flatnonzero(split.held_out(split.as_trained(store.index, facts.split)))
    progress(message(cost_of(folder, missing=len(missing), done=len(done))))
    heard = once(progress, said=[facts.response])
    for place, number in enumerate(missing):
        progress(message(f"retraining {place + 1} of {len(missing)}"))
        into = folder.path / "stability" / str(number)
        begun = time.monotonic()
        options = options_of(into, facts, seed=facts.seed + 1 + number, device=device)
        train_in(store, into, options, parts_of(store.index, facts.split, number), facts.split, heard)
        header, columns = encoded(store, into, held, device=device)
        header |= RETRAINING.header | {"of": weights, "minutes": _minutes(begun)}
        write_table(into / "codes.parquet", columns, header=header)
        shutil.rmtree(into / "model", ignore_errors=True)


def cost_of(folder: StudyFolder, *, missing: int, done: int) -> str:
    """How long the missing retrainings will take, estimated from the first training, in words."""
    each = minutes_of(folder)
    there = f" ({done} are there already)" if done else ""
    return (
        f"{missing} retraining{'s' * (missing != 1)}{there}, each on half of the training targets and "
        f"of about {duration(each)}, which the first training took: {duration(each * missing)}, and about "
        f"{duration(matching_minutes(folder))} for the findings. Interrupt at any time; the same command "
        "continues"
    )


def minutes_of(folder: StudyFolder) -> float:
    """How long the first training took: with all that is around its steps, where that was noted."""
    noted = [run for run in folder.history if run.get("command") == "train" and not run.get("resumed_at")]
    whole = float(noted[-1].get("minutes", 0.0)) if noted else 0.0
    history = read_history(folder.model_path / "history.parquet")
    batch = folder.require_model().recipe["batch"]
    steps = np.diff(history["step"].to_numpy(np.float64), prepend=0.0)
    return max(whole, float((steps * batch / history["spectra_per_s"]).sum()) / 60)


def matching_minutes(folder: StudyFolder) -> float:
    """How long `find` itself takes about, trainings apart.

    Measured with one thread beside other load: 11 to 33 s for 200 to 3,000 spectra, 3.7 s a kept node.
    """
    return (5 + 3.5 * len(folder.require_model().kept)) / 60


def parts_of(index: pd.DataFrame, shares: Split, number: int) -> NDArray[np.str_]:
    """'train', 'valid', 'test' as in the first training, but 'spare' for the half that the twin takes, (n,).

    shares  the split of the first training
    """
    parts = split.as_trained(index, shares)
    half = split.assign(split.units(index, shares), shares.seed + 1 + number // 2, valid=0.5, test=0.0)
    mine = "valid" if number % 2 else "train"
    parts[(parts == "train") & (half != mine)] = "spare"
    return split.spared(index, parts, shares)


def train_in(
    store: Store,
    into: Path,
    options: TrainOptions,
    parts: NDArray[np.str_],
    shares: Split,
    progress: Listener,
) -> None:
    """Train in the folder `into`/model, or continue; what was begun there for something else is dropped.

    parts, shares  as `fit.train` takes them
    """
    request = fit.training_request(store, options, parts=parts)
    if fit.holds_other(into / "model", request):
        progress(message(f"{into} was begun for another model or store: beginning it again"))
        shutil.rmtree(into / "model")
    (into / "codes.parquet").unlink(missing_ok=True)
    fit.train(store, into / "model", options=options, parts=parts, shares=shares, progress=progress)


def options_of(
    into: Path, facts: ModelFacts, *, seed: int, steps: int | None = None, device: str = "auto"
) -> TrainOptions:
    """Those of the first training, with another seed and, unless given, its number of steps."""
    given = facts.asked
    config = None
    if given["config"]:
        config = into / "recipe.toml"
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given["config"].items())
        with blame(into):
            into.mkdir(parents=True, exist_ok=True)
            config.write_text(text, encoding="utf-8")
    names = ("network", "balance", "agnostic", "whiten", "valid", "test")
    return TrainOptions(
        **{name: given[name] for name in names},
        steps=facts.recipe["steps"] if steps is None else steps,
        seed=seed,
        device=device,
        config=config,
    )


def encoded(
    store: Store, into: Path, rows: NDArray[np.intp], *, device: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(facts, columns) of codes of some rows by the model in `into`, as codes_unpruned.parquet has them."""
    from ..model.trained import TrainedModel

    model = TrainedModel.read(into / "model", unpruned=True, device=device)
    own = model.facts
    assert own is not None
    source = model.source(Source.from_store(store, memory=0))
    size = max(1, ENCODED_PIXELS // source.pixels)
    means, sds = [], []
    for start in range(0, len(rows), size):
        batch = model.to_device(source.tensors(rows[start : start + size]))
        codes = model.encode(batch, polished=model.one_star)
        means.append(codes.mean.cpu().numpy())
        sds.append(codes.sd.cpu().numpy())
    columns: dict[str, Any] = {"spectrum_id": store.index["spectrum_id"].iloc[rows].tolist()}
    for kind, values in (("mean", np.concatenate(means)), ("sd", np.concatenate(sds))):
        columns |= {f"{kind}_{i:03d}": np.ascontiguousarray(values[:, i]) for i in range(values.shape[1])}
    return {"asked": own.asked, "kept": own.kept, "chi2": own.chi2.to_json()}, columns


def _minutes(begun: float) -> float:
    return round((time.monotonic() - begun) / 60, 2)


def _header(path: Path) -> dict[str, Any]:
    """The header of a retraining's codes; empty where the table is damaged or of another version."""
    try:
        header = table_header(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is not there; run find with --stability again") from None
    except (OSError, ValueError):
        return {}
    return header if RETRAINING.fits(header) else {}


def duration(minutes: float) -> str:
    """A time in words."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
