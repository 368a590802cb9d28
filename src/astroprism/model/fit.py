"""From a store and options to a finished model: what `train` does around the loop."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..device import device_for
from ..errors import ConfigError, GridError, TrainingFailed
from ..progress import Listener, count, message, silent, warning
from ..schema import ModelFacts
from ..targets import split
from .data import Source
from .options import TrainOptions
from .plan import clear, model_facts, planned, standing, what_is_asked, write_plan
from .recipe import PaperRecipe, Recipe, from_mapping, released, sized

if TYPE_CHECKING:  # torch is loaded by the first training, not by reading options
    from lightning_fabric import Fabric

    from ..network import PaperNetwork, Prism
    from ..store import Store
    from .loop import Training

POOR = 1.5  # held-out chi2 a pixel from which spectra are not yet described
OVERFIT = 1.5  # held-out chi2 over training chi2, from which spectra were too few
FEWEST_STEPS = 100  # below that no schedule means anything
SPARE = 0.08  # share of --minutes kept for what is not a step: telling chi2, pruning, writing
TIMED = 2000  # steps of the recipe whose beginning is timed


@dataclass(frozen=True)
class TrainReport:
    """What a training did."""

    trained: bool  # False: the model that is there was made from the same, and nothing was done
    resumed_at: int  # step from which an earlier training was gone on with; 0 for none
    minutes: float  # of this run
    spectra_per_s: float  # of this run; NaN where nothing was done
    model: ModelFacts

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return vars(self) | {"model": self.model.to_json()}


def train(
    store: Store,
    folder: Path,
    *,
    options: TrainOptions | None = None,
    again: bool = False,
    parts: NDArray[np.str_] | None = None,
    progress: Listener = silent,
    save_every: float = 30.0,
) -> TrainReport:
    """Train on a store, or go on with a training that was cut off; the model lies in `folder`.

    again       train anew where the model there, or an unfinished training, was made from something else
    parts       'train', 'valid' or another word for each spectrum, where it is not the split by the seed
    progress    told of remarks, and counts steps with every `Moment`
    save_every  seconds between two writes of the unfinished training
    """
    options = options or TrainOptions()
    begun = time.monotonic()
    asked = asked_of(store, options, parts=parts)
    plan, there = standing(folder, asked, again=again)
    if plan is None and there is not None and not again:
        clear(folder)  # what a training killed at its very end may have left
        return TrainReport(False, 0, 0.0, math.nan, there)
    grid = store.grid
    if options.network == "prism" and grid.kind != "log":
        raise GridError(
            f"the prism moves lines by Doppler shifts, so it needs a grid uniform in log wavelength; this "
            f"store is on the grid {grid.text!r}. Ingest into another study with --grid LO:HI:STEPkms (or "
            "auto), or train --network paper"
        )
    fabric = fabric_for(options.device)
    first = fabric.is_global_zero
    progress = progress if first else silent
    source, warnings = _source(store, options, progress=progress)
    if parts is None:
        parts = split.assign(source.targets, options.seed, valid=options.valid, test=options.test)

    def build(recipe: Recipe | PaperRecipe, save_to: Path | None) -> Training:
        from .loop import Training

        return Training(
            source,
            _network(options, source),
            recipe=recipe,
            train=np.flatnonzero(parts == "train"),
            valid=np.flatnonzero(parts == "valid"),
            seed=options.seed,
            balance=options.balance,
            fabric=fabric,
            save_to=save_to,
            save_every=save_every,
        )

    fabric.barrier()  # every process has read what is there before one writes
    checkpoint = folder / "checkpoint" / "state.safetensors"
    if plan is None:
        if first:
            clear(folder)
        recipe = _recipe(options, spectra=int((parts == "train").sum()), pixels=source.pixels)
        if options.minutes is not None:
            progress(message("timing some steps"))
            steps = _steps_in(options.minutes * 60, begun, build=lambda r: build(r, None), recipe=recipe)
            recipe = replace(recipe, steps=int(fabric.broadcast(steps)))
            progress(message(f"{options.minutes:g} minutes are {recipe.steps:,} steps"))
        if first:
            write_plan(folder, asked, recipe)
    else:
        recipe = planned(plan, options, folder)
    training = build(recipe, checkpoint)
    resumed = training.progress.step if training.resume() else 0
    if resumed:
        progress(message(f"going on from step {resumed:,} of {recipe.steps:,}"))
    elif checkpoint.exists() and first:
        progress(message("what the unfinished training left cannot be gone on with: beginning again"))
    try:
        rate = _run(training, progress=progress)
    except TrainingFailed:
        if first:
            clear(folder)  # going on would only fail again; a finished model beside it still stands
        raise
    unpruned = training.finish()
    facts = _facts(training, store, options, asked=asked, parts=parts, warnings=warnings)
    for text in facts["warnings"]:
        progress(warning(text))
    if first:
        _write(training, folder, unpruned=unpruned, facts=facts)
    fabric.barrier()
    written = model_facts(folder)
    assert written is not None
    return TrainReport(True, resumed, round((time.monotonic() - begun) / 60, 3), rate, written)


def asked_of(store: Store, options: TrainOptions, *, parts: NDArray[np.str_] | None = None) -> dict[str, Any]:
    """What a model must have been made from to be the one that is asked for; parts as in `train`."""
    asked = what_is_asked(store, options)
    if parts is None:
        return asked
    if parts.shape != (len(store),):
        raise ConfigError(f"{len(store)} spectra, but parts of shape {parts.shape}; give one for each")
    return asked | {"parts": hashlib.sha256("\n".join(parts.tolist()).encode()).hexdigest()}


def fabric_for(name: str) -> Fabric:
    """Lightning Fabric on a device; several processes where torchrun has started them."""
    import torch
    from lightning_fabric import Fabric

    device = device_for(name)
    half = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    world, local = (int(os.environ.get(count, "1")) for count in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if half else "32-true",
    )
    fabric.launch()
    return fabric


def fitted(source: Source, network: Prism | PaperNetwork) -> Source:
    """The source with what the network is told of BERV: zeros where it wants one and none is known."""
    return _with_air(source, moving=getattr(network.config, "moving_air", False))


def _with_air(source: Source, *, moving: bool) -> Source:
    if not moving:
        return replace(source, berv=None)
    return source if source.berv is not None else replace(source, berv=np.zeros(len(source), np.float32))


# --- the parts


def _source(store: Store, options: TrainOptions, *, progress: Listener) -> tuple[Source, list[str]]:
    source, whiten = Source.from_store(store), options.whiten > 0
    warnings = []
    if whiten and source.step is None:
        raise ConfigError("whiten moves spectra, which takes a grid uniform in log wavelength: drop it")
    moving = options.network == "prism" and not options.agnostic and (source.berv is not None or whiten)
    if source.berv_unknown and source.berv is not None and moving:
        warnings.append(
            f"{source.berv_unknown:,} of {len(source):,} spectra do not tell their barycentric velocity: "
            "their atmosphere is taken to stand still"
        )
    for text in warnings:
        progress(warning(text))
    # velocity whitening knows where the spectra came from, whatever the network
    return (source if whiten and not moving else _with_air(source, moving=moving)), warnings


def _network(options: TrainOptions, source: Source) -> Prism | PaperNetwork:
    from ..network import PaperConfig, PaperNetwork, Prism, sized_for

    if options.network == "paper":
        return PaperNetwork(PaperConfig(source.pixels), seed=options.seed)
    assert source.step is not None
    config = sized_for(
        source.pixels, step=source.step, agnostic=options.agnostic, moving_air=source.berv is not None
    )
    return Prism(config, seed=options.seed)


def _recipe(options: TrainOptions, *, spectra: int, pixels: int) -> Recipe | PaperRecipe:
    overrides = options.overrides()
    if options.network == "paper":
        if overrides.get("likelihood", True):
            return from_mapping(PaperRecipe, overrides)
        return released(**overrides)  # the absolute difference comes with the authors' schedule
    return sized(overrides, spectra=spectra, pixels=pixels, agnostic=options.agnostic)


def _steps_in(
    seconds: float,
    begun: float,
    *,
    build: Callable[[Recipe | PaperRecipe], Training],
    recipe: Recipe | PaperRecipe,
) -> int:
    """How many steps fit into `seconds` from `begun`, by the speed of some real ones."""
    training = build(replace(recipe, steps=TIMED))
    took: list[float] = []
    start = time.monotonic()
    for number, moment in enumerate(training.run()):
        if number:  # the first steps are slower: memory is taken, kernels are chosen
            took.append(recipe.batch / moment.spectra_per_s)
        spent = time.monotonic() - start
        if took and ((len(took) > 2 and spent > 3) or spent > 0.05 * seconds):
            break
    left = (seconds - (time.monotonic() - begun)) * (1 - SPARE)
    return max(FEWEST_STEPS, int(left / np.mean(took)))


def _run(training: Training, *, progress: Listener) -> float:
    """All steps that are left; spectra a second. Cut off, it saves what it has where it can."""
    steps, first, begun = training.recipe.steps, training.progress.step, time.monotonic()
    try:
        for moment in training.run():
            if moment.event:
                progress(message(f"step {moment.step:,}: {moment.event}"))
            progress(count(moment.step, steps, detail=moment))
    except BaseException:  # an interrupt by the user too
        if training.fabric.world_size == 1 and training.progress.step > first:
            training.save()
        raise
    return (steps - first) * training.recipe.batch / max(time.monotonic() - begun, 1e-9)


# --- what is told of it


def _facts(
    training: Training,
    store: Store,
    options: TrainOptions,
    *,
    asked: Mapping[str, Any],
    parts: NDArray[np.str_],
    warnings: list[str],
) -> dict[str, Any]:
    """model.json but for the network; nothing in it hangs on the clock: equal trainings write equal files."""
    chi2 = {"train": _told(training.chi2(training.train)), "valid": _told(training.chi2(training.valid))}
    training.network.eval()
    keep = getattr(training.network, "keep", None)
    n = training.network.config.n_latent
    kept = list(range(n)) if keep is None else [int(i) for i in keep.nonzero()[:, 0]]
    targets = training.source.targets
    return {
        "steps": training.recipe.steps,
        "seed": training.seed,
        "recipe": training.recipe.as_dict(),
        "asked": dict(asked),
        "store": {
            "fingerprint": asked["store"],
            "spectra": len(store),
            "grid": store.grid.text,
            "normalise": store.config.get("normalise"),
        },
        "split": {"seed": options.seed, "valid": options.valid, "test": options.test}
        | {f"{name}_spectra": int((parts == name).sum()) for name in split.PARTS},
        "trained_on": {
            "spectra": len(training.train),
            "targets": len(set(targets[training.train].tolist())),
        },
        "precision": str(training.fabric._precision.precision),
        "chi2": chi2,
        "kept": kept,
        "events": [
            {"step": moment["step"], "event": moment["event"]}
            for moment in training.progress.moments
            if moment["event"]
        ],
        "warnings": [*warnings, *_warnings(chi2, kept=kept, spectra=len(training.train))],
    }


def _warnings(chi2: Mapping[str, float | None], *, kept: list[int], spectra: int) -> list[str]:
    """What a user must know before trusting the model."""
    found, (fit, held) = [], (chi2["train"], chi2["valid"])
    if held is None:
        found.append(
            "no target fell to the held-out share: nothing tells whether the model holds beyond the spectra "
            "it was trained on"
        )
    elif fit is not None and held > OVERFIT * fit:
        found.append(
            f"held-out spectra fit worse than training spectra (chi2 {held:.2f} against {fit:.2f} a pixel): "
            + (
                f"{spectra:,} spectra are too few for this network, which has learned some of them by heart. "
                "Codes of new spectra are less sure than they look; more spectra help most"
                if fit <= POOR
                else "some of them are like none that it trained on, or hold damage that no mask tells"
            )
        )
    if (worst := held if held is not None else fit) is not None and worst > POOR:
        found.append(poor_fit(worst))
    if not kept:
        found.append("no node was kept: the spectra do not differ beyond their noise, or training was short")
    return found


def poor_fit(chi2: float) -> str:
    """What a chi2 far above 1 means for whoever counts causes."""
    return (
        f"chi2 is {chi2:.3g} a pixel, and 1 would be the noise alone: the network does not describe these "
        "spectra yet, or their errors are stated too small. Causes that it has not learned are not counted: "
        "read the counts as lower limits, and train for more steps"
    )


def _told(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(training: Training, folder: Path, *, unpruned: Mapping[str, Any], facts: dict[str, Any]) -> None:
    """The finished model; an older one goes as the new one comes, model.json first and last."""
    from .checkpoint import write_model
    from .history import Moment, write_history

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").unlink(missing_ok=True)
    write_history([Moment(**moment) for moment in training.progress.moments], folder / "history.parquet")
    write_model(folder, training.network, unpruned=unpruned, about=facts)
    clear(folder)
