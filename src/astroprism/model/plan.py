"""What is asked of a training against what is there: finished, unfinished, or made from something else.

    model/plan.json     an unfinished training: what was asked, its recipe, its number of steps
    model/checkpoint/   the same, whole (loop.py)
    model/model.json    the finished model (checkpoint.py)

Torch is not needed for any of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import differences, digest, read_json, write_json
from ..errors import ConfigError, ModelError, StoreError
from ..schema import ModelFacts
from .options import TrainOptions
from .recipe import PaperRecipe, Recipe, from_mapping

if TYPE_CHECKING:
    from ..store import Store


def model_facts(folder: Path) -> ModelFacts | None:
    """model.json of a finished model, None where there is none; torch is not needed."""
    path = folder / "model.json"
    return ModelFacts.read(path) if path.exists() else None


def what_is_asked(store: Store, options: TrainOptions) -> dict[str, Any]:
    """What a model must have been made from to be the one that is asked for; plain JSON values."""
    if not store.finished:
        raise StoreError(f"{store.path}: its ingest is not finished; run it again, then train")
    chosen = {name: value for name, value in asdict(options).items() if name not in ("device", "config")}
    asked = chosen | {"config": options.in_file(), "store": store.fingerprint, "spectra": len(store)}
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


def standing(
    folder: Path, asked: dict[str, Any], *, again: bool
) -> tuple[dict[str, Any] | None, ModelFacts | None]:
    """(plan of an unfinished training to go on with, facts of the finished model); stale ones are errors."""
    there, path = model_facts(folder), folder / "plan.json"
    plan = read_json(path) if path.exists() else None
    if plan is not None and there is not None and plan.get("replaces") != _digest(folder):
        plan = None  # it was finished, and only not cleared away
    if plan is not None and plan.get("asked") != asked:
        if not again:
            then = plan.get("asked", {})
            raise ModelError(
                f"{folder} holds an unfinished training of something else ({_changes(then, asked)}); ask "
                "for the same to go on with it, or add --again to drop it and train anew"
            )
        plan = None
    if plan is None and there is not None and there.asked != asked and not again:
        raise ModelError(
            f"the model in {folder} is stale ({_changes(there.asked, asked)}); it can still be used, and "
            "--again trains it anew"
        )
    return plan, there


def _changes(then: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs, in words."""
    names = differences(then, asked)
    if "store" in names and "spectra" in names:
        names.remove("store")
    words = {"store": "the store's content differs"}
    return "; ".join(
        words.get(n) or f"{n}: {_said(then.get(n))} then, {_said(asked.get(n))} now" for n in names
    )


def _said(value: Any) -> str:
    return "the default" if value is None else str(value)


def _digest(folder: Path) -> str | None:
    path = folder / "model.json"
    return digest(path) if path.exists() else None


def write_plan(folder: Path, asked: Mapping[str, Any], recipe: Recipe | PaperRecipe) -> None:
    """Say what the training that begins now is, so that it can be gone on with."""
    plan = {"asked": asked, "recipe": recipe.as_dict(), "replaces": _digest(folder)}
    write_json(folder / "plan.json", plan)


def planned(plan: Mapping[str, Any], options: TrainOptions, folder: Path) -> Recipe | PaperRecipe:
    """The recipe an unfinished training began with."""
    try:
        if options.network == "paper":
            return from_mapping(PaperRecipe, plan["recipe"])
        return from_mapping(Recipe, plan["recipe"])
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ModelError(
            f"{folder} holds an unfinished training of another version of astroprism ({error}); add --again "
            "to drop it and train anew"
        ) from None


def clear(folder: Path) -> None:
    """Take away what an unfinished training left."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    (folder / "plan.json").unlink(missing_ok=True)
