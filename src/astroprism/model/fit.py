"""From a store and options to a finished model: what `train` does around the loop.

    model/plan.json     an unfinished training: the request, its recipe, its number of steps
    model/checkpoint/   the same, whole (loop.py)
    model/model.json    the finished model (checkpoint.py), history.parquet beside it

The same command on a finished model does nothing, continues an unfinished training, and on something else is
an error that names what differs. Torch is loaded by the first training, not by importing this.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import differences, digest, read_json, write_json
from ..device import device_for
from ..errors import AstroprismError, ConfigError, GridError, ModelError, StoreError, TrainingFailed
from ..progress import Listener, count, message, silent, warning
from ..schema import Chi2, Event, ModelFacts, Split, StoreFacts, TrainedOn
from ..targets import split
from ..targets.plan import TEST, Plan, plan_split
from .data import Source
from .history import Moment, write_history
from .recipe import RECIPES, PaperRecipe, Recipe, TrainOptions, from_mapping

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from ..network import PaperNetwork, Prism
    from ..store import Store
    from .loop import Training
    from .movers import Movers
    from .parting import Parted
    from .response import Response

POOR_BEGINS = "chi2 is "  # the warning of a poor fit
POOR = 1.5  # held-out chi2 per pixel from which spectra are not yet described
OVERFIT = 1.5  # held-out chi2 over training chi2, from which spectra were too few
FEWEST_STEPS = 100  # below that no schedule means anything
LEAST_GAIN = (
    0.2  # pixels of velocity per unit of the Doppler node with which the training of a few stars begins
)
FEW_STARS = 8  # below which nothing but its lines tells the star's motion from the atmosphere's
SPARE = 0.08  # share of --minutes kept for what is not a step: taking chi2, pruning, writing
TIMED = 2000  # steps of the recipe whose beginning is timed


@dataclass(frozen=True)
class TrainReport:
    """What a training did."""

    trained: bool  # False: the model that is there was made from the same, and nothing was done
    resumed_at: int  # step at which an earlier training was resumed; 0 for none
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
    shares: Split | None = None,
    progress: Listener = silent,
    save_every: float = 30.0,
) -> TrainReport:
    """Train on a store, or continue a training that was cut off; the model lies in `folder`.

    again       train again where the model there, or an unfinished training, was made from something else
    parts       'train', 'valid' or another word for each spectrum, where it is not the split by the seed
    shares      with `parts`: the split whose units they are made of
    progress    gets messages, warnings, and a count of steps with every `Moment`
    save_every  seconds between two writes of the unfinished training
    """
    options, begun = options or TrainOptions(), time.monotonic()

    # what is requested, against what is there
    request = training_request(store, options, parts=parts)
    begun_with, there = prior_work(folder, request, again=again)
    if begun_with is None and there is not None and not again:
        clear(folder)  # what a training killed at its very end may have left
        return TrainReport(False, 0, 0.0, math.nan, there)
    if options.network == "prism" and store.grid.kind != "log":
        raise GridError(
            f"the prism moves lines by Doppler shifts, so it needs a grid uniform in log wavelength; this "
            f"store is on the grid {store.grid.text!r}. Ingest into another study with --grid LO:HI:STEPkms "
            "(or auto), or train --network paper"
        )
    fabric = fabric_for(options.device)
    first = fabric.is_global_zero
    progress = progress if first else silent
    source, warnings = _source(store, options)
    for text in warnings:
        progress(warning(text))
    if parts is None:
        planned = split_plan(store, options)
        progress(message(planned.text()))
        shares, parts = planned.shares, split.as_trained(store.index, planned.shares)
    elif shares is None:
        shares = Split(options.seed, options.valid, request["test"], 0, 0, 0)
    # what is drawn alike often, and of what samples have one spectrum each
    source = replace(source, targets=split.units(store.index, shares))
    rows = {part: np.flatnonzero(parts == part) for part in ("train", "valid")}

    response, reason = _response(store, options, source, rows["train"])
    if reason:
        progress(message(reason))
    stars = store.index["target"].nunique()
    found, why = _free_air(options, source, response, rows["train"], stars=stars)
    if why:
        progress(message(why))
    if found is not None:
        source, warnings = source.with_air(moving=False), []

    apart = _apart(store, options, source, response, rows["train"]) if stars == 1 else None

    def build(recipe: Recipe | PaperRecipe, save_to: Path | None = None) -> Training:
        from .loop import Training

        return Training(
            source,
            _network(
                options,
                source,
                response,
                free_air=found is not None,
                apart=apart,
                spectra=len(rows["train"]),
            ),
            recipe=recipe,
            **rows,
            seed=options.seed,
            # a night of one visit, drawn as often as a night of six, would be learned by heart
            balance=options.balance if apart is None else "none",
            fabric=fabric,
            save_to=save_to,
            save_every=save_every,
            found=found,
            apart=apart,
        )

    # the recipe: of the plan that is there, or the options' own, its steps timed where minutes are given
    fabric.barrier()  # every process has read what is there before one writes
    if begun_with is not None:
        recipe = _planned(begun_with, options, folder)
    else:
        if first:
            clear(folder)
        recipe = options.recipe(spectra=len(rows["train"]), pixels=source.pixels, one_star=apart is not None)
        if options.minutes is not None:
            progress(message("timing some steps"))
            steps = _steps_in(options.minutes * 60, begun, build=build, recipe=recipe)
            recipe = replace(recipe, steps=int(fabric.broadcast(steps)))
            progress(message(f"{options.minutes:g} minutes are {recipe.steps:,} steps"))
        if first:
            # after a kill, the model that this one replaces shows whether the training was finished
            made = {"asked": request, "recipe": recipe.as_dict(), "replaces": _digest(folder)}
            write_json(folder / "plan.json", made)

    # the training, from its checkpoint if there is one
    checkpoint = folder / "checkpoint" / "state.safetensors"
    training = build(recipe, checkpoint)
    resumed = training.status.step if training.resume() else 0
    if resumed:
        progress(message(f"continuing from step {resumed:,} of {recipe.steps:,}"))
    elif checkpoint.exists() and first:
        progress(message("the unfinished training that is there cannot be resumed: beginning again"))
    begun_steps = time.monotonic()
    try:
        for moment in training.run():
            if moment.event:
                progress(message(f"step {moment.step:,}: {moment.event}"))
            progress(count(moment.step, recipe.steps, detail=moment))
    except TrainingFailed:
        if first:
            clear(folder)  # continuing would only fail again; a finished model beside it stays
        raise
    except BaseException:  # cut off, by an interrupt of the user too
        # several processes would wait for each other
        if fabric.world_size == 1 and training.status.step > resumed:
            training.save()
        raise
    spectra = (recipe.steps - resumed) * recipe.batch
    rate = spectra / max(time.monotonic() - begun_steps, 1e-9)

    # the model
    unpruned = training.finish()
    facts = _facts(training, store, shares, request=request, parts=parts, warnings=warnings, response=reason)
    if facts.axes is not None:
        progress(message(facts.axes.text))
    for text in facts.warnings:
        progress(warning(text))
    if first:
        _write(training, folder, unpruned=unpruned, facts=facts)
    fabric.barrier()
    minutes = round((time.monotonic() - begun) / 60, 3)
    return TrainReport(True, resumed, minutes, rate, ModelFacts.read(ModelFacts.path_in(folder)))


# --- what is requested, and what is there


def training_request(
    store: Store, options: TrainOptions, *, parts: NDArray[np.str_] | None = None
) -> dict[str, Any]:
    """What a model must have been made from to be the one requested; plain JSON values.

    parts  as in `train`
    """
    if not store.finished:
        raise StoreError(f"{store.path}: its ingest is not finished; run it again, then train")
    left = ("device", "config", "folds")
    chosen = {name: value for name, value in asdict(options).items() if name not in left}
    request = chosen | {"config": options.in_file(), "store": store.fingerprint, "spectra": len(store)}
    if parts is None:
        shares = split_plan(store, options).shares
        # what is as it always was is left out, so that older models are not stale
        own = {"unit": shares.unit, "block_days": shares.block_days, "folds": shares.folds}
        request |= {"test": shares.test} | {
            name: value for name, value in own.items() if value not in ("target", 0)
        }
    else:
        request["test"] = TEST if options.test is None else options.test
        if parts.shape != (len(store),):
            raise ConfigError(f"{len(store)} spectra, but parts of shape {parts.shape}; give one for each")
        request["parts"] = hashlib.sha256("\n".join(parts.tolist()).encode()).hexdigest()
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain


def split_plan(store: Store, options: TrainOptions) -> Plan:
    """How the spectra of a store are divided for a training with these options."""
    return plan_split(
        store.index,
        seed=options.seed,
        valid=options.valid,
        test=options.test,
        folds=options.folds,
        pixels=store.grid.size,
    )


def prior_work(
    folder: Path, request: dict[str, Any], *, again: bool
) -> tuple[dict[str, Any] | None, ModelFacts | None]:
    """(plan of an unfinished training to continue, facts of the finished model); stale ones are errors."""
    path = folder / "plan.json"
    try:
        there = ModelFacts.in_folder(folder)
        plan = read_json(path, remedy="add --again to train again") if path.exists() else None
    except AstroprismError:
        if not again:
            raise
        return None, None  # what cannot be read is replaced
    if plan is not None and there is not None and plan.get("replaces") != _digest(folder):
        plan = None  # it was finished, and only not cleared away
    if plan is not None and plan.get("asked") != request:
        if not again:
            then = plan.get("asked", {})
            raise ModelError(
                f"{folder} holds an unfinished training of something else ({_changes(then, request)}); "
                "repeat its options to continue it, or add --again to drop it and train again"
            )
        plan = None
    if plan is None and there is not None and there.asked != request and not again:
        raise ModelError(
            f"the model in {folder} is stale ({_changes(there.asked, request)}); it can still be used, and "
            "--again trains it again"
        )
    return plan, there


def holds_other(folder: Path, request: dict[str, Any]) -> bool:
    """Whether a folder holds a model, or an unfinished training, that was made from something else."""
    there, path = ModelFacts.in_folder(folder), folder / "plan.json"
    if there is not None and there.asked != request:
        return True
    return path.exists() and read_json(path).get("asked") != request


def _changes(then: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """What differs, in words."""
    names = differences(then, request)
    if "store" in names and "spectra" in names:
        names.remove("store")

    def value(content: Mapping[str, Any], name: str) -> str:
        return "the default" if content.get(name) is None else str(content[name])

    return "; ".join(
        "the store's content differs"
        if name == "store"
        else f"{name}: {value(then, name)} then, {value(request, name)} now"
        for name in names
    )


def _digest(folder: Path) -> str | None:
    path = ModelFacts.path_in(folder)
    return digest(path) if path.exists() else None


def _planned(plan: Mapping[str, Any], options: TrainOptions, folder: Path) -> Recipe | PaperRecipe:
    """The recipe an unfinished training began with."""
    try:
        return from_mapping(RECIPES[options.network], plan["recipe"])
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ModelError(
            f"{folder} holds an unfinished training of another version of astroprism ({error}); add --again "
            "to drop it and train again"
        ) from None


def clear(folder: Path) -> None:
    """Remove an unfinished training."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    (folder / "plan.json").unlink(missing_ok=True)


# --- spectra, network, device, time


def _source(store: Store, options: TrainOptions) -> tuple[Source, list[str]]:
    """The spectra, and what the user must know of their velocities."""
    source, whiten = Source.from_store(store), options.whiten > 0
    if whiten and source.step is None:
        raise ConfigError("whiten moves spectra, which takes a grid uniform in log wavelength: drop it")
    moving = options.network == "prism" and not options.agnostic and (source.berv is not None or whiten)
    warnings = []
    if source.berv_unknown and source.berv is not None and moving:
        warnings.append(
            f"{source.berv_unknown:,} of {len(source):,} spectra do not tell their barycentric velocity: "
            "their atmosphere is taken to stand still"
        )
    # velocity whitening needs to know where the spectra came from, whatever the network
    return (source if whiten and not moving else source.with_air(moving=moving)), warnings


def _response(
    store: Store, options: TrainOptions, source: Source, train: NDArray[np.intp]
) -> tuple[Response | None, str]:
    """The smooth response that spectra are divided by, if the archive shows one, and why."""
    if options.network != "prism" or store.config.get("normalise") != "auto":
        return None, ""
    from .data import fair
    from .nodes import sizing
    from .response import measured, spline_count

    assert source.step is not None
    if not (splines := spline_count(source.pixels, source.step)):
        return None, "the range is too short to tell a smooth response from lines: none is taken out"
    rows = fair(train, sizing(source.pixels, len(train)).sample, source=source, seed=options.seed)
    response, evidence = measured(source.tensors(rows), count=splines)
    return (response if evidence.drowns else None), evidence.text()


def _free_air(
    options: TrainOptions,
    source: Source,
    response: Response | None,
    train: NDArray[np.intp],
    *,
    stars: int,
) -> tuple[Movers | None, str]:
    """Star and atmosphere where spectra show a barycentric velocity that no one tells; in words, too."""
    if options.network != "prism" or options.agnostic or options.whiten:
        return None, ""
    if source.step is None or 2 * source.berv_unknown <= len(source):
        return None, ""
    from ..network import sized_for
    from .data import fair
    from .movers import movers, sample_size

    rows = fair(train, sample_size(source.pixels), source=source, seed=options.seed)
    batch = source.with_air(moving=False).tensors(rows)
    batch = batch if response is None else response.divided(batch)
    config = sized_for(source.pixels, step=source.step)
    floor = options.recipe(spectra=len(train), pixels=source.pixels).floor_at(0.0)
    untold = "no barycentric velocity is told or can be computed"
    if stars < FEW_STARS:
        return None, (
            f"{untold}, and of {stars} stars the spectra do not tell which lines are the atmosphere's: it is "
            "taken to stand still. Where it does not, node 0 may be its motion"
        )
    if (found := movers(batch, config=config, floor=floor)) is None:
        return None, f"{untold}, and the spectra do not show one: the atmosphere is taken to stand still"
    return found, (
        f"{untold}, but the spectra show lines that move apart from the star's: node 1 is the atmosphere's "
        "velocity"
    )


def _apart(
    store: Store,
    options: TrainOptions,
    source: Source,
    response: Response | None,
    train: NDArray[np.intp],
) -> Parted | None:
    """Mean star and mean atmosphere of a series of one star, where their motion tells them apart."""
    if options.network != "prism" or options.agnostic or source.step is None:
        return None
    import torch

    from ..network import sized_for
    from .data import fair
    from .movers import sample_size
    from .parting import parted

    rows = fair(train, sample_size(source.pixels), source=source, seed=options.seed)
    batch = source.tensors(rows)
    batch = batch if response is None else response.divided(batch)
    config = sized_for(source.pixels, step=source.step, moving_air=source.berv is not None)
    floor = options.recipe(spectra=len(train), pixels=source.pixels).floor_at(0.0)
    index = store.index.iloc[rows]
    observed = (index["frame"] == "topocentric").to_numpy()
    berv = index["berv"].to_numpy(np.float32)
    known = np.isfinite(berv[observed]).all()
    earth = torch.from_numpy(np.where(observed, -berv, 0).astype(np.float32)) if known else None
    return parted(batch, config=config, floor=floor, earth=earth)


def _network(
    options: TrainOptions,
    source: Source,
    response: Response | None,
    *,
    free_air: bool,
    apart: Parted | None,
    spectra: int,
) -> Prism | PaperNetwork:
    from ..network import PaperConfig, PaperNetwork, Prism, sized_for

    if options.network == "paper":
        return PaperNetwork(PaperConfig(source.pixels), seed=options.seed)
    assert source.step is not None
    config = sized_for(
        source.pixels,
        step=source.step,
        agnostic=options.agnostic,
        moving_air=source.berv is not None,
        free_air=free_air,
        splines=0 if response is None else response.count,
        spectra=spectra,
        one_star=apart is not None,
    )
    if apart is not None:
        # with the gain of an archive of many stars, codes that are not sure yet would blur a star at rest
        gain = source.step * max(LEAST_GAIN, float(apart.velocity.std()))
        config = replace(config, shift_gain=min(config.shift_gain, gain))
    network = Prism(config, seed=options.seed)
    if response is not None:
        network.usual.copy_(response.star)
    return network


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


# --- the finished model


def _facts(
    training: Training,
    store: Store,
    shares: Split,
    *,
    request: Mapping[str, Any],
    parts: NDArray[np.str_],
    warnings: list[str],
    response: str,
) -> ModelFacts:
    """model.json; nothing in it depends on the clock: equal trainings write equal files."""
    from .checkpoint import network_facts

    network, targets = training.network, store.index["target"].to_numpy(dtype=object)
    sets = (training.train, training.valid)
    found = [training.chi2(rows, stated=stated) for stated in (False, True) for rows in sets]
    chi2 = Chi2(*(value if math.isfinite(value) else None for value in found))
    network.eval()
    keep = getattr(network, "keep", None)
    kept = list(range(network.config.n_latent)) if keep is None else keep.nonzero()[:, 0].tolist()
    spectra = {f"{part}_spectra": int((parts == part).sum()) for part in split.PARTS}
    trained_on = TrainedOn(len(training.train), len(set(targets[training.train].tolist())))
    return ModelFacts(
        network=network_facts(network),
        steps=training.recipe.steps,
        seed=training.seed,
        recipe=training.recipe.as_dict(),
        asked=dict(request),
        store=StoreFacts(request["store"], len(store), store.grid.text, store.config.get("normalise")),
        split=Split.from_json(shares.to_json() | spectra),
        trained_on=trained_on,
        precision=str(training.fabric._precision.precision),
        chi2=chi2,
        kept=kept,
        response=response,
        axes=training.axes,
        events=[Event(x["step"], x["event"]) for x in training.status.moments if x["event"]],
        warnings=[
            *warnings,
            *_warnings(chi2, kept=kept, spectra=trained_on.spectra, learned=_learned(network)),
        ],
    )


def _learned(network: Prism | PaperNetwork) -> bool:
    """Whether the errors were learned, or are not to be: they stay as stated where too little was fitted."""
    return getattr(network, "learns_noise", None) is None or bool(network.learns_noise)


def _warnings(chi2: Chi2, *, kept: list[int], spectra: int, learned: bool = True) -> list[str]:
    """What a user must know before trusting the model; of a short training in one warning, not in two."""
    found = []
    if chi2.valid is None:
        found.append(
            "no target fell to the held-out share: nothing tells whether the model holds beyond the spectra "
            "it was trained on"
        )
    elif chi2.train is not None and chi2.valid > OVERFIT * chi2.train:
        found.append(
            f"held-out spectra fit worse than training spectra (chi2 {chi2.valid:.2f} against "
            f"{chi2.train:.2f} a pixel): "
            + (
                f"{spectra:,} spectra are too few for this network, which has learned some of them by heart. "
                "Codes of new spectra are less sure than they look; more spectra help most"
                if chi2.train <= POOR
                else "some of them are like none that it trained on, or hold damage that no mask tells"
            )
        )
    if (worst := chi2.train if chi2.valid is None else chi2.valid) is not None and worst > POOR:
        found.append(poor_fit(worst, learned=learned))
    elif not learned:
        found.append(
            "errors are taken as stated: too much is unexplained to tell wrong errors from causes that are "
            "not learned yet. Train for more steps"
        )
    if not kept:
        found.append("no node was kept: the spectra do not differ beyond their noise, or training was short")
    return found


def poor_fit(chi2: float, *, learned: bool = True) -> str:
    """What a chi2 far above 1 means for whoever counts causes; `learned`: whether errors were learned."""
    errors = "" if learned else " (which it could not yet tell apart: errors are taken as stated)"
    return (
        f"{POOR_BEGINS}{chi2:.3g} a pixel, and 1 would be the noise alone: the network does not describe "
        f"these spectra yet, or their errors are stated too small{errors}. Causes that it has not learned "
        "are not counted: read the counts as lower limits, and train for more steps"
    )


def _write(training: Training, folder: Path, *, unpruned: Mapping[str, Any], facts: ModelFacts) -> None:
    """The finished model; an older one goes as the new one comes, model.json first and last."""
    from .checkpoint import write_model

    folder.mkdir(parents=True, exist_ok=True)
    ModelFacts.path_in(folder).unlink(missing_ok=True)
    write_history([Moment(**moment) for moment in training.status.moments], folder / "history.parquet")
    write_model(folder, training.network, unpruned=unpruned, facts=facts)
    clear(folder)
