"""Commands on a model: train, encode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Folds, Json, StudyPath, Test, folds_of, show


def train(
    study: StudyPath,
    network: Annotated[
        str, typer.Option(help="prism: star, atmosphere and a Doppler term; paper: the seed paper's.")
    ] = "prism",
    steps: Annotated[int | None, typer.Option(help="How long (default: the recipe's own number).")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="How long, instead of --steps: some steps are timed first.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the start, of all draws and of the split.")] = 0,
    config: Annotated[Path | None, typer.Option(help="A TOML file that sets fields of the recipe.")] = None,
    balance: Annotated[
        str, typer.Option(help="target: each star counts once; none: each spectrum.")
    ] = "target",
    agnostic: Annotated[
        bool, typer.Option("--agnostic", help="No physics in the decoder: no shift, no star x atmosphere.")
    ] = False,
    whiten: Annotated[
        float, typer.Option(metavar="KMS", help="Shift spectra at random by up to this velocity in training.")
    ] = 0.0,
    valid: Annotated[float, typer.Option(help="Share of the targets held out to check the training.")] = 0.1,
    test: Test = None,
    folds: Folds = "auto",
    again: Annotated[
        bool, typer.Option("--again", help="Train again where spectra or settings have changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network on the study's spectra; cut off, the same command continues."""
    from ..model.recipe import TrainOptions
    from ..study import Study
    from .terminal import Display

    options = TrainOptions(
        network=network,
        steps=steps,
        minutes=minutes,
        seed=seed,
        device=device,
        balance=balance,
        agnostic=agnostic,
        whiten=whiten,
        config=config,
        valid=valid,
        test=test,
        folds=folds_of(folds),
    )
    with Display() as display:
        report = Study(study).train(options=options, again=again, progress=display)
    model, place = report.model, Study(study).model_path
    fit, held_out = ("none" if x is None else f"{x:.3f}" for x in (model.chi2.train, model.chi2.valid))
    what = f"{model.network.kind} of {model.network.nodes} nodes"
    lines = [
        f"{place}: {what}, {model.steps:,} steps on {model.trained_on.spectra:,} spectra of "
        f"{model.trained_on.targets:,} targets",
        f"  chi2/pixel    {fit} in training, {held_out} held out",
        f"  nodes kept    {len(model.kept)}: {', '.join(map(str, model.kept)) or 'none'}",
    ]
    if report.trained:
        lines.append(f"  took          {report.minutes:.1f} min, {report.spectra_per_s:,.0f} spectra/s")
        lines.append(f"  its way       {place / 'history.png'}")
    else:
        lines.insert(0, "nothing to do: spectra and settings are those of the model that is there")
    show(report.as_dict(), as_json, "\n".join(lines))


def encode(
    study: StudyPath,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    polish: Annotated[
        bool, typer.Option("--polish/--no-polish", help="Polish the codes of kept nodes under the decoder.")
    ] = True,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The authors' released weights, instead of the study's model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Codes of every spectrum; of the new ones alone where others are encoded already."""
    from ..model.encode import EncodeOptions
    from ..study import Study
    from .terminal import Display

    options = EncodeOptions(device=device, polish=polish, weights=weights)
    with Display() as display:
        report = Study(study).encode(options=options, progress=display)
    how = (
        f"means of {len(report.kept)} kept nodes polished" if report.polished else "as the encoder gives them"
    )
    lines = [f"{report.spectra:,} spectra, {report.nodes} nodes, {how}: {report.tables[0]}"]
    lines += [f"  the counts read  {table}" for table in report.tables[1:]]
    if report.encoded:
        lines.append(f"  encoded now      {report.encoded:,}, {report.spectra_per_s:,.0f} spectra/s")
    else:
        lines.insert(0, "nothing to do: every spectrum has its codes of this model")
    show(report.as_dict(), as_json, "\n".join(lines))
